//! Blocks: building and importing agree, and what is wrong with a block is told.

mod common;
#[path = "blocks/tampers.rs"]
mod tampers;

use common::chain::event;
use common::counter::*;
use common::{Node, Seal, genesis, seed_key, sign};
use jar_kernel::block::{Attestation, Block, Body, Ending, Event, Header, Outcome, Scope};
use jar_kernel::{AdvanceError, Genesis, InvalidBlock, KernelError, Store, decode_block};
use parity_scale_codec::Encode;
use tampers::{events, tampers};

const AUTHOR: [u8; 32] = [1; 32];
const STRANGER: [u8; 32] = [2; 32];

fn sealed() -> Genesis {
    genesis(&counter(&Seal::By(seed_key(AUTHOR))))
}

/// A chain on which any node builds.
fn open() -> Genesis {
    genesis(&counter(&Seal::None))
}

fn count(node: &Node) -> u64 {
    let bytes = node.bytes(&[41]).unwrap_or_default();
    bytes.first_chunk().map_or(0, |b| u64::from_le_bytes(*b))
}

fn submit(node: &mut Node, event: Event) {
    node.dispatch(SUBMIT, event).expect("accepted");
}

/// Builds a block with one event.
fn build_with(node: &mut Node, event: Event) -> Block {
    submit(node, event);
    let advanced = node.build().expect("built");
    assert_eq!(advanced.events.len(), 1, "{:?}", node.dropped());
    (*advanced.block).clone()
}

fn signed(number: u64, seed: [u8; 32], node: &Node) -> Event {
    let attestation = sign(seed, &node.genesis_hash(), Scope::Direct, BLOB);
    Event {
        attestations: vec![attestation],
        ..request(number, &seed_key(seed))
    }
}

/// Recomputes the body root and seals anew.
fn reseal(block: &mut Block) {
    block.header.body_root = block.body.root();
    let genesis = block.header.genesis;
    for attestation in &mut block.body.attestations {
        if attestation.scope == Scope::Seal {
            *attestation = sign(AUTHOR, &genesis, Scope::Seal, &block.header.hash());
        }
    }
}

