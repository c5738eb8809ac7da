//! The world: nodes, the network between them, and virtual time.

mod ending;
mod garbage;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use jar_cap::Hash;
use jar_driver::{
    Effect, Gossip, InboundId, Input, MessageId, Offence, Request, RequestFailure, RequestId,
    Response, SyncMode, Verdict, serve,
};
use jar_kernel::block::{Block, Event};
use jar_kernel::{Emission, Store, Trace};
use parity_scale_codec::Encode;

use crate::checks::{Checks, Violation};
use crate::network::{Network, Packet, Topic, node_of, peer_id};
use crate::process::{Done, End, Process, Setup};
use crate::rng::Dice;
use crate::scenario::{Byzantine, Scenario};
use crate::store::{CrashAt, CrashStore};
use crate::token::{GENESIS_TIME_MS, TokenChain};
use crate::{Detail, Report, hex8};

/// Something that will happen.
#[derive(Clone, Debug)]
enum Happening {
    /// A packet arrives.
    Deliver {
        from: usize,
        to: usize,
        packet: Packet,
    },
    /// The driver of a process is told something.
    Tell {
        node: usize,
        life: u64,
        input: Box<Input>,
    },
    /// The driver of a process wanted to be called.
    Wake { node: usize, life: u64 },
    /// A node starts.
    Start { node: usize },
    /// A node is killed.
    Kill { node: usize, in_commit: bool },
    /// A partition begins or ends.
    Split { number: usize, begins: bool },
    /// Two nodes connect.
    Connect { a: usize, b: usize },
    /// Everything is healed.
    Heal,
    /// A slot begins.
    Slot(u64),
    /// A node hands its aggregates to the network, and a byzantine one does what it does.
    Announce { node: usize, life: u64 },
    /// A withheld block is shown.
    Show { node: usize, block: Arc<Block> },
}

/// A node, running or not.
pub(crate) struct Node {
    setup: Setup,
    disk: Arc<CrashStore>,
    process: Option<Process>,
    /// Number of processes it had.
    life: u64,
    byzantine: Option<Byzantine>,
    /// Whose key it has.
    validator: Option<usize>,
    /// Milliseconds its clock is ahead, plus the greatest that any is behind.
    skew_ms: u64,
    /// When the kernel is done with what it was given.
    ready_ms: u64,
    /// When the driver is called next.
    wake_ms: u64,
    /// Gossip messages it has had.
    seen: BTreeSet<Hash>,
    /// Messages that wait for a verdict.
    messages: BTreeMap<MessageId, (usize, Topic, Arc<[u8]>)>,
    /// Requests of others that wait for an answer.
    inbound: BTreeMap<InboundId, (usize, RequestId, u64)>,
    /// Until when it does not talk to others.
    bans: BTreeMap<usize, u64>,
    /// The finalized height it had when it was killed.
    finalized: u64,
    /// Blocks it built and showed.
    built: BTreeSet<Hash>,
    last_number: u64,
}

/// Nodes, the network between them, and virtual time.
pub(crate) struct World {
    scenario: Scenario,
    chain: TokenChain,
    dice: Dice,
    network: Network,
    nodes: Vec<Node>,
    queue: BTreeMap<(u64, u64), Happening>,
    sequence: u64,
    now_ms: u64,
    checks: Checks,
    violation: Option<Violation>,
    report: Report,
    log: Option<String>,
    keeps_views: bool,
}

/// How often aggregates are handed to the network.
const ANNOUNCE_PER_SLOT: u64 = 8;

impl World {
    pub fn new(scenario: Scenario, chain: TokenChain, detail: Detail) -> World {
        let mut dice = Dice::new(scenario.seed);
        let network = Network::new(dice.split(), &scenario);
        let mut world = World {
            chain,
            dice,
            network,
            nodes: Vec::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            now_ms: 0,
            checks: Checks::default(),
            violation: None,
            report: Report::default(),
            log: detail.log.then(String::new),
            keeps_views: detail.slots,
            scenario,
        };
        world.populate();
        world.plan();
        world
    }

