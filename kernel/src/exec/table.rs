//! An Instance's own table as its operations see it: pinned slots laid over, mappings
//! overridden by operations on their slots.

use jar_abi::Status;
use jar_cap::{CNode, Cap, Error, Key, NodeStore, Path};

use crate::exec::Stop;
use crate::exec::frame::Frame;

impl Frame {
    /// What a path holds.
    pub fn get(&self, store: &dyn NodeStore, path: &Path) -> Result<Option<Cap>, Stop> {
        let (first, rest) = path.split_first();
        let mut cap = self.loaded.slot(store, &self.table, first)?;
        for key in rest {
            cap = match cap {
                None => None,
                Some(Cap::CNode(node)) => node.get(store, key)?,
                Some(_) => return Err(Status::WrongKind.into()),
            };
        }
        Ok(cap)
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
        if let Some(parent) = path.parent() {
            match self.get(store, &parent)? {
                Some(Cap::CNode(_)) => {}
                _ => return Err(Status::WrongKind.into()),
            }
        }
        match self.get(store, path)? {
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
        if self.is_pinned(store, path)? {
            return Err(Status::Pinned.into());
        }
        self.get_whole(store, path)
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
        Ok(self.table.get(store, &Key::from(jar_abi::slots::SCRATCH))?)
    }

    /// Replaces the scratchpad; answers what it held.
    pub fn swap_scratch(
        &mut self,
        store: &dyn NodeStore,
        cap: Option<Cap>,
    ) -> Result<Option<Cap>, Stop> {
        let key = Key::from(jar_abi::slots::SCRATCH);
        let former = self.table.set(store, &key, cap)?;
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
        set_path(&mut self.table, store, path.keys(), cap)?;
        self.memory.override_slots(path);
        Ok(())
    }
}

/// Sets a path below a table whose parents are known to be CNodes.
pub(crate) fn set_path(
    table: &mut CNode,
    store: &dyn NodeStore,
    keys: &[Key],
    cap: Option<Cap>,
) -> Result<(), Stop> {
    match table.set_path(store, keys, cap) {
        Ok(_) => Ok(()),
        Err(Error::NotCNode(_)) => Err(Status::WrongKind.into()),
        Err(Error::PathLength(_)) => Err(Status::Invalid.into()),
        Err(error) => Err(Stop::Node(error.into())),
    }
}
