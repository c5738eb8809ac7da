//! Every instruction with every choice of registers, engines compared after each.

mod common;

use common::{Rig, op, region, rri};
use jar_isa::{Format, Instruction, Opcode};
use jar_pvm::{Access, Exit, GasModel};

const IMMEDIATES: [i64; 9] = [
    0,
    1,
    -1,
    31,
    127,
    -128,
    0x1234,
    i32::MIN as i64,
    i32::MAX as i64,
];
const VALUES: [u64; 12] = [
    0,
    1,
    u64::MAX,
    1 << 63,
    (1 << 63) - 1,
    0x8000_0000,
    0x7fff_ffff,
    0xffff_ffff,
    0xffff_ffff_8000_0000,
    63,
    0x0123_4567_89ab_cdef,
    0xfedc_ba98_7654_3210,
];

/// A small generator, so that every run is the same.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 32) as usize % limit
    }

    fn value(&mut self) -> u64 {
        match self.below(3) {
            0 => self.next(),
            _ => VALUES[self.below(VALUES.len())],
        }
    }
}

/// Which of A, B, D the format has.
fn fields(format: Format) -> [bool; 3] {
    match format {
        Format::N | Format::I | Format::II | Format::O => [false, false, false],
        Format::RX | Format::RI | Format::RII | Format::RIO => [true, false, false],
        Format::RR => [true, false, true],
        Format::RRI | Format::RRO | Format::RRII => [true, true, false],
        Format::RRR => [true, true, true],
    }
}

fn choices(opcode: Opcode, numbers: &mut Numbers) -> Vec<Instruction> {
    let [a, b, d] = fields(opcode.format()).map(|has| if has { 13u8 } else { 1 });
    let wide = opcode.format() == Format::RX;
    let mut out = vec![];
    for (ra, rb, rd) in
        (0..a).flat_map(|ra| (0..b).flat_map(move |rb| (0..d).map(move |rd| (ra, rb, rd))))
    {
        let rounds = if d == 13 && b == 13 {
            1
        } else {
            IMMEDIATES.len()
        };
        for immediate in &IMMEDIATES[..rounds] {
            out.push(Instruction {
                opcode,
                ra,
                rb,
                rd,
                x: if wide {
                    numbers.value()
                } else {
                    *immediate as u64
                },
                y: IMMEDIATES[numbers.below(IMMEDIATES.len())] as u64,
            });
        }
    }
    out
}

fn is_memory(opcode: Opcode) -> bool {
    opcode.cost().units.load + opcode.cost().units.store > 0
}

/// Addresses in writable pages, such that address plus immediate mostly lands there.
fn aim(instruction: &Instruction, numbers: &mut Numbers) -> u64 {
    let target = 0x1_0000 + numbers.below(0x2ff0) as u64;
    let junk = numbers.next() << 32;
    (target.wrapping_sub(instruction.x) & 0xffff_ffff) | junk
}

#[test]
fn every_choice_of_registers() {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for &opcode in Opcode::ALL {
        if opcode.is_terminator() || matches!(opcode, Opcode::Ecall | Opcode::Ecalli) {
            continue;
        }
        let mut choices = choices(opcode, &mut numbers);
        if is_memory(opcode) && !matches!(opcode.format(), Format::RRI | Format::RII) {
            for instruction in &mut choices {
                instruction.x = 0x1_0000 + numbers.below(0x2ff0) as u64;
            }
        }
        let list: Vec<Instruction> = choices
            .iter()
            .flat_map(|i| [*i, op(Opcode::Ecalli)])
            .collect();
        let regions = vec![region(0x10000, 3, Access::ReadWrite)];
        let mut rig = Rig::new(common::program(&list), GasModel::Unit, regions);
        rig.set_gas(list.len() as u64 + 1);
        for instruction in &choices {
            for index in 0..13 {
                let value = match is_memory(opcode) && numbers.below(8) != 0 {
                    true => aim(instruction, &mut numbers),
                    false => numbers.value(),
                };
                rig.set_reg(index, value);
            }
            let mut state = rig.run();
            if let Exit::Panic | Exit::PageFault(_) = state.exit {
                assert!(is_memory(opcode), "{instruction:?}");
                for index in 0..13 {
                    let value = aim(instruction, &mut numbers);
                    rig.set_reg(index, value);
                }
                state = rig.run();
            }
            assert_eq!(state.exit, Exit::HostCall(0), "{instruction:?}");
        }
        assert_eq!(rig.run().exit, Exit::Panic);
    }
}

/// Taken and not, ahead and back, near and far.
#[test]
fn every_choice_of_registers_in_branches() {
    let mut numbers = Numbers(0xdead_beef_cafe_f00d);
    let len = |instruction: &Instruction| {
        let mut bytes = vec![];
        instruction.encode(&mut bytes).unwrap();
        bytes.len() as i64
    };
    for &opcode in Opcode::ALL.iter().filter(|o| o.is_branch()) {
        let registers = opcode.format() == Format::RRO;
        let mut list = vec![];
        let choices = choices(opcode, &mut numbers);
        for mut instruction in choices.iter().copied() {
            // Over a call and a fallthrough.
            for _ in 0..3 {
                let offset = (len(&instruction) + 2) as u64;
                match registers {
                    true => instruction.x = offset,
                    false => instruction.y = offset,
                }
            }
            list.extend([instruction, op(Opcode::Ecalli), op(Opcode::Fallthrough)]);
            list.extend([rri(Opcode::AddImm64, 0, 0, 1), op(Opcode::Ecall)]);
        }
        let mut rig = Rig::new(common::program(&list), GasModel::Pipeline, vec![]);
        rig.set_gas(1 << 40);
        let mut taken = [0, 0];
        for instruction in &choices {
            let common = match registers {
                true => numbers.value(),
                false => instruction.x,
            };
            for index in 0..13 {
                let value = match numbers.below(3) {
                    0 => common,
                    _ => numbers.value(),
                };
                rig.set_reg(index, value);
            }
            rig.set_reg(11, 5);
            let first = rig.run();
            taken[usize::from(first.exit == Exit::HostCall(5))] += 1;
            if first.exit == Exit::HostCall(0) {
                assert_eq!(rig.run().exit, Exit::HostCall(first.regs[11]));
            }
        }
        assert!(taken[0] > 0 && taken[1] > 0, "{opcode}: {taken:?}");
    }
}

#[test]
fn every_register_in_dynamic_jumps() {
    for offset in IMMEDIATES {
        for ra in 0..13 {
            for rb in 0..13 {
                let jump = Instruction {
                    ra,
                    rb,
                    x: 77,
                    y: offset as u64,
                    ..op(Opcode::LoadImmJumpInd)
                };
                let plain = common::ri(Opcode::JumpInd, rb, offset);
                let list = [jump, plain, op(Opcode::Ecall)];
                let at = |n: usize| common::program(&list[..n]).code_len();
                let program = common::program_with_table(&list, &[at(1), at(2)]);
                let mut rig = Rig::new(program, GasModel::Unit, vec![]);
                rig.set_gas(10);
                for address in [2u64, 4, 6, 0, 3, 0xffff_0000] {
                    for pc in [0, at(1)] {
                        rig.set_pc(pc, false);
                        rig.set_gas(10);
                        rig.set_reg(usize::from(ra), 1);
                        rig.set_reg(usize::from(rb), address.wrapping_sub(offset as u64));
                        rig.run();
                    }
                }
            }
        }
    }
}
