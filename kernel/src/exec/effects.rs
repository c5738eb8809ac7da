//! What a call leaves besides its Instance's new value; a fault takes its part back.

use jar_cap::Hash;

use crate::block::Record;

/// Which items of a Dispatch slot stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Keep {
    /// All of them.
    #[default]
    All,
    /// None.
    None,
    /// Those whose bit is set, least significant bit of byte 0 first; with their number and
    /// bytes.
    Some {
        bitmap: std::sync::Arc<[u8]>,
        items: u64,
        bytes: u64,
    },
}

/// An item appended by `slot_emit`.
#[derive(Clone, Debug)]
pub(crate) struct EmittedItem {
    pub kind: jar_abi::SlotItemKind,
    pub endpoint: u8,
    pub payload: Vec<u8>,
    /// (item, attestation) pairs; [`jar_abi::ARRIVING_ITEM`] is the arriving event.
    pub picks: Vec<(u32, u32)>,
}

/// Effects in the order they were asked for.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub records: Vec<Record>,
    pub record_bytes: u64,
    pub score: Option<u64>,
    pub finalize: Vec<Hash>,
    pub keep: Keep,
    pub items: Vec<EmittedItem>,
    pub item_bytes: u64,
    /// Whether an item was refused for want of room.
    pub slot_was_full: bool,
}

/// A point to return to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mark {
    records: usize,
    record_bytes: u64,
    score: Option<u64>,
    finalize: usize,
    keep: Keep,
    items: usize,
    item_bytes: u64,
}

impl Effects {
    pub fn mark(&self) -> Mark {
        Mark {
            records: self.records.len(),
            record_bytes: self.record_bytes,
            score: self.score,
            finalize: self.finalize.len(),
            keep: self.keep.clone(),
            items: self.items.len(),
            item_bytes: self.item_bytes,
        }
    }

    pub fn undo(&mut self, mark: Mark) {
        self.records.truncate(mark.records);
        self.record_bytes = mark.record_bytes;
        self.score = mark.score;
        self.finalize.truncate(mark.finalize);
        self.keep = mark.keep;
        self.items.truncate(mark.items);
        self.item_bytes = mark.item_bytes;
    }
}
