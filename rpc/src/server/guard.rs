//! What stands before every method: the check of arity, hints for the library's own errors, the
//! count of calls.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Instant;

use http_body::Body as _;
use http_body_util::BodyExt;
use jsonrpsee::core::BoxError;
use jsonrpsee::core::JsonRawValue;
use jsonrpsee::core::server::BatchResponseBuilder;
use jsonrpsee::server::middleware::rpc::{Batch, BatchEntry, Notification, Request, RpcServiceT};
use jsonrpsee::server::{HttpBody, HttpRequest, HttpResponse, MethodResponse};
use jsonrpsee::types::{ErrorObjectOwned, Id};
use serde_json::Value;

use super::Context;
use crate::backend::Backend;
use crate::errors::{ErrorKind, RpcError, decorated};
use crate::methods::{Kind, MethodInfo};

/// Errors of the transport are shorter than this; longer bodies are left alone.
const ERROR_BODY_MAX: u64 = 4096;

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
            response
        }
    }

    fn batch<'a>(&self, batch: Batch<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let guard = self.clone();
        async move {
            let mut responses = BatchResponseBuilder::new_with_limit(guard.layer.response_bytes);
            let mut notified = false;
            for entry in batch {
                let response = match entry {
                    Ok(BatchEntry::Call(request)) => guard.call(request).await,
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
                MethodResponse::notification()
            } else {
                MethodResponse::from_batch(responses.finish())
            }
        }
    }

    fn notification<'a>(
        &self,
        notification: Notification<'a>,
    ) -> impl Future<Output = MethodResponse> + Send + 'a {
        self.service.notification(notification)
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

/// Puts [`Hints`] before the HTTP service.
#[derive(Clone)]
pub(crate) struct HintsLayer;

impl<S> tower::Layer<S> for HintsLayer {
    type Service = Hints<S>;

    fn layer(&self, service: S) -> Hints<S> {
        Hints(service)
    }
}

/// Gives hints about what never became a call: bodies that are too large, or no JSON-RPC.
#[derive(Clone)]
pub(crate) struct Hints<S>(S);

impl<S, B> tower::Service<HttpRequest<B>> for Hints<S>
where
    S: tower::Service<HttpRequest<B>, Response = HttpResponse, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = HttpResponse;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: HttpRequest<B>) -> Self::Future {
        let response = self.0.call(request);
        Box::pin(async move { with_hints(response.await?).await })
    }
}

async fn with_hints(response: HttpResponse) -> Result<HttpResponse, BoxError> {
    let small = response
        .body()
        .size_hint()
        .exact()
        .is_some_and(|size| (1..=ERROR_BODY_MAX).contains(&size));
    let is_json = response
        .headers()
        .get("content-type")
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if !small || !is_json {
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await?.to_bytes();
    let body = match serde_json::from_slice(&bytes).ok().and_then(hinted) {
        Some(answer) => HttpBody::from(answer.to_string()),
        None => HttpBody::from(bytes.to_vec()),
    };
    Ok(HttpResponse::from_parts(parts, body))
}

/// The answer with a better error, if it is one of the library's errors.
fn hinted(mut answer: Value) -> Option<Value> {
    let error = answer.get("error")?;
    let code = i32::try_from(error["code"].as_i64()?).ok()?;
    let better = decorated(code, error["message"].as_str()?, error.get("data"))?;
    answer["error"] = better.to_json();
    Some(answer)
}
