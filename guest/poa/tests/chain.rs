//! A chain with nothing but consensus, on the host, against the in-memory kernel.

use jar_guest::codec::{Decode, Encode};
use jar_guest::host::{self, Cap, World};
use jar_guest::{BlockInfo, Hash, PublicKey, Scope, SlotItemKind, slots};
use jar_poa::{Aggregate, Checkpoint, Error, Link, SetValidators, Signers};

#[jar_guest::chain]
mod bare {
    extern crate alloc;

    use alloc::vec::Vec;

    use jar_guest::aggregate::Dispatching;
    use jar_poa::{Aggregate, Checkpoint, Error, Poa, PublicKey, SetValidators};

    const POA: Poa = Poa::new(32, 33, 34);

    #[genesis]
    fn init(validators: Vec<PublicKey>) -> Result<(), Error> {
        POA.start(&validators)
    }

    #[schedule(order = 0)]
    fn begin() {
        POA.begin();
    }

    #[transact(order = 1)]
    fn vote(aggregate: Aggregate) -> Result<(), Error> {
        POA.vote(&aggregate)
    }

    #[dispatch(into = vote, phases)]
    fn vote_in(call: Dispatching) -> Result<(), Error> {
        POA.vote_in(&call)
    }

    #[transact(order = 1)]
    fn set_validators(change: SetValidators) -> Result<(), Error> {
        POA.set_validators(&change)
    }

    #[view]
    fn finalized() -> Option<Checkpoint> {
        POA.finalized()
    }

    #[view]
    fn author(slot: u64) -> Option<PublicKey> {
        POA.author(slot)
    }
}

use bare::endpoints;

type Endpoint = extern "C-unwind" fn(u64, u64, u64, u64) -> u64;
/// Indices of the endpoints, in the order they stand in.
const VOTE: u8 = 2;
const VOTE_IN: u8 = 3;

fn keys(names: core::ops::Range<u8>) -> Vec<PublicKey> {
    names.map(|name| [name; 32]).collect()
}

fn run(endpoint: Endpoint, arguments: [u64; 2], payload: &[u8]) -> Result<(), Error> {
    host::with(|world| world.set_payload(payload));
    match endpoint(arguments[0], arguments[1], 0, 0) {
        0 => Ok(()),
        code => Err(Error::from_code(code).unwrap_or_else(|| panic!("code {code}"))),
    }
}

fn view<T: Decode>(endpoint: Endpoint, argument: impl Encode) -> T {
    run(endpoint, [0, 0], &argument.encode()).unwrap();
    let result = host::with(World::take_result).unwrap();
    T::decode(&mut &result[..]).unwrap()
}

fn finalized() -> u64 {
    view::<Option<Checkpoint>>(endpoints::finalized, ()).map_or(0, |block| block.height)
}

fn start(validators: &[PublicKey]) {
    host::reset();
    run(endpoints::init, [0, 0], &validators.encode()).unwrap();
}

fn at(height: u64) -> Checkpoint {
    let mut hash: Hash = [7; 32];
    hash[..8].copy_from_slice(&height.to_le_bytes());
    Checkpoint { height, hash }
}

fn link(source: u64, target: u64) -> Link {
    Link {
        source: at(source),
        target: at(target),
    }
}

/// Begins the block of a height, sealed by its author.
fn begin(height: u64) {
    let author: Option<PublicKey> = view(endpoints::author, height);
    host::with(|world| {
        world.keys.clear();
        let seal = author.map(|author| (author, Scope::Seal, vec![]));
        world.attestations = seal.into_iter().collect();
        world.block = Some(BlockInfo {
            genesis: at(0).hash,
            parent: at(height - 1).hash,
            height,
            slot: height,
            time_ms: 0,
        });
        world.table.remove(&vec![slots::SCRATCH]);
    });
    assert_eq!(endpoints::begin(0, 0, 0, 0), 0);
}

/// Phase 2 with the keys that vote; answers what was sent.
fn head(keys: &[PublicKey]) -> Vec<Aggregate> {
    host::with(|world| {
        world.attestations.clear();
        for key in keys {
            world.keys.entry(*key).or_insert(None);
        }
        world.dispatched.clear();
        world.table.remove(&vec![slots::SCRATCH]);
    });
    let items = host::with(|world| world.emitted.len()) as u64;
    assert_eq!(endpoints::vote_in(2, items, 0, 0), 0);
    host::with(|world| {
        let sent = world.dispatched.iter();
        sent.map(|sent| {
            assert_eq!(sent.endpoint, VOTE_IN);
            let vote = Aggregate::decode(&mut &sent.payload[..]).unwrap();
            assert_eq!(vote.signers.count() as usize, sent.attestations.len());
            vote
        })
        .collect()
    })
}

