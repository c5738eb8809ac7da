//! RISC-V architecture tests for I (as E), M, Zba, Zbb and Zbs: one executable, built by
//! Debian's assembler and linker, is run by QEMU as it is and by both engines as an Image.
//!
//! Each instruction has an endpoint and a signature: what its cases stored. The signatures'
//! hashes are committed (`arch/signatures.txt`, renewed by `JAR_BLESS=1` from QEMU's), so that
//! engines are held to QEMU's results where QEMU isn't installed.

mod common;

#[path = "arch/generate.rs"]
mod generate;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use generate::{Kind, SIGNATURE, Test, instructions};
use jar_fuzz::rig::Rig;
use jar_pvm::{Exit, GasModel, Program};

const ALLOW: &str = "JAR_NO_RISCV_TOOLCHAIN";
const CROSS: [&str; 2] = ["riscv64-unknown-elf-", "riscv64-linux-gnu-"];
const QEMU: &str = "qemu-riscv64";

/// `test NAME INDEX` starts the function of an endpoint, `_start` calls each of them and writes
/// the signatures out; that part is Linux's and never translated.
const HEAD: &str = r#"
.option norelax
.macro test name index
.pushsection .jar.endpoints, "a"
.quad test_\name
.byte 1, \index, 0, 0, 1f - 0f
0: .ascii "\name"
1: .zero 51 - (1b - 0b)
.popsection
.globl test_\name
.type test_\name, @function
test_\name:
la t0, saved
sd ra, 0(t0)
sd sp, 8(t0)
.endm
.data
.balign 8
saved: .quad 0, 0
nought: .quad 0
.section .signature, "aw", @nobits
signature:
.text
"#;

/// For QEMU alone: before 8.0 its `ctzw` counts on into the upper half.
const CTZW: &str = ".macro ctzw rd, rs\nbseti \\rd, \\rs, 32\nctz \\rd, \\rd\n.endm\n";

const SCRIPT: &str = "
ENTRY(_start)
SECTIONS {
    . = 0x20000; .rodata : { *(.rodata .rodata.*) }
    . = 0x30000000; .data : { *(.data .data.*) }
    . = 0x40000000; .text : { *(.text .text.*) }
    . = 0x50000000; .signature : { *(.signature) }
    . = 0x70000000; .jar.endpoints : { *(.jar.endpoints) }
}";

/// One instruction's place in the endpoints and signatures.
struct Entry {
    name: &'static str,
    kind: Kind,
    at: usize,
    len: usize,
}

/// The source of every test and where each stores.
fn suite() -> (String, Vec<Entry>) {
    let (mut text, mut calls, mut entries, mut at) = (HEAD.to_string(), String::new(), vec![], 0);
    for (index, (name, kind)) in instructions().enumerate() {
        let test = Test::new(name, kind);
        text += &test.source(index);
        calls += &format!("call test_{}\n", name.replace('.', "_"));
        let len = test.signature;
        entries.push(Entry {
            name,
            kind,
            at,
            len,
        });
        at += len;
    }
    // write(1, signature, at), exit(0).
    let start = format!(
        ".globl _start\n_start:\n{calls}\nla a1, signature\nli a2, {at}\n1: li a0, 1\nli a7, 64\n\
         ecall\nblez a0, 2f\nadd a1, a1, a0\nsub a2, a2, a0\nbnez a2, 1b\nli a0, 0\nli a7, 93\n\
         ecall\n2: li a0, 1\nli a7, 93\necall\n"
    );
    (text + &start, entries)
}

fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().expect("the program starts");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
    output.stdout
}

/// Assembles and links; `None` with a message where there is no toolchain and that was allowed.
fn build(dir: &Path, source: &str) -> Option<PathBuf> {
    let cross = CROSS.iter().find(|cross| is_there(&format!("{cross}as")));
    let Some(cross) = cross else {
        let missing = "no RISC-V assembler: install binutils-riscv64-unknown-elf";
        let allowed = std::env::var(ALLOW).is_ok_and(|value| value == "1");
        assert!(
            allowed,
            "{missing}, or set {ALLOW}=1 to go without this check"
        );
        eprintln!("SKIPPED: {ALLOW}=1 and {missing}");
        return None;
    };
    let file = |name: &str| dir.join(name);
    std::fs::write(file("suite.s"), source).expect("the folder is writable");
    std::fs::write(file("link.ld"), SCRIPT).expect("the folder is writable");
    run(Command::new(format!("{cross}as"))
        .args([
            "-march=rv64im_zba_zbb_zbs_zifencei",
            "-mabi=lp64",
            "-mno-relax",
        ])
        .args([file("suite.s"), "-o".into(), file("suite.o")]));
    run(Command::new(format!("{cross}ld"))
        .args(["--emit-relocs", "--no-relax", "-T"])
        .args([file("link.ld"), file("suite.o"), "-o".into(), file("suite")]));
    Some(file("suite"))
}

