//! What stands before the RPC library: HTTP requests as they come, answers as they leave.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body::Body as _;
use http_body_util::BodyExt;
use jsonrpsee::core::BoxError;
use jsonrpsee::server::{HttpBody, HttpRequest, HttpResponse};
use serde_json::Value;

use super::flow::Flow;
use crate::errors::decorated;

/// Errors of the transport are shorter than this; longer bodies are left alone.
const ERROR_BODY_MAX: u64 = 4096;

/// Puts an [`Entry`] before the HTTP service of a connection.
#[derive(Clone)]
pub(crate) struct EntryLayer(Arc<Flow>);

impl EntryLayer {
    /// The layer of a connection, by what is under way on it.
    pub(crate) fn new(flow: &Arc<Flow>) -> Self {
        EntryLayer(flow.clone())
    }
}

impl<S> tower::Layer<S> for EntryLayer {
    type Service = Entry<S>;

    fn layer(&self, service: S) -> Entry<S> {
        Entry {
            service,
            flow: self.0.clone(),
        }
    }
}

/// Lets a WebSocket's calls find their connection's [`Flow`], and gives hints about what never
/// became a call: bodies that are too large, or no JSON-RPC.
#[derive(Clone)]
pub(crate) struct Entry<S> {
    service: S,
    flow: Arc<Flow>,
}

impl<S, B> tower::Service<HttpRequest<B>> for Entry<S>
where
    S: tower::Service<HttpRequest<B>, Response = HttpResponse, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = HttpResponse;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: HttpRequest<B>) -> Self::Future {
        // HTTP has its own order: one answer after the other. A WebSocket has none.
        if request.headers().contains_key("upgrade") {
            request.extensions_mut().insert(self.flow.clone());
        }
        let response = self.service.call(request);
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
