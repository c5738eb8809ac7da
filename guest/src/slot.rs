//! Capabilities in slots: any, Data, CNodes; calls.

use alloc::vec::Vec;

use jar_abi::{CallStatus, Kind, Status};
use parity_scale_codec::{DecodeAll, Encode};

use crate::{Path, sys};

/// The result of an operation that answers a status code.
fn checked(code: i64) -> Result<u64, Status> {
    match code {
        0.. => Ok(code as u64),
        _ => Err(Status::from_number(code).unwrap_or(Status::Invalid)),
    }
}

/// A place for a capability.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot(Path);

impl Slot {
    /// A slot of the Instance's own table.
    pub const fn new(number: u8) -> Slot {
        Slot(Path::slot(number))
    }

    /// The slot at a path.
    pub const fn at(path: Path) -> Slot {
        Slot(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What it holds, with the size in bytes for Data and Images; `None` when empty.
    ///
    /// # Errors
    ///
    /// The kernel's status other than `Empty`.
    pub fn kind(&self) -> Result<Option<(Kind, u64)>, Status> {
        let (kind, size) = sys::kind(&self.0);
        match checked(kind) {
            Ok(kind) => Ok(Kind::from_number(kind).map(|kind| (kind, size))),
            Err(Status::Empty) => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// Puts another reference to the same value into the empty slot `to`.
    ///
    /// # Errors
    ///
    /// The kernel's status.
    pub fn copy_to(&self, to: &Slot) -> Result<(), Status> {
        checked(sys::copy(&self.0, &to.0)).map(drop)
    }

    /// Moves the value to the empty slot `to`.
    ///
    /// # Errors
    ///
    /// The kernel's status.
    pub fn move_to(&self, to: &Slot) -> Result<(), Status> {
        checked(sys::move_(&self.0, &to.0)).map(drop)
    }

    /// Empties it. Answers whether it held something.
    ///
    /// # Errors
    ///
    /// The kernel's status other than `Empty`.
    pub fn clear(&self) -> Result<bool, Status> {
        match checked(sys::drop(&self.0)) {
            Ok(_) => Ok(true),
            Err(Status::Empty) => Ok(false),
            Err(status) => Err(status),
        }
    }

    /// Puts the Type of the Instance here into the empty slot `to`.
    ///
    /// # Errors
    ///
    /// The kernel's status.
    pub fn type_to(&self, to: &Slot) -> Result<(), Status> {
        checked(sys::type_of(&self.0, &to.0)).map(drop)
    }

    /// Whether this and `other`, Instances or Types, have the same type.
    ///
    /// # Errors
    ///
    /// The kernel's status.
    pub fn same_type(&self, other: &Slot) -> Result<bool, Status> {
        checked(sys::same_type(&self.0, &other.0)).map(|same| same == 1)
    }

    /// Exchanges what this and `other`, of one CNode, hold; both hold something.
    ///
    /// # Errors
    ///
    /// The kernel's status.
    pub fn swap(&self, other: &Slot) -> Result<(), Status> {
        checked(sys::swap(&self.0, &other.0)).map(drop)
    }

    /// Calls an endpoint of the Instance here. Slot 0 goes with the call and comes back
    /// with what the callee leaves there.
    pub fn call(&self, endpoint: u8, arguments: [u64; 4]) -> Called {
        Called::of(sys::call(&self.0, endpoint, arguments))
    }

    /// Lets the subtree that waits here go on, its yielder with this Instance's slot 0. Also
    /// takes up a Paused Instance, whichever call detached it.
    pub fn resume(&self) -> Called {
        Called::of(sys::resume(&self.0))
    }

    /// Ends the subtree that waits here: it faults, and the Instance is as before its call.
    ///
    /// # Errors
    ///
    /// The kernel's status.
    pub fn abort(&self) -> Result<(), Status> {
        checked(sys::abort(&self.0)).map(drop)
    }

    /// Makes the subtree that waits here a Paused Instance, to be resumed in a later call.
    ///
    /// # Errors
    ///
    /// The kernel's status.
    pub fn detach(&self) -> Result<(), Status> {
        checked(sys::detach(&self.0)).map(drop)
    }

    /// Suspends this program and asks the nearest owner that catches the type of the
    /// Instance here. The request is in slot 0; so is the answer afterwards. Without a
    /// catcher this program faults.
    ///
    /// # Errors
    ///
    /// The kernel's status.
    pub fn yield_now(&self) -> Result<(), Status> {
        checked(sys::yield_(&self.0)).map(drop)
    }

    /// Makes an Image of the Data here, SCALE of one, and puts it into the empty slot `to`.
    ///
    /// # Errors
    ///
    /// The kernel's status: `Range` for what is over a limit, `Invalid` for what is no Image.
    pub fn make_image(&self, to: &Slot) -> Result<(), Status> {
        checked(sys::make_image(&self.0, &to.0)).map(drop)
    }

    /// Puts an Instance of the Image here into the empty slot `to`. The CNode in `table`
    /// becomes its table. Its type says that this program made it.
    ///
    /// # Errors
    ///
    /// The kernel's status: `Occupied` if the table fills a slot that the Image pins.
    pub fn spawn(&self, table: &CNode, to: &Slot) -> Result<(), Status> {
        checked(sys::derive_spawn(&self.0, table.slot().path(), &to.0)).map(drop)
    }

    /// Puts the Type that Instances of `image` have, spawned by one of the Type here, into
    /// the empty slot `to`.
    ///
    /// # Errors
    ///
    /// The kernel's status.
    pub fn subtype(&self, image: &Slot, to: &Slot) -> Result<(), Status> {
        checked(sys::subtype(&self.0, &image.0, &to.0)).map(drop)
    }

    /// Lets this program be the Image here from the end of the call on.
    ///
    /// # Errors
    ///
    /// The kernel's status: `Occupied` if a slot is in use that the Image pins.
    pub fn become_own_image(&self) -> Result<(), Status> {
        checked(sys::set_image(&self.0)).map(drop)
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    /// The callee halted with this value.
    Halted(u64),
    /// The callee faulted with this code; the Instance is as before.
    Faulted(u64),
    /// The callee, or one it called, waits for this Instance's answer.
    Paused,
    /// The call was not started.
    Refused(Status),
}

impl Called {
    /// Of a call's two results: value, call status.
    fn of((value, status): (u64, u64)) -> Called {
        match CallStatus::from_number(status) {
            Some(CallStatus::Ok) => Called::Halted(value),
            Some(CallStatus::Faulted) => Called::Faulted(value),
            Some(CallStatus::Paused) => Called::Paused,
            _ => Called::Refused(Status::from_number(value as i64).unwrap_or(Status::Invalid)),
        }
    }
}

/// A slot that holds Data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data(Slot);

impl Data {
    /// The Data in `slot`.
    pub const fn at(slot: Slot) -> Data {
        Data(slot)
    }

    /// The slot.
    pub fn slot(&self) -> &Slot {
        &self.0
    }

    /// Bytes it has; `None` for an empty slot.
    ///
    /// # Errors
    ///
    /// The kernel's status; `WrongKind` if the slot holds no Data.
    pub fn len(&self) -> Result<Option<u64>, Status> {
        match self.0.kind()? {
            None => Ok(None),
            Some((Kind::Data, len)) => Ok(Some(len)),
            Some(_) => Err(Status::WrongKind),
        }
    }

    /// Whether the slot is empty or the Data has no bytes.
    ///
    /// # Errors
    ///
    /// As [`Data::len`].
    pub fn is_empty(&self) -> Result<bool, Status> {
        Ok(self.len()?.unwrap_or(0) == 0)
    }

    /// Copies bytes from `offset` on; answers how many there were.
    ///
    /// # Errors
    ///
    /// The kernel's status; `Range` for an offset past the end.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> Result<usize, Status> {
        checked(sys::read_data(self.0.path(), out, offset)).map(|read| read as usize)
    }

    /// All its bytes; `None` for an empty slot.
    ///
    /// # Errors
    ///
    /// The kernel's status.
    pub fn to_vec(&self) -> Result<Option<Vec<u8>>, Status> {
        let Some(len) = self.len()? else {
            return Ok(None);
        };
        let mut bytes = alloc::vec![0; len as usize];
        let read = self.read(0, &mut bytes)?;
        bytes.truncate(read);
        Ok(Some(bytes))
    }

    /// Its bytes as SCALE with nothing left over; `None` if the slot is empty or they are
    /// something else.
    ///
    /// # Errors
    ///
    /// The kernel's status.
    pub fn decode<T: DecodeAll>(&self) -> Result<Option<T>, Status> {
        // Most values are small: one host call and no allocation.
        let mut small = [0; 64];
        match self.read(0, &mut small) {
            Ok(read) if read < small.len() => Ok(T::decode_all(&mut &small[..read]).ok()),
            Ok(_) => Ok(self
                .to_vec()?
                .and_then(|bytes| T::decode_all(&mut &bytes[..]).ok())),
            Err(Status::Empty) => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// Puts bytes into the slot in place of what it held.
    ///
    /// # Errors
    ///
    /// The kernel's status.
    pub fn set(&self, bytes: &[u8]) -> Result<(), Status> {
        // Asking costs little; trying in vain costs as much as doing.
        if self.0.kind()?.is_some() {
            self.0.clear()?;
        }
        checked(sys::mint_data(bytes, self.0.path())).map(drop)
    }

    /// Puts SCALE(value) into the slot in place of what it held.
    ///
    /// # Errors
    ///
    /// The kernel's status.
    pub fn encode<T: Encode + ?Sized>(&self, value: &T) -> Result<(), Status> {
        value.using_encoded(|bytes| self.set(bytes))
    }
}

/// A slot that holds a CNode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CNode(Slot);

impl CNode {
    /// The CNode in `slot`.
    pub const fn at(slot: Slot) -> CNode {
        CNode(slot)
    }

    /// The slot.
    pub fn slot(&self) -> &Slot {
        &self.0
    }

    /// Puts an empty CNode into the slot, which must be empty.
    ///
    /// # Errors
    ///
    /// The kernel's status.
    pub fn mint(&self) -> Result<(), Status> {
        checked(sys::mint_cnode(self.0.path())).map(drop)
    }

    /// The slot under `key`, of 1 to 32 bytes.
    pub fn child(&self, key: &[u8]) -> Slot {
        Slot(self.0.path().child(key))
    }

    /// The key after `after` in the order of H(key), from the first on for `None`; `None`
    /// behind the last.
    ///
    /// # Errors
    ///
    /// The kernel's status.
    pub fn next_key(&self, after: Option<&[u8]>) -> Result<Option<Vec<u8>>, Status> {
        let mut out = [0; 32];
        match checked(sys::next_key(
            self.0.path(),
            after.unwrap_or_default(),
            &mut out,
        )) {
            Ok(len) => Ok(out.get(..len as usize).map(<[u8]>::to_vec)),
            Err(Status::Empty) => Ok(None),
            Err(status) => Err(status),
        }
    }
}
