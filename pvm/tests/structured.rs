//! Runs beside each other and runs of many pages, on every engine.

mod common;

use common::{Rig, State, region};
use jar_fuzz::engines::{Start, run, structured_case};
use jar_isa::Opcode;
use jar_pvm::{Access, Exit, GasModel, Program, Region};

/// A case that follows from its number.
fn case(number: u64) -> (Program, Start) {
    let mut state = number;
    let bytes = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 56) as u8
    });
    let bytes: Vec<u8> = bytes.take(1200).collect();
    structured_case(&bytes).expect("offsets settle")
}

#[test]
fn faults_in_many_threads_stay_apart() {
    let cases: Vec<(Program, Start)> = (0..60).map(case).collect();
    let expected: Vec<State> = cases.iter().map(|(p, s)| run(p, s)).collect();
    let faults = expected
        .iter()
        .filter(|state| matches!(state.exit, Exit::PageFault(_)));
    assert!(faults.count() >= 5, "there are faults to keep apart");
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
