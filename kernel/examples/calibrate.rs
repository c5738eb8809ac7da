//! Measures what host calls take and prints it beside their prices, at a quarter of a
//! nanosecond for a unit of gas:
//! `cargo run --release -p jar-kernel --example calibrate`

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::Instant;

use common::chain::{engine, event, genesis_of, other_engine};
use common::{A0, Asm, Node, PERSIST, Program, RAM, genesis, key, seed_key, sign};
use jar_abi::HostCall as Op;
use jar_cap::image::{Image, Mapping, Role, Source};
use jar_cap::{CNode, Cap, Data, ImageRef, Instance, Key, MemoryStore};
use jar_kernel::block::{Ending, Event, Scope};
use jar_kernel::{Genesis, Params, SignatureCheck, verify_batch};
use parity_scale_codec::Encode;

/// Nanoseconds of one unit of gas.
const NS_PER_GAS: f64 = 0.25;
/// Entries of the map that lookups and writes go to.
const MAP_ENTRIES: u64 = 100_000;
/// Slot of that map, and of the Instance that is called.
const MAP: u8 = 41;
const CALLEE: u8 = 40;
const CALLEES: u8 = 43;
const SUBMIT: u8 = 9;

/// What a program takes: executed, and executed and committed.
struct Cost {
    ns: f64,
    gas: f64,
}

impl Cost {
    /// Of one of the `steps` that `many` has done beyond `few`.
    fn of_one(few: &Cost, many: &Cost, steps: f64) -> Cost {
        Cost {
            ns: (many.ns - few.ns) / steps,
            gas: (many.gas - few.gas) / steps,
        }
    }
}

fn row(what: &str, cost: &Cost) {
    let price_ns = cost.gas * NS_PER_GAS;
    println!(
        "| {what} | {:.0} | {:.0} | {:.0} | {:.2} |",
        cost.ns,
        cost.gas,
        price_ns,
        price_ns / cost.ns
    );
}

/// The shortest of some runs: what the machine does when it does nothing else.
fn shortest(runs: usize, mut run: impl FnMut() -> f64) -> f64 {
    (0..runs).map(|_| run()).fold(f64::MAX, f64::min)
}

fn map_key(index: u64) -> Key {
    Key::new(&jar_cap::hash::blake2b(&[&index.to_le_bytes()])).expect("32 bytes")
}

fn entries() -> Vec<(u8, Cap)> {
    let store = MemoryStore::new();
    let mut map = CNode::empty();
    for index in 0..MAP_ENTRIES {
        let data = Cap::Data(Data::new(&index.to_le_bytes()));
        map.set(&store, &map_key(index), Some(data))
            .expect("in memory");
    }
    let mut callee = Program::new();
    callee.endpoint(0, "main", Role::Call, |asm| {
        asm.halt_with(0);
    });
    let image = ImageRef::new(callee.build());
    let mut callees = CNode::empty();
    for index in 0..MAP_ENTRIES / 10 {
        let callee = Instance::program([1; 32], image.clone(), CNode::empty());
        callees
            .set(&store, &map_key(index), Some(Cap::Instance(callee)))
            .expect("in memory");
    }
    let callee = Instance::program([1; 32], image, CNode::empty());
    vec![
        (CALLEE, Cap::Instance(callee)),
        (CALLEES, Cap::CNode(callees)),
        (MAP, Cap::CNode(map)),
        (42, Cap::Data(Data::new(&[1; 65_536]))),
        (46, Cap::Data(Data::new(&long_bytes(65_536 * 32)))),
    ]
}

/// Bytes no two pages of which are the same.
fn long_bytes(len: u64) -> Vec<u8> {
    (0..len)
        .map(|i| (i % 4096 * (1 + i / 4096) / 7) as u8)
        .collect()
}

/// A chain of one Transact endpoint with budgets that no measurement exhausts.
fn chain(program: &Program) -> Genesis {
    let mut program = program.clone();
    let none = program.data(&[0]);
    program.endpoint(SUBMIT, "submit", Role::Dispatch, |asm| {
        asm.if_eq(A0, 1, |asm| {
            asm.call(Op::SlotEmit, &[0, 0, 0, none, 1]);
        })
        .halt_with(0);
    });
    let mut genesis = genesis_of(&program.build());
    genesis.params.event_gas = 1 << 38;
    genesis.params.block_gas = 1 << 38;
    genesis.params.event_quota = 1 << 40;
    genesis.params.emit_bytes = 1 << 38;
    // A step's own code is no part of what it takes.
    genesis.params.price_enter_64 = 0;
    genesis
}

