//! Running one top-level call: frames, budgets, effects, and the loop that drives them.

mod attest;
mod context;
mod effects;
mod frame;
mod guest_memory;
mod memory;
mod meters;
mod ops;
mod path;
mod pause;
mod run;
mod suspend;
mod table;

pub(crate) use attest::{ATTESTATION_LEN_MAX, Cursor, Obligation, Producer, Traces};
pub(crate) use context::{BlockInfo, Env, Grant, Invocation};
pub(crate) use effects::{Dispatched, Effects, EmittedItem, Keep, LiveEffects};
pub(crate) use run::{Finished, execute};
pub(crate) use table::Table;

use jar_abi::{Fault, Status};
use jar_cap::StoreError;

use crate::error::KernelError;

/// Why an operation gave no value; the three kinds of trouble are never mixed.
#[derive(Debug)]
pub(crate) enum Stop {
    /// A code for the guest: nothing was done.
    Status(Status),
    /// The frame faults.
    Fault(Fault),
    /// The frame's meters are too low for its next step, of which nothing was done.
    Short(jar_cap::Resource),
    /// The event's budget is gone: the whole call faults.
    Exhausted(Fault),
    /// The node itself is in trouble. Boxed, for every operation's result has room for it.
    Node(Box<KernelError>),
}

impl From<Status> for Stop {
    fn from(status: Status) -> Self {
        Stop::Status(status)
    }
}

impl From<KernelError> for Stop {
    fn from(error: KernelError) -> Self {
        Stop::Node(error.into())
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        KernelError::from(error).into()
    }
}
