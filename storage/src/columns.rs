//! The columns of the database, each declared once with its key and value.

use jar_cap::{Hash, RecordId, decode_canonical};
use jar_kernel::block::{Body, Outcome, PublicKey};
use jar_kernel::{EventLocation, StoredHeader, Watermark};
use parity_scale_codec::{Decode, Encode};

/// A column family.
pub(crate) trait Column {
    /// Its name in the database.
    const NAME: &'static str;
    /// What an entry is found by.
    type Key: ColumnKey;
    /// What an entry holds.
    type Value;
    /// What tells a damaged value.
    type Guard: Guard<Self::Value>;
}

/// How a column is read; decides filters and block sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// By whole keys that may not be there.
    Point,
    /// By whole keys that nearly always are there.
    PointHit,
    /// By ranges of keys that start with the same 32 bytes.
    Prefix32,
}

/// A key as the database orders it.
pub(crate) trait ColumnKey: Sized {
    /// The key's bytes.
    fn pack(&self) -> Vec<u8>;
    /// The key of these bytes; `None` when there is none.
    fn unpack(bytes: &[u8]) -> Option<Self>;
}

/// How a value is written so that damage is seen.
pub(crate) trait Guard<V> {
    /// The bytes of an entry of a column.
    fn pack(column: &str, key: &[u8], value: &V) -> Vec<u8>;
    /// The value, or what is wrong with the bytes.
    fn unpack(column: &str, key: &[u8], bytes: &[u8]) -> Result<V, &'static str>;
}

macro_rules! columns {
    ($($(#[$doc:meta])* $name:ident = $text:literal: $key:ty => $value:ty, $guard:ty, $access:ident;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug)]
            pub(crate) enum $name {}

            impl Column for $name {
                const NAME: &'static str = $text;
                type Key = $key;
                type Value = $value;
                type Guard = $guard;
            }
        )*

        /// Every column with how it is read.
        pub(crate) const COLUMNS: &[(&str, Access)] = &[$(($text, Access::$access),)*];
    };
}

columns! {
    /// Headers with score and state by block hash.
    Headers = "headers": Hash => StoredHeader, Checksum, Point;
    /// Bodies by block hash.
    Bodies = "bodies": Hash => Body, Checksum, Point;
    /// Outcomes by block hash.
    Outcomes = "outcomes": Hash => Vec<Outcome>, Checksum, Point;
    /// Block hash by height, on the chain of the head.
    Canonical = "canonical": u64 => Hash, Checksum, Point;
    /// State records by tag and hash.
    Nodes = "nodes": RecordId => Vec<u8>, OwnId, PointHit;
    /// Where events were included; the key says all.
    Events = "events": EventKey => (), Checksum, Prefix32;
    /// Watermarks by genesis hash and key.
    Watermarks = "watermarks": WatermarkKey => Watermark, Checksum, Point;
    /// Aggregation slots by endpoint; nothing is written yet.
    #[cfg_attr(not(test), expect(dead_code, reason = "reserved in the schema"))]
    Slots = "slots": u8 => Vec<u8>, Checksum, Point;
    /// What there is one of.
    Meta = "meta": MetaKey => MetaValue, Checksum, Point;
}

/// The value's SCALE encoding and 8 bytes of a digest over column, key and value.
#[derive(Debug)]
pub(crate) enum Checksum {}

/// Bytes of a checksum.
const CHECKSUM_BYTES: usize = 8;

impl Checksum {
    fn of(column: &str, key: &[u8], value: &[u8]) -> [u8; CHECKSUM_BYTES] {
        // Keys of one column have one length, so only the name needs an end.
        let digest = jar_cap::hash::blake2b(&[column.as_bytes(), &[0], key, value]);
        let mut checksum = [0; CHECKSUM_BYTES];
        checksum.copy_from_slice(&digest[..CHECKSUM_BYTES]);
        checksum
    }
}

impl<V: Encode + Decode> Guard<V> for Checksum {
    fn pack(column: &str, key: &[u8], value: &V) -> Vec<u8> {
        let mut bytes = value.encode();
        let checksum = Checksum::of(column, key, &bytes);
        bytes.extend_from_slice(&checksum);
        bytes
    }

    fn unpack(column: &str, key: &[u8], bytes: &[u8]) -> Result<V, &'static str> {
        let (value, checksum) = bytes
            .split_last_chunk::<CHECKSUM_BYTES>()
            .ok_or("too short for a checksum")?;
        if Checksum::of(column, key, value) != *checksum {
            return Err("its checksum does not match");
        }
        decode_canonical(value).map_err(|_| "it does not decode")
    }
}

