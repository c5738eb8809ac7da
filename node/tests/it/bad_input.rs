//! What clients get wrong, and the code they are told.

use serde_json::{Value, json};

use crate::harness::{Chain, http};

const HASH: &str = "0x1111111111111111111111111111111111111111111111111111111111111111";

#[test]
fn each_mistake_has_its_code() {
    let chain = Chain::new();
    let node = chain.start("data");
    let long_hash = format!("{HASH}11");
    let long_payload = format!("0x{}", "00".repeat(1024 * 1024 + 1));
    let attestation =
        json!({ "key": HASH, "scope": "direct", "blob_hash": HASH, "signature": HASH });
    let cases: Vec<(&str, Value, i64)> = vec![
        ("chain_nothing", json!([]), -32601),
        ("chain_blockHash", json!([]), -32602),
        ("chain_head", json!([1]), -32602),
        ("state_get", json!({ "path": ["0x21"] }), -32602),
        ("state_get", json!([["0x21"], null, null, null]), -32602),
        (
            "state_get",
            json!([["0x21"], null, { "prove": true }]),
            1001,
        ),
        ("event_submit", json!(["transfer_in", 5]), 1001),
        ("event_submit", json!(["transfer_in", "0x", [{}]]), 1001),
        ("event_submit", json!(["transfer_in", "00"]), 1002),
        ("event_submit", json!(["transfer_in", "0x0"]), 1002),
        ("event_submit", json!(["transfer_in", "0x0g"]), 1002),
        ("chain_header", json!(["tail"]), 1002),
        ("chain_header", json!([long_hash]), 1003),
        ("event_submit", json!(["transfer_in", long_payload]), 1003),
        ("event_submit", json!(["x".repeat(300), "0x"]), 1003),
        ("state_keys", json!([[], null, 1001]), 1003),
        ("event_status", json!(["0x11"]), 1004),
        (
            "event_submit",
            json!(["transfer_in", "0x", [attestation]]),
            1004,
        ),
        ("chain_blockHash", json!([-1]), 1005),
        ("chain_blockHash", json!(["1e3"]), 1005),
        ("chain_blockHash", json!([1.5]), 1005),
        ("state_get", json!([[]]), 1006),
        ("state_get", json!(["0x21"]), 1006),
        ("state_get", json!([["0x21"], "head"]), 0),
        ("state_proof", json!([["0x"]]), 1006),
        ("state_proof", json!([[format!("{HASH}11")]]), 1006),
        ("state_proof", json!([vec!["0x21"; 9]]), 1006),
        ("chain_header", json!([HASH]), 2001),
        ("chain_block", json!([1_000_000_000]), 2001),
        ("chain_blockHash", json!(["18446744073709551615"]), 2001),
        ("state_root", json!([HASH]), 2001),
        ("event_submit", json!(["nothing", "0x"]), 2002),
        ("event_submit", json!([99, "0x"]), 2002),
        ("state_view", json!(["nothing", "0x"]), 2002),
        ("event_submit", json!(["transfer", "0x"]), 2003),
        ("state_view", json!(["transfer", "0x"]), 2003),
        ("event_simulate", json!(["balance", "0x"]), 2003),
        ("state_get", json!([["0x20", "0x21"]]), 2004),
        ("state_keys", json!([["0x20"]]), 2004),
        ("event_submit", json!(["transfer_in", "0x"]), 3001),
        ("system_peers", json!([]), 0),
        ("chain_subscribeHeads", json!([]), 4005),
    ];
    for (method, params, code) in cases {
        let shown: String = format!("{method} {params}").chars().take(100).collect();
        let answer = node.answer(method, params);
        if code == 0 {
            assert!(answer.get("error").is_none(), "{shown}: {answer}");
            continue;
        }
        assert_eq!(answer["error"]["code"], code, "{shown}: {answer}");
        let message = answer["error"]["message"].as_str().expect("a message");
        assert!(
            !message.is_empty() && message.len() < 300,
            "{shown}: {answer}"
        );
        let hint = answer["error"]["data"]["hint"].as_str();
        assert!(
            hint.is_some_and(|hint| !hint.is_empty()),
            "{shown}: {answer}"
        );
    }
}

#[test]
fn bodies_that_are_no_requests() {
    let chain = Chain::new();
    let node = chain.start("data");
    let code = |body: &str| {
        let (_, answer) = http(node.rpc_address(), "POST", "/", body);
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        assert!(answer["error"]["data"]["hint"].is_string(), "{answer}");
        answer["error"]["code"].as_i64().expect("a code")
    };
    assert_eq!(code("{"), -32700);
    assert_eq!(code("nonsense"), -32700);
    assert_eq!(code("{\"jsonrpc\":\"2.0\",\"id\":1}"), -32600);
    assert_eq!(code("[]"), -32600);
    let deep = "[".repeat(100_000);
    assert_eq!(code(&deep), -32700);
    let large = format!("{{\"a\":\"{}\"}}", "a".repeat(5 * 1024 * 1024));
    assert_eq!(code(&large), -32007);
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "system_version", "params": [] });
    let batch = |len: usize| json!(vec![call.clone(); len]).to_string();
    assert_eq!(code(&batch(101)), -32010);
    let (_, answers) = http(node.rpc_address(), "POST", "/", &batch(100));
    let answers: Vec<Value> = serde_json::from_str(&answers).expect("an array");
    assert!(
        answers
            .iter()
            .all(|answer| answer["result"]["name"] == "jar-node")
    );
    assert_eq!(answers.len(), 100);
    // Calls in a batch are checked like calls alone.
    let mixed =
        json!([{ "jsonrpc": "2.0", "id": 7, "method": "chain_blockHash", "params": [] }, call]);
    let (_, answers) = http(node.rpc_address(), "POST", "/", &mixed.to_string());
    let answers: Vec<Value> = serde_json::from_str(&answers).expect("an array");
    assert_eq!(answers[0]["error"]["code"], -32602);
    assert_eq!(answers[0]["id"], 7);
}

#[test]
fn every_method_is_described() {
    let chain = Chain::new();
    let node = chain.start("data");
    let document = node.call("rpc_discover", json!([]));
    assert_eq!(document, node.call("rpc.discover", json!([])));
    let methods = document["methods"].as_array().expect("methods");
    assert!(methods.iter().any(|method| method["name"] == "state_proof"));
    assert!(methods.iter().all(|method| method["x-safe"] == true));
}
