//! What a builder signs: the obligations of its Schedules, and the watermarks.

mod common;

use common::chain::event;
use common::counter::{SUBMIT, add, counter};
use common::{A0, Asm, Node, Program, RAM, Seal, genesis, key, seed_key};
use jar_abi::{HostCall as Op, slots};
use jar_cap::Key;
use jar_cap::image::Role;
use jar_kernel::block::{Ending, Scope, signed_message};
use jar_kernel::{AdvanceError, GENESIS_NATIVES, Genesis, SignatureCheck, Store};
use parity_scale_codec::Encode;

const AUTHOR: [u8; 32] = [1; 32];
const STRANGER: [u8; 32] = [2; 32];

/// A chain whose first Schedule asks for attestations and keeps the answers in slot 50, a byte
/// each.
fn asking(wanted: &[(u64, Scope)], keys: &[[u8; 32]]) -> Genesis {
    let mut program = Program::new();
    let keys: Vec<u64> = keys.iter().map(|key| program.data(key)).collect();
    let blob = program.data(b"blob");
    let asked: Vec<[u64; 6]> = wanted
        .iter()
        .map(|(key, scope)| {
            let scope_at = program.data(&scope.encode());
            let len = if *scope == Scope::Seal { 0 } else { 4 };
            let attestation = u64::from(slots::ATTESTATION);
            [attestation, keys[*key as usize], blob, len, scope_at, 1]
        })
        .collect();
    program.endpoint(0, "ask", Role::Schedule(0), |asm: &mut Asm| {
        for (index, args) in asked.iter().enumerate() {
            asm.call(Op::Attest, args).store(RAM + index as u32, A0);
        }
        asm.call(Op::Drop, &[50])
            .call(Op::MintData, &[RAM.into(), asked.len() as u64, 50])
            .halt_with(0);
    });
    genesis(&program)
}

#[test]
fn schedules_get_what_this_node_may_sign() {
    let (own, other) = (seed_key(AUTHOR), seed_key(STRANGER));
    let wanted = [(0, Scope::Direct), (1, Scope::Direct), (0, Scope::Direct)];
    let genesis = asking(&wanted, &[own, other]);
    let mut builder = Node::new(&genesis, &[AUTHOR]);
    let built = builder.build().expect("built");
    assert_eq!(builder.bytes(&[50]), Some(vec![1, 0, 1]));
    let attestations = &built.block.body.attestations;
    assert_eq!(attestations.len(), 2);
    for attestation in attestations {
        assert_eq!(attestation.blob_hash, jar_cap::hash::blake2b(&[b"blob"]));
        assert!(SignatureCheck::of(&builder.genesis_hash(), attestation).verify());
    }
    // Who verifies sees the same answers, and has no key.
    let mut node = Node::new(&genesis, &[]);
    node.import(&built.block).expect("valid");
    assert_eq!(node.bytes(&[50]), Some(vec![1, 0, 1]));
    // Without keys everything is absent, and the block is as valid.
    node.build().expect("built");
    assert_eq!(node.bytes(&[50]), Some(vec![0, 0, 0]));
}

#[test]
fn results_are_recorded_by_who_builds_and_compared_by_who_imports() {
    let mut program = Program::new();
    let (first, second) = (program.data(b"first"), program.data(b"second"));
    let attestation = u64::from(slots::ATTESTATION);
    for (index, at, len) in [(0, first, 5), (1, second, 6)] {
        program.endpoint(
            index,
            &format!("ask{index}"),
            Role::Schedule(index),
            |asm| {
                asm.call(Op::Result, &[attestation, at, len]).halt();
            },
        );
    }
    let genesis = genesis(&program);
    let mut builder = Node::new(&genesis, &[]);
    let built = builder.build().expect("built");
    assert_eq!(built.block.body.results, [&b"first"[..], b"second"]);
    let halted: Vec<_> = built.outcomes.iter().map(|o| o.ending).collect();
    assert_eq!(halted, [Ending::Halted(1); 2]);
    let import = |results: &[&[u8]]| {
        let mut block = (*built.block).clone();
        block.body.results = results.iter().map(|r| r.to_vec()).collect();
        block.header.body_root = block.body.root();
        Node::new(&genesis, &[]).import(&block).map(|_| ())
    };
    import(&[b"first", b"second"]).expect("the builder's own");
    for refused in [
        &[&b"first"[..]][..],
        &[],
        &[b"first", b"other"],
        &[b"second", b"first"],
        &[b"first", b"second", b""],
    ] {
        assert!(matches!(import(refused), Err(AdvanceError::Invalid(_))));
    }
}

#[test]
fn what_schedules_note_never_makes_a_block_too_large() {
    let mut program = Program::new();
    let at = program.data(&[7; 3000]);
    let attestation = u64::from(slots::ATTESTATION);
    program.endpoint(0, "ask", Role::Schedule(0), |asm| {
        for _ in 0..4 {
            asm.call(Op::Result, &[attestation, at, 3000]);
        }
        asm.halt();
    });
    let mut genesis = genesis(&program);
    genesis.params.block_bytes = 8192;
    let mut builder = Node::new(&genesis, &[]);
    let built = builder.build().expect("built");
    assert_eq!(built.block.body.results.len(), 2);
    assert_eq!(
        built.outcomes[0].ending,
        Ending::Halted(0),
        "the last one was absent"
    );
    Node::new(&genesis, &[])
        .import(&built.block)
        .expect("valid");
}

