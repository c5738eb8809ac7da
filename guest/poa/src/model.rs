//! Every course that voting can take in small worlds: a few validators, some of them
//! byzantine, two branches of a few blocks.
//!
//! Honest validators may vote for anything that counts on some branch and that their
//! watermark allows, in any order; what their clients do beyond that is for progress, not for
//! safety. Byzantine ones have voted for everything. Votes enter a branch at any time, or
//! never. The rules are those of [`Finality`] and [`Watermark`], nothing is modelled twice.

mod handover;

use alloc::vec::Vec;
use std::collections::{BTreeSet, HashSet};

use jar_kernel::block::Scope as KernelScope;
use jar_kernel::{SignRequest, Watermark};

use crate::finality::Rule;
use crate::{Checkpoint, Electorate, Finality, Link, Signers, offence};

/// Two branches that fork above a block.
#[derive(Clone, Copy, Debug)]
struct World {
    /// Validators with the last indices are byzantine.
    validators: usize,
    byzantine: usize,
    /// Height of the last common block.
    fork: u64,
    /// Heights of the branches' ends, beside blocks that only carry votes.
    ends: [u64; 2],
    rule: Rule,
    guard: Guard,
}

/// What keeps an honest validator from voting.
#[derive(Clone, Copy, Debug)]
enum Guard {
    /// The node's watermark.
    Watermark,
    /// A source may fall.
    AnySource,
    /// A target may be voted for again.
    SameTarget,
}

/// How the world stands.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Standing {
    /// For each honest validator, the links it voted for, a bit each. Sorted: validators of
    /// the same history are the same.
    votes: Vec<u64>,
    /// For each branch, the links that were counted, a bit each, in `finality` as well.
    counted: [u64; 2],
    /// For each branch, the last finalized height: it depends on the order of counting.
    finalized: [u64; 2],
}

/// What was found.
#[derive(Debug, Default)]
struct Found {
    standings: usize,
    /// Pairs of conflicting finalized blocks that were reached.
    conflicts: usize,
}

/// Everything that does not change.
struct Explorer {
    world: World,
    /// Links with the branches on which both ends lie.
    links: Vec<(Link, [bool; 2])>,
    electorate: Electorate,
}

fn block(world: &World, branch: u8, height: u64) -> Checkpoint {
    let side = if height > world.fork { 1 + branch } else { 0 };
    let mut hash = [side; 32];
    hash[0] = height as u8;
    Checkpoint { height, hash }
}

/// A branch whose blocks are all there and carry no votes yet.
fn branch(world: &World, branch: u8) -> Finality {
    let mut finality = Finality::first(block(world, branch, 0).hash);
    for height in 1..=world.ends[usize::from(branch)] {
        finality.advance(block(world, branch, height).hash);
    }
    finality
}

fn links(world: &World) -> Vec<(Link, [bool; 2])> {
    let mut links: Vec<(Link, [bool; 2])> = Vec::new();
    for side in 0..2u8 {
        for target in 1..=world.ends[usize::from(side)] {
            for source in 0..target {
                let link = Link {
                    source: block(world, side, source),
                    target: block(world, side, target),
                };
                match links.iter_mut().find(|(known, _)| *known == link) {
                    Some((_, on)) => on[usize::from(side)] = true,
                    None => links.push((link, [side == 0, side == 1])),
                }
            }
        }
    }
    links
}

fn request(link: &Link) -> SignRequest {
    SignRequest {
        key: [0; 32],
        scope: KernelScope::Vote {
            source: link.source.height,
            target: link.target.height,
        },
        slot: 0,
    }
}

impl Guard {
    /// Whether a validator that cast some votes may cast another one.
    fn allows(self, cast: impl Iterator<Item = Link>, link: &Link) -> bool {
        let mark = cast.fold(Watermark::default(), |mark, link| {
            mark.raised(&request(&link))
        });
        let weaker = mark.vote.map(|(source, target)| match self {
            Guard::Watermark => (source, target),
            Guard::AnySource => (0, target),
            Guard::SameTarget => (source, target.saturating_sub(1)),
        });
        let mark = Watermark {
            vote: weaker,
            ..mark
        };
        mark.allows(&request(link))
    }
}

impl Explorer {
    fn new(world: World) -> Explorer {
        let keys: Vec<[u8; 32]> = (0..world.validators).map(|n| [n as u8; 32]).collect();
        let links = links(&world);
        assert!(links.len() <= 64);
        Explorer {
            electorate: Electorate::new(&keys, None),
            links,
            world,
        }
    }

    fn honest(&self) -> usize {
        self.world.validators - self.world.byzantine
    }

    fn signers(&self, votes: &[u64], link: usize) -> Signers {
        let mut signers = Signers::none(self.world.validators);
        let voted = votes.iter().enumerate();
        voted
            .filter(|(_, mask)| *mask >> link & 1 == 1)
            .for_each(|(voter, _)| signers.insert(voter));
        (self.honest()..self.world.validators).for_each(|voter| signers.insert(voter));
        signers
    }

    /// Visits every standing that can be reached; stops at the first conflict unless all are
    /// wanted.
    fn explore(&self, all_conflicts: bool) -> Found {
        let start = Standing {
            votes: alloc::vec![0; self.honest()],
            counted: [0; 2],
            finalized: [0; 2],
        };
        let branches = [branch(&self.world, 0), branch(&self.world, 1)];
        let mut seen = HashSet::from([start.clone()]);
        let mut open = alloc::vec![(start, branches)];
        let mut found = Found::default();
        while let Some((standing, branches)) = open.pop() {
            found.standings += 1;
            if branches
                .iter()
                .all(|finality| finality.finalized().height > self.world.fork)
            {
                found.conflicts += 1;
                self.assert_guilt(&standing);
                if !all_conflicts {
                    return found;
                }
                continue;
            }
            self.votes(&standing, &branches, &mut |next| {
                if seen.insert(next.clone()) {
                    open.push((next, branches.clone()));
                }
            });
            self.counts(&standing, &branches, &mut |next, branches| {
                if seen.insert(next.clone()) {
                    open.push((next, branches));
                }
            });
        }
        found
    }

