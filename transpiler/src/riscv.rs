//! RISC-V `rv64em` with Zba, Zbb and Zbs: decoding, names, arithmetic.

use std::fmt;

/// A RISC-V register number; `rv64e` has x0..x15.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reg(pub u8);

impl Reg {
    pub(crate) const ZERO: Reg = Reg(0);
    const NAMES: [&'static str; 32] = [
        "zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4",
        "a5", "a6", "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4",
        "t5", "t6",
    ];

    /// The PVM register that holds it; `None` for x0 and for registers that guests may not use.
    pub(crate) fn pvm(self) -> Option<u8> {
        match self.0 {
            1 => Some(0),
            2 => Some(1),
            5..=15 => Some(self.0 - 3),
            _ => None,
        }
    }

    /// Whether an instruction naming it has a translation.
    pub(crate) fn is_usable(self) -> bool {
        self == Reg::ZERO || self.pvm().is_some()
    }
}

impl fmt::Display for Reg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Reg::NAMES[usize::from(self.0 & 31)])
    }
}

/// Declares an enum of operations with their assembler names.
macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name { $($variant,)* }
        impl $name {
            pub(crate) fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }
    };
}

named! {
    /// Operations on two values; the immediate forms are the same operation.
    Alu {
        Add = "add", Sub = "sub", Sll = "sll", Slt = "slt", Sltu = "sltu", Xor = "xor", Srl = "srl",
        Sra = "sra", Or = "or", And = "and", Addw = "addw", Subw = "subw", Sllw = "sllw",
        Srlw = "srlw", Sraw = "sraw", Mul = "mul", Mulh = "mulh", Mulhsu = "mulhsu",
        Mulhu = "mulhu", Div = "div", Divu = "divu", Rem = "rem", Remu = "remu", Mulw = "mulw",
        Divw = "divw", Divuw = "divuw", Remw = "remw", Remuw = "remuw", AddUw = "add.uw",
        Sh1add = "sh1add", Sh2add = "sh2add", Sh3add = "sh3add", Sh1addUw = "sh1add.uw",
        Sh2addUw = "sh2add.uw", Sh3addUw = "sh3add.uw", SllUw = "slli.uw", Andn = "andn",
        Orn = "orn", Xnor = "xnor", Max = "max", Maxu = "maxu", Min = "min", Minu = "minu",
        Rol = "rol", Ror = "ror", Rolw = "rolw", Rorw = "rorw", Bclr = "bclr", Bext = "bext",
        Binv = "binv", Bset = "bset",
    }
}

named! {
    /// Operations on one value.
    Unary {
        Clz = "clz", Clzw = "clzw", Ctz = "ctz", Ctzw = "ctzw", Cpop = "cpop", Cpopw = "cpopw",
        SextB = "sext.b", SextH = "sext.h", ZextH = "zext.h", Rev8 = "rev8", OrcB = "orc.b",
    }
}

named! {
    /// Conditions of a branch.
    Cond { Eq = "beq", Ne = "bne", Lt = "blt", Ge = "bge", Ltu = "bltu", Geu = "bgeu", }
}

named! {
    /// Widths of a load, with the kind of extension.
    Load { B = "lb", H = "lh", W = "lw", D = "ld", Bu = "lbu", Hu = "lhu", Wu = "lwu", }
}

named! {
    /// Widths of a store.
    Store { B = "sb", H = "sh", W = "sw", D = "sd", }
}

/// The second operand of an [`Inst::Alu`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rhs {
    Reg(Reg),
    Imm(i64),
}

/// A decoded instruction. Immediates and offsets are sign-extended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inst {
    Lui {
        rd: Reg,
        imm: i64,
    },
    Auipc {
        rd: Reg,
        imm: i64,
    },
    Jal {
        rd: Reg,
        offset: i64,
    },
    Jalr {
        rd: Reg,
        base: Reg,
        offset: i64,
    },
    Branch {
        cond: Cond,
        a: Reg,
        b: Reg,
        offset: i64,
    },
    Load {
        width: Load,
        rd: Reg,
        base: Reg,
        offset: i64,
    },
    Store {
        width: Store,
        src: Reg,
        base: Reg,
        offset: i64,
    },
    Alu {
        op: Alu,
        rd: Reg,
        a: Reg,
        b: Rhs,
    },
    Unary {
        op: Unary,
        rd: Reg,
        a: Reg,
    },
    Fence,
    Ecall,
    /// `ebreak` and `unimp`.
    Trap,
}

