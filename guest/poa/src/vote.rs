//! What validators vote for, and what two votes prove.

use alloc::vec::Vec;

use jar_guest::{Hash, Scope};
use parity_scale_codec::{Decode, Encode};

use crate::Signers;

/// A block by height and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Checkpoint {
    /// Blocks since genesis.
    pub height: u64,
    /// Hash of the block.
    pub hash: Hash,
}

/// From a justified block to a descendant that is to be justified: what a vote is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Link {
    /// The justified block.
    pub source: Checkpoint,
    /// The descendant.
    pub target: Checkpoint,
}

/// First part of what a vote's signature covers.
const VOTE_DOMAIN: &str = "poa.vote";

impl Link {
    /// The blob that a voter signs: SCALE(("poa.vote", link)).
    pub fn signed_blob(&self) -> Vec<u8> {
        (VOTE_DOMAIN, self).encode()
    }

    /// The scope of a voter's attestation: the heights, which the node's watermarks judge.
    pub fn scope(&self) -> Scope {
        Scope::Vote {
            source: self.source.height,
            target: self.target.height,
        }
    }

    /// Whether the target is the next height after the source.
    pub fn is_direct(&self) -> bool {
        self.source.height.checked_add(1) == Some(self.target.height)
    }
}

/// Votes of one or more voters for one link; a single vote is the smallest. The attestations
/// come beside it, those of lower indices first.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Aggregate {
    /// Which electorate the signers are of.
    pub epoch: u64,
    /// What they voted for.
    pub link: Link,
    /// Who they are.
    pub signers: Signers,
}

/// What two votes of one validator prove against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offence {
    /// Two different votes have targets of the same height.
    DoubleVote,
    /// One vote's source and target lie strictly around the other's.
    SurroundVote,
}

/// What two votes of one validator prove against it, in either order. Who keeps to the
/// watermarks never casts such votes.
pub fn offence(a: &Link, b: &Link) -> Option<Offence> {
    let surrounds = |outer: &Link, inner: &Link| {
        outer.source.height < inner.source.height && inner.target.height < outer.target.height
    };
    if a == b {
        None
    } else if a.target.height == b.target.height {
        Some(Offence::DoubleVote)
    } else if surrounds(a, b) || surrounds(b, a) {
        Some(Offence::SurroundVote)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(source: u64, target: u64, fork: u8) -> Link {
        let at = |height| Checkpoint {
            height,
            hash: [fork; 32],
        };
        Link {
            source: at(source),
            target: at(target),
        }
    }

    #[test]
    fn offences_are_double_and_surround_votes() {
        let table = [
            (link(1, 2, 0), link(1, 2, 0), None),
            (link(1, 2, 0), link(2, 3, 1), None),
            (link(1, 3, 0), link(1, 4, 0), None),
            (link(1, 3, 0), link(2, 4, 1), None),
            (link(1, 2, 0), link(1, 2, 1), Some(Offence::DoubleVote)),
            (link(0, 2, 0), link(1, 2, 0), Some(Offence::DoubleVote)),
            (link(0, 4, 0), link(1, 2, 1), Some(Offence::SurroundVote)),
        ];
        for (a, b, expected) in table {
            assert_eq!(offence(&a, &b), expected, "{a:?} {b:?}");
            assert_eq!(offence(&b, &a), expected, "{b:?} {a:?}");
        }
    }

    #[test]
    fn the_signed_blob_is_the_domain_and_the_link() {
        let blob = link(1, 2, 7).signed_blob();
        assert_eq!(&blob[..9], b"\x20poa.vote");
        assert_eq!(blob.len(), 9 + 80);
    }
}
