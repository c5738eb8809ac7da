//! JSON shapes of what the node answers.
//!
//! Bytes are lowercase hex with 0x; numbers are JSON numbers up to 2^53 and decimal strings
//! beyond; names are the specification's.

use std::collections::BTreeMap;
use std::fmt;

use jar_abi::Fault;
use jar_kernel::block::{self, Ending, Event, Outcome, Scope};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::hex::{from_hex, to_hex};

/// The largest number that is a JSON number: every value up to it is exact in a double.
pub const JSON_NUMBER_MAX: u64 = 1 << 53;

/// A number as JSON: a string when it is too large to be exact in a double.
pub fn number(value: u64) -> Value {
    if value <= JSON_NUMBER_MAX {
        value.into()
    } else {
        value.to_string().into()
    }
}

/// The name of a fault, or its number where a newer chain has more of them.
pub fn fault_name(code: u64) -> String {
    Fault::from_number(code).map_or_else(|| code.to_string(), |fault| fault.name().to_owned())
}

/// A `u64`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number(pub u64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 <= JSON_NUMBER_MAX {
            serializer.serialize_u64(self.0)
        } else {
            serializer.collect_str(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Number::from_json(&value).ok_or_else(|| D::Error::custom("not a whole number below 2^64"))
    }
}

impl Number {
    /// A JSON number, or a string of decimal digits alone.
    pub fn from_json(value: &Value) -> Option<Number> {
        match value {
            Value::Number(number) => number.as_u64().map(Number),
            Value::String(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse().ok().map(Number)
            }
            _ => None,
        }
    }
}

/// Bytes of any length.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&to_hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        from_hex(&text)
            .map(Bytes)
            .ok_or_else(|| D::Error::custom("not hex with 0x"))
    }
}

/// Exactly `N` bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fixed<const N: usize>(pub [u8; N]);

/// A hash or a public key.
pub type Hash32 = Fixed<32>;

impl<const N: usize> fmt::Display for Fixed<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}

impl<const N: usize> fmt::Debug for Fixed<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<const N: usize> Serialize for Fixed<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&to_hex(&self.0))
    }
}

impl<'de, const N: usize> Deserialize<'de> for Fixed<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Bytes::deserialize(deserializer)?;
        <[u8; N]>::try_from(bytes.0)
            .map(Fixed)
            .map_err(|bytes| D::Error::custom(format!("{} bytes instead of {N}", bytes.len())))
    }
}

/// A block's header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Hash of the genesis header; zero in the genesis header itself.
    pub genesis: Hash32,
    /// Hash of the parent.
    pub parent: Hash32,
    /// Blocks since genesis.
    pub height: Number,
    /// Time slot.
    pub slot: Number,
    /// Root of the body.
    pub body_root: Hash32,
    /// Root of the state after the block.
    pub state_root: Hash32,
    /// Root of the outcomes.
    pub outcome_root: Hash32,
}

impl From<&block::Header> for Header {
    fn from(header: &block::Header) -> Self {
        Header {
            genesis: Fixed(header.genesis),
            parent: Fixed(header.parent),
            height: Number(header.height),
            slot: Number(header.slot),
            body_root: Fixed(header.body_root),
            state_root: Fixed(header.state_root),
            outcome_root: Fixed(header.outcome_root),
        }
    }
}

impl From<&Header> for block::Header {
    fn from(header: &Header) -> Self {
        block::Header {
            genesis: header.genesis.0,
            parent: header.parent.0,
            height: header.height.0,
            slot: header.slot.0,
            body_root: header.body_root.0,
            state_root: header.state_root.0,
            outcome_root: header.outcome_root.0,
        }
    }
}

/// A header with what is derived from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockHeader {
    /// The block hash.
    pub hash: Hash32,
    /// The header.
    pub header: Header,
    /// The chain's score of the block.
    pub score: Number,
    /// Start of the block's slot, in milliseconds since the Unix epoch.
    pub time_ms: Number,
}

/// One item of a subscription to blocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadItem {
    /// The block.
    #[serde(flatten)]
    pub block: BlockHeader,
    /// How many blocks delivered before are no longer on the chain; this one follows the
    /// block below them. Absent when 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reverted: u64,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// What an attestation is signed for: `"direct"`, `"seal"` or `{"vote": {source, target}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ScopeName {
    /// A user's approval of a blob.
    Direct,
    /// The author's seal of a block.
    Seal,
    /// A validator's vote.
    Vote {
        /// Height of the source.
        source: Number,
        /// Height of the target.
        target: Number,
    },
}