/// A node with these entries, on one of the engines.
type Open = fn(&Genesis, &[(u8, Cap)]) -> Node;

fn on_interpreter(genesis: &Genesis, entries: &[(u8, Cap)]) -> Node {
    Node::with_entries(genesis, &[], entries)
}

fn on_recompiler(genesis: &Genesis, entries: &[(u8, Cap)]) -> Node {
    let mut node = Node::on_other_engine(genesis, entries);
    // As much memory as a node has.
    node.kernel.limit_memory(2 << 30);
    node
}

/// Time and gas of running a program and committing what it changed, on a state just loaded.
fn build(open: Open, genesis: &Genesis, entries: &[(u8, Cap)]) -> Cost {
    let mut gas = 0;
    let ns = shortest(3, || {
        let mut node = open(genesis, entries);
        node.dispatch(SUBMIT, event([])).expect("accepted");
        let start = Instant::now();
        let built = node.build().expect("built");
        let ns = start.elapsed().as_nanos() as f64;
        assert_eq!(built.outcomes[0].ending, Ending::Halted(0));
        gas = built.outcomes[0].gas_used;
        ns
    });
    Cost {
        ns,
        gas: gas as f64,
    }
}

/// Time and gas of running a program on a state that is in memory.
fn simulate(open: Open, genesis: &Genesis, entries: &[(u8, Cap)]) -> Cost {
    let node = open(genesis, entries);
    let event = event([]);
    let mut gas = node.simulate(0, &event).gas_used;
    let ns = shortest(5, || {
        let start = Instant::now();
        let outcome = node.simulate(0, &event);
        assert_eq!(outcome.ending, Ending::Halted(0));
        gas = outcome.gas_used;
        start.elapsed().as_nanos() as f64
    });
    Cost {
        ns,
        gas: gas as f64,
    }
}

type Body<'a> = &'a dyn Fn(&mut Program, u64) -> Box<dyn Fn(&mut Asm)>;

struct Bench {
    entries: Vec<(u8, Cap)>,
}

impl Bench {
    /// What one of `count` steps takes, its share of the commit included if there is one.
    fn each(&self, what: &str, count: u64, commits: bool, step: Body<'_>) {
        let program = |count: u64| {
            let mut program = Program::new();
            let steps: Vec<_> = (0..count).map(|index| step(&mut program, index)).collect();
            program.endpoint(0, "main", Role::Transact(0), |asm| {
                steps.iter().for_each(|step| step(asm));
                asm.halt_with(0);
            });
            chain(&program)
        };
        let measure = |count| match commits {
            true => build(on_interpreter, &program(count), &self.entries),
            false => simulate(on_interpreter, &program(count), &self.entries),
        };
        let (few, many) = (measure(count / 10), measure(count));
        let steps = (count - count / 10) as f64;
        let cost = Cost::of_one(&few, &many, steps);
        row(what, &cost);
    }

    /// As [`Bench::each`], divided among the units of 64 bytes in a step.
    fn per_64(&self, what: &str, bytes: u64, commits: bool, step: Body<'_>) {
        let base = |_: &mut Program, _: u64| -> Box<dyn Fn(&mut Asm)> { Box::new(|_| {}) };
        let program = |step: Body<'_>, count: u64| {
            let mut program = Program::new();
            let steps: Vec<_> = (0..count).map(|index| step(&mut program, index)).collect();
            program.endpoint(0, "main", Role::Transact(0), |asm| {
                steps.iter().for_each(|step| step(asm));
                asm.halt_with(0);
            });
            chain(&program)
        };
        let measure = |genesis: &Genesis| match commits {
            true => build(on_interpreter, genesis, &self.entries),
            false => simulate(on_interpreter, genesis, &self.entries),
        };
        let (none, some) = (measure(&program(&base, 1)), measure(&program(step, 32)));
        let units = (32 * bytes / 64) as f64;
        let cost = Cost::of_one(&none, &some, units);
        row(what, &cost);
    }
}

