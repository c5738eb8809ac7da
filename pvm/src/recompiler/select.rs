//! The machine code of each instruction.
//!
//! Guest registers hold their values throughout; only the scratch register is
//! free, and only inside one instruction. A destination may be the same
//! register as a source. Loads and stores change nothing before the one machine
//! instruction that may be refused, so that they can be tried again.

use super::assembler::{
    Alu, Condition, Count, Load, RAX, RDX, Reg, Shift, ShiftX, Unary, W32, W64, Width,
};
use super::routines::SCRATCH;
use super::translate::{Operands, Translator};

/// `skip` if rcx is 0.
const IF_SCRATCH_IS_0: u8 = 0xe3;
const ALWAYS: u8 = 0xeb;
const IF_EQUAL: u8 = 0x70 | Condition::Equal as u8;

macro_rules! translations {
    ($(fn $name:ident($t:ident, $op:ident) $body:block)+) => {
        impl Translator<'_> {
            $(
                #[inline(always)]
                pub(super) fn $name(&mut self, $op: &Operands) {
                    let $t = self;
                    $body
                }
            )+
        }
    };
}

/// A := bytes at νX, A := bytes at B + νX.
macro_rules! loads {
    ($($direct:ident $indirect:ident $load:expr;)+) => {
        translations! {
            $(
                fn $direct(t, op) { t.asm.load_guest($load, op.a, op.at_x()); }
                fn $indirect(t, op) { t.asm.load_guest($load, op.a, op.at(op.b)); }
            )+
        }
    };
}

/// [νX] := νY, [νX] := A, [A + νX] := νY, [B + νX] := A.
macro_rules! stores {
    ($($imm:ident $direct:ident $imm_ind:ident $ind:ident $len:literal;)+) => {
        translations! {
            $(
                fn $imm(t, op) { t.asm.store_guest_imm($len, op.y, op.at_x()); }
                fn $direct(t, op) { t.asm.store_guest($len, op.a, op.at_x()); }
                fn $imm_ind(t, op) { t.asm.store_guest_imm($len, op.y, op.at(op.a)); }
                fn $ind(t, op) { t.asm.store_guest($len, op.a, op.at(op.b)); }
            )+
        }
    };
}

macro_rules! branches {
    ($($with_imm:ident $condition:ident;)+) => {
        translations! {
            $(fn $with_imm(t, op) {
                t.compare_imm(op.a, op.x);
                t.branch_if(Condition::$condition, op.y);
            })+
        }
    };
    (registers $($with_register:ident $condition:ident;)+) => {
        translations! {
            $(fn $with_register(t, op) {
                t.asm.alu(W64, Alu::Cmp, op.a, op.b);
                t.branch_if(Condition::$condition, op.x);
            })+
        }
    };
}

/// One call per instruction, with the arguments that tell it from its kin.
macro_rules! by_helper {
    ($($name:ident = $helper:ident($($argument:expr),*);)+) => {
        translations! {
            $(fn $name(t, op) { t.$helper(op $(, $argument)*); })+
        }
    };
}

translations! {
    fn trap(t, _op) { t.trap_out(); }
    fn fallthrough(t, _op) { t.run_on(); }
    fn unlikely(_t, _op) {}
    fn jump(t, op) { t.jump_to(op.x); }
    fn jump_ind(t, op) {
        if op.x == 0 {
            return t.table_jump_to(op.a);
        }
        t.asm.lea(W32, SCRATCH, op.a, op.x.wrapping_sub(2));
        t.table_jump();
    }
    fn load_imm_jump(t, op) {
        t.asm.set(op.a, op.wide_x);
        t.jump_to(op.y);
    }
    fn load_imm_jump_ind(t, op) {
        if op.y == 0 && op.a != op.b {
            t.asm.set(op.a, op.wide_x);
            return t.table_jump_to(op.b);
        }
        t.asm.lea(W32, SCRATCH, op.b, op.y.wrapping_sub(2));
        t.asm.set(op.a, op.wide_x);
        t.table_jump();
    }
    fn ecall(t, _op) { t.host_call(None); }
    fn ecalli(t, op) { t.host_call(Some(op.x)); }
    fn load_imm(t, op) { t.asm.set(op.a, op.wide_x); }
    fn load_imm_64(t, op) { t.asm.set(op.a, op.wide_x); }
    fn move_reg(t, op) { t.asm.mov(op.d, op.a); }
    fn sbrk(t, op) { t.asm.clear(op.d); }
    fn sign_extend_8(t, op) { t.asm.sign_extend_8(op.d, op.a); }
    fn sign_extend_16(t, op) { t.asm.sign_extend_16(op.d, op.a); }
    fn zero_extend_16(t, op) { t.asm.zero_extend_16(op.d, op.a); }
    fn reverse_bytes(t, op) {
        t.asm.mov(op.d, op.a);
        t.asm.swap_bytes(op.d);
    }
}

