//! An Instance's own table while it runs, and as its operations see it: pinned slots laid over,
//! mappings overridden by operations on their slots.

use jar_abi::{Status, slots};
use jar_cap::{CNode, Cap, Error, Key, NodeStore, Path, StoreError};

use crate::error::KernelError;
use crate::exec::Stop;
use crate::exec::frame::Frame;

/// Slots that stand beside the map at the most.
const ASIDE_MAX: usize = 8;
/// Entries that stand beside maps in slots at the most.
const NEAR_MAX: usize = 8;

/// An Instance's own table while it runs. Slots of one byte that were set stand beside the map
/// until the call ends: most are set more than once, or filled and emptied again. So do Data in
/// maps in such slots, from when they are first looked at.
///
/// What changes is copied where something else holds it. A table that keeps what paths held
/// before can be changed in place and still be undone: the chain's own.
#[derive(Clone, Default)]
pub(crate) struct Table {
    map: CNode,
    /// Instead of what the map holds there.
    aside: Vec<(u8, Option<Cap>)>,
    /// Instead of what the maps in slots hold there; each slot among them holds a map.
    near: Vec<Near>,
    undo: Option<Undo>,
}

/// An entry of a map in a slot: a Data, or none.
#[derive(Clone)]
struct Near {
    slot: u8,
    key: Key,
    data: Option<Cap>,
    /// Whether the map doesn't hold this yet.
    is_changed: bool,
}

/// What paths held before they were set, in that order.
#[derive(Clone, Default)]
struct Undo {
    before: Vec<(Path, Option<Cap>)>,
    /// Slots of one byte that are among them as a whole: what is set there later is undone with
    /// them.
    whole: [u64; 4],
}

impl Undo {
    fn covers(&self, key: &Key) -> bool {
        match key.as_slice() {
            [slot] => self.whole[usize::from(slot >> 6)] >> (slot & 63) & 1 == 1,
            _ => false,
        }
    }

    /// Notes what a path held, which is not covered.
    fn note(&mut self, path: Path, before: Option<Cap>) {
        if let [key] = path.keys()
            && let [slot] = key.as_slice()
        {
            self.whole[usize::from(slot >> 6)] |= 1 << (slot & 63);
        }
        self.before.push((path, before));
    }
}

impl From<CNode> for Table {
    fn from(map: CNode) -> Table {
        Table {
            map,
            ..Table::default()
        }
    }
}

impl Table {
    /// Takes the map of an Instance; the table is empty.
    pub fn fill(&mut self, map: CNode) {
        self.map = map;
    }

    /// Back to an empty table; its room for entries beside maps stays.
    pub fn clear(&mut self) {
        self.map = CNode::empty();
        self.aside.clear();
        self.near.clear();
        self.undo = None;
    }

    /// Keeps from now on what [`Self::undone`] needs.
    pub fn keep(&mut self) {
        self.undo = Some(Undo::default());
    }

    fn place(&self, key: &Key) -> Option<usize> {
        let [slot] = key.as_slice() else {
            return None;
        };
        self.aside.iter().position(|(aside, _)| aside == slot)
    }

    fn near_place(&self, slot: u8, key: &Key) -> Option<usize> {
        let is_it = |near: &Near| near.slot == slot && near.key == *key;
        self.near.iter().position(is_it)
    }

    /// What a key holds; of a map without what stands beside it.
    pub fn get(&self, store: &dyn NodeStore, key: &Key) -> Result<Option<&Cap>, StoreError> {
        match self.place(key) {
            Some(place) => Ok(self.aside[place].1.as_ref()),
            None => self.map.get_ref(store, key),
        }
    }

    /// What a path holds.
    pub fn look(&mut self, store: &dyn NodeStore, path: &Path) -> Result<Option<&Cap>, Stop> {
        let (first, rest) = path.split_first();
        if let ([slot], [key]) = (first.as_slice(), rest) {
            return self.look_near(store, *slot, key);
        }
        self.settle_near(store, first)?;
        walk(store, self.get(store, first)?, rest)
    }

