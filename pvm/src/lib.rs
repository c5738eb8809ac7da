//! The PVM: a metered 64-bit register machine with paged memory.
//!
//! A [`Program`] is checked structurally, [prepared](Engine::prepare) by an
//! engine for a [`GasModel`], and run in [`Machine`]s. Registers, gas, pc, exit
//! and written pages are the same in every engine, bit for bit. The crate knows
//! nothing of what a host call means.

mod blob;
mod disassemble;
mod engine;
mod error;
mod gas;
mod interpreter;
mod map;
mod memory;
mod pipeline;
mod positions;
mod program;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[allow(unsafe_code)]
mod recompiler;
mod walk;

pub use disassemble::{Disassembly, disassemble};
pub use engine::{Code, Engine, EngineKind, Exit, Machine, engine};
pub use error::{AccessError, Error, MemoryError, PageError};
pub use gas::{BlockMeter, GasModel};
pub use interpreter::{Hook, Interpreter, InterpreterCode, InterpreterMachine, Traced};
pub use jar_isa as isa;
pub use jar_isa::REGISTERS;
pub use map::{Access, Backing, MemoryMap, PageSource, Region};
pub use positions::Positions;
pub use program::{MAX_CODE_LEN, MAX_JUMP_TABLE_LEN, Program};
#[cfg(all(target_arch = "x86_64", target_os = "linux", feature = "inspect"))]
pub use recompiler::{Listing, Made, assembler_case};
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub use recompiler::{RecompiledCode, Recompiler};
pub use walk::{Step, StepKind, Walk};

/// Bytes per memory page.
pub const PAGE_SIZE: u32 = 4096;
/// A `jump_ind` to this address halts.
pub const HALT_ADDRESS: u32 = 0xFFFF_0000;
/// Memory below this address is never mapped; touching it is a panic.
pub const MIN_ADDRESS: u32 = 0x1_0000;
