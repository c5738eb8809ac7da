//! Sections to the Image's memory: mappings and pinned Data.

use std::collections::BTreeMap;

use jar_cap::image::{Mapping, Pinned, Source};
use jar_cap::{Key, Path};
use object::elf::{self as abi, RelocationType};

use crate::Error;
use crate::elf::{Elf, Reloc, Section};
use crate::layout::Addresses;

const PAGE: u64 = 4096;
/// Nothing is mapped below: there an access panics.
const LOWEST: u64 = 0x1_0000;
/// Nothing is mapped from here on: the halt address lies there.
const HIGHEST: u64 = 0xffff_0000;
/// First of the one-byte keys under which section contents are pinned.
const FIRST_PINNED: u8 = 0xf0;
/// Bytes above the stack that spilled registers use.
const SPILL_BYTES: u64 = 16;
/// The stack where the ELF has no `.stack` section: address and size.
const DEFAULT_STACK: (u64, u64) = (LOWEST, 64 << 10);
/// Bytes of one pinned Data.
const INITIALIZED_BYTES_MAX: u64 = 256 << 20;
/// The part of the stack that is mapped eagerly, from its top.
const EAGER_STACK: u64 = 4 << 10;
/// The part of writable sections that is mapped eagerly, from their start: variables and the
/// first of the heap, which nearly every call writes. So it costs the same and needs no watching.
const EAGER_DATA: u64 = 4 << 10;

/// The Image's memory, and what follows from it.
pub(crate) struct Memory {
    pub mappings: Vec<Mapping>,
    pub pinned: BTreeMap<Key, Pinned>,
    /// φ1 at every entry.
    pub stack_top: u64,
}

/// The stack's place, needed before the code is translated.
pub(crate) fn stack(elf: &Elf) -> Result<(u64, u64), Error> {
    let (start, size) = elf.stack.unwrap_or(DEFAULT_STACK);
    let end = start.saturating_add(size);
    if start % PAGE != 0 || size % PAGE != 0 || size < PAGE || start < LOWEST || end > HIGHEST {
        return Err(Error::Layout(format!(
            "a stack of {size} bytes at {start:#x} is not whole pages between {LOWEST:#x} and {HIGHEST:#x}"
        )));
    }
    Ok((start, end - SPILL_BYTES))
}

/// A run of pages of one kind.
struct Run {
    start: u64,
    end: u64,
    writable: bool,
    bytes: Vec<u8>,
}

/// Lays out the sections with code addresses in data rewritten.
pub(crate) fn build(elf: &Elf, addresses: &Addresses) -> Result<Memory, Error> {
    let (stack_start, stack_top) = stack(elf)?;
    let stack_end = stack_top + SPILL_BYTES;
    let mut memory = Memory {
        mappings: Vec::new(),
        pinned: BTreeMap::new(),
        stack_top,
    };
    let eager = stack_end.saturating_sub(EAGER_STACK).max(stack_start);
    for (start, end, eager) in [(stack_start, eager, false), (eager, stack_end, true)] {
        if start < end {
            memory.map(start, end, Source::Ephemeral { init: None, eager });
        }
    }
    for run in runs(elf, addresses)? {
        if run.start < stack_end && stack_start < run.end {
            return Err(Error::Layout("a section overlaps the stack".into()));
        }
        memory.add(run)?;
    }
    memory.mappings.sort_by_key(|m| m.start);
    Ok(memory)
}

impl Memory {
    fn map(&mut self, start: u64, end: u64, source: Source) {
        let (start, size) = (start as u32, (end - start) as u32);
        self.mappings.push(Mapping {
            start,
            size,
            source,
        });
    }

    fn add(&mut self, mut run: Run) -> Result<(), Error> {
        while run.bytes.last() == Some(&0) {
            run.bytes.pop();
        }
        let initialized = run.bytes.len() as u64;
        let path = match run.bytes.is_empty() {
            true => None,
            false => {
                let number = u8::try_from(self.pinned.len()).ok();
                let key = number
                    .and_then(|n| FIRST_PINNED.checked_add(n))
                    .map(Key::from);
                let key = key.ok_or_else(|| Error::Layout("too many data sections".into()))?;
                self.pinned.insert(key, Pinned::Data(run.bytes));
                Some(Path::new(vec![key])?)
            }
        };
        let init = match path {
            Some(path) if !run.writable => {
                self.map(run.start, run.end, Source::Slot(path));
                return Ok(());
            }
            init => init,
        };
        if initialized > EAGER_DATA {
            let eager = false;
            self.map(run.start, run.end, Source::Ephemeral { init, eager });
            return Ok(());
        }
        let eager_end = run.end.min(run.start + EAGER_DATA);
        let eager = true;
        self.map(run.start, eager_end, Source::Ephemeral { init, eager });
        if eager_end < run.end {
            let (init, eager) = (None, false);
            self.map(eager_end, run.end, Source::Ephemeral { init, eager });
        }
        Ok(())
    }
}

