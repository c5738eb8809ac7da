use super::*;
use crate::{Checkpoint, Link};
use std::vec;

fn at(height: u64) -> Checkpoint {
    Checkpoint {
        height,
        hash: [height as u8; 32],
    }
}

fn link(source: u64, target: u64) -> Link {
    Link {
        source: at(source),
        target: at(target),
    }
}

fn votes(link: Link, signers: &[usize]) -> Aggregate {
    let mut set = Signers::none(7);
    signers.iter().for_each(|index| set.insert(*index));
    Aggregate {
        epoch: 0,
        link,
        signers: set,
    }
}

fn electorate() -> Electorate {
    let keys: Vec<[u8; 32]> = (0..7).map(|n| [n; 32]).collect();
    Electorate::new(&keys, None)
}

/// The state of block 5: the blocks 1 to 4 are known.
fn finality() -> Finality {
    let mut finality = Finality::first([0; 32]);
    (1..5).for_each(|height| finality.advance([height; 32]));
    finality
}

/// The slot after a plan was carried out.
fn carried_out(items: &[Pooled], plan: &Plan) -> Vec<Pooled> {
    let kept = items.iter().zip(&plan.keep).filter(|(_, keep)| **keep);
    let kept = kept.map(|(item, _)| item.clone());
    kept.chain(plan.emit.iter().map(|renewed| renewed.item.clone()))
        .collect()
}

fn merged(items: &[Pooled], arriving: &Aggregate) -> (Vec<Pooled>, Plan) {
    let plan = Plan::merge(items, arriving, &finality(), &electorate()).unwrap();
    // Attestations are as many as signers, each from where its signer's is.
    for renewed in &plan.emit {
        let signers: Vec<usize> = renewed.item.aggregate.signers.indices().collect();
        let picked = renewed.picks.iter().map(|(item, attestation)| {
            let from = match *item {
                ARRIVING_ITEM => arriving,
                item => &items[item as usize].aggregate,
            };
            assert_eq!(from.link, renewed.item.aggregate.link);
            let mut signers = from.signers.indices();
            signers.nth(*attestation as usize).unwrap()
        });
        assert_eq!(picked.collect::<Vec<_>>(), signers);
    }
    (carried_out(items, &plan), plan)
}

#[test]
fn votes_for_one_link_become_one_item_which_is_ready_with_a_quorum() {
    let mut items = Vec::new();
    for signers in [&[3usize][..], &[1, 3], &[6], &[0, 1]] {
        (items, _) = merged(&items, &votes(link(0, 3), signers));
        assert_eq!(items.len(), 1);
        assert!(!items[0].is_ready);
    }
    let before = items.clone();
    let (same, plan) = merged(&items, &votes(link(0, 3), &[1, 6]));
    assert_eq!((same, plan.emit), (before, vec![]), "nothing new");
    (items, _) = merged(&items, &votes(link(0, 3), &[2]));
    let ready = Pooled {
        aggregate: votes(link(0, 3), &[0, 1, 2, 3, 6]),
        is_ready: true,
    };
    assert_eq!(items, [ready]);
}

#[test]
fn the_highest_target_waits_alone() {
    let quorum = &[0, 1, 2, 3, 4];
    let (items, _) = merged(&[], &votes(link(0, 2), quorum));
    let (items, _) = merged(&items, &votes(link(0, 1), &[5]));
    assert_eq!(items.len(), 1, "a lower target is of no use");
    let (items, _) = merged(&items, &votes(link(0, 4), &[5]));
    assert_eq!(items.len(), 2);
    let (items, _) = merged(&items, &votes(link(0, 3), quorum));
    let targets = |items: &[Pooled]| -> Vec<(u64, bool)> {
        let described = items.iter();
        described
            .map(|item| (item.aggregate.link.target.height, item.is_ready))
            .collect()
    };
    assert_eq!(targets(&items), [(4, false), (3, true)]);
    // A block with that aggregate makes it stale; a newer one stays.
    let mut next = finality();
    next.advance([5; 32]);
    next.count(&votes(link(0, 3), quorum), &electorate())
        .unwrap();
    let plan = Plan::renew(&items, &next, &electorate());
    assert_eq!(targets(&carried_out(&items, &plan)), [(4, false)]);
}

