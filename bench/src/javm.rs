//! `javm`: the bytecode of this project's transpiler, in its own container.

use jar_pvm::{Backing, Region};
use javm::{ExitReason, Pvm, RecompiledPvm};

use crate::guests::{A0, GAS, Guest};
use crate::subject::Subject;

const PAGE: usize = 4096;

/// The constants of a region.
fn bytes(region: &Region) -> Vec<u8> {
    let Backing::Source(source) = &region.backing else {
        return Vec::new();
    };
    let page = |index| source.page(index).expect("constants are in memory");
    let pages = (0..region.pages).map_while(page);
    pages.flat_map(|page| page.to_vec()).collect()
}

/// The crate's container: sizes, constants, program. Memory is one flat piece from address
/// 0, so the constants and what lies between them become one.
fn container(guest: &Guest) -> Vec<u8> {
    let end = guest.regions.last().expect("a guest has a stack");
    let end = (end.start / PAGE as u32 + end.pages) as usize * PAGE;
    let (mut first, mut constants) = (end, Vec::new());
    for region in &guest.regions {
        let bytes = bytes(region);
        if !bytes.is_empty() {
            first = first.min(region.start as usize);
            constants.resize(region.start as usize - first, 0);
            constants.extend(bytes);
        }
    }
    let heap = (end - first) / PAGE - constants.len().div_ceil(PAGE);
    let u24 = |value: usize| (value as u32).to_le_bytes()[..3].to_vec();
    [
        u24(constants.len()),
        u24(0),
        (heap as u16).to_le_bytes().to_vec(),
        u24(first),
        constants,
        (guest.blob.len() as u32).to_le_bytes().to_vec(),
        guest.blob.clone(),
    ]
    .concat()
}

enum Machine {
    Recompiled(RecompiledPvm),
    Interpreted(Box<Pvm>),
}

/// A workload on its recompiler or its interpreter. Compiling and starting are one step in
/// this crate.
pub struct Javm {
    recompile: bool,
    container: Vec<u8>,
    pc: u32,
    regs: Vec<(usize, u64)>,
    code_len: usize,
    machine: Option<Machine>,
}

impl Javm {
    pub fn new(guest: &Guest, code_len: usize, recompile: bool) -> Javm {
        Javm {
            recompile,
            container: container(guest),
            pc: guest.pc,
            regs: guest.regs.clone(),
            code_len,
            machine: None,
        }
    }
}

impl Subject for Javm {
    fn name(&self) -> &'static str {
        match self.recompile {
            true => "javm",
            false => "javm interpreter",
        }
    }

    fn code_len(&self) -> usize {
        self.code_len
    }

    fn compile(&mut self) {
        self.machine = Some(match self.recompile {
            true => {
                let init = javm::recompiler::initialize_program_recompiled;
                let machine = init(&self.container, &[], GAS).expect("a sound program");
                Machine::Recompiled(machine)
            }
            false => {
                let init = javm::program::initialize_program;
                let machine = init(&self.container, &[], GAS).expect("a sound program");
                Machine::Interpreted(Box::new(machine))
            }
        });
    }

    fn start(&mut self) {}

    fn run(&mut self, n: u64) -> u64 {
        let entry = self.regs.iter().copied().chain([(A0, n)]);
        match self.machine.as_mut().expect("compiled before") {
            Machine::Recompiled(machine) => {
                machine.set_pc(self.pc);
                machine.set_gas(GAS);
                entry.for_each(|(register, value)| machine.set_register(register, value));
                loop {
                    match machine.run() {
                        ExitReason::Halt => return machine.registers()[A0],
                        ExitReason::HostCall(1) => {
                            let value = machine.registers()[A0];
                            machine.set_register(A0, workloads::host_answer(value));
                        }
                        other => panic!("javm: {other:?} at {}", machine.pc()),
                    }
                }
            }
            Machine::Interpreted(machine) => {
                machine.pc = self.pc;
                machine.gas = GAS;
                entry.for_each(|(register, value)| machine.registers[register] = value);
                loop {
                    match machine.run().0 {
                        ExitReason::Halt => return machine.registers[A0],
                        ExitReason::HostCall(1) => {
                            let value = machine.registers[A0];
                            machine.registers[A0] = workloads::host_answer(value);
                        }
                        other => panic!("javm interpreter: {other:?} at {}", machine.pc),
                    }
                }
            }
        }
    }

    fn drop_all(&mut self) {
        self.machine = None;
    }
}
