//! The off-chain half of the kernel: events that arrive, new heads, what is owed to peers.

use std::collections::BTreeMap;

use jar_abi::Phase;
use jar_cap::image::{Image, Role};
use jar_cap::{Cap, Data, Instance};
use parity_scale_codec::Encode;

use super::Kernel;
use crate::answers::{Accepted, MergedAggregate, Refusal, Verdict};
use crate::block::{Attestation, Ending, Event};
use crate::dispatch::SlotView;
use crate::error::KernelError;
use crate::exec::{
    Cursor, Dispatched, Effects, Finished, Grant, Invocation, Producer, Traces, execute,
};
use crate::hardware::{Emission, Hardware, SignError, SignRequest, Trace};
use crate::params::Params;
use crate::signatures::SignatureCheck;
use crate::walk::has_unused;

/// Events of one aggregate at the most.
pub const AGGREGATE_EVENTS_MAX: usize = 64;
/// Encoded bytes of an aggregate's events beyond which no further one is added.
const AGGREGATE_BYTES: usize = 1 << 20;

/// One call of a Dispatch endpoint.
struct PhaseCall<'a, 't> {
    endpoint: u8,
    phase: Phase,
    instance: Instance,
    /// The arriving event; `None` on a new head.
    arriving: Option<&'a Event>,
    view: &'a SlotView<'a>,
    traces: Traces<'t>,
}

impl<H: Hardware> Kernel<H> {
    /// Offers an event of a client of this node to a Dispatch endpoint: phase 0 judges it,
    /// phase 1 merges it. What is accepted is handed to the network.
    pub fn dispatch(&mut self, endpoint: u8, event: Event) -> Result<Accepted, Refusal> {
        let accepted = self.receive(endpoint, &event)?;
        self.hardware.emit(Emission::Dispatch { endpoint, event });
        Ok(accepted)
    }

    /// As [`Kernel::dispatch`], for an event of a peer: the network it came from passes it on.
    pub fn receive(&mut self, endpoint: u8, event: &Event) -> Result<Accepted, Refusal> {
        let image = self.chain.image(&self.head)?;
        match image.endpoints.get(&endpoint).map(|e| e.role) {
            Some(Role::Dispatch) => {}
            Some(_) => return Err(Refusal::NotDispatch(endpoint)),
            None => return Err(Refusal::UnknownEndpoint(endpoint)),
        }
        check_event_size(self.chain.params(), event)?;
        let id = event.id(endpoint);
        if self.pipeline.is_known(&id) {
            return Err(Refusal::AlreadyKnown);
        }
        let effects = self.judge_and_merge(endpoint, event, &image)?;
        let arriving = Some((id, event));
        let transact_ids = self.pipeline.merge(endpoint, arriving, effects);
        Ok(Accepted { id, transact_ids })
    }

    /// Offers the events of a peer's aggregate, one after the other, until one is the sender's
    /// fault. An aggregate of too many events is refused whole.
    pub fn merge_aggregate(
        &mut self,
        endpoint: u8,
        events: &[Event],
    ) -> Result<MergedAggregate, KernelError> {
        let mut merged = MergedAggregate::default();
        if events.len() > AGGREGATE_EVENTS_MAX {
            merged.refused = Some(Refusal::TooLarge {
                what: "the number of an aggregate's events",
                len: events.len() as u64,
                limit: AGGREGATE_EVENTS_MAX as u64,
            });
            return Ok(merged);
        }
        for event in events {
            match self.receive(endpoint, event) {
                Ok(accepted) => merged.accepted.push(accepted),
                Err(Refusal::Kernel(error)) => return Err(error),
                Err(refusal) if refusal.verdict() == Verdict::Reject => {
                    merged.refused = Some(refusal);
                    break;
                }
                Err(_) => {}
            }
        }
        Ok(merged)
    }

    /// To be called when the head has changed. While the node is synced each Dispatch endpoint
    /// is called with phase 2: it drops or renews what the new state made stale, and sends the
    /// events that this node's keys owe. Slots whose aggregate changed are handed to the network.
    pub fn on_head(&mut self, synced: bool) -> Result<(), KernelError> {
        if !synced {
            return Ok(());
        }
        let image = self.chain.image(&self.head)?;
        let endpoints = image.endpoints.iter();
        let dispatch = endpoints.filter(|(_, e)| e.role == Role::Dispatch);
        let dispatch: Vec<u8> = dispatch.map(|(index, _)| *index).collect();
        for endpoint in dispatch {
            for (endpoint, event) in self.head_phase(endpoint, &image)? {
                self.send(endpoint, event)?;
            }
        }
        self.announce();
        Ok(())
    }

