//! Properties of suspended calls: detached and resumed they are as if never suspended, and what
//! they cost is bounded.

mod common;

use common::calls::*;
use common::chain::event;
use common::{A0, A1, Asm, Node, PERSIST, Program, RAM, Rng, genesis, path};
use jar_abi::{Fault, HostCall as Op, Status, slots};
use jar_cap::image::{Pinned, Role, Source};
use jar_cap::{CNode, Cap, Data, ImageRef, Instance, Key, NativeKind, Waiting, set_image_type};
use jar_kernel::block::{Ending, Outcome};
use jar_kernel::{Genesis, Params};
use parity_scale_codec::Encode;

const CATCHER: u8 = slots::CATCHER;
const MARKER: u8 = 60;
const CALLEE_SLOT: u64 = CALLEE as u64;

/// First pages of mappings, counted from [`PERSIST`]: eager zeros, bytes of a pinned slot, and
/// both.
const EAGER: u32 = 0x100;
const BEGUN: u32 = 0x200;
const BEGUN_EAGER: u32 = 0x300;

/// Steps of a program that a suspension must not change: memory of each sort, registers, slots,
/// records, calls that yield from below.
fn random_steps(rng: &mut Rng, asm: &mut Asm, has_callee: bool) {
    for register in 0..5 {
        asm.set(register, rng.next());
    }
    for _ in 0..rng.below(25) + 3 {
        let register = rng.below(5) as u8;
        let page = rng.below(4) as u32 * 4096;
        let word = rng.below(3) as u32 * 8;
        let within = page + word;
        let (ephemeral, persistent) = (RAM + within, PERSIST + within);
        let eager = PERSIST + EAGER * 4096 + within;
        let begun = PERSIST + [BEGUN, BEGUN_EAGER][rng.below(2) as usize] * 4096 + within;
        let slot = 100 + rng.below(6);
        match rng.below(17) {
            15 => asm.store(begun, register),
            16 => asm.load(register, begun),
            0 => asm.store(ephemeral, register),
            1 => asm.load(register, ephemeral),
            2 => asm.store(eager, register),
            3 => asm.load(register, eager),
            4 => asm.store(persistent, register),
            5 => asm.load(register, persistent),
            6 => asm.set(register, rng.next()),
            7 => asm.add(register, rng.below(5) as u8, rng.below(5) as u8),
            8 => asm.call(Op::MintCnode, &[slot]).mov(register, A0),
            9 => asm.call(Op::Drop, &[slot]).mov(register, A0),
            10 => asm
                .call(Op::MintData, &[(RAM + page).into(), 16, slot])
                .mov(register, A0),
            // The mapping's slot, which holds something: the operation wins, the memory stays.
            11 if has_callee && rng.below(3) == 0 => asm.call(Op::Drop, &[41]),
            11 => {
                report(asm, &[0, 1, 2, 3, 4]);
                asm.mov(0, 0)
            }
            12 if has_callee => asm
                .call(Op::Call, &[CALLEE_SLOT, 0])
                .mov(register, A0)
                .call(Op::Drop, &[0]),
            _ => {
                let payload = u64::from(rng.below(2) == 0) * 8;
                asm.call(Op::Drop, &[0])
                    .call(Op::MintData, &[RAM.into(), payload, 0])
                    .call(Op::Yield, &[MARKER.into()])
                    .mov(register, A0)
                    .call(Op::ReadData, &[0, RAM.into(), 8, 0])
            }
        };
    }
    report(asm, &[0, 1, 2, 3, 4]);
    asm.call(Op::Drop, &[0]).halt_with(rng.below(5));
}

fn random_program(rng: &mut Rng, has_callee: bool) -> Program {
    let mut program = program(Role::Call, |asm| random_steps(rng, asm, has_callee));
    program.persist(&[41], 0, 4);
    let pinned = Pinned::Data((0..10_000u32).map(|n| n as u8).collect());
    program.image.pinned.insert(Key::from(61), pinned);
    for (page, init, eager) in [
        (EAGER, None, true),
        (BEGUN, Some(Key::from(61)), false),
        (BEGUN_EAGER, Some(Key::from(61)), true),
    ] {
        let init = init.map(Into::into);
        program.map(page, 4, Source::Ephemeral { init, eager });
    }
    program
}

