//! Windows, and their reuse.
//!
//! Making an address range anew costs the system a fault and a fresh page for
//! each page touched. A window that comes back is instead wiped where it was
//! touched, and keeps for the next machine, which mostly has the same layout: its
//! memory, the protection of its regions of zeros, and the pages it read from sources
//! that somebody else holds too.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::ptr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Weak};

use super::process::{self, Process};
use super::sys::{Mapping, Protection};
use super::tracker::Tracker;
use super::window::{Trouble, is_eager, opened, pages_of, tracked};
use crate::PAGE_SIZE;
use crate::map::{Backing, MemoryMap, PageSource, Region};

pub(super) const PAGE_LEN: usize = PAGE_SIZE as usize;
const PAGES: usize = 1 << 20;
/// Longer than the longest access, so that none leaves the mapping.
const GUARD_LEN: usize = 16 * PAGE_LEN;
pub(super) const WINDOW_LEN: usize = (1 << 32) + GUARD_LEN;
/// A page before the window, always readable and writable: its end holds the machine's
/// [`super::routines::Context`].
const HEAD_LEN: usize = PAGE_LEN;

/// Windows kept for reuse.
const POOL_MAX: usize = 64;
/// With fewer windows in the pool, a new layout gets a window of its own.
const POOL_OWN: usize = 16;
/// A window that was touched in more pages is made anew instead of wiped.
const WIPED_PAGES_MAX: usize = 256;
/// Pages of memory a pooled window keeps at most.
const KEPT_PAGES_MAX: usize = 512;
/// Pages of eager regions that are looked through for touched ones at most.
const SEARCHED_PAGES_MAX: usize = 4096;
/// Eager regions of at most this length are wiped whole: that takes less time than looking.
const SMALL_PAGES: usize = 16;
/// Open regions a pooled window keeps at most.
const OPEN_MAX: usize = 16;
/// Pages from sources that a pooled window keeps at most.
const SOURCED_PAGES_MAX: usize = 64;
/// Changes of protection from one page to the next, in all windows together.
/// Each costs the kernel an area, of which a process has 65,530 by default.
const BOUNDARIES_MAX: i64 = 1 << 14;

/// In a page's state: the page may have memory.
const BACKED: u8 = 0x80;

static BOUNDARIES: AtomicI64 = AtomicI64::new(0);

/// What has become of a page.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum PageState {
    /// As its region is.
    Untouched = 0,
    /// Its content is there, and may be read.
    Read,
    /// Its content is there, and may be read and written.
    Written,
}

/// A region of zeros with a protection as a whole.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Opened {
    pub pages: Range<u32>,
    pub protection: Protection,
}

/// A region whose touched pages are kept for the next machine with the same source.
struct Kept {
    pages: Range<u32>,
    /// Keeps the address of the source from being used for another one.
    source: Weak<dyn PageSource>,
    eager: bool,
}

impl Kept {
    /// The region, if its source outlives the machine and each machine's first touch of its
    /// pages is free: else that has to be seen.
    fn of(region: &Region) -> Option<Kept> {
        match &region.backing {
            Backing::Source(_) if region.page_price() > 0 => None,
            Backing::Source(source) if Arc::strong_count(source) > 1 => Some(Kept {
                pages: pages_of(region),
                source: Arc::downgrade(source),
                eager: is_eager(region),
            }),
            _ => None,
        }
    }

    fn is(&self, region: &Region) -> bool {
        let same_source = match &region.backing {
            Backing::Source(source) => ptr::addr_eq(Arc::as_ptr(source), self.source.as_ptr()),
            Backing::Zero => false,
        };
        same_source && pages_of(region) == self.pages && is_eager(region) == self.eager
    }
}

/// Windows of a process that wait for the next machine. Boxed, for a call moves one in and out.
pub(super) type Pool = Vec<Box<Window>>;

