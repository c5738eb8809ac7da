//! Calls between Instances: what passes, what a fault undoes, what is refused.

mod common;

use common::calls::*;
use common::chain::event;
use common::program::RAM_PAGES;
use common::{A0, A1, Asm, Node, Program, RAM, genesis};
use jar_abi::{CallStatus, Fault, HostCall as Op, Status, slots};
use jar_cap::image::Role;
use jar_cap::{Cap, NativeKind};
use jar_kernel::Genesis;
use jar_kernel::block::Ending;

#[test]
fn arguments_value_and_scratchpad_pass() {
    let mut callee = Program::new();
    let pong = callee.data(b"pong");
    callee.endpoint(3, "main", Role::Call, |asm| {
        report(asm, &[0, 7, 8, 9, 10, 11]);
        asm.call(Op::ReadData, &[0, RAM.into(), 8, 0])
            .load(0, RAM)
            .call(Op::MintData, &[pong, 4, 50]);
        report(asm, &[0]);
        asm.call(Op::Drop, &[0])
            .call(Op::MintData, &[pong, 4, 0])
            .halt_with(77);
    });
    let endpoint = callee.image.endpoints.get_mut(&3).expect("made above");
    endpoint.regs = [(0, 5), (7, 6), (11, 8)].into();
    let main = program(Role::Transact(0), |asm| {
        asm.call(Op::Call, &[CALLEE.into(), 3, 11, 22, 33, 44]);
        report(asm, &[A0, A1]);
        asm.call(Op::ReadData, &[0, RAM.into(), 8, 0]).load(0, RAM);
        report(asm, &[0]);
        asm.halt_with(1);
    });
    let old_scratch = (0, data(b"stale"));
    let mut node = node(&main, &[(CALLEE, instance(&callee, &[old_scratch]))]);
    let outcome = transact(&mut node, event(b"ping"));
    assert_eq!(outcome.ending, Ending::Halted(1));
    let word = |bytes: &[u8; 4]| u64::from(u32::from_le_bytes(*bytes));
    let expected = vec![
        vec![5, 11, 22, 33, 44, 8],
        vec![word(b"ping")],
        vec![77, 0],
        vec![word(b"pong")],
    ];
    assert_eq!(reports(&outcome), expected);
    assert_eq!(callee_bytes(&node, 50), Some(b"pong".to_vec()));
    assert_eq!(callee_bytes(&node, 0), None, "the scratchpad went back");
    assert_eq!(node.get(&[0]), None, "the chain's own is taken at the end");
}

#[test]
fn a_fault_undoes_what_the_callee_did_and_nothing_else() {
    let endings: [Faulting; 4] = [
        (
            "trap",
            |asm| {
                asm.trap();
            },
            Fault::Panic,
        ),
        (
            "load",
            |asm| {
                asm.load(0, 0x90_0000);
            },
            Fault::PageFault,
        ),
        (
            "hash",
            |asm| {
                asm.call(Op::Hash, &[0, 0x90_0000, 8, 0]);
            },
            Fault::BadRange,
        ),
        (
            "yield",
            |asm| {
                asm.call(Op::Yield, &[slots::CONSENSUS.into()]);
            },
            Fault::Unhandled,
        ),
    ];
    for (name, ending, fault) in endings {
        let inner = program(Role::Call, |asm| {
            asm.call(Op::MintCnode, &[60]).halt_with(0);
        });
        let callee = program(Role::Call, |asm| {
            report(asm, &[0]);
            asm.call(Op::MintData, &[RAM.into(), 8, 50])
                .call(Op::Score, &[slots::CONSENSUS.into(), 1000])
                .call(Op::Finalize, &[slots::CONSENSUS.into(), RAM.into()])
                .call(Op::Call, &[CALLEE.into(), 0]);
            ending(asm);
        });
        let main = program(Role::Transact(0), |asm| {
            asm.call(Op::Call, &[CALLEE.into(), 0]);
            report(asm, &[A0, A1]);
            asm.call(Op::Kind, &[0]);
            report(asm, &[A0]);
            asm.call(Op::MintData, &[RAM.into(), 8, 51]).halt_with(0);
        });
        let table = [
            (slots::CONSENSUS, native(NativeKind::Consensus)),
            (CALLEE, instance(&inner, &[])),
        ];
        let mut node = node(&main, &[(CALLEE, instance(&callee, &table))]);
        let before = node.get(&[CALLEE]);
        let outcome = transact(&mut node, event(b"payload"));
        let expected = vec![vec![fault as u64, 1], vec![code(Status::Empty)]];
        assert_eq!(reports(&outcome), expected, "{name}");
        assert_eq!(node.get(&[CALLEE]), before, "{name}");
        assert!(node.bytes(&[51]).is_some(), "the caller goes on");
        assert_eq!(node.head().score, 1, "the score was undone");
    }
}

