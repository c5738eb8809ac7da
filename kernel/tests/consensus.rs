//! The token chain's consensus with several validators, each with a node of its own.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;

use common::chain::genesis_of;
use common::{Node, seed_key, sign};
use jar_cap::image::Image;
use jar_kernel::block::{Attestation, Block, Ending, Event, PublicKey, Scope};
use jar_kernel::{Emission, Genesis, Refusal, Store, Verdict};
use jar_poa::{Aggregate, Checkpoint, Error, Finality, Link, SetValidators, Signers};
use jar_token_api::{
    AUTHOR, Config, FINALITY_SLOT, FINALIZED, JUSTIFIED, NEXT_VALIDATORS_SLOT, SET_VALIDATORS_IN,
    VALIDATORS_SLOT, VOTE, VOTE_IN,
};
use parity_scale_codec::{Decode, Encode};

fn seed(validator: usize) -> [u8; 32] {
    let mut seed = [0x51; 32];
    seed[..8].copy_from_slice(&(validator as u64).to_le_bytes());
    seed
}

fn key(validator: usize) -> PublicKey {
    seed_key(seed(validator))
}

fn token(validators: std::ops::Range<usize>) -> Genesis {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../chain-specs/token.image");
    let image = std::fs::read(path).expect("the Image is there");
    let image = Image::decode_checked(&image).expect("a good Image");
    let config = Config {
        validators: validators.map(key).collect(),
        balances: vec![],
    };
    Genesis {
        payload: config.encode(),
        ..genesis_of(&image)
    }
}

fn endpoint(node: &Node, name: &str) -> u8 {
    let found = node.chain().endpoint_by_name(&node.head(), name);
    found.expect("a state").expect("the endpoint").index
}

fn view<T: Decode>(node: &Node, name: &str, argument: &[u8]) -> T {
    let outcome = node
        .chain()
        .view(&node.head(), endpoint(node, name), argument);
    let result = outcome.expect("a View").result.expect("a result");
    T::decode(&mut &result[..]).expect("of its type")
}

fn finalized(node: &Node) -> Checkpoint {
    view::<Option<Checkpoint>>(node, FINALIZED, &[]).expect("there is a block")
}

fn finality(node: &Node) -> Finality {
    let bytes = node.bytes(&[FINALITY_SLOT]).expect("there is a block");
    Finality::decode(&mut &bytes[..]).expect("of its type")
}

fn keys_in(node: &Node, slot: u8) -> Vec<PublicKey> {
    let bytes = node.bytes(&[slot]).unwrap_or(vec![0]);
    Decode::decode(&mut &bytes[..]).expect("keys")
}

/// Nodes that reach each other within groups, without delay.
struct Net {
    nodes: Vec<Node>,
    /// The group of each node; `None` while it is down.
    groups: Vec<Option<u8>>,
    slot: u64,
    /// Everything that ever became final, anywhere.
    final_blocks: BTreeSet<Checkpoint>,
}

impl Net {
    /// A node for each of so many keys, on a chain of the first validators.
    fn new(validators: usize, nodes: usize) -> Net {
        let genesis = token(0..validators);
        Net {
            nodes: (0..nodes)
                .map(|n| Node::new(&genesis, &[seed(n)]))
                .collect(),
            groups: vec![Some(0); nodes],
            slot: 0,
            final_blocks: BTreeSet::new(),
        }
    }

    fn in_group(&self, group: u8) -> Vec<usize> {
        let of = |n: &usize| self.groups[*n] == Some(group);
        (0..self.nodes.len()).filter(of).collect()
    }

    /// Lets a time slot pass: in each group its author builds, if it is there, others import,
    /// and everybody votes.
    fn pass(&mut self) {
        self.slot += 1;
        for group in 0..2 {
            let nodes = self.in_group(group);
            for builder in &nodes {
                if let Ok(advanced) = self.nodes[*builder].build_at(self.slot) {
                    self.deliver_block(&nodes, &advanced.block);
                }
            }
            self.vote(&nodes);
        }
        self.check();
    }

    fn pass_slots(&mut self, count: u64) {
        (0..count).for_each(|_| self.pass());
    }

    fn deliver_block(&mut self, nodes: &[usize], block: &Block) {
        for node in nodes {
            // The builder has it.
            let _ = self.nodes[*node].import(block);
        }
    }

