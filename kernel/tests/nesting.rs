//! Trees of Instances that call, yield over and resume one another in any order: however and where
//! they are suspended in between, whatever runs short, what they come to is the same.

mod common;

use std::collections::BTreeMap;

use common::calls::*;
use common::chain::event;
use common::program::cap_path;
use common::{A0, A1, Asm, Node, PERSIST, Program, RAM, Rng, genesis, path};
use jar_abi::{HostCall as Op, slots};
use jar_cap::image::{Pinned, Role, Source};
use jar_cap::{CNode, Cap, ImageRef, Instance, Key, MemoryStore, NativeKind, native_type};
use jar_kernel::block::Ending;
use parity_scale_codec::Encode;

/// Levels of the tree below the chain, which is level 1.
const LEVELS: std::ops::RangeInclusive<u8> = 2..=4;
/// Slot of the marker that level 0 would catch; those of others behind it.
const MARKERS: u8 = 60;
/// The Image that `set_image` sets, and the caps of the first Instance.
const NEXT: u8 = 92;
const METERS: [u8; 2] = [93, 94];
const ROWS: [u64; 2] = [5, 6];
const CALLEE_SLOT: u64 = CALLEE as u64;

/// Memory of each sort: where it begins, and pages.
const MEMORY: [(u32, u32); 7] = [
    (RAM, 4),
    (PERSIST, 4),
    (PERSIST + 0x100 * 4096, 4),
    (PERSIST + 0x200 * 4096, 3),
    (PERSIST + 0x300 * 4096, 2),
    (PERSIST + 0x400 * 4096, 2),
    (PERSIST + 0x500 * 4096, 2),
];

fn base() -> Program {
    let pinned = |len: u32| Pinned::Data((0..len).map(|i| (i % 253) as u8).collect());
    let ephemeral = |init: Option<u8>, eager| Source::Ephemeral {
        init: init.map(|slot| cap_path(&[slot])),
        eager,
    };
    let mut program = Program::new();
    program.persist(&[41], 0, 4);
    program.map(0x100, 4, ephemeral(None, true));
    program.map(0x200, 3, ephemeral(Some(34), false));
    program.map(0x300, 2, ephemeral(Some(35), true));
    program.persist(&[45, 1], 0x400, 2);
    program.persist(&[46], 0x500, 2);
    let pins = [(34, 6000), (35, 5000)].map(|(slot, len)| (Key::from(slot), pinned(len)));
    program.image.pinned.extend(pins);
    program.image.catcher_slot = Some(Key::from(slots::CATCHER));
    program
}

/// An Instance in the making: a straight line of code for each call of it.
struct Made {
    level: u8,
    program: Program,
    calls: Vec<Asm>,
    /// Where its callees are.
    callees: Vec<(Vec<Vec<u8>>, usize)>,
    is_called: bool,
}

/// A frame as the generator follows it.
struct Running {
    instance: usize,
    call: usize,
    steps: u64,
    waiting: Vec<(usize, Vec<Running>)>,
}

/// Writes all programs along one run of them.
struct Run<'r> {
    rng: &'r mut Rng,
    made: Vec<Made>,
    frames: Vec<Running>,
    paths: BTreeMap<(usize, usize), u64>,
}

