//! `jar-node bench`: what this machine does, in memory, in one run.

mod calls;
mod goals;
mod growth;
mod kernel;
mod map;
mod peers;
mod transfers;

use std::sync::Arc;

use jar_kernel::local::LocalHardware;
use jar_kernel::memory::MemoryChainStore;
use jar_kernel::signer::Signer;
use jar_kernel::{Genesis, Kernel, Params};

use self::transfers::Transfers;
use super::bench_network::Plan;
use super::print_json;
use crate::cli::Bench;

/// A kernel over an empty store in memory.
pub fn kernel_in_memory(
    genesis: &Genesis,
    seeds: Vec<[u8; 32]>,
    engine: &str,
) -> anyhow::Result<Kernel<LocalHardware>> {
    kernel_over(Arc::new(MemoryChainStore::new()), genesis, seeds, engine)
}

/// A kernel over a store in memory.
fn kernel_over(
    store: Arc<MemoryChainStore>,
    genesis: &Genesis,
    seeds: Vec<[u8; 32]>,
    engine: &str,
) -> anyhow::Result<Kernel<LocalHardware>> {
    let signer = Signer::new(seeds, store.as_ref())?;
    let hardware = LocalHardware::new(store, signer, Box::new(|_| {}), Box::new(|| false));
    let engine = jar_pvm::engine(engine.parse()?)?;
    Ok(Kernel::open(Arc::new(hardware), genesis, engine)?)
}

/// Cores that this process may use.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Measures.
pub fn run(command: Bench) -> anyhow::Result<()> {
    match command {
        Bench::Transfers {
            count,
            accounts,
            engine,
            json,
        } => {
            let accounts = usize::try_from(accounts)?;
            let bench = Transfers::new(accounts, &engine, Params::default().block_gas)?;
            let report = bench.measure(usize::try_from(count)?)?;
            if json {
                return print_json(&report.to_json());
            }
            report.print();
            Ok(())
        }
        Bench::Kernel {
            rounds,
            entries,
            engine,
            peers,
        } => kernel::run(&kernel::Options {
            rounds: usize::try_from(rounds)?,
            entries,
            engine,
            peers,
        }),
        Bench::Finality {
            transfers,
            blocks,
            events,
            rounds,
            json,
        } => {
            let plan = Plan {
                transfers: usize::try_from(transfers)?,
                blocks: usize::try_from(blocks)?,
                events: usize::try_from(events)?,
                rounds: usize::try_from(rounds)?,
            };
            super::bench_network::run(plan, json)
        }
    }
}
