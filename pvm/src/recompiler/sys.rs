//! The system calls behind code and windows.

use std::ptr;

use libc::{MAP_ANONYMOUS, MAP_FIXED, MAP_NORESERVE, MAP_PRIVATE, PROT_EXEC, PROT_NONE};
use libc::{PROT_READ, PROT_WRITE};

use crate::PAGE_SIZE;

/// A range of address space that is unmapped when dropped.
pub(super) struct Mapping {
    start: *mut u8,
    len: usize,
}

// SAFETY: a mapping belongs to the process; no thread has a part in it.
unsafe impl Send for Mapping {}
// SAFETY: shared references give only the address.
unsafe impl Sync for Mapping {}

const FLAGS: i32 = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

/// What may be done with pages.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Protection {
    None,
    Read,
    ReadWrite,
}

impl Mapping {
    fn new(len: usize, protection: i32) -> Option<Mapping> {
        let len = len.next_multiple_of(PAGE_SIZE as usize);
        // SAFETY: a new private mapping at an address of the kernel's choice.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, protection, FLAGS, -1, 0) };
        (start != libc::MAP_FAILED).then(|| Mapping {
            start: start.cast(),
            len,
        })
    }

    /// Zeros, without memory until touched.
    pub fn writable(len: usize) -> Option<Mapping> {
        Mapping::new(len, PROT_READ | PROT_WRITE)
    }

    /// Writable, no longer executable, and at least `len` long, perhaps elsewhere. Keeps the pages it
    /// has, with what they held.
    pub fn writable_again(mut self, len: usize) -> Option<Mapping> {
        self.protect_raw(0, self.len, PROT_READ | PROT_WRITE)?;
        let len = len.next_multiple_of(PAGE_SIZE as usize);
        if len > self.len {
            let may_move = libc::MREMAP_MAYMOVE;
            // SAFETY: the whole of our mapping, into which no reference is alive, since `self`
            // is owned.
            let start = unsafe { libc::mremap(self.start.cast(), self.len, len, may_move) };
            if start == libc::MAP_FAILED {
                return None;
            }
            (self.start, self.len) = (start.cast(), len);
        }
        Some(self)
    }

    /// Address space alone.
    pub fn reserved(len: usize) -> Option<Mapping> {
        let mapping = Mapping::new(len, PROT_NONE)?;
        advise(mapping.start, mapping.len);
        Some(mapping)
    }

    /// A page of zeros, of which a child made by `fork` has zeros again.
    pub fn wiped_by_fork() -> Option<Mapping> {
        let mapping = Mapping::writable(PAGE_SIZE as usize)?;
        // SAFETY: our own mapping, new and not yet referred to.
        let result =
            unsafe { libc::madvise(mapping.start.cast(), mapping.len, libc::MADV_WIPEONFORK) };
        (result == 0).then_some(mapping)
    }

    pub fn start(&self) -> *mut u8 {
        self.start
    }

    /// In bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Gives back the pages behind `len`.
    pub fn shrink(&mut self, len: usize) {
        let keep = len
            .next_multiple_of(PAGE_SIZE as usize)
            .max(PAGE_SIZE as usize);
        if keep < self.len {
            // SAFETY: the tail is ours and nothing refers to it.
            let result = unsafe { libc::munmap(self.start.add(keep).cast(), self.len - keep) };
            if result == 0 {
                self.len = keep;
            }
        }
    }

    /// Readable and executable, no longer writable.
    pub fn make_executable(&mut self) -> Option<()> {
        self.protect_raw(0, self.len, PROT_READ | PROT_EXEC)
    }

    fn protect_raw(&mut self, offset: usize, len: usize, protection: i32) -> Option<()> {
        assert!(offset <= self.len && len <= self.len - offset);
        // SAFETY: the range lies in our mapping; no reference into it is alive,
        // since `self` is borrowed mutably.
        let result = unsafe { libc::mprotect(self.start.add(offset).cast(), len, protection) };
        (result == 0).then_some(())
    }

    pub fn protect(&mut self, offset: usize, len: usize, protection: Protection) -> Option<()> {
        let bits = match protection {
            Protection::None => PROT_NONE,
            Protection::Read => PROT_READ,
            Protection::ReadWrite => PROT_READ | PROT_WRITE,
        };
        self.protect_raw(offset, len, bits)
    }

    /// Makes what lies from `offset` on inaccessible, its content kept.
    pub fn close(&mut self, offset: usize) -> Option<()> {
        self.protect(offset, self.len - offset, Protection::None)
    }

    /// Makes what lies from `offset`, a page's, on reserved address space again, in one step.
    pub fn reset(&mut self, offset: usize) -> Option<()> {
        assert!(offset <= self.len && offset.is_multiple_of(PAGE_SIZE as usize));
        let (flags, len) = (FLAGS | MAP_FIXED, self.len - offset);
        // SAFETY: the offset lies in the mapping.
        let start = unsafe { self.start.add(offset) };
        // SAFETY: replaces a part of our own mapping, into which no reference is alive.
        let got = unsafe { libc::mmap(start.cast(), len, PROT_NONE, flags, -1, 0) };
        if got == libc::MAP_FAILED {
            return None;
        }
        advise(start, len);
        Some(())
    }
}

/// Keeps pages of a reserved range what they are. Failure changes nothing where nobody asks for
/// huge pages, or for pages to be merged.
fn advise(start: *mut u8, len: usize) {
    // A huge page would make the first touch of one page cost that of 512; pages that are
    // merged with the one of zeros would count as not written.
    for advice in [libc::MADV_NOHUGEPAGE, libc::MADV_UNMERGEABLE] {
        // SAFETY: advice on our own mapping.
        unsafe { libc::madvise(start.cast(), len, advice) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nothing refers to it any more.
        unsafe { libc::munmap(self.start.cast(), self.len) };
    }
}

/// Number of the second word of processor capabilities, from the kernel's `auxvec.h`.
const AT_HWCAP2: libc::c_ulong = 26;

/// Whether the kernel lets user code set the GS base (bit 1 of `AT_HWCAP2`).
pub(super) fn user_gs_base() -> bool {
    // SAFETY: reads a value the kernel passed at start.
    let capabilities = unsafe { libc::getauxval(AT_HWCAP2) };
    capabilities & 2 != 0
}

/// Sets this thread's GS base by a system call.
pub(super) fn set_gs_base(base: u64) -> bool {
    const ARCH_SET_GS: libc::c_long = 0x1001;
    // SAFETY: neither Rust nor the C library uses GS in 64-bit Linux programs.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_SET_GS, base) == 0 }
}

thread_local! {
    static GS_BASE: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// This thread's GS base, as its last run left it.
#[inline(always)]
pub(super) fn gs_base() -> u64 {
    GS_BASE.with(std::cell::Cell::get)
}

/// Sets this thread's GS base where it isn't `base` already; only notes it where the code
/// that is entered now sets it.
pub(super) fn use_gs_base(base: u64, set_by_code: bool) {
    GS_BASE.with(|current| {
        if current.replace(base) != base && !set_by_code {
            assert!(set_gs_base(base), "the kernel sets the GS base");
        }
    });
}

/// Makes a forked child set GS anew before its first run; whether that could be arranged.
pub(super) fn forget_gs_base_in_children() -> bool {
    extern "C" fn forget() {
        GS_BASE.with(|current| current.set(0));
    }
    // SAFETY: the handler touches a constant-initialized cell of its own thread.
    unsafe { libc::pthread_atfork(None, None, Some(forget)) == 0 }
}
