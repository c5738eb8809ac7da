//! What a call leaves besides its Instance's new value; a fault takes its part back.

use std::collections::BTreeMap;

use jar_cap::Hash;

use crate::block::Record;
use crate::dispatch::SlotView;
use crate::exec::Cursor;

/// Which items of a Dispatch slot stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Keep {
    /// All of them.
    #[default]
    All,
    /// None.
    None,
    /// Those whose bit is set, least significant bit of byte 0 first; with their number and
    /// bytes.
    Some {
        bitmap: std::sync::Arc<[u8]>,
        items: u64,
        bytes: u64,
    },
}

/// An item appended by `slot_emit`.
#[derive(Clone, Debug)]
pub(crate) struct EmittedItem {
    pub kind: jar_abi::SlotItemKind,
    pub endpoint: u8,
    pub payload: Vec<u8>,
    /// (item, attestation) pairs; [`jar_abi::ARRIVING_ITEM`] is the arriving event.
    pub picks: Vec<(u32, u32)>,
}

/// An event that `dispatch` sends, with the end of the traces it carries.
#[derive(Clone, Debug)]
pub(crate) struct Dispatched {
    pub endpoint: u8,
    pub payload: Vec<u8>,
    pub traces: Cursor,
}

/// One thing asked for.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    Record(Record),
    Score(u64),
    Finalize(Hash),
    Keep(Keep),
    Item(EmittedItem),
    Dispatch(Dispatched),
}

impl Effect {
    fn item_size(&self) -> u64 {
        match self {
            Effect::Item(item) => SlotView::item_size(item),
            _ => 0,
        }
    }

    fn record_size(&self) -> u64 {
        match self {
            Effect::Record(record) => (record.topic.len() + record.data.len()) as u64,
            _ => 0,
        }
    }
}

/// What one frame asked for, and those of its callees that halted, each with its place in the
/// order of all. Dropped when the frame faults.
#[derive(Debug, Default)]
pub(crate) struct EffectLog(Vec<(u64, Effect)>);

impl EffectLog {
    /// Takes over what a callee left.
    pub fn absorb(&mut self, mut other: EffectLog) {
        // The order is in the entries: the shorter list moves.
        if other.0.len() > self.0.len() {
            std::mem::swap(&mut self.0, &mut other.0);
        }
        self.0.append(&mut other.0);
    }
}

/// What the logs of all live frames come to.
#[derive(Debug, Default)]
pub(crate) struct LiveEffects {
    next: u64,
    pub record_bytes: u64,
    pub items: u64,
    pub item_bytes: u64,
    pub dispatched: u64,
    /// Decisions on the Dispatch slot that no fault has undone, by their place in the order.
    keeps: BTreeMap<u64, Keep>,
    /// Whether the last item was refused for want of room.
    pub slot_was_full: bool,
}

impl LiveEffects {
    /// Notes an effect of a frame.
    pub fn add(&mut self, log: &mut EffectLog, effect: Effect) {
        let place = self.next;
        self.next += 1;
        self.record_bytes += effect.record_size();
        self.item_bytes += effect.item_size();
        self.items += u64::from(matches!(effect, Effect::Item(_)));
        self.dispatched += u64::from(matches!(effect, Effect::Dispatch(_)));
        if let Effect::Keep(keep) = &effect {
            // One decision right after another replaces it: the cheapest effect takes no room.
            if let Some((former, _)) = log.0.pop_if(|(_, last)| matches!(last, Effect::Keep(_))) {
                self.keeps.remove(&former);
            }
            self.keeps.insert(place, keep.clone());
        }
        log.0.push((place, effect));
    }

    /// Takes back what a faulted frame left.
    pub fn undo(&mut self, log: EffectLog) {
        for (place, effect) in log.0 {
            self.record_bytes -= effect.record_size();
            self.item_bytes -= effect.item_size();
            match effect {
                Effect::Item(_) => self.items -= 1,
                Effect::Dispatch(_) => self.dispatched -= 1,
                Effect::Keep(_) => {
                    self.keeps.remove(&place);
                }
                _ => {}
            }
        }
    }

