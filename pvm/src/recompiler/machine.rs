//! A run of translated code.

use std::sync::Arc;

use jar_isa::{Instruction, Opcode};

use super::code::{Guest, RecompiledCode};
use super::routines::{
    Context, EXIT_CALL, EXIT_FAULT, EXIT_LONE_TRAP, EXIT_OFF_TABLE, EXIT_OUT_OF_GAS, Left,
};
use super::window::{Trouble, Verdict, WindowMemory, refused};
use crate::engine::{Exit, Machine};
use crate::error::{AccessError, MemoryError, PageError};
use crate::interpreter::{InterpreterCode, InterpreterMachine};
use crate::map::Access;
use crate::{HALT_ADDRESS, PAGE_SIZE, REGISTERS};

/// The recompiler's machine. Where the system runs out of what windows need, it
/// goes on in the interpreter, with the same results.
pub(super) struct RecompiledMachine {
    code: Arc<RecompiledCode>,
    core: Core,
}

enum Core {
    Native(Native),
    Interpreted(Box<InterpreterMachine>),
}

/// At an instruction.
#[derive(Clone, Copy)]
struct At {
    pc: u32,
    /// Its block is paid.
    charged: bool,
}

/// Where the next run goes on.
#[derive(Clone, Copy)]
enum Position {
    At(At),
    /// Behind the host call that ends at the context's site.
    Called,
}

/// A new machine's position.
const START: Position = Position::At(At {
    pc: 0,
    charged: false,
});

struct Native {
    guest: Guest,
    position: Position,
    memory: Box<WindowMemory>,
}

/// How a native run ended.
enum Stop {
    Exit(Exit),
    Trouble(Trouble),
}

impl RecompiledMachine {
    pub fn new(code: Arc<RecompiledCode>, memory: WindowMemory) -> Self {
        let mut native = Native {
            guest: code.guest(&memory),
            position: START,
            memory: Box::new(memory),
        };
        // Whatever machine had the window before.
        *native.context_mut() = Context::default();
        RecompiledMachine {
            code,
            core: Core::Native(native),
        }
    }

    /// All exits but host calls that come at once.
    #[cold]
    #[inline(never)]
    fn stopped(&mut self, left: Left) -> Result<Exit, PageError> {
        let stop = match &mut self.core {
            Core::Native(native) => native.leave(&self.code, left),
            Core::Interpreted(machine) => return machine.run(),
        };
        self.stop(stop)
    }

    fn stop(&mut self, stop: Stop) -> Result<Exit, PageError> {
        match stop {
            Stop::Exit(exit) => Ok(exit),
            Stop::Trouble(Trouble::Source(error)) => Err(error),
            Stop::Trouble(Trouble::Exhausted) => self.interpret().run(),
        }
    }

    /// Runs from an instruction, or in a thread that ran something else.
    #[cold]
    #[inline(never)]
    fn run_anew(&mut self) -> Result<Exit, PageError> {
        let native = match &mut self.core {
            Core::Native(native) => native,
            Core::Interpreted(machine) => return machine.run(),
        };
        native.memory.check_process()?;
        native.memory.note_run();
        if let Position::At(At { pc, charged }) = native.position
            && let Err(stop) = native.start(&self.code, pc, charged)
        {
            return self.stop(stop);
        }
        let left = self.code.enter(&native.guest);
        match left.exit {
            EXIT_CALL => {
                native.position = Position::Called;
                Ok(Exit::HostCall(left.value))
            }
            _ => self.stopped(left),
        }
    }

    /// What the host asked of a window, or of the interpreter where the window couldn't.
    fn or_interpreted(
        &mut self,
        result: Result<(), Trouble>,
        again: impl FnOnce(&mut InterpreterMachine) -> Result<(), MemoryError>,
    ) -> Result<(), MemoryError> {
        match result {
            Ok(()) => Ok(()),
            Err(Trouble::Source(error)) => Err(error.into()),
            Err(Trouble::Exhausted) => again(self.interpret()),
        }
    }

    /// Goes on in the interpreter.
    fn interpret(&mut self) -> &mut InterpreterMachine {
        if let Core::Native(native) = &self.core {
            let machine = native.interpreted(&self.code, self.code.interpreted());
            self.core = Core::Interpreted(Box::new(machine));
        }
        match &mut self.core {
            Core::Interpreted(machine) => machine,
            Core::Native(_) => unreachable!("replaced above"),
        }
    }
}

