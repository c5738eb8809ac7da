//! Everything but running the node.

pub mod bench;
mod bench_network;
pub mod chain_spec;
pub mod config;
pub mod contracts;
pub mod image;
mod program;
pub mod tally;
pub mod testnet;
pub mod token;

use clap::CommandFactory;
use serde::Serialize;

use crate::cli::Cli;
use crate::output::say;

/// Prints completions of the command line.
pub fn completions(shell: clap_complete::Shell) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "jar-node", &mut script);
    crate::output::write(format_args!("{}", String::from_utf8_lossy(&script)));
}

/// Prints an answer as JSON.
fn print_json(answer: &impl Serialize) -> anyhow::Result<()> {
    say!("{}", serde_json::to_string_pretty(answer)?);
    Ok(())
}
