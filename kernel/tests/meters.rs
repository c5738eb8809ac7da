//! Rows of gas and quota: who pays, what runs short, and what a catcher does about it.

mod common;

use common::calls::*;
use common::program::RAM_PAGES;
use common::{A0, A1, Asm, Node, PERSIST, Program, RAM, genesis};
use jar_abi::{Fault, HostCall as Op, Status, slots};
use jar_cap::image::{Role, Source};
use jar_cap::{Cap, Key, NativeKind, Resource};
use jar_kernel::Params;
use jar_kernel::block::Ending;
use jar_pvm::isa::{Instruction, Opcode};

/// The row that callees spend from, and one behind it.
const ROW: u64 = 5;
const BEHIND: u64 = 6;
/// A row of gas for a callee that is watched for what it spends of it.
const GAS_ROW: u64 = 9;
const GAS_ROW_SLOT: u8 = 59;
const GAS_ROW_HOLDS: u64 = 30_000_000;
const CALLEE_SLOT: u64 = CALLEE as u64;

/// A callee that spends from [`ROW`].
fn metered(resource: Resource, program: Program) -> Cap {
    metered_with(resource, program, &[])
}

/// As [`metered`], with more in its table.
fn metered_with(resource: Resource, mut program: Program, entries: &[(u8, Cap)]) -> Cap {
    let (slot, kind) = match resource {
        Resource::Gas => (slots::GAS, NativeKind::Gas),
        Resource::Quota => (slots::QUOTA, NativeKind::Quota),
    };
    let list = vec![Key::from(slot), Key::from(slot + 50)];
    match resource {
        Resource::Gas => program.image.gas_slots = list,
        Resource::Quota => program.image.quota_slots = list,
    }
    let meters = [
        (slot, row_cap(kind, ROW)),
        (slot + 50, row_cap(kind, BEHIND)),
        (GAS_ROW_SLOT, row_cap(NativeKind::Gas, GAS_ROW)),
    ];
    instance(&program, &[&meters, entries].concat())
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

/// A chain that calls and tops up; it reports value, status, times, what is left, what is left
/// of [`GAS_ROW`].
fn helping(help: Help) -> Program {
    let Help {
        resource,
        step,
        times,
        detaches,
    } = help;
    let mut main = program(Role::Transact(0), |asm| {
        set_row(asm, resource, ROW, step);
        set_row(asm, Resource::Gas, GAS_ROW, GAS_ROW_HOLDS);
        asm.set(5, 0)
            .set(6, 1)
            .set(1, step)
            .call(Op::Call, &[CALLEE_SLOT, 0])
            .mov(2, A1)
            .mov(3, A0);
        for _ in 0..times {
            asm.if_eq(2, 2, |asm| {
                add_to_row(asm, resource, ROW, 1);
                if detaches {
                    asm.call(Op::Detach, &[CALLEE_SLOT]);
                    asm.if_eq(A0, code(Status::Quota), |asm| {
                        asm.trap();
                    });
                }
                asm.call(Op::Resume, &[CALLEE_SLOT])
                    .mov(2, A1)
                    .mov(3, A0)
                    .add(5, 5, 6);
            });
        }
        set_row(asm, resource, ROW, 0);
        asm.mov(4, A0);
        set_row(asm, Resource::Gas, GAS_ROW, 0);
        asm.mov(1, A0);
        report(asm, &[3, 2, 5, 4, 1]);
        asm.halt_with(0);
    });
    main.image.catcher_slot = Some(Key::from(slots::CATCHER));
    main
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
        let mut spent_gas = None;
        let mut held = None;
        let mut worker = worker();
        if let Resource::Quota = resource {
            worker.image.gas_slots = vec![Key::from(GAS_ROW_SLOT)];
        }
        let steps: [u64; 5] = match resource {
            Resource::Gas => [70_000, 71_007, 150_000, 400_000, 40_000_000],
            Resource::Quota => [900, 1_001, 2_000, 7_777, 4_000_000],
        };
        // What it costs to keep a frame that has written no page.
        let kept = match resource {
            Resource::Gas => Params::default().price_slot_write,
            Resource::Quota => 512,
        };
        for step in steps {
            for detaches in [false, true] {
                let help = Help {
                    resource,
                    step,
                    times: 80,
                    detaches,
                };
                let entries = [(CALLEE, metered(resource, worker.clone()))];
                let (node, outcome) = run_on_both(&helping(help), &entries);
                assert_eq!(outcome.ending, Ending::Halted(0), "{help:?}");
                let [report] = &reports(&outcome)[..] else {
                    panic!("one report: {outcome:?}");
                };
                let [value, status, times, left, left_gas] = report[..] else {
                    panic!("five numbers");
                };
                assert_eq!((value, status), (77, 0), "{help:?} {times}");
                assert!(times > 0 || step == steps[4], "{help:?}");
                let granted = step * (times + 1);
                assert!(left <= granted);
                let cost = granted - left - if detaches { times * kept } else { 0 };
                assert_eq!(*spent.get_or_insert(cost), cost, "{help:?}");
                // Nor is gas paid twice for what is tried again: but for what is kept.
                let gas = GAS_ROW_HOLDS - left_gas;
                let is_watched = resource == Resource::Quota;
                let kept_gas = if detaches && is_watched {
                    times * Params::default().price_slot_write
                } else {
                    0
                };
                let gas = gas - kept_gas;
                assert_eq!(gas > 0, is_watched);
                assert_eq!(*spent_gas.get_or_insert(gas), gas, "{help:?}");
                let state = node.get(&[CALLEE]);
                assert_eq!(*held.get_or_insert(state.clone()), state, "{help:?}");
            }
        }
    }
}

