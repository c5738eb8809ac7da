//! Programs as compilers write them, from bytes: loops, conditions, switches, calls, host calls,
//! memory of every kind.
//!
//! When the bytes run out, the program ends.

use arbitrary::{Result, Unstructured};
use jar_abi::HostCall;
use jar_isa::{Format, Instruction, Opcode};
use jar_pvm::Program;

use crate::rig::{op, program_with_table, ri, rri};

/// Registers that hold addresses.
pub const BASES: std::ops::Range<u8> = 1..5;
/// The counter of the loop at each depth.
const COUNTERS: [u8; 2] = [5, 6];
const FREE: std::ops::RangeInclusive<u8> = 7..=12;
/// Holds return addresses.
const LINK: u8 = 0;
const FUNCTIONS: usize = 3;
const PARTS_MAX: usize = 6;
const NESTING_MAX: usize = 2;

/// Whether an instruction reads or writes memory.
pub fn is_access(opcode: Opcode) -> bool {
    opcode.cost().units.load + opcode.cost().units.store > 0
}

fn is_calm(opcode: Opcode) -> bool {
    !opcode.is_terminator() && !matches!(opcode, Opcode::Ecall | Opcode::Ecalli)
}

fn immediate(u: &mut Unstructured) -> Result<i64> {
    match u.int_in_range(0..=5)? {
        0 => Ok(i64::from(u.arbitrary::<i32>()?)),
        1 => Ok(*u.choose(&[i32::MIN, i32::MAX, -129, 128, 0x7fff, -0x8000])? as i64),
        _ => u.int_in_range(-20..=20),
    }
}

/// A fixed address, mostly of the layouts' pages.
fn fixed_address(u: &mut Unstructured) -> Result<i64> {
    let address = match u.int_in_range(0..=3)? {
        0 => u.int_in_range(0xffff_dff0..=0xffff_ffff)?,
        _ => u.int_in_range(0x10000..=0x18010u32)?,
    };
    Ok(i64::from(address as i32))
}

/// Any instruction but jumps, traps and host calls; accesses go through a base.
fn plain(u: &mut Unstructured) -> Result<Instruction> {
    let accesses_only = u.ratio(1, 3)?;
    let fitting = |o: &&Opcode| is_calm(**o) && (!accesses_only || is_access(**o));
    let count = Opcode::ALL.iter().filter(fitting).count();
    let number = u.choose_index(count)?;
    let opcode = *Opcode::ALL.iter().filter(fitting).nth(number).unwrap();
    let (any, first, second) = (
        u.int_in_range(0..=12)?,
        u.int_in_range(FREE)?,
        u.int_in_range(FREE)?,
    );
    let (mut ra, mut rb) = (first, any);
    let mut x = immediate(u)?;
    if is_access(opcode) {
        let base = u.int_in_range(BASES.start..=BASES.end - 1)?;
        match opcode.format() {
            Format::RRI => rb = base,
            Format::RII => ra = base,
            _ => x = fixed_address(u)?,
        }
    } else if matches!(opcode.format(), Format::RRR | Format::RR) {
        (ra, rb) = (any, first);
    }
    let y = if matches!(opcode.format(), Format::II | Format::RII) {
        immediate(u)?
    } else {
        0
    };
    Ok(Instruction {
        opcode,
        ra,
        rb,
        rd: second,
        x: x as u64,
        y: y as u64,
    })
}

/// An argument of a host call: a slot, a path, an address, a length or anything; `None` leaves the
/// register as it is.
fn argument(u: &mut Unstructured) -> Result<Option<u64>> {
    let address = |u: &mut Unstructured| u.int_in_range(0x10000..=0x1807fu64);
    Ok(Some(match u.int_in_range(0..=11)? {
        0 => return Ok(None),
        1 => u.arbitrary()?,
        2 => u64::from(u.arbitrary::<u32>()?),
        3 | 4 => address(u)?,
        5 => u.int_in_range(0..=80)?,
        // A path of two keys, and one in memory.
        6 => 1 << 56 | u.int_in_range(0..=45u64)? << 8 | u.int_in_range(0..=45)?,
        7 => 1 << 63 | u.int_in_range(1..=70u64)? << 32 | address(u)?,
        8 => *u.choose(&[0, 1, 7, 8, 9, 17, 18, 33, 41])?,
        _ => u.int_in_range(0..=45)?,
    }))
}

/// An item of a program under construction.
enum Item {
    Fixed(Instruction),
    /// Its offset leads to a label.
    To(usize, Instruction),
    Label(usize),
    /// The next entry of the jump table is what comes next.
    Entry,
}

struct Writer {
    items: Vec<Item>,
    labels: usize,
    entries: i64,
    /// Host calls are the kernel's, with arguments.
    kernel_calls: bool,
}