/// Address space with a state for each page.
pub(super) struct Window {
    mapping: Mapping,
    process: &'static Process,
    /// Where the kernel records writes to this window.
    tracker: Option<&'static Tracker>,
    /// Pages that are writable, their writes recorded. Of each that this machine hasn't
    /// written, the record says so, whatever was there before.
    tracked: Vec<Range<u32>>,
    /// A [`PageState`] for each page, and [`BACKED`]; as numbers, the system zeroes
    /// them lazily.
    states: Vec<u8>,
    /// Pages whose state isn't `Untouched`.
    touched: Vec<u32>,
    /// Pages marked [`BACKED`].
    backed: Vec<u32>,
    opened: Vec<Opened>,
    /// In the pool: whose pages are still there.
    kept: Vec<Kept>,
    /// What pages from sources held at first, where that may change.
    originals: BTreeMap<u32, Option<Arc<[u8]>>>,
    boundaries: i64,
    /// Protections may not be as noted.
    is_spoiled: bool,
    /// Grows with every change of a protection.
    changes: u64,
}

impl Drop for Window {
    fn drop(&mut self) {
        BOUNDARIES.fetch_sub(self.boundaries, Ordering::Relaxed);
    }
}

impl Window {
    /// A window in which nothing but some of the regions of `map` is open, and nothing is
    /// touched but pages of its sources, as they were at first.
    /// `tracked`: writes are to be recorded by the kernel, where it does that.
    pub fn take(map: &MemoryMap, tracked: bool) -> Option<Box<Window>> {
        let process = process::current();
        let mut pool = process.pool();
        if let Some(index) = best_fit(&pool, map, tracked) {
            return Some(pool.remove(index));
        }
        let oldest = pool
            .iter()
            .position(|window| window.tracker.is_some() == tracked);
        let oldest = oldest.filter(|_| pool.len() >= POOL_OWN);
        let Some(oldest) = oldest else {
            drop(pool);
            return Window::new(process, tracked);
        };
        // The one that nobody has wanted for the longest time.
        let mut window = pool.remove(oldest);
        drop(pool);
        match window.kept.is_empty() {
            true => {
                window.mapping.close(HEAD_LEN)?;
                window.opened.clear();
                window.tracked.clear();
            }
            false => window.reset()?,
        }
        Some(window)
    }

    fn new(process: &'static Process, tracked: bool) -> Option<Box<Window>> {
        let mut mapping = Mapping::reserved(HEAD_LEN + WINDOW_LEN)?;
        mapping.protect(0, HEAD_LEN, Protection::ReadWrite)?;
        let tracker = process.tracker().filter(|_| tracked);
        if let Some(tracker) = tracker {
            tracker.watch(&mapping, HEAD_LEN)?;
        }
        Some(Box::new(Window {
            mapping,
            process,
            tracker,
            tracked: Vec::new(),
            states: vec![PageState::Untouched as u8; PAGES],
            touched: Vec::new(),
            backed: Vec::new(),
            opened: Vec::new(),
            kept: Vec::new(),
            originals: BTreeMap::new(),
            boundaries: 0,
            is_spoiled: false,
            changes: 0,
        }))
    }

    /// Whether a machine of `map` can have this pooled window as it is.
    fn fits(&self, map: &MemoryMap) -> bool {
        let region = |pages: &Range<u32>| map.region_of(pages.start).map(|(region, _)| region);
        let open = |open: &Opened| region(&open.pages).and_then(opened).as_ref() == Some(open);
        let kept = |kept: &Kept| region(&kept.pages).is_some_and(|region| kept.is(region));
        let tracked = |pages: &Range<u32>| tracked(map, pages.start).as_ref() == Some(pages);
        self.opened.iter().all(open)
            && self.kept.iter().all(kept)
            && self.tracked.iter().all(tracked)
    }

    /// Makes the window fit for the next machine, best for one with the same `map`.
    pub fn give_back(mut self: Box<Self>, map: &MemoryMap) {
        if !self.renew(map) {
            return;
        }
        let mut pool = self.process.pool();
        if pool.len() < POOL_MAX {
            pool.push(self);
        }
    }

