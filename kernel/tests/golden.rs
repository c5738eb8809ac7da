//! Hashes of every format the kernel defines, kept in `golden.txt`, so that none can change
//! unnoticed. `JAR_BLESS=1 cargo test -p jar-kernel --test golden` writes the file anew.

use std::fmt::Write;

use jar_cap::hash::blake2b;
use jar_kernel::block::{
    Attestation, Block, Body, Ending, Event, Header, Outcome, Record, Scope, outcome_root,
    signed_message,
};
use jar_kernel::{EventLocation, Genesis, Params, StoredHeader, Watermark, hex};
use parity_scale_codec::Encode;

struct Table(String);

impl Table {
    fn hash(&mut self, name: &str, hash: [u8; 32]) {
        writeln!(self.0, "{name} {}", hex(&hash)).expect("a string takes it");
    }

    fn scale(&mut self, name: &str, value: &impl Encode) {
        let bytes = value.encode();
        if bytes.len() <= 48 {
            writeln!(self.0, "scale {name} {}", hex(&bytes)).expect("a string takes it");
        } else {
            self.hash(&format!("scale {name} H"), blake2b(&[&bytes]));
        }
    }
}

const VOTE: Scope = Scope::Vote {
    source: 0x0102_0304_0506_0708,
    target: 0x1112_1314_1516_1718,
};

fn header() -> Header {
    Header {
        genesis: [1; 32],
        parent: [2; 32],
        height: 3,
        slot: 4,
        body_root: [5; 32],
        state_root: [6; 32],
        outcome_root: [7; 32],
    }
}

fn attestation(scope: Scope) -> Attestation {
    Attestation {
        key: [8; 32],
        scope,
        blob_hash: [9; 32],
        signature: [10; 64],
    }
}

fn event(byte: u8) -> Event {
    Event {
        payload: vec![byte; 3],
        attestations: vec![attestation(Scope::Direct)],
        results: vec![vec![byte], vec![]],
    }
}

fn outcome(value: u64) -> Outcome {
    Outcome {
        ending: match value % 2 {
            0 => Ending::Halted(value),
            _ => Ending::Faulted(value),
        },
        gas_used: 1000 + value,
        records: vec![Record {
            topic: b"topic".to_vec(),
            data: vec![1, 2, 3],
        }],
    }
}

fn blocks(t: &mut Table) {
    t.scale("Scope::Direct", &Scope::Direct);
    t.scale("Scope::Seal", &Scope::Seal);
    t.scale("Scope::Vote", &VOTE);
    t.scale("Ending::Halted", &Ending::Halted(2));
    t.scale("Ending::Faulted", &Ending::Faulted(3));
    t.scale("Header", &header());
    t.hash("Header::hash", header().hash());
    t.scale("Event", &event(1));
    t.scale("Event::default", &Event::default());
    t.hash("Event::id", event(1).id(7));
    t.scale("Attestation", &attestation(VOTE));
    let body = Body {
        groups: vec![(1, vec![event(1), event(2)]), (2, vec![event(3)])],
        attestations: vec![attestation(Scope::Direct), attestation(Scope::Seal)],
        results: vec![vec![4]],
    };
    t.scale("Body", &body);
    t.hash("Body::root", body.root());
    t.hash("Body::default root", Body::default().root());
    let header = header();
    t.scale("Block", &Block { header, body });
    t.scale("Outcome", &outcome(1));
    for scope in [Scope::Direct, Scope::Seal, VOTE] {
        let message = signed_message(&[1; 32], &scope, &[2; 32], &[3; 32]);
        t.hash(&format!("signed_message {scope:?}"), message);
    }
    for count in 0..=5 {
        let outcomes: Vec<Outcome> = (0..count).map(outcome).collect();
        t.hash(&format!("outcome_root {count}"), outcome_root(&outcomes));
    }
}

fn store(t: &mut Table) {
    let stored = StoredHeader {
        header: header(),
        score: 8,
        instance: [9; 32],
    };
    t.scale("StoredHeader", &stored);
    let location = EventLocation {
        block: [1; 32],
        index: 2,
    };
    t.scale("EventLocation", &location);
    t.scale("Watermark::default", &Watermark::default());
    let watermark = Watermark {
        seal_slot: Some(1),
        vote: Some((2, 3)),
    };
    t.scale("Watermark", &watermark);
}

/// Numbers that are not the defaults: those may change, the format may not.
fn genesis(t: &mut Table) {
    let names: Vec<String> = Params::default()
        .entries()
        .iter()
        .map(|(name, _)| name.to_string())
        .collect();
    let numbered = (1..).zip(&names).map(|(n, name)| (name.clone(), n));
    let params = Params::with(&numbered.collect()).expect("its own names");
    t.scale("Params", &params);
    t.scale("Params names", &names);
    let genesis = Genesis {
        params,
        image: Vec::new(),
        slot_ms: 1,
        time_ms: 2,
        payload: vec![3; 4],
    };
    t.hash("Genesis::commitment", genesis.commitment(&[5; 32]));
}

#[test]
fn formats_are_what_they_were() {
    let mut t = Table(String::new());
    blocks(&mut t);
    store(&mut t);
    genesis(&mut t);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden.txt");
    if std::env::var_os("JAR_BLESS").is_some() {
        std::fs::write(path, &t.0).expect("writable");
    }
    let expected = std::fs::read_to_string(path).expect("tests/golden.txt; JAR_BLESS=1 writes it");
    for (found, expected) in t.0.lines().zip(expected.lines()) {
        assert_eq!(found, expected);
    }
    assert_eq!(t.0, expected);
}

/// Roots of outcomes against the definition, spelled out.
#[test]
fn outcome_roots_are_padded_trees() {
    let leaf = |outcome: &Outcome| blake2b(&[&[0x73], &outcome.encode()]);
    let node = |l: [u8; 32], r: [u8; 32]| blake2b(&[&[0x74], &l, &r]);
    let all: Vec<Outcome> = (0..5).map(outcome).collect();
    let [a, b, c, d, e] = [0, 1, 2, 3, 4].map(|i: usize| leaf(&all[i]));
    let zero = [0; 32];
    assert_eq!(outcome_root(&[]), zero);
    assert_eq!(outcome_root(&all[..1]), a);
    assert_eq!(outcome_root(&all[..2]), node(a, b));
    assert_eq!(outcome_root(&all[..3]), node(node(a, b), node(c, zero)));
    let left = node(node(a, b), node(c, d));
    assert_eq!(outcome_root(&all[..4]), left);
    assert_eq!(outcome_root(&all), node(left, node(node(e, zero), zero)));
}

/// Hashes against their definitions, spelled out.
#[test]
fn hashes_are_tagged() {
    let event = event(1);
    assert_eq!(event.id(7), blake2b(&[&[0x72, 7], &event.encode()]));
    let header = header();
    assert_eq!(header.hash(), blake2b(&[&[0x70], &header.encode()]));
    let message = signed_message(&[1; 32], &VOTE, &[2; 32], &[3; 32]);
    let parts: [&[u8]; 5] = [&[0x7f], &[1; 32], &VOTE.encode(), &[2; 32], &[3; 32]];
    assert_eq!(message, blake2b(&parts));
    let seal = attestation(Scope::Seal);
    let unsigned = Attestation {
        signature: [0; 64],
        ..seal.clone()
    };
    let body = |seal| Body {
        groups: Vec::new(),
        attestations: vec![attestation(Scope::Direct), seal],
        results: Vec::new(),
    };
    let expected = blake2b(&[&[0x71], &body(unsigned).encode()]);
    assert_eq!(body(seal).root(), expected);
}
