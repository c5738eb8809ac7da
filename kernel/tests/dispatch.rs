//! The pipeline: judging, merging, draining.

mod common;

use common::chain::event;
use common::counter::*;
use common::{A0, Asm, Node, Program, RAM, Seal, genesis, seed_key, sign};
use jar_abi::{ARRIVING_ITEM, HostCall as Op, Status};
use jar_cap::image::Role;
use jar_kernel::block::{Event, Scope};
use jar_kernel::{Emission, Genesis, Refusal};
use parity_scale_codec::{Decode, Encode};

const USER: [u8; 32] = [3; 32];

fn open() -> Genesis {
    genesis(&counter(&Seal::None))
}

fn signed(number: u64, node: &Node) -> Event {
    let attestation = sign(USER, &node.genesis_hash(), Scope::Direct, BLOB);
    Event {
        attestations: vec![attestation],
        ..request(number, &seed_key(USER))
    }
}

fn refusal(node: &mut Node, endpoint: u8, event: Event) -> Refusal {
    let pending = node.kernel.pending_count();
    node.notices();
    let refusal = node.dispatch(endpoint, event).expect_err("refused");
    assert_eq!(node.kernel.pending_count(), pending);
    assert!(node.emitted().is_empty(), "nothing refused is passed on");
    refusal
}

#[test]
fn accepted_events_wait_are_passed_on_and_are_known() {
    let mut node = Node::new(&open(), &[]);
    let state = node.head().header.state_root;
    let event = add(1);
    let accepted = node.dispatch(SUBMIT, event.clone()).expect("accepted");
    assert_eq!(accepted.id, event.id(SUBMIT));
    assert_eq!(accepted.transact_ids, [event.id(MAIN)]);
    assert!(node.kernel.pending(&accepted.id));
    assert!(node.kernel.pending(&accepted.transact_ids[0]));
    assert_eq!(node.kernel.pending_count(), 1);
    assert_eq!(node.head().header.state_root, state);
    match &node.emitted()[..] {
        [Emission::Dispatch { endpoint, event: e }] => {
            assert_eq!((*endpoint, e), (SUBMIT, &event));
        }
        other => panic!("{other:?}"),
    }
    let known = refusal(&mut node, SUBMIT, event.clone());
    assert!(matches!(known, Refusal::AlreadyKnown));
    let built = node.build().expect("built");
    assert_eq!(built.events[0].0, accepted.transact_ids[0]);
    assert!(!node.kernel.pending(&accepted.id));
    // Nothing waits any more: whether it may come again is the chain's to say.
    node.dispatch(SUBMIT, event).expect("accepted again");
}

#[test]
fn each_refusal_has_its_reason() {
    let mut node = Node::new(&open(), &[]);
    let unknown = refusal(&mut node, 77, add(1));
    assert!(matches!(unknown, Refusal::UnknownEndpoint(77)));
    let transact = refusal(&mut node, MAIN, add(1));
    assert!(matches!(transact, Refusal::NotDispatch(MAIN)));
    let large = event(vec![0; 1 + (1 << 20)]);
    let large = refusal(&mut node, SUBMIT, large);
    assert!(matches!(large, Refusal::TooLarge { len, .. } if len == 1 + (1 << 20)));
    let mut many = signed(ATTEST, &node);
    many.attestations = vec![many.attestations[0].clone(); 8193];
    let many = refusal(&mut node, SUBMIT_SIGNED, many);
    assert!(matches!(many, Refusal::TooLarge { len: 8193, .. }));
    let results = Event {
        results: vec![vec![0; 1 << 20], vec![0]],
        ..add(1)
    };
    let results = refusal(&mut node, SUBMIT, results);
    assert!(matches!(results, Refusal::TooLarge { .. }));
    let absent = Event {
        attestations: vec![],
        ..signed(ATTEST, &node)
    };
    let absent = refusal(&mut node, SUBMIT_SIGNED, absent);
    assert!(matches!(absent, Refusal::Rejected { code: 4, .. }));
    let mut bad = signed(ATTEST, &node);
    bad.attestations[0].signature[3] ^= 1;
    let bad = refusal(&mut node, SUBMIT_SIGNED, bad);
    assert!(matches!(bad, Refusal::BadSignature { index: 0 }));
    let mut unused = signed(ATTEST, &node);
    unused.attestations.push(unused.attestations[0].clone());
    let unused = refusal(&mut node, SUBMIT_SIGNED, unused);
    assert!(matches!(unused, Refusal::UnusedTraces));
    let unused = Event {
        results: vec![vec![]],
        ..add(1)
    };
    let unused = refusal(&mut node, SUBMIT, unused);
    assert!(matches!(unused, Refusal::UnusedTraces));
}

