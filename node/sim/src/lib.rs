//! A seeded simulation of a node: [`jar_driver`] and the kernel over a store in memory, with
//! virtual time, crashes at every kind of moment, and restarts.
//!
//! One validator so far: a network of many is not supported yet. A seed replays exactly.

mod store;
mod world;

pub use store::{CrashAt, CrashStore};
pub use world::{Config, Error, Opener, Report, Simulation, Traffic};
