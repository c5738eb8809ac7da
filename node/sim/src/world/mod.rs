//! The world: nodes, the network between them, and virtual time.

mod ending;
mod garbage;
mod lives;
mod traffic;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use jar_cap::Hash;
use jar_driver::{Effect, InboundId, Input, MessageId, RequestId, Response, SigningNews, SyncMode};
use jar_kernel::block::{Block, Event};
use jar_kernel::{Emission, Store, Trace};
use jar_token_api::VOTE;
use parity_scale_codec::Encode;

use crate::checks::{Checks, Violation};
use crate::network::{Network, Packet, Topic, node_of};
use crate::process::{Done, End, Process, Setup};
use crate::rng::Dice;
use crate::scenario::{Byzantine, Change, Scenario};
use crate::store::CrashStore;
use crate::token::{GENESIS_TIME_MS, TokenChain};
use crate::weakened::Weakened;
use crate::{Detail, Report, hex8};

/// Something that will happen.
#[derive(Clone, Debug)]
enum Happening {
    /// A packet arrives.
    Deliver {
        from: usize,
        to: usize,
        /// When it was sent, among all that was.
        number: u64,
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
    /// A node's disk is copied.
    BackUp { number: usize },
    /// The copy is put back.
    Restore { number: usize },
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
    /// A copy of the disk.
    backup: Option<Arc<CrashStore>>,
    /// Whether the disk is known to be a copy, and the node has not signed since.
    is_away: bool,
    /// Whether its key may sign twice, for its watermarks are old or not the only ones.
    is_excused: bool,
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
    weakened: Weakened,
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
            weakened: Weakened::default(),
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
        self.report.counts.byzantine += u64::from(scenario.byzantine.is_some());
        for validator in 0..scenario.validators {
            let byzantine = scenario.byzantine.filter(|_| validator == 0);
            self.add_node(Some(validator), byzantine, SyncMode::Full);
        }
        if scenario.byzantine == Some(Byzantine::Twins) {
            self.add_node(Some(0), Some(Byzantine::Twins), SyncMode::Full);
        }
        if let Some((validator, _)) = scenario.shared_key {
            self.add_node(Some(validator), None, SyncMode::Full);
            let shared = self.nodes.iter_mut();
            let shared = shared.filter(|node| node.validator == Some(validator));
            shared.for_each(|node| node.is_excused = true);
            self.report.counts.shared += 1;
        }
        if scenario.change.is_some() {
            self.add_node(Some(scenario.validators), None, SyncMode::Full);
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
        let skew_ms = self.dice.between(0, 2 * self.scenario.skew_ms);
        self.report.counts.skewed += u64::from(skew_ms != self.scenario.skew_ms);
        self.nodes.push(Node {
            setup: Setup {
                seeds: seeds.into_iter().copied().collect(),
                is_reckless,
                sync,
            },
            disk: Arc::default(),
            backup: None,
            is_away: false,
            is_excused: false,
            process: None,
            life: 0,
            byzantine,
            validator,
            skew_ms,
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
        let second = scenario.shared_key.map(|(_, slot)| {
            let twins = usize::from(scenario.byzantine == Some(Byzantine::Twins));
            (scenario.validators + twins, slot)
        });
        for node in (0..self.nodes.len()).filter(|node| Some(*node) != joiner) {
            let slot = second.filter(|(second, _)| *second == node);
            let at_ms = self.slot_ms(slot.map_or(0, |(_, slot)| slot));
            self.at(at_ms, Happening::Start { node });
        }
        for (number, restore) in scenario.restores.iter().enumerate() {
            let (copied, restored) = (restore.copied, restore.restored);
            self.at(self.slot_ms(copied), Happening::BackUp { number });
            self.at(self.slot_ms(restored), Happening::Restore { number });
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
        self.report.weakened = self.weakened.conflict;
        self.report.virtual_ms = self.now_ms - GENESIS_TIME_MS;
        self.report.log = self.log.unwrap_or_default();
        self.report
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Deliver {
                from,
                to,
                number,
                packet,
            } => {
                if self.network.is_overtaken(from, to, number) {
                    self.report.counts.reordered += 1;
                }
                self.deliver(from, to, packet);
            }
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
            Happening::BackUp { number } => self.back_up(number),
            Happening::Restore { number } => self.restore(number),
            Happening::Heal => self.heal(),
            Happening::Slot(slot) => self.begin_slot(slot),
            Happening::Announce { node, life } => {
                if self.nodes[node].life == life {
                    self.announce(node);
                }
            }
            Happening::Show { node, block } => {
                self.report.counts.withheld += 1;
                self.note(format_args!("n{node} shows {}", hex8(&block.header.hash())));
                self.broadcast(node, Topic::Block, block.encode().into());
            }
        }
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
        if let Some(change) = self.scenario.change
            && slot >= change.slot
        {
            let node = self.dice.below(self.nodes.len() as u64) as usize;
            self.submit_change(node, change);
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
                self.report.counts.submitted += u64::from(accepted);
                self.settle(id, done);
            }
            Err(end) => self.ended(id, end),
        }
    }

    /// Submits a change of the validators, until it has taken effect.
    fn submit_change(&mut self, id: usize, change: Change) {
        let Some(process) = &mut self.nodes[id].process else {
            return;
        };
        let validators = self.scenario.validators;
        let (chain, head) = (
            process.kernel.chain().clone(),
            process.kernel.head().clone(),
        );
        let result = match self.chain.has_turns(&chain, &head, validators) {
            Ok(true) => return,
            Ok(false) => self.chain.change(&chain, &head, validators, change.leaves),
            Err(error) => Err(error),
        };
        let result = match result {
            Ok(Some((endpoint, event))) => process.submit(endpoint, event),
            Ok(None) => return,
            Err(error) => Err(error.into()),
        };
        match result {
            Ok((_, done)) => self.settle(id, done),
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
        for news in &done.signing {
            self.note(format_args!("n{id} signing: {news:?}"));
            match news {
                _ if self.nodes[id].byzantine.is_some() => {}
                SigningNews::On => self.report.counts.resumed += 1,
                _ => self.report.counts.silenced += 1,
            }
        }
        let process = self.nodes[id].process.as_ref();
        if process.is_some_and(|process| process.guard.is_on()) {
            self.nodes[id].is_away = false;
        }
        for trace in &done.traces {
            self.trace(id, trace);
        }
        for input in done.inputs {
            match &input {
                Input::Imported { outcome, .. } => {
                    self.note(format_args!("n{id} imports: {outcome:?}"));
                }
                Input::Adopted { is_adopted, .. } => {
                    self.report.counts.adopted += u64::from(*is_adopted);
                }
                _ => {}
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
                self.report.counts.reorganised += u64::from(*reverted > 0);
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
            Trace::Committed { hash, .. } if is_honest => self.weaken(id, *hash),
            Trace::Committed { .. } | Trace::Unloaded | Trace::Log { .. } => {}
        }
    }

    /// What a block that a node has would finalize by a weaker rule.
    fn weaken(&mut self, id: usize, hash: Hash) {
        let Some(process) = &self.nodes[id].process else {
            return;
        };
        let (chain, head) = (process.kernel.chain(), process.kernel.head());
        let result = match chain.endpoint_by_name(head, VOTE) {
            Ok(Some(vote)) => {
                let store = process.store.clone();
                let committed = self.weakened.committed(id, &*store, hash, vote.index);
                committed.map_err(End::from)
            }
            Ok(None) => Ok(()),
            Err(error) => Err(error.into()),
        };
        if let Err(end) = result {
            self.ended(id, end);
        }
    }

    fn emit(&mut self, id: usize, emission: Emission) {
        match emission {
            Emission::Block(block) => {
                self.report.counts.blocks += 1;
                let header = &block.header;
                let (height, slot, hash) = (header.height, header.slot, header.hash());
                self.note(format_args!(
                    "n{id} builds {height} {} in slot {slot}",
                    hex8(&hash)
                ));
                self.checks.block(&block);
                self.nodes[id].built.insert(hash);
                if let Some(what) = self.checks.sealed(&block) {
                    self.report.counts.equivocations += 1;
                    self.signed_twice(id, what);
                }
                if self.nodes[id].byzantine == Some(Byzantine::Withholding) {
                    let slots = self.dice.between(1, 4);
                    let at_ms = self.now_ms + slots * self.scenario.slot_ms;
                    return self.at(at_ms, Happening::Show { node: id, block });
                }
                self.broadcast(id, Topic::Block, block.encode().into());
            }
            Emission::Dispatch { endpoint, event } => self.emit_events(id, endpoint, vec![event]),
            Emission::Aggregate { endpoint, events } => self.emit_events(id, endpoint, events),
        }
    }

    /// A node signed what may not be together with what was signed with its key before.
    fn signed_twice(&mut self, id: usize, what: String) {
        let node = &self.nodes[id];
        if let (None, Some(validator), false) = (node.byzantine, node.validator, node.is_excused) {
            self.check(Err(Violation::DoubleSign { validator, what }));
        }
    }

    fn emit_events(&mut self, id: usize, endpoint: u8, events: Vec<Event>) {
        if let Some(validator) = self.nodes[id].validator {
            let key = self.chain.validator(validator);
            for event in &events {
                if let Some(what) = self.checks.voted(&key, event) {
                    self.report.counts.double_votes += 1;
                    self.signed_twice(id, what);
                }
            }
        }
        self.broadcast(id, Topic::Events(endpoint), events.encode().into());
    }
}