#[test]
fn a_program_that_faults_refuses() {
    let mut program = Program::new();
    program.endpoint(0, "verify", Role::Dispatch, |asm| {
        asm.trap();
    });
    program.endpoint(1, "merge", Role::Dispatch, |asm| {
        asm.if_eq(A0, 1, |asm| {
            asm.spin();
        })
        .halt_with(0);
    });
    program.endpoint(2, "no", Role::Dispatch, |asm| {
        asm.if_eq(A0, 1, |asm| {
            asm.halt_with(6);
        })
        .halt_with(0);
    });
    // The slot is not to be touched while an event is judged.
    program.endpoint(3, "early", Role::Dispatch, |asm| {
        asm.call(Op::SlotClear, &[]).halt();
    });
    let mut node = Node::new(&genesis(&program), &[]);
    let fault = refusal(&mut node, 0, event([]));
    assert!(matches!(fault, Refusal::Faulted { fault: 1 }));
    let fault = refusal(&mut node, 1, event([]));
    assert!(matches!(fault, Refusal::Faulted { fault: 4 }));
    let rejected = refusal(&mut node, 2, event([]));
    assert!(matches!(rejected, Refusal::Rejected { code: 6, .. }));
    let denied = jar_abi::Status::Denied as i64 as u64;
    let rejected = refusal(&mut node, 3, event([]));
    assert!(matches!(rejected, Refusal::Rejected { code, .. } if code == denied));
}

/// A chain whose Dispatch endpoint merges as `merge` says; Transact 1 does nothing.
fn merging(merge: impl FnOnce(&mut Program) -> Box<dyn FnOnce(&mut Asm)>) -> Node {
    Node::new(&merging_chain(merge), &[])
}

fn merging_chain(merge: impl FnOnce(&mut Program) -> Box<dyn FnOnce(&mut Asm)>) -> Genesis {
    let mut program = Program::new();
    let merge = merge(&mut program);
    program.endpoint(0, "dispatch", Role::Dispatch, |asm| {
        asm.if_eq(A0, 1, merge).halt_with(0);
    });
    program.endpoint(1, "transact", Role::Transact(0), |asm| {
        asm.halt_with(0);
    });
    genesis(&program)
}

/// What the events of the next block carry.
fn built_payloads(node: &mut Node) -> Vec<Vec<u8>> {
    let built = node.build().expect("built");
    let events = built
        .block
        .body
        .groups
        .iter()
        .flat_map(|(_, events)| events);
    events.map(|event| event.payload.clone()).collect()
}

#[test]
fn clearing_replaces_what_waits() {
    let mut node = merging(|program| {
        let none = program.data(&[0]);
        Box::new(move |asm| {
            asm.call(Op::SlotClear, &[])
                .call(Op::SlotEmit, &[0, 1, 0, none, 1])
                .halt_with(0);
        })
    });
    let first = node.dispatch(0, event(b"first")).expect("accepted");
    assert!(node.kernel.pending(&first.id));
    let second = node.dispatch(0, event(b"second")).expect("accepted");
    assert_eq!(node.kernel.pending_count(), 1);
    assert!(!node.kernel.pending(&first.id));
    assert!(node.kernel.pending(&second.id));
    assert_eq!(built_payloads(&mut node), [b"second"]);
}

#[test]
fn a_bitmap_keeps_what_it_names() {
    // Keeps items 0 and 2 of three, then appends.
    let mut node = merging(|program| {
        let none = program.data(&[0]);
        let bitmap = program.data(&[0b1111_1101]);
        Box::new(move |asm| {
            asm.mov(0, 8)
                .if_eq(0, 3, |asm| {
                    asm.call(Op::SlotKeep, &[bitmap, 1]);
                })
                .call(Op::SlotEmit, &[0, 1, 0, none, 1])
                .halt_with(0);
        })
    });
    for payload in [b"a", b"b", b"c", b"d"] {
        node.dispatch(0, event(payload)).expect("accepted");
    }
    assert_eq!(built_payloads(&mut node), [b"a", b"c", b"d"]);
}

