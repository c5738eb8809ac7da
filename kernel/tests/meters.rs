//! Rows of gas and quota: who pays, what runs short, and what a catcher does about it.

mod common;

use common::calls::*;
use common::{A0, A1, Asm, Node, PERSIST, Program, RAM, genesis};
use jar_abi::{Fault, HostCall as Op, slots};
use jar_cap::image::Role;
use jar_cap::{Cap, Instance, Key, NativeKind, Resource};
use jar_kernel::Params;
use jar_kernel::block::{Ending, Outcome};
use parity_scale_codec::Encode;

/// The row that callees spend from, and one behind it.
const ROW: u64 = 5;
const BEHIND: u64 = 6;
const CALLEE_SLOT: u64 = CALLEE as u64;

fn cap(kind: NativeKind, row: u64) -> Cap {
    Cap::Instance(Instance::native(kind, row.encode()))
}

fn setter(resource: Resource) -> u64 {
    match resource {
        Resource::Gas => slots::SET_GAS_METER.into(),
        Resource::Quota => slots::SET_STORAGE_QUOTA.into(),
    }
}

/// A callee that spends from [`ROW`].
fn metered(resource: Resource, mut program: Program) -> Cap {
    let (slot, kind) = match resource {
        Resource::Gas => (slots::GAS, NativeKind::Gas),
        Resource::Quota => (slots::QUOTA, NativeKind::Quota),
    };
    let list = vec![Key::from(slot), Key::from(slot + 50)];
    match resource {
        Resource::Gas => program.image.gas_slots = list,
        Resource::Quota => program.image.quota_slots = list,
    }
    instance(
        &program,
        &[(slot, cap(kind, ROW)), (slot + 50, cap(kind, BEHIND))],
    )
}

fn set_row(asm: &mut Asm, resource: Resource, row: u64, value: u64) {
    asm.call(Op::Call, &[setter(resource), 0, row, value]);
}

/// Adds to a row what a register holds. Spoils φ4.
fn add_to_row(asm: &mut Asm, resource: Resource, row: u64, register: u8) {
    set_row(asm, resource, row, 0);
    asm.add(4, A0, register)
        .set(A0, setter(resource))
        .set(A1, 0)
        .set(9, row)
        .mov(10, 4)
        .host(Op::Call);
}

/// How a chain helps a callee on that runs short.
#[derive(Clone, Copy, Debug)]
struct Help {
    resource: Resource,
    /// What a row is given at first, and each time.
    step: u64,
    /// How often at the most.
    times: usize,
    detaches: bool,
}

/// A chain that calls and tops up; it reports value, status, times, what is left.
fn helping(help: Help) -> Program {
    let Help {
        resource,
        step,
        times,
        detaches,
    } = help;
    let mut main = program(Role::Transact(0), |asm| {
        set_row(asm, resource, ROW, step);
        asm.set(5, 0)
            .set(6, 1)
            .set(1, step)
            .call(Op::Call, &[CALLEE_SLOT, 0])
            .mov(2, A1)
            .mov(3, A0);
        for _ in 0..times {
            asm.if_eq(2, 2, |asm| {
                if detaches {
                    asm.call(Op::Detach, &[CALLEE_SLOT]);
                }
                add_to_row(asm, resource, ROW, 1);
                asm.call(Op::Resume, &[CALLEE_SLOT])
                    .mov(2, A1)
                    .mov(3, A0)
                    .add(5, 5, 6);
            });
        }
        set_row(asm, resource, ROW, 0);
        asm.mov(4, A0);
        report(asm, &[3, 2, 5, 4]);
        asm.halt_with(0);
    });
    main.image.catcher_slot = Some(Key::from(slots::CATCHER));
    main
}

