//! A guest's memory as a window of host address space.
//!
//! The window is 4 GiB and a guard, all inaccessible at first. Pages become
//! readable and writable when the guest, or the host for it, first reads and
//! writes them, so that every first write is seen. Regions of zeros become
//! readable as a whole (writable, when eager): nothing is lost by that.

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::ops::Range;

use super::pool::{Opened, PAGE_LEN, PageState, Window};
use super::sys::Protection;
use crate::error::{AccessError, MemoryError, PageError};
use crate::map::{Access, Backing, MemoryMap, Region, pages_in};
use crate::{MIN_ADDRESS, PAGE_SIZE};

/// Why a page couldn't be made accessible.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The kernel's areas, or this engine's share of them, are used up.
    Exhausted,
    /// The store behind the page is broken.
    Source(PageError),
}

impl From<PageError> for Trouble {
    fn from(error: PageError) -> Self {
        Trouble::Source(error)
    }
}

/// What a refused access of a guest comes to.
pub(super) enum Verdict {
    /// The guest has the right and can go on now.
    Granted,
    /// The access reaches below [`MIN_ADDRESS`].
    Panic,
    /// The first address of the page without the right.
    PageFault(u32),
    /// The pages that it touches first cost this much gas, which is not there.
    Unpaid(u64),
}

/// The pages around `page` of which the kernel is to record the writes: those of a watched
/// region of zeros that no refused access can write. One that also reaches a page without the
/// right, next to the region, might be recorded there before it is refused.
pub(super) fn tracked(map: &MemoryMap, page: u32) -> Option<Range<u32>> {
    let region = map.region_of(page).map(|(region, _)| region)?;
    if !is_zeros(region) || is_eager(region) || region.access != Access::ReadWrite {
        return None;
    }
    let writable = |page: u32| {
        let region = map.region_of(page);
        region.is_some_and(|(region, _)| region.access == Access::ReadWrite)
    };
    let mut pages = pages_of(region);
    if !pages.start.checked_sub(1).is_some_and(writable) {
        pages.start += 1;
    }
    if !writable(pages.end) {
        pages.end -= 1;
    }
    pages.contains(&page).then_some(pages)
}

/// A machine's memory in a window.
pub(super) struct WindowMemory {
    window: ManuallyDrop<Box<Window>>,
    map: MemoryMap,
    /// Pages written outside of eager regions and tracked ranges, in order of their first write.
    written: Vec<u32>,
    /// Those of tracked ranges, sorted, if nothing ran since.
    recorded: RefCell<Option<Vec<u32>>>,
    ran: Cell<bool>,
    /// Index of the region that was found last: the next one most often is the same.
    recent: Cell<usize>,
    /// Gas that the first write of a page costs; then none are tracked.
    write_price: Option<u64>,
}

impl Drop for WindowMemory {
    fn drop(&mut self) {
        // SAFETY: taken once; nothing looks at it behind the drop.
        let window = unsafe { ManuallyDrop::take(&mut self.window) };
        window.give_back(&self.map);
    }
}

pub(super) fn pages_of(region: &Region) -> Range<u32> {
    let first = region.start / PAGE_SIZE;
    first..first + region.pages
}

fn is_zeros(region: &Region) -> bool {
    matches!(region.backing, Backing::Zero)
}

pub(super) fn is_eager(region: &Region) -> bool {
    region.eager && region.access == Access::ReadWrite
}

/// How a region of zeros is opened.
pub(super) fn opened(region: &Region) -> Option<Opened> {
    is_zeros(region).then(|| Opened {
        pages: pages_of(region),
        protection: match is_eager(region) {
            true => Protection::ReadWrite,
            false => Protection::Read,
        },
    })
}

impl WindowMemory {
    /// A window for `map`; `None` when the system has no address space or areas left.
    /// `tracked`: the kernel is to record writes, if it can.
    pub fn new(map: &MemoryMap, tracked: bool) -> Option<WindowMemory> {
        let mut memory = WindowMemory {
            window: ManuallyDrop::new(Window::take(map, tracked)?),
            map: map.clone(),
            written: Vec::new(),
            recorded: RefCell::new(None),
            ran: Cell::new(false),
            recent: Cell::new(0),
            write_price: None,
        };
        memory.open_eager()?;
        Some(memory)
    }

