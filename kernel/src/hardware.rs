//! `Hardware`: the only door between the kernel and the world.

use std::fmt::Debug;
use std::sync::Arc;

use jar_cap::{Hash, NodeStore, RecordId, StoreError};
use parity_scale_codec::{Decode, Encode};

use crate::block::{Block, Event, Header, Outcome, PublicKey, Scope, Signature};

/// A block's header with what the node derived from it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct StoredHeader {
    /// The header.
    pub header: Header,
    /// Score the chain gave the block; always above its parent's.
    pub score: u64,
    /// Id of the chain Instance after the block.
    pub instance: Hash,
}

/// Where an event's outcome stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct EventLocation {
    /// Hash of the block.
    pub block: Hash,
    /// Index among the block's outcomes.
    pub index: u32,
}

/// The highest things a key has signed on this chain: they only ever rise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Watermark {
    /// Time slot of the last Seal.
    pub seal_slot: Option<u64>,
    /// Source and target heights of the last Vote.
    pub vote: Option<(u64, u64)>,
}

impl Watermark {
    /// Whether signing this keeps every watermark rising.
    pub fn allows(&self, request: &SignRequest) -> bool {
        match request.scope {
            Scope::Direct => true,
            Scope::Seal => self.seal_slot.is_none_or(|last| request.slot > last),
            Scope::Vote { source, target } => self.vote.is_none_or(|(last_source, last_target)| {
                target > last_target && source >= last_source
            }),
        }
    }

    /// The watermark after signing this.
    pub fn raised(mut self, request: &SignRequest) -> Watermark {
        match request.scope {
            Scope::Direct => {}
            Scope::Seal => self.seal_slot = self.seal_slot.max(Some(request.slot)),
            Scope::Vote { source, target } => {
                let (last_source, last_target) = self.vote.unwrap_or((0, 0));
                self.vote = Some((source.max(last_source), target.max(last_target)));
            }
        }
        self
    }
}

/// Everything one block changes, written atomically and synced.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The block.
    pub block: Arc<Block>,
    /// The block's hash.
    pub hash: Hash,
    /// The block's score.
    pub score: u64,
    /// Id of the chain Instance after the block.
    pub instance: Hash,
    /// Outcome of each call, in block order.
    pub outcomes: Vec<Outcome>,
    /// Ids of the body's events with their index among the outcomes.
    pub events: Vec<(Hash, u32)>,
    /// New state records.
    pub nodes: Vec<(RecordId, Vec<u8>)>,
    /// New entries of the canonical index; `None` removes the height's entry.
    pub canonical: Vec<(u64, Option<Hash>)>,
    /// The new head, if this block changes it.
    pub head: Option<Hash>,
    /// The newly finalized block, if any.
    pub finalized: Option<Hash>,
    /// Raised watermarks of keys that signed something of this block.
    pub watermarks: Vec<(PublicKey, Watermark)>,
}

/// Where blocks, state and watermarks live.
///
/// A reader sees a commit whole or not at all.
pub trait Store: NodeStore + Send + Sync + Debug {
    /// Writes a commit: after `Ok` it survives a crash, after `Err` nothing of it is visible.
    fn commit(&self, commit: &Commit) -> Result<(), StoreError>;

    /// The header of a block, with its score and state.
    fn header(&self, hash: &Hash) -> Result<Option<StoredHeader>, StoreError>;

    /// A whole block.
    fn block(&self, hash: &Hash) -> Result<Option<Block>, StoreError>;

    /// The outcomes of a block.
    fn outcomes(&self, hash: &Hash) -> Result<Option<Vec<Outcome>>, StoreError>;

    /// The block of this height on the chain of the head.
    fn canonical(&self, height: u64) -> Result<Option<Hash>, StoreError>;

    /// The head; `None` before genesis was committed.
    fn head(&self) -> Result<Option<Hash>, StoreError>;

    /// The last finalized block; the genesis block at first.
    fn finalized(&self) -> Result<Option<Hash>, StoreError>;

    /// Where an event of this id was included, on any fork: at most `limit` locations, in
    /// order of block hash.
    fn event(&self, id: &Hash, limit: usize) -> Result<Vec<EventLocation>, StoreError>;

