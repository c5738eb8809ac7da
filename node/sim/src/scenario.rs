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

/// A node whose disk is put back to an old copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restore {
    /// Which.
    pub node: usize,
    /// Slot in which the copy is taken.
    pub copied: u64,
    /// Slot in which it is put back.
    pub restored: u64,
    /// Whether the node can tell that it is a copy; if not, it may sign twice.
    pub is_told: bool,
}

/// A change of the validators: the spare one comes in the place of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Slot from which on it is submitted, until it has taken effect.
    pub slot: u64,
    /// The validator that leaves.
    pub leaves: usize,
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
    /// Disks that are put back to old copies.
    pub restores: Vec<Restore>,
    /// A validator whose key a second node has too, from a slot on.
    pub shared_key: Option<(usize, u64)>,
    /// A change of the validators.
    pub change: Option<Change>,
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
            restores: Vec::new(),
            shared_key: None,
            change: None,
            heal: 0,
            slots,
        }
    }

    /// What a seed means: four validators, at most one of them byzantine, and every fault.
    pub fn of_seed(seed: u64) -> Scenario {
        let mut dice = Dice::new(seed ^ 0x5eed);
        let faulty = dice.below(8);
        let byzantine = match faulty {
            0 => Some(Byzantine::Twins),
            1 => Some(Byzantine::Reckless),
            2 => Some(Byzantine::Withholding),
            3 => Some(Byzantine::Garbage),
            4 => Some(Byzantine::Twins),
            _ => None,
        };
        // A validator whose watermarks are old or not its own is a faulty one.
        let shared_key = (faulty == 5).then(|| (dice.below(4) as usize, dice.between(3, 20)));
        let copied = dice.between(3, 20);
        let restore = Restore {
            node: dice.below(4) as usize,
            copied,
            restored: copied + dice.between(2, FAULTY_SLOTS - 22),
            is_told: dice.per_mille(500),
        };
        let change = dice.per_mille(250).then(|| Change {
            slot: dice.between(2, FAULTY_SLOTS),
            leaves: dice.below(4) as usize,
        });
        let more = [
            byzantine == Some(Byzantine::Twins),
            shared_key.is_some(),
            change.is_some(),
        ];
        let nodes = 4 + more.into_iter().filter(|is_there| *is_there).count() as u64;
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
            restores: (faulty == 6).then_some(restore).into_iter().collect(),
            shared_key,
            change,
            heal: FAULTY_SLOTS,
            slots: FAULTY_SLOTS + RESUME_SLOTS,
        }
    }
}
