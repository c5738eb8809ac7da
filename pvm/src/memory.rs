//! A machine's pages: none until touched.

use std::sync::Arc;

use crate::error::{AccessError, MemoryError, PageError};
use crate::map::{Access, Backing, MemoryMap, pages_in};
use crate::{MIN_ADDRESS, PAGE_SIZE};

const PAGE_LEN: usize = PAGE_SIZE as usize;
/// Pages per second-level table, and second-level tables.
const FANOUT: usize = 1024;
const CACHE_LEN: usize = 128;
/// Pages that there is room for at the most when all are untouched again.
const KEPT_PAGES_MAX: usize = 64;

type Page = [u8; PAGE_LEN];
type Table = [PageRef; FANOUT];

/// Why a guest's load or store didn't happen.
pub(crate) enum Fault {
    /// The address is below [`MIN_ADDRESS`].
    Panic,
    /// The first address of the page that lacks the right.
    Page(u32),
    /// The store behind the page is broken.
    Source(PageError),
    /// There are pages to be paid.
    Price(Unpaid),
}

/// An access whose pages cost something.
#[derive(Clone, Copy)]
pub(crate) struct Unpaid {
    addr: u32,
    len: u32,
    access: Access,
    /// Gas that its pages cost.
    pub price: u64,
}

impl From<PageError> for Fault {
    fn from(error: PageError) -> Self {
        Fault::Source(error)
    }
}

/// Where a page's bytes are: 0 when untouched, else flags and an index.
#[derive(Clone, Copy, PartialEq, Eq)]
struct PageRef(u32);

impl PageRef {
    const UNTOUCHED: PageRef = PageRef(0);
    const PRESENT: u32 = 1 << 31;
    const WRITTEN: u32 = 1 << 30;
    /// Place 0, which all zero pages share until they are written.
    const ZERO: PageRef = PageRef(PageRef::PRESENT);

    fn own(index: usize) -> PageRef {
        PageRef(PageRef::PRESENT | index as u32)
    }

    #[inline(always)]
    fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }

    #[inline(always)]
    fn index(self) -> usize {
        (self.0 & (PageRef::WRITTEN - 1)) as usize
    }

    fn translation(self, page: u32) -> Translation {
        Translation {
            start: page * PAGE_SIZE,
            place: self.index() as u32,
        }
    }
}

/// The last translation of the pages that share a cache line.
#[derive(Clone, Copy)]
struct Translation {
    /// The page's first address.
    start: u32,
    place: u32,
}

/// At first, each line has the translation of a page of another line, which nothing matches.
const NO_TRANSLATIONS: [Translation; CACHE_LEN] = {
    let mut translations = [Translation { start: 0, place: 0 }; CACHE_LEN];
    let mut line = 0;
    while line < CACHE_LEN {
        translations[line].start = (line as u32 ^ 1) * PAGE_SIZE;
        line += 1;
    }
    translations
};

#[inline(always)]
fn line(page: u32) -> usize {
    page as usize % CACHE_LEN
}

/// Pages by number, materialized on first touch.
pub(crate) struct PagedMemory {
    map: MemoryMap,
    /// As long as the highest touched page asks.
    tables: Vec<Option<Box<Table>>>,
    /// The bytes of pages by place, in one piece, so that an access is one look-up.
    places: Vec<Page>,
    /// Written pages outside of eager regions, in order of their first write.
    written: Vec<u32>,
    loads: [Translation; CACHE_LEN],
    /// Only pages that are owned and marked written.
    stores: [Translation; CACHE_LEN],
    fault: Option<Fault>,
    /// Gas that the first write of a page costs, if that is to be seen when it happens.
    write_price: Option<u64>,
}

impl PagedMemory {
    pub(crate) fn new(map: MemoryMap) -> Self {
        PagedMemory {
            map,
            tables: Vec::new(),
            places: vec![[0; PAGE_LEN]],
            written: Vec::new(),
            loads: NO_TRANSLATIONS,
            stores: NO_TRANSLATIONS,
            fault: None,
            write_price: None,
        }
    }

    /// Makes all pages untouched.
    pub(crate) fn reset(&mut self) {
        self.write_price = None;
        if self.tables.is_empty() {
            return;
        }
        self.tables.clear();
        self.places.truncate(1);
        self.places.shrink_to(KEPT_PAGES_MAX);
        self.written = Vec::new();
        (self.loads, self.stores) = (NO_TRANSLATIONS, NO_TRANSLATIONS);
        self.fault = None;
    }

