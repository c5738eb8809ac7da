//! x86-64 machine code, one instruction per call.
//!
//! Operands of two-operand forms are written destination first. `Width` is the
//! operand size; 32-bit results clear the upper half of their register.

#[cfg(feature = "inspect")]
pub mod cases;

use super::buffer::Buffer;

/// A host register by its number in the encoding.
pub(super) type Reg = u8;

pub(super) const RAX: Reg = 0;
pub(super) const RCX: Reg = 1;
pub(super) const RDX: Reg = 2;
pub(super) const RBX: Reg = 3;
pub(super) const RSP: Reg = 4;
pub(super) const RBP: Reg = 5;
pub(super) const RSI: Reg = 6;
pub(super) const RDI: Reg = 7;
pub(super) const R8: Reg = 8;
pub(super) const R9: Reg = 9;
pub(super) const R10: Reg = 10;
pub(super) const R11: Reg = 11;
pub(super) const R12: Reg = 12;
pub(super) const R13: Reg = 13;
pub(super) const R14: Reg = 14;
pub(super) const R15: Reg = 15;

/// Operand size of an arithmetic instruction.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    W32,
    W64,
}

pub(super) use Width::{W32, W64};

/// Operations of the form `op r/m, r` and `op r/m, imm`, by their number.
#[derive(Clone, Copy)]
pub(super) enum Alu {
    Add = 0,
    Or = 1,
    And = 4,
    Sub = 5,
    Xor = 6,
    Cmp = 7,
}

/// Shifts and rotations by their number in the opcode group.
#[derive(Clone, Copy)]
pub(super) enum Shift {
    RotateLeft = 0,
    RotateRight = 1,
    Left = 4,
    Right = 5,
    RightSigned = 7,
}

/// One-operand arithmetic by its number in the opcode group.
#[derive(Clone, Copy)]
pub(super) enum Unary {
    Not = 2,
    Neg = 3,
    Mul = 4,
    MulSigned = 5,
    Div = 6,
    DivSigned = 7,
}

/// Conditions of jumps, sets and moves.
#[derive(Clone, Copy)]
pub(super) enum Condition {
    Below = 2,
    AboveOrEqual = 3,
    Equal = 4,
    NotEqual = 5,
    BelowOrEqual = 6,
    Above = 7,
    Less = 12,
    GreaterOrEqual = 13,
    LessOrEqual = 14,
    Greater = 15,
}

/// Counts of bits: opcode behind `F3 0F`.
#[derive(Clone, Copy)]
pub(super) enum Count {
    Ones = 0xb8,
    TrailingZeros = 0xbc,
    LeadingZeros = 0xbd,
}

/// Shifts with three operands: the prefix field of their encoding.
#[derive(Clone, Copy)]
pub(super) enum ShiftX {
    Left = 1,
    RightSigned = 2,
    Right = 3,
}

/// How a load extends what it reads.
#[derive(Clone, Copy)]
pub(super) enum Load {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
}

/// A guest address: register (if any) plus displacement, modulo 2^32.
#[derive(Clone, Copy)]
pub(super) struct Address {
    pub base: Option<Reg>,
    pub offset: i32,
}

/// The place of a 32-bit relative displacement still to be filled in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Site(pub u32);

const fn rex(width: Width, reg: Reg, index: Reg, base: Reg) -> u64 {
    let wide = matches!(width, W64) as u8;
    (0x40 | wide << 3 | (reg >> 3) << 2 | (index >> 3) << 1 | base >> 3) as u64
}

const fn direct(reg: Reg, rm: Reg) -> u64 {
    (0xc0 | (reg & 7) << 3 | rm & 7) as u64
}

fn as_byte(value: i32) -> Option<u8> {
    i8::try_from(value).ok().map(|byte| byte as u8)
}

/// How a cleared charge starts, and nothing else: prefixes without an effect.
const CLEARED: u32 = 0x6666_6666;

/// Appends instructions to a buffer.
pub(super) struct Assembler {
    pub buffer: Buffer,
}

