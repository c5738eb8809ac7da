//! [`MemoryChainStore`]: the store in memory, and the rules of a commit that every store keeps.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use jar_cap::{Hash, NodeStore, RecordId, StoreError, next_store_number};

use crate::block::{Block, Outcome, PublicKey};
use crate::hardware::{Commit, EventLocation, Store, StoredHeader, Watermark};

/// Why a commit contradicts itself or what is stored: a bug of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The hash is not the header's.
    #[error("the block hash is not the hash of its header")]
    Hash,
    /// The first block of a store is not a genesis block, or a genesis block comes twice.
    #[error("the block belongs to another chain than the stored one")]
    Genesis,
    /// An event's index lies beyond the outcomes.
    #[error("an event has no outcome")]
    Event,
    /// Watermarks are raised before there is a chain.
    #[error("watermarks need a chain: the store is empty")]
    NoChain,
    /// The head, the finalized block or a canonical entry is not held.
    #[error("the {0} block is not held")]
    NotHeld(&'static str),
}

impl From<CommitError> for StoreError {
    fn from(error: CommitError) -> StoreError {
        StoreError::Backend(format!("commit refused: {error}"))
    }
}

/// The genesis hash of the chain a commit belongs to.
pub fn commit_genesis(commit: &Commit) -> Hash {
    match commit.block.header.height {
        0 => commit.hash,
        _ => commit.block.header.genesis,
    }
}

/// Checks what every store checks before it writes: that the commit is of the stored chain
/// (`genesis`; `None` takes a genesis block only) and that nothing in it points at a block that
/// is neither in it nor `held`.
pub fn check_commit(
    commit: &Commit,
    genesis: Option<&Hash>,
    held: impl Fn(&Hash) -> Result<bool, StoreError>,
) -> Result<(), StoreError> {
    let header = &commit.block.header;
    if header.hash() != commit.hash {
        return Err(CommitError::Hash.into());
    }
    let of_chain = match genesis {
        Some(genesis) => *genesis == commit_genesis(commit),
        None => header.height == 0,
    };
    if !of_chain {
        return Err(CommitError::Genesis.into());
    }
    let calls = commit.outcomes.len() as u64;
    if commit.events.iter().any(|(_, i)| u64::from(*i) >= calls) {
        return Err(CommitError::Event.into());
    }
    let pointers = [("head", commit.head), ("finalized", commit.finalized)];
    let canonical = commit
        .canonical
        .iter()
        .map(|(_, hash)| ("canonical", *hash));
    for (name, hash) in pointers.into_iter().chain(canonical) {
        if let Some(hash) = hash
            && hash != commit.hash
            && !held(&hash)?
        {
            return Err(CommitError::NotHeld(name).into());
        }
    }
    Ok(())
}

/// The finalized block after a commit: the genesis block when nothing else is said.
pub fn commit_finalized(commit: &Commit) -> Option<Hash> {
    match commit.block.header.height {
        0 => commit.finalized.or(Some(commit.hash)),
        _ => commit.finalized,
    }
}

/// The watermark that is as high as both: a stored one never falls.
pub fn highest(a: &Watermark, b: &Watermark) -> Watermark {
    let vote = match (a.vote, b.vote) {
        (Some(a), Some(b)) => Some((a.0.max(b.0), a.1.max(b.1))),
        (a, b) => a.or(b),
    };
    Watermark {
        seal_slot: a.seal_slot.max(b.seal_slot),
        vote,
    }
}

/// Blocks, state and watermarks in memory, for tests and simulation: what was committed lives as
/// long as the value does.
#[derive(Debug)]
pub struct MemoryChainStore {
    number: u64,
    inner: RwLock<Inner>,
}

/// Where events are, by id. Few are ever asked for: new ones wait until one is.
#[derive(Clone, Debug, Default)]
struct Events {
    /// Only asked for an id, never listed.
    by_id: HashMap<Hash, Vec<EventLocation>>,
    new: Vec<(Hash, EventLocation)>,
}

impl Events {
    fn get(&mut self, id: &Hash) -> Vec<EventLocation> {
        for (id, location) in self.new.drain(..) {
            self.by_id.entry(id).or_default().push(location);
        }
        let mut locations = self.by_id.get(id).cloned().unwrap_or_default();
        locations.sort_unstable();
        locations.dedup();
        locations
    }
}

#[derive(Clone, Debug, Default)]
struct Inner {
    headers: BTreeMap<Hash, StoredHeader>,
    blocks: BTreeMap<Hash, Arc<Block>>,
    outcomes: BTreeMap<Hash, Vec<Outcome>>,
    canonical: BTreeMap<u64, Hash>,
    nodes: BTreeMap<RecordId, Vec<u8>>,
    events: Events,
    watermarks: BTreeMap<PublicKey, Watermark>,
    genesis: Option<Hash>,
    head: Option<Hash>,
    finalized: Option<Hash>,
}

