//! Whatever a peer, a client or a program sends: no panic, no effect it may not have, and the
//! same answer every time.

mod common;

use std::sync::{Mutex, OnceLock};

use common::chain::event;
use common::counter::*;
use common::program::cap_path;
use common::{
    A0, Asm, DATA, Node, PERSIST, Program, RAM, Seal, genesis, key, path, seed_key, sign,
};
use jar_abi::{HostCall as Op, slots};
use jar_cap::image::{Role, Source};
use jar_cap::{CNode, Cap, Data, ImageRef, Instance, MemoryStore, NativeKind};
use jar_kernel::block::{Block, Ending, Event, Outcome, Scope};
use jar_kernel::{Genesis, decode_block};
use parity_scale_codec::Encode;
use proptest::prelude::*;
use proptest::sample::select;

const AUTHOR: [u8; 32] = [1; 32];

fn sealed() -> Genesis {
    genesis(&counter(&Seal::By(seed_key(AUTHOR))))
}

fn specimen() -> &'static Block {
    static BLOCK: OnceLock<Block> = OnceLock::new();
    BLOCK.get_or_init(|| {
        let mut author = Node::new(&sealed(), &[AUTHOR]);
        let attestation = sign([3; 32], &author.genesis_hash(), Scope::Direct, BLOB);
        let signed = Event {
            attestations: vec![attestation],
            ..request(ATTEST, &seed_key([3; 32]))
        };
        author.dispatch(SUBMIT_SIGNED, signed).expect("accepted");
        for event in [add(5), request(EMIT, b"abc"), request(FAULT, &[])] {
            author.dispatch(SUBMIT, event).expect("accepted");
        }
        (*author.build().expect("built").block).clone()
    })
}

/// One edit of a byte string.
#[derive(Clone, Debug)]
enum Edit {
    Set(usize, u8),
    Flip(usize, u8),
    Insert(usize, u8),
    Remove(usize),
    Copy(usize, usize, usize),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let at = || any::<prop::sample::Index>().prop_map(|index| index.index(1 << 20));
    let edit = prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        (at(), 0..8u8).prop_map(|(at, bit)| Edit::Flip(at, bit)),
        (at(), any::<u8>()).prop_map(|(at, byte)| Edit::Insert(at, byte)),
        at().prop_map(Edit::Remove),
        (at(), at(), 1..200usize).prop_map(|(from, to, len)| Edit::Copy(from, to, len)),
    ];
    prop::collection::vec(edit, 1..6)
}

fn edited(bytes: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for edit in edits {
        if bytes.is_empty() {
            break;
        }
        let len = bytes.len();
        match *edit {
            Edit::Set(at, byte) => bytes[at % len] = byte,
            Edit::Flip(at, bit) => bytes[at % len] ^= 1 << bit,
            Edit::Insert(at, byte) => bytes.insert(at % len, byte),
            Edit::Remove(at) => drop(bytes.remove(at % len)),
            Edit::Copy(from, to, count) => {
                let (from, to) = (from % len, to % len);
                let count = count.min(len - from).min(len - to);
                bytes.copy_within(from..from + count, to);
            }
        }
    }
    bytes
}

/// A node that only ever sees spoiled blocks.
fn victim() -> &'static Mutex<Node> {
    static NODE: OnceLock<Mutex<Node>> = OnceLock::new();
    NODE.get_or_init(|| Mutex::new(Node::new(&sealed(), &[])))
}

proptest! {
    #![proptest_config(common::seeded(400))]

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..800)) {
        if let Ok(block) = decode_block(&bytes) {
            prop_assert_eq!(block.encode(), bytes);
        }
    }

    #[test]
    fn edited_blocks_never_pass(edits in edits()) {
        let good = specimen();
        let bytes = edited(&good.encode(), &edits);
        let Ok(block) = decode_block(&bytes) else { return Ok(()) };
        prop_assert_eq!(&block.encode(), &bytes);
        if block != *good {
            let mut node = victim().lock().expect("no panic before");
            let head = node.head().hash;
            prop_assert!(node.import(&block).is_err());
            prop_assert_eq!(node.head().hash, head);
        }
    }
}

