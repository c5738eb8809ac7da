//! Instances: a type attested by the kernel, and a body that is a program or a native state.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use parity_scale_codec::{Decode, Encode, EncodeLike, Output};

use crate::cap::Cap;
use crate::cnode::CNode;
use crate::data::Data;
use crate::error::StoreError;
use crate::hash::{Hash, Tag, tagged};
use crate::image_ref::ImageRef;
use crate::key::{Key, Path};
use crate::resident::shared;
use crate::store::NodeStore;
use crate::trie::{Leaf, Link};

/// An Instance.
#[derive(Clone, Debug)]
pub struct Instance(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    type_id: Hash,
    body: Body,
    id: OnceLock<Hash>,
}

/// What an Instance is made of.
#[derive(Clone, Debug)]
pub enum Body {
    /// A program with its table.
    Program {
        /// The program.
        image: ImageRef,
        /// Its capability table.
        cnode: CNode,
        /// Where it stands.
        status: Status,
    },
    /// A state of the kernel's own.
    Native {
        /// Which of them.
        kind: NativeKind,
        /// SCALE of the kind's state; empty for a kind without one.
        state: Vec<u8>,
    },
    /// The native Instance of kind File: a sealed Data, its state the Data's id.
    File(Data),
}

/// Where a program stands between calls. SCALE has ids in place of capabilities.
#[derive(Clone, Debug, Default)]
pub enum Status {
    /// Not running. SCALE 0x00.
    #[default]
    Idle,
    /// Suspended in the middle of a call. SCALE 0x01, then [`Paused`].
    Paused(Arc<Paused>),
}

/// A suspended call: what the machine needs to go on.
///
/// SCALE: 13 registers of 8 bytes, pc, [`Waiting`], (mapping index, id of the Data) of
/// `ephemeral`, the optional ids of the scratchpad's capability and of `next_image`.
#[derive(Clone, Debug)]
pub struct Paused {
    /// φ0..φ12.
    pub regs: [u64; 13],
    /// Code offset at which the call goes on.
    pub pc: u32,
    /// What it waits for.
    pub waiting: Waiting,
    /// Contents of mappings that are in no slot, by index among the Image's mappings.
    pub ephemeral: BTreeMap<u8, Data>,
    /// What slot 0 held, where a catcher's answer must not replace it.
    pub scratch: Option<Scratch>,
    /// The Image that the call asked to have from its end on.
    pub next_image: Option<ImageRef>,
}

/// What a suspended call waits for.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Waiting {
    /// An answer to a marker of this type.
    #[codec(index = 0)]
    Yielded(Hash),
    /// More of what ran short, named by the id of the cap that ran dry.
    #[codec(index = 1)]
    OutOf(Resource, Hash),
    /// The Instance in a slot of its own, which is suspended, too.
    #[codec(index = 2)]
    Calling(Path),
}

/// What a call spends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum Resource {
    /// Time.
    #[codec(index = 0)]
    Gas,
    /// Bytes of state.
    #[codec(index = 1)]
    Quota,
}

/// A capability set aside: by itself in a map, as values nest without bound and maps alone are
/// hashed, persisted and dropped in loops.
#[derive(Clone, Debug)]
pub struct Scratch {
    map: CNode,
    id: OnceLock<Hash>,
}

/// The key under which a [`Scratch`] keeps its capability.
const SCRATCH_KEY: u8 = 0;

impl Scratch {
    /// Sets a capability aside.
    pub fn new(cap: Cap) -> Scratch {
        let leaf = Leaf::new(Key::from(SCRATCH_KEY), cap);
        Scratch {
            map: CNode::from_root(Link::Leaf(Arc::new(leaf))),
            id: OnceLock::new(),
        }
    }

    /// What was set aside, with this id, in the store of this number.
    pub(crate) fn stored(id: Hash, store: u64) -> Scratch {
        let leaf = tagged(Tag::TrieLeaf, &[&Key::from(SCRATCH_KEY).hash(), &id]);
        Scratch {
            map: CNode::stored_leaf(leaf, store),
            id: OnceLock::from(id),
        }
    }

    /// The capability's id. Does not recurse into nested values.
    pub fn id(&self) -> Hash {
        *self.id.get_or_init(|| {
            self.map.root();
            match self.map.loaded() {
                Some(Link::Leaf(leaf)) => leaf.cap.id(),
                // What is not loaded has its id from the start.
                _ => crate::hash::ZERO,
            }
        })
    }

