//! The server: one port for HTTP and WebSocket, every queue and size bounded.

mod chain;
mod connection;
mod deliver;
mod discover;
mod entry;
mod event;
mod flow;
mod follow;
mod guard;
mod pool;
mod read;
mod state;
mod system;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jsonrpsee::server::middleware::rpc::RpcServiceBuilder;
use jsonrpsee::server::{
    BatchRequestConfig, Methods, PingConfig, ServerBuilder, ServerConfig, ServerHandle, StopHandle,
    serve_with_graceful_shutdown, stop_channel,
};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::api::{
    ChainApiServer, DiscoverApiServer, EventApiServer, StateApiServer, SystemApiServer,
};
use crate::backend::Backend;
pub use connection::Connection;
use entry::EntryLayer;
use guard::GuardLayer;
use pool::Pool;

/// Messages waiting to be written to one WebSocket at most, before whoever writes must wait.
const MESSAGES_PER_CONNECTION_MAX: u32 = 64;
/// How long a connection may be silent; WebSockets are pinged more often than that.
const IDLE_MAX: Duration = Duration::from_secs(120);
/// How often WebSockets are pinged.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// How long a connection may take to send a whole request or take its answer, at shutdown.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// Limits of the server.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of a request's body.
    pub request_bytes: u32,
    /// Bytes of a response.
    pub response_bytes: u32,
    /// Requests of a batch.
    pub batch: u32,
    /// Open connections.
    pub connections: u32,
    /// Subscriptions of a connection.
    pub subscriptions: u32,
    /// Views and simulations that run at the same time.
    pub views: usize,
    /// Reads of blocks and state that run at the same time.
    pub reads: usize,
    /// Requests waiting for their turn, for views and for reads.
    pub queue: usize,
    /// How long a request may wait for its turn.
    pub wait: Duration,
    /// How long a subscriber may take to accept a notification.
    pub lag: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            request_bytes: 5 * 1024 * 1024,
            response_bytes: 32 * 1024 * 1024,
            batch: 100,
            connections: 256,
            subscriptions: 32,
            views: std::thread::available_parallelism().map_or(2, usize::from),
            reads: 16,
            queue: 1024,
            wait: Duration::from_secs(10),
            lag: Duration::from_secs(10),
        }
    }
}

/// What every method works with.
pub(crate) struct Context {
    pub backend: Arc<dyn Backend>,
    pub limits: Limits,
    pub views: Pool,
    pub reads: Pool,
}

/// Implements the traits of every namespace.
#[derive(Clone)]
pub(crate) struct Service(pub Arc<Context>);

/// A running server; it stops when this is dropped.
#[derive(Debug)]
pub struct Server {
    local_addr: SocketAddr,
    stop: ServerHandle,
}

impl Server {
    /// Serves on a listener until stopped.
    ///
    /// # Errors
    ///
    /// The listener's address cannot be read.
    pub async fn start(
        listener: TcpListener,
        backend: Arc<dyn Backend>,
        limits: Limits,
    ) -> std::io::Result<Server> {
        let local_addr = listener.local_addr()?;
        let (stop_handle, stop) = stop_channel();
        let context = Arc::new(Context {
            views: Pool::new(limits.views, limits.queue, limits.wait),
            reads: Pool::new(limits.reads, limits.queue, limits.wait),
            backend,
            limits,
        });
        tokio::spawn(accept(listener, context, stop_handle));
        Ok(Server { local_addr, stop })
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Takes no further requests, and waits a moment for those that run.
    pub async fn stop(self) {
        // It fails only when nobody serves any more.
        let _ = self.stop.stop();
        let _ = tokio::time::timeout(DRAIN_MAX, self.stop.stopped()).await;
    }
}

/// Every method of every namespace.
pub(crate) fn methods(context: &Arc<Context>) -> Methods {
    let service = Service(context.clone());
    let modules: [Methods; 5] = [
        ChainApiServer::into_rpc(service.clone()).into(),
        StateApiServer::into_rpc(service.clone()).into(),
        EventApiServer::into_rpc(service.clone()).into(),
        SystemApiServer::into_rpc(service.clone()).into(),
        DiscoverApiServer::into_rpc(service).into(),
    ];
    let mut methods = Methods::new();
    for module in modules {
        methods
            .merge(module)
            .expect("no two namespaces share a method's name");
    }
    methods
}

fn config(limits: &Limits) -> ServerConfig {
    ServerConfig::builder()
        .max_request_body_size(limits.request_bytes)
        .max_response_body_size(limits.response_bytes)
        .max_connections(limits.connections)
        .max_subscriptions_per_connection(limits.subscriptions)
        .set_batch_request_config(BatchRequestConfig::Limit(limits.batch))
        .set_message_buffer_capacity(MESSAGES_PER_CONNECTION_MAX)
        .enable_ws_ping(PingConfig::new().ping_interval(PING_INTERVAL))
        .build()
}

async fn accept(listener: TcpListener, context: Arc<Context>, stop: StopHandle) {
    let methods = methods(&context);
    let connections = Arc::new(Semaphore::new(context.limits.connections as usize));
    let guard = GuardLayer::new(&context);
    let builder = ServerBuilder::with_config(config(&context.limits))
        .set_rpc_middleware(RpcServiceBuilder::new().layer(guard))
        .to_service_builder();
    let stopped = stop.clone().shutdown();
    tokio::pin!(stopped);
    loop {
        let socket = tokio::select! {
            () = &mut stopped => return,
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => socket,
                Err(error) => {
                    // Out of file descriptors: give the others time to close theirs.
                    tracing::warn!(target: "rpc", %error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let Ok(place) = connections.clone().try_acquire_owned() else {
            tokio::spawn(turn_away(socket));
            continue;
        };
        let _ = socket.set_nodelay(true);
        let socket = Connection::new(socket, IDLE_MAX, place);
        let entry = EntryLayer::new(socket.flow());
        let service = builder
            .clone()
            .set_http_middleware(tower::ServiceBuilder::new().layer(entry))
            .build(methods.clone(), stop.clone());
        let stopped = stop.clone().shutdown();
        tokio::spawn(async move {
            if let Err(error) = serve_with_graceful_shutdown(socket, service, stopped).await {
                tracing::debug!(target: "rpc", %error, "connection ended");
            }
        });
    }
}

/// Answers that there are too many connections.
async fn turn_away(mut socket: TcpStream) {
    const ANSWER: &[u8] =
        b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 21\r\n\r\ntoo many connections\n";
    let _ = tokio::time::timeout(DRAIN_MAX, socket.write_all(ANSWER)).await;
}
