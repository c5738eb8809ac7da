//! The kernel on its own thread, behind a bounded queue.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use jar_driver::Driver;
use jar_kernel::block::Event;
use jar_kernel::local::LocalHardware;
use jar_kernel::{Accepted, Kernel};
use jar_rpc::backend::Published;
use jar_rpc::{ErrorKind, RpcError};
use tokio::sync::{Semaphore, oneshot, watch};

use crate::inbox::{Inbox, Queue, Request};
use crate::shared::Shared;
use crate::signing::Guard;
use crate::worker::{Worker, publication};

/// Clients' requests waiting for the kernel.
const QUEUE_MAX: usize = 4096;
/// How long a request may wait for a place in the queue.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// The kernel's thread, from outside.
#[derive(Debug)]
pub struct KernelThread {
    inbox: Inbox,
    places: Arc<Semaphore>,
    published: watch::Receiver<Published>,
    shared: Arc<Shared>,
}

/// What the thread left: how it ended, once it did.
#[derive(Debug)]
pub struct Ended {
    ended: oneshot::Receiver<()>,
    thread: JoinHandle<anyhow::Result<()>>,
}

impl Ended {
    /// Waits until the thread ends. The outcome is asked for with [`Ended::outcome`].
    pub async fn wait(&mut self) {
        // The sender is dropped with the thread's last frame, by a panic too.
        let _ = (&mut self.ended).await;
    }

    /// How the thread ended; an error after a panic or trouble with the store.
    pub fn outcome(self) -> anyhow::Result<()> {
        match self.thread.join() {
            Ok(outcome) => outcome,
            Err(panic) => {
                let text = panic
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or_else(|| panic.downcast_ref::<&str>().copied());
                Err(anyhow::anyhow!(
                    "the kernel panicked: {}",
                    text.unwrap_or("no message")
                ))
            }
        }
    }
}

impl KernelThread {
    /// Starts the thread of a kernel, whose requests come from this queue.
    pub fn start(
        (kernel, driver, guard): (Kernel<LocalHardware>, Driver, Guard),
        shared: Arc<Shared>,
        (inbox, queue): (Inbox, Queue),
    ) -> anyhow::Result<(KernelThread, Ended)> {
        let (publish, published) = watch::channel(publication(&kernel));
        let (ends, ended) = oneshot::channel::<()>();
        let worker = Worker::new((kernel, driver, guard), queue, publish, shared.clone());
        let thread = std::thread::Builder::new()
            .name("kernel".into())
            .spawn(move || {
                let _ends = ends;
                worker.run()
            })
            .context("cannot start the kernel's thread")?;
        let handle = KernelThread {
            inbox,
            places: Arc::new(Semaphore::new(QUEUE_MAX)),
            published,
            shared,
        };
        Ok((handle, Ended { ended, thread }))
    }

    /// The head and what is final, as they change.
    pub fn published(&self) -> &watch::Receiver<Published> {
        &self.published
    }

    /// Gives an event to the kernel, and waits for its word.
    pub async fn dispatch(&self, endpoint: u8, event: Event) -> Result<Accepted, RpcError> {
        let stopping = || RpcError::from(ErrorKind::ShuttingDown);
        if self.shared.is_stopping() {
            return Err(stopping());
        }
        let place = tokio::time::timeout(WAIT_MAX, self.places.clone().acquire_owned())
            .await
            .map_err(|_| RpcError::from(ErrorKind::Busy))?
            .map_err(|_| stopping())?;
        let (reply, answer) = oneshot::channel();
        let request = Request::Dispatch {
            endpoint,
            event,
            reply,
            place,
        };
        if !self.inbox.send(request) {
            return Err(stopping());
        }
        Ok(answer.await.map_err(|_| stopping())??)
    }

    /// Asks the thread to stop at a whole block. What waits for the kernel is answered that the
    /// node is stopping.
    pub fn stop(&self) {
        self.shared.stop();
        // It fails only when the thread has ended.
        let _ = self.inbox.send(Request::Stop);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::inbox;
    use crate::metrics::Metrics;
    use crate::worker::driver;
    use jar_driver::{Schedule, SyncMode};
    use jar_kernel::local::{Notice, Sink};
    use jar_kernel::signer::Signer;
    use jar_kernel::{Genesis, Params, Trace};
    use jar_sim::{CrashAt, CrashStore};
    use parity_scale_codec::Encode;

    /// The counter chain, which anybody may build: its slots are long past, so that one is built
    /// at once.
    fn start(store: Arc<CrashStore>, sink: Sink) -> (KernelThread, Ended) {
        let image = concat!(env!("CARGO_MANIFEST_DIR"), "/../chain-specs/counter.image");
        let genesis = Genesis {
            params: Params::default(),
            image: std::fs::read(image).expect("the Image"),
            slot_ms: 1000,
            time_ms: 0,
            payload: 0u64.encode(),
        };
        let hardware = LocalHardware::new(store, Signer::without_keys(), sink, Box::new(|| false));
        let engine = jar_pvm::engine(jar_pvm::EngineKind::Auto).expect("an engine");
        let hardware = Arc::new(hardware);
        let dir = tempfile::tempdir().expect("a directory");
        let guard = Guard::new(dir.path(), hardware.clone(), false, false, 0).expect("a guard");
        let kernel = Kernel::open(hardware, &genesis, engine).expect("a chain");
        let schedule = Schedule {
            genesis_time_ms: 0,
            slot_ms: 1000,
            builds: true,
        };
        let driver = driver(&kernel, schedule, SyncMode::Full, 0).expect("a driver");
        let metrics = Metrics::new("test", "jar-dev").expect("good names");
        let shared = Arc::new(Shared::new(metrics));
        KernelThread::start((kernel, driver, guard), shared, inbox()).expect("a thread")
    }

    #[tokio::test]
    async fn trouble_with_the_store_ends_the_thread_with_an_error() {
        let store = Arc::new(CrashStore::default());
        let opened = store.clone();
        let crash = move |notice| {
            if let Notice::Trace(Trace::Head { .. }) = notice {
                opened.crash_next(CrashAt::BeforeCommit);
            }
        };
        let (thread, mut ended) = start(store, Box::new(crash));
        ended.wait().await;
        let error = ended.outcome().expect_err("an error");
        let text = format!("{error:#}");
        assert!(
            text.contains("while building") && text.contains("killed"),
            "{text}"
        );
        let answer = thread.dispatch(0, Event::default()).await;
        assert_eq!(
            answer.expect_err("no kernel").kind(),
            ErrorKind::ShuttingDown
        );
    }

    #[tokio::test]
    async fn a_panic_ends_the_thread_with_an_error() {
        let store = Arc::new(CrashStore::default());
        let panics = |notice| {
            if let Notice::Trace(Trace::Head { height: 1, .. }) = notice {
                panic!("a bug");
            }
        };
        let (_thread, mut ended) = start(store, Box::new(panics));
        ended.wait().await;
        let error = ended.outcome().expect_err("an error");
        assert_eq!(error.to_string(), "the kernel panicked: a bug");
    }

    #[tokio::test]
    async fn it_stops_when_told() {
        let (thread, mut ended) = start(Arc::default(), Box::new(|_| {}));
        let mut published = thread.published().clone();
        let head = published
            .wait_for(|published| published.head.header.height > 0)
            .await;
        drop(head.expect("a block"));
        thread.stop();
        ended.wait().await;
        ended.outcome().expect("a good end");
    }
}
