//! The contracts chain through the command line, with the sample contracts.

use jar_contracts_api::{ContractId, Order, Signed};
use jar_rpc::to_hex;
use jar_token_client::Wallet;
use parity_scale_codec::Encode;
use serde_json::{Value, json};

use crate::harness::{Chain, Node, failure_of, json_of, root, run, stdout_of};

/// Endpoints of the samples, as their sources number them.
const ADD: &str = "0";
const COUNT: &str = "1";
const SPIN: &str = "2";
const HOLD: &str = "0";
const CLAIM: &str = "0";
const ENTER: &str = "1";
const ROTATE: &str = "2";

fn contracts_chain() -> (Chain, Node) {
    let chain = Chain::built_in("contracts");
    let node = chain.start_with("data", &[]);
    (chain, node)
}

fn sample(name: &str) -> String {
    let path = root().join(format!("chain-specs/sample-{name}.image"));
    path.to_str().expect("UTF-8").to_owned()
}

fn number(value: u64) -> String {
    to_hex(&value.encode())
}

/// The command line of a client of this node.
fn arguments<'a>(words: &[&'a str], url: &'a str) -> Vec<&'a str> {
    [&["contracts"], words, &["--rpc", url]].concat()
}

fn deploy(node: &Node, name: &str, credit: u64) -> String {
    let (image, credit) = (sample(name), credit.to_string());
    let words = ["deploy", &image, "--credit", &credit, "--from", "alice"];
    let answer = client(node, &words);
    answer["contract"].as_str().expect("an id").to_owned()
}

/// What a client is answered as JSON.
fn client(node: &Node, words: &[&str]) -> Value {
    let url = node.url();
    json_of(&[&arguments(words, &url)[..], &["--json"]].concat())
}

fn failure(node: &Node, words: &[&str]) -> String {
    failure_of(&arguments(words, &node.url()))
}

/// A call that must do its work: the reply.
fn call(node: &Node, contract: &str, endpoint: &str, payload: &str, more: &[&str]) -> Value {
    let words = ["call", contract, endpoint, payload, "--from", "alice"];
    client(node, &[&words, more].concat())["reply"].clone()
}

fn balance(node: &Node, who: &str) -> u64 {
    let answer = client(node, &["balance", who]);
    answer["balance"].as_u64().expect("a number")
}

fn credit(node: &Node, contract: &str) -> u64 {
    let answer = client(node, &["meter", contract]);
    answer["credit"].as_u64().expect("a number")
}

#[test]
fn a_counter_is_deployed_called_and_funded() {
    let (_chain, node) = contracts_chain();
    let before = balance(&node, "alice");
    let counter = deploy(&node, "counter", 50_000);
    assert_eq!(balance(&node, "alice"), before - 50_000);
    for (by, sum) in [(5, 5), (7, 12)] {
        let credit_before = credit(&node, &counter);
        let reply = call(&node, &counter, ADD, &number(by), &[]);
        assert_eq!(reply["result"], number(sum), "{reply}");
        let cost = reply["cost"].as_u64().expect("coins");
        assert!(cost > 0);
        assert_eq!(credit(&node, &counter), credit_before - cost);
    }
    // A look changes nothing, not even the meter.
    let left = credit(&node, &counter);
    let look = client(&node, &["look", &counter, ADD, &number(100)]);
    assert_eq!(look["result"], number(112));
    let look = client(&node, &["look", &counter, COUNT]);
    assert_eq!(look["result"], number(12));
    let fund = ["fund", &counter, "--amount", "1000", "--from", "bob"];
    client(&node, &fund);
    assert_eq!(credit(&node, &counter), left + 1_000);
    let pay = ["pay", "--to", "carol", "--amount", "5", "--from", "bob"];
    client(&node, &pay);
    assert_eq!(balance(&node, "carol"), 5);
    // For people.
    let words = ["call", &counter, ADD, &number(1), "--from", "bob"];
    let told = stdout_of(&arguments(&words, &node.url()));
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[1..3], ["done", &format!("result {}", number(13))]);
}

