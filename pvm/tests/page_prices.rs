//! Pages whose first touch costs gas: what is charged, when, and that every engine agrees.

mod common;

use std::sync::Arc;

use common::{Pages, Priced, Rig, op, program, region, ri, rri};
use jar_isa::{Instruction, Opcode};
use jar_pvm::{
    Access, Backing, Exit, GasModel, Hook, Interpreter, MemoryError, MemoryMap, PAGE_SIZE, Region,
    Traced,
};

const PRICE: u64 = 100;
const START: u32 = 0x10000;

/// Three pages with a price, the first with content, two without, zeros behind them.
fn regions(access: Access, eager: bool) -> Vec<Region> {
    let pages = |first: u8| Pages([(0, vec![first; 4096]), (1, vec![8; 10])].into());
    let backed = |start, count, backing| Region {
        backing,
        ..region(start, count, access)
    };
    let priced = Backing::Source(Arc::new(Priced(pages(7), PRICE)));
    let free = Backing::Source(Arc::new(pages(9)));
    vec![
        Region {
            eager,
            ..backed(START, 3, priced)
        },
        backed(START + 3 * PAGE_SIZE, 2, free),
        region(START + 5 * PAGE_SIZE, 1, access),
    ]
}

fn load() -> Instruction {
    rri(Opcode::LoadIndU64, 2, 1, 0)
}

fn store() -> Instruction {
    rri(Opcode::StoreIndU64, 2, 1, 0)
}

/// An instruction before, so that the access is inside a block.
fn rig(access: Instruction, regions: Vec<Region>) -> Rig {
    let list = [ri(Opcode::LoadImm, 5, 1), access, op(Opcode::Trap)];
    Rig::new(program(&list), GasModel::Unit, regions)
}

/// Gas of the access itself, when there is enough of it.
fn cost(rig: &mut Rig, address: u32) -> u64 {
    let gas = 1_000_000;
    rig.set_pc(0, false);
    rig.set_gas(gas);
    rig.set_reg(1, address.into());
    let state = rig.run();
    assert_eq!(state.exit, Exit::Panic);
    gas - state.gas - 3
}

#[test]
fn the_first_touch_of_a_page_is_paid_and_no_other() {
    for (instruction, access) in [
        (load(), Access::Read),
        (load(), Access::ReadWrite),
        (store(), Access::ReadWrite),
    ] {
        for eager in [false, true] {
            let mut rig = rig(instruction, regions(access, eager));
            let page = |index: u32| START + index * PAGE_SIZE;
            for (address, pages) in [
                (page(0), 1),
                (page(0) + 8, 0),
                // Over the border to the next, to the one behind, to free ones, to zeros.
                (page(1) - 1, 1),
                (page(1), 0),
                (page(2) + 4, 1),
                (page(3) - 4, 0),
                (page(4), 0),
                (page(5) - 4, 0),
                (page(5), 0),
            ] {
                assert_eq!(cost(&mut rig, address), pages * PRICE, "{address:#x}");
            }
        }
    }
}

#[test]
fn both_pages_of_an_access_are_paid_or_none() {
    for instruction in [load(), store()] {
        let mut rig = rig(instruction, regions(Access::ReadWrite, false));
        rig.set_reg(1, u64::from(START + PAGE_SIZE - 4));
        rig.set_reg(2, 5);
        rig.set_gas(3 + 2 * PRICE - 1);
        for round in 0..2 {
            let state = rig.run();
            assert_eq!(state.exit, Exit::PagePrice(2 * PRICE), "round {round}");
            assert_eq!((state.pc, state.gas), (3, 2 * PRICE - 1));
            assert_eq!((state.regs[2], state.written.len()), (5, 0));
            rig.each(|machine| {
                assert_eq!(
                    machine.page_price(START, 2 * PAGE_SIZE, Access::Read),
                    2 * PRICE
                );
            });
        }
        // What was paid of the block stays paid.
        rig.set_gas(2 * PRICE);
        let state = rig.run();
        assert_eq!((state.exit, state.gas), (Exit::Panic, 0));
    }
}

#[test]
fn the_right_is_looked_at_first() {
    let mut regions = regions(Access::Read, false);
    regions.truncate(1);
    for (instruction, address, fault) in [
        (store(), START, START),
        (store(), START + PAGE_SIZE - 1, START),
        (load(), START + 3 * PAGE_SIZE - 1, START + 3 * PAGE_SIZE),
    ] {
        let mut rig = rig(instruction, regions.clone());
        rig.set_reg(1, address.into());
        rig.set_gas(10);
        let state = rig.run();
        assert_eq!((state.exit, state.gas), (Exit::PageFault(fault), 7));
    }
}

