//! CNodes: content, order, independence of history, sharing.

mod common;

use common::*;
use jar_cap::{CNode, Cap, Error, Instance, Key, MemoryStore, NativeKind, load};
use proptest::prelude::*;

/// One change of a history.
#[derive(Clone, Debug)]
enum Op {
    Set(Key, Cap),
    Remove(Key),
    /// Persist, and go on with what was loaded from the store or with what is in memory.
    Persist {
        reload: bool,
    },
    Hash,
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (any_key(), any_cap()).prop_map(|(key, cap)| Op::Set(key, cap)),
        4 => any_key().prop_map(Op::Remove),
        1 => any::<bool>().prop_map(|reload| Op::Persist { reload }),
        1 => Just(Op::Hash),
    ]
}

proptest! {
    #![proptest_config(seeded(256))]

    #[test]
    fn root_depends_on_content_alone(ops in prop::collection::vec(any_op(), 0..80)) {
        let mut store = MemoryStore::new();
        let mut map = CNode::empty();
        let mut model = Model::new();
        for op in ops {
            match op {
                Op::Set(key, cap) => {
                    let before = model.insert(key.hash(), (key, cap.clone())).map(|(_, cap)| cap);
                    prop_assert_eq!(map.set(&store, &key, Some(cap)).unwrap(), before);
                }
                Op::Remove(key) => {
                    let before = model.remove(&key.hash()).map(|(_, cap)| cap);
                    prop_assert_eq!(map.set(&store, &key, None).unwrap(), before);
                }
                Op::Persist { reload } => {
                    let cap = Cap::CNode(map.clone());
                    save(&cap, &mut store);
                    if reload {
                        let Cap::CNode(loaded) = load(&store, &record_id(&cap)).unwrap() else {
                            panic!("a CNode was persisted");
                        };
                        map = loaded;
                    }
                }
                Op::Hash => {
                    map.root();
                }
            }
            prop_assert_eq!(map.is_empty(), model.is_empty());
        }
        prop_assert_eq!(map.root(), model_root(&model));
        let listed: Vec<_> = model.values().cloned().collect();
        prop_assert_eq!(&entries(&map, &store), &listed);
        for (key, cap) in &listed {
            prop_assert_eq!(map.get(&store, key).unwrap(), Some(cap.clone()));
        }
        prop_assert_eq!(super_map(&listed).root(), map.root());
    }

    #[test]
    fn next_finds_the_following_key(keys in prop::collection::btree_set(any_key(), 0..40),
        after in any_key()) {
        let store = MemoryStore::new();
        let list: Vec<_> = keys.iter().map(|key| (*key, data(key.as_ref()))).collect();
        let expected = keys.iter().filter(|k| k.hash() > after.hash()).min_by_key(|k| k.hash());
        let found = map(&list).next(&store, Some(&after)).unwrap().map(|(key, _)| key);
        prop_assert_eq!(found.as_ref(), expected);
    }
}

/// The map of these entries, put in backwards.
fn super_map(entries: &[(Key, Cap)]) -> CNode {
    let reversed: Vec<_> = entries.iter().rev().cloned().collect();
    map(&reversed)
}

#[test]
fn clones_diverge() {
    let store = MemoryStore::new();
    let mut a = accounts(1000);
    let before = a.root();
    let mut b = a.clone();
    a.set(&store, &account(7), None).unwrap();
    b.set(&store, &account(8), Some(data(b"x"))).unwrap();
    assert_eq!(a.get(&store, &account(7)).unwrap(), None);
    assert!(b.get(&store, &account(7)).unwrap().is_some());
    assert_ne!(a.get(&store, &account(8)).unwrap(), Some(data(b"x")));
    a.set(&store, &account(7), Some(data(&7u64.to_le_bytes())))
        .unwrap();
    assert_eq!(a.root(), before);
    assert_ne!(b.root(), before);
}

#[test]
fn paths_go_through_cnodes_only() {
    let store = MemoryStore::new();
    let (one, two, three) = (Key::from(1), Key::from(2), Key::from(3));
    let native = Cap::Instance(Instance::native(NativeKind::Consensus, vec![]));
    let mut root = CNode::empty();
    root.set(&store, &one, Some(Cap::CNode(CNode::empty())))
        .unwrap();
    root.set(&store, &three, Some(native)).unwrap();
    let before = root.clone();

    assert_eq!(
        root.set_path(&store, &[one, two], Some(data(b"a"))),
        Ok(None)
    );
    assert_eq!(root.get_path(&store, &[one, two]), Ok(Some(data(b"a"))));
    assert_eq!(
        root.set_path(&store, &[one, two], Some(data(b"b"))),
        Ok(Some(data(b"a")))
    );
    assert_eq!(root.get_path(&store, &[one, three, two]), Ok(None));
    assert_eq!(
        root.get_path(&store, &[one, two, two]),
        Err(Error::NotCNode(1))
    );
    assert_eq!(
        root.set_path(&store, &[three, one], None),
        Err(Error::NotCNode(0))
    );
    assert_eq!(
        root.set_path(&store, &[one, three, one], None),
        Err(Error::NotCNode(1)),
        "a missing parent"
    );
    assert_eq!(root.get_path(&store, &[]), Err(Error::PathLength(0)));
    assert_eq!(
        before.get_path(&store, &[one, two]),
        Ok(None),
        "a clone keeps its own"
    );
    root.set_path(&store, &[one, two], None).unwrap();
    assert_eq!(root.root(), before.root());
}
