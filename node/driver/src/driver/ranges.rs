//! Catching up: blocks by height, from several peers at once, imported in order.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jar_cap::Hash;
use jar_kernel::block::Block;
use parity_scale_codec::Encode;

use super::gossip::{Import, Source};
use super::{Driver, Purpose};
use crate::io::{ImportOutcome, Offence, PeerId, RequestId};
use crate::messages::{BlockRef, Request};

/// Blocks asked for at once.
const RANGE: u64 = 64;

/// A download of blocks, ascending.
#[derive(Clone, Debug)]
pub(super) struct Download {
    /// Height of the first block.
    from: u64,
    /// Height of the next block that goes to the kernel.
    next: u64,
    /// Height of the first block that no range covers.
    unplanned: u64,
    /// Hash of the last block that went to the kernel.
    last: Option<Hash>,
    /// Blocks at the kernel.
    importing: usize,
    ranges: BTreeMap<u64, Range>,
    /// Bytes of blocks that are here and not at the kernel.
    bytes: usize,
    /// The one peer to ask, after two gave blocks of different chains.
    only: Option<PeerId>,
}

/// Consecutive blocks.
#[derive(Clone, Debug)]
struct Range {
    count: u64,
    state: RangeState,
}

#[derive(Clone, Debug)]
enum RangeState {
    /// To be asked for.
    Wanted,
    /// Asked for.
    Asked(RequestId),
    /// Here, with their hashes and sizes.
    Here(PeerId, VecDeque<(Hash, usize, Arc<Block>)>),
}

impl Driver {
    /// Looks for a better chain, and fetches it.
    pub(super) fn catch_up(&mut self) {
        let best = self
            .claims()
            .max_by_key(|(peer, claim)| (claim.score, claim.height, *peer));
        match (&self.download, best) {
            (Some(_), _) => {}
            (None, None) => return,
            (None, Some((_, claim))) if self.is_coming(&claim.hash) => return,
            (None, Some((peer, claim))) if self.is_near(&claim) => {
                // The next blocks are fetched by hash: they may be a fork's.
                if self.ask_ancestry(peer, claim.hash) {
                    self.tried.insert(claim.hash);
                }
                return;
            }
            (None, Some((_, claim))) => self.begin_download(claim.height, None),
        }
        let target = best.map_or(0, |_| self.claimed_height());
        self.plan_ranges(target);
        self.ask_ranges();
        self.feed_kernel();
        self.end_download(target);
    }

    /// Whether a block was asked for, or is at the kernel.
    fn is_coming(&self, hash: &Hash) -> bool {
        let mut asked = self.in_flight.values();
        let is_asked =
            asked.any(|r| matches!(r.purpose, Purpose::Ancestry { hash: h } if h == *hash));
        is_asked || self.imports.values().any(|import| import.hash == *hash)
    }

    /// Whether a claim is so near that asking for it and its ancestors is worth a try.
    fn is_near(&self, claim: &BlockRef) -> bool {
        let near = self.head.height.saturating_add(self.config.limits.behind);
        claim.height <= near && !self.tried.contains(&claim.hash)
    }

    fn claimed_height(&self) -> u64 {
        self.claims().map(|(_, c)| c.height).max().unwrap_or(0)
    }

    /// Height of the first block of a download up to a target.
    fn first_to_ask(&self, target: u64) -> u64 {
        let lowest = self.finalized.height.saturating_add(1);
        let highest = self.head.height.saturating_add(1).min(target);
        highest.saturating_sub(self.back).max(lowest)
    }

    fn begin_download(&mut self, target: u64, only: Option<PeerId>) {
        let from = self.first_to_ask(target);
        self.epoch += 1;
        self.download = Some(Download {
            from,
            next: from,
            unplanned: from,
            last: None,
            importing: 0,
            ranges: BTreeMap::new(),
            bytes: 0,
            only,
        });
    }

