//! Marks of what a store already holds.

use std::sync::atomic::{AtomicU64, Ordering};

/// The number of the store that holds a value's record; 0 for none.
#[derive(Debug, Default)]
pub(crate) struct Mark(AtomicU64);

impl Mark {
    pub(crate) const fn new(store: u64) -> Mark {
        Mark(AtomicU64::new(store))
    }

    pub(crate) fn is(&self, store: u64) -> bool {
        self.0.load(Ordering::Relaxed) == store
    }

    pub(crate) fn set(&self, store: u64) {
        self.0.store(store, Ordering::Relaxed);
    }
}
