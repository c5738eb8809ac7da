//! The walk of a block's calls: the same whether the block is built or imported.

use std::sync::Arc;

use jar_cap::image::{Image, Role};
use jar_cap::{Cap, Data, Hash, ImageRef, Instance};
use parity_scale_codec::Encode;

use crate::block::{Attestation, Body, Ending, Event, Outcome, Scope, Signature};
use crate::chain::{Chain, State};
use crate::dispatch::{Drained, Item, Pipeline};
use crate::error::KernelError;
use crate::exec::{
    BlockInfo, Cursor, Effects, Finished, Grant, Invocation, Obligation, Producer, Traces, execute,
};
use crate::hardware::{Hardware, Trace};
use crate::signatures::SignatureCheck;

/// Why a block is not valid. Blocks of other nodes are hostile input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBlock {
    /// The bytes are no canonical encoding of a block.
    #[error("the bytes are not the canonical encoding of a block")]
    Encoding,
    /// Another chain's block.
    #[error("the block belongs to another chain")]
    Genesis,
    /// The height is not the parent's plus one.
    #[error("the height is {found}, not {expected}")]
    Height {
        /// The height it should have.
        expected: u64,
        /// The height it has.
        found: u64,
    },
    /// The time slot is not above the parent's.
    #[error("the time slot {found} is not above the parent's {parent}")]
    Slot {
        /// The parent's time slot.
        parent: u64,
        /// The block's time slot.
        found: u64,
    },
    /// The block forks below the finalized one.
    #[error("the block forks off below the finalized block")]
    BelowFinalized,
    /// A limit of the chain's parameters is exceeded.
    #[error("{what} {len} is over the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How large it is.
        len: u64,
        /// The limit.
        limit: u64,
    },
    /// The body is not the header's.
    #[error("the body is not the one the header commits to")]
    BodyRoot,
    /// The seal is missing, doubled, unexpected, by the wrong key or malformed.
    #[error("seal: {0}")]
    Seal(&'static str),
    /// The seal's signature does not verify.
    #[error("the seal's signature does not verify")]
    SealSignature,
    /// Groups are out of order, empty, doubled, or for no Transact endpoint.
    #[error("the group of endpoint {0} is out of place")]
    Group(u8),
    /// The events before have spent the block's gas.
    #[error("the block's gas does not suffice to start all of its events")]
    Gas,
    /// A Schedule call faulted.
    #[error("the Schedule endpoint {endpoint} {ending}")]
    Schedule {
        /// The endpoint.
        endpoint: u8,
        /// How it ended.
        ending: Ending,
    },
    /// Traces were left over.
    #[error("attestations or results were left over after endpoint {0}")]
    UnusedTraces(u8),
    /// A consumed signature does not verify.
    #[error("a signature does not verify")]
    Signature,
    /// The state after the block is not the header's.
    #[error("the state root differs from the header's")]
    StateRoot,
    /// The outcomes are not the header's.
    #[error("the outcome root differs from the header's")]
    OutcomeRoot,
    /// The score does not exceed the parent's.
    #[error("the score {found} does not exceed the parent's {parent}")]
    Score {
        /// The parent's score.
        parent: u64,
        /// The block's score.
        found: u64,
    },
    /// The chain finalized a block that is no ancestor of this one.
    #[error("the block finalizes a block that is not its ancestor")]
    Finalize,
}

impl InvalidBlock {
    /// Whether the block hash does not cover what is wrong: then the sender is to blame, and
    /// nothing may be remembered against the hash.
    pub fn blames_sender(&self) -> bool {
        matches!(
            self,
            InvalidBlock::Encoding | InvalidBlock::BodyRoot | InvalidBlock::SealSignature
        )
    }
}

/// A walk stopped early.
#[derive(Debug)]
pub(crate) enum WalkError {
    Invalid(InvalidBlock),
    Kernel(KernelError),
}

impl From<InvalidBlock> for WalkError {
    fn from(error: InvalidBlock) -> Self {
        WalkError::Invalid(error)
    }
}

impl From<KernelError> for WalkError {
    fn from(error: KernelError) -> Self {
        WalkError::Kernel(error)
    }
}

/// Where a walk's events and seals come from.
pub(crate) enum Mode<'a> {
    /// A received body is verified; with the ids of its events, in order.
    Import(&'a Body, &'a [Hash]),
    /// A body is made of what waits in the pipeline.
    Build {
        pipeline: &'a mut Pipeline,
        hardware: &'a dyn Hardware,
    },
}