#[test]
fn a_program_reads_what_waits_and_picks_only_what_is_there() {
    // The first event is appended as it is; of later ones, what the slot shows of item 0.
    let mut node = merging(|program| {
        let none = program.data(&[0]);
        Box::new(move |asm| {
            asm.mov(0, 8)
                .if_eq(0, 0, |asm| {
                    asm.call(Op::SlotEmit, &[0, 1, 0, none, 1]).halt();
                })
                .call(Op::SlotRead, &[0, 60])
                .call(Op::SlotEmit, &[0, 1, 60, none, 1])
                .halt();
        })
    });
    node.dispatch(0, event(b"first")).expect("accepted");
    node.dispatch(0, event(b"second")).expect("accepted");
    let shown = (0u8, 1u8, b"first".to_vec(), Vec::<u8>::new()).encode();
    assert_eq!(built_payloads(&mut node), [b"first".to_vec(), shown]);
    let mut node = merging(|program| {
        let first = program.data(&vec![(ARRIVING_ITEM, 0u32)].encode());
        Box::new(move |asm| {
            asm.call(Op::SlotEmit, &[0, 1, 0, first, 9]).halt();
        })
    });
    let range = jar_abi::Status::Range as i64 as u64;
    let refused = refusal(&mut node, 0, event(b"without attestations"));
    assert!(matches!(refused, Refusal::Rejected { code, .. } if code == range));
}

/// A chain that keeps one aggregate. A payload is the number of events merged before, the key it
/// is judged by, and the payload of the aggregate: a number and keys, asked for in this order.
fn aggregating() -> Node {
    let mut program = Program::new();
    let blob = program.data(BLOB);
    let direct = program.data(&Scope::Direct.encode());
    let emits: Vec<[u64; 3]> = (0..3u32)
        .map(|merged| {
            let older = (0..merged).map(|attestation| (0u32, attestation));
            let picks = older
                .chain([(ARRIVING_ITEM, 0)])
                .collect::<Vec<_>>()
                .encode();
            let len = 8 + 32 * (u64::from(merged) + 1);
            [len, program.data(&picks), picks.len() as u64]
        })
        .collect();
    program.endpoint(0, "dispatch", Role::Dispatch, |asm| {
        asm.mov(6, A0)
            .call(Op::ReadData, &[0, RAM.into(), 256, 0])
            .load(0, RAM);
        asm.if_eq(6, 0, |asm| {
            asm.call(Op::Attest, &[17, RAM as u64 + 8, blob, 4, direct, 1])
                .if_eq(A0, 1, |asm| {
                    asm.halt_with(0);
                })
                .halt_with(1);
        });
        for (merged, [len, picks, picks_len]) in emits.iter().enumerate() {
            asm.if_eq(0, merged as u64, |asm| {
                asm.call(Op::MintData, &[RAM as u64 + 40, *len, 60])
                    .call(Op::SlotEmit, &[0, 1, 60, *picks, *picks_len])
                    .mov(1, A0)
                    .call(Op::SlotClear, &[])
                    .mov(A0, 1)
                    .halt();
            });
        }
    });
    program.endpoint(1, "transact", Role::Transact(0), |asm| {
        asm.call(Op::ReadData, &[0, RAM.into(), 256, 0]);
        for key in 0..3u64 {
            let at = RAM as u64 + 8 + 32 * key;
            asm.call(Op::Attest, &[17, at, blob, 4, direct, 1])
                .store(RAM + 0x1000 + 8 * key as u32, A0);
        }
        asm.call(Op::MintData, &[RAM as u64 + 0x1000, 24, 60])
            .call(Op::Emit, &[0, 0, 60])
            .call(Op::Drop, &[60])
            .halt_with(0);
    });
    Node::new(&genesis(&program), &[])
}

