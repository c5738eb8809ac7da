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

/// Machine code that the signal handler knows.
pub(super) struct Unit {
    /// Goes before the code does.
    _known: Known,
    pub translation: Translation,
}

impl Unit {
    pub fn new(translation: Translation) -> Unit {
        let (start, routines) = (translation.executable.start(), &translation.routines);
        let end = start + u64::from(translation.executable.len());
        let exit = start + u64::from(routines.cold[EXIT_FAULT as usize]);
        Unit {
            _known: Known::new(start, end, exit),
            translation,
        }
    }

    /// The number of the gas block around `pc`; `None` where execution can't flow to.
    fn block_around(&self, pc: u32) -> Option<usize> {
        self.translation.positions.rank(pc)?;
        let block = self.translation.blocks.count_to(pc).checked_sub(1)?;
        Some(block as usize)
    }

    /// What the block around `pc` has paid for later ones, behind its own charge.
    pub fn ahead(&self, pc: u32) -> u64 {
        let block = self.block_around(pc);
        block.map_or(0, |block| self.translation.prepaid.ahead(block).into())
    }

    /// What has been paid of the charge of the block at `pc` when it is run into.
    pub fn before(&self, pc: u32) -> u64 {
        let block = self.block_around(pc);
        block.map_or(0, |block| self.translation.prepaid.before(block).into())
    }

    /// The native address of the instruction at `pc`, behind the charge of its
    /// block. It must be a step and no trap.
    pub fn entry(&self, pc: u32) -> Option<u64> {
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
    pub fn pc_around(&self, native: u64) -> Option<u32> {
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

    /// Whether `native` is an address in its code.
    fn holds(&self, native: u64) -> bool {
        let executable = &self.translation.executable;
        let offset = native.wrapping_sub(executable.start());
        offset < u64::from(executable.len())
    }
}

/// A program as machine code: for each code byte at most some hundred bytes.
pub struct RecompiledCode {
    pub(super) program: Arc<Program>,
    model: GasModel,
    pub(super) unit: Unit,
    /// Where each block pays for itself alone: for who has less gas than `unit` asks for.
    exact: OnceLock<Option<Unit>>,
    engine: Recompiler,
    /// For machines that the system denies a window.
    interpreted: OnceLock<Arc<InterpreterCode>>,
}

impl RecompiledCode {
    pub(super) fn new(
        engine: Recompiler,
        program: Arc<Program>,
        model: GasModel,
        unit: Unit,
    ) -> Self {
        RecompiledCode {
            program,
            model,
            unit,
            exact: OnceLock::new(),
            engine,
            interpreted: OnceLock::new(),
        }
    }

    /// The machine code's length in bytes.
    pub fn machine_code_len(&self) -> usize {
        self.unit.translation.executable.len() as usize
    }

    pub(super) fn interpreted(&self) -> Arc<InterpreterCode> {
        self.interpreted
            .get_or_init(|| Interpreter.compile(self.program.clone(), self.model))
            .clone()
    }

    /// The code in which nothing is prepaid; `None` when the system gives no memory for it.
    pub(super) fn exact(&self) -> Option<&Unit> {
        let translate = || self.engine.unit(&self.program, self.model, false);
        self.exact.get_or_init(translate).as_ref()
    }

    /// The unit whose code holds `native`.
    pub(super) fn unit_of(&self, native: u64) -> &Unit {
        let exact = self.exact.get().and_then(Option::as_ref);
        let exact = exact.filter(|unit| unit.holds(native));
        exact.unwrap_or(&self.unit)
    }

    /// The cost of the gas block around `pc`; `None` where execution can't flow to.
    pub(super) fn cost_around(&self, pc: u32) -> Option<u32> {
        let block = self.unit.block_around(pc)?;
        Some(self.unit.translation.costs[block])
    }

    pub(super) fn lone_trap_cost(&self) -> u32 {
        self.unit.translation.lone_trap_cost
    }

    /// The pc of the instruction whose machine code holds the byte at `native`.
    pub(super) fn pc_around(&self, native: u64) -> Option<u32> {
        self.unit_of(native).pc_around(native)
    }

    pub(super) fn guest(&self, memory: &WindowMemory) -> Guest {
        let translation = &self.unit.translation;
        let (start, routines) = (translation.executable.start(), &translation.routines);
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
