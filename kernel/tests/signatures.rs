//! Which signatures are accepted: ZIP-215's rules, one by one and in batches alike.

mod common;

use std::path::PathBuf;

use common::calls::{code, passing};
use common::chain::event;
use common::{A0, Node, Program, RAM, Rng, genesis, seed_key, sign};
use jar_abi::{Fault, HostCall as Op, Status, slots};
use jar_cap::image::Role;
use jar_kernel::block::{Attestation, Ending, Event, Scope};
use jar_kernel::{Advanced, Genesis, SignatureCheck, verify_batch};
use parity_scale_codec::Encode;

/// The folder of public vectors, if it is there.
fn vectors() -> Option<PathBuf> {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    let folder = std::env::var_os("JAR_VECTORS").map_or_else(default, PathBuf::from);
    folder.is_dir().then_some(folder)
}

fn bytes<const N: usize>(value: &serde_json::Value) -> [u8; N] {
    let text = value.as_str().expect("hex");
    let bytes: Vec<u8> = (0..text.len() / 2)
        .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).expect("hex"))
        .collect();
    bytes.try_into().expect("the length")
}

fn good(count: u64) -> Vec<SignatureCheck> {
    let genesis = [5; 32];
    (0..count)
        .map(|i| {
            let mut seed = [1; 32];
            seed[..8].copy_from_slice(&i.to_le_bytes());
            let attestation = sign(seed, &genesis, Scope::Direct, &i.to_le_bytes());
            SignatureCheck::of(&genesis, &attestation)
        })
        .collect()
}

#[test]
fn vectors_of_speccheck_are_judged_by_zip_215() {
    let Some(folder) = vectors() else {
        eprintln!("skipped: no folder of public vectors");
        return;
    };
    let text = std::fs::read_to_string(folder.join("ed25519/speccheck.json")).expect("readable");
    let file: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let accepted: Vec<u64> = file["zip215_accepts"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|index| index.as_u64().expect("an index"))
        .collect();
    let cases = file["cases"].as_array().expect("a list");
    assert_eq!(cases.len(), 12);
    let fill = good(40);
    for (index, case) in cases.iter().enumerate() {
        let check = SignatureCheck {
            key: bytes(&case["pub_key"]),
            message: bytes(&case["message"]),
            signature: bytes(&case["signature"]),
        };
        let expected = accepted.contains(&(index as u64));
        assert_eq!(check.verify(), expected, "case {index} alone");
        assert_eq!(
            verify_batch(std::slice::from_ref(&check)),
            expected,
            "case {index}"
        );
        for at in [0, 17, 40] {
            let mut batch = fill.clone();
            batch.insert(at, check.clone());
            assert_eq!(verify_batch(&batch), expected, "case {index} at {at}");
        }
    }
}

#[test]
fn single_and_batch_agree_on_spoiled_signatures() {
    let mut rng = Rng(3);
    let checks = good(70);
    assert!(checks.iter().all(SignatureCheck::verify));
    assert!(verify_batch(&checks) && verify_batch(&[]));
    for _ in 0..60 {
        let mut batch = checks.clone();
        let check = &mut batch[rng.below(70) as usize];
        let bit = 1 << rng.below(8);
        match rng.below(3) {
            0 => check.key[rng.below(32) as usize] ^= bit,
            1 => check.message[rng.below(32) as usize] ^= bit,
            _ => check.signature[rng.below(64) as usize] ^= bit,
        }
        assert!(!check.verify());
        assert!(!verify_batch(&batch));
    }
}

#[test]
fn nothing_but_the_signed_bytes_is_signed() {
    let genesis = [5; 32];
    let good = sign([1; 32], &genesis, Scope::Direct, b"blob");
    assert!(SignatureCheck::of(&genesis, &good).verify());
    assert!(!SignatureCheck::of(&[6; 32], &good).verify(), "genesis");
    let other = sign([2; 32], &genesis, Scope::Direct, b"blob");
    let changes: [fn(&mut Attestation); 4] = [
        |a| a.scope = Scope::Seal,
        |a| {
            a.scope = Scope::Vote {
                source: 0,
                target: 1,
            }
        },
        |a| a.blob_hash[0] ^= 1,
        |a| a.signature[0] ^= 1,
    ];
    for change in changes {
        let mut bad = good.clone();
        change(&mut bad);
        assert!(!SignatureCheck::of(&genesis, &bad).verify());
    }
    let mut bad = good;
    bad.key = other.key;
    assert!(!SignatureCheck::of(&genesis, &bad).verify(), "key");
}

