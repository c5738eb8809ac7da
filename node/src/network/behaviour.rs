//! The protocols this node speaks, as one libp2p behaviour.

use std::time::Duration;

use jar_driver::messages::{REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX};
use libp2p::gossipsub::{self, MessageAuthenticity, ValidationMode, WhitelistSubscriptionFilter};
use libp2p::identity::Keypair;
use libp2p::kad::store::{MemoryStore, MemoryStoreConfig};
use libp2p::request_response::ProtocolSupport;
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{
    StreamProtocol, allow_block_list, connection_limits, identify, kad, mdns, ping,
    request_response,
};

use super::Options;
use super::address_limits::AddressLimits;
use super::codec::BoundedCodec;
use super::limits::*;
use super::score;
use super::topics::{Topics, message_id};

/// Gossip of this chain's topics alone.
pub type Gossipsub =
    gossipsub::Behaviour<gossipsub::IdentityTransform, WhitelistSubscriptionFilter>;
/// Addresses are kept, records of others are not.
pub type Kademlia = kad::Behaviour<MemoryStore>;

/// Everything the node speaks. Limits come first: they refuse before others act.
#[derive(NetworkBehaviour)]
pub struct Behaviour {
    pub addresses: AddressLimits,
    pub limits: connection_limits::Behaviour,
    pub bans: allow_block_list::Behaviour<allow_block_list::BlockedPeers>,
    pub identify: identify::Behaviour,
    pub ping: ping::Behaviour,
    pub kademlia: Kademlia,
    pub mdns: Toggle<mdns::tokio::Behaviour>,
    pub gossip: Gossipsub,
    pub sync: request_response::Behaviour<BoundedCodec>,
}

impl Behaviour {
    /// The behaviour of a node with these options.
    pub fn new(key: &Keypair, options: &Options, topics: &Topics) -> anyhow::Result<Behaviour> {
        let peer = key.public().to_peer_id();
        let mdns = options
            .mdns
            .then(|| mdns::tokio::Behaviour::new(mdns::Config::default(), peer))
            .transpose()?;
        let identify = identify::Config::new(options.protocol_version(), key.public())
            .with_agent_version(format!("jar-node/{}", env!("CARGO_PKG_VERSION")))
            .with_push_listen_addr_updates(true)
            .with_cache_size(0);
        Ok(Behaviour {
            addresses: AddressLimits::new(CONNECTIONS_PER_ADDRESS_MAX, BAN),
            limits: connection_limits::Behaviour::new(connection_limits(options.peers_max)),
            bans: allow_block_list::Behaviour::default(),
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(
                ping::Config::new()
                    .with_interval(PING_INTERVAL)
                    .with_timeout(PING_TIMEOUT),
            ),
            kademlia: kademlia(peer, options)?,
            mdns: mdns.into(),
            gossip: gossip(options, topics)?,
            sync: sync(options)?,
        })
    }
}

fn connection_limits(peers_max: u32) -> connection_limits::ConnectionLimits {
    connection_limits::ConnectionLimits::default()
        .with_max_pending_incoming(Some(PENDING_CONNECTIONS_MAX))
        .with_max_pending_outgoing(Some(PENDING_CONNECTIONS_MAX))
        // A quarter of the places is for peers that this node chose itself.
        .with_max_established_incoming(Some(peers_max - peers_max / 4))
        .with_max_established(Some(peers_max))
        .with_max_established_per_peer(Some(CONNECTIONS_PER_PEER_MAX))
}

fn kademlia(peer: libp2p::PeerId, options: &Options) -> anyhow::Result<Kademlia> {
    let protocol = StreamProtocol::try_from_owned(format!("{}/kad", options.protocol_version()))?;
    let mut config = kad::Config::new(protocol);
    config
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_query_timeout(Duration::from_secs(30))
        .set_periodic_bootstrap_interval(Some(Duration::from_secs(300)))
        .set_replication_interval(None)
        .set_publication_interval(None)
        .set_provider_publication_interval(None);
    let nothing = MemoryStoreConfig {
        max_records: 0,
        max_provided_keys: 0,
        ..MemoryStoreConfig::default()
    };
    let store = MemoryStore::with_config(peer, nothing);
    let mut kademlia = Kademlia::with_config(peer, store, config);
    kademlia.set_mode(Some(kad::Mode::Server));
    Ok(kademlia)
}

fn gossip(options: &Options, topics: &Topics) -> anyhow::Result<Gossipsub> {
    let mut config = gossipsub::ConfigBuilder::default();
    config
        .heartbeat_interval(GOSSIP_HEARTBEAT)
        .heartbeat_initial_delay(Duration::from_millis(100))
        .mesh_n(score::MESH_PEERS)
        .mesh_n_low(score::MESH_PEERS - 2)
        .mesh_n_high(score::MESH_PEERS * 2)
        .mesh_outbound_min(2)
        .gossip_lazy(score::MESH_PEERS)
        .validate_messages()
        // Blocks and events are signed by those who made them; who publishes is nobody's business.
        .validation_mode(ValidationMode::Anonymous)
        .message_id_fn(message_id)
        .duplicate_cache_time(GOSSIP_MEMORY)
        .max_transmit_size(topics.bytes_max_of_all())
        .connection_handler_queue_len(GOSSIP_QUEUE_MAX)
        .max_publish_messages(GOSSIP_MESSAGES_MAX)
        .max_control_messages_sent(GOSSIP_MESSAGES_MAX)
        .prune_backoff(Duration::from_secs(15));
    for (kind, topic) in topics.iter() {
        config.max_transmit_size_for_topic(topics.bytes_max(kind), topic.hash());
    }
    let config = config
        .build()
        .map_err(|error| anyhow::anyhow!("gossip: {error}"))?;
    let filter = WhitelistSubscriptionFilter(topics.hashes());
    let bad = |error: &str| anyhow::anyhow!("gossip: {error}");
    let mut gossip =
        Gossipsub::new_with_subscription_filter(MessageAuthenticity::Anonymous, config, filter)
            .map_err(bad)?;
    gossip
        .with_peer_score(score::params(topics, options.slot), score::thresholds())
        .map_err(|error| bad(&error))?;
    for (_, topic) in topics.iter() {
        gossip.subscribe(topic)?;
    }
    Ok(gossip)
}

fn sync(options: &Options) -> anyhow::Result<request_response::Behaviour<BoundedCodec>> {
    let name = format!("/jar/{}/sync", options.chain_id);
    let protocol = StreamProtocol::try_from_owned(name)?;
    let config = request_response::Config::default()
        .with_request_timeout(REQUEST_TIMEOUT)
        .with_max_concurrent_streams(REQUESTS_PER_CONNECTION_MAX);
    let codec = BoundedCodec {
        request_bytes_max: REQUEST_BYTES_MAX,
        response_bytes_max: RESPONSE_BYTES_MAX,
    };
    Ok(request_response::Behaviour::with_codec(
        codec,
        [(protocol, ProtocolSupport::Full)],
        config,
    ))
}
