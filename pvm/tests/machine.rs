//! Decoding, jumps, exits, host calls, memory, as the public vectors don't show them.

mod common;

use std::sync::Arc;

use common::{Pages, Rig, op, program, program_with_table, region, ri, rri, rrr};
use jar_isa::{Instruction, Opcode};
use jar_pvm::{
    Access, AccessError, Backing, EngineKind, Exit, GasModel, HALT_ADDRESS, MemoryError, MemoryMap,
    PageError, PageSource, Program, Region, engine,
};

const GAS: u64 = 1_000_000;

fn rig(program: Program, regions: Vec<Region>) -> Rig {
    let mut rig = Rig::new(program, GasModel::Unit, regions);
    rig.set_gas(GAS);
    rig
}

fn raw(code: &[u8], starts: &[usize]) -> Program {
    let mut bitmask = vec![0; code.len().div_ceil(8)];
    for start in starts {
        bitmask[start / 8] |= 1 << (start % 8);
    }
    Program::new(code.to_vec(), bitmask, vec![]).unwrap()
}

#[test]
fn a_skip_ends_after_24_bytes() {
    // load_imm with 40 bytes to the next start: execution arrives where none starts.
    let mut code = vec![51, 7, 1, 2, 3, 4, 5];
    code.resize(41, 1);
    code.push(0);
    let mut rig = rig(raw(&code, &[0, 41]), vec![]);
    let state = rig.run();
    assert_eq!(
        (state.exit, state.pc, state.gas),
        (Exit::Panic, 25, GAS - 2)
    );
    assert_eq!(state.regs[7], 0x0403_0201);
    assert_eq!(rig.block_cost(25), Some(2));
}

#[test]
fn a_skip_of_24_bytes_is_whole() {
    let mut code = vec![51, 7, 0xff];
    code.resize(25, 0);
    code.push(1);
    let state = rig(raw(&code, &[0, 25]), vec![]).run();
    assert_eq!(
        (state.exit, state.pc, state.gas),
        (Exit::Panic, 26, GAS - 3)
    );
    assert_eq!(state.regs[7], 0xff);
}

#[test]
fn opcode_bytes_without_their_bit_are_operands() {
    // jump +2 lands on a fallthrough byte that isn't marked.
    let state = rig(raw(&[40, 2, 1, 0], &[0, 3]), vec![]).run();
    assert_eq!((state.exit, state.pc, state.gas), (Exit::Panic, 0, GAS - 1));
    // Marked, it is no block start as long as no terminator stands before it.
    let state = rig(raw(&[40, 3, 2, 1, 0], &[0, 2, 3, 4]), vec![]).run();
    assert_eq!((state.exit, state.pc, state.gas), (Exit::Panic, 0, GAS - 1));
    let state = rig(raw(&[40, 3, 1, 1, 0], &[0, 2, 3, 4]), vec![]).run();
    assert_eq!((state.exit, state.pc, state.gas), (Exit::Panic, 4, GAS - 3));
}

#[test]
fn unknown_opcodes_trap_when_reached() {
    for byte in (0..=255u8).filter(|byte| Opcode::from_byte(*byte).is_none()) {
        let state = rig(raw(&[100, 0x21, byte, 1], &[0, 2, 3]), vec![]).run();
        assert_eq!((state.exit, state.pc, state.gas), (Exit::Panic, 2, GAS - 2));
        // Behind a terminator it can be fallen into, but not jumped to.
        let state = rig(raw(&[1, byte, 1], &[0, 1, 2]), vec![]).run();
        assert_eq!((state.exit, state.pc, state.gas), (Exit::Panic, 1, GAS - 2));
        let state = rig(raw(&[40, 2, byte, 1], &[0, 2, 3]), vec![]).run();
        assert_eq!((state.exit, state.pc, state.gas), (Exit::Panic, 0, GAS - 1));
    }
}

#[test]
fn register_nibbles_over_12_are_12() {
    // add_64 r(0x13), r15, r14, then move_reg.
    let mut rig = rig(raw(&[200, 0xef, 0x13, 100, 0xd3], &[0, 3]), vec![]);
    rig.set_reg(12, 21);
    let state = rig.run();
    assert_eq!((state.regs[12], state.regs[3]), (42, 42));
}

