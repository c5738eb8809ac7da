//! Test programs in the manner of the RISC-V architecture tests: for each instruction, code that
//! runs it on chosen registers and operands and stores what it leaves behind in a signature.

use std::fmt::Write as _;

/// Registers that a guest has, x0 apart.
const REGISTERS: [u8; 13] = [1, 2, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// What an instruction's cases look like.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `op rd, rs1, rs2`.
    Registers,
    /// `op rd, rs1, imm` with 12 bits, signed.
    Immediate,
    /// `op rd, rs1, shamt` with so many bits.
    Shift(u32),
    /// `op rd, rs1`.
    Unary,
    /// `lui rd, imm`.
    Upper,
    /// Load of so many bytes.
    Load(i64),
    /// Store of so many bytes.
    Store(i64),
    Branch,
    /// `jal`, `jalr`, `call`, `la` of code, by a body of its own.
    Jump,
    /// Instructions without effect here.
    Fence,
}

/// Every instruction of I (as E), M, Zba, Zbb and Zbs, with its extension.
pub const INSTRUCTIONS: &[(&str, Kind, &str)] = &[
    (
        "I",
        Kind::Registers,
        "add sub sll slt sltu xor srl sra or and addw subw sllw srlw sraw",
    ),
    ("I", Kind::Immediate, "addi slti sltiu xori ori andi addiw"),
    ("I", Kind::Shift(6), "slli srli srai"),
    ("I", Kind::Shift(5), "slliw srliw sraiw"),
    ("I", Kind::Upper, "lui"),
    ("I", Kind::Load(1), "lb lbu"),
    ("I", Kind::Load(2), "lh lhu"),
    ("I", Kind::Load(4), "lw lwu"),
    ("I", Kind::Load(8), "ld"),
    ("I", Kind::Store(1), "sb"),
    ("I", Kind::Store(2), "sh"),
    ("I", Kind::Store(4), "sw"),
    ("I", Kind::Store(8), "sd"),
    ("I", Kind::Branch, "beq bne blt bge bltu bgeu"),
    ("I", Kind::Jump, "jal jalr auipc"),
    ("I", Kind::Fence, "fence"),
    (
        "M",
        Kind::Registers,
        "mul mulh mulhsu mulhu div divu rem remu mulw divw divuw remw remuw",
    ),
    (
        "Zba",
        Kind::Registers,
        "add.uw sh1add sh1add.uw sh2add sh2add.uw sh3add sh3add.uw",
    ),
    ("Zba", Kind::Shift(6), "slli.uw"),
    (
        "Zbb",
        Kind::Registers,
        "andn orn xnor max maxu min minu rol rolw ror rorw",
    ),
    ("Zbb", Kind::Shift(6), "rori"),
    ("Zbb", Kind::Shift(5), "roriw"),
    (
        "Zbb",
        Kind::Unary,
        "clz clzw ctz ctzw cpop cpopw sext.b sext.h zext.h orc.b rev8",
    ),
    ("Zbs", Kind::Registers, "bclr bext binv bset"),
    ("Zbs", Kind::Shift(6), "bclri bexti binvi bseti"),
];

/// Names of all instructions under test with their kind, in order.
pub fn instructions() -> impl Iterator<Item = (&'static str, Kind)> {
    let rows = INSTRUCTIONS.iter();
    rows.flat_map(|(_, kind, names)| names.split_whitespace().map(|name| (name, *kind)))
}

/// Values at the corners, with every bit once set alone and once cleared alone.
fn values() -> Vec<u64> {
    let mut values = vec![
        0,
        1,
        2,
        u64::MAX,
        u64::MAX - 1,
        i64::MAX as u64,
        i64::MIN as u64,
        0x5555_5555_5555_5555,
        0xaaaa_aaaa_aaaa_aaaa,
        0x3333_3333_3333_3333,
        0x6666_6666_6666_6666,
        0xb504_f333,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        0x1_0000_0000,
        0xffff_ffff_8000_0000,
        0xffff_ffff_7fff_ffff,
        0x8000_0000_8000_0000,
        0x0123_4567_89ab_cdef,
        0xff00_00ff_8000_7f01,
    ];
    values.extend((0..64).map(|bit| 1 << bit));
    values.extend((0..64).map(|bit| !(1u64 << bit)));
    values
}

