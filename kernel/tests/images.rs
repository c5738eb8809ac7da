//! Images made, spawned and set by programs: contracts, upgrades of the chain, hostile Images.

mod common;

use common::calls::*;
use common::chain::event;
use common::program::PERSIST;
use common::{A0, Asm, Node, Program, RAM, genesis, key};
use jar_abi::{Fault, HostCall as Op, Status};
use jar_cap::image::{Image, Mapping, Pinned, Program as Code, Role, Source};
use jar_cap::{Body, Cap, ImageRef, Instance, derive_type, genesis_type, set_image_type};
use jar_kernel::Params;
use jar_kernel::block::{Ending, Outcome};
use parity_scale_codec::Encode;
use proptest::prelude::*;

/// Makes an Image of bytes in memory, in slot 51.
fn make(asm: &mut Asm, at: u64, len: u64) {
    asm.call(Op::MintData, &[at, len, 50])
        .call(Op::MakeImage, &[50, 51]);
}

/// Makes an Image and an Instance of it in [`CALLEE`].
fn spawn(asm: &mut Asm, at: u64, len: u64) {
    make(asm, at, len);
    asm.call(Op::MintCnode, &[52])
        .call(Op::DeriveSpawn, &[51, 52, CALLEE.into()]);
}

fn halting(value: u64) -> Program {
    program(Role::Call, |asm| {
        asm.halt_with(value);
    })
}

fn type_of(node: &Node, slot: u8) -> Option<jar_cap::Hash> {
    match node.get(&[slot]) {
        Some(Cap::Instance(instance)) => Some(instance.type_id()),
        _ => None,
    }
}

/// Builds a block of these events; their outcomes. A second node on the other engine takes it.
fn block_of(node: &mut Node, other: &mut Node, events: &[&[u8]]) -> Vec<Outcome> {
    for payload in events {
        node.dispatch(9, event(payload)).expect("accepted");
    }
    let built = node.build().expect("built");
    assert_eq!(built.events.len(), events.len());
    let imported = other.import(&built.block).expect("valid");
    assert_eq!(imported.outcomes, built.outcomes);
    built.outcomes
}

fn pair(program: &Program) -> (Node, Node) {
    let genesis = genesis(&passing(program));
    let other = Node::on_other_engine(&genesis, &[]);
    (Node::new(&genesis, &[]), other)
}

#[test]
fn a_contract_is_made_spawned_and_called() {
    let image = halting(7).build();
    let mut main = Program::new();
    let encoded = image.encode();
    let at = main.data(&encoded);
    main.endpoint(0, "main", Role::Transact(0), |asm| {
        spawn(asm, at, encoded.len() as u64);
        asm.mov(5, A0)
            .if_eq(5, 0, |asm| {
                asm.call(Op::Call, &[CALLEE.into(), 0]).halt();
            })
            .halt_with(99);
    });
    let (mut node, mut other) = pair(&main);
    let outcomes = block_of(&mut node, &mut other, &[b""]);
    assert_eq!(outcomes[0].ending, Ending::Halted(7));
    let own = genesis_type(&ImageRef::new(passing(&main).build()).id());
    let expected = derive_type(&own, &ImageRef::new(image).id());
    assert_eq!(type_of(&node, CALLEE), Some(expected));
    // It outlives a restart.
    let genesis = genesis(&passing(&main));
    let node = Node::open(node.store.clone(), &genesis, &[]).expect("same chain");
    assert_eq!(type_of(&node, CALLEE), Some(expected));
}

