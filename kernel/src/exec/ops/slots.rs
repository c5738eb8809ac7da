//! Operations of the Dispatch pipeline: slot_read, slot_emit, slot_keep, slot_clear, dispatch.

use jar_abi::{SlotItemKind, Status};
use jar_cap::{Cap, Data};
use jar_pvm::Access;

use super::{length, pointer};
use crate::dispatch::SlotView;
use crate::exec::effects::Effect;
use crate::exec::run::{Execution, Flow};
use crate::exec::{ATTESTATION_LEN_MAX, Dispatched, EmittedItem, Keep, Stop};

/// Events that one call on a new head may send.
const DISPATCHED_MAX: u64 = 64;
/// Encoded bytes of one pick.
const PICK_LEN: u64 = 8;

impl<'a> Execution<'a, '_> {
    /// The Dispatch slot, where the call may use it.
    fn dispatch_slot(&self) -> Result<&'a SlotView<'a>, Stop> {
        match self.slot {
            Some(slot) if !self.frame().is_view => Ok(slot),
            _ => Err(Status::Denied.into()),
        }
    }

    pub(super) fn slot_read(&mut self, args: [u64; 6]) -> Result<Flow, Stop> {
        let path = self.path(args[1]);
        let item = u32::try_from(args[0]).ok();
        let described = match (self.slot, item) {
            (Some(slot), Some(item)) => slot.describe(item),
            _ => None,
        };
        let len = described.as_ref().map_or(0, Vec::len) as u64;
        let params = &self.env.params;
        let price = Self::per_64(len, params.price_copy_64 + params.price_hash_64);
        self.charge(self.walk_price(&[&path]) + params.price_slot_write + price)?;
        let path = path?;
        self.dispatch_slot()?;
        let described = described.ok_or(Status::Range)?;
        let store = self.store();
        self.top().check_vacant(store, &path)?;
        self.charge_quota(self.slot_quota(&path) + len)?;
        let data = Cap::Data(Data::new(&described));
        self.top().set(store, &path, Some(data))?;
        Ok(Flow::Value(0))
    }

    pub(super) fn slot_emit(&mut self, args: [u64; 6]) -> Result<Flow, Stop> {
        let path = self.path(args[2]);
        let payload_len = match self.peek(&path)? {
            Some(Cap::Data(data)) => data.len(),
            _ => 0,
        };
        let params = &self.env.params;
        let (payload_max, attestations_max) = (params.payload_bytes, params.max_attestations);
        // Each pick copies an attestation.
        let picked = (args[4] / PICK_LEN).saturating_mul(ATTESTATION_LEN_MAX);
        let copied = payload_len.saturating_add(args[4]).saturating_add(picked);
        let price = Self::per_64(copied, params.price_copy_64 + params.price_hash_64);
        self.charge(price.saturating_add(self.walk_price(&[&path])))?;
        let (picks_ptr, picks_len) = (pointer(args[3]), length(args[4])?);
        self.check_memory(picks_ptr, picks_len, Access::Read)?;
        let path = path?;
        let slot = self.dispatch_slot()?;
        let kind = SlotItemKind::from_number(args[0]).ok_or(Status::Invalid)?;
        let endpoint = u8::try_from(args[1]).map_err(|_| Status::NoEndpoint)?;
        if !slot.accepts(kind, endpoint) {
            return Err(Status::NoEndpoint.into());
        }
        let Cap::Data(data) = self.held(&path)? else {
            return Err(Status::WrongKind.into());
        };
        if payload_len > payload_max || u64::from(picks_len) > PICK_LEN * attestations_max + 5 {
            return Err(Status::Range.into());
        }
        let picks = self.read_picks(slot, picks_ptr, picks_len)?;
        let mut payload = vec![0; payload_len as usize];
        data.read(self.store(), 0, &mut payload)?;
        let item = EmittedItem {
            kind,
            endpoint,
            payload,
            picks,
        };
        let size = SlotView::item_size(&item);
        let has_room = slot.has_room(&self.effects, size);
        // A program that is refused may make room and try again.
        self.effects.slot_was_full = !has_room;
        if !has_room {
            return Err(Status::Quota.into());
        }
        self.add_effect(Effect::Item(item));
        Ok(Flow::Value(0))
    }

    /// SCALE `Vec<(item, attestation)>`, each naming an attestation that exists.
    fn read_picks(
        &mut self,
        slot: &SlotView<'_>,
        address: u32,
        len: u32,
    ) -> Result<Vec<(u32, u32)>, Stop> {
        let bytes = self.read_vec(address, len)?;
        let picks: Vec<(u32, u32)> =
            jar_cap::decode_canonical(&bytes).map_err(|_| Status::Invalid)?;
        let known =
            |(item, attestation): &(u32, u32)| slot.attestation(*item, *attestation).is_some();
        if picks.iter().all(known) {
            Ok(picks)
        } else {
            Err(Status::Range.into())
        }
    }

    pub(super) fn slot_keep(&mut self, args: [u64; 6]) -> Result<Flow, Stop> {
        let params = &self.env.params;
        let (copy, base) = (params.price_copy_64, params.price_host_call);
        // Every item is looked at.
        let items = self.slot.map_or(0, |slot| u64::from(slot.len()));
        let price = Self::per_64(args[1], copy).saturating_add(items * copy);
        self.charge(price.saturating_add(base))?;
        let (address, len) = (pointer(args[0]), length(args[1])?);
        self.check_memory(address, len, Access::Read)?;
        let slot = self.dispatch_slot()?;
        let keep = if address == 0 && len == 0 {
            Keep::All
        } else if len == slot.len().div_ceil(8) {
            let bitmap = self.read_vec(address, len)?;
            let (items, bytes) = slot.kept(&bitmap);
            Keep::Some {
                bitmap: bitmap.into(),
                items,
                bytes,
            }
        } else {
            return Err(Status::Range.into());
        };
        self.add_effect(Effect::Keep(keep));
        Ok(Flow::Value(0))
    }

    pub(super) fn dispatch(&mut self, args: [u64; 6]) -> Result<Flow, Stop> {
        let path = self.path(args[1]);
        let payload_len = match self.peek(&path)? {
            Some(Cap::Data(data)) => data.len(),
            _ => 0,
        };
        let params = &self.env.params;
        let payload_max = params.payload_bytes;
        let price = Self::per_64(payload_len, params.price_copy_64 + params.price_hash_64);
        self.charge(price.saturating_add(self.walk_price(&[&path])))?;
        let path = path?;
        let slot = self.dispatch_slot()?;
        if !slot.is_head_phase() {
            return Err(Status::Denied.into());
        }
        let endpoint = u8::try_from(args[0]).map_err(|_| Status::NoEndpoint)?;
        if !slot.takes_events(endpoint) {
            return Err(Status::NoEndpoint.into());
        }
        let Cap::Data(data) = self.held(&path)? else {
            return Err(Status::WrongKind.into());
        };
        if payload_len > payload_max {
            return Err(Status::Range.into());
        }
        if self.effects.dispatched >= DISPATCHED_MAX {
            return Err(Status::Quota.into());
        }
        let mut payload = vec![0; payload_len as usize];
        data.read(self.store(), 0, &mut payload)?;
        let traces = self.traces.used();
        self.add_effect(Effect::Dispatch(Dispatched {
            endpoint,
            payload,
            traces,
        }));
        Ok(Flow::Value(0))
    }

    pub(super) fn slot_clear(&mut self) -> Result<Flow, Stop> {
        self.charge(self.env.params.price_host_call)?;
        self.dispatch_slot()?;
        self.add_effect(Effect::Keep(Keep::None));
        Ok(Flow::Value(0))
    }
}
