//! Many votes become one aggregate.

extern crate alloc;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use jar_tally_api::{Poll, Vote, Votes};

/// The votes of all parts that the poll has not counted, the first of each voter, and where
/// each one's signature is: (item, attestation). Parts go by their items' indices; those of
/// other polls have nothing to add.
pub fn union(parts: &[(u32, &Votes)], poll: &Poll) -> (Votes, Vec<(u32, u32)>) {
    let mut first = BTreeMap::new();
    for (item, part) in parts.iter().filter(|(_, part)| part.poll == poll.number) {
        for (at, vote) in (0u32..).zip(&part.votes) {
            if !poll.has_vote_of(vote.voter) {
                first
                    .entry(vote.voter)
                    .or_insert((vote.choice, (*item, at)));
            }
        }
    }
    let votes = first.iter().map(|(voter, (choice, _))| Vote {
        voter: *voter,
        choice: *choice,
    });
    let votes = Votes {
        poll: poll.number,
        votes: votes.collect(),
    };
    (votes, first.into_values().map(|(_, pick)| pick).collect())
}

#[cfg(test)]
mod tests {
    use jar_tally_api::Config;

    use super::*;

    fn votes(poll: u64, votes: &[(u16, u8)]) -> Votes {
        let votes = votes
            .iter()
            .map(|&(voter, choice)| Vote { voter, choice })
            .collect();
        Votes { poll, votes }
    }

    #[test]
    fn the_first_vote_of_each_voter_counts_once() {
        let config = Config {
            voters: vec![[0; 32]; 9],
            choices: 3,
            blocks: 1,
        };
        let mut poll = Poll::new(7, &config);
        poll.count(Vote {
            voter: 4,
            choice: 0,
        });
        let pending = votes(7, &[(1, 1), (4, 1), (6, 2)]);
        let stale = votes(6, &[(0, 0)]);
        let arriving = votes(7, &[(0, 2), (1, 0), (8, 1)]);
        let parts = [(0, &pending), (1, &stale), (u32::MAX, &arriving)];
        let (merged, picks) = union(&parts, &poll);
        assert_eq!(merged, votes(7, &[(0, 2), (1, 1), (6, 2), (8, 1)]));
        let expected = [(u32::MAX, 0), (0, 0), (0, 2), (u32::MAX, 2)];
        assert_eq!(picks, expected);
        // What is merged stays as it is.
        let (again, picks) = union(&[(0, &merged)], &poll);
        assert_eq!(again, merged);
        assert_eq!(picks, [(0, 0), (0, 1), (0, 2), (0, 3)]);
    }
}