loads! {
    load_u8 load_ind_u8 Load::U8;
    load_i8 load_ind_i8 Load::I8;
    load_u16 load_ind_u16 Load::U16;
    load_i16 load_ind_i16 Load::I16;
    load_u32 load_ind_u32 Load::U32;
    load_i32 load_ind_i32 Load::I32;
    load_u64 load_ind_u64 Load::U64;
}

stores! {
    store_imm_u8 store_u8 store_imm_ind_u8 store_ind_u8 1;
    store_imm_u16 store_u16 store_imm_ind_u16 store_ind_u16 2;
    store_imm_u32 store_u32 store_imm_ind_u32 store_ind_u32 4;
    store_imm_u64 store_u64 store_imm_ind_u64 store_ind_u64 8;
}

branches! {
    branch_eq_imm Equal;
    branch_ne_imm NotEqual;
    branch_lt_u_imm Below;
    branch_le_u_imm BelowOrEqual;
    branch_ge_u_imm AboveOrEqual;
    branch_gt_u_imm Above;
    branch_lt_s_imm Less;
    branch_le_s_imm LessOrEqual;
    branch_ge_s_imm GreaterOrEqual;
    branch_gt_s_imm Greater;
}

branches! { registers
    branch_eq Equal;
    branch_ne NotEqual;
    branch_lt_u Below;
    branch_lt_s Less;
    branch_ge_u AboveOrEqual;
    branch_ge_s GreaterOrEqual;
}

