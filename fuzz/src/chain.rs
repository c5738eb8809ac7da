//! Chains with hostile programs, and a chain with hostile blocks.

use std::collections::BTreeMap;
use std::sync::Arc;

use arbitrary::{Result, Unstructured};
use jar_abi::{HostCall, slots};
use jar_cap::image::{Endpoint, Image, Mapping, Pinned, Program as Code, Role, Source};
use jar_cap::{Key, Path};
use jar_isa::{Instruction, Opcode};
use jar_kernel::block::{Attestation, Block, Event, Scope};
use jar_kernel::local::LocalHardware;
use jar_kernel::memory::MemoryChainStore;
use jar_kernel::signer::Signer;
use jar_kernel::{Advance, Genesis, Kernel, KernelError, Params, decode_block};
use jar_pvm::Program;
use parity_scale_codec::Encode;

use crate::programs;
use crate::rig::{engines, op, program, ri};

type Node = Kernel<LocalHardware>;

/// Writable memory, fresh in each call, at the bottom of what may be mapped.
const RAM: u32 = 0x1_0000;
const RAM_PAGES: u32 = 8;
/// A page that slot 41 holds.
const PERSIST: u32 = RAM + RAM_PAGES * 4096;
const PERSIST_SLOT: u8 = 41;
/// Read-only memory: what slot 33 holds.
const DATA: u32 = 0x2_0000;
const DATA_SLOT: u8 = 33;

const TICK: u8 = 0;
const RUN: u8 = 1;
const VIEW: u8 = 2;
const SUBMIT: u8 = 3;
const FUNCTIONS: u8 = 10;

/// Limits that keep one input short.
fn params() -> Params {
    Params {
        event_gas: 1_000_000,
        block_gas: 3_000_000,
        schedule_gas: 1_000_000,
        view_gas: 1_000_000,
        dispatch_gas: 1_000_000,
        genesis_gas: 1_000_000,
        ..Params::default()
    }
}

fn genesis(image: &Image) -> Genesis {
    Genesis {
        params: params(),
        image: image.encode(),
        slot_ms: 1000,
        time_ms: 1_700_000_000_000,
        payload: vec![],
    }
}

/// A node on an empty store, one for each engine; all open the chain, or none.
fn open(image: &Image) -> Option<Vec<Node>> {
    let nodes: Vec<_> = engines()
        .into_iter()
        .map(|engine| {
            let store = Arc::new(MemoryChainStore::new());
            let signer = Signer::new([], &*store)?;
            let hardware = LocalHardware::new(store, signer, Box::new(|_| {}), Box::new(|| false));
            Kernel::open(Arc::new(hardware), &genesis(image), engine)
        })
        .collect();
    let said = |node: &std::result::Result<Node, KernelError>| match node {
        Ok(node) => format!("{:?}", node.head().header),
        Err(error) => error.to_string(),
    };
    assert!(
        nodes
            .windows(2)
            .all(|pair| said(&pair[0]) == said(&pair[1]))
    );
    nodes
        .into_iter()
        .collect::<std::result::Result<_, _>>()
        .ok()
}

/// Opens a chain of a checked Image: it starts or is refused, and goes on for a block.
pub fn open_any(image: &Image) {
    if let Some(mut nodes) = open(image) {
        step(&mut nodes, 1);
    }
}

/// The first node builds a block, the others import it and are where it is; gives the block.
fn step(nodes: &mut [Node], slot: u64) -> Option<Arc<Block>> {
    let (first, others) = nodes.split_first_mut().expect("there is an engine");
    let before = first.head().hash;
    let built = match first.advance(Advance::Build { slot }) {
        Ok(built) => built,
        Err(_) => {
            assert_eq!(first.head().hash, before, "a failed build changes nothing");
            return None;
        }
    };
    for other in others {
        let block = Box::new((*built.block).clone());
        let imported = other
            .advance(Advance::Import(block))
            .expect("a block just built");
        assert_eq!(
            (imported.hash, &imported.outcomes),
            (built.hash, &built.outcomes)
        );
        assert_eq!(other.head().hash, first.head().hash);
    }
    Some(built.block)
}

fn key(byte: u8) -> Key {
    Key::from(byte)
}

/// An Image of a program with endpoints of every role.
fn image_of(program: &Program, endpoints: &[(u8, Role, u32)], data: &[u8]) -> Image {
    let regs = BTreeMap::from([
        (0, u64::from(jar_pvm::HALT_ADDRESS)),
        (1, u64::from(RAM) + 64),
        (2, u64::from(PERSIST) + 8),
        (3, u64::from(DATA)),
        (4, u64::from(RAM) + 0x2ff8),
    ]);
    let endpoint = |(index, role, pc): &(u8, Role, u32)| {
        let endpoint = Endpoint {
            name: format!("e{index}"),
            role: *role,
            pc: *pc,
            regs: regs.clone(),
        };
        (*index, endpoint)
    };
    let slot = |byte| Source::Slot(Path::new(vec![key(byte)]).expect("one key"));
    let map = |start, pages: u32, source| Mapping {
        start,
        size: pages * 4096,
        source,
    };
    let ram = Source::Ephemeral {
        init: None,
        eager: false,
    };
    Image {
        program: Code {
            code: program.code().to_vec(),
            bitmask: program.bitmask().to_vec(),
            jump_table: program.jump_table().to_vec(),
        },
        endpoints: endpoints.iter().map(endpoint).collect(),
        memory: vec![
            map(RAM, RAM_PAGES, ram),
            map(PERSIST, 1, slot(PERSIST_SLOT)),
            map(DATA, 1, slot(DATA_SLOT)),
        ],
        pinned: BTreeMap::from([(key(DATA_SLOT), Pinned::Data(data.to_vec()))]),
        ..Image::default()
    }
}

