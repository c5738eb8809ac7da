//! What the tally chain and its clients share: votes, polls, codes, places of state.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use parity_scale_codec::{Decode, Encode};

/// An ed25519 public key: a voter.
pub type PublicKey = [u8; 32];

/// Slot of the Data SCALE([`Config`]).
pub const CONFIG_SLOT: u8 = 32;
/// Slot of the Data SCALE([`Poll`]), the poll of the last block that was not the last's.
pub const POLL_SLOT: u8 = 33;
/// Slot of the CNode SCALE(u64) -> Data SCALE([`Poll`]), closed polls that had votes.
pub const CLOSED_SLOT: u8 = 34;

/// The Genesis endpoint; its payload is a [`Config`].
pub const INIT: &str = "init";
/// The Transact endpoint that counts [`Votes`].
pub const COUNT: &str = "count";
/// The Dispatch endpoint that clients send [`Votes`] to, most of them one vote.
pub const VOTE_IN: &str = "vote_in";
/// The View `() -> u64`: the number of the poll that the next block counts for.
pub const OPEN: &str = "open";
/// The View `u64 -> Option<Poll>`: a poll by its number, if it is not of the future.
pub const POLL: &str = "poll";
/// The View `PublicKey -> Option<u16>`: the index of a voter.
pub const VOTER: &str = "voter";

/// Most voters of a chain: an event has the gas for as many signatures.
pub const VOTERS_MAX: usize = 256;

/// First part of what a vote's signature covers.
const VOTE_DOMAIN: &str = "tally.vote";

/// The payload of Genesis.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Config {
    /// Who may vote, each once; at most [`VOTERS_MAX`].
    pub voters: Vec<PublicKey>,
    /// How many choices a poll offers, numbered from 0; at least 1.
    pub choices: u8,
    /// How many blocks a poll is open; at least 1.
    pub blocks: u64,
}

/// A voter's choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Vote {
    /// Index of the voter.
    pub voter: u16,
    /// What it votes for.
    pub choice: u8,
}

/// Votes for one poll. The attestation at a vote's place is its voter's signature, scope
/// Direct.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Votes {
    /// Number of the poll.
    pub poll: u64,
    /// By voter, lowest first, each once; not empty.
    pub votes: Vec<Vote>,
}

/// The blob that a voter signs: SCALE(("tally.vote", poll, choice)).
pub fn signed_blob(poll: u64, choice: u8) -> Vec<u8> {
    (VOTE_DOMAIN, poll, choice).encode()
}

/// What was counted.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Poll {
    /// Its number; the polls follow one another.
    pub number: u64,
    /// Votes for each choice.
    pub counts: Vec<u32>,
    /// A bit for each voter, least significant first: whether it voted.
    pub voted: Vec<u8>,
}

impl Poll {
    /// A poll without votes.
    pub fn new(number: u64, config: &Config) -> Poll {
        Poll {
            number,
            counts: vec![0; usize::from(config.choices)],
            voted: vec![0; config.voters.len().div_ceil(8)],
        }
    }

    /// Whether a voter's vote was counted.
    pub fn has_vote_of(&self, voter: u16) -> bool {
        let byte = self.voted.get(usize::from(voter / 8));
        byte.is_some_and(|byte| byte >> (voter % 8) & 1 == 1)
    }

    /// Counts a vote. Answers whether it is the voter's first, of a voter and for a choice
    /// that there are.
    pub fn count(&mut self, vote: Vote) -> bool {
        if self.has_vote_of(vote.voter) {
            return false;
        }
        let byte = self.voted.get_mut(usize::from(vote.voter / 8));
        let count = self.counts.get_mut(usize::from(vote.choice));
        let (Some(byte), Some(count)) = (byte, count) else {
            return false;
        };
        *byte |= 1 << (vote.voter % 8);
        *count += 1;
        true
    }
}

/// Why votes or a start were refused; the number is the halt value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Error {
    /// A vote has no valid signature by its voter.
    NotSigned = 1,
    /// The votes are not for the open poll.
    WrongPoll = 2,
    /// There are none, or not in order, or of no voter, or for no choice.
    BadVotes = 3,
    /// All of these voters' votes are counted.
    AlreadyCounted = 4,
    /// All of these voters' votes wait for a block.
    AlreadyPending = 5,
    /// The payload is not [`Votes`].
    Malformed = 6,
    /// The genesis payload names too many voters or one twice, no choices or no blocks.
    BadConfig = 7,
}

impl Error {
    /// Every error.
    pub const ALL: [Error; 7] = [
        Error::NotSigned,
        Error::WrongPoll,
        Error::BadVotes,
        Error::AlreadyCounted,
        Error::AlreadyPending,
        Error::Malformed,
        Error::BadConfig,
    ];

    /// The error with this halt value.
    pub fn from_code(code: u64) -> Option<Error> {
        Error::ALL.into_iter().find(|error| *error as u64 == code)
    }
}

impl From<Error> for u64 {
    fn from(error: Error) -> u64 {
        error as u64
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::NotSigned => "no valid signature by the voter",
            Error::WrongPoll => "this poll is not open",
            Error::BadVotes => "no such voter or choice, or votes out of order",
            Error::AlreadyCounted => "the voter's vote is counted",
            Error::AlreadyPending => "a vote of this voter waits for a block",
            Error::Malformed => "these are no votes",
            Error::BadConfig => "the genesis configuration is not valid",
        })
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_voter_counts_once() {
        let config = Config {
            voters: vec![[1; 32]; 9],
            choices: 2,
            blocks: 1,
        };
        let mut poll = Poll::new(3, &config);
        let vote = |voter, choice| Vote { voter, choice };
        assert!(poll.count(vote(8, 1)));
        assert!(poll.count(vote(0, 1)));
        for refused in [vote(8, 0), vote(1, 2), vote(16, 0), vote(u16::MAX, 0)] {
            assert!(!poll.count(refused), "{refused:?}");
        }
        assert_eq!(
            (&poll.counts[..], &poll.voted[..]),
            (&[0, 2][..], &[1, 1][..])
        );
    }

    #[test]
    fn codes_round_trip_and_are_distinct() {
        for error in Error::ALL {
            assert_eq!(Error::from_code(error.into()), Some(error));
        }
        assert_eq!(Error::from_code(0), None);
        assert_eq!(Error::from_code(8), None);
    }

    #[test]
    fn a_signature_is_for_a_poll_and_a_choice() {
        assert_eq!(signed_blob(1, 2), b"\x28tally.vote\x01\0\0\0\0\0\0\0\x02");
    }
}
