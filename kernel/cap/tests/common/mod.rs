//! Values for tests.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use jar_cap::image::{Endpoint, Image, Mapping, Pinned, Program, Role, Source};
use jar_cap::{
    CNode, Cap, Data, Hash, ImageRef, Instance, Key, MemoryStore, NativeKind, NodeStore, Path,
    Paused, RecordId, Resource, Scratch, StoreError, Waiting, persist,
};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// A store that counts reads.
#[derive(Debug, Default)]
pub struct CountingStore {
    pub inner: MemoryStore,
    pub reads: AtomicUsize,
}

impl NodeStore for CountingStore {
    fn get(&self, id: &RecordId) -> Result<Option<Vec<u8>>, StoreError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.inner.get(id)
    }

    fn number(&self) -> u64 {
        self.inner.number()
    }
}

impl CountingStore {
    pub fn take_reads(&self) -> usize {
        self.reads.swap(0, Ordering::Relaxed)
    }
}

/// Persists into a store in memory; answers the number of records and their bytes, ids included.
pub fn save(cap: &Cap, store: &mut MemoryStore) -> (usize, usize) {
    let mut records = Vec::new();
    persist(cap, store.number(), &mut |id, bytes| {
        records.push((id, bytes));
    })
    .unwrap();
    let bytes = records
        .iter()
        .map(|(_, b)| RecordId::LEN + b.len())
        .sum::<usize>();
    let count = records.len();
    for (id, content) in records {
        store.insert(id, content);
    }
    (count, bytes)
}

/// The id under which a capability persisted by itself is loaded.
pub fn record_id(cap: &Cap) -> RecordId {
    RecordId::new(cap.kind().tag(), cap.id())
}

pub fn key(bytes: &[u8]) -> Key {
    Key::new(bytes).unwrap()
}

pub fn data(bytes: &[u8]) -> Cap {
    Cap::Data(Data::new(bytes))
}

/// An account's key, of 32 bytes.
pub fn account(n: u64) -> Key {
    Key::from(jar_cap::hash::blake2b(&[b"account", &n.to_le_bytes()]))
}

/// A map of accounts 0..n to balances.
pub fn accounts(n: u64) -> CNode {
    let store = MemoryStore::new();
    let mut map = CNode::empty();
    for i in 0..n {
        let balance = data(&i.to_le_bytes());
        map.set(&store, &account(i), Some(balance)).unwrap();
    }
    map
}

/// A program with everything in it.
pub fn sample_image() -> Image {
    let inner = Image {
        metadata: [("name".to_string(), b"inner".to_vec())].into(),
        ..Image::default()
    };
    Image {
        program: Program {
            code: (0..77).collect(),
            bitmask: vec![0x11, 0x42, 1, 0, 0, 0, 0, 8, 0, 0x1f],
            jump_table: vec![4, 14, 72],
        },
        endpoints: [
            (
                0,
                endpoint("init", Role::Genesis, 0, &[(1, 0xffff_0000), (2, 7)]),
            ),
            (1, endpoint("begin", Role::Schedule(3), 4, &[])),
            (
                2,
                endpoint("transfer", Role::Transact(9), 9, &[(12, u64::MAX)]),
            ),
            (7, endpoint("balance", Role::View, 14, &[])),
            (8, endpoint("transfer_in", Role::Dispatch, 16, &[])),
            (255, endpoint("poke", Role::Call, 72, &[])),
        ]
        .into(),
        memory: vec![
            mapping(0x10000, 0x2000, Source::Slot(Key::from(40).into())),
            mapping(
                0x20000,
                0x1000,
                Source::Slot(Path::new(vec![Key::from(41), key(b"a long key")]).unwrap()),
            ),
            mapping(
                0x30000,
                0x3000,
                Source::Ephemeral {
                    init: Some(Key::from(33).into()),
                    eager: false,
                },
            ),
            mapping(
                0xfffe_0000,
                0x10000,
                Source::Ephemeral {
                    init: None,
                    eager: true,
                },
            ),
        ],
        pinned: [
            (
                Key::from(33),
                Pinned::Data((0..5000).map(|i| i as u8).collect()),
            ),
            (key(&[33, 0]), Pinned::Image(Box::new(inner))),
        ]
        .into(),
        gas_slots: vec![Key::from(7), Key::from(50)],
        quota_slots: vec![Key::from(8)],
        catcher_slot: Some(Key::from(9)),
        metadata: [
            ("name".to_string(), b"sample".to_vec()),
            ("version".to_string(), b"1".to_vec()),
        ]
        .into(),
    }
}

fn endpoint(name: &str, role: Role, pc: u32, regs: &[(u8, u64)]) -> Endpoint {
    Endpoint {
        name: name.into(),
        role,
        pc,
        regs: regs.iter().copied().collect(),
    }
}

fn mapping(start: u32, size: u32, source: Source) -> Mapping {
    Mapping {
        start,
        size,
        source,
    }
}

/// Keys, many of them short enough to be met twice.
pub fn any_key() -> impl Strategy<Value = Key> {
    prop_oneof![
        4 => (0..40u8).prop_map(Key::from),
        1 => prop::collection::vec(any::<u8>(), 1..=32).prop_map(|bytes| key(&bytes)),
    ]
}

