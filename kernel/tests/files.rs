//! Files in a chain's state: sealed in one block, opened in a later one, after a restart.

mod common;

use common::calls::*;
use common::{A0, Node, Program, RAM, genesis};
use jar_abi::{HostCall as Op, Status, slots};
use jar_cap::image::Role;
use jar_cap::{Cap, NativeKind, native_type};
use jar_kernel::block::Ending;

const LEN: u64 = 40_000;

fn chain() -> Program {
    program(Role::Transact(0), |asm| {
        let last = RAM + LEN as u32 - 8;
        asm.call(Op::Kind, &[50])
            .mov(5, A0)
            .if_eq(5, code(Status::Empty), |asm| {
                asm.set(0, 77)
                    .store(last, 0)
                    .call(Op::MintData, &[RAM.into(), LEN, 40])
                    .call(Op::Save, &[40, 50])
                    .call(Op::Drop, &[40])
                    .halt();
            })
            .call(Op::Open, &[50, 41])
            .call(Op::ReadData, &[41, RAM.into(), 8, LEN - 8])
            .call(Op::Drop, &[41])
            .load(A0, RAM)
            .halt();
    })
}

#[test]
fn a_file_outlives_blocks_and_restarts() {
    let genesis = genesis(&passing(&chain()));
    let mut node = Node::new(&genesis, &[]);
    let mut other = Node::on_other_engine(&genesis, &[]);
    assert_eq!(run(&mut node).ending, Ending::Halted(0));
    let Some(Cap::Instance(file)) = node.get(&[50]) else {
        panic!("nothing was saved");
    };
    assert_eq!(file.type_id(), native_type(NativeKind::File));
    let root = node.head().header.state_root;
    // Its pages are read from the store: nothing of the former node is left.
    let mut node = Node::open(node.store.clone(), &genesis, &[]).expect("same chain");
    assert_eq!(run(&mut node).ending, Ending::Halted(77));
    assert_eq!(
        node.head().header.state_root,
        root,
        "opening changes nothing"
    );
    for height in 1..=2 {
        let hash = jar_kernel::Store::canonical(&*node.store, height);
        let hash = hash.expect("in memory").expect("there");
        let block = jar_kernel::Store::block(&*node.store, &hash);
        other
            .import(&block.expect("in memory").expect("there"))
            .expect("valid");
    }
    assert_eq!(other.head().hash, node.head().hash);
}

#[test]
fn without_the_native_nothing_is_opened_or_saved() {
    let program = program(Role::Transact(0), |asm| {
        asm.call(Op::MintData, &[RAM.into(), 8, 40]);
        asm.call(Op::Save, &[40, 50]).mov(5, A0);
        asm.call(Op::Drop, &[slots::SAVE.into()]);
        asm.call(Op::Save, &[40, 51]).mov(6, A0);
        asm.call(Op::Drop, &[slots::OPEN.into()]);
        asm.call(Op::Open, &[50, 52]).mov(4, A0);
        report(asm, &[5, 6, 4]);
        asm.halt_with(0);
    });
    let mut node = node(&program, &[]);
    let denied = code(Status::Denied);
    let outcome = run(&mut node);
    assert_eq!(reports(&outcome), [[0, denied, denied]]);
}
