//! The rules as endpoints of a chain.

use alloc::vec::Vec;

use jar_guest::aggregate::{self, Dispatching, Phase};
use jar_guest::{
    Data, PublicKey, Scope, Slot, SlotItemKind, Status, Value, attest, block_info, finalize, score,
    slots,
};
use parity_scale_codec::{Decode, DecodeAll, Encode};

use crate::electorate::are_good;
use crate::pool::judge;
use crate::{Aggregate, Checkpoint, Electorate, Error, Finality, Plan, Pooled, Renewed, Signers};

/// The block has no seal of its author.
const NO_SEAL: u64 = 1;
/// The kernel took no score.
const NO_SCORE: u64 = 2;
/// The kernel took no finalized block, or a slot operation failed.
const NOT_TAKEN: u64 = 3;

/// First part of what a signature of a change of the validators covers.
const SET_VALIDATORS_DOMAIN: &str = "poa.set_validators";

/// Decides who the next validators are: with attestations of scope Direct by more than two
/// thirds of the present ones, those of lower indices first.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SetValidators {
    /// The present epoch, so that no decision is carried out twice.
    pub epoch: u64,
    /// The next validators, in order of their turns.
    pub validators: Vec<PublicKey>,
    /// Which of the present ones sign.
    pub signers: Signers,
}

impl SetValidators {
    /// The blob that the signers sign: SCALE(("poa.set_validators", epoch, validators)).
    pub fn signed_blob(&self) -> Vec<u8> {
        (SET_VALIDATORS_DOMAIN, self.epoch, &self.validators).encode()
    }
}

/// The consensus of a chain, in three slots of its table: the validators, SCALE(Vec<key>);
/// [`Finality`], from the first block on; the next validators while they are changing.
pub struct Poa {
    validators: Value<Vec<PublicKey>>,
    finality: Value<Finality>,
    next: Value<Vec<PublicKey>>,
    next_slot: u8,
}

impl Poa {
    /// In these slots.
    pub const fn new(validators: u8, finality: u8, next_validators: u8) -> Poa {
        Poa {
            validators: Value::new(validators),
            finality: Value::new(finality),
            next: Value::new(next_validators),
            next_slot: next_validators,
        }
    }

    /// For Genesis: sets the first validators. With none there is no consensus: blocks need no
    /// seal and none becomes final.
    ///
    /// # Errors
    ///
    /// [`Error::BadValidators`].
    pub fn start(&self, validators: &Vec<PublicKey>) -> Result<(), Error> {
        if !validators.is_empty() && !are_good(validators) {
            return Err(Error::BadValidators);
        }
        self.validators.set(validators);
        Ok(())
    }

    /// For a Schedule endpoint before all others: checks the seal of the author, takes note of
    /// the parent, and gives the block its score. Faults, which makes the block invalid,
    /// without the seal.
    pub fn begin(&self) {
        let block = block_info();
        let Some(author) = self.author(block.slot) else {
            taken(score(block.height), NO_SCORE);
            return;
        };
        if attest(&author, &[], Scope::Seal) != Ok(true) {
            jar_guest::fault!(NO_SEAL);
        }
        let finality = match self.finality.get() {
            None => Finality::first(block.parent),
            Some(mut finality) => {
                finality.advance(block.parent);
                finality
            }
        };
        taken(score(finality.score()), NO_SCORE);
        self.finality.set(&finality);
    }

    /// For the View `author`: the validators in turn.
    pub fn author(&self, slot: u64) -> Option<PublicKey> {
        let validators = self.validators.get().unwrap_or_default();
        let turn = slot.checked_rem(validators.len() as u64)?;
        validators.get(turn as usize).copied()
    }

    /// The last finalized block, as of this state; `None` before the first block.
    pub fn finalized(&self) -> Option<Checkpoint> {
        Some(self.finality.get()?.finalized())
    }

    /// The highest justified block, as of this state; `None` before the first block.
    pub fn justified(&self) -> Option<Checkpoint> {
        Some(self.finality.get()?.justified())
    }

    /// What the chain knows of its ancestors; `None` before the first block.
    pub fn finality(&self) -> Option<Finality> {
        self.finality.get()
    }