/// How a catcher treats what it catches.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Resume,
    DetachResume,
    /// Detached at once, resumed in the next block.
    NextBlock,
}

/// Where the driver's answers come from.
const ANSWER: u64 = RAM as u64 + 64;

const TIMES: usize = 80;

/// Calls on an empty payload, else resumes; answers a Paused call as the mode says.
fn driver(mode: Mode) -> Program {
    let mut driver = program(Role::Transact(0), |asm| {
        asm.call(Op::ReadData, &[0, RAM.into(), 8, 0])
            .mov(3, A0)
            .call(Op::Drop, &[0]);
        asm.if_eq(3, 0, |asm| {
            asm.call(Op::Call, &[CALLEE_SLOT, 0]).mov(2, A1);
        });
        asm.if_eq(3, 1, |asm| {
            asm.call(Op::MintData, &[ANSWER, 8, 0])
                .call(Op::Resume, &[CALLEE_SLOT])
                .mov(2, A1);
        });
        let rounds = if mode == Mode::NextBlock { 1 } else { TIMES };
        for _ in 0..rounds {
            asm.if_eq(2, 2, |asm| {
                if mode != Mode::Resume {
                    asm.call(Op::Detach, &[CALLEE_SLOT]);
                }
                if mode != Mode::NextBlock {
                    asm.call(Op::Drop, &[0])
                        .call(Op::MintData, &[ANSWER, 8, 0])
                        .call(Op::Resume, &[CALLEE_SLOT])
                        .mov(2, A1);
                }
            });
        }
        asm.mov(A0, 2).halt();
    });
    driver.image.catcher_slot = Some(Key::from(CATCHER));
    driver
}

fn status(outcome: &Outcome) -> u64 {
    match outcome.ending {
        Ending::Halted(status) => status,
        Ending::Faulted(code) => panic!("a fault: {code}"),
    }
}

/// What the callee left and told, however it was suspended.
fn run_mode(mode: Mode, callee: &Cap, on_other: bool) -> (Option<Cap>, Vec<Vec<u64>>, usize) {
    let mut genesis = genesis(&passing(&driver(mode)));
    budget(&mut genesis, 1 << 32);
    genesis.params.event_quota = 1 << 30;
    let entries = [(CATCHER, catcher([1])), (CALLEE, callee.clone())];
    let mut node = match on_other {
        false => node_of(&genesis, &entries),
        true => Node::on_other_engine(&genesis, &entries),
    };
    let mut told = Vec::new();
    for block in 0..TIMES {
        let payload: &[u8] = if block == 0 { &[] } else { &[1] };
        let outcome = transact(&mut node, event(payload));
        told.extend(reports(&outcome));
        if status(&outcome) == 0 {
            return (node.get(&[CALLEE]), told, block);
        }
        assert_eq!((status(&outcome), mode), (2, Mode::NextBlock));
        node.chain(); // The next block reads what this one wrote.
    }
    panic!("{mode:?} goes on without an end");
}

#[test]
fn detached_and_resumed_is_never_suspended() {
    let mut suspended = 0;
    for seed in 1..=200u64 {
        let mut rng = Rng(seed * 0x9e37_79b9_7f4a_7c15);
        let inner = random_program(&mut rng, false);
        let inner = instance(&inner, &[(MARKER, marker(1))]);
        let outer = random_program(&mut rng, true);
        let table = [(MARKER, marker(1)), (CALLEE, inner), (41, data(&[9; 5000]))];
        let callee = instance(&outer, &table);
        let expected = run_mode(Mode::Resume, &callee, false);
        for (mode, on_other) in [
            (Mode::Resume, true),
            (Mode::DetachResume, false),
            (Mode::NextBlock, false),
            (Mode::NextBlock, true),
        ] {
            let found = run_mode(mode, &callee, on_other);
            assert_eq!(found.1, expected.1, "seed {seed} {mode:?}");
            assert!(
                found.0 == expected.0,
                "seed {seed} {mode:?}: the states differ"
            );
            suspended += found.2;
        }
    }
    assert!(suspended > 100, "the programs do yield");
}

