//! `call` and `gas_left`.

use jar_abi::{CallStatus, Status};
use jar_cap::image::Role;
use jar_cap::{Cap, Path};

use crate::exec::Stop;
use crate::exec::frame::Entry;
use crate::exec::run::{Execution, Flow, is_callable};

impl Execution<'_, '_> {
    pub(super) fn call(&mut self, args: [u64; 6]) -> Result<Flow, Stop> {
        let path = self.path(args[0]);
        let program = match self.peek(&path)? {
            Some(Cap::Instance(instance)) => self.load_program(&instance)?,
            _ => None,
        };
        let params = &self.env.params;
        // The callee's slot is replaced when it returns.
        let mut price = self.walk_price(&[&path]) + params.price_slot_write;
        price += program.as_ref().map_or(0, |p| self.entry_price(p));
        self.settle()?;
        self.charge(price)?;
        match self.start_call(path, args) {
            Ok(()) => Ok(Flow::Switch),
            Err(Stop::Status(status)) => {
                Ok(Flow::Pair(status as i64 as u64, CallStatus::Refused as u64))
            }
            Err(stop) => Err(stop),
        }
    }

    fn start_call(&mut self, path: Result<Path, Stop>, args: [u64; 6]) -> Result<(), Stop> {
        let path = path?;
        let store = self.store();
        if Self::is_in_scratchpad(&path) {
            // What the scratchpad holds is the callee's payload: it can't be the callee.
            return Err(Status::Busy.into());
        }
        let Cap::Instance(instance) = self.frame().get_whole(store, &path)? else {
            return Err(Status::WrongKind.into());
        };
        // Native Instances have no endpoints in this kernel.
        let program = self.load_program(&instance)?.ok_or(Status::NoEndpoint)?;
        let image = program.loaded.image.clone();
        let endpoint = u8::try_from(args[1])
            .ok()
            .and_then(|index| image.endpoints.get(&index))
            .ok_or(Status::NoEndpoint)?;
        if !is_callable(endpoint) {
            return Err(Status::Denied.into());
        }
        let is_copy = endpoint.role == Role::View;
        let entry = Entry {
            endpoint,
            arguments: [args[2], args[3], args[4], args[5]],
            scratch: self.frame().scratch(store)?,
            origin: Some(path),
            is_view: self.frame().is_view || is_copy,
            is_copy,
        };
        let frame = self.build_frame(program, entry)?;
        // Nothing is refused from here on.
        self.top().swap_scratch(store, None)?;
        self.push(frame)
    }

    pub(super) fn gas_left(&mut self) -> Result<Flow, Stop> {
        self.settle()?;
        self.charge(self.env.params.price_host_call)?;
        Ok(Flow::Value(self.frame().machine.gas()))
    }
}
