//! `polkavm`: the same workloads, by its own target, linker and engines.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use jar_transpiler::build::Toolchain;
use polkavm::{
    BackendKind, CacheModel, Config, CostModelKind, Engine, GasMeteringKind, InterruptKind, Module,
    ModuleConfig, ProgramBlob, ProgramCounter, RawInstance, Reg, SandboxKind,
};
use polkavm_linker::{TargetInstructionSet, TargetJsonArgs};

use crate::guests::GAS;
use crate::subject::Subject;

/// Builds and links the workload `name` of the guest crate in `dir`.
pub fn build(toolchain: &Toolchain, dir: &Path, work: &Path, name: &str) -> Vec<u8> {
    let mut target = TargetJsonArgs::default();
    target.rustc_version = polkavm_linker::RustcVersion::Rustc_1_91;
    let target = polkavm_linker::target_json_path(target).expect("the target's description");
    let mut command = toolchain.cargo();
    command
        .current_dir(dir)
        .args(["build", "--release", "--locked", "--bin", name])
        .args(["-Zjson-target-spec", "-Zbuild-std=core,alloc"])
        .arg("-Zbuild-std-features=compiler-builtins-mem")
        .arg("--target")
        .arg(&target)
        .env("CARGO_TARGET_DIR", work)
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3")
        .env("CARGO_PROFILE_RELEASE_LTO", "fat")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .env("CARGO_ENCODED_RUSTFLAGS", linker_flag(toolchain));
    run(command, name);
    let triple = target.file_stem().expect("a target has a name");
    let elf = work.join(triple).join("release").join(name);
    let elf = std::fs::read(&elf).unwrap_or_else(|e| panic!("{}: {e}", elf.display()));
    let config = polkavm_linker::Config::default();
    polkavm_linker::program_from_elf(config, TargetInstructionSet::JamV1, &elf)
        .unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn linker_flag(toolchain: &Toolchain) -> String {
    format!("-Clinker={}", PathBuf::from(toolchain.linker()).display())
}

fn run(mut command: Command, name: &str) {
    let output = command.output().expect("cargo starts");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} for polkavm: {words}");
}

/// The engine, with gas metered as chains do: synchronously, by the full cost model.
pub fn engine(backend: BackendKind, sandbox: SandboxKind) -> Result<Engine, polkavm::Error> {
    let mut config = Config::new();
    config.set_backend(Some(backend));
    config.set_sandbox(Some(sandbox));
    config.set_allow_experimental(true);
    config.set_cache_enabled(false);
    Engine::new(&config)
}

/// A workload on it.
pub struct PolkaVm {
    name: &'static str,
    engine: Arc<Engine>,
    config: ModuleConfig,
    blob: Vec<u8>,
    code_len: usize,
    module: Option<(Module, ProgramCounter)>,
    instance: Option<RawInstance>,
}

impl PolkaVm {
    pub fn new(name: &'static str, engine: Arc<Engine>, blob: Vec<u8>) -> PolkaVm {
        let mut config = ModuleConfig::new();
        config.set_gas_metering(Some(GasMeteringKind::Sync));
        config.set_cost_model(Some(CostModelKind::Full(CacheModel::L2Hit)));
        let parsed = ProgramBlob::parse(blob.clone().into()).expect("its linker's own blob");
        PolkaVm {
            name,
            engine,
            config,
            blob,
            code_len: parsed.code().len(),
            module: None,
            instance: None,
        }
    }
}

impl Subject for PolkaVm {
    fn name(&self) -> &'static str {
        self.name
    }

    fn code_len(&self) -> usize {
        self.code_len
    }

    fn compile(&mut self) {
        let blob = ProgramBlob::parse(self.blob.as_slice().into()).expect("a sound blob");
        let module = Module::from_blob(&self.engine, &self.config, blob).expect("it compiles");
        let entry = module.exports().find(|export| export == "run");
        let entry = entry.expect("the guest exports it").program_counter();
        self.module = Some((module, entry));
    }

    fn start(&mut self) {
        let (module, _) = self.module.as_ref().expect("compiled before");
        self.instance = Some(module.instantiate().expect("an instance"));
    }

    fn run(&mut self, n: u64) -> u64 {
        let (_, entry) = self.module.as_ref().expect("compiled before");
        let instance = self.instance.as_mut().expect("started before");
        instance.prepare_call_typed(*entry, (n,));
        instance.set_gas(GAS as i64);
        loop {
            match instance.run().expect("the sandbox works") {
                InterruptKind::Finished => return instance.reg(Reg::A0),
                InterruptKind::Ecalli(_) => {
                    let value = instance.reg(Reg::A0);
                    instance.set_reg(Reg::A0, workloads::host_answer(value));
                }
                other => panic!("{}: {other:?}", self.name),
            }
        }
    }

    fn drop_all(&mut self) {
        self.instance = None;
        self.module = None;
    }
}
