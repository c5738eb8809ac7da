//! Keys of slots, and paths through nested CNodes.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::fmt;
use std::sync::OnceLock;

use parity_scale_codec::{Decode, Encode, EncodeLike, Input, Output};
use smallvec::SmallVec;

use crate::error::Error;
use crate::hash::{Hash, blake2b};

/// Hashes of all keys of one byte.
static SHORT_HASHES: OnceLock<[Hash; 256]> = OnceLock::new();

fn short_hashes() -> [Hash; 256] {
    std::array::from_fn(|byte| blake2b(&[&[byte as u8]]))
}

/// Longer keys whose hashes each thread that asks for one remembers, in 66 KiB.
const RECENT_LEN: usize = 1024;

thread_local! {
    /// Empty before the first one.
    static RECENT: RefCell<Vec<Option<(Key, Hash)>>> = const { RefCell::new(Vec::new()) };
}

/// Where among them a key has its place.
fn recent_place(key: &[u8; Key::LEN_MAX], len: u8) -> usize {
    let word = |at: usize| usize::from(u16::from_le_bytes([key[at], key[at + 1]]));
    let last = usize::from(len).saturating_sub(2);
    (word(0) ^ word(last).rotate_left(5)) % RECENT_LEN
}

/// The key of a slot: 1 to 32 bytes, ordered bytewise. SCALE: as a list of bytes.
#[derive(Clone, Copy)]
pub struct Key {
    len: u8,
    // Zero from `len` on.
    bytes: [u8; Key::LEN_MAX],
}

impl Key {
    /// Bytes in the longest key.
    pub const LEN_MAX: usize = 32;

    /// A key of 1 to 32 bytes.
    pub fn new(key: &[u8]) -> Result<Key, Error> {
        if key.is_empty() || key.len() > Key::LEN_MAX {
            return Err(Error::KeyLength(key.len()));
        }
        let mut bytes = [0; Key::LEN_MAX];
        bytes[..key.len()].copy_from_slice(key);
        Ok(Key {
            len: key.len() as u8,
            bytes,
        })
    }

    /// The key's bytes.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// H(key): where the entry sits in a trie. Remembered: a call asks for the same few keys
    /// again and again, and so do the calls of a block.
    pub fn hash(&self) -> Hash {
        match self.as_slice() {
            [byte] => SHORT_HASHES.get_or_init(short_hashes)[usize::from(*byte)],
            [_, _, ..] => RECENT.with_borrow_mut(|recent| {
                if recent.is_empty() {
                    recent.resize(RECENT_LEN, None);
                }
                let place = &mut recent[recent_place(&self.bytes, self.len)];
                match place {
                    Some((key, hash)) if key == self => *hash,
                    _ => place.insert((*self, blake2b(&[self.as_slice()]))).1,
                }
            }),
            [] => blake2b(&[]),
        }
    }
}

impl From<u8> for Key {
    #[inline]
    fn from(byte: u8) -> Key {
        let mut bytes = [0; Key::LEN_MAX];
        bytes[0] = byte;
        Key { len: 1, bytes }
    }
}

impl From<[u8; 32]> for Key {
    #[inline]
    fn from(bytes: [u8; 32]) -> Key {
        Key { len: 32, bytes }
    }
}

