//! Scores of peers, derived from the rates of this chain's topics.
//!
//! All times are counted in slots, for the chain's pace is the network's: one block a slot, and
//! in each slot as many events as a block may hold. What follows from that:
//!
//! | parameter | value | why |
//! |---|---|---|
//! | time in mesh (P1) | up to +[`MESH_SCORE_MAX`] after [`MESH_SLOTS`] slots | age is cheap to get, so it is worth little |
//! | first deliveries (P2) of blocks | up to +[`FIRST_SCORE_MAX`], reached at twice a mesh peer's fair share, 1/[`MESH_PEERS`] of a block a slot | useful peers stay |
//! | first deliveries of events | none | an event costs nothing to make, so that being first with many proves nothing |
//! | mesh deliveries (P3) | none | a chain may stand still, and its events come when users send them: a quiet mesh is no fault |
//! | invalid messages (P4) | [`INVALID_MAX`] within [`INVALID_MEMORY`] bring any peer below [`BAN_SCORE`] | the square of their number outweighs all that a peer can have earned |
//! | addresses (P6) | none | connections of one address are limited before the handshake |
//! | behaviour (P7) | broken promises and grafts too early, squared above [`MISBEHAVIOUR_FREE`] | a few happen to honest peers under load |

use std::time::Duration;

use libp2p::gossipsub::{PeerScoreParams, PeerScoreThresholds, TopicScoreParams};

use super::topics::{Kind, Topics};

/// Peers of a mesh: gossipsub's D.
pub const MESH_PEERS: usize = 6;
/// Below this a peer is dropped and banned for a while.
pub const BAN_SCORE: f64 = -40.0;

const MESH_SCORE_MAX: f64 = 5.0;
const MESH_SLOTS: f64 = 600.0;
const FIRST_SCORE_MAX: f64 = 15.0;
/// Slots over which first deliveries are remembered.
const FIRST_SLOTS: f64 = 100.0;
const INVALID_MAX: f64 = 5.0;
const INVALID_MEMORY: Duration = Duration::from_secs(600);
const MISBEHAVIOUR_FREE: f64 = 6.0;
/// A counter below this is taken as 0.
const ZERO: f64 = 0.01;

/// Per interval, so that a counter falls from 1 to [`ZERO`] in so many intervals.
fn decay(intervals: f64) -> f64 {
    ZERO.powf(1.0 / intervals.max(1.0))
}

/// Parameters for a chain of this pace.
pub fn params(topics: &Topics, slot: Duration) -> PeerScoreParams {
    // The library counts in whole seconds at the least.
    let interval = slot.max(Duration::from_secs(1));
    let intervals = |time: f64| time / interval.as_secs_f64();
    let per_topic = topics.iter().map(|(kind, topic)| {
        let params = topic_params(kind, slot, &intervals);
        (topic.hash(), params)
    });
    PeerScoreParams {
        topics: per_topic.collect(),
        topic_score_cap: MESH_SCORE_MAX + FIRST_SCORE_MAX,
        app_specific_weight: 1.0,
        ip_colocation_factor_weight: 0.0,
        behaviour_penalty_weight: -1.0,
        behaviour_penalty_threshold: MISBEHAVIOUR_FREE,
        behaviour_penalty_decay: decay(intervals(INVALID_MEMORY.as_secs_f64())),
        decay_interval: interval,
        decay_to_zero: ZERO,
        retain_score: INVALID_MEMORY,
        // Messages that a slow peer could not take are dropped; it is only passed over.
        slow_peer_weight: 0.0,
        ..PeerScoreParams::default()
    }
}

fn topic_params(kind: Kind, slot: Duration, intervals: &dyn Fn(f64) -> f64) -> TopicScoreParams {
    let slot_s = slot.as_secs_f64();
    let earned_max = MESH_SCORE_MAX + FIRST_SCORE_MAX;
    let quiet = TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 0.0,
        first_message_deliveries_weight: 0.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        // `INVALID_MAX` of them take what may be earned, and go as far as a ban.
        invalid_message_deliveries_weight: (BAN_SCORE - earned_max) / INVALID_MAX.powi(2) * 1.1,
        invalid_message_deliveries_decay: decay(intervals(INVALID_MEMORY.as_secs_f64())),
        ..TopicScoreParams::default()
    };
    if kind != Kind::Blocks {
        return quiet;
    }
    let first_decay = decay(intervals(FIRST_SLOTS * slot_s));
    // Blocks that a mesh peer delivers first in an interval, and the counter's value for which
    // decay takes as much as twice that adds.
    let share = intervals(1.0).recip() / slot_s / MESH_PEERS as f64;
    let first_cap = 2.0 * share / (1.0 - first_decay);
    TopicScoreParams {
        time_in_mesh_weight: MESH_SCORE_MAX / MESH_SLOTS,
        time_in_mesh_quantum: slot,
        time_in_mesh_cap: MESH_SLOTS,
        first_message_deliveries_weight: FIRST_SCORE_MAX / first_cap,
        first_message_deliveries_decay: first_decay,
        first_message_deliveries_cap: first_cap,
        ..quiet
    }
}

/// Scores at which a peer is heard less.
pub fn thresholds() -> PeerScoreThresholds {
    PeerScoreThresholds {
        gossip_threshold: BAN_SCORE / 4.0,
        publish_threshold: BAN_SCORE / 2.0,
        graylist_threshold: BAN_SCORE,
        accept_px_threshold: 0.0,
        // A mesh whose median peer delivers less than half of its share takes in others.
        opportunistic_graft_threshold: FIRST_SCORE_MAX / 4.0,
    }
}

#[cfg(test)]
mod tests {
    use jar_kernel::Params;

    use super::*;

    #[test]
    fn the_library_takes_them_at_every_pace() {
        let topics = Topics::new("jar-dev", &[4, 9], &Params::default());
        assert_eq!(topics.iter().count(), 5);
        thresholds().validate().expect("good thresholds");
        for slot_ms in [50, 200, 1000, 6000, 60_000] {
            let params = params(&topics, Duration::from_millis(slot_ms));
            params.validate().expect("good parameters");
            assert_eq!(params.topics.len(), 5);
        }
    }

    #[test]
    fn few_invalid_messages_outweigh_all_that_is_earned() {
        let topics = Topics::new("jar-dev", &[4], &Params::default());
        let params = params(&topics, Duration::from_secs(1));
        for (kind, topic) in topics.iter() {
            let p = &params.topics[&topic.hash()];
            let weight = p.invalid_message_deliveries_weight;
            let score = |invalid: f64| params.topic_score_cap + weight * invalid * invalid;
            assert!(score(INVALID_MAX) < BAN_SCORE, "{kind:?}");
            assert!(
                weight * 3.0 * 3.0 > BAN_SCORE,
                "{kind:?}: three are forgiven"
            );
        }
    }

    #[test]
    fn a_fair_share_of_blocks_earns_half() {
        let topics = Topics::new("jar-dev", &[], &Params::default());
        for slot_ms in [200, 1000, 6000] {
            let params = params(&topics, Duration::from_millis(slot_ms));
            let p = params.topics.values().next().expect("one topic");
            let interval = params.decay_interval.as_secs_f64();
            let blocks = interval * 1000.0 / slot_ms as f64 / MESH_PEERS as f64;
            let mut counter = 0.0;
            for _ in 0..2000 {
                counter = (counter + blocks) * p.first_message_deliveries_decay;
            }
            let earned = counter * p.first_message_deliveries_weight;
            assert!((5.5..8.0).contains(&earned), "{slot_ms} ms: {earned}");
        }
    }
}
