//! Blocks in order, without gap or repeat, for subscriptions.

use jar_cap::Hash;
use jar_kernel::Store;

use super::Context;
use crate::errors::RpcError;
use crate::params::BlockRef;
use crate::types::HeadItem;

/// Blocks read at a time, so that memory stays bounded however far behind a subscriber is.
const STEP_BLOCKS: u64 = 32;

/// Which blocks a subscription delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Follow {
    /// Up to the head.
    Heads,
    /// Up to the last finalized block.
    Finalized,
}

/// How far a subscription has come.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    /// Height of the first block of the subscription.
    from: u64,
    /// Height of the next block.
    next: u64,
    /// The block delivered last.
    last: Option<Hash>,
    /// Delivered blocks that are no longer on the chain, to be told with the next block.
    reverted: u64,
}

impl Cursor {
    pub(crate) fn new(from: u64) -> Self {
        Cursor {
            from,
            next: from,
            last: None,
            reverted: 0,
        }
    }

    /// Steps back to the last delivered block that is still on the chain.
    fn rewind(&mut self, store: &dyn Store) -> Result<(), RpcError> {
        while let Some(last) = self.last {
            if store.canonical(self.next - 1)? == Some(last) {
                break;
            }
            let parent = store.header(&last)?.map(|stored| stored.header.parent);
            self.next -= 1;
            self.reverted += 1;
            // What was never delivered is not taken back.
            self.last = parent.filter(|_| self.next > self.from);
        }
        Ok(())
    }

    /// The next blocks up to height `to`; none when there is nothing new.
    pub(crate) fn step(&mut self, context: &Context, to: u64) -> Result<Vec<HeadItem>, RpcError> {
        let store = context.backend.chain().store();
        self.rewind(store.as_ref())?;
        let mut items = Vec::new();
        while self.next <= to && (items.len() as u64) < STEP_BLOCKS {
            // The chain changes while it is read: the next step rewinds.
            let Some(hash) = store.canonical(self.next)? else {
                break;
            };
            let block = context.header_of(Some(BlockRef::Hash(hash)))?;
            if self.last.is_some_and(|last| block.header.parent.0 != last) {
                break;
            }
            items.push(HeadItem {
                block,
                reverted: std::mem::take(&mut self.reverted),
            });
            self.next += 1;
            self.last = Some(hash);
        }
        Ok(items)
    }
}