#[test]
fn operands_may_reach_into_the_next_instruction() {
    // add_64 of one byte: its operands are the bytes of what follows.
    let mut rig = rig(raw(&[200, 100, 0x01], &[0, 1]), vec![]);
    rig.set_reg(4, 1);
    rig.set_reg(6, 2);
    let state = rig.run();
    assert_eq!((state.regs[1], state.pc), (0, 3));
    assert_eq!(state.exit, Exit::Panic);
    // add_64 gave φ1 := φ4 + φ6, then move_reg φ1 := φ0.
}

for_each_model! {
    fn host_calls_stop_at_the_call_and_go_on_behind_it(model) {
        let list = [
            ri(Opcode::LoadImm, 1, 5),
            Instruction { x: 7, ..op(Opcode::Ecalli) },
            op(Opcode::Ecall),
            Instruction { x: -1i64 as u64, ..op(Opcode::Ecalli) },
            rri(Opcode::AddImm64, 1, 1, 1),
            op(Opcode::Trap),
        ];
        let mut rig = Rig::new(program(&list), model, vec![]);
        let cost = rig.block_cost(0).unwrap();
        assert_eq!(rig.block_cost(3), Some(cost));
        rig.set_gas(cost);
        let state = rig.run();
        assert_eq!((state.exit, state.pc, state.gas), (Exit::HostCall(7), 3, 0));
        assert_eq!(state.regs[1], 5);
        rig.set_reg(11, u64::MAX - 1);
        let state = rig.run();
        assert_eq!((state.exit, state.pc, state.gas), (Exit::HostCall(u64::MAX - 1), 5, 0));
        let state = rig.run();
        assert_eq!((state.exit, state.pc, state.gas), (Exit::HostCall(u64::MAX), 6, 0));
        let state = rig.run();
        assert_eq!((state.exit, state.pc, state.regs[1]), (Exit::Panic, 11, 6));
    }

    fn a_host_may_go_on_elsewhere(model) {
        let list = [op(Opcode::Ecall), op(Opcode::Fallthrough), op(Opcode::Ecall)];
        let mut rig = Rig::new(program(&list), model, vec![]);
        rig.set_gas(GAS);
        assert_eq!(rig.run().pc, 0);
        let gas = rig.machines[0].gas();
        // Back to the same call, paid: it happens again.
        rig.set_pc(0, true);
        let state = rig.run();
        assert_eq!((state.exit, state.pc, state.gas), (Exit::HostCall(0), 0, gas));
        // Behind it, as another machine would resume.
        rig.set_pc(1, true);
        let state = rig.run();
        let cost = rig.block_cost(2).unwrap();
        assert_eq!((state.exit, state.pc, state.gas), (Exit::HostCall(0), 2, gas - cost));
        // A call as the last instruction runs into the end.
        let state = rig.run();
        assert_eq!((state.exit, state.pc, state.gas), (Exit::Panic, 3, gas - cost));
    }
}

#[test]
fn sbrk_answers_zero() {
    let mut rig = rig(program(&[rrr(Opcode::Sbrk, 3, 4, 0)]), vec![]);
    rig.set_reg(3, 9);
    rig.set_reg(4, 4096);
    let state = rig.run();
    assert_eq!(
        (state.exit, state.regs[3], state.regs[4]),
        (Exit::Panic, 0, 4096)
    );
    assert!(state.written.is_empty());
}