impl Run<'_> {
    fn top(&mut self) -> &mut Running {
        self.frames.last_mut().expect("a frame runs")
    }

    fn asm(&mut self) -> &mut Asm {
        let Running { instance, call, .. } = *self.top();
        &mut self.made[instance].calls[call]
    }

    fn register(&mut self) -> u8 {
        self.rng.below(6) as u8
    }

    fn slot(&mut self) -> u64 {
        let last = 100 + self.rng.below(5) as u8;
        match self.rng.below(2) {
            0 => last.into(),
            _ => path(&[50, last]),
        }
    }

    /// The register of the path to a callee, which may lie in memory.
    fn callee_path(&mut self, instance: usize, callee: usize) -> u64 {
        if let Some(known) = self.paths.get(&(instance, callee)) {
            return *known;
        }
        let made = &mut self.made[instance];
        let keys = made.callees[callee].0.clone();
        let register = if keys.iter().all(|key| key.len() == 1) {
            path(&keys.concat())
        } else {
            let bytes = keys.encode();
            1 << 63 | (bytes.len() as u64) << 32 | made.program.data(&bytes)
        };
        self.paths.insert((instance, callee), register);
        register
    }

    /// Something that a suspension must not change.
    fn step(&mut self) {
        let (start, pages) = MEMORY[self.rng.below(7) as usize];
        let at = start + self.rng.below(pages.into()) as u32 * 4096 + self.rng.below(3) as u32 * 8;
        let (register, a, b) = (self.register(), self.register(), self.register());
        let (slot, other, value) = (self.slot(), self.slot(), self.rng.next());
        let bytes = u64::from(RAM) + self.rng.below(4) * 4096;
        let len = self.rng.below(3) * 4000;
        let mapped = [41, 46, path(&[45, 1])][self.rng.below(3) as usize];
        let which = self.rng.below(18);
        let asm = self.asm();
        match which {
            0..=3 => asm.store(at, register),
            4..=6 => asm.load(register, at),
            7 => asm.set(register, value),
            8 => asm.add(register, a, b),
            9 => asm.call(Op::MintCnode, &[slot]).mov(register, A0),
            10 => asm.call(Op::Drop, &[slot]).mov(register, A0),
            11 => asm
                .call(Op::MintData, &[bytes, len, slot])
                .mov(register, A0),
            12 => asm.call(Op::Move, &[slot, other]).mov(register, A0),
            13 => asm.call(Op::Swap, &[slot, other]).mov(register, A0),
            14 => asm.call(Op::Copy, &[slot, other]).mov(register, A0),
            15 => asm
                .call(Op::ReadData, &[slot, bytes, 5000, 0])
                .mov(register, A0),
            // The slot holds something, be it what was written back: the operation wins.
            16 if value % 3 > 0 => asm
                .call(Op::MintData, &[bytes, 8, mapped])
                .call(Op::Drop, &[mapped]),
            16 => asm.call(Op::SetImage, &[NEXT.into()]),
            _ => {
                report(asm, &[0, 1, 2, 3, 4, 5]);
                asm
            }
        };
    }

    /// Fills slot 0, or leaves it empty.
    fn payload(&mut self) {
        let (len, is_empty) = (self.rng.below(3) * 8, self.rng.below(4) == 0);
        let asm = self.asm();
        asm.call(Op::Drop, &[0]);
        if !is_empty {
            asm.call(Op::MintData, &[RAM.into(), len, 0]);
        }
    }

    /// What a frame does that goes on.
    fn go_on(&mut self) {
        let (a, b) = (self.register(), self.register());
        let asm = self.asm();
        asm.mov(a, A0).mov(b, A1);
        asm.call(Op::ReadData, &[0, RAM.into(), 64, 0]);
    }

    fn halt(&mut self) {
        self.payload();
        let register = self.register();
        self.asm().mov(A0, register).halt();
        let ended = self.frames.pop().expect("a frame runs");
        self.made[ended.instance].is_called = false;
        if !self.frames.is_empty() {
            self.go_on();
        }
    }

    fn call(&mut self) {
        let instance = self.top().instance;
        let callees = &self.made[instance].callees;
        let is_idle = |callee: &usize| !self.made[callees[*callee].1].is_called;
        let idle: Vec<usize> = (0..callees.len()).filter(is_idle).collect();
        if idle.is_empty() {
            return;
        }
        let callee = idle[self.rng.below(idle.len() as u64) as usize];
        let at = self.callee_path(instance, callee);
        let to = self.made[instance].callees[callee].1;
        let call = self.made[to].calls.len();
        self.payload();
        let argument = self.rng.next();
        self.asm().call(Op::Call, &[at, call as u64, argument, 5]);
        self.made[to].calls.push(Asm::new());
        self.enter(to, call);
    }

    fn enter(&mut self, instance: usize, call: usize) {
        self.made[instance].is_called = true;
        self.frames.push(Running {
            instance,
            call,
            steps: 0,
            waiting: Vec::new(),
        });
    }

    /// To any level above; the chain resumes at once.
    fn yield_to_owner(&mut self) {
        let level = self.frames.len() as u64 + 1;
        let to = 1 + self.rng.below(level - 1);
        self.payload();
        self.asm().call(Op::Yield, &[u64::from(MARKERS) + to]);
        if to > 1 {
            let subtree = self.frames.split_off(to as usize - 1);
            let (owner, first) = (self.top().instance, subtree[0].instance);
            let callees = &self.made[owner].callees;
            let callee = callees.iter().position(|(_, callee)| *callee == first);
            let callee = callee.expect("it was called");
            self.top().waiting.push((callee, subtree));
        }
        self.go_on();
    }

    fn resume(&mut self) {
        let count = self.top().waiting.len() as u64;
        let which = self.rng.below(count) as usize;
        let is_detached = self.rng.below(3) == 0;
        self.payload();
        let Running { instance, .. } = *self.top();
        let (callee, subtree) = self.top().waiting.remove(which);
        let at = self.callee_path(instance, callee);
        if is_detached {
            self.asm().call(Op::Detach, &[at]);
        }
        self.asm().call(Op::Resume, &[at]);
        self.frames.extend(subtree);
        self.go_on();
    }

    /// Until all have ended.
    fn run(&mut self) {
        for total in 0.. {
            let Some(top) = self.frames.last_mut() else {
                return;
            };
            top.steps += 1;
            let (steps, waits) = (top.steps, !top.waiting.is_empty());
            let ends = total > 120 || steps > 20;
            match self.rng.below(10) {
                _ if ends && waits => self.resume(),
                _ if ends => self.halt(),
                0 | 1 => self.call(),
                2 | 3 => self.yield_to_owner(),
                4 if waits => self.resume(),
                _ => self.step(),
            }
        }
    }
}

