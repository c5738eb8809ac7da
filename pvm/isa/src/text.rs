//! Instructions as text.

use core::fmt;

use crate::instruction::Instruction;
use crate::table::{Format, Opcode};

/// Signed where negative, hexadecimal beyond one digit.
struct Number(u64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0 as i64;
        let sign = if value < 0 { "-" } else { "" };
        match value.unsigned_abs() {
            small @ 0..=9 => write!(f, "{sign}{small}"),
            large => write!(f, "{sign}{large:#x}"),
        }
    }
}

/// `[base + displacement]`.
struct Address(Option<u8>, u64);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, self.1 as i64) {
            (None, _) => write!(f, "[{:#x}]", self.1 as u32),
            (Some(base), 0) => write!(f, "[r{base}]"),
            (Some(base), x @ ..0) => write!(f, "[r{base} - {}]", Number(x.unsigned_abs())),
            (Some(base), _) => write!(f, "[r{base} + {}]", Number(self.1)),
        }
    }
}

/// Shows an instruction with a name in place of its jump offset.
pub struct WithTarget<'a, T>(pub &'a Instruction, pub T);

impl<T: fmt::Display> fmt::Display for WithTarget<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WithTarget(
            Instruction {
                opcode,
                ra,
                rb,
                rd,
                x,
                y,
            },
            target,
        ) = self;
        f.write_str(opcode.mnemonic())?;
        let memory = opcode.cost().units.load + opcode.cost().units.store > 0;
        match opcode.format() {
            Format::N => Ok(()),
            Format::I => write!(f, " {}", Number(*x)),
            Format::RX => write!(f, " r{ra}, {x:#x}"),
            Format::II => write!(f, " {}, {}", Address(None, *x), Number(*y)),
            Format::O => write!(f, " {target}"),
            Format::RI if memory => write!(f, " r{ra}, {}", Address(None, *x)),
            Format::RI => write!(f, " r{ra}, {}", Number(*x)),
            Format::RII => write!(f, " {}, {}", Address(Some(*ra), *x), Number(*y)),
            Format::RIO => write!(f, " r{ra}, {}, {target}", Number(*x)),
            Format::RR => write!(f, " r{rd}, r{ra}"),
            Format::RRI if memory => write!(f, " r{ra}, {}", Address(Some(*rb), *x)),
            Format::RRI => write!(f, " r{ra}, r{rb}, {}", Number(*x)),
            Format::RRO => write!(f, " r{ra}, r{rb}, {target}"),
            Format::RRII => write!(f, " r{ra}, {}, r{rb}, {}", Number(*x), Number(*y)),
            Format::RRR => write!(f, " r{rd}, r{ra}, r{rb}"),
        }
    }
}

struct Offset(i64);

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pc{:+}", self.0)
    }
}

/// Mnemonic, then destination, sources, immediates; a jump's target as `pc+offset`.
impl fmt::Display for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        WithTarget(self, Offset(self.offset().unwrap_or(0))).fmt(f)
    }
}

impl fmt::Display for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.mnemonic())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn text_of_each_shape() {
        let text = |opcode: Opcode| {
            let x = (-20i64) as u64;
            Instruction {
                opcode,
                ra: 1,
                rb: 2,
                rd: 3,
                x,
                y: 7,
            }
            .to_string()
        };
        for (opcode, expected) in [
            (Opcode::Trap, "trap"),
            (Opcode::Ecalli, "ecalli -0x14"),
            (Opcode::LoadImm64, "load_imm_64 r1, 0xffffffffffffffec"),
            (Opcode::StoreImmU8, "store_imm_u8 [0xffffffec], 7"),
            (Opcode::Jump, "jump pc-20"),
            (Opcode::LoadU8, "load_u8 r1, [0xffffffec]"),
            (Opcode::LoadImm, "load_imm r1, -0x14"),
            (Opcode::StoreImmIndU8, "store_imm_ind_u8 [r1 - 0x14], 7"),
            (Opcode::BranchEqImm, "branch_eq_imm r1, -0x14, pc+7"),
            (Opcode::MoveReg, "move_reg r3, r1"),
            (Opcode::LoadIndU8, "load_ind_u8 r1, [r2 - 0x14]"),
            (Opcode::AddImm64, "add_imm_64 r1, r2, -0x14"),
            (Opcode::BranchEq, "branch_eq r1, r2, pc-20"),
            (Opcode::LoadImmJumpInd, "load_imm_jump_ind r1, -0x14, r2, 7"),
            (Opcode::Add64, "add_64 r3, r1, r2"),
        ] {
            assert_eq!(text(opcode), expected);
        }
    }
}
