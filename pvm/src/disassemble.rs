//! Programs as text.

use std::fmt;

use jar_isa::WithTarget;

use crate::gas::{BlockMeter, GasModel};
use crate::program::Program;
use crate::walk::{Step, StepKind, Walk};

/// Shows a program block by block, with each gas block's address and cost in
/// the pipeline model. Jump targets are `@address`, with `!` where the jump panics.
pub struct Disassembly<'a>(pub &'a Program);

struct Target<'a>(&'a Program, i64);

impl fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Target(program, pc) = *self;
        let lands = u32::try_from(pc).is_ok_and(|pc| program.is_block_start(pc));
        write!(f, "@{pc}{}", if lands { "" } else { "!" })
    }
}

impl Disassembly<'_> {
    fn write_step(&self, f: &mut fmt::Formatter<'_>, step: &Step) -> fmt::Result {
        let target = Target(self.0, step.instruction.target(step.pc).unwrap_or(0));
        write!(
            f,
            "{:>8}  {}",
            step.pc,
            WithTarget(&step.instruction, target)
        )?;
        match step.kind {
            StepKind::Instruction => writeln!(f),
            StepKind::Unknown => {
                writeln!(f, "  ; unknown opcode {}", self.0.code()[step.pc as usize])
            }
            StepKind::Gap => writeln!(f, "  ; no instruction starts here"),
            StepKind::End => writeln!(f, "  ; end of the code"),
        }
    }
}

impl fmt::Display for Disassembly<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, pc) in self.0.jump_table().iter().enumerate() {
            let target = Target(self.0, i64::from(*pc));
            writeln!(f, "; jump table {}: {target}", 2 * (index + 1))?;
        }
        let mut meter = BlockMeter::new(self.0, GasModel::Pipeline);
        // The cost is known behind the block, but stands before it.
        let (mut lines, mut block) = (Walk::new(self.0), None);
        for step in Walk::new(self.0) {
            let start = *block.get_or_insert(step.pc);
            let Some(cost) = meter.step(&step) else {
                continue;
            };
            writeln!(f, "@{start}  ; cost {cost}")?;
            block = None;
            for line in lines.by_ref() {
                self.write_step(f, &line)?;
                if line.ends_block() {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// [`Disassembly`] as a string.
pub fn disassemble(program: &Program) -> String {
    Disassembly(program).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_costs_and_targets() {
        // load_imm r7, 5; jump -> 5; unknown; fallthrough; trap
        let code = vec![51, 7, 5, 40, 3, 255, 1, 0];
        let program = Program::new(code, vec![0b1110_1001], vec![7, 5]).unwrap();
        assert_eq!(
            disassemble(&program),
            "\
; jump table 2: @7
; jump table 4: @5!
@0  ; cost 15
       0  load_imm r7, 5
       3  jump @6!
@5  ; cost 2
       5  trap  ; unknown opcode 255
@6  ; cost 2
       6  fallthrough
@7  ; cost 2
       7  trap
@8  ; cost 2
       8  trap  ; end of the code
"
        );
    }
}
