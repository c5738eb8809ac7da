//! Which blocks lead to which, and facts that spread along that backwards.

use std::collections::BTreeMap;

use crate::lower::{Block, Op};

/// Blocks by label.
pub(crate) fn index(blocks: &[Block]) -> BTreeMap<u64, usize> {
    let labels = blocks.iter().enumerate();
    labels.map(|(i, block)| (block.label, i)).collect()
}

/// For each block those that name it: by a jump, a call, a return address, or by falling
/// through.
fn predecessors(blocks: &[Block], by_label: &BTreeMap<u64, usize>) -> Vec<Vec<usize>> {
    let mut out = vec![Vec::new(); blocks.len()];
    for (i, block) in blocks.iter().enumerate() {
        let mut name = |label: u64| {
            if let Some(to) = by_label.get(&label) {
                out[*to].push(i);
            }
        };
        block.next.into_iter().for_each(&mut name);
        for op in &block.ops {
            match *op {
                Op::Jump(_, label) => name(label),
                Op::Call { label, ret, .. } => {
                    name(label);
                    name(ret);
                }
                Op::CallIndirect { ret, .. } => name(ret),
                Op::Plain(_) | Op::Code { .. } | Op::Wide(_) => {}
            }
        }
    }
    out
}

/// The smallest facts with `facts[i] = fact(i, facts)`, which must only ever grow. A block is
/// looked at again when one that it names has changed, so that the work is bounded by the
/// number of edges times the times a fact can grow.
pub(crate) fn settle<T: Clone + PartialEq>(
    blocks: &[Block],
    smallest: T,
    fact: impl Fn(usize, &[T]) -> T,
) -> Vec<T> {
    let preds = predecessors(blocks, &index(blocks));
    let mut facts = vec![smallest; blocks.len()];
    let mut work: Vec<usize> = (0..blocks.len()).collect();
    let mut queued = vec![true; blocks.len()];
    while let Some(i) = work.pop() {
        queued[i] = false;
        let new = fact(i, &facts);
        if new == facts[i] {
            continue;
        }
        facts[i] = new;
        for &pred in &preds[i] {
            if !std::mem::replace(&mut queued[pred], true) {
                work.push(pred);
            }
        }
    }
    facts
}
