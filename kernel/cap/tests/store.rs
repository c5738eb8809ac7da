//! Records: what is written, what is read back, and what is refused.

mod common;

use common::*;
use jar_cap::hash::Tag;
use jar_cap::{
    CNode, Cap, Data, Instance, Key, MemoryStore, NodeStore, Paused, RecordId, StoreError, load,
    persist, references,
};
use proptest::prelude::*;

/// Everything below a value, listed; it is loaded on the way.
fn dump(cap: &Cap, store: &dyn NodeStore, out: &mut Vec<String>) {
    let map = match cap {
        Cap::Data(data) => {
            out.push(hex::encode(data.to_vec(store, u64::MAX).unwrap()));
            None
        }
        Cap::Image(image) => {
            out.push(format!("{:?}", image.image(store).unwrap()));
            None
        }
        Cap::Type(type_id) => {
            out.push(hex::encode(**type_id));
            None
        }
        Cap::CNode(map) => Some(map),
        Cap::Instance(instance) => {
            out.push(hex::encode(instance.type_id()));
            out.extend(instance.native_kind().map(|kind| kind.name().to_string()));
            if let Some(paused) = instance.suspended() {
                out.push(format!(
                    "{:?} {} {:?}",
                    paused.regs, paused.pc, paused.waiting
                ));
                for cap in below_paused(paused, store).unwrap() {
                    dump(&cap, store, out);
                }
            }
            instance.cnode()
        }
    };
    for (key, cap) in map.iter().flat_map(|map| entries(map, store)) {
        out.push(format!("{key} {cap:?}"));
        dump(&cap, store, out);
    }
    out.push("end".into());
}

/// The capabilities that a suspended call holds.
fn below_paused(paused: &Paused, store: &dyn NodeStore) -> Result<Vec<Cap>, StoreError> {
    let mut caps: Vec<Cap> = paused.ephemeral.values().cloned().map(Cap::Data).collect();
    caps.extend(paused.next_image.clone().map(Cap::Image));
    if let Some(scratch) = &paused.scratch {
        caps.extend(scratch.get(store)?);
    }
    Ok(caps)
}

proptest! {
    #![proptest_config(seeded(200))]

    #[test]
    fn persist_and_load_round_trip(cap in any_cap()) {
        let mut store = MemoryStore::new();
        save(&cap, &mut store);
        let loaded = load(&store, &record_id(&cap)).unwrap();
        prop_assert_eq!(loaded.id(), cap.id());
        let (mut written, mut read) = (Vec::new(), Vec::new());
        dump(&cap, &store, &mut written);
        dump(&loaded, &store, &mut read);
        prop_assert_eq!(written, read);
        // Held by the store: only its own record is written again.
        prop_assert!(save(&loaded, &mut store).0 <= 1);
        prop_assert!(save(&cap, &mut store).0 <= 1);
        // Another store does not believe the marks of this one.
        let mut other = MemoryStore::new();
        save(&cap, &mut other);
        prop_assert_eq!(other.len(), store.len());
    }

    #[test]
    fn a_changed_record_is_never_served(cap in any_cap(), pick in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(), flip in 1..=255u8) {
        let mut store = MemoryStore::new();
        save(&cap, &mut store);
        let records: Vec<_> = store.iter().map(|(id, bytes)| (*id, bytes.to_vec())).collect();
        let (id, good) = &records[pick.index(records.len())];
        prop_assert!(references(&(*id).into(), good).is_ok());
        let mut flipped = good.clone();
        if !flipped.is_empty() {
            let at = at.index(flipped.len());
            flipped[at] ^= flip;
        }
        for bad in [flipped, [&good[..], &[0]].concat(), good[..good.len().max(1) - 1].to_vec()] {
            if bad == *good || is_unbound(id, good, &bad) {
                continue;
            }
            // The id does not cover the level; whoever refers to a node knows it.
            let level = matches!(id.tag(), Some(Tag::TrieNode | Tag::PageNode))
                .then(|| u32::from(good[0]));
            let reference = jar_cap::Reference { id: *id, level };
            let corrupt = matches!(references(&reference, &bad),
                Err(StoreError::Corrupt { id: named, .. }) if named == *id);
            prop_assert!(corrupt, "{} {} {}", id, hex::encode(good), hex::encode(&bad));
        }
    }

    #[test]
    fn arbitrary_bytes_are_refused(tag in 0..Tag::ALL.len(), hash in any::<[u8; 32]>(),
        level in prop::option::of(0..300u32), bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let id = RecordId::new(Tag::ALL[tag], hash);
        let reference = jar_cap::Reference { id, level };
        let refused = matches!(references(&reference, &bytes), Err(StoreError::Corrupt { .. }));
        prop_assert!(refused);
    }
}

/// Whether two contents differ only in what an id does not bind, and the record referred to
/// does: the kind of a trie's root, the kind of a capability known by id, the length of code.
fn is_unbound(id: &RecordId, good: &[u8], bad: &[u8]) -> bool {
    let mut expected: Vec<_> = match references(&(*id).into(), good) {
        Ok(list) => list,
        Err(_) => return false,
    };
    let Ok(mut found) = references(&(*id).into(), bad) else {
        return false;
    };
    expected.sort();
    found.sort();
    let hashes = |list: &[jar_cap::Reference]| {
        let mut hashes: Vec<_> = list.iter().map(|r| r.id.hash()).collect();
        hashes.sort();
        hashes
    };
    expected != found && hashes(&expected) == hashes(&found)
}

