//! The kernel on its own thread, behind a bounded queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use jar_driver::{BlockRef, Config, Driver, Effect, Input, Limits, Schedule, SyncMode};
use jar_kernel::block::Event;
use jar_kernel::local::{LocalHardware, Notice};
use jar_kernel::{Accepted, Advance, AdvanceError, Advanced, Kernel, KernelError, Refusal, Trace};
use jar_rpc::backend::Published;
use jar_rpc::{ErrorKind, RpcError, to_hex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tracing::{debug, error, info, trace, warn};

use crate::clock::now_ms;
use crate::metrics::{Metrics, NOT_AUTHOR, signed};
use crate::tracker::Tracker;

/// Requests waiting for the kernel.
const QUEUE_MAX: usize = 4096;
/// How long a request may wait for a place in the queue.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// How long the kernel's thread sleeps at most.
const SLEEP_MAX: Duration = Duration::from_secs(1);

enum Request {
    Dispatch {
        endpoint: u8,
        event: Event,
        reply: oneshot::Sender<Result<Accepted, Refusal>>,
        _place: OwnedSemaphorePermit,
    },
    Stop,
}

/// What the thread shares with the rest of the node.
#[derive(Debug)]
pub struct Shared {
    /// Metrics.
    pub metrics: Metrics,
    /// Events that wait.
    pub tracker: Tracker,
    /// When a block being built should take no further event, in milliseconds since the Unix
    /// epoch.
    until_ms: AtomicU64,
    /// Whether the node is stopping.
    stopping: AtomicBool,
    /// When the head changed last, in milliseconds since the Unix epoch.
    head_changed_ms: AtomicU64,
}

impl Shared {
    /// The state of a node that starts now.
    pub fn new(metrics: Metrics) -> Self {
        Shared {
            metrics,
            tracker: Tracker::default(),
            until_ms: AtomicU64::new(u64::MAX),
            stopping: AtomicBool::new(false),
            head_changed_ms: AtomicU64::new(now_ms()),
        }
    }

    /// Whether a block being built should take no further event.
    pub fn should_stop(&self) -> bool {
        self.is_stopping() || now_ms() >= self.until_ms.load(Ordering::Relaxed)
    }

    /// Whether the node is stopping.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Milliseconds since the head changed, or since the process started.
    pub fn head_age_ms(&self) -> u64 {
        now_ms().saturating_sub(self.head_changed_ms.load(Ordering::Relaxed))
    }

    /// Takes note of what the kernel tells while it works.
    pub fn notice(&self, notice: Notice) {
        let Notice::Trace(trace) = notice else {
            // There is no network to hand emissions to.
            return;
        };
        match trace {
            Trace::Log { level, message } => guest_log(level, &message),
            Trace::Committed {
                events,
                gas_used,
                records,
                ..
            } => {
                self.metrics.blocks.inc();
                self.metrics.block_events.inc_by(events as u64);
                self.metrics.gas.inc_by(gas_used);
                self.metrics.records.inc_by(records as u64);
            }
            Trace::Head { reverted, .. } => self.metrics.reverted.inc_by(reverted),
            Trace::Finalized { hash, height } => {
                self.metrics.finalized_height.set(signed(height));
                info!(target: "chain", height, hash = %to_hex(&hash), "finalized");
            }
            Trace::HeadPhase { endpoint, reason } => {
                warn!(target: "chain", endpoint, "{reason}");
            }
            Trace::Dropped { id, reason } => {
                self.metrics.dropped.inc();
                self.tracker.dropped(&id, &reason);
                debug!(target: "chain", id = %to_hex(&id), reason, "event dropped");
            }
        }
    }
}

/// A line that a program logged.
fn guest_log(level: u64, message: &[u8]) {
    let line = String::from_utf8_lossy(message);
    match level {
        0 | 1 => error!(target: "guest", "{line}"),
        2 => warn!(target: "guest", "{line}"),
        3 => info!(target: "guest", "{line}"),
        4 => debug!(target: "guest", "{line}"),
        _ => trace!(target: "guest", "{line}"),
    }
}

/// The kernel's thread, from outside.
#[derive(Debug)]
pub struct KernelThread {
    requests: mpsc::Sender<Request>,
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
    /// Starts the thread of a kernel.
    pub fn start(
        kernel: Kernel<LocalHardware>,
        schedule: Schedule,
        shared: Arc<Shared>,
    ) -> anyhow::Result<(KernelThread, Ended)> {
        let (requests, queue) = mpsc::channel();
        let (publish, published) = watch::channel(publication(&kernel));
        let (ends, ended) = oneshot::channel::<()>();
        let worker = Worker {
            driver: Driver::new(Config {
                schedule,
                genesis: kernel.chain().genesis_hash(),
                sync: SyncMode::Full,
                first_height: 1,
                head: BlockRef::from(&**kernel.head()),
                finalized: BlockRef::from(&**kernel.finalized()),
                peers_min: 0,
                limits: Limits::default(),
            }),
            kernel,
            queue,
            publish,
            shared: shared.clone(),
            told_not_author: false,
        };
        worker.show_head();
        let thread = std::thread::Builder::new()
            .name("kernel".into())
            .spawn(move || {
                let _ends = ends;
                worker.run()
            })
            .context("cannot start the kernel's thread")?;
        let handle = KernelThread {
            requests,
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
            _place: place,
        };
        self.requests.send(request).map_err(|_| stopping())?;
        Ok(answer.await.map_err(|_| stopping())??)
    }

    /// Asks the thread to stop at a whole block. What waits for the kernel is answered that the
    /// node is stopping.
    pub fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        // It fails only when the thread has ended.
        let _ = self.requests.send(Request::Stop);
    }
}

