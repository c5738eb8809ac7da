//! From addresses to consecutive numbers, in constant time and little memory.

/// A set of addresses with the rank of each.
pub struct Positions {
    words: Vec<u64>,
    /// Members before each word.
    ranks: Vec<u32>,
    len: u32,
}

impl Positions {
    /// An empty set of addresses 0..=`last`.
    pub fn new(last: u32) -> Self {
        let words = last as usize / 64 + 1;
        Positions {
            words: vec![0; words],
            ranks: vec![0; words],
            len: 0,
        }
    }

    /// Adds an address greater than all before; returns its rank.
    pub fn push(&mut self, address: u32) -> u32 {
        let word = address as usize / 64;
        let rank = self.len;
        if self.words[word] == 0 {
            self.ranks[word] = rank;
        }
        self.words[word] |= 1 << (address % 64);
        self.len += 1;
        rank
    }

    /// How many addresses are smaller, if `address` is a member.
    pub fn rank(&self, address: u32) -> Option<u32> {
        let (index, bit) = (address as usize / 64, address % 64);
        let word = *self.words.get(index)?;
        if word >> bit & 1 == 0 {
            return None;
        }
        Some(self.ranks[index] + (word & ((1 << bit) - 1)).count_ones())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_count_members_before() {
        let mut positions = Positions::new(200);
        let members = [0, 1, 63, 64, 199, 200];
        for (rank, address) in members.into_iter().enumerate() {
            assert_eq!(positions.push(address), rank as u32);
        }
        for (rank, address) in members.into_iter().enumerate() {
            assert_eq!(positions.rank(address), Some(rank as u32));
        }
        for absent in [2, 62, 65, 198, 201, 255, 256, u32::MAX] {
            assert_eq!(positions.rank(absent), None);
        }
    }
}
