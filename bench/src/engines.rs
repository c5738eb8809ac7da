//! The engines under one interface.

use std::sync::Arc;

use jar_pvm::{
    Access, Backing, Code, Engine, EngineKind, Exit, GasModel, Machine, MemoryMap, Program, Region,
};
use polkavm::{
    BackendKind, CacheModel, Config, CostModelKind, GasMeteringKind, InterruptKind, ModuleConfig,
    ProgramBlob, ProgramParts, Reg,
};

use crate::programs::{A1, AREA};

const GAS: u64 = 1 << 50;
const START: u32 = 0x2_0000;

/// One engine; each step does what a host must do for a fresh program.
pub trait Bench {
    fn name(&self) -> &'static str;
    fn compile(&self, program: &Program) -> Box<dyn Compiled>;
}

pub trait Compiled {
    /// A machine ready to run, with memory.
    fn start(&self) -> Box<dyn Run>;
}

pub trait Run {
    /// From address 0 to host call 0; the result in a0 and the other host calls.
    fn run(&mut self) -> (u64, u64);
}

pub struct Jar {
    pub name: &'static str,
    pub engine: Arc<dyn Engine>,
}

impl Jar {
    pub fn new(kind: EngineKind) -> Jar {
        let engine = jar_pvm::engine(kind).expect("this platform has the engine");
        Jar {
            name: engine.name(),
            engine,
        }
    }
}

struct JarCompiled(Arc<dyn Code>);

impl Bench for Jar {
    fn name(&self) -> &'static str {
        self.name
    }

    fn compile(&self, program: &Program) -> Box<dyn Compiled> {
        let program = Arc::new(program.clone());
        Box::new(JarCompiled(
            self.engine.prepare(program, GasModel::Pipeline),
        ))
    }
}

impl Compiled for JarCompiled {
    fn start(&self) -> Box<dyn Run> {
        let region = Region {
            start: START,
            pages: AREA / 4096,
            access: Access::ReadWrite,
            backing: Backing::Zero,
            eager: true,
        };
        let map = MemoryMap::new(vec![region]).expect("a sound layout");
        Box::new(JarRun(self.0.clone().machine(map)))
    }
}

struct JarRun(Box<dyn Machine>);

impl Run for JarRun {
    fn run(&mut self) -> (u64, u64) {
        let machine = &mut *self.0;
        machine.set_pc(0, false);
        machine.set_gas(GAS);
        machine.set_reg(usize::from(A1), u64::from(START));
        let mut calls = 0;
        loop {
            match machine.run().expect("zeros are always there") {
                Exit::HostCall(0) => return (machine.regs()[7], calls),
                Exit::HostCall(_) => calls += 1,
                other => panic!("{other:?} at {}", machine.pc()),
            }
        }
    }
}

pub struct PolkaVm {
    engine: polkavm::Engine,
    config: ModuleConfig,
}

impl PolkaVm {
    pub fn new() -> Result<PolkaVm, polkavm::Error> {
        let mut config = Config::new();
        config.set_backend(Some(BackendKind::Compiler));
        config.set_allow_experimental(true);
        if let Ok(sandbox) = std::env::var("POLKAVM_SANDBOX") {
            let generic = sandbox == "generic";
            config.set_sandbox(generic.then_some(polkavm::SandboxKind::Generic));
        }
        let engine = polkavm::Engine::new(&config)?;
        let mut config = ModuleConfig::new();
        config.set_gas_metering(Some(GasMeteringKind::Sync));
        config.set_cost_model(Some(CostModelKind::Full(CacheModel::L2Hit)));
        Ok(PolkaVm { engine, config })
    }
}

struct PolkaCompiled(polkavm::Module);

impl Bench for PolkaVm {
    fn name(&self) -> &'static str {
        "polkavm"
    }

    fn compile(&self, program: &Program) -> Box<dyn Compiled> {
        let mut parts = ProgramParts::empty(polkavm_common::program::InstructionSetKind::JamV1);
        parts.rw_data_size = AREA;
        parts.code_and_jump_table = program.to_blob().into();
        let blob = ProgramBlob::from_parts(parts).expect("a sound program");
        let module = polkavm::Module::from_blob(&self.engine, &self.config, blob);
        Box::new(PolkaCompiled(module.expect("the program compiles")))
    }
}

impl Compiled for PolkaCompiled {
    fn start(&self) -> Box<dyn Run> {
        let area = self.0.memory_map().rw_data_address();
        Box::new(PolkaRun(self.0.instantiate().expect("an instance"), area))
    }
}

struct PolkaRun(polkavm::RawInstance, u32);

impl Run for PolkaRun {
    fn run(&mut self) -> (u64, u64) {
        let instance = &mut self.0;
        instance.set_next_program_counter(polkavm::ProgramCounter(0));
        instance.set_gas(1 << 50);
        instance.set_reg(Reg::A1, u64::from(self.1));
        let mut calls = 0;
        loop {
            match instance.run().expect("the sandbox works") {
                InterruptKind::Ecalli(0) => return (instance.reg(Reg::A0), calls),
                InterruptKind::Ecalli(_) => calls += 1,
                other => panic!("{other:?}"),
            }
        }
    }
}

pub struct Javm;

struct JavmCompiled(Program);

/// Compiling and starting are one step in this crate.
struct JavmRun(javm::RecompiledPvm);

impl Bench for Javm {
    fn name(&self) -> &'static str {
        "javm"
    }

    fn compile(&self, program: &Program) -> Box<dyn Compiled> {
        Box::new(JavmCompiled(program.clone()))
    }
}

impl Compiled for JavmCompiled {
    fn start(&self) -> Box<dyn Run> {
        let layout = javm::program::DataLayout {
            mem_size: START + AREA,
            arg_start: 0,
            arg_data: vec![],
            ro_start: 0,
            ro_data: vec![],
            rw_start: START,
            rw_data: vec![],
        };
        let bits = |pc: usize| self.0.is_instruction_start(pc as u32) as u8;
        let bitmask = (0..self.0.code().len()).map(bits).collect();
        let (code, table) = (self.0.code().to_vec(), self.0.jump_table().to_vec());
        let pvm = javm::RecompiledPvm::new(code, bitmask, table, [0; 13], GAS, Some(layout));
        let mut pvm = pvm.expect("the program compiles");
        pvm.set_heap_top(START + AREA);
        Box::new(JavmRun(pvm))
    }
}

impl Run for JavmRun {
    fn run(&mut self) -> (u64, u64) {
        self.0.set_pc(0);
        self.0.set_gas(GAS);
        self.0.set_register(usize::from(A1), u64::from(START));
        let mut calls = 0;
        loop {
            match self.0.run() {
                javm::ExitReason::HostCall(0) => return (self.0.registers()[7], calls),
                javm::ExitReason::HostCall(_) => calls += 1,
                other => panic!("{other:?} at {}", self.0.pc()),
            }
        }
    }
}
