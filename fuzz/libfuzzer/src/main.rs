//! One target under libFuzzer, named by `JAR_FUZZ_TARGET`.
#![no_main]

use std::sync::OnceLock;

use jar_fuzz::{TARGETS, Target, target};
use libfuzzer_sys::fuzz_target;

static CHOSEN: OnceLock<Target> = OnceLock::new();

/// The target asked for; ends the process where there is none of that name.
fn chosen() -> Target {
    let name = std::env::var("JAR_FUZZ_TARGET").unwrap_or_default();
    target(&name).unwrap_or_else(|| {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("JAR_FUZZ_TARGET is none of: {}", names.join(" "));
        std::process::exit(2)
    })
}

fuzz_target!(|data: &[u8]| (CHOSEN.get_or_init(chosen).check)(data));
