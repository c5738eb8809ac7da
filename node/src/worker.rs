//! The kernel's thread itself: it does what the driver decides.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use jar_cap::{NodeStore, RecordId};
use jar_driver::{
    BlockRef, Config, Driver, Effect, EventOutcome, ImportOutcome, Input, Limits, Pivot,
    RequestFailure, Schedule, SyncMode, Ticket,
};
use jar_kernel::block::{Block, Event};
use jar_kernel::local::LocalHardware;
use jar_kernel::{Accepted, Advance, AdvanceError, Advanced, Kernel, KernelError, Refusal, Store};
use jar_rpc::backend::Published;
use jar_rpc::to_hex;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::clock::now_ms;
use crate::inbox::{Queue, Request};
use crate::metrics::{NOT_AUTHOR, signed};
use crate::network::Command;
use crate::progress::Reporter;
use crate::shared::{Shared, Standing};
use crate::signing::Guard;

/// How long the thread sleeps at most.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// How often aggregates that changed are handed to the network.
const ANNOUNCE_PER_SLOT: u64 = 8;
/// How often others learn how the node stands, at the most.
const STANDING_MS: u64 = 100;

/// What is published of a kernel.
pub fn publication(kernel: &Kernel<LocalHardware>) -> Published {
    Published {
        head: kernel.head().clone(),
        finalized: kernel.finalized().hash,
        finalized_height: kernel.finalized().header.height,
    }
}

/// The driver of a kernel. Before its first block it waits for `peers_min` peers' word, for a
/// while.
pub fn driver(
    kernel: &Kernel<LocalHardware>,
    schedule: Schedule,
    sync: SyncMode,
    peers_min: usize,
) -> Result<Driver, KernelError> {
    Ok(Driver::new(Config {
        schedule,
        genesis: kernel.chain().genesis_hash(),
        sync,
        first_height: first_height(&**kernel.chain().store(), kernel.head().header.height)?,
        head: BlockRef::from(&**kernel.head()),
        finalized: BlockRef::from(&**kernel.finalized()),
        peers_min,
        limits: Limits::default(),
    }))
}

/// Height of the lowest block above genesis that is held: a node that started from a finalized
/// block holds none below it.
fn first_height(store: &dyn Store, head: u64) -> Result<u64, KernelError> {
    let (mut low, mut high) = (1, head.max(1));
    while low < high {
        let middle = low + (high - low) / 2;
        match store.canonical(middle)? {
            Some(_) => high = middle,
            None => low = middle + 1,
        }
    }
    Ok(low)
}

/// The thread's state.
pub struct Worker {
    kernel: Kernel<LocalHardware>,
    driver: Driver,
    guard: Guard,
    queue: Queue,
    publish: watch::Sender<Published>,
    shared: Arc<Shared>,
    reporter: Reporter,
    /// When to tick at the latest, in milliseconds since the Unix epoch.
    wake_ms: u64,
    /// When aggregates that changed were handed to the network.
    announced_ms: u64,
    /// When others learnt how the node stands.
    stood_ms: u64,
    told_not_author: bool,
}

impl Worker {
    /// A worker of these parts, which shows where the kernel stands.
    pub fn new(
        (kernel, driver, guard): (Kernel<LocalHardware>, Driver, Guard),
        queue: Queue,
        publish: watch::Sender<Published>,
        shared: Arc<Shared>,
    ) -> Worker {
        let worker = Worker {
            reporter: Reporter::new(now_ms()),
            kernel,
            driver,
            guard,
            queue,
            publish,
            shared,
            wake_ms: 0,
            announced_ms: 0,
            stood_ms: 0,
            told_not_author: false,
        };
        worker.show_head();
        worker
    }

