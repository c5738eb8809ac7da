//! The persistent binary trie behind a CNode.
//!
//! An entry sits at the path of bits of H(key). A subtree with one entry is that leaf; one with
//! two or more is a branch on the next bit, whichever side they are on. So the shape follows
//! from the set of entries alone. Tries are at most 256 deep; from one trie into the one of a
//! nested value nothing here recurses.

use std::sync::{Arc, OnceLock};

use rayon::prelude::*;

use crate::cap::Cap;
use crate::cnode::CNode;
use crate::error::StoreError;
use crate::hash::{Hash, Tag, ZERO, tagged};
use crate::key::Key;
use crate::mark::Mark;
use crate::record;
use crate::store::{NodeStore, RecordId, read};

/// Subtrees of one level that are hashed on all cores: fewer don't pay for waking them.
const WIDE_MIN: usize = 512;
/// Levels within which that many are looked for; what is as narrow and deeper is no wide map.
const WIDE_WITHIN: usize = 48;

/// Stands where a capability was taken out. Takes no memory, and nothing to drop.
const NOTHING: Cap = Cap::CNode(CNode::EMPTY);

/// A subtree.
#[derive(Clone, Default)]
pub(crate) enum Link {
    #[default]
    Empty,
    Leaf(Arc<Leaf>),
    Branch(Arc<Branch>),
}

/// An entry.
pub(crate) struct Leaf {
    pub key_hash: Hash,
    pub key: Key,
    pub cap: Cap,
    hash: OnceLock<Hash>,
    /// Of the record a leaf has when it is a whole trie.
    pub record: Mark,
}

/// Two or more entries; one not loaded yet has a hash alone.
pub(crate) struct Branch {
    kids: Kids,
    hash: OnceLock<Hash>,
    /// Of the record that starts here, if one does.
    pub record: Mark,
}

/// The sides of a branch.
enum Kids {
    Here([Link; 2]),
    /// In a store, read when needed.
    Stored(OnceLock<[Link; 2]>),
}

/// A trie of one entry that is in a store, read when needed.
pub(crate) struct StoredLeaf {
    hash: Hash,
    record: Mark,
    link: OnceLock<Link>,
}

/// Bit `depth` of a path, most significant first.
pub(crate) fn bit(path: &Hash, depth: usize) -> usize {
    usize::from(path[depth / 8] >> (7 - depth % 8) & 1)
}

impl Leaf {
    pub(crate) fn new(key: Key, cap: Cap) -> Leaf {
        Leaf {
            key_hash: key.hash(),
            key,
            cap,
            hash: OnceLock::new(),
            record: Mark::default(),
        }
    }

    /// The leaf's hash. Recurses unless the trie below its capability is hashed.
    pub(crate) fn hash(&self) -> Hash {
        *self
            .hash
            .get_or_init(|| tagged(Tag::TrieLeaf, &[&self.key_hash, &self.cap.id()]))
    }

    /// Takes the capability of a leaf that nothing else holds; else a copy.
    fn into_cap(leaf: Arc<Leaf>) -> Cap {
        match Arc::try_unwrap(leaf) {
            Ok(leaf) => leaf.take_cap(),
            Err(leaf) => leaf.cap.clone(),
        }
    }

    fn take_cap(mut self) -> Cap {
        std::mem::replace(&mut self.cap, NOTHING)
    }
}

impl Clone for Leaf {
    fn clone(&self) -> Leaf {
        Leaf {
            key_hash: self.key_hash,
            key: self.key,
            cap: self.cap.clone(),
            hash: self.hash.clone(),
            record: Mark::default(),
        }
    }
}

impl Drop for Leaf {
    /// Values nest without bound: what hangs below is taken apart in a loop.
    fn drop(&mut self) {
        if !self.cap.has_table() {
            return;
        }
        let mut stack = Vec::new();
        take_table(self, &mut stack);
        while let Some(link) = stack.pop() {
            match link {
                Link::Empty => {}
                Link::Leaf(leaf) => {
                    if let Some(mut leaf) = Arc::into_inner(leaf) {
                        take_table(&mut leaf, &mut stack);
                    }
                }
                Link::Branch(branch) => {
                    if let Some(kids) = Arc::into_inner(branch).and_then(Branch::into_kids) {
                        stack.extend(kids);
                    }
                }
            }
        }
    }
}