/// An attestation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attestation {
    /// The signing key.
    pub key: Hash32,
    /// What it is for.
    pub scope: ScopeName,
    /// H(blob); zero for a seal.
    pub blob_hash: Hash32,
    /// The signature.
    pub signature: Fixed<64>,
}

impl From<&block::Attestation> for Attestation {
    fn from(attestation: &block::Attestation) -> Self {
        Attestation {
            key: Fixed(attestation.key),
            scope: match attestation.scope {
                Scope::Direct => ScopeName::Direct,
                Scope::Seal => ScopeName::Seal,
                Scope::Vote { source, target } => ScopeName::Vote {
                    source: Number(source),
                    target: Number(target),
                },
            },
            blob_hash: Fixed(attestation.blob_hash),
            signature: Fixed(attestation.signature),
        }
    }
}

impl From<&Attestation> for block::Attestation {
    fn from(attestation: &Attestation) -> Self {
        block::Attestation {
            key: attestation.key.0,
            scope: match attestation.scope {
                ScopeName::Direct => Scope::Direct,
                ScopeName::Seal => Scope::Seal,
                ScopeName::Vote { source, target } => Scope::Vote {
                    source: source.0,
                    target: target.0,
                },
            },
            blob_hash: attestation.blob_hash.0,
            signature: attestation.signature.0,
        }
    }
}

/// An event in a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventInfo {
    /// The event's id.
    pub id: Hash32,
    /// What the endpoint finds in slot 0.
    pub payload: Bytes,
    /// Its attestations.
    pub attestations: Vec<Attestation>,
    /// Its recorded results.
    pub results: Vec<Bytes>,
}

impl EventInfo {
    /// The event at an endpoint.
    pub fn new(endpoint: u8, event: &Event) -> Self {
        EventInfo {
            id: Fixed(event.id(endpoint)),
            payload: Bytes(event.payload.clone()),
            attestations: event.attestations.iter().map(Into::into).collect(),
            results: event.results.iter().cloned().map(Bytes).collect(),
        }
    }
}

/// Events of one Transact endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The endpoint's index.
    pub endpoint: u8,
    /// Its events, in order.
    pub events: Vec<EventInfo>,
}

/// A block's body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    /// Events by endpoint, in the order of the walk.
    pub groups: Vec<Group>,
    /// The Schedules' attestations.
    pub attestations: Vec<Attestation>,
    /// The Schedules' results.
    pub results: Vec<Bytes>,
}

impl From<&block::Body> for Body {
    fn from(body: &block::Body) -> Self {
        let group = |(endpoint, events): &(u8, Vec<Event>)| Group {
            endpoint: *endpoint,
            events: events
                .iter()
                .map(|event| EventInfo::new(*endpoint, event))
                .collect(),
        };
        Body {
            groups: body.groups.iter().map(group).collect(),
            attestations: body.attestations.iter().map(Into::into).collect(),
            results: body.results.iter().cloned().map(Bytes).collect(),
        }
    }
}

/// A whole block with the outcomes of its calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockInfo {
    /// The header and what is derived from it.
    #[serde(flatten)]
    pub block: BlockHeader,
    /// The body.
    pub body: Body,
    /// Outcome of each call of the walk, Schedules included, in order.
    pub outcomes: Vec<OutcomeInfo>,
}

/// How a call ended: `{"halted": value}` or `{"faulted": {code, name}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndingInfo {
    /// It halted with this value: 0 is success, others the program's codes.
    Halted(Number),
    /// It faulted and had no effect.
    Faulted {
        /// The fault's number.
        code: Number,
        /// The fault's name.
        name: String,
    },
}

impl From<Ending> for EndingInfo {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Halted(value) => EndingInfo::Halted(Number(value)),
            Ending::Faulted(code) => EndingInfo::Faulted {
                code: Number(code),
                name: fault_name(code),
            },
        }
    }
}

/// A record that a program emitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordInfo {
    /// Its topic.
    pub topic: Bytes,
    /// Its bytes.
    pub data: Bytes,
}

/// What came of one call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeInfo {
    /// How it ended.
    pub ending: EndingInfo,
    /// Gas it spent.
    pub gas_used: Number,
    /// Records it emitted.
    pub records: Vec<RecordInfo>,
}

