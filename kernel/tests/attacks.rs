//! What a guest may try costs it gas and quota, and the node no more than these pay for: counts
//! of operations and of what is kept, not times.

mod common;

use common::calls::*;
use common::program::{cap_path, path};
use common::{A0, A1, Asm, Node, Program, RAM, genesis, key};
use jar_abi::{Fault, HostCall as Op, Status, slots};
use jar_cap::image::{Mapping, Role, Source};
use jar_cap::{CNode, Cap, Data, Key, MemoryStore};
use jar_kernel::Params;
use jar_kernel::block::{Ending, Outcome};
use parity_scale_codec::{Decode, Encode};

/// Runs one event on both engines, which must agree: the first one's node and the outcome.
fn on_both(
    program: &Program,
    entries: &[(u8, Cap)],
    change: impl Fn(&mut Params),
) -> (Node, Outcome) {
    let mut genesis = genesis(&passing(program));
    change(&mut genesis.params);
    let mut node = node_of(&genesis, entries);
    let mut other = Node::on_other_engine(&genesis, entries);
    let outcome = run(&mut node);
    assert_eq!(run(&mut other), outcome);
    let roots = [&node, &other].map(|node| node.head().header.state_root);
    assert_eq!(roots[0], roots[1]);
    (node, outcome)
}

fn main_of(body: impl FnOnce(&mut Asm)) -> Program {
    program(Role::Transact(0), body)
}

/// How much the store grows while the event runs, in records.
fn growth(node: &mut Node) -> usize {
    let before = node.store.record_count();
    run(node);
    node.store.record_count() - before
}

#[test]
fn an_endless_loop_costs_its_gas() {
    let spinning = main_of(|asm| {
        asm.spin();
    });
    let (mut node, outcome) = on_both(&spinning, &[], |_| {});
    let event_gas = Params::default().event_gas;
    assert_eq!(outcome.ending, Ending::Faulted(Fault::OutOfGas as u64));
    assert!(outcome.gas_used <= event_gas && outcome.gas_used > event_gas - 1000);
    // Time and again: nothing is kept of it.
    let root = node.head().header.state_root;
    assert_eq!(growth(&mut node), 0);
    assert_eq!(node.head().header.state_root, root);
}

/// 128 frames deep, again and again until the budget is gone.
#[test]
fn recursion_to_the_limit_ends_with_the_budget() {
    let again = |asm: &mut Asm| {
        for _ in 0..40 {
            asm.call(Op::Call, &[CALLEE.into(), 0]);
        }
        asm.halt_with(0);
    };
    let callee = program(Role::Call, again);
    let mut innermost = instance(&callee, &[]);
    for _ in 0..140 {
        innermost = instance(&callee, &[(CALLEE, innermost)]);
    }
    let main = main_of(again);
    let (mut node, outcome) = on_both(&main, &[(CALLEE, innermost)], |_| {});
    assert_eq!(outcome.ending, Ending::Faulted(Fault::OutOfGas as u64));
    assert!(outcome.gas_used <= Params::default().event_gas);
    assert_eq!(growth(&mut node), 0);
}

/// Types without end, one after another, until the Catcher of genesis is full and beyond.
#[test]
fn a_catcher_takes_256_types() {
    const TYPE: u64 = 50;
    const IMAGE: u64 = 51;
    let main = main_of(|asm| {
        asm.set(0, 0).set(2, 0).set(3, 1);
        for _ in 0..300 {
            asm.call(Op::Drop, &[0])
                .call(Op::Subtype, &[TYPE, IMAGE, 0])
                .call(Op::Call, &[slots::CATCHER.into(), 0])
                .if_eq(A1, 0, |asm| {
                    asm.add(0, 0, 3);
                })
                .if_eq(A0, code(Status::Quota), |asm| {
                    asm.add(2, 2, 3);
                })
                .call(Op::Drop, &[TYPE])
                .call(Op::Move, &[0, TYPE]);
        }
        report(asm, &[0, 2]);
        asm.halt_with(0);
    });
    let image = Cap::Image(jar_cap::ImageRef::new(
        program(Role::Call, |asm| {
            asm.trap();
        })
        .build(),
    ));
    let entries = [
        (TYPE as u8, Cap::Type([7; 32].into())),
        (IMAGE as u8, image),
    ];
    let (node, outcome) = on_both(&main, &entries, |p| p.event_gas = 200_000_000);
    // The two of the kernel's markers are there already.
    assert_eq!(reports(&outcome), [[254, 46]]);
    let Some(Cap::Instance(catcher)) = node.get(&[slots::CATCHER]) else {
        panic!("the Catcher is gone");
    };
    let jar_cap::Body::Native { state, .. } = catcher.body() else {
        panic!("it is the kernel's");
    };
    let types = Vec::<[u8; 32]>::decode(&mut &state[..]).expect("a list");
    assert_eq!(types.len(), 256);
    assert!(types.is_sorted());
}