/// The event of the signer with this index, for an aggregate of the signers in this order.
fn vote(node: &Node, index: usize, order: &[[u8; 32]]) -> Event {
    let seed = order[index];
    let keys: Vec<u8> = order.iter().flat_map(|seed| seed_key(*seed)).collect();
    let head = [&(index as u64).to_le_bytes()[..], &seed_key(seed)].concat();
    Event {
        payload: [&head[..], &[0; 8], &keys].concat(),
        attestations: vec![sign(seed, &node.genesis_hash(), Scope::Direct, BLOB)],
        results: Vec::new(),
    }
}

#[test]
fn picks_copy_signatures_of_older_items_and_of_what_arrives() {
    let mut node = aggregating();
    let order = [[5; 32], [6; 32], [7; 32]];
    let mut accepted = Vec::new();
    for index in 0..3 {
        let vote = vote(&node, index, &order);
        accepted.push(node.dispatch(0, vote).expect("accepted"));
        assert_eq!(node.kernel.pending_count(), 1, "one aggregate");
    }
    // The aggregate stands for all it was made from.
    for accepted in &accepted {
        assert!(node.kernel.pending(&accepted.id));
    }
    let built = node.build().expect("built");
    assert_eq!(built.events[0].0, accepted[2].transact_ids[0]);
    let event = &built.block.body.groups[0].1[0];
    let keys: Vec<_> = event.attestations.iter().map(|a| a.key).collect();
    assert_eq!(keys, order.map(seed_key));
    let recorded = <[u64; 3]>::decode(&mut &built.outcomes[0].records[0].data[..]);
    assert_eq!(recorded.expect("three words"), [1, 1, 1]);
    assert_eq!(node.kernel.pending_count(), 0);
    for accepted in &accepted {
        assert!(!node.kernel.pending(&accepted.id));
    }
}

#[test]
fn full_slots_refuse() {
    let mut genesis = open();
    genesis.params.dispatch_items = 3;
    let mut node = Node::new(&genesis, &[]);
    for i in 0..3 {
        node.dispatch(SUBMIT, add(i)).expect("room");
    }
    let full = refusal(&mut node, SUBMIT, add(3));
    assert!(matches!(full, Refusal::Full));
    node.build().expect("built");
    node.dispatch(SUBMIT, add(3)).expect("room again");
    let mut genesis = open();
    genesis.params.dispatch_bytes = 5000;
    let mut node = Node::new(&genesis, &[]);
    node.dispatch(SUBMIT, request(HALT, &[0; 2000]))
        .expect("room");
    node.dispatch(SUBMIT, request(HALT, &[1; 2000]))
        .expect("room");
    let full = refusal(&mut node, SUBMIT, request(HALT, &[2; 2000]));
    assert!(matches!(full, Refusal::Full));
    node.dispatch(SUBMIT, add(1)).expect("room for a short one");
}

/// A program that was refused room may make some, and what arrives is taken.
#[test]
fn a_full_slot_is_made_room_in() {
    let mut genesis = merging_chain(|program| {
        let none = program.data(&[0]);
        Box::new(move |asm| {
            asm.call(Op::SlotEmit, &[0, 1, 0, none, 1])
                .if_eq(A0, Status::Quota as i64 as u64, |asm| {
                    asm.call(Op::SlotClear, &[])
                        .call(Op::SlotEmit, &[0, 1, 0, none, 1]);
                })
                .halt();
        })
    });
    genesis.params.dispatch_items = 1;
    let mut node = Node::new(&genesis, &[]);
    node.dispatch(0, event(b"first")).expect("room");
    node.dispatch(0, event(b"second")).expect("room was made");
    assert_eq!(built_payloads(&mut node), [b"second"]);
}

#[test]
fn blocks_take_items_in_order_and_leave_what_does_not_fit() {
    let mut genesis = open();
    genesis.params.block_bytes = 4096 + 3 * 1010;
    genesis.params.payload_bytes = 4096;
    let mut node = Node::new(&genesis, &[]);
    let payloads: Vec<Event> = (0..7).map(|i| request(HALT, &[i; 990])).collect();
    for event in &payloads {
        node.dispatch(SUBMIT, event.clone()).expect("accepted");
    }
    for (expected, left) in [(0..3, 4), (3..6, 1), (6..7, 0)] {
        let built = node.build().expect("built");
        let events = &built.block.body.groups[0].1;
        assert_eq!(events, &payloads[expected]);
        assert_eq!(node.kernel.pending_count(), left);
        assert!(built.block.body.encoded_size() as u64 <= genesis.params.block_bytes);
    }
    let built = node.build().expect("an empty block");
    assert!(built.block.body.groups.is_empty());
}

