//! What the scripts say on machines that lack something.

use jar_tidy::root;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Programs of every Debian that the scripts use.
const BASICS: [&str; 16] = [
    "bash", "dirname", "basename", "sed", "sort", "head", "tail", "awk", "cat", "id", "find",
    "readlink", "nproc", "env", "grep", "sleep",
];

/// A folder that stands for the whole PATH of a machine with the basics alone.
fn bare_machine(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("the temporary folder is writable");
    for program in BASICS {
        let found = ["/usr/bin", "/bin"].map(|folder| Path::new(folder).join(program));
        let found = found.iter().find(|path| path.exists());
        let found = found.unwrap_or_else(|| panic!("{program} is not installed"));
        symlink(found, folder.join(program)).expect("a link can be made");
    }
    folder
}

fn add_program(machine: &Path, name: &str, script: &str) {
    let path = machine.join(name);
    std::fs::write(&path, format!("#!/usr/bin/env bash\n{script}\n")).expect("a file can be made");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("its mode can be set");
}

fn run(machine: &Path, script: &str) -> (bool, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(machine.join("bash"))
        .arg(root().join("scripts").join(script))
        .env_clear()
        .env("PATH", machine)
        .env("HOME", machine.join("home"))
        .output()
        .expect("bash starts");
    let text = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (status.success(), text.concat())
}

#[test]
fn without_rust_both_say_how_to_get_it() {
    let machine = bare_machine("without-rust");
    for script in ["devnet", "test"] {
        let (success, text) = run(&machine, script);
        assert!(
            !success && text.contains("https://rustup.rs"),
            "{script}: {text}"
        );
    }
}

#[test]
fn an_old_rust_is_named() {
    let machine = bare_machine("old-rust");
    add_program(&machine, "cargo", "exit 1");
    add_program(&machine, "rustc", "echo 'rustc 1.9.0 (abc 2016-05-18)'");
    let (success, text) = run(&machine, "devnet");
    assert!(
        !success && text.contains("rustc 1.9.0 is too old"),
        "{text}"
    );
}

#[test]
fn without_apt_the_packages_are_named() {
    let machine = bare_machine("without-apt");
    add_program(&machine, "cargo", "exit 0");
    add_program(&machine, "rustc", "echo 'rustc 9.0.0 (abc 2030-01-01)'");
    let (success, text) = run(&machine, "test");
    assert!(!success, "{text}");
    let packages = [
        "g++",
        "rustc-web",
        "cargo-web",
        "rust-web-src",
        "lld-19",
        "binutils-riscv64-unknown-elf",
        "qemu-user",
    ];
    for package in packages {
        assert!(text.contains(package), "{package} is not in: {text}");
    }
    assert!(
        text.contains("apt-get install --no-install-recommends g++"),
        "{text}"
    );
}
