//! The chain on the host, as its author tests it.

use std::vec::Vec;

use jar_guest::codec::{Decode, Encode};
use jar_guest::{BlockInfo, Scope, host};
use jar_tally_api::{Config, Error, Poll, PublicKey, Vote, Votes, signed_blob};

use crate::tally::endpoints;

const ALICE: PublicKey = [1; 32];
const BOB: PublicKey = [2; 32];
const CAROL: PublicKey = [3; 32];
const VOTERS: [PublicKey; 3] = [ALICE, BOB, CAROL];
/// Index of `vote_in`'s Transact endpoint, and its own.
const COUNT: u8 = 2;
const VOTE_IN: u8 = 3;

type Entry = extern "C-unwind" fn(u64, u64, u64, u64) -> u64;

fn at(height: u64) {
    let block = BlockInfo {
        genesis: [0; 32],
        parent: [0; 32],
        height,
        slot: height,
        time_ms: 0,
    };
    host::with(|world| world.block = Some(block));
}

fn call<T: Decode>(endpoint: Entry, payload: impl Encode) -> Result<T, Option<Error>> {
    host::with(|world| world.set_payload(&payload.encode()));
    match endpoint(0, 0, 0, 0) {
        0 => {
            let result: Option<Vec<u8>> = host::with(|world| world.take_result());
            Ok(T::decode(&mut &result.expect("a result")[..]).expect("of its type"))
        }
        code => Err(Error::from_code(code)),
    }
}

/// Polls of eight blocks, with three choices.
fn start() {
    host::reset();
    at(0);
    let config = Config {
        voters: VOTERS.into(),
        choices: 3,
        blocks: 8,
    };
    host::with(|world| world.set_payload(&config.encode()));
    assert_eq!(endpoints::init(0, 0, 0, 0), 0);
}

fn votes(poll: u64, votes: &[(u16, u8)]) -> Votes {
    let votes = votes
        .iter()
        .map(|&(voter, choice)| Vote { voter, choice })
        .collect();
    Votes { poll, votes }
}

fn sign(votes: &Votes) {
    for vote in &votes.votes {
        let blob = signed_blob(votes.poll, vote.choice);
        let entry = (VOTERS[usize::from(vote.voter)], Scope::Direct, blob);
        host::with(|world| world.attestations.push(entry));
    }
}

/// Both phases of an arriving event.
fn arrive(votes: &Votes) -> u64 {
    sign(votes);
    for phase in [0, 1] {
        let items = host::with(|world| {
            world.set_payload(&votes.encode());
            world.emitted.len()
        });
        let code = endpoints::vote_in(phase, items as u64, 0, 0);
        if code != 0 {
            return code;
        }
    }
    0
}

fn head() {
    let items = host::with(|world| world.emitted.len());
    assert_eq!(endpoints::vote_in(2, items as u64, 0, 0), 0);
}

fn waiting() -> Vec<(u64, u8, Votes)> {
    let decoded = |item: &host::Emitted| {
        let votes = Votes::decode(&mut &item.payload[..]).expect("votes");
        (item.kind, item.endpoint, votes)
    };
    host::with(|world| world.emitted.iter().map(decoded).collect())
}

#[test]
fn votes_gather_and_go_into_a_block_when_the_poll_ends() {
    start();
    at(1);
    assert_eq!(arrive(&votes(0, &[(2, 1)])), 0);
    assert_eq!(arrive(&votes(0, &[(0, 2)])), 0);
    let both = votes(0, &[(0, 2), (2, 1)]);
    assert_eq!(waiting(), [(1, VOTE_IN, both.clone())]);
    let again = arrive(&votes(0, &[(0, 0)]));
    assert_eq!(Error::from_code(again), Some(Error::AlreadyPending));
    // Blocks 7 and 8 are the last quarter.
    at(5);
    head();
    assert_eq!(waiting(), [(1, VOTE_IN, both.clone())]);
    at(6);
    head();
    assert_eq!(waiting(), [(0, COUNT, both.clone())]);
    at(7);
    sign(&both);
    assert_eq!(call::<u32>(endpoints::count, &both), Ok(2));
    head();
    assert_eq!(waiting(), [], "they are counted");
}