by_helper! {
    count_set_bits_64 = count(W64, Count::Ones);
    count_set_bits_32 = count(W32, Count::Ones);
    leading_zero_bits_64 = count(W64, Count::LeadingZeros);
    leading_zero_bits_32 = count(W32, Count::LeadingZeros);
    trailing_zero_bits_64 = count(W64, Count::TrailingZeros);
    trailing_zero_bits_32 = count(W32, Count::TrailingZeros);

    and_imm = logic_imm(Alu::And);
    xor_imm = logic_imm(Alu::Xor);
    or_imm = logic_imm(Alu::Or);
    set_lt_u_imm = set_if_imm(Condition::Below);
    set_lt_s_imm = set_if_imm(Condition::Less);
    set_gt_u_imm = set_if_imm(Condition::Above);
    set_gt_s_imm = set_if_imm(Condition::Greater);
    shlo_l_imm_32 = shift_imm_32(Shift::Left);
    shlo_r_imm_32 = shift_imm_32(Shift::Right);
    shar_r_imm_32 = shift_imm_32(Shift::RightSigned);
    rot_r_32_imm = shift_imm_32(Shift::RotateRight);
    shlo_l_imm_64 = shift_imm_64(Shift::Left);
    shlo_r_imm_64 = shift_imm_64(Shift::Right);
    shar_r_imm_64 = shift_imm_64(Shift::RightSigned);
    shlo_l_imm_alt_32 = shift_alt(W32, ShiftX::Left);
    shlo_r_imm_alt_32 = shift_alt(W32, ShiftX::Right);
    shar_r_imm_alt_32 = shift_alt(W32, ShiftX::RightSigned);
    shlo_l_imm_alt_64 = shift_alt(W64, ShiftX::Left);
    shlo_r_imm_alt_64 = shift_alt(W64, ShiftX::Right);
    shar_r_imm_alt_64 = shift_alt(W64, ShiftX::RightSigned);
    rot_r_64_imm_alt = rotate_alt(W64);
    rot_r_32_imm_alt = rotate_alt(W32);
    cmov_iz_imm = move_imm_if(Condition::Equal);
    cmov_nz_imm = move_imm_if(Condition::NotEqual);

    div_u_32 = divide(W32, Unary::Div);
    div_s_32 = divide_signed(W32, false);
    rem_u_32 = remainder(W32, Unary::Div);
    rem_s_32 = divide_signed(W32, true);
    div_u_64 = divide(W64, Unary::Div);
    div_s_64 = divide_signed(W64, false);
    rem_u_64 = remainder(W64, Unary::Div);
    rem_s_64 = divide_signed(W64, true);
    shlo_l_32 = shift(W32, ShiftX::Left);
    shlo_r_32 = shift(W32, ShiftX::Right);
    shar_r_32 = shift(W32, ShiftX::RightSigned);
    shlo_l_64 = shift(W64, ShiftX::Left);
    shlo_r_64 = shift(W64, ShiftX::Right);
    shar_r_64 = shift(W64, ShiftX::RightSigned);
    rot_l_64 = rotate(W64, Shift::RotateLeft);
    rot_l_32 = rotate(W32, Shift::RotateLeft);
    rot_r_64 = rotate(W64, Shift::RotateRight);
    rot_r_32 = rotate(W32, Shift::RotateRight);
    and = logic(Alu::And);
    xor = logic(Alu::Xor);
    or = logic(Alu::Or);
    set_lt_u = set_if(Condition::Below);
    set_lt_s = set_if(Condition::Less);
    cmov_iz = move_if(Condition::Equal);
    cmov_nz = move_if(Condition::NotEqual);
    max = pick(Condition::Less);
    max_u = pick(Condition::Below);
    min = pick(Condition::Greater);
    min_u = pick(Condition::Above);
}

