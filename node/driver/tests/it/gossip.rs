//! What is made of blocks and events that peers send.

use std::sync::Arc;

use jar_driver::{
    Effect, EventOutcome, Gossip, ImportOutcome, Input, Limits, MessageId, Offence, Request,
    Response,
};
use jar_kernel::Verdict;
use jar_kernel::block::Event;

use crate::harness::*;

fn rig() -> Rig {
    let mut rig = Rig::new(config());
    for number in [1, 2] {
        rig.give(Input::Connected(peer(number)));
    }
    rig
}

#[test]
fn valid_blocks_are_forwarded_once() {
    let mut rig = rig();
    let blocks = chain(1, 0);
    let (message, effects) = rig.gossip(1, &blocks[0]);
    let [(ticket, 1)] = imports(&effects)[..] else {
        panic!("{effects:?}");
    };
    let (again, effects) = rig.gossip(2, &blocks[0]);
    assert_eq!(verdicts(&effects), [(again, Verdict::Ignore)]);
    let effects = rig.imported(ticket, ImportOutcome::New);
    assert_eq!(verdicts(&effects), [(message, Verdict::Accept)]);
    let (again, effects) = rig.gossip(2, &blocks[0]);
    assert_eq!(verdicts(&effects), [(again, Verdict::Ignore)]);
}

#[test]
fn invalid_blocks_are_remembered_and_their_senders_banned() {
    let mut rig = rig();
    let blocks = chain(1, 0);
    let (message, effects) = rig.gossip(1, &blocks[0]);
    let effects = rig.imported(imports(&effects)[0].0, ImportOutcome::Invalid);
    assert_eq!(verdicts(&effects), [(message, Verdict::Reject)]);
    assert_eq!(banned(&effects), [peer(1)]);
    let (message, effects) = rig.gossip(2, &blocks[0]);
    assert_eq!(verdicts(&effects), [(message, Verdict::Reject)]);
    assert_eq!(banned(&effects), [peer(2)], "everyone could have known");
    // A banned peer that comes back is sent away until its ban ends.
    assert_eq!(banned(&rig.give(Input::Connected(peer(1)))), [peer(1)]);
    rig.now_ms += Limits::default().ban_ms;
    assert_eq!(banned(&rig.give(Input::Connected(peer(1)))), []);
}

#[test]
fn a_bad_copy_says_nothing_of_the_block() {
    let mut rig = rig();
    let good = chain(1, 0).remove(0);
    let mut bad = (*good).clone();
    bad.body.results.clear();
    let bad = Arc::new(bad);
    assert_eq!(good.header.hash(), bad.header.hash());
    let (first, effects) = rig.gossip(1, &bad);
    let bad_ticket = imports(&effects)[0].0;
    let (second, effects) = rig.gossip(2, &good);
    let good_ticket = imports(&effects)[0].0;
    let effects = rig.imported(bad_ticket, ImportOutcome::BadCopy);
    assert_eq!(verdicts(&effects), [(first, Verdict::Reject)]);
    assert_eq!(banned(&effects), [peer(1)]);
    let effects = rig.imported(good_ticket, ImportOutcome::New);
    assert_eq!(verdicts(&effects), [(second, Verdict::Accept)]);
}

#[test]
fn ancestors_of_orphans_are_asked_for_and_imported_in_order() {
    let mut rig = rig();
    let blocks = chain(4, 0);
    let (message, effects) = rig.gossip(1, &blocks[3]);
    let effects = rig.imported(imports(&effects)[0].0, ImportOutcome::Orphan);
    assert_eq!(verdicts(&effects), [(message, Verdict::Ignore)]);
    let asked = requests(&effects);
    let (id, of, request) = asked.last().expect("a request");
    assert_eq!(*of, peer(1));
    let parent = blocks[2].header.hash();
    assert!(matches!(request, Request::Ancestry { hash, .. } if *hash == parent));
    let descending = [2, 1, 0].map(|index: usize| (*blocks[index]).clone());
    let effects = rig.answer(*id, Response::Blocks(descending.to_vec()));
    let (heights, _) = rig.import_all(effects);
    assert_eq!(heights, [1, 2, 3, 4]);
}

#[test]
fn an_ancestry_of_other_blocks_is_a_lie() {
    let mut rig = rig();
    let (blocks, others) = (chain(3, 0), chain(3, 1));
    let (_, effects) = rig.gossip(1, &blocks[2]);
    let effects = rig.imported(imports(&effects)[0].0, ImportOutcome::Orphan);
    let (id, ..) = requests(&effects).pop().expect("a request");
    let effects = rig.answer(id, Response::Blocks(vec![(*others[1]).clone()]));
    assert!(imports(&effects).is_empty());
    let liar = rig.driver.peers().find(|info| info.id == peer(1));
    assert_eq!(liar.expect("connected").badness, 500);
}