/// What a walk leaves.
#[derive(Debug)]
pub(crate) struct Walked {
    pub instance: Instance,
    /// The Image that a call set: it takes its place when the block commits.
    next_image: Option<ImageRef>,
    pub body: Body,
    pub outcomes: Vec<Outcome>,
    /// Ids of events with the index of their outcome.
    pub events: Vec<(Hash, u32)>,
    /// Of the attestations of its events.
    pub signatures: Vec<Signature>,
    /// Attestations that each event of a received body consumed, their signatures not yet
    /// checked.
    consumed: Vec<usize>,
    pub score: Option<u64>,
    pub finalize: Vec<Hash>,
    /// Items taken from the pipeline, with their slot, in order.
    pub taken: Vec<(u8, Arc<Item>)>,
}

impl Walked {
    /// The signatures that the calls of a received body consumed. The seal was checked before
    /// the walk.
    pub fn consumed(&self, genesis: &Hash, body: &Body) -> Vec<SignatureCheck> {
        let events = body.groups.iter().flat_map(|(_, events)| events);
        let of_events = events
            .zip(&self.consumed)
            .flat_map(|(event, consumed)| &event.attestations[..*consumed]);
        let of_body = body.attestations.iter().filter(|a| a.scope != Scope::Seal);
        of_events
            .chain(of_body)
            .map(|attestation| SignatureCheck::of(genesis, attestation))
            .collect()
    }
}

/// Encoded bytes a body needs beside its events and the Schedules' traces, at the most.
const BODY_FRAME: u64 = 2048;
/// Bytes of a body that are left to the Schedules' traces, whatever the events take.
const SCHEDULE_RESERVE: u64 = 2048;
const BODY_OVERHEAD: u64 = BODY_FRAME + SCHEDULE_RESERVE;

struct Walk<'a> {
    chain: &'a Chain,
    hardware: &'a dyn Hardware,
    parent: &'a State,
    block: BlockInfo,
    walked: Walked,
    gas_left: u64,
    bytes_left: u64,
    reserve_left: u64,
}

/// Endpoints a block calls, in order: (order, index).
fn walk_order(image: &Image) -> Vec<(u8, Role)> {
    let mut order: Vec<(u8, u8, Role)> = image
        .endpoints
        .iter()
        .filter_map(|(index, endpoint)| match endpoint.role {
            Role::Schedule(order) | Role::Transact(order) => Some((order, *index, endpoint.role)),
            _ => None,
        })
        .collect();
    order.sort_by_key(|(order, index, _)| (*order, *index));
    order
        .into_iter()
        .map(|(_, index, role)| (index, role))
        .collect()
}

/// Walks a block on top of a parent state.
pub(crate) fn walk(
    chain: &Chain,
    hardware: &dyn Hardware,
    parent: &State,
    slot: u64,
    mode: Mode<'_>,
) -> Result<Walked, WalkError> {
    let mut walk = Walk::new(chain, hardware, parent, slot);
    let image = chain.image(parent)?;
    match mode {
        Mode::Import(body, ids) => walk.import(&image, body, ids)?,
        Mode::Build { pipeline, hardware } => {
            if let Err(error) = walk.build(&image, pipeline, hardware) {
                pipeline.restore(std::mem::take(&mut walk.walked.taken));
                return Err(error);
            }
        }
    }
    let mut walked = walk.walked;
    walked.instance = walked.instance.with_image(walked.next_image.take());
    Ok(walked)
}

impl<'a> Walk<'a> {
    fn new(chain: &'a Chain, hardware: &'a dyn Hardware, parent: &'a State, slot: u64) -> Self {
        let params = chain.params();
        Walk {
            chain,
            hardware,
            parent,
            block: BlockInfo {
                genesis: chain.genesis_hash(),
                parent: parent.hash,
                height: parent.header.height + 1,
                slot,
                time_ms: chain.time_ms(slot),
            },
            walked: Walked {
                instance: parent.instance.clone(),
                next_image: None,
                body: Body::default(),
                outcomes: Vec::new(),
                events: Vec::new(),
                signatures: Vec::new(),
                consumed: Vec::new(),
                score: None,
                finalize: Vec::new(),
                taken: Vec::new(),
            },
            gas_left: params.block_gas,
            bytes_left: params.block_bytes.saturating_sub(BODY_OVERHEAD),
            reserve_left: SCHEDULE_RESERVE,
        }
    }

