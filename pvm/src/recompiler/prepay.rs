//! Paying for blocks in the blocks before them.
//!
//! What machine code holds as gas may be less than there is, by what has been *prepaid* for the
//! block to come. A block that always leads to the same one, by a jump, a call or by running on,
//! pays for that one too, and so does each dynamic jump for the least that the table's blocks
//! cost. So a block charges `cost − before + ahead`, and where that is nothing, it has no charge.
//! Gas is looked at behind a host call: there, nothing may be prepaid. Nor is it over a branch,
//! where one of the two ways needs room for a charge anyway, and an instruction that does nothing
//! takes as long.

use crate::positions::Positions;

/// How a block ends.
#[derive(Clone, Copy)]
pub(super) struct Link(u32);

/// The bits of the pc that its jump leads to, and in place of one.
const NOWHERE: u32 = (1 << 24) - 1;
const RUNS_ON: u32 = 1 << 24;
const DYNAMIC: u32 = 1 << 25;
const BRANCH: u32 = 1 << 26;
const CALLS: u32 = 1 << 27;
const LONE_TRAP: u32 = 1 << 28;

impl Link {
    /// It leads nowhere.
    pub const NONE: Link = Link(NOWHERE);

    /// It jumps to `pc`, a block's.
    pub fn jump(&mut self, pc: u32) {
        self.0 = self.0 & !NOWHERE | pc;
    }

    /// It always runs on into the next block.
    pub fn run_on(&mut self) {
        self.0 |= RUNS_ON;
    }

    /// It may run on into the next block.
    pub fn branch(&mut self) {
        self.0 |= RUNS_ON | BRANCH;
    }

    /// It jumps through the table.
    pub fn jump_dynamically(&mut self) {
        self.0 |= DYNAMIC;
    }

    /// It has a host call.
    pub fn call(&mut self) {
        self.0 |= CALLS;
    }

    /// It is one trap, which the engine charges.
    pub fn trap(&mut self) {
        self.0 |= LONE_TRAP;
    }

    fn has(self, flags: u32) -> bool {
        self.0 & flags != 0
    }

    fn target(self) -> Option<u32> {
        Some(self.0 & NOWHERE).filter(|pc| *pc != NOWHERE)
    }
}

/// Amounts by block.
#[derive(Default)]
pub(super) struct Prepaid {
    before: Vec<u32>,
    ahead: Vec<u32>,
}

impl Prepaid {
    /// What has been paid of block `index` when it is run into.
    pub fn before(&self, index: usize) -> u32 {
        self.before.get(index).copied().unwrap_or(0)
    }

    /// What block `index` has paid for the next, behind its own charge.
    pub fn ahead(&self, index: usize) -> u32 {
        self.ahead.get(index).copied().unwrap_or(0)
    }
}

/// No amount is greater.
const PREPAID_MAX: u32 = 1 << 16;
/// How often amounts are raised as far as others allow: once is enough where no jump leads back.
const ROUNDS: usize = 3;

/// Who pays for a block; each outweighs those above.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Payer {
    /// Nothing leads to it but the engine, which pays for it in any case.
    Engine,
    /// Those that lead to it.
    Before,
    /// As for all of the table's blocks.
    Table,
    /// It alone.
    Itself,
}

