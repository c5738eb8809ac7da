//! Suspending frames and going on with them: yields, what runs short, resume and abort.

use jar_abi::{CallStatus, slots};
use jar_cap::{Body, Cap, Hash, NativeKind, NodeStore, Path, Resource, native_type};
use jar_pvm::isa::Opcode;
use jar_pvm::{Exit, Program};

use crate::error::KernelError;
use crate::exec::Stop;
use crate::exec::frame::{Frame, Subtree, WaitsFor};
use crate::exec::meters::Metered;
use crate::exec::run::{Execution, Flow, RESULT, Root, node_error};
use crate::natives;

/// Whether a frame that is short of something at `pc` has paid for the block there.
pub(super) fn is_inside_block(program: &Program, pc: u32) -> bool {
    let opcode = program.opcode_at(pc.into());
    let is_call = matches!(opcode, Opcode::Ecalli | Opcode::Ecall);
    (is_call || opcode.touches_memory()) && !program.is_block_start(pc)
}

impl Frame {
    /// Whether the Instance's catcher slot holds a Catcher of a marker type.
    fn catches(&self, store: &dyn NodeStore, marker: &Hash) -> Result<bool, Stop> {
        let Some(slot) = &self.loaded.image.catcher_slot else {
            return Ok(false);
        };
        Ok(match self.loaded.slot(store, &self.table, slot)? {
            Some(Cap::Instance(instance)) => match instance.body() {
                Body::Native {
                    kind: NativeKind::Catcher,
                    state,
                } => natives::catches(state, marker),
                _ => false,
            },
            _ => false,
        })
    }
}

impl Execution<'_, '_> {
    /// The place of the nearest owner of the running frame that catches a marker type.
    pub(super) fn find_catcher(&self, marker: &Hash) -> Result<Option<usize>, Stop> {
        let owners = &self.frames[..self.frames.len() - 1];
        for (index, frame) in owners.iter().enumerate().rev() {
            if frame.catches(self.store(), marker)? {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// Suspends the running frame and its owners below the catcher, which goes on.
    pub(super) fn suspend(
        &mut self,
        catcher: usize,
        waits_for: WaitsFor,
        payload: Option<Cap>,
    ) -> Result<(), Stop> {
        self.sync_gas();
        self.top().waits_for = Some(waits_for);
        let subtree = self.frames.split_off(catcher + 1);
        let origin = subtree.first().and_then(|frame| frame.origin.clone());
        let Some(origin) = origin else {
            let what = "a suspended subtree has no origin".to_string();
            return Err(KernelError::Internal(what).into());
        };
        self.top().waiting.insert(origin, subtree);
        self.return_to_top(payload, 0, CallStatus::Paused)
    }

    /// Goes on where the block at the machine's pc finds no gas in the present row: with
    /// another row of the list.
    pub(super) fn find_block_gas(&mut self) -> Result<Flow, Stop> {
        let cost = self.block_cost();
        self.find_gas(cost)?;
        Ok(Flow::Switch)
    }

    /// What the block around the running frame's pc costs.
    fn block_cost(&self) -> u64 {
        let frame = self.frame();
        // Execution can flow to wherever a machine stopped.
        frame
            .loaded
            .code
            .block_cost(frame.machine.pc())
            .unwrap_or(1)
    }

    /// Yields on behalf of the running frame, whose meters are too low for its next step.
    pub(super) fn run_short(
        &mut self,
        exit: Exit,
        resource: Resource,
    ) -> Result<Option<Root>, KernelError> {
        self.refund_charge();
        self.settle_written();
        let marker = native_type(resource.marker());
        let Some(catcher) = self.find_catcher(&marker).map_err(node_error)? else {
            return self.fault(resource.fault());
        };
        self.rewind(exit);
        let meters = match resource {
            Resource::Gas => &self.frame().gas,
            Resource::Quota => &self.frame().quota,
        };
        let dry = Cap::Instance(meters.dry_cap(resource));
        let waits_for = WaitsFor::Supply {
            resource,
            dry: dry.id(),
        };
        self.suspend(catcher, waits_for, Some(dry))
            .map_err(node_error)?;
        Ok(None)
    }

    /// Sets the machine's pc on what is to be retried. Whether the block there is paid for
    /// follows from the pc alone: it is when a host call, a load or a store is inside a block.
    /// Elsewhere a block that was entered gives its gas back.
    fn rewind(&mut self, exit: Exit) {
        let pc = self.frame().machine.pc();
        let is_inside = is_inside_block(self.frame().loaded.code.program(), pc);
        if !is_inside && exit != Exit::OutOfGas {
            self.refund_gas(self.block_cost());
        }
        self.machine().set_pc(pc, is_inside);
    }

    /// Goes on with a subtree that waits for the running frame.
    pub(super) fn resume_waiting(&mut self, mut subtree: Subtree) -> Result<Flow, Stop> {
        self.sync_gas();
        let store = self.store();
        let payload = self.top().swap_scratch(store, None)?;
        let first = self.frames.len();
        self.frames.append(&mut subtree);
        self.top().goes_on_at = None;
        if let Some(WaitsFor::Answer(_)) = self.top().waits_for.take() {
            self.top().swap_scratch(store, payload)?;
            self.machine().set_reg(RESULT, 0);
        }
        for index in first..self.frames.len() {
            self.resolve_meters(index)?;
        }
        self.load_gas();
        Ok(Flow::Switch)
    }

    /// Aborts what still waits for the running frame.
    pub(super) fn discard_waiting(&mut self) {
        while let Some((_, subtree)) = self.top().waiting.pop_first() {
            self.discard(subtree);
        }
    }

    /// Ends suspended frames, and all that wait for them, by a fault: their effects are undone,
    /// the pages they wrote paid for.
    pub(super) fn discard(&mut self, subtree: Subtree) {
        let mut frames = subtree;
        while let Some(mut frame) = frames.pop() {
            frames.extend(std::mem::take(&mut frame.waiting).into_values().flatten());
            self.live_bytes -= frame.writable_bytes;
            self.effects.undo(std::mem::take(&mut frame.effects));
            self.charge_ended(&mut frame);
        }
    }

    /// Frames of the subtree that waits at a slot, those that wait for them included.
    pub(super) fn count_frames(subtree: &Subtree) -> u64 {
        let mut stack: Vec<&Box<Frame>> = subtree.iter().collect();
        let mut count = 0;
        while let Some(frame) = stack.pop() {
            count += 1;
            stack.extend(frame.waiting.values().flatten());
        }
        count
    }

    /// Whether a path is the scratchpad's, or leads through it.
    pub(super) fn is_in_scratchpad(path: &Path) -> bool {
        path.split_first().0.as_slice() == [slots::SCRATCH]
    }
}
