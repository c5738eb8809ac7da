//! The checkout is tidy.

use jar_tidy::arrows::{self, Manifest};
use jar_tidy::{files, files_with_extension, links, read, root, source};
use std::path::Path;
use std::process::Command;

const FUNCTION_LINES_MAX: usize = 90;
const FILE_LINES_MAX: usize = 900;

/// Where `unsafe` may stand: guests make host calls and bring an allocator, on a machine of
/// their own; the recompiler runs machine code.
const UNSAFE_GUEST_FILES: [&str; 3] = [
    "guest/src/runtime.rs",
    "guest/src/sys/riscv.rs",
    "guest/macros/src/chain.rs",
];

fn may_be_unsafe(path: &Path) -> bool {
    let path = path.to_string_lossy();
    UNSAFE_GUEST_FILES.contains(&&*path)
        || path.starts_with("pvm/src/recompiler")
        || path.starts_with("bench/guests/src")
}

fn assert_none(what: &str, problems: Vec<String>) {
    assert!(problems.is_empty(), "{what}:\n  {}", problems.join("\n  "));
}

#[test]
fn links_resolve() {
    let root = root();
    let mut problems = Vec::new();
    for document in files_with_extension(&root, "md") {
        for (line, target) in links::targets(&read(&root, &document)) {
            if !links::is_relative(&target) {
                continue;
            }
            if let Some(problem) = links::broken(&root, &document, &target) {
                problems.push(format!("{}:{line}: {problem}", document.display()));
            }
        }
    }
    assert_none("broken links", problems);
}

#[test]
fn arrows_hold() {
    let root = root();
    let members = arrows::members(&read(&root, Path::new("Cargo.toml")));
    let manifests: Vec<_> = members
        .iter()
        .filter_map(|member| Manifest::parse(&read(&root, &Path::new(member).join("Cargo.toml"))))
        .collect();
    assert!(
        manifests.len() > 10,
        "the crates of the workspace are found"
    );
    assert_none(
        "arrows",
        manifests.iter().flat_map(Manifest::violations).collect(),
    );
}

#[test]
fn unsafe_is_kept_apart() {
    let root = root();
    let mut problems = Vec::new();
    for path in files_with_extension(&root, "rs") {
        if may_be_unsafe(&path) {
            continue;
        }
        let masked = source::mask(&read(&root, &path));
        let found = source::words(&masked).filter(|(_, word)| *word == "unsafe");
        problems.extend(found.map(|(line, _)| format!("{}:{line}", path.display())));
    }
    assert_none("unsafe code", problems);
}

#[test]
fn functions_and_files_are_readable() {
    let root = root();
    let mut problems = Vec::new();
    for path in files_with_extension(&root, "rs") {
        let text = read(&root, &path);
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            problems.push(format!(
                "{}: {lines} lines, at most {FILE_LINES_MAX}",
                path.display()
            ));
        }
        for function in source::functions(&source::mask(&text)) {
            if function.lines > FUNCTION_LINES_MAX {
                problems.push(format!(
                    "{}:{}: fn {} has {} lines, at most {FUNCTION_LINES_MAX}",
                    path.display(),
                    function.line,
                    function.name,
                    function.lines
                ));
            }
        }
    }
    assert_none("too long", problems);
}

#[test]
fn scripts_parse() {
    let root = root();
    let is_script = |path: &Path| {
        path.extension().is_some_and(|e| e == "sh")
            || (path.extension().is_none()
                && (path.starts_with("scripts") || path.starts_with(".ci"))
                && read(&root, path).starts_with("#!/usr/bin/env bash"))
    };
    let scripts = files(&root, is_script);
    assert!(scripts.len() >= 4, "the scripts are found: {scripts:?}");
    let shellcheck = Command::new("shellcheck").arg("--version").output().is_ok();
    if !shellcheck {
        eprintln!("shellcheck is not installed: scripts are only parsed");
    }
    for script in scripts {
        run(&root, "bash", &["-n"], &script);
        if shellcheck {
            run(&root, "shellcheck", &["-x"], &script);
        }
    }
}

fn run(root: &Path, program: &str, flags: &[&str], script: &Path) {
    let output = Command::new(program)
        .args(flags)
        .arg(script)
        .current_dir(root)
        .output()
        .unwrap_or_else(|error| panic!("{program} does not start: {error}"));
    assert!(
        output.status.success(),
        "{program} {}: {}{}",
        script.display(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
