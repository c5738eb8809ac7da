//! Polls, one after another. Votes are small and many; off-chain they become one aggregate,
//! with the signatures of all, and towards a poll's end that is one event of a block.
#![cfg_attr(target_arch = "riscv64", no_std, no_main)]

mod merge;
#[cfg(test)]
mod tests;

#[jar_guest::chain]
mod tally {
    extern crate alloc;

    use alloc::vec::Vec;

    use jar_guest::aggregate::{self, ARRIVING_ITEM, Dispatching, Phase};
    use jar_guest::codec::{Decode, DecodeAll};
    use jar_guest::{
        Data, Map, Scope, Slot, SlotItemKind, Status, Value, attest, block_info, score, slots,
    };
    use jar_tally_api::{
        CLOSED_SLOT, CONFIG_SLOT, Config, Error, POLL_SLOT, Poll, PublicKey, VOTERS_MAX, Votes,
        signed_blob,
    };

    use crate::merge::union;

    const CONFIG: Value<Config> = Value::new(CONFIG_SLOT);
    const POLL: Value<Poll> = Value::new(POLL_SLOT);
    const CLOSED: Map<u64, Poll> = Map::new(CLOSED_SLOT);

    /// The kernel took no score.
    const NO_SCORE: u64 = 1;
    /// A slot operation failed.
    const NOT_TAKEN: u64 = 2;

    #[genesis]
    fn init(config: Config) -> Result<(), Error> {
        let mut sorted = config.voters.clone();
        sorted.sort_unstable();
        sorted.dedup();
        let is_good = sorted.len() == config.voters.len()
            && sorted.len() <= VOTERS_MAX
            && config.choices > 0
            && config.blocks > 0;
        if !is_good {
            return Err(Error::BadConfig);
        }
        POLL.set(&Poll::new(0, &config));
        CONFIG.set(&config);
        Ok(())
    }

    /// Longer chains win; a poll ends when its blocks are over.
    #[schedule(order = 0)]
    fn begin() {
        let height = block_info().height;
        if score(height).is_err() {
            jar_guest::fault!(NO_SCORE);
        }
        let (config, poll) = (config(), last_poll());
        let number = number_at(height, &config);
        if number != poll.number {
            if poll.voted.iter().any(|byte| *byte != 0) {
                CLOSED.set(&poll.number, &poll);
            }
            POLL.set(&Poll::new(number, &config));
        }
    }

    /// Counts votes; answers how many were not counted before.
    #[transact(order = 1)]
    fn count(votes: Votes) -> Result<u32, Error> {
        let mut poll = last_poll();
        check(&votes, &poll, &config())?;
        let mut counted = 0;
        for vote in &votes.votes {
            counted += u32::from(poll.count(*vote));
        }
        if counted == 0 {
            return Err(Error::AlreadyCounted);
        }
        POLL.set(&poll);
        Ok(counted)
    }

    #[dispatch(into = count, phases)]
    fn vote_in(call: Dispatching) -> Result<(), Error> {
        let poll = open_poll();
        match call.phase {
            Phase::Verify => {
                let arriving = arriving()?;
                check(&arriving, &poll, &config())?;
                let (new, _) = union(&[(ARRIVING_ITEM, &arriving)], &poll);
                match new.votes.is_empty() {
                    true => Err(Error::AlreadyCounted),
                    false => Ok(()),
                }
            }
            Phase::Merge => {
                let arriving = arriving()?;
                let (pending, _) = items(call.items);
                let mut parts = numbered(&pending);
                let (before, _) = union(&parts, &poll);
                parts.push((ARRIVING_ITEM, &arriving));
                let (merged, picks) = union(&parts, &poll);
                if merged == before {
                    return Err(Error::AlreadyPending);
                }
                replace(&merged, &picks, &call);
                Ok(())
            }
            Phase::Head => {
                let (pending, are_ready) = items(call.items);
                let (merged, picks) = union(&numbered(&pending), &poll);
                if are_ready != [is_ready(&merged)] || pending != [merged.clone()] {
                    replace(&merged, &picks, &call);
                }
                Ok(())
            }
        }
    }

    #[view]
    fn open() -> u64 {
        open_poll().number
    }

    #[view]
    fn poll(number: u64) -> Option<Poll> {
        let open = open_poll();
        let last = last_poll();
        if number == open.number {
            return Some(open);
        }
        if number == last.number {
            return Some(last);
        }
        let closed = || {
            CLOSED
                .get(&number)
                .unwrap_or_else(|| Poll::new(number, &config()))
        };
        (number < open.number).then(closed)
    }