/// A chain whose first version sets its second on an event: `fault` says whether it faults then.
fn upgrading(second: &Image, fault: bool) -> Program {
    let mut first = Program::new();
    let encoded = second.encode();
    let at = first.data(&encoded);
    first.endpoint(0, "main", Role::Transact(0), |asm| {
        asm.call(Op::ReadData, &[0, RAM.into(), 8, 0])
            .load(0, RAM)
            .if_eq(0, 1, |asm| {
                make(asm, at, encoded.len() as u64);
                asm.call(Op::SetImage, &[51]).mov(5, A0);
                asm.call(Op::Drop, &[50]).call(Op::Drop, &[51]).mov(A0, 5);
                if fault {
                    asm.trap();
                }
                asm.halt();
            })
            .if_eq(0, 2, |asm| {
                asm.trap();
            })
            .halt_with(11);
    });
    first.endpoint(1, "gone", Role::Transact(1), |asm| {
        asm.halt_with(0);
    });
    let to_gone = first.data(&[0]);
    first.endpoint(8, "submit_gone", Role::Dispatch, |asm| {
        asm.if_eq(A0, 1, |asm| {
            asm.call(Op::SlotEmit, &[0, 1, 0, to_gone, 1]);
        })
        .halt_with(0);
    });
    first
}

/// The second version: halts with another value, and has a third endpoint.
fn second() -> Image {
    let mut second = Program::new();
    second.endpoint(0, "main", Role::Transact(0), |asm| {
        asm.halt_with(22);
    });
    second.endpoint(7, "new", Role::View, |asm| {
        asm.halt_with(0);
    });
    passing(&second).build()
}

const SET: &[u8] = &[1, 0, 0, 0, 0, 0, 0, 0];
const FAULT: &[u8] = &[2, 0, 0, 0, 0, 0, 0, 0];

#[test]
fn a_chain_upgrades_itself_when_the_block_commits() {
    let first = upgrading(&second(), false);
    let (mut node, mut other) = pair(&first);
    // In the block itself the parent's endpoints hold, before and after.
    let outcomes = block_of(&mut node, &mut other, &[b"", SET, b"x"]);
    let endings: Vec<Ending> = outcomes.iter().map(|o| o.ending).collect();
    assert_eq!(endings, [11, 0, 11].map(Ending::Halted));
    let id = |image: Image| ImageRef::new(image).id();
    let lineage = genesis_type(&id(passing(&first).build()));
    let expected = set_image_type(&lineage, &id(second()));
    assert_eq!(node.head().instance.type_id(), expected);
    let names = |node: &Node| -> Vec<String> {
        let endpoints = node.chain().endpoints(&node.head()).expect("a program");
        endpoints.into_iter().map(|e| e.name).collect()
    };
    assert_eq!(names(&node), ["main", "new", "submit"]);
    let outcomes = block_of(&mut node, &mut other, &[b"y"]);
    assert_eq!(outcomes[0].ending, Ending::Halted(22));
    // And after a restart, on either engine.
    let genesis = genesis(&passing(&first));
    let mut node = Node::open(node.store.clone(), &genesis, &[]).expect("same chain");
    assert_eq!(names(&node), ["main", "new", "submit"]);
    let outcomes = block_of(&mut node, &mut other, &[b"z"]);
    assert_eq!(outcomes[0].ending, Ending::Halted(22));
}

#[test]
fn a_fault_cancels_an_upgrade() {
    let first = upgrading(&second(), true);
    let (mut node, mut other) = pair(&first);
    let former = node.head().instance.type_id();
    let outcomes = block_of(&mut node, &mut other, &[SET, b""]);
    assert!(matches!(outcomes[0].ending, Ending::Faulted(_)));
    assert_eq!(outcomes[1].ending, Ending::Halted(11));
    assert_eq!(node.head().instance.type_id(), former);
}

/// The fault of another event of the block does not.
#[test]
fn a_later_fault_leaves_an_upgrade() {
    let first = upgrading(&second(), false);
    let (mut node, mut other) = pair(&first);
    let lineage = node.head().instance.type_id();
    let outcomes = block_of(&mut node, &mut other, &[SET, FAULT, b""]);
    let endings: Vec<Ending> = outcomes.iter().map(|o| o.ending).collect();
    let faulted = Ending::Faulted(Fault::Panic as u64);
    assert_eq!(endings, [Ending::Halted(0), faulted, Ending::Halted(11)]);
    let expected = set_image_type(&lineage, &ImageRef::new(second()).id());
    assert_eq!(node.head().instance.type_id(), expected);
}

