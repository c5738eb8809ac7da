//! What nodes ask each other and answer: SCALE types with limits.
//!
//! A message is decoded with [`Request::from_bytes`] or [`Response::from_bytes`], which refuse
//! what is longer, or of more items, than the limits here.

use jar_cap::{Hash, RecordId};
use jar_kernel::State;
use jar_kernel::block::{Block, Outcome};
use parity_scale_codec::{Decode, Encode, Error, Input};

/// Bytes of an encoded request at the most.
pub const REQUEST_BYTES_MAX: usize = 16 << 10;
/// Bytes of an encoded response at the most: a block of the greatest default size fits.
pub const RESPONSE_BYTES_MAX: usize = 8 << 20;
/// Bytes of blocks or records after which an answer takes no further one.
pub const RESPONSE_BYTES_SOFT: usize = 2 << 20;
/// Blocks in a response at the most.
pub const BLOCKS_MAX: usize = 128;
/// State records in a request at the most.
pub const RECORDS_MAX: usize = 384;

/// A block as peers name it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct BlockRef {
    /// Block hash.
    pub hash: Hash,
    /// Blocks since genesis.
    pub height: u64,
    /// Time slot.
    pub slot: u64,
    /// Score the chain gave it.
    pub score: u64,
}

impl From<&State> for BlockRef {
    fn from(state: &State) -> BlockRef {
        BlockRef {
            hash: state.hash,
            height: state.header.height,
            slot: state.header.slot,
            score: state.score,
        }
    }
}

/// What a node says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Status {
    /// Hash of the chain's genesis header: nodes of other chains do not peer.
    pub genesis: Hash,
    /// The best block.
    pub head: BlockRef,
    /// The last finalized block.
    pub finalized: BlockRef,
    /// Height of the lowest block above genesis that it can serve.
    pub first_height: u64,
}

/// A question to another node.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Request {
    /// How do you stand? So do I.
    #[codec(index = 0)]
    Status(Status),
    /// Blocks of your head's chain, by height, ascending.
    #[codec(index = 1)]
    Blocks {
        /// Height of the first.
        from: u64,
        /// How many; 1 to [`BLOCKS_MAX`].
        count: u32,
    },
    /// A block by its hash and ancestors of it, descending.
    #[codec(index = 2)]
    Ancestry {
        /// Hash of the first.
        hash: Hash,
        /// How many with the first; 1 to [`BLOCKS_MAX`].
        count: u32,
    },
    /// A finalized block with what a node needs to start from it.
    #[codec(index = 3)]
    Pivot(Hash),
    /// State records by id.
    #[codec(index = 4)]
    Records(RecordIds),
}

/// An answer to a [`Request`]. Fewer items than asked for are in order: those that fit, or that
/// the node has, from the first on.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Response {
    /// To `Status`.
    #[codec(index = 0)]
    Status(Status),
    /// To `Blocks` and `Ancestry`, in the order asked for, without a gap.
    #[codec(index = 1)]
    Blocks(Vec<Block>),
    /// To `Pivot`; `None` when the block or its state is not held.
    #[codec(index = 2)]
    Pivot(Option<Box<Pivot>>),
    /// To `Records`: contents in the order asked for, `None` for those that are not held.
    #[codec(index = 3)]
    Records(Vec<Option<Vec<u8>>>),
    /// Asked too often or for too much.
    #[codec(index = 4)]
    Refused,
}

/// A finalized block with what a node needs to start from it; all but the score is bound by
/// the header.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Pivot {
    /// The block.
    pub block: Block,
    /// Its score.
    pub score: u64,
    /// Id of the chain Instance after it.
    pub instance: Hash,
    /// Outcomes of its calls.
    pub outcomes: Vec<Outcome>,
}

/// At most [`RECORDS_MAX`] ids of state records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordIds(pub Vec<RecordId>);

impl Encode for RecordIds {
    fn encode(&self) -> Vec<u8> {
        let ids: Vec<[u8; RecordId::LEN]> = self.0.iter().map(|id| *id.as_bytes()).collect();
        ids.encode()
    }
}

impl Decode for RecordIds {
    fn decode<I: Input>(input: &mut I) -> Result<Self, Error> {
        let ids = Vec::<[u8; RecordId::LEN]>::decode(input)?;
        let known = |bytes| RecordId::from_bytes(bytes).ok_or(Error::from("no id of a record"));
        ids.into_iter()
            .map(known)
            .collect::<Result<_, _>>()
            .map(RecordIds)
    }
}

/// Why the bytes of a message are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMessage {
    /// Over the limit of bytes.
    #[error("a message of {len} bytes is over the limit of {limit}")]
    TooLong {
        /// Its length.
        len: usize,
        /// The limit.
        limit: usize,
    },
    /// No canonical encoding of a message.
    #[error("the bytes are not the canonical encoding of a message")]
    Encoding,
    /// A number of items that is none or over its limit.
    #[error("the message names a number of items that is not supported")]
    Count,
}

fn decode<T: Encode + Decode>(bytes: &[u8], limit: usize) -> Result<T, BadMessage> {
    let len = bytes.len();
    if len > limit {
        return Err(BadMessage::TooLong { len, limit });
    }
    jar_cap::decode_canonical(bytes).map_err(|_| BadMessage::Encoding)
}

impl Request {
    /// Decodes what a peer asks, and checks its limits.
    pub fn from_bytes(bytes: &[u8]) -> Result<Request, BadMessage> {
        let request: Request = decode(bytes, REQUEST_BYTES_MAX)?;
        let count = match &request {
            Request::Status(_) | Request::Pivot(_) => return Ok(request),
            Request::Blocks { count, .. } | Request::Ancestry { count, .. } => {
                (*count as usize, BLOCKS_MAX)
            }
            Request::Records(ids) => (ids.0.len(), RECORDS_MAX),
        };
        match count {
            (1.., _) if count.0 <= count.1 => Ok(request),
            _ => Err(BadMessage::Count),
        }
    }

    /// Whether a response is of the kind that answers this, with no more items than asked for.
    pub fn is_answered_by(&self, response: &Response) -> bool {
        match (self, response) {
            (_, Response::Refused)
            | (Request::Status(_), Response::Status(_))
            | (Request::Pivot(_), Response::Pivot(_)) => true,
            (
                Request::Blocks { count, .. } | Request::Ancestry { count, .. },
                Response::Blocks(blocks),
            ) => blocks.len() <= *count as usize,
            (Request::Records(ids), Response::Records(records)) => records.len() <= ids.0.len(),
            _ => false,
        }
    }
}

impl Response {
    /// Decodes what a peer answers, and checks its size.
    pub fn from_bytes(bytes: &[u8]) -> Result<Response, BadMessage> {
        decode(bytes, RESPONSE_BYTES_MAX)
    }
}
