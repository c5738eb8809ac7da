//! Starting from a finalized block whose state was fetched instead of computed.

use std::sync::Arc;

use jar_cap::{Hash, state_root};

use super::Kernel;
use crate::answers::AdvanceError;
use crate::block::{Block, Outcome, outcome_root};
use crate::chain::{State, load_instance};
use crate::error::KernelError;
use crate::hardware::{Commit, Hardware};
use crate::walk::{InvalidBlock, check_sizes};

impl<H: Hardware> Kernel<H> {
    /// Makes a block head and finalized block of a chain that has none but genesis. All records
    /// of its state must be in the store; the caller answers for the block being final and for
    /// its score. Its events are not found by id. Blocks below it are not held: when a later
    /// block declares an unknown one final, it is taken for one of them.
    ///
    /// # Errors
    ///
    /// [`AdvanceError::AlreadyKnown`] when the chain has blocks, [`AdvanceError::Invalid`] for
    /// what does not fit the header.
    pub fn adopt(
        &mut self,
        block: Block,
        score: u64,
        instance: Hash,
        outcomes: Vec<Outcome>,
    ) -> Result<(), AdvanceError> {
        let (header, hash) = (&block.header, block.header.hash());
        if self.head.header.height > 0 {
            return Err(AdvanceError::AlreadyKnown);
        }
        let parent = self.head.score;
        check_sizes(&self.chain, &block.body)?;
        match () {
            _ if header.genesis != self.chain.genesis_hash() || header.height == 0 => {
                return Err(InvalidBlock::Genesis.into());
            }
            _ if block.body.root() != header.body_root => return Err(InvalidBlock::BodyRoot.into()),
            _ if state_root(&instance) != header.state_root => {
                return Err(InvalidBlock::StateRoot.into());
            }
            _ if outcome_root(&outcomes) != header.outcome_root => {
                return Err(InvalidBlock::OutcomeRoot.into());
            }
            _ if score <= parent => {
                let found = score;
                return Err(InvalidBlock::Score { parent, found }.into());
            }
            _ => {}
        }
        let store = self.chain.store().clone();
        let state = Arc::new(State {
            hash,
            header: header.clone(),
            score,
            instance: load_instance(&*store, instance)?,
        });
        let commit = Commit {
            canonical: vec![(header.height, Some(hash))],
            block: Arc::new(block),
            hash,
            score,
            instance,
            outcomes,
            events: Vec::new(),
            nodes: Vec::new(),
            head: Some(hash),
            finalized: Some(hash),
            watermarks: Vec::new(),
        };
        store.commit(&commit)?;
        self.committed(&commit, Some(state.clone()), Some(state), 0);
        Ok(())
    }
    /// Whether a block that is not known may be an ancestor of the block that this chain began
    /// at: those are not held.
    pub(super) fn may_be_below_adopted(&self, hash: &Hash) -> Result<bool, KernelError> {
        let store = self.chain.store();
        let began_above_genesis = self.finalized.header.height > 0 && store.canonical(1)?.is_none();
        Ok(began_above_genesis && store.header(hash)?.is_none())
    }
}
