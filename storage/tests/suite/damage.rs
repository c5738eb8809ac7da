//! Damaged files and entries: an error or the truth, never anything else.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use jar_cap::{Hash, NodeStore, StoreError};
use jar_kernel::block::Block;
use jar_kernel::{Commit, EventLocation, Store};
use jar_storage::{Error, RocksStore};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rocksdb::{DB, IteratorMode};
use tempfile::TempDir;

use crate::fixture::*;
use crate::open::{child_dir, start_child};

/// Blocks whose data is in tables; the rest is in the log.
const FLUSHED: usize = 60;
const BLOCKS: u64 = 75;

static CHAIN: LazyLock<Vec<Commit>> = LazyLock::new(|| chain(BLOCKS));

/// A directory as a killed node leaves it, with tables and a log.
fn left_by_a_kill() -> TempDir {
    let dir = TempDir::new().unwrap();
    let mut child = start_child("damage::child_makes_tables_and_log", &dir);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("all held")));
    child.kill().unwrap();
    child.wait().unwrap();
    dir
}

#[test]
#[ignore = "run by tests that damage what it leaves"]
fn child_makes_tables_and_log() {
    let store = RocksStore::open(child_dir(), &small()).unwrap();
    for (i, commit) in CHAIN.iter().enumerate() {
        store.commit(commit).unwrap();
        if i == FLUSHED {
            store.flush().unwrap();
        }
    }
    println!("all held");
    std::io::stdin().lines().for_each(drop);
}

fn copy(from: &Path) -> TempDir {
    let to = TempDir::new().unwrap();
    for path in files(from) {
        fs::copy(&path, to.path().join(path.file_name().unwrap())).unwrap();
    }
    to
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn kind(path: &Path) -> &str {
    match path.extension().and_then(|kind| kind.to_str()) {
        Some(kind) => kind,
        None => path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.split('-').next())
            .unwrap_or(""),
    }
}

/// An answer that is an error or one of these.
fn one_of<T: PartialEq + std::fmt::Debug>(found: Result<T, StoreError>, truths: &[T]) -> bool {
    match found {
        Ok(found) => assert!(truths.contains(&found), "{found:?} is made up"),
        Err(_) => return false,
    }
    true
}

/// Asserts that whatever the store answers was once true, and the same for all it holds: the
/// first `len` blocks are answered, or an error. True if there was no error.
fn assert_honest(store: &dyn Store) -> bool {
    let Ok(head) = store.head() else {
        return false;
    };
    let len = CHAIN
        .iter()
        .position(|commit| Some(commit.hash) == head)
        .map_or(0, |i| i + 1);
    assert!(len > FLUSHED, "what was in tables went missing unnoticed");
    let mut whole = true;
    for (i, commit) in CHAIN.iter().enumerate() {
        let held = i < len;
        let hash = &commit.hash;
        whole &= one_of(store.header(hash), &[held.then(|| stored_header(commit))]);
        whole &= one_of(
            store.block(hash),
            &[held.then(|| Block::clone(&commit.block))],
        );
        whole &= one_of(
            store.outcomes(hash),
            &[held.then(|| commit.outcomes.clone())],
        );
        whole &= one_of(store.canonical(i as u64), &[held.then_some(*hash)]);
        for (id, bytes) in &commit.nodes {
            whole &= one_of(NodeStore::get(store, id), &[held.then(|| bytes.clone())]);
        }
        for (id, index) in &commit.events {
            let location = EventLocation {
                block: *hash,
                index: *index,
            };
            let found = Vec::from_iter(held.then_some(location));
            whole &= one_of(store.event(id, 9), &[found]);
        }
    }
    let watermark = CHAIN[len - 1].watermarks[0].1;
    whole & one_of(store.watermark(&AUTHOR), &[watermark])
}

