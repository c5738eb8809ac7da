//! State sync between two real kernels over stores in memory.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use jar_cap::hash::{Tag, tagged};
use jar_cap::{NodeStore, RecordId};
use jar_driver::{
    BlockRef, Config, Driver, Effect, Input, Limits, PeerId, Request, Response, Schedule, Stage,
    SyncMode, serve,
};
use jar_kernel::block::Event;
use jar_kernel::local::LocalHardware;
use jar_kernel::memory::MemoryChainStore;
use jar_kernel::signer::Signer;
use jar_kernel::{Advance, Genesis, Kernel, Params, Store};
use parity_scale_codec::Encode;

use crate::harness::{LATER, banned, peer};

fn image() -> Vec<u8> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../chain-specs/counter.image"
    );
    std::fs::read(path).expect("the Image")
}

fn open(store: &Arc<MemoryChainStore>) -> Kernel<LocalHardware> {
    let genesis = Genesis {
        params: Params::default(),
        image: image(),
        slot_ms: 1000,
        time_ms: 0,
        payload: 0u64.encode(),
    };
    let signer = Signer::without_keys();
    let hardware = LocalHardware::new(store.clone(), signer, Box::new(|_| {}), Box::new(|| false));
    let engine = jar_pvm::engine(jar_pvm::EngineKind::Interpreter).expect("an engine");
    Kernel::open(Arc::new(hardware), &genesis, engine).expect("a chain")
}

/// A chain of three blocks, the last of which counts as final.
fn source() -> (Arc<MemoryChainStore>, Kernel<LocalHardware>) {
    let store = Arc::new(MemoryChainStore::new());
    let mut kernel = open(&store);
    let bump = kernel.chain().endpoint_by_name(kernel.head(), "bump_in");
    let bump = bump.expect("a state").expect("an endpoint").index;
    for slot in 1..=3 {
        let event = Event {
            payload: slot.encode(),
            ..Event::default()
        };
        kernel.dispatch(bump, event).expect("accepted");
        kernel.advance(Advance::Build { slot }).expect("a block");
    }
    (store, kernel)
}

/// A node that starts empty, and its peers, who all serve the same chain.
struct Sync {
    from: (Arc<MemoryChainStore>, Kernel<LocalHardware>),
    store: Arc<MemoryChainStore>,
    kernel: Kernel<LocalHardware>,
    driver: Driver,
    queue: VecDeque<Effect>,
    /// Records that peers were asked for.
    asked: Vec<RecordId>,
    bans: Vec<PeerId>,
}

impl Sync {
    fn new(store: Arc<MemoryChainStore>, trusted: Option<[u8; 32]>) -> Sync {
        let kernel = open(&store);
        let (head, finalized) = (
            BlockRef::from(&**kernel.head()),
            BlockRef::from(&**kernel.finalized()),
        );
        let driver = Driver::new(Config {
            schedule: Schedule {
                genesis_time_ms: 0,
                slot_ms: 1000,
                builds: true,
            },
            genesis: kernel.chain().genesis_hash(),
            sync: SyncMode::State { trusted },
            first_height: 1,
            head,
            finalized,
            peers_min: 0,
            limits: Limits::default(),
        });
        Sync {
            from: source(),
            store,
            kernel,
            driver,
            queue: VecDeque::new(),
            asked: Vec::new(),
            bans: Vec::new(),
        }
    }

    fn give(&mut self, input: Input, now_ms: u64) {
        let effects = self.driver.handle(input, now_ms);
        self.bans.extend(banned(&effects));
        let builds = |effect: &Effect| matches!(effect, Effect::Build { .. });
        let is_synced = self.driver.is_synced();
        assert!(is_synced || !effects.iter().any(builds));
        self.queue.extend(effects);
    }

    /// What an honest peer answers.
    fn served(&self, request: &Request) -> Response {
        let (store, kernel) = &self.from;
        let head = BlockRef::from(&**kernel.head());
        let status = jar_driver::Status {
            genesis: kernel.chain().genesis_hash(),
            head,
            finalized: head,
            first_height: 1,
        };
        serve::answer(&**store, status, request).expect("a store")
    }

    /// Does what the driver says until it adopts, or has had so many answers with records.
    fn run(&mut self, peers: u8, answers: usize, spoil: impl Fn(PeerId, &mut Response)) {
        let mut left = answers;
        for number in 1..=peers {
            self.give(Input::Connected(peer(number)), LATER);
        }
        for step in 0..10_000_u64 {
            let now_ms = LATER + step;
            let input = match self.queue.pop_front() {
                None => Input::Tick,
                Some(Effect::Request {
                    id, peer, request, ..
                }) => {
                    if let Request::Records(ids) = &request {
                        if left == 0 {
                            return;
                        }
                        left -= 1;
                        self.asked.extend(&ids.0);
                    }
                    let mut response = self.served(&request);
                    spoil(peer, &mut response);
                    Input::Response { id, response }
                }
                Some(Effect::ReadRecords { ticket, ids }) => {
                    let read = ids.iter().map(|id| self.store.get(id).expect("a store"));
                    let contents = read.collect();
                    Input::RecordsRead { ticket, contents }
                }
                Some(Effect::WriteRecords { ticket, records }) => {
                    self.store.write_records(&records).expect("a store");
                    Input::RecordsWritten { ticket }
                }
                Some(Effect::Adopt { ticket, pivot }) => {
                    let pivot = *pivot;
                    self.kernel
                        .adopt(pivot.block, pivot.score, pivot.instance, pivot.outcomes)
                        .expect("the block is the source's");
                    let head = BlockRef::from(&**self.kernel.head());
                    self.give(Input::Head(head), now_ms);
                    self.give(Input::Finalized(head), now_ms);
                    let is_adopted = true;
                    self.give(Input::Adopted { ticket, is_adopted }, now_ms);
                    return;
                }
                Some(_) => continue,
            };
            self.give(input, now_ms);
        }
    }

