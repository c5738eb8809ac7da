//! Runs without coverage: the committed corpus, its mutations, and inputs made anew, the same
//! in every run of a seed.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::{Target, corpus};

/// Small deterministic numbers (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// Bytes at the edges of numbers and encodings.
const EDGES: [u8; 12] = [0, 1, 2, 3, 4, 0x7f, 0x80, 0x81, 0xbf, 0xfe, 0xff, 0x40];

/// A few changes of `data`; `other` is spliced in at times.
fn mutate(random: &mut Random, data: &mut Vec<u8>, other: &[u8], len_max: usize) {
    for _ in 0..1 + random.below(6) {
        let at = random.below(data.len());
        let end = (at + 1 + random.below(16)).min(data.len());
        match random.below(8) {
            0 if !data.is_empty() => data[at] ^= 1 << random.below(8),
            1 if !data.is_empty() => data[at] = EDGES[random.below(EDGES.len())],
            2 if !data.is_empty() => data[at] = random.next() as u8,
            3 if !data.is_empty() => drop(data.drain(at..end)),
            4 if !data.is_empty() => {
                let part = data[at..end].to_vec();
                let to = random.below(data.len());
                data.splice(to..to, part);
            }
            5 => {
                let more = (0..1 + random.below(8)).map(|_| random.next() as u8);
                let more: Vec<u8> = more.collect();
                data.splice(at..at, more);
            }
            6 if !other.is_empty() => {
                let from = random.below(other.len());
                data.truncate(at);
                data.extend_from_slice(&other[from..]);
            }
            _ => data.truncate(random.below(data.len() + 1).max(data.len() / 2)),
        }
    }
    data.truncate(len_max);
}

/// When to stop.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Inputs besides the corpus.
    pub inputs: u64,
    /// Time, looked at between inputs.
    pub time: Option<Duration>,
}

/// Checks one input; one that breaks a promise is kept in `failures` and named.
fn check(target: &Target, data: &[u8], failures: &Path) {
    let result = catch_unwind(AssertUnwindSafe(|| (target.check)(data)));
    let Err(panic) = result else { return };
    let sum = data.iter().fold(0xcbf2_9ce4_8422_2325u64, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    let path = failures.join(format!("{}-{sum:016x}", target.name));
    let kept = std::fs::create_dir_all(failures).and_then(|()| std::fs::write(&path, data));
    match kept {
        Ok(()) => eprintln!("{}: the input is kept at {}", target.name, path.display()),
        Err(error) => eprintln!("{}: {error}; the input is {data:02x?}", target.name),
    }
    resume_unwind(panic)
}

/// Runs a target on its corpus and on inputs that follow from `seed`; gives how many.
///
/// Panics at the first that breaks a promise, its bytes kept in `failures`.
pub fn run(target: &Target, seed: u64, limits: Limits, failures: &Path) -> u64 {
    let started = Instant::now();
    let corpus = corpus::read(target).expect("the committed corpus is readable");
    for data in &corpus {
        check(target, data, failures);
    }
    let mut random = Random(seed);
    for count in 0..limits.inputs {
        if limits.time.is_some_and(|time| started.elapsed() >= time) {
            return count;
        }
        let mut data = Vec::new();
        if corpus.is_empty() || count % 2 == 0 {
            let len = random.below(target.input_len_max + 1);
            data.extend((0..len).map(|_| random.next() as u8));
        } else {
            data.extend_from_slice(&corpus[random.below(corpus.len())]);
            let other = &corpus[random.below(corpus.len())];
            mutate(&mut random, &mut data, other, target.input_len_max);
        }
        check(target, &data, failures);
    }
    limits.inputs
}
