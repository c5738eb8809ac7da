//! A frame: one Instance that runs, or waits for one it called, or for its yield to be answered.

use std::collections::BTreeMap;
use std::sync::Arc;

use jar_abi::slots;
use jar_cap::image::Endpoint;
use jar_cap::{CNode, Cap, Data, Hash, ImageRef, Instance, NodeStore, Path, Resource};
use jar_pvm::Machine;

use crate::exec::effects::EffectLog;
use crate::exec::memory::FrameMemory;
use crate::exec::meters::Meters;
use crate::exec::pause::PausedChain;
use crate::exec::run::RESULT;
use crate::exec::{Env, Stop, Table};
use crate::programs::Loaded;

/// One Instance that runs or waits.
pub(crate) struct Frame {
    pub loaded: Arc<Loaded>,
    pub type_id: Hash,
    pub table: Table,
    pub machine: Box<dyn Machine>,
    /// Where in the owner's table the Instance came from; `None` at the root.
    pub origin: Option<Path>,
    /// The Instance before the call, while that is in its owner's table.
    former: Option<Instance>,
    /// What it and its callees that halted asked for.
    pub effects: EffectLog,
    /// Whether the frame, or one above it, is a View.
    pub is_view: bool,
    /// Whether the frame itself was called as a View: its new value is dropped.
    pub is_copy: bool,
    /// Bytes of writable memory declared.
    pub writable_bytes: u64,
    pub memory: FrameMemory,
    pub gas: Meters,
    pub quota: Meters,
    /// Whether it ever had the gas to begin, the price of its eager pages included.
    pub is_funded: bool,
    /// Where a frame made of a suspended call goes on, until it does.
    pub goes_on_at: Option<u32>,
    /// Why a yielder waits; `None` for a frame that runs or calls.
    pub waits_for: Option<WaitsFor>,
    /// What a `resume` that ran short of gas has found and paid for.
    pub found: PausedChain,
    /// Suspended subtrees by the slot they came from.
    pub waiting: BTreeMap<Path, Subtree>,
    /// The Image that `set_image` recorded: its program's from the halt on.
    pub next_image: Option<ImageRef>,
}

/// A suspended chain of frames: the one that was called first, the yielder last.
pub(crate) type Subtree = Vec<Box<Frame>>;

/// What a yielder waits for.
#[derive(Clone, Debug)]
pub(crate) enum WaitsFor {
    /// An answer to a marker of this type.
    Answer(Hash),
    /// More of what ran short, named by the id of the cap that ran dry. Its slot 0 stays as it
    /// is: that it ran short is no operation on it.
    Supply { resource: Resource, dry: Hash },
}

/// The parts of a program Instance.
pub(crate) struct Program {
    pub type_id: Hash,
    pub cnode: CNode,
    pub loaded: Arc<Loaded>,
}

/// What a frame is entered with.
pub(crate) struct Entry<'a> {
    pub endpoint: &'a Endpoint,
    /// φ7..φ10.
    pub arguments: [u64; 4],
    pub scratch: Option<Cap>,
    /// Where in the owner's table the Instance is, and itself; `None` at the root.
    pub callee: Option<(Path, Instance)>,
    pub is_view: bool,
    pub is_copy: bool,
}

