//! The loop that drives frames until the root ends.

use std::collections::BTreeSet;
use std::sync::Arc;

use jar_abi::{CallStatus, Fault, HostCall, Status};
use jar_cap::image::{Endpoint, Role};
use jar_cap::{Body, Cap, Hash, ImageRef, Instance, NodeStore, Path};
use jar_pvm::{Exit, Machine};

use crate::block::Ending;
use crate::dispatch::SlotView;
use crate::error::KernelError;
use crate::exec::effects::{Effect, Effects, LiveEffects};
use crate::exec::frame::{Entry, Frame, Program, Subtree};
use crate::exec::meters::Rows;
use crate::exec::{BlockInfo, Env, Grant, Invocation, Stop, Traces};
use crate::programs::Loaded;

/// What came of a top-level call.
pub(crate) struct Finished<'t> {
    pub ending: Ending,
    /// The chain Instance after the call; the one before it when the call faulted.
    pub instance: Instance,
    /// The Image that the chain Instance asked to have when its block commits.
    pub next_image: Option<ImageRef>,
    /// What the call left in slot 0.
    pub scratch: Option<Cap>,
    pub gas_used: u64,
    pub effects: Effects,
    pub traces: Traces<'t>,
}

/// Register of the first argument and of the result.
pub(super) const RESULT: usize = 7;
/// Register of a CALL's status.
pub(super) const STATUS: usize = 8;

/// Prepared Images that a call keeps at hand.
const RECENT_MAX: usize = 8;
/// Frames that a call keeps for the next ones of their programs. Each holds as much memory as
/// its machine does after a reset.
const CLEARED_MAX: usize = 8;

/// A call in progress.
pub(crate) struct Execution<'a, 't> {
    pub env: &'a Env,
    pub block: BlockInfo,
    pub traces: Traces<'t>,
    pub slot: Option<&'a SlotView<'a>>,
    pub log: &'a dyn Fn(u64, &[u8]),
    pub effects: LiveEffects,
    /// The running frame, last, and its owners; suspended subtrees hang off them.
    #[expect(
        clippy::vec_box,
        reason = "chains of frames move to what waits and back"
    )]
    pub(super) frames: Vec<Box<Frame>>,
    pub(super) gas: Rows,
    pub(super) quota: Rows,
    /// Gas that the running machine was given when it was last booked.
    pub(super) loaded_gas: u64,
    /// Gas that the present host call was charged.
    pub(super) charged: u64,
    /// The chain's own Image, which is prepared on every node: its code costs nothing.
    own_image: Option<Hash>,
    /// Other Images entered in this call, by id: each pays for its code once.
    pub(super) entered: BTreeSet<Hash>,
    pub(super) live_bytes: u64,
    /// Those prepared last, the latest at the end; all of them are paid for.
    recent: Vec<Arc<Loaded>>,
    /// Frames that have ended, cleared, for the next calls of their programs; the one that was
    /// used last at the end.
    #[expect(clippy::vec_box, reason = "as those that run")]
    cleared: Vec<Box<Frame>>,
    /// The chain Instance before the call, when its frame has faulted.
    undone: Option<Instance>,
}

/// What an operation leads to.
pub(crate) enum Flow {
    /// φ7 of the running frame.
    Value(u64),
    /// φ7 and φ8 of the running frame.
    Pair(u64, u64),
    /// The frame that is now on top runs next.
    Switch,
    /// The running frame halts with a value.
    Halt(u64),
}

/// How the root ended.
pub(super) enum Root {
    Halted(u64, Box<Frame>),
    Faulted(Fault),
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
        next_image,
        block,
        grant,
        traces,
        is_view,
        slot,
        log,
    } = invocation;
    let mut execution = Execution::new(env, block, traces, slot, log, grant);
    let mut instance = Some(instance);
    let root = execution.run_root(
        &mut instance,
        endpoint,
        arguments,
        scratch,
        is_view,
        next_image,
    )?;
    let gas_used = grant.gas - execution.gas.budget();
    let (ending, mut frame) = match root {
        Root::Halted(value, frame) => (Ending::Halted(value), Some(frame)),
        Root::Faulted(fault) => (Ending::Faulted(fault as u64), None),
    };
    let mut effects = Effects {
        slot_was_full: execution.effects.slot_was_full,
        ..Effects::default()
    };
    let mut left = None;
    if let Some(frame) = &mut frame {
        left = end_frame(&*env.store, frame).map_err(node_error)?;
        let log = std::mem::take(&mut frame.effects);
        effects = std::mem::take(&mut execution.effects).finish(log);
    }
    Ok(Finished {
        ending,
        next_image: frame.as_mut().and_then(|frame| frame.next_image.take()),
        scratch: left,
        gas_used,
        effects,
        instance: match (frame, instance) {
            (Some(mut frame), _) => frame.end(&*env.store).map_err(node_error)?,
            (None, Some(instance)) => instance,
            (None, None) => execution.undone()?,
        },
        traces: execution.traces,
    })
}

