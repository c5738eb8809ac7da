//! Chains of made-up blocks, and homes of stores to put them in.

use std::cell::OnceCell;
use std::sync::Arc;

use jar_cap::hash::{Tag, tagged};
use jar_cap::{Hash, RecordId, state_root};
use jar_kernel::block::PublicKey;
use jar_kernel::block::{Block, Body, Ending, Event, Header, Outcome, Record, outcome_root};
use jar_kernel::memory::MemoryChainStore;
use jar_kernel::{Commit, EventLocation, Store, StoredHeader, Watermark};
use jar_storage::{Options, RocksStore};
use tempfile::TempDir;

/// The Transact endpoint of all events.
pub const ENDPOINT: u8 = 3;
/// The key whose seal every block but genesis carries.
pub const AUTHOR: PublicKey = [0xa0; 32];

/// Where a store lives while it is closed. Only one may be open at a time.
pub trait Home {
    /// The store with everything that was committed before.
    fn open(&self) -> Arc<dyn Store>;
}

/// A store in memory lives as long as its home.
#[derive(Default)]
pub struct MemoryHome(OnceCell<Arc<MemoryChainStore>>);

impl Home for MemoryHome {
    fn open(&self) -> Arc<dyn Store> {
        self.0.get_or_init(Arc::default).clone()
    }
}

/// A directory that is removed with its home.
pub struct RocksHome(pub TempDir);

impl Default for RocksHome {
    fn default() -> RocksHome {
        RocksHome(TempDir::new().unwrap())
    }
}

impl Home for RocksHome {
    fn open(&self) -> Arc<dyn Store> {
        Arc::new(RocksStore::open(self.0.path(), &small()).unwrap())
    }
}

/// Options that write tables early, so that few blocks reach every part of the database.
pub fn small() -> Options {
    Options {
        cache_bytes: 1 << 20,
        write_buffer_bytes: 256 << 10,
        open_files_max: 64,
    }
}

/// The genesis block.
pub fn genesis() -> Commit {
    let header = Header {
        genesis: [0; 32],
        parent: [0; 32],
        height: 0,
        slot: 0,
        body_root: [0x75; 32],
        state_root: [0; 32],
        outcome_root: [0; 32],
    };
    finish(header, Body::default(), 0, &[])
}

/// A child of a block that becomes the head; all of it follows from the parent and the salt.
pub fn child(parent: &Commit, salt: u64) -> Commit {
    let height = parent.block.header.height + 1;
    let seed = tagged(Tag::Params, &[&parent.hash, &salt.to_le_bytes()]);
    let events = (0..seed[0] % 4)
        .map(|i| Event {
            payload: [&seed[..], &[i]].concat(),
            ..Event::default()
        })
        .collect();
    child_with(parent, height + salt, events)
}

/// A child of a block with these events.
pub fn child_with(parent: &Commit, slot: u64, events: Vec<Event>) -> Commit {
    let parent_header = &parent.block.header;
    let header = Header {
        genesis: genesis_of(parent),
        parent: parent.hash,
        height: parent_header.height + 1,
        slot,
        body_root: [0; 32],
        state_root: [0; 32],
        outcome_root: [0; 32],
    };
    let ids: Vec<Hash> = events.iter().map(|event| event.id(ENDPOINT)).collect();
    let groups = match events.is_empty() {
        true => Vec::new(),
        false => vec![(ENDPOINT, events)],
    };
    let body = Body {
        groups,
        ..Body::default()
    };
    finish(header, body, parent.score + 1 + slot % 3, &ids)
}

fn genesis_of(commit: &Commit) -> Hash {
    match commit.block.header.height {
        0 => commit.hash,
        _ => commit.block.header.genesis,
    }
}

fn finish(mut header: Header, body: Body, score: u64, ids: &[Hash]) -> Commit {
    let seed = tagged(Tag::Params, &[&header.parent, &header.slot.to_le_bytes()]);
    // One outcome of a Schedule, then one of each event.
    let outcomes: Vec<Outcome> = (0..=ids.len() as u64)
        .map(|i| Outcome {
            ending: match i % 2 {
                0 => Ending::Halted(i),
                _ => Ending::Faulted(i),
            },
            gas_used: i * 1000,
            records: vec![Record {
                topic: b"topic".to_vec(),
                data: seed.to_vec(),
            }],
        })
        .collect();
    let instance = tagged(Tag::Instance, &[&seed]);
    header.state_root = state_root(&instance);
    header.outcome_root = outcome_root(&outcomes);
    if header.height > 0 {
        header.body_root = body.root();
    }
    let hash = header.hash();
    let watermark = Watermark {
        seal_slot: Some(header.slot),
        vote: Some((header.height / 2, header.height)),
    };
    Commit {
        hash,
        score,
        instance,
        outcomes,
        events: (1..).zip(ids).map(|(index, id)| (*id, index)).collect(),
        nodes: nodes(&seed),
        canonical: vec![(header.height, Some(hash))],
        head: Some(hash),
        finalized: None,
        watermarks: match header.height {
            0 => Vec::new(),
            _ => vec![(AUTHOR, watermark)],
        },
        block: Arc::new(Block { header, body }),
    }
}