/// Small deterministic numbers (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
}

/// The text of one instruction's function, and its part of the signature.
pub struct Test {
    pub text: String,
    /// Bytes of signature it fills.
    pub signature: usize,
    /// Operands it loads.
    operands: Vec<u64>,
    name: String,
    random: Random,
    cases: usize,
}

/// Where the linker script puts the signatures, one behind the other.
pub const SIGNATURE: u64 = 0x5000_0000;

impl Test {
    pub fn new(name: &str, kind: Kind) -> Test {
        let seed = name
            .bytes()
            .fold(7u64, |sum, byte| sum * 31 + u64::from(byte));
        let mut test = Test {
            text: String::new(),
            signature: 0,
            operands: Vec::new(),
            name: name.into(),
            random: Random(seed),
            cases: 0,
        };
        match kind {
            Kind::Registers => test.registers(),
            Kind::Immediate => test.immediates(&[
                -2048, -2047, -1025, -256, -129, -128, -65, -64, -33, -32, -2, -1, 0, 1, 2, 3, 31,
                32, 63, 64, 127, 128, 255, 256, 1023, 1024, 1365, 2046, 2047,
            ]),
            Kind::Shift(bits) => test.immediates(&(0..1 << bits).collect::<Vec<_>>()),
            Kind::Unary => test.unary(),
            Kind::Upper => test.upper(),
            Kind::Load(size) => test.loads(size),
            Kind::Store(size) => test.stores(size),
            Kind::Branch => test.branches(),
            Kind::Jump => test.jumps(),
            Kind::Fence => test.fence(),
        }
        test
    }

    /// Registers other than x0 and these.
    fn others(&self, taken: &[u8]) -> Vec<u8> {
        let free = REGISTERS.iter().copied();
        free.filter(|reg| !taken.contains(reg)).collect()
    }

    fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    /// Stores registers in the signature, through a base that isn't one of them; the others are
    /// dead then, or not.
    fn store(&mut self, regs: &[u8]) {
        let free = self.others(regs);
        let base = self.random.pick(&free);
        let at = self.signature;
        self.line(&format!("la x{base}, sig_{}+{at}", self.label()));
        for (index, reg) in regs.iter().enumerate() {
            self.line(&format!("sd x{reg}, {}(x{base})", 8 * index));
        }
        self.signature += 8 * regs.len();
    }

    fn label(&self) -> String {
        self.name.replace('.', "_")
    }

    /// Gives registers values: as constants in every other case, else from memory that may be
    /// written, which nobody can know before.
    fn load(&mut self, regs: &[(u8, u64)]) {
        self.cases += 1;
        if self.cases.is_multiple_of(2) {
            for (reg, value) in regs.iter().filter(|(reg, _)| *reg != 0) {
                self.line(&format!("li x{reg}, {}", *value as i64));
            }
            return;
        }
        let taken: Vec<u8> = regs.iter().map(|(reg, _)| *reg).collect();
        let free = self.others(&taken);
        let base = self.random.pick(&free);
        let at = 8 * self.operands.len();
        self.line(&format!("la x{base}, ops_{}+{at}", self.label()));
        for (index, (reg, value)) in regs.iter().enumerate() {
            if *reg != 0 {
                self.line(&format!("ld x{reg}, {}(x{base})", 8 * index));
            }
            self.operands.push(*value);
        }
    }

    /// Runs `op` and stores its result; in some cases also its operands and a bystander, which
    /// must be as before.
    fn case(&mut self, rd: u8, sources: &[(u8, u64)], op: &str) {
        let mut set = sources.to_vec();
        let mut taken: Vec<u8> = sources.iter().map(|(reg, _)| *reg).collect();
        taken.push(rd);
        let free = self.others(&taken);
        let witness = self.random.pick(&free);
        let all = self.random.below(3) == 0;
        if all {
            set.push((witness, 0x5ca1_ab1e_0000_0000 | u64::from(witness)));
        }
        // A register of two operands has the second's value.
        self.load(&set);
        self.line(op);
        let mut out = vec![rd];
        if all {
            out.extend(sources.iter().map(|(reg, _)| *reg));
            out.push(witness);
        }
        self.store(&out);
    }