    /// Hands slots whose aggregate changed to the network. [`Kernel::on_head`] does so too.
    pub fn announce(&mut self) {
        for (endpoint, events) in self.pipeline.changed() {
            for events in split_aggregate(events) {
                self.hardware.emit(Emission::Aggregate { endpoint, events });
            }
        }
    }

    /// Phase 2 of an endpoint; answers the events it sends, signed.
    fn head_phase(&mut self, endpoint: u8, image: &Image) -> Result<Vec<(u8, Event)>, KernelError> {
        let (chain, hardware) = (self.chain.clone(), self.hardware.clone());
        let may_sign = |request: &SignRequest| hardware.may_sign(request);
        let params = chain.params();
        let producer = Producer::new(&may_sign, None, params.dispatch_bytes, params);
        let view = self.pipeline.view(endpoint, None, image, params);
        let call = PhaseCall {
            endpoint,
            phase: Phase::Head,
            instance: self.head.instance.clone(),
            arriving: None,
            view: &view,
            traces: Traces::Produce(producer),
        };
        let mut finished = phase(&self.chain, &*self.hardware, &self.head, call)?;
        if finished.ending != Ending::Halted(0) {
            let reason = format!("phase 2 {}", finished.ending);
            self.hardware.trace(Trace::HeadPhase { endpoint, reason });
            return Ok(Vec::new());
        }
        let dispatched = std::mem::take(&mut finished.effects.dispatched);
        let Traces::Produce(producer) = finished.traces else {
            return Err(KernelError::Internal("phase 2 lost its traces".into()));
        };
        self.pipeline.merge(endpoint, None, finished.effects);
        self.sign_dispatched(endpoint, dispatched, &producer)
    }

    /// Makes signed events of what phase 2 dispatched. Raised watermarks are in the store before
    /// this returns.
    fn sign_dispatched(
        &self,
        by: u8,
        dispatched: Vec<Dispatched>,
        producer: &Producer<'_>,
    ) -> Result<Vec<(u8, Event)>, KernelError> {
        let mut events = Vec::with_capacity(dispatched.len());
        let mut watermarks = BTreeMap::new();
        let mut start = Cursor::default();
        for Dispatched {
            endpoint,
            payload,
            traces: end,
        } in dispatched
        {
            let owed = &producer.obligations[start.attestations..end.attestations];
            let results = producer.results[start.results..end.results].to_vec();
            start = end;
            let signed: Result<Vec<Attestation>, SignError> = owed
                .iter()
                .map(|owed| {
                    let mut attestation = owed.unsigned();
                    let slot = self.head.header.slot;
                    self.sign(slot, &mut attestation, &owed.blob_hash, &mut watermarks)?;
                    Ok::<_, SignError>(attestation)
                })
                .collect();
            match signed {
                Ok(attestations) => {
                    let event = Event {
                        payload,
                        attestations,
                        results,
                    };
                    events.push((endpoint, event));
                }
                Err(error) => self.tell_unsent(by, error),
            }
        }
        if !watermarks.is_empty() {
            let raised: Vec<_> = watermarks.into_iter().collect();
            self.chain.store().raise_watermarks(&raised)?;
        }
        Ok(events)
    }

    /// Takes an event of this node's own through the pipeline and hands it to the network.
    fn send(&mut self, endpoint: u8, event: Event) -> Result<(), KernelError> {
        match self.receive(endpoint, &event) {
            Err(Refusal::Kernel(error)) => return Err(error),
            Err(refusal) if refusal.verdict() == Verdict::Reject => {
                self.tell_unsent(endpoint, refusal);
            }
            // One that has no room here may have it elsewhere.
            _ => self.hardware.emit(Emission::Dispatch { endpoint, event }),
        }
        Ok(())
    }

    fn tell_unsent(&self, endpoint: u8, reason: impl std::fmt::Display) {
        let reason = format!("an event of this node was not sent: {reason}");
        self.hardware.trace(Trace::HeadPhase { endpoint, reason });
    }

