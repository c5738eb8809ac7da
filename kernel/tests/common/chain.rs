//! Nodes on chains in memory.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use ed25519_dalek::{Signer as _, SigningKey};
use jar_cap::image::Image;
use jar_cap::{CNode, Cap, Hash, ImageRef, Instance, Key, genesis_type, persist, state_root};
use jar_kernel::block::{
    Attestation, Block, Body, Event, Header, Outcome, PublicKey, Scope, signed_message,
};
use jar_kernel::local::{LocalHardware, Notice};
use jar_kernel::memory::MemoryChainStore;
use jar_kernel::signer::Signer;
use jar_kernel::{
    Accepted, Advance, AdvanceError, Advanced, Chain, Commit, Emission, Genesis, Kernel,
    KernelError, Params, Refusal, State, Store, Trace, genesis_table,
};
use jar_pvm::{Engine, EngineKind};
use parity_scale_codec::Encode;

use super::program::Program;

pub fn engine() -> Arc<dyn Engine> {
    jar_pvm::engine(EngineKind::Interpreter).expect("always there")
}

/// The recompiler, or where the platform has none the interpreter again.
pub fn other_engine() -> Arc<dyn Engine> {
    jar_pvm::engine(EngineKind::Recompiler).unwrap_or_else(|error| {
        println!("SKIPPED: {error}");
        engine()
    })
}

/// A chain of a program with the default numbers and an empty payload.
pub fn genesis(program: &Program) -> Genesis {
    genesis_of(&program.build())
}

pub fn genesis_of(image: &Image) -> Genesis {
    Genesis {
        params: Params::default(),
        image: image.encode(),
        slot_ms: 1000,
        time_ms: 1_700_000_000_000,
        payload: Vec::new(),
    }
}

/// The public key of a seed.
pub fn seed_key(seed: [u8; 32]) -> PublicKey {
    SigningKey::from_bytes(&seed).verifying_key().to_bytes()
}

/// An attestation as a user or an author signs it.
pub fn sign(seed: [u8; 32], genesis: &Hash, scope: Scope, blob: &[u8]) -> Attestation {
    let key = SigningKey::from_bytes(&seed);
    let public = key.verifying_key().to_bytes();
    let blob_hash = jar_cap::hash::blake2b(&[blob]);
    let message = signed_message(genesis, &scope, &public, &blob_hash);
    Attestation {
        key: public,
        scope,
        blob_hash: match scope {
            Scope::Seal => [0; 32],
            _ => blob_hash,
        },
        signature: key.sign(&message).to_bytes(),
    }
}

/// Commits a genesis block with the given table, so that a test starts from any state.
///
/// A program can't make Instances of others yet; this puts them into a chain.
pub fn commit_table(store: &MemoryChainStore, genesis: &Genesis, entries: &[(u8, Cap)]) {
    let image = Image::decode_checked(&genesis.image).expect("a good Image");
    let image = ImageRef::new(image);
    let mut table = genesis_table(store).expect("in memory");
    for (slot, cap) in entries {
        table
            .set(store, &Key::from(*slot), Some(cap.clone()))
            .expect("in memory");
    }
    let instance = Instance::program(genesis_type(&image.id()), image.clone(), table);
    let header = Header {
        genesis: [0; 32],
        parent: [0; 32],
        height: 0,
        slot: 0,
        body_root: genesis.commitment(&image.id()),
        state_root: state_root(&instance.id()),
        outcome_root: [0; 32],
    };
    let hash = header.hash();
    let mut nodes = Vec::new();
    let mut sink = |id, bytes| nodes.push((id, bytes));
    let number = jar_cap::NodeStore::number(store);
    persist(&Cap::Instance(instance.clone()), number, &mut sink).expect("in memory");
    let commit = Commit {
        block: Arc::new(Block {
            header,
            body: Body::default(),
        }),
        hash,
        score: 0,
        instance: instance.id(),
        outcomes: Vec::new(),
        events: Vec::new(),
        nodes,
        canonical: vec![(0, Some(hash))],
        head: Some(hash),
        finalized: Some(hash),
        watermarks: Vec::new(),
    };
    store.commit(&commit).expect("an empty store");
}

/// A node with its store and everything it told.
pub struct Node {
    pub kernel: Kernel<LocalHardware>,
    pub store: Arc<MemoryChainStore>,
    notices: Arc<Mutex<Vec<Notice>>>,
    stop: Arc<AtomicBool>,
}

impl Node {
    /// A node on an empty store, that may sign with these seeds.
    pub fn new(genesis: &Genesis, seeds: &[[u8; 32]]) -> Node {
        Node::with_entries(genesis, seeds, &[])
    }

    /// A node whose chain starts with these entries in its table.
    pub fn with_entries(genesis: &Genesis, seeds: &[[u8; 32]], entries: &[(u8, Cap)]) -> Node {
        let store = Arc::new(MemoryChainStore::new());
        if !entries.is_empty() {
            commit_table(&store, genesis, entries);
        }
        Node::open(store, genesis, seeds).expect("a good chain")
    }

