//! Assembling RISC-V, and running Images without a kernel.
#![allow(dead_code)]

use std::path::Path;
use std::sync::Arc;

use jar_cap::image::{Image, Pinned, Source};
use jar_pvm::{
    Access, Backing, Engine as _, Exit, GasModel, Interpreter, Machine, MemoryMap, PAGE_SIZE,
    PageError, PageSource, Program, Region,
};
use jar_transpiler::build::Toolchain;

/// Source around the assembler text: no core library, so that it compiles at once.
const SHELL: &str = r#"
#![feature(no_core, lang_items, rustc_attrs)]
#![no_core]
#![no_main]
#![allow(internal_features)]
#[lang = "pointee_sized"] pub trait PointeeSized {}
#[lang = "meta_sized"] pub trait MetaSized: PointeeSized {}
#[lang = "sized"] pub trait Sized: MetaSized {}
#[rustc_builtin_macro] macro_rules! include_str { () => {} }
#[rustc_builtin_macro] macro_rules! global_asm { () => {} }
global_asm!(include_str!("text.s"), options(raw));
"#;

/// `endpoint NAME INDEX` in assembler text declares a Call endpoint, `endpoint NAME INDEX ROLE`
/// one of another role.
const MACROS: &str = r#"
.macro endpoint name index role=0
.pushsection .jar.endpoints, "a"
.quad \name
.byte 1, \index, \role, 0, 1f - 0f
0: .ascii "\name"
1: .zero 51 - (1b - 0b)
.popsection
.globl \name
.type \name, @function
\name:
.endm
.text
"#;

const SCRIPT: &str = "
SECTIONS {
    . = 0x20000; .rodata : { *(.rodata .rodata.*) }
    . = ALIGN(0x1000); .data : { *(.data .data.*) } .bss : { *(.bss .bss.*) }
    . = 0x40000000; .text : { *(.text .text.*) }
    . = 0x70000000; .jar.endpoints : { *(.jar.endpoints) }
}";

/// The guest toolchain; `None` when it is missing and that was allowed.
pub fn toolchain() -> Option<Toolchain> {
    match Toolchain::find() {
        Ok(toolchain) => Some(toolchain),
        Err(error) if std::env::var_os("JAR_NO_GUEST_TOOLCHAIN").is_some_and(|v| v == "1") => {
            eprintln!("SKIPPED: JAR_NO_GUEST_TOOLCHAIN=1 and {error}");
            None
        }
        Err(error) => panic!("{error}\nset JAR_NO_GUEST_TOOLCHAIN=1 to go without this check"),
    }
}

/// Assembles and links text that uses [`MACROS`].
pub fn assemble(toolchain: &Toolchain, text: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    file("text.s", &format!("{MACROS}{text}"));
    let source = file("shell.rs", SHELL);
    let script = file("link.ld", SCRIPT);
    let elf = dir.path().join("out.elf");
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest/riscv64em-jar.json");
    let output = toolchain
        .rustc()
        .args([
            "--edition",
            "2021",
            "--crate-type",
            "bin",
            "-Zunstable-options",
            "--target",
        ])
        .arg(target)
        .args([
            "-Cpanic=abort",
            "-Clink-arg=--emit-relocs",
            "-Clink-arg=--no-relax",
        ])
        .args(["-Clink-arg=--no-gc-sections", "-Clink-arg=--entry=0"])
        .arg(format!("-Clinker={}", toolchain.linker().display()))
        .arg(format!("-Clink-arg=-T{}", script.display()))
        .arg("-o")
        .arg(&elf)
        .arg(source)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    std::fs::read(elf).unwrap()
}

struct Bytes(Vec<u8>);

impl PageSource for Bytes {
    fn page(&self, index: u32) -> Result<Option<Arc<[u8]>>, PageError> {
        let at = index as usize * PAGE_SIZE as usize;
        let page = self
            .0
            .get(at..)
            .map(|rest| &rest[..rest.len().min(PAGE_SIZE as usize)]);
        Ok(page.map(Arc::from))
    }
}

/// The memory that an Image asks for.
pub fn regions(image: &Image) -> Vec<Region> {
    let regions = image.memory.iter().map(|mapping| {
        let (path, access, eager) = match &mapping.source {
            Source::Slot(path) => (Some(path), Access::Read, false),
            Source::Ephemeral { init, eager } => (init.as_ref(), Access::ReadWrite, *eager),
        };
        let backing = path.map_or(Backing::Zero, |path| match &image.pinned[&path.keys()[0]] {
            Pinned::Data(bytes) => Backing::Source(Arc::new(Bytes(bytes.clone()))),
            Pinned::Image(_) => panic!("no Data"),
        });
        let (start, pages) = (mapping.start, mapping.size / PAGE_SIZE);
        Region {
            start,
            pages,
            access,
            backing,
            eager,
        }
    });
    regions.collect()
}

/// An Image ready to run on the interpreter.
pub struct Guest {
    pub image: Image,
    pub machine: Box<dyn Machine>,
}

impl Guest {
    pub fn new(image: Image) -> Guest {
        let program = image.program.clone();
        let program = Program::new(program.code, program.bitmask, program.jump_table).unwrap();
        for endpoint in image.endpoints.values() {
            assert!(program.is_block_start(endpoint.pc), "{}", endpoint.name);
        }
        let code = Interpreter.prepare(Arc::new(program), GasModel::Unit);
        let machine = code.machine(MemoryMap::new(regions(&image)).unwrap());
        Guest { image, machine }
    }

    /// Sets up a call of an endpoint with φ7 and up.
    pub fn enter(&mut self, endpoint: u8, arguments: &[u64]) {
        for reg in 0..13 {
            self.machine.set_reg(reg, 0);
        }
        let endpoint = &self.image.endpoints[&endpoint];
        for (reg, value) in &endpoint.regs {
            self.machine.set_reg(usize::from(*reg), *value);
        }
        for (reg, value) in (7..).zip(arguments) {
            self.machine.set_reg(reg, *value);
        }
        self.machine.set_gas(u64::from(u32::MAX));
        self.machine.set_pc(endpoint.pc, false);
    }

    pub fn run(&mut self) -> Exit {
        self.machine.run().unwrap()
    }

    /// Calls an endpoint that must halt; answers φ7.
    #[track_caller]
    pub fn call(&mut self, endpoint: u8, arguments: &[u64]) -> u64 {
        self.enter(endpoint, arguments);
        assert_eq!(self.run(), Exit::Halt, "pc {:#x}", self.machine.pc());
        self.machine.regs()[7]
    }
}

/// Assembles, transpiles and loads; `None` without a toolchain where that was allowed.
pub fn guest(text: &str) -> Option<Guest> {
    let elf = assemble(&toolchain()?, text);
    let image = jar_transpiler::transpile(&elf).unwrap_or_else(|error| panic!("{error}"));
    Some(Guest::new(image))
}
