//! Kernel-issued Instances: Catchers, and the rows of gas and quota.

use alloc::vec::Vec;

use jar_abi::{Status, slots};
use parity_scale_codec::DecodeAll as _;

use crate::slot::Called;
use crate::{Data, Hash, Slot};

/// A slot that holds a Catcher: the types of markers whose yields end here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catcher(Slot);

/// What an endpoint of a kernel-issued Instance answers: a value, never a pause.
fn answered(called: Called) -> Result<u64, Status> {
    match called {
        Called::Halted(value) => Ok(value),
        Called::Refused(status) => Err(status),
        Called::Faulted(_) | Called::Paused => Err(Status::Invalid),
    }
}

fn scratch() -> Slot {
    Slot::new(slots::SCRATCH)
}

impl Catcher {
    const ADD: u8 = 0;
    const REMOVE: u8 = 1;
    const READ: u8 = 2;

    /// The Catcher in `slot`.
    pub const fn at(slot: Slot) -> Catcher {
        Catcher(slot)
    }

    /// The one that the kernel gave the chain, which catches OutOfGas and OutOfQuota.
    pub const fn of_chain() -> Catcher {
        Catcher(Slot::new(slots::CATCHER))
    }

    /// Puts an empty Catcher into slot 0 by the kernel's CreateCatcher in `maker`.
    ///
    /// # Errors
    ///
    /// The kernel's status.
    pub fn create(maker: &Slot) -> Result<(), Status> {
        answered(maker.call(0, [0; 4])).map(drop)
    }

    /// Catches the type of the marker in slot 0, an Instance or a Type.
    ///
    /// # Errors
    ///
    /// The kernel's status: `Quota` when 256 types are caught.
    pub fn add_scratch(&self) -> Result<(), Status> {
        answered(self.0.call(Self::ADD, [0; 4])).map(drop)
    }

    /// Catches the type of the marker in slot 0 no longer.
    ///
    /// # Errors
    ///
    /// The kernel's status.
    pub fn remove_scratch(&self) -> Result<(), Status> {
        answered(self.0.call(Self::REMOVE, [0; 4])).map(drop)
    }

    /// The types it catches, sorted. Slot 0 is used for the answer.
    ///
    /// # Errors
    ///
    /// The kernel's status.
    pub fn types(&self) -> Result<Vec<Hash>, Status> {
        answered(self.0.call(Self::READ, [0; 4]))?;
        let bytes = Data::at(scratch()).to_vec()?.unwrap_or_default();
        scratch().clear()?;
        Vec::<Hash>::decode_all(&mut &bytes[..]).map_err(|_| Status::Invalid)
    }
}

/// A table of rows, fresh in each event: row 0 holds the budget, the others 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Gas.
    Gas,
    /// Quota: bytes of state.
    Quota,
}

impl Rows {
    fn slots(self) -> (Slot, Slot, Slot) {
        let (cap, set, mint) = match self {
            Rows::Gas => (slots::GAS, slots::SET_GAS_METER, slots::MINT_GAS),
            Rows::Quota => (slots::QUOTA, slots::SET_STORAGE_QUOTA, slots::MINT_QUOTA),
        };
        (Slot::new(cap), Slot::new(set), Slot::new(mint))
    }

    /// Sets a row; answers what it held.
    ///
    /// # Errors
    ///
    /// The kernel's status, as for those that hold no setter.
    pub fn set(self, row: u64, value: u64) -> Result<u64, Status> {
        let (_, setter, _) = self.slots();
        answered(setter.call(0, [row, value, 0, 0]))
    }

    /// Puts a cap that names a row into the empty slot `to`. Slot 0 is emptied.
    ///
    /// # Errors
    ///
    /// The kernel's status.
    pub fn mint(self, row: u64, to: &Slot) -> Result<(), Status> {
        let (_, _, minter) = self.slots();
        answered(minter.call(0, [row, 0, 0, 0]))?;
        scratch().move_to(to)
    }

    /// Whether slot 0 holds a cap of this table: what ran dry, after a pause.
    pub fn is_dry(self) -> bool {
        let (own, _, _) = self.slots();
        own.same_type(&scratch()) == Ok(true)
    }
}