fn make(made: &mut Vec<Made>, rng: &mut Rng, level: u8) -> usize {
    let index = made.len();
    made.push(Made {
        level,
        program: base(),
        calls: Vec::new(),
        callees: Vec::new(),
        is_called: false,
    });
    let places: [&[&[u8]]; 3] = [&[&[40]], &[&[44], &[1]], &[&[44], &[7; 32]]];
    for place in places {
        if level < *LEVELS.end() && rng.below(3) > 0 {
            let callee = make(made, rng, level + 1);
            let place = place.iter().map(|key| key.to_vec()).collect();
            made[index].callees.push((place, callee));
        }
    }
    index
}

fn put(table: &mut CNode, place: &[Vec<u8>], cap: Cap) {
    let store = MemoryStore::new();
    let keys: Vec<Key> = place
        .iter()
        .map(|key| Key::new(key).expect("short"))
        .collect();
    for len in 1..keys.len() {
        if table.get_path(&store, &keys[..len]) == Ok(None) {
            let node = Some(Cap::CNode(CNode::empty()));
            table.set_path(&store, &keys[..len], node).expect("a map");
        }
    }
    table.set_path(&store, &keys, Some(cap)).expect("a map");
}

fn catcher(mut types: Vec<[u8; 32]>) -> Cap {
    types.sort();
    Cap::Instance(Instance::native(NativeKind::Catcher, types.encode()))
}

fn image(program: &Program) -> ImageRef {
    ImageRef::new(program.build())
}

fn marker(level: u8) -> Cap {
    let trap = program(Role::Call, |asm| {
        asm.trap();
    });
    Cap::Instance(Instance::program([level; 32], image(&trap), CNode::empty()))
}

fn finish(made: &[Made], index: usize) -> Cap {
    let Made {
        level,
        program,
        calls,
        callees,
        ..
    } = &made[index];
    let (mut program, mut table) = (program.clone(), CNode::empty());
    for (call, asm) in (0..).zip(calls) {
        program.endpoint(call, &format!("call {call}"), Role::Call, |own| {
            own.append(asm);
        });
    }
    let mut next = base();
    next.endpoint(0, "next", Role::Call, |asm| {
        asm.halt();
    });
    next.image
        .pinned
        .insert(Key::from(103), Pinned::Data(vec![1]));
    let mut slot = |slot: u8, cap| put(&mut table, &[vec![slot]], cap);
    slot(slots::CATCHER, catcher(vec![[*level; 32]]));
    slot(41, data(&[9; 5000]));
    slot(50, Cap::CNode(CNode::empty()));
    slot(NEXT, Cap::Image(image(&next)));
    (1..*level).for_each(|above| slot(MARKERS + above, marker(above)));
    if index == 0 {
        let kinds = [NativeKind::Gas, NativeKind::Quota];
        for ((kind, at), row) in kinds.into_iter().zip(METERS).zip(ROWS) {
            slot(at, Cap::Instance(Instance::native(kind, row.encode())));
        }
        program.image.gas_slots = vec![Key::from(METERS[0])];
        program.image.quota_slots = vec![Key::from(METERS[1])];
    }
    put(&mut table, &[vec![45], vec![1]], data(&[8; 9000]));
    for (place, callee) in callees {
        put(&mut table, place, finish(made, *callee));
    }
    Cap::Instance(Instance::program([100 + level; 32], image(&program), table))
}

/// How the chain treats what it catches, and what it gives the rows each time.
#[derive(Clone, Copy, Debug)]
struct Mode {
    detaches: bool,
    /// Whether it resumes what it has detached in the next block only.
    waits: bool,
    rows: [u64; 2],
    on_other: bool,
}

const MUCH: [u64; 2] = [1 << 45; 2];

