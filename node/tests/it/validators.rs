//! Four validators in processes of their own: faults of nodes and of the network.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::blocks::copy_dir;
use crate::harness::{Chain, Node, failure_of, json_of};
use crate::proxy::Link;

const NAMES: [&str; 4] = ["alice", "bob", "carol", "dave"];

/// Validators that reach each other through links alone.
pub struct Four {
    chain: Chain,
    pub nodes: BTreeMap<&'static str, Node>,
    /// Links by who dials and who is dialled.
    links: Vec<(&'static str, &'static str, Link)>,
}

/// Heights of the head and of the last finalized block.
fn heights(node: &Node) -> (u64, u64) {
    let health = node.call("system_health", json!([]));
    let number = |name: &str| health[name].as_u64().expect("a height");
    (number("height"), number("finalized_height"))
}

pub fn finalized(node: &Node) -> u64 {
    heights(node).1
}

impl Four {
    pub fn start() -> Four {
        let mut four = Four {
            chain: Chain::of_four(),
            nodes: BTreeMap::new(),
            links: Vec::new(),
        };
        for name in NAMES {
            four.start_node(name, name, &[]);
        }
        four
    }

    /// Starts a node on a directory; it dials those that run.
    fn start_node(&mut self, name: &'static str, data: &str, more: &[&str]) {
        for (other, node) in &self.nodes {
            self.links.push((name, other, Link::to(node.p2p())));
        }
        let dialled = self.links.iter().filter(|(from, _, _)| *from == name);
        let addresses: Vec<String> = dialled.map(|(_, _, link)| link.multiaddr()).collect();
        let mut flags = vec!["--bootnodes-only"];
        flags.extend(addresses.iter().flat_map(|a| ["--bootnodes", a.as_str()]));
        flags.extend(more);
        let node = self.chain.start_peer_with(data, Some(name), &[], &flags);
        self.nodes.insert(name, node);
    }

    fn kill(&mut self, name: &str) {
        self.nodes.remove(name).expect("it runs").kill();
        self.links
            .retain(|(from, to, _)| *from != name && *to != name);
    }

    /// Waits until every node has finalized so many blocks more than the furthest has now.
    pub fn finalize(&self, more: u64) {
        let highest = self.nodes.values().map(finalized).max().expect("nodes");
        for node in self.nodes.values() {
            node.until(|node| finalized(node) >= highest + more);
        }
        self.agree();
    }

    /// What is final on all is the same on all.
    fn agree(&self) {
        let lowest = self.nodes.values().map(finalized).min().expect("nodes");
        for height in [lowest / 2, lowest] {
            let hash = |node: &Node| node.call("chain_blockHash", json!([height]));
            let hashes: Vec<Value> = self.nodes.values().map(hash).collect();
            assert!(
                hashes.iter().all(|hash| *hash == hashes[0]),
                "at height {height}: {hashes:?}"
            );
        }
    }

    /// Waits until blocks were built while nothing more was finalized.
    fn stand_still(&self) {
        // Votes that were on their way may still finalize something.
        let settled: Vec<(u64, u64)> = self
            .nodes
            .values()
            .map(|node| {
                let height = heights(node).0;
                node.until(|node| heights(node).0 >= height + 3);
                heights(node)
            })
            .collect();
        for (node, (height, final_height)) in self.nodes.values().zip(settled) {
            node.until(|node| heights(node).0 >= height + 3);
            assert_eq!(finalized(node), final_height, "finality without a quorum");
        }
        self.agree();
    }
}

fn transfer(node: &Node) -> u64 {
    let answer = json_of(&[
        "token",
        "transfer",
        "--from",
        "alice",
        "--to",
        "erin",
        "--amount",
        "5",
        "--rpc",
        &node.url(),
        "--json",
    ]);
    answer["height"].as_u64().expect("a height")
}

fn balance(node: &Node, who: &str) -> u64 {
    let answer = json_of(&["token", "balance", who, "--rpc", &node.url(), "--json"]);
    answer["balance"].as_u64().expect("a balance")
}

#[test]
fn validators_come_and_go() {
    let mut four = Four::start();
    four.finalize(2);
    for (count, name) in NAMES.iter().enumerate() {
        let height = transfer(&four.nodes[name]);
        for node in four.nodes.values() {
            node.until(|node| finalized(node) >= height);
            assert_eq!(balance(node, "erin"), 5 * (count as u64 + 1), "{name}");
        }
    }
    four.kill("dave");
    four.finalize(3);
    four.kill("carol");
    four.stand_still();
    four.start_node("carol", "carol", &[]);
    four.finalize(2);
    four.start_node("dave", "dave", &[]);
    four.finalize(2);
}

