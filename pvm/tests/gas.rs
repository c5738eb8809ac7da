//! Block costs: the pipeline against a literal reading of its rules, and where
//! and when blocks are charged.

mod common;

use std::collections::BTreeSet;

use common::{Rig, op, program, ri, rri, rrr};
use jar_isa::{Instruction, Latency, Opcode, Slots};
use jar_pvm::{Exit, GasModel, Program, Step, Walk};
use proptest::prelude::*;

/// The model cycle by cycle, as its text says, with no thought for speed.
mod literal {
    use super::*;

    #[derive(PartialEq, Clone, Copy)]
    enum Phase {
        Decoded,
        Waiting,
        Executing,
        Finished,
        Retired,
    }

    struct Entry {
        phase: Phase,
        left: u32,
        needs: Vec<usize>,
        registers: BTreeSet<u8>,
        units: [u8; 5],
    }

    struct Decoded {
        instruction: Instruction,
        slots: u8,
        latency: u32,
        units: [u8; 5],
        sources: Vec<u8>,
        destination: Option<u8>,
    }

    fn decoded(program: &Program, step: &Step) -> Decoded {
        let instruction = step.instruction;
        let cost = instruction.opcode.cost();
        let sources: Vec<u8> = (0..13)
            .filter(|r| instruction.sources() >> r & 1 == 1)
            .collect();
        let destination = instruction.destination();
        let cold = |pc| matches!(program.opcode_at(pc), Opcode::Trap | Opcode::Unlikely);
        Decoded {
            instruction,
            slots: match cost.slots {
                Slots::Count(count) => count,
                Slots::Reuse(x, _) if destination.is_some_and(|d| sources.contains(&d)) => x,
                Slots::ReuseA(x, _) if instruction.ra == instruction.rd => x,
                Slots::Reuse(_, y) | Slots::ReuseA(_, y) => y,
            },
            latency: match cost.latency {
                Latency::Cycles(cycles) => u32::from(cycles),
                Latency::Memory => 25,
                Latency::Branch => {
                    let target = instruction.target(step.pc).expect("a branch has a target");
                    if cold(target) || cold(i64::from(step.next)) {
                        1
                    } else {
                        20
                    }
                }
            },
            units: [
                cost.units.alu,
                cost.units.load,
                cost.units.store,
                cost.units.mul,
                cost.units.div,
            ],
            sources,
            destination,
        }
    }

    #[derive(Default)]
    struct Sim {
        entries: Vec<Entry>,
        free: [u8; 5],
    }

    impl Sim {
        fn live(&self) -> usize {
            self.entries
                .iter()
                .filter(|e| e.phase != Phase::Retired)
                .count()
        }

        fn decode(&mut self, next: &Decoded) {
            if next.instruction.opcode == Opcode::MoveReg {
                let destination = next.destination.expect("move_reg writes");
                for entry in &mut self.entries {
                    if next.sources.iter().any(|s| entry.registers.contains(s)) {
                        entry.registers.insert(destination);
                    } else {
                        entry.registers.remove(&destination);
                    }
                }
                return;
            }
            let meets = |e: &Entry| next.sources.iter().any(|s| e.registers.contains(s));
            let needs = (0..self.entries.len())
                .filter(|i| meets(&self.entries[*i]))
                .collect();
            for entry in &mut self.entries {
                if let Some(destination) = next.destination {
                    entry.registers.remove(&destination);
                }
            }
            self.entries.push(Entry {
                phase: Phase::Decoded,
                left: next.latency,
                needs,
                registers: next.destination.into_iter().collect(),
                units: next.units,
            });
        }

        fn start_one(&mut self) -> bool {
            let ready = |entry: &Entry| {
                entry.phase == Phase::Waiting
                    && entry
                        .units
                        .iter()
                        .zip(self.free)
                        .all(|(need, free)| *need <= free)
                    && entry.needs.iter().all(|i| self.entries[*i].left == 0)
            };
            let Some(index) = self.entries.iter().position(ready) else {
                return false;
            };
            self.entries[index].phase = Phase::Executing;
            for (free, need) in self.free.iter_mut().zip(self.entries[index].units) {
                *free -= need;
            }
            true
        }

