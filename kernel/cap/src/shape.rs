//! The branches of one trie record, packed.

use crate::record::Reason;

/// What a side of a branch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Empty,
    Leaf,
    Branch,
}

/// The sides of a branch that has two or more entries; the index is its code.
const SIDES: [[Side; 2]; 6] = [
    [Side::Branch, Side::Branch],
    [Side::Leaf, Side::Leaf],
    [Side::Leaf, Side::Branch],
    [Side::Branch, Side::Leaf],
    [Side::Empty, Side::Branch],
    [Side::Branch, Side::Empty],
];

/// Bits of the longest code.
const CODE_BITS: u32 = 4;

/// A sequence of branches. Two branches below one, most there are, are the bit 0; the other
/// pairs are 1 and three bits of their code; zeros fill the last byte.
#[derive(Default)]
pub(crate) struct Shape {
    /// From the highest bit on.
    bits: u64,
    len: u32,
}

impl Shape {
    /// Branches there is room for.
    pub(crate) const BRANCHES_MAX: u32 = u64::BITS / CODE_BITS;

    /// Adds a branch; not for one of less than two entries, nor for more than fit.
    pub(crate) fn push(&mut self, sides: [Side; 2]) {
        let code = SIDES.iter().position(|known| *known == sides);
        let (code, bits) = match code.unwrap_or_default() as u64 {
            0 => (0, 1),
            code => (0b1000 | code, CODE_BITS),
        };
        self.len += bits;
        self.bits |= code << (u64::BITS - self.len);
    }

    /// Adds the bytes.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let bytes = self.len.div_ceil(8) as usize;
        out.extend_from_slice(&self.bits.to_be_bytes()[..bytes]);
    }

    /// The sequence that `input` starts with. Its length is known when it is taken apart; until
    /// then nothing of `input` counts as read.
    pub(crate) fn peek(input: &[u8]) -> Shape {
        let mut bytes = [0; 8];
        let count = input.len().min(bytes.len());
        bytes[..count].copy_from_slice(&input[..count]);
        Shape {
            bits: u64::from_be_bytes(bytes),
            len: 0,
        }
    }

    /// The next branch.
    pub(crate) fn next(&mut self) -> Result<[Side; 2], Reason> {
        let rest = self.bits.checked_shl(self.len).unwrap_or_default();
        let (code, bits) = match rest >> (u64::BITS - CODE_BITS) {
            0..8 => (0, 1),
            code => (code & 7, CODE_BITS),
        };
        self.len += bits;
        if code == 0 && bits != 1 {
            return Err("a branch of two branches in long form");
        }
        let sides = SIDES.get(code as usize).copied();
        sides.ok_or("a branch of unknown sides")
    }

    /// Bytes taken apart; zeros must fill the last one.
    pub(crate) fn end(&self) -> Result<usize, Reason> {
        let bytes = self.len.div_ceil(8);
        let fill = self.bits.checked_shl(self.len).unwrap_or_default();
        let fill = fill >> (u64::BITS - 8) >> (8 - (bytes * 8 - self.len));
        if self.len > u64::BITS || fill != 0 {
            return Err("bits behind the branches");
        }
        Ok(bytes as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(branches: &[[Side; 2]]) -> Vec<u8> {
        let (mut shape, mut out) = (Shape::default(), Vec::new());
        branches.iter().for_each(|sides| shape.push(*sides));
        shape.write(&mut out);
        out
    }

    fn unpacked(bytes: &[u8], count: usize) -> Result<(Vec<[Side; 2]>, usize), Reason> {
        let mut shape = Shape::peek(bytes);
        let branches = (0..count).map(|_| shape.next()).collect::<Result<_, _>>()?;
        Ok((branches, shape.end()?))
    }

    #[test]
    fn three_full_branches_are_three_bits() {
        assert_eq!(packed(&[SIDES[0]; 3]), [0]);
        assert_eq!(
            packed(&[SIDES[0], SIDES[1], SIDES[5]]),
            [0b0100_1110, 0b1000_0000]
        );
    }

    #[test]
    fn every_sequence_comes_back() {
        for count in 1..=Shape::BRANCHES_MAX as usize {
            for first in 0..SIDES.len() {
                let branches: Vec<_> = (0..count).map(|at| SIDES[(first + at) % 6]).collect();
                let mut bytes = packed(&branches);
                let len = bytes.len();
                assert_eq!(unpacked(&bytes, count), Ok((branches.clone(), len)));
                bytes.push(0xff);
                assert_eq!(unpacked(&bytes, count), Ok((branches, len)));
            }
        }
        let full = [SIDES[5]; Shape::BRANCHES_MAX as usize];
        assert_eq!(packed(&full).len(), 8);
    }

    #[test]
    fn no_two_bytes_are_one_sequence() {
        for byte in 0..=255u8 {
            for count in 1..=8 {
                if let Ok((branches, 1)) = unpacked(&[byte], count) {
                    assert_eq!(packed(&branches), [byte]);
                }
            }
        }
        for bad in [0b1000_0000, 0b1110_0000, 0b1111_0000] {
            assert!(unpacked(&[bad], 1).is_err(), "{bad:b}");
        }
        assert!(unpacked(&[0b0000_0001], 3).is_err());
    }
}
