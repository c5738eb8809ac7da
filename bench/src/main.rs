//! This project's engines beside `polkavm` and `javm`, in one process: medians
//! of rounds in which each engine takes its turn.
//!
//! `cargo run --release` in this folder; see `docs/recompiler.md`.

mod engines;
mod programs;

use std::time::Instant;

use engines::{Bench, Jar, Javm, PolkaVm};
use jar_pvm::EngineKind;
use programs::{Workload, long, workloads};

const ROUNDS: usize = 15;

fn micros(from: Instant) -> f64 {
    from.elapsed().as_nanos() as f64 / 1e3
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Medians in microseconds of compile + run, and of a run on a hot machine.
fn measure(engines: &[Box<dyn Bench>], workload: &Workload) -> Vec<[f64; 2]> {
    let mut times = vec![[vec![], vec![]]; engines.len()];
    for _ in 0..ROUNDS {
        for (engine, [whole, hot]) in engines.iter().zip(&mut times) {
            let from = Instant::now();
            let compiled = engine.compile(&workload.program);
            let mut machine = compiled.start();
            let outcome = machine.run();
            whole.push(micros(from));
            let name = (engine.name(), workload.name);
            assert_eq!(outcome, (workload.result, workload.calls), "{name:?}");
            let from = Instant::now();
            assert_eq!(machine.run(), outcome, "{name:?}");
            hot.push(micros(from));
        }
    }
    times.into_iter().map(|times| times.map(median)).collect()
}

fn line(name: &str, times: &[f64]) {
    print!("{name:24}");
    for time in times {
        print!("{time:>14.1}");
    }
    let best_peer = times[2..].iter().copied().fold(f64::INFINITY, f64::min);
    println!("{:>12.2}x", best_peer / times[0]);
}

fn main() {
    let mut engines: Vec<Box<dyn Bench>> = vec![
        Box::new(Jar::new(EngineKind::Recompiler)),
        Box::new(Jar::new(EngineKind::Interpreter)),
        Box::new(Javm),
    ];
    match PolkaVm::new() {
        Ok(engine) => engines.push(Box::new(engine)),
        Err(error) => eprintln!("polkavm is left out: {error}"),
    }
    print!("{:24}", "microseconds");
    for engine in &engines {
        print!("{:>14}", engine.name());
    }
    println!("{:>13}", "best peer");
    for workload in workloads() {
        let times = measure(&engines, &workload);
        let column = |index: usize| times.iter().map(|t| t[index]).collect::<Vec<_>>();
        line(&format!("{} compile+run", workload.name), &column(0));
        line(&format!("{} run", workload.name), &column(1));
    }
    compile_only(&engines);
}

fn compile_only(engines: &[Box<dyn Bench>]) {
    let program = long(4000);
    let mut times = vec![vec![]; engines.len()];
    for _ in 0..ROUNDS {
        for (engine, times) in engines.iter().zip(&mut times) {
            let from = Instant::now();
            drop(engine.compile(&program).start());
            times.push(micros(from));
        }
    }
    let times: Vec<f64> = times.into_iter().map(median).collect();
    let name = format!("compile {} KB + start", program.code_len() / 1000);
    line(&name, &times);
}
