//! The kernel of JAR: calls, the host-call interface, blocks, the Dispatch pipeline.
//!
//! It knows no coin and no consensus, and is free of I/O, clocks and randomness: all of
//! that comes through [`Hardware`]. Three kinds of trouble are never mixed: a status code for
//! the guest, a fault of the guest, a [`KernelError`] of the node.

mod answers;
pub mod block;
mod chain;
mod counting;
mod dispatch;
mod error;
mod exec;
mod genesis;
mod hardware;
mod kernel;
pub mod local;
pub mod memory;
mod natives;
mod params;
mod programs;
mod signatures;
pub mod signer;
mod walk;

pub use answers::{Accepted, Advance, AdvanceError, Advanced, MergedAggregate, Refusal, Verdict};
pub use chain::{Chain, EndpointInfo, ProofStep, ReadError, State, StateProof, ViewOutcome};
pub use error::{KernelError, hex};
pub use hardware::{
    Commit, Emission, EventLocation, Hardware, SignError, SignRequest, Store, StoredHeader, Trace,
    Watermark,
};
pub use jar_cap::image::Role;
pub use kernel::{AGGREGATE_EVENTS_MAX, Kernel, decode_block};
pub use natives::{GENESIS_NATIVES, genesis_table};
pub use params::{Genesis, Params, UnknownParam};
pub use signatures::{SignatureCheck, verify_batch};
pub use walk::InvalidBlock;
