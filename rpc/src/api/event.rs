//! Events.

use jsonrpsee::core::{RpcResult, SubscriptionResult};
use jsonrpsee::proc_macros::rpc;

use crate::params::{BlockRef, EndpointRef, Param};
use crate::types::{Attestation, Bytes, EventStatus, Hash32, OutcomeInfo, Submitted};

/// Inputs to the chain.
#[rpc(server, client, namespace = "event")]
pub trait EventApi {
    /// Gives an event to a Dispatch endpoint, which judges it before it is accepted.
    /// Acknowledged from memory: durable once it is in a block.
    #[method(name = "submit")]
    async fn submit(
        &self,
        endpoint: Param<EndpointRef>,
        payload: Param<Bytes>,
        attestations: Option<Param<Vec<Attestation>>>,
    ) -> RpcResult<Submitted>;

    /// Where an event stands, by its id as a Dispatch or as a Transact event.
    #[method(name = "status")]
    async fn status(&self, id: Param<Hash32>) -> RpcResult<EventStatus>;

    /// What a Transact endpoint would make of an event on a state, the head's by default;
    /// nothing is kept.
    #[method(name = "simulate")]
    async fn simulate(
        &self,
        endpoint: Param<EndpointRef>,
        payload: Param<Bytes>,
        attestations: Option<Param<Vec<Attestation>>>,
        block: Option<Param<BlockRef>>,
    ) -> RpcResult<OutcomeInfo>;

    /// An event's status, now and whenever it changes; ends when the event is in a final block
    /// or was dropped.
    #[subscription(name = "subscribe" => "statusChanged", unsubscribe = "unsubscribe", item = EventStatus)]
    async fn subscribe_status(&self, id: Param<Hash32>) -> SubscriptionResult;
}
