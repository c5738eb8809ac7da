//! Traces of a call, attestations and results: matched against what came in, or noted to be
//! produced.

use std::collections::BTreeMap;

use jar_cap::Hash;

use crate::block::{Attestation, Body, Event, PublicKey, Scope};
use crate::hardware::{SignRequest, Watermark};
use crate::params::Params;

/// A signature the node owes for something it is building.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Obligation {
    pub key: PublicKey,
    pub scope: Scope,
    /// H(blob); zero for a Seal.
    pub blob_hash: Hash,
}

impl Obligation {
    /// The attestation that is to be signed.
    pub fn unsigned(&self) -> Attestation {
        Attestation {
            key: self.key,
            scope: self.scope,
            blob_hash: self.blob_hash,
            signature: [0; 64],
        }
    }

    fn is_met_by(&self, attestation: &Attestation) -> bool {
        self.key == attestation.key
            && self.scope == attestation.scope
            && self.blob_hash == attestation.blob_hash
    }
}

/// Whether Hardware would sign a request.
pub(crate) type MaySign<'a> = &'a dyn Fn(&SignRequest) -> bool;

/// How many attestations and results were consumed or noted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub attestations: usize,
    pub results: usize,
}

/// Encoded bytes of an attestation at the most.
pub(crate) const ATTESTATION_LEN_MAX: u64 = 32 + 17 + 32 + 64;
/// Encoded bytes of a result beside its own, at the most.
const RESULT_OVERHEAD: u64 = 5;

/// How `attest` and `result` are answered.
pub(crate) enum Traces<'a> {
    /// From lists, in order.
    Verify(Given<'a>),
    /// By what this node may sign; results are taken as they come.
    Produce(Producer<'a>),
}

/// Traces that came with an event or a body.
pub(crate) struct Given<'a> {
    attestations: &'a [Attestation],
    results: &'a [Vec<u8>],
    takes_seals: bool,
    cursor: Cursor,
}

/// Traces that are being made.
pub(crate) struct Producer<'a> {
    may_sign: MaySign<'a>,
    /// Time slot of the block being built; `None` off-chain, where nothing is sealed.
    slot: Option<u64>,
    /// Encoded bytes that what is noted may still take.
    pub room: u64,
    traces_max: u64,
    /// What was asked for so far, as if it were signed already.
    asked: BTreeMap<PublicKey, Watermark>,
    pub obligations: Vec<Obligation>,
    pub results: Vec<Vec<u8>>,
}

impl<'a> Producer<'a> {
    /// Nothing noted yet. `slot` is the time slot of the block being built, `None` off-chain.
    pub fn new(may_sign: MaySign<'a>, slot: Option<u64>, room: u64, params: &Params) -> Self {
        Producer {
            may_sign,
            slot,
            room,
            traces_max: params.max_attestations,
            asked: BTreeMap::new(),
            obligations: Vec::new(),
            results: Vec::new(),
        }
    }

    fn attest(&mut self, wanted: Obligation) -> bool {
        let request = SignRequest {
            key: wanted.key,
            scope: wanted.scope,
            slot: self.slot.unwrap_or_default(),
        };
        let asked = self.asked.get(&wanted.key).copied().unwrap_or_default();
        let recorded = (wanted.scope != Scope::Seal || self.slot.is_some())
            && (self.obligations.len() as u64) < self.traces_max
            && self.room >= ATTESTATION_LEN_MAX
            && asked.allows(&request)
            && (self.may_sign)(&request);
        if recorded {
            self.room -= ATTESTATION_LEN_MAX;
            self.asked.insert(wanted.key, asked.raised(&request));
            self.obligations.push(wanted);
        }
        recorded
    }

    fn result(&mut self, value: &[u8]) -> bool {
        let size = value.len() as u64 + RESULT_OVERHEAD;
        let recorded = (self.results.len() as u64) < self.traces_max && self.room >= size;
        if recorded {
            self.room -= size;
            self.results.push(value.to_vec());
        }
        recorded
    }
}

impl Given<'_> {
    fn attest(&mut self, wanted: Obligation) -> bool {
        let next = self.attestations.get(self.cursor.attestations);
        let matches = next.is_some_and(|entry| wanted.is_met_by(entry))
            && (wanted.scope != Scope::Seal || self.takes_seals);
        self.cursor.attestations += usize::from(matches);
        matches
    }

    fn result(&mut self, value: &[u8]) -> bool {
        let next = self.results.get(self.cursor.results);
        let matches = next.is_some_and(|entry| entry == value);
        self.cursor.results += usize::from(matches);
        matches
    }
}

