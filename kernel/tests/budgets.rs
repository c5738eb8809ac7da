//! Gas and quota: what is charged, and what their end does.

mod common;

use common::calls::*;
use common::chain::{event, genesis_of};
use common::{Asm, Node, PERSIST, RAM, genesis, key};
use jar_abi::{Fault, HostCall as Op};
use jar_cap::Cap;
use jar_cap::image::{Image, Role, Source};
use jar_kernel::block::Ending;
use parity_scale_codec::Encode;

fn gas_of(image: &Image) -> u64 {
    let node = Node::new(&genesis_of(image), &[]);
    let outcome = node.simulate(0, &event([]));
    assert_eq!(outcome.ending, Ending::Halted(0));
    outcome.gas_used
}

#[test]
fn each_written_page_has_its_price_once() {
    let params = jar_kernel::Params::default();
    let stores = |addresses: &[u32]| {
        let mut main = program(Role::Transact(0), |asm| {
            for address in addresses {
                asm.store(*address, 0);
            }
            asm.halt_with(0);
        });
        main.persist(&[41], 0, 4);
        gas_of(&main.build())
    };
    let one = stores(&[RAM, RAM, RAM + 8]);
    let price = params.price_page_write;
    assert_eq!(stores(&[RAM, RAM, RAM + 4096]), one + price);
    assert_eq!(stores(&[RAM, RAM + 4092, RAM + 8]), one + price, "across");
    assert_eq!(stores(&[RAM, RAM + 4096, RAM + 8192]), one + 2 * price);
    let kept = stores(&[PERSIST, PERSIST, PERSIST + 8]);
    assert_eq!(kept, one + params.price_page_persist);
    let two = stores(&[PERSIST, PERSIST + 4096, PERSIST + 8]);
    assert_eq!(two, kept + price + params.price_page_persist);
    // Settling on the way, by gas_left, charges nothing twice.
    let settles = |times: usize| {
        let main = program(Role::Transact(0), |asm| {
            asm.store(RAM, 0).store(RAM + 4096, 0);
            for _ in 0..times {
                asm.host(Op::GasLeft);
            }
            asm.halt_with(0);
        });
        gas_of(&main.build())
    };
    assert!(settles(3) - settles(1) < price);
    // All pages of an eager mapping count, touched or not.
    let eager = |pages: u32| {
        let mut main = program(Role::Transact(0), |asm| {
            asm.store(PERSIST, 0).halt_with(0);
        });
        let source = Source::Ephemeral {
            init: None,
            eager: true,
        };
        main.map(0, pages, source);
        gas_of(&main.build())
    };
    assert_eq!(eager(5), eager(2) + 3 * price);
}

#[test]
fn persistent_pages_and_new_slots_cost_quota() {
    let quota = |quota: u64, addresses: &'static [u32]| {
        let mut main = program(Role::Transact(0), |asm| {
            for address in addresses {
                asm.store(*address, 0);
            }
            asm.halt_with(0);
        });
        main.persist(&[41], 0, 4);
        let mut genesis = genesis(&passing(&main));
        genesis.params.event_quota = quota;
        let node = Node::new(&genesis, &[]);
        node.simulate(0, &event([])).ending
    };
    let exhausted = Ending::Faulted(Fault::OutOfQuota as u64);
    const TWO: &[u32] = &[PERSIST, PERSIST + 4096, PERSIST + 16];
    assert_eq!(quota(0, &[RAM]), Ending::Halted(0));
    assert_eq!(quota(2 * 4096 + 129, TWO), Ending::Halted(0));
    assert_eq!(quota(2 * 4096 + 128, TWO), exhausted);
    assert_eq!(quota(4096, TWO), exhausted);
}

