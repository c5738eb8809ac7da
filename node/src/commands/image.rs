//! `jar-node image`.

use std::path::Path;

use anyhow::Context;
use jar_transpiler::Summary;
use jar_transpiler::build::{Options, build_crate};
use parity_scale_codec::Encode;
use serde_json::{Value, json};

use super::print_json;
use crate::cli::Image;
use crate::output::say;
use crate::spec::{IMAGE_BYTES_MAX, read_bounded};

/// Builds or shows an Image.
pub fn run(command: Image) -> anyhow::Result<()> {
    match command {
        Image::Build { dir, out, json } => build(&dir, out.as_deref(), json),
        Image::Inspect { file, json } => {
            let summary = jar_transpiler::inspect(&read(&file)?);
            if json {
                return print_json(&summary_json(&summary));
            }
            crate::output::write(format_args!("{summary}"));
            Ok(())
        }
        Image::Disassemble { file } => disassemble(&file),
    }
}

fn read(file: &Path) -> anyhow::Result<jar_cap::image::Image> {
    let bytes = read_bounded(file, IMAGE_BYTES_MAX)?;
    jar_cap::image::Image::decode_checked(&bytes)
        .with_context(|| format!("{} is not an Image", file.display()))
}

fn build(dir: &Path, out: Option<&Path>, json: bool) -> anyhow::Result<()> {
    let built = build_crate(dir, &Options::default())?;
    let name = built
        .image
        .metadata
        .get("name")
        .map_or("guest".into(), |name| {
            String::from_utf8_lossy(name).into_owned()
        });
    let default = Path::new(&format!("{name}.image")).to_owned();
    let out = out.unwrap_or(&default);
    std::fs::write(out, built.image.encode())
        .with_context(|| format!("cannot write {}", out.display()))?;
    let summary = jar_transpiler::inspect(&built.image);
    if json {
        let mut answer = summary_json(&summary);
        answer["file"] = out.to_string_lossy().into();
        return print_json(&answer);
    }
    say!("{}", out.display());
    crate::output::write(format_args!("{summary}"));
    Ok(())
}

fn disassemble(file: &Path) -> anyhow::Result<()> {
    let program = read(file)?.program;
    let program = jar_pvm::Program::new(program.code, program.bitmask, program.jump_table)?;
    crate::output::write(format_args!("{}", jar_pvm::disassemble(&program)));
    Ok(())
}

/// A summary as JSON.
pub fn summary_json(summary: &Summary) -> Value {
    let endpoints: Vec<Value> = summary
        .endpoints
        .iter()
        .map(|(index, name, role, pc)| json!({ "index": index, "name": name, "role": role, "pc": pc }))
        .collect();
    let memory: Vec<Value> = summary
        .memory
        .iter()
        .map(|(start, size, source)| json!({ "start": start, "size": size, "source": source }))
        .collect();
    let pairs = |pairs: &[(String, String)]| -> Value {
        let map: serde_json::Map<_, _> = pairs
            .iter()
            .map(|(key, value)| (key.clone(), value.clone().into()))
            .collect();
        map.into()
    };
    json!({
        "id": jar_rpc::to_hex(&summary.id),
        "encoded_bytes": summary.encoded_bytes,
        "code_bytes": summary.code_bytes,
        "jump_table_len": summary.jump_table_len,
        "endpoints": endpoints,
        "memory": memory,
        "pinned": pairs(&summary.pinned),
        "metadata": pairs(&summary.metadata),
    })
}
