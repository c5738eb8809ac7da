//! The off-chain pipeline: what waits in each Dispatch slot.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use jar_abi::{ARRIVING_ITEM, SlotItemKind};
use jar_cap::Hash;
use jar_cap::image::{Endpoint, Image, Role};
use parity_scale_codec::{Compact, CompactLen, Encode};

use crate::block::{Attestation, Event};
use crate::exec::{ATTESTATION_LEN_MAX, Effects, EmittedItem, Keep, LiveEffects};
use crate::params::Params;

/// Something that waits in a slot. Its attestations verify: they were checked when they came.
#[derive(Debug)]
pub(crate) struct Item {
    pub kind: SlotItemKind,
    pub endpoint: u8,
    pub event: Event,
    /// The event's id at its endpoint.
    pub id: Hash,
    /// Ids of the accepted events this one was made from.
    pub origins: BTreeSet<Hash>,
    size: u64,
}

/// A Dispatch endpoint's aggregation slot.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    items: VecDeque<Arc<Item>>,
    bytes: u64,
    /// Ids of the Dispatch items when they were last handed to the network.
    announced: Vec<Hash>,
}

/// A slot as the program sees it while an event arrives, or on a new head.
pub(crate) struct SlotView<'a> {
    slot: &'a Slot,
    own_endpoint: u8,
    /// The event that arrives; `None` on a new head.
    arriving: Option<&'a Event>,
    image: &'a Image,
    items_max: u64,
    bytes_max: u64,
}

impl SlotView<'_> {
    /// Number of items.
    pub fn len(&self) -> u32 {
        self.slot.items.len() as u32
    }

    /// SCALE(kind, endpoint, payload, [(key, scope, blob_hash)]) of an item.
    pub fn describe(&self, index: u32) -> Option<Vec<u8>> {
        let item = self.slot.items.get(index as usize)?;
        let attestations: Vec<_> = item
            .event
            .attestations
            .iter()
            .map(|a| (a.key, a.scope, a.blob_hash))
            .collect();
        Some(
            (
                item.kind as u64 as u8,
                item.endpoint,
                &item.event.payload,
                attestations,
            )
                .encode(),
        )
    }

    /// An attestation of an item, or of the arriving event.
    pub fn attestation(&self, item: u32, attestation: u32) -> Option<&Attestation> {
        let event = if item == ARRIVING_ITEM {
            self.arriving?
        } else {
            &self.slot.items.get(item as usize)?.event
        };
        event.attestations.get(attestation as usize)
    }

    /// Whether an endpoint takes items of a kind: a Transact endpoint, or the slot's own.
    pub fn accepts(&self, kind: SlotItemKind, endpoint: u8) -> bool {
        match kind {
            SlotItemKind::Transact => self
                .image
                .endpoints
                .get(&endpoint)
                .is_some_and(|e| matches!(e.role, Role::Transact(_))),
            SlotItemKind::Dispatch => endpoint == self.own_endpoint,
        }
    }

    /// Whether `dispatch` may send an event to an endpoint.
    pub fn takes_events(&self, endpoint: u8) -> bool {
        let endpoint = self.image.endpoints.get(&endpoint);
        endpoint.is_some_and(|e| e.role == Role::Dispatch)
    }

    /// Whether this is the call on a new head, which may send events.
    pub fn is_head_phase(&self) -> bool {
        self.arriving.is_none()
    }

    /// Bytes an emitted item counts for at the most.
    pub fn item_size(item: &EmittedItem) -> u64 {
        let lengths = Compact::<u32>::compact_len(&(item.payload.len() as u32)) as u64 + 8;
        item.payload.len() as u64 + lengths + item.picks.len() as u64 * ATTESTATION_LEN_MAX
    }

    /// What a bitmap of items keeps: count and bytes.
    pub fn kept(&self, bitmap: &[u8]) -> (u64, u64) {
        let kept = self.slot.items.iter().enumerate();
        kept.filter(|(index, _)| bit(bitmap, *index))
            .fold((0, 0), |(count, bytes), (_, item)| {
                (count + 1, bytes + item.size)
            })
    }

    /// Whether one more item of a size fits beside what is kept and emitted already.
    pub fn has_room(&self, effects: &LiveEffects, size: u64) -> bool {
        let (kept, kept_bytes) = match effects.keep() {
            Keep::All => (self.slot.items.len() as u64, self.slot.bytes),
            Keep::None => (0, 0),
            Keep::Some { items, bytes, .. } => (*items, *bytes),
        };
        kept + effects.items < self.items_max
            && kept_bytes + effects.item_bytes + size <= self.bytes_max
    }
}

