//! Programs: code, instruction starts, jump table.

use jar_isa::{Instruction, MAX_SKIP, Opcode, skip};

use crate::error::Error;
use crate::walk::{StepKind, Walk};

/// Longest code accepted, in bytes.
pub const MAX_CODE_LEN: usize = 4 << 20;
/// Longest jump table accepted, in entries.
pub const MAX_JUMP_TABLE_LEN: usize = MAX_CODE_LEN;

/// An immutable program that passed the structural checks.
///
/// An invalid opcode is no error here: it is a trap when reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    code: Vec<u8>,
    bitmask: Vec<u8>,
    jump_table: Vec<u32>,
    block_starts: Vec<u8>,
}

/// Bits of [`KINDS`]: a known opcode; one that ends blocks.
const KNOWN: u8 = 1;
const ENDS: u8 = 2;

/// By opcode byte.
static KINDS: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut index = 0;
    while index < Opcode::ALL.len() {
        let opcode = Opcode::ALL[index];
        kinds[opcode as usize] = KNOWN | if opcode.is_terminator() { ENDS } else { 0 };
        index += 1;
    }
    kinds
};

fn bit(bits: &[u8], index: u32) -> bool {
    bits.get((index / 8) as usize)
        .is_some_and(|byte| byte >> (index % 8) & 1 == 1)
}

impl Program {
    /// Checks and takes the parts of a program.
    ///
    /// `bitmask` has one bit per byte of `code`, least significant first, 1 where
    /// an instruction starts; bits past the end of the code are ignored.
    /// `jump_table` holds addresses in the code.
    pub fn new(
        code: Vec<u8>,
        mut bitmask: Vec<u8>,
        jump_table: Vec<u32>,
    ) -> Result<Program, Error> {
        if code.is_empty() {
            return Err(Error::EmptyCode);
        }
        if code.len() > MAX_CODE_LEN {
            return Err(Error::CodeTooLong(code.len() as u64));
        }
        if jump_table.len() > MAX_JUMP_TABLE_LEN {
            return Err(Error::JumpTableTooLong(jump_table.len() as u64));
        }
        let expected = code.len().div_ceil(8);
        if bitmask.len() != expected {
            return Err(Error::BitmaskLength {
                expected,
                actual: bitmask.len(),
            });
        }
        if !bit(&bitmask, 0) {
            return Err(Error::FirstBitClear);
        }
        if !code.len().is_multiple_of(8) {
            bitmask[expected - 1] &= (1 << (code.len() % 8)) - 1;
        }
        let mut program = Program {
            code,
            bitmask,
            jump_table,
            block_starts: Vec::new(),
        };
        program.block_starts = program.find_block_starts();
        Ok(program)
    }

    /// ϖ: address 0 and what follows each terminator, where a known opcode stands. Looks at
    /// opcodes alone.
    fn find_block_starts(&self) -> Vec<u8> {
        let mut starts = vec![0; self.bitmask.len()];
        // Where a block may start at the latest: behind the last terminator at its longest,
        // which ends in a gap, and that is no terminator.
        let mut latest = MAX_SKIP;
        for (index, byte) in self.bitmask.iter().enumerate() {
            let mut bits = *byte;
            let code = self.code.get(8 * index..).unwrap_or_default();
            while bits != 0 {
                let bit = bits.trailing_zeros();
                bits &= bits - 1;
                let pc = index as u32 * 8 + bit;
                let kind = code
                    .get(bit as usize)
                    .map_or(0, |byte| KINDS[usize::from(*byte)]);
                let starts_block = (kind & KNOWN != 0) & (pc <= latest);
                starts[index] |= u8::from(starts_block) << bit;
                latest = match kind & ENDS {
                    0 => 0,
                    _ => pc + 1 + MAX_SKIP,
                };
            }
        }
        starts
    }

    /// The code bytes; at most [`MAX_CODE_LEN`].
    pub fn code(&self) -> &[u8] {
        &self.code
    }

    /// Length of the code in bytes.
    pub fn code_len(&self) -> u32 {
        self.code.len() as u32
    }

    /// One bit per code byte, least significant first: instruction starts.
    pub fn bitmask(&self) -> &[u8] {
        &self.bitmask
    }

