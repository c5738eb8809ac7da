//! What turns a workload into a program of JAR or of PolkaVM.
#![no_std]

#[cfg(target_env = "polkavm")]
mod polkavm;
#[cfg(target_env = "polkavm")]
pub use polkavm::{derive, host};

#[cfg(not(target_env = "polkavm"))]
mod jar;
#[cfg(not(target_env = "polkavm"))]
pub use jar::{Descriptor, host};

/// A program whose one entry is `run`, from a size to a checksum.
#[macro_export]
macro_rules! program {
    ($run:expr) => {
        #[cfg(target_env = "polkavm")]
        #[$crate::derive::polkavm_export(abi = $crate::derive::default_abi)]
        extern "C" fn run(n: u64) -> u64 {
            let run: fn(u64) -> u64 = $run;
            run(n)
        }

        #[cfg(not(target_env = "polkavm"))]
        const _: () = {
            extern "C-unwind" fn run(n: u64, _: u64, _: u64, _: u64) -> u64 {
                let run: fn(u64) -> u64 = $run;
                run(n)
            }

            #[used]
            #[unsafe(link_section = ".jar.endpoints")]
            static ENDPOINT: $crate::Descriptor = $crate::Descriptor::new(run, 0, 0, 0, "run");
        };
    };
}
