//! What must hold in every world.

use std::collections::{BTreeMap, BTreeSet};

use jar_cap::Hash;
use jar_kernel::State;
use jar_kernel::block::{Block, Event, PublicKey, Scope};

use crate::hex8;

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Two blocks of one height are final.
    #[error("conflicting finalized blocks of height {height}: {} and {}", hex8(.first), hex8(.second))]
    Conflict {
        /// Their height.
        height: u64,
        /// The one that was final first.
        first: Hash,
        /// The other.
        second: Hash,
    },
    /// Two nodes have different states after one block.
    #[error("two states after the block {}", hex8(.0))]
    States(Hash),
    /// What was final is not on the head's chain of a node.
    #[error("node {node}: the head does not descend from the finalized block")]
    HeadBelow {
        /// The node.
        node: usize,
    },
    /// A node that restarted has lost what it had committed.
    #[error("node {node}: after its restart it is at height {found}, and was at {expected}")]
    Lost {
        /// The node.
        node: usize,
        /// The finalized height it had.
        expected: u64,
        /// What it has.
        found: u64,
    },
    /// An honest validator signed two blocks of a slot, or votes that may not be together.
    #[error("validator {validator} signed twice: {what}")]
    DoubleSign {
        /// The validator.
        validator: usize,
        /// What.
        what: String,
    },
    /// An honest node banned another.
    #[error("node {node} banned honest node {peer}: {offence}")]
    Ban {
        /// Who banned.
        node: usize,
        /// Whom.
        peer: usize,
        /// For what.
        offence: String,
    },
    /// Finality did not resume in time after everything was healed.
    #[error(
        "node {node}: the last finalized block is of slot {slot}, after the healing in slot {heal}"
    )]
    Stuck {
        /// The node.
        node: usize,
        /// The slot of its last finalized block.
        slot: u64,
        /// The slot in which all was healed.
        heal: u64,
    },
    /// A node's kernel, or its store, is in trouble.
    #[error("node {node}: {reason}")]
    Trouble {
        /// The node.
        node: usize,
        /// What it said.
        reason: String,
    },
}

/// What all nodes did so far.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    /// Parent and height of each block.
    blocks: BTreeMap<Hash, (Hash, u64)>,
    /// Id of the chain Instance after each block.
    states: BTreeMap<Hash, Hash>,
    finalized: BTreeMap<u64, Hash>,
    seals: BTreeMap<(PublicKey, u64), Hash>,
    votes: BTreeMap<PublicKey, BTreeSet<(u64, u64, Hash)>>,
}

impl Checks {
    /// A node's kernel is at a state.
    pub fn state(&mut self, state: &State) -> Result<(), Violation> {
        let header = &state.header;
        self.blocks
            .insert(state.hash, (header.parent, header.height));
        let id = state.instance.id();
        let known = *self.states.entry(state.hash).or_insert(id);
        let is_bound = jar_cap::state_root(&id) == header.state_root;
        match known == id && is_bound {
            true => Ok(()),
            false => Err(Violation::States(state.hash)),
        }
    }

    /// Whether any node built or imported a block.
    pub fn knows(&self, hash: &Hash) -> bool {
        self.blocks.contains_key(hash)
    }

    /// A node built or imported a block.
    pub fn block(&mut self, block: &Block) {
        let header = &block.header;
        let place = (header.parent, header.height);
        self.blocks.insert(header.hash(), place);
    }

    /// An honest node holds a block for final: with it, all of its ancestors.
    pub fn finalized(&mut self, hash: Hash) -> Result<(), Violation> {
        let mut next = hash;
        while let Some((parent, height)) = self.blocks.get(&next).copied() {
            match self.finalized.insert(height, next) {
                None => next = parent,
                Some(first) if first == next => break,
                Some(first) => {
                    return Err(Violation::Conflict {
                        height,
                        first,
                        second: next,
                    });
                }
            }
        }
        Ok(())
    }

    /// The block of a height that is final, if one is.
    pub fn finalized_at(&self, height: u64) -> Option<Hash> {
        self.finalized.get(&height).copied()
    }

    /// A block that a validator sealed; answers what it did if it is the second of its slot.
    pub fn sealed(&mut self, block: &Block) -> Option<String> {
        let (_, seal) = block.body.seal()?;
        let (hash, slot) = (block.header.hash(), block.header.slot);
        let other = self.seals.insert((seal.key, slot), hash)?;
        (other != hash).then(|| format!("two blocks of slot {slot}"))
    }

    /// Votes of a validator's key, in an event that its node sent; answers what it did if two of
    /// them may not be together.
    pub fn voted(&mut self, key: &PublicKey, event: &Event) -> Option<String> {
        let mut offence = None;
        for attestation in event.attestations.iter().filter(|a| a.key == *key) {
            let Scope::Vote { source, target } = attestation.scope else {
                continue;
            };
            let votes = self.votes.entry(*key).or_default();
            let vote = (source, target, attestation.blob_hash);
            let breaks = |other: &(u64, u64, Hash)| {
                *other != vote
                    && (other.1 == target
                        || (source < other.0 && other.1 < target)
                        || (other.0 < source && target < other.1))
            };
            let is_new = !votes.contains(&vote);
            if let Some(other) = votes.iter().find(|other| is_new && breaks(other)) {
                let what = format!("votes {} -> {} and {source} -> {target}", other.0, other.1);
                offence = Some(what);
            }
            votes.insert(vote);
        }
        offence
    }
}
