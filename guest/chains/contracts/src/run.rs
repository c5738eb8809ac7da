//! Contracts: made, called, paid for, kept waiting.

extern crate alloc;

use alloc::vec::Vec;

use jar_contracts_api::{
    BYTES_PER_COIN, CALL_BYTES_MAX, CONTRACTS_SLOT, COUNT_SLOT, ContractId, Ended, Error, GAS_KEPT,
    GAS_PER_COIN, Meter, PublicKey, REPLY_TOPIC, REQUEST_SLOT, RESULT_BYTES_MAX, RESUME_COINS,
    Reply, Request, SHELL_SLOT, TOP_UP_COINS, WALLETS_SLOT, contract_id_preimage, contract_slots,
};
use jar_guest::{
    CNode, Called, Catcher, Data, HashAlgorithm, Kind, Path, Rows, Slot, Status, Value,
    codec::DecodeAll, gas_left, hash, slots,
};

use crate::contracts::{METERS, give};

const CONTRACTS: CNode = CNode::at(Slot::new(CONTRACTS_SLOT));
const WALLETS: CNode = CNode::at(Slot::new(WALLETS_SLOT));
const COUNT: Value<u64> = Value::new(COUNT_SLOT);
const REQUEST: Slot = Slot::new(REQUEST_SLOT);
const SHELL: Slot = Slot::new(SHELL_SLOT);
const SCRATCH: Slot = Slot::new(slots::SCRATCH);
/// Where things are put together; empty between orders.
const WORK: Slot = Slot::new(41);
const WORK_TABLE: CNode = CNode::at(Slot::new(42));

/// The shell's Image, SCALE; built from the crate `jar-contracts-shell`.
static SHELL_IMAGE: &[u8] = include_bytes!("shell.image");
/// The shell's only endpoint.
const RUN: u8 = 0;
/// Slot of the contract in its shell.
const IN_SHELL: u8 = 32;

/// What genesis does once: the shell's Image, the marker of requests.
pub fn set_up() -> Result<(), Status> {
    SCRATCH.clear()?;
    CONTRACTS.mint()?;
    WALLETS.mint()?;
    let bytes = Data::at(WORK);
    bytes.set(SHELL_IMAGE)?;
    WORK.make_image(&SHELL)?;
    WORK.clear()?;
    WORK_TABLE.mint()?;
    // A marker is known by its type alone: an empty shell serves.
    SHELL.spawn(&WORK_TABLE, &REQUEST)?;
    REQUEST.copy_to(&SCRATCH)?;
    Catcher::of_chain().add_scratch()?;
    SCRATCH.clear().map(drop)
}

/// Makes a contract of SCALE(Image), in its shell.
pub fn deploy(from: &PublicKey, nonce: u64, image: &[u8], credit: u64) -> Result<(), Error> {
    let id = hash(
        HashAlgorithm::Blake2b256,
        &contract_id_preimage(from, nonce),
    );
    let row = COUNT
        .get()
        .unwrap_or(0)
        .checked_add(1)
        .ok_or(Error::Overflow)?;
    put_together(&id, row, image).map_err(|_| Error::BadImage)?;
    COUNT.set(&row);
    METERS.set(&id, &Meter { row, credit });
    Ok(())
}

fn put_together(id: &ContractId, row: u64, image: &[u8]) -> Result<(), Status> {
    SCRATCH.clear()?;
    let made = make_contract(id, image);
    if made.is_err() {
        for slot in [&WORK, WORK_TABLE.slot()] {
            slot.clear()?;
        }
        return made;
    }
    // The contract is in WORK: its shell is put together around it.
    WORK_TABLE.mint()?;
    Rows::Gas.mint(row, &WORK_TABLE.child(&[slots::GAS]))?;
    Rows::Quota.mint(row, &WORK_TABLE.child(&[slots::QUOTA]))?;
    WORK.move_to(&WORK_TABLE.child(&[IN_SHELL]))?;
    SHELL.spawn(&WORK_TABLE, &CONTRACTS.child(id))
}