impl Assembler {
    /// The offset of the next instruction.
    #[inline(always)]
    pub fn offset(&self) -> u32 {
        self.buffer.len()
    }

    #[inline(always)]
    fn put(&mut self, bytes: u64, len: usize) {
        self.buffer.put(bytes, len);
    }

    /// `[rex] opcode modrm` on registers.
    #[inline(always)]
    fn plain(&mut self, width: Width, opcode: u64, reg: Reg, rm: Reg) {
        self.plain_with(width, opcode, reg, rm, 0, 0);
    }

    /// As [`Self::plain`], with `len` (at most 4) bytes of an immediate behind.
    #[inline(always)]
    fn plain_with(
        &mut self,
        width: Width,
        opcode: u64,
        reg: Reg,
        rm: Reg,
        immediate: u64,
        len: usize,
    ) {
        let rex = rex(width, reg, 0, rm);
        let rest = opcode | direct(reg, rm) << 8 | immediate << 16;
        match rex {
            0x40 => self.put(rest, 2 + len),
            _ => self.put(rex | rest << 8, 3 + len),
        }
    }

    /// `[prefix] rex 0F opcode modrm` on registers.
    #[inline(always)]
    fn escaped(&mut self, width: Width, opcode: u64, reg: Reg, rm: Reg) {
        let bytes = rex(width, reg, 0, rm) | 0x0f << 8 | opcode << 16 | direct(reg, rm) << 24;
        self.put(bytes, 4);
    }

    #[inline(always)]
    fn vex(&mut self, map: u64, width: Width, prefix: u64, opcode: u64, regs: [Reg; 3]) {
        let [reg, middle, rm] = regs;
        let first = u64::from(!reg >> 3 & 1) << 7 | 0x40 | u64::from(!rm >> 3 & 1) << 5 | map;
        let second = u64::from(width == W64) << 7 | u64::from(!middle & 15) << 3 | prefix;
        let bytes = 0xc4 | first << 8 | second << 16 | opcode << 24 | direct(reg, rm) << 32;
        self.put(bytes, 5);
    }

    #[inline(always)]
    pub fn mov(&mut self, to: Reg, from: Reg) {
        if to != from {
            self.plain(W64, 0x89, from, to);
        }
    }

    #[inline(always)]
    pub fn mov32(&mut self, to: Reg, from: Reg) {
        self.plain(W32, 0x89, from, to);
    }

    /// Leaves the flags alone.
    #[inline(always)]
    pub fn mov_imm(&mut self, to: Reg, value: u64) {
        let number = u64::from(to & 7);
        if u32::try_from(value).is_ok() {
            let opcode = 0xb8 | number;
            match to >> 3 {
                0 => self.put(opcode | value << 8, 5),
                _ => self.put(0x41 | opcode << 8 | value << 16, 6),
            }
        } else if i32::try_from(value as i64).is_ok() {
            let head = rex(W64, 0, 0, to) | 0xc7 << 8 | direct(0, to) << 16;
            self.put(head | value << 24, 7);
        } else {
            self.put(rex(W64, 0, 0, to) | (0xb8 | number) << 8, 2);
            self.put(value, 8);
        }
    }

    /// Changes the flags.
    #[inline(always)]
    pub fn clear(&mut self, reg: Reg) {
        self.plain(W32, 0x31, reg, reg);
    }

    /// As `mov_imm`, shorter for 0; changes the flags.
    #[inline(always)]
    pub fn set(&mut self, to: Reg, value: u64) {
        match value {
            0 => self.clear(to),
            _ => self.mov_imm(to, value),
        }
    }

    #[inline(always)]
    pub fn alu(&mut self, width: Width, op: Alu, to: Reg, from: Reg) {
        self.plain(width, (op as u64) << 3 | 1, from, to);
    }

    #[inline(always)]
    pub fn alu_imm(&mut self, width: Width, op: Alu, to: Reg, value: i32) {
        match as_byte(value) {
            Some(byte) => {
                self.plain_with(width, 0x83, op as Reg, to, u64::from(byte), 1);
            }
            None => {
                self.plain_with(width, 0x81, op as Reg, to, value as u32 as u64, 4);
            }
        }
    }

