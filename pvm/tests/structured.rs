//! Programs as compilers write them (loops, calls, host calls, memory of every
//! kind), run in pieces of gas, on every engine at once, and in many threads.

mod common;

use std::sync::Arc;

use common::{Pages, Rig, State, region};
use jar_isa::{Format, Instruction, Opcode};
use jar_pvm::{Access, Backing, Exit, GasModel, Program, Region};
use proptest::prelude::*;

/// Where memory is: zeros and sources, watched and eager, written and read, with
/// neighbours of other kinds and gaps.
fn layouts() -> Vec<Vec<Region>> {
    let content = |index: u32, len: usize| (index, (0..len).map(|i| (i * 7 + 3) as u8).collect());
    let source = Backing::Source(Arc::new(Pages(
        [content(0, 4096), content(1, 100), content(3, 4096)].into(),
    )));
    let sourced = |start, pages, access, eager| Region {
        backing: source.clone(),
        eager,
        ..region(start, pages, access)
    };
    let eager = |start, pages| Region {
        eager: true,
        ..region(start, pages, Access::ReadWrite)
    };
    vec![
        vec![region(0x10000, 8, Access::ReadWrite)],
        vec![
            sourced(0x10000, 2, Access::ReadWrite, false),
            region(0x12000, 2, Access::ReadWrite),
            sourced(0x14000, 2, Access::Read, false),
            eager(0x16000, 2),
        ],
        vec![
            eager(0x10000, 1),
            region(0x11000, 1, Access::Read),
            sourced(0x12000, 4, Access::ReadWrite, true),
            region(0x17000, 1, Access::ReadWrite),
            region(0xffff_f000, 1, Access::ReadWrite),
        ],
        vec![
            region(0x10000, 3, Access::Read),
            sourced(0x14000, 3, Access::ReadWrite, false),
            eager(0xffff_e000, 2),
        ],
        vec![],
    ]
}

#[derive(Debug, Clone)]
enum Part {
    Plain(Vec<Instruction>),
    Loop(u8, Vec<Instruction>),
    /// A function by number.
    Call(usize),
    Host(u32),
}

/// φ1..φ4 hold addresses, φ5 the loop's counter.
const BASES: std::ops::Range<u8> = 1..5;
const COUNTER: u8 = 5;
const FREE: std::ops::Range<u8> = 6..13;

fn plain() -> impl Strategy<Value = Instruction> {
    let calm: Vec<Opcode> = Opcode::ALL
        .iter()
        .copied()
        .filter(|o| !o.is_terminator() && !matches!(o, Opcode::Ecall | Opcode::Ecalli))
        .collect();
    let memory = |opcode: Opcode| opcode.cost().units.load + opcode.cost().units.store > 0;
    let accesses: Vec<Opcode> = calm.iter().copied().filter(|o| memory(*o)).collect();
    let opcode = prop_oneof![
        2 => proptest::sample::select(calm),
        1 => proptest::sample::select(accesses),
    ];
    let immediate = || prop_oneof![5 => -20..20i64, 1 => any::<i32>().prop_map(i64::from)];
    let wide = prop_oneof![3 => 0x10000..0x18010i64, 1 => 0xffff_dff0..=0xffff_ffffi64];
    let registers = (0..13u8, FREE, FREE, BASES);
    (opcode, registers, immediate(), immediate(), wide).prop_map(
        move |(opcode, (any, r1, r2, base), x, y, wide)| {
            let (mut ra, mut rb) = (r1, any);
            let mut x = x;
            match opcode.format() {
                Format::RRI if memory(opcode) => rb = base,
                Format::RII if memory(opcode) => ra = base,
                _ if memory(opcode) => x = i64::from(wide as i32),
                Format::RRR | Format::RR => (ra, rb) = (any, r1),
                _ => {}
            }
            Instruction {
                opcode,
                ra,
                rb,
                rd: r2,
                x: x as u64,
                y: y as u64,
            }
        },
    )
}

fn parts(depth: usize) -> impl Strategy<Value = Vec<Part>> {
    let body = || prop::collection::vec(plain(), 1..12);
    let part = prop_oneof![
        3 => body().prop_map(Part::Plain),
        3 => (1..12u8, body()).prop_map(|(count, body)| Part::Loop(count, body)),
        2 => (0..depth.max(1)).prop_map(move |f| if depth == 0 { Part::Host(1) } else { Part::Call(f) }),
        1 => any::<u32>().prop_map(Part::Host),
    ];
    prop::collection::vec(part, 1..6)
}

/// An instruction whose offset leads to a label.
enum Item {
    Fixed(Instruction),
    To(usize, Instruction),
    Label(usize),
    /// A return address: the next entry of the jump table.
    Return,
}

struct Writer {
    items: Vec<Item>,
    labels: usize,
    returns: i64,
}

impl Writer {
    fn fixed(&mut self, instruction: Instruction) {
        self.items.push(Item::Fixed(instruction));
    }