/// Who signs the events of [`gated`].
const KEY: [u8; 32] = [5; 32];

/// A chain whose events fault until one with payload 1 has opened the gate; from then on they ask
/// for an attestation by [`KEY`].
fn gated() -> Program {
    const GATE: u64 = 50;
    let mut main = Program::new();
    let key = main.data(&seed_key(KEY));
    let scope = main.data(&Scope::Direct.encode());
    main.endpoint(0, "main", Role::Transact(0), |asm| {
        asm.call(Op::ReadData, &[0, RAM.into(), 1, 0])
            .load(0, RAM)
            .if_eq(0, 1, |asm| {
                asm.call(Op::MintCnode, &[GATE]).halt_with(0);
            })
            .call(Op::Kind, &[GATE])
            .if_eq(A0, code(Status::Empty), |asm| {
                asm.trap();
            });
        let attestation = u64::from(slots::ATTESTATION);
        asm.call(Op::Attest, &[attestation, key, 0, 0, scope, 1])
            .if_eq(A0, 0, |asm| {
                asm.halt_with(1);
            })
            .halt_with(0);
    });
    passing(&main)
}

fn attested(node: &Node, signer: [u8; 32], payload: u8) -> Event {
    let mut attestation = sign(signer, &node.genesis_hash(), Scope::Direct, b"");
    attestation.key = seed_key(KEY);
    Event {
        attestations: vec![attestation],
        ..event([payload])
    }
}

fn build(node: &mut Node, payloads: &[u8]) -> Advanced {
    for payload in payloads {
        node.dispatch(9, event([*payload])).expect("accepted");
    }
    node.build().expect("built")
}

/// Events that return to the pipeline of a [`gated`] chain from a block with events by these
/// signers that is left behind.
fn returning(genesis: &Genesis, signers: &[[u8; 32]]) -> usize {
    let payloads: Vec<u8> = (10..).take(signers.len()).collect();
    let mut author = Node::new(genesis, &[]);
    let built = build(&mut author, &payloads);
    let faulted = Ending::Faulted(Fault::Panic as u64);
    assert!(built.outcomes.iter().all(|o| o.ending == faulted));
    // The author puts signatures to them, which nothing in the block looks at.
    let mut left = (*built.block).clone();
    let events = &mut left.body.groups[0].1;
    for (event, (signer, payload)) in events.iter_mut().zip(signers.iter().zip(payloads)) {
        *event = attested(&author, *signer, payload);
    }
    left.header.body_root = left.body.root();
    let mut node = Node::new(genesis, &[]);
    node.import(&left).expect("valid");
    let mut rival = Node::new(genesis, &[]);
    for payload in [1, 2] {
        let built = build(&mut rival, &[payload]);
        node.import(&built.block).expect("valid");
    }
    assert_eq!(node.head().hash, rival.head().hash);
    node.kernel.pending_count()
}

/// An event that faulted before it attested leaves signatures that nobody has checked. When its
/// block is left behind and it would halt now, they are.
#[test]
fn what_returns_from_a_block_left_behind_has_its_signatures_checked() {
    let genesis = genesis(&gated());
    assert_eq!(returning(&genesis, &[KEY]), 1);
    assert_eq!(returning(&genesis, &[[6; 32]]), 0);
}

/// Whether its signatures are good or not, an event of a block left behind costs the gas of those
/// that are judged after it.
#[test]
fn what_does_not_return_costs_gas_too() {
    let mut genesis = genesis(&gated());
    let mut node = Node::new(&genesis, &[]);
    build(&mut node, &[1]);
    let outcome = node.simulate(0, &attested(&node, KEY, 10));
    assert_eq!(outcome.ending, Ending::Halted(0));
    let gas = outcome.gas_used;
    genesis.params.event_gas = gas;
    for (block_gas, returns) in [(2 * gas, 1), (2 * gas - 1, 0)] {
        genesis.params.block_gas = block_gas;
        assert_eq!(returning(&genesis, &[[6; 32], KEY]), returns);
    }
}