    fn populate(&mut self) {
        let scenario = self.scenario.clone();
        for validator in 0..scenario.validators {
            let byzantine = scenario.byzantine.filter(|_| validator == 0);
            self.add_node(Some(validator), byzantine, SyncMode::Full);
        }
        if scenario.byzantine == Some(Byzantine::Twins) {
            self.add_node(Some(0), Some(Byzantine::Twins), SyncMode::Full);
        }
        if let Some((_, by_state)) = scenario.joiner {
            let sync = match by_state {
                true => SyncMode::State { trusted: None },
                false => SyncMode::Full,
            };
            self.add_node(None, None, sync);
        }
    }

    fn add_node(&mut self, validator: Option<usize>, byzantine: Option<Byzantine>, sync: SyncMode) {
        let seeds = validator.and_then(|index| self.chain.seeds.get(index));
        let is_reckless = matches!(
            byzantine,
            Some(Byzantine::Twins | Byzantine::Reckless | Byzantine::Garbage)
        );
        self.nodes.push(Node {
            setup: Setup {
                seeds: seeds.into_iter().copied().collect(),
                is_reckless,
                sync,
            },
            disk: Arc::default(),
            process: None,
            life: 0,
            byzantine,
            validator,
            skew_ms: self.dice.between(0, 2 * self.scenario.skew_ms),
            ready_ms: 0,
            wake_ms: u64::MAX,
            seen: BTreeSet::new(),
            messages: BTreeMap::new(),
            inbound: BTreeMap::new(),
            bans: BTreeMap::new(),
            finalized: 0,
            built: BTreeSet::new(),
            last_number: 0,
        });
    }

    /// Puts on the calendar what the scenario says.
    fn plan(&mut self) {
        let scenario = self.scenario.clone();
        let joiner = scenario.joiner.map(|_| self.nodes.len() - 1);
        for node in (0..self.nodes.len()).filter(|node| Some(*node) != joiner) {
            self.at(self.slot_ms(0), Happening::Start { node });
        }
        if let (Some(node), Some((slot, _))) = (joiner, scenario.joiner) {
            self.at(self.slot_ms(slot), Happening::Start { node });
        }
        for slot in 0..=scenario.slots {
            self.at(self.slot_ms(slot), Happening::Slot(slot));
        }
        for (number, partition) in scenario.partitions.iter().enumerate() {
            let (begins, ends) = (true, false);
            let at_ms = self.slot_ms(partition.span.from);
            self.at(at_ms, Happening::Split { number, begins });
            let at_ms = self.slot_ms(partition.span.to);
            let begins = ends;
            self.at(at_ms, Happening::Split { number, begins });
        }
        for outage in &scenario.outages {
            let in_slot_ms = self.dice.below(scenario.slot_ms);
            let (node, in_commit) = (outage.node, outage.in_commit);
            let at_ms = self.slot_ms(outage.span.from) + in_slot_ms;
            self.at(at_ms, Happening::Kill { node, in_commit });
            let at_ms = self.slot_ms(outage.span.to);
            self.at(at_ms, Happening::Start { node });
        }
        self.at(self.slot_ms(scenario.heal), Happening::Heal);
    }

    fn slot_ms(&self, slot: u64) -> u64 {
        GENESIS_TIME_MS + slot * self.scenario.slot_ms
    }

    fn at(&mut self, at_ms: u64, happening: Happening) {
        self.sequence += 1;
        let at_ms = at_ms.max(self.now_ms);
        self.queue.insert((at_ms, self.sequence), happening);
    }

    fn note(&mut self, line: std::fmt::Arguments<'_>) {
        if let Some(log) = &mut self.log {
            let since_ms = self.now_ms.saturating_sub(GENESIS_TIME_MS);
            // A string takes everything.
            let _ = writeln!(log, "{since_ms:>8} {line}");
        }
    }

    fn check(&mut self, result: Result<(), Violation>) {
        if let Err(violation) = result {
            self.note(format_args!("VIOLATION {violation}"));
            self.violation.get_or_insert(violation);
        }
    }