        fn advance(&mut self) {
            let mut older_gone = true;
            for entry in &mut self.entries {
                let done = matches!(entry.phase, Phase::Finished | Phase::Retired);
                match entry.phase {
                    Phase::Finished if older_gone => entry.phase = Phase::Retired,
                    Phase::Finished | Phase::Retired => {}
                    Phase::Decoded => entry.phase = Phase::Waiting,
                    Phase::Executing if entry.left == 0 => entry.phase = Phase::Finished,
                    Phase::Executing => {
                        entry.left -= 1;
                        if entry.left == 0 {
                            for (free, taken) in self.free.iter_mut().zip(entry.units) {
                                *free += taken;
                            }
                        }
                    }
                    Phase::Waiting => {}
                }
                older_gone &= done;
            }
        }
    }

    pub fn cost(program: &Program, steps: &[Step]) -> u64 {
        let mut rest = steps.iter().map(|step| decoded(program, step)).peekable();
        let mut sim = Sim {
            entries: vec![],
            free: [4, 4, 4, 1, 1],
        };
        let (mut cycles, mut slots, mut starts) = (0u64, 4, 5);
        loop {
            if sim.live() < 32
                && let Some(next) = rest.next_if(|next| next.slots <= slots)
            {
                slots -= next.slots;
                sim.decode(&next);
            } else if starts > 0 && sim.start_one() {
                starts -= 1;
            } else if rest.peek().is_none() && sim.live() == 0 {
                return cycles.saturating_sub(3).max(1);
            } else {
                sim.advance();
                (cycles, slots, starts) = (cycles + 1, 4, 5);
            }
        }
    }
}

fn check_costs(program: Program) {
    let rig = Rig::new(program.clone(), GasModel::Pipeline, vec![]);
    let unit = Rig::new(program.clone(), GasModel::Unit, vec![]);
    let mut block: Vec<Step> = vec![];
    for step in Walk::new(&program) {
        block.push(step);
        if step.ends_block() {
            let expected = literal::cost(&program, &block);
            for step in &block {
                assert_eq!(
                    rig.block_cost(step.pc),
                    Some(expected),
                    "block at {}",
                    block[0].pc
                );
                assert_eq!(unit.block_cost(step.pc), Some(block.len() as u64));
            }
            block.clear();
        }
    }
    assert!(block.is_empty());
}

