//! Data: bytes of any length.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use crate::error::{Error, StoreError};
use crate::hash::{Hash, Tag, tagged};
use crate::pages::{
    Change, PAGE_BYTES, PageLink, height_of, page_at, page_count, page_hash, page_len,
};
use crate::resident::shared;
use crate::store::NodeStore;

/// Bytes, in a tree of pages that values share.
#[derive(Clone, Debug)]
pub struct Data(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    len: u64,
    content: Content,
    id: OnceLock<Hash>,
}

/// Bytes that stand in a Data itself at the most.
pub(crate) const SHORT_LEN_MAX: usize = 63;

#[derive(Debug)]
enum Content {
    /// Up to [`SHORT_LEN_MAX`] bytes, as most Data are; zeros behind the Data's length.
    Short([u8; SHORT_LEN_MAX]),
    /// More than that.
    Tree(PageLink),
}

impl Content {
    /// These bytes, if they are few.
    fn short(bytes: &[u8]) -> Option<Content> {
        let mut short = [0; SHORT_LEN_MAX];
        short.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Content::Short(short))
    }
}

impl Data {
    /// These bytes.
    pub fn new(bytes: &[u8]) -> Data {
        let len = bytes.len() as u64;
        match Content::short(bytes) {
            Some(short) => Data::with_content(len, short),
            None => Data::from_parts(len, PageLink::build(bytes, height_of(page_count(len)))),
        }
    }

    /// No bytes.
    pub fn empty() -> Data {
        Data::new(&[])
    }

    pub(crate) fn from_parts(len: u64, root: PageLink) -> Data {
        let short = match &root {
            // Without bytes there is no page to be loaded.
            PageLink::Absent => Content::short(&[]),
            root => root.loaded_bytes().and_then(|bytes| Content::short(bytes)),
        };
        Data::with_content(len, short.unwrap_or(Content::Tree(root)))
    }

    fn with_content(len: u64, content: Content) -> Data {
        Data(Arc::new(Inner {
            len,
            content,
            id: OnceLock::new(),
        }))
    }

    /// Bytes it takes in memory itself, without its tree.
    pub(crate) fn own_bytes(&self) -> usize {
        size_of::<Inner>()
    }

    /// Its address, when others have it, too.
    pub(crate) fn shared(&self) -> Option<usize> {
        shared(&self.0)
    }

    /// All bytes, if they are few: up to 63.
    #[inline]
    pub fn short(&self) -> Option<&[u8]> {
        match &self.0.content {
            Content::Short(bytes) => bytes.get(..self.0.len as usize),
            Content::Tree(_) => None,
        }
    }

    /// The tree of pages; `None` for few bytes.
    pub(crate) fn tree(&self) -> Option<&PageLink> {
        match &self.0.content {
            Content::Short(_) => None,
            Content::Tree(root) => Some(root),
        }
    }

    /// The tree of pages, made if there is none.
    fn root(&self) -> PageLink {
        match (&self.0.content, self.short()) {
            (Content::Tree(root), _) => root.clone(),
            (_, short) => PageLink::build(short.unwrap_or_default(), 0),
        }
    }

    fn root_hash(&self) -> Hash {
        match (self.tree(), self.short()) {
            (Some(root), _) => root.hash(),
            (None, short) => page_hash(short.unwrap_or_default()),
        }
    }

    pub(crate) fn height(&self) -> u32 {
        height_of(page_count(self.len()))
    }