fn call(op: Op, args: &[u64]) -> Box<dyn Fn(&mut Asm)> {
    let args = args.to_vec();
    Box::new(move |asm| {
        asm.call(op, &args);
    })
}

/// A path to an entry of the map, spelled out in read-only memory.
fn entry_path(program: &mut Program, index: u64) -> u64 {
    entry_path_in(program, MAP, index)
}

fn entry_path_in(program: &mut Program, map: u8, index: u64) -> u64 {
    let keys = vec![vec![map], map_key(index).as_slice().to_vec()].encode();
    let at = program.data(&keys);
    1 << 63 | (keys.len() as u64) << 32 | at
}

fn slots(bench: &Bench) {
    bench.each("gas_left", 5000, false, &|_, _| call(Op::GasLeft, &[]));
    bench.each("kind, 1 key", 5000, false, &|_, _| call(Op::Kind, &[42]));
    bench.each("kind, 2 keys, in memory", 5000, false, &|program, index| {
        call(Op::Kind, &[entry_path(program, index)])
    });
    bench.each(
        "kind, 2 keys, from the store",
        5000,
        true,
        &|program, index| call(Op::Kind, &[entry_path(program, 13 * index)]),
    );
    bench.each("same_type", 5000, false, &|_, _| {
        call(Op::SameType, &[CALLEE.into(), CALLEE.into()])
    });
    bench.each("next_key, from the store", 5000, true, &|program, index| {
        let at = program.data(map_key(13 * index).as_slice());
        call(Op::NextKey, &[MAP.into(), at, 32, RAM.into()])
    });
    bench.each(
        "copy to a new entry, committed",
        5000,
        true,
        &|program, index| call(Op::Copy, &[42, entry_path(program, MAP_ENTRIES + index)]),
    );
    bench.each(
        "move to a new entry, committed",
        5000,
        true,
        &|program, index| {
            let (from, to) = (13 * index, MAP_ENTRIES + index);
            let from = entry_path(program, from);
            call(Op::Move, &[from, entry_path(program, to)])
        },
    );
    bench.each(
        "drop of an entry, committed",
        5000,
        true,
        &|program, index| call(Op::Drop, &[entry_path(program, 13 * index)]),
    );
    bench.each("mint_cnode, committed", 5000, true, &|program, index| {
        call(Op::MintCnode, &[entry_path(program, MAP_ENTRIES + index)])
    });
    bench.each(
        "mint_data of 16 bytes, committed",
        5000,
        true,
        &|program, index| {
            let to = entry_path(program, MAP_ENTRIES + index);
            call(Op::MintData, &[RAM.into(), 16, to])
        },
    );
    bench.each("copy and drop in the own table", 2000, false, &|_, _| {
        Box::new(|asm| {
            asm.call(Op::Copy, &[42, 50]).call(Op::Drop, &[50]);
        })
    });
}

fn bytes(bench: &Bench) {
    let len = 65_536;
    bench.per_64("read_data, 64 bytes", len, false, &|_, _| {
        call(Op::ReadData, &[42, RAM.into(), len, 0])
    });
    for (name, algorithm) in [("blake2b", 0), ("sha256", 1), ("keccak256", 2)] {
        let what = format!("hash {name}, 64 bytes");
        bench.per_64(&what, len, false, &|_, _| {
            call(Op::Hash, &[algorithm, RAM.into(), len - 64, RAM.into()])
        });
    }
    bench.per_64(
        "mint_data, 64 bytes, committed",
        len,
        true,
        &|program, index| {
            let to = entry_path(program, MAP_ENTRIES + index);
            Box::new(move |asm| {
                // Unlike the others, so that each is hashed and stored.
                asm.set(0, index).store(RAM + 8, 0);
                for page in 1..16 {
                    asm.store(RAM + page * 4096, 0);
                }
                asm.call(Op::MintData, &[RAM.into(), len, to]);
            })
        },
    );
    bench.per_64(
        "read_data, 64 bytes from the store",
        len,
        true,
        &|_, index| call(Op::ReadData, &[46, RAM.into(), len, index * len]),
    );
    bench.per_64("emit, 64 bytes, committed", len, true, &|_, _| {
        call(Op::Emit, &[0, 0, 42])
    });
    bench.each("log of 32 bytes", 5000, false, &|_, _| {
        call(Op::Log, &[3, RAM.into(), 32])
    });
    bench.each("block_info", 5000, false, &|_, _| {
        call(Op::BlockInfo, &[RAM.into()])
    });
}