    /// Opens the eager regions of zeros.
    fn open_eager(&mut self) -> Option<()> {
        let regions = self.map.regions().iter().filter(|region| is_eager(region));
        for region in regions.filter_map(opened) {
            self.window.open(region).ok()?;
        }
        Some(())
    }

    /// Makes the memory as it was at first; whether that could be done. The context isn't
    /// touched.
    pub fn reset(&mut self) -> bool {
        if !self.window.renew(&self.map) {
            return false;
        }
        self.written = Vec::new();
        self.recorded = RefCell::new(None);
        self.ran.set(false);
        self.write_price = None;
        self.open_eager().is_some()
    }

    fn window(&mut self) -> &mut Window {
        &mut self.window
    }

    fn window_ref(&self) -> &Window {
        &self.window
    }

    /// As [`MemoryMap::region_of`].
    fn region_of(&self, page: u32) -> Option<(&Region, u32)> {
        let regions = self.map.regions();
        let index_in = |region: &Region| {
            let index = page.checked_sub(region.start / PAGE_SIZE)?;
            (index < region.pages).then_some(index)
        };
        if let Some(recent) = regions.get(self.recent.get())
            && let Some(index) = index_in(recent)
        {
            return Some((recent, index));
        }
        let after = regions.partition_point(|region| region.start / PAGE_SIZE <= page);
        let place = after.checked_sub(1)?;
        let index = index_in(&regions[place])?;
        self.recent.set(place);
        Some((&regions[place], index))
    }

    pub fn map(&self) -> &MemoryMap {
        &self.map
    }

    /// The host address of guest address 0.
    pub fn start(&self) -> u64 {
        self.window_ref().start()
    }

    /// To be called before the guest runs.
    #[inline(always)]
    pub fn note_run(&self) {
        self.ran.set(true);
    }

    /// Refuses memory of a parent process: what it has written isn't known here.
    pub fn check_process(&self) -> Result<(), PageError> {
        match self.window_ref().is_current() {
            true => Ok(()),
            false => Err(PageError::new("this machine belongs to the parent process")),
        }
    }

    /// Calls `look` with the written pages of tracked ranges, sorted. Panics if the kernel stops
    /// telling what it told before: no result is better than a wrong one.
    fn with_recorded<T>(&self, look: impl FnOnce(&[u32]) -> T) -> T {
        let mut recorded = self.recorded.borrow_mut();
        if self.ran.replace(false) {
            *recorded = None;
        }
        look(recorded.get_or_insert_with(|| {
            let told = self.window_ref().tracked_writes();
            let mut pages = told.expect("the kernel tells which pages were written");
            pages.sort_unstable();
            pages
        }))
    }

    /// Makes a mapped page readable; where its content has to be fetched, `wanted` at once.
    fn touch(&mut self, page: u32, wanted: Access) -> Result<(), Trouble> {
        if self.window().state(page) != PageState::Untouched {
            return Ok(());
        }
        let Some((region, index)) = self.region_of(page) else {
            return Ok(());
        };
        let (eager, access) = (is_eager(region), region.access);
        let Backing::Source(source) = &region.backing else {
            return match opened(region) {
                Some(region) => self.window().open(region),
                None => Ok(()),
            };
        };
        let content = source.page(index)?;
        let len = content.as_ref().map_or(0, |bytes| bytes.len());
        if len > PAGE_LEN {
            return Err(PageError::new(format!("a page of {len} bytes")).into());
        }
        let window = self.window();
        if let Some(bytes) = &content {
            window.set_page(page, PageState::Written)?;
            window.bytes_mut(page)[..len].copy_from_slice(bytes);
        }
        let state = match eager || wanted == Access::ReadWrite {
            true => PageState::Written,
            false => PageState::Read,
        };
        if window.state(page) != state {
            window.set_page(page, state)?;
        }
        if access == Access::ReadWrite {
            window.set_original(page, content);
        }
        Ok(())
    }

    /// The tracked range that holds `page`, open or not.
    fn tracked(&self, page: u32) -> Option<Range<u32>> {
        let pages = tracked(&self.map, page);
        pages.filter(|_| self.window_ref().has_tracker() && self.write_price.is_none())
    }

