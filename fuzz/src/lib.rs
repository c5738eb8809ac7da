//! What is tried with inputs that nobody chose: each [`Target`] takes any bytes and panics where
//! the project breaks a promise. `docs/fuzzing.md` says how to run them.

pub mod assembler;
pub mod chain;
pub mod corpus;
pub mod decoders;
pub mod engines;
pub mod layouts;
pub mod machine_code;
pub mod programs;
pub mod rig;
pub mod run;
pub mod text;

/// A named check of one input.
#[derive(Clone, Copy)]
pub struct Target {
    /// What `scripts/fuzz` and the folder of its corpus call it.
    pub name: &'static str,
    /// Panics where a promise is broken; any bytes are a good input.
    pub check: fn(&[u8]),
    /// Bytes that an input made anew has at most.
    pub input_len_max: usize,
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target {
        name: "structured",
        check: engines::structured,
        input_len_max: 1500,
    },
    Target {
        name: "bytecode",
        check: engines::bytecode,
        input_len_max: 600,
    },
    Target {
        name: "machine_code",
        check: machine_code::machine_code,
        input_len_max: 800,
    },
    Target {
        name: "assembler",
        check: assembler::assembler,
        input_len_max: 400,
    },
    Target {
        name: "instructions",
        check: assembler::instructions,
        input_len_max: 30,
    },
    Target {
        name: "blob",
        check: decoders::blob,
        input_len_max: 400,
    },
    Target {
        name: "values",
        check: decoders::values,
        input_len_max: 600,
    },
    Target {
        name: "image",
        check: decoders::image,
        input_len_max: 1200,
    },
    Target {
        name: "guest",
        check: chain::guest,
        input_len_max: 1500,
    },
    Target {
        name: "block",
        check: chain::block,
        input_len_max: 800,
    },
];

/// The target of this name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().copied().find(|target| target.name == name)
}
