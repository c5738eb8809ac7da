//! A small world, with real nodes, where the weaker rule is not safe: a byzantine validator that
//! runs three times with one key, and a network that shows each node what it pleases.
//!
//! All is quiet up to a block J, which nobody knows to be justified yet. Then:
//!
//! ```text
//! J ── X ── F                F counts the votes for J: Anna and Ben vote J -> X
//! │    └─── W3 ── W4         W4 counts them as well, one block later: they vote J -> W3
//! │                └── W5 ── W6    W5 counts J -> X, W6 counts J -> W3
//! └─── Y2 ── Y3 ── Y4 ── Y5        Carl's; Y5 counts the votes for J: Carl and Anna vote J -> Y4
//!                        └── Y6 ── Y7    Y6 counts J -> Y4, Y7 counts Y4 -> Y5
//! ```
//!
//! X is justified with a justified child: by the weaker rule it is final for Ben, who has W6. Y4
//! is final for Anna and Carl by either rule. All three kept their watermarks.

use jar_driver::{Effect, Gossip, Input, MessageId, PeerId, Request, Response, SyncMode};
use jar_kernel::block::Event;
use jar_kernel::{Emission, Trace};
use jar_pvm::EngineKind;
use jar_token_api::VOTE;

use super::*;
use crate::checks::Checks;
use crate::process::{Done, Process, Setup, Start};
use crate::store::CrashStore;
use crate::token::TokenChain;

const SLOT_MS: u64 = 1000;
/// Who brings the nodes what the script shows them.
const NETWORK: PeerId = PeerId([9; 32]);

/// Nodes, by their places in [`Small`]; a slot is the turn of the validator `slot % 4`, and the
/// first three have the same key.
const Z1: usize = 0;
const Z2: usize = 1;
const Z3: usize = 2;
const ANNA: usize = 3;
const BEN: usize = 4;
const CARL: usize = 5;
const EVERYONE: [usize; 6] = [Z1, Z2, Z3, ANNA, BEN, CARL];
const HONEST: [usize; 3] = [ANNA, BEN, CARL];
const VALIDATORS: [usize; 6] = [0, 0, 0, 1, 2, 3];

struct Node {
    process: Process,
    /// Votes it cast, oldest first.
    votes: Vec<(u8, Event)>,
    built: Option<Arc<Block>>,
}

struct Small {
    chain: TokenChain,
    nodes: Vec<Node>,
    now_ms: u64,
    messages: u64,
    vote: u8,
    weakened: Weakened,
    checks: Checks,
}

impl Small {
    fn new() -> Small {
        let engine = jar_pvm::engine(EngineKind::Auto).expect("an engine");
        let chain = TokenChain::new(4, 0, SLOT_MS, engine);
        let start = |validator: &usize| {
            let setup = Setup {
                seeds: vec![chain.seeds[*validator]],
                // Its guard would stop it, as it sees its other selves.
                is_reckless: *validator == 0,
                sync: SyncMode::Full,
            };
            let start = Start {
                first_slot: 1,
                is_restored: false,
            };
            let process = Process::start(&chain, &setup, CrashStore::default(), start);
            Node {
                process: process.expect("a node"),
                votes: Vec::new(),
                built: None,
            }
        };
        let nodes: Vec<Node> = VALIDATORS.iter().map(start).collect();
        let kernel = &nodes[0].process.kernel;
        let vote = kernel.chain().endpoint_by_name(kernel.head(), VOTE);
        let vote = vote.expect("no trouble").expect("the endpoint").index;
        let mut small = Small {
            now_ms: chain.genesis.time_ms,
            chain,
            nodes,
            messages: 0,
            vote,
            weakened: Weakened::default(),
            checks: Checks::default(),
        };
        EVERYONE
            .iter()
            .for_each(|node| small.give(*node, Input::Connected(NETWORK)));
        small
    }