    fn parts(&mut self, parts: &[Part], functions: &[usize]) {
        for part in parts {
            match part {
                Part::Plain(body) => body.iter().for_each(|i| self.fixed(*i)),
                Part::Loop(count, body) => {
                    self.fixed(common::ri(Opcode::LoadImm, COUNTER, i64::from(*count)));
                    self.fixed(common::op(Opcode::Fallthrough));
                    let label = self.labels;
                    self.labels += 1;
                    self.items.push(Item::Label(label));
                    body.iter().for_each(|i| self.fixed(*i));
                    self.fixed(common::rri(Opcode::AddImm64, COUNTER, COUNTER, -1));
                    let back = common::ri(Opcode::BranchNeImm, COUNTER, 0);
                    self.items.push(Item::To(label, back));
                }
                Part::Call(function) => {
                    let Some(label) = functions.get(*function) else {
                        continue;
                    };
                    self.returns += 1;
                    let call = common::ri(Opcode::LoadImmJump, 0, 2 * self.returns);
                    self.items.push(Item::To(*label, call));
                    self.items.push(Item::Return);
                }
                Part::Host(number) => self.fixed(Instruction {
                    x: i64::from(*number as i32) as u64,
                    ..common::op(Opcode::Ecalli)
                }),
            }
        }
    }

    /// The program, once lengths and offsets agree.
    fn link(&self) -> Option<Program> {
        let mut places = vec![0i64; self.labels];
        for _ in 0..10 {
            let (mut list, mut table, mut at) = (vec![], vec![], 0);
            let mut next = places.clone();
            for item in &self.items {
                let instruction = match item {
                    Item::Label(label) => {
                        next[*label] = at;
                        continue;
                    }
                    Item::Return => {
                        table.push(at as u32);
                        continue;
                    }
                    Item::Fixed(instruction) => *instruction,
                    Item::To(label, instruction) => Instruction {
                        y: (places[*label] - at) as u64,
                        ..*instruction
                    },
                };
                let mut bytes = vec![];
                instruction.encode(&mut bytes).unwrap();
                at += bytes.len() as i64;
                list.push(instruction);
            }
            if next == places {
                return Some(common::program_with_table(&list, &table));
            }
            places = next;
        }
        None
    }
}

/// Main and three functions, each calling only later ones through φ0.
fn write(main: &[Part], functions: &[Vec<Part>]) -> Option<Program> {
    let labels: Vec<usize> = (0..functions.len()).collect();
    let mut writer = Writer {
        items: vec![],
        labels: labels.len(),
        returns: 0,
    };
    writer.parts(main, &labels);
    writer.fixed(common::ri(Opcode::LoadImm, 0, -0x1_0000));
    writer.fixed(common::ri(Opcode::JumpInd, 0, 0));
    for (label, parts) in functions.iter().enumerate() {
        writer.items.push(Item::Label(label));
        writer.parts(parts, &[]);
        writer.fixed(common::ri(Opcode::JumpInd, 0, 0));
    }
    writer.link()
}

fn any_program() -> impl Strategy<Value = Program> {
    let functions = prop::collection::vec(parts(0), 3);
    (parts(3), functions).prop_filter_map("offsets settle", |(main, functions)| {
        write(&main, &functions)
    })
}

#[derive(Debug, Clone)]
struct Start {
    regs: [u64; 13],
    layout: usize,
    gas: u64,
    piece: u64,
    model: GasModel,
}

fn start() -> impl Strategy<Value = Start> {
    let address = prop_oneof![
        8 => 0x10020..0x17fe0u64,
        3 => (0x10..0x19u64, 0..16u64).prop_map(|(page, back)| page * 4096 + 4 - back),
        1 => 0xffff_dff0..0x1_0000_0010u64,
        1 => any::<u64>(),
    ];
    let value = prop_oneof![
        0..64u64,
        any::<u64>(),
        Just(1u64 << 63),
        Just(u64::MAX),
        Just(0x8000_0000)
    ];
    let model = prop_oneof![Just(GasModel::Unit), Just(GasModel::Pipeline)];
    let bases = prop::array::uniform4(address);
    (
        prop::array::uniform13(value),
        bases,
        0..5usize,
        0..20_000u64,
        1..2000u64,
        model,
    )
        .prop_map(|(mut regs, bases, layout, gas, piece, model)| {
            regs[1..5].copy_from_slice(&bases);
            Start {
                regs,
                layout,
                gas,
                piece,
                model,
            }
        })
}

