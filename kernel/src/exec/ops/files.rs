//! Operations on Files: open, save. A File is a Data sealed behind a native Instance.

use jar_abi::{Status, slots};
use jar_cap::{Cap, Instance, Key, NativeKind, Path};

use crate::exec::Stop;
use crate::exec::run::{Execution, Flow};
use crate::natives::is_native;

/// Quota of a File beside its slot: the id of its Data, which the state holds already.
const FILE_QUOTA: u64 = 32;

impl Execution<'_, '_> {
    pub(super) fn open(&mut self, args: [u64; 6]) -> Result<Flow, Stop> {
        let (from, to) = self.file_paths(args)?;
        self.check_file_authority(slots::OPEN, NativeKind::Open)?;
        let cap = self.held(&from)?;
        let data = match &cap {
            Cap::Instance(instance) => instance.sealed().ok_or(Status::WrongKind)?,
            _ => return Err(Status::WrongKind.into()),
        };
        self.fill(&to, Cap::Data(data.clone()), 0)
    }

    pub(super) fn save(&mut self, args: [u64; 6]) -> Result<Flow, Stop> {
        let (from, to) = self.file_paths(args)?;
        self.check_file_authority(slots::SAVE, NativeKind::Save)?;
        let Cap::Data(data) = self.held(&from)? else {
            return Err(Status::WrongKind.into());
        };
        let file = Cap::Instance(Instance::file(data));
        self.fill(&to, file, FILE_QUOTA)
    }

    /// Reads and charges for both paths, the look at the authority included.
    fn file_paths(&mut self, args: [u64; 6]) -> Result<(Path, Path), Stop> {
        let (from, to) = (self.path(args[0]), self.path(args[1]));
        let params = &self.env.params;
        let price = params.price_path_key + params.price_slot_write;
        self.charge(self.walk_price(&[&from, &to]) + price)?;
        Ok((from?, to?))
    }

    /// Checks that the running Instance holds the native that allows an operation, in the slot
    /// of its table that is the native's by convention.
    fn check_file_authority(&mut self, slot: u8, kind: NativeKind) -> Result<(), Stop> {
        let path = Path::from(Key::from(slot));
        let store = self.store();
        match self.top().get(store, &path)? {
            Some(cap) if is_native(&cap, kind) => Ok(()),
            _ => Err(Status::Denied.into()),
        }
    }

    /// Fills a vacant slot, for the slot's quota and `quota` besides.
    fn fill(&mut self, to: &Path, cap: Cap, quota: u64) -> Result<Flow, Stop> {
        let store = self.store();
        self.top().check_vacant(store, to)?;
        self.charge_quota(self.slot_quota(to) + quota)?;
        self.top().set(store, to, Some(cap))?;
        Ok(Flow::Value(0))
    }
}