    /// Tells a node's driver something, and does what it says.
    fn give(&mut self, node: usize, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let process = &mut self.nodes[node].process;
            for effect in process.driver.handle(input, self.now_ms) {
                let process = &mut self.nodes[node].process;
                let done = match effect {
                    Effect::Build { slot, .. } => {
                        process.build(slot).expect("built").unwrap_or_default()
                    }
                    Effect::Import { ticket, block } => {
                        process.import(ticket, &block).expect("judged")
                    }
                    Effect::Judge {
                        ticket,
                        endpoint,
                        events,
                    } => process.judge(ticket, endpoint, &events).expect("judged"),
                    Effect::Request {
                        id,
                        request: Request::Status(status),
                        ..
                    } => {
                        let response = Response::Status(status);
                        inputs.push(Input::Response { id, response });
                        continue;
                    }
                    _ => continue,
                };
                inputs.extend(self.take(node, done));
            }
        }
    }

    fn take(&mut self, node: usize, done: Done) -> Vec<Input> {
        let is_honest = HONEST.contains(&node);
        for trace in done.traces {
            let store = self.nodes[node].process.store.clone();
            match trace {
                Trace::Committed { hash, .. } if is_honest => {
                    let block = store.block(&hash).expect("no trouble").expect("held");
                    self.checks.block(&block);
                    let committed = self.weakened.committed(node, &*store, hash, self.vote);
                    committed.expect("no trouble");
                }
                Trace::Finalized { hash, .. } if is_honest => {
                    self.checks
                        .finalized(hash)
                        .expect("no conflict by the chain's rule");
                }
                _ => {}
            }
        }
        for emission in done.emissions {
            match emission {
                Emission::Block(block) => self.nodes[node].built = Some(block),
                Emission::Dispatch { endpoint, event } => {
                    let own = self
                        .checks
                        .voted(&self.chain.validator(VALIDATORS[node]), &event);
                    assert!(!is_honest || own.is_none(), "{own:?}");
                    self.nodes[node].votes.push((endpoint, event));
                }
                Emission::Aggregate { .. } => {}
            }
        }
        done.inputs
    }

    /// In a slot of its turn a node builds a block, which some others are shown.
    fn build(&mut self, slot: u64, node: usize, shown_to: &[usize]) -> Arc<Block> {
        self.now_ms = self.chain.genesis.time_ms + slot * SLOT_MS;
        self.give(node, Input::Tick);
        let block = self.nodes[node].built.take();
        let block = block.unwrap_or_else(|| panic!("node {node} builds in slot {slot}"));
        assert_eq!(block.header.slot, slot);
        shown_to.iter().for_each(|to| self.show(*to, &block));
        block
    }

    fn gossip(&mut self, to: usize, content: Gossip) {
        self.messages += 1;
        let (peer, message) = (NETWORK, MessageId(self.messages));
        self.give(
            to,
            Input::Gossip {
                peer,
                message,
                content,
            },
        );
    }

    fn show(&mut self, to: usize, block: &Arc<Block>) {
        self.gossip(to, Gossip::Block(block.clone()));
    }

    fn show_all(&mut self, to: usize, blocks: &[&Arc<Block>]) {
        blocks.iter().for_each(|block| self.show(to, block));
    }

    /// A node is given the last vote but `back` of each of some others.
    fn tell(&mut self, to: usize, votes: &[(usize, usize)]) {
        for (of, back) in votes {
            let cast = self.nodes[*of].votes.iter().rev();
            let (endpoint, event) = cast.clone().nth(*back).expect("a vote").clone();
            let events = vec![event];
            self.gossip(to, Gossip::Events { endpoint, events });
        }
    }

    fn finalized(&self, node: usize) -> Hash {
        self.nodes[node].process.kernel.finalized().hash
    }
}

/// Plays the script after some rounds of quiet turns.
fn play(rounds: u64) -> Small {
    let mut small = Small::new();
    let quiet = 4 * rounds + 1;
    for slot in 1..=quiet {
        let author = [Z1, ANNA, BEN, CARL][(slot % 4) as usize];
        let others: Vec<usize> = EVERYONE.into_iter().filter(|n| *n != author).collect();
        small.build(slot, author, &others);
        let voters = [Z1, ANNA, BEN, CARL].map(|voter| (voter, 0));
        let has_voted = |(voter, _): &(usize, usize)| !small.nodes[*voter].votes.is_empty();
        let votes: Vec<_> = voters.into_iter().filter(has_voted).collect();
        EVERYONE.iter().for_each(|node| small.tell(*node, &votes));
    }
    fork(&mut small, quiet);
    small
}

/// What the byzantine validator and the network do to the others.
fn fork(small: &mut Small, quiet: u64) {
    small.build(quiet + 1, BEN, &[ANNA, Z1, Z2]);
    let y2 = small.build(quiet + 2, CARL, &[Z3]);
    small.tell(Z1, &[(ANNA, 0), (BEN, 0)]);
    small.build(quiet + 3, Z1, &[ANNA, BEN]);
    let y3 = small.build(quiet + 6, CARL, &[Z3]);
    let w3 = small.build(quiet + 7, Z2, &[]);
    let y4 = small.build(quiet + 10, CARL, &[Z3]);
    small.tell(Z2, &[(ANNA, 1), (BEN, 1)]);
    let w4 = small.build(quiet + 11, Z2, &[]);
    for node in [ANNA, BEN] {
        small.show_all(node, &[&w3, &w4]);
    }
    small.tell(CARL, &[(ANNA, 2), (BEN, 2)]);
    let y5 = small.build(quiet + 14, CARL, &[Z3]);
    small.tell(Z2, &[(ANNA, 1), (BEN, 1), (Z1, 0)]);
    let w5 = small.build(quiet + 15, Z2, &[]);
    small.show_all(ANNA, &[&y2, &y3, &y4, &y5]);
    small.tell(CARL, &[(ANNA, 0), (Z3, 0)]);
    let y6 = small.build(quiet + 18, CARL, &[ANNA, Z3]);
    small.tell(Z2, &[(ANNA, 2), (BEN, 0)]);
    let w6 = small.build(quiet + 19, Z2, &[]);
    small.show_all(BEN, &[&w5, &w6]);
    small.tell(ANNA, &[(CARL, 0), (Z3, 0)]);
    let y7 = small.build(quiet + 20, ANNA, &[CARL]);
    // Final by the chain's rule, for those who can know.
    let y4_hash = y4.header.hash();
    assert_eq!([ANNA, CARL].map(|node| small.finalized(node)), [y4_hash; 2]);
    assert_eq!(small.finalized(BEN), y2.header.parent);
    // And for Ben when he hears of it: nothing that was final for him is undone.
    small.show_all(BEN, &[&y2, &y3, &y4, &y5, &y6, &y7]);
    assert_eq!(small.finalized(BEN), y4_hash);
}

#[test]
fn a_justified_child_is_not_enough() {
    for rounds in 0..4 {
        let small = play(rounds);
        let height = 4 * rounds + 2;
        match small.weakened.conflict {
            Some(Violation::Conflict { height: at, .. }) => assert_eq!(at, height),
            other => panic!("{rounds} quiet rounds: {other:?}"),
        }
    }
}
