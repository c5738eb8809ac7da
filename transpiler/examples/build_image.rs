//! Builds a guest crate and writes its Image: `build_image <crate> <file>`.

use std::path::PathBuf;

use jar_transpiler::build::{Options, build_crate};
use parity_scale_codec::Encode as _;

fn main() {
    if let Err(error) = run() {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(dir), Some(file)) = (args.next(), args.next()) else {
        return Err("usage: build_image <crate> <file>".into());
    };
    let built = build_crate(&dir, &Options::default())?;
    if let Some(elf) = args.next() {
        std::fs::write(elf, &built.elf)?;
    }
    std::fs::write(&file, built.image.encode())?;
    print!("{}", jar_transpiler::inspect(&built.image));
    Ok(())
}
