//! The peers that are connected.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jar_driver::PeerId as DriverId;
use libp2p::{Multiaddr, PeerId};

use super::limits::{FLOOD_MAX, FLOOD_WINDOW};

/// A peer as operators see it.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerInfo {
    /// Its name.
    pub peer_id: String,
    /// How the driver calls it.
    pub id: DriverId,
    /// Where it is.
    pub address: String,
    /// Whether this node dialled it.
    pub is_outbound: bool,
    /// The software it says it runs.
    pub agent: Option<String>,
    /// Time of a ping's way there and back.
    pub latency: Option<Duration>,
    /// Its gossip score.
    pub score: f64,
}

/// A connected peer.
#[derive(Debug)]
pub struct Peer {
    /// How the driver calls it.
    pub id: DriverId,
    /// Where it is.
    pub address: Multiaddr,
    /// Whether this node dialled it.
    pub is_outbound: bool,
    /// The software it says it runs.
    pub agent: Option<String>,
    /// Time of a ping's way there and back.
    pub latency: Option<Duration>,
    /// Messages that found the kernel's inbox full, since when.
    flood: (Instant, u32),
}

impl Peer {
    /// Counts a message that found the inbox full; `true` when that is an offence.
    pub fn floods(&mut self, now: Instant) -> bool {
        let (since, count) = &mut self.flood;
        if now.duration_since(*since) > FLOOD_WINDOW {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        *count % FLOOD_MAX == 0
    }
}

/// All connected peers, by both of their names.
#[derive(Debug, Default)]
pub struct Peers {
    peers: HashMap<PeerId, Peer>,
    names: HashMap<DriverId, PeerId>,
}

/// How the driver calls a peer.
pub fn driver_id(peer: &PeerId) -> DriverId {
    DriverId(jar_cap::hash::blake2b(&[&peer.to_bytes()]))
}

impl Peers {
    /// Adds a peer; `None` when it is there already.
    pub fn add(
        &mut self,
        peer: PeerId,
        address: Multiaddr,
        is_outbound: bool,
        now: Instant,
    ) -> Option<DriverId> {
        if self.peers.contains_key(&peer) {
            return None;
        }
        let id = driver_id(&peer);
        let entry = Peer {
            id,
            address,
            is_outbound,
            agent: None,
            latency: None,
            flood: (now, 0),
        };
        self.peers.insert(peer, entry);
        self.names.insert(id, peer);
        Some(id)
    }

    /// Removes a peer.
    pub fn remove(&mut self, peer: &PeerId) -> Option<Peer> {
        let removed = self.peers.remove(peer)?;
        self.names.remove(&removed.id);
        Some(removed)
    }

    /// A connected peer.
    pub fn get_mut(&mut self, peer: &PeerId) -> Option<&mut Peer> {
        self.peers.get_mut(peer)
    }

    /// A connected peer's own name.
    pub fn name(&self, id: &DriverId) -> Option<PeerId> {
        self.names.get(id).copied()
    }

    /// Whether a peer is connected.
    pub fn contains(&self, peer: &PeerId) -> bool {
        self.peers.contains_key(peer)
    }

    /// Number of peers.
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// All peers.
    pub fn iter(&self) -> impl Iterator<Item = (&PeerId, &Peer)> {
        self.peers.iter()
    }
}