/// Running short is no operation on slot 0: a mapping that shows it is written back at the halt.
#[test]
fn running_short_leaves_the_mapping_of_slot_0() {
    let steps = [(Resource::Gas, 400_000), (Resource::Quota, 6_000)];
    for (resource, step) in steps {
        let mut worker = program(Role::Call, |asm| {
            asm.set(0, 7).store(PERSIST + 8, 0);
            for slot in 60..90 {
                asm.call(Op::MintCnode, &[slot]);
            }
            asm.store(PERSIST + 16, 0)
                .load(1, PERSIST + 8)
                .mov(A0, 1)
                .halt();
        });
        worker.persist(&[0], 0, 1);
        let keeping = program(Role::Call, |asm| {
            asm.call(Op::Call, &[CALLEE_SLOT, 0])
                .mov(0, A0)
                .call(Op::Copy, &[0, 60])
                .mov(A0, 0)
                .halt();
        });
        let keeping = instance(&keeping, &[(CALLEE, metered(resource, worker))]);
        let mut written = vec![0; 4096];
        (written[8], written[16]) = (7, 7);
        for (step, detaches) in [(40_000_000, false), (step, false), (step, true)] {
            let help = Help {
                resource,
                step,
                times: 20,
                detaches,
            };
            let entries = [(CALLEE, keeping.clone())];
            let (node, outcome) = run_on_both(&helping(help), &entries);
            let told = &reports(&outcome)[0];
            assert_eq!(told[..2], [7, 0], "{help:?}");
            assert_eq!(told[2] > 0, step < 40_000_000, "{help:?}");
            assert_eq!(callee_bytes(&node, 60).as_ref(), Some(&written), "{help:?}");
        }
    }
}

/// Touches pages of state and writes others, at starts of blocks and within, by loads, stores
/// and operations.
fn page_toucher() -> Program {
    let page = |index: u32| PERSIST + index * 4096;
    let in_memory = 1 << 63 | 10 << 32 | u64::from(page(5) + 4090);
    let mut toucher = program(Role::Call, |asm| {
        asm.call(Op::MintData, &[RAM.into(), 8, 0])
            .set(0, 7)
            .load(1, page(0))
            .store(RAM, 1)
            .if_eq(0, 1, |asm| {
                asm.trap();
            })
            // At the start of a block, over the border of two pages.
            .load(2, page(2) - 4)
            .add(3, 2, 1)
            .if_eq(0, 1, |asm| {
                asm.trap();
            })
            .store(RAM + 2 * 4096 - 4, 3)
            .call(Op::MintData, &[(page(3) + 5).into(), 100, 60])
            .call(Op::Kind, &[in_memory])
            .call(Op::ReadData, &[60, u64::from(RAM) + 4 * 4096 - 50, 100, 0])
            .call(
                Op::Hash,
                &[0, page(4).into(), 10, u64::from(RAM) + 6 * 4096 - 9],
            )
            .load(4, RAM + 4 * 4096)
            .store(RAM + 8 * 4096, 4)
            .call(Op::MintData, &[u64::from(RAM), 9 * 4096, 61])
            .halt_with(77);
    });
    toucher.persist(&[90], 0, 8);
    toucher
}

