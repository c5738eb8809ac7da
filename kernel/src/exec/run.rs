//! The loop that drives frames until the root ends.

use std::collections::BTreeSet;

use jar_abi::{CallStatus, Fault, HostCall, Status};
use jar_cap::image::{Endpoint, Role};
use jar_cap::{Cap, Hash, Instance, NodeStore, Path};
use jar_pvm::{Exit, Machine};

use crate::block::Ending;
use crate::error::KernelError;
use crate::exec::effects::{Effects, Mark};
use crate::exec::frame::{Entry, Frame, Program, declared_bytes, program_parts};
use crate::exec::{Env, Invocation, Stop, Traces};

/// What came of a top-level call.
pub(crate) struct Finished<'t> {
    pub ending: Ending,
    /// The chain Instance after the call; the one before it when the call faulted.
    pub instance: Instance,
    /// What the call left in slot 0.
    pub scratch: Option<Cap>,
    pub gas_used: u64,
    pub effects: Effects,
    pub traces: Traces<'t>,
}

/// Register of the first argument and of the result.
const RESULT: usize = 7;
/// Register of a CALL's status.
const STATUS: usize = 8;

/// A call in progress: its live frames, the last one running.
pub(crate) struct Execution<'a, 't> {
    pub env: &'a Env,
    pub block: crate::exec::BlockInfo,
    pub traces: Traces<'t>,
    pub slot: Option<&'a crate::dispatch::SlotView<'a>>,
    pub log: &'a dyn Fn(u64, &[u8]),
    pub effects: Effects,
    frames: Vec<Frame>,
    quota: u64,
    /// Images entered in this call, by id: each pays for its code once.
    entered: BTreeSet<Hash>,
    live_bytes: u64,
}

/// What an operation leads to.
pub(crate) enum Flow {
    /// φ7 of the running frame.
    Value(u64),
    /// φ7 and φ8 of the running frame.
    Pair(u64, u64),
    /// A callee, which runs next.
    Enter(Box<Frame>),
    /// The running frame halts with a value.
    Halt(u64),
}

/// How the root ended.
enum Root {
    Halted(u64, Box<Frame>),
    Faulted(Fault, u64),
}

/// Runs one top-level call to its end.
pub(crate) fn execute<'a, 't>(
    env: &'a Env,
    invocation: Invocation<'a, 't>,
) -> Result<Finished<'t>, KernelError> {
    let Invocation {
        instance,
        endpoint,
        arguments,
        scratch,
        block,
        grant,
        traces,
        is_view,
        slot,
        log,
    } = invocation;
    let mut execution = Execution {
        env,
        block,
        traces,
        slot,
        log,
        effects: Effects::default(),
        frames: Vec::new(),
        quota: grant.quota,
        entered: BTreeSet::new(),
        live_bytes: 0,
    };
    let root = execution.run_root(&instance, endpoint, arguments, scratch, is_view, grant.gas)?;
    let (ending, instance, scratch, gas_left) = match root {
        Root::Halted(value, mut frame) => {
            let gas_left = frame.machine.gas();
            let scratch = end_frame(execution.store(), &mut frame)?;
            (
                Ending::Halted(value),
                frame.into_instance(),
                scratch,
                gas_left,
            )
        }
        Root::Faulted(fault, gas_left) => {
            execution.effects.undo(Mark::default());
            (Ending::Faulted(fault as u64), instance, None, gas_left)
        }
    };
    Ok(Finished {
        ending,
        instance,
        scratch,
        gas_used: grant.gas - gas_left,
        effects: execution.effects,
        traces: execution.traces,
    })
}

/// Writes back what a halting frame wrote and takes its scratchpad.
fn end_frame(store: &dyn NodeStore, frame: &mut Frame) -> Result<Option<Cap>, KernelError> {
    frame
        .write_back(store)
        .and_then(|()| frame.swap_scratch(store, None))
        .map_err(node_error)
}

/// For steps in which a guest has no part: whatever stops them is the node's trouble.
fn node_error(stop: Stop) -> KernelError {
    match stop {
        Stop::Node(error) => error,
        other => KernelError::Internal(format!("ending a call: {other:?}")),
    }
}