/// The signatures as QEMU runs the executable.
fn by_qemu(dir: &Path, source: &str) -> Option<Vec<u8>> {
    if !is_there(QEMU) {
        eprintln!(
            "{QEMU} is not installed (qemu-user): results are compared with committed hashes alone"
        );
        return None;
    }
    let elf = build(dir, &format!("{CTZW}{source}"))?;
    Some(run(Command::new(QEMU)
        .args(["-cpu", "rv64,zba=true,zbb=true,zbs=true"])
        .arg(elf)))
}

/// One endpoint on every engine, which must agree; gives its signature.
fn by_engines(image: &jar_cap::Image, index: usize, entry: &Entry) -> Vec<u8> {
    let program = image.program.clone();
    let program = Program::new(program.code, program.bitmask, program.jump_table);
    let program = program.expect("a transpiled program");
    let mut rig = Rig::new(program, GasModel::Pipeline, common::regions(image));
    let endpoint = &image.endpoints[&(index as u8)];
    for (reg, value) in &endpoint.regs {
        rig.set_reg(usize::from(*reg), *value);
    }
    rig.set_pc(endpoint.pc, false);
    rig.set_gas(1 << 32);
    let state = rig.run();
    assert_eq!(
        state.exit,
        Exit::Halt,
        "{} stops at pc {:#x}",
        entry.name,
        state.pc
    );
    let mut signatures = rig.machines.iter_mut().map(|machine| {
        let mut bytes = vec![0; entry.len];
        let address = SIGNATURE + entry.at as u64;
        let read = machine.read(address as u32, &mut bytes);
        read.expect("the signature is memory of the guest");
        bytes
    });
    let first = signatures.next().expect("there is an engine");
    assert!(signatures.all(|other| other == first), "{}", entry.name);
    first
}

fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/arch/signatures.txt")
}

fn hash(signature: &[u8]) -> String {
    let hash = jar_cap::hash::blake2b(&[signature]);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The committed hashes by instruction; with `JAR_BLESS=1` made anew from QEMU's signatures.
fn expected(reference: Option<&[u8]>, entries: &[Entry]) -> BTreeMap<String, String> {
    if std::env::var_os("JAR_BLESS").is_some() {
        let all = reference.expect("QEMU is needed to renew the signatures");
        let line = |e: &Entry| format!("{} {}\n", e.name, hash(&all[e.at..e.at + e.len]));
        let text: String = entries.iter().map(line).collect();
        std::fs::write(committed(), text).expect("the checkout is writable");
    }
    let text = std::fs::read_to_string(committed()).expect("the committed hashes are readable");
    let line = |line: &str| {
        let (name, hash) = line.split_once(' ').expect("a name and a hash");
        (name.to_string(), hash.to_string())
    };
    text.lines().map(line).collect()
}

#[test]
fn instructions_leave_what_they_leave_in_qemu() {
    let (source, entries) = suite();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let Some(elf) = build(dir.path(), &source) else {
        return;
    };
    let elf = std::fs::read(&elf).expect("just linked");
    let reference = by_qemu(dir.path(), &source);
    let expected = expected(reference.as_deref(), &entries);
    let image = jar_transpiler::transpile(&elf);
    let image = image.unwrap_or_else(|error| panic!("{error}"));
    let mut wrong = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let found = by_engines(&image, index, entry);
        if let Some(all) = &reference {
            let right = &all[entry.at..entry.at + entry.len];
            if let Some(at) = found.iter().zip(right).position(|(a, b)| a != b) {
                wrong.push(format!(
                    "{}: differs from QEMU at byte {at} of {}",
                    entry.name, entry.len
                ));
            }
        }
        if expected.get(entry.name) != Some(&hash(&found)) {
            wrong.push(format!("{}: not the committed signature", entry.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!(
        "{} instructions agree, {} bytes of signature",
        entries.len(),
        entries.iter().map(|e| e.len).sum::<usize>()
    );
}

/// Every instruction that the suite has to cover is there once and has many cases.
#[test]
fn the_suite_is_whole() {
    let (_, entries) = suite();
    let names: std::collections::BTreeSet<_> = entries.iter().map(|e| e.name).collect();
    assert_eq!((entries.len(), names.len()), (103, 103));
    for Entry {
        name, kind, len, ..
    } in entries
    {
        let least = match kind {
            Kind::Fence => 32,
            Kind::Upper | Kind::Jump => 200,
            _ => 800,
        };
        assert!(len >= least, "{name}: {len} bytes of signature");
    }
}
