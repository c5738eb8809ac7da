//! The memory layout, declared before a run.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::error::{AccessError, Error, PageError};
use crate::{MIN_ADDRESS, PAGE_SIZE};

/// Where a region's pages come from on first touch.
pub trait PageSource: Send + Sync {
    /// Page `index` of the region, at most 4096 bytes; shorter pages are
    /// zero-extended, `None` is a page of zeros.
    fn page(&self, index: u32) -> Result<Option<Arc<[u8]>>, PageError>;

    /// Gas that the first touch of each page costs a run, by guest or host; the same at all
    /// times. A guest's is taken when it happens, a host's is the host's to take: see
    /// [`Machine::page_price`](crate::Machine::page_price).
    fn page_price(&self) -> u64 {
        0
    }
}

/// What a region's pages hold at first.
#[derive(Clone)]
pub enum Backing {
    /// Zeros.
    Zero,
    /// Immutable bytes, copied when written. One source always gives the same pages: what an
    /// engine has read from it may serve the next machine that has the same `Arc`.
    Source(Arc<dyn PageSource>),
}

impl fmt::Debug for Backing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Backing::Zero => "Zero",
            Backing::Source(_) => "Source",
        })
    }
}

/// The guest's right to a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Loads only.
    Read,
    /// Loads and stores.
    ReadWrite,
}

/// A run of pages with one right and one backing.
#[derive(Debug, Clone)]
pub struct Region {
    /// First address, a multiple of 4096.
    pub start: u32,
    /// Length in pages.
    pub pages: u32,
    /// The guest's right.
    pub access: Access,
    /// First content.
    pub backing: Backing,
    /// Every page counts as written from the start: the region is left out of
    /// the written pages and needs no watching.
    pub eager: bool,
}

impl Region {
    /// Gas that the first touch of each page costs.
    pub(crate) fn page_price(&self) -> u64 {
        match &self.backing {
            Backing::Zero => 0,
            Backing::Source(source) => source.page_price(),
        }
    }

    fn first_page(&self) -> u32 {
        self.start / PAGE_SIZE
    }

    /// One past the last page.
    fn end_page(&self) -> u64 {
        u64::from(self.first_page()) + u64::from(self.pages)
    }
}

/// Numbers of the pages that `addr..addr + len` reaches.
pub(crate) fn pages_in(addr: u32, len: u32) -> Range<u32> {
    let first = addr / PAGE_SIZE;
    match len {
        0 => first..first,
        _ => first..(u64::from(addr) + u64::from(len)).div_ceil(u64::from(PAGE_SIZE)) as u32,
    }
}

/// Regions that passed the checks of [`MemoryMap::new`]; a cheap handle.
#[derive(Debug, Clone, Default)]
pub struct MemoryMap {
    regions: Arc<[Region]>,
    /// Whether any page has a price.
    is_priced: bool,
}

impl MemoryMap {
    /// Checks that regions are page-aligned, sorted by address, disjoint, at or
    /// above [`MIN_ADDRESS`] and within 2^32. Regions of no pages are dropped.
    pub fn new(mut regions: Vec<Region>) -> Result<MemoryMap, Error> {
        regions.retain(|region| region.pages > 0);
        let mut end_before = 0;
        for region in &regions {
            let refuse = |reason| {
                Err(Error::Region {
                    start: region.start,
                    reason,
                })
            };
            if region.start % PAGE_SIZE != 0 {
                return refuse("not aligned to a page");
            }
            if region.start < MIN_ADDRESS {
                return refuse("below the lowest address");
            }
            if region.end_page() > 1 << 20 {
                return refuse("ends above 2^32");
            }
            if u64::from(region.first_page()) < end_before {
                return refuse("not behind the region before it");
            }
            end_before = region.end_page();
        }
        Ok(MemoryMap {
            is_priced: regions.iter().any(|region| region.page_price() > 0),
            regions: regions.into(),
        })
    }

    /// The regions, by rising address.
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// The region that holds page number `page`, and the page's index in it.
    pub fn region_of(&self, page: u32) -> Option<(&Region, u32)> {
        let after = self
            .regions
            .partition_point(|region| region.first_page() <= page);
        let region = &self.regions[after.checked_sub(1)?];
        (u64::from(page) < region.end_page()).then(|| (region, page - region.first_page()))
    }

