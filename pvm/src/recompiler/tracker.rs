//! Which pages were written, as the kernel tells.
//!
//! `userfaultfd` in its asynchronous write-protect mode lets the kernel lift the protection of
//! a page on its first write, without a signal; `PAGEMAP_SCAN` tells which pages have lost
//! theirs and gives it back, in one call. Linux has both since 6.7. A process may be denied
//! them, so [`Tracker::new`] tries whether they do what is said here.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::sys::{Mapping, Protection};
use crate::PAGE_SIZE;

const PAGE: u64 = PAGE_SIZE as u64;

// From the kernel's `userfaultfd.h` and `fs.h`.
const UFFD_USER_MODE_ONLY: i32 = 1;
const UFFD_API: u64 = 0xaa;
const UFFD_FEATURE_WP_ASYNC: u64 = 1 << 15;
const UFFDIO_API: libc::c_ulong = 0xc018_aa3f;
const UFFDIO_REGISTER: libc::c_ulong = 0xc020_aa00;
const UFFDIO_REGISTER_MODE_WP: u64 = 1 << 1;
const PAGEMAP_SCAN: libc::c_ulong = 0xc060_6610;
const PM_SCAN_WP_MATCHING: u64 = 1 << 0;
const PM_SCAN_CHECK_WPASYNC: u64 = 1 << 1;
const PAGE_IS_WRITTEN: u64 = 1 << 1;
const PAGE_IS_PRESENT: u64 = 1 << 3;
const PAGE_IS_SWAPPED: u64 = 1 << 4;
const PAGE_IS_PFNZERO: u64 = 1 << 5;

#[repr(C)]
struct UffdioApi {
    api: u64,
    features: u64,
    ioctls: u64,
}

#[repr(C)]
struct UffdioRegister {
    start: u64,
    len: u64,
    mode: u64,
    ioctls: u64,
}

