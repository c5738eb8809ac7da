//! A guest crate to an Image: finds a toolchain, runs cargo, transpiles the result.

mod manifest;
mod toolchain;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use jar_cap::Image;
use serde_json::Value;

use crate::{Error, transpile};
use manifest::Package;
pub use toolchain::Toolchain;

/// The target description.
const TARGET: &str = include_str!("../../guest/riscv64em-jar.json");
const TARGET_NAME: &str = "riscv64em-jar.json";
/// The linker script, with the sizes of stack and heap to be filled in.
const LINKER_SCRIPT: &str = include_str!("link.ld");
/// Gives every crate an identity that doesn't depend on where it is checked out.
const WRAPPER: &str = r#"#!/bin/sh
rustc=$1
shift
for arg do
    shift
    case $arg in
        metadata=*) arg=metadata=$CARGO_PKG_NAME-$CARGO_PKG_VERSION ;;
    esac
    set -- "$@" "$arg"
done
exec "$rustc" "$@"
"#;

/// How a guest is built. Sizes are in bytes and multiples of 4096; `None` takes what the
/// crate's `[package.metadata.jar]` says (`stack`, `heap`), else the default.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Size of the stack; 64 KiB by default.
    pub stack: Option<u64>,
    /// Size of the heap; 1 MiB by default.
    pub heap: Option<u64>,
    /// The compiler's optimization level; 2 by default.
    pub opt_level: Option<u8>,
    /// The binary to build of a crate with several; `None` for a crate's only one.
    pub bin: Option<String>,
    /// The private target directory; by default below `CARGO_TARGET_DIR`, else
    /// `$XDG_CACHE_HOME/jar/guest` or `~/.cache/jar/guest`.
    pub target_dir: Option<PathBuf>,
}

/// A built guest.
#[derive(Clone, Debug)]
pub struct Built {
    /// The Image, its metadata filled in: `name`, `version`, `rustc`, `source`.
    pub image: Image,
    /// The ELF it was made of.
    pub elf: Vec<u8>,
    /// The compiler's `--version`.
    pub rustc_version: String,
}

/// Builds the guest crate in `dir`: the same bytes on every machine with the same compiler.
///
/// # Errors
///
/// [`Error::NoToolchain`] says how to get one; [`Error::Build`] carries the compiler's output.
pub fn build_crate(dir: &Path, options: &Options) -> Result<Built, Error> {
    let toolchain = Toolchain::find()?;
    build_with(&toolchain, dir, options)
}

/// As [`build_crate`], with a toolchain found before.
///
/// # Errors
///
/// As [`build_crate`].
pub fn build_with(toolchain: &Toolchain, dir: &Path, options: &Options) -> Result<Built, Error> {
    let dir = dir.canonicalize().map_err(Error::io(dir))?;
    let packages = manifest::packages(toolchain, &dir)?;
    let package = manifest::at(&packages, &dir)?;
    let work = work_dir(options)?;
    let size = |option: Option<u64>, key: &str, default: u64| {
        option.map_or_else(|| package.size(key, default), Ok)
    };
    let stack = size(options.stack, "stack", 64 << 10)?;
    let heap = size(options.heap, "heap", 1 << 20)?;
    let bin = package.bin(options.bin.as_deref())?;
    let files = write_files(&work, stack, heap)?;
    let mut command = cargo(toolchain, &dir, &work);
    if let Some(level) = options.opt_level {
        command.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", level.to_string());
    }
    command
        .args([
            "rustc",
            "--release",
            "-Zjson-target-spec",
            "-Zbuild-std=core,alloc",
        ])
        .arg("-Zbuild-std-features=compiler-builtins-mem")
        .args(["--message-format", "json-render-diagnostics", "--target"])
        .arg(&files.target)
        .env("RUSTC_WRAPPER", &files.wrapper)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(toolchain, &packages))
        .args(["--bin", bin]);
    if package.workspace_root.join("Cargo.lock").exists() {
        command.arg("--locked");
    }
    // The program's alone: with the same flags as others, crates that guests share are built once.
    let mut script = OsString::from("-Clink-arg=-T");
    script.push(&files.script);
    command.arg("--").arg(script);
    let path = executable(command, &dir)?;
    let elf = std::fs::read(&path).map_err(Error::io(&path))?;
    let mut image = transpile(&elf)?;
    package.set_slots(&mut image)?;
    let rustc_version = toolchain.version.clone();
    let source = manifest::source_hash(&dir)?;
    image
        .metadata
        .insert("rustc".into(), rustc_version.clone().into_bytes());
    image.metadata.insert("source".into(), source.to_vec());
    Ok(Built {
        image,
        elf,
        rustc_version,
    })
}

struct Files {
    target: PathBuf,
    wrapper: PathBuf,
    script: PathBuf,
}

