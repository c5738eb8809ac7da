//! `scripts/sim`: many seeds, and for those that fail, how to see them again.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use jar_pvm::{Engine, EngineKind};
use jar_sim::{Counts, Detail, RESUME_SLOTS, Report, Scenario, simulate};

const USAGE: &str = "usage: scripts/sim [--seeds N] [--first-seed N] [--threads N] [--log]

Simulates a network of four validators, at most one of them byzantine, once for each seed, and
checks what must hold. --log prints what happens in each. The default is 100 seeds from 0, on
all cores; the number of threads changes nothing in what is printed.";

/// What is asked for.
struct Arguments {
    seeds: u64,
    first_seed: u64,
    /// All cores if it is `None`.
    threads: Option<u64>,
    log: bool,
}

fn arguments() -> Result<Option<Arguments>, String> {
    let mut arguments = Arguments {
        seeds: 100,
        first_seed: 0,
        threads: None,
        log: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || {
            let value = words.next().and_then(|value| value.parse().ok());
            value.ok_or_else(|| format!("{word} needs a number"))
        };
        match word.as_str() {
            "--seeds" => arguments.seeds = number()?,
            "--first-seed" => arguments.first_seed = number()?,
            "--threads" => arguments.threads = Some(number()?.max(1)),
            "--log" => arguments.log = true,
            "-h" | "--help" => return Ok(None),
            other => return Err(format!("unknown argument {other}")),
        }
    }
    Ok(Some(arguments))
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("error: {error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match jar_pvm::engine(EngineKind::Auto) {
        Ok(engine) => run(&arguments, &engine),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Plays the seeds on several threads, and reports them in order.
fn run(arguments: &Arguments, engine: &Arc<dyn Engine>) -> ExitCode {
    let started = Instant::now();
    let seeds = arguments.first_seed..arguments.first_seed.saturating_add(arguments.seeds);
    let (next, stop) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = arguments.threads.map_or(cores, |threads| threads as usize);
    let (sender, reports) = mpsc::sync_channel(threads * 4);
    let detail = Detail {
        log: arguments.log,
        slots: false,
    };
    let mut totals = Totals::default();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next, stop, end) = (sender.clone(), &next, &stop, seeds.end);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let report = simulate(&Scenario::of_seed(seed), engine.clone(), detail);
                    if sender.send((seed, report)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        totals.collect(seeds.start, reports);
        stop.store(true, Ordering::Relaxed);
    });
    totals.print(started.elapsed().as_millis() as u64);
    match totals.failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Sums over all seeds.
#[derive(Default)]
struct Totals {
    played: u64,
    failed: u64,
    counts: Counts,
    virtual_ms: u64,
    resumed_after_max: u64,
}

impl Totals {
    /// Reports come in any order and are shown by seed.
    fn collect(&mut self, first: u64, reports: mpsc::Receiver<(u64, Report)>) {
        let mut waiting = std::collections::BTreeMap::new();
        let mut next = first;
        for (seed, report) in reports {
            waiting.insert(seed, report);
            while let Some(report) = waiting.remove(&next) {
                self.add(next, &report);
                next += 1;
            }
        }
    }

    fn add(&mut self, seed: u64, report: &Report) {
        print!("{}", report.log);
        self.played += 1;
        self.counts.add(&report.counts);
        self.virtual_ms += report.virtual_ms;
        let resumed = report.resumed_after.unwrap_or(0);
        self.resumed_after_max = self.resumed_after_max.max(resumed);
        if let Some(conflict) = &report.weakened {
            println!("seed {seed}: a justified child is not enough: {conflict}");
        }
        if let Some(violation) = &report.violation {
            self.failed += 1;
            println!("seed {seed}: {violation}");
            println!(
                "  to play it again, with its log: scripts/sim --first-seed {seed} --seeds 1 --log"
            );
        }
    }

    fn print(&self, took_ms: u64) {
        for (what, count) in self.counts.named() {
            println!("{count:>12} {what}");
        }
        println!(
            "{} seeds, {} failed; finality resumed at the latest {} slots after the healing (limit {RESUME_SLOTS})",
            self.played, self.failed, self.resumed_after_max
        );
        // What depends on the machine is no part of what replays.
        let ratio = self.virtual_ms / took_ms.max(1);
        eprintln!(
            "{} s of virtual time in {} s: {ratio} times faster",
            self.virtual_ms / 1000,
            took_ms / 1000
        );
    }
}