#[test]
fn a_called_view_commits_nothing_and_is_denied_what_it_must_be() {
    let attempts: [(&[u64], Op); 6] = [
        (&[18, 5], Op::Score),
        (&[18, RAM as u64], Op::Finalize),
        (&[17, RAM as u64, 0, 0, RAM as u64, 1], Op::Attest),
        (&[0, 60], Op::SlotRead),
        (&[0, 0], Op::SlotKeep),
        (&[], Op::SlotClear),
    ];
    for (args, op) in attempts {
        let attempt = |asm: &mut Asm| {
            asm.call(op, args).halt();
        };
        let inner = program(Role::Call, attempt);
        let mut view = Program::new();
        view.endpoint(0, "direct", Role::View, |asm| {
            asm.call(Op::MintData, &[RAM.into(), 8, 50]);
            report(asm, &[0]);
            attempt(asm);
        });
        // A Call endpoint below a View is as bound as the View.
        view.endpoint(1, "nested", Role::View, |asm| {
            asm.call(Op::Call, &[CALLEE.into(), 0]).halt();
        });
        let natives = [
            (slots::ATTESTATION, native(NativeKind::Attestation)),
            (slots::CONSENSUS, native(NativeKind::Consensus)),
        ];
        let mut table = natives.to_vec();
        table.push((CALLEE, instance(&inner, &natives)));
        let main = program(Role::Transact(0), |asm| {
            for endpoint in [0, 1] {
                asm.call(Op::Call, &[CALLEE.into(), endpoint]);
                report(asm, &[A0, A1]);
            }
            asm.halt_with(0);
        });
        let mut node = node(&main, &[(CALLEE, instance(&view, &table))]);
        let before = node.get(&[CALLEE]);
        let outcome = run(&mut node);
        let denied = vec![code(Status::Denied), 0];
        assert_eq!(reports(&outcome), [denied.clone(), denied], "{}", op.name());
        assert_eq!(node.get(&[CALLEE]), before);
        assert_eq!(node.head().score, 1);
    }
}

#[test]
fn a_called_view_answers_in_the_scratchpad() {
    let mut view = Program::new();
    let answer = view.data(b"answer");
    view.endpoint(0, "main", Role::View, |asm| {
        asm.call(Op::MintData, &[answer, 6, 0]).halt_with(3);
    });
    let main = program(Role::Transact(0), |asm| {
        asm.call(Op::Drop, &[0]).call(Op::Call, &[CALLEE.into(), 0]);
        report(asm, &[A0, A1]);
        asm.call(Op::Move, &[0, 55]).halt_with(0);
    });
    let mut node = node(&main, &[(CALLEE, instance(&view, &[]))]);
    assert_eq!(reports(&run(&mut node)), [[3, 0]]);
    assert_eq!(node.bytes(&[55]), Some(b"answer".to_vec()));
}

/// Instances within Instances, each calling the next and passing its answer up.
fn nested(levels: usize) -> Cap {
    let level = program(Role::Call, |asm| {
        asm.call(Op::Call, &[CALLEE.into(), 0]).halt();
    });
    (1..levels).fold(instance(&level, &[]), |inner, _| {
        instance(&level, &[(CALLEE, inner)])
    })
}

fn nested_answer(levels: usize, change: impl FnOnce(&mut Genesis)) -> u64 {
    let main = program(Role::Transact(0), |asm| {
        asm.call(Op::Call, &[CALLEE.into(), 0]).halt();
    });
    let mut genesis = genesis(&passing(&main));
    change(&mut genesis);
    let entries = [(CALLEE, nested(levels))];
    let outcome = run(&mut node_of(&genesis, &entries));
    assert_eq!(run(&mut Node::on_other_engine(&genesis, &entries)), outcome);
    match outcome.ending {
        Ending::Halted(value) => value,
        other => panic!("{other:?}"),
    }
}

#[test]
fn calls_nest_128_deep() {
    // The innermost finds its slot empty, unless it may not even ask.
    assert_eq!(nested_answer(127, |_| {}), code(Status::Empty));
    assert_eq!(nested_answer(128, |_| {}), code(Status::Depth));
    assert_eq!(nested_answer(200, |_| {}), code(Status::Depth));
}