#[test]
fn a_meter_ends_what_does_not_end() {
    let (_chain, node) = contracts_chain();
    let counter = deploy(&node, "counter", 800);
    let spin = ["call", &counter, SPIN, "--from", "bob"];
    let refused = failure(&node, &spin);
    assert!(refused.contains("its meter ran dry"), "{refused}");
    assert_eq!(credit(&node, &counter), 0);
    // With more credit than an event has gas.
    let fund = ["fund", &counter, "--amount", "100000", "--from", "bob"];
    client(&node, &fund);
    let refused = failure(&node, &spin);
    assert!(refused.contains("more than one event"), "{refused}");
    let left = credit(&node, &counter);
    assert!(left > 0 && left < 100_000 - 4_000, "{left}");
    let reply = call(&node, &counter, ADD, &number(1), &[]);
    assert_eq!(reply["result"], number(1));
}

#[test]
fn a_gate_knows_its_keys() {
    let (_chain, node) = contracts_chain();
    let gate = deploy(&node, "gate", 50_000);
    let keep = |place| ["--keep", place];
    let present = |place| ["--present", place];
    let claimed = call(&node, &gate, CLAIM, "0x", &keep("1"));
    assert_eq!(claimed["ended"], "halted");
    let entered = call(&node, &gate, ENTER, "0x", &present("1"));
    assert_eq!(entered["result"], number(1));
    let words = ["call", &gate, ENTER, "--from", "bob"];
    let refused = failure(&node, &words);
    assert!(refused.contains("refused with code 2"), "{refused}");
    let words = [&words[..], &present("1")].concat();
    let refused = failure(&node, &words);
    assert!(refused.contains("BadKey"), "{refused}");
    // The old key opens no more.
    let changed = [present("1"), keep("2")].concat();
    call(&node, &gate, ROTATE, "0x", &changed);
    let words = ["call", &gate, ENTER, "--present", "1", "--from", "alice"];
    let refused = failure(&node, &words);
    assert!(refused.contains("refused with code 2"), "{refused}");
    let entered = call(&node, &gate, ENTER, "0x", &present("2"));
    assert_eq!(entered["result"], number(2));
}

fn height(node: &Node) -> u64 {
    let head = node.call("chain_head", json!([]));
    head["header"]["height"].as_u64().expect("a number")
}

/// Has 700 coins held for bob until a height that the answer names.
fn hold(node: &Node, escrow: &str) -> u64 {
    let bob = Wallet::development("bob").public_key();
    // On a slow machine the height may be reached before the call is in a block.
    for blocks in (3..).map(|power| 1 << power) {
        let until = height(node) + blocks;
        let payload = to_hex(&(bob, 700u64, until).encode());
        let reply = call(node, escrow, HOLD, &payload, &[]);
        if reply["ended"] == "waits" {
            return until;
        }
    }
    unreachable!("blocks come slower than that")
}

#[test]
fn a_suspended_call_outlives_the_process() {
    let (chain, mut node) = contracts_chain();
    let [patient, escrow] = [(); 2].map(|()| deploy(&node, "escrow", 100_000));
    let forever = to_hex(&([7u8; 32], 1u64, u64::MAX).encode());
    let reply = call(&node, &patient, HOLD, &forever, &[]);
    assert_eq!(reply["ended"], "waits");
    // While it waits it can't be called.
    let words = ["call", &patient, HOLD, &forever, "--from", "alice"];
    assert!(failure(&node, &words).contains("not started: Denied"));
    // Stopped in order.
    node.signal("TERM");
    assert!(node.end().success());
    let node = chain.start_with("data", &[]);
    let resume = |node: &Node, escrow: &str| {
        let answer = client(node, &["resume", escrow, "--from", "bob"]);
        answer["reply"].clone()
    };
    assert_eq!(resume(&node, &patient)["ended"], "waits");
    // Stopped without warning.
    let until = hold(&node, &escrow);
    let before = balance(&node, "bob");
    node.kill();
    let node = chain.start_with("data", &[]);
    node.until(|node| height(node) >= until);
    let reply = resume(&node, &escrow);
    let ended = (&reply["ended"], &reply["result"]);
    assert_eq!(ended, (&json!("halted"), &json!(to_hex(&true.encode()))));
    assert_eq!(balance(&node, "bob"), before + 700);
    let done = failure(&node, &["resume", &escrow, "--from", "bob"]);
    assert!(done.contains("can't be resumed"), "{done}");
    assert_eq!(resume(&node, &patient)["ended"], "waits");
}

