//! Random and mutated programs: no panic of the node, the same result every
//! time, on every engine, traced or not, in one go or in pieces.

mod common;

use std::sync::Arc;

use common::{Rig, State, region};
use jar_isa::{Format, Instruction, Opcode};
use jar_pvm::{
    Access, Exit, GasModel, Hook, Interpreter, Machine, MemoryMap, Program, Region, Traced,
    disassemble,
};
use proptest::prelude::*;

fn layout() -> Vec<Region> {
    vec![
        region(0x10000, 2, Access::ReadWrite),
        region(0x12000, 1, Access::Read),
        region(0x14000, 1, Access::ReadWrite),
        region(0xffff_f000, 1, Access::ReadWrite),
    ]
}

/// Registers that start with addresses and are seldom overwritten.
const BASES: u8 = 4;

/// Values that make jumps through the table land, and arithmetic meet its edges.
fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..40u64,
        Just(u64::MAX),
        Just(1 << 63),
        Just(0x8000_0000),
        Just(0xffff_0000),
        any::<u64>(),
    ]
}

/// Mostly well inside writable pages, else around the edges.
fn address() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => 0x10100..0x11f00u64,
        2 => 0x12000..0x13000u64,
        2 => 0x14000..0x15000u64,
        1 => 0x0ffe0..0x15020u64,
        1 => 0xffff_efe0u64..=0xffff_ffff,
    ]
}

/// An instruction whose offset, if it has one, stands for the number of a block.
fn instruction() -> impl Strategy<Value = Instruction> {
    let calm: Vec<Opcode> = Opcode::ALL
        .iter()
        .copied()
        .filter(|o| !o.is_terminator())
        .collect();
    let jumps: Vec<Opcode> = Opcode::ALL
        .iter()
        .copied()
        .filter(|o| o.is_branch() || *o == Opcode::Fallthrough)
        .collect();
    let opcode = prop_oneof![
        80 => proptest::sample::select(calm),
        20 => proptest::sample::select(jumps),
        4 => proptest::sample::select(Opcode::ALL),
    ];
    let register = || prop_oneof![9 => BASES..13u8, 1 => 0..13u8];
    let immediate = || prop_oneof![4 => -40..40i64, 1 => any::<i32>().prop_map(i64::from)];
    let operands = (register(), register(), register(), 0..BASES, address());
    (opcode, operands, immediate(), immediate()).prop_map(
        |(opcode, (ra, rb, rd, base, address), x, y)| {
            let mut out = Instruction {
                opcode,
                ra,
                rb,
                rd,
                x: x as u64,
                y: y as u64,
            };
            let units = opcode.cost().units;
            if units.load + units.store > 0 {
                match opcode.format() {
                    Format::RRI => out.rb = base,
                    Format::RII => out.ra = base,
                    _ => out.x = address as i32 as i64 as u64,
                }
            }
            out
        },
    )
}

/// Turns block numbers into offsets. Lengths and offsets depend on each other;
/// what hasn't settled after a few rounds is a bad jump.
fn link(list: &[Instruction], table: &[u32]) -> Program {
    let mut linked = list.to_vec();
    for _ in 0..4 {
        let (mut pcs, mut blocks, mut code) = (vec![], vec![0], vec![]);
        for instruction in &linked {
            pcs.push(code.len() as i64);
            instruction
                .encode(&mut code)
                .expect("the instruction has a byte form");
            if instruction.opcode.is_terminator() {
                blocks.push(code.len() as i64);
            }
        }
        blocks.pop();
        for ((new, old), pc) in linked.iter_mut().zip(list).zip(pcs) {
            let Some(number) = old.offset().filter(|_| !blocks.is_empty()) else {
                continue;
            };
            let target = blocks[number.unsigned_abs() as usize % blocks.len()];
            let place = if new.opcode.format() == Format::RIO {
                &mut new.y
            } else {
                &mut new.x
            };
            *place = (target - pc) as u64;
        }
    }
    common::program_with_table(&linked, table)
}

/// Whole programs, some with a few bytes and bits turned over, or noise.
fn any_program() -> impl Strategy<Value = Program> {
    let list = prop::collection::vec(instruction(), 1..120);
    let change = || prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    let table = prop::collection::vec(0..200u32, 0..20);
    let whole = (list, table)
        .prop_map(|(list, table)| link(&list, &table))
        .boxed();
    let mutated = (whole.clone(), change(), change()).prop_map(|(program, code, mask)| {
        let (mut bytes, mut bits) = (program.code().to_vec(), program.bitmask().to_vec());
        for (at, byte) in code {
            *at.get_mut(&mut bytes) = byte;
        }
        for (at, bit) in mask {
            *at.get_mut(&mut bits) ^= 1 << (bit % 8);
        }
        bits[0] |= 1;
        Program::new(bytes, bits, program.jump_table().to_vec()).unwrap()
    });
    let noise = prop::collection::vec(any::<(u8, bool)>(), 1..200).prop_map(|bytes| {
        let mut bits = vec![0u8; bytes.len().div_ceil(8)];
        for (at, (_, start)) in bytes.iter().enumerate() {
            bits[at / 8] |= u8::from(*start || at == 0) << (at % 8);
        }
        Program::new(
            bytes.iter().map(|(b, _)| *b).collect(),
            bits,
            vec![0, 1, 2, 3],
        )
        .unwrap()
    });
    prop_oneof![6 => whole, 3 => mutated, 1 => noise]
}

