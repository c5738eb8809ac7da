//! Running the node: its parts wired together.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use jar_driver::Schedule;
use jar_kernel::local::LocalHardware;
use jar_kernel::signer::Signer;
use jar_kernel::{Kernel, Store};
use jar_pvm::EngineKind;
use jar_rpc::{Backend, Limits, Server, to_hex};
use jar_storage::RocksStore;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::config::Settings;
use crate::kernel_thread::{Ended, KernelThread, Shared};
use crate::metrics::Metrics;
use crate::service::Node;
use crate::spec::{Spec, built_in_names};
use crate::{keys, pages};

/// How long stopping may take before the process ends regardless.
const STOP_MAX: Duration = Duration::from_millis(4500);

/// Runs the node until it is told to stop.
pub fn run(settings: &Settings) -> anyhow::Result<()> {
    ensure!(
        settings.p2p_listen.is_none(),
        "--p2p-listen: not supported yet; this node has no network"
    );
    let kind = settings.engine_kind()?;
    let engine = jar_pvm::engine(kind).context("--engine")?;
    if kind == EngineKind::Auto && engine.name() == "interpreter" {
        warn!("this platform lacks what the recompiler needs: the interpreter serves");
    }
    let Some(chain) = &settings.chain else {
        bail!(
            "which chain? Give --chain a spec file or a built-in name ({}), as in: jar-node --chain dev --dev-key alice",
            built_in_names().join(", ")
        );
    };
    let spec = Spec::load(chain)?;
    let seeds = dev_seeds(settings, &spec)?;
    let data_dir = data_dir(settings, &spec)?;
    let store: Arc<dyn Store> = Arc::new(RocksStore::open(
        &data_dir,
        &jar_storage::Options::default(),
    )?);
    let signs = !seeds.is_empty();
    let signer = Signer::new(seeds, store.as_ref())?;
    let metrics = Metrics::new(engine.name(), &spec.file.chain_id)?;
    let shared = Arc::new(Shared::new(metrics));
    let hardware = {
        let (notices, stops) = (shared.clone(), shared.clone());
        let sink = Box::new(move |notice| notices.notice(notice));
        let should_stop = Box::new(move || stops.should_stop());
        Arc::new(LocalHardware::new(store, signer, sink, should_stop))
    };
    let kernel = Kernel::open(hardware, &spec.genesis, engine)
        .with_context(|| format!("data directory {}", data_dir.display()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("node")
        .build()?;
    let outcome = runtime.block_on(serve(settings, &spec, kernel, shared, signs));
    // Reads that still run are not waited for: the store is only read.
    runtime.shutdown_timeout(Duration::from_millis(200));
    outcome
}

/// Seeds of the development keys asked for.
fn dev_seeds(settings: &Settings, spec: &Spec) -> anyhow::Result<Vec<[u8; 32]>> {
    ensure!(
        settings.dev_key.is_empty() || spec.is_dev(),
        "--dev-key: everyone knows these keys, so they sign on development chains only (chain_id jar-dev or jar-dev-…), and this is {:?}",
        spec.file.chain_id
    );
    settings
        .dev_key
        .iter()
        .map(|name| keys::validator_seed(name).context("--dev-key"))
        .collect()
}

/// Where the chain is kept.
fn data_dir(settings: &Settings, spec: &Spec) -> anyhow::Result<PathBuf> {
    if let Some(dir) = &settings.data_dir {
        return Ok(PathBuf::from(dir));
    }
    let home = std::env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .filter(|dir| dir.is_absolute())
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/share")))
        .context("no home directory: say where to keep the chain with --data-dir")?;
    Ok(home.join("jar").join(&spec.file.chain_id))
}

fn limits(settings: &Settings) -> Limits {
    Limits {
        request_bytes: settings.rpc_max_request_bytes,
        response_bytes: settings.rpc_max_response_bytes,
        batch: settings.rpc_max_batch,
        connections: settings.rpc_max_connections,
        subscriptions: settings.rpc_max_subscriptions,
        ..Limits::default()
    }
}

async fn serve(
    settings: &Settings,
    spec: &Spec,
    kernel: Kernel<LocalHardware>,
    shared: Arc<Shared>,
    signs: bool,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let chain = kernel.chain().clone();
    let head = kernel.head().clone();
    let schedule = Schedule {
        genesis_time_ms: chain.genesis_time_ms(),
        slot_ms: chain.slot_ms(),
        // Where the chain names no author, any node of a development chain may build.
        builds: signs || spec.is_dev(),
    };
    // A node that cannot serve builds no block.
    let listeners = Listeners::bind(settings).await?;
    let (thread, mut ended) = KernelThread::start(kernel, schedule, shared.clone())?;
    let node = Arc::new(Node::new(chain, thread, shared, spec, signs));
    let (stop_pages, pages_stopped) = watch::channel(false);
    let started = listeners.serve(settings, &node, pages_stopped).await;
    let server = match started {
        Ok(server) => server,
        Err(error) => {
            node.stop();
            ended.wait().await;
            return Err(error);
        }
    };
    info!(
        target: "node",
        chain = spec.file.chain_id,
        genesis = %to_hex(&node.chain().genesis_hash()),
        height = head.header.height,
        head = %to_hex(&head.hash),
        engine = node.chain().engine_name(),
        "ready"
    );
    tokio::select! {
        _ = terminate.recv() => info!(target: "node", "SIGTERM: stopping"),
        _ = interrupt.recv() => info!(target: "node", "SIGINT: stopping"),
        () = ended.wait() => {}
    }
    let drain = async {
        node.stop();
        let _ = stop_pages.send(true);
        server.stop().await;
        ended.wait().await;
    };
    let drained = tokio::time::timeout(STOP_MAX, drain).await;
    finish(&node, ended, drained.is_ok())
}

/// The ports of the RPC server and of the operator's pages.
struct Listeners {
    rpc: TcpListener,
    pages: Option<TcpListener>,
}

impl Listeners {
    async fn bind(settings: &Settings) -> anyhow::Result<Listeners> {
        let bind = async |address: SocketAddr, what| {
            TcpListener::bind(address)
                .await
                .with_context(|| format!("cannot listen for {what} on {address}"))
        };
        Ok(Listeners {
            rpc: bind(settings.rpc_listen, "RPC").await?,
            pages: match settings.metrics_listen.0 {
                Some(address) => Some(bind(address, "metrics").await?),
                None => None,
            },
        })
    }

    /// Starts the RPC server and the operator's pages.
    async fn serve(
        self,
        settings: &Settings,
        node: &Arc<Node>,
        stopped: watch::Receiver<bool>,
    ) -> anyhow::Result<Server> {
        let server = Server::start(self.rpc, node.clone(), limits(settings)).await?;
        info!(target: "node", address = %server.local_addr(), "RPC");
        if let Some(listener) = self.pages {
            let address = pages::start(listener, node.clone(), stopped)?;
            info!(target: "node", %address, "metrics");
        }
        Ok(server)
    }
}

fn finish(node: &Node, ended: Ended, drained: bool) -> anyhow::Result<()> {
    ensure!(
        drained,
        "the node did not stop in time; its data is whole up to the last block"
    );
    ended.outcome()?;
    let height = node.published().borrow().head.header.height;
    info!(target: "node", height, "stopped");
    Ok(())
}
