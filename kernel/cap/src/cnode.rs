//! CNodes: sparse maps of keys to capabilities.

use std::fmt;
use std::sync::Arc;

use crate::cap::Cap;
use crate::error::{Error, StoreError};
use crate::hash::{Hash, Tag, tagged};
use crate::key::Key;
use crate::store::{NodeStore, RecordId};
use crate::trie::{Leaf, Link, StoredLeaf};

/// A map of keys to capabilities. Clones share what they have in common and diverge when
/// changed; what is loaded from a store stays in memory as long as the value does.
#[derive(Clone, Default)]
pub struct CNode {
    table: Root,
}

/// Where a map's entries are.
#[derive(Clone)]
pub(crate) enum Root {
    /// In memory, as far as branches are loaded.
    Loaded(Link),
    /// One entry, in a store.
    Stored(Arc<StoredLeaf>),
}

impl Default for Root {
    fn default() -> Root {
        Root::Loaded(Link::Empty)
    }
}

impl CNode {
    pub(crate) const EMPTY: CNode = CNode {
        table: Root::Loaded(Link::Empty),
    };

    /// A map without entries.
    pub fn empty() -> CNode {
        CNode::EMPTY
    }

    pub(crate) fn from_root(root: Link) -> CNode {
        CNode {
            table: Root::Loaded(root),
        }
    }

    /// A map of one entry that the store of this number holds.
    pub(crate) fn stored_leaf(hash: Hash, store: u64) -> CNode {
        CNode {
            table: Root::Stored(Arc::new(StoredLeaf::new(hash, store))),
        }
    }

    pub(crate) fn table(&self) -> &Root {
        &self.table
    }

    /// The root, from the store if need be.
    pub(crate) fn link(&self, store: &dyn NodeStore) -> Result<&Link, StoreError> {
        match &self.table {
            Root::Loaded(link) => Ok(link),
            Root::Stored(leaf) => leaf.link(store),
        }
    }

    /// The root, when it may lack a hash.
    pub(crate) fn loaded(&self) -> Option<&Link> {
        match &self.table {
            Root::Loaded(link) => Some(link),
            Root::Stored(_) => None,
        }
    }

    fn link_mut(&mut self, store: &dyn NodeStore) -> Result<&mut Link, StoreError> {
        if let Root::Stored(leaf) = &self.table {
            let link = leaf.link(store)?.clone();
            self.table = Root::Loaded(link);
        }
        match &mut self.table {
            Root::Loaded(link) => Ok(link),
            Root::Stored(leaf) => Err(StoreError::Missing(RecordId::new(
                Tag::TrieLeaf,
                leaf.hash(),
            ))),
        }
    }

    /// What is in memory, when nothing else holds it.
    pub(crate) fn into_root(self) -> Link {
        match self.table {
            Root::Loaded(link) => link,
            Root::Stored(leaf) => Arc::into_inner(leaf)
                .and_then(StoredLeaf::into_link)
                .unwrap_or_default(),
        }
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        matches!(self.table, Root::Loaded(Link::Empty))
    }

    /// Whether both are one map in memory. A change makes it another one.
    pub fn is_same(&self, other: &CNode) -> bool {
        match (&self.table, &other.table) {
            (Root::Loaded(one), Root::Loaded(other)) => one.is_same(other),
            (Root::Stored(one), Root::Stored(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    /// The trie root: 32 zero bytes when empty. Hashes what changed.
    pub fn root(&self) -> Hash {
        match &self.table {
            Root::Loaded(link) => link.hash(),
            Root::Stored(leaf) => leaf.hash(),
        }
    }

    /// The id: H(0x40 ‖ trie root).
    pub fn id(&self) -> Hash {
        tagged(Tag::CNode, &[&self.root()])
    }

    /// What the key holds.
    pub fn get(&self, store: &dyn NodeStore, key: &Key) -> Result<Option<Cap>, StoreError> {
        Ok(self.get_ref(store, key)?.cloned())
    }

    /// What the key holds, to look at.
    pub fn get_ref(&self, store: &dyn NodeStore, key: &Key) -> Result<Option<&Cap>, StoreError> {
        let leaf = self.link(store)?.get(&key.hash(), store)?;
        Ok(leaf.map(|leaf| &leaf.cap))
    }

    /// Whether the key holds something.
    pub fn contains(&self, store: &dyn NodeStore, key: &Key) -> Result<bool, StoreError> {
        Ok(self.get_ref(store, key)?.is_some())
    }

    /// Sets or clears what the key holds; answers what it held. On an error nothing changes.
    pub fn set(
        &mut self,
        store: &dyn NodeStore,
        key: &Key,
        cap: Option<Cap>,
    ) -> Result<Option<Cap>, StoreError> {
        match cap {
            Some(cap) => self.link_mut(store)?.insert(Leaf::new(*key, cap), store),
            None => {
                let path = key.hash();
                if self.link(store)?.get(&path, store)?.is_none() {
                    return Ok(None);
                }
                self.link_mut(store)?.remove(&path, 0, store)
            }
        }
    }

    /// What the key holds, to be changed in place.
    pub fn get_mut(
        &mut self,
        store: &dyn NodeStore,
        key: &Key,
    ) -> Result<Option<&mut Cap>, StoreError> {
        self.link_mut(store)?.get_mut(&key.hash(), store)
    }

    /// The entry after the one of `after` (there or not) in order of H(key); the first one for
    /// `None`.
    pub fn next(
        &self,
        store: &dyn NodeStore,
        after: Option<&Key>,
    ) -> Result<Option<(Key, Cap)>, StoreError> {
        let after = after.map(Key::hash);
        let leaf = self.link(store)?.next(after.as_ref(), store)?;
        Ok(leaf.map(|leaf| (leaf.key, leaf.cap.clone())))
    }

    /// What a path of keys through nested CNodes holds; `None` where a step holds nothing.
    /// [`Error::NotCNode`] where one holds another kind.
    pub fn get_path(&self, store: &dyn NodeStore, path: &[Key]) -> Result<Option<Cap>, Error> {
        let Some((first, rest)) = path.split_first() else {
            return Err(Error::PathLength(0));
        };
        let mut cap = self.get_ref(store, first)?;
        for (index, key) in rest.iter().enumerate() {
            cap = match cap {
                None => return Ok(None),
                Some(Cap::CNode(cnode)) => cnode.get_ref(store, key)?,
                Some(_) => return Err(Error::NotCNode(index)),
            };
        }
        Ok(cap.cloned())
    }

    /// Sets or clears what a path holds; answers what it held. Every key but the last must hold
    /// a CNode, else [`Error::NotCNode`] and nothing changes.
    pub fn set_path(
        &mut self,
        store: &dyn NodeStore,
        path: &[Key],
        cap: Option<Cap>,
    ) -> Result<Option<Cap>, Error> {
        let Some((last, parents)) = path.split_last() else {
            return Err(Error::PathLength(0));
        };
        let mut cnode = self;
        for (index, key) in parents.iter().enumerate() {
            cnode = match cnode.get_mut(store, key)? {
                Some(Cap::CNode(child)) => child,
                _ => return Err(Error::NotCNode(index)),
            };
        }
        Ok(cnode.set(store, last, cap)?)
    }
}

impl PartialEq for CNode {
    fn eq(&self, other: &CNode) -> bool {
        self.root() == other.root()
    }
}

impl Eq for CNode {}

impl fmt::Debug for CNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CNode")
    }
}
