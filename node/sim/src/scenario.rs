//! What a seed means: who is byzantine, what breaks, and when all of it is healed.

use crate::rng::Dice;

/// How one of the validators breaks the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Byzantine {
    /// Runs twice with one key and no watermark, each half in touch with other validators: it
    /// seals two blocks for a slot, and votes for each of two forks.
    Twins,
    /// Signs whatever the chain's program asks for, as often as it asks, and forgets what it
    /// signed: it votes twice.
    Reckless,
    /// Builds blocks and shows them late; answers nobody.
    Withholding,
    /// Sends garbage: noise, damaged blocks, sealed blocks that are invalid, claims of chains
    /// that do not exist.
    Garbage,
}

/// A span of time slots, the end excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First slot.
    pub from: u64,
    /// The slot after the last.
    pub to: u64,
}

/// Nodes that are apart from the others for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// When.
    pub span: Span,
    /// Bit i: node i is on the one side, else on the other.
    pub side: u64,
    /// Whether connections break, or only nothing comes through.
    pub disconnects: bool,
}

/// A node that is down for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// When.
    pub span: Span,
    /// Which.
    pub node: usize,
    /// Whether the node dies in the middle of a commit rather than between two.
    pub in_commit: bool,
}

/// What happens in a simulation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Where all chance comes from.
    pub seed: u64,
    /// Number of validators.
    pub validators: usize,
    /// How the first validator breaks the rules, if it does.
    pub byzantine: Option<Byzantine>,
    /// When a node without a key joins, and whether it fetches the state instead of all blocks.
    pub joiner: Option<(u64, bool)>,
    /// Length of a slot in milliseconds.
    pub slot_ms: u64,
    /// Messages take this long, in milliseconds, from and to.
    pub delay_ms: (u64, u64),
    /// Of a thousand messages, so many are lost.
    pub loss: u64,
    /// Of a thousand messages, so many come twice.
    pub duplication: u64,
    /// Clocks are off by this many milliseconds at the most.
    pub skew_ms: u64,
    /// Of a thousand slots, in how many a transfer is submitted.
    pub traffic: u64,
    /// Partitions; none lasts longer than `heal`.
    pub partitions: Vec<Partition>,
    /// Outages; none lasts longer than `heal`.
    pub outages: Vec<Outage>,
    /// From this slot on nothing is broken but the byzantine node.
    pub heal: u64,
    /// Slots until the end.
    pub slots: u64,
}

/// Slots after which finality has resumed when all is healed, by the rules of the chain, however
/// long the faults lasted.
pub const RESUME_SLOTS: u64 = 16;

/// Slots with faults.
const FAULTY_SLOTS: u64 = 40;
const SLOT_MS: u64 = 6000;

impl Scenario {
    /// Nothing breaks.
    pub fn calm(seed: u64, validators: usize, slots: u64) -> Scenario {
        Scenario {
            seed,
            validators,
            byzantine: None,
            joiner: None,
            slot_ms: SLOT_MS,
            delay_ms: (5, 50),
            loss: 0,
            duplication: 0,
            skew_ms: 0,
            traffic: 1000,
            partitions: Vec::new(),
            outages: Vec::new(),
            heal: 0,
            slots,
        }
    }

    /// What a seed means: four validators, at most one of them byzantine, and every fault.
    pub fn of_seed(seed: u64) -> Scenario {
        let mut dice = Dice::new(seed ^ 0x5eed);
        let byzantine = match dice.below(6) {
            0 => Some(Byzantine::Twins),
            1 => Some(Byzantine::Reckless),
            2 => Some(Byzantine::Withholding),
            3 => Some(Byzantine::Garbage),
            4 => Some(Byzantine::Twins),
            _ => None,
        };
        let nodes = 4 + u64::from(byzantine == Some(Byzantine::Twins));
        let span = |dice: &mut Dice| {
            let from = dice.between(2, FAULTY_SLOTS - 4);
            let to = from + dice.between(1, FAULTY_SLOTS - from);
            Span { from, to }
        };
        let partitions = (0..dice.below(4)).map(|_| Partition {
            span: span(&mut dice),
            side: dice.between(1, (1 << nodes) - 2),
            disconnects: dice.per_mille(500),
        });
        let partitions = partitions.collect();
        let outages = (0..dice.below(5)).map(|_| Outage {
            span: span(&mut dice),
            node: dice.below(nodes) as usize,
            in_commit: dice.per_mille(500),
        });
        let outages = outages.collect();
        let late = dice.per_mille(300);
        let joiner = late.then(|| (dice.between(10, FAULTY_SLOTS - 1), dice.per_mille(500)));
        let delay_ms = (dice.between(1, 20), dice.between(20, SLOT_MS / 3));
        Scenario {
            seed,
            validators: 4,
            byzantine,
            joiner,
            slot_ms: SLOT_MS,
            delay_ms,
            loss: [0, 10, 50, 150, 300][dice.below(5) as usize],
            duplication: [0, 20, 200][dice.below(3) as usize],
            skew_ms: dice.below(SLOT_MS / 8),
            traffic: 400,
            partitions,
            outages,
            heal: FAULTY_SLOTS,
            slots: FAULTY_SLOTS + RESUME_SLOTS,
        }
    }
}
