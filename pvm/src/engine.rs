//! What every engine offers.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::{AccessError, Error, MemoryError, PageError};
use crate::gas::GasModel;
use crate::interpreter::Interpreter;
#[cfg(doc)]
use crate::map::PageSource;
use crate::map::{Access, MemoryMap};
use crate::program::Program;
use crate::{PAGE_SIZE, REGISTERS};

/// Why a run stopped. pc is the causing instruction's in every case but
/// `OutOfGas`, where it is that of the block not entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    /// A jump to [`crate::HALT_ADDRESS`].
    Halt,
    /// A trap, a bad jump, or an access below [`crate::MIN_ADDRESS`].
    Panic,
    /// An access to a page without the right: the first address of that page.
    PageFault(u32),
    /// Less gas remains than the block costs; nothing was charged.
    OutOfGas,
    /// Less gas remains than this price of the pages that a load or store is the first to touch,
    /// or to write; nothing was charged for them. Its block is paid.
    PagePrice(u64),
    /// `ecalli` or `ecall` with this number.
    HostCall(u64),
}

/// Turns programs into runnable code.
pub trait Engine: Send + Sync {
    /// `interpreter` or `recompiler`.
    fn name(&self) -> &'static str;

    /// Decodes or compiles `program`, in time and memory linear in its length.
    fn prepare(&self, program: Arc<Program>, model: GasModel) -> Arc<dyn Code>;
}

/// A program ready to run, shared by its machines.
pub trait Code: Send + Sync {
    /// The program.
    fn program(&self) -> &Arc<Program>;

    /// The cost of the gas block that holds the instruction at `pc`, counted
    /// from the block's start; `None` where execution can't flow to `pc`.
    fn block_cost(&self, pc: u32) -> Option<u64>;

    /// A machine at pc 0 with registers and gas 0.
    fn machine(self: Arc<Self>, memory: MemoryMap) -> Box<dyn Machine>;
}

/// One run of a program: registers, pc, gas, memory.
///
/// Every exit can be resumed with [`Machine::run`]: after `HostCall` behind the
/// call, else at the same instruction, whose block isn't charged twice.
pub trait Machine: Send {
    /// φ0..φ12.
    fn regs(&self) -> &[u64; REGISTERS];

    /// φ0..φ12, to change.
    fn regs_mut(&mut self) -> &mut [u64; REGISTERS];

    /// Sets φ`index`. Panics if `index` is over 12.
    fn set_reg(&mut self, index: usize, value: u64) {
        self.regs_mut()[index] = value;
    }

    /// The address of the current instruction.
    fn pc(&self) -> u32;

    /// Continues at `pc` (any value; what isn't an instruction traps).
    /// `charged` says that the block's gas has been paid already, as when a
    /// run is resumed inside a block.
    fn set_pc(&mut self, pc: u32, charged: bool);

    /// Back to how [`Code::machine`] made it, with the same memory as at first. `false` where a
    /// new machine is the better way: then nothing is promised of this one but memory safety.
    fn reset(&mut self) -> bool;

    /// Gas left.
    fn gas(&self) -> u64;

    /// Sets the gas left.
    fn set_gas(&mut self, gas: u64);

    /// Runs until an exit. After a [`PageError`] nothing is promised but memory safety.
    fn run(&mut self) -> Result<Exit, PageError>;

    /// Whether `addr..addr + len` lies in pages with the right `access`; an
    /// empty range always does.
    fn check(&self, addr: u32, len: u32, access: Access) -> Result<(), AccessError>;

    /// From now on the first write of each page costs gas, taken when it happens; pages of eager
    /// regions and those that are among the written ones are free.
    fn price_writes(&mut self, price: u64);

    /// What an access to `addr..addr + len` costs besides: the prices of pages that were not
    /// touched yet ([`PageSource::page_price`]) and of those that were not written yet
    /// ([`Machine::price_writes`]). A guest's access takes it from the gas; a host, whose
    /// [`Machine::touch`], [`Machine::read`] and [`Machine::write`] take none, pays it before.
    fn page_price(&self, addr: u32, len: u32, access: Access) -> u64;

    /// Touches all pages of `addr..addr + len`, if the guest may read them.
    fn touch(&mut self, addr: u32, len: u32) -> Result<(), MemoryError>;

    /// Reads `out.len()` bytes at `addr` for the host, if the guest may.
    fn read(&mut self, addr: u32, out: &mut [u8]) -> Result<(), MemoryError>;

    /// Writes `bytes` at `addr` for the host, if the guest may; the pages count as written.
    fn write(&mut self, addr: u32, bytes: &[u8]) -> Result<(), MemoryError>;

    /// How many pages [`Machine::written_pages`] has; no more work behind a host call than a
    /// system call.
    fn written_count(&self) -> u32;

    /// Numbers (address / 4096) of the pages written by completed stores or
    /// [`Machine::write`], sorted; those of eager regions left out.
    fn written_pages(&self) -> Vec<u32>;

    /// Pages that were written since there were `count` of them, behind [`Machine::price_writes`];
    /// in no order.
    fn written_since(&self, count: u32) -> Vec<u32>;

    /// The content of a page that has been touched. A page that still is as it was
    /// at first may count as untouched.
    fn page_bytes(&self, page: u32) -> Option<&[u8; PAGE_SIZE as usize]>;
}

/// The choice of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EngineKind {
    /// The recompiler where the platform has it, else the interpreter.
    #[default]
    Auto,
    /// Portable.
    Interpreter,
    /// To machine code.
    Recompiler,
}

impl FromStr for EngineKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "auto" => Ok(EngineKind::Auto),
            "interpreter" => Ok(EngineKind::Interpreter),
            "recompiler" => Ok(EngineKind::Recompiler),
            _ => Err(Error::UnknownEngine(name.chars().take(32).collect())),
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EngineKind::Auto => "auto",
            EngineKind::Interpreter => "interpreter",
            EngineKind::Recompiler => "recompiler",
        })
    }
}

/// The engine of the kind asked for.
pub fn engine(kind: EngineKind) -> Result<Arc<dyn Engine>, Error> {
    match kind {
        EngineKind::Auto => Ok(recompiler().unwrap_or_else(|| Arc::new(Interpreter))),
        EngineKind::Interpreter => Ok(Arc::new(Interpreter)),
        EngineKind::Recompiler => recompiler().ok_or(Error::EngineNotSupported("recompiler")),
    }
}

/// The recompiler, where this platform has what it needs.
fn recompiler() -> Option<Arc<dyn Engine>> {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    return crate::recompiler::Recompiler::detect().map(|engine| Arc::new(engine) as _);
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
    None
}
