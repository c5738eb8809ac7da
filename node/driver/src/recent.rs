//! A set that forgets what was put in first.

use std::collections::{BTreeSet, VecDeque};

use jar_cap::Hash;

/// At most so many hashes, the latest ones.
#[derive(Clone, Debug)]
pub(crate) struct Recent {
    limit: usize,
    order: VecDeque<Hash>,
    hashes: BTreeSet<Hash>,
}

impl Recent {
    pub fn new(limit: usize) -> Recent {
        Recent {
            limit,
            order: VecDeque::new(),
            hashes: BTreeSet::new(),
        }
    }

    pub fn contains(&self, hash: &Hash) -> bool {
        self.hashes.contains(hash)
    }

    pub fn insert(&mut self, hash: Hash) {
        if !self.hashes.insert(hash) {
            return;
        }
        self.order.push_back(hash);
        if self.order.len() > self.limit
            && let Some(first) = self.order.pop_front()
        {
            self.hashes.remove(&first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_kept() {
        let mut recent = Recent::new(2);
        for byte in [1, 2, 1, 3] {
            recent.insert([byte; 32]);
        }
        let kept: Vec<bool> = (1..=3).map(|byte| recent.contains(&[byte; 32])).collect();
        assert_eq!(kept, [false, true, true]);
    }
}
