//! Running the node: its parts wired together.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use jar_cap::image::Role;
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

use crate::clock::now_ms;
use crate::config::Settings;
use crate::inbox::Inbox;
use crate::kernel_thread::{Ended, KernelThread};
use crate::metrics::Metrics;
use crate::network::{self, Bootnode, Network, Options};
use crate::service::Node;
use crate::shared::Shared;
use crate::signing::Guard;
use crate::spec::{Spec, built_in_names};
use crate::{inbox, keys, pages, worker};

/// How long stopping may take before the process ends regardless.
const STOP_MAX: Duration = Duration::from_millis(4500);

/// Runs the node until it is told to stop.
pub fn run(settings: &Settings) -> anyhow::Result<()> {
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
    let network = network_options(settings, &spec)?;
    let store: Arc<dyn Store> = Arc::new(RocksStore::open(
        &data_dir,
        &jar_storage::Options::default(),
    )?);
    let signs = !seeds.is_empty();
    let held_a_chain = store.head()?.is_some();
    let signer = Signer::new(seeds, store.as_ref())?;
    let metrics = Metrics::new(engine.name(), &spec.file.chain_id)?;
    let shared = Arc::new(Shared::new(metrics));
    let hardware = {
        let (notices, stops) = (shared.clone(), shared.clone());
        let sink = Box::new(move |notice| notices.notice(notice));
        let should_stop = Box::new(move || stops.should_stop());
        Arc::new(LocalHardware::new(store, signer, sink, should_stop))
    };
    let first_slot = now_ms()
        .saturating_sub(spec.genesis.time_ms)
        .div_ceil(spec.genesis.slot_ms);
    let guard = Guard::new(
        &data_dir,
        hardware.clone(),
        held_a_chain,
        settings.signing_after_restore,
        first_slot,
    )?;
    let mut kernel = Kernel::open(hardware, &spec.genesis, engine)
        .with_context(|| format!("data directory {}", data_dir.display()))?;
    kernel.limit_memory(u64::from(settings.state_memory_mib) << 20);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("node")
        .build()?;
    let parts = Parts {
        kernel,
        guard,
        shared,
        signs,
        network,
        data_dir,
    };
    let outcome = runtime.block_on(serve(settings, &spec, parts));
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

/// The network asked for, if any; its genesis is filled in once the chain is open.
fn network_options(settings: &Settings, spec: &Spec) -> anyhow::Result<Option<Options>> {
    let mut listen = Vec::new();
    for text in &settings.p2p_listen {
        listen.extend(network::listen_addresses(text).context("--p2p-listen")?);
    }
    let external = settings.p2p_external.iter();
    let external: Result<Vec<_>, _> = external.map(|text| network::parse_address(text)).collect();
    let named = settings.bootnodes.iter().chain(&spec.file.bootnodes);
    let bootnodes: Result<Vec<Bootnode>, _> = named.map(|text| text.parse()).collect();
    let options = Options {
        chain_id: spec.file.chain_id.clone(),
        genesis: [0; 32],
        slot: Duration::from_millis(spec.genesis.slot_ms),
        // Nobody else is there to be found on the loopback interface.
        mdns: !settings.no_mdns
            && !settings.bootnodes_only
            && listen.iter().any(network::is_reachable),
        bootnodes_only: settings.bootnodes_only,
        listen,
        external: external.context("--p2p-external")?,
        bootnodes: bootnodes.context("--bootnodes")?,
        peers_max: settings.peers_max.max(1),
    };
    // A node to start from is dialled even if this one cannot be.
    Ok((!options.listen.is_empty() || !options.bootnodes.is_empty()).then_some(options))
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

/// What the node is made of before it serves.
struct Parts {
    kernel: Kernel<LocalHardware>,
    guard: Guard,
    shared: Arc<Shared>,
    signs: bool,
    network: Option<Options>,
    data_dir: PathBuf,
}

/// Starts the network, if there is one: the kernel's thread need not run for that.
async fn start_network(
    options: Option<Options>,
    kernel: &Kernel<LocalHardware>,
    data_dir: &Path,
    inbox: &Inbox,
    shared: &Arc<Shared>,
) -> anyhow::Result<Option<Network>> {
    let Some(mut options) = options else {
        return Ok(None);
    };
    let chain = kernel.chain();
    options.genesis = chain.genesis_hash();
    let endpoints = dispatch_endpoints(kernel)?;
    let (commands, queue) = network::commands();
    shared.connect(commands);
    let parts = network::Parts {
        commands: queue,
        inbox: inbox.clone(),
        store: chain.store().clone(),
        shared: shared.clone(),
    };
    let network = Network::start(options, data_dir, chain.params(), &endpoints, parts).await?;
    info!(target: "node", peer_id = network.peer_id, "network");
    Ok(Some(network))
}

/// The chain's Dispatch endpoints, as of the head.
fn dispatch_endpoints(kernel: &Kernel<LocalHardware>) -> anyhow::Result<Vec<u8>> {
    let image = kernel.chain().image(kernel.head())?;
    let endpoints = image.endpoints.iter();
    let dispatch = endpoints.filter(|(_, endpoint)| matches!(endpoint.role, Role::Dispatch));
    Ok(dispatch.map(|(index, _)| *index).collect())
}

async fn serve(settings: &Settings, spec: &Spec, parts: Parts) -> anyhow::Result<()> {
    let Parts {
        kernel,
        guard,
        shared,
        signs,
        network,
        data_dir,
    } = parts;
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
    let (inbox, queue) = inbox::inbox();
    let peers_min = usize::from(network.as_ref().is_some_and(|o| !o.bootnodes.is_empty()));
    let driver = worker::driver(&kernel, schedule, settings.sync, peers_min)?;
    let network = start_network(network, &kernel, &data_dir, &inbox, &shared).await?;
    let (thread, mut ended) =
        KernelThread::start((kernel, driver, guard), shared.clone(), (inbox, queue))?;
    let node = Arc::new(Node::new(chain, thread, shared, network, spec, signs));
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
