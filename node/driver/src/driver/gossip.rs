//! Blocks and events that peers send unasked, and blocks fetched to connect them.

use std::sync::Arc;

use jar_cap::Hash;
use jar_kernel::Verdict;
use jar_kernel::block::{Block, Event};
use parity_scale_codec::Encode;

use super::{Driver, Purpose};
use crate::config::{Config, Limits};
use crate::io::{Effect, EventOutcome, ImportOutcome, MessageId, Offence, PeerId, Ticket};
use crate::messages::Request;

/// Where a block that the kernel was given came from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    /// Gossip that waits for its verdict.
    Gossip(MessageId),
    /// An ancestor that was asked for, or a block that waited for one.
    Fetched,
    /// The download of this number.
    Range(u64),
}

/// A block that the kernel was given.
#[derive(Clone, Debug)]
pub(super) struct Import {
    pub peer: PeerId,
    pub hash: Hash,
    pub block: Arc<Block>,
    pub source: Source,
}

/// Events that the kernel was given.
#[derive(Clone, Debug)]
pub(super) struct Judging {
    peer: PeerId,
    message: MessageId,
    bytes: usize,
}

/// A block that cannot be imported yet.
#[derive(Clone, Debug)]
struct Waiter {
    peer: PeerId,
    hash: Hash,
    block: Arc<Block>,
    bytes: usize,
    since_ms: u64,
    /// For a block of a future slot: its gossip message.
    message: Option<MessageId>,
}

/// Blocks whose parent is not known, and blocks of future slots; the oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Waiting {
    blocks: Vec<Waiter>,
    bytes: usize,
}

/// How long a block waits for its parent.
const ORPHAN_MS: u64 = 60_000;
/// How many blocks are asked for at once to connect an orphan.
const ANCESTRY: u32 = 8;
/// How many ancestries are asked for at the same time.
const ANCESTRIES_MAX: usize = 4;

impl Waiting {
    fn contains(&self, hash: &Hash) -> bool {
        self.blocks.iter().any(|waiter| waiter.hash == *hash)
    }

    fn has_room(&self, peer: &PeerId, bytes: usize, limits: &Limits) -> bool {
        let of_peer = self.blocks.iter().filter(|waiter| waiter.peer == *peer);
        self.blocks.len() < limits.orphans
            && of_peer.count() < limits.orphans_per_peer
            && self.bytes.saturating_add(bytes) <= limits.orphan_bytes
    }

    /// Takes out those of which something holds.
    fn take(&mut self, mut is_taken: impl FnMut(&Waiter) -> bool) -> Vec<Waiter> {
        let (taken, kept): (Vec<_>, Vec<_>) =
            self.blocks.drain(..).partition(|waiter| is_taken(waiter));
        self.blocks = kept;
        self.bytes -= taken.iter().map(|waiter| waiter.bytes).sum::<usize>();
        taken
    }

    /// Forgets what a peer sent.
    pub fn forget(&mut self, peer: &PeerId) {
        self.take(|waiter| waiter.peer == *peer);
    }

    /// Forgets what is not above a finalized height.
    pub fn prune(&mut self, height: u64) {
        self.take(|waiter| waiter.block.header.height <= height);
    }

    /// When the next block's slot begins.
    pub fn due_ms(&self, config: &Config) -> Option<u64> {
        let future = self.blocks.iter().filter(|w| w.message.is_some());
        future
            .map(|waiter| config.schedule.start_ms(waiter.block.header.slot))
            .min()
    }
}

impl Driver {
    pub(super) fn verdict(&mut self, message: MessageId, peer: PeerId, verdict: Verdict) {
        self.effects.push(Effect::Verdict {
            message,
            peer,
            verdict,
        });
    }

    pub(super) fn ignore(&mut self, message: MessageId, peer: PeerId) {
        self.verdict(message, peer, Verdict::Ignore);
    }

    fn reject(&mut self, message: MessageId, peer: PeerId) {
        self.verdict(message, peer, Verdict::Reject);
        self.penalize(&peer, Offence::Invalid);
    }

    pub(super) fn gossip_block(&mut self, peer: PeerId, message: MessageId, block: Arc<Block>) {
        let (header, hash) = (&block.header, block.header.hash());
        if header.genesis != self.config.genesis || self.invalid.contains(&hash) {
            return self.reject(message, peer);
        }
        let of_slot = self.slots.get(&header.slot).copied().unwrap_or(0);
        if self.known.contains(&hash)
            || header.height <= self.finalized.height
            || self.waiting.contains(&hash)
            || of_slot >= self.config.limits.blocks_per_slot
            || self.is_importing(&hash, &block)
        {
            return self.ignore(message, peer);
        }
        if self.config.schedule.start_ms(header.slot) > self.now_ms {
            return self.wait_for_slot(peer, message, hash, block);
        }
        let gossiped = self.imports.values();
        let gossiped = gossiped.filter(|import| matches!(import.source, Source::Gossip(_)));
        if gossiped.count() >= self.config.limits.gossip_blocks {
            return self.ignore(message, peer);
        }
        self.import(peer, hash, block, Source::Gossip(message));
    }