    /// Makes a mapped, writable page writable now, and marks it written.
    fn own(&mut self, page: u32) -> Result<(), Trouble> {
        let before = self.window_ref().state(page);
        self.touch(page, Access::ReadWrite)?;
        if self
            .region_of(page)
            .is_some_and(|(region, _)| is_eager(region))
        {
            return Ok(());
        }
        if let Some(pages) = self.tracked(page) {
            return match self.window().is_tracked(&pages) {
                true => Ok(()),
                false => self.window().track(pages),
            };
        }
        if before == PageState::Written {
            return Ok(());
        }
        if self.window_ref().state(page) != PageState::Written {
            self.window().set_page(page, PageState::Written)?;
        }
        self.written.push(page);
        Ok(())
    }

    /// As [`crate::Machine::price_writes`]. Behind an error, the contents are as they were.
    pub fn price_writes(&mut self, price: u64) -> Result<(), Trouble> {
        if self.write_price.is_none() {
            // Each first write has to be seen from now on.
            let recorded = self.with_recorded(<[u32]>::to_vec);
            self.window().untrack(&recorded)?;
            self.written.extend(recorded);
            self.recorded = RefCell::new(None);
        }
        self.write_price = Some(price);
        Ok(())
    }

    /// What [`Self::price_writes`] set.
    pub fn write_price(&self) -> Option<u64> {
        self.write_price
    }

    /// As [`crate::Machine::page_price`].
    pub fn page_price(&self, addr: u32, len: u32, access: Access) -> u64 {
        let is_touched = |page| self.window_ref().state(page) != PageState::Untouched;
        let is_written = |page| self.window_ref().state(page) == PageState::Written;
        let write_price = self.write_price;
        self.map
            .access_price(addr, len, access, write_price, is_touched, is_written)
    }

    /// Judges a guest's access of `len` (1..=8) bytes that the processor
    /// refused, and makes its pages accessible where the guest has the right, which `gas` pays
    /// for.
    pub fn judge(
        &mut self,
        addr: u32,
        len: u32,
        access: Access,
        gas: &mut u64,
    ) -> Result<Verdict, Trouble> {
        let first = addr / PAGE_SIZE;
        let last = addr.wrapping_add(len - 1) / PAGE_SIZE;
        let allowed = |page| {
            let region = self.map.region_of(page);
            region.is_some_and(|(region, _)| region.access >= access)
        };
        // An access that wraps has its lowest inaccessible byte at address 0.
        if last < first || addr < MIN_ADDRESS {
            return Ok(Verdict::Panic);
        }
        if let Some(page) = [first, last].into_iter().find(|page| !allowed(*page)) {
            return Ok(Verdict::PageFault(page * PAGE_SIZE));
        }
        let price = self.page_price(addr, len, access);
        if price > *gas {
            return Ok(Verdict::Unpaid(price));
        }
        let changes = self.window().changes();
        for page in first..=last {
            let price = self.page_price(page * PAGE_SIZE, PAGE_SIZE, access);
            let done = match access {
                Access::Read => self.touch(page, access),
                Access::ReadWrite => self.own(page),
            };
            // By what has become of it, for another engine may have to go on from there.
            *gas -= price - self.page_price(page * PAGE_SIZE, PAGE_SIZE, access);
            done?;
        }
        if self.window().changes() == changes {
            // The window isn't as noted: better no result than an endless loop.
            let error = format!("access to {addr:#x} refused without reason");
            return Err(PageError::new(error).into());
        }
        Ok(Verdict::Granted)
    }

    /// As [`MemoryMap::check`], with a length that may be over 2^32.
    fn check_len(&self, addr: u32, len: usize, access: Access) -> Result<(), AccessError> {
        let len = u32::try_from(len).map_err(|_| AccessError { address: 1 << 32 })?;
        self.check(addr, len, access)
    }

    /// As [`MemoryMap::check`].
    pub fn check(&self, addr: u32, len: u32, access: Access) -> Result<(), AccessError> {
        let region = self.region_of(addr / PAGE_SIZE).map(|(region, _)| region);
        if let Some(region) = region.filter(|region| region.access >= access) {
            let behind = (u64::from(addr) + u64::from(len)).div_ceil(u64::from(PAGE_SIZE));
            if behind <= u64::from(pages_of(region).end) {
                return Ok(());
            }
        }
        self.map.check(addr, len, access)
    }

