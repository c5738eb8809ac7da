//! A chain that counts, and does on request whatever a block can be tested by.
//!
//! A payload is a number naming the request and its arguments. Slot 41 holds the count.

use jar_abi::{ARRIVING_ITEM, HostCall as Op, slots};
use jar_cap::image::Role;
use jar_kernel::block::{Event, PublicKey, Scope};
use parity_scale_codec::Encode;

use super::asm::{A0, Asm};
use super::program::{PERSIST, Program, RAM, Seal};

/// Adds the argument to the count.
pub const ADD: u64 = 1;
/// Adds 1, then faults.
pub const FAULT: u64 = 2;
/// Asks for a Direct attestation of [`BLOB`] by the key in the arguments; halts with 0 or 9.
pub const ATTEST: u64 = 3;
/// As [`ATTEST`], then faults.
pub const ATTEST_FAULT: u64 = 4;
/// Scores the block with the argument.
pub const SCORE: u64 = 5;
/// Finalizes the hash in the arguments.
pub const FINALIZE: u64 = 6;
/// Emits the payload.
pub const EMIT: u64 = 7;
/// Spends all gas.
pub const SPIN: u64 = 8;
/// Halts with the argument.
pub const HALT: u64 = 9;

/// What attestations are made over.
pub const BLOB: &[u8] = b"blob";

/// Transact endpoint of the requests above.
pub const MAIN: u8 = 0;
/// Transact endpoint that comes later in the walk and does nothing.
pub const LATER: u8 = 1;
/// Dispatch endpoint that passes events on to [`MAIN`].
pub const SUBMIT: u8 = 9;
/// Dispatch endpoint for [`ATTEST`]: judges and passes on the signature.
pub const SUBMIT_SIGNED: u8 = 10;
/// Dispatch endpoint that passes the first attestation on unasked for.
pub const SUBMIT_UNASKED: u8 = 11;

/// The count at which a Schedule faults.
pub const UNLUCKY: u64 = 13;

/// A request.
pub fn request(number: u64, args: &[u8]) -> Event {
    Event {
        payload: [&number.to_le_bytes(), args].concat(),
        ..Event::default()
    }
}

/// Adds to the count.
pub fn add(amount: u64) -> Event {
    request(ADD, &amount.to_le_bytes())
}

const ARGS: u64 = RAM as u64 + 8;

/// Reads the payload into memory and its number into φ0.
fn read_payload(asm: &mut Asm) {
    asm.call(Op::ReadData, &[0, RAM.into(), 256, 0])
        .load(0, RAM);
}

fn attest(asm: &mut Asm, key: u64, blob: u64, scope: u64) {
    let attestation = slots::ATTESTATION.into();
    let args = [attestation, key, blob, BLOB.len() as u64, scope, 1];
    asm.call(Op::Attest, &args);
}

/// The chain, sealed or not.
pub fn counter(seal: &Seal) -> Program {
    let mut program = Program::new();
    let blob = program.data(BLOB);
    let direct = program.data(&Scope::Direct.encode());
    program.persist(&[41], 0, 1);
    program.endpoint(MAIN, "main", Role::Transact(1), |asm| {
        read_payload(asm);
        main(asm, blob, direct);
    });
    program.endpoint(LATER, "later", Role::Transact(2), |asm| {
        asm.halt_with(0);
    });
    program.endpoint(2, "begin", Role::Schedule(0), |asm| {
        asm.halt_with(0);
    });
    program.endpoint(3, "check", Role::Schedule(200), |asm| {
        asm.load(0, PERSIST)
            .if_eq(0, UNLUCKY, |asm| {
                asm.trap();
            })
            .halt_with(0);
    });
    program.endpoint(4, "count", Role::View, |asm| {
        asm.call(Op::Drop, &[0])
            .call(Op::Copy, &[41, 0])
            .halt_with(0);
    });
    submits(&mut program, blob, direct);
    program.sealed(seal);
    program
}

fn main(asm: &mut Asm, blob: u64, direct: u64) {
    let consensus = slots::CONSENSUS.into();
    asm.if_eq(0, ADD, |asm| {
        asm.load(1, PERSIST)
            .load(2, RAM + 8)
            .add(1, 1, 2)
            .store(PERSIST, 1)
            .halt_with(0);
    })
    .if_eq(0, FAULT, |asm| {
        asm.load(1, PERSIST).add(1, 1, 0).store(PERSIST, 1).trap();
    })
    .if_eq(0, ATTEST, |asm| {
        attest(asm, ARGS, blob, direct);
        asm.if_eq(A0, 0, |asm| {
            asm.halt_with(9);
        })
        .halt_with(0);
    })
    .if_eq(0, ATTEST_FAULT, |asm| {
        attest(asm, ARGS, blob, direct);
        asm.trap();
    })
    .if_eq(0, SCORE, |asm| {
        asm.set(A0, consensus)
            .load(A0 + 1, RAM + 8)
            .host(Op::Score)
            .halt_with(0);
    })
    .if_eq(0, FINALIZE, |asm| {
        asm.call(Op::Finalize, &[consensus, ARGS]).halt_with(0);
    })
    .if_eq(0, EMIT, |asm| {
        asm.call(Op::Emit, &[ARGS, 3, 0]).halt_with(0);
    })
    .if_eq(0, SPIN, |asm| {
        asm.spin();
    })
    .load(A0, RAM + 8)
    .halt();
}

fn submits(program: &mut Program, blob: u64, direct: u64) {
    let none = program.data(&[0]);
    let first = program.data(&vec![(ARRIVING_ITEM, 0u32)].encode());
    let emit = |asm: &mut Asm, picks: u64, len: u64| {
        asm.call(Op::SlotEmit, &[0, MAIN.into(), 0, picks, len])
            .halt();
    };
    program.endpoint(SUBMIT, "submit", Role::Dispatch, |asm| {
        asm.if_eq(A0, 1, |asm| emit(asm, none, 1)).halt_with(0);
    });
    program.endpoint(SUBMIT_SIGNED, "submit_signed", Role::Dispatch, |asm| {
        asm.if_eq(A0, 1, |asm| emit(asm, first, 9));
        read_payload(asm);
        attest(asm, ARGS, blob, direct);
        asm.if_eq(A0, 0, |asm| {
            asm.halt_with(4);
        })
        .halt_with(0);
    });
    program.endpoint(SUBMIT_UNASKED, "submit_unasked", Role::Dispatch, |asm| {
        asm.if_eq(A0, 1, |asm| emit(asm, first, 9));
        read_payload(asm);
        // The key is the second argument: what the Transact endpoint won't ask for.
        attest(asm, ARGS + 32, blob, direct);
        asm.halt_with(0);
    });
}

/// Arguments of [`ATTEST`].
pub fn signer_args(key: &PublicKey) -> Vec<u8> {
    key.to_vec()
}
