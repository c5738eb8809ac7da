//! What the kernel is asked to do, and what it answers.

use std::sync::Arc;

use jar_cap::Hash;

use crate::block::{Block, Outcome};
use crate::error::KernelError;
use crate::walk::{InvalidBlock, WalkError};

/// An event that a Dispatch endpoint accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The event's id.
    pub id: Hash,
    /// Ids of the Transact events that merging made from it.
    pub transact_ids: Vec<Hash>,
}

/// Why an event was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is no such endpoint.
    #[error("the chain has no endpoint {0}")]
    UnknownEndpoint(u8),
    /// The endpoint takes no events from outside.
    #[error("endpoint {0} is not a Dispatch endpoint")]
    NotDispatch(u8),
    /// A limit of the chain's parameters is exceeded.
    #[error("{what} {len} is over the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How large it is.
        len: u64,
        /// The limit.
        limit: u64,
    },
    /// The event waits already.
    #[error("the event is already pending")]
    AlreadyKnown,
    /// A signature that the program asked for does not verify.
    #[error("the signature of attestation {index} does not verify")]
    BadSignature {
        /// Its index among the event's attestations.
        index: usize,
    },
    /// The program did not ask for all of the event's attestations or results.
    #[error("the event carries attestations or results that the program does not ask for")]
    UnusedTraces,
    /// The program halted with a code other than 0.
    #[error("the chain's program rejected the event with code {code}")]
    Rejected {
        /// The program's code.
        code: u64,
    },
    /// The program faulted.
    #[error("the chain's program faulted on the event with fault {fault}")]
    Faulted {
        /// A [`jar_abi::Fault`] number.
        fault: u64,
    },
    /// The endpoint's slot has no room for what merging made of the event.
    #[error("the pipeline is full")]
    Full,
    /// The node is in trouble.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// What [`Kernel::advance`] is asked to do.
#[derive(Clone, Debug)]
pub enum Advance {
    /// Build a block on the head for a time slot.
    Build {
        /// The time slot: above the head's.
        slot: u64,
    },
    /// Import a block of another node.
    Import(Box<Block>),
}

/// Why a block was not built or imported.
#[derive(Debug, thiserror::Error)]
pub enum AdvanceError {
    /// The chain names another author for the time slot, or a key that may not sign now.
    #[error("this node may not sign for the author of the time slot")]
    NotAuthor,
    /// The time slot is not above the head's.
    #[error("the time slot {slot} is not above the head's {head}")]
    StaleSlot {
        /// The slot asked for.
        slot: u64,
        /// The head's slot.
        head: u64,
    },
    /// The block's parent is not known.
    #[error("the block's parent is not known")]
    UnknownParent,
    /// The block was imported before.
    #[error("the block is already known")]
    AlreadyKnown,
    /// The block, received or built, is not valid.
    #[error("invalid block: {0}")]
    Invalid(#[from] InvalidBlock),
    /// The node is in trouble.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

impl From<WalkError> for AdvanceError {
    fn from(error: WalkError) -> Self {
        match error {
            WalkError::Invalid(invalid) => AdvanceError::Invalid(invalid),
            WalkError::Kernel(error) => AdvanceError::Kernel(error),
        }
    }
}

impl From<jar_cap::StoreError> for AdvanceError {
    fn from(error: jar_cap::StoreError) -> Self {
        AdvanceError::Kernel(error.into())
    }
}

/// A block that was committed.
#[derive(Clone, Debug)]
pub struct Advanced {
    /// Its hash.
    pub hash: Hash,
    /// The block.
    pub block: Arc<Block>,
    /// Its outcomes.
    pub outcomes: Vec<Outcome>,
    /// Ids of its events with the index of their outcome.
    pub events: Vec<(Hash, u32)>,
    /// Whether it is the head now.
    pub head_changed: bool,
    /// The block it finalized, if any.
    pub finalized: Option<Hash>,
}
