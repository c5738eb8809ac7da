//! The code as execution meets it, in one linear pass.

use jar_isa::{Instruction, MAX_SKIP, Opcode};

use crate::program::Program;

/// Why a [`Step`] stands where it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepKind {
    /// A known opcode at an instruction start.
    Instruction,
    /// An unknown opcode at an instruction start: a trap.
    Unknown,
    /// No instruction starts here, but the one before, at its greatest length,
    /// ends here: a trap.
    Gap,
    /// The end of the code: a trap.
    End,
}

/// One place that execution can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Its address.
    pub pc: u32,
    /// The address that follows when it doesn't jump.
    pub next: u32,
    /// What it does.
    pub instruction: Instruction,
    /// Why it is here.
    pub kind: StepKind,
}

impl Step {
    /// Whether the gas block ends behind it.
    pub fn ends_block(&self) -> bool {
        self.instruction.opcode.is_terminator()
    }
}

/// Every [`Step`] of a program by rising address, the last at the code's length.
pub struct Walk<'a> {
    program: &'a Program,
    pc: u32,
    /// An instruction starts at `pc`.
    at_start: bool,
    /// The first instruction start behind `pc`, or the end of the code.
    ahead: u32,
    /// The starts behind `ahead` in its word of the bitmask, and the bytes' index behind that word.
    starts: u64,
    bytes: usize,
    done: bool,
}

/// Bits of a word.
const WORD: u32 = u64::BITS;

impl<'a> Walk<'a> {
    /// Starts at address 0.
    pub fn new(program: &'a Program) -> Self {
        Walk::starting_at(program, 0)
    }

    /// Starts at `pc`, which is the address of a step.
    pub(crate) fn starting_at(program: &'a Program, pc: u32) -> Self {
        let mut walk = Walk {
            program,
            pc,
            at_start: program.is_instruction_start(pc),
            ahead: pc,
            starts: 0,
            bytes: (pc / WORD) as usize * 8,
            done: false,
        };
        walk.take_word();
        // Those behind `pc`.
        walk.starts &= (u64::MAX - 1) << (pc % WORD);
        walk.ahead = walk.next_start();
        walk
    }

    #[inline(always)]
    fn take_word(&mut self) {
        let rest = self.program.bitmask().get(self.bytes..);
        let rest = rest.unwrap_or_default();
        self.starts = match rest.first_chunk() {
            Some(bytes) => u64::from_le_bytes(*bytes),
            None => rest
                .iter()
                .rfold(0, |word, byte| word << 8 | u64::from(*byte)),
        };
        self.bytes += 8;
    }

    /// Takes the next start, or the end of the code.
    #[inline(always)]
    fn next_start(&mut self) -> u32 {
        while self.starts == 0 {
            if self.bytes >= self.program.bitmask().len() {
                return self.program.code_len();
            }
            self.take_word();
        }
        let bit = self.starts.trailing_zeros();
        self.starts &= self.starts - 1;
        self.bytes as u32 * 8 - WORD + bit
    }

    /// Goes on to `ahead`.
    #[inline(always)]
    fn go_ahead(&mut self) {
        (self.pc, self.at_start) = (self.ahead, true);
        self.ahead = self.next_start();
    }

    /// Goes on to the next step: where it is, without what it does.
    #[inline(always)]
    pub(crate) fn advance(&mut self) -> Option<Place> {
        let pc = self.pc;
        if !self.at_start | (pc >= self.program.code_len()) {
            return self.advance_trap();
        }
        let skip = (self.ahead - pc - 1).min(MAX_SKIP);
        if pc + 1 + skip == self.ahead {
            self.go_ahead();
        } else {
            (self.pc, self.at_start) = (pc + 1 + skip, false);
        }
        Some(Place {
            pc,
            skip,
            kind: StepKind::Instruction,
        })
    }

