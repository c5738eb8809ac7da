//! Whatever a chain sets its rows to, in whatever order it calls, resumes and gives up: no event
//! outlives its budget, no frame its rows.

mod common;

use common::calls::*;
use common::program::RAM_PAGES;
use common::{A0, Asm, Node, PERSIST, Program, RAM, genesis, seeded};
use jar_abi::{HostCall as Op, slots};
use jar_cap::image::{Role, Source};
use jar_cap::{Cap, Instance, Key, NativeKind};
use jar_kernel::Params;
use jar_kernel::block::{Ending, Outcome};
use parity_scale_codec::Encode;
use proptest::prelude::*;
use proptest::sample::select;

/// Rows that callees name, in their order; row 0 is the event's.
const ROWS: [u64; 2] = [5, 6];
/// Slots of callees: one with meters, one without, one with meters that calls the second.
const CALLEES: [u8; 3] = [40, 41, 42];
/// Endpoints of a callee.
const BODIES: u64 = 7;
/// Bytes of each Data that callees mint.
const MINTED: u64 = 1_000;
/// Bytes of state that an event may add.
const QUOTA: u64 = 50_000;
/// Gas of the chain's own for one step, at the most.
const STEP_GAS: u64 = 400_000;

/// What the chain does next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Set { gas: bool, row: u64, value: u64 },
    Call { callee: u8, body: u64 },
    Resume(u8),
    Abort(u8),
    Detach(u8),
    Mint(u8),
    Fault,
}

/// Numbers around everything that is a limit here.
fn edges() -> Vec<u64> {
    let params = Params::default();
    let pages = u64::from(RAM_PAGES + 4) * params.price_page_write;
    let limits = [
        0,
        params.price_page_persist,
        params.price_slot_write,
        pages,
        pages + params.price_page_persist,
        MINTED + params.quota_slot + 1,
        4096,
        QUOTA,
        params.event_gas,
        1 << 32,
        1 << 63,
        u64::MAX,
    ];
    let around = limits
        .iter()
        .flat_map(|limit| [limit.wrapping_sub(1), *limit, limit.wrapping_add(1)]);
    around.collect()
}

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        3 => select(edges()),
        2 => 0..2_000_000u64,
        1 => any::<u64>(),
    ]
}

fn steps(values: impl Strategy<Value = u64>, rows: Vec<u64>) -> impl Strategy<Value = Vec<Step>> {
    let callee = || select(CALLEES.to_vec());
    let step = prop_oneof![
        4 => (any::<bool>(), select(rows), values)
            .prop_map(|(gas, row, value)| Step::Set { gas, row, value }),
        4 => (callee(), 0..BODIES).prop_map(|(callee, body)| Step::Call { callee, body }),
        4 => callee().prop_map(Step::Resume),
        1 => callee().prop_map(Step::Abort),
        1 => callee().prop_map(Step::Detach),
        1 => (60..90u8).prop_map(Step::Mint),
        1 => Just(Step::Fault),
    ];
    prop::collection::vec(step, 1..14)
}

fn compile(steps: &[Step], catches: bool) -> Program {
    let mut main = program(Role::Transact(0), |asm| {
        for step in steps {
            match *step {
                Step::Set { gas, row, value } => {
                    let setter = match gas {
                        true => slots::SET_GAS_METER,
                        false => slots::SET_STORAGE_QUOTA,
                    };
                    asm.call(Op::Call, &[setter.into(), 0, row, value]);
                }
                Step::Call { callee, body } => {
                    asm.call(Op::Call, &[callee.into(), body]);
                }
                Step::Resume(callee) => {
                    asm.call(Op::Resume, &[callee.into()]);
                }
                Step::Abort(callee) => {
                    asm.call(Op::Abort, &[callee.into()]);
                }
                Step::Detach(callee) => {
                    asm.call(Op::Detach, &[callee.into()]);
                }
                Step::Mint(slot) => {
                    asm.call(Op::MintData, &[RAM.into(), MINTED, slot.into()]);
                }
                Step::Fault => {
                    asm.call(Op::Call, &[200, 0]);
                }
            }
        }
        asm.halt_with(0);
    });
    main.image.catcher_slot = catches.then(|| Key::from(slots::CATCHER));
    main
}

fn mint(asm: &mut Asm) {
    // Slots that are taken answer so, and cost their price.
    for slot in 60..70 {
        asm.call(Op::MintData, &[RAM.into(), MINTED, slot]);
    }
}

