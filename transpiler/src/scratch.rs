//! Liveness: dead instructions go, and what needs a scratch register gets one.
//!
//! RISC-V guests use every PVM register, so a sequence that needs one more takes a
//! register whose value is not read again; where all are in use, one is saved to a
//! word of memory that the transpiler keeps for itself above the stack.

use jar_isa::{Instruction, Opcode};

use crate::graph::{index, settle};
use crate::lower::{Block, Op, Wide, load, rri, rrr};

/// A set of registers, bit i for φi.
type Set = u16;
const ALL: Set = (1 << 13) - 1;
/// Arguments of a host call, φ7..φ12.
const HOST_ARGUMENTS: Set = 0b1_1111_1000_0000;
/// t0 isn't kept across a host call, and φ7 is its result.
const HOST_RESULTS: Set = 1 << 2 | 1 << 7;
/// `0x7f` in every byte.
const LOW_SEVEN: u64 = 0x7f7f_7f7f_7f7f_7f7f;

/// Registers that `op` reads and writes for sure, where control goes on in line.
fn uses(op: &Op) -> (Set, Set) {
    match op {
        Op::Plain(inst) | Op::Jump(inst, _) => match inst.opcode {
            Opcode::Ecalli => (HOST_ARGUMENTS, HOST_RESULTS),
            Opcode::Ecall => (HOST_ARGUMENTS, HOST_RESULTS & !(1 << 2)),
            _ => (inst.sources(), inst.destination().map_or(0, |rd| 1 << rd)),
        },
        Op::Code { rd, .. } | Op::Call { rd, .. } => (0, 1 << rd),
        Op::CallIndirect { rd, base, .. } => (1 << base, 1 << rd),
        Op::Wide(Wide::ShiftAdd { rd, a, .. }) => (1 << rd | 1 << a, 1 << rd),
        Op::Wide(Wide::BitOfItself { rd, .. }) => (1 << rd, 1 << rd),
        Op::Wide(Wide::OrcB { rd, a }) => (1 << a, 1 << rd),
        Op::Wide(Wide::Touch(inst)) => (inst.sources(), 0),
    }
}

/// Whether an instruction does nothing but write its register.
fn is_pure(op: &Op) -> bool {
    match op {
        Op::Code { .. } => true,
        Op::Wide(wide) => !matches!(wide, Wide::Touch(_)),
        Op::Plain(inst) => {
            let number = inst.opcode as u8;
            let loads = 52..=58;
            let indirect_loads = 124..=130;
            inst.destination().is_some()
                && !inst.opcode.is_terminator()
                && !loads.contains(&number)
                && !indirect_loads.contains(&number)
        }
        _ => false,
    }
}

/// Live registers before `op`, given those after it.
fn before(op: &Op, after: Set, at_label: impl Fn(u64) -> Set) -> Set {
    let (read, written) = uses(op);
    let after = match op {
        Op::Plain(inst) => match inst.opcode {
            Opcode::Trap => 0,
            Opcode::JumpInd => ALL,
            _ => after,
        },
        Op::Jump(inst, label) if inst.opcode == Opcode::Jump => at_label(*label),
        Op::Jump(_, label) => after | at_label(*label),
        // What is live behind a call is what the callee leaves live when it returns.
        Op::Call { label, .. } => at_label(*label),
        Op::CallIndirect { .. } => ALL,
        Op::Code { .. } | Op::Wide(_) => after,
    };
    after & !written | read
}

