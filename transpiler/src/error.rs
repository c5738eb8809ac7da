//! The crate's error.

use std::path::PathBuf;

/// Why a guest could not be built or translated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file is not an ELF that can be read.
    #[error("not a readable ELF file: {0}")]
    Elf(String),
    /// The ELF is not an executable for RV64E, little-endian.
    #[error("unsupported ELF: {0}")]
    Unsupported(String),
    /// An instruction without a translation.
    #[error("{symbol} at {address:#x}: `{instruction}`: {reason}")]
    Instruction {
        /// The function, with the offset in it: `name+0x10`.
        symbol: String,
        /// Its address in the ELF.
        address: u64,
        /// Its assembler text, or `.word 0x…` when it doesn't decode.
        instruction: String,
        /// Why it has no translation.
        reason: String,
    },
    /// A relocation that can't be carried over.
    #[error("{symbol} at {address:#x}: relocation type {kind} against {target:#x}: {reason}")]
    Relocation {
        /// The function or object that holds it.
        symbol: String,
        /// Its address in the ELF.
        address: u64,
        /// The ELF relocation type (`R_RISCV_…` number).
        kind: u32,
        /// The address it refers to.
        target: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// An endpoint descriptor in `.jar.endpoints` is wrong.
    #[error("endpoint {name}: {reason}")]
    Endpoint {
        /// The endpoint's name, or its position in the section.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// The sections don't form a valid memory layout.
    #[error("memory layout: {0}")]
    Layout(String),
    /// The result is no valid Image.
    #[error("the Image is not valid: {0}")]
    Image(#[from] jar_cap::Error),
    /// No toolchain that can build guests.
    #[error(
        "no Rust toolchain for guests was found: {0}\n\
         Either install Debian's packages\n    \
         apt-get install --no-install-recommends rustc-web cargo-web rust-web-src lld-19\n\
         or a nightly toolchain with the core library's source\n    \
         rustup toolchain install nightly --profile minimal --component rust-src"
    )]
    NoToolchain(String),
    /// The compiler refused the guest.
    #[error("building the guest in {dir} failed:\n{output}")]
    Build {
        /// The crate's directory.
        dir: PathBuf,
        /// What cargo wrote to its standard error.
        output: String,
    },
    /// The guest's manifest says something that isn't understood.
    #[error("{path}: {reason}")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file could not be read or written, or a program not be run.
    #[error("{path}: {source}")]
    Io {
        /// The file or program.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { path, source }
    }
}
