//! This project's engines on the workloads of `bench/guests`, which take the guests' toolchain
//! to build: `cargo bench -p jar-pvm`. Beside other engines: `scripts/bench pvm`.

mod guests;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use guests::{Guest, WORKLOADS};
use jar_pvm::{Code, Engine, EngineKind, GasModel, Program};
use jar_transpiler::build::Toolchain;

/// What the host does for host call 1; the checksum isn't looked at here.
fn host(value: u64) -> u64 {
    value.rotate_left(7).wrapping_add(1)
}

fn engines() -> Vec<Arc<dyn Engine>> {
    [EngineKind::Recompiler, EngineKind::Interpreter]
        .into_iter()
        .filter_map(|kind| jar_pvm::engine(kind).ok())
        .collect()
}

fn compile(engine: &dyn Engine, guest: &Guest) -> Arc<dyn Code> {
    let program = Program::from_blob(&guest.blob).expect("a sound program");
    engine.prepare(Arc::new(program), GasModel::Pipeline)
}

fn all(c: &mut Criterion) {
    let toolchain = Toolchain::find().unwrap_or_else(|e| panic!("{e}"));
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/guests");
    for (name, n) in WORKLOADS {
        let guest = guests::build(&toolchain, &dir, name);
        for engine in engines() {
            one(c, &*engine, &guest, n);
        }
    }
}

/// Compiling, compiling and running, running on a machine that has run before.
fn one(c: &mut Criterion, engine: &dyn Engine, guest: &Guest, n: u64) {
    let mut group = c.benchmark_group(&guest.name);
    let id = |what: &str| BenchmarkId::new(what, engine.name());
    group.throughput(Throughput::Bytes(guest.blob.len() as u64));
    group.bench_function(id("compile"), |b| b.iter(|| compile(engine, guest)));
    let code = compile(engine, guest);
    group.throughput(Throughput::Elements(1));
    group.bench_function(id("start"), |b| {
        b.iter(|| code.clone().machine(guest.memory()));
    });
    group.bench_function(id("compile and run"), |b| {
        b.iter(|| {
            let mut machine = compile(engine, guest).machine(guest.memory());
            guest.run(&mut *machine, n, host)
        });
    });
    group.bench_function(id("run"), |b| {
        let mut machine = code.clone().machine(guest.memory());
        guest.run(&mut *machine, n, host);
        b.iter(|| guest.run(&mut *machine, n, host));
    });
    group.finish();
}

fn settings() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
}

criterion_group! { name = benches; config = settings(); targets = all }
criterion_main!(benches);