/// The outcome of an event, and the state after it, the same on both engines.
fn run_on_both(main: &Program, entries: &[(u8, Cap)]) -> (Node, Outcome) {
    let genesis = genesis(&passing(main));
    let mut node = node_of(&genesis, entries);
    let outcome = run(&mut node);
    let mut other = Node::on_other_engine(&genesis, entries);
    assert_eq!(outcome, run(&mut other), "engines agree");
    assert_eq!(
        node.head().header.state_root,
        other.head().header.state_root
    );
    (node, outcome)
}

/// Work of all sorts whose gas does not depend on what is left: blocks, operations at the
/// start of a block and within, a scratchpad in use.
fn worker() -> Program {
    let mut worker = Program::new();
    let bytes = worker.data(&[7; 500]);
    worker.endpoint(0, "work", Role::Call, |asm| {
        asm.call(Op::MintData, &[bytes, 100, 0]);
        for slot in 60..80 {
            asm.set(0, slot).if_eq(0, 1, |asm| {
                asm.trap();
            });
            // The operation begins a block: its arguments come before.
            asm.set(A0, bytes)
                .set(A1, 300)
                .set(9, slot)
                .if_eq(0, 1, |asm| {
                    asm.trap();
                })
                .host(Op::MintData)
                .call(Op::Copy, &[slot, slot + 100]);
        }
        asm.call(Op::Copy, &[0, 59]).halt_with(77);
    });
    worker
}

#[test]
fn topping_up_costs_the_callee_what_it_would_have_cost_at_once() {
    for resource in [Resource::Gas, Resource::Quota] {
        let mut spent = None;
        let mut held = None;
        let steps: [u64; 5] = match resource {
            Resource::Gas => [60_000, 61_007, 150_000, 400_000, 40_000_000],
            Resource::Quota => [440, 501, 2_000, 7_777, 4_000_000],
        };
        for step in steps {
            for detaches in [false, true] {
                let help = Help {
                    resource,
                    step,
                    times: 80,
                    detaches,
                };
                let entries = [(CALLEE, metered(resource, worker()))];
                let (node, outcome) = run_on_both(&helping(help), &entries);
                assert_eq!(outcome.ending, Ending::Halted(0), "{help:?}");
                let [report] = &reports(&outcome)[..] else {
                    panic!("one report: {outcome:?}");
                };
                let [value, status, times, left] = report[..] else {
                    panic!("four numbers");
                };
                assert_eq!((value, status), (77, 0), "{help:?} {times}");
                assert!(times > 0 || step == steps[4], "{help:?}");
                let granted = step * (times + 1);
                assert!(left <= granted);
                assert_eq!(
                    *spent.get_or_insert(granted - left),
                    granted - left,
                    "{help:?}"
                );
                let state = node.get(&[CALLEE]);
                assert_eq!(*held.get_or_insert(state.clone()), state, "{help:?}");
            }
        }
    }
}

/// One callee; the rows it may spend from, and how its call must end.
fn ending_with_rows(rows: &[(u64, u64)], callee: Program) -> Vec<u64> {
    let main = program(Role::Transact(0), |asm| {
        for (row, value) in rows {
            set_row(asm, Resource::Gas, *row, *value);
        }
        asm.call(Op::Call, &[CALLEE_SLOT, 0]).mov(2, A0).mov(3, A1);
        for row in [ROW, BEHIND] {
            set_row(asm, Resource::Gas, row, 0);
            asm.mov((row - ROW) as u8, A0);
        }
        report(asm, &[2, 3, 0, 1]);
        asm.halt_with(0);
    });
    let entries = [(CALLEE, metered(Resource::Gas, callee))];
    let (_, outcome) = run_on_both(&main, &entries);
    assert_eq!(outcome.ending, Ending::Halted(0), "{rows:?}");
    reports(&outcome).remove(0)
}

