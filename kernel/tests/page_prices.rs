//! What pages cost a frame: those of mapped state when they are first touched, any when they are
//! first written, the same whoever counts them.

mod common;

use common::calls::*;
use common::chain::event;
use common::program::RAM_PAGES;
use common::{A0, Asm, Node, PERSIST, Program, RAM, genesis};
use jar_abi::{Fault, HostCall as Op, slots};
use jar_cap::Cap;
use jar_cap::image::{Pinned, Role, Source};
use jar_kernel::Params;
use jar_kernel::block::{Ending, Outcome};

/// The slot that is mapped at [`PERSIST`].
const SLOT: u8 = 90;
/// Pages that it is mapped in.
const PAGES: u32 = 8;
/// An Ephemeral mapping that nobody can pay for as a whole, in pages from [`PERSIST`] on.
const HUGE_AT: u32 = 0x1000;
const HUGE_PAGES: u32 = 32_768;

fn page(index: u32) -> u32 {
    PERSIST + index * 4096
}

fn params() -> Params {
    Params::default()
}

/// A program that maps [`SLOT`].
fn mapping(body: impl FnOnce(&mut Asm)) -> Program {
    let mut main = program(Role::Transact(0), |asm| {
        body(asm);
        asm.halt_with(0);
    });
    main.persist(&[SLOT], 0, PAGES);
    main
}

/// The outcome of an event, the same on both engines.
fn outcome(main: &Program, entries: &[(u8, Cap)]) -> Outcome {
    let genesis = genesis(&passing(main));
    let found = run(&mut node_of(&genesis, entries));
    let mut other = Node::on_other_engine(&genesis, entries);
    assert_eq!(found, run(&mut other), "engines agree");
    found
}

fn gas(main: &Program, held: Option<Cap>) -> u64 {
    let entries: Vec<_> = held.map(|cap| (SLOT, cap)).into_iter().collect();
    let outcome = outcome(main, &entries);
    assert_eq!(outcome.ending, Ending::Halted(0));
    outcome.gas_used
}

/// Five pages, the last one short.
fn long() -> Cap {
    data(&[9; 5 * 4096 - 100])
}

#[test]
fn each_page_of_mapped_state_is_paid_at_its_first_touch() {
    let reads = |pages: &'static [u32]| {
        mapping(|asm| {
            for index in pages {
                asm.load(1, page(*index));
            }
        })
    };
    // What the loads themselves cost at the most.
    let loads = |count: u64| count * 25;
    let price = params().price_page_read;
    for (pages, paid) in [
        (&[0][..], 1),
        (&[0, 0, 0], 1),
        (&[0, 4], 2),
        // Behind the Data's end, too: that has to be found out.
        (&[4, 5, 7, 5], 3),
    ] {
        let cost = gas(&reads(pages), Some(long())) - gas(&reads(&[]), Some(long()));
        let rest = cost - paid * price;
        assert!(rest < loads(pages.len() as u64), "{pages:?}: {cost}");
    }
    // An empty slot shows zeros, a pinned one is part of the Image.
    let none = gas(&reads(&[0, 1, 7]), None) - gas(&reads(&[]), None);
    assert!(none < loads(3), "{none}");
    let pinned = |pages: &'static [u32]| {
        let mut main = reads(pages);
        let bytes = Pinned::Data(vec![7; 5 * 4096]);
        main.image.pinned.insert(SLOT.into(), bytes);
        gas(&main, None)
    };
    let cost = pinned(&[0, 1, 7]) - pinned(&[]);
    assert!(cost < loads(3), "{cost}");
}

/// Gas between three looks at it: of an operation done twice.
fn twice(op: Op, args: &[u64], prepare: impl Fn(&mut Asm)) -> [u64; 2] {
    let main = mapping(|asm| {
        prepare(asm);
        asm.call(Op::GasLeft, &[]).mov(0, A0);
        for register in [1, 2] {
            asm.call(op, args)
                .call(Op::Drop, &[80])
                .call(Op::GasLeft, &[])
                .mov(register, A0);
        }
        report(asm, &[0, 1, 2]);
    });
    let outcome = outcome(&main, &[(SLOT, long()), (81, data(&[5; 40]))]);
    assert_eq!(outcome.ending, Ending::Halted(0), "{op:?}");
    let left = reports(&outcome).pop().expect("a report");
    [left[0] - left[1], left[1] - left[2]]
}

