//! What is gossiped, under which names.

use std::collections::{BTreeMap, HashSet};

use jar_driver::Gossip;
use jar_kernel::block::{Block, Event};
use jar_kernel::{Emission, Params};
use libp2p::gossipsub::{IdentTopic, Message, MessageId, TopicHash};
use parity_scale_codec::Encode;

/// Encoded bytes beside a body in a block, and beside payloads in an event.
const ENVELOPE_BYTES: u64 = 4096;
/// Bytes of an attestation at the most.
const ATTESTATION_BYTES: u64 = 145;

/// A kind of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A block.
    Blocks,
    /// One event for a Dispatch endpoint.
    Dispatch(u8),
    /// Events that a node merged for a Dispatch endpoint.
    Aggregate(u8),
}

impl Kind {
    /// The kind without its endpoint, for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Blocks => "blocks",
            Kind::Dispatch(_) => "dispatch",
            Kind::Aggregate(_) => "aggregate",
        }
    }

    fn topic(self, chain_id: &str) -> IdentTopic {
        IdentTopic::new(match self {
            Kind::Blocks => format!("/jar/{chain_id}/blocks"),
            Kind::Dispatch(endpoint) => format!("/jar/{chain_id}/dispatch/{endpoint}"),
            Kind::Aggregate(endpoint) => format!("/jar/{chain_id}/aggregate/{endpoint}"),
        })
    }
}

/// The topics of a chain: one for blocks, two for each Dispatch endpoint.
#[derive(Clone, Debug)]
pub struct Topics {
    by_hash: BTreeMap<TopicHash, Kind>,
    by_kind: BTreeMap<Kind, IdentTopic>,
    block_bytes_max: usize,
    event_bytes_max: usize,
    aggregate_bytes_max: usize,
}

impl Topics {
    /// The topics of a chain with these Dispatch endpoints.
    pub fn new(chain_id: &str, dispatch_endpoints: &[u8], params: &Params) -> Topics {
        let kinds = std::iter::once(Kind::Blocks).chain(
            dispatch_endpoints
                .iter()
                .flat_map(|endpoint| [Kind::Dispatch(*endpoint), Kind::Aggregate(*endpoint)]),
        );
        let by_kind: BTreeMap<Kind, IdentTopic> =
            kinds.map(|kind| (kind, kind.topic(chain_id))).collect();
        let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let event = params
            .max_attestations
            .saturating_mul(ATTESTATION_BYTES)
            .saturating_add(params.payload_bytes)
            .saturating_add(ENVELOPE_BYTES);
        Topics {
            by_hash: by_kind
                .iter()
                .map(|(kind, topic)| (topic.hash(), *kind))
                .collect(),
            by_kind,
            block_bytes_max: bytes(params.block_bytes.saturating_add(ENVELOPE_BYTES)),
            event_bytes_max: bytes(event),
            aggregate_bytes_max: bytes(params.dispatch_bytes.saturating_add(ENVELOPE_BYTES)),
        }
    }

    /// Every topic with its kind.
    pub fn iter(&self) -> impl Iterator<Item = (Kind, &IdentTopic)> {
        self.by_kind.iter().map(|(kind, topic)| (*kind, topic))
    }

    /// The hashes of all topics.
    pub fn hashes(&self) -> HashSet<TopicHash> {
        self.by_hash.keys().cloned().collect()
    }

    /// The kind of a topic; `None` for one of others.
    pub fn kind(&self, hash: &TopicHash) -> Option<Kind> {
        self.by_hash.get(hash).copied()
    }

    /// Bytes of a message of a kind at the most.
    pub fn bytes_max(&self, kind: Kind) -> usize {
        match kind {
            Kind::Blocks => self.block_bytes_max,
            Kind::Dispatch(_) => self.event_bytes_max,
            Kind::Aggregate(_) => self.aggregate_bytes_max,
        }
    }

    /// Bytes of any message at the most.
    pub fn bytes_max_of_all(&self) -> usize {
        let bytes = self.by_kind.keys().map(|kind| self.bytes_max(*kind));
        bytes.max().unwrap_or(0)
    }

    /// The topic and bytes of what the kernel emits; `None` for an endpoint without a topic.
    pub fn encode(&self, emission: &Emission) -> Option<(IdentTopic, Vec<u8>)> {
        let (kind, bytes) = match emission {
            Emission::Block(block) => (Kind::Blocks, block.encode()),
            Emission::Dispatch { endpoint, event } => (Kind::Dispatch(*endpoint), event.encode()),
            Emission::Aggregate { endpoint, events } => {
                (Kind::Aggregate(*endpoint), events.encode())
            }
        };
        Some((self.by_kind.get(&kind)?.clone(), bytes))
    }
}

/// What a message of a kind holds; `None` when its bytes are no encoding of that.
pub fn decode(kind: Kind, bytes: &[u8]) -> Option<Gossip> {
    fn canonical<T: Encode + parity_scale_codec::Decode>(bytes: &[u8]) -> Option<T> {
        jar_cap::decode_canonical(bytes).ok()
    }
    Some(match kind {
        Kind::Blocks => Gossip::Block(canonical::<Block>(bytes)?.into()),
        Kind::Dispatch(endpoint) => Gossip::Events {
            endpoint,
            events: vec![canonical::<Event>(bytes)?],
        },
        Kind::Aggregate(endpoint) => Gossip::Events {
            endpoint,
            events: canonical::<Vec<Event>>(bytes).filter(|events| !events.is_empty())?,
        },
    })
}

/// A message's id is its content's, so that copies of it are one message.
pub fn message_id(message: &Message) -> MessageId {
    let topic = message.topic.as_str().as_bytes();
    let digest = jar_cap::hash::blake2b(&[topic, &[0], &message.data]);
    MessageId::new(&digest[..20])
}