fn pages(engine: &str, open: Open, entries: &[(u8, Cap)]) {
    let zeros = || Source::Ephemeral {
        init: None,
        eager: false,
    };
    let measure = |what: &str, slot: Option<u8>, commits: bool, reads: bool, mapped: u32| {
        let program = |pages: u32| {
            let mut program = Program::new();
            let source = match slot {
                Some(slot) => Source::Slot(jar_cap::Path::from(key(slot))),
                None => zeros(),
            };
            program.image.memory.push(Mapping {
                start: PERSIST,
                size: mapped * 4096,
                source,
            });
            program.endpoint(0, "main", Role::Transact(0), |asm| {
                asm.set(0, 77);
                for page in 0..pages {
                    let at = PERSIST + page * 4096 + page % 500 * 8;
                    match reads {
                        true => asm.load(0, at),
                        false => asm.store(at, 0),
                    };
                }
                asm.halt_with(0);
            });
            chain(&program)
        };
        let run = |pages| match commits {
            true => build(open, &program(pages), entries),
            false => simulate(open, &program(pages), entries),
        };
        let (few, many) = (run(mapped / 10), run(mapped));
        let pages = f64::from(mapped - mapped / 10);
        let cost = Cost::of_one(&few, &many, pages);
        row(&format!("{what}, {engine}"), &cost);
    };
    measure("page written", None, false, false, 240);
    measure("page written, paid at once", None, false, false, 4000);
    let (empty, long) = (Some(45), Some(44));
    measure("new page of a slot, committed", empty, true, false, 240);
    let written = "page of a long Data written, committed";
    measure(written, long, true, false, 4096);
    let read = "page of a long Data read from the store";
    measure(read, long, true, true, 4096);
    let looks = |count: u32| {
        let mut program = Program::new();
        program.map(0, 500, zeros());
        program.endpoint(0, "main", Role::Transact(0), |asm| {
            for page in 0..5 {
                asm.store(PERSIST + page * 100 * 4096, 0);
            }
            for _ in 0..count {
                asm.call(Op::GasLeft, &[]);
            }
            asm.halt_with(0);
        });
        simulate(open, &chain(&program), entries)
    };
    let (few, many) = (looks(500), looks(5000));
    let cost = Cost::of_one(&few, &many, 4500.0);
    row(&format!("gas_left behind written pages, {engine}"), &cost);
}

fn calls(bench: &Bench) {
    bench.each("call of one Instance", 2000, false, &|_, _| {
        call(Op::Call, &[CALLEE.into(), 0])
    });
    bench.each(
        "call of an entry, committed",
        5000,
        true,
        &|program, index| call(Op::Call, &[entry_path_in(program, CALLEES, index), 0]),
    );
    // An event that does nothing, beside those that are there.
    let mut program = Program::new();
    program.endpoint(0, "main", Role::Transact(0), |asm| {
        asm.halt_with(0);
    });
    let mut genesis = chain(&program);
    genesis.params.event_gas = 1 << 24;
    let run = |count: u32| {
        let mut gas = 0;
        let ns = shortest(5, || {
            let mut node = Node::new(&genesis, &[]);
            for index in 0..count {
                node.dispatch(SUBMIT, event(index.to_le_bytes()))
                    .expect("accepted");
            }
            let start = Instant::now();
            let built = node.build().expect("built");
            gas = built.outcomes.iter().map(|o| o.gas_used).sum();
            assert_eq!(built.events.len() as u32, count);
            start.elapsed().as_nanos() as f64
        });
        Cost {
            ns,
            gas: gas as f64,
        }
    };
    let (few, many) = (run(100), run(2000));
    let cost = Cost::of_one(&few, &many, 1900.0);
    row("event that does nothing", &cost);
}