/// Each step of a path costs the same, so that loops over deep paths end with the gas.
#[test]
fn paths_through_many_cnodes_cost_each_key() {
    let store = MemoryStore::new();
    let mut nested = Cap::Data(Data::new(b"deep"));
    for _ in 0..7 {
        let mut table = CNode::empty();
        table.set(&store, &key(9), Some(nested)).expect("in memory");
        nested = Cap::CNode(table);
    }
    let depths = [1usize, 2, 4, 7, 8];
    let mut keys = [9; 8];
    keys[0] = 50;
    let gas = depths.map(|depth| {
        // Eight keys do not fit a register.
        let encoded: Vec<Vec<u8>> = keys[..depth].iter().map(|k| vec![*k]).collect();
        let encoded = encoded.encode();
        let mut main = Program::new();
        let at = main.data(&encoded);
        let long = 1 << 63 | (encoded.len() as u64) << 32 | at;
        main.endpoint(0, "main", Role::Transact(0), |asm| {
            asm.call(Op::Kind, &[long]).halt();
        });
        let (_, outcome) = on_both(&main, &[(50, nested.clone())], |_| {});
        assert!(
            matches!(outcome.ending, Ending::Halted(1 | 3)),
            "{outcome:?}"
        );
        outcome.gas_used
    });
    let per_key = Params::default().price_path_key;
    for (at, depth) in depths.iter().enumerate() {
        assert_eq!(
            gas[at] - gas[0],
            (*depth as u64 - 1) * per_key,
            "{depth} keys"
        );
    }
    // All day long: as many as the gas pays for.
    let endless = main_of(|asm| {
        for _ in 0..2_000 {
            asm.call(Op::Kind, &[path(&keys[..7])]);
        }
        asm.halt_with(0);
    });
    let (_, outcome) = on_both(&endless, &[(50, nested)], |_| {});
    assert_eq!(outcome.ending, Ending::Faulted(Fault::OutOfGas as u64));
}

/// A table in itself, sixty times over: values share, so 2^60 paths are sixty tables.
#[test]
fn tables_copied_into_themselves_cost_a_slot_each() {
    let main = main_of(|asm| {
        asm.call(Op::MintCnode, &[50]);
        for _ in 0..60 {
            // A table that holds two of the former one.
            asm.call(Op::MintCnode, &[51])
                .call(Op::Copy, &[50, path(&[51, 1])])
                .call(Op::Move, &[50, path(&[51, 2])])
                .call(Op::Move, &[51, 50]);
        }
        asm.halt_with(0);
    });
    let (node, outcome) = on_both(&main, &[], |_| {});
    assert_eq!(outcome.ending, Ending::Halted(0));
    let empty = node_of(&genesis(&passing(&main)), &[]);
    let records = node.store.record_count() - empty.store.record_count();
    assert!(records <= 60 + 20, "{records} records");
}

/// What holds a gibibyte is copied by reference: each copy pays for its slot, not for the bytes.
#[test]
fn copies_of_a_gibibyte_cost_a_slot_each() {
    let store = MemoryStore::new();
    let len = Params::default().data_bytes;
    assert_eq!(len, 1 << 30);
    let page = vec![7u8; 4096].into();
    let large = Data::empty()
        .with_pages(&store, len, [(100_000, page)])
        .expect("in memory");
    let copies = |count: u64| {
        let main = main_of(move |asm| {
            asm.call(Op::MintCnode, &[52]);
            for n in 0..count {
                let [low, high] = [n % 200, n / 200].map(|byte| byte as u8 + 1);
                if low == 1 {
                    asm.call(Op::MintCnode, &[path(&[52, high])]);
                }
                asm.call(Op::Copy, &[50, path(&[52, high, low])]);
            }
            asm.halt_with(0);
        });
        let entries = [(50, Cap::Data(large.clone()))];
        let (node, outcome) = on_both(&main, &entries, |_| {});
        assert_eq!(outcome.ending, Ending::Halted(0));
        let kept = node.store.record_bytes();
        (outcome.gas_used, kept)
    };
    let (few, few_kept) = copies(200);
    let (many, many_kept) = copies(1000);
    // Ahead of the price of a slot stand a path's keys; another table comes with 200 copies.
    let each = (many - few) / 800;
    let params = Params::default();
    assert!(each >= params.price_slot_write, "{each}");
    assert!((many - few).abs_diff(800 * each) < 4 * 2 * each);
    // A million of them are the whole gas of many blocks.
    assert!(1_000_000 * each > 25 * params.block_gas, "{each}");
    assert!(
        (many_kept - few_kept) / 800 < 200,
        "bytes of state for each"
    );
    // And quota: a slot each, whatever it holds.
    let greedy = main_of(|asm| {
        for n in 1..=200u8 {
            asm.call(Op::Copy, &[50, path(&[52, n])]);
        }
        asm.halt_with(0);
    });
    let table = Cap::CNode(CNode::empty());
    let entries = [(50, Cap::Data(large)), (52, table)];
    let slot = params.quota_slot + 1;
    let enough = 200 * slot + (128 << 10);
    let (_, outcome) = on_both(&greedy, &entries, |p| p.event_quota = enough);
    assert_eq!(outcome.ending, Ending::Halted(0));
    let (_, outcome) = on_both(&greedy, &entries, |p| p.event_quota = 199 * slot);
    assert_eq!(outcome.ending, Ending::Faulted(Fault::OutOfQuota as u64));
}

