//! Operations on programs and lineages: make_image, set_image, derive_spawn, subtype.

use std::sync::Arc;

use jar_abi::Status;
use jar_cap::image::Image;
use jar_cap::{CNode, Cap, ImageRef, Instance, Key, NodeStore, derive_type};

use crate::exec::Stop;
use crate::exec::frame::Frame;
use crate::exec::run::{Execution, Flow};
use crate::programs::{Loaded, decode_image};

/// Quota of an Instance beside its slot: its type and the id of its Image.
const INSTANCE_QUOTA: u64 = 64;

impl Execution<'_, '_> {
    pub(super) fn make_image(&mut self, args: [u64; 6]) -> Result<Flow, Stop> {
        let (from, to) = (self.path(args[0]), self.path(args[1]));
        let len = match self.peek(&from)? {
            Some(Cap::Data(data)) => data.len(),
            _ => 0,
        };
        let params = &self.env.params;
        let price = Self::per_64(len, params.price_image_64);
        let walk = self.walk_price(&[&from, &to]) + params.price_slot_write;
        self.charge(price.saturating_add(walk))?;
        let (from, to) = (from?, to?);
        let store = self.store();
        let Cap::Data(data) = self.held(&from)? else {
            return Err(Status::WrongKind.into());
        };
        self.top().check_vacant(store, &to)?;
        let params = &self.env.params;
        if len > params.image_bytes {
            return Err(Status::Range.into());
        }
        let mut bytes = vec![0; len as usize];
        data.read(store, 0, &mut bytes)?;
        let image = decode_image(&bytes, params).map_err(|_| Status::Invalid)?;
        self.charge_quota(self.slot_quota(&to) + len)?;
        let image = Cap::Image(ImageRef::new(image));
        self.top().set(store, &to, Some(image))?;
        Ok(Flow::Value(0))
    }

    pub(super) fn set_image(&mut self, args: [u64; 6]) -> Result<Flow, Stop> {
        let path = self.path(args[0]);
        let image = match self.peek(&path)? {
            Some(Cap::Image(image)) => Some(image.clone()),
            _ => None,
        };
        let price = self.walk_price(&[&path]) + self.env.params.price_slot_write;
        let loaded = self.charge_with_image(price, image.as_ref())?;
        self.held(&path?)?;
        let loaded = loaded.ok_or(Status::WrongKind)?;
        self.frame().check_unused(self.store(), &loaded.image)?;
        self.top().next_image = Some(loaded.handle.clone());
        Ok(Flow::Value(0))
    }

    pub(super) fn derive_spawn(&mut self, args: [u64; 6]) -> Result<Flow, Stop> {
        let (image_at, table_at, to) = (self.path(args[0]), self.path(args[1]), self.path(args[2]));
        let image = match self.peek(&image_at)? {
            Some(Cap::Image(image)) => Some(image.clone()),
            _ => None,
        };
        let walk = self.walk_price(&[&image_at, &table_at, &to]);
        let price = walk + 2 * self.env.params.price_slot_write;
        let loaded = self.charge_with_image(price, image.as_ref())?;
        let (image_at, table_at, to) = (image_at?, table_at?, to?);
        let store = self.store();
        self.held(&image_at)?;
        let loaded = loaded.ok_or(Status::WrongKind)?;
        let Cap::CNode(table) = self.top().get_free(store, &table_at)? else {
            return Err(Status::WrongKind.into());
        };
        self.top().check_vacant(store, &to)?;
        if to.keys().starts_with(table_at.keys()) {
            // The CNode is consumed: nothing can be put below it.
            return Err(Status::Invalid.into());
        }
        check_pins_free(store, &loaded.image, &table)?;
        self.charge_quota(self.slot_quota(&to) + INSTANCE_QUOTA)?;
        let image = loaded.handle.clone();
        let type_id = derive_type(&self.frame().type_id, &image.id());
        let instance = Cap::Instance(Instance::program(type_id, image, table));
        self.top().set(store, &table_at, None)?;
        self.top().set(store, &to, Some(instance))?;
        Ok(Flow::Value(0))
    }

    pub(super) fn subtype(&mut self, args: [u64; 6]) -> Result<Flow, Stop> {
        let (ty, image, to) = (self.path(args[0]), self.path(args[1]), self.path(args[2]));
        let walk = self.walk_price(&[&ty, &image, &to]);
        self.charge(walk + self.env.params.price_slot_write)?;
        let (ty, image, to) = (ty?, image?, to?);
        let store = self.store();
        let spawner = self.type_at(&ty)?;
        let Cap::Image(image) = self.held(&image)? else {
            return Err(Status::WrongKind.into());
        };
        self.top().check_vacant(store, &to)?;
        self.charge_quota(self.slot_quota(&to))?;
        let derived = Cap::Type(derive_type(&spawner, &image.id()).into());
        self.top().set(store, &to, Some(derived))?;
        Ok(Flow::Value(0))
    }

    /// Charges an operation's price and that of looking at an Image's slots, which is that of
    /// entering it for the first time in this event; answers the Image ready to run.
    fn charge_with_image(
        &mut self,
        price: u64,
        image: Option<&ImageRef>,
    ) -> Result<Option<Arc<Loaded>>, Stop> {
        let Some(image) = image else {
            self.charge(price)?;
            return Ok(None);
        };
        let loaded = self.prepare(image)?;
        let pins = loaded.pinned.len() as u64 * self.env.params.price_path_key;
        self.charge(price + pins)?;
        Ok(Some(loaded))
    }
}

impl Frame {
    /// Checks that none of the slots that an Image pins is in use: filled, waited for, or shown
    /// in memory, from where it would be filled at the halt.
    fn check_unused(&self, store: &dyn NodeStore, image: &Image) -> Result<(), Stop> {
        for key in image.pinned.keys() {
            if self.table.get(store, key)?.is_some() {
                return Err(Status::Occupied.into());
            }
        }
        let is_new =
            |key: &Key| image.pinned.contains_key(key) && !self.loaded.pinned.contains_key(key);
        let first = |path: &jar_cap::Path| *path.split_first().0;
        let is_shown = self
            .memory
            .persistent_paths()
            .any(|path| is_new(&first(path)));
        let is_waited_for = self.waiting.keys().any(|path| is_new(&first(path)));
        if is_shown || is_waited_for {
            return Err(Status::Occupied.into());
        }
        Ok(())
    }
}

/// Checks that a table holds nothing in the slots that an Image pins.
fn check_pins_free(store: &dyn NodeStore, image: &Image, table: &CNode) -> Result<(), Stop> {
    for key in image.pinned.keys() {
        if table.contains(store, key)? {
            return Err(Status::Occupied.into());
        }
    }
    Ok(())
}
