//! The way into machine code and out of it, and the register assignment.
//!
//! The routines stand at the start of each program's code, so that every exit
//! is a near jump. Inside a guest the stack holds, from the top: the address of
//! the [`Context`], rbp and rbx, the return address. The caller keeps the other registers, all
//! of which a run changes.

use std::mem::offset_of;

use super::assembler::{
    Alu, Assembler, Condition, R8, R9, R10, R11, R12, R13, R14, R15, RAX, RBP, RBX, RCX, RDI, RDX,
    RSI, RSP, Reg, Shift, W32, W64,
};
use crate::REGISTERS;

/// Where φ0..φ12 live. The registers of arguments, which programs use most,
/// have the short encodings.
pub(super) const GUEST: [Reg; REGISTERS] = [
    R13, RBP, R12, R14, R15, RBX, R11, RDI, RSI, RDX, R8, R9, R10,
];
/// Gas left: `sub` has its shortest form here.
pub(super) const GAS: Reg = RAX;
/// Holds nothing from one guest instruction to the next.
pub(super) const SCRATCH: Reg = RCX;

/// What machine code and the engine hand each other.
#[repr(C)]
#[derive(Default)]
pub(super) struct Context {
    pub regs: [u64; REGISTERS],
    pub gas: u64,
    /// What the exit says: a host call's number, or half a jump's address.
    pub value: u64,
    /// On entry, where to go on. On exit, the native address the exit names:
    /// behind the instruction, or of it for [`EXIT_FAULT`].
    pub site: u64,
}

/// Less gas than the block costs; the cost has been subtracted, wrapping.
pub(super) const EXIT_OUT_OF_GAS: u32 = 0;
/// A trap or a jump to no block start.
pub(super) const EXIT_PANIC: u32 = 1;
/// A dynamic jump outside of the table; `value` is (address − 2) rotated right by 1, in 32 bits.
pub(super) const EXIT_OFF_TABLE: u32 = 2;
/// A block of one trap, not charged.
pub(super) const EXIT_LONE_TRAP: u32 = 3;
/// The processor refused an access to the window.
pub(super) const EXIT_FAULT: u32 = 4;
const COLD_EXITS: usize = 5;
/// A host call of number `value`; `site` is behind it.
pub(super) const EXIT_CALL: u32 = 5;

/// Offsets of the routines in the code.
#[derive(Clone, Copy)]
pub(super) struct Routines {
    /// With the context in rdi and the window in rsi: call this; the exit comes back in eax.
    pub enter: u32,
    /// With `site` in rcx: jump here. `value` is the 4 bytes before it, sign-extended, or φ11.
    pub call: u32,
    pub call_by_register: u32,
    /// As `enter`, for when GS is known to be the window already.
    pub resume: u32,
    /// With `value` in rcx: call these.
    pub cold: [u32; COLD_EXITS],
    /// With (address − 2) rotated right by 1, in 64 bits, in rcx: call this where that is
    /// beyond the table. It goes on by the address's low half, or leaves.
    pub wide_jump: u32,
    /// 8 bytes: the address of the table of dynamic jumps.
    pub table_address: u32,
    /// The table: the native address of each entry's block, 0 where a jump panics.
    pub table: u32,
}

/// What the caller can't give away.
const KEPT: [Reg; 2] = [RBP, RBX];

fn field(offset: usize) -> i32 {
    offset as i32
}

fn register_field(index: usize) -> i32 {
    field(offset_of!(Context, regs) + 8 * index)
}

impl Routines {
    /// `gs_instructions`: whether `rdgsbase` and `wrgsbase` may be used; else the
    /// caller sets the segment. `entries`: how long the table is.
    pub fn emit(asm: &mut Assembler, gs_instructions: bool, entries: usize) -> Routines {
        let table_address = asm.offset();
        asm.buffer
            .put(asm.buffer.start() + u64::from(table_address) + 8, 8);
        let table = asm.offset();
        asm.buffer.skip(8 * entries as u32);
        let enter = asm.offset();
        emit_enter(asm, gs_instructions);
        let resume = asm.offset();
        emit_enter(asm, false);
        let call = asm.offset();
        emit_host_call(asm, false);
        let call_by_register = asm.offset();
        emit_host_call(asm, true);
        let common = asm.offset();
        emit_save(asm);
        pop_into(asm, offset_of!(Context, value));
        asm.pop(RAX);
        pop_into(asm, offset_of!(Context, site));
        emit_leave(asm);
        let cold = std::array::from_fn(|reason| {
            let at = asm.offset();
            asm.push_imm(reason as i32);
            asm.jump(common);
            at
        });
        let wide_jump = asm.offset();
        emit_wide_jump(asm, &cold, table_address, entries);
        Routines {
            enter,
            resume,
            call,
            call_by_register,
            cold,
            wide_jump,
            table_address,
            table,
        }
    }
}

