//! What the node counts, for Prometheus.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jar_driver::{Offence, Progress, Stage};
use jar_kernel::Refusal;
use jar_rpc::ErrorKind;
use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};

/// Bounds of histograms of time, in seconds.
const SECONDS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];

/// Why nothing was built in a slot of another author.
pub const NOT_AUTHOR: &str = "not_author";

/// Why builds come to nothing.
const BUILD_FAILURES: [&str; 3] = [NOT_AUTHOR, "stale_slot", "invalid"];
/// Why events are refused.
const REFUSALS: [&str; 10] = [
    "unknown_endpoint",
    "wrong_role",
    "too_large",
    "already_known",
    "bad_signature",
    "unused_traces",
    "rejected",
    "faulted",
    "pipeline_full",
    "internal",
];
/// What is gossiped, and what is made of it.
const GOSSIP: [&str; 3] = ["blocks", "dispatch", "aggregate"];
const VERDICTS: [&str; 3] = ["accept", "reject", "ignore"];
/// Why connections are refused.
const REFUSED: [&str; 2] = ["address", "other"];
/// What peers ask for.
const REQUESTS: [&str; 4] = ["status", "blocks", "pivot", "records"];
/// Peers are banned for offences, and for this.
pub const GOSSIP_SCORE: &str = "gossip score";
const OFFENCES: [Offence; 7] = [
    Offence::Malformed,
    Offence::Invalid,
    Offence::Rejected,
    Offence::Lied,
    Offence::Stalled,
    Offence::Flooded,
    Offence::OtherChain,
];

/// Every metric.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Height of the head.
    pub height: IntGauge,
    /// Height of the last finalized block.
    pub finalized_height: IntGauge,
    /// Score of the head.
    pub head_score: IntGauge,
    /// Time slot of the head.
    pub head_slot: IntGauge,
    /// Blocks committed.
    pub blocks: IntCounter,
    /// Events in blocks.
    pub block_events: IntCounter,
    /// Gas spent in blocks.
    pub gas: IntCounter,
    /// State records written.
    pub records: IntCounter,
    /// How often what was in memory of the state was let go.
    pub unloaded: IntCounter,
    /// Blocks left behind by a new head.
    pub reverted: IntCounter,
    /// Time from deciding to build a block to its commit.
    pub build_seconds: Histogram,
    /// Builds that came to nothing, by reason.
    builds_failed: IntCounterVec,
    /// Time to import a block of another node.
    pub import_seconds: Histogram,
    /// Blocks from the last finalized one to the head.
    pub finality_lag: IntGauge,
    /// 1 when this node signs with the keys it holds.
    pub signing: IntGauge,
    /// The network's.
    pub network: NetworkMetrics,
    /// Events accepted.
    pub accepted: IntCounter,
    /// Events refused, by reason.
    pub refused: IntCounterVec,
    /// Events dropped while building.
    pub dropped: IntCounter,
    /// Events waiting for a block.
    pub pending: IntGauge,
    /// RPC calls by method.
    pub rpc_calls: IntCounterVec,
    /// RPC errors by method and name.
    pub rpc_errors: IntCounterVec,
    /// Time of RPC calls by method.
    pub rpc_seconds: HistogramVec,
}

impl Metrics {
    /// Metrics of a process that starts now.
    pub fn new(engine: &str, chain_id: &str) -> Result<Metrics, prometheus::Error> {
        let metrics = Metrics::registered()?;
        metrics.begin();
        metrics.describe(engine, chain_id)?;
        Ok(metrics)
    }

