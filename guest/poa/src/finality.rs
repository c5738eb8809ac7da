//! Justification and finality: what a block knows of its ancestors.

use alloc::vec::Vec;

use jar_guest::Hash;
use parity_scale_codec::{Decode, Encode};

use crate::{Aggregate, Checkpoint, Electorate, Error, Link};

/// Most ancestors that are remembered, the newest ones. Votes for older targets do not count.
pub const RECENT_MAX: usize = 64;

/// Blocks without a new justified one after which validators vote for a newer target, while
/// finality does not lag far behind.
pub const RETARGET_BLOCKS: u64 = 4;

/// As [`RETARGET_BLOCKS`], however far finality lags behind.
pub const RETARGET_BLOCKS_MAX: u64 = 32;

/// Each doubling of this lag doubles the time between targets, so that late votes arrive
/// before the next are cast.
const LAG_MIN: u64 = 64;

/// The score of a justified height over that of heights above it: 2^28 blocks without
/// justification are outweighed by one justified height more.
const JUSTIFIED_SCORE: u64 = 1 << 28;

/// A block between the finalized one and the present one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
struct Ancestor {
    hash: Hash,
    justified: bool,
}

/// How far a change of the validators has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
enum Change {
    /// None is under way.
    None,
    /// Decided by the block of this height, which is not final yet.
    Proposed { height: u64 },
    /// The present and the next set vote together.
    Joint,
}

/// What counting a link led to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// The newly finalized block.
    pub finalized: Option<Checkpoint>,
    /// Whether the next set of validators becomes the present one with the next block.
    pub adopted: bool,
}

/// How a block becomes final; other rules than the chain's are for tests that show why it is
/// this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// A justified block is final by a link from exactly it to its child.
    DirectLink,
    /// A justified block with a justified child is final, whatever justified the child.
    #[cfg(test)]
    JustifiedChild,
}

/// What a chain knows of its own ancestors, as of one of its blocks.
///
/// Its size is bounded: the finalized block, the highest justified one, and the hashes of
/// [`RECENT_MAX`] ancestors at the most.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Finality {
    height: u64,
    finalized: Checkpoint,
    justified: Checkpoint,
    /// Height of the block that counted the link which justified it.
    justified_at: u64,
    /// Height of the last block that carried an aggregate; 0 for none.
    counted_at: u64,
    /// Changes of the electorate so far.
    epoch: u64,
    /// The lowest target that the present electorate votes for.
    epoch_start: u64,
    change: Change,
    /// The newest ancestors up to the parent, oldest first, all above the finalized block.
    recent: Vec<Ancestor>,
}

impl Finality {
    /// At the first block, whose parent is the genesis block: that one is final.
    pub fn first(genesis: Hash) -> Finality {
        let genesis = Checkpoint {
            height: 0,
            hash: genesis,
        };
        Finality {
            height: 1,
            finalized: genesis,
            justified: genesis,
            justified_at: 1,
            counted_at: 0,
            epoch: 0,
            epoch_start: 0,
            change: Change::None,
            recent: Vec::new(),
        }
    }

    /// Goes on to the next block, whose parent has this hash.
    pub fn advance(&mut self, parent: Hash) {
        self.recent.push(Ancestor {
            hash: parent,
            justified: false,
        });
        self.height += 1;
        let excess = self.recent.len().saturating_sub(RECENT_MAX);
        self.recent.drain(..excess);
    }

    /// Height of the block.
    pub fn height(&self) -> u64 {
        self.height
    }

    /// The last finalized block.
    pub fn finalized(&self) -> Checkpoint {
        self.finalized
    }

    /// The highest justified block.
    pub fn justified(&self) -> Checkpoint {
        self.justified
    }

    /// Number of the electorate that votes now.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether the next set of validators votes beside the present one.
    pub fn is_joint(&self) -> bool {
        self.change == Change::Joint
    }

    /// The block's score: a chain with a higher justified block is better, then a longer one.
    pub fn score(&self) -> u64 {
        let above = self.height.saturating_sub(self.justified.height);
        let score = self.justified.height.saturating_mul(JUSTIFIED_SCORE);
        score.saturating_add(above)
    }

    fn index(&self, height: u64) -> Option<usize> {
        let oldest = self.height.checked_sub(self.recent.len() as u64)?;
        let index = usize::try_from(height.checked_sub(oldest)?).ok()?;
        (index < self.recent.len()).then_some(index)
    }

    fn recent(&self, height: u64) -> Option<&Ancestor> {
        self.recent.get(self.index(height)?)
    }

    fn checkpoint(&self, height: u64) -> Option<Checkpoint> {
        let hash = self.recent(height)?.hash;
        Some(Checkpoint { height, hash })
    }

    fn is_justified(&self, block: &Checkpoint) -> bool {
        *block == self.finalized
            || *block == self.justified
            || self
                .recent(block.height)
                .is_some_and(|known| known.justified && known.hash == block.hash)
    }

    fn would_finalize(&self, link: &Link) -> bool {
        link.is_direct() && link.source.height > self.finalized.height
    }