    /// The decision on the Dispatch slot that holds now.
    pub fn keep(&self) -> &Keep {
        self.keeps.values().next_back().unwrap_or(&Keep::All)
    }

    /// The root's effects, when it halts.
    pub fn finish(&self, log: EffectLog) -> Effects {
        let mut entries = log.0;
        entries.sort_unstable_by_key(|(place, _)| *place);
        let mut effects = Effects {
            slot_was_full: self.slot_was_full,
            ..Effects::default()
        };
        for (_, effect) in entries {
            match effect {
                Effect::Record(record) => effects.records.push(record),
                Effect::Score(score) => effects.score = Some(score),
                Effect::Finalize(hash) => effects.finalize.push(hash),
                Effect::Keep(keep) => effects.keep = keep,
                Effect::Item(item) => effects.items.push(item),
                Effect::Dispatch(event) => effects.dispatched.push(event),
            }
        }
        effects
    }
}

/// What a top-level call leaves, in the order it was asked for.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub records: Vec<Record>,
    pub score: Option<u64>,
    pub finalize: Vec<Hash>,
    pub keep: Keep,
    pub items: Vec<EmittedItem>,
    pub dispatched: Vec<Dispatched>,
    /// Whether the last item was refused for want of room.
    pub slot_was_full: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(byte: u8) -> Effect {
        Effect::Record(Record {
            topic: vec![byte],
            data: vec![byte; 9],
        })
    }

    fn topics(effects: &Effects) -> Vec<u8> {
        effects.records.iter().map(|r| r.topic[0]).collect()
    }

    #[test]
    fn undoing_takes_one_frames_part_whatever_came_between() {
        let mut live = LiveEffects::default();
        let (mut outer, mut inner) = (EffectLog::default(), EffectLog::default());
        let clear = Effect::Keep(Keep::None);
        live.add(&mut outer, record(1));
        live.add(&mut inner, record(2));
        live.add(&mut outer, record(3));
        live.add(&mut inner, clear);
        live.add(&mut inner, Effect::Score(7));
        assert_eq!((live.record_bytes, live.keep()), (30, &Keep::None));
        live.undo(inner);
        assert_eq!((live.record_bytes, live.keep()), (20, &Keep::All));
        let effects = live.finish(outer);
        assert_eq!((topics(&effects), effects.score), (vec![1, 3], None));
    }

    #[test]
    fn undoing_gives_back_the_room_of_items_and_events() {
        let item = Effect::Item(EmittedItem {
            kind: jar_abi::SlotItemKind::Transact,
            endpoint: 0,
            payload: vec![1; 9],
            picks: Vec::new(),
        });
        let event = Effect::Dispatch(Dispatched {
            endpoint: 0,
            payload: Vec::new(),
            traces: Cursor::default(),
        });
        let (mut live, mut log) = (LiveEffects::default(), EffectLog::default());
        live.add(&mut log, item);
        live.add(&mut log, event);
        assert_eq!((live.items, live.dispatched), (1, 1));
        assert!(live.item_bytes > 9);
        live.undo(log);
        assert_eq!((live.items, live.item_bytes, live.dispatched), (0, 0, 0));
    }

    #[test]
    fn the_order_is_that_of_asking() {
        let mut live = LiveEffects::default();
        let (mut outer, mut inner) = (EffectLog::default(), EffectLog::default());
        for byte in 0..9 {
            let log = if byte % 3 == 0 {
                &mut outer
            } else {
                &mut inner
            };
            live.add(log, record(byte));
            live.add(log, Effect::Score(byte.into()));
        }
        outer.absorb(inner);
        let effects = live.finish(outer);
        assert_eq!(topics(&effects), (0..9).collect::<Vec<u8>>());
        assert_eq!(effects.score, Some(8));
    }
}
