//! The contract between a guest program and the kernel, declared once: host calls,
//! status codes, well-known slots, and the chain's parameters with their defaults.
//!
//! The kernel, the guest SDK, the transpiler and the reference docs all read these
//! tables; nothing here executes anything.
#![no_std]

mod calls;
mod codes;
mod params;
pub mod slots;

pub use calls::HostCall;
pub use codes::{
    ARRIVING_ITEM, ATTEST_ABSENT, ATTEST_RECORDED, CallStatus, Fault, HashAlgorithm, Kind, Phase,
    SlotItemKind, Status,
};