/// What `set_image` recorded is part of a suspended call: it holds from the halt on, and what it
/// pins can't be filled before.
#[test]
fn an_image_that_was_set_is_carried_along() {
    let mut next = program(Role::Call, |asm| {
        asm.halt_with(0);
    });
    let pinned = Pinned::Data(b"pinned".to_vec());
    next.image.pinned.insert(Key::from(70), pinned);
    let next = ImageRef::new(next.build());
    let callee = program(Role::Call, |asm| {
        asm.call(Op::SetImage, &[61])
            .mov(0, A0)
            .call(Op::Yield, &[MARKER.into()])
            .call(Op::MintCnode, &[70])
            .mov(1, A0);
        report(asm, &[0, 1]);
        asm.halt_with(0);
    });
    let table = [(MARKER, marker(1)), (61, Cap::Image(next.clone()))];
    let callee = instance(&callee, &table);
    for mode in [Mode::Resume, Mode::DetachResume, Mode::NextBlock] {
        for on_other in [false, true] {
            let (held, told, _) = run_mode(mode, &callee, on_other);
            assert_eq!(told, [[0, code(Status::Pinned)]], "{mode:?}");
            let Some(Cap::Instance(instance)) = held else {
                panic!("{mode:?}: the callee is gone");
            };
            let ty = set_image_type(&[1; 32], &next.id());
            assert_eq!(instance.type_id(), ty, "{mode:?}");
        }
    }
}

/// Whoever goes on with a call may fill slots, for which the Image that the call set is looked at:
/// in each event it is paid for by its size, once.
#[test]
fn an_image_that_was_set_is_paid_for_again() {
    let mut next = program(Role::Call, |asm| {
        asm.halt_with(0);
    });
    let pinned = Pinned::Data(vec![7; 100_000]);
    next.image.pinned.insert(Key::from(70), pinned);
    let next = ImageRef::new(next.build());
    let spent = |is_set: bool, on_other: bool| {
        let callee = program(Role::Call, |asm| {
            asm.set(0, 0);
            asm.call(if is_set { Op::SetImage } else { Op::Kind }, &[61])
                .call(Op::Yield, &[MARKER.into()])
                .call(Op::MintCnode, &[71])
                .call(Op::Yield, &[MARKER.into()])
                .halt_with(0);
        });
        let table = [(MARKER, marker(1)), (61, Cap::Image(next.clone()))];
        let entries = [(CATCHER, catcher([1])), (CALLEE, instance(&callee, &table))];
        let genesis = genesis(&passing(&driver(Mode::NextBlock)));
        let mut node = match on_other {
            false => node_of(&genesis, &entries),
            true => Node::on_other_engine(&genesis, &entries),
        };
        let payloads: [&[u8]; 3] = [&[], &[1], &[1]];
        payloads.map(|payload| transact(&mut node, event(payload)).gas_used)
    };
    let price = u64::from(next.size()).div_ceil(64) * Params::default().price_enter_64;
    for on_other in [false, true] {
        let (with, without) = (spent(true, on_other), spent(false, on_other));
        for (with, without) in with.iter().zip(without) {
            let more = with - without;
            assert!(
                (price..price + price / 10).contains(&more),
                "{more} {price}"
            );
        }
    }
}

/// A mapping that began with an empty slot is kept, too, when an operation fills the slot:
/// written or not.
#[test]
fn a_mapping_of_a_slot_that_was_filled_is_kept() {
    for is_written in [false, true] {
        let mut callee = program(Role::Call, |asm| {
            asm.call(Op::MintData, &[RAM.into(), 8, 41]).set(0, 7);
            if is_written {
                asm.store(PERSIST + 4096, 0);
            }
            asm.call(Op::Yield, &[MARKER.into()])
                .load(1, PERSIST)
                .load(2, PERSIST + 4096);
            report(asm, &[1, 2]);
            asm.halt_with(0);
        });
        callee.persist(&[41], 0, 2);
        let callee = instance(&callee, &[(MARKER, marker(1))]);
        let (expected, told, _) = run_mode(Mode::Resume, &callee, false);
        assert_eq!(told, [[0, if is_written { 7 } else { 0 }]]);
        for (mode, on_other) in [
            (Mode::DetachResume, false),
            (Mode::NextBlock, false),
            (Mode::NextBlock, true),
        ] {
            let found = run_mode(mode, &callee, on_other);
            assert_eq!(found.1, told, "{mode:?}");
            assert!(found.0 == expected, "{mode:?}: the states differ");
        }
    }
}

