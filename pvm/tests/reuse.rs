//! Machines one after the other: what an earlier one left is neither seen nor counted, and
//! written pages are exact whatever was there before. On every engine, the recompiler in both
//! of its ways to learn of writes.

mod common;

use std::sync::Arc;

use common::{Pages, engines, op, program, region, rri};
use jar_isa::Opcode;
use jar_pvm::{
    Access, Backing, Code, Engine, Exit, GasModel, Machine, MemoryMap, PAGE_SIZE, Region,
};

const START: u32 = 0x2_0000;
const PAGES: u32 = 40;

/// From φ1 to φ3 in steps of φ4: φ2 := φ2 | [φ1]; where φ5 isn't 0, [φ1] := φ5.
fn walker(engine: &dyn Engine) -> Arc<dyn Code> {
    let store = rri(Opcode::StoreIndU64, 5, 1, 0);
    let load = rri(Opcode::LoadIndU64, 6, 1, 0);
    let body = [
        op(Opcode::Fallthrough),
        load,
        common::rrr(Opcode::Or, 2, 2, 6),
        // Over the store: its length and that of this branch.
        jar_isa::Instruction {
            ra: 5,
            x: 0,
            y: 0,
            ..op(Opcode::BranchEqImm)
        },
        store,
        op(Opcode::Fallthrough),
        common::rrr(Opcode::Add64, 1, 1, 4),
        rri(Opcode::BranchLtU, 1, 3, 0),
        op(Opcode::Trap),
    ];
    let mut list = body;
    // Offsets are from the jump; lengths settle at once.
    for _ in 0..3 {
        let at: Vec<u32> = program(&list).instructions().map(|(pc, _)| pc).collect();
        list[3].y = u64::from(at[6] - at[3]);
        list[7].x = (i64::from(at[1]) - i64::from(at[7])) as u64;
    }
    engine.prepare(Arc::new(program(&list)), GasModel::Unit)
}

/// Goes through `pages` and writes `value`, if not 0; what all it saw came to.
fn walk(machine: &mut dyn Machine, pages: std::ops::Range<u32>, step: u32, value: u64) -> u64 {
    let address = |page: u32| u64::from(START + page * PAGE_SIZE);
    machine.set_gas(1 << 40);
    machine.set_pc(0, false);
    machine.set_reg(1, address(pages.start));
    machine.set_reg(2, 0);
    machine.set_reg(3, address(pages.end));
    machine.set_reg(4, u64::from(step));
    machine.set_reg(5, value);
    assert_eq!(machine.run().unwrap(), Exit::Panic);
    assert!(machine.regs()[1] >= address(pages.end), "went to the end");
    machine.regs()[2]
}

fn map(eager: bool) -> MemoryMap {
    let regions = vec![Region {
        eager,
        ..region(START, PAGES, Access::ReadWrite)
    }];
    MemoryMap::new(regions).unwrap()
}

/// A machine that was dropped; each engine has its own windows.
fn written(code: &Arc<dyn Code>, map: &MemoryMap, pages: std::ops::Range<u32>) {
    let mut machine = code.clone().machine(map.clone());
    walk(&mut *machine, pages, 8, u64::MAX);
}

/// A machine that was reset is as a new one: what it sees, what it counts, what it may do.
#[test]
fn a_reset_machine_is_a_new_one() {
    let bytes: Vec<u8> = (0..4096).map(|index| index as u8).collect();
    let pages = Arc::new(Pages([(0, bytes.clone()), (3, bytes)].into()));
    let sourced = |access, eager| Region {
        backing: Backing::Source(pages.clone()),
        eager,
        ..region(START, 5, access)
    };
    let behind = region(START + 5 * PAGE_SIZE, PAGES - 5, Access::ReadWrite);
    let mut layouts = vec![map(false), map(true)];
    for access in [Access::Read, Access::ReadWrite] {
        for eager in [false, true] {
            let regions = vec![sourced(access, eager), behind.clone()];
            layouts.push(MemoryMap::new(regions).unwrap());
        }
    }
    for engine in engines() {
        let code = walker(&*engine);
        for layout in &layouts {
            let mut machine = code.clone().machine(layout.clone());
            for pages in [0..PAGES, 3..4, 6..9, 0..0, 4..14, 0..PAGES] {
                let mut fresh = code.clone().machine(layout.clone());
                assert_eq!(state(&*machine), state(&*fresh));
                let run = |machine: &mut dyn Machine| {
                    machine.set_gas(1 << 40);
                    machine.set_reg(1, u64::from(START + pages.start * PAGE_SIZE));
                    machine.set_reg(3, u64::from(START + pages.end * PAGE_SIZE));
                    machine.set_reg(4, 8);
                    machine.set_reg(5, 7);
                    let exit = machine.run().unwrap();
                    let mut bytes = vec![0; (PAGES * PAGE_SIZE) as usize];
                    machine.read(START, &mut bytes).unwrap();
                    (exit, state(machine), bytes)
                };
                assert!(run(&mut *machine) == run(&mut *fresh), "{}", engine.name());
                assert!(machine.reset());
            }
        }
    }
}

fn state(machine: &dyn Machine) -> ([u64; 13], u32, u64, Vec<u32>, u32) {
    let written = machine.written_pages();
    let count = machine.written_count();
    (*machine.regs(), machine.pc(), machine.gas(), written, count)
}

