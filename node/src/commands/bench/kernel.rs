//! `jar-node bench kernel`: the kernel's goals, each a ratio measured in this run.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;

use super::calls::{CALLS, Calls};
use super::goals::{Goal, Op};
use super::growth::{self, Growth};
use super::map::Map;
use super::peers::Peers;
use super::transfers::{Built, PIPELINE, Transfers, verifications_a_second};
use crate::output::say;

/// Accounts that send the block of transfers.
const ACCOUNTS: usize = 200;
/// Blocks of transfers that a node imports. The last one is timed: a node that runs has what is
/// used often in memory.
const BLOCKS: usize = 2;
/// Random updates of the map before it is hashed.
const UPDATES: u32 = 10_000;
/// How long signatures are verified in a round.
const VERIFY: Duration = Duration::from_millis(100);

/// What to measure.
pub struct Options {
    pub rounds: usize,
    /// Of the map; accounts of the chain that grows.
    pub entries: u32,
    pub engine: String,
    /// The peers' binary.
    pub peers: Option<PathBuf>,
}

/// What takes its turn in each round.
struct Bench {
    calls: Calls,
    map: Map,
    transfers: Transfers,
    built: Built,
    peers: Option<Peers>,
    updates: u32,
}

/// Figures of the rounds, in the order measured.
#[derive(Default)]
struct Samples {
    call_ns: Vec<f64>,
    peer_call_ns: Vec<f64>,
    map_ns: Vec<(f64, f64)>,
    peer_map_ns: Vec<(f64, f64)>,
    /// Of a transfer.
    import_ns: Vec<f64>,
    /// Of a signature.
    verify_ns: Vec<f64>,
}

/// Measures and prints.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let mut bench = Bench::new(options)?;
    let mut samples = Samples::default();
    // One round isn't counted: caches, pools and lazy set-up.
    bench.round(&mut samples)?;
    samples = Samples::default();
    for _ in 0..options.rounds {
        bench.round(&mut samples)?;
    }
    let engine = bench.calls.engine();
    drop(bench);
    let transfers = Transfers::new(PIPELINE, &options.engine, BLOCK_GAS)?;
    let growth = growth::measure(&transfers, options.entries)?;
    say!(
        "Medians of {} rounds on {} cores; programs run by the {engine}.\n",
        options.rounds,
        super::cores()
    );
    samples.print_table(options.entries, &growth);
    say!("\n```text");
    for goal in samples.goals(&growth) {
        say!("{goal}");
    }
    say!("```");
    Ok(())
}

/// More than the transfers of one block spend.
const BLOCK_GAS: u64 = 1 << 32;

impl Bench {
    fn new(options: &Options) -> anyhow::Result<Bench> {
        let mut peers = options.peers.as_deref().map(Peers::start).transpose()?;
        if let Some(peers) = &mut peers {
            peers.open_map(options.entries)?;
        }
        let transfers = Transfers::new(ACCOUNTS, &options.engine, BLOCK_GAS)?;
        let built = transfers.build(BLOCKS * PIPELINE)?;
        anyhow::ensure!(
            built.blocks.len() == BLOCKS,
            "the transfers are not in {BLOCKS} blocks"
        );
        Ok(Bench {
            calls: Calls::new(&options.engine)?,
            map: Map::new(options.entries)?,
            transfers,
            built,
            peers,
            updates: UPDATES.min(options.entries),
        })
    }

    fn round(&mut self, samples: &mut Samples) -> anyhow::Result<()> {
        samples.call_ns.push(self.calls.measure()?);
        if let Some(peers) = &mut self.peers {
            samples.peer_call_ns.extend(peers.call_ns(CALLS)?);
        }
        samples.map_ns.push(self.map.update(self.updates)?);
        if let Some(peers) = &mut self.peers {
            samples.peer_map_ns.extend(peers.map_ns(self.updates)?);
        }
        let imports = self.transfers.import(&self.built)?;
        let last = imports.last().context("no block was imported")?;
        samples
            .import_ns
            .push(last.as_nanos() as f64 / PIPELINE as f64);
        let rate = verifications_a_second(&self.built.checks, VERIFY)?;
        samples.verify_ns.push(1e9 / rate);
        Ok(())
    }
}

