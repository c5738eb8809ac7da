//! The `system` namespace.

use jsonrpsee::core::{RpcResult, async_trait};

use super::Service;
use crate::api::SystemApiServer;
use crate::types::{Health, Peer, Syncing, Version};

#[async_trait]
impl SystemApiServer for Service {
    async fn health(&self) -> RpcResult<Health> {
        Ok(self.0.backend.health())
    }

    async fn version(&self) -> RpcResult<Version> {
        Ok(self.0.backend.version())
    }

    async fn peers(&self) -> RpcResult<Vec<Peer>> {
        Ok(self.0.backend.peers().unwrap_or_default())
    }

    async fn syncing(&self) -> RpcResult<Syncing> {
        Ok(self.0.backend.syncing())
    }

    async fn metrics(&self) -> RpcResult<String> {
        Ok(self.0.backend.metrics())
    }
}