    fn registered() -> Result<Metrics, prometheus::Error> {
        let registry = Registry::new();
        Ok(Metrics {
            height: gauge(&registry, "jar_head_height", "Height of the head")?,
            finalized_height: gauge(
                &registry,
                "jar_finalized_height",
                "Height of the last finalized block",
            )?,
            head_score: gauge(&registry, "jar_head_score", "Score of the head")?,
            head_slot: gauge(&registry, "jar_head_slot", "Time slot of the head")?,
            blocks: counter(&registry, "jar_blocks_total", "Blocks committed")?,
            block_events: counter(&registry, "jar_block_events_total", "Events in blocks")?,
            gas: counter(&registry, "jar_gas_used_total", "Gas spent in blocks")?,
            records: counter(
                &registry,
                "jar_state_records_written_total",
                "State records written",
            )?,
            unloaded: counter(
                &registry,
                "jar_state_unloaded_total",
                "Times that what was in memory of the state was let go",
            )?,
            reverted: counter(
                &registry,
                "jar_blocks_reverted_total",
                "Blocks left behind by a new head",
            )?,
            build_seconds: histogram(
                &registry,
                "jar_block_build_seconds",
                "Time to build and commit a block",
            )?,
            builds_failed: counters(
                &registry,
                "jar_block_builds_failed_total",
                "Builds that came to nothing",
                &["reason"],
            )?,
            import_seconds: histogram(
                &registry,
                "jar_block_import_seconds",
                "Time to run and commit a block of another node",
            )?,
            finality_lag: gauge(
                &registry,
                "jar_finality_lag_blocks",
                "Blocks from the last finalized one to the head",
            )?,
            signing: gauge(
                &registry,
                "jar_signing",
                "1 when this node signs with the keys it holds",
            )?,
            network: NetworkMetrics::new(&registry)?,
            accepted: counter(&registry, "jar_events_accepted_total", "Events accepted")?,
            refused: counters(
                &registry,
                "jar_events_refused_total",
                "Events refused",
                &["reason"],
            )?,
            dropped: counter(
                &registry,
                "jar_events_dropped_total",
                "Events dropped while building",
            )?,
            pending: gauge(
                &registry,
                "jar_events_pending",
                "Events waiting for a block",
            )?,
            rpc_calls: counters(&registry, "jar_rpc_calls_total", "RPC calls", &["method"])?,
            rpc_errors: counters(
                &registry,
                "jar_rpc_errors_total",
                "RPC calls that failed",
                &["method", "error"],
            )?,
            rpc_seconds: histograms(
                &registry,
                "jar_rpc_seconds",
                "Time of RPC calls",
                &["method"],
            )?,
            registry,
        })
    }

    /// Counters begin at 0: one that appears with a 1 has not increased, for Prometheus.
    fn begin(&self) {
        let begin = |counters: &IntCounterVec, labels: &[&str]| {
            counters.with_label_values(labels);
        };
        REFUSALS.iter().for_each(|r| begin(&self.refused, &[r]));
        for reason in BUILD_FAILURES {
            begin(&self.builds_failed, &[reason]);
        }
        let network = &self.network;
        for kind in GOSSIP {
            begin(&network.published, &[kind]);
            VERDICTS
                .iter()
                .for_each(|v| begin(&network.gossip, &[kind, v]));
        }
        REFUSED.iter().for_each(|r| begin(&network.refused, &[r]));
        REQUESTS.iter().for_each(|r| begin(&network.served, &[r]));
        for offence in OFFENCES {
            begin(&network.banned, &[&format!("{offence:?}")]);
        }
        begin(&network.banned, &[GOSSIP_SCORE]);
    }

    fn describe(&self, engine: &str, chain_id: &str) -> Result<(), prometheus::Error> {
        let start = gauge(
            &self.registry,
            "process_start_time_seconds",
            "Start of the process, in seconds since the Unix epoch",
        )?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| time.as_secs());
        start.set(signed(now));
        let opts = Opts::new("jar_build_info", "What runs")
            .const_label("version", env!("CARGO_PKG_VERSION"))
            .const_label("engine", engine)
            .const_label("chain_id", chain_id);
        let info = IntGauge::with_opts(opts)?;
        info.set(1);
        self.registry.register(Box::new(info))
    }

    /// Counts an RPC call.
    pub fn rpc_called(&self, method: &str, error: Option<i32>, took: Duration) {
        self.rpc_calls.with_label_values(&[method]).inc();
        self.rpc_seconds
            .with_label_values(&[method])
            .observe(took.as_secs_f64());
        if let Some(code) = error {
            let name = ErrorKind::from_code(code).map_or("other", ErrorKind::name);
            self.rpc_errors.with_label_values(&[method, name]).inc();
        }
    }

    /// Counts an event that was refused.
    pub fn event_refused(&self, refusal: &Refusal) {
        let reason = match refusal {
            Refusal::UnknownEndpoint(_) => "unknown_endpoint",
            Refusal::NotDispatch(_) => "wrong_role",
            Refusal::TooLarge { .. } => "too_large",
            Refusal::AlreadyKnown => "already_known",
            Refusal::BadSignature { .. } => "bad_signature",
            Refusal::UnusedTraces => "unused_traces",
            Refusal::Rejected { .. } => "rejected",
            Refusal::Faulted { .. } => "faulted",
            Refusal::Full => "pipeline_full",
            Refusal::Kernel(_) => "internal",
        };
        self.refused.with_label_values(&[reason]).inc();
    }

    /// Counts a build that came to nothing.
    pub fn build_failed(&self, reason: &str) {
        self.builds_failed.with_label_values(&[reason]).inc();
    }

    /// How many slots were another author's.
    pub fn not_author(&self) -> u64 {
        self.builds_failed.with_label_values(&[NOT_AUTHOR]).get()
    }

    /// All of them, in the text format.
    pub fn text(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap_or_else(|error| format!("# {error}\n"))
    }
}

