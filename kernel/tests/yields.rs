//! Yields: who catches them, what a catcher can do, and what is left behind.

mod common;

use common::calls::*;
use common::chain::event;
use common::program::RAM_PAGES;
use common::{A0, A1, Asm, Node, PERSIST, Program, RAM, genesis};
use jar_abi::{Fault, HostCall as Op, Status, slots};
use jar_cap::image::Role;
use jar_cap::{CNode, Cap, Key};
use jar_kernel::block::{Ending, Outcome};

/// Slot of a Catcher, of the marker that is yielded, and of another.
const CATCHER: u8 = slots::CATCHER;
const MARKER: u8 = 60;
const OTHER: u8 = 61;

const CALLEE_SLOT: u64 = CALLEE as u64;

fn called(body: impl FnOnce(&mut Asm)) -> Program {
    catching(program(Role::Call, body))
}

fn root(body: impl FnOnce(&mut Asm)) -> Program {
    catching(program(Role::Transact(0), body))
}

fn call(asm: &mut Asm) {
    asm.call(Op::Call, &[CALLEE_SLOT, 0]);
    report(asm, &[A0, A1]);
}

/// Asks for an operation on the callee's slot and reports the answer.
fn on_callee(asm: &mut Asm, op: Op) {
    asm.call(op, &[CALLEE_SLOT]);
    report(asm, &[A0, A1]);
}

fn yields(asm: &mut Asm, marker: u8) {
    asm.call(Op::Yield, &[marker.into()]);
    report(asm, &[A0]);
}

/// Runs events on both engines, each in a block of its own, the node being opened anew before
/// each but the first; their outcomes and the last state are the same.
fn run_blocks(main: &Program, entries: &[(u8, Cap)], payloads: &[&[u8]]) -> (Node, Vec<Outcome>) {
    let genesis = genesis(&passing(main));
    let run = |mut node: Node| {
        let mut outcomes = Vec::new();
        for (index, payload) in payloads.iter().enumerate() {
            if index > 0 {
                let store = node.store.clone();
                drop(node);
                node = Node::open(store, &genesis, &[]).expect("the store is whole");
            }
            outcomes.push(transact(&mut node, event(payload)));
        }
        (node, outcomes)
    };
    let (node, outcomes) = run(node_of(&genesis, entries));
    let (other, theirs) = run(Node::on_other_engine(&genesis, entries));
    assert_eq!(outcomes, theirs, "engines agree");
    let root = |node: &Node| node.head().header.state_root;
    assert_eq!(root(&node), root(&other));
    (node, outcomes)
}

fn run_one(main: &Program, entries: &[(u8, Cap)]) -> (Node, Outcome) {
    let (node, mut outcomes) = run_blocks(main, entries, &[b""]);
    (node, outcomes.remove(0))
}

fn halted(outcome: &Outcome) -> Vec<Vec<u64>> {
    assert!(matches!(outcome.ending, Ending::Halted(0)), "{outcome:?}");
    reports(outcome)
}

const PAUSED: [u64; 2] = [0, 2];
const OK: [u64; 2] = [0, 0];

fn faulted(fault: Fault) -> [u64; 2] {
    [fault as u64, 1]
}

fn refused(status: Status) -> [u64; 2] {
    [code(status), 3]
}

