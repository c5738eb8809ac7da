//! What goes into the driver and what comes out of it.

use std::sync::Arc;

use jar_cap::RecordId;
use jar_kernel::block::{Block, Event};
use jar_kernel::{Accepted, AdvanceError, Advanced, Refusal, Verdict};

use crate::messages::{BlockRef, Pivot, Request, Response};

/// A peer's identity, hashed; the same for as long as the peer keeps its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub [u8; 32]);

/// The host's number for a gossip message that waits for a [`Verdict`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MessageId(pub u64);

/// The host's number for a peer's request that waits for [`Effect::Serve`] or
/// [`Effect::Refuse`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InboundId(pub u64);

/// The driver's number for a request to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// The driver's number for something it asked of the kernel or the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What a gossip message holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gossip {
    /// A block.
    Block(Arc<Block>),
    /// Events for a Dispatch endpoint: one that a client submitted, or those of an aggregate.
    Events {
        /// The endpoint.
        endpoint: u8,
        /// The events.
        events: Vec<Event>,
    },
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time passed, or something was done; decide again.
    Tick,
    /// The kernel's head is this block now.
    Head(BlockRef),
    /// The kernel's last finalized block is this one now.
    Finalized(BlockRef),
    /// A peer is connected.
    Connected(PeerId),
    /// A peer is connected no more.
    Disconnected(PeerId),
    /// A peer sent, or forwarded, a gossip message.
    Gossip {
        /// Who sent it to us.
        peer: PeerId,
        /// What the verdict is to name.
        message: MessageId,
        /// What it holds.
        content: Gossip,
    },
    /// A peer answered a request.
    Response {
        /// Which request.
        id: RequestId,
        /// The answer.
        response: Response,
    },
    /// A request has no answer and will have none.
    RequestFailed {
        /// Which request.
        id: RequestId,
        /// Why.
        failure: RequestFailure,
    },
    /// A peer asks.
    Asked {
        /// Who.
        peer: PeerId,
        /// What serving or refusing is to name.
        inbound: InboundId,
        /// What.
        request: Request,
    },
    /// The host saw a peer break a rule of the transport or the encoding.
    Offence {
        /// Who.
        peer: PeerId,
        /// What.
        offence: Offence,
    },
    /// The kernel is done with [`Effect::Import`].
    Imported {
        /// Of which effect.
        ticket: Ticket,
        /// What came of it; see [`ImportOutcome::of`].
        outcome: ImportOutcome,
    },
    /// The kernel is done with [`Effect::Judge`].
    Judged {
        /// Of which effect.
        ticket: Ticket,
        /// What came of each event, in order; see [`EventOutcome::of`].
        outcomes: Vec<EventOutcome>,
    },
    /// The store is done with [`Effect::ReadRecords`].
    RecordsRead {
        /// Of which effect.
        ticket: Ticket,
        /// Contents in the order asked for; `None` for those that are not held.
        contents: Vec<Option<Vec<u8>>>,
    },
    /// The store is done with [`Effect::WriteRecords`]: they survive a crash.
    RecordsWritten {
        /// Of which effect.
        ticket: Ticket,
    },
    /// The kernel is done with [`Effect::Adopt`]. When it was adopted, `Head` and `Finalized`
    /// come first.
    Adopted {
        /// Of which effect.
        ticket: Ticket,
        /// Whether the kernel starts from the block now.
        is_adopted: bool,
    },
    /// The node is stopping.
    Stop,
}

/// Why a request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestFailure {
    /// The transport failed, or the peer is gone.
    Unreachable,
    /// The peer does not speak the protocol.
    Unsupported,
    /// The answer was too long or no encoding of one.
    Malformed,
}

/// A rule a peer broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Offence {
    /// Bytes that are no message.
    Malformed,
    /// A block or event that is not valid, whoever judges it.
    Invalid,
    /// An event that the chain's program rejects on our head; honest peers may, now and then.
    Rejected,
    /// An answer to something else than was asked, or against what the peer said before.
    Lied,
    /// No answer in time, or none at all.
    Stalled,
    /// More requests or messages than allowed.
    Flooded,
    /// The peer is of another chain.
    OtherChain,
}

/// What came of importing a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportOutcome {
    /// It is valid and committed.
    New,
    /// It was known.
    Known,
    /// Its parent is not known.
    Orphan,
    /// It forks off at or below the finalized block: refused, but honest peers may hold it.
    Stale,
    /// It is invalid, and so is every block of its hash.
    Invalid,
    /// It is invalid for what its hash does not cover.
    BadCopy,
    /// The node is in trouble, or stopping.
    Trouble,
}

