//! A translated program.

use std::sync::{Arc, OnceLock};

use super::Recompiler;
use super::codes::Known;
use super::machine::RecompiledMachine;
use super::routines::{CONTEXT_LEN, Context, EXIT_FAULT, Left};
use super::translate::{STUB_LEN, Translation};
use super::window::WindowMemory;
use crate::engine::{Code, Machine};
use crate::gas::GasModel;
use crate::interpreter::{Interpreter, InterpreterCode};
use crate::map::MemoryMap;
use crate::program::Program;

/// A program as machine code: for each code byte at most some hundred bytes.
pub struct RecompiledCode {
    /// Goes before the code does.
    _known: Known,
    pub(super) program: Arc<Program>,
    model: GasModel,
    pub(super) translation: Translation,
    engine: Recompiler,
    /// For machines that the system denies a window.
    interpreted: OnceLock<Arc<InterpreterCode>>,
}

impl RecompiledCode {
    pub(super) fn new(
        engine: Recompiler,
        program: Arc<Program>,
        model: GasModel,
        translation: Translation,
    ) -> Self {
        let (start, routines) = (translation.executable.start(), &translation.routines);
        let end = start + u64::from(translation.executable.len());
        let exit = start + u64::from(routines.cold[EXIT_FAULT as usize]);
        RecompiledCode {
            _known: Known::new(start, end, exit),
            program,
            model,
            translation,
            engine,
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
        let (start, routines) = (
            self.translation.executable.start(),
            &self.translation.routines,
        );
        Guest {
            window: memory.start(),
            enter: start + u64::from(routines.enter),
            resume: start + u64::from(routines.resume),
        }
    }

    /// Runs `guest`, one of this code's, from its context's `site`.
    #[cold]
    #[inline(never)]
    pub(super) fn enter(&self, guest: &Guest) -> Left {
        super::sys::use_gs_base(guest.window, self.engine.gs_instructions);
        // SAFETY: `guest` is of this code, which `self` keeps.
        unsafe { guest.call(guest.enter) }
    }

    /// As [`Self::enter`], in short. The guest must be the one that this thread ran last:
    /// [`Guest::is_entered`].
    #[inline(always)]
    pub(super) fn resume(&self, guest: &Guest) -> Left {
        // SAFETY: as above; GS is set, as the caller has seen.
        unsafe { guest.call(guest.resume) }
    }
}

/// A window and the ways into code that runs in it.
pub(super) struct Guest {
    /// The host address of guest address 0.
    window: u64,
    /// The routines of these names.
    enter: u64,
    resume: u64,
}

impl Guest {
    /// What a run takes its registers from and leaves them in.
    #[inline(always)]
    pub fn context(&self) -> *mut Context {
        (self.window as usize - CONTEXT_LEN) as *mut Context
    }

    /// Whether GS is this guest's window in this thread.
    #[inline(always)]
    pub fn is_entered(&self) -> bool {
        super::sys::gs_base() == self.window
    }

    /// # Safety
    ///
    /// `routine` is one of `self`, of code that is still there; GS is set, or it is `enter`.
    #[inline(always)]
    unsafe fn call(&self, routine: u64) -> Left {
        // SAFETY: a routine with this signature stands there. It keeps the registers that a
        // caller counts on. Translated code touches its stack frame and, through GS, the
        // context and the window; GS is set by `enter`, or has been since this thread's last
        // run, for nothing else in a Linux process of 64 bits uses it. What it isn't allowed
        // there ends in the signal handler. The context's `site` is an address that `entry`
        // or an exit of this code gave.
        unsafe {
            let routine: unsafe extern "sysv64" fn(u64) -> Left = std::mem::transmute(routine);
            routine(self.window)
        }
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
        match WindowMemory::new(&memory, self.engine.tracked) {
            Some(window) => Box::new(RecompiledMachine::new(self, window)),
            None => self.interpreted().machine(memory),
        }
    }
}
