//! Every operation of the host-call table: success, each error its row lists, its price before
//! its effect, and nothing half done.

mod effects;
mod files;
mod images;
mod paths;
mod prices;

use std::collections::BTreeSet;

use jar_abi::{Fault, HostCall, SlotItemKind, Status, slots};
use jar_cap::hash::blake2b;
use jar_cap::{Cap, Data, ImageRef, Instance, derive_type};
use parity_scale_codec::Encode;

use super::rig::*;
use crate::block::Scope;
use crate::params::Params;

use HostCall as Op;

/// A call and how it must end.
#[derive(Clone)]
struct Case {
    op: HostCall,
    args: Vec<u64>,
    expect: Answer,
    scene: Scene,
}

fn case(op: HostCall, args: &[u64], expect: Answer) -> Case {
    Case {
        op,
        args: args.to_vec(),
        expect,
        scene: Scene::default(),
    }
}

impl Case {
    fn memory(mut self, address: u64, bytes: impl AsRef<[u8]>) -> Case {
        let bytes = bytes.as_ref().to_vec();
        self.scene.memory.push((address, bytes));
        self
    }

    fn scene(mut self, change: impl FnOnce(&mut Scene)) -> Case {
        change(&mut self.scene);
        self
    }

    fn slot(self) -> Case {
        self.scene(|scene| scene.has_slot = true)
    }

    fn params(self, change: impl FnOnce(&mut Params)) -> Case {
        self.scene(|scene| change(&mut scene.params))
    }

    fn run(&self) -> Ran {
        run(&self.scene, number(self.op), &self.args)
    }

    fn name(&self) -> String {
        format!("{}{:x?} -> {:?}", self.op.name(), self.args, self.expect)
    }

    /// The status this case is about, if it is one.
    fn status(&self) -> Option<Status> {
        match self.expect {
            Answer::Status(status) => Some(status),
            Answer::Pair(code, 3) if matches!(self.op, Op::Call | Op::Resume) => {
                Status::from_number(code as i64)
            }
            _ => None,
        }
    }
}

const OK: Answer = Answer::Value(0);
const EMPTY: Answer = Answer::Status(Status::Empty);
const OCCUPIED: Answer = Answer::Status(Status::Occupied);
const PINNED: Answer = Answer::Status(Status::Pinned);
const BUSY: Answer = Answer::Status(Status::Busy);
const WRONG_KIND: Answer = Answer::Status(Status::WrongKind);
const NO_ENDPOINT: Answer = Answer::Status(Status::NoEndpoint);
const QUOTA: Answer = Answer::Status(Status::Quota);
const RANGE: Answer = Answer::Status(Status::Range);
const DENIED: Answer = Answer::Status(Status::Denied);
const INVALID: Answer = Answer::Status(Status::Invalid);
const BAD_RANGE: Answer = Answer::Fault(Fault::BadRange);

/// A path through a Data.
const THROUGH_DATA: u64 = 1 << 56 | 1 << 8 | DATA;
/// A path through nothing.
const THROUGH_NOTHING: u64 = 1 << 56 | 1 << 8 | FREE;
/// A path below what is pinned.
const BELOW_PINNED: u64 = 1 << 56 | 1 << 8 | PINNED_DATA;

fn refused(status: Status) -> Answer {
    Answer::Pair(status as i64 as u64, 3)
}

/// What every operation on a source slot answers.
fn source_cases(op: HostCall, args: impl Fn(u64) -> Vec<u64>) -> Vec<Case> {
    // What takes from a slot meets a pin before what lies below it.
    let takes = matches!(op, Op::Move | Op::Drop);
    let cases = [
        (FREE, EMPTY),
        (path(&[41, 99]), EMPTY),
        (THROUGH_NOTHING, EMPTY),
        (THROUGH_DATA, WRONG_KIND),
        (BELOW_PINNED, if takes { PINNED } else { WRONG_KIND }),
        (MALFORMED, INVALID),
        (1 << 8, INVALID),
        (long_path(RAM, 3), INVALID),
        (long_path(RAM, 266), INVALID),
        (long_path(NOWHERE, 2), BAD_RANGE),
    ];
    cases
        .into_iter()
        .map(|(slot, expect)| case(op, &args(slot), expect))
        .collect()
}

/// What an operation answers that takes, replaces, copies or drops a reserved slot.
fn reserved_cases(op: HostCall, args: impl Fn(u64) -> Vec<u64>) -> Vec<Case> {
    [WAITING, path(&[46, 1]), HOLDER]
        .into_iter()
        .map(|slot| case(op, &args(slot), BUSY))
        .collect()
}