/// What pages cost is taken once, whoever runs short of it and goes on. A suspended call that was
/// written back touches its pages anew: it costs more, and does the same.
#[test]
fn pages_cost_the_same_however_often_their_payer_ran_short() {
    let mut spent = None;
    let mut held = None;
    let params = Params::default();
    // Two pages of state, first touched by one access.
    let least = 2 * params.price_page_read;
    let mut most_times = 0;
    for step in [least + 20_000, least + 40_007, 3 * least, 40_000_000] {
        for detaches in [false, true] {
            let help = Help {
                resource: Resource::Gas,
                step,
                times: 80,
                detaches,
            };
            let state = [(90, data(&[5; 20_000]))];
            let callee = metered_with(Resource::Gas, page_toucher(), &state);
            let (node, outcome) = run_on_both(&helping(help), &[(CALLEE, callee)]);
            let report = reports(&outcome).remove(0);
            let [value, status, times, left, _] = report[..] else {
                panic!("five numbers");
            };
            assert_eq!((value, status), (77, 0), "{help:?} {times}");
            let cost = step * (times + 1) - left;
            most_times = times.max(most_times);
            match detaches && times > 0 {
                false => assert_eq!(*spent.get_or_insert(cost), cost, "{help:?}"),
                true => assert!(Some(cost) > spent, "{help:?}"),
            }
            let state = node.get(&[CALLEE]);
            assert_eq!(*held.get_or_insert(state.clone()), state, "{help:?}");
        }
    }
    assert!(most_times > 5, "{most_times}");
    let pages = 7 * params.price_page_read + 9 * params.price_page_write;
    assert!(
        spent > Some(pages) && spent < Some(pages + 400_000),
        "{spent:?}"
    );
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
    let rows = |row, behind| [(ROW, row), (BEHIND, behind)];
    // Both rows are used up but for less than a block costs.
    let report = ending_with_rows(&rows(10_000, 20_000), spins());
    assert_eq!(report[..2], out);
    assert!(report[2] < 100 && report[3] < 100, "{report:?}");
    // A price that the first can't pay is paid by the second as a whole.
    let mints = || {
        program(Role::Call, |asm| {
            asm.call(Op::MintCnode, &[70]).halt_with(1);
        })
    };
    let report = ending_with_rows(&rows(20_000, 40_000), mints());
    assert_eq!(report[..2], [1, 0]);
    let [row, behind] = [report[2], report[3]];
    assert!(row > 19_000 && behind < 12_000, "{report:?}");
    // Neither alone suffices: nothing is done, no price is shared.
    let report = ending_with_rows(&rows(20_000, 20_000), mints());
    assert_eq!(report[..2], out);
    let [row, behind] = [report[2], report[3]];
    assert!(row > 19_000 && behind > 19_000, "{report:?}");
}

/// What was written before a frame moves on to another row is paid from the one before, however
/// much that holds for pages to come.
#[test]
fn a_row_that_is_left_has_paid_for_the_pages_written_on_it() {
    let params = Params::default();
    let bytes = 4096 * u64::from(RAM_PAGES);
    let copied = bytes / 64 * (params.price_copy_64 + params.price_hash_64);
    let pages = 3 * params.price_page_write;
    let all = u64::from(RAM_PAGES) * params.price_page_write;
    let writes = || {
        program(Role::Call, |asm| {
            for page in 0..3 {
                asm.store(RAM + page * 4096, 0);
            }
            asm.call(Op::MintData, &[RAM.into(), bytes, 70])
                .halt_with(1);
        })
    };
    // Too little for the operation; enough for all pages that could be written, or not.
    for row in [pages + 10_000, all - 10_000, all + 10_000] {
        assert!(row < copied);
        let report = ending_with_rows(&[(ROW, row), (BEHIND, 2 * copied)], writes());
        assert_eq!(report[..2], [1, 0]);
        let [paid, behind] = [row - report[2], 2 * copied - report[3]];
        assert!((pages..pages + 200).contains(&paid), "{row}: {paid}");
        assert!(
            (copied..copied + 60_000).contains(&behind),
            "{row}: {behind}"
        );
    }
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
        (slots::GAS, row_cap(NativeKind::Gas, ROW)),
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
            Some(row_cap(kind, ROW)),
            "the first of its list"
        );
    }
}

/// Written pages of [`RAM`] that [`page_writer`] leaves behind.
const WRITTEN: u32 = 12;

