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

/// What a network makes of an input: the terms of gossip validation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Valid and new: to be passed on.
    Accept,
    /// Invalid whatever this node knows: the sender pays for it.
    Reject,
    /// Known, late, early, or no room: not passed on, and nobody's fault.
    Ignore,
}

/// What came of an aggregate.
#[derive(Debug, Default)]
pub struct MergedAggregate {
    /// Its events that were accepted.
    pub accepted: Vec<Accepted>,
    /// Why an event of it is the sender's fault; those after it were not looked at.
    pub refused: Option<Refusal>,
}

impl MergedAggregate {
    /// What the network makes of the aggregate.
    pub fn verdict(&self) -> Verdict {
        match (&self.refused, &self.accepted[..]) {
            (Some(_), _) => Verdict::Reject,
            (None, []) => Verdict::Ignore,
            (None, _) => Verdict::Accept,
        }
    }
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
        /// Whether the event is late or of no use here, which is no fault of its sender: a
        /// recent block carried one of its signatures, or phase 1 refused what phase 0 had
        /// accepted.
        is_stale: bool,
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

impl Refusal {
    /// What the network makes of the event: [`Verdict::Reject`] or [`Verdict::Ignore`].
    pub fn verdict(&self) -> Verdict {
        match self {
            Refusal::TooLarge { .. }
            | Refusal::BadSignature { .. }
            | Refusal::UnusedTraces
            | Refusal::Rejected {
                is_stale: false, ..
            }
            | Refusal::Faulted { .. } => Verdict::Reject,
            // Which endpoints there are is the head's to say, and the sender's may be another.
            Refusal::UnknownEndpoint(_)
            | Refusal::NotDispatch(_)
            | Refusal::AlreadyKnown
            | Refusal::Rejected { is_stale: true, .. }
            | Refusal::Full
            | Refusal::Kernel(_) => Verdict::Ignore,
        }
    }
}

/// What [`Kernel::advance`](crate::Kernel::advance) is asked to do.
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

impl AdvanceError {
    /// What the network makes of the block: [`Verdict::Reject`] or [`Verdict::Ignore`].
    pub fn verdict(&self) -> Verdict {
        match self {
            // What is final here may not be where the block comes from.
            AdvanceError::Invalid(InvalidBlock::BelowFinalized) => Verdict::Ignore,
            AdvanceError::Invalid(_) => Verdict::Reject,
            AdvanceError::NotAuthor
            | AdvanceError::StaleSlot { .. }
            | AdvanceError::UnknownParent
            | AdvanceError::AlreadyKnown
            | AdvanceError::Kernel(_) => Verdict::Ignore,
        }
    }
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
    /// Whether the head is another one now: this block, or one that was known above what it
    /// finalized.
    pub head_changed: bool,
    /// The block it finalized, if any.
    pub finalized: Option<Hash>,
}
