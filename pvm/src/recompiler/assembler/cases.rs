//! Every instruction of the assembler beside what a disassembler has to make of it.

use super::*;

/// Where the code lies that [`case`] makes: what relative jumps are shown against.
pub const CODE_START: u64 = 0x10_0000;
/// Bytes of one-byte instructions (`nop`) that may stand before the instruction.
const BEFORE_MAX: u32 = 400;

const NAMES_64: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15",
];
const NAMES_32: [&str; 16] = [
    "eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "r8d", "r9d", "r10d", "r11d", "r12d",
    "r13d", "r14d", "r15d",
];
const NAMES_16: [&str; 16] = [
    "ax", "cx", "dx", "bx", "sp", "bp", "si", "di", "r8w", "r9w", "r10w", "r11w", "r12w", "r13w",
    "r14w", "r15w",
];
const NAMES_8: [&str; 16] = [
    "al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil", "r8b", "r9b", "r10b", "r11b", "r12b",
    "r13b", "r14b", "r15b",
];

/// Chooses among so many, from 0.
pub type Choose<'a> = &'a mut dyn FnMut(u32) -> u32;

struct Maker<'a> {
    asm: Assembler,
    choose: Choose<'a>,
}

fn name(width: Width, reg: Reg) -> &'static str {
    match width {
        W32 => NAMES_32[usize::from(reg)],
        W64 => NAMES_64[usize::from(reg)],
    }
}

/// An immediate as an operand of this width shows it.
fn shown(width: Width, value: i32) -> String {
    match width {
        W32 => format!("{value:#x}"),
        W64 => format!("{:#x}", i64::from(value)),
    }
}

/// `[base+offset]`.
fn place(base: &str, offset: i32) -> String {
    match offset {
        0 => format!("[{base}]"),
        1.. => format!("[{base}+{offset:#x}]"),
        _ => format!("[{base}-{:#x}]", offset.unsigned_abs()),
    }
}

/// A place around the window, at `offset` from GS.
fn in_segment(offset: i32) -> String {
    format!("gs:[{:#x}]", i64::from(offset))
}

fn pair(opcode: &str, to: &str, from: &str) -> String {
    format!("{opcode} {to}, {from}")
}

const ALUS: [(Alu, &str); 6] = [
    (Alu::Add, "add"),
    (Alu::Or, "or"),
    (Alu::And, "and"),
    (Alu::Sub, "sub"),
    (Alu::Xor, "xor"),
    (Alu::Cmp, "cmp"),
];
const SHIFTS: [(Shift, &str); 5] = [
    (Shift::RotateLeft, "rol"),
    (Shift::RotateRight, "ror"),
    (Shift::Left, "shl"),
    (Shift::Right, "shr"),
    (Shift::RightSigned, "sar"),
];
const UNARIES: [(Unary, &str); 6] = [
    (Unary::Not, "not"),
    (Unary::Neg, "neg"),
    (Unary::Mul, "mul"),
    (Unary::MulSigned, "imul"),
    (Unary::Div, "div"),
    (Unary::DivSigned, "idiv"),
];
const CONDITIONS: [(Condition, &str); 10] = [
    (Condition::Below, "b"),
    (Condition::AboveOrEqual, "ae"),
    (Condition::Equal, "e"),
    (Condition::NotEqual, "ne"),
    (Condition::BelowOrEqual, "be"),
    (Condition::Above, "a"),
    (Condition::Less, "l"),
    (Condition::GreaterOrEqual, "ge"),
    (Condition::LessOrEqual, "le"),
    (Condition::Greater, "g"),
];
const COUNTS: [(Count, &str); 3] = [
    (Count::Ones, "popcnt"),
    (Count::TrailingZeros, "tzcnt"),
    (Count::LeadingZeros, "lzcnt"),
];
const SHIFTS_X: [(ShiftX, &str); 3] = [
    (ShiftX::Left, "shlx"),
    (ShiftX::RightSigned, "sarx"),
    (ShiftX::Right, "shrx"),
];
const LOADS: [(Load, &str); 7] = [
    (Load::U8, "movzx {32}, byte ptr {at}"),
    (Load::I8, "movsx {64}, byte ptr {at}"),
    (Load::U16, "movzx {32}, word ptr {at}"),
    (Load::I16, "movsx {64}, word ptr {at}"),
    (Load::U32, "mov {32}, {at}"),
    (Load::I32, "movsxd {64}, {at}"),
    (Load::U64, "mov {64}, {at}"),
];
/// By length, from 1.
const NOPS: [&str; 8] = [
    "nop",
    "xchg ax, ax",
    "nop [rax]",
    "nop [rax]",
    "nop [rax+rax]",
    "nop [rax+rax]",
    "nop [rax]",
    "nop [rax+rax]",
];
/// Numbers of the groups of instructions below.
const GROUPS: u32 = 9;

