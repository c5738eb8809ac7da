//! The way into machine code and out of it, and the register assignment.
//!
//! The routines stand at the start of each program's code, so that every exit
//! is a near jump. The [`Context`] lies right below the window, where GS leads without a
//! register. Inside a guest the stack holds the return address, and the first vector registers,
//! which guests don't use, hold what the caller needs back: with them, the way in and out has a
//! quarter fewer accesses to memory, of which the processor does but two a cycle.

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
#[repr(C, align(64))]
#[derive(Default)]
pub(super) struct Context {
    pub regs: [u64; REGISTERS],
    pub gas: u64,
    /// On entry, where to go on. On exit, the native address the exit names:
    /// behind the instruction, or of it for [`EXIT_FAULT`].
    pub site: u64,
}

/// How a guest was left, as `enter` returns it in rax and rdx.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Left {
    /// One of the exits below.
    pub exit: u64,
    /// A host call's number, or half a jump's address.
    pub value: u64,
}

/// Less gas than the block costs; the cost has been subtracted, wrapping.
pub(super) const EXIT_OUT_OF_GAS: u64 = 0;
/// A trap or a jump to no block start.
pub(super) const EXIT_PANIC: u64 = 1;
/// A dynamic jump outside of the table; `value` is (address − 2) rotated right by 1, in 32 bits.
pub(super) const EXIT_OFF_TABLE: u64 = 2;
/// A block of one trap, not charged.
pub(super) const EXIT_LONE_TRAP: u64 = 3;
/// The processor refused an access to the window.
pub(super) const EXIT_FAULT: u64 = 4;
const COLD_EXITS: usize = 5;
/// A host call of number `value`; `site` is behind it.
pub(super) const EXIT_CALL: u64 = 5;

/// Offsets of the routines in the code.
#[derive(Clone, Copy)]
pub(super) struct Routines {
    /// Call this with the window in rdi; it returns a [`Left`].
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

/// What the caller needs back, in vector registers by number.
const KEPT: [Reg; 6] = [RBP, RBX, R12, R13, R14, R15];

/// How far the context lies below the window.
pub(super) const CONTEXT_LEN: usize = size_of::<Context>();

/// A field of the context, from GS.
fn field(offset: usize) -> i32 {
    offset as i32 - CONTEXT_LEN as i32
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
        asm.pop(RAX);
        asm.pop(RDX);
        asm.store_segment(field(offset_of!(Context, site)), RDX);
        asm.mov(RDX, SCRATCH);
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
    for (place, reg) in (0..).zip(KEPT) {
        asm.park(place, reg);
    }
    if gs_instructions {
        // Reading is cheap, writing isn't, and the same window comes again and again.
        asm.read_gs_base(SCRATCH);
        asm.alu(W64, Alu::Cmp, SCRATCH, RDI);
        let same = asm.skip(0x70 | Condition::Equal as u8);
        asm.write_gs_base(RDI);
        asm.land(same);
    }
    asm.load_segment(SCRATCH, field(offset_of!(Context, site)));
    asm.load_segment(GAS, field(offset_of!(Context, gas)));
    for (index, reg) in GUEST.into_iter().enumerate() {
        asm.load_segment(reg, register_field(index));
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

/// Out for a host call. The processor takes two stores at a time where they go to one cache
/// line, so these stand in the order of the context.
fn emit_host_call(asm: &mut Assembler, by_register: bool) {
    emit_save(asm);
    asm.store_segment(field(offset_of!(Context, site)), SCRATCH);
    match by_register {
        true => asm.mov(RDX, GUEST[11]),
        false => asm.load_host_signed_32(RDX, SCRATCH, -4),
    }
    asm.mov_imm(RAX, EXIT_CALL);
    emit_leave(asm);
}

/// Saves registers and gas in the context.
fn emit_save(asm: &mut Assembler) {
    for (index, reg) in GUEST.into_iter().enumerate() {
        asm.store_segment(register_field(index), reg);
    }
    asm.store_segment(field(offset_of!(Context, gas)), GAS);
}

/// Back to the caller, with a [`Left`] in rax and rdx.
fn emit_leave(asm: &mut Assembler) {
    for (place, reg) in (0..).zip(KEPT) {
        asm.unpark(reg, place);
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
