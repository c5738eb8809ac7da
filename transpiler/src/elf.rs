//! What the transpiler needs of an ELF file: sections, functions, relocations.

use std::collections::BTreeMap;

use object::elf as abi;
use object::read::elf::{ElfFile64, FileHeader as _, SectionHeader as _};
use object::{
    LittleEndian, Object as _, ObjectSection as _, ObjectSymbol as _, RelocationFlags,
    RelocationTarget, SymbolKind,
};

use crate::Error;

/// Largest ELF file taken, in bytes.
const ELF_BYTES_MAX: usize = 256 << 20;
/// Most bytes of machine code taken.
const CODE_BYTES_MAX: u64 = 8 << 20;
/// Sections of the SDK's that are read here and not mapped.
const ENDPOINTS: &str = ".jar.endpoints";
const METADATA: &str = ".jar.metadata";
/// The section whose place and size are the stack's.
const STACK: &str = ".stack";

/// A run of bytes with an address; `bytes` is shorter than `size` where the rest is zero.
pub(crate) struct Section {
    pub name: String,
    pub addr: u64,
    pub size: u64,
    pub bytes: Vec<u8>,
    pub writable: bool,
}

impl Section {
    pub(crate) fn end(&self) -> u64 {
        self.addr.saturating_add(self.size)
    }

    pub(crate) fn contains(&self, addr: u64) -> bool {
        self.addr <= addr && addr < self.end()
    }
}

/// A relocation with its value S + A worked out.
#[derive(Clone, Copy)]
pub(crate) struct Reloc {
    pub kind: u32,
    pub target: u64,
}

pub(crate) type Relocs = BTreeMap<u64, Vec<Reloc>>;

/// The parts of an ELF file, checked only as far as reading needs.
pub(crate) struct Elf {
    /// Executable sections, by address, disjoint.
    pub code: Vec<Section>,
    /// Sections to be mapped, by address; neither code nor the stack.
    pub data: Vec<Section>,
    /// The stack's address and size.
    pub stack: Option<(u64, u64)>,
    pub code_relocs: Relocs,
    pub data_relocs: Relocs,
    pub endpoints: Option<Section>,
    pub metadata: Vec<u8>,
    /// Functions and objects: start, then size and name.
    symbols: BTreeMap<u64, (u64, String)>,
    /// Starts of functions.
    functions: Vec<u64>,
}

impl Elf {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Elf, Error> {
        if bytes.len() > ELF_BYTES_MAX {
            return Err(Error::Elf(format!("over {ELF_BYTES_MAX} bytes")));
        }
        let file =
            ElfFile64::<LittleEndian>::parse(bytes).map_err(|e| Error::Elf(e.to_string()))?;
        check_header(&file)?;
        let mut elf = Elf {
            code: Vec::new(),
            data: Vec::new(),
            stack: None,
            code_relocs: Relocs::new(),
            data_relocs: Relocs::new(),
            endpoints: None,
            metadata: Vec::new(),
            symbols: BTreeMap::new(),
            functions: Vec::new(),
        };
        elf.read_symbols(&file);
        for section in file.sections() {
            elf.read_section(&file, &section)?;
        }
        elf.sort_and_check()?;
        Ok(elf)
    }

    fn read_symbols(&mut self, file: &ElfFile64<'_, LittleEndian>) {
        for symbol in file.symbols() {
            let kind = symbol.kind();
            if !matches!(kind, SymbolKind::Text | SymbolKind::Data) || symbol.is_undefined() {
                continue;
            }
            let Ok(name) = symbol.name() else { continue };
            if kind == SymbolKind::Text {
                self.functions.push(symbol.address());
            }
            // Where names share an address the smallest one wins, whatever the table's order.
            let entry = (symbol.size(), name.to_owned());
            self.symbols
                .entry(symbol.address())
                .and_modify(|old| {
                    if entry.1 < old.1 {
                        *old = entry.clone();
                    }
                })
                .or_insert(entry.clone());
        }
        self.functions.sort_unstable();
        self.functions.dedup();
    }

    fn read_section(
        &mut self,
        file: &ElfFile64<'_, LittleEndian>,
        section: &object::read::elf::ElfSection64<'_, '_, LittleEndian>,
    ) -> Result<(), Error> {
        let header = section.elf_section_header();
        let flags = header.sh_flags(LittleEndian);
        let name = String::from_utf8_lossy(section.name_bytes().unwrap_or_default()).into_owned();
        if !flags.contains(abi::SHF_ALLOC) {
            return Ok(());
        }
        let nobits = header.sh_type(LittleEndian) == abi::SHT_NOBITS;
        let bytes = match nobits {
            true => Vec::new(),
            false => section
                .data()
                .map_err(|e| Error::Elf(format!("section {name}: {e}")))?
                .to_vec(),
        };
        let out = Section {
            addr: section.address(),
            size: section.size(),
            writable: flags.contains(abi::SHF_WRITE),
            bytes,
            name,
        };
        if out.size == 0 {
            return Ok(());
        }
        if out
            .addr
            .checked_add(out.size)
            .is_none_or(|end| end > 1 << 32)
        {
            return Err(Error::Layout(format!(
                "section {} lies beyond 2^32",
                out.name
            )));
        }
        let executable = flags.contains(abi::SHF_EXECINSTR);
        self.read_relocs(file, section, executable)?;
        match out.name.as_str() {
            STACK => self.stack = Some((out.addr, out.size)),
            METADATA => self.metadata = out.bytes,
            ENDPOINTS => self.endpoints = Some(out),
            _ if executable && nobits => {
                return Err(Error::Layout(format!(
                    "code section {} has no bytes",
                    out.name
                )));
            }
            _ if executable => self.code.push(out),
            _ => self.data.push(out),
        }
        Ok(())
    }