/// Writes back what a halting frame wrote and takes its scratchpad.
fn end_frame(store: &dyn NodeStore, frame: &mut Frame) -> Result<Option<Cap>, Stop> {
    frame
        .memory
        .write_back(store, &*frame.machine, &mut frame.table)
        .and_then(|()| frame.swap_scratch(store, None))
        .map_err(|stop| node_error(stop).into())
}

/// For steps in which a guest has no part: whatever stops them is the node's trouble.
pub(super) fn node_error(stop: Stop) -> KernelError {
    match stop {
        Stop::Node(error) => *error,
        other => KernelError::Internal(format!("ending a call: {other:?}")),
    }
}

impl<'a, 't> Execution<'a, 't> {
    fn new(
        env: &'a Env,
        block: BlockInfo,
        traces: Traces<'t>,
        slot: Option<&'a SlotView<'a>>,
        log: &'a dyn Fn(u64, &[u8]),
        grant: Grant,
    ) -> Self {
        Execution {
            env,
            block,
            traces,
            slot,
            log,
            effects: LiveEffects::default(),
            frames: Vec::new(),
            gas: Rows::new(grant.gas),
            quota: Rows::new(grant.quota),
            loaded_gas: 0,
            charged: 0,
            own_image: None,
            entered: BTreeSet::new(),
            live_bytes: 0,
            recent: Vec::new(),
            cleared: Vec::new(),
            undone: None,
        }
    }