fn take_table(leaf: &mut Leaf, stack: &mut Vec<Link>) {
    if leaf.cap.has_table() {
        let cap = std::mem::replace(&mut leaf.cap, NOTHING);
        stack.extend(cap.into_tables());
    }
}

impl StoredLeaf {
    pub(crate) fn new(hash: Hash, store: u64) -> StoredLeaf {
        StoredLeaf {
            hash,
            record: Mark::new(store),
            link: OnceLock::new(),
        }
    }

    pub(crate) fn hash(&self) -> Hash {
        self.hash
    }

    pub(crate) fn mark(&self) -> &Mark {
        &self.record
    }

    /// The leaf, from the store if need be.
    pub(crate) fn link(&self, store: &dyn NodeStore) -> Result<&Link, StoreError> {
        if let Some(link) = self.link.get() {
            return Ok(link);
        }
        let id = RecordId::new(Tag::TrieLeaf, self.hash);
        let leaf = record::decode_leaf(self.hash, &read(store, &id)?, store.number())
            .map_err(|reason| StoreError::Corrupt { id, reason })?;
        Ok(self.link.get_or_init(|| Link::Leaf(leaf.into())))
    }

    /// The leaf, when it is in memory.
    pub(crate) fn loaded(&self) -> Option<&Link> {
        self.link.get()
    }

    pub(crate) fn into_link(self) -> Option<Link> {
        self.link.into_inner()
    }
}

impl Branch {
    pub(crate) fn new(kids: [Link; 2]) -> Branch {
        Branch {
            kids: Kids::Here(kids),
            hash: OnceLock::new(),
            record: Mark::default(),
        }
    }

    fn known_hash(&self) -> Hash {
        // A branch without kids has a hash; one with kids is hashed before it is asked.
        self.hash.get().copied().unwrap_or(ZERO)
    }

    /// The two sides, from the store if need be.
    pub(crate) fn kids(
        &self,
        store: &dyn NodeStore,
        depth: usize,
    ) -> Result<&[Link; 2], StoreError> {
        let stored = match &self.kids {
            Kids::Here(kids) => return Ok(kids),
            Kids::Stored(stored) => stored,
        };
        if let Some(kids) = stored.get() {
            return Ok(kids);
        }
        let kids = record::load_branch(self.known_hash(), depth, store)?;
        Ok(stored.get_or_init(|| kids))
    }

    /// The two sides, when they are in memory.
    pub(crate) fn loaded_kids(&self) -> Option<&[Link; 2]> {
        match &self.kids {
            Kids::Here(kids) => Some(kids),
            Kids::Stored(stored) => stored.get(),
        }
    }

    pub(crate) fn into_kids(self) -> Option<[Link; 2]> {
        match self.kids {
            Kids::Here(kids) => Some(kids),
            Kids::Stored(stored) => stored.into_inner(),
        }
    }

    /// The hash of a branch in memory. Recurses unless its sides are hashed.
    pub(crate) fn hash(&self) -> Hash {
        *self.hash.get_or_init(|| match self.loaded_kids() {
            Some([left, right]) => tagged(Tag::TrieNode, &[&left.hash(), &right.hash()]),
            None => ZERO,
        })
    }
}

/// The sides of a branch that is about to change: a copy of its own, not hashed, not recorded.
fn open<'b>(
    branch: &'b mut Arc<Branch>,
    store: &dyn NodeStore,
    depth: usize,
) -> Result<&'b mut [Link; 2], StoreError> {
    // There are no weak handles, and behind `&mut` nobody makes another one.
    let is_own = Arc::strong_count(branch) == 1 && matches!(branch.kids, Kids::Here(_));
    if !is_own {
        let kids = branch.kids(store, depth)?.clone();
        *branch = Arc::new(Branch::new(kids));
    }
    match Arc::get_mut(branch) {
        Some(Branch {
            kids: Kids::Here(kids),
            hash,
            record,
        }) => {
            *hash = OnceLock::new();
            *record = Mark::default();
            Ok(kids)
        }
        // Never: nothing else holds what was just made, or found to be held here alone.
        _ => Err(StoreError::Missing(RecordId::new(Tag::TrieNode, ZERO))),
    }
}

impl Link {
    pub(crate) fn branch(kids: [Link; 2]) -> Link {
        Link::Branch(Arc::new(Branch::new(kids)))
    }

