//! Nodes that catch up: from several peers, and on after they were killed.

use std::time::Duration;

use serde_json::{Value, json};

use crate::blocks::{build, copy_dir};
use crate::harness::{Chain, Node};
use crate::proxy::Link;

/// Blocks to sync.
const BLOCKS: u64 = 1000;
/// Transfers in each of the blocks of a state to sync: accounts that are not in genesis.
const TRANSFERS: u64 = 100;

fn height(node: &Node) -> u64 {
    let health = node.call("system_health", json!([]));
    health["height"].as_u64().expect("a height")
}

fn hash(node: &Node, height: u64) -> Value {
    node.call("chain_blockHash", json!([height]))
}

/// Waits until a node has these blocks and nothing else to do; answers the records it fetched.
fn records_when_synced(node: &Node, blocks: u64) -> u64 {
    node.until(|node| height(node) == blocks && node.metric("jar_syncing", "") == 0);
    node.metric("jar_sync_records", "")
}

/// Answers to requests of a kind that a node gave.
fn served(node: &Node, kind: &str) -> u64 {
    node.metric("jar_requests_served_total", kind)
}

/// Where nodes are reached through [slow](Link::slow) links.
fn slowly(nodes: [&Node; 2], delay: Duration) -> [String; 2] {
    nodes.map(|node| {
        let link = Link::to(node.p2p());
        link.slow(delay);
        link.multiaddr()
    })
}

#[test]
fn blocks_come_from_several_peers() {
    let chain = Chain::new();
    build(&chain, "first", BLOCKS, 0);
    copy_dir(&chain.path("first"), &chain.path("second"));
    let first = chain.start_peer("first", None, &[]);
    let second = chain.start_peer("second", None, &[]);
    // Neither is so fast that the other is not needed.
    let addresses = slowly([&first, &second], Duration::from_millis(20));
    let mut flags = vec!["--bootnodes-only"];
    flags.extend(addresses.iter().flat_map(|a| ["--bootnodes", a.as_str()]));
    let other = chain.start_peer_with("other", None, &[], &flags);
    let stage = |node: &Node| node.call("system_syncing", json!([]))["stage"].clone();
    other.until(|node| height(node) == BLOCKS && stage(node) == "following");
    assert_eq!(hash(&other, BLOCKS), hash(&first, BLOCKS));
    for node in [&first, &second] {
        // Of the 16 ranges there are.
        assert!(served(node, "blocks") >= 3, "{}", served(node, "blocks"));
    }
}

#[test]
fn a_killed_full_sync_goes_on() {
    let chain = Chain::new();
    build(&chain, "source", BLOCKS, 0);
    let source = chain.start_peer("source", None, &[]);
    let link = Link::to(source.p2p());
    link.slow(Duration::from_millis(20));
    let address = link.multiaddr();
    let flags = ["--bootnodes", address.as_str(), "--bootnodes-only"];
    let other = chain.start_peer_with("other", None, &[], &flags);
    other.until(|node| height(node) >= BLOCKS / 10);
    let had = height(&other);
    other.kill();
    assert!(had < BLOCKS, "it was killed before it was done");
    let mut other = chain.start_peer("other", None, &[&source]);
    let from = other.logged("block sync begins")["height"].as_u64();
    assert!(from >= Some(had), "from {from:?}, it had {had}");
    other.until(|node| height(node) == BLOCKS);
    assert_eq!(hash(&other, BLOCKS), hash(&source, BLOCKS));
    assert!(other.metric("jar_blocks_total", "") <= BLOCKS - had);
}

#[test]
fn a_killed_state_sync_goes_on() {
    let chain = Chain::new();
    build(&chain, "first", 50, TRANSFERS);
    copy_dir(&chain.path("first"), &chain.path("second"));
    let first = chain.start_peer("first", None, &[]);
    let second = chain.start_peer("second", None, &[]);
    let pivot = first.call("chain_finalized", json!([]));
    let sync = format!("state:{}", pivot["hash"].as_str().expect("a hash"));
    // All there is, without an interruption.
    let both = [&first, &second];
    let mut whole = chain.start_peer_with("whole", None, &both, &["--sync", &sync]);
    whole.logged("started from a finalized state");
    let all = records_when_synced(&whole, 50);
    assert!(all > 1000, "{all} records");
    for node in both {
        assert!(served(node, "records") > 0, "both were asked");
    }
    let addresses = slowly(both, Duration::from_millis(100));
    let mut flags = vec!["--bootnodes-only", "--sync", &sync];
    flags.extend(addresses.iter().flat_map(|a| ["--bootnodes", a.as_str()]));
    let other = chain.start_peer_with("other", None, &[], &flags);
    other.until(|node| node.metric("jar_sync_records", "") > all / 10);
    let had = other.metric("jar_sync_records", "");
    assert!(height(&other) == 0, "it was killed before it was done");
    other.kill();
    let mut other = chain.start_peer_with("other", None, &both, &["--sync", &sync]);
    let line = other.logged("started from a finalized state");
    assert_eq!(line["hash"], pivot["hash"]);
    let fetched = records_when_synced(&other, 50);
    assert!(fetched <= all - had, "{fetched} of {all}, it had {had}");
    assert_eq!(hash(&other, 50), hash(&first, 50));
}
