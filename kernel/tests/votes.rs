//! Phase 2: what a new head makes a node drop, renew, sign and send; watermarks; aggregates.

mod common;

use common::asm::A1;
use common::chain::event;
use common::counter::BLOB;
use common::{A0, Asm, Node, Program, RAM, genesis, seed_key, sign};
use jar_abi::{ARRIVING_ITEM, HostCall as Op, slots};
use jar_cap::image::Role;
use jar_kernel::block::{Ending, Event, Scope};
use jar_kernel::local::Notice;
use jar_kernel::{
    AGGREGATE_EVENTS_MAX, Emission, Genesis, Refusal, SignatureCheck, Store, Trace, Verdict,
    Watermark,
};
use parity_scale_codec::Encode;

const SEED: [u8; 32] = [4; 32];
const OTHER: [u8; 32] = [5; 32];
/// The Dispatch endpoint, and the Transact endpoint its events go on to.
const VOTE_IN: u8 = 0;
const VOTE: u8 = 1;
/// A payload: key and scope.
const PAYLOAD_LEN: u64 = 32 + 17;
const ATTESTATION: u64 = slots::ATTESTATION as u64;

/// Asks for the attestation that a payload in memory names.
fn ask(asm: &mut Asm, blob: u64) {
    let ram = u64::from(RAM);
    asm.call(Op::Attest, &[ATTESTATION, ram, blob, 4, ram + 32, 17]);
}

/// A chain whose nodes vote from the head's height to the next with a key; `after` is what
/// phase 2 does then.
fn voting(key: [u8; 32], after: impl FnOnce(&mut Asm)) -> Genesis {
    let mut program = Program::new();
    let blob = program.data(BLOB);
    let own = program.data(&seed_key(key));
    let first = program.data(&vec![(ARRIVING_ITEM, 0u32)].encode());
    let ram = u64::from(RAM);
    program.endpoint(VOTE_IN, "vote_in", Role::Dispatch, |asm| {
        asm.mov(6, A0)
            .if_eq(6, 2, |asm| {
                // The key, then the scope: 2, source, target.
                asm.call(Op::MintData, &[own, 32, 60])
                    .call(Op::ReadData, &[60, ram, 32, 0])
                    .call(Op::BlockInfo, &[ram + 256])
                    .set(0, 2)
                    .store(RAM + 32, 0)
                    .load(1, RAM + 256 + 64)
                    .store(RAM + 33, 1)
                    .set(0, 1)
                    .add(1, 1, 0)
                    .store(RAM + 41, 1);
                ask(asm, blob);
                asm.mov(5, A0).if_eq(5, 1, |asm| {
                    asm.call(Op::MintData, &[ram, PAYLOAD_LEN, 61])
                        .call(Op::Dispatch, &[VOTE_IN.into(), 61]);
                });
                after(asm);
                asm.halt_with(0);
            })
            .if_eq(6, 1, |asm| {
                asm.call(Op::SlotEmit, &[1, VOTE_IN.into(), 0, first, 9])
                    .call(Op::SlotEmit, &[0, VOTE.into(), 0, first, 9])
                    .halt();
            })
            .call(Op::ReadData, &[0, ram, PAYLOAD_LEN, 0]);
        ask(asm, blob);
        asm.if_eq(A0, 1, |asm| {
            asm.halt_with(0);
        })
        .halt_with(9);
    });
    program.endpoint(VOTE, "vote", Role::Transact(0), |asm| {
        asm.call(Op::ReadData, &[0, ram, PAYLOAD_LEN, 0]);
        ask(asm, blob);
        asm.halt();
    });
    genesis(&program)
}

fn plain() -> Genesis {
    voting(SEED, |_| {})
}

/// The vote of a key, as phase 2 sends it.
fn vote(node: &Node, seed: [u8; 32], source: u64, target: u64) -> Event {
    let scope = Scope::Vote { source, target };
    Event {
        payload: (seed_key(seed), scope).encode(),
        attestations: vec![sign(seed, &node.genesis_hash(), scope, BLOB)],
        results: Vec::new(),
    }
}

fn watermark(node: &Node) -> Watermark {
    node.store.watermark(&seed_key(SEED)).expect("in memory")
}

/// Events handed to the network one by one, and aggregates.
fn sent(node: &mut Node) -> (Vec<Event>, Vec<Vec<Event>>) {
    let (mut events, mut aggregates) = (Vec::new(), Vec::new());
    for emission in node.emitted() {
        match emission {
            Emission::Dispatch { endpoint, event } => {
                assert_eq!(endpoint, VOTE_IN);
                events.push(event);
            }
            Emission::Aggregate { endpoint, events } => {
                assert_eq!(endpoint, VOTE_IN);
                aggregates.push(events);
            }
            Emission::Block(_) => {}
        }
    }
    (events, aggregates)
}

