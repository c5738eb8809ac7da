//! An Instance's own table while it runs, and as its operations see it: pinned slots laid over,
//! mappings overridden by operations on their slots.

use jar_abi::Status;
use jar_cap::{CNode, Cap, Error, Key, NodeStore, Path, StoreError};

use crate::exec::Stop;
use crate::exec::frame::Frame;

/// Slots that stand beside the map at the most.
const ASIDE_MAX: usize = 8;

/// An Instance's own table while it runs. Slots of one byte that were set stand beside the map
/// until the call ends: most are set more than once, or filled and emptied again.
///
/// What changes is copied where something else holds it. A table that keeps what paths held
/// before can be changed in place and still be undone: the chain's own.
#[derive(Clone, Default)]
pub(crate) struct Table {
    map: CNode,
    /// Instead of what the map holds there.
    aside: Vec<(u8, Option<Cap>)>,
    undo: Option<Box<Undo>>,
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
    /// Keeps from now on what [`Self::undone`] needs.
    pub fn keep(&mut self) {
        self.undo = Some(Box::default());
    }

    fn place(&self, key: &Key) -> Option<usize> {
        let [slot] = key.as_slice() else {
            return None;
        };
        self.aside.iter().position(|(aside, _)| aside == slot)
    }

    /// What a key holds.
    pub fn get(&self, store: &dyn NodeStore, key: &Key) -> Result<Option<&Cap>, StoreError> {
        match self.place(key) {
            Some(place) => Ok(self.aside[place].1.as_ref()),
            None => self.map.get_ref(store, key),
        }
    }

    /// Sets or clears what a key holds.
    pub fn set(
        &mut self,
        store: &dyn NodeStore,
        key: &Key,
        cap: Option<Cap>,
    ) -> Result<(), StoreError> {
        if self.undo.as_ref().is_some_and(|undo| !undo.covers(key)) {
            let before = self.get(store, key)?.cloned();
            if let Some(undo) = &mut self.undo {
                undo.note((*key).into(), before);
            }
        }
        match (self.place(key), key.as_slice()) {
            (Some(place), _) => self.aside[place].1 = cap,
            (None, [slot]) => self.put_aside(store, *slot, cap)?,
            (None, _) => drop(self.map.set(store, key, cap)?),
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
            // Taken out, for what is held twice is copied when it changes.
            let held = self.map.get_mut(store, key)?;
            let held = held.map(|held| std::mem::replace(held, Cap::Type([0; 32])));
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
        if rest.is_empty() {
            return Ok(self.set(store, first, cap)?);
        }
        let Some(Cap::CNode(node)) = self.get_mut(store, first)? else {
            return Err(Status::WrongKind.into());
        };
        let before = match node.set_path(store, rest, cap) {
            Ok(before) => before,
            Err(Error::NotCNode(_)) => return Err(Status::WrongKind.into()),
            Err(error) => return Err(Stop::Node(error.into())),
        };
        if let Some(undo) = self.undo.as_mut().filter(|undo| !undo.covers(first)) {
            undo.note(path.clone(), before);
        }
        Ok(())
    }

    /// Puts into the map what stands beside it.
    fn settle(&mut self, store: &dyn NodeStore) -> Result<(), StoreError> {
        for (slot, cap) in self.aside.drain(..) {
            self.map.set(store, &slot.into(), cap)?;
        }
        Ok(())
    }

    /// The whole map.
    pub fn into_map(mut self, store: &dyn NodeStore) -> Result<CNode, StoreError> {
        self.settle(store)?;
        Ok(self.map)
    }

    /// The map as it was when the table began to [`keep`](Self::keep).
    pub fn undone(mut self, store: &dyn NodeStore) -> Result<CNode, Stop> {
        let undo = self.undo.take().unwrap_or_default();
        for (path, before) in undo.before.into_iter().rev() {
            self.set_path(store, &path, before)?;
        }
        Ok(self.into_map(store)?)
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
    pub fn get(&self, store: &dyn NodeStore, path: &Path) -> Result<Option<Cap>, Stop> {
        Ok(self.look(store, path)?.cloned())
    }

    /// What a path holds, to look at.
    pub fn look(&self, store: &dyn NodeStore, path: &Path) -> Result<Option<&Cap>, Stop> {
        let (first, rest) = path.split_first();
        walk(store, self.loaded.slot(store, &self.table, first)?, rest)
    }

    /// What a path holds; `Empty` where it holds nothing.
    pub fn get_some(&self, store: &dyn NodeStore, path: &Path) -> Result<Cap, Stop> {
        self.get(store, path)?.ok_or(Status::Empty.into())
    }

    /// Checks that a path can be filled: its parent is a CNode, nothing is there.
    pub fn check_vacant(&self, store: &dyn NodeStore, path: &Path) -> Result<(), Stop> {
        if self.is_pinned(store, path)? {
            return Err(Status::Pinned.into());
        }
        self.check_unreserved(path)?;
        let (first, rest) = path.split_first();
        let slot = self.loaded.slot(store, &self.table, first)?;
        let held = match rest.split_last() {
            None => slot,
            Some((last, parents)) => match walk(store, slot, parents)? {
                Some(Cap::CNode(node)) => node.get_ref(store, last)?,
                _ => return Err(Status::WrongKind.into()),
            },
        };
        match held {
            None => Ok(()),
            Some(_) => Err(Status::Occupied.into()),
        }
    }

    /// What a path holds, if it may be copied.
    pub fn get_whole(&self, store: &dyn NodeStore, path: &Path) -> Result<Cap, Stop> {
        self.check_unreserved(path)?;
        self.get_some(store, path)
    }

    /// What a path holds, if it may be taken from there.
    pub fn get_free(&self, store: &dyn NodeStore, path: &Path) -> Result<Cap, Stop> {
        Ok(self.check_free(store, path)?.clone())
    }

    /// As [`Self::get_free`], to look at.
    pub fn check_free(&self, store: &dyn NodeStore, path: &Path) -> Result<&Cap, Stop> {
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
    pub fn scratch(&self, store: &dyn NodeStore) -> Result<Option<Cap>, Stop> {
        let key = Key::from(jar_abi::slots::SCRATCH);
        Ok(self.table.get(store, &key)?.cloned())
    }

    /// Replaces the scratchpad; answers what it held.
    pub fn swap_scratch(
        &mut self,
        store: &dyn NodeStore,
        cap: Option<Cap>,
    ) -> Result<Option<Cap>, Stop> {
        let key = Key::from(jar_abi::slots::SCRATCH);
        let former = self.table.get(store, &key)?.cloned();
        if former.is_some() || cap.is_some() {
            self.table.set(store, &key, cap)?;
        }
        self.memory.override_slots(&Path::from(key));
        Ok(former)
    }

    /// Whether a path leads through a slot that the Image pins, or the one that `set_image`
    /// recorded will.
    fn is_pinned(&self, store: &dyn NodeStore, path: &Path) -> Result<bool, Stop> {
        let first = path.split_first().0;
        if self.loaded.pinned.contains_key(first) {
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
        self.memory.override_slots(path);
        Ok(())
    }
}