#[test]
fn dynamic_jumps_need_a_sound_entry() {
    // 0: jump_ind r1; 2: fallthrough; 3: load_imm r2, 7; 6: trap
    let list = [
        ri(Opcode::JumpInd, 1, 0),
        op(Opcode::Fallthrough),
        ri(Opcode::LoadImm, 2, 7),
        op(Opcode::Trap),
    ];
    let table = [3, 4, 6, 7, u32::MAX, 2];
    let mut rig = rig(program_with_table(&list, &table), vec![]);
    let mut jump = |address: u64| {
        rig.set_pc(0, false);
        rig.set_reg(1, address);
        rig.set_reg(2, 0);
        let state = rig.run();
        (state.exit, state.pc, state.regs[2])
    };
    assert_eq!(jump(2), (Exit::Panic, 6, 7));
    assert_eq!(jump(2 + (1 << 32)), (Exit::Panic, 6, 7));
    assert_eq!(jump(12), (Exit::Panic, 6, 7));
    assert_eq!(jump(u64::from(HALT_ADDRESS)), (Exit::Halt, 0, 0));
    assert_eq!(jump(u64::from(HALT_ADDRESS) | 1 << 40), (Exit::Halt, 0, 0));
    let odd_zero_or_outside = [0, 1, 3, 13, 14, u64::from(HALT_ADDRESS) + 2, u64::MAX];
    // Entries inside an instruction, inside a block, at and past the code's end.
    for address in odd_zero_or_outside.into_iter().chain([4, 6, 8, 10]) {
        assert_eq!(jump(address), (Exit::Panic, 0, 0), "{address}");
    }
}

#[test]
fn load_imm_jump_ind_reads_its_register_first() {
    let jump = Instruction {
        ra: 1,
        rb: 1,
        x: 5,
        y: 2,
        ..op(Opcode::LoadImmJumpInd)
    };
    let list = [jump, op(Opcode::Trap), op(Opcode::Trap)];
    let at = program(&list).code_len() - 1;
    let mut rig = rig(program_with_table(&list, &[at]), vec![]);
    let state = rig.run();
    assert_eq!((state.exit, state.pc, state.regs[1]), (Exit::Panic, at, 5));
    // It also writes when the jump panics, and when it halts.
    rig.set_pc(0, false);
    rig.set_reg(1, 99);
    let state = rig.run();
    assert_eq!((state.exit, state.pc, state.regs[1]), (Exit::Panic, 0, 5));
    rig.set_pc(0, false);
    rig.set_reg(1, u64::from(HALT_ADDRESS) - 2);
    let state = rig.run();
    assert_eq!((state.exit, state.pc, state.regs[1]), (Exit::Halt, 0, 5));
}

#[test]
fn branches_out_of_the_code_panic_only_when_taken() {
    for offset in [-1, 1, 100, i64::from(i32::MIN), i64::from(i32::MAX)] {
        let list = [rri(Opcode::BranchEq, 1, 2, offset), op(Opcode::Trap)];
        let listed = program(&list);
        let trap = listed.code_len() - 1;
        let mut rig = rig(listed, vec![]);
        let state = rig.run();
        assert_eq!((state.exit, state.pc, state.gas), (Exit::Panic, 0, GAS - 1));
        rig.set_pc(0, false);
        rig.set_reg(1, 1);
        assert_eq!(rig.run().pc, trap);
    }
    // load_imm_jump writes its register though the jump panics, sign-extended.
    let jump = Instruction {
        ra: 3,
        x: -8i64 as u64,
        y: 1,
        ..op(Opcode::LoadImmJump)
    };
    let state = rig(program(&[jump, op(Opcode::Trap)]), vec![]).run();
    assert_eq!(
        (state.exit, state.pc, state.regs[3]),
        (Exit::Panic, 0, -8i64 as u64)
    );
}

/// One load and one store of 8 bytes at φ1.
fn access_rig(regions: Vec<Region>) -> (Rig, Rig) {
    let load = program(&[rri(Opcode::LoadIndU64, 2, 1, 0), op(Opcode::Fallthrough)]);
    let store = program(&[rri(Opcode::StoreIndU64, 2, 1, 0), op(Opcode::Fallthrough)]);
    (rig(load, regions.clone()), rig(store, regions))
}

fn access(rig: &mut Rig, address: u64) -> Exit {
    rig.set_pc(0, false);
    rig.set_reg(1, address);
    rig.set_reg(2, 0x0807_0605_0403_0201);
    let before = rig.machines[0].written_count();
    let state = rig.run();
    if state.pc == 0 {
        assert_eq!(state.regs[2], 0x0807_0605_0403_0201);
        assert_eq!(state.written.len() as u32, before);
    }
    match state {
        state if state.pc == 0 => state.exit,
        _ => Exit::Halt, // past the access
    }
}

