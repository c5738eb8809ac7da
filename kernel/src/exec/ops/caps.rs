//! Operations on slots: copy, move, swap, drop, mint_cnode, kind, next_key, same_type, type_of.

use jar_abi::{Kind, Status};
use jar_cap::{CNode, Cap, Key};
use jar_pvm::Access;

use super::{length, pointer};
use crate::exec::Stop;
use crate::exec::run::{Execution, Flow};

impl Execution<'_, '_> {
    pub(super) fn copy(&mut self, args: [u64; 6]) -> Result<Flow, Stop> {
        let (from, to) = (self.path(args[0]), self.path(args[1]));
        self.charge(self.walk_price(&[&from, &to]) + self.env.params.price_slot_write)?;
        let (from, to) = (from?, to?);
        let store = self.store();
        let cap = self.top().get_whole(store, &from)?;
        self.top().check_vacant(store, &to)?;
        self.charge_quota(self.slot_quota(&to))?;
        self.top().set(store, &to, Some(cap))?;
        Ok(Flow::Value(0))
    }

    pub(super) fn relocate(&mut self, args: [u64; 6]) -> Result<Flow, Stop> {
        let (from, to) = (self.path(args[0]), self.path(args[1]));
        self.charge(self.walk_price(&[&from, &to]) + 2 * self.env.params.price_slot_write)?;
        let (from, to) = (from?, to?);
        let store = self.store();
        let cap = self.top().get_free(store, &from)?;
        self.top().check_vacant(store, &to)?;
        if to.keys().starts_with(from.keys()) {
            // Nothing can be moved below itself.
            return Err(Status::Invalid.into());
        }
        self.charge_quota(self.slot_quota(&to))?;
        self.top().set(store, &from, None)?;
        self.top().set(store, &to, Some(cap))?;
        Ok(Flow::Value(0))
    }

    pub(super) fn swap(&mut self, args: [u64; 6]) -> Result<Flow, Stop> {
        let (a, b) = (self.path(args[0]), self.path(args[1]));
        self.charge(self.walk_price(&[&a, &b]) + 2 * self.env.params.price_slot_write)?;
        let (a, b) = (a?, b?);
        let store = self.store();
        if a.parent() != b.parent() {
            return Err(Status::Invalid.into());
        }
        let (of_a, of_b) = {
            let frame = self.top();
            (frame.get_free(store, &a)?, frame.get_free(store, &b)?)
        };
        self.top().set(store, &a, Some(of_b))?;
        self.top().set(store, &b, Some(of_a))?;
        Ok(Flow::Value(0))
    }

    pub(super) fn drop_cap(&mut self, args: [u64; 6]) -> Result<Flow, Stop> {
        let path = self.path(args[0]);
        self.charge(self.walk_price(&[&path]) + self.env.params.price_slot_write)?;
        let store = self.store();
        let path = path?;
        self.top().check_free(store, &path)?;
        self.top().set(store, &path, None)?;
        Ok(Flow::Value(0))
    }

    pub(super) fn mint_cnode(&mut self, args: [u64; 6]) -> Result<Flow, Stop> {
        let path = self.path(args[0]);
        self.charge(self.walk_price(&[&path]) + self.env.params.price_slot_write)?;
        let path = path?;
        let store = self.store();
        self.top().check_vacant(store, &path)?;
        self.charge_quota(self.slot_quota(&path) + CNODE_QUOTA)?;
        let empty = Cap::CNode(CNode::empty());
        self.top().set(store, &path, Some(empty))?;
        Ok(Flow::Value(0))
    }

    pub(super) fn kind(&mut self, args: [u64; 6]) -> Result<Flow, Stop> {
        let path = self.path(args[0]);
        self.charge(self.walk_price(&[&path]))?;
        let path = path?;
        let store = self.store();
        let held = self.top().look(store, &path)?;
        let (kind, size) = match held.ok_or(Status::Empty)? {
            Cap::Data(data) => (Kind::Data, data.len()),
            Cap::Image(image) => (Kind::Image, u64::from(image.size())),
            Cap::CNode(_) => (Kind::CNode, 0),
            Cap::Instance(_) => (Kind::Instance, 0),
            Cap::Type(_) => (Kind::Type, 0),
        };
        Ok(Flow::Pair(kind as u64, size))
    }

    pub(super) fn next_key(&mut self, args: [u64; 6]) -> Result<Flow, Stop> {
        let path = self.path(args[0]);
        // Looking for a key's successor takes about as much as three steps of a path.
        self.charge(self.walk_price(&[&path]) + 3 * self.env.params.price_path_key)?;
        let (address, out) = (pointer(args[1]), pointer(args[3]));
        let len = length(args[2])? as usize;
        self.check_memory(out, Key::LEN_MAX as u32, Access::ReadWrite)?;
        let mut bytes = [0; Key::LEN_MAX];
        let after = match len {
            0 => None,
            1..=Key::LEN_MAX => {
                self.read_memory(address, &mut bytes[..len])?;
                Some(Key::new(&bytes[..len]).map_err(|_| Status::Invalid)?)
            }
            _ => return Err(Status::Invalid.into()),
        };
        let Cap::CNode(node) = self.held(&path?)? else {
            return Err(Status::WrongKind.into());
        };
        let (key, _) = node
            .next(self.store(), after.as_ref())?
            .ok_or(Status::Empty)?;
        self.write_memory(out, key.as_slice())?;
        Ok(Flow::Value(key.as_slice().len() as u64))
    }

    pub(super) fn same_type(&mut self, args: [u64; 6]) -> Result<Flow, Stop> {
        let (a, b) = (self.path(args[0]), self.path(args[1]));
        self.charge(self.walk_price(&[&a, &b]))?;
        let same = self.type_at(&a?)? == self.type_at(&b?)?;
        Ok(Flow::Value(u64::from(same)))
    }

    pub(super) fn type_of(&mut self, args: [u64; 6]) -> Result<Flow, Stop> {
        let (from, to) = (self.path(args[0]), self.path(args[1]));
        self.charge(self.walk_price(&[&from, &to]) + self.env.params.price_slot_write)?;
        let (from, to) = (from?, to?);
        let ty = self.type_at(&from)?;
        let store = self.store();
        self.top().check_vacant(store, &to)?;
        self.charge_quota(self.slot_quota(&to))?;
        self.top().set(store, &to, Some(Cap::Type(ty.into())))?;
        Ok(Flow::Value(0))
    }

    /// The type an Instance has, or a Type names.
    pub(super) fn type_at(&mut self, path: &jar_cap::Path) -> Result<jar_cap::Hash, Stop> {
        match self.held(path)? {
            Cap::Instance(instance) => Ok(instance.type_id()),
            Cap::Type(ty) => Ok(*ty),
            _ => Err(Status::WrongKind.into()),
        }
    }
}

/// Quota of a minted CNode: its root.
const CNODE_QUOTA: u64 = 32;
