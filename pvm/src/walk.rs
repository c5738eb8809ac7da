//! The code as execution meets it, in one linear pass.

use jar_isa::{Instruction, Opcode, skip};

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
    done: bool,
}

impl<'a> Walk<'a> {
    /// Starts at address 0.
    pub fn new(program: &'a Program) -> Self {
        Walk::starting_at(program, 0)
    }

    /// Starts at `pc`, which is the address of a step.
    pub(crate) fn starting_at(program: &'a Program, pc: u32) -> Self {
        Walk {
            program,
            pc,
            done: false,
        }
    }

    fn trap(pc: u32, kind: StepKind) -> Step {
        Step {
            pc,
            next: pc.saturating_add(1),
            instruction: Opcode::Trap.into(),
            kind,
        }
    }

    /// The first instruction start behind `pc`, or the end of the code.
    fn start_behind(&self, mut pc: u32) -> u32 {
        let end = self.program.code_len();
        loop {
            pc = pc.saturating_add(1 + skip(self.program.bitmask(), end, pc));
            if pc >= end || self.program.is_instruction_start(pc) {
                return pc.min(end);
            }
        }
    }
}

impl Iterator for Walk<'_> {
    type Item = Step;

    #[inline]
    fn next(&mut self) -> Option<Step> {
        if self.done {
            return None;
        }
        let (program, pc) = (self.program, self.pc);
        let end = program.code_len();
        if pc >= end {
            self.done = true;
            return Some(Walk::trap(pc, StepKind::End));
        }
        if !program.is_instruction_start(pc) {
            self.pc = self.start_behind(pc);
            return Some(Walk::trap(pc, StepKind::Gap));
        }
        let skip = skip(program.bitmask(), end, pc);
        let next = pc + 1 + skip;
        self.pc = next;
        let known = Opcode::from_byte(program.code()[pc as usize]).is_some();
        Some(Step {
            pc,
            next,
            instruction: Instruction::decode(program.code(), pc, skip),
            kind: if known {
                StepKind::Instruction
            } else {
                StepKind::Unknown
            },
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
}