/// What an Instance spawns descends from it, not from who called it; and from what it is, not
/// from what `set_image` will make of it.
#[test]
fn what_a_callee_spawns_is_of_its_lineage() {
    let spawner = program(Role::Call, |asm| {
        asm.call(Op::SetImage, &[61])
            .call(Op::MintCnode, &[70])
            .call(Op::DeriveSpawn, &[60, 70, 71])
            .halt();
    });
    let (child, next) = (ImageRef::new(pinning(80)), ImageRef::new(pinning(81)));
    let images = [(60, Cap::Image(child.clone())), (61, Cap::Image(next))];
    let passing_on = program(Role::Call, |asm| {
        asm.call(Op::Call, &[CALLEE.into(), 0]).halt();
    });
    let Cap::Instance(inner) = instance(&spawner, &images) else {
        panic!("an Instance was made");
    };
    let Body::Program { image, cnode, .. } = inner.body() else {
        panic!("a program was made");
    };
    // The three on the way have three types.
    let inner = Instance::program([2; 32], image.clone(), cnode.clone());
    let entries = [(CALLEE, Cap::Instance(inner))];
    let (mut node, mut other) = {
        let entries = [(CALLEE, instance(&passing_on, &entries))];
        let genesis = genesis(&passing(&caller()));
        (
            node_of(&genesis, &entries),
            Node::on_other_engine(&genesis, &entries),
        )
    };
    for node in [&mut node, &mut other] {
        assert_eq!(reports(&run(node)), [[0, 0]]);
        let held = callee_table(node).get(&*node.store, &key(CALLEE));
        let Ok(Some(Cap::Instance(inner))) = held else {
            panic!("the spawner is gone");
        };
        let table = inner.cnode().expect("a program");
        let Ok(Some(Cap::Instance(spawned))) = table.get(&*node.store, &key(71)) else {
            panic!("nothing was spawned");
        };
        let expected = derive_type(&[2; 32], &child.id());
        assert_eq!(spawned.type_id(), expected);
    }
}

#[test]
fn what_waits_for_endpoints_that_an_upgrade_removes_is_dropped() {
    let (mut node, _) = pair(&upgrading(&second(), false));
    let gone = node.dispatch(8, event(b"gone")).expect("accepted");
    node.dispatch(9, event(SET)).expect("accepted");
    // The block takes both.
    node.build().expect("built");
    assert!(!node.kernel.pending(&gone.id));
    let (mut late, _) = pair(&upgrading(&second(), false));
    let block = {
        let (mut builder, _) = pair(&upgrading(&second(), false));
        builder.dispatch(9, event(SET)).expect("accepted");
        builder.build().expect("built").block
    };
    late.dispatch(8, event(b"gone")).expect("accepted");
    late.dispatch(9, event(b"stays")).expect("accepted");
    late.import(&block).expect("valid");
    assert_eq!(late.kernel.pending_count(), 1);
    assert_eq!(late.build().expect("built").events.len(), 1);
}

/// A callee that sets an Image found in its slot 60 and then does `after`; the caller reports.
fn setting(after: impl FnOnce(&mut Asm)) -> Program {
    program(Role::Call, |asm| {
        asm.call(Op::SetImage, &[60]).store(RAM, A0);
        after(asm);
        asm.load(A0, RAM).halt();
    })
}

fn pinning(slot: u8) -> Image {
    let mut image = halting(5).build();
    image
        .pinned
        .insert(key(slot), Pinned::Data(b"pinned".to_vec()));
    image
}

fn image_cap(image: Image) -> Cap {
    Cap::Image(ImageRef::new(image))
}

#[test]
fn a_callee_has_its_image_from_its_halt_on() {
    // What the set Image pins can't be filled any more, and the slot reads as before.
    let callee = setting(|asm| {
        asm.call(Op::MintCnode, &[70])
            .store(RAM + 8, A0)
            .call(Op::MintData, &[RAM.into(), 16, 71]);
    });
    let entries = [(CALLEE, instance(&callee, &[(60, image_cap(pinning(70)))]))];
    let mut node = node(&caller(), &entries);
    run(&mut node);
    let id = ImageRef::new(pinning(70)).id();
    assert_eq!(type_of(&node, CALLEE), Some(set_image_type(&[1; 32], &id)));
    let answers = callee_bytes(&node, 71).expect("written");
    assert_eq!(answers, [0, code(Status::Pinned)].encode());
    // The next call runs it.
    let outcome = run(&mut node);
    assert_eq!(reports(&outcome), [[5, 0]]);
}

