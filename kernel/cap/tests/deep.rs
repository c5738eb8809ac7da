//! Values that nest and share without bound: hashed, persisted, walked and dropped in loops.

mod common;

use std::collections::{BTreeSet, HashMap, HashSet};

use common::*;
use jar_cap::{
    Body, CNode, Cap, Instance, Key, MemoryStore, NodeStore, RecordId, Reference, StoreError, load,
    next_store_number, persist, references,
};

const DEPTH: usize = 1_000_000;
/// Suspended calls set aside by one another: far more than a stack has room for.
const CALLS: usize = 100_000;

/// A store of millions of records, which takes them as they come and finds them at once.
struct Records {
    records: HashMap<RecordId, Vec<u8>>,
    number: u64,
}

impl NodeStore for Records {
    fn get(&self, id: &RecordId) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.records.get(id).cloned())
    }

    fn number(&self) -> u64 {
        self.number
    }
}

/// A chain of values, each in the one above.
fn nested(wrap: impl Fn(CNode, usize) -> Cap) -> Cap {
    let store = MemoryStore::new();
    let mut cap = data(b"the innermost");
    for level in 0..DEPTH {
        let mut map = CNode::empty();
        map.set(&store, &Key::from(1), Some(cap)).unwrap();
        cap = wrap(map, level);
    }
    cap
}

/// All records below one, memoized by id; their number.
fn walk(store: &dyn NodeStore, start: Reference) -> usize {
    let mut seen = HashSet::from([start.id]);
    let mut stack = vec![start];
    while let Some(reference) = stack.pop() {
        let bytes = store.get(&reference.id).unwrap().expect("a record");
        for below in references(&reference, &bytes).unwrap() {
            if seen.insert(below.id) {
                stack.push(below);
            }
        }
    }
    seen.len()
}

#[test]
fn a_million_values_nested() {
    let image = image(1);
    let cap = nested(|map, level| {
        if level % 2 == 0 {
            return Cap::CNode(map);
        }
        Cap::Instance(Instance::program([2; 32], image.clone(), map))
    });
    let mut store = Records {
        records: HashMap::new(),
        number: next_store_number(),
    };
    persist(&cap, store.number, &mut |id, bytes| {
        store.records.insert(id, bytes);
    })
    .unwrap();
    let records = store.records.len();
    assert!(records > DEPTH);
    assert_eq!(walk(&store, record_id(&cap).into()), records);
    let id = record_id(&cap);
    drop(cap);

    // Read back level by level, all of it held at once, and dropped at once.
    let root = load(&store, &id).unwrap();
    let mut cap = root.clone();
    for _ in 0..DEPTH {
        let inner = match &cap {
            Cap::CNode(map) => map.get(&store, &Key::from(1)).unwrap(),
            Cap::Instance(instance) => {
                let Body::Program { image, cnode, .. } = instance.body() else {
                    panic!("a program was persisted");
                };
                image.image(&store).unwrap();
                cnode.get(&store, &Key::from(1)).unwrap()
            }
            _ => panic!("too shallow"),
        };
        cap = inner.expect("an entry");
    }
    assert_eq!(cap, data(b"the innermost"));
    let mut written = 0;
    persist(&root, MemoryStore::new().number(), &mut |_, _| written += 1).unwrap();
    assert_eq!(
        written, records,
        "all is loaded, so it can go to another store"
    );
    assert_eq!(root.id(), id.hash());
}

#[test]
fn many_suspended_calls_each_set_aside_by_the_next() {
    let image = image(1);
    let aside = |cap: Cap| {
        let call = paused(0, Some(cap), &[]);
        Cap::Instance(Instance::paused(
            [2; 32],
            image.clone(),
            CNode::empty(),
            call,
        ))
    };
    let mut cap = data(b"the innermost");
    for _ in 0..CALLS {
        cap = aside(cap);
    }
    let mut store = MemoryStore::new();
    let (records, _) = save(&cap, &mut store);
    assert!(records > CALLS);
    assert_eq!(walk(&store, record_id(&cap).into()), records);
    let id = record_id(&cap);
    drop(cap);

    let root = load(&store, &id).unwrap();
    let mut cap = root.clone();
    for _ in 0..CALLS {
        let Cap::Instance(instance) = &cap else {
            panic!("too shallow");
        };
        let call = instance.suspended().expect("a suspended call");
        let scratch = call.scratch.as_ref().expect("set aside");
        cap = scratch.get(&store).unwrap().expect("held");
    }
    assert_eq!(cap, data(b"the innermost"));
    assert_eq!(root.id(), id.hash());
}

#[test]
fn a_million_wide_cnodes_dropped_from_within() {
    // Two entries each, so that there are branches; a clone of the middle keeps its half.
    let store = MemoryStore::new();
    let mut cap = data(b"x");
    let mut middle = cap.clone();
    for level in 0..DEPTH {
        let mut map = CNode::empty();
        map.set(&store, &Key::from(1), Some(cap)).unwrap();
        map.set(&store, &Key::from(2), Some(data(b"y"))).unwrap();
        cap = Cap::CNode(map);
        if level == DEPTH / 2 {
            middle = cap.clone();
        }
    }
    drop(cap);
    assert_ne!(middle.id(), [0; 32]);
}

#[test]
fn a_dag_of_2_to_the_64_paths() {
    let mut store = MemoryStore::new();
    let mut cap = data(b"leaf");
    for _ in 0..64 {
        let mut map = CNode::empty();
        map.set(&store, &Key::from(1), Some(cap.clone())).unwrap();
        map.set(&store, &Key::from(2), Some(cap)).unwrap();
        cap = Cap::CNode(map);
    }
    let (records, _) = save(&cap, &mut store);
    assert_eq!(records, 64 + 1);
    assert_eq!(walk(&store, record_id(&cap).into()), 65);

    // Loaded again, and changed at the end of one path.
    let Cap::CNode(mut map) = load(&store, &record_id(&cap)).unwrap() else {
        panic!("a CNode was persisted");
    };
    let path = [Key::from(2); 8];
    map.set_path(&store, &path, Some(data(b"other"))).unwrap();
    let (records, _) = save(&Cap::CNode(map), &mut store);
    assert_eq!(records, 8 + 1);
}

#[test]
fn children_come_before_parents() {
    let cap = Cap::Instance(Instance::program([3; 32], image(9), accounts(500)));
    let mut seen = BTreeSet::new();
    let mut order = Vec::new();
    persist(&cap, MemoryStore::new().number(), &mut |id, bytes| {
        order.push((id, bytes));
    })
    .unwrap();
    for (id, bytes) in order {
        for below in references(&id.into(), &bytes).unwrap() {
            assert!(seen.contains(&below.id), "{} before {id}", below.id);
        }
        assert!(seen.insert(id), "{id} once");
    }
}
