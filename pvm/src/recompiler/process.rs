//! What belongs to one process and is not for its children.
//!
//! A child made by `fork` has its parent's memory, but neither its threads, which may have
//! held locks, nor its record of writes. So the child starts with an empty pool; machines
//! from before are its parent's, and refuse to run.

use std::fs::File;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::codes::Slot;
use super::pool::Pool;
use super::sys;
use super::tracker::Tracker;

/// One for each process that ran this engine; never given back.
pub(super) struct Process {
    pool: Mutex<Pool>,
    free_slots: Mutex<Vec<&'static Slot>>,
    tracker: Option<Tracker>,
    pagemap: Option<File>,
}

/// Where this process's [`Process`] is: null in a child, for the page is wiped by a fork.
static PLACE: OnceLock<Option<sys::Mapping>> = OnceLock::new();

#[inline]
fn place() -> Option<&'static AtomicPtr<Process>> {
    let made = || {
        let mapping = sys::Mapping::wiped_by_fork()?;
        sys::forget_gs_base_in_children().then_some(mapping)
    };
    let mapping = PLACE.get_or_init(made).as_ref()?;
    // SAFETY: the page is never given back, starts with zeros, and is used for this alone.
    Some(unsafe { AtomicPtr::from_ptr(mapping.start().cast()) })
}

/// Whether a process can be told from its children here.
pub(super) fn is_known() -> bool {
    place().is_some()
}

/// This process's. The engine is there only if [`is_known`].
#[inline]
pub(super) fn current() -> &'static Process {
    let place = place().expect("checked when the engine was made");
    // SAFETY: null, or what `make` leaked.
    match unsafe { place.load(Ordering::Acquire).as_ref() } {
        Some(process) => process,
        None => make(place),
    }
}

#[cold]
fn make(place: &AtomicPtr<Process>) -> &'static Process {
    let new = Box::into_raw(Box::new(Process {
        pool: Mutex::new(Vec::new()),
        free_slots: Mutex::new(Vec::new()),
        tracker: Tracker::new(),
        pagemap: File::open("/proc/self/pagemap").ok(),
    }));
    let null = ptr::null_mut();
    match place.compare_exchange(null, new, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: leaked, so it lives for ever.
        Ok(_) => unsafe { &*new },
        Err(other) => {
            // SAFETY: nobody else has seen it.
            drop(unsafe { Box::from_raw(new) });
            // SAFETY: what another thread leaked.
            unsafe { &*other }
        }
    }
}

impl Process {
    /// Whether this is the running process's.
    pub fn is_current(&self) -> bool {
        ptr::eq(self, current())
    }

    pub fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn free_slots(&self) -> MutexGuard<'_, Vec<&'static Slot>> {
        let slots = self.free_slots.lock();
        slots.unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the kernel tells which pages were written.
    pub fn tracker(&self) -> Option<&Tracker> {
        self.tracker.as_ref()
    }

    pub fn pagemap(&self) -> Option<&File> {
        self.pagemap.as_ref()
    }
}