impl<'a> Traces<'a> {
    /// No traces at all.
    pub fn none() -> Self {
        Traces::Verify(Given {
            attestations: &[],
            results: &[],
            takes_seals: false,
            cursor: Cursor::default(),
        })
    }

    /// An event's, to be matched from their start. No Seal is among what matches: it stands
    /// only in a body.
    pub fn of_event(event: &'a Event) -> Self {
        Traces::Verify(Given {
            attestations: &event.attestations,
            results: &event.results,
            takes_seals: false,
            cursor: Cursor::default(),
        })
    }

    /// A body's, to be matched from where the Schedules before have come.
    pub fn of_body(body: &'a Body, cursor: Cursor) -> Self {
        Traces::Verify(Given {
            attestations: &body.attestations,
            results: &body.results,
            takes_seals: true,
            cursor,
        })
    }

    /// Answers `attest`: whether it is recorded.
    pub fn attest(&mut self, wanted: Obligation) -> bool {
        match self {
            Traces::Verify(given) => given.attest(wanted),
            Traces::Produce(producer) => producer.attest(wanted),
        }
    }

    /// Answers `result`: whether it is recorded.
    pub fn result(&mut self, value: &[u8]) -> bool {
        match self {
            Traces::Verify(given) => given.result(value),
            Traces::Produce(producer) => producer.result(value),
        }
    }

    /// How many entries were consumed or noted.
    pub fn used(&self) -> Cursor {
        match self {
            Traces::Verify(given) => given.cursor,
            Traces::Produce(producer) => Cursor {
                attestations: producer.obligations.len(),
                results: producer.results.len(),
            },
        }
    }
}

impl Cursor {
    /// The end of an event's traces.
    pub fn end_of_event(event: &Event) -> Cursor {
        Cursor {
            attestations: event.attestations.len(),
            results: event.results.len(),
        }
    }

    /// The end of a body's traces.
    pub fn end_of_body(body: &Body) -> Cursor {
        Cursor {
            attestations: body.attestations.len(),
            results: body.results.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: PublicKey = [1; 32];

    fn vote(source: u64, target: u64) -> Obligation {
        Obligation {
            key: KEY,
            scope: Scope::Vote { source, target },
            blob_hash: [2; 32],
        }
    }

    fn seal() -> Obligation {
        Obligation {
            key: KEY,
            scope: Scope::Seal,
            blob_hash: [0; 32],
        }
    }

    #[test]
    fn what_was_asked_for_counts_before_it_is_signed() {
        let params = Params::default();
        let mut producer = Producer::new(&|_| true, Some(4), 1 << 20, &params);
        assert!(producer.attest(vote(1, 2)));
        assert!(!producer.attest(vote(1, 2)), "repeats a target");
        assert!(!producer.attest(vote(0, 3)), "surrounds the one before");
        assert!(producer.attest(vote(1, 3)));
        assert!(producer.attest(seal()));
        assert!(!producer.attest(seal()), "one Seal a time slot");
        assert_eq!(producer.obligations.len(), 3);
        let mut off_chain = Producer::new(&|_| true, None, 1 << 20, &params);
        assert!(!off_chain.attest(seal()));
        assert!(off_chain.attest(vote(1, 2)));
    }

    #[test]
    fn what_is_noted_fits() {
        let params = Params {
            max_attestations: 2,
            ..Params::default()
        };
        let mut producer = Producer::new(&|_| true, None, ATTESTATION_LEN_MAX + 10, &params);
        assert!(!producer.result(&[0; 151]));
        assert!(producer.result(&[0; 5]));
        assert!(producer.attest(vote(1, 2)));
        assert!(!producer.result(&[]), "no byte is left");
        producer.room = 1 << 20;
        assert!(producer.result(&[]));
        assert!(!producer.result(&[]), "over the number of traces");
    }

    #[test]
    fn an_event_has_no_seal() {
        let event = Event {
            attestations: vec![seal().unsigned()],
            results: vec![vec![7]],
            ..Event::default()
        };
        let mut traces = Traces::of_event(&event);
        assert!(!traces.attest(seal()));
        assert!(!traces.result(&[8]));
        assert!(traces.result(&[7]));
        assert!(!traces.result(&[7]), "used up");
        let body = Body {
            attestations: event.attestations.clone(),
            ..Body::default()
        };
        assert!(Traces::of_body(&body, Cursor::default()).attest(seal()));
    }
}
