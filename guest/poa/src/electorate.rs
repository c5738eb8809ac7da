//! Who may vote, and how many are enough.

use alloc::vec::Vec;

use jar_guest::PublicKey;
use parity_scale_codec::{Decode, Encode};

/// Most validators of a set: an aggregate of two such sets must fit the gas of one event.
pub const VALIDATORS_MAX: usize = 100;

/// The committees whose votes count, each of which must agree: one, or while the validators
/// change both the present and the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Electorate {
    voters: Vec<PublicKey>,
    /// For each committee, which voters belong to it.
    committees: Vec<Signers>,
}

impl Electorate {
    /// The electorate of a set of validators, and the next set while it takes over. Voters are
    /// the first set's in its order, then those that are only in the second.
    pub fn new(present: &[PublicKey], next: Option<&[PublicKey]>) -> Electorate {
        let mut voters = present.to_vec();
        let new = next.unwrap_or_default();
        voters.extend(new.iter().filter(|key| !present.contains(key)));
        let committee = |keys: &[PublicKey]| {
            let mut members = Signers::none(voters.len());
            for (index, voter) in voters.iter().enumerate() {
                if keys.contains(voter) {
                    members.insert(index);
                }
            }
            members
        };
        let committees = core::iter::once(present).chain(next).map(committee);
        Electorate {
            committees: committees.collect(),
            voters,
        }
    }

    /// The voters, in the order of their indices.
    pub fn voters(&self) -> &[PublicKey] {
        &self.voters
    }

    /// Whether the signers are more than two thirds of each committee.
    pub fn has_quorum(&self, signers: &Signers) -> bool {
        self.committees.iter().all(|committee| {
            let signed = committee.both(signers).count();
            3 * signed > 2 * committee.count()
        })
    }

    /// Whether signers are some, and one bit for each voter.
    pub fn is_canonical(&self, signers: &Signers) -> bool {
        let len = self.voters.len();
        signers.0.len() == len.div_ceil(8)
            && signers.count() > 0
            && signers.indices().all(|index| index < len)
    }
}

/// Whether these may be the validators: some, not too many, none twice.
pub(crate) fn are_good(validators: &[PublicKey]) -> bool {
    let mut sorted = validators.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    (1..=VALIDATORS_MAX).contains(&validators.len()) && sorted.len() == validators.len()
}

/// A set of voters: a bit for each, least significant first, padding bits zero.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Signers(Vec<u8>);

impl Signers {
    /// None of `voters`.
    pub fn none(voters: usize) -> Signers {
        Signers(alloc::vec![0; voters.div_ceil(8)])
    }

    /// Adds a voter; an index past the last is ignored.
    pub fn insert(&mut self, index: usize) {
        if let Some(byte) = self.0.get_mut(index / 8) {
            *byte |= 1 << (index % 8);
        }
    }

    /// Whether a voter is among them.
    pub fn contains(&self, index: usize) -> bool {
        self.0
            .get(index / 8)
            .is_some_and(|byte| byte >> (index % 8) & 1 == 1)
    }

    /// How many they are.
    pub fn count(&self) -> u32 {
        self.0.iter().map(|byte| byte.count_ones()).sum()
    }

    /// Their indices, ascending.
    pub fn indices(&self) -> impl Iterator<Item = usize> {
        (0..8 * self.0.len()).filter(|index| self.contains(*index))
    }

    /// Bytes of the bits.
    pub(crate) fn encoded_bytes(&self) -> usize {
        self.0.len()
    }

    fn both(&self, other: &Signers) -> Signers {
        let pairs = self.0.iter().zip(&other.0);
        Signers(pairs.map(|(a, b)| a & b).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    fn keys(range: core::ops::Range<u8>) -> Vec<PublicKey> {
        range.map(|n| [n; 32]).collect()
    }

    fn signers(voters: usize, indices: &[usize]) -> Signers {
        let mut signers = Signers::none(voters);
        indices.iter().for_each(|index| signers.insert(*index));
        signers
    }

    #[test]
    fn more_than_two_thirds_are_enough() {
        for (len, enough) in [(1u8, 1), (2, 2), (3, 3), (4, 3), (6, 5), (7, 5), (100, 67)] {
            let electorate = Electorate::new(&keys(0..len), None);
            let first = |count: usize| signers(len.into(), &(0..count).collect::<Vec<_>>());
            assert!(electorate.has_quorum(&first(enough)), "{enough} of {len}");
            assert!(!electorate.has_quorum(&first(enough - 1)), "of {len}");
        }
    }

    #[test]
    fn both_committees_must_agree() {
        let electorate = Electorate::new(&keys(0..4), Some(&keys(3..7)));
        assert_eq!(electorate.voters(), keys(0..7));
        assert!(!electorate.has_quorum(&signers(7, &[0, 1, 2, 3])));
        assert!(!electorate.has_quorum(&signers(7, &[3, 4, 5, 6])));
        assert!(electorate.has_quorum(&signers(7, &[0, 1, 3, 4, 5])));
    }

    #[test]
    fn signers_have_one_form() {
        let electorate = Electorate::new(&keys(0..9), None);
        assert!(electorate.is_canonical(&signers(9, &[8])));
        assert!(!electorate.is_canonical(&signers(9, &[])), "none");
        assert!(!electorate.is_canonical(&signers(8, &[1])), "too short");
        assert!(!electorate.is_canonical(&signers(17, &[1])), "too long");
        assert!(!electorate.is_canonical(&signers(9, &[9])), "padding");
        assert_eq!(
            signers(9, &[8, 2]).indices().collect::<Vec<_>>(),
            vec![2, 8]
        );
    }

    #[test]
    fn validators_are_some_and_different() {
        assert!(are_good(&keys(0..1)) && are_good(&keys(0..100)));
        assert!(!are_good(&[]) && !are_good(&keys(0..101)));
        assert!(!are_good(&[[1; 32], [2; 32], [1; 32]]));
    }
}