    fn pair(&mut self, rd: u8, rs1: u8, rs2: u8, a: u64, b: u64) {
        let op = format!("{} x{rd}, x{rs1}, x{rs2}", self.name);
        self.case(rd, &[(rs1, a), (rs2, b)], &op);
    }

    fn any_register(&mut self) -> u8 {
        self.random.pick(&REGISTERS)
    }

    fn registers(&mut self) {
        let values = values();
        let all: Vec<u8> = std::iter::once(0).chain(REGISTERS).collect();
        // Every register in every place, x0 too, and every kind of alias.
        for place in 0..3 {
            for reg in &all {
                let mut regs = [
                    self.any_register(),
                    self.any_register(),
                    self.any_register(),
                ];
                regs[place] = *reg;
                let (a, b) = (self.random.pick(&values), self.random.pick(&values));
                self.pair(regs[0], regs[1], regs[2], a, b);
            }
        }
        for reg in REGISTERS {
            let other = self.others(&[reg])[self.random.below(12)];
            for [rd, rs1, rs2] in [
                [reg, reg, other],
                [reg, other, reg],
                [other, reg, reg],
                [reg, reg, reg],
            ] {
                let (a, b) = (self.random.pick(&values), self.random.pick(&values));
                self.pair(rd, rs1, rs2, a, b);
            }
        }
        // Every value on either side, and corners with corners.
        for value in &values {
            for turned in [false, true] {
                let (other, regs) = (self.random.pick(&values), self.distinct());
                let (a, b) = if turned {
                    (other, *value)
                } else {
                    (*value, other)
                };
                self.pair(regs[0], regs[1], regs[2], a, b);
            }
        }
        let corners = [
            0,
            1,
            u64::MAX,
            i64::MAX as u64,
            i64::MIN as u64,
            0x7fff_ffff,
        ];
        for a in corners
            .into_iter()
            .chain([0x8000_0000, 0xffff_ffff_8000_0000])
        {
            for b in corners.into_iter().chain([0x8000_0000, 0xffff_ffff]) {
                let regs = self.distinct();
                self.pair(regs[0], regs[1], regs[2], a, b);
            }
        }
    }

    /// Three registers, mostly distinct.
    fn distinct(&mut self) -> [u8; 3] {
        let first = self.any_register();
        let second = self.random.pick(&self.others(&[first]));
        let third = self.random.pick(&self.others(&[first, second]));
        [first, second, third]
    }

    fn immediates(&mut self, immediates: &[i64]) {
        let values = values();
        let all: Vec<u8> = std::iter::once(0).chain(REGISTERS).collect();
        let name = self.name.clone();
        let run = |test: &mut Test, rd: u8, rs1: u8, a: u64, imm: i64| {
            test.case(rd, &[(rs1, a)], &format!("{name} x{rd}, x{rs1}, {imm}"));
        };
        for imm in immediates {
            for _ in 0..4 {
                let (rd, rs1) = (self.random.pick(&all), self.random.pick(&all));
                let a = self.random.pick(&values);
                run(self, rd, rs1, a, *imm);
            }
        }
        for reg in &all {
            let imm = self.random.pick(immediates);
            let (other, a) = (self.any_register(), self.random.pick(&values));
            run(self, *reg, other, a, imm);
            run(self, other, *reg, a, imm);
            run(self, *reg, *reg, a, imm);
        }
        for value in &values {
            let imm = self.random.pick(immediates);
            let regs = self.distinct();
            run(self, regs[0], regs[1], *value, imm);
        }
    }

    fn unary(&mut self) {
        let mut values = values();
        values.extend((0..64).map(|bits| u64::MAX >> bits));
        values.extend((0..64).map(|bits| u64::MAX << bits));
        values.extend((0..64).map(|byte| 0x80 << (byte % 8 * 8) | 1 << (byte / 8 * 8)));
        for value in values {
            let regs = self.distinct();
            let op = format!("{} x{}, x{}", self.name, regs[0], regs[1]);
            self.case(regs[0], &[(regs[1], value)], &op);
        }
        for reg in std::iter::once(0).chain(REGISTERS) {
            let value = self.random.next();
            let other = self.random.pick(&self.others(&[reg]));
            for (rd, rs1) in [(reg, other), (other, reg), (reg, reg)] {
                let op = format!("{} x{rd}, x{rs1}", self.name);
                self.case(rd, &[(rs1, value)], &op);
            }
        }
    }

