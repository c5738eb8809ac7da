//! Calls between Instances: what passes, what a fault undoes, memory, budgets.

mod common;

use common::chain::{event, genesis_of};
use common::{A0, A1, Asm, DATA, Node, PERSIST, Program, RAM, genesis, key};
use jar_abi::{Fault, HostCall as Op, Status, slots};
use jar_cap::image::{Image, Mapping, Pinned, Role, Source};
use jar_cap::{CNode, Cap, Data, ImageRef, Instance, MemoryStore, NativeKind};
use jar_kernel::Genesis;
use jar_kernel::block::{Ending, Event, Outcome};

const CALLEE: u8 = 40;
const REPORT: u32 = RAM + 0x8000;
const REPORT_SLOT: u64 = 249;

/// Emits registers as a record. Spoils φ7 to φ11.
fn report(asm: &mut Asm, registers: &[u8]) {
    for (index, register) in registers.iter().enumerate() {
        asm.store(REPORT + 8 * index as u32, *register);
    }
    let len = 8 * registers.len() as u64;
    asm.call(Op::MintData, &[REPORT.into(), len, REPORT_SLOT])
        .call(Op::Emit, &[0, 0, REPORT_SLOT])
        .call(Op::Drop, &[REPORT_SLOT]);
}

/// Records as lists of numbers.
fn reports(outcome: &Outcome) -> Vec<Vec<u64>> {
    let numbers = |data: &[u8]| {
        data.chunks_exact(8)
            .map(|chunk| u64::from_le_bytes(chunk.try_into().expect("8 bytes")))
            .collect()
    };
    outcome.records.iter().map(|r| numbers(&r.data)).collect()
}

fn code(status: Status) -> u64 {
    status as i64 as u64
}

/// An Instance of a program with entries in its table.
fn instance(program: &Program, entries: &[(u8, Cap)]) -> Cap {
    let store = MemoryStore::new();
    let mut table = CNode::empty();
    for (slot, cap) in entries {
        table
            .set(&store, &key(*slot), Some(cap.clone()))
            .expect("in memory");
    }
    let image = ImageRef::new(program.build());
    Cap::Instance(Instance::program([1; 32], image, table))
}

fn native(kind: NativeKind) -> Cap {
    Cap::Instance(Instance::native(kind, Vec::new()))
}

fn data(bytes: &[u8]) -> Cap {
    Cap::Data(Data::new(bytes))
}

/// A program of one endpoint.
fn program(role: Role, body: impl FnOnce(&mut Asm)) -> Program {
    let mut program = Program::new();
    program.endpoint(0, "main", role, body);
    program
}

/// A caller of endpoint 0 of slot 40 that reports value and status and halts with 0.
fn caller() -> Program {
    program(Role::Transact(0), |asm| {
        asm.call(Op::Call, &[CALLEE.into(), 0]);
        report(asm, &[A0, A1]);
        asm.halt_with(0);
    })
}

/// A chain that passes each event of its Dispatch endpoint 9 on to its Transact endpoint 0.
fn node(program: &Program, entries: &[(u8, Cap)]) -> Node {
    node_of(&genesis(&passing(program)), entries)
}

fn node_of(genesis: &Genesis, entries: &[(u8, Cap)]) -> Node {
    Node::with_entries(genesis, &[], entries)
}

fn passing(program: &Program) -> Program {
    let mut program = program.clone();
    let none = program.data(&[0]);
    program.endpoint(9, "submit", Role::Dispatch, |asm| {
        asm.if_eq(A0, 1, |asm| {
            asm.call(Op::SlotEmit, &[0, 0, 0, none, 1]);
        })
        .halt_with(0);
    });
    program
}

/// Puts an event into a block; its outcome.
fn transact(node: &mut Node, event: Event) -> Outcome {
    let accepted = node.dispatch(9, event).expect("accepted");
    assert_eq!(accepted.transact_ids.len(), 1);
    let advanced = node.build().expect("built");
    let (_, index) = advanced.events[0];
    advanced.outcomes[index as usize].clone()
}

fn run(node: &mut Node) -> Outcome {
    transact(node, event([]))
}

fn callee_table(node: &Node) -> CNode {
    match node.get(&[CALLEE]) {
        Some(Cap::Instance(instance)) => instance.cnode().expect("a program").clone(),
        other => panic!("{other:?}"),
    }
}

fn callee_bytes(node: &Node, slot: u8) -> Option<Vec<u8>> {
    let cap = callee_table(node).get(&*node.store, &key(slot));
    match cap.expect("the store works") {
        Some(Cap::Data(data)) => Some(data.to_vec(&*node.store, 1 << 20).expect("readable")),
        _ => None,
    }
}

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

/// A name, a body, and the fault it ends with.
type Faulting = (&'static str, fn(&mut Asm), Fault);

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
            "swap",
            |asm| {
                asm.call(Op::Swap, &[50, 51]);
            },
            Fault::NotSupported,
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
    let mut node = node_of(&genesis, &[(CALLEE, nested(levels))]);
    match run(&mut node).ending {
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
        asm.call(Op::Call, &[slots::CONSENSUS.into(), 0]);
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
        // What can't be paid in full takes all there is.
        genesis.params.price_page_write = genesis.params.event_gas / 10;
        let outcome = Node::new(&genesis, &[]).simulate(0, &event([]));
        assert!(matches!(outcome.ending, Ending::Faulted(_)));
        assert_eq!(outcome.gas_used, genesis.params.event_gas, "{ending:?}");
    }
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

#[test]
fn code_is_paid_for_once_an_event() {
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
        node.simulate(0, &event([])).gas_used
    };
    let price = jar_kernel::Params::default().price_code_64;
    assert_eq!(gas(&long, 1) - gas(&short, 1), 100 * price);
    assert_eq!(gas(&long, 2) - gas(&short, 2), 100 * price);
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
