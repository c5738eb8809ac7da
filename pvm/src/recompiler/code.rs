//! A translated program.

use std::sync::{Arc, OnceLock};

use super::machine::RecompiledMachine;
use super::routines::Context;
use super::signal::Guest;
use super::translate::{STUB_LEN, Translation};
use super::window::WindowMemory;
use crate::engine::{Code, Machine};
use crate::gas::GasModel;
use crate::interpreter::{Interpreter, InterpreterCode};
use crate::map::MemoryMap;
use crate::program::Program;

/// A program as machine code: for each code byte at most some hundred bytes.
pub struct RecompiledCode {
    pub(super) program: Arc<Program>,
    model: GasModel,
    pub(super) translation: Translation,
    gs_instructions: bool,
    /// For machines that the system denies a window.
    interpreted: OnceLock<Arc<InterpreterCode>>,
}

impl RecompiledCode {
    pub(super) fn new(
        program: Arc<Program>,
        model: GasModel,
        gs_instructions: bool,
        translation: Translation,
    ) -> Self {
        RecompiledCode {
            program,
            model,
            translation,
            gs_instructions,
            interpreted: OnceLock::new(),
        }
    }

    /// The machine code's length in bytes.
    pub fn machine_code_len(&self) -> usize {
        self.translation.executable.len() as usize
    }

    pub(super) fn interpreted(&self) -> Arc<InterpreterCode> {
        self.interpreted
            .get_or_init(|| Interpreter.compile(self.program.clone(), self.model))
            .clone()
    }

    /// The cost of the gas block around `pc`; `None` where execution can't flow to.
    pub(super) fn cost_around(&self, pc: u32) -> Option<u32> {
        let translation = &self.translation;
        translation.positions.rank(pc)?;
        let block = translation.blocks.count_to(pc).checked_sub(1)?;
        Some(translation.costs[block as usize])
    }

    pub(super) fn lone_trap_cost(&self) -> u32 {
        self.translation.lone_trap_cost
    }

    /// The native address of the instruction at `pc`, behind the charge of its
    /// block. It must be a step and no trap.
    pub(super) fn entry(&self, pc: u32) -> Option<u64> {
        let translation = &self.translation;
        let index = translation.positions.rank(pc)?;
        let start = translation.offsets[index as usize];
        let charge = match translation.blocks.rank(pc) {
            Some(_) => translation.charge_len,
            None => 0,
        };
        Some(translation.executable.start() + u64::from(start + charge))
    }

    /// The pc of the instruction whose machine code holds the byte at `native`.
    pub(super) fn pc_around(&self, native: u64) -> Option<u32> {
        let translation = &self.translation;
        let offset = native.checked_sub(translation.executable.start())?;
        let offset = u32::try_from(offset).ok()?;
        if offset >= translation.stubs_start {
            let stub = (offset - translation.stubs_start) / STUB_LEN;
            return translation.stub_pcs.get(stub as usize).copied();
        }
        let behind = translation
            .offsets
            .partition_point(|start| *start <= offset);
        translation.positions.select(behind.checked_sub(1)? as u32)
    }

    pub(super) fn guest(&self, memory: &WindowMemory) -> Guest {
        let executable = &self.translation.executable;
        let start = executable.start();
        let fault = self.translation.routines.cold[super::routines::EXIT_FAULT as usize];
        Guest {
            code: (start, start + u64::from(executable.len())),
            window: (memory.start(), memory.start() + WindowMemory::len()),
            exit: start + u64::from(fault),
        }
    }

    /// Runs the guest from `context.site`. `again`: this machine has run before.
    #[inline(always)]
    pub(super) fn run(&self, context: &mut Context, guest: &Guest, again: bool) -> u32 {
        let (window, routines) = (guest.window.0, &self.translation.routines);
        let enter = if again && super::sys::gs_base() == window {
            routines.resume
        } else {
            super::sys::use_gs_base(window, self.gs_instructions);
            routines.enter
        };
        let enter = guest.code.0 + u64::from(enter);
        super::signal::inside(guest, || {
            let exit: u32;
            // SAFETY: the routine stands at this address of executable code that `self`
            // keeps alive; it restores rsp, rbp and rbx, and everything else is given up
            // below. Translated code touches the context, its stack frame and, through
            // GS, the window; GS is set by `enter`, or has been since this thread's last run,
            // for nothing else in a Linux process of 64 bits uses it. What it isn't allowed
            // there ends in the signal handler, which knows this guest. `context.site` is an
            // address that `entry` or an exit of this code gave.
            unsafe {
                std::arch::asm!(
                    "call {enter}",
                    enter = in(reg) enter,
                    inout("rdi") &raw mut *context => _,
                    inout("rsi") window => _,
                    lateout("rax") exit,
                    out("r12") _,
                    out("r13") _,
                    out("r14") _,
                    out("r15") _,
                    clobber_abi("sysv64"),
                );
            }
            exit
        })
    }
}

impl Code for RecompiledCode {
    fn program(&self) -> &Arc<Program> {
        &self.program
    }

    fn block_cost(&self, pc: u32) -> Option<u64> {
        self.cost_around(pc).map(u64::from)
    }

    fn machine(self: Arc<Self>, memory: MemoryMap) -> Box<dyn Machine> {
        match WindowMemory::new(&memory) {
            Some(window) => Box::new(RecompiledMachine::new(self, window)),
            None => self.interpreted().machine(memory),
        }
    }
}
