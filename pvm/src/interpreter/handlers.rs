//! What each instruction does.

use jar_isa::alu;

use super::REGISTER_FILE;
use super::compile::{NO_TARGET, Op};
use crate::HALT_ADDRESS;
use crate::engine::Exit;
use crate::error::PageError;
use crate::memory::{Fault, PagedMemory, Unpaid};

/// The run ends at this operation; why stands in [`Frame::exit`].
pub(super) struct Stopped;

/// What an operation inside a block gives: on to the next, or stopped.
pub(super) type Step = Result<(), Stopped>;

/// Where a block's last operation leads.
pub(super) enum Flow {
    /// The operation behind it.
    Fall,
    /// The block at this operation, or a panic at [`NO_TARGET`].
    Jump(u32),
    /// Nowhere; why stands in [`Frame::exit`].
    Stop,
}

/// Registers and memory side by side, so that one pointer leads to both.
pub(super) struct Core {
    pub regs: [u64; REGISTER_FILE],
    pub memory: PagedMemory,
    /// Set when the run stopped because the store behind a page failed.
    pub broken: Option<PageError>,
    /// Set when the run stopped at pages to be paid.
    pub unpaid: Option<Unpaid>,
}

/// What operations work on.
pub(super) struct Frame<'a> {
    pub core: &'a mut Core,
    pub jumps: &'a [u32],
    /// Why the run stopped.
    pub exit: Exit,
}

impl<'a> Frame<'a> {
    /// A run of a program with these jump-table entries.
    pub fn new(core: &'a mut Core, jumps: &'a [u32]) -> Self {
        Frame {
            core,
            jumps,
            exit: Exit::Panic,
        }
    }
}

#[inline(always)]
fn apply(f: impl Fn(u64, u64) -> u64, a: u64, b: u64) -> u64 {
    f(a, b)
}

#[inline(always)]
fn holds(f: impl Fn(u64, u64) -> bool, a: u64, b: u64) -> bool {
    f(a, b)
}

impl Frame<'_> {
    #[inline(always)]
    fn get(&self, register: u8) -> u64 {
        self.core.regs[usize::from(register)]
    }

    #[inline(always)]
    fn set(&mut self, register: u8, value: u64) -> Step {
        self.core.regs[usize::from(register)] = value;
        Ok(())
    }

    #[inline(always)]
    fn set_if(&mut self, condition: bool, register: u8, value: u64) -> Step {
        let old = self.get(register);
        self.set(register, if condition { value } else { old })
    }

    #[inline(always)]
    fn stop(&mut self, exit: Exit) -> Step {
        self.exit = exit;
        Err(Stopped)
    }

    #[cold]
    #[inline(never)]
    fn fault(&mut self) -> Step {
        self.exit = match self.core.memory.take_fault() {
            Some(Fault::Page(address)) => Exit::PageFault(address),
            Some(Fault::Source(error)) => {
                self.core.broken = Some(error);
                Exit::Panic
            }
            Some(Fault::Price(unpaid)) => {
                self.core.unpaid = Some(unpaid);
                Exit::PagePrice(unpaid.price)
            }
            Some(Fault::Panic) | None => Exit::Panic,
        };
        Err(Stopped)
    }

    #[inline(always)]
    fn load<const N: usize>(
        &mut self,
        address: u64,
        register: u8,
        extend: impl Fn([u8; N]) -> u64,
    ) -> Step {
        match self.core.memory.load(address as u32) {
            Some(bytes) => self.set(register, extend(bytes)),
            None => self.fault(),
        }
    }

    #[inline(always)]
    fn store<const N: usize>(&mut self, address: u64, value: u64) -> Step {
        let mut bytes = [0; N];
        bytes.copy_from_slice(&value.to_le_bytes()[..N]);
        match self.core.memory.store(address as u32, bytes) {
            Some(()) => Ok(()),
            None => self.fault(),
        }
    }

    #[inline(always)]
    fn branch(&mut self, condition: bool, target: u32) -> Flow {
        if condition {
            Flow::Jump(target)
        } else {
            Flow::Fall
        }
    }

    /// A jump through the table: entry n has address 2·(n + 1).
    #[inline(always)]
    fn jump_to(&mut self, address: u64) -> Flow {
        let address = address as u32;
        if address == HALT_ADDRESS {
            self.exit = Exit::Halt;
            return Flow::Stop;
        }
        if address == 0 || !address.is_multiple_of(2) {
            return Flow::Jump(NO_TARGET);
        }
        let entry = self.jumps.get(address as usize / 2 - 1);
        Flow::Jump(entry.copied().unwrap_or(NO_TARGET))
    }
}