#[test]
fn payloads_pass_both_ways() {
    let mut callee = program(Role::Call, |_| {});
    let (ping, pong) = (callee.data(b"ping----"), callee.data(b"done----"));
    callee.image.endpoints.clear();
    callee.endpoint(0, "ask", Role::Call, |asm| {
        asm.call(Op::MintData, &[ping, 8, 0]);
        yields(asm, MARKER);
        asm.call(Op::ReadData, &[0, RAM.into(), 8, 0]).load(0, RAM);
        report(asm, &[0]);
        asm.call(Op::Drop, &[0])
            .call(Op::MintData, &[pong, 8, 0])
            .halt_with(5);
    });
    let mut main = root(|_| {});
    let answer = main.data(b"answer--");
    main.image.endpoints.clear();
    let read = |asm: &mut Asm| {
        asm.call(Op::ReadData, &[0, RAM.into(), 8, 0]).load(0, RAM);
        report(asm, &[0]);
        asm.call(Op::Drop, &[0]);
    };
    main.endpoint(0, "main", Role::Transact(0), |asm| {
        asm.call(Op::Drop, &[0]);
        call(asm);
        read(asm);
        asm.call(Op::MintData, &[answer, 8, 0]);
        on_callee(asm, Op::Resume);
        read(asm);
        asm.halt_with(0);
    });
    let entries = [
        (CATCHER, catcher([1])),
        (CALLEE, instance(&callee, &[(MARKER, marker(1))])),
    ];
    let (_, outcome) = run_one(&main, &entries);
    let word = |bytes: &[u8; 8]| vec![u64::from_le_bytes(*bytes)];
    let expected = [
        PAUSED.to_vec(),
        word(b"ping----"),
        vec![0],
        word(b"answer--"),
        vec![5, 0],
        word(b"done----"),
    ];
    assert_eq!(halted(&outcome), expected);
}

/// What the middle one and the outer one of [`nested`] begin their reports with.
const MID: u64 = 7;
const MAIN: u64 = 8;

/// A chain of three Instances; the innermost yields a marker that one of the outer ones catches.
fn nested(number: u8, mid_catches: &[u8], main_catches: &[u8]) -> Vec<Vec<u64>> {
    let inner = called(|asm| {
        yields(asm, MARKER);
        asm.halt_with(0);
    });
    // A report spoils φ8: the status is asked for before.
    let react = |asm: &mut Asm, who: u64| {
        asm.set(1, who).call(Op::Call, &[CALLEE_SLOT, 0]).mov(2, A1);
        report(asm, &[1, A0, 2]);
        asm.if_eq(2, 2, |asm| on_callee(asm, Op::Resume));
        asm.halt_with(0);
    };
    let inner = instance(
        &inner,
        &[(CATCHER, catcher([1, 2, 3])), (MARKER, marker(number))],
    );
    let mid = instance(
        &called(|asm| react(asm, MID)),
        &[
            (CATCHER, catcher(mid_catches.iter().copied())),
            (CALLEE, inner),
        ],
    );
    let entries = [
        (CATCHER, catcher(main_catches.iter().copied())),
        (CALLEE, mid),
    ];
    let (_, outcome) = run_one(&root(|asm| react(asm, MAIN)), &entries);
    halted(&outcome)
}

#[test]
fn the_nearest_owner_that_catches_goes_on() {
    let answered = vec![0];
    let by = |who: u64, [value, status]: [u64; 2]| vec![who, value, status];
    // The middle one catches, whether or not the outer one would.
    let expected = [by(MID, PAUSED), answered.clone(), OK.to_vec(), by(MAIN, OK)];
    assert_eq!(nested(1, &[1], &[1]), expected);
    assert_eq!(nested(1, &[0, 1, 2], &[]), expected);
    // The outer one catches what the middle one does not, and resumes both.
    let expected = [by(MAIN, PAUSED), answered, by(MID, OK), OK.to_vec()];
    assert_eq!(nested(2, &[1], &[2]), expected);
    // Nobody catches: the yielder faults; its own Catcher is not asked.
    let expected = [by(MID, faulted(Fault::Unhandled)), by(MAIN, OK)];
    assert_eq!(nested(3, &[1], &[2]), expected);
}

/// A frame that merely waits is no owner: it is not asked for its Catcher.
#[test]
fn yields_never_go_sideways() {
    let waiting = called(|asm| {
        yields(asm, MARKER);
        asm.halt_with(0);
    });
    let yielder = program(Role::Call, |asm| {
        yields(asm, OTHER);
        asm.halt_with(0);
    });
    let main = root(|asm| {
        call(asm);
        asm.call(Op::Call, &[CALLEE_SLOT + 1, 0]);
        report(asm, &[A0, A1]);
        on_callee(asm, Op::Resume);
        asm.halt_with(0);
    });
    let entries = [
        (CATCHER, catcher([1])),
        (
            CALLEE,
            instance(&waiting, &[(CATCHER, catcher([2])), (MARKER, marker(1))]),
        ),
        (CALLEE + 1, instance(&yielder, &[(OTHER, marker(2))])),
    ];
    let (_, outcome) = run_one(&main, &entries);
    let expected = [
        PAUSED.to_vec(),
        faulted(Fault::Unhandled).to_vec(),
        vec![0],
        OK.to_vec(),
    ];
    assert_eq!(halted(&outcome), expected);
}

