//! A program as an array of operations with resolved jumps, and costs once they are needed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use jar_isa::{Format, Instruction, Opcode, window};

use super::code::Code;
use crate::gas::{BlockMeter, GasModel};
use crate::pipeline::Operation;
use crate::positions::Positions;
use crate::program::Program;
use crate::walk::{Place, StepKind, Walk};

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
    #[inline(always)]
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

/// What is made while a program is decoded.
struct Decoder {
    ops: Vec<Op>,
    pcs: Vec<u32>,
    positions: Positions,
    /// The operations that jump, but for those through the table.
    jumps: Vec<u32>,
    /// The block's first operation, if it has one.
    block: Option<u32>,
    /// Of this block, the pairs that begin with the last but one operation, and before that.
    pairs: [Option<Code>; 2],
}

impl Decoder {
    /// Joins the operation to come, `code`, with those before it in the block.
    #[inline(always)]
    fn join(&mut self, code: Code) {
        let pair = match self.ops.last_mut() {
            Some(before) => {
                let pair = before.code.and(code);
                before.code = pair.unwrap_or(before.code);
                pair
            }
            None => None,
        };
        let [behind, front] = self.pairs;
        self.pairs = [pair, behind];
        if let (Some(front), Some(back)) = (front, pair)
            && let Some(four) = front.and_pair(back)
            && let [.., first, _, _] = self.ops.as_mut_slice()
        {
            first.code = four;
        }
    }

    /// Appends the instruction at `place`, which starts with `bytes`.
    #[inline(always)]
    fn step(&mut self, bytes: u128, place: &Place) {
        let index = self.positions.push(place.pc);
        let block = match self.block {
            Some(block) => INSIDE | block,
            None => UNPRICED,
        };
        let instruction = Instruction::decode_bytes(bytes, place.skip);
        let (op, opcode) = (Op::new(&instruction, block), instruction.opcode);
        if self.block.is_none() {
            (self.block, self.pairs) = (Some(index), [None; 2]);
        } else {
            self.join(op.code);
        }
        self.ops.push(op);
        self.pcs.push(place.pc);
        if opcode.is_terminator() {
            self.block = None;
            if matches!(opcode.format(), Format::O | Format::RRO | Format::RIO) {
                self.jumps.push(index);
            }
        }
    }
}

impl InterpreterCode {
    pub(super) fn new(program: Arc<Program>, model: GasModel) -> Self {
        let starts: u32 = program.bitmask().iter().map(|byte| byte.count_ones()).sum();
        let mut decoder = Decoder {
            ops: Vec::with_capacity(starts as usize + 1),
            pcs: Vec::with_capacity(starts as usize + 1),
            positions: Positions::new(program.code_len()),
            jumps: Vec::new(),
            block: None,
            pairs: [None; 2],
        };
        let mut walk = Walk::new(&program);
        while let Some(place) = walk.advance() {
            let bytes = match place.kind {
                StepKind::Instruction => window(program.code(), place.pc as usize),
                _ => u128::from(Opcode::Trap as u8),
            };
            decoder.step(bytes, &place);
        }
        let lone_trap_cost = BlockMeter::new(&program, model).lone_trap();
        let Decoder {
            ops,
            pcs,
            positions,
            jumps,
            ..
        } = decoder;
        let mut code = InterpreterCode {
            program,
            model,
            ops,
            pcs,
            positions,
            jumps: Vec::new(),
            lone_trap_cost,
        };
        code.resolve_jumps(&jumps);
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

    fn resolve_jumps(&mut self, jumps: &[u32]) {
        for index in jumps {
            let index = *index as usize;
            let (op, pc) = (&self.ops[index], i64::from(self.pcs[index]));
            match op.code.opcode().format() {
                Format::RIO => self.ops[index].y = self.target(pc + op.y() as i64),
                _ => self.ops[index].x = self.target(pc + op.x() as i64),
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
        self.cost_of(&self.ops[start], start)
    }

    /// The cost of the gas block that starts with `first`, the operation of index `start`.
    #[inline(always)]
    pub(super) fn cost_of(&self, first: &Op, start: usize) -> u32 {
        match first.cost() {
            UNPRICED => self.price(start),
            cost => cost,
        }
    }

    /// Works out the cost of the gas block that starts at operation `start`.
    #[cold]
    #[inline(never)]
    pub(super) fn price(&self, start: usize) -> u32 {
        let mut meter = BlockMeter::new(&self.program, self.model);
        let mut steps = (start..).zip(&self.ops[start..]);
        let cost = steps.find_map(|(index, op)| {
            let registers = [op.ra, op.rb, op.rd];
            let cold = || self.is_cold(index);
            meter.add(Operation::new(op.code.opcode(), registers, cold))
        });
        let cost = cost.expect("the last operation, a trap, ends its block");
        self.ops[start].block.store(cost, Ordering::Relaxed);
        cost
    }

    /// Whether the branch at operation `index` has a cold side.
    fn is_cold(&self, index: usize) -> bool {
        let step = |pc: u32, next| (pc, next, self.program.instruction_at(pc));
        let (pc, next, branch) = step(self.pcs[index], self.pcs[index + 1]);
        crate::gas::is_cold(&self.program, pc, next, &branch)
    }
}