/// A slot that an operation fills meanwhile is not paid for a second time at the halt.
#[test]
fn a_slot_that_an_operation_fills_is_paid_once() {
    const CNODE: u64 = 32;
    for (slot, slots) in [(41, 1), (42, 2)] {
        let mut main = program(Role::Transact(0), |asm| {
            asm.store(PERSIST, 0)
                .call(Op::MintCnode, &[slot])
                .halt_with(0);
        });
        main.persist(&[41], 0, 4);
        let ending = |quota: u64| {
            let mut genesis = genesis(&passing(&main));
            genesis.params.event_quota = quota;
            Node::new(&genesis, &[]).simulate(0, &event([])).ending
        };
        let quota = 4096 + CNODE + slots * 129;
        assert_eq!(ending(quota), Ending::Halted(0), "slot {slot}");
        let exhausted = Ending::Faulted(Fault::OutOfQuota as u64);
        assert_eq!(ending(quota - 1), exhausted, "slot {slot}");
    }
}

/// A call pays for each key that is looked up to enter it: those of its mappings' paths, and its
/// meters' slots.
#[test]
fn entering_costs_each_key_that_is_looked_up() {
    let gas = |paths: &[&[u8]], meters: u8| {
        let mut main = program(Role::Transact(0), |asm| {
            asm.halt_with(0);
        });
        for (page, path) in (0..).zip(paths) {
            main.persist(path, page, 1);
        }
        main.image.gas_slots = (60..60 + meters).map(key).collect();
        main.image.quota_slots = (80..80 + meters).map(key).collect();
        // A parent for each path.
        let nest = |inner| Cap::CNode(table(&[(1, inner)]));
        let entries = [(41, (0..7).fold(data(&[]), |inner, _| nest(inner)))];
        let outcome = node_of(&genesis(&main), &entries).simulate(0, &event([]));
        assert_eq!(outcome.ending, Ending::Halted(0));
        outcome.gas_used
    };
    let price = jar_kernel::Params::default().price_path_key;
    let none = gas(&[], 0);
    for (paths, meters, keys) in [
        (&[&[70][..]][..], 0, 1),
        (&[&[41, 2]], 0, 2),
        (&[&[41, 1, 1, 1, 1, 1, 1, 2]], 0, 8),
        (&[&[70], &[41, 1, 2], &[71]], 0, 5),
        (&[&[41, 2]], 3, 2 + 2 * 3),
    ] {
        assert_eq!(gas(paths, meters) - none, keys * price, "{paths:?}");
    }
}

/// What a View logs and answers is kept for its caller, up to a limit that no gas replaces.
#[test]
fn a_view_tells_so_much_and_no_more() {
    const LOGS: usize = 64 << 10;
    /// What a line counts for besides its bytes.
    const LINE: usize = 16;
    for len in [0, 1, 4000] {
        let main = program(Role::View, |asm| {
            asm.forever(|asm| {
                asm.call(Op::Log, &[1, RAM.into(), len]);
            });
        });
        let node = Node::new(&genesis(&main), &[]);
        let outcome = node.chain().view(&node.head(), 0, b"").expect("a View");
        assert_eq!(outcome.ending, Ending::Faulted(Fault::OutOfGas as u64));
        assert_eq!(outcome.logs.len(), LOGS / (len as usize + LINE));
        assert!(
            outcome
                .logs
                .iter()
                .all(|(_, line)| line.len() as u64 == len)
        );
    }
    for (len, is_told) in [(4096, true), (4097, false)] {
        let main = program(Role::View, |asm| {
            asm.call(Op::Drop, &[0])
                .call(Op::MintData, &[RAM.into(), len, 0])
                .halt_with(0);
        });
        let mut genesis = genesis(&main);
        genesis.params.payload_bytes = 4096;
        let node = Node::new(&genesis, &[]);
        let outcome = node.chain().view(&node.head(), 0, b"").expect("a View");
        assert_eq!(outcome.ending, Ending::Halted(0));
        assert_eq!(
            outcome.result.map(|bytes| bytes.len()),
            is_told.then_some(4096)
        );
    }
}