    fn import(&mut self, image: &Image, body: &Body, ids: &[Hash]) -> Result<(), WalkError> {
        let mut ids = ids.iter();
        let mut groups = body.groups.iter().peekable();
        let mut cursor = Cursor::default();
        let mut last_schedule = 0;
        for (endpoint, role) in walk_order(image) {
            if !matches!(role, Role::Transact(_)) {
                let traces = Traces::of_body(body, cursor);
                cursor = self.schedule(endpoint, traces)?.used();
                last_schedule = endpoint;
                continue;
            }
            let Some((_, events)) = groups.next_if(|(named, _)| *named == endpoint) else {
                continue;
            };
            if events.is_empty() {
                return Err(InvalidBlock::Group(endpoint).into());
            }
            for (event, id) in events.iter().zip(&mut ids) {
                self.import_event(endpoint, event, *id)?;
            }
        }
        if let Some((endpoint, _)) = groups.next() {
            return Err(InvalidBlock::Group(*endpoint).into());
        }
        if cursor != Cursor::end_of_body(body) {
            return Err(InvalidBlock::UnusedTraces(last_schedule).into());
        }
        Ok(())
    }

    fn build(
        &mut self,
        image: &Image,
        pipeline: &mut Pipeline,
        hardware: &dyn Hardware,
    ) -> Result<(), WalkError> {
        let may_sign = |request: &crate::hardware::SignRequest| hardware.may_sign(request);
        let params = self.chain.params();
        let mut producer = Producer::new(&may_sign, Some(self.block.slot), 0, params);
        for (endpoint, role) in walk_order(image) {
            if matches!(role, Role::Transact(_)) {
                self.drain(endpoint, pipeline)?;
                continue;
            }
            let room = self.bytes_left + self.reserve_left;
            producer.room = room;
            let Traces::Produce(noted) = self.schedule(endpoint, Traces::Produce(producer))? else {
                return Err(KernelError::Internal("a Schedule lost its traces".into()).into());
            };
            self.take_room(room - noted.room);
            producer = noted;
        }
        let obligations = producer.obligations.iter();
        self.walked.body.attestations = obligations.map(Obligation::unsigned).collect();
        self.walked.body.results = producer.results;
        Ok(())
    }

    /// Takes bytes of the body for a Schedule's traces. The reserve goes last, so that the
    /// events in between leave it to the Schedules after them.
    fn take_room(&mut self, bytes: u64) {
        let shared = bytes.min(self.bytes_left);
        self.bytes_left -= shared;
        self.reserve_left = self.reserve_left.saturating_sub(bytes - shared);
    }

    /// Offers waiting items of a Transact endpoint to the block, in order.
    fn drain(&mut self, endpoint: u8, pipeline: &mut Pipeline) -> Result<(), WalkError> {
        let mut group = Vec::new();
        let mut taken = Vec::new();
        let mut trouble = None;
        pipeline.drain(endpoint, |slot, item| {
            let fits = self.has_room_for(&item.event) || self.is_oversized(&item.event);
            if trouble.is_some() || !fits || self.hardware.should_stop() {
                return Drained::Full;
            }
            match self.build_event(endpoint, item) {
                Ok(true) => {
                    group.push(item.event.clone());
                    taken.push((slot, item.clone()));
                    Drained::Gone
                }
                Ok(false) => Drained::Gone,
                Err(error) => {
                    trouble = Some(error);
                    Drained::Full
                }
            }
        });
        self.walked.taken.append(&mut taken);
        if !group.is_empty() {
            self.walked.body.groups.push((endpoint, group));
        }
        trouble.map_or(Ok(()), |error| Err(error.into()))
    }

    fn has_room_for(&self, event: &Event) -> bool {
        let size = event.encoded_size() as u64;
        let has_gas = self.chain.params().event_gas <= self.gas_left && self.may_start_event();
        size <= self.bytes_left && has_gas
    }

    /// Whether the block's gas suffices to start one more event: without a bound, events that
    /// are given no gas would cost nothing.
    fn may_start_event(&self) -> bool {
        self.gas_left >= self.chain.params().price_call
    }

