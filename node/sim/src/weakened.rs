//! What would be final by a weaker rule than the chain's: a justified block with a justified
//! child, whatever justified the child.
//!
//! Each honest node is taken to finalize by that rule: from the votes that the chain counted in
//! the blocks that the node has, without those that its own finalized block rules out. If two
//! nodes come to conflicting blocks, the simulation has found what the chain's rule is for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jar_cap::{Hash, StoreError};
use jar_kernel::Store;
use jar_kernel::block::{Block, Ending};
use jar_poa::Aggregate;
use parity_scale_codec::DecodeAll;

use crate::checks::Violation;

/// Blocks that one event is looked for in, at the most.
const INCLUSIONS_MAX: usize = 64;

/// A block and what its chain justified.
#[derive(Clone, Debug)]
struct Standing {
    parent: Hash,
    height: u64,
    /// Justified blocks of the chain that ends here.
    justified: Arc<BTreeSet<Hash>>,
    /// The highest block that is final by the chain that ends here.
    finalized: Hash,
}

/// What would be final by the weaker rule, on every honest node.
#[derive(Debug, Default)]
pub(crate) struct Weakened {
    blocks: BTreeMap<Hash, Standing>,
    /// The last finalized block of each node.
    finalized: BTreeMap<usize, Hash>,
    /// Blocks that are final on some node, by height.
    by_height: BTreeMap<u64, Hash>,
    /// The first two that conflict.
    pub conflict: Option<Violation>,
}

/// The target of the votes that a block counted, if it counted any: those of a Transact event of
/// `endpoint` that halted with 0.
fn justified_by(
    store: &dyn Store,
    hash: &Hash,
    block: &Block,
    endpoint: u8,
) -> Result<Option<Hash>, StoreError> {
    let outcomes = store.outcomes(hash)?.unwrap_or_default();
    let groups = block.body.groups.iter().filter(|(at, _)| *at == endpoint);
    for event in groups.flat_map(|(_, events)| events) {
        let places = store.event(&event.id(endpoint), INCLUSIONS_MAX)?;
        let place = places.iter().find(|place| place.block == *hash);
        let outcome = place.and_then(|place| outcomes.get(place.index as usize));
        let aggregate = Aggregate::decode_all(&mut &event.payload[..]);
        if let (Some(Ending::Halted(0)), Ok(aggregate)) = (outcome.map(|o| o.ending), aggregate) {
            return Ok(Some(aggregate.link.target.hash));
        }
    }
    Ok(None)
}

impl Weakened {
    /// A node has a block more.
    pub fn committed(
        &mut self,
        node: usize,
        store: &dyn Store,
        hash: Hash,
        endpoint: u8,
    ) -> Result<(), StoreError> {
        // A crash right after a commit hides it.
        let (mut unknown, mut next) = (Vec::new(), hash);
        while !self.blocks.contains_key(&next)
            && let Some(block) = store.block(&next)?
        {
            unknown.push((next, block));
            next = unknown
                .last()
                .map_or(next, |(_, block)| block.header.parent);
        }
        for (hash, block) in unknown.into_iter().rev() {
            let target = justified_by(store, &hash, &block, endpoint)?;
            self.learn(hash, &block, target);
        }
        self.finalize(node, hash);
        Ok(())
    }

    fn learn(&mut self, hash: Hash, block: &Block, target: Option<Hash>) {
        let (parent, height) = (block.header.parent, block.header.height);
        let before = self.blocks.get(&parent).cloned();
        // The genesis block has no parent.
        let (mut justified, mut finalized) = match before {
            Some(before) => (before.justified, before.finalized),
            None => (Arc::new(BTreeSet::from([hash])), hash),
        };
        if let Some(target) = target {
            Arc::make_mut(&mut justified).insert(target);
        }
        let standing = Standing {
            parent,
            height,
            justified: justified.clone(),
            finalized,
        };
        self.blocks.insert(hash, standing);
        if target.is_some() {
            finalized = self.highest_with_justified_child(hash).unwrap_or(finalized);
        }
        if let Some(standing) = self.blocks.get_mut(&hash) {
            standing.finalized = finalized;
        }
    }

    /// The highest justified block of a chain whose child is justified.
    fn highest_with_justified_child(&self, tip: Hash) -> Option<Hash> {
        let justified = self.blocks.get(&tip)?.justified.clone();
        let (mut child, mut next) = (tip, self.blocks.get(&tip)?.parent);
        loop {
            if justified.contains(&child) && justified.contains(&next) {
                return Some(next);
            }
            (child, next) = (next, self.blocks.get(&next)?.parent);
        }
    }

    fn is_ancestor(&self, ancestor: &Hash, mut of: Hash) -> bool {
        while of != *ancestor {
            match self.blocks.get(&of) {
                Some(standing) => of = standing.parent,
                None => return false,
            }
        }
        true
    }

    /// What a node with this block holds for final.
    fn finalize(&mut self, node: usize, tip: Hash) {
        let Some(standing) = self.blocks.get(&tip) else {
            return;
        };
        let finalized = standing.finalized;
        if let Some(own) = self.finalized.get(&node)
            && !self.is_ancestor(own, finalized)
        {
            return;
        }
        self.finalized.insert(node, finalized);
        let mut next = finalized;
        while let Some(standing) = self.blocks.get(&next) {
            let (height, parent) = (standing.height, standing.parent);
            match self.by_height.insert(height, next) {
                None => next = parent,
                Some(first) if first == next => break,
                Some(first) => {
                    self.conflict.get_or_insert(Violation::Conflict {
                        height,
                        first,
                        second: next,
                    });
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "weakened/tests.rs"]
mod tests;
