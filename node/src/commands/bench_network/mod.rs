//! `jar-node bench finality`: four nodes in processes of their own, on loopback, in one run.

mod latency;
mod nodes;
mod sync;

use std::time::Duration;

use serde_json::json;

use super::print_json;
use crate::output::say;
use latency::Latencies;
use sync::Sync;

/// Paces that are measured, in milliseconds a slot.
const PACES_MS: [u64; 2] = [1000, 200];
/// A full sync should be this fast, in times of plain import.
const SYNC_MIN: f64 = 0.8;

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Transfers at each pace.
    pub transfers: usize,
    /// Blocks of a chain without transfers.
    pub blocks: usize,
    /// Events of a chain of full blocks.
    pub events: usize,
    /// How often a chain is synced and imported.
    pub rounds: usize,
}

/// Measures, and prints tables and goals.
pub fn run(plan: Plan, as_json: bool) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let (latencies, syncs) = runtime.block_on(async {
        let mut latencies = Vec::new();
        for slot_ms in PACES_MS {
            latencies.push(latency::measure(slot_ms, plan.transfers).await?);
        }
        let blocks = sync::Shape {
            name: "sync-blocks",
            blocks: plan.blocks,
            transfers: 0,
        };
        let events = sync::Shape {
            name: "sync-events",
            blocks: plan.events.div_ceil(sync::TRANSFERS),
            transfers: sync::TRANSFERS,
        };
        let mut syncs = Vec::new();
        for shape in [blocks, events] {
            syncs.push(sync::measure(shape, plan.rounds).await?);
        }
        Ok::<_, anyhow::Error>((latencies, syncs))
    })?;
    if as_json {
        return print_json(&json!({
            "latencies": latencies.iter().map(Latencies::to_json).collect::<Vec<_>>(),
            "syncs": syncs.iter().map(Sync::to_json).collect::<Vec<_>>(),
        }));
    }
    print_latencies(&latencies);
    print_syncs(&syncs);
    Ok(())
}

fn millis(time: Duration) -> u128 {
    time.as_millis()
}

fn print_latencies(latencies: &[Latencies]) {
    say!("| from submitting, ms | slot | transfers | median | p99 |");
    say!("|---|--:|--:|--:|--:|");
    for measured in latencies {
        let (slot_ms, count) = (measured.slot_ms, measured.included.len());
        for (what, times) in [
            ("included", &measured.included),
            ("finalized", &measured.finalized),
        ] {
            let (median, p99) = (
                latency::quantile(times, 0.5),
                latency::quantile(times, 0.99),
            );
            let (median, p99) = (millis(median), millis(p99));
            say!("| {what} | {slot_ms} | {count} | {median} | {p99} |");
        }
    }
    say!("");
}

fn print_syncs(syncs: &[Sync]) {
    say!(
        "| full sync of an empty node, one peer | blocks | events | import, s | sync, s | blocks/s | events/s | of import |"
    );
    say!("|---|--:|--:|--:|--:|--:|--:|--:|");
    for sync in syncs {
        let (import, synced) = (sync.import.as_secs_f64(), sync.sync.as_secs_f64());
        let (blocks, events) = (sync.shape.blocks as f64, sync.events as f64);
        say!(
            "| {} | {blocks} | {events} | {import:.2} | {synced:.2} | {:.0} | {:.0} | {:.2} |",
            sync.shape.name,
            blocks / synced,
            events / synced,
            sync.ratio()
        );
    }
    say!("\n```");
    for sync in syncs {
        let (name, ratio) = (sync.shape.name, sync.ratio());
        let is_met = if ratio >= SYNC_MIN { "met" } else { "missed" };
        say!("goal {name} {ratio:.3} >= {SYNC_MIN:.3} {is_met}");
    }
    say!("```");
}