impl Native {
    #[inline(always)]
    fn context(&self) -> &Context {
        // SAFETY: it lies in the page before the window of `memory`, which is always readable
        // and writable and holds nothing else; any bytes are a context. It changes only while
        // `self` is borrowed mutably, which includes every run of the guest.
        unsafe { &*self.guest.context() }
    }

    #[inline(always)]
    fn context_mut(&mut self) -> &mut Context {
        // SAFETY: as for `context`; `self` is borrowed mutably.
        unsafe { &mut *self.guest.context() }
    }

    fn pc(&self, code: &RecompiledCode) -> u32 {
        match self.position {
            Position::At(At { pc, .. }) => pc,
            Position::Called => code.pc_around(self.context().site - 1).unwrap_or(0),
        }
    }

    /// The same state, for the interpreter.
    fn interpreted(
        &self,
        code: &RecompiledCode,
        interpreter: Arc<InterpreterCode>,
    ) -> InterpreterMachine {
        let memory = self.memory.map().clone();
        let mut machine = interpreter.interpreter_machine(memory);
        for (index, value) in self.context().regs.iter().enumerate() {
            machine.set_reg(index, *value);
        }
        machine.set_gas(self.context().gas);
        if let Some(price) = self.memory.write_price() {
            machine.price_writes(price);
        }
        match self.position {
            Position::At(At { pc, charged }) => machine.set_pc(pc, charged),
            Position::Called => machine.set_behind_call(self.pc(code)),
        }
        for (page, bytes, written) in self.memory.contents() {
            machine.restore_page(page, bytes, written);
        }
        machine
    }

    /// Pays for the block of the instruction at `pc`, if need be, and aims at it; or
    /// ends the run at once.
    fn start(&mut self, code: &RecompiledCode, pc: u32, charged: bool) -> Result<(), Stop> {
        let mut gas = self.context().gas;
        if !charged {
            let cost = code.cost_around(pc).unwrap_or(code.lone_trap_cost());
            self.position = Position::At(At { pc, charged });
            gas = (gas.checked_sub(cost.into())).ok_or(Stop::Exit(Exit::OutOfGas))?;
            self.context_mut().gas = gas;
        }
        self.position = Position::At(At { pc, charged: true });
        if code.program.opcode_at(i64::from(pc)) == Opcode::Trap {
            return Err(Stop::Exit(Exit::Panic));
        }
        let (unit, gas) = match gas.checked_sub(code.unit.ahead(pc)) {
            Some(gas) => (&code.unit, gas),
            None => match code.exact() {
                Some(unit) => (unit, gas),
                None => return Err(Stop::Trouble(Trouble::Exhausted)),
            },
        };
        let entry = unit.entry(pc).ok_or(Stop::Exit(Exit::Panic))?;
        let context = self.context_mut();
        (context.site, context.gas) = (entry, gas);
        Ok(())
    }

    /// What `exit` comes to; runs on where it is none.
    fn leave(&mut self, code: &RecompiledCode, mut left: Left) -> Stop {
        loop {
            let on = match self.left(code, left) {
                Ok(position) => position,
                Err(stop) => return stop,
            };
            if let Err(stop) = self.start(code, on.pc, on.charged) {
                return stop;
            }
            left = code.enter(&self.guest);
        }
    }