/// What every operation that fills a slot answers.
fn destination_cases(op: HostCall, args: impl Fn(u64) -> Vec<u64>) -> Vec<Case> {
    let cases = [
        (DATA, OCCUPIED),
        (path(&[41, 1]), OCCUPIED),
        (PINNED_DATA, PINNED),
        (BELOW_PINNED, PINNED),
        (THROUGH_DATA, WRONG_KIND),
        (THROUGH_NOTHING, WRONG_KIND),
        (MALFORMED, INVALID),
        (long_path(RAM, 0), INVALID),
        (long_path(NOWHERE, 2), BAD_RANGE),
        (0, OK),
        (FREE, OK),
        (path(&[41, 9]), OK),
    ];
    let cases = cases
        .into_iter()
        .map(|(slot, expect)| case(op, &args(slot), expect));
    cases.chain(reserved_cases(op, &args)).collect()
}

fn slot_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for op in [Op::Copy, Op::Move] {
        cases.extend(reserved_cases(op, |slot| vec![slot, FREE]));
        // What lies beside a reserved slot is free.
        cases.push(case(op, &[path(&[46, 2]), FREE], OK));
        cases.push(case(op, &[DATA, path(&[46, 3])], OK));
    }
    cases.extend(reserved_cases(Op::Drop, |slot| vec![slot]));
    cases.push(case(Op::Drop, &[path(&[46, 2])], OK));
    cases.extend(swap_cases());
    for op in [Op::Copy, Op::Move, Op::TypeOf] {
        cases.extend(source_cases(op, |slot| vec![slot, FREE + 1]));
        cases.extend(destination_cases(op, |slot| vec![CALLEE, slot]));
        cases.push(case(op, &[CALLEE, CALLEE], OCCUPIED));
    }
    cases.extend([
        case(Op::Copy, &[PINNED_IMAGE, FREE], OK),
        case(Op::Move, &[PINNED_DATA, FREE], PINNED),
        case(Op::Move, &[CNODE, path(&[41, 9])], INVALID),
        case(Op::TypeOf, &[DATA, FREE], WRONG_KIND),
        case(Op::Drop, &[DATA], OK),
        case(Op::Drop, &[path(&[41, 2])], OK),
        case(Op::Drop, &[PINNED_DATA], PINNED),
    ]);
    cases.extend(source_cases(Op::Drop, |slot| vec![slot]));
    cases.extend(destination_cases(Op::MintCnode, |slot| vec![slot]));
    cases.extend(source_cases(Op::Kind, |slot| vec![slot]));
    cases.push(case(Op::Kind, &[TYPE], Answer::Pair(5, 0)));
    cases.extend(source_cases(Op::SameType, |slot| vec![slot, TYPE]));
    cases.extend(source_cases(Op::SameType, |slot| vec![TYPE, slot]));
    cases.push(case(Op::SameType, &[CALLEE, TYPE], Answer::Value(1)));
    cases.push(case(Op::SameType, &[DATA, TYPE], WRONG_KIND));
    let key = [RAM, 0, RAM + 64];
    let next_key = |slot| [&[slot], &key[..]].concat();
    cases.extend(source_cases(Op::NextKey, next_key));
    cases.extend([
        case(Op::NextKey, &next_key(CNODE), Answer::Value(1)),
        case(Op::NextKey, &next_key(DATA), WRONG_KIND),
        case(Op::NextKey, &[CNODE, RAM, 33, RAM + 64], INVALID),
        case(Op::NextKey, &[CNODE, NOWHERE, 1, RAM + 64], BAD_RANGE),
        case(Op::NextKey, &[CNODE, RAM, 1 << 32, RAM + 64], BAD_RANGE),
        case(Op::NextKey, &[CNODE, RAM, 0, RO], BAD_RANGE),
        case(Op::NextKey, &[FREE, RAM, 0, NOWHERE], BAD_RANGE),
    ]);
    cases
}