    /// Whether not even an empty block has room for an event.
    fn is_oversized(&self, event: &Event) -> bool {
        let capacity = self
            .chain
            .params()
            .block_bytes
            .saturating_sub(BODY_OVERHEAD);
        event.encoded_size() as u64 > capacity
    }

    /// Runs a waiting item; `false` when it would make the block invalid and is left out.
    fn build_event(&mut self, endpoint: u8, item: &Arc<Item>) -> Result<bool, KernelError> {
        let event = &item.event;
        if self.is_oversized(event) {
            return Ok(self.leave_out(item, "it is larger than a block"));
        }
        // The event may be left out in the end.
        let instance = self.walked.instance.clone();
        let call = event_call(self.chain, self.gas_left, event);
        let finished = self.call(endpoint, instance, call)?;
        if let Some(reason) = self.objection(event, &finished)? {
            return Ok(self.leave_out(item, reason));
        }
        self.bytes_left -= event.encoded_size() as u64;
        self.record(finished, Some((item.id, event)));
        Ok(true)
    }

    fn leave_out(&self, item: &Item, reason: &str) -> bool {
        self.hardware.trace(Trace::Dropped {
            id: item.id,
            reason: reason.to_string(),
        });
        false
    }

    /// Why a block with an event that ended so would not be valid, its signatures being good:
    /// they were checked before it could wait.
    fn objection(
        &self,
        event: &Event,
        finished: &Finished<'_>,
    ) -> Result<Option<&'static str>, KernelError> {
        let used = finished.traces.used();
        if matches!(finished.ending, Ending::Halted(_)) && has_unused(event, used) {
            return Ok(Some("attestations or results were left over"));
        }
        if finished
            .effects
            .score
            .is_some_and(|score| score <= self.parent.score)
        {
            return Ok(Some("its score does not exceed the parent's"));
        }
        for hash in &finished.effects.finalize {
            if !self.chain.is_ancestor(hash, self.parent)? {
                return Ok(Some("it finalizes a block that is no ancestor"));
            }
        }
        Ok(None)
    }

    fn import_event(&mut self, endpoint: u8, event: &Event, id: Hash) -> Result<(), WalkError> {
        if !self.may_start_event() {
            return Err(InvalidBlock::Gas.into());
        }
        let call = event_call(self.chain, self.gas_left, event);
        let instance = self.take_instance();
        let finished = self.call(endpoint, instance, call)?;
        let used = finished.traces.used();
        if matches!(finished.ending, Ending::Halted(_)) && has_unused(event, used) {
            return Err(InvalidBlock::UnusedTraces(endpoint).into());
        }
        self.walked.consumed.push(used.attestations);
        self.record(finished, Some((id, event)));
        Ok(())
    }

    /// Calls a Schedule endpoint; answers the traces as it leaves them.
    fn schedule<'t>(&mut self, endpoint: u8, traces: Traces<'t>) -> Result<Traces<'t>, WalkError> {
        let params = self.chain.params();
        let instance = self.take_instance();
        let mut finished = self.call(
            endpoint,
            instance,
            Call {
                scratch: None,
                grant: Grant {
                    gas: params.schedule_gas,
                    quota: params.schedule_quota,
                },
                traces,
            },
        )?;
        if let Ending::Faulted(_) = finished.ending {
            return Err(InvalidBlock::Schedule {
                endpoint,
                ending: finished.ending,
            }
            .into());
        }
        let traces = std::mem::replace(&mut finished.traces, Traces::none());
        self.record(finished, None);
        Ok(traces)
    }

    /// The chain Instance, to be given to a call that the block stands or falls with: what
    /// nothing else holds is changed in place.
    fn take_instance(&mut self) -> Instance {
        let parent = self.parent.instance.clone();
        std::mem::replace(&mut self.walked.instance, parent)
    }

    fn call<'t>(
        &mut self,
        endpoint: u8,
        instance: Instance,
        call: Call<'t>,
    ) -> Result<Finished<'t>, KernelError> {
        let hardware = self.hardware;
        // A log line outlives the block's other effects: it is told at once, even of calls
        // that fault.
        let log = |level: u64, line: &[u8]| {
            hardware.trace(Trace::Log {
                level,
                message: line.to_vec(),
            });
        };
        let finished = execute(
            &self.chain.env,
            Invocation {
                instance,
                endpoint,
                arguments: [0; 4],
                scratch: call.scratch,
                next_image: self.walked.next_image.clone(),
                block: self.block,
                grant: call.grant,
                traces: call.traces,
                is_view: false,
                slot: None,
                log: &log,
            },
        )?;
        Ok(finished)
    }

    /// Takes a call's effects into the block.
    fn record(&mut self, finished: Finished<'_>, event: Option<(Hash, &Event)>) {
        let Finished {
            ending,
            instance,
            next_image,
            gas_used,
            effects,
            ..
        } = finished;
        let Effects {
            records,
            score,
            finalize,
            ..
        } = effects;
        if let Some((id, event)) = event {
            self.gas_left -= gas_used;
            let attestations = event.attestations.iter();
            self.walked
                .signatures
                .extend(attestations.map(|attestation| attestation.signature));
            self.walked
                .events
                .push((id, self.walked.outcomes.len() as u32));
        }
        self.walked.instance = instance;
        if let Ending::Halted(_) = ending {
            self.walked.next_image = next_image;
        }
        self.walked.score = score.or(self.walked.score);
        self.walked.finalize.extend(finalize);
        self.walked.outcomes.push(Outcome {
            ending,
            gas_used,
            records,
        });
    }
}