/// Damages a file in one of the ways disks and people do.
fn damage(path: &Path, random: &mut StdRng) -> String {
    let mut bytes = fs::read(path).unwrap();
    let len = bytes.len();
    let at = random.random_range(0..len);
    let how = match random.random_range(0..4) {
        0 => {
            bytes[at] ^= 1 << random.random_range(0..8);
            format!("bit of byte {at} of {len}")
        }
        1 => {
            let end = len.min(at + random.random_range(1..512));
            random.fill(&mut bytes[at..end]);
            format!("bytes {at}..{end} of {len}")
        }
        2 => {
            let end = len.min(at + 4096);
            bytes[at..end].fill(0);
            format!("zeros {at}..{end} of {len}")
        }
        _ => {
            bytes.truncate(at);
            format!("cut to {at} of {len}")
        }
    };
    fs::write(path, bytes).unwrap();
    format!("{}: {how}", path.file_name().unwrap().display())
}

#[test]
fn damaged_files_are_never_believed() {
    let left = left_by_a_kill();
    let intact = copy(left.path());
    let store = RocksStore::open(intact.path(), &small()).unwrap();
    assert!(assert_honest(&store));
    assert_eq!(assert_whole_prefix(&store, &CHAIN), CHAIN.len());
    drop(store);

    let mut noticed = 0;
    for kinds in [&["sst"][..], &["log"], &["MANIFEST", "CURRENT"]] {
        for seed in 0..40 {
            let mut random = StdRng::seed_from_u64(seed);
            let dir = copy(left.path());
            let mut candidates = files(dir.path());
            candidates.retain(|path| {
                kinds.contains(&kind(path)) && fs::metadata(path).unwrap().len() > 0
            });
            let how = damage(candidates.choose(&mut random).unwrap(), &mut random);
            println!("seed {seed}: {how}");
            match RocksStore::open(dir.path(), &small()) {
                Err(error) => {
                    noticed += 1;
                    println!("  open: {error}");
                }
                Ok(store) if assert_honest(&store) => println!("  nothing wrong"),
                Ok(_) => {
                    noticed += 1;
                    println!("  reads: errors");
                }
            }
        }
    }
    assert!(noticed > 40, "only {noticed} of 120 were noticed");
}

/// A damaged type that RocksDB takes for a recycled file's, at which it would not come to an end.
#[test]
fn logs_of_types_nobody_writes_are_refused() {
    let left = left_by_a_kill();
    for kind in ["MANIFEST", "log"] {
        let is_kind =
            |path: &PathBuf| self::kind(path) == kind && fs::metadata(path).unwrap().len() > 64;
        let log = files(left.path()).into_iter().find(is_kind).unwrap();
        let bytes = fs::read(&log).unwrap();
        let second = 7 + usize::from(u16::from_le_bytes([bytes[4], bytes[5]]));
        for (at, damaged) in [(0, 5), (0, 131), (second, 5), (second, 8), (second, 11)] {
            let dir = copy(left.path());
            let mut bytes = bytes.clone();
            bytes[at + 6] = damaged;
            fs::write(dir.path().join(log.file_name().unwrap()), bytes).unwrap();
            let error = RocksStore::open(dir.path(), &small()).unwrap_err();
            let expected = format!("byte {at} of {}", log.file_name().unwrap().display());
            assert!(
                matches!(&error, Error::Damaged { reason, .. } if reason.contains(&expected)),
                "{error}"
            );
        }
    }
}

/// Names of the tables a directory's database consists of; a kill leaves others too.
fn live_tables(dir: &Path) -> Vec<String> {
    let dir = copy(dir);
    let mut options = rocksdb::Options::default();
    options.set_disable_auto_compactions(true);
    let columns = DB::list_cf(&options, dir.path()).unwrap();
    let columns = columns.iter().map(|name| (name, options.clone()));
    let db = DB::open_cf_with_opts(&options, dir.path(), columns).unwrap();
    let tables = db.live_files().unwrap();
    let names = tables.iter().map(|table| table.name.trim_matches('/'));
    names.map(str::to_string).collect()
}

