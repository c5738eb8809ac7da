//! Memory for machine code: writable while it is built, executable after, never both.

use std::sync::{Mutex, PoisonError};

use super::sys::Mapping;

/// Bytes that a [`Buffer::put`] may touch behind the end.
const SLACK: u32 = 8;

/// Memory of code that is gone, for code to come: to be given a page costs a microsecond.
static SPARE: Mutex<Vec<Mapping>> = Mutex::new(Vec::new());
/// The most of them, and the most bytes each may hold.
const SPARE_MAX: usize = 4;
const SPARE_LEN_MAX: u32 = 1 << 20;

fn spare() -> Option<Mapping> {
    SPARE.lock().unwrap_or_else(PoisonError::into_inner).pop()
}

/// Machine code under construction.
pub(super) struct Buffer {
    mapping: Mapping,
    len: u32,
    capacity: u32,
}

impl Buffer {
    /// Room for `capacity` bytes; only what is used takes memory. `None` when
    /// the address space can't be had.
    pub fn new(capacity: usize) -> Option<Buffer> {
        let capacity = u32::try_from(capacity).ok().filter(|c| *c < 1 << 31)?;
        let len = capacity as usize + SLACK as usize;
        let mapping = match spare().and_then(|spare| spare.writable_again(len)) {
            Some(mapping) => mapping,
            None => Mapping::writable(len)?,
        };
        Some(Buffer {
            mapping,
            len: 0,
            capacity,
        })
    }

    #[inline(always)]
    pub fn len(&self) -> u32 {
        self.len
    }

    pub fn room(&self) -> u32 {
        self.capacity - self.len
    }

    pub fn start(&self) -> u64 {
        self.mapping.start() as u64
    }

    /// Appends the low `len` (at most 8) bytes.
    #[inline(always)]
    pub fn put(&mut self, bytes: u64, len: usize) {
        assert!(self.len <= self.capacity);
        // SAFETY: the 8 bytes lie in the mapping, since it is SLACK longer than capacity.
        unsafe {
            let place = self.mapping.start().add(self.len as usize);
            place.cast::<u64>().write_unaligned(bytes);
        }
        self.len += len as u32;
    }

    /// Leaves `len` bytes of zeros to be patched.
    pub fn skip(&mut self, len: u32) {
        assert!(len <= self.room());
        let from = self.len as usize;
        self.len += len;
        // There may have been code here before.
        self.bytes()[from..].fill(0);
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is at least `len` bytes long, writable, and ours alone.
        unsafe { std::slice::from_raw_parts_mut(self.mapping.start(), self.len as usize) }
    }

    pub fn patch(&mut self, at: u32, value: u32) {
        let at = at as usize;
        self.bytes()[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    pub fn patch_byte(&mut self, at: u32, value: u8) {
        self.bytes()[at as usize] = value;
    }

    pub fn patch_wide(&mut self, at: u32, value: u64) {
        let at = at as usize;
        self.bytes()[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }

    #[cfg(feature = "inspect")]
    pub fn read_byte(&mut self, at: u32) -> u8 {
        self.bytes()[at as usize]
    }

    pub fn read(&mut self, at: u32) -> u32 {
        let at = at as usize;
        let mut word = [0; 4];
        word.copy_from_slice(&self.bytes()[at..at + 4]);
        u32::from_le_bytes(word)
    }

    /// Gives back what isn't used and makes the rest executable.
    pub fn finish(self) -> Option<Executable> {
        let mut mapping = self.mapping;
        mapping.shrink(self.len as usize);
        mapping.make_executable()?;
        Some(Executable {
            mapping: Some(mapping),
            len: self.len,
        })
    }
}

/// Finished machine code.
pub(super) struct Executable {
    /// `None` only while it is being dropped.
    mapping: Option<Mapping>,
    len: u32,
}

impl Drop for Executable {
    fn drop(&mut self) {
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        if self.len <= SPARE_LEN_MAX && spare.len() < SPARE_MAX {
            spare.extend(self.mapping.take());
        }
    }
}

impl Executable {
    fn mapping(&self) -> &Mapping {
        self.mapping.as_ref().expect("held until the drop")
    }

    pub fn start(&self) -> u64 {
        self.mapping().start() as u64
    }

    /// In bytes.
    pub fn len(&self) -> u32 {
        self.len
    }

    #[cfg(feature = "inspect")]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping is at least `len` bytes long, readable, and never changes.
        unsafe { std::slice::from_raw_parts(self.mapping().start(), self.len as usize) }
    }
}
