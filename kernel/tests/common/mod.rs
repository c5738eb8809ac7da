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
use std::path::PathBuf;

use proptest::test_runner::{Config as ProptestConfig, RngSeed};

/// The committed Image of this name, or the one in the directory that `JAR_IMAGES` names: those
/// that another compiler made.
pub fn image_file(name: &str) -> Vec<u8> {
    let committed = || concat!(env!("CARGO_MANIFEST_DIR"), "/../chain-specs").into();
    let dir: PathBuf = std::env::var_os("JAR_IMAGES").map_or_else(committed, PathBuf::from);
    let path = dir.join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// So many cases, from the same seed in every run; `PROPTEST_RNG_SEED` asks for others.
pub fn seeded(cases: u32) -> ProptestConfig {
    let config = ProptestConfig::with_cases(cases);
    let rng_seed = match config.rng_seed {
        RngSeed::Random => RngSeed::Fixed(1),
        given => given,
    };
    ProptestConfig { rng_seed, ..config }
}
