//! What it costs to keep a suspended value and to resume it, and what becomes of it where gas runs
//! short.

mod common;

use common::calls::*;
use common::chain::event;
use common::program::RAM_PAGES;
use common::{A0, A1, Asm, Node, PERSIST, Program, RAM, genesis, path};
use jar_abi::{Fault, HostCall as Op, Status, slots};
use jar_cap::image::Role;
use jar_cap::{Cap, Key, NativeKind, Resource};
use jar_kernel::Params;
use jar_kernel::block::{Ending, Outcome};

const CATCHER: u8 = slots::CATCHER;
const MARKER: u8 = 60;
const CALLEE_SLOT: u64 = CALLEE as u64;
/// Where the outermost one of the chain keeps what it calls.
const NESTED: [u8; 4] = [41, 1, 1, 1];
/// The row that pays for the chain's resumption, and what it holds where it never runs short.
const ROW: u64 = 5;
const PLENTY: u64 = 10_000_000;
/// What the yielder halts with.
const DONE: u64 = 9;

/// A suspended chain's Instances, the outermost first, with the price of each link.
struct Links {
    outermost: Cap,
    /// Encoded bytes of the Image, and keys of the path to the next link or 1.
    links: [(u64, u64); 3],
}

/// The first one calls through maps, the second from its table, the third yields.
fn links() -> Links {
    let calls = |callee: u64| {
        program(Role::Call, |asm| {
            asm.call(Op::Call, &[callee, 0]).halt();
        })
    };
    let yielder = program(Role::Call, |asm| {
        asm.call(Op::Yield, &[MARKER.into()]).halt_with(DONE);
    });
    let (first, second) = (calls(path(&NESTED)), calls(CALLEE_SLOT));
    let size =
        |program: &Program| parity_scale_codec::Encode::encoded_size(&program.build()) as u64;
    let links = [
        (size(&first), NESTED.len() as u64),
        (size(&second), 1),
        (size(&yielder), 1),
    ];
    let last = instance(&yielder, &[(MARKER, marker(1))]);
    let nested = (1..NESTED.len()).fold(instance(&second, &[(CALLEE, last)]), |inner, _| {
        Cap::CNode(table(&[(1, inner)]))
    });
    Links {
        outermost: instance(&first, &[(NESTED[0], nested)]),
        links,
    }
}

/// What is charged one after the other, in the block after the one in which the chain was
/// suspended: for each link its Image and the link itself, and for the operation.
fn prices(links: &[(u64, u64)]) -> Vec<u64> {
    let params = Params::default();
    let (key, slot) = (params.price_path_key, params.price_slot_write);
    let of_link = |(size, keys): &(u64, u64)| {
        let image = size.div_ceil(64) * params.price_enter_64;
        // Each Image has one mapping.
        [image, params.price_call + key + slot + (1 + keys) * key]
    };
    let operation = params.price_host_call + key + slot + params.price_call;
    let prices = links.iter().flat_map(of_link);
    prices.chain([operation]).collect()
}

/// Who detaches the chain, endpoint 0, and resumes it, endpoint 1; spends from [`ROW`].
fn resumer(outermost: Cap) -> Cap {
    let mut resumer = Program::new();
    resumer.endpoint(0, "suspend", Role::Call, |asm| {
        asm.call(Op::Call, &[CALLEE_SLOT, 0])
            .call(Op::Detach, &[CALLEE_SLOT])
            .halt();
    });
    resumer.endpoint(1, "resume", Role::Call, |asm| {
        asm.call(Op::Resume, &[CALLEE_SLOT]).halt();
    });
    let mut resumer = catching(resumer);
    resumer.image.gas_slots = vec![Key::from(slots::GAS)];
    let entries = [
        (CATCHER, catcher([1])),
        (slots::GAS, row_cap(NativeKind::Gas, ROW)),
        (CALLEE, outermost),
    ];
    instance(&resumer, &entries)
}

/// The chain: suspends on an empty payload; on another it resumes with `first` in the row, tops
/// up by each of `steps` while the row runs short, and reports what the row holds each time.
/// Before it goes on with who ran short it may detach him.
fn topping_up(first: u64, steps: &[u64], detaches: bool) -> Program {
    let report_row = |asm: &mut Asm| {
        set_row(asm, Resource::Gas, ROW, 0);
        asm.mov(1, A0);
        report(asm, &[1, 2, 3]);
    };
    catching(program(Role::Transact(0), |asm| {
        asm.call(Op::ReadData, &[0, RAM.into(), 8, 0])
            .mov(4, A0)
            .call(Op::Drop, &[0]);
        asm.if_eq(4, 0, |asm| {
            set_row(asm, Resource::Gas, ROW, PLENTY);
            asm.call(Op::Call, &[CALLEE_SLOT, 0]).halt();
        });
        set_row(asm, Resource::Gas, ROW, first);
        asm.call(Op::Call, &[CALLEE_SLOT, 1]).mov(2, A1).mov(3, A0);
        for step in steps {
            asm.if_eq(2, 2, |asm| {
                report_row(asm);
                asm.set(5, *step).add(1, 1, 5);
                add_to_row(asm, Resource::Gas, ROW, 1);
                if detaches {
                    asm.call(Op::Detach, &[CALLEE_SLOT]);
                }
                asm.call(Op::Drop, &[0])
                    .call(Op::Resume, &[CALLEE_SLOT])
                    .mov(2, A1)
                    .mov(3, A0);
            });
        }
        report_row(asm);
        asm.halt_with(0);
    }))
}

