//! Every target on its corpus and on further inputs, the same in every run.
//!
//! `JAR_FUZZ_INPUTS` and `JAR_FUZZ_SEED` ask for others; long runs are `scripts/fuzz`.

use std::path::Path;

use jar_fuzz::run::{Limits, run};
use jar_fuzz::{TARGETS, corpus, target};

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number")),
    )
}

/// Runs a target; what breaks a promise is kept below the build folder.
fn hold(name: &str, inputs: u64) {
    let target = target(name).expect("a target of this name");
    let limits = Limits {
        inputs: number("JAR_FUZZ_INPUTS").unwrap_or(inputs),
        time: None,
    };
    let failures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz-failures");
    let seed = number("JAR_FUZZ_SEED").unwrap_or(1);
    assert!(run(&target, seed, limits, &failures) == limits.inputs);
}

macro_rules! targets {
    ($($name:ident $inputs:literal),+ $(,)?) => {
        $(
            #[test]
            fn $name() {
                hold(stringify!($name), $inputs);
            }
        )+

        #[test]
        fn every_target_is_run_and_has_a_corpus() {
            let run = [$(stringify!($name)),+];
            for target in TARGETS {
                assert!(run.contains(&target.name), "{} is not run", target.name);
                let corpus = corpus::read(target).expect("the corpus is readable");
                assert!(!corpus.is_empty(), "{} has no corpus", target.name);
            }
        }
    };
}

targets! {
    structured 4000,
    bytecode 6000,
    machine_code 3000,
    assembler 5000,
    instructions 100000,
    blob 10000,
    values 20000,
    image 2000,
    guest 500,
    block 500,
}