impl Maker<'_> {
    fn below(&mut self, limit: u32) -> u32 {
        (self.choose)(limit).min(limit - 1)
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u32) as usize]
    }

    fn reg(&mut self) -> Reg {
        self.below(16) as Reg
    }

    fn width(&mut self) -> Width {
        self.pick(&[W32, W64])
    }

    fn imm(&mut self) -> i32 {
        let corner = [0, 1, -1, 127, 128, -128, -129, 255, i32::MAX, i32::MIN];
        match self.below(2) {
            0 => self.pick(&corner),
            _ => (self.below(1 << 16) << 16 | self.below(1 << 16)) as i32,
        }
    }

    fn wide(&mut self) -> u64 {
        let high = self.imm() as u32;
        let low = self.imm();
        match self.below(3) {
            0 => low as u32 as u64,
            1 => low as i64 as u64,
            _ => u64::from(high) << 32 | u64::from(low as u32),
        }
    }

    fn moves(&mut self) -> String {
        let (to, from, value) = (self.reg(), self.reg(), self.wide());
        let moved = |value: u64| match u32::try_from(value) {
            Ok(value) => pair("mov", name(W32, to), &format!("{value:#x}")),
            Err(_) => pair("mov", name(W64, to), &format!("{value:#x}")),
        };
        let cleared = pair("xor", name(W32, to), name(W32, to));
        match self.below(5) {
            0 => {
                self.asm.mov(to, from);
                match to == from {
                    true => String::new(),
                    false => pair("mov", name(W64, to), name(W64, from)),
                }
            }
            1 => {
                self.asm.mov32(to, from);
                pair("mov", name(W32, to), name(W32, from))
            }
            2 => {
                self.asm.mov_imm(to, value);
                moved(value)
            }
            3 => {
                self.asm.clear(to);
                cleared
            }
            _ => {
                self.asm.set(to, value);
                if value == 0 { cleared } else { moved(value) }
            }
        }
    }

    fn arithmetic(&mut self) -> String {
        let (width, to, from, value) = (self.width(), self.reg(), self.reg(), self.imm());
        let (wide_to, wide_from) = (name(width, to), name(width, from));
        let (alu, opcode) = self.pick(&ALUS);
        match self.below(8) {
            0 => {
                self.asm.alu(width, alu, to, from);
                pair(opcode, wide_to, wide_from)
            }
            1 => {
                self.asm.alu_imm(width, alu, to, value);
                pair(opcode, wide_to, &shown(width, value))
            }
            2 => {
                let site = self.asm.sub_rax_patchable();
                self.asm.buffer.patch(site.0, value as u32);
                pair("sub", "rax", &shown(W64, value))
            }
            3 => {
                self.asm.test(to, from);
                pair("test", name(W64, to), name(W64, from))
            }
            4 => {
                let (unary, opcode) = self.pick(&UNARIES);
                self.asm.unary(width, unary, to);
                format!("{opcode} {wide_to}")
            }
            5 => {
                self.asm.extend_accumulator(width);
                if width == W32 { "cdq" } else { "cqo" }.into()
            }
            6 => {
                self.asm.imul(width, to, from);
                pair("imul", wide_to, wide_from)
            }
            _ => {
                self.asm.imul_imm(width, to, from, value);
                let value = shown(width, value);
                match to == from {
                    true => pair("imul", wide_to, &value),
                    false => format!("imul {wide_to}, {wide_from}, {value}"),
                }
            }
        }
    }

    fn shifts(&mut self) -> String {
        let (width, a, b, c) = (self.width(), self.reg(), self.reg(), self.reg());
        let (shift, opcode) = self.pick(&SHIFTS);
        let count = self.below(if width == W32 { 32 } else { 64 }) as u8;
        let [wide_a, wide_b, wide_c] = [a, b, c].map(|reg| name(width, reg));
        match self.below(6) {
            0 => {
                self.asm.shift_imm(width, shift, a, count);
                format!("{opcode} {wide_a}, {count:#x}")
            }
            1 => {
                self.asm.shift_cl(width, shift, a);
                pair(opcode, wide_a, "cl")
            }
            2 => {
                let (shift, opcode) = self.pick(&SHIFTS_X);
                self.asm.shift_x(width, shift, a, b, c);
                format!("{opcode} {wide_a}, {wide_b}, {wide_c}")
            }
            3 => {
                self.asm.rotate_x(width, a, b, count);
                format!("rorx {wide_a}, {wide_b}, {count:#x}")
            }
            4 => {
                self.asm.and_not(a, b, c);
                let [a, b, c] = [a, b, c].map(|reg| name(W64, reg));
                format!("andn {a}, {b}, {c}")
            }
            _ => {
                self.asm.mul_x(a, b, c);
                let [a, b, c] = [a, b, c].map(|reg| name(W64, reg));
                format!("mulx {a}, {b}, {c}")
            }
        }
    }

    fn extensions(&mut self) -> String {
        let (to, from) = (self.reg(), self.reg());
        let (narrow_8, narrow_16) = (NAMES_8[usize::from(from)], NAMES_16[usize::from(from)]);
        let asm = &mut self.asm;
        match (self.choose)(6) {
            0 => {
                asm.sign_extend_8(to, from);
                pair("movsx", name(W64, to), narrow_8)
            }
            1 => {
                asm.sign_extend_16(to, from);
                pair("movsx", name(W64, to), narrow_16)
            }
            2 => {
                asm.sign_extend_32(to, from);
                pair("movsxd", name(W64, to), name(W32, from))
            }
            3 => {
                asm.zero_extend_8(to, from);
                pair("movzx", name(W32, to), narrow_8)
            }
            4 => {
                asm.zero_extend_16(to, from);
                pair("movzx", name(W32, to), narrow_16)
            }
            _ => {
                asm.swap_bytes(to);
                format!("bswap {}", name(W64, to))
            }
        }
    }

    fn conditions(&mut self) -> String {
        let (to, from) = (self.reg(), self.reg());
        let (condition, suffix) = self.pick(&CONDITIONS);
        let (count, opcode) = self.pick(&COUNTS);
        let width = self.width();
        match self.below(3) {
            0 => {
                self.asm.set_if(condition, to);
                format!("set{suffix} {}", NAMES_8[usize::from(to)])
            }
            1 => {
                self.asm.mov_if(condition, to, from);
                pair(&format!("cmov{suffix}"), name(W64, to), name(W64, from))
            }
            _ => {
                self.asm.count(width, count, to, from);
                pair(opcode, name(width, to), name(width, from))
            }
        }
    }

    /// A base and an index for the entry of a table, and how they are shown.
    fn sum(&mut self) -> (Reg, Reg, String) {
        let (base, index) = (self.reg(), self.reg());
        let base = if matches!(base & 7, RSP | RBP) {
            RCX
        } else {
            base
        };
        let index = if index == RSP { RAX } else { index };
        let sum = format!("[{}+{}*4]", name(W64, base), name(W64, index));
        (base, index, sum)
    }

    fn addresses(&mut self) -> String {
        let (width, reg, base, offset) = (self.width(), self.reg(), self.reg(), self.imm());
        let at = place(name(W64, base), offset);
        match self.below(10) {
            6 => {
                let target = self.below(BEFORE_MAX);
                self.asm.lea_code(reg, target);
                let distance = i64::from(target) - i64::from(self.asm.offset());
                pair("lea", name(W64, reg), &place("rip", distance as i32))
            }
            7 => {
                self.asm.load_host_signed_32(reg, base, offset);
                pair("movsxd", name(W64, reg), &at)
            }
            8 => {
                let (base, index, sum) = self.sum();
                self.asm.load_host_sum(reg, base, index);
                pair("mov", name(W64, reg), &sum)
            }
            0 => {
                self.asm.lea(width, reg, base, offset);
                pair("lea", name(width, reg), &at)
            }
            1 => {
                // rsp is no index; a base of rbp or r13 is swapped with the index.
                let [base, index] = [base, self.reg()].map(|r| if r == RSP { RAX } else { r });
                self.asm.lea_sum(width, reg, base, index);
                let (base, index) = if base & 7 == RBP {
                    (index, base)
                } else {
                    (base, index)
                };
                let sum = format!("[{}+{}]", name(W64, base), name(W64, index));
                pair("lea", name(width, reg), &sum)
            }
            2 => {
                self.asm.store_segment(offset, reg);
                pair("mov", &in_segment(offset), name(W64, reg))
            }
            9 => {
                self.asm.load_segment(reg, offset);
                pair("mov", name(W64, reg), &in_segment(offset))
            }
            3 => {
                self.asm.load_host(reg, base, offset);
                pair("mov", name(W64, reg), &at)
            }
            4 => {
                let target = self.below(BEFORE_MAX);
                self.asm.add_literal(reg, target);
                let behind = i64::from(self.asm.offset());
                let distance = (i64::from(target) - behind) as i32;
                pair("add", name(W64, reg), &place("rip", distance))
            }
            _ => {
                let ahead = self.below(1 << 16);
                self.asm.lea_ahead(reg, ahead);
                pair("lea", name(W64, reg), &place("rip", ahead as i32))
            }
        }
    }

    /// A guest address, the instruction before it, and how it is shown.
    fn guest_address(&mut self) -> (Address, String, String) {
        let (base, offset) = (self.reg(), self.imm());
        // The scratch register is no guest's, nor is the stack's.
        let base = if base == RSP || base == RCX {
            RBX
        } else {
            base
        };
        let some = self.below(4) > 0;
        let at = Address {
            base: some.then_some(base),
            offset,
        };
        let (before, place) = match (some, base, offset) {
            (false, _, 0..) => (String::new(), format!("gs:[{offset:#x}]")),
            (false, _, _) => (format!("mov ecx, {offset:#x}; "), "gs:[rcx]".into()),
            (true, RBP, _) => (String::new(), format!("gs:{}", place("ebp", offset))),
            (true, _, 0) => (format!("mov ecx, {}; ", name(W32, base)), "gs:[rcx]".into()),
            (true, _, _) => {
                let sum = place(name(W64, base), offset);
                (format!("lea ecx, {sum}; "), "gs:[rcx]".into())
            }
        };
        (at, before, place)
    }

    fn accesses(&mut self) -> String {
        let reg = self.reg();
        let reg = if reg == RCX { RDX } else { reg };
        let (at, before, place) = self.guest_address();
        let value = self.imm();
        let (len, size) = self.pick(&[(1, "byte"), (2, "word"), (4, "dword"), (8, "qword")]);
        let number = usize::from(reg);
        match self.below(3) {
            0 => {
                let (load, text) = self.pick(&LOADS);
                self.asm.load_guest(load, reg, at);
                let text = text.replace("{32}", NAMES_32[number]);
                let text = text.replace("{64}", NAMES_64[number]);
                before + &text.replace("{at}", &place)
            }
            1 => {
                self.asm.store_guest(len, reg, at);
                let names = match len {
                    1 => NAMES_8,
                    2 => NAMES_16,
                    4 => NAMES_32,
                    _ => NAMES_64,
                };
                before + &pair("mov", &place, names[number])
            }
            _ => {
                self.asm.store_guest_imm(len, value, at);
                let value = match len {
                    1 => format!("{:#x}", value as u8),
                    2 => format!("{:#x}", value as u16),
                    4 => format!("{value:#x}"),
                    _ => shown(W64, value),
                };
                before + &pair("mov", &format!("{size} ptr {place}"), &value)
            }
        }
    }

    fn stack_and_registers(&mut self) -> String {
        let (reg, value) = (self.reg(), self.imm());
        let wide = name(W64, reg);
        match self.below(13) {
            11 => {
                let place = self.below(6) as Reg;
                self.asm.park(place, reg);
                pair("movq", &format!("xmm{place}"), wide)
            }
            12 => {
                let place = self.below(6) as Reg;
                self.asm.unpark(reg, place);
                pair("movq", wide, &format!("xmm{place}"))
            }
            10 => {
                let start = self.asm.offset();
                self.asm.align(16);
                let len = (self.asm.offset() - start) as usize;
                let whole = std::iter::repeat_n(NOPS[7], len / 8);
                let rest = NOPS.get((len % 8).wrapping_sub(1)).copied();
                whole.chain(rest).collect::<Vec<_>>().join("; ")
            }
            8 => {
                let (base, index, sum) = self.sum();
                self.asm.jump_through_sum(base, index);
                format!("jmp qword ptr {sum}")
            }
            9 => {
                // Data stand for the instruction of the same bytes.
                self.asm.data(0x9090_9090u32 as i32);
                ["nop"; 4].join("; ")
            }
            0 => {
                self.asm.push(reg);
                format!("push {wide}")
            }
            1 => {
                self.asm.push_imm(value);
                format!("push {}", shown(W64, value))
            }
            2 => {
                self.asm.pop(reg);
                format!("pop {wide}")
            }
            3 => {
                self.asm.ret();
                "ret".into()
            }
            4 => {
                self.asm.jump_reg(reg);
                format!("jmp {wide}")
            }
            5 => {
                let reg = if matches!(reg & 7, RSP | RBP) {
                    RAX
                } else {
                    reg
                };
                self.asm.jump_through(reg);
                format!("jmp qword ptr [{}]", name(W64, reg))
            }
            6 => {
                self.asm.read_gs_base(reg);
                format!("rdgsbase {wide}")
            }
            _ => {
                self.asm.write_gs_base(reg);
                format!("wrgsbase {wide}")
            }
        }
    }

    fn jumps(&mut self) -> String {
        let (condition, suffix) = self.pick(&CONDITIONS);
        let back = self.below(self.asm.offset() + 1);
        let ahead = self.below(BEFORE_MAX);
        let to = |target: u32| format!("{:#x}", CODE_START + u64::from(target));
        let asm = &mut self.asm;
        match (self.choose)(10) {
            0 => {
                asm.call(ahead);
                format!("call {}", to(ahead))
            }
            1 => {
                asm.jump(ahead);
                format!("jmp {}", to(ahead))
            }
            2 => {
                asm.jump_back(back);
                format!("jmp {}", to(back))
            }
            3 => {
                asm.jump_back_if(condition, back);
                format!("j{suffix} {}", to(back))
            }
            4 => {
                let site = asm.jump_ahead(7);
                asm.patch(site, ahead);
                format!("jmp {}", to(ahead))
            }
            5 => {
                let site = asm.jump_ahead_if(condition, 7);
                asm.patch(site, ahead);
                format!("j{suffix} {}", to(ahead))
            }
            6 => {
                asm.jump_back(back);
                let end = asm.offset();
                let moved = (back + ahead % 13).min(end - 1);
                asm.move_jump_back(end, back, moved);
                format!("jmp {}", to(moved))
            }
            7 => {
                let start = asm.offset();
                let site = asm.sub_rax_patchable();
                asm.jump_ahead_if(condition, 7);
                assert_eq!(asm.behind_cleared(start), start);
                asm.clear_charge(site);
                assert_eq!(asm.behind_cleared(start), asm.offset());
                "nop [rax+rax]".into()
            }
            _ => {
                let opcode = [0x70 | condition as u8, 0xe3, 0xeb][(ahead % 3) as usize];
                let skip = asm.skip(opcode);
                asm.mov(RAX, RBX);
                asm.land(skip);
                let conditional = format!("j{suffix}");
                let text = [&conditional, "jrcxz", "jmp"][(ahead % 3) as usize];
                format!("{text} {}; mov rax, rbx", to(asm.offset()))
            }
        }
    }
}

