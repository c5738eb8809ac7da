//! Moving coins.

use jar_kernel::block::{Attestation, Scope};
use jar_rpc::to_hex;
use jar_token_client::api::Transfer;
use jar_token_client::{TokenClient, Wallet, signed_event};
use parity_scale_codec::Encode;
use serde_json::{Value, json};

use crate::harness::{Chain, Node, failure_of, json_of, run, runtime, stderr};

fn transfer(node: &Node, from: &str, to: &str, amount: &str) -> Value {
    let url = node.url();
    json_of(&[
        "token", "transfer", "--from", from, "--to", to, "--amount", amount, "--rpc", &url,
        "--json",
    ])
}

fn balance(node: &Node, who: &str, flags: &[&str]) -> Value {
    let url = node.url();
    let mut arguments = vec!["token", "balance", who, "--rpc", &url, "--json"];
    arguments.extend(flags);
    json_of(&arguments)
}

#[test]
fn a_coin_moves() {
    let chain = Chain::new();
    let node = chain.start("data");
    let answer = transfer(&node, "alice", "bob", "5");
    assert_eq!(answer["from"]["balance"], 999_995);
    assert_eq!(answer["to"]["balance"], 5);
    assert_eq!(balance(&node, "bob", &[])["balance"], 5);
    let proven = balance(&node, "bob", &["--proof"]);
    assert_eq!(proven["balance"], 5);
    assert_eq!(balance(&node, "nobody", &["--proof"])["balance"], 0);

    let status = node.call("event_status", json!([answer["id"]]));
    assert_eq!(status["status"], "included");
    let inclusion = &status["inclusions"][0];
    assert_eq!(inclusion["block"], answer["block"]);
    assert_eq!(inclusion["outcome"]["ending"], json!({ "halted": 0 }));

    // A key instead of a name, and what people see.
    let key = to_hex(&Wallet::development("carol").public_key());
    let url = node.url();
    let arguments = [
        "token", "transfer", "--from", "bob", "--to", &key, "--amount", "2", "--rpc", &url,
    ];
    let output = run(&arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(
        text.contains("in block") && text.contains("bob: 3"),
        "{text}"
    );
    assert_eq!(balance(&node, "carol", &[])["balance"], 2);
}

#[test]
fn refusals_have_their_own_codes() {
    let chain = Chain::new();
    let node = chain.start("data");
    transfer(&node, "alice", "bob", "5");
    let url = node.url();
    let refused = |flags: &[&str]| {
        let mut arguments = vec!["token", "transfer", "--rpc", &url];
        arguments.extend(flags);
        failure_of(&arguments)
    };
    let replay = refused(&[
        "--from", "alice", "--to", "bob", "--amount", "5", "--nonce", "0",
    ]);
    assert!(
        replay.contains("Replay") && replay.contains("code 2"),
        "{replay}"
    );
    let far = refused(&[
        "--from", "alice", "--to", "bob", "--amount", "5", "--nonce", "5000",
    ]);
    assert!(far.contains("BadNonce") && far.contains("code 3"), "{far}");
    let overdraft = refused(&["--from", "bob", "--to", "alice", "--amount", "6"]);
    assert!(
        overdraft.contains("Overdraft") && overdraft.contains("code 4"),
        "{overdraft}"
    );
    let no_wallet = refused(&["--from", "0x00", "--to", "bob", "--amount", "1"]);
    assert!(no_wallet.contains("--from"), "{no_wallet}");
    let nobody = failure_of(&["token", "balance", "bob", "--rpc", "http://127.0.0.1:1"]);
    assert!(nobody.contains("cannot reach a node"), "{nobody}");
}

/// What each way of signing wrongly is answered with: (code, program_code).
#[test]
fn bad_signatures_are_refused() {
    let chain = Chain::new();
    let node = chain.start("data");
    let alice = Wallet::development("alice");
    let genesis = runtime().block_on(async {
        let client = TokenClient::connect(&node.url()).await;
        client.expect("a node").genesis()
    });
    let transfer = Transfer {
        from: alice.public_key(),
        to: [7; 32],
        amount: 1,
        nonce: 0,
    };
    let submit = |attestations: Vec<Attestation>| {
        let attestations: Vec<jar_rpc::types::Attestation> =
            attestations.iter().map(Into::into).collect();
        let params = json!(["transfer_in", to_hex(&transfer.encode()), attestations]);
        let error = node.error("event_submit", params);
        (error["code"].clone(), error["data"]["program_code"].clone())
    };
    let good = signed_event(&alice, &genesis, &transfer)
        .attestations
        .remove(0);
    let mut broken = good.clone();
    broken.signature[0] ^= 1;
    assert_eq!(submit(vec![broken]), (json!(3003), Value::Null));
    let other_chain = signed_event(&alice, &[1; 32], &transfer).attestations;
    assert_eq!(submit(other_chain), (json!(3003), Value::Null));
    let mut bob = Wallet::development("bob").attest(&genesis, &transfer);
    assert_eq!(submit(vec![bob.clone()]), (json!(3001), json!(1)));
    bob.key = alice.public_key();
    assert_eq!(submit(vec![bob]), (json!(3003), Value::Null));
    let mut voted = good.clone();
    voted.scope = Scope::Vote {
        source: 0,
        target: 1,
    };
    assert_eq!(submit(vec![voted]), (json!(3001), json!(1)));
    assert_eq!(submit(vec![]), (json!(3001), json!(1)));
    assert_eq!(submit(vec![good.clone(), good]), (json!(3004), Value::Null));
}

#[test]
fn events_are_followed_by_either_id() {
    let chain = Chain::new();
    let node = chain.start("data");
    let alice = Wallet::development("alice");
    let (submitted, status) = runtime().block_on(async {
        let client = TokenClient::connect(&node.url()).await.expect("a node");
        let transfer = Transfer {
            from: alice.public_key(),
            to: [7; 32],
            amount: 1,
            nonce: 0,
        };
        let submitted = client.submit(&alice, &transfer).await.expect("accepted");
        let included = client.wait(submitted.id.0).await.expect("in a block");
        (submitted, included)
    });
    assert_eq!(submitted.transact_ids.len(), 1);
    assert_eq!(submitted.transact_ids[0].0, status.id);
    for id in [submitted.id, submitted.transact_ids[0]] {
        let status = node.call("event_status", json!([id]));
        assert_eq!(status["status"], "included", "{status}");
    }
    let unknown = node.call("event_status", json!([format!("0x{}", "11".repeat(32))]));
    assert_eq!(unknown["status"], "unknown");
    // The same event again is no longer pending: the program refuses it.
    let event = {
        let client = runtime().block_on(TokenClient::connect(&node.url()));
        let genesis = client.expect("a node").genesis();
        let transfer = Transfer {
            from: alice.public_key(),
            to: [7; 32],
            amount: 1,
            nonce: 0,
        };
        signed_event(&alice, &genesis, &transfer)
    };
    let attestation = jar_rpc::types::Attestation::from(&event.attestations[0]);
    let params = json!(["transfer_in", to_hex(&event.payload), [attestation]]);
    assert_eq!(
        node.error("event_submit", params.clone())["data"]["program_code"],
        2
    );
    // What it would do on the state of genesis, where it is good.
    let simulated = json!(["transfer", params[1], params[2], 0]);
    let outcome = node.call("event_simulate", simulated);
    assert_eq!(outcome["ending"], json!({ "halted": 0 }));
}