/// What waits beside the chain is written back with it, and resumed from there.
#[test]
fn subtrees_that_wait_within_are_written_back_too() {
    let inner = program(Role::Call, |asm| {
        asm.call(Op::Yield, &[MARKER.into()])
            .call(Op::MintCnode, &[50])
            .halt_with(6);
    });
    // Catches the inner one, lets it wait, and yields itself.
    let middle = catching(program(Role::Call, |asm| {
        asm.call(Op::Call, &[CALLEE_SLOT, 0]).mov(2, A1);
        asm.call(Op::Yield, &[(MARKER + 1).into()])
            .call(Op::Resume, &[CALLEE_SLOT])
            .mov(3, A0)
            .mov(4, A1);
        report(asm, &[2, 3, 4]);
        asm.halt_with(0);
    }));
    let inner = instance(&inner, &[(MARKER, marker(1))]);
    let table = [
        (CATCHER, catcher([1])),
        (MARKER + 1, marker(2)),
        (CALLEE, inner),
    ];
    let middle = instance(&middle, &table);
    for mode in [Mode::Resume, Mode::DetachResume, Mode::NextBlock] {
        let mut genesis = genesis(&passing(&driver(mode)));
        budget(&mut genesis, 1 << 30);
        let entries = [(CATCHER, catcher([2])), (CALLEE, middle.clone())];
        let mut node = node_of(&genesis, &entries);
        let outcome = transact(&mut node, event([]));
        let outcome = match mode {
            Mode::NextBlock => {
                assert_eq!(status(&outcome), 2);
                let suspended = node.get(&[CALLEE]).expect("there");
                let Cap::Instance(suspended) = suspended else {
                    panic!("an Instance");
                };
                let call = suspended.suspended().expect("suspended");
                assert_eq!(call.waiting, Waiting::Yielded([2; 32]));
                transact(&mut node, event([1]))
            }
            _ => outcome,
        };
        assert_eq!(status(&outcome), 0, "{mode:?}");
        assert_eq!(reports(&outcome), [[2, 6, 0]], "{mode:?}");
    }
}

/// Refusals in which a caller learns why.
fn answers(main: impl FnOnce(&mut Asm), entries: &[(u8, Cap)]) -> Vec<Vec<u64>> {
    let main = catching(program(Role::Transact(0), |asm| {
        main(asm);
        asm.halt_with(0);
    }));
    let node = node_of(&genesis(&main), entries);
    let outcome = node.simulate(0, &event([]));
    assert_eq!(outcome.ending, Ending::Halted(0));
    let other = Node::on_other_engine(&genesis(&main), entries);
    assert_eq!(other.simulate(0, &event([])), outcome);
    reports(&outcome)
}

fn yielder() -> Cap {
    let yielder = program(Role::Call, |asm| {
        asm.call(Op::Yield, &[MARKER.into()]).halt_with(0);
    });
    instance(&yielder, &[(MARKER, marker(1))])
}

/// A [`yielder`] that has yielded and was detached.
fn suspended_yielder() -> Option<Cap> {
    let main = catching(program(Role::Transact(0), |asm| {
        asm.call(Op::Call, &[CALLEE_SLOT, 0])
            .call(Op::Detach, &[CALLEE_SLOT])
            .halt_with(0);
    }));
    let entries = [(CATCHER, catcher([1])), (CALLEE, yielder())];
    let mut node = node(&main, &entries);
    assert_eq!(run(&mut node).ending, Ending::Halted(0));
    node.get(&[CALLEE])
}