    /// Checks that the chain goes on from the adopted block.
    fn check_adopted(&mut self) {
        let head = self.from.1.head();
        assert_eq!(self.kernel.head().hash, head.hash);
        assert_eq!(self.kernel.finalized().hash, head.hash);
        assert_eq!(self.driver.progress().stage, Stage::Following);
        assert_eq!(self.driver.status().first_height, head.header.height);
        let next = self
            .from
            .1
            .advance(Advance::Build { slot: 4 })
            .expect("a block");
        let import = Advance::Import(Box::new((*next.block).clone()));
        let imported = self.kernel.advance(import).expect("the state is whole");
        assert_eq!(imported.hash, next.hash);
        // And after a restart.
        let reopened = open(&self.store);
        assert_eq!(reopened.head().hash, next.hash);
    }
}

#[test]
fn a_state_is_fetched_and_the_chain_goes_on_from_it() {
    let mut sync = Sync::new(Arc::default(), None);
    sync.run(2, usize::MAX, |_, _| {});
    sync.check_adopted();
    assert!(sync.asked.len() >= 2);
    let distinct: BTreeSet<&RecordId> = sync.asked.iter().collect();
    assert_eq!(
        distinct.len(),
        sync.asked.len(),
        "nothing is asked for twice"
    );
    assert_eq!(sync.driver.progress().records, sync.asked.len() as u64);
    assert!(sync.bans.is_empty());
}

#[test]
fn an_interrupted_sync_goes_on_where_it_was() {
    let store = Arc::new(MemoryChainStore::new());
    let mut first = Sync::new(store.clone(), None);
    first.run(2, 1, |_, _| {});
    assert!(!first.asked.is_empty());
    assert_eq!(first.kernel.head().header.height, 0);
    let mut second = Sync::new(store, None);
    second.run(2, usize::MAX, |_, _| {});
    second.check_adopted();
    let again = first.asked.iter().filter(|id| second.asked.contains(id));
    assert_eq!(again.count(), 0);
}

#[test]
fn one_peer_is_not_believed() {
    let mut sync = Sync::new(Arc::default(), None);
    sync.run(1, usize::MAX, |_, _| {});
    assert_eq!(sync.driver.progress().stage, Stage::State);
    assert!(sync.asked.is_empty());
    assert_eq!(sync.kernel.head().header.height, 0);
}

#[test]
fn only_a_trusted_block_is_started_from() {
    let mut sync = Sync::new(Arc::default(), Some([9; 32]));
    sync.run(3, usize::MAX, |_, _| {});
    assert_eq!(sync.kernel.head().header.height, 0);
    let head = sync.from.1.head().hash;
    let mut sync = Sync::new(Arc::default(), Some(head));
    sync.run(3, usize::MAX, |_, _| {});
    sync.check_adopted();
}

fn badness(sync: &Sync, number: u8) -> u64 {
    let info = sync.driver.peers().find(|info| info.id == peer(number));
    info.map_or(1000, |info| info.badness)
}

/// No id binds the size of an Image that a record names: it shows when the Image comes, maybe
/// from somebody honest.
#[test]
fn who_names_a_wrong_size_of_an_image_is_found_out() {
    let image = tagged(Tag::Image, &[&image()]);
    let mut sync = Sync::new(Arc::default(), None);
    sync.run(3, usize::MAX, |from, response| match response {
        Response::Records(records) if from == peer(1) => {
            for record in records.iter_mut().flatten() {
                let at = record.windows(32).position(|bytes| bytes == image);
                if let Some(at) = at {
                    record[at + 32] ^= 1;
                }
            }
        }
        _ => {}
    });
    sync.check_adopted();
    assert!(badness(&sync, 1) > 400);
    assert_eq!((badness(&sync, 2), badness(&sync, 3)), (0, 0));
}

#[test]
fn who_sends_false_records_or_blocks_is_found_out() {
    let mut sync = Sync::new(Arc::default(), None);
    sync.run(3, usize::MAX, |from, response| match response {
        Response::Records(records) if from == peer(1) => {
            for record in records.iter_mut().flatten() {
                record.push(0);
            }
        }
        _ => {}
    });
    sync.check_adopted();
    assert!(badness(&sync, 1) > 400);
    assert_eq!((badness(&sync, 2), badness(&sync, 3)), (0, 0));

    let mut sync = Sync::new(Arc::default(), None);
    sync.run(3, usize::MAX, |from, response| match response {
        Response::Pivot(Some(pivot)) if from == peer(1) => pivot.instance[0] ^= 1,
        _ => {}
    });
    sync.check_adopted();
    assert!(badness(&sync, 1) > 400);
}