translations! {
    fn add_imm_32(t, op) {
        if op.x == 0 {
            return t.asm.sign_extend_32(op.a, op.b);
        }
        t.asm.lea(W32, SCRATCH, op.b, op.x);
        t.asm.sign_extend_32(op.a, SCRATCH);
    }
    fn add_imm_64(t, op) {
        match (op.a == op.b, op.x) {
            (_, 0) => t.asm.mov(op.a, op.b),
            (true, x) => t.asm.alu_imm(W64, Alu::Add, op.a, x),
            (false, x) => t.asm.lea(W64, op.a, op.b, x),
        }
    }
    fn neg_add_imm_32(t, op) {
        t.asm.mov_imm(SCRATCH, u64::from(op.x as u32));
        t.asm.alu(W32, Alu::Sub, SCRATCH, op.b);
        t.asm.sign_extend_32(op.a, SCRATCH);
    }
    fn neg_add_imm_64(t, op) {
        if op.a == op.b {
            t.asm.unary(W64, Unary::Neg, op.a);
            if op.x != 0 {
                t.asm.alu_imm(W64, Alu::Add, op.a, op.x);
            }
            return;
        }
        t.asm.set(op.a, op.wide_x);
        t.asm.alu(W64, Alu::Sub, op.a, op.b);
    }
    fn mul_imm_32(t, op) {
        t.asm.imul_imm(W32, SCRATCH, op.b, op.x);
        t.asm.sign_extend_32(op.a, SCRATCH);
    }
    fn mul_imm_64(t, op) { t.asm.imul_imm(W64, op.a, op.b, op.x); }
    fn rot_r_64_imm(t, op) {
        let count = op.x as u8 & 63;
        if op.a == op.b {
            return t.asm.shift_imm(W64, Shift::RotateRight, op.a, count);
        }
        t.asm.rotate_x(W64, op.a, op.b, count);
    }
    fn add_32(t, op) {
        t.asm.lea_sum(W32, SCRATCH, op.a, op.b);
        t.asm.sign_extend_32(op.d, SCRATCH);
    }
    fn add_64(t, op) {
        if op.d == op.a {
            t.asm.alu(W64, Alu::Add, op.d, op.b);
        } else if op.d == op.b {
            t.asm.alu(W64, Alu::Add, op.d, op.a);
        } else {
            t.asm.lea_sum(W64, op.d, op.a, op.b);
        }
    }
    fn sub_32(t, op) {
        t.asm.mov32(SCRATCH, op.a);
        t.asm.alu(W32, Alu::Sub, SCRATCH, op.b);
        t.asm.sign_extend_32(op.d, SCRATCH);
    }
    fn sub_64(t, op) {
        if op.d == op.b && op.d != op.a {
            t.asm.unary(W64, Unary::Neg, op.d);
            return t.asm.alu(W64, Alu::Add, op.d, op.a);
        }
        t.asm.mov(op.d, op.a);
        t.asm.alu(W64, Alu::Sub, op.d, op.b);
    }
    fn mul_32(t, op) {
        t.asm.mov32(SCRATCH, op.a);
        t.asm.imul(W32, SCRATCH, op.b);
        t.asm.sign_extend_32(op.d, SCRATCH);
    }
    fn mul_64(t, op) {
        let (to, by) = if op.d == op.b { (op.b, op.a) } else { (op.a, op.b) };
        t.asm.mov(op.d, to);
        t.asm.imul(W64, op.d, by);
    }
    fn mul_upper_u_u(t, op) {
        let (a, b) = (op.a, op.b);
        if a == RDX || b == RDX {
            let other = if a == RDX { b } else { a };
            return t.asm.mul_x(op.d, SCRATCH, other);
        }
        t.asm.mov(SCRATCH, RDX);
        t.asm.mov(RDX, a);
        t.asm.mul_x(op.d, RDX, b);
        if op.d != RDX {
            t.asm.mov(RDX, SCRATCH);
        }
    }
    fn mul_upper_s_s(t, op) {
        t.in_accumulator(op.a, op.b, |t| {
            t.asm.unary(W64, Unary::MulSigned, SCRATCH);
            t.asm.mov(SCRATCH, RDX);
        });
        t.asm.mov(op.d, SCRATCH);
    }
    // The unsigned product is too great by B·2^64 where A is negative.
    fn mul_upper_s_u(t, op) {
        t.asm.mov(SCRATCH, op.a);
        t.asm.shift_imm(W64, Shift::RightSigned, SCRATCH, 63);
        t.asm.alu(W64, Alu::And, SCRATCH, op.b);
        t.asm.push(SCRATCH);
        t.in_accumulator(op.a, op.b, |t| {
            t.asm.unary(W64, Unary::Mul, SCRATCH);
            t.asm.mov(SCRATCH, RDX);
        });
        t.asm.push(SCRATCH);
        t.asm.pop(op.d);
        t.asm.pop(SCRATCH);
        t.asm.alu(W64, Alu::Sub, op.d, SCRATCH);
    }
    fn and_inv(t, op) { t.asm.and_not(op.d, op.b, op.a); }
    fn or_inv(t, op) {
        t.asm.mov(SCRATCH, op.b);
        t.asm.unary(W64, Unary::Not, SCRATCH);
        t.asm.alu(W64, Alu::Or, SCRATCH, op.a);
        t.asm.mov(op.d, SCRATCH);
    }
    fn xnor(t, op) {
        t.logic(op, Alu::Xor);
        t.asm.unary(W64, Unary::Not, op.d);
    }
}

