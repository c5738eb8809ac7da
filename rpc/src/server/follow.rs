//! Blocks in order, without gap or repeat, for subscriptions.

use jar_cap::Hash;
use jar_kernel::{Store, StoredHeader};

use crate::errors::RpcError;

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

/// A block to deliver.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// The block hash.
    pub hash: Hash,
    /// Its header.
    pub stored: StoredHeader,
    /// How many delivered blocks are no longer on the chain.
    pub reverted: u64,
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
    pub(crate) fn step(&mut self, store: &dyn Store, to: u64) -> Result<Vec<Step>, RpcError> {
        self.rewind(store)?;
        let mut steps = Vec::new();
        while self.next <= to && (steps.len() as u64) < STEP_BLOCKS {
            // The chain changes while it is read: the next step rewinds.
            let Some(hash) = store.canonical(self.next)? else {
                break;
            };
            let Some(stored) = store.header(&hash)? else {
                break;
            };
            if self.last.is_some_and(|last| stored.header.parent != last) {
                break;
            }
            steps.push(Step {
                hash,
                stored,
                reverted: std::mem::take(&mut self.reverted),
            });
            self.next += 1;
            self.last = Some(hash);
        }
        Ok(steps)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use jar_kernel::Commit;
    use jar_kernel::block::{Block, Body, Header};
    use jar_kernel::memory::MemoryChainStore;

    /// Commits a block as the head, with what else changes in the canonical index.
    fn commit(
        store: &MemoryChainStore,
        parent: Option<Hash>,
        (height, slot): (u64, u64),
        canonical: &[(u64, Option<Hash>)],
    ) -> Hash {
        let genesis = store.canonical(0).expect("read").unwrap_or([0; 32]);
        let header = Header {
            genesis,
            parent: parent.unwrap_or([0; 32]),
            height,
            slot,
            body_root: [0; 32],
            state_root: [0; 32],
            outcome_root: [0; 32],
        };
        let hash = header.hash();
        let mut entries = canonical.to_vec();
        entries.push((height, Some(hash)));
        let commit = Commit {
            block: Arc::new(Block {
                header,
                body: Body::default(),
            }),
            hash,
            score: slot,
            instance: [0; 32],
            outcomes: Vec::new(),
            events: Vec::new(),
            nodes: Vec::new(),
            canonical: entries,
            head: Some(hash),
            finalized: parent.is_none().then_some(hash),
            watermarks: Vec::new(),
        };
        store.commit(&commit).expect("a good commit");
        hash
    }

    fn heights(steps: &[Step]) -> Vec<(u64, u64)> {
        let heights = steps.iter();
        heights
            .map(|step| (step.stored.header.height, step.reverted))
            .collect()
    }

    #[test]
    fn a_long_chain_comes_in_steps() {
        let store = MemoryChainStore::new();
        let mut parent = None;
        for height in 0..STEP_BLOCKS + 3 {
            parent = Some(commit(&store, parent, (height, height), &[]));
        }
        let mut cursor = Cursor::new(1);
        let first = cursor.step(&store, u64::MAX).expect("read");
        assert_eq!(first.len() as u64, STEP_BLOCKS);
        let second = cursor.step(&store, u64::MAX).expect("read");
        let last = STEP_BLOCKS + 1;
        assert_eq!(heights(&second), [(last, 0), (last + 1, 0)]);
        assert!(cursor.step(&store, u64::MAX).expect("read").is_empty());
    }

    #[test]
    fn blocks_left_behind_are_told_with_the_next() {
        let store = MemoryChainStore::new();
        let root = commit(&store, None, (0, 0), &[]);
        let first = commit(&store, Some(root), (1, 1), &[]);
        let old = commit(&store, Some(first), (2, 2), &[]);
        commit(&store, Some(old), (3, 3), &[]);
        let mut cursor = Cursor::new(2);
        let steps = cursor.step(&store, 3).expect("read");
        assert_eq!(heights(&steps), [(2, 0), (3, 0)]);
        // A shorter chain of a higher score, from below where the subscription started.
        let gone = [(2, None), (3, None)];
        let other = commit(&store, Some(root), (1, 10), &gone);
        assert!(cursor.step(&store, 1).expect("read").is_empty());
        let next = commit(&store, Some(other), (2, 11), &[]);
        let steps = cursor.step(&store, 2).expect("read");
        assert_eq!(heights(&steps), [(2, 2)]);
        assert_eq!(steps[0].hash, next);
    }

    #[test]
    fn what_is_above_the_limit_waits() {
        let store = MemoryChainStore::new();
        let root = commit(&store, None, (0, 0), &[]);
        commit(&store, Some(root), (1, 1), &[]);
        let mut cursor = Cursor::new(0);
        assert_eq!(heights(&cursor.step(&store, 0).expect("read")), [(0, 0)]);
        assert_eq!(heights(&cursor.step(&store, 1).expect("read")), [(1, 0)]);
    }
}