fn bit(bitmap: &[u8], index: usize) -> bool {
    bitmap
        .get(index / 8)
        .is_some_and(|byte| byte >> (index % 8) & 1 == 1)
}

/// All slots, and the ids of everything that waits in them.
#[derive(Debug, Default)]
pub(crate) struct Pipeline {
    slots: BTreeMap<u8, Slot>,
    /// How many waiting items each id stands for, as an item's own or as an origin.
    known: BTreeMap<Hash, u32>,
    /// The Dispatch endpoint that last made an item for a Transact endpoint.
    feeders: BTreeMap<u8, u8>,
}

impl Pipeline {
    /// Whether an event, or an item made from it, waits. Its attestations verify then: the id
    /// covers the signatures.
    pub fn is_known(&self, id: &Hash) -> bool {
        self.known.contains_key(id)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Number of items that wait.
    pub fn len(&self) -> usize {
        self.slots.values().map(|slot| slot.items.len()).sum()
    }

    /// The slot of an endpoint, seen with an arriving event.
    pub fn view<'a>(
        &'a mut self,
        endpoint: u8,
        arriving: Option<&'a Event>,
        image: &'a Image,
        params: &Params,
    ) -> SlotView<'a> {
        SlotView {
            slot: self.slots.entry(endpoint).or_default(),
            own_endpoint: endpoint,
            arriving,
            image,
            items_max: params.dispatch_items,
            bytes_max: params.dispatch_bytes,
        }
    }

    /// Applies what merging an accepted event, or phase 2, asked for; answers the ids of the
    /// Transact items made from the event.
    pub fn merge(
        &mut self,
        endpoint: u8,
        arriving: Option<(Hash, &Event)>,
        effects: Effects,
    ) -> Vec<Hash> {
        let slot = self.slots.entry(endpoint).or_default();
        let appended: Vec<Arc<Item>> = effects
            .items
            .into_iter()
            .map(|item| Arc::new(build_item(slot, arriving, item)))
            .collect();
        let dropped = slot.keep(&effects.keep);
        let ids = appended
            .iter()
            .filter(|item| item.kind == SlotItemKind::Transact)
            .filter(|item| arriving.is_some_and(|(id, _)| item.origins.contains(&id)))
            .map(|item| item.id)
            .collect();
        for item in appended {
            self.learn(&item);
            if item.kind == SlotItemKind::Transact {
                self.feeders.insert(item.endpoint, endpoint);
            }
            let slot = self.slots.entry(endpoint).or_default();
            slot.bytes += item.size;
            slot.items.push_back(item);
        }
        dropped.iter().for_each(|item| self.forget(item));
        ids
    }

    /// The Dispatch endpoint whose slot takes events for a Transact endpoint: the one that made
    /// the last of them, else the Image's first.
    pub fn slot_for(&self, transact: u8, image: &Image) -> Option<u8> {
        let is_dispatch =
            |(index, e): (&u8, &Endpoint)| (e.role == Role::Dispatch).then_some(*index);
        let first = || image.endpoints.iter().find_map(is_dispatch);
        let fed = self.feeders.get(&transact).copied();
        let fed = fed.filter(|slot| {
            let endpoint = image.endpoints.get(slot);
            endpoint.is_some_and(|e| e.role == Role::Dispatch)
        });
        fed.or_else(first)
    }

    /// Drops what an upgraded chain no longer takes: slots of endpoints that are not Dispatch,
    /// items for endpoints that are not Transact.
    pub fn fit(&mut self, image: &Image) {
        let role = |endpoint: &u8| image.endpoints.get(endpoint).map(|e| e.role);
        let mut gone = Vec::new();
        self.slots.retain(|endpoint, slot| {
            let is_dispatch = role(endpoint) == Some(Role::Dispatch);
            slot.items.retain(|item| {
                let stays = is_dispatch
                    && match item.kind {
                        SlotItemKind::Dispatch => true,
                        SlotItemKind::Transact => {
                            matches!(role(&item.endpoint), Some(Role::Transact(_)))
                        }
                    };
                if !stays {
                    slot.bytes -= item.size;
                    gone.push(item.clone());
                }
                stays
            });
            is_dispatch
        });
        gone.iter().for_each(|item| self.forget(item));
    }

    /// Whether a slot has room for an item of this size.
    fn has_room(&self, endpoint: u8, size: u64, params: &Params) -> bool {
        self.slots.get(&endpoint).is_none_or(|slot| {
            (slot.items.len() as u64) < params.dispatch_items
                && slot.bytes + size <= params.dispatch_bytes
        })
    }

    /// Appends a Transact event that a block left behind carried, whose attestations verify, to
    /// the slot of a Dispatch endpoint; `false` when it waits already or there is no room.
    pub fn append(&mut self, slot: u8, endpoint: u8, event: &Event, params: &Params) -> bool {
        let id = event.id(endpoint);
        let size = event.encoded_size() as u64;
        if self.is_known(&id) || !self.has_room(slot, size, params) {
            return false;
        }
        let item = Arc::new(Item {
            kind: SlotItemKind::Transact,
            endpoint,
            event: event.clone(),
            id,
            origins: BTreeSet::new(),
            size,
        });
        self.learn(&item);
        let slot = self.slots.entry(slot).or_default();
        slot.bytes += size;
        slot.items.push_back(item);
        true
    }

    /// Slots whose Dispatch items changed since this was last asked, with the events of all of
    /// these.
    pub fn changed(&mut self) -> Vec<(u8, Vec<Event>)> {
        let mut changed: Vec<(u8, Vec<Event>)> = Vec::new();
        for (endpoint, slot) in &mut self.slots {
            let items = slot.items.iter();
            let dispatch: Vec<&Arc<Item>> = items
                .filter(|item| item.kind == SlotItemKind::Dispatch)
                .collect();
            let ids: Vec<Hash> = dispatch.iter().map(|item| item.id).collect();
            if ids != slot.announced {
                let events = dispatch.iter().map(|item| item.event.clone());
                changed.push((*endpoint, events.collect()));
                slot.announced = ids;
            }
        }
        changed.retain(|(_, events)| !events.is_empty());
        changed
    }

    /// Takes the Transact items of an endpoint, from all slots, in order.
    pub fn drain(&mut self, endpoint: u8, mut take: impl FnMut(u8, &Arc<Item>) -> Drained) {
        let mut gone = Vec::new();
        'slots: for (name, slot) in self.slots.iter_mut() {
            let mut kept = VecDeque::with_capacity(slot.items.len());
            while let Some(item) = slot.items.pop_front() {
                if item.kind != SlotItemKind::Transact || item.endpoint != endpoint {
                    kept.push_back(item);
                    continue;
                }
                match take(*name, &item) {
                    Drained::Gone => {
                        slot.bytes -= item.size;
                        gone.push(item);
                    }
                    Drained::Full => {
                        kept.push_back(item);
                        kept.append(&mut slot.items);
                        slot.items = kept;
                        break 'slots;
                    }
                }
            }
            slot.items = kept;
        }
        gone.iter().for_each(|item| self.forget(item));
    }

    /// Puts drained items back in front, in order: the block they were for was not made.
    pub fn restore(&mut self, taken: Vec<(u8, Arc<Item>)>) {
        for (slot, item) in taken.into_iter().rev() {
            self.learn(&item);
            let slot = self.slots.entry(slot).or_default();
            slot.bytes += item.size;
            slot.items.push_front(item);
        }
    }

    /// Drops items that blocks included.
    pub fn remove_included(&mut self, included: &BTreeSet<Hash>) {
        let mut gone = Vec::new();
        for slot in self.slots.values_mut() {
            slot.items.retain(|item| {
                let stays = !included.contains(&item.id);
                if !stays {
                    slot.bytes -= item.size;
                    gone.push(item.clone());
                }
                stays
            });
        }
        gone.iter().for_each(|item| self.forget(item));
    }

    fn learn(&mut self, item: &Item) {
        for id in std::iter::once(&item.id).chain(&item.origins) {
            *self.known.entry(*id).or_default() += 1;
        }
    }

    fn forget(&mut self, item: &Item) {
        for id in std::iter::once(&item.id).chain(&item.origins) {
            if let Some(count) = self.known.get_mut(id) {
                *count -= 1;
                if *count == 0 {
                    self.known.remove(id);
                }
            }
        }
    }
}

