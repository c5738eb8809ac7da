//! Commands that need no node.

use std::path::Path;

use serde_json::Value;

use crate::harness::{Chain, failure_of, jar_node, json_of, root, stdout_of};

#[test]
fn specs_are_written_checked_and_shown() {
    let chain = Chain::with(&["--balance", "bob=2", "--param", "event_gas=60_000_000"]);
    let spec = chain.spec();
    assert_eq!(
        json_of(&["chain-spec", "check", &spec, "--json"])["ok"],
        true
    );
    let shown = json_of(&["chain-spec", "inspect", &spec, "--json"]);
    assert_eq!(shown["chain_id"], "jar-dev");
    assert_eq!(shown["params"]["event_gas"], 60_000_000);
    assert_eq!(shown["all_params"]["event_gas"], 60_000_000);
    let balances = shown["genesis_decoded"]["balances"].as_object();
    assert_eq!(balances.map(serde_json::Map::len), Some(2));
    assert!(stdout_of(&["chain-spec", "inspect", &spec]).contains("transfer_in"));

    let mut file: Value =
        serde_json::from_str(&std::fs::read_to_string(&spec).expect("read")).expect("JSON");
    let mut refused = |name: &str, value: Value| {
        let before = file[name].take();
        file[name] = value;
        std::fs::write(&spec, file.to_string()).expect("written");
        file[name] = before;
        if file[name].is_null() {
            file.as_object_mut().expect("an object").remove(name);
        }
        failure_of(&["chain-spec", "check", &spec])
    };
    assert!(refused("colour", "red".into()).contains("colour"));
    assert!(refused("image_id", format!("0x{}", "00".repeat(32)).into()).contains("image_id"));
    assert!(refused("image", "../token.image".into()).contains("below the spec"));
    assert!(refused("image", "nothing.image".into()).contains("nothing.image"));
    assert!(refused("genesis", "0x00".into()).contains("genesis"));
    assert!(refused("bootnodes", vec!["/ip4/1.2.3.4"].into()).contains("bootnodes"));
}

#[test]
fn built_in_chains_are_those_of_the_repository() {
    for name in ["dev", "local", "contracts", "tally"] {
        let built_in = json_of(&["chain-spec", "check", name, "--json"]);
        let file = root().join(format!("chain-specs/{name}.json"));
        let file = file.to_str().expect("UTF-8");
        let file = json_of(&["chain-spec", "check", file, "--json"]);
        assert_eq!(built_in, file);
    }
    let local = json_of(&["chain-spec", "inspect", "local", "--json"]);
    let validators = local["genesis_decoded"]["validators"].as_array();
    assert_eq!(validators.map(Vec::len), Some(4));
}

/// `JAR_BLESS=1` writes the ids anew, after an Image was built anew.
#[test]
fn specs_name_their_images() {
    let entries = std::fs::read_dir(root().join("chain-specs")).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let specs: Vec<_> = paths
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    assert!(specs.len() >= 2);
    specs.iter().for_each(|path| names_its_image(path));
}

fn names_its_image(path: &Path) {
    let text = std::fs::read_to_string(path).expect("read");
    let spec: Value = serde_json::from_str(&text).expect("JSON");
    let image = root()
        .join("chain-specs")
        .join(spec["image"].as_str().expect("a name"));
    let summary = json_of(&["image", "inspect", image.to_str().expect("UTF-8"), "--json"]);
    let (named, id) = (spec["image_id"].as_str(), summary["id"].as_str());
    let (named, id) = (named.expect("an id"), id.expect("an id"));
    if std::env::var_os("JAR_BLESS").is_some() {
        std::fs::write(path, text.replace(named, id)).expect("written");
    } else {
        assert_eq!(
            named,
            id,
            "{}: the Image was built anew: run this with JAR_BLESS=1",
            path.display()
        );
    }
}

#[test]
fn images_are_shown() {
    let image = root().join("chain-specs/token.image");
    let image = image.to_str().expect("UTF-8");
    let summary = json_of(&["image", "inspect", image, "--json"]);
    let endpoints = summary["endpoints"].as_array().expect("endpoints");
    assert!(
        endpoints
            .iter()
            .any(|endpoint| endpoint["name"] == "transfer")
    );
    assert!(stdout_of(&["image", "inspect", image]).contains("transfer_in"));
    let text = stdout_of(&["image", "disassemble", image]);
    assert!(text.lines().count() > 1000);
    let spec = root().join("chain-specs/dev.json");
    let refused = failure_of(&["image", "inspect", spec.to_str().expect("UTF-8")]);
    assert!(refused.contains("is not an Image"), "{refused}");
}

