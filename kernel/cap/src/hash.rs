//! Blake2b-256 and the one table of tags that keeps structures apart.

use blake2::{Blake2b, Digest, digest::consts::U32};

/// A blake2b-256 digest.
pub type Hash = [u8; 32];

/// The hash that stands for an empty trie, an absent page or an absent subtree.
pub const ZERO: Hash = [0; 32];

macro_rules! tags {
    ($($(#[$doc:meta])* $name:ident = $value:literal,)*) => {
        /// First byte of everything that is hashed as a structure; no two uses share one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Tag {
            $($(#[$doc])* $name = $value,)*
        }

        impl Tag {
            /// Every tag, ascending.
            pub const ALL: &'static [Tag] = &[$(Tag::$name,)*];

            /// The tag with this value, if there is one.
            pub const fn from_byte(byte: u8) -> Option<Tag> {
                match byte {
                    $($value => Some(Tag::$name),)*
                    _ => None,
                }
            }
        }
    };
}

tags! {
    /// A page: its bytes.
    PageLeaf = 0x01,
    /// A node of a page tree: left ‖ right.
    PageNode = 0x02,
    /// An entry of a trie: H(key) ‖ capability id.
    TrieLeaf = 0x03,
    /// A node of a trie: left ‖ right.
    TrieNode = 0x04,
    /// An Instance: type ‖ body hash.
    Instance = 0x10,
    /// A program body: Image id ‖ trie root ‖ SCALE(status).
    ProgramBody = 0x11,
    /// A native body: SCALE(state).
    NativeBody = 0x12,
    /// An Image: SCALE(image).
    Image = 0x20,
    /// A Data: length as u64 little-endian ‖ page root.
    Data = 0x30,
    /// A CNode: trie root.
    CNode = 0x40,
    /// A Type capability: the type.
    Type = 0x50,
    /// The type of an Instance made at genesis: Image id.
    GenesisType = 0x51,
    /// The type after `set_image`: type ‖ Image id.
    SetImageType = 0x52,
    /// The type given by `derive_spawn`: the spawner's type ‖ Image id.
    DerivedType = 0x53,
    /// The type of a native Instance: its name.
    NativeType = 0x54,
    /// The state root: id of the chain Instance.
    StateRoot = 0x60,
    /// A block hash: SCALE(header).
    Header = 0x70,
    /// A body root: SCALE(body).
    Body = 0x71,
    /// An event id: SCALE(endpoint, event).
    Event = 0x72,
    /// A leaf of the outcome tree: SCALE(outcome).
    OutcomeLeaf = 0x73,
    /// A node of the outcome tree: left ‖ right.
    OutcomeNode = 0x74,
    /// A chain's parameters.
    Params = 0x75,
    /// What is signed.
    Signed = 0x7f,
}

/// H: blake2b-256 of the parts one after the other, without a tag. Only keys and blobs are
/// hashed so.
pub fn blake2b(parts: &[&[u8]]) -> Hash {
    let mut hasher = Blake2b::<U32>::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// Structures that this thread has hashed: tests count them.
#[cfg(test)]
pub(crate) mod counted {
    use std::cell::Cell;

    thread_local! {
        pub(crate) static TAGGED: Cell<usize> = const { Cell::new(0) };
    }
}

/// H(tag ‖ parts).
pub fn tagged(tag: Tag, parts: &[&[u8]]) -> Hash {
    #[cfg(test)]
    counted::TAGGED.set(counted::TAGGED.get() + 1);
    let mut hasher = Blake2b::<U32>::new();
    hasher.update([tag as u8]);
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_distinct_and_found_by_value() {
        for pair in Tag::ALL.windows(2) {
            assert!((pair[0] as u8) < pair[1] as u8);
        }
        for byte in 0..=255u8 {
            let listed = Tag::ALL.iter().find(|tag| **tag as u8 == byte).copied();
            assert_eq!(Tag::from_byte(byte), listed);
        }
    }

    #[test]
    fn known_digest() {
        assert_eq!(
            hex::encode(blake2b(&[b"ab", b"c"])),
            "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319"
        );
        assert_eq!(tagged(Tag::Data, &[b"x"]), blake2b(&[&[0x30], b"x"]));
    }
}