    /// Phases 0 and 1 on one throw-away copy of the head state.
    fn judge_and_merge(
        &mut self,
        endpoint: u8,
        event: &Event,
        image: &Image,
    ) -> Result<Effects, Refusal> {
        let view = self
            .pipeline
            .view(endpoint, Some(event), image, self.chain.params());
        let run = |instance, phase: Phase| {
            let call = PhaseCall {
                endpoint,
                phase,
                instance,
                arriving: Some(event),
                view: &view,
                traces: Traces::of_event(event),
            };
            self::phase(&self.chain, &*self.hardware, &self.head, call)
        };
        let judged = run(self.head.instance.clone(), Phase::Verify)?;
        let used = judged.traces.used();
        let genesis = self.chain.genesis_hash();
        let is_bad = |a: &Attestation| !SignatureCheck::of(&genesis, a).verify();
        let consumed = &event.attestations[..used.attestations];
        if let Some(index) = consumed.iter().position(is_bad) {
            return Err(Refusal::BadSignature { index });
        }
        check_ending(judged.ending, || {
            self.recent.knows_one_of(&event.attestations)
        })?;
        if has_unused(event, used) {
            return Err(Refusal::UnusedTraces);
        }
        let merged = run(judged.instance, Phase::Merge)?;
        if merged.effects.slot_was_full {
            return Err(Refusal::Full);
        }
        check_ending(merged.ending, || true)?;
        Ok(merged.effects)
    }
}

fn check_ending(ending: Ending, is_stale: impl FnOnce() -> bool) -> Result<(), Refusal> {
    match ending {
        Ending::Halted(0) => Ok(()),
        Ending::Halted(code) => Err(Refusal::Rejected {
            code,
            is_stale: is_stale(),
        }),
        Ending::Faulted(fault) => Err(Refusal::Faulted { fault }),
    }
}

/// Runs one phase on a throw-away copy of the head state.
fn phase<'t>(
    chain: &crate::chain::Chain,
    hardware: &dyn Hardware,
    head: &crate::chain::State,
    call: PhaseCall<'_, 't>,
) -> Result<Finished<'t>, KernelError> {
    let params = chain.params();
    let log = |level: u64, line: &[u8]| {
        hardware.trace(Trace::Log {
            level,
            message: line.to_vec(),
        });
    };
    let payload = |event: &Event| Cap::Data(Data::new(&event.payload));
    execute(
        &chain.env,
        Invocation {
            instance: call.instance,
            endpoint: call.endpoint,
            arguments: [call.phase as u64, u64::from(call.view.len()), 0, 0],
            scratch: call.arriving.map(payload),
            next_image: None,
            block: chain.block_info(&head.header),
            grant: Grant {
                gas: params.dispatch_gas,
                quota: params.event_quota,
            },
            traces: call.traces,
            is_view: false,
            slot: (call.phase != Phase::Verify).then_some(call.view),
            log: &log,
        },
    )
}

/// Aggregates of no more than [`AGGREGATE_EVENTS_MAX`] events and about [`AGGREGATE_BYTES`].
fn split_aggregate(events: Vec<Event>) -> Vec<Vec<Event>> {
    let mut aggregates: Vec<Vec<Event>> = Vec::new();
    let mut bytes = 0;
    for event in events {
        let size = event.encoded_size();
        let is_full = aggregates.last().is_none_or(|last| {
            last.len() == AGGREGATE_EVENTS_MAX || bytes + size > AGGREGATE_BYTES
        });
        if is_full {
            aggregates.push(Vec::new());
            bytes = 0;
        }
        bytes += size;
        if let Some(last) = aggregates.last_mut() {
            last.push(event);
        }
    }
    aggregates
}

fn check_event_size(params: &Params, event: &Event) -> Result<(), Refusal> {
    let results: usize = event.results.iter().map(Vec::len).sum();
    let sizes = [
        (
            "a payload's size",
            event.payload.len(),
            params.payload_bytes,
        ),
        (
            "the number of attestations",
            event.attestations.len(),
            params.max_attestations,
        ),
        (
            "the number of results",
            event.results.len(),
            params.max_attestations,
        ),
        ("the results' size", results, params.payload_bytes),
    ];
    for (what, len, limit) in sizes {
        let len = len as u64;
        if len > limit {
            return Err(Refusal::TooLarge { what, len, limit });
        }
    }
    Ok(())
}