fn invalid(result: Result<jar_kernel::Advanced, AdvanceError>) -> InvalidBlock {
    match result {
        Err(AdvanceError::Invalid(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_one_builds_another_imports() {
    let mut author = Node::new(&sealed(), &[AUTHOR]);
    let mut other = Node::new(&sealed(), &[]);
    let mut stranger = Node::new(&sealed(), &[STRANGER]);
    let mut blocks = Vec::new();
    for round in 0..6u64 {
        for i in 0..=round {
            submit(&mut author, add(2 * (10 * round + i)));
        }
        submit(&mut author, request(FAULT, &round.to_le_bytes()));
        submit(&mut author, request(EMIT, &[round as u8; 20]));
        submit(&mut author, request(HALT, &[round as u8, 9]));
        submit(&mut author, request(SPIN, &[round as u8]));
        let event = signed(ATTEST, [40 + round as u8; 32], &author);
        author.dispatch(SUBMIT_SIGNED, event).expect("accepted");
        let slot = author.head().header.slot + 1 + round;
        let built = author.build_at(slot).expect("the author builds");
        assert_eq!(author.kernel.pending_count(), 0);
        assert_eq!(built.events.len() as u64, round + 6);
        let imported = other.import(&built.block).expect("valid");
        assert_eq!(built.hash, imported.hash);
        assert_eq!(built.outcomes, imported.outcomes);
        assert_eq!(built.events, imported.events);
        assert!(built.head_changed && imported.head_changed);
        let (a, b) = (author.head(), other.head());
        assert_eq!((a.hash, a.score, &a.header), (b.hash, b.score, &b.header));
        assert_eq!(count(&author), count(&other));
        let (id, index) = built.events[0];
        for node in [&author, &other] {
            let found = node.store.event(&id, 9).expect("in memory");
            assert_eq!(found.len(), 1);
            assert_eq!((found[0].block, found[0].index), (built.hash, index));
        }
        let refused = stranger.build().expect_err("not the author");
        assert!(matches!(refused, AdvanceError::NotAuthor));
        blocks.push((*built.block).clone());
    }
    // Through bytes, on a fresh node.
    let mut late = Node::new(&sealed(), &[]);
    for block in &blocks {
        let decoded = decode_block(&block.encode()).expect("canonical");
        late.import(&decoded).expect("valid");
    }
    assert_eq!(late.head().hash, author.head().hash);
    assert_eq!(late.store.record_count(), author.store.record_count());
}

#[test]
fn outcomes_tell_how_each_call_ended() {
    let mut node = Node::new(&open(), &[]);
    for event in [
        add(5),
        request(FAULT, &[]),
        request(EMIT, b"top"),
        request(HALT, &[7]),
    ] {
        submit(&mut node, event);
    }
    let advanced = node.build().expect("built");
    let endings: Vec<Ending> = advanced.outcomes.iter().map(|o| o.ending).collect();
    // Schedules before and after the events.
    let expected = [0, 0, u64::MAX, 0, 7, 0].map(|value| match value {
        u64::MAX => Ending::Faulted(1),
        value => Ending::Halted(value),
    });
    assert_eq!(endings, expected);
    let indexes: Vec<u32> = advanced.events.iter().map(|(_, index)| *index).collect();
    assert_eq!(indexes, [1, 2, 3, 4]);
    let record = &advanced.outcomes[3].records[0];
    assert_eq!(record.topic, b"top");
    assert_eq!(record.data, request(EMIT, b"top").payload);
    let stored: Vec<Outcome> = node
        .store
        .outcomes(&advanced.hash)
        .expect("in memory")
        .expect("known");
    assert_eq!(stored, advanced.outcomes);
    assert_eq!(count(&node), 5);
}

#[test]
fn a_restart_goes_on_where_the_store_is() {
    let mut node = Node::new(&sealed(), &[AUTHOR]);
    for i in 0..3 {
        build_with(&mut node, add(i));
    }
    let (head, store) = (node.head(), node.store.clone());
    drop(node);
    let mut node = Node::open(store.clone(), &sealed(), &[AUTHOR]).expect("same chain");
    assert_eq!(node.head().hash, head.hash);
    assert_eq!(node.head().score, head.score);
    assert_eq!(count(&node), 3);
    build_with(&mut node, add(4));
    assert_eq!(count(&node), 7);
    // The watermark outlives the restart, too.
    drop(node);
    let node = Node::open(store, &sealed(), &[AUTHOR]).expect("same chain");
    let watermark = node.store.watermark(&seed_key(AUTHOR)).expect("in memory");
    assert_eq!(watermark.seal_slot, Some(node.head().header.slot));
}

#[test]
fn data_of_another_chain_is_refused() {
    let node = Node::new(&sealed(), &[AUTHOR]);
    let changes: [fn(&mut Genesis); 6] = [
        |g| g.params.event_gas += 1,
        |g| g.params.price_call += 1,
        |g| g.payload = vec![1],
        |g| g.time_ms += 1,
        |g| g.slot_ms += 1,
        |g| g.image = open().image,
    ];
    for change in changes {
        let mut other = sealed();
        change(&mut other);
        let result = Node::open(node.store.clone(), &other, &[]).map(|_| ());
        assert!(
            matches!(result, Err(KernelError::WrongChain { .. })),
            "{result:?}"
        );
    }
    Node::open(node.store.clone(), &sealed(), &[]).expect("the same chain");
}

#[test]
fn numbers_a_chain_cannot_run_on_are_refused() {
    let changes: [fn(&mut Genesis); 6] = [
        |g| g.slot_ms = 0,
        |g| g.params.event_gas = g.params.block_gas + 1,
        |g| g.params.data_bytes = 1 << 33,
        |g| g.params.price_slot_write = u64::MAX,
        |g| g.payload = vec![0; 1 + g.params.payload_bytes as usize],
        |g| g.params.code_bytes = 10,
    ];
    for change in changes {
        let mut genesis = sealed();
        change(&mut genesis);
        let store = std::sync::Arc::new(jar_kernel::memory::MemoryChainStore::new());
        let result = Node::open(store, &genesis, &[]).map(|_| ());
        assert!(
            matches!(result, Err(KernelError::Genesis(_) | KernelError::Image(_))),
            "{result:?}"
        );
    }
}

/// A parent and a block with an `ADD`, an `EMIT` and an `ATTEST`.
fn specimen() -> (Block, Block) {
    let mut author = Node::new(&sealed(), &[AUTHOR]);
    let parent = build_with(&mut author, add(1));
    submit(&mut author, add(5));
    submit(&mut author, request(EMIT, b"abc"));
    let event = signed(ATTEST, [3; 32], &author);
    author.dispatch(SUBMIT_SIGNED, event).expect("accepted");
    let block = author.build().expect("built").block;
    assert_eq!(block.body.groups[0].1.len(), 3);
    (parent, (*block).clone())
}

#[test]
fn each_spoiled_block_is_refused_for_what_is_wrong() {
    let (parent, good) = specimen();
    let mut node = Node::new(&sealed(), &[]);
    node.import(&parent).expect("valid");
    let head = node.head().hash;
    let records = node.store.record_count();
    for tamper in tampers() {
        let mut bad = good.clone();
        (tamper.change)(&mut bad);
        if tamper.by_author {
            reseal(&mut bad);
        }
        let error = invalid(node.import(&bad));
        assert!((tamper.expect)(&error), "{}: {error:?}", tamper.name);
        let blame = error.blames_sender();
        assert_eq!(blame, tamper.blames_sender, "{}", tamper.name);
        assert_eq!(node.head().hash, head, "{}", tamper.name);
        let stored = node.store.header(&bad.header.hash()).expect("in memory");
        assert_eq!(stored, None, "{}", tamper.name);
    }
    assert_eq!(
        node.store.record_count(),
        records,
        "nothing of them is kept"
    );
    // Nothing is remembered against the good one's hash, which some of the spoiled ones share.
    node.import(&good).expect("valid");
    assert_eq!(count(&node), 6);
}

#[test]
fn bytes_that_are_not_canonical_are_no_block() {
    let (_, good) = specimen();
    let bytes = good.encode();
    assert_eq!(decode_block(&bytes), Ok(good));
    for bad in [&bytes[..bytes.len() - 1], &[&bytes[..], &[0]].concat(), &[]] {
        assert_eq!(decode_block(bad), Err(InvalidBlock::Encoding));
    }
    assert!(InvalidBlock::Encoding.blames_sender());
}

#[test]
fn seals_where_none_belong_are_refused() {
    let mut builder = Node::new(&open(), &[]);
    let mut block = build_with(&mut builder, add(1));
    let mut node = Node::new(&open(), &[]);
    let seal = sign(AUTHOR, &node.genesis_hash(), Scope::Seal, &[]);
    block.body.attestations.push(seal);
    reseal(&mut block);
    assert!(matches!(
        invalid(node.import(&block)),
        InvalidBlock::Seal(_)
    ));
}

#[test]
fn a_block_cannot_start_events_without_gas() {
    let mut genesis = open();
    genesis.params.event_gas = genesis.params.block_gas;
    let mut builder = Node::new(&genesis, &[]);
    let mut block = build_with(&mut builder, add(1));
    // The first event spends everything; what follows is free, but for this rule.
    *events(&mut block) = vec![request(SPIN, &[]), event([]), event([])];
    reseal(&mut block);
    let mut node = Node::new(&genesis, &[]);
    assert_eq!(invalid(node.import(&block)), InvalidBlock::Gas);
    // An event that can't pay for its entry spends what it was given.
    let mut genesis = open();
    genesis.params.price_call = genesis.params.event_gas + 1;
    let outcome = Node::new(&genesis, &[]).simulate(MAIN, &add(1));
    assert_eq!(outcome.ending, Ending::Faulted(4));
    assert_eq!(outcome.gas_used, genesis.params.event_gas);
}

#[test]
fn parents_and_slots() {
    let mut author = Node::new(&open(), &[]);
    let first = build_with(&mut author, add(1));
    let second = build_with(&mut author, add(2));
    let mut node = Node::new(&open(), &[]);
    let unknown = node.import(&second).expect_err("no parent yet");
    assert!(matches!(unknown, AdvanceError::UnknownParent));
    node.import(&first).expect("valid");
    let known = node.import(&first).expect_err("twice");
    assert!(matches!(known, AdvanceError::AlreadyKnown));
    node.import(&second).expect("valid");
    for slot in [0, 1, 2] {
        let stale = node.build_at(slot).expect_err("not above the head");
        assert!(matches!(stale, AdvanceError::StaleSlot { head: 2, .. }));
    }
    // Which slots lie in the future is for those who have a clock: any later one does here.
    node.build_at(1 << 40).expect("built");
    let time = node.chain().time_ms(1 << 40);
    assert_eq!(node.chain().slot_at(time), Some(1 << 40));
    assert_eq!(node.chain().slot_at(0), None);
}

/// A chain of blocks that each add an amount, built by a node of its own.
fn fork(amounts: &[u64]) -> Vec<Block> {
    let mut node = Node::new(&open(), &[]);
    amounts
        .iter()
        .map(|amount| build_with(&mut node, add(*amount)))
        .collect()
}

fn canonical(node: &Node) -> Vec<jar_cap::Hash> {
    let at = |height| node.store.canonical(height).expect("in memory");
    (1..).map_while(at).collect()
}

fn hashes(blocks: &[Block]) -> Vec<jar_cap::Hash> {
    blocks.iter().map(|block| block.header.hash()).collect()
}

#[test]
fn the_head_is_the_block_of_the_highest_score() {
    let (a, b) = (fork(&[1, 2, 3]), fork(&[1, 20, 30, 40]));
    assert_eq!(a[0], b[0]);
    let mut node = Node::new(&open(), &[]);
    let import = |node: &mut Node, block: &Block, changes: bool| {
        let advanced = node.import(block).expect("valid");
        assert_eq!(advanced.head_changed, changes);
    };
    a.iter().for_each(|block| import(&mut node, block, true));
    import(&mut node, &b[1], false);
    // A tie keeps the head.
    import(&mut node, &b[2], false);
    assert_eq!(canonical(&node), hashes(&a));
    assert_eq!(count(&node), 6);
    import(&mut node, &b[3], true);
    assert_eq!(canonical(&node), hashes(&b));
    assert_eq!(count(&node), 91);
    // Back again: a longer fork from further down.
    let mut other = Node::new(&open(), &[]);
    let mut c = vec![build_with(&mut other, add(5))];
    for i in 0..5 {
        c.push(build_with(&mut other, add(100 + i)));
    }
    let (last, rest) = c.split_last().expect("not empty");
    for (index, block) in rest.iter().enumerate() {
        import(&mut node, block, index == 4);
    }
    import(&mut node, last, true);
    assert_eq!(canonical(&node), hashes(&c));
    // The head is found again after a restart.
    let node = Node::open(node.store.clone(), &open(), &[]).expect("same chain");
    assert_eq!(node.head().hash, last.header.hash());
}

/// Of several calls that give a score the last one counts, for who builds and who imports.
#[test]
fn the_last_score_of_a_block_counts() {
    let mut builder = Node::new(&open(), &[]);
    for score in [7u64, 100, 50] {
        submit(&mut builder, request(SCORE, &score.to_le_bytes()));
    }
    let built = builder.build().expect("built");
    assert_eq!(built.events.len(), 3);
    assert_eq!(builder.head().score, 50);
    let mut node = Node::new(&open(), &[]);
    node.import(&built.block).expect("valid");
    assert_eq!(node.head().score, 50);
}

#[test]
fn a_score_may_jump_and_must_rise() {
    let mut builder = Node::new(&open(), &[]);
    let scored = build_with(&mut builder, request(SCORE, &100u64.to_le_bytes()));
    assert_eq!(builder.head().score, 100);
    let next = build_with(&mut builder, add(1));
    assert_eq!(builder.head().score, 101);
    // A higher score beats a longer chain, and leaves no height behind.
    let mut node = Node::new(&open(), &[]);
    let long = fork(&[2, 4, 6, 8]);
    for block in &long {
        node.import(block).expect("valid");
    }
    assert!(node.import(&scored).expect("valid").head_changed);
    assert_eq!(canonical(&node), hashes(std::slice::from_ref(&scored)));
    node.import(&next).expect("valid");
    // The score stands in no root: only its own rule refuses a low one.
    let mut low = build_with(&mut builder, request(SCORE, &500u64.to_le_bytes()));
    for score in [0u64, 100, 101] {
        *events(&mut low) = vec![request(SCORE, &score.to_le_bytes())];
        reseal(&mut low);
        let expected = InvalidBlock::Score {
            parent: 101,
            found: score,
        };
        assert_eq!(invalid(node.import(&low)), expected);
    }
}

#[test]
fn what_is_final_stays() {
    let (a, b) = (fork(&[1, 2, 3]), fork(&[1, 20, 30, 40, 50]));
    let mut builder = Node::new(&open(), &[]);
    for block in &a {
        builder.import(block).expect("valid");
    }
    let finalize = request(FINALIZE, &a[1].header.hash());
    let finalizing = build_with(&mut builder, finalize);
    assert_eq!(builder.kernel.finalized().hash, a[1].header.hash());

    let mut node = Node::new(&open(), &[]);
    for block in a.iter().chain(&b[1..2]) {
        node.import(block).expect("valid");
    }
    assert_eq!(node.kernel.finalized().hash, node.genesis_hash());
    // Not an ancestor: another fork's block, an unknown one, the block itself.
    for hash in [b[1].header.hash(), [7; 32], finalizing.header.hash()] {
        let mut bad = finalizing.clone();
        *events(&mut bad) = vec![request(FINALIZE, &hash)];
        reseal(&mut bad);
        assert_eq!(invalid(node.import(&bad)), InvalidBlock::Finalize);
    }
    let advanced = node.import(&finalizing).expect("valid");
    assert_eq!(advanced.finalized, Some(a[1].header.hash()));
    assert_eq!(node.kernel.finalized().hash, a[1].header.hash());
    // The fork left behind goes no further, however high it scores.
    assert_eq!(invalid(node.import(&b[2])), InvalidBlock::BelowFinalized);
    // Finalizing what is final already changes nothing.
    let again = build_with(&mut node, request(FINALIZE, &a[0].header.hash()));
    assert_eq!(node.head().hash, again.header.hash());
    assert_eq!(node.kernel.finalized().hash, a[1].header.hash());
    let node = Node::open(node.store.clone(), &open(), &[]).expect("same chain");
    assert_eq!(node.kernel.finalized().hash, a[1].header.hash());
}

#[test]
fn the_head_follows_a_finalization_on_another_fork() {
    let mut builder = Node::new(&open(), &[]);
    let first = build_with(&mut builder, add(1));
    let finalize = request(FINALIZE, &first.header.hash());
    let second = build_with(&mut builder, finalize);
    let mut node = Node::new(&open(), &[]);
    let longer = fork(&[2, 3, 4, 5]);
    for block in longer.iter().chain([&first]) {
        node.import(block).expect("valid");
    }
    let advanced = node.import(&second).expect("valid");
    assert!(advanced.head_changed);
    assert_eq!(node.head().hash, second.header.hash());
    assert_eq!(canonical(&node), hashes(&[first, second]));
    // What was left behind waits again, in order.
    submit(&mut node, add(9));
    let built = node.build().expect("built");
    let expected = [2, 3, 4, 5, 9].map(add);
    assert_eq!(built.block.body.groups[0].1, expected);
}

/// Whichever block tells that the head is left behind: the highest one above what is final is the
/// head, the lowest hash of several.
#[test]
fn a_finalization_on_another_fork_makes_its_highest_block_the_head() {
    let mut builder = Node::new(&open(), &[]);
    let first = build_with(&mut builder, add(1));
    let finalize = request(FINALIZE, &first.header.hash());
    let finalizing = build_with(&mut builder, finalize);
    let on_first = |score: u64, tail: &[u8]| {
        let mut builder = Node::new(&open(), &[]);
        builder.import(&first).expect("valid");
        let args = [&score.to_le_bytes(), tail].concat();
        build_with(&mut builder, request(SCORE, &args))
    };
    let rivals = [on_first(4, &[1]), on_first(4, &[2]), on_first(3, &[])];
    let best = rivals[..2].iter().min_by_key(|block| block.header.hash());
    let best = best.expect("two").clone();
    let longer = fork(&[2, 3, 4, 5]);
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut node = Node::new(&open(), &[]);
        let rivals = order.map(|index| rivals[index].clone());
        for block in longer.iter().chain([&first]).chain(&rivals) {
            node.import(block).expect("valid");
        }
        assert_eq!(node.head().hash, longer[3].header.hash());
        let advanced = node.import(&finalizing).expect("valid");
        assert!(advanced.head_changed);
        assert_eq!(node.head().hash, best.header.hash(), "{order:?}");
        assert_eq!(canonical(&node), hashes(&[first.clone(), best.clone()]));
        let node = Node::open(node.store.clone(), &open(), &[]).expect("same chain");
        assert_eq!(node.head().hash, best.header.hash());
    }
    // One of which another is the parent, and those on other forks, are no candidates.
    let mut node = Node::new(&open(), &[]);
    for block in longer.iter().chain([&first]) {
        node.import(block).expect("valid");
    }
    node.import(&finalizing).expect("valid");
    assert_eq!(node.head().hash, finalizing.header.hash());
}

#[test]
fn what_a_reorganisation_leaves_behind_returns_if_it_still_ends_well() {
    let mut builder = Node::new(&open(), &[]);
    let shared = add(1);
    let winning: Vec<Block> = [shared.clone(), add(7), add(8)]
        .map(|event| build_with(&mut builder, event))
        .into();
    let mut node = Node::new(&open(), &[]);
    let signed = signed(ATTEST, [3; 32], &node);
    node.dispatch(SUBMIT_SIGNED, signed.clone())
        .expect("accepted");
    for event in [
        shared,
        request(HALT, &[4, 0, 0, 0, 0, 0, 0, 0]),
        request(SPIN, &[]),
        add(2),
    ] {
        submit(&mut node, event);
    }
    assert_eq!(node.build().expect("built").events.len(), 5);
    build_with(&mut node, add(3));
    for block in &winning {
        node.import(block).expect("valid");
    }
    assert_eq!(node.head().hash, winning[2].header.hash());
    assert_eq!(node.kernel.pending_count(), 3, "the signed one, 2 and 3");
    let built = node.build().expect("built");
    // In the order of the blocks, which drained slot by slot.
    assert_eq!(built.block.body.groups[0].1, [add(2), signed, add(3)]);
    assert_eq!(count(&node), 1 + 7 + 8 + 2 + 3);
    builder.import(&built.block).expect("valid");
}

#[test]
fn attestations_match_in_order() {
    let genesis = open();
    let mut builder = Node::new(&genesis, &[]);
    let event = signed(ATTEST, [3; 32], &builder);
    builder.dispatch(SUBMIT_SIGNED, event).expect("accepted");
    let good = (*builder.build().expect("built").block).clone();
    let halts = |block: &Block| {
        let mut node = Node::new(&genesis, &[]);
        node.import(block)
            .map(|advanced| advanced.outcomes[1].ending)
            .map_err(|error| match error {
                AdvanceError::Invalid(invalid) => invalid,
                other => panic!("{other:?}"),
            })
    };
    assert_eq!(halts(&good), Ok(Ending::Halted(0)));
    let other = sign(STRANGER, &builder.genesis_hash(), Scope::Direct, BLOB);
    let with = |attestations: &[&Attestation]| {
        let mut block = good.clone();
        let attestations = attestations.iter().map(|a| (*a).clone());
        events(&mut block)[0].attestations = attestations.collect();
        reseal(&mut block);
        halts(&block)
    };
    let own = &good.body.groups[0].1[0].attestations[0];
    assert_eq!(with(&[own]), Ok(Ending::Halted(0)));
    let unused = Err(InvalidBlock::UnusedTraces(MAIN));
    assert_eq!(with(&[own, &other]), unused, "left over at a halt");
    assert_eq!(with(&[&other, own]), unused, "not the next one");
    let vote = Attestation {
        scope: Scope::Vote {
            source: 0,
            target: 1,
        },
        ..own.clone()
    };
    assert_eq!(with(&[&vote]), unused, "another scope");
    assert_eq!(with(&[]), Err(InvalidBlock::OutcomeRoot), "absent: halts 9");
}

#[test]
fn after_a_fault_only_what_was_consumed_is_verified() {
    let genesis = open();
    let mut builder = Node::new(&genesis, &[]);
    let event = signed(ATTEST_FAULT, [3; 32], &builder);
    builder.dispatch(SUBMIT_SIGNED, event).expect("accepted");
    let faulting = (*builder.build().expect("built").block).clone();
    let import = |block: &Block| Node::new(&genesis, &[]).import(block).map(|_| ());
    import(&faulting).expect("valid");
    let mut more = faulting.clone();
    let garbage = Attestation {
        key: [9; 32],
        scope: Scope::Direct,
        blob_hash: [9; 32],
        signature: [9; 64],
    };
    events(&mut more)[0].attestations.push(garbage);
    events(&mut more)[0].results.push(vec![1]);
    reseal(&mut more);
    import(&more).expect("what is left over after a fault is ignored");
    let mut bad = faulting.clone();
    events(&mut bad)[0].attestations[0].signature[0] ^= 1;
    reseal(&mut bad);
    let error = import(&bad).expect_err("the consumed one is verified");
    assert!(matches!(
        error,
        AdvanceError::Invalid(InvalidBlock::Signature)
    ));
}

#[test]
fn headers_hold_what_they_should() {
    let mut node = Node::new(&sealed(), &[AUTHOR]);
    let genesis = node.head();
    let zero = [0; 32];
    let Header {
        genesis: of,
        parent,
        height,
        slot,
        outcome_root,
        ..
    } = genesis.header.clone();
    assert_eq!((of, parent, outcome_root), (zero, zero, zero));
    assert_eq!((height, slot, genesis.score), (0, 0, 0));
    assert_eq!(genesis.header.hash(), node.genesis_hash());
    let block = build_with(&mut node, add(1));
    assert_eq!(block.header.genesis, genesis.hash);
    assert_eq!(block.header.parent, genesis.hash);
    let id = node.head().instance.id();
    assert_eq!(block.header.state_root, jar_cap::state_root(&id));
    // The seal's signature is no part of the body root.
    let mut body: Body = block.body.clone();
    body.attestations[0].signature = [0; 64];
    assert_eq!(body.root(), block.header.body_root);
    body.attestations[0].key = zero;
    assert_ne!(body.root(), block.header.body_root);
}