    fn plan_ranges(&mut self, target: u64) {
        let limits = self.config.limits;
        let Some(download) = &mut self.download else {
            return;
        };
        while download.unplanned <= target
            && download.ranges.len() < limits.ranges_ahead
            && download.bytes < limits.download_bytes
        {
            let count = RANGE.min(target - download.unplanned + 1);
            let range = Range {
                count,
                state: RangeState::Wanted,
            };
            download.ranges.insert(download.unplanned, range);
            download.unplanned += count;
        }
    }

    /// Asks peers that claim them for the ranges that are wanted, the lowest first.
    fn ask_ranges(&mut self) {
        let Some(download) = &self.download else {
            return;
        };
        let wanted = download.ranges.iter();
        let wanted: Vec<(u64, u64)> = wanted
            .filter(|(_, range)| matches!(range.state, RangeState::Wanted))
            .map(|(from, range)| (*from, range.count))
            .collect();
        let only = download.only;
        for (from, count) in wanted {
            let Some(peer) = self.peer_with(from, only) else {
                break;
            };
            let request = Request::Blocks {
                from,
                count: count as u32,
            };
            let Some(id) = self.ask(peer, request, Purpose::Range { from }) else {
                break;
            };
            self.set_range(from, RangeState::Asked(id));
        }
    }

    /// Whether a peer claims a better chain with a block of this height, and can serve it.
    fn gives(&self, peer: &PeerId, height: u64) -> bool {
        let mut claims = self.claims();
        let has = claims.any(|(of, claim)| of == *peer && claim.height >= height);
        let status = self.peers.status(peer);
        has && status.is_some_and(|status| status.first_height <= height)
    }

    /// A free peer with a block of this height.
    fn peer_with(&self, height: u64, only: Option<PeerId>) -> Option<PeerId> {
        let mut free = self.peers.free(self.now_ms).into_iter();
        free.find(|peer| only.is_none_or(|only| only == *peer) && self.gives(peer, height))
    }

    fn set_range(&mut self, from: u64, state: RangeState) {
        let download = self.download.as_mut();
        if let Some(range) = download.and_then(|download| download.ranges.get_mut(&from)) {
            range.state = state;
        }
    }

    /// Whether a request is the one that a range waits for.
    fn is_awaited(&self, id: RequestId, from: u64) -> bool {
        let download = self.download.as_ref();
        let range = download.and_then(|download| download.ranges.get(&from));
        range.is_some_and(|range| matches!(range.state, RangeState::Asked(asked) if asked == id))
    }

    pub(super) fn range_unanswered(&mut self, id: RequestId, from: u64) {
        if !self.is_awaited(id, from) {
            return;
        }
        if self.download.as_ref().is_some_and(|d| d.only.is_some()) {
            // Nobody else would be asked: who claims the best chain may never show it.
            self.download = None;
        } else {
            self.set_range(from, RangeState::Wanted);
        }
    }

    pub(super) fn range_answered(
        &mut self,
        id: RequestId,
        peer: PeerId,
        from: u64,
        blocks: Vec<Block>,
    ) {
        if !self.is_awaited(id, from) {
            return;
        }
        self.set_range(from, RangeState::Wanted);
        if blocks.is_empty() {
            // It claimed them: it lied, or changed its mind.
            self.doubt(&peer);
            self.hurry_status(&peer);
            return self.penalize(&peer, Offence::Stalled);
        }
        let mut chain: VecDeque<(Hash, usize, Arc<Block>)> = VecDeque::new();
        for (height, block) in (from..).zip(blocks) {
            let header = &block.header;
            let parent = chain.back().map_or(header.parent, |(hash, _, _)| *hash);
            let is_link = header.height == height
                && header.parent == parent
                && header.genesis == self.config.genesis;
            if !is_link {
                return self.penalize(&peer, Offence::Lied);
            }
            let hash = header.hash();
            if self.invalid.contains(&hash) {
                return self.penalize(&peer, Offence::Invalid);
            }
            chain.push_back((hash, block.encoded_size(), Arc::new(block)));
        }
        let Some(download) = &mut self.download else {
            return;
        };
        let Some(range) = download.ranges.get_mut(&from) else {
            return;
        };
        download.bytes += chain.iter().map(|(_, bytes, _)| bytes).sum::<usize>();
        let (got, missing) = (chain.len() as u64, range.count - chain.len() as u64);
        range.count = got;
        range.state = RangeState::Here(peer, chain);
        if missing > 0 {
            let rest = Range {
                count: missing,
                state: RangeState::Wanted,
            };
            download.ranges.insert(from + got, rest);
        }
    }

