//! Logs: for people on a terminal, or one JSON object a line.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::cli::LogFormat;

/// Targets of the RPC library.
const RPC_LIBRARY: &str = "jsonrpsee_server";

/// Starts logging to standard error.
pub fn start(format: LogFormat, filter: &str) -> anyhow::Result<()> {
    let mut layers = EnvFilter::try_new(filter).with_context(|| format!("log_level {filter:?}"))?;
    if !filter.contains(RPC_LIBRARY) {
        // It warns of what clients do wrong, which they are told, and the metrics count.
        layers = layers.add_directive(format!("{RPC_LIBRARY}=error").parse()?);
    }
    let builder = tracing_subscriber::fmt()
        .with_env_filter(layers)
        .with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Human => builder
            .with_ansi(std::io::stderr().is_terminal())
            .try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}
