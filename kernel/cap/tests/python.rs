//! Ids, roots and proofs against `scripts/verify_proof.py`, which shares nothing with this crate.

mod common;

use std::io::Write;
use std::process::{Command, Stdio};

use common::*;
use jar_cap::image::{Image, Pinned, Role, Source};
use jar_cap::proof::{End, Step};
use jar_cap::{Body, CNode, Cap, Data, Hash, ImageRef, Instance, Key, MemoryStore, state_root};
use parity_scale_codec::Encode;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/verify_proof.py");

/// Runs the script on this input; `None` where there is no python3.
fn python(arguments: &[&str], input: &Value) -> Option<Result<String, String>> {
    let child = Command::new("python3")
        .arg(SCRIPT)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("SKIPPED: python3 is not installed, so verify_proof.py was not compared");
            return None;
        }
        child => child.expect("python3 starts"),
    };
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.to_string().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Some(if output.status.success() {
        Ok(text(output.stdout))
    } else {
        Err(text(output.stderr))
    })
}

fn hex(bytes: impl AsRef<[u8]>) -> Value {
    json!(format!("0x{}", hex::encode(bytes)))
}

fn keys(keys: &[Key]) -> Value {
    keys.iter().map(hex).collect()
}

fn image_json(image: &Image) -> Value {
    let role = |role: Role| match role {
        Role::Schedule(order) => json!(["Schedule", order]),
        Role::Transact(order) => json!(["Transact", order]),
        role => json!(format!("{role:?}")),
    };
    let endpoints: serde_json::Map<_, _> = image
        .endpoints
        .iter()
        .map(|(n, e)| {
            let regs: serde_json::Map<_, _> = e
                .regs
                .iter()
                .map(|(reg, value)| (reg.to_string(), json!(value)))
                .collect();
            let endpoint = json!({"name": e.name, "role": role(e.role), "pc": e.pc, "regs": regs});
            (n.to_string(), endpoint)
        })
        .collect();
    let source = |source: &Source| match source {
        Source::Slot(path) => json!({"slot": keys(path.keys())}),
        Source::Ephemeral { init, eager } => {
            let init = init.as_ref().map(|path| keys(path.keys()));
            json!({"init": init, "eager": eager})
        }
    };
    let pinned: serde_json::Map<_, _> = image
        .pinned
        .iter()
        .map(|(key, pinned)| {
            let pinned = match pinned {
                Pinned::Data(bytes) => json!({"data": hex(bytes)}),
                Pinned::Image(image) => json!({"image": image_json(image)}),
            };
            (key.to_string(), pinned)
        })
        .collect();
    json!({
        "program": {
            "code": hex(&image.program.code),
            "bitmask": hex(&image.program.bitmask),
            "jump_table": image.program.jump_table,
        },
        "endpoints": endpoints,
        "memory": image.memory.iter().map(|m| json!({
            "start": m.start, "size": m.size, "source": source(&m.source),
        })).collect::<Value>(),
        "pinned": pinned,
        "gas_slots": keys(&image.gas_slots),
        "quota_slots": keys(&image.quota_slots),
        "catcher_slot": image.catcher_slot.map(hex),
        "metadata": image.metadata.iter().map(|(name, v)| (name.clone(), hex(v)))
            .collect::<serde_json::Map<_, _>>(),
    })
}

fn table_json(map: &CNode, store: &MemoryStore) -> Value {
    entries(map, store)
        .iter()
        .map(|(key, cap)| json!([hex(key), cap_json(cap, store)]))
        .collect()
}

fn cap_json(cap: &Cap, store: &MemoryStore) -> Value {
    match cap {
        Cap::Data(data) => json!({"data": hex(data.to_vec(store, u64::MAX).unwrap())}),
        Cap::Image(image) => json!({"image": image_json(&image.image(store).unwrap())}),
        Cap::CNode(map) => json!({"cnode": table_json(map, store)}),
        Cap::Type(type_id) => json!({"type": hex(&type_id[..])}),
        Cap::Instance(instance) => match instance.body() {
            Body::Program {
                image,
                cnode,
                status,
            } => json!({"instance": {
                "type": hex(instance.type_id()),
                "image": image_json(&image.image(store).unwrap()),
                "table": table_json(cnode, store),
                "status": hex(status.encode()),
            }}),
            Body::Native { kind, state } => {
                json!({"native": {"name": kind.name(), "state": hex(state)}})
            }
            Body::File(data) => {
                json!({"native": {"name": "File", "state": hex(data.id())}})
            }
        },
    }
}