/// Up to 16 records of up to 8 KiB that do not compress.
fn nodes(seed: &Hash) -> Vec<(RecordId, Vec<u8>)> {
    (0..=seed[1] % 16)
        .map(|i| {
            let words = 1 + usize::from(seed[usize::from(i)]);
            let bytes: Vec<u8> = (0..words as u32)
                .flat_map(|word| tagged(Tag::Params, &[seed, &[i], &word.to_le_bytes()]))
                .collect();
            let id = RecordId::new(Tag::PageLeaf, tagged(Tag::PageLeaf, &[&bytes]));
            (id, bytes)
        })
        .collect()
}

/// Genesis and `len` blocks on top of each other.
pub fn chain(len: u64) -> Vec<Commit> {
    let mut blocks = vec![genesis()];
    for _ in 0..len {
        blocks.push(child(&blocks[blocks.len() - 1], 0));
    }
    blocks
}

/// Commits all of these.
pub fn commit_all(store: &dyn Store, commits: &[Commit]) {
    for commit in commits {
        store.commit(commit).unwrap();
    }
}

/// What the store keeps as the header of a commit's block.
pub fn stored_header(commit: &Commit) -> StoredHeader {
    StoredHeader {
        header: commit.block.header.clone(),
        score: commit.score,
        instance: commit.instance,
    }
}

/// Asserts that everything of a commit that belongs to its block alone reads back.
pub fn assert_holds(store: &dyn Store, commit: &Commit) {
    let hash = &commit.hash;
    assert_eq!(store.header(hash).unwrap(), Some(stored_header(commit)));
    assert_eq!(store.block(hash).unwrap().as_ref(), Some(&*commit.block));
    assert_eq!(
        store.outcomes(hash).unwrap().as_ref(),
        Some(&commit.outcomes)
    );
    for (id, bytes) in &commit.nodes {
        assert!(
            store.get(id).unwrap().as_ref() == Some(bytes),
            "record {id}"
        );
    }
    for (id, index) in &commit.events {
        let location = EventLocation {
            block: *hash,
            index: *index,
        };
        let locations = store.event(id, usize::MAX).unwrap();
        assert!(locations.contains(&location));
    }
}

/// Asserts that nothing of a commit's block is there.
pub fn assert_lacks(store: &dyn Store, commit: &Commit) {
    let hash = &commit.hash;
    assert_eq!(store.header(hash).unwrap(), None);
    assert_eq!(store.block(hash).unwrap(), None);
    assert_eq!(store.outcomes(hash).unwrap(), None);
    for (id, _) in &commit.nodes {
        assert!(store.get(id).unwrap().is_none(), "record {id}");
    }
    for (id, _) in &commit.events {
        let locations = store.event(id, usize::MAX).unwrap();
        assert!(locations.iter().all(|location| location.block != *hash));
    }
}

/// Asserts that the store holds exactly the first blocks of a chain and answers how many.
pub fn assert_whole_prefix(store: &dyn Store, blocks: &[Commit]) -> usize {
    let head = store.head().unwrap();
    let len = match head {
        None => 0,
        Some(head) => 1 + blocks.iter().position(|b| b.hash == head).unwrap(),
    };
    let (held, rest) = blocks.split_at(len);
    for commit in held {
        assert_holds(store, commit);
        let height = commit.block.header.height;
        assert_eq!(store.canonical(height).unwrap(), Some(commit.hash));
    }
    for commit in rest {
        assert_lacks(store, commit);
        let height = commit.block.header.height;
        assert_eq!(store.canonical(height).unwrap(), None);
    }
    let watermark = held.last().and_then(|c| c.watermarks.first());
    assert_eq!(
        store.watermark(&AUTHOR).unwrap(),
        watermark
            .map(|(_, watermark)| *watermark)
            .unwrap_or_default()
    );
    let genesis = held.first().map(|genesis| genesis.hash);
    assert_eq!(store.finalized().unwrap(), genesis);
    len
}
