//! The node's JSON-RPC: traits of each namespace, the server, the typed client.
//!
//! Types are the kernel's; blocks, events and state are reached through [`Backend`], which the
//! node implements. Nothing here decides about blocks, and nothing here names a database.

pub mod api;
pub mod backend;
pub mod client;
pub mod errors;
pub mod methods;
pub mod params;
pub mod proof;
pub mod server;
pub mod types;

mod hex;
mod openrpc;

pub use backend::Backend;
pub use client::{Client, ClientError, ViewError, connect, view};
pub use errors::{ErrorKind, RpcError, error_table_markdown};
pub use hex::{from_hex, to_hex};
pub use server::{Connection, Limits, Server};
