//! The tally chain through the command line.

use serde_json::{Value, json};

use crate::harness::{Chain, Node, failure_of, json_of, run, stderr, stdout_of};

/// Votes until the vote is counted: a poll may close in between.
fn vote(url: &str, name: &str, choice: u8) -> Value {
    let choice = choice.to_string();
    let words = ["tally", "vote", "--choice", &choice, "--from", name];
    let words = [&words[..], &["--rpc", url, "--json"]].concat();
    loop {
        let output = run(&words);
        if output.status.success() {
            return serde_json::from_slice(&output.stdout).expect("JSON");
        }
        let told = stderr(&output);
        let is_late = told.contains("closed before") || told.contains("WrongPoll");
        assert!(is_late, "{told}");
    }
}

fn show(node: &Node, poll: u64) -> Value {
    let (url, poll) = (node.url(), poll.to_string());
    json_of(&["tally", "show", &poll, "--rpc", &url, "--json"])
}

#[test]
fn votes_are_cast_and_counted() {
    let chain = Chain::built_in("tally");
    let node = chain.start_with("data", &[]);
    let url = node.url();
    let poll = vote(&url, "alice", 1)["poll"].as_u64().expect("a number");
    let told = show(&node, poll);
    assert_eq!(told["counts"], json!([0, 1, 0]), "{told}");
    // Others at the same time: each waits for its own vote to be counted.
    std::thread::scope(|scope| {
        for (name, choice) in [("bob", 2), ("carol", 2), ("dave", 0)] {
            let url = &url;
            scope.spawn(move || vote(url, name, choice));
        }
    });
    // The last poll with votes may be closed by now; polls keep their counts.
    let open = show_open(&node);
    let polls: Vec<Value> = (poll..=open).map(|number| show(&node, number)).collect();
    let sum = |choice: usize| -> u64 {
        let counts = polls.iter().map(|told| told["counts"][choice].as_u64());
        counts.map(|count| count.expect("a number")).sum()
    };
    assert_eq!([sum(0), sum(1), sum(2)], [1, 1, 2]);
    let failure = |words: &[&str]| failure_of(&[&["tally"], words, &["--rpc", &url]].concat());
    let future = failure(&["show", "1000000000"]);
    assert!(future.contains("not open yet"), "{future}");
    let choice = failure(&["vote", "--choice", "3", "--from", "erin"]);
    assert!(choice.contains("BadVotes"), "{choice}");
    let stranger = failure(&["vote", "--choice", "0", "--from", "mallory"]);
    assert!(stranger.contains("may not vote"), "{stranger}");
    assert!(stdout_of(&["tally", "show", "--rpc", &url]).starts_with("poll "));
}

fn show_open(node: &Node) -> u64 {
    let told = json_of(&["tally", "show", "--rpc", &node.url(), "--json"]);
    told["poll"].as_u64().expect("a number")
}
