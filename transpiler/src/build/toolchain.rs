//! Finding a compiler that can build guests: one with the core library's source.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;

/// A Rust toolchain with the core library's source, and a linker.
#[derive(Clone, Debug)]
pub struct Toolchain {
    rustc: PathBuf,
    cargo: PathBuf,
    sysroot: PathBuf,
    linker: PathBuf,
    /// `rustc --version`.
    pub version: String,
}

impl Toolchain {
    /// Looks for a toolchain: the one that `JAR_GUEST_RUSTC` and `JAR_GUEST_CARGO` name and no
    /// other; without them the distribution's in `/usr/bin`, then rustup's nightly.
    ///
    /// # Errors
    ///
    /// [`Error::NoToolchain`], which says what was looked at and how to get one.
    pub fn find() -> Result<Toolchain, Error> {
        let mut tried = Vec::new();
        for (rustc, cargo) in candidates() {
            match Toolchain::new(&rustc, &cargo) {
                Ok(toolchain) => return Ok(toolchain),
                Err(reason) => tried.push(format!("{}: {reason}", rustc.display())),
            }
        }
        Err(Error::NoToolchain(match tried.is_empty() {
            true => "none is installed".into(),
            false => tried.join("; "),
        }))
    }

    fn new(rustc: &Path, cargo: &Path) -> Result<Toolchain, String> {
        for path in [rustc, cargo] {
            if !path.is_file() {
                return Err(format!("{} doesn't exist", path.display()));
            }
        }
        let ask = |arg: &[&str]| {
            let output = Command::new(rustc)
                .args(arg)
                .output()
                .map_err(|e| e.to_string())?;
            let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            match output.status.success() && !text.is_empty() {
                true => Ok(text),
                false => Err(format!("`rustc {}` failed", arg.join(" "))),
            }
        };
        let version = ask(&["--version"])?;
        let sysroot = PathBuf::from(ask(&["--print", "sysroot"])?);
        let mut toolchain = Toolchain {
            rustc: rustc.to_owned(),
            cargo: cargo.to_owned(),
            sysroot,
            linker: PathBuf::new(),
            version,
        };
        let source = toolchain.library_source().join("library/core/Cargo.toml");
        if !source.is_file() {
            return Err(format!(
                "no source of the core library at {}",
                source.display()
            ));
        }
        toolchain.linker = toolchain
            .find_linker()
            .ok_or("no ld.lld was found (package lld-19)")?;
        Ok(toolchain)
    }

    /// Cargo set up to use this toolchain and no other.
    pub fn cargo(&self) -> Command {
        let mut command = Command::new(&self.cargo);
        // Build scripts and macros are linked for the host with the same compiler; nightly
        // features are needed for the target description and the core library.
        command
            .env("RUSTC", &self.rustc)
            .env("RUSTC_BOOTSTRAP", "1");
        for name in ["RUSTUP_TOOLCHAIN", "RUSTC_WRAPPER", "RUSTDOC", "CARGO"] {
            command.env_remove(name);
        }
        command
    }

    /// The compiler, with the nightly features that guests need.
    pub fn rustc(&self) -> Command {
        let mut command = Command::new(&self.rustc);
        command.env("RUSTC_BOOTSTRAP", "1");
        command
    }

    /// The linker for the guest's ELF, an `ld.lld`.
    pub fn linker(&self) -> &Path {
        &self.linker
    }

    /// Where the core library's source is.
    pub(super) fn library_source(&self) -> PathBuf {
        let path = self.sysroot.join("lib/rustlib/src/rust");
        // Distributions keep it elsewhere behind a link; messages show the real place.
        path.canonicalize().unwrap_or(path)
    }

    fn find_linker(&self) -> Option<PathBuf> {
        let dirs: Vec<PathBuf> = std::env::var_os("PATH")
            .map(|path| std::env::split_paths(&path).collect())
            .unwrap_or_default();
        let versions = (14..=30).rev().map(|n| format!("ld.lld-{n}"));
        let names = std::iter::once("ld.lld".to_owned()).chain(versions);
        names
            .flat_map(|name| {
                dirs.iter()
                    .map(move |dir| dir.join(&name))
                    .collect::<Vec<_>>()
            })
            .find(|path| path.is_file())
            .or_else(|| {
                let hosts = std::fs::read_dir(self.sysroot.join("lib/rustlib")).ok()?;
                hosts
                    .flatten()
                    .map(|host| host.path().join("bin/gcc-ld/ld.lld"))
                    .find(|path| path.is_file())
            })
    }
}

/// Pairs of rustc and cargo worth a look, best first.
fn candidates() -> Vec<(PathBuf, PathBuf)> {
    let var = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let mut out = Vec::new();
    if let (Some(rustc), Some(cargo)) = (var("JAR_GUEST_RUSTC"), var("JAR_GUEST_CARGO")) {
        return vec![(rustc, cargo)];
    }
    out.push(("/usr/bin/rustc".into(), "/usr/bin/cargo".into()));
    let which = |tool: &str| {
        let output = Command::new("rustup")
            .args(["which", "--toolchain", "nightly", tool])
            .output();
        let output = output.ok().filter(|o| o.status.success())?;
        Some(PathBuf::from(
            String::from_utf8_lossy(&output.stdout).trim(),
        ))
    };
    out.extend(which("rustc").zip(which("cargo")));
    out
}