impl Cond {
    /// The condition of a branch's `funct3`.
    fn of(funct3: u32) -> Option<Cond> {
        Some(match funct3 {
            0 => Cond::Eq,
            1 => Cond::Ne,
            4 => Cond::Lt,
            5 => Cond::Ge,
            6 => Cond::Ltu,
            7 => Cond::Geu,
            _ => return None,
        })
    }
}

impl Inst {
    /// Decodes one 32-bit instruction; `None` for what `rv64em` + Zba, Zbb, Zbs doesn't have.
    pub(crate) fn decode(word: u32) -> Option<Inst> {
        let rd = Reg((word >> 7 & 31) as u8);
        let rs1 = Reg((word >> 15 & 31) as u8);
        let rs2 = Reg((word >> 20 & 31) as u8);
        let funct3 = word >> 12 & 7;
        let imm_i = i64::from(word as i32 >> 20);
        Some(match word & 0x7f {
            0x37 => Inst::Lui {
                rd,
                imm: i64::from((word & 0xffff_f000) as i32),
            },
            0x17 => Inst::Auipc {
                rd,
                imm: i64::from((word & 0xffff_f000) as i32),
            },
            0x6f => Inst::Jal {
                rd,
                offset: jal_offset(word),
            },
            0x67 if funct3 == 0 => Inst::Jalr {
                rd,
                base: rs1,
                offset: imm_i,
            },
            0x63 => {
                let cond = Cond::of(funct3)?;
                Inst::Branch {
                    cond,
                    a: rs1,
                    b: rs2,
                    offset: branch_offset(word),
                }
            }
            0x03 => {
                let width = [
                    Load::B,
                    Load::H,
                    Load::W,
                    Load::D,
                    Load::Bu,
                    Load::Hu,
                    Load::Wu,
                ];
                Inst::Load {
                    width: *width.get(funct3 as usize)?,
                    rd,
                    base: rs1,
                    offset: imm_i,
                }
            }
            0x23 => {
                let width = [Store::B, Store::H, Store::W, Store::D];
                let offset = i64::from(word as i32 >> 25 << 5) | i64::from(rd.0);
                Inst::Store {
                    width: *width.get(funct3 as usize)?,
                    src: rs2,
                    base: rs1,
                    offset,
                }
            }
            0x13 => return decode_op_imm(word, rd, rs1),
            0x1b => return decode_op_imm_32(word, rd, rs1),
            0x33 => Inst::Alu {
                op: decode_op(word >> 25, funct3)?,
                rd,
                a: rs1,
                b: Rhs::Reg(rs2),
            },
            0x3b if word >> 25 == 0x04 && funct3 == 4 && rs2.0 == 0 => Inst::Unary {
                op: Unary::ZextH,
                rd,
                a: rs1,
            },
            0x3b => Inst::Alu {
                op: decode_op_32(word >> 25, funct3)?,
                rd,
                a: rs1,
                b: Rhs::Reg(rs2),
            },
            0x0f if funct3 == 0 => Inst::Fence,
            0x73 => match word {
                0x0000_0073 => Inst::Ecall,
                0x0010_0073 | 0xc000_1073 => Inst::Trap,
                _ => return None,
            },
            // The assembler's `unimp` where compressed code is allowed.
            _ if word == 0 => Inst::Trap,
            _ => return None,
        })
    }

    /// The registers it names.
    pub(crate) fn registers(&self) -> [Reg; 3] {
        let z = Reg::ZERO;
        match *self {
            Inst::Lui { rd, .. } | Inst::Auipc { rd, .. } | Inst::Jal { rd, .. } => [rd, z, z],
            Inst::Jalr { rd, base, .. } | Inst::Load { rd, base, .. } => [rd, base, z],
            Inst::Branch { a, b, .. } => [a, b, z],
            Inst::Store { src, base, .. } => [src, base, z],
            Inst::Alu {
                rd,
                a,
                b: Rhs::Reg(b),
                ..
            } => [rd, a, b],
            Inst::Alu { rd, a, .. } | Inst::Unary { rd, a, .. } => [rd, a, z],
            Inst::Fence | Inst::Ecall | Inst::Trap => [z, z, z],
        }
    }
}