    /// `sub rax, value` with room for any value; gives the place of the value.
    #[inline(always)]
    pub fn sub_rax_patchable(&mut self) -> Site {
        self.put(0x2d48, 6);
        Site(self.offset() - 4)
    }

    /// Puts one instruction that does nothing in place of the charge whose value is at a site: a
    /// [`Self::sub_rax_patchable`] and a jump of 6 bytes.
    pub fn clear_charge(&mut self, Site(value): Site) {
        let start = value - 2;
        self.buffer.patch(start, CLEARED);
        self.buffer.patch(start + 4, 0x0084_1f0f);
        self.buffer.patch(start + 8, 0);
    }

    /// Behind the cleared charge at `offset`, if there is one.
    pub fn behind_cleared(&mut self, offset: u32) -> u32 {
        match self.buffer.read(offset) {
            CLEARED => offset + 12,
            _ => offset,
        }
    }

    #[inline(always)]
    pub fn test(&mut self, a: Reg, b: Reg) {
        self.plain(W64, 0x85, b, a);
    }

    #[inline(always)]
    pub fn unary(&mut self, width: Width, op: Unary, reg: Reg) {
        self.plain(width, 0xf7, op as Reg, reg);
    }

    /// Sign-extends the accumulator into rdx.
    #[inline(always)]
    pub fn extend_accumulator(&mut self, width: Width) {
        match width {
            W32 => self.put(0x99, 1),
            W64 => self.put(0x9948, 2),
        }
    }

    #[inline(always)]
    pub fn imul(&mut self, width: Width, to: Reg, from: Reg) {
        self.escaped(width, 0xaf, to, from);
    }

    #[inline(always)]
    pub fn imul_imm(&mut self, width: Width, to: Reg, from: Reg, value: i32) {
        match as_byte(value) {
            Some(byte) => {
                self.plain_with(width, 0x6b, to, from, u64::from(byte), 1);
            }
            None => {
                self.plain_with(width, 0x69, to, from, value as u32 as u64, 4);
            }
        }
    }

    #[inline(always)]
    pub fn shift_imm(&mut self, width: Width, op: Shift, reg: Reg, count: u8) {
        self.plain_with(width, 0xc1, op as Reg, reg, u64::from(count), 1);
    }

    /// By the count in cl.
    #[inline(always)]
    pub fn shift_cl(&mut self, width: Width, op: Shift, reg: Reg) {
        self.plain(width, 0xd3, op as Reg, reg);
    }

    #[inline(always)]
    pub fn shift_x(&mut self, width: Width, op: ShiftX, to: Reg, from: Reg, count: Reg) {
        self.vex(2, width, op as u64, 0xf7, [to, count, from]);
    }

    /// to := from rotated right.
    #[inline(always)]
    pub fn rotate_x(&mut self, width: Width, to: Reg, from: Reg, count: u8) {
        self.vex(3, width, 3, 0xf0, [to, 0, from]);
        self.put(u64::from(count), 1);
    }

    /// to := !inverted & other.
    #[inline(always)]
    pub fn and_not(&mut self, to: Reg, inverted: Reg, other: Reg) {
        self.vex(2, W64, 0, 0xf2, [to, inverted, other]);
    }

    /// high:low := rdx · from, unsigned; `high` wins where both are one register.
    #[inline(always)]
    pub fn mul_x(&mut self, high: Reg, low: Reg, from: Reg) {
        self.vex(2, W64, 3, 0xf6, [high, low, from]);
    }

    #[inline(always)]
    pub fn count(&mut self, width: Width, op: Count, to: Reg, from: Reg) {
        self.put(0xf3, 1);
        self.escaped(width, op as u64, to, from);
    }

    #[inline(always)]
    pub fn sign_extend_8(&mut self, to: Reg, from: Reg) {
        self.escaped(W64, 0xbe, to, from);
    }

    #[inline(always)]
    pub fn sign_extend_16(&mut self, to: Reg, from: Reg) {
        self.escaped(W64, 0xbf, to, from);
    }