fn publication(kernel: &Kernel<LocalHardware>) -> Published {
    Published {
        head: kernel.head().clone(),
        finalized: kernel.finalized().hash,
        finalized_height: kernel.finalized().header.height,
    }
}

/// The thread itself.
struct Worker {
    kernel: Kernel<LocalHardware>,
    driver: Driver,
    queue: mpsc::Receiver<Request>,
    publish: watch::Sender<Published>,
    shared: Arc<Shared>,
    told_not_author: bool,
}

impl Worker {
    /// Serves requests and builds blocks until stopped. An error is one of the node itself.
    fn run(mut self) -> anyhow::Result<()> {
        loop {
            let sleep = self.tick()?;
            match self.queue.recv_timeout(sleep) {
                Ok(Request::Dispatch { .. }) if self.shared.is_stopping() => {}
                Ok(Request::Dispatch {
                    endpoint,
                    event,
                    reply,
                    _place,
                }) => self.dispatch(endpoint, event, reply)?,
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Request::Stop) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            if self.shared.is_stopping() {
                return Ok(());
            }
        }
    }

    /// Does what the driver decides; answers how long there is nothing to decide.
    fn tick(&mut self) -> anyhow::Result<Duration> {
        let mut sleep = SLEEP_MAX;
        for effect in self.driver.handle(Input::Tick, now_ms()) {
            match effect {
                Effect::Build { slot, until_ms } => self.build(slot, until_ms)?,
                Effect::Wake { at_ms } => {
                    sleep = Duration::from_millis(at_ms.saturating_sub(now_ms())).min(SLEEP_MAX);
                }
                // Of peers, which this node has none.
                _ => {}
            }
        }
        Ok(sleep)
    }

    fn dispatch(
        &mut self,
        endpoint: u8,
        event: Event,
        reply: oneshot::Sender<Result<Accepted, Refusal>>,
    ) -> anyhow::Result<()> {
        let result = self.kernel.dispatch(endpoint, event);
        let trouble = match &result {
            Ok(accepted) => {
                self.shared.metrics.accepted.inc();
                self.shared.tracker.accepted(accepted);
                None
            }
            Err(refusal) => {
                self.shared.metrics.event_refused(refusal);
                match refusal {
                    Refusal::Kernel(error) => Some(error.to_string()),
                    _ => None,
                }
            }
        };
        self.show_pending();
        // Whoever asked may have gone.
        let _ = reply.send(result);
        match trouble {
            Some(trouble) => Err(anyhow::anyhow!("while judging an event: {trouble}")),
            None => Ok(()),
        }
    }

    fn build(&mut self, slot: u64, until_ms: u64) -> anyhow::Result<()> {
        self.shared.until_ms.store(until_ms, Ordering::Relaxed);
        let started = Instant::now();
        let built = self.kernel.advance(Advance::Build { slot });
        self.shared.until_ms.store(u64::MAX, Ordering::Relaxed);
        let took = started.elapsed();
        match built {
            Ok(advanced) => {
                self.shared
                    .metrics
                    .build_seconds
                    .observe(took.as_secs_f64());
                self.advanced(&advanced, took);
            }
            Err(AdvanceError::Kernel(error)) => return Err(fatal(error, slot)),
            Err(AdvanceError::NotAuthor) => {
                self.shared.metrics.build_failed(NOT_AUTHOR);
                if !std::mem::replace(&mut self.told_not_author, true) {
                    info!(target: "chain", slot, "this slot's author is a key that this node does not sign for; the next such slots are logged as debug");
                }
                debug!(target: "chain", slot, "the slot is another author's");
            }
            Err(error) => {
                self.shared.metrics.build_failed("invalid");
                warn!(target: "chain", slot, %error, "no block was built");
            }
        }
        self.show_pending();
        Ok(())
    }

    fn advanced(&mut self, advanced: &Advanced, took: Duration) {
        for (id, _) in &advanced.events {
            self.shared.tracker.included(id);
        }
        let header = &advanced.block.header;
        if advanced.head_changed {
            self.shared
                .head_changed_ms
                .store(now_ms(), Ordering::Relaxed);
            // Nothing to do: this thread's own build moved the head past that slot.
            self.driver
                .handle(Input::Head(BlockRef::from(&**self.kernel.head())), now_ms());
            self.show_head();
            info!(
                target: "chain",
                height = header.height,
                slot = header.slot,
                hash = %to_hex(&advanced.hash),
                events = advanced.events.len(),
                took_ms = took.as_millis() as u64,
                "new head"
            );
        }
        self.publish.send_replace(publication(&self.kernel));
    }

    fn show_head(&self) {
        let (head, metrics) = (self.kernel.head(), &self.shared.metrics);
        metrics.height.set(signed(head.header.height));
        metrics.head_score.set(signed(head.score));
        metrics.head_slot.set(signed(head.header.slot));
        let finalized = self.kernel.finalized().header.height;
        metrics.finalized_height.set(signed(finalized));
    }

    fn show_pending(&self) {
        let pending = self.kernel.pending_count() as u64;
        self.shared.metrics.pending.set(signed(pending));
    }
}

fn fatal(error: KernelError, slot: u64) -> anyhow::Error {
    anyhow::Error::new(error).context(format!("while building the block of slot {slot}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jar_kernel::local::Sink;
    use jar_kernel::signer::Signer;
    use jar_kernel::{Genesis, Params};
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
        let kernel = Kernel::open(Arc::new(hardware), &genesis, engine).expect("a chain");
        let schedule = Schedule {
            genesis_time_ms: 0,
            slot_ms: 1000,
            builds: true,
        };
        let metrics = Metrics::new("test", "jar-dev").expect("good names");
        let shared = Arc::new(Shared::new(metrics));
        KernelThread::start(kernel, schedule, shared).expect("a thread")
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