#[test]
fn blocks_of_future_slots_wait_for_them() {
    let mut rig = rig();
    let block = chain(1, 0).remove(0);
    rig.now_ms = SLOT_MS - 1;
    let (message, effects) = rig.gossip(1, &block);
    assert!(imports(&effects).is_empty() && verdicts(&effects).is_empty());
    assert!(effects.contains(&Effect::Wake { at_ms: SLOT_MS }));
    rig.now_ms = SLOT_MS;
    let effects = rig.give(Input::Tick);
    let effects = rig.imported(imports(&effects)[0].0, ImportOutcome::New);
    assert_eq!(verdicts(&effects), [(message, Verdict::Accept)]);
    // Too far ahead to be kept.
    let far = child(
        &jar_driver::BlockRef {
            height: 99,
            ..named(&block)
        },
        0,
    );
    let (message, effects) = rig.gossip(1, &far);
    assert_eq!(verdicts(&effects), [(message, Verdict::Ignore)]);
}

#[test]
fn what_cannot_matter_is_not_run() {
    let mut rig = rig();
    let blocks = chain(3, 0);
    rig.give(Input::Head(named(&blocks[2])));
    rig.give(Input::Finalized(named(&blocks[1])));
    let rival = chain(2, 1).remove(1);
    let (message, effects) = rig.gossip(1, &rival);
    assert_eq!(verdicts(&effects), [(message, Verdict::Ignore)]);
    assert!(
        banned(&effects).is_empty(),
        "who holds a rival may be honest"
    );

    let mut other = (*blocks[2]).clone();
    other.header.genesis = [8; 32];
    let (message, effects) = rig.gossip(1, &Arc::new(other));
    assert_eq!(verdicts(&effects), [(message, Verdict::Reject)]);
    let (message, effects) = rig.gossip(9, &blocks[2]);
    assert_eq!(
        verdicts(&effects),
        [(message, Verdict::Ignore)],
        "a stranger"
    );
}

#[test]
fn an_author_fills_no_disk_with_blocks_of_one_slot() {
    let mut rig = rig();
    let limit = Limits::default().blocks_per_slot;
    let mut accepted = 0;
    for salt in 0..10 {
        let (_, effects) = rig.gossip(1, &child(&config().head, salt));
        for (ticket, _) in imports(&effects) {
            rig.imported(ticket, ImportOutcome::New);
            accepted += 1;
        }
    }
    assert_eq!(accepted, limit);
}

#[test]
fn events_are_judged_and_their_senders_with_them() {
    let mut rig = rig();
    let mut judge = |outcomes: Vec<EventOutcome>| {
        let message = MessageId(77);
        let effects = rig.give(Input::Gossip {
            peer: peer(1),
            message,
            content: Gossip::Events {
                endpoint: 3,
                events: vec![Event::default(); outcomes.len()],
            },
        });
        let ticket = effects.iter().find_map(|effect| match effect {
            Effect::Judge {
                ticket,
                endpoint: 3,
                ..
            } => Some(*ticket),
            _ => None,
        });
        let ticket = ticket.expect("events to judge");
        let effects = rig.give(Input::Judged { ticket, outcomes });
        let badness = rig.driver.peers().find(|info| info.id == peer(1));
        (verdicts(&effects)[0].1, badness.map(|info| info.badness))
    };
    use EventOutcome::*;
    assert_eq!(judge(vec![Known, New]), (Verdict::Accept, Some(0)));
    assert_eq!(judge(vec![Known, Busy]), (Verdict::Ignore, Some(0)));
    assert_eq!(judge(vec![New, Rejected]), (Verdict::Accept, Some(1)));
    assert_eq!(judge(vec![Rejected]), (Verdict::Ignore, Some(2)));
    assert_eq!(judge(vec![New, Invalid]), (Verdict::Reject, Some(252)));
}

#[test]
fn what_the_host_sees_counts_too() {
    let mut rig = rig();
    let offence = Offence::Malformed;
    let mut give = || {
        rig.give(Input::Offence {
            peer: peer(1),
            offence,
        })
    };
    assert!((0..3).all(|_| banned(&give()).is_empty()));
    assert_eq!(banned(&give()), [peer(1)]);
}
