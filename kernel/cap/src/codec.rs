//! Canonical SCALE.

use parity_scale_codec::{Decode, DecodeLimit, Encode};

use crate::error::Error;

/// References (boxes, maps, lists) a value may nest: far above any type here, and low enough
/// for every stack.
const DECODE_DEPTH_MAX: u32 = 64;

/// Decodes a value and accepts it only if it encodes to the same bytes: shortest compacts,
/// sorted unique maps, nothing left over. Nesting is bounded.
pub fn decode_canonical<T: Decode + Encode>(bytes: &[u8]) -> Result<T, Error> {
    let value =
        T::decode_all_with_depth_limit(DECODE_DEPTH_MAX, &mut &*bytes).map_err(|error| {
            let message = error.to_string();
            let words: Vec<_> = message.split_whitespace().collect();
            Error::Decode(words.join(" "))
        })?;
    if value.encode() == bytes {
        Ok(value)
    } else {
        Err(Error::NotCanonical)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn only_canonical_bytes() {
        assert_eq!(decode_canonical::<Vec<u8>>(&[4, 9]), Ok(vec![9]));
        assert!(
            decode_canonical::<Vec<u8>>(&[4, 9, 0]).is_err(),
            "trailing byte"
        );
        assert!(
            decode_canonical::<Vec<u8>>(&[5, 0, 9]).is_err(),
            "long compact"
        );
        type Map = BTreeMap<u8, u8>;
        assert!(decode_canonical::<Map>(&[8, 1, 0, 2, 0]).is_ok());
        assert!(
            decode_canonical::<Map>(&[8, 2, 0, 1, 0]).is_err(),
            "unsorted"
        );
        assert!(decode_canonical::<Map>(&[8, 1, 0, 1, 0]).is_err(), "twice");
        assert!(decode_canonical::<bool>(&[2]).is_err());
    }
}