/// Pages of eager mappings are in each frame whether it writes them or not: to keep one costs
/// gas and quota for each.
#[test]
fn keeping_eager_pages_is_paid_for() {
    let detach = |pages: u32, quota: u64| {
        let mut callee = program(Role::Call, |asm| {
            asm.call(Op::Yield, &[MARKER.into()]).halt_with(0);
        });
        let eager = Source::Ephemeral {
            init: None,
            eager: true,
        };
        if pages > 0 {
            callee.map(0x100, pages, eager);
        }
        let entries = [
            (CATCHER, catcher([1])),
            (CALLEE, instance(&callee, &[(MARKER, marker(1))])),
        ];
        let main = catching(program(Role::Transact(0), |asm| {
            asm.call(Op::Call, &[CALLEE_SLOT, 0])
                .call(Op::GasLeft, &[])
                .mov(0, A0)
                .call(Op::Detach, &[CALLEE_SLOT])
                .call(Op::GasLeft, &[])
                .mov(1, A0)
                .store(RAM, 0)
                .store(RAM + 8, 1)
                .call(Op::Emit, &[RAM.into(), 16, 90])
                .halt_with(0);
        }));
        let mut genesis = genesis(&main);
        genesis.params.event_quota = quota;
        let entries = [&entries[..], &[(90, data(&[]))]].concat();
        let outcome = node_of(&genesis, &entries).simulate(0, &event([]));
        let other = Node::on_other_engine(&genesis, &entries);
        assert_eq!(other.simulate(0, &event([])), outcome);
        match outcome.ending {
            Ending::Halted(_) => {
                let topic = &outcome.records[0].topic;
                let (before, after) = topic.split_at(8);
                let left = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("8 bytes"));
                Ok(left(before) - left(after))
            }
            Ending::Faulted(fault) => Err(fault),
        }
    };
    let params = Params::default();
    let quota = |pages: u64| 512 + pages * 4096 + 16;
    let none = detach(0, quota(0)).expect("paid");
    for pages in [1, 4] {
        let gas = detach(pages, quota(pages.into())).expect("paid");
        assert_eq!(gas - none, u64::from(pages) * params.price_page_persist);
        let short = detach(pages, quota(pages.into()) - 17);
        assert_eq!(short, Err(Fault::OutOfQuota as u64));
    }
}

/// Eager pages count as written anew in each frame made of a suspended value: who keeps one that
/// has not run since pays for writing them, too.
#[test]
fn eager_pages_of_a_frame_made_anew_are_paid_again() {
    let second_detach = |pages: u32| {
        let yielder = program(Role::Call, |asm| {
            asm.call(Op::Yield, &[MARKER.into()])
                .call(Op::Yield, &[MARKER.into()])
                .halt_with(0);
        });
        let mut outer = program(Role::Call, |asm| {
            asm.call(Op::Call, &[CALLEE_SLOT, 0]).halt();
        });
        let eager = Source::Ephemeral {
            init: None,
            eager: true,
        };
        outer.map(EAGER, pages, eager);
        let inner = instance(&yielder, &[(MARKER, marker(1))]);
        let entries = [
            (CATCHER, catcher([1])),
            (CALLEE, instance(&outer, &[(CALLEE, inner)])),
        ];
        let told = answers(
            |asm| {
                asm.call(Op::Call, &[CALLEE_SLOT, 0])
                    .call(Op::Detach, &[CALLEE_SLOT])
                    .call(Op::Resume, &[CALLEE_SLOT])
                    .call(Op::GasLeft, &[])
                    .mov(0, A0)
                    .call(Op::Detach, &[CALLEE_SLOT])
                    .mov(1, A0)
                    .call(Op::GasLeft, &[])
                    .mov(2, A0);
                report(asm, &[0, 1, 2]);
            },
            &entries,
        );
        let [before, 0, after] = told[0][..] else {
            panic!("detached: {told:?}");
        };
        before - after
    };
    let params = Params::default();
    let page = params.price_page_write + params.price_page_persist;
    assert_eq!(second_detach(5), second_detach(1) + 4 * page);
}

