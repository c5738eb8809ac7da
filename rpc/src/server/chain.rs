//! The `chain` namespace.

use std::collections::BTreeMap;

use jsonrpsee::core::server::PendingSubscriptionSink;
use jsonrpsee::core::{RpcResult, SubscriptionResult, async_trait};

use super::follow::Follow;
use super::{Context, Service, deliver};
use crate::api::ChainApiServer;
use crate::errors::RpcError;
use crate::params::{BlockRef, Param, optional};
use crate::types::{BlockHeader, BlockInfo, Bytes, ChainInfo, Fixed, Hash32, Number};

impl Service {
    /// Runs a read in the pool.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Context) -> Result<T, RpcError> + Send + 'static,
    ) -> RpcResult<T> {
        let context = self.0.clone();
        Ok(self.0.reads.run(move || work(&context)).await?)
    }
}

#[async_trait]
impl ChainApiServer for Service {
    async fn head(&self) -> RpcResult<BlockHeader> {
        self.read(|context| context.header_of(None)).await
    }

    async fn finalized(&self) -> RpcResult<BlockHeader> {
        self.read(|context| context.header_of(Some(BlockRef::Finalized)))
            .await
    }

    async fn header(&self, block: Option<Param<BlockRef>>) -> RpcResult<BlockHeader> {
        let block = optional(block)?;
        self.read(move |context| context.header_of(block)).await
    }

    async fn block(&self, block: Option<Param<BlockRef>>) -> RpcResult<BlockInfo> {
        let block = optional(block)?;
        self.read(move |context| context.block_of(block)).await
    }

    async fn block_hash(&self, height: Param<Number>) -> RpcResult<Hash32> {
        let height = height.get()?.0;
        self.read(move |context| Ok(context.header_of(Some(BlockRef::Height(height)))?.hash))
            .await
    }

    async fn spec(&self) -> RpcResult<ChainInfo> {
        self.read(spec).await
    }

    async fn subscribe_heads(
        &self,
        pending: PendingSubscriptionSink,
        from: Option<Param<Number>>,
    ) -> SubscriptionResult {
        deliver::blocks(self.0.clone(), pending, from, Follow::Heads).await
    }

    async fn subscribe_finalized(
        &self,
        pending: PendingSubscriptionSink,
        from: Option<Param<Number>>,
    ) -> SubscriptionResult {
        deliver::blocks(self.0.clone(), pending, from, Follow::Finalized).await
    }
}

fn spec(context: &Context) -> Result<ChainInfo, RpcError> {
    let chain = context.backend.chain();
    let names = context.backend.spec();
    let params: BTreeMap<String, Number> = chain
        .params()
        .entries()
        .into_iter()
        .map(|(name, value)| (name.to_owned(), Number(value)))
        .collect();
    Ok(ChainInfo {
        name: names.name.clone(),
        chain_id: names.chain_id.clone(),
        genesis: Fixed(chain.genesis_hash()),
        image_id: Fixed(names.image_id),
        genesis_time_ms: Number(chain.genesis_time_ms()),
        slot_ms: Number(chain.slot_ms()),
        params,
        genesis_payload: Bytes(names.genesis_payload.clone()),
        endpoints: context.endpoints(&context.now().head)?,
    })
}