    #[inline(always)]
    pub fn sign_extend_32(&mut self, to: Reg, from: Reg) {
        self.plain(W64, 0x63, to, from);
    }

    #[inline(always)]
    pub fn zero_extend_8(&mut self, to: Reg, from: Reg) {
        self.escaped(W32, 0xb6, to, from);
    }

    #[inline(always)]
    pub fn zero_extend_16(&mut self, to: Reg, from: Reg) {
        self.escaped(W32, 0xb7, to, from);
    }

    #[inline(always)]
    pub fn swap_bytes(&mut self, reg: Reg) {
        let opcode = 0xc8 | u64::from(reg & 7);
        self.put(rex(W64, 0, 0, reg) | 0x0f << 8 | opcode << 16, 3);
    }

    /// Sets the low byte of `reg` alone.
    #[inline(always)]
    pub fn set_if(&mut self, condition: Condition, reg: Reg) {
        self.escaped(W32, 0x90 | condition as u64, 0, reg);
    }

    #[inline(always)]
    pub fn mov_if(&mut self, condition: Condition, to: Reg, from: Reg) {
        self.escaped(W64, 0x40 | condition as u64, to, from);
    }

    /// `base + offset` behind the bytes of `head` (of length `len`).
    #[inline(always)]
    fn with_base(&mut self, head: u64, len: usize, reg: Reg, base: Reg, offset: i32) {
        let short = as_byte(offset);
        let mode = match short {
            Some(0) if base & 7 != RBP => 0x00,
            Some(_) => 0x40,
            None => 0x80,
        };
        let modrm = mode | (reg & 7) << 3 | base & 7;
        let sib_len = usize::from(base & 7 == RSP);
        let head = head | u64::from(modrm) << (8 * len) | (0x24 * sib_len as u64) << (8 * len + 8);
        let len = len + 1 + sib_len;
        let offset_len = match mode {
            0x00 => 0,
            0x40 => 1,
            _ => 4,
        };
        let offset = offset as u32 as u64;
        if len <= 4 {
            return self.put(head | offset << (8 * len), len + offset_len);
        }
        self.put(head, len);
        self.put(offset, offset_len);
    }

    /// to := base + offset.
    #[inline(always)]
    pub fn lea(&mut self, width: Width, to: Reg, base: Reg, offset: i32) {
        let head = rex(width, to, 0, base) | 0x8d << 8;
        self.with_base(head, 2, to, base, offset);
    }

    /// to := base + index.
    #[inline(always)]
    pub fn lea_sum(&mut self, width: Width, to: Reg, base: Reg, index: Reg) {
        // A base of rbp or r13 needs a displacement; the sum is the same swapped.
        let (base, index) = match base & 7 {
            RBP => (index, base),
            _ => (base, index),
        };
        let head = rex(width, to, index, base) | 0x8d << 8;
        let sib = u64::from((index & 7) << 3 | base & 7);
        let modrm = u64::from((to & 7) << 3 | 4);
        match base & 7 {
            RBP => self.put(head | (modrm | 0x40) << 16 | sib << 24, 5),
            _ => self.put(head | modrm << 16 | sib << 24, 4),
        }
    }

    /// `to := [base + offset]`, from host memory.
    #[inline(always)]
    pub fn load_host(&mut self, to: Reg, base: Reg, offset: i32) {
        let head = rex(W64, to, 0, base) | 0x8b << 8;
        self.with_base(head, 2, to, base, offset);
    }

