//! Host calls: by `ecall` in a guest, by an in-memory kernel on the host.

#[cfg(not(target_arch = "riscv64"))]
pub mod host;
#[cfg(target_arch = "riscv64")]
mod riscv;

#[cfg(not(target_arch = "riscv64"))]
pub(crate) use host::calls::*;
#[cfg(target_arch = "riscv64")]
pub(crate) use riscv::*;
