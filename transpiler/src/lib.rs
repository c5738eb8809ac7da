//! RISC-V `rv64em` (with Zba, Zbb, Zbs) executables to Images.
//!
//! [`transpile`] takes the ELF that [`build`] makes of a guest crate, or any static
//! executable linked with `--emit-relocs --no-relax` whose endpoints are described in
//! the section `.jar.endpoints`.
//!
//! # Scheme
//!
//! - Data stays at the ELF's addresses. Code has no addresses of its own in the machine:
//!   a code address, wherever the program keeps one, becomes `2 · (index + 1)` for an
//!   entry of the jump table, which is what `jump_ind` takes.
//! - RISC-V registers ra, sp, t0..t2, s0, s1, a0..a5 are φ0..φ12; gp, tp and the rest
//!   are refused.
//! - `ecall` with a constant in t0 is `ecalli`; else t0 is moved to φ11 (a4) and `ecall`
//!   used. t0 isn't kept across a host call.
//! - Where a RISC-V operation takes several PVM instructions and one more register, a
//!   register that is dead there is used, else one is saved for the moment to the 16
//!   bytes above the initial stack pointer.
//! - The stack lies at the bottom of mapped memory, so that running over its end meets
//!   the 64 KiB that are never mapped.
//! - Blocks that only lead to a trap begin with `unlikely`, so that branches around them
//!   cost little gas.
//! - Constants are followed within a block; a load from read-only data that no relocation
//!   touches becomes the constant itself.
//! - Debug information isn't read.
//! - Same ELF, same Image, byte for byte.

pub mod build;
mod cold;
mod descriptors;
mod elf;
mod error;
mod flow;
mod graph;
mod inspect;
mod layout;
mod lower;
mod memory;
mod riscv;
mod scratch;

use jar_cap::image::{Image, Program};

pub use error::Error;
pub use inspect::{Summary, inspect};

/// Translates an executable into an Image.
///
/// # Errors
///
/// What can't be translated is an error that names the symbol and the instruction; bytes
/// that are no ELF are an error too, never a panic.
pub fn transpile(elf: &[u8]) -> Result<Image, Error> {
    let elf = elf::Elf::parse(elf)?;
    let descriptors = descriptors::endpoints(&elf)?;
    let (_, stack_top) = memory::stack(&elf)?;
    let in_data: Vec<u64> = memory::code_targets(&elf).collect();
    let entries = descriptors.values().map(|d| d.entry);
    let mut flow = flow::trace(&elf, entries.chain(in_data.iter().copied()))?;
    flow.taken.extend(in_data);
    let mut blocks = lower::lower(&elf, &flow)?;
    scratch::finish(&mut blocks, stack_top as u32);
    cold::mark(&mut blocks);
    let addresses = layout::Addresses::new(&flow.taken);
    let code = layout::encode(&blocks, &addresses)?;
    let memory = memory::build(&elf, &addresses)?;
    let image = Image {
        endpoints: descriptors::resolve(descriptors, &code, memory.stack_top)?,
        program: Program {
            code: code.bytes,
            bitmask: code.bitmask,
            jump_table: code.jump_table,
        },
        memory: memory.mappings,
        pinned: memory.pinned,
        gas_slots: Vec::new(),
        quota_slots: Vec::new(),
        catcher_slot: None,
        metadata: descriptors::metadata(&elf.metadata).unwrap_or_default(),
    };
    image.check(&jar_cap::image::Limits::default())?;
    Ok(image)
}
