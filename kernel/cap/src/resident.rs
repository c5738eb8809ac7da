//! How much of a value is in memory.

use std::collections::HashSet;
use std::sync::Arc;

use crate::cap::Cap;
use crate::pages::{Page, PageLink, PageNode};
use crate::persist::Item;
use crate::trie::{Branch, Leaf, Link, StoredLeaf};

/// Bytes an allocation takes besides what it holds: the counts of its `Arc`, and what allocators
/// keep.
const ALLOCATION: usize = 32;
/// How many times an Image's encoding it takes in memory, about.
const IMAGE_FACTOR: usize = 2;

/// Something of a value.
enum Part<'a> {
    Cap(&'a Cap),
    Item(Item<'a>),
}

/// About how many bytes of memory the loaded parts of a value take, what is shared counted once;
/// goes no further than to `enough` of them.
pub fn resident(cap: &Cap, enough: u64) -> u64 {
    let mut bytes = 0;
    // Only asked whether it contains an address, never listed: its order does not matter.
    let mut seen = HashSet::new();
    let (mut stack, mut items) = (vec![Part::Cap(cap)], Vec::new());
    while bytes < enough
        && let Some(part) = stack.pop()
    {
        if part.shared().is_some_and(|address| !seen.insert(address)) {
            continue;
        }
        bytes += part.weigh(&mut stack, &mut items) as u64;
        stack.extend(items.drain(..).map(Part::Item));
    }
    bytes
}

/// The address of what more than one handle leads to.
pub(crate) fn shared<T: ?Sized>(handle: &Arc<T>) -> Option<usize> {
    (Arc::strong_count(handle) > 1).then(|| Arc::as_ptr(handle).cast::<()>().addr())
}

const fn allocated<T>() -> usize {
    size_of::<T>() + ALLOCATION
}

impl<'a> Part<'a> {
    fn shared(&self) -> Option<usize> {
        match self {
            Part::Cap(Cap::Data(data)) => data.shared(),
            Part::Cap(Cap::Instance(instance)) => instance.shared(),
            Part::Item(Item::Trie(Link::Leaf(leaf), _)) => shared(leaf),
            Part::Item(Item::Trie(Link::Branch(branch), _)) => shared(branch),
            Part::Item(Item::StoredLeaf(_)) => None,
            Part::Item(Item::Pages(PageLink::Page(page), _)) => shared(page),
            Part::Item(Item::Pages(PageLink::Node(node), _)) => shared(node),
            Part::Item(Item::Image(image)) => image.shared(),
            Part::Cap(_) | Part::Item(Item::Trie(..) | Item::Pages(..)) => None,
        }
    }

    /// The bytes of this part; what is loaded below it goes to one of the lists.
    fn weigh(&self, caps: &mut Vec<Part<'a>>, items: &mut Vec<Item<'a>>) -> usize {
        match *self {
            Part::Cap(cap) => {
                Item::below(cap, items);
                match cap {
                    Cap::Data(data) => data.own_bytes() + ALLOCATION,
                    Cap::Instance(instance) => instance.own_bytes() + ALLOCATION,
                    Cap::Image(_) | Cap::CNode(_) | Cap::Type(_) => 0,
                }
            }
            Part::Item(Item::Trie(link, depth)) => match link {
                Link::Empty => 0,
                Link::Leaf(leaf) => {
                    caps.push(Part::Cap(&leaf.cap));
                    allocated::<Leaf>()
                }
                Link::Branch(branch) => {
                    let kids = branch.loaded_kids().into_iter().flatten();
                    items.extend(kids.map(|kid| Item::Trie(kid, depth + 1)));
                    allocated::<Branch>()
                }
            },
            Part::Item(Item::StoredLeaf(leaf)) => {
                items.extend(leaf.loaded().map(|link| Item::Trie(link, 0)));
                allocated::<StoredLeaf>()
            }
            Part::Item(Item::Pages(link, height)) => match link {
                PageLink::Absent => 0,
                PageLink::Page(_) => {
                    let content = link.loaded_bytes().map(|bytes| bytes.len() + ALLOCATION);
                    allocated::<Page>() + content.unwrap_or(0)
                }
                PageLink::Node(_) => {
                    let kids = link.loaded_kids().into_iter().flatten();
                    items.extend(kids.map(|kid| Item::Pages(kid, height.saturating_sub(1))));
                    allocated::<PageNode>()
                }
            },
            Part::Item(Item::Image(image)) => match image.is_loaded() {
                true => IMAGE_FACTOR * image.size() as usize,
                false => ALLOCATION,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CNode, Data, Key, MemoryStore, PAGE_BYTES, load, persist};

    const ALL: u64 = u64::MAX;

    fn key(index: u32) -> Key {
        Key::from(crate::hash::blake2b(&[&index.to_le_bytes()]))
    }

    fn map(entries: u32, value: impl Fn(u32) -> Cap) -> CNode {
        let (store, mut map) = (MemoryStore::new(), CNode::empty());
        for index in 0..entries {
            map.set(&store, &key(index), Some(value(index)))
                .expect("in memory");
        }
        map
    }

    fn short(index: u32) -> Cap {
        Cap::Data(Data::new(&index.to_le_bytes()))
    }

    #[test]
    fn what_is_loaded_counts() {
        let mut store = MemoryStore::new();
        let whole = Cap::CNode(map(1000, short));
        let bytes = resident(&whole, ALL);
        assert!((1000 * 300..1000 * 600).contains(&bytes), "{bytes}");
        let mut records = Vec::new();
        persist(&whole, 1, &mut |id, bytes| records.push((id, bytes))).expect("in memory");
        for (id, bytes) in records {
            store.insert(id, bytes);
        }
        let reference = crate::RecordId::new(crate::hash::Tag::CNode, whole.id());
        let loaded = load(&store, &reference).expect("in memory");
        let Cap::CNode(table) = &loaded else {
            panic!("a CNode was persisted");
        };
        let before = resident(&loaded, ALL);
        assert!(before < 1000, "{before}");
        table.get(&store, &key(1)).expect("in memory");
        let one = resident(&loaded, ALL);
        assert!(before < one && one < bytes / 10, "{one}");
        for index in 0..1000 {
            table.get(&store, &key(index)).expect("in memory");
        }
        assert!(resident(&loaded, ALL) > bytes / 2);
    }

    #[test]
    fn what_is_shared_counts_once() {
        let long = Data::new(&vec![7; 64 * PAGE_BYTES]);
        let alone = resident(&Cap::Data(long.clone()), ALL);
        assert!(alone > 64 * PAGE_BYTES as u64);
        let often = resident(&Cap::CNode(map(100, |_| Cap::Data(long.clone()))), ALL);
        assert!(often < alone + 100 * 600, "{often}");
        let tables = map(10, short);
        let one = resident(&Cap::CNode(tables.clone()), ALL);
        let many = resident(&Cap::CNode(map(10, |_| Cap::CNode(tables.clone()))), ALL);
        assert!(many < 3 * one, "{many}");
    }

    #[test]
    fn it_stops_when_there_is_enough() {
        let whole = Cap::CNode(map(1000, short));
        let some = resident(&whole, 5000);
        assert!((5000..6000).contains(&some), "{some}");
    }
}
