//! `jar-node testnet`: a network of validators in one process, in virtual time.

use anyhow::{Context, bail, ensure};
use jar_rpc::to_hex;
use jar_sim::{NodeView, SlotView, VALIDATORS_MAX};
use serde_json::{Value, json};

use super::print_json;
use crate::output::say;

/// Runs the network and prints each slot's state root on each node.
pub fn run(nodes: u64, slots: u64, as_json: bool) -> anyhow::Result<()> {
    let nodes = usize::try_from(nodes)?;
    ensure!(
        (1..=VALIDATORS_MAX).contains(&nodes),
        "--nodes: 1 to {VALIDATORS_MAX}"
    );
    ensure!(slots > 0, "--slots: at least 1");
    let engine = jar_pvm::engine(jar_pvm::EngineKind::Auto).context("no engine")?;
    let report = jar_sim::testnet(nodes, slots, engine);
    if as_json {
        let slots: Vec<Value> = report.slots.iter().map(slot_json).collect();
        let violation = report.violation.as_ref().map(ToString::to_string);
        print_json(&json!({ "slots": slots, "violation": violation }))?;
    } else {
        report.slots.iter().for_each(print_slot);
    }
    if let Some(violation) = report.violation {
        bail!("{violation}");
    }
    let last = report.slots.last().context("the network saw no slot")?;
    let views: Vec<NodeView> = last.nodes.iter().flatten().copied().collect();
    let first = views.first().context("no node runs")?;
    let is_same = |view: &NodeView| view.state_root == first.state_root;
    ensure!(
        views.len() == nodes && views.iter().all(is_same),
        "the nodes have different states at the end of slot {}",
        last.slot
    );
    if !as_json {
        let (height, finalized) = (first.height, first.finalized_height);
        say!("head {height}, finalized {finalized}; the same state on every node");
    }
    Ok(())
}

fn print_slot(view: &SlotView) {
    for (index, node) in view.nodes.iter().enumerate() {
        let slot = view.slot;
        match node {
            Some(node) => say!(
                "slot {slot:>4}  node {index}  height {:>4}  finalized {:>4}  state {}",
                node.height,
                node.finalized_height,
                to_hex(&node.state_root)
            ),
            None => say!("slot {slot:>4}  node {index}  down"),
        }
    }
}

fn slot_json(view: &SlotView) -> Value {
    let node = |node: &NodeView| {
        json!({
            "height": node.height,
            "head": to_hex(&node.head),
            "state_root": to_hex(&node.state_root),
            "finalized_height": node.finalized_height,
        })
    };
    let nodes: Vec<Option<Value>> = view.nodes.iter().map(|n| n.as_ref().map(node)).collect();
    json!({ "slot": view.slot, "nodes": nodes })
}
