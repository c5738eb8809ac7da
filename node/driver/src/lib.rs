//! The node's decisions, without I/O: inputs and the time in, effects out.
//!
//! The node's kernel thread and the simulator drive the same [`Driver`]. It knows nothing of
//! sockets, disks or clocks: whoever drives it says what time it is.

mod driver;

pub use driver::{Driver, Effect, Input, Schedule};