    fn upper(&mut self) {
        let bits = (0..20).map(|bit| 1u32 << bit);
        let corners = [0, 0xfffff, 0x7ffff, 0x80000, 0x55555, 0xaaaaa, 0x12345];
        for value in bits.chain(corners) {
            let rd = self.any_register();
            self.case(rd, &[], &format!("lui x{rd}, {value}"));
        }
        for rd in std::iter::once(0).chain(REGISTERS) {
            self.case(rd, &[], &format!("lui x{rd}, {}", 0x80001 + u32::from(rd)));
        }
    }

    /// Offsets at the corners and around multiples of a size, so that every alignment occurs.
    fn offsets(size: i64) -> Vec<i64> {
        let mut offsets = vec![-2048, -2047, -1000, -257, 0, 255, 256, 1023, 2046, 2047];
        offsets.extend((-8..8).map(|offset| offset * size));
        offsets.extend(-8..16);
        offsets
    }

    fn loads(&mut self, size: i64) {
        // Bytes with and without their top bit, each at every alignment.
        let base_at = 4096;
        while self.operands.len() * 8 < 2 * base_at {
            let bytes = self.random.next();
            self.operands.push(bytes);
        }
        for offset in Test::offsets(size) {
            for same in [false, true] {
                let [rd, rs1, _] = self.distinct();
                let rd = if same { rs1 } else { rd };
                self.one_load(rd, rs1, base_at as i64, offset);
            }
        }
        for reg in REGISTERS {
            let other = self.random.pick(&self.others(&[reg]));
            self.one_load(reg, other, base_at as i64, 8);
            self.one_load(other, reg, base_at as i64, -8);
            self.one_load(0, reg, base_at as i64, 1);
        }
    }

    fn one_load(&mut self, rd: u8, rs1: u8, base_at: i64, offset: i64) {
        let label = self.label();
        self.line(&format!("la x{rs1}, ops_{label}+{base_at}"));
        // An address that isn't known before, in every other case.
        self.cases += 1;
        if self.cases.is_multiple_of(2) {
            let free = self.others(&[rs1]);
            let hidden = self.random.pick(&free);
            self.line(&format!("la x{hidden}, nought"));
            self.line(&format!("ld x{hidden}, 0(x{hidden})"));
            self.line(&format!("add x{rs1}, x{rs1}, x{hidden}"));
        }
        self.line(&format!("{} x{rd}, {offset}(x{rs1})", self.name));
        self.store(&[rd]);
    }

    fn stores(&mut self, size: i64) {
        let values = values();
        let mut offsets = Test::offsets(size);
        offsets.extend([8; 26]);
        for (index, offset) in offsets.into_iter().enumerate() {
            let [mut rs2, mut rs1, _] = self.distinct();
            if let Some(index) = index.checked_sub(50) {
                rs1 = REGISTERS[index % 13];
                rs2 = if index % 3 == 0 { 0 } else { rs2 };
            } else if index % 7 == 0 {
                rs2 = rs1;
            }
            // A window of 32 bytes in the signature, the store somewhere in its middle.
            let at = self.signature as i64 + 8 - offset;
            let value = self.random.pick(&values);
            self.load(&[(if rs2 == rs1 { 0 } else { rs2 }, value)]);
            self.line(&format!("la x{rs1}, sig_{}+{at}", self.label()));
            self.line(&format!("{} x{rs2}, {offset}(x{rs1})", self.name));
            self.signature += 32;
        }
    }