    /// One honest validator votes.
    fn votes(&self, standing: &Standing, branches: &[Finality; 2], next: &mut dyn FnMut(Standing)) {
        for (index, (link, on)) in self.links.iter().enumerate() {
            let counts = |(finality, on): (&Finality, &bool)| *on && finality.check(link).is_ok();
            if !branches.iter().zip(on).any(counts) {
                continue;
            }
            for voter in 0..standing.votes.len() {
                let mask = standing.votes[voter];
                let cast = (0..self.links.len()).filter(|cast| mask >> cast & 1 == 1);
                let cast = cast.map(|cast| self.links[cast].0);
                let is_repeated = mask >> index & 1 == 1 || standing.votes[..voter].contains(&mask);
                if is_repeated || !self.world.guard.allows(cast, link) {
                    continue;
                }
                let mut standing = standing.clone();
                standing.votes[voter] |= 1 << index;
                standing.votes.sort_unstable();
                next(standing);
            }
        }
    }

    /// A branch counts the votes for a link.
    fn counts(
        &self,
        standing: &Standing,
        branches: &[Finality; 2],
        next: &mut dyn FnMut(Standing, [Finality; 2]),
    ) {
        for (index, (link, on)) in self.links.iter().enumerate() {
            let signers = self.signers(&standing.votes, index);
            if !self.electorate.has_quorum(&signers) {
                continue;
            }
            for side in (0..2).filter(|side| on[*side]) {
                if branches[side].check(link).is_err() {
                    continue;
                }
                let (mut standing, mut branches) = (standing.clone(), branches.clone());
                branches[side].apply(link, self.world.rule);
                standing.counted[side] |= 1 << index;
                standing.finalized[side] = branches[side].finalized().height;
                next(standing, branches);
            }
        }
    }

    /// The votes that the two branches counted prove a third guilty, and no honest validator.
    fn assert_guilt(&self, standing: &Standing) {
        let counted = standing.counted[0] | standing.counted[1];
        let counted = (0..self.links.len()).filter(|link| counted >> link & 1 == 1);
        let evidence: Vec<(Link, Signers)> = counted
            .map(|link| (self.links[link].0, self.signers(&standing.votes, link)))
            .collect();
        let mut guilty = BTreeSet::new();
        for (a, signers) in &evidence {
            for (b, others) in &evidence {
                let both = signers.indices().filter(|voter| others.contains(*voter));
                guilty.extend(both.filter(|_| offence(a, b).is_some()));
            }
        }
        if self.world.rule != Rule::DirectLink {
            // Nobody did anything wrong but the rule.
            return;
        }
        assert!(3 * guilty.len() >= self.world.validators, "{guilty:?}");
        if matches!(self.world.guard, Guard::Watermark) {
            assert!(guilty.iter().all(|voter| *voter >= self.honest()));
        }
    }
}

const SMALL: World = World {
    validators: 4,
    byzantine: 1,
    fork: 0,
    ends: [2, 3],
    rule: Rule::DirectLink,
    guard: Guard::Watermark,
};

fn explore(world: World) -> Found {
    let found = Explorer::new(world).explore(world.byzantine * 3 > world.validators);
    std::println!("{world:?}: {found:?}");
    found
}

fn assert_safe(world: World) {
    assert_eq!(explore(world).conflicts, 0, "{world:?}");
}

fn assert_unsafe(world: World) {
    assert!(explore(world).conflicts > 0, "{world:?}");
}

#[test]
fn no_two_conflicting_blocks_become_final() {
    for (validators, fork, ends) in [
        (4, 0, [2, 3]),
        (4, 0, [3, 2]),
        (4, 0, [3, 3]),
        (4, 1, [3, 3]),
        (3, 0, [2, 4]),
        (3, 0, [3, 3]),
    ] {
        assert_safe(World {
            validators,
            fork,
            ends,
            ..SMALL
        });
    }
}

#[test]
fn a_justified_child_is_not_enough() {
    let world = World {
        ends: [2, 4],
        ..SMALL
    };
    assert_unsafe(World {
        rule: Rule::JustifiedChild,
        ..world
    });
}

#[test]
fn both_halves_of_the_watermark_are_needed() {
    assert_unsafe(World {
        guard: Guard::SameTarget,
        ..SMALL
    });
    assert_unsafe(World {
        guard: Guard::AnySource,
        ends: [2, 4],
        ..SMALL
    });
}

#[test]
fn conflicts_prove_a_third_guilty() {
    for ends in [[2, 2], [2, 3], [3, 2]] {
        assert_unsafe(World {
            byzantine: 2,
            ends,
            ..SMALL
        });
    }
}

/// Minutes: `cargo test --release -p jar-poa -- --ignored --nocapture`.
#[test]
#[ignore = "takes minutes"]
fn no_two_conflicting_blocks_become_final_in_larger_worlds() {
    for (validators, fork, ends) in [
        (4, 0, [2, 4]),
        (4, 0, [3, 4]),
        (4, 1, [4, 3]),
        (3, 0, [4, 4]),
    ] {
        assert_safe(World {
            validators,
            fork,
            ends,
            ..SMALL
        });
    }
}
