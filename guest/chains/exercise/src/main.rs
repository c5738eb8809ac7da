//! Not a chain to run: ordinary Rust code as Views, whose answers the transpiler's tests
//! compare with the same code on the host.
#![cfg_attr(target_arch = "riscv64", no_std, no_main)]

extern crate alloc;

mod work;

#[jar_guest::chain]
mod exercise {
    use alloc::string::String;
    use alloc::vec::Vec;

    use crate::work;

    #[genesis]
    fn init() {}

    #[view]
    fn author(_slot: u64) -> Option<[u8; 32]> {
        None
    }

    #[view]
    fn sort(words: Vec<u32>) -> Vec<u32> {
        work::sort(words)
    }

    #[view]
    fn wide(a: u128, b: u128) -> Vec<u128> {
        work::wide(a, b)
    }

    #[view]
    fn text(words: Vec<u32>) -> String {
        work::text(&words)
    }

    #[view]
    fn count(words: Vec<u32>) -> Vec<(u32, u32)> {
        work::count(&words)
    }

    #[view]
    fn interpret(program: Vec<u8>) -> i64 {
        work::interpret(&program)
    }

    #[view]
    fn shapes(words: Vec<u32>) -> u64 {
        work::shapes(&words)
    }

    #[view]
    fn digest(bytes: Vec<u8>) -> [u64; 4] {
        work::digest(&bytes)
    }
}
