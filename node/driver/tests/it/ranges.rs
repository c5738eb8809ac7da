//! Catching up from peers that are fast, slow, silent or lying.

use std::sync::Arc;

use jar_driver::{
    Effect, ImportOutcome, Input, Limits, PeerId, Request, RequestFailure, RequestId, Response,
    Stage,
};
use jar_kernel::block::Block;

use crate::harness::*;

type Asked = (RequestId, PeerId, u64, u64);

/// Requests for ranges: by whom, from which height, how many.
fn ranges(effects: &[Effect]) -> Vec<Asked> {
    let asked = requests(effects).into_iter();
    let ranges = asked.filter_map(|(id, of, request)| match request {
        Request::Blocks { from, count } => Some((id, of, from, u64::from(count))),
        _ => None,
    });
    ranges.collect()
}

fn slice(blocks: &[Arc<Block>], from: u64, count: u64) -> Response {
    let first = from as usize - 1;
    let slice = &blocks[first..(first + count as usize).min(blocks.len())];
    Response::Blocks(slice.iter().map(|block| (**block).clone()).collect())
}

/// A driver that met some peers of the same chain.
fn behind(blocks: &[Arc<Block>], peers: u8) -> (Rig, Vec<Asked>) {
    let mut rig = Rig::new(config());
    let tip = blocks.last().expect("a chain");
    let mut asked = Vec::new();
    for number in 1..=peers {
        asked.extend(ranges(&rig.meet(number, status(tip))));
    }
    (rig, asked)
}

/// Answers every request for a range from a chain until nothing is asked any more.
fn serve_all(rig: &mut Rig, blocks: &[Arc<Block>], asked: Vec<Asked>) -> Vec<u64> {
    let mut queue: std::collections::VecDeque<Asked> = asked.into();
    let mut heights = Vec::new();
    while let Some((id, _, from, count)) = queue.pop_front() {
        let effects = rig.answer(id, slice(blocks, from, count));
        queue.extend(ranges(&effects));
        let (imported, rest) = rig.import_all(effects);
        heights.extend(imported);
        queue.extend(ranges(&rest));
    }
    heights
}

#[test]
fn several_peers_are_asked_at_once_and_blocks_imported_in_order() {
    let blocks = chain(700, 0);
    let (mut rig, mut asked) = behind(&blocks, 3);
    let of: std::collections::BTreeSet<PeerId> = asked.iter().map(|(_, of, ..)| *of).collect();
    assert_eq!(of.len(), 3, "{asked:?}");
    assert_eq!(rig.driver.progress().stage, Stage::Blocks);
    assert_eq!(rig.driver.progress().target, 700);
    assert!(!rig.driver.is_synced());
    // The last asked for comes first.
    asked.reverse();
    let heights = serve_all(&mut rig, &blocks, asked);
    assert_eq!(heights, (1..=700).collect::<Vec<_>>());
    assert_eq!(rig.driver.progress().stage, Stage::Following);
    assert!(rig.driver.is_synced());
}

#[test]
fn what_is_in_flight_is_bounded() {
    let blocks = chain(20_000, 0);
    let (mut rig, asked) = behind(&blocks, 12);
    let limits = Limits::default();
    assert_eq!(asked.len(), limits.requests.min(limits.ranges_ahead));
    let mut importing = 0;
    for (id, _, from, count) in asked {
        let effects = rig.answer(id, slice(&blocks, from, count));
        importing += imports(&effects).len();
    }
    assert_eq!(importing, limits.imports, "the kernel has answered nothing");
}