#[test]
fn early_votes_wait_until_their_target_is_known() {
    let early = votes(link(4, 5), &[0, 1, 2, 3, 4]);
    judge(&early, &finality(), &electorate()).unwrap();
    let (items, _) = merged(&[], &early);
    assert!(!items[0].is_ready);
    let mut next = finality();
    next.advance([5; 32]);
    let plan = Plan::renew(&items, &next, &electorate());
    assert_eq!(plan.keep, [false], "its source is not justified here");
    next.count(&votes(link(0, 4), &[0, 1, 2, 3, 4]), &electorate())
        .unwrap();
    let plan = Plan::renew(&items, &next, &electorate());
    assert_eq!(plan.emit[0].picks, [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4)]);
    assert!(plan.emit[0].item.is_ready);
}

#[test]
fn a_second_vote_for_a_height_is_left_out() {
    let mut other = link(0, 5);
    other.target.hash = [99; 32];
    let (items, _) = merged(&[], &votes(link(0, 5), &[0, 1]));
    let (items, _) = merged(&items, &votes(other, &[1, 2]));
    assert_eq!(items[1].aggregate.signers, votes(other, &[2]).signers);
    let (_, plan) = merged(&items, &votes(other, &[0, 1]));
    assert_eq!((plan.keep, plan.emit), (vec![true, true], vec![]));
}

#[test]
fn links_are_limited_and_those_with_many_votes_stay() {
    let mut items = Vec::new();
    (items, _) = merged(&items, &votes(link(0, 4), &[0, 1]));
    for n in 0..2 * LINKS_MAX {
        let mut flood = link(0, 5 + n as u64 % 5);
        flood.target.hash = [100 + n as u8; 32];
        (items, _) = merged(&items, &votes(flood, &[2 + n / 5 % 5]));
    }
    assert_eq!(items.len(), LINKS_MAX);
    assert!(items.iter().any(|item| item.aggregate.link == link(0, 4)));
}

#[test]
fn an_item_given_back_by_a_block_adds_nothing() {
    let ready = |signers| Pooled {
        aggregate: votes(link(0, 3), signers),
        is_ready: true,
    };
    let items = [ready(&[0, 1, 2, 3, 4]), ready(&[0, 1, 2, 3, 4, 5])];
    let plan = Plan::renew(&items, &finality(), &electorate());
    assert_eq!((plan.keep, plan.emit), (vec![false, true], vec![]));
}

#[test]
fn what_is_malformed_is_the_senders_fault() {
    let (finality, electorate) = (finality(), electorate());
    let judged = |aggregate: &Aggregate| judge(aggregate, &finality, &electorate);
    assert_eq!(judged(&votes(link(0, 4), &[6])), Ok(()));
    assert_eq!(judged(&votes(link(0, 4), &[])), Err(Error::BadSigners));
    assert_eq!(judged(&votes(link(0, 4), &[7])), Err(Error::BadSigners));
    assert_eq!(judged(&votes(link(4, 4), &[6])), Err(Error::BadLink));
    let mut other = votes(link(0, 4), &[6]);
    other.epoch = 1;
    assert_eq!(judged(&other), Err(Error::WrongEpoch));
    // Whoever is on another fork, ahead or late may send these.
    assert_eq!(judged(&votes(link(1, 4), &[6])), Ok(()));
    assert_eq!(judged(&votes(link(0, 99), &[6])), Ok(()));
}

#[test]
fn what_is_of_no_use_here_is_not_kept() {
    let electorate = electorate();
    let merge = |finality: &Finality, aggregate: &Aggregate| {
        Plan::merge(&[], aggregate, finality, &electorate).map(|plan| plan.emit.len())
    };
    let mut finality = finality();
    assert_eq!(merge(&finality, &votes(link(0, 4), &[6])), Ok(1));
    let unjustified = merge(&finality, &votes(link(1, 4), &[6]));
    assert_eq!(unjustified, Err(Error::UnjustifiedSource));
    let unknown = merge(&finality, &votes(link(0, 10), &[6]));
    assert_eq!(unknown, Err(Error::UnknownTarget));
    finality
        .count(&votes(link(0, 4), &[0, 1, 2, 3, 4]), &electorate)
        .unwrap();
    assert_eq!(
        merge(&finality, &votes(link(0, 4), &[6])),
        Err(Error::Stale)
    );
}