    /// Where to go on behind `exit`, or what it comes to.
    fn left(&mut self, code: &RecompiledCode, Left { exit, value }: Left) -> Result<At, Stop> {
        if exit == EXIT_CALL {
            self.position = Position::Called;
            return Err(Stop::Exit(Exit::HostCall(value)));
        }
        let back = if exit == EXIT_FAULT { 0 } else { 1 };
        let site = self.context().site - back;
        let unit = code.unit_of(site);
        let pc = unit.pc_around(site).unwrap_or(0);
        let held = match exit {
            EXIT_OUT_OF_GAS => code.cost_around(pc).map_or(0, u64::from) + unit.ahead(pc),
            EXIT_LONE_TRAP => unit.before(pc),
            _ => unit.ahead(pc),
        };
        let context = self.context_mut();
        context.gas = context.gas.wrapping_add(held);
        let charged = !matches!(exit, EXIT_OUT_OF_GAS | EXIT_LONE_TRAP);
        self.position = Position::At(At { pc, charged });
        let exit = match exit {
            // From the instruction's start: its address is formed again.
            EXIT_FAULT => match self.fault(code, pc).map_err(Stop::Trouble)? {
                Verdict::Granted => return Ok(At { pc, charged }),
                Verdict::Panic => Exit::Panic,
                Verdict::PageFault(page) => Exit::PageFault(page),
                Verdict::Unpaid(price) => Exit::PagePrice(price),
            },
            // There may be enough for this block, if not for all that it pays for.
            EXIT_OUT_OF_GAS | EXIT_LONE_TRAP => return Ok(At { pc, charged }),
            EXIT_OFF_TABLE if value == HALT_VALUE => Exit::Halt,
            _ => Exit::Panic,
        };
        Err(Stop::Exit(exit))
    }

    /// Judges the access of the instruction at `pc`.
    fn fault(&mut self, code: &RecompiledCode, pc: u32) -> Result<Verdict, Trouble> {
        let instruction = code.program.instruction_at(pc);
        let touched = accessed(&instruction, &self.context().regs);
        let Some((address, len, access)) = touched else {
            let error = format!("{} at {pc} touched memory", instruction.opcode);
            return Err(PageError::new(error).into());
        };
        let mut gas = self.context().gas;
        let verdict = self.memory.judge(address, len, access, &mut gas);
        self.context_mut().gas = gas;
        verdict
    }
}

/// Cold, so that the way to a native machine's registers runs straight on.
#[cold]
fn interpreted_regs(machine: &InterpreterMachine) -> &[u64; REGISTERS] {
    machine.regs()
}

#[cold]
fn interpreted_regs_mut(machine: &mut InterpreterMachine) -> &mut [u64; REGISTERS] {
    machine.regs_mut()
}

/// The halt address as [`EXIT_OFF_TABLE`] gives it.
const HALT_VALUE: u64 = ((HALT_ADDRESS - 2) / 2) as u64;

/// The address, length and right that a load or store needs.
fn accessed(instruction: &Instruction, regs: &[u64; REGISTERS]) -> Option<(u32, u32, Access)> {
    use Opcode::*;
    let Instruction {
        opcode, ra, rb, x, ..
    } = *instruction;
    let len = match opcode {
        LoadU8 | LoadI8 | LoadIndU8 | LoadIndI8 => 1,
        StoreImmU8 | StoreU8 | StoreImmIndU8 | StoreIndU8 => 1,
        LoadU16 | LoadI16 | LoadIndU16 | LoadIndI16 => 2,
        StoreImmU16 | StoreU16 | StoreImmIndU16 | StoreIndU16 => 2,
        LoadU32 | LoadI32 | LoadIndU32 | LoadIndI32 => 4,
        StoreImmU32 | StoreU32 | StoreImmIndU32 | StoreIndU32 => 4,
        LoadU64 | LoadIndU64 => 8,
        StoreImmU64 | StoreU64 | StoreImmIndU64 | StoreIndU64 => 8,
        _ => return None,
    };
    let base = match opcode.format() {
        jar_isa::Format::RII => regs[usize::from(ra)],
        jar_isa::Format::RRI => regs[usize::from(rb)],
        _ => 0,
    };
    let access = match opcode.cost().units.store {
        0 => Access::Read,
        _ => Access::ReadWrite,
    };
    Some((base.wrapping_add(x) as u32, len, access))
}

impl Machine for RecompiledMachine {
    fn regs(&self) -> &[u64; REGISTERS] {
        match &self.core {
            Core::Native(native) => &native.context().regs,
            Core::Interpreted(machine) => interpreted_regs(machine),
        }
    }

    fn regs_mut(&mut self) -> &mut [u64; REGISTERS] {
        match &mut self.core {
            Core::Native(native) => &mut native.context_mut().regs,
            Core::Interpreted(machine) => interpreted_regs_mut(machine),
        }
    }

    fn pc(&self) -> u32 {
        match &self.core {
            Core::Native(native) => native.pc(&self.code),
            Core::Interpreted(machine) => machine.pc(),
        }
    }

