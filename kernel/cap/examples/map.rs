//! Measures a large map: time of updates and lookups, bytes of records an update writes, records
//! a lookup reads. `cargo run --release -p jar-cap --example map -- [entries]`

use std::cell::Cell;
use std::time::{Duration, Instant};

use jar_cap::hash::blake2b;
use jar_cap::{CNode, Cap, Data, Key, MemoryStore, NodeStore, RecordId, StoreError, load, persist};

/// Updates of one commit: 2,000 transfers of two balances and a nonce.
const COMMIT_UPDATES: u64 = 6_000;
/// Lookups, each in a map of which nothing is loaded.
const LOOKUPS: u64 = 1_000;
/// Updates timed with the root they lead to.
const ROOT_UPDATES: u64 = 10_000;

struct Counting<'s>(&'s MemoryStore, Cell<u64>);

impl NodeStore for Counting<'_> {
    fn get(&self, id: &RecordId) -> Result<Option<Vec<u8>>, StoreError> {
        self.1.set(self.1.get() + 1);
        self.0.get(id)
    }

    fn number(&self) -> u64 {
        self.0.number()
    }
}

fn account(n: u64) -> Key {
    Key::from(blake2b(&[b"account", &n.to_le_bytes()]))
}

/// An account picked by a fixed sequence.
fn pick(n: u64, entries: u64) -> Key {
    account(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % entries)
}

fn balance(n: u64) -> Option<Cap> {
    Some(Cap::Data(Data::new(&n.to_le_bytes())))
}

/// Answers number, bytes and time of the records, without the time to put them in the store.
fn save(map: &CNode, store: &mut MemoryStore) -> Result<(usize, usize, Duration), StoreError> {
    let start = Instant::now();
    let mut records = Vec::new();
    persist(
        &Cap::CNode(map.clone()),
        store.number(),
        &mut |id, bytes| {
            records.push((id, bytes));
        },
    )?;
    let bytes: usize = records.iter().map(|(_, b)| RecordId::LEN + b.len()).sum();
    let count = records.len();
    let taken = start.elapsed();
    records.into_iter().for_each(|(id, b)| store.insert(id, b));
    Ok((count, bytes, taken))
}

fn lap(what: &str, start: &mut Instant) {
    println!("{what}: {:.1?}", start.elapsed());
    *start = Instant::now();
}

fn main() -> Result<(), StoreError> {
    let entries: u64 = match std::env::args().nth(1).map(|n| n.parse()) {
        Some(Ok(entries)) if entries > 0 => entries,
        None => 1_000_000,
        _ => {
            eprintln!("usage: map [entries]");
            std::process::exit(2);
        }
    };
    let mut store = MemoryStore::new();
    let mut map = CNode::empty();
    let mut start = Instant::now();
    for n in 0..entries {
        map.set(&store, &account(n), balance(n))?;
    }
    lap(&format!("put in {entries} entries"), &mut start);
    map.root();
    lap("first root", &mut start);
    let (count, bytes, time) = save(&map, &mut store)?;
    println!("all of it: {count} records, {bytes} bytes, in {time:.1?}");

    start = Instant::now();
    for round in 0..3 {
        for n in 0..ROOT_UPDATES {
            map.set(&store, &pick(n + round * ROOT_UPDATES, entries), balance(n))?;
        }
        lap(
            &format!("{ROOT_UPDATES} random updates in memory"),
            &mut start,
        );
        map.root();
        lap("their root", &mut start);
        let (count, _, time) = save(&map, &mut store)?;
        println!("their {count} records: {time:.1?}");
        start = Instant::now();
    }

    for n in 0..COMMIT_UPDATES {
        map.set(&store, &pick(n + 1_000_000, entries), balance(n))?;
    }
    let (count, bytes, _) = save(&map, &mut store)?;
    println!(
        "{COMMIT_UPDATES} updates in one commit: {count} records, {bytes} bytes with ids, {} a triple",
        3 * bytes as u64 / COMMIT_UPDATES
    );

    let id = RecordId::new(jar_cap::hash::Tag::CNode, map.id());
    drop(map);
    let mut reads = 0;
    let mut times_us: Vec<u128> = Vec::new();
    for n in 0..LOOKUPS {
        let counting = Counting(&store, Cell::new(0));
        let start = Instant::now();
        let Cap::CNode(map) = load(&counting, &id)? else {
            continue;
        };
        map.get(&counting, &pick(n, entries))?;
        times_us.push(start.elapsed().as_micros());
        reads += counting.1.get();
    }
    times_us.sort_unstable();
    println!(
        "a cold lookup reads {:.2} records in {} us (median)",
        reads as f64 / LOOKUPS as f64,
        times_us[times_us.len() / 2],
    );
    Ok(())
}
