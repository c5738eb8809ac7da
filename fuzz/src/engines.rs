//! The engines against each other: exit, φ, pc, gas, written pages and their bytes are compared
//! at every stop.

use arbitrary::{Result, Unstructured};
use jar_pvm::{Exit, GasModel, Program};

use crate::layouts::{PAGE_PRICE, layouts};
use crate::programs::{self, BASES};
use crate::rig::{Rig, State};

const LAYOUTS: usize = 5;
const GAS_MAX: u64 = 20_000;
const PIECE_MAX: u64 = 2_000;
/// Stops after which host calls and faults end a run.
const CALLS_MAX: u64 = 300;
const FAULTS_MAX: u64 = 60;

/// What a run starts with.
#[derive(Debug, Clone)]
pub struct Start {
    /// φ0..φ12.
    pub regs: [u64; 13],
    /// Index of a layout.
    pub layout: usize,
    /// Gas given in all, besides nothing at first.
    pub gas: u64,
    /// Gas given at once.
    pub piece: u64,
    /// How blocks are priced.
    pub model: GasModel,
    /// Where a run begins.
    pub pc: u32,
}

fn address(u: &mut Unstructured) -> Result<u64> {
    match u.int_in_range(0..=12)? {
        0 => u.arbitrary(),
        1 => u.int_in_range(0xffff_dff0..=0x1_0000_0010),
        2..=4 => Ok(u.int_in_range(0x10..=0x18)? * 4096 + 4 - u.int_in_range(0..=15)?),
        _ => u.int_in_range(0x10020..=0x17fdf),
    }
}

fn value(u: &mut Unstructured) -> Result<u64> {
    match u.int_in_range(0..=5)? {
        0 => Ok(1 << 63),
        1 => Ok(u64::MAX),
        2 => Ok(0x8000_0000),
        3 => u.arbitrary(),
        _ => u.int_in_range(0..=63),
    }
}

impl Start {
    /// A start made from bytes.
    pub fn read(u: &mut Unstructured) -> Result<Start> {
        let mut regs = [0; 13];
        for (index, reg) in regs.iter_mut().enumerate() {
            *reg = match u8::try_from(index).is_ok_and(|index| BASES.contains(&index)) {
                true => address(u)?,
                false => value(u)?,
            };
        }
        let layout = u.int_in_range(0..=LAYOUTS - 1)?;
        let gas = u.int_in_range(0..=GAS_MAX)?;
        let piece = u.int_in_range(1..=PIECE_MAX)?;
        let model = match u.arbitrary()? {
            true => GasModel::Pipeline,
            false => GasModel::Unit,
        };
        Ok(Start {
            regs,
            layout,
            gas,
            piece,
            model,
            pc: 0,
        })
    }
}

/// Runs to the end with gas in pieces, host calls answered, faults passed over a few times by
/// moving addresses; engines are compared at every stop.
pub fn run(program: &Program, start: &Start) -> State {
    let layout = layouts()[start.layout].clone();
    let mut rig = Rig::new(program.clone(), start.model, layout);
    for (index, value) in start.regs.iter().enumerate() {
        rig.set_reg(index, *value);
    }
    rig.set_pc(start.pc, false);
    if start.piece.is_multiple_of(4) {
        rig.each(|machine| machine.price_writes(PAGE_PRICE));
    }
    let mut left = start.gas;
    let mut stops = 0;
    loop {
        let state = rig.run();
        stops += 1;
        match state.exit {
            Exit::OutOfGas | Exit::PagePrice(_) if left > 0 => {
                let more = left.min(start.piece);
                left -= more;
                rig.set_gas(state.gas + more);
            }
            Exit::HostCall(number) if stops < CALLS_MAX => {
                rig.set_reg(7, number ^ stops);
                if (number ^ stops).is_multiple_of(4) {
                    rig.each(|machine| machine.price_writes(PAGE_PRICE));
                }
                rig.each(|machine| {
                    let _ = machine.write(0x10ffe, &stops.to_le_bytes());
                });
            }
            Exit::PageFault(_) if stops < FAULTS_MAX => {
                for base in BASES {
                    rig.set_reg(usize::from(base), 0x10100 + 0x1000 * (stops % 8));
                }
                // What was at fault may not use a base: go on behind it then.
                if stops % 2 == 0 {
                    rig.set_pc(program.next_pc(state.pc), true);
                }
            }
            _ => return state,
        }
    }
}

/// A structured program and how it starts; `None` where offsets don't settle.
pub fn structured_case(data: &[u8]) -> Option<(Program, Start)> {
    let mut u = Unstructured::new(data);
    let start = Start::read(&mut u).ok()?;
    let program = programs::structured(&mut u).ok()??;
    Some((program, start))
}

/// Programs with loops, calls and host calls, out of gas and topped up.
pub fn structured(data: &[u8]) {
    if let Some((program, start)) = structured_case(data) {
        run(&program, &start);
    }
}

/// Programs of any bytes, entered anywhere.
pub fn bytecode(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let case = (|| {
        let start = Start::read(&mut u)?;
        let pc = match u.int_in_range(0..=7)? {
            0 => u.arbitrary()?,
            1 => u32::from(u.arbitrary::<u8>()?),
            _ => 0,
        };
        Ok::<_, arbitrary::Error>((programs::raw(&mut u)?, Start { pc, ..start }))
    })();
    let Ok((Some(program), start)) = case else {
        return;
    };
    let costs = Rig::new(program.clone(), start.model, vec![]);
    for pc in 0..=program.code_len() {
        costs.block_cost(pc);
    }
    run(&program, &start);
}