impl From<&Outcome> for OutcomeInfo {
    fn from(outcome: &Outcome) -> Self {
        OutcomeInfo {
            ending: outcome.ending.into(),
            gas_used: Number(outcome.gas_used),
            records: outcome
                .records
                .iter()
                .map(|record| RecordInfo {
                    topic: Bytes(record.topic.clone()),
                    data: Bytes(record.data.clone()),
                })
                .collect(),
        }
    }
}

/// An endpoint of the chain's Image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointInfo {
    /// Its number.
    pub index: u8,
    /// Its name.
    pub name: String,
    /// `call`, `view`, `genesis`, `schedule`, `transact` or `dispatch`.
    pub role: String,
    /// Place in the walk of a Schedule or Transact endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<u8>,
}

/// What chain this is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainInfo {
    /// The chain's name, for people.
    pub name: String,
    /// The chain's name, for machines.
    pub chain_id: String,
    /// Hash of the genesis header.
    pub genesis: Hash32,
    /// Id of the genesis Image.
    pub image_id: Hash32,
    /// Time of slot 0, in milliseconds since the Unix epoch.
    pub genesis_time_ms: Number,
    /// Length of a slot in milliseconds.
    pub slot_ms: Number,
    /// Limits and prices by name.
    pub params: BTreeMap<String, Number>,
    /// What the Genesis endpoint was given.
    pub genesis_payload: Bytes,
    /// Endpoints of the head's state.
    pub endpoints: Vec<EndpointInfo>,
}

/// Answer of `state_get`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateValue {
    /// The block whose state was read.
    pub block: Hash32,
    /// `data`, `image`, `cnode`, `instance`, `type`, or `empty`.
    pub kind: String,
    /// The capability's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Hash32>,
    /// Length of a Data in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Number>,
    /// Bytes of a Data, from the asked offset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Bytes>,
    /// The proof, when asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<StateProof>,
}

/// Options of `state_get`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GetOptions {
    /// Whether the answer carries its proof.
    pub proof: bool,
    /// First byte of a Data to answer; 0 by default.
    pub offset: Option<Number>,
    /// How many bytes of a Data to answer at most.
    pub length: Option<Number>,
}

/// The chain Instance, as its id is hashed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceInfo {
    /// Its type.
    #[serde(rename = "type")]
    pub type_id: Hash32,
    /// Id of its Image.
    pub image: Hash32,
    /// Root of its cnode's trie.
    pub trie_root: Hash32,
    /// SCALE of its status.
    pub status: Bytes,
}

/// Where a walk down a trie ends: `{"leaf": {key_hash, cap}}` or `"empty"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProofEnd {
    /// At an entry, the asked one or another.
    Leaf {
        /// H(key) of the entry.
        key_hash: Hash32,
        /// Id of its capability.
        cap: Hash32,
    },
    /// At nothing.
    Empty,
}

/// One key of a proven path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofStep {
    /// The key.
    pub key: Bytes,
    /// Hashes of the other sides on the way down, root first.
    pub siblings: Vec<Hash32>,
    /// Where the way ends.
    pub end: ProofEnd,
    /// Trie root of the CNode that was found; the next step starts there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trie_root: Option<Hash32>,
}

/// A proof of what stands at a path, or that nothing does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateProof {
    /// The block.
    pub block: Hash32,
    /// Its header.
    pub header: Header,
    /// The header's state root.
    pub state_root: Hash32,
    /// The chain Instance.
    pub instance: InstanceInfo,
    /// The path, from the Instance's table down.
    pub steps: Vec<ProofStep>,
    /// The whole Data at the path, where a Data is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Bytes>,
}

/// A line that a program logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// 1 error to 5 trace.
    pub level: Number,
    /// The text, bytes that are not UTF-8 replaced.
    pub message: String,
}

/// Answer of `state_view`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewResult {
    /// The block on whose state it ran.
    pub block: Hash32,
    /// How it ended.
    pub ending: EndingInfo,
    /// SCALE of the result.
    pub result: Option<Bytes>,
    /// Gas it spent.
    pub gas_used: Number,
    /// What it logged.
    pub logs: Vec<LogLine>,
}

/// An entry of a CNode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyInfo {
    /// Its key.
    pub key: Bytes,
    /// Kind of its capability.
    pub kind: String,
    /// Id of its capability.
    pub id: Hash32,
}

/// Answer of `state_keys`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysPage {
    /// The block whose state was read.
    pub block: Hash32,
    /// Entries in the order of H(key).
    pub keys: Vec<KeyInfo>,
    /// `from` of the next page; null at the end.
    pub next: Option<Bytes>,
}