    #[cold]
    fn advance_trap(&mut self) -> Option<Place> {
        let pc = self.pc;
        let kind = match pc < self.program.code_len() {
            true => StepKind::Gap,
            false if self.done => return None,
            false => StepKind::End,
        };
        match kind {
            StepKind::Gap => self.go_ahead(),
            _ => self.done = true,
        }
        Some(Place { pc, skip: 0, kind })
    }
}

/// Where a [`Step`] is.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub pc: u32,
    /// Bytes between it and what follows when it doesn't jump, but for its first.
    pub skip: u32,
    /// An opcode that is unknown counts as an instruction here.
    pub kind: StepKind,
}

impl Place {
    /// The address that follows when it doesn't jump.
    pub fn next(&self) -> u32 {
        self.pc.saturating_add(1).saturating_add(self.skip)
    }
}

impl Iterator for Walk<'_> {
    type Item = Step;

    #[inline(always)]
    fn next(&mut self) -> Option<Step> {
        let place = self.advance()?;
        let (pc, code) = (place.pc, self.program.code());
        let (instruction, kind) = match place.kind {
            StepKind::Instruction => {
                let known = Opcode::from_byte(code[pc as usize]).is_some();
                let kind = match known {
                    true => StepKind::Instruction,
                    false => StepKind::Unknown,
                };
                (Instruction::decode(code, pc, place.skip), kind)
            }
            trap => (Opcode::Trap.into(), trap),
        };
        Some(Step {
            pc,
            next: place.next(),
            instruction,
            kind,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_and_the_end_are_steps() {
        let mut bitmask = vec![0u8; 13];
        bitmask[0] = 1;
        bitmask[10] = 1;
        let program = Program::new(vec![1; 100], bitmask, vec![]).unwrap();
        let steps: Vec<_> = Walk::new(&program)
            .map(|s| (s.pc, s.next, s.kind))
            .collect();
        let expected = [
            (0, 25, StepKind::Instruction),
            (25, 26, StepKind::Gap),
            (80, 100, StepKind::Instruction),
            (100, 101, StepKind::End),
        ];
        assert_eq!(steps, expected);
    }

    /// Steps follow from the bitmask alone, and a walk from any of them goes on alike.
    #[test]
    fn steps_follow_the_bitmask() {
        let mut state = 7u64;
        for len in 1..300usize {
            let mut bitmask = vec![0u8; len.div_ceil(8)];
            for byte in &mut bitmask {
                state = state.wrapping_mul(6_364_136_223_846_793_005);
                state = state.wrapping_add(1_442_695_040_888_963_407);
                // Sparse and dense, with gaps longer than instructions and than words.
                let bits = (state >> 33) as u32;
                *byte = match len % 3 {
                    0 => bits as u8,
                    1 => bits as u8 & (bits >> 8) as u8 & (bits >> 16) as u8,
                    _ if bits.is_multiple_of(16) => 1,
                    _ => 0,
                };
            }
            bitmask[0] |= 1;
            let program = Program::new(vec![200; len], bitmask, vec![]).unwrap();
            let steps: Vec<Step> = Walk::new(&program).collect();
            let mut expected = 0;
            for step in &steps {
                assert_eq!(step.pc, expected);
                let start = program.is_instruction_start(step.pc);
                assert_eq!(start, step.kind == StepKind::Instruction);
                let end = program.code_len();
                let behind = |pc: u32| (pc + 1..end).find(|pc| program.is_instruction_start(*pc));
                let behind = behind(step.pc).unwrap_or(end);
                expected = match step.kind {
                    StepKind::Instruction => behind.min(step.pc + 1 + MAX_SKIP),
                    _ => behind,
                };
                if start {
                    assert_eq!(step.next, program.next_pc(step.pc));
                    assert_eq!(step.instruction, program.instruction_at(step.pc));
                }
            }
            assert_eq!(steps.last().map(|step| step.pc), Some(program.code_len()));
            for (index, step) in steps.iter().enumerate() {
                let rest: Vec<Step> = Walk::starting_at(&program, step.pc).collect();
                assert_eq!(rest, steps[index..]);
            }
        }
    }
}
