//! The process: what it refuses, its pages, its signals.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use jar_token_client::api::Transfer;
use jar_token_client::{TokenClient, Wallet};

use crate::harness::{Chain, failure_of, run, runtime, stderr};

#[test]
fn a_second_instance_is_refused() {
    let chain = Chain::new();
    let _node = chain.start("data");
    let (spec, data) = (chain.spec(), chain.path("data"));
    let output = run(&[
        "--chain",
        &spec,
        "--data-dir",
        &data,
        "--rpc-listen",
        "127.0.0.1:0",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("in use by another process"), "{text}");
}

#[test]
fn data_of_another_chain_is_refused() {
    let chain = Chain::new();
    chain.start("data").kill();
    let other = Chain::with(&["--balance", "bob=1"]);
    let (spec, data) = (other.spec(), chain.path("data"));
    let text = failure_of(&[
        "--chain",
        &spec,
        "--data-dir",
        &data,
        "--rpc-listen",
        "127.0.0.1:0",
    ]);
    assert!(text.contains("belongs to another chain"), "{text}");
}

#[test]
fn what_is_not_there_says_so() {
    let chain = Chain::new();
    let (spec, data) = (chain.spec(), chain.path("data"));
    let refused = |flags: &[&str]| {
        let mut arguments = vec!["--chain", &spec, "--data-dir", &data];
        arguments.extend(flags);
        failure_of(&arguments)
    };
    assert!(refused(&["--p2p-listen", "/ip4/0.0.0.0/udp/0"]).contains("--p2p-listen"));
    assert!(refused(&["--bootnodes", "elsewhere"]).contains("--bootnodes"));
    assert!(refused(&["--sync", "fast"]).contains("full, state"));
    assert!(refused(&["--engine", "steam"]).contains("steam"));
    assert!(refused(&["--dev-key", "no such name"]).contains("--dev-key"));
    assert!(refused(&["--metrics-listen", "on"]).contains("off"));
    assert!(failure_of(&[]).contains("--chain dev"));
    assert!(failure_of(&["--chain", "nothing"]).contains("built-in"));
    // Nothing was made.
    assert!(!std::path::Path::new(&data).exists());
}

#[test]
fn well_known_keys_are_refused_on_other_chains() {
    let key = format!("0x{}", "11".repeat(32));
    let dir = tempfile::tempdir().expect("a directory");
    let spec = dir.path().join("main.json");
    let spec = spec.to_str().expect("UTF-8");
    let new = |validator: &str| {
        run(&[
            "chain-spec",
            "new",
            "--template",
            "token",
            "--chain-id",
            "main",
            "--validator",
            validator,
            "--out",
            spec,
        ])
    };
    assert!(!new("alice").status.success());
    assert!(new(&key).status.success());
    let data = dir.path().join("data");
    let data = data.to_str().expect("UTF-8");
    let text = failure_of(&["--chain", spec, "--data-dir", data, "--dev-key", "alice"]);
    assert!(text.contains("development chains only"), "{text}");
}

#[test]
fn metrics_and_health() {
    let chain = Chain::new();
    let node = chain.start("data");
    node.until(|node| node.page("/health").0 == 200);
    let (_, body) = node.page("/readyz");
    let health: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(health["status"], "ok");
    assert!(health["height"].as_u64() > Some(0));
    assert_eq!(node.page("/livez"), (200, "ok\n".into()));
    assert_eq!(node.page("/nothing").0, 404);
    node.error("chain_header", json!(["tail"]));
    let (status, text) = node.page("/metrics");
    assert_eq!(status, 200);
    for line in [
        "jar_rpc_errors_total{error=\"not_hex\",method=\"chain_header\"} 1",
        "# TYPE jar_block_build_seconds histogram",
        "process_start_time_seconds ",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    let over_rpc = node.call("system_metrics", json!([]));
    assert!(
        over_rpc
            .as_str()
            .is_some_and(|text| text.contains("jar_head_height "))
    );
    let health = node.call("system_health", json!([]));
    assert_eq!(health["healthy"], true);
    let syncing = node.call("system_syncing", json!([]));
    assert_eq!(syncing["syncing"], false);
}

#[test]
fn a_node_without_a_key_waits_and_is_not_ready() {
    let chain = Chain::new();
    let node = chain.start_with("data", &[]);
    let (status, body) = node.page("/readyz");
    assert_eq!(status, 503);
    let health: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(health["status"], "starting");
    assert_eq!(node.call("chain_head", json!([]))["header"]["height"], 0);
}

#[test]
fn signals_stop_it_in_time() {
    let chain = Chain::new();
    for signal in ["TERM", "INT"] {
        let mut node = chain.start("data");
        node.until(|node| node.page("/health").0 == 200);
        let started = Instant::now();
        node.signal(signal);
        assert!(node.end().success());
        assert!(started.elapsed() < Duration::from_secs(5));
        node.logged("stopped");
    }
}

#[test]
fn a_busy_node_stops_in_time() {
    let chain = Chain::new();
    let mut node = chain.start("data");
    let (url, alice) = (node.url(), Wallet::development("alice"));
    let (busy, is_busy) = std::sync::mpsc::channel();
    let submitting = std::thread::spawn(move || {
        runtime().block_on(async {
            let client = TokenClient::connect(&url).await.expect("a node");
            for nonce in 0..4000 {
                let transfer = Transfer {
                    from: alice.public_key(),
                    to: [7; 32],
                    amount: 1,
                    nonce,
                };
                if let Err(error) = client.submit(&alice, &transfer).await {
                    return Some(error.to_string());
                }
                // Whoever waits for this has gone on after the first.
                let _ = busy.send(());
            }
            None
        })
    });
    for _ in 0..100 {
        is_busy.recv().expect("accepted");
    }
    let started = Instant::now();
    node.signal("TERM");
    assert!(node.end().success());
    assert!(started.elapsed() < Duration::from_secs(5));
    let told = submitting
        .join()
        .expect("no panic")
        .expect("stopped meanwhile");
    assert!(
        told.contains("stopping") || told.contains("closed"),
        "{told}"
    );
}

#[test]
fn ports_in_use_are_named() {
    let chain = Chain::new();
    let node = chain.start("data");
    let address = node.rpc_address().to_string();
    let (spec, data) = (chain.spec(), chain.path("other"));
    let text = failure_of(&[
        "--chain",
        &spec,
        "--data-dir",
        &data,
        "--rpc-listen",
        &address,
    ]);
    assert!(
        text.contains("cannot listen for RPC") && text.contains(&address),
        "{text}"
    );
}

#[test]
fn heads_are_logged() {
    let chain = Chain::new();
    let mut node = chain.start("data");
    let head = node.logged("new head");
    assert_eq!(head["target"], "chain");
    assert!(head["height"].is_u64() && head["hash"].is_string());
}