/// Leaves the contract in `WORK`.
fn make_contract(id: &ContractId, image: &[u8]) -> Result<(), Status> {
    Data::at(SCRATCH).set(image)?;
    WORK_TABLE.mint()?;
    let own = WORK_TABLE.child(&[contract_slots::IMAGE]);
    SCRATCH.make_image(&own)?;
    SCRATCH.clear()?;
    REQUEST.copy_to(&WORK_TABLE.child(&[contract_slots::REQUEST]))?;
    Data::at(WORK_TABLE.child(&[contract_slots::ID])).set(id)?;
    own.copy_to(&SCRATCH)?;
    let made = SCRATCH.spawn(&WORK_TABLE, &WORK);
    SCRATCH.clear()?;
    made
}

/// Calls a contract for an account, and emits the reply.
pub fn call(
    from: &PublicKey,
    id: &ContractId,
    endpoint: u8,
    payload: &[u8],
    present: Option<u8>,
    keep: Option<u8>,
) -> Result<(), Error> {
    let mut meter = METERS.get(id).ok_or(Error::NoContract)?;
    let wallet = CNode::at(WALLETS.child(from));
    let place = |key: u8| wallet.child(&[key]);
    if let Some(key) = keep {
        wallet_for_keeping(&wallet, &place(key))?;
    }
    hand_over(payload, present.map(place)).map_err(|_| Error::BadKey)?;
    let slot = CONTRACTS.child(id);
    let credit = meter.credit;
    let called = slot.call(RUN, [u64::from(endpoint), 0, 0, 0]);
    let ended = drive(&slot, &mut meter, called);
    finish(id, ended, credit, &meter, keep.map(place))
}

/// Makes an account's wallet where it has none; its place must be free.
fn wallet_for_keeping(wallet: &CNode, place: &Slot) -> Result<(), Error> {
    if wallet.slot().kind() == Ok(None) {
        wallet.mint().map_err(|_| Error::BadKey)?;
    }
    match place.kind() {
        Ok(None) => Ok(()),
        _ => Err(Error::BadKey),
    }
}

/// Puts the payload into slot 0, with the capability beside it if one is shown.
fn hand_over(payload: &[u8], present: Option<Slot>) -> Result<(), Status> {
    let Some(shown) = present else {
        return Data::at(SCRATCH).set(payload);
    };
    SCRATCH.clear()?;
    CNode::at(SCRATCH).mint()?;
    let part = |key: u8| Slot::at(Path::slot(slots::SCRATCH).child(&[key]));
    Data::at(part(0)).set(payload)?;
    shown.copy_to(&part(1))
}

/// Lets a waiting contract go on, and emits the reply.
pub fn resume(id: &ContractId) -> Result<(), Error> {
    let mut meter = METERS.get(id).ok_or(Error::NoContract)?;
    let slot = CONTRACTS.child(id);
    let credit = meter.credit;
    let _ = SCRATCH.clear();
    let called = slot.resume();
    let ended = drive(&slot, &mut meter, called);
    finish(id, ended, credit, &meter, None)
}

/// A call whose effects the kernel drops with the View.
pub fn look(id: &ContractId, endpoint: u8, payload: &[u8]) -> Result<Reply, Error> {
    let mut meter = METERS.get(id).ok_or(Error::NoContract)?;
    hand_over(payload, None).map_err(|_| Error::BadKey)?;
    let slot = CONTRACTS.child(id);
    let credit = meter.credit;
    let called = slot.call(RUN, [u64::from(endpoint), 0, 0, 0]);
    let ended = drive(&slot, &mut meter, called);
    Ok(reply(id, ended, credit, &meter))
}

