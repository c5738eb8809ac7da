//! When to build a block.

/// When time slots are, and whether this node builds in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Start of slot 0, in milliseconds since the Unix epoch.
    pub genesis_time_ms: u64,
    /// Length of a slot in milliseconds; above 0.
    pub slot_ms: u64,
    /// Whether this node builds blocks at all.
    pub builds: bool,
}

impl Schedule {
    /// The slot that a moment falls into; `None` before genesis.
    pub fn slot_at(&self, now_ms: u64) -> Option<u64> {
        let since = now_ms.checked_sub(self.genesis_time_ms)?;
        since.checked_div(self.slot_ms)
    }

    /// Start of a slot, in milliseconds since the Unix epoch.
    pub fn start_ms(&self, slot: u64) -> u64 {
        slot.saturating_mul(self.slot_ms)
            .saturating_add(self.genesis_time_ms)
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Time passed, or something was done; decide again.
    Tick,
    /// The head is a block of this slot now.
    Head {
        /// Its slot.
        slot: u64,
    },
    /// The node is stopping.
    Stop,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Build a block of this slot; take no further event after `until_ms`.
    Build {
        /// The slot.
        slot: u64,
        /// Milliseconds since the Unix epoch.
        until_ms: u64,
    },
    /// Tick at this time at the latest.
    Wake {
        /// Milliseconds since the Unix epoch.
        at_ms: u64,
    },
}

/// Decides when a block is built: in each slot once, in no slot that passed, never twice in the
/// same slot, whatever the clock does.
#[derive(Clone, Debug)]
pub struct Driver {
    schedule: Schedule,
    /// The highest slot that is done with: built, tried, or the head's.
    done: Option<u64>,
    stopped: bool,
}

impl Driver {
    /// A driver for a chain whose head is a block of slot `head_slot`.
    pub fn new(schedule: Schedule, head_slot: u64) -> Self {
        Driver {
            schedule,
            done: Some(head_slot),
            stopped: false,
        }
    }

    /// Takes note of what happened at `now_ms`, and says what to do.
    pub fn handle(&mut self, input: Input, now_ms: u64) -> Vec<Effect> {
        match input {
            Input::Tick => {}
            Input::Head { slot } => self.done = self.done.max(Some(slot)),
            Input::Stop => self.stopped = true,
        }
        if self.stopped || !self.schedule.builds || self.schedule.slot_ms == 0 {
            return Vec::new();
        }
        let Some(slot) = self.schedule.slot_at(now_ms) else {
            let at_ms = self.schedule.genesis_time_ms;
            return vec![Effect::Wake { at_ms }];
        };
        let mut effects = Vec::with_capacity(2);
        if self.done.is_none_or(|done| slot > done) {
            self.done = Some(slot);
            let until_ms = self.until_ms(slot, now_ms);
            effects.push(Effect::Build { slot, until_ms });
        }
        // A clock that was set back is waited for.
        let next = self.done.map_or(slot, |done| done.max(slot)) + 1;
        let at_ms = self.schedule.start_ms(next);
        effects.push(Effect::Wake { at_ms });
        effects
    }

    /// When to stop taking events: at half of the slot, which leaves as much for hashing, the
    /// disk and others' verification; a build that starts late gets a tenth of a slot.
    fn until_ms(&self, slot: u64, now_ms: u64) -> u64 {
        let half = self.schedule.start_ms(slot) + self.schedule.slot_ms / 2;
        half.max(now_ms.saturating_add(self.schedule.slot_ms / 10))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SCHEDULE: Schedule = Schedule {
        genesis_time_ms: 10_000,
        slot_ms: 1000,
        builds: true,
    };

    fn built(effects: &[Effect]) -> Option<u64> {
        effects.iter().find_map(|effect| match effect {
            Effect::Build { slot, .. } => Some(*slot),
            Effect::Wake { .. } => None,
        })
    }

    fn wake(effects: &[Effect]) -> Option<u64> {
        effects.iter().find_map(|effect| match effect {
            Effect::Wake { at_ms } => Some(*at_ms),
            Effect::Build { .. } => None,
        })
    }

    #[test]
    fn waits_for_genesis_then_builds_each_slot_once() {
        let mut driver = Driver::new(SCHEDULE, 0);
        assert_eq!(
            driver.handle(Input::Tick, 5),
            [Effect::Wake { at_ms: 10_000 }]
        );
        // Slot 0 is the genesis block's.
        let effects = driver.handle(Input::Tick, 10_000);
        assert_eq!((built(&effects), wake(&effects)), (None, Some(11_000)));
        let effects = driver.handle(Input::Tick, 11_000);
        let until_ms = 11_500;
        assert_eq!(effects[0], Effect::Build { slot: 1, until_ms });
        assert_eq!(wake(&effects), Some(12_000));
        assert_eq!(built(&driver.handle(Input::Tick, 11_900)), None);
        let effects = driver.handle(Input::Tick, 12_900);
        let until_ms = 13_000;
        assert_eq!(effects[0], Effect::Build { slot: 2, until_ms });
    }

    #[test]
    fn skips_missed_slots_and_slots_of_other_blocks() {
        let mut driver = Driver::new(SCHEDULE, 0);
        assert_eq!(built(&driver.handle(Input::Tick, 17_300)), Some(7));
        assert_eq!(built(&driver.handle(Input::Head { slot: 9 }, 18_000)), None);
        assert_eq!(built(&driver.handle(Input::Tick, 19_999)), None);
        assert_eq!(built(&driver.handle(Input::Tick, 20_000)), Some(10));
    }

    #[test]
    fn a_clock_set_back_is_waited_for() {
        let mut driver = Driver::new(SCHEDULE, 0);
        assert_eq!(built(&driver.handle(Input::Tick, 15_000)), Some(5));
        let effects = driver.handle(Input::Tick, 12_000);
        assert_eq!((built(&effects), wake(&effects)), (None, Some(16_000)));
    }

    #[test]
    fn stopped_or_idle_drivers_do_nothing() {
        let mut driver = Driver::new(SCHEDULE, 0);
        assert!(driver.handle(Input::Stop, 11_000).is_empty());
        assert!(driver.handle(Input::Tick, 12_000).is_empty());
        let idle = Schedule {
            builds: false,
            ..SCHEDULE
        };
        assert!(Driver::new(idle, 0).handle(Input::Tick, 12_000).is_empty());
    }

    proptest! {
        #[test]
        fn slots_only_rise(times in proptest::collection::vec(any::<u64>(), 1..100)) {
            let mut driver = Driver::new(SCHEDULE, 3);
            let mut last = 3;
            for now_ms in times {
                if let Some(slot) = built(&driver.handle(Input::Tick, now_ms)) {
                    prop_assert!(slot > last);
                    prop_assert_eq!(Some(slot), SCHEDULE.slot_at(now_ms));
                    last = slot;
                }
            }
        }
    }
}
