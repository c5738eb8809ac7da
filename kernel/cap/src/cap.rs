//! Capabilities of all kinds.

use std::fmt;
use std::sync::Arc;

use crate::cnode::CNode;
use crate::data::Data;
use crate::hash::{Hash, Tag, tagged};
use crate::image_ref::ImageRef;
use crate::instance::{Body, Instance, Scratch};
use crate::trie::Link;

/// A capability: a cheap handle of an immutable value. Equal when kind and id are.
#[derive(Clone)]
pub enum Cap {
    /// Bytes.
    Data(Data),
    /// A program.
    Image(ImageRef),
    /// A map of keys to capabilities.
    CNode(CNode),
    /// An object: a type and a body.
    Instance(Instance),
    /// A type alone, for comparing. Behind a pointer: a capability is two words, which every slot
    /// and every move of one has to hold.
    Type(Arc<Hash>),
}

const _: () = assert!(size_of::<Option<Cap>>() == 2 * size_of::<usize>());

/// The kinds of capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// [`Cap::Data`].
    Data,
    /// [`Cap::Image`].
    Image,
    /// [`Cap::CNode`].
    CNode,
    /// [`Cap::Instance`].
    Instance,
    /// [`Cap::Type`].
    Type,
}

impl Kind {
    /// The tag ids of this kind are made with.
    pub const fn tag(self) -> Tag {
        match self {
            Kind::Data => Tag::Data,
            Kind::Image => Tag::Image,
            Kind::CNode => Tag::CNode,
            Kind::Instance => Tag::Instance,
            Kind::Type => Tag::Type,
        }
    }
}

impl Cap {
    /// The kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Cap::Data(_) => Kind::Data,
            Cap::Image(_) => Kind::Image,
            Cap::CNode(_) => Kind::CNode,
            Cap::Instance(_) => Kind::Instance,
            Cap::Type(_) => Kind::Type,
        }
    }

    /// The id, computed from what is not hashed yet. Does not recurse into nested values.
    pub fn id(&self) -> Hash {
        match self {
            Cap::Data(data) => data.id(),
            Cap::Image(image) => image.id(),
            Cap::CNode(cnode) => cnode.id(),
            Cap::Instance(instance) => instance.id(),
            Cap::Type(type_id) => tagged(Tag::Type, &[&**type_id]),
        }
    }

    /// The maps below this value: its table, and what a suspended call has set aside.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &CNode> {
        let (table, aside) = match self {
            Cap::CNode(cnode) => (Some(cnode), None),
            Cap::Instance(instance) => {
                let paused = instance.suspended();
                let scratch = paused.and_then(|paused| paused.scratch.as_ref());
                (instance.cnode(), scratch.map(Scratch::map))
            }
            Cap::Data(_) | Cap::Image(_) | Cap::Type(_) => (None, None),
        };
        table.into_iter().chain(aside)
    }

    /// Whether there is a map below this value that may hold anything.
    pub(crate) fn has_table(&self) -> bool {
        match self {
            Cap::CNode(cnode) => !cnode.is_empty(),
            Cap::Instance(instance) => instance.cnode().is_some(),
            Cap::Data(_) | Cap::Image(_) | Cap::Type(_) => false,
        }
    }

    /// The roots of the maps below this value, when nothing else holds the value.
    pub(crate) fn into_tables(self) -> impl Iterator<Item = Link> {
        let (table, aside) = match self {
            Cap::CNode(cnode) => (Some(cnode), None),
            Cap::Instance(instance) => match instance.into_body() {
                Some(Body::Program { cnode, status, .. }) => (Some(cnode), status.into_aside()),
                _ => (None, None),
            },
            Cap::Data(_) | Cap::Image(_) | Cap::Type(_) => (None, None),
        };
        table.into_iter().chain(aside).map(CNode::into_root)
    }
}

impl PartialEq for Cap {
    fn eq(&self, other: &Cap) -> bool {
        self.kind() == other.kind() && self.id() == other.id()
    }
}

impl Eq for Cap {}

impl fmt::Debug for Cap {
    /// The kind only: what lies below may be of any size, and is not hashed for this.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cap::{:?}", self.kind())
    }
}
