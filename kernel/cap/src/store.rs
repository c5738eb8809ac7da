//! Where records come from.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::StoreError;
use crate::hash::{Hash, Tag};

/// Name of a stored record: the tag its hash was made with, then the hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId([u8; RecordId::LEN]);

impl RecordId {
    /// Bytes in a record id.
    pub const LEN: usize = 33;

    /// The record of this kind and hash.
    pub fn new(tag: Tag, hash: Hash) -> RecordId {
        let mut bytes = [0; RecordId::LEN];
        bytes[0] = tag as u8;
        bytes[1..].copy_from_slice(&hash);
        RecordId(bytes)
    }

    /// The id with these bytes; `None` for a tag no record has.
    pub fn from_bytes(bytes: [u8; RecordId::LEN]) -> Option<RecordId> {
        use Tag::*;
        match Tag::from_byte(bytes[0])? {
            PageLeaf | PageNode | TrieLeaf | TrieNode | Instance | Image | Data | CNode | Type => {
                Some(RecordId(bytes))
            }
            _ => None,
        }
    }

    /// Tag byte ‖ hash.
    pub fn as_bytes(&self) -> &[u8; RecordId::LEN] {
        &self.0
    }

    /// The tag; `None` never happens for an id made here.
    pub fn tag(&self) -> Option<Tag> {
        Tag::from_byte(self.0[0])
    }

    /// The hash.
    pub fn hash(&self) -> Hash {
        let mut hash = [0; 32];
        hash.copy_from_slice(&self.0[1..]);
        hash
    }
}

impl AsRef<[u8]> for RecordId {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Records by id. What a store returns is verified against the id by whoever reads it.
pub trait NodeStore {
    /// The content of a record; `None` when it is not held.
    fn get(&self, id: &RecordId) -> Result<Option<Vec<u8>>, StoreError>;

    /// Tells stores within one process apart, so that what is marked as held by one is not
    /// taken to be held by another. Above 0; see [`next_store_number`].
    fn number(&self) -> u64;
}

/// A store number no other store of this process has.
pub fn next_store_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Records in memory.
#[derive(Debug)]
pub struct MemoryStore {
    number: u64,
    records: BTreeMap<RecordId, Vec<u8>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        MemoryStore {
            number: next_store_number(),
            records: BTreeMap::new(),
        }
    }

    /// Adds or replaces a record.
    pub fn insert(&mut self, id: RecordId, bytes: Vec<u8>) {
        self.records.insert(id, bytes);
    }

    /// Takes a record out.
    pub fn remove(&mut self, id: &RecordId) -> Option<Vec<u8>> {
        self.records.remove(id)
    }

    /// All records in order of id.
    pub fn iter(&self) -> impl Iterator<Item = (&RecordId, &[u8])> {
        self.records.iter().map(|(id, bytes)| (id, &bytes[..]))
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

impl Default for MemoryStore {
    fn default() -> MemoryStore {
        MemoryStore::new()
    }
}

impl NodeStore for MemoryStore {
    fn get(&self, id: &RecordId) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.records.get(id).cloned())
    }

    fn number(&self) -> u64 {
        self.number
    }
}

/// A record that must be there.
pub(crate) fn read(store: &dyn NodeStore, id: &RecordId) -> Result<Vec<u8>, StoreError> {
    store.get(id)?.ok_or(StoreError::Missing(*id))
}
