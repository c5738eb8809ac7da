//! The real binary, through its public doors: command line, JSON-RPC, metrics, signals.

mod bad_input;
mod blocks;
mod contracts;
mod crash;
mod harness;
mod hostile;
mod network;
mod offline;
mod operator;
mod process;
mod proxy;
mod state;
mod subscriptions;
mod sync;
mod tally;
mod transfers;
mod upgrade;
mod validators;