    pub(crate) fn map(&self) -> &MemoryMap {
        &self.map
    }

    /// Loads `N` bytes at `addr`; addresses wrap at 2^32. `None` leaves the
    /// reason to [`Self::take_fault`], which keeps it out of the fast path.
    #[inline(always)]
    pub(crate) fn load<const N: usize>(&mut self, addr: u32) -> Option<[u8; N]> {
        let cached = self.loads[line(addr / PAGE_SIZE)];
        // One comparison tells whether it is that page, and all bytes lie in it.
        let offset = addr.wrapping_sub(cached.start) as usize;
        if offset <= PAGE_LEN - N
            && let Some(bytes) = self.places.get(cached.place as usize)
            && let Some(bytes) = bytes[offset..].first_chunk::<N>()
        {
            return Some(*bytes);
        }
        self.load_slow(addr)
    }

    /// Stores `bytes` at `addr`, all or none; addresses wrap at 2^32. `None` as
    /// for [`Self::load`].
    #[inline(always)]
    pub(crate) fn store<const N: usize>(&mut self, addr: u32, bytes: [u8; N]) -> Option<()> {
        let cached = self.stores[line(addr / PAGE_SIZE)];
        let offset = addr.wrapping_sub(cached.start) as usize;
        if offset <= PAGE_LEN - N
            && let Some(page) = self.places.get_mut(cached.place as usize)
            && let Some(place) = page[offset..].first_chunk_mut::<N>()
        {
            *place = bytes;
            return Some(());
        }
        self.store_slow(addr, bytes)
    }

    #[cold]
    #[inline(never)]
    fn load_slow<const N: usize>(&mut self, addr: u32) -> Option<[u8; N]> {
        self.load_bytes(addr)
            .map_err(|fault| self.fault = Some(fault))
            .ok()
    }

    #[cold]
    #[inline(never)]
    fn store_slow<const N: usize>(&mut self, addr: u32, bytes: [u8; N]) -> Option<()> {
        self.store_bytes(addr, bytes)
            .map_err(|fault| self.fault = Some(fault))
            .ok()
    }

    /// Why the last load or store gave `None`.
    pub(crate) fn take_fault(&mut self) -> Option<Fault> {
        self.fault.take()
    }

    fn load_bytes<const N: usize>(&mut self, addr: u32) -> Result<[u8; N], Fault> {
        let split = self.split(addr, N, Access::Read)?;
        self.check_paid(addr, N as u32, Access::Read)?;
        let mut out = [0; N];
        self.copy_out(addr, &mut out[..split])?;
        self.copy_out(addr.wrapping_add(split as u32), &mut out[split..])?;
        Ok(out)
    }

    fn store_bytes<const N: usize>(&mut self, addr: u32, bytes: [u8; N]) -> Result<(), Fault> {
        let split = self.split(addr, N, Access::ReadWrite)?;
        self.check_paid(addr, N as u32, Access::ReadWrite)?;
        // Both pages are had before either changes.
        self.own(addr / PAGE_SIZE)?;
        self.own(addr.wrapping_add(N as u32 - 1) / PAGE_SIZE)?;
        self.copy_in(addr, &bytes[..split])?;
        self.copy_in(addr.wrapping_add(split as u32), &bytes[split..])?;
        Ok(())
    }

    /// How many of the `len` (1..=8) bytes at `addr` lie in its page, when all
    /// of them have the right.
    fn split(&self, addr: u32, len: usize, access: Access) -> Result<usize, Fault> {
        let in_page = len.min(PAGE_LEN - addr as usize % PAGE_LEN);
        let first = addr / PAGE_SIZE;
        let last = addr.wrapping_add(len as u32 - 1) / PAGE_SIZE;
        // A range that wraps has its lowest inaccessible byte at address 0.
        if last < first || (addr < MIN_ADDRESS && !self.allows(first, access)) {
            return Err(Fault::Panic);
        }
        match [first, last]
            .into_iter()
            .find(|page| !self.allows(*page, access))
        {
            Some(page) => Err(Fault::Page(page * PAGE_SIZE)),
            None => Ok(in_page),
        }
    }

    /// As [`crate::Machine::price_writes`].
    pub(crate) fn price_writes(&mut self, price: u64) {
        self.write_price = Some(price);
    }

