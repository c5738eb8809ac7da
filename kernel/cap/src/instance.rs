//! Instances: a type attested by the kernel, and a body that is a program or a native state.

use std::sync::{Arc, OnceLock};

use parity_scale_codec::{Decode, Encode, EncodeLike, Input, Output};

use crate::cnode::CNode;
use crate::hash::{Hash, Tag, tagged};
use crate::image_ref::ImageRef;

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
}

/// Where a program stands between calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// Not running. SCALE 0x00.
    #[default]
    Idle,
}

const STATUS_IDLE: u8 = 0;
const STATUS_PAUSED: u8 = 1;

impl Encode for Status {
    fn encode_to<T: Output + ?Sized>(&self, dest: &mut T) {
        dest.push_byte(match self {
            Status::Idle => STATUS_IDLE,
        });
    }
}

impl EncodeLike for Status {}

impl Decode for Status {
    fn decode<I: Input>(input: &mut I) -> Result<Status, parity_scale_codec::Error> {
        match input.read_byte()? {
            STATUS_IDLE => Ok(Status::Idle),
            STATUS_PAUSED => Err("paused: not supported".into()),
            _ => Err("unknown status".into()),
        }
    }
}

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
            Body::Program { .. } => None,
        }
    }

    /// A program's capability table; `None` for a native.
    pub fn cnode(&self) -> Option<&CNode> {
        match self.body() {
            Body::Program { cnode, .. } => Some(cnode),
            Body::Native { .. } => None,
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
    use crate::codec::decode_canonical;

    #[test]
    fn paused_is_reserved() {
        assert_eq!(decode_canonical::<Status>(&[0]), Ok(Status::Idle));
        let error = decode_canonical::<Status>(&[1]).unwrap_err();
        assert!(error.to_string().contains("paused: not supported"));
        assert!(decode_canonical::<Status>(&[2]).is_err());
    }

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
