//! The instruction table of the JAR virtual machine (PVM), declared once.
//!
//! Opcode numbers, mnemonics, operand formats, block ends, register use and
//! gas costs stand in the rows of [`for_each_op!`]; the [`Opcode`] type, the
//! decoder, the encoder, the disassembly and the gas model derive from them.
//! [`alu`] holds the arithmetic as pure functions shared by every engine.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod alu;
mod cost;
mod encoding;
mod instruction;
mod table;
mod text;

pub use cost::{Cost, Latency, MEMORY_LATENCY, Slots, Units};
pub use encoding::EncodeError;
pub use instruction::{Instruction, MAX_SKIP, skip, window};
pub use table::{Format, Opcode, Operands, table_encoding};
pub use text::WithTarget;

/// Number of registers, φ0..φ12.
pub const REGISTERS: usize = 13;
