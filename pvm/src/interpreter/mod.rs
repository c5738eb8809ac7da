//! The portable engine: decodes once into compact operations, then runs them.

mod code;
mod compile;
mod handlers;
mod pairs;
mod run;

use std::sync::Arc;

use jar_isa::Instruction;

use crate::engine::{Code, Engine, Exit, Machine};
use crate::error::{AccessError, MemoryError, PageError};
use crate::gas::GasModel;
use crate::map::{Access, MemoryMap};
use crate::memory::PagedMemory;
use crate::program::Program;
use crate::{PAGE_SIZE, REGISTERS};

pub use compile::InterpreterCode;
use handlers::Core;

/// The portable engine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Interpreter;

impl Interpreter {
    /// As [`Engine::prepare`], with the type kept, for tracing.
    pub fn compile(&self, program: Arc<Program>, model: GasModel) -> Arc<InterpreterCode> {
        Arc::new(InterpreterCode::new(program, model))
    }
}

impl Engine for Interpreter {
    fn name(&self) -> &'static str {
        "interpreter"
    }

    fn prepare(&self, program: Arc<Program>, model: GasModel) -> Arc<dyn Code> {
        self.compile(program, model)
    }
}

impl InterpreterCode {
    /// As [`Code::machine`], with the type kept, for tracing.
    pub fn interpreter_machine(self: Arc<Self>, memory: MemoryMap) -> InterpreterMachine {
        InterpreterMachine {
            code: self,
            core: Core {
                regs: [0; REGISTER_FILE],
                memory: PagedMemory::new(memory),
                broken: None,
                unpaid: None,
            },
            gas: 0,
            stray: 0,
            index: Some(0),
            charged: false,
            called: false,
        }
    }
}

impl Code for InterpreterCode {
    fn program(&self) -> &Arc<Program> {
        &self.program
    }

    fn block_cost(&self, pc: u32) -> Option<u64> {
        self.positions
            .rank(pc)
            .map(|index| u64::from(self.cost_around(index)))
    }

    fn machine(self: Arc<Self>, memory: MemoryMap) -> Box<dyn Machine> {
        Box::new(self.interpreter_machine(memory))
    }
}

/// An instruction about to run, or just run.
pub struct Traced<'a> {
    /// Its address.
    pub pc: u32,
    /// The instruction.
    pub instruction: Instruction,
    /// φ0..φ12.
    pub regs: &'a [u64; REGISTERS],
    /// Gas left; the instruction's block is paid.
    pub gas: u64,
}

/// Sees every instruction of [`InterpreterMachine::run_traced`]; can't change the run.
pub trait Hook {
    /// Before the instruction runs.
    fn before(&mut self, step: &Traced<'_>);

    /// After it has completed, with the registers it left. Not called for an
    /// instruction that ends the run.
    fn after(&mut self, step: &Traced<'_>);
}

/// A register for every number that a byte has, so that no access needs a bounds check.
const REGISTER_FILE: usize = 256;

/// The interpreter's [`Machine`].
pub struct InterpreterMachine {
    code: Arc<InterpreterCode>,
    core: Core,
    gas: u64,
    /// The operation at hand; `None` at an address that execution can't flow to.
    index: Option<u32>,
    /// That address.
    stray: u32,
    /// The current block has been paid.
    charged: bool,
    /// The last exit was a host call: the next run goes on behind it.
    called: bool,
}

fn architectural(regs: &[u64; REGISTER_FILE]) -> &[u64; REGISTERS] {
    match regs.first_chunk() {
        Some(regs) => regs,
        None => unreachable!("the register file holds all registers"),
    }
}

impl InterpreterMachine {
    /// Continues behind the host call at `pc`, whose block is paid.
    pub(crate) fn set_behind_call(&mut self, pc: u32) {
        self.set_pc(pc, true);
        self.called = true;
    }

    /// Puts back a page of another machine with the same memory map.
    pub(crate) fn restore_page(
        &mut self,
        page: u32,
        bytes: &[u8; PAGE_SIZE as usize],
        written: bool,
    ) {
        self.core.memory.restore(page, bytes, written);
    }

    /// As [`Machine::run`], showing each instruction to `hook`. Results are the
    /// same, gas included.
    pub fn run_traced(&mut self, hook: &mut dyn Hook) -> Result<Exit, PageError> {
        let mut watch = run::Tracing {
            hook,
            is_told: false,
        };
        match self.run_with(&mut watch)? {
            Exit::PagePrice(_) => self.run_on(&mut watch),
            exit => Ok(exit),
        }
    }
}

impl Machine for InterpreterMachine {
    fn regs(&self) -> &[u64; REGISTERS] {
        architectural(&self.core.regs)
    }

    fn regs_mut(&mut self) -> &mut [u64; REGISTERS] {
        match self.core.regs.first_chunk_mut() {
            Some(regs) => regs,
            None => unreachable!("the register file holds all registers"),
        }
    }

    fn pc(&self) -> u32 {
        match self.index {
            Some(index) => self.code.pcs[index as usize],
            None => self.stray,
        }
    }

    fn set_pc(&mut self, pc: u32, charged: bool) {
        self.stray = pc;
        self.index = self.code.positions.rank(pc);
        self.charged = charged;
        self.called = false;
    }

    fn reset(&mut self) -> bool {
        *self.regs_mut() = [0; REGISTERS];
        self.core.memory.reset();
        (self.core.broken, self.core.unpaid) = (None, None);
        self.gas = 0;
        self.set_pc(0, false);
        true
    }

    fn gas(&self) -> u64 {
        self.gas
    }

    fn set_gas(&mut self, gas: u64) {
        self.gas = gas;
    }

    fn run(&mut self) -> Result<Exit, PageError> {
        match self.run_with(&mut run::Plain) {
            Ok(Exit::PagePrice(_)) => self.run_on(&mut run::Plain),
            other => other,
        }
    }

    fn check(&self, addr: u32, len: u32, access: Access) -> Result<(), AccessError> {
        self.core.memory.map().check(addr, len, access)
    }

    fn price_writes(&mut self, price: u64) {
        self.core.memory.price_writes(price);
    }

    fn page_price(&self, addr: u32, len: u32, access: Access) -> u64 {
        self.core.memory.page_price(addr, len, access)
    }

    fn touch(&mut self, addr: u32, len: u32) -> Result<(), MemoryError> {
        self.core.memory.touch_range(addr, len)
    }

    fn read(&mut self, addr: u32, out: &mut [u8]) -> Result<(), MemoryError> {
        self.core.memory.read(addr, out)
    }

    fn write(&mut self, addr: u32, bytes: &[u8]) -> Result<(), MemoryError> {
        self.core.memory.write(addr, bytes)
    }

    fn written_count(&self) -> u32 {
        self.core.memory.written_count()
    }

    fn written_pages(&self) -> Vec<u32> {
        self.core.memory.written_pages()
    }

    fn written_since(&self, count: u32) -> Vec<u32> {
        self.core.memory.written_since(count)
    }

    fn page_bytes(&self, page: u32) -> Option<&[u8; PAGE_SIZE as usize]> {
        self.core.memory.page_bytes(page)
    }
}
