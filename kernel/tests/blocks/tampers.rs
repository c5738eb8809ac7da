//! Ways to spoil a block, each with what the kernel must say of it.

use jar_kernel::InvalidBlock;
use jar_kernel::block::{Attestation, Block, Event, Scope};

use super::STRANGER;
use super::common::chain::event;
use super::common::counter::*;
use super::common::{seed_key, sign};

/// One way to spoil a block.
pub struct Tamper {
    pub name: &'static str,
    pub change: fn(&mut Block),
    /// Whether the author is at it: the body root and the seal fit again.
    pub by_author: bool,
    pub expect: fn(&InvalidBlock) -> bool,
    pub blames_sender: bool,
}

macro_rules! tamper {
    ($name:literal, $by:ident, $change:expr, $pattern:pat, $blame:literal) => {
        Tamper {
            name: $name,
            change: $change,
            by_author: stringify!($by) == "author",
            expect: |error| matches!(error, $pattern),
            blames_sender: $blame,
        }
    };
}

pub fn events(block: &mut Block) -> &mut Vec<Event> {
    &mut block.body.groups[0].1
}

fn seal_of(block: &mut Block) -> &mut Attestation {
    block.body.attestations.last_mut().expect("sealed")
}

pub fn tampers() -> Vec<Tamper> {
    [
        header_tampers(),
        size_tampers(),
        seal_tampers(),
        group_tampers(),
        trace_tampers(),
        signature_tampers(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What the header says of the block.
fn header_tampers() -> Vec<Tamper> {
    use InvalidBlock::*;
    vec![
        tamper!(
            "genesis",
            author,
            |b| b.header.genesis = [1; 32],
            Genesis,
            false
        ),
        tamper!(
            "height",
            author,
            |b| b.header.height += 1,
            Height {
                expected: 2,
                found: 3
            },
            false
        ),
        tamper!(
            "slot",
            author,
            |b| b.header.slot = 1,
            Slot {
                parent: 1,
                found: 1
            },
            false
        ),
        tamper!(
            "state root",
            author,
            |b| b.header.state_root[0] ^= 1,
            StateRoot,
            false
        ),
        tamper!(
            "outcome root",
            author,
            |b| b.header.outcome_root[0] ^= 1,
            OutcomeRoot,
            false
        ),
        tamper!(
            "body root",
            sender,
            |b| b.header.body_root[0] ^= 1,
            BodyRoot,
            true
        ),
        tamper!(
            "payload",
            sender,
            |b| events(b)[0].payload.push(0),
            BodyRoot,
            true
        ),
    ]
}

/// What is too much.
fn size_tampers() -> Vec<Tamper> {
    use InvalidBlock::*;
    vec![
        tamper!(
            "a payload's size",
            author,
            |b| events(b)[0].payload = vec![0; 1 << 20 | 1],
            TooLarge { .. },
            false
        ),
        tamper!(
            "the body's size",
            author,
            |b| *events(b) = vec![event(vec![0; 1 << 20]); 5],
            TooLarge { .. },
            false
        ),
        tamper!(
            "the number of attestations",
            author,
            |b| {
                let one = events(b)[2].attestations[0].clone();
                events(b)[0].attestations = vec![one; 8193];
            },
            TooLarge { .. },
            false
        ),
        tamper!(
            "an event's results",
            author,
            |b| events(b)[0].results = vec![vec![0; 1 << 19]; 3],
            TooLarge { .. },
            false
        ),
        tamper!(
            "the body's attestations",
            author,
            |b| {
                let one = events(b)[2].attestations[0].clone();
                b.body.attestations.splice(0..0, vec![one; 8193]);
            },
            TooLarge { .. },
            false
        ),
    ]
}

/// The seal.
fn seal_tampers() -> Vec<Tamper> {
    use InvalidBlock::*;
    vec![
        tamper!(
            "no seal",
            author,
            |b| b.body.attestations.clear(),
            Seal(_),
            false
        ),
        tamper!(
            "two seals",
            author,
            |b| {
                let seal = seal_of(b).clone();
                b.body.attestations.push(seal);
            },
            Seal(_),
            false
        ),
        tamper!(
            "a stranger's seal",
            sender,
            |b| {
                seal_of(b).key = seed_key(STRANGER);
                b.header.body_root = b.body.root();
                *seal_of(b) = sign(STRANGER, &b.header.genesis, Scope::Seal, &b.header.hash());
            },
            Seal(_),
            false
        ),
        tamper!(
            "a seal's blob",
            sender,
            |b| {
                seal_of(b).blob_hash = [1; 32];
                b.header.body_root = b.body.root();
            },
            Seal(_),
            false
        ),
        tamper!(
            "the seal's signature",
            sender,
            |b| seal_of(b).signature[0] ^= 1,
            SealSignature,
            true
        ),
        tamper!(
            "another header under the seal",
            sender,
            |b| b.header.state_root[0] ^= 1,
            SealSignature,
            true
        ),
    ]
}

/// Which events the block has.
fn group_tampers() -> Vec<Tamper> {
    use InvalidBlock::*;
    vec![
        tamper!(
            "an empty group",
            author,
            |b| events(b).clear(),
            Group(MAIN),
            false
        ),
        tamper!(
            "a group of no endpoint",
            author,
            |b| b.body.groups[0].0 = 77,
            Group(77),
            false
        ),
        tamper!(
            "a group of a View",
            author,
            |b| b.body.groups[0].0 = 4,
            Group(4),
            false
        ),
        tamper!(
            "a doubled group",
            author,
            |b| {
                let group = b.body.groups[0].clone();
                b.body.groups.push(group);
            },
            Group(MAIN),
            false
        ),
        tamper!(
            "groups out of order",
            author,
            |b| {
                b.body.groups.insert(0, (LATER, vec![event([])]));
            },
            Group(MAIN),
            false
        ),
        tamper!(
            "an event more",
            author,
            |b| events(b).push(add(1)),
            StateRoot,
            false
        ),
        tamper!(
            "a halt without effect more",
            author,
            |b| {
                events(b).push(request(HALT, &[0; 8]));
            },
            OutcomeRoot,
            false
        ),
        tamper!(
            "events in another order",
            author,
            |b| events(b).swap(0, 1),
            OutcomeRoot,
            false
        ),
    ]
}

/// Attestations and results.
fn trace_tampers() -> Vec<Tamper> {
    use InvalidBlock::*;
    vec![
        tamper!(
            "an unused attestation",
            author,
            |b| {
                let one = events(b)[2].attestations[0].clone();
                events(b)[0].attestations.push(one);
            },
            UnusedTraces(MAIN),
            false
        ),
        tamper!(
            "an unused result",
            author,
            |b| events(b)[0].results.push(vec![]),
            UnusedTraces(MAIN),
            false
        ),
        tamper!(
            "a missing attestation",
            author,
            |b| events(b)[2].attestations.clear(),
            OutcomeRoot,
            false
        ),
        tamper!(
            "another attestation",
            author,
            |b| {
                events(b)[2].attestations[0].blob_hash = [0; 32];
            },
            UnusedTraces(MAIN),
            false
        ),
        tamper!(
            "an unused attestation of Schedules",
            author,
            |b| {
                let one = events(b)[2].attestations[0].clone();
                b.body.attestations.push(one);
            },
            UnusedTraces(_),
            false
        ),
        tamper!(
            "an attestation before the seal",
            author,
            |b| {
                let one = events(b)[2].attestations[0].clone();
                b.body.attestations.insert(0, one);
            },
            Schedule { endpoint: 251, .. },
            false
        ),
        tamper!(
            "an unused result of Schedules",
            author,
            |b| b.body.results.push(vec![]),
            UnusedTraces(_),
            false
        ),
    ]
}

/// Signatures of events, and a Schedule that does not like what it finds.
fn signature_tampers() -> Vec<Tamper> {
    use InvalidBlock::*;
    vec![
        tamper!(
            "a signature",
            author,
            |b| events(b)[2].attestations[0].signature[9] ^= 1,
            Signature,
            false
        ),
        tamper!(
            "another's signature",
            author,
            |b| {
                let genesis = b.header.genesis;
                let other = sign(STRANGER, &genesis, Scope::Direct, BLOB);
                events(b)[2].attestations[0].signature = other.signature;
            },
            Signature,
            false
        ),
        tamper!(
            "a signature of another chain",
            author,
            |b| {
                let other = sign([3; 32], &[9; 32], Scope::Direct, BLOB);
                events(b)[2].attestations[0].signature = other.signature;
            },
            Signature,
            false
        ),
        tamper!(
            "a Schedule's fault",
            author,
            |b| events(b)[0] = add(UNLUCKY - 1),
            Schedule { endpoint: 3, .. },
            false
        ),
    ]
}
