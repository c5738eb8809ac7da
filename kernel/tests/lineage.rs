//! Nobody obtains an Instance of a type except through its lineage: whatever programs do, each
//! Instance in the state has a type that vouches for its Image and for who made it.

mod common;

use std::collections::{HashMap, VecDeque};

use common::calls::*;
use common::chain::event;
use common::program::path;
use common::{A0, A1, Asm, Node, Program, Rng, genesis};
use jar_abi::{HostCall as Op, slots};
use jar_cap::image::Role;
use jar_cap::{
    CNode, Cap, Hash, ImageRef, Instance, NativeKind, derive_type, genesis_type, set_image_type,
};
use parity_scale_codec::Encode;

/// Links of a lineage that are looked for at the most; programs of this length make fewer.
const LINKS_MAX: usize = 7;

/// What the slots of a program hold at first.
const IMAGES: [u64; 2] = [50, 51];
const ENCODED: u64 = 52;
const TABLE: u64 = 53;
const TYPE: u64 = 54;
const MARKER: u64 = 55;
/// Taken once the Image was changed.
const UPGRADED: u64 = 70;
/// Where things go.
const FREE: [u64; 5] = [60, 61, 62, 63, 64];

fn pick(rng: &mut Rng, from: &[u64]) -> u64 {
    from[rng.below(from.len() as u64) as usize]
}

fn image_slot(rng: &mut Rng) -> u64 {
    match rng.below(6) {
        0 => pick(rng, &FREE),
        _ => pick(rng, &IMAGES),
    }
}

fn free_slot(rng: &mut Rng) -> u64 {
    match rng.below(4) {
        0 => path(&[TABLE as u8, rng.below(3) as u8]),
        _ => pick(rng, &FREE),
    }
}

fn any_slot(rng: &mut Rng) -> u64 {
    match rng.below(4) {
        0 => CALLEE.into(),
        1 => pick(rng, &[0, TYPE, MARKER, ENCODED, TABLE]),
        _ => free_slot(rng),
    }
}

/// Operations on Images, Types and Instances, mostly with arguments that are good.
fn steps(rng: &mut Rng, asm: &mut Asm) {
    for _ in 0..rng.below(12) + 8 {
        let (any, free) = (any_slot(rng), free_slot(rng));
        let table = pick(rng, &FREE);
        match rng.below(16) {
            0..4 => asm
                .call(Op::MintCnode, &[table])
                .call(Op::DeriveSpawn, &[image_slot(rng), table, free]),
            // Once in an Instance's life, so that lineages stay short enough to be looked for.
            4 => asm.call(Op::MintCnode, &[UPGRADED]).if_eq(A0, 0, |asm| {
                asm.call(Op::SetImage, &[image_slot(rng)]);
            }),
            5 => asm.call(Op::Subtype, &[any, image_slot(rng), free]),
            6 => asm.call(Op::TypeOf, &[any, free]),
            7 => asm.call(Op::MakeImage, &[ENCODED, free]),
            8 => asm.call(Op::Copy, &[any, free]),
            9 => asm.call(Op::Move, &[any, free]),
            10 => asm.call(Op::Swap, &[any, pick(rng, &FREE)]),
            11 => asm.call(Op::Drop, &[free]),
            12 => asm.call(Op::Yield, &[MARKER]),
            _ => {
                let callee = if rng.below(2) == 0 {
                    CALLEE.into()
                } else {
                    any
                };
                asm.call(Op::Call, &[callee, 0]);
                // What a waiting callee gets: an answer, its end, or to wait on.
                let then = pick(
                    rng,
                    &[Op::Resume, Op::Abort, Op::Detach].map(|op| op as u64),
                );
                asm.if_eq(A1, 2, |asm| {
                    asm.set(A0, callee).host_number(then);
                });
                match rng.below(3) {
                    0 => asm.call(Op::Resume, &[callee]),
                    _ => asm,
                }
            }
        };
    }
}

fn callee_program(rng: &mut Rng) -> Program {
    let mut program = program(Role::Call, |asm| {
        steps(rng, asm);
        asm.halt_with(0);
    });
    program.image.catcher_slot = Some(common::key(slots::CATCHER));
    program
}

struct Start {
    main: Program,
    entries: Vec<(u8, Cap)>,
    images: Vec<ImageRef>,
    lineages: Vec<(Hash, Hash)>,
}