fn swap_cases() -> Vec<Case> {
    let mut cases: Vec<Case> = [
        (DATA, CNODE, OK),
        (DATA, DATA, OK),
        (path(&[41, 1]), path(&[41, 2]), OK),
        (path(&[41, 1]), path(&[41, 9]), EMPTY),
        (DATA, FREE, EMPTY),
        (THROUGH_NOTHING, THROUGH_NOTHING, EMPTY),
        (THROUGH_DATA, THROUGH_DATA, WRONG_KIND),
        (DATA, PINNED_DATA, PINNED),
        (BELOW_PINNED, BELOW_PINNED, PINNED),
        (DATA, WAITING, BUSY),
        (path(&[46, 2]), path(&[46, 1]), BUSY),
        (HOLDER, DATA, BUSY),
        // Within one CNode only.
        (DATA, path(&[41, 1]), INVALID),
        (path(&[46, 2]), path(&[41, 1]), INVALID),
        (DATA, MALFORMED, INVALID),
        (DATA, long_path(NOWHERE, 2), BAD_RANGE),
    ]
    .into_iter()
    .map(|(a, b, expect)| case(Op::Swap, &[a, b], expect))
    .collect();
    let turned: Vec<Case> = cases
        .iter()
        .map(|c| case(Op::Swap, &[c.args[1], c.args[0]], c.expect.clone()))
        .collect();
    cases.extend(turned);
    cases
}

fn data_cases() -> Vec<Case> {
    let mut cases = source_cases(Op::ReadData, |slot| vec![slot, RAM, 8, 0]);
    cases.extend([
        case(Op::ReadData, &[DATA, RAM, 8, 0], Answer::Value(8)),
        case(Op::ReadData, &[DATA, 0, 0, 5000], Answer::Value(0)),
        case(Op::ReadData, &[DATA, RAM, 8, 5001], RANGE),
        case(Op::ReadData, &[DATA, RAM, 8, u64::MAX], RANGE),
        case(Op::ReadData, &[CNODE, RAM, 8, 0], WRONG_KIND),
        case(Op::ReadData, &[DATA, RO, 8, 0], BAD_RANGE),
        case(Op::ReadData, &[DATA, RAM + RAM_LEN - 4, 8, 0], BAD_RANGE),
        case(Op::ReadData, &[DATA, RAM, 1 << 32, 0], BAD_RANGE),
        case(Op::ReadData, &[FREE, NOWHERE, 8, 0], BAD_RANGE),
    ]);
    cases.extend(destination_cases(Op::MintData, |slot| vec![RAM, 8, slot]));
    cases.extend([
        case(Op::MintData, &[RAM, 9, FREE], RANGE).params(|p| p.data_bytes = 8),
        case(Op::MintData, &[NOWHERE, 1, FREE], BAD_RANGE),
        case(Op::MintData, &[RAM, RAM_LEN + 1, FREE], BAD_RANGE),
        case(Op::MintData, &[RO, 6, FREE], OK),
        case(Op::MintData, &[NOWHERE, 0, FREE], OK),
        case(Op::MintData, &[NOWHERE, 1, MALFORMED], BAD_RANGE),
        case(Op::Hash, &[0, RAM, 3, RAM + 64], OK),
        case(Op::Hash, &[3, RAM, 3, RAM + 64], INVALID),
        case(Op::Hash, &[u64::MAX, RAM, 3, RAM + 64], INVALID),
        case(Op::Hash, &[0, NOWHERE, 3, RAM + 64], BAD_RANGE),
        case(Op::Hash, &[0, RAM, 3, RO], BAD_RANGE),
        case(Op::Hash, &[0, RAM, 3, RAM + RAM_LEN - 31], BAD_RANGE),
        case(Op::Hash, &[9, NOWHERE, 3, RAM], BAD_RANGE),
    ]);
    cases
}

fn call_cases() -> Vec<Case> {
    let mut cases: Vec<Case> = source_cases(Op::Call, |slot| vec![slot, 0])
        .into_iter()
        .map(|mut case| {
            if let Answer::Status(status) = case.expect {
                case.expect = refused(status);
            }
            case
        })
        .collect();
    cases.extend([
        case(Op::Call, &[CALLEE, 0], Answer::Switched),
        case(Op::Call, &[CALLEE, 1], Answer::Switched),
        case(Op::Call, &[0, 0], refused(Status::Busy)),
        case(Op::Call, &[DATA, 0], refused(Status::WrongKind)),
        case(Op::Call, &[CALLEE, 2], refused(Status::Denied)),
        case(Op::Call, &[CALLEE, 3], refused(Status::Denied)),
        case(Op::Call, &[CALLEE, 4], refused(Status::NoEndpoint)),
        case(Op::Call, &[CALLEE, 256], refused(Status::NoEndpoint)),
        case(Op::Call, &[17, 0], refused(Status::NoEndpoint)),
        case(Op::Call, &[CALLEE, 0], refused(Status::Quota))
            .params(|p| p.max_live_memory = 4 * RAM_LEN - 1),
        case(Op::Call, &[CALLEE, 0], Answer::Switched).params(|p| p.max_live_memory = 4 * RAM_LEN),
        case(Op::Call, &[CALLEE, 0], refused(Status::Depth))
            .params(|p| p.max_depth = 3)
            .scene(|s| s.depth = 2),
        case(Op::Call, &[CALLEE, 0], Answer::Switched)
            .params(|p| p.max_depth = 4)
            .scene(|s| s.depth = 2),
        case(Op::Call, &[WAITING, 0], refused(Status::Busy)),
        case(Op::Call, &[path(&[46, 1]), 0], refused(Status::Busy)),
        case(Op::Call, &[path(&[46, 2]), 0], Answer::Switched),
        case(Op::Call, &[path(&[0, 5]), 0], refused(Status::Busy)),
        case(Op::Halt, &[5], Answer::Halted(5)),
    ]);
    cases.extend(yield_cases());
    cases.extend(native_cases());
    cases
}