impl Frame {
    /// A frame about to run its endpoint, with no gas yet; made of a [cleared](Self::clear) one
    /// of this program, if there is one. The root's table can be undone.
    pub fn enter(
        env: &Env,
        program: Program,
        entry: Entry<'_>,
        cleared: Option<Box<Frame>>,
    ) -> Result<Box<Frame>, Stop> {
        let Program {
            type_id,
            cnode,
            loaded,
        } = program;
        let fill = |table: &mut Table| {
            table.fill(cnode);
            if entry.callee.is_none() {
                table.keep();
            }
            table.replace(&*env.store, slots::SCRATCH, entry.scratch)
        };
        let mut frame = match cleared {
            Some(mut frame) => {
                frame.type_id = type_id;
                fill(&mut frame.table)?;
                frame
            }
            None => {
                let mut table = Table::default();
                fill(&mut table)?;
                Frame::new(env, type_id, loaded, table, &BTreeMap::new())?
            }
        };
        let regs = frame.machine.regs_mut();
        for (register, value) in &entry.endpoint.regs {
            regs[usize::from(*register)] = *value;
        }
        regs[RESULT..][..entry.arguments.len()].copy_from_slice(&entry.arguments);
        frame.machine.set_pc(entry.endpoint.pc, false);
        (frame.origin, frame.former) = entry.callee.unzip();
        frame.is_view = entry.is_view;
        frame.is_copy = entry.is_copy;
        Ok(frame)
    }

    /// A frame of a program, its memory mapped; `kept` are contents of mappings that are in no
    /// slot.
    pub fn new(
        env: &Env,
        type_id: Hash,
        loaded: Arc<Loaded>,
        table: Table,
        kept: &BTreeMap<u8, Data>,
    ) -> Result<Box<Frame>, Stop> {
        let (map, memory) = FrameMemory::map(env, &loaded, &table, kept)?;
        Ok(Box::new(Frame {
            machine: loaded.code.clone().machine(map),
            writable_bytes: loaded.writable_bytes,
            loaded,
            type_id,
            table,
            origin: None,
            former: None,
            effects: EffectLog::default(),
            is_view: false,
            is_copy: false,
            memory,
            gas: Meters::default(),
            quota: Meters::default(),
            is_funded: false,
            goes_on_at: None,
            waits_for: None,
            found: PausedChain::default(),
            waiting: BTreeMap::new(),
            next_image: None,
        }))
    }

    /// Lets go of all that the call left which has ended: the frame is as a new one, but of no
    /// Instance. `false` where it can't serve another call of its program.
    pub fn clear(&mut self) -> bool {
        // All fields, so that none is forgotten.
        let Frame {
            loaded,
            type_id: _,
            table,
            machine,
            origin,
            former,
            effects,
            is_view,
            is_copy,
            writable_bytes: _,
            memory,
            gas,
            quota,
            is_funded,
            goes_on_at,
            waits_for,
            found,
            waiting,
            next_image,
        } = self;
        table.clear();
        (*origin, *former) = (None, None);
        *effects = EffectLog::default();
        (*is_view, *is_copy, *is_funded) = (false, false, false);
        (*gas, *quota) = (Meters::default(), Meters::default());
        (*goes_on_at, *waits_for, *next_image) = (None, None, None);
        *found = PausedChain::default();
        // Clearing an empty one takes its time, too.
        if !waiting.is_empty() {
            waiting.clear();
        }
        memory.clear(loaded) && machine.reset()
    }

    /// Pages written and not settled; from now on they are. A frame that never had the gas to
    /// begin has written none, eager ones neither.
    pub fn settle_written(&mut self) -> u64 {
        match self.is_funded {
            true => self.memory.settle_written(&*self.machine),
            false => 0,
        }
    }

    /// The Instance as it was before the call, of a frame whose table can be undone.
    pub fn undo(&mut self, store: &dyn NodeStore) -> Result<Instance, Stop> {
        let table = self.table.take_undone(store)?;
        Ok(Instance::program(
            self.type_id,
            self.loaded.handle.clone(),
            table,
        ))
    }

    /// The Instance's new value, of a frame that has ended: the former one, if nothing changed.
    pub fn end(&mut self, store: &dyn NodeStore) -> Result<Instance, Stop> {
        let table = self.table.take_map(store)?;
        let is_same = |former: &Instance| former.cnode().is_some_and(|map| map.is_same(&table));
        let instance = match self.former.take().filter(is_same) {
            Some(former) => former,
            None => Instance::program(self.type_id, self.loaded.handle.clone(), table),
        };
        Ok(instance.with_image(self.next_image.take()))
    }
}
