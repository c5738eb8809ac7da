//! The aggregation slot of a Dispatch endpoint: a list of items that wait for a block.

use jar_abi::{SlotItemKind, Status};
use parity_scale_codec::Encode;

use crate::{Slot, sys};

pub use jar_abi::{ARRIVING_ITEM, Phase};

/// What a Dispatch endpoint with `phases` is called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dispatching {
    /// Which of the three phases.
    pub phase: Phase,
    /// Items that the slot has; 0 while an event is verified.
    pub items: u32,
    /// Index of this endpoint.
    pub endpoint: u8,
    /// Index of the Transact endpoint `into`.
    pub into: u8,
}

fn done(code: i64) -> Result<(), Status> {
    match code {
        0.. => Ok(()),
        _ => Err(Status::from_number(code).unwrap_or(Status::Invalid)),
    }
}

/// Puts SCALE(kind, endpoint, payload, [(key, scope, blob hash)]) of an item into the
/// empty slot `to`.
///
/// # Errors
///
/// The kernel's status: `Range` behind the last item, `Denied` outside of Dispatch.
pub fn read(item: u32, to: &Slot) -> Result<(), Status> {
    done(sys::slot_read(item, to.path()))
}

/// Appends an item with the Data in `payload`. `picks` are the attestations it takes over:
/// (item, attestation), [`ARRIVING_ITEM`] being the arriving event.
///
/// # Errors
///
/// The kernel's status: `Quota` when the slot is full.
pub fn emit(
    kind: SlotItemKind,
    endpoint: u8,
    payload: &Slot,
    picks: &[(u32, u32)],
) -> Result<(), Status> {
    let picks = picks.encode();
    done(sys::slot_emit(
        kind as u64,
        endpoint,
        payload.path(),
        &picks,
    ))
}

/// Keeps the items whose bits are set, least significant first.
///
/// # Errors
///
/// The kernel's status: `Range` if the bitmap isn't one bit for each item.
pub fn keep(bitmap: &[u8]) -> Result<(), Status> {
    done(sys::slot_keep(bitmap))
}

/// On a new head, sends an event with the Data in `payload` to a Dispatch endpoint of this
/// chain, with all attestations that were asked for since the last one.
///
/// # Errors
///
/// The kernel's status: `Denied` outside of that phase.
pub fn dispatch(endpoint: u8, payload: &Slot) -> Result<(), Status> {
    done(sys::dispatch(endpoint, payload.path()))
}

/// Keeps no items.
///
/// # Errors
///
/// The kernel's status.
pub fn clear() -> Result<(), Status> {
    done(sys::slot_clear())
}