#[test]
fn faults_name_the_first_page_without_the_right() {
    const DONE: Exit = Exit::Halt;
    let (mut load, mut store) = access_rig(vec![
        region(0x10000, 1, Access::ReadWrite),
        region(0x11000, 1, Access::Read),
        region(0x13000, 1, Access::ReadWrite),
        region(0xffff_f000, 1, Access::ReadWrite),
    ]);
    for (address, loaded, stored) in [
        (0x10000, DONE, DONE),
        (0x10ff8, DONE, DONE),
        // The second page can be read but not written.
        (0x10ff9, DONE, Exit::PageFault(0x11000)),
        (0x11000, DONE, Exit::PageFault(0x11000)),
        // The second page is absent: the first decides for the store.
        (0x11ff9, Exit::PageFault(0x12000), Exit::PageFault(0x11000)),
        (0x12ff8, Exit::PageFault(0x12000), Exit::PageFault(0x12000)),
        (0x12fff, Exit::PageFault(0x12000), Exit::PageFault(0x12000)),
        (0x13ff8, DONE, DONE),
        (0x13ff9, Exit::PageFault(0x14000), Exit::PageFault(0x14000)),
        // Low addresses, also only partly low.
        (0, Exit::Panic, Exit::Panic),
        (0xfff9, Exit::Panic, Exit::Panic),
        (0xffff, Exit::Panic, Exit::Panic),
        // Around 2^32: address 0 is the lowest without the right.
        (0xffff_fff8, DONE, DONE),
        (0xffff_fff9, Exit::Panic, Exit::Panic),
        (0xffff_ffff, Exit::Panic, Exit::Panic),
        (u64::MAX, Exit::Panic, Exit::Panic),
        (0x1_0001_0000, DONE, DONE),
        (
            0xffff_eff9,
            Exit::PageFault(0xffff_e000),
            Exit::PageFault(0xffff_e000),
        ),
    ] {
        assert_eq!(access(&mut load, address), loaded, "load at {address:#x}");
        assert_eq!(access(&mut store, address), stored, "store at {address:#x}");
        // Again, with whatever the first access left in a cache.
        assert_eq!(
            access(&mut load, address),
            loaded,
            "load again at {address:#x}"
        );
        assert_eq!(
            access(&mut store, address),
            stored,
            "store again at {address:#x}"
        );
    }
    assert!(load.run().written.is_empty());
    let written: Vec<u32> = store.run().written.into_keys().collect();
    assert_eq!(written, [0x10, 0x13, 0xfffff]);
}

#[test]
fn unmapped_at_both_ends_of_a_wrap_is_a_panic() {
    let (mut load, mut store) = access_rig(vec![region(0x10000, 1, Access::ReadWrite)]);
    assert_eq!(access(&mut load, 0xffff_fffc), Exit::Panic);
    assert_eq!(access(&mut store, 0xffff_fffc), Exit::Panic);
    assert_eq!(
        access(&mut store, 0xffff_fff8),
        Exit::PageFault(0xffff_f000)
    );
}

#[test]
fn a_fault_can_be_resumed_without_paying_again() {
    let list = [rri(Opcode::LoadIndU8, 2, 1, 0), op(Opcode::Trap)];
    let mut rig = rig(program(&list), vec![region(0x10000, 1, Access::Read)]);
    rig.set_reg(1, 0x20000);
    let state = rig.run();
    assert_eq!((state.exit, state.gas), (Exit::PageFault(0x20000), GAS - 2));
    assert_eq!(rig.run(), state);
    rig.set_reg(1, 0x10000);
    let state = rig.run();
    assert_eq!((state.exit, state.pc, state.gas), (Exit::Panic, 2, GAS - 2));
}

#[test]
fn stores_across_pages_write_both() {
    let (_, mut store) = access_rig(vec![region(0x10000, 2, Access::ReadWrite)]);
    assert_eq!(access(&mut store, 0x10ffd), Exit::Halt);
    let written = store.run().written;
    assert_eq!(written[&0x10][0xffd..], [1, 2, 3]);
    assert_eq!(written[&0x11][..5], [4, 5, 6, 7, 8]);
    store.each(|machine| {
        let mut bytes = [0; 8];
        machine.read(0x10ffd, &mut bytes).unwrap();
        assert_eq!(bytes, [1, 2, 3, 4, 5, 6, 7, 8]);
    });
}