    /// Phase 2 on all nodes, and everything they send to each other, until nothing is sent.
    fn vote(&mut self, nodes: &[usize]) {
        for node in nodes {
            self.nodes[*node].kernel.on_head(true).expect("in memory");
        }
        loop {
            let mut sent = Vec::new();
            for node in nodes {
                let emissions = self.nodes[*node].emitted();
                sent.extend(emissions.into_iter().map(|emission| (*node, emission)));
            }
            if sent.is_empty() {
                return;
            }
            for (from, emission) in sent {
                for to in nodes.iter().filter(|to| **to != from) {
                    self.deliver(*to, &emission);
                }
            }
        }
    }

    fn deliver(&mut self, to: usize, emission: &Emission) {
        let kernel = &mut self.nodes[to].kernel;
        match emission {
            Emission::Dispatch { endpoint, event } => {
                if let Err(refusal) = kernel.receive(*endpoint, event) {
                    assert_eq!(refusal.verdict(), Verdict::Ignore, "{refusal}");
                }
            }
            Emission::Aggregate { endpoint, events } => {
                let merged = kernel
                    .merge_aggregate(*endpoint, events)
                    .expect("in memory");
                assert!(merged.refused.is_none(), "{merged:?}");
                kernel.announce();
            }
            Emission::Block(_) => {}
        }
    }

    /// Nothing that conflicts ever becomes final, and the chain's word is the node's.
    fn check(&mut self) {
        for node in &self.nodes {
            let known = node.kernel.finalized();
            self.final_blocks.insert(Checkpoint {
                height: known.header.height,
                hash: known.hash,
            });
        }
        let heights: BTreeSet<u64> = self.final_blocks.iter().map(|b| b.height).collect();
        assert_eq!(heights.len(), self.final_blocks.len(), "a conflict");
    }

    /// Everybody gets everybody's blocks, as by sync, and is in one group again.
    fn heal(&mut self) {
        self.groups = vec![Some(0); self.nodes.len()];
        let mut blocks: Vec<Arc<Block>> = Vec::new();
        for node in &self.nodes {
            let store = node.chain().store().clone();
            for height in 1..=node.head().header.height {
                let hash = store.canonical(height).expect("in memory").expect("known");
                let block = store.block(&hash).expect("in memory").expect("known");
                blocks.push(Arc::new(block));
            }
        }
        let nodes = self.in_group(0);
        blocks.sort_by_key(|block| block.header.height);
        blocks
            .iter()
            .for_each(|block| self.deliver_block(&nodes, block));
    }

    fn assert_one_head(&self) {
        let head = self.nodes[0].head();
        for node in &self.nodes {
            assert_eq!(node.head().hash, head.hash);
            assert_eq!(node.head().header.state_root, head.header.state_root);
        }
    }

    fn final_heights(&self) -> Vec<u64> {
        let heights = self.nodes.iter();
        heights
            .map(|node| node.kernel.finalized().header.height)
            .collect()
    }
}

fn votes(link: Link, voters: usize, signers: &[usize]) -> Aggregate {
    let mut set = Signers::none(voters);
    signers.iter().for_each(|index| set.insert(*index));
    Aggregate {
        epoch: 0,
        link,
        signers: set,
    }
}

fn kernel_scope(link: &Link) -> Scope {
    Scope::Vote {
        source: link.source.height,
        target: link.target.height,
    }
}

/// The votes as an event, signed by these validators.
fn signed(node: &Node, aggregate: &Aggregate, by: &[usize]) -> Event {
    let link = &aggregate.link;
    let attest = |voter: &usize| -> Attestation {
        let blob = link.signed_blob();
        sign(
            seed(*voter),
            &node.genesis_hash(),
            kernel_scope(link),
            &blob,
        )
    };
    Event {
        payload: aggregate.encode(),
        attestations: by.iter().map(attest).collect(),
        results: vec![],
    }
}

fn checkpoint(node: &Node, height: u64) -> Checkpoint {
    let hash = node.chain().store().canonical(height).expect("in memory");
    let hash = hash.expect("known");
    Checkpoint { height, hash }
}