fn yield_cases() -> Vec<Case> {
    let mut cases = source_cases(Op::Yield, |slot| vec![slot]);
    for op in [Op::Resume, Op::Abort, Op::Detach] {
        let mut found = source_cases(op, |slot| vec![slot]);
        found.extend([
            case(op, &[DATA], WRONG_KIND),
            case(op, &[CALLEE], DENIED),
            case(op, &[path(&[46, 2])], DENIED),
            case(op, &[17], DENIED),
        ]);
        for mut case in found {
            match case.expect {
                Answer::Status(status) if op == Op::Resume => case.expect = refused(status),
                _ => {}
            }
            cases.push(case);
        }
        let done = if op == Op::Resume {
            Answer::Switched
        } else {
            OK
        };
        cases.push(case(op, &[WAITING], done.clone()));
        cases.push(case(op, &[path(&[46, 1])], done));
    }
    cases.extend(resume_cases());
    cases.extend([
        case(Op::Abort, &[PAUSED], DENIED),
        case(Op::Detach, &[PAUSED], DENIED),
        // A View leaves nothing behind.
        case(Op::Detach, &[WAITING], DENIED).scene(|s| s.waits_as_view = true),
        // What is kept pays: 25,000 gas for its slot, 512 bytes for its registers.
        case(Op::Detach, &[WAITING], OK).scene(|s| s.waits_with_row = Some((25_000, 512))),
        case(Op::Detach, &[WAITING], QUOTA).scene(|s| s.waits_with_row = Some((24_999, 512))),
        case(Op::Detach, &[WAITING], QUOTA).scene(|s| s.waits_with_row = Some((25_000, 511))),
        case(Op::Yield, &[CALLEE], Answer::Switched).scene(|s| s.depth = 1),
        case(Op::Yield, &[CALLEE], Answer::Switched).scene(|s| s.depth = 5),
        // The running frame's own Catcher is not asked.
        case(Op::Yield, &[CALLEE], Answer::Fault(Fault::Unhandled)),
        case(Op::Yield, &[17], Answer::Fault(Fault::Unhandled)).scene(|s| s.depth = 3),
        // A type identifies and never authorizes.
        case(Op::Yield, &[TYPE], WRONG_KIND).scene(|s| s.depth = 1),
        case(Op::Yield, &[DATA], WRONG_KIND),
    ]);
    cases
}

/// Suspended Instances in slots.
fn resume_cases() -> Vec<Case> {
    let resume = |slot, expect| case(Op::Resume, &[slot], expect);
    vec![
        resume(PAUSED, Answer::Switched),
        resume(CALLING, Answer::Switched),
        resume(BROKEN, refused(Status::WrongKind)),
        resume(0, refused(Status::Busy)).scene(|s| s.scratch = Some(PAUSED)),
        resume(PAUSED, refused(Status::Depth))
            .params(|p| p.max_depth = 3)
            .scene(|s| s.depth = 2),
        resume(CALLING, refused(Status::Depth))
            .params(|p| p.max_depth = 4)
            .scene(|s| s.depth = 2),
        resume(PAUSED, Answer::Switched)
            .params(|p| p.max_depth = 4)
            .scene(|s| s.depth = 2),
        resume(PAUSED, refused(Status::Quota)).params(|p| p.max_live_memory = 4 * RAM_LEN - 1),
        resume(PAUSED, Answer::Switched).params(|p| p.max_live_memory = 4 * RAM_LEN),
        resume(CALLING, refused(Status::Quota)).params(|p| p.max_live_memory = 5 * RAM_LEN - 1),
        case(Op::Call, &[PAUSED, 0], refused(Status::Denied)),
    ]
}

