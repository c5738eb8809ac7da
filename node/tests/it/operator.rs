//! What operators watch.

use std::collections::BTreeSet;

use serde_json::json;

use crate::harness::{Chain, root};

/// Names of metrics in a text: those of this node and of its process.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = words.filter(|word| word.starts_with("jar_") || word.starts_with("process_"));
    ours.map(str::to_owned).collect()
}

/// What is drawn, and what wakes people up, is there from the start: before a first ban or
/// refusal, too, for a counter that appears with a 1 has not increased.
#[test]
fn dashboard_and_alerts_name_metrics_that_exist() {
    let chain = Chain::new();
    let node = chain.start_peer("data", Some("alice"), &[]);
    node.call("chain_head", json!([]));
    node.until(|node| node.metric("jar_head_height", "") > 0);
    let (_, text) = node.page("/metrics");
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let series = samples.filter_map(|line| line.split(['{', ' ']).next());
    let exported: BTreeSet<&str> = series.collect();
    for file in ["docker/alerts.yml", "docker/grafana/dashboards/jar.json"] {
        let text = std::fs::read_to_string(root().join(file)).expect(file);
        let named = names(&text);
        assert!(named.len() > 5, "{file} names metrics");
        for name in named {
            assert!(exported.contains(name.as_str()), "{file}: {name}");
        }
    }
}

/// The table of metrics in the documentation is whole, and has nothing else.
#[test]
fn metrics_are_documented() {
    let chain = Chain::new();
    let node = chain.start_peer("data", Some("alice"), &[]);
    node.error("chain_head", json!([1]));
    node.until(|node| node.metric("jar_head_height", "") > 0);
    let (_, text) = node.page("/metrics");
    let helps = text.lines().filter_map(|line| line.strip_prefix("# HELP "));
    let exported = helps.filter_map(|line| line.split(' ').next());
    let exported: BTreeSet<String> = exported.map(str::to_owned).collect();
    let docs = std::fs::read_to_string(root().join("docs/node.md")).expect("docs");
    let rows = docs
        .lines()
        .filter(|line| line.starts_with("| `jar_") || line.starts_with("| `process_"));
    let columns = rows.filter_map(|row| row.split('|').nth(1));
    // Labels stand in braces behind the name.
    let documented: BTreeSet<String> = columns
        .flat_map(|column| column.split('`').skip(1).step_by(2))
        .filter_map(|name| name.split('{').next())
        .map(str::to_owned)
        .collect();
    assert_eq!(exported, documented);
}
