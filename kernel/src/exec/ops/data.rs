//! Operations on bytes: read_data, mint_data, hash.

use blake2::{Blake2b, Digest};
use jar_abi::{HashAlgorithm, Status};
use jar_cap::{Cap, Data, PAGE_BYTES};
use jar_pvm::Access;

use super::{length, pointer};
use crate::error::KernelError;
use crate::exec::Stop;
use crate::exec::run::{Execution, Flow};

impl Execution<'_, '_> {
    pub(super) fn read_data(&mut self, args: [u64; 6]) -> Result<Flow, Stop> {
        let path = self.path(args[0]);
        let (address, len, offset) = (pointer(args[1]), args[2], args[3]);
        let data = match self.peek(&path)? {
            Some(Cap::Data(data)) => Some(data.clone()),
            _ => None,
        };
        let held = data.as_ref().map_or(0, Data::len);
        let copied = len.min(held.saturating_sub(offset));
        let params = &self.env.params;
        let copy = Self::per_64(copied, params.price_copy_64);
        let read = Self::per_64(bytes_read(held, offset, copied), params.price_hash_64);
        self.charge(self.walk_price(&[&path]) + copy + read)?;
        self.check_range(address, length(len)?, Access::ReadWrite)?;
        let Some(data) = data else {
            self.held(&path?)?;
            return Err(Status::WrongKind.into());
        };
        if offset > data.len() {
            return Err(Status::Range.into());
        }
        self.copy_out(&data, offset, address, copied as u32)?;
        Ok(Flow::Value(copied))
    }

    /// Copies bytes of a Data into memory that was checked, page by page.
    fn copy_out(&mut self, data: &Data, offset: u64, address: u32, len: u32) -> Result<(), Stop> {
        self.pay_to_write(address, len)?;
        let store = self.store();
        if let Some(short) = data.short() {
            let bytes = &short[offset as usize..][..len as usize];
            return self.write_paid(address, bytes);
        }
        let mut done = 0;
        while done < len {
            let at = offset + u64::from(done);
            let page = data.page(store, (at / PAGE_BYTES as u64) as u32)?;
            let from = (at % PAGE_BYTES as u64) as usize;
            let rest = page.as_deref().and_then(|page| page.get(from..));
            let Some(rest) = rest.filter(|rest| !rest.is_empty()) else {
                return Err(
                    KernelError::Internal("a Data is shorter than its length".into()).into(),
                );
            };
            let count = rest.len().min((len - done) as usize);
            self.write_paid(address + done, &rest[..count])?;
            done += count as u32;
        }
        Ok(())
    }

    pub(super) fn mint_data(&mut self, args: [u64; 6]) -> Result<Flow, Stop> {
        let (address, len) = (pointer(args[0]), args[1]);
        let path = self.path(args[2]);
        let params = &self.env.params;
        let price = Self::per_64(len, params.price_copy_64 + params.price_hash_64);
        let price = price.saturating_add(self.walk_price(&[&path]) + params.price_slot_write);
        let data_bytes = params.data_bytes;
        self.charge(price)?;
        self.check_memory(address, length(len)?, Access::Read)?;
        let path = path?;
        let store = self.store();
        self.top().check_vacant(store, &path)?;
        if len > data_bytes {
            return Err(Status::Range.into());
        }
        self.charge_quota(self.slot_quota(&path) + len)?;
        let data = Cap::Data(Data::new(&self.read_bytes(address, len as u32)?));
        self.top().set(store, &path, Some(data))?;
        Ok(Flow::Value(0))
    }

    pub(super) fn hash(&mut self, args: [u64; 6]) -> Result<Flow, Stop> {
        let (address, out) = (pointer(args[1]), pointer(args[3]));
        let params = &self.env.params;
        let price = Self::per_64(args[2], params.price_copy_64 + params.price_hash_64);
        self.charge(price.saturating_add(params.price_host_call))?;
        let len = length(args[2])?;
        self.check_memory(address, len, Access::Read)?;
        self.check_memory(out, 32, Access::ReadWrite)?;
        let algorithm = HashAlgorithm::from_number(args[0]).ok_or(Status::Invalid)?;
        let bytes = self.read_bytes(address, len)?;
        let digest: [u8; 32] = match algorithm {
            HashAlgorithm::Blake2b256 => {
                Blake2b::<blake2::digest::consts::U32>::digest(&bytes).into()
            }
            HashAlgorithm::Sha256 => sha2::Sha256::digest(&bytes).into(),
            HashAlgorithm::Keccak256 => sha3::Keccak256::digest(&bytes).into(),
        };
        self.write_memory(out, &digest)?;
        Ok(Flow::Value(0))
    }
}

/// Bytes of the pages that a range of a Data of `len` bytes lies in: all of them are read, and
/// checked against their hashes.
fn bytes_read(len: u64, offset: u64, count: u64) -> u64 {
    const PAGE: u64 = PAGE_BYTES as u64;
    match count {
        0 => 0,
        _ => (offset + count).next_multiple_of(PAGE).min(len) - offset / PAGE * PAGE,
    }
}
