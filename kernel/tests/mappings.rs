//! Memory: mappings, what is written back, what is fresh.

mod common;

use common::calls::*;
use common::{A0, A1, Asm, DATA, Node, PERSIST, Program, RAM, key};
use jar_abi::{Fault, HostCall as Op, Status};
use jar_cap::image::{Mapping, Pinned, Role, Source};
use jar_cap::{CNode, Cap, MemoryStore};
use jar_kernel::block::{Ending, Outcome};

/// A chain that maps four pages of slot 41 and runs `body`, starting with `before` there.
fn mapped(before: Option<&[u8]>, body: impl FnOnce(&mut Asm)) -> (Node, Outcome) {
    let mut main = program(Role::Transact(0), |asm| {
        body(asm);
        asm.halt_with(0);
    });
    main.persist(&[41], 0, 4);
    let entries: Vec<_> = before.iter().map(|bytes| (41, data(bytes))).collect();
    let mut node = node(&main, &entries);
    let outcome = run(&mut node);
    (node, outcome)
}

#[test]
fn written_pages_last_and_lengths_grow_to_the_last_of_them() {
    let long: Vec<u8> = (0..20_000).map(|i| i as u8).collect();
    // Before, the pages written, the length after.
    type Case<'a> = (Option<&'a [u8]>, &'a [u32], usize);
    let cases: [Case; 8] = [
        (None, &[0], 4096),
        (None, &[2], 3 * 4096),
        (Some(&long[..5000]), &[0], 5000),
        (Some(&long[..5000]), &[1], 8192),
        (Some(&long[..5000]), &[3, 0], 16384),
        (Some(&long), &[0], 20_000),
        (Some(&long), &[3], 20_000),
        (Some(&[]), &[1], 8192),
    ];
    for (before, pages, len) in cases {
        let (node, outcome) = mapped(before, |asm| {
            asm.set(0, 0x0102_0304);
            for page in pages {
                asm.store(PERSIST + page * 4096 + 100, 0);
            }
        });
        assert_eq!(outcome.ending, Ending::Halted(0));
        let mut expected = before.unwrap_or_default().to_vec();
        expected.resize(len, 0);
        for page in pages {
            let at = *page as usize * 4096 + 100;
            expected[at..at + 8].copy_from_slice(&0x0102_0304u64.to_le_bytes());
        }
        let after = node.bytes(&[41]).expect("a Data");
        assert!(
            after == expected,
            "{pages:?} of {:?}",
            before.map(<[u8]>::len)
        );
    }
}

#[test]
fn what_is_not_written_stays() {
    let (node, _) = mapped(None, |asm| {
        asm.load(0, PERSIST);
    });
    assert_eq!(node.get(&[41]), None);
    let (node, _) = mapped(Some(b"abc"), |asm| {
        asm.load(0, PERSIST);
    });
    assert_eq!(node.bytes(&[41]), Some(b"abc".to_vec()));
    // Writing what was there before is writing.
    let (node, _) = mapped(Some(b"abc"), |asm| {
        asm.load(0, PERSIST).store(PERSIST, 0);
    });
    assert_eq!(node.bytes(&[41]).map(|b| b.len()), Some(4096));
    // A write by the kernel on the program's behalf counts as one.
    let (node, _) = mapped(None, |asm| {
        asm.call(Op::BlockInfo, &[PERSIST.into()]);
    });
    assert_eq!(
        &node.bytes(&[41]).expect("a Data")[..32],
        node.genesis_hash()
    );
    // A store that faults in its second page leaves the first one alone.
    let callee_body = |asm: &mut Asm| {
        asm.store(PERSIST + 4 * 4096 - 4, 0).halt_with(0);
    };
    let mut callee = program(Role::Call, callee_body);
    callee.persist(&[41], 0, 4);
    let mut node = self::node(&caller(), &[(CALLEE, instance(&callee, &[]))]);
    let before = node.get(&[CALLEE]);
    assert_eq!(reports(&run(&mut node)), [[Fault::PageFault as u64, 1]]);
    assert_eq!(node.get(&[CALLEE]), before);
}

#[test]
fn operations_see_the_data_of_entry_and_win() {
    // The mapping's content is not seen before the end.
    let (node, outcome) = mapped(Some(b"12345678"), |asm| {
        asm.set(0, 99).store(PERSIST, 0);
        asm.call(Op::ReadData, &[41, RAM.into(), 8, 0]).load(0, RAM);
        report(asm, &[0]);
    });
    assert_eq!(reports(&outcome), [[u64::from_le_bytes(*b"12345678")]]);
    assert_eq!(node.bytes(&[41]).expect("a Data")[..8], 99u64.to_le_bytes());
    let (node, _) = mapped(Some(b"12345678"), |asm| {
        asm.store(PERSIST, 0).call(Op::Drop, &[41]);
    });
    assert_eq!(node.get(&[41]), None, "dropped");
    let (node, _) = mapped(None, |asm| {
        asm.store(PERSIST, 0).call(Op::MintCnode, &[41]);
    });
    assert!(matches!(node.get(&[41]), Some(Cap::CNode(_))), "filled");
    let (node, _) = mapped(Some(b"12345678"), |asm| {
        asm.store(PERSIST, 0).call(Op::Move, &[41, 42]);
    });
    assert_eq!(node.get(&[41]), None, "moved away");
    assert_eq!(node.bytes(&[42]), Some(b"12345678".to_vec()));
    // What is refused does not win.
    let (node, _) = mapped(Some(b"12345678"), |asm| {
        asm.set(0, 99).store(PERSIST, 0);
        asm.call(Op::Move, &[41, 18])
            .call(Op::Copy, &[41, 41])
            .call(Op::MintCnode, &[41]);
    });
    assert_eq!(node.bytes(&[41]).map(|b| b.len()), Some(4096));
}

