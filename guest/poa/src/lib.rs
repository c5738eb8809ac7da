//! Proof of authority for chain programs: authors in turn, votes, justification, finality.
//!
//! The rules are pure functions over [`Finality`] and [`Electorate`], the same for a guest,
//! for tests on the host and for the model check. [`Poa`] ties them to a chain's slots and
//! endpoints. The protocol and why it is safe and live: `docs/consensus.md`.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod chain;
mod electorate;
mod error;
mod finality;
#[cfg(test)]
mod model;
mod pool;
mod vote;

pub use chain::{Poa, SetValidators};
pub use electorate::{Electorate, Signers, VALIDATORS_MAX};
pub use error::Error;
pub use finality::{Counted, Finality, RECENT_MAX, RETARGET_BLOCKS, RETARGET_BLOCKS_MAX};
pub use pool::{LINKS_MAX, Plan, Pooled, Renewed};
pub use vote::{Aggregate, Checkpoint, Link, Offence, offence};

pub use jar_guest::{Hash, PublicKey};
