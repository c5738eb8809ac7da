//! What is looked at in each slot, and at the end.

use jar_kernel::Store;

use super::World;
use crate::checks::Violation;
use crate::{NodeView, SlotView};

impl World {
    /// Nodes that keep the rules, and run.
    fn honest(&self) -> impl Iterator<Item = usize> {
        let nodes = self.nodes.iter().enumerate();
        nodes
            .filter(|(_, node)| node.byzantine.is_none() && node.process.is_some())
            .map(|(id, _)| id)
    }

    /// Takes note of what a node begins with: a commit may have been its last act.
    pub(super) fn check_start(&mut self, id: usize) {
        let node = &self.nodes[id];
        let Some(process) = &node.process else {
            return;
        };
        let head = process.kernel.head().clone();
        let mut hash = head.hash;
        while !self.checks.knows(&hash) {
            let Ok(Some(block)) = process.store.block(&hash) else {
                break;
            };
            self.checks.block(&block);
            hash = block.header.parent;
        }
        let (finalized, is_honest) = (process.kernel.finalized().hash, node.byzantine.is_none());
        let result = self.checks.state(&head);
        self.check(result);
        if is_honest {
            let result = self.checks.finalized(finalized);
            self.check(result);
        }
    }

    /// Slot of the last block that is final on a node.
    fn finalized_slot(&self, node: usize) -> u64 {
        let process = self.nodes[node].process.as_ref();
        process.map_or(0, |process| process.kernel.finalized().header.slot)
    }

    /// Takes note of where everyone is as a slot begins: at the end of the one before.
    pub(super) fn view_slot(&mut self, slot: u64) {
        // Slot 0 is the genesis block's.
        let Some(ended) = slot.checked_sub(1).filter(|ended| *ended > 0) else {
            return;
        };
        if self.keeps_views {
            let nodes = self.nodes.iter().map(|node| {
                let kernel = &node.process.as_ref()?.kernel;
                let (head, finalized) = (kernel.head(), kernel.finalized());
                Some(NodeView {
                    height: head.header.height,
                    head: head.hash,
                    state_root: head.header.state_root,
                    finalized_height: finalized.header.height,
                })
            });
            let nodes = nodes.collect();
            self.report.slots.push(SlotView { slot: ended, nodes });
        }
        let heal = self.scenario.heal;
        let slots: Vec<u64> = self
            .honest()
            .map(|node| self.finalized_slot(node))
            .collect();
        let has_resumed = slots.iter().all(|slot| *slot >= heal);
        if slot > heal && has_resumed && self.report.resumed_after.is_none() {
            self.note(format_args!("finality has resumed"));
            self.report.resumed_after = Some(slot - heal);
        }
    }

    pub(super) fn check_end(&mut self) {
        let heal = self.scenario.heal;
        self.count_change();
        for node in self.honest().collect::<Vec<_>>() {
            let slot = self.finalized_slot(node);
            if self.report.resumed_after.is_none() && slot < heal {
                self.check(Err(Violation::Stuck { node, slot, heal }));
            }
            self.check_canonical(node);
            let process = self.nodes[node].process.as_ref();
            let heights = process.map_or((0, 0), |process| {
                let (head, finalized) = (process.kernel.head(), process.kernel.finalized());
                (head.header.height, finalized.header.height)
            });
            self.report.height = self.report.height.max(heights.0);
            self.report.finalized_height = self.report.finalized_height.max(heights.1);
        }
    }

    /// Whether the spare validator has turns where the finalized height is highest.
    fn count_change(&mut self) {
        let kernels = self.honest().filter_map(|node| {
            let process = self.nodes[node].process.as_ref()?;
            Some(&process.kernel)
        });
        let best = kernels.max_by_key(|kernel| kernel.finalized().header.height);
        let (Some(kernel), Some(_)) = (best, self.scenario.change) else {
            return;
        };
        let (chain, state, spare) = (kernel.chain(), kernel.finalized(), self.scenario.validators);
        let has_turns = self.chain.has_turns(chain, state, spare);
        self.report.counts.changes += u64::from(has_turns.unwrap_or(false));
    }

    /// Everything final is on the chain of the head, and in the index by height.
    fn check_canonical(&mut self, node: usize) {
        let Some(process) = &self.nodes[node].process else {
            return;
        };
        let (head, finalized) = (process.kernel.head(), process.kernel.finalized());
        let first = process.driver.status().first_height;
        let mut hash = head.hash;
        let mut result = Ok(());
        for height in (first..=head.header.height).rev() {
            let is_final = height <= finalized.header.height;
            let agreed = self.checks.finalized_at(height);
            let stored = process.store.header(&hash).ok().flatten();
            let is_indexed = process.store.canonical(height).ok().flatten() == Some(hash);
            match stored {
                Some(stored) if is_indexed && (!is_final || agreed == Some(hash)) => {
                    hash = stored.header.parent;
                }
                _ => {
                    result = Err(Violation::HeadBelow { node });
                    break;
                }
            }
        }
        self.check(result);
    }
}
