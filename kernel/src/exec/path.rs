//! Paths as guests give them in a register.

use jar_abi::Status;
use jar_cap::{Key, Path};

use crate::exec::Stop;
use crate::exec::run::Execution;

/// Encoded bytes of the longest path: eight keys of 32 bytes with their lengths.
const ENCODED_LEN_MAX: u32 = 1 + 8 * 33;
/// Encoded bytes of most paths at the most: two keys.
const ENCODED_LEN_COMMON: u32 = 1 + 2 * 33;

impl Execution<'_, '_> {
    /// Reads the path in `register`.
    ///
    /// Bit 63 clear: byte 0 is the first key, byte 7 the number of further one-byte keys.
    /// Bit 63 set: bits 0..31 address and bits 32..62 length of a SCALE `Vec<Key>`.
    pub(super) fn read_path(&mut self, register: u64) -> Result<Path, Stop> {
        if register >> 63 == 0 {
            return short_path(register).ok_or(Stop::Status(Status::Invalid));
        }
        let address = register as u32;
        let len = (register >> 32) as u32 & 0x7fff_ffff;
        if len > ENCODED_LEN_MAX {
            return Err(Status::Invalid.into());
        }
        if len > ENCODED_LEN_COMMON {
            return self.read_scale::<{ ENCODED_LEN_MAX as usize }>(address, len);
        }
        self.read_scale::<{ ENCODED_LEN_COMMON as usize }>(address, len)
    }

    /// Reads a path of `len` bytes, `MAX` at the most.
    fn read_scale<const MAX: usize>(&mut self, address: u32, len: u32) -> Result<Path, Stop> {
        let mut bytes = [0; MAX];
        let bytes = &mut bytes[..len as usize];
        self.read_memory(address, bytes)?;
        Path::from_scale(bytes).ok_or(Status::Invalid.into())
    }
}

fn short_path(register: u64) -> Option<Path> {
    if let Ok(slot) = u8::try_from(register) {
        return Some(Key::from(slot).into());
    }
    let bytes = register.to_le_bytes();
    let further = usize::from(bytes[7]);
    if further > 6 || bytes[1 + further..7].iter().any(|byte| *byte != 0) {
        return None;
    }
    let keys = bytes[..=further].iter().map(|byte| Key::from(*byte));
    Path::new(keys).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(register: u64) -> Option<Vec<Vec<u8>>> {
        short_path(register).map(|path| path.keys().iter().map(|k| k.as_slice().to_vec()).collect())
    }

    #[test]
    fn short_paths() {
        assert_eq!(keys(5), Some(vec![vec![5]]));
        assert_eq!(keys(0), Some(vec![vec![0]]));
        assert_eq!(
            keys(0x0200_0000_0003_0201),
            Some(vec![vec![1], vec![2], vec![3]])
        );
        assert_eq!(keys(0x0607_0605_0403_0201).map(|k| k.len()), Some(7));
        assert_eq!(
            keys(0x0707_0605_0403_0201),
            None,
            "at most six further keys"
        );
        assert_eq!(keys(0x0000_0000_0000_0201), None, "unused bytes are zero");
    }
}
