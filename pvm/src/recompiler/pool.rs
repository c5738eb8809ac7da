//! Windows, and their reuse.
//!
//! Making an address range anew costs the system a fault and a fresh page for
//! each page touched. A window that comes back is instead wiped where it was
//! touched, and keeps its memory and the protection of its regions of zeros for
//! the next machine, which mostly has the same layout.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::sys::{Mapping, Protection};
use super::window::Trouble;
use crate::PAGE_SIZE;

pub(super) const PAGE_LEN: usize = PAGE_SIZE as usize;
const PAGES: usize = 1 << 20;
/// Longer than the longest access, so that none leaves the mapping.
const GUARD_LEN: usize = 16 * PAGE_LEN;
pub(super) const WINDOW_LEN: usize = (1 << 32) + GUARD_LEN;

/// Windows kept for reuse.
const POOL_MAX: usize = 64;
/// A window that was touched in more pages is made anew instead of wiped.
const WIPED_PAGES_MAX: usize = 256;
/// Pages of memory a pooled window keeps at most.
const KEPT_PAGES_MAX: usize = 512;
/// Pages of eager regions that are looked through for touched ones at most.
const SEARCHED_PAGES_MAX: usize = 4096;
/// Open regions a pooled window keeps at most.
const OPEN_MAX: usize = 16;
/// Changes of protection from one page to the next, in all windows together.
/// Each costs the kernel an area, of which a process has 65,530 by default.
const BOUNDARIES_MAX: i64 = 1 << 14;

static POOL: Mutex<Vec<Window>> = Mutex::new(Vec::new());
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

/// Address space with a state for each page.
pub(super) struct Window {
    mapping: Mapping,
    /// A [`PageState`] for each page; as numbers, the system zeroes them lazily.
    states: Vec<u8>,
    /// Pages whose state isn't `Untouched`, in order of their first touch.
    touched: Vec<u32>,
    opened: Vec<Opened>,
    boundaries: i64,
    /// Grows with every change of a protection.
    changes: u64,
    /// Pages that may have memory though nothing of this run is in them.
    kept: usize,
}