    fn read_relocs(
        &mut self,
        file: &ElfFile64<'_, LittleEndian>,
        section: &object::read::elf::ElfSection64<'_, '_, LittleEndian>,
        executable: bool,
    ) -> Result<(), Error> {
        let range = section.address()..section.address().saturating_add(section.size());
        for (offset, reloc) in section.relocations() {
            let RelocationFlags::Elf { r_type } = reloc.flags() else {
                continue;
            };
            let symbol = match reloc.target() {
                RelocationTarget::Symbol(index) => file
                    .symbol_by_index(index)
                    .map_err(|e| Error::Elf(format!("relocation at {offset:#x}: {e}")))?
                    .address(),
                RelocationTarget::Absolute => 0,
                _ => return Err(Error::Elf(format!("relocation at {offset:#x}: bad target"))),
            };
            if !range.contains(&offset) {
                return Err(Error::Elf(format!(
                    "relocation at {offset:#x} outside its section"
                )));
            }
            let relocs = if executable {
                &mut self.code_relocs
            } else {
                &mut self.data_relocs
            };
            relocs.entry(offset).or_default().push(Reloc {
                kind: r_type.0,
                target: symbol.wrapping_add(reloc.addend() as u64),
            });
        }
        Ok(())
    }

    fn sort_and_check(&mut self) -> Result<(), Error> {
        self.code.sort_by_key(|s| s.addr);
        self.data.sort_by_key(|s| s.addr);
        let mut all: Vec<&Section> = self.code.iter().chain(&self.data).collect();
        all.sort_by_key(|s| s.addr);
        for pair in all.windows(2) {
            if pair[0].end() > pair[1].addr {
                let (a, b) = (&pair[0].name, &pair[1].name);
                return Err(Error::Layout(format!("sections {a} and {b} overlap")));
            }
        }
        if self.code.iter().map(|s| s.size).sum::<u64>() > CODE_BYTES_MAX {
            return Err(Error::Layout(format!(
                "more than {CODE_BYTES_MAX} bytes of code"
            )));
        }
        Ok(())
    }

    /// Whether the address lies in machine code.
    pub(crate) fn is_code(&self, addr: u64) -> bool {
        self.code_section(addr).is_some()
    }

    pub(crate) fn code_section(&self, addr: u64) -> Option<&Section> {
        let index = self.code.partition_point(|s| s.addr <= addr);
        self.code[..index].last().filter(|s| s.contains(addr))
    }

    pub(crate) fn data_section(&self, addr: u64) -> Option<&Section> {
        let index = self.data.partition_point(|s| s.addr <= addr);
        self.data[..index].last().filter(|s| s.contains(addr))
    }

    /// The instruction word at `addr`.
    pub(crate) fn word(&self, addr: u64) -> Option<u32> {
        let section = self.code_section(addr)?;
        let at = usize::try_from(addr - section.addr).ok()?;
        let bytes = section.bytes.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    pub(crate) fn is_function(&self, addr: u64) -> bool {
        self.functions.binary_search(&addr).is_ok()
    }

    /// `name+0x10` for messages.
    pub(crate) fn describe(&self, addr: u64) -> String {
        match self.symbols.range(..=addr).next_back() {
            Some((start, (size, name))) if addr - start < (*size).max(1) => match addr - start {
                0 => name.clone(),
                offset => format!("{name}+{offset:#x}"),
            },
            _ => format!("{addr:#x}"),
        }
    }
}

fn check_header(file: &ElfFile64<'_, LittleEndian>) -> Result<(), Error> {
    let header = file.elf_header();
    let unsupported = |why: &str| Err(Error::Unsupported(why.into()));
    if header.e_machine(LittleEndian) != abi::EM_RISCV {
        return unsupported("not for RISC-V");
    }
    if header.e_type(LittleEndian) != abi::ET_EXEC {
        return unsupported("not a statically linked executable");
    }
    let flags = header.e_flags(LittleEndian);
    if flags.contains(abi::EF_RISCV_RVC) {
        return unsupported("compressed instructions");
    }
    if flags.0 & abi::EF_RISCV_FLOAT_ABI != abi::EF_RISCV_FLOAT_ABI_SOFT.0 {
        return unsupported("floating point ABI");
    }
    Ok(())
}