#[repr(C)]
#[derive(Default)]
struct PmScanArg {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct PageRegion {
    start: u64,
    end: u64,
    categories: u64,
}

/// Page runs that one call may tell of.
const RUNS: usize = 64;

/// The kernel's record of writes to this process's memory.
pub(super) struct Tracker {
    uffd: OwnedFd,
    pagemap: File,
}

impl Tracker {
    /// `None` where the kernel lacks what it takes, forbids it or answers otherwise than expected.
    pub fn new() -> Option<Tracker> {
        let flags = libc::O_CLOEXEC | libc::O_NONBLOCK | UFFD_USER_MODE_ONLY;
        // SAFETY: a new descriptor, or an error.
        let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, flags) };
        let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
        // SAFETY: the descriptor is new and nobody else's.
        let uffd = unsafe { OwnedFd::from_raw_fd(fd) };
        let mut api = UffdioApi {
            api: UFFD_API,
            features: UFFD_FEATURE_WP_ASYNC,
            ioctls: 0,
        };
        // SAFETY: the structure is the one that this request reads and writes.
        let result = unsafe { libc::ioctl(uffd.as_raw_fd(), UFFDIO_API, &raw mut api) };
        let tracker = Tracker {
            uffd,
            pagemap: File::open("/proc/self/pagemap").ok()?,
        };
        (result == 0 && tracker.works() == Some(true)).then_some(tracker)
    }

    /// From now on, writes to the mapping's bytes from `offset` on are recorded.
    pub fn watch(&self, mapping: &Mapping, offset: usize) -> Option<()> {
        let mut register = UffdioRegister {
            start: mapping.start() as u64 + offset as u64,
            len: (mapping.len() - offset) as u64,
            mode: UFFDIO_REGISTER_MODE_WP,
            ioctls: 0,
        };
        // SAFETY: the structure is the one that this request reads and writes. What becomes
        // of the range is invisible but for the scans below.
        let result =
            unsafe { libc::ioctl(self.uffd.as_raw_fd(), UFFDIO_REGISTER, &raw mut register) };
        (result == 0).then_some(())
    }

    /// Calls `found` with runs of pages in `pages`, by their host number (address / 4096),
    /// that have been written since they were last forgotten; with `forget`, they are now.
    /// Untouched pages and those of zeros that were only read count as not written.
    pub fn written(
        &self,
        pages: std::ops::Range<u64>,
        forget: bool,
        mut found: impl FnMut(std::ops::Range<u64>),
    ) -> Option<()> {
        let mut runs = [PageRegion::default(); RUNS];
        let mut scan = PmScanArg {
            size: size_of::<PmScanArg>() as u64,
            flags: PM_SCAN_CHECK_WPASYNC | if forget { PM_SCAN_WP_MATCHING } else { 0 },
            start: pages.start * PAGE,
            end: pages.end * PAGE,
            vec: runs.as_mut_ptr() as u64,
            vec_len: RUNS as u64,
            category_inverted: PAGE_IS_PFNZERO,
            category_mask: PAGE_IS_WRITTEN | PAGE_IS_PFNZERO,
            category_anyof_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
            return_mask: PAGE_IS_WRITTEN,
            ..PmScanArg::default()
        };
        while scan.start < scan.end {
            // SAFETY: the structure is the one that this request reads and writes, and `vec`
            // has room for `vec_len` runs. Protection against writes is lifted by the kernel.
            let count =
                unsafe { libc::ioctl(self.pagemap.as_raw_fd(), PAGEMAP_SCAN, &raw mut scan) };
            let count = usize::try_from(count).ok()?;
            for run in runs.get(..count)? {
                found(run.start / PAGE..run.end / PAGE);
            }
            if scan.walk_end <= scan.start {
                return None;
            }
            scan.start = scan.walk_end;
        }
        Some(())
    }

    /// Tries it on a few pages of its own: reads, first and later writes.
    fn works(&self) -> Option<bool> {
        const PAGES: usize = 4;
        let mut mapping = Mapping::reserved(PAGES * PAGE as usize)?;
        self.watch(&mapping, 0)?;
        mapping.protect(0, mapping.len(), Protection::ReadWrite)?;
        let first = mapping.start() as u64 / PAGE;
        let at = |page: usize| mapping.start().wrapping_add(page * PAGE as usize);
        // SAFETY: each page lies in the mapping, which is writable and ours alone.
        let write = |page: usize| unsafe { at(page).write_volatile(0) };
        let told = |forget: bool| {
            let mut told = [false; PAGES];
            let pages = first..first + PAGES as u64;
            self.written(pages, forget, |run| {
                run.for_each(|page| told[(page - first) as usize] = true);
            })?;
            Some(told)
        };
        // SAFETY: as for `write`.
        unsafe { at(1).read_volatile() };
        write(2);
        let mut right = told(false)? == [false, false, true, false];
        right &= told(true)? == [false, false, true, false];
        right &= told(false)? == [false; PAGES];
        write(1);
        right &= told(false)? == [false, true, false, false];
        write(2);
        write(3);
        right &= told(true)? == [false, true, true, true];
        right &= told(false)? == [false; PAGES];
        // SAFETY: as for `write`.
        unsafe { at(2).read_volatile() };
        right &= told(false)? == [false; PAGES];
        Some(right)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_beyond_one_call_are_told_and_forgotten() {
        let Some(tracker) = Tracker::new() else {
            eprintln!("SKIPPED: the kernel doesn't tell of writes");
            return;
        };
        let pages = 5 * RUNS;
        let mut mapping = Mapping::reserved(pages * PAGE as usize).unwrap();
        tracker.watch(&mapping, 0).unwrap();
        let len = mapping.len();
        mapping.protect(0, len, Protection::ReadWrite).unwrap();
        for page in (0..pages).step_by(2) {
            // SAFETY: the page lies in the mapping, which is writable and ours alone.
            unsafe { mapping.start().add(page * PAGE as usize).write(1) };
        }
        let first = mapping.start() as u64 / PAGE;
        let told = |forget| {
            let mut told = vec![];
            let all = first..first + pages as u64;
            let done = tracker.written(all, forget, |run| told.extend(run.map(|p| p - first)));
            done.unwrap();
            told
        };
        let written: Vec<u64> = (0..pages as u64).step_by(2).collect();
        assert_eq!(told(false), written);
        assert_eq!(told(true), written);
        assert_eq!(told(true), [0; 0]);
    }
}