#[test]
fn slots_in_use_are_not_pinned() {
    let images = [pinning(60), pinning(70), pinning(70)];
    let mut mapped = setting(|_| {});
    mapped.persist(&[70], 0, 1);
    let mut inner = setting(|_| {});
    inner.persist(&[72], 0, 1);
    for (callee, image, expected) in [
        (&setting(|_| {}), &images[0], code(Status::Occupied)),
        (&mapped, &images[1], code(Status::Occupied)),
        (&inner, &images[2], 0),
    ] {
        let entries = [(CALLEE, instance(callee, &[(60, image_cap(image.clone()))]))];
        let mut node = node(&caller(), &entries);
        let outcome = run(&mut node);
        assert_eq!(reports(&outcome), [[expected, 0]]);
    }
}

/// Asks the kernel to make an Image of a payload; what it answers, and the gas it took.
fn made(bytes: &[u8]) -> (u64, u64) {
    let main = program(Role::Transact(0), |asm| {
        asm.call(Op::MakeImage, &[0, 51]).halt();
    });
    let outcome = Node::new(&genesis(&main), &[]).simulate(0, &event(bytes));
    match outcome.ending {
        Ending::Halted(value) => (value, outcome.gas_used),
        Ending::Faulted(fault) => panic!("fault {fault}"),
    }
}

fn nested(depth: u32, inner: Image) -> Image {
    (0..depth).fold(inner, |inner, _| {
        let mut outer = halting(1).build();
        let pinned = Pinned::Image(Box::new(inner));
        outer.pinned.insert(key(80), pinned);
        outer
    })
}

#[test]
fn images_are_refused_for_each_fault_of_structure() {
    let good = halting(1).build();
    let invalid = code(Status::Invalid);
    let answer = |image: &Image| made(&image.encode()).0;
    assert_eq!(answer(&good), 0);
    assert_eq!(answer(&nested(4, good.clone())), 0);
    assert_eq!(answer(&nested(5, good.clone())), invalid);
    let with = |change: &dyn Fn(&mut Image)| {
        let mut image = good.clone();
        change(&mut image);
        image
    };
    let zeros = |start: u32, size: u32| Mapping {
        start,
        size,
        source: Source::Ephemeral {
            init: None,
            eager: false,
        },
    };
    let changes: &[&dyn Fn(&mut Image)] = &[
        &|i| i.program = Code::default(),
        &|i| i.program.bitmask[0] &= !1,
        &|i| i.endpoints.values_mut().for_each(|e| e.pc = 1),
        // An instruction that is no block's start.
        &|i| i.endpoints.values_mut().for_each(|e| e.pc = 10),
        &|i| {
            i.endpoints
                .values_mut()
                .for_each(|e| e.regs.extend([(13, 0)]))
        },
        &|i| i.memory = vec![zeros(0x10000, 0x2000), zeros(0x11000, 0x1000)],
        &|i| i.memory = vec![zeros(0xffff_f000, 0x2000)],
        &|i| i.memory = vec![zeros(0x10000, 0xffff_f000), zeros(0xffff_0000, 0xffff_f000)],
        &|i| i.memory = vec![zeros(0x10000, 0x1001)],
        &|i| i.memory = vec![zeros(0xf000, 0x1000)],
        &|i| {
            i.memory = (0..65)
                .map(|n| zeros(0x10000 + n * 0x1000, 0x1000))
                .collect()
        },
        &|i| i.pinned.extend([(key(0), Pinned::Data(Vec::new()))]),
        &|i| i.gas_slots = vec![key(7); 2],
    ];
    for (index, change) in changes.iter().enumerate() {
        assert_eq!(answer(&with(change)), invalid, "change {index}");
        // The same where it is pinned by another.
        assert_eq!(answer(&nested(2, with(change))), invalid, "change {index}");
    }
    let encoded = good.encode();
    assert_eq!(made(&[&encoded[..], &[0]].concat()).0, invalid);
    assert_eq!(made(&encoded[..encoded.len() - 1]).0, invalid);
    assert_eq!(made(&[]).0, invalid);
}