#[test]
fn who_does_not_answer_is_replaced_and_rests() {
    let blocks = chain(100, 0);
    let (mut rig, asked) = behind(&blocks, 1);
    assert_eq!(asked.len(), 2);
    let more = rig.meet(2, status(&blocks[99]));
    assert!(ranges(&more).is_empty());
    rig.now_ms += Limits::default().request_ms;
    let mut again = ranges(&rig.give(Input::Tick));
    assert!(again.iter().all(|(_, of, ..)| *of == peer(2)), "{again:?}");
    assert!(!again.is_empty());
    let stalled = rig.driver.peers().find(|info| info.id == peer(1));
    assert!(stalled.expect("no ban for silence").badness > 0);
    // An answer that comes too late is not used twice.
    let effects = rig.answer(asked[0].0, slice(&blocks, 1, 64));
    assert!(imports(&effects).is_empty());
    again.sort_by_key(|(_, _, from, _)| *from);
    let heights = serve_all(&mut rig, &blocks, again);
    assert_eq!(heights, (1..=100).collect::<Vec<_>>());
}

#[test]
fn short_answers_are_completed() {
    let blocks = chain(64, 0);
    let (mut rig, asked) = behind(&blocks, 1);
    let (id, _, from, _) = asked[0];
    let effects = rig.answer(id, slice(&blocks, from, 10));
    let (heights, rest) = rig.import_all(effects);
    assert_eq!(heights, (1..=10).collect::<Vec<_>>());
    let heights = serve_all(&mut rig, &blocks, ranges(&rest));
    assert_eq!(heights, (11..=64).collect::<Vec<_>>());
}

#[test]
fn blocks_that_do_not_link_are_a_lie() {
    let blocks = chain(64, 0);
    let (mut rig, asked) = behind(&blocks, 1);
    let mut mixed = blocks.clone();
    mixed[5] = chain(6, 1).remove(5);
    let effects = rig.answer(asked[0].0, slice(&mixed, 1, 64));
    assert!(imports(&effects).is_empty());
    assert_eq!(
        rig.driver.peers().next().map(|info| info.badness),
        Some(500)
    );
}

#[test]
fn an_invalid_block_bans_who_sent_it_and_others_go_on() {
    let blocks = chain(64, 0);
    let (mut rig, asked) = behind(&blocks, 2);
    let (id, of, from, count) = asked[0];
    let effects = rig.answer(id, slice(&chain(64, 9), from, count));
    let mut later = Vec::new();
    for (ticket, height) in imports(&effects) {
        let outcome = match height {
            1 => ImportOutcome::Invalid,
            _ => ImportOutcome::Orphan,
        };
        later.extend(rig.imported(ticket, outcome));
    }
    assert_eq!(banned(&later), [of]);
    let again = ranges(&later);
    assert!(!again.is_empty() && again.iter().all(|(_, by, ..)| *by != of));
    let heights = serve_all(&mut rig, &blocks, again);
    assert_eq!(heights, (1..=64).collect::<Vec<_>>());
}

#[test]
fn a_claim_without_blocks_delays_nobody_for_long() {
    let mut rig = Rig::new(config());
    let mut boast = status(&chain(1, 0)[0]);
    boast.head.height = u64::MAX - 1;
    boast.head.score = u64::MAX;
    let asked = ranges(&rig.meet(1, boast));
    assert!(!rig.driver.is_synced(), "it may be true");
    let mut asked = std::collections::VecDeque::from(asked);
    while let Some((id, ..)) = asked.pop_front() {
        asked.extend(ranges(&rig.answer(id, Response::Blocks(Vec::new()))));
    }
    assert!(rig.driver.is_synced());
    // Nor does one who stalls: patience ends.
    let mut rig = Rig::new(config());
    rig.meet(1, boast);
    rig.now_ms += Limits::default().patience_ms;
    rig.give(Input::Tick);
    assert!(rig.driver.is_synced());
}

