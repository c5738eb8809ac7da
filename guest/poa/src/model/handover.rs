//! Every course that voting can take while the validators change: an old set and a new one,
//! and a fork just where the decision becomes final on one of two branches.
//!
//! All validators are honest here. Sets of one are enough to see what goes wrong without a
//! joint epoch: each is a quorum of its own.

use alloc::vec::Vec;
use std::collections::HashSet;

use jar_kernel::Watermark;

use super::request;
use crate::{Aggregate, Checkpoint, Electorate, Finality, Link, Signers};

/// Height of the last common block. It counted the link from genesis to the block that decided
/// on the change.
const FORK: u64 = 3;
const OLD: [u8; 32] = [1; 32];
const NEW: [u8; 32] = [2; 32];

/// Who votes after the decision is final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handover {
    /// Both sets, then the new one.
    Joint,
    /// The new one at once.
    Immediate,
}

/// A branch: its state, and who votes by it.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Branch {
    finality: Finality,
    is_adopted: bool,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Standing {
    branches: [Branch; 2],
    /// What the old and the new validator voted for, in order.
    votes: [Vec<Link>; 2],
}

fn block(side: u8, height: u64) -> Checkpoint {
    let fork = if height > FORK { 1 + side } else { 0 };
    let mut hash = [fork; 32];
    hash[0] = height as u8;
    Checkpoint { height, hash }
}

impl Branch {
    fn voters(&self, handover: Handover) -> (&'static [[u8; 32]], Option<&'static [[u8; 32]]>) {
        match (self.is_adopted, self.finality.is_joint(), handover) {
            (false, false, _) => (&[OLD], None),
            (false, true, Handover::Joint) => (&[OLD], Some(&[NEW])),
            _ => (&[NEW], None),
        }
    }

    fn electorate(&self, handover: Handover) -> Electorate {
        let (present, next) = self.voters(handover);
        Electorate::new(present, next)
    }

    /// Links from the highest justified block to those that the branch knows.
    fn links(&self, side: u8) -> Vec<Link> {
        let source = self.finality.justified();
        let links = (0..self.finality.height()).map(|target| Link {
            source,
            target: block(side, target),
        });
        links
            .filter(|link| self.finality.check(link).is_ok())
            .collect()
    }

    /// The branch after a block that counts a link, or none.
    fn next(&self, side: u8, votes: Option<(Link, Signers)>, handover: Handover) -> Branch {
        let mut next = self.clone();
        next.finality
            .advance(block(side, self.finality.height()).hash);
        if let Some((link, signers)) = votes {
            let aggregate = Aggregate {
                epoch: next.finality.epoch(),
                link,
                signers,
            };
            let electorate = next.electorate(handover);
            if let Ok(counted) = next.finality.count(&aggregate, &electorate) {
                next.is_adopted |= counted.adopted;
            }
        }
        next
    }
}

fn start() -> Standing {
    let link = Link {
        source: block(0, 0),
        target: block(0, 1),
    };
    let mut signers = Signers::none(1);
    signers.insert(0);
    let mut finality = Finality::first(block(0, 0).hash);
    finality.propose().unwrap();
    (1..FORK).for_each(|height| finality.advance(block(0, height).hash));
    let aggregate = Aggregate {
        epoch: 0,
        link,
        signers,
    };
    let old = Electorate::new(&[OLD], None);
    finality.count(&aggregate, &old).unwrap();
    let common = Branch {
        finality,
        is_adopted: false,
    };
    Standing {
        branches: [common.clone(), common],
        votes: [alloc::vec![link], Vec::new()],
    }
}

/// Everything that one vote or one block may lead to.
fn successors(standing: &Standing, ends: [u64; 2], handover: Handover) -> Vec<Standing> {
    let mut found = Vec::new();
    for side in 0..2u8 {
        let branch = &standing.branches[usize::from(side)];
        let electorate = branch.electorate(handover);
        let index = |voter: usize| {
            let key = [OLD, NEW][voter];
            electorate.voters().iter().position(|known| *known == key)
        };
        let links = branch.links(side);
        for link in &links {
            for voter in (0..2).filter(|voter| index(*voter).is_some()) {
                let cast = standing.votes[voter].iter();
                let mark = cast.fold(Watermark::default(), |mark, link| {
                    mark.raised(&request(link))
                });
                if mark.allows(&request(link)) {
                    let mut next = standing.clone();
                    next.votes[voter].push(*link);
                    found.push(next);
                }
            }
        }
        if branch.finality.height() >= ends[usize::from(side)] {
            continue;
        }
        let counted = links.iter().filter_map(|link| {
            let mut signers = Signers::none(electorate.voters().len());
            let voted = (0..2).filter(|voter| standing.votes[*voter].contains(link));
            voted
                .filter_map(index)
                .for_each(|index| signers.insert(index));
            electorate
                .has_quorum(&signers)
                .then_some(Some((*link, signers)))
        });
        for votes in core::iter::once(None).chain(counted) {
            let mut next = standing.clone();
            next.branches[usize::from(side)] = branch.next(side, votes, handover);
            found.push(next);
        }
    }
    found
}

/// Whether a conflict is reached; how many standings were seen.
fn explore(ends: [u64; 2], handover: Handover) -> (bool, usize) {
    let start = start();
    let mut seen = HashSet::from([start.clone()]);
    let mut open = alloc::vec![start];
    while let Some(standing) = open.pop() {
        let is_forked = |branch: &Branch| branch.finality.finalized().height > FORK;
        if standing.branches.iter().all(is_forked) {
            return (true, seen.len());
        }
        for next in successors(&standing, ends, handover) {
            if seen.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    (false, seen.len())
}

#[test]
fn without_a_joint_epoch_two_sets_finalize_a_fork() {
    let (conflict, standings) = explore([8, 7], Handover::Immediate);
    std::println!("{standings} standings");
    assert!(conflict);
}

#[test]
fn with_a_joint_epoch_they_do_not() {
    let (conflict, standings) = explore([8, 7], Handover::Joint);
    std::println!("{standings} standings");
    assert!(!conflict && standings > 1000);
}