#[test]
fn four_validators_make_each_block_final_three_blocks_later() {
    let mut net = Net::new(4, 4);
    net.pass_slots(12);
    net.assert_one_head();
    assert_eq!(net.final_heights(), [9; 4]);
    for node in &net.nodes {
        assert_eq!(finalized(node), checkpoint(node, 9));
        let justified: Option<Checkpoint> = view(node, JUSTIFIED, &[]);
        assert_eq!(justified, Some(checkpoint(node, 10)));
        for height in 3..=12 {
            let hash = checkpoint(node, height).hash;
            let block = node.store.block(&hash).expect("in memory").expect("known");
            let [(endpoint, events)] = &block.body.groups[..] else {
                panic!("one group in block {height}");
            };
            assert_eq!((*endpoint, events.len()), (self::endpoint(node, VOTE), 1));
        }
    }
    // A node that starts empty and takes the blocks agrees.
    let late = Node::new(&token(0..4), &[]);
    net.nodes.push(late);
    net.groups.push(None);
    net.heal();
    net.assert_one_head();
    assert_eq!(net.final_heights(), [9; 5]);
}

#[test]
fn finality_needs_three_of_four_and_comes_back() {
    let mut net = Net::new(4, 4);
    net.pass_slots(8);
    net.groups[3] = None;
    net.pass_slots(12);
    let with_three = net.final_heights()[0];
    assert!(with_three >= 11, "three are enough: {with_three}");
    net.groups[2] = None;
    net.pass_slots(20);
    let with_two = net.final_heights()[0];
    assert!(with_two <= with_three + 2, "two are too few");
    assert!(net.nodes[0].head().header.height >= with_two + 10);
    net.heal();
    net.pass_slots(8);
    net.assert_one_head();
    let height = net.nodes[0].head().header.height;
    assert!(
        net.final_heights().iter().all(|found| *found >= height - 5),
        "{:?} of {height}",
        net.final_heights()
    );
}

#[test]
fn two_halves_finalize_nothing_and_become_one_chain() {
    let mut net = Net::new(4, 4);
    net.pass_slots(6);
    net.groups = vec![Some(0), Some(1), Some(1), Some(0)];
    net.pass_slots(40);
    assert_ne!(net.nodes[0].head().hash, net.nodes[1].head().hash);
    assert!(net.final_heights().iter().all(|height| *height <= 6));
    net.heal();
    // What was voted for in the halves is not voted for again: some blocks pass first.
    net.pass_slots(12);
    net.assert_one_head();
    let height = net.nodes[0].head().header.height;
    assert!(
        net.final_heights().iter().all(|found| *found >= height - 6),
        "{:?} of {height}",
        net.final_heights()
    );
}

#[test]
fn a_validator_that_votes_twice_does_no_harm() {
    let mut net = Net::new(4, 4);
    net.pass_slots(4);
    for round in 0..12 {
        // The last one signs whatever it likes, and never what the others vote for.
        let voters = [0, 1, 2];
        let node = &net.nodes[0];
        let state = finality(node);
        let head = node.head().header.height;
        let mut events = Vec::new();
        for n in 0..6u8 {
            let hash = [0xb0 + n; 32];
            let link = Link {
                source: state.justified(),
                target: Checkpoint {
                    height: head + u64::from(n % 2),
                    hash,
                },
            };
            events.push(signed(node, &votes(link, 4, &[3]), &[3]));
        }
        let vote_in = endpoint(node, VOTE_IN);
        for voter in voters {
            for event in &events {
                let _ = net.nodes[voter].kernel.receive(vote_in, event);
            }
        }
        net.groups[3] = None;
        net.pass();
        assert!(net.nodes[0].kernel.pending_count() < 8, "round {round}");
    }
    let height = net.nodes[0].head().header.height;
    assert!(net.final_heights()[0] + 6 >= height, "{height}");
}

/// The first of four validators' nodes after five blocks without votes.
fn without_votes() -> Node {
    let mut net = Net::new(4, 4);
    for slot in 1..=5 {
        let builder = slot as usize % 4;
        let block = net.nodes[builder].build_at(slot).expect("its turn").block;
        net.deliver_block(&[0, 1, 2, 3], &block);
    }
    net.nodes.swap_remove(0)
}