    /// What an access to `addr..addr + len` costs: the prices of its pages that are not touched,
    /// and for a store `write_price` for each page that is neither eager nor written.
    pub(crate) fn access_price(
        &self,
        addr: u32,
        len: u32,
        access: Access,
        write_price: Option<u64>,
        is_touched: impl Fn(u32) -> bool,
        is_written: impl Fn(u32) -> bool,
    ) -> u64 {
        let write_price = write_price.filter(|_| access == Access::ReadWrite);
        if !self.is_priced && write_price.is_none() {
            return 0;
        }
        let Range { start, end } = pages_in(addr, len);
        let mut sum: u64 = 0;
        for region in self.regions() {
            let price = region.page_price();
            let write_price = write_price.filter(|_| !region.eager).unwrap_or(0);
            if price == 0 && write_price == 0 {
                continue;
            }
            for page in start.max(region.first_page())..end.min(region.end_page() as u32) {
                let touch = if is_touched(page) { 0 } else { price };
                let write = if is_written(page) { 0 } else { write_price };
                sum = sum.saturating_add(touch).saturating_add(write);
            }
        }
        sum
    }

    /// Whether all of `addr..addr + len` lies in pages with the right `access`.
    pub fn check(&self, addr: u32, len: u32, access: Access) -> Result<(), AccessError> {
        let end = u64::from(addr) + u64::from(len);
        let mut at = u64::from(addr);
        while at < end {
            let page = u32::try_from(at).map_err(|_| AccessError { address: at })? / PAGE_SIZE;
            match self.region_of(page) {
                Some((region, _)) if region.access >= access => {
                    at = region.end_page() * u64::from(PAGE_SIZE);
                }
                _ => return Err(AccessError { address: at }),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(start: u32, pages: u32, access: Access) -> Region {
        Region {
            start,
            pages,
            access,
            backing: Backing::Zero,
            eager: false,
        }
    }

    #[test]
    fn layouts_are_checked() {
        let check = |list: &[(u32, u32)]| {
            let regions = list
                .iter()
                .map(|(s, p)| region(*s, *p, Access::Read))
                .collect();
            MemoryMap::new(regions).map(|map| map.regions().len())
        };
        assert_eq!(check(&[]), Ok(0));
        assert_eq!(
            check(&[(0x10000, 1), (0x11000, 1), (0xffff_f000, 1)]),
            Ok(3)
        );
        assert_eq!(check(&[(0x10000, 0xffff0)]), Ok(1));
        assert_eq!(check(&[(0x10000, 0), (0x5, 0)]), Ok(0));
        assert!(check(&[(0x10001, 1)]).is_err());
        assert!(check(&[(0xf000, 1)]).is_err());
        assert!(check(&[(0x10000, 0xffff1)]).is_err());
        assert!(check(&[(0xffff_f000, u32::MAX)]).is_err());
        assert!(check(&[(0x10000, 2), (0x11000, 1)]).is_err());
        assert!(check(&[(0x20000, 1), (0x10000, 1)]).is_err());
    }

    #[test]
    fn ranges_need_the_right_throughout() {
        let map = MemoryMap::new(vec![
            region(0x10000, 2, Access::Read),
            region(0x12000, 1, Access::ReadWrite),
            region(0xffff_f000, 1, Access::ReadWrite),
        ])
        .unwrap();
        let fails = |addr, len, access| map.check(addr, len, access).unwrap_err().address;
        assert_eq!(map.check(0x10000, 0x3000, Access::Read), Ok(()));
        assert_eq!(map.check(0, 0, Access::ReadWrite), Ok(()));
        assert_eq!(map.check(0xffff_f000, 0x1000, Access::ReadWrite), Ok(()));
        assert_eq!(fails(0xffff, 2, Access::Read), 0xffff);
        assert_eq!(fails(0x10000, 0x3001, Access::Read), 0x13000);
        assert_eq!(fails(0x11fff, 2, Access::ReadWrite), 0x11fff);
        assert_eq!(fails(0xffff_ffff, 2, Access::Read), 1 << 32);
        assert_eq!(fails(0, u32::MAX, Access::Read), 0);
    }
}