/// Answer of `event_submit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    /// Id of the Dispatch event.
    pub id: Hash32,
    /// Ids of the Transact events that merging made of it.
    pub transact_ids: Vec<Hash32>,
}

/// Where an event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventState {
    /// This node has not seen it, or not since it started.
    Unknown,
    /// It waits for a block.
    Pending,
    /// It is in a block.
    Included,
    /// It was left out of a block and dropped.
    Dropped,
}

/// An event in a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inclusion {
    /// Id of the Transact event.
    pub id: Hash32,
    /// The block.
    pub block: Hash32,
    /// The block's height.
    pub height: Number,
    /// Index among the block's outcomes.
    pub index: u32,
    /// Whether the block is on the chain of the head.
    pub canonical: bool,
    /// Whether the block is final.
    pub finalized: bool,
    /// What came of it.
    pub outcome: OutcomeInfo,
}

/// Answer of `event_status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventStatus {
    /// The id asked for.
    pub id: Hash32,
    /// Where it stands.
    pub status: EventState,
    /// Transact events made of it, when the id is a Dispatch event's.
    pub transact_ids: Vec<Hash32>,
    /// The blocks it is in.
    pub inclusions: Vec<Inclusion>,
    /// Why it was dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Answer of `system_health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether the node makes progress.
    pub healthy: bool,
    /// `ok`, `starting`, `syncing`, `stalled` or `stopping`.
    pub status: String,
    /// What is wrong, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Height of the head.
    pub height: Number,
    /// Hash of the head.
    pub head: Hash32,
    /// Height of the last finalized block.
    pub finalized_height: Number,
    /// Time since this process saw the head change, in milliseconds.
    pub head_age_ms: Number,
    /// Events waiting for a block.
    pub pending: Number,
}

/// Answer of `system_version`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// `jar-node`.
    pub name: String,
    /// The node's version.
    pub version: String,
    /// The engine that runs programs.
    pub engine: String,
}

/// A peer, in the answer of `system_peers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its name on the network.
    pub peer_id: String,
    /// Where it is, as a multiaddr.
    pub address: String,
    /// Whether this node dialled it.
    pub outbound: bool,
    /// The software it says it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Time of a ping's way there and back, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<Number>,
    /// Height of the head it last told of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<Number>,
    /// Height of the finalized block it last told of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finalized_height: Option<Number>,
    /// What gossip makes of it: below -40 it is banned.
    pub gossip_score: i64,
    /// How badly it behaved of late: 0 is good, 100 bans.
    pub badness: Number,
}

/// Answer of `system_syncing`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Syncing {
    /// Whether the node is behind its peers.
    pub syncing: bool,
    /// `following`, `blocks` while blocks are fetched, or `state` while the state of a finalized
    /// block is.
    pub stage: String,
    /// Height of the head.
    pub height: Number,
    /// The highest block heard of.
    pub highest: Number,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_exact() {
        for value in [0, 1, JSON_NUMBER_MAX, JSON_NUMBER_MAX + 1, u64::MAX] {
            let json = serde_json::to_value(Number(value)).expect("a number");
            assert_eq!(json.is_string(), value > JSON_NUMBER_MAX);
            assert_eq!(Number::from_json(&json), Some(Number(value)));
        }
        for bad in [
            "-1",
            "1.5",
            "\"+1\"",
            "\"0x1\"",
            "\"\"",
            "\"18446744073709551616\"",
            "null",
        ] {
            let json: Value = serde_json::from_str(bad).expect("JSON");
            assert_eq!(Number::from_json(&json), None, "{bad}");
        }
    }

    #[test]
    fn shapes_of_the_specification() {
        let end = |end: &ProofEnd| serde_json::to_string(end).expect("JSON");
        assert_eq!(end(&ProofEnd::Empty), "\"empty\"");
        let leaf = ProofEnd::Leaf {
            key_hash: Fixed([0; 32]),
            cap: Fixed([1; 32]),
        };
        assert!(end(&leaf).starts_with("{\"leaf\":{\"key_hash\":\"0x00"));
        let scope = serde_json::to_string(&ScopeName::Vote {
            source: Number(1),
            target: Number(2),
        });
        assert_eq!(
            scope.expect("JSON"),
            "{\"vote\":{\"source\":1,\"target\":2}}"
        );
    }
}
