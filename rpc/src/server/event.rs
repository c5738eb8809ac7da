//! The `event` namespace.

use jar_kernel::block::Event;
use jsonrpsee::core::server::PendingSubscriptionSink;
use jsonrpsee::core::{RpcResult, SubscriptionResult, async_trait};

use super::{Context, Service, deliver};
use crate::api::EventApiServer;
use crate::errors::{ErrorKind, RpcError};
use crate::params::{BlockRef, EndpointRef, Param, optional};
use crate::types::{
    Attestation, Bytes, EndpointInfo, EventStatus, Fixed, Hash32, OutcomeInfo, Submitted,
};

impl Context {
    fn event(
        &self,
        payload: Param<Bytes>,
        attestations: Option<Param<Vec<Attestation>>>,
    ) -> Result<Event, RpcError> {
        let params = self.backend.chain().params();
        let payload = payload.get()?.within(params.payload_bytes, "a payload")?;
        let attestations = optional(attestations)?.unwrap_or_default();
        let (given, limit) = (attestations.len() as u64, params.max_attestations);
        if given > limit {
            let message = format!("{given} attestations, at most {limit}");
            return Err(RpcError::about(ErrorKind::TooLong, message).with("limit", limit));
        }
        Ok(Event {
            payload,
            attestations: attestations.iter().map(Into::into).collect(),
            results: Vec::new(),
        })
    }
}

fn with_role(endpoint: EndpointInfo, role: &str) -> Result<u8, RpcError> {
    if endpoint.role == role {
        return Ok(endpoint.index);
    }
    let message = format!(
        "{} is a {} endpoint, not a {role}",
        endpoint.name, endpoint.role
    );
    Err(RpcError::about(ErrorKind::WrongRole, message).with("role", endpoint.role))
}

#[async_trait]
impl EventApiServer for Service {
    async fn submit(
        &self,
        endpoint: Param<EndpointRef>,
        payload: Param<Bytes>,
        attestations: Option<Param<Vec<Attestation>>>,
    ) -> RpcResult<Submitted> {
        let endpoint = endpoint.get()?;
        let event = self.0.event(payload, attestations)?;
        let head = self.0.now().head;
        let endpoint = self
            .read(move |context| with_role(context.endpoint(&head, &endpoint)?, "dispatch"))
            .await?;
        let accepted = self.0.backend.submit(endpoint, event).await?;
        Ok(Submitted {
            id: Fixed(accepted.id),
            transact_ids: accepted.transact_ids.into_iter().map(Fixed).collect(),
        })
    }

    async fn status(&self, id: Param<Hash32>) -> RpcResult<EventStatus> {
        let id = id.get()?.0;
        self.read(move |context| context.status_of(id)).await
    }

    async fn simulate(
        &self,
        endpoint: Param<EndpointRef>,
        payload: Param<Bytes>,
        attestations: Option<Param<Vec<Attestation>>>,
        block: Option<Param<BlockRef>>,
    ) -> RpcResult<OutcomeInfo> {
        let endpoint = endpoint.get()?;
        let event = self.0.event(payload, attestations)?;
        let block = optional(block)?;
        let context = self.0.clone();
        let work = move || {
            let state = context.state_of(block)?;
            let endpoint = with_role(context.endpoint(&state, &endpoint)?, "transact")?;
            let outcome = context.backend.chain().simulate(&state, endpoint, &event)?;
            Ok(OutcomeInfo::from(&outcome))
        };
        Ok(self.0.views.run(work).await?)
    }

    async fn subscribe_status(
        &self,
        pending: PendingSubscriptionSink,
        id: Param<Hash32>,
    ) -> SubscriptionResult {
        deliver::status(self.0.clone(), pending, id).await
    }
}