fn jal_offset(word: u32) -> i64 {
    let imm = (word >> 31 & 1) << 20
        | (word >> 12 & 0xff) << 12
        | (word >> 20 & 1) << 11
        | (word >> 21 & 0x3ff) << 1;
    i64::from((imm << 11) as i32 >> 11)
}

fn branch_offset(word: u32) -> i64 {
    let imm = (word >> 31 & 1) << 12
        | (word >> 7 & 1) << 11
        | (word >> 25 & 0x3f) << 5
        | (word >> 8 & 0xf) << 1;
    i64::from((imm << 19) as i32 >> 19)
}

fn decode_op_imm(word: u32, rd: Reg, a: Reg) -> Option<Inst> {
    let imm = i64::from(word as i32 >> 20);
    let shift = Rhs::Imm(i64::from(word >> 20 & 63));
    let top = word >> 26;
    let alu = |op, b| Some(Inst::Alu { op, rd, a, b });
    let unary = |op| Some(Inst::Unary { op, rd, a });
    match (word >> 12 & 7, top) {
        (0, _) => alu(Alu::Add, Rhs::Imm(imm)),
        (2, _) => alu(Alu::Slt, Rhs::Imm(imm)),
        (3, _) => alu(Alu::Sltu, Rhs::Imm(imm)),
        (4, _) => alu(Alu::Xor, Rhs::Imm(imm)),
        (6, _) => alu(Alu::Or, Rhs::Imm(imm)),
        (7, _) => alu(Alu::And, Rhs::Imm(imm)),
        (1, 0x00) => alu(Alu::Sll, shift),
        (1, 0x0a) => alu(Alu::Bset, shift),
        (1, 0x12) => alu(Alu::Bclr, shift),
        (1, 0x1a) => alu(Alu::Binv, shift),
        (1, _) => match word >> 20 {
            0x600 => unary(Unary::Clz),
            0x601 => unary(Unary::Ctz),
            0x602 => unary(Unary::Cpop),
            0x604 => unary(Unary::SextB),
            0x605 => unary(Unary::SextH),
            _ => None,
        },
        (5, 0x00) => alu(Alu::Srl, shift),
        (5, 0x10) => alu(Alu::Sra, shift),
        (5, 0x12) => alu(Alu::Bext, shift),
        (5, 0x18) => alu(Alu::Ror, shift),
        (5, _) => match word >> 20 {
            0x287 => unary(Unary::OrcB),
            0x6b8 => unary(Unary::Rev8),
            _ => None,
        },
        _ => None,
    }
}

fn decode_op_imm_32(word: u32, rd: Reg, a: Reg) -> Option<Inst> {
    let alu = |op, imm: u32| {
        Some(Inst::Alu {
            op,
            rd,
            a,
            b: Rhs::Imm(i64::from(imm)),
        })
    };
    let unary = |op| Some(Inst::Unary { op, rd, a });
    match (word >> 12 & 7, word >> 25) {
        (0, _) => {
            let imm = i64::from(word as i32 >> 20);
            Some(Inst::Alu {
                op: Alu::Addw,
                rd,
                a,
                b: Rhs::Imm(imm),
            })
        }
        (1, 0x00) => alu(Alu::Sllw, word >> 20 & 31),
        (1, 0x04 | 0x05) => alu(Alu::SllUw, word >> 20 & 63),
        (1, 0x30) => match word >> 20 {
            0x600 => unary(Unary::Clzw),
            0x601 => unary(Unary::Ctzw),
            0x602 => unary(Unary::Cpopw),
            _ => None,
        },
        (5, 0x00) => alu(Alu::Srlw, word >> 20 & 31),
        (5, 0x20) => alu(Alu::Sraw, word >> 20 & 31),
        (5, 0x30) => alu(Alu::Rorw, word >> 20 & 31),
        _ => None,
    }
}