/// A slot stays reserved through CNodes, whichever prefix of its path an operation names, and
/// is free again when the call has ended.
#[test]
fn a_reserved_slot_is_busy_by_every_path() {
    let store = jar_cap::MemoryStore::new();
    let mut nest = yielder();
    for _ in 0..7 {
        let mut node = CNode::empty();
        node.set(&store, &Key::from(1), Some(nest))
            .expect("in memory");
        node.set(&store, &Key::from(2), Some(data(b"beside")))
            .expect("in memory");
        nest = Cap::CNode(node);
    }
    let paths: Vec<u64> = (1..=7)
        .map(|len| path(&[&[40][..], &vec![1; len - 1]].concat()))
        .collect();
    // The register's form reaches seven keys; the eighth is written in memory.
    let deepest: Vec<Vec<u8>> = [vec![vec![40u8]], vec![vec![1]; 7]].concat();
    let mut main = catching(Program::new());
    let deepest_at = main.data(&deepest.encode());
    let deepest = 1 << 63 | (deepest.encode().len() as u64) << 32 | deepest_at;
    main.endpoint(0, "main", Role::Transact(0), |asm| {
        asm.call(Op::Call, &[deepest, 0]).mov(0, A1);
        report(asm, &[0]);
        for path in paths.iter().chain([&deepest]) {
            for (op, args) in [
                (Op::Copy, vec![*path, 90]),
                (Op::Move, vec![*path, 90]),
                (Op::Drop, vec![*path]),
                (Op::MintCnode, vec![*path]),
            ] {
                asm.call(op, &args).mov(0, A0);
                report(asm, &[0]);
            }
        }
        asm.call(Op::Drop, &[path(&[40, 1, 1, 1, 2])]).mov(0, A0);
        asm.call(Op::Abort, &[deepest]).mov(1, A0);
        asm.call(Op::Drop, &[40]).mov(2, A0);
        report(asm, &[0, 1, 2]);
        asm.halt_with(0);
    });
    let entries = [(CATCHER, catcher([1])), (40, nest)];
    let mut genesis = genesis(&main);
    budget(&mut genesis, 1 << 30);
    let node = node_of(&genesis, &entries);
    let outcome = node.simulate(0, &event([]));
    assert_eq!(outcome.ending, Ending::Halted(0));
    let other = Node::on_other_engine(&genesis, &entries);
    assert_eq!(other.simulate(0, &event([])), outcome);
    let told = reports(&outcome);
    assert_eq!(told[0], [2]);
    let (last, busy) = told[1..].split_last().expect("reports");
    assert_eq!(busy, vec![vec![code(Status::Busy)]; 4 * 8]);
    assert_eq!(last, &[0, 0, 0]);
}

/// A View leaves nothing behind, nor can what called it and waits with it be written back.
#[test]
fn a_view_is_not_written_back() {
    let mut viewed = Program::new();
    viewed.endpoint(0, "view", Role::View, |asm| {
        asm.call(Op::Yield, &[MARKER.into()]).halt_with(4);
    });
    let view = instance(&viewed, &[(MARKER, marker(1))]);
    let caller = program(Role::Call, |asm| {
        asm.call(Op::Call, &[CALLEE_SLOT, 0]).halt();
    });
    for callee in [view.clone(), instance(&caller, &[(CALLEE, view)])] {
        let entries = [(CATCHER, catcher([1])), (CALLEE, callee)];
        let told = answers(
            |asm| {
                asm.call(Op::Call, &[CALLEE_SLOT, 0]).mov(0, A1);
                asm.call(Op::Detach, &[CALLEE_SLOT]).mov(1, A0);
                asm.call(Op::Resume, &[CALLEE_SLOT]).mov(2, A0).mov(3, A1);
                report(asm, &[0, 1, 2, 3]);
            },
            &entries,
        );
        assert_eq!(told, [[2, code(Status::Denied), 4, 0]]);
    }
}

/// A suspended call that a View resumes may do no more than the View itself.
#[test]
fn what_a_view_resumes_is_bound_as_the_view() {
    let scores = program(Role::Call, |asm| {
        asm.call(Op::Yield, &[MARKER.into()])
            .call(Op::Score, &[slots::CONSENSUS.into(), 5])
            .halt();
    });
    let view = program(Role::View, |asm| {
        asm.call(Op::Move, &[0, 50]).call(Op::Resume, &[50]).halt();
    });
    let consensus = Cap::Instance(Instance::native(NativeKind::Consensus, Vec::new()));
    let table = [(MARKER, marker(1)), (slots::CONSENSUS, consensus)];
    let entries = [
        (CATCHER, catcher([1])),
        (CALLEE, instance(&scores, &table)),
        (90, instance(&view, &[])),
    ];
    let told = answers(
        |asm| {
            asm.call(Op::Call, &[CALLEE_SLOT, 0])
                .call(Op::Detach, &[CALLEE_SLOT])
                .call(Op::Drop, &[0])
                .call(Op::Copy, &[CALLEE_SLOT, 0])
                .call(Op::Call, &[90, 0])
                .mov(0, A0)
                .mov(1, A1);
            // Outside of a View it may.
            asm.call(Op::Resume, &[CALLEE_SLOT]).mov(2, A0).mov(3, A1);
            report(asm, &[0, 1, 2, 3]);
        },
        &entries,
    );
    assert_eq!(told, [[code(Status::Denied), 0, 0, 0]]);
}