fn any_instruction(ends: bool) -> impl Strategy<Value = Instruction> {
    let opcodes: Vec<Opcode> = Opcode::ALL
        .iter()
        .copied()
        .filter(|o| ends || !o.is_terminator())
        .collect();
    // Few registers make many dependencies; short offsets meet other blocks.
    (
        proptest::sample::select(opcodes),
        0..4u8,
        0..4u8,
        0..4u8,
        -9..9i64,
    )
        .prop_map(|(opcode, ra, rb, rd, x)| Instruction {
            opcode,
            ra,
            rb,
            rd,
            x: x as u64,
            y: x as u64,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn blocks_cost_what_the_rules_say(
        list in prop::collection::vec(any_instruction(true), 1..60),
    ) {
        check_costs(program(&list));
    }

    #[test]
    fn long_blocks_cost_what_the_rules_say(
        list in prop::collection::vec(any_instruction(false), 1..300),
    ) {
        check_costs(program(&list));
    }
}

/// More entries become ready in one cycle than can start in it, and the last one delays the end.
#[test]
fn crowded_cycles_cost_what_the_rules_say() {
    let constant = |rd| ri(Opcode::LoadImm, rd, 1);
    let sum = |rd, rb| rri(Opcode::AddImm64, rd, rb, 1);
    let list = [
        constant(1),
        sum(1, 1),
        constant(0),
        constant(4),
        sum(1, 1),
        sum(5, 0),
        sum(5, 5),
        constant(4),
        constant(6),
        constant(3),
    ];
    let program = program(&list);
    let rig = Rig::new(program.clone(), GasModel::Pipeline, vec![]);
    assert_eq!(
        rig.block_cost(0),
        Some(5),
        "4 with a sixth start in a cycle"
    );
    check_costs(program);
}

#[test]
fn one_kind_of_instruction_at_a_time() {
    for &opcode in Opcode::ALL {
        for (rb, rd) in [(1, 1), (2, 1), (2, 3), (1, 3)] {
            let one = Instruction {
                opcode,
                ra: 1,
                rb,
                rd,
                x: 4,
                y: 4,
            };
            check_costs(program(&[one; 80]));
        }
    }
}

/// More than linear work on these would take hours.
#[test]
fn hostile_programs_are_prepared() {
    let long = |pattern: &[u8], starts: u8| {
        let len = jar_pvm::MAX_CODE_LEN;
        let code: Vec<u8> = pattern.iter().copied().cycle().take(len).collect();
        Program::new(code, vec![starts; len / 8], vec![0; 1 << 20]).unwrap()
    };
    for (pattern, starts) in [
        (&[0u8][..], 0xff),         // traps
        (&[1], 0xff),               // one-byte blocks
        (&[3], 0xff),               // one block of the longest latency
        (&[255], 0xff),             // nothing known
        (&[40], 0xff),              // jumps to themselves
        (&[170, 0], 0x55),          // branches
        (&[203, 0x21, 1, 1], 0x11), // divisions, each needing the one before
        (&[203, 0x21, 1, 1], 0xff), // overlapping operands
        (&[100, 0x12], 0x55),       // moves
        (&[1], 0x01),               // gaps
    ] {
        let program = long(pattern, starts);
        let rig = Rig::new(program, GasModel::Pipeline, vec![]);
        assert!(rig.block_cost(0).is_some());
    }
    // Machine code is at most a fixed multiple.
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    for (pattern, starts, multiple) in [
        (&[0u8][..], 0xff, 6),
        (&[1], 0xff, 20),
        (&[255], 0xff, 6),
        (&[40], 0xff, 64),
        (&[170, 0], 0x55, 20),
        (&[50], 0xff, 100),
        (&[203], 0xff, 60),
    ] {
        let Some(engine) = jar_pvm::Recompiler::detect() else {
            println!("SKIPPED: this processor lacks what the recompiler needs");
            continue;
        };
        let program = std::sync::Arc::new(long(pattern, starts));
        let code = engine.compile(program.clone(), GasModel::Unit);
        let table = 8 * program.jump_table().len();
        let len = code.expect("memory for code").machine_code_len() - table;
        assert!(len < multiple * program.code().len(), "{pattern:?}: {len}");
    }
    let one_block = Rig::new(long(&[3], 0xff), GasModel::Pipeline, vec![]);
    assert!(one_block.block_cost(0).unwrap() > 4 << 20);
}

fn two_blocks() -> Program {
    // 0: add, 3: add, 6: fallthrough; 7: add, 10: trap
    let add = rrr(Opcode::Add64, 1, 1, 2);
    program(&[add, add, op(Opcode::Fallthrough), add, op(Opcode::Trap)])
}

for_each_model! {
    fn a_block_is_not_entered_without_its_cost(model) {
        let mut rig = Rig::new(two_blocks(), model, vec![]);
        let (first, second) = (rig.block_cost(0).unwrap(), rig.block_cost(7).unwrap());
        rig.set_reg(2, 1);
        rig.set_gas(first - 1);
        let state = rig.run();
        let seen = (state.exit, state.pc, state.gas, state.regs[1]);
        assert_eq!(seen, (Exit::OutOfGas, 0, first - 1, 0));
        // Retried, and retried again, with no more gas.
        assert_eq!(rig.run(), state);
        rig.set_gas(first + second - 1);
        let state = rig.run();
        let seen = (state.exit, state.pc, state.gas, state.regs[1]);
        assert_eq!(seen, (Exit::OutOfGas, 7, second - 1, 2));
        rig.set_gas(second);
        let state = rig.run();
        let seen = (state.exit, state.pc, state.gas, state.regs[1]);
        assert_eq!(seen, (Exit::Panic, 10, 0, 3));
        // A panic can be run again: the same, and paid already.
        assert_eq!(rig.run(), state);
    }

    fn starting_inside_a_block_costs_all_of_it(model) {
        let mut rig = Rig::new(two_blocks(), model, vec![]);
        let (first, second) = (rig.block_cost(0).unwrap(), rig.block_cost(7).unwrap());
        assert_eq!((rig.block_cost(3), rig.block_cost(6)), (Some(first), Some(first)));
        rig.set_reg(2, 1);
        rig.set_pc(3, false);
        rig.set_gas(first - 1);
        let state = rig.run();
        assert_eq!((state.exit, state.pc, state.gas), (Exit::OutOfGas, 3, first - 1));
        rig.set_gas(first + second);
        let state = rig.run();
        assert_eq!((state.exit, state.gas, state.regs[1]), (Exit::Panic, 0, 2));
        // Paid already: only the second block costs.
        rig.set_pc(3, true);
        rig.set_gas(second);
        let state = rig.run();
        assert_eq!((state.exit, state.gas, state.regs[1]), (Exit::Panic, 0, 4));
    }

    fn a_loop_pays_on_every_entry(model) {
        let list = [
            rri(Opcode::AddImm64, 1, 1, 1),
            rri(Opcode::BranchNe, 1, 2, -3),
            op(Opcode::Trap),
        ];
        let mut rig = Rig::new(program(&list), model, vec![]);
        let (body, end) = (rig.block_cost(0).unwrap(), rig.block_cost(6).unwrap());
        rig.set_reg(2, 1000);
        rig.set_gas(1000 * body + end);
        let state = rig.run();
        assert_eq!((state.exit, state.pc, state.gas, state.regs[1]), (Exit::Panic, 6, 0, 1000));
        rig.set_pc(0, false);
        rig.set_reg(1, 0);
        rig.set_gas(500 * body + body - 1);
        let state = rig.run();
        let seen = (state.exit, state.pc, state.gas, state.regs[1]);
        assert_eq!(seen, (Exit::OutOfGas, 0, body - 1, 500));
    }

    fn gas_up_to_the_greatest_number(model) {
        let mut rig = Rig::new(two_blocks(), model, vec![]);
        let cost = rig.block_cost(0).unwrap() + rig.block_cost(7).unwrap();
        rig.set_gas(u64::MAX);
        assert_eq!(rig.run().gas, u64::MAX - cost);
    }

    fn addresses_off_the_path_are_lone_traps(model) {
        let mut rig = Rig::new(two_blocks(), model, vec![]);
        let trap = rig.block_cost(11).unwrap();
        for pc in [1, 2, 8, 12, u32::MAX] {
            assert_eq!(rig.block_cost(pc), None);
            rig.set_pc(pc, false);
            rig.set_gas(trap - 1);
            let state = rig.run();
            assert_eq!((state.exit, state.pc, state.gas), (Exit::OutOfGas, pc, trap - 1));
            rig.set_gas(trap);
            let state = rig.run();
            assert_eq!((state.exit, state.pc, state.gas), (Exit::Panic, pc, 0));
            assert_eq!(rig.run(), state);
            rig.set_pc(pc, true);
            assert_eq!(rig.run(), state);
        }
    }
}

#[test]
fn a_cold_side_makes_a_branch_cheap() {
    let cost = |cold: Instruction| {
        let list = [
            ri(Opcode::LoadImm, 1, 1),
            rri(Opcode::BranchEq, 1, 2, 3),
            cold,
            op(Opcode::Fallthrough),
        ];
        Rig::new(program(&list), GasModel::Pipeline, vec![]).block_cost(0)
    };
    assert_eq!(cost(op(Opcode::Fallthrough)), Some(21));
    assert_eq!(cost(op(Opcode::Unlikely)), Some(2));
    assert_eq!(cost(op(Opcode::Trap)), Some(2));
}
