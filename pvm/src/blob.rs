//! The Gray Paper's byte form of a program:
//! `E(|j|) E1(z) E(|c|) E_z(j) c k` (appendix A, 0.7 series).

use crate::error::Error;
use crate::program::{MAX_CODE_LEN, MAX_JUMP_TABLE_LEN, Program};

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let (bytes, rest) = self
            .0
            .split_at_checked(len)
            .ok_or(Error::Blob("cut short"))?;
        self.0 = rest;
        Ok(bytes)
    }

    fn little_endian(&mut self, len: usize) -> Result<u64, Error> {
        let bytes = self.bytes(len)?;
        Ok(bytes
            .iter()
            .rev()
            .fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    /// A variable-length natural: as many low bytes follow the first byte as it
    /// has leading ones; its remaining bits are the highest. Only the shortest
    /// form counts.
    fn natural(&mut self) -> Result<u64, Error> {
        let first = self.bytes(1)?[0];
        let extra = first.leading_ones();
        let low = self.little_endian(extra as usize)?;
        let high = match extra {
            8 => 0,
            _ => (u64::from(first) & (0x7f >> extra)) << (8 * extra),
        };
        let value = high | low;
        if extra > 0 && value >> (7 * extra) == 0 {
            return Err(Error::Blob("number not in its shortest form"));
        }
        Ok(value)
    }
}

fn put_natural(out: &mut Vec<u8>, value: u64) {
    let extra = (0..8)
        .find(|extra| value >> (7 * (extra + 1)) == 0)
        .unwrap_or(8u32);
    let high = if extra == 8 { 0 } else { value >> (8 * extra) };
    out.push(!(0xffu32 >> extra) as u8 | high as u8);
    out.extend_from_slice(&value.to_le_bytes()[..extra as usize]);
}

/// `value` as a length, if it is within `limit`.
fn bounded(value: u64, limit: usize, error: fn(u64) -> Error) -> Result<usize, Error> {
    usize::try_from(value)
        .ok()
        .filter(|len| *len <= limit)
        .ok_or(error(value))
}

impl Program {
    /// Reads the byte form. Nothing is allocated beyond the blob's own length
    /// times a constant, whatever lengths it claims.
    pub fn from_blob(blob: &[u8]) -> Result<Program, Error> {
        let mut reader = Reader(blob);
        let entries = bounded(
            reader.natural()?,
            MAX_JUMP_TABLE_LEN,
            Error::JumpTableTooLong,
        )?;
        let entry_len = usize::from(reader.bytes(1)?[0]);
        if entry_len > 4 || (entry_len == 0 && entries > 0) {
            return Err(Error::Blob("jump table entries must have 1 to 4 bytes"));
        }
        let code_len = bounded(reader.natural()?, MAX_CODE_LEN, Error::CodeTooLong)?;
        let table = reader.bytes(entries * entry_len)?;
        let mut jump_table = Vec::with_capacity(entries);
        if entry_len > 0 {
            for entry in table.chunks_exact(entry_len) {
                let mut word = [0; 4];
                word[..entry_len].copy_from_slice(entry);
                jump_table.push(u32::from_le_bytes(word));
            }
        }
        let code = reader.bytes(code_len)?.to_vec();
        let bitmask = reader.bytes(code_len.div_ceil(8))?.to_vec();
        if !reader.0.is_empty() {
            return Err(Error::Blob("bytes left over"));
        }
        Program::new(code, bitmask, jump_table)
    }

    /// The byte form, with the smallest entry size that holds the jump table.
    pub fn to_blob(&self) -> Vec<u8> {
        let widest = self.jump_table().iter().max().copied();
        let entry_len = widest.map_or(0, |w| (32 - w.leading_zeros()).div_ceil(8).max(1)) as usize;
        let mut out = Vec::new();
        put_natural(&mut out, self.jump_table().len() as u64);
        out.push(entry_len as u8);
        put_natural(&mut out, self.code().len() as u64);
        for entry in self.jump_table() {
            out.extend_from_slice(&entry.to_le_bytes()[..entry_len]);
        }
        out.extend_from_slice(self.code());
        out.extend_from_slice(self.bitmask());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn naturals_round_trip_in_the_shortest_form() {
        for value in (0..64)
            .flat_map(|s| [(1u64 << s) - 1, 1 << s, (1 << s) + 1])
            .chain([u64::MAX])
        {
            let mut out = vec![];
            put_natural(&mut out, value);
            let mut reader = Reader(&out);
            assert_eq!(reader.natural(), Ok(value));
            assert!(reader.0.is_empty());
        }
        let mut out = vec![];
        put_natural(&mut out, 128);
        assert_eq!(out, [0x80, 0x80]);
        assert!(Reader(&[0x80, 0x7f]).natural().is_err());
        assert!(Reader(&[0xff, 0, 0, 0, 0, 0, 0, 0, 0]).natural().is_err());
    }

    #[test]
    fn malformed_blobs_are_refused() {
        let good = [1, 1, 2, 0, 1, 0, 3];
        let program = Program::from_blob(&good).unwrap();
        assert_eq!(
            (program.code(), program.jump_table()),
            (&[1u8, 0][..], &[0u32][..])
        );
        assert_eq!(program.to_blob(), good);
        for len in 0..good.len() {
            assert_eq!(
                Program::from_blob(&good[..len]),
                Err(Error::Blob("cut short"))
            );
        }
        let left_over = [&good[..], &[0]].concat();
        assert_eq!(
            Program::from_blob(&left_over),
            Err(Error::Blob("bytes left over"))
        );
        // A table of 2^32 empty entries, of 5-byte entries, of more than there is.
        assert!(Program::from_blob(&[0xf0, 0, 0, 0, 1, 0, 1, 0, 1]).is_err());
        assert!(Program::from_blob(&[5, 0, 1, 0, 1]).is_err());
        assert!(Program::from_blob(&[1, 5, 1, 0, 0, 0, 0, 0, 0, 1]).is_err());
        assert!(Program::from_blob(&[0xff; 18]).is_err());
        let long = [0, 0, 0xe0, 1, 0, 0x40, 0, 1];
        assert_eq!(
            Program::from_blob(&long),
            Err(Error::CodeTooLong(0x40_0001))
        );
    }

    #[test]
    fn entry_size_follows_the_table() {
        for (entry, size) in [(0, 1), (255, 1), (256, 2), (1 << 16, 3), (u32::MAX, 4)] {
            let program = Program::new(vec![0], vec![1], vec![entry, 0]).unwrap();
            let blob = program.to_blob();
            assert_eq!(blob[1], size);
            assert_eq!(Program::from_blob(&blob), Ok(program));
        }
    }
}
