//! Which instructions can run, where blocks begin, and which addresses of code are
//! taken as values.

use std::collections::{BTreeMap, BTreeSet};

use object::elf::{self as abi, RelocationType};

use crate::Error;
use crate::elf::{Elf, Reloc};
use crate::riscv::{Alu, Inst, Reg, Rhs};

/// A label behind the last instruction: a trap. Calls that don't return go there.
pub(crate) const TRAP_LABEL: u64 = u64::MAX;

/// An instruction with its relocations applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Means what it says.
    Plain(Inst),
    /// The upper part of a code address; the value itself has no meaning.
    High { rd: Reg },
    /// `rd` becomes the address of code.
    Address { rd: Reg, target: u64 },
    /// A direct call, or a jump where `rd` is x0.
    Call { rd: Reg, target: u64 },
}

/// The reachable part of a program.
pub(crate) struct Flow {
    /// Reachable instructions by address.
    pub steps: BTreeMap<u64, Step>,
    /// Addresses where a block begins.
    pub leaders: BTreeSet<u64>,
    /// Addresses of code that occur as values, returns included.
    pub taken: BTreeSet<u64>,
}

/// Follows the program from `roots` (entries, and code addresses stored in data).
pub(crate) fn trace(elf: &Elf, roots: impl IntoIterator<Item = u64>) -> Result<Flow, Error> {
    let mut flow = Flow {
        steps: BTreeMap::new(),
        leaders: BTreeSet::new(),
        taken: BTreeSet::new(),
    };
    let mut work: Vec<u64> = roots.into_iter().collect();
    flow.leaders.extend(work.iter().copied());
    while let Some(start) = work.pop() {
        let mut addr = start;
        while !flow.steps.contains_key(&addr) {
            let step = resolve(elf, addr)?;
            flow.steps.insert(addr, step);
            match flow.follow(elf, addr, step, &mut work)? {
                Some(next) => addr = next,
                None => break,
            }
        }
    }
    Ok(flow)
}

impl Flow {
    /// Notes where `step` leads; answers the address that execution goes on at.
    fn follow(
        &mut self,
        elf: &Elf,
        addr: u64,
        step: Step,
        work: &mut Vec<u64>,
    ) -> Result<Option<u64>, Error> {
        let next = addr + 4;
        let mut jump = |flow: &mut Flow, target: u64| {
            if elf.word(target).is_none() || !target.is_multiple_of(4) {
                return Err(instruction_error(
                    elf,
                    addr,
                    format!("leads to {target:#x}, which is not code"),
                ));
            }
            flow.leaders.insert(target);
            work.push(target);
            Ok(())
        };
        match step {
            Step::Address { target, .. } => {
                jump(self, target)?;
                self.taken.insert(target);
            }
            Step::High { .. } => {}
            Step::Call { rd, target } => {
                jump(self, target)?;
                return Ok(self.after_call(elf, rd, call_end(elf, addr)));
            }
            Step::Plain(Inst::Jal { rd, offset }) => {
                jump(self, addr.wrapping_add_signed(offset))?;
                return Ok(self.after_call(elf, rd, next));
            }
            Step::Plain(Inst::Jalr { rd, .. }) => return Ok(self.after_call(elf, rd, next)),
            Step::Plain(Inst::Branch { offset, .. }) => {
                jump(self, addr.wrapping_add_signed(offset))?;
                self.leaders.insert(next);
            }
            Step::Plain(Inst::Trap) => return Ok(None),
            Step::Plain(inst) if skips_its_successor(&inst) => {
                self.leaders.insert(next);
            }
            Step::Plain(_) => {}
        }
        match elf.word(next) {
            Some(_) => Ok(Some(next)),
            None => Err(instruction_error(
                elf,
                addr,
                "runs off the end of its section".into(),
            )),
        }
    }

    /// The continuation of a call that ends before `next`.
    fn after_call(&mut self, elf: &Elf, rd: Reg, next: u64) -> Option<u64> {
        if rd == Reg::ZERO {
            return None;
        }
        let label = return_label(elf, next);
        self.leaders.insert(label);
        self.taken.insert(label);
        (label != TRAP_LABEL).then_some(label)
    }
}

