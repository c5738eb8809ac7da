//! Capability values of JAR: immutable, content-addressed, cheap to clone.
//!
//! State is made of five kinds of capability ([`Cap`]): [`Data`], [`ImageRef`], [`CNode`],
//! [`Instance`] and a type alone. Each is named by the hash of its content ([`hash`] holds the
//! one table of tags). Values live in memory behind `Arc`, their children are loaded from a
//! [`NodeStore`] on demand, and nothing is hashed before an id is asked for.
//!
//! Nothing here executes programs, does I/O or reads a clock. Values nest and share without
//! bound, so dropping, hashing and persisting never recurse from one capability into another.

mod cap;
mod cnode;
mod codec;
mod data;
mod error;
pub mod hash;
pub mod image;
mod image_ref;
mod instance;
mod key;
mod mark;
mod pages;
mod persist;
pub mod proof;
mod record;
mod resident;
mod shape;
mod store;
mod trie;
pub mod verify;

pub use cap::{Cap, Kind};
pub use cnode::CNode;
pub use codec::decode_canonical;
pub use data::Data;
pub use error::{Error, StoreError};
pub use hash::Hash;
pub use image::Image;
pub use image_ref::ImageRef;
pub use instance::{
    Body, Instance, NativeKind, Paused, Resource, Scratch, Status, Waiting, derive_type,
    genesis_type, native_type, set_image_type, state_root,
};
pub use key::{Key, Path};
pub use pages::PAGE_BYTES;
pub use persist::persist;
pub use record::{Reference, load, references};
pub use resident::resident;
pub use store::{MemoryStore, NodeStore, RecordId, next_store_number};
