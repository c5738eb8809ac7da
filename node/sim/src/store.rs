//! A store whose process can be killed while it commits.

use std::sync::{Arc, Mutex, PoisonError};

use jar_cap::{Hash, NodeStore, RecordId, StoreError};
use jar_kernel::block::{Block, Outcome, PublicKey};
use jar_kernel::memory::MemoryChainStore;
use jar_kernel::{Commit, EventLocation, Store, StoredHeader, Watermark};

/// When the process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashAt {
    /// Before the commit reached the disk.
    BeforeCommit,
    /// After the commit was on the disk, before the node knew.
    AfterCommit,
}

/// A store in memory that outlives the node; its next commit may be the node's last act.
#[derive(Debug, Default)]
pub struct CrashStore {
    disk: Arc<MemoryChainStore>,
    crash: Mutex<Option<CrashAt>>,
}

impl CrashStore {
    /// What a commit says that was the process's last act.
    pub const KILLED: &str = "the process was killed";

    /// The same disk for the next process, which no crash waits for.
    pub fn reopened(&self) -> CrashStore {
        CrashStore {
            disk: self.disk.clone(),
            crash: Mutex::default(),
        }
    }

    /// A disk of its own that holds the same now.
    pub fn copied(&self) -> CrashStore {
        CrashStore {
            disk: Arc::new(self.disk.copied()),
            crash: Mutex::default(),
        }
    }

    /// Kills the process at its next write: a commit, or one of watermarks or records.
    pub fn crash_next(&self, crash: CrashAt) {
        *self.crash.lock().unwrap_or_else(PoisonError::into_inner) = Some(crash);
    }

    fn write(
        &self,
        write: impl FnOnce(&MemoryChainStore) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let crash = self
            .crash
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match crash {
            None => write(&self.disk),
            Some(CrashAt::BeforeCommit) => Err(killed()),
            Some(CrashAt::AfterCommit) => {
                write(&self.disk)?;
                Err(killed())
            }
        }
    }
}

fn killed() -> StoreError {
    StoreError::Backend(CrashStore::KILLED.into())
}

impl NodeStore for CrashStore {
    fn get(&self, id: &RecordId) -> Result<Option<Vec<u8>>, StoreError> {
        self.disk.get(id)
    }

    fn number(&self) -> u64 {
        self.disk.number()
    }
}

impl Store for CrashStore {
    fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
        self.write(|disk| disk.commit(commit))
    }

    fn raise_watermarks(&self, raised: &[(PublicKey, Watermark)]) -> Result<(), StoreError> {
        self.write(|disk| disk.raise_watermarks(raised))
    }

    fn header(&self, hash: &Hash) -> Result<Option<StoredHeader>, StoreError> {
        self.disk.header(hash)
    }

    fn block(&self, hash: &Hash) -> Result<Option<Block>, StoreError> {
        self.disk.block(hash)
    }

    fn outcomes(&self, hash: &Hash) -> Result<Option<Vec<Outcome>>, StoreError> {
        self.disk.outcomes(hash)
    }

    fn canonical(&self, height: u64) -> Result<Option<Hash>, StoreError> {
        self.disk.canonical(height)
    }

    fn head(&self) -> Result<Option<Hash>, StoreError> {
        self.disk.head()
    }

    fn finalized(&self) -> Result<Option<Hash>, StoreError> {
        self.disk.finalized()
    }

    fn event(&self, id: &Hash, limit: usize) -> Result<Vec<EventLocation>, StoreError> {
        self.disk.event(id, limit)
    }

    fn write_records(&self, records: &[(RecordId, Vec<u8>)]) -> Result<(), StoreError> {
        self.write(|disk| disk.write_records(records))
    }

    fn watermark(&self, key: &PublicKey) -> Result<Watermark, StoreError> {
        self.disk.watermark(key)
    }
}
