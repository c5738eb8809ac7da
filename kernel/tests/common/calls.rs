//! Callers, callees, and chains that run them.

use jar_abi::{Fault, HostCall as Op, Status, slots};
use jar_cap::image::Role;
use jar_cap::{CNode, Cap, Data, ImageRef, Instance, MemoryStore, NativeKind, Resource};
use jar_kernel::Genesis;
use jar_kernel::block::{Event, Outcome};
use parity_scale_codec::Encode;

use super::asm::{A0, A1, Asm};
use super::chain::{Node, event, genesis};
use super::program::{Program, RAM, key};

/// A name, a body, and the fault it ends with.
pub type Faulting = (&'static str, fn(&mut Asm), Fault);

pub const CALLEE: u8 = 40;
pub const REPORT: u32 = RAM + 0x8000;
pub const REPORT_SLOT: u64 = 249;

/// Emits registers as a record. Spoils φ7 to φ11.
pub fn report(asm: &mut Asm, registers: &[u8]) {
    for (index, register) in registers.iter().enumerate() {
        asm.store(REPORT + 8 * index as u32, *register);
    }
    let len = 8 * registers.len() as u64;
    asm.call(Op::MintData, &[REPORT.into(), len, REPORT_SLOT])
        .call(Op::Emit, &[0, 0, REPORT_SLOT])
        .call(Op::Drop, &[REPORT_SLOT]);
}

/// Records as lists of numbers.
pub fn reports(outcome: &Outcome) -> Vec<Vec<u64>> {
    let numbers = |data: &[u8]| {
        data.chunks_exact(8)
            .map(|chunk| u64::from_le_bytes(chunk.try_into().expect("8 bytes")))
            .collect()
    };
    outcome.records.iter().map(|r| numbers(&r.data)).collect()
}

pub fn code(status: Status) -> u64 {
    status as i64 as u64
}

/// An Instance of a program with entries in its table.
pub fn instance(program: &Program, entries: &[(u8, Cap)]) -> Cap {
    let image = ImageRef::new(program.build());
    Cap::Instance(Instance::program([1; 32], image, table(entries)))
}

/// A table with these entries.
pub fn table(entries: &[(u8, Cap)]) -> CNode {
    let store = MemoryStore::new();
    let mut table = CNode::empty();
    for (slot, cap) in entries {
        table
            .set(&store, &key(*slot), Some(cap.clone()))
            .expect("in memory");
    }
    table
}

pub fn native(kind: NativeKind) -> Cap {
    Cap::Instance(Instance::native(kind, Vec::new()))
}

pub fn data(bytes: &[u8]) -> Cap {
    Cap::Data(Data::new(bytes))
}

/// An Instance that stands for a marker: only its type matters.
pub fn marker(number: u8) -> Cap {
    let image = program(Role::Call, |asm| {
        asm.trap();
    });
    let image = ImageRef::new(image.build());
    Cap::Instance(Instance::program([number; 32], image, CNode::empty()))
}

/// A Catcher of the markers with these numbers.
pub fn catcher(numbers: impl IntoIterator<Item = u8>) -> Cap {
    let types: Vec<[u8; 32]> = numbers.into_iter().map(|number| [number; 32]).collect();
    Cap::Instance(Instance::native(NativeKind::Catcher, types.encode()))
}

/// A program that catches with the Catcher in its slot for one.
pub fn catching(mut program: Program) -> Program {
    program.image.catcher_slot = Some(key(slots::CATCHER));
    program
}

/// A Gas or Quota cap of a row.
pub fn row_cap(kind: NativeKind, row: u64) -> Cap {
    Cap::Instance(Instance::native(kind, row.encode()))
}

/// Sets a row, as the chain can that holds the setters in their slots; φ7 is what it held.
pub fn set_row(asm: &mut Asm, resource: Resource, row: u64, value: u64) {
    asm.call(Op::Call, &[setter(resource), 0, row, value]);
}

/// Adds to a row what a register holds. Spoils φ4.
pub fn add_to_row(asm: &mut Asm, resource: Resource, row: u64, register: u8) {
    set_row(asm, resource, row, 0);
    asm.add(4, A0, register)
        .set(A0, setter(resource))
        .set(A1, 0)
        .set(9, row)
        .mov(10, 4)
        .host(Op::Call);
}

fn setter(resource: Resource) -> u64 {
    match resource {
        Resource::Gas => slots::SET_GAS_METER.into(),
        Resource::Quota => slots::SET_STORAGE_QUOTA.into(),
    }
}

/// A program of one endpoint.
pub fn program(role: Role, body: impl FnOnce(&mut Asm)) -> Program {
    let mut program = Program::new();
    program.endpoint(0, "main", role, body);
    program
}

/// A caller of endpoint 0 of slot 40 that reports value and status and halts with 0.
pub fn caller() -> Program {
    program(Role::Transact(0), |asm| {
        asm.call(Op::Call, &[CALLEE.into(), 0]);
        report(asm, &[A0, A1]);
        asm.halt_with(0);
    })
}

/// A chain that passes each event of its Dispatch endpoint 9 on to its Transact endpoint 0.
pub fn node(program: &Program, entries: &[(u8, Cap)]) -> Node {
    node_of(&genesis(&passing(program)), entries)
}

pub fn node_of(genesis: &Genesis, entries: &[(u8, Cap)]) -> Node {
    Node::with_entries(genesis, &[], entries)
}

pub fn passing(program: &Program) -> Program {
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
pub fn transact(node: &mut Node, event: Event) -> Outcome {
    let accepted = node.dispatch(9, event).expect("accepted");
    assert_eq!(accepted.transact_ids.len(), 1);
    let advanced = node.build().expect("built");
    let (_, index) = advanced.events[0];
    advanced.outcomes[index as usize].clone()
}

pub fn run(node: &mut Node) -> Outcome {
    transact(node, event([]))
}

/// The outcome of an event, and the state after it, the same on both engines.
pub fn run_on_both(main: &Program, entries: &[(u8, Cap)]) -> (Node, Outcome) {
    let genesis = genesis(&passing(main));
    let mut node = node_of(&genesis, entries);
    let outcome = run(&mut node);
    let mut other = Node::on_other_engine(&genesis, entries);
    assert_eq!(outcome, run(&mut other), "engines agree");
    assert_eq!(
        node.head().header.state_root,
        other.head().header.state_root
    );
    (node, outcome)
}

pub fn callee_table(node: &Node) -> CNode {
    match node.get(&[CALLEE]) {
        Some(Cap::Instance(instance)) => instance.cnode().expect("a program").clone(),
        other => panic!("{other:?}"),
    }
}

pub fn callee_bytes(node: &Node, slot: u8) -> Option<Vec<u8>> {
    let cap = callee_table(node).get(&*node.store, &key(slot));
    match cap.expect("the store works") {
        Some(Cap::Data(data)) => Some(data.to_vec(&*node.store, 1 << 20).expect("readable")),
        _ => None,
    }
}
