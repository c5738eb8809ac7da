//! The workloads, as one bytecode program for every engine.
//!
//! Each sets up its memory itself, so that it can be run again; it takes the
//! address of a writable area in a1, ends with host call 0 and leaves its result in a0.

use jar_pvm::Program;
use jar_pvm::isa::{Format, Instruction, Opcode};

const RA: u8 = 0;
const SP: u8 = 1;
const T0: u8 = 2;
const T1: u8 = 3;
const T2: u8 = 4;
const S0: u8 = 5;
const S1: u8 = 6;
const A0: u8 = 7;
pub const A1: u8 = 8;
const A2: u8 = 9;
const A3: u8 = 10;

/// Bytes of memory a workload may use.
pub const AREA: u32 = 4 << 20;

pub struct Workload {
    pub name: &'static str,
    pub program: Program,
    pub result: u64,
    /// Host calls on the way.
    pub calls: u64,
}

enum Item {
    Plain(Instruction),
    To(&'static str, Instruction),
    Label(&'static str),
    Return,
}

#[derive(Default)]
struct Writer {
    items: Vec<Item>,
    returns: i64,
}

impl Writer {
    fn label(&mut self, name: &'static str) {
        // A jump's target must follow the end of a block.
        self.plain(Opcode::Fallthrough, 0, 0, 0, 0);
        self.items.push(Item::Label(name));
    }

    fn plain(&mut self, opcode: Opcode, ra: u8, rb: u8, rd: u8, x: i64) {
        let x = x as u64;
        let instruction = Instruction {
            ra,
            rb,
            rd,
            x,
            ..opcode.into()
        };
        self.items.push(Item::Plain(instruction));
    }

    fn rri(&mut self, opcode: Opcode, ra: u8, rb: u8, x: i64) {
        self.plain(opcode, ra, rb, 0, x);
    }

    fn rrr(&mut self, opcode: Opcode, rd: u8, ra: u8, rb: u8) {
        self.plain(opcode, ra, rb, rd, 0);
    }

    fn li(&mut self, ra: u8, x: i64) {
        self.plain(Opcode::LoadImm, ra, 0, 0, x);
    }

    fn mv(&mut self, rd: u8, ra: u8) {
        self.plain(Opcode::MoveReg, ra, 0, rd, 0);
    }

    fn call_host(&mut self, number: i64) {
        self.plain(Opcode::Ecalli, 0, 0, 0, number);
    }

    fn branch(&mut self, opcode: Opcode, ra: u8, rb: u8, to: &'static str) {
        self.items.push(Item::To(
            to,
            Instruction {
                ra,
                rb,
                ..opcode.into()
            },
        ));
    }

    fn branch_imm(&mut self, opcode: Opcode, ra: u8, x: i64, to: &'static str) {
        let x = x as u64;
        self.items.push(Item::To(
            to,
            Instruction {
                ra,
                x,
                ..opcode.into()
            },
        ));
    }

    fn call(&mut self, to: &'static str) {
        self.returns += 1;
        let x = (2 * self.returns) as u64;
        let call = Instruction {
            ra: RA,
            x,
            ..Opcode::LoadImmJump.into()
        };
        self.items.push(Item::To(to, call));
        self.items.push(Item::Return);
    }

    fn program(mut self) -> Program {
        self.plain(Opcode::Trap, 0, 0, 0, 0);
        let mut labels = std::collections::BTreeMap::new();
        loop {
            let (mut code, mut starts, mut table, mut next) =
                (vec![], vec![], vec![], labels.clone());
            for item in &self.items {
                let at = code.len() as i64;
                let instruction = match item {
                    Item::Label(name) => {
                        next.insert(*name, at);
                        continue;
                    }
                    Item::Return => {
                        table.push(at as u32);
                        continue;
                    }
                    Item::Plain(instruction) => *instruction,
                    Item::To(name, instruction) => {
                        let offset = (labels.get(name).unwrap_or(&0) - at) as u64;
                        match instruction.opcode.format() {
                            Format::RIO => Instruction {
                                y: offset,
                                ..*instruction
                            },
                            _ => Instruction {
                                x: offset,
                                ..*instruction
                            },
                        }
                    }
                };
                starts.push(at as usize);
                instruction
                    .encode(&mut code)
                    .expect("the instruction has a byte form");
            }
            if next == labels {
                let mut bitmask = vec![0; code.len().div_ceil(8)];
                for start in starts {
                    bitmask[start / 8] |= 1 << (start % 8);
                }
                return Program::new(code, bitmask, table).expect("a sound program");
            }
            labels = next;
        }
    }
}

fn fib(n: i64) -> Workload {
    let mut w = Writer::default();
    w.li(A0, n);
    w.rri(Opcode::AddImm64, SP, A1, 65536);
    w.call("fib");
    w.call_host(0);
    w.label("fib");
    w.branch_imm(Opcode::BranchLtUImm, A0, 2, "leaf");
    w.rri(Opcode::AddImm64, SP, SP, -24);
    w.rri(Opcode::StoreIndU64, RA, SP, 16);
    w.rri(Opcode::StoreIndU64, S0, SP, 8);
    w.mv(S0, A0);
    w.rri(Opcode::AddImm64, A0, A0, -1);
    w.call("fib");
    w.rri(Opcode::StoreIndU64, A0, SP, 0);
    w.rri(Opcode::AddImm64, A0, S0, -2);
    w.call("fib");
    w.rri(Opcode::LoadIndU64, T0, SP, 0);
    w.rrr(Opcode::Add64, A0, A0, T0);
    w.rri(Opcode::LoadIndU64, RA, SP, 16);
    w.rri(Opcode::LoadIndU64, S0, SP, 8);
    w.rri(Opcode::AddImm64, SP, SP, 24);
    w.plain(Opcode::JumpInd, RA, 0, 0, 0);
    w.label("leaf");
    w.plain(Opcode::JumpInd, RA, 0, 0, 0);
    let result = (0..n).fold((0u64, 1u64), |(a, b), _| (b, a + b)).0;
    Workload {
        name: "fib",
        program: w.program(),
        result,
        calls: 0,
    }
}

/// Bubble sort of pseudorandom numbers; the result is their sum weighted by place.
fn sort(n: i64) -> Workload {
    let mut w = Writer::default();
    w.li(T0, n);
    w.li(T1, 12345);
    w.mv(T2, A1);
    w.label("fill");
    w.rri(Opcode::MulImm64, T1, T1, 1103515245);
    w.rri(Opcode::AddImm64, T1, T1, 12345);
    w.rri(Opcode::ShloRImm64, S0, T1, 16);
    w.rri(Opcode::StoreIndU32, S0, T2, 0);
    w.rri(Opcode::AddImm64, T2, T2, 4);
    w.rri(Opcode::AddImm64, T0, T0, -1);
    w.branch_imm(Opcode::BranchNeImm, T0, 0, "fill");
    w.li(T0, n - 1);
    w.label("outer");
    w.mv(T1, T0);
    w.mv(T2, A1);
    w.label("inner");
    w.rri(Opcode::LoadIndU32, S0, T2, 0);
    w.rri(Opcode::LoadIndU32, S1, T2, 4);
    w.branch(Opcode::BranchGeU, S1, S0, "kept");
    w.rri(Opcode::StoreIndU32, S1, T2, 0);
    w.rri(Opcode::StoreIndU32, S0, T2, 4);
    w.label("kept");
    w.rri(Opcode::AddImm64, T2, T2, 4);
    w.rri(Opcode::AddImm64, T1, T1, -1);
    w.branch_imm(Opcode::BranchNeImm, T1, 0, "inner");
    w.rri(Opcode::AddImm64, T0, T0, -1);
    w.branch_imm(Opcode::BranchNeImm, T0, 0, "outer");
    w.li(T0, 0);
    w.li(A0, 0);
    w.mv(T2, A1);
    w.label("sum");
    w.rri(Opcode::LoadIndU32, S0, T2, 0);
    w.rrr(Opcode::Mul64, S0, S0, T0);
    w.rrr(Opcode::Add64, A0, A0, S0);
    w.rri(Opcode::AddImm64, T2, T2, 4);
    w.rri(Opcode::AddImm64, T0, T0, 1);
    w.branch_imm(Opcode::BranchNeImm, T0, n, "sum");
    w.call_host(0);
    let mut state = 12345u64;
    let mut numbers: Vec<u32> = (0..n)
        .map(|_| {
            state = state.wrapping_mul(1103515245).wrapping_add(12345);
            (state >> 16) as u32
        })
        .collect();
    numbers.sort_unstable();
    let weigh = |(place, number): (usize, &u32)| u64::from(*number).wrapping_mul(place as u64);
    let result = numbers
        .iter()
        .enumerate()
        .map(weigh)
        .fold(0, u64::wrapping_add);
    Workload {
        name: "sort",
        program: w.program(),
        result,
        calls: 0,
    }
}

/// Counts the primes below `n`.
fn sieve(n: i64) -> Workload {
    let mut w = Writer::default();
    w.li(T0, 0);
    w.mv(T2, A1);
    w.label("clear");
    w.plain(Opcode::StoreImmIndU64, T2, 0, 0, 0);
    w.rri(Opcode::AddImm64, T2, T2, 8);
    w.rri(Opcode::AddImm64, T0, T0, 8);
    w.branch_imm(Opcode::BranchLtUImm, T0, n, "clear");
    w.li(A0, 0);
    w.li(T0, 2);
    w.li(A2, n);
    w.label("next");
    w.rrr(Opcode::Add64, T2, A1, T0);
    w.rri(Opcode::LoadIndU8, S0, T2, 0);
    w.branch_imm(Opcode::BranchNeImm, S0, 0, "composite");
    w.rri(Opcode::AddImm64, A0, A0, 1);
    w.rrr(Opcode::Mul64, T1, T0, T0);
    w.branch(Opcode::BranchGeU, T1, A2, "composite");
    w.li(A3, 1);
    w.label("mark");
    w.rrr(Opcode::Add64, T2, A1, T1);
    w.rri(Opcode::StoreIndU8, A3, T2, 0);
    w.rrr(Opcode::Add64, T1, T1, T0);
    w.branch(Opcode::BranchLtU, T1, A2, "mark");
    w.label("composite");
    w.rri(Opcode::AddImm64, T0, T0, 1);
    w.branch(Opcode::BranchLtU, T0, A2, "next");
    w.call_host(0);
    let mut marked = vec![false; n as usize];
    let mut count = 0;
    for i in 2..n as usize {
        if !marked[i] {
            count += 1;
            (i * i..n as usize)
                .step_by(i)
                .for_each(|j| marked[j] = true);
        }
    }
    Workload {
        name: "sieve",
        program: w.program(),
        result: count,
        calls: 0,
    }
}

fn hostcall(n: i64) -> Workload {
    let mut w = Writer::default();
    w.li(A0, 0);
    w.label("loop");
    w.call_host(1);
    w.rri(Opcode::AddImm64, A0, A0, 1);
    w.branch_imm(Opcode::BranchNeImm, A0, n, "loop");
    w.call_host(0);
    let calls = n as u64;
    Workload {
        name: "hostcall",
        program: w.program(),
        result: calls,
        calls,
    }
}

pub fn workloads() -> Vec<Workload> {
    vec![fib(25), sort(1200), sieve(1_000_000), hostcall(200_000)]
}

/// Straight code of `blocks` blocks, as a compiler might write it, for compile times.
pub fn long(blocks: usize) -> Program {
    let mut w = Writer::default();
    let mut state = 1u64;
    let mut register = || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) as u8 % 13
    };
    for _ in 0..blocks {
        for opcode in [Opcode::Add64, Opcode::Xor, Opcode::Sub32, Opcode::SetLtU] {
            let (rd, ra, rb) = (register(), register(), register());
            w.rrr(opcode, rd, ra, rb);
        }
        for opcode in [
            Opcode::LoadIndU64,
            Opcode::AddImm64,
            Opcode::StoreIndU32,
            Opcode::ShloLImm64,
        ] {
            let (ra, rb) = (register(), register());
            w.rri(opcode, ra, rb, i64::from(register()) * 8);
        }
        w.mv(register(), register());
        w.rri(Opcode::BranchEq, register(), register(), 3);
    }
    w.program()
}
