//! The node as its RPC server and its health pages see it.

use std::sync::Arc;
use std::time::Duration;

use jar_cap::Hash;
use jar_driver::Stage;
use jar_kernel::block::Event;
use jar_kernel::{Accepted, Chain};
use jar_rpc::RpcError;
use jar_rpc::backend::{Backend, BoxFuture, Published, SpecNames, Tracked};
use jar_rpc::types::{Fixed, Health, Number, Peer, Syncing, Version};
use tokio::sync::watch;

use crate::kernel_thread::KernelThread;
use crate::network::{Network, PeerInfo};
use crate::shared::Shared;
use crate::spec::Spec;

/// Slots without a block after which a chain stands still.
const STALLED_SLOTS: u64 = 10;
/// The same as a time, for chains of short slots.
const STALLED_MS_MIN: u64 = 5000;

/// A running node.
#[derive(Debug)]
pub struct Node {
    chain: Arc<Chain>,
    kernel: KernelThread,
    shared: Arc<Shared>,
    network: Option<Network>,
    names: SpecNames,
    signs: bool,
}

impl Node {
    /// The node of these parts; `signs` says whether it holds a validator's key.
    pub fn new(
        chain: Arc<Chain>,
        kernel: KernelThread,
        shared: Arc<Shared>,
        network: Option<Network>,
        spec: &Spec,
        signs: bool,
    ) -> Self {
        Node {
            chain,
            kernel,
            shared,
            network,
            names: SpecNames {
                name: spec.file.name.clone(),
                chain_id: spec.file.chain_id.clone(),
                image_id: spec.file.image_id.0,
                genesis_payload: spec.genesis.payload.clone(),
            },
            signs,
        }
    }

    /// Asks the kernel to stop at a whole block.
    pub fn stop(&self) {
        self.kernel.stop();
    }

    fn stalled_ms(&self) -> u64 {
        self.chain
            .slot_ms()
            .saturating_mul(STALLED_SLOTS)
            .max(STALLED_MS_MIN)
    }

    /// What keeps the node from being healthy: a status and a reason.
    fn trouble(&self, height: u64, head_age_ms: u64) -> Option<(&'static str, String)> {
        if self.shared.is_stopping() {
            return Some(("stopping", "the node is stopping".into()));
        }
        let progress = self.shared.standing().map(|standing| standing.progress);
        if let Some(progress) = progress.filter(|progress| progress.stage != Stage::Following) {
            let reason = format!(
                "at height {} of {}: {}",
                progress.height,
                progress.target,
                stage_name(progress.stage)
            );
            return Some(("syncing", reason));
        }
        if head_age_ms > self.stalled_ms() {
            let why = if !self.signs {
                ": this node signs for no validator"
            } else if self.shared.metrics.not_author() > 0 {
                ": the chain names authors that this node does not sign for"
            } else {
                ""
            };
            let reason = format!("no new block for {} s{why}", head_age_ms / 1000);
            return Some(("stalled", reason));
        }
        (height == 0).then(|| ("starting", "no block yet".into()))
    }
}

/// A stage as RPC names it.
fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Following => "following",
        Stage::Blocks => "blocks",
        Stage::State => "state",
    }
}

impl Backend for Node {
    fn chain(&self) -> &Arc<Chain> {
        &self.chain
    }

    fn published(&self) -> watch::Receiver<Published> {
        self.kernel.published().clone()
    }

    fn spec(&self) -> &SpecNames {
        &self.names
    }

    fn submit(&self, endpoint: u8, event: Event) -> BoxFuture<'_, Result<Accepted, RpcError>> {
        Box::pin(self.kernel.dispatch(endpoint, event))
    }

    fn tracked(&self, id: &Hash) -> Tracked {
        self.shared.tracker.tracked(id)
    }

    fn health(&self) -> Health {
        let (head, finalized_height) = {
            let published = self.kernel.published().borrow();
            (published.head.clone(), published.finalized_height)
        };
        let head_age_ms = self.shared.head_age_ms();
        let trouble = self.trouble(head.header.height, head_age_ms);
        Health {
            healthy: trouble.is_none(),
            status: trouble
                .as_ref()
                .map_or("ok", |(status, _)| status)
                .to_owned(),
            reason: trouble.map(|(_, reason)| reason),
            height: Number(head.header.height),
            head: Fixed(head.hash),
            finalized_height: Number(finalized_height),
            head_age_ms: Number(head_age_ms),
            pending: Number(u64::try_from(self.shared.metrics.pending.get()).unwrap_or(0)),
        }
    }

    fn peers(&self) -> Option<Vec<Peer>> {
        let infos = self.network.as_ref()?.peers.borrow().clone();
        let standing = self.shared.standing();
        let known = standing.map(|standing| standing.peers).unwrap_or_default();
        let peer = |info: &PeerInfo| {
            let known = known.iter().find(|peer| peer.id == info.id);
            let status = known.and_then(|peer| peer.status);
            let millis = |latency: Duration| Number(latency.as_millis() as u64);
            Peer {
                peer_id: info.peer_id.clone(),
                address: info.address.clone(),
                outbound: info.is_outbound,
                agent: info.agent.clone(),
                latency_ms: info.latency.map(millis),
                height: status.map(|status| Number(status.head.height)),
                finalized_height: status.map(|status| Number(status.finalized.height)),
                gossip_score: info.score as i64,
                badness: Number(known.map_or(0, |peer| peer.badness)),
            }
        };
        Some(infos.iter().map(peer).collect())
    }

    fn syncing(&self) -> Syncing {
        let height = self.kernel.published().borrow().head.header.height;
        let progress = self.shared.standing().map(|standing| standing.progress);
        let stage = progress.map_or(Stage::Following, |progress| progress.stage);
        let target = progress.map_or(height, |progress| progress.target);
        Syncing {
            syncing: stage != Stage::Following,
            stage: stage_name(stage).into(),
            height: Number(height),
            highest: Number(target.max(height)),
        }
    }

    fn version(&self) -> Version {
        Version {
            name: "jar-node".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            engine: self.chain.engine_name().into(),
        }
    }

    fn metrics(&self) -> String {
        self.shared.metrics.text()
    }

    fn called(&self, method: &'static str, error: Option<i32>, took: Duration) {
        self.shared.metrics.rpc_called(method, error, took);
    }
}