/// Runs to the end with gas in pieces, host calls answered, faults passed over a few
/// times by moving an address; engines are compared at every stop.
fn run(program: &Program, start: &Start) -> State {
    let mut rig = Rig::new(
        program.clone(),
        start.model,
        layouts()[start.layout].clone(),
    );
    for (index, value) in start.regs.iter().enumerate() {
        rig.set_reg(index, *value);
    }
    let mut left = start.gas;
    let mut stops = 0;
    loop {
        let state = rig.run();
        stops += 1;
        match state.exit {
            Exit::OutOfGas if left > 0 => {
                let more = left.min(start.piece);
                left -= more;
                rig.set_gas(state.gas + more);
            }
            Exit::HostCall(number) if stops < 300 => {
                rig.set_reg(7, number ^ stops);
                rig.each(|machine| {
                    let _ = machine.write(0x10ffe, &stops.to_le_bytes());
                });
            }
            Exit::PageFault(_) if stops < 60 => {
                for base in BASES {
                    rig.set_reg(usize::from(base), 0x10100 + 0x1000 * (stops % 8));
                }
                // What was at fault may not use a base: go on behind it then.
                if stops % 2 == 0 {
                    rig.set_pc(program.next_pc(state.pc), true);
                }
            }
            _ => return state,
        }
    }
}

fn cases() -> u32 {
    let asked = std::env::var("JAR_CASES").ok();
    asked.and_then(|cases| cases.parse().ok()).unwrap_or(1500)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn engines_agree_at_every_stop(program in any_program(), start in start()) {
        run(&program, &start);
    }
}

#[test]
fn faults_in_many_threads_stay_apart() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let cases: Vec<(Program, Start)> = (0..60)
        .map(|_| {
            let tree = (any_program(), start()).new_tree(&mut runner).unwrap();
            tree.current()
        })
        .collect();
    let expected: Vec<State> = cases.iter().map(|(p, s)| run(p, s)).collect();
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let (cases, expected) = (&cases, &expected);
            scope.spawn(move || {
                for round in 0..10 {
                    for index in 0..cases.len() {
                        let index = (index * 7 + thread * 11 + round) % cases.len();
                        let (program, start) = &cases[index];
                        assert_eq!(run(program, start), expected[index]);
                    }
                }
            });
        }
    });
}

/// Every other page written: more areas than the system allows one process.
#[test]
fn scattered_writes_are_exact_however_many() {
    let pages = 0x4_0000u32;
    let body = [
        common::rri(Opcode::StoreIndU64, 2, 1, 0),
        common::rri(Opcode::AddImm64, 1, 1, 0x2000),
        common::rri(Opcode::AddImm64, 2, 2, 1),
    ];
    let back = -i64::from(common::program(&body).code_len());
    let list = [&body[..], &[common::rri(Opcode::BranchNe, 1, 3, back)]].concat();
    let mut rig = Rig::new(
        common::program(&list),
        GasModel::Unit,
        vec![region(0x10000, pages, Access::ReadWrite)],
    );
    let writes = 40_000u64;
    rig.set_reg(1, 0x10000);
    rig.set_reg(3, 0x10000 + 0x2000 * writes);
    rig.set_gas(1 << 40);
    rig.each(|machine| {
        assert_eq!(machine.run().unwrap(), Exit::Panic);
        assert_eq!(u64::from(machine.written_count()), writes);
        let listed = machine.written_pages();
        for (index, page) in listed.into_iter().enumerate() {
            assert_eq!(page, 0x10 + 2 * index as u32);
            let bytes = machine.page_bytes(page).unwrap();
            assert_eq!(bytes[..8], (index as u64).to_le_bytes());
        }
        assert_eq!(machine.regs()[2], writes);
    });
}

/// As above, by the host, between the guest's calls; what the guest has written in an eager
/// region is kept.
#[test]
fn scattered_writes_of_the_host_are_exact_however_many() {
    let list = [
        common::rri(Opcode::StoreIndU64, 1, 2, 0),
        common::op(Opcode::Ecall),
        common::rri(Opcode::LoadIndU64, 3, 2, 0),
        common::rri(Opcode::LoadIndU64, 4, 5, 0),
        common::op(Opcode::Ecall),
        common::op(Opcode::Trap),
    ];
    let regions = vec![
        Region {
            eager: true,
            ..region(0x10000, 4, Access::ReadWrite)
        },
        region(0x20000, 0x4_0000, Access::ReadWrite),
    ];
    let mut rig = Rig::new(common::program(&list), GasModel::Pipeline, regions);
    rig.set_reg(1, 77);
    rig.set_reg(2, 0x12ff8);
    rig.set_reg(5, 0x20000 + 0x2000 * 20_000 - 4);
    rig.set_gas(1 << 20);
    rig.run();
    rig.each(|machine| {
        for index in 0..20_001u32 {
            let bytes = index.to_le_bytes();
            machine.write(0x20000 + 0x2000 * index, &bytes).unwrap();
        }
        assert_eq!(machine.pc(), 2);
        let mut back = [0; 4];
        machine.read(0x20000 + 0x2000 * 12_345, &mut back).unwrap();
        assert_eq!(u32::from_le_bytes(back), 12_345);
    });
    let state = rig.run();
    assert_eq!((state.regs[3], state.regs[4]), (77, 20_000 << 32));
    assert_eq!(state.written.len(), 20_001);
    assert_eq!(rig.run().exit, Exit::Panic);
}
