//! Turning values into records.

use std::collections::HashSet;

use crate::cap::Cap;
use crate::cnode::Root;
use crate::data::Data;
use crate::error::StoreError;
use crate::hash::Tag;
use crate::image_ref::ImageRef;
use crate::instance::{Body, Scratch};
use crate::pages::PageLink;
use crate::record::{
    Reference, encode_branch, encode_cap, encode_leaf, encode_pages, next_record_depth,
    next_record_height,
};
use crate::store::RecordId;
use crate::trie::{Link, StoredLeaf};

/// A value with a record of its own.
#[derive(Clone, Copy)]
pub(crate) enum Item<'a> {
    /// A trie's root, or a branch at a depth where records start.
    Trie(&'a Link, usize),
    /// The root of a trie of one entry.
    StoredLeaf(&'a StoredLeaf),
    /// A page tree's root, or a subtree at a height where records start.
    Pages(&'a PageLink, u32),
    /// An Image.
    Image(&'a ImageRef),
}

impl<'a> Item<'a> {
    /// The items a capability refers to.
    pub(crate) fn below(cap: &'a Cap, out: &mut Vec<Item<'a>>) {
        match cap {
            Cap::Data(data) => out.extend(Item::data(data)),
            Cap::Type(_) => {}
            Cap::Image(image) => out.push(Item::Image(image)),
            Cap::CNode(cnode) => out.extend(Item::root(cnode.table())),
            Cap::Instance(instance) => {
                if let Body::Program { image, cnode, .. } = instance.body() {
                    out.push(Item::Image(image));
                    out.extend(Item::root(cnode.table()));
                }
                out.extend(instance.sealed().and_then(Item::data));
                if let Some(paused) = instance.suspended() {
                    out.extend(paused.ephemeral.values().filter_map(Item::data));
                    let scratch = paused.scratch.as_ref().map(Scratch::map);
                    out.extend(scratch.and_then(|map| Item::root(map.table())));
                    out.extend(paused.next_image.as_ref().map(Item::Image));
                }
            }
        }
    }

    fn data(data: &'a Data) -> Option<Item<'a>> {
        Some(Item::Pages(data.tree()?, data.height()))
    }

    fn root(root: &'a Root) -> Option<Item<'a>> {
        match root {
            Root::Loaded(Link::Empty) => None,
            Root::Loaded(link) => Some(Item::Trie(link, 0)),
            Root::Stored(leaf) => Some(Item::StoredLeaf(leaf)),
        }
    }

    /// Where the item's record is.
    pub(crate) fn reference(&self) -> Reference {
        let (tag, hash, level) = match self {
            Item::Trie(Link::Branch(_), depth) => (Tag::TrieNode, self.hash(), Some(*depth as u32)),
            Item::Trie(..) | Item::StoredLeaf(_) => (Tag::TrieLeaf, self.hash(), None),
            Item::Pages(_, 0) => (Tag::PageLeaf, self.hash(), None),
            Item::Pages(_, height) => (Tag::PageNode, self.hash(), Some(*height)),
            Item::Image(image) => (Tag::Image, self.hash(), Some(image.size())),
        };
        Reference {
            id: RecordId::new(tag, hash),
            level,
        }
    }

    fn hash(&self) -> crate::hash::Hash {
        match self {
            Item::Trie(link, _) => link.hash(),
            Item::StoredLeaf(leaf) => leaf.hash(),
            Item::Pages(link, _) => link.hash(),
            Item::Image(image) => image.id(),
        }
    }

    fn mark(&self) -> Option<&'a crate::mark::Mark> {
        match self {
            Item::Trie(Link::Empty, _) => None,
            Item::Trie(Link::Leaf(leaf), _) => Some(&leaf.record),
            Item::Trie(Link::Branch(branch), _) => Some(&branch.record),
            Item::StoredLeaf(leaf) => Some(leaf.mark()),
            Item::Pages(link, _) => link.mark(),
            Item::Image(image) => Some(image.mark()),
        }
    }

    /// The items this one's record refers to.
    pub(crate) fn children(&self, out: &mut Vec<Item<'a>>) -> Result<(), StoreError> {
        let whole = match *self {
            Item::Trie(link, depth) => entries(link, depth, next_record_depth(depth), out),
            Item::StoredLeaf(leaf) => leaf
                .loaded()
                .and_then(|link| entries(link, 0, next_record_depth(0), out)),
            Item::Pages(_, 0) | Item::Image(_) => Some(()),
            Item::Pages(link, height) => subtrees(link, height, next_record_height(height), out),
        };
        whole.ok_or_else(|| StoreError::Foreign(self.reference().id))
    }

    fn encode(&self) -> Result<Vec<u8>, StoreError> {
        let bytes = match self {
            Item::Trie(Link::Empty, _) => None,
            Item::Trie(Link::Leaf(leaf), _) => Some(encode_leaf(leaf)),
            Item::Trie(Link::Branch(branch), depth) => encode_branch(branch, *depth),
            Item::StoredLeaf(leaf) => match leaf.loaded() {
                Some(Link::Leaf(leaf)) => Some(encode_leaf(leaf)),
                _ => None,
            },
            Item::Pages(link, 0) => link.loaded_bytes().map(|bytes| bytes.to_vec()),
            Item::Pages(link, height) => encode_pages(link, *height),
            Item::Image(image) => image.encoded(),
        };
        bytes.ok_or_else(|| StoreError::Foreign(self.reference().id))
    }
}

/// What the entries and branches of one record, down to depth `end`, refer to; `None` when not
/// all of it is loaded.
fn entries<'a>(link: &'a Link, depth: usize, end: usize, out: &mut Vec<Item<'a>>) -> Option<()> {
    match link {
        Link::Empty => {}
        Link::Leaf(leaf) => Item::below(&leaf.cap, out),
        Link::Branch(_) if depth == end => out.push(Item::Trie(link, depth)),
        Link::Branch(branch) => {
            for kid in branch.loaded_kids()? {
                entries(kid, depth + 1, end, out)?;
            }
        }
    }
    Some(())
}

/// The page subtrees one record refers to; `None` when not all of it is loaded.
fn subtrees<'a>(link: &'a PageLink, height: u32, end: u32, out: &mut Vec<Item<'a>>) -> Option<()> {
    match link {
        PageLink::Absent => {}
        _ if height == end => out.push(Item::Pages(link, height)),
        _ => {
            for kid in link.loaded_kids()? {
                subtrees(kid, height - 1, end, out)?;
            }
        }
    }
    Some(())
}

/// Hands `sink` the records of everything of `cap` that the store of this number does not hold
/// yet, children before their parents, and marks it as held there; `cap` itself gets a record
/// for [`load`](crate::load). Costs what changed since values were last persisted there.
///
/// Answers how many bytes of records it had no need to hand over, for they equal others: parts of
/// a value that are made twice are twice in memory, and once in a store.
///
/// The caller must write the records before anything else is persisted to that store; if that
/// fails, the values are marked wrongly and the store must be reopened under another number.
///
/// Errors: [`StoreError::Foreign`] when part of the value was loaded from another store only as
/// far as its hash.
pub fn persist(
    cap: &Cap,
    store_number: u64,
    sink: &mut dyn FnMut(RecordId, Vec<u8>),
) -> Result<u64, StoreError> {
    // Hashes all of it, in a loop; from here on hashes are known.
    let id = cap.id();
    let mut found = Vec::new();
    Item::below(cap, &mut found);
    // Equal values need not be the same handle. Only asked whether it contains an id, never
    // listed: its order does not matter.
    let (mut written, mut repeated) = (HashSet::new(), 0);
    // Each item comes up twice: its children are pushed above it the first time, its record is
    // written the second time.
    let mut stack: Vec<_> = found.drain(..).map(|item| (item, false)).collect();
    while let Some((item, has_children_done)) = stack.pop() {
        let Some(mark) = item.mark() else { continue };
        if mark.is(store_number) {
            continue;
        }
        let id = item.reference().id;
        // Of what equals something written, not all need be here.
        let is_repeated = written.contains(&id);
        if has_children_done {
            match item.encode() {
                Ok(bytes) if is_repeated => repeated += bytes.len() as u64,
                Ok(bytes) => {
                    sink(id, bytes);
                    written.insert(id);
                }
                Err(error) if !is_repeated => return Err(error),
                Err(_) => {}
            }
            mark.set(store_number);
            continue;
        }
        stack.push((item, true));
        match item.children(&mut found) {
            Ok(()) => {}
            Err(error) if !is_repeated => return Err(error),
            Err(_) => found.clear(),
        }
        let unmarked = |item: &Item<'_>| item.mark().is_some_and(|mark| !mark.is(store_number));
        stack.extend(found.drain(..).filter(unmarked).map(|item| (item, false)));
    }
    if !matches!(cap, Cap::Image(_)) {
        sink(RecordId::new(cap.kind().tag(), id), encode_cap(cap));
    }
    Ok(repeated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cnode::CNode;
    use crate::hash::{blake2b, counted::TAGGED};
    use crate::key::Key;
    use crate::store::{MemoryStore, NodeStore};

    fn key(index: u32) -> Key {
        Key::from(blake2b(&[&index.to_le_bytes()]))
    }

    fn value(number: u32) -> Option<Cap> {
        Some(Cap::Data(Data::new(&number.to_le_bytes())))
    }

    /// Structures hashed and records written when a map of `entries`, which is in a store, is
    /// committed again after `updates` of them have changed.
    fn cost(entries: u32, updates: u32) -> (usize, usize) {
        let store = MemoryStore::new();
        let mut map = CNode::empty();
        for index in 0..entries {
            map.set(&store, &key(index), value(index)).unwrap();
        }
        let commit = |map: &CNode| {
            let (hashed, mut written) = (TAGGED.get(), 0);
            let map = Cap::CNode(map.clone());
            persist(&map, store.number(), &mut |_, _| written += 1).unwrap();
            (TAGGED.get() - hashed, written)
        };
        let all = commit(&map);
        assert!(all.0 > 2 * entries as usize, "all of it is hashed at first");
        let before = map.clone();
        for index in 0..updates {
            map.set(&store, &key(index), value(entries + index))
                .unwrap();
        }
        let changed = commit(&map);
        // What was known of either is known still: the id of the map itself is all that is made.
        for known in [&before, &map] {
            assert_eq!(commit(known), (1, 1));
        }
        changed
    }

    #[test]
    fn a_commit_costs_what_changed() {
        // What is counted is counted by thread.
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build();
        one.unwrap().install(commits_cost_what_changed);
    }

    fn commits_cost_what_changed() {
        for updates in [1, 10, 100] {
            let (hashed, written) = cost(1 << 14, updates);
            // An entry, its Data and the branches above: 14 levels, a few more where keys are
            // close; a record for each four levels, further down for each two.
            assert!(hashed <= updates as usize * 28, "{hashed} for {updates}");
            assert!(written <= updates as usize * 8, "{written} for {updates}");
        }
        // Four times the state is two levels more.
        let (less, more) = (cost(1 << 12, 50).0, cost(1 << 14, 50).0);
        assert!(more <= less + 50 * 4, "{less}, then {more}");
    }
}