#[test]
fn missing_and_swapped_tables_are_noticed() {
    let left = left_by_a_kill();
    let mut tables = live_tables(left.path());
    // Opening a copy moved its log to tables of its own.
    tables.retain(|name| left.path().join(name).exists());
    assert!(tables.len() > 1);
    for (i, name) in tables.iter().enumerate() {
        let dir = copy(left.path());
        fs::remove_file(dir.path().join(name)).unwrap();
        let error = RocksStore::open(dir.path(), &small()).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{error}");

        // A table in the place of another is never read as that one.
        let dir = copy(left.path());
        let other = &tables[(i + 1) % tables.len()];
        fs::copy(left.path().join(other), dir.path().join(name)).unwrap();
        if let Ok(store) = RocksStore::open(dir.path(), &small()) {
            assert_honest(&store);
        }
    }
}

/// Flips a bit of every value of a column, where the database's own checksums can't see it.
fn garble(dir: &Path, column: &str) {
    let options = rocksdb::Options::default();
    let columns = DB::list_cf(&options, dir).unwrap();
    let db = DB::open_cf(&options, dir, columns).unwrap();
    let handle = db.cf_handle(column).unwrap();
    let entries: Vec<_> = db
        .iterator_cf(handle, IteratorMode::Start)
        .map(Result::unwrap)
        .collect();
    assert!(!entries.is_empty(), "column {column}");
    for (i, (key, value)) in entries.into_iter().enumerate() {
        let mut value = value.to_vec();
        let at = i % value.len();
        value[at] ^= 1 << (i % 8);
        db.put_cf(handle, key, value).unwrap();
    }
}

fn assert_names(column: &str, found: Result<(), StoreError>) {
    let error = found.expect_err(column);
    let expected = format!("of column {column} is corrupt");
    assert!(
        matches!(&error, StoreError::Backend(text) if text.contains(&expected)),
        "{error}"
    );
}

#[test]
fn garbled_entries_are_named() {
    let blocks = chain(6);
    let id: Hash = blocks.iter().find_map(|b| b.events.first()).unwrap().0;
    let hash = blocks[3].hash;
    type Read<'a> = &'a dyn Fn(&dyn Store) -> Result<(), StoreError>;
    let reads: [(&str, Read<'_>); 5] = [
        ("bodies", &|store| store.block(&hash).map(drop)),
        ("outcomes", &|store| store.outcomes(&hash).map(drop)),
        ("canonical", &|store| store.canonical(3).map(drop)),
        ("events", &|store| store.event(&id, 9).map(drop)),
        ("watermarks", &|store| store.watermark(&AUTHOR).map(drop)),
    ];
    let made = || {
        let home = RocksHome::default();
        commit_all(&*home.open(), &blocks);
        home
    };
    for (column, read) in reads {
        let home = made();
        garble(home.0.path(), column);
        assert_names(column, read(&*home.open()));
    }
    for column in ["headers", "meta"] {
        let home = made();
        garble(home.0.path(), column);
        let error = RocksStore::open(home.0.path(), &small()).unwrap_err();
        assert!(
            matches!(&error, Error::Corrupt { column: found, .. } if *found == column),
            "{error}"
        );
    }
}

/// A watermark that cannot be read must not be taken for none.
#[test]
fn a_garbled_watermark_stops_the_signer() {
    use jar_kernel::signer::Signer;

    let seed = [5; 32];
    let home = RocksHome::default();
    let mut blocks = chain(1);
    let key = *Signer::new([seed], &*home.open())
        .unwrap()
        .keys()
        .next()
        .unwrap();
    blocks[1].watermarks[0].0 = key;
    commit_all(&*home.open(), &blocks);
    garble(home.0.path(), "watermarks");
    let store = home.open();
    assert!(Signer::new([seed], &*store).is_err());
    assert!(
        store
            .commit(&Commit {
                watermarks: blocks[1].watermarks.clone(),
                ..child(&blocks[1], 0)
            })
            .is_err()
    );
}