#[test]
fn all_votes_need_not_wait() {
    start();
    at(1);
    let all = votes(0, &[(0, 2), (1, 0), (2, 1)]);
    assert_eq!(arrive(&all), 0);
    assert_eq!(waiting(), [(0, COUNT, all)]);
}

#[test]
fn a_vote_counts_once() {
    start();
    at(1);
    let first = votes(0, &[(0, 2), (1, 2)]);
    sign(&first);
    assert_eq!(call::<u32>(endpoints::count, &first), Ok(2));
    let more = votes(0, &[(0, 1), (2, 1)]);
    sign(&more);
    assert_eq!(call::<u32>(endpoints::count, &more), Ok(1));
    sign(&more);
    let again = call::<u32>(endpoints::count, &more);
    assert_eq!(again, Err(Some(Error::AlreadyCounted)));
    assert!(host::with(|world| world.attestations.is_empty()));
    let poll: Option<Poll> = call(endpoints::poll, 0u64).expect("a poll");
    assert_eq!(poll.expect("open").counts, [0, 1, 2]);
}

#[test]
fn polls_follow_one_another() {
    start();
    at(1);
    let first = votes(0, &[(1, 1)]);
    sign(&first);
    assert_eq!(call::<u32>(endpoints::count, &first), Ok(1));
    at(8);
    assert_eq!(call(endpoints::open, ()), Ok(1u64), "by the next block");
    at(9);
    assert_eq!(endpoints::begin(0, 0, 0, 0), 0);
    let counts = |number: u64| {
        let poll: Option<Poll> = call(endpoints::poll, number).expect("an answer");
        poll.map(|poll| poll.counts)
    };
    assert_eq!(counts(0), Some([0, 1, 0].into()));
    assert_eq!(counts(1), Some([0; 3].into()));
    assert_eq!(counts(2), None);
    // What waited for the old poll is of no use in the new one.
    let late = arrive(&first);
    assert_eq!(Error::from_code(late), Some(Error::WrongPoll));
    assert_eq!(arrive(&votes(1, &[(1, 0)])), 0);
    at(16);
    head();
    assert_eq!(waiting(), []);
}

#[test]
fn what_is_no_good_vote_is_refused() {
    start();
    at(1);
    let refused = |votes: &Votes| Error::from_code(arrive(votes)).expect("refused");
    assert_eq!(refused(&votes(0, &[])), Error::BadVotes);
    assert_eq!(refused(&votes(0, &[(1, 0), (0, 0)])), Error::BadVotes);
    assert_eq!(refused(&votes(0, &[(1, 0), (1, 0)])), Error::BadVotes);
    assert_eq!(refused(&votes(0, &[(1, 3)])), Error::BadVotes);
    assert_eq!(refused(&votes(1, &[(1, 0)])), Error::WrongPoll);
    host::with(|world| world.set_payload(&votes(0, &[(1, 0)]).encode()));
    let unsigned = Error::from_code(endpoints::vote_in(0, 0, 0, 0));
    assert_eq!(unsigned, Some(Error::NotSigned));
    host::with(|world| world.set_payload(&votes(0, &[(3, 0)]).encode()));
    let stranger = Error::from_code(endpoints::vote_in(0, 0, 0, 0));
    assert_eq!(stranger, Some(Error::BadVotes));
    host::with(|world| world.set_payload(b"x"));
    let nonsense = Error::from_code(endpoints::vote_in(0, 0, 0, 0));
    assert_eq!(nonsense, Some(Error::Malformed));
    assert_eq!(waiting(), []);
    for config in [
        (vec![ALICE, ALICE], 3u8, 8u64),
        (vec![ALICE], 0, 8),
        (vec![ALICE], 3, 0),
    ] {
        host::with(|world| world.set_payload(&config.encode()));
        let code = endpoints::init(0, 0, 0, 0);
        assert_eq!(Error::from_code(code), Some(Error::BadConfig));
    }
}
