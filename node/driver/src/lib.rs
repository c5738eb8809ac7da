//! The node's decisions, without I/O: inputs and the time in, effects out.
//!
//! The node's services and the simulator drive the same [`Driver`]. It knows nothing of
//! sockets, disks or clocks: whoever drives it says what time it is, does the [`Effect`]s in
//! their order, and gives what came of them back as [`Input`]s.

mod config;
mod driver;
mod io;
pub mod messages;
mod peers;
mod recent;
mod schedule;
pub mod serve;
mod signing;

pub use config::{Config, Limits, SyncMode};
pub use driver::{Driver, PeerInfo, Progress, Stage};
pub use io::{
    Effect, EventOutcome, Gossip, ImportOutcome, InboundId, Input, MessageId, Offence, PeerId,
    RequestFailure, RequestId, Ticket,
};
pub use jar_kernel::Verdict;
pub use messages::{BlockRef, Pivot, Request, Response, Status};
pub use peers::BAN_AT;
pub use schedule::Schedule;
pub use signing::{SigningError, SigningGuard, SigningNews};