    #[view]
    fn voter(key: PublicKey) -> Option<u16> {
        let at = config().voters.iter().position(|voter| *voter == key)?;
        u16::try_from(at).ok()
    }

    fn config() -> Config {
        CONFIG.get().unwrap_or_default()
    }

    /// The poll of the state's last block.
    fn last_poll() -> Poll {
        POLL.get().unwrap_or_else(|| Poll::new(0, &config()))
    }

    /// The poll that the next block counts for.
    fn open_poll() -> Poll {
        let (config, last) = (config(), last_poll());
        let number = number_at(block_info().height.saturating_add(1), &config);
        match number == last.number {
            true => last,
            false => Poll::new(number, &config),
        }
    }

    /// Number of the poll that a block counts for. The first block is of height 1.
    fn number_at(height: u64, config: &Config) -> u64 {
        (height.saturating_sub(1))
            .checked_div(config.blocks)
            .unwrap_or(0)
    }

    /// Asks for every signature before it judges: whatever comes of it, they must be used up.
    fn check(votes: &Votes, poll: &Poll, config: &Config) -> Result<(), Error> {
        let mut all_signed = true;
        for vote in &votes.votes {
            let voter = config.voters.get(usize::from(vote.voter));
            let voter = voter.ok_or(Error::BadVotes)?;
            let blob = signed_blob(votes.poll, vote.choice);
            all_signed &= attest(voter, &blob, Scope::Direct) == Ok(true);
        }
        let in_order = votes.votes.is_sorted_by(|a, b| a.voter < b.voter);
        let are_choices = votes.votes.iter().all(|vote| vote.choice < config.choices);
        if !all_signed {
            Err(Error::NotSigned)
        } else if votes.poll != poll.number {
            Err(Error::WrongPoll)
        } else if votes.votes.is_empty() || !in_order || !are_choices {
            Err(Error::BadVotes)
        } else {
            Ok(())
        }
    }

    /// The votes in slot 0, which is empty afterwards.
    fn arriving() -> Result<Votes, Error> {
        let scratch = Data::at(Slot::new(slots::SCRATCH));
        let votes = scratch.decode().ok().flatten();
        taken(scratch.slot().clear());
        votes.ok_or(Error::Malformed)
    }

    /// Whether votes go into the next block: when nobody's is missing, or the poll's last
    /// quarter begins. Before, they gather.
    fn is_ready(votes: &Votes) -> bool {
        let config = config();
        let next = block_info().height.saturating_add(1);
        let first_of_next_poll = number_at(next, &config)
            .saturating_add(1)
            .saturating_mul(config.blocks)
            .saturating_add(1);
        let left = first_of_next_poll.saturating_sub(next);
        votes.votes.len() == config.voters.len() || left <= config.blocks.div_ceil(4)
    }

    /// What waits, all of this program's making, and whether for a block.
    fn items(count: u32) -> (Vec<Votes>, Vec<bool>) {
        let scratch = Data::at(Slot::new(slots::SCRATCH));
        let item = |index| {
            taken(aggregate::read(index, scratch.slot()));
            let bytes = scratch.to_vec().ok().flatten().unwrap_or_default();
            taken(scratch.slot().clear());
            // The kind, the endpoint, the payload.
            let (kind, _, payload) = <(u8, u8, Vec<u8>)>::decode(&mut &bytes[..]).ok()?;
            let votes = Votes::decode_all(&mut &payload[..]).ok()?;
            Some((votes, u64::from(kind) == SlotItemKind::Transact as u64))
        };
        let items: Option<(Vec<Votes>, Vec<bool>)> = (0..count).map(item).collect();
        items.unwrap_or_else(|| jar_guest::fault!(NOT_TAKEN))
    }

    fn numbered(items: &[Votes]) -> Vec<(u32, &Votes)> {
        (0..).zip(items).collect()
    }

    /// Makes one aggregate all that waits.
    fn replace(votes: &Votes, picks: &[(u32, u32)], call: &Dispatching) {
        taken(aggregate::clear());
        if votes.votes.is_empty() {
            return;
        }
        let scratch = Data::at(Slot::new(slots::SCRATCH));
        taken(scratch.encode(votes));
        let (kind, endpoint) = match is_ready(votes) {
            true => (SlotItemKind::Transact, call.into),
            false => (SlotItemKind::Dispatch, call.endpoint),
        };
        taken(aggregate::emit(kind, endpoint, scratch.slot(), picks));
        taken(scratch.slot().clear());
    }

    fn taken<T>(answer: Result<T, Status>) {
        if answer.is_err() {
            jar_guest::fault!(NOT_TAKEN);
        }
    }
}
