//! Suspended subtrees as values: written back by `detach`, made frames again by `resume`.

use std::collections::BTreeMap;

use jar_abi::{Status, slots};
use jar_cap::{Cap, Error, Instance, Path, Paused, Scratch, Waiting};
use jar_pvm::PAGE_SIZE;

use crate::error::KernelError;
use crate::exec::frame::{Frame, Program, Subtree, WaitsFor};
use crate::exec::run::Execution;
use crate::exec::suspend::is_inside_block;
use crate::exec::{Stop, Table};

/// Quota of a suspended call's registers and of what it waits for.
const CALL_QUOTA: u64 = 512;

/// What writing back a subtree costs.
#[derive(Debug, Default)]
pub(super) struct PausePrice {
    pub gas: u64,
    pub quota: u64,
    /// Whether one of its frames is a View's, which leaves nothing behind.
    pub has_copy: bool,
}

/// A suspended chain of calls found in slots, the first one first, or the beginning of one.
#[derive(Default)]
pub(crate) struct PausedChain(Vec<Link>);

struct Link {
    instance: Instance,
    program: Program,
    origin: Path,
}

impl PausedChain {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Link {
    /// The slot of the suspended Instance that it calls; `None` for the yielder.
    fn callee(&self) -> Option<&Path> {
        match &self.instance.suspended()?.waiting {
            Waiting::Calling(slot) => Some(slot),
            Waiting::Yielded(_) | Waiting::OutOf(..) => None,
        }
    }
}

impl Execution<'_, '_> {
    /// What writing back the subtree that waits at a path costs; nothing where none does.
    pub(super) fn pause_price(&mut self, path: &Path) -> PausePrice {
        let env = self.env;
        let params = &env.params;
        let mut price = PausePrice::default();
        let waiting = self.top().waiting.get_mut(path);
        let mut stack: Vec<&mut Box<Frame>> = waiting.into_iter().flatten().collect();
        while let Some(frame) = stack.pop() {
            let Frame {
                memory,
                machine,
                waiting,
                is_copy,
                ..
            } = &mut **frame;
            let kept = memory.kept_pages(&**machine);
            let (pages, persistent) = memory.unsettled(&**machine);
            let occupied = memory.newly_occupied(&**machine);
            let slots: u64 = occupied.map(|path| params.slot_quota(path)).sum();
            price.gas += params.price_slot_write
                + pages * params.price_page_write
                + (persistent + kept) * params.price_page_persist;
            let owed = memory.quota_owed();
            price.quota += CALL_QUOTA + slots + (kept + owed) * u64::from(PAGE_SIZE);
            price.has_copy |= *is_copy;
            stack.extend(waiting.values_mut().flatten());
        }
        price
    }

    /// Writes back a subtree; answers the value of its first frame. What it did is done.
    pub(super) fn pause(&mut self, subtree: Subtree) -> Result<Instance, Stop> {
        let store = self.store();
        let mut called: Option<(Path, Instance)> = None;
        for mut frame in subtree.into_iter().rev() {
            let origin = frame.origin.clone();
            // As deep as frames own one another.
            while let Some((path, waiting)) = frame.waiting.pop_first() {
                let instance = self.pause(waiting)?;
                frame.set(store, &path, Some(Cap::Instance(instance)))?;
            }
            let slot = match called.take() {
                Some((path, instance)) => {
                    frame.set(store, &path, Some(Cap::Instance(instance)))?;
                    Some(path)
                }
                None => None,
            };
            self.live_bytes -= frame.writable_bytes;
            self.top()
                .effects
                .absorb(std::mem::take(&mut frame.effects));
            called = origin.zip(Some(self.pause_frame(*frame, slot)?));
        }
        match called {
            Some((_, instance)) => Ok(instance),
            None => Err(KernelError::Internal("an empty subtree was suspended".into()).into()),
        }
    }

    /// The value of one frame, which called `slot` or is the yielder.
    fn pause_frame(&mut self, mut frame: Frame, slot: Option<Path>) -> Result<Instance, Stop> {
        let store = self.store();
        let pc = frame.machine.pc();
        // One that was suspended before and has not run since is behind its call already.
        let behind = match frame.goes_on_at {
            Some(behind) => behind,
            None => frame.loaded.code.program().next_pc(pc),
        };
        let (pc, waiting) = match (frame.waits_for.take(), slot) {
            (None, Some(slot)) => (behind, Waiting::Calling(slot)),
            (Some(WaitsFor::Answer(marker)), _) => (behind, Waiting::Yielded(marker)),
            (Some(WaitsFor::Supply { resource, dry }), _) => (pc, Waiting::OutOf(resource, dry)),
            (None, None) => {
                let what = "a frame is suspended that waits for nothing".to_string();
                return Err(KernelError::Internal(what).into());
            }
        };
        let ephemeral = frame.memory.keep(store, &*frame.machine, &frame.loaded)?;
        frame
            .memory
            .write_back(store, &*frame.machine, &mut frame.table)?;
        let scratch = match &waiting {
            Waiting::OutOf(..) => frame.table.replace(store, slots::SCRATCH, None)?,
            Waiting::Yielded(_) | Waiting::Calling(_) => None,
        };
        let paused = Paused {
            regs: *frame.machine.regs(),
            pc,
            waiting,
            ephemeral,
            scratch: scratch.map(Scratch::new),
            next_image: frame.next_image,
        };
        let image = frame.loaded.handle.clone();
        let table = frame.table.take_map(store)?;
        Ok(Instance::paused(frame.type_id, image, table, paused))
    }