fn link(node: &Node, source: u64, target: u64) -> Link {
    Link {
        source: checkpoint(node, source),
        target: checkpoint(node, target),
    }
}

#[test]
fn aggregates_that_are_not_good_do_not_count() {
    let node = &without_votes();
    let vote = endpoint(node, VOTE);
    let link = |source, target| link(node, source, target);
    let mut elsewhere = link(0, 4);
    elsewhere.target.hash = [9; 32];
    let quorum = &[0, 1, 2][..];
    let cases = [
        (votes(link(0, 4), 4, quorum), quorum, None),
        (
            votes(link(0, 4), 4, quorum),
            &[0, 1],
            Some(Error::NotSigned),
        ),
        (
            votes(link(0, 4), 4, quorum),
            &[0, 2, 1],
            Some(Error::NotSigned),
        ),
        (
            votes(link(0, 4), 4, quorum),
            &[0, 1, 4],
            Some(Error::NotSigned),
        ),
        (votes(link(0, 4), 4, &[]), &[], Some(Error::BadSigners)),
        (
            votes(link(0, 4), 5, &[0, 1, 4]),
            &[0, 1, 4],
            Some(Error::BadSigners),
        ),
        (votes(link(4, 4), 4, quorum), quorum, Some(Error::BadLink)),
        (
            votes(link(1, 4), 4, quorum),
            quorum,
            Some(Error::UnjustifiedSource),
        ),
        (
            votes(elsewhere, 4, quorum),
            quorum,
            Some(Error::UnknownTarget),
        ),
        (
            votes(link(0, 5), 4, quorum),
            quorum,
            Some(Error::UnknownTarget),
        ),
        (
            votes(link(0, 4), 4, &[0, 1]),
            &[0, 1],
            Some(Error::NoQuorum),
        ),
    ];
    for (aggregate, by, expected) in &cases {
        let event = signed(node, aggregate, by);
        let ending = node.simulate(vote, &event).ending;
        let code = expected.map_or(0, u64::from);
        assert_eq!(ending, Ending::Halted(code), "{aggregate:?} by {by:?}");
    }
}

#[test]
fn events_that_are_not_good_are_refused_and_others_merge() {
    let node = &mut without_votes();
    let (vote_in, vote) = (endpoint(node, VOTE_IN), endpoint(node, VOTE));
    let quorum = &[0, 1, 2][..];
    let from_genesis = link(node, 0, 4);
    let aggregate = votes(from_genesis, 4, quorum);
    let good = signed(node, &aggregate, quorum);
    // Twice the same signature, and one that is forged.
    let mut twice = good.clone();
    twice.attestations.push(good.attestations[2].clone());
    let refused = node.dispatch(vote_in, twice).expect_err("left over");
    assert!(matches!(refused, Refusal::UnusedTraces), "{refused}");
    let mut forged = good.clone();
    forged.attestations[1].signature[0] ^= 1;
    let refused = node.dispatch(vote_in, forged).expect_err("forged");
    assert!(matches!(refused, Refusal::BadSignature { index: 1 }));
    // What another fork's honest nodes may send is not held against the sender.
    let mut elsewhere = from_genesis;
    elsewhere.target.hash = [9; 32];
    let other = signed(node, &votes(elsewhere, 4, quorum), quorum);
    let refused = node.dispatch(vote_in, other).expect_err("another fork's");
    assert_eq!(refused.verdict(), Verdict::Ignore, "{refused}");
    let unsigned = signed(node, &aggregate, &[0, 1]);
    let refused = node.dispatch(vote_in, unsigned).expect_err("not signed");
    assert_eq!(refused.verdict(), Verdict::Reject, "{refused}");
    // Votes one by one, in any order, are one aggregate in the end.
    for voter in [2, 0, 1] {
        let single = votes(from_genesis, 4, &[voter]);
        let event = signed(node, &single, &[voter]);
        node.dispatch(vote_in, event).expect("a vote");
        assert_eq!(node.kernel.pending_count(), 1);
    }
    let built = node.build_at(8).expect("its turn").block;
    assert_eq!(built.body.groups, [(vote, vec![good])]);
}

