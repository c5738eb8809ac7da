//! From submitting a transfer to its block, and to the block's finality.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use jar_rpc::api::EventApiClient;
use jar_rpc::params::Param;
use jar_rpc::types::EventState;
use jar_token_client::api::Transfer;
use jar_token_client::{TokenClient, Wallet};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::nodes::{Node, PATIENCE, write_spec};

const NAMES: [&str; 4] = ["alice", "bob", "carol", "dave"];
/// Blocks that are final before the first transfer.
const FINAL_MIN: u64 = 3;
/// Slots between two transfers: no part of a slot is preferred.
const EVERY_SLOTS: f64 = 0.37;

/// What was measured at a pace, ascending.
pub struct Latencies {
    pub slot_ms: u64,
    pub included: Vec<Duration>,
    pub finalized: Vec<Duration>,
}

/// The least value that this part of all is not above.
pub fn quantile(ascending: &[Duration], part: f64) -> Duration {
    let rank = (ascending.len() as f64 * part).ceil() as usize;
    let index = rank.clamp(1, ascending.len().max(1)) - 1;
    ascending.get(index).copied().unwrap_or_default()
}

impl Latencies {
    pub fn to_json(&self) -> Value {
        let part = |times: &[Duration]| {
            json!({
                "median_ms": quantile(times, 0.5).as_millis() as u64,
                "p99_ms": quantile(times, 0.99).as_millis() as u64,
            })
        };
        json!({
            "slot_ms": self.slot_ms,
            "transfers": self.included.len(),
            "included": part(&self.included),
            "finalized": part(&self.finalized),
        })
    }
}

fn sender(number: usize) -> String {
    format!("sender-{number}")
}

/// Measures transfers on four validators, each submitted to one of them in turn.
pub async fn measure(slot_ms: u64, count: usize) -> anyhow::Result<Latencies> {
    let dir = tempfile::tempdir()?;
    let spec = dir.path().join("spec.json");
    let mut flags = vec!["--slot-ms".to_owned(), slot_ms.to_string()];
    flags.extend(NAMES.iter().map(|name| format!("--validator={name}")));
    // Accounts of their own, so that no transfer waits for another one's nonce.
    flags.extend((0..count).map(|n| format!("--balance={}=1", sender(n))));
    write_spec(&spec, &flags)?;
    let mut nodes: Vec<Node> = Vec::new();
    for name in NAMES {
        let mut flags = vec!["--dev-key", name];
        flags.extend(nodes.iter().flat_map(|node| ["--bootnodes", &node.p2p]));
        let node = Node::start(&spec, &dir.path().join(name), &flags).await?;
        nodes.push(node);
    }
    let mut clients = Vec::new();
    for node in &nodes {
        node.until(|health| health.finalized_height.0 >= FINAL_MIN)
            .await?;
        clients.push(Arc::new(TokenClient::connect(&node.url).await?));
    }
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(
        slot_ms as f64 / 1000.0 * EVERY_SLOTS,
    ));
    let mut waiting = JoinSet::new();
    for number in 0..count {
        ticks.tick().await;
        let client = clients[number % clients.len()].clone();
        waiting.spawn(tokio::time::timeout(PATIENCE, follow(client, number)));
    }
    let (mut included, mut finalized) = (Vec::new(), Vec::new());
    while let Some(done) = waiting.join_next().await {
        let (to_block, to_end) = done?.context("a transfer is not final in time")??;
        included.push(to_block);
        finalized.push(to_end);
    }
    included.sort_unstable();
    finalized.sort_unstable();
    Ok(Latencies {
        slot_ms,
        included,
        finalized,
    })
}

/// Submits a transfer; answers when it was in a block, and when that was final.
async fn follow(client: Arc<TokenClient>, number: usize) -> anyhow::Result<(Duration, Duration)> {
    let wallet = Wallet::development(&sender(number));
    let transfer = Transfer {
        from: wallet.public_key(),
        to: [7; 32],
        amount: 1,
        nonce: 0,
    };
    let started = Instant::now();
    let submitted = client.submit(&wallet, &transfer).await?;
    let changes = client.rpc().subscribe_status(Param::from(submitted.id));
    let mut changes = changes.await?;
    let mut included = None;
    while let Some(change) = changes.next().await {
        let status = change?;
        match status.status {
            EventState::Dropped => bail!("a transfer was dropped: {:?}", status.reason),
            EventState::Included => included = included.or(Some(started.elapsed())),
            _ => {}
        }
        let is_final = status
            .inclusions
            .iter()
            .any(|inclusion| inclusion.finalized);
        if let (true, Some(included)) = (is_final, included) {
            return Ok((included, started.elapsed()));
        }
    }
    bail!("the subscription ended before the transfer was final")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(quantile(&times, 0.5), Duration::from_millis(100));
        assert_eq!(quantile(&times, 0.99), Duration::from_millis(198));
        assert_eq!(quantile(&times[..1], 0.99), Duration::from_millis(1));
        assert_eq!(quantile(&[], 0.5), Duration::ZERO);
    }
}