    /// What an entry of a map in a slot holds. A Data, or the lack of anything, stands beside the
    /// map from now on.
    fn look_near(
        &mut self,
        store: &dyn NodeStore,
        slot: u8,
        key: &Key,
    ) -> Result<Option<&Cap>, Stop> {
        if let Some(place) = self.near_place(slot, key) {
            return Ok(self.near[place].data.as_ref());
        }
        let map = self.get(store, &slot.into())?;
        if map.is_none() {
            return Ok(None);
        }
        let data = match walk(store, map, std::slice::from_ref(key))? {
            held @ (None | Some(Cap::Data(_))) => held.cloned(),
            Some(_) => return walk(store, self.get(store, &slot.into())?, &[*key]),
        };
        if self.near.len() >= NEAR_MAX {
            self.settle_all_near(store)?;
        }
        self.near.push(Near {
            slot,
            key: *key,
            data,
            is_changed: false,
        });
        Ok(self.near.last().and_then(|near| near.data.as_ref()))
    }

    /// Whether a path without its last key leads to a map.
    pub fn has_parent(&self, store: &dyn NodeStore, path: &Path) -> Result<bool, Stop> {
        let (first, rest) = path.split_first();
        let parents = match (first.as_slice(), rest) {
            (_, []) => return Ok(true),
            ([slot], [key]) if self.near_place(*slot, key).is_some() => return Ok(true),
            (_, [parents @ .., _]) => parents,
        };
        let parent = walk(store, self.get(store, first)?, parents)?;
        Ok(matches!(parent, Some(Cap::CNode(_))))
    }

    /// Puts into a slot's map what stands beside it.
    #[inline]
    pub fn settle_near(&mut self, store: &dyn NodeStore, slot: &Key) -> Result<(), StoreError> {
        match self.near.is_empty() {
            true => Ok(()),
            false => self.settle_slot(store, slot),
        }
    }

    fn settle_slot(&mut self, store: &dyn NodeStore, slot: &Key) -> Result<(), StoreError> {
        let [number] = slot.as_slice() else {
            return Ok(());
        };
        let is_of = |near: &Near| near.slot == *number;
        if !self.near.iter().any(is_of) {
            return Ok(());
        }
        if !self.near.iter().any(|near| is_of(near) && near.is_changed) {
            self.near.retain(|near| !is_of(near));
            return Ok(());
        }
        let Table {
            map,
            aside,
            near,
            undo,
        } = self;
        let mut held = match aside.iter_mut().find(|(aside, _)| aside == number) {
            Some((_, held)) => held.as_mut(),
            None => map.get_mut(store, slot)?,
        };
        let mut undo = undo.as_mut().filter(|undo| !undo.covers(slot));
        for near in near.extract_if(.., |near| is_of(near)) {
            if let Some(Cap::CNode(node)) = &mut held
                && near.is_changed
            {
                let before = node.set(store, &near.key, near.data)?;
                if let Some(undo) = &mut undo {
                    undo.note([*slot, near.key].into(), before);
                }
            }
        }
        Ok(())
    }

    fn settle_all_near(&mut self, store: &dyn NodeStore) -> Result<(), StoreError> {
        while let Some(near) = self.near.first() {
            let slot = near.slot.into();
            self.settle_near(store, &slot)?;
        }
        Ok(())
    }

    /// Sets or clears what a key holds.
    pub fn set(
        &mut self,
        store: &dyn NodeStore,
        key: &Key,
        cap: Option<Cap>,
    ) -> Result<(), StoreError> {
        self.settle_near(store, key)?;
        self.note_undo(store, key)?;
        match (self.place(key), key.as_slice()) {
            (Some(place), _) => self.aside[place].1 = cap,
            (None, [slot]) => self.put_aside(store, *slot, cap)?,
            (None, _) => drop(self.map.set(store, key, cap)?),
        }
        Ok(())
    }

