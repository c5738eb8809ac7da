//! What a guest needs to link: the allocator and the panic handler.
#![allow(unsafe_code)]

use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use core::panic::PanicInfo;

unsafe extern "C" {
    /// Bounds of the heap, set by the linker script.
    static __jar_heap_start: u8;
    static __jar_heap_end: u8;
}

/// Hands out the heap in order. Only the latest allocation is given back or grows in
/// place: memory lasts for one call.
struct Bump {
    /// First free address; 0 before the first allocation.
    next: Cell<usize>,
}

// SAFETY: a guest has one thread.
unsafe impl Sync for Bump {}

#[global_allocator]
static HEAP: Bump = Bump { next: Cell::new(0) };

impl Bump {
    fn place(&self, at: usize, layout: Layout) -> *mut u8 {
        let start = at.next_multiple_of(layout.align());
        let end = start.saturating_add(layout.size());
        if end > (&raw const __jar_heap_end) as usize {
            return core::ptr::null_mut();
        }
        self.next.set(end);
        start as *mut u8
    }
}

// SAFETY: allocations don't overlap: `next` only moves back over the latest of them.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let at = match self.next.get() {
            0 => (&raw const __jar_heap_start) as usize,
            next => next,
        };
        self.place(at, layout)
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        if ptr as usize + layout.size() == self.next.get() {
            self.next.set(ptr as usize);
        }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the alignment was valid; `new_size` is checked by the caller.
        let new = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        if ptr as usize + layout.size() == self.next.get() {
            return self.place(ptr as usize, new);
        }
        if new_size <= layout.size() {
            return ptr;
        }
        // SAFETY: `alloc` answers memory of `new_size` bytes apart from the old.
        unsafe {
            let out = self.alloc(new);
            if !out.is_null() {
                core::ptr::copy_nonoverlapping(ptr, out, layout.size());
            }
            out
        }
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let (file, line) = info
        .location()
        .map_or(("unknown", 0), |l| (l.file(), l.line()));
    crate::entry::report("panic", None, file, line);
    crate::sys::trap()
}
