//! Machine code of any program, read by an independent disassembler: it reaches memory through the
//! window alone, and leads nowhere but to its own instructions and the exits.

#![cfg_attr(
    not(all(target_arch = "x86_64", target_os = "linux")),
    allow(unused_imports)
)]

use std::collections::BTreeSet;
use std::sync::Arc;

use arbitrary::Unstructured;
use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpKind,
    Register,
};
use jar_pvm::{GasModel, Program};

use crate::programs;

/// Where there is no recompiler, there is nothing to try.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub fn machine_code(_: &[u8]) {}

/// The machine code of structured programs and of any bytes.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub fn machine_code(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let program = match u.arbitrary() {
        Ok(true) => programs::structured(&mut u),
        _ => programs::raw(&mut u),
    };
    let (Ok(Some(program)), Some(recompiler)) = (program, jar_pvm::Recompiler::detect()) else {
        return;
    };
    let program: Arc<Program> = Arc::new(program);
    if let Some(code) = recompiler.compile(program, GasModel::Pipeline) {
        check(&code.listing());
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn check(listing: &jar_pvm::Listing) {
    let decode = |range: std::ops::Range<usize>| -> Vec<Instruction> {
        let (bytes, at) = (&listing.bytes[range.clone()], range.start as u64);
        Decoder::with_ip(64, bytes, at, DecoderOptions::NONE)
            .into_iter()
            .collect()
    };
    let mut starts: BTreeSet<u64> = listing
        .steps
        .iter()
        .map(|made| made.code.start as u64)
        .collect();
    starts.extend(listing.exits.iter().map(|(at, _)| *at as u64));
    for stub in decode(listing.stubs.clone()) {
        assert_eq!(stub.mnemonic(), Mnemonic::Call);
        assert!(starts.contains(&stub.near_branch_target()));
        starts.insert(stub.ip());
    }
    starts.insert(listing.stubs.start as u64);
    // Jumps pass over what stands in place of a charge that is paid before.
    for made in &listing.steps {
        let first = decode(made.code.clone()).first().copied();
        let passed = first.filter(|first| first.mnemonic() == Mnemonic::Nop && first.len() == 12);
        starts.extend(passed.map(|nop| nop.next_ip()));
    }
    for jar_pvm::Made { pc, code, .. } in &listing.steps {
        let code = decode(code.clone());
        let inside: BTreeSet<u64> = code.iter().map(Instruction::ip).collect();
        let mut info = InstructionInfoFactory::new();
        // Registers that hold 32 bits, since this step's code made them so.
        let mut narrow: BTreeSet<Register> = BTreeSet::new();
        for instruction in &code {
            assert!(
                !instruction.is_invalid(),
                "pc {pc}: bytes that are no instruction"
            );
            check_flow(instruction, |to| {
                starts.contains(&to) || inside.contains(&to)
            });
            check_memory(instruction, &narrow, listing.table_address as u64);
            let info = info.info(instruction);
            for used in info
                .used_registers()
                .iter()
                .filter(|used| writes(used.access()))
            {
                narrow.remove(&used.register().full_register());
            }
            let to = instruction.op0_register();
            if to.is_gpr32() && info.op0_access() == iced_x86::OpAccess::Write {
                narrow.insert(to.full_register());
            }
        }
    }
}

fn writes(access: iced_x86::OpAccess) -> bool {
    use iced_x86::OpAccess::{CondWrite, ReadCondWrite, ReadWrite, Write};
    matches!(access, Write | CondWrite | ReadWrite | ReadCondWrite)
}

/// Jumps lead to known places, or through the register and the table of dynamic jumps.
fn check_flow(instruction: &Instruction, known: impl Fn(u64) -> bool) {
    match instruction.flow_control() {
        FlowControl::Next => {}
        FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch | FlowControl::Call => {
            let target = instruction.near_branch_target();
            assert!(known(target), "{instruction:?} leads to {target:#x}");
        }
        FlowControl::IndirectBranch => {
            let through = match instruction.op0_kind() {
                OpKind::Register => instruction.op0_register(),
                _ => instruction.memory_base(),
            };
            assert_eq!(through, Register::RCX, "{instruction:?}");
        }
        flow => panic!("{instruction:?} in a guest: {flow:?}"),
    }
}

/// Accesses are to the window, at an address of 32 bits; to the stack; or to the table.
fn check_memory(instruction: &Instruction, narrow: &BTreeSet<Register>, table: u64) {
    let accesses = (0..instruction.op_count()).any(|n| instruction.op_kind(n) == OpKind::Memory);
    if !accesses || matches!(instruction.mnemonic(), Mnemonic::Lea | Mnemonic::Nop) {
        return;
    }
    let (base, index) = (instruction.memory_base(), instruction.memory_index());
    if instruction.segment_prefix() != Register::GS {
        let in_table = base == Register::RIP && instruction.memory_displacement64() == table
            || base == Register::RCX && instruction.op0_register() == Register::RCX
            || base == Register::RCX && instruction.mnemonic() == Mnemonic::Jmp;
        return assert!(in_table, "{instruction:?}: an access beside the window");
    }
    let displacement = instruction.memory_displacement64();
    let by_address_size = [base, index].iter().any(|reg| reg.is_gpr32());
    let inside = match (base, index) {
        _ if by_address_size => true,
        (Register::None, Register::None) => displacement < 1 << 32,
        // A register of 32 bits and at most the guard's length.
        (base, Register::None) => narrow.contains(&base) && displacement < 1 << 12,
        _ => false,
    };
    assert!(inside, "{instruction:?}: an address of more than 32 bits");
}
