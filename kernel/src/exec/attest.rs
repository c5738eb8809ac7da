//! Attestations during a call: matched against what came in, or noted to be produced.

use jar_cap::Hash;

use crate::block::{Attestation, PublicKey, Scope};
use crate::hardware::SignRequest;

/// A signature the node owes for something it is building.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Obligation {
    pub key: PublicKey,
    pub scope: Scope,
    /// H(blob); zero for a Seal.
    pub blob_hash: Hash,
}

/// Whether Hardware would sign a request.
pub(crate) type MaySign<'a> = &'a dyn Fn(&SignRequest) -> bool;

/// How `attest` is answered.
pub(crate) enum Traces<'a> {
    /// From a list, in order. `cursor` counts what was consumed.
    Verify {
        attestations: &'a [Attestation],
        cursor: usize,
    },
    /// By what this node may sign.
    Produce {
        may_sign: MaySign<'a>,
        slot: u64,
        obligations: Vec<Obligation>,
    },
}

impl<'a> Traces<'a> {
    /// A list to be matched from its start.
    pub fn verify(attestations: &'a [Attestation]) -> Self {
        Traces::Verify {
            attestations,
            cursor: 0,
        }
    }

    /// Answers `attest`: whether it is recorded.
    pub fn attest(&mut self, wanted: Obligation) -> bool {
        match self {
            Traces::Verify {
                attestations,
                cursor,
            } => {
                let matches = attestations.get(*cursor).is_some_and(|entry| {
                    entry.key == wanted.key
                        && entry.scope == wanted.scope
                        && entry.blob_hash == wanted.blob_hash
                });
                *cursor += usize::from(matches);
                matches
            }
            Traces::Produce {
                may_sign,
                slot,
                obligations,
            } => {
                let request = SignRequest {
                    key: wanted.key,
                    scope: wanted.scope,
                    slot: *slot,
                };
                // One Seal per time slot and key: a second would stand at the same watermark.
                let repeated = wanted.scope != Scope::Direct
                    && obligations
                        .iter()
                        .any(|o| o.key == wanted.key && o.scope == wanted.scope);
                let recorded = !repeated && may_sign(&request);
                if recorded {
                    obligations.push(wanted);
                }
                recorded
            }
        }
    }

    /// How many entries were consumed or noted.
    pub fn used(&self) -> usize {
        match self {
            Traces::Verify { cursor, .. } => *cursor,
            Traces::Produce { obligations, .. } => obligations.len(),
        }
    }
}
