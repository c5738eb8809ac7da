//! Places in an Instance's table, and how a register names them.

use alloc::vec::Vec;

/// A path through CNodes: one to eight keys of 1 to 32 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path(Form);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// Up to seven one-byte keys, as the register holds them.
    Short(u64),
    /// SCALE `Vec<Key>`.
    Long(Vec<u8>),
}

/// Keys in the longest path.
const KEYS_MAX: u8 = 8;

impl Path {
    /// A slot of the Instance's own table.
    pub const fn slot(number: u8) -> Path {
        Path(Form::Short(number as u64))
    }

    /// The place under `key` in the CNode at this path.
    ///
    /// # Panics
    ///
    /// If the key is empty or over 32 bytes, or the path has eight keys already.
    pub fn child(&self, key: &[u8]) -> Path {
        if key.is_empty() || key.len() > 32 {
            panic!("a key has 1 to 32 bytes");
        }
        match &self.0 {
            Form::Short(register) => {
                let further = (register >> 56) as u8;
                if let [byte] = key
                    && further < 6
                {
                    let register = register & !(0xff << 56);
                    let at = 8 * (u32::from(further) + 1);
                    let count = u64::from(further + 1) << 56;
                    return Path(Form::Short(register | u64::from(*byte) << at | count));
                }
                let mut bytes = Vec::with_capacity(2 * usize::from(further) + 4 + key.len());
                bytes.push((further + 1) << 2);
                for one in &register.to_le_bytes()[..=usize::from(further)] {
                    bytes.extend_from_slice(&[1 << 2, *one]);
                }
                extend(bytes, key)
            }
            Form::Long(bytes) => extend(bytes.clone(), key),
        }
    }

    /// The register that names it; valid as long as the path lives.
    #[cfg_attr(not(target_arch = "riscv64"), allow(dead_code))]
    pub(crate) fn register(&self) -> u64 {
        match &self.0 {
            Form::Short(register) => *register,
            Form::Long(bytes) => {
                1 << 63 | (bytes.len() as u64) << 32 | (bytes.as_ptr() as u64 & 0xffff_ffff)
            }
        }
    }

    /// The keys, for the in-memory kernel.
    #[cfg(not(target_arch = "riscv64"))]
    pub(crate) fn keys(&self) -> Vec<Vec<u8>> {
        match &self.0 {
            Form::Short(register) => {
                let bytes = register.to_le_bytes();
                bytes[..=usize::from(bytes[7])]
                    .iter()
                    .map(|key| alloc::vec![*key])
                    .collect()
            }
            Form::Long(bytes) => {
                let mut rest = &bytes[1..];
                let mut keys = Vec::new();
                while let [len, tail @ ..] = rest {
                    let (key, tail) = tail.split_at(usize::from(len >> 2));
                    keys.push(key.to_vec());
                    rest = tail;
                }
                keys
            }
        }
    }
}

/// Adds a key to an encoded path.
fn extend(mut bytes: Vec<u8>, key: &[u8]) -> Path {
    let count = bytes[0] >> 2;
    if count >= KEYS_MAX {
        panic!("a path has at most eight keys");
    }
    bytes[0] = (count + 1) << 2;
    bytes.push((key.len() as u8) << 2);
    bytes.extend_from_slice(key);
    Path(Form::Long(bytes))
}

impl From<u8> for Path {
    fn from(number: u8) -> Path {
        Path::slot(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn short_paths_are_registers() {
        assert_eq!(Path::slot(5).register(), 5);
        let path = Path::slot(0x21).child(&[7]).child(&[9]);
        assert_eq!(path.register(), 0x0200_0000_0009_0721);
        assert_eq!(path.keys(), vec![vec![0x21], vec![7], vec![9]]);
    }

    #[test]
    fn long_paths_are_encoded() {
        let path = Path::slot(0x21).child(b"key").child(&[1]);
        let Form::Long(bytes) = &path.0 else {
            panic!("long")
        };
        assert_eq!(bytes, &[12, 4, 0x21, 12, b'k', b'e', b'y', 4, 1]);
        assert_eq!(path.register() >> 32, 1 << 31 | 9);
        assert_eq!(path.keys(), vec![vec![0x21], b"key".to_vec(), vec![1]]);
    }

    #[test]
    fn seven_one_byte_keys_are_short_and_the_eighth_is_not() {
        let mut path = Path::slot(1);
        for key in 2..=7 {
            path = path.child(&[key]);
        }
        assert_eq!(path.register(), 0x0607_0605_0403_0201);
        let path = path.child(&[8]);
        assert!(matches!(path.0, Form::Long(_)));
        assert_eq!(path.keys().len(), 8);
    }

    #[test]
    #[should_panic(expected = "at most eight keys")]
    fn nine_keys_are_refused() {
        let mut path = Path::slot(1);
        for key in 2..=9 {
            path = path.child(&[key]);
        }
    }
}
