//! The loop.

use jar_isa::{Opcode, for_each_op};

use super::compile::NO_TARGET;
use super::handlers::{Flow, Frame};
use super::{Hook, InterpreterCode, InterpreterMachine, Traced, architectural};
use crate::engine::Exit;
use crate::error::PageError;

/// What watches a run. The loop is compiled once for each.
pub(super) trait Watch {
    const ACTIVE: bool;
    fn before(&mut self, step: &Traced<'_>);
    fn after(&mut self, step: &Traced<'_>);
}

pub(super) struct Plain;

impl Watch for Plain {
    const ACTIVE: bool = false;
    fn before(&mut self, _: &Traced<'_>) {}
    fn after(&mut self, _: &Traced<'_>) {}
}

pub(super) struct Tracing<'a>(pub &'a mut dyn Hook);

impl Watch for Tracing<'_> {
    const ACTIVE: bool = true;

    fn before(&mut self, step: &Traced<'_>) {
        self.0.before(step);
    }

    fn after(&mut self, step: &Traced<'_>) {
        self.0.after(step);
    }
}

impl InterpreterCode {
    fn traced<'a>(&self, index: usize, frame: &'a Frame<'_>, gas: u64) -> Traced<'a> {
        let pc = self.pcs[index];
        let instruction = self.program.instruction_at(pc);
        Traced {
            pc,
            instruction,
            regs: architectural(frame.regs),
            gas,
        }
    }
}

impl InterpreterMachine {
    pub(super) fn run_with(&mut self, watch: impl Watch) -> Result<Exit, PageError> {
        let Some(index) = self.index else {
            return Ok(self.run_stray());
        };
        // A host call ends no block, so the operation behind it is paid.
        let index = index as usize + usize::from(self.called);
        if !self.charged {
            let cost = u64::from(self.code.cost_around(index as u32));
            if self.gas < cost {
                return Ok(Exit::OutOfGas);
            }
            self.gas -= cost;
            self.charged = true;
        }
        self.run_from(index, watch)
    }

    /// Runs at an address no execution flows to: a trap that is a block of its own.
    fn run_stray(&mut self) -> Exit {
        let cost = if self.charged {
            0
        } else {
            u64::from(self.code.lone_trap_cost)
        };
        if self.gas < cost {
            return Exit::OutOfGas;
        }
        self.gas -= cost;
        self.charged = true;
        Exit::Panic
    }

    /// Runs from operation `index`, whose block is paid.
    fn run_from<W: Watch>(&mut self, mut index: usize, mut watch: W) -> Result<Exit, PageError> {
        let code = &*self.code;
        let ops = code.ops.as_slice();
        let mut gas = self.gas;
        let mut frame = Frame {
            regs: &mut self.regs,
            memory: &mut self.memory,
            jumps: &code.jumps,
            exit: Exit::Panic,
            broken: None,
        };
        // Each arm goes on by itself: a common way out would cost every operation
        // a second branch.
        macro_rules! go_on {
            (next $op:ident $mnemonic:ident) => {{
                if frame.$mnemonic($op).is_err() {
                    break frame.exit;
                }
                if W::ACTIVE {
                    watch.after(&code.traced(index, &frame, gas));
                }
                index += 1;
            }};
            (end $op:ident $mnemonic:ident) => {{
                let target = match frame.$mnemonic($op) {
                    Flow::Fall => index + 1,
                    Flow::Jump(NO_TARGET) => break Exit::Panic,
                    Flow::Jump(target) => target as usize,
                    Flow::Stop => break frame.exit,
                };
                if W::ACTIVE {
                    watch.after(&code.traced(index, &frame, gas));
                }
                index = target;
                let cost = u64::from(ops[target].cost());
                if gas < cost {
                    self.charged = false;
                    break Exit::OutOfGas;
                }
                gas -= cost;
            }};
        }
        // An opcode without a handler doesn't compile.
        macro_rules! run_one {
            ($($number:literal $variant:ident $mnemonic:ident $format:ident $flow:ident
               $operands:ident $latency:ident $(($cycles:literal))? $slots:ident($($count:literal),+)
               $units:ident $semantics:literal;)+) => {{
                let op = &ops[index];
                match op.opcode {
                    $(Opcode::$variant => go_on!($flow op $mnemonic),)+
                }
            }};
        }
        let exit = loop {
            if W::ACTIVE {
                watch.before(&code.traced(index, &frame, gas));
            }
            for_each_op!(run_one);
        };
        let broken = frame.broken.take();
        self.gas = gas;
        self.pc = code.pcs[index];
        self.index = Some(index as u32);
        self.called = matches!(exit, Exit::HostCall(_));
        broken.map_or(Ok(exit), Err)
    }
}