impl Writer {
    fn label(&mut self) -> usize {
        self.labels += 1;
        self.labels - 1
    }

    fn fixed(&mut self, instruction: Instruction) {
        self.items.push(Item::Fixed(instruction));
    }

    fn plain(&mut self, u: &mut Unstructured) -> Result<()> {
        for _ in 0..u.int_in_range(1..=10)? {
            let instruction = plain(u)?;
            self.fixed(instruction);
        }
        Ok(())
    }

    /// A few parts; `functions` are the labels that may be called.
    fn parts(&mut self, u: &mut Unstructured, functions: &[usize], depth: usize) -> Result<()> {
        for _ in 0..u.int_in_range(1..=PARTS_MAX)? {
            if u.is_empty() {
                break;
            }
            let nest = depth < NESTING_MAX;
            match u.int_in_range(0..=9)? {
                0 | 1 if nest => self.repeat(u, functions, depth)?,
                2 | 3 if nest => self.condition(u, functions, depth)?,
                4 if nest => self.switch(u, functions, depth)?,
                5 | 6 if !functions.is_empty() && nest => {
                    let function = *u.choose(functions)?;
                    self.entries += 1;
                    let call = ri(Opcode::LoadImmJump, LINK, 2 * self.entries);
                    self.items.push(Item::To(function, call));
                    self.items.push(Item::Entry);
                }
                7 => self.host_call(u)?,
                8 if self.kernel_calls => self.host_call(u)?,
                _ => self.plain(u)?,
            }
        }
        Ok(())
    }

    fn host_call(&mut self, u: &mut Unstructured) -> Result<()> {
        if self.kernel_calls {
            return self.kernel_call(u);
        }
        let number = immediate(u)?;
        let call = if u.ratio(1, 4)? {
            op(Opcode::Ecall)
        } else {
            Instruction {
                x: number as u64,
                ..op(Opcode::Ecalli)
            }
        };
        self.fixed(call);
        Ok(())
    }

    fn kernel_call(&mut self, u: &mut Unstructured) -> Result<()> {
        let call = *u.choose(HostCall::ALL)?;
        for (reg, _) in (7..).zip(call.arguments()) {
            let Some(value) = argument(u)? else { continue };
            self.fixed(ri(Opcode::LoadImm64, reg, value as i64));
        }
        self.fixed(Instruction {
            x: call as u64,
            ..op(Opcode::Ecalli)
        });
        Ok(())
    }

    fn repeat(&mut self, u: &mut Unstructured, functions: &[usize], depth: usize) -> Result<()> {
        let (counter, count) = (COUNTERS[depth], u.int_in_range(1..=11)?);
        self.fixed(ri(Opcode::LoadImm, counter, count));
        self.fixed(op(Opcode::Fallthrough));
        let start = self.label();
        self.items.push(Item::Label(start));
        self.parts(u, functions, depth + 1)?;
        self.fixed(rri(Opcode::AddImm64, counter, counter, -1));
        let back = ri(Opcode::BranchNeImm, counter, 0);
        self.items.push(Item::To(start, back));
        Ok(())
    }

    /// Parts that a branch of any kind may skip.
    fn condition(&mut self, u: &mut Unstructured, functions: &[usize], depth: usize) -> Result<()> {
        let is_condition =
            |o: &&Opcode| o.is_branch() && !matches!(**o, Opcode::Jump | Opcode::LoadImmJump);
        let count = Opcode::ALL.iter().filter(is_condition).count();
        let number = u.choose_index(count)?;
        let opcode = *Opcode::ALL.iter().filter(is_condition).nth(number).unwrap();
        let (ra, rb) = (u.int_in_range(0..=12)?, u.int_in_range(0..=12)?);
        let end = self.label();
        let branch = Instruction {
            ra,
            rb,
            x: immediate(u)? as u64,
            ..opcode.into()
        };
        self.items.push(Item::To(end, branch));
        self.parts(u, functions, depth + 1)?;
        self.fixed(op(Opcode::Fallthrough));
        self.items.push(Item::Label(end));
        Ok(())
    }

    /// A jump through the table by the low bits of a register.
    fn switch(&mut self, u: &mut Unstructured, functions: &[usize], depth: usize) -> Result<()> {
        let (register, by) = (u.int_in_range(FREE)?, u.int_in_range(0..=12)?);
        self.fixed(rri(Opcode::AndImm, register, by, 2));
        let first = 2 * (self.entries + 1);
        let jump = if u.ratio(1, 3)? {
            Instruction {
                rb: register,
                y: first as u64,
                ..ri(Opcode::LoadImmJumpInd, register, first)
            }
        } else {
            ri(Opcode::JumpInd, register, first)
        };
        self.fixed(jump);
        self.entries += 2;
        self.items.push(Item::Entry);
        self.parts(u, functions, depth + 1)?;
        self.fixed(op(Opcode::Fallthrough));
        self.items.push(Item::Entry);
        Ok(())
    }