/// One edit of a block by its author.
#[derive(Clone, Debug)]
enum Change {
    Header(usize, usize, u8),
    Endpoint(u8),
    DropEvent(usize),
    DoubleEvent(usize),
    SwapEvents(usize, usize),
    Payload(usize, Vec<u8>),
    MoveAttestation(usize),
    DoubleAttestation(usize),
    SpoilAttestation(usize, usize, u8),
    Result(usize, bool),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let n = 0..8usize;
    let change = prop_oneof![
        (0..3usize, 0..32usize, any::<u8>()).prop_map(|(f, at, b)| Change::Header(f, at, b)),
        any::<u8>().prop_map(Change::Endpoint),
        n.clone().prop_map(Change::DropEvent),
        n.clone().prop_map(Change::DoubleEvent),
        (n.clone(), n.clone()).prop_map(|(a, b)| Change::SwapEvents(a, b)),
        (n.clone(), prop::collection::vec(0..10u8, 0..24))
            .prop_map(|(at, payload)| Change::Payload(at, payload)),
        n.clone().prop_map(Change::MoveAttestation),
        n.clone().prop_map(Change::DoubleAttestation),
        (n.clone(), 0..128usize, any::<u8>())
            .prop_map(|(at, byte, bits)| Change::SpoilAttestation(at, byte, bits)),
        (n, any::<bool>()).prop_map(|(at, body)| Change::Result(at, body)),
    ];
    prop::collection::vec(change, 1..4)
}

fn change(block: &mut Block, change: &Change) {
    let header = &mut block.header;
    let Some((endpoint, events)) = block.body.groups.first_mut() else {
        return;
    };
    let len = events.len().max(1);
    match change {
        Change::Header(0, at, bits) => header.state_root[*at] ^= bits,
        Change::Header(1, at, bits) => header.outcome_root[*at] ^= bits,
        Change::Header(_, at, bits) => header.slot ^= u64::from(*bits) << (8 * (at % 8)),
        Change::Endpoint(index) => *endpoint = *index,
        Change::Result(_, true) => block.body.results.push(vec![1]),
        _ if events.is_empty() => {}
        Change::DropEvent(at) => drop(events.remove(at % len)),
        Change::DoubleEvent(at) => {
            let event = events[at % len].clone();
            events.push(event);
        }
        Change::SwapEvents(a, b) => events.swap(a % len, b % len),
        Change::Payload(at, payload) => events[at % len].payload = payload.clone(),
        Change::MoveAttestation(at) => {
            let moved = events[0].attestations.pop();
            events[at % len].attestations.extend(moved);
        }
        Change::DoubleAttestation(at) => {
            let one = events[at % len].attestations.first().cloned();
            block.body.attestations.extend(one);
        }
        Change::SpoilAttestation(at, byte, bits) => {
            if let Some(attestation) = events[at % len].attestations.first_mut() {
                match byte {
                    0..32 => attestation.key[*byte] ^= bits,
                    32..64 => attestation.blob_hash[byte - 32] ^= bits,
                    _ => attestation.signature[byte - 64] ^= bits,
                }
            }
        }
        Change::Result(at, false) => events[at % len].results.push(Vec::new()),
    }
}

fn reseal(block: &mut Block) {
    block.header.body_root = block.body.root();
    let (genesis, hash) = (block.header.genesis, block.header.hash());
    for attestation in &mut block.body.attestations {
        if attestation.scope == Scope::Seal {
            *attestation = sign(AUTHOR, &genesis, Scope::Seal, &hash);
        }
    }
}

proptest! {
    #![proptest_config(common::seeded(150))]

    /// An author's word is no proof: what such a block claims is what it does, or it is refused.
    #[test]
    fn a_hostile_author_changes_no_head_but_by_valid_blocks(changes in changes()) {
        let mut block = specimen().clone();
        changes.iter().for_each(|c| change(&mut block, c));
        reseal(&mut block);
        let mut node = Node::new(&sealed(), &[]);
        let head = node.head().hash;
        match node.import(&block) {
            Err(_) => prop_assert_eq!(node.head().hash, head),
            Ok(advanced) => {
                prop_assert_eq!(advanced.hash, block.header.hash());
                let root = jar_cap::state_root(&node.head().instance.id());
                prop_assert_eq!(root, block.header.state_root);
            }
        }
    }
}

/// A host call with its arguments.
type Step = (u64, [u64; 6]);

