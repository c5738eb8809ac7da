//! Blocks that are paid for in those before them: whatever gas there is, it runs out where the
//! rules say, and what a fault or a trap leaves is what is left by them.

mod common;

use common::{Rig, State, program_with_table, region};
use jar_fuzz::text::parse;
use jar_isa::Instruction;
use jar_pvm::{Access, Exit, GasModel, MIN_ADDRESS, PAGE_SIZE, Program, Region};

/// Instructions in text, one a line, `name:` before one, `@name` for an offset to it; each entry of
/// `table` is a name.
fn assemble(text: &str, table: &[&str]) -> Program {
    let (mut names, mut lines) = (vec![], vec![]);
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match line.strip_suffix(':') {
            Some(name) => names.push((name, lines.len())),
            None => lines.push(line),
        }
    }
    let index = |name: &str| names.iter().find(|(n, _)| *n == name).expect("a label").1;
    let mut places = vec![0i64; lines.len()];
    loop {
        let line = |(at, line): (usize, &&str)| -> Instruction {
            let text = match line.split_once('@') {
                Some((head, name)) => format!("{head}pc{:+}", places[index(name)] - places[at]),
                None => line.to_string(),
            };
            parse(&text).unwrap_or_else(|error| panic!("{error}"))
        };
        let list: Vec<Instruction> = lines.iter().enumerate().map(line).collect();
        let (mut next, mut code) = (vec![], vec![]);
        for instruction in &list {
            next.push(code.len() as i64);
            instruction.encode(&mut code).expect("a byte form");
        }
        if next == places {
            let table: Vec<u32> = table
                .iter()
                .map(|name| places[index(name)] as u32)
                .collect();
            return program_with_table(&list, &table);
        }
        places = next;
    }
}

fn regions() -> Vec<Region> {
    vec![
        region(MIN_ADDRESS, 1, Access::ReadWrite),
        region(MIN_ADDRESS + PAGE_SIZE, 1, Access::Read),
    ]
}

/// Runs to the end with `gas` at first, and `more` each time that it is used up; all stops. The
/// engines agree, which the rig sees to.
fn stops(program: &Program, model: GasModel, gas: u64, more: u64) -> Vec<State> {
    let mut rig = Rig::new(program.clone(), model, regions());
    rig.set_reg(1, u64::from(MIN_ADDRESS + PAGE_SIZE));
    rig.set_reg(7, 3);
    let (mut stops, mut gas) = (vec![], gas);
    loop {
        rig.set_gas(gas);
        let state = rig.run();
        gas = state.gas;
        let exit = state.exit;
        stops.push(state);
        match exit {
            Exit::HostCall(_) => {}
            Exit::OutOfGas if more > 0 => gas += more,
            _ => return stops,
        }
        assert!(stops.len() < 10_000);
    }
}

/// Runs a program with every amount of gas up to what it takes.
fn check(program: &Program, end: Exit) {
    for model in [GasModel::Unit, GasModel::Pipeline] {
        let all = 100_000;
        let whole = stops(program, model, all, 0);
        let last = whole.last().expect("a stop");
        assert_eq!(last.exit, end);
        let needed = all - last.gas;
        for gas in 0..=needed {
            let cut = stops(program, model, gas, 0);
            let end = cut.last().expect("a stop");
            match gas == needed {
                true => assert_eq!((end.exit, end.gas), (last.exit, 0)),
                false => assert_eq!(end.exit, Exit::OutOfGas),
            }
        }
        for more in [1, 7, 50] {
            let resumed = stops(program, model, 0, more);
            let end = resumed.last().expect("a stop");
            assert_eq!(
                (end.exit, end.pc, end.regs),
                (last.exit, last.pc, last.regs)
            );
            assert_eq!(end.written, last.written);
        }
    }
}

