//! `wasmtime`, as a figure to compare a host call and a nested call with.

use std::time::Instant;

use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, InstancePre, Linker, Module,
    PoolingAllocationConfig, Store,
};

use crate::measure::{median, micros};

const LOOP: &str = r#"
(module
  (import "host" "answer" (func $answer (param i64) (result i64)))
  (func (export "run") (param $n i64) (result i64)
    (local $value i64)
    (local.set $value (i64.const 1))
    (loop $again
      (local.set $value (call $answer (local.get $value)))
      (local.set $n (i64.sub (local.get $n) (i64.const 1)))
      (br_if $again (i64.ne (local.get $n) (i64.const 0))))
    (local.get $value)))
"#;

/// Median nanoseconds of a host call and its way back, in a loop of `n`.
pub fn host_call(n: u64, rounds: usize) -> f64 {
    let engine = Engine::default();
    let module = Module::new(&engine, LOOP).expect("a sound module");
    let mut linker = Linker::new(&engine);
    let answer = |value: u64| workloads::host_answer(value);
    linker
        .func_wrap("host", "answer", answer)
        .expect("one import");
    let mut store = Store::new(&engine, ());
    let instance = linker
        .instantiate(&mut store, &module)
        .expect("an instance");
    let run = instance
        .get_typed_func::<u64, u64>(&mut store, "run")
        .expect("its export");
    let expected = workloads::hostcall(n, workloads::host_answer);
    let mut once = || {
        let (time, result) = micros(|| run.call(&mut store, n).expect("it returns"));
        assert_eq!(result, expected, "wasmtime");
        time
    };
    let times: Vec<f64> = (0..=rounds).map(|_| once()).collect();
    median(&times[1..]) * 1e3 / n as f64
}

/// An export that does nothing, in a module with as much memory as the kernel's callee.
const EMPTY: &str = r#"(module (memory 1) (func (export "run")))"#;

/// Engines with instances in pools, each ready to instantiate.
pub struct Pool {
    ready: Vec<InstancePre<()>>,
}

impl Pool {
    /// One pool as it is by default, one that keeps an instance's memory in place.
    pub fn new() -> Pool {
        let mut resident = PoolingAllocationConfig::default();
        resident.linear_memory_keep_resident(64 << 10);
        resident.table_keep_resident(64 << 10);
        let pools = [PoolingAllocationConfig::default(), resident];
        let ready = pools.into_iter().map(|pool| {
            let mut config = Config::new();
            config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
            let engine = Engine::new(&config).expect("a pool");
            let module = Module::new(&engine, EMPTY).expect("a sound module");
            let linker = Linker::new(&engine);
            linker.instantiate_pre(&module).expect("no imports")
        });
        Pool {
            ready: ready.collect(),
        }
    }

    /// Nanoseconds of an instantiation, a call and giving all back, on average of `count`; of
    /// the pool that is faster.
    pub fn instantiate_and_call(&mut self, count: u32) -> f64 {
        let once = |ready: &InstancePre<()>| {
            let mut store = Store::new(ready.module().engine(), ());
            let instance = ready.instantiate(&mut store).expect("room in the pool");
            let run = instance
                .get_typed_func::<(), ()>(&mut store, "run")
                .expect("its export");
            run.call(&mut store, ()).expect("it returns");
        };
        let average = |ready: &InstancePre<()>| {
            (0..count / 10 + 1).for_each(|_| once(ready));
            let started = Instant::now();
            (0..count).for_each(|_| once(ready));
            started.elapsed().as_nanos() as f64 / f64::from(count)
        };
        self.ready.iter().map(average).fold(f64::INFINITY, f64::min)
    }
}