/// An instruction, chosen with its operands: its bytes, the address of the first, and what
/// a disassembler shows for them in Intel's syntax, instructions apart by `; `. `None` when the
/// system gives no memory for code.
pub fn case(choose: Choose) -> Option<(Vec<u8>, u64, String)> {
    let asm = Assembler {
        buffer: Buffer::new(1024)?,
    };
    let mut maker = Maker { asm, choose };
    for _ in 0..maker.below(BEFORE_MAX) {
        maker.asm.put(0x90, 1);
    }
    let start = maker.asm.offset();
    let text = match maker.below(GROUPS) {
        0 => maker.moves(),
        1 => maker.arithmetic(),
        2 => maker.shifts(),
        3 => maker.extensions(),
        4 => maker.conditions(),
        5 => maker.addresses(),
        6 => maker.accesses(),
        7 => maker.stack_and_registers(),
        _ => maker.jumps(),
    };
    let end = maker.asm.offset();
    let bytes = (start..end)
        .map(|at| maker.asm.buffer.read_byte(at))
        .collect();
    Some((bytes, CODE_START + u64::from(start), text))
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_instruction_has_a_case() {
        let (asm, cases) = (include_str!("../assembler.rs"), include_str!("cases.rs"));
        let functions = asm.split("    pub fn ").skip(1);
        let names: Vec<&str> = functions
            .filter_map(|text| text.split('(').next())
            .collect();
        assert!(names.len() > 40, "the assembler's instructions are found");
        for name in names {
            let called = cases.contains(&format!("asm.{name}("));
            assert!(
                called,
                "{name} has no case: show what a disassembler makes of it"
            );
        }
    }
}