/// What became of an item that a block being built was offered.
pub(crate) enum Drained {
    /// It is in the block, or can never be.
    Gone,
    /// It stays: the block takes nothing more.
    Full,
}

impl Slot {
    /// Drops the items that are not kept.
    fn keep(&mut self, keep: &Keep) -> Vec<Arc<Item>> {
        let bitmap: &[u8] = match keep {
            Keep::All => return Vec::new(),
            Keep::None => &[],
            Keep::Some { bitmap, .. } => bitmap,
        };
        let mut dropped = Vec::new();
        let mut index = 0;
        self.items.retain(|item| {
            let stays = bit(bitmap, index);
            index += 1;
            if !stays {
                dropped.push(item.clone());
            }
            stays
        });
        self.bytes = self.items.iter().map(|item| item.size).sum();
        dropped
    }
}

/// Makes an item of what `slot_emit` asked for, its picks known to exist.
fn build_item(slot: &Slot, arriving: Option<(Hash, &Event)>, emitted: EmittedItem) -> Item {
    let size = SlotView::item_size(&emitted);
    let mut attestations = Vec::with_capacity(emitted.picks.len());
    let mut picked = BTreeSet::new();
    for (index, attestation) in &emitted.picks {
        picked.insert(*index);
        let event = match (*index, arriving) {
            (ARRIVING_ITEM, Some((_, event))) => Some(event),
            (index, _) => slot.items.get(index as usize).map(|item| &item.event),
        };
        let attestation = event.and_then(|event| event.attestations.get(*attestation as usize));
        attestations.extend(attestation.cloned());
    }
    // An item without signatures has nothing to pick: it was made from what arrived.
    let mut origins = BTreeSet::new();
    if picked.remove(&ARRIVING_ITEM) || picked.is_empty() {
        origins.extend(arriving.map(|(id, _)| id));
    }
    for item in picked
        .iter()
        .filter_map(|index| slot.items.get(*index as usize))
    {
        origins.extend(&item.origins);
    }
    let event = Event {
        payload: emitted.payload,
        attestations,
        results: Vec::new(),
    };
    Item {
        id: event.id(emitted.endpoint),
        kind: emitted.kind,
        endpoint: emitted.endpoint,
        event,
        origins,
        size,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(pipeline: &mut Pipeline, payload: u32) {
        let event = Event {
            payload: payload.to_le_bytes().to_vec(),
            ..Event::default()
        };
        let effects = Effects {
            items: vec![EmittedItem {
                kind: SlotItemKind::Transact,
                endpoint: 1,
                payload: event.payload.clone(),
                picks: Vec::new(),
            }],
            ..Effects::default()
        };
        pipeline.merge(0, Some((event.id(0), &event)), effects);
    }

    fn items(pipeline: &Pipeline) -> Vec<*const Item> {
        let slots = pipeline.slots.values();
        slots
            .flat_map(|slot| slot.items.iter().map(Arc::as_ptr))
            .collect()
    }

    #[test]
    fn appending_leaves_what_waits_where_it_is() {
        let mut pipeline = Pipeline::default();
        for payload in 0..2000 {
            let before = items(&pipeline);
            append(&mut pipeline, payload);
            let after = items(&pipeline);
            assert_eq!(after.split_last().map(|(_, rest)| rest), Some(&before[..]));
        }
        let slot = &pipeline.slots[&0];
        assert_eq!(slot.bytes, slot.items.iter().map(|item| item.size).sum());
        assert_eq!(pipeline.len(), 2000);
    }

    #[test]
    fn an_upgrade_leaves_the_items_that_it_still_takes() {
        let image = |roles: [Role; 2]| {
            let endpoint = |role| Endpoint {
                name: format!("{role:?}"),
                role,
                pc: 0,
                regs: BTreeMap::new(),
            };
            Image {
                endpoints: (0..).zip(roles.map(endpoint)).collect(),
                ..Image::default()
            }
        };
        for (roles, left) in [
            ([Role::Dispatch, Role::Transact(7)], 3),
            ([Role::Dispatch, Role::View], 0),
            ([Role::View, Role::Transact(7)], 0),
        ] {
            let mut pipeline = Pipeline::default();
            (0..3).for_each(|payload| append(&mut pipeline, payload));
            pipeline.fit(&image(roles));
            assert_eq!(pipeline.len(), left, "{roles:?}");
            assert_eq!(pipeline.is_empty(), left == 0, "{roles:?}");
            if let Some(slot) = pipeline.slots.get(&0) {
                assert_eq!(slot.bytes, slot.items.iter().map(|item| item.size).sum());
            }
        }
    }

    #[test]
    fn what_was_left_behind_waits_once_and_where_there_is_room() {
        let event = |payload: u8| Event {
            payload: vec![payload],
            ..Event::default()
        };
        let size = event(0).encoded_size() as u64;
        let limits = |dispatch_items, dispatch_bytes| Params {
            dispatch_items,
            dispatch_bytes,
            ..Params::default()
        };
        let mut pipeline = Pipeline::default();
        let mut append = |payload, params: &Params| {
            pipeline.append(0, 1, &event(payload), params);
            pipeline.len()
        };
        assert_eq!(append(1, &limits(9, 9 * size)), 1);
        assert_eq!(append(1, &limits(9, 9 * size)), 1, "it waits already");
        assert_eq!(append(2, &limits(1, 9 * size)), 1, "no place is left");
        assert_eq!(append(2, &limits(2, 2 * size - 1)), 1, "a byte is missing");
        assert_eq!(append(2, &limits(2, 2 * size)), 2);
    }

    #[test]
    fn what_is_drained_and_restored_is_as_before() {
        let mut pipeline = Pipeline::default();
        (0..10).for_each(|payload| append(&mut pipeline, payload));
        let (before, known) = (items(&pipeline), pipeline.known.clone());
        let bytes = pipeline.slots[&0].bytes;
        let mut taken = Vec::new();
        pipeline.drain(1, |slot, item| {
            if taken.len() == 6 {
                return Drained::Full;
            }
            taken.push((slot, item.clone()));
            Drained::Gone
        });
        assert_eq!(pipeline.len(), 4);
        assert_eq!(pipeline.known.len(), 8, "an item's own id and its origin");
        pipeline.restore(taken);
        assert_eq!(items(&pipeline), before);
        assert_eq!(pipeline.known, known);
        assert_eq!(pipeline.slots[&0].bytes, bytes);
        pipeline.drain(1, |_, _| Drained::Gone);
        assert!(pipeline.is_empty());
        assert_eq!((pipeline.len(), pipeline.slots[&0].bytes), (0, 0));
    }
}
