//! When time slots are.

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

    /// When to stop taking events: at half of the slot, which leaves as much for hashing, the
    /// disk and others' verification; a build that starts late gets a tenth of a slot.
    pub fn until_ms(&self, slot: u64, now_ms: u64) -> u64 {
        let half = self.start_ms(slot).saturating_add(self.slot_ms / 2);
        half.max(now_ms.saturating_add(self.slot_ms / 10))
    }
}
