//! `jar-node config`.

use serde_json::json;

use super::print_json;
use crate::cli::Config;
use crate::config::merge;
use crate::output::say;

/// Shows the settings.
pub fn run(command: Config) -> anyhow::Result<()> {
    let Config::Show { node, json } = command;
    let merged = merge(&node, None)?;
    if json {
        let settings: serde_json::Map<_, _> = merged
            .origins
            .into_iter()
            .map(|(name, (value, origin))| (name, json!({ "value": value, "origin": origin })))
            .collect();
        return print_json(&settings);
    }
    let width = merged.origins.keys().map(String::len).max().unwrap_or(0);
    for (name, (value, origin)) in &merged.origins {
        say!("{name:width$} = {value:?}  # {origin}");
    }
    Ok(())
}