/// The helpers; each stands for a row of kin above.
impl Translator<'_> {
    fn compare_imm(&mut self, reg: Reg, value: i32) {
        match value {
            0 => self.asm.test(reg, reg),
            _ => self.asm.alu_imm(W64, Alu::Cmp, reg, value),
        }
    }

    fn count(&mut self, op: &Operands, width: Width, count: Count) {
        self.asm.count(width, count, op.d, op.a);
    }

    fn logic(&mut self, op: &Operands, alu: Alu) {
        let other = if op.d == op.b { op.a } else { op.b };
        if op.d != op.b {
            self.asm.mov(op.d, op.a);
        }
        self.asm.alu(W64, alu, op.d, other);
    }

    fn logic_imm(&mut self, op: &Operands, alu: Alu) {
        self.asm.mov(op.a, op.b);
        self.asm.alu_imm(W64, alu, op.a, op.x);
    }

    /// `to` := 1 if the flags say so, else 0.
    fn set_from_flags(&mut self, condition: Condition, to: Reg) {
        self.asm.set_if(condition, SCRATCH);
        self.asm.zero_extend_8(to, SCRATCH);
    }

    fn set_if(&mut self, op: &Operands, condition: Condition) {
        if op.d == op.a || op.d == op.b {
            self.asm.alu(W64, Alu::Cmp, op.a, op.b);
            return self.set_from_flags(condition, op.d);
        }
        self.asm.clear(op.d);
        self.asm.alu(W64, Alu::Cmp, op.a, op.b);
        self.asm.set_if(condition, op.d);
    }

    fn set_if_imm(&mut self, op: &Operands, condition: Condition) {
        if op.a == op.b {
            self.compare_imm(op.b, op.x);
            return self.set_from_flags(condition, op.a);
        }
        self.asm.clear(op.a);
        self.compare_imm(op.b, op.x);
        self.asm.set_if(condition, op.a);
    }

    fn move_if(&mut self, op: &Operands, condition: Condition) {
        self.asm.test(op.b, op.b);
        self.asm.mov_if(condition, op.d, op.a);
    }

    fn move_imm_if(&mut self, op: &Operands, condition: Condition) {
        self.asm.mov_imm(SCRATCH, op.wide_x);
        self.asm.test(op.b, op.b);
        self.asm.mov_if(condition, op.a, SCRATCH);
    }

    /// D := B if A `condition` B, else A; symmetric in A and B.
    fn pick(&mut self, op: &Operands, condition: Condition) {
        let other = if op.d == op.b { op.a } else { op.b };
        if op.d != op.b {
            self.asm.mov(op.d, op.a);
        }
        self.asm.alu(W64, Alu::Cmp, op.d, other);
        self.asm.mov_if(condition, op.d, other);
    }

    fn shift(&mut self, op: &Operands, width: Width, shift: ShiftX) {
        match width {
            W64 => self.asm.shift_x(W64, shift, op.d, op.a, op.b),
            W32 => {
                self.asm.shift_x(W32, shift, SCRATCH, op.a, op.b);
                self.asm.sign_extend_32(op.d, SCRATCH);
            }
        }
    }

    fn shift_imm_32(&mut self, op: &Operands, shift: Shift) {
        self.asm.mov32(SCRATCH, op.b);
        self.asm.shift_imm(W32, shift, SCRATCH, op.x as u8 & 31);
        self.asm.sign_extend_32(op.a, SCRATCH);
    }

    fn shift_imm_64(&mut self, op: &Operands, shift: Shift) {
        self.asm.mov(op.a, op.b);
        self.asm.shift_imm(W64, shift, op.a, op.x as u8 & 63);
    }

    /// νX shifted by B.
    fn shift_alt(&mut self, op: &Operands, width: Width, shift: ShiftX) {
        match width {
            W64 => {
                self.asm.mov_imm(SCRATCH, op.wide_x);
                self.asm.shift_x(W64, shift, op.a, SCRATCH, op.b);
            }
            W32 => {
                self.asm.mov_imm(SCRATCH, u64::from(op.x as u32));
                self.asm.shift_x(W32, shift, SCRATCH, SCRATCH, op.b);
                self.asm.sign_extend_32(op.a, SCRATCH);
            }
        }
    }

    fn rotate(&mut self, op: &Operands, width: Width, shift: Shift) {
        self.asm.mov32(SCRATCH, op.b);
        self.asm.mov(op.d, op.a);
        self.finish_rotate(op.d, width, shift);
    }

    /// νX rotated right by B.
    fn rotate_alt(&mut self, op: &Operands, width: Width) {
        self.asm.mov32(SCRATCH, op.b);
        self.asm.mov_imm(op.a, op.wide_x);
        self.finish_rotate(op.a, width, Shift::RotateRight);
    }

    fn finish_rotate(&mut self, reg: Reg, width: Width, shift: Shift) {
        self.asm.shift_cl(width, shift, reg);
        if width == W32 {
            self.asm.sign_extend_32(reg, reg);
        }
    }

    /// Runs `body` with A in rax and B in the scratch register; rax and rdx are
    /// restored behind it.
    fn in_accumulator(&mut self, a: Reg, b: Reg, body: impl FnOnce(&mut Self)) {
        self.asm.push(RAX);
        self.asm.push(RDX);
        self.asm.mov(SCRATCH, b);
        self.asm.mov(RAX, a);
        body(self);
        self.asm.pop(RDX);
        self.asm.pop(RAX);
    }

    /// The scratch register := A / B or A mod B, unless B (in it) is 0.
    fn divide_in_accumulator(&mut self, op: &Operands, width: Width, unary: Unary, rem: bool) {
        self.in_accumulator(op.a, op.b, |t| {
            match unary {
                Unary::DivSigned => t.asm.extend_accumulator(width),
                _ => t.asm.clear(RDX),
            }
            t.asm.unary(width, unary, SCRATCH);
            t.asm.mov(SCRATCH, if rem { RDX } else { RAX });
        });
    }

    /// D := the scratch register.
    fn take_scratch(&mut self, d: Reg, width: Width) {
        match width {
            W64 => self.asm.mov(d, SCRATCH),
            W32 => self.asm.sign_extend_32(d, SCRATCH),
        }
    }

    /// The scratch register := B.
    fn divisor(&mut self, b: Reg, width: Width) {
        match width {
            W64 => self.asm.mov(SCRATCH, b),
            W32 => self.asm.mov32(SCRATCH, b),
        }
    }

    fn divide(&mut self, op: &Operands, width: Width, unary: Unary) {
        self.divisor(op.b, width);
        let zero = self.asm.skip(IF_SCRATCH_IS_0);
        self.divide_in_accumulator(op, width, unary, false);
        self.take_scratch(op.d, width);
        let done = self.asm.skip(ALWAYS);
        self.asm.land(zero);
        self.asm.mov_imm(op.d, u64::MAX);
        self.asm.land(done);
    }

    fn remainder(&mut self, op: &Operands, width: Width, unary: Unary) {
        self.divisor(op.b, width);
        let zero = self.asm.skip(IF_SCRATCH_IS_0);
        self.divide_in_accumulator(op, width, unary, true);
        let done = self.asm.skip(ALWAYS);
        self.asm.land(zero);
        self.asm.mov(SCRATCH, op.a);
        self.asm.land(done);
        self.take_scratch(op.d, width);
    }

    /// Division by −1 is done apart, since the processor refuses the one that overflows.
    fn divide_signed(&mut self, op: &Operands, width: Width, rem: bool) {
        self.divisor(op.b, width);
        let zero = self.asm.skip(IF_SCRATCH_IS_0);
        self.asm.alu_imm(width, Alu::Cmp, SCRATCH, -1);
        let minus_one = self.asm.skip(IF_EQUAL);
        self.divide_in_accumulator(op, width, Unary::DivSigned, rem);
        let done = self.asm.skip(ALWAYS);
        self.asm.land(zero);
        match rem {
            true => self.asm.mov(SCRATCH, op.a),
            false => self.asm.mov_imm(SCRATCH, u64::MAX),
        }
        let done_too = self.asm.skip(ALWAYS);
        self.asm.land(minus_one);
        match rem {
            true => self.asm.clear(SCRATCH),
            false => {
                self.asm.mov(SCRATCH, op.a);
                self.asm.unary(width, Unary::Neg, SCRATCH);
            }
        }
        self.asm.land(done);
        self.asm.land(done_too);
        self.take_scratch(op.d, width);
    }
}