/// What is prepaid in a program of these blocks. `table`: where dynamic jumps may lead.
pub(super) fn prepaid(blocks: &Positions, links: &[Link], costs: &[u32], table: &[u32]) -> Prepaid {
    let index = |pc: u32| blocks.rank(pc).map(|index| index as usize);
    let mut payers = vec![Payer::Engine; links.len()];
    for block in table.iter().filter_map(|pc| index(*pc)) {
        payers[block] = Payer::Table;
    }
    // The block that each always leads to.
    let mut next = vec![None; links.len()];
    let mut tabled = true;
    for (block, link) in links.iter().enumerate() {
        let target = link.target().and_then(index);
        let behind = Some(block + 1).filter(|_| link.has(RUNS_ON));
        if !link.has(BRANCH | CALLS) {
            next[block] = target.or(behind);
            if let Some(next) = next[block] {
                payers[next] = payers[next].max(Payer::Before);
            }
            continue;
        }
        tabled &= !(link.has(CALLS) && link.has(DYNAMIC));
        for block in [target, behind].into_iter().flatten() {
            tabled &= payers[block] != Payer::Table;
            payers[block] = Payer::Itself;
        }
    }
    // Amounts only grow, and none beyond what the others allow: no charge is negative, whenever
    // this ends.
    let mut before = vec![0; links.len()];
    let mut dynamic = 0;
    let ahead = |before: &[u32], dynamic: u32, block: usize| match next[block] {
        Some(next) => before[next],
        None if links[block].has(DYNAMIC) => dynamic,
        None => 0,
    };
    for _ in 0..ROUNDS {
        let mut least = None;
        for block in (0..links.len()).rev() {
            let whole = (costs[block] + ahead(&before, dynamic, block)).min(PREPAID_MAX);
            match payers[block] {
                Payer::Engine | Payer::Itself => {}
                Payer::Before => before[block] = whole,
                // It asks for as much as it pays.
                Payer::Table if next[block].is_none() && links[block].has(DYNAMIC | LONE_TRAP) => {}
                Payer::Table => least = Some(least.map_or(whole, |least: u32| least.min(whole))),
            }
        }
        dynamic = least.filter(|_| tabled).unwrap_or(0);
        let table = payers.iter().zip(&mut before);
        for (_, before) in table.filter(|(payer, _)| **payer == Payer::Table) {
            *before = dynamic;
        }
    }
    let ahead = (0..links.len()).map(|block| ahead(&before, dynamic, block));
    Prepaid {
        ahead: ahead.collect(),
        before,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever leads where: who leads to a block has paid what it asks for, no charge is
    /// negative, and out of blocks with host calls nothing is paid.
    #[test]
    fn all_that_lead_to_a_block_pay_the_same() {
        let mut state = 1u64;
        let mut below = |limit: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005);
            state = state.wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % limit
        };
        let mut free = 0;
        for _ in 0..2000 {
            let count = 1 + below(12);
            // Block i is at pc 3 i.
            let mut blocks = Positions::new(3 * count as u32);
            let (mut links, mut costs) = (vec![], vec![]);
            for block in 0..count {
                blocks.push(3 * block as u32);
                costs.push(1 + below(50) as u32);
                let mut link = Link::NONE;
                let last = block + 1 == count;
                match below(6) {
                    0 => link.jump_dynamically(),
                    1 if !last => link.run_on(),
                    2 if !last => {
                        link.branch();
                        link.jump(3 * below(count) as u32);
                    }
                    3 => link.trap(),
                    _ => link.jump(3 * below(count) as u32),
                }
                if below(8) == 0 && !link.has(LONE_TRAP) {
                    link.call();
                }
                links.push(link);
            }
            let table: Vec<u32> = (0..below(4)).map(|_| 3 * below(count) as u32).collect();
            let prepaid = prepaid(&blocks, &links, &costs, &table);
            for (block, link) in links.iter().enumerate() {
                let (before, ahead) = (prepaid.before(block), prepaid.ahead(block));
                assert!(link.has(LONE_TRAP) || before <= costs[block] + ahead);
                free += usize::from(before == costs[block] + ahead);
                let target = link.target().map(|pc| pc as usize / 3);
                let behind = Some(block + 1).filter(|_| link.has(RUNS_ON));
                for next in target.into_iter().chain(behind) {
                    assert_eq!(prepaid.before(next), ahead);
                }
                if link.has(DYNAMIC) {
                    for pc in &table {
                        assert_eq!(prepaid.before(*pc as usize / 3), ahead);
                    }
                }
                assert!(ahead == 0 || !link.has(CALLS | BRANCH));
            }
        }
        assert!(free > 1000, "blocks without a charge");
    }
}
