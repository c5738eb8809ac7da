//! Instructions from the text that they are shown as.

use jar_isa::{Format, Instruction, Opcode};

type Parsed<T> = Result<T, String>;

fn number(text: &str) -> Parsed<u64> {
    let bad = || format!("no number: {text}");
    let (sign, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) => (text.starts_with('-'), digits),
        None => (false, text),
    };
    let value = match digits.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => digits.parse(),
    };
    let value = value.map_err(|_| bad())?;
    Ok(if sign { value.wrapping_neg() } else { value })
}

fn register(text: &str) -> Parsed<u8> {
    let number = text
        .strip_prefix('r')
        .and_then(|digits| digits.parse().ok());
    number
        .filter(|n| *n < 13)
        .ok_or_else(|| format!("no register: {text}"))
}

/// `[number]`, `[rN]`, `[rN + number]` or `[rN - number]`.
fn address(text: &str) -> Parsed<(Option<u8>, u64)> {
    let inner = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let inner = inner.ok_or_else(|| format!("no address: {text}"))?;
    if let Some((base, offset)) = inner.split_once(" + ") {
        return Ok((Some(register(base)?), number(offset)?));
    }
    if let Some((base, offset)) = inner.split_once(" - ") {
        return Ok((Some(register(base)?), number(offset)?.wrapping_neg()));
    }
    match register(inner) {
        Ok(base) => Ok((Some(base), 0)),
        // An address of 32 bits stands for the immediate that sign-extends to it.
        Err(_) => Ok((None, number(inner)? as u32 as i32 as i64 as u64)),
    }
}

fn offset(text: &str) -> Parsed<u64> {
    number(
        text.strip_prefix("pc")
            .ok_or_else(|| format!("no offset: {text}"))?,
    )
}

/// Reads an instruction as its `Display` shows it.
pub fn parse(text: &str) -> Parsed<Instruction> {
    let (mnemonic, rest) = text.split_once(' ').unwrap_or((text, ""));
    let opcode = Opcode::ALL
        .iter()
        .find(|opcode| opcode.mnemonic() == mnemonic);
    let opcode = *opcode.ok_or_else(|| format!("no instruction: {mnemonic}"))?;
    let parts: Vec<&str> = rest.split(", ").filter(|part| !part.is_empty()).collect();
    let part = |index: usize| {
        let part = parts.get(index).copied();
        part.ok_or_else(|| format!("too few operands: {text}"))
    };
    let mut out = Instruction::from(opcode);
    let memory = crate::programs::is_access(opcode);
    let taken = match opcode.format() {
        Format::N => 0,
        Format::I => {
            out.x = number(part(0)?)?;
            1
        }
        Format::O => {
            out.x = offset(part(0)?)?;
            1
        }
        Format::II => {
            (out.x, out.y) = (address(part(0)?)?.1, number(part(1)?)?);
            2
        }
        Format::RX => {
            (out.ra, out.x) = (register(part(0)?)?, number(part(1)?)?);
            2
        }
        Format::RI => {
            out.ra = register(part(0)?)?;
            out.x = if memory {
                address(part(1)?)?.1
            } else {
                number(part(1)?)?
            };
            2
        }
        Format::RII => {
            let (base, x) = address(part(0)?)?;
            out.ra = base.ok_or_else(|| format!("no base: {text}"))?;
            (out.x, out.y) = (x, number(part(1)?)?);
            2
        }
        Format::RIO => {
            (out.ra, out.x) = (register(part(0)?)?, number(part(1)?)?);
            out.y = offset(part(2)?)?;
            3
        }
        Format::RR => {
            (out.rd, out.ra) = (register(part(0)?)?, register(part(1)?)?);
            2
        }
        Format::RRI if memory => {
            out.ra = register(part(0)?)?;
            let (base, x) = address(part(1)?)?;
            out.rb = base.ok_or_else(|| format!("no base: {text}"))?;
            out.x = x;
            2
        }
        Format::RRI => {
            (out.ra, out.rb) = (register(part(0)?)?, register(part(1)?)?);
            out.x = number(part(2)?)?;
            3
        }
        Format::RRO => {
            (out.ra, out.rb) = (register(part(0)?)?, register(part(1)?)?);
            out.x = offset(part(2)?)?;
            3
        }
        Format::RRII => {
            (out.ra, out.x) = (register(part(0)?)?, number(part(1)?)?);
            (out.rb, out.y) = (register(part(2)?)?, number(part(3)?)?);
            4
        }
        Format::RRR => {
            (out.rd, out.ra) = (register(part(0)?)?, register(part(1)?)?);
            out.rb = register(part(2)?)?;
            3
        }
    };
    match parts.len() == taken {
        true => Ok(out),
        false => Err(format!("too many operands: {text}")),
    }
}
