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

/// The bytes from `pc` on, zero-extended past the end of the code: what
/// [`Instruction::decode_as`] takes.
#[inline(always)]
pub fn window(code: &[u8], pc: usize) -> u128 {
    if let Some(bytes) = code.get(pc..).and_then(|rest| rest.first_chunk::<WINDOW>()) {
        return u128::from_le_bytes(*bytes);
    }
    let mut bytes = [0; WINDOW];
    let rest = code.get(pc..).unwrap_or_default();
    bytes[..rest.len()].copy_from_slice(rest);
    u128::from_le_bytes(bytes)
}

/// Some bits of the bytes behind the opcode.
#[derive(Clone, Copy)]
struct Bits {
    shift: u8,
    mask: u8,
}

impl Bits {
    const NONE: Bits = Bits::of(0, 0);
    const LOW: Bits = Bits::of(0, 15);
    const HIGH: Bits = Bits::of(4, 15);
    /// A byte of its own.
    const SECOND: Bits = Bits::of(8, 255);

    const fn of(shift: u8, mask: u8) -> Bits {
        Bits { shift, mask }
    }

    #[inline(always)]
    fn of_word(self, word: u64) -> u8 {
        (word >> (self.shift & 63)) as u8 & self.mask
    }

    #[inline(always)]
    fn register(self, word: u64) -> u8 {
        self.of_word(word).min(REGISTERS as u8 - 1)
    }
}

/// How operands stand behind their opcode.
#[derive(Clone, Copy)]
struct Layout {
    a: Bits,
    b: Bits,
    d: Bits,
    /// Bytes before the immediates.
    before: u8,
    /// The length of νX where νY follows.
    len_x: Bits,
    has_x: bool,
    has_y: bool,
    /// νX has 8 bytes.
    is_wide: bool,
}

const fn layout(format: Format) -> Layout {
    let none = Layout {
        a: Bits::NONE,
        b: Bits::NONE,
        d: Bits::NONE,
        before: 0,
        len_x: Bits::NONE,
        has_x: false,
        has_y: false,
        is_wide: false,
    };
    let one = Layout {
        has_x: true,
        ..none
    };
    let two = Layout { has_y: true, ..one };
    let (a, b) = (Bits::LOW, Bits::HIGH);
    match format {
        Format::N => none,
        Format::I | Format::O => one,
        Format::RX => Layout {
            a,
            before: 1,
            is_wide: true,
            ..none
        },
        Format::II => Layout {
            before: 1,
            len_x: Bits::of(0, 7),
            ..two
        },
        Format::RI => Layout {
            a,
            before: 1,
            ..one
        },
        Format::RII | Format::RIO => Layout {
            a,
            before: 1,
            len_x: Bits::of(4, 7),
            ..two
        },
        Format::RR => Layout {
            a: Bits::HIGH,
            d: Bits::LOW,
            ..none
        },
        Format::RRI | Format::RRO => Layout {
            a,
            b,
            before: 1,
            ..one
        },
        Format::RRII => Layout {
            a,
            b,
            before: 2,
            len_x: Bits::of(8, 7),
            ..two
        },
        Format::RRR => Layout {
            a,
            b,
            d: Bits::SECOND,
            ..none
        },
    }
}

/// By opcode byte; `trap` where there is no opcode.
static OPCODES: [(Opcode, Format); 256] = {
    let mut opcodes = [(Opcode::Trap, Format::N); 256];
    let mut index = 0;
    while index < Opcode::ALL.len() {
        let opcode = Opcode::ALL[index];
        opcodes[opcode as usize] = (opcode, opcode.format());
        index += 1;
    }
    opcodes
};

/// The low `len` (0..=4) bytes, sign-extended.
#[inline(always)]
fn immediate(bytes: u32, len: u32) -> u64 {
    let unused = 32 - 8 * len;
    let high = (u64::from(bytes) << unused) as i32;
    (i64::from(high) >> unused) as u64
}

impl Instruction {
    /// Decodes the instruction at `pc` with `skip` bytes behind its opcode byte.
    ///
    /// Total: bytes past the end of `code` read as 0, register numbers are
    /// clamped at 12, an unknown opcode gives `trap`. The caller knows whether
    /// `pc` is an instruction start.
    #[inline]
    pub fn decode(code: &[u8], pc: u32, skip: u32) -> Instruction {
        Instruction::decode_bytes(window(code, pc as usize), skip)
    }

