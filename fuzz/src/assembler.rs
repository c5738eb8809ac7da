//! The two encoders against what reads their bytes: the recompiler's assembler and an independent
//! disassembler; the instruction set's bytes and text.

use arbitrary::Unstructured;
use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};
use jar_isa::Instruction;

/// Machine code as text, one instruction a line with its address; bytes that are none are shown
/// as `(bad)`.
pub fn disassemble(bytes: &[u8], address: u64) -> Vec<(u64, String)> {
    let mut formatter = IntelFormatter::new();
    let options = formatter.options_mut();
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_uppercase_hex(false);
    options.set_small_hex_numbers_in_decimal(false);
    options.set_branch_leading_zeros(false);
    options.set_displacement_leading_zeros(false);
    options.set_space_after_operand_separator(true);
    options.set_rip_relative_addresses(true);
    options.set_show_branch_size(false);
    let decoder = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE);
    let show = |instruction: iced_x86::Instruction| {
        let mut text = String::new();
        formatter.format(&instruction, &mut text);
        (instruction.ip(), text)
    };
    decoder.into_iter().map(show).collect()
}

/// Each instruction of the assembler, with any operands, is what the disassembler says it is.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub fn assembler(data: &[u8]) {
    let mut u = Unstructured::new(data);
    while !u.is_empty() {
        let mut choose = |limit: u32| u.int_in_range(0..=limit - 1).unwrap_or(0);
        let Some((bytes, address, expected)) = jar_pvm::assembler_case(&mut choose) else {
            return;
        };
        let shown = disassemble(&bytes, address);
        let shown: Vec<String> = shown.into_iter().map(|(_, text)| text).collect();
        assert_eq!(shown.join("; "), expected, "{bytes:02x?}");
    }
}

/// Where there is no assembler, there is nothing to try.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub fn assembler(_: &[u8]) {}

/// Any bytes decode to an instruction; its shortest encoding decodes to the same one, and
/// its text reads back as it.
pub fn instructions(data: &[u8]) {
    let Some((skip, code)) = data.split_first() else {
        return;
    };
    let skip = u32::from(skip % 25);
    let decoded = Instruction::decode(code, 0, skip);
    let mut bytes = vec![];
    decoded
        .encode(&mut bytes)
        .expect("decoded operands are in range");
    assert!(bytes.len() <= 11);
    let len = bytes.len() as u32;
    assert_eq!(Instruction::decode(&bytes, 0, len - 1), decoded);
    let text = decoded.to_string();
    assert_eq!(crate::text::parse(&text), Ok(decoded), "{text}");
}
