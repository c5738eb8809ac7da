//! How votes merge off-chain: what becomes of the items of a Dispatch slot.

use alloc::vec::Vec;

use jar_guest::aggregate::ARRIVING_ITEM;

use crate::{Aggregate, Electorate, Error, Finality, Link, Signers};

/// Most links that votes are collected for at a time; more are a validator's mischief.
pub const LINKS_MAX: usize = 16;

/// An item of the slot: the votes for one link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pooled {
    /// The votes.
    pub aggregate: Aggregate,
    /// Whether it waits for a block, being enough, or still for more votes.
    pub is_ready: bool,
}

/// An item that is to be appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// The item.
    pub item: Pooled,
    /// Where its attestations come from, in order: (item, attestation).
    pub picks: Vec<(u32, u32)>,
}

/// What becomes of the slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// For each item, whether it stays as it is.
    pub keep: Vec<bool>,
    /// Items to be appended.
    pub emit: Vec<Renewed>,
}

/// Votes for one link with what they are made of.
struct Candidate {
    aggregate: Aggregate,
    picks: Vec<(u32, u32)>,
    /// The item that it is, if nothing was added.
    item: Option<usize>,
}

/// Whether votes are well-formed: what is wrong with others is their sender's fault, wherever
/// it and this node stand on the chain.
///
/// # Errors
///
/// Why they are not.
pub(crate) fn judge(
    arriving: &Aggregate,
    finality: &Finality,
    electorate: &Electorate,
) -> Result<(), Error> {
    if arriving.epoch != finality.epoch() {
        return Err(Error::WrongEpoch);
    }
    if !electorate.is_canonical(&arriving.signers) {
        return Err(Error::BadSigners);
    }
    if arriving.link.source.height >= arriving.link.target.height {
        return Err(Error::BadLink);
    }
    Ok(())
}

impl Plan {
    /// Adds well-formed votes that arrived to the items.
    ///
    /// # Errors
    ///
    /// Why they are of no use on this chain: late, or of another fork.
    pub fn merge(
        items: &[Pooled],
        arriving: &Aggregate,
        finality: &Finality,
        electorate: &Electorate,
    ) -> Result<Plan, Error> {
        useful(arriving, finality)?;
        let mut candidates = as_they_are(items);
        add(&mut candidates, arriving);
        Ok(settle(items, candidates, finality, electorate))
    }

    /// Sorts the items out after the chain went on.
    pub fn renew(items: &[Pooled], finality: &Finality, electorate: &Electorate) -> Plan {
        let mut candidates = as_they_are(items);
        candidates.retain(|candidate| useful(&candidate.aggregate, finality).is_ok());
        settle(items, candidates, finality, electorate)
    }
}

/// Whether votes count on this chain, or on a block soon to come.
fn useful(aggregate: &Aggregate, finality: &Finality) -> Result<(), Error> {
    if aggregate.epoch != finality.epoch() {
        return Err(Error::WrongEpoch);
    }
    match finality.check(&aggregate.link) {
        Err(_) if finality.is_early(&aggregate.link) => Ok(()),
        other => other,
    }
}

fn as_they_are(items: &[Pooled]) -> Vec<Candidate> {
    let candidate = |(index, pooled): (usize, &Pooled)| Candidate {
        aggregate: pooled.aggregate.clone(),
        picks: (0..pooled.aggregate.signers.count())
            .map(|attestation| (index as u32, attestation))
            .collect(),
        item: Some(index),
    };
    items.iter().enumerate().map(candidate).collect()
}

/// Adds votes to those for the same link. A voter's second vote for a height is left out.
fn add(candidates: &mut Vec<Candidate>, arriving: &Aggregate) {
    let voted_otherwise = |voter: usize| {
        candidates.iter().any(|candidate| {
            let other = &candidate.aggregate;
            other.link != arriving.link
                && other.link.target.height == arriving.link.target.height
                && other.signers.contains(voter)
        })
    };
    let arrived: Vec<(usize, u32)> = (arriving.signers.indices().zip(0..))
        .filter(|(voter, _)| !voted_otherwise(*voter))
        .collect();
    let same = candidates
        .iter_mut()
        .find(|candidate| candidate.aggregate.link == arriving.link);
    match same {
        Some(same) => {
            for (voter, attestation) in arrived {
                if !same.aggregate.signers.contains(voter) {
                    let before = same.aggregate.signers.indices();
                    let place = before.take_while(|index| *index < voter).count();
                    same.picks.insert(place, (ARRIVING_ITEM, attestation));
                    same.aggregate.signers.insert(voter);
                    same.item = None;
                }
            }
        }
        None if arrived.is_empty() => {}
        None => {
            let mut aggregate = arriving.clone();
            aggregate.signers = Signers::none(8 * arriving.signers.encoded_bytes());
            for (voter, _) in &arrived {
                aggregate.signers.insert(*voter);
            }
            candidates.push(Candidate {
                aggregate,
                picks: arrived.iter().map(|(_, a)| (ARRIVING_ITEM, *a)).collect(),
                item: None,
            });
        }
    }
}

/// Of several items for one link, as a block that was left behind may give one back, the one
/// with the most votes stays.
fn keep_the_larger(candidates: &mut Vec<Candidate>) {
    candidates.sort_by_key(|candidate| core::cmp::Reverse(candidate.aggregate.signers.count()));
    let mut links: Vec<Link> = Vec::with_capacity(candidates.len());
    candidates.retain(|candidate| {
        let link = candidate.aggregate.link;
        let is_first = !links.contains(&link);
        links.push(link);
        is_first
    });
}

/// One link that counts waits for a block, the one with the highest target; links with lower
/// ones are of no use beside it. Of too many, those with the fewest votes go first.
fn settle(
    items: &[Pooled],
    mut candidates: Vec<Candidate>,
    finality: &Finality,
    electorate: &Electorate,
) -> Plan {
    let counts = |aggregate: &Aggregate| {
        electorate.has_quorum(&aggregate.signers) && finality.check(&aggregate.link).is_ok()
    };
    let order = |aggregate: &Aggregate| {
        let link = &aggregate.link;
        (link.target.height, link.source.height)
    };
    let counting = candidates.iter().filter(|c| counts(&c.aggregate));
    let best = counting
        .max_by_key(|candidate| order(&candidate.aggregate))
        .map(|candidate| candidate.aggregate.link);
    if let Some(best) = best {
        candidates.retain(|candidate| {
            let link = &candidate.aggregate.link;
            *link == best || link.target.height > best.target.height
        });
    }
    keep_the_larger(&mut candidates);
    while candidates.len() > LINKS_MAX {
        let rivals = candidates.iter().enumerate();
        let least = rivals
            .filter(|(_, candidate)| Some(candidate.aggregate.link) != best)
            .min_by_key(|(_, c)| (c.aggregate.signers.count(), order(&c.aggregate)))
            .map(|(index, _)| index);
        candidates.remove(least.unwrap_or_default());
    }
    let mut plan = Plan {
        keep: alloc::vec![false; items.len()],
        emit: Vec::new(),
    };
    for candidate in candidates {
        let is_ready = Some(candidate.aggregate.link) == best;
        match candidate.item {
            Some(item) if items[item].is_ready == is_ready => plan.keep[item] = true,
            _ => plan.emit.push(Renewed {
                item: Pooled {
                    aggregate: candidate.aggregate,
                    is_ready,
                },
                picks: candidate.picks,
            }),
        }
    }
    plan
}

#[cfg(test)]
#[path = "pool/tests.rs"]
mod tests;
