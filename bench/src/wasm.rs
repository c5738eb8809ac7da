//! `wasmtime`, as a figure to compare a host call with.

use wasmtime::{Engine, Linker, Module, Store};

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