    /// Whether the kernel was given this very block; a copy may differ in what the hash does
    /// not cover, and be the good one.
    fn is_importing(&self, hash: &Hash, block: &Block) -> bool {
        let mut imports = self.imports.values();
        imports.any(|import| import.hash == *hash && *import.block == *block)
    }

    /// Gives a block to the kernel.
    pub(super) fn import(&mut self, peer: PeerId, hash: Hash, block: Arc<Block>, source: Source) {
        let ticket = Ticket(self.id());
        let import = Import {
            peer,
            hash,
            block: block.clone(),
            source,
        };
        self.imports.insert(ticket, import);
        self.effects.push(Effect::Import { ticket, block });
    }

    fn wait_for_slot(&mut self, peer: PeerId, message: MessageId, hash: Hash, block: Arc<Block>) {
        let now = self.config.schedule.slot_at(self.now_ms).unwrap_or(0);
        let is_near =
            block.header.slot - now.min(block.header.slot) <= self.config.limits.future_slots;
        if !is_near || !self.wait(peer, hash, block, Some(message)) {
            self.ignore(message, peer);
        }
    }

    /// Keeps a block for later, if there is room.
    fn wait(
        &mut self,
        peer: PeerId,
        hash: Hash,
        block: Arc<Block>,
        message: Option<MessageId>,
    ) -> bool {
        let bytes = block.encoded_size();
        let limits = &self.config.limits;
        if self.waiting.contains(&hash) || !self.waiting.has_room(&peer, bytes, limits) {
            return false;
        }
        self.waiting.bytes += bytes;
        self.waiting.blocks.push(Waiter {
            peer,
            hash,
            block,
            bytes,
            since_ms: self.now_ms,
            message,
        });
        true
    }

    /// Imports the blocks whose slot has come, and forgets those whose parent does not come.
    pub(super) fn release_waiting(&mut self) {
        let (now_ms, schedule) = (self.now_ms, self.config.schedule);
        let due = self.waiting.take(|waiter| {
            waiter.message.is_some() && schedule.start_ms(waiter.block.header.slot) <= now_ms
        });
        for waiter in due {
            let source = waiter.message.map_or(Source::Fetched, Source::Gossip);
            self.import(waiter.peer, waiter.hash, waiter.block, source);
        }
        self.waiting
            .take(|waiter| waiter.since_ms.saturating_add(ORPHAN_MS) <= now_ms);
    }

    /// The kernel is done with a block.
    pub(super) fn imported(&mut self, ticket: Ticket, outcome: ImportOutcome) {
        let Some(import) = self.imports.remove(&ticket) else {
            return;
        };
        match outcome {
            ImportOutcome::New | ImportOutcome::Known => self.connected_block(&import, outcome),
            ImportOutcome::Invalid => {
                self.invalid.insert(import.hash);
                // Who forwarded what cannot be checked without its parent is not to blame.
                self.waiting
                    .take(|waiter| waiter.block.header.parent == import.hash);
            }
            _ => {}
        }
        match import.source {
            Source::Gossip(message) => self.gossip_imported(message, import, outcome),
            Source::Fetched => self.fetched_imported(import, outcome),
            Source::Range(epoch) => self.range_imported(epoch, import, outcome),
        }
    }

    /// A block is there: those that waited for it can follow.
    fn connected_block(&mut self, import: &Import, outcome: ImportOutcome) {
        self.known.insert(import.hash);
        if outcome == ImportOutcome::New && !matches!(import.source, Source::Range(_)) {
            *self.slots.entry(import.block.header.slot).or_default() += 1;
            if self.slots.len() > self.config.limits.remembered {
                self.slots.pop_first();
            }
        }
        let children = self
            .waiting
            .take(|waiter| waiter.message.is_none() && waiter.block.header.parent == import.hash);
        for child in children {
            self.import(child.peer, child.hash, child.block, Source::Fetched);
        }
    }

    fn gossip_imported(&mut self, message: MessageId, import: Import, outcome: ImportOutcome) {
        let peer = import.peer;
        match outcome {
            ImportOutcome::New => self.verdict(message, peer, Verdict::Accept),
            ImportOutcome::Known | ImportOutcome::Stale | ImportOutcome::Trouble => {
                self.ignore(message, peer);
            }
            ImportOutcome::Invalid | ImportOutcome::BadCopy => self.reject(message, peer),
            ImportOutcome::Orphan => {
                self.ignore(message, peer);
                self.orphan(import);
            }
        }
    }

