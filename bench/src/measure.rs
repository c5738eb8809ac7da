//! Times and what is made of them.

use std::sync::LazyLock;
use std::time::Instant;

use cpu_time::ThreadTime;

use crate::subject::Subject;

/// Set by `JAR_BENCH_BUSY`, for a look at a machine that does other things: the least time
/// that this thread computed, in place of the median that passed. Says nothing of polkavm's
/// guests in another process.
static BUSY: LazyLock<bool> = LazyLock::new(|| std::env::var_os("JAR_BENCH_BUSY").is_some());

/// Microseconds that `work` takes, with its result.
pub fn micros<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let (passed, computed) = (Instant::now(), BUSY.then(ThreadTime::now));
    let result = work();
    let time = computed.map_or_else(|| passed.elapsed(), |from| from.elapsed());
    (time.as_nanos() as f64 / 1e3, result)
}

pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        _ if *BUSY => values[0],
        0 => (values[middle - 1] + values[middle]) / 2.0,
        _ => values[middle],
    }
}

pub fn geometric_mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (mut sum, mut count) = (0.0, 0);
    for value in values {
        sum += value.ln();
        count += 1;
    }
    (sum / f64::from(count)).exp()
}

pub fn least(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().fold(f64::INFINITY, f64::min)
}

pub fn greatest(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().fold(f64::NEG_INFINITY, f64::max)
}

/// Medians of one engine on one workload, in microseconds.
#[derive(Clone, Copy)]
pub struct Times {
    /// From bytes to a machine that is ready.
    pub compile: f64,
    /// From bytes to the result.
    pub whole: f64,
    /// A run on a machine that has run before.
    pub run: f64,
}

/// Lets the subjects take turns for `rounds` rounds. Panics where checksums differ.
pub fn measure(subjects: &mut [Box<dyn Subject>], n: u64, rounds: usize) -> Vec<Times> {
    let mut samples = vec![[vec![], vec![], vec![]]; subjects.len()];
    let mut expected = None;
    // One round that isn't counted: caches, pools and lazy set-up.
    for round in 0..=rounds {
        for (subject, [compile, whole, run]) in subjects.iter_mut().zip(&mut samples) {
            subject.drop_all();
            let (ready, ()) = micros(|| {
                subject.compile();
                subject.start();
            });
            let (first, sum) = micros(|| subject.run(n));
            let (hot, again) = micros(|| subject.run(n));
            let expected = *expected.get_or_insert(sum);
            assert_eq!((sum, again), (expected, expected), "{}", subject.name());
            if round > 0 {
                compile.push(ready);
                whole.push(ready + first);
                run.push(hot);
            }
        }
    }
    subjects.iter_mut().for_each(|subject| subject.drop_all());
    let times = samples.iter().map(|[compile, whole, run]| Times {
        compile: median(compile),
        whole: median(whole),
        run: median(run),
    });
    times.collect()
}
