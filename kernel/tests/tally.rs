//! The tally chain: many votes off-chain, one aggregate in a block; on both engines.

mod common;

use common::chain::genesis_of;
use common::{Node, image_file, seed_key, sign};
use jar_cap::image::Image;
use jar_kernel::block::{Block, Ending, Event, Scope};
use jar_kernel::{Emission, Genesis, Refusal};
use jar_tally_api::{
    COUNT, Config, Error, OPEN, POLL, Poll, VOTE_IN, VOTERS_MAX, Vote, Votes, signed_blob,
};
use parity_scale_codec::{Decode, Encode};

/// Blocks of a poll: 7 and 8 are the last quarter, which takes the votes up.
const BLOCKS: u64 = 8;

fn seed(voter: u16) -> [u8; 32] {
    let mut seed = [7; 32];
    seed[..2].copy_from_slice(&voter.to_le_bytes());
    seed
}

fn genesis(voters: u16, blocks: u64) -> Genesis {
    let image = image_file("tally.image");
    let config = Config {
        voters: (0..voters).map(|voter| seed_key(seed(voter))).collect(),
        choices: 3,
        blocks,
    };
    Genesis {
        payload: config.encode(),
        ..genesis_of(&Image::decode_checked(&image).expect("a good Image"))
    }
}

fn endpoint(node: &Node, name: &str) -> u8 {
    let found = node.chain().endpoint_by_name(&node.head(), name);
    found.expect("a state").expect("the endpoint").index
}

fn view<T: Decode>(node: &Node, name: &str, argument: impl Encode) -> T {
    let (index, head) = (endpoint(node, name), node.head());
    let outcome = node.chain().view(&head, index, &argument.encode());
    let result = outcome.expect("a View").result.expect("a result");
    T::decode(&mut &result[..]).expect("of its type")
}

fn counts(node: &Node, poll: u64) -> Vec<u32> {
    let poll: Option<Poll> = view(node, POLL, poll);
    poll.expect("not of the future").counts
}

/// An event of votes with the signature of each.
fn event(node: &Node, poll: u64, votes: &[(u16, u8)]) -> Event {
    let hash = node.genesis_hash();
    let vote = |&(voter, choice): &(u16, u8)| Vote { voter, choice };
    let signed = votes.iter().map(|&(voter, choice)| {
        let blob = signed_blob(poll, choice);
        sign(seed(voter), &hash, Scope::Direct, &blob)
    });
    Event {
        attestations: signed.collect(),
        payload: Votes {
            poll,
            votes: votes.iter().map(vote).collect(),
        }
        .encode(),
        results: Vec::new(),
    }
}

fn submit(node: &mut Node, poll: u64, votes: &[(u16, u8)]) -> Result<(), Refusal> {
    let event = event(node, poll, votes);
    let into = endpoint(node, VOTE_IN);
    node.dispatch(into, event).map(drop)
}

fn code(refused: Result<(), Refusal>) -> Option<Error> {
    match refused {
        Err(Refusal::Rejected { code, .. }) => Error::from_code(code),
        other => panic!("{other:?}"),
    }
}

/// The votes of a block, which come in one event at most.
fn votes_of(node: &Node, block: &Block) -> Vec<(u16, u8)> {
    let [(index, events)] = &block.body.groups[..] else {
        assert!(block.body.groups.is_empty(), "one group at most");
        return Vec::new();
    };
    assert_eq!(*index, endpoint(node, COUNT));
    let [event] = &events[..] else {
        panic!("{} events", events.len());
    };
    let votes = Votes::decode(&mut &event.payload[..]).expect("votes").votes;
    assert_eq!(event.attestations.len(), votes.len(), "each is signed");
    votes.iter().map(|v| (v.voter, v.choice)).collect()
}