    /// Length in bytes.
    #[inline]
    pub fn len(&self) -> u64 {
        self.0.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The id: H(0x30 ‖ length as u64 little-endian ‖ page root).
    pub fn id(&self) -> Hash {
        *self
            .0
            .id
            .get_or_init(|| tagged(Tag::Data, &[&self.len().to_le_bytes(), &self.root_hash()]))
    }

    /// Copies bytes from `offset` on; answers how many there were to copy.
    pub fn read(
        &self,
        store: &dyn NodeStore,
        offset: u64,
        out: &mut [u8],
    ) -> Result<usize, StoreError> {
        let rest = self.len().saturating_sub(offset);
        let wanted = usize::try_from(rest).map_or(out.len(), |rest| rest.min(out.len()));
        if wanted == 0 {
            return Ok(0);
        }
        if let Some(short) = self.short() {
            out[..wanted].copy_from_slice(&short[offset as usize..][..wanted]);
            return Ok(wanted);
        }
        let root = self.root();
        let mut done = 0;
        while done < wanted {
            let at = offset + done as u64;
            let page = page_at(&root, self.len(), at / PAGE_BYTES as u64, store)?;
            let from = (at % PAGE_BYTES as u64) as usize;
            let count = (page.len() - from).min(wanted - done);
            out[done..done + count].copy_from_slice(&page[from..from + count]);
            done += count;
        }
        Ok(wanted)
    }

    /// The page of this index, shorter than [`PAGE_BYTES`] at the end only; `None` beyond it.
    pub fn page(&self, store: &dyn NodeStore, index: u32) -> Result<Option<Arc<[u8]>>, StoreError> {
        if u64::from(index) >= page_count(self.len()) {
            return Ok(None);
        }
        match self.short() {
            Some(short) => Ok(Some(short.into())),
            None => page_at(&self.root(), self.len(), index.into(), store).map(Some),
        }
    }

    /// All bytes, if they are at most `len_max`.
    pub fn to_vec(&self, store: &dyn NodeStore, len_max: u64) -> Result<Vec<u8>, Error> {
        let too_long = Error::TooLong {
            len: self.len(),
            max: len_max,
        };
        if self.len() > len_max {
            return Err(too_long);
        }
        let mut bytes = vec![0; usize::try_from(self.len()).map_err(|_| too_long)?];
        self.read(store, 0, &mut bytes)?;
        Ok(bytes)
    }

    /// This Data with pages replaced, and grown to `new_len` bytes (its own length if that is
    /// greater). New bytes are zeros where no page is given; a page given shorter than its place
    /// is filled up with zeros; what is given beyond the end is cut off. For a page given twice
    /// the later one counts. Costs O(k log n) for k pages.
    pub fn with_pages(
        &self,
        store: &dyn NodeStore,
        new_len: u64,
        pages: impl IntoIterator<Item = (u32, Arc<[u8]>)>,
    ) -> Result<Data, StoreError> {
        let new_len = new_len.max(self.len());
        let mut changed = BTreeMap::new();
        for (index, bytes) in pages {
            let index = u64::from(index);
            let len = page_len(new_len, index);
            if len > 0 {
                changed.insert(index, resized(bytes, len));
            }
        }
        let mut root = self.root();
        let old_pages = page_count(self.len());
        let height = height_of(page_count(new_len));
        if let Some(last) = old_pages.checked_sub(1) {
            let len = page_len(new_len, last);
            if len != page_len(self.len(), last) && !changed.contains_key(&last) {
                let bytes = page_at(&root, self.len(), last, store)?;
                changed.insert(last, resized(bytes, len));
            }
        }
        if old_pages > 0 {
            if height > self.height() {
                // What was a record's start may come to stand within one, which is written whole.
                root.kids(store, self.height())?;
            }
            for _ in self.height()..height {
                root = PageLink::node(root, PageLink::Absent);
            }
        }
        let changed: Vec<_> = changed.into_iter().collect();
        let change = Change { old_pages, new_len };
        let root = change.apply(&root, height, 0, &changed, store)?;
        Ok(Data::from_parts(new_len, root))
    }
}

/// A page cut or filled up with zeros to `len` bytes.
fn resized(bytes: Arc<[u8]>, len: usize) -> Arc<[u8]> {
    if bytes.len() == len {
        return bytes;
    }
    let mut page = vec![0; len];
    let count = bytes.len().min(len);
    page[..count].copy_from_slice(&bytes[..count]);
    page.into()
}
