//! Reading state, and proving it.

use std::io::Write;
use std::process::{Command, Stdio};

use jar_cap::Key;
use jar_cap::verify::Verdict;
use jar_rpc::types::StateProof;
use jar_rpc::{from_hex, to_hex};
use jar_token_client::Wallet;
use serde_json::{Value, json};

use crate::harness::{Chain, Node, json_of, root};

fn key_of(name: &str) -> String {
    to_hex(&Wallet::development(name).public_key())
}

fn pay_bob(node: &Node) {
    let url = node.url();
    json_of(&[
        "token", "transfer", "--from", "alice", "--to", "bob", "--amount", "5", "--rpc", &url,
        "--json",
    ]);
}

#[test]
fn reads_at_a_block() {
    let chain = Chain::new();
    let node = chain.start("data");
    pay_bob(&node);
    let path = json!(["0x21", key_of("bob")]);
    let value = node.call("state_get", json!([path, null, { "proof": true }]));
    assert_eq!(value["kind"], "data");
    assert_eq!(value["data"], "0x0500000000000000");
    assert_eq!(value["size"], 8);
    assert_eq!(value["proof"]["data"], value["data"]);
    let part = node.call(
        "state_get",
        json!([path, "head", { "offset": 0, "length": 1 }]),
    );
    assert_eq!(part["data"], "0x05");
    let before = node.call("state_get", json!([path, 0]));
    assert_eq!(before["kind"], "empty");
    assert!(before.get("data").is_none());
    let genesis = node.call("chain_header", json!([0]));
    assert_eq!(before["block"], genesis["hash"]);
    assert_eq!(
        node.call("state_root", json!([0])),
        genesis["header"]["state_root"]
    );

    let view = node.call("state_view", json!(["balance", key_of("bob")]));
    assert_eq!(view["ending"], json!({ "halted": 0 }));
    assert_eq!(view["result"], "0x0500000000000000");
    let by_number = node.call("chain_spec", json!([]))["endpoints"]
        .as_array()
        .and_then(|all| {
            all.iter()
                .find(|endpoint| endpoint["name"] == "balance")
                .cloned()
        })
        .expect("a balance view")["index"]
        .clone();
    let again = node.call("state_view", json!([by_number, key_of("bob"), 0]));
    assert_eq!(again["result"], "0x0000000000000000");
}

#[test]
fn keys_come_in_pages() {
    let chain = Chain::with(&[
        "--balance",
        "bob=1",
        "--balance",
        "carol=2",
        "--balance",
        "dave=3",
    ]);
    let node = chain.start("data");
    let all = node.call("state_keys", json!([["0x21"], null, null, 0]));
    let mut keys: Vec<String> = texts(&all);
    assert_eq!(keys.len(), 4);
    assert!(all["next"].is_null());
    let mut paged = Vec::new();
    let mut from = Value::Null;
    loop {
        let page = node.call("state_keys", json!([["0x21"], from, 3, 0]));
        paged.extend(texts(&page));
        from = page["next"].clone();
        if from.is_null() {
            break;
        }
    }
    assert_eq!(paged, keys);
    keys.sort();
    let mut wallets = ["alice", "bob", "carol", "dave"].map(key_of);
    wallets.sort();
    assert_eq!(keys, wallets);
    let table = node.call("state_keys", json!([[]]));
    assert!(texts(&table).contains(&"0x21".to_owned()));
}

fn texts(page: &Value) -> Vec<String> {
    let keys = page["keys"].as_array().expect("keys");
    keys.iter()
        .map(|entry| entry["key"].as_str().expect("a key").to_owned())
        .collect()
}

/// The verdict of the crate's own verifier, on what came over the wire.
fn verdict(proof: &Value, path: &[&str]) -> Verdict {
    let proof: StateProof = serde_json::from_value(proof.clone()).expect("the shape of a proof");
    let path: Vec<Key> = path
        .iter()
        .map(|key| Key::new(&from_hex(key).expect("hex")).expect("a key"))
        .collect();
    jar_rpc::proof::check(&proof, &path).expect("a good proof")
}

/// What the script that shares nothing with the node says of a proof.
fn script(proof: &Value) -> Option<(bool, String)> {
    let script = root().join("scripts/verify_proof.py");
    let spawned = Command::new("python3")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = spawned else {
        println!("skipped: there is no python3");
        return None;
    };
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(proof.to_string().as_bytes()).expect("read");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Some((output.status.success(), text))
}

#[test]
fn proofs_are_verified_by_who_shares_nothing_with_the_trie() {
    let chain = Chain::with(&["--balance", "bob=1", "--balance", "carol=2"]);
    let node = chain.start("data");
    pay_bob(&node);
    let bob = key_of("bob");
    let nobody = key_of("nobody");
    let present = node.call("state_proof", json!([["0x21", bob]]));
    let six = 6u64.to_le_bytes().to_vec();
    match verdict(&present, &["0x21", &bob]) {
        Verdict::Present { data, .. } => assert_eq!(data, Some(six)),
        Verdict::Absent => panic!("bob has coins"),
    }
    let absent = node.call("state_proof", json!([["0x21", nobody]]));
    assert_eq!(verdict(&absent, &["0x21", &nobody]), Verdict::Absent);
    let cnode = node.call("state_proof", json!([["0x21"]]));
    assert!(matches!(
        verdict(&cnode, &["0x21"]),
        Verdict::Present { data: None, .. }
    ));
    for proof in [&present, &absent, &cnode] {
        if let Some((good, text)) = script(proof) {
            assert!(good, "{text}");
        }
    }
    let mut forged = present.clone();
    forged["data"] = json!("0x0700000000000000");
    if let Some((good, text)) = script(&forged) {
        assert!(!good, "{text}");
    }
    let forged: StateProof = serde_json::from_value(forged).expect("the shape of a proof");
    let path = ["0x21", &bob].map(|key| Key::new(&from_hex(key).expect("hex")).expect("a key"));
    assert!(jar_rpc::proof::check(&forged, &path).is_err());
}
