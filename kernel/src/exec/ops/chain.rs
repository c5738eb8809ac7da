//! Operations on the chain: attest, result, block_info, score, finalize, log, emit.

use jar_abi::{ATTEST_ABSENT, ATTEST_RECORDED, Status};
use jar_cap::hash::blake2b;
use jar_cap::{Cap, NativeKind, Path};
use jar_pvm::Access;
use parity_scale_codec::Encode;

use super::{length, pointer};
use crate::block::{Record, Scope};
use crate::exec::effects::Effect;
use crate::exec::run::{Execution, Flow};
use crate::exec::{Obligation, Stop};
use crate::natives::is_native;

/// Encoded bytes of the longest scope.
const SCOPE_LEN_MAX: u32 = 17;

impl Execution<'_, '_> {
    pub(super) fn attest(&mut self, args: [u64; 6]) -> Result<Flow, Stop> {
        let path = self.path(args[0]);
        let (key_ptr, blob_ptr, scope_ptr) = (pointer(args[1]), pointer(args[2]), pointer(args[4]));
        let params = &self.env.params;
        let blob_price = Self::per_64(args[3], params.price_copy_64 + params.price_hash_64);
        let price = self.walk_price(&[&path]) + params.price_attest;
        self.charge(price.saturating_add(blob_price))?;
        let (blob_len, scope_len) = (length(args[3])?, length(args[5])?);
        self.check_memory(key_ptr, 32, Access::Read)?;
        self.check_memory(blob_ptr, blob_len, Access::Read)?;
        // No more of it is read, and its length is in no price.
        self.check_range(scope_ptr, scope_len, Access::Read)?;
        self.check_memory(scope_ptr, scope_len.min(SCOPE_LEN_MAX), Access::Read)?;
        self.check_authority(&path?, NativeKind::Attestation)?;
        let mut key = [0; 32];
        self.read_memory(key_ptr, &mut key)?;
        let scope = self.read_scope(scope_ptr, scope_len)?;
        let blob = self.read_bytes(blob_ptr, blob_len)?;
        let blob_hash = match scope {
            Scope::Direct | Scope::Vote { .. } => blake2b(&[&blob]),
            Scope::Seal if blob.is_empty() => [0; 32],
            Scope::Seal => return Err(Status::Invalid.into()),
        };
        let recorded = self.traces.attest(Obligation {
            key,
            scope,
            blob_hash,
        });
        Ok(recorded_answer(recorded))
    }

    pub(super) fn result(&mut self, args: [u64; 6]) -> Result<Flow, Stop> {
        let path = self.path(args[0]);
        let params = &self.env.params;
        let len_max = params.payload_bytes;
        let price = Self::per_64(args[2], params.price_copy_64 + params.price_hash_64);
        self.charge(price.saturating_add(self.walk_price(&[&path])))?;
        let (address, len) = (pointer(args[1]), length(args[2])?);
        self.check_memory(address, len, Access::Read)?;
        self.check_authority(&path?, NativeKind::Attestation)?;
        if u64::from(len) > len_max {
            return Err(Status::Range.into());
        }
        let value = self.read_vec(address, len)?;
        Ok(recorded_answer(self.traces.result(&value)))
    }

    fn read_scope(&mut self, address: u32, len: u32) -> Result<Scope, Stop> {
        if len > SCOPE_LEN_MAX {
            return Err(Status::Invalid.into());
        }
        let mut bytes = [0; SCOPE_LEN_MAX as usize];
        let bytes = &mut bytes[..len as usize];
        self.read_memory(address, bytes)?;
        jar_cap::decode_canonical(bytes).map_err(|_| Status::Invalid.into())
    }

    pub(super) fn block_info(&mut self, args: [u64; 6]) -> Result<Flow, Stop> {
        let bytes = self.block.encode();
        let copy = Self::per_64(bytes.len() as u64, self.env.params.price_copy_64);
        self.charge(self.env.params.price_host_call + copy)?;
        self.write_memory(pointer(args[0]), &bytes)?;
        Ok(Flow::Value(0))
    }

    pub(super) fn score(&mut self, args: [u64; 6]) -> Result<Flow, Stop> {
        let path = self.path(args[0]);
        self.charge(self.walk_price(&[&path]))?;
        self.check_authority(&path?, NativeKind::Consensus)?;
        self.add_effect(Effect::Score(args[1]));
        Ok(Flow::Value(0))
    }

    pub(super) fn finalize(&mut self, args: [u64; 6]) -> Result<Flow, Stop> {
        let path = self.path(args[0]);
        self.charge(self.walk_price(&[&path]) + self.env.params.price_slot_write)?;
        self.check_memory(pointer(args[1]), 32, Access::Read)?;
        self.check_authority(&path?, NativeKind::Consensus)?;
        let mut hash = [0; 32];
        self.read_memory(pointer(args[1]), &mut hash)?;
        self.add_effect(Effect::Finalize(hash));
        Ok(Flow::Value(0))
    }

    /// Checks that a slot holds the native Instance that allows an operation, outside Views.
    fn check_authority(&mut self, path: &Path, kind: NativeKind) -> Result<(), Stop> {
        let cap = self.held(path)?;
        if !is_native(&cap, kind) {
            return Err(Status::WrongKind.into());
        }
        if self.frame().is_view {
            return Err(Status::Denied.into());
        }
        Ok(())
    }

    pub(super) fn log_line(&mut self, args: [u64; 6]) -> Result<Flow, Stop> {
        let params = &self.env.params;
        let (limit, price) = (params.log_bytes, params.price_copy_64);
        let base = params.price_host_call;
        self.charge(Self::per_64(args[2], price).saturating_add(base))?;
        let (address, len) = (pointer(args[1]), length(args[2])?);
        self.check_memory(address, len, Access::Read)?;
        if u64::from(len) > limit {
            return Err(Status::Range.into());
        }
        let bytes = self.read_vec(address, len)?;
        (self.log)(args[0], &bytes);
        Ok(Flow::Value(0))
    }

    pub(super) fn emit(&mut self, args: [u64; 6]) -> Result<Flow, Stop> {
        let path = self.path(args[2]);
        let data_len = match self.peek(&path)? {
            Some(Cap::Data(data)) => data.len(),
            _ => 0,
        };
        let params = &self.env.params;
        let (limit, price) = (
            params.emit_bytes,
            params.price_copy_64 + params.price_hash_64,
        );
        let bytes = args[1].saturating_add(data_len);
        let price = Self::per_64(bytes, price).saturating_add(self.walk_price(&[&path]));
        self.charge(price)?;
        let (topic_ptr, topic_len) = (pointer(args[0]), length(args[1])?);
        self.check_memory(topic_ptr, topic_len, Access::Read)?;
        let Cap::Data(data) = self.held(&path?)? else {
            return Err(Status::WrongKind.into());
        };
        let total = self.effects.record_bytes.saturating_add(bytes);
        if total > limit {
            return Err(Status::Range.into());
        }
        self.charge_quota(bytes)?;
        let topic = self.read_vec(topic_ptr, topic_len)?;
        let mut contents = vec![0; data_len as usize];
        data.read(self.store(), 0, &mut contents)?;
        self.add_effect(Effect::Record(Record {
            topic,
            data: contents,
        }));
        Ok(Flow::Value(0))
    }
}

fn recorded_answer(recorded: bool) -> Flow {
    Flow::Value(if recorded {
        ATTEST_RECORDED
    } else {
        ATTEST_ABSENT
    })
}