    fn branches(&mut self) {
        let values = [
            0,
            1,
            2,
            u64::MAX,
            i64::MAX as u64,
            i64::MIN as u64,
            0x7fff_ffff,
            0x8000_0000,
            0xffff_ffff_8000_0000,
        ];
        for a in values {
            for b in values {
                let [rs1, rs2, mark] = self.distinct();
                self.branch(rs1, rs2, mark, a, b, 1);
            }
        }
        for reg in std::iter::once(0).chain(REGISTERS) {
            let [_, _, mark] = self.distinct();
            let (mark, a, b) = match mark == reg {
                true => (self.random.pick(&self.others(&[reg])), 5, 5),
                false => (mark, self.random.pick(&values), self.random.pick(&values)),
            };
            let other = self.random.pick(&self.others(&[reg, mark]));
            self.branch(reg, other, mark, a, b, 1);
            self.branch(other, reg, mark, a, b, 2);
            self.branch(reg, reg, mark, a, a, 1);
        }
        // Offsets of every length that a branch of the machine has.
        for gap in [10, 40, 100, 900] {
            let [rs1, rs2, mark] = self.distinct();
            for (a, b) in [(1, 1), (1, 2), (2, 1)] {
                self.branch(rs1, rs2, mark, a, b, gap);
            }
        }
    }

    /// A branch over `gap` instructions, and one back over as many.
    fn branch(&mut self, rs1: u8, rs2: u8, mark: u8, a: u64, b: u64, gap: usize) {
        self.load(&[(rs1, a), (rs2, b)]);
        let name = self.name.clone();
        let skip = format!(".rept {gap}\naddi x{mark}, x{mark}, 2\n.endr");
        self.line(&format!(
            "li x{mark}, 0\n{name} x{rs1}, x{rs2}, 1f\n{skip}\n1:"
        ));
        self.line(&format!("j 2f\n1: addi x{mark}, x{mark}, 1024\nj 3f"));
        self.line(&format!("{skip}\n2: {name} x{rs1}, x{rs2}, 1b"));
        self.line(&format!("addi x{mark}, x{mark}, 512\n3:"));
        self.store(&[mark]);
    }

    /// Calls through every register, there and back; the link's value itself isn't compared,
    /// since code has no addresses in the machine.
    fn jumps(&mut self) {
        for link in REGISTERS {
            let free = self.others(&[link]);
            let (mark, target) = (free[0], free[1]);
            let call = match self.name.as_str() {
                "jal" => format!("jal x{link}, 1f"),
                "jalr" => format!("la x{target}, 1f\njalr x{link}, 0(x{target})"),
                _ => format!("la x{link}, 1f\njalr x{link}, 0(x{link})"),
            };
            self.line(&format!(
                "li x{mark}, 1\n{call}\naddi x{mark}, x{mark}, 2\nj 2f"
            ));
            self.line(&format!("addi x{mark}, x{mark}, 4"));
            self.line(&format!("1: addi x{mark}, x{mark}, 8\njalr x0, 0(x{link})"));
            self.line(&format!("addi x{mark}, x{mark}, 16\n2:"));
            self.store(&[mark]);
            // Without a link, ahead and back.
            self.line(&format!(
                "li x{mark}, 1\nj 2f\n1: addi x{mark}, x{mark}, 2\nj 3f"
            ));
            self.line(&format!("2: la x{link}, 1b\njr x{link}\n3:"));
            self.store(&[mark]);
        }
    }

    fn fence(&mut self) {
        for text in ["fence", "fence rw, rw", "fence r, w", "fence.tso"] {
            let [rd, _, _] = self.distinct();
            self.case(rd, &[(rd, 77)], text);
        }
    }

    /// The whole function `test_NAME`, with its operands and signature.
    pub fn source(&self, index: usize) -> String {
        let (label, mut out) = (self.label(), String::new());
        let operands: Vec<String> = self.operands.iter().map(u64::to_string).collect();
        write!(
            out,
            "test {label} {index}\n{}\nla t0, saved\nld ra, 0(t0)\nld sp, 8(t0)\nret\n\
             .data\n.balign 8\nops_{label}:\n",
            self.text
        )
        .expect("strings grow");
        for chunk in operands.chunks(16) {
            writeln!(out, ".quad {}", chunk.join(",")).expect("strings grow");
        }
        let size = self.signature;
        write!(
            out,
            ".section .signature, \"aw\", @nobits\nsig_{label}: .zero {size}\n.text\n"
        )
        .expect("strings grow");
        out
    }
}
