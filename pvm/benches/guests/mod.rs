//! The workloads of `bench/guests` as programs of this engine.

use std::path::Path;
use std::sync::Arc;

use jar_cap::image::{Image, Mapping, Pinned, Source};
use jar_pvm::{
    Access, Backing, Exit, Machine, MemoryMap, PAGE_SIZE, PageError, PageSource, Program, Region,
};
use jar_transpiler::build::{Options, Toolchain, build_with};

/// What a run may spend: more than any workload does.
pub const GAS: u64 = 1 << 50;
/// The register of the first argument and of the result.
pub const A0: usize = 7;

/// The workloads with the size that each is run at.
pub const WORKLOADS: [(&str, u64); 8] = [
    ("fib", 25),
    ("hostcall", 100_000),
    ("sort", 1200),
    ("sieve", 400_000),
    ("blake2b", 16),
    ("keccak", 16),
    ("ed25519", 1),
    ("ecrecover", 1),
];

/// A constant's pages.
struct Pages(Vec<Arc<[u8]>>);

impl PageSource for Pages {
    fn page(&self, index: u32) -> Result<Option<Arc<[u8]>>, PageError> {
        Ok(self.0.get(index as usize).cloned())
    }
}

/// A workload ready to be compiled.
pub struct Guest {
    /// The workload's name.
    pub name: String,
    /// The program as a host gets it.
    pub blob: Vec<u8>,
    /// Its memory.
    pub regions: Vec<Region>,
    /// Where it is entered.
    pub pc: u32,
    /// Registers at entry.
    pub regs: Vec<(usize, u64)>,
}

/// Builds the workload `name` of the crate in `dir`. Panics with the compiler's words.
pub fn build(toolchain: &Toolchain, dir: &Path, name: &str) -> Guest {
    let options = Options {
        bin: Some(name.to_owned()),
        opt_level: Some(3),
        ..Options::default()
    };
    let built = build_with(toolchain, dir, &options).unwrap_or_else(|e| panic!("{name}: {e}"));
    Guest::new(name, &built.image)
}

fn constant<'a>(image: &'a Image, mapping: &Mapping) -> Option<&'a Vec<u8>> {
    let path = match &mapping.source {
        Source::Slot(path) => path,
        Source::Ephemeral { init, .. } => init.as_ref()?,
    };
    match image.pinned.get(path.split_first().0) {
        Some(Pinned::Data(bytes)) => Some(bytes),
        _ => None,
    }
}

impl Guest {
    fn new(name: &str, image: &Image) -> Guest {
        let parts = image.program.clone();
        let program = Program::new(parts.code, parts.bitmask, parts.jump_table);
        let mut regions = Vec::new();
        for mapping in &image.memory {
            let bytes = constant(image, mapping);
            regions.push(Region {
                start: mapping.start,
                pages: mapping.size / PAGE_SIZE,
                access: match mapping.source {
                    Source::Slot(_) => Access::Read,
                    Source::Ephemeral { .. } => Access::ReadWrite,
                },
                backing: bytes.map_or(Backing::Zero, |bytes| {
                    let pages = bytes.chunks(PAGE_SIZE as usize).map(Arc::from);
                    Backing::Source(Arc::new(Pages(pages.collect())))
                }),
                eager: matches!(mapping.source, Source::Ephemeral { eager: true, .. }),
            });
        }
        let endpoint = &image.endpoints[&0];
        let regs = endpoint.regs.iter().map(|(i, v)| (usize::from(*i), *v));
        Guest {
            name: name.to_owned(),
            blob: program.expect("an Image's program is sound").to_blob(),
            regions,
            pc: endpoint.pc,
            regs: regs.collect(),
        }
    }

    /// Its memory before a run.
    pub fn memory(&self) -> MemoryMap {
        MemoryMap::new(self.regions.clone()).expect("an Image's layout is sound")
    }

    /// Runs it at size `n`; the checksum. Panics if it ends otherwise than it should.
    /// `host` answers host call 1.
    pub fn run(&self, machine: &mut dyn Machine, n: u64, host: impl Fn(u64) -> u64) -> u64 {
        machine.set_pc(self.pc, false);
        machine.set_gas(GAS);
        for (register, value) in &self.regs {
            machine.set_reg(*register, *value);
        }
        machine.set_reg(A0, n);
        loop {
            match machine.run().expect("constants are in memory") {
                Exit::Halt => return machine.regs()[A0],
                Exit::HostCall(1) => {
                    let value = &mut machine.regs_mut()[A0];
                    *value = host(*value);
                }
                other => panic!("{}: {other:?} at {}", self.name, machine.pc()),
            }
        }
    }
}
