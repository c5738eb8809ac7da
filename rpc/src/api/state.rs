//! State.

use jsonrpsee::core::RpcResult;
use jsonrpsee::proc_macros::rpc;

use crate::params::{BlockRef, EndpointRef, KeyParam, Param, PathParam};
use crate::types::{
    Bytes, GetOptions, Hash32, KeysPage, Number, StateProof, StateValue, ViewResult,
};

/// State of a block, the head's by default.
#[rpc(server, client, namespace = "state")]
pub trait StateApi {
    /// The state root.
    #[method(name = "root")]
    async fn root(&self, block: Option<Param<BlockRef>>) -> RpcResult<Hash32>;

    /// What stands at a path.
    #[method(name = "get")]
    async fn get(
        &self,
        path: Param<PathParam>,
        block: Option<Param<BlockRef>>,
        options: Option<Param<GetOptions>>,
    ) -> RpcResult<StateValue>;

    /// A proof of what stands at a path, or that nothing does.
    #[method(name = "proof")]
    async fn proof(
        &self,
        path: Param<PathParam>,
        block: Option<Param<BlockRef>>,
    ) -> RpcResult<StateProof>;

    /// Runs a View endpoint.
    #[method(name = "view")]
    async fn view(
        &self,
        endpoint: Param<EndpointRef>,
        payload: Param<Bytes>,
        block: Option<Param<BlockRef>>,
    ) -> RpcResult<ViewResult>;

    /// Entries of the CNode at a path (the chain Instance's own table at an empty one), after
    /// the key `from`, at most `limit`.
    #[method(name = "keys")]
    async fn keys(
        &self,
        path: Param<PathParam>,
        from: Option<Param<KeyParam>>,
        limit: Option<Param<Number>>,
        block: Option<Param<BlockRef>>,
    ) -> RpcResult<KeysPage>;
}