    /// An operation on guest memory, through the window's segment.
    ///
    /// The sum modulo 2^32 is formed in rcx. The address-size prefix would form it
    /// in the same instruction, but makes loads behind stores wait on some
    /// processors; it serves the stack, where that wasn't seen and code is dense.
    #[inline(always)]
    fn guest(&mut self, half: bool, rex: u64, opcode: u64, len: usize, reg: Reg, at: Address) {
        let narrow = at.base == Some(RBP);
        let in_rcx = match at {
            Address {
                base: Some(base), ..
            } if narrow => base,
            Address {
                base: Some(base),
                offset: 0,
            } => {
                self.mov32(RCX, base);
                RCX
            }
            Address {
                base: Some(base),
                offset,
            } => {
                self.lea(W32, RCX, base, offset);
                RCX
            }
            Address { base: None, offset } if offset < 0 => {
                self.mov_imm(RCX, u64::from(offset as u32));
                RCX
            }
            Address { base: None, .. } => RSP,
        };
        // The segment, the address size, the operand size.
        let (prefix, prefix_len) = if narrow { (0x67_65, 2) } else { (0x65, 1) };
        let prefix = prefix | (u64::from(half) * 0x66) << (8 * prefix_len);
        let prefix_len = prefix_len + usize::from(half);
        let head = prefix | (rex | opcode << 8) << (8 * prefix_len);
        let len = prefix_len + len + 1;
        match in_rcx {
            RSP => {
                let modrm = u64::from((reg & 7) << 3 | 4) | 0x25 << 8;
                self.put(head | modrm << (8 * len), len + 2);
                self.put(at.offset as u32 as u64, 4);
            }
            base => {
                let offset = if narrow { at.offset } else { 0 };
                self.with_base(head, len, reg, base, offset);
            }
        }
    }

    #[inline(always)]
    pub fn load_guest(&mut self, load: Load, to: Reg, at: Address) {
        let (width, opcode, len) = match load {
            Load::U8 => (W32, 0xb60f, 2),
            Load::I8 => (W64, 0xbe0f, 2),
            Load::U16 => (W32, 0xb70f, 2),
            Load::I16 => (W64, 0xbf0f, 2),
            Load::U32 => (W32, 0x8b, 1),
            Load::I32 => (W64, 0x63, 1),
            Load::U64 => (W64, 0x8b, 1),
        };
        self.guest(false, rex(width, to, 0, 0), opcode, len, to, at);
    }

    /// Stores the low `len` (1, 2, 4 or 8) bytes of `from`.
    #[inline(always)]
    pub fn store_guest(&mut self, len: usize, from: Reg, at: Address) {
        let width = if len == 8 { W64 } else { W32 };
        let opcode = if len == 1 { 0x88 } else { 0x89 };
        self.guest(len == 2, rex(width, from, 0, 0), opcode, 1, from, at);
    }

    /// Stores the low `len` (1, 2, 4 or 8) bytes of `value`, sign-extended.
    #[inline(always)]
    pub fn store_guest_imm(&mut self, len: usize, value: i32, at: Address) {
        let width = if len == 8 { W64 } else { W32 };
        let opcode = if len == 1 { 0xc6 } else { 0xc7 };
        self.guest(len == 2, rex(width, 0, 0, 0), opcode, 1, 0, at);
        self.put(value as u32 as u64, len.min(4));
    }

    /// `to := [GS + offset]`, from host memory around the window.
    pub fn load_segment(&mut self, to: Reg, offset: i32) {
        self.segment(0x8b, to, offset);
    }

    /// `[GS + offset] := from`, in host memory around the window.
    pub fn store_segment(&mut self, offset: i32, from: Reg) {
        self.segment(0x89, from, offset);
    }

    fn segment(&mut self, opcode: u64, reg: Reg, offset: i32) {
        let modrm = u64::from((reg & 7) << 3 | 4) | 0x25 << 8;
        let head = rex(W64, reg, 0, 0) | opcode << 8 | modrm << 16;
        self.put(0x65 | head << 8, 5);
        self.put(offset as u32 as u64, 4);
    }

    /// Vector register `to` := `from`.
    pub fn park(&mut self, to: Reg, from: Reg) {
        self.put(0x66, 1);
        self.escaped(W64, 0x6e, to, from);
    }

    /// `to` := vector register `from`.
    pub fn unpark(&mut self, to: Reg, from: Reg) {
        self.put(0x66, 1);
        self.escaped(W64, 0x7e, from, to);
    }

    #[inline(always)]
    pub fn push(&mut self, reg: Reg) {
        let opcode = 0x50 | u64::from(reg & 7);
        match reg >> 3 {
            0 => self.put(opcode, 1),
            _ => self.put(0x41 | opcode << 8, 2),
        }
    }

