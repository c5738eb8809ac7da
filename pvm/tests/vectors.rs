//! The public test vectors, from the folder named by `JAR_VECTORS` or
//! `../shared/vectors` beside the workspace.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{Pages, Rig, State};
use jar_isa::Opcode;
use jar_pvm::{Access, Backing, Exit, GasModel, Program, Region, StepKind, Walk};
use serde::Deserialize;

/// The vectors' folder, or `None` with a word about it.
fn vectors(folder: &str) -> Option<PathBuf> {
    let root = std::env::var_os("JAR_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors"),
        PathBuf::from,
    );
    let path = root.join(folder);
    if !path.is_dir() {
        eprintln!(
            "SKIPPED: no test vectors at {} (set JAR_VECTORS)",
            path.display()
        );
        return None;
    }
    Some(path)
}

fn read_all<T: for<'a> Deserialize<'a>>(folder: &Path) -> Vec<T> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let parse = |path: &PathBuf| {
        serde_json::from_slice(&std::fs::read(path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    files
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .map(parse)
        .collect()
}

#[derive(Deserialize, Clone)]
struct PageMap {
    address: u32,
    length: u32,
    #[serde(alias = "is-writable")]
    is_writable: bool,
}

#[derive(Deserialize, Clone)]
struct Chunk {
    address: u32,
    contents: Vec<u8>,
}

/// Memory as the vectors describe it: mapped ranges and bytes.
#[derive(Default, Clone)]
struct Image {
    maps: Vec<PageMap>,
    bytes: BTreeMap<u32, u8>,
}

impl Image {
    fn write(&mut self, chunk: &Chunk) {
        for (offset, byte) in chunk.contents.iter().enumerate() {
            self.bytes.insert(chunk.address + offset as u32, *byte);
        }
    }

    fn page(&self, page: u32) -> Vec<u8> {
        let start = page * 4096;
        (start..=start + 4095)
            .map(|a| self.bytes.get(&a).copied().unwrap_or(0))
            .collect()
    }

    fn pages(&self) -> Vec<u32> {
        let range = |map: &PageMap| map.address / 4096..(map.address + map.length) / 4096;
        self.maps.iter().flat_map(range).collect()
    }

    fn regions(&self) -> Vec<Region> {
        let mut maps = self.maps.clone();
        maps.sort_by_key(|map| map.address);
        let region = |map: &PageMap| {
            assert_eq!(map.length % 4096, 0);
            let pages = map.length / 4096;
            let content = |index| (index, self.page(map.address / 4096 + index));
            Region {
                start: map.address,
                pages,
                access: if map.is_writable {
                    Access::ReadWrite
                } else {
                    Access::Read
                },
                backing: Backing::Source(Arc::new(Pages((0..pages).map(content).collect()))),
                eager: false,
            }
        };
        maps.iter().map(region).collect()
    }

    /// What the run left in memory.
    fn apply(&mut self, state: &State) {
        for (page, bytes) in &state.written {
            for (offset, byte) in bytes.iter().enumerate() {
                self.bytes.insert(page * 4096 + offset as u32, *byte);
            }
        }
    }

    fn nonzero(&self) -> BTreeMap<u32, u8> {
        self.bytes
            .iter()
            .filter(|(_, byte)| **byte != 0)
            .map(|(a, b)| (*a, *b))
            .collect()
    }
}

fn from_chunks(chunks: &[Chunk]) -> Image {
    let mut image = Image::default();
    chunks.iter().for_each(|chunk| image.write(chunk));
    image
}

fn exit(status: &str, address: Option<u32>) -> Exit {
    match status {
        "panic" => Exit::Panic,
        "halt" => Exit::Halt,
        "out-of-gas" => Exit::OutOfGas,
        "page-fault" => Exit::PageFault(address.expect("a fault has an address")),
        other => panic!("unknown status {other}"),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Vector {
    name: String,
    initial_regs: [u64; 13],
    initial_pc: u32,
    initial_page_map: Vec<PageMap>,
    initial_memory: Vec<Chunk>,
    initial_gas: u64,
    program: Vec<u8>,
    expected_status: String,
    expected_regs: [u64; 13],
    expected_pc: u32,
    expected_memory: Vec<Chunk>,
    expected_gas: u64,
    expected_page_fault_address: Option<u32>,
}

fn check(vector: &Vector) {
    let program = Program::from_blob(&vector.program).unwrap();
    assert_eq!(Program::from_blob(&program.to_blob()).unwrap(), program);
    let mut image = from_chunks(&vector.initial_memory);
    image.maps = vector.initial_page_map.clone();
    let mut rig = Rig::new(program, GasModel::Unit, image.regions());
    rig.set_pc(vector.initial_pc, false);
    rig.set_gas(vector.initial_gas);
    for (index, value) in vector.initial_regs.iter().enumerate() {
        rig.set_reg(index, *value);
    }
    let state = rig.run();
    image.apply(&state);
    let status = exit(&vector.expected_status, vector.expected_page_fault_address);
    let name = &vector.name;
    assert_eq!(state.exit, status, "{name}");
    assert_eq!(state.regs, vector.expected_regs, "{name}");
    assert_eq!(state.pc, vector.expected_pc, "{name}");
    assert_eq!(state.gas, vector.expected_gas, "{name}");
    assert_eq!(
        image.nonzero(),
        from_chunks(&vector.expected_memory).nonzero(),
        "{name}"
    );
}

#[test]
fn instruction_vectors() {
    let Some(folder) = vectors("instructions") else {
        return;
    };
    let all: Vec<Vector> = read_all(&folder);
    assert!(!all.is_empty());
    all.iter().for_each(check);
    eprintln!("{} instruction vectors", all.len());
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Stage {
    Map(PageMap),
    Write(Chunk),
    SetReg { reg: usize, value: u64 },
    Run,
    Assert(Expected),
}

#[derive(Deserialize)]
struct Expected {
    status: String,
    page_fault_address: Option<u32>,
    gas: u64,
    pc: u32,
    regs: [u64; 13],
    memory: Vec<Chunk>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct GasVector {
    name: String,
    initial_pc: u32,
    initial_gas: u64,
    program: Vec<u8>,
    steps: Vec<Stage>,
    block_gas_costs: BTreeMap<u32, u64>,
}

/// In these programs opcode 3 is `unlikely`.
fn with_unlikely(blob: &[u8]) -> Program {
    let program = Program::from_blob(blob).unwrap();
    let mut code = program.code().to_vec();
    for (pc, byte) in code.iter_mut().enumerate() {
        if *byte == Opcode::Ecall as u8 && program.is_instruction_start(pc as u32) {
            *byte = Opcode::Unlikely as u8;
        }
    }
    Program::new(
        code,
        program.bitmask().to_vec(),
        program.jump_table().to_vec(),
    )
    .unwrap()
}

/// Where the gas blocks start, but for one of only the trap at the code's end.
fn gas_block_starts(program: &Program) -> BTreeSet<u32> {
    let mut start = true;
    let mut starts = BTreeSet::new();
    for step in Walk::new(program) {
        if start && step.kind != StepKind::End {
            starts.insert(step.pc);
        }
        start = step.ends_block();
    }
    starts
}

fn check_gas(vector: &GasVector) {
    let program = with_unlikely(&vector.program);
    let name = &vector.name;
    let mut image = Image::default();
    let mut rig = Rig::new(program.clone(), GasModel::Pipeline, vec![]);
    for (pc, cost) in &vector.block_gas_costs {
        assert_eq!(rig.block_cost(*pc), Some(*cost), "{name}: block at {pc}");
    }
    let listed: BTreeSet<u32> = vector.block_gas_costs.keys().copied().collect();
    let mut starts = gas_block_starts(&program);
    starts.remove(&program.code_len());
    let listed: BTreeSet<u32> = listed
        .into_iter()
        .filter(|pc| *pc < program.code_len())
        .collect();
    assert_eq!(listed, starts, "{name}");
    rig.set_pc(vector.initial_pc, false);
    rig.set_gas(vector.initial_gas);
    let mut last: Option<State> = None;
    for stage in &vector.steps {
        match stage {
            Stage::Map(map) => image.maps.push(map.clone()),
            Stage::Write(chunk) => image.write(chunk),
            Stage::SetReg { reg, value } => rig.set_reg(*reg, *value),
            Stage::Run => {
                rig = remapped(&rig, &program, &image, last.is_some());
                let state = rig.run();
                image.apply(&state);
                last = Some(state);
            }
            Stage::Assert(expected) => {
                let state = last.as_ref().expect("a run before");
                let status = exit(&expected.status, expected.page_fault_address);
                assert_eq!(state.exit, status, "{name}");
                assert_eq!(state.gas, expected.gas, "{name}");
                assert_eq!(state.pc, expected.pc, "{name}");
                assert_eq!(state.regs, expected.regs, "{name}");
                let memory = from_chunks(&expected.memory);
                assert_eq!(image.nonzero(), memory.nonzero(), "{name}");
            }
        }
    }
}

/// Machines as `rig`'s with the memory of `image`: a layout can't change in a run.
fn remapped(rig: &Rig, program: &Program, image: &Image, charged: bool) -> Rig {
    let mut new = Rig::new(program.clone(), GasModel::Pipeline, image.regions());
    for (old, new) in rig.machines.iter().zip(&mut new.machines) {
        new.set_pc(old.pc(), charged);
        new.set_gas(old.gas());
        for (index, value) in old.regs().iter().enumerate() {
            new.set_reg(index, *value);
        }
    }
    assert!(image.pages().len() < 16);
    new
}

#[test]
fn block_gas_vectors() {
    let Some(folder) = vectors("block-gas") else {
        return;
    };
    let all: Vec<GasVector> = read_all(&folder);
    assert!(!all.is_empty());
    all.iter().for_each(check_gas);
    eprintln!("{} block gas vectors", all.len());
}

/// RISC-V operation, PVM mnemonic, PVM opcode, a, b, result, source of the operands.
type Row = (
    String,
    Option<String>,
    Option<u8>,
    String,
    Option<String>,
    String,
    String,
);

#[derive(Deserialize)]
struct Table {
    rows: Vec<Row>,
}

fn number(text: &str) -> u64 {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap()
}

#[test]
fn alu_vectors() {
    let Some(folder) = vectors("riscv-alu") else {
        return;
    };
    let tables: Vec<Table> = read_all(&folder);
    let mut rigs: BTreeMap<(u8, u64), Rig> = BTreeMap::new();
    let mut count = 0;
    for (riscv, mnemonic, number_of, a, b, result, _) in tables.iter().flat_map(|t| &t.rows) {
        let (Some(mnemonic), Some(byte)) = (mnemonic, number_of) else {
            continue;
        };
        let opcode = Opcode::from_byte(*byte).unwrap();
        assert_eq!(opcode.mnemonic(), mnemonic);
        let (a, b) = (number(a), b.as_deref().map_or(0, number));
        let state = run_alu(&mut rigs, opcode, a, b);
        assert_eq!(
            state.regs[9],
            number(result),
            "{riscv} {mnemonic} {a:#x} {b:#x}"
        );
        count += 1;
    }
    assert!(count > 0);
    eprintln!("{count} rows of arithmetic");
}

/// φ9 := a `opcode` b, by a program of one instruction and the trap at its end.
fn run_alu(rigs: &mut BTreeMap<(u8, u64), Rig>, opcode: Opcode, a: u64, b: u64) -> State {
    use jar_isa::Format;
    let (instruction, key) = match opcode.format() {
        Format::RRR => (common::rrr(opcode, 9, 7, 8), 0),
        Format::RR => (common::rrr(opcode, 9, 7, 0), 0),
        Format::RRI => (common::rri(opcode, 9, 7, b as i64), b),
        other => panic!("{opcode}: no arithmetic has format {other:?}"),
    };
    let rig = rigs
        .entry((opcode as u8, key))
        .or_insert_with(|| Rig::new(common::program(&[instruction]), GasModel::Unit, vec![]));
    rig.set_reg(7, a);
    rig.set_reg(8, b);
    rig.set_reg(9, 0xdead_beef);
    rig.set_gas(2);
    rig.set_pc(0, false);
    let state = rig.run();
    assert_eq!((state.exit, state.gas), (Exit::Panic, 0));
    state
}