/// Where a call that ends before `next` returns to. A call at the very end of a
/// function has no continuation: the callee doesn't return.
pub(crate) fn return_label(elf: &Elf, next: u64) -> u64 {
    match elf.word(next) {
        Some(_) if !elf.is_function(next) => next,
        _ => TRAP_LABEL,
    }
}

/// The address behind a call's instructions: `auipc` or `lui` and `jalr`, or `jalr` alone.
pub(crate) fn call_end(elf: &Elf, addr: u64) -> u64 {
    match elf.word(addr).and_then(Inst::decode) {
        Some(Inst::Auipc { .. }) => addr + 8,
        _ => addr + 4,
    }
}

/// `max` and `min` with zero in place are translated with a branch over one instruction.
pub(crate) fn skips_its_successor(inst: &Inst) -> bool {
    match *inst {
        Inst::Alu {
            op: Alu::Max | Alu::Min,
            rd,
            a,
            b: Rhs::Reg(b),
        } => rd != Reg::ZERO && (a == rd && b == Reg::ZERO || b == rd && a == Reg::ZERO),
        _ => false,
    }
}

pub(crate) fn instruction_error(elf: &Elf, addr: u64, reason: String) -> Error {
    let word = elf.word(addr).unwrap_or_default();
    Error::Instruction {
        symbol: elf.describe(addr),
        address: addr,
        instruction: Inst::decode(word)
            .map_or_else(|| format!(".word {word:#010x}"), |inst| inst.to_string()),
        reason,
    }
}

/// Decodes the instruction at `addr` and applies its relocations.
fn resolve(elf: &Elf, addr: u64) -> Result<Step, Error> {
    let word = elf
        .word(addr)
        .ok_or_else(|| instruction_error(elf, addr, "lies outside of the code".into()))?;
    let inst = Inst::decode(word).ok_or_else(|| {
        instruction_error(
            elf,
            addr,
            "not an instruction of rv64em with Zba, Zbb, Zbs".into(),
        )
    })?;
    if let Some(reg) = inst.registers().into_iter().find(|r| !r.is_usable()) {
        return Err(instruction_error(
            elf,
            addr,
            format!("register {reg} is not available to guests"),
        ));
    }
    for reloc in elf.code_relocs.get(&addr).into_iter().flatten() {
        if let Some(step) = apply(elf, addr, inst, *reloc)? {
            return Ok(step);
        }
    }
    match inst {
        Inst::Auipc { rd, imm } => unrelocated(elf, addr, rd, addr.wrapping_add_signed(imm)),
        _ => Ok(before_unrelocated(elf, addr, inst).unwrap_or(Step::Plain(inst))),
    }
}

/// What a relocation makes of an instruction; `None` when it changes nothing.
fn apply(elf: &Elf, addr: u64, inst: Inst, reloc: Reloc) -> Result<Option<Step>, Error> {
    let fail = |reason| {
        Err(Error::Relocation {
            symbol: elf.describe(addr),
            address: addr,
            kind: reloc.kind,
            target: reloc.target,
            reason,
        })
    };
    match RelocationType(reloc.kind) {
        // Direct branches are linked already; the other two only help a relaxing linker.
        abi::R_RISCV_BRANCH | abi::R_RISCV_JAL | abi::R_RISCV_RELAX | abi::R_RISCV_ALIGN => {
            Ok(None)
        }
        abi::R_RISCV_NONE => Ok(None),
        abi::R_RISCV_CALL | abi::R_RISCV_CALL_PLT => {
            let Some(Inst::Jalr { rd, .. }) = elf.word(addr + 4).and_then(Inst::decode) else {
                return fail("no jalr behind its auipc");
            };
            if !elf.is_code(reloc.target) {
                return fail("does not lead to code");
            }
            Ok(Some(Step::Call {
                rd,
                target: reloc.target,
            }))
        }
        abi::R_RISCV_HI20 | abi::R_RISCV_PCREL_HI20 => match inst {
            Inst::Lui { rd, .. } | Inst::Auipc { rd, .. } if elf.is_code(reloc.target) => {
                Ok(Some(Step::High { rd }))
            }
            Inst::Auipc { .. } => Ok(Some(Step::Plain(absolute(addr, inst)))),
            _ => Ok(None),
        },
        abi::R_RISCV_LO12_I | abi::R_RISCV_LO12_S => low_part(elf, inst, reloc.target, fail),
        abi::R_RISCV_PCREL_LO12_I | abi::R_RISCV_PCREL_LO12_S => {
            let mut high = elf.code_relocs.get(&reloc.target).into_iter().flatten();
            match high.find(|r| r.kind == abi::R_RISCV_PCREL_HI20.0) {
                Some(high) => low_part(elf, inst, high.target, fail),
                None => fail("its upper part has no relocation"),
            }
        }
        _ => fail("not supported; build with relocation-model=static and no thread-locals"),
    }
}

