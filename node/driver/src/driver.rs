//! The driver: one state machine of the parts that decide.

use crate::config::Config;
use crate::io::{Effect, Input, PeerId};
use crate::messages::{BlockRef, Status};

/// What the node is doing about its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It follows the chain, or knows of no better one.
    Following,
    /// It fetches the state of a finalized block.
    State,
    /// It fetches blocks.
    Blocks,
}

/// How far the node has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What it is doing.
    pub stage: Stage,
    /// Height of the head.
    pub height: u64,
    /// Height of the best block that a peer claims, or of the head.
    pub target: u64,
    /// State records fetched by this process.
    pub records: u64,
    /// Their bytes.
    pub record_bytes: u64,
    /// State records known to be missing.
    pub records_missing: u64,
}

/// What is known of a connected peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// Who.
    pub id: PeerId,
    /// What it said last.
    pub status: Option<Status>,
    /// How badly it behaved of late: 0 is good, 100 bans.
    pub badness: u64,
    /// Requests to it in flight.
    pub requests: usize,
}

/// The node's decisions.
#[derive(Clone, Debug)]
pub struct Driver {
    config: Config,
    head: BlockRef,
    finalized: BlockRef,
    /// The highest slot that is done with: built, tried, or the head's.
    done: u64,
    stopped: bool,
}

impl Driver {
    /// A driver for a chain as the kernel opened it.
    pub fn new(config: Config) -> Self {
        Driver {
            head: config.head,
            finalized: config.finalized,
            done: config.head.slot,
            stopped: false,
            config,
        }
    }

    /// What this node says of itself.
    pub fn status(&self) -> Status {
        Status {
            genesis: self.config.genesis,
            head: self.head,
            finalized: self.finalized,
            first_height: self.config.first_height,
        }
    }

    /// Takes note of what happened at `now_ms`, and says what to do, in order.
    pub fn handle(&mut self, input: Input, now_ms: u64) -> Vec<Effect> {
        match input {
            Input::Head(head) => {
                self.head = head;
                self.done = self.done.max(head.slot);
            }
            Input::Finalized(finalized) => self.finalized = finalized,
            Input::Stop => self.stopped = true,
            _ => {}
        }
        let mut effects = Vec::with_capacity(2);
        self.build(now_ms, &mut effects);
        effects
    }

    fn build(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        let schedule = self.config.schedule;
        if self.stopped || !schedule.builds || schedule.slot_ms == 0 {
            return;
        }
        let Some(slot) = schedule.slot_at(now_ms) else {
            let at_ms = schedule.genesis_time_ms;
            return effects.push(Effect::Wake { at_ms });
        };
        if slot > self.done {
            self.done = slot;
            let until_ms = schedule.until_ms(slot, now_ms);
            effects.push(Effect::Build { slot, until_ms });
        }
        // A clock that was set back is waited for.
        let next = self.done.max(slot).saturating_add(1);
        let at_ms = schedule.start_ms(next);
        effects.push(Effect::Wake { at_ms });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, Schedule, SyncMode};
    use proptest::prelude::*;

    const SCHEDULE: Schedule = Schedule {
        genesis_time_ms: 10_000,
        slot_ms: 1000,
        builds: true,
    };

    fn driver(schedule: Schedule, head_slot: u64) -> Driver {
        let head = BlockRef {
            slot: head_slot,
            ..BlockRef::default()
        };
        Driver::new(Config {
            schedule,
            genesis: [1; 32],
            sync: SyncMode::Full,
            first_height: 1,
            head,
            finalized: BlockRef::default(),
            peers_min: 0,
            limits: Limits::default(),
        })
    }

    fn built(effects: &[Effect]) -> Option<(u64, u64)> {
        effects.iter().find_map(|effect| match effect {
            Effect::Build { slot, until_ms } => Some((*slot, *until_ms)),
            _ => None,
        })
    }

    fn wake(effects: &[Effect]) -> Option<u64> {
        effects.iter().find_map(|effect| match effect {
            Effect::Wake { at_ms } => Some(*at_ms),
            _ => None,
        })
    }

    #[test]
    fn waits_for_genesis_then_builds_each_slot_once() {
        let mut driver = driver(SCHEDULE, 0);
        assert_eq!(wake(&driver.handle(Input::Tick, 5)), Some(10_000));
        // Slot 0 is the genesis block's.
        let effects = driver.handle(Input::Tick, 10_000);
        assert_eq!((built(&effects), wake(&effects)), (None, Some(11_000)));
        let effects = driver.handle(Input::Tick, 11_000);
        assert_eq!(built(&effects), Some((1, 11_500)));
        assert_eq!(wake(&effects), Some(12_000));
        assert_eq!(built(&driver.handle(Input::Tick, 11_900)), None);
        let effects = driver.handle(Input::Tick, 12_900);
        assert_eq!(built(&effects), Some((2, 13_000)));
    }

    #[test]
    fn skips_missed_slots_and_slots_of_other_blocks() {
        let mut driver = driver(SCHEDULE, 0);
        let slot = |effects: &[Effect]| built(effects).map(|(slot, _)| slot);
        assert_eq!(slot(&driver.handle(Input::Tick, 17_300)), Some(7));
        let head = BlockRef {
            slot: 9,
            ..BlockRef::default()
        };
        assert_eq!(slot(&driver.handle(Input::Head(head), 18_000)), None);
        assert_eq!(slot(&driver.handle(Input::Tick, 19_999)), None);
        assert_eq!(slot(&driver.handle(Input::Tick, 20_000)), Some(10));
    }

    #[test]
    fn a_clock_set_back_is_waited_for() {
        let mut driver = driver(SCHEDULE, 0);
        assert!(built(&driver.handle(Input::Tick, 15_000)).is_some());
        let effects = driver.handle(Input::Tick, 12_000);
        assert_eq!((built(&effects), wake(&effects)), (None, Some(16_000)));
    }

    #[test]
    fn stopped_or_idle_drivers_build_nothing() {
        let mut stopped = driver(SCHEDULE, 0);
        assert!(stopped.handle(Input::Stop, 11_000).is_empty());
        assert!(stopped.handle(Input::Tick, 12_000).is_empty());
        let idle = Schedule {
            builds: false,
            ..SCHEDULE
        };
        let effects = driver(idle, 0).handle(Input::Tick, 12_000);
        assert_eq!(built(&effects), None);
    }

    proptest! {
        #[test]
        fn slots_only_rise(times in proptest::collection::vec(any::<u64>(), 1..100)) {
            let mut driver = driver(SCHEDULE, 3);
            let mut last = 3;
            for now_ms in times {
                if let Some((slot, _)) = built(&driver.handle(Input::Tick, now_ms)) {
                    prop_assert!(slot > last);
                    prop_assert_eq!(Some(slot), SCHEDULE.slot_at(now_ms));
                    last = slot;
                }
            }
        }
    }
}
