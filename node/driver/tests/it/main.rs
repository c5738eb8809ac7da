//! The driver through its public door: inputs and time in, effects out.

mod golden;
mod gossip;
mod harness;
mod hostile;
mod limits;
mod ranges;
mod records;
