//! [`RocksStore`].

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use jar_cap::{Hash, NodeStore, RecordId, StoreError, next_store_number};
use jar_kernel::block::{Block, Outcome, PublicKey};
use jar_kernel::memory::{CommitError, check_commit, commit_finalized, commit_genesis, highest};
use jar_kernel::{Commit, EventLocation, Store, StoredHeader, Watermark};
use rocksdb::{DB, Direction, IteratorMode, ReadOptions};

use crate::batch::{Batch, get, handle, holds, unpack};
use crate::columns::{
    Bodies, Canonical, ColumnKey, EventKey, Events, Headers, Meta, MetaKey, MetaValue, Nodes,
    Outcomes, WatermarkKey, Watermarks,
};
use crate::error::Error;
use crate::open::{self, Options};

/// Blocks, state and watermarks in a directory that one process may have open.
pub struct RocksStore {
    db: DB,
    number: u64,
    /// Written with the first block.
    genesis: OnceLock<Hash>,
    /// Held while a commit is checked and written.
    writing: Mutex<()>,
}

impl RocksStore {
    /// Opens the store in a directory, or makes it there.
    ///
    /// Fails with [`Error::InUse`] when another process has it open, [`Error::Schema`] when
    /// another version wrote it, and [`Error::Damaged`] or [`Error::Corrupt`] when it is broken.
    pub fn open(path: impl AsRef<Path>, options: &Options) -> Result<RocksStore, Error> {
        let store = RocksStore {
            db: open::open(path.as_ref(), options)?,
            number: next_store_number(),
            genesis: OnceLock::new(),
            writing: Mutex::new(()),
        };
        for name in [MetaKey::Genesis, MetaKey::Head, MetaKey::Finalized] {
            let Some(hash) = store.named_block(name)? else {
                continue;
            };
            if get::<Headers>(&store.db, &hash)?.is_none() {
                let reason = format!("the {name:?} block has no header").to_lowercase();
                return Err(Error::corrupt::<Headers>(&hash, reason));
            }
            if name == MetaKey::Genesis {
                store.genesis.get_or_init(|| hash);
            }
        }
        Ok(store)
    }

    /// Moves what is in memory alone from the log to tables, so that the next start is quick.
    /// Nothing is lost without it; dropping the store does it too.
    pub fn flush(&self) -> Result<(), Error> {
        open::flush(&self.db)
    }

    fn named_block(&self, name: MetaKey) -> Result<Option<Hash>, Error> {
        match get::<Meta>(&self.db, &name)? {
            None => Ok(None),
            Some(MetaValue::Block(hash)) => Ok(Some(hash)),
            Some(MetaValue::Version(_)) => {
                Err(Error::corrupt::<Meta>(&name.pack(), "not a block hash"))
            }
        }
    }

    fn try_commit(&self, commit: &Commit) -> Result<(), Error> {
        // What is guarded is on disk, written whole or not at all.
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        check_commit(commit, self.genesis.get(), |hash| {
            Ok(holds::<Headers>(&self.db, hash)?)
        })
        .map_err(Error::Refused)?;
        let mut batch = Batch::new(&self.db);
        put_block(&mut batch, commit)?;
        put_pointers(&mut batch, commit)?;
        let genesis = commit_genesis(commit);
        self.put_watermarks(&mut batch, &genesis, &commit.watermarks)?;
        batch.write()?;
        self.genesis.get_or_init(|| genesis);
        Ok(())
    }

    fn put_watermarks(
        &self,
        batch: &mut Batch<'_>,
        genesis: &Hash,
        watermarks: &[(PublicKey, Watermark)],
    ) -> Result<(), Error> {
        // A key may be given twice, and the batch cannot be read.
        let mut raised = BTreeMap::new();
        for (key, watermark) in watermarks {
            let genesis = *genesis;
            let known = match raised.get(key) {
                Some(known) => *known,
                None => get::<Watermarks>(&self.db, &WatermarkKey { genesis, key: *key })?
                    .unwrap_or_default(),
            };
            let known = highest(&known, watermark);
            batch.put::<Watermarks>(&WatermarkKey { genesis, key: *key }, &known)?;
            raised.insert(*key, known);
        }
        Ok(())
    }

