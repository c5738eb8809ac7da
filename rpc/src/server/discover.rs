//! The description of all methods.

use jsonrpsee::core::{RpcResult, async_trait};
use serde_json::Value;

use super::Service;
use crate::api::DiscoverApiServer;
use crate::openrpc;

#[async_trait]
impl DiscoverApiServer for Service {
    async fn discover(&self) -> RpcResult<Value> {
        Ok(openrpc::document())
    }
}