    /// Leaves nothing of a machine of `map`, in the way that is best for the next one with it;
    /// whether that could be done.
    pub fn renew(&mut self, map: &MemoryMap) -> bool {
        !self.is_spoiled
            && self.process.is_current()
            && (self.wipe(map).is_some() || self.reset().is_some())
    }

    /// Back to nothing but address space.
    fn reset(&mut self) -> Option<()> {
        self.mapping.reset(HEAD_LEN)?;
        self.tracked.clear();
        if let Some(tracker) = self.tracker {
            tracker.watch(&self.mapping, HEAD_LEN)?;
        }
        for page in self.touched.drain(..).chain(self.backed.drain(..)) {
            self.states[page as usize] = PageState::Untouched as u8;
        }
        self.opened.clear();
        self.kept.clear();
        self.originals.clear();
        BOUNDARIES.fetch_sub(std::mem::take(&mut self.boundaries), Ordering::Relaxed);
        Some(())
    }

    /// Brings back what was at first where the run left something, and gives each page its
    /// region's protection again. `None` when that is not possible or not worth it;
    /// the window then holds anything.
    fn wipe(&mut self, map: &MemoryMap) -> Option<()> {
        let unwatched = self.unwatched()?;
        let tracked = self.tracked_writes()?;
        let count = self.touched.len() + unwatched.len() + tracked.len();
        if count > WIPED_PAGES_MAX || self.opened.len() > OPEN_MAX {
            return None;
        }
        self.note_backed(&unwatched);
        self.note_backed(&tracked);
        let mut touched = std::mem::take(&mut self.touched);
        self.note_backed(&touched);
        if self.backed.len() > KEPT_PAGES_MAX {
            self.touched = touched;
            return None;
        }
        for page in unwatched.into_iter().chain(tracked.iter().copied()) {
            self.bytes_mut(page).fill(0);
        }
        self.forget_writes(&tracked)?;
        touched.sort_unstable();
        let rest = self.keep(touched, map)?;
        let mut rest = &rest[..];
        while let Some(&first) = rest.first() {
            // Pages of one region, or next to each other.
            let open = self.opened.iter().find(|open| open.pages.contains(&first));
            let count = match open {
                Some(open) => {
                    // Not over a tracked range, which keeps its protection.
                    let ranges = self.tracked.iter().map(|pages| pages.start);
                    let ranges = ranges.filter(|start| *start > first);
                    let end = ranges.fold(open.pages.end, u32::min);
                    rest.partition_point(|page| *page < end)
                }
                None => self.adjacent(rest),
            };
            let open = open.cloned();
            let (now, later) = rest.split_at(count);
            self.wipe_pages(now, open)?;
            rest = later;
        }
        Some(())
    }

    /// Makes recorded pages count as not written again, behind all that is written to them;
    /// closes ranges without any, for the next machine will mostly do the same.
    fn forget_writes(&mut self, written: &[u32]) -> Option<()> {
        for pages in std::mem::take(&mut self.tracked) {
            if written.iter().any(|page| pages.contains(page)) {
                self.forget(&pages)?;
                self.tracked.push(pages);
            } else {
                self.set_protection(pages, Protection::Read)?;
            }
        }
        Some(())
    }

    fn forget(&self, pages: &Range<u32>) -> Option<()> {
        let pages = self.host_page(pages.start)..self.host_page(pages.end);
        self.tracker?.written(pages, true, |_| {})
    }

    /// The system's number of a page, which may be the first one behind the window.
    fn host_page(&self, page: u32) -> u64 {
        self.start() / PAGE_LEN as u64 + u64::from(page)
    }

    /// Pages that the kernel has recorded as written, none in a child of this window's process;
    /// `None` if it doesn't tell.
    pub fn tracked_writes(&self) -> Option<Vec<u32>> {
        let mut written = Vec::new();
        if self.tracked.is_empty() || !self.process.is_current() {
            return Some(written);
        }
        let first = self.host_page(0);
        for pages in &self.tracked {
            let pages = self.host_page(pages.start)..self.host_page(pages.end);
            self.tracker?.written(pages, false, |run| {
                written.extend((run.start - first) as u32..(run.end - first) as u32);
            })?;
        }
        Some(written)
    }

