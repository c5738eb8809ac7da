//! Every path that an operation takes, in its long form: as good as the short one, and refused
//! whenever it is malformed.

use std::collections::BTreeSet;

use jar_abi::HostCall;
use parity_scale_codec::Encode;

use super::super::rig::*;
use super::{Answer, BAD_RANGE, Case, INVALID, cases, refused};
use jar_abi::Status;

/// Where paths are written: behind what cases use of memory.
const PATHS: u64 = RAM + RAM_LEN - 0x1000;
/// Bytes kept for each.
const STRIDE: u64 = 0x200;
/// Names of arguments that are paths, in the host-call table.
const NAMES: [&str; 12] = [
    "src", "dst", "slot", "a", "b", "cnode", "marker", "image", "data", "ty", "file", "payload",
];

/// The places of an operation's arguments that are paths.
fn path_arguments(op: HostCall) -> Vec<usize> {
    let names = op.arguments().iter().enumerate();
    names
        .filter(|(_, name)| NAMES.contains(name))
        .map(|(index, _)| index)
        .collect()
}

fn all() -> BTreeSet<(HostCall, usize)> {
    let built = HostCall::ALL.iter().filter(|op| op.is_supported());
    built
        .flat_map(|op| path_arguments(*op).into_iter().map(|index| (*op, index)))
        .collect()
}

/// The keys of a short path register.
fn short_keys(register: u64) -> Vec<Vec<u8>> {
    let bytes = register.to_le_bytes();
    bytes[..=usize::from(bytes[7])]
        .iter()
        .map(|key| vec![*key])
        .collect()
}

fn succeeds(case: &Case) -> bool {
    case.status().is_none() && !matches!(case.expect, Answer::Fault(_))
}

/// The case with SCALE bytes in place of one path.
fn with_bytes(case: &Case, index: usize, bytes: &[u8]) -> Case {
    let mut case = case.clone();
    let address = PATHS + index as u64 * STRIDE;
    case.args[index] = long_path(address, bytes.len() as u64);
    case.memory(address, bytes)
}

#[test]
fn the_table_names_its_paths() {
    // Every argument is known as a path or as something else.
    let others = [
        "value",
        "key_ptr",
        "key_len",
        "out_ptr",
        "ptr",
        "len",
        "offset",
        "endpoint",
        "arg0",
        "arg1",
        "arg2",
        "arg3",
        "blob_ptr",
        "blob_len",
        "scope_ptr",
        "scope_len",
        "score",
        "hash_ptr",
        "item",
        "kind",
        "picks_ptr",
        "picks_len",
        "bitmap_ptr",
        "level",
        "topic_ptr",
        "topic_len",
        "algorithm",
    ];
    for op in HostCall::ALL {
        for name in op.arguments() {
            let known = NAMES.contains(name) != others.contains(name);
            assert!(known, "{}({name})", op.name());
        }
    }
}

#[test]
fn every_path_may_be_written_in_the_long_form() {
    let mut tested = BTreeSet::new();
    for short in cases().iter().filter(|case| succeeds(case)) {
        let ran = short.run();
        for index in path_arguments(short.op) {
            if index >= short.args.len() {
                continue;
            }
            let keys = short_keys(short.args[index]).encode();
            let long = with_bytes(short, index, &keys).run();
            let name = format!("{} argument {index}", short.name());
            assert_eq!(long.answer, ran.answer, "{name}");
            assert_eq!(long.gas_used, ran.gas_used, "{name}");
            assert_eq!(long.after.table, ran.after.table, "{name}");
            assert_eq!(long.after.effects, ran.after.effects, "{name}");
            assert_eq!(long.after.quota, ran.after.quota, "{name}");
            assert_eq!(long.after.frames, ran.after.frames, "{name}");
            assert_eq!(long.after.next_image, ran.after.next_image, "{name}");
            assert_eq!(long.after.waiting, ran.after.waiting, "{name}");
            tested.insert((short.op, index));
        }
    }
    assert_eq!(tested, all());
}

#[test]
fn malformed_paths_are_refused_by_every_operation() {
    let keys = |keys: &[&[u8]]| keys.iter().map(|key| key.to_vec()).collect::<Vec<_>>();
    let good = keys(&[&[41]]).encode();
    let malformed: [(&str, Vec<u8>); 11] = [
        ("nothing", Vec::new()),
        ("no key", keys(&[]).encode()),
        ("nine keys", keys(&[&[1][..]; 9]).encode()),
        ("an empty key", keys(&[&[]]).encode()),
        ("an empty key behind one", keys(&[&[41], &[]]).encode()),
        ("a key of 33 bytes", keys(&[&[1; 33]]).encode()),
        ("a byte too many", [&good[..], &[0]].concat()),
        ("a byte too few", good[..good.len() - 1].to_vec()),
        ("a count in two bytes", [&[0x05, 0], &good[1..]].concat()),
        ("a length in two bytes", vec![4, 0x05, 0, 41]),
        ("more than any path", vec![0; 266]),
    ];
    let ranges = [
        ("nowhere", long_path(NOWHERE, 3)),
        ("beyond the end", long_path(RAM + RAM_LEN - 1, 3)),
        ("around the end of memory", long_path(0xffff_ffff, 3)),
    ];
    let mut tested = BTreeSet::new();
    for case in cases().iter().filter(|case| succeeds(case)) {
        for index in path_arguments(case.op) {
            if index >= case.args.len() || !tested.insert((case.op, index)) {
                continue;
            }
            let invalid = match case.op {
                HostCall::Call | HostCall::Resume => refused(Status::Invalid),
                _ => INVALID,
            };
            let mut bad = Vec::new();
            for (what, bytes) in &malformed {
                bad.push((what, with_bytes(case, index, bytes), invalid.clone()));
            }
            for (what, register) in &ranges {
                let mut case = case.clone();
                case.args[index] = *register;
                bad.push((what, case, BAD_RANGE));
            }
            for (what, bad, expect) in bad {
                let ran = bad.run();
                let name = format!("{} argument {index}: {what}", bad.op.name());
                assert_eq!(ran.answer, expect, "{name}");
                assert_eq!(ran.before, ran.after, "{name}");
            }
        }
    }
    assert_eq!(tested, all());
}