#[test]
fn a_frame_falls_back_to_a_row_with_enough_and_not_back() {
    let spins = || {
        program(Role::Call, |asm| {
            asm.spin();
        })
    };
    let out = [Fault::OutOfGas as u64, 1];
    // Both rows are used up but for less than a block costs.
    let report = ending_with_rows(&[(ROW, 10_000), (BEHIND, 20_000)], spins());
    assert_eq!(report[..2], out);
    assert!(report[2] < 100 && report[3] < 100, "{report:?}");
    // A price that the first can't pay is paid by the second as a whole.
    let mints = || {
        program(Role::Call, |asm| {
            asm.call(Op::MintCnode, &[70]).halt_with(1);
        })
    };
    let report = ending_with_rows(&[(ROW, 20_000), (BEHIND, 40_000)], mints());
    assert_eq!(report[..2], [1, 0]);
    assert!(report[2] > 19_000 && report[3] < 12_000, "{report:?}");
    // Neither alone suffices: nothing is done, no price is shared.
    let report = ending_with_rows(&[(ROW, 20_000), (BEHIND, 20_000)], mints());
    assert_eq!(report[..2], out);
    assert!(report[2] > 19_000 && report[3] > 19_000, "{report:?}");
}

#[test]
fn an_image_without_meters_spends_its_owners() {
    let inner = program(Role::Call, |asm| {
        asm.spin();
    });
    let callee = program(Role::Call, |asm| {
        asm.call(Op::Call, &[CALLEE_SLOT, 0])
            .call(Op::MintCnode, &[70])
            .halt_with(3);
    });
    let mut main = helping(Help {
        resource: Resource::Gas,
        step: 200_000,
        times: 0,
        detaches: false,
    });
    main.image.catcher_slot = None;
    let mut callee = callee;
    callee.image.gas_slots = vec![Key::from(slots::GAS)];
    let table = [
        (slots::GAS, cap(NativeKind::Gas, ROW)),
        (CALLEE, instance(&inner, &[])),
    ];
    let (_, outcome) = run_on_both(&main, &[(CALLEE, instance(&callee, &table))]);
    assert_eq!(outcome.ending, Ending::Halted(0));
    // The inner one used the row up, so that its caller could not go on either.
    let report = &reports(&outcome)[0];
    assert_eq!(report[..2], [Fault::OutOfGas as u64, 1]);
    assert!(outcome.gas_used < 2_000_000);
}

#[test]
fn the_catcher_is_given_the_cap_that_ran_dry() {
    for resource in [Resource::Gas, Resource::Quota] {
        let mut main = program(Role::Transact(0), |asm| {
            set_row(asm, resource, BEHIND, 1);
            asm.call(Op::MintCnode, &[0])
                .call(Op::Call, &[CALLEE_SLOT, 0])
                .mov(2, A1)
                .call(Op::Move, &[0, 90])
                .mov(3, A0);
            report(asm, &[2, 3]);
            asm.halt_with(0);
        });
        main.image.catcher_slot = Some(Key::from(slots::CATCHER));
        let entries = [(CALLEE, metered(resource, worker()))];
        let (node, outcome) = run_on_both(&main, &entries);
        assert_eq!(reports(&outcome), [[2, 0]]);
        let kind = match resource {
            Resource::Gas => NativeKind::Gas,
            Resource::Quota => NativeKind::Quota,
        };
        assert_eq!(
            node.get(&[90]),
            Some(cap(kind, ROW)),
            "the first of its list"
        );
    }
}

#[test]
fn pages_that_a_row_cannot_pay_fault_and_count_against_the_budget() {
    let price = Params::default().price_page_write;
    let writes = program(Role::Call, |asm| {
        for page in 0..16 {
            asm.store(RAM + page * 4096, 0);
        }
        asm.halt_with(0);
    });
    let main = |row: u64| {
        let mut main = helping(Help {
            resource: Resource::Gas,
            step: row,
            times: 1,
            detaches: false,
        });
        main.image.catcher_slot = Some(Key::from(slots::CATCHER));
        main
    };
    let run = |row| {
        let entries = [(CALLEE, metered(Resource::Gas, writes.clone()))];
        let (_, outcome) = run_on_both(&main(row), &entries);
        assert_eq!(outcome.ending, Ending::Halted(0));
        (reports(&outcome).remove(0), outcome.gas_used)
    };
    let (paid, full) = run(100_000);
    assert_eq!(paid[..2], [0, 0]);
    let (unpaid, short) = run(2_000);
    assert_eq!(unpaid, [Fault::OutOfGas as u64, 1, 0, 0], "not yielded");
    // The report's own price differs by nothing: what was written was paid by the budget.
    assert!(short + price > full, "{short} {full}");
}