    /// Raises watermarks of keys that signed something outside of a block, in one synced write:
    /// after `Ok` they survive a crash. None ever falls. Refused before genesis was committed.
    fn raise_watermarks(&self, raised: &[(PublicKey, Watermark)]) -> Result<(), StoreError>;

    /// Writes records of a state that is fetched from peers, each checked against its id: after
    /// `Ok` they survive a crash. Refused before genesis was committed.
    fn write_records(&self, records: &[(RecordId, Vec<u8>)]) -> Result<(), StoreError>;

    /// The watermark of a key.
    fn watermark(&self, key: &PublicKey) -> Result<Watermark, StoreError>;
}

/// Something to be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignRequest {
    /// By which key.
    pub key: PublicKey,
    /// For what.
    pub scope: Scope,
    /// Time slot of the block being built; judged for a Seal.
    pub slot: u64,
}

/// The operator's keys don't sign this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The key is not held, or not enabled for signing.
    #[error("the key is not enabled for signing on this node")]
    NotHeld,
    /// Signing is turned off.
    #[error("signing is turned off on this node")]
    Off,
    /// The watermark forbids it.
    #[error("a watermark forbids the signature: something as high was signed before")]
    Watermark,
}

/// What the kernel hands to the network.
#[derive(Clone, Debug)]
pub enum Emission {
    /// A block this node built.
    Block(Arc<Block>),
    /// An event accepted by a Dispatch endpoint.
    Dispatch {
        /// The Dispatch endpoint.
        endpoint: u8,
        /// The event.
        event: Event,
    },
    /// The aggregate of a Dispatch endpoint, which changed: the events of its slot's Dispatch
    /// items. Peers take them as they take any event.
    Aggregate {
        /// The Dispatch endpoint.
        endpoint: u8,
        /// The events, at most [`crate::AGGREGATE_EVENTS_MAX`].
        events: Vec<Event>,
    },
}

/// What happened, for logs and metrics.
#[derive(Clone, Debug)]
pub enum Trace {
    /// A program logged a line.
    Log {
        /// 1 error to 5 trace.
        level: u64,
        /// The text, as the program gave it.
        message: Vec<u8>,
    },
    /// A block was committed.
    Committed {
        /// Its hash.
        hash: Hash,
        /// Its height.
        height: u64,
        /// Its events.
        events: usize,
        /// Gas spent by its calls.
        gas_used: u64,
        /// State records written.
        records: usize,
    },
    /// The head moved.
    Head {
        /// The new head.
        hash: Hash,
        /// Its height.
        height: u64,
        /// Blocks of the former chain that are left behind.
        reverted: u64,
    },
    /// A block became final.
    Finalized {
        /// The block.
        hash: Hash,
        /// Its height.
        height: u64,
    },
    /// What was in memory of the state was let go; it is read from the store again.
    Unloaded,
    /// Phase 2 of a Dispatch endpoint failed, or an event that it sent was not taken.
    HeadPhase {
        /// The endpoint.
        endpoint: u8,
        /// What happened.
        reason: String,
    },
    /// An item was left out of a block being built, and dropped.
    Dropped {
        /// The event's id.
        id: Hash,
        /// Why.
        reason: String,
    },
}

/// What a program cannot have by itself: a store, keys, a network, a word on time.
pub trait Hardware: Send + Sync + 'static {
    /// The store.
    fn store(&self) -> Arc<dyn Store>;

    /// Whether [`Hardware::sign`] would sign this now.
    fn may_sign(&self, request: &SignRequest) -> bool;

    /// Signs a message of [`crate::block::signed_message`] and answers the raised watermark,
    /// which the caller must commit before the signature leaves the node.
    fn sign(
        &self,
        request: &SignRequest,
        message: &Hash,
    ) -> Result<(Signature, Watermark), SignError>;

    /// Hands something to the network.
    fn emit(&self, emission: Emission);

    /// Whether a block being built should take no further event.
    fn should_stop(&self) -> bool;

    /// Reports what happened.
    fn trace(&self, trace: Trace);
}