#[test]
fn live_memory_is_bounded() {
    let frame = 16 * 4096;
    let limit = |frames: u64| move |g: &mut Genesis| g.params.max_live_memory = frames * frame;
    assert_eq!(nested_answer(3, limit(4)), code(Status::Empty));
    assert_eq!(nested_answer(3, limit(3)), code(Status::Quota));
    // One after the other they need no more than one.
    let callee = program(Role::Call, |asm| {
        asm.store(RAM, 0).halt_with(4);
    });
    let main = program(Role::Transact(0), |asm| {
        asm.set(0, 0);
        for _ in 0..5 {
            asm.call(Op::Call, &[CALLEE.into(), 0]).add(0, 0, A0);
        }
        asm.mov(A0, 0).halt();
    });
    let mut genesis = genesis(&passing(&main));
    genesis.params.max_live_memory = 2 * frame;
    let mut node = node_of(&genesis, &[(CALLEE, instance(&callee, &[]))]);
    assert_eq!(run(&mut node).ending, Ending::Halted(20));
}

#[test]
fn a_refused_call_changes_nothing() {
    let main = program(Role::Transact(0), |asm| {
        asm.call(Op::Call, &[41, 0]);
        report(asm, &[A0, A1]);
        asm.call(Op::Call, &[slots::CONSENSUS.into(), 1000]);
        report(asm, &[A0, A1]);
        asm.call(Op::Call, &[0, 0]);
        report(asm, &[A0, A1]);
        asm.call(Op::Move, &[0, 55]).halt();
    });
    let mut node = node(&main, &[(41, data(b"data"))]);
    let outcome = transact(&mut node, event(b"payload"));
    let refused = [Status::WrongKind, Status::NoEndpoint, Status::Busy];
    assert_eq!(
        reports(&outcome),
        refused.map(|status| vec![code(status), 3])
    );
    assert_eq!(node.bytes(&[55]), Some(b"payload".to_vec()));
}

#[test]
fn every_supported_operation_is_reached_by_its_number() {
    for call in Op::ALL {
        let main = program(Role::Transact(0), |asm| {
            asm.call(*call, &[0, 0, 0, 0, 0, 0]).halt_with(0);
        });
        let outcome = Node::new(&genesis(&main), &[]).simulate(0, &event([]));
        let unsupported = Ending::Faulted(Fault::NotSupported as u64);
        let is_supported = outcome.ending != unsupported;
        assert_eq!(is_supported, call.is_supported(), "{}", call.name());
    }
}

/// A fault gives back what counts against limits: bytes of records, live memory. So does a View,
/// which leaves no records.
#[test]
fn faults_and_views_give_back_their_part_of_limits() {
    let emit = |asm: &mut Asm| {
        asm.call(Op::MintData, &[RAM.into(), 40_000, 70])
            .call(Op::Emit, &[0, 0, 70])
            .call(Op::Drop, &[70]);
    };
    let faulting = program(Role::Call, |asm| {
        emit(asm);
        asm.trap();
    });
    let view = program(Role::View, |asm| {
        emit(asm);
        asm.halt_with(0);
    });
    let main = program(Role::Transact(0), |asm| {
        for _ in 0..3 {
            asm.call(Op::Call, &[CALLEE.into(), 0]).mov(2, A1);
        }
        asm.call(Op::MintData, &[RAM.into(), 40_000, 70])
            .call(Op::Emit, &[0, 0, 70])
            .mov(3, A0);
        report(asm, &[2, 3]);
        asm.halt_with(0);
    });
    let mut genesis = genesis(&passing(&main));
    // Room for the chain and one callee.
    genesis.params.max_live_memory = 2 * u64::from(RAM_PAGES) * 4096;
    for (callee, status) in [(faulting, CallStatus::Faulted), (view, CallStatus::Ok)] {
        let entries = [(CALLEE, instance(&callee, &[]))];
        for mut node in [
            node_of(&genesis, &entries),
            Node::on_other_engine(&genesis, &entries),
        ] {
            let outcome = run(&mut node);
            assert_eq!(outcome.ending, Ending::Halted(0));
            assert_eq!(outcome.records.len(), 2);
            let report = reports(&outcome).remove(1);
            assert_eq!(report, [status as u64, 0]);
        }
    }
}