#[test]
fn whatever_its_rows_hold_an_event_ends_with_its_budget() {
    let event_gas = Params::default().event_gas;
    for resource in [Resource::Gas, Resource::Quota] {
        let endless: fn(&mut Asm) = match resource {
            Resource::Gas => |asm| {
                asm.spin();
            },
            Resource::Quota => |asm| {
                for slot in 60..128 {
                    asm.call(Op::MintData, &[RAM.into(), 65_536, slot]);
                }
                asm.halt_with(0);
            },
        };
        let mut main = program(Role::Transact(0), |asm| {
            for row in [0, ROW] {
                set_row(asm, resource, row, u64::MAX);
            }
            asm.call(Op::Call, &[CALLEE_SLOT, 0]).halt_with(0);
        });
        main.image.catcher_slot = Some(Key::from(slots::CATCHER));
        let entries = [(CALLEE, metered(resource, program(Role::Call, endless)))];
        let (_, outcome) = run_on_both(&main, &entries);
        let fault = match resource {
            Resource::Gas => Fault::OutOfGas,
            Resource::Quota => Fault::OutOfQuota,
        };
        assert_eq!(
            outcome.ending,
            Ending::Faulted(fault as u64),
            "past the catcher"
        );
        assert!(outcome.gas_used <= event_gas);
        assert_eq!(outcome.records, []);
    }
}

/// The chain's own row, set low, is its end: nobody owns it.
#[test]
fn the_roots_own_shortage_is_a_fault() {
    for resource in [Resource::Gas, Resource::Quota] {
        let mut main = program(Role::Transact(0), |asm| {
            asm.call(Op::MintCnode, &[70]);
            set_row(asm, resource, 0, 10);
            asm.call(Op::MintCnode, &[71]).halt_with(0);
        });
        main.image.catcher_slot = Some(Key::from(slots::CATCHER));
        let (node, outcome) = run_on_both(&main, &[(CALLEE, data(b""))]);
        let fault = match resource {
            Resource::Gas => Fault::OutOfGas,
            Resource::Quota => Fault::OutOfQuota,
        };
        assert_eq!(outcome.ending, Ending::Faulted(fault as u64));
        assert_eq!(node.get(&[70]), None);
    }
}

/// A halt that lacks quota for what it writes back is tried again when there is some.
#[test]
fn a_halt_is_retried_with_more_quota() {
    for halts in [Op::Halt as u64, u64::MAX] {
        let mut callee = program(Role::Call, |asm| {
            asm.store(PERSIST, A0).store(PERSIST + 4096, A0);
            asm.set(A0, 8);
            match halts {
                u64::MAX => asm.jump_to_halt(),
                _ => asm.halt(),
            };
        });
        callee.persist(&[90], 0, 2);
        for (times, expected) in [(3, [8, 0, 3]), (2, [0, 2, 2])] {
            let help = Help {
                resource: Resource::Quota,
                step: 2_500,
                times,
                detaches: false,
            };
            let entries = [(CALLEE, metered(Resource::Quota, callee.clone()))];
            let (node, outcome) = run_on_both(&helping(help), &entries);
            assert_eq!(reports(&outcome)[0][..3], expected);
            let written = callee_bytes(&node, 90).map(|bytes| bytes.len());
            assert_eq!(written, (times == 3).then_some(8192));
        }
    }
}
