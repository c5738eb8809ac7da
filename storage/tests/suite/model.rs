//! Random histories, run over both implementations and compared.

use jar_cap::hash::blake2b;
use jar_cap::{Hash, StoreError};
use jar_kernel::{Commit, Store, Watermark};
use proptest::prelude::*;

use crate::fixture::*;

/// One step of a history.
#[derive(Clone, Debug)]
enum Step {
    /// Commits a child of one of the blocks made so far, with changes.
    Commit {
        parent: usize,
        salt: u64,
        changes: Vec<Change>,
    },
    /// Raises a watermark outside of blocks.
    Raise(u8, Option<u64>, Option<(u64, u64)>),
    /// Closes the store and opens it again.
    Reopen,
}

/// What is changed in a commit; some make it one that is refused.
#[derive(Clone, Debug)]
enum Change {
    KeepHead,
    Head(usize),
    Finalized(usize),
    Canonical(u64, Option<usize>),
    Watermark(u8, Option<u64>, Option<(u64, u64)>),
    Event(u8, u32),
    DropNodes,
    WrongHash,
}

fn change() -> impl Strategy<Value = Change> {
    let block = 0..12usize;
    let number = 0..6u64;
    prop_oneof![
        Just(Change::KeepHead),
        block.clone().prop_map(Change::Head),
        block.clone().prop_map(Change::Finalized),
        (number.clone(), prop::option::of(block)).prop_map(|(h, b)| Change::Canonical(h, b)),
        (
            0..2u8,
            prop::option::of(number.clone()),
            prop::option::of((number.clone(), number))
        )
            .prop_map(|(key, slot, vote)| Change::Watermark(key, slot, vote)),
        (0..3u8, 0..3u32).prop_map(|(id, index)| Change::Event(id, index)),
        Just(Change::DropNodes),
        Just(Change::WrongHash),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..12usize, 0..3u64, prop::collection::vec(change(), 0..5))
            .prop_map(|(parent, salt, changes)| Step::Commit { parent, salt, changes }),
        1 => (0..2u8, prop::option::of(0..6u64), prop::option::of((0..6u64, 0..6u64)))
            .prop_map(|(key, slot, vote)| Step::Raise(key, slot, vote)),
        1 => Just(Step::Reopen),
    ]
}

/// The commit of a step; block numbers beyond those made are a block nobody has.
fn build(made: &[Commit], parent: usize, salt: u64, changes: &[Change]) -> Commit {
    let hash = |i: usize| made.get(i).map_or([0xee; 32], |commit| commit.hash);
    let mut commit = match made.is_empty() {
        true => genesis(),
        false => child(&made[parent % made.len()], salt),
    };
    for change in changes {
        match *change {
            Change::KeepHead => commit.head = None,
            Change::Head(i) => commit.head = Some(hash(i)),
            Change::Finalized(i) => commit.finalized = Some(hash(i)),
            Change::Canonical(height, i) => commit.canonical.push((height, i.map(hash))),
            Change::Watermark(key, seal_slot, vote) => commit
                .watermarks
                .push(([key; 32], Watermark { seal_slot, vote })),
            Change::Event(id, index) => commit.events.push(([id; 32], index)),
            Change::DropNodes => commit.nodes.clear(),
            Change::WrongHash => commit.hash[5] ^= 1,
        }
    }
    commit
}

/// Everything a store answers about these commits, records by their digest.
fn observe(store: &dyn Store, commits: &[Commit]) -> Result<Vec<String>, StoreError> {
    let mut seen = vec![format!("{:?} {:?}", store.head()?, store.finalized()?)];
    for height in 0..16 {
        seen.push(format!("{:?}", store.canonical(height)?));
    }
    for key in [[0; 32], [1; 32], AUTHOR] {
        seen.push(format!("{:?}", store.watermark(&key)?));
    }
    let mut ids: Vec<Hash> = (0..3).map(|id| [id; 32]).collect();
    for commit in commits {
        ids.extend(commit.events.iter().map(|(id, _)| *id));
        seen.push(format!("{:?}", store.header(&commit.hash)?));
        seen.push(format!("{:?}", store.block(&commit.hash)?));
        seen.push(format!("{:?}", store.outcomes(&commit.hash)?));
        for (id, _) in &commit.nodes {
            let digest = store.get(id)?.map(|bytes| blake2b(&[&bytes]));
            seen.push(format!("{digest:?}"));
        }
    }
    for id in ids {
        seen.push(format!(
            "{:?} {:?}",
            store.event(&id, 2)?,
            store.event(&id, 99)?
        ));
    }
    Ok(seen)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn both_stores_answer_alike(steps in prop::collection::vec(step(), 1..20)) {
        let (memory_home, rocks_home) = (MemoryHome::default(), RocksHome::default());
        let memory = memory_home.open();
        let mut rocks = rocks_home.open();
        let (mut made, mut tried) = (Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Reopen => {
                    drop(rocks);
                    rocks = rocks_home.open();
                }
                Step::Raise(key, seal_slot, vote) => {
                    let raised = [([key; 32], Watermark { seal_slot, vote })];
                    let results =
                        (memory.raise_watermarks(&raised), rocks.raise_watermarks(&raised));
                    prop_assert_eq!(&results.0, &results.1);
                }
                Step::Commit { parent, salt, changes } => {
                    let commit = build(&made, parent, salt, &changes);
                    let before = observe(&*rocks, &tried).unwrap();
                    let results = (memory.commit(&commit), rocks.commit(&commit));
                    prop_assert_eq!(&results.0, &results.1);
                    match results.0 {
                        Ok(()) => made.push(commit.clone()),
                        Err(_) => prop_assert_eq!(before, observe(&*rocks, &tried).unwrap()),
                    }
                    tried.push(commit);
                }
            }
            prop_assert_eq!(
                observe(&*memory, &tried).unwrap(),
                observe(&*rocks, &tried).unwrap()
            );
        }
    }
}