    /// The addresses dynamic jumps choose from.
    pub fn jump_table(&self) -> &[u32] {
        &self.jump_table
    }

    /// Whether an instruction (of known opcode or not) starts at `pc`.
    pub fn is_instruction_start(&self, pc: u32) -> bool {
        bit(&self.bitmask, pc)
    }

    /// Whether jumps may land on `pc`.
    pub fn is_block_start(&self, pc: u32) -> bool {
        bit(&self.block_starts, pc)
    }

    /// The opcode met at `pc`: `trap` where none starts, where the byte is
    /// unknown and outside of the code.
    pub fn opcode_at(&self, pc: i64) -> Opcode {
        let Ok(pc) = u32::try_from(pc) else {
            return Opcode::Trap;
        };
        if !self.is_instruction_start(pc) {
            return Opcode::Trap;
        }
        Opcode::from_byte(self.code[pc as usize]).unwrap_or(Opcode::Trap)
    }

    /// The instruction met at `pc`, `trap` in the cases of [`Self::opcode_at`].
    pub fn instruction_at(&self, pc: u32) -> Instruction {
        if !self.is_instruction_start(pc) {
            return Opcode::Trap.into();
        }
        Instruction::decode(&self.code, pc, skip(&self.bitmask, self.code_len(), pc))
    }

    /// The address of what runs after the instruction at `pc` when it doesn't jump.
    pub fn next_pc(&self, pc: u32) -> u32 {
        pc.saturating_add(1)
            .saturating_add(skip(&self.bitmask, self.code_len(), pc))
    }

    /// Every instruction start with its instruction, by rising address.
    pub fn instructions(&self) -> impl Iterator<Item = (u32, Instruction)> + '_ {
        Walk::new(self)
            .filter(|step| matches!(step.kind, StepKind::Instruction | StepKind::Unknown))
            .map(|step| (step.pc, step.instruction))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structure_is_checked() {
        let check = |code: &[u8], bitmask: &[u8]| {
            Program::new(code.to_vec(), bitmask.to_vec(), vec![]).map(|_| ())
        };
        assert_eq!(check(&[], &[]), Err(Error::EmptyCode));
        assert_eq!(check(&[0], &[2]), Err(Error::FirstBitClear));
        assert_eq!(
            check(&[0], &[]),
            Err(Error::BitmaskLength {
                expected: 1,
                actual: 0
            })
        );
        assert_eq!(
            check(&[0; 8], &[1, 0]),
            Err(Error::BitmaskLength {
                expected: 1,
                actual: 2
            })
        );
        assert_eq!(check(&[0], &[0xff]), Ok(()));
        let long = vec![0; MAX_CODE_LEN + 1];
        assert_eq!(
            check(&long, &[1]),
            Err(Error::CodeTooLong(long.len() as u64))
        );
        let table = Program::new(vec![0], vec![1], vec![0; MAX_JUMP_TABLE_LEN + 1]);
        assert!(matches!(table, Err(Error::JumpTableTooLong(_))));
    }

    #[test]
    fn block_starts_need_a_terminator_before_and_a_known_opcode() {
        // fallthrough; unknown; add_64; fallthrough, 3 bytes; trap; fallthrough
        let code = vec![1, 4, 200, 0, 0, 1, 200, 0, 0, 0, 1];
        let program = Program::new(code, vec![0b0010_0111, 0b110], vec![]).unwrap();
        let starts: Vec<u32> = (0..12).filter(|pc| program.is_block_start(*pc)).collect();
        // 1 is unknown; 2 follows an unknown byte, which is no terminator to jumps.
        assert_eq!(starts, [0, 9, 10]);
        assert_eq!(program.opcode_at(1), Opcode::Trap);
        assert_eq!(program.opcode_at(2), Opcode::Add64);
        assert_eq!(program.opcode_at(-1), Opcode::Trap);
        assert_eq!(program.opcode_at(i64::MAX), Opcode::Trap);
    }

    #[test]
    fn an_unknown_first_opcode_is_no_block_start() {
        let program = Program::new(vec![255, 0], vec![3], vec![]).unwrap();
        assert!(!program.is_block_start(0));
        assert!(!program.is_block_start(1));
    }
}
