//! Blocks, events, attestations, outcomes, and their hashes.

use std::fmt;

use jar_cap::Hash;
use jar_cap::hash::{Tag, tagged};
use parity_scale_codec::{Decode, Encode};
use rayon::prelude::*;

/// An ed25519 public key, compressed.
pub type PublicKey = [u8; 32];
/// An ed25519 signature.
pub type Signature = [u8; 64];

/// What a block is known by: its hash covers this alone.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Header {
    /// Hash of the genesis header; zero in the genesis header itself.
    pub genesis: Hash,
    /// Hash of the parent's header.
    pub parent: Hash,
    /// Blocks since genesis.
    pub height: u64,
    /// Time slot the block was made for.
    pub slot: u64,
    /// [`Body::root`].
    pub body_root: Hash,
    /// [`state_root`] after the block.
    pub state_root: Hash,
    /// [`outcome_root`] of the block's calls.
    pub outcome_root: Hash,
}

impl Header {
    /// The block hash.
    pub fn hash(&self) -> Hash {
        tagged(Tag::Header, &[&self.encode()])
    }
}

/// What an attestation is signed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Scope {
    /// A user's approval of a blob.
    #[codec(index = 0)]
    Direct,
    /// The author's seal of a block.
    #[codec(index = 1)]
    Seal,
    /// A validator's vote, by heights of the source and target blocks.
    #[codec(index = 2)]
    Vote {
        /// Height of the vote's source.
        source: u64,
        /// Height of the vote's target.
        target: u64,
    },
}

/// A signature by `key` of a blob for a scope, on one chain.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Attestation {
    /// The signing key.
    pub key: PublicKey,
    /// What it was signed for.
    pub scope: Scope,
    /// H(blob); zero for a Seal.
    pub blob_hash: Hash,
    /// Signature of [`signed_message`].
    pub signature: Signature,
}

/// The 32 bytes that are signed: H(0x7f ‖ genesis ‖ SCALE(scope) ‖ key ‖ H(blob)); a Seal's
/// blob is the block hash.
pub fn signed_message(genesis: &Hash, scope: &Scope, key: &PublicKey, blob_hash: &Hash) -> Hash {
    tagged(Tag::Signed, &[genesis, &scope.encode(), key, blob_hash])
}

/// One input to the chain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Event {
    /// What the endpoint finds in slot 0.
    pub payload: Vec<u8>,
    /// Signatures the program asks for, in the order it asks.
    pub attestations: Vec<Attestation>,
    /// Recorded results, in the order the program asks for them.
    pub results: Vec<Vec<u8>>,
}

impl Event {
    /// The id of this event at an endpoint.
    pub fn id(&self, endpoint: u8) -> Hash {
        tagged(Tag::Event, &[&[endpoint], &self.encode()])
    }
}

/// What a block carries besides its header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Body {
    /// Events by Transact endpoint, in the order of the walk; no group is empty.
    pub groups: Vec<(u8, Vec<Event>)>,
    /// The Schedules' attestations, in the order they are asked for.
    pub attestations: Vec<Attestation>,
    /// The Schedules' results.
    pub results: Vec<Vec<u8>>,
}

impl Body {
    /// Body root, the seal's signature taken as zero: it is made over the hash that covers this.
    pub fn root(&self) -> Hash {
        let mut attestations = self.attestations.clone();
        for attestation in attestations.iter_mut().filter(|a| a.scope == Scope::Seal) {
            attestation.signature = [0; 64];
        }
        tagged(
            Tag::Body,
            &[&(&self.groups, attestations, &self.results).encode()],
        )
    }

    /// Ids of all events, in order; worked out on all cores.
    pub fn event_ids(&self) -> Vec<Hash> {
        let groups = self.groups.par_iter();
        let events = groups
            .flat_map(|(endpoint, events)| events.par_iter().map(move |event| event.id(*endpoint)));
        events.collect()
    }

    /// The first Seal and its index among the attestations.
    pub fn seal(&self) -> Option<(usize, &Attestation)> {
        self.attestations
            .iter()
            .enumerate()
            .find(|(_, a)| a.scope == Scope::Seal)
    }
}

/// A header with its body.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Block {
    /// The header.
    pub header: Header,
    /// The body.
    pub body: Body,
}

/// A record a program emitted.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Record {
    /// What subscribers filter by.
    pub topic: Vec<u8>,
    /// The record's bytes.
    pub data: Vec<u8>,
}

/// How a top-level call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Ending {
    /// The endpoint halted with this value: 0 is success, others the program's own codes.
    #[codec(index = 0)]
    Halted(u64),
    /// The call faulted and had no effect; a [`jar_abi::Fault`] number.
    #[codec(index = 1)]
    Faulted(u64),
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::Halted(code) => write!(f, "halted with code {code} ({code:#x})"),
            Ending::Faulted(code) => match jar_abi::Fault::from_number(*code) {
                Some(fault) => write!(f, "faulted: {}", fault.name()),
                None => write!(f, "faulted with code {code}"),
            },
        }
    }
}

/// What came of one call of the walk.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// Gas it spent.
    pub gas_used: u64,
    /// Records it emitted; none when it faulted.
    pub records: Vec<Record>,
}

/// Root of a block's outcomes: a binary tree padded to a power of two with 32 zero bytes.
pub fn outcome_root(outcomes: &[Outcome]) -> Hash {
    let mut level: Vec<Hash> = outcomes
        .iter()
        .map(|outcome| tagged(Tag::OutcomeLeaf, &[&outcome.encode()]))
        .collect();
    if level.is_empty() {
        return [0; 32];
    }
    level.resize(level.len().next_power_of_two(), [0; 32]);
    while level.len() > 1 {
        level = level
            .chunks_exact(2)
            .map(|pair| match pair {
                [l, r] if *l == [0; 32] && *r == [0; 32] => [0; 32],
                pair => tagged(Tag::OutcomeNode, &[&pair[0], &pair[1]]),
            })
            .collect();
    }
    level[0]
}
