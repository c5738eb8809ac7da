//! `call` and `gas_left`.

use jar_abi::{CallStatus, Status};
use jar_cap::image::Role;
use jar_cap::{Cap, Instance, Path};

use crate::exec::Stop;
use crate::exec::frame::{Entry, Program};
use crate::exec::run::{Execution, Flow, is_callable};

impl Execution<'_, '_> {
    pub(super) fn call(&mut self, args: [u64; 6]) -> Result<Flow, Stop> {
        let path = self.path(args[0]);
        // The callee's slot is replaced when it returns.
        let mut price = self.walk_price(&[&path]) + self.env.params.price_slot_write;
        let callee = match self.peek(&path)? {
            Some(Cap::Instance(instance)) => Some(instance.clone()),
            _ => None,
        };
        self.settle()?;
        let program = match &callee {
            Some(instance) => self.load_program(instance)?,
            None => None,
        };
        price += match (&program, &callee) {
            (Some(program), _) => self.entry_price(program),
            (None, Some(native)) => self.native_price(native, args[1]),
            (None, None) => 0,
        };
        self.charge(price)?;
        match self.start_call(path, callee, program, args) {
            Err(Stop::Status(status)) => {
                Ok(Flow::Pair(status as i64 as u64, CallStatus::Refused as u64))
            }
            other => other,
        }
    }

    fn start_call(
        &mut self,
        path: Result<Path, Stop>,
        callee: Option<Instance>,
        program: Option<Program>,
        args: [u64; 6],
    ) -> Result<Flow, Stop> {
        let path = path?;
        let store = self.store();
        if Self::is_in_scratchpad(&path) {
            // What the scratchpad holds is the callee's payload: it can't be the callee.
            return Err(Status::Busy.into());
        }
        let Some(instance) = callee else {
            self.held(&path)?;
            return Err(Status::WrongKind.into());
        };
        self.frame().check_unreserved(&path)?;
        if instance.suspended().is_some() {
            return Err(Status::Denied.into());
        }
        let Some(program) = program else {
            return self.call_native(&path, &instance, args);
        };
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
            scratch: self.top().scratch(store)?,
            callee: Some((path, instance)),
            is_view: self.frame().is_view || is_copy,
            is_copy,
        };
        let frame = self.build_frame(program, entry)?;
        // Nothing is refused from here on.
        self.top().swap_scratch(store, None)?;
        self.push(frame)?;
        Ok(Flow::Switch)
    }

    pub(super) fn gas_left(&mut self) -> Result<Flow, Stop> {
        self.settle()?;
        self.charge(self.env.params.price_host_call)?;
        Ok(Flow::Value(self.spendable_gas()))
    }
}
