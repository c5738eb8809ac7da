//! The driver: one state machine of the parts that decide.

mod gossip;
mod ranges;
mod records;

use std::collections::BTreeMap;

use jar_cap::{Hash, Reference};

use crate::config::{Config, SyncMode};
use crate::io::{
    Effect, Gossip, InboundId, Input, Offence, PeerId, RequestFailure, RequestId, Ticket,
};
use crate::messages::{BlockRef, Request, Response, Status};
use crate::peers::Peers;
use crate::recent::Recent;

use gossip::{Import, Judging, Waiting};
use ranges::Download;
use records::StateSync;

/// What the node is doing about its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It follows the chain, or knows of no better one.
    Following,
    /// It fetches the state of a finalized block.
    State,
    /// It fetches blocks.
    Blocks,
}

/// How far the node has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What it is doing.
    pub stage: Stage,
    /// Height of the head.
    pub height: u64,
    /// Height of the best block that a peer claims, or of the head.
    pub target: u64,
    /// State records fetched by this process.
    pub records: u64,
    /// Their bytes.
    pub record_bytes: u64,
    /// State records known to be missing.
    pub records_missing: u64,
}

/// What is known of a connected peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// Who.
    pub id: PeerId,
    /// What it said last.
    pub status: Option<Status>,
    /// How badly it behaved of late: 0 is good, [`crate::BAN_AT`] bans.
    pub badness: u64,
    /// Requests to it in flight.
    pub requests: usize,
}

/// What a request is for.
#[derive(Clone, Debug)]
enum Purpose {
    Status,
    Range { from: u64 },
    Ancestry { hash: Hash },
    Pivot { hash: Hash },
    Records(Vec<Reference>),
}

/// A request that waits for its answer.
#[derive(Clone, Debug)]
struct InFlight {
    peer: PeerId,
    request: Request,
    purpose: Purpose,
    asked_ms: u64,
    until_ms: u64,
}

/// How long a claim of a better chain that turned out empty is not believed.
const DOUBT_MS: u64 = 30_000;
/// How often the driver looks for what is late while it fetches something.
const STEP_MS: u64 = 100;

/// The node's decisions: when to build, what to do with what peers send, whom to ask for what.
#[derive(Clone, Debug)]
pub struct Driver {
    config: Config,
    head: BlockRef,
    finalized: BlockRef,
    first_height: u64,
    /// The highest slot that is done with: built, tried, or the head's.
    done: u64,
    stopped: bool,
    /// When the first input came.
    started_ms: Option<u64>,
    /// Until when claims of a better chain keep the node from building.
    patience_until_ms: u64,
    peers: Peers,
    /// Blocks that the kernel has.
    known: Recent,
    /// Blocks that nobody can make valid.
    invalid: Recent,
    /// Heads whose ancestry was asked for.
    tried: Recent,
    in_flight: BTreeMap<RequestId, InFlight>,
    imports: BTreeMap<Ticket, Import>,
    judging: BTreeMap<Ticket, Judging>,
    waiting: Waiting,
    /// Blocks by time slot that gossip brought.
    slots: BTreeMap<u64, usize>,
    download: Option<Download>,
    /// Number of downloads begun; an import of an earlier one moves nothing.
    epoch: u64,
    /// How far below the head the next download starts.
    back: u64,
    state: Option<Box<StateSync>>,
    records: u64,
    record_bytes: u64,
    last_id: u64,
    now_ms: u64,
    effects: Vec<Effect>,
}

impl Driver {
    /// A driver for a chain as the kernel opened it.
    pub fn new(config: Config) -> Self {
        let limits = config.limits;
        let mut known = Recent::new(limits.remembered);
        known.insert(config.genesis);
        known.insert(config.finalized.hash);
        known.insert(config.head.hash);
        // A chain that has blocks goes on from them.
        let state = match config.sync {
            SyncMode::State { trusted } if config.head.height == 0 => {
                Some(Box::new(StateSync::new(trusted)))
            }
            _ => None,
        };
        Driver {
            head: config.head,
            finalized: config.finalized,
            first_height: config.first_height,
            done: config.head.slot,
            stopped: false,
            started_ms: None,
            patience_until_ms: 0,
            peers: Peers::new(limits),
            known,
            invalid: Recent::new(limits.remembered),
            tried: Recent::new(limits.remembered),
            in_flight: BTreeMap::new(),
            imports: BTreeMap::new(),
            judging: BTreeMap::new(),
            waiting: Waiting::default(),
            slots: BTreeMap::new(),
            download: None,
            epoch: 0,
            back: 0,
            state,
            records: 0,
            record_bytes: 0,
            last_id: 0,
            now_ms: 0,
            effects: Vec::new(),
            config,
        }
    }