    /// As [`crate::Machine::page_price`].
    pub(crate) fn page_price(&self, addr: u32, len: u32, access: Access) -> u64 {
        let is_touched = |page| self.page_ref(page) != PageRef::UNTOUCHED;
        let is_written = |page| self.page_ref(page).has(PageRef::WRITTEN);
        let write_price = self.write_price;
        self.map
            .access_price(addr, len, access, write_price, is_touched, is_written)
    }

    fn check_paid(&self, addr: u32, len: u32, access: Access) -> Result<(), Fault> {
        match self.page_price(addr, len, access) {
            0 => Ok(()),
            price => Err(Fault::Price(Unpaid {
                addr,
                len,
                access,
                price,
            })),
        }
    }

    /// Does to the pages of an access, which has the right, what it pays for: a store that goes
    /// on will complete.
    pub(crate) fn take_paid(&mut self, unpaid: Unpaid) -> Result<(), PageError> {
        for page in pages_in(unpaid.addr, unpaid.len) {
            match unpaid.access {
                Access::Read => _ = self.touch(page)?,
                Access::ReadWrite => _ = self.write_page(page)?,
            }
        }
        Ok(())
    }

    fn touch_pages(&mut self, addr: u32, len: u32) -> Result<(), PageError> {
        pages_in(addr, len).try_for_each(|page| self.touch(page).map(|_| ()))
    }

    /// Touches pages for the host; all of the range must be readable.
    pub(crate) fn touch_range(&mut self, addr: u32, len: u32) -> Result<(), MemoryError> {
        self.check(addr, len, Access::Read)?;
        Ok(self.touch_pages(addr, len)?)
    }

    fn allows(&self, page: u32, access: Access) -> bool {
        let wanted = match access {
            Access::Read => PageRef::PRESENT,
            Access::ReadWrite => PageRef::WRITTEN,
        };
        self.page_ref(page).has(wanted)
            || self
                .map
                .region_of(page)
                .is_some_and(|(region, _)| region.access >= access)
    }

    #[inline(always)]
    fn bytes(&self, page_ref: PageRef) -> &Page {
        &self.places[page_ref.index()]
    }

    fn page_ref(&self, page: u32) -> PageRef {
        let (table, index) = (page as usize / FANOUT, page as usize % FANOUT);
        match self.tables.get(table) {
            Some(Some(table)) => table[index],
            _ => PageRef::UNTOUCHED,
        }
    }

    fn set_page_ref(&mut self, page: u32, page_ref: PageRef) {
        let (table, index) = (page as usize / FANOUT, page as usize % FANOUT);
        if table >= self.tables.len() {
            self.tables.resize_with(table + 1, || None);
        }
        let table = &mut self.tables[table];
        let table = table.get_or_insert_with(|| Box::new([PageRef::UNTOUCHED; FANOUT]));
        table[index] = page_ref;
        self.loads[line(page)] = page_ref.translation(page);
    }

    /// Makes a mapped page present.
    fn touch(&mut self, page: u32) -> Result<PageRef, PageError> {
        let page_ref = self.page_ref(page);
        if page_ref != PageRef::UNTOUCHED {
            self.loads[line(page)] = page_ref.translation(page);
            return Ok(page_ref);
        }
        let content = match self.map.region_of(page) {
            Some((region, index)) => match &region.backing {
                Backing::Zero => None,
                Backing::Source(source) => source.page(index)?,
            },
            None => None,
        };
        let page_ref = match content {
            None => PageRef::ZERO,
            Some(bytes) => self.take(bytes)?,
        };
        self.set_page_ref(page, page_ref);
        Ok(page_ref)
    }

    /// Takes a page's content, and whether it was written, from another memory
    /// with the same map.
    pub(crate) fn restore(&mut self, page: u32, bytes: &Page, written: bool) {
        let mut page_ref = self.place(*bytes);
        if written {
            page_ref = PageRef(page_ref.0 | PageRef::WRITTEN);
            let region = self.map.region_of(page);
            if region.is_some_and(|(region, _)| !region.eager) {
                self.written.push(page);
            }
        }
        self.set_page_ref(page, page_ref);
    }

    fn place(&mut self, page: Page) -> PageRef {
        self.places.push(page);
        PageRef::own(self.places.len() - 1)
    }