fn start(seed: u64) -> Start {
    let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let callee = callee_program(&mut rng);
    let other = callee_program(&mut rng);
    let mut main = program(Role::Transact(0), |asm| {
        steps(&mut rng, asm);
        asm.halt_with(0);
    });
    main.image.catcher_slot = Some(common::key(slots::CATCHER));
    let main = passing(&main);
    let [callee_image, other_image] = [&callee, &other].map(|p| ImageRef::new(p.build()));
    let types = vec![[1u8; 32], [2; 32]];
    let catcher = Instance::native(NativeKind::Catcher, types.encode());
    let marker = Instance::program([2; 32], other_image.clone(), CNode::empty());
    let mut entries = vec![
        (slots::CATCHER, Cap::Instance(catcher)),
        (IMAGES[0] as u8, Cap::Image(callee_image.clone())),
        (IMAGES[1] as u8, Cap::Image(other_image.clone())),
        (ENCODED as u8, data(&other.build().encode())),
        (TABLE as u8, Cap::CNode(CNode::empty())),
        (TYPE as u8, Cap::Type([1; 32].into())),
        (MARKER as u8, Cap::Instance(marker)),
    ];
    let inner = instance(&callee, &entries);
    let outer = [&entries[..], &[(CALLEE, inner)]].concat();
    entries.push((CALLEE, instance(&callee, &outer)));
    let main_image = ImageRef::new(main.build());
    let main_id = main_image.id();
    Start {
        lineages: vec![
            (genesis_type(&main_id), main_id),
            ([1; 32], callee_image.id()),
            ([2; 32], other_image.id()),
        ],
        images: vec![callee_image, other_image],
        main,
        entries,
    }
}

/// The types that can come of some, with the Image that an Instance of each has.
struct Descendants {
    images: Vec<Hash>,
    known: HashMap<Hash, Hash>,
    youngest: Vec<Hash>,
    links: usize,
}

impl Descendants {
    fn of(start: &Start) -> Descendants {
        Descendants {
            images: start.images.iter().map(ImageRef::id).collect(),
            known: start.lineages.iter().copied().collect(),
            youngest: start.lineages.iter().map(|(ty, _)| *ty).collect(),
            links: 0,
        }
    }

    /// The Image of a type, looked for as many links down as it takes.
    fn image_of(&mut self, ty: &Hash) -> Option<Hash> {
        while !self.known.contains_key(ty) && self.links < LINKS_MAX {
            self.links += 1;
            let mut children = Vec::new();
            for parent in &self.youngest {
                for image in &self.images {
                    for child in [derive_type(parent, image), set_image_type(parent, image)] {
                        let former = self.known.insert(child, *image);
                        assert_eq!(former, None, "a type has one lineage");
                        children.push(child);
                    }
                }
            }
            self.youngest = children;
        }
        self.known.get(ty).copied()
    }
}

/// Type and Image of each program in the state, set-aside and suspended ones included.
fn programs(node: &Node, root: &Instance) -> Vec<(Hash, Hash)> {
    let mut found = Vec::new();
    let mut queue = VecDeque::from([Cap::Instance(root.clone())]);
    let mut seen = std::collections::HashSet::new();
    while let Some(cap) = queue.pop_front() {
        if !seen.insert(cap.id()) {
            continue;
        }
        let table = match &cap {
            Cap::CNode(table) => table.clone(),
            Cap::Instance(instance) => {
                let jar_cap::Body::Program { image, cnode, .. } = instance.body() else {
                    continue;
                };
                found.push((instance.type_id(), image.id()));
                let aside = instance
                    .suspended()
                    .and_then(|paused| paused.scratch.clone());
                let aside = aside.map(|scratch| scratch.get(&*node.store).expect("readable"));
                queue.extend(aside.flatten());
                cnode.clone()
            }
            _ => continue,
        };
        let mut after = None;
        while let Some((key, cap)) = table.next(&*node.store, after.as_ref()).expect("readable") {
            queue.push_back(cap);
            after = Some(key);
        }
    }
    found
}

#[test]
fn every_instance_is_of_its_lineage() {
    let (mut derived, mut suspended) = (0, 0);
    for seed in 1..=100u64 {
        let start = start(seed);
        let mut descendants = Descendants::of(&start);
        let first: Vec<Hash> = start.lineages.iter().map(|(ty, _)| *ty).collect();
        let mut genesis = genesis(&start.main);
        genesis.params.event_gas = 20_000_000;
        let mut node = node_of(&genesis, &start.entries);
        let mut other = Node::on_other_engine(&genesis, &start.entries);
        for round in 0..2u8 {
            // An upgraded chain may have no such endpoint any more.
            let _ = node.dispatch(9, event([round]));
            let built = node.build().expect("built");
            let imported = other.import(&built.block).expect("the same block");
            assert_eq!(imported.outcomes, built.outcomes, "seed {seed}");
            for node in [&node, &other] {
                for (ty, image) in programs(node, &node.head().instance) {
                    assert_eq!(descendants.image_of(&ty), Some(image), "seed {seed}");
                    derived += usize::from(!first.contains(&ty));
                }
            }
            let head = node.head().instance.clone();
            suspended += usize::from(any_suspended(&node, &head));
        }
    }
    assert!(derived > 200, "{derived}: the programs do make Instances");
    assert!(suspended > 5, "{suspended}: some are suspended");
}

fn any_suspended(node: &Node, root: &Instance) -> bool {
    let table = root.cnode().expect("a program");
    let callee = table.get(&*node.store, &common::key(CALLEE));
    matches!(callee, Ok(Some(Cap::Instance(i))) if i.suspended().is_some())
}