/// A fault after a resume goes back to the suspended value, which can be resumed again.
#[test]
fn a_suspended_value_survives_a_fault() {
    let callee = program(Role::Call, |asm| {
        asm.call(Op::Yield, &[MARKER.into()])
            .call(Op::MintCnode, &[70])
            .call(Op::Kind, &[0])
            .mov(0, A0)
            .if_eq(0, 1, |asm| {
                asm.halt_with(3);
            })
            .trap();
    });
    let entries = [
        (CATCHER, catcher([1])),
        (CALLEE, instance(&callee, &[(MARKER, marker(1))])),
    ];
    let told = answers(
        |asm| {
            asm.call(Op::Drop, &[0])
                .call(Op::Call, &[CALLEE_SLOT, 0])
                .call(Op::Detach, &[CALLEE_SLOT])
                .call(Op::Resume, &[CALLEE_SLOT])
                .mov(0, A0)
                .mov(1, A1)
                .call(Op::MintData, &[RAM.into(), 8, 0])
                .call(Op::Resume, &[CALLEE_SLOT])
                .mov(2, A0)
                .mov(3, A1);
            report(asm, &[0, 1, 2, 3]);
        },
        &entries,
    );
    assert_eq!(told, [[Fault::Panic as u64, 1, 3, 0]]);
}

/// Copies of a suspended call each go on from where it stood.
#[test]
fn a_copy_forks_the_continuation() {
    let told = answers(
        |asm| {
            asm.call(Op::Call, &[CALLEE_SLOT, 0])
                .call(Op::Detach, &[CALLEE_SLOT])
                .call(Op::Copy, &[CALLEE_SLOT, 90])
                .call(Op::Resume, &[CALLEE_SLOT])
                .mov(0, A1)
                .call(Op::Resume, &[90])
                .mov(1, A1);
            report(asm, &[0, 1]);
        },
        &[(CATCHER, catcher([1])), (CALLEE, yielder())],
    );
    assert_eq!(told, [[0, 0]]);
}

/// Instances within each other, each calling the next, the innermost one yielding.
fn deep(depth: usize) -> Cap {
    let caller = program(Role::Call, |asm| {
        asm.call(Op::Call, &[CALLEE_SLOT, 0]).halt();
    });
    (1..depth).fold(yielder(), |inner, _| instance(&caller, &[(CALLEE, inner)]))
}

fn budget(genesis: &mut Genesis, gas: u64) {
    genesis.params.event_gas = gas;
    genesis.params.block_gas = gas;
}

#[test]
fn the_deepest_chain_is_suspended_detached_and_resumed() {
    let main = catching(program(Role::Transact(0), |asm| {
        asm.call(Op::Call, &[CALLEE_SLOT, 0]).mov(0, A1);
        asm.call(Op::Detach, &[CALLEE_SLOT]).mov(1, A0);
        // One frame deeper there is no room for it.
        asm.call(Op::Drop, &[0])
            .call(Op::Move, &[CALLEE_SLOT, 0])
            .call(Op::Call, &[90, 0])
            .mov(2, A0)
            .call(Op::Move, &[0, CALLEE_SLOT])
            .call(Op::Resume, &[CALLEE_SLOT])
            .mov(3, A0)
            .mov(4, A1);
        report(asm, &[0, 1, 2, 3, 4]);
        asm.halt_with(0);
    }));
    // Takes the payload, tries to resume it, and gives it back.
    let deeper = program(Role::Call, |asm| {
        asm.call(Op::Move, &[0, 50])
            .call(Op::Resume, &[50])
            .mov(0, A0)
            .call(Op::Move, &[50, 0])
            .mov(A0, 0)
            .halt();
    });
    for (depth, status) in [(127, 2), (128, 0)] {
        let mut genesis = genesis(&passing(&main));
        budget(&mut genesis, 1 << 32);
        let entries = [
            (CATCHER, catcher([1])),
            (CALLEE, deep(depth)),
            (90, instance(&deeper, &[])),
        ];
        let mut node = node_of(&genesis, &entries);
        let outcome = run(&mut node);
        let told = reports(&outcome).remove(0);
        assert_eq!(told[0], status, "depth {depth}");
        if status == 2 {
            assert_eq!(told[1..], [0, code(Status::Depth), 0, 0]);
        }
        let mut other = Node::on_other_engine(&genesis, &entries);
        assert_eq!(run(&mut other), outcome);
    }
}