fn sample() -> (MemoryStore, Cap) {
    let mut store = MemoryStore::new();
    let mut table = accounts(300);
    let mut nested = CNode::empty();
    nested
        .set(&store, &Key::from(5), Some(data(&[1; 70])))
        .unwrap();
    table
        .set(&store, &Key::from(40), Some(Cap::CNode(nested)))
        .unwrap();
    table
        .set(&store, &Key::from(41), Some(data(&[7; 9000])))
        .unwrap();
    let cap = Cap::Instance(Instance::program([4; 32], image(200), table));
    save(&cap, &mut store);
    (store, cap)
}

#[test]
fn each_missing_record_is_named() {
    let (store, cap) = sample();
    let ids: Vec<_> = store.iter().map(|(id, _)| *id).collect();
    for id in ids {
        let (mut store, _) = sample();
        store.remove(&id).expect("the same records");
        let mut error = None;
        let mut stack = match load(&store, &record_id(&cap)) {
            Ok(cap) => vec![cap],
            Err(e) => {
                error = Some(e);
                vec![]
            }
        };
        while let Some(cap) = stack.pop() {
            if let Err(e) = load_below(&cap, &store, &mut stack) {
                error = Some(e);
            }
        }
        assert_eq!(error, Some(StoreError::Missing(id)));
    }
}

fn load_below(cap: &Cap, store: &MemoryStore, stack: &mut Vec<Cap>) -> Result<(), StoreError> {
    let table = match cap {
        Cap::Data(data) => {
            data.read(store, 0, &mut vec![0; data.len() as usize])?;
            None
        }
        Cap::CNode(map) => Some(map),
        Cap::Instance(instance) => {
            if let jar_cap::Body::Program { image, .. } = instance.body() {
                image.image(store)?;
            }
            if let Some(paused) = instance.suspended() {
                stack.extend(below_paused(paused, store)?);
            }
            instance.cnode()
        }
        Cap::Image(image) => {
            image.image(store)?;
            None
        }
        Cap::Type(_) => None,
    };
    let mut after = None;
    while let Some((key, cap)) = match table {
        Some(map) => map.next(store, after.as_ref())?,
        None => None,
    } {
        stack.push(cap);
        after = Some(key);
    }
    Ok(())
}

#[test]
fn records_stand_only_where_they_belong() {
    let (store, _) = sample();
    let (id, bytes) = store
        .iter()
        .find(|(id, bytes)| id.tag() == Some(Tag::TrieNode) && bytes[0] == 4)
        .expect("a record at depth 4");
    let at = |level| references(&jar_cap::Reference { id: *id, level }, bytes);
    assert!(at(Some(4)).is_ok());
    assert!(at(None).is_ok());
    assert!(at(Some(8)).is_err());
}

#[test]
fn what_was_not_loaded_cannot_move_to_another_store() {
    let (store, cap) = sample();
    let loaded = load(&store, &record_id(&cap)).unwrap();
    let error = persist(&loaded, MemoryStore::new().number(), &mut |_, _| {});
    assert!(matches!(error, Err(StoreError::Foreign(_))));
}

#[test]
fn record_ids_are_tag_and_hash() {
    let id = RecordId::new(Tag::TrieNode, [9; 32]);
    assert_eq!(id.as_bytes()[0], 4);
    assert_eq!(id.hash(), [9; 32]);
    assert_eq!(RecordId::from_bytes(*id.as_bytes()), Some(id));
    for byte in [0, 0x05, 0x11, 0x12, 0x51, 0x60, 0x70, 0x7f, 0xff] {
        assert_eq!(RecordId::from_bytes([byte; 33]), None);
    }
}

#[test]
fn a_lookup_in_a_large_map_costs_a_handful_of_reads() {
    let mut store = CountingStore::default();
    let accounts_count = 100_000;
    let cap = Cap::CNode(accounts(accounts_count));
    save(&cap, &mut store.inner);
    for n in [0, 777, 99_999] {
        let Cap::CNode(map) = load(&store, &record_id(&cap)).unwrap() else {
            panic!("a CNode was persisted");
        };
        store.take_reads();
        assert!(map.get(&store, &account(n)).unwrap().is_some());
        let reads = store.take_reads();
        assert!(reads <= 8, "{reads} reads");
        assert_eq!(
            map.get(&store, &account(n)).unwrap(),
            Some(data(&n.to_le_bytes()))
        );
        assert_eq!(store.take_reads(), 0, "what was read is kept");
    }
}

#[test]
fn an_update_writes_little() {
    let mut store = MemoryStore::new();
    let mut map = accounts(50_000);
    save(&Cap::CNode(map.clone()), &mut store);
    let updates = 300usize;
    for n in 0..updates as u64 {
        let balance = data(&(n + 1_000_000).to_le_bytes());
        map.set(&store, &account(n * 7), Some(balance)).unwrap();
    }
    let (_, bytes) = save(&Cap::CNode(map), &mut store);
    let each = bytes / updates;
    assert!(each < 1000, "{each} bytes of records for an update");
}

#[test]
fn values_of_another_number_are_not_believed() {
    let mut a = MemoryStore::new();
    let cap = Cap::Data(Data::new(&[5; 10_000]));
    let first = save(&cap, &mut a).0;
    let mut b = MemoryStore::new();
    assert_eq!(save(&cap, &mut b).0, first);
    assert_eq!(b.len(), a.len());
}