/// Page 0 full, page 1 short, page 2 absent.
fn source() -> Arc<dyn PageSource> {
    Arc::new(Pages([(0, vec![7; 4096]), (1, vec![8; 10])].into()))
}

#[test]
fn sources_are_shared_until_written() {
    let backing = Backing::Source(source());
    let regions = vec![
        Region {
            backing: backing.clone(),
            ..region(0x10000, 3, Access::ReadWrite)
        },
        Region {
            backing,
            eager: true,
            ..region(0x20000, 3, Access::ReadWrite)
        },
    ];
    let (mut load, mut store) = access_rig(regions);
    for (address, value) in [
        (0x10ffc, 0x0808_0808_0707_0707),
        (0x11008, 0x0808),
        (0x12000, 0),
    ] {
        load.set_pc(0, false);
        load.set_reg(1, address);
        assert_eq!(load.run().regs[2], value);
        assert!(load.run().written.is_empty());
    }
    for address in [0x10010, 0x11010, 0x12010, 0x20010, 0x22010] {
        assert_eq!(access(&mut store, address), Exit::Halt);
    }
    let written = store.run().written;
    assert_eq!(
        written.keys().copied().collect::<Vec<_>>(),
        [0x10, 0x11, 0x12]
    );
    assert_eq!(written[&0x10][0xf..0x19], [7, 1, 2, 3, 4, 5, 6, 7, 8, 7]);
    assert_eq!(written[&0x11][0x8..0x12], [8, 8, 0, 0, 0, 0, 0, 0, 1, 2]);
    store.each(|machine| {
        assert_eq!(machine.page_bytes(0x20).unwrap()[0x10], 1);
        assert_eq!(machine.page_bytes(0x21), None);
    });
}

#[test]
fn the_host_reads_and_writes_what_the_guest_may() {
    let regions = vec![
        region(0x10000, 2, Access::Read),
        region(0x12000, 2, Access::ReadWrite),
        Region {
            eager: true,
            ..region(0x14000, 1, Access::ReadWrite)
        },
    ];
    let mut rig = rig(program(&[op(Opcode::Trap)]), regions);
    rig.each(|machine| {
        let bytes: Vec<u8> = (0..6000).map(|i| i as u8).collect();
        machine.write(0x12800, &bytes).unwrap();
        let mut back = vec![0; 6000];
        machine.read(0x12800, &mut back).unwrap();
        assert_eq!(back, bytes);
        assert_eq!(
            (machine.written_pages(), machine.written_count()),
            (vec![0x12, 0x13], 2)
        );
        machine.write(0, &[]).unwrap();
        machine.read(5, &mut []).unwrap();
        let refused = |result| match result {
            Err(MemoryError::Access(AccessError { address })) => address,
            _ => panic!("not refused"),
        };
        assert_eq!(refused(machine.write(0x11fff, &[1, 2])), 0x11fff);
        assert_eq!(refused(machine.write(0x14fff, &[1, 2])), 0x15000);
        assert_eq!(refused(machine.read(0xffff, &mut [0; 2])), 0xffff);
        assert_eq!(refused(machine.read(u32::MAX, &mut [0; 2])), 0xffff_ffff);
        assert_eq!(machine.check(0x10000, 0x5000, Access::Read), Ok(()));
        assert!(machine.check(0x10000, 0x5000, Access::ReadWrite).is_err());
        // Nothing of a refused write has happened.
        assert_eq!(machine.page_bytes(0x14), None);
        assert_eq!(machine.written_count(), 2);
    });
}

/// φ2 := [φ1]; [φ1] := φ3; φ4 := [φ1].
fn load_store_load() -> Program {
    program(&[
        rri(Opcode::LoadIndU64, 2, 1, 0),
        rri(Opcode::StoreIndU64, 3, 1, 0),
        rri(Opcode::LoadIndU64, 4, 1, 0),
    ])
}

