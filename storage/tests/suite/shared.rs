//! The suite that both implementations pass.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use jar_cap::hash::Tag;
use jar_cap::{RecordId, StoreError};
use jar_kernel::block::{Event, Scope};
use jar_kernel::signer::Signer;
use jar_kernel::{Commit, EventLocation, SignError, SignRequest, Store, Watermark};

use crate::fixture::*;

macro_rules! on_both {
    ($($name:ident)*) => {
        mod memory {
            $(#[test] fn $name() { super::$name(&crate::fixture::MemoryHome::default()); })*
        }
        mod rocks {
            $(#[test] fn $name() { super::$name(&crate::fixture::RocksHome::default()); })*
        }
    };
}

on_both! {
    an_empty_store_has_nothing
    a_commit_reads_back
    everything_survives_reopening
    a_reorg_rewrites_the_canonical_index
    finality_moves
    no_stored_watermark_falls
    watermarks_are_raised_outside_of_blocks
    fetched_records_are_kept_without_a_block
    a_signer_goes_on_from_the_stored_watermark
    an_event_is_found_on_every_fork
    an_event_may_recur_within_a_block
    a_refused_commit_leaves_nothing
    committing_again_changes_nothing
    readers_see_whole_commits
    stores_have_numbers_of_their_own
}

fn an_empty_store_has_nothing(home: &dyn Home) {
    for _ in 0..2 {
        let store = home.open();
        assert_eq!(store.head().unwrap(), None);
        assert_eq!(store.finalized().unwrap(), None);
        assert_eq!(store.canonical(0).unwrap(), None);
        assert_eq!(store.watermark(&AUTHOR).unwrap(), Watermark::default());
        assert_lacks(&*store, &genesis());
    }
}

fn a_commit_reads_back(home: &dyn Home) {
    let store = home.open();
    let blocks = chain(3);
    for len in 0..blocks.len() {
        store.commit(&blocks[len]).unwrap();
        assert_eq!(assert_whole_prefix(&*store, &blocks), len + 1);
    }
}

fn everything_survives_reopening(home: &dyn Home) {
    let blocks = chain(12);
    for (len, commit) in blocks.iter().enumerate() {
        let store = home.open();
        assert_eq!(assert_whole_prefix(&*store, &blocks), len);
        store.commit(commit).unwrap();
    }
    assert_eq!(assert_whole_prefix(&*home.open(), &blocks), blocks.len());
}

fn a_reorg_rewrites_the_canonical_index(home: &dyn Home) {
    let store = home.open();
    let old = chain(5);
    commit_all(&*store, &old);

    // A shorter fork from height 2 wins with its second block.
    let mut side = child(&old[2], 1);
    side.canonical.clear();
    side.head = None;
    store.commit(&side).unwrap();
    assert_eq!(store.head().unwrap(), Some(old[5].hash));
    assert_eq!(store.canonical(3).unwrap(), Some(old[3].hash));

    let mut tip = child(&side, 1);
    tip.canonical = vec![(3, Some(side.hash)), (4, Some(tip.hash)), (5, None)];
    store.commit(&tip).unwrap();
    drop(store);

    let store = home.open();
    assert_eq!(store.head().unwrap(), Some(tip.hash));
    let expected = [
        Some(old[0].hash),
        Some(old[1].hash),
        Some(old[2].hash),
        Some(side.hash),
        Some(tip.hash),
        None,
    ];
    for (height, hash) in (0..).zip(expected) {
        assert_eq!(store.canonical(height).unwrap(), hash, "height {height}");
    }
    for commit in old.iter().chain([&side, &tip]) {
        assert_holds(&*store, commit);
    }
}

fn finality_moves(home: &dyn Home) {
    let mut blocks = chain(4);
    blocks[3].finalized = Some(blocks[1].hash);
    blocks[4].finalized = Some(blocks[4].hash);
    let expected = [0, 0, 0, 1, 4];
    for (commit, finalized) in blocks.iter().zip(expected) {
        home.open().commit(commit).unwrap();
        let found = home.open().finalized().unwrap();
        assert_eq!(found, Some(blocks[finalized].hash));
    }
}

fn no_stored_watermark_falls(home: &dyn Home) {
    let (one, other) = ([1; 32], [2; 32]);
    let mark = |seal_slot, vote| Watermark { seal_slot, vote };
    let mut blocks = chain(4);
    blocks[1].watermarks = vec![
        (one, mark(Some(7), None)),
        (other, mark(None, Some((1, 2)))),
    ];
    blocks[2].watermarks = vec![(one, mark(Some(5), Some((3, 4))))];
    // A key that sealed and voted comes twice.
    blocks[3].watermarks = vec![(one, mark(Some(9), None)), (one, mark(None, Some((2, 6))))];
    blocks[4].watermarks = vec![(one, Watermark::default())];
    let expected = [
        mark(None, None),
        mark(Some(7), None),
        mark(Some(7), Some((3, 4))),
        mark(Some(9), Some((3, 6))),
        mark(Some(9), Some((3, 6))),
    ];
    for (commit, expected) in blocks.iter().zip(expected) {
        home.open().commit(commit).unwrap();
        assert_eq!(home.open().watermark(&one).unwrap(), expected);
    }
    let store = home.open();
    assert_eq!(store.watermark(&other).unwrap(), mark(None, Some((1, 2))));
    assert_eq!(store.watermark(&[3; 32]).unwrap(), Watermark::default());
}

fn watermarks_are_raised_outside_of_blocks(home: &dyn Home) {
    let mark = |seal_slot, vote| Watermark { seal_slot, vote };
    let (one, other) = ([1; 32], [2; 32]);
    let refused = home.open().raise_watermarks(&[(one, mark(Some(1), None))]);
    assert!(refused.is_err(), "there is no chain to sign on");
    assert_eq!(home.open().watermark(&one).unwrap(), Watermark::default());
    let mut blocks = chain(1);
    blocks[1].watermarks = vec![(one, mark(Some(7), None))];
    commit_all(&*home.open(), &blocks);
    let raised = [
        (one, mark(None, Some((1, 2)))),
        (other, mark(Some(3), None)),
        (one, mark(Some(6), Some((0, 5)))),
    ];
    home.open().raise_watermarks(&raised).unwrap();
    let store = home.open();
    let expected = mark(Some(7), Some((1, 5)));
    assert_eq!(store.watermark(&one).unwrap(), expected);
    assert_eq!(store.watermark(&other).unwrap(), mark(Some(3), None));
    store
        .raise_watermarks(&[(one, mark(None, Some((0, 1))))])
        .unwrap();
    assert_eq!(store.watermark(&one).unwrap(), expected, "one fell");
    assert_holds(&*store, &blocks[1]);
}

fn fetched_records_are_kept_without_a_block(home: &dyn Home) {
    let records: Vec<(RecordId, Vec<u8>)> = (1..4_u8)
        .map(|n| (RecordId::new(Tag::PageLeaf, [n; 32]), vec![n; 9]))
        .collect();
    let refused = home.open().write_records(&records);
    assert!(refused.is_err(), "there is no chain that they are of");
    let blocks = chain(0);
    commit_all(&*home.open(), &blocks);
    home.open().write_records(&records).unwrap();
    let store = home.open();
    for (id, bytes) in &records {
        assert_eq!(store.get(id).unwrap().as_ref(), Some(bytes));
    }
    assert_holds(&*store, &blocks[0]);
}

fn a_signer_goes_on_from_the_stored_watermark(home: &dyn Home) {
    let seed = [5; 32];
    let store = home.open();
    let signer = Signer::new([seed], &*store).unwrap();
    let key = *signer.keys().next().unwrap();
    let seal = |slot| SignRequest {
        key,
        scope: Scope::Seal,
        slot,
    };
    let mut blocks = chain(1);
    let (_, watermark) = signer.sign(&seal(8), &[0; 32]).unwrap();
    blocks[1].watermarks = vec![(key, watermark)];
    commit_all(&*store, &blocks);
    drop((signer, store));

    let signer = Signer::new([seed], &*home.open()).unwrap();
    assert_eq!(
        signer.sign(&seal(8), &[1; 32]).map(|_| ()),
        Err(SignError::Watermark)
    );
    assert!(signer.sign(&seal(9), &[1; 32]).is_ok());
}

fn an_event_is_found_on_every_fork(home: &dyn Home) {
    let store = home.open();
    let root = genesis();
    store.commit(&root).unwrap();
    let event = Event {
        payload: b"again".to_vec(),
        ..Event::default()
    };
    let id = event.id(ENDPOINT);
    let mut expected = Vec::new();
    for slot in 1..=5 {
        let block = child_with(&root, slot, vec![Event::default(), event.clone()]);
        store.commit(&block).unwrap();
        expected.push(EventLocation {
            block: block.hash,
            index: 2,
        });
    }
    // Neighbours in the index on both sides.
    for step in [-1i8, 1] {
        let mut block = child_with(&root, 10 + u64::from(step > 0), vec![Event::default()]);
        let mut near = id;
        near[31] = near[31].wrapping_add_signed(step);
        block.events = vec![(near, 0)];
        store.commit(&block).unwrap();
        assert_eq!(store.event(&near, 9).unwrap().len(), 1);
    }
    expected.sort();
    drop(store);
    let store = home.open();
    assert_eq!(store.event(&id, usize::MAX).unwrap(), expected);
    for limit in 0..=6 {
        let found = store.event(&id, limit).unwrap();
        assert_eq!(found, expected[..limit.min(5)]);
    }
    assert_eq!(store.event(&[0; 32], 9).unwrap(), []);
    assert_eq!(store.event(&[0xff; 32], 9).unwrap(), []);
}

fn an_event_may_recur_within_a_block(home: &dyn Home) {
    let store = home.open();
    let root = genesis();
    store.commit(&root).unwrap();
    let block = child_with(&root, 1, vec![Event::default(); 300]);
    store.commit(&block).unwrap();
    let indices: Vec<u32> = store
        .event(&Event::default().id(ENDPOINT), usize::MAX)
        .unwrap()
        .iter()
        .map(|location| location.index)
        .collect();
    assert_eq!(indices, (1..=300).collect::<Vec<u32>>());
}

/// Commits that every store refuses, each a child of the second block but for its fault.
fn refused(blocks: &[Commit]) -> Vec<(&'static str, Commit)> {
    let good = child(&blocks[1], 7);
    let with = |change: &dyn Fn(&mut Commit)| {
        let mut commit = good.clone();
        change(&mut commit);
        commit
    };
    let other_chain = with(&|c| {
        Arc::make_mut(&mut c.block).header.genesis = [9; 32];
        c.hash = c.block.header.hash();
        c.head = Some(c.hash);
        c.canonical = vec![(2, Some(c.hash))];
    });
    let other_genesis = {
        let mut commit = genesis();
        Arc::make_mut(&mut commit.block).header.body_root = [1; 32];
        commit.nodes.clear();
        commit.hash = commit.block.header.hash();
        commit.head = Some(commit.hash);
        commit.canonical = vec![(0, Some(commit.hash))];
        commit
    };
    vec![
        ("hash", with(&|c| c.hash[0] ^= 1)),
        ("another chain", other_chain),
        ("another genesis", other_genesis),
        (
            "event index",
            with(&|c| c.events.push(([1; 32], c.outcomes.len() as u32))),
        ),
        ("head", with(&|c| c.head = Some([1; 32]))),
        ("finalized", with(&|c| c.finalized = Some([1; 32]))),
        ("canonical", with(&|c| c.canonical.push((9, Some([1; 32]))))),
    ]
}

fn a_refused_commit_leaves_nothing(home: &dyn Home) {
    let blocks = chain(2);
    let refused = refused(&blocks);
    {
        let store = home.open();
        for (name, commit) in &refused {
            let commit = match *name {
                "another genesis" => &blocks[1],
                _ => commit,
            };
            assert!(store.commit(commit).is_err(), "{name} on an empty store");
        }
        assert_eq!(assert_whole_prefix(&*store, &blocks), 0);
        commit_all(&*store, &blocks);
        for (name, commit) in &refused {
            let error = store.commit(commit).unwrap_err();
            assert!(
                matches!(&error, StoreError::Backend(text) if text.starts_with("commit refused")),
                "{name}: {error}"
            );
        }
    }
    let store = home.open();
    assert_eq!(assert_whole_prefix(&*store, &blocks), 3);
    for (_, commit) in &refused {
        assert_lacks(&*store, commit);
    }
    assert_eq!(store.canonical(9).unwrap(), None);
    assert_eq!(store.event(&[1; 32], 9).unwrap(), []);
    store.commit(&child(&blocks[1], 7)).unwrap();
}

fn committing_again_changes_nothing(home: &dyn Home) {
    let store = home.open();
    let blocks = chain(2);
    for _ in 0..2 {
        commit_all(&*store, &blocks);
        assert_eq!(assert_whole_prefix(&*store, &blocks), 3);
    }
}

fn readers_see_whole_commits(home: &dyn Home) {
    let store = home.open();
    let blocks = chain(40);
    store.commit(&blocks[0]).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut last = 0;
                loop {
                    let finished = done.load(Ordering::Acquire);
                    let head = store.head().unwrap().unwrap();
                    let height = blocks.iter().position(|b| b.hash == head).unwrap();
                    assert_holds(&*store, &blocks[height]);
                    assert_eq!(store.canonical(height as u64).unwrap(), Some(head));
                    assert!(height >= last, "the head went back");
                    last = height;
                    if finished {
                        break;
                    }
                }
                assert_eq!(last, 40);
            });
        }
        commit_all(&*store, &blocks[1..]);
        done.store(true, Ordering::Release);
    });
}

fn stores_have_numbers_of_their_own(home: &dyn Home) {
    let other: Arc<dyn Store> = MemoryHome::default().open();
    let rocks = RocksHome::default();
    let numbers = [home.open().number(), other.number(), rocks.open().number()];
    assert!(numbers[0] != numbers[1] && numbers[1] != numbers[2] && numbers[0] != numbers[2]);
    assert!(numbers.iter().all(|number| *number > 0));
}
