//! Guest memory as operations reach it: checked, paid for, read, written.

use jar_abi::Fault;
use jar_pvm::{Access, MemoryError};
use smallvec::SmallVec;

use crate::error::KernelError;
use crate::exec::Stop;
use crate::exec::run::Execution;

/// Bytes of guest memory; the few that most are need no allocation.
pub(super) type Bytes = SmallVec<[u8; 128]>;

impl Execution<'_, '_> {
    /// Checks a range, and pays for the pages of state that it is the first to touch: so that
    /// reading them runs short before an effect. A bad range is a fault.
    pub(super) fn check_memory(
        &mut self,
        address: u32,
        len: u32,
        access: Access,
    ) -> Result<(), Stop> {
        self.check_range(address, len, access)?;
        self.pay_to_read(address, len)
    }

    /// Pays for the pages of a range that nothing has touched yet, and touches them.
    fn pay_to_read(&mut self, address: u32, len: u32) -> Result<(), Stop> {
        let price = self.machine().page_price(address, len, Access::Read);
        if price == 0 {
            return Ok(());
        }
        self.check_range(address, len, Access::Read)?;
        self.charge_for_good(price)?;
        self.machine().touch(address, len).map_err(memory_stop)
    }

    /// Checks a range of which only a part may be touched, if any.
    pub(super) fn check_range(
        &mut self,
        address: u32,
        len: u32,
        access: Access,
    ) -> Result<(), Stop> {
        let checked = self.machine().check(address, len, access);
        checked.map_err(|_| Stop::Fault(Fault::BadRange))
    }

    /// Reads guest memory; a bad range is the guest's fault, a broken store the node's.
    pub(super) fn read_memory(&mut self, address: u32, out: &mut [u8]) -> Result<(), Stop> {
        self.pay_to_read(address, out.len() as u32)?;
        self.machine().read(address, out).map_err(memory_stop)
    }

    /// Writes guest memory, behind which an operation has no effect but its answer: this may run
    /// short. Errors as [`Self::read_memory`].
    pub(super) fn write_memory(&mut self, address: u32, bytes: &[u8]) -> Result<(), Stop> {
        self.pay_to_write(address, bytes.len() as u32)?;
        self.write_paid(address, bytes)
    }

    /// Pays for the pages of a range that is written at once, all of it.
    pub(super) fn pay_to_write(&mut self, address: u32, len: u32) -> Result<(), Stop> {
        match self.machine().page_price(address, len, Access::ReadWrite) {
            0 => Ok(()),
            price => {
                self.check_range(address, len, Access::ReadWrite)?;
                self.charge_for_good(price)
            }
        }
    }

    /// Writes into a range that was paid for.
    pub(super) fn write_paid(&mut self, address: u32, bytes: &[u8]) -> Result<(), Stop> {
        self.machine().write(address, bytes).map_err(memory_stop)
    }

    /// Reads guest memory.
    pub(super) fn read_bytes(&mut self, address: u32, len: u32) -> Result<Bytes, Stop> {
        let mut bytes = Bytes::from_elem(0, len as usize);
        self.read_memory(address, &mut bytes)?;
        Ok(bytes)
    }

    /// As [`Self::read_bytes`], to be kept.
    pub(super) fn read_vec(&mut self, address: u32, len: u32) -> Result<Vec<u8>, Stop> {
        let mut bytes = vec![0; len as usize];
        self.read_memory(address, &mut bytes)?;
        Ok(bytes)
    }
}

fn memory_stop(error: MemoryError) -> Stop {
    match error {
        MemoryError::Access(_) => Stop::Fault(Fault::BadRange),
        MemoryError::Page(error) => KernelError::from(error).into(),
    }
}
