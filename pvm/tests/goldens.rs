//! Machine code beside the program it is made of (`goldens/*.txt`), shown by a disassembler that
//! knows nothing of the assembler. `JAR_BLESS=1` writes what the recompiler makes now.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jar_fuzz::assembler::disassemble;
use jar_fuzz::rig::program_with_table;
use jar_fuzz::text::parse;
use jar_isa::Instruction;
use jar_pvm::{GasModel, Listing, Made, Program, Recompiler};

const LINE: &str = "----\n";
/// Bytes of a block's charge.
const CHARGE_LEN: usize = 12;

/// A program in text: an instruction a line, `name:` before one, `@name` for an offset to it, `table
/// name...` for the jump table, `#` before a remark.
struct Source<'a> {
    /// Instructions, each with the names before it.
    lines: Vec<(Vec<&'a str>, &'a str)>,
    table: Vec<&'a str>,
}

impl<'a> Source<'a> {
    fn read(text: &'a str) -> Source<'a> {
        let (mut lines, mut table, mut names) = (vec![], vec![], vec![]);
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(entries) = line.strip_prefix("table ") {
                table = entries.split(' ').collect();
            } else if let Some(name) = line.strip_suffix(':') {
                names.push(name);
            } else {
                lines.push((std::mem::take(&mut names), line));
            }
        }
        Source { lines, table }
    }

    /// The instructions when labels lie at these addresses.
    fn instructions(&self, places: &[i64]) -> Vec<Instruction> {
        let instruction = |(index, (_, line)): (usize, &(Vec<&str>, &str))| {
            let text = match line.split_once('@') {
                Some((head, name)) => {
                    let offset = places[self.index(name)] - places[index];
                    format!("{head}pc{offset:+}")
                }
                None => line.to_string(),
            };
            parse(&text).unwrap_or_else(|error| panic!("{error}"))
        };
        self.lines.iter().enumerate().map(instruction).collect()
    }

    fn index(&self, name: &str) -> usize {
        let found = self
            .lines
            .iter()
            .position(|(names, _)| names.contains(&name));
        found.unwrap_or_else(|| panic!("no label {name}"))
    }

    fn program(&self) -> Program {
        let mut places = vec![0; self.lines.len()];
        loop {
            let list = self.instructions(&places);
            let (mut next, mut code) = (vec![], vec![]);
            for instruction in &list {
                next.push(code.len() as i64);
                instruction.encode(&mut code).expect("a byte form");
            }
            if next == places {
                // Entries that are numbers stand for themselves.
                let entry = |entry: &&str| match entry.parse() {
                    Ok(pc) => pc,
                    Err(_) => places[self.index(entry)] as u32,
                };
                let table: Vec<u32> = self.table.iter().map(entry).collect();
                return program_with_table(&list, &table);
            }
            places = next;
        }
    }
}

/// Names in place of the addresses that code leads to.
fn named(listing: &Listing, text: &str) -> String {
    let Some((head, target)) = text.rsplit_once(' ') else {
        return text.into();
    };
    let jumps = head.starts_with('j') || head == "call";
    let hex = target.strip_prefix("0x").filter(|_| jumps);
    let Some(target) = hex.and_then(|hex| usize::from_str_radix(hex, 16).ok()) else {
        return text.into();
    };
    if listing.stubs.contains(&target) {
        let stub = disassemble(&listing.bytes[target..target + 5], target as u64);
        let call = named(listing, &stub[0].1);
        return format!("{head} -> {call}");
    }
    if let Some((_, name)) = listing.exits.iter().find(|(at, _)| *at == target) {
        return format!("{head} {name}");
    }
    let made = |start: usize| {
        let mut steps = listing.steps.iter().rev();
        steps.find(|made| made.code.start == start)
    };
    match (made(target), target.checked_sub(CHARGE_LEN).and_then(made)) {
        (Some(made), _) => format!("{head} @{}", made.pc),
        (None, Some(made)) => format!("{head} @{} behind its charge", made.pc),
        (None, None) => format!("{head} +{:#x}", target),
    }
}

