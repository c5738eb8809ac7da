//! Lines of progress while the node syncs.

use jar_driver::{Progress, Stage};
use tracing::info;

/// Milliseconds between two lines.
const EVERY_MS: u64 = 5000;

/// Says how far a sync has come, how fast it is, and how long it will take.
#[derive(Debug)]
pub struct Reporter {
    stage: Stage,
    /// When the last line was, and how much was done by then.
    last: (u64, u64),
    /// When this sync began, and where.
    begun: (u64, u64),
}

/// Units a second; 0 in no time.
fn rate(done: u64, ms: u64) -> u64 {
    done.saturating_mul(1000).checked_div(ms).unwrap_or(0)
}

impl Reporter {
    /// A reporter of a node that starts now.
    pub fn new(now_ms: u64) -> Reporter {
        Reporter {
            stage: Stage::Following,
            last: (now_ms, 0),
            begun: (now_ms, 0),
        }
    }

    /// Whether the node is behind its peers.
    pub fn is_syncing(&self) -> bool {
        self.stage != Stage::Following
    }

    /// Takes note of how far the node has come; logs a line now and then.
    pub fn report(&mut self, progress: &Progress, now_ms: u64) {
        let done = match progress.stage {
            Stage::State => progress.records,
            Stage::Blocks | Stage::Following => progress.height,
        };
        if progress.stage != self.stage {
            self.turn(progress, done, now_ms);
        }
        let (last_ms, last_done) = self.last;
        let ms = now_ms.saturating_sub(last_ms);
        if !self.is_syncing() || ms < EVERY_MS {
            return;
        }
        self.last = (now_ms, done);
        let rate = rate(done.saturating_sub(last_done), ms);
        let seconds = |left: u64| left.checked_div(rate);
        match progress.stage {
            Stage::State => {
                let missing = progress.records_missing;
                info!(target: "sync", records = done, missing, bytes = progress.record_bytes, per_second = rate, "state sync");
            }
            Stage::Blocks => {
                let left = progress.target.saturating_sub(done);
                info!(target: "sync", height = done, target = progress.target, blocks_per_second = rate, seconds_left = seconds(left), "block sync");
            }
            Stage::Following => {}
        }
    }

    /// The node begins to do something else.
    fn turn(&mut self, progress: &Progress, done: u64, now_ms: u64) {
        let (begun_ms, begun_done) = self.begun;
        let ms = now_ms.saturating_sub(begun_ms);
        if self.stage == Stage::Blocks {
            let blocks = progress.height.saturating_sub(begun_done);
            info!(target: "sync", height = progress.height, blocks, ms, blocks_per_second = rate(blocks, ms), "block sync is done");
        }
        match progress.stage {
            Stage::State => info!(target: "sync", "state sync begins"),
            Stage::Blocks => {
                info!(target: "sync", height = progress.height, target = progress.target, "block sync begins");
            }
            Stage::Following => {}
        }
        self.stage = progress.stage;
        self.last = (now_ms, done);
        self.begun = (now_ms, done);
    }
}
