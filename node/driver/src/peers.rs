//! What is known of peers: their status, how they behave, what they use up.

use std::collections::BTreeMap;

use crate::config::Limits;
use crate::io::{Offence, PeerId};
use crate::messages::{Request, Status};

/// A peer as bad as this is banned.
pub const BAN_AT: u64 = 1000;
/// Longest rest of a peer that does not answer.
const REST_MS_MAX: u64 = 60_000;

impl Offence {
    /// What the offence adds to a peer's badness.
    fn weight(self) -> u64 {
        match self {
            Offence::Invalid | Offence::OtherChain => BAN_AT,
            Offence::Lied => BAN_AT / 2,
            Offence::Malformed => BAN_AT / 4,
            Offence::Flooded => BAN_AT / 50,
            // Losses and partitions are nobody's fault: a peer that does not answer rests, and
            // what rests cannot stall often enough to be banned.
            Offence::Stalled => BAN_AT / 50,
            Offence::Rejected => 1,
        }
    }
}

/// A connected peer.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub status: Option<Status>,
    /// When to ask for the status again.
    pub status_due_ms: u64,
    /// Requests to it in flight.
    pub requests: usize,
    /// Until when nothing but its status is asked of it.
    pub rest_until_ms: u64,
    /// Until when its claim of a better chain does not count.
    pub doubt_until_ms: u64,
    /// How often it failed to answer in a row.
    stalls: u32,
    /// How long it takes to answer, smoothed.
    latency_ms: u64,
    /// Bytes of its events that wait for the kernel.
    pub event_bytes: usize,
    /// Thousandths of the cost of requests that it used up.
    used: u64,
    used_at_ms: u64,
}

/// How an identity behaved, connected or not.
#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    badness: u64,
    at_ms: u64,
    banned_until_ms: u64,
}

impl Standing {
    /// The badness that is left: half of it each `forgive_ms`.
    fn badness(&self, now_ms: u64, forgive_ms: u64) -> u64 {
        let age_ms = now_ms.saturating_sub(self.at_ms);
        let forgive_ms = forgive_ms.max(1);
        let halved = self
            .badness
            .checked_shr((age_ms / forgive_ms).min(64) as u32)
            .unwrap_or(0);
        halved - halved * (age_ms % forgive_ms) / forgive_ms / 2
    }
}

/// All of them.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    limits: Limits,
    connected: BTreeMap<PeerId, Peer>,
    standings: BTreeMap<PeerId, Standing>,
}

