//! Typed state: a value in a slot, a map over a nested CNode.

use alloc::vec::Vec;
use core::marker::PhantomData;

use jar_abi::Status;
use parity_scale_codec::{DecodeAll, Encode};

use crate::{CNode, Data, Slot};

/// Stops the call on a status that well-formed state never gives.
#[track_caller]
fn certain<T>(result: Result<T, Status>) -> T {
    match result {
        Ok(value) => value,
        Err(_) => panic!("the state is not of the declared kind"),
    }
}

/// One SCALE value in a slot of the Instance's own table.
pub struct Value<T> {
    slot: u8,
    of: PhantomData<fn() -> T>,
}

impl<T: Encode + DecodeAll> Value<T> {
    /// The value in slot `number`.
    pub const fn new(number: u8) -> Value<T> {
        Value {
            slot: number,
            of: PhantomData,
        }
    }

    fn data(&self) -> Data {
        Data::at(Slot::new(self.slot))
    }

    /// The value; `None` for an empty slot. Faults if the slot holds something else.
    #[track_caller]
    pub fn get(&self) -> Option<T> {
        certain(self.data().decode())
    }

    /// Puts a value in place of what the slot held.
    #[track_caller]
    pub fn set(&self, value: &T) {
        certain(self.data().encode(value));
    }
}

/// SCALE values by key, each a Data in a CNode that stands in a slot of the Instance's
/// own table. A key is SCALE(K), 1 to 32 bytes.
pub struct Map<K, V> {
    slot: u8,
    of: PhantomData<fn(K) -> V>,
}

impl<K: Encode, V: Encode + DecodeAll> Map<K, V> {
    /// The map in slot `number`.
    pub const fn new(number: u8) -> Map<K, V> {
        Map {
            slot: number,
            of: PhantomData,
        }
    }

    fn cnode(&self) -> CNode {
        CNode::at(Slot::new(self.slot))
    }

    fn entry(&self, key: &K) -> Data {
        Data::at(key.using_encoded(|key| self.cnode().child(key)))
    }

    /// The value under `key`. A map whose slot is empty has none.
    #[track_caller]
    pub fn get(&self, key: &K) -> Option<V> {
        certain(self.entry(key).decode())
    }

    /// Puts a value in place of what was under `key`. The CNode is made if there is none.
    #[track_caller]
    pub fn set(&self, key: &K, value: &V) {
        let entry = self.entry(key);
        match entry.encode(value) {
            // No CNode to put it in yet.
            Err(Status::WrongKind) => {
                certain(self.cnode().mint());
                certain(entry.encode(value));
            }
            other => certain(other),
        }
    }

    /// Empties the entry. Answers whether there was one.
    #[track_caller]
    pub fn remove(&self, key: &K) -> bool {
        match self.entry(key).slot().clear() {
            Err(Status::Empty) => false,
            other => certain(other),
        }
    }

    /// The encoded key after `after` in the order of H(key); `None` behind the last.
    #[track_caller]
    pub fn next_key(&self, after: Option<&[u8]>) -> Option<Vec<u8>> {
        match self.cnode().next_key(after) {
            Err(Status::Empty) => None,
            other => certain(other),
        }
    }
}