fn callee(index: usize) -> Cap {
    let mut callee = Program::new();
    let bodies: [fn(&mut Asm); BODIES as usize] = [
        |asm| {
            asm.halt_with(1);
        },
        |asm| {
            asm.spin();
        },
        |asm| {
            mint(asm);
            asm.halt_with(2);
        },
        |asm| {
            mint(asm);
            asm.trap();
        },
        |asm| {
            asm.write_pages(RAM);
        },
        |asm| {
            asm.store(PERSIST, A0)
                .store(PERSIST + 4096, A0)
                .halt_with(3);
        },
        |asm| {
            for body in [2, 1, 4] {
                asm.call(Op::Call, &[CALLEES[1].into(), body]);
            }
            asm.call(Op::MintData, &[RAM.into(), 1 << 40, 90])
                .halt_with(4);
        },
    ];
    for (at, body) in (0..).zip(bodies) {
        callee.endpoint(at, &format!("body {at}"), Role::Call, body);
    }
    callee.persist(&[91], 0, 4);
    if index == 0 {
        let source = Source::Ephemeral {
            init: None,
            eager: true,
        };
        callee.map(8, 2, source);
    }
    let mut table = Vec::new();
    if index != 1 {
        for (at, row) in (0..).zip(ROWS) {
            let cap = |kind| Cap::Instance(Instance::native(kind, row.encode()));
            table.push((100 + at, cap(NativeKind::Gas)));
            table.push((110 + at, cap(NativeKind::Quota)));
            callee.image.gas_slots.push(Key::from(100 + at));
            callee.image.quota_slots.push(Key::from(110 + at));
        }
    }
    if index == 2 {
        table.push((CALLEES[1], self::callee(1)));
    }
    instance(&callee, &table)
}

/// The outcome on both engines, and how many bytes of Data the chain's callees hold then.
fn run_steps(steps: &[Step], catches: bool) -> (Outcome, u64) {
    let mut genesis = genesis(&passing(&compile(steps, catches)));
    genesis.params.event_quota = QUOTA;
    let entries: Vec<(u8, Cap)> = (0..)
        .zip(CALLEES)
        .map(|(i, slot)| (slot, callee(i)))
        .collect();
    let mut nodes = [
        node_of(&genesis, &entries),
        Node::on_other_engine(&genesis, &entries),
    ];
    let before = nodes[0].head().header.state_root;
    let outcomes = nodes.each_mut().map(run);
    assert_eq!(outcomes[0], outcomes[1], "engines agree");
    let roots = nodes.each_ref().map(|node| node.head().header.state_root);
    assert_eq!(roots[0], roots[1]);
    let [outcome, _] = outcomes;
    if outcome.ending != Ending::Halted(0) {
        assert_eq!(before, roots[0], "a fault leaves nothing");
    }
    let held = CALLEES
        .iter()
        .map(|slot| held(&nodes[0], &[*slot]))
        .sum::<u64>();
    let own = (60..90)
        .filter(|slot| nodes[0].get(&[*slot]).is_some())
        .count();
    (outcome, held + own as u64 * MINTED)
}

/// Bytes of Data below an Instance, callees' callees included.
fn held(node: &Node, path: &[u8]) -> u64 {
    let Some(Cap::Instance(instance)) = node.get(path) else {
        panic!("a callee is an Instance");
    };
    let table = instance.cnode().expect("a program").clone();
    held_in(node, &table)
}

fn held_in(node: &Node, table: &jar_cap::CNode) -> u64 {
    let at = |slot: u8| {
        table
            .get(&*node.store, &Key::from(slot))
            .expect("the store works")
    };
    let data = (60..92).filter_map(at).map(|cap| match cap {
        Cap::Data(data) => data.len(),
        _ => 0,
    });
    let inner = match at(CALLEES[1]) {
        Some(Cap::Instance(inner)) => held_in(node, inner.cnode().expect("a program")),
        _ => 0,
    };
    data.sum::<u64>() + inner
}

proptest! {
    #![proptest_config(seeded(150))]

    #[test]
    fn whatever_its_rows_hold_no_event_outlives_its_budget(
        steps in steps(value(), vec![0, ROWS[0], ROWS[1]]),
        catches in any::<bool>(),
    ) {
        let (outcome, held) = run_steps(&steps, catches);
        prop_assert!(outcome.gas_used <= Params::default().event_gas);
        prop_assert!(held <= QUOTA, "{held} bytes");
    }

    /// A chain that keeps its rows below the budget outlives whatever it calls, which costs the
    /// event no more than the rows held.
    #[test]
    fn who_keeps_its_rows_below_the_budget_outlives_all_it_calls(
        steps in steps(0..2_500_000u64, ROWS.to_vec()),
        catches in any::<bool>(),
    ) {
        // What has no meters spends the chain's own.
        let steps: Vec<Step> = steps
            .into_iter()
            .map(|step| match step {
                Step::Call { callee, body } if callee == CALLEES[1] => {
                    Step::Call { callee: CALLEES[0], body }
                }
                Step::Set { gas: false, row, value } => {
                    Step::Set { gas: false, row, value: value % (QUOTA / 20) }
                }
                Step::Mint(_) | Step::Detach(_) => Step::Fault,
                other => other,
            })
            .collect();
        let granted: u64 = steps
            .iter()
            .map(|step| match step {
                Step::Set { gas: true, value, .. } => *value,
                _ => 0,
            })
            .sum();
        let (outcome, held) = run_steps(&steps, catches);
        prop_assert_eq!(outcome.ending, Ending::Halted(0));
        let own = STEP_GAS * (steps.len() as u64 + 1);
        prop_assert!(outcome.gas_used <= granted + own, "{} {granted}", outcome.gas_used);
        prop_assert!(held <= QUOTA);
    }
}