#[test]
fn a_load_sees_the_store_before_it() {
    let sourced = Region {
        backing: Backing::Source(source()),
        ..region(0x10000, 3, Access::ReadWrite)
    };
    let mut rig = rig(
        load_store_load(),
        vec![sourced, region(0x20000, 2, Access::ReadWrite)],
    );
    for (address, before) in [
        (0x10008, 0x0707_0707_0707_0707),
        (0x10ff0, 0x0707_0707_0707_0707),
        (0x11004, 0x0808_0808_0808),
        (0x12000, 0),
        (0x20000, 0),
        (0x20ffc, 0),
    ] {
        rig.set_pc(0, false);
        rig.set_reg(1, address);
        rig.set_reg(3, address * 0x1_0001);
        let state = rig.run();
        assert_eq!((state.regs[2], state.regs[4]), (before, address * 0x1_0001));
        // What the host writes is seen as well.
        rig.each(|machine| machine.write(address as u32, &[9; 8]).unwrap());
        rig.set_pc(0, false);
        assert_eq!(rig.run().regs[2], 0x0909_0909_0909_0909);
    }
}

#[test]
fn a_load_sees_the_first_write_of_the_host() {
    let load = program(&[rri(Opcode::LoadIndU64, 2, 1, 0)]);
    let mut rig = rig(load, vec![region(0x10000, 1, Access::ReadWrite)]);
    rig.set_reg(1, 0x10000);
    assert_eq!(rig.run().regs[2], 0);
    rig.each(|machine| machine.write(0x10000, &[1]).unwrap());
    rig.set_pc(0, false);
    assert_eq!(rig.run().regs[2], 1);
}

#[test]
fn a_page_read_before_stays_read_only() {
    let mut rig = rig(load_store_load(), vec![region(0x10000, 1, Access::Read)]);
    rig.set_reg(1, 0x10000);
    for _ in 0..2 {
        let state = rig.run();
        assert_eq!((state.exit, state.pc), (Exit::PageFault(0x10000), 2));
        assert!(state.written.is_empty());
    }
}

struct Broken;

impl PageSource for Broken {
    fn page(&self, index: u32) -> Result<Option<Arc<[u8]>>, PageError> {
        match index {
            0 => Err(PageError::new("disk on fire")),
            _ => Ok(Some(vec![0; 4097].into())),
        }
    }
}

#[test]
fn a_broken_store_is_no_guest_fault() {
    let regions = vec![Region {
        backing: Backing::Source(Arc::new(Broken)),
        ..region(0x10000, 2, Access::ReadWrite)
    }];
    let (mut load, mut store) = access_rig(regions);
    for rig in [&mut load, &mut store] {
        for address in [0x10000, 0x11000] {
            rig.set_reg(1, address);
            rig.set_pc(0, false);
            rig.each(|machine| {
                assert!(machine.run().is_err());
                let read = machine.read(address as u32, &mut [0]);
                assert!(matches!(read, Err(MemoryError::Page(_))));
                assert_eq!(machine.written_count(), 0);
            });
        }
    }
}

#[test]
fn untouched_memory_costs_nothing() {
    let pages = (1 << 20) - 16;
    let listed = Arc::new(program(&[op(Opcode::Trap)]));
    let map = MemoryMap::new(vec![region(0x10000, pages, Access::ReadWrite)]).unwrap();
    for engine in common::engines() {
        let code = engine.prepare(listed.clone(), GasModel::Unit);
        // 4 TiB of address space, were it not lazy.
        let machines: Vec<_> = (0..1000)
            .map(|_| code.clone().machine(map.clone()))
            .collect();
        assert_eq!(machines[999].page_bytes(0x10), None);
    }
}

#[test]
fn engines_are_chosen_by_name() {
    for kind in [
        EngineKind::Auto,
        EngineKind::Interpreter,
        EngineKind::Recompiler,
    ] {
        assert_eq!(kind.to_string().parse(), Ok(kind));
    }
    let name = |kind| engine(kind).map(|engine| engine.name());
    assert_eq!(name(EngineKind::Interpreter), Ok("interpreter"));
    match name(EngineKind::Recompiler) {
        Ok(recompiler) => {
            assert_eq!(recompiler, "recompiler");
            assert_eq!(name(EngineKind::Auto), Ok("recompiler"));
        }
        Err(error) => {
            let message = "recompiler: not supported on this platform";
            assert_eq!(error.to_string(), message);
            assert_eq!(name(EngineKind::Auto), Ok("interpreter"));
        }
    }
    assert!("jit".parse::<EngineKind>().is_err());
}
