use super::*;
use crate::Signers;
use std::collections::VecDeque;
use std::println;
use std::vec;

fn hash(height: u64) -> Hash {
    let mut hash = [0xab; 32];
    hash[..8].copy_from_slice(&height.to_le_bytes());
    hash
}

fn at(height: u64) -> Checkpoint {
    Checkpoint {
        height,
        hash: hash(height),
    }
}

fn link(source: u64, target: u64) -> Link {
    Link {
        source: at(source),
        target: at(target),
    }
}

fn electorate() -> Electorate {
    Electorate::new(&[[1; 32], [2; 32], [3; 32], [4; 32]], None)
}

fn aggregate(epoch: u64, link: Link, signers: usize) -> Aggregate {
    let mut set = Signers::none(4);
    (0..signers).for_each(|index| set.insert(index));
    Aggregate {
        epoch,
        link,
        signers: set,
    }
}

/// The state of block `height` of a chain without votes.
fn silent(height: u64) -> Finality {
    let mut finality = Finality::first(hash(0));
    advance_to(&mut finality, height);
    finality
}

fn advance_to(finality: &mut Finality, height: u64) {
    while finality.height() < height {
        finality.advance(hash(finality.height()));
    }
}

/// Counts a link of three of four votes.
fn count(finality: &mut Finality, source: u64, target: u64) -> Result<Counted, Error> {
    let epoch = finality.epoch();
    finality.count(&aggregate(epoch, link(source, target), 3), &electorate())
}

#[test]
fn a_direct_link_from_a_justified_block_finalizes_it() {
    let mut finality = silent(3);
    assert_eq!(count(&mut finality, 0, 1), Ok(Counted::default()));
    assert_eq!(finality.justified(), at(1));
    finality.advance(hash(3));
    let counted = count(&mut finality, 1, 2).unwrap();
    assert_eq!(counted.finalized, Some(at(1)));
    assert_eq!((finality.finalized(), finality.justified()), (at(1), at(2)));
}

#[test]
fn a_justified_child_by_another_source_finalizes_nothing() {
    let mut finality = silent(6);
    count(&mut finality, 0, 1).unwrap();
    finality.advance(hash(6));
    assert_eq!(count(&mut finality, 0, 2), Ok(Counted::default()));
    finality.advance(hash(7));
    assert_eq!(count(&mut finality, 1, 3), Ok(Counted::default()));
    assert_eq!(finality.finalized(), at(0));
    // The link that was missing may still come.
    finality.advance(hash(8));
    assert_eq!(count(&mut finality, 1, 2).unwrap().finalized, Some(at(1)));
    assert_eq!(finality.justified(), at(3));
    // A block justified before the finalized one is still a source.
    finality.advance(hash(9));
    assert_eq!(count(&mut finality, 2, 3).unwrap().finalized, Some(at(2)));
}

#[test]
fn what_does_not_count_changes_nothing() {
    let mut finality = silent(5);
    count(&mut finality, 0, 2).unwrap();
    finality.advance(hash(5));
    let before = finality.clone();
    let mut other = link(2, 3);
    other.target.hash = [9; 32];
    let mut other_source = link(2, 3);
    other_source.source.hash = [9; 32];
    let table = [
        (aggregate(0, link(2, 2), 3), Error::BadLink),
        (aggregate(0, link(3, 2), 3), Error::BadLink),
        (aggregate(0, link(0, 0), 3), Error::BadLink),
        (aggregate(0, link(1, 3), 3), Error::UnjustifiedSource),
        (aggregate(0, other_source, 3), Error::UnjustifiedSource),
        (aggregate(0, link(2, 6), 3), Error::UnknownTarget),
        (aggregate(0, other, 3), Error::UnknownTarget),
        (aggregate(0, link(0, 2), 3), Error::Stale),
        (aggregate(0, link(2, 3), 2), Error::NoQuorum),
        (aggregate(1, link(2, 3), 3), Error::WrongEpoch),
    ];
    for (bad, error) in table {
        assert_eq!(finality.count(&bad, &electorate()), Err(error), "{bad:?}");
        assert_eq!(finality, before);
    }
    count(&mut finality, 2, 3).unwrap();
    let second = count(&mut finality, 3, 4);
    assert_eq!(second, Err(Error::SecondAggregate));
    finality.advance(hash(6));
    assert_eq!(count(&mut finality, 0, 2), Err(Error::Stale));
}

#[test]
fn memory_is_bounded_and_old_targets_are_forgotten() {
    let mut finality = silent(1000);
    assert_eq!(finality.recent.len(), RECENT_MAX);
    assert!(finality.encode().len() < RECENT_MAX * 33 + 200);
    let oldest = 1000 - RECENT_MAX as u64;
    assert_eq!(
        count(&mut finality, 0, oldest - 1),
        Err(Error::UnknownTarget)
    );
    // The justified block is remembered for as long as it takes, and found final then.
    count(&mut finality, 0, oldest).unwrap();
    advance_to(&mut finality, 2000);
    assert_eq!(
        count(&mut finality, oldest, oldest + 1),
        Err(Error::UnknownTarget)
    );
    count(&mut finality, oldest, 1998).unwrap();
    finality.advance(hash(2000));
    let counted = count(&mut finality, 1998, 1999).unwrap();
    assert_eq!(counted.finalized, Some(at(1998)));
    assert_eq!(finality.recent.len(), 2);
}

