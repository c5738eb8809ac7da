//! Data: pages, growth, sharing, zeros.

mod common;

use std::sync::Arc;

use common::*;
use jar_cap::{Cap, Data, Error, MemoryStore, NodeStore, PAGE_BYTES, load};
use proptest::prelude::*;

/// Growth and changed pages of one step.
type Step = (u16, Vec<(u8, u8, u16)>);

proptest! {
    #![proptest_config(seeded(200))]

    #[test]
    fn with_pages_is_the_same_as_bytes(
        start in any_bytes(),
        steps in prop::collection::vec(
            (any::<u16>(), prop::collection::vec((0..20u8, any::<u8>(), 0..4500u16), 0..6)), 0..5),
        reload in any::<bool>(),
    ) {
        let mut store = MemoryStore::new();
        let mut bytes = start.clone();
        let mut value = Data::new(&start);
        for (growth, changes) in steps as Vec<Step> {
            let new_len = bytes.len() + usize::from(growth);
            bytes.resize(new_len, 0);
            let mut pages = Vec::new();
            for (index, fill, len) in changes {
                let page = vec![fill; usize::from(len)];
                let at = usize::from(index) * PAGE_BYTES;
                let end = (at + PAGE_BYTES).min(new_len);
                if at < new_len {
                    bytes[at..end].fill(0);
                    let count = page.len().min(end - at);
                    bytes[at..at + count].fill(fill);
                }
                pages.push((u32::from(index), Arc::from(page)));
            }
            value = value.with_pages(&store, new_len as u64, pages).unwrap();
            if reload {
                save(&Cap::Data(value.clone()), &mut store);
                let Cap::Data(loaded) = load(&store, &record_id(&Cap::Data(value))).unwrap() else {
                    panic!("a Data was persisted");
                };
                value = loaded;
            }
        }
        prop_assert_eq!(value.len(), bytes.len() as u64);
        prop_assert_eq!(value.id(), Data::new(&bytes).id());
        prop_assert_eq!(value.to_vec(&store, u64::MAX).unwrap(), bytes);
    }

    #[test]
    fn reads_any_range(bytes in any_bytes(), offset in 0..50_000u64, len in 0..10_000usize) {
        let store = MemoryStore::new();
        let value = Data::new(&bytes);
        let mut out = vec![0xee; len];
        let count = value.read(&store, offset, &mut out).unwrap();
        let from = bytes.len().min(offset as usize);
        let to = bytes.len().min(offset as usize + len);
        prop_assert_eq!(&out[..count], &bytes[from..to]);
        prop_assert!(out[count..].iter().all(|byte| *byte == 0xee));
    }
}

#[test]
fn pages_have_their_lengths() {
    let store = MemoryStore::new();
    let value = Data::new(&vec![1; 2 * PAGE_BYTES + 5]);
    let lens: Vec<_> = (0..4)
        .map(|i| value.page(&store, i).unwrap().map(|page| page.len()))
        .collect();
    assert_eq!(lens, [Some(PAGE_BYTES), Some(PAGE_BYTES), Some(5), None]);
    assert_eq!(Data::empty().page(&store, 0), Ok(None));
    assert_eq!(Data::empty().id(), Data::new(&[]).id());
    assert_eq!(
        value.to_vec(&store, 10),
        Err(Error::TooLong { len: 8197, max: 10 })
    );
}

/// Of any length, however it was made: short ones stand where they are referred from.
#[test]
fn what_pages_come_to_is_stored_as_bytes_are() {
    let pages = |count: u32| (0..count).map(|index| (index, Arc::from([7; PAGE_BYTES])));
    for len in [0, 1, 63, 64, 4096, 4097] {
        for count in 0..3 {
            let mut store = MemoryStore::new();
            let made = Data::empty().with_pages(&store, len, pages(count)).unwrap();
            let bytes = made.to_vec(&store, 8192).unwrap();
            let cap = Cap::Data(made);
            save(&cap, &mut store);
            assert_eq!(load(&store, &record_id(&cap)), Ok(cap), "{len} {count}");
            let mut other = MemoryStore::new();
            save(&Cap::Data(Data::new(&bytes)), &mut other);
            assert_eq!(store.len(), other.len(), "{len} {count}");
        }
    }
}

