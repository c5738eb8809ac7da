//! The operator's pages: /metrics, /health, /livez, /readyz.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::serve::Listener;
use jar_rpc::{Backend, Connection};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::service::Node;

/// Open connections.
const CONNECTIONS_MAX: usize = 64;
/// How long a connection may be silent.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// Accepts a bounded number of connections; others wait for their turn.
struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let Ok(place) = self.places.clone().acquire_owned().await else {
            // The semaphore is never closed.
            return std::future::pending().await;
        };
        let (socket, address) = Listener::accept(&mut self.listener).await;
        (Connection::new(socket, IDLE_MAX, place), address)
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Serves the pages until `stopped` changes; answers the address.
pub fn start(
    listener: TcpListener,
    node: Arc<Node>,
    mut stopped: watch::Receiver<bool>,
) -> anyhow::Result<SocketAddr> {
    let address = listener.local_addr()?;
    let pages = Router::new()
        .route("/metrics", get(metrics))
        .route("/health", get(health))
        .route("/readyz", get(health))
        .route("/livez", get(|| async { "ok\n" }))
        .with_state(node);
    let listener = Bounded {
        listener,
        places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
    };
    tokio::spawn(async move {
        let until = async move {
            // It fails when the node is gone: that is a stop as well.
            let _ = stopped.changed().await;
        };
        if let Err(error) = axum::serve(listener, pages)
            .with_graceful_shutdown(until)
            .await
        {
            tracing::warn!(target: "metrics", %error, "the metrics server ended");
        }
    });
    Ok(address)
}

async fn metrics(State(node): State<Arc<Node>>) -> impl IntoResponse {
    const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, TEXT)], node.metrics())
}

/// 200 while the node makes progress, 503 with the reason while it does not.
async fn health(State(node): State<Arc<Node>>) -> impl IntoResponse {
    let health = node.health();
    let status = match health.healthy {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let body = serde_json::to_string(&health).unwrap_or_else(|error| error.to_string());
    (status, [(header::CONTENT_TYPE, "application/json")], body)
}
