//! What waits is bounded, by peer and in all, and is forgotten when it can't matter any more.

use std::sync::Arc;

use jar_driver::{BlockRef, Ticket, Verdict};
use jar_driver::{Config, Effect, EventOutcome, Gossip, ImportOutcome, Input, Limits, MessageId};
use jar_kernel::block::{Block, Event};

use crate::harness::*;

fn rig(limits: Limits) -> Rig {
    let mut rig = Rig::new(Config { limits, ..config() });
    for number in 1..=9 {
        rig.give(Input::Connected(peer(number)));
    }
    rig
}

/// A block without a parent that anyone here knows.
fn orphan(height: u64, salt: u8) -> Arc<Block> {
    let parent = BlockRef {
        hash: [200 + salt; 32],
        height: height - 1,
        ..BlockRef::default()
    };
    child(&parent, salt)
}

/// Gossips a block whose parent turns out to be unknown; answers whether it is kept.
fn keep_orphan(rig: &mut Rig, number: u8, block: &Arc<Block>) -> bool {
    let (_, effects) = rig.gossip(number, block);
    let [(ticket, _)] = imports(&effects)[..] else {
        panic!("{effects:?}");
    };
    rig.imported(ticket, ImportOutcome::Orphan);
    // One that waits is not given to the kernel again.
    let (_, effects) = rig.gossip(number, block);
    match imports(&effects)[..] {
        [] => true,
        [(ticket, _)] => {
            rig.imported(ticket, ImportOutcome::Trouble);
            false
        }
        _ => panic!("{effects:?}"),
    }
}

#[test]
fn blocks_at_the_kernel_are_bounded() {
    let limits = Limits {
        gossip_blocks: 3,
        ..Limits::default()
    };
    let mut rig = rig(limits);
    let mut tickets: Vec<Ticket> = Vec::new();
    for salt in 0..9 {
        let (message, effects) = rig.gossip(1 + salt, &child(&config().head, salt));
        match imports(&effects)[..] {
            [(ticket, _)] => tickets.push(ticket),
            _ => assert_eq!(verdicts(&effects), [(message, Verdict::Ignore)]),
        }
    }
    assert_eq!(tickets.len(), limits.gossip_blocks);
    // When one is done with there is room again.
    rig.imported(tickets[0], ImportOutcome::Stale);
    let (_, effects) = rig.gossip(1, &child(&config().head, 77));
    assert_eq!(imports(&effects).len(), 1);
}

#[test]
fn orphans_are_bounded_by_peer_and_in_all() {
    let limits = Limits {
        orphans: 5,
        orphans_per_peer: 2,
        ..Limits::default()
    };
    let mut rig = rig(limits);
    let kept = |rig: &mut Rig, number: u8, salts: std::ops::Range<u8>| {
        let blocks = salts.map(|salt| orphan(2, salt));
        blocks
            .filter(|block| keep_orphan(rig, number, block))
            .count()
    };
    assert_eq!(kept(&mut rig, 1, 0..4), 2, "of one peer");
    assert_eq!(kept(&mut rig, 2, 4..8), 2);
    assert_eq!(kept(&mut rig, 3, 8..12), 1, "in all");
    // What a peer sent goes with it.
    rig.give(Input::Disconnected(peer(1)));
    assert_eq!(kept(&mut rig, 4, 12..16), 2);
}

#[test]
fn orphans_are_bounded_in_bytes_and_in_time() {
    let limits = Limits {
        orphan_bytes: 600,
        ..Limits::default()
    };
    let mut rig = rig(limits);
    let blocks: Vec<_> = (0..9).map(|salt| orphan(2, salt)).collect();
    let kept = blocks
        .iter()
        .filter(|block| keep_orphan(&mut rig, 1, block));
    let kept = kept.count();
    assert!((1..9).contains(&kept), "{kept} kept");
    rig.now_ms += 60_000;
    rig.give(Input::Tick);
    assert!(keep_orphan(&mut rig, 2, &blocks[8]), "older ones are gone");
}

#[test]
fn orphans_below_a_finalized_block_are_forgotten() {
    let limits = Limits {
        orphans: 1,
        ..Limits::default()
    };
    let mut rig = rig(limits);
    assert!(keep_orphan(&mut rig, 1, &orphan(2, 0)));
    assert!(!keep_orphan(&mut rig, 2, &orphan(3, 1)), "no room");
    let blocks = chain(2, 9);
    rig.give(Input::Head(named(&blocks[1])));
    rig.give(Input::Finalized(named(&blocks[1])));
    assert!(keep_orphan(&mut rig, 2, &orphan(3, 1)));
}

