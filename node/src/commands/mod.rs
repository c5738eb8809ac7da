//! Everything but running the node.

pub mod bench;
pub mod chain_spec;
pub mod config;
pub mod image;
pub mod token;

use clap::CommandFactory;
use serde::Serialize;

use crate::cli::Cli;

/// Prints completions of the command line.
pub fn completions(shell: clap_complete::Shell) {
    clap_complete::generate(
        shell,
        &mut Cli::command(),
        "jar-node",
        &mut std::io::stdout(),
    );
}

/// Prints an answer as JSON.
fn print_json(answer: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(answer)?);
    Ok(())
}