#[test]
fn a_page_that_was_read_is_written_for_nothing() {
    let list = [load(), store(), op(Opcode::Trap)];
    let mut rig = Rig::new(
        program(&list),
        GasModel::Unit,
        regions(Access::ReadWrite, false),
    );
    rig.set_reg(1, START.into());
    rig.set_gas(3 + PRICE);
    let state = rig.run();
    assert_eq!((state.exit, state.gas), (Exit::Panic, 0));
    assert_eq!(state.written.len(), 1);
}

/// The host is told the price and pays it: its own touches take none of the machine's gas.
#[test]
fn the_host_pays_for_what_it_touches() {
    let behind = START + 6 * PAGE_SIZE;
    let mut rig = rig(load(), regions(Access::ReadWrite, false));
    rig.set_gas(3);
    rig.each(|machine| {
        for (addr, len, pages) in [
            (START, 0, 0),
            (START + 5, 0, 0),
            (START, 1, 1),
            (START + 4095, 1, 1),
            (START + 4095, 2, 2),
            (START, 6 * PAGE_SIZE, 3),
            (0, u32::MAX, 3),
            (START + 3 * PAGE_SIZE, 3 * PAGE_SIZE, 0),
            (behind, 100, 0),
            (u32::MAX, 1, 0),
        ] {
            assert_eq!(
                machine.page_price(addr, len, Access::Read),
                pages * PRICE,
                "{addr:#x} {len}"
            );
        }
        machine.touch(START + 5, 0).unwrap();
        assert_eq!(machine.page_price(START, 1, Access::Read), PRICE);
        machine.touch(START + 4095, 1).unwrap();
        assert_eq!(
            machine.page_price(START, PAGE_SIZE + 1, Access::Read),
            PRICE
        );
        let refused = machine.touch(behind - 1, 2);
        assert!(
            matches!(refused, Err(MemoryError::Access(error)) if error.address == behind.into())
        );
        machine.write(START + PAGE_SIZE, &[1]).unwrap();
        machine.read(START + 2 * PAGE_SIZE, &mut [0]).unwrap();
        assert_eq!(machine.page_price(START, 3 * PAGE_SIZE, Access::Read), 0);
        assert_eq!(machine.gas(), 3);
        assert_eq!(machine.written_pages(), [START / PAGE_SIZE + 1]);
    });
    assert_eq!(cost(&mut rig, START), 0);
    assert_eq!(cost(&mut rig, START + 3 * PAGE_SIZE - 4), 0);
}

/// Whatever an engine keeps of an earlier machine, each one's first touch is its own.
#[test]
fn each_machine_pays_anew() {
    let regions = regions(Access::ReadWrite, false);
    for _ in 0..3 {
        let mut rig = rig(load(), regions.clone());
        for _ in 0..2 {
            assert_eq!(cost(&mut rig, START), PRICE);
            assert_eq!(cost(&mut rig, START), 0);
            rig.each(|machine| assert!(machine.reset()));
        }
    }
}

#[test]
fn a_hook_sees_each_instruction_once() {
    struct Count(Vec<u32>, Vec<u32>);
    impl Hook for Count {
        fn before(&mut self, step: &Traced<'_>) {
            self.0.push(step.pc);
        }
        fn after(&mut self, step: &Traced<'_>) {
            self.1.push(step.pc);
        }
    }
    let list = [ri(Opcode::LoadImm, 5, 1), load(), store(), op(Opcode::Trap)];
    let code = Interpreter.compile(Arc::new(program(&list)), GasModel::Unit);
    let map = MemoryMap::new(regions(Access::ReadWrite, false)).unwrap();
    let mut machine = code.interpreter_machine(map);
    jar_pvm::Machine::set_gas(&mut machine, 1000);
    jar_pvm::Machine::set_reg(&mut machine, 1, (START + PAGE_SIZE - 4).into());
    let mut seen = Count(vec![], vec![]);
    assert_eq!(machine.run_traced(&mut seen).unwrap(), Exit::Panic);
    assert_eq!(seen.0.len(), 4);
    assert_eq!(seen.0[..3], seen.1);
    assert!(seen.0.is_sorted());
}