/// The middle of the values; `None` of none.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    Some(match values.len() % 2 {
        0 => (values[middle - 1] + upper) / 2.0,
        _ => upper,
    })
}

impl Samples {
    fn print_table(&self, entries: u32, growth: &Growth) {
        let number =
            |value: Option<f64>| value.map_or("not measured".into(), |v| format!("{v:.0}"));
        let row = |what: &str, ours: Option<f64>, peer: &str, theirs: Option<f64>| {
            let ratio = ours.zip(theirs).map(|(ours, theirs)| ours / theirs);
            let ratio = ratio.map_or("".into(), |ratio| format!("{ratio:.2}"));
            say!(
                "| {what} | {} | {peer} | {} | {ratio} |",
                number(ours),
                number(theirs)
            );
        };
        let of = |values: &[f64]| median(values.iter().copied());
        let update = |values: &[(f64, f64)]| median(values.iter().map(|v| v.0));
        let whole = |values: &[(f64, f64)]| median(values.iter().map(|v| v.0 + v.1));
        say!("| what, ns | ours | peer | peer's | ours / peer's |");
        say!("|---|--:|---|--:|--:|");
        row(
            "nested call of an empty endpoint",
            of(&self.call_ns),
            "wasmtime, instantiate from the pool and call",
            of(&self.peer_call_ns),
        );
        row(
            &format!("import of a transfer, {PIPELINE} in a block"),
            of(&self.import_ns),
            "a signature verified, in batches on all cores",
            of(&self.verify_ns),
        );
        row(
            &format!("update of a map of {entries}, root included"),
            update(&self.map_ns),
            "nomt",
            update(&self.peer_map_ns),
        );
        row(
            "the same, commit included",
            whole(&self.map_ns),
            "nomt",
            whole(&self.peer_map_ns),
        );
        say!(
            "\nOn a chain of {entries} accounts, {PIPELINE} transfers in a block, each from an \
             account of its own to any: {:.0} bytes in {:.1} new records a transfer, {:.0} with \
             the records' ids; a transfer alone in its block: {:.0} bytes. Import of such a \
             block by a node that has nothing of the state in memory: {:.1} µs a transfer.",
            growth.bytes,
            growth.records,
            growth.bytes_with_ids(),
            growth.bytes_alone,
            growth.import_cold.as_nanos() as f64 / 1e3 / PIPELINE as f64
        );
    }

    fn goals(&self, growth: &Growth) -> [Goal; 5] {
        let of = |values: &[f64]| median(values.iter().copied());
        let update = |values: &[(f64, f64)]| median(values.iter().map(|v| v.0));
        let ratio = |ours: Option<f64>, theirs: Option<f64>| Some(ours? / theirs?);
        let goal = |name, value, op, target| Goal {
            name,
            value,
            op,
            target,
        };
        let (call, peer_call) = (of(&self.call_ns), of(&self.peer_call_ns));
        let import = ratio(of(&self.verify_ns), of(&self.import_ns));
        let map = ratio(update(&self.map_ns), update(&self.peer_map_ns));
        [
            goal("call-us", call.map(|ns| ns / 1e3), Op::AtMost, 3.0),
            goal(
                "call-wasmtime",
                ratio(call, peer_call),
                Op::AtMost,
                1.0 / 3.0,
            ),
            goal("import-verify", import, Op::AtLeast, 0.5),
            goal("map-nomt", map, Op::AtMost, 2.0),
            goal(
                "transfer-bytes",
                Some(growth.bytes_with_ids()),
                Op::AtMost,
                2048.0,
            ),
        ]
    }
}