fn signatures() {
    let genesis = [5; 32];
    let checks: Vec<SignatureCheck> = (0..4096u64)
        .map(|i| {
            let mut seed = [1; 32];
            seed[..8].copy_from_slice(&i.to_le_bytes());
            let attestation = sign(seed, &genesis, Scope::Direct, &i.to_le_bytes());
            SignatureCheck::of(&genesis, &attestation)
        })
        .collect();
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get()) as f64;
    let gas = Params::default().price_attest as f64;
    let ns = shortest(5, || {
        let start = Instant::now();
        assert!(verify_batch(&checks));
        start.elapsed().as_nanos() as f64
    });
    let ns = ns / checks.len() as f64;
    let per_core = ns * cores;
    row(
        "attest: batch verification, one core",
        &Cost { ns: per_core, gas },
    );
    row("attest: batch verification, all cores", &Cost { ns, gas });
    let ns = shortest(5, || {
        let start = Instant::now();
        assert!(checks[..512].iter().all(SignatureCheck::verify));
        start.elapsed().as_nanos() as f64 / 512.0
    });
    row("attest: single verification", &Cost { ns, gas });
}

fn code() {
    // Short, so that some run is not interrupted.
    let len = 1 << 16;
    let mut program = Program::new();
    program.endpoint(0, "main", Role::Transact(0), |asm| {
        asm.halt_with(0);
    });
    program.endpoint(1, "rest", Role::Call, |asm| {
        let mut register = 0;
        while asm.len() < len {
            register = (register + 1) % 12;
            asm.add(register, register, 12).load(register, RAM);
            if asm.len() % 40 < 8 {
                asm.trap();
            }
        }
    });
    let dense = program.build();
    prepared("Image entered, 64 bytes", &dense);
    let token = Image::decode_checked(&token_image()).expect("a good Image");
    prepared("the token's Image entered, 64 bytes", &token);
    made("Image made, 64 bytes", &dense);
    made("the token's Image made, 64 bytes", &token);
}

fn token_image() -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../chain-specs/token.image");
    std::fs::read(path).expect("the token chain's Image")
}

/// What entering an Image for the first time takes, on each engine.
fn prepared(what: &str, image: &Image) {
    let size = image.encode().len() as f64;
    for engine in [engine(), other_engine()] {
        let ns = shortest(60, || {
            let start = Instant::now();
            let program = jar_pvm::Program::new(
                image.program.code.clone(),
                image.program.bitmask.clone(),
                image.program.jump_table.clone(),
            );
            let program = std::sync::Arc::new(program.expect("well-formed"));
            let prepared = engine.prepare(program, jar_pvm::GasModel::Pipeline);
            let ns = start.elapsed().as_nanos() as f64;
            assert!(prepared.block_cost(0).is_some());
            ns
        });
        let gas = Params::default().price_enter_64 as f64;
        let ns = ns / (size / 64.0);
        row(&format!("{what}, {}", engine.name()), &Cost { ns, gas });
    }
}

/// What making an Image takes, its hashes included.
fn made(what: &str, image: &Image) {
    let make = |bytes: Vec<u8>| {
        let mut program = Program::new();
        program.endpoint(0, "main", Role::Transact(0), |asm| {
            asm.call(Op::MakeImage, &[0, 51]).halt();
        });
        let mut genesis = genesis(&program);
        genesis.params.payload_bytes = 1 << 30;
        let node = Node::new(&genesis, &[]);
        let event = event(bytes);
        let ns = shortest(60, || {
            let start = Instant::now();
            let outcome = node.simulate(0, &event);
            let ns = start.elapsed().as_nanos() as f64;
            assert_eq!(outcome.ending, jar_kernel::block::Ending::Halted(0));
            ns
        });
        let bytes = node.simulate(0, &event).gas_used;
        (ns, bytes as f64)
    };
    let small = Image {
        program: jar_cap::image::Program {
            code: vec![0],
            bitmask: vec![1],
            jump_table: Vec::new(),
        },
        ..Image::default()
    };
    let encoded = image.encode();
    let parts = encoded.len() as f64 / 64.0;
    let hashed = shortest(60, || {
        let start = Instant::now();
        let id = jar_cap::hash::blake2b(&[&encoded]);
        let ns = start.elapsed().as_nanos() as f64;
        assert_ne!(id, [0; 32]);
        ns
    });
    let (less, more) = (make(small.encode()), make(encoded.clone()));
    // Hashed at commit, once for each Image that one may be pinned in, and itself.
    let ns = (more.0 - less.0 + 5.0 * hashed) / parts;
    let gas = (more.1 - less.1) / parts;
    row(what, &Cost { ns, gas });
}