/// Writes pages, persistent ones too, and ends.
fn page_writer(end: fn(&mut Asm)) -> Program {
    let mut writer = program(Role::Call, |asm| {
        for page in 0..WRITTEN {
            asm.store(RAM + page * 4096, 0);
        }
        asm.store(PERSIST, 0);
        end(asm);
    });
    writer.persist(&[90], 0, 4);
    writer
}

/// Who runs short has paid for the pages it wrote, from its own row: what its catcher does with
/// that row later leaves nothing of them to the event.
#[test]
fn who_runs_short_has_paid_for_its_pages() {
    let price = Params::default().price_page_write;
    let left = |written: u32| {
        let callee = program(Role::Call, |asm| {
            for page in 0..written {
                asm.store(RAM + page * 4096, 0);
            }
            asm.call(Op::MintData, &[RAM.into(), 1 << 40, 70]);
        });
        let mut main = program(Role::Transact(0), |asm| {
            set_row(asm, Resource::Gas, ROW, 100 * price);
            asm.call(Op::Call, &[CALLEE_SLOT, 0]).mov(2, A1);
            set_row(asm, Resource::Gas, ROW, 0);
            asm.mov(3, A0).call(Op::Abort, &[CALLEE_SLOT]);
            report(asm, &[2, 3]);
            asm.halt_with(0);
        });
        main.image.catcher_slot = Some(Key::from(slots::CATCHER));
        let entries = [(CALLEE, metered(Resource::Gas, callee))];
        let (_, outcome) = run_on_both(&main, &entries);
        let report = reports(&outcome).remove(0);
        assert_eq!(report[0], 2, "caught");
        report[1]
    };
    for written in [0, 1, WRITTEN] {
        let paid = 100 * price - left(written);
        let pages = u64::from(written) * price;
        assert!((pages..pages + 200).contains(&paid), "{written}: {paid}");
    }
}

/// How a call ends, its value and status.
type End = (fn(&mut Asm), u64, u64);

fn endings() -> [End; 3] {
    [
        (
            |asm| {
                asm.halt_with(8);
            },
            8,
            0,
        ),
        (
            |asm| {
                asm.trap();
            },
            Fault::Panic as u64,
            1,
        ),
        (
            |asm| {
                asm.spin();
            },
            Fault::OutOfGas as u64,
            1,
        ),
    ]
}

/// Whatever a row holds, and however its frame ends, the event pays what the row does.
#[test]
fn no_frame_writes_pages_that_its_row_cannot_pay() {
    let params = Params::default();
    let pages = u64::from(RAM_PAGES + 4) * params.price_page_write;
    let written = u64::from(WRITTEN + 1) * params.price_page_write;
    let main = |row: u64| {
        let mut main = helping(Help {
            resource: Resource::Gas,
            step: row,
            times: 0,
            detaches: false,
        });
        main.image.catcher_slot = None;
        main
    };
    for (end, value, status) in endings() {
        let run = |row| {
            let entries = [(CALLEE, metered(Resource::Gas, page_writer(end)))];
            let (_, outcome) = run_on_both(&main(row), &entries);
            assert_eq!(outcome.ending, Ending::Halted(0));
            let report = reports(&outcome).remove(0);
            (report[0], report[1], row - report[3], outcome.gas_used)
        };
        let (_, _, none, idle) = run(0);
        assert_eq!(none, 0);
        let mut enough = None;
        let lasting = params.price_page_persist;
        let rows = [
            1,
            written,
            pages,
            written + lasting,
            pages + lasting,
            10 * pages,
        ];
        let around = |row| [row - 1, row, row + 100, row + 1000];
        for row in rows.into_iter().flat_map(around) {
            let (ended, how, spent, gas_used) = run(row);
            assert!(spent <= row);
            assert_eq!(gas_used - idle, spent, "the budget loses what the row does");
            if row < written {
                assert_eq!((ended, how), (Fault::OutOfGas as u64, 1), "{row}");
                let rest = params.price_page_write + 100;
                assert!(
                    row - spent < rest,
                    "as many pages as it could pay: {row} {spent}"
                );
            }
            if row >= written + params.price_page_persist + 1000 {
                assert_eq!((ended, how), (value, status), "{row}");
                assert!(spent >= written, "{row} {spent}");
            }
            // Whether there is enough for all pages that it could write makes no difference.
            if value == Fault::Panic as u64 && row >= written + 1000 {
                assert_eq!(*enough.get_or_insert(spent), spent, "{row}");
            }
        }
    }
    // Behind them a halt lacks what lasting pages cost: a fault, and not a yield.
    let mut main = main(written + 1000);
    main.image.catcher_slot = Some(Key::from(slots::CATCHER));
    let writer = page_writer(endings()[0].0);
    let (node, outcome) = run_on_both(&main, &[(CALLEE, metered(Resource::Gas, writer))]);
    let report = reports(&outcome).remove(0);
    assert_eq!(report[..2], [Fault::OutOfGas as u64, 1]);
    let spent = written + 1000 - report[3];
    assert!((written..written + 1000).contains(&spent), "{spent}");
    assert_eq!(callee_bytes(&node, 90), None);
}

