//! Addresses of nodes: what operators write, and what is dialled.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use anyhow::{Context, bail, ensure};
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

/// Addresses that a name may resolve to.
const RESOLVED_MAX: usize = 8;

/// An address to listen on, as text: a multiaddr, or `IP:PORT` for both TCP and QUIC.
pub fn listen_addresses(text: &str) -> anyhow::Result<Vec<Multiaddr>> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        let host = Multiaddr::from(address.ip());
        let tcp = host.clone().with(Protocol::Tcp(address.port()));
        let quic = host.with(Protocol::Udp(address.port()));
        return Ok(vec![tcp, quic.with(Protocol::QuicV1)]);
    }
    let address = parse(text)?;
    ensure!(
        ip(&address).is_some(),
        "{text:?}: listening needs an IP address"
    );
    Ok(vec![address])
}

/// A multiaddr that this node can dial or listen on: TCP, or QUIC.
pub fn parse(text: &str) -> anyhow::Result<Multiaddr> {
    let address =
        Multiaddr::from_str(text).with_context(|| format!("{text:?} is not a multiaddr"))?;
    let parts: Vec<Protocol<'_>> = address.iter().collect();
    match parts.as_slice() {
        [host, Protocol::Tcp(_)] | [host, Protocol::Udp(_), Protocol::QuicV1] if is_host(host) => {}
        _ => bail!(
            "{text:?} is neither /ip4/…/tcp/PORT nor /ip4/…/udp/PORT/quic-v1 (ip6 or dns4 in place of ip4)"
        ),
    }
    Ok(address)
}

fn is_host(part: &Protocol<'_>) -> bool {
    use Protocol::*;
    matches!(part, Ip4(_) | Ip6(_) | Dns(_) | Dns4(_) | Dns6(_))
}

/// A node to start from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootnode {
    /// Where it listens, perhaps by name.
    pub address: Multiaddr,
    /// Who must answer; `None` takes whoever does.
    pub peer: Option<PeerId>,
}

impl FromStr for Bootnode {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Bootnode> {
        let mut whole =
            Multiaddr::from_str(text).with_context(|| format!("{text:?} is not a multiaddr"))?;
        let peer = match whole.iter().last() {
            Some(Protocol::P2p(peer)) => {
                whole.pop();
                Some(peer)
            }
            _ => None,
        };
        Ok(Bootnode {
            address: parse(&whole.to_string())?,
            peer,
        })
    }
}

impl Bootnode {
    /// Addresses without names: a name is looked up, each time anew.
    pub async fn resolve(&self) -> std::io::Result<Vec<Multiaddr>> {
        use Protocol::*;
        let mut parts = self.address.iter();
        let host = match parts.next() {
            Some(Dns(name) | Dns4(name) | Dns6(name)) => name,
            _ => return Ok(vec![self.address.clone()]),
        };
        let rest: Vec<Protocol<'_>> = parts.collect();
        let found = tokio::net::lookup_host((host.as_ref(), 0)).await?;
        let with_rest = |address: SocketAddr| {
            rest.iter()
                .fold(Multiaddr::from(address.ip()), |all, part| {
                    all.with(part.clone())
                })
        };
        Ok(found.take(RESOLVED_MAX).map(with_rest).collect())
    }
}

/// The IP address that a multiaddr starts with.
pub fn ip(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(ip.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_write_sockets_or_multiaddrs() {
        let texts = |text: &str| -> Vec<String> {
            let addresses = listen_addresses(text).expect("good");
            addresses.iter().map(Multiaddr::to_string).collect()
        };
        assert_eq!(
            texts("127.0.0.1:30333"),
            [
                "/ip4/127.0.0.1/tcp/30333",
                "/ip4/127.0.0.1/udp/30333/quic-v1"
            ]
        );
        assert_eq!(texts("/ip6/::1/tcp/0"), ["/ip6/::1/tcp/0"]);
        for bad in [
            "",
            "30333",
            "/ip4/127.0.0.1",
            "/ip4/127.0.0.1/udp/1",
            "/dns4/a/tcp/1",
        ] {
            assert!(listen_addresses(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bootnodes_may_name_who_answers() {
        let peer = PeerId::random();
        let text = format!("/dns4/seed.example/tcp/30333/p2p/{peer}");
        let bootnode: Bootnode = text.parse().expect("good");
        assert_eq!(bootnode.peer, Some(peer));
        let anyone: Bootnode = "/ip4/10.0.0.1/udp/9/quic-v1".parse().expect("good");
        assert_eq!(anyone.peer, None);
        for bad in ["", "/p2p/x", "/ip4/1.2.3.4", "/ip4/1.2.3.4/tcp/1/ws"] {
            assert!(bad.parse::<Bootnode>().is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn names_are_looked_up() {
        let bootnode: Bootnode = "/dns4/localhost/tcp/7".parse().expect("good");
        let found = bootnode.resolve().await.expect("localhost is known");
        assert!(!found.is_empty());
        for address in found {
            assert!(ip(&address).is_some_and(|ip| ip.is_loopback()), "{address}");
            assert!(address.to_string().ends_with("/tcp/7"));
        }
    }
}
