//! Whatever comes, in whatever order: nothing panics, and everything stays bounded.

use std::collections::BTreeSet;
use std::sync::Arc;

use jar_driver::{
    Effect, EventOutcome, Gossip, ImportOutcome, InboundId, Input, Limits, MessageId, Offence,
    Request, RequestFailure, RequestId, Response, Ticket,
};
use jar_kernel::block::{Block, Event};
use proptest::prelude::*;

use crate::harness::*;

/// A step, as small numbers: what, by whom, which.
type Step = (u8, u8, u8, u8);

fn block(which: u8, salt: u8) -> Arc<Block> {
    let len = u64::from(which % 24) + 1;
    chain(len, salt % 2).pop().expect("a block")
}

fn response(what: u8, which: u8) -> Response {
    let blocks = chain(u64::from(which % 70) + 1, what % 2);
    let blocks = blocks.iter().map(|block| (**block).clone());
    match what % 6 {
        0 => Response::Blocks(Vec::new()),
        1 => Response::Blocks(blocks.collect()),
        2 => Response::Blocks(blocks.rev().collect()),
        3 => Response::Status(status(&block(which, what))),
        4 => Response::Refused,
        _ => Response::Records(vec![None; usize::from(which)]),
    }
}

fn input((what, who, which, how): Step, last_message: &mut u64) -> Input {
    let (of, id) = (peer(who % 6), RequestId(u64::from(which)));
    let ticket = Ticket(u64::from(which));
    match what % 14 {
        0 => Input::Connected(of),
        1 => Input::Disconnected(of),
        2 | 3 => {
            *last_message += 1;
            Input::Gossip {
                peer: of,
                message: MessageId(*last_message),
                content: match how % 4 {
                    0 => Gossip::Events {
                        endpoint: which,
                        events: vec![Event::default(); usize::from(how)],
                    },
                    _ => Gossip::Block(block(which, how)),
                },
            }
        }
        4 | 5 => Input::Response {
            id,
            response: response(how, which),
        },
        6 => Input::RequestFailed {
            id,
            failure: RequestFailure::Unreachable,
        },
        7 => Input::Asked {
            peer: of,
            inbound: InboundId(u64::from(which)),
            request: Request::Blocks {
                from: u64::from(which),
                count: u32::from(how),
            },
        },
        8 | 9 => Input::Imported {
            ticket,
            outcome: [
                ImportOutcome::New,
                ImportOutcome::Known,
                ImportOutcome::Orphan,
                ImportOutcome::Stale,
                ImportOutcome::Invalid,
                ImportOutcome::BadCopy,
                ImportOutcome::Trouble,
            ][usize::from(how) % 7],
        },
        10 => Input::Judged {
            ticket,
            outcomes: vec![EventOutcome::New; usize::from(how)],
        },
        11 => Input::Head(named(&block(which, how))),
        12 => Input::Finalized(named(&block(which % 4, 0))),
        _ => Input::Offence {
            peer: of,
            offence: Offence::Stalled,
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn everything_stays_bounded(
        steps in proptest::collection::vec((any::<Step>(), 0..400u64), 1..400)
    ) {
        let limits = Limits {
            requests: 6,
            imports: 4,
            gossip_blocks: 4,
            ..Limits::default()
        };
        let mut rig = Rig::new(jar_driver::Config { limits, ..config() });
        let mut last_message = 0;
        let mut open: BTreeSet<MessageId> = BTreeSet::new();
        for (step, passes_ms) in steps {
            rig.now_ms += passes_ms;
            let input = input(step, &mut last_message);
            if let Input::Gossip { message, .. } = &input {
                open.insert(*message);
            }
            let effects = rig.give(input);
            for (message, _) in verdicts(&effects) {
                prop_assert!(open.remove(&message), "a second verdict");
            }
            let in_flight: usize = rig.driver.peers().map(|info| info.requests).sum();
            // Statuses are asked for beside the others, one a peer at a time or so.
            prop_assert!(in_flight <= limits.requests + 2 * 6, "{in_flight} requests");
            let wakes = effects.iter().filter(|e| matches!(e, Effect::Wake { .. }));
            prop_assert!(wakes.count() <= 1);
            for effect in &effects {
                if let Effect::Wake { at_ms } = effect {
                    prop_assert!(*at_ms > rig.now_ms);
                }
            }
        }
        prop_assert!(open.len() <= limits.gossip_blocks + limits.orphans + 6 * 256);
    }
}
