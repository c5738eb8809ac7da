//! Connections of one address are limited before a handshake costs anything.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use libp2p::core::transport::PortUse;
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{PeerId, swarm};

use super::address;

/// Bans remembered; the oldest are forgotten first.
const BANS_MAX: usize = 1024;

/// Too many connections come from one address.
#[derive(Debug, thiserror::Error)]
#[error("at most {max} connections, and bans, of one address")]
pub struct TooMany {
    max: usize,
}

/// Counts incoming connections by address: an IPv4 address, or the first 64 bits of an IPv6
/// address. A peer that was banned keeps its place until the ban ends, so that an address which
/// sends bad peers runs out of places.
#[derive(Debug)]
pub struct AddressLimits {
    max: usize,
    ban: Duration,
    connections: HashMap<ConnectionId, IpAddr>,
    held: HashMap<IpAddr, usize>,
    bans: VecDeque<(Instant, IpAddr)>,
}

impl AddressLimits {
    /// At most `max` connections of one address; a ban keeps its place for `ban`.
    pub fn new(max: usize, ban: Duration) -> AddressLimits {
        AddressLimits {
            max,
            ban,
            connections: HashMap::new(),
            held: HashMap::new(),
            bans: VecDeque::new(),
        }
    }

    /// Takes note that a peer of this address was banned.
    pub fn banned(&mut self, address: IpAddr, now: Instant) {
        let group = group(address);
        *self.held.entry(group).or_default() += 1;
        self.bans.push_back((now + self.ban, group));
        while self.bans.len() > BANS_MAX {
            self.end_oldest_ban();
        }
    }

    fn admit(&mut self, id: ConnectionId, address: IpAddr, now: Instant) -> Result<(), TooMany> {
        while self.bans.front().is_some_and(|(end, _)| *end <= now) {
            self.end_oldest_ban();
        }
        let group = group(address);
        let held = self.held.entry(group).or_default();
        if *held >= self.max {
            return Err(TooMany { max: self.max });
        }
        *held += 1;
        self.connections.insert(id, group);
        Ok(())
    }

    fn closed(&mut self, id: ConnectionId) {
        if let Some(group) = self.connections.remove(&id) {
            self.release(group);
        }
    }

    fn end_oldest_ban(&mut self) {
        if let Some((_, group)) = self.bans.pop_front() {
            self.release(group);
        }
    }

    fn release(&mut self, group: IpAddr) {
        if let Some(held) = self.held.get_mut(&group) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&group);
            }
        }
    }
}

/// What counts as one address.
fn group(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into(),
    }
}

impl NetworkBehaviour for AddressLimits {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        match address::ip(remote) {
            Some(ip) => self
                .admit(id, ip, Instant::now())
                .map_err(ConnectionDenied::new),
            None => Ok(()),
        }
    }

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ListenFailure(failure) => self.closed(failure.connection_id),
            FromSwarm::ConnectionClosed(closed) => self.closed(closed.connection_id),
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

/// Whether a connection was refused for its address.
pub fn is_too_many(error: &swarm::ListenError) -> bool {
    matches!(error, swarm::ListenError::Denied { cause } if cause.downcast_ref::<TooMany>().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(limits: &mut AddressLimits, id: usize, ip: &str, now: Instant) -> bool {
        let address = ip.parse().expect("an address");
        let id = ConnectionId::new_unchecked(id);
        limits.admit(id, address, now).is_ok()
    }

    #[test]
    fn each_address_has_its_places() {
        let now = Instant::now();
        let mut limits = AddressLimits::new(2, Duration::from_secs(60));
        assert!(admit(&mut limits, 1, "10.0.0.1", now));
        assert!(admit(&mut limits, 2, "::ffff:10.0.0.1", now));
        assert!(!admit(&mut limits, 3, "10.0.0.1", now));
        assert!(admit(&mut limits, 4, "10.0.0.2", now));
        limits.closed(ConnectionId::new_unchecked(3));
        assert!(!admit(&mut limits, 3, "10.0.0.1", now), "3 held no place");
        limits.closed(ConnectionId::new_unchecked(1));
        assert!(admit(&mut limits, 5, "10.0.0.1", now));
        assert!(admit(&mut limits, 6, "2001:db8::1", now));
        assert!(admit(&mut limits, 7, "2001:db8::2", now));
        assert!(!admit(&mut limits, 8, "2001:db8::3", now), "one network");
        assert!(admit(&mut limits, 9, "2001:db8:0:1::1", now));
    }

    #[test]
    fn a_ban_keeps_its_place_until_it_ends() {
        let now = Instant::now();
        let ban = Duration::from_secs(60);
        let mut limits = AddressLimits::new(1, ban);
        let address = "10.0.0.1".parse().expect("an address");
        limits.banned(address, now);
        assert!(!admit(&mut limits, 1, "10.0.0.1", now));
        assert!(admit(&mut limits, 2, "10.0.0.1", now + ban));
        for _ in 0..2 * BANS_MAX {
            limits.banned(address, now);
        }
        assert_eq!(limits.bans.len(), BANS_MAX);
        assert_eq!(limits.held.len(), 1);
    }
}
