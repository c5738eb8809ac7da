//! What stands before every method: the check of arity, hints for the library's own errors, the
//! count of calls.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use jsonrpsee::core::JsonRawValue;
use jsonrpsee::core::server::BatchResponseBuilder;
use jsonrpsee::server::middleware::rpc::{Batch, BatchEntry, Notification, Request, RpcServiceT};
use jsonrpsee::server::{Extensions, MethodResponse};
use jsonrpsee::types::{ErrorObjectOwned, Id};
use serde_json::Value;

use super::Context;
use super::flow::{Call, Flow};
use crate::backend::Backend;
use crate::errors::{ErrorKind, RpcError, decorated};
use crate::methods::{Kind, MethodInfo};

/// Puts a [`Guard`] before a service.
#[derive(Clone)]
pub(crate) struct GuardLayer {
    backend: Arc<dyn Backend>,
    response_bytes: usize,
}

impl GuardLayer {
    pub(crate) fn new(context: &Context) -> Self {
        GuardLayer {
            backend: context.backend.clone(),
            response_bytes: context.limits.response_bytes as usize,
        }
    }
}

impl<S> tower::Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, service: S) -> Guard<S> {
        Guard {
            service,
            layer: self.clone(),
        }
    }
}

/// A service that checks and counts calls.
#[derive(Clone)]
pub(crate) struct Guard<S> {
    service: S,
    layer: GuardLayer,
}

impl<S> RpcServiceT for Guard<S>
where
    S: RpcServiceT<
            MethodResponse = MethodResponse,
            BatchResponse = MethodResponse,
            NotificationResponse = MethodResponse,
        > + Clone
        + Send
        + Sync
        + 'static,
{
    type MethodResponse = MethodResponse;
    type BatchResponse = MethodResponse;
    type NotificationResponse = MethodResponse;

    fn call<'a>(&self, request: Request<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let Guard { service, layer } = self.clone();
        async move {
            let under_way = UnderWay::begin(request.extensions());
            let started = Instant::now();
            let method = MethodInfo::find(request.method_name());
            let id = request.id.clone().into_owned();
            let response = match method.map_or(Ok(()), |method| arity(method, &request)) {
                Err(error) => MethodResponse::error(id, ErrorObjectOwned::from(error)),
                Ok(()) => with_hint(service.call(request).await, method, id),
            };
            let label = method.map_or("unknown", |method| method.name);
            layer
                .backend
                .called(label, response.as_error_code(), started.elapsed());
            under_way.answer(&response);
            response
        }
    }

    fn batch<'a>(&self, batch: Batch<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let guard = self.clone();
        async move {
            let under_way = match batch.iter().flatten().next() {
                Some(entry) => UnderWay::begin(entry.extensions()),
                None => UnderWay(None),
            };
            let mut responses = BatchResponseBuilder::new_with_limit(guard.layer.response_bytes);
            let mut notified = false;
            for entry in batch {
                let response = match entry {
                    Ok(BatchEntry::Call(mut request)) => {
                        // The batch is under way as a whole.
                        request.extensions_mut().remove::<Arc<Flow>>();
                        guard.call(request).await
                    }
                    Ok(BatchEntry::Notification(notification)) => {
                        notified = true;
                        guard.notification(notification).await;
                        continue;
                    }
                    Err(error) => {
                        let (error, id) = error.into_parts();
                        let response = MethodResponse::error(id.clone(), error);
                        with_hint(response, None, id.into_owned())
                    }
                };
                if let Err(too_large) = responses.append(response) {
                    return with_hint(too_large, None, Id::Null);
                }
            }
            if responses.is_empty() && notified {
                return MethodResponse::notification();
            }
            let response = MethodResponse::from_batch(responses.finish());
            under_way.answer(&response);
            response
        }
    }

    fn notification<'a>(
        &self,
        notification: Notification<'a>,
    ) -> impl Future<Output = MethodResponse> + Send + 'a {
        self.service.notification(notification)
    }
}

/// A call or a batch of a WebSocket, under way on its connection.
struct UnderWay(Option<(Arc<Flow>, Call)>);

impl UnderWay {
    fn begin(extensions: &Extensions) -> Self {
        let flow = extensions.get::<Arc<Flow>>();
        UnderWay(flow.map(|flow| (flow.clone(), flow.begin())))
    }

    /// It ends, and its answer waits to be written.
    fn answer(self, response: &MethodResponse) {
        if let Some((flow, _call)) = self.0 {
            flow.owe(response.as_json().get().len());
        }
    }
}

/// Whether a request has as many parameters as its method takes, by position.
fn arity(method: &MethodInfo, request: &Request<'_>) -> Result<(), RpcError> {
    let wrong = |message: String| {
        RpcError::new(ErrorKind::WrongArity, message).with("signature", method.signature())
    };
    let given = match request.params.as_ref().map(|params| params.get()) {
        None => 0,
        Some(text) => serde_json::from_str::<Vec<&JsonRawValue>>(text)
            .map_err(|_| wrong(format!("{} takes its parameters by position", method.name)))?
            .len(),
    };
    let (min, max) = (method.arity_min(), method.params.len());
    if (min..=max).contains(&given) {
        return Ok(());
    }
    let takes = if min == max {
        format!("{min}")
    } else {
        format!("{min} to {max}")
    };
    Err(wrong(format!(
        "{} takes {takes} parameters, got {given}",
        method.name
    )))
}

/// The response, an error of the library's in this node's words.
fn with_hint(
    response: MethodResponse,
    method: Option<&MethodInfo>,
    id: Id<'static>,
) -> MethodResponse {
    // A subscription's answer is on its way to the client already.
    if !response.is_error() || response.is_subscription() {
        return response;
    }
    let Ok(mut body) = serde_json::from_str::<Value>(response.as_json().get()) else {
        return response;
    };
    let error = body["error"].take();
    let code = error["code"]
        .as_i64()
        .and_then(|code| i32::try_from(code).ok());
    let has_no_data = error.get("data").is_none();
    let subscription = method.is_some_and(|method| method.kind != Kind::Call);
    let better = match code {
        Some(-32603) if subscription && has_no_data => Some(ErrorKind::NeedsWebSocket.into()),
        Some(code) => decorated(
            code,
            error["message"].as_str().unwrap_or(""),
            error.get("data"),
        ),
        None => None,
    };
    match better {
        Some(error) => MethodResponse::error(id, ErrorObjectOwned::from(error)),
        None => response,
    }
}
