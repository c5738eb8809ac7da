//! What can go wrong outside of a guest's own doing.

/// A program, memory layout or engine choice that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The code is empty.
    #[error("the code is empty")]
    EmptyCode,
    /// The code is longer than [`crate::MAX_CODE_LEN`].
    #[error("code of {0} bytes is over the limit of {limit}", limit = crate::MAX_CODE_LEN)]
    CodeTooLong(u64),
    /// The jump table is longer than [`crate::MAX_JUMP_TABLE_LEN`].
    #[error("jump table of {0} entries is over the limit of {limit}", limit = crate::MAX_JUMP_TABLE_LEN)]
    JumpTableTooLong(u64),
    /// The bitmask doesn't have one bit per code byte.
    #[error("bitmask of {actual} bytes, expected {expected}")]
    BitmaskLength {
        /// Bytes expected.
        expected: usize,
        /// Bytes found.
        actual: usize,
    },
    /// The code's first byte isn't marked as an instruction start.
    #[error("the first bit of the bitmask is not set")]
    FirstBitClear,
    /// A program blob that doesn't decode.
    #[error("malformed program blob: {0}")]
    Blob(&'static str),
    /// A memory layout that breaks the rules of [`crate::MemoryMap::new`].
    #[error("memory region at {start:#x}: {reason}")]
    Region {
        /// First address of the region.
        start: u32,
        /// The rule it breaks.
        reason: &'static str,
    },
    /// An engine this platform lacks.
    #[error("{0}: not supported on this platform")]
    EngineNotSupported(&'static str),
    /// A name that is no engine's.
    #[error("unknown engine {0:?}: expected auto, interpreter or recompiler")]
    UnknownEngine(String),
}

/// The store behind a page source is broken. Never visible to the guest.
#[derive(Debug, thiserror::Error)]
#[error("page source failed: {0}")]
pub struct PageError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl PageError {
    /// Wraps the store's error.
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        PageError(error.into())
    }
}

/// An address range that isn't all mapped with the right asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("address {address:#x} is not accessible")]
pub struct AccessError {
    /// The first address of the range without the right; 2^32 when the range
    /// leaves the address space.
    pub address: u64,
}

/// Why the host couldn't read or write a guest's memory.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The guest's mistake: it named a range it has no right to.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The node's mistake: the pages can't be had.
    #[error(transparent)]
    Page(#[from] PageError),
}
