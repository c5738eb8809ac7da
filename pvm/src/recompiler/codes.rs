//! Which machine code is there, for the signal handler.
//!
//! An instruction in one of these ranges is a guest's: nobody else runs there, and a machine
//! keeps its code. So a run notes nothing on its way in and out.

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering, fence};

use super::process;

const SLOTS: usize = 64;

/// A range of machine code. Read by a handler at any moment of a change: what it reads counts
/// only if `version` is even and the same before and behind.
pub(super) struct Slot {
    version: AtomicU64,
    start: AtomicU64,
    end: AtomicU64,
    exit: AtomicU64,
}

impl Slot {
    const fn new() -> Slot {
        Slot {
            version: AtomicU64::new(0),
            start: AtomicU64::new(0),
            end: AtomicU64::new(0),
            exit: AtomicU64::new(0),
        }
    }

    /// One thread at a time.
    fn set(&self, start: u64, end: u64, exit: u64) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        self.start.store(start, Ordering::Relaxed);
        self.end.store(end, Ordering::Relaxed);
        self.exit.store(exit, Ordering::Relaxed);
        self.version.store(version + 2, Ordering::Release);
    }

    fn exit_of(&self, instruction: u64) -> Option<u64> {
        let version = self.version.load(Ordering::Acquire);
        let start = self.start.load(Ordering::Relaxed);
        let end = self.end.load(Ordering::Relaxed);
        let exit = self.exit.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        let settled = version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version;
        (settled && (start..end).contains(&instruction)).then_some(exit)
    }
}

/// Slots that are never given back, and those made before them.
struct Chunk {
    slots: [Slot; SLOTS],
    before: *const Chunk,
}

static CHUNKS: AtomicPtr<Chunk> = AtomicPtr::new(ptr::null_mut());

// SAFETY: `before` refers to a chunk that lives for ever and changes only through atomics.
unsafe impl Sync for Chunk {}

/// A range that is known as machine code until it is dropped.
pub(super) struct Known(&'static Slot);

impl Known {
    /// Makes `start..end` known. `exit` is where a guest goes on that faults there.
    pub fn new(start: u64, end: u64, exit: u64) -> Known {
        let mut free = process::current().free_slots();
        if free.is_empty() {
            // Under the lock, so that no chunk is lost.
            let chunk: &'static Chunk = Box::leak(Box::new(Chunk {
                slots: [const { Slot::new() }; SLOTS],
                before: CHUNKS.load(Ordering::Relaxed),
            }));
            CHUNKS.store(ptr::from_ref(chunk).cast_mut(), Ordering::Release);
            free.extend(&chunk.slots);
        }
        let slot = free.pop().expect("just filled");
        slot.set(start, end, exit);
        Known(slot)
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        self.0.set(0, 0, 0);
        process::current().free_slots().push(self.0);
    }
}

/// Where a guest goes on that faults at `instruction`; `None` if that is no guest's. Safe in a
/// signal handler: no allocation, no lock.
pub(super) fn exit_of(instruction: u64) -> Option<u64> {
    let mut chunk = CHUNKS.load(Ordering::Acquire).cast_const();
    // SAFETY: null, or a chunk that lives for ever.
    while let Some(slots) = unsafe { chunk.as_ref() } {
        let found = slots
            .slots
            .iter()
            .find_map(|slot| slot.exit_of(instruction));
        if found.is_some() {
            return found;
        }
        chunk = slots.before;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_known_until_dropped() {
        if !process::is_known() {
            eprintln!("SKIPPED: this system lacks what the recompiler needs");
            return;
        }
        // Below what a process maps, so that no real code is there.
        let start = |index: u64| 0x1000 + 0x100 * index;
        let known = (0..200).map(|index| Known::new(start(index), start(index) + 0x80, index));
        let mut known: Vec<Known> = known.collect();
        for index in 0..200 {
            assert_eq!(exit_of(start(index)), Some(index));
            assert_eq!(exit_of(start(index) + 0x7f), Some(index));
            assert_eq!(exit_of(start(index) + 0x80), None);
        }
        known.remove(150);
        assert_eq!(exit_of(start(150)), None);
        assert_eq!(exit_of(start(149)), Some(149));
    }
}