#[test]
fn nothing_of_an_earlier_guest_is_seen() {
    let layouts = [
        map(false),
        map(true),
        MemoryMap::new(vec![
            region(START, 7, Access::ReadWrite),
            Region {
                eager: true,
                ..region(START + 7 * PAGE_SIZE, 5, Access::ReadWrite)
            },
            region(START + 12 * PAGE_SIZE, PAGES - 12, Access::ReadWrite),
        ])
        .unwrap(),
    ];
    for engine in engines() {
        let code = walker(&*engine);
        for before in &layouts {
            for after in &layouts {
                for pages in [0..PAGES, 3..4, 5..14, PAGES - 1..PAGES] {
                    written(&code, before, pages);
                    let mut machine = code.clone().machine(after.clone());
                    assert_eq!(machine.regs(), &[0; 13]);
                    assert_eq!(walk(&mut *machine, 0..PAGES, 8, 0), 0);
                    assert_eq!(machine.written_pages(), [0; 0]);
                }
            }
        }
    }
}

/// Also when the host looks, and in a run that comes back with a window of another layout.
#[test]
fn the_host_sees_nothing_of_an_earlier_guest() {
    for engine in engines() {
        let code = walker(&*engine);
        for eager in [false, true] {
            written(&code, &map(eager), 0..PAGES);
            let read_only = MemoryMap::new(vec![region(START, PAGES, Access::Read)]).unwrap();
            for layout in [map(false), map(true), read_only] {
                let mut machine = code.clone().machine(layout);
                let mut bytes = vec![1; (PAGES * PAGE_SIZE) as usize];
                machine.read(START, &mut bytes).unwrap();
                assert!(bytes.iter().all(|byte| *byte == 0));
                let first = START / PAGE_SIZE;
                for page in first..first + PAGES {
                    let bytes = machine.page_bytes(page);
                    assert!(bytes.is_none_or(|bytes| bytes.iter().all(|byte| *byte == 0)));
                }
            }
        }
    }
}

#[test]
fn written_pages_are_those_of_this_machine() {
    for engine in engines() {
        let code = walker(&*engine);
        let first = START / PAGE_SIZE;
        for round in 0..6 {
            // What was writable, or eager, before.
            written(&code, &map(round % 2 == 0), round..PAGES - round);
            let mut machine = code.clone().machine(map(false));
            assert_eq!(machine.written_count(), 0);
            assert_eq!(walk(&mut *machine, 0..PAGES, 8, 0), 0);
            assert_eq!(machine.written_pages(), [0; 0]);
            // Each second page; a store of what is there already is a store.
            walk(&mut *machine, 2..20, 2 * PAGE_SIZE, 7);
            walk(&mut *machine, 2..20, 2 * PAGE_SIZE, 7);
            let mut expected: Vec<u32> = (2..20).step_by(2).map(|page| first + page).collect();
            assert_eq!(machine.written_pages(), expected);
            machine.write((first + 33) * PAGE_SIZE, &[0]).unwrap();
            expected.push(first + 33);
            assert_eq!(machine.written_pages(), expected);
            assert_eq!(machine.written_count() as usize, expected.len());
            let zeros = machine.page_bytes(first + 33).expect("written");
            assert!(zeros.iter().all(|byte| *byte == 0));
        }
    }
}

#[test]
fn a_layout_without_the_right_is_not_writable_behind_one_with_it() {
    for engine in engines() {
        let code = walker(&*engine);
        for eager in [false, true] {
            written(&code, &map(eager), 0..PAGES);
            let read_only = MemoryMap::new(vec![region(START, PAGES, Access::Read)]).unwrap();
            let mut machine = code.clone().machine(read_only);
            machine.set_gas(1 << 20);
            machine.set_reg(1, u64::from(START + 5 * PAGE_SIZE));
            machine.set_reg(5, 1);
            let refused = Exit::PageFault(START + 5 * PAGE_SIZE);
            assert_eq!(machine.run().unwrap(), refused);
            assert_eq!(machine.written_count(), 0);
        }
    }
}

/// A store over the edge of a region is refused as a whole, also where the page it begins or
/// ends in is one whose writes the kernel records.
#[test]
fn refused_stores_across_an_edge_write_nothing() {
    let sourced = Region {
        backing: Backing::Source(Arc::new(Pages([(0, vec![7; 4096])].into()))),
        ..region(START - PAGE_SIZE, 1, Access::Read)
    };
    let regions = vec![sourced, region(START, PAGES, Access::ReadWrite)];
    let map = MemoryMap::new(regions).unwrap();
    let (first, end) = (START / PAGE_SIZE, START + PAGES * PAGE_SIZE);
    for engine in engines() {
        let store = program(&[rri(Opcode::StoreIndU64, 5, 1, 0)]);
        let code = engine.prepare(Arc::new(store), GasModel::Unit);
        for round in 0..3 {
            let mut machine = code.clone().machine(map.clone());
            let mut store = |address: u32| {
                machine.set_gas(10);
                machine.set_pc(0, false);
                machine.set_reg(1, u64::from(address));
                machine.set_reg(5, u64::MAX);
                (machine.run().unwrap(), machine.written_pages())
            };
            let middle = START + 9 * PAGE_SIZE;
            assert_eq!(store(middle), (Exit::Panic, vec![first + 9]), "{round}");
            for distance in 1..8 {
                let (exit, pages) = store(end - distance);
                assert_eq!((exit, pages), (Exit::PageFault(end), vec![first + 9]));
                let (exit, pages) = store(START - distance);
                let before = Exit::PageFault(START - PAGE_SIZE);
                assert_eq!((exit, pages), (before, vec![first + 9]));
            }
            let across = middle + PAGE_SIZE - 3;
            assert_eq!(store(across), (Exit::Panic, vec![first + 9, first + 10]));
            let (_, pages) = store(end - 8);
            assert_eq!(pages, [first + 9, first + 10, first + PAGES - 1]);
        }
    }
}