impl<'a> Execution<'a, '_> {
    pub fn store(&self) -> &'a dyn NodeStore {
        &*self.env.store
    }

    fn run_root(
        &mut self,
        instance: &Instance,
        endpoint: u8,
        arguments: [u64; 4],
        scratch: Option<Cap>,
        is_view: bool,
        gas: u64,
    ) -> Result<Root, KernelError> {
        let internal = |what: &str| KernelError::Internal(what.to_string());
        let program = self
            .load_program(instance)?
            .ok_or_else(|| internal("the chain Instance is not a program"))?;
        let image = program.loaded.image.clone();
        let endpoint = image
            .endpoints
            .get(&endpoint)
            .ok_or_else(|| internal("a top-level call of no endpoint"))?;
        // The chain's own Image is prepared on every node: its code costs nothing.
        self.entered.insert(program.loaded.handle.id());
        let price = self.entry_price(&program);
        if gas < price {
            // All is spent, so that no block holds more calls than its gas can start.
            return Ok(Root::Faulted(Fault::OutOfGas, 0));
        }
        let entry = Entry {
            endpoint,
            arguments,
            scratch,
            origin: None,
            mark: Mark::default(),
            is_view,
            is_copy: false,
        };
        let mut frame = match self.build_frame(program, entry) {
            Ok(frame) => frame,
            // The chain's own mappings don't fit its table: only its program can mend that.
            Err(Stop::Status(_)) => return Ok(Root::Faulted(Fault::Panic, gas - price)),
            Err(stop) => return Err(node_error(stop)),
        };
        frame.machine.set_gas(gas - price);
        self.push(frame);
        self.drive()
    }

    /// Runs frames until the root ends.
    fn drive(&mut self) -> Result<Root, KernelError> {
        loop {
            let exit = self.top().machine.run()?;
            let step = match exit {
                Exit::HostCall(number) => self.host_call(number),
                Exit::Halt => Ok(Flow::Halt(self.top().machine.regs()[RESULT])),
                Exit::Panic => Err(Stop::Fault(Fault::Panic)),
                Exit::PageFault(_) => Err(Stop::Fault(Fault::PageFault)),
                Exit::OutOfGas => Err(Stop::Exhausted(Fault::OutOfGas)),
            };
            let ended = match step {
                Ok(Flow::Value(value)) => self.answer(value),
                Ok(Flow::Pair(value, status)) => {
                    self.top().machine.set_reg(STATUS, status);
                    self.answer(value)
                }
                Ok(Flow::Enter(frame)) => {
                    self.push(*frame);
                    None
                }
                Ok(Flow::Halt(value)) => self.halt(value)?,
                Err(Stop::Status(status)) => self.answer(status as i64 as u64),
                Err(Stop::Fault(fault)) => self.fault(fault),
                Err(Stop::Exhausted(fault)) => Some(self.exhaust(fault)),
                Err(Stop::Node(error)) => return Err(error),
            };
            if let Some(root) = ended {
                return Ok(root);
            }
        }
    }

    fn host_call(&mut self, number: u64) -> Result<Flow, Stop> {
        match HostCall::from_number(number) {
            Some(call) if call.is_supported() => self.perform(call),
            Some(_) => Err(Stop::Fault(Fault::NotSupported)),
            None => {
                self.charge(self.env.params.price_host_call)?;
                Err(Status::Invalid.into())
            }
        }
    }

    fn answer(&mut self, value: u64) -> Option<Root> {
        self.top().machine.set_reg(RESULT, value);
        None
    }

    /// The running frame. There is one from the first push until the root ends.
    pub fn top(&mut self) -> &mut Frame {
        self.frames.last_mut().expect("a call has a running frame")
    }

    /// The running frame, to look at.
    pub fn frame(&self) -> &Frame {
        self.frames.last().expect("a call has a running frame")
    }

    /// The running frame's machine.
    pub fn machine(&mut self) -> &mut dyn Machine {
        &mut *self.top().machine
    }

    fn push(&mut self, frame: Frame) {
        self.live_bytes += frame.writable_bytes;
        self.entered.insert(frame.loaded.handle.id());
        self.frames.push(frame);
    }

    fn pop(&mut self) -> Frame {
        let frame = self.frames.pop().expect("a call has a running frame");
        self.live_bytes -= frame.writable_bytes;
        frame
    }

    /// Charges gas; when short nothing is charged and the budget counts as gone.
    pub fn charge(&mut self, price: u64) -> Result<(), Stop> {
        let machine = self.machine();
        match machine.gas().checked_sub(price) {
            Some(left) => {
                machine.set_gas(left);
                Ok(())
            }
            None => Err(Stop::Exhausted(Fault::OutOfGas)),
        }
    }

    /// Charges quota; when short nothing is charged and the budget counts as gone.
    pub fn charge_quota(&mut self, bytes: u64) -> Result<(), Stop> {
        match self.quota.checked_sub(bytes) {
            Some(left) => {
                self.quota = left;
                Ok(())
            }
            None => Err(Stop::Exhausted(Fault::OutOfQuota)),
        }
    }

    /// Quota of an occupied slot.
    pub fn slot_quota(&self, path: &Path) -> u64 {
        self.env.params.quota_slot + last_key(path).as_slice().len() as u64
    }

    /// Pays for the pages written since the last settlement.
    pub fn settle(&mut self) -> Result<(), Stop> {
        let (price, persistent) = self.unsettled_price();
        if self.machine().gas() < price {
            // The pages are written already: what is left goes for them.
            self.machine().set_gas(0);
        }
        self.charge(price)?;
        self.charge_quota(persistent * u64::from(jar_pvm::PAGE_SIZE))
    }

    /// Price of the pages written since the last settlement, and how many are persistent.
    fn unsettled_price(&mut self) -> (u64, u64) {
        let (pages, persistent) = self.top().settle();
        let params = &self.env.params;
        let price = pages * params.price_page_write + persistent * params.price_page_persist;
        (price, persistent)
    }

    /// Ends the running frame by a halt.
    fn halt(&mut self, value: u64) -> Result<Option<Root>, KernelError> {
        match self.settle_at_halt() {
            Ok(()) => {}
            Err(Stop::Exhausted(fault)) => return Ok(Some(self.exhaust(fault))),
            Err(stop) => return Err(node_error(stop)),
        }
        let mut frame = self.pop();
        let Some(origin) = frame.origin.clone() else {
            return Ok(Some(Root::Halted(value, Box::new(frame))));
        };
        let store = self.store();
        let gas = frame.machine.gas();
        let scratch = end_frame(store, &mut frame)?;
        if frame.is_copy {
            self.effects.undo(frame.mark);
        } else {
            let instance = Cap::Instance(frame.into_instance());
            self.top()
                .set(store, &origin, Some(instance))
                .map_err(node_error)?;
        }
        if scratch.is_some() {
            self.top()
                .swap_scratch(store, scratch)
                .map_err(node_error)?;
        }
        self.return_to_caller(gas, value, CallStatus::Ok);
        Ok(None)
    }

    fn settle_at_halt(&mut self) -> Result<(), Stop> {
        self.settle()?;
        for path in self.top().newly_occupied() {
            self.charge_quota(self.slot_quota(&path))?;
        }
        Ok(())
    }

    /// Ends the running frame by a fault: what it and its callees did is undone.
    fn fault(&mut self, fault: Fault) -> Option<Root> {
        if let Err(Stop::Exhausted(gone)) = self.settle() {
            return Some(self.exhaust(gone));
        }
        let frame = self.pop();
        let gas = frame.machine.gas();
        if frame.origin.is_none() {
            return Some(Root::Faulted(fault, gas));
        }
        self.effects.undo(frame.mark);
        self.return_to_caller(gas, fault as u64, CallStatus::Faulted);
        None
    }

    /// Ends the whole call: its budget is gone, and no frame may go on. The pages that the
    /// running frame wrote are paid for as far as the gas reaches.
    fn exhaust(&mut self, fault: Fault) -> Root {
        let (price, _) = self.unsettled_price();
        Root::Faulted(fault, self.machine().gas().saturating_sub(price))
    }

    fn return_to_caller(&mut self, gas: u64, value: u64, status: CallStatus) {
        let caller = self.machine();
        caller.set_gas(gas);
        caller.set_reg(RESULT, value);
        caller.set_reg(STATUS, status as u64);
    }

    /// The program of an idle Instance; `None` for a native one.
    pub fn load_program(&self, instance: &Instance) -> Result<Option<Program>, KernelError> {
        let Some((type_id, image, table)) = program_parts(instance) else {
            return Ok(None);
        };
        let loaded = self.env.programs.load(self.store(), &image)?;
        Ok(Some(Program {
            type_id,
            table,
            loaded,
        }))
    }

    /// What entering a program costs besides the call: its mappings, and its code the first time.
    pub fn entry_price(&self, program: &Program) -> u64 {
        let params = &self.env.params;
        let mappings = program.loaded.image.memory.len() as u64;
        let code = if self.entered.contains(&program.loaded.handle.id()) {
            0
        } else {
            program.loaded.code_len().div_ceil(64) * params.price_code_64
        };
        params.price_call + mappings * params.price_path_key + code
    }

    /// A frame for a program, or the code by which CALL is refused.
    pub fn build_frame(&mut self, program: Program, entry: Entry<'_>) -> Result<Frame, Stop> {
        if self.frames.len() as u64 >= self.env.params.max_depth {
            return Err(Status::Depth.into());
        }
        let live = self.live_bytes + declared_bytes(&program.loaded);
        if live > self.env.params.max_live_memory {
            return Err(Status::Quota.into());
        }
        Frame::enter(&self.env.store, program, entry)
    }
}

/// The key of the slot itself.
fn last_key(path: &Path) -> &jar_cap::Key {
    let (first, rest) = path.split_first();
    rest.last().unwrap_or(first)
}

/// Whether CALL reaches an endpoint.
pub(crate) fn is_callable(endpoint: &Endpoint) -> bool {
    matches!(endpoint.role, Role::Call | Role::View)
}

#[cfg(test)]
mod tests;
