//! What a chain's state takes in memory is bounded, and nobody can tell from its blocks.

mod common;

use common::calls::*;
use common::{A0, Node, Program, RAM};
use jar_abi::HostCall as Op;
use jar_cap::image::Role;
use jar_cap::{Cap, resident};
use jar_kernel::Trace;
use jar_kernel::block::{Block, Ending};
use jar_kernel::local::Notice;

/// Slot of a Data that each event reads, and of the number of the slot that it fills.
const READ: u64 = 45;
const NEXT: u64 = 46;
/// The first of those slots.
const FIRST: u64 = 100;
/// Bytes of the Data that is read, and of each that is added.
const BYTES: u64 = 60 << 10;
const ADDED: u64 = 16 << 10;
/// What the rest of the state takes.
const REST: u64 = 64 << 10;

/// Reads a Data, and adds one that no other is like.
fn chain() -> Program {
    program(Role::Transact(0), |asm| {
        asm.call(Op::ReadData, &[READ, RAM.into(), BYTES, 0])
            .call(Op::ReadData, &[NEXT, RAM.into(), 8, 0])
            .load(5, RAM)
            .set(6, 1)
            .set(A0, RAM.into())
            .set(A0 + 1, ADDED)
            .mov(A0 + 2, 5)
            .host(Op::MintData)
            .add(5, 5, 6)
            .store(RAM, 5)
            .call(Op::Drop, &[NEXT])
            .call(Op::MintData, &[RAM.into(), 8, NEXT])
            .halt();
    })
}

fn nodes(program: &Program) -> [Node; 2] {
    let genesis = common::genesis(&passing(program));
    let bytes: Vec<u8> = (0..BYTES).map(|i| (i / 7) as u8).collect();
    let entries = [
        (READ as u8, data(&bytes)),
        (NEXT as u8, data(&FIRST.to_le_bytes())),
    ];
    let mut other = Node::on_other_engine(&genesis, &entries);
    other.kernel.limit_memory(2 << 30);
    [Node::with_entries(&genesis, &[], &entries), other]
}

/// A block of one event, which went well.
fn block(node: &mut Node) -> Block {
    assert_eq!(run(node).ending, Ending::Halted(0));
    let hash = node.head().hash;
    let block = node.chain().store().block(&hash).expect("in memory");
    block.expect("the head's")
}

/// Bytes of memory that the head takes.
fn loaded(node: &Node) -> u64 {
    resident(&Cap::Instance(node.head().instance.clone()), u64::MAX)
}

/// How often the state was let go since this was last asked.
fn unloads(node: &Node) -> usize {
    let notices = node.notices().into_iter();
    notices
        .filter(|notice| matches!(notice, Notice::Trace(Trace::Unloaded)))
        .count()
}

#[test]
fn what_is_let_go_is_read_again() {
    let [mut frugal, mut other] = nodes(&chain());
    frugal.kernel.limit_memory(0);
    for count in 1..20 {
        let block = block(&mut frugal);
        other.import(&block).expect("valid");
        assert_eq!(frugal.head().hash, other.head().hash);
        assert_eq!(unloads(&frugal), 1, "each block lets go");
        assert!(loaded(&frugal) < REST);
        assert!(loaded(&other) > BYTES + count * ADDED, "all of it stays");
    }
    assert_eq!(unloads(&other), 0, "2 GiB is far");
}

#[test]
fn as_much_as_is_allowed_stays() {
    let [mut node, _] = nodes(&chain());
    let limit = 1 << 20;
    node.kernel.limit_memory(limit);
    let (mut most, mut times, blocks) = (0, 0, 100);
    for _ in 0..blocks {
        block(&mut node);
        most = most.max(loaded(&node));
        times += unloads(&node);
    }
    assert!((limit / 2..limit).contains(&most), "{most}");
    assert!((2..blocks / 10).contains(&times), "{times}");
}

#[test]
fn equal_values_count_as_often_as_they_are_there() {
    const COPIES: u64 = 50;
    let copies = program(Role::Transact(0), |asm| {
        asm.call(Op::ReadData, &[READ, RAM.into(), BYTES, 0]);
        for slot in FIRST..FIRST + COPIES {
            asm.call(Op::MintData, &[RAM.into(), BYTES, slot]);
        }
        asm.set(A0, 0).halt();
    });
    let [mut node, mut other] = nodes(&copies);
    let records = node.store.record_bytes() as u64;
    node.kernel.limit_memory(COPIES * BYTES);
    other.import(&block(&mut node)).expect("valid");
    assert!(node.store.record_bytes() as u64 - records < 2 * BYTES);
    assert!(loaded(&other) > COPIES * BYTES);
    assert_eq!(unloads(&node), 1);
    assert!(loaded(&node) < REST);
}