    /// Sets or clears a slot of one byte; answers what it held.
    pub fn replace(
        &mut self,
        store: &dyn NodeStore,
        slot: u8,
        cap: Option<Cap>,
    ) -> Result<Option<Cap>, Stop> {
        let key = Key::from(slot);
        self.settle_near(store, &key)?;
        self.note_undo(store, &key)?;
        if let Some(place) = self.place(&key) {
            return Ok(std::mem::replace(&mut self.aside[place].1, cap));
        }
        let held = self.map.get_ref(store, &key)?.cloned();
        if held.is_some() || cap.is_some() {
            self.put_aside(store, slot, cap)?;
        }
        Ok(held)
    }

    /// Notes what a key holds that is about to be set, where that is to be undone.
    #[inline]
    fn note_undo(&mut self, store: &dyn NodeStore, key: &Key) -> Result<(), StoreError> {
        match &self.undo {
            Some(undo) if !undo.covers(key) => self.note_undo_of(store, key),
            _ => Ok(()),
        }
    }

    fn note_undo_of(&mut self, store: &dyn NodeStore, key: &Key) -> Result<(), StoreError> {
        let before = self.get(store, key)?.cloned();
        if let Some(undo) = &mut self.undo {
            undo.note((*key).into(), before);
        }
        Ok(())
    }

    /// Lets a slot, which doesn't yet, stand beside the map.
    fn put_aside(
        &mut self,
        store: &dyn NodeStore,
        slot: u8,
        cap: Option<Cap>,
    ) -> Result<(), StoreError> {
        if self.aside.len() >= ASIDE_MAX {
            self.settle(store)?;
        }
        self.aside.push((slot, cap));
        Ok(())
    }

    /// What a key holds, to be changed: a slot of one byte stands beside the map from now on.
    fn get_mut(
        &mut self,
        store: &dyn NodeStore,
        key: &Key,
    ) -> Result<Option<&mut Cap>, StoreError> {
        if let [slot] = key.as_slice()
            && self.place(key).is_none()
        {
            // Taken out, for what is held twice is copied when it changes; what stands there
            // meanwhile is never looked at.
            let held = self.map.get_mut(store, key)?;
            let held = held.map(|held| std::mem::replace(held, Cap::CNode(CNode::empty())));
            self.put_aside(store, *slot, held)?;
        }
        match self.place(key) {
            Some(place) => Ok(self.aside[place].1.as_mut()),
            None => self.map.get_mut(store, key),
        }
    }

    /// As [`set_path`](CNode::set_path) of a map.
    pub fn set_path(
        &mut self,
        store: &dyn NodeStore,
        path: &Path,
        cap: Option<Cap>,
    ) -> Result<(), Stop> {
        let (first, rest) = path.split_first();
        match (first.as_slice(), rest) {
            (_, []) => return Ok(self.set(store, first, cap)?),
            ([slot], [key]) => {
                if let Some(place) = self.near_place(*slot, key) {
                    if matches!(cap, None | Some(Cap::Data(_))) {
                        let near = &mut self.near[place];
                        (near.data, near.is_changed) = (cap, true);
                        return Ok(());
                    }
                    self.near.swap_remove(place);
                }
            }
            _ => self.settle_near(store, first)?,
        }
        let Some(Cap::CNode(node)) = self.get_mut(store, first)? else {
            return Err(Status::WrongKind.into());
        };
        let before = match node.set_path(store, rest, cap) {
            Ok(before) => before,
            Err(Error::NotCNode(_)) => return Err(Status::WrongKind.into()),
            Err(error) => return Err(KernelError::from(error).into()),
        };
        if let Some(undo) = self.undo.as_mut().filter(|undo| !undo.covers(first)) {
            undo.note(path.clone(), before);
        }
        Ok(())
    }

    /// Puts into the map the slots that stand beside it.
    fn settle(&mut self, store: &dyn NodeStore) -> Result<(), StoreError> {
        for (slot, cap) in self.aside.drain(..) {
            if cap.is_some() || !self.map.is_empty() {
                self.map.set(store, &slot.into(), cap)?;
            }
        }
        Ok(())
    }