#[test]
fn operations_pay_for_the_pages_they_touch() {
    let at = |index: u32, offset: u32| u64::from(page(index) + offset);
    let in_memory = |address: u64, len: u64| 1 << 63 | len << 32 | address;
    let attestation = u64::from(slots::ATTESTATION);
    let (read, write) = (params().price_page_read, params().price_page_write);
    let lasting = write + params().price_page_persist;
    let ram = RAM.into();
    let nothing = |_: &mut Asm| {};
    let cases: [(Op, Vec<u64>, u64); 18] = [
        (Op::MintData, vec![at(1, 0), 100, 80], read),
        (Op::MintData, vec![at(1, 4000), 100, 80], 2 * read),
        (Op::MintData, vec![at(0, 0), 8 * 4096, 80], 8 * read),
        (Op::MintData, vec![at(1, 0), 0, 80], 0),
        (Op::Hash, vec![0, at(1, 0), 100, ram], read + write),
        (Op::Hash, vec![0, ram, 100, at(1, 0)], read + lasting),
        (Op::Log, vec![3, at(1, 0), 10], read),
        (Op::Emit, vec![at(1, 0), 10, 81], read),
        (Op::Kind, vec![in_memory(at(1, 4090), 10)], 2 * read),
        (Op::NextKey, vec![82, at(1, 0), 1, ram], read),
        // Checked as a whole, though nothing is written.
        (Op::NextKey, vec![82, ram, 0, at(1, 0)], read),
        (
            Op::ReadData,
            vec![81, at(1, 4090), 40, 0],
            2 * (read + lasting),
        ),
        // Of a long range, what is written is touched.
        (
            Op::ReadData,
            vec![81, at(1, 0), 4 * 4096, 0],
            read + lasting,
        ),
        (Op::ReadData, vec![81, at(1, 0), 100, 40], 0),
        (Op::BlockInfo, vec![at(6, 4090)], 2 * (read + lasting)),
        (
            Op::Attest,
            vec![attestation, at(1, 0), at(2, 0), 3, ram, 1],
            2 * read,
        ),
        (
            Op::Attest,
            vec![attestation, ram, ram, 3, at(3, 4095), 1],
            read,
        ),
        // What is too long for a scope is refused, its beginning touched.
        (
            Op::Attest,
            vec![attestation, ram, ram, 3, at(0, 0), 8 * 4096],
            read,
        ),
    ];
    for (op, args, price) in cases {
        let [first, second] = twice(op, &args, nothing);
        assert_eq!(first - second, price, "{op:?} {args:x?}");
    }
    // Whoever came first has paid.
    let [first, second] = twice(Op::Log, &[3, at(1, 0), 10], |asm| {
        asm.load(1, page(1));
    });
    assert_eq!(first, second);
    let [first, second] = twice(Op::BlockInfo, &[at(1, 0)], |asm| {
        asm.store(page(1), 1);
    });
    assert_eq!(first, second);
}

/// An event that can't pay for all that it may write pays for what it writes, as one does that
/// could pay for all.
#[test]
fn memory_that_is_not_written_costs_nothing() {
    let writes = |huge: bool| {
        let mut main = mapping(|asm| {
            asm.store(RAM, 1).store(page(2), 1).load(1, page(3));
            asm.call(Op::GasLeft, &[]).mov(2, A0);
            // Over the border of two pages, read before or not.
            asm.store(page(4) - 4, 1)
                .store(RAM + 4096 - 4, 1)
                .call(Op::ReadData, &[81, u64::from(RAM) + 3 * 4096 - 20, 40, 0])
                .call(Op::GasLeft, &[])
                .mov(3, A0);
            report(asm, &[2, 3]);
        });
        let pages = if huge { HUGE_PAGES } else { 16 };
        let zeros = Source::Ephemeral {
            init: None,
            eager: false,
        };
        main.map(HUGE_AT, pages, zeros);
        let outcome = outcome(&main, &[(SLOT, long()), (81, data(&[5; 40]))]);
        assert_eq!(outcome.ending, Ending::Halted(0));
        outcome
    };
    let all = u64::from(HUGE_PAGES + RAM_PAGES + PAGES) * params().price_page_write;
    assert!(all > params().event_gas, "it can't pay for all");
    assert_eq!(writes(true), writes(false));
}

/// With whatever gas an event begins, it ends as one with more, or with `OutOfGas` for what it
/// had.
#[test]
fn no_gas_makes_a_difference_but_too_little() {
    let main = mapping(|asm| {
        asm.load(1, page(0) + 4090)
            .store(RAM, 1)
            .store(RAM + 4092, 1)
            .call(Op::Log, &[3, u64::from(page(2)), 10])
            .store(page(3), 1)
            .call(Op::MintData, &[RAM.into(), 5, 80])
            .load(2, page(5));
    });
    let run_with = |event_gas: u64| {
        let mut genesis = genesis(&passing(&main));
        genesis.params.event_gas = event_gas;
        let entries = [(SLOT, long())];
        let found = node_of(&genesis, &entries).simulate(0, &event([]));
        let other = Node::on_other_engine(&genesis, &entries);
        assert_eq!(other.simulate(0, &event([])), found, "{event_gas}");
        found
    };
    let enough = run_with(params().event_gas);
    assert_eq!(enough.ending, Ending::Halted(0));
    let reserve = u64::from(RAM_PAGES + PAGES) * params().price_page_write;
    let around = |gas: u64| [gas - 1, gas, gas + 1];
    let all = around(enough.gas_used)
        .into_iter()
        .chain(around(enough.gas_used + reserve))
        .chain(around(reserve))
        .chain((1..40).map(|n| n * 10_007));
    for event_gas in all {
        let found = run_with(event_gas);
        match event_gas >= enough.gas_used {
            true => assert_eq!(found, enough, "{event_gas}"),
            false => {
                let short = Ending::Faulted(Fault::OutOfGas as u64);
                assert_eq!(found.ending, short, "{event_gas}");
                assert!(found.gas_used <= event_gas);
            }
        }
    }
}
