//! Limits of the network, in one place.
//!
//! What peers can make this node hold: 64 connections at the default `peers_max`, each with at
//! most [`STREAMS_PER_CONNECTION_MAX`] streams of 256 KiB until they are read; messages that wait
//! for the kernel, [`INBOX_BYTES_MAX`] together; answers being made, [`SERVING_MAX`] of at most
//! 8 MiB; ids of gossip messages of the last [`GOSSIP_MEMORY`].

use std::time::Duration;

/// Connections of one address, and peers banned from there.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 16;
/// Connections whose handshake is not done, each way.
pub const PENDING_CONNECTIONS_MAX: u32 = 32;
/// Connections with one peer: two may cross when both dial.
pub const CONNECTIONS_PER_PEER_MAX: u32 = 2;
/// Streams of a connection, both ways.
pub const STREAMS_PER_CONNECTION_MAX: usize = 64;
/// Streams of a connection whose protocol is being agreed on.
pub const NEGOTIATING_STREAMS_MAX: usize = 16;
/// How long a handshake may take.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// How long a connection lives on which nothing is said.
pub const IDLE_MAX: Duration = Duration::from_secs(3600);

/// Requests under way on a connection, both ways.
pub const REQUESTS_PER_CONNECTION_MAX: usize = 16;
/// How long a request may take from its first byte to its answer's last.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// Answers being made at once.
pub const SERVING_MAX: usize = 4;

/// Commands that wait for the network.
pub const COMMANDS_MAX: usize = 8192;
/// Gossip messages that wait for a verdict.
pub const VERDICTS_MAX: usize = 65_536;
/// Requests of peers that wait for an answer.
pub const INBOUND_REQUESTS_MAX: usize = 1024;

/// How often the mesh is tended.
pub const GOSSIP_HEARTBEAT: Duration = Duration::from_millis(700);
/// How long a message's id is remembered.
pub const GOSSIP_MEMORY: Duration = Duration::from_secs(30);
/// Messages that wait for one peer.
pub const GOSSIP_QUEUE_MAX: usize = 8192;
/// Messages, and control messages, in one transmission.
pub const GOSSIP_MESSAGES_MAX: usize = 4096;
/// Messages of a peer within [`FLOOD_WINDOW`] that find the kernel's inbox full before that is
/// an offence.
pub const FLOOD_MAX: u32 = 1024;
/// See [`FLOOD_MAX`].
pub const FLOOD_WINDOW: Duration = Duration::from_secs(10);

/// How long a peer is banned for its gossip score.
pub const BAN: Duration = Duration::from_secs(600);
/// How often a peer is asked whether it lives.
pub const PING_INTERVAL: Duration = Duration::from_secs(5);
/// How long its answer may take; a connection without one is closed.
pub const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Peers below which others are looked for.
pub const PEERS_WANTED: usize = 8;
/// Nodes remembered for dialling again.
pub const KNOWN_MAX: usize = 256;
/// Addresses remembered of a node.
pub const ADDRESSES_MAX: usize = 8;
/// The pause before a node is dialled again, at first.
pub const REDIAL_MIN: Duration = Duration::from_secs(1);
/// The pause before a node is dialled again, at last.
pub const REDIAL_MAX: Duration = Duration::from_secs(15);
/// Bytes on their way on a QUIC stream.
pub const QUIC_STREAM_BYTES_MAX: u32 = 2 << 20;
/// Bytes on their way on a QUIC connection.
pub const QUIC_CONNECTION_BYTES_MAX: u32 = 8 << 20;
