//! Every arithmetic instruction against results computed by QEMU, in every arrangement of
//! registers that has a translation of its own.

mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use common::guest;
use serde_json::Value;

/// One row: operation, operands, result.
struct Row {
    op: String,
    a: u64,
    b: u64,
    expected: u64,
}

const UNARY: [&str; 11] = [
    "sext.b", "sext.h", "zext.h", "orc.b", "cpop", "cpopw", "clz", "clzw", "ctz", "ctzw", "rev8",
];
const IMMEDIATE: [&str; 18] = [
    "addi", "addiw", "andi", "ori", "xori", "slti", "sltiu", "slli", "srli", "srai", "slliw",
    "srliw", "sraiw", "slli.uw", "rori", "roriw", "bexti", "binvi",
];

fn is_immediate(op: &str) -> bool {
    IMMEDIATE.contains(&op) || ["bseti", "bclri"].contains(&op)
}

/// The rows, or `None` with a message where the vectors are absent.
fn rows() -> Option<Vec<Row>> {
    let default = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    let root = std::env::var_os("JAR_VECTORS").map_or(default, PathBuf::from);
    let path = root.join("riscv-alu/alu-vectors.json");
    let Ok(text) = std::fs::read(&path) else {
        eprintln!("SKIPPED: no vectors at {}", path.display());
        return None;
    };
    let value: Value = serde_json::from_slice(&text).unwrap();
    let number = |v: &Value| u64::from_str_radix(&v.as_str().unwrap()[2..], 16).unwrap();
    let row = |row: &Value| Row {
        op: row[0].as_str().unwrap().into(),
        a: number(&row[3]),
        b: number(&row[4]),
        expected: number(&row[5]),
    };
    let rows: Vec<Row> = value["rows"].as_array().unwrap().iter().map(row).collect();
    assert!(rows.len() > 26_000);
    Some(rows)
}

/// Assembler text of functions reached through a table of pointers: the index comes in a5.
#[derive(Default)]
struct Functions {
    text: String,
    table: String,
    count: u64,
}

impl Functions {
    /// Adds a function; answers its index.
    fn add(&mut self, body: &str) -> u64 {
        let index = self.count;
        writeln!(self.text, "f{index}: {body}; ret").unwrap();
        writeln!(self.table, ".quad f{index}").unwrap();
        self.count += 1;
        index
    }

    fn program(&self) -> String {
        format!(
            "endpoint run 0\nla t0, table\nsh3add t0, a5, t0\nld t0, 0(t0)\njr t0\n{}
            .section .rodata\n.balign 8\ntable:\n{}",
            self.text, self.table
        )
    }
}

fn check(functions: &Functions, cases: &[(u64, u64, u64, u64, String)]) {
    let Some(mut guest) = guest(&functions.program()) else {
        return;
    };
    for (function, a, b, expected, what) in cases {
        let got = guest.call(0, &[*a, *b, 0, 0, 0, *function]);
        assert_eq!(got, *expected, "{what}: a {a:#x}, b {b:#x}");
    }
}

#[test]
fn vectors_of_register_operations() {
    let Some(rows) = rows() else { return };
    // a in a0, b in a1. Every register is live at a `ret`, so that scratch registers have
    // to be saved, but for those that are overwritten before.
    let binary = [
        "{op} a2, a0, a1; mv a0, a2",
        "{op} a0, a0, a1",
        "{op} a1, a0, a1; mv a0, a1",
        "mv a2, a0; {op} a1, a2, a1; li a2, 0; mv a0, a1",
        "{op} s0, a0, a1; mv a0, s0; li s0, 0",
    ];
    let unary = ["{op} a2, a0; mv a0, a2", "{op} a0, a0"];
    let mut functions = Functions::default();
    let mut by_op: BTreeMap<String, Vec<(u64, String)>> = BTreeMap::new();
    let mut cases = Vec::new();
    for row in rows.iter().filter(|row| !is_immediate(&row.op)) {
        let forms = by_op.entry(row.op.clone()).or_insert_with(|| {
            let bodies: &[&str] = if UNARY.contains(&row.op.as_str()) {
                &unary
            } else {
                &binary
            };
            let bodies = bodies.iter().map(|body| body.replace("{op}", &row.op));
            bodies.map(|body| (functions.add(&body), body)).collect()
        });
        let case = |(function, body): &(u64, String)| {
            (*function, row.a, row.b, row.expected, body.clone())
        };
        cases.extend(forms.iter().map(case));
    }
    assert_eq!(by_op.len(), 61, "operations: {:?}", by_op.keys());
    check(&functions, &cases);
}