#[test]
fn ids_and_roots() {
    let store = MemoryStore::new();
    let mut runner = TestRunner::deterministic();
    let strategy = any_cap();
    let mut caps: Vec<Cap> = (0..300)
        .map(|_| strategy.new_tree(&mut runner).unwrap().current())
        .collect();
    caps.push(Cap::Image(ImageRef::new(sample_image())));
    caps.push(Cap::CNode(accounts(3000)));
    caps.push(Cap::Data(Data::new(&vec![3; 300_000])));
    let zeros = Data::empty().with_pages(&store, 1 << 20, []).unwrap();
    caps.push(Cap::Data(zeros));
    let cases: Value = caps.iter().map(|cap| cap_json(cap, &store)).collect();
    let Some(answer) = python(&["--ids"], &cases) else {
        return;
    };
    let answer: Vec<Value> = serde_json::from_str(&answer.unwrap()).unwrap();
    assert_eq!(answer.len(), caps.len());
    for (index, (cap, answer)) in caps.iter().zip(&answer).enumerate() {
        let table = match cap {
            Cap::CNode(map) => Some(map),
            Cap::Instance(instance) => instance.cnode(),
            _ => None,
        };
        assert_eq!(answer["id"], hex(cap.id()), "id of {}", cases[index]);
        let root = table.map_or([0; 32], CNode::root);
        assert_eq!(answer["root"], hex(root), "root of {}", cases[index]);
    }
}

fn step_json(step: &Step) -> Value {
    let end = match step.end {
        End::Leaf { key_hash, cap } => {
            json!({"leaf": {"key_hash": hex(key_hash), "cap": hex(cap)}})
        }
        End::Empty => json!("empty"),
    };
    let mut json = json!({
        "key": hex(step.key),
        "siblings": step.siblings.iter().map(hex).collect::<Value>(),
        "end": end,
    });
    if let Some(root) = step.trie_root {
        json["trie_root"] = hex(root);
    }
    json
}

/// A `state_proof` answer, with a header whose other fields are arbitrary.
fn proof_json(instance: &Instance, path: &[Key]) -> Value {
    let store = MemoryStore::new();
    let Body::Program {
        image,
        cnode,
        status,
    } = instance.body()
    else {
        panic!("a program");
    };
    let (steps, cap) = cnode.prove_path(&store, path).unwrap();
    let root = state_root(&instance.id());
    let header = (
        [7u8; 32], [8u8; 32], 9u64, 10u64, [11u8; 32], root, [12u8; 32],
    );
    let block: Hash = jar_cap::hash::tagged(jar_cap::hash::Tag::Header, &[&header.encode()]);
    let mut proof = json!({
        "block": hex(block),
        "header": {
            "genesis": hex(header.0), "parent": hex(header.1), "height": 9, "slot": "10",
            "body_root": hex(header.4), "state_root": hex(root), "outcome_root": hex(header.6),
        },
        "state_root": hex(root),
        "instance": {
            "type": hex(instance.type_id()), "image": hex(image.id()),
            "trie_root": hex(cnode.root()), "status": hex(status.encode()),
        },
        "steps": steps.iter().map(step_json).collect::<Value>(),
    });
    if let Some(Cap::Data(data)) = cap {
        proof["data"] = hex(data.to_vec(&store, u64::MAX).unwrap());
    }
    proof
}

fn chain() -> Instance {
    let table = map(&[
        (Key::from(32), data(&[5; 9000])),
        (Key::from(33), Cap::CNode(accounts(300))),
    ]);
    Instance::program([1; 32], image(3), table)
}

#[test]
fn proofs_are_accepted() {
    let chain = chain();
    let balances = Key::from(33);
    for (path, expected) in [
        (&[balances, account(7)][..], "present"),
        (&[balances], "present"),
        (&[Key::from(32)], "present"),
        (&[balances, account(300)], "absent"),
        (&[Key::from(1), account(7)], "absent"),
    ] {
        let proof = proof_json(&chain, path);
        let joined: Vec<_> = path.iter().map(Key::to_string).collect();
        let root = format!("0x{}", hex::encode(state_root(&chain.id())));
        let arguments = ["--path", &joined.join(","), "--state-root", &root];
        let enveloped = json!({"jsonrpc": "2.0", "id": 1, "result": proof});
        for input in [&proof, &enveloped] {
            let Some(answer) = python(&arguments, input) else {
                return;
            };
            let answer = answer.unwrap();
            let last = answer.lines().last().unwrap_or_default();
            assert!(last.starts_with(expected), "{answer}");
        }
    }
}

#[test]
fn tampered_proofs_are_refused() {
    let proof = proof_json(&chain(), &[Key::from(33), account(7)]);
    let text = proof.to_string();
    // One digit changed in each of a spread of places that are hashed.
    let digits: Vec<_> = text
        .match_indices("\"0x")
        .flat_map(|(at, _)| [at + 3, at + 4])
        .filter(|at| text.as_bytes()[*at].is_ascii_hexdigit())
        .collect();
    for at in digits.iter().step_by(3) {
        let digit = match &text[*at..at + 1] {
            "0" => "1",
            _ => "0",
        };
        let changed = [&text[..*at], digit, &text[at + 1..]].concat();
        let Some(answer) = python(&[], &serde_json::from_str(&changed).unwrap()) else {
            return;
        };
        let error = answer.expect_err("refused");
        assert!(error.starts_with("verify_proof: "), "{error}");
    }
    let wrong_path = python(&["--path", "0x21,0x07"], &proof);
    assert!(wrong_path.is_none_or(|answer| answer.is_err()));
}
