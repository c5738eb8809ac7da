//! An instruction with its operands, and how it is decoded.

use crate::REGISTERS;
use crate::table::{Format, Opcode, Operands};

/// The most bytes an instruction has behind its opcode byte.
pub const MAX_SKIP: u32 = 24;

/// A decoded instruction. Fields the format lacks are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Instruction {
    /// What it does.
    pub opcode: Opcode,
    /// Register A, 0..=12.
    pub ra: u8,
    /// Register B, 0..=12.
    pub rb: u8,
    /// Register D, 0..=12.
    pub rd: u8,
    /// νX, sign-extended; an offset is relative to the instruction's own pc.
    pub x: u64,
    /// νY, as νX.
    pub y: u64,
}

impl From<Opcode> for Instruction {
    /// The instruction with all operands 0.
    fn from(opcode: Opcode) -> Self {
        Instruction {
            opcode,
            ra: 0,
            rb: 0,
            rd: 0,
            x: 0,
            y: 0,
        }
    }
}

/// Longest window of bytes the decoder looks at.
const WINDOW: usize = 16;

/// The bytes from `pc` on, zero-extended past the end of the code.
#[inline]
fn window(code: &[u8], pc: usize) -> [u8; WINDOW] {
    if let Some(bytes) = code.get(pc..).and_then(|rest| rest.first_chunk::<WINDOW>()) {
        return *bytes;
    }
    let mut bytes = [0; WINDOW];
    let rest = code.get(pc..).unwrap_or_default();
    bytes[..rest.len()].copy_from_slice(rest);
    bytes
}

/// `len` (0..=4) little-endian bytes at `at`, sign-extended.
#[inline]
fn immediate(bytes: &[u8; WINDOW], at: usize, len: usize) -> u64 {
    if len == 0 {
        return 0;
    }
    let word = u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let shift = 32 - 8 * len as u32;
    (((word << shift) as i32) >> shift) as i64 as u64
}

#[inline]
fn register(number: u8) -> u8 {
    number.min(REGISTERS as u8 - 1)
}

/// Two immediates: the first of `len_x` bytes at `at`, the second of what
/// `operand_len` (bytes behind the opcode) leaves.
#[inline]
fn immediates(bytes: &[u8; WINDOW], at: usize, len_x: u8, operand_len: usize) -> (u64, u64) {
    let len_x = usize::from(len_x).min(4);
    let len_y = operand_len.saturating_sub(len_x + at - 1).min(4);
    (
        immediate(bytes, at, len_x),
        immediate(bytes, at + len_x, len_y),
    )
}

impl Instruction {
    /// Decodes the instruction at `pc` with `skip` bytes behind its opcode byte.
    ///
    /// Total: bytes past the end of `code` read as 0, register numbers are
    /// clamped at 12, an unknown opcode gives `trap`. The caller knows whether
    /// `pc` is an instruction start.
    #[inline]
    pub fn decode(code: &[u8], pc: u32, skip: u32) -> Instruction {
        let bytes = window(code, pc as usize);
        let Some(opcode) = Opcode::from_byte(bytes[0]) else {
            return Opcode::Trap.into();
        };
        let len = skip as usize;
        let (low, high) = (bytes[1] & 15, bytes[1] >> 4);
        let mut out = Instruction::from(opcode);
        match opcode.format() {
            Format::N => {}
            Format::I | Format::O => out.x = immediate(&bytes, 1, len.min(4)),
            Format::RX => {
                out.ra = register(low);
                out.x = bytes[2..10]
                    .iter()
                    .rev()
                    .fold(0, |x, byte| x << 8 | u64::from(*byte));
            }
            Format::II => (out.x, out.y) = immediates(&bytes, 2, bytes[1] & 7, len),
            Format::RI => {
                out.ra = register(low);
                out.x = immediate(&bytes, 2, len.saturating_sub(1).min(4));
            }
            Format::RII | Format::RIO => {
                out.ra = register(low);
                (out.x, out.y) = immediates(&bytes, 2, high & 7, len);
            }
            Format::RR => (out.rd, out.ra) = (register(low), register(high)),
            Format::RRI | Format::RRO => {
                (out.ra, out.rb) = (register(low), register(high));
                out.x = immediate(&bytes, 2, len.saturating_sub(1).min(4));
            }
            Format::RRII => {
                (out.ra, out.rb) = (register(low), register(high));
                (out.x, out.y) = immediates(&bytes, 3, bytes[2] & 7, len);
            }
            Format::RRR => {
                (out.ra, out.rb) = (register(low), register(high));
                out.rd = register(bytes[2]);
            }
        }
        out
    }

