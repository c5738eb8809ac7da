//! The store of a JAR node on RocksDB.
//!
//! Everything a block changes is one synced write batch over all columns ([`RocksStore`] is a
//! [`jar_kernel::Store`]), so a node killed at any instant restarts at a whole block. What is
//! read is checked: state records by whoever reads them against their id, everything else here
//! by a checksum. A damaged entry is an error that names it, and is never served.

mod batch;
mod columns;
mod error;
mod logs;
mod open;
mod store;

pub use error::Error;
pub use open::{Options, SCHEMA};
pub use store::RocksStore;