    /// The capability.
    pub fn get(&self, store: &dyn NodeStore) -> Result<Option<Cap>, StoreError> {
        self.map.get(store, &Key::from(SCRATCH_KEY))
    }

    pub(crate) fn map(&self) -> &CNode {
        &self.map
    }
}

impl Status {
    /// What a suspended call has set aside, when nothing else holds it.
    pub(crate) fn into_aside(self) -> Option<CNode> {
        match self {
            Status::Idle => None,
            Status::Paused(paused) => Some(Arc::into_inner(paused)?.scratch?.map),
        }
    }
}

impl Encode for Status {
    fn encode_to<T: Output + ?Sized>(&self, dest: &mut T) {
        match self {
            Status::Idle => dest.push_byte(0),
            Status::Paused(paused) => {
                dest.push_byte(1);
                paused.encode_to(dest);
            }
        }
    }
}

impl EncodeLike for Status {}

impl Encode for Paused {
    fn encode_to<T: Output + ?Sized>(&self, dest: &mut T) {
        let ephemeral: Vec<(u8, Hash)> = self
            .ephemeral
            .iter()
            .map(|(index, data)| (*index, data.id()))
            .collect();
        self.regs.encode_to(dest);
        self.pc.encode_to(dest);
        self.waiting.encode_to(dest);
        ephemeral.encode_to(dest);
        self.scratch.as_ref().map(Scratch::id).encode_to(dest);
        self.next_image.as_ref().map(ImageRef::id).encode_to(dest);
    }
}

impl EncodeLike for Paused {}

macro_rules! natives {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        /// The kernel-issued Instances, by name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        pub enum NativeKind {
            $($(#[$doc])* #[codec(index = $number)] $name,)*
        }

        impl NativeKind {
            /// Every kind.
            pub const ALL: &'static [NativeKind] = &[$(NativeKind::$name,)*];

            /// The ASCII name its type is derived from.
            pub const fn name(self) -> &'static str {
                match self {
                    $(NativeKind::$name => stringify!($name),)*
                }
            }
        }
    };
}

natives! {
    /// Names a row of the gas table.
    Gas = 0,
    /// Names a row of the quota table.
    Quota = 1,
    /// Holds the types of markers it catches.
    Catcher = 2,
    /// Sets gas rows.
    SetGasMeter = 3,
    /// Sets quota rows.
    SetStorageQuota = 4,
    /// Makes Gas caps.
    MintGas = 5,
    /// Makes Quota caps.
    MintQuota = 6,
    /// Makes Catchers.
    CreateCatcher = 7,
    /// Allows `open`.
    Open = 8,
    /// Allows `save`.
    Save = 9,
    /// Allows `attest` and `result`.
    Attestation = 10,
    /// Allows `score` and `finalize`.
    Consensus = 11,
    /// The marker yielded when gas runs short.
    OutOfGas = 12,
    /// The marker yielded when quota runs short.
    OutOfQuota = 13,
    /// Seals a Data: what `save` makes and `open` looks into.
    File = 14,
}

impl Instance {
    /// An idle program.
    pub fn program(type_id: Hash, image: ImageRef, cnode: CNode) -> Instance {
        Instance::new(
            type_id,
            Body::Program {
                image,
                cnode,
                status: Status::Idle,
            },
        )
    }

    /// A suspended program.
    pub fn paused(type_id: Hash, image: ImageRef, cnode: CNode, paused: Paused) -> Instance {
        Instance::new(
            type_id,
            Body::Program {
                image,
                cnode,
                status: Status::Paused(Arc::new(paused)),
            },
        )
    }

    /// The program that this one is from the halt on, if `set_image` recorded an Image: its
    /// table stays, its type says where it comes from. A native, and a program without one, is
    /// as it was.
    pub fn with_image(self, image: Option<ImageRef>) -> Instance {
        match (image, self.body()) {
            (Some(image), Body::Program { cnode, .. }) => {
                let type_id = set_image_type(&self.type_id(), &image.id());
                Instance::program(type_id, image, cnode.clone())
            }
            _ => self,
        }
    }

    /// A native Instance with SCALE of its state.
    pub fn native(kind: NativeKind, state: Vec<u8>) -> Instance {
        Instance::new(native_type(kind), Body::Native { kind, state })
    }

    pub(crate) fn new(type_id: Hash, body: Body) -> Instance {
        Instance(Arc::new(Inner {
            type_id,
            body,
            id: OnceLock::new(),
        }))
    }

