//! What every store must do, run over each implementation, and what RocksDB's alone must.

mod crash;
mod damage;
mod fixture;
mod model;
mod open;
mod shared;
