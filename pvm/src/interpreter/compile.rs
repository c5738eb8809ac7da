//! A program as an array of operations with costs and resolved jumps.

use std::sync::Arc;

use jar_isa::{Format, Instruction, Opcode};

use crate::gas::{BlockMeter, GasModel};
use crate::positions::Positions;
use crate::program::Program;
use crate::walk::Walk;

/// In place of an operation's index: the jump panics.
pub(super) const NO_TARGET: u32 = u32::MAX;

/// An instruction in 16 bytes.
pub(super) struct Op {
    pub opcode: Opcode,
    pub ra: u8,
    pub rb: u8,
    pub rd: u8,
    /// νX before its sign extension, the low half of 8 bytes, or a jump's
    /// operation index.
    pub x: u32,
    /// νY before its sign extension, the high half of νX, or a jump's operation index.
    pub y: u32,
    /// Where a gas block starts: its cost. Else the index of its start, marked
    /// by [`INSIDE`].
    block: u32,
}

const INSIDE: u32 = 1 << 31;

impl Op {
    fn new(instruction: &Instruction) -> Op {
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
            opcode,
            ra,
            rb,
            rd,
            x: x as u32,
            y: y as u32,
            block: 0,
        }
    }

    /// The cost of the gas block that starts here.
    #[inline(always)]
    pub fn cost(&self) -> u32 {
        debug_assert!(self.block & INSIDE == 0);
        self.block
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
        let mut meter = BlockMeter::new(&listed, model);
        let (mut block, mut at_start) = (0, true);
        for step in Walk::new(&listed) {
            let index = positions.push(step.pc);
            if at_start {
                block = index;
            }
            let mut op = Op::new(&step.instruction);
            op.block = INSIDE | block;
            ops.push(op);
            pcs.push(step.pc);
            meter.step(&step);
            at_start = step.ends_block();
            if at_start {
                ops[block as usize].block = meter.finish();
            }
        }
        let lone_trap_cost = meter.lone_trap();
        let jumps = Vec::new();
        let mut code = InterpreterCode {
            program,
            ops,
            pcs,
            positions,
            jumps,
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
            let (op, pc) = (&self.ops[index], i64::from(self.pcs[index]));
            match op.opcode.format() {
                Format::O | Format::RRO => {
                    self.ops[index].x = self.target(pc + op.x() as i64);
                }
                Format::RIO => self.ops[index].y = self.target(pc + op.y() as i64),
                _ => {}
            }
        }
        let table = self.program.jump_table();
        self.jumps = table.iter().map(|pc| self.target(i64::from(*pc))).collect();
    }

    /// The cost of the gas block that holds operation `index`.
    pub(super) fn cost_around(&self, index: u32) -> u32 {
        match self.ops[index as usize].block {
            inside if inside & INSIDE != 0 => self.ops[(inside & !INSIDE) as usize].block,
            cost => cost,
        }
    }
}
