//! A store that counts the bytes read of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jar_cap::{Hash, NodeStore, RecordId, StoreError};

use crate::block::{Block, Outcome, PublicKey};
use crate::hardware::{Commit, EventLocation, Store, StoredHeader, Watermark};

/// Another store, and how much of it was read: what is read of a state stays in memory with it.
#[derive(Debug)]
pub struct CountingStore {
    store: Arc<dyn Store>,
    read: AtomicU64,
}

impl CountingStore {
    /// Counts what is read of this store.
    pub fn new(store: Arc<dyn Store>) -> CountingStore {
        CountingStore {
            store,
            read: AtomicU64::new(0),
        }
    }

    /// Bytes of records read so far.
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}

impl NodeStore for CountingStore {
    fn get(&self, id: &RecordId) -> Result<Option<Vec<u8>>, StoreError> {
        let record = self.store.get(id)?;
        let bytes = record.as_ref().map_or(0, Vec::len) as u64;
        self.read.fetch_add(bytes, Ordering::Relaxed);
        Ok(record)
    }

    fn number(&self) -> u64 {
        self.store.number()
    }
}

impl Store for CountingStore {
    fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
        self.store.commit(commit)
    }

    fn header(&self, hash: &Hash) -> Result<Option<StoredHeader>, StoreError> {
        self.store.header(hash)
    }

    fn block(&self, hash: &Hash) -> Result<Option<Block>, StoreError> {
        self.store.block(hash)
    }

    fn outcomes(&self, hash: &Hash) -> Result<Option<Vec<Outcome>>, StoreError> {
        self.store.outcomes(hash)
    }

    fn canonical(&self, height: u64) -> Result<Option<Hash>, StoreError> {
        self.store.canonical(height)
    }

    fn head(&self) -> Result<Option<Hash>, StoreError> {
        self.store.head()
    }

    fn finalized(&self) -> Result<Option<Hash>, StoreError> {
        self.store.finalized()
    }

    fn event(&self, id: &Hash, limit: usize) -> Result<Vec<EventLocation>, StoreError> {
        self.store.event(id, limit)
    }

    fn raise_watermarks(&self, raised: &[(PublicKey, Watermark)]) -> Result<(), StoreError> {
        self.store.raise_watermarks(raised)
    }

    fn write_records(&self, records: &[(RecordId, Vec<u8>)]) -> Result<(), StoreError> {
        self.store.write_records(records)
    }

    fn watermark(&self, key: &PublicKey) -> Result<Watermark, StoreError> {
        self.store.watermark(key)
    }
}