/// The instruction that adds the lower twelve bits of an address.
fn low_part(
    elf: &Elf,
    inst: Inst,
    target: u64,
    fail: impl Fn(&'static str) -> Result<Option<Step>, Error>,
) -> Result<Option<Step>, Error> {
    if !elf.is_code(target) {
        return Ok(None);
    }
    match inst {
        Inst::Alu {
            op: Alu::Add,
            rd,
            b: Rhs::Imm(_),
            ..
        } => Ok(Some(Step::Address { rd, target })),
        Inst::Jalr { rd, .. } => Ok(Some(Step::Call { rd, target })),
        _ => fail("reads or writes code as data"),
    }
}

/// An `auipc` as a `lui` of the same value: its own place means nothing in the Image.
fn absolute(addr: u64, inst: Inst) -> Inst {
    match inst {
        Inst::Auipc { rd, imm } => Inst::Lui {
            rd,
            imm: addr.wrapping_add_signed(imm) as i64,
        },
        other => other,
    }
}

/// An `auipc` that the assembler resolved itself: the next instruction tells its target.
fn unrelocated(elf: &Elf, addr: u64, rd: Reg, value: u64) -> Result<Step, Error> {
    let plain = Step::Plain(Inst::Lui {
        rd,
        imm: value as i64,
    });
    match elf.word(addr + 4).and_then(Inst::decode) {
        Some(Inst::Jalr {
            rd: link,
            base,
            offset,
        }) if base == rd => {
            let target = value.wrapping_add_signed(offset);
            match elf.is_code(target) {
                true => Ok(Step::Call { rd: link, target }),
                false => Err(instruction_error(
                    elf,
                    addr,
                    format!("calls {target:#x}, which is not code"),
                )),
            }
        }
        Some(Inst::Alu {
            op: Alu::Add,
            a,
            b: Rhs::Imm(low),
            ..
        }) if a == rd => match elf.is_code(value.wrapping_add_signed(low)) {
            true => Ok(Step::High { rd }),
            false => Ok(plain),
        },
        Some(Inst::Load { base, offset, .. } | Inst::Store { base, offset, .. })
            if base == rd && !elf.is_code(value.wrapping_add_signed(offset)) =>
        {
            Ok(plain)
        }
        _ => Err(instruction_error(
            elf,
            addr,
            "a pc-relative address without a relocation".into(),
        )),
    }
}

/// The `addi` behind an unrelocated `auipc` of a code address.
fn before_unrelocated(elf: &Elf, addr: u64, inst: Inst) -> Option<Step> {
    let Inst::Alu {
        op: Alu::Add,
        rd,
        a,
        b: Rhs::Imm(low),
    } = inst
    else {
        return None;
    };
    let before = addr.checked_sub(4)?;
    let Some(Inst::Auipc { rd: high, imm }) = elf.word(before).and_then(Inst::decode) else {
        return None;
    };
    let target = before.wrapping_add_signed(imm).wrapping_add_signed(low);
    let relocated = elf.code_relocs.get(&before).is_some_and(|r| !r.is_empty());
    (high == a && !relocated && elf.is_code(target)).then_some(Step::Address { rd, target })
}