/// Joins sections into runs of pages. Neighbours of the same kind, and of different
/// kinds that share a page, are joined; a joint run is writable if any part is.
fn runs(elf: &Elf, addresses: &Addresses) -> Result<Vec<Run>, Error> {
    let mut runs: Vec<Run> = Vec::new();
    for section in &elf.data {
        let start = section.addr / PAGE * PAGE;
        let end = section.end().next_multiple_of(PAGE);
        if start < LOWEST || end > HIGHEST {
            let name = &section.name;
            return Err(Error::Layout(format!(
                "section {name} is not between {LOWEST:#x} and {HIGHEST:#x}"
            )));
        }
        let bytes = relocated(elf, section, addresses)?;
        let joins = runs.last().is_some_and(|run| {
            start < run.end || start == run.end && run.writable == section.writable
        });
        if !joins {
            runs.push(Run {
                start,
                end,
                writable: section.writable,
                bytes: Vec::new(),
            });
        }
        if let Some(run) = runs.last_mut() {
            run.end = run.end.max(end);
            run.writable |= section.writable;
            if !bytes.is_empty() {
                if section.addr - run.start > INITIALIZED_BYTES_MAX {
                    let name = &section.name;
                    return Err(Error::Layout(format!(
                        "too many zeros before section {name}"
                    )));
                }
                run.bytes.resize((section.addr - run.start) as usize, 0);
                run.bytes.extend(bytes);
            }
        }
    }
    Ok(runs)
}

/// Addresses of code that data refers to.
pub(crate) fn code_targets(elf: &Elf) -> impl Iterator<Item = u64> {
    let endpoints = elf.endpoints.as_ref();
    elf.data_relocs
        .iter()
        .filter(move |(addr, _)| !endpoints.is_some_and(|s| s.contains(**addr)))
        .flat_map(|(_, relocs)| relocs)
        .filter(|reloc| elf.is_code(reloc.target))
        .map(|reloc| reloc.target)
}

/// The section's bytes with every address of code replaced by its jump-table address.
///
/// The linker has put S + A (or sums and differences of those) in place; each code
/// address T in it is moved by `jump-table address - T`, so that a table of distances
/// gives the right address too, once its base is added.
fn relocated(elf: &Elf, section: &Section, addresses: &Addresses) -> Result<Vec<u8>, Error> {
    let mut bytes = section.bytes.clone();
    for (&addr, relocs) in elf.data_relocs.range(section.addr..section.end()) {
        for reloc in relocs.iter().filter(|r| elf.is_code(r.target)) {
            let fail = |reason| Error::Relocation {
                symbol: elf.describe(addr),
                address: addr,
                kind: reloc.kind,
                target: reloc.target,
                reason,
            };
            let (width, adds) = width(*reloc).ok_or_else(|| fail("not supported against code"))?;
            let new = addresses
                .of(reloc.target)
                .ok_or_else(|| fail("not at an instruction"))?;
            let moved = u64::from(new).wrapping_sub(reloc.target);
            let moved = if adds { moved } else { moved.wrapping_neg() };
            let at = (addr - section.addr) as usize;
            let place = bytes
                .get_mut(at..at + width)
                .ok_or_else(|| fail("outside of its section's bytes"))?;
            let mut word = [0; 8];
            word[..width].copy_from_slice(place);
            let value = u64::from_le_bytes(word).wrapping_add(moved);
            place.copy_from_slice(&value.to_le_bytes()[..width]);
        }
    }
    Ok(bytes)
}

/// Bytes a relocation covers, and whether the target is added or subtracted.
fn width(reloc: Reloc) -> Option<(usize, bool)> {
    Some(match RelocationType(reloc.kind) {
        abi::R_RISCV_64 | abi::R_RISCV_ADD64 => (8, true),
        abi::R_RISCV_SUB64 => (8, false),
        abi::R_RISCV_32 | abi::R_RISCV_ADD32 | abi::R_RISCV_SET32 => (4, true),
        abi::R_RISCV_SUB32 => (4, false),
        abi::R_RISCV_32_PCREL | abi::R_RISCV_PLT32 => (4, true),
        _ => return None,
    })
}