/// Metrics of the network.
#[derive(Debug)]
pub struct NetworkMetrics {
    /// Connected peers.
    pub peers: IntGauge,
    /// Commands dropped because the network's queue was full.
    pub commands_dropped: IntCounter,
    gossip: IntCounterVec,
    published: IntCounterVec,
    refused: IntCounterVec,
    banned: IntCounterVec,
    served: IntCounterVec,
    syncing: IntGauge,
    target: IntGauge,
    records: IntGauge,
}

impl NetworkMetrics {
    fn new(registry: &Registry) -> Result<NetworkMetrics, prometheus::Error> {
        Ok(NetworkMetrics {
            peers: gauge(registry, "jar_peers", "Connected peers")?,
            commands_dropped: counter(
                registry,
                "jar_network_commands_dropped_total",
                "Commands dropped because the network's queue was full",
            )?,
            gossip: counters(
                registry,
                "jar_gossip_messages_total",
                "Gossip messages of peers, by what was made of them",
                &["kind", "verdict"],
            )?,
            published: counters(
                registry,
                "jar_gossip_published_total",
                "Gossip messages of this node",
                &["kind"],
            )?,
            refused: counters(
                registry,
                "jar_connections_refused_total",
                "Incoming connections that came to nothing",
                &["reason"],
            )?,
            banned: counters(
                registry,
                "jar_peers_banned_total",
                "Peers banned",
                &["reason"],
            )?,
            served: counters(
                registry,
                "jar_requests_served_total",
                "Requests of peers that were answered",
                &["kind"],
            )?,
            syncing: gauge(registry, "jar_syncing", "1 while the node is behind")?,
            target: gauge(
                registry,
                "jar_sync_target_height",
                "Height of the best block that a peer claims",
            )?,
            records: gauge(
                registry,
                "jar_sync_records",
                "State records fetched by this process",
            )?,
        })
    }

    /// Counts a peer's gossip message.
    pub fn gossip(&self, kind: &str, verdict: &str) {
        self.gossip.with_label_values(&[kind, verdict]).inc();
    }

    /// Counts a gossip message of this node.
    pub fn published(&self, kind: &str) {
        self.published.with_label_values(&[kind]).inc();
    }

    /// Counts an incoming connection that came to nothing.
    pub fn refused(&self, reason: &str) {
        self.refused.with_label_values(&[reason]).inc();
    }

    /// Counts a ban.
    pub fn banned(&self, reason: &str) {
        self.banned.with_label_values(&[reason]).inc();
    }

    /// Counts a request of a peer that was answered.
    pub fn served(&self, kind: &str) {
        self.served.with_label_values(&[kind]).inc();
    }

    /// Shows how far a sync has come.
    pub fn progress(&self, progress: &Progress) {
        let is_syncing = progress.stage != Stage::Following;
        self.syncing.set(i64::from(is_syncing));
        self.target.set(signed(progress.target));
        self.records.set(signed(progress.records));
    }
}

/// Prometheus counts in signed numbers.
pub fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Adds a metric to those that are shown.
fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    metric: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    registered(registry, IntGauge::new(name, help)?)
}

fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    registered(registry, IntCounter::new(name, help)?)
}

fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    registered(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
}

/// Options of a histogram of times.
fn times(name: &str, help: &str) -> HistogramOpts {
    HistogramOpts::new(name, help).buckets(SECONDS.to_vec())
}

fn histogram(registry: &Registry, name: &str, help: &str) -> Result<Histogram, prometheus::Error> {
    registered(registry, Histogram::with_opts(times(name, help))?)
}

fn histograms(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<HistogramVec, prometheus::Error> {
    registered(registry, HistogramVec::new(times(name, help), labels)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_what_was_counted() {
        let metrics = Metrics::new("interpreter", "jar-dev").expect("good names");
        metrics.height.set(7);
        metrics.rpc_called("chain_head", Some(1002), Duration::from_millis(1));
        metrics.event_refused(&Refusal::AlreadyKnown);
        let text = metrics.text();
        for line in [
            "jar_head_height 7",
            "jar_rpc_errors_total{error=\"not_hex\",method=\"chain_head\"} 1",
            "jar_events_refused_total{reason=\"already_known\"} 1",
            "jar_build_info{chain_id=\"jar-dev\",engine=\"interpreter\"",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