#[test]
fn a_new_head_makes_a_node_vote_once() {
    let mut node = Node::new(&plain(), &[SEED]);
    node.kernel.on_head(false).expect("not synced");
    assert_eq!(sent(&mut node), (Vec::new(), Vec::new()));
    node.kernel.on_head(true).expect("voted");
    let expected = vote(&node, SEED, 0, 1);
    let (events, aggregates) = sent(&mut node);
    assert_eq!(events, std::slice::from_ref(&expected));
    assert_eq!(aggregates, [[expected.clone()]]);
    assert!(SignatureCheck::of(&node.genesis_hash(), &events[0].attestations[0]).verify());
    assert_eq!(node.kernel.pending_count(), 2);
    assert_eq!(watermark(&node).vote, Some((0, 1)), "it is stored already");
    node.kernel.on_head(true).expect("nothing is owed");
    assert_eq!(sent(&mut node), (Vec::new(), Vec::new()));
    // Nor after a restart, which forgets what was pending.
    let mut node = Node::open(node.store.clone(), &plain(), &[SEED]).expect("same chain");
    node.kernel.on_head(true).expect("nothing is owed");
    assert_eq!(sent(&mut node), (Vec::new(), Vec::new()));
    // The next head's vote goes into a block that others take.
    node.build().expect("built");
    node.kernel.on_head(true).expect("voted");
    assert_eq!(sent(&mut node).0, [vote(&node, SEED, 1, 2)]);
    let built = node.build().expect("built");
    assert_eq!(built.outcomes[0].ending, Ending::Halted(1), "recorded");
    let mut other = Node::new(&plain(), &[]);
    for height in 1..=2 {
        let hash = node
            .store
            .canonical(height)
            .expect("in memory")
            .expect("there");
        let block = node.store.block(&hash).expect("in memory").expect("there");
        other.import(&block).expect("valid");
    }
    other.kernel.on_head(true).expect("it has no key");
    assert_eq!(sent(&mut other), (Vec::new(), Vec::new()));
}

#[test]
fn a_fault_of_phase_2_sends_and_signs_nothing() {
    let faulting: [fn(&mut Asm); 2] = [
        |asm| {
            asm.trap();
        },
        |asm| {
            asm.halt_with(3);
        },
    ];
    for after in faulting {
        let mut node = Node::new(&voting(SEED, after), &[SEED]);
        node.kernel.on_head(true).expect("the program's trouble");
        let notices = node.notices();
        let told = |n: &Notice| matches!(n, Notice::Trace(Trace::HeadPhase { endpoint: 0, .. }));
        assert!(notices.iter().any(told));
        assert!(!notices.iter().any(|n| matches!(n, Notice::Emission(_))));
        assert_eq!(node.kernel.pending_count(), 0);
        assert_eq!(watermark(&node), Watermark::default());
    }
}

#[test]
fn what_was_asked_for_in_one_phase_counts() {
    // Asks again for the vote it has; the second answer goes into an event's result.
    let genesis = voting(SEED, |asm| {
        let ram = u64::from(RAM);
        // The blob's address is where `voting` put it first.
        ask(asm, u64::from(common::program::DATA));
        asm.store(RAM + 512, A0)
            .call(Op::Result, &[ATTESTATION, ram + 512, 1])
            .mov(A1, A0)
            .call(Op::Dispatch, &[VOTE_IN.into(), 61]);
    });
    let mut node = Node::new(&genesis, &[SEED]);
    node.kernel.on_head(true).expect("voted");
    let refused: Vec<String> = node
        .notices()
        .into_iter()
        .filter_map(|notice| match notice {
            Notice::Trace(Trace::HeadPhase { reason, .. }) => Some(reason),
            _ => None,
        })
        .collect();
    // The second event carries a result and no attestation: the program itself rejects it.
    assert_eq!(refused.len(), 1);
    assert!(refused[0].contains("code 9"), "{refused:?}");
    assert_eq!(node.kernel.pending_count(), 2);
}

#[test]
fn phase_2_drops_what_the_state_made_stale() {
    let mut node = Node::new(
        &voting(OTHER, |asm| {
            asm.call(Op::SlotClear, &[]);
        }),
        &[],
    );
    let event = vote(&node, SEED, 0, 1);
    node.dispatch(VOTE_IN, event).expect("accepted");
    assert_eq!(node.kernel.pending_count(), 2);
    node.kernel.on_head(true).expect("cleared");
    assert_eq!(node.kernel.pending_count(), 0);
    let (_, aggregates) = sent(&mut node);
    assert!(aggregates.is_empty(), "nothing is left to tell");
}

#[test]
fn dispatch_is_for_phase_2_alone() {
    let mut program = Program::new();
    let none = program.data(&[0]);
    for (index, role) in [(1, Role::Schedule(0)), (2, Role::Transact(0))] {
        program.endpoint(index, &format!("{role:?}"), role, |asm| {
            asm.call(Op::Dispatch, &[0, 0]).halt();
        });
    }
    program.endpoint(0, "in", Role::Dispatch, |asm| {
        asm.if_eq(A0, 1, |asm| {
            asm.call(Op::SlotEmit, &[0, 2, 0, none, 1]).halt();
        })
        .halt_with(0);
    });
    let mut node = Node::new(&genesis(&program), &[]);
    node.dispatch(0, event(b"x")).expect("accepted");
    let built = node.build().expect("built");
    let denied = Ending::Halted(jar_abi::Status::Denied as i64 as u64);
    assert!(
        built
            .outcomes
            .iter()
            .all(|outcome| outcome.ending == denied)
    );
}