macro_rules! handlers {
    ($result:ty; $(fn $name:ident($frame:ident, $op:ident) $body:block)+) => {
        impl Frame<'_> {
            $(
                #[inline(always)]
                pub(super) fn $name(&mut self, $op: &Op) -> $result {
                    let $frame = self;
                    $body
                }
            )+
        }
    };
}

/// D := f(A).
macro_rules! unary {
    ($($name:ident = $f:expr;)+) => {
        handlers! { Step;
            $(fn $name(frame, op) {
                let value = apply(|a, _| ($f)(a), frame.get(op.ra), 0);
                frame.set(op.rd, value)
            })+
        }
    };
}

/// D := f(A, B).
macro_rules! binary {
    ($($name:ident = $f:expr;)+) => {
        handlers! { Step;
            $(fn $name(frame, op) {
                let value = apply($f, frame.get(op.ra), frame.get(op.rb));
                frame.set(op.rd, value)
            })+
        }
    };
}

/// A := f(B, νX).
macro_rules! immediate {
    ($($name:ident = $f:expr;)+) => {
        handlers! { Step;
            $(fn $name(frame, op) {
                let value = apply($f, frame.get(op.rb), op.x());
                frame.set(op.ra, value)
            })+
        }
    };
}

/// If f(A, νX) then branch(νY).
macro_rules! branches_imm {
    ($($name:ident = $f:expr;)+) => {
        handlers! { Flow;
            $(fn $name(frame, op) {
                let condition = holds($f, frame.get(op.ra), op.x());
                frame.branch(condition, op.y)
            })+
        }
    };
}

/// If f(A, B) then branch(νX).
macro_rules! branches {
    ($($name:ident = $f:expr;)+) => {
        handlers! { Flow;
            $(fn $name(frame, op) {
                let condition = holds($f, frame.get(op.ra), frame.get(op.rb));
                frame.branch(condition, op.x)
            })+
        }
    };
}

/// A := f(bytes at νX), A := f(bytes at B + νX).
macro_rules! loads {
    ($($direct:ident $indirect:ident $len:literal $extend:expr;)+) => {
        handlers! { Step;
            $(
                fn $direct(frame, op) { frame.load::<$len>(op.x(), op.ra, $extend) }
                fn $indirect(frame, op) {
                    frame.load::<$len>(frame.get(op.rb).wrapping_add(op.x()), op.ra, $extend)
                }
            )+
        }
    };
}

/// [νX] := νY, [νX] := A, [A + νX] := νY, [B + νX] := A.
macro_rules! stores {
    ($($imm:ident $direct:ident $imm_ind:ident $ind:ident $len:literal;)+) => {
        handlers! { Step;
            $(
                fn $imm(frame, op) { frame.store::<$len>(op.x(), op.y()) }
                fn $direct(frame, op) { frame.store::<$len>(op.x(), frame.get(op.ra)) }
                fn $imm_ind(frame, op) {
                    frame.store::<$len>(frame.get(op.ra).wrapping_add(op.x()), op.y())
                }
                fn $ind(frame, op) {
                    frame.store::<$len>(frame.get(op.rb).wrapping_add(op.x()), frame.get(op.ra))
                }
            )+
        }
    };
}

