//! The SDK for guest programs of JAR.
//!
//! A chain is a module under [`chain`]; its functions become the Image's endpoints:
//!
//! ```
//! #[jar_guest::chain]
//! mod counter {
//!     use jar_guest::Value;
//!     const COUNT: Value<u64> = Value::new(32);
//!
//!     #[genesis]
//!     fn init(start: u64) { COUNT.set(&start); }
//!     #[transact(order = 1)]
//!     fn bump(by: u64) -> Result<u64, u64> {
//!         let count = get().checked_add(by).ok_or(1u64)?;
//!         COUNT.set(&count);
//!         Ok(count)
//!     }
//!     #[view]
//!     fn get() -> u64 { COUNT.get().unwrap_or_default() }
//! }
//! ```
//!
//! Arguments are SCALE in slot 0 (several as a tuple), results are returned there. An
//! `Ok(v)` halts with 0 and leaves SCALE(v); an `Err(e)` halts with the code `e.into()`,
//! which is 1 or more, and rolls nothing back: attest first, then check, then write.
//! [`fault!`] rolls back. Arguments that don't decode halt with [`BAD_ARGUMENTS`].
//!
//! On the host the same items work against an in-memory kernel, [`host`], so that a
//! chain's logic is tested with plain `cargo test`.
#![no_std]

extern crate alloc;

pub mod aggregate;
mod chain;
mod entry;
mod map;
mod meters;
mod path;
mod slot;
mod sys;

#[cfg(target_arch = "riscv64")]
mod runtime;

#[cfg(not(target_arch = "riscv64"))]
pub use sys::host;

pub use chain::{
    BlockInfo, Hash, HashAlgorithm, PublicKey, Scope, attest, block_info, emit, finalize, gas_left,
    hash, score,
};
pub use entry::{BAD_ARGUMENTS, Verdict};
pub use jar_abi::{CallStatus, Kind, SlotItemKind, Status, slots};
pub use jar_guest_macros::chain;
pub use map::{Map, Value};
pub use meters::{Catcher, Rows};
pub use parity_scale_codec::{self as codec, Decode, Encode};
pub use path::Path;
pub use slot::{CNode, Called, Data, Slot};

/// Writes a line to the node's log. Levels: 1 error, 2 warning, 3 info, 4 debug, 5 trace.
pub fn log(level: u64, text: &str) {
    sys::log(level, text.as_bytes());
}

/// Ends the call as a fault: everything it did is rolled back. The place and the code are
/// logged.
#[macro_export]
macro_rules! fault {
    ($code:expr) => {
        $crate::internal::fault($code as u64, file!(), line!())
    };
}

/// What the macros expand to; not for use by hand.
#[doc(hidden)]
pub mod internal {
    pub use crate::entry::{
        Descriptor, arguments, dispatch, dispatch_phases, finish_result, finish_unit, finish_value,
    };
    pub use alloc::boxed::Box;

    /// Reports and traps.
    #[cold]
    #[inline(never)]
    pub fn fault(code: u64, file: &str, line: u32) -> ! {
        crate::entry::report("fault", Some(code), file, line);
        crate::sys::trap()
    }
}
