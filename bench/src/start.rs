//! Starting a machine on a program that is compiled already.

use std::sync::Arc;

use jar_pvm::{Access, Engine, GasModel, MemoryMap, Program};

use crate::guests::Guest;
use crate::measure::{median, micros};

const REPEATS: usize = 2000;

/// Median microseconds to start a machine, run it until it has written `bytes` bytes that it
/// had not touched, and give it back. `eager`: all writable memory counts as written from the
/// start; else what the Image maps so, the top of the stack and first variables.
pub fn start(engine: &dyn Engine, guest: &Guest, bytes: u64, eager: bool) -> f64 {
    let program = Program::from_blob(&guest.blob).expect("a sound program");
    let code = engine.prepare(Arc::new(program), GasModel::Pipeline);
    let mut regions = guest.regions.clone();
    for region in &mut regions {
        region.eager |= eager && region.access == Access::ReadWrite;
    }
    let map = MemoryMap::new(regions).expect("a sound layout");
    let once = || {
        let mut machine = code.clone().machine(map.clone());
        guest.run(&mut *machine, bytes, |value| value)
    };
    let times: Vec<f64> = (0..REPEATS).map(|_| micros(once).0).collect();
    median(&times)
}
