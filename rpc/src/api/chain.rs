//! Blocks.

use jsonrpsee::core::{RpcResult, SubscriptionResult};
use jsonrpsee::proc_macros::rpc;

use crate::params::{BlockRef, Param};
use crate::types::{BlockHeader, BlockInfo, ChainInfo, Hash32, HeadItem, Number};

/// Blocks: the head, what is final, headers, bodies, the chain's description.
#[rpc(server, client, namespace = "chain")]
pub trait ChainApi {
    /// The head.
    #[method(name = "head")]
    async fn head(&self) -> RpcResult<BlockHeader>;

    /// The last finalized block.
    #[method(name = "finalized")]
    async fn finalized(&self) -> RpcResult<BlockHeader>;

    /// A block's header; the head's by default.
    #[method(name = "header")]
    async fn header(&self, block: Option<Param<BlockRef>>) -> RpcResult<BlockHeader>;

    /// A whole block with its outcomes; the head by default.
    #[method(name = "block")]
    async fn block(&self, block: Option<Param<BlockRef>>) -> RpcResult<BlockInfo>;

    /// Hash of the block of a height on the chain of the head.
    #[method(name = "blockHash")]
    async fn block_hash(&self, height: Param<Number>) -> RpcResult<Hash32>;

    /// What chain this is.
    #[method(name = "spec")]
    async fn spec(&self) -> RpcResult<ChainInfo>;

    /// Every block that becomes part of the chain of the head, in order, from a height (the
    /// head by default).
    #[subscription(name = "subscribeHeads" => "heads", unsubscribe = "unsubscribeHeads", item = HeadItem)]
    async fn subscribe_heads(&self, from: Option<Param<Number>>) -> SubscriptionResult;

    /// Every block that becomes final, in order, from a height (the last finalized by default).
    #[subscription(name = "subscribeFinalized" => "finalizedHeads", unsubscribe = "unsubscribeFinalized", item = HeadItem)]
    async fn subscribe_finalized(&self, from: Option<Param<Number>>) -> SubscriptionResult;
}