    /// The program, once lengths and offsets agree.
    fn link(&self) -> Option<Program> {
        let mut places = vec![0i64; self.labels];
        for _ in 0..10 {
            let (mut list, mut table, mut at) = (vec![], vec![], 0);
            let mut next = places.clone();
            for item in &self.items {
                let instruction = match item {
                    Item::Label(label) => {
                        next[*label] = at;
                        continue;
                    }
                    Item::Entry => {
                        table.push(at as u32);
                        continue;
                    }
                    Item::Fixed(instruction) => *instruction,
                    Item::To(label, instruction) => {
                        let offset = (places[*label] - at) as u64;
                        let mut instruction = *instruction;
                        match instruction.opcode.format() {
                            Format::RIO => instruction.y = offset,
                            _ => instruction.x = offset,
                        }
                        instruction
                    }
                };
                let mut bytes = vec![];
                instruction.encode(&mut bytes).expect("a byte form");
                at += bytes.len() as i64;
                list.push(instruction);
            }
            if next == places {
                return Some(program_with_table(&list, &table));
            }
            places = next;
        }
        None
    }
}

/// A main part and three functions that it calls through φ0; `None` where offsets don't settle.
fn write(u: &mut Unstructured, kernel_calls: bool) -> Result<Option<Program>> {
    let mut writer = Writer {
        items: vec![],
        labels: FUNCTIONS,
        entries: 0,
        kernel_calls,
    };
    let functions: Vec<usize> = (0..FUNCTIONS).collect();
    writer.parts(u, &functions, 0)?;
    writer.fixed(ri(Opcode::LoadImm, LINK, -0x1_0000));
    writer.fixed(ri(Opcode::JumpInd, LINK, 0));
    for label in functions {
        writer.items.push(Item::Label(label));
        // The outer counter is the callers'.
        writer.parts(u, &[], 1)?;
        writer.fixed(ri(Opcode::JumpInd, LINK, 0));
    }
    Ok(writer.link())
}

/// A program with host calls of any number; `None` where offsets don't settle.
pub fn structured(u: &mut Unstructured) -> Result<Option<Program>> {
    write(u, false)
}

/// A program with the kernel's host calls; `None` where offsets don't settle.
pub fn guest(u: &mut Unstructured) -> Result<Option<Program>> {
    write(u, true)
}

/// Bytes as they come, with instruction starts of several kinds and a table of small numbers.
pub fn raw(u: &mut Unstructured) -> Result<Option<Program>> {
    let kind = u.int_in_range(0..=3u8)?;
    let entries = u.int_in_range(0..=8)?;
    let table = (0..entries)
        .map(|_| Ok(u32::from(u.arbitrary::<u8>()?)))
        .collect::<Result<Vec<u32>>>()?;
    let bytes = u.bytes(u.len())?;
    let (code, marks): (Vec<u8>, Vec<u8>) = match kind {
        0 => bytes.chunks_exact(2).map(|pair| (pair[0], pair[1])).unzip(),
        _ => bytes.iter().map(|byte| (*byte, 0)).unzip(),
    };
    let mut bitmask = vec![0u8; code.len().div_ceil(8)];
    let mut next = 0;
    for at in 0..code.len() {
        let start = match kind {
            0 => marks[at] & 1 == 1,
            1 => true,
            // As long as the operands of the format can be, by the lengths they name.
            2 => at == next,
            _ => matches!(at % 5, 0 | 2),
        };
        if start || at == 0 {
            bitmask[at / 8] |= 1 << (at % 8);
            next = at + 1 + operands_len(&code[at..]);
        }
    }
    Ok(Program::new(code, bitmask, table).ok())
}

/// Bytes behind an opcode that its operands take, with immediates of one byte where their
/// length isn't written.
fn operands_len(code: &[u8]) -> usize {
    let Some(opcode) = code.first().and_then(|byte| Opcode::from_byte(*byte)) else {
        return 0;
    };
    let second = usize::from(code.get(1).copied().unwrap_or(0));
    match opcode.format() {
        Format::N => 0,
        Format::I | Format::O | Format::RR => 1,
        Format::RX => 9,
        Format::II => 2 + (second & 7).min(4),
        Format::RI => 2,
        Format::RII | Format::RIO => 2 + (second >> 4 & 7).min(4),
        Format::RRI | Format::RRO | Format::RRR => 2,
        Format::RRII => 4,
    }
}