fn pool() -> std::sync::MutexGuard<'static, Vec<Window>> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Window {
    /// A window of zeros in which no region is open but some of `wanted`.
    pub fn take(wanted: &[Opened]) -> Option<Window> {
        let fits = |window: &Window| window.opened.iter().all(|open| wanted.contains(open));
        let pooled = {
            let mut pool = pool();
            match pool.iter().rposition(fits) {
                Some(index) => Some(pool.remove(index)),
                None => pool.pop(),
            }
        };
        let Some(mut window) = pooled else {
            return Window::new();
        };
        if !fits(&window) {
            window.mapping.close()?;
            window.opened.clear();
        }
        Some(window)
    }

    fn new() -> Option<Window> {
        Some(Window {
            mapping: Mapping::reserved(WINDOW_LEN)?,
            states: vec![PageState::Untouched as u8; PAGES],
            touched: Vec::new(),
            opened: Vec::new(),
            boundaries: 0,
            changes: 0,
            kept: 0,
        })
    }

    /// Makes the window zeros again and keeps it.
    pub fn give_back(mut self) {
        BOUNDARIES.fetch_sub(std::mem::take(&mut self.boundaries), Ordering::Relaxed);
        if self.wipe().is_none() {
            if self.mapping.reset().is_none() {
                return;
            }
            self.opened.clear();
            self.kept = 0;
        }
        for page in self.touched.drain(..) {
            self.states[page as usize] = PageState::Untouched as u8;
        }
        let mut pool = pool();
        if pool.len() < POOL_MAX {
            pool.push(self);
        }
    }

    /// Writes zeros where the run left something, and gives each page its
    /// region's protection again. `None` when that is not possible or not worth it;
    /// the window then holds anything.
    fn wipe(&mut self) -> Option<()> {
        let unwatched = self.unwatched()?;
        let count = self.touched.len() + unwatched.len();
        let kept = self.kept + self.touched.len();
        if count > WIPED_PAGES_MAX
            || kept + unwatched.len() > KEPT_PAGES_MAX
            || self.opened.len() > OPEN_MAX
        {
            return None;
        }
        self.kept = kept;
        for page in unwatched {
            self.bytes_mut(page).fill(0);
        }
        self.touched.sort_unstable();
        let touched = self.touched.clone();
        let mut rest = &touched[..];
        while let Some(&first) = rest.first() {
            // Pages of one region, or next to each other.
            let open = self.opened.iter().find(|open| open.pages.contains(&first));
            let count = match open {
                Some(open) => rest.partition_point(|page| *page < open.pages.end),
                None => self.adjacent(rest),
            };
            let open = open.cloned();
            let (now, later) = rest.split_at(count);
            self.wipe_pages(now, open)?;
            rest = later;
        }
        Some(())
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
        self.set_protection(range, protection)
    }

    /// Pages with memory in regions whose writes aren't watched.
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
            let first = self.mapping.start() as u64 / PAGE_LEN as u64 + u64::from(pages.start);
            resident(first, pages.len(), |index| found.push(pages.start + index))?;
        }
        Some(found)
    }

    /// Those of `pages` that may have memory.
    pub fn with_memory(&self, pages: Range<u32>) -> Vec<u32> {
        let first = self.mapping.start() as u64 / PAGE_LEN as u64 + u64::from(pages.start);
        let mut found = Vec::new();
        let told = resident(first, pages.len(), |index| found.push(pages.start + index));
        match told {
            Some(()) => found,
            None => pages.collect(),
        }
    }

    fn set_protection(&mut self, pages: Range<u32>, protection: Protection) -> Option<()> {
        self.changes += 1;
        let start = pages.start as usize * PAGE_LEN;
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

    /// Counts the areas it takes that `page` differs from its neighbours.
    fn count_boundaries(&mut self, page: u32, new: PageState) -> Result<(), Trouble> {
        let old = self.state(page);
        let neighbours = [page.checked_sub(1), Some(page + 1)];
        let change: i64 = neighbours
            .into_iter()
            .flatten()
            .filter(|other| (*other as usize) < PAGES)
            .map(|other| self.state(other))
            .map(|other| i64::from(other != new) - i64::from(other != old))
            .sum();
        let total = BOUNDARIES.fetch_add(change, Ordering::Relaxed) + change;
        self.boundaries += change;
        if change > 0 && total > BOUNDARIES_MAX {
            return Err(Trouble::Exhausted);
        }
        Ok(())
    }

    pub fn set_state(&mut self, page: u32, state: PageState) {
        if self.state(page) == PageState::Untouched {
            self.touched.push(page);
        }
        self.states[page as usize] = state as u8;
    }

    /// Gives a page a protection and the state that goes with it.
    pub fn set_page(&mut self, page: u32, state: PageState) -> Result<(), Trouble> {
        let protection = match state {
            PageState::Untouched => Protection::None,
            PageState::Read => Protection::Read,
            PageState::Written => Protection::ReadWrite,
        };
        self.count_boundaries(page, state)?;
        // The state comes first: what may have been changed is wiped.
        self.set_state(page, state);
        self.protect(page..page + 1, protection)
    }

    pub fn state(&self, page: u32) -> PageState {
        match self.states[page as usize] {
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
        self.mapping.start() as u64
    }

    /// The page's bytes. It must be readable.
    pub fn bytes(&self, page: u32) -> &[u8; PAGE_LEN] {
        assert!((page as usize) < PAGES);
        // SAFETY: the page lies in the mapping and is readable, as the caller knows
        // from its state; it changes only while `self` is borrowed mutably, which
        // includes every run of the guest.
        unsafe { &*self.mapping.start().add(page as usize * PAGE_LEN).cast() }
    }

    /// The page's bytes. It must be writable.
    pub fn bytes_mut(&mut self, page: u32) -> &mut [u8; PAGE_LEN] {
        assert!((page as usize) < PAGES);
        // SAFETY: as for `bytes`, and writable; `self` is borrowed mutably.
        unsafe { &mut *self.mapping.start().add(page as usize * PAGE_LEN).cast() }
    }
}

/// Calls `found` with the number of each of `count` pages from host page `first`
/// on that has memory or is swapped out. `None` when the system doesn't tell.
fn resident(first: u64, count: usize, mut found: impl FnMut(u32)) -> Option<()> {
    static PAGEMAP: OnceLock<Option<(u32, File)>> = OnceLock::new();
    let open = || Some((std::process::id(), File::open("/proc/self/pagemap").ok()?));
    let (process, file) = PAGEMAP.get_or_init(open).as_ref()?;
    // Behind a fork the file is still of the parent.
    if *process != std::process::id() {
        return None;
    }
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