/// Whatever is refused costs the price of its size, which is what looking at it takes.
#[test]
fn image_bombs_cost_their_size() {
    let small = nested(0, halting(1).build()).encode();
    let (_, base) = made(&small);
    // A million Images within each other, or as many keys as there is room for.
    let (before, after) = ([0, 0, 0, 0, 0, 4, 4, 1, 1], [0, 0, 0, 0]);
    let levels = 50_000;
    let mut deep = before.repeat(levels);
    deep.extend([0; 10]);
    deep.extend(after.repeat(levels));
    let mut wide = [
        &[0, 0, 0, 0, 0][..],
        &parity_scale_codec::Compact(100_000u32).encode(),
    ]
    .concat();
    wide.extend((0..100_000u32).flat_map(|n| [&[16][..], &n.to_be_bytes(), &[0, 0]].concat()));
    let zeros = vec![0; 1 << 19];
    let ones = vec![0xff; 1 << 19];
    for bomb in [deep, wide, zeros, ones] {
        let (answer, gas) = made(&bomb);
        assert_eq!(answer, code(Status::Invalid));
        let price = Params::default().price_image_64;
        let parts = |len: usize| len.div_ceil(64) as u64;
        assert_eq!(gas - base, (parts(bomb.len()) - parts(small.len())) * price);
    }
}

/// An Image larger than an event: it comes in two, is made and spawned in a third, and called.
#[test]
fn an_image_of_more_than_a_mebibyte_is_entered() {
    let mut large = halting(7);
    large.endpoint(1, "rest", Role::Call, |asm| {
        while asm.len() < 940_000 {
            asm.add(1, 2, 3).store(RAM, 1).load(4, RAM);
            if asm.len() % 60 < 20 {
                asm.trap();
            }
        }
    });
    let encoded = large.build().encode();
    assert!(encoded.len() > 1 << 20);
    let half = encoded.len().div_ceil(2);
    let mut main = Program::new();
    let zeros = Source::Ephemeral {
        init: None,
        eager: false,
    };
    main.map(0, 512, zeros);
    main.endpoint(0, "main", Role::Transact(0), |asm| {
        let (at, half, len) = (u64::from(PERSIST), half as u64, encoded.len() as u64);
        asm.call(Op::Kind, &[60])
            .mov(6, A0)
            .call(Op::Kind, &[61])
            .mov(5, A0)
            .if_eq(6, code(Status::Empty), |asm| {
                asm.call(Op::Move, &[0, 60]).halt();
            })
            .if_eq(5, code(Status::Empty), |asm| {
                asm.call(Op::Move, &[0, 61]).halt();
            })
            .call(Op::Kind, &[CALLEE.into()])
            .mov(6, A0)
            .if_eq(6, code(Status::Empty), |asm| {
                asm.call(Op::ReadData, &[60, at, half, 0])
                    .call(Op::ReadData, &[61, at + half, half, 0]);
                make(asm, at, len);
                asm.halt();
            });
        asm.halt_with(3);
    });
    main.endpoint(1, "spawn", Role::Transact(1), |asm| {
        asm.call(Op::MintCnode, &[52])
            .call(Op::DeriveSpawn, &[51, 52, CALLEE.into()])
            .call(Op::Call, &[CALLEE.into(), 0])
            .halt();
    });
    let none = main.data(&[0]);
    main.endpoint(8, "submit_spawn", Role::Dispatch, |asm| {
        asm.if_eq(A0, 1, |asm| {
            asm.call(Op::SlotEmit, &[0, 1, 0, none, 1]);
        })
        .halt_with(0);
    });
    let (mut node, mut other) = pair(&main);
    let parts = [&encoded[..half], &encoded[half..], b"make"];
    let outcomes = block_of(&mut node, &mut other, &parts);
    assert_eq!(
        outcomes.iter().map(|o| o.ending).collect::<Vec<_>>(),
        [Ending::Halted(0); 3]
    );
    node.dispatch(8, event(b"")).expect("accepted");
    let built = node.build().expect("built");
    assert_eq!(built.outcomes[0].ending, Ending::Halted(7));
    assert_eq!(
        other.import(&built.block).expect("valid").outcomes,
        built.outcomes
    );
}

