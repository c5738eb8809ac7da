//! The virtual network: who can reach whom, and how long it takes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jar_cap::Hash;
use jar_driver::{PeerId, RequestId};

use crate::counts::Counts;
use crate::rng::Dice;
use crate::scenario::Scenario;

/// What travels.
#[derive(Clone, Debug)]
pub(crate) enum Packet {
    /// A gossip message, encoded.
    Gossip(Topic, Arc<[u8]>),
    /// A request of this number, by the process of this life.
    Request(RequestId, u64, Arc<[u8]>),
    /// The answer to it.
    Response(RequestId, u64, Arc<[u8]>),
}

/// What a gossip message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    /// A block.
    Block,
    /// Events for a Dispatch endpoint.
    Events(u8),
}

impl Packet {
    pub fn gossip_id(topic: Topic, bytes: &[u8]) -> Hash {
        let topic = match topic {
            Topic::Block => [0, 0],
            Topic::Events(endpoint) => [1, endpoint],
        };
        jar_cap::hash::blake2b(&[&topic, bytes])
    }
}

/// The peer id of a node.
pub(crate) fn peer_id(node: usize) -> PeerId {
    let mut id = [0; 32];
    id[0] = node as u8;
    PeerId(id)
}

/// The node of a peer id.
pub(crate) fn node_of(peer: &PeerId) -> usize {
    usize::from(peer.0[0])
}

/// Who can reach whom.
pub(crate) struct Network {
    dice: Dice,
    delay_ms: (u64, u64),
    loss: u64,
    duplication: u64,
    /// Pairs of nodes with a connection, the lower first.
    connected: BTreeSet<(usize, usize)>,
    /// Sides of the partitions in force.
    sides: BTreeMap<usize, u64>,
    /// For a twin: the nodes that it is in touch with.
    pub masks: BTreeMap<usize, u64>,
    /// The newest message that arrived, by sender and receiver.
    newest: BTreeMap<(usize, usize), u64>,
}

fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

impl Network {
    pub fn new(dice: Dice, scenario: &Scenario) -> Network {
        Network {
            dice,
            delay_ms: scenario.delay_ms,
            loss: scenario.loss,
            duplication: scenario.duplication,
            connected: BTreeSet::new(),
            sides: BTreeMap::new(),
            masks: BTreeMap::new(),
            newest: BTreeMap::new(),
        }
    }

    pub fn connect(&mut self, a: usize, b: usize) -> bool {
        self.connected.insert(pair(a, b))
    }

    pub fn disconnect(&mut self, a: usize, b: usize) -> bool {
        self.connected.remove(&pair(a, b))
    }

    pub fn is_connected(&self, a: usize, b: usize) -> bool {
        self.connected.contains(&pair(a, b))
    }

    pub fn begin_partition(&mut self, number: usize, side: u64) {
        self.sides.insert(number, side);
    }

    pub fn end_partition(&mut self, number: usize) {
        self.sides.remove(&number);
    }

    /// From now on no message is lost or late without need.
    pub fn heal(&mut self) {
        self.sides.clear();
        self.masks.clear();
        self.loss = 0;
        self.duplication = 0;
    }

    /// Whether messages come through now, if nothing happens to them.
    pub fn is_open(&self, a: usize, b: usize) -> bool {
        let bit = |side: &u64, node: usize| side >> node & 1;
        let is_split = self.sides.values().any(|s| bit(s, a) != bit(s, b));
        let is_masked = |of: usize, other: usize| {
            self.masks
                .get(&of)
                .is_some_and(|mask| bit(mask, other) == 0)
        };
        !is_split && !is_masked(a, b) && !is_masked(b, a)
    }

    /// Whether a message comes after one that was sent later.
    pub fn is_overtaken(&mut self, from: usize, to: usize, number: u64) -> bool {
        let newest = self.newest.entry((from, to)).or_default();
        let is_overtaken = number < *newest;
        *newest = number.max(*newest);
        is_overtaken
    }

    /// After how many milliseconds a message arrives: never, once or twice.
    pub fn arrivals(&mut self, from: usize, to: usize, counts: &mut Counts) -> Vec<u64> {
        let is_lost = self.dice.per_mille(self.loss);
        let is_doubled = self.dice.per_mille(self.duplication);
        let first = self.dice.between(self.delay_ms.0, self.delay_ms.1);
        let second = self.dice.between(self.delay_ms.0, self.delay_ms.1);
        match (self.is_open(from, to), is_lost, is_doubled) {
            (false, ..) => {
                counts.cut += 1;
                Vec::new()
            }
            (true, true, _) => {
                counts.lost += 1;
                Vec::new()
            }
            (true, false, false) => vec![first],
            (true, false, true) => {
                counts.doubled += 1;
                vec![first, second]
            }
        }
    }
}