#[test]
fn gas_and_the_hardware_bound_a_block() {
    let mut genesis = open();
    genesis.params.block_gas = 3 * genesis.params.event_gas;
    let mut node = Node::new(&genesis, &[]);
    for i in 0..4 {
        node.dispatch(SUBMIT, request(SPIN, &[i]))
            .expect("accepted");
    }
    assert!(node.build().expect("built").events.len() >= 3);
    assert_eq!(node.kernel.pending_count(), 1);
    for i in 0..4 {
        node.dispatch(SUBMIT, add(i)).expect("accepted");
    }
    node.set_stop(true);
    assert_eq!(node.build().expect("built").events.len(), 0);
    assert_eq!(node.kernel.pending_count(), 5);
    node.set_stop(false);
    assert_eq!(node.build().expect("built").events.len(), 5);
}

#[test]
fn items_that_would_spoil_the_block_are_dropped() {
    let mut genesis = open();
    genesis.params.block_bytes = 8192;
    let mut node = Node::new(&genesis, &[]);
    node.dispatch(SUBMIT, add(1)).expect("accepted");
    node.dispatch(SUBMIT, request(FINALIZE, &[7; 32]))
        .expect("accepted");
    node.dispatch(SUBMIT, request(SCORE, &[0; 8]))
        .expect("accepted");
    node.dispatch(SUBMIT, request(HALT, &[0; 5000]))
        .expect("accepted");
    node.dispatch(SUBMIT, add(2)).expect("accepted");
    // Judged by another key than the Transact endpoint asks for.
    let attestation = sign(USER, &node.genesis_hash(), Scope::Direct, BLOB);
    let args = [[8; 32], seed_key(USER)].concat();
    let unasked = Event {
        attestations: vec![attestation],
        ..request(ATTEST, &args)
    };
    node.dispatch(SUBMIT_UNASKED, unasked).expect("accepted");
    let built = node.build().expect("built");
    assert_eq!(built.events.len(), 2);
    let reasons = [
        "it finalizes a block that is no ancestor",
        "its score does not exceed the parent's",
        "it is larger than a block",
        "attestations or results were left over",
    ];
    assert_eq!(node.dropped(), reasons);
    assert_eq!(node.kernel.pending_count(), 0);
}

#[test]
fn a_failed_build_loses_nothing() {
    let mut node = Node::new(&open(), &[]);
    let events = [add(5), add(UNLUCKY - 5), request(EMIT, b"abc")];
    for event in &events {
        node.dispatch(SUBMIT, event.clone()).expect("accepted");
    }
    let head = node.head().hash;
    for _ in 0..2 {
        let error = node.build().expect_err("a Schedule faults");
        let expected = "the Schedule endpoint 3";
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(node.kernel.pending_count(), 3);
        assert_eq!(node.head().hash, head);
        for event in &events {
            assert!(node.kernel.pending(&event.id(SUBMIT)));
        }
    }
    // One more makes the count a better one; the order is still that of arrival.
    node.dispatch(SUBMIT, add(7)).expect("accepted");
    let built = node.build().expect("built");
    let expected: Vec<Event> = events.iter().cloned().chain([add(7)]).collect();
    assert_eq!(built.block.body.groups[0].1, expected);
    assert_eq!(node.kernel.pending_count(), 0);
}

