//! Killing a process that commits, and failing to write.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use jar_kernel::{Commit, Store};
use jar_storage::RocksStore;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;

use crate::fixture::*;
use crate::open::{CHILD_DIR, child_dir, start_child};

const ROUNDS: u64 = 12;
/// Blocks a child may commit before it is killed, at most.
const ROUND_BLOCKS: usize = 60;

/// Commits after what the store holds, telling the number of blocks after each.
#[test]
#[ignore = "run by what_was_acknowledged_survives_a_kill"]
fn child_commits() {
    let store = RocksStore::open(child_dir(), &small()).unwrap();
    let blocks = chain(ROUNDS * ROUND_BLOCKS as u64);
    let mut out = std::io::stdout().lock();
    let held = assert_whole_prefix(&store, &blocks);
    for (i, commit) in blocks.iter().enumerate().skip(held) {
        store.commit(commit).unwrap();
        writeln!(out, "held {}", i + 1).unwrap();
        out.flush().unwrap();
    }
    // Everything is committed: wait to be killed.
    std::io::stdin().lines().for_each(drop);
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let dir = TempDir::new().unwrap();
    let blocks = chain(ROUNDS * ROUND_BLOCKS as u64);
    let mut random = StdRng::seed_from_u64(1);
    let mut held = 0;
    for round in 0..ROUNDS {
        let mut child = start_child("crash::child_commits", &dir);
        let acks = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok)
            .filter_map(|line| line.split("held ").nth(1)?.parse::<usize>().ok());
        let mut acks = acks.into_iter();
        let wanted = random.random_range(1..ROUND_BLOCKS / 2);
        let mut acknowledged = acks.by_ref().take(wanted).last().expect("a commit");
        // Anywhere within the next commits, not just after one.
        let deadline = Instant::now() + Duration::from_micros(random.random_range(0..5000));
        while Instant::now() < deadline {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged = acks.last().unwrap_or(acknowledged);

        // The next child opens what this one left, every other time unseen by this process.
        if round % 2 == 0 {
            let store = RocksStore::open(dir.path(), &small()).unwrap();
            held = assert_whole_prefix(&store, &blocks);
            assert!(held >= acknowledged, "{held} held, {acknowledged} promised");
            assert!(held <= acknowledged + 1, "one commit is under way at most");
        } else {
            assert!(acknowledged > held);
            held = acknowledged;
        }
    }
    let store = RocksStore::open(dir.path(), &small()).unwrap();
    assert!(assert_whole_prefix(&store, &blocks) >= held);
}

/// Commits until the file size limit stops it, then checks what it sees.
#[test]
#[ignore = "run by a_failed_write_leaves_nothing"]
fn child_fills_the_disk() {
    let store = RocksStore::open(child_dir(), &small()).unwrap();
    let blocks = chain(200);
    let held = blocks
        .iter()
        .position(|commit| store.commit(commit).is_err())
        .expect("a write fails");
    assert_eq!(assert_whole_prefix(&store, &blocks), held);
    let next: &Commit = &blocks[held + 1];
    assert!(store.commit(next).is_err(), "nothing is written after that");
    assert_eq!(assert_whole_prefix(&store, &blocks), held);
    println!("held {held}");
}

#[test]
fn a_failed_write_leaves_nothing() {
    let dir = TempDir::new().unwrap();
    let exe = std::env::current_exe().unwrap();
    // A file that may not grow fails like a full disk; the signal must be ignored for it.
    let script = "trap '' XFSZ; ulimit -f 200; exec \"$0\" \"$@\"";
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(exe)
        .args(["--exact", "crash::child_fills_the_disk"])
        .args(["--ignored", "--nocapture", "--test-threads=1"])
        .env(CHILD_DIR, dir.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    let held: usize = text
        .lines()
        .find_map(|line| line.split("held ").nth(1)?.parse().ok())
        .expect("a number of blocks");
    assert!(held > 0);

    let blocks = chain(200);
    let store = RocksStore::open(dir.path(), &small()).unwrap();
    assert_eq!(assert_whole_prefix(&store, &blocks), held);
    store.commit(&blocks[held]).unwrap();
    assert_eq!(assert_whole_prefix(&store, &blocks), held + 1);
}
