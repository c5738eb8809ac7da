//! How much of the state is in memory.

use std::sync::Arc;

use jar_cap::{Cap, resident};

use super::{Kernel, load};
use crate::chain::State;
use crate::counting::CountingStore;
use crate::error::KernelError;
use crate::hardware::{Commit, Hardware, Trace};

/// Bytes that what is loaded of the state may take, if nothing else is said.
const STATE_MEMORY: u64 = 2 << 30;
/// How many times as much memory as a store records take, with some to spare: entries of a few
/// bytes take 5.5 times as much, pages hardly more.
const MEMORY_OF_RECORDS: u64 = 8;

/// What tells when to look at how much of the state is in memory.
#[derive(Debug)]
pub(super) struct Loaded {
    limit: u64,
    reads: Arc<CountingStore>,
    /// Bytes of records read when that was last looked at.
    read: u64,
    /// Bytes of records of what was made since then.
    made: u64,
}

impl Loaded {
    /// Nothing is loaded yet of what is in this store.
    pub fn new(reads: Arc<CountingStore>) -> Loaded {
        Loaded {
            limit: STATE_MEMORY,
            reads,
            read: 0,
            made: 0,
        }
    }

    /// Takes note of the records that a commit wrote, and of the bytes of those for which it had no
    /// need to; answers whether there may be more than the limit by now, if half of that was there
    /// before.
    fn may_be_much(&mut self, commit: &Commit, repeated: u64) -> bool {
        let written: usize = commit.nodes.iter().map(|(_, bytes)| bytes.len()).sum();
        self.made += written as u64 + repeated;
        let read = self.reads.read();
        let records = read - self.read + self.made;
        let is_much = records.saturating_mul(MEMORY_OF_RECORDS) >= self.limit / 2;
        if is_much {
            (self.read, self.made) = (read, 0);
        }
        is_much
    }
}

impl<H: Hardware> Kernel<H> {
    /// Bounds the bytes that the head's state takes in memory, where what is read or written of it
    /// stays: before they are more, the next block that is committed lets go of it, and it is read
    /// from the store again as it is needed. What one block loads may come on top. 2 GiB, if
    /// nothing is said.
    pub fn limit_memory(&mut self, bytes: u64) {
        self.loaded.limit = bytes;
    }

    /// Lets go of what is in memory of the head and of the last finalized block, before it is more
    /// than the limit.
    pub(super) fn bound_memory(
        &mut self,
        commit: &Commit,
        repeated: u64,
    ) -> Result<(), KernelError> {
        if !self.loaded.may_be_much(commit, repeated) {
            return Ok(());
        }
        let half = self.loaded.limit / 2;
        let resident = |state: &State| resident(&Cap::Instance(state.instance.clone()), half);
        if resident(&self.head).saturating_add(resident(&self.finalized)) < half {
            return Ok(());
        }
        for state in [&mut self.head, &mut self.finalized] {
            *state = load(&self.chain, Some(state.hash))?;
        }
        self.hardware.trace(Trace::Unloaded);
        Ok(())
    }
}
