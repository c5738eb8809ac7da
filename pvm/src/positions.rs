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

    /// Completes a set for [`Self::count_to`] and [`Self::select`].
    pub fn fill(&mut self) {
        let mut rank = 0;
        for (word, place) in self.words.iter().zip(&mut self.ranks) {
            *place = rank;
            rank += word.count_ones();
        }
    }

    /// How many addresses are at most `address`. Needs [`Self::fill`].
    pub fn count_to(&self, address: u32) -> u32 {
        let (index, bit) = (address as usize / 64, address % 64);
        match self.words.get(index) {
            None => self.len,
            Some(word) => self.ranks[index] + (word << (63 - bit)).count_ones(),
        }
    }

    /// The address of rank `rank`. Needs [`Self::fill`].
    pub fn select(&self, rank: u32) -> Option<u32> {
        if rank >= self.len {
            return None;
        }
        let index = self.ranks.partition_point(|before| *before <= rank) - 1;
        let mut word = self.words[index];
        for _ in self.ranks[index]..rank {
            word &= word - 1;
        }
        Some(index as u32 * 64 + word.trailing_zeros())
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

    #[test]
    fn filled_sets_count_and_select() {
        let mut positions = Positions::new(400);
        let members = [0, 1, 63, 64, 199, 390];
        for address in members {
            positions.push(address);
        }
        positions.fill();
        for address in 0..500 {
            let count = members.iter().filter(|member| **member <= address).count();
            assert_eq!(positions.count_to(address), count as u32, "{address}");
        }
        for (rank, address) in members.into_iter().enumerate() {
            assert_eq!(positions.select(rank as u32), Some(address));
            assert_eq!(positions.rank(address), Some(rank as u32));
        }
        assert_eq!(positions.select(6), None);
    }
}
