//! jar-node: the node and its tools.

mod cli;
mod clock;
mod commands;
mod config;
mod inbox;
mod kernel_thread;
mod keys;
mod logs;
mod metrics;
mod network;
mod output;
mod pages;
mod progress;
mod run;
mod service;
mod shared;
mod signing;
mod spec;
mod tracker;
mod worker;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

fn main() -> ExitCode {
    match start(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        None => {
            let settings = config::merge(&cli.node, None)?.settings;
            logs::start(settings.log, &settings.log_level)?;
            run::run(&settings)
        }
        Some(Command::ChainSpec(command)) => commands::chain_spec::run(command),
        Some(Command::Image(command)) => commands::image::run(command),
        Some(Command::Token(command)) => commands::token::run(command),
        Some(Command::Contracts(command)) => commands::contracts::run(command),
        Some(Command::Tally(command)) => commands::tally::run(command),
        Some(Command::Testnet { nodes, slots, json }) => commands::testnet::run(nodes, slots, json),
        Some(Command::Bench(command)) => commands::bench::run(command),
        Some(Command::Config(command)) => commands::config::run(command),
        Some(Command::Completions { shell }) => {
            commands::completions(shell);
            Ok(())
        }
    }
}