handlers! { Flow;
    fn trap(frame, _op) {
        frame.exit = Exit::Panic;
        Flow::Stop
    }
    fn fallthrough(_frame, _op) { Flow::Fall }
    fn jump(_frame, op) { Flow::Jump(op.x) }
    fn jump_ind(frame, op) { frame.jump_to(frame.get(op.ra).wrapping_add(op.x())) }
    fn load_imm_jump(frame, op) {
        let _ = frame.set(op.ra, op.x());
        Flow::Jump(op.y)
    }
    fn load_imm_jump_ind(frame, op) {
        let address = frame.get(op.rb).wrapping_add(op.y());
        let _ = frame.set(op.ra, op.x());
        frame.jump_to(address)
    }
}

handlers! { Step;
    fn unlikely(_frame, _op) { Ok(()) }
    fn ecall(frame, _op) { frame.stop(Exit::HostCall(frame.get(11))) }
    fn ecalli(frame, op) { frame.stop(Exit::HostCall(op.x())) }
    fn load_imm_64(frame, op) { frame.set(op.ra, op.wide_x()) }
    fn load_imm(frame, op) { frame.set(op.ra, op.x()) }
    fn cmov_iz_imm(frame, op) { frame.set_if(frame.get(op.rb) == 0, op.ra, op.x()) }
    fn cmov_nz_imm(frame, op) { frame.set_if(frame.get(op.rb) != 0, op.ra, op.x()) }
    fn cmov_iz(frame, op) { frame.set_if(frame.get(op.rb) == 0, op.rd, frame.get(op.ra)) }
    fn cmov_nz(frame, op) { frame.set_if(frame.get(op.rb) != 0, op.rd, frame.get(op.ra)) }
}

loads! {
    load_u8 load_ind_u8 1 |bytes| u64::from(u8::from_le_bytes(bytes));
    load_i8 load_ind_i8 1 |bytes| i64::from(i8::from_le_bytes(bytes)) as u64;
    load_u16 load_ind_u16 2 |bytes| u64::from(u16::from_le_bytes(bytes));
    load_i16 load_ind_i16 2 |bytes| i64::from(i16::from_le_bytes(bytes)) as u64;
    load_u32 load_ind_u32 4 |bytes| u64::from(u32::from_le_bytes(bytes));
    load_i32 load_ind_i32 4 |bytes| i64::from(i32::from_le_bytes(bytes)) as u64;
    load_u64 load_ind_u64 8 u64::from_le_bytes;
}

stores! {
    store_imm_u8 store_u8 store_imm_ind_u8 store_ind_u8 1;
    store_imm_u16 store_u16 store_imm_ind_u16 store_ind_u16 2;
    store_imm_u32 store_u32 store_imm_ind_u32 store_ind_u32 4;
    store_imm_u64 store_u64 store_imm_ind_u64 store_ind_u64 8;
}

branches_imm! {
    branch_eq_imm = |a, x| a == x;
    branch_ne_imm = |a, x| a != x;
    branch_lt_u_imm = |a, x| a < x;
    branch_le_u_imm = |a, x| a <= x;
    branch_ge_u_imm = |a, x| a >= x;
    branch_gt_u_imm = |a, x| a > x;
    branch_lt_s_imm = alu::lt_s;
    branch_le_s_imm = |a, x| !alu::lt_s(x, a);
    branch_ge_s_imm = |a, x| !alu::lt_s(a, x);
    branch_gt_s_imm = |a, x| alu::lt_s(x, a);
}

branches! {
    branch_eq = |a, b| a == b;
    branch_ne = |a, b| a != b;
    branch_lt_u = |a, b| a < b;
    branch_lt_s = alu::lt_s;
    branch_ge_u = |a, b| a >= b;
    branch_ge_s = |a, b| !alu::lt_s(a, b);
}

unary! {
    move_reg = |a: u64| a;
    sbrk = |_: u64| 0;
    count_set_bits_64 = |a: u64| u64::from(a.count_ones());
    count_set_bits_32 = |a: u64| u64::from((a as u32).count_ones());
    leading_zero_bits_64 = |a: u64| u64::from(a.leading_zeros());
    leading_zero_bits_32 = |a: u64| u64::from((a as u32).leading_zeros());
    trailing_zero_bits_64 = |a: u64| u64::from(a.trailing_zeros());
    trailing_zero_bits_32 = |a: u64| u64::from((a as u32).trailing_zeros());
    sign_extend_8 = |a: u64| i64::from(a as i8) as u64;
    sign_extend_16 = |a: u64| i64::from(a as i16) as u64;
    zero_extend_16 = |a: u64| u64::from(a as u16);
    reverse_bytes = |a: u64| a.swap_bytes();
}