    /// Runs to the end, or to the first broken promise.
    pub fn run(mut self) -> Report {
        let end_ms = self.slot_ms(self.scenario.slots);
        while self.violation.is_none() {
            let Some(((at_ms, _), happening)) = self.queue.pop_first() else {
                break;
            };
            if at_ms > end_ms {
                break;
            }
            self.now_ms = at_ms;
            self.happen(happening);
        }
        if self.violation.is_none() {
            self.check_end();
        }
        self.report.violation = self.violation;
        self.report.virtual_ms = self.now_ms - GENESIS_TIME_MS;
        self.report.log = self.log.unwrap_or_default();
        self.report
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Deliver { from, to, packet } => self.deliver(from, to, packet),
            Happening::Tell { node, life, input } => {
                if self.nodes[node].life == life {
                    self.tell(node, *input);
                }
            }
            Happening::Wake { node, life } => {
                if self.nodes[node].life == life && self.nodes[node].wake_ms <= self.now_ms {
                    self.nodes[node].wake_ms = u64::MAX;
                    self.tell(node, Input::Tick);
                }
            }
            Happening::Start { node } => self.start(node),
            Happening::Kill { node, in_commit } => self.kill_planned(node, in_commit),
            Happening::Split { number, begins } => self.split(number, begins),
            Happening::Connect { a, b } => self.connect(a, b),
            Happening::Heal => self.heal(),
            Happening::Slot(slot) => self.begin_slot(slot),
            Happening::Announce { node, life } => {
                if self.nodes[node].life == life {
                    self.announce(node);
                }
            }
            Happening::Show { node, block } => {
                self.note(format_args!("n{node} shows {}", hex8(&block.header.hash())));
                self.broadcast(node, Topic::Block, block.encode().into());
            }
        }
    }

    fn start(&mut self, id: usize) {
        if self.nodes[id].process.is_some() {
            return;
        }
        let disk = self.nodes[id].disk.reopened();
        let node = &mut self.nodes[id];
        node.life += 1;
        let life = node.life;
        match Process::start(&self.chain, &node.setup, disk) {
            Ok(process) => {
                let (head, finalized) = (process.kernel.head(), process.kernel.finalized());
                let (height, found) = (head.header.height, finalized.header.height);
                let store = process.store.clone();
                let is_held = |hash: &Hash| matches!(store.header(hash), Ok(Some(_)));
                let is_whole = node.built.iter().all(is_held);
                node.disk = process.store.clone();
                node.process = Some(process);
                let expected = node.finalized;
                self.note(format_args!("n{id} starts at {height}, final {found}"));
                if found < expected || !is_whole {
                    let lost = Violation::Lost {
                        node: id,
                        expected,
                        found,
                    };
                    self.check(Err(lost));
                }
            }
            Err(end) => return self.ended(id, end),
        }
        self.check_start(id);
        for other in 0..self.nodes.len() {
            let delay_ms = self.dice.below(500);
            if other != id {
                self.at(
                    self.now_ms + delay_ms,
                    Happening::Connect { a: id, b: other },
                );
            }
        }
        let offset_ms = self.dice.below(self.announce_ms());
        self.at(
            self.now_ms + offset_ms,
            Happening::Announce { node: id, life },
        );
        self.tell(id, Input::Tick);
    }

    fn announce_ms(&self) -> u64 {
        self.scenario.slot_ms / ANNOUNCE_PER_SLOT
    }

    fn kill_planned(&mut self, node: usize, in_commit: bool) {
        let crash = match self.dice.below(2) {
            0 => CrashAt::BeforeCommit,
            _ => CrashAt::AfterCommit,
        };
        match &self.nodes[node].process {
            Some(process) if in_commit => process.store.crash_next(crash),
            Some(_) => self.kill(node),
            None => {}
        }
    }

    fn kill(&mut self, id: usize) {
        let node = &mut self.nodes[id];
        let Some(process) = node.process.take() else {
            return;
        };
        node.finalized = process.kernel.finalized().header.height;
        node.life += 1;
        node.seen.clear();
        node.messages.clear();
        node.inbound.clear();
        node.bans.clear();
        node.wake_ms = u64::MAX;
        self.report.kills += 1;
        self.note(format_args!("n{id} is killed"));
        for other in 0..self.nodes.len() {
            if self.network.disconnect(id, other) {
                self.told_disconnected(other, id);
            }
        }
    }

    fn ended(&mut self, node: usize, end: End) {
        match end {
            End::Killed => self.kill(node),
            // What byzantine nodes do to themselves is theirs.
            End::Trouble(reason) if self.nodes[node].byzantine.is_some() => {
                self.note(format_args!("n{node} stops: {reason}"));
                self.kill(node);
            }
            End::Trouble(reason) => self.check(Err(Violation::Trouble { node, reason })),
        }
    }

    fn split(&mut self, number: usize, begins: bool) {
        let Some(partition) = self.scenario.partitions.get(number).copied() else {
            return;
        };
        self.note(format_args!(
            "partition {number} {:b} {begins}",
            partition.side
        ));
        if begins {
            self.network.begin_partition(number, partition.side);
        } else {
            self.network.end_partition(number);
        }
        if partition.disconnects {
            self.reconnect();
        }
    }

    /// Breaks connections that nothing comes through, and makes those that are missing.
    fn reconnect(&mut self) {
        for a in 0..self.nodes.len() {
            for b in a + 1..self.nodes.len() {
                if self.network.is_open(a, b) {
                    let delay_ms = self.dice.below(500);
                    self.at(self.now_ms + delay_ms, Happening::Connect { a, b });
                } else if self.network.disconnect(a, b) {
                    self.told_disconnected(a, b);
                    self.told_disconnected(b, a);
                }
            }
        }
    }

    fn told_disconnected(&mut self, node: usize, peer: usize) {
        let delay_ms = self.dice.below(100);
        let input = Input::Disconnected(peer_id(peer));
        self.tell_later(node, delay_ms, input);
    }

    fn tell_later(&mut self, node: usize, delay_ms: u64, input: Input) {
        let (life, input) = (self.nodes[node].life, Box::new(input));
        self.at(
            self.now_ms + delay_ms,
            Happening::Tell { node, life, input },
        );
    }

    fn connect(&mut self, a: usize, b: usize) {
        let runs = |node: usize| self.nodes[node].process.is_some();
        let banned_ms = |node: usize, peer: usize| {
            let until_ms = self.nodes[node].bans.get(&peer).copied();
            until_ms.unwrap_or(0)
        };
        let until_ms = banned_ms(a, b).max(banned_ms(b, a));
        if until_ms > self.now_ms {
            return self.at(until_ms, Happening::Connect { a, b });
        }
        if !runs(a) || !runs(b) || !self.network.is_open(a, b) || !self.network.connect(a, b) {
            return;
        }
        self.tell(a, Input::Connected(peer_id(b)));
        self.tell(b, Input::Connected(peer_id(a)));
    }

    fn heal(&mut self) {
        self.note(format_args!("all is healed"));
        self.network.heal();
        for node in 0..self.nodes.len() {
            self.start(node);
        }
        self.reconnect();
    }

    fn begin_slot(&mut self, slot: u64) {
        self.view_slot(slot);
        if self.scenario.byzantine == Some(Byzantine::Twins) && slot < self.scenario.heal {
            self.shuffle_twins(slot);
        }
        let bits = self.dice.bits();
        if self.dice.per_mille(self.scenario.traffic) && slot > 0 {
            let node = self.dice.below(self.nodes.len() as u64) as usize;
            self.submit(node, bits);
        }
    }

    /// Every few slots the twins are in touch with other validators.
    fn shuffle_twins(&mut self, slot: u64) {
        if slot % 5 != 1 {
            return;
        }
        let twin = self.scenario.validators;
        let honest: u64 = (1 << twin) - 2;
        let mask = self.dice.bits() & honest;
        // A validator may be in touch with both.
        let both = self.dice.bits() & self.dice.bits() & honest;
        let joiners = !0 << (twin + 1);
        self.network.masks.insert(0, mask | both | joiners);
        self.network
            .masks
            .insert(twin, !mask & honest | both | joiners);
        self.reconnect();
    }

    fn submit(&mut self, id: usize, bits: u64) {
        let Some(process) = &mut self.nodes[id].process else {
            return;
        };
        let head = process.kernel.head().clone();
        let event = self.chain.transfer(process.kernel.chain(), &head, bits);
        let result = match event {
            Ok(Some((endpoint, event))) => process.submit(endpoint, event),
            Ok(None) => return,
            Err(error) => Err(error.into()),
        };
        match result {
            Ok((accepted, done)) => {
                self.report.submitted += u64::from(accepted);
                self.settle(id, done);
            }
            Err(end) => self.ended(id, end),
        }
    }

    fn announce(&mut self, id: usize) {
        let life = self.nodes[id].life;
        let at_ms = self.now_ms + self.announce_ms();
        self.at(at_ms, Happening::Announce { node: id, life });
        if self.nodes[id].byzantine == Some(Byzantine::Garbage) {
            self.send_garbage(id);
        }
        let Some(process) = &mut self.nodes[id].process else {
            return;
        };
        match process.announce() {
            Ok(done) => self.settle(id, done),
            Err(end) => self.ended(id, end),
        }
    }

    /// A node's clock.
    fn local_ms(&self, node: usize) -> u64 {
        self.now_ms + self.nodes[node].skew_ms - self.scenario.skew_ms.min(self.now_ms)
    }

    /// Tells a node's driver something, and does what it says.
    fn tell(&mut self, id: usize, input: Input) {
        let local_ms = self.local_ms(id);
        let Some(process) = &mut self.nodes[id].process else {
            return;
        };
        for effect in process.driver.handle(input, local_ms) {
            if self.violation.is_some() || self.nodes[id].process.is_none() {
                return;
            }
            self.perform(id, effect, local_ms);
        }
    }

    fn perform(&mut self, id: usize, effect: Effect, local_ms: u64) {
        match effect {
            Effect::Wake { at_ms } => {
                let at_ms = self.now_ms + at_ms.saturating_sub(local_ms).max(1);
                if at_ms < self.nodes[id].wake_ms {
                    let life = self.nodes[id].life;
                    self.nodes[id].wake_ms = at_ms;
                    self.at(at_ms, Happening::Wake { node: id, life });
                }
            }
            Effect::Request {
                id: request,
                peer,
                request: message,
                ..
            } => {
                let life = self.nodes[id].life;
                let packet = Packet::Request(request, life, message.encode().into());
                self.send(id, node_of(&peer), packet);
            }
            Effect::Serve { inbound, request } => self.serve(id, inbound, &request),
            Effect::Refuse { inbound } => self.answer(id, inbound, &Response::Refused),
            Effect::Verdict {
                message, verdict, ..
            } => self.verdict(id, message, verdict),
            Effect::Ban {
                peer,
                until_ms,
                offence,
            } => self.ban(
                id,
                node_of(&peer),
                until_ms.saturating_sub(local_ms),
                offence,
            ),
            effect => {
                let done = self.work(id, effect);
                match done {
                    Ok(done) => self.settle(id, done),
                    Err(end) => self.ended(id, end),
                }
            }
        }
    }

    /// What the kernel and the store do.
    fn work(&mut self, id: usize, effect: Effect) -> Result<Done, End> {
        let Some(process) = &mut self.nodes[id].process else {
            return Ok(Done::default());
        };
        match effect {
            Effect::Build { slot, .. } => {
                let built = process.build(slot)?;
                if built.is_none() {
                    self.note(format_args!("n{id} does not build in slot {slot}"));
                }
                Ok(built.unwrap_or_default())
            }
            Effect::Import { ticket, block } => {
                self.checks.block(&block);
                process.import(ticket, &block)
            }
            Effect::Judge {
                ticket,
                endpoint,
                events,
            } => process.judge(ticket, endpoint, &events),
            Effect::ReadRecords { ticket, ids } => {
                let read = ids
                    .iter()
                    .map(|id| jar_cap::NodeStore::get(&*process.store, id));
                let contents = read.collect::<Result<_, _>>()?;
                let inputs = vec![Input::RecordsRead { ticket, contents }];
                Ok(Done {
                    inputs,
                    ..Done::default()
                })
            }
            Effect::WriteRecords { ticket, records } => {
                process.store.write_records(&records)?;
                let inputs = vec![Input::RecordsWritten { ticket }];
                Ok(Done {
                    inputs,
                    ..Done::default()
                })
            }
            Effect::Adopt { ticket, pivot } => process.adopt(ticket, *pivot),
            _ => Ok(Done::default()),
        }
    }

    /// Passes on what came of the kernel's work, which took a moment.
    fn settle(&mut self, id: usize, done: Done) {
        let took_ms = self.dice.between(1, 5);
        let ready_ms = self.nodes[id].ready_ms.max(self.now_ms) + took_ms;
        self.nodes[id].ready_ms = ready_ms;
        for trace in &done.traces {
            self.trace(id, trace);
        }
        for input in done.inputs {
            if let Input::Imported { outcome, .. } = &input {
                self.note(format_args!("n{id} imports: {outcome:?}"));
            }
            self.tell_later(id, ready_ms - self.now_ms, input);
        }
        for emission in done.emissions {
            self.emit(id, emission);
        }
    }

    fn trace(&mut self, id: usize, trace: &Trace) {
        let is_honest = self.nodes[id].byzantine.is_none();
        match trace {
            Trace::Head {
                hash,
                height,
                reverted,
            } => {
                self.note(format_args!(
                    "n{id} head {height} {} reverts {reverted}",
                    hex8(hash)
                ));
                self.report.reorganised += u64::from(*reverted > 0);
                let process = self.nodes[id].process.as_ref();
                if let Some(head) = process.map(|process| process.kernel.head().clone()) {
                    let result = self.checks.state(&head);
                    self.check(result);
                }
            }
            Trace::Finalized { hash, height } => {
                self.note(format_args!("n{id} final {height} {}", hex8(hash)));
                if is_honest {
                    let result = self.checks.finalized(*hash);
                    self.check(result);
                }
            }
            Trace::HeadPhase { endpoint, reason } => {
                self.note(format_args!("n{id} phase 2 of {endpoint}: {reason}"));
            }
            Trace::Dropped { id: event, reason } => {
                self.note(format_args!("n{id} drops {}: {reason}", hex8(event)));
            }
            Trace::Committed { .. } | Trace::Log { .. } => {}
        }
    }

    fn emit(&mut self, id: usize, emission: Emission) {
        match emission {
            Emission::Block(block) => {
                self.report.blocks += 1;
                let header = &block.header;
                let (height, slot, hash) = (header.height, header.slot, header.hash());
                self.note(format_args!(
                    "n{id} builds {height} {} in slot {slot}",
                    hex8(&hash)
                ));
                self.checks.block(&block);
                self.nodes[id].built.insert(hash);
                match (self.nodes[id].byzantine, self.nodes[id].validator) {
                    (None, Some(validator)) => {
                        let result = self.checks.sealed(validator, &block);
                        self.check(result);
                    }
                    (Some(Byzantine::Withholding), _) => {
                        let slots = self.dice.between(1, 4);
                        let at_ms = self.now_ms + slots * self.scenario.slot_ms;
                        return self.at(at_ms, Happening::Show { node: id, block });
                    }
                    _ => {}
                }
                self.broadcast(id, Topic::Block, block.encode().into());
            }
            Emission::Dispatch { endpoint, event } => self.emit_events(id, endpoint, vec![event]),
            Emission::Aggregate { endpoint, events } => self.emit_events(id, endpoint, events),
        }
    }

    fn emit_events(&mut self, id: usize, endpoint: u8, events: Vec<Event>) {
        if let (None, Some(validator)) = (self.nodes[id].byzantine, self.nodes[id].validator) {
            let key = self.chain.validator(validator);
            for event in &events {
                let result = self.checks.voted(validator, &key, event);
                self.check(result);
            }
        }
        self.broadcast(id, Topic::Events(endpoint), events.encode().into());
    }

    fn broadcast(&mut self, id: usize, topic: Topic, bytes: Arc<[u8]>) {
        self.nodes[id].seen.insert(Packet::gossip_id(topic, &bytes));
        self.forward(id, id, topic, &bytes);
    }

    fn forward(&mut self, id: usize, except: usize, topic: Topic, bytes: &Arc<[u8]>) {
        for to in (0..self.nodes.len()).filter(|to| *to != id && *to != except) {
            self.send(id, to, Packet::Gossip(topic, bytes.clone()));
        }
    }

    fn send(&mut self, from: usize, to: usize, packet: Packet) {
        if to >= self.nodes.len() || !self.network.is_connected(from, to) {
            return;
        }
        self.report.messages += 1;
        for delay_ms in self.network.arrivals(from, to) {
            let packet = packet.clone();
            self.at(
                self.now_ms + delay_ms,
                Happening::Deliver { from, to, packet },
            );
        }
    }

    fn deliver(&mut self, from: usize, to: usize, packet: Packet) {
        let is_through = self.network.is_connected(from, to) && self.network.is_open(from, to);
        if !is_through || self.nodes[to].process.is_none() {
            return;
        }
        let peer = peer_id(from);
        match packet {
            Packet::Gossip(topic, bytes) => self.deliver_gossip(from, to, topic, bytes),
            Packet::Request(request, life, bytes) => {
                if self.nodes[to].byzantine == Some(Byzantine::Withholding) {
                    return;
                }
                let Ok(question) = Request::from_bytes(&bytes) else {
                    let offence = Offence::Malformed;
                    return self.tell(to, Input::Offence { peer, offence });
                };
                let inbound = InboundId(self.number(to));
                self.nodes[to]
                    .inbound
                    .insert(inbound, (from, request, life));
                let request = question;
                self.tell(
                    to,
                    Input::Asked {
                        peer,
                        inbound,
                        request,
                    },
                );
            }
            Packet::Response(id, life, bytes) if life == self.nodes[to].life => {
                let input = match Response::from_bytes(&bytes) {
                    Ok(response) => Input::Response { id, response },
                    Err(_) => Input::RequestFailed {
                        id,
                        failure: RequestFailure::Malformed,
                    },
                };
                self.tell(to, input);
            }
            Packet::Response(..) => {}
        }
    }

    fn deliver_gossip(&mut self, from: usize, to: usize, topic: Topic, bytes: Arc<[u8]>) {
        if !self.nodes[to].seen.insert(Packet::gossip_id(topic, &bytes)) {
            return;
        }
        let peer = peer_id(from);
        let content = match topic {
            Topic::Block => jar_kernel::decode_block(&bytes)
                .ok()
                .map(|block| Gossip::Block(Arc::new(block))),
            Topic::Events(endpoint) => jar_cap::decode_canonical::<Vec<Event>>(&bytes)
                .ok()
                .map(|events| Gossip::Events { endpoint, events }),
        };
        let Some(content) = content else {
            let offence = Offence::Malformed;
            return self.tell(to, Input::Offence { peer, offence });
        };
        let message = MessageId(self.number(to));
        self.nodes[to]
            .messages
            .insert(message, (from, topic, bytes));
        self.tell(
            to,
            Input::Gossip {
                peer,
                message,
                content,
            },
        );
    }

    fn number(&mut self, node: usize) -> u64 {
        self.nodes[node].last_number += 1;
        self.nodes[node].last_number
    }

    fn verdict(&mut self, id: usize, message: MessageId, verdict: Verdict) {
        let Some((from, topic, bytes)) = self.nodes[id].messages.remove(&message) else {
            return;
        };
        match verdict {
            Verdict::Accept => self.forward(id, from, topic, &bytes),
            Verdict::Reject => self.note(format_args!("n{id} rejects {topic:?} of n{from}")),
            Verdict::Ignore => {}
        }
    }

    fn serve(&mut self, id: usize, inbound: InboundId, request: &Request) {
        let Some(process) = &self.nodes[id].process else {
            return;
        };
        let status = process.driver.status();
        match serve::answer(&*process.store, status, request) {
            Ok(response) => self.answer(id, inbound, &response),
            Err(error) => self.ended(id, error.into()),
        }
    }

    fn answer(&mut self, id: usize, inbound: InboundId, response: &Response) {
        if let Some((to, request, life)) = self.nodes[id].inbound.remove(&inbound) {
            let mut bytes = response.encode();
            if self.nodes[id].byzantine == Some(Byzantine::Garbage) {
                self.spoil(&mut bytes);
            }
            self.send(id, to, Packet::Response(request, life, bytes.into()));
        }
    }

    fn ban(&mut self, id: usize, peer: usize, for_ms: u64, offence: Offence) {
        self.note(format_args!("n{id} bans n{peer} for {offence:?}"));
        self.report.bans += 1;
        let is_honest = |node: usize| self.nodes.get(node).is_some_and(|n| n.byzantine.is_none());
        if is_honest(id) && is_honest(peer) {
            let banned = Violation::Ban {
                node: id,
                peer,
                offence: format!("{offence:?}"),
            };
            self.check(Err(banned));
        }
        let until_ms = self.now_ms + for_ms;
        self.nodes[id].bans.insert(peer, until_ms);
        if self.network.disconnect(id, peer) {
            self.told_disconnected(peer, id);
        }
        self.at(until_ms, Happening::Connect { a: id, b: peer });
    }
}
