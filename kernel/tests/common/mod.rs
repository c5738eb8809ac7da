//! What the kernel's tests share: programs, chains, keys.
#![allow(dead_code, unused_imports)]

pub mod asm;
pub mod calls;
pub mod chain;
pub mod counter;
pub mod program;

pub use asm::{A0, A1, Asm};
pub use chain::{Node, Rng, genesis, seed_key, sign};
pub use program::{DATA, PERSIST, Program, RAM, Seal, key, path};