    /// The offset of a jump or branch from its own pc, in bytes.
    pub fn offset(&self) -> Option<i64> {
        match self.opcode.format() {
            Format::O | Format::RRO => Some(self.x as i64),
            Format::RIO => Some(self.y as i64),
            _ => None,
        }
    }

    /// Where a jump or branch at `pc` leads; may lie outside of any code.
    pub fn target(&self, pc: u32) -> Option<i64> {
        self.offset().map(|offset| i64::from(pc) + offset)
    }

    /// Registers read, as a bit set.
    #[inline]
    pub fn sources(&self) -> u16 {
        match self.opcode.operands() {
            Operands::None | Operands::ToA => 0,
            Operands::A | Operands::AToD => 1 << self.ra,
            Operands::BToA => 1 << self.rb,
            Operands::AB | Operands::ABToD => 1 << self.ra | 1 << self.rb,
        }
    }

    /// The register written.
    #[inline]
    pub fn destination(&self) -> Option<u8> {
        match self.opcode.operands() {
            Operands::None | Operands::A | Operands::AB => None,
            Operands::ToA | Operands::BToA => Some(self.ra),
            Operands::AToD | Operands::ABToD => Some(self.rd),
        }
    }
}

/// Bytes between the instruction at `pc` and the next instruction start: at
/// most [`MAX_SKIP`]; the end of the code counts as a start.
///
/// `bitmask` has one bit per code byte, least significant first.
#[inline]
pub fn skip(bitmask: &[u8], code_len: u32, pc: u32) -> u32 {
    let first = pc.saturating_add(1);
    if first >= code_len {
        return 0;
    }
    let available = bitmask.get((first / 8) as usize..).unwrap_or_default();
    let word = match available.first_chunk() {
        Some(bits) => u64::from_le_bytes(*bits),
        None => available
            .iter()
            .rfold(0, |word, bits| word << 8 | u64::from(*bits)),
    };
    (word >> (first % 8))
        .trailing_zeros()
        .min(code_len - first)
        .min(MAX_SKIP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skip_stops_at_starts_ends_and_the_limit() {
        assert_eq!(skip(&[0b1001], 4, 0), 2);
        assert_eq!(skip(&[0b0001], 4, 0), 3);
        assert_eq!(skip(&[0b1111], 4, 2), 0);
        assert_eq!(skip(&[0b1111], 4, 3), 0);
        assert_eq!(skip(&[1, 0, 0, 0, 0], 40, 0), 24);
        assert_eq!(skip(&[1, 0, 0, 2, 0], 40, 0), 24);
        assert_eq!(skip(&[1, 0, 0, 1, 0], 40, 0), 23);
        assert_eq!(skip(&[0x80, 0, 0, 0, 1], 40, 7), 24);
        assert_eq!(skip(&[], 4, 0), 3);
        assert_eq!(skip(&[0xff], 8, u32::MAX), 0);
    }

    #[test]
    fn register_numbers_are_clamped() {
        let rrr = Instruction::decode(&[200, 0xfd, 0x13], 0, 2);
        assert_eq!((rrr.ra, rrr.rb, rrr.rd), (12, 12, 12));
        let rr = Instruction::decode(&[100, 0x3e], 0, 1);
        assert_eq!((rr.ra, rr.rd), (3, 12));
    }

    #[test]
    fn immediates_follow_the_length() {
        let decode = |code: &[u8]| Instruction::decode(code, 0, code.len() as u32 - 1);
        assert_eq!(decode(&[10]).x, 0);
        assert_eq!(decode(&[10, 0xff]).x, u64::MAX);
        assert_eq!(decode(&[10, 0xff, 0]).x, 0xff);
        assert_eq!(decode(&[10, 1, 2, 3, 0x84, 5]).x, 0xffff_ffff_8403_0201);
        // The length nibble may claim more bytes than the instruction has.
        let store = Instruction::decode(&[30, 7, 1, 2, 3, 4, 5], 0, 2);
        assert_eq!((store.x, store.y), (0x0403_0201, 0));
        let imm64 = Instruction::decode(&[20, 1, 1, 2, 3, 4, 5, 6, 7, 8], 0, 0);
        assert_eq!(imm64.x, 0x0807_0605_0403_0201);
    }

    #[test]
    fn code_past_its_end_reads_as_zero() {
        assert_eq!(Instruction::decode(&[1], 1, 0), Opcode::Trap.into());
        assert_eq!(Instruction::decode(&[1], u32::MAX, 24), Opcode::Trap.into());
        let cut = Instruction::decode(&[200, 0x21], 0, 0);
        assert_eq!((cut.ra, cut.rb, cut.rd), (1, 2, 0));
        assert_eq!(Instruction::decode(&[4, 1], 0, 1), Opcode::Trap.into());
    }
}