    /// Pushes `value` sign-extended.
    #[inline(always)]
    pub fn push_imm(&mut self, value: i32) {
        self.put(0x68 | (value as u32 as u64) << 8, 5);
    }

    #[inline(always)]
    pub fn pop(&mut self, reg: Reg) {
        let opcode = 0x58 | u64::from(reg & 7);
        match reg >> 3 {
            0 => self.put(opcode, 1),
            _ => self.put(0x41 | opcode << 8, 2),
        }
    }

    pub fn ret(&mut self) {
        self.put(0xc3, 1);
    }

    pub fn jump_reg(&mut self, reg: Reg) {
        self.put(rex(W32, 0, 0, reg) | 0xff << 8 | direct(4, reg) << 16, 3);
    }

    /// To the address that stands in host memory at `reg`, which is no rbp, rsp,
    /// r12 or r13.
    #[inline(always)]
    pub fn jump_through(&mut self, reg: Reg) {
        let modrm = u64::from(4 << 3 | reg & 7);
        self.put(rex(W32, 0, 0, reg) | 0xff << 8 | modrm << 16, 3);
    }

    /// To the address that stands in host memory at `base + 4 index`; base as for
    /// `jump_through`, index no rsp.
    #[inline(always)]
    pub fn jump_through_sum(&mut self, base: Reg, index: Reg) {
        let (modrm, sib) = (4 << 3 | 4, u64::from(0x80 | (index & 7) << 3 | base & 7));
        self.put(
            rex(W32, 0, index, base) | 0xff << 8 | modrm << 16 | sib << 24,
            4,
        );
    }

    /// `to := [base + 4 index]`, from host memory; base and index as for `jump_through_sum`.
    #[inline(always)]
    pub fn load_host_sum(&mut self, to: Reg, base: Reg, index: Reg) {
        let modrm = u64::from((to & 7) << 3 | 4);
        let sib = u64::from(0x80 | (index & 7) << 3 | base & 7);
        self.put(
            rex(W64, to, index, base) | 0x8b << 8 | modrm << 16 | sib << 24,
            4,
        );
    }

    /// to := the address of `offset` in this code.
    #[inline(always)]
    pub fn lea_code(&mut self, to: Reg, offset: u32) {
        let modrm = u64::from((to & 7) << 3 | 5);
        self.put(rex(W64, to, 0, 0) | 0x8d << 8 | modrm << 16, 3);
        self.relative(offset);
    }

    /// `to := [base + offset]`, 4 bytes from host memory, sign-extended.
    pub fn load_host_signed_32(&mut self, to: Reg, base: Reg, offset: i32) {
        let head = rex(W64, to, 0, base) | 0x63 << 8;
        self.with_base(head, 2, to, base, offset);
    }

    /// Four bytes that no one runs.
    pub fn data(&mut self, value: i32) {
        self.put(value as u32 as u64, 4);
    }

    /// Fills up to a multiple of `to`, a power of 2, with what does nothing.
    #[inline(always)]
    pub fn align(&mut self, to: u32) {
        /// `nop`s by length, as processors like them best.
        const NOPS: [u64; 9] = [
            0,
            0x90,
            0x9066,
            0x1f0f,
            0x0040_1f0f,
            0x0044_1f0f,
            0x441f_0f66,
            0x0080_1f0f,
            0x0084_1f0f,
        ];
        let mut rest = self.offset().wrapping_neg() & (to - 1);
        while rest > 0 {
            let len = rest.min(8);
            self.put(NOPS[len as usize], len as usize);
            rest -= len;
        }
    }

    pub fn read_gs_base(&mut self, reg: Reg) {
        self.put(0xf3, 1);
        self.escaped(W64, 0xae, 1, reg);
    }

    pub fn write_gs_base(&mut self, reg: Reg) {
        self.put(0xf3, 1);
        self.escaped(W64, 0xae, 3, reg);
    }