impl MemoryChainStore {
    /// An empty store.
    pub fn new() -> MemoryChainStore {
        MemoryChainStore {
            number: next_store_number(),
            inner: RwLock::default(),
        }
    }

    /// A store of its own that holds the same now, as a backup does.
    pub fn copied(&self) -> MemoryChainStore {
        MemoryChainStore {
            number: next_store_number(),
            inner: RwLock::new(self.read().clone()),
        }
    }

    /// Number of state records.
    pub fn record_count(&self) -> usize {
        self.read().nodes.len()
    }

    /// Bytes of all state records, without their ids.
    pub fn record_bytes(&self) -> usize {
        self.read().nodes.values().map(Vec::len).sum()
    }

    // A commit is checked before it changes anything, so that a poisoned lock holds whole data.
    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryChainStore {
    fn default() -> MemoryChainStore {
        MemoryChainStore::new()
    }
}

impl NodeStore for MemoryChainStore {
    fn get(&self, id: &RecordId) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.read().nodes.get(id).cloned())
    }

    fn number(&self) -> u64 {
        self.number
    }
}

impl Store for MemoryChainStore {
    fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        check_commit(commit, inner.genesis.as_ref(), |hash| {
            Ok(inner.headers.contains_key(hash))
        })?;
        inner.apply(commit);
        Ok(())
    }

    fn header(&self, hash: &Hash) -> Result<Option<StoredHeader>, StoreError> {
        Ok(self.read().headers.get(hash).cloned())
    }

    fn block(&self, hash: &Hash) -> Result<Option<Block>, StoreError> {
        let block = self.read().blocks.get(hash).cloned();
        Ok(block.map(|block| Block::clone(&block)))
    }

    fn outcomes(&self, hash: &Hash) -> Result<Option<Vec<Outcome>>, StoreError> {
        Ok(self.read().outcomes.get(hash).cloned())
    }

    fn canonical(&self, height: u64) -> Result<Option<Hash>, StoreError> {
        Ok(self.read().canonical.get(&height).copied())
    }

    fn head(&self) -> Result<Option<Hash>, StoreError> {
        Ok(self.read().head)
    }

    fn finalized(&self) -> Result<Option<Hash>, StoreError> {
        Ok(self.read().finalized)
    }

    fn event(&self, id: &Hash, limit: usize) -> Result<Vec<EventLocation>, StoreError> {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let mut locations = inner.events.get(id);
        locations.truncate(limit);
        Ok(locations)
    }

    fn raise_watermarks(&self, raised: &[(PublicKey, Watermark)]) -> Result<(), StoreError> {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        if inner.genesis.is_none() {
            return Err(CommitError::NoChain.into());
        }
        inner.raise_watermarks(raised);
        Ok(())
    }

    fn write_records(&self, records: &[(RecordId, Vec<u8>)]) -> Result<(), StoreError> {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        if inner.genesis.is_none() {
            return Err(CommitError::NoChain.into());
        }
        inner.nodes.extend(records.iter().cloned());
        Ok(())
    }

    fn watermark(&self, key: &PublicKey) -> Result<Watermark, StoreError> {
        Ok(self.read().watermarks.get(key).copied().unwrap_or_default())
    }
}

impl Inner {
    fn apply(&mut self, commit: &Commit) {
        let block = commit.hash;
        self.genesis = Some(commit_genesis(commit));
        self.headers.insert(
            block,
            StoredHeader {
                header: commit.block.header.clone(),
                score: commit.score,
                instance: commit.instance,
            },
        );
        self.blocks.insert(block, commit.block.clone());
        self.outcomes.insert(block, commit.outcomes.clone());
        self.nodes.extend(commit.nodes.iter().cloned());
        let events = commit.events.iter();
        let located = events.map(|&(id, index)| (id, EventLocation { block, index }));
        self.events.new.extend(located);
        for (height, hash) in &commit.canonical {
            match hash {
                Some(hash) => self.canonical.insert(*height, *hash),
                None => self.canonical.remove(height),
            };
        }
        self.raise_watermarks(&commit.watermarks);
        self.head = commit.head.or(self.head);
        self.finalized = commit_finalized(commit).or(self.finalized);
    }

    fn raise_watermarks(&mut self, raised: &[(PublicKey, Watermark)]) {
        for (key, watermark) in raised {
            let stored = self.watermarks.entry(*key).or_default();
            *stored = highest(stored, watermark);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_watermark_falls() {
        let low = Watermark {
            seal_slot: Some(3),
            vote: Some((5, 6)),
        };
        let high = Watermark {
            seal_slot: Some(4),
            vote: Some((2, 9)),
        };
        let both = Watermark {
            seal_slot: Some(4),
            vote: Some((5, 9)),
        };
        assert_eq!(highest(&low, &high), both);
        assert_eq!(highest(&high, &low), both);
        assert_eq!(highest(&Watermark::default(), &low), low);
        assert_eq!(highest(&low, &Watermark::default()), low);
    }
}