    /// What this node says of itself.
    pub fn status(&self) -> Status {
        Status {
            genesis: self.config.genesis,
            head: self.head,
            finalized: self.finalized,
            first_height: self.first_height,
        }
    }

    /// How far the node has come.
    pub fn progress(&self) -> Progress {
        let stage = match (&self.state, &self.download) {
            (Some(_), _) => Stage::State,
            (None, Some(_)) => Stage::Blocks,
            (None, None) => Stage::Following,
        };
        let claimed = self.claims().map(|(_, claim)| claim.height).max();
        Progress {
            stage,
            height: self.head.height,
            target: claimed.map_or(self.head.height, |height| height.max(self.head.height)),
            records: self.records,
            record_bytes: self.record_bytes,
            records_missing: self.state.as_ref().map_or(0, |state| state.missing()),
        }
    }

    /// Whether the node is where its peers are, as far as it can tell: if not, it builds nothing.
    pub fn is_synced(&self) -> bool {
        if self.state.is_some() {
            return false;
        }
        let is_patient = self.started_ms.is_none() || self.now_ms < self.patience_until_ms;
        let heard = self.peers.iter().filter(|(_, peer)| peer.status.is_some());
        let waits_for_peers = heard.count() < self.config.peers_min
            && self.started_ms.is_none_or(|started_ms| {
                self.now_ms < started_ms.saturating_add(self.config.limits.patience_ms)
            });
        let behind = self.head.height.saturating_add(self.config.limits.behind);
        let is_behind = self.claims().any(|(_, claim)| claim.height > behind);
        !(waits_for_peers || is_patient && is_behind)
    }

    /// The connected peers.
    pub fn peers(&self) -> impl Iterator<Item = PeerInfo> {
        self.peers.iter().map(|(id, peer)| PeerInfo {
            id: *id,
            status: peer.status,
            badness: self.peers.badness(id, self.now_ms),
            requests: peer.requests,
        })
    }

    /// Until when an identity is banned, in milliseconds since the Unix epoch; in the past when
    /// it is not.
    pub fn banned_until_ms(&self, peer: &PeerId) -> u64 {
        self.peers.banned_until_ms(peer)
    }