    /// Reads for the host; all of the range must be readable.
    pub fn read(&mut self, addr: u32, out: &mut [u8]) -> Result<Result<(), Trouble>, AccessError> {
        self.check_len(addr, out.len(), Access::Read)?;
        if let Err(error) = self.check_process() {
            return Ok(Err(error.into()));
        }
        let (mut at, mut rest) = (u64::from(addr), out);
        while !rest.is_empty() {
            let (page, offset) = ((at / PAGE_LEN as u64) as u32, at as usize % PAGE_LEN);
            let (now, later) = rest.split_at_mut(rest.len().min(PAGE_LEN - offset));
            if let Err(trouble) = self.touch(page, Access::Read) {
                return Ok(Err(trouble));
            }
            now.copy_from_slice(&self.window().bytes(page)[offset..offset + now.len()]);
            at += now.len() as u64;
            rest = later;
        }
        Ok(Ok(()))
    }

    /// Touches pages for the host; all of the range must be readable.
    pub fn touch_range(&mut self, addr: u32, len: u32) -> Result<Result<(), Trouble>, AccessError> {
        self.check(addr, len, Access::Read)?;
        Ok(match self.check_process() {
            Ok(()) => pages_in(addr, len).try_for_each(|page| self.touch(page, Access::Read)),
            Err(error) => Err(error.into()),
        })
    }

    /// Writes for the host; all of the range must be writable.
    pub fn write(&mut self, addr: u32, bytes: &[u8]) -> Result<Result<(), Trouble>, AccessError> {
        self.check_len(addr, bytes.len(), Access::ReadWrite)?;
        if let Err(error) = self.check_process() {
            return Ok(Err(error.into()));
        }
        self.note_run();
        let (mut at, mut rest) = (u64::from(addr), bytes);
        while !rest.is_empty() {
            let (page, offset) = ((at / PAGE_LEN as u64) as u32, at as usize % PAGE_LEN);
            let (now, later) = rest.split_at(rest.len().min(PAGE_LEN - offset));
            if let Err(trouble) = self.own(page) {
                return Ok(Err(trouble));
            }
            let place = self.window().bytes_mut(page);
            place[offset..offset + now.len()].copy_from_slice(now);
            at += now.len() as u64;
            rest = later;
        }
        Ok(Ok(()))
    }

    pub fn written_count(&self) -> u32 {
        if !self.window_ref().is_tracking() {
            return self.written.len() as u32;
        }
        (self.written.len() + self.with_recorded(<[u32]>::len)) as u32
    }

    pub fn written_pages(&self) -> Vec<u32> {
        let mut pages = self.written.clone();
        self.with_recorded(|recorded| pages.extend(recorded));
        pages.sort_unstable();
        pages
    }

    /// As [`crate::Machine::written_since`].
    pub fn written_since(&self, count: u32) -> Vec<u32> {
        self.written
            .get(count as usize..)
            .unwrap_or_default()
            .to_vec()
    }

    /// A page's content, unless it is as it was at first: untouched, or zeros in a
    /// region of zeros.
    pub fn page_bytes(&self, page: u32) -> Option<&[u8; PAGE_LEN]> {
        if u64::from(page) >= (1 << 32) / u64::from(PAGE_SIZE) {
            return None;
        }
        let window = self.window_ref();
        if window.state(page) != PageState::Untouched {
            return Some(window.bytes(page));
        }
        let (region, _) = self.map.region_of(page)?;
        let open = opened(region).is_some_and(|region| window.is_open(&region));
        let bytes = open.then(|| window.bytes(page))?;
        let written = || self.with_recorded(|recorded| recorded.binary_search(&page).is_ok());
        (bytes.iter().any(|byte| *byte != 0) || written()).then_some(bytes)
    }

    /// Every page with content of its own, and whether it is among the written ones.
    pub fn contents(&self) -> impl Iterator<Item = (u32, &[u8; PAGE_LEN], bool)> {
        let window = self.window_ref();
        let regions = self.map.regions().iter();
        let zeros = regions
            .filter(|region| is_zeros(region) && is_eager(region))
            .flat_map(|region| window.with_memory(pages_of(region)));
        let touched = window.touched().iter().copied();
        let mut recorded = self.with_recorded(<[u32]>::to_vec);
        recorded.retain(|page| window.state(*page) == PageState::Untouched);
        let written = self.written_pages();
        let pages = touched.chain(recorded).chain(zeros);
        pages.filter_map(move |page| {
            let bytes = self.page_bytes(page)?;
            Some((page, bytes, written.binary_search(&page).is_ok()))
        })
    }
}

/// What the host sees of trouble.
pub(super) fn refused(error: AccessError) -> MemoryError {
    MemoryError::Access(error)
}
