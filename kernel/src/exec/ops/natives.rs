//! CALL on kernel-issued Instances, answered by the kernel itself.

use jar_abi::{CallStatus, Status};
use jar_cap::{Cap, Data, Hash, Instance, NativeKind, Path, Resource};

use crate::exec::Stop;
use crate::exec::run::{Execution, Flow};
use crate::natives::{Catcher, row_cap};

/// Quota of a type in a Catcher.
const TYPE_QUOTA: u64 = 32;
/// Quota of a row's name in a cap.
const ROW_QUOTA: u64 = 8;
/// Encoded bytes of the longest Catcher.
const CATCHER_LEN_MAX: u64 = 2 + 32 * Catcher::LEN_MAX as u64;

/// What a native endpoint does.
#[derive(Clone, Copy)]
enum NativeCall {
    Add,
    Remove,
    Read,
    Set(Resource),
    Mint(NativeKind),
    Create,
}

impl NativeCall {
    /// The endpoint of this number.
    fn of(kind: NativeKind, endpoint: u64) -> Option<NativeCall> {
        Some(match (kind, endpoint) {
            (NativeKind::Catcher, 0) => NativeCall::Add,
            (NativeKind::Catcher, 1) => NativeCall::Remove,
            (NativeKind::Catcher, 2) => NativeCall::Read,
            (NativeKind::SetGasMeter, 0) => NativeCall::Set(Resource::Gas),
            (NativeKind::SetStorageQuota, 0) => NativeCall::Set(Resource::Quota),
            (NativeKind::MintGas, 0) => NativeCall::Mint(NativeKind::Gas),
            (NativeKind::MintQuota, 0) => NativeCall::Mint(NativeKind::Quota),
            (NativeKind::CreateCatcher, 0) => NativeCall::Create,
            _ => return None,
        })
    }
}

impl Execution<'_, '_> {
    /// Price of calling a native Instance, besides walking to it and setting its slot.
    pub(super) fn native_price(&self, instance: &Instance, endpoint: u64) -> u64 {
        let params = &self.env.params;
        let call = instance
            .native_kind()
            .and_then(|kind| NativeCall::of(kind, endpoint));
        let catcher = Self::per_64(CATCHER_LEN_MAX, params.price_copy_64 + params.price_hash_64);
        match call {
            None => 0,
            Some(NativeCall::Set(_)) => params.price_slot_write,
            // What comes back changes slot 0.
            Some(NativeCall::Mint(_) | NativeCall::Create) => params.price_slot_write,
            Some(NativeCall::Add | NativeCall::Remove | NativeCall::Read) => {
                catcher + params.price_slot_write
            }
        }
    }

    /// Calls a native Instance at a path that was checked.
    pub(super) fn call_native(
        &mut self,
        path: &Path,
        instance: &Instance,
        args: [u64; 6],
    ) -> Result<Flow, Stop> {
        let kind = instance.native_kind().ok_or(Status::WrongKind)?;
        let call = NativeCall::of(kind, args[1]).ok_or(Status::NoEndpoint)?;
        let mut value = 0;
        match call {
            NativeCall::Add | NativeCall::Remove => {
                let marker = self.marker_in_scratch()?;
                self.change_catcher(path, instance, call, marker)?;
            }
            NativeCall::Read => {
                let jar_cap::Body::Native { state, .. } = instance.body() else {
                    return Err(Status::WrongKind.into());
                };
                let data = Cap::Data(Data::new(state));
                self.answer_in_scratch(data, state.len() as u64)?;
            }
            NativeCall::Set(Resource::Gas) => {
                self.sync_gas();
                value = self.gas.set(args[2], args[3]);
                self.load_gas();
            }
            NativeCall::Set(Resource::Quota) => value = self.quota.set(args[2], args[3]),
            NativeCall::Mint(kind) => {
                let cap = Cap::Instance(row_cap(kind, args[2]));
                self.answer_in_scratch(cap, ROW_QUOTA)?;
            }
            NativeCall::Create => {
                let catcher = Catcher::default().into_instance();
                self.answer_in_scratch(Cap::Instance(catcher), 0)?;
            }
        }
        Ok(Flow::Pair(value, CallStatus::Ok as u64))
    }

    fn change_catcher(
        &mut self,
        path: &Path,
        instance: &Instance,
        call: NativeCall,
        marker: Hash,
    ) -> Result<(), Stop> {
        let jar_cap::Body::Native { state, .. } = instance.body() else {
            return Err(Status::WrongKind.into());
        };
        let mut catcher = Catcher::decode(state).ok_or(Status::WrongKind)?;
        match call {
            NativeCall::Add => {
                catcher.add(marker)?;
                self.charge_quota(TYPE_QUOTA)?;
            }
            _ => catcher.remove(&marker),
        }
        let store = self.store();
        let changed = Cap::Instance(catcher.into_instance());
        self.top().set(store, path, Some(changed))
    }

    /// The type of the marker that is the payload: an Instance's, or the one a Type names.
    fn marker_in_scratch(&mut self) -> Result<Hash, Stop> {
        let store = self.store();
        match self.top().scratch(store)? {
            Some(Cap::Instance(instance)) => Ok(instance.type_id()),
            Some(Cap::Type(ty)) => Ok(*ty),
            Some(_) => Err(Status::WrongKind.into()),
            None => Err(Status::Empty.into()),
        }
    }

    /// Puts what a native endpoint returns into slot 0, for which the payload is dropped.
    fn answer_in_scratch(&mut self, cap: Cap, bytes: u64) -> Result<(), Stop> {
        let scratch = jar_cap::Key::from(jar_abi::slots::SCRATCH).into();
        self.charge_quota(self.slot_quota(&scratch) + bytes)?;
        let store = self.store();
        self.top().swap_scratch(store, Some(cap))?;
        Ok(())
    }
}
