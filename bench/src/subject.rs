//! One workload on one engine.

use std::hint::black_box;
use std::sync::Arc;

use jar_pvm::{Code, Engine, GasModel, Machine, Program};

use crate::guests::Guest;

/// The steps of a host with a fresh program.
pub trait Subject {
    /// The engine's name.
    fn name(&self) -> &'static str;
    /// Bytes of bytecode.
    fn code_len(&self) -> usize;
    /// From the bytes of the program to code.
    fn compile(&mut self);
    /// A machine ready to run.
    fn start(&mut self);
    /// Runs the machine at size `n`; the checksum.
    fn run(&mut self, n: u64) -> u64;
    /// Forgets machine and code.
    fn drop_all(&mut self);
}

/// This project's engines.
pub struct Jar {
    name: &'static str,
    engine: Arc<dyn Engine>,
    model: GasModel,
    guest: Arc<Guest>,
    code: Option<Arc<dyn Code>>,
    machine: Option<Box<dyn Machine>>,
}

impl Jar {
    pub fn new(
        name: &'static str,
        engine: Arc<dyn Engine>,
        model: GasModel,
        guest: &Arc<Guest>,
    ) -> Jar {
        Jar {
            name,
            engine,
            model,
            guest: guest.clone(),
            code: None,
            machine: None,
        }
    }
}

impl Subject for Jar {
    fn name(&self) -> &'static str {
        self.name
    }

    fn code_len(&self) -> usize {
        let program = Program::from_blob(&self.guest.blob).expect("a sound program");
        program.code().len()
    }

    fn compile(&mut self) {
        let program = Program::from_blob(&self.guest.blob).expect("a sound program");
        self.code = Some(self.engine.prepare(Arc::new(program), self.model));
    }

    fn start(&mut self) {
        let code = self.code.clone().expect("compiled before");
        self.machine = Some(code.machine(self.guest.memory()));
    }

    fn run(&mut self, n: u64) -> u64 {
        let machine = self.machine.as_mut().expect("started before");
        self.guest.run(&mut **machine, n, workloads::host_answer)
    }

    fn drop_all(&mut self) {
        self.machine = None;
        self.code = None;
    }
}

/// The host itself, where there is nothing to compile.
pub struct Native(pub fn(u64) -> u64);

impl Native {
    pub fn new(workload: &str) -> Native {
        #[inline(never)]
        fn host(value: u64) -> u64 {
            black_box(workloads::host_answer(value))
        }
        Native(match workload {
            "fib" => workloads::fib,
            "hostcall" => |n| workloads::hostcall(n, black_box(host as fn(u64) -> u64)),
            "sort" => workloads::sort,
            "sieve" => workloads::sieve,
            "blake2b" => workloads::blake2b,
            "keccak" => workloads::keccak,
            "ed25519" => workloads::ed25519,
            "ecrecover" => workloads::ecrecover,
            other => panic!("no workload {other}"),
        })
    }
}

impl Subject for Native {
    fn name(&self) -> &'static str {
        "native"
    }

    fn code_len(&self) -> usize {
        0
    }

    fn compile(&mut self) {}

    fn start(&mut self) {}

    fn run(&mut self, n: u64) -> u64 {
        black_box(self.0)(black_box(n))
    }

    fn drop_all(&mut self) {}
}
