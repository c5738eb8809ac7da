//! The host calls, one file a group. Each works in three steps: decode and look, charge, do.

mod caps;
mod chain;
mod data;
mod files;
mod images;
mod invoke;
mod natives;
mod slots;
mod yields;

use jar_abi::HostCall;
use jar_cap::{Cap, Path};

use crate::exec::Stop;
use crate::exec::run::{Execution, Flow};

impl Execution<'_, '_> {
    /// Carries out one host call of the running frame.
    pub(crate) fn perform(&mut self, call: HostCall) -> Result<Flow, Stop> {
        let regs = *self.frame().machine.regs();
        let args: [u64; 6] = std::array::from_fn(|i| regs[7 + i]);
        match call {
            HostCall::Halt => Ok(Flow::Halt(args[0])),
            HostCall::Copy => self.copy(args),
            HostCall::Move => self.relocate(args),
            HostCall::Swap => self.swap(args),
            HostCall::Drop => self.drop_cap(args),
            HostCall::MintCnode => self.mint_cnode(args),
            HostCall::Kind => self.kind(args),
            HostCall::NextKey => self.next_key(args),
            HostCall::SameType => self.same_type(args),
            HostCall::TypeOf => self.type_of(args),
            HostCall::ReadData => self.read_data(args),
            HostCall::MintData => self.mint_data(args),
            HostCall::Call => self.call(args),
            HostCall::Yield => self.yield_to_catcher(args),
            HostCall::Resume => self.resume(args),
            HostCall::Abort => self.abort(args),
            HostCall::Detach => self.detach(args),
            HostCall::Attest => self.attest(args),
            HostCall::Result => self.result(args),
            HostCall::BlockInfo => self.block_info(args),
            HostCall::Score => self.score(args),
            HostCall::Finalize => self.finalize(args),
            HostCall::SlotRead => self.slot_read(args),
            HostCall::SlotEmit => self.slot_emit(args),
            HostCall::SlotKeep => self.slot_keep(args),
            HostCall::SlotClear => self.slot_clear(),
            HostCall::Dispatch => self.dispatch(args),
            HostCall::GasLeft => self.gas_left(),
            HostCall::Log => self.log_line(args),
            HostCall::Emit => self.emit(args),
            HostCall::Hash => self.hash(args),
            HostCall::SetImage => self.set_image(args),
            HostCall::DeriveSpawn => self.derive_spawn(args),
            HostCall::MakeImage => self.make_image(args),
            HostCall::Subtype => self.subtype(args),
            HostCall::Open => self.open(args),
            HostCall::Save => self.save(args),
        }
    }

    /// A path argument: read before it is priced, its trouble told after.
    fn path(&mut self, register: u64) -> Result<Path, Stop> {
        self.read_path(register)
    }

    /// Price of an operation that walks these paths.
    fn walk_price(&self, paths: &[&Result<Path, Stop>]) -> u64 {
        let params = &self.env.params;
        let keys: usize = paths
            .iter()
            .filter_map(|path| path.as_ref().ok())
            .map(|path| path.keys().len())
            .sum();
        params.price_host_call + keys as u64 * params.price_path_key
    }

    /// What a path argument holds, if it is well-formed and holds anything; for pricing.
    fn peek(&mut self, path: &Result<Path, Stop>) -> Result<Option<&Cap>, Stop> {
        let store = self.store();
        match path {
            Ok(path) => match self.top().look(store, path) {
                Err(Stop::Status(_)) => Ok(None),
                other => other,
            },
            Err(_) => Ok(None),
        }
    }

    /// What a path of the running frame holds; `Empty` where it holds nothing.
    pub(super) fn held(&mut self, path: &Path) -> Result<Cap, Stop> {
        let store = self.store();
        self.top().get_some(store, path)
    }

    /// A started 64 bytes each.
    fn per_64(len: u64, price: u64) -> u64 {
        len.div_ceil(64).saturating_mul(price)
    }
}

/// A pointer argument.
fn pointer(register: u64) -> u32 {
    // Addresses are 32 bits wide: what lies above is ignored, as loads and stores do.
    register as u32
}

/// A length argument; longer than the address space is a bad range.
fn length(register: u64) -> Result<u32, Stop> {
    u32::try_from(register).map_err(|_| Stop::Fault(jar_abi::Fault::BadRange))
}