    /// Whether a link of enough votes would count: its source a justified block and its target
    /// a descendant of that, both ancestors of this block.
    ///
    /// # Errors
    ///
    /// Why it would not.
    pub fn check(&self, link: &Link) -> Result<(), Error> {
        let Link { source, target } = link;
        if source.height >= target.height {
            return Err(Error::BadLink);
        }
        if target.height <= self.finalized.height {
            return Err(Error::Stale);
        }
        if target.height < self.epoch_start {
            return Err(Error::WrongEpoch);
        }
        let known = self.recent(target.height);
        let known = known.filter(|known| known.hash == target.hash);
        let known = known.ok_or(Error::UnknownTarget)?;
        if !self.is_justified(source) {
            return Err(Error::UnjustifiedSource);
        }
        if known.justified && !self.would_finalize(link) {
            return Err(Error::Stale);
        }
        Ok(())
    }

    /// Whether the link may count on a block soon to come: its target is the present block or
    /// one of the next, which this state can't know.
    pub fn is_early(&self, link: &Link) -> bool {
        let soon = self.height..=self.height.saturating_add(RETARGET_BLOCKS);
        soon.contains(&link.target.height)
            && link.source.height < link.target.height
            && link.source.height >= self.finalized.height
    }

    /// Counts the votes of an aggregate, whose signatures are there.
    ///
    /// # Errors
    ///
    /// Why they do not count; nothing has changed then.
    pub fn count(
        &mut self,
        aggregate: &Aggregate,
        electorate: &Electorate,
    ) -> Result<Counted, Error> {
        if aggregate.epoch != self.epoch {
            return Err(Error::WrongEpoch);
        }
        if self.counted_at == self.height {
            return Err(Error::SecondAggregate);
        }
        if !electorate.has_quorum(&aggregate.signers) {
            return Err(Error::NoQuorum);
        }
        self.check(&aggregate.link)?;
        self.counted_at = self.height;
        let finalized = self.apply(&aggregate.link, Rule::DirectLink);
        let adopted = finalized.is_some_and(|block| self.proceed(&block));
        Ok(Counted { finalized, adopted })
    }

    /// Justifies the target of a checked link; answers what that finalizes.
    pub(crate) fn apply(&mut self, link: &Link, rule: Rule) -> Option<Checkpoint> {
        if let Some(index) = self.index(link.target.height) {
            self.recent[index].justified = true;
        }
        if link.target.height > self.justified.height {
            self.justified = link.target;
            self.justified_at = self.height;
        }
        let finalized = match rule {
            Rule::DirectLink => self.would_finalize(link).then_some(link.source)?,
            #[cfg(test)]
            Rule::JustifiedChild => self.highest_with_justified_child()?,
        };
        self.finalized = finalized;
        let final_len = self.index(finalized.height).map_or(0, |index| index + 1);
        self.recent.drain(..final_len);
        Some(finalized)
    }

    #[cfg(test)]
    fn highest_with_justified_child(&self) -> Option<Checkpoint> {
        let mut pairs = self.recent.windows(2);
        let index = pairs.rposition(|pair| pair[0].justified && pair[1].justified)?;
        self.checkpoint(self.height - (self.recent.len() - index) as u64)
    }

    /// Takes note that this block decides who the next validators are.
    ///
    /// # Errors
    ///
    /// [`Error::ChangePending`] while an earlier change is under way.
    pub fn propose(&mut self) -> Result<(), Error> {
        if self.change != Change::None {
            return Err(Error::ChangePending);
        }
        let height = self.height;
        self.change = Change::Proposed { height };
        Ok(())
    }

    /// A finalized block may move a change of the validators on: to the joint electorate when
    /// the decision is final, to the next set when that electorate has finalized a block of
    /// its own. Answers whether the next set becomes the present one.
    fn proceed(&mut self, finalized: &Checkpoint) -> bool {
        let next = match self.change {
            Change::Proposed { height } if finalized.height >= height => Change::Joint,
            Change::Joint if finalized.height >= self.epoch_start => Change::None,
            _ => return false,
        };
        self.change = next;
        self.epoch += 1;
        self.epoch_start = self.height + 1;
        next == Change::None
    }

    /// Blocks to wait for votes before voting for a newer target.
    fn retarget_blocks(&self) -> u64 {
        let mut blocks = RETARGET_BLOCKS;
        let mut lag = (self.height - self.finalized.height) / LAG_MIN;
        while lag > 0 && blocks < RETARGET_BLOCKS_MAX {
            (lag, blocks) = (lag / 2, blocks * 2);
        }
        blocks
    }

    /// The link that a validator whose head is this block votes for: from the highest
    /// justified block to its child, which would finalize it, if a longer link justified it;
    /// otherwise to the newest block at the time it was justified; and after a while without
    /// success to a newer one. `None` while there is no such block.
    pub fn next_vote(&self) -> Option<Link> {
        let source = self.justified;
        let newest = self.height - 1;
        let stride = self.retarget_blocks();
        let waited = (self.height - self.justified_at) / stride;
        let follows_final = source.height <= self.finalized.height + 1;
        let wanted = match waited {
            0 if !follows_final => source.height + 1,
            _ => self.justified_at - 1 + stride * waited,
        };
        let wanted = wanted.max(source.height + 1).max(self.epoch_start);
        if wanted > newest {
            return None;
        }
        let target = self.checkpoint(wanted)?;
        Some(Link { source, target })
    }
}

#[cfg(test)]
#[path = "finality/tests.rs"]
mod tests;
