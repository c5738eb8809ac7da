//! The description of all methods.

use jsonrpsee::core::RpcResult;
use jsonrpsee::proc_macros::rpc;
use serde_json::Value;

/// The description of all methods.
#[rpc(server, client, namespace = "rpc")]
pub trait DiscoverApi {
    /// The OpenRPC document of this node.
    #[method(name = "discover", aliases = ["rpc.discover"])]
    async fn discover(&self) -> RpcResult<Value>;
}