#[test]
fn a_gibibyte_of_zeros_costs_nothing() {
    let mut store = MemoryStore::new();
    let len = 1 << 30;
    let zeros = Data::empty().with_pages(&store, len, []).unwrap();
    let (records, bytes) = save(&Cap::Data(zeros.clone()), &mut store);
    // Its page, a record for each 3 of 18 levels, itself.
    assert_eq!(records, 1 + 6 + 1);
    assert!(bytes < 8000, "{bytes} bytes of records");
    let mut level = jar_cap::hash::blake2b(&[&[1], &[0; PAGE_BYTES]]);
    for _ in 0..18 {
        level = jar_cap::hash::blake2b(&[&[2], &level, &level]);
    }
    let id = jar_cap::hash::blake2b(&[&[0x30], &len.to_le_bytes(), &level]);
    assert_eq!(zeros.id(), id);

    let page: Arc<[u8]> = vec![7; PAGE_BYTES].into();
    let written = zeros
        .with_pages(&store, len, [(200_000, page.clone())])
        .unwrap();
    assert_eq!(written.page(&store, 200_000), Ok(Some(page)));
    let (records, _) = save(&Cap::Data(written), &mut store);
    assert_eq!(records, 1 + 6 + 1);
    // All but a byte of a page more, and the largest there is.
    let odd = Data::empty().with_pages(&store, len + 1, []).unwrap();
    assert_eq!(odd.page(&store, 1 << 18).unwrap().unwrap().len(), 1);
    let largest = odd.with_pages(&store, u64::MAX, []).unwrap();
    assert_ne!(largest.id(), odd.id());
}

#[test]
fn zero_pages_are_known_to_each_store_they_were_saved_in() {
    let zeros = || {
        let store = MemoryStore::new();
        Data::empty().with_pages(&store, 1 << 20, []).unwrap()
    };
    let mut stores = [MemoryStore::new(), MemoryStore::new()];
    for round in 0..4 {
        let store = &mut stores[round % 2];
        let cap = Cap::Data(zeros());
        save(&cap, store);
        let Cap::Data(loaded) = load(store, &record_id(&cap)).unwrap() else {
            panic!("a Data was persisted");
        };
        assert_eq!(loaded.to_vec(store, 1 << 20), Ok(vec![0; 1 << 20]));
    }
    assert_ne!(stores[0].number(), stores[1].number());
}

#[test]
fn one_page_of_many_is_one_path() {
    let mut store = CountingStore::default();
    let pages = 1 << 12;
    let bytes: Vec<u8> = (0..pages * PAGE_BYTES)
        .map(|i| (i / PAGE_BYTES) as u8)
        .collect();
    let cap = Cap::Data(Data::new(&bytes));
    save(&cap, &mut store.inner);
    let Cap::Data(loaded) = load(&store, &record_id(&cap)).unwrap() else {
        panic!("a Data was persisted");
    };
    store.take_reads();
    let page = vec![9; PAGE_BYTES].into();
    let changed = loaded
        .with_pages(&store, bytes.len() as u64, [(1234, page)])
        .unwrap();
    assert_eq!(store.take_reads(), 4, "12 levels, 3 to a record");
    let (records, bytes) = save(&Cap::Data(changed), &mut store.inner);
    assert_eq!(records, 4 + 1 + 1);
    assert!(bytes < PAGE_BYTES + 6 * 33 + 4 * 257 + 50, "{bytes}");
}

/// What stood at the start of a record stands within one when whole pages are added, and nothing
/// of it was read.
#[test]
fn what_is_not_loaded_grows() {
    let grown = |old: usize, new: usize, changed: Option<u32>| {
        let mut store = MemoryStore::new();
        let mut bytes: Vec<u8> = (0..old * PAGE_BYTES).map(|i| (i / 777) as u8).collect();
        let cap = Cap::Data(Data::new(&bytes));
        save(&cap, &mut store);
        let reload = |cap: &Cap, store: &MemoryStore| match load(store, &record_id(cap)) {
            Ok(Cap::Data(data)) => data,
            other => panic!("a Data was persisted: {other:?}"),
        };
        let pages = changed.map(|page| (page, Arc::from([7; PAGE_BYTES])));
        bytes.resize(new * PAGE_BYTES, 0);
        if let Some(page) = changed {
            bytes[page as usize * PAGE_BYTES..][..PAGE_BYTES].fill(7);
        }
        let loaded = reload(&cap, &store);
        let value = loaded.with_pages(&store, bytes.len() as u64, pages);
        let cap = Cap::Data(value.unwrap());
        save(&cap, &mut store);
        let value = reload(&cap, &store);
        assert_eq!(value.id(), Data::new(&bytes).id(), "{old} to {new} pages");
        assert_eq!(value.to_vec(&store, u64::MAX), Ok(bytes));
    };
    for old in 1..=20 {
        for new in [old + 1, old + 2, 2 * old, 3 * old, 9 * old, 70] {
            grown(old, new, None);
            grown(old, new, Some(new as u32 - 1));
        }
    }
}