    fn electorate(&self, finality: &Finality) -> Electorate {
        let present = self.validators.get().unwrap_or_default();
        let next = finality.is_joint().then(|| self.next.get()).flatten();
        Electorate::new(&present, next.as_deref())
    }

    fn state(&self) -> Result<(Finality, Electorate), Error> {
        let finality = self.finality.get().ok_or(Error::NotStarted)?;
        let electorate = self.electorate(&finality);
        Ok((finality, electorate))
    }

    /// For a Transact endpoint: counts the votes of an aggregate.
    ///
    /// # Errors
    ///
    /// Why they do not count.
    pub fn vote(&self, aggregate: &Aggregate) -> Result<(), Error> {
        let (mut finality, electorate) = self.state()?;
        check_votes(aggregate, &electorate)?;
        let counted = finality.count(aggregate, &electorate)?;
        if let Some(block) = counted.finalized {
            taken(finalize(&block.hash), NOT_TAKEN);
        }
        taken(score(finality.score()), NO_SCORE);
        if counted.adopted
            && let Some(next) = self.next.get()
        {
            self.validators.set(&next);
            taken(Slot::new(self.next_slot).clear(), NOT_TAKEN);
        }
        self.finality.set(&finality);
        Ok(())
    }

    /// For a Dispatch endpoint that makes events for the Transact endpoint of [`Poa::vote`],
    /// in all of its phases: collects votes, and casts those of this node's keys.
    ///
    /// # Errors
    ///
    /// Why an arriving event is refused: in the first phase as its sender's fault, in the
    /// second for being of no use here.
    pub fn vote_in(&self, call: &Dispatching) -> Result<(), Error> {
        match call.phase {
            Phase::Verify => {
                let (finality, electorate) = self.state()?;
                let arriving = arriving()?;
                judge(&arriving, &finality, &electorate)?;
                check_votes(&arriving, &electorate)
            }
            Phase::Merge => {
                let (finality, electorate) = self.state()?;
                let arriving = arriving()?;
                let items = items(call.items);
                let plan = Plan::merge(&items, &arriving, &finality, &electorate)?;
                carry_out(&plan, call);
                Ok(())
            }
            Phase::Head => {
                // Before the first block there is nothing to vote for.
                if let Ok((finality, electorate)) = self.state() {
                    let plan = Plan::renew(&items(call.items), &finality, &electorate);
                    carry_out(&plan, call);
                    cast(&finality, &electorate, call);
                }
                Ok(())
            }
        }
    }

    /// For a Transact endpoint: sets the next validators, who take over as the epochs go on.
    ///
    /// # Errors
    ///
    /// Why nothing changes.
    pub fn set_validators(&self, change: &SetValidators) -> Result<(), Error> {
        let mut finality = self.accept_change(change)?;
        finality.propose()?;
        self.next.set(&change.validators);
        self.finality.set(&finality);
        Ok(())
    }

    /// For the Dispatch endpoint of [`Poa::set_validators`]: whether it would be done now.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn set_validators_in(&self, change: &SetValidators) -> Result<(), Error> {
        self.accept_change(change)?.propose()
    }

    fn accept_change(&self, change: &SetValidators) -> Result<Finality, Error> {
        let finality = self.finality.get().ok_or(Error::NotStarted)?;
        let present = self.validators.get().unwrap_or_default();
        let electorate = Electorate::new(&present, None);
        if !electorate.is_canonical(&change.signers) {
            return Err(Error::BadSigners);
        }
        let (voters, blob) = (electorate.voters(), change.signed_blob());
        check_signed(voters, &change.signers, &blob, Scope::Direct)?;
        if change.epoch != finality.epoch() {
            return Err(Error::WrongEpoch);
        }
        if !electorate.has_quorum(&change.signers) {
            return Err(Error::NoQuorum);
        }
        if !are_good(&change.validators) {
            return Err(Error::BadValidators);
        }
        Ok(finality)
    }
}

/// Ends the call as a fault where the kernel refuses what it takes from every chain.
fn taken<T>(answer: Result<T, Status>, code: u64) {
    if answer.is_err() {
        jar_guest::fault!(code);
    }
}

