//! What can go wrong: with bytes someone sent, and with the node's own store.

use crate::store::RecordId;

/// Input that is refused, or a store that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Bytes that do not decode.
    #[error("not SCALE of this type: {0}")]
    Decode(String),
    /// Bytes that decode, but are not the encoding of what they decode to.
    #[error("not in canonical form: the value encodes differently")]
    NotCanonical,
    /// A key of no or too many bytes.
    #[error("a key has 1 to 32 bytes, not {0}")]
    KeyLength(usize),
    /// A path of no or too many keys.
    #[error("a path has 1 to 8 keys, not {0}")]
    PathLength(usize),
    /// An Image whose structure is refused.
    #[error("invalid image: {0}")]
    Image(String),
    /// A path that goes through something that is not a CNode.
    #[error("key {0} of the path does not hold a CNode")]
    NotCNode(usize),
    /// A Data longer than the caller takes.
    #[error("a Data of {len} bytes, of which at most {max} can be taken")]
    TooLong {
        /// Its length in bytes.
        len: u64,
        /// The most that is taken.
        max: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The node's store lacks a record or holds a wrong one: never a guest's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A record that a stored value refers to is not there.
    #[error("record {0} is missing from the store")]
    Missing(RecordId),
    /// A record whose content does not belong to its id.
    #[error("record {id} is corrupt: {reason}")]
    Corrupt {
        /// The record.
        id: RecordId,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A value that was loaded from one store is to be persisted in another, and this record
    /// of it was never read.
    #[error("record {0} is in another store and was not loaded")]
    Foreign(RecordId),
    /// The store itself failed.
    #[error("the store failed: {0}")]
    Backend(String),
}
