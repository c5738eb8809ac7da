//! A program as an array of operations with resolved jumps, and costs once they are needed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use jar_isa::{Format, Instruction};

use super::code::Code;
use crate::gas::{BlockMeter, GasModel};
use crate::positions::Positions;
use crate::program::Program;
use crate::walk::Walk;

/// In place of an operation's index: the jump panics.
pub(super) const NO_TARGET: u32 = u32::MAX;

/// An instruction in 16 bytes.
pub(super) struct Op {
    /// What runs here: the instruction, or it and the next.
    pub code: Code,
    pub ra: u8,
    pub rb: u8,
    pub rd: u8,
    /// νX before its sign extension, the low half of 8 bytes, or a jump's
    /// operation index.
    pub x: u32,
    /// νY before its sign extension, the high half of νX, or a jump's operation index.
    pub y: u32,
    /// Where a gas block starts: its cost, or [`UNPRICED`]. Else the index of its start,
    /// marked by [`INSIDE`]. A cost is the same whoever works it out, so no order is needed.
    block: AtomicU32,
}

const INSIDE: u32 = 1 << 31;
/// Over every cost.
pub(super) const UNPRICED: u32 = INSIDE - 1;

impl Op {
    fn new(instruction: &Instruction, block: u32) -> Op {
        let Instruction {
            opcode,
            ra,
            rb,
            rd,
            x,
            y,
        } = *instruction;
        let y = if opcode.format() == Format::RX {
            x >> 32
        } else {
            y
        };
        Op {
            code: Code::single(opcode),
            ra,
            rb,
            rd,
            x: x as u32,
            y: y as u32,
            block: AtomicU32::new(block),
        }
    }

    /// The cost of the gas block that starts here, if it is known.
    #[inline(always)]
    pub fn cost(&self) -> u32 {
        self.block.load(Ordering::Relaxed)
    }

    /// νX.
    #[inline(always)]
    pub fn x(&self) -> u64 {
        self.x as i32 as i64 as u64
    }

    /// νY.
    #[inline(always)]
    pub fn y(&self) -> u64 {
        self.y as i32 as i64 as u64
    }

    /// νX of 8 bytes.
    #[inline(always)]
    pub fn wide_x(&self) -> u64 {
        u64::from(self.y) << 32 | u64::from(self.x)
    }
}

/// A program prepared for the interpreter: at most 20 bytes per code byte.
pub struct InterpreterCode {
    pub(super) program: Arc<Program>,
    model: GasModel,
    /// One per [`Walk`] step, so the last is a trap.
    pub(super) ops: Vec<Op>,
    pub(super) pcs: Vec<u32>,
    /// From pc to index.
    pub(super) positions: Positions,
    /// The jump table as indices.
    pub(super) jumps: Vec<u32>,
    /// What a trap alone costs: an address no execution flows to.
    pub(super) lone_trap_cost: u32,
}

impl InterpreterCode {
    pub(super) fn new(program: Arc<Program>, model: GasModel) -> Self {
        let starts: u32 = program.bitmask().iter().map(|byte| byte.count_ones()).sum();
        let mut ops: Vec<Op> = Vec::with_capacity(starts as usize + 1);
        let mut pcs = Vec::with_capacity(starts as usize + 1);
        let mut positions = Positions::new(program.code_len());
        let listed = program.clone();
        let (mut block, mut at_start) = (0, true);
        for step in Walk::new(&listed) {
            let index = positions.push(step.pc);
            let op = if at_start {
                block = index;
                Op::new(&step.instruction, UNPRICED)
            } else {
                Op::new(&step.instruction, INSIDE | block)
            };
            if !at_start
                && let Some(before) = ops.last_mut()
                && let Some(pair) = before.code.and(op.code)
            {
                before.code = pair;
            }
            ops.push(op);
            pcs.push(step.pc);
            at_start = step.ends_block();
        }
        let lone_trap_cost = BlockMeter::new(&listed, model).lone_trap();
        let mut code = InterpreterCode {
            program,
            model,
            ops,
            pcs,
            positions,
            jumps: Vec::new(),
            lone_trap_cost,
        };
        code.resolve_jumps();
        code
    }

    /// The operation a jump to `pc` enters.
    fn target(&self, pc: i64) -> u32 {
        let block = u32::try_from(pc)
            .ok()
            .filter(|pc| self.program.is_block_start(*pc));
        block
            .and_then(|pc| self.positions.rank(pc))
            .unwrap_or(NO_TARGET)
    }

    fn resolve_jumps(&mut self) {
        for index in 0..self.ops.len() {
            let (op, pc) = (&self.ops[index], self.pcs[index]);
            match self.program.opcode_at(i64::from(pc)).format() {
                Format::O | Format::RRO => {
                    self.ops[index].x = self.target(i64::from(pc) + op.x() as i64);
                }
                Format::RIO => self.ops[index].y = self.target(i64::from(pc) + op.y() as i64),
                _ => {}
            }
        }
        let table = self.program.jump_table();
        self.jumps = table.iter().map(|pc| self.target(i64::from(*pc))).collect();
    }

    /// The cost of the gas block that holds operation `index`.
    pub(super) fn cost_around(&self, index: u32) -> u32 {
        let start = match self.ops[index as usize].cost() {
            inside if inside & INSIDE != 0 => (inside & !INSIDE) as usize,
            _ => index as usize,
        };
        match self.ops[start].cost() {
            UNPRICED => self.price(start),
            cost => cost,
        }
    }

    /// Works out the cost of the gas block that starts at operation `start`.
    #[cold]
    #[inline(never)]
    pub(super) fn price(&self, start: usize) -> u32 {
        let mut meter = BlockMeter::new(&self.program, self.model);
        let mut steps = Walk::starting_at(&self.program, self.pcs[start]);
        let cost = steps.find_map(|step| meter.step(&step));
        let cost = cost.expect("the last step, a trap, ends its block");
        self.ops[start].block.store(cost, Ordering::Relaxed);
        cost
    }
}