fn check_votes(aggregate: &Aggregate, electorate: &Electorate) -> Result<(), Error> {
    if !electorate.is_canonical(&aggregate.signers) {
        return Err(Error::BadSigners);
    }
    let link = &aggregate.link;
    let (voters, blob) = (electorate.voters(), link.signed_blob());
    check_signed(voters, &aggregate.signers, &blob, link.scope())
}

/// Asks for the attestation of each signer, in order of their indices.
fn check_signed(
    voters: &[PublicKey],
    signers: &Signers,
    blob: &[u8],
    scope: Scope,
) -> Result<(), Error> {
    for index in signers.indices() {
        let voter = voters.get(index).ok_or(Error::BadSigners)?;
        if attest(voter, blob, scope) != Ok(true) {
            return Err(Error::NotSigned);
        }
    }
    Ok(())
}

/// The votes in slot 0, which is empty afterwards.
fn arriving() -> Result<Aggregate, Error> {
    let scratch = Data::at(Slot::new(slots::SCRATCH));
    let aggregate = scratch.decode().ok().flatten();
    taken(scratch.slot().clear(), NOT_TAKEN);
    aggregate.ok_or(Error::Malformed)
}

/// The items of the slot, which are all of this library's making.
fn items(count: u32) -> Vec<Pooled> {
    let scratch = Data::at(Slot::new(slots::SCRATCH));
    let item = |index| {
        taken(aggregate::read(index, scratch.slot()), NOT_TAKEN);
        let bytes = scratch.to_vec().ok().flatten().unwrap_or_default();
        taken(scratch.slot().clear(), NOT_TAKEN);
        // The kind, the endpoint, the payload; who signed stands in the payload.
        let (kind, _, payload) = <(u8, u8, Vec<u8>)>::decode(&mut &bytes[..]).ok()?;
        Some(Pooled {
            aggregate: Aggregate::decode_all(&mut &payload[..]).ok()?,
            is_ready: u64::from(kind) == SlotItemKind::Transact as u64,
        })
    };
    let items: Option<Vec<Pooled>> = (0..count).map(item).collect();
    match items {
        Some(items) => items,
        None => jar_guest::fault!(NOT_TAKEN),
    }
}

/// Changes the slot as planned.
fn carry_out(plan: &Plan, call: &Dispatching) {
    let scratch = Data::at(Slot::new(slots::SCRATCH));
    if plan.keep.contains(&false) {
        let mut bitmap = alloc::vec![0u8; plan.keep.len().div_ceil(8)];
        for (index, _) in plan.keep.iter().enumerate().filter(|(_, keep)| **keep) {
            bitmap[index / 8] |= 1 << (index % 8);
        }
        taken(aggregate::keep(&bitmap), NOT_TAKEN);
    }
    for Renewed { item, picks } in &plan.emit {
        let (kind, endpoint) = match item.is_ready {
            true => (SlotItemKind::Transact, call.into),
            false => (SlotItemKind::Dispatch, call.endpoint),
        };
        taken(scratch.encode(&item.aggregate), NOT_TAKEN);
        taken(
            aggregate::emit(kind, endpoint, scratch.slot(), picks),
            NOT_TAKEN,
        );
        taken(scratch.slot().clear(), NOT_TAKEN);
    }
}

/// Sends the votes that this node's keys owe and may cast.
fn cast(finality: &Finality, electorate: &Electorate, call: &Dispatching) {
    let Some(link) = finality.next_vote() else {
        return;
    };
    let voters = electorate.voters();
    let (blob, scope) = (link.signed_blob(), link.scope());
    let mut signers = Signers::none(voters.len());
    for (index, voter) in voters.iter().enumerate() {
        if attest(voter, &blob, scope) == Ok(true) {
            signers.insert(index);
        }
    }
    if signers.count() == 0 {
        return;
    }
    let scratch = Data::at(Slot::new(slots::SCRATCH));
    let vote = Aggregate {
        epoch: finality.epoch(),
        link,
        signers,
    };
    taken(scratch.encode(&vote), NOT_TAKEN);
    taken(
        aggregate::dispatch(call.endpoint, scratch.slot()),
        NOT_TAKEN,
    );
    taken(scratch.slot().clear(), NOT_TAKEN);
}