/// What a call of the walk is given.
struct Call<'t> {
    scratch: Option<Cap>,
    grant: Grant,
    traces: Traces<'t>,
}

fn event_call<'t>(chain: &Chain, gas_left: u64, event: &'t Event) -> Call<'t> {
    let params = chain.params();
    Call {
        scratch: Some(Cap::Data(Data::new(&event.payload))),
        grant: Grant {
            gas: params.event_gas.min(gas_left),
            quota: params.event_quota,
        },
        traces: Traces::of_event(event),
    }
}

pub(crate) fn has_unused(event: &Event, used: Cursor) -> bool {
    used != Cursor::end_of_event(event)
}

/// Runs events of blocks that were left behind on a throw-away copy of a state, in order and
/// within one block's gas; answers those that still halt with 0, their signatures checked.
pub(crate) fn rejudge(
    chain: &Chain,
    hardware: &dyn Hardware,
    parent: &State,
    events: Vec<(u8, Event)>,
) -> Result<Vec<(u8, Event)>, KernelError> {
    let image = chain.image(parent)?;
    let genesis = chain.genesis_hash();
    let mut walk = Walk::new(
        chain,
        hardware,
        parent,
        parent.header.slot.saturating_add(1),
    );
    let mut kept = Vec::new();
    for (endpoint, event) in events {
        let role = image.endpoints.get(&endpoint).map(|e| e.role);
        if !matches!(role, Some(Role::Transact(_))) {
            continue;
        }
        if !walk.may_start_event() {
            break;
        }
        let call = event_call(chain, walk.gas_left, &event);
        let instance = walk.walked.instance.clone();
        let finished = walk.call(endpoint, instance, call)?;
        let ends_well =
            finished.ending == Ending::Halted(0) && walk.objection(&event, &finished)?.is_none();
        let is_signed = |a: &Attestation| SignatureCheck::of(&genesis, a).verify();
        if ends_well && event.attestations.iter().all(is_signed) {
            walk.record(finished, Some((event.id(endpoint), &event)));
            kept.push((endpoint, event));
        } else {
            walk.gas_left -= finished.gas_used;
        }
    }
    Ok(kept)
}

/// Checks the sizes of a body against the chain's limits.
pub(crate) fn check_sizes(chain: &Chain, body: &Body) -> Result<(), InvalidBlock> {
    let params = chain.params();
    let check = |what, len: usize, limit: u64| {
        let len = len as u64;
        if len > limit {
            return Err(InvalidBlock::TooLarge { what, len, limit });
        }
        Ok(())
    };
    check("the body's size", body.encoded_size(), params.block_bytes)?;
    check(
        "the number of the body's attestations",
        body.attestations.len(),
        params.max_attestations,
    )?;
    for event in body.groups.iter().flat_map(|(_, events)| events) {
        check(
            "a payload's size",
            event.payload.len(),
            params.payload_bytes,
        )?;
        check(
            "the number of an event's attestations",
            event.attestations.len(),
            params.max_attestations,
        )?;
        check(
            "the size of an event's results",
            event.results.iter().map(Vec::len).sum(),
            params.payload_bytes,
        )?;
    }
    Ok(())
}