/// Builds on one node and imports on the other, which runs the other engine.
fn step(builder: &mut Node, importer: &mut Node) -> Vec<(u16, u8)> {
    let built = builder.build().expect("built");
    let votes = votes_of(builder, &built.block);
    assert_eq!(builder.dropped(), Vec::<String>::new());
    let imported = importer.import(&built.block).expect("the same block");
    assert_eq!(imported.outcomes, built.outcomes, "the engines agree");
    for node in [builder, importer] {
        node.kernel.on_head(true).expect("phase 2");
    }
    let endings = built.outcomes.iter().map(|outcome| &outcome.ending);
    assert!(
        endings.clone().all(|e| *e == Ending::Halted(0)),
        "{built:?}"
    );
    votes
}

fn two_nodes(genesis: &Genesis) -> [Node; 2] {
    [Node::new(genesis, &[]), Node::on_other_engine(genesis, &[])]
}

#[test]
fn votes_of_many_events_are_one_event_of_a_block() {
    let [mut node, mut other] = two_nodes(&genesis(9, BLOCKS));
    for (voter, choice) in [(4, 1), (0, 2), (8, 1), (2, 0)] {
        submit(&mut node, 0, &[(voter, choice)]).expect("accepted");
    }
    assert_eq!(node.kernel.pending_count(), 1, "they are one already");
    // They gather until the last quarter of the poll.
    for _ in 0..6 {
        assert_eq!(step(&mut node, &mut other), []);
    }
    let votes = step(&mut node, &mut other);
    assert_eq!(votes, [(0, 2), (2, 0), (4, 1), (8, 1)]);
    for node in [&node, &other] {
        assert_eq!(counts(node, 0), [1, 2, 1]);
        assert_eq!(node.kernel.pending_count(), 0);
    }
    // The last block takes who comes late; the next poll starts anew.
    submit(&mut node, 0, &[(1, 1)]).expect("accepted");
    assert_eq!(step(&mut node, &mut other), [(1, 1)]);
    assert_eq!(view::<u64>(&node, OPEN, ()), 1);
    assert_eq!(step(&mut node, &mut other), []);
    assert_eq!(counts(&other, 0), [1, 3, 1]);
    assert_eq!(counts(&other, 1), [0, 0, 0]);
}

#[test]
fn each_refusal_has_its_code() {
    let mut node = Node::new(&genesis(3, BLOCKS), &[]);
    submit(&mut node, 0, &[(1, 1)]).expect("accepted");
    let mut refused = |poll, votes: &[(u16, u8)]| code(submit(&mut node, poll, votes));
    assert_eq!(refused(0, &[(1, 2)]), Some(Error::AlreadyPending));
    assert_eq!(refused(1, &[(0, 1)]), Some(Error::WrongPoll));
    assert_eq!(refused(0, &[(0, 3)]), Some(Error::BadVotes));
    assert_eq!(refused(0, &[(2, 0), (0, 0)]), Some(Error::BadVotes));
    assert_eq!(refused(0, &[]), Some(Error::BadVotes));
    assert_eq!(refused(0, &[(3, 0)]), Some(Error::BadVotes));
    // Signed by another voter, and with a signature that is none.
    let into = endpoint(&node, VOTE_IN);
    let mut swapped = event(&node, 0, &[(0, 1), (2, 1)]);
    swapped.attestations.swap(0, 1);
    let refused = node.dispatch(into, swapped).map(drop);
    assert_eq!(code(refused), Some(Error::NotSigned));
    let mut spoiled = event(&node, 0, &[(0, 1)]);
    spoiled.attestations[0].signature[5] ^= 1;
    let refused = node.dispatch(into, spoiled).map(drop);
    assert!(matches!(refused, Err(Refusal::BadSignature { index: 0 })));
    // With everybody's vote there is nothing to wait for.
    submit(&mut node, 0, &[(0, 0), (2, 2)]).expect("accepted");
    let built = node.build().expect("built");
    assert_eq!(votes_of(&node, &built.block), [(0, 0), (1, 1), (2, 2)]);
    let counted = code(submit(&mut node, 0, &[(0, 1)]));
    assert_eq!(counted, Some(Error::AlreadyCounted));
}

