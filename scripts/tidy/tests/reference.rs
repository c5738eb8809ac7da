//! The tables in `docs/` are those of the code. `JAR_BLESS=1` writes them anew.

use jar_abi::{CallStatus, Fault, HashAlgorithm, HostCall, Kind, Phase, SlotItemKind, Status};
use jar_isa::{Latency, Opcode, Slots, Units};
use jar_tidy::{check_generated as check, read, root};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

#[test]
fn host_calls() {
    let mut table =
        String::from("| n | operation | result | may answer | |\n|---|---|---|---|---|\n");
    for call in HostCall::ALL {
        let errors: Vec<_> = call.errors().iter().map(|status| status.name()).collect();
        let (name, arguments) = (
            call.name().trim_end_matches('_'),
            call.arguments().join(", "),
        );
        let stage = if call.is_supported() { "" } else { "reserved" };
        let (number, result) = (*call as u32, call.result());
        writeln!(
            table,
            "| {number} | `{name}({arguments})` | {result} | {} | {stage} |",
            errors.join(", ")
        )
        .expect("a string takes it");
    }
    check("docs/kernel.md", "host-calls", &table);
}

#[test]
fn status_codes() {
    let mut table = String::from("| φ7 | status |\n|---|---|\n");
    for status in Status::ALL {
        writeln!(table, "| {} | {} |", *status as i64, status.name()).expect("a string takes it");
    }
    check("docs/kernel.md", "status", &table);
}

#[test]
fn faults() {
    let mut table = String::from("| code | fault |\n|---|---|\n");
    for fault in Fault::ALL {
        writeln!(table, "| {} | {} |", *fault as u64, fault.name()).expect("a string takes it");
    }
    check("docs/kernel.md", "faults", &table);
}

#[test]
fn codes() {
    fn row<T: Copy>(
        title: &str,
        all: &[T],
        number: fn(T) -> u64,
        name: fn(T) -> &'static str,
    ) -> String {
        let codes: Vec<_> = all
            .iter()
            .map(|code| format!("{} {}", number(*code), name(*code)))
            .collect();
        format!("| {title} | {} |\n", codes.join(", "))
    }
    let table = [
        "| where | codes |\n|---|---|\n".to_string(),
        row(
            "φ8 after `call`",
            CallStatus::ALL,
            |code| code as u64,
            CallStatus::name,
        ),
        row("`kind`", Kind::ALL, |code| code as u64, Kind::name),
        row(
            "φ7 of a Dispatch endpoint",
            Phase::ALL,
            |code| code as u64,
            Phase::name,
        ),
        row(
            "`slot_emit`",
            SlotItemKind::ALL,
            |code| code as u64,
            SlotItemKind::name,
        ),
        row(
            "`hash`",
            HashAlgorithm::ALL,
            |code| code as u64,
            HashAlgorithm::name,
        ),
    ];
    check("docs/kernel.md", "codes", &table.concat());
}

#[test]
fn params() {
    let mut table = String::from("| parameter | default | |\n|---|---|---|\n");
    macro_rules! rows {
        ($($doc:literal $name:ident = $default:literal;)*) => {
            $(writeln!(table, "| `{}` | {} | {} |", stringify!($name), $default as u64, $doc).expect("a string takes it");)*
        };
    }
    jar_abi::for_each_param!(rows);
    check("docs/kernel.md", "params", &table);
}

#[test]
fn instructions() {
    let mut table = String::from(
        "| n | name | format | ends | latency | slots | units | effect |\n|---|---|---|---|---|---|---|---|\n",
    );
    for opcode in Opcode::ALL {
        let cost = opcode.cost();
        let latency = match cost.latency {
            Latency::Branch => "*b*".to_string(),
            other => other.cycles(false).to_string(),
        };
        let slots = match cost.slots {
            Slots::Count(count) => count.to_string(),
            Slots::Reuse(reused, fresh) => format!("{reused} or {fresh}"),
            Slots::ReuseA(reused, fresh) => format!("{reused} or {fresh} (A)"),
        };
        let ends = if opcode.is_terminator() { "yes" } else { "" };
        let number = *opcode as u8;
        let (name, format, units) = (opcode.mnemonic(), opcode.format(), units(&cost.units));
        let effect = opcode.semantics();
        writeln!(table, "| {number} | `{name}` | {format:?} | {ends} | {latency} | {slots} | {units} | {effect} |")
            .expect("a string takes it");
    }
    check("docs/pvm.md", "instructions", &table);
}

fn units(units: &Units) -> String {
    let all = [
        (units.alu, "alu"),
        (units.load, "load"),
        (units.store, "store"),
        (units.mul, "mul"),
        (units.div, "div"),
    ];
    let used = all.iter().filter(|(count, _)| *count > 0);
    let named: Vec<_> = used
        .map(|(count, name)| {
            if *count == 1 {
                name.to_string()
            } else {
                format!("{count} {name}")
            }
        })
        .collect();
    named.join(", ")
}

#[test]
fn rpc_methods() {
    check(
        "docs/node.md",
        "rpc-methods",
        &jar_rpc::methods::method_table_markdown(),
    );
}

#[test]
fn rpc_errors() {
    check(
        "docs/node.md",
        "rpc-errors",
        &jar_rpc::error_table_markdown(),
    );
}

/// Fails unless docs/node.md names every one of these in code spans.
fn assert_described(what: &str, names: &BTreeSet<&str>) {
    assert!(names.len() > 5, "{what} are found in the source: {names:?}");
    let text = read(&root(), Path::new("docs/node.md"));
    let missing: Vec<_> = names
        .iter()
        .filter(|name| {
            let described = |end| text.contains(&format!("`{name}{end}"));
            !["`", "{", " "].into_iter().any(described)
        })
        .collect();
    assert!(
        missing.is_empty(),
        "docs/node.md does not describe these {what}: {missing:?}"
    );
}

#[test]
fn metrics_are_described() {
    let source = read(&root(), Path::new("node/src/metrics.rs"));
    let (source, _) = source.split_once("#[cfg(test)]").expect("it has tests");
    let names = source
        .split('"')
        .filter(|text| text.starts_with("jar_") || text.starts_with("process_"));
    assert_described("metrics", &names.collect());
}

#[test]
fn settings_are_described() {
    let source = read(&root(), Path::new("node/src/config.rs"));
    let (_, defaults) = source
        .split_once("const DEFAULTS")
        .expect("the table is there");
    let (defaults, _) = defaults.split_once("];").expect("the table ends");
    let rows = defaults
        .lines()
        .filter_map(|line| line.trim().strip_prefix("(\""));
    let names: Vec<String> = rows
        .filter_map(|row| row.split_once('"'))
        .map(|(name, _)| match name.starts_with("rpc_max") {
            true => name.to_string(),
            false => format!("--{}", name.replace('_', "-")),
        })
        .collect();
    assert_described("settings", &names.iter().map(String::as_str).collect());
}