impl ImportOutcome {
    /// The outcome by the kernel's word.
    pub fn of(result: &Result<Advanced, AdvanceError>) -> ImportOutcome {
        use jar_kernel::InvalidBlock::BelowFinalized;
        match result {
            Ok(_) => ImportOutcome::New,
            Err(AdvanceError::AlreadyKnown) => ImportOutcome::Known,
            Err(AdvanceError::UnknownParent) => ImportOutcome::Orphan,
            Err(AdvanceError::Invalid(BelowFinalized)) => ImportOutcome::Stale,
            Err(AdvanceError::Invalid(invalid)) if invalid.blames_sender() => {
                ImportOutcome::BadCopy
            }
            Err(AdvanceError::Invalid(_)) => ImportOutcome::Invalid,
            Err(
                AdvanceError::NotAuthor | AdvanceError::StaleSlot { .. } | AdvanceError::Kernel(_),
            ) => ImportOutcome::Trouble,
        }
    }
}

/// What came of offering an event to its Dispatch endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventOutcome {
    /// It waits in the pipeline.
    New,
    /// It waited already, or is late.
    Known,
    /// The pipeline is full, or the node is in trouble.
    Busy,
    /// The program rejects it on our head; on another head it may not.
    Rejected,
    /// Nobody can accept it.
    Invalid,
}

impl EventOutcome {
    /// The outcome by the kernel's word.
    pub fn of(result: &Result<Accepted, Refusal>) -> EventOutcome {
        match result {
            Ok(_) => EventOutcome::New,
            Err(Refusal::Full | Refusal::Kernel(_)) => EventOutcome::Busy,
            Err(Refusal::TooLarge { .. } | Refusal::BadSignature { .. }) => EventOutcome::Invalid,
            Err(refusal) if refusal.verdict() == Verdict::Reject => EventOutcome::Rejected,
            Err(_) => EventOutcome::Known,
        }
    }
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Build a block of this slot; take no further event after `until_ms`.
    Build {
        /// The slot.
        slot: u64,
        /// Milliseconds since the Unix epoch.
        until_ms: u64,
    },
    /// Tick at this time at the latest.
    Wake {
        /// Milliseconds since the Unix epoch.
        at_ms: u64,
    },
    /// Import a block, in the order of these effects; answered by [`Input::Imported`].
    Import {
        /// What the answer is to name.
        ticket: Ticket,
        /// The block.
        block: Arc<Block>,
    },
    /// Offer events to a Dispatch endpoint, in order; answered by [`Input::Judged`].
    Judge {
        /// What the answer is to name.
        ticket: Ticket,
        /// The endpoint.
        endpoint: u8,
        /// The events.
        events: Vec<Event>,
    },
    /// Tell the gossip protocol what a message is.
    Verdict {
        /// The message.
        message: MessageId,
        /// Who sent it to us.
        peer: PeerId,
        /// What it is.
        verdict: Verdict,
    },
    /// Ask a peer; answered by [`Input::Response`] or [`Input::RequestFailed`]. After
    /// `until_ms` an answer comes too late.
    Request {
        /// What the answer is to name.
        id: RequestId,
        /// Whom.
        peer: PeerId,
        /// What.
        request: Request,
        /// Milliseconds since the Unix epoch.
        until_ms: u64,
    },
    /// Answer a peer's request from the store: see [`crate::serve`].
    Serve {
        /// Which.
        inbound: InboundId,
        /// What is asked.
        request: Request,
    },
    /// Answer a peer's request with [`Response::Refused`].
    Refuse {
        /// Which.
        inbound: InboundId,
    },
    /// Drop the connection to a peer and take none from it until then.
    Ban {
        /// Whom.
        peer: PeerId,
        /// Milliseconds since the Unix epoch.
        until_ms: u64,
        /// What it did last.
        offence: Offence,
    },
    /// Read state records; answered by [`Input::RecordsRead`].
    ReadRecords {
        /// What the answer is to name.
        ticket: Ticket,
        /// Which.
        ids: Vec<RecordId>,
    },
    /// Write state records, checked against their ids; answered by [`Input::RecordsWritten`].
    WriteRecords {
        /// What the answer is to name.
        ticket: Ticket,
        /// Ids and contents.
        records: Vec<(RecordId, Vec<u8>)>,
    },
    /// Start from a finalized block whose state is in the store; answered by
    /// [`Input::Adopted`].
    Adopt {
        /// What the answer is to name.
        ticket: Ticket,
        /// The block.
        pivot: Box<Pivot>,
    },
}
