//! Proofs that a path of keys holds a capability, or nothing.

use crate::cap::Cap;
use crate::cnode::CNode;
use crate::error::{Error, StoreError};
use crate::hash::Hash;
use crate::key::Key;
use crate::store::NodeStore;
use crate::trie::{Link, bit};

/// Where the path of a key ends in a trie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// At an entry: that of the key, or another one, and then the key holds nothing.
    Leaf {
        /// H(key) of the entry.
        key_hash: Hash,
        /// Id of its capability.
        cap: Hash,
    },
    /// At an empty side.
    Empty,
}

/// What a key holds in one trie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// H(key).
    pub key_hash: Hash,
    /// Hashes of the other sides along the path, that at the root first.
    pub siblings: Vec<Hash>,
    /// Where the path ends.
    pub end: End,
}

/// One key of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The key.
    pub key: Key,
    /// As in [`Proof`].
    pub siblings: Vec<Hash>,
    /// As in [`Proof`].
    pub end: End,
    /// Trie root of the CNode that the key holds, if it holds one: the next step starts there.
    pub trie_root: Option<Hash>,
}

impl CNode {
    /// Proves what a key holds, or that it holds nothing, against [`CNode::root`].
    pub fn prove(&self, store: &dyn NodeStore, key: &Key) -> Result<Proof, StoreError> {
        let key_hash = key.hash();
        // Hashes what changed, in a loop.
        self.root();
        let mut siblings = Vec::new();
        let mut link = self.link(store)?;
        while let Link::Branch(branch) = link {
            let kids = branch.kids(store, siblings.len())?;
            let side = bit(&key_hash, siblings.len());
            siblings.push(kids[1 - side].hash());
            link = &kids[side];
        }
        let end = match link {
            Link::Leaf(leaf) => End::Leaf {
                key_hash: leaf.key_hash,
                cap: leaf.cap.id(),
            },
            _ => End::Empty,
        };
        Ok(Proof {
            key_hash,
            siblings,
            end,
        })
    }

    /// Proves what a path of keys through nested CNodes holds: a step for each key, up to the
    /// first that holds nothing; and the capability. [`Error::NotCNode`] where a key before the
    /// last holds another kind.
    pub fn prove_path(
        &self,
        store: &dyn NodeStore,
        path: &[Key],
    ) -> Result<(Vec<Step>, Option<Cap>), Error> {
        let Some(last) = path.len().checked_sub(1) else {
            return Err(Error::PathLength(0));
        };
        let mut steps = Vec::with_capacity(path.len());
        let mut cnode = self.clone();
        for (index, key) in path.iter().enumerate() {
            let Proof { siblings, end, .. } = cnode.prove(store, key)?;
            let cap = cnode.get(store, key)?;
            let child = match &cap {
                Some(Cap::CNode(child)) => Some(child.clone()),
                _ => None,
            };
            steps.push(Step {
                key: *key,
                siblings,
                end,
                trie_root: child.as_ref().map(CNode::root),
            });
            cnode = match child {
                Some(child) if index < last => child,
                _ if cap.is_none() || index == last => return Ok((steps, cap)),
                _ => return Err(Error::NotCNode(index)),
            };
        }
        Ok((steps, None))
    }
}