    /// Finds the chain of suspended calls that begins at a path of the running frame, and charges
    /// each link before it looks for the next one. The frame keeps what is found, which is paid
    /// for good: a `resume` that ran short goes on from there when it is retried.
    pub(super) fn find_chain(&mut self, path: &Path) -> Result<(), Stop> {
        let room = self.env.params.max_depth - self.frames.len() as u64;
        // One beyond the limit is enough to be refused.
        while self.frame().found.0.len() as u64 <= room {
            let Some((origin, Some(Cap::Instance(instance)))) = self.next_place(path)? else {
                break;
            };
            let (Some(paused), Some(program)) =
                (instance.suspended(), self.load_program(&instance)?)
            else {
                break;
            };
            if let Some(image) = &paused.next_image {
                // What fills a slot looks at what it pins.
                self.prepare(image)?;
            }
            self.charge_for_good(self.link_price(&program, paused))?;
            self.top().found.0.push(Link {
                instance,
                program,
                origin,
            });
        }
        Ok(())
    }

    /// The path at which the next link of the chain would be that the running frame has found,
    /// and what is there; `None` behind the last link.
    fn next_place(&mut self, first: &Path) -> Result<Option<(Path, Option<Cap>)>, Stop> {
        let store = self.store();
        let Some(link) = self.frame().found.0.last() else {
            return match self.top().get(store, first) {
                Ok(held) => Ok(Some((first.clone(), held))),
                Err(Stop::Status(_)) => Ok(None),
                Err(stop) => Err(stop),
            };
        };
        let Some((slot, table)) = link.callee().zip(link.instance.cnode()) else {
            return Ok(None);
        };
        match table.get_path(store, slot.keys()) {
            Ok(held) => Ok(Some((slot.clone(), held))),
            Err(Error::Store(error)) => Err(error.into()),
            Err(_) => Ok(None),
        }
    }

    /// What a link of a chain costs: a frame to be entered, its slot to be set, its Catcher to be
    /// asked, and what it waits for to be looked up.
    fn link_price(&self, program: &Program, paused: &Paused) -> u64 {
        let params = &self.env.params;
        let keys = match &paused.waiting {
            Waiting::Calling(slot) => slot.keys().len() as u64,
            Waiting::Yielded(_) | Waiting::OutOf(..) => 1,
        };
        self.entry_price(program) + params.price_slot_write + (1 + keys) * params.price_path_key
    }

    /// Makes frames of a chain, which begins with the slot it came from reserved.
    pub(super) fn restore(&mut self, chain: PausedChain) -> Result<Subtree, Stop> {
        let params = &self.env.params;
        if (self.frames.len() + chain.0.len()) as u64 > params.max_depth {
            return Err(Status::Depth.into());
        }
        let declared = chain
            .0
            .iter()
            .map(|link| link.program.loaded.writable_bytes);
        let live = self.live_bytes + declared.sum::<u64>();
        if live > params.max_live_memory {
            return Err(Status::Quota.into());
        }
        let is_view = self.frame().is_view;
        let mut subtree = Subtree::new();
        for link in chain.0 {
            let mut frame = self.restore_frame(link)?;
            frame.is_view = is_view;
            subtree.push(frame);
        }
        // The last one is no caller: else what it called was taken from its slot.
        if subtree.last().is_none_or(|frame| frame.waits_for.is_none()) {
            return Err(Status::WrongKind.into());
        }
        self.live_bytes = live;
        Ok(subtree)
    }

    fn restore_frame(&self, link: Link) -> Result<Box<Frame>, Stop> {
        let none = BTreeMap::new();
        let paused = link.instance.suspended();
        let kept = paused.map_or(&none, |paused| &paused.ephemeral);
        let Program {
            type_id,
            cnode,
            loaded,
        } = link.program;
        let (store, mut table) = (self.store(), Table::from(cnode));
        if let Some(scratch) = paused.and_then(|paused| paused.scratch.as_ref()) {
            table.replace(store, slots::SCRATCH, scratch.get(store)?)?;
        }
        let mut frame = Frame::new(self.env, type_id, loaded, table, kept)?;
        frame.origin = Some(link.origin);
        let Some(paused) = paused else {
            return Ok(frame);
        };
        for (index, value) in paused.regs.iter().enumerate() {
            frame.machine.set_reg(index, *value);
        }
        let mut is_charged = true;
        frame.waits_for = match &paused.waiting {
            Waiting::Calling(_) => None,
            Waiting::Yielded(marker) => Some(WaitsFor::Answer(*marker)),
            Waiting::OutOf(resource, dry) => {
                is_charged = is_inside_block(frame.loaded.code.program(), paused.pc);
                Some(WaitsFor::Supply {
                    resource: *resource,
                    dry: *dry,
                })
            }
        };
        frame.machine.set_pc(paused.pc, is_charged);
        frame.goes_on_at = Some(paused.pc);
        frame.next_image = paused.next_image.clone();
        Ok(frame)
    }
}