#[test]
fn aggregates_are_judged_as_events() {
    let mut node = Node::new(&plain(), &[]);
    let votes = [vote(&node, SEED, 0, 1), vote(&node, OTHER, 0, 1)];
    let merged = node
        .kernel
        .merge_aggregate(VOTE_IN, &votes)
        .expect("judged");
    assert_eq!(
        (merged.accepted.len(), merged.verdict()),
        (2, Verdict::Accept)
    );
    assert!(sent(&mut node).0.is_empty(), "the network passes it on");
    let again = node
        .kernel
        .merge_aggregate(VOTE_IN, &votes)
        .expect("judged");
    assert_eq!(
        (again.accepted.len(), again.verdict()),
        (0, Verdict::Ignore)
    );
    let mut forged = vote(&node, SEED, 0, 2);
    forged.attestations[0].signature[0] ^= 1;
    let aggregate = [vote(&node, OTHER, 0, 2), forged, vote(&node, OTHER, 0, 3)];
    let merged = node
        .kernel
        .merge_aggregate(VOTE_IN, &aggregate)
        .expect("judged");
    assert_eq!(
        (merged.accepted.len(), merged.verdict()),
        (1, Verdict::Reject)
    );
    let refused = merged.refused.expect("a forgery");
    assert!(matches!(refused, Refusal::BadSignature { index: 0 }));
    let many = vec![votes[0].clone(); AGGREGATE_EVENTS_MAX + 1];
    let merged = node.kernel.merge_aggregate(VOTE_IN, &many).expect("judged");
    assert_eq!(merged.verdict(), Verdict::Reject);
    // All that waits is told once, in one aggregate, as peers can take it.
    node.kernel.announce();
    let (_, aggregates) = sent(&mut node);
    assert_eq!(aggregates.len(), 1);
    assert_eq!(aggregates[0].len(), 3);
    node.kernel.announce();
    assert!(sent(&mut node).1.is_empty());
    let mut peer = Node::new(&plain(), &[]);
    let merged = peer
        .kernel
        .merge_aggregate(VOTE_IN, &aggregates[0])
        .expect("judged");
    assert_eq!(merged.accepted.len(), 3);
}

#[test]
fn long_aggregates_are_told_in_parts() {
    let mut node = Node::new(&plain(), &[]);
    for target in 1..=AGGREGATE_EVENTS_MAX as u64 + 6 {
        let event = vote(&node, SEED, 0, target);
        node.kernel.receive(VOTE_IN, &event).expect("accepted");
    }
    node.kernel.announce();
    let lengths: Vec<usize> = sent(&mut node).1.iter().map(Vec::len).collect();
    assert_eq!(lengths, [AGGREGATE_EVENTS_MAX, 6]);
}

#[test]
fn late_events_are_nobodys_fault() {
    // A chain that takes a vote's signature once: it keeps the payload and rejects it after.
    let mut program = Program::new();
    let blob = program.data(BLOB);
    let first = program.data(&vec![(ARRIVING_ITEM, 0u32)].encode());
    let ram = u64::from(RAM);
    program.endpoint(VOTE_IN, "vote_in", Role::Dispatch, |asm| {
        asm.if_eq(A0, 1, |asm| {
            asm.call(Op::SlotEmit, &[0, VOTE.into(), 0, first, 9])
                .halt();
        })
        .if_eq(A0, 2, |asm| {
            asm.halt_with(0);
        })
        .call(Op::ReadData, &[0, ram, PAYLOAD_LEN, 0]);
        ask(asm, blob);
        // Something in slot 50: that was all the chain wanted.
        asm.call(Op::Kind, &[50])
            .if_eq(A0, 1, |asm| {
                asm.halt_with(7);
            })
            .halt_with(0);
    });
    program.endpoint(VOTE, "vote", Role::Transact(0), |asm| {
        asm.call(Op::ReadData, &[0, ram, PAYLOAD_LEN, 0]);
        ask(asm, blob);
        asm.call(Op::Move, &[0, 50]).halt_with(0);
    });
    let genesis = genesis(&program);
    let mut author = Node::new(&genesis, &[]);
    let event = vote(&author, SEED, 0, 1);
    author.dispatch(VOTE_IN, event.clone()).expect("accepted");
    let block = author.build().expect("built").block;
    let mut node = Node::new(&genesis, &[]);
    node.import(&block).expect("valid");
    let late = node.dispatch(VOTE_IN, event).expect_err("it is in a block");
    let is_late = matches!(
        late,
        Refusal::Rejected {
            code: 7,
            is_stale: true
        }
    );
    assert!(is_late, "{late:?}");
    assert_eq!(late.verdict(), Verdict::Ignore);
    let stranger = vote(&node, OTHER, 0, 1);
    let refused = node.dispatch(VOTE_IN, stranger).expect_err("not wanted");
    assert_eq!(refused.verdict(), Verdict::Reject);
}