#[test]
fn imported_blocks_take_their_events_off_the_pipeline_when_they_become_the_head() {
    let mut author = Node::new(&open(), &[]);
    let mut node = Node::new(&open(), &[]);
    for i in 1..4 {
        author.dispatch(SUBMIT, add(i)).expect("accepted");
        node.dispatch(SUBMIT, add(i)).expect("accepted");
    }
    node.dispatch(SUBMIT, add(9)).expect("accepted");
    let block = author.build().expect("built").block;
    node.import(&block).expect("valid");
    assert_eq!(node.kernel.pending_count(), 1);
    assert!(!node.kernel.pending(&add(1).id(MAIN)));
    assert!(node.kernel.pending(&add(9).id(MAIN)));
    // A block beside the head takes nothing, until its branch wins.
    let mut other = Node::new(&open(), &[]);
    other.dispatch(SUBMIT, add(9)).expect("accepted");
    let first = other.build().expect("built").block;
    let second = other.build().expect("built").block;
    node.import(&first).expect("valid");
    assert!(node.kernel.pending(&add(9).id(MAIN)));
    assert!(node.import(&second).expect("valid").head_changed);
    assert!(!node.kernel.pending(&add(9).id(MAIN)));
    // What the branch that lost carried waits again.
    assert_eq!(node.kernel.pending_count(), 3);
}

/// What a branch that lost carried is judged again within one block's gas, whatever fails of it.
#[test]
fn what_fails_again_counts_against_the_gas_of_what_returns() {
    let mut genesis = open();
    genesis.params.event_gas = 1_000_000;
    genesis.params.block_gas = 3 * genesis.params.event_gas;
    for (failing, returning) in [(2, 1), (3, 0)] {
        let mut node = Node::new(&genesis, &[]);
        for i in 0..failing {
            node.dispatch(SUBMIT, request(SPIN, &[i]))
                .expect("accepted");
        }
        node.build().expect("built");
        node.dispatch(SUBMIT, add(1)).expect("accepted");
        node.build().expect("built");
        assert_eq!(node.kernel.pending_count(), 0);
        let mut rival = Node::new(&genesis, &[]);
        for _ in 0..3 {
            let block = rival.build().expect("built").block;
            node.import(&block).expect("valid");
        }
        assert_eq!(node.head().hash, rival.head().hash);
        assert_eq!(node.kernel.pending_count(), returning, "{failing} fail");
    }
}

/// A slot's events go to the network in parts of a MiB.
#[test]
fn aggregates_are_cut_by_bytes() {
    /// Bytes of an event without attestations and results besides its payload.
    const AROUND: usize = 4 + 1 + 1;
    let half = (1 << 19) - AROUND;
    for (len, expected) in [(half, vec![2, 2, 1]), (half + 1, vec![1; 5])] {
        let mut node = merging(|program| {
            let none = program.data(&[0]);
            Box::new(move |asm| {
                asm.call(Op::SlotEmit, &[1, 0, 0, none, 1]).halt();
            })
        });
        for byte in 0..5 {
            let event = event(vec![byte; len]);
            assert_eq!(event.encoded_size(), len + AROUND);
            node.kernel.receive(0, &event).expect("accepted");
        }
        node.kernel.announce();
        let aggregates = node.emitted().into_iter().map(|emission| match emission {
            Emission::Aggregate { events, .. } => events,
            other => panic!("{other:?}"),
        });
        let aggregates: Vec<Vec<Event>> = aggregates.collect();
        let lengths: Vec<usize> = aggregates.iter().map(Vec::len).collect();
        assert_eq!(lengths, expected);
        let first_bytes = aggregates.iter().flatten().map(|event| event.payload[0]);
        assert!(first_bytes.eq(0..5), "in order");
    }
}

/// A program that appends pays the same whatever waits already.
#[test]
fn appending_costs_the_same_whatever_waits() {
    // Phase 1 reports the gas it has left, so that all of its work shows in the payload.
    let mut node = merging(|program| {
        let none = program.data(&[0]);
        Box::new(move |asm| {
            asm.call(Op::SlotEmit, &[0, 1, 0, none, 1])
                .host(Op::GasLeft)
                .store(RAM, A0)
                .call(Op::Log, &[3, RAM.into(), 8])
                .halt_with(0);
        })
    });
    let mut gas = std::collections::BTreeSet::new();
    for i in 0..5000u32 {
        node.dispatch(0, event(i.to_le_bytes())).expect("accepted");
        for notice in node.notices() {
            if let jar_kernel::local::Notice::Trace(jar_kernel::Trace::Log { message, .. }) = notice
            {
                gas.insert(message);
            }
        }
    }
    assert_eq!(gas.len(), 1, "the same gas for the first and the last");
    assert_eq!(node.kernel.pending_count(), 5000);
}