/// What the row holds whenever it runs short, and at the end; built on one engine and imported
/// on the other.
fn resumed(main: &Program, outermost: &Cap) -> Vec<u64> {
    let genesis = genesis(&passing(main));
    let entries = [(CALLEE, resumer(outermost.clone()))];
    let mut node = node_of(&genesis, &entries);
    let mut other = Node::on_other_engine(&genesis, &entries);
    let mut outcomes: Vec<Outcome> = Vec::new();
    for payload in [&[][..], &[1]] {
        node.dispatch(9, event(payload)).expect("accepted");
        let built = node.build().expect("built");
        assert_eq!(other.import(&built.block).expect("valid").hash, built.hash);
        outcomes.extend(built.outcomes);
    }
    assert_eq!(outcomes[0].ending, Ending::Halted(0), "detached");
    assert_eq!(outcomes[1].ending, Ending::Halted(0));
    let told = reports(&outcomes[1]);
    let (last, short) = told.split_last().expect("a report");
    assert_eq!(last[1..], [0, DONE], "{told:?}");
    assert!(short.iter().all(|report| report[1] == 2), "{told:?}");
    told.iter().map(|report| report[0]).collect()
}

/// Who resumes a chain pays for each link as it is found. Short of the next one, he has paid for
/// those before and nothing else; with just enough he goes on from there, and pays in the end
/// what he had paid at once.
#[test]
fn a_chain_is_paid_for_link_by_link() {
    let Links { outermost, links } = links();
    let prices = prices(&links);
    let start = 1_000;
    let at_first = resumed(&topping_up(start, &[PLENTY], false), &outermost)[0];
    assert!(at_first < start, "the block before is paid");
    let (mut steps, mut expected) = (Vec::new(), vec![at_first]);
    let mut left = at_first;
    for price in &prices {
        steps.extend([price - left - 1, 1]);
        // One unit short nothing is charged; then all of it.
        expected.extend([price - 1, 0]);
        left = 0;
    }
    // What is resumed is in the middle of blocks that are paid.
    assert_eq!(
        resumed(&topping_up(start, &steps, false), &outermost),
        expected
    );
    let spent = start + steps.iter().sum::<u64>();
    let at_once = resumed(&topping_up(PLENTY, &[], false), &outermost);
    assert_eq!(at_once, [PLENTY - spent]);
}

/// What is written back while it looks for a chain looks for it anew, and pays for the links again.
#[test]
fn who_is_detached_in_between_starts_over() {
    let Links { outermost, links } = links();
    let prices = prices(&links);
    let params = Params::default();
    // Enough for two links and their Images.
    let start = 1_000 + prices[..4].iter().sum::<u64>();
    let resumed = |main| resumed(&main, &outermost);
    let spent = PLENTY - resumed(topping_up(PLENTY, &[], false))[0];
    let given = start + PLENTY;
    let goes_on = resumed(topping_up(start, &[PLENTY], false));
    assert_eq!(goes_on[1], given - spent);
    let starts_over = resumed(topping_up(start, &[PLENTY], true));
    assert_eq!(starts_over[0], goes_on[0]);
    // An Image is paid for once an event; to be kept costs a slot.
    let again = prices[1] + prices[3] + params.price_slot_write;
    assert_eq!(starts_over[1], given - spent - again);
}

