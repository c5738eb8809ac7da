//! What a block costs.

use jar_isa::{Instruction, Opcode};

use crate::pipeline::{Operation, Pipeline, Row};
use crate::program::Program;
use crate::walk::{Place, Step, StepKind};

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

/// Whether a branch at `pc` has a trap or a cold block on either side.
pub(crate) fn is_cold(program: &Program, pc: u32, next: u32, branch: &Instruction) -> bool {
    let cold = |pc| matches!(program.opcode_at(pc), Opcode::Trap | Opcode::Unlikely);
    cold(i64::from(next)) || branch.target(pc).is_some_and(cold)
}

/// How many operations are collected before the pipeline sees them, so that both loops repeat
/// themselves.
pub(crate) const QUEUE: usize = 64;

/// Meters the blocks of a program one after the other, in one pass and
/// constant memory.
pub struct BlockMeter<'a> {
    program: &'a Program,
    model: GasModel,
    count: u32,
    pipeline: Pipeline,
    queue: [Operation; QUEUE],
    queued: usize,
}

impl<'a> BlockMeter<'a> {
    /// A meter before its first block.
    pub fn new(program: &'a Program, model: GasModel) -> Self {
        BlockMeter {
            program,
            model,
            count: 0,
            pipeline: Pipeline::new(),
            queue: [Operation::NONE; QUEUE],
            queued: 0,
        }
    }

    /// How it counts.
    pub fn model(&self) -> GasModel {
        self.model
    }

    /// Takes the next step. Behind the last of a block, the block's cost: at most 2^29 for the
    /// longest code.
    #[inline]
    pub fn step(&mut self, step: &Step) -> Option<u32> {
        let Step {
            pc,
            next,
            instruction,
            ..
        } = step;
        let Instruction { ra, rb, rd, .. } = *instruction;
        let program = self.program;
        let cold = || is_cold(program, *pc, *next, instruction);
        self.add(Operation::new(instruction.opcode, [ra, rb, rd], cold))
    }

    /// As [`Self::step`].
    #[inline(always)]
    pub(crate) fn add(&mut self, operation: Operation) -> Option<u32> {
        self.put(operation);
        if !operation.is_last() && self.queued < QUEUE {
            return None;
        }
        let mut cost = None;
        self.settle(|block| cost = Some(block));
        cost
    }

    /// Takes the next instruction, whose opcode has `row`; of them, at most [`QUEUE`] until
    /// [`Self::settle`]. Short where the row is a constant.
    #[inline(always)]
    pub(crate) fn take(&mut self, row: Row, place: &Place, instruction: &Instruction) {
        let Instruction { ra, rb, rd, .. } = *instruction;
        let program = self.program;
        let cold = || is_cold(program, place.pc, place.next(), instruction);
        self.put(row.operation([ra, rb, rd], cold));
    }

    #[inline(always)]
    fn put(&mut self, operation: Operation) {
        self.queue[self.queued % QUEUE] = operation;
        self.queued += 1;
    }

    /// Gives the costs of the blocks that ended since the last time.
    #[inline(never)]
    pub(crate) fn settle(&mut self, mut ended: impl FnMut(u32)) {
        let queued = &self.queue[..self.queued.min(QUEUE)];
        self.queued = 0;
        match self.model {
            #[cfg(feature = "unmetered")]
            GasModel::Unmetered => (queued.iter())
                .filter(|operation| operation.is_last())
                .for_each(|_| ended(0)),
            GasModel::Unit => {
                for operation in queued {
                    self.count += 1;
                    if operation.is_last() {
                        ended(std::mem::take(&mut self.count));
                    }
                }
            }
            GasModel::Pipeline => {
                let cost = |cycles: u32| cycles.saturating_sub(3).max(1);
                self.pipeline.run(queued, |cycles| ended(cost(cycles)));
            }
        }
    }

    /// The cost of a block of one trap: what stands where execution can't flow to. Asked for
    /// between blocks.
    pub fn lone_trap(&mut self) -> u32 {
        let trap = Step {
            pc: 0,
            next: 1,
            instruction: Opcode::Trap.into(),
            kind: StepKind::Gap,
        };
        self.step(&trap).expect("a trap ends its block")
    }
}
