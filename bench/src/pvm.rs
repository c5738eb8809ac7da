//! The engines: the table and the goals.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jar_pvm::{Engine, EngineKind, GasModel};
use jar_transpiler::build::Toolchain;
use polkavm::{BackendKind, SandboxKind};

use crate::goals::{Op, goal};
use crate::guests::{self, Guest, WORKLOADS};
use crate::javm::Javm;
use crate::measure::{Times, geometric_mean, greatest, least, measure};
use crate::polkavm::{PolkaVm, build as build_polkavm, engine as polkavm_engine};
use crate::start;
use crate::subject::{Jar, Native, Subject};

pub const ROUNDS: usize = 21;

/// Columns of the table, in the order of [`subjects`].
const OURS: usize = 0;
const POLKAVM: [usize; 2] = [1, 2];
const JAVM: usize = 3;
const NATIVE: usize = 4;
const INTERPRETER: usize = 5;
const PEER_INTERPRETERS: [usize; 2] = [6, 7];
const GAS_OFF: usize = 8;
/// The peers that compile.
const PEERS: [usize; 3] = [1, 2, 3];

/// What was measured of one workload.
struct Row {
    name: &'static str,
    n: u64,
    code_lens: Vec<usize>,
    times: Vec<Times>,
}

impl Row {
    /// How many times as long as ours the best of `peers` takes.
    fn ratio(&self, ours: usize, peers: &[usize], time: impl Fn(&Times) -> f64) -> f64 {
        let best = least(peers.iter().map(|peer| time(&self.times[*peer])));
        best / time(&self.times[ours])
    }

    /// Bytes of bytecode that engine `index` compiles in a microsecond.
    fn compile_rate(&self, index: usize) -> f64 {
        self.code_lens[index] as f64 / self.times[index].compile
    }
}

