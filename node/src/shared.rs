//! What the kernel's thread shares with the rest of the node.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{OnceLock, RwLock};

use jar_driver::{PeerInfo, Progress};
use jar_kernel::Trace;
use jar_kernel::local::Notice;
use jar_rpc::to_hex;
use tracing::{debug, error, info, trace, warn};

use crate::clock::now_ms;
use crate::metrics::{Metrics, signed};
use crate::network::{Command, Commands};
use crate::tracker::Tracker;

/// What the kernel's thread shares with the rest of the node.
#[derive(Debug)]
pub struct Shared {
    /// Metrics.
    pub metrics: Metrics,
    /// Events that wait.
    pub tracker: Tracker,
    /// The way to the network, if there is one.
    network: OnceLock<Commands>,
    /// How far the node has come, and its peers, as the driver knows them.
    standing: RwLock<Option<Standing>>,
    /// When a block being built should take no further event, in milliseconds since the Unix
    /// epoch.
    until_ms: AtomicU64,
    /// Whether the node is stopping.
    stopping: AtomicBool,
    /// When the head changed last, in milliseconds since the Unix epoch.
    head_changed_ms: AtomicU64,
}

/// How the node stands among its peers.
#[derive(Clone, Debug)]
pub struct Standing {
    /// How far it has come.
    pub progress: Progress,
    /// Its peers.
    pub peers: Vec<PeerInfo>,
}

impl Shared {
    /// The state of a node that starts now.
    pub fn new(metrics: Metrics) -> Self {
        Shared {
            metrics,
            tracker: Tracker::default(),
            network: OnceLock::new(),
            standing: RwLock::default(),
            until_ms: AtomicU64::new(u64::MAX),
            stopping: AtomicBool::new(false),
            head_changed_ms: AtomicU64::new(now_ms()),
        }
    }

    /// Connects the network: what the kernel emits goes there from now on.
    pub fn connect(&self, network: Commands) {
        // It is connected once, when the node starts.
        let _ = self.network.set(network);
    }

    /// Tells the network something; `false` when there is none, or when its queue is full.
    pub fn command(&self, command: Command) -> bool {
        let Some(network) = self.network.get() else {
            return false;
        };
        let is_sent = network.send(command);
        if !is_sent {
            self.metrics.network.commands_dropped.inc();
        }
        is_sent
    }

    /// How the node stands; `None` before the kernel's thread started.
    pub fn standing(&self) -> Option<Standing> {
        self.standing.read().ok()?.clone()
    }

    /// Takes note of how the node stands.
    pub fn set_standing(&self, standing: Standing) {
        if let Ok(mut held) = self.standing.write() {
            *held = Some(standing);
        }
    }

    /// Sets when a block being built should take no further event; `None` for no limit.
    pub fn set_until(&self, until_ms: Option<u64>) {
        let until_ms = until_ms.unwrap_or(u64::MAX);
        self.until_ms.store(until_ms, Ordering::Relaxed);
    }

    /// Whether a block being built should take no further event.
    pub fn should_stop(&self) -> bool {
        self.is_stopping() || now_ms() >= self.until_ms.load(Ordering::Relaxed)
    }

    /// Whether the node is stopping.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// The node is to stop.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// The head changed now.
    pub fn head_changed(&self) {
        self.head_changed_ms.store(now_ms(), Ordering::Relaxed);
    }

    /// Milliseconds since the head changed, or since the process started.
    pub fn head_age_ms(&self) -> u64 {
        now_ms().saturating_sub(self.head_changed_ms.load(Ordering::Relaxed))
    }

    /// Takes note of what the kernel tells while it works.
    pub fn notice(&self, notice: Notice) {
        let trace = match notice {
            Notice::Emission(emission) => {
                // What is dropped, peers ask for.
                self.command(Command::Emit(emission));
                return;
            }
            Notice::Trace(trace) => trace,
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
            Trace::Unloaded => {
                self.metrics.unloaded.inc();
                debug!(target: "chain", "state in memory let go");
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
