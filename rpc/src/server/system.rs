//! The `system` namespace.

use jsonrpsee::core::{RpcResult, async_trait};
use serde_json::Value;

use super::Service;
use crate::api::SystemApiServer;
use crate::errors::{ErrorKind, RpcError};
use crate::types::{Health, Number, Syncing, Version};

#[async_trait]
impl SystemApiServer for Service {
    async fn health(&self) -> RpcResult<Health> {
        Ok(self.0.backend.health())
    }

    async fn version(&self) -> RpcResult<Version> {
        Ok(self.0.backend.version())
    }

    async fn peers(&self) -> RpcResult<Value> {
        Err(RpcError::about(ErrorKind::NotSupported, "this node has no network").into())
    }

    async fn syncing(&self) -> RpcResult<Syncing> {
        let height = Number(self.0.now().head.header.height);
        Ok(Syncing {
            syncing: false,
            height,
            highest: height,
        })
    }

    async fn metrics(&self) -> RpcResult<String> {
        Ok(self.0.backend.metrics())
    }
}