fn model() -> impl Strategy<Value = GasModel> {
    prop_oneof![Just(GasModel::Unit), Just(GasModel::Pipeline)]
}

#[derive(Debug, Clone)]
struct Start {
    regs: [u64; 13],
    pc: u32,
    gas: u64,
}

fn start() -> impl Strategy<Value = Start> {
    let pc = prop_oneof![8 => Just(0u32), 1 => 0..200u32, 1 => any::<u32>()];
    let bases = prop::collection::vec(address(), usize::from(BASES));
    (prop::array::uniform13(value()), bases, pc, 0..5000u64).prop_map(
        |(mut regs, bases, pc, gas)| {
            regs[..bases.len()].copy_from_slice(&bases);
            Start { regs, pc, gas }
        },
    )
}

fn rig(program: &Program, model: GasModel, start: &Start) -> Rig {
    let mut rig = Rig::new(program.clone(), model, layout());
    rig.each(|machine| prepare(machine, start));
    rig
}

fn prepare(machine: &mut dyn Machine, start: &Start) {
    for (index, value) in start.regs.iter().enumerate() {
        machine.set_reg(index, *value);
    }
    machine.set_pc(start.pc, false);
    machine.set_gas(start.gas);
}

/// Runs on after host calls, answering each in φ7, at most `calls` times.
fn run_calls(rig: &mut Rig, calls: usize) -> Vec<State> {
    let mut states = vec![];
    loop {
        let state = rig.run();
        let call = matches!(state.exit, Exit::HostCall(_));
        states.push(state);
        if !call || states.len() > calls {
            return states;
        }
        rig.set_reg(7, states.len() as u64);
    }
}

struct Count {
    before: u64,
    after: u64,
}

impl Hook for Count {
    fn before(&mut self, _: &Traced<'_>) {
        self.before += 1;
    }

    fn after(&mut self, _: &Traced<'_>) {
        self.after += 1;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn runs_are_deterministic(program in any_program(), model in model(), start in start()) {
        let states = run_calls(&mut rig(&program, model, &start), 5);
        prop_assert_eq!(&states, &run_calls(&mut rig(&program, model, &start), 5));
        prop_assert!(states.iter().all(|state| state.gas <= start.gas));
        prop_assert!(!disassemble(&program).is_empty());
        prop_assert_eq!(Program::from_blob(&program.to_blob()), Ok(program));
    }

    /// Gas given in pieces changes nothing but where it runs out.
    #[test]
    fn topping_up_equals_having_had_it(
        program in any_program(), model in model(), start in start(), first in 0..200u64,
    ) {
        let whole = rig(&program, model, &start).run();
        let first = first.min(start.gas);
        let mut rig = rig(&program, model, &Start { gas: first, ..start.clone() });
        let mut state = rig.run();
        let mut left = start.gas - first;
        while state.exit == Exit::OutOfGas && left > 0 {
            let more = left.min(37);
            left -= more;
            rig.set_gas(state.gas + more);
            state = rig.run();
        }
        prop_assert_eq!(state.gas + left, whole.gas);
        state.gas = whole.gas;
        prop_assert_eq!(state, whole);
    }

    /// A tracer sees every instruction and changes nothing.
    #[test]
    fn tracing_changes_nothing(program in any_program(), start in start()) {
        let plain = rig(&program, GasModel::Unit, &start).run();
        let code = Interpreter.compile(Arc::new(program), GasModel::Unit);
        let mut machine = code.interpreter_machine(MemoryMap::new(layout()).unwrap());
        prepare(&mut machine, &start);
        let mut count = Count { before: 0, after: 0 };
        let exit = machine.run_traced(&mut count).unwrap();
        prop_assert_eq!(exit, plain.exit);
        prop_assert_eq!(machine.regs(), &plain.regs);
        prop_assert_eq!((machine.pc(), machine.gas()), (plain.pc, plain.gas));
        prop_assert_eq!(machine.written_pages(), plain.written.into_keys().collect::<Vec<_>>());
        prop_assert!(count.before - count.after <= 1);
    }

    #[test]
    fn blobs_never_break_the_loader(blob in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(program) = Program::from_blob(&blob) {
            prop_assert_eq!(Program::from_blob(&program.to_blob()), Ok(program));
        }
    }
}