#[test]
fn a_fork_below_the_finalized_block_is_refused_and_nobody_blamed() {
    let mut rig = rig(Limits::default());
    let (ours, theirs) = (chain(5, 0), chain(6, 1));
    rig.give(Input::Head(named(&ours[4])));
    rig.give(Input::Finalized(named(&ours[2])));
    // Not above it: no need to ask the kernel.
    let (message, effects) = rig.gossip(1, &theirs[2]);
    assert_eq!(verdicts(&effects), [(message, Verdict::Ignore)]);
    // Above it the kernel knows.
    let (message, effects) = rig.gossip(1, &theirs[5]);
    let effects = rig.imported(imports(&effects)[0].0, ImportOutcome::Stale);
    assert_eq!(verdicts(&effects), [(message, Verdict::Ignore)]);
    let info = rig.driver.peers().find(|info| info.id == peer(1));
    assert_eq!(info.expect("connected").badness, 0);
}

/// The kernel chooses the fork; the driver follows it, whatever its length.
#[test]
fn the_head_may_move_to_a_shorter_fork() {
    let mut rig = Rig::new(Config {
        schedule: jar_driver::Schedule {
            builds: true,
            ..config().schedule
        },
        ..config()
    });
    let (long, short) = (chain(5, 0), chain(3, 1));
    let built = |effects: &[Effect]| {
        let mut built = effects.iter();
        built.any(|effect| matches!(effect, Effect::Build { .. }))
    };
    rig.now_ms = 5 * SLOT_MS;
    assert!(!built(&rig.give(Input::Head(named(&long[4])))));
    let better = BlockRef {
        score: 1 << 28,
        ..named(&short[2])
    };
    assert!(
        !built(&rig.give(Input::Head(better))),
        "the slot is done with"
    );
    assert_eq!(rig.driver.status().head, better);
    // The fork that was left behind is known, and a claim of it is no better chain.
    rig.meet(1, status(&long[4]));
    assert!(rig.driver.is_synced());
    rig.now_ms = 6 * SLOT_MS;
    assert!(built(&rig.give(Input::Tick)));
}

#[test]
fn blocks_of_future_slots_are_bounded() {
    let limits = Limits {
        orphans_per_peer: 3,
        ..Limits::default()
    };
    let mut rig = rig(limits);
    rig.now_ms = SLOT_MS / 2;
    let mut waiting = 0;
    for salt in 0..8 {
        let (message, effects) = rig.gossip(1, &child(&config().head, salt));
        match verdicts(&effects)[..] {
            [] => waiting += 1,
            ref verdicts => assert_eq!(verdicts, [(message, Verdict::Ignore)]),
        }
    }
    assert_eq!(waiting, limits.orphans_per_peer);
    rig.now_ms = SLOT_MS;
    assert_eq!(imports(&rig.give(Input::Tick)).len(), waiting);
}

/// Two blocks of one author for one slot are both the network's business: they are the proof, and
/// either may be on the better chain. More are not.
#[test]
fn an_author_of_two_blocks_for_a_slot_harms_nobody() {
    let mut rig = rig(Limits::default());
    for salt in 0..2 {
        let (message, effects) = rig.gossip(1 + salt, &child(&config().head, salt));
        let effects = rig.imported(imports(&effects)[0].0, ImportOutcome::New);
        assert_eq!(verdicts(&effects), [(message, Verdict::Accept)]);
        assert!(banned(&effects).is_empty(), "who forwards is not to blame");
    }
}

#[test]
fn events_at_the_kernel_are_bounded_in_bytes() {
    let limits = Limits {
        event_bytes: 2500,
        event_bytes_per_peer: 1200,
        ..Limits::default()
    };
    let mut rig = rig(limits);
    let mut last = 1000;
    let mut offer = |rig: &mut Rig, number: u8| {
        last += 1;
        let event = Event {
            payload: vec![0; 500],
            ..Event::default()
        };
        let effects = rig.give(Input::Gossip {
            peer: peer(number),
            message: MessageId(last),
            content: Gossip::Events {
                endpoint: 1,
                events: vec![event],
            },
        });
        effects.into_iter().find_map(|effect| match effect {
            Effect::Judge { ticket, .. } => Some(ticket),
            _ => None,
        })
    };
    let of_one: Vec<_> = (0..4).filter_map(|_| offer(&mut rig, 1)).collect();
    assert_eq!(of_one.len(), 2, "of one peer");
    assert!(offer(&mut rig, 2).is_some() && offer(&mut rig, 3).is_some());
    assert!(offer(&mut rig, 4).is_none(), "in all");
    rig.give(Input::Judged {
        ticket: of_one[0],
        outcomes: vec![EventOutcome::Known],
    });
    assert!(offer(&mut rig, 1).is_some());
}