/// A price beyond the budget is the row's trouble as long as the row holds less than that.
#[test]
fn no_price_is_high_enough_to_end_the_event_of_another() {
    let mints: fn(&mut Asm) = |asm| {
        asm.call(Op::MintData, &[RAM.into(), 1 << 40, 70])
            .halt_with(1);
    };
    let grows: fn(&mut Asm) = |asm| {
        asm.call(Op::MintData, &[PERSIST.into(), 1 << 21, 70])
            .halt_with(1);
    };
    let mut grower = program(Role::Call, grows);
    let source = Source::Ephemeral {
        init: None,
        eager: false,
    };
    grower.map(0, 512, source);
    let minter = program(Role::Call, mints);
    for (resource, callee) in [(Resource::Gas, minter), (Resource::Quota, grower)] {
        let mut main = program(Role::Transact(0), |asm| {
            set_row(asm, resource, ROW, 1_000_000);
            asm.call(Op::Call, &[CALLEE_SLOT, 0])
                .mov(2, A0)
                .mov(3, A1)
                .call(Op::MintCnode, &[91]);
            report(asm, &[2, 3]);
            asm.halt_with(0);
        });
        let mut genesis = genesis(&passing(&main));
        genesis.params.event_quota = 1 << 21;
        let entries = [(CALLEE, metered(resource, callee))];
        let mut nodes = [
            node_of(&genesis, &entries),
            Node::on_other_engine(&genesis, &entries),
        ];
        let fault = match resource {
            Resource::Gas => Fault::OutOfGas,
            Resource::Quota => Fault::OutOfQuota,
        };
        for node in &mut nodes {
            let outcome = run(node);
            assert_eq!(outcome.ending, Ending::Halted(0));
            assert_eq!(reports(&outcome), [[fault as u64, 1]]);
            assert!(node.get(&[91]).is_some(), "what the chain did stays");
        }
        // Where a catcher is asked, the same.
        main.image.catcher_slot = Some(Key::from(slots::CATCHER));
        let (_, outcome) = run_on_both(&main, &entries);
        assert_eq!(reports(&outcome), [[0, 2]]);
    }
}

