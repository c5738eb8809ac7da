//! Two-operand arithmetic: immediate forms, x0, and operations that the PVM lacks.

use jar_isa::Instruction;
use jar_isa::Opcode::{self, *};

use super::{Lowerer, Op, Operand, Wide, fits, load, rri, rrr};
use crate::Error;
use crate::riscv::{Alu, eval};

impl Lowerer<'_> {
    /// `rd := a op b`.
    pub(super) fn alu(&mut self, op: Alu, rd: u8, a: Operand, b: Operand) -> Result<(), Error> {
        if let (Some(a), Some(b)) = (a.known, b.known) {
            self.constant(rd, eval(op, a, b));
            return Ok(());
        }
        if self.with_zero(op, rd, a, b)? || self.with_immediate(op, rd, a, b)? {
            return Ok(());
        }
        match op {
            Alu::AddUw => self.shift_add(rd, a, b, 0, true),
            Alu::Sh1add => self.shift_add(rd, a, b, 1, false),
            Alu::Sh2add => self.shift_add(rd, a, b, 2, false),
            Alu::Sh3add => self.shift_add(rd, a, b, 3, false),
            Alu::Sh1addUw => self.shift_add(rd, a, b, 1, true),
            Alu::Sh2addUw => self.shift_add(rd, a, b, 2, true),
            Alu::Sh3addUw => self.shift_add(rd, a, b, 3, true),
            Alu::Bset => self.bit(Or, OrImm, 1, rd, a, b),
            Alu::Binv => self.bit(Xor, XorImm, 1, rd, a, b),
            Alu::Bclr => self.bit(AndInv, AndImm, !1, rd, a, b),
            Alu::Bext => {
                let (a, b) = (self.reg(a)?, self.reg(b)?);
                self.push(rrr(ShloR64, rd, a, b));
                self.push(rri(AndImm, rd, rd, 1));
                Ok(())
            }
            _ => {
                let Some(opcode) = direct(op) else {
                    return self.fail("no translation");
                };
                let (a, b) = (self.reg(a)?, self.reg(b)?);
                self.push(rrr(opcode, rd, a, b));
                Ok(())
            }
        }
    }

    /// Operations with one operand known to be 0, where that makes them simpler or x0 has
    /// no other form. Answers whether it was one.
    fn with_zero(&mut self, op: Alu, rd: u8, a: Operand, b: Operand) -> Result<bool, Error> {
        use Alu::*;
        if a.is(0) {
            match op {
                Add | Or | Xor | AddUw | Sh1add | Sh2add | Sh3add | Sh1addUw | Sh2addUw
                | Sh3addUw | Maxu => self.copy(rd, b),
                And | Sll | Srl | Sra | Sllw | Srlw | Sraw | Mul | Mulh | Mulhsu | Mulhu | Mulw
                | Rem | Remu | Remw | Remuw | Andn | Minu | Rol | Ror | Rolw | Rorw | Bclr
                | Bext => self.constant(rd, 0),
                Div | Divu | Divw | Divuw => {
                    // 0 / b is 0, or all ones where b is 0.
                    let mut b = self.reg(b)?;
                    if matches!(op, Divw | Divuw) {
                        self.push(rri(AddImm32, rd, b, 0));
                        b = rd;
                    }
                    self.push(rri(SetLtUImm, rd, b, 1));
                    self.push(rri(NegAddImm64, rd, rd, 0));
                }
                Orn => {
                    let b = self.reg(b)?;
                    self.push(rri(XorImm, rd, b, u64::MAX));
                }
                Bset | Binv => {
                    let b = self.reg(b)?;
                    self.push(rri(ShloLImmAlt64, rd, b, 1));
                }
                Max | Min if a.reg.is_none() => self.clamp(op, rd, b)?,
                _ => return Ok(false),
            }
            return Ok(true);
        }
        if b.is(0) {
            match op {
                Add | Sub | Or | Xor | Sll | Srl | Sra | Rem | Remu | Andn | Maxu | Rol | Ror => {
                    self.copy(rd, a);
                }
                And | Mul | Mulh | Mulhsu | Mulhu | Mulw | Sltu | Minu => self.constant(rd, 0),
                Div | Divu | Divw | Divuw | Orn => self.constant(rd, u64::MAX),
                Addw | Subw | Sllw | Srlw | Sraw | Remw | Remuw | Rolw | Rorw => {
                    let a = self.reg(a)?;
                    self.push(rri(AddImm32, rd, a, 0));
                }
                Max | Min if b.reg.is_none() => self.clamp(op, rd, a)?,
                _ => return Ok(false),
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// `max` or `min` of a register and 0. In place it takes a branch to the next
    /// instruction, which `flow` made the start of a block.
    fn clamp(&mut self, op: Alu, rd: u8, from: Operand) -> Result<(), Error> {
        let from_reg = self.reg(from)?;
        if from_reg != rd {
            self.push(load(rd, 0));
            self.push(rrr(
                if op == Alu::Max { Max } else { Min },
                rd,
                from_reg,
                rd,
            ));
            return Ok(());
        }
        let keep = if op == Alu::Max {
            BranchGeSImm
        } else {
            BranchLeSImm
        };
        self.ops.push(Op::Jump(
            Instruction {
                ra: rd,
                ..keep.into()
            },
            self.addr + 4,
        ));
        self.push(load(rd, 0));
        Ok(())
    }

    /// The forms with an immediate. Answers whether there was one.
    fn with_immediate(&mut self, op: Alu, rd: u8, a: Operand, b: Operand) -> Result<bool, Error> {
        if let Some(x) = b.imm() {
            let a = self.reg(a)?;
            return Ok(self.right_immediate(op, rd, a, x));
        }
        let Some(x) = a.imm() else { return Ok(false) };
        let b = self.reg(b)?;
        let opcode = match op {
            Alu::Sub => NegAddImm64,
            Alu::Subw => NegAddImm32,
            Alu::Sll => ShloLImmAlt64,
            Alu::Srl => ShloRImmAlt64,
            Alu::Sra => SharRImmAlt64,
            Alu::Sllw => ShloLImmAlt32,
            Alu::Srlw => ShloRImmAlt32,
            Alu::Sraw => SharRImmAlt32,
            Alu::Slt => SetGtSImm,
            Alu::Sltu => SetGtUImm,
            Alu::Ror => RotR64ImmAlt,
            Alu::Rorw => RotR32ImmAlt,
            Alu::Add
            | Alu::Xor
            | Alu::Or
            | Alu::And
            | Alu::Addw
            | Alu::Mul
            | Alu::Mulw
            | Alu::Xnor => return Ok(self.right_immediate(op, rd, b, x)),
            Alu::AddUw
            | Alu::Sh1add
            | Alu::Sh2add
            | Alu::Sh3add
            | Alu::Sh1addUw
            | Alu::Sh2addUw
            | Alu::Sh3addUw => {
                let value = eval(op, x, 0);
                if !fits(value) {
                    return Ok(false);
                }
                self.push(rri(AddImm64, rd, b, value));
                return Ok(true);
            }
            _ => return Ok(false),
        };
        self.push(rri(opcode, rd, b, x));
        Ok(true)
    }

    fn right_immediate(&mut self, op: Alu, rd: u8, a: u8, x: u64) -> bool {
        let negative = x.wrapping_neg();
        let (opcode, x) = match op {
            Alu::Add => (AddImm64, x),
            Alu::Sub if fits(negative) => (AddImm64, negative),
            Alu::Addw => (AddImm32, x),
            Alu::Subw if fits(negative) => (AddImm32, negative),
            Alu::Sll => (ShloLImm64, x & 63),
            Alu::Srl => (ShloRImm64, x & 63),
            Alu::Sra => (SharRImm64, x & 63),
            Alu::Sllw => (ShloLImm32, x & 31),
            Alu::Srlw => (ShloRImm32, x & 31),
            Alu::Sraw => (SharRImm32, x & 31),
            Alu::Slt => (SetLtSImm, x),
            Alu::Sltu => (SetLtUImm, x),
            Alu::Xor => (XorImm, x),
            Alu::Or => (OrImm, x),
            Alu::And => (AndImm, x),
            Alu::Andn => (AndImm, !x),
            Alu::Orn => (OrImm, !x),
            Alu::Xnor => (XorImm, !x),
            Alu::Mul => (MulImm64, x),
            Alu::Mulw => (MulImm32, x),
            Alu::Ror => (RotR64Imm, x & 63),
            Alu::Rol => (RotR64Imm, negative & 63),
            Alu::Rorw => (RotR32Imm, x & 31),
            Alu::Rolw => (RotR32Imm, negative & 31),
            Alu::Bext => {
                self.push(rri(ShloRImm64, rd, a, x & 63));
                (AndImm, 1)
            }
            Alu::Bset => return self.bit_immediate(OrImm, 1, rd, a, x & 63),
            Alu::Binv => return self.bit_immediate(XorImm, 1, rd, a, x & 63),
            Alu::Bclr => return self.bit_immediate(AndImm, !1, rd, a, x & 63),
            Alu::SllUw => {
                self.word_shifted(rd, a, x & 63);
                return true;
            }
            Alu::AddUw => return self.shifted_plus(rd, a, 0, true, x),
            Alu::Sh1add => return self.shifted_plus(rd, a, 1, false, x),
            Alu::Sh2add => return self.shifted_plus(rd, a, 2, false, x),
            Alu::Sh3add => return self.shifted_plus(rd, a, 3, false, x),
            Alu::Sh1addUw => return self.shifted_plus(rd, a, 1, true, x),
            Alu::Sh2addUw => return self.shifted_plus(rd, a, 2, true, x),
            Alu::Sh3addUw => return self.shifted_plus(rd, a, 3, true, x),
            _ => return false,
        };
        let from = if op == Alu::Bext { rd } else { a };
        self.push(rri(opcode, rd, from, x));
        true
    }

    /// Sets, flips or clears one bit: `x` is the operand for bit 0.
    fn bit_immediate(&mut self, opcode: Opcode, x: u64, rd: u8, a: u8, bit: u64) -> bool {
        if bit < 31 {
            self.push(rri(opcode, rd, a, x.rotate_left(bit as u32)));
        } else {
            self.push(rri(RotR64Imm, rd, a, bit));
            self.push(rri(opcode, rd, rd, x));
            self.push(rri(RotR64Imm, rd, rd, 64 - bit));
        }
        true
    }

    /// `rd := zero_extend_32(a) << shift`
    fn word_shifted(&mut self, rd: u8, a: u8, shift: u64) {
        if shift < 32 {
            self.push(rri(ShloLImm64, rd, a, 32));
            self.push(rri(ShloRImm64, rd, rd, 32 - shift));
        } else {
            self.push(rri(ShloLImm64, rd, a, shift));
        }
    }

    /// `rd := (a << shift) + x`
    fn shifted_plus(&mut self, rd: u8, a: u8, shift: u64, word: bool, x: u64) -> bool {
        match word {
            true => self.word_shifted(rd, a, shift),
            false => self.push(rri(ShloLImm64, rd, a, shift)),
        }
        if x != 0 {
            self.push(rri(AddImm64, rd, rd, x));
        }
        true
    }

    /// `rd := (a << shift) + b`, both in registers.
    fn shift_add(
        &mut self,
        rd: u8,
        a: Operand,
        b: Operand,
        shift: u8,
        word: bool,
    ) -> Result<(), Error> {
        let (a, b) = (self.reg(a)?, self.reg(b)?);
        if a == b && !word {
            self.push(rri(MulImm64, rd, a, 1 + (1 << shift)));
        } else if rd == b {
            self.push_wide(Wide::ShiftAdd { rd, a, shift, word }, Some(rd));
        } else {
            self.shifted_plus(rd, a, u64::from(shift), word, 0);
            self.push(rrr(Add64, rd, rd, b));
        }
        Ok(())
    }

    /// Sets, flips or clears the bit that a register names.
    fn bit(
        &mut self,
        opcode: Opcode,
        imm: Opcode,
        x: u64,
        rd: u8,
        a: Operand,
        b: Operand,
    ) -> Result<(), Error> {
        let (a, b) = (self.reg(a)?, self.reg(b)?);
        if rd != a {
            self.push(rri(ShloLImmAlt64, rd, b, 1));
            self.push(rrr(opcode, rd, a, rd));
        } else if rd != b {
            self.push(rrr(RotR64, rd, a, b));
            self.push(rri(imm, rd, rd, x));
            self.push(rrr(RotL64, rd, rd, b));
        } else {
            self.push_wide(Wide::BitOfItself { op: opcode, rd }, Some(rd));
        }
        Ok(())
    }
}

/// The PVM instruction that does the same on two registers.
fn direct(op: Alu) -> Option<Opcode> {
    Some(match op {
        Alu::Add => Add64,
        Alu::Sub => Sub64,
        Alu::Sll => ShloL64,
        Alu::Slt => SetLtS,
        Alu::Sltu => SetLtU,
        Alu::Xor => Xor,
        Alu::Srl => ShloR64,
        Alu::Sra => SharR64,
        Alu::Or => Or,
        Alu::And => And,
        Alu::Addw => Add32,
        Alu::Subw => Sub32,
        Alu::Sllw => ShloL32,
        Alu::Srlw => ShloR32,
        Alu::Sraw => SharR32,
        Alu::Mul => Mul64,
        Alu::Mulh => MulUpperSS,
        Alu::Mulhsu => MulUpperSU,
        Alu::Mulhu => MulUpperUU,
        Alu::Div => DivS64,
        Alu::Divu => DivU64,
        Alu::Rem => RemS64,
        Alu::Remu => RemU64,
        Alu::Mulw => Mul32,
        Alu::Divw => DivS32,
        Alu::Divuw => DivU32,
        Alu::Remw => RemS32,
        Alu::Remuw => RemU32,
        Alu::Andn => AndInv,
        Alu::Orn => OrInv,
        Alu::Xnor => Xnor,
        Alu::Max => Max,
        Alu::Maxu => MaxU,
        Alu::Min => Min,
        Alu::Minu => MinU,
        Alu::Rol => RotL64,
        Alu::Ror => RotR64,
        Alu::Rolw => RotL32,
        Alu::Rorw => RotR32,
        _ => return None,
    })
}