/// Puts an aggregate's attestations at hand, signed by those of these keys it names.
fn sign(aggregate: &Aggregate, voters: &[PublicKey]) {
    let link = aggregate.link;
    let attestations = aggregate.signers.indices();
    let attestations = attestations
        .map(|voter| (voters[voter], link.scope(), link.signed_blob()))
        .collect();
    host::with(|world| {
        world.keys.clear();
        world.attestations = attestations;
    });
}

fn votes(epoch: u64, link: Link, voters: usize, signers: &[usize]) -> Aggregate {
    let mut set = Signers::none(voters);
    signers.iter().for_each(|index| set.insert(*index));
    Aggregate {
        epoch,
        link,
        signers: set,
    }
}

/// Phases 0 and 1 of votes that arrive.
fn arrive(aggregate: &Aggregate, voters: &[PublicKey]) -> Result<(), Error> {
    sign(aggregate, voters);
    run(endpoints::vote_in, [0, 0], &aggregate.encode())?;
    assert!(host::with(|world| world.attestations.is_empty()));
    let items = host::with(|world| world.emitted.len()) as u64;
    run(endpoints::vote_in, [1, items], &aggregate.encode())
}

/// Counts votes on-chain.
fn count(aggregate: &Aggregate, voters: &[PublicKey]) -> Result<(), Error> {
    sign(aggregate, voters);
    run(endpoints::vote, [0, 0], &aggregate.encode())
}

#[test]
fn a_validator_alone_makes_each_block_final() {
    let alice = keys(0..1);
    start(&alice);
    for height in 1..20u64 {
        begin(height);
        // What waited enters the block.
        let ready = host::with(|world| std::mem::take(&mut world.emitted));
        for item in ready {
            assert_eq!(
                (item.kind, item.endpoint),
                (SlotItemKind::Transact as u64, VOTE)
            );
            let aggregate = Aggregate::decode(&mut &item.payload[..]).unwrap();
            count(&aggregate, &alice).unwrap();
        }
        for vote in head(&alice) {
            assert_eq!(vote.link, link(height - 2, height - 1));
            arrive(&vote, &alice).unwrap();
        }
        assert_eq!(finalized(), height.saturating_sub(3));
    }
    let declared = host::with(|world| world.finalized.clone());
    assert_eq!(
        declared,
        (1..17).map(|height| at(height).hash).collect::<Vec<_>>()
    );
    assert_eq!(host::with(|world| world.score), Some((17 << 28) + 2));
}

#[test]
fn votes_are_cast_once() {
    let four = keys(0..4);
    start(&four);
    begin(1);
    assert!(head(&four).is_empty(), "there is nothing to vote for yet");
    begin(2);
    let sent = head(&four[1..3]);
    assert_eq!(sent, [votes(0, link(0, 1), 4, &[1, 2])]);
    assert!(head(&four[1..3]).is_empty(), "cast already");
    assert!(head(&[[9; 32]]).is_empty(), "no validator");
}

#[test]
fn what_is_not_good_is_refused_with_its_code() {
    let four = keys(0..4);
    start(&four);
    let early = votes(0, link(0, 1), 4, &[0, 1, 2]);
    assert_eq!(arrive(&early, &four), Err(Error::NotStarted));
    (1..5).for_each(begin);
    let quorum = &[0, 1, 3];
    let good = votes(0, link(0, 3), 4, quorum);
    // Signed by another one.
    assert_eq!(count(&good, &keys(5..9)), Err(Error::NotSigned));
    assert_eq!(arrive(&good, &keys(5..9)), Err(Error::NotSigned));
    let table = [
        (votes(0, link(0, 3), 4, &[]), Error::BadSigners),
        (votes(0, link(0, 3), 17, quorum), Error::BadSigners),
        (votes(1, link(0, 3), 4, quorum), Error::WrongEpoch),
        (votes(0, link(1, 3), 4, quorum), Error::UnjustifiedSource),
        (votes(0, link(3, 3), 4, quorum), Error::BadLink),
    ];
    for (bad, error) in &table {
        assert_eq!(count(bad, &four), Err(*error), "{bad:?}");
        assert_eq!(arrive(bad, &four), Err(*error), "{bad:?}");
    }
    assert_eq!(
        count(&votes(0, link(0, 3), 4, &[0, 1]), &four),
        Err(Error::NoQuorum)
    );
    count(&good, &four).unwrap();
    assert_eq!(count(&good, &four), Err(Error::SecondAggregate));
    begin(5);
    assert_eq!(count(&good, &four), Err(Error::Stale));
    let malformed = run(endpoints::vote_in, [0, 0], &[1, 2]);
    assert_eq!(malformed, Err(Error::Malformed));
}

#[test]
fn a_block_without_its_seal_is_invalid() {
    start(&keys(0..4));
    host::with(|world| {
        world.block = Some(BlockInfo {
            genesis: at(0).hash,
            parent: at(0).hash,
            height: 1,
            slot: 2,
            time_ms: 0,
        });
        world.attestations = vec![([1; 32], Scope::Seal, vec![])];
    });
    assert!(std::panic::catch_unwind(|| endpoints::begin(0, 0, 0, 0)).is_err());
    host::with(|world| world.attestations = vec![([2; 32], Scope::Seal, vec![])]);
    assert_eq!(endpoints::begin(0, 0, 0, 0), 0);
}

