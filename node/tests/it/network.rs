//! Nodes in processes of their own, on loopback.

use std::net::TcpListener;

use serde_json::{Value, json};

use crate::harness::{Chain, Node, json_of};

fn height(node: &Node) -> u64 {
    let head = node.call("chain_head", json!([]));
    head["header"]["height"].as_u64().expect("a height")
}

fn peers(node: &Node) -> usize {
    let peers = node.call("system_peers", json!([]));
    peers.as_array().expect("an array").len()
}

/// Waits until both have a block of this height: it is the same one.
fn agree_on(height_wanted: u64, nodes: [&Node; 2]) {
    for node in nodes {
        node.until(|node| height(node) >= height_wanted);
    }
    let [a, b] = nodes.map(|node| node.call("chain_blockHash", json!([height_wanted])));
    assert_eq!(a, b, "at height {height_wanted}");
}

fn transfer(node: &Node, to: &str, amount: u64) -> Value {
    let (url, amount) = (node.url(), amount.to_string());
    json_of(&[
        "token", "transfer", "--from", "alice", "--to", to, "--amount", &amount, "--rpc", &url,
        "--json",
    ])
}

fn balance(node: &Node, who: &str) -> u64 {
    let answer = json_of(&["token", "balance", who, "--rpc", &node.url(), "--json"]);
    answer["balance"].as_u64().expect("a balance")
}

#[test]
fn blocks_and_events_travel() {
    let chain = Chain::new();
    let author = chain.start_peer("author", Some("alice"), &[]);
    let other = chain.start_peer("other", None, &[&author]);
    for node in [&author, &other] {
        node.until(|node| peers(node) == 1);
    }
    agree_on(height(&author) + 3, [&author, &other]);
    // Submitted where nobody builds.
    let answer = transfer(&other, "bob", 5);
    assert_eq!(answer["to"]["balance"], 5);
    author.until(|node| balance(node, "bob") == 5);
    let health: Value = serde_json::from_str(&other.page("/readyz").1).expect("JSON");
    assert_eq!(health["status"], "ok", "{health}");
    assert_eq!(
        other.call("system_syncing", json!([]))["stage"],
        "following"
    );
    let peer = &other.call("system_peers", json!([]))[0];
    assert_eq!(peer["outbound"], true);
    assert!(
        author
            .p2p()
            .contains(peer["peer_id"].as_str().expect("a name"))
    );
}

#[test]
fn a_port_that_others_have_on_another_address_is_no_hindrance() {
    let chain = Chain::new();
    let author = chain.start_peer("author", Some("alice"), &[]);
    let taken = TcpListener::bind("127.0.0.2:0").expect("a free port");
    let port = taken.local_addr().expect("an address").port();
    let listen = format!("/ip4/127.0.0.1/tcp/{port}");
    let other = chain.start_listening("other", &listen, None, &[&author], &[]);
    agree_on(3, [&author, &other]);
}

#[test]
fn an_empty_node_catches_up_and_goes_on_where_it_was() {
    let chain = Chain::new();
    let author = chain.start_peer("author", Some("alice"), &[]);
    transfer(&author, "bob", 7);
    author.until(|node| height(node) >= 40);
    let other = chain.start_peer("other", None, &[&author]);
    agree_on(height(&author), [&author, &other]);
    assert_eq!(balance(&other, "bob"), 7);
    let had = height(&other);
    other.kill();
    author.until(|node| height(node) >= had + 10);
    let other = chain.start_peer("other", None, &[&author]);
    assert!(height(&other) >= had, "what it had is still there");
    agree_on(height(&author), [&author, &other]);
}

#[test]
fn an_empty_node_starts_from_a_finalized_state() {
    let chain = Chain::new();
    let author = chain.start_peer("author", Some("alice"), &[]);
    transfer(&author, "bob", 7);
    // What a header does not bind, two peers have to agree on.
    let second = chain.start_peer("second", None, &[&author]);
    let finalized = |node: &Node| node.call("chain_finalized", json!([]));
    for node in [&author, &second] {
        node.until(|node| finalized(node)["header"]["height"].as_u64() > Some(20));
    }
    let trusted = finalized(&second);
    let sync = format!("state:{}", trusted["hash"].as_str().expect("a hash"));
    let both = [&author, &second];
    let mut other = chain.start_peer_with("other", None, &both, &["--sync", &sync]);
    let line = other.logged("started from a finalized state");
    assert_eq!(line["height"], trusted["header"]["height"]);
    agree_on(height(&author), [&author, &other]);
    assert_eq!(balance(&other, "bob"), 7);
    // What is below was never there.
    assert_eq!(other.error("chain_blockHash", json!([1]))["code"], 2001);
    // The next start goes on from the blocks it has.
    let had = height(&other);
    other.kill();
    let other = chain.start_peer_with("other", None, &both, &["--sync", &sync]);
    assert!(height(&other) >= had);
    agree_on(height(&author), [&author, &other]);
}

#[test]
fn nodes_of_another_genesis_are_no_peers() {
    let chain = Chain::new();
    let author = chain.start_peer("author", Some("alice"), &[]);
    let foreign = Chain::with(&["--balance", "bob=1"]);
    let other = foreign.start_peer("other", None, &[&author]);
    // Whoever hears the other first.
    let bans = |node: &Node| node.metric("jar_peers_banned_total", "OtherChain");
    other.until(|other| bans(other) + bans(&author) > 0);
    other.until(|node| peers(node) == 0);
    author.until(|node| peers(node) == 0);
    assert_eq!(height(&other), 0);
}

#[test]
fn nodes_speak_quic() {
    let chain = Chain::new();
    const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";
    let author = chain.start_listening("author", QUIC, Some("alice"), &[], &[]);
    assert!(author.p2p().contains("/quic-v1/p2p/"), "{}", author.p2p());
    author.until(|node| height(node) >= 20);
    let other = chain.start_listening("other", QUIC, None, &[&author], &[]);
    agree_on(height(&author), [&author, &other]);
    assert_eq!(transfer(&other, "bob", 5)["to"]["balance"], 5);
    let peer = &other.call("system_peers", json!([]))[0];
    let address = peer["address"].as_str().expect("an address");
    assert!(address.contains("/quic-v1"), "{address}");
}