    /// A branch that the store of this number holds.
    pub(crate) fn stored_branch(hash: Hash, store: u64) -> Link {
        Link::Branch(Arc::new(Branch {
            kids: Kids::Stored(OnceLock::new()),
            hash: OnceLock::from(hash),
            record: Mark::new(store),
        }))
    }

    /// Whether both are one subtree in memory.
    pub(crate) fn is_same(&self, other: &Link) -> bool {
        match (self, other) {
            (Link::Empty, Link::Empty) => true,
            (Link::Leaf(one), Link::Leaf(other)) => Arc::ptr_eq(one, other),
            (Link::Branch(one), Link::Branch(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    /// The hash, where it is known without hashing.
    fn known_hash(&self) -> Option<Hash> {
        match self {
            Link::Empty => Some(ZERO),
            Link::Leaf(leaf) => leaf.hash.get().copied(),
            Link::Branch(branch) => branch.hash.get().copied(),
        }
    }

    /// The hash; nested values are hashed first, in loops, each at most once, on all cores where
    /// there are many.
    pub(crate) fn hash(&self) -> Hash {
        if let Some(known) = self.known_hash() {
            return known;
        }
        self.hash_wide_part();
        self.hash_rest()
    }

    /// What is hashed before this is: sides of a branch, tables of a leaf.
    fn unhashed_below<'l>(&'l self, out: &mut Vec<&'l Link>) {
        match self {
            Link::Empty => {}
            Link::Leaf(leaf) => {
                let tables = leaf.cap.tables().filter_map(CNode::loaded);
                out.extend(tables.filter(unhashed));
            }
            Link::Branch(branch) => {
                let kids = branch.loaded_kids().into_iter().flatten();
                out.extend(kids.filter(unhashed));
            }
        }
    }

    /// Hashes subtrees of one level on all cores, where a level soon has enough of them.
    fn hash_wide_part(&self) {
        let (mut level, mut next) = (vec![self], Vec::new());
        for _ in 0..WIDE_WITHIN {
            level
                .drain(..)
                .for_each(|link| link.unhashed_below(&mut next));
            std::mem::swap(&mut level, &mut next);
            if level.len() >= WIDE_MIN {
                level.par_iter().for_each(|link| {
                    link.hash_rest();
                });
                return;
            }
        }
    }

    /// The hash, on this thread.
    fn hash_rest(&self) -> Hash {
        let mut stack = vec![self];
        let mut hash = ZERO;
        while let Some(link) = stack.last().copied() {
            if let Some(known) = link.known_hash() {
                hash = known;
                stack.pop();
                continue;
            }
            let todo = stack.len();
            link.unhashed_below(&mut stack);
            if stack.len() > todo {
                continue;
            }
            match link {
                Link::Empty => {}
                Link::Leaf(leaf) => _ = leaf.hash(),
                Link::Branch(branch) => _ = branch.hash(),
            }
        }
        hash
    }

    /// The entry at a path.
    pub(crate) fn get(
        &self,
        path: &Hash,
        store: &dyn NodeStore,
    ) -> Result<Option<&Arc<Leaf>>, StoreError> {
        let mut link = self;
        let mut depth = 0;
        loop {
            match link {
                Link::Empty => return Ok(None),
                Link::Leaf(leaf) => return Ok((leaf.key_hash == *path).then_some(leaf)),
                Link::Branch(branch) => {
                    link = &branch.kids(store, depth)?[bit(path, depth)];
                    depth += 1;
                }
            }
        }
    }

    /// The entry at a path, to be changed: copied where shared, no longer hashed. So is the way
    /// to where one would be, when there is none.
    pub(crate) fn get_mut(
        &mut self,
        path: &Hash,
        store: &dyn NodeStore,
    ) -> Result<Option<&mut Cap>, StoreError> {
        let mut link = self;
        let mut depth = 0;
        while let Link::Branch(branch) = link {
            link = &mut open(branch, store, depth)?[bit(path, depth)];
            depth += 1;
        }
        match link {
            Link::Leaf(leaf) if leaf.key_hash == *path => {
                let leaf = Arc::make_mut(leaf);
                leaf.hash = OnceLock::new();
                leaf.record = Mark::default();
                Ok(Some(&mut leaf.cap))
            }
            _ => Ok(None),
        }
    }

    /// Adds or replaces an entry; answers the capability that was there.
    pub(crate) fn insert(
        &mut self,
        new: Leaf,
        store: &dyn NodeStore,
    ) -> Result<Option<Cap>, StoreError> {
        let path = new.key_hash;
        let mut link = self;
        let mut depth = 0;
        while let Link::Branch(branch) = link {
            link = &mut open(branch, store, depth)?[bit(&path, depth)];
            depth += 1;
        }
        if let Link::Leaf(old) = link
            && old.key_hash == path
            && let Some(old) = Arc::get_mut(old)
        {
            return Ok(Some(std::mem::replace(old, new).take_cap()));
        }
        let new = Arc::new(new);
        match std::mem::take(link) {
            Link::Leaf(old) if old.key_hash == path => {
                *link = Link::Leaf(new);
                Ok(Some(Leaf::into_cap(old)))
            }
            Link::Leaf(old) => {
                *link = split(depth, old, new);
                Ok(None)
            }
            _ => {
                *link = Link::Leaf(new);
                Ok(None)
            }
        }
    }

    /// Takes out the entry at a path; the caller knows that it is there.
    pub(crate) fn remove(
        &mut self,
        path: &Hash,
        depth: usize,
        store: &dyn NodeStore,
    ) -> Result<Option<Cap>, StoreError> {
        let branch = match self {
            Link::Branch(branch) => branch,
            Link::Leaf(leaf) if leaf.key_hash == *path => {
                let Link::Leaf(leaf) = std::mem::take(self) else {
                    return Ok(None);
                };
                return Ok(Some(Leaf::into_cap(leaf)));
            }
            _ => return Ok(None),
        };
        let kids = open(branch, store, depth)?;
        let removed = kids[bit(path, depth)].remove(path, depth + 1, store)?;
        let rest = match kids {
            [Link::Empty, rest @ (Link::Leaf(_) | Link::Empty)]
            | [rest @ Link::Leaf(_), Link::Empty] => std::mem::take(rest),
            _ => return Ok(removed),
        };
        *self = rest;
        Ok(removed)
    }

    /// The first entry whose path is above `after`; the very first for `None`.
    pub(crate) fn next(
        &self,
        after: Option<&Hash>,
        store: &dyn NodeStore,
    ) -> Result<Option<&Arc<Leaf>>, StoreError> {
        let mut link = self;
        let mut depth = 0;
        // The nearest subtree of only greater paths.
        let mut greater = None;
        if let Some(after) = after {
            while let Link::Branch(branch) = link {
                let kids = branch.kids(store, depth)?;
                let side = bit(after, depth);
                depth += 1;
                if side == 0 && !matches!(kids[1], Link::Empty) {
                    greater = Some((&kids[1], depth));
                }
                link = &kids[side];
            }
            match link {
                Link::Leaf(leaf) if leaf.key_hash > *after => return Ok(Some(leaf)),
                _ => {}
            }
            let Some(found) = greater else {
                return Ok(None);
            };
            (link, depth) = found;
        }
        loop {
            match link {
                Link::Empty => return Ok(None),
                Link::Leaf(leaf) => return Ok(Some(leaf)),
                Link::Branch(branch) => {
                    let kids = branch.kids(store, depth)?;
                    link = match &kids[0] {
                        Link::Empty => &kids[1],
                        left => left,
                    };
                    depth += 1;
                }
            }
        }
    }
}

fn unhashed(link: &&Link) -> bool {
    link.known_hash().is_none()
}

/// The subtree at `depth` of two entries with different paths, equal up to there.
fn split(depth: usize, a: Arc<Leaf>, b: Arc<Leaf>) -> Link {
    let (a_path, b_path) = (a.key_hash, b.key_hash);
    let mut fork = depth;
    while bit(&a_path, fork) == bit(&b_path, fork) {
        fork += 1;
    }
    let mut link = Link::branch(match bit(&a_path, fork) {
        0 => [Link::Leaf(a), Link::Leaf(b)],
        _ => [Link::Leaf(b), Link::Leaf(a)],
    });
    for depth in (depth..fork).rev() {
        link = Link::branch(match bit(&a_path, depth) {
            0 => [link, Link::Empty],
            _ => [Link::Empty, link],
        });
    }
    link
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    /// An entry at a path of one's choice, as ground keys come near to it.
    fn leaf_at(path: Hash, n: u8) -> Leaf {
        let mut leaf = Leaf::new(Key::from(n), Cap::Type([n; 32].into()));
        leaf.key_hash = path;
        leaf
    }

    fn path(last: u8) -> Hash {
        let mut path = [0xa5; 32];
        path[31] = last;
        path
    }

    fn depth_of(link: &Link) -> usize {
        match link {
            Link::Branch(branch) => {
                let kids = branch.loaded_kids().into_iter().flatten();
                1 + kids.map(depth_of).max().unwrap_or(0)
            }
            _ => 0,
        }
    }

    #[test]
    fn paths_that_differ_in_the_last_bit_are_256_deep() {
        let store = MemoryStore::new();
        let mut root = Link::Empty;
        root.insert(leaf_at(path(0), 1), &store).unwrap();
        let single = root.hash();
        assert_eq!(depth_of(&root), 0);
        root.insert(leaf_at(path(1), 2), &store).unwrap();
        assert_eq!(depth_of(&root), 256);
        root.insert(leaf_at([0; 32], 3), &store).unwrap();
        assert_eq!(depth_of(&root), 256);

        let order: Vec<_> = [None, Some([0; 32]), Some(path(0)), Some(path(1))]
            .iter()
            .map(|after| root.next(after.as_ref(), &store).unwrap())
            .map(|leaf| leaf.map(|leaf| leaf.key_hash))
            .collect();
        assert_eq!(order, [Some([0; 32]), Some(path(0)), Some(path(1)), None]);

        root.hash();
        root.remove(&[0; 32], 0, &store).unwrap();
        assert_eq!(depth_of(&root), 256, "still two entries");
        root.remove(&path(1), 0, &store).unwrap();
        assert_eq!(depth_of(&root), 0, "one entry is a leaf");
        assert_eq!(root.hash(), single);
        assert!(root.remove(&path(1), 0, &store).unwrap().is_none());
        root.remove(&path(0), 0, &store).unwrap();
        assert_eq!(root.hash(), ZERO);
    }

    #[test]
    fn bits_are_read_most_significant_first() {
        let path = path(0b0000_0010);
        let first: Vec<_> = (0..8).map(|i| bit(&path, i)).collect();
        assert_eq!(first, [1, 0, 1, 0, 0, 1, 0, 1]);
        assert_eq!((bit(&path, 254), bit(&path, 255)), (1, 0));
    }

    /// A map of `entries`, each a map of `nested` entries and a value of its own.
    fn nested_maps(entries: u32, nested: u32) -> Link {
        let store = MemoryStore::new();
        let key = |n: u32| Key::new(&n.to_le_bytes()).unwrap();
        let mut root = Link::Empty;
        for n in 0..entries {
            let mut map = CNode::empty();
            for m in 0..nested {
                let id = tagged(Tag::Type, &[&n.to_le_bytes(), &m.to_le_bytes()]);
                let value = Cap::Type(id.into());
                map.set(&store, &key(m), Some(value)).unwrap();
            }
            let leaf = Leaf::new(key(n), Cap::CNode(map));
            root.insert(leaf, &store).unwrap();
        }
        root
    }

    #[test]
    fn cores_together_hash_as_one() {
        let wide = WIDE_MIN as u32;
        for (entries, nested) in [(1, 3 * wide), (wide - 1, 1), (3 * wide, 1), (3, wide)] {
            let alone = nested_maps(entries, nested).hash_rest();
            assert_eq!(nested_maps(entries, nested).hash(), alone);
        }
    }

    #[test]
    fn a_part_that_is_shared_is_hashed_by_several_cores_at_once() {
        let part = nested_maps(2 * WIDE_MIN as u32, 1);
        let other = part.clone();
        let (one, two) = rayon::join(|| part.hash(), || other.hash());
        assert_eq!(one, two);
        assert_eq!(one, nested_maps(2 * WIDE_MIN as u32, 1).hash_rest());
    }

    #[test]
    fn a_unique_path_is_changed_in_place() {
        let store = MemoryStore::new();
        let mut root = Link::Empty;
        for n in 0..=255 {
            let leaf = Leaf::new(Key::from(n), Cap::Type([n; 32].into()));
            root.insert(leaf, &store).unwrap();
        }
        let address = |link: &Link| match link {
            Link::Branch(branch) => Some(Arc::as_ptr(branch)),
            _ => None,
        };
        let before = address(&root);
        let change = || Leaf::new(Key::from(1), Cap::Type([0; 32].into()));
        root.insert(change(), &store).unwrap();
        assert_eq!(address(&root), before);
        let shared = root.clone();
        root.insert(change(), &store).unwrap();
        assert_ne!(address(&root), before);
        assert_eq!(shared.hash(), root.hash());
    }
}