/// Removes dead instructions and expands [`Op::Wide`]. `spill` is the address of the
/// 8 bytes of memory used when no register is free.
pub(crate) fn finish(blocks: &mut [Block], spill: u32) {
    let by_label = index(blocks);
    let live_at = |live_in: &[Set], label: u64| by_label.get(&label).map_or(ALL, |i| live_in[*i]);
    let live_out = |live_in: &[Set], block: &Block| match block.next {
        Some(next) => live_at(live_in, next),
        None => 0,
    };
    let live_in = settle(blocks, 0, |i, live_in| {
        let after = live_out(live_in, &blocks[i]);
        let ops = blocks[i].ops.iter().rev();
        ops.fold(after, |live, op| {
            before(op, live, |label| live_at(live_in, label))
        })
    });
    for block in blocks.iter_mut() {
        let mut live = live_out(&live_in, block);
        let mut out = Vec::with_capacity(block.ops.len());
        for op in block.ops.iter().rev() {
            let (_, written) = uses(op);
            if is_pure(op) && written & live == 0 {
                continue;
            }
            match op {
                Op::Wide(wide) => {
                    let expanded = expand(*wide, live, spill);
                    out.extend(expanded.into_iter().rev().map(Op::Plain));
                }
                op => out.push(*op),
            }
            live = before(op, live, |label| live_at(&live_in, label));
        }
        out.reverse();
        block.ops = out;
    }
}

/// Hands out registers that are not in `taken`: dead ones first, else saved ones.
struct Scratch {
    live: Set,
    taken: Set,
    spill: u32,
    saved: Vec<u8>,
}

impl Scratch {
    fn take(&mut self) -> u8 {
        let free = ALL & !self.taken;
        let dead = free & !self.live;
        let reg = if dead != 0 { dead } else { free }.trailing_zeros() as u8;
        if dead == 0 {
            self.saved.push(reg);
        }
        self.taken |= 1 << reg;
        reg
    }

    /// `body` with the saved registers stored before and restored behind it.
    fn around(self, body: Vec<Instruction>) -> Vec<Instruction> {
        let slots = || self.saved.iter().zip((u64::from(self.spill)..).step_by(8));
        let word = |opcode: Opcode, (ra, x): (&u8, u64)| Instruction {
            ra: *ra,
            x,
            ..opcode.into()
        };
        slots()
            .map(|slot| word(Opcode::StoreU64, slot))
            .chain(body)
            .chain(slots().map(|slot| word(Opcode::LoadU64, slot)))
            .collect()
    }
}

fn expand(wide: Wide, live: Set, spill: u32) -> Vec<Instruction> {
    let (read, written) = uses(&Op::Wide(wide));
    let mut scratch = Scratch {
        live,
        taken: read | written,
        spill,
        saved: Vec::new(),
    };
    use Opcode::*;
    let body = match wide {
        Wide::ShiftAdd { rd, a, shift, word } => {
            // `a` itself may serve where it is not read again.
            let dead = a != rd && live & 1 << a == 0;
            let t = if dead { a } else { scratch.take() };
            let mut body = match word {
                true => vec![
                    rri(ShloLImm64, t, a, 32),
                    rri(ShloRImm64, t, t, 32 - u64::from(shift)),
                ],
                false => vec![rri(ShloLImm64, t, a, u64::from(shift))],
            };
            body.push(rrr(Add64, rd, t, rd));
            body
        }
        Wide::BitOfItself { op, rd } => {
            let t = scratch.take();
            vec![rri(ShloLImmAlt64, t, rd, 1), rrr(op, rd, rd, t)]
        }
        Wide::OrcB { rd, a } => {
            let mask = scratch.take();
            let from = if rd == a { scratch.take() } else { a };
            let mut body = vec![load(mask, LOW_SEVEN)];
            if from != a {
                body.push(Instruction {
                    rd: from,
                    ra: a,
                    ..MoveReg.into()
                });
            }
            // The high bit of each byte tells whether the byte is not 0.
            body.extend([
                rrr(And, rd, from, mask),
                rrr(Add64, rd, rd, mask),
                rrr(Or, rd, rd, from),
                rrr(AndInv, rd, rd, mask),
                rri(ShloRImm64, rd, rd, 7),
                rri(MulImm64, rd, rd, 0xff),
            ]);
            body
        }
        Wide::Touch(load) => {
            let ra = scratch.take();
            vec![Instruction { ra, ..load }]
        }
    };
    scratch.around(body)
}
