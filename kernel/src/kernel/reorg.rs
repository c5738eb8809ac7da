//! What a new head does to the pipeline: events that blocks took leave it, events of blocks
//! that were left behind return.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};

use jar_cap::Hash;

use super::Kernel;
use crate::block::{Attestation, Block, Event, Signature};
use crate::error::KernelError;
use crate::hardware::{Commit, Hardware};
use crate::walk::rejudge;

/// Signatures of recent blocks that are remembered.
const RECENT_MAX: usize = 1 << 16;

/// Signatures that recent blocks of the head's chain carried: an event with one of them may be
/// refused because it is late, not because its sender is dishonest.
#[derive(Debug, Default)]
pub(super) struct Recent {
    order: VecDeque<Signature>,
    /// How often each of the first `counted` ones is among these. Few blocks come while events
    /// are refused: the others are counted when the next one is.
    known: BTreeMap<Signature, u32>,
    counted: usize,
}

impl Recent {
    fn learn(&mut self, signatures: impl IntoIterator<Item = Signature>) {
        self.order.extend(signatures);
        let excess = self.order.len().saturating_sub(RECENT_MAX);
        for (index, oldest) in self.order.drain(..excess).enumerate() {
            if index >= self.counted {
                continue;
            }
            if let Entry::Occupied(mut count) = self.known.entry(oldest) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
        self.counted = self.counted.saturating_sub(excess);
    }

    /// Whether an attestation's signature was in a recent block.
    pub fn knows_one_of(&mut self, attestations: &[Attestation]) -> bool {
        for signature in self.order.range(self.counted..) {
            *self.known.entry(*signature).or_default() += 1;
        }
        self.counted = self.order.len();
        let mut signatures = attestations.iter().map(|a| &a.signature);
        signatures.any(|signature| self.known.contains_key(signature))
    }
}

impl<H: Hardware> Kernel<H> {
    /// Events of the blocks of the present head's chain from a height on: as many as the
    /// pipeline could take back, in order.
    pub(super) fn events_from(&self, first: u64) -> Result<Vec<(u8, Event)>, KernelError> {
        let mut events = Vec::new();
        let limit = self.chain.params().dispatch_items as usize;
        for height in first..=self.head.header.height {
            let Some(hash) = self.chain.store().canonical(height)? else {
                break;
            };
            for (endpoint, group) in self.stored_block(&hash)?.body.groups {
                events.extend(group.into_iter().map(|event| (endpoint, event)));
            }
            if events.len() >= limit {
                events.truncate(limit);
                break;
            }
        }
        Ok(events)
    }

    /// Drops waiting items that the blocks of a new head include, and gives back what blocks
    /// that were left behind carried, as far as the new state still takes it.
    pub(super) fn renew_pipeline(
        &mut self,
        commit: &Commit,
        signatures: Vec<Signature>,
        left_behind: Vec<(u8, Event)>,
    ) -> Result<(), KernelError> {
        let included = self.learn_included(commit, signatures)?;
        if self.pipeline.is_empty() && left_behind.is_empty() {
            return Ok(());
        }
        let included = included.into_iter().collect();
        self.pipeline.remove_included(&included);
        let image = self.chain.image(&self.head)?;
        self.pipeline.fit(&image);
        let missing: Vec<(u8, Event)> = left_behind
            .into_iter()
            .filter(|(endpoint, event)| !included.contains(&event.id(*endpoint)))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let params = self.chain.params();
        for (endpoint, event) in rejudge(&self.chain, &*self.hardware, &self.head, missing)? {
            if let Some(slot) = self.pipeline.slot_for(endpoint, &image) {
                self.pipeline.append(slot, endpoint, &event, params);
            }
        }
        Ok(())
    }

    /// Ids of the events of a new head's blocks, whose signatures are remembered; given are those
    /// of the block itself.
    fn learn_included(
        &mut self,
        commit: &Commit,
        mut signatures: Vec<Signature>,
    ) -> Result<Vec<Hash>, KernelError> {
        let mut included = Vec::new();
        for hash in commit.canonical.iter().filter_map(|(_, hash)| *hash) {
            if hash == commit.hash {
                included.extend(commit.events.iter().map(|(id, _)| *id));
                self.recent.learn(std::mem::take(&mut signatures));
                continue;
            }
            let block = self.stored_block(&hash)?;
            for (endpoint, events) in &block.body.groups {
                included.extend(events.iter().map(|event| event.id(*endpoint)));
            }
            let events = block.body.groups.iter().flat_map(|(_, events)| events);
            let attestations = events.flat_map(|event| &event.attestations);
            self.recent.learn(attestations.map(|a| a.signature));
        }
        Ok(included)
    }

    fn stored_block(&self, hash: &Hash) -> Result<Block, KernelError> {
        let block = self.chain.store().block(hash)?;
        block.ok_or_else(|| KernelError::Internal("a block's body is missing".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::Scope;

    fn signed(number: usize) -> Attestation {
        let mut signature = [0; 64];
        signature[..8].copy_from_slice(&number.to_le_bytes());
        Attestation {
            key: [0; 32],
            scope: Scope::Direct,
            blob_hash: [0; 32],
            signature,
        }
    }

    #[test]
    fn the_latest_signatures_are_known() {
        let mut recent = Recent::default();
        let learn = |recent: &mut Recent, number| recent.learn([signed(number).signature]);
        assert!(!recent.knows_one_of(&[signed(0)]));
        for number in 0..RECENT_MAX {
            learn(&mut recent, number);
        }
        assert!(recent.knows_one_of(&[signed(0)]));
        // One that comes twice stays as long as the later one.
        learn(&mut recent, 1);
        assert!(!recent.knows_one_of(&[signed(0)]));
        learn(&mut recent, RECENT_MAX);
        assert!(recent.knows_one_of(&[signed(0), signed(1)]));
        for number in 0..RECENT_MAX - 2 {
            learn(&mut recent, 2 * RECENT_MAX + number);
        }
        assert!(recent.knows_one_of(&[signed(1)]));
        learn(&mut recent, 0);
        assert!(!recent.knows_one_of(&[signed(1)]));
        assert!(recent.knows_one_of(&[signed(0)]) && !recent.knows_one_of(&[]));
        assert_eq!(recent.known.values().sum::<u32>() as usize, RECENT_MAX);
    }
}
