//! Which block is the head: the one of the highest score above the finalized block.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use jar_cap::Hash;

use super::Kernel;
use crate::block::Header;
use crate::chain::State;
use crate::error::KernelError;
use crate::hardware::Hardware;

/// Blocks without a child, of those that were committed since the chain was opened: height and
/// score by hash. Scores rise from parent to child, so the highest one of a fork is among them.
#[derive(Debug, Default)]
pub(super) struct Leaves(BTreeMap<Hash, (u64, u64)>);

impl Leaves {
    /// Takes note of a block that was committed.
    pub fn add(&mut self, hash: Hash, header: &Header, score: u64) {
        self.0.remove(&header.parent);
        self.0.insert(hash, (header.height, score));
    }

    /// Forgets those that can't be above a finalized block of this height.
    pub fn finalize(&mut self, height: u64) {
        self.0.retain(|_, (above, _)| *above > height);
    }
}

impl<H: Hardware> Kernel<H> {
    /// The head from when a block is committed which finalizes another one or none; nothing where
    /// the head stays. One that the finalized block leaves behind is followed by the highest one
    /// above that, of which the lowest hash wins ties.
    pub(super) fn new_head(
        &self,
        block: &Arc<State>,
        finalized: Option<&State>,
    ) -> Result<Option<Arc<State>>, KernelError> {
        let stays = match finalized {
            Some(finalized) => self.chain.is_ancestor(&finalized.hash, &self.head)?,
            None => true,
        };
        let Some(finalized) = finalized.filter(|_| !stays) else {
            let is_higher = block.score > self.head.score;
            return Ok(is_higher.then(|| block.clone()));
        };
        let mut best = block.clone();
        for (hash, (_, score)) in &self.leaves.0 {
            if (*score, Reverse(*hash)) < (best.score, Reverse(best.hash)) {
                continue;
            }
            match self.chain.state(hash)? {
                Some(leaf) if self.chain.is_ancestor(&finalized.hash, &leaf)? => {
                    best = Arc::new(leaf);
                }
                _ => {}
            }
        }
        Ok(Some(best))
    }
}
