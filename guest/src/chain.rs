//! What the kernel offers a chain: signatures, the block, consensus, records, hashes.

use jar_abi::{ATTEST_RECORDED, Status, slots};
use parity_scale_codec::{Decode, Encode};

pub use jar_abi::HashAlgorithm;

use crate::{Path, Slot, sys};

/// 32 bytes that name something by its content.
pub type Hash = [u8; 32];
/// An ed25519 public key.
pub type PublicKey = [u8; 32];

/// What an attestation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Scope {
    /// A user's approval of a blob.
    #[codec(index = 0)]
    Direct,
    /// The author's seal of the block; the blob is empty.
    #[codec(index = 1)]
    Seal,
    /// A validator's vote.
    #[codec(index = 2)]
    Vote {
        /// Height of the source.
        source: u64,
        /// Height of the target.
        target: u64,
    },
}

/// Asks for a signature by `key` of `blob`: whether it is there, or will be.
///
/// # Errors
///
/// The kernel's status: `Denied` in a View.
pub fn attest(key: &PublicKey, blob: &[u8], scope: Scope) -> Result<bool, Status> {
    let slot = Path::slot(slots::ATTESTATION);
    let answer = scope.using_encoded(|scope| sys::attest(&slot, key, blob, scope));
    if answer < 0 {
        return Err(Status::from_number(answer).unwrap_or(Status::Invalid));
    }
    let recorded = answer as u64 == ATTEST_RECORDED;
    if recorded {
        sys::set_recorded(sys::recorded() + 1);
    }
    Ok(recorded)
}

/// The block a call is part of; off-chain the head's.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct BlockInfo {
    /// Hash of the genesis header.
    pub genesis: Hash,
    /// Hash of the parent's header.
    pub parent: Hash,
    /// Blocks since genesis.
    pub height: u64,
    /// The time slot.
    pub slot: u64,
    /// The slot's time, in milliseconds since 1970.
    pub time_ms: u64,
}

/// The block a call is part of.
pub fn block_info() -> BlockInfo {
    let mut bytes = [0; 88];
    sys::block_info(&mut bytes);
    match BlockInfo::decode(&mut &bytes[..]) {
        Ok(info) => info,
        Err(_) => panic!("block_info is fixed-width"),
    }
}

/// Gives the block its score, which must exceed its parent's.
///
/// # Errors
///
/// The kernel's status: `Denied` in a View, `Empty` without the Consensus capability.
pub fn score(score: u64) -> Result<(), Status> {
    done(sys::score(&Path::slot(slots::CONSENSUS), score))
}

/// Declares a block final.
///
/// # Errors
///
/// As [`score`].
pub fn finalize(block: &Hash) -> Result<(), Status> {
    done(sys::finalize(&Path::slot(slots::CONSENSUS), block))
}

/// Emits the Data in `data` as a record of this event under `topic`.
///
/// # Errors
///
/// The kernel's status: `Range` when the event's records grow over the limit.
pub fn emit(topic: &[u8], data: &Slot) -> Result<(), Status> {
    done(sys::emit(topic, data.path()))
}

/// Gas left to the call.
pub fn gas_left() -> u64 {
    sys::gas_left()
}

/// The digest of `bytes`.
pub fn hash(algorithm: HashAlgorithm, bytes: &[u8]) -> Hash {
    let mut out = [0; 32];
    sys::hash(algorithm as u64, bytes, &mut out);
    out
}

fn done(code: i64) -> Result<(), Status> {
    match code {
        0.. => Ok(()),
        _ => Err(Status::from_number(code).unwrap_or(Status::Invalid)),
    }
}