/// Answers what a contract in progress asks for, until it ends or waits.
fn drive(slot: &Slot, meter: &mut Meter, mut called: Called) -> Ended {
    let mut bytes_left = CALL_BYTES_MAX;
    let ended = loop {
        match called {
            Called::Halted(number) => break Ended::unpack(number),
            Called::Faulted(code) => break Ended::Faulted(code),
            Called::Refused(status) => break Ended::Refused(status as i64),
            Called::Paused => {}
        }
        match answer(slot, meter, &mut bytes_left) {
            Ok(Answer::Kept) => break Ended::Waits,
            Ok(_) => called = slot.resume(),
            Err(ended) => {
                let _ = slot.abort();
                break ended;
            }
        }
    };
    give_back(Rows::Gas, meter);
    give_back(Rows::Quota, meter);
    ended
}

/// What came of a pause.
#[derive(PartialEq)]
enum Answer {
    /// A row has more.
    Supplied,
    /// A request is done.
    Done,
    /// The contract waits for a later order.
    Kept,
}

/// Answers one pause of a contract, which pays for what the chain does for it, too.
fn answer(slot: &Slot, meter: &mut Meter, bytes_left: &mut u64) -> Result<Answer, Ended> {
    let before = gas_left();
    let answered = if Rows::Gas.is_dry() {
        top_up_gas(meter).map(|()| Answer::Supplied)
    } else if Rows::Quota.is_dry() {
        top_up_quota(meter, bytes_left).map(|()| Answer::Supplied)
    } else {
        match request() {
            Some(Request::Pay { to, amount }) => {
                answer_pay(meter, &to, amount).map(|()| Answer::Done)
            }
            _ => keep(slot, meter, bytes_left).map(|()| Answer::Kept),
        }
    };
    let coins = before.saturating_sub(gas_left()).div_ceil(GAS_PER_COIN) + RESUME_COINS;
    let rest = meter.credit.checked_sub(coins);
    meter.credit = rest.unwrap_or(0);
    let answer = answered?;
    if rest.is_none() && answer == Answer::Done {
        return Err(Ended::OutOfCredit);
    }
    if answer != Answer::Kept {
        hold_gas(meter)?;
    }
    Ok(answer)
}

/// Lets a row reach no further than what contracts may spend, of which the chain has spent.
fn hold_gas(meter: &mut Meter) -> Result<(), Ended> {
    let left = empty_row(Rows::Gas, meter)?;
    let most = contracts_gas();
    let rest = left.min(*most.as_ref().unwrap_or(&0));
    meter.credit = meter.credit.saturating_add((left - rest) / GAS_PER_COIN);
    fill_row(Rows::Gas, meter, rest)?;
    most.map(drop)
}

/// Gas that contracts may still spend in this event. A call that spent the whole of its budget
/// would take the nonce and the cost with it.
fn contracts_gas() -> Result<u64, Ended> {
    match gas_left().checked_sub(GAS_KEPT) {
        None | Some(0) => Err(Ended::OutOfBudget),
        Some(gas) => Ok(gas),
    }
}

/// What a contract asks for; `None` if that is no [`Request`]. Longer ones are not read.
fn request() -> Option<Request> {
    let mut bytes = [0; 64];
    let read = Data::at(SCRATCH).read(0, &mut bytes).ok()?;
    Request::decode_all(&mut bytes.get(..read)?).ok()
}

/// Keeps a contract for a later order. Its rows pay for that.
fn keep(slot: &Slot, meter: &mut Meter, bytes_left: &mut u64) -> Result<(), Ended> {
    loop {
        match slot.detach() {
            Ok(()) => return Ok(()),
            Err(Status::Quota) => {
                let gas = top_up_gas(meter);
                if top_up_quota(meter, bytes_left).is_err() {
                    gas?;
                }
                hold_gas(meter)?;
            }
            Err(status) => return Err(Ended::Refused(status as i64)),
        }
    }
}

/// What a coin buys.
fn per_coin(rows: Rows) -> u64 {
    match rows {
        Rows::Gas => GAS_PER_COIN,
        Rows::Quota => BYTES_PER_COIN,
    }
}

