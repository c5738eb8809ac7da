//! A seeded simulation of a network: the kernel and [`jar_driver`] as they are, over disks in
//! memory and a network that delays, loses, doubles, reorders and splits, in virtual time.
//!
//! A [`Scenario`] says what breaks and who is byzantine; [`simulate`] plays it and checks that
//! no two conflicting blocks are final, that each block has one state everywhere, that no honest
//! validator signs twice or is banned, that nothing committed is lost, and that finality resumes
//! within [`RESUME_SLOTS`] after everything is healed. A seed replays exactly, byte for byte of
//! its log.

mod checks;
mod counts;
mod network;
mod process;
mod rng;
mod scenario;
mod store;
mod token;
mod weakened;
mod world;

use std::sync::Arc;

use jar_cap::Hash;
use jar_pvm::Engine;

pub use checks::Violation;
pub use counts::Counts;
pub use scenario::{Byzantine, Change, Outage, Partition, RESUME_SLOTS, Restore, Scenario, Span};
pub use store::{CrashAt, CrashStore};

use token::TokenChain;
use world::World;

/// Most validators a simulated network has at first.
pub const VALIDATORS_MAX: usize = 8;

/// What came of a simulation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The promise that was broken, if one was: the simulation ends there.
    pub violation: Option<Violation>,
    /// Two blocks that would both be final if a justified block with a justified child were: the
    /// chain's rule is stronger.
    pub weakened: Option<Violation>,
    /// Slots after the healing when all nodes had finalized a block made after it.
    pub resumed_after: Option<u64>,
    /// Height of the best head.
    pub height: u64,
    /// Height of the last finalized block.
    pub finalized_height: u64,
    /// How often what happened.
    pub counts: Counts,
    /// Milliseconds that passed in the world.
    pub virtual_ms: u64,
    /// Where every node was at the end of each slot, if that was asked for.
    pub slots: Vec<SlotView>,
    /// What happened, a line each, if that was asked for.
    pub log: String,
}

/// Where every node was at the end of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotView {
    /// The slot.
    pub slot: u64,
    /// The nodes; `None` for one that was down.
    pub nodes: Vec<Option<NodeView>>,
}

/// Where a node was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// Height of its head.
    pub height: u64,
    /// Hash of its head.
    pub head: Hash,
    /// State root of its head.
    pub state_root: Hash,
    /// Height of its last finalized block.
    pub finalized_height: u64,
}

/// What a report holds beside its figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// A line for everything that happens.
    pub log: bool,
    /// Where every node is at the end of each slot.
    pub slots: bool,
}

/// Plays a scenario on the token chain.
pub fn simulate(scenario: &Scenario, engine: Arc<dyn Engine>, detail: Detail) -> Report {
    let validators = scenario.validators.min(VALIDATORS_MAX);
    let spares = usize::from(scenario.change.is_some());
    let chain = TokenChain::new(validators, spares, scenario.slot_ms, engine);
    World::new(scenario.clone(), chain, detail).run()
}

/// A network of some validators where nothing breaks, for some slots: where every node was at
/// the end of each.
pub fn testnet(validators: usize, slots: u64, engine: Arc<dyn Engine>) -> Report {
    // The end of the last slot is the beginning of the next.
    let scenario = Scenario::calm(0, validators, slots + 1);
    let detail = Detail {
        slots: true,
        ..Detail::default()
    };
    simulate(&scenario, engine, detail)
}

/// The first four bytes of a hash, for people.
fn hex8(hash: &Hash) -> String {
    jar_kernel::hex(&hash[..4])
}