/// Kernel-issued Instances answer calls themselves.
fn native_cases() -> Vec<Case> {
    let call = |args: &[u64], scratch: Option<u64>, expect| {
        case(Op::Call, args, expect).scene(|s| s.scratch = scratch)
    };
    let ok = |value| Answer::Pair(value, 0);
    let catcher = u64::from(slots::CATCHER);
    let mut cases = Vec::new();
    for endpoint in [0, 1] {
        cases.extend([
            call(&[catcher, endpoint], Some(CALLEE), ok(0)),
            call(&[catcher, endpoint], Some(TYPE), ok(0)),
            call(&[catcher, endpoint], Some(17), ok(0)),
            call(&[catcher, endpoint], Some(DATA), refused(Status::WrongKind)),
            call(&[catcher, endpoint], None, refused(Status::Empty)),
        ]);
    }
    cases.extend([
        call(&[FULL, 0], Some(17), refused(Status::Quota)),
        // There already.
        call(&[FULL, 0], Some(CALLEE), ok(0)),
        call(&[FULL, 1], Some(CALLEE), ok(0)),
        call(&[FULL, 2], None, ok(0)),
        call(&[catcher, 2], Some(DATA), ok(0)),
        call(&[catcher, 3], None, refused(Status::NoEndpoint)),
    ]);
    for (slot, is_gas) in [
        (slots::SET_GAS_METER, true),
        (slots::SET_STORAGE_QUOTA, false),
    ] {
        let slot = u64::from(slot);
        let budget = Scene::default().quota;
        cases.extend([
            call(&[slot, 0, 5, 7], None, ok(0)),
            call(&[slot, 1, 5, 7], None, refused(Status::NoEndpoint)),
        ]);
        if !is_gas {
            cases.push(call(&[slot, 0, 0, 7], None, ok(budget)));
        }
    }
    for slot in [slots::MINT_GAS, slots::MINT_QUOTA, slots::CREATE_CATCHER] {
        cases.extend([
            call(&[slot.into(), 0, 5], None, ok(0)),
            call(&[slot.into(), 0, 5], Some(DATA), ok(0)),
            call(&[slot.into(), 1], None, refused(Status::NoEndpoint)),
        ]);
    }
    cases
}

fn attest_case(args: &[u64], expect: Answer, scope: Scope) -> Case {
    let mut case = case(Op::Attest, args, expect)
        .memory(RAM, KEY)
        .memory(RAM + 32, b"blob")
        .memory(RAM + 64, scope.encode());
    let (direct, seal) = (blake2b(&[b"blob"]), [0; 32]);
    case.scene.traces.attestations = vec![match scope {
        Scope::Seal => attestation(scope, seal),
        _ => attestation(scope, direct),
    }];
    case
}

fn attest_cases() -> Vec<Case> {
    let direct = [17, RAM, RAM + 32, 4, RAM + 64, 1];
    let seal = [17, RAM, 0, 0, RAM + 64, 1];
    let with = |index: usize, value: u64| {
        let mut args = direct;
        args[index] = value;
        args
    };
    let mut cases = vec![
        attest_case(&direct, Answer::Value(1), Scope::Direct),
        attest_case(&seal, Answer::Value(1), Scope::Seal),
        // Nothing in the list fits: absent.
        attest_case(&with(3, 3), Answer::Value(0), Scope::Direct),
        attest_case(&with(1, RAM + 1), Answer::Value(0), Scope::Direct),
        attest_case(&direct, Answer::Value(0), Scope::Direct)
            .scene(|s| s.traces.attestations.clear()),
        // A Seal has no blob.
        attest_case(&direct, INVALID, Scope::Seal),
        attest_case(&with(5, 0), INVALID, Scope::Direct),
        attest_case(&with(5, 2), INVALID, Scope::Direct),
        attest_case(&with(5, 18), INVALID, Scope::Direct),
        attest_case(&direct, DENIED, Scope::Direct).scene(|s| s.is_view = true),
        attest_case(&with(0, 18), WRONG_KIND, Scope::Direct),
        attest_case(&with(1, NOWHERE), BAD_RANGE, Scope::Direct),
        attest_case(&with(2, NOWHERE), BAD_RANGE, Scope::Direct),
        attest_case(&with(3, 1 << 32), BAD_RANGE, Scope::Direct),
        attest_case(&with(4, NOWHERE), BAD_RANGE, Scope::Direct),
    ];
    let vote = Scope::Vote {
        source: 1,
        target: 2,
    };
    cases.push(attest_case(&with(5, 17), Answer::Value(1), vote));
    cases.extend(source_cases(Op::Attest, |slot| with(0, slot).to_vec()));
    cases
}

