//! The network: a libp2p swarm in a task of its own, between bounded queues.
//!
//! The task decides nothing that the chain depends on: what peers say goes to the driver on the
//! kernel's thread through its [`Inbox`], and what the driver wants done comes back as
//! [`Command`]s. The task keeps connections, limits, bans and gossip scores.

mod address;
mod address_limits;
mod behaviour;
mod codec;
mod dial;
mod identity;
mod limits;
mod peers;
mod score;
mod task;
mod topics;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use jar_cap::Hash;
use jar_driver::{InboundId, MessageId, Offence, PeerId, Request, RequestId, Status, Verdict};
use jar_kernel::{Emission, Params, Store};
use libp2p::{Multiaddr, noise, tcp, yamux};
use tokio::sync::{mpsc, watch};

pub use address::{Bootnode, listen_addresses, parse as parse_address};
pub use peers::PeerInfo;

use crate::inbox::Inbox;
use crate::shared::Shared;
use behaviour::Behaviour;
use limits::*;
use topics::Topics;

/// How the network is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// The chain's name for machines: part of the protocols' names.
    pub chain_id: String,
    /// Hash of the genesis header: nodes of another are no peers.
    pub genesis: Hash,
    /// Length of a time slot.
    pub slot: Duration,
    /// Where to listen.
    pub listen: Vec<Multiaddr>,
    /// Where others reach this node, if they don't see it themselves.
    pub external: Vec<Multiaddr>,
    /// Nodes to start from.
    pub bootnodes: Vec<Bootnode>,
    /// Whether to dial nobody else.
    pub bootnodes_only: bool,
    /// Whether to look for nodes on the local network.
    pub mdns: bool,
    /// Connections.
    pub peers_max: u32,
}

impl Options {
    /// What nodes of one chain, and no others, agree on.
    fn protocol_version(&self) -> String {
        let genesis: String = self.genesis.iter().map(|b| format!("{b:02x}")).collect();
        format!("/jar/{}/{genesis}", self.chain_id)
    }
}

/// What the network is told to do.
#[derive(Debug)]
pub enum Command {
    /// Gossip what the kernel emits.
    Emit(Emission),
    /// Say what a gossip message is.
    Verdict {
        /// The message.
        message: MessageId,
        /// What it is.
        verdict: Verdict,
    },
    /// Ask a peer.
    Request {
        /// What the answer is to name.
        id: RequestId,
        /// Whom.
        peer: PeerId,
        /// What.
        request: Request,
    },
    /// Answer a peer's request from the store.
    Serve {
        /// Which.
        inbound: InboundId,
        /// What is asked.
        request: Request,
        /// How this node stands.
        status: Status,
    },
    /// Answer a peer's request that it is refused.
    Refuse {
        /// Which.
        inbound: InboundId,
    },
    /// Drop a peer and take no connection from it for a while.
    Ban {
        /// Whom.
        peer: PeerId,
        /// For how long.
        duration: Duration,
        /// What it did last.
        offence: Offence,
    },
}

/// The way to the network's task. It never blocks: what finds the queue full is dropped.
#[derive(Clone, Debug)]
pub struct Commands(mpsc::Sender<Command>);

impl Commands {
    /// Hands a command over; `false` when it was dropped.
    pub fn send(&self, command: Command) -> bool {
        self.0.try_send(command).is_ok()
    }
}

/// Commands on their way.
pub type CommandQueue = mpsc::Receiver<Command>;

/// A bounded queue of commands.
pub fn commands() -> (Commands, CommandQueue) {
    let (sender, queue) = mpsc::channel(COMMANDS_MAX);
    (Commands(sender), queue)
}

/// Whether a machine other than this one could reach an address.
pub fn is_reachable(address: &Multiaddr) -> bool {
    address::ip(address).is_some_and(|ip| !ip.is_loopback())
}

/// A running network.
#[derive(Debug)]
pub struct Network {
    /// This node's name on the network.
    pub peer_id: String,
    /// Peers as they come and go.
    pub peers: watch::Receiver<Arc<Vec<PeerInfo>>>,
    task: tokio::task::JoinHandle<()>,
}

/// What the network's task works with.
#[derive(Debug)]
pub struct Parts {
    /// What it is told.
    pub commands: CommandQueue,
    /// Whom it tells.
    pub inbox: Inbox,
    /// What peers' requests are answered from.
    pub store: Arc<dyn Store>,
    /// Where it counts.
    pub shared: Arc<Shared>,
}

impl Network {
    /// Listens, and starts the task. Nothing of a peer is taken in before.
    pub async fn start(
        options: Options,
        data_dir: &Path,
        params: &Params,
        dispatch_endpoints: &[u8],
        parts: Parts,
    ) -> anyhow::Result<Network> {
        let key = identity::load_or_create(data_dir)?;
        let peer_id = key.public().to_peer_id();
        let topics = Topics::new(&options.chain_id, dispatch_endpoints, params);
        let behaviour = Behaviour::new(&key, &options, &topics)?;
        let muxer = || {
            let mut config = yamux::Config::default();
            config.set_max_num_streams(STREAMS_PER_CONNECTION_MAX);
            config
        };
        let mut swarm = libp2p::SwarmBuilder::with_existing_identity(key)
            .with_tokio()
            .with_tcp(
                tcp::Config::default().nodelay(true),
                noise::Config::new,
                muxer,
            )?
            .with_quic_config(|mut config| {
                config.max_concurrent_stream_limit = STREAMS_PER_CONNECTION_MAX as u32;
                config.max_stream_data = QUIC_STREAM_BYTES_MAX;
                config.max_connection_data = QUIC_CONNECTION_BYTES_MAX;
                config
            })
            .with_behaviour(|_| behaviour)?
            .with_swarm_config(|config| {
                config
                    .with_idle_connection_timeout(IDLE_MAX)
                    .with_max_negotiating_inbound_streams(NEGOTIATING_STREAMS_MAX)
            })
            .with_connection_timeout(HANDSHAKE_MAX)
            .build();
        for address in &options.listen {
            swarm
                .listen_on(address.clone())
                .with_context(|| format!("cannot listen for other nodes on {address}"))?;
        }
        for address in &options.external {
            swarm.add_external_address(address.clone());
        }
        let (publish, peers) = watch::channel(Arc::default());
        let task = task::Task::new(swarm, options, topics, parts, publish);
        Ok(Network {
            peer_id: peer_id.to_string(),
            peers,
            task: tokio::spawn(task.run()),
        })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.task.abort();
    }
}