fn emit_enter(asm: &mut Assembler, gs_instructions: bool) {
    for reg in KEPT {
        asm.push(reg);
    }
    asm.push(RDI);
    if gs_instructions {
        // Reading is cheap, writing isn't, and the same window comes again and again.
        asm.read_gs_base(SCRATCH);
        asm.alu(W64, Alu::Cmp, SCRATCH, RSI);
        let same = asm.skip(0x70 | Condition::Equal as u8);
        asm.write_gs_base(RSI);
        asm.land(same);
    }
    asm.load_host(GAS, RDI, field(offset_of!(Context, gas)));
    asm.load_host(SCRATCH, RDI, field(offset_of!(Context, site)));
    for (index, reg) in GUEST.into_iter().enumerate() {
        if reg != RDI {
            asm.load_host(reg, RDI, register_field(index));
        }
    }
    for (index, reg) in GUEST.into_iter().enumerate() {
        if reg == RDI {
            asm.load_host(reg, RDI, register_field(index));
        }
    }
    asm.jump_reg(SCRATCH);
}

fn emit_wide_jump(asm: &mut Assembler, cold: &[u32], table_address: u32, entries: usize) {
    let [panic, off_table] = [EXIT_PANIC, EXIT_OFF_TABLE].map(|exit| cold[exit as usize]);
    asm.shift_imm(W64, Shift::RotateLeft, SCRATCH, 1);
    asm.shift_imm(W32, Shift::RotateRight, SCRATCH, 1);
    asm.alu_imm(W32, Alu::Cmp, SCRATCH, entries as i32);
    asm.jump_back_if(Condition::AboveOrEqual, off_table);
    asm.shift_imm(W32, Shift::Left, SCRATCH, 3);
    asm.add_literal(SCRATCH, table_address);
    asm.load_host(SCRATCH, SCRATCH, 0);
    asm.test(SCRATCH, SCRATCH);
    asm.jump_back_if(Condition::Equal, panic);
    // What told where the jump stands isn't needed any more.
    asm.lea(W64, RSP, RSP, 8);
    asm.jump_reg(SCRATCH);
}

/// Out for a host call; rdx serves as the context's address, once it is saved itself.
fn emit_host_call(asm: &mut Assembler, by_register: bool) {
    asm.push(RDX);
    asm.load_host(RDX, RSP, 8);
    asm.store_host(RDX, field(offset_of!(Context, site)), SCRATCH);
    let number = match by_register {
        true => GUEST[11],
        false => {
            asm.load_host_signed_32(SCRATCH, SCRATCH, -4);
            SCRATCH
        }
    };
    asm.store_host(RDX, field(offset_of!(Context, value)), number);
    for (index, reg) in GUEST.into_iter().enumerate() {
        if reg == RDX {
            asm.pop(SCRATCH);
            asm.store_host(RDX, register_field(index), SCRATCH);
        } else {
            asm.store_host(RDX, register_field(index), reg);
        }
    }
    asm.store_host(RDX, field(offset_of!(Context, gas)), GAS);
    asm.mov_imm(RAX, u64::from(EXIT_CALL));
    emit_leave(asm);
}

/// Pushes rcx, then saves registers and gas in the context, three words down.
fn emit_save(asm: &mut Assembler) {
    asm.push(SCRATCH);
    asm.load_host(SCRATCH, RSP, 24);
    for (index, reg) in GUEST.into_iter().enumerate() {
        asm.store_host(SCRATCH, register_field(index), reg);
    }
    asm.store_host(SCRATCH, field(offset_of!(Context, gas)), GAS);
}

/// Pops a word into a field of the context, whose address is in rcx.
fn pop_into(asm: &mut Assembler, offset: usize) {
    asm.pop(RDX);
    asm.store_host(SCRATCH, field(offset), RDX);
}

/// Back to the caller; rax is the reason.
fn emit_leave(asm: &mut Assembler) {
    asm.pop(SCRATCH);
    for reg in KEPT.into_iter().rev() {
        asm.pop(reg);
    }
    asm.ret();
}

/// A jump out for the host call of a number; that of φ11, if there is none.
pub(super) fn emit_call(asm: &mut Assembler, routines: &Routines, number: Option<i32>) {
    match number {
        Some(number) => {
            asm.lea_ahead(SCRATCH, 5 + 4);
            asm.jump(routines.call);
            asm.data(number);
        }
        None => {
            asm.lea_ahead(SCRATCH, 5);
            asm.jump(routines.call_by_register);
        }
    }
}