/// Transfers of the token chain: a block of them, built and imported.
fn transfers() {
    const COUNT: u64 = 1500;
    let wallet = |index: u64| jar_cap::hash::blake2b(&[&index.to_le_bytes()]);
    let balances: Vec<([u8; 32], u64)> = (0..COUNT)
        .map(|index| (seed_key(wallet(index)), 1_000_000))
        .collect();
    let genesis = Genesis {
        image: token_image(),
        payload: (Vec::<[u8; 32]>::new(), balances).encode(),
        params: Params {
            genesis_gas: 1 << 38,
            schedule_quota: 1 << 38,
            ..Params::default()
        },
        ..genesis(&Program::new())
    };
    let mut node = Node::new(&genesis, &[]);
    let mut other = Node::new(&genesis, &[]);
    let endpoint = node.chain().endpoint_by_name(&node.head(), "transfer_in");
    let endpoint = endpoint.expect("the store works").expect("the token's");
    for index in 0..COUNT {
        let (from, to) = (wallet(index), seed_key(wallet(COUNT + index)));
        let transfer = (seed_key(from), to, 5u64, 0u64);
        let blob = ("token.transfer", transfer).encode();
        let attestation = sign(from, &node.genesis_hash(), Scope::Direct, &blob);
        let event = Event {
            payload: transfer.encode(),
            attestations: vec![attestation],
            results: Vec::new(),
        };
        node.dispatch(endpoint.index, event).expect("accepted");
    }
    let start = Instant::now();
    let built = node.build().expect("built");
    let built_ns = start.elapsed().as_nanos() as f64;
    let start = Instant::now();
    other.import(&built.block).expect("valid");
    let imported_ns = start.elapsed().as_nanos() as f64;
    let count = built.events.len() as f64;
    let of_events = |o: &&jar_kernel::block::Outcome| o.gas_used > 0;
    let gas: u64 = built
        .outcomes
        .iter()
        .filter(of_events)
        .map(|o| o.gas_used)
        .sum();
    let cost = |ns: f64| Cost {
        ns: ns / count,
        gas: gas as f64 / count,
    };
    row("token transfer, built", &cost(built_ns));
    row("token transfer, imported", &cost(imported_ns));
    let params = Params::default();
    println!(
        "\n{count} transfers in the block; {} fit block_gas",
        (params.block_gas as f64 / cost(0.0).gas) as u64
    );
}

/// A loop of arithmetic, to see what a unit of gas is worth in instructions.
fn instructions() {
    let program = |rounds: u64| {
        let mut program = Program::new();
        program.endpoint(0, "main", Role::Transact(0), |asm| {
            for _ in 0..rounds {
                for register in 0..6u8 {
                    asm.add(register, register, 6);
                }
            }
            asm.halt_with(0);
        });
        chain(&program)
    };
    let run = |rounds| simulate(on_interpreter, &program(rounds), &[]);
    let (few, many) = (run(200), run(5000));
    let cost = Cost::of_one(&few, &many, 6.0 * 4800.0);
    row("instruction (add), straight line", &cost);
}

fn main() {
    println!("| what | measured ns | price, gas | price, ns | price / measured |");
    println!("|---|---|---|---|---|");
    let mut entries = entries();
    let bench = Bench {
        entries: entries.clone(),
    };
    instructions();
    slots(&bench);
    bytes(&bench);
    calls(&bench);
    entries.retain(|(slot, _)| ![MAP, CALLEES].contains(slot));
    entries.push((44, Cap::Data(Data::new(&long_bytes(4096 * 4096)))));
    pages("interpreter", on_interpreter, &entries);
    pages("recompiler", on_recompiler, &entries);
    signatures();
    code();
    transfers();
}
