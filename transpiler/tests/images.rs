//! The committed Images against their source.

mod common;

#[path = "common/chains.rs"]
mod chains;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::toolchain;
use jar_cap::Image;
use jar_transpiler::build::{Built, Options, Toolchain, build_with};
use parity_scale_codec::Encode as _;

/// Guest crates with their committed Images. The shell comes before the chain that contains it.
const IMAGES: [(&str, &str); 8] = [
    ("counter", "chain-specs/counter.image"),
    ("token", "chain-specs/token.image"),
    ("contracts-shell", "guest/chains/contracts/src/shell.image"),
    ("contracts", "chain-specs/contracts.image"),
    ("samples/counter", "chain-specs/sample-counter.image"),
    ("samples/escrow", "chain-specs/sample-escrow.image"),
    ("samples/gate", "chain-specs/sample-gate.image"),
    ("tally", "chain-specs/tally.image"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

fn committed(image: &str) -> (PathBuf, Vec<u8>) {
    let path = root().join(image);
    let bytes = std::fs::read(&path).unwrap();
    (path, bytes)
}

fn build(toolchain: &Toolchain, root: &Path, chain: &str, options: &Options) -> Built {
    let dir = root.join("guest/chains").join(chain);
    build_with(toolchain, &dir, options).unwrap_or_else(|error| panic!("{error}"))
}

/// With the compiler that made the committed Images the same bytes come out; with another
/// one the rebuilt Images must have the same endpoints and behave the same, and the message
/// says that bytes were not compared.
#[test]
fn guest_images_are_current() {
    let Some(toolchain) = toolchain() else { return };
    let images = tempfile::tempdir().unwrap();
    let mut is_other = false;
    for (chain, file) in IMAGES {
        let (path, bytes) = committed(file);
        let old = Image::decode_checked(&bytes).unwrap();
        let built = build(&toolchain, &root(), chain, &Options::default());
        let rebuilt = images.path().join(path.file_name().unwrap());
        std::fs::write(rebuilt, built.image.encode()).unwrap();
        if old.metadata["rustc"] == built.rustc_version.as_bytes() {
            assert!(
                built.image.encode() == bytes,
                "{} is out of date; renew it with\n  cargo run --release -p jar-transpiler \
                 --example build_image guest/chains/{chain} {file}",
                path.display()
            );
        } else {
            is_other = true;
            let made_by = String::from_utf8_lossy(&old.metadata["rustc"]);
            eprintln!(
                "NOT COMPARED: {} was made by {made_by}, this is {}",
                path.display(),
                built.rustc_version
            );
            let roles = |image: &Image| {
                let endpoints = image.endpoints.iter();
                endpoints
                    .map(|(i, e)| (*i, e.name.clone(), e.role))
                    .collect::<Vec<_>>()
            };
            assert_eq!(roles(&old), roles(&built.image));
            let bytes = built.image.encode();
            chains::behaviours(chain)
                .into_iter()
                .for_each(|check| check(&bytes));
        }
    }
    if is_other {
        run_kernel_tests(images.path());
    }
}

/// Runs the tests of the chains whose behaviours the kernel's tests know, with these Images. Tests
/// of the whole workspace have built these as they are named here.
fn run_kernel_tests(images: &Path) {
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let status = Command::new(cargo)
        .args(["test", "--release", "--locked", "--workspace"])
        .args(["--test", "contracts", "--test", "tally"])
        .env("JAR_IMAGES", images)
        .current_dir(root())
        .status();
    assert!(status.unwrap().success(), "rebuilt Images behave otherwise");
}

/// A checkout elsewhere gives the same bytes.
#[test]
fn images_do_not_depend_on_where_they_are_built() {
    let Some(toolchain) = toolchain() else { return };
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = elsewhere.path().join("a checkout");
    for part in ["guest", "kernel/abi"] {
        copy_dir(&root().join(part), &copy.join(part));
    }
    std::fs::copy(root().join("Cargo.toml"), copy.join("Cargo.toml")).unwrap();
    let options = Options {
        target_dir: Some(elsewhere.path().join("target")),
        ..Options::default()
    };
    let there = build(&toolchain, &copy, "token", &options);
    let here = build(&toolchain, &root(), "token", &Options::default());
    assert!(here.image == there.image);
    let text = String::from_utf8_lossy(&here.image.encode()).into_owned();
    for path in [
        root().to_string_lossy().into_owned(),
        "/root/".into(),
        "/home/".into(),
    ] {
        assert!(!text.contains(&path), "the Image names {path}");
    }
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if name == "target" {
            continue;
        }
        let to = to.join(&name);
        match entry.file_type().unwrap().is_dir() {
            true => copy_dir(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}