#[test]
fn a_repeated_seal_is_absent() {
    let mut program = counter(&Seal::By(seed_key(AUTHOR)));
    let author = program.data(&seed_key(AUTHOR));
    let scope = program.data(&Scope::Seal.encode());
    // After the chain's own Schedule has got its seal.
    program.endpoint(252, "again", Role::Schedule(255), |asm| {
        let attestation = u64::from(slots::ATTESTATION);
        asm.call(Op::Attest, &[attestation, author, 0, 0, scope, 1])
            .halt();
    });
    let genesis = genesis(&program);
    let mut builder = Node::new(&genesis, &[AUTHOR]);
    let built = builder.build().expect("built");
    let values: Vec<_> = built.outcomes.iter().map(|o| o.ending).collect();
    assert_eq!(values.last(), Some(&jar_kernel::block::Ending::Halted(0)));
    assert_eq!(built.block.body.attestations.len(), 1);
    let imported = Node::new(&genesis, &[])
        .import(&built.block)
        .expect("valid");
    assert_eq!(imported.outcomes, built.outcomes);
}

#[test]
fn a_seal_is_over_the_block_hash() {
    let genesis = genesis(&counter(&Seal::By(seed_key(AUTHOR))));
    let mut builder = Node::new(&genesis, &[AUTHOR]);
    let built = builder.build().expect("built");
    let (_, seal) = built.block.body.seal().expect("sealed");
    assert_eq!(seal.blob_hash, [0; 32]);
    let blob_hash = jar_cap::hash::blake2b(&[&built.hash]);
    let check = SignatureCheck::with_blob(&builder.genesis_hash(), seal, &blob_hash);
    assert!(check.verify());
    let message = signed_message(&builder.genesis_hash(), &Scope::Seal, &seal.key, &blob_hash);
    assert_eq!(check.message, message);
}

#[test]
fn no_slot_is_sealed_twice() {
    let genesis = genesis(&counter(&Seal::By(seed_key(AUTHOR))));
    // Two nodes with one key: what an operator must not do, made here to get a fork.
    let mut twin = Node::new(&genesis, &[AUTHOR]);
    let blocks: Vec<_> = (1..=3)
        .map(|slot| {
            twin.dispatch(SUBMIT, add(slot)).expect("accepted");
            twin.build_at(slot).expect("built").block
        })
        .collect();
    let mut node = Node::new(&genesis, &[AUTHOR]);
    node.build_at(7).expect("built");
    for block in &blocks {
        node.import(block).expect("valid");
    }
    assert_eq!(node.head().header.slot, 3, "the twin's fork scores higher");
    for slot in 4..=7 {
        let refused = node.build_at(slot).expect_err("signed at 7 already");
        assert!(matches!(refused, AdvanceError::NotAuthor));
    }
    node.build_at(8).expect("above the watermark");
    let watermark = node.store.watermark(&seed_key(AUTHOR)).expect("in memory");
    assert_eq!(watermark.seal_slot, Some(8));
    let node = Node::open(node.store.clone(), &genesis, &[AUTHOR]).expect("same chain");
    assert_eq!(node.head().header.slot, 8);
}

#[test]
fn an_author_view_without_an_answer_stops_builders_and_spoils_blocks() {
    let mut program = Program::new();
    program.endpoint(0, "author", Role::View, |asm| {
        asm.trap();
    });
    let genesis = genesis(&program);
    let mut node = Node::new(&genesis, &[]);
    let error = node.build().expect_err("nobody knows who may build");
    assert!(matches!(error, AdvanceError::Kernel(_)), "{error}");
    // A received block is to blame by itself: the node goes on.
    let silent = self::genesis(&counter(&Seal::None));
    let mut silent = Node::new(&silent, &[]);
    let mut block = (*silent.build().expect("built").block).clone();
    block.header.genesis = node.genesis_hash();
    block.header.parent = node.genesis_hash();
    let error = node.import(&block).expect_err("no author");
    assert!(matches!(error, AdvanceError::Invalid(_)), "{error}");
}

#[test]
fn a_genesis_endpoint_makes_the_first_state() {
    let mut program = Program::new();
    program.endpoint(0, "genesis", Role::Genesis, |asm| {
        asm.call(Op::Move, &[0, 50])
            .call(Op::BlockInfo, &[RAM.into()])
            .halt_with(0);
    });
    let mut genesis = genesis(&program);
    genesis.payload = b"balances".to_vec();
    let node = Node::new(&genesis, &[]);
    assert_eq!(node.bytes(&[50]), Some(b"balances".to_vec()));
    assert_eq!(node.get(&[0]), None);
    let held = node.chain().keys(&node.head(), &[], None, 99);
    let natives = GENESIS_NATIVES.iter().map(|(slot, _)| key(*slot));
    let mut expected: Vec<Key> = natives.chain([key(50)]).collect();
    expected.sort_by_key(|key| key.hash());
    assert_eq!(held.expect("keys"), expected);
    assert_eq!(node.simulate_fails(), ());
    // Which of two would it be?
    program.endpoint(1, "again", Role::Genesis, |asm| {
        asm.halt_with(0);
    });
    genesis.image = program.build().encode();
    let store = std::sync::Arc::new(jar_kernel::memory::MemoryChainStore::new());
    let refused = Node::open(store, &genesis, &[]).err().expect("refused");
    assert!(refused.to_string().contains("several Genesis"), "{refused}");
}

impl Node {
    /// A chain without Transact endpoints simulates nothing.
    fn simulate_fails(&self) {
        let head = self.head();
        let result = self.chain().simulate(&head, 0, &event([]));
        assert!(result.is_err());
    }
}