/// An Instance that leaves a mark before and after it yields.
fn marking() -> Program {
    let mut marking = program(Role::Call, |asm| {
        asm.call(Op::MintCnode, &[50]).store(PERSIST, 0);
        report(asm, &[0]);
        yields(asm, MARKER);
        asm.call(Op::MintCnode, &[51]);
        report(asm, &[0]);
        asm.halt_with(9);
    });
    marking.persist(&[41], 0, 1);
    marking
}

#[test]
fn aborted_and_halted_over_subtrees_leave_nothing() {
    type End = (&'static str, fn(&mut Asm), usize);
    let ends: [End; 4] = [
        ("abort", |asm| on_callee(asm, Op::Abort), 1),
        ("halt", |_| {}, 0),
        (
            "abort twice",
            |asm| {
                on_callee(asm, Op::Abort);
                on_callee(asm, Op::Abort);
            },
            2,
        ),
        (
            "abort and call",
            |asm| {
                on_callee(asm, Op::Abort);
                call(asm);
                on_callee(asm, Op::Abort);
            },
            4,
        ),
    ];
    for (name, end, records) in ends {
        let main = root(|asm| {
            call(asm);
            end(asm);
            asm.halt_with(0);
        });
        let entries = [
            (CATCHER, catcher([1])),
            (CALLEE, instance(&marking(), &[(MARKER, marker(1))])),
        ];
        let before = node(&main, &entries).get(&[CALLEE]);
        let (node, outcome) = run_one(&main, &entries);
        let reports = halted(&outcome);
        assert_eq!(reports[0], PAUSED, "{name}");
        assert_eq!(reports.len() - 1, records.min(3), "{name}");
        assert_eq!(node.get(&[CALLEE]), before, "{name}");
    }
}

/// Emits so many bytes; the answer is in φ5.
fn emit(asm: &mut Asm, len: u64) {
    asm.call(Op::MintData, &[RAM.into(), len, 70])
        .call(Op::Emit, &[0, 0, 70])
        .mov(5, A0)
        .call(Op::Drop, &[70]);
}

/// Goes on when another one yields, and yields the second marker itself. Both emit before.
fn yielding_over_another() -> Cap {
    const EMITTED: u64 = 30_000;
    let inner = program(Role::Call, |asm| {
        emit(asm, EMITTED);
        asm.call(Op::Yield, &[MARKER.into()]).halt_with(0);
    });
    let mid = called(|asm| {
        emit(asm, EMITTED);
        asm.call(Op::Call, &[CALLEE_SLOT, 0])
            .call(Op::Yield, &[OTHER.into()])
            .halt_with(0);
    });
    let inner = instance(&inner, &[(MARKER, marker(1))]);
    let table = [(CATCHER, catcher([1])), (OTHER, marker(2)), (CALLEE, inner)];
    instance(&mid, &table)
}

/// Three Instances, each calling the next; the last one halts with 7.
fn three_deep() -> Cap {
    let passing_on = program(Role::Call, |asm| {
        asm.call(Op::Call, &[CALLEE_SLOT, 0]).halt();
    });
    let last = program(Role::Call, |asm| {
        asm.halt_with(7);
    });
    let around = |inner| instance(&passing_on, &[(CALLEE, inner)]);
    around(around(instance(&last, &[])))
}

/// However a subtree ends for which another one waits, all of its frames give back what counts
/// against limits: bytes of records, unless they are there to stay, and live memory.
#[test]
fn what_waits_gives_back_its_part_of_limits() {
    const DEEP: u8 = 90;
    type End = (&'static str, fn(&mut Asm), u64);
    let ends: [End; 4] = [
        (
            "abort",
            |asm| {
                asm.call(Op::Abort, &[CALLEE_SLOT]);
            },
            0,
        ),
        ("halt", |_| {}, 0),
        (
            "fault",
            |asm| {
                asm.trap();
            },
            0,
        ),
        (
            "detach",
            |asm| {
                asm.call(Op::Detach, &[CALLEE_SLOT]);
            },
            code(Status::Range),
        ),
    ];
    for (name, end, emitted) in ends {
        let outer = called(|asm| {
            asm.call(Op::Call, &[CALLEE_SLOT, 0]).if_eq(A1, 0, |asm| {
                asm.trap();
            });
            end(asm);
            asm.halt_with(0);
        });
        let table = [(CATCHER, catcher([2])), (CALLEE, yielding_over_another())];
        let main = root(|asm| {
            asm.call(Op::Call, &[CALLEE_SLOT, 0]);
            emit(asm, 40_000);
            asm.call(Op::Call, &[DEEP.into(), 0]).mov(0, A0);
            report(asm, &[5, 0]);
            asm.halt_with(0);
        });
        let entries = [(CALLEE, instance(&outer, &table)), (DEEP, three_deep())];
        let mut genesis = genesis(&passing(&main));
        genesis.params.max_live_memory = 4 * u64::from(RAM_PAGES) * 4096;
        for mut node in [
            node_of(&genesis, &entries),
            Node::on_other_engine(&genesis, &entries),
        ] {
            let outcome = transact(&mut node, event([]));
            let told = halted(&outcome);
            assert_eq!(told.last(), Some(&vec![emitted, 7]), "{name}");
        }
    }
}

/// A fault takes back what the frame and all that waits for it did, and nothing else.
#[test]
fn a_resumed_fault_undoes_its_own_records_alone() {
    let callee = program(Role::Call, |asm| {
        asm.set(0, 1);
        report(asm, &[0]);
        asm.call(Op::Yield, &[MARKER.into()]).set(0, 3);
        report(asm, &[0]);
        asm.trap();
    });
    let main = root(|asm| {
        asm.set(0, 0);
        report(asm, &[0]);
        asm.call(Op::Call, &[CALLEE_SLOT, 0]).set(0, 2);
        report(asm, &[0]);
        asm.call(Op::Resume, &[CALLEE_SLOT]).mov(2, A0).mov(3, A1);
        report(asm, &[2, 3]);
        asm.halt_with(0);
    });
    let entries = [
        (CATCHER, catcher([1])),
        (CALLEE, instance(&callee, &[(MARKER, marker(1))])),
    ];
    let (_, outcome) = run_one(&main, &entries);
    let expected = [vec![0], vec![2], faulted(Fault::Panic).to_vec()];
    assert_eq!(halted(&outcome), expected);
}

/// Suspends [`marking`] in one block and resumes it in the next.
#[test]
fn a_detached_call_goes_on_blocks_later() {
    let step = |asm: &mut Asm| {
        asm.call(Op::ReadData, &[0, RAM.into(), 8, 0])
            .call(Op::Drop, &[0])
            .load(0, RAM);
        asm.if_eq(0, 0, |asm| {
            call(asm);
            on_callee(asm, Op::Detach);
            asm.halt_with(0);
        })
        .if_eq(0, 1, |asm| {
            call(asm);
            on_callee(asm, Op::Resume);
            asm.halt_with(0);
        })
        .halt_with(1);
    };
    let entries = [
        (CATCHER, catcher([1])),
        (CALLEE, instance(&marking(), &[(MARKER, marker(1))])),
    ];
    let first = 0u64.to_le_bytes();
    let second = 1u64.to_le_bytes();
    let (node, outcomes) = run_blocks(&root(step), &entries, &[&first, &second]);
    let (before, after) = (halted(&outcomes[0]), halted(&outcomes[1]));
    // What it did before is done; a suspended Instance can't be called.
    assert_eq!(before[1..], [PAUSED.to_vec(), vec![0, 0]], "{before:?}");
    assert_eq!(after[0], refused(Status::Denied));
    assert_eq!(after[1], [0]);
    assert_eq!(after.last(), Some(&vec![9, 0]));
    let table = callee_table(&node);
    for slot in [50, 51] {
        let held = table.get(&*node.store, &Key::from(slot)).expect("readable");
        assert_eq!(held, Some(Cap::CNode(CNode::empty())));
    }
}
