//! The `state` namespace.

use jsonrpsee::core::{RpcResult, async_trait};

use super::{Context, Service};
use crate::api::StateApiServer;
use crate::errors::{ErrorKind, RpcError};
use crate::params::{BlockRef, EndpointRef, KeyParam, Param, PathParam, optional};
use crate::types::{
    Bytes, Fixed, GetOptions, Hash32, KeysPage, LogLine, Number, StateProof, StateValue, ViewResult,
};

#[async_trait]
impl StateApiServer for Service {
    async fn root(&self, block: Option<Param<BlockRef>>) -> RpcResult<Hash32> {
        let block = optional(block)?;
        self.read(move |context| Ok(context.header_of(block)?.header.state_root))
            .await
    }

    async fn get(
        &self,
        path: Param<PathParam>,
        block: Option<Param<BlockRef>>,
        options: Option<Param<GetOptions>>,
    ) -> RpcResult<StateValue> {
        let path = path.get()?.not_empty()?;
        let block = optional(block)?;
        let options = optional(options)?.unwrap_or_default();
        self.read(move |context| context.value_at(&path, block, &options))
            .await
    }

    async fn proof(
        &self,
        path: Param<PathParam>,
        block: Option<Param<BlockRef>>,
    ) -> RpcResult<StateProof> {
        let path = path.get()?.not_empty()?;
        let block = optional(block)?;
        self.read(move |context| context.prove(&*context.state_of(block)?, &path))
            .await
    }

    async fn view(
        &self,
        endpoint: Param<EndpointRef>,
        payload: Param<Bytes>,
        block: Option<Param<BlockRef>>,
    ) -> RpcResult<ViewResult> {
        let endpoint = endpoint.get()?;
        let limit = self.0.backend.chain().params().payload_bytes;
        let payload = payload.get()?.within(limit, "a payload")?;
        let block = optional(block)?;
        let context = self.0.clone();
        let work = move || view(&context, &endpoint, &payload, block);
        Ok(self.0.views.run(work).await?)
    }

    async fn keys(
        &self,
        path: Param<PathParam>,
        from: Option<Param<KeyParam>>,
        limit: Option<Param<Number>>,
        block: Option<Param<BlockRef>>,
    ) -> RpcResult<KeysPage> {
        let path = path.get()?.0;
        let from = optional(from)?.map(|from| from.0);
        let limit = optional(limit)?.map(|limit| limit.0);
        let block = optional(block)?;
        self.read(move |context| context.keys_at(&path, from, limit, block))
            .await
    }
}

fn view(
    context: &Context,
    endpoint: &EndpointRef,
    payload: &[u8],
    block: Option<BlockRef>,
) -> Result<ViewResult, RpcError> {
    let state = context.state_of(block)?;
    let endpoint = context.endpoint(&state, endpoint)?;
    if endpoint.role != "view" {
        let message = format!(
            "{} is a {} endpoint, not a view",
            endpoint.name, endpoint.role
        );
        return Err(RpcError::about(ErrorKind::WrongRole, message).with("role", endpoint.role));
    }
    let outcome = context
        .backend
        .chain()
        .view(&state, endpoint.index, payload)?;
    Ok(ViewResult {
        block: Fixed(state.hash),
        ending: outcome.ending.into(),
        result: outcome.result.map(Bytes),
        gas_used: Number(outcome.gas_used),
        logs: outcome
            .logs
            .into_iter()
            .map(|(level, line)| LogLine {
                level: Number(level),
                message: String::from_utf8_lossy(&line).into_owned(),
            })
            .collect(),
    })
}
