//! What became of events that this node was given, until they are in a block.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jar_cap::Hash;
use jar_kernel::Accepted;
use jar_rpc::backend::Tracked;

/// Dispatch events remembered; the oldest are forgotten first.
const EVENTS_MAX: usize = 65_536;
/// Characters of a reason.
const REASON_CHARS_MAX: usize = 200;

/// Remembers what Transact events a Dispatch event became, and which of them wait.
#[derive(Debug, Default)]
pub struct Tracker(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    dispatched: BTreeMap<Hash, Vec<Hash>>,
    transacts: BTreeMap<Hash, Fate>,
    order: VecDeque<Hash>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    Pending,
    Included,
    Dropped(String),
}

impl Tracker {
    // Nothing panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An event was accepted.
    pub fn accepted(&self, accepted: &Accepted) {
        let mut inner = self.lock();
        for id in &accepted.transact_ids {
            inner.transacts.insert(*id, Fate::Pending);
        }
        let known = inner
            .dispatched
            .insert(accepted.id, accepted.transact_ids.clone());
        if known.is_none() {
            inner.order.push_back(accepted.id);
        }
        while inner.order.len() > EVENTS_MAX {
            inner.forget_oldest();
        }
    }

    /// A Transact event is in a block.
    pub fn included(&self, id: &Hash) {
        if let Some(fate) = self.lock().transacts.get_mut(id) {
            *fate = Fate::Included;
        }
    }

    /// A Transact event was left out of a block for good.
    pub fn dropped(&self, id: &Hash, reason: &str) {
        if let Some(fate) = self.lock().transacts.get_mut(id) {
            *fate = Fate::Dropped(reason.chars().take(REASON_CHARS_MAX).collect());
        }
    }

    /// What is remembered of an event by either id.
    pub fn tracked(&self, id: &Hash) -> Tracked {
        let inner = self.lock();
        let transact_ids = inner.dispatched.get(id).cloned().unwrap_or_default();
        let fates = || {
            std::iter::once(id)
                .chain(&transact_ids)
                .filter_map(|id| inner.transacts.get(id))
        };
        Tracked {
            pending: fates().any(|fate| *fate == Fate::Pending),
            dropped: fates().find_map(|fate| match fate {
                Fate::Dropped(reason) => Some(reason.clone()),
                _ => None,
            }),
            transact_ids,
        }
    }
}

impl Inner {
    fn forget_oldest(&mut self) {
        let Some(oldest) = self.order.pop_front() else {
            return;
        };
        for id in self.dispatched.remove(&oldest).unwrap_or_default() {
            self.transacts.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(n: u32) -> Accepted {
        let hash = |prefix: u8| {
            let mut hash = [prefix; 32];
            hash[..4].copy_from_slice(&n.to_le_bytes());
            hash
        };
        Accepted {
            id: hash(1),
            transact_ids: vec![hash(2)],
        }
    }

    #[test]
    fn follows_an_event_by_either_id() {
        let tracker = Tracker::default();
        let event = accepted(0);
        tracker.accepted(&event);
        for id in [event.id, event.transact_ids[0]] {
            assert!(tracker.tracked(&id).pending);
        }
        assert_eq!(tracker.tracked(&event.id).transact_ids, event.transact_ids);
        tracker.included(&event.transact_ids[0]);
        assert!(!tracker.tracked(&event.id).pending);
        tracker.dropped(&event.transact_ids[0], "bad nonce");
        let dropped = tracker.tracked(&event.id).dropped;
        assert_eq!(dropped.as_deref(), Some("bad nonce"));
        assert_eq!(tracker.tracked(&[9; 32]), Tracked::default());
    }

    #[test]
    fn memory_is_bounded() {
        let tracker = Tracker::default();
        for n in 0..EVENTS_MAX as u32 + 10 {
            tracker.accepted(&accepted(n));
        }
        let inner = tracker.lock();
        assert_eq!(inner.dispatched.len(), EVENTS_MAX);
        assert_eq!(inner.transacts.len(), EVENTS_MAX);
        assert!(!inner.dispatched.contains_key(&accepted(0).id));
    }
}
