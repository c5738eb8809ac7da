//! Answers to peers' requests, read from a store.

use jar_cap::{Hash, NodeStore, RecordId, StoreError};
use jar_kernel::Store;
use jar_kernel::block::Block;
use parity_scale_codec::Encode;

use crate::messages::{
    BLOCKS_MAX, Pivot, RECORDS_MAX, RESPONSE_BYTES_MAX, RESPONSE_BYTES_SOFT, RecordIds, Request,
    Response, Status,
};

/// The answer to a request; `status` is this node's own. Reads a bounded number of blocks or
/// records, and bytes up to the size of a response.
pub fn answer(
    store: &dyn Store,
    status: Status,
    request: &Request,
) -> Result<Response, StoreError> {
    match request {
        Request::Status(_) => Ok(Response::Status(status)),
        Request::Blocks { from, count } => blocks(store, *from, *count),
        Request::Ancestry { hash, count } => ancestry(store, *hash, *count),
        Request::Pivot(hash) => pivot(store, *hash, &status),
        Request::Records(ids) => records(store, ids),
    }
}

/// Height of the lowest block above genesis that a store can serve; `head` is the head's height.
/// What it holds is without a gap up to the head.
pub fn first_height(store: &dyn Store, head: u64) -> Result<u64, StoreError> {
    let is_held = |height| match store.canonical(height)? {
        Some(hash) => Ok::<bool, StoreError>(store.block(&hash)?.is_some()),
        None => Ok(false),
    };
    let (mut low, mut high) = (1, head.max(1));
    while low < high {
        let middle = low + (high - low) / 2;
        match is_held(middle)? {
            true => high = middle,
            false => low = middle + 1,
        }
    }
    Ok(low)
}

/// Blocks up to a number and the bytes of a response.
struct Blocks {
    blocks: Vec<Block>,
    count: usize,
    bytes: usize,
}

impl Blocks {
    fn new(count: u32) -> Blocks {
        Blocks {
            blocks: Vec::new(),
            count: (count as usize).min(BLOCKS_MAX),
            bytes: 0,
        }
    }

    fn wants_more(&self) -> bool {
        self.blocks.len() < self.count && self.bytes < RESPONSE_BYTES_SOFT
    }

    /// Answers whether the block fitted.
    fn push(&mut self, block: Block) -> bool {
        self.bytes += block.encoded_size();
        let fits = self.bytes <= RESPONSE_BYTES_MAX - MARGIN_BYTES;
        if fits {
            self.blocks.push(block);
        }
        fits
    }
}

/// Bytes of a response beside its items.
const MARGIN_BYTES: usize = 64;

fn blocks(store: &dyn Store, from: u64, count: u32) -> Result<Response, StoreError> {
    let mut blocks = Blocks::new(count);
    let mut last: Option<Hash> = None;
    for height in from.. {
        if !blocks.wants_more() {
            break;
        }
        let Some(hash) = store.canonical(height)? else {
            break;
        };
        let Some(block) = store.block(&hash)? else {
            break;
        };
        // The head may move to another fork meanwhile.
        if last.is_some_and(|last| last != block.header.parent) || !blocks.push(block) {
            break;
        }
        last = Some(hash);
    }
    Ok(Response::Blocks(blocks.blocks))
}

fn ancestry(store: &dyn Store, mut hash: Hash, count: u32) -> Result<Response, StoreError> {
    let mut blocks = Blocks::new(count);
    while blocks.wants_more() {
        let Some(block) = store.block(&hash)? else {
            break;
        };
        hash = block.header.parent;
        // Everyone has the genesis block.
        if block.header.height == 0 || !blocks.push(block) {
            break;
        }
    }
    Ok(Response::Blocks(blocks.blocks))
}

fn pivot(store: &dyn Store, hash: Hash, status: &Status) -> Result<Response, StoreError> {
    let (Some(stored), Some(block), Some(outcomes)) = (
        store.header(&hash)?,
        store.block(&hash)?,
        store.outcomes(&hash)?,
    ) else {
        return Ok(Response::Pivot(None));
    };
    let height = block.header.height;
    let is_finalized = height <= status.finalized.height && store.canonical(height)? == Some(hash);
    let instance = RecordId::new(jar_cap::hash::Tag::Instance, stored.instance);
    let pivot = Pivot {
        block,
        score: stored.score,
        instance: stored.instance,
        outcomes,
    };
    let fits = pivot.encoded_size() <= RESPONSE_BYTES_MAX - MARGIN_BYTES;
    let is_served = is_finalized && fits && store.get(&instance)?.is_some();
    Ok(Response::Pivot(is_served.then(|| Box::new(pivot))))
}

fn records(store: &dyn Store, ids: &RecordIds) -> Result<Response, StoreError> {
    let mut bytes = 0;
    let mut records = Vec::new();
    for id in ids.0.iter().take(RECORDS_MAX) {
        if bytes >= RESPONSE_BYTES_SOFT {
            break;
        }
        let record = NodeStore::get(store, id)?;
        bytes += record.as_ref().map_or(0, Vec::len) + 8;
        if bytes > RESPONSE_BYTES_MAX - MARGIN_BYTES {
            break;
        }
        records.push(record);
    }
    Ok(Response::Records(records))
}