impl TryFrom<&[u8]> for Key {
    type Error = Error;
    fn try_from(bytes: &[u8]) -> Result<Key, Error> {
        Key::new(bytes)
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl PartialEq for Key {
    #[inline]
    fn eq(&self, other: &Key) -> bool {
        // Of one size, so without a call: behind their ends both are zero.
        self.len == other.len && self.bytes == other.bytes
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Key) -> Ordering {
        self.as_slice().cmp(other.as_slice())
    }
}

impl std::hash::Hash for Key {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        self.as_slice()
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Encode for Key {
    fn size_hint(&self) -> usize {
        1 + usize::from(self.len)
    }

    fn encode_to<T: Output + ?Sized>(&self, dest: &mut T) {
        self.as_slice().encode_to(dest);
    }
}

impl EncodeLike for Key {}

impl Decode for Key {
    fn decode<I: Input>(input: &mut I) -> Result<Key, parity_scale_codec::Error> {
        // A length up to 32 is one byte, its two low bits the compact mode 0.
        let len = input.read_byte()?;
        let count = usize::from(len >> 2);
        if len & 3 != 0 || count == 0 || count > Key::LEN_MAX {
            return Err("a key has 1 to 32 bytes".into());
        }
        let mut bytes = [0; Key::LEN_MAX];
        input.read(&mut bytes[..count])?;
        Ok(Key {
            len: count as u8,
            bytes,
        })
    }
}

/// 1 to 8 keys, each step through a CNode. SCALE: as a list of keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(SmallVec<[Key; 2]>);

impl Path {
    /// Keys in the longest path.
    pub const LEN_MAX: usize = 8;

    /// A path of 1 to 8 keys.
    pub fn new(keys: impl IntoIterator<Item = Key>) -> Result<Path, Error> {
        let keys: SmallVec<_> = keys.into_iter().collect();
        if keys.is_empty() || keys.len() > Path::LEN_MAX {
            return Err(Error::PathLength(keys.len()));
        }
        Ok(Path(keys))
    }

    /// The path of this SCALE, of which there is one for each path.
    pub fn from_scale(bytes: &[u8]) -> Option<Path> {
        let mut rest = bytes;
        let count = take_short_len(&mut rest, Path::LEN_MAX)?;
        let mut keys = SmallVec::new();
        for _ in 0..count {
            let len = take_short_len(&mut rest, Key::LEN_MAX)?;
            let key = rest.split_off(..len)?;
            keys.push(match (key, <[u8; Key::LEN_MAX]>::try_from(key)) {
                (_, Ok(whole)) => Key::from(whole),
                ([byte], _) => Key::from(*byte),
                _ => Key::new(key).ok()?,
            });
        }
        rest.is_empty().then_some(Path(keys))
    }

    /// The keys, the first one first.
    #[inline]
    pub fn keys(&self) -> &[Key] {
        &self.0
    }

    /// The first key and the others.
    #[inline]
    pub fn split_first(&self) -> (&Key, &[Key]) {
        // A path is never empty.
        (&self.0[0], &self.0[1..])
    }

    /// The path without its last key; `None` for a path of one.
    pub fn parent(&self) -> Option<Path> {
        let (_, parent) = self.0.split_last()?;
        (!parent.is_empty()).then(|| Path(parent.into()))
    }
}

/// A SCALE length of 1 to `max`, which is below 64: one byte, its two low bits the mode 0.
fn take_short_len(bytes: &mut &[u8], max: usize) -> Option<usize> {
    let len = *bytes.split_off_first()?;
    let count = usize::from(len >> 2);
    (len & 3 == 0 && (1..=max).contains(&count)).then_some(count)
}

impl From<[Key; 2]> for Path {
    #[inline]
    fn from(keys: [Key; 2]) -> Path {
        Path(SmallVec::from_buf(keys))
    }
}

impl From<Key> for Path {
    #[inline]
    fn from(key: Key) -> Path {
        let mut keys = SmallVec::new();
        keys.push(key);
        Path(keys)
    }
}

impl Encode for Path {
    fn encode_to<T: Output + ?Sized>(&self, dest: &mut T) {
        self.keys().encode_to(dest);
    }
}

impl EncodeLike for Path {}

impl Decode for Path {
    fn decode<I: Input>(input: &mut I) -> Result<Path, parity_scale_codec::Error> {
        let len = input.read_byte()?;
        let count = usize::from(len >> 2);
        if len & 3 != 0 || count == 0 || count > Path::LEN_MAX {
            return Err("a path has 1 to 8 keys".into());
        }
        (0..count)
            .map(|_| Key::decode(input))
            .collect::<Result<_, _>>()
            .map(Path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembered_hashes_are_those_of_the_keys() {
        let mut keys: Vec<Key> = (0..=255).map(Key::from).collect();
        // More than there are places.
        let pairs = (0..=255u8).flat_map(|byte| (0..16).map(move |other| [byte, other]));
        keys.extend(pairs.clone().map(|pair| Key::new(&pair).unwrap()));
        keys.extend(pairs.map(|[a, b]| Key::new(&[a, b, b, 0, a]).unwrap()));
        for key in keys.iter().chain(keys.iter().rev()) {
            assert_eq!(key.hash(), blake2b(&[key.as_slice()]));
        }
    }
    use crate::codec::decode_canonical;

    proptest::proptest! {
        #[test]
        fn paths_are_read_as_they_are_decoded(
            keys in proptest::collection::vec(proptest::collection::vec(0u8.., 0..34), 0..10),
            cut in 0usize..4,
            flip: Option<(proptest::sample::Index, u8)>,
        ) {
            let mut bytes = keys.encode();
            bytes.truncate(bytes.len().saturating_sub(cut.saturating_sub(2)));
            if let Some((at, with)) = flip.filter(|_| !bytes.is_empty()) {
                let at = at.index(bytes.len());
                bytes[at] ^= with;
            }
            proptest::prop_assert_eq!(
                Path::from_scale(&bytes),
                decode_canonical::<Path>(&bytes).ok()
            );
        }
    }

    #[test]
    fn key_lengths() {
        assert_eq!(Key::new(&[]), Err(Error::KeyLength(0)));
        assert_eq!(Key::new(&[1; 33]), Err(Error::KeyLength(33)));
        for len in 1..=32 {
            let bytes = vec![7; len];
            let key = Key::new(&bytes).unwrap();
            assert_eq!(key.as_ref(), bytes);
            assert_eq!(key.encode(), bytes.encode());
            assert_eq!(decode_canonical::<Key>(&bytes.encode()), Ok(key));
        }
        assert!(decode_canonical::<Key>(&vec![7u8; 33].encode()).is_err());
        assert!(decode_canonical::<Key>(&[0]).is_err());
    }

    #[test]
    fn keys_order_as_bytes() {
        let keys = [&[1u8][..], &[1, 0], &[1, 0, 0], &[1, 1], &[2]];
        for pair in keys.windows(2) {
            assert!(Key::new(pair[0]).unwrap() < Key::new(pair[1]).unwrap());
        }
        assert_ne!(Key::new(&[1]).unwrap(), Key::new(&[1, 0]).unwrap());
    }

    #[test]
    fn paths() {
        assert_eq!(Path::new(vec![]), Err(Error::PathLength(0)));
        assert!(Path::new(vec![Key::from(1); 9]).is_err());
        let path = Path::new(vec![Key::from(1), Key::from(2)]).unwrap();
        assert_eq!(path.encode(), vec![vec![1u8], vec![2]].encode());
        assert_eq!(decode_canonical::<Path>(&path.encode()), Ok(path.clone()));
        assert_eq!(path.parent(), Some(Path::from(Key::from(1))));
        assert_eq!(path.parent().unwrap().parent(), None);
        assert_eq!(Path::from_scale(&path.encode()), Some(path));
        assert!(decode_canonical::<Path>(&vec![vec![1u8]; 9].encode()).is_err());
        assert!(decode_canonical::<Path>(&[0]).is_err());
    }
}