#[test]
fn a_fork_is_followed_from_where_it_begins() {
    let common = chain(10, 0);
    let (mut ours, mut theirs) = (common.clone(), common);
    for (fork, len, salt) in [(&mut ours, 60, 1), (&mut theirs, 200, 2)] {
        while fork.len() < len {
            let tip = named(fork.last().expect("a block"));
            fork.push(child(&tip, salt));
        }
    }
    let mut rig = Rig::new(config());
    rig.give(Input::Head(named(&ours[59])));
    rig.give(Input::Finalized(named(&ours[4])));
    let known = |block: &Block| {
        let hash = block.header.parent;
        hash == GENESIS || ours.iter().any(|block| block.header.hash() == hash)
    };
    let mut held = std::collections::BTreeSet::new();
    let mut queue: std::collections::VecDeque<Effect> = rig.meet(1, status(&theirs[199])).into();
    let mut lowest_asked = u64::MAX;
    while let Some(effect) = queue.pop_front() {
        match effect {
            Effect::Request {
                id,
                request: Request::Blocks { from, count },
                ..
            } => {
                lowest_asked = lowest_asked.min(from);
                queue.extend(rig.answer(id, slice(&theirs, from, u64::from(count))));
            }
            Effect::Import { ticket, block } => {
                let is_linked = known(&block) || held.contains(&block.header.parent);
                let outcome = match is_linked {
                    true => ImportOutcome::New,
                    false => ImportOutcome::Orphan,
                };
                if is_linked {
                    held.insert(block.header.hash());
                }
                queue.extend(rig.imported(ticket, outcome));
            }
            _ => {}
        }
    }
    assert!(held.contains(&theirs[199].header.hash()));
    assert!(
        lowest_asked > 5,
        "nothing final is asked for: {lowest_asked}"
    );
    assert!(banned(&rig.give(Input::Tick)).is_empty());
}

/// Two peers have different chains, and a third claims the best one and shows nothing.
#[test]
fn a_silent_claim_of_the_best_chain_stops_nobody() {
    let (theirs, others) = (chain(40, 1), chain(70, 2));
    let mut rig = Rig::new(config());
    let mut boast = status(&chain(80, 3)[79]);
    boast.head.score = u64::MAX;
    let mut queue: std::collections::VecDeque<Asked> =
        ranges(&rig.meet(1, status(&theirs[39]))).into();
    queue.extend(ranges(&rig.meet(2, status(&others[69]))));
    queue.extend(ranges(&rig.meet(3, boast)));
    let mut highest = 0;
    let mut silent = Vec::new();
    for _ in 0..200 {
        let effects = match queue.pop_front() {
            Some((id, of, ..)) if of == peer(3) => {
                silent.push(id);
                continue;
            }
            Some((id, of, from, count)) => {
                let blocks = if of == peer(1) { &theirs } else { &others };
                let (imported, mut effects) = {
                    let effects = rig.answer(id, slice(blocks, from, count));
                    rig.import_all(effects)
                };
                highest = imported.into_iter().fold(highest, u64::max);
                effects.extend(rig.give(Input::Tick));
                effects
            }
            None => {
                rig.now_ms += Limits::default().request_ms;
                rig.give(Input::Tick)
            }
        };
        queue.extend(ranges(&effects));
    }
    assert!(!silent.is_empty(), "it was asked");
    assert_eq!(highest, 70);
}

#[test]
fn peers_of_other_chains_are_sent_away() {
    let mut rig = Rig::new(config());
    let mut other = status(&chain(1, 0)[0]);
    other.genesis = [8; 32];
    assert_eq!(banned(&rig.meet(1, other)), [peer(1)]);
    let mut absurd = status(&chain(1, 0)[0]);
    absurd.finalized.height = 2;
    rig.meet(2, absurd);
    let info = rig.driver.peers().next().expect("connected");
    assert_eq!((info.id, info.badness, info.status), (peer(2), 500, None));
}

#[test]
fn an_answer_to_something_else_is_a_lie() {
    let blocks = chain(64, 0);
    let (mut rig, asked) = behind(&blocks, 1);
    rig.answer(asked[0].0, Response::Records(Vec::new()));
    assert_eq!(
        rig.driver.peers().next().map(|info| info.badness),
        Some(500)
    );
    let id = asked[0].0;
    let failure = RequestFailure::Malformed;
    let effects = rig.give(Input::RequestFailed { id, failure });
    assert!(banned(&effects).is_empty(), "a request is closed once");
}