/// Keys of 1 to 32 bytes are keys, in order of their hashes; no others are.
#[test]
fn keys_of_every_length() {
    let mut main = Program::new();
    let source = main.data(b"value");
    let paths: Vec<u64> = (0..=40usize)
        .map(|len| {
            let encoded = vec![vec![50u8], vec![len as u8; len]].encode();
            let at = main.data(&encoded);
            1 << 63 | (encoded.len() as u64) << 32 | at
        })
        .collect();
    main.endpoint(0, "main", Role::Transact(0), |asm| {
        asm.call(Op::MintCnode, &[50]);
        for path in &paths {
            asm.call(Op::MintData, &[source, 5, *path]);
            report(asm, &[A0]);
        }
        // Through all of them; the length of the last is in φ4.
        asm.set(4, 0);
        for _ in 0..33 {
            asm.set(A0, 50)
                .set(A0 + 1, RAM.into())
                .mov(A0 + 2, 4)
                .set(A0 + 3, RAM.into())
                .host(Op::NextKey)
                .mov(4, A0);
            report(asm, &[4]);
        }
        asm.halt_with(0);
    });
    let (node, outcome) = on_both(&main, &[], |_| {});
    assert_eq!(outcome.ending, Ending::Halted(0));
    let told: Vec<u64> = reports(&outcome).concat();
    let (minted, walked) = told.split_at(41);
    for (len, answer) in minted.iter().enumerate() {
        let expected = match len {
            1..=32 => 0,
            _ => code(Status::Invalid),
        };
        assert_eq!(*answer, expected, "{len} bytes");
    }
    let mut by_hash: Vec<Vec<u8>> = (1..=32).map(|len| vec![len as u8; len]).collect();
    by_hash.sort_by_key(|bytes| jar_cap::hash::blake2b(&[bytes]));
    let lengths: Vec<u64> = by_hash.iter().map(|bytes| bytes.len() as u64).collect();
    assert_eq!(walked[..32], lengths);
    assert_eq!(walked[32], code(Status::Empty));
    for bytes in by_hash {
        let path = [Key::from(50), Key::new(&bytes).expect("a key")];
        let found = node.chain().get(&node.head(), &path).expect("readable");
        assert_eq!(found, Some(data(b"value")));
    }
}

/// Mappings at the ends of memory and of a Data, in an Image that is well formed.
#[test]
fn mappings_at_the_ends_of_memory_hold() {
    let top = Mapping {
        start: 0xffff_f000,
        size: 0x1000,
        source: Source::Slot(cap_path(&[60])),
    };
    let mut main = main_of(|asm| {
        asm.set(0, 5)
            .store(0xffff_fff8, 0)
            // Ranges that would pass the end, by a byte and by all of it.
            .call(Op::MintData, &[0xffff_fff8, 8, 61]);
        report(asm, &[A0]);
        asm.call(Op::MintData, &[0xffff_fff8, 9, 62]).halt();
    });
    main.image.memory.push(top);
    let (node, outcome) = on_both(&main, &[], |_| {});
    assert_eq!(outcome.ending, Ending::Faulted(Fault::BadRange as u64));
    assert_eq!(node.get(&[60]), None, "a fault leaves nothing behind");
    // What is too long for any memory is too long for any budget: the price comes first.
    for len in [1 << 32, u64::MAX, u64::MAX - 0xffff_fff8 + 1] {
        let mut wrapping = main_of(move |asm| {
            asm.call(Op::MintData, &[0xffff_fff8, len, 62]).halt();
        });
        wrapping.image.memory = main.image.memory.clone();
        let (_, outcome) = on_both(&wrapping, &[], |_| {});
        let fault = Ending::Faulted(Fault::OutOfGas as u64);
        assert_eq!(outcome.ending, fault, "{len}");
    }
    // More writable memory than all frames may have is no call: 4 GiB less a page.
    let mut huge = program(Role::Call, |asm| {
        asm.halt_with(0);
    });
    huge.image.memory = vec![Mapping {
        start: 0x1_0000,
        size: 0xfffe_f000,
        source: Source::Ephemeral {
            init: None,
            eager: true,
        },
    }];
    let (_, outcome) = on_both(&caller(), &[(CALLEE, instance(&huge, &[]))], |_| {});
    assert_eq!(reports(&outcome), [[code(Status::Quota), 3]]);
}