/// A chain whose program is made of host calls with arguments that are often good.
pub fn guest(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok(payload) = payload(&mut u) else { return };
    let Ok(Some(program)) = programs::guest(&mut u) else {
        return;
    };
    let mut endpoints = vec![
        (TICK, Role::Schedule(0), 0),
        (RUN, Role::Transact(0), 0),
        (VIEW, Role::View, 0),
        (SUBMIT, Role::Dispatch, 0),
    ];
    for (index, pc) in program.jump_table().iter().take(6).enumerate() {
        endpoints.push((FUNCTIONS + index as u8, Role::Call, *pc));
    }
    let image = image_of(&program, &endpoints, &[0; 64]);
    image.check(&Default::default()).expect("a good Image");
    let Some(mut nodes) = open(&image) else {
        return;
    };
    let event = Event {
        payload,
        ..Event::default()
    };
    for slot in 1..=2 {
        agree(&mut nodes, |node| {
            let refusal = node
                .dispatch(SUBMIT, event.clone())
                .map_err(|e| e.to_string());
            format!("{refusal:?}")
        });
        if step(&mut nodes, slot).is_none() {
            break;
        }
        agree(&mut nodes, |node| {
            let chain = node.chain().clone();
            let view = chain.view(node.head(), VIEW, &event.payload);
            let run = chain.simulate(node.head(), RUN, &event);
            format!("{view:?} {run:?}")
        });
    }
}

/// All nodes answer the same.
fn agree(nodes: &mut [Node], mut ask: impl FnMut(&mut Node) -> String) {
    let answers: Vec<String> = nodes.iter_mut().map(&mut ask).collect();
    assert!(
        answers.windows(2).all(|pair| pair[0] == pair[1]),
        "{answers:#?}"
    );
}

fn payload(u: &mut Unstructured) -> Result<Vec<u8>> {
    let len = u.int_in_range(0..=24)?;
    Ok(u.bytes(len.min(u.len()))?.to_vec())
}

/// φ7.. := `arguments`, then the call.
fn call(list: &mut Vec<Instruction>, call: HostCall, arguments: &[u64]) {
    for (reg, value) in (7..).zip(arguments) {
        list.push(ri(Opcode::LoadImm, reg, *value as i64));
    }
    list.push(Instruction {
        x: call as u64,
        ..op(Opcode::Ecalli)
    });
}

/// A program that counts, attests where the payload says so, and passes events on.
fn counter() -> Image {
    let ram = u64::from(RAM);
    let at = |opcode, reg, address: u32| ri(opcode, reg, i64::from(address));
    let mut submit = vec![];
    // Phase 0 judges, phase 1 merges.
    let mut emit = vec![];
    call(
        &mut emit,
        HostCall::SlotEmit,
        &[0, RUN.into(), 0, DATA.into(), 1],
    );
    let skip = program(&emit).code_len();
    let branch = |skip| Instruction {
        y: skip,
        ..ri(Opcode::BranchNeImm, 7, 1)
    };
    let own = program(&[branch(u64::from(skip))]).code_len();
    submit.push(branch(u64::from(own + skip + 1)));
    submit.extend(emit);
    submit.push(op(Opcode::Fallthrough));
    call(&mut submit, HostCall::Halt, &[0]);
    submit.push(op(Opcode::Trap));
    let mut run = vec![];
    call(&mut run, HostCall::ReadData, &[0, ram, 64, 0]);
    run.push(at(Opcode::LoadU64, 5, PERSIST));
    run.push(at(Opcode::LoadU64, 6, RAM));
    run.push(Instruction {
        rd: 5,
        ra: 5,
        rb: 6,
        ..op(Opcode::Add64)
    });
    run.push(at(Opcode::StoreU64, 5, PERSIST));
    let attestation = u64::from(slots::ATTESTATION);
    call(
        &mut run,
        HostCall::Attest,
        &[attestation, ram + 8, ram, 8, DATA.into(), 1],
    );
    call(&mut run, HostCall::Emit, &[ram, 3, 0]);
    call(&mut run, HostCall::Halt, &[0]);
    run.push(op(Opcode::Trap));
    let run_at = program(&submit).code_len();
    let tick_at = run_at + program(&run).code_len();
    let mut tick = vec![];
    call(&mut tick, HostCall::Halt, &[0]);
    let program = program(&[submit, run, tick].concat());
    let endpoints = [
        (TICK, Role::Schedule(0), tick_at),
        (RUN, Role::Transact(0), run_at),
        (VIEW, Role::Transact(1), tick_at),
        (SUBMIT, Role::Dispatch, 0),
    ];
    image_of(&program, &endpoints, &Scope::Direct.encode())
}