fn argument() -> impl Strategy<Value = u64> {
    let slots = vec![
        0, 7, 9, 10, 11, 12, 14, 17, 18, 19, 33, 40, 41, 42, 43, 43, 43, 44, 45, 50, 51,
    ];
    let slot = || select(slots.clone());
    prop_oneof![
        6 => slot(),
        2 => (slot(), slot()).prop_map(|(a, b)| path(&[a as u8, b as u8])),
        1 => (slot(), slot(), slot())
            .prop_map(|(a, b, c)| path(&[a as u8, b as u8, c as u8])),
        3 => select(vec![RAM, RAM + 8, RAM + 64, RAM + 4090, DATA, PERSIST, PERSIST + 4096])
            .prop_map(u64::from),
        4 => select(vec![0u64, 1, 2, 3, 8, 9, 32, 33, 64, 300, 5000]),
        1 => (0..300u64, select(vec![RAM, DATA]))
            .prop_map(|(len, at)| 1 << 63 | len << 32 | u64::from(at)),
        1 => any::<u64>(),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let suspending = [Op::Call, Op::Yield, Op::Resume, Op::Abort, Op::Detach];
    let number = prop_oneof![
        20 => 1..46u64,
        12 => select(suspending.map(|op| op as u64).to_vec()),
        1 => any::<u32>().prop_map(|n| u64::from(n >> 1)),
    ];
    let args = prop::array::uniform6(argument());
    // A fault ends the sequence: what is reserved is left out of most.
    (number, args).prop_map(|(number, args)| match Op::from_number(number) {
        Some(op) if !op.is_supported() => (Op::Copy as u64, args),
        _ => (number, args),
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 0..30)
}

fn write(asm: &mut Asm, steps: &[Step]) {
    for (index, (number, args)) in steps.iter().enumerate() {
        for (register, arg) in args.iter().enumerate() {
            asm.set(A0 + register as u8, *arg);
        }
        asm.host_number(*number);
        // Statuses and values become memory, which later calls read and mint.
        asm.store(RAM + 8 * (index as u32 % 64), A0);
        asm.store(PERSIST + 8 * (index as u32 % 64), A0);
    }
    asm.halt();
}

/// The row that callees spend from.
const METERED_ROW: u64 = 5;

/// A chain that runs the steps in each of its roles, with Instances to call.
fn chain(own: &[Step], callees: &[Step], gas: u64) -> (Genesis, Vec<(u8, Cap)>) {
    let store = MemoryStore::new();
    let mut callee = Program::new();
    callee.data(&[4, 4, 41, 8, 4, 40]);
    callee.persist(&[44], 0, 2);
    callee.image.catcher_slot = Some(key(slots::CATCHER));
    callee.image.gas_slots = vec![key(slots::GAS)];
    callee.endpoint(0, "call", Role::Call, |asm| write(asm, callees));
    callee.endpoint(1, "view", Role::View, |asm| write(asm, callees));
    callee.endpoint(2, "fault", Role::Call, |asm| {
        asm.call(Op::MintCnode, &[50]).trap();
    });
    let native = |kind| Cap::Instance(Instance::native(kind, Vec::new()));
    let row = Instance::native(NativeKind::Gas, METERED_ROW.encode());
    let catches = vec![[1u8; 32], [2; 32]].encode();
    let catcher = Cap::Instance(Instance::native(NativeKind::Catcher, catches));
    let mut inner = CNode::empty();
    for byte in [1, 2, 40, 41] {
        let data = Cap::Data(Data::new(&[byte; 100]));
        inner
            .set(&store, &key(byte), Some(data))
            .expect("in memory");
    }
    let mut entries = vec![
        (40, Cap::Data(Data::new(&[7; 9000]))),
        (41, Cap::CNode(inner)),
        (42, Cap::Type([9; 32].into())),
    ];
    let mut table = CNode::empty();
    let natives = [
        (slots::ATTESTATION, native(NativeKind::Attestation)),
        (slots::CONSENSUS, native(NativeKind::Consensus)),
        (slots::SET_GAS_METER, native(NativeKind::SetGasMeter)),
        (slots::GAS, Cap::Instance(row)),
        (slots::CATCHER, catcher),
    ];
    for (slot, cap) in entries.iter().chain(&natives) {
        table
            .set(&store, &key(*slot), Some(cap.clone()))
            .expect("in memory");
    }
    let image = ImageRef::new(callee.build());
    let instance = |table| Cap::Instance(Instance::program([1; 32], image.clone(), table));
    let innermost = instance(table.clone());
    // A marker of a type that Catchers hold.
    let marker = Instance::program([2; 32], image.clone(), CNode::empty());
    entries.push((45, Cap::Instance(marker.clone())));
    table
        .set(&store, &key(45), Some(Cap::Instance(marker)))
        .expect("in memory");
    table
        .set(&store, &key(43), Some(innermost))
        .expect("in memory");
    entries.push((43, instance(table)));

    let mut program = Program::new();
    program.data(&[4, 4, 41, 8, 4, 40]);
    program.map(0, 2, Source::Slot(cap_path(&[44])));
    program.image.catcher_slot = Some(key(slots::CATCHER));
    program.endpoint(0, "transact", Role::Transact(0), |asm| {
        let setter = slots::SET_GAS_METER.into();
        asm.call(Op::Call, &[setter, 0, METERED_ROW, gas / 3]);
        write(asm, own);
    });
    program.endpoint(1, "view", Role::View, |asm| write(asm, own));
    program.endpoint(2, "dispatch", Role::Dispatch, |asm| {
        asm.if_eq(A0, 0, |asm| {
            asm.halt_with(0);
        });
        write(asm, own);
    });
    let none = program.data(&[0]);
    program.endpoint(9, "submit", Role::Dispatch, |asm| {
        asm.if_eq(A0, 1, |asm| {
            asm.call(Op::SlotEmit, &[0, 0, 0, none, 1]);
        })
        .halt_with(0);
    });
    let mut genesis = genesis(&program);
    genesis.params.event_gas = gas;
    genesis.params.event_quota = 100_000;
    (genesis, entries)
}

fn check_outcome(outcome: &Outcome, gas: u64) -> Result<(), TestCaseError> {
    prop_assert!(outcome.gas_used <= gas);
    Ok(())
}

proptest! {
    #![proptest_config(common::seeded(300))]

    #[test]
    fn random_programs_stay_within_bounds_and_repeat_on_each_engine(
        own in steps(),
        callees in steps(),
        gas in select(vec![200_000u64, 700_000, 5_000_000, 50_000_000]),
        payload in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let (genesis, entries) = chain(&own, &callees, gas);
        let mut node = Node::with_entries(&genesis, &[], &entries);
        let mut other = Node::on_other_engine(&genesis, &entries);
        prop_assert_eq!(node.genesis_hash(), other.genesis_hash());
        let event = event(&payload);
        let outcome = node.simulate(0, &event);
        check_outcome(&outcome, gas)?;
        prop_assert_eq!(&node.simulate(0, &event), &outcome);
        prop_assert_eq!(&other.simulate(0, &event), &outcome);
        let head = node.head();
        let view = node.chain().view(&head, 1, &payload).expect("a View");
        prop_assert!(view.gas_used <= genesis.params.view_gas);
        prop_assert_eq!(&other.chain().view(&head, 1, &payload).expect("a View"), &view);
        // What the pipeline makes of it may be anything but trouble of the node.
        for round in 0..3u8 {
            let event = common::chain::event([&payload[..], &[round]].concat());
            if let Err(jar_kernel::Refusal::Kernel(error)) = node.dispatch(2, event) {
                panic!("{error}");
            }
        }
        // What the first block suspended the second may resume.
        for round in 0..2u8 {
            node.dispatch(9, common::chain::event([&payload[..], &[round]].concat())).ok();
            let root = node.head().header.state_root;
            let built = node.build().expect("built");
            for outcome in &built.outcomes {
                check_outcome(outcome, gas)?;
            }
            // Faults leave the state as it was.
            if built.outcomes.iter().all(|outcome| matches!(outcome.ending, Ending::Faulted(_))) {
                prop_assert_eq!(node.head().header.state_root, root);
            }
            let imported = other.import(&built.block).expect("valid");
            prop_assert_eq!(imported.outcomes, built.outcomes);
            prop_assert_eq!(other.head().header.state_root, node.head().header.state_root);
            prop_assert_eq!(node.get(&[0]), None);
        }
    }
}
