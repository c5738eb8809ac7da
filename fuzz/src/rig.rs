//! Every case on every engine: all that can be observed must be equal.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jar_isa::{Instruction, Opcode};
use jar_pvm::{
    Access, Backing, Code, Engine, EngineKind, Exit, GasModel, Machine, MemoryMap, PageError,
    PageSource, Program, Region, engine,
};

/// The engines under test.
const ENGINES: &[EngineKind] = &[EngineKind::Interpreter, EngineKind::Recompiler];

/// The engines that this platform has; the recompiler in both of its ways to learn of writes.
pub fn engines() -> Vec<Arc<dyn Engine>> {
    let engines = ENGINES.iter().map(|kind| (kind, engine(*kind)));
    let engines = engines.filter_map(|(kind, engine)| match engine {
        Ok(engine) => Some(engine),
        Err(error) => {
            println!("SKIPPED: {kind}: {error}");
            None
        }
    });
    engines.chain(without_tracking()).collect()
}

/// The recompiler as it is where the kernel doesn't record writes, if here it does.
fn without_tracking() -> Option<Arc<dyn Engine>> {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    if let Some(engine) = jar_pvm::Recompiler::detect().filter(|engine| engine.is_tracking()) {
        return Some(Arc::new(engine.without_tracking()));
    }
    println!("SKIPPED: recompiler with writes recorded: not supported on this platform");
    None
}

/// A region of zeros.
pub fn region(start: u32, pages: u32, access: Access) -> Region {
    Region {
        start,
        pages,
        access,
        backing: Backing::Zero,
        eager: false,
    }
}

/// Pages with given content.
pub struct Pages(pub BTreeMap<u32, Vec<u8>>);

impl PageSource for Pages {
    fn page(&self, index: u32) -> Result<Option<Arc<[u8]>>, PageError> {
        Ok(self.0.get(&index).map(|bytes| Arc::from(&bytes[..])))
    }
}

/// Pages that cost gas when they are touched first.
pub struct Priced(pub Pages, pub u64);

impl PageSource for Priced {
    fn page(&self, index: u32) -> Result<Option<Arc<[u8]>>, PageError> {
        self.0.page(index)
    }

    fn page_price(&self) -> u64 {
        self.1
    }
}

/// Everything about a stopped machine that consensus depends on.
#[derive(Clone, PartialEq, Eq)]
pub struct State {
    /// Why it stopped.
    pub exit: Exit,
    /// φ0..φ12.
    pub regs: [u64; 13],
    /// The address of the instruction at hand.
    pub pc: u32,
    /// Gas left.
    pub gas: u64,
    /// Written pages with their content.
    pub written: BTreeMap<u32, Vec<u8>>,
    /// What it would cost to read all pages, and to write them.
    pub unpaid: [u64; 2],
}

/// Shows the parts of pages that aren't zero: a difference is to be found by eye.
impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let State {
            exit,
            regs,
            pc,
            gas,
            written,
            unpaid,
        } = self;
        write!(
            f,
            "{exit:?} at {pc}, gas {gas}, {regs:x?}, unpaid {unpaid:?}, written: "
        )?;
        let parts = |bytes: &[u8]| -> BTreeMap<usize, String> {
            let parts = bytes.chunks(16).enumerate();
            parts
                .filter(|(_, part)| part.iter().any(|byte| *byte != 0))
                .map(|(index, part)| (16 * index, format!("{part:02x?}")))
                .collect()
        };
        let pages = written.iter().map(|(page, bytes)| (page, parts(bytes)));
        f.debug_map().entries(pages).finish()
    }
}

fn state(machine: &dyn Machine, exit: Exit) -> State {
    let pages = machine.written_pages();
    assert_eq!(pages.len() as u32, machine.written_count());
    let content = |page| {
        machine
            .page_bytes(page)
            .expect("a written page is present")
            .to_vec()
    };
    State {
        exit,
        regs: *machine.regs(),
        pc: machine.pc(),
        gas: machine.gas(),
        written: pages
            .into_iter()
            .map(|page| (page, content(page)))
            .collect(),
        unpaid: [Access::Read, Access::ReadWrite]
            .map(|access| machine.page_price(0, u32::MAX, access)),
    }
}

