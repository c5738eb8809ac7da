//! RISC-V instructions to PVM instructions, block by block, with constants folded.

use jar_isa::{Instruction, Opcode};

use crate::Error;
use crate::elf::Elf;
use crate::flow::{Flow, Step, TRAP_LABEL, call_end, instruction_error, return_label};
use crate::riscv::{Cond, Inst, Load, Reg, Rhs, Store, Unary, eval_unary};

/// φ2, RISC-V's t0: the number of a host call.
const CALL_NUMBER: u8 = 2;
/// φ11, RISC-V's a4: where `ecall` takes the number from.
const ECALL_NUMBER: u8 = 11;

/// A PVM instruction whose references to code are still labels (RISC-V addresses).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Plain(Instruction),
    /// Jumps or branches to the label.
    Jump(Instruction, u64),
    /// `rd` becomes the label's jump-table address.
    Code {
        rd: u8,
        label: u64,
    },
    Call {
        rd: u8,
        label: u64,
        ret: u64,
    },
    CallIndirect {
        rd: u8,
        base: u8,
        offset: u64,
        ret: u64,
    },
    /// Needs a register to spare.
    Wide(Wide),
}

/// An operation that takes a scratch register; see `scratch.rs`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wide {
    /// `rd := rd + (a << shift)`, `a` cut to 32 bits if `word`.
    ShiftAdd {
        rd: u8,
        a: u8,
        shift: u8,
        word: bool,
    },
    /// `rd := rd op (1 << rd)`.
    BitOfItself { op: Opcode, rd: u8 },
    /// `orc.b`
    OrcB { rd: u8, a: u8 },
    /// A load whose value is not wanted; its fault is. `ra` is to be chosen.
    Touch(Instruction),
}

/// A straight run of operations. `next` is where it falls through to.
pub(crate) struct Block {
    pub label: u64,
    pub ops: Vec<Op>,
    pub next: Option<u64>,
}

/// An operand: a register, a known value, or both.
#[derive(Clone, Copy)]
struct Operand {
    reg: Option<u8>,
    known: Option<u64>,
}

impl Operand {
    /// The known value, if it fits an immediate.
    fn imm(&self) -> Option<u64> {
        self.known.filter(|v| fits(*v))
    }

    fn is(&self, value: u64) -> bool {
        self.known == Some(value)
    }
}

fn fits(value: u64) -> bool {
    i32::try_from(value as i64).is_ok()
}

#[derive(Clone, Copy, PartialEq)]
enum Value {
    Unknown,
    Known(u64),
    /// The upper part of a code address.
    High,
}

/// Translates every reachable block, in order of address.
pub(crate) fn lower(elf: &Elf, flow: &Flow) -> Result<Vec<Block>, Error> {
    let mut lowerer = Lowerer {
        elf,
        addr: 0,
        values: [Value::Unknown; 13],
        ops: Vec::new(),
    };
    let mut blocks: Vec<Block> = Vec::new();
    let mut current: Option<u64> = None;
    let mut addresses = flow.steps.iter().peekable();
    while let Some((&addr, &step)) = addresses.next() {
        let label = *current.get_or_insert(addr);
        lowerer.addr = addr;
        lowerer.step(step)?;
        let next = match step {
            Step::Call { .. } => call_end(elf, addr),
            _ => addr + 4,
        };
        let ends = lowerer.ops.last().is_some_and(is_terminator);
        let contiguous = addresses.peek().is_some_and(|(a, _)| **a == next);
        if ends || flow.leaders.contains(&next) || !contiguous {
            let falls = !lowerer.ops.last().is_some_and(never_falls);
            blocks.push(Block {
                label,
                ops: std::mem::take(&mut lowerer.ops),
                next: falls.then_some(next),
            });
            lowerer.values = [Value::Unknown; 13];
            current = None;
        }
    }
    if flow.leaders.contains(&TRAP_LABEL) {
        let ops = vec![Op::Plain(Opcode::Trap.into())];
        blocks.push(Block {
            label: TRAP_LABEL,
            ops,
            next: None,
        });
    }
    Ok(blocks)
}

/// Whether the operation ends a basic block.
pub(crate) fn is_terminator(op: &Op) -> bool {
    match op {
        Op::Plain(inst) | Op::Jump(inst, _) => inst.opcode.is_terminator(),
        Op::Call { .. } | Op::CallIndirect { .. } => true,
        Op::Code { .. } | Op::Wide(_) => false,
    }
}

fn never_falls(op: &Op) -> bool {
    match op {
        Op::Plain(inst) | Op::Jump(inst, _) => {
            matches!(inst.opcode, Opcode::Trap | Opcode::Jump | Opcode::JumpInd)
        }
        Op::Call { .. } | Op::CallIndirect { .. } => true,
        Op::Code { .. } | Op::Wide(_) => false,
    }
}