    /// A File: a native Instance that seals a Data.
    pub fn file(data: Data) -> Instance {
        Instance::new(native_type(NativeKind::File), Body::File(data))
    }

    /// The Data that a File seals; `None` for other Instances.
    pub fn sealed(&self) -> Option<&Data> {
        match self.body() {
            Body::File(data) => Some(data),
            Body::Program { .. } | Body::Native { .. } => None,
        }
    }

    /// Bytes it takes in memory itself, without what it refers to.
    pub(crate) fn own_bytes(&self) -> usize {
        let state = match self.body() {
            Body::Native { state, .. } => state.len(),
            Body::Program { .. } | Body::File(_) => 0,
        };
        let paused = self.suspended().map_or(0, |_| size_of::<Paused>());
        size_of::<Inner>() + state + paused
    }

    /// Its address, when others have it, too.
    pub(crate) fn shared(&self) -> Option<usize> {
        shared(&self.0)
    }

    /// Its type, or lineage.
    pub fn type_id(&self) -> Hash {
        self.0.type_id
    }

    /// Its body.
    pub fn body(&self) -> &Body {
        &self.0.body
    }

    /// Which native it is; `None` for a program.
    pub fn native_kind(&self) -> Option<NativeKind> {
        match self.body() {
            Body::Native { kind, .. } => Some(*kind),
            Body::File(_) => Some(NativeKind::File),
            Body::Program { .. } => None,
        }
    }

    /// A program's capability table; `None` for a native.
    pub fn cnode(&self) -> Option<&CNode> {
        match self.body() {
            Body::Program { cnode, .. } => Some(cnode),
            Body::Native { .. } | Body::File(_) => None,
        }
    }

    /// A suspended program's call; `None` for other Instances.
    pub fn suspended(&self) -> Option<&Paused> {
        match self.body() {
            Body::Program {
                status: Status::Paused(paused),
                ..
            } => Some(paused),
            _ => None,
        }
    }

    /// The id: H(0x10 ‖ type ‖ body hash).
    pub fn id(&self) -> Hash {
        *self
            .0
            .id
            .get_or_init(|| tagged(Tag::Instance, &[&self.0.type_id, &self.0.body.hash()]))
    }

    /// The body, when nothing else holds this Instance.
    pub(crate) fn into_body(self) -> Option<Body> {
        Arc::into_inner(self.0).map(|inner| inner.body)
    }
}

impl Body {
    /// Image id ‖ trie root ‖ SCALE(status) under 0x11, or SCALE(state) under 0x12.
    pub fn hash(&self) -> Hash {
        match self {
            Body::Program {
                image,
                cnode,
                status,
            } => tagged(
                Tag::ProgramBody,
                &[&image.id(), &cnode.root(), &status.encode()],
            ),
            Body::Native { state, .. } => tagged(Tag::NativeBody, &[state]),
            Body::File(data) => tagged(Tag::NativeBody, &[&data.id()]),
        }
    }
}

/// The type of a chain Instance made at genesis from this Image.
pub fn genesis_type(image_id: &Hash) -> Hash {
    tagged(Tag::GenesisType, &[image_id])
}

/// The type an Instance has after `set_image`.
pub fn set_image_type(type_id: &Hash, image_id: &Hash) -> Hash {
    tagged(Tag::SetImageType, &[type_id, image_id])
}

/// The type of what an Instance of `spawner_type` derives from this Image.
pub fn derive_type(spawner_type: &Hash, image_id: &Hash) -> Hash {
    tagged(Tag::DerivedType, &[spawner_type, image_id])
}

/// The type of a native Instance.
pub fn native_type(kind: NativeKind) -> Hash {
    tagged(Tag::NativeType, &[kind.name().as_bytes()])
}

/// The state root of a chain whose Instance has this id.
pub fn state_root(instance_id: &Hash) -> Hash {
    tagged(Tag::StateRoot, &[instance_id])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lineages_differ() {
        let id = [7; 32];
        let types = [
            genesis_type(&id),
            set_image_type(&id, &id),
            derive_type(&id, &id),
            native_type(NativeKind::Gas),
            native_type(NativeKind::Quota),
        ];
        for (i, a) in types.iter().enumerate() {
            assert!(types[..i].iter().all(|b| a != b));
        }
        let gas = Instance::native(NativeKind::Gas, vec![1; 8]);
        assert_eq!(gas.type_id(), native_type(NativeKind::Gas));
        assert_ne!(gas.id(), Instance::native(NativeKind::Gas, vec![2; 8]).id());
    }
}
