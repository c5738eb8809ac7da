//! Instructions to bytes, shortest form.

use alloc::vec::Vec;
use core::fmt;

use crate::REGISTERS;
use crate::instruction::Instruction;
use crate::table::Format;

/// An instruction that has no byte form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// The immediate doesn't sign-extend from 4 bytes.
    Immediate(u64),
    /// The register number is over 12.
    Register(u8),
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EncodeError::Immediate(value) => {
                write!(f, "immediate {:#x} doesn't fit 4 bytes", value)
            }
            EncodeError::Register(number) => write!(f, "no register {number}"),
        }
    }
}

impl core::error::Error for EncodeError {}

/// The fewest bytes `value` sign-extends from.
fn immediate_len(value: u64) -> Result<u8, EncodeError> {
    let value = value as i64;
    if i32::try_from(value).is_err() {
        return Err(EncodeError::Immediate(value as u64));
    }
    let bits = 65 - (if value < 0 { !value } else { value }).leading_zeros();
    Ok(if value == 0 {
        0
    } else {
        bits.div_ceil(8) as u8
    })
}

fn put(out: &mut Vec<u8>, value: u64, len: u8) {
    out.extend_from_slice(&value.to_le_bytes()[..usize::from(len)]);
}

impl Instruction {
    /// Appends the shortest form. The caller marks its first byte in the bitmask;
    /// the byte behind it must be marked too (or be the end of the code), since
    /// the last immediate's length follows from that.
    ///
    /// On an error `out` is unchanged.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let (ra, rb, rd) = (self.ra, self.rb, self.rd);
        if let Some(number) = [ra, rb, rd]
            .into_iter()
            .find(|r| usize::from(*r) >= REGISTERS)
        {
            return Err(EncodeError::Register(number));
        }
        let (mut len_x, mut len_y) = (0, 0);
        match self.opcode.format() {
            Format::N | Format::RR | Format::RRR => {}
            Format::RX => len_x = 8,
            Format::I | Format::O | Format::RI | Format::RRI | Format::RRO => {
                len_x = immediate_len(self.x)?;
            }
            Format::II | Format::RII | Format::RIO | Format::RRII => {
                (len_x, len_y) = (immediate_len(self.x)?, immediate_len(self.y)?);
            }
        }
        out.push(self.opcode as u8);
        match self.opcode.format() {
            Format::N | Format::I | Format::O => {}
            Format::II => out.push(len_x),
            Format::RX | Format::RI => out.push(ra),
            Format::RII | Format::RIO => out.push(ra | len_x << 4),
            Format::RR => out.push(rd | ra << 4),
            Format::RRI | Format::RRO => out.push(ra | rb << 4),
            Format::RRII => out.extend_from_slice(&[ra | rb << 4, len_x]),
            Format::RRR => out.extend_from_slice(&[ra | rb << 4, rd]),
        }
        put(out, self.x, len_x);
        put(out, self.y, len_y);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Opcode;

    const VALUES: [i64; 15] = [
        0,
        1,
        -1,
        127,
        128,
        -128,
        -129,
        32767,
        32768,
        -32769,
        8388607,
        8388608,
        -8388609,
        i32::MAX as i64,
        i32::MIN as i64,
    ];

    /// `instruction` without the operands its format lacks.
    fn canonical(instruction: Instruction) -> Instruction {
        let format = instruction.opcode.format();
        let mut out = Instruction::from(instruction.opcode);
        if !matches!(format, Format::N | Format::I | Format::II | Format::O) {
            out.ra = instruction.ra;
        }
        if matches!(
            format,
            Format::RRI | Format::RRO | Format::RRII | Format::RRR
        ) {
            out.rb = instruction.rb;
        }
        if matches!(format, Format::RR | Format::RRR) {
            out.rd = instruction.rd;
        }
        if !matches!(format, Format::N | Format::RR | Format::RRR) {
            out.x = instruction.x;
        }
        if matches!(
            format,
            Format::II | Format::RII | Format::RIO | Format::RRII
        ) {
            out.y = instruction.y;
        }
        out
    }

    #[test]
    fn every_opcode_survives_a_round_trip() {
        for &opcode in Opcode::ALL {
            for x in VALUES {
                for y in VALUES {
                    let instruction = canonical(Instruction {
                        opcode,
                        ra: 12,
                        rb: 3,
                        rd: (x & 7) as u8,
                        x: x as u64,
                        y: y as u64,
                    });
                    let mut bytes = alloc::vec![];
                    instruction.encode(&mut bytes).unwrap();
                    let skip = bytes.len() as u32 - 1;
                    // What follows must not leak into the operands.
                    bytes.extend_from_slice(&[0xee; 8]);
                    assert_eq!(Instruction::decode(&bytes, 0, skip), instruction);
                }
            }
        }
    }

    #[test]
    fn forms_are_shortest() {
        let len = |x: i64| {
            let mut out = alloc::vec![];
            Instruction {
                x: x as u64,
                ..Opcode::LoadImm.into()
            }
            .encode(&mut out)
            .unwrap();
            out.len() - 2
        };
        let lengths: alloc::vec::Vec<usize> = VALUES.into_iter().map(len).collect();
        assert_eq!(lengths, [0, 1, 1, 1, 2, 1, 2, 2, 3, 3, 3, 4, 4, 4, 4]);
    }

    #[test]
    fn what_has_no_form_is_an_error() {
        let mut out = alloc::vec![];
        let wide = Instruction {
            x: 1 << 31,
            ..Opcode::LoadImm.into()
        };
        assert_eq!(wide.encode(&mut out), Err(EncodeError::Immediate(1 << 31)));
        let register = Instruction {
            rb: 13,
            ..Opcode::Add64.into()
        };
        assert_eq!(register.encode(&mut out), Err(EncodeError::Register(13)));
        assert!(out.is_empty());
        let wide = Instruction {
            x: u64::MAX >> 1,
            ..Opcode::LoadImm64.into()
        };
        assert_eq!(wide.encode(&mut out), Ok(()));
    }
}