/// The same program on every engine, side by side.
pub struct Rig {
    /// The program as each engine prepared it.
    pub code: Vec<Arc<dyn Code>>,
    /// One machine of each engine.
    pub machines: Vec<Box<dyn Machine>>,
}

impl Rig {
    /// Machines at pc 0 with registers and gas 0. Panics if `regions` aren't a layout.
    pub fn new(program: Program, model: GasModel, regions: Vec<Region>) -> Rig {
        let program = Arc::new(program);
        let map = MemoryMap::new(regions).expect("a valid layout");
        let code: Vec<_> = engines()
            .iter()
            .map(|engine| engine.prepare(program.clone(), model))
            .collect();
        let machines = code
            .iter()
            .map(|code| code.clone().machine(map.clone()))
            .collect();
        Rig { code, machines }
    }

    /// Does the same with each machine.
    pub fn each(&mut self, mut f: impl FnMut(&mut dyn Machine)) {
        for machine in &mut self.machines {
            f(machine.as_mut());
        }
    }

    /// Sets the gas left.
    pub fn set_gas(&mut self, gas: u64) {
        self.each(|machine| machine.set_gas(gas));
    }

    /// Sets φ`index`.
    pub fn set_reg(&mut self, index: usize, value: u64) {
        self.each(|machine| machine.set_reg(index, value));
    }

    /// Goes on at `pc`, its block charged or not.
    pub fn set_pc(&mut self, pc: u32, charged: bool) {
        self.each(|machine| machine.set_pc(pc, charged));
    }

    /// Runs every engine; all must agree.
    pub fn run(&mut self) -> State {
        let mut states = self.machines.iter_mut().map(|machine| {
            let exit = machine.run().expect("the page source works");
            state(machine.as_ref(), exit)
        });
        let first = states.next().expect("there is an engine");
        for other in states {
            assert_eq!(first, other);
        }
        first
    }

    /// The cost of the block around `pc`; all engines must agree.
    pub fn block_cost(&self, pc: u32) -> Option<u64> {
        let first = self.code[0].block_cost(pc);
        assert!(self.code.iter().all(|code| code.block_cost(pc) == first));
        first
    }
}

/// Shortest encoding of `instructions`, one behind the other.
pub fn program(instructions: &[Instruction]) -> Program {
    program_with_table(instructions, &[])
}

/// As [`program`], with a jump table.
pub fn program_with_table(instructions: &[Instruction], table: &[u32]) -> Program {
    let (mut code, mut starts) = (Vec::new(), Vec::new());
    for instruction in instructions {
        starts.push(code.len());
        instruction
            .encode(&mut code)
            .expect("the instruction has a byte form");
    }
    let mut bitmask = vec![0; code.len().div_ceil(8)];
    for start in starts {
        bitmask[start / 8] |= 1 << (start % 8);
    }
    Program::new(code, bitmask, table.to_vec()).expect("a valid program")
}

/// Registers A, B, D.
pub fn rrr(opcode: Opcode, rd: u8, ra: u8, rb: u8) -> Instruction {
    Instruction {
        ra,
        rb,
        rd,
        ..opcode.into()
    }
}

/// Registers A, B, immediate or offset.
pub fn rri(opcode: Opcode, ra: u8, rb: u8, x: i64) -> Instruction {
    Instruction {
        ra,
        rb,
        x: x as u64,
        ..opcode.into()
    }
}

/// Register A, immediate.
pub fn ri(opcode: Opcode, ra: u8, x: i64) -> Instruction {
    Instruction {
        ra,
        x: x as u64,
        ..opcode.into()
    }
}

/// An opcode alone.
pub fn op(opcode: Opcode) -> Instruction {
    opcode.into()
}
