//! Runs and replays targets, and keeps their corpora; `scripts/fuzz` adds coverage.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use jar_fuzz::run::{Limits, run};
use jar_fuzz::{TARGETS, Target, corpus, target};

const USAGE: &str = "usage:
  jar-fuzz list                       names of the targets
  jar-fuzz run TARGET SECONDS [SEED]  corpus, mutations and new inputs, without coverage
  jar-fuzz replay TARGET FILE         one input
  jar-fuzz unpack TARGET FOLDER       writes the committed corpus as files
  jar-fuzz pack TARGET FOLDER         makes the files of a folder the committed corpus";

fn named(name: &str) -> Result<Target, String> {
    target(name).ok_or_else(|| format!("no target {name}; there are: {}", names()))
}

fn names() -> String {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    names.join(" ")
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text} is no number"))
}

fn work(arguments: &[&str]) -> Result<String, String> {
    let said = |count: std::io::Result<usize>| match count {
        Ok(count) => Ok(format!("{count} inputs")),
        Err(error) => Err(error.to_string()),
    };
    match *arguments {
        ["list"] => Ok(names()),
        ["run", name, seconds] => work(&["run", name, seconds, "1"]),
        ["run", name, seconds, seed] => {
            let limits = Limits {
                inputs: u64::MAX,
                time: Some(Duration::from_secs(number(seconds)?)),
            };
            let count = run(&named(name)?, number(seed)?, limits, Path::new("."));
            Ok(format!("{name}: {count} inputs hold"))
        }
        ["replay", name, file] => {
            let data = std::fs::read(file).map_err(|error| format!("{file}: {error}"))?;
            (named(name)?.check)(&data);
            Ok(format!("{name}: {file} holds"))
        }
        ["unpack", name, folder] => said(corpus::unpack(&named(name)?, Path::new(folder))),
        ["pack", name, folder] => said(corpus::pack(&named(name)?, Path::new(folder))),
        _ => Err(USAGE.into()),
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match work(&arguments) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(text) => {
            eprintln!("{text}");
            ExitCode::from(2)
        }
    }
}