/// Dave leaves and Erin comes: finality goes on without him, and needs her.
#[test]
fn a_validator_is_replaced() {
    let mut four = Four::start();
    four.finalize(1);
    four.start_node("erin", "erin", &[]);
    let url = four.nodes["alice"].url();
    let refused = failure_of(&[
        "token",
        "set-validators",
        "--to",
        "alice,erin",
        "--signers",
        "alice,bob",
        "--rpc",
        &url,
    ]);
    assert!(refused.contains("NoQuorum"), "{refused}");
    let stranger = failure_of(&[
        "token",
        "set-validators",
        "--to",
        "alice",
        "--signers",
        "erin",
        "--rpc",
        &url,
    ]);
    assert!(
        stranger.contains("no validator of this chain"),
        "{stranger}"
    );
    let (to, signers) = ("alice,bob,carol,erin", "alice,bob,carol");
    let decided = json_of(&[
        "token",
        "set-validators",
        "--to",
        to,
        "--signers",
        signers,
        "--rpc",
        &url,
        "--json",
    ]);
    assert!(decided["height"].as_u64().is_some());
    let validators = |node: &Node| {
        let url = node.url();
        json_of(&["token", "validators", "--rpc", &url, "--json"])
    };
    for node in four.nodes.values() {
        node.until(|node| validators(node)["epoch"] == 2);
        let now = validators(node);
        assert_eq!(now["present"].as_array().expect("keys").len(), 4);
        assert_eq!(now["next"], Value::Null);
    }
    four.kill("dave");
    four.finalize(3);
    four.kill("erin");
    four.finalize(1);
    four.kill("carol");
    four.stand_still();
}

#[test]
fn a_partition_heals() {
    let four = Four::start();
    four.finalize(2);
    let is_left = |name: &str| NAMES[..2].contains(&name);
    let crossing = || {
        let links = four.links.iter();
        links.filter(|(from, to, _)| is_left(from) != is_left(to))
    };
    crossing().for_each(|(_, _, link)| link.cut());
    four.stand_still();
    crossing().for_each(|(_, _, link)| link.mend());
    four.finalize(3);
}

fn signs(node: &Node) -> bool {
    let (_, text) = node.page("/metrics");
    text.contains("\njar_signing 1\n")
}

#[test]
fn a_restored_directory_signs_after_two_finalizations() {
    let mut four = Four::start();
    four.finalize(2);
    four.kill("dave");
    let (data, backup) = (four.chain.path("dave"), four.chain.path("backup"));
    copy_dir(&data, &backup);
    four.start_node("dave", "dave", &[]);
    assert!(signs(&four.nodes["dave"]), "it is where it was");
    // It signs more than the copy knows of.
    four.finalize(3);
    four.kill("dave");
    four.start_node("dave", "backup", &[]);
    let dave = four.nodes.get_mut("dave").expect("it runs");
    dave.logged("two finalizations were seen: signing is on");
    dave.until(signs);
    four.finalize(2);
}

#[test]
fn a_second_node_with_a_key_does_not_sign() {
    let mut four = Four::start();
    four.finalize(1);
    // Started like a fifth: empty, and with a key in use.
    let links: Vec<Link> = four
        .nodes
        .values()
        .map(|node| Link::to(node.p2p()))
        .collect();
    let addresses: Vec<String> = links.iter().map(Link::multiaddr).collect();
    let mut flags = vec!["--bootnodes-only"];
    flags.extend(addresses.iter().flat_map(|a| ["--bootnodes", a.as_str()]));
    let mut twin = four
        .chain
        .start_peer_with("twin", Some("dave"), &[], &flags);
    let line = twin.logged("another node signs with this node's key: signing is off; stop one of them, then start this one again");
    assert!(
        line["key"]
            .as_str()
            .is_some_and(|key| key.starts_with("0x"))
    );
    assert!(!signs(&twin));
    let height = finalized(&twin);
    four.finalize(3);
    twin.until(|twin| finalized(twin) >= height + 3);
    assert!(!signs(&twin), "finalizations change nothing");
    four.nodes.insert("twin", twin);
    four.agree();
}