fn set_validators(net: &Net, epoch: u64, validators: Vec<PublicKey>) -> Event {
    let mut signers = Signers::none(4);
    (0..3).for_each(|index| signers.insert(index));
    let change = SetValidators {
        epoch,
        validators,
        signers,
    };
    let genesis = net.nodes[0].genesis_hash();
    let blob = change.signed_blob();
    let by = |voter| sign(seed(voter), &genesis, Scope::Direct, &blob);
    Event {
        payload: change.encode(),
        attestations: (0..3).map(by).collect(),
        results: vec![],
    }
}

#[test]
fn new_validators_take_over_at_finalized_blocks() {
    let mut net = Net::new(4, 6);
    net.pass_slots(6);
    // Two leave, two come.
    let next: Vec<PublicKey> = (2..6).map(key).collect();
    let event = set_validators(&net, 0, next.clone());
    let node = &mut net.nodes[0];
    let into = endpoint(node, SET_VALIDATORS_IN);
    let mut stranger = event.clone();
    stranger.attestations.pop();
    let refused = node.dispatch(into, stranger).expect_err("two are too few");
    let code = u64::from(Error::NotSigned);
    assert!(matches!(refused, Refusal::Rejected { code: found, .. } if found == code));
    node.dispatch(into, event.clone()).expect("decided");
    let mut stages = Vec::new();
    for _ in 0..30 {
        net.pass();
        let node = &net.nodes[5];
        let state = finality(node);
        let stage = (
            state.epoch(),
            keys_in(node, VALIDATORS_SLOT) == next,
            keys_in(node, NEXT_VALIDATORS_SLOT) == next,
        );
        if stages.last() != Some(&stage) {
            stages.push(stage);
        }
    }
    let expected = [
        (0, false, false),
        (0, false, true),
        (1, false, true),
        (2, true, false),
    ];
    assert_eq!(stages, expected);
    net.assert_one_head();
    let height = net.nodes[0].head().header.height;
    assert!(net.final_heights().iter().all(|found| found + 4 >= height));
    // The two that left have no say, and no turn, any more.
    net.groups[0] = None;
    net.groups[1] = None;
    net.pass_slots(8);
    assert!(net.final_heights()[5] >= height + 4);
    let author: Option<PublicKey> = view(&net.nodes[5], AUTHOR, &4u64.encode());
    assert_eq!(author, Some(next[0]));
    let refused = net.nodes[5]
        .dispatch(into, event)
        .expect_err("done already");
    assert!(matches!(refused, Refusal::Rejected { .. }), "{refused}");
}

/// The largest sets fit the limits of one event and one phase, both sets at once too.
#[test]
fn the_largest_sets_fit_an_event() {
    const LEN: usize = jar_poa::VALIDATORS_MAX;
    let seeds: Vec<[u8; 32]> = (0..2 * LEN).map(seed).collect();
    let genesis = token(0..LEN);
    let mut node = Node::new(&genesis, &seeds);
    let mut joint_gas = 0;
    for slot in 1..=24 {
        let advanced = node.build_at(slot).expect("all keys are held");
        let gas = advanced
            .outcomes
            .iter()
            .map(|outcome| outcome.gas_used)
            .max();
        if finality(&node).epoch() == 1 {
            joint_gas = joint_gas.max(gas.expect("a Schedule"));
        }
        node.kernel.on_head(true).expect("in memory");
        if slot == 6 {
            let mut signers = Signers::none(LEN);
            (0..LEN).for_each(|index| signers.insert(index));
            let change = SetValidators {
                epoch: 0,
                validators: (LEN..2 * LEN).map(key).collect(),
                signers,
            };
            let blob = change.signed_blob();
            let genesis = node.genesis_hash();
            let by = |voter: usize| sign(seed(voter), &genesis, Scope::Direct, &blob);
            let event = Event {
                payload: change.encode(),
                attestations: (0..LEN).map(by).collect(),
                results: vec![],
            };
            let into = endpoint(&node, SET_VALIDATORS_IN);
            node.dispatch(into, event).expect("decided");
        }
    }
    assert_eq!(finality(&node).epoch(), 2);
    assert_eq!(node.kernel.finalized().header.height, 21);
    let event_gas = node.chain().params().event_gas;
    println!("an aggregate of {} votes spends {joint_gas} gas", 2 * LEN);
    assert!(
        joint_gas > event_gas / 2 && joint_gas < event_gas,
        "{joint_gas}"
    );
}