/// The table's names in place of what lies beside the instruction pointer.
fn table_named(listing: &Listing, text: &str, behind: usize) -> String {
    let names = [
        (listing.table_address, "[table_address]"),
        (listing.table - 8, "[table-0x8]"),
    ];
    let mut text = text.to_string();
    for (at, name) in names {
        let shown = match at.checked_sub(behind) {
            Some(ahead) => format!("[rip+{ahead:#x}]"),
            None => format!("[rip-{:#x}]", behind - at),
        };
        text = text.replace(&shown, name);
    }
    text
}

fn show(program: Program, recompiler: Recompiler) -> String {
    let program = Arc::new(program);
    let code = recompiler.compile(program.clone(), GasModel::Pipeline);
    let code = code.expect("the system gives memory for code");
    let listing = code.listing();
    let mut out = String::new();
    for Made {
        pc,
        code: range,
        data,
    } in &listing.steps
    {
        let instruction = program.instruction_at(*pc);
        writeln!(out, "{pc}: {instruction}").expect("strings grow");
        let host = disassemble(&listing.bytes[range.clone()], range.start as u64);
        let within = |text: &str| {
            // Inside one instruction's code: by the distance from its start.
            let text = named(&listing, text);
            match text.rsplit_once(" +0x") {
                Some((head, at)) => {
                    let at = usize::from_str_radix(at, 16).expect("hexadecimal");
                    assert!(
                        range.start <= at && at <= range.end,
                        "{text} leads elsewhere"
                    );
                    format!("{head} +{}", at - range.start)
                }
                None => text,
            }
        };
        for (index, (_, text)) in host.iter().enumerate() {
            let behind = host
                .get(index + 1)
                .map_or(range.end, |(at, _)| *at as usize);
            let text = table_named(&listing, text, behind);
            assert!(!text.contains("(bad)"), "{instruction}: {text}");
            writeln!(out, "    {}", within(&text)).expect("strings grow");
        }
        if !data.is_empty() {
            let bytes = &listing.bytes[data.clone()];
            writeln!(out, "    data {bytes:02x?}").expect("strings grow");
        }
    }
    out
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("readable").path())
        .collect();
    files.sort();
    files
}

#[test]
fn machine_code_is_as_committed() {
    let Some(recompiler) = Recompiler::detect() else {
        eprintln!("SKIPPED: this processor lacks what the recompiler needs");
        return;
    };
    let bless = std::env::var_os("JAR_BLESS").is_some();
    let mut differ = vec![];
    for path in files() {
        let text = std::fs::read_to_string(&path).expect("a text");
        let (source, expected) = text.split_once(LINE).unwrap_or((&text, ""));
        let shown = show(Source::read(source).program(), recompiler);
        if bless {
            std::fs::write(&path, format!("{source}{LINE}{shown}")).expect("writable");
        } else if shown != expected {
            let first = shown.lines().zip(expected.lines()).find(|(a, b)| a != b);
            differ.push(format!("{}: {first:?}", path.display()));
        }
    }
    assert!(
        differ.is_empty(),
        "machine code changed; look at it with\n  JAR_BLESS=1 cargo test --release -p jar-pvm --test \
         goldens && git diff pvm/tests/goldens\n{}",
        differ.join("\n")
    );
}

/// Each instruction is in a golden, so that its machine code is seen.
#[test]
fn every_instruction_is_shown() {
    let texts: Vec<String> = files()
        .iter()
        .map(|path| std::fs::read_to_string(path).expect("a text"))
        .collect();
    for opcode in jar_isa::Opcode::ALL {
        let is_shown = |line: &str| line.split(' ').next() == Some(opcode.mnemonic());
        let found = texts.iter().any(|text| text.lines().any(is_shown));
        assert!(found, "{opcode} is in no golden");
    }
}