const RECURSION: &str = "
    load_imm_jump r0, 2, @function
    back:
    add_64 r8, r8, r7
    jump_ind r9, -65536
    function:
    add_imm_64 r1, r1, -16
    store_ind_u64 r0, [r1]
    store_ind_u64 r7, [r1 + 8]
    branch_eq_imm r7, 0, @leave
    add_imm_64 r7, r7, -1
    load_imm_jump r0, 4, @function
    again:
    load_ind_u64 r7, [r1 + 8]
    add_64 r8, r8, r7
    fallthrough
    leave:
    load_ind_u64 r0, [r1]
    add_imm_64 r1, r1, 16
    jump_ind r0, 0";

#[test]
fn calls_and_returns() {
    check(&assemble(RECURSION, &["back", "again"]), Exit::Halt);
}

/// As [`calls_and_returns`], with host calls between, where gas is seen and given anew.
#[test]
fn calls_around_host_calls() {
    for (before, after) in [
        ("add_64 r8, r8, r7\n", "add_64 r8, r8, r7\necalli 5\n"),
        (
            "load_ind_u64 r0, [r1]\n",
            "ecalli 6\nload_ind_u64 r0, [r1]\n",
        ),
        (
            "add_imm_64 r7, r7, -1\n",
            "add_imm_64 r7, r7, -1\necalli 7\nadd_imm_64 r3, r3, 1\n",
        ),
    ] {
        let text: String = RECURSION
            .lines()
            .map(|line| format!("{}\n", line.trim()))
            .collect();
        let program = assemble(&text.replace(before, after), &["back", "again"]);
        check(&program, Exit::Halt);
    }
}

#[test]
fn chains_of_jumps() {
    let text = "
        jump @three
        one:
        add_imm_64 r8, r8, 1
        jump @two
        four:
        add_imm_64 r7, r7, -1
        branch_ne_imm r7, 0, @one
        jump_ind r9, -65536
        two:
        mul_64 r8, r8, r7
        fallthrough
        add_64 r8, r8, r8
        jump @four
        three:
        unlikely
        jump @one";
    check(&assemble(text, &[]), Exit::Halt);
}

/// Blocks that are paid for end early: by a fault, a trap, a jump to nowhere.
#[test]
fn what_was_paid_ahead_is_left_behind_faults_and_traps() {
    let page = MIN_ADDRESS + PAGE_SIZE;
    let cases = [
        (format!("store_u64 r7, [{page}]"), Exit::PageFault(page)),
        ("store_ind_u64 r7, [r1]".into(), Exit::PageFault(page)),
        ("load_u64 r7, [8]".into(), Exit::Panic),
        ("trap".into(), Exit::Panic),
        ("add_64 r7, r7, r7\ntrap".into(), Exit::Panic),
        ("jump pc+1".into(), Exit::Panic),
        ("jump_ind r7, 0".into(), Exit::Panic),
    ];
    for (text, exit) in cases {
        let text = format!(
            "jump @front
            ends:
            {text}
            jump @behind
            front:
            add_imm_64 r8, r8, 1
            load_imm_jump r0, 2, @ends
            behind:
            add_64 r8, r8, r8
            mul_64 r8, r8, r7
            jump @front"
        );
        check(&assemble(&text, &["front"]), exit);
    }
}

/// Without a way out, gas is all that ends it.
#[test]
fn loops_without_an_end_run_out_of_gas() {
    for text in ["l:\njump @l", "l:\nadd_64 r7, r7, r7\nfallthrough\njump @l"] {
        for model in [GasModel::Unit, GasModel::Pipeline] {
            for gas in 0..200 {
                let stops = stops(&assemble(text, &[]), model, gas, 0);
                assert_eq!(stops.last().map(|state| state.exit), Some(Exit::OutOfGas));
            }
        }
    }
}

/// From any instruction, paid or not, with any gas.
#[test]
fn runs_may_start_anywhere() {
    let program = assemble(RECURSION, &["back", "again"]);
    for pc in 0..program.code().len() as u32 + 2 {
        for charged in [false, true] {
            for gas in (0..120).step_by(3) {
                let mut rig = Rig::new(program.clone(), GasModel::Pipeline, regions());
                rig.set_reg(1, u64::from(MIN_ADDRESS + 512));
                rig.set_pc(pc, charged);
                rig.set_gas(gas);
                rig.run();
            }
        }
    }
}