    /// Makes a whole open range writable, its writes recorded.
    pub fn track(&mut self, pages: Range<u32>) -> Result<(), Trouble> {
        // What an earlier machine left there, wiped, counts as not written.
        self.forget(&pages).ok_or(Trouble::Exhausted)?;
        // Noted before it is done, so that it is undone in any case.
        self.tracked.push(pages.clone());
        self.protect(pages, Protection::ReadWrite)
    }

    /// Ends the recording of writes: of all that was tracked, the `written` pages alone are
    /// writable then. Behind an error the window serves no other machine.
    pub fn untrack(&mut self, written: &[u32]) -> Result<(), Trouble> {
        self.is_spoiled = true;
        for pages in self.tracked.clone() {
            self.protect(pages, Protection::Read)?;
        }
        for page in written {
            self.set_page(*page, PageState::Written)?;
        }
        self.tracked.clear();
        self.is_spoiled = false;
        Ok(())
    }

    /// Whether writes in all of `pages` are recorded.
    pub fn is_tracked(&self, pages: &Range<u32>) -> bool {
        self.tracked.contains(pages)
    }

    /// Whether any writes are recorded.
    pub fn is_tracking(&self) -> bool {
        !self.tracked.is_empty()
    }

    /// Whether writes to this window can be recorded.
    pub fn has_tracker(&self) -> bool {
        self.tracker.is_some()
    }

    /// Whether this is a window of the running process, not of its parent.
    pub fn is_current(&self) -> bool {
        self.process.is_current()
    }

    /// Marks pages that may have memory from now on.
    fn note_backed(&mut self, pages: &[u32]) {
        for &page in pages {
            let state = &mut self.states[page as usize];
            if *state & BACKED == 0 {
                *state |= BACKED;
                self.backed.push(page);
            }
        }
    }

    /// Brings the pages worth keeping back to how they were; answers the others.
    fn keep(&mut self, touched: Vec<u32>, map: &MemoryMap) -> Option<Vec<u32>> {
        if touched.is_empty() {
            self.kept.clear();
            return Some(touched);
        }
        let touches = |kept: &Kept| {
            let first = touched.partition_point(|page| *page < kept.pages.start);
            touched
                .get(first)
                .is_some_and(|page| kept.pages.contains(page))
        };
        let regions = map.regions().iter().filter_map(Kept::of);
        self.kept = regions.filter(touches).take(OPEN_MAX).collect();
        if self.kept.is_empty() {
            self.originals.clear();
            return Some(touched);
        }
        let mut rest = Vec::new();
        for page in touched {
            let kept = self.kept.iter().find(|kept| kept.pages.contains(&page));
            let eager = kept.map(|kept| kept.eager);
            match eager.filter(|_| self.touched.len() < SOURCED_PAGES_MAX) {
                Some(eager) => {
                    self.touched.push(page);
                    self.restore(page, eager)?;
                }
                None => {
                    self.originals.remove(&page);
                    rest.push(page);
                }
            }
        }
        Some(rest)
    }

    /// Writes the first content of a page from a source where it may have changed.
    fn restore(&mut self, page: u32, eager: bool) -> Option<()> {
        if self.state(page) != PageState::Written {
            return Some(());
        }
        let original = self.originals.get(&page)?.clone();
        let bytes = original.as_deref().unwrap_or_default();
        let place = self.bytes_mut(page);
        place[..bytes.len()].copy_from_slice(bytes);
        place[bytes.len()..].fill(0);
        match eager {
            true => Some(()),
            false => self.set_page(page, PageState::Read).ok(),
        }
    }

    /// How many of the sorted `pages` follow each other from the first on, outside
    /// of open regions.
    fn adjacent(&self, pages: &[u32]) -> usize {
        let is_open = |page: u32| self.opened.iter().any(|open| open.pages.contains(&page));
        let goes_on = |(page, expected): &(&u32, u32)| **page == *expected && !is_open(*expected);
        pages.iter().zip(pages[0]..).take_while(goes_on).count()
    }