fn result_cases() -> Vec<Case> {
    let expected = |case: Case| case.scene(|s| s.traces.results = vec![b"pinned".to_vec()]);
    let mut cases = source_cases(Op::Result, |slot| vec![slot, RO, 6]);
    cases.extend([
        expected(case(Op::Result, &[17, RO, 6], Answer::Value(1))),
        expected(case(Op::Result, &[17, RO, 5], Answer::Value(0))),
        case(Op::Result, &[17, RO, 6], Answer::Value(0)),
        case(Op::Result, &[17, RO, 6], Answer::Value(1)).scene(|s| s.signing = Some(Vec::new())),
        case(Op::Result, &[17, RO, 6], RANGE).params(|p| p.payload_bytes = 5),
        case(Op::Result, &[18, RO, 6], WRONG_KIND),
        case(Op::Result, &[17, RO, 6], DENIED).scene(|s| s.is_view = true),
        case(Op::Result, &[17, NOWHERE, 6], BAD_RANGE),
        case(Op::Result, &[17, RO, 1 << 32], BAD_RANGE),
    ]);
    cases
}

fn chain_cases() -> Vec<Case> {
    let mut cases = attest_cases();
    cases.extend(result_cases());
    cases.extend(source_cases(Op::Score, |slot| vec![slot, 7]));
    cases.extend(source_cases(Op::Finalize, |slot| vec![slot, RAM]));
    cases.extend(source_cases(Op::Emit, |slot| vec![RAM, 3, slot]));
    cases.extend([
        case(Op::BlockInfo, &[RAM], OK),
        case(Op::BlockInfo, &[RO], BAD_RANGE),
        case(Op::BlockInfo, &[RAM + RAM_LEN - 80], BAD_RANGE),
        case(Op::Score, &[18, 7], OK),
        case(Op::Score, &[17, 7], WRONG_KIND),
        case(Op::Score, &[18, 7], DENIED).scene(|s| s.is_view = true),
        case(Op::Finalize, &[18, RAM], OK),
        case(Op::Finalize, &[17, RAM], WRONG_KIND),
        case(Op::Finalize, &[18, RAM], DENIED).scene(|s| s.is_view = true),
        case(Op::Finalize, &[18, NOWHERE], BAD_RANGE),
        case(Op::GasLeft, &[], Answer::Value((1 << 40) - 100)).params(|p| p.price_host_call = 100),
        case(Op::Log, &[1, RO, 6], OK),
        case(Op::Log, &[1, RAM, 4097], RANGE),
        case(Op::Log, &[1, NOWHERE, 4097], BAD_RANGE),
        case(Op::Emit, &[RO, 6, DATA], OK),
        case(Op::Emit, &[RO, 6, DATA], RANGE).params(|p| p.emit_bytes = 5005),
        case(Op::Emit, &[RO, 6, DATA], OK).params(|p| p.emit_bytes = 5006),
        case(Op::Emit, &[RO, 6, CNODE], WRONG_KIND),
        case(Op::Emit, &[NOWHERE, 6, DATA], BAD_RANGE),
    ]);
    cases
}

