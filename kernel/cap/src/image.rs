//! Images: programs with their memory layout, endpoints and pinned constants.

mod check;

use std::collections::BTreeMap;

use parity_scale_codec::{Decode, Encode};

pub use check::Limits;

use crate::codec::decode_canonical;
use crate::error::Error;
use crate::hash::{Hash, Tag, tagged};
use crate::key::{Key, Path};

/// Code for the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Program {
    /// Instruction bytes.
    pub code: Vec<u8>,
    /// One bit for each code byte, set where an instruction starts; byte i/8, bit i%8. Padding
    /// bits are zero.
    pub bitmask: Vec<u8>,
    /// Targets of indirect jumps: offsets into the code.
    pub jump_table: Vec<u32>,
}

/// Who may invoke an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Role {
    /// Programs, by CALL.
    #[codec(index = 0)]
    Call,
    /// Programs and clients, on a copy.
    #[codec(index = 1)]
    View,
    /// The kernel, once, when the chain starts.
    #[codec(index = 2)]
    Genesis,
    /// The kernel, once a block, in this order.
    #[codec(index = 3)]
    Schedule(u8),
    /// The kernel, once for each event of a block, in this order.
    #[codec(index = 4)]
    Transact(u8),
    /// The kernel, off-chain.
    #[codec(index = 5)]
    Dispatch,
}

/// A way into a program.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Endpoint {
    /// Name by which clients know it.
    pub name: String,
    /// Who may invoke it.
    pub role: Role,
    /// Code offset at which it starts.
    pub pc: u32,
    /// Initial values of registers 0..13; others are 0.
    pub regs: BTreeMap<u8, u64>,
}

/// A range of memory.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Mapping {
    /// First address; a multiple of the page size.
    pub start: u32,
    /// Bytes; a multiple of the page size.
    pub size: u32,
    /// What it shows.
    pub source: Source,
}

/// What a mapping shows.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Source {
    /// The Data at a path: read-only if pinned, else written back.
    #[codec(index = 0)]
    Slot(Path),
    /// Memory fresh in each call.
    #[codec(index = 1)]
    Ephemeral {
        /// A pinned Data with its first bytes; zeros if absent.
        init: Option<Path>,
        /// Whether all of it counts as written at entry.
        eager: bool,
    },
}

impl Source {
    /// Where the Data it begins with is.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Source::Slot(path) => Some(path),
            Source::Ephemeral { init, .. } => init.as_ref(),
        }
    }
}

/// A constant of a program, laid over a slot of its Instances.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Pinned {
    /// Bytes.
    #[codec(index = 0)]
    Data(Vec<u8>),
    /// Another program.
    #[codec(index = 1)]
    Image(Box<Image>),
}

/// A program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Image {
    /// Its code.
    pub program: Program,
    /// Its endpoints by number.
    pub endpoints: BTreeMap<u8, Endpoint>,
    /// Its memory, by ascending address.
    pub memory: Vec<Mapping>,
    /// Its constants, by slot.
    pub pinned: BTreeMap<Key, Pinned>,
    /// Slots with the Gas caps it spends from.
    pub gas_slots: Vec<Key>,
    /// Slots with the Quota caps it spends from.
    pub quota_slots: Vec<Key>,
    /// Slot with its Catcher.
    pub catcher_slot: Option<Key>,
    /// Name, version, hash of the source and the like.
    pub metadata: BTreeMap<String, Vec<u8>>,
}

impl Image {
    /// Decodes canonical SCALE and checks the structure, with no limit on sizes.
    pub fn decode_checked(bytes: &[u8]) -> Result<Image, Error> {
        let image: Image = decode_canonical(bytes)?;
        image.check(&Limits::UNBOUNDED)?;
        Ok(image)
    }

    /// The id: H(0x20 ‖ SCALE(image)). Encodes and hashes the whole; an
    /// [`ImageRef`](crate::ImageRef) keeps it.
    pub fn id(&self) -> Hash {
        tagged(Tag::Image, &[&self.encode()])
    }
}
