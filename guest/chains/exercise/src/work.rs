//! Code of many kinds: sorting, wide arithmetic, formatting, trees, jump tables, dynamic
//! dispatch, recursion, bit twiddling.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

pub fn sort(mut words: Vec<u32>) -> Vec<u32> {
    words.sort_unstable();
    let mut by_low = words.clone();
    by_low.sort_by_key(|w| (w & 0xff, *w));
    words.extend(by_low);
    words
}

pub fn wide(a: u128, b: u128) -> Vec<u128> {
    let (s, t) = (a as i128, b as i128);
    [
        a.wrapping_mul(b),
        a.checked_div(b).unwrap_or(7),
        a.checked_rem(b).unwrap_or(8),
        s.checked_div(t).unwrap_or(9) as u128,
        a.rotate_left(b as u32 & 127) ^ (s >> (b & 127)) as u128,
        u128::from(a.leading_zeros() + b.trailing_zeros() + (a ^ b).count_ones()),
        a.max(b) - a.min(b),
        s.max(t).wrapping_sub(s.min(t)) as u128,
    ]
    .into()
}

pub fn text(words: &[u32]) -> String {
    let signed = words.iter().map(|w| *w as i32);
    let joined: Vec<String> = signed.map(|w| format!("{w:+}/{:#010x}", w)).collect();
    let sum: u64 = words.iter().map(|w| u64::from(*w)).sum();
    format!("{sum:>20} {:?} {}", words.first(), joined.join(","))
}

pub fn count(words: &[u32]) -> Vec<(u32, u32)> {
    let mut counts = BTreeMap::new();
    for word in words {
        *counts.entry(word % 97).or_insert(0) += 1;
    }
    counts.retain(|key, _| key % 5 != 0);
    counts.into_iter().collect()
}

/// A stack machine: its dispatch is a jump table.
pub fn interpret(program: &[u8]) -> i64 {
    let mut stack: Vec<i64> = Vec::new();
    let pop = |stack: &mut Vec<i64>| stack.pop().unwrap_or(1);
    for byte in program {
        let (a, b) = (pop(&mut stack), pop(&mut stack));
        let value = match byte % 13 {
            0 => a.wrapping_add(b),
            1 => a.wrapping_sub(b),
            2 => a.wrapping_mul(b),
            3 => a.checked_div(b).unwrap_or(-1),
            4 => a & b,
            5 => a | b,
            6 => a ^ b,
            7 => a.rotate_left(b as u32 & 63),
            8 => a.min(b),
            9 => i64::from(a < b),
            10 => a.swap_bytes(),
            11 => (a as i32 as i64) << (b & 31),
            _ => i64::from(*byte),
        };
        stack.extend([b, value, i64::from(*byte)]);
    }
    stack
        .iter()
        .fold(0, |sum, v| sum.wrapping_mul(31).wrapping_add(*v))
}

trait Shape {
    fn area(&self) -> u64;
    fn grown(&self, by: u32) -> Box<dyn Shape>;
}

struct Square(u32);
struct Rectangle(u32, u32);

impl Shape for Square {
    fn area(&self) -> u64 {
        u64::from(self.0) * u64::from(self.0)
    }
    fn grown(&self, by: u32) -> Box<dyn Shape> {
        Box::new(Rectangle(self.0.wrapping_add(by), self.0))
    }
}

impl Shape for Rectangle {
    fn area(&self) -> u64 {
        u64::from(self.0) * u64::from(self.1)
    }
    fn grown(&self, by: u32) -> Box<dyn Shape> {
        match by % 3 {
            0 => Box::new(Square(self.0 ^ self.1)),
            _ => Box::new(Rectangle(self.1, by)),
        }
    }
}

/// Dynamic dispatch and recursion.
pub fn shapes(words: &[u32]) -> u64 {
    fn walk(shape: &dyn Shape, words: &[u32]) -> u64 {
        match words {
            [] => shape.area(),
            [first, rest @ ..] => {
                let grown = shape.grown(*first);
                shape
                    .area()
                    .wrapping_mul(3)
                    .wrapping_add(walk(&*grown, rest))
            }
        }
    }
    walk(&Square(5), words)
}

/// Mixing in the manner of BLAKE2b.
pub fn digest(bytes: &[u8]) -> [u64; 4] {
    let mut state = [
        0x6a09_e667_f3bc_c908u64,
        0xbb67_ae85_84ca_a73b,
        3,
        bytes.len() as u64,
    ];
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        let word = u64::from_le_bytes(word);
        let [a, b, c, d] = &mut state;
        *a = a.wrapping_add(*b).wrapping_add(word);
        *d = (*d ^ *a).rotate_right(32);
        *c = c.wrapping_add(*d);
        *b = (*b ^ *c).rotate_right(24);
        *a = a.wrapping_add(*b).wrapping_add(word.swap_bytes());
        *d = (*d ^ *a).rotate_right(16);
        *c = c.wrapping_add(*d);
        *b = (*b ^ *c).rotate_right(63);
    }
    state
}
