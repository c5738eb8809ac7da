//! The network's task: the swarm's events to the driver, the driver's commands to the swarm.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jar_driver::serve;
use jar_driver::{
    InboundId, Input, MessageId, Offence, PeerId as DriverId, Request, RequestFailure, RequestId,
    Response, Status, Verdict,
};
use jar_kernel::{Emission, Store};
use libp2p::core::ConnectedPoint;
use libp2p::futures::StreamExt;
use libp2p::gossipsub::{self, MessageAcceptance, PublishError};
use libp2p::request_response::{
    Event as SyncEvent, InboundFailure, Message as SyncMessage, OutboundFailure, OutboundRequestId,
    ResponseChannel,
};
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{DialError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, identify, kad, mdns, ping};
use parity_scale_codec::Encode;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tracing::{debug, info, warn};

use super::address_limits::is_too_many;
use super::behaviour::{Behaviour, BehaviourEvent};
use super::dial::Book;
use super::limits::*;
use super::peers::{PeerInfo, Peers};
use super::score::BAN_SCORE;
use super::topics::{Kind, Topics, decode};
use super::{Command, CommandQueue, Options, Parts, address};
use crate::inbox::Inbox;
use crate::metrics::GOSSIP_SCORE;
use crate::shared::Shared;

/// How often the task looks after itself.
const TICK: Duration = Duration::from_millis(500);
/// How often other nodes are looked for, in ticks.
const SEARCH_TICKS: u64 = 20;
/// Banned peers remembered; the one whose ban ends first is forgotten first.
const BANS_MAX: usize = 4096;

/// Something a peer sent that waits for a verdict.
struct Waiting {
    peer: PeerId,
    id: gossipsub::MessageId,
    kind: Kind,
}

/// The task and all it remembers.
pub struct Task {
    swarm: Swarm<Behaviour>,
    options: Options,
    topics: Topics,
    commands: CommandQueue,
    inbox: Inbox,
    store: Arc<dyn Store>,
    shared: Arc<Shared>,
    publish: watch::Sender<Arc<Vec<PeerInfo>>>,
    peers: Peers,
    book: Book,
    bans: BTreeMap<(Instant, PeerId), ()>,
    verdicts: BTreeMap<u64, Waiting>,
    inbound: BTreeMap<InboundId, ResponseChannel<Vec<u8>>>,
    outbound: HashMap<OutboundRequestId, RequestId>,
    next_number: u64,
    places: Arc<Semaphore>,
    answers: JoinSet<(InboundId, Option<Vec<u8>>)>,
    lookups: JoinSet<(usize, Option<PeerId>, Vec<Multiaddr>)>,
    ticks: u64,
}

impl Task {
    /// The task of a swarm that listens.
    pub fn new(
        swarm: Swarm<Behaviour>,
        options: Options,
        topics: Topics,
        parts: Parts,
        publish: watch::Sender<Arc<Vec<PeerInfo>>>,
    ) -> Task {
        let own = *swarm.local_peer_id();
        Task {
            book: Book::new(own, &options.bootnodes, Instant::now()),
            swarm,
            options,
            topics,
            commands: parts.commands,
            inbox: parts.inbox,
            store: parts.store,
            shared: parts.shared,
            publish,
            peers: Peers::default(),
            bans: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            inbound: BTreeMap::new(),
            outbound: HashMap::new(),
            next_number: 0,
            places: Arc::new(Semaphore::new(SERVING_MAX)),
            answers: JoinSet::new(),
            lookups: JoinSet::new(),
            ticks: 0,
        }
    }