    /// Takes the whole map: an empty one stays.
    pub fn take_map(&mut self, store: &dyn NodeStore) -> Result<CNode, Stop> {
        self.undo = None;
        self.settle_all_near(store)?;
        self.settle(store)?;
        Ok(std::mem::take(&mut self.map))
    }

    /// Takes the map as it was when the table began to [`keep`](Self::keep).
    pub fn take_undone(&mut self, store: &dyn NodeStore) -> Result<CNode, Stop> {
        let undo = self.undo.take().unwrap_or_default();
        self.near.clear();
        for (path, before) in undo.before.into_iter().rev() {
            self.set_path(store, &path, before)?;
        }
        self.take_map(store)
    }
}

/// What a path through CNodes holds that starts at a value.
fn walk<'c>(
    store: &dyn NodeStore,
    start: Option<&'c Cap>,
    keys: &[Key],
) -> Result<Option<&'c Cap>, Stop> {
    let mut cap = start;
    for key in keys {
        cap = match cap {
            None => None,
            Some(Cap::CNode(node)) => node.get_ref(store, key)?,
            Some(_) => return Err(Status::WrongKind.into()),
        };
    }
    Ok(cap)
}

impl Frame {
    /// What a path holds.
    pub fn get(&mut self, store: &dyn NodeStore, path: &Path) -> Result<Option<Cap>, Stop> {
        Ok(self.look(store, path)?.cloned())
    }

    /// What a path holds, to look at.
    pub fn look(&mut self, store: &dyn NodeStore, path: &Path) -> Result<Option<&Cap>, Stop> {
        let (first, rest) = path.split_first();
        match self.loaded.pinned(first) {
            None => self.table.look(store, path),
            pinned => walk(store, pinned, rest),
        }
    }

    /// What a path holds; `Empty` where it holds nothing.
    pub fn get_some(&mut self, store: &dyn NodeStore, path: &Path) -> Result<Cap, Stop> {
        self.get(store, path)?.ok_or(Status::Empty.into())
    }

    /// Checks that a path can be filled: its parent is a CNode, nothing is there.
    pub fn check_vacant(&mut self, store: &dyn NodeStore, path: &Path) -> Result<(), Stop> {
        if self.is_pinned(store, path)? {
            return Err(Status::Pinned.into());
        }
        self.check_unreserved(path)?;
        if self.table.look(store, path)?.is_some() {
            return Err(Status::Occupied.into());
        }
        match self.table.has_parent(store, path)? {
            true => Ok(()),
            false => Err(Status::WrongKind.into()),
        }
    }

    /// What a path holds, if it may be copied.
    pub fn get_whole(&mut self, store: &dyn NodeStore, path: &Path) -> Result<Cap, Stop> {
        self.check_unreserved(path)?;
        self.get_some(store, path)
    }

    /// What a path holds, if it may be taken from there.
    pub fn get_free(&mut self, store: &dyn NodeStore, path: &Path) -> Result<Cap, Stop> {
        Ok(self.check_free(store, path)?.clone())
    }

    /// As [`Self::get_free`], to look at.
    pub fn check_free(&mut self, store: &dyn NodeStore, path: &Path) -> Result<&Cap, Stop> {
        if self.is_pinned(store, path)? {
            return Err(Status::Pinned.into());
        }
        self.check_unreserved(path)?;
        self.look(store, path)?.ok_or(Status::Empty.into())
    }

    /// Refuses a path at which, or below which, an Instance waits: until its call ends the slot
    /// can't be taken, replaced, copied or dropped.
    pub fn check_unreserved(&self, path: &Path) -> Result<(), Stop> {
        // Paths are ordered key by key: those below a path come right after it.
        match self.waiting.range(path..).next() {
            Some((origin, _)) if origin.keys().starts_with(path.keys()) => Err(Status::Busy.into()),
            _ => Ok(()),
        }
    }

    /// What the scratchpad holds.
    pub fn scratch(&mut self, store: &dyn NodeStore) -> Result<Option<Cap>, Stop> {
        let key = Key::from(slots::SCRATCH);
        self.table.settle_near(store, &key)?;
        Ok(self.table.get(store, &key)?.cloned())
    }