/// Takes all that a row holds.
fn empty_row(rows: Rows, meter: &Meter) -> Result<u64, Ended> {
    rows.set(meter.row, 0)
        .map_err(|status| Ended::Refused(status as i64))
}

fn fill_row(rows: Rows, meter: &Meter, amount: u64) -> Result<(), Ended> {
    let set = rows.set(meter.row, amount);
    set.map_err(|status| Ended::Refused(status as i64))
        .map(drop)
}

fn top_up_gas(meter: &mut Meter) -> Result<(), Ended> {
    let most = contracts_gas()?;
    top_up(Rows::Gas, meter, |left| most.saturating_sub(left)).map(drop)
}

fn top_up_quota(meter: &mut Meter, bytes_left: &mut u64) -> Result<(), Ended> {
    contracts_gas()?;
    let most = *bytes_left;
    *bytes_left -= top_up(Rows::Quota, meter, |_| most)?;
    Ok(())
}

/// Adds to a row from the credit, at most what there is room for. Answers with how much.
fn top_up(rows: Rows, meter: &mut Meter, room: impl FnOnce(u64) -> u64) -> Result<u64, Ended> {
    let left = empty_row(rows, meter)?;
    let most = TOP_UP_COINS.min(room(left) / per_coin(rows));
    let coins = most.min(meter.credit);
    meter.credit -= coins;
    let amount = coins * per_coin(rows);
    fill_row(rows, meter, left.saturating_add(amount))?;
    match (most, coins) {
        (0, _) => Err(Ended::OutOfBudget),
        (_, 0) => Err(Ended::OutOfCredit),
        _ => Ok(amount),
    }
}

/// Takes what a row still holds back to the credit, whole coins only.
fn give_back(rows: Rows, meter: &mut Meter) {
    if let Ok(left) = rows.set(meter.row, 0) {
        meter.credit = meter.credit.saturating_add(left / per_coin(rows));
    }
}

/// Pays from a contract's credit and leaves the answer in slot 0.
fn answer_pay(meter: &mut Meter, to: &PublicKey, amount: u64) -> Result<(), Ended> {
    let paid = match meter.credit.checked_sub(amount) {
        Some(rest) if give(to, amount).is_ok() => {
            meter.credit = rest;
            true
        }
        _ => false,
    };
    let answered = Data::at(SCRATCH).encode(&paid);
    answered.map_err(|status| Ended::Refused(status as i64))
}

/// Keeps what the contract left for the account, and emits the reply.
fn finish(
    id: &ContractId,
    ended: Ended,
    credit: u64,
    meter: &Meter,
    keep: Option<Slot>,
) -> Result<(), Error> {
    METERS.set(id, meter);
    if let (Ok(Some((Kind::Instance, _))), Some(place)) = (SCRATCH.kind(), keep) {
        SCRATCH.move_to(&place).map_err(|_| Error::BadKey)?;
    }
    let reply = reply(id, ended, credit, meter);
    let record = Data::at(SCRATCH);
    let emitted = record
        .encode(&reply)
        .and_then(|()| jar_guest::emit(REPLY_TOPIC, &SCRATCH));
    emitted.map_err(|_| Error::Overflow)
}

fn reply(id: &ContractId, ended: Ended, credit: u64, meter: &Meter) -> Reply {
    // What never ran, or was undone, left nothing: slot 0 is the caller's own.
    let is_theirs = matches!(ended, Ended::Halted(_) | Ended::Waits);
    let result: Option<Vec<u8>> = match SCRATCH.kind() {
        Ok(Some((Kind::Data, len))) if is_theirs && len <= RESULT_BYTES_MAX => {
            Data::at(SCRATCH).to_vec().ok().flatten()
        }
        _ => None,
    };
    Reply {
        contract: *id,
        ended,
        result,
        cost: credit.saturating_sub(meter.credit),
    }
}