fn set_rows(asm: &mut Asm, rows: [u64; 2]) {
    let setters = [slots::SET_GAS_METER, slots::SET_STORAGE_QUOTA];
    for ((setter, row), value) in setters.into_iter().zip(ROWS).zip(rows) {
        asm.call(Op::Call, &[setter.into(), 0, row, value]);
    }
}

/// Calls on an empty payload, else resumes, until that has ended or waits for the next block.
fn driver(mode: Mode) -> Program {
    let resume = |asm: &mut Asm| {
        set_rows(asm, mode.rows);
        asm.call(Op::Drop, &[0])
            .call(Op::MintData, &[RAM as u64 + 64, 8, 0])
            .call(Op::Resume, &[CALLEE_SLOT])
            .mov(2, A1);
    };
    let mut driver = program(Role::Transact(0), |asm| {
        asm.call(Op::ReadData, &[0, RAM.into(), 8, 0]).mov(3, A0);
        asm.call(Op::Drop, &[0]);
        asm.if_eq(3, 0, |asm| {
            set_rows(asm, mode.rows);
            asm.call(Op::Call, &[CALLEE_SLOT, 0, 0, 0]).mov(2, A1);
        });
        asm.if_eq(3, 1, resume).forever(|asm| {
            for ended in [0, 1, 3] {
                asm.if_eq(2, ended, |asm| {
                    asm.halt_with(ended);
                });
            }
            if mode.detaches {
                set_rows(asm, MUCH);
                asm.call(Op::Detach, &[CALLEE_SLOT]);
            }
            match mode.waits {
                true => _ = asm.halt_with(2),
                false => resume(asm),
            }
        });
    });
    driver.image.catcher_slot = Some(Key::from(slots::CATCHER));
    driver
}

/// The first Instance after it has ended, what was reported, and the gas that was spent.
fn run(mode: Mode, callee: &Cap) -> (Option<Cap>, Vec<Vec<u64>>, u64) {
    let mut genesis = genesis(&passing(&driver(mode)));
    genesis.params.event_gas = 1 << 36;
    genesis.params.block_gas = 1 << 36;
    genesis.params.event_quota = 1 << 36;
    // Who can't pay for what lasts when it is settled faults: nothing here does.
    genesis.params.price_page_persist = 0;
    let short = [NativeKind::OutOfGas, NativeKind::OutOfQuota].map(native_type);
    let types = [&[[1; 32]][..], &short].concat();
    let entries = [(slots::CATCHER, catcher(types)), (CALLEE, callee.clone())];
    let mut node = match mode.on_other {
        false => node_of(&genesis, &entries),
        true => Node::on_other_engine(&genesis, &entries),
    };
    let (mut told, mut spent) = (Vec::new(), 0);
    for block in 0..1000 {
        let payload: &[u8] = if block == 0 { &[] } else { &[1] };
        let outcome = transact(&mut node, event(payload));
        told.extend(reports(&outcome));
        spent += outcome.gas_used;
        match outcome.ending {
            Ending::Halted(0) => return (node.get(&[CALLEE]), told, spent),
            ending => assert_eq!((ending, mode.waits), (Ending::Halted(2), true), "{mode:?}"),
        }
    }
    panic!("{mode:?} goes on without an end");
}

#[test]
fn suspensions_and_shortages_change_nothing() {
    for seed in 1..=40u64 {
        let mut rng = Rng(seed * 0x9e37_79b9_7f4a_7c15);
        let mut made = Vec::new();
        make(&mut made, &mut rng, *LEVELS.start());
        made[0].calls.push(Asm::new());
        let mut writer = Run {
            rng: &mut rng,
            made,
            frames: Vec::new(),
            paths: BTreeMap::new(),
        };
        writer.enter(0, 0);
        writer.run();
        let callee = finish(&writer.made, 0);
        let mode = |detaches, waits, rows| Mode {
            detaches,
            waits,
            rows,
            on_other: false,
        };
        let expected = run(mode(false, false, MUCH), &callee);
        for mode in [
            mode(false, false, MUCH),
            mode(true, false, MUCH),
            mode(true, true, MUCH),
            mode(false, false, [4_000_000, 400_000]),
            mode(true, false, [4_000_000, 400_000]),
            mode(true, true, [9_000_000, 400_000]),
        ] {
            let found = run(mode, &callee);
            assert_eq!(found.1, expected.1, "seed {seed} {mode:?}");
            assert!(
                found.0 == expected.0,
                "seed {seed} {mode:?}: the states differ"
            );
            let other = Mode {
                on_other: true,
                ..mode
            };
            let other = run(other, &callee);
            assert!(other == found, "seed {seed} {mode:?}: engines differ");
        }
    }
}