    /// Replaces the scratchpad; answers what it held.
    pub fn swap_scratch(
        &mut self,
        store: &dyn NodeStore,
        cap: Option<Cap>,
    ) -> Result<Option<Cap>, Stop> {
        let former = self.table.replace(store, slots::SCRATCH, cap)?;
        self.memory.override_slots(&[slots::SCRATCH.into()]);
        Ok(former)
    }

    /// Whether a path leads through a slot that the Image pins, or the one that `set_image`
    /// recorded will.
    fn is_pinned(&self, store: &dyn NodeStore, path: &Path) -> Result<bool, Stop> {
        let first = path.split_first().0;
        if self.loaded.pinned(first).is_some() {
            return Ok(true);
        }
        match &self.next_image {
            None => Ok(false),
            Some(image) => Ok(image.image(store)?.pinned.contains_key(first)),
        }
    }

    /// Sets a path that was checked, and lets this operation win over the mappings of that
    /// slot and of slots below it.
    pub fn set(
        &mut self,
        store: &dyn NodeStore,
        path: &Path,
        cap: Option<Cap>,
    ) -> Result<(), Stop> {
        self.table.set_path(store, path, cap)?;
        self.memory.override_slots(path.keys());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use jar_cap::{Data, MemoryStore};
    use proptest::prelude::*;

    use super::*;

    /// Nothing, a small Data, or an empty map.
    fn cap(which: u8) -> Option<Cap> {
        match which {
            0..3 => None,
            3 => Some(Cap::CNode(CNode::empty())),
            _ => Some(Cap::Data(Data::new(&[which]))),
        }
    }

    /// More entries than stand beside their maps, of which some are maps again.
    fn path() -> impl Strategy<Value = Path> {
        let long = |byte: u8| Key::from([byte; 32]);
        prop_oneof![
            1 => (0u8..3).prop_map(|slot| Path::from(Key::from(slot))),
            8 => (0u8..2, 0u8..12).prop_map(move |(slot, key)| [slot.into(), long(key)].into()),
            2 => (0u8..2, 0u8..3, 0u8..3)
                .prop_map(move |(slot, key, last)| Path::new([slot.into(), long(key), last.into()])
                    .expect("three keys")),
        ]
    }

    proptest! {
        #[test]
        fn a_table_is_a_map_of_maps_and_can_be_undone(
            before in prop::collection::vec((path(), 0u8..9), 0..24),
            steps in prop::collection::vec((path(), prop::option::of(0u8..9)), 0..64),
        ) {
            let store = MemoryStore::new();
            let mut model = CNode::empty();
            for slot in 0..2 {
                model.set(&store, &slot.into(), cap(3)).expect("in memory");
            }
            for (path, which) in before {
                // Where there is no map nothing is put.
                let _ = model.set_path(&store, path.keys(), cap(which));
            }
            let root = model.root();
            let mut table = Table::from(model.clone());
            table.keep();
            for (path, set) in steps {
                let held = model.get_path(&store, path.keys()).ok();
                let looked = table.look(&store, &path).ok().map(|held| held.cloned());
                prop_assert_eq!(&looked, &held);
                let Some(which) = set.filter(|_| held.is_some()) else { continue };
                let has_parent = table.has_parent(&store, &path).expect("in memory");
                prop_assert_eq!(has_parent, model.clone().set_path(&store, path.keys(), None).is_ok());
                if has_parent {
                    model.set_path(&store, path.keys(), cap(which)).expect("a map is there");
                    match path.keys() {
                        [slot] => {
                            let former = table.replace(&store, slot.as_slice()[0], cap(which));
                            prop_assert_eq!(former.ok(), held);
                        }
                        _ => table.set_path(&store, &path, cap(which)).expect("a map is there"),
                    }
                }
            }
            let undone = table.clone().take_undone(&store).expect("in memory");
            prop_assert_eq!(undone.root(), root);
            let map = table.take_map(&store).expect("in memory");
            prop_assert_eq!(map.root(), model.root());
        }
    }
}