fn decode_op(funct7: u32, funct3: u32) -> Option<Alu> {
    use Alu::*;
    let row = match funct7 {
        0x00 => [Add, Sll, Slt, Sltu, Xor, Srl, Or, And],
        0x01 => [Mul, Mulh, Mulhsu, Mulhu, Div, Divu, Rem, Remu],
        _ => {
            return Some(match (funct7, funct3) {
                (0x20, 0) => Sub,
                (0x20, 5) => Sra,
                (0x20, 7) => Andn,
                (0x20, 6) => Orn,
                (0x20, 4) => Xnor,
                (0x05, 4) => Min,
                (0x05, 5) => Minu,
                (0x05, 6) => Max,
                (0x05, 7) => Maxu,
                (0x30, 1) => Rol,
                (0x30, 5) => Ror,
                (0x10, 2) => Sh1add,
                (0x10, 4) => Sh2add,
                (0x10, 6) => Sh3add,
                (0x24, 1) => Bclr,
                (0x24, 5) => Bext,
                (0x34, 1) => Binv,
                (0x14, 1) => Bset,
                _ => return None,
            });
        }
    };
    Some(row[funct3 as usize])
}

fn decode_op_32(funct7: u32, funct3: u32) -> Option<Alu> {
    Some(match (funct7, funct3) {
        (0x00, 0) => Alu::Addw,
        (0x20, 0) => Alu::Subw,
        (0x00, 1) => Alu::Sllw,
        (0x00, 5) => Alu::Srlw,
        (0x20, 5) => Alu::Sraw,
        (0x01, 0) => Alu::Mulw,
        (0x01, 4) => Alu::Divw,
        (0x01, 5) => Alu::Divuw,
        (0x01, 6) => Alu::Remw,
        (0x01, 7) => Alu::Remuw,
        (0x04, 0) => Alu::AddUw,
        (0x10, 2) => Alu::Sh1addUw,
        (0x10, 4) => Alu::Sh2addUw,
        (0x10, 6) => Alu::Sh3addUw,
        (0x30, 1) => Alu::Rolw,
        (0x30, 5) => Alu::Rorw,
        _ => return None,
    })
}

impl fmt::Display for Inst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Inst::Lui { rd, imm } => write!(f, "lui {rd}, {:#x}", imm >> 12 & 0xf_ffff),
            Inst::Auipc { rd, imm } => write!(f, "auipc {rd}, {:#x}", imm >> 12 & 0xf_ffff),
            Inst::Jal { rd, offset } => write!(f, "jal {rd}, {offset}"),
            Inst::Jalr { rd, base, offset } => write!(f, "jalr {rd}, {offset}({base})"),
            Inst::Branch { cond, a, b, offset } => write!(f, "{} {a}, {b}, {offset}", cond.name()),
            Inst::Load {
                width,
                rd,
                base,
                offset,
            } => {
                write!(f, "{} {rd}, {offset}({base})", width.name())
            }
            Inst::Store {
                width,
                src,
                base,
                offset,
            } => {
                write!(f, "{} {src}, {offset}({base})", width.name())
            }
            Inst::Alu {
                op,
                rd,
                a,
                b: Rhs::Reg(b),
            } => write!(f, "{} {rd}, {a}, {b}", op.name()),
            Inst::Alu {
                op,
                rd,
                a,
                b: Rhs::Imm(imm),
            } => {
                write!(f, "{} {rd}, {a}, {imm}", immediate_name(op))
            }
            Inst::Unary { op, rd, a } => write!(f, "{} {rd}, {a}", op.name()),
            Inst::Fence => f.write_str("fence"),
            Inst::Ecall => f.write_str("ecall"),
            Inst::Trap => f.write_str("unimp"),
        }
    }
}

/// The assembler's name of the immediate form.
fn immediate_name(op: Alu) -> String {
    match op.name() {
        "sltu" => "sltiu".into(),
        name if name.ends_with(".uw") => name.into(),
        name => match name.strip_suffix('w') {
            Some(stem) => format!("{stem}iw"),
            None => format!("{name}i"),
        },
    }
}

fn sext32(value: u32) -> u64 {
    value as i32 as i64 as u64
}