fn slot_op_cases() -> Vec<Case> {
    let transact = SlotItemKind::Transact as u64;
    let dispatch = SlotItemKind::Dispatch as u64;
    let picks = vec![(0u32, 0u32), (u32::MAX, 1)].encode();
    let len = picks.len() as u64;
    let emit = |args: [u64; 5], expect| {
        case(Op::SlotEmit, &args, expect)
            .memory(RAM, &picks)
            .memory(RAM + 64, vec![(2u32, 0u32)].encode())
            .memory(RAM + 96, vec![(0u32, 1u32)].encode())
            .slot()
    };
    let mut cases: Vec<Case> = destination_cases(Op::SlotRead, |slot| vec![0, slot])
        .into_iter()
        .map(Case::slot)
        .collect();
    cases.extend(
        source_cases(Op::SlotEmit, |slot| vec![transact, 2, slot, 0, 0])
            .into_iter()
            .map(Case::slot),
    );
    cases.extend([
        case(Op::SlotRead, &[2, FREE], RANGE).slot(),
        case(Op::SlotRead, &[1 << 32, FREE], RANGE).slot(),
        case(Op::SlotRead, &[0, FREE], DENIED),
        case(Op::SlotRead, &[0, FREE], DENIED)
            .slot()
            .scene(|s| s.is_view = true),
        emit([transact, 2, DATA, RAM, len], OK),
        emit([dispatch, 3, DATA, RAM, len], OK),
        emit([transact, 3, DATA, RAM, len], NO_ENDPOINT),
        emit([dispatch, 2, DATA, RAM, len], NO_ENDPOINT),
        emit([transact, 2 + 256, DATA, RAM, len], NO_ENDPOINT),
        emit([2, 2, DATA, RAM, len], INVALID),
        emit([transact, 2, DATA, RAM, len - 1], INVALID),
        emit([transact, 2, DATA, RAM, 0], INVALID),
        emit([transact, 2, CNODE, RAM, len], WRONG_KIND),
        emit([transact, 2, DATA, RAM + 64, 9], RANGE),
        emit([transact, 2, DATA, RAM + 96, 9], RANGE),
        emit([transact, 2, DATA, RAM, len], RANGE).params(|p| p.payload_bytes = 4999),
        emit([transact, 2, DATA, RAM, len], RANGE).params(|p| p.max_attestations = 1),
        emit([transact, 2, DATA, RAM, len], QUOTA).params(|p| p.dispatch_items = 2),
        emit([transact, 2, DATA, RAM, len], QUOTA).params(|p| p.dispatch_bytes = 5000),
        emit([transact, 2, DATA, NOWHERE, len], BAD_RANGE),
        case(Op::SlotEmit, &[transact, 2, DATA, RAM, 1], DENIED),
        case(Op::SlotKeep, &[RAM, 1], OK).slot(),
        case(Op::SlotKeep, &[0, 0], OK).slot(),
        case(Op::SlotKeep, &[RAM, 2], RANGE).slot(),
        case(Op::SlotKeep, &[RAM, 0], RANGE).slot(),
        case(Op::SlotKeep, &[RAM, 1], DENIED),
        case(Op::SlotKeep, &[NOWHERE, 1], BAD_RANGE).slot(),
        case(Op::SlotClear, &[], OK).slot(),
        case(Op::SlotClear, &[], DENIED),
    ]);
    cases
}

fn dispatch_cases() -> Vec<Case> {
    let head = |case: Case| case.slot().scene(|s| s.is_head_phase = true);
    let mut cases: Vec<Case> = source_cases(Op::Dispatch, |slot| vec![3, slot])
        .into_iter()
        .map(head)
        .collect();
    cases.extend([
        head(case(Op::Dispatch, &[3, DATA], OK)),
        head(case(Op::Dispatch, &[2, DATA], NO_ENDPOINT)),
        head(case(Op::Dispatch, &[9, DATA], NO_ENDPOINT)),
        head(case(Op::Dispatch, &[3 + 256, DATA], NO_ENDPOINT)),
        head(case(Op::Dispatch, &[3, CNODE], WRONG_KIND)),
        head(case(Op::Dispatch, &[3, DATA], RANGE)).params(|p| p.payload_bytes = 4999),
        head(case(Op::Dispatch, &[3, DATA], QUOTA)).scene(|s| s.dispatched = 64),
        head(case(Op::Dispatch, &[3, DATA], OK)).scene(|s| s.dispatched = 63),
        head(case(Op::Dispatch, &[3, DATA], DENIED)).scene(|s| s.is_view = true),
        // While an event arrives, and where there is no pipeline.
        case(Op::Dispatch, &[3, DATA], DENIED).slot(),
        case(Op::Dispatch, &[3, DATA], DENIED),
    ]);
    cases
}

fn cases() -> Vec<Case> {
    let mut cases = slot_cases();
    cases.extend(dispatch_cases());
    cases.extend(images::cases());
    cases.extend(files::cases());
    cases.extend(data_cases());
    cases.extend(call_cases());
    cases.extend(chain_cases());
    cases.extend(slot_op_cases());
    cases
}

#[test]
fn every_case_ends_as_it_must() {
    for case in cases() {
        assert_eq!(case.run().answer, case.expect, "{}", case.name());
    }
}

#[test]
fn every_listed_error_has_a_case_and_no_other_is_answered() {
    let cases = cases();
    for op in HostCall::ALL.iter().filter(|op| op.is_supported()) {
        let of_op = || cases.iter().filter(|case| case.op == *op);
        assert!(
            of_op().any(|case| !matches!(case.expect, Answer::Fault(_)) && case.status().is_none()),
            "{} has no success",
            op.name()
        );
        let tested: BTreeSet<Status> = of_op().filter_map(Case::status).collect();
        let listed: BTreeSet<Status> = op.errors().iter().copied().collect();
        assert_eq!(tested, listed, "{}", op.name());
    }
}

