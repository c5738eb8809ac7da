//! Logs: for people on a terminal, or one JSON object a line.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::cli::LogFormat;

/// Libraries that warn of what clients and peers do wrong, which those are told or pay for, and
/// the metrics count.
const LIBRARIES: [&str; 2] = ["jsonrpsee_server", "libp2p"];

/// The filter of a setting. A bare word is a level: as a target it would silence all others.
fn parse(filter: &str) -> anyhow::Result<EnvFilter> {
    let is_level = |part: &str| !part.is_empty() && part.parse::<LevelFilter>().is_ok();
    let is_good = |part: &str| part.contains('=') || is_level(part);
    filter
        .split(',')
        .all(|part| is_good(part.trim()))
        .then(|| EnvFilter::try_new(filter).ok())
        .flatten()
        .with_context(|| {
            format!(
                "log_level {filter:?}: a level (off, error, warn, info, debug, trace) and TARGET=LEVEL expected, with commas, as info,guest=debug"
            )
        })
}

/// Starts logging to standard error.
pub fn start(format: LogFormat, filter: &str) -> anyhow::Result<()> {
    let mut layers = parse(filter)?;
    for library in LIBRARIES
        .iter()
        .filter(|library| !filter.contains(**library))
    {
        layers = layers.add_directive(format!("{library}=error").parse()?);
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

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn filters_are_levels_and_targets() {
        for good in ["info", "warn,guest=debug", "off", "chain=debug, info"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in ["blah", "", "info,guest", "a=b=c", "guest=loud"] {
            let error = parse(bad).expect_err(bad).to_string();
            assert!(error.contains("TARGET=LEVEL"), "{error}");
        }
    }
}