proptest! {
    #![proptest_config(common::seeded(48))]

    /// Whatever a program does with what it holds, an Instance's type says what made it, and the
    /// Image it runs is the one its type ends with.
    #[test]
    fn no_type_comes_from_outside_its_lineage(
        ops in prop::collection::vec((0..8usize, 40..46u64, 40..46u64, 40..46u64), 1..40),
    ) {
        let plain = halting(1).build();
        let mut setting = program(Role::Call, |asm| {
            asm.call(Op::SetImage, &[90]).halt();
        });
        let inner = Pinned::Image(Box::new(plain.clone()));
        setting.image.pinned.insert(key(90), inner);
        let setting = setting.build();
        let mut main = Program::new();
        for (slot, image) in [(80, &plain), (81, &setting)] {
            let pinned = Pinned::Image(Box::new(image.clone()));
            main.image.pinned.insert(key(slot), pinned);
        }
        main.endpoint(0, "main", Role::Transact(0), |asm| {
            for (op, a, b, c) in &ops {
                let (a, b, c) = (*a, *b, *c);
                match op {
                    0 => asm.call(Op::MintCnode, &[a]),
                    1 => asm.call(Op::DeriveSpawn, &[80 + c % 2, a, b]),
                    2 => asm.call(Op::Call, &[a, 0]),
                    3 => asm.call(Op::Copy, &[a, b]),
                    4 => asm.call(Op::Swap, &[a, b]),
                    5 => asm.call(Op::Drop, &[a]),
                    6 => asm.call(Op::TypeOf, &[a, b]),
                    _ => asm.call(Op::Subtype, &[a, 80 + c % 2, b]),
                };
            }
            asm.halt_with(0);
        });
        let (mut node, mut other) = pair(&main);
        block_of(&mut node, &mut other, &[b""]);
        let id = |image: &Image| ImageRef::new(image.clone()).id();
        let own = node.head().instance.type_id();
        let (plain, setting) = (id(&plain), id(&setting));
        let of_setting = derive_type(&own, &setting);
        let lineages = [
            (derive_type(&own, &plain), plain),
            (of_setting, setting),
            (set_image_type(&of_setting, &plain), plain),
        ];
        for slot in 40..46 {
            if let Some(Cap::Instance(instance)) = node.get(&[slot]) {
                let jar_cap::Body::Program { image, .. } = instance.body() else {
                    panic!("no native was put there");
                };
                let lineage = (instance.type_id(), image.id());
                prop_assert!(lineages.contains(&lineage));
            }
        }
    }

    /// What is accepted is canonical, and can be entered on either engine: the worst that
    /// happens is the callee's fault or the caller's refusal.
    #[test]
    fn edited_images_are_refused_or_run(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = nested(1, pinning(90)).encode();
        for (index, byte) in edits {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let mut main = Program::new();
        let at = main.data(&bytes);
        main.endpoint(0, "main", Role::Transact(0), |asm| {
            spawn(asm, at, bytes.len() as u64);
            asm.mov(5, A0).call(Op::Call, &[CALLEE.into(), 0]).mov(A0, 5).halt();
        });
        let (mut node, mut other) = pair(&main);
        let outcomes = block_of(&mut node, &mut other, &[b""]);
        prop_assert!(matches!(outcomes[0].ending, Ending::Halted(_)));
        if let Some(Cap::Instance(instance)) = node.get(&[CALLEE]) {
            prop_assert!(instance.cnode().is_some());
            let image = Image::decode_checked(&bytes);
            prop_assert_eq!(image.expect("it was accepted").encode(), bytes);
        }
    }
}