    /// Takes note of what happened at `now_ms`, and says what to do, in order.
    pub fn handle(&mut self, input: Input, now_ms: u64) -> Vec<Effect> {
        self.now_ms = now_ms;
        if self.started_ms.is_none() {
            self.started_ms = Some(now_ms);
            self.patience_until_ms = now_ms.saturating_add(self.config.limits.patience_ms);
        }
        self.take(input);
        if !self.stopped {
            self.decide();
        }
        std::mem::take(&mut self.effects)
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Tick => {}
            Input::Head(head) => {
                self.known.insert(head.hash);
                self.done = self.done.max(head.slot);
                self.head = head;
            }
            Input::Finalized(finalized) => self.finalized(finalized),
            Input::Connected(peer) => self.connected(peer),
            Input::Disconnected(peer) => self.forget(&peer),
            Input::Gossip { peer, message, .. } if self.is_deaf_to(&peer) => {
                self.ignore(message, peer);
            }
            Input::Gossip {
                peer,
                message,
                content: Gossip::Block(block),
            } => self.gossip_block(peer, message, block),
            Input::Gossip {
                peer,
                message,
                content: Gossip::Events { endpoint, events },
            } => self.gossip_events(peer, message, endpoint, events),
            Input::Response { id, response } => self.response(id, response),
            Input::RequestFailed { id, failure } => self.request_failed(id, failure),
            Input::Asked {
                peer,
                inbound,
                request,
            } => self.asked(peer, inbound, request),
            Input::Offence { peer, offence } => self.penalize(&peer, offence),
            Input::Imported { ticket, outcome } => self.imported(ticket, outcome),
            Input::Judged { ticket, outcomes } => self.judged(ticket, &outcomes),
            Input::RecordsRead { ticket, contents } => self.records_read(ticket, contents),
            Input::RecordsWritten { ticket } => self.records_written(ticket),
            Input::Adopted { ticket, is_adopted } => self.adopted(ticket, is_adopted),
            Input::Stop => self.stopped = true,
        }
    }

    /// Whether gossip of a peer is of no use now.
    fn is_deaf_to(&self, peer: &PeerId) -> bool {
        self.stopped || self.state.is_some() || !self.peers.contains(peer)
    }

    fn decide(&mut self) {
        self.expire_requests();
        self.release_waiting();
        self.ask_statuses();
        if self.state.is_some() {
            self.step_state();
        } else {
            self.catch_up();
        }
        let build_ms = self.build();
        self.wake(build_ms);
    }

    fn id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Builds if it is time; answers when it is time again.
    fn build(&mut self) -> Option<u64> {
        let schedule = self.config.schedule;
        if !schedule.builds || schedule.slot_ms == 0 {
            return None;
        }
        let Some(slot) = schedule.slot_at(self.now_ms) else {
            return Some(schedule.genesis_time_ms);
        };
        if slot > self.done && self.is_synced() {
            self.done = slot;
            let until_ms = schedule.until_ms(slot, self.now_ms);
            self.effects.push(Effect::Build { slot, until_ms });
        }
        // A clock that was set back is waited for.
        let next = self.done.max(slot).saturating_add(1);
        Some(schedule.start_ms(next))
    }

    /// Says when the driver must be called again.
    fn wake(&mut self, build_ms: Option<u64>) {
        let fetches = self.state.is_some() || self.download.is_some();
        let is_late = build_ms.is_some() && !self.is_synced();
        let step_ms = (fetches || is_late).then(|| self.now_ms.saturating_add(STEP_MS));
        let requests = self.in_flight.values().map(|request| request.until_ms);
        let statuses = self.peers.iter().map(|(_, peer)| peer.status_due_ms);
        let at_ms = requests
            .chain(statuses)
            .chain(build_ms)
            .chain(step_ms)
            .chain(self.waiting.due_ms(&self.config))
            .min();
        if let Some(at_ms) = at_ms {
            // What is due and still could not be done is tried a moment later.
            let at_ms = at_ms.max(self.now_ms.saturating_add(1));
            self.effects.push(Effect::Wake { at_ms });
        }
    }

    fn connected(&mut self, peer: PeerId) {
        let until_ms = self.peers.banned_until_ms(&peer);
        if until_ms > self.now_ms || self.peers.len() >= self.config.limits.peers {
            let offence = Offence::Flooded;
            return self.effects.push(Effect::Ban {
                peer,
                until_ms,
                offence,
            });
        }
        self.peers.connect(peer, self.now_ms);
    }

    /// Forgets a peer that is gone, and asks others what it was asked.
    fn forget(&mut self, peer: &PeerId) {
        if !self.peers.disconnect(peer) {
            return;
        }
        let lost = self.in_flight.iter().filter(|(_, r)| r.peer == *peer);
        let lost: Vec<RequestId> = lost.map(|(id, _)| *id).collect();
        for id in lost {
            if let Some(request) = self.in_flight.remove(&id) {
                self.unanswered(id, &request);
            }
        }
        self.waiting.forget(peer);
    }

    fn penalize(&mut self, peer: &PeerId, offence: Offence) {
        if let Some(until_ms) = self.peers.penalize(peer, offence, self.now_ms) {
            self.forget(peer);
            self.effects.push(Effect::Ban {
                peer: *peer,
                until_ms,
                offence,
            });
        }
    }

    /// Asks a peer, unless too much is asked already.
    fn ask(&mut self, peer: PeerId, request: Request, purpose: Purpose) -> Option<RequestId> {
        let limits = self.config.limits;
        let is_status = matches!(purpose, Purpose::Status);
        if !is_status && self.in_flight.len() >= limits.requests {
            return None;
        }
        self.peers.get_mut(&peer)?.requests += 1;
        let id = RequestId(self.id());
        let until_ms = self.now_ms.saturating_add(limits.request_ms);
        self.effects.push(Effect::Request {
            id,
            peer,
            request: request.clone(),
            until_ms,
        });
        let in_flight = InFlight {
            peer,
            request,
            purpose,
            asked_ms: self.now_ms,
            until_ms,
        };
        self.in_flight.insert(id, in_flight);
        Some(id)
    }

    fn ask_statuses(&mut self) {
        let due = self.peers.iter();
        let due: Vec<PeerId> = due
            .filter(|(_, peer)| peer.status_due_ms <= self.now_ms)
            .map(|(id, _)| *id)
            .collect();
        for peer in due {
            self.ask(peer, Request::Status(self.status()), Purpose::Status);
            let due_ms = self.now_ms.saturating_add(self.config.limits.status_ms);
            if let Some(peer) = self.peers.get_mut(&peer) {
                peer.status_due_ms = due_ms;
            }
        }
    }

    /// Asks for a peer's status soon, for what it sends does not fit what it said.
    fn hurry_status(&mut self, peer: &PeerId) {
        let soon_ms = self.now_ms.saturating_add(STEP_MS);
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.status_due_ms = peer.status_due_ms.min(soon_ms);
        }
    }

    fn expire_requests(&mut self) {
        let late = self.in_flight.iter();
        let late: Vec<RequestId> = late
            .filter(|(_, request)| request.until_ms <= self.now_ms)
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            self.request_failed(id, RequestFailure::Unreachable);
        }
    }

    /// Takes a request off the list, as its answer is there or will not come.
    fn close(&mut self, id: RequestId) -> Option<InFlight> {
        let request = self.in_flight.remove(&id)?;
        if let Some(peer) = self.peers.get_mut(&request.peer) {
            peer.requests = peer.requests.saturating_sub(1);
        }
        Some(request)
    }

    fn request_failed(&mut self, id: RequestId, failure: RequestFailure) {
        let Some(request) = self.close(id) else {
            return;
        };
        self.unanswered(id, &request);
        self.peers.stalled(&request.peer, self.now_ms);
        let offence = match failure {
            RequestFailure::Unreachable | RequestFailure::Unsupported => Offence::Stalled,
            RequestFailure::Malformed => Offence::Malformed,
        };
        self.penalize(&request.peer, offence);
    }

    /// What was asked has to be asked again, of another.
    fn unanswered(&mut self, id: RequestId, request: &InFlight) {
        match &request.purpose {
            Purpose::Status | Purpose::Ancestry { .. } => {}
            Purpose::Range { from } => self.range_unanswered(id, *from),
            Purpose::Pivot { .. } => self.pivot_unanswered(&request.peer),
            Purpose::Records(references) => self.records_unanswered(references.clone()),
        }
    }

    fn response(&mut self, id: RequestId, response: Response) {
        // An answer that comes too late was replaced.
        let Some(request) = self.close(id) else {
            return;
        };
        if !request.request.is_answered_by(&response) {
            self.unanswered(id, &request);
            return self.penalize(&request.peer, Offence::Lied);
        }
        if response == Response::Refused {
            self.unanswered(id, &request);
            return self.peers.stalled(&request.peer, self.now_ms);
        }
        let took_ms = self.now_ms.saturating_sub(request.asked_ms);
        self.peers.answered(&request.peer, took_ms);
        let peer = request.peer;
        match (request.purpose, response) {
            (Purpose::Status, Response::Status(status)) => self.peer_status(peer, status),
            (Purpose::Range { from }, Response::Blocks(blocks)) => {
                self.range_answered(id, peer, from, blocks);
            }
            (Purpose::Ancestry { hash }, Response::Blocks(blocks)) => {
                self.ancestry_answered(peer, hash, blocks);
            }
            (Purpose::Pivot { hash }, Response::Pivot(pivot)) => {
                self.pivot_answered(peer, hash, pivot);
            }
            (Purpose::Records(references), Response::Records(records)) => {
                self.records_answered(peer, references, records);
            }
            // Purposes and requests come in pairs.
            _ => {}
        }
    }

    fn peer_status(&mut self, peer: PeerId, status: Status) {
        if status.genesis != self.config.genesis {
            return self.penalize(&peer, Offence::OtherChain);
        }
        if status.head.height < status.finalized.height {
            return self.penalize(&peer, Offence::Lied);
        }
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.status = Some(status);
        }
    }

    fn asked(&mut self, peer: PeerId, inbound: InboundId, request: Request) {
        if self.stopped || !self.peers.may_ask(&peer, &request, self.now_ms) {
            self.effects.push(Effect::Refuse { inbound });
            return self.penalize(&peer, Offence::Flooded);
        }
        if let Request::Status(status) = &request {
            self.peer_status(peer, *status);
        }
        self.effects.push(Effect::Serve { inbound, request });
    }

    /// The peers' heads that are better than ours and not known here.
    fn claims(&self) -> impl Iterator<Item = (PeerId, BlockRef)> {
        let peers = self.peers.iter().filter_map(|(id, peer)| {
            let is_believed = peer.doubt_until_ms <= self.now_ms;
            Some((*id, peer.status.filter(|_| is_believed)?.head))
        });
        peers.filter(|(_, claim)| {
            claim.score > self.head.score
                && claim.height > self.finalized.height
                && !self.known.contains(&claim.hash)
        })
    }

    /// A claim turned out empty: it does not count for a while.
    fn doubt(&mut self, peer: &PeerId) {
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.doubt_until_ms = self.now_ms.saturating_add(DOUBT_MS);
        }
    }

    fn finalized(&mut self, finalized: BlockRef) {
        self.known.insert(finalized.hash);
        self.finalized = finalized;
        self.slots = self.slots.split_off(&finalized.slot);
        self.waiting.prune(finalized.height);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, Schedule, SyncMode};
    use proptest::prelude::*;

    const SCHEDULE: Schedule = Schedule {
        genesis_time_ms: 10_000,
        slot_ms: 1000,
        builds: true,
    };

    fn driver(schedule: Schedule, head_slot: u64) -> Driver {
        let head = BlockRef {
            slot: head_slot,
            ..BlockRef::default()
        };
        Driver::new(Config {
            schedule,
            genesis: [1; 32],
            sync: SyncMode::Full,
            first_height: 1,
            head,
            finalized: BlockRef::default(),
            peers_min: 0,
            limits: Limits::default(),
        })
    }

    fn built(effects: &[Effect]) -> Option<(u64, u64)> {
        effects.iter().find_map(|effect| match effect {
            Effect::Build { slot, until_ms } => Some((*slot, *until_ms)),
            _ => None,
        })
    }

    fn wake(effects: &[Effect]) -> Option<u64> {
        effects.iter().find_map(|effect| match effect {
            Effect::Wake { at_ms } => Some(*at_ms),
            _ => None,
        })
    }

    #[test]
    fn waits_for_genesis_then_builds_each_slot_once() {
        let mut driver = driver(SCHEDULE, 0);
        assert_eq!(wake(&driver.handle(Input::Tick, 5)), Some(10_000));
        // Slot 0 is the genesis block's.
        let effects = driver.handle(Input::Tick, 10_000);
        assert_eq!((built(&effects), wake(&effects)), (None, Some(11_000)));
        let effects = driver.handle(Input::Tick, 11_000);
        assert_eq!(built(&effects), Some((1, 11_500)));
        assert_eq!(wake(&effects), Some(12_000));
        assert_eq!(built(&driver.handle(Input::Tick, 11_900)), None);
        let effects = driver.handle(Input::Tick, 12_900);
        assert_eq!(built(&effects), Some((2, 13_000)));
    }

    #[test]
    fn skips_missed_slots_and_slots_of_other_blocks() {
        let mut driver = driver(SCHEDULE, 0);
        let slot = |effects: &[Effect]| built(effects).map(|(slot, _)| slot);
        assert_eq!(slot(&driver.handle(Input::Tick, 17_300)), Some(7));
        let head = BlockRef {
            slot: 9,
            ..BlockRef::default()
        };
        assert_eq!(slot(&driver.handle(Input::Head(head), 18_000)), None);
        assert_eq!(slot(&driver.handle(Input::Tick, 19_999)), None);
        assert_eq!(slot(&driver.handle(Input::Tick, 20_000)), Some(10));
    }

    #[test]
    fn a_clock_set_back_is_waited_for() {
        let mut driver = driver(SCHEDULE, 0);
        assert!(built(&driver.handle(Input::Tick, 15_000)).is_some());
        let effects = driver.handle(Input::Tick, 12_000);
        assert_eq!((built(&effects), wake(&effects)), (None, Some(16_000)));
    }

    #[test]
    fn stopped_or_idle_drivers_build_nothing() {
        let mut stopped = driver(SCHEDULE, 0);
        assert!(stopped.handle(Input::Stop, 11_000).is_empty());
        assert!(stopped.handle(Input::Tick, 12_000).is_empty());
        let idle = Schedule {
            builds: false,
            ..SCHEDULE
        };
        let effects = driver(idle, 0).handle(Input::Tick, 12_000);
        assert_eq!(built(&effects), None);
    }

    proptest! {
        #[test]
        fn slots_only_rise(times in proptest::collection::vec(any::<u64>(), 1..100)) {
            let mut driver = driver(SCHEDULE, 3);
            let mut last = 3;
            for now_ms in times {
                if let Some((slot, _)) = built(&driver.handle(Input::Tick, now_ms)) {
                    prop_assert!(slot > last);
                    prop_assert_eq!(Some(slot), SCHEDULE.slot_at(now_ms));
                    last = slot;
                }
            }
        }
    }
}
