//! This project's engines beside `polkavm`, `javm`, `wasmtime` and the host itself, in one
//! process: medians of rounds in which each takes its turn.
//!
//! `scripts/bench pvm`; how to read the output: `docs/benchmarks.md`. And what the kernel is
//! measured beside: `jar-node bench kernel` runs it as `jar-bench kernel-peers`.

mod goals;
#[path = "../../pvm/benches/guests/mod.rs"]
mod guests;
mod javm;
mod kernel_peers;
mod measure;
#[cfg(feature = "nomt")]
mod nomt;
mod polkavm;
mod pvm;
mod start;
mod subject;
#[cfg(feature = "wasmtime")]
mod wasm;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["pvm"] => pvm::run(pvm::ROUNDS),
        ["pvm", rounds] => match rounds.parse() {
            Ok(rounds) if rounds > 0 => pvm::run(rounds),
            _ => usage(),
        },
        ["kernel-peers"] => kernel_peers::serve(),
        _ => usage(),
    }
}

fn usage() -> ! {
    eprintln!("usage: jar-bench pvm [ROUNDS] | kernel-peers");
    std::process::exit(2);
}
