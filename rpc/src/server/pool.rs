//! Blocking work on a bounded number of threads, with a bounded queue before it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::errors::{ErrorKind, RpcError};

/// A pool of turns: so many run, so many wait, none waits longer than the deadline.
pub(crate) struct Pool {
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
    waiting_max: usize,
    wait: Duration,
}

/// Counts one who waits, for as long as it lives.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pool {
    pub(crate) fn new(running_max: usize, waiting_max: usize, wait: Duration) -> Self {
        Pool {
            turns: Arc::new(Semaphore::new(running_max.max(1))),
            waiting: AtomicUsize::new(0),
            waiting_max,
            wait,
        }
    }

    /// Runs `work` on a blocking thread when its turn comes.
    ///
    /// Errors: `Busy` when the queue is full, `TimedOut` when the turn does not come in time.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, RpcError> + Send + 'static,
    ) -> Result<T, RpcError> {
        let waiting = Waiting(&self.waiting);
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.waiting_max {
            return Err(ErrorKind::Busy.into());
        }
        let turn = tokio::time::timeout(self.wait, self.turns.clone().acquire_owned())
            .await
            .map_err(|_| RpcError::from(ErrorKind::TimedOut))?
            .map_err(|_| RpcError::from(ErrorKind::ShuttingDown))?;
        drop(waiting);
        // The turn goes with the work: a caller who leaves does not make room for another.
        let work = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        work.await
            .map_err(|error| RpcError::about(ErrorKind::Internal, error))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test]
    async fn queue_and_wait_are_bounded() {
        let pool = Arc::new(Pool::new(1, 1, Duration::from_millis(20)));
        let (release, released) = mpsc::channel::<()>();
        let (started, has_started) = tokio::sync::oneshot::channel();
        let first = tokio::spawn({
            let pool = pool.clone();
            async move {
                pool.run(move || {
                    started.send(()).expect("someone waits");
                    released.recv().expect("released");
                    Ok(1)
                })
                .await
            }
        });
        has_started.await.expect("it runs");
        let (second, third) = tokio::join!(pool.run(|| Ok(2)), pool.run(|| Ok(3)));
        assert_eq!(second.expect_err("no turn").kind(), ErrorKind::TimedOut);
        assert_eq!(third.expect_err("no place").kind(), ErrorKind::Busy);
        release.send(()).expect("it waits");
        assert_eq!(first.await.expect("no panic").expect("ran"), 1);
        assert_eq!(pool.run(|| Ok(4)).await.expect("free again"), 4);
    }
}
