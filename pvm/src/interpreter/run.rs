//! The loop.

use jar_isa::for_each_op;

use super::code::Code;
use super::handlers::{Flow, Frame};
use super::pairs::with_pairs;
use super::{Hook, InterpreterCode, InterpreterMachine, Traced, architectural};
use crate::engine::Exit;
use crate::error::PageError;

/// What watches a run. The loop is compiled once for each.
pub(super) trait Watch {
    const ACTIVE: bool;
    fn before(&mut self, step: &Traced<'_>);
    fn after(&mut self, step: &Traced<'_>);
    /// The next operation was told of before.
    fn try_again(&mut self);
}

pub(super) struct Plain;

impl Watch for Plain {
    const ACTIVE: bool = false;
    fn before(&mut self, _: &Traced<'_>) {}
    fn after(&mut self, _: &Traced<'_>) {}
    fn try_again(&mut self) {}
}

pub(super) struct Tracing<'a> {
    pub hook: &'a mut dyn Hook,
    /// The hook was told of the next operation before.
    pub is_told: bool,
}

impl Watch for Tracing<'_> {
    const ACTIVE: bool = true;

    fn before(&mut self, step: &Traced<'_>) {
        if !std::mem::take(&mut self.is_told) {
            self.hook.before(step);
        }
    }

    fn after(&mut self, step: &Traced<'_>) {
        self.hook.after(step);
    }

    fn try_again(&mut self) {
        self.is_told = true;
    }
}

/// There always is a next operation. Not a way out of the loop, so that it keeps no state for it.
#[cold]
fn no_end() -> ! {
    unreachable!("the last operation is a trap, and none before falls behind it")
}

impl InterpreterCode {
    fn traced<'a>(&self, index: usize, frame: &'a Frame<'_>, gas: u64) -> Traced<'a> {
        let pc = self.pcs[index];
        let instruction = self.program.instruction_at(pc);
        Traced {
            pc,
            instruction,
            regs: architectural(&frame.core.regs),
            gas,
        }
    }
}

impl InterpreterMachine {
    #[inline(always)]
    pub(super) fn run_with(&mut self, watch: &mut impl Watch) -> Result<Exit, PageError> {
        let Some(index) = self.index else {
            return Ok(self.run_stray());
        };
        // A host call ends no block, so the operation behind it is paid.
        let index = index as usize + usize::from(self.called);
        if !self.charged && !self.charge(index as u32) {
            return Ok(Exit::OutOfGas);
        }
        self.run_from(index, watch)
    }

    /// Goes on where a run stopped at pages to be paid, as often as there is enough for them.
    #[cold]
    #[inline(never)]
    pub(super) fn run_on(&mut self, watch: &mut impl Watch) -> Result<Exit, PageError> {
        loop {
            if let Some(price) = self.pay_pages()? {
                return Ok(Exit::PagePrice(price));
            }
            watch.try_again();
            match self.run_with(watch)? {
                Exit::PagePrice(_) => {}
                exit => return Ok(exit),
            }
        }
    }

    /// Pays for the pages that the run stopped at; their price, if there is too little.
    fn pay_pages(&mut self) -> Result<Option<u64>, PageError> {
        let Some(unpaid) = self.core.unpaid.take() else {
            return Ok(None);
        };
        let Some(left) = self.gas.checked_sub(unpaid.price) else {
            return Ok(Some(unpaid.price));
        };
        self.gas = left;
        self.core.memory.take_paid(unpaid)?;
        Ok(None)
    }

    /// Pays for the block of operation `index`, if there is enough.
    #[cold]
    #[inline(never)]
    fn charge(&mut self, index: u32) -> bool {
        let cost = u64::from(self.code.cost_around(index));
        self.charged = self.gas >= cost;
        if self.charged {
            self.gas -= cost;
        }
        self.charged
    }

    /// Runs at an address no execution flows to: a trap that is a block of its own.
    #[cold]
    #[inline(never)]
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
    #[inline(always)]
    fn run_from<W: Watch>(&mut self, index: usize, watch: &mut W) -> Result<Exit, PageError> {
        let code = &*self.code;
        let ops = code.ops.as_slice();
        let mut gas = self.gas;
        let mut frame = Frame::new(&mut self.core, &code.jumps);
        let mut rest = ops[index..].iter();
        // Operations taken so far, so the index of the last is one less.
        macro_rules! taken {
            () => {
                ops.len() - rest.len()
            };
        }
        // Each arm goes on by itself: a common way out would cost every operation
        // a second branch.
        macro_rules! go_on {
            (next $op:ident $mnemonic:ident) => {{
                if frame.$mnemonic($op).is_err() {
                    break frame.exit;
                }
                if W::ACTIVE {
                    watch.after(&code.traced(taken!() - 1, &frame, gas));
                }
            }};
            (end $op:ident $mnemonic:ident) => {{
                let target = match frame.$mnemonic($op) {
                    Flow::Fall => rest.as_slice(),
                    Flow::Jump(target) => ops.get(target as usize..).unwrap_or_default(),
                    Flow::Stop => break frame.exit,
                };
                if W::ACTIVE {
                    watch.after(&code.traced(taken!() - 1, &frame, gas));
                }
                let Some(first) = target.first() else {
                    break Exit::Panic;
                };
                let cost = code.cost_of(first, ops.len() - target.len());
                rest = target.iter();
                if gas < u64::from(cost) {
                    self.charged = false;
                    rest.next();
                    break Exit::OutOfGas;
                }
                gas -= u64::from(cost);
            }};
        }
        macro_rules! with_all {
            ($($ops:tt)*) => { with_pairs! { run_one [$($ops)*] } };
        }
        // An opcode without a handler doesn't compile.
        macro_rules! run_one {
            (
                [$($number:literal $variant:ident $mnemonic:ident $format:ident $flow:ident
                   $operands:ident $latency:ident $(($cycles:literal))?
                   $slots:ident($($count:literal),+) $units:ident $semantics:literal;)+]
                [$($pair:ident = $first:ident $do_first:ident,
                   $second:ident $do_second:ident $end:ident;)+]
                [$($four:ident = $front:ident $begin:ident $do_begin:ident $do_next:ident,
                   $back:ident $do_third:ident $do_last:ident $close:ident;)+]
            ) => {{
                let Some(op) = rest.next() else { no_end() };
                if W::ACTIVE {
                    watch.before(&code.traced(taken!() - 1, &frame, gas));
                }
                match if W::ACTIVE { op.code.first() } else { op.code } {
                    $(Code::$variant => go_on!($flow op $mnemonic),)+
                    $(Code::$pair => {
                        go_on!(next op $do_first);
                        let Some(op) = rest.next() else { no_end() };
                        go_on!($end op $do_second);
                    })+
                    $(Code::$four => {
                        go_on!(next op $do_begin);
                        let Some(op) = rest.next() else { no_end() };
                        go_on!(next op $do_next);
                        let Some(op) = rest.next() else { no_end() };
                        go_on!(next op $do_third);
                        let Some(op) = rest.next() else { no_end() };
                        go_on!($close op $do_last);
                    })+
                }
            }};
        }
        let exit = loop {
            for_each_op!(with_all);
        };
        self.stopped(taken!() as u32 - 1, gas, exit)
    }

    /// Keeps where and with how much gas it stopped.
    #[inline(always)]
    fn stopped(&mut self, index: u32, gas: u64, exit: Exit) -> Result<Exit, PageError> {
        self.index = Some(index);
        self.gas = gas;
        self.called = matches!(exit, Exit::HostCall(_));
        match exit {
            Exit::Panic => self.core.broken.take().map_or(Ok(exit), Err),
            _ => Ok(exit),
        }
    }
}