    /// As [`Self::decode`]: `bytes` are those from the instruction's first on, by [`window`].
    #[inline]
    pub fn decode_bytes(bytes: u128, skip: u32) -> Instruction {
        let (opcode, format) = OPCODES[bytes as usize % 256];
        macro_rules! by_format {
            ($($format:ident)+) => {
                match format {
                    $(Format::$format => {
                        let layout = const { layout(Format::$format) };
                        Instruction::decode_with(opcode, layout, bytes, skip)
                    })+
                }
            };
        }
        by_format!(N I RX II O RI RII RIO RR RRI RRO RRII RRR)
    }

    /// As [`Self::decode_bytes`], where the opcode is known. Short where it is a constant.
    #[inline(always)]
    pub fn decode_as(opcode: Opcode, bytes: u128, skip: u32) -> Instruction {
        Instruction::decode_with(opcode, layout(opcode.format()), bytes, skip)
    }

    /// Short where `layout` is a constant.
    #[inline(always)]
    fn decode_with(opcode: Opcode, layout: Layout, bytes: u128, skip: u32) -> Instruction {
        let word = (bytes >> 8) as u64;
        let before = u32::from(layout.before);
        let rest = skip.saturating_sub(before);
        let immediates = (bytes >> (8 + 8 * before)) as u64;
        let (mut x, mut y) = (0, 0);
        if layout.is_wide {
            x = immediates;
        } else if layout.has_y {
            let len_x = u32::from(layout.len_x.of_word(word)).min(4);
            x = immediate(immediates as u32, len_x);
            let len_y = rest.saturating_sub(len_x).min(4);
            y = immediate((immediates >> (8 * len_x)) as u32, len_y);
        } else if layout.has_x {
            x = immediate(immediates as u32, rest.min(4));
        }
        let register = |bits: Bits| match bits.mask {
            0 => 0,
            _ => bits.register(word),
        };
        Instruction {
            opcode,
            ra: register(layout.a),
            rb: register(layout.b),
            rd: register(layout.d),
            x,
            y,
        }
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

    /// Operands format by format, byte by byte.
    fn literal(code: &[u8; 16], skip: u32) -> Instruction {
        let Some(opcode) = Opcode::from_byte(code[0]) else {
            return Opcode::Trap.into();
        };
        let register = |number: u8| number.min(12);
        let (low, high) = (register(code[1] & 15), register(code[1] >> 4));
        // `len` bytes at `at`, sign-extended.
        let immediate = |at: usize, len: usize| match len {
            0 => 0,
            _ => {
                let bytes = code[at..at + len].iter().rev();
                let sign = (code[at + len - 1] as i8 >> 7) as i64 as u64;
                bytes.fold(sign, |value, byte| value << 8 | u64::from(*byte))
            }
        };
        let rest = |at: usize| (skip as usize + 1).saturating_sub(at).min(4);
        // The first immediate's length is told, the second has what is left.
        let two = |at: usize, len: u8| {
            let len = usize::from(len & 7).min(4);
            (immediate(at, len), immediate(at + len, rest(at + len)))
        };
        let mut out = Instruction::from(opcode);
        match opcode.format() {
            Format::N => {}
            Format::I | Format::O => out.x = immediate(1, rest(1)),
            Format::RX => (out.ra, out.x) = (low, immediate(2, 8)),
            Format::II => (out.x, out.y) = two(2, code[1]),
            Format::RI => (out.ra, out.x) = (low, immediate(2, rest(2))),
            Format::RII | Format::RIO => {
                out.ra = low;
                (out.x, out.y) = two(2, code[1] >> 4);
            }
            Format::RR => (out.rd, out.ra) = (low, high),
            Format::RRI | Format::RRO => {
                (out.ra, out.rb, out.x) = (low, high, immediate(2, rest(2)));
            }
            Format::RRII => {
                (out.ra, out.rb) = (low, high);
                (out.x, out.y) = two(3, code[2]);
            }
            Format::RRR => (out.ra, out.rb, out.rd) = (low, high, register(code[2])),
        }
        out
    }

    #[test]
    fn decoding_is_what_the_formats_say() {
        let mut state = 1u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005);
            state = state.wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        for opcode in 0..=255 {
            for skip in 0..=MAX_SKIP {
                for _ in 0..50 {
                    let mut code: [u8; 16] = core::array::from_fn(|_| random());
                    code[0] = opcode;
                    let expected = literal(&code, skip);
                    let decoded = Instruction::decode(&code, 0, skip);
                    assert_eq!(decoded, expected, "{code:?}");
                    let known = Instruction::decode_as(expected.opcode, window(&code, 0), skip);
                    assert_eq!(known, expected, "{code:?}");
                }
            }
        }
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