    /// Wipes pages of one open region, or adjacent pages outside of any.
    fn wipe_pages(&mut self, pages: &[u32], open: Option<Opened>) -> Option<()> {
        let range = pages[0]..pages[pages.len() - 1] + 1;
        let written = |page: &u32| self.state(*page) == PageState::Written;
        if !pages.iter().all(written) {
            self.set_protection(range.clone(), Protection::ReadWrite)?;
        }
        for page in pages {
            self.bytes_mut(*page).fill(0);
        }
        let protection = open.map_or(Protection::None, |open| open.protection);
        self.set_protection(range, protection)?;
        for page in pages {
            let change = self.boundary_change(*page, PageState::Untouched);
            self.count_boundaries(change);
            self.states[*page as usize] = PageState::Untouched as u8 | BACKED;
        }
        Some(())
    }

    /// Pages that may have memory in regions whose writes aren't watched.
    fn unwatched(&self) -> Option<Vec<u32>> {
        let ranges = || {
            let open = |open: &&Opened| open.protection == Protection::ReadWrite;
            self.opened.iter().filter(open).map(|open| &open.pages)
        };
        if ranges().map(|pages| pages.len()).sum::<usize>() > SEARCHED_PAGES_MAX {
            return None;
        }
        let mut found = Vec::new();
        for pages in ranges() {
            if pages.len() <= SMALL_PAGES {
                found.extend(pages.clone());
                continue;
            }
            let first = self.host_page(pages.start);
            let file = self.process.pagemap()?;
            resident(file, first, pages.len(), |index| {
                found.push(pages.start + index)
            })?;
        }
        Some(found)
    }

    /// Those of `pages` that may have memory.
    pub fn with_memory(&self, pages: Range<u32>) -> Vec<u32> {
        let first = self.host_page(pages.start);
        let mut found = Vec::new();
        let file = self.process.pagemap();
        let told = file.and_then(|file| {
            resident(file, first, pages.len(), |index| {
                found.push(pages.start + index)
            })
        });
        match told {
            Some(()) => found,
            None => pages.collect(),
        }
    }

    fn set_protection(&mut self, pages: Range<u32>, protection: Protection) -> Option<()> {
        self.changes += 1;
        let start = HEAD_LEN + pages.start as usize * PAGE_LEN;
        self.mapping
            .protect(start, pages.len() * PAGE_LEN, protection)
    }

    pub fn protect(&mut self, pages: Range<u32>, protection: Protection) -> Result<(), Trouble> {
        self.set_protection(pages, protection)
            .ok_or(Trouble::Exhausted)
    }

    /// Gives a region of zeros its protection as a whole.
    pub fn open(&mut self, region: Opened) -> Result<(), Trouble> {
        if !self.opened.contains(&region) {
            // Noted before it is done, so that it is undone in any case.
            self.opened.push(region.clone());
            self.protect(region.pages, region.protection)?;
        }
        Ok(())
    }

    pub fn is_open(&self, region: &Opened) -> bool {
        self.opened.contains(region)
    }

    /// How many more areas it takes when `page` is in state `new`, beside its neighbours.
    fn boundary_change(&self, page: u32, new: PageState) -> i64 {
        let old = self.state(page);
        let neighbours = [page.checked_sub(1), Some(page + 1)];
        neighbours
            .into_iter()
            .flatten()
            .filter(|other| (*other as usize) < PAGES)
            .map(|other| self.state(other))
            .map(|other| i64::from(other != new) - i64::from(other != old))
            .sum()
    }

    /// Counts `change` areas; answers how many there are in all windows.
    fn count_boundaries(&mut self, change: i64) -> i64 {
        self.boundaries += change;
        BOUNDARIES.fetch_add(change, Ordering::Relaxed) + change
    }

    pub fn set_state(&mut self, page: u32, state: PageState) {
        if self.state(page) == PageState::Untouched {
            self.touched.push(page);
        }
        self.states[page as usize] = state as u8 | self.states[page as usize] & BACKED;
    }

    /// Remembers what a page from a source holds at first.
    pub fn set_original(&mut self, page: u32, content: Option<Arc<[u8]>>) {
        self.originals.insert(page, content);
    }

