//! The node itself.

use jsonrpsee::core::RpcResult;
use jsonrpsee::proc_macros::rpc;

use crate::types::{Health, Peer, Syncing, Version};

/// The node itself.
#[rpc(server, client, namespace = "system")]
pub trait SystemApi {
    /// Whether the node makes progress.
    #[method(name = "health")]
    async fn health(&self) -> RpcResult<Health>;

    /// What runs.
    #[method(name = "version")]
    async fn version(&self) -> RpcResult<Version>;

    /// The node's peers; none without a network.
    #[method(name = "peers")]
    async fn peers(&self) -> RpcResult<Vec<Peer>>;

    /// Whether the node is behind its peers; a node without a network never is.
    #[method(name = "syncing")]
    async fn syncing(&self) -> RpcResult<Syncing>;

    /// Metrics in the text format of Prometheus.
    #[method(name = "metrics")]
    async fn metrics(&self) -> RpcResult<String>;
}