/// The result of `op` as the RISC-V specification defines it; used to fold constants.
pub(crate) fn eval(op: Alu, a: u64, b: u64) -> u64 {
    let (sa, sb) = (a as i64, b as i64);
    let (wa, wb) = (a as u32, b as u32);
    let zext = |v: u64| v & 0xffff_ffff;
    let bit = 1u64 << (b & 63);
    match op {
        Alu::Add => a.wrapping_add(b),
        Alu::Sub => a.wrapping_sub(b),
        Alu::Sll => a << (b & 63),
        Alu::Slt => u64::from(sa < sb),
        Alu::Sltu => u64::from(a < b),
        Alu::Xor => a ^ b,
        Alu::Srl => a >> (b & 63),
        Alu::Sra => (sa >> (b & 63)) as u64,
        Alu::Or => a | b,
        Alu::And => a & b,
        Alu::Addw => sext32(wa.wrapping_add(wb)),
        Alu::Subw => sext32(wa.wrapping_sub(wb)),
        Alu::Sllw => sext32(wa << (wb & 31)),
        Alu::Srlw => sext32(wa >> (wb & 31)),
        Alu::Sraw => (wa as i32 >> (wb & 31)) as i64 as u64,
        Alu::Mul => a.wrapping_mul(b),
        Alu::Mulh => ((i128::from(sa) * i128::from(sb)) >> 64) as u64,
        Alu::Mulhsu => (i128::from(sa).wrapping_mul(i128::from(b)) >> 64) as u64,
        Alu::Mulhu => ((u128::from(a) * u128::from(b)) >> 64) as u64,
        Alu::Div => {
            if b == 0 {
                u64::MAX
            } else {
                sa.wrapping_div(sb) as u64
            }
        }
        Alu::Divu => a.checked_div(b).unwrap_or(u64::MAX),
        Alu::Rem => {
            if b == 0 {
                a
            } else {
                sa.wrapping_rem(sb) as u64
            }
        }
        Alu::Remu => a.checked_rem(b).unwrap_or(a),
        Alu::Mulw => sext32(wa.wrapping_mul(wb)),
        Alu::Divw => {
            if wb == 0 {
                u64::MAX
            } else {
                sext32((wa as i32).wrapping_div(wb as i32) as u32)
            }
        }
        Alu::Divuw => wa.checked_div(wb).map_or(u64::MAX, sext32),
        Alu::Remw => sext32(if wb == 0 {
            wa
        } else {
            (wa as i32).wrapping_rem(wb as i32) as u32
        }),
        Alu::Remuw => sext32(wa.checked_rem(wb).unwrap_or(wa)),
        Alu::AddUw => zext(a).wrapping_add(b),
        Alu::Sh1add => (a << 1).wrapping_add(b),
        Alu::Sh2add => (a << 2).wrapping_add(b),
        Alu::Sh3add => (a << 3).wrapping_add(b),
        Alu::Sh1addUw => (zext(a) << 1).wrapping_add(b),
        Alu::Sh2addUw => (zext(a) << 2).wrapping_add(b),
        Alu::Sh3addUw => (zext(a) << 3).wrapping_add(b),
        Alu::SllUw => zext(a) << (b & 63),
        Alu::Andn => a & !b,
        Alu::Orn => a | !b,
        Alu::Xnor => !(a ^ b),
        Alu::Max => sa.max(sb) as u64,
        Alu::Maxu => a.max(b),
        Alu::Min => sa.min(sb) as u64,
        Alu::Minu => a.min(b),
        Alu::Rol => a.rotate_left((b & 63) as u32),
        Alu::Ror => a.rotate_right((b & 63) as u32),
        Alu::Rolw => sext32(wa.rotate_left(wb & 31)),
        Alu::Rorw => sext32(wa.rotate_right(wb & 31)),
        Alu::Bclr => a & !bit,
        Alu::Bext => a >> (b & 63) & 1,
        Alu::Binv => a ^ bit,
        Alu::Bset => a | bit,
    }
}

/// The result of a one-operand operation.
pub(crate) fn eval_unary(op: Unary, a: u64) -> u64 {
    match op {
        Unary::Clz => u64::from(a.leading_zeros()),
        Unary::Clzw => u64::from((a as u32).leading_zeros()),
        Unary::Ctz => u64::from(a.trailing_zeros()),
        Unary::Ctzw => u64::from((a as u32).trailing_zeros()),
        Unary::Cpop => u64::from(a.count_ones()),
        Unary::Cpopw => u64::from((a as u32).count_ones()),
        Unary::SextB => a as i8 as i64 as u64,
        Unary::SextH => a as i16 as i64 as u64,
        Unary::ZextH => a & 0xffff,
        Unary::Rev8 => a.swap_bytes(),
        Unary::OrcB => u64::from_le_bytes(a.to_le_bytes().map(|b| if b == 0 { 0 } else { 0xff })),
    }
}