fn work_dir(options: &Options) -> Result<PathBuf, Error> {
    if let Some(dir) = &options.target_dir {
        return Ok(dir.clone());
    }
    let from = |name: &str| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    from("CARGO_TARGET_DIR")
        .map(|dir| dir.join("guest"))
        .or_else(|| from("XDG_CACHE_HOME").map(|dir| dir.join("jar/guest")))
        .or_else(|| from("HOME").map(|dir| dir.join(".cache/jar/guest")))
        .ok_or_else(|| Error::NoToolchain("neither CARGO_TARGET_DIR nor HOME is set".into()))
}

fn write_files(work: &Path, stack: u64, heap: u64) -> Result<Files, Error> {
    std::fs::create_dir_all(work).map_err(Error::io(work))?;
    let write = |file: &str, text: &str| {
        let path = work.join(file);
        // Unchanged files keep their time, and other builds that read them their peace.
        if std::fs::read_to_string(&path).is_ok_and(|old| old == text) {
            return Ok::<PathBuf, Error>(path);
        }
        let draft = work.join(format!("{file}.{}", std::process::id()));
        std::fs::write(&draft, text).map_err(Error::io(&draft))?;
        make_executable(&draft)?;
        std::fs::rename(&draft, &path).map_err(Error::io(&path))?;
        Ok(path)
    };
    let script = LINKER_SCRIPT
        .replace("@STACK@", &format!("{stack:#x}"))
        .replace("@HEAP@", &format!("{heap:#x}"));
    Ok(Files {
        target: write(TARGET_NAME, TARGET)?,
        wrapper: write("rustc-wrapper", WRAPPER)?,
        script: write(&format!("{stack:x}-{heap:x}.ld"), &script)?,
    })
}

#[cfg(unix)]
fn make_executable(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(path, mode).map_err(Error::io(path))
}

#[cfg(not(unix))]
fn make_executable(_path: &Path) -> Result<(), Error> {
    Ok(())
}

/// Cargo with an environment that leaves no setting to chance.
fn cargo(toolchain: &Toolchain, dir: &Path, work: &Path) -> Command {
    let mut command = toolchain.cargo();
    command
        .current_dir(dir)
        .env("CARGO_TARGET_DIR", work.join("target"));
    for (name, value) in [
        ("OPT_LEVEL", "2"),
        ("CODEGEN_UNITS", "1"),
        ("LTO", "fat"),
        ("PANIC", "abort"),
        ("DEBUG", "0"),
        ("STRIP", "none"),
        ("OVERFLOW_CHECKS", "false"),
        ("DEBUG_ASSERTIONS", "false"),
        ("INCREMENTAL", "false"),
    ] {
        command.env(format!("CARGO_PROFILE_RELEASE_{name}"), value);
    }
    for name in [
        "RUSTFLAGS",
        "CARGO_BUILD_RUSTFLAGS",
        "RUSTC_WORKSPACE_WRAPPER",
    ] {
        command.env_remove(name);
    }
    command
}

/// Compiler flags, joined as `CARGO_ENCODED_RUSTFLAGS` wants them.
fn flags(toolchain: &Toolchain, packages: &[Package]) -> OsString {
    let mut flags: Vec<OsString> = Vec::new();
    let mut flag = |parts: &[&OsStr]| flags.push(parts.iter().copied().collect());
    flag(&["-Clinker=".as_ref(), toolchain.linker().as_os_str()]);
    for text in [
        "-Clinker-flavor=gnu-lld",
        "-Clink-arg=--emit-relocs",
        "-Clink-arg=--no-relax",
        "-Clink-arg=--entry=0",
        // One thread and no atomic instructions: atomics are plain loads and stores.
        "-Cpasses=lower-atomic",
    ] {
        flag(&[text.as_ref()]);
    }
    let equals: &OsStr = "=".as_ref();
    for package in packages {
        let to = format!("/{}-{}", package.name, package.version);
        let dir = package.dir.as_os_str();
        flag(&["--remap-path-prefix=".as_ref(), dir, equals, to.as_ref()]);
    }
    let source = toolchain.library_source();
    flag(&[
        "--remap-path-prefix=".as_ref(),
        source.as_os_str(),
        equals,
        "/rust".as_ref(),
    ]);
    flags.join("\u{1f}".as_ref())
}

/// Runs cargo and finds the one executable it made.
fn executable(mut command: Command, dir: &Path) -> Result<PathBuf, Error> {
    let program = PathBuf::from(command.get_program());
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(Error::io(program))?;
    let failed = |output: String| Error::Build {
        dir: dir.to_owned(),
        output,
    };
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let stdout = String::from_utf8_lossy(&output.stdout);
    let messages = stdout
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut found: Vec<PathBuf> = messages
        .filter(|m| m["reason"] == "compiler-artifact")
        .filter_map(|m| m["executable"].as_str().map(PathBuf::from))
        .collect();
    found
        .pop()
        .ok_or_else(|| failed("cargo made no executable".into()))
}
