//! Blocks that only lead to a trap, marked so that branches to them are cheap.

use std::collections::{BTreeMap, BTreeSet};

use jar_isa::Opcode;

use crate::graph::{index, settle};
use crate::lower::{Block, Op};

/// Puts `unlikely` in front of each block from which the program can't return or halt, where
/// a branch chooses between it and another one.
pub(crate) fn mark(blocks: &mut [Block]) {
    let by_label = index(blocks);
    let returns = settle(blocks, false, |i, returns| {
        can_return(&blocks[i], &by_label, returns)
    });
    let choices: BTreeSet<u64> = blocks.iter().flat_map(choices).collect();
    for (block, returns) in blocks.iter_mut().zip(returns) {
        let traps = matches!(block.ops.first(), Some(Op::Plain(i)) if i.opcode == Opcode::Trap);
        if !returns && !traps && choices.contains(&block.label) {
            block.ops.insert(0, Op::Plain(Opcode::Unlikely.into()));
        }
    }
}

/// Whether the end of a block, or a block it leads to, returns or halts.
fn can_return(block: &Block, by_label: &BTreeMap<u64, usize>, returns: &[bool]) -> bool {
    let at = |label: u64| by_label.get(&label).is_some_and(|i| returns[*i]);
    block.next.is_some_and(at)
        || block.ops.iter().any(|op| match op {
            Op::Plain(inst) => {
                let halts = inst.opcode == Opcode::Ecalli && inst.x == 0;
                halts || matches!(inst.opcode, Opcode::JumpInd | Opcode::Ecall)
            }
            Op::Jump(_, label) => at(*label),
            Op::Call { label, ret, .. } => at(*label) && at(*ret),
            Op::CallIndirect { ret, .. } => at(*ret),
            Op::Code { .. } | Op::Wide(_) => false,
        })
}

/// Labels between which a branch at the end of the block chooses.
fn choices(block: &Block) -> Vec<u64> {
    match block.ops.last() {
        Some(Op::Jump(inst, label)) if inst.opcode != Opcode::Jump => {
            std::iter::once(*label).chain(block.next).collect()
        }
        _ => Vec::new(),
    }
}