    /// Gives a page a protection and the state that goes with it, or changes nothing.
    pub fn set_page(&mut self, page: u32, state: PageState) -> Result<(), Trouble> {
        let protection = match state {
            PageState::Untouched => Protection::None,
            PageState::Read => Protection::Read,
            PageState::Written => Protection::ReadWrite,
        };
        let change = self.boundary_change(page, state);
        let total = self.count_boundaries(change);
        let done = match change > 0 && total > BOUNDARIES_MAX {
            true => Err(Trouble::Exhausted),
            false => self.protect(page..page + 1, protection),
        };
        match done {
            Ok(()) => self.set_state(page, state),
            Err(_) => _ = self.count_boundaries(-change),
        }
        done
    }

    pub fn state(&self, page: u32) -> PageState {
        match self.states[page as usize] & !BACKED {
            0 => PageState::Untouched,
            1 => PageState::Read,
            _ => PageState::Written,
        }
    }

    /// Grows with every change of a protection.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    pub fn touched(&self) -> &[u32] {
        &self.touched
    }

    /// The host address of guest address 0.
    pub fn start(&self) -> u64 {
        self.place(0) as u64
    }

    fn place(&self, page: u32) -> *mut u8 {
        assert!((page as usize) < PAGES);
        // SAFETY: the page lies in the mapping.
        unsafe {
            self.mapping
                .start()
                .add(HEAD_LEN + page as usize * PAGE_LEN)
        }
    }

    /// The page's bytes. It must be readable.
    pub fn bytes(&self, page: u32) -> &[u8; PAGE_LEN] {
        // SAFETY: the page lies in the mapping and is readable, as the caller knows
        // from its state; it changes only while `self` is borrowed mutably, which
        // includes every run of the guest.
        unsafe { &*self.place(page).cast() }
    }

    /// The page's bytes. It must be writable.
    pub fn bytes_mut(&mut self, page: u32) -> &mut [u8; PAGE_LEN] {
        // SAFETY: as for `bytes`, and writable; `self` is borrowed mutably.
        unsafe { &mut *self.place(page).cast() }
    }
}

/// Runs `f` while this engine's share of areas counts as used up.
#[cfg(test)]
pub(super) fn without_areas<T>(f: impl FnOnce() -> T) -> T {
    BOUNDARIES.fetch_add(BOUNDARIES_MAX, Ordering::Relaxed);
    let result = f();
    BOUNDARIES.fetch_sub(BOUNDARIES_MAX, Ordering::Relaxed);
    result
}

/// The pooled window that spares a machine of `map` the most, the last one used if in doubt.
fn best_fit(pool: &[Box<Window>], map: &MemoryMap, tracked: bool) -> Option<usize> {
    let mut best = None;
    for (index, window) in pool.iter().enumerate().rev() {
        if window.tracker.is_some() != tracked {
            continue;
        }
        let spared = window.opened.len() + window.kept.len() + window.tracked.len();
        if best.is_none_or(|(most, _)| spared > most) && window.fits(map) {
            best = Some((spared, index));
        }
        if spared >= map.regions().len() && best.is_some_and(|(_, found)| found == index) {
            break;
        }
    }
    best.map(|(_, index)| index)
}

/// Calls `found` with the number of each of `count` pages from host page `first`
/// on that has memory or is swapped out, as `file`, this process's page map, has it. `None` when
/// the system doesn't tell.
fn resident(file: &File, first: u64, count: usize, mut found: impl FnMut(u32)) -> Option<()> {
    let mut entries = [0; 8 * 64];
    for start in (0..count).step_by(64) {
        let bytes = &mut entries[..8 * (count - start).min(64)];
        file.read_exact_at(bytes, (first + start as u64) * 8).ok()?;
        for (index, entry) in bytes.chunks_exact(8).enumerate() {
            // Bit 63: present; bit 62: swapped.
            if entry[7] & 0xc0 != 0 {
                found((start + index) as u32);
            }
        }
    }
    Some(())
}