/// A yielder that never ends, resumed without an end: all it costs is gas.
#[test]
fn yield_storms_end_with_the_budget() {
    let storm = program(Role::Call, |asm| {
        for _ in 0..3000 {
            asm.call(Op::Yield, &[MARKER.into()]);
        }
        asm.halt_with(0);
    });
    let catches = |op: Op| {
        catching(program(Role::Transact(0), move |asm| {
            asm.call(Op::Call, &[CALLEE_SLOT, 0]);
            for _ in 0..3000 {
                asm.call(op, &[CALLEE_SLOT]);
                if op == Op::Detach {
                    asm.call(Op::Resume, &[CALLEE_SLOT]);
                }
            }
            asm.halt_with(0);
        }))
    };
    for op in [Op::Resume, Op::Detach] {
        let entries = [
            (CATCHER, catcher(0..=255)),
            (CALLEE, instance(&storm, &[(MARKER, marker(255))])),
        ];
        let mut genesis = genesis(&catches(op));
        budget(&mut genesis, 30_000_000);
        let node = node_of(&genesis, &entries);
        let outcome = node.simulate(0, &event([]));
        assert_eq!(outcome.ending, Ending::Faulted(Fault::OutOfGas as u64));
        assert!(outcome.gas_used <= 30_000_000);
        let other = Node::on_other_engine(&genesis, &entries);
        assert_eq!(other.simulate(0, &event([])), outcome);
    }
}

/// Whatever slot 0 holds at a halt passes, or is taken by the kernel at the root; also while
/// something waits for who halts.
#[test]
fn a_halt_passes_slot_0_in_any_state() {
    let store = jar_cap::MemoryStore::new();
    let mut full = CNode::empty();
    for n in 0..=255 {
        full.set(&store, &Key::from(n), Some(data(&[n])))
            .expect("in memory");
    }
    let image = program(Role::Call, |asm| {
        asm.trap();
    });
    let suspended = suspended_yielder();
    let is_suspended = |cap: &Cap| matches!(cap, Cap::Instance(i) if i.suspended().is_some());
    assert!(suspended.as_ref().is_some_and(is_suspended));
    let states = [
        None,
        Some(Cap::Data(Data::empty())),
        Some(Cap::CNode(full)),
        Some(Cap::Type([3; 32].into())),
        Some(Cap::Image(ImageRef::new(image.build()))),
        Some(yielder()),
        suspended,
        Some(catcher([1])),
    ];
    for (state, has_waiting) in states.iter().flat_map(|s| [(s, false), (s, true)]) {
        let callee = catching(program(Role::Call, |asm| {
            if has_waiting {
                asm.call(Op::Call, &[CALLEE_SLOT, 0]).if_eq(A1, 0, |asm| {
                    asm.trap();
                });
            }
            asm.call(Op::Drop, &[0])
                .call(Op::Copy, &[80, 0])
                .halt_with(0);
        }));
        let mut held = vec![(CATCHER, catcher([1])), (CALLEE, yielder())];
        held.extend(state.clone().map(|cap| (80, cap)));
        let main = program(Role::Transact(0), |asm| {
            asm.call(Op::Call, &[CALLEE_SLOT, 0])
                .call(Op::Copy, &[0, 81])
                .halt_with(0);
        });
        let genesis = genesis(&passing(&main));
        let entries = [(CALLEE, instance(&callee, &held))];
        for mut node in [
            node_of(&genesis, &entries),
            Node::on_other_engine(&genesis, &entries),
        ] {
            let outcome = run(&mut node);
            assert_eq!(outcome.ending, Ending::Halted(0));
            assert!(node.get(&[81]) == *state, "{has_waiting}");
            assert!(node.get(&[0]).is_none());
        }
    }
}
