//! Blocks to bytes: jump table, branch distances, block starts.

use std::collections::{BTreeMap, BTreeSet};

use jar_isa::{Format, Instruction, Opcode};

use crate::Error;
use crate::lower::{Block, Op, is_terminator};

/// Rounds after which what grows takes all the room it can need at once.
const ROUNDS_MAX: u32 = 16;
/// Bytes of the longest offset.
const OFFSET_BYTES_MAX: u32 = 4;

/// Code with its labels resolved.
pub(crate) struct Code {
    pub bytes: Vec<u8>,
    /// One bit per byte, least significant first: set where an instruction starts.
    pub bitmask: Vec<u8>,
    pub jump_table: Vec<u32>,
    /// Where each label ended up.
    pub pcs: BTreeMap<u64, u32>,
}

/// Jump-table addresses of code: what a function pointer holds.
pub(crate) struct Addresses(BTreeMap<u64, u32>);

impl Addresses {
    /// Numbers the taken labels in order of address.
    pub(crate) fn new(taken: &BTreeSet<u64>) -> Addresses {
        let entries = taken.iter().zip(1u32..).map(|(label, n)| (*label, n * 2));
        Addresses(entries.collect())
    }

    /// The value that `jump_ind` takes to reach `label`.
    pub(crate) fn of(&self, label: u64) -> Option<u32> {
        self.0.get(&label).copied()
    }
}

/// An instruction and, if it has an offset, the label it leads to.
struct Item {
    instruction: Instruction,
    label: Option<u64>,
}

/// Encodes the program. Offsets begin short and only grow, so that the search for
/// lengths ends; ties to the input alone, so the result is always the same.
pub(crate) fn encode(blocks: &[Block], addresses: &Addresses) -> Result<Code, Error> {
    let (items, starts) = flatten(blocks, addresses)?;
    let index: BTreeMap<u64, usize> = starts.into_iter().collect();
    let target_of = |label: u64| {
        let missing = || Error::Layout(format!("no code at {label:#x}"));
        index.get(&label).copied().ok_or_else(missing)
    };
    let targets: Vec<Option<usize>> = items
        .iter()
        .map(|item| item.label.map(target_of).transpose())
        .collect::<Result<_, _>>()?;
    let mut lengths: Vec<u32> = vec![0; items.len()];
    let mut scratch = Vec::new();
    let mut rounds = 0;
    let positions = loop {
        let positions = positions(&lengths);
        let mut grown = false;
        for (i, item) in items.iter().enumerate() {
            if lengths[i] != 0 && targets[i].is_none() {
                continue;
            }
            scratch.clear();
            put(item, targets[i], i, &positions, &mut scratch)?;
            let mut len = scratch.len() as u32;
            if len > lengths[i] {
                if rounds > ROUNDS_MAX {
                    len += OFFSET_BYTES_MAX;
                }
                lengths[i] = len;
                grown = true;
            }
        }
        if !grown {
            break positions;
        }
        rounds += 1;
    };
    let mut bytes = Vec::new();
    let mut bitmask = vec![0; (positions[items.len()] as usize).div_ceil(8)];
    for (i, item) in items.iter().enumerate() {
        let at = bytes.len();
        bitmask[at / 8] |= 1 << (at % 8);
        put(item, targets[i], i, &positions, &mut bytes)?;
        // A distance that shrank again keeps its room: the offset is the last operand, so
        // that bytes of its sign behind it change nothing.
        let backward = targets[i].is_some_and(|target| positions[target] < positions[i]);
        bytes.resize(at + lengths[i] as usize, if backward { 0xff } else { 0 });
    }
    let pc = |i: &usize| positions[*i];
    let jump_table = addresses
        .0
        .keys()
        .map(|label| target_of(*label).map(|i| pc(&i)));
    Ok(Code {
        jump_table: jump_table.collect::<Result<_, _>>()?,
        pcs: index.iter().map(|(label, i)| (*label, pc(i))).collect(),
        bytes,
        bitmask,
    })
}

/// Start of every item, and the end.
fn positions(lengths: &[u32]) -> Vec<u32> {
    let mut at = 0;
    let mut out = Vec::with_capacity(lengths.len() + 1);
    for len in lengths {
        out.push(at);
        at += len;
    }
    out.push(at);
    out
}

fn put(
    item: &Item,
    target: Option<usize>,
    at: usize,
    positions: &[u32],
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let mut instruction = item.instruction;
    if let Some(target) = target {
        let offset = i64::from(positions[target]) - i64::from(positions[at]);
        match instruction.opcode.format() {
            Format::RIO => instruction.y = offset as u64,
            _ => instruction.x = offset as u64,
        }
    }
    instruction
        .encode(out)
        .map_err(|e| Error::Layout(format!("{instruction}: {e}")))
}

type Flat = (Vec<Item>, Vec<(u64, usize)>);

/// The blocks in one row, with the index at which each label stands.
fn flatten(blocks: &[Block], addresses: &Addresses) -> Result<Flat, Error> {
    let mut items = Vec::new();
    let mut starts = Vec::new();
    let address = |label: u64| {
        let address = addresses.of(label).map(u64::from);
        address.ok_or_else(|| Error::Layout(format!("no jump-table entry for {label:#x}")))
    };
    let mut ended = true;
    for (i, block) in blocks.iter().enumerate() {
        if !ended {
            items.push(Item {
                instruction: Opcode::Fallthrough.into(),
                label: None,
            });
        }
        starts.push((block.label, items.len()));
        let following = blocks.get(i + 1).map(|b| b.label);
        for (n, op) in block.ops.iter().enumerate() {
            let (instruction, label) = match *op {
                Op::Jump(inst, label) => {
                    let last = n + 1 == block.ops.len();
                    match inst.opcode == Opcode::Jump && last && following == Some(label) {
                        true => (Opcode::Fallthrough.into(), None),
                        false => (inst, Some(label)),
                    }
                }
                Op::Plain(instruction) => (instruction, None),
                Op::Code { rd, label } => {
                    let x = address(label)?;
                    (
                        Instruction {
                            ra: rd,
                            x,
                            ..Opcode::LoadImm.into()
                        },
                        None,
                    )
                }
                Op::Call { rd, label, ret } => {
                    let x = address(ret)?;
                    (
                        Instruction {
                            ra: rd,
                            x,
                            ..Opcode::LoadImmJump.into()
                        },
                        Some(label),
                    )
                }
                Op::CallIndirect {
                    rd,
                    base,
                    offset,
                    ret,
                } => {
                    let (opcode, x) = (Opcode::LoadImmJumpInd, address(ret)?);
                    (
                        Instruction {
                            ra: rd,
                            rb: base,
                            x,
                            y: offset,
                            ..opcode.into()
                        },
                        None,
                    )
                }
                Op::Wide(_) => return Err(Error::Layout("an operation was not expanded".into())),
            };
            items.push(Item { instruction, label });
        }
        ended = block.ops.last().is_some_and(is_terminator);
        if block.next.is_some() && block.next != following {
            return Err(Error::Layout(format!(
                "block {:#x} falls into nothing",
                block.label
            )));
        }
    }
    if !ended {
        return Err(Error::Layout("the last block doesn't end".into()));
    }
    Ok((items, starts))
}