/// A change of a block that its sender could make.
fn change(u: &mut Unstructured, block: &mut Block) -> Result<()> {
    let header = &mut block.header;
    let hash: [u8; 32] = u.arbitrary()?;
    let attestation = Attestation {
        key: hash,
        scope: match u.int_in_range(0..=2)? {
            0 => Scope::Seal,
            1 => Scope::Direct,
            _ => Scope::Vote {
                source: u.arbitrary()?,
                target: u.arbitrary()?,
            },
        },
        blob_hash: hash,
        signature: [u.arbitrary()?; 64],
    };
    let event = Event {
        payload: payload(u)?,
        attestations: vec![attestation.clone(); u.int_in_range(0..=2)?],
        results: vec![vec![1]; u.int_in_range(0..=1)?],
    };
    let group = u.int_in_range(0..=3)?;
    match u.int_in_range(0..=13)? {
        0 => header.genesis = hash,
        1 => header.parent = hash,
        2 => header.height = u.arbitrary()?,
        3 => header.slot = u.arbitrary()?,
        4 => header.body_root = hash,
        5 => header.state_root = hash,
        6 => header.outcome_root = hash,
        7 => block.body.groups.push((group, vec![event])),
        8 => block.body.groups.insert(0, (group, vec![])),
        9 => block.body.groups.reverse(),
        10 => drop(block.body.groups.pop()),
        11 => block.body.attestations.push(attestation),
        12 => block.body.results.push(vec![0; usize::from(group)]),
        _ => {
            if let Some((_, events)) = block.body.groups.first_mut() {
                events.push(event);
            }
        }
    }
    Ok(())
}

/// A block of a peer: the good one changed in its bytes or in its parts, or any bytes.
fn hostile(u: &mut Unstructured, good: &Block) -> Result<Option<Block>> {
    match u.int_in_range(0..=4)? {
        0 => Ok(decode_block(u.bytes(u.len())?).ok()),
        1 => {
            let mut bytes = good.encode();
            for _ in 0..u.int_in_range(0..=4)? {
                let at = u.choose_index(bytes.len())?;
                bytes[at] = u.arbitrary()?;
            }
            Ok(decode_block(&bytes).ok())
        }
        _ => {
            let mut block = good.clone();
            for _ in 0..u.int_in_range(0..=3)? {
                change(u, &mut block)?;
            }
            if u.arbitrary()? {
                block.header.body_root = block.body.root();
            }
            Ok(Some(block))
        }
    }
}

/// Blocks of peers: what is invalid changes nothing, whatever it holds, and the good block is
/// still taken.
pub fn block(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let mut nodes = open(&counter()).expect("a good chain");
    let case = (|| {
        for _ in 0..u.int_in_range(0..=2)? {
            let event = Event {
                payload: payload(&mut u)?,
                ..Event::default()
            };
            // Refused where it is there already.
            let _ = nodes[0].dispatch(SUBMIT, event);
        }
        let parent = nodes[0].head().hash;
        let built = nodes[0].advance(Advance::Build { slot: 1 });
        let good = built.expect("the counter's blocks are good").block;
        assert_eq!(good.header.parent, parent);
        let hostile = hostile(&mut u, &good)?;
        Ok::<_, arbitrary::Error>((good, hostile))
    })();
    let Ok((good, hostile)) = case else { return };
    let [_, receivers @ ..] = &mut nodes[..] else {
        return;
    };
    for node in receivers {
        let before = node.head().hash;
        if let Some(hostile) = &hostile {
            let same = *hostile == *good;
            let advanced = node.advance(Advance::Import(Box::new(hostile.clone())));
            match advanced {
                Ok(advanced) => assert_eq!(advanced.hash, hostile.header.hash()),
                Err(_) => {
                    assert!(!same, "a good block is refused");
                    assert_eq!(node.head().hash, before);
                }
            }
            if same {
                continue;
            }
        }
        let taken = node.advance(Advance::Import(Box::new((*good).clone())));
        let taken = taken.expect("the good block is taken behind the hostile one");
        assert_eq!(taken.hash, good.header.hash());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The block target starts from blocks that hold something.
    #[test]
    fn a_submitted_event_is_in_the_block() {
        let mut nodes = open(&counter()).expect("a good chain");
        let event = Event {
            payload: vec![7; 24],
            ..Event::default()
        };
        nodes[0]
            .dispatch(SUBMIT, event.clone())
            .expect("judged as good");
        let block = step(&mut nodes, 1).expect("a good block");
        assert_eq!(block.body.groups, [(RUN, vec![event])]);
    }
}