    /// As [`Node::with_entries`], on the other engine; and each block reads the state anew, for
    /// nobody may be able to tell.
    pub fn on_other_engine(genesis: &Genesis, entries: &[(u8, Cap)]) -> Node {
        let store = Arc::new(MemoryChainStore::new());
        if !entries.is_empty() {
            commit_table(&store, genesis, entries);
        }
        let node = Node::open_on(other_engine(), store, genesis, &[]);
        let mut node = node.expect("a good chain");
        node.kernel.limit_memory(0);
        node
    }

    /// A node on a store.
    pub fn open(
        store: Arc<MemoryChainStore>,
        genesis: &Genesis,
        seeds: &[[u8; 32]],
    ) -> Result<Node, KernelError> {
        Node::open_on(engine(), store, genesis, seeds)
    }

    fn open_on(
        engine: Arc<dyn Engine>,
        store: Arc<MemoryChainStore>,
        genesis: &Genesis,
        seeds: &[[u8; 32]],
    ) -> Result<Node, KernelError> {
        let signer = Signer::new(seeds.iter().copied(), &*store)?;
        let notices = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (told, stopped) = (notices.clone(), stop.clone());
        let hardware = LocalHardware::new(
            store.clone(),
            signer,
            Box::new(move |notice| told.lock().expect("not poisoned").push(notice)),
            Box::new(move || stopped.load(Ordering::Relaxed)),
        );
        let kernel = Kernel::open(Arc::new(hardware), genesis, engine)?;
        Ok(Node {
            kernel,
            store,
            notices,
            stop,
        })
    }

    pub fn chain(&self) -> Arc<Chain> {
        self.kernel.chain().clone()
    }

    pub fn head(&self) -> Arc<State> {
        self.kernel.head().clone()
    }

    pub fn genesis_hash(&self) -> Hash {
        self.kernel.chain().genesis_hash()
    }

    /// Whether builds take no further event.
    pub fn set_stop(&self, stop: bool) {
        self.stop.store(stop, Ordering::Relaxed);
    }

    /// What was told since this was last asked.
    pub fn notices(&self) -> Vec<Notice> {
        std::mem::take(&mut *self.notices.lock().expect("not poisoned"))
    }

    /// Why items were dropped, since this was last asked.
    pub fn dropped(&self) -> Vec<String> {
        let notices = self.notices().into_iter();
        notices
            .filter_map(|notice| match notice {
                Notice::Trace(Trace::Dropped { reason, .. }) => Some(reason),
                _ => None,
            })
            .collect()
    }

    /// Events handed to the network, since this was last asked.
    pub fn emitted(&self) -> Vec<Emission> {
        let notices = self.notices().into_iter();
        notices
            .filter_map(|notice| match notice {
                Notice::Emission(emission) => Some(emission),
                _ => None,
            })
            .collect()
    }

    pub fn dispatch(&mut self, endpoint: u8, event: Event) -> Result<Accepted, Refusal> {
        self.kernel.dispatch(endpoint, event)
    }

    /// Builds for the slot after the head's.
    pub fn build(&mut self) -> Result<Advanced, AdvanceError> {
        let slot = self.head().header.slot + 1;
        self.build_at(slot)
    }

    pub fn build_at(&mut self, slot: u64) -> Result<Advanced, AdvanceError> {
        self.kernel.advance(Advance::Build { slot })
    }

    pub fn import(&mut self, block: &Block) -> Result<Advanced, AdvanceError> {
        self.kernel
            .advance(Advance::Import(Box::new(block.clone())))
    }

    /// Runs a Transact endpoint on a copy of the head.
    pub fn simulate(&self, endpoint: u8, event: &Event) -> Outcome {
        let head = self.head();
        self.chain()
            .simulate(&head, endpoint, event)
            .expect("a Transact endpoint")
    }

    /// What a path of one-byte keys holds in the head's state.
    pub fn get(&self, path: &[u8]) -> Option<Cap> {
        let keys: Vec<Key> = path.iter().map(|key| Key::from(*key)).collect();
        self.chain()
            .get(&self.head(), &keys)
            .expect("the path leads through CNodes")
    }

    /// Bytes of the Data at a path.
    pub fn bytes(&self, path: &[u8]) -> Option<Vec<u8>> {
        match self.get(path) {
            Some(Cap::Data(data)) => self
                .chain()
                .data_bytes(&data, 1 << 24)
                .expect("the store works"),
            _ => None,
        }
    }
}

/// An event without traces.
pub fn event(payload: impl AsRef<[u8]>) -> Event {
    Event {
        payload: payload.as_ref().to_vec(),
        ..Event::default()
    }
}

/// Small deterministic numbers for tests (xorshift64*).
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