    fn set_pc(&mut self, pc: u32, charged: bool) {
        match &mut self.core {
            Core::Native(native) => native.position = Position::At(At { pc, charged }),
            Core::Interpreted(machine) => machine.set_pc(pc, charged),
        }
    }

    fn reset(&mut self) -> bool {
        let Core::Native(native) = &mut self.core else {
            // There may be a window again.
            return false;
        };
        native.position = START;
        *native.context_mut() = Context::default();
        native.memory.reset()
    }

    fn gas(&self) -> u64 {
        match &self.core {
            Core::Native(native) => native.context().gas,
            Core::Interpreted(machine) => machine.gas(),
        }
    }

    fn set_gas(&mut self, gas: u64) {
        match &mut self.core {
            Core::Native(native) => native.context_mut().gas = gas,
            Core::Interpreted(machine) => machine.set_gas(gas),
        }
    }

    fn run(&mut self) -> Result<Exit, PageError> {
        // What happens most, with as little as possible around it.
        if let Core::Native(native) = &self.core
            && matches!(native.position, Position::Called)
            && native.guest.is_entered()
        {
            native.memory.note_run();
            let left = self.code.resume(&native.guest);
            return match left.exit {
                EXIT_CALL => Ok(Exit::HostCall(left.value)),
                _ => self.stopped(left),
            };
        }
        self.run_anew()
    }

    fn check(&self, addr: u32, len: u32, access: Access) -> Result<(), AccessError> {
        match &self.core {
            Core::Native(native) => native.memory.check(addr, len, access),
            Core::Interpreted(machine) => machine.check(addr, len, access),
        }
    }

    fn price_writes(&mut self, price: u64) {
        let result = match &mut self.core {
            Core::Native(native) => native.memory.price_writes(price),
            Core::Interpreted(machine) => return machine.price_writes(price),
        };
        if result.is_err() {
            self.interpret().price_writes(price);
        }
    }

    fn page_price(&self, addr: u32, len: u32, access: Access) -> u64 {
        match &self.core {
            Core::Native(native) => native.memory.page_price(addr, len, access),
            Core::Interpreted(machine) => machine.page_price(addr, len, access),
        }
    }

    fn touch(&mut self, addr: u32, len: u32) -> Result<(), MemoryError> {
        let result = match &mut self.core {
            Core::Native(native) => native.memory.touch_range(addr, len).map_err(refused)?,
            Core::Interpreted(machine) => return machine.touch(addr, len),
        };
        self.or_interpreted(result, |machine| machine.touch(addr, len))
    }

    fn read(&mut self, addr: u32, out: &mut [u8]) -> Result<(), MemoryError> {
        let result = match &mut self.core {
            Core::Native(native) => native.memory.read(addr, out).map_err(refused)?,
            Core::Interpreted(machine) => return machine.read(addr, out),
        };
        self.or_interpreted(result, |machine| machine.read(addr, out))
    }

    fn write(&mut self, addr: u32, bytes: &[u8]) -> Result<(), MemoryError> {
        let result = match &mut self.core {
            Core::Native(native) => native.memory.write(addr, bytes).map_err(refused)?,
            Core::Interpreted(machine) => return machine.write(addr, bytes),
        };
        self.or_interpreted(result, |machine| machine.write(addr, bytes))
    }

    fn written_count(&self) -> u32 {
        match &self.core {
            Core::Native(native) => native.memory.written_count(),
            Core::Interpreted(machine) => machine.written_count(),
        }
    }

    fn written_pages(&self) -> Vec<u32> {
        match &self.core {
            Core::Native(native) => native.memory.written_pages(),
            Core::Interpreted(machine) => machine.written_pages(),
        }
    }

    fn written_since(&self, count: u32) -> Vec<u32> {
        match &self.core {
            Core::Native(native) => native.memory.written_since(count),
            Core::Interpreted(machine) => machine.written_since(count),
        }
    }

    fn page_bytes(&self, page: u32) -> Option<&[u8; PAGE_SIZE as usize]> {
        match &self.core {
            Core::Native(native) => native.memory.page_bytes(page),
            Core::Interpreted(machine) => machine.page_bytes(page),
        }
    }
}