#[test]
fn each_misuse_is_told_apart() {
    let (_chain, node) = contracts_chain();
    let counter = deploy(&node, "counter", 20_000);
    let nobody = to_hex(&[0x11; 32]);
    let readme = root().join("README.md");
    let readme = readme.to_str().expect("UTF-8");
    let image = sample("counter");
    let cases: &[(&[&str], &str)] = &[
        (&["deploy", readme, "--from", "alice"], "BadImage"),
        (&["deploy", "no.image", "--from", "alice"], "no.image"),
        (
            &["deploy", &image, "--credit", "1", "--from", "dave"],
            "Overdraft",
        ),
        (&["call", &nobody, ADD, "--from", "alice"], "NoContract"),
        (&["look", &nobody, ADD], "NoContract"),
        (&["meter", &nobody], "no such contract"),
        (&["resume", &nobody, "--from", "alice"], "NoContract"),
        (
            &["fund", &nobody, "--amount", "1", "--from", "alice"],
            "NoContract",
        ),
        (
            &["fund", &counter, "--amount", "1", "--from", "dave"],
            "Overdraft",
        ),
        (
            &["pay", "--to", "bob", "--amount", "1", "--from", "dave"],
            "Overdraft",
        ),
        (
            &["pay", "--to", "0x11", "--amount", "1", "--from", "bob"],
            "--to",
        ),
        (&["call", &counter, "9", "--from", "alice"], "NoEndpoint"),
        (&["look", &counter, "9"], "NoEndpoint"),
        (&["look", &counter, ADD, "0x01"], "refused with code"),
        (&["look", &counter, ADD, "01"], "not hex"),
        (&["look", "0x01", ADD], "64 hex digits"),
        (
            &["call", &counter, ADD, "--present", "1", "--from", "bob"],
            "BadKey",
        ),
        (&["resume", &counter, "--from", "alice"], "can't be resumed"),
    ];
    for (words, message) in cases {
        let told = failure(&node, words);
        assert!(told.contains(message), "{words:?}: {told}");
    }
    another_wallets_signature_is_refused(&node, &counter);
    let url = node.url();
    drop(node);
    let told = run(&arguments(&["meter", &counter], &url));
    assert!(!told.status.success());
    assert!(String::from_utf8_lossy(&told.stderr).contains("cannot reach a node"));
    // A node of another chain.
    let chain = Chain::new();
    let node = chain.start("data");
    let told = failure(&node, &["meter", &counter]);
    assert!(told.contains("no contracts chain"), "{told}");
}

/// Bob signs an order in alice's name.
fn another_wallets_signature_is_refused(node: &Node, contract: &str) {
    let contract: ContractId = jar_rpc::from_hex(contract)
        .and_then(|bytes| bytes.try_into().ok())
        .expect("an id");
    let signed = Signed {
        from: Wallet::development("alice").public_key(),
        nonce: 1,
        order: Order::Resume { contract },
    };
    let spec = node.call("chain_spec", json!([]));
    let genesis = jar_rpc::from_hex(spec["genesis"].as_str().expect("a hash"))
        .and_then(|bytes| bytes.try_into().ok())
        .expect("a hash");
    let attestation = Wallet::development("bob").sign(&genesis, &signed.signed_blob());
    let attestation = jar_rpc::types::Attestation::from(&attestation);
    let params = json!(["order_in", to_hex(&signed.encode()), [attestation]]);
    let error = node.error("event_submit", params);
    assert_eq!(error["data"]["program_code"], 1, "{error}");
}