/// What waits within a subtree is written back with it, and pays for its slot.
#[test]
fn what_waits_within_costs_its_slot_to_be_kept() {
    const OTHER: u8 = MARKER + 1;
    let detach = |inner_yields: bool| {
        let inner = program(Role::Call, |asm| {
            if inner_yields {
                asm.call(Op::Yield, &[MARKER.into()]);
            }
            asm.halt_with(0);
        });
        let middle = catching(program(Role::Call, |asm| {
            asm.call(Op::Call, &[CALLEE_SLOT, 0])
                .call(Op::Yield, &[OTHER.into()])
                .halt_with(0);
        }));
        let table = [
            (CATCHER, catcher([1])),
            (OTHER, marker(2)),
            (CALLEE, instance(&inner, &[(MARKER, marker(1))])),
        ];
        let main = catching(program(Role::Transact(0), |asm| {
            asm.call(Op::Call, &[CALLEE_SLOT, 0])
                .call(Op::GasLeft, &[])
                .mov(0, A0)
                .call(Op::Detach, &[CALLEE_SLOT])
                .mov(1, A0)
                .call(Op::GasLeft, &[])
                .mov(2, A0);
            report(asm, &[0, 1, 2]);
            asm.halt_with(0);
        }));
        let entries = [(CATCHER, catcher([2])), (CALLEE, instance(&middle, &table))];
        let outcome = node_of(&genesis(&main), &entries).simulate(0, &event([]));
        let told = reports(&outcome);
        let [before, 0, after] = told[0][..] else {
            panic!("detached: {told:?}");
        };
        before - after
    };
    let params = Params::default();
    let more = params.price_slot_write + params.price_path_key;
    assert_eq!(detach(true), detach(false) + more);
}

/// Who ran short has not paid for the lasting of its pages, nor their quota and that of the slot
/// that they fill: keeping it does.
#[test]
fn what_is_kept_of_who_ran_short_is_paid_for() {
    const PAGES: u64 = 3;
    let mut callee = program(Role::Call, |asm| {
        for page in 0..PAGES as u32 {
            asm.store(PERSIST + page * 4096, 0);
        }
        asm.spin();
    });
    callee.persist(&[90], 0, 4);
    callee.image.gas_slots = vec![Key::from(slots::GAS)];
    callee.image.quota_slots = vec![Key::from(slots::QUOTA)];
    let table = [
        (slots::GAS, row_cap(NativeKind::Gas, ROW)),
        (slots::QUOTA, row_cap(NativeKind::Quota, ROW)),
    ];
    let params = Params::default();
    let gas = params.price_slot_write + PAGES * params.price_page_persist;
    let quota = 512 + PAGES * 4096 + params.quota_slot + 1;
    for (gas, quota, status) in [
        (gas, quota, 0),
        (gas - 1, quota, code(Status::Quota)),
        (gas, quota - 1, code(Status::Quota)),
    ] {
        let main = catching(program(Role::Transact(0), |asm| {
            set_row(asm, Resource::Gas, ROW, 100_000);
            asm.call(Op::Call, &[CALLEE_SLOT, 0]).mov(2, A1);
            set_row(asm, Resource::Gas, ROW, gas);
            set_row(asm, Resource::Quota, ROW, quota);
            asm.call(Op::Detach, &[CALLEE_SLOT]).mov(3, A0);
            report(asm, &[2, 3]);
            asm.halt_with(0);
        }));
        let (node, outcome) = run_on_both(&main, &[(CALLEE, instance(&callee, &table))]);
        assert_eq!(reports(&outcome), [[2, status]]);
        let written = callee_bytes(&node, 90).map(|bytes| bytes.len() as u64);
        assert_eq!(written, (status == 0).then_some(PAGES * 4096));
    }
}

/// What others pay for keeping leaves in the budget what the pages cost that the running frame has
/// written.
#[test]
fn who_keeps_has_paid_for_its_own_pages() {
    let mut callee = program(Role::Call, |asm| {
        asm.call(Op::Yield, &[61]).halt();
    });
    callee.image.gas_slots = vec![Key::from(slots::GAS)];
    let table = [(slots::GAS, row_cap(NativeKind::Gas, ROW)), (61, marker(1))];
    let entries = [
        (CALLEE, instance(&callee, &table)),
        (slots::CATCHER, catcher([1])),
    ];
    let mut genesis = genesis(&catching(program(Role::Transact(0), |asm| {
        set_row(asm, Resource::Gas, ROW, 1_000_000);
        asm.call(Op::Call, &[CALLEE_SLOT, 0]);
        for page in 0..RAM_PAGES {
            asm.store(RAM + page * 4096, 0);
        }
        asm.call(Op::Detach, &[CALLEE_SLOT]).halt();
    })));
    let mut run = |gas| {
        genesis.params.event_gas = gas;
        let outcome = node_of(&genesis, &entries).simulate(0, &event([]));
        let other = Node::on_other_engine(&genesis, &entries);
        assert_eq!(other.simulate(0, &event([])), outcome);
        outcome
    };
    let gas = run(Params::default().event_gas).gas_used;
    assert_eq!(run(gas).ending, Ending::Halted(0));
    // The whole block of code is paid when it begins: nothing is charged behind the detach.
    let short = run(gas - 1);
    assert_eq!(short.ending, Ending::Faulted(Fault::OutOfGas as u64));
}
