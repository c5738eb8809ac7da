//! A chain that changes its own program, on a running node.

use jar_abi::HostCall as Op;
use jar_cap::image::{Image, Pinned, Role};
use jar_rpc::to_hex;
use parity_scale_codec::Encode;
use serde_json::{Value, json};

use self::program::{Program, key};
use crate::harness::{Chain, Node};

// The kernel's tests have an assembler for small programs.
#[allow(dead_code)]
#[path = "../../../kernel/tests/common/asm.rs"]
mod asm;
#[allow(dead_code)]
#[path = "../../../kernel/tests/common/program.rs"]
mod program;

/// Slot of the Image that the first version becomes.
const NEXT: u8 = 40;

/// A chain whose View `version` answers this number, with what `main` does besides.
fn version(number: u64, main: impl FnOnce(&mut asm::Asm)) -> Program {
    let mut program = Program::new();
    let answer = program.data(&number.encode());
    let none = program.data(&[0]);
    program.endpoint(0, "main", Role::Transact(0), |asm| {
        main(asm);
        asm.halt_with(number);
    });
    program.endpoint(1, "version", Role::View, |asm| {
        asm.call(Op::Drop, &[0])
            .call(Op::MintData, &[answer, 8, 0])
            .halt_with(0);
    });
    program.endpoint(2, "submit", Role::Dispatch, |asm| {
        asm.if_eq(asm::A0, 1, |asm| {
            asm.call(Op::SlotEmit, &[0, 0, 0, none, 1]);
        })
        .halt_with(0);
    });
    program
}

fn upgrading() -> Image {
    let mut second = version(2, |_| {}).build();
    let endpoint = second.endpoints[&1].clone();
    second.endpoints.insert(
        3,
        jar_cap::image::Endpoint {
            name: "also".into(),
            ..endpoint
        },
    );
    let mut first = version(1, |asm| {
        asm.call(Op::SetImage, &[NEXT.into()]);
    });
    let pinned = Pinned::Image(Box::new(second));
    first.image.pinned.insert(key(NEXT), pinned);
    first.build()
}

/// The version that the state after a block has.
fn version_at(node: &Node, block: &Value) -> Value {
    let answer = node.call("state_view", json!(["version", "0x", block]));
    answer["result"].clone()
}

/// Has an event put into a block: the block, and what `main` halted with.
fn transact(node: &Node, payload: &[u8]) -> (Value, Value) {
    let submitted = node.call("event_submit", json!(["submit", to_hex(payload)]));
    let id = submitted["transact_ids"][0].clone();
    let mut status = Value::Null;
    node.until(|node| {
        status = node.call("event_status", json!([id]));
        status["status"] == "included"
    });
    let included = &status["inclusions"][0];
    let ending = included["outcome"]["ending"].clone();
    (included["block"].clone(), ending)
}

fn endpoints(node: &Node) -> Vec<Value> {
    let spec = node.call("chain_spec", json!([]));
    let endpoints = spec["endpoints"].as_array().expect("a list");
    endpoints.iter().map(|e| e["name"].clone()).collect()
}

#[test]
fn a_chain_runs_its_next_program_from_the_block_that_commits_it() {
    let chain = Chain::of_image(&upgrading().encode());
    let node = chain.start_with("data", &[]);
    assert_eq!(endpoints(&node), ["main", "version", "submit"]);
    // The upgrade itself is the first version's.
    let (block, ending) = transact(&node, b"go");
    assert_eq!(ending, json!({ "halted": 1 }));
    let header = node.call("chain_header", json!([block]));
    let parent = &header["header"]["parent"];
    let number = |value: u64| json!(to_hex(&value.encode()));
    assert_eq!(version_at(&node, parent), number(1));
    assert_eq!(version_at(&node, &block), number(2));
    assert_eq!(endpoints(&node), ["main", "version", "submit", "also"]);
    let (_, ending) = transact(&node, b"on");
    assert_eq!(ending, json!({ "halted": 2 }));
    // And after a crash.
    node.kill();
    let node = chain.start_with("data", &[]);
    assert_eq!(version_at(&node, &block), number(2));
    let (_, ending) = transact(&node, b"still");
    assert_eq!(ending, json!({ "halted": 2 }));
}