/// Bodies that use up a budget.
const EXHAUSTING: [Faulting; 4] = [
    (
        "spin",
        |asm| {
            asm.spin();
        },
        Fault::OutOfGas,
    ),
    (
        "an operation",
        |asm| {
            asm.call(Op::MintData, &[RAM as u64, 1 << 40, 50]);
        },
        Fault::OutOfGas,
    ),
    (
        "quota",
        |asm| {
            for slot in 50..100 {
                asm.call(Op::MintData, &[RAM as u64, 65_536, slot]);
            }
            for slot in 100..130 {
                asm.call(Op::MintData, &[RAM as u64, 65_536, slot]);
            }
        },
        Fault::OutOfQuota,
    ),
    (
        "a mapping's quota",
        |asm| {
            for page in 0..1100 {
                asm.store(PERSIST + page * 4096, 0);
            }
            asm.halt_with(0);
        },
        Fault::OutOfQuota,
    ),
];

#[test]
fn an_empty_budget_faults_the_whole_event() {
    for (name, body, fault) in EXHAUSTING {
        let mut callee = program(Role::Call, body);
        callee.persist(&[41], 0, 1100);
        let main = program(Role::Transact(0), |asm| {
            report(asm, &[0]);
            asm.call(Op::MintCnode, &[50])
                .call(Op::Call, &[CALLEE.into(), 0])
                .halt_with(0);
        });
        let mut node = node(&main, &[(CALLEE, instance(&callee, &[]))]);
        let before = node.head().header.state_root;
        let outcome = run(&mut node);
        assert_eq!(outcome.ending, Ending::Faulted(fault as u64), "{name}");
        assert_eq!(outcome.records, [], "{name}");
        assert!(outcome.gas_used <= node.chain().params().event_gas);
        assert_eq!(node.head().header.state_root, before, "{name}");
    }
}

#[test]
fn written_pages_are_paid_for_however_a_call_ends() {
    let params = jar_kernel::Params::default();
    type End = (fn(&mut Asm), Ending);
    let ends: [End; 4] = [
        (
            |asm| {
                asm.halt_with(0);
            },
            Ending::Halted(0),
        ),
        (
            |asm| {
                asm.trap();
            },
            Ending::Faulted(1),
        ),
        (
            |asm| {
                asm.call(Op::MintData, &[RAM as u64, 1 << 40, 50]);
            },
            Ending::Faulted(4),
        ),
        (
            |asm| {
                asm.call(Op::MintData, &[RAM as u64, 9000, 50]);
            },
            Ending::Faulted(5),
        ),
    ];
    for (end, ending) in ends {
        let main = program(Role::Transact(0), |asm| {
            for page in 0..16 {
                asm.store(RAM + page * 4096, 0);
            }
            end(asm);
        });
        let mut genesis = genesis(&main);
        genesis.params.event_quota = 8000;
        let outcome = Node::new(&genesis, &[]).simulate(0, &event([]));
        assert_eq!(outcome.ending, ending);
        assert!(outcome.gas_used >= 16 * params.price_page_write);
        // As many pages are written as can be paid.
        let price = genesis.params.event_gas / 16;
        genesis.params.price_page_write = price;
        let outcome = Node::new(&genesis, &[]).simulate(0, &event([]));
        assert_eq!(outcome.ending, Ending::Faulted(Fault::OutOfGas as u64));
        assert!((15 * price..15 * price + 20_000).contains(&outcome.gas_used));
    }
}

#[test]
fn an_image_is_paid_for_once_an_event() {
    let (short, long) = ([0; 0], [0; 6400]);
    let gas = |padding: &[u8], calls: usize| {
        let mut callee = program(Role::Call, |asm| {
            asm.halt_with(0);
        });
        callee.endpoint(1, "padding", Role::Call, |asm| {
            for _ in padding {
                asm.trap();
            }
        });
        let main = program(Role::Transact(0), |asm| {
            for _ in 0..calls {
                asm.call(Op::Call, &[CALLEE.into(), 0]);
            }
            asm.halt_with(0);
        });
        let entries = [(CALLEE, instance(&callee, &[]))];
        let node = Node::with_entries(&genesis(&main), &[], &entries);
        let parts = callee.build().encoded_size().div_ceil(64) as u64;
        (node.simulate(0, &event([])).gas_used, parts)
    };
    let price = jar_kernel::Params::default().price_enter_64;
    for calls in [1, 2] {
        let ((more, long), (less, short)) = (gas(&long, calls), gas(&short, calls));
        assert_eq!(more - less, (long - short) * price);
    }
}