/// Lets all validators vote at each head, their aggregates being included `delay` blocks
/// later, for some blocks; answers the heights that became final.
fn run(finality: &mut Finality, delay: u64, blocks: u64) -> Vec<u64> {
    let mut in_flight: VecDeque<(u64, Aggregate)> = VecDeque::new();
    let mut last_target = 0;
    let mut finalized = Vec::new();
    for _ in 0..blocks {
        let height = finality.height();
        if let Some(vote) = finality.next_vote()
            && vote.target.height > last_target
        {
            last_target = vote.target.height;
            in_flight.push_back((height + delay, aggregate(finality.epoch(), vote, 4)));
        }
        finality.advance(hash(height));
        if let Some((at, _)) = in_flight.front()
            && *at <= finality.height()
            && let Some((_, vote)) = in_flight.pop_front()
        {
            let counted = finality.count(&vote, &electorate()).unwrap_or_default();
            finalized.extend(counted.finalized.map(|block| block.height));
        }
    }
    finalized
}

#[test]
fn with_votes_in_the_next_block_each_block_is_final_three_blocks_later() {
    let mut finality = silent(1);
    assert_eq!(run(&mut finality, 1, 50), (1..49).collect::<Vec<_>>());
    assert_eq!((finality.height(), finality.finalized().height), (51, 48));
}

#[test]
fn with_late_votes_finality_goes_on() {
    for delay in 2..=RETARGET_BLOCKS_MAX {
        let mut finality = silent(1);
        let finalized = run(&mut finality, delay, 10_000);
        let gaps = finalized.windows(2).map(|pair| pair[1] - pair[0]);
        let widest = gaps.max();
        println!(
            "delay {delay}: {} final, gaps up to {widest:?}",
            finalized.len()
        );
        let allowed = if delay <= RETARGET_BLOCKS {
            16
        } else {
            16 * delay
        };
        assert!(widest.is_some_and(|gap| gap <= allowed), "delay {delay}");
        assert!(finalized.is_sorted() && finalized.last() > Some(&9_000));
    }
}

#[test]
fn finality_resumes_after_a_long_silence() {
    let mut finality = silent(10_000);
    let finalized = run(&mut finality, 1, 12);
    assert!(
        finalized[0] > 10_000 - RETARGET_BLOCKS_MAX - 3,
        "{finalized:?}"
    );
}

#[test]
fn a_higher_justified_block_outweighs_length() {
    let mut short = silent(3);
    count(&mut short, 0, 1).unwrap();
    let long = silent(1_000_000);
    assert!(short.score() > long.score());
    assert!(silent(8).score() > silent(7).score());
    // The score rises with each block, whether something is justified or not.
    let mut finality = silent(1);
    let mut last = finality.score();
    for round in 0..100 {
        run(&mut finality, 1 + round % 3, 1);
        assert!(finality.score() > last);
        last = finality.score();
    }
}

#[test]
fn a_change_of_validators_takes_two_finalized_blocks() {
    let mut finality = silent(1);
    run(&mut finality, 1, 9);
    let proposed = finality.height();
    finality.propose().unwrap();
    assert_eq!(finality.propose(), Err(Error::ChangePending));
    let mut epochs = vec![];
    for _ in 0..40 {
        let before = finality.epoch();
        run_block(&mut finality);
        if finality.epoch() > before {
            assert!(finality.finalized().height >= proposed);
            epochs.push((finality.is_joint(), finality.height(), finality.epoch_start));
        }
    }
    let [(true, joint_at, joint_start), (false, new_at, new_start)] = epochs[..] else {
        panic!("{epochs:?}");
    };
    assert_eq!((joint_start, new_start), (joint_at + 1, new_at + 1));
    assert_eq!(joint_at, proposed + 3);
    assert!(new_at > joint_start);
    // The present electorate has no say on targets of the one before.
    let mut late = silent(1);
    late.epoch_start = 3;
    advance_to(&mut late, 6);
    assert_eq!(count(&mut late, 0, 2), Err(Error::WrongEpoch));
    assert!(count(&mut late, 0, 3).is_ok());
}

/// A block that carries the votes of its parent.
fn run_block(finality: &mut Finality) {
    let vote = finality.next_vote();
    finality.advance(hash(finality.height()));
    if let Some(vote) = vote {
        let _ = count(finality, vote.source.height, vote.target.height);
    }
}

#[test]
fn early_links_are_those_of_the_next_blocks() {
    let finality = silent(10);
    assert!(!finality.is_early(&link(0, 9)), "known");
    assert!(finality.is_early(&link(8, 10)));
    assert!(finality.is_early(&link(8, 14)));
    assert!(!finality.is_early(&link(8, 15)));
    assert!(!finality.is_early(&link(10, 10)));
    assert!(!finality.is_early(&link(0, u64::MAX)));
}