    fn fetched_imported(&mut self, import: Import, outcome: ImportOutcome) {
        match outcome {
            ImportOutcome::Invalid | ImportOutcome::BadCopy => {
                self.penalize(&import.peer, Offence::Invalid);
            }
            // A fork deeper than was asked for: a download finds where it begins.
            ImportOutcome::Orphan => {
                self.back = self.back.max(u64::from(ANCESTRY));
                self.hurry_status(&import.peer);
            }
            _ => {}
        }
    }

    /// Keeps an orphan and asks for its ancestors, unless it is so far ahead that the node has
    /// to catch up first.
    fn orphan(&mut self, import: Import) {
        let Import {
            peer, hash, block, ..
        } = import;
        let (height, parent) = (block.header.height, block.header.parent);
        self.hurry_status(&peer);
        let near = self.head.height.saturating_add(u64::from(ANCESTRY));
        if height > near || self.invalid.contains(&parent) {
            return;
        }
        if self.peers.contains(&peer) && self.wait(peer, hash, block, None) {
            self.ask_ancestry(peer, parent);
        }
    }

    /// Asks for a block and some of its ancestors; answers whether it is asked for now.
    pub(super) fn ask_ancestry(&mut self, peer: PeerId, hash: Hash) -> bool {
        let asked = self.in_flight.values().filter_map(|r| match r.purpose {
            Purpose::Ancestry { hash } => Some(hash),
            _ => None,
        });
        let asked: Vec<Hash> = asked.collect();
        if asked.contains(&hash) || self.waiting.contains(&hash) {
            return true;
        }
        if asked.len() >= ANCESTRIES_MAX {
            return false;
        }
        let request = Request::Ancestry {
            hash,
            count: ANCESTRY,
        };
        self.ask(peer, request, Purpose::Ancestry { hash })
            .is_some()
    }

    pub(super) fn ancestry_answered(&mut self, peer: PeerId, hash: Hash, blocks: Vec<Block>) {
        if blocks.is_empty() {
            // A fork that the peer pruned, or never had.
            self.doubt(&peer);
            return self.hurry_status(&peer);
        }
        let mut chain = Vec::with_capacity(blocks.len());
        let mut expected = hash;
        for block in blocks {
            let found = block.header.hash();
            let is_link = found == expected && block.header.genesis == self.config.genesis;
            if !is_link {
                return self.penalize(&peer, Offence::Lied);
            }
            if self.invalid.contains(&found) {
                return self.penalize(&peer, Offence::Invalid);
            }
            expected = block.header.parent;
            chain.push((found, Arc::new(block)));
        }
        let (now_ms, schedule) = (self.now_ms, self.config.schedule);
        for (hash, block) in chain.into_iter().rev() {
            let header = &block.header;
            let is_needed = !self.known.contains(&hash)
                && header.height > self.finalized.height
                && schedule.start_ms(header.slot) <= now_ms;
            if is_needed && !self.is_importing(&hash, &block) {
                self.import(peer, hash, block, Source::Fetched);
            }
        }
    }

    pub(super) fn gossip_events(
        &mut self,
        id: PeerId,
        message: MessageId,
        endpoint: u8,
        events: Vec<Event>,
    ) {
        let limits = self.config.limits;
        let waiting: usize = self.judging.values().map(|judging| judging.bytes).sum();
        let bytes = events.encoded_size();
        let has_room = waiting.saturating_add(bytes) <= limits.event_bytes;
        match self.peers.get_mut(&id) {
            Some(peer) if has_room && peer.event_bytes + bytes <= limits.event_bytes_per_peer => {
                peer.event_bytes += bytes;
            }
            _ => return self.ignore(message, id),
        }
        let ticket = Ticket(self.id());
        let judging = Judging {
            peer: id,
            message,
            bytes,
        };
        self.judging.insert(ticket, judging);
        self.effects.push(Effect::Judge {
            ticket,
            endpoint,
            events,
        });
    }

    pub(super) fn judged(&mut self, ticket: Ticket, outcomes: &[EventOutcome]) {
        let Some(judging) = self.judging.remove(&ticket) else {
            return;
        };
        let Judging {
            peer: id,
            message,
            bytes,
        } = judging;
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.event_bytes = peer.event_bytes.saturating_sub(bytes);
        }
        if outcomes.contains(&EventOutcome::Invalid) {
            self.verdict(message, id, Verdict::Reject);
            return self.penalize(&id, Offence::Malformed);
        }
        let verdict = match outcomes.contains(&EventOutcome::New) {
            true => Verdict::Accept,
            false => Verdict::Ignore,
        };
        self.verdict(message, id, verdict);
        if outcomes.contains(&EventOutcome::Rejected) {
            self.penalize(&id, Offence::Rejected);
        }
    }
}