/// The bytes alone: whoever reads them verifies them against the key.
#[derive(Debug)]
pub(crate) enum OwnId {}

impl Guard<Vec<u8>> for OwnId {
    fn pack(_: &str, _: &[u8], value: &Vec<u8>) -> Vec<u8> {
        value.clone()
    }

    fn unpack(_: &str, _: &[u8], bytes: &[u8]) -> Result<Vec<u8>, &'static str> {
        Ok(bytes.to_vec())
    }
}

impl ColumnKey for Hash {
    fn pack(&self) -> Vec<u8> {
        self.to_vec()
    }

    fn unpack(bytes: &[u8]) -> Option<Hash> {
        bytes.try_into().ok()
    }
}

impl ColumnKey for RecordId {
    fn pack(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }

    fn unpack(bytes: &[u8]) -> Option<RecordId> {
        RecordId::from_bytes(bytes.try_into().ok()?)
    }
}

impl ColumnKey for u8 {
    fn pack(&self) -> Vec<u8> {
        vec![*self]
    }

    fn unpack(bytes: &[u8]) -> Option<u8> {
        bytes.try_into().ok().map(u8::from_be_bytes)
    }
}

/// Big-endian, so that heights are in order.
impl ColumnKey for u64 {
    fn pack(&self) -> Vec<u8> {
        self.to_be_bytes().to_vec()
    }

    fn unpack(bytes: &[u8]) -> Option<u64> {
        bytes.try_into().ok().map(u64::from_be_bytes)
    }
}

/// Event id ‖ block hash ‖ index, big-endian: one event may recur, even within a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EventKey {
    pub(crate) id: Hash,
    pub(crate) location: EventLocation,
}

impl ColumnKey for EventKey {
    fn pack(&self) -> Vec<u8> {
        let index = self.location.index.to_be_bytes();
        [&self.id[..], &self.location.block, &index].concat()
    }

    fn unpack(bytes: &[u8]) -> Option<EventKey> {
        let (id, rest) = bytes.split_first_chunk::<32>()?;
        let (block, index) = rest.split_first_chunk::<32>()?;
        Some(EventKey {
            id: *id,
            location: EventLocation {
                block: *block,
                index: u32::from_be_bytes(index.try_into().ok()?),
            },
        })
    }
}

/// Genesis hash ‖ public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WatermarkKey {
    pub(crate) genesis: Hash,
    pub(crate) key: PublicKey,
}

impl ColumnKey for WatermarkKey {
    fn pack(&self) -> Vec<u8> {
        [self.genesis, self.key].concat()
    }

    fn unpack(bytes: &[u8]) -> Option<WatermarkKey> {
        let (genesis, key) = bytes.split_first_chunk::<32>()?;
        Some(WatermarkKey {
            genesis: *genesis,
            key: key.try_into().ok()?,
        })
    }
}

/// The entries of [`Meta`]; the numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum MetaKey {
    /// [`crate::SCHEMA`] of the software that made the database.
    Schema = 0,
    /// Hash of the genesis block.
    Genesis = 1,
    /// Hash of the head.
    Head = 2,
    /// Hash of the last finalized block.
    Finalized = 3,
}

impl ColumnKey for MetaKey {
    fn pack(&self) -> Vec<u8> {
        vec![*self as u8]
    }

    fn unpack(bytes: &[u8]) -> Option<MetaKey> {
        match bytes {
            [0] => Some(MetaKey::Schema),
            [1] => Some(MetaKey::Genesis),
            [2] => Some(MetaKey::Head),
            [3] => Some(MetaKey::Finalized),
            _ => None,
        }
    }
}