/// Frames and machines serve one call after another: none sees anything of those before, not in
/// registers, memory, rights, prices or what is owed; of more programs than are kept at hand, too.
#[test]
fn a_call_finds_nothing_of_the_calls_before_it() {
    let callees = 12;
    // Halts with all that it finds and what the score tells, all of it 0 at first in a Call.
    let everything = |asm: &mut Asm| {
        asm.load(7, RAM).load(8, RAM + 5 * 4096).add(0, 0, 7);
        for register in [1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12] {
            asm.add(0, 0, register);
        }
        asm.call(Op::Score, &[slots::CONSENSUS.into(), 1000])
            .add(A0, 0, A0);
        for register in (0..=12).filter(|register| *register != A0) {
            asm.set(register, 99);
        }
        asm.store(RAM, 0).store(RAM + 5 * 4096, 0).halt();
    };
    let entries: Vec<(u8, Cap)> = (0..callees)
        .map(|index| {
            let mut callee = Program::new();
            callee.data(&[index]);
            callee.endpoint(0, "call", Role::Call, everything);
            callee.endpoint(1, "view", Role::View, everything);
            callee.endpoint(2, "fault", Role::Call, |asm| {
                asm.set(0, 99).store(RAM, 0).trap();
            });
            let table = [(slots::CONSENSUS, native(NativeKind::Consensus))];
            (CALLEE + index, instance(&callee, &table))
        })
        .collect();
    let rounds = [0, 1, 0, 2, 0, 0, 1];
    let main = program(Role::Transact(0), |asm| {
        for endpoint in rounds {
            for index in 0..u64::from(callees) {
                asm.call(Op::GasLeft, &[]).mov(4, A0);
                asm.call(Op::Call, &[u64::from(CALLEE) + index, endpoint])
                    .mov(5, A1)
                    .mov(6, A0);
                asm.call(Op::GasLeft, &[]).mov(3, A0);
                report(asm, &[3, 4, 5, 6]);
            }
        }
        asm.halt_with(0);
    });
    let mut genesis = genesis(&passing(&main));
    genesis.params.event_gas = 1 << 32;
    genesis.params.block_gas = 1 << 33;
    for mut node in [
        node_of(&genesis, &entries),
        Node::on_other_engine(&genesis, &entries),
    ] {
        let outcome = run(&mut node);
        assert_eq!(outcome.ending, Ending::Halted(0));
        let mut seen = reports(&outcome).into_iter();
        let mut spent = [None; 3];
        for (round, endpoint) in rounds.into_iter().enumerate() {
            for index in 0..callees {
                let report = seen.next().expect("one each");
                let told = match endpoint {
                    0 => [CallStatus::Ok as u64, 0],
                    1 => [CallStatus::Ok as u64, code(Status::Denied)],
                    _ => [CallStatus::Faulted as u64, Fault::Panic as u64],
                };
                assert_eq!(report[2..], told, "{round} {index}");
                // In the first round each pays for its code.
                if round > 0 {
                    let gas = report[1] - report[0];
                    let before = spent[endpoint as usize].replace(gas);
                    assert!(before.is_none_or(|before| before == gas), "{round} {index}");
                }
            }
        }
        assert_eq!(seen.next(), None);
    }
}

/// A call that changes nothing leaves the value that was there; one that changes something and
/// changes it back, an equal one.
#[test]
fn what_no_call_changed_is_as_it_was() {
    let callee = program(Role::Call, |asm| {
        asm.if_eq(A0, 1, |asm| {
            asm.call(Op::MintCnode, &[60]).call(Op::Drop, &[60]);
        })
        .if_eq(A0, 2, |asm| {
            asm.call(Op::MintCnode, &[60]);
        })
        .halt_with(0);
    });
    let main = |argument| {
        program(Role::Transact(0), |asm| {
            for argument in [0, argument, 0] {
                asm.call(Op::Call, &[CALLEE.into(), 0, argument]);
            }
            asm.halt_with(0);
        })
    };
    for argument in [0, 1, 2] {
        for table in [vec![], vec![(50, data(b"kept"))]] {
            let mut node = node(&main(argument), &[(CALLEE, instance(&callee, &table))]);
            let before = node.get(&[CALLEE]);
            assert_eq!(run(&mut node).ending, Ending::Halted(0));
            assert_eq!(node.get(&[CALLEE]) == before, argument != 2, "{argument}");
            assert_eq!(callee_bytes(&node, 50).is_some(), !table.is_empty());
        }
    }
}
