//! Opening: one process at a time, and only what this version wrote.

use std::fs;
use std::process::{Child, Command, Stdio};

use jar_storage::{Error, RocksStore, SCHEMA};
use rocksdb::DB;
use tempfile::TempDir;

use crate::fixture::*;

/// Says the directory to a copy of this binary that runs one test on it.
pub const CHILD_DIR: &str = "JAR_STORAGE_TEST_DIR";

/// Starts a copy of this binary that runs one ignored test on a directory.
pub fn start_child(test: &str, dir: &TempDir) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            test,
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(CHILD_DIR, dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The directory in a child.
pub fn child_dir() -> String {
    std::env::var(CHILD_DIR).expect("run by another test, which names a directory")
}

#[test]
fn one_process_has_it_at_a_time() {
    let dir = TempDir::new().unwrap();
    let store = RocksStore::open(dir.path(), &small()).unwrap();
    let in_use = Error::InUse(dir.path().to_path_buf());
    assert_eq!(
        in_use.to_string(),
        format!(
            "data directory {} is in use by another process",
            dir.path().display()
        )
    );
    assert_eq!(
        RocksStore::open(dir.path(), &small()).unwrap_err(),
        in_use,
        "within one process"
    );
    let refused = start_child("open::child_opens", &dir).wait().unwrap();
    assert_eq!(refused.code(), Some(77), "from another process");
    drop(store);
    let opened = start_child("open::child_opens", &dir).wait().unwrap();
    assert!(opened.success());
}

#[test]
#[ignore = "run by one_process_has_it_at_a_time"]
fn child_opens() {
    let dir = child_dir();
    match RocksStore::open(&dir, &small()) {
        Ok(_) => {}
        Err(Error::InUse(path)) if path == std::path::Path::new(&dir) => std::process::exit(77),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn it_is_made_with_its_parents() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a/b/store");
    RocksStore::open(&path, &small()).unwrap();
    RocksStore::open(&path, &small()).unwrap();
    fs::write(dir.path().join("file"), b"").unwrap();
    let error = RocksStore::open(dir.path().join("file"), &small()).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
}

/// Checksummed bytes of an entry of the meta column, as another version would write them.
fn meta_entry(key: &[u8], value: &[u8]) -> Vec<u8> {
    let digest = jar_cap::hash::blake2b(&[b"meta\0", key, value]);
    [value, &digest[..8]].concat()
}

fn edit(dir: &TempDir, change: impl FnOnce(&mut DB)) {
    let options = rocksdb::Options::default();
    let columns = DB::list_cf(&options, dir.path()).unwrap();
    change(&mut DB::open_cf(&options, dir.path(), columns).unwrap());
}

#[test]
fn another_schema_is_refused() {
    let dir = TempDir::new().unwrap();
    drop(RocksStore::open(dir.path(), &small()).unwrap());
    let found = SCHEMA + 1;
    edit(&dir, |db| {
        let value = [&[0][..], &found.to_le_bytes()].concat();
        let entry = meta_entry(&[0], &value);
        db.put_cf(db.cf_handle("meta").unwrap(), [0], entry)
            .unwrap();
        // A later version may well have more columns.
        db.create_cf("later", &rocksdb::Options::default()).unwrap();
    });
    assert_eq!(
        RocksStore::open(dir.path(), &small()).unwrap_err(),
        Error::Schema {
            path: dir.path().to_path_buf(),
            found,
            supported: SCHEMA,
        }
    );
}

fn assert_damaged(dir: &TempDir, text: &str) {
    let error = RocksStore::open(dir.path(), &small()).unwrap_err();
    assert!(
        matches!(&error, Error::Damaged { reason, .. } if reason.contains(text)),
        "{error}"
    );
}

#[test]
fn other_columns_are_refused() {
    let dir = TempDir::new().unwrap();
    drop(RocksStore::open(dir.path(), &small()).unwrap());
    edit(&dir, |db| {
        db.create_cf("foreign", &rocksdb::Options::default())
            .unwrap();
    });
    assert_damaged(&dir, "column foreign");
    edit(&dir, |db| {
        db.drop_cf("foreign").unwrap();
        db.drop_cf("events").unwrap();
    });
    assert_damaged(&dir, "column events is missing");
    assert_damaged(&dir, "column events is missing");
}

#[test]
fn making_it_is_taken_up_again() {
    let dir = TempDir::new().unwrap();
    drop(RocksStore::open(dir.path(), &small()).unwrap());
    edit(&dir, |db| {
        db.delete_cf(db.cf_handle("meta").unwrap(), [0]).unwrap();
        db.drop_cf("watermarks").unwrap();
    });
    let store = RocksStore::open(dir.path(), &small()).unwrap();
    jar_kernel::Store::commit(&store, &genesis()).unwrap();
    drop(store);
    edit(&dir, |db| {
        db.delete_cf(db.cf_handle("meta").unwrap(), [0]).unwrap();
    });
    assert_damaged(&dir, "no schema version");
}

#[test]
fn a_lost_pointer_file_is_not_a_new_store() {
    let dir = TempDir::new().unwrap();
    let store = RocksStore::open(dir.path(), &small()).unwrap();
    jar_kernel::Store::commit(&store, &genesis()).unwrap();
    drop(store);
    let current = dir.path().join("CURRENT");
    let held = fs::read(&current).unwrap();
    fs::remove_file(&current).unwrap();
    assert_damaged(&dir, "no CURRENT");
    fs::write(&current, held).unwrap();
    let store = RocksStore::open(dir.path(), &small()).unwrap();
    assert_holds(&store, &genesis());
}