/// A value of [`Meta`]. The encoding of a version number is the same in every schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum MetaValue {
    /// A version number.
    #[codec(index = 0)]
    Version(u32),
    /// A block hash.
    #[codec(index = 1)]
    Block(Hash),
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use jar_cap::hash::Tag;
    use jar_kernel::block::{Ending, Header};

    use super::*;

    /// What the database holds of an entry, as hex, after checking that it reads back.
    fn entry<C: Column>(key: C::Key, value: C::Value) -> String
    where
        C::Value: PartialEq + Debug,
    {
        let key = key.pack();
        let bytes = C::Guard::pack(C::NAME, &key, &value);
        assert_eq!(C::Guard::unpack(C::NAME, &key, &bytes), Ok(value));
        assert_eq!(C::Key::unpack(&key).map(|k| k.pack()), Some(key.clone()));
        assert!(C::Key::unpack(&[]).is_none());
        jar_kernel::hex(&[key, bytes].concat())
    }

    fn digest<C: Column>(key: C::Key, value: C::Value) -> String
    where
        C::Value: PartialEq + Debug,
    {
        jar_kernel::hex(&jar_cap::hash::blake2b(&[entry::<C>(key, value).as_bytes()])[..8])
    }

    #[test]
    fn formats_are_as_released() {
        let header = StoredHeader {
            header: Header {
                genesis: [1; 32],
                parent: [2; 32],
                height: 3,
                slot: 4,
                body_root: [5; 32],
                state_root: [6; 32],
                outcome_root: [7; 32],
            },
            score: 8,
            instance: [9; 32],
        };
        let outcome = Outcome {
            ending: Ending::Halted(0),
            gas_used: 5,
            records: Vec::new(),
        };
        let event = EventKey {
            id: [1; 32],
            location: EventLocation {
                block: [2; 32],
                index: 3,
            },
        };
        let watermark = Watermark {
            seal_slot: Some(1),
            vote: Some((2, 3)),
        };
        let watermark_key = WatermarkKey {
            genesis: [1; 32],
            key: [2; 32],
        };
        let record = RecordId::new(Tag::PageLeaf, [7; 32]);
        let found = [
            digest::<Headers>([1; 32], header),
            digest::<Bodies>([1; 32], Body::default()),
            digest::<Outcomes>([1; 32], vec![outcome]),
            digest::<Nodes>(record, b"page".to_vec()),
            digest::<Events>(event, ()),
            digest::<Watermarks>(watermark_key, watermark),
            digest::<Slots>(1, b"reserved".to_vec()),
            digest::<Meta>(MetaKey::Head, MetaValue::Block([1; 32])),
            entry::<Canonical>(258, [1; 32]),
            entry::<Meta>(MetaKey::Schema, MetaValue::Version(1)),
        ];
        let expected = [
            "7ab7edc1f7e4447c",
            "5365fab134c4d241",
            "9b4b2876aa460d4d",
            "2120efb9fb87aeb6",
            "e2402e89360fa44e",
            "777cd8e47346c8db",
            "5844c581fc4dd333",
            "f81204fe256c1435",
            "00000000000001020101010101010101010101010101010101010101010101010101010101010101ae410ae9c4c4bdf7",
            "000001000000dc83147b572bdbe0",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let key = 7u64.pack();
        let bytes = <Checksum as Guard<Hash>>::pack(Canonical::NAME, &key, &[3; 32]);
        let read = |key: &[u8], bytes: &[u8]| -> Result<Hash, _> {
            Checksum::unpack(Canonical::NAME, key, bytes)
        };
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&key, &flipped).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(read(&key, &bytes[..len]).is_err(), "length {len}");
        }
        assert!(read(&8u64.pack(), &bytes).is_err(), "under another key");
        let elsewhere: Result<Hash, _> = Checksum::unpack(Headers::NAME, &key, &bytes);
        assert!(elsewhere.is_err(), "in another column");
    }
}