    /// Copies a source's bytes.
    fn take(&mut self, bytes: Arc<[u8]>) -> Result<PageRef, PageError> {
        let mut page = [0; PAGE_LEN];
        match page.get_mut(..bytes.len()) {
            Some(start) => start.copy_from_slice(&bytes),
            None => return Err(PageError::new(format!("a page of {} bytes", bytes.len()))),
        }
        Ok(self.place(page))
    }

    /// Makes a mapped page present and this machine's own.
    fn own(&mut self, page: u32) -> Result<PageRef, PageError> {
        let page_ref = self.touch(page)?;
        if page_ref != PageRef::ZERO {
            return Ok(page_ref);
        }
        let page_ref = self.place([0; PAGE_LEN]);
        self.set_page_ref(page, page_ref);
        Ok(page_ref)
    }

    /// Copies from one mapped page.
    fn copy_out(&mut self, addr: u32, out: &mut [u8]) -> Result<(), PageError> {
        if !out.is_empty() {
            let page_ref = self.touch(addr / PAGE_SIZE)?;
            let offset = addr as usize % PAGE_LEN;
            out.copy_from_slice(&self.bytes(page_ref)[offset..offset + out.len()]);
        }
        Ok(())
    }

    /// Copies into one writable page and marks it written.
    fn copy_in(&mut self, addr: u32, bytes: &[u8]) -> Result<(), PageError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let page = addr / PAGE_SIZE;
        let page_ref = self.write_page(page)?;
        self.stores[line(page)] = page_ref.translation(page);
        let offset = addr as usize % PAGE_LEN;
        self.places[page_ref.index()][offset..offset + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    /// Makes a writable page this machine's own, and marks it written.
    fn write_page(&mut self, page: u32) -> Result<PageRef, PageError> {
        let page_ref = self.own(page)?;
        if page_ref.has(PageRef::WRITTEN) {
            return Ok(page_ref);
        }
        let page_ref = PageRef(page_ref.0 | PageRef::WRITTEN);
        self.set_page_ref(page, page_ref);
        let region = self.map.region_of(page);
        if region.is_some_and(|(region, _)| !region.eager) {
            self.written.push(page);
        }
        Ok(page_ref)
    }

    pub(crate) fn check(&self, addr: u32, len: u32, access: Access) -> Result<(), AccessError> {
        self.map.check(addr, len, access)
    }

    /// As [`Self::check`], with a length that may be over 2^32.
    fn check_len(&self, addr: u32, len: usize, access: Access) -> Result<(), AccessError> {
        let len = u32::try_from(len).map_err(|_| AccessError { address: 1 << 32 })?;
        self.check(addr, len, access)
    }

    /// Reads for the host; all of the range must be readable.
    pub(crate) fn read(&mut self, addr: u32, out: &mut [u8]) -> Result<(), MemoryError> {
        self.check_len(addr, out.len(), Access::Read)?;
        let (mut addr, mut rest) = (addr, out);
        while !rest.is_empty() {
            let len = rest.len().min(PAGE_LEN - addr as usize % PAGE_LEN);
            let (now, later) = rest.split_at_mut(len);
            self.copy_out(addr, now)?;
            addr = addr.wrapping_add(len as u32);
            rest = later;
        }
        Ok(())
    }

    /// Writes for the host; all of the range must be writable.
    pub(crate) fn write(&mut self, addr: u32, bytes: &[u8]) -> Result<(), MemoryError> {
        self.check_len(addr, bytes.len(), Access::ReadWrite)?;
        let (mut addr, mut rest) = (addr, bytes);
        while !rest.is_empty() {
            let len = rest.len().min(PAGE_LEN - addr as usize % PAGE_LEN);
            let (now, later) = rest.split_at(len);
            self.copy_in(addr, now)?;
            addr = addr.wrapping_add(len as u32);
            rest = later;
        }
        Ok(())
    }

    pub(crate) fn written_count(&self) -> u32 {
        self.written.len() as u32
    }

    pub(crate) fn written_pages(&self) -> Vec<u32> {
        let mut pages = self.written.clone();
        pages.sort_unstable();
        pages
    }

    pub(crate) fn written_since(&self, count: u32) -> Vec<u32> {
        self.written
            .get(count as usize..)
            .unwrap_or_default()
            .to_vec()
    }

    pub(crate) fn page_bytes(&self, page: u32) -> Option<&Page> {
        match self.page_ref(page) {
            PageRef::UNTOUCHED => None,
            page_ref => Some(self.bytes(page_ref)),
        }
    }
}
