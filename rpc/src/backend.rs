//! What the server asks of the node.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use jar_cap::Hash;
use jar_kernel::block::Event;
use jar_kernel::{Accepted, Chain, State};
use tokio::sync::watch;

use crate::errors::RpcError;
use crate::types::{Health, Peer, Syncing, Version};

/// What the node last published of its chain.
#[derive(Clone, Debug)]
pub struct Published {
    /// The head.
    pub head: Arc<State>,
    /// Hash of the last finalized block.
    pub finalized: Hash,
    /// Its height.
    pub finalized_height: u64,
}

/// What the node remembers of an event that it was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tracked {
    /// Transact events made of it, when it is a Dispatch event.
    pub transact_ids: Vec<Hash>,
    /// Whether it, or one of them, waits for a block.
    pub pending: bool,
    /// Why it was dropped, if it was.
    pub dropped: Option<String>,
}

/// Names of the chain, from its spec.
#[derive(Clone, Debug)]
pub struct SpecNames {
    /// For people.
    pub name: String,
    /// For machines.
    pub chain_id: String,
    /// Id of the genesis Image.
    pub image_id: Hash,
    /// What the Genesis endpoint was given.
    pub genesis_payload: Vec<u8>,
}

/// A future of the node's.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The node, as the server sees it. Reads come from the store and from published snapshots, so
/// they never wait for execution.
pub trait Backend: Send + Sync + 'static {
    /// The chain and its store: blocks, outcomes, views, state, proofs.
    fn chain(&self) -> &Arc<Chain>;

    /// The head and what is final, as they change.
    fn published(&self) -> watch::Receiver<Published>;

    /// Names of the chain.
    fn spec(&self) -> &SpecNames;

    /// Gives an event to the kernel.
    fn submit(&self, endpoint: u8, event: Event) -> BoxFuture<'_, Result<Accepted, RpcError>>;

    /// What is remembered of an event, by its Dispatch or Transact id.
    fn tracked(&self, id: &Hash) -> Tracked;

    /// How the node is.
    fn health(&self) -> Health;

    /// The node's peers; `None` when it has no network.
    fn peers(&self) -> Option<Vec<Peer>>;

    /// Whether the node is behind its peers.
    fn syncing(&self) -> Syncing;

    /// What runs.
    fn version(&self) -> Version;

    /// Metrics in the text format of Prometheus.
    fn metrics(&self) -> String;

    /// Called after each call: its method (`"unknown"` for one that is not there), the code of
    /// its error, how long it took.
    fn called(&self, method: &'static str, error: Option<i32>, took: Duration);
}