    /// `to += ` the 8 bytes at `offset` of this code.
    #[inline(always)]
    pub fn add_literal(&mut self, to: Reg, offset: u32) {
        let modrm = u64::from((to & 7) << 3 | 5);
        self.put(rex(W64, to, 0, 0) | 0x03 << 8 | modrm << 16, 3);
        self.relative(offset);
    }

    /// to := the address `ahead` bytes behind this instruction.
    #[inline(always)]
    pub fn lea_ahead(&mut self, to: Reg, ahead: u32) {
        let modrm = u64::from((to & 7) << 3 | 5);
        let bytes = rex(W64, to, 0, 0) | 0x8d << 8 | modrm << 16;
        self.put(bytes | u64::from(ahead) << 24, 7);
    }

    /// The distance from behind these 4 bytes to `target`.
    #[inline(always)]
    fn relative(&mut self, target: u32) {
        let distance = target.wrapping_sub(self.offset() + 4);
        self.put(u64::from(distance), 4);
    }

    #[inline(always)]
    pub fn call(&mut self, target: u32) {
        self.put(0xe8, 1);
        self.relative(target);
    }

    #[inline(always)]
    pub fn jump(&mut self, target: u32) {
        self.put(0xe9, 1);
        self.relative(target);
    }

    /// To code already there; the short form where it reaches.
    #[inline(always)]
    pub fn jump_back(&mut self, target: u32) {
        let distance = target as i64 - (i64::from(self.offset()) + 2);
        match i8::try_from(distance) {
            Ok(byte) => self.put(0xeb | u64::from(byte as u8) << 8, 2),
            Err(_) => self.jump(target),
        }
    }

    /// To code already there; the short form where it reaches.
    #[inline(always)]
    pub fn jump_back_if(&mut self, condition: Condition, target: u32) {
        let distance = target as i64 - (i64::from(self.offset()) + 2);
        match i8::try_from(distance) {
            Ok(byte) => self.put(0x70 | condition as u64 | u64::from(byte as u8) << 8, 2),
            Err(_) => {
                self.put(0x0f | (0x80 | condition as u64) << 8, 2);
                self.relative(target);
            }
        }
    }

    /// Makes a [`Self::jump_back`] that ends at `end` lead to `to` instead of `from`, a little
    /// ahead.
    pub fn move_jump_back(&mut self, end: u32, from: u32, to: u32) {
        match i8::try_from(i64::from(from) - i64::from(end)) {
            Ok(_) => self.buffer.patch_byte(end - 1, to.wrapping_sub(end) as u8),
            Err(_) => self.patch(Site(end - 4), to),
        }
    }

    /// A jump whose displacement holds `mark` until it is patched.
    #[inline(always)]
    pub fn jump_ahead(&mut self, mark: u32) -> Site {
        self.put(0xe9 | u64::from(mark) << 8, 5);
        Site(self.offset() - 4)
    }

    /// As [`Self::jump_ahead`], when `condition` holds.
    #[inline(always)]
    pub fn jump_ahead_if(&mut self, condition: Condition, mark: u32) -> Site {
        let opcode = 0x0f | (0x80 | condition as u64) << 8;
        self.put(opcode | u64::from(mark) << 16, 6);
        Site(self.offset() - 4)
    }

    /// A short forward jump, ended by [`Self::land`]. `opcode`: 0x70 and a
    /// condition, 0xe3 (when rcx is 0) or 0xeb (always).
    #[inline(always)]
    pub fn skip(&mut self, opcode: u8) -> u32 {
        self.put(u64::from(opcode), 2);
        self.offset()
    }

    /// Ends a [`Self::skip`] of at most 127 bytes here.
    #[inline(always)]
    pub fn land(&mut self, skip: u32) {
        let distance = self.offset() - skip;
        assert!(distance < 128);
        self.buffer.patch_byte(skip - 1, distance as u8);
    }

    /// Fills in a site with the distance to `target`.
    #[inline(always)]
    pub fn patch(&mut self, site: Site, target: u32) {
        let distance = target.wrapping_sub(site.0 + 4);
        self.buffer.patch(site.0, distance);
    }
}