/// What a node tells its peers of its votes.
fn aggregates(node: &mut Node) -> Vec<Event> {
    node.kernel.announce();
    let told = node.emitted().into_iter();
    let aggregates = told.filter_map(|emission| match emission {
        Emission::Aggregate { events, .. } => Some(events),
        _ => None,
    });
    aggregates.flatten().collect()
}

#[test]
fn aggregates_of_peers_merge() {
    let [mut a, mut b] = two_nodes(&genesis(9, BLOCKS));
    for voter in [0, 1, 2, 3] {
        submit(&mut a, 0, &[(voter, 1)]).expect("accepted");
    }
    for voter in [2, 3, 4] {
        submit(&mut b, 0, &[(voter, 2)]).expect("accepted");
    }
    let into = endpoint(&a, VOTE_IN);
    let told = aggregates(&mut a);
    assert_eq!(told.len(), 1, "one event with four signatures");
    assert_eq!(told[0].attestations.len(), 4);
    let merged = b.kernel.merge_aggregate(into, &told).expect("judged");
    assert_eq!(merged.accepted.len(), 1);
    // Told again, it has nothing to add, and nobody is to blame.
    let again = b.kernel.merge_aggregate(into, &told).expect("judged");
    assert!(again.accepted.is_empty());
    assert_eq!(again.verdict(), jar_kernel::Verdict::Ignore);
    for _ in 0..6 {
        assert_eq!(step(&mut b, &mut a), []);
    }
    // Of voters that told two nodes two things, each node counts what it heard first.
    let votes = step(&mut b, &mut a);
    assert_eq!(votes, [(0, 1), (1, 1), (2, 2), (3, 2), (4, 2)]);
    assert_eq!(
        a.kernel.pending_count(),
        0,
        "phase 2 dropped what is counted"
    );
    assert_eq!(a.head().header.state_root, b.head().header.state_root);
}

#[test]
fn a_new_head_leaves_only_votes_that_are_not_counted() {
    let [mut a, mut b] = two_nodes(&genesis(9, BLOCKS));
    for _ in 0..6 {
        step(&mut a, &mut b);
    }
    submit(&mut a, 0, &[(0, 0), (5, 0)]).expect("accepted");
    submit(&mut b, 0, &[(5, 0), (7, 2)]).expect("accepted");
    assert_eq!(step(&mut a, &mut b), [(0, 0), (5, 0)]);
    assert_eq!(step(&mut b, &mut a), [(7, 2)]);
    assert_eq!(counts(&a, 0), [2, 0, 1]);
    // What waits for a poll that is over goes.
    let [mut a, mut b] = two_nodes(&genesis(9, 1));
    submit(&mut a, 0, &[(0, 0)]).expect("accepted");
    submit(&mut b, 0, &[(1, 1)]).expect("accepted");
    assert_eq!(step(&mut a, &mut b), [(0, 0)]);
    assert_eq!(b.kernel.pending_count(), 0);
}

#[test]
fn the_largest_electorate_fits_an_event() {
    let voters = u16::try_from(VOTERS_MAX).expect("a small number");
    let [mut node, mut other] = two_nodes(&genesis(voters, BLOCKS));
    let votes: Vec<(u16, u8)> = (0..voters).map(|voter| (voter, 1)).collect();
    let (most, last) = votes.split_at(votes.len() - 1);
    submit(&mut node, 0, most).expect("accepted");
    submit(&mut node, 0, last).expect("accepted");
    assert_eq!(step(&mut node, &mut other), votes);
    assert_eq!(counts(&other, 0), [0, u32::from(voters), 0]);
    // One voter more is no configuration.
    let too_many = genesis(voters + 1, BLOCKS);
    let store = std::sync::Arc::new(jar_kernel::memory::MemoryChainStore::new());
    assert!(Node::open(store, &too_many, &[]).is_err());
}