/// Who keeps a frame of another's pays nothing for its pages.
#[test]
fn what_is_kept_pays_for_it() {
    let params = Params::default();
    let yielder = || {
        program(Role::Call, |asm| {
            for page in 0..WRITTEN {
                asm.store(RAM + page * 4096, 0);
            }
            asm.call(Op::Yield, &[61]).halt_with(5);
        })
    };
    let marker = instance(&Program::new(), &[]);
    let price = params.price_slot_write + u64::from(WRITTEN) * params.price_page_persist;
    let run = |rest: u64, quota: u64| {
        let mut main = program(Role::Transact(0), |asm| {
            asm.call(Op::Drop, &[0])
                .call(Op::Copy, &[61, 0])
                .call(Op::Call, &[slots::CATCHER.into(), 0])
                .call(Op::Drop, &[0]);
            set_row(asm, Resource::Gas, ROW, 1_000_000);
            asm.call(Op::Call, &[CALLEE_SLOT, 0]).mov(2, A1);
            set_row(asm, Resource::Gas, ROW, rest);
            set_row(asm, Resource::Quota, ROW, quota);
            asm.call(Op::Detach, &[CALLEE_SLOT]).mov(3, A0);
            set_row(asm, Resource::Gas, ROW, 0);
            asm.mov(5, A0);
            report(asm, &[2, 3, 5]);
            asm.halt_with(0);
        });
        main.image.catcher_slot = Some(Key::from(slots::CATCHER));
        let mut callee = yielder();
        callee.image.gas_slots = vec![Key::from(slots::GAS)];
        callee.image.quota_slots = vec![Key::from(slots::QUOTA)];
        let table = [
            (slots::GAS, row_cap(NativeKind::Gas, ROW)),
            (slots::QUOTA, row_cap(NativeKind::Quota, ROW)),
            (61, marker.clone()),
        ];
        let entries = [(CALLEE, instance(&callee, &table)), (61, marker.clone())];
        let (_, outcome) = run_on_both(&main, &entries);
        assert_eq!(outcome.ending, Ending::Halted(0));
        (reports(&outcome).remove(0), outcome.gas_used)
    };
    let bytes = 512 + u64::from(WRITTEN) * 4096;
    let (report, paid) = run(price, bytes);
    assert_eq!(report, [2, 0, 0]);
    let (report, _) = run(price + 77, bytes + 1);
    assert_eq!(report, [2, 0, 77]);
    for (gas, quota) in [(price - 1, bytes), (price, bytes - 1)] {
        let (report, unpaid) = run(gas, quota);
        assert_eq!(report, [2, code(Status::Quota), gas]);
        assert_eq!(paid - unpaid, price);
    }
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

/// A row that is filled again is not gone back to, until the frame is resumed.
#[test]
fn a_row_left_behind_is_not_gone_back_to() {
    let mut callee = program(Role::Call, |asm| {
        asm.call(Op::MintCnode, &[70]);
        set_row(asm, Resource::Gas, ROW, 1_000_000);
        asm.spin();
    });
    callee.image.gas_slots = vec![Key::from(slots::GAS), Key::from(slots::GAS + 50)];
    let table = [
        (slots::GAS, row_cap(NativeKind::Gas, ROW)),
        (slots::GAS + 50, row_cap(NativeKind::Gas, BEHIND)),
        (slots::SET_GAS_METER, native(NativeKind::SetGasMeter)),
    ];
    let main = program(Role::Transact(0), |asm| {
        set_row(asm, Resource::Gas, ROW, 20_000);
        set_row(asm, Resource::Gas, BEHIND, 1_000_000);
        asm.call(Op::Call, &[CALLEE_SLOT, 0]).mov(2, A0).mov(3, A1);
        set_row(asm, Resource::Gas, ROW, 0);
        asm.mov(4, A0);
        report(asm, &[2, 3, 4]);
        asm.halt_with(0);
    });
    let (_, outcome) = run_on_both(&main, &[(CALLEE, instance(&callee, &table))]);
    assert_eq!(reports(&outcome), [[Fault::OutOfGas as u64, 1, 1_000_000]]);
}

/// What a frame has written is paid before another one runs: the other finds it gone.
#[test]
fn written_pages_are_settled_before_another_frame_runs() {
    let price = Params::default().price_page_write;
    let write = |asm: &mut Asm, pages: u32| {
        for page in 0..pages {
            asm.store(RAM + page * 4096, 0);
        }
    };
    let left = |before_call: u32, before_resume: u32| {
        let mut main = program(Role::Transact(0), |asm| {
            asm.call(Op::Drop, &[0])
                .call(Op::Copy, &[61, 0])
                .call(Op::Call, &[slots::CATCHER.into(), 0])
                .call(Op::Drop, &[0]);
            write(asm, before_call);
            asm.call(Op::Call, &[CALLEE_SLOT, 0]);
            write(asm, before_resume);
            asm.call(Op::Resume, &[CALLEE_SLOT]);
            report(asm, &[A0]);
            asm.halt_with(0);
        });
        main.image.catcher_slot = Some(Key::from(slots::CATCHER));
        let callee = program(Role::Call, |asm| {
            asm.host(Op::GasLeft)
                .mov(2, A0)
                .call(Op::Yield, &[61])
                .host(Op::GasLeft);
            // Both are below 2^32.
            asm.set(3, 1 << 32)
                .op(Instruction {
                    rd: 2,
                    ra: 2,
                    rb: 3,
                    ..Instruction::from(Opcode::Mul64)
                })
                .add(A0, A0, 2)
                .halt();
        });
        let marker = instance(&Program::new(), &[]);
        let callee = instance(&callee, &[(61, marker.clone())]);
        let (_, outcome) = run_on_both(&main, &[(CALLEE, callee), (61, marker)]);
        let both = reports(&outcome)[0][0];
        (both >> 32, both & u64::from(u32::MAX))
    };
    let (called, resumed) = left(0, 0);
    let settled = |before: u64, after: u64, pages: u64| {
        let spent = before - after;
        (pages * price..pages * price + price).contains(&spent)
    };
    let with = left(8, 0);
    assert!(settled(called, with.0, 8), "{called} {with:?}");
    let with = left(0, 8);
    assert!(settled(called, with.0, 0), "{called} {with:?}");
    assert!(settled(resumed, with.1, 8), "{resumed} {with:?}");
}