/// Bytes of lengths around the bounds of pages and records.
pub fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let len = prop_oneof![
        6 => 0..80usize,
        2 => 4090..4100usize,
        1 => 8190..8200usize,
        1 => 0..40_000usize,
    ];
    (len, any::<u8>()).prop_map(|(len, seed)| (0..len).map(|i| (i / 7) as u8 ^ seed).collect())
}

/// Capabilities of every kind, nested.
pub fn any_cap() -> impl Strategy<Value = Cap> {
    let leaf = prop_oneof![
        4 => any_bytes().prop_map(|bytes| data(&bytes)),
        1 => any::<Hash>().prop_map(|id| Cap::Type(id.into())),
        1 => (0..NativeKind::ALL.len(), prop::collection::vec(any::<u8>(), 0..100))
            .prop_map(|(i, state)| match NativeKind::ALL[i] {
                NativeKind::File => Cap::Instance(Instance::file(Data::new(&state))),
                kind => Cap::Instance(Instance::native(kind, state)),
            }),
        1 => any_bytes().prop_map(|bytes| Cap::Instance(Instance::file(Data::new(&bytes)))),
        1 => any::<u8>().prop_map(|n| Cap::Image(image(n))),
    ];
    leaf.prop_recursive(4, 48, 8, |inner| {
        let list = prop::collection::vec((any_key(), inner), 0..8);
        let wrapping = prop::option::of((any::<Hash>(), any::<u8>(), any::<bool>()));
        (list, wrapping).prop_map(|(entries, wrapping)| match wrapping {
            None => Cap::CNode(map(&entries)),
            Some((type_id, n, false)) => {
                Cap::Instance(Instance::program(type_id, image(n), map(&entries)))
            }
            Some((type_id, n, true)) => {
                let (aside, entries) = match entries.split_last() {
                    Some(((_, aside), rest)) => (Some(aside.clone()), rest),
                    None => (None, &entries[..]),
                };
                let call = paused(n, aside, entries);
                Cap::Instance(Instance::paused(type_id, image(n), map(entries), call))
            }
        })
    })
}

/// A suspended call, whose mappings hold what is Data of the entries.
pub fn paused(n: u8, aside: Option<Cap>, entries: &[(Key, Cap)]) -> Paused {
    let data = entries.iter().filter_map(|(_, cap)| match cap {
        Cap::Data(data) => Some(data.clone()),
        _ => None,
    });
    let waiting = match n % 3 {
        0 => Waiting::Yielded([n; 32]),
        1 => Waiting::OutOf(Resource::Quota, [n; 32]),
        _ => Waiting::Calling(Key::from(n).into()),
    };
    Paused {
        regs: [u64::from(n); 13],
        pc: n.into(),
        waiting,
        ephemeral: (0..).zip(data).collect(),
        scratch: aside.map(Scratch::new),
        next_image: n.is_multiple_of(2).then(|| image(n / 2)),
    }
}

/// A small program, one for each number.
pub fn image(n: u8) -> ImageRef {
    ImageRef::new(Image {
        program: Program {
            code: vec![n; usize::from(n) + 1],
            bitmask: vec![0; (usize::from(n) + 1).div_ceil(8)],
            jump_table: Vec::new(),
        },
        ..Image::default()
    })
}

/// A map of these entries; the later of a key twice counts.
pub fn map(entries: &[(Key, Cap)]) -> CNode {
    let store = MemoryStore::new();
    let mut map = CNode::empty();
    for (key, cap) in entries {
        map.set(&store, key, Some(cap.clone())).unwrap();
    }
    map
}

/// All entries by [`CNode::next`].
pub fn entries(map: &CNode, store: &dyn NodeStore) -> Vec<(Key, Cap)> {
    let mut entries: Vec<(Key, Cap)> = Vec::new();
    loop {
        let after = entries.last().map(|(key, _)| *key);
        match map.next(store, after.as_ref()).unwrap() {
            Some(entry) => entries.push(entry),
            None => return entries,
        }
    }
}

/// What a map should hold, in order of H(key).
pub type Model = BTreeMap<Hash, (Key, Cap)>;

/// The root by definition: from the sorted entries, by recursion on bits.
pub fn model_root(model: &Model) -> Hash {
    fn root(entries: &[(Hash, Hash)], depth: usize) -> Hash {
        match entries {
            [] => [0; 32],
            [(path, cap)] => jar_cap::hash::blake2b(&[&[3], path, cap]),
            _ => {
                let is_left = |(path, _): &(Hash, Hash)| path[depth / 8] & 0x80 >> (depth % 8) == 0;
                let (left, right) = entries.split_at(entries.partition_point(is_left));
                jar_cap::hash::blake2b(&[&[4], &root(left, depth + 1), &root(right, depth + 1)])
            }
        }
    }
    let entries: Vec<_> = model.iter().map(|(p, (_, cap))| (*p, cap.id())).collect();
    root(&entries, 0)
}

/// So many cases, from the same seed in every run; `PROPTEST_RNG_SEED` asks for others.
pub fn seeded(cases: u32) -> ProptestConfig {
    let config = ProptestConfig::with_cases(cases);
    let rng_seed = match config.rng_seed {
        RngSeed::Random => RngSeed::Fixed(1),
        given => given,
    };
    ProptestConfig { rng_seed, ..config }
}