immediate! {
    add_imm_32 = alu::add_32;
    and_imm = |b, x| b & x;
    xor_imm = |b, x| b ^ x;
    or_imm = |b, x| b | x;
    mul_imm_32 = alu::mul_32;
    set_lt_u_imm = |b, x| u64::from(b < x);
    set_lt_s_imm = |b, x| u64::from(alu::lt_s(b, x));
    shlo_l_imm_32 = alu::shl_32;
    shlo_r_imm_32 = alu::shr_32;
    shar_r_imm_32 = alu::sar_32;
    neg_add_imm_32 = |b, x| alu::sub_32(x, b);
    set_gt_u_imm = |b, x| u64::from(b > x);
    set_gt_s_imm = |b, x| u64::from(alu::lt_s(x, b));
    shlo_l_imm_alt_32 = |b, x| alu::shl_32(x, b);
    shlo_r_imm_alt_32 = |b, x| alu::shr_32(x, b);
    shar_r_imm_alt_32 = |b, x| alu::sar_32(x, b);
    add_imm_64 = u64::wrapping_add;
    mul_imm_64 = u64::wrapping_mul;
    shlo_l_imm_64 = alu::shl_64;
    shlo_r_imm_64 = alu::shr_64;
    shar_r_imm_64 = alu::sar_64;
    neg_add_imm_64 = |b, x| x.wrapping_sub(b);
    shlo_l_imm_alt_64 = |b, x| alu::shl_64(x, b);
    shlo_r_imm_alt_64 = |b, x| alu::shr_64(x, b);
    shar_r_imm_alt_64 = |b, x| alu::sar_64(x, b);
    rot_r_64_imm = alu::rotr_64;
    rot_r_64_imm_alt = |b, x| alu::rotr_64(x, b);
    rot_r_32_imm = alu::rotr_32;
    rot_r_32_imm_alt = |b, x| alu::rotr_32(x, b);
}

binary! {
    add_32 = alu::add_32;
    sub_32 = alu::sub_32;
    mul_32 = alu::mul_32;
    div_u_32 = alu::div_u_32;
    div_s_32 = alu::div_s_32;
    rem_u_32 = alu::rem_u_32;
    rem_s_32 = alu::rem_s_32;
    shlo_l_32 = alu::shl_32;
    shlo_r_32 = alu::shr_32;
    shar_r_32 = alu::sar_32;
    add_64 = u64::wrapping_add;
    sub_64 = u64::wrapping_sub;
    mul_64 = u64::wrapping_mul;
    div_u_64 = alu::div_u_64;
    div_s_64 = alu::div_s_64;
    rem_u_64 = alu::rem_u_64;
    rem_s_64 = alu::rem_s_64;
    shlo_l_64 = alu::shl_64;
    shlo_r_64 = alu::shr_64;
    shar_r_64 = alu::sar_64;
    and = |a, b| a & b;
    xor = |a, b| a ^ b;
    or = |a, b| a | b;
    mul_upper_s_s = alu::mul_upper_s_s;
    mul_upper_u_u = alu::mul_upper_u_u;
    mul_upper_s_u = alu::mul_upper_s_u;
    set_lt_u = |a, b| u64::from(a < b);
    set_lt_s = |a, b| u64::from(alu::lt_s(a, b));
    rot_l_64 = alu::rotl_64;
    rot_l_32 = alu::rotl_32;
    rot_r_64 = alu::rotr_64;
    rot_r_32 = alu::rotr_32;
    and_inv = |a, b| a & !b;
    or_inv = |a, b| a | !b;
    xnor = |a, b| !(a ^ b);
    max = alu::max_s;
    max_u = u64::max;
    min = alu::min_s;
    min_u = u64::min;
}