struct Bench {
    toolchain: Toolchain,
    guests: PathBuf,
    work: PathBuf,
    recompiler: Arc<dyn Engine>,
    interpreter: Arc<dyn Engine>,
    polkavm: [(&'static str, Arc<polkavm::Engine>); 3],
}

impl Bench {
    fn new() -> Bench {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let work = std::env::var_os("CARGO_TARGET_DIR");
        let work = work.map_or_else(|| here.join("target"), PathBuf::from);
        let own = |kind| jar_pvm::engine(kind).expect("this platform has the engine");
        let peer = |name, backend, sandbox| {
            let engine = polkavm_engine(backend, sandbox);
            let engine = engine.unwrap_or_else(|e| panic!("{name}: {e}"));
            (name, Arc::new(engine))
        };
        Bench {
            toolchain: Toolchain::find().unwrap_or_else(|e| panic!("{e}")),
            guests: here.join("guests"),
            work: work.join("polkavm"),
            recompiler: own(EngineKind::Recompiler),
            interpreter: own(EngineKind::Interpreter),
            polkavm: [
                peer("polkavm", BackendKind::Compiler, SandboxKind::Linux),
                peer(
                    "polkavm inline",
                    BackendKind::Compiler,
                    SandboxKind::Generic,
                ),
                peer(
                    "polkavm interpreter",
                    BackendKind::Interpreter,
                    SandboxKind::Linux,
                ),
            ],
        }
    }

    fn guest(&self, name: &str) -> Arc<Guest> {
        Arc::new(guests::build(&self.toolchain, &self.guests, name))
    }

    fn subjects(&self, name: &str) -> Vec<Box<dyn Subject>> {
        let guest = self.guest(name);
        let jar = |name, engine: &Arc<dyn Engine>| {
            Jar::new(name, engine.clone(), GasModel::Pipeline, &guest)
        };
        let ours = jar("recompiler", &self.recompiler);
        let len = ours.code_len();
        let blob = build_polkavm(&self.toolchain, &self.guests, &self.work, name);
        let [linux, inline, interpreter] = &self.polkavm;
        let polkavm = |(name, engine): &(&'static str, Arc<polkavm::Engine>)| {
            Box::new(PolkaVm::new(name, engine.clone(), blob.clone()))
        };
        vec![
            Box::new(ours),
            polkavm(linux),
            polkavm(inline),
            Box::new(Javm::new(&guest, len, true)),
            Box::new(Native::new(name)),
            Box::new(jar("interpreter", &self.interpreter)),
            polkavm(interpreter),
            Box::new(Javm::new(&guest, len, false)),
            Box::new(Jar::new(
                "recompiler, gas off",
                self.recompiler.clone(),
                GasModel::Unmetered,
                &guest,
            )),
        ]
    }

    fn row(&self, name: &'static str, n: u64, rounds: usize) -> Row {
        let mut subjects = self.subjects(name);
        let times = measure(&mut subjects, n, rounds);
        let code_lens = subjects.iter().map(|subject| subject.code_len()).collect();
        Row {
            name,
            n,
            code_lens,
            times,
        }
    }
}

/// Measures everything and prints the tables and the goals.
pub fn run(rounds: usize) {
    let bench = Bench::new();
    let rows: Vec<Row> = WORKLOADS
        .iter()
        .map(|(name, n)| {
            eprintln!("{name}");
            bench.row(name, *n, rounds)
        })
        .collect();
    tables(&rows);
    println!("```text");
    compiler_goals(&rows);
    interpreter_goals(&rows);
    gas_goal(&rows);
    host_call_goal(&rows, rounds);
    start_goals(&bench);
    println!("```");
}

fn tables(rows: &[Row]) {
    let compilers = [OURS, 1, 2, JAVM, NATIVE];
    let heads = "recompiler,polkavm,polkavm inline,javm,native";
    table(
        "compile and run, µs",
        heads,
        rows,
        &compilers[..4],
        &PEERS,
        |t| t.whole,
    );
    table("run, µs", heads, rows, &compilers, &PEERS, |t| t.run);
    table(
        "compile and start, µs",
        heads,
        rows,
        &compilers[..4],
        &PEERS,
        |t| t.compile,
    );
    let interpreters = [INTERPRETER, 6, 7];
    let heads = "interpreter,polkavm,javm";
    table(
        "interpreters, decode and run, µs",
        heads,
        rows,
        &interpreters,
        &PEER_INTERPRETERS,
        |t| t.whole,
    );
}

fn table(
    title: &str,
    heads: &str,
    rows: &[Row],
    columns: &[usize],
    peers: &[usize],
    time: impl Fn(&Times) -> f64,
) {
    let heads: Vec<&str> = heads.split(',').take(columns.len()).collect();
    println!("| {title} | {} | best peer / ours |", heads.join(" | "));
    println!("|---|{}", "--:|".repeat(heads.len() + 1));
    for row in rows {
        let cells = columns
            .iter()
            .map(|i| format!("{:.1}", time(&row.times[*i])));
        let cells: Vec<String> = cells.collect();
        let ratio = row.ratio(columns[0], peers, &time);
        println!(
            "| {} {} | {} | {ratio:.2} |",
            row.name,
            row.n,
            cells.join(" | ")
        );
    }
    println!();
}

fn compiler_goals(rows: &[Row]) {
    let ratios = |time: fn(&Times) -> f64| -> Vec<f64> {
        rows.iter()
            .map(|row| row.ratio(OURS, &PEERS, time))
            .collect()
    };
    let (whole, run) = (ratios(|t| t.whole), ratios(|t| t.run));
    goal(
        "compile-run-worst",
        least(whole.iter().copied()),
        Op::AtLeast,
        1.0,
    );
    goal("compile-run-mean", geometric_mean(whole), Op::AtLeast, 1.5);
    goal("run-worst", least(run.iter().copied()), Op::AtLeast, 0.98);
    goal("run-mean", geometric_mean(run), Op::AtLeast, 1.3);
    let native = rows
        .iter()
        .map(|row| 1.0 / row.ratio(OURS, &[NATIVE], |t| t.run));
    goal("run-native-mean", geometric_mean(native), Op::AtMost, 2.0);
    let rate = |peers: &[usize]| {
        geometric_mean(rows.iter().map(|row| {
            let best = greatest(peers.iter().map(|peer| row.compile_rate(*peer)));
            row.compile_rate(OURS) / best
        }))
    };
    goal("compile-polkavm", rate(&POLKAVM), Op::AtLeast, 1.3);
    goal("compile-javm", rate(&[JAVM]), Op::AtLeast, 1.0);
}

fn interpreter_goals(rows: &[Row]) {
    let ratio = |row: &Row| row.ratio(INTERPRETER, &PEER_INTERPRETERS, |t| t.whole);
    let ratios: Vec<f64> = rows.iter().map(ratio).collect();
    goal(
        "interpreter-worst",
        least(ratios.iter().copied()),
        Op::AtLeast,
        1.0,
    );
    goal("interpreter-mean", geometric_mean(ratios), Op::AtLeast, 1.3);
}

/// Tight loops with gas metered, in times of the same with gas off: the worst.
fn gas_goal(rows: &[Row]) {
    let loops = rows
        .iter()
        .filter(|row| ["fib", "sort", "sieve"].contains(&row.name));
    let ratio = |row: &Row| row.times[OURS].run / row.times[GAS_OFF].run;
    goal(
        "gas-on-off-worst",
        greatest(loops.map(ratio)),
        Op::AtMost,
        1.1,
    );
}

/// A host call is the loop around it too: a handful of instructions.
fn host_call_goal(rows: &[Row], rounds: usize) {
    let row = rows.iter().find(|row| row.name == "hostcall");
    let row = row.expect("one of the workloads");
    let nanos = |index: usize| row.times[index].run * 1e3 / row.n as f64;
    println!(
        "host call, ns: recompiler {:.1}, polkavm {:.1}, polkavm inline {:.1}, javm {:.1}, \
         native {:.1}, wasmtime {}",
        nanos(OURS),
        nanos(POLKAVM[0]),
        nanos(POLKAVM[1]),
        nanos(JAVM),
        nanos(NATIVE),
        wasmtime_host_call(row.n, rounds),
    );
    let best = least(PEERS.map(nanos));
    goal(
        "host-call-ns",
        nanos(OURS),
        Op::AtMost,
        (0.5 * best).max(6.0),
    );
}

#[cfg(feature = "wasmtime")]
fn wasmtime_host_call(n: u64, rounds: usize) -> String {
    format!("{:.1}", crate::wasm::host_call(n, rounds))
}

#[cfg(not(feature = "wasmtime"))]
fn wasmtime_host_call(_: u64, _: usize) -> String {
    "not measured".into()
}

fn start_goals(bench: &Bench) {
    let touch = bench.guest("touch");
    let start = |bytes, eager| start::start(&*bench.recompiler, &touch, bytes, eager);
    goal("start-us", start(0, false), Op::AtMost, 5.0);
    goal("start-eager-us", start(0, true), Op::AtMost, 5.0);
    goal("start-64k-us", start(1 << 16, false), Op::AtMost, 20.0);
    goal("start-64k-eager-us", start(1 << 16, true), Op::AtMost, 20.0);
}