    fn try_raise_watermarks(&self, raised: &[(PublicKey, Watermark)]) -> Result<(), Error> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let genesis = self
            .genesis
            .get()
            .ok_or_else(|| Error::Refused(CommitError::NoChain.into()))?;
        let mut batch = Batch::new(&self.db);
        self.put_watermarks(&mut batch, genesis, raised)?;
        batch.write()
    }

    fn try_write_records(&self, records: &[(RecordId, Vec<u8>)]) -> Result<(), Error> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.genesis.get().is_none() {
            return Err(Error::Refused(CommitError::NoChain.into()));
        }
        let mut batch = Batch::new(&self.db);
        for (id, bytes) in records {
            batch.put::<Nodes>(id, bytes)?;
        }
        batch.write()
    }

    fn try_block(&self, hash: &Hash) -> Result<Option<Block>, Error> {
        let Some(stored) = get::<Headers>(&self.db, hash)? else {
            return Ok(None);
        };
        let body = get::<Bodies>(&self.db, hash)?
            .ok_or_else(|| Error::corrupt::<Bodies>(hash, "a header is there, but no body"))?;
        Ok(Some(Block {
            header: stored.header,
            body,
        }))
    }

    fn try_event(&self, id: &Hash, limit: usize) -> Result<Vec<EventLocation>, Error> {
        let mut options = ReadOptions::default();
        options.set_prefix_same_as_start(true);
        let mode = IteratorMode::From(id, Direction::Forward);
        self.db
            .iterator_cf_opt(handle::<Events>(&self.db)?, options, mode)
            .take(limit)
            .map(|entry| {
                let (key, bytes) = entry.map_err(|error| Error::at::<Events>(id, error))?;
                unpack::<Events>(&key, &bytes)?;
                let key = EventKey::unpack(&key)
                    .filter(|found| found.id == *id)
                    .ok_or_else(|| Error::corrupt::<Events>(&key, "not a key of this event"))?;
                Ok(key.location)
            })
            .collect()
    }
}

fn put_block(batch: &mut Batch<'_>, commit: &Commit) -> Result<(), Error> {
    let block = commit.hash;
    let header = StoredHeader {
        header: commit.block.header.clone(),
        score: commit.score,
        instance: commit.instance,
    };
    batch.put::<Headers>(&block, &header)?;
    batch.put::<Bodies>(&block, &commit.block.body)?;
    batch.put::<Outcomes>(&block, &commit.outcomes)?;
    for (id, bytes) in &commit.nodes {
        batch.put::<Nodes>(id, bytes)?;
    }
    for &(id, index) in &commit.events {
        let location = EventLocation { block, index };
        batch.put::<Events>(&EventKey { id, location }, &())?;
    }
    Ok(())
}

fn put_pointers(batch: &mut Batch<'_>, commit: &Commit) -> Result<(), Error> {
    for (height, hash) in &commit.canonical {
        match hash {
            Some(hash) => batch.put::<Canonical>(height, hash)?,
            None => batch.delete::<Canonical>(height)?,
        }
    }
    let genesis = Some(commit_genesis(commit));
    for (name, hash) in [
        (MetaKey::Genesis, genesis),
        (MetaKey::Head, commit.head),
        (MetaKey::Finalized, commit_finalized(commit)),
    ] {
        if let Some(hash) = hash {
            batch.put::<Meta>(&name, &MetaValue::Block(hash))?;
        }
    }
    Ok(())
}

impl NodeStore for RocksStore {
    fn get(&self, id: &RecordId) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(get::<Nodes>(&self.db, id)?)
    }

    fn number(&self) -> u64 {
        self.number
    }
}

impl Store for RocksStore {
    fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
        Ok(self.try_commit(commit)?)
    }

    fn header(&self, hash: &Hash) -> Result<Option<StoredHeader>, StoreError> {
        Ok(get::<Headers>(&self.db, hash)?)
    }

    fn block(&self, hash: &Hash) -> Result<Option<Block>, StoreError> {
        Ok(self.try_block(hash)?)
    }

    fn outcomes(&self, hash: &Hash) -> Result<Option<Vec<Outcome>>, StoreError> {
        Ok(get::<Outcomes>(&self.db, hash)?)
    }

    fn canonical(&self, height: u64) -> Result<Option<Hash>, StoreError> {
        Ok(get::<Canonical>(&self.db, &height)?)
    }

    fn head(&self) -> Result<Option<Hash>, StoreError> {
        Ok(self.named_block(MetaKey::Head)?)
    }

    fn finalized(&self) -> Result<Option<Hash>, StoreError> {
        Ok(self.named_block(MetaKey::Finalized)?)
    }

    fn event(&self, id: &Hash, limit: usize) -> Result<Vec<EventLocation>, StoreError> {
        Ok(self.try_event(id, limit)?)
    }

    fn raise_watermarks(&self, raised: &[(PublicKey, Watermark)]) -> Result<(), StoreError> {
        Ok(self.try_raise_watermarks(raised)?)
    }

    fn write_records(&self, records: &[(RecordId, Vec<u8>)]) -> Result<(), StoreError> {
        Ok(self.try_write_records(records)?)
    }

    fn watermark(&self, key: &PublicKey) -> Result<Watermark, StoreError> {
        let Some(genesis) = self.genesis.get() else {
            return Ok(Watermark::default());
        };
        let key = WatermarkKey {
            genesis: *genesis,
            key: *key,
        };
        Ok(get::<Watermarks>(&self.db, &key)?.unwrap_or_default())
    }
}

impl fmt::Debug for RocksStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RocksStore")
            .field("path", &self.db.path())
            .finish_non_exhaustive()
    }
}

impl Drop for RocksStore {
    fn drop(&mut self) {
        // Commits are durable without it, so a failure costs the next start some time only.
        let _ = self.flush();
    }
}
