//! Back-pressure on a WebSocket: who does not read answers gets no further questions read.
//!
//! The library starts a task for each message that arrives and lets finished answers wait in
//! memory for their turn. So the socket is not read while too many calls of a connection run, or
//! too many bytes of answers wait to be written.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};

/// Calls of one WebSocket that run at the same time.
const CALLS_MAX: usize = 16;
/// Bytes of answers that wait to be written to one WebSocket, before it is read again.
const OWED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What a connection has under way.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    calls: AtomicUsize,
    owed_bytes: AtomicUsize,
    reader: Mutex<Option<Waker>>,
}

/// A call under way, until this is dropped.
pub(crate) struct Call(Arc<Flow>);

impl Drop for Call {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::AcqRel);
        self.0.wake();
    }
}

impl Flow {
    /// A call begins.
    pub(crate) fn begin(self: &Arc<Self>) -> Call {
        self.calls.fetch_add(1, Ordering::AcqRel);
        Call(self.clone())
    }

    /// An answer of so many bytes waits to be written.
    pub(crate) fn owe(&self, bytes: usize) {
        self.owed_bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    /// So many bytes were written. Frames and notifications count as well: what is owed is an
    /// estimate, which is right again whenever nothing is.
    pub(crate) fn wrote(&self, bytes: usize) {
        let less = |owed: usize| Some(owed.saturating_sub(bytes));
        // It always changes something.
        let _ = self
            .owed_bytes
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
        self.wake();
    }

    fn is_open(&self) -> bool {
        self.calls.load(Ordering::Acquire) < CALLS_MAX
            && self.owed_bytes.load(Ordering::Acquire) < OWED_BYTES_MAX
    }

    fn wake(&self) {
        if !self.is_open() {
            return;
        }
        let waker = self
            .reader
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether to read now; if not, the reader is woken when it is time.
    pub(crate) fn poll_open(&self, cx: &mut Context<'_>) -> bool {
        if self.is_open() {
            return true;
        }
        *self.reader.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        // It may have opened before the waker was there.
        self.is_open()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;
    use std::task::Wake;

    struct Flag(AtomicBool);

    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Release);
        }
    }

    #[test]
    fn many_calls_or_unread_answers_stop_the_reader() {
        let flag = Arc::new(Flag(AtomicBool::new(false)));
        let waker = Waker::from(flag.clone());
        let mut cx = Context::from_waker(&waker);
        let flow = Arc::new(Flow::default());
        let mut calls: Vec<Call> = (0..CALLS_MAX).map(|_| flow.begin()).collect();
        assert!(!flow.poll_open(&mut cx));
        flow.owe(OWED_BYTES_MAX + 5);
        calls.pop();
        assert!(!flow.poll_open(&mut cx));
        assert!(!flag.0.load(Ordering::Acquire));
        flow.wrote(6);
        assert!(flag.0.load(Ordering::Acquire));
        assert!(flow.poll_open(&mut cx));
        // More than owed was written: notifications.
        flow.wrote(usize::MAX);
        flow.owe(1);
        assert!(flow.poll_open(&mut cx));
    }
}
