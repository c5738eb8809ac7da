//! What a block costs.

use jar_isa::Opcode;

use crate::pipeline::Pipeline;
use crate::program::Program;
use crate::walk::{Step, StepKind};

/// How a block's gas is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GasModel {
    /// 1 per instruction.
    Unit,
    /// The cycles of a small out-of-order machine.
    Pipeline,
    /// Nothing is charged and no code is spent on it, so that a program that loops never
    /// stops: for measuring what metering costs.
    #[cfg(feature = "unmetered")]
    Unmetered,
}

impl GasModel {
    /// Whether blocks have a cost at all.
    pub(crate) fn is_metered(self) -> bool {
        matches!(self, GasModel::Unit | GasModel::Pipeline)
    }
}

/// Whether the branch at `step` has a trap or a cold block on either side.
fn is_cold(program: &Program, step: &Step) -> bool {
    let cold = |pc| matches!(program.opcode_at(pc), Opcode::Trap | Opcode::Unlikely);
    cold(i64::from(step.next)) || step.instruction.target(step.pc).is_some_and(cold)
}

/// Meters the blocks of a program one after the other, in one pass and
/// constant memory.
pub struct BlockMeter<'a> {
    program: &'a Program,
    model: GasModel,
    count: u32,
    pipeline: Pipeline,
}

impl<'a> BlockMeter<'a> {
    /// A meter before its first block.
    pub fn new(program: &'a Program, model: GasModel) -> Self {
        BlockMeter {
            program,
            model,
            count: 0,
            pipeline: Pipeline::new(),
        }
    }

    /// Takes the block's next step.
    #[inline]
    pub fn step(&mut self, step: &Step) {
        match self.model {
            #[cfg(feature = "unmetered")]
            GasModel::Unmetered => {}
            GasModel::Unit => self.count += 1,
            GasModel::Pipeline => {
                let program = self.program;
                self.pipeline
                    .decode(&step.instruction, || is_cold(program, step));
            }
        }
    }

    /// The cost of a block of one trap: what stands where execution can't flow to.
    pub fn lone_trap(&mut self) -> u32 {
        self.step(&Step {
            pc: 0,
            next: 1,
            instruction: Opcode::Trap.into(),
            kind: StepKind::Gap,
        });
        self.finish()
    }

    /// Ends the block: its cost. At most 2^29 for the longest code.
    pub fn finish(&mut self) -> u32 {
        match self.model {
            #[cfg(feature = "unmetered")]
            GasModel::Unmetered => 0,
            GasModel::Unit => std::mem::take(&mut self.count),
            GasModel::Pipeline => self.pipeline.drain().saturating_sub(3).max(1),
        }
    }
}