impl Peers {
    pub fn new(limits: Limits) -> Peers {
        Peers {
            limits,
            connected: BTreeMap::new(),
            standings: BTreeMap::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.connected.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&PeerId, &Peer)> {
        self.connected.iter()
    }

    pub fn get_mut(&mut self, id: &PeerId) -> Option<&mut Peer> {
        self.connected.get_mut(id)
    }

    pub fn status(&self, id: &PeerId) -> Option<&Status> {
        self.connected.get(id)?.status.as_ref()
    }

    pub fn contains(&self, id: &PeerId) -> bool {
        self.connected.contains_key(id)
    }

    /// Until when an identity is banned; in the past when it is not.
    pub fn banned_until_ms(&self, id: &PeerId) -> u64 {
        self.standings.get(id).map_or(0, |s| s.banned_until_ms)
    }

    pub fn badness(&self, id: &PeerId, now_ms: u64) -> u64 {
        let standing = self.standings.get(id);
        standing.map_or(0, |s| s.badness(now_ms, self.limits.forgive_ms))
    }

    pub fn connect(&mut self, id: PeerId, now_ms: u64) {
        self.connected.entry(id).or_insert(Peer {
            status: None,
            status_due_ms: now_ms,
            requests: 0,
            rest_until_ms: 0,
            doubt_until_ms: 0,
            stalls: 0,
            latency_ms: 0,
            event_bytes: 0,
            used: 0,
            used_at_ms: now_ms,
        });
    }

    pub fn disconnect(&mut self, id: &PeerId) -> bool {
        self.connected.remove(id).is_some()
    }

    /// Takes note of an offence; answers until when the peer is banned for it.
    pub fn penalize(&mut self, id: &PeerId, offence: Offence, now_ms: u64) -> Option<u64> {
        let badness = self.badness(id, now_ms) + offence.weight();
        let is_ban = badness >= BAN_AT;
        let banned_until_ms = if is_ban {
            now_ms.saturating_add(self.limits.ban_ms)
        } else {
            self.banned_until_ms(id)
        };
        let standing = Standing {
            badness: if is_ban { 0 } else { badness },
            at_ms: now_ms,
            banned_until_ms,
        };
        self.standings.insert(*id, standing);
        if self.standings.len() > self.limits.bans {
            self.forget_one(now_ms);
        }
        is_ban.then_some(banned_until_ms)
    }

    /// Forgets the identity that has least against it.
    fn forget_one(&mut self, now_ms: u64) {
        let forgive_ms = self.limits.forgive_ms;
        let least = self
            .standings
            .iter()
            .min_by_key(|(id, standing)| {
                let ban_ms = standing.banned_until_ms.saturating_sub(now_ms);
                (ban_ms, standing.badness(now_ms, forgive_ms), **id)
            })
            .map(|(id, _)| *id);
        if let Some(id) = least {
            self.standings.remove(&id);
        }
    }

    /// The peer did not answer: it rests, longer each time.
    pub fn stalled(&mut self, id: &PeerId, now_ms: u64) {
        if let Some(peer) = self.connected.get_mut(id) {
            let rest_ms = (500_u64 << peer.stalls.min(10)).min(REST_MS_MAX);
            peer.stalls = peer.stalls.saturating_add(1);
            peer.rest_until_ms = now_ms.saturating_add(rest_ms);
        }
    }

    /// The peer answered after some time.
    pub fn answered(&mut self, id: &PeerId, took_ms: u64) {
        if let Some(peer) = self.connected.get_mut(id) {
            peer.stalls = 0;
            peer.latency_ms = (peer.latency_ms * 3 + took_ms) / 4;
        }
    }

    /// The peers that may be asked now, the least busy and fastest first.
    pub fn free(&self, now_ms: u64) -> Vec<PeerId> {
        let mut free: Vec<_> = self
            .connected
            .iter()
            .filter(|(_, peer)| {
                peer.rest_until_ms <= now_ms && peer.requests < self.limits.requests_per_peer
            })
            .map(|(id, peer)| (peer.requests, peer.latency_ms, *id))
            .collect();
        free.sort_unstable();
        free.into_iter().map(|(_, _, id)| id).collect()
    }

    /// Takes what a request costs from the peer's allowance; answers whether it suffices.
    pub fn may_ask(&mut self, id: &PeerId, request: &Request, now_ms: u64) -> bool {
        let Some(peer) = self.connected.get_mut(id) else {
            return false;
        };
        let elapsed_ms = now_ms.saturating_sub(peer.used_at_ms);
        let given_back = elapsed_ms.saturating_mul(self.limits.serve_per_s);
        peer.used = peer.used.saturating_sub(given_back);
        peer.used_at_ms = now_ms;
        let used = peer.used.saturating_add(cost(request) * 1000);
        let suffices = used <= self.limits.serve_burst.saturating_mul(1000);
        if suffices {
            peer.used = used;
        }
        suffices
    }
}

/// What serving a request costs at the most.
fn cost(request: &Request) -> u64 {
    match request {
        Request::Status(_) => 1,
        Request::Blocks { count, .. } | Request::Ancestry { count, .. } => 8 * u64::from(*count),
        Request::Pivot(_) => 8,
        Request::Records(ids) => ids.0.len() as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PeerId = PeerId([1; 32]);
    const B: PeerId = PeerId([2; 32]);

    fn peers() -> Peers {
        let mut peers = Peers::new(Limits::default());
        peers.connect(A, 0);
        peers.connect(B, 0);
        peers
    }

    #[test]
    fn small_offences_add_up_and_are_forgiven() {
        let mut peers = peers();
        assert_eq!(peers.penalize(&A, Offence::Malformed, 0), None);
        assert_eq!(peers.badness(&A, 0), 250);
        assert_eq!(peers.badness(&A, 60_000), 125);
        assert_eq!(peers.badness(&A, 90_000), 94);
        assert_eq!(peers.badness(&A, u64::MAX), 0);
        for _ in 0..2 {
            assert_eq!(peers.penalize(&A, Offence::Malformed, 0), None);
        }
        let until_ms = Limits::default().ban_ms;
        assert_eq!(peers.penalize(&A, Offence::Malformed, 0), Some(until_ms));
        assert_eq!(peers.banned_until_ms(&A), until_ms);
        assert_eq!(peers.banned_until_ms(&B), 0);
    }

    #[test]
    fn the_worst_are_remembered() {
        let limits = Limits {
            bans: 2,
            ..Limits::default()
        };
        let mut peers = Peers::new(limits);
        assert!(peers.penalize(&A, Offence::Invalid, 0).is_some());
        peers.penalize(&B, Offence::Lied, 0);
        peers.penalize(&PeerId([3; 32]), Offence::Rejected, 0);
        assert_eq!(peers.badness(&PeerId([3; 32]), 0), 0, "forgotten");
        assert_eq!(peers.badness(&B, 0), 500);
        assert!(peers.banned_until_ms(&A) > 0);
    }

    #[test]
    fn who_stalls_rests_longer_each_time() {
        let mut peers = peers();
        peers.stalled(&A, 0);
        assert_eq!(peers.free(0), [B]);
        assert_eq!(peers.free(500), [A, B]);
        for _ in 0..20 {
            peers.stalled(&A, 0);
        }
        assert_eq!(peers.free(REST_MS_MAX - 1), [B]);
        peers.answered(&A, 10);
        assert_eq!(peers.free(REST_MS_MAX), [B, A], "the faster first");
    }

    #[test]
    fn requests_are_allowed_by_cost() {
        let mut peers = peers();
        let request = Request::Blocks {
            from: 1,
            count: 128,
        };
        let allowed = (0..1000).filter(|_| peers.may_ask(&A, &request, 0)).count() as u64;
        assert_eq!(allowed, Limits::default().serve_burst / 1024);
        assert!(peers.may_ask(&B, &request, 0));
        assert!(peers.may_ask(&A, &request, 1000), "allowances come back");
        assert!(!peers.may_ask(&PeerId([9; 32]), &request, 0));
    }
}