#[test]
fn without_validators_nothing_is_sealed_or_final() {
    start(&[]);
    begin(1);
    assert!(head(&keys(0..4)).is_empty());
    assert_eq!(view::<Option<Checkpoint>>(endpoints::finalized, ()), None);
    assert_eq!(host::with(|world| world.score), Some(1));
    assert!(!host::with(|world| world.table.contains_key(&vec![33u8])));
    host::reset();
    let twice = vec![[1u8; 32], [1; 32]].encode();
    let refused = run(endpoints::init, [0, 0], &twice);
    assert_eq!(refused, Err(Error::BadValidators));
}

/// Goes through blocks with all votes of these keys in time, up to a height.
fn go_on(from: u64, to: u64, mut voters: impl FnMut() -> Vec<PublicKey>) {
    for height in from..=to {
        let before = voters();
        begin(height);
        for item in host::with(|world| std::mem::take(&mut world.emitted)) {
            if item.kind == SlotItemKind::Transact as u64 {
                let aggregate = Aggregate::decode(&mut &item.payload[..]).unwrap();
                count(&aggregate, &before).unwrap();
            }
        }
        let voters = voters();
        for vote in head(&voters) {
            arrive(&vote, &voters).unwrap();
        }
    }
}

fn stored(slot: u8) -> Vec<PublicKey> {
    host::with(|world| match world.table.get(&vec![slot]) {
        Some(Cap::Data(bytes)) => Decode::decode(&mut &bytes[..]).unwrap(),
        _ => vec![],
    })
}

/// Who votes as of the state.
fn electorate() -> Vec<PublicKey> {
    let finality = host::with(|world| match world.table.get(&vec![33u8]) {
        Some(Cap::Data(bytes)) => Some(jar_poa::Finality::decode(&mut &bytes[..]).unwrap()),
        _ => None,
    });
    let mut voters = stored(32);
    if finality.is_some_and(|finality| finality.is_joint()) {
        voters.extend(stored(34));
    }
    voters
}

fn change(epoch: u64, validators: Vec<PublicKey>, signers: &[usize]) -> SetValidators {
    let mut set = Signers::none(4);
    signers.iter().for_each(|index| set.insert(*index));
    SetValidators {
        epoch,
        validators,
        signers: set,
    }
}

fn decide(change: &SetValidators, present: &[PublicKey]) -> Result<(), Error> {
    let signed = change.signers.indices();
    let signed = signed.map(|index| (present[index], Scope::Direct, change.signed_blob()));
    let signed = signed.collect();
    host::with(|world| {
        world.keys.clear();
        world.attestations = signed;
    });
    run(endpoints::set_validators, [0, 0], &change.encode())
}

#[test]
fn the_validators_change_when_a_block_of_both_sets_is_final() {
    let (old, new) = (keys(0..4), keys(4..8));
    start(&old);
    go_on(1, 10, electorate);
    let good = change(0, new.clone(), &[0, 1, 2]);
    let table = [
        (change(0, new.clone(), &[0, 1]), Error::NoQuorum),
        (change(0, new.clone(), &[]), Error::BadSigners),
        (change(1, new.clone(), &[0, 1, 2]), Error::WrongEpoch),
        (change(0, vec![], &[0, 1, 2]), Error::BadValidators),
        (
            change(0, vec![[4; 32]; 2], &[0, 1, 2]),
            Error::BadValidators,
        ),
        (change(0, keys(0..101), &[0, 1, 2]), Error::BadValidators),
    ];
    for (bad, error) in &table {
        assert_eq!(decide(bad, &old), Err(*error));
    }
    assert_eq!(decide(&good, &new), Err(Error::NotSigned));
    decide(&good, &old).unwrap();
    assert_eq!(decide(&good, &old), Err(Error::ChangePending));

    let mut epochs = vec![(10, 0, 7)];
    for height in 11..40 {
        go_on(height, height, electorate);
        let author: PublicKey = view::<Option<PublicKey>>(endpoints::author, 0u64).unwrap();
        let is_new = u64::from(new.contains(&author));
        let joint = u64::from(electorate().len() == 8);
        if epochs.last().map(|last| (last.1, last.2)) != Some((is_new, joint)) {
            epochs.push((height, is_new, joint));
        }
    }
    let stages: Vec<(u64, u64)> = epochs[1..]
        .iter()
        .map(|(_, new, joint)| (*new, *joint))
        .collect();
    assert_eq!(stages, [(0, 0), (0, 1), (1, 0)], "{epochs:?}");
    assert_eq!(stored(32), new);
    assert_eq!(stored(34), Vec::<PublicKey>::new());
    assert_eq!(finalized(), 36, "finality goes on as before");
    assert_eq!(decide(&good, &old), Err(Error::NotSigned));
}