#[test]
fn unsupported_operations_fault() {
    for op in HostCall::ALL.iter().filter(|op| !op.is_supported()) {
        let ran = run(&Scene::default(), number(*op), &[DATA, FREE]);
        assert_eq!(ran.answer, Answer::Fault(Fault::NotSupported));
        assert_eq!(ran.before, ran.after, "{}", op.name());
    }
    for unknown in [8, 15, 45, 1 << 32, u64::MAX] {
        let ran = run(&Scene::default(), unknown, &[DATA, FREE]);
        assert_eq!(ran.answer, INVALID);
        assert_eq!(ran.gas_used, Params::default().price_host_call);
    }
}

/// What is refused has no effect: not on slots, memory, effects, quota or traces.
#[test]
fn refusals_leave_everything_as_it_was() {
    for case in cases() {
        let ran = case.run();
        let is_refused = matches!(ran.answer, Answer::Fault(_)) || case.status().is_some();
        if is_refused {
            assert_eq!(ran.before, ran.after, "{}", case.name());
        }
    }
}

/// What a case has paid for good when the rest of its price is short: the links of a chain.
fn found_before(case: &Case) -> u64 {
    let links = match (case.op, case.args[..].first()) {
        (Op::Resume, Some(&(PAUSED | BROKEN))) => 1,
        (Op::Resume, Some(0)) if case.scene.scratch == Some(PAUSED) => 1,
        (Op::Resume, Some(&CALLING)) => 2,
        _ => 0,
    };
    links * prices::link(&case.scene.params)
}

/// One unit short of the price: nothing is done, and nothing charged but for what was found. The
/// price itself is enough.
#[test]
fn the_price_comes_before_the_effect() {
    for mut case in cases() {
        // A halt has no price; where others pay, too, there are two.
        if case.op == Op::Halt || case.scene.waits_with_row.is_some() {
            continue;
        }
        let price = case.run().gas_used;
        assert!(
            price >= case.scene.params.price_host_call,
            "{}",
            case.name()
        );
        case.scene.gas = price - 1;
        let ran = case.run();
        let name = case.name();
        assert_eq!(ran.answer, Answer::Exhausted(Fault::OutOfGas), "{name}");
        assert_eq!(ran.before, ran.after, "{name}");
        assert_eq!(ran.gas_used, found_before(&case), "{name}");
        case.scene.gas = price;
        let ran = case.run();
        if case.op != Op::GasLeft {
            assert_eq!(ran.answer, case.expect, "{name}");
        }
        assert_eq!(ran.gas_used, price, "{name}");
    }
}

/// A quota that is one byte short leaves everything as it was; the exact one is enough.
#[test]
fn quota_comes_before_the_effect() {
    let mut charged = BTreeSet::new();
    for mut case in cases() {
        let full = case.run();
        let bytes = full.before.quota - full.after.quota;
        if bytes == 0 {
            continue;
        }
        charged.insert(case.op);
        case.scene.quota = bytes - 1;
        let ran = case.run();
        let name = case.name();
        assert_eq!(ran.answer, Answer::Exhausted(Fault::OutOfQuota), "{name}");
        assert_eq!(ran.before, ran.after, "{name}");
        case.scene.quota = bytes;
        assert_eq!(case.run().answer, case.expect, "{name}");
    }
    let expected = [
        Op::Copy,
        Op::Move,
        Op::MintCnode,
        Op::DeriveSpawn,
        Op::MakeImage,
        Op::TypeOf,
        Op::MintData,
        Op::Call,
        Op::Detach,
        Op::Subtype,
        Op::Open,
        Op::Save,
        Op::SlotRead,
        Op::Emit,
    ];
    assert_eq!(charged, expected.into());
}

/// A key of 32 bytes, which the short form can't write.
#[test]
fn long_paths_have_long_keys() {
    let keys = vec![vec![41u8], vec![9; 32]].encode();
    let args = [TYPE, long_path(RAM, keys.len() as u64)];
    let ran = case(Op::Copy, &args, OK).memory(RAM, keys).run();
    assert_eq!(ran.answer, OK);
    let key = jar_cap::Key::new(&[9; 32]).expect("32 bytes");
    let path = [jar_cap::Key::from(41), key];
    assert_eq!(ran.get(&path), Some(Cap::Type([3; 32].into())));
}
