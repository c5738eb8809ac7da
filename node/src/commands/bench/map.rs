//! A large map, updated at random and hashed.

use std::time::Instant;

use jar_cap::hash::blake2b;
use jar_cap::{CNode, Cap, Data, Key, MemoryStore, NodeStore, persist};

/// Bytes of a value.
const VALUE_BYTES: usize = 32;

/// A map in memory, its records in a store in memory.
pub struct Map {
    store: MemoryStore,
    map: CNode,
    entries: u32,
    updates: u64,
}

impl Map {
    /// Entries of random keys.
    pub fn new(entries: u32) -> anyhow::Result<Map> {
        let mut map = Map {
            store: MemoryStore::new(),
            map: CNode::empty(),
            entries,
            updates: 0,
        };
        for index in 0..entries {
            map.map.set(&map.store, &key(index), Some(value(0)))?;
        }
        map.commit()?;
        Ok(map)
    }

    /// Updates random entries beside the map as it was, which is dropped in the end, as a block
    /// does; answers nanoseconds of an update up to the root, and of its part of the commit.
    pub fn update(&mut self, count: u32) -> anyhow::Result<(f64, f64)> {
        let writes: Vec<(Key, Cap)> = (0..count)
            .map(|_| {
                self.updates += 1;
                let random = blake2b(&[&self.updates.to_le_bytes()]);
                let index = u32::from_le_bytes([random[0], random[1], random[2], random[3]]);
                (key(index % self.entries), value(self.updates))
            })
            .collect();
        let started = Instant::now();
        let before = self.map.clone();
        for (key, value) in writes {
            self.map.set(&self.store, &key, Some(value))?;
        }
        std::hint::black_box(self.map.root());
        drop(before);
        let update = started.elapsed().as_nanos() as f64;
        let started = Instant::now();
        self.commit()?;
        let commit = started.elapsed().as_nanos() as f64;
        Ok((update / f64::from(count), commit / f64::from(count)))
    }

    fn commit(&mut self) -> anyhow::Result<()> {
        let mut records = Vec::new();
        let map = Cap::CNode(self.map.clone());
        persist(&map, self.store.number(), &mut |id, bytes| {
            records.push((id, bytes));
        })?;
        for (id, bytes) in records {
            self.store.insert(id, bytes);
        }
        Ok(())
    }
}

/// A key of 32 bytes.
pub fn key(index: u32) -> Key {
    Key::from(blake2b(&[&index.to_le_bytes()]))
}

fn value(number: u64) -> Cap {
    let mut bytes = [0; VALUE_BYTES];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    Cap::Data(Data::new(&bytes))
}