#[test]
fn settings_come_in_layers() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("jar.toml");
    std::fs::write(
        &file,
        "rpc_max_batch = 7\nlog = \"json\"\nengine = \"interpreter\"\n",
    )
    .expect("written");
    let output = jar_node(&["config", "show", "--json", "--log", "human"])
        .env("JAR_CONFIG", &file)
        .env("JAR_ENGINE", "auto")
        .output()
        .expect("the binary runs");
    let shown: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let setting = |name: &str| {
        let text = |part: &str| shown[name][part].as_str().expect("a text").to_owned();
        (text("value"), text("origin"))
    };
    assert_eq!(
        setting("rpc_max_batch"),
        ("7".into(), format!("file {}", file.display()))
    );
    assert_eq!(
        setting("engine"),
        ("auto".into(), "environment JAR_ENGINE".into())
    );
    assert_eq!(setting("log"), ("human".into(), "flag --log".into()));
    assert_eq!(
        setting("rpc_listen"),
        ("127.0.0.1:9933".into(), "default".into())
    );

    std::fs::write(&file, "rpc_max_batches = 7\n").expect("written");
    let path = file.to_str().expect("UTF-8");
    let refused = failure_of(&["config", "show", "--config", path]);
    assert!(refused.contains("rpc_max_batches"), "{refused}");
    let misspelt = jar_node(&["config", "show"])
        .env("JAR_RPC_LISTN", "x")
        .output();
    let misspelt = misspelt.expect("the binary runs");
    assert!(!misspelt.status.success());
    assert!(stdout_of(&["config", "show"]).contains("rpc_listen"));
}

#[test]
fn transfers_are_measured() {
    let report = json_of(&[
        "bench",
        "transfers",
        "--count",
        "50",
        "--accounts",
        "5",
        "--json",
    ]);
    for name in [
        "dispatch_per_second",
        "build_per_second",
        "import_per_second",
        "signature_verifications_per_second",
        "import_ratio",
    ] {
        assert!(report[name].as_f64() > Some(0.0), "{name} in {report}");
    }
    assert!(failure_of(&["bench", "transfers", "--engine", "steam"]).contains("steam"));
}

#[test]
fn goals_of_the_kernel_are_told() {
    let told = stdout_of(&["bench", "kernel", "--rounds", "1", "--entries", "3000"]);
    for (goal, is_measured) in [
        ("call-us", true),
        ("call-wasmtime", false),
        ("import-verify", true),
        ("map-nomt", false),
        ("transfer-bytes", true),
    ] {
        let start = format!("goal {goal} ");
        let line = told.lines().find_map(|line| line.strip_prefix(&start));
        let line = line.unwrap_or_else(|| panic!("no {goal} in {told}"));
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            [value, _, _, "met" | "missed"] if is_measured => {
                assert!(value.parse::<f64>().unwrap() > 0.0, "{line}");
            }
            ["not", "measured", _, _] if !is_measured => {}
            _ => panic!("goal {goal}: {line}"),
        }
    }
    let failure = failure_of(&["bench", "kernel", "--entries", "1", "--peers", "/no/such"]);
    assert!(failure.contains("/no/such"), "{failure}");
}

#[test]
fn a_test_network_agrees_in_each_slot() {
    let told = stdout_of(&["testnet", "--nodes", "4", "--slots", "6"]);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 4 * 6 + 1, "{told}");
    for of_slot in lines[..24].chunks(4) {
        let states: Vec<&str> = of_slot
            .iter()
            .filter_map(|line| line.split(" state ").nth(1))
            .collect();
        assert_eq!(states, [states[0]; 4], "{told}");
    }
    let end = "head 6, finalized 3; the same state on every node";
    assert_eq!(lines[24], end);
    for (flags, why) in [
        (["--nodes", "9"], "1 to 8"),
        (["--slots", "0"], "at least 1"),
    ] {
        let failure = failure_of(&["testnet", flags[0], flags[1]]);
        assert!(failure.contains(why), "{failure}");
    }
}

#[test]
fn shells_get_completions() {
    assert!(stdout_of(&["completions", "bash"]).contains("chain-spec"));
}