#[test]
fn an_operation_on_a_prefix_wins_too() {
    for (call, args) in [(Op::Drop, [50, 0]), (Op::Move, [50, 51])] {
        let mut main = program(Role::Transact(0), |asm| {
            asm.set(0, 9).store(PERSIST, 0).call(call, &args).halt();
        });
        main.persist(&[50, 1], 0, 1);
        let mut table = CNode::empty();
        let store = MemoryStore::new();
        table.set(&store, &key(1), Some(data(b"old"))).expect("ok");
        let mut node = node(&main, &[(50, Cap::CNode(table))]);
        assert_eq!(run(&mut node).ending, Ending::Halted(0));
        assert_eq!(node.get(&[50]), None);
        if call == Op::Move {
            assert_eq!(node.bytes(&[51, 1]), Some(b"old".to_vec()));
        }
    }
}

#[test]
fn a_mapping_that_fits_no_data_refuses_the_call() {
    let refused = [vec![code(Status::WrongKind), 3]];
    let cnode = (50, Cap::CNode(CNode::empty()));
    // The slot mapped, and what the table holds.
    type Case<'a> = (&'a [u8], Option<(u8, Cap)>);
    let cases: [Case; 4] = [
        (&[50, 1], None),
        (&[50, 1], Some((50, data(b"no CNode")))),
        (&[50], Some(cnode.clone())),
        (&[50, 1, 2], Some(cnode.clone())),
    ];
    for (slot, entry) in cases {
        let mut callee = program(Role::Call, |asm| {
            asm.halt_with(0);
        });
        callee.persist(slot, 0, 1);
        let entries: Vec<_> = entry.into_iter().collect();
        let mut node = node(&caller(), &[(CALLEE, instance(&callee, &entries))]);
        assert_eq!(reports(&run(&mut node)), refused, "{slot:?}");
    }
    // An empty slot below a CNode maps as zeros.
    let mut callee = program(Role::Call, |asm| {
        asm.set(0, 5).store(PERSIST, 0).halt_with(0);
    });
    callee.persist(&[50, 1], 0, 1);
    let mut node = node(&caller(), &[(CALLEE, instance(&callee, &[cnode]))]);
    assert_eq!(reports(&run(&mut node)), [[0, 0]]);
}

#[test]
fn ephemeral_memory_is_fresh_in_each_call() {
    let mut callee = program(Role::Call, |asm| {
        asm.load(0, PERSIST)
            .load(1, RAM)
            .add(A0, 0, 1)
            .set(2, 1000)
            .store(PERSIST, 2)
            .store(RAM, 2)
            .halt();
    });
    let init = Source::Ephemeral {
        init: Some(jar_cap::Path::from(key(60))),
        eager: false,
    };
    callee.map(0, 1, init);
    let pinned = Pinned::Data(7u64.to_le_bytes().to_vec());
    callee.image.pinned.insert(key(60), pinned);
    let main = program(Role::Transact(0), |asm| {
        for _ in 0..2 {
            asm.call(Op::Call, &[CALLEE.into(), 0]);
            report(asm, &[A0, A1]);
        }
        asm.halt_with(0);
    });
    let mut node = node(&main, &[(CALLEE, instance(&callee, &[]))]);
    assert_eq!(reports(&run(&mut node)), [[7, 0], [7, 0]]);
}

#[test]
fn pinned_memory_is_read_only() {
    let mut main = Program::new();
    main.data(b"constant");
    main.endpoint(0, "main", Role::Transact(0), |asm| {
        asm.load(0, DATA).store(DATA, 0).halt_with(0);
    });
    let outcome = run(&mut node(&main, &[]));
    assert_eq!(outcome.ending, Ending::Faulted(Fault::PageFault as u64));
}

#[test]
fn a_page_of_a_large_mapping_costs_a_page() {
    // 128 MiB of which one byte at the end is written: nothing in between is touched.
    let pages = 32_768;
    let mut main = program(Role::Transact(0), |asm| {
        asm.set(0, 1)
            .store(PERSIST + pages * 4096 - 8, 0)
            .halt_with(0);
    });
    let source = Source::Slot(jar_cap::Path::from(key(41)));
    main.image.memory.push(Mapping {
        start: PERSIST,
        size: pages * 4096,
        source,
    });
    let mut node = node(&main, &[]);
    let records = node.store.record_count();
    assert_eq!(run(&mut node).ending, Ending::Halted(0));
    assert!(node.store.record_count() - records < 60);
    let Some(Cap::Data(data)) = node.get(&[41]) else {
        panic!("no Data");
    };
    assert_eq!(data.len(), u64::from(pages) * 4096);
}