/// An instruction with one written register `a`, one read register `b` and νX.
pub(crate) fn rri(opcode: Opcode, a: u8, b: u8, x: u64) -> Instruction {
    Instruction {
        ra: a,
        rb: b,
        x,
        ..opcode.into()
    }
}

/// An instruction with a written register `d` and two read ones.
pub(crate) fn rrr(opcode: Opcode, d: u8, a: u8, b: u8) -> Instruction {
    Instruction {
        rd: d,
        ra: a,
        rb: b,
        ..opcode.into()
    }
}

/// The shortest load of a constant.
pub(crate) fn load(rd: u8, value: u64) -> Instruction {
    let opcode = if fits(value) {
        Opcode::LoadImm
    } else {
        Opcode::LoadImm64
    };
    Instruction {
        ra: rd,
        x: value,
        ..opcode.into()
    }
}

struct Lowerer<'a> {
    elf: &'a Elf,
    addr: u64,
    values: [Value; 13],
    ops: Vec<Op>,
}

impl Lowerer<'_> {
    fn fail<T>(&self, reason: impl Into<String>) -> Result<T, Error> {
        Err(instruction_error(self.elf, self.addr, reason.into()))
    }

    fn push(&mut self, instruction: Instruction) {
        if let Some(rd) = instruction.destination() {
            self.values[usize::from(rd)] = Value::Unknown;
        }
        self.ops.push(Op::Plain(instruction));
    }

    fn push_wide(&mut self, wide: Wide, rd: Option<u8>) {
        if let Some(rd) = rd {
            self.values[usize::from(rd)] = Value::Unknown;
        }
        self.ops.push(Op::Wide(wide));
    }

    fn constant(&mut self, rd: u8, value: u64) {
        self.push(load(rd, value));
        self.values[usize::from(rd)] = Value::Known(value);
    }

    fn copy(&mut self, rd: u8, from: Operand) {
        match from {
            Operand {
                known: Some(value), ..
            } => self.constant(rd, value),
            Operand { reg: Some(reg), .. } if reg != rd => {
                self.push(Instruction {
                    rd,
                    ra: reg,
                    ..Opcode::MoveReg.into()
                });
            }
            _ => {}
        }
    }

    fn operand(&self, reg: Reg) -> Result<Operand, Error> {
        let Some(number) = reg.pvm() else {
            return Ok(Operand {
                reg: None,
                known: Some(0),
            });
        };
        match self.values[usize::from(number)] {
            Value::High => self.fail("uses the upper half of a code address"),
            Value::Known(value) => Ok(Operand {
                reg: Some(number),
                known: Some(value),
            }),
            Value::Unknown => Ok(Operand {
                reg: Some(number),
                known: None,
            }),
        }
    }

    /// The register of an operand that isn't x0.
    fn reg(&self, operand: Operand) -> Result<u8, Error> {
        match operand.reg {
            Some(reg) => Ok(reg),
            None => self.fail("no translation with x0 here"),
        }
    }

    fn step(&mut self, step: Step) -> Result<(), Error> {
        match step {
            Step::Plain(inst) => self.instruction(inst),
            Step::High { rd } => {
                if let Some(rd) = rd.pvm() {
                    self.values[usize::from(rd)] = Value::High;
                }
                Ok(())
            }
            Step::Address { rd, target } => {
                if let Some(rd) = rd.pvm() {
                    self.values[usize::from(rd)] = Value::Unknown;
                    self.ops.push(Op::Code { rd, label: target });
                }
                Ok(())
            }
            Step::Call { rd, target } => {
                self.call(rd, target, call_end(self.elf, self.addr));
                Ok(())
            }
        }
    }

    fn call(&mut self, rd: Reg, target: u64, next: u64) {
        self.ops.push(match rd.pvm() {
            Some(rd) => Op::Call {
                rd,
                label: target,
                ret: return_label(self.elf, next),
            },
            None => Op::Jump(Opcode::Jump.into(), target),
        });
    }

    fn instruction(&mut self, inst: Inst) -> Result<(), Error> {
        match inst {
            Inst::Lui { rd, imm } | Inst::Auipc { rd, imm } => {
                if let Some(rd) = rd.pvm() {
                    self.constant(rd, imm as u64);
                }
            }
            Inst::Jal { rd, offset } => {
                self.call(rd, self.addr.wrapping_add_signed(offset), self.addr + 4);
            }
            Inst::Jalr { rd, base, offset } => self.jump_indirect(rd, base, offset)?,
            Inst::Branch { cond, a, b, offset } => {
                let target = self.addr.wrapping_add_signed(offset);
                self.branch(cond, self.operand(a)?, self.operand(b)?, target)?;
            }
            Inst::Load {
                width,
                rd,
                base,
                offset,
            } => self.load(width, rd, base, offset)?,
            Inst::Store {
                width,
                src,
                base,
                offset,
            } => self.store(width, src, base, offset)?,
            Inst::Alu { op, rd, a, b } => {
                let a = self.operand(a)?;
                let b = match b {
                    Rhs::Reg(b) => self.operand(b)?,
                    Rhs::Imm(imm) => Operand {
                        reg: None,
                        known: Some(imm as u64),
                    },
                };
                if let Some(rd) = rd.pvm() {
                    self.alu(op, rd, a, b)?;
                }
            }
            Inst::Unary { op, rd, a } => {
                let a = self.operand(a)?;
                if let Some(rd) = rd.pvm() {
                    self.unary(op, rd, a)?;
                }
            }
            Inst::Fence => {}
            Inst::Ecall => self.host_call()?,
            Inst::Trap => self.push(Opcode::Trap.into()),
        }
        Ok(())
    }

    fn jump_indirect(&mut self, rd: Reg, base: Reg, offset: i64) -> Result<(), Error> {
        let base = self.operand(base)?;
        let base = self.reg(base)?;
        self.ops.push(match rd.pvm() {
            Some(rd) => Op::CallIndirect {
                rd,
                base,
                offset: offset as u64,
                ret: return_label(self.elf, self.addr + 4),
            },
            None => Op::Plain(Instruction {
                ra: base,
                x: offset as u64,
                ..Opcode::JumpInd.into()
            }),
        });
        Ok(())
    }

    fn host_call(&mut self) -> Result<(), Error> {
        match self.values[usize::from(CALL_NUMBER)] {
            Value::Known(number) if fits(number) => {
                self.push(Instruction {
                    x: number,
                    ..Opcode::Ecalli.into()
                });
            }
            Value::Unknown => {
                let rd = ECALL_NUMBER;
                self.push(Instruction {
                    rd,
                    ra: CALL_NUMBER,
                    ..Opcode::MoveReg.into()
                });
                self.push(Opcode::Ecall.into());
            }
            _ => return self.fail("the number of this host call is out of range"),
        }
        // φ7 and φ8 hold the results; t0 is not kept across a host call.
        for reg in [CALL_NUMBER, 7, 8] {
            self.values[usize::from(reg)] = Value::Unknown;
        }
        Ok(())
    }

    fn branch(&mut self, cond: Cond, a: Operand, b: Operand, target: u64) -> Result<(), Error> {
        use Opcode::*;
        if let (Some(a), Some(b)) = (a.known, b.known) {
            let taken = match cond {
                Cond::Eq => a == b,
                Cond::Ne => a != b,
                Cond::Lt => (a as i64) < b as i64,
                Cond::Ge => a as i64 >= b as i64,
                Cond::Ltu => a < b,
                Cond::Geu => a >= b,
            };
            let opcode = if taken { Jump } else { Fallthrough };
            self.ops.push(match taken {
                true => Op::Jump(opcode.into(), target),
                false => Op::Plain(opcode.into()),
            });
            return Ok(());
        }
        // With the constant on the left the comparison is turned around.
        let (right, left, both) = match cond {
            Cond::Eq => (BranchEqImm, BranchEqImm, BranchEq),
            Cond::Ne => (BranchNeImm, BranchNeImm, BranchNe),
            Cond::Lt => (BranchLtSImm, BranchGtSImm, BranchLtS),
            Cond::Ge => (BranchGeSImm, BranchLeSImm, BranchGeS),
            Cond::Ltu => (BranchLtUImm, BranchGtUImm, BranchLtU),
            Cond::Geu => (BranchGeUImm, BranchLeUImm, BranchGeU),
        };
        let instruction = match (a.imm(), b.imm()) {
            (_, Some(x)) => Instruction {
                ra: self.reg(a)?,
                x,
                ..right.into()
            },
            (Some(x), _) => Instruction {
                ra: self.reg(b)?,
                x,
                ..left.into()
            },
            _ => Instruction {
                ra: self.reg(a)?,
                rb: self.reg(b)?,
                ..both.into()
            },
        };
        self.ops.push(Op::Jump(instruction, target));
        Ok(())
    }

    fn load(&mut self, width: Load, rd: Reg, base: Reg, offset: i64) -> Result<(), Error> {
        use Opcode::*;
        let base = self.operand(base)?;
        let (direct, indirect) = match width {
            Load::B => (LoadI8, LoadIndI8),
            Load::H => (LoadI16, LoadIndI16),
            Load::W => (LoadI32, LoadIndI32),
            Load::D => (LoadU64, LoadIndU64),
            Load::Bu => (LoadU8, LoadIndU8),
            Load::Hu => (LoadU16, LoadIndU16),
            Load::Wu => (LoadU32, LoadIndU32),
        };
        let address = base.known.map(|v| v.wrapping_add_signed(offset));
        if let (Some(address), Some(rd)) = (address, rd.pvm())
            && let Some(value) = self.constant_data(width, address)
        {
            self.constant(rd, value);
            return Ok(());
        }
        let ra = rd.pvm().unwrap_or(0);
        let instruction = match address {
            Some(address) => Instruction {
                ra,
                x: address_imm(address),
                ..direct.into()
            },
            None => rri(indirect, ra, self.reg(base)?, offset as u64),
        };
        match rd.pvm() {
            Some(_) => self.push(instruction),
            None => self.push_wide(Wide::Touch(instruction), None),
        }
        Ok(())
    }

    /// What a load from read-only data gives, where no relocation changes it.
    fn constant_data(&self, width: Load, address: u64) -> Option<u64> {
        let size = match width {
            Load::B | Load::Bu => 1,
            Load::H | Load::Hu => 2,
            Load::W | Load::Wu => 4,
            Load::D => 8,
        };
        let section = self.elf.data_section(address).filter(|s| !s.writable)?;
        let at = usize::try_from(address - section.addr).ok()?;
        let bytes = section.bytes.get(at..at.checked_add(size)?)?;
        let near = address.saturating_sub(7)..address + size as u64;
        if self.elf.data_relocs.range(near).next().is_some() {
            return None;
        }
        let mut word = [0; 8];
        word[..size].copy_from_slice(bytes);
        let value = u64::from_le_bytes(word);
        Some(match width {
            Load::B => value as i8 as i64 as u64,
            Load::H => value as i16 as i64 as u64,
            Load::W => value as i32 as i64 as u64,
            _ => value,
        })
    }

    fn store(&mut self, width: Store, src: Reg, base: Reg, offset: i64) -> Result<(), Error> {
        use Opcode::*;
        let (base, src) = (self.operand(base)?, self.operand(src)?);
        let (direct, indirect, imm, imm_indirect, bits) = match width {
            Store::B => (StoreU8, StoreIndU8, StoreImmU8, StoreImmIndU8, 8),
            Store::H => (StoreU16, StoreIndU16, StoreImmU16, StoreImmIndU16, 16),
            Store::W => (StoreU32, StoreIndU32, StoreImmU32, StoreImmIndU32, 32),
            Store::D => (StoreU64, StoreIndU64, StoreImmU64, StoreImmIndU64, 64),
        };
        // Only the low bits are stored, so that the rest may be what fits best.
        let value = src
            .known
            .map(|v| (((v << (64 - bits)) as i64) >> (64 - bits)) as u64)
            .filter(|v| fits(*v));
        let address = base
            .known
            .map(|v| address_imm(v.wrapping_add_signed(offset)));
        let offset = offset as u64;
        let instruction = match (address, value) {
            (Some(x), Some(y)) => Instruction { x, y, ..imm.into() },
            (Some(x), None) => Instruction {
                ra: self.reg(src)?,
                x,
                ..direct.into()
            },
            (None, Some(y)) => Instruction {
                ra: self.reg(base)?,
                x: offset,
                y,
                ..imm_indirect.into()
            },
            (None, None) => rri(indirect, self.reg(src)?, self.reg(base)?, offset),
        };
        self.push(instruction);
        Ok(())
    }

    fn unary(&mut self, op: Unary, rd: u8, a: Operand) -> Result<(), Error> {
        if let Some(value) = a.known {
            self.constant(rd, eval_unary(op, value));
            return Ok(());
        }
        let ra = self.reg(a)?;
        let opcode = match op {
            Unary::Clz => Opcode::LeadingZeroBits64,
            Unary::Clzw => Opcode::LeadingZeroBits32,
            Unary::Ctz => Opcode::TrailingZeroBits64,
            Unary::Ctzw => Opcode::TrailingZeroBits32,
            Unary::Cpop => Opcode::CountSetBits64,
            Unary::Cpopw => Opcode::CountSetBits32,
            Unary::SextB => Opcode::SignExtend8,
            Unary::SextH => Opcode::SignExtend16,
            Unary::ZextH => Opcode::ZeroExtend16,
            Unary::Rev8 => Opcode::ReverseBytes,
            Unary::OrcB => {
                self.push_wide(Wide::OrcB { rd, a: ra }, Some(rd));
                return Ok(());
            }
        };
        self.push(Instruction {
            rd,
            ra,
            ..opcode.into()
        });
        Ok(())
    }
}

/// An address as an immediate: the machine takes it modulo 2^32.
fn address_imm(address: u64) -> u64 {
    address as u32 as i32 as i64 as u64
}

mod alu;