    pub fn store(&self) -> &'a dyn NodeStore {
        &*self.env.store
    }

    /// Runs the chain Instance, which is let go of as soon as its frame stands: what nothing
    /// else holds is changed in place.
    fn run_root(
        &mut self,
        instance: &mut Option<Instance>,
        endpoint: u8,
        arguments: [u64; 4],
        scratch: Option<Cap>,
        is_view: bool,
        next_image: Option<ImageRef>,
    ) -> Result<Root, KernelError> {
        let internal = |what: &str| KernelError::Internal(what.to_string());
        let no_program = || internal("the chain Instance is not a program");
        let whole = instance.as_ref().ok_or_else(no_program)?;
        if let Body::Program { image, .. } = whole.body() {
            self.own_image = Some(image.id());
        }
        let program = self
            .load_program(whole)
            .map_err(node_error)?
            .ok_or_else(no_program)?;
        let image = program.loaded.image.clone();
        let endpoint = image
            .endpoints
            .get(&endpoint)
            .ok_or_else(|| internal("a top-level call of no endpoint"))?;
        let price = self.entry_price(&program);
        let can_enter = self.gas.budget() >= price;
        // What can't be entered spends all, so that no block holds more calls than its gas
        // can start.
        self.gas.spend(0, price);
        if !can_enter {
            return Ok(Root::Faulted(Fault::OutOfGas));
        }
        let entry = Entry {
            endpoint,
            arguments,
            scratch,
            callee: None,
            is_view,
            is_copy: false,
        };
        let mut frame = match self.build_frame(program, entry) {
            Ok(frame) => frame,
            // The chain's own mappings don't fit its table: only its program can mend that.
            Err(Stop::Status(_)) => return Ok(Root::Faulted(Fault::Panic)),
            Err(stop) => return Err(node_error(stop)),
        };
        frame.next_image = next_image;
        *instance = None;
        self.push(frame).map_err(node_error)?;
        self.drive()
    }

    /// The chain Instance before the call, which faulted.
    fn undone(&mut self) -> Result<Instance, KernelError> {
        let store = self.store();
        match (self.undone.take(), self.frames.first_mut()) {
            (Some(instance), _) => Ok(instance),
            (None, Some(root)) => root.undo(store).map_err(node_error),
            (None, None) => Err(KernelError::Internal(
                "a call lost its chain Instance".into(),
            )),
        }
    }

    /// Runs frames until the root ends.
    fn drive(&mut self) -> Result<Root, KernelError> {
        loop {
            let exit = self.top().machine.run()?;
            self.charged = 0;
            let step = match exit {
                Exit::HostCall(number) => self.host_call(number),
                Exit::Halt => Ok(Flow::Halt(self.top().machine.regs()[RESULT])),
                Exit::Panic => Err(Stop::Fault(Fault::Panic)),
                Exit::PageFault(_) => Err(Stop::Fault(Fault::PageFault)),
                Exit::OutOfGas => self.find_block_gas(),
                Exit::PagePrice(price) => self.find_gas(price).map(|()| Flow::Switch),
            };
            let step = match step {
                Ok(Flow::Halt(value)) => self.halt(value),
                Ok(flow) => {
                    self.answer(flow);
                    continue;
                }
                Err(stop) => Err(stop),
            };
            if let Some(root) = self.end(exit, step)? {
                return Ok(root);
            }
        }
    }

    /// Acts on the end of a frame, or on what stopped it.
    fn end(
        &mut self,
        exit: Exit,
        step: Result<Option<Root>, Stop>,
    ) -> Result<Option<Root>, KernelError> {
        match step {
            Ok(ended) => Ok(ended),
            Err(Stop::Status(status)) => {
                self.answer(Flow::Value(status as i64 as u64));
                Ok(None)
            }
            Err(Stop::Fault(fault)) => self.fault(fault),
            Err(Stop::Short(resource)) => self.run_short(exit, resource),
            Err(Stop::Exhausted(fault)) => Ok(Some(self.exhaust(fault))),
            Err(Stop::Node(error)) => Err(*error),
        }
    }

    pub(super) fn host_call(&mut self, number: u64) -> Result<Flow, Stop> {
        match HostCall::from_number(number) {
            Some(call) if call.is_supported() => self.perform(call),
            Some(_) => Err(Stop::Fault(Fault::NotSupported)),
            None => {
                self.charge(self.env.params.price_host_call)?;
                Err(Status::Invalid.into())
            }
        }
    }

    fn answer(&mut self, flow: Flow) {
        let machine = self.machine();
        match flow {
            Flow::Value(value) => machine.set_reg(RESULT, value),
            Flow::Pair(value, status) => {
                machine.set_reg(RESULT, value);
                machine.set_reg(STATUS, status);
            }
            Flow::Switch | Flow::Halt(_) => {}
        }
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

    /// Notes an effect of the running frame.
    pub fn add_effect(&mut self, effect: Effect) {
        let Execution {
            frames, effects, ..
        } = self;
        if let Some(frame) = frames.last_mut() {
            effects.add(&mut frame.effects, effect);
        }
    }

    /// Makes a new frame the running one.
    pub(super) fn push(&mut self, frame: Box<Frame>) -> Result<(), Stop> {
        if !self.frames.is_empty() {
            self.sync_gas();
        }
        self.live_bytes += frame.writable_bytes;
        self.frames.push(frame);
        self.resolve_meters(self.frames.len() - 1)?;
        self.load_gas();
        Ok(())
    }

    fn pop(&mut self) -> Box<Frame> {
        self.sync_gas();
        let frame = self.frames.pop().expect("a call has a running frame");
        self.live_bytes -= frame.writable_bytes;
        frame
    }

    /// Quota of an occupied slot.
    pub fn slot_quota(&self, path: &Path) -> u64 {
        self.env.params.slot_quota(path)
    }

    /// Ends the running frame by a halt.
    fn halt(&mut self, value: u64) -> Result<Option<Root>, Stop> {
        self.settle()?;
        let params = &self.env.params;
        let Frame {
            memory, machine, ..
        } = self.top();
        let occupied = memory.newly_occupied(&**machine);
        let quota = occupied.map(|path| params.slot_quota(path)).sum();
        if quota > 0 {
            self.charge_quota(quota)?;
        }
        self.discard_waiting();
        let mut frame = self.pop();
        let Some(origin) = frame.origin.take() else {
            return Ok(Some(Root::Halted(value, frame)));
        };
        let store = self.store();
        let scratch = end_frame(store, &mut frame)?;
        let effects = std::mem::take(&mut frame.effects);
        if frame.is_copy {
            self.effects.undo(effects);
        } else {
            self.top().effects.absorb(effects);
            let instance = Cap::Instance(frame.end(store)?);
            self.top().set(store, &origin, Some(instance))?;
        }
        self.return_to_top(scratch, value, CallStatus::Ok)?;
        self.keep_cleared(frame);
        Ok(None)
    }

    /// Keeps a frame that has ended for the next call of its program.
    fn keep_cleared(&mut self, mut frame: Box<Frame>) {
        if !frame.clear() {
            return;
        }
        if self.cleared.len() == CLEARED_MAX {
            self.cleared.remove(0);
        }
        self.cleared.push(frame);
    }

    /// Ends the running frame by a fault: what it and its callees did is undone.
    pub(super) fn fault(&mut self, fault: Fault) -> Result<Option<Root>, KernelError> {
        self.end_by_fault()?;
        if self.frames.is_empty() {
            return Ok(Some(Root::Faulted(fault)));
        }
        self.return_to_top(None, fault as u64, CallStatus::Faulted)
            .map_err(node_error)?;
        Ok(None)
    }

    fn end_by_fault(&mut self) -> Result<(), KernelError> {
        self.sync_gas();
        let store = self.store();
        // What waits for the frame faults with it.
        let mut ended: Subtree = self.frames.pop().into_iter().collect();
        if let ([], [root]) = (&self.frames[..], &mut ended[..]) {
            self.undone = Some(root.undo(store).map_err(node_error)?);
        }
        self.discard(ended);
        Ok(())
    }

    /// Ends the whole call: its budget is gone, and no frame may go on. The pages that the
    /// running frame wrote are paid for.
    fn exhaust(&mut self, fault: Fault) -> Root {
        self.settle_written();
        self.sync_gas();
        Root::Faulted(fault)
    }

    /// Goes on with the frame on top, behind its CALL. Its scratchpad is empty: it went to the
    /// callee.
    pub(super) fn return_to_top(
        &mut self,
        scratch: Option<Cap>,
        value: u64,
        status: CallStatus,
    ) -> Result<(), Stop> {
        if scratch.is_some() {
            let store = self.store();
            self.top().swap_scratch(store, scratch)?;
        }
        self.load_gas();
        self.top().goes_on_at = None;
        self.answer(Flow::Pair(value, status as u64));
        Ok(())
    }

    /// An Image ready to run. The first time in this event it is paid for by its size, before
    /// anything of it is read; that is spent for good, as the work is done.
    pub fn prepare(&mut self, image: &ImageRef) -> Result<Arc<Loaded>, Stop> {
        let id = image.id();
        let is_it = |loaded: &&Arc<Loaded>| loaded.handle.id() == id;
        if let Some(loaded) = self.recent.iter().rev().find(is_it) {
            return Ok(loaded.clone());
        }
        if self.own_image != Some(id) && !self.entered.contains(&id) {
            let parts = u64::from(image.size()).div_ceil(64);
            self.charge_for_good(parts.saturating_mul(self.env.params.price_enter_64))?;
            self.entered.insert(id);
        }
        let loaded = self.env.programs.load(self.store(), image)?;
        if self.recent.len() == RECENT_MAX {
            self.recent.remove(0);
        }
        self.recent.push(loaded.clone());
        Ok(loaded)
    }

    /// The program of an Instance, [prepared](Self::prepare); `None` for a native one.
    pub fn load_program(&mut self, instance: &Instance) -> Result<Option<Program>, Stop> {
        let Body::Program { image, cnode, .. } = instance.body() else {
            return Ok(None);
        };
        Ok(Some(Program {
            type_id: instance.type_id(),
            loaded: self.prepare(image)?,
            cnode: cnode.clone(),
        }))
    }

    /// What entering a prepared program costs: the call, the keys of its mappings and its meters.
    pub fn entry_price(&self, program: &Program) -> u64 {
        let params = &self.env.params;
        params.price_call + program.loaded.entry_keys * params.price_path_key
    }

    /// A frame for a program, or the code by which CALL is refused.
    pub fn build_frame(&mut self, program: Program, entry: Entry<'_>) -> Result<Box<Frame>, Stop> {
        if self.frames.len() as u64 >= self.env.params.max_depth {
            return Err(Status::Depth.into());
        }
        let live = self.live_bytes + program.loaded.writable_bytes;
        if live > self.env.params.max_live_memory {
            return Err(Status::Quota.into());
        }
        let mut kept = self.cleared.iter();
        let place = kept.rposition(|frame| Arc::ptr_eq(&frame.loaded, &program.loaded));
        let cleared = place.map(|place| self.cleared.remove(place));
        Frame::enter(self.env, program, entry, cleared)
    }
}

/// Whether CALL reaches an endpoint.
pub(crate) fn is_callable(endpoint: &Endpoint) -> bool {
    matches!(endpoint.role, Role::Call | Role::View)
}

#[cfg(test)]
mod tests;