#[test]
fn vectors_of_immediate_operations() {
    let Some(rows) = rows() else { return };
    let mut functions = Functions::default();
    let mut seen: BTreeMap<(String, u64), [u64; 2]> = BTreeMap::new();
    let mut cases = Vec::new();
    for row in rows.iter().filter(|row| is_immediate(&row.op)) {
        let (op, b) = (&row.op, row.b as i64);
        let forms = seen.entry((op.clone(), row.b)).or_insert_with(|| {
            [
                functions.add(&format!("{op} a0, a0, {b}")),
                functions.add(&format!("{op} a1, a0, {b}; mv a0, a1")),
            ]
        });
        for form in forms {
            cases.push((*form, row.a, row.b, row.expected, format!("{op} {b}")));
        }
    }
    check(&functions, &cases);
}

#[test]
fn vectors_with_known_operands() {
    let Some(rows) = rows() else { return };
    let mut functions = Functions::default();
    let mut cases = Vec::new();
    let binary = |row: &&Row| !is_immediate(&row.op) && !UNARY.contains(&row.op.as_str());
    for row in rows.iter().filter(binary).step_by(7) {
        let Row { op, a, b, expected } = row;
        let (ia, ib) = (*a as i64, *b as i64);
        for body in [
            format!("li a1, {ib}; {op} a0, a0, a1"),
            format!("li a1, {ib}; {op} a1, a0, a1; mv a0, a1"),
            format!("li a0, {ia}; {op} a2, a0, a1; mv a0, a2"),
            format!("li a0, {ia}; li a1, {ib}; {op} a0, a0, a1"),
        ] {
            // The registers hold something else, so that only the constants can be right.
            let (x, y) = match body.matches("li ").count() {
                2 => (!a, !b),
                _ if body.starts_with("li a1") => (*a, !b),
                _ => (!a, *b),
            };
            cases.push((functions.add(&body), x, y, *expected, body));
        }
    }
    check(&functions, &cases);
}

/// x0 as an operand gives what a register with 0 gives.
#[test]
fn x0_is_zero_in_every_operation() {
    let ops = "add sub sll slt sltu xor srl sra or and addw subw sllw srlw sraw mul mulh mulhsu \
        mulhu div divu rem remu mulw divw divuw remw remuw add.uw sh1add sh2add sh3add \
        sh1add.uw sh2add.uw sh3add.uw andn orn xnor max maxu min minu rol ror rolw rorw bclr \
        bext binv bset";
    let mut functions = Functions::default();
    let mut pairs = Vec::new();
    for op in ops.split_whitespace() {
        for (with_x0, with_register) in [
            ("{op} a2, x0, a0; mv a0, a2", "{op} a2, a1, a0; mv a0, a2"),
            ("{op} a2, a0, x0; mv a0, a2", "{op} a2, a0, a1; mv a0, a2"),
            ("{op} a0, x0, a0", "{op} a0, a1, a0"),
            ("{op} a0, a0, x0", "{op} a0, a0, a1"),
            ("{op} a0, x0, x0", "{op} a0, a1, a1"),
            ("{op} x0, a0, a0", ""),
        ] {
            let mut add = |body: &str| functions.add(&body.replace("{op}", op));
            pairs.push((
                add(with_x0),
                add(with_register),
                with_x0.replace("{op}", op),
            ));
        }
    }
    let Some(mut guest) = guest(&functions.program()) else {
        return;
    };
    for (with_x0, with_register, what) in pairs {
        for a in [
            0,
            1,
            5,
            63,
            64,
            0x7f,
            u64::MAX,
            1 << 63,
            (1 << 63) - 1,
            1 << 31,
            0xffff_ffff,
            1 << 32,
        ] {
            let got = guest.call(0, &[a, 0, 0, 0, 0, with_x0]);
            assert_eq!(
                got,
                guest.call(0, &[a, 0, 0, 0, 0, with_register]),
                "{what} of {a:#x}"
            );
        }
    }
}