    /// Runs until nobody can command it any more.
    pub async fn run(mut self) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => return,
                },
                event = self.swarm.select_next_some() => self.event(event),
                Some(Ok((inbound, answer))) = self.answers.join_next() => {
                    self.respond(inbound, answer);
                }
                Some(Ok((index, peer, addresses))) = self.lookups.join_next() => {
                    self.dial_start(index, peer, addresses);
                }
                _ = ticks.tick() => self.tick(),
            }
        }
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Emit(emission) => self.emit(&emission),
            Command::Verdict { message, verdict } => self.verdict(message, verdict),
            Command::Request { id, peer, request } => self.request(id, &peer, &request),
            Command::Serve {
                inbound,
                request,
                status,
            } => self.serve(inbound, request, status),
            Command::Refuse { inbound } => {
                self.respond(inbound, Some(Response::Refused.encode()));
            }
            Command::Ban {
                peer,
                duration,
                offence,
            } => {
                if let Some(peer) = self.peers.name(&peer) {
                    self.ban(peer, duration, &format!("{offence:?}"));
                }
            }
        }
    }

    /// Gossips what the kernel emits.
    fn emit(&mut self, emission: &Emission) {
        let Some((topic, bytes)) = self.topics.encode(emission) else {
            return;
        };
        let Some(kind) = self.topics.kind(&topic.hash()) else {
            return;
        };
        let published = self.swarm.behaviour_mut().gossip.publish(topic, bytes);
        match published {
            Ok(_) => self.shared.metrics.network.published(kind.name()),
            // What came by gossip is forwarded already; alone, there is nobody to tell.
            Err(PublishError::Duplicate | PublishError::NoPeersSubscribedToTopic) => {}
            Err(error) => debug!(target: "network", %error, kind = kind.name(), "not published"),
        }
    }

    fn verdict(&mut self, message: MessageId, verdict: Verdict) {
        if let Some(waiting) = self.verdicts.remove(&message.0) {
            self.report(waiting.kind, &waiting.id, &waiting.peer, verdict);
        }
    }

    /// Tells gossip what a message is.
    fn report(&mut self, kind: Kind, id: &gossipsub::MessageId, peer: &PeerId, verdict: Verdict) {
        let (acceptance, name) = match verdict {
            Verdict::Accept => (MessageAcceptance::Accept, "accept"),
            Verdict::Reject => (MessageAcceptance::Reject, "reject"),
            Verdict::Ignore => (MessageAcceptance::Ignore, "ignore"),
        };
        self.shared.metrics.network.gossip(kind.name(), name);
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        gossip.report_message_validation_result(id, peer, acceptance);
    }

    fn request(&mut self, id: RequestId, peer: &DriverId, request: &Request) {
        match self.peers.name(peer) {
            Some(peer) => {
                let sync = &mut self.swarm.behaviour_mut().sync;
                let outbound = sync.send_request(&peer, request.encode());
                self.outbound.insert(outbound, id);
            }
            None => self.inbox.tell(Input::RequestFailed {
                id,
                failure: RequestFailure::Unreachable,
            }),
        }
    }

    /// Reads an answer from the store, off this task.
    fn serve(&mut self, inbound: InboundId, request: Request, status: Status) {
        let (store, places) = (self.store.clone(), self.places.clone());
        let (shared, kind) = (self.shared.clone(), kind(&request));
        self.answers.spawn(async move {
            let Ok(_place) = places.acquire_owned().await else {
                return (inbound, None);
            };
            let read =
                move || serve::answer(&*store, status, &request).map(|answer| answer.encode());
            let answer = match tokio::task::spawn_blocking(read).await {
                Ok(Ok(answer)) => {
                    shared.metrics.network.served(kind);
                    Some(answer)
                }
                Ok(Err(error)) => {
                    warn!(target: "network", %error, "a peer's request was not answered");
                    None
                }
                Err(_) => None,
            };
            (inbound, answer)
        });
    }

    /// Sends an answer; without one the stream is closed.
    fn respond(&mut self, inbound: InboundId, answer: Option<Vec<u8>>) {
        if let (Some(channel), Some(answer)) = (self.inbound.remove(&inbound), answer) {
            // It fails when the peer is gone or waited too long.
            let _ = self
                .swarm
                .behaviour_mut()
                .sync
                .send_response(channel, answer);
        }
    }

    fn ban(&mut self, peer: PeerId, duration: Duration, why: &str) {
        info!(target: "network", %peer, why, seconds = duration.as_secs(), "peer banned");
        self.shared.metrics.network.banned(why);
        let address = self.peers.get_mut(&peer).map(|peer| peer.address.clone());
        let now = Instant::now();
        let behaviour = self.swarm.behaviour_mut();
        behaviour.bans.block_peer(peer);
        behaviour.kademlia.remove_peer(&peer);
        if let Some(ip) = address.as_ref().and_then(address::ip) {
            behaviour.addresses.banned(ip, now);
        }
        self.book.forget(&peer);
        self.bans.insert((now + duration, peer), ());
        while self.bans.len() > BANS_MAX {
            self.end_first_ban();
        }
    }

    fn end_first_ban(&mut self) {
        if let Some(((_, peer), ())) = self.bans.pop_first()
            && !self.bans.keys().any(|(_, banned)| *banned == peer)
        {
            self.swarm.behaviour_mut().bans.unblock_peer(peer);
        }
    }

    fn offence(&mut self, peer: &PeerId, offence: Offence) {
        if let Some(peer) = self.peers.get_mut(peer) {
            self.inbox.tell(Input::Offence {
                peer: peer.id,
                offence,
            });
        }
    }

    fn event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.behaviour_event(event),
            SwarmEvent::NewListenAddr { address, .. } => {
                let peer_id = self.swarm.local_peer_id();
                info!(target: "network", %address, %peer_id, "listening for other nodes");
            }
            SwarmEvent::ConnectionEstablished {
                peer_id, endpoint, ..
            } => self.connected(peer_id, &endpoint),
            SwarmEvent::ConnectionClosed {
                peer_id,
                num_established: 0,
                cause,
                ..
            } => {
                let why = cause.map(|cause| cause.to_string()).unwrap_or_default();
                debug!(target: "network", peer = %peer_id, why, "peer gone");
                if let Some(peer) = self.peers.remove(&peer_id) {
                    self.inbox.tell(Input::Disconnected(peer.id));
                    self.show_peers();
                }
            }
            SwarmEvent::IncomingConnectionError { error, .. } => {
                let why = match is_too_many(&error) {
                    true => "address",
                    false => "other",
                };
                self.shared.metrics.network.refused(why);
                debug!(target: "network", %error, "an incoming connection failed");
            }
            SwarmEvent::OutgoingConnectionError { error, .. } => match error {
                DialError::DialPeerConditionFalse(_) => {}
                error => debug!(target: "network", %error, "dialling failed"),
            },
            SwarmEvent::ListenerClosed {
                reason: Err(error), ..
            }
            | SwarmEvent::ListenerError { error, .. } => {
                warn!(target: "network", %error, "a listener failed");
            }
            _ => {}
        }
    }

    fn connected(&mut self, peer: PeerId, endpoint: &ConnectedPoint) {
        let now = Instant::now();
        let is_outbound = endpoint.is_dialer();
        let address = endpoint.get_remote_address().clone();
        self.book
            .connected(peer, is_outbound.then_some(&address), now);
        if let Some(id) = self.peers.add(peer, address.clone(), is_outbound, now) {
            debug!(target: "network", %peer, %address, is_outbound, "peer connected");
            self.inbox.tell(Input::Connected(id));
            self.show_peers();
        }
    }

    fn behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Gossip(gossipsub::Event::Message {
                propagation_source,
                message_id,
                message,
            }) => self.gossip(propagation_source, message_id, &message),
            BehaviourEvent::Sync(event) => self.sync(event),
            BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
                self.identified(peer_id, info);
            }
            BehaviourEvent::Ping(ping::Event {
                peer,
                connection,
                result,
            }) => match result {
                Ok(latency) => {
                    if let Some(peer) = self.peers.get_mut(&peer) {
                        peer.latency = Some(latency);
                    }
                }
                Err(ping::Failure::Unsupported) => {}
                Err(_) => {
                    self.swarm.close_connection(connection);
                }
            },
            BehaviourEvent::Kademlia(kad::Event::RoutingUpdated {
                peer, addresses, ..
            }) => {
                for address in addresses.iter() {
                    self.book.heard(peer, address.clone(), Instant::now());
                }
            }
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => {
                for (peer, address) in found {
                    self.book.heard(peer, address, Instant::now());
                }
            }
            _ => {}
        }
    }

    /// A peer said what it is.
    fn identified(&mut self, peer: PeerId, info: identify::Info) {
        if info.protocol_version != self.options.protocol_version() {
            let theirs: String = info.protocol_version.chars().take(100).collect();
            debug!(target: "network", %peer, theirs, "a node of another chain");
            return self.offence(&peer, Offence::OtherChain);
        }
        let Some(entry) = self.peers.get_mut(&peer) else {
            return;
        };
        entry.agent = Some(info.agent_version.chars().take(64).collect());
        let is_near = address::ip(&entry.address).is_some_and(|ip| ip.is_loopback());
        let reachable = info.listen_addrs.into_iter().filter(|address| {
            // Others' loopback is theirs alone.
            address::ip(address).is_some_and(|ip| !ip.is_loopback() || is_near)
        });
        for address in reachable.take(ADDRESSES_MAX) {
            self.book.heard(peer, address.clone(), Instant::now());
            let kademlia = &mut self.swarm.behaviour_mut().kademlia;
            kademlia.add_address(&peer, address);
        }
    }

    /// Hands a gossip message to the driver, if its inbox has room.
    fn gossip(&mut self, peer: PeerId, id: gossipsub::MessageId, message: &gossipsub::Message) {
        let Some(kind) = self.topics.kind(&message.topic) else {
            return;
        };
        let Some(content) = decode(kind, &message.data) else {
            self.report(kind, &id, &peer, Verdict::Reject);
            return self.offence(&peer, Offence::Malformed);
        };
        let number = self.number();
        let Some(entry) = self.peers.get_mut(&peer) else {
            return self.report(kind, &id, &peer, Verdict::Ignore);
        };
        let input = Input::Gossip {
            peer: entry.id,
            message: MessageId(number),
            content,
        };
        if !self.inbox.offer(input, message.data.len()) {
            if entry.floods(Instant::now()) {
                self.offence(&peer, Offence::Flooded);
            }
            return self.report(kind, &id, &peer, Verdict::Ignore);
        }
        self.verdicts.insert(number, Waiting { peer, id, kind });
        while self.verdicts.len() > VERDICTS_MAX {
            if let Some((_, waiting)) = self.verdicts.pop_first() {
                self.report(waiting.kind, &waiting.id, &waiting.peer, Verdict::Ignore);
            }
        }
    }

    fn sync(&mut self, event: SyncEvent<Vec<u8>, Vec<u8>>) {
        match event {
            SyncEvent::Message { peer, message, .. } => match message {
                SyncMessage::Request {
                    request, channel, ..
                } => self.asked(&peer, &request, channel),
                SyncMessage::Response {
                    request_id,
                    response,
                } => {
                    if let Some(id) = self.outbound.remove(&request_id) {
                        self.inbox.tell(match Response::from_bytes(&response) {
                            Ok(response) => Input::Response { id, response },
                            Err(_) => Input::RequestFailed {
                                id,
                                failure: RequestFailure::Malformed,
                            },
                        });
                    }
                }
            },
            SyncEvent::OutboundFailure {
                request_id, error, ..
            } => {
                debug!(target: "network", %error, "a request failed");
                if let Some(id) = self.outbound.remove(&request_id) {
                    let failure = failure(&error);
                    self.inbox.tell(Input::RequestFailed { id, failure });
                }
            }
            SyncEvent::InboundFailure { peer, error, .. } => {
                if let InboundFailure::Io(error) = error
                    && error.kind() == std::io::ErrorKind::InvalidData
                {
                    self.offence(&peer, Offence::Malformed);
                }
            }
            SyncEvent::ResponseSent { .. } => {}
        }
    }

    /// A peer asks.
    fn asked(&mut self, peer: &PeerId, request: &[u8], channel: ResponseChannel<Vec<u8>>) {
        let Ok(decoded) = Request::from_bytes(request) else {
            return self.offence(peer, Offence::Malformed);
        };
        self.inbound.retain(|_, channel| channel.is_open());
        let number = self.number();
        let Some(entry) = self.peers.get_mut(peer) else {
            return;
        };
        let inbound = InboundId(number);
        let input = Input::Asked {
            peer: entry.id,
            inbound,
            request: decoded,
        };
        let is_taken =
            self.inbound.len() < INBOUND_REQUESTS_MAX && self.inbox.offer(input, request.len());
        self.inbound.insert(inbound, channel);
        if !is_taken {
            self.respond(inbound, Some(Response::Refused.encode()));
        }
    }

    fn dial_start(&mut self, index: usize, peer: Option<PeerId>, addresses: Vec<Multiaddr>) {
        for address in addresses {
            let options = match peer {
                Some(peer) => to_peer(peer, vec![address]),
                None => DialOpts::unknown_peer_id()
                    .address(address)
                    .allocate_new_port()
                    .build(),
            };
            match self.swarm.dial(options) {
                Ok(()) | Err(DialError::DialPeerConditionFalse(_)) => {}
                Err(DialError::LocalPeerId { .. }) => {
                    let own = *self.swarm.local_peer_id();
                    self.book.answered(index, own);
                }
                Err(error) => debug!(target: "network", %error, "dialling failed"),
            }
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        while self
            .bans
            .first_key_value()
            .is_some_and(|((end, _), ())| *end <= now)
        {
            self.end_first_ban();
        }
        let gossip = &self.swarm.behaviour().gossip;
        let is_bad = |peer: &PeerId| {
            gossip
                .peer_score(peer)
                .is_some_and(|score| score < BAN_SCORE)
        };
        let bad: Vec<PeerId> = self
            .peers
            .iter()
            .map(|(peer, _)| *peer)
            .filter(is_bad)
            .collect();
        for peer in bad {
            self.ban(peer, BAN, GOSSIP_SCORE);
        }
        self.dial_due(now);
        let is_alone = self.peers.len() < PEERS_WANTED && !self.options.bootnodes_only;
        if self.ticks.is_multiple_of(SEARCH_TICKS) && is_alone {
            let kademlia = &mut self.swarm.behaviour_mut().kademlia;
            kademlia.get_closest_peers(PeerId::random());
        }
        self.ticks += 1;
        self.show_peers();
    }

    fn dial_due(&mut self, now: Instant) {
        let peers = &self.peers;
        for (index, node) in self.book.starts_due(now, |peer| peers.contains(peer)) {
            self.lookups.spawn(async move {
                let addresses = match node.resolve().await {
                    Ok(addresses) => addresses,
                    Err(error) => {
                        debug!(target: "network", address = %node.address, %error, "no such name");
                        Vec::new()
                    }
                };
                (index, node.peer, addresses)
            });
        }
        if self.options.bootnodes_only {
            return;
        }
        let wanted = PEERS_WANTED.min(self.options.peers_max as usize);
        let wanted = wanted.saturating_sub(peers.len());
        let due = self
            .book
            .known_due(wanted, now, |peer| peers.contains(peer));
        for (peer, addresses) in due {
            if let Err(error) = self.swarm.dial(to_peer(peer, addresses)) {
                debug!(target: "network", %peer, %error, "dialling failed");
            }
        }
    }

    fn show_peers(&mut self) {
        let gossip = &self.swarm.behaviour().gossip;
        let mut infos: Vec<PeerInfo> = self
            .peers
            .iter()
            .map(|(name, peer)| PeerInfo {
                peer_id: name.to_string(),
                id: peer.id,
                address: peer.address.to_string(),
                is_outbound: peer.is_outbound,
                agent: peer.agent.clone(),
                latency: peer.latency,
                score: gossip.peer_score(name).unwrap_or(0.0),
            })
            .collect();
        infos.sort_by(|a, b| a.peer_id.cmp(&b.peer_id));
        self.shared.metrics.network.peers.set(infos.len() as i64);
        self.publish.send_replace(Arc::new(infos));
    }
}

/// How a peer is dialled: from a port of its own. From the one this node listens on, every dial
/// fails as long as another program has the same port on another address.
fn to_peer(peer: PeerId, addresses: Vec<Multiaddr>) -> DialOpts {
    DialOpts::peer_id(peer)
        .addresses(addresses)
        .allocate_new_port()
        .build()
}

/// What a request is for, in metrics.
fn kind(request: &Request) -> &'static str {
    match request {
        Request::Status(_) => "status",
        Request::Blocks { .. } | Request::Ancestry { .. } => "blocks",
        Request::Pivot(_) => "pivot",
        Request::Records(_) => "records",
    }
}

/// What the driver is told of a request without an answer.
fn failure(error: &OutboundFailure) -> RequestFailure {
    match error {
        OutboundFailure::UnsupportedProtocols => RequestFailure::Unsupported,
        OutboundFailure::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            RequestFailure::Malformed
        }
        _ => RequestFailure::Unreachable,
    }
}