    /// Gives the next blocks to the kernel, as many as it may have waiting.
    fn feed_kernel(&mut self) {
        loop {
            let (now_ms, schedule) = (self.now_ms, self.config.schedule);
            let (limit, epoch) = (self.config.limits.imports, self.epoch);
            let Some(download) = &mut self.download else {
                return;
            };
            if download.importing >= limit {
                return;
            }
            let Some(mut entry) = download.ranges.first_entry() else {
                return;
            };
            let RangeState::Here(peer, blocks) = &mut entry.get_mut().state else {
                return;
            };
            let peer = *peer;
            let Some((_, _, block)) = blocks.front() else {
                entry.remove();
                continue;
            };
            if download
                .last
                .is_some_and(|last| last != block.header.parent)
            {
                return self.split_download();
            }
            if schedule.start_ms(block.header.slot) > now_ms {
                // Its author's clock, or ours, is wrong: its slot comes.
                return;
            }
            let Some((hash, bytes, block)) = blocks.pop_front() else {
                return;
            };
            download.bytes -= bytes;
            download.last = Some(hash);
            download.next += 1;
            if !self.known.contains(&hash) {
                download.importing += 1;
                self.import(peer, hash, block, Source::Range(epoch));
            }
        }
    }

    /// Two peers gave blocks of different chains: goes on with the one that claims the best, of
    /// those that answer.
    fn split_download(&mut self) {
        let free = self.peers.free(self.now_ms);
        let can_give = |(peer, claim): &(PeerId, BlockRef)| {
            free.contains(peer) && self.gives(peer, self.first_to_ask(claim.height))
        };
        let claims = self.claims().filter(can_give);
        let best = claims.max_by_key(|(peer, c)| (c.score, *peer));
        self.download = None;
        if let Some((peer, claim)) = best {
            self.begin_download(claim.height, Some(peer));
        }
    }

    /// Ends a download that reached its target, or whose target is gone.
    fn end_download(&mut self, target: u64) {
        let Some(download) = &self.download else {
            return;
        };
        let is_reached = download.next > target && download.ranges.is_empty();
        let is_gone = target < download.next
            || download
                .only
                .is_some_and(|only| !self.gives(&only, download.next));
        if download.importing == 0 && (is_reached || is_gone) {
            self.back = 0;
            self.download = None;
        }
    }

    pub(super) fn range_imported(&mut self, epoch: u64, import: Import, outcome: ImportOutcome) {
        let Import { peer, block, .. } = import;
        if matches!(outcome, ImportOutcome::Invalid | ImportOutcome::BadCopy) {
            self.penalize(&peer, Offence::Invalid);
        }
        let is_current = epoch == self.epoch;
        let Some(download) = self.download.as_mut().filter(|_| is_current) else {
            return;
        };
        download.importing = download.importing.saturating_sub(1);
        let is_first = block.header.height == download.from;
        match outcome {
            ImportOutcome::New => {
                let patience_ms = self.config.limits.patience_ms;
                self.patience_until_ms = self.now_ms.saturating_add(patience_ms);
                self.back = 0;
            }
            ImportOutcome::Known => {}
            ImportOutcome::Orphan if is_first => {
                let is_lowest = download.from <= self.finalized.height.saturating_add(1);
                if is_lowest {
                    // A chain without our finalized block.
                    self.doubt(&peer);
                }
                self.back = (self.back * 2).max(RANGE / 4);
                self.download = None;
            }
            ImportOutcome::Stale => {
                self.doubt(&peer);
                self.download = None;
            }
            // What follows an invalid block has no parent.
            _ => self.download = None,
        }
    }
}
