//! Page trees: persistent binary trees over the pages of a Data.
//!
//! A tree of height h has 2^h places. Absent pages lie behind the present ones, so the shape
//! follows from the length alone.

use std::sync::{Arc, OnceLock};

use crate::error::StoreError;
use crate::hash::{Hash, Tag, ZERO, tagged};
use crate::mark::Mark;
use crate::record;
use crate::store::{NodeStore, RecordId, read};

/// Bytes in a page; the last page of a Data may be shorter.
pub const PAGE_BYTES: usize = 4096;

/// Height of the tree over the longest Data, of 2^64 - 1 bytes.
pub(crate) const HEIGHT_MAX: u32 = 52;

/// A subtree.
#[derive(Clone, Debug)]
pub(crate) enum PageLink {
    Absent,
    Page(Arc<Page>),
    Node(Arc<PageNode>),
}

/// A page; one not loaded yet has a hash alone.
#[derive(Debug)]
pub(crate) struct Page {
    bytes: OnceLock<Arc<[u8]>>,
    hash: OnceLock<Hash>,
    record: Mark,
}

/// A node over two subtrees; one not loaded yet has a hash alone.
#[derive(Debug)]
pub(crate) struct PageNode {
    kids: OnceLock<[PageLink; 2]>,
    hash: OnceLock<Hash>,
    record: Mark,
}

/// Pages of a Data of this length.
pub(crate) const fn page_count(len: u64) -> u64 {
    len.div_ceil(PAGE_BYTES as u64)
}

/// Height of the tree over this many pages.
pub(crate) const fn height_of(pages: u64) -> u32 {
    if pages <= 1 {
        0
    } else {
        64 - (pages - 1).leading_zeros()
    }
}

/// Bytes of a page of a Data of this length.
pub(crate) fn page_len(len: u64, index: u64) -> usize {
    let start = index * PAGE_BYTES as u64;
    len.saturating_sub(start).min(PAGE_BYTES as u64) as usize
}

/// The hash of a page that holds these bytes; without any it is absent.
pub(crate) fn page_hash(bytes: &[u8]) -> Hash {
    match bytes {
        [] => ZERO,
        _ => tagged(Tag::PageLeaf, &[bytes]),
    }
}

impl PageLink {
    pub(crate) fn page(bytes: Arc<[u8]>) -> PageLink {
        PageLink::Page(Arc::new(Page {
            bytes: OnceLock::from(bytes),
            hash: OnceLock::new(),
            record: Mark::default(),
        }))
    }

    pub(crate) fn node(left: PageLink, right: PageLink) -> PageLink {
        PageLink::Node(Arc::new(PageNode {
            kids: OnceLock::from([left, right]),
            hash: OnceLock::new(),
            record: Mark::default(),
        }))
    }

    /// A subtree that the store of this number holds.
    pub(crate) fn stored(hash: Hash, height: u32, store: u64) -> PageLink {
        let (hash, record) = (OnceLock::from(hash), Mark::new(store));
        if height == 0 {
            let bytes = OnceLock::new();
            PageLink::Page(Arc::new(Page {
                bytes,
                hash,
                record,
            }))
        } else {
            let kids = OnceLock::new();
            PageLink::Node(Arc::new(PageNode { kids, hash, record }))
        }
    }

    /// The tree over bytes held in memory; `height` as [`height_of`] says.
    pub(crate) fn build(bytes: &[u8], height: u32) -> PageLink {
        if bytes.is_empty() {
            return PageLink::Absent;
        }
        if height == 0 {
            return PageLink::page(bytes.into());
        }
        let half = (PAGE_BYTES << (height - 1)).min(bytes.len());
        PageLink::node(
            PageLink::build(&bytes[..half], height - 1),
            PageLink::build(&bytes[half..], height - 1),
        )
    }

    /// The hash; recursion is bounded by the height, and known hashes end it.
    pub(crate) fn hash(&self) -> Hash {
        match self {
            PageLink::Absent => ZERO,
            PageLink::Page(page) => *page.hash.get_or_init(|| {
                let bytes = page.bytes.get().map_or(&[][..], |bytes| bytes);
                page_hash(bytes)
            }),
            PageLink::Node(node) => *node.hash.get_or_init(|| match node.kids.get() {
                Some([left, right]) => tagged(Tag::PageNode, &[&left.hash(), &right.hash()]),
                // A node is made of a hash or of its kids.
                None => ZERO,
            }),
        }
    }

    /// The two halves of a subtree of this height, from the store if need be.
    pub(crate) fn kids(
        &self,
        store: &dyn NodeStore,
        height: u32,
    ) -> Result<[PageLink; 2], StoreError> {
        let PageLink::Node(node) = self else {
            return Ok([PageLink::Absent, PageLink::Absent]);
        };
        if node.kids.get().is_none() {
            let id = RecordId::new(Tag::PageNode, self.hash());
            let kids = record::load_pages(&id, height, store)?;
            // Another thread may have been faster, with the same kids.
            let _ = node.kids.set(kids);
        }
        Ok(self
            .loaded_kids()
            .cloned()
            .unwrap_or([PageLink::Absent, PageLink::Absent]))
    }

    /// The two halves, when they are in memory.
    pub(crate) fn loaded_kids(&self) -> Option<&[PageLink; 2]> {
        match self {
            PageLink::Node(node) => node.kids.get(),
            _ => None,
        }
    }

    /// The bytes of a page, when they are in memory.
    pub(crate) fn loaded_bytes(&self) -> Option<&Arc<[u8]>> {
        match self {
            PageLink::Page(page) => page.bytes.get(),
            _ => None,
        }
    }

