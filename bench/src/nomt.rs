//! `nomt`: a map with a Merkle root, in a file system in memory.

use std::path::Path;
use std::time::Instant;

use nomt::hasher::Blake3Hasher;
use nomt::{KeyReadWrite, Nomt, Options, SessionParams};
use tempfile::TempDir;

/// Where a file system in memory is mounted.
const IN_MEMORY: &str = "/dev/shm";
/// Caches hold all of the map, in MiB.
const CACHE_MIB: usize = 4096;
/// Bytes of a value.
const VALUE_BYTES: usize = 32;

/// A database of some entries.
pub struct Map {
    nomt: Nomt<Blake3Hasher>,
    entries: u32,
    random: u64,
    // Dropped after the database.
    _folder: TempDir,
}

type Writes = Vec<([u8; 32], KeyReadWrite)>;

impl Map {
    /// Entries of random keys, committed.
    pub fn new(entries: u32) -> Map {
        let folder = match Path::new(IN_MEMORY).is_dir() {
            true => TempDir::new_in(IN_MEMORY),
            false => TempDir::new(),
        };
        let folder = folder.expect("a folder for the database");
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut options = Options::new();
        options.path(folder.path());
        options.commit_concurrency(cores);
        options.io_workers(cores);
        options.hashtable_buckets(entries.max(1 << 16));
        options.preallocate_ht(false);
        options.page_cache_size(CACHE_MIB);
        options.leaf_cache_size(CACHE_MIB);
        let nomt = Nomt::open(options).expect("the database opens");
        let mut map = Map {
            nomt,
            entries,
            random: 1,
            _folder: folder,
        };
        for first in (0..entries).step_by(1 << 16) {
            let writes = (first..entries.min(first + (1 << 16))).map(|index| (index, 0));
            map.commit(writes.collect());
        }
        map
    }

    /// Writes random entries; answers nanoseconds of a write up to the root, and of its part of
    /// the commit.
    pub fn update(&mut self, count: u32) -> (f64, f64) {
        let writes: Vec<(u32, u64)> = (0..count)
            .map(|_| {
                let random = self.next_random();
                ((random >> 32) as u32 % self.entries, random)
            })
            .collect();
        let (update, commit) = self.commit(writes);
        (update / f64::from(count), commit / f64::from(count))
    }

    /// Writes values to entries by their index. Keys are hashes already, as it asks for.
    fn commit(&mut self, writes: Vec<(u32, u64)>) -> (f64, f64) {
        let mut writes: Writes = writes
            .into_iter()
            .map(|(index, value)| {
                let mut bytes = vec![0; VALUE_BYTES];
                bytes[..8].copy_from_slice(&value.to_le_bytes());
                (key(index), KeyReadWrite::Write(Some(bytes)))
            })
            .collect();
        let started = Instant::now();
        writes.sort_by_key(|(key, _)| *key);
        writes.dedup_by_key(|(key, _)| *key);
        let session = self.nomt.begin_session(SessionParams::default());
        let finished = session.finish(writes).expect("a root");
        std::hint::black_box(finished.root());
        let update = started.elapsed().as_nanos() as f64;
        let started = Instant::now();
        finished.commit(&self.nomt).expect("a commit");
        (update, started.elapsed().as_nanos() as f64)
    }

    /// SplitMix64.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.random)
    }
}

fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A key spread evenly.
fn key(index: u32) -> [u8; 32] {
    let mut key = [0; 32];
    for (part, bytes) in key.chunks_exact_mut(8).enumerate() {
        bytes.copy_from_slice(&mixed(u64::from(index) << 3 | part as u64).to_le_bytes());
    }
    key
}
