//! Whom to dial, and when again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use libp2p::{Multiaddr, PeerId};

use super::address::Bootnode;
use super::limits::*;

/// The pause before the next try: doubled with each, from [`REDIAL_MIN`] to [`REDIAL_MAX`].
#[derive(Clone, Copy, Debug)]
struct Pause {
    next: Instant,
    length: Duration,
}

impl Pause {
    fn none(now: Instant) -> Pause {
        Pause {
            next: now,
            length: REDIAL_MIN,
        }
    }

    /// Whether it is over; if so, the next one begins.
    fn is_over(&mut self, now: Instant) -> bool {
        let is_over = self.next <= now;
        if is_over {
            self.next = now + self.length;
            self.length = (self.length * 2).min(REDIAL_MAX);
        }
        is_over
    }
}

#[derive(Debug)]
struct Known {
    addresses: Vec<Multiaddr>,
    pause: Pause,
}

#[derive(Debug)]
struct Start {
    node: Bootnode,
    /// Who answered last, where nobody is named.
    answered: Option<PeerId>,
    pause: Pause,
}

/// Nodes to dial: those to start from, and those heard of.
#[derive(Debug)]
pub struct Book {
    own: PeerId,
    starts: Vec<Start>,
    known: HashMap<PeerId, Known>,
}

impl Book {
    /// A book of these nodes to start from.
    pub fn new(own: PeerId, bootnodes: &[Bootnode], now: Instant) -> Book {
        let start = |node: &Bootnode| Start {
            node: node.clone(),
            answered: None,
            pause: Pause::none(now),
        };
        Book {
            own,
            starts: bootnodes.iter().map(start).collect(),
            known: HashMap::new(),
        }
    }

    /// Takes note of where a node listens. When the book is full, the node is not remembered.
    pub fn heard(&mut self, peer: PeerId, address: Multiaddr, now: Instant) {
        if peer == self.own || (self.known.len() >= KNOWN_MAX && !self.known.contains_key(&peer)) {
            return;
        }
        let known = self.known.entry(peer).or_insert_with(|| Known {
            addresses: Vec::new(),
            pause: Pause::none(now),
        });
        if !known.addresses.contains(&address) && known.addresses.len() < ADDRESSES_MAX {
            known.addresses.push(address);
        }
    }

    /// A node is connected: `dialled` where it was found.
    pub fn connected(&mut self, peer: PeerId, dialled: Option<&Multiaddr>, now: Instant) {
        if let Some(known) = self.known.get_mut(&peer) {
            known.pause = Pause::none(now);
        }
        let Some(dialled) = dialled else { return };
        for start in &mut self.starts {
            let is_it = start.node.peer.map_or_else(
                || {
                    dialled
                        .to_string()
                        .starts_with(&start.node.address.to_string())
                },
                |named| named == peer,
            );
            if is_it {
                start.answered = Some(peer);
                start.pause = Pause::none(now);
            }
        }
        self.heard(peer, dialled.clone(), now);
    }

    /// A node whose name was looked up turned out to be this one.
    pub fn answered(&mut self, index: usize, peer: PeerId) {
        if let Some(start) = self.starts.get_mut(index) {
            start.answered = Some(peer);
        }
    }

    /// A node is not to be dialled again, until it is heard of.
    pub fn forget(&mut self, peer: &PeerId) {
        self.known.remove(peer);
    }

    /// Nodes to start from that are due, with their indices: each that is not connected.
    pub fn starts_due(
        &mut self,
        now: Instant,
        is_connected: impl Fn(&PeerId) -> bool,
    ) -> Vec<(usize, Bootnode)> {
        let own = self.own;
        let due = self.starts.iter_mut().enumerate().filter(|(_, start)| {
            let who = start.node.peer.or(start.answered);
            !who.is_some_and(|peer| peer == own || is_connected(&peer))
        });
        due.filter_map(|(index, start)| {
            let is_over = start.pause.is_over(now);
            is_over.then(|| (index, start.node.clone()))
        })
        .collect()
    }

    /// Up to `wanted` nodes heard of that are due and not connected.
    pub fn known_due(
        &mut self,
        wanted: usize,
        now: Instant,
        is_connected: impl Fn(&PeerId) -> bool,
    ) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let due = self
            .known
            .iter_mut()
            .filter(|(peer, known)| !is_connected(peer) && known.pause.next <= now);
        due.take(wanted)
            .filter_map(|(peer, known)| {
                let is_over = known.pause.is_over(now);
                is_over.then(|| (*peer, known.addresses.clone()))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: usize) -> Multiaddr {
        format!("/ip4/10.0.0.1/tcp/{n}").parse().expect("good")
    }

    #[test]
    fn pauses_double_until_it_is_connected() {
        let start = Instant::now();
        let peer = PeerId::random();
        let mut book = Book::new(PeerId::random(), &[], start);
        book.heard(peer, address(1), start);
        let mut now = start;
        let mut dials = |book: &mut Book, seconds: u64| {
            let mut dials = 0;
            for _ in 0..seconds {
                now += Duration::from_secs(1);
                dials += book.known_due(8, now, |_| false).len();
            }
            dials
        };
        assert_eq!(dials(&mut book, 600), 4 + (600 - 15) / 15);
        book.connected(peer, None, start);
        assert_eq!(
            dials(&mut book, 7),
            3,
            "at once, after 1 s and after 2 s more"
        );
        assert!(
            book.known_due(8, start + REDIAL_MAX * 99, |_| true)
                .is_empty()
        );
    }

    #[test]
    fn nodes_to_start_from_are_dialled_until_they_answer() {
        let now = Instant::now();
        let own = PeerId::random();
        let text = format!("/ip4/10.0.0.1/tcp/1/p2p/{own}");
        let nodes: Vec<Bootnode> = ["/ip4/10.0.0.1/tcp/1", "/dns4/localhost/tcp/2", &text]
            .map(|text| text.parse().expect("good"))
            .into();
        let mut book = Book::new(own, &nodes, now);
        let due = book.starts_due(now, |_| false);
        assert_eq!(due.len(), 2, "all but itself");
        let peer = PeerId::random();
        book.connected(peer, Some(&address(1)), now);
        assert_eq!(book.starts_due(now, |other| *other == peer).len(), 0);
        let later = now + REDIAL_MIN;
        assert_eq!(book.starts_due(later, |other| *other == peer).len(), 1);
        assert_eq!(book.starts_due(later, |_| false).len(), 1);
        book.answered(1, own);
        let later = later + REDIAL_MAX;
        assert_eq!(book.starts_due(later, |other| *other == peer).len(), 0);
    }

    #[test]
    fn memory_is_bounded() {
        let now = Instant::now();
        let mut book = Book::new(PeerId::random(), &[], now);
        let peer = PeerId::random();
        for n in 0..2 * ADDRESSES_MAX {
            book.heard(peer, address(n), now);
        }
        for _ in 0..2 * KNOWN_MAX {
            book.heard(PeerId::random(), address(1), now);
        }
        assert_eq!(book.known.len(), KNOWN_MAX);
        assert_eq!(book.known[&peer].addresses.len(), ADDRESSES_MAX);
    }
}