    /// Serves requests and builds blocks until stopped. An error is one of the node itself.
    pub fn run(mut self) -> anyhow::Result<()> {
        loop {
            self.handle(Input::Tick)?;
            self.announce();
            self.show_standing();
            let sleep = Duration::from_millis(self.wake_ms.saturating_sub(now_ms()));
            match self.queue.recv_timeout(sleep.min(SLEEP_MAX)) {
                Ok(Request::Stop) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(_) if self.shared.is_stopping() => return Ok(()),
                Ok(Request::Dispatch {
                    endpoint,
                    event,
                    reply,
                    place: _place,
                }) => {
                    let result = self.kernel.dispatch(endpoint, event);
                    let result = self.judged(result)?;
                    // Whoever asked may have gone.
                    let _ = reply.send(result);
                }
                Ok(Request::Input {
                    input,
                    place: _place,
                }) => self.handle(input)?,
            }
            if self.shared.is_stopping() {
                return Ok(());
            }
        }
    }

    /// Gives the driver an input, does what it decides, and gives it what came of that.
    fn handle(&mut self, input: Input) -> anyhow::Result<()> {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut wake_ms = None;
            for effect in self.driver.handle(input, now_ms()) {
                match effect {
                    Effect::Wake { at_ms } => wake_ms = Some(at_ms),
                    effect => self.perform(effect, &mut inputs)?,
                }
            }
            self.wake_ms = wake_ms.unwrap_or(u64::MAX);
        }
        Ok(())
    }

    /// Does what the driver decided; what came of it goes to `inputs`.
    fn perform(&mut self, effect: Effect, inputs: &mut VecDeque<Input>) -> anyhow::Result<()> {
        match effect {
            Effect::Build { slot, until_ms } => self.build(slot, until_ms, inputs)?,
            Effect::Import { ticket, block } => self.import(ticket, &block, inputs)?,
            Effect::Judge {
                ticket,
                endpoint,
                events,
            } => self.judge(ticket, endpoint, events, inputs)?,
            Effect::ReadRecords { ticket, ids } => {
                let contents = self.read_records(&ids)?;
                inputs.push_back(Input::RecordsRead { ticket, contents });
            }
            Effect::WriteRecords { ticket, records } => {
                self.kernel.chain().store().write_records(&records)?;
                inputs.push_back(Input::RecordsWritten { ticket });
            }
            Effect::Adopt { ticket, pivot } => self.adopt(ticket, *pivot, inputs)?,
            effect => self.command(effect, inputs),
        }
        Ok(())
    }

    /// Starts from a finalized block whose state was fetched.
    fn adopt(
        &mut self,
        ticket: Ticket,
        pivot: Pivot,
        inputs: &mut VecDeque<Input>,
    ) -> anyhow::Result<()> {
        let adopted = self
            .kernel
            .adopt(pivot.block, pivot.score, pivot.instance, pivot.outcomes);
        let is_adopted = adopted.is_ok();
        match adopted {
            Ok(()) => {
                let head = BlockRef::from(&**self.kernel.head());
                inputs.push_back(Input::Head(head));
                inputs.push_back(Input::Finalized(head));
                self.shared.head_changed();
                self.show_head();
                self.publish.send_replace(publication(&self.kernel));
                info!(target: "sync", height = head.height, hash = %to_hex(&head.hash), "started from a finalized state");
            }
            Err(AdvanceError::Kernel(error)) => return Err(error.into()),
            Err(error) => warn!(target: "sync", %error, "a state was not adopted"),
        }
        inputs.push_back(Input::Adopted { ticket, is_adopted });
        Ok(())
    }

    /// Hands the network what is the network's.
    fn command(&mut self, effect: Effect, inputs: &mut VecDeque<Input>) {
        let command = match effect {
            Effect::Verdict {
                message, verdict, ..
            } => Command::Verdict { message, verdict },
            Effect::Request {
                id, peer, request, ..
            } => {
                if !self.shared.command(Command::Request { id, peer, request }) {
                    let failure = RequestFailure::Unreachable;
                    inputs.push_back(Input::RequestFailed { id, failure });
                }
                return;
            }
            Effect::Serve { inbound, request } => Command::Serve {
                inbound,
                request,
                status: self.driver.status(),
            },
            Effect::Refuse { inbound } => Command::Refuse { inbound },
            Effect::Ban {
                peer,
                until_ms,
                offence,
            } => Command::Ban {
                peer,
                duration: Duration::from_millis(until_ms.saturating_sub(now_ms())),
                offence,
            },
            // Done in `perform` and `handle`.
            _ => return,
        };
        // What is dropped ends by itself: verdicts and answers are forgotten, and a peer that
        // should be banned goes on to misbehave.
        self.shared.command(command);
    }

    /// Hands aggregates that changed to the network, a few times a slot.
    fn announce(&mut self) {
        let now = now_ms();
        let every_ms = self.kernel.chain().slot_ms() / ANNOUNCE_PER_SLOT;
        if now.abs_diff(self.announced_ms) >= every_ms {
            self.announced_ms = now;
            self.kernel.announce();
        }
    }

    /// Takes note of what the kernel made of an event.
    fn judged(
        &mut self,
        result: Result<Accepted, Refusal>,
    ) -> anyhow::Result<Result<Accepted, Refusal>> {
        match &result {
            Ok(accepted) => {
                self.shared.metrics.accepted.inc();
                self.shared.tracker.accepted(accepted);
            }
            Err(refusal) => self.shared.metrics.event_refused(refusal),
        }
        self.show_pending();
        match result {
            Err(Refusal::Kernel(error)) => {
                Err(anyhow::Error::new(error).context("while judging an event"))
            }
            result => Ok(result),
        }
    }

    /// Judges events of peers.
    fn judge(
        &mut self,
        ticket: Ticket,
        endpoint: u8,
        events: Vec<Event>,
        inputs: &mut VecDeque<Input>,
    ) -> anyhow::Result<()> {
        let mut outcomes = Vec::with_capacity(events.len());
        for event in events {
            let result = self.kernel.receive(endpoint, &event);
            outcomes.push(EventOutcome::of(&self.judged(result)?));
        }
        inputs.push_back(Input::Judged { ticket, outcomes });
        Ok(())
    }

    fn import(
        &mut self,
        ticket: Ticket,
        block: &Block,
        inputs: &mut VecDeque<Input>,
    ) -> anyhow::Result<()> {
        if self.shared.is_stopping() {
            let outcome = ImportOutcome::Trouble;
            inputs.push_back(Input::Imported { ticket, outcome });
            return Ok(());
        }
        let started = Instant::now();
        let advance = Advance::Import(Box::new(block.clone()));
        let result = self.kernel.advance(advance);
        let outcome = ImportOutcome::of(&result);
        match result {
            Ok(advanced) => {
                let took = started.elapsed();
                self.shared
                    .metrics
                    .import_seconds
                    .observe(took.as_secs_f64());
                self.guard.imported(&advanced.block)?;
                self.advanced(&advanced, took, inputs)?;
            }
            Err(AdvanceError::Kernel(error)) => {
                let height = block.header.height;
                return Err(anyhow::Error::new(error)
                    .context(format!("while importing a block of height {height}")));
            }
            Err(error) => debug!(target: "chain", %error, "a block was not imported"),
        }
        inputs.push_back(Input::Imported { ticket, outcome });
        Ok(())
    }

    fn read_records(&self, ids: &[RecordId]) -> anyhow::Result<Vec<Option<Vec<u8>>>> {
        let store = self.kernel.chain().store();
        let read = |id| NodeStore::get(&**store, id);
        Ok(ids.iter().map(read).collect::<Result<_, _>>()?)
    }

    fn build(
        &mut self,
        slot: u64,
        until_ms: u64,
        inputs: &mut VecDeque<Input>,
    ) -> anyhow::Result<()> {
        self.shared.set_until(Some(until_ms));
        let started = Instant::now();
        let built = self.kernel.advance(Advance::Build { slot });
        self.shared.set_until(None);
        let took = started.elapsed();
        let metrics = &self.shared.metrics;
        match built {
            Ok(advanced) => {
                metrics.build_seconds.observe(took.as_secs_f64());
                self.advanced(&advanced, took, inputs)?;
            }
            Err(AdvanceError::Kernel(error)) => {
                return Err(anyhow::Error::new(error)
                    .context(format!("while building the block of slot {slot}")));
            }
            Err(AdvanceError::NotAuthor) => {
                metrics.build_failed(NOT_AUTHOR);
                if !std::mem::replace(&mut self.told_not_author, true) {
                    info!(target: "chain", slot, "this slot's author is a key that this node does not sign for; the next such slots are logged as debug");
                }
                debug!(target: "chain", slot, "the slot is another author's");
            }
            // Another author's block of the slot came while this one was decided on.
            Err(AdvanceError::StaleSlot { .. }) => metrics.build_failed("stale_slot"),
            Err(error) => {
                metrics.build_failed("invalid");
                warn!(target: "chain", slot, %error, "no block was built");
            }
        }
        self.show_pending();
        Ok(())
    }

    /// Tells everyone of a block that was committed.
    fn advanced(
        &mut self,
        advanced: &Advanced,
        took: Duration,
        inputs: &mut VecDeque<Input>,
    ) -> anyhow::Result<()> {
        for (id, _) in &advanced.events {
            self.shared.tracker.included(id);
        }
        let header = &advanced.block.header;
        if advanced.head_changed {
            self.shared.head_changed();
            inputs.push_back(Input::Head(BlockRef::from(&**self.kernel.head())));
            self.show_head();
            let (height, slot) = (header.height, header.slot);
            let (hash, events) = (to_hex(&advanced.hash), advanced.events.len());
            let took_ms = took.as_millis() as u64;
            // While it syncs, lines of progress say enough.
            match self.reporter.is_syncing() {
                false => {
                    info!(target: "chain", height, slot, %hash, events, took_ms, "new head");
                }
                true => debug!(target: "chain", height, slot, %hash, events, took_ms, "new head"),
            }
        }
        if advanced.finalized.is_some() {
            let finalized = BlockRef::from(&**self.kernel.finalized());
            let final_slot = self.kernel.finalized().header.slot;
            inputs.push_back(Input::Finalized(finalized));
            let heights = (self.kernel.head().header.height, finalized.height);
            self.guard.finalized(header.slot, final_slot, heights)?;
            self.show_signing();
        }
        self.publish.send_replace(publication(&self.kernel));
        if advanced.head_changed {
            // The signatures made here are of watermarks that are on disk.
            let is_synced = self.driver.is_synced();
            self.kernel.on_head(is_synced)?;
        }
        Ok(())
    }

    fn show_head(&self) {
        let (head, metrics) = (self.kernel.head(), &self.shared.metrics);
        metrics.height.set(signed(head.header.height));
        metrics.head_score.set(signed(head.score));
        metrics.head_slot.set(signed(head.header.slot));
        let finalized = self.kernel.finalized().header.height;
        metrics.finalized_height.set(signed(finalized));
        let lag = head.header.height.saturating_sub(finalized);
        metrics.finality_lag.set(signed(lag));
        self.show_signing();
    }

    fn show_signing(&self) {
        let is_on = i64::from(self.guard.is_on());
        self.shared.metrics.signing.set(is_on);
    }

    fn show_pending(&self) {
        let pending = self.kernel.pending_count() as u64;
        self.shared.metrics.pending.set(signed(pending));
    }

    /// Shows how the node stands among its peers.
    fn show_standing(&mut self) {
        let now = now_ms();
        if now.abs_diff(self.stood_ms) < STANDING_MS {
            return;
        }
        self.stood_ms = now;
        let progress = self.driver.progress();
        self.reporter.report(&progress, now);
        self.shared.metrics.network.progress(&progress);
        self.shared.set_standing(Standing {
            progress,
            peers: self.driver.peers().collect(),
        });
    }
}