    /// The bytes of a page, which must be of this length.
    fn bytes(&self, store: &dyn NodeStore, len: usize) -> Result<Arc<[u8]>, StoreError> {
        // What is in memory isn't hashed for its id.
        let id = || RecordId::new(Tag::PageLeaf, self.hash());
        let corrupt = |reason| StoreError::Corrupt { id: id(), reason };
        let PageLink::Page(page) = self else {
            return Err(corrupt("a page is missing within a Data"));
        };
        let bytes = match page.bytes.get() {
            Some(bytes) => bytes,
            None => {
                let id = id();
                let bytes = read(store, &id)?;
                if tagged(Tag::PageLeaf, &[&bytes]) != id.hash() {
                    return Err(corrupt("the content does not hash to the id"));
                }
                page.bytes.get_or_init(|| bytes.into())
            }
        };
        if bytes.len() != len {
            return Err(corrupt("the page is not of the length its Data gives it"));
        }
        Ok(bytes.clone())
    }

    /// The mark of this subtree's own record.
    pub(crate) fn mark(&self) -> Option<&Mark> {
        match self {
            PageLink::Absent => None,
            PageLink::Page(page) => Some(&page.record),
            PageLink::Node(node) => Some(&node.record),
        }
    }
}

/// The page of this index, of a tree of this height over `len` bytes.
pub(crate) fn page_at(
    root: &PageLink,
    len: u64,
    index: u64,
    store: &dyn NodeStore,
) -> Result<Arc<[u8]>, StoreError> {
    let mut link = root.clone();
    for height in (1..=height_of(page_count(len))).rev() {
        let [left, right] = link.kids(store, height)?;
        link = if index >> (height - 1) & 1 == 0 {
            left
        } else {
            right
        };
    }
    link.bytes(store, page_len(len, index))
}

/// A full subtree of zero pages; one for all.
fn zeros_full(height: u32) -> PageLink {
    static ZEROS: OnceLock<Vec<PageLink>> = OnceLock::new();
    let zeros = ZEROS.get_or_init(|| {
        let page = PageLink::page([0; PAGE_BYTES].into());
        let grow = |link: &PageLink| Some(PageLink::node(link.clone(), link.clone()));
        std::iter::successors(Some(page), grow)
            .take(HEIGHT_MAX as usize + 1)
            .collect()
    });
    zeros[height as usize].clone()
}

/// A change of a tree: from `old_pages` pages to the pages of `new_len` bytes.
pub(crate) struct Change {
    pub old_pages: u64,
    pub new_len: u64,
}

impl Change {
    fn new_pages(&self) -> u64 {
        page_count(self.new_len)
    }

    /// The subtree of `height` at page `first`, all zeros up to the end of the Data.
    fn zeros(&self, height: u32, first: u64) -> PageLink {
        if first >= self.new_pages() {
            return PageLink::Absent;
        }
        if first + (1 << height) <= self.new_len / PAGE_BYTES as u64 {
            return zeros_full(height);
        }
        if height == 0 {
            return PageLink::page(vec![0; page_len(self.new_len, first)].into());
        }
        let middle = first + (1 << (height - 1));
        PageLink::node(
            self.zeros(height - 1, first),
            self.zeros(height - 1, middle),
        )
    }

    /// `old`, a subtree of `height` at page `first`, with these pages (ascending, each of its
    /// length in the new Data) put in. New pages not given are zeros.
    pub(crate) fn apply(
        &self,
        old: &PageLink,
        height: u32,
        first: u64,
        pages: &[(u64, Arc<[u8]>)],
        store: &dyn NodeStore,
    ) -> Result<PageLink, StoreError> {
        if pages.is_empty() {
            if first >= self.old_pages {
                return Ok(self.zeros(height, first));
            }
            if (first + (1 << height)).min(self.new_pages()) <= self.old_pages {
                return Ok(old.clone());
            }
        }
        if height == 0 {
            return Ok(match pages {
                [(_, bytes), ..] => PageLink::page(bytes.clone()),
                [] => old.clone(),
            });
        }
        let middle = first + (1 << (height - 1));
        let (low, high) = pages.split_at(pages.partition_point(|(index, _)| *index < middle));
        let [left, right] = old.kids(store, height)?;
        Ok(PageLink::node(
            self.apply(&left, height - 1, first, low, store)?,
            self.apply(&right, height - 1, middle, high, store)?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heights_hold_their_pages() {
        let heights: Vec<_> = (0..10).map(height_of).collect();
        assert_eq!(heights, [0, 0, 1, 2, 2, 3, 3, 3, 3, 4]);
        assert_eq!(height_of(page_count(u64::MAX)), HEIGHT_MAX);
        assert_eq!(height_of(page_count(1 << 30)), 18);
    }

    #[test]
    fn pages_have_their_own_length_at_the_end_only() {
        let lens: Vec<_> = (0..4).map(|index| page_len(8193, index)).collect();
        assert_eq!(lens, [4096, 4096, 1, 0]);
        assert_eq!(
            (page_count(0), page_count(4096), page_count(4097)),
            (0, 1, 2)
        );
        assert_eq!(page_len(u64::MAX, (1 << 52) - 1), 4095);
    }

    #[test]
    fn absent_subtrees_hash_to_zeros() {
        let link = PageLink::build(&[1; 2 * PAGE_BYTES + 1], 2);
        let page = |bytes: &[u8]| tagged(Tag::PageLeaf, &[bytes]);
        let node = |l: Hash, r: Hash| tagged(Tag::PageNode, &[&l, &r]);
        let full = page(&[1; PAGE_BYTES]);
        assert_eq!(link.hash(), node(node(full, full), node(page(&[1]), ZERO)));
        assert_eq!(PageLink::Absent.hash(), ZERO);
    }
}
