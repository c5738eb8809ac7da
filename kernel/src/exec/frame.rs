//! A frame: one Instance that runs, or waits for one it called, or for its yield to be answered.

use std::collections::BTreeMap;
use std::sync::Arc;

use jar_cap::image::Endpoint;
use jar_cap::{
    Body, CNode, Cap, Data, Hash, ImageRef, Instance, NodeStore, Path, Resource, StoreError,
};
use jar_pvm::Machine;

use crate::exec::effects::EffectLog;
use crate::exec::memory::{FrameMemory, declared_bytes};
use crate::exec::meters::Meters;
use crate::exec::{Stop, Table};
use crate::hardware::Store;
use crate::programs::Loaded;

/// One Instance that runs or waits.
pub(crate) struct Frame {
    pub loaded: Arc<Loaded>,
    pub type_id: Hash,
    pub table: Table,
    pub machine: Box<dyn Machine>,
    /// Where in the owner's table the Instance came from; `None` at the root.
    pub origin: Option<Path>,
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
    /// Whether it ever had the gas to begin, the price of its pages included.
    pub is_funded: bool,
    /// Where a frame made of a suspended call goes on, until it does.
    pub goes_on_at: Option<u32>,
    /// Why a yielder waits; `None` for a frame that runs or calls.
    pub waits_for: Option<WaitsFor>,
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
    /// More of what ran short, named by the id of the cap that ran dry; with its slot 0, which
    /// is set aside.
    Supply {
        resource: Resource,
        dry: Hash,
        aside: Option<Cap>,
    },
}

/// The parts of a program Instance.
pub(crate) struct Program {
    pub type_id: Hash,
    pub table: Table,
    pub loaded: Arc<Loaded>,
}

/// What a frame is entered with.
pub(crate) struct Entry<'a> {
    pub endpoint: &'a Endpoint,
    /// φ7..φ10.
    pub arguments: [u64; 4],
    pub scratch: Option<Cap>,
    pub origin: Option<Path>,
    pub is_view: bool,
    pub is_copy: bool,
}

impl Frame {
    /// A frame about to run its endpoint, with no gas yet.
    pub fn enter(
        store: &Arc<dyn Store>,
        mut program: Program,
        entry: Entry<'_>,
    ) -> Result<Box<Frame>, Stop> {
        let scratch = jar_abi::slots::SCRATCH.into();
        program.table.set(&**store, &scratch, entry.scratch)?;
        let mut frame = Frame::new(store, program, &BTreeMap::new())?;
        let machine = &mut frame.machine;
        for (register, value) in &entry.endpoint.regs {
            machine.set_reg(usize::from(*register), *value);
        }
        for (offset, value) in entry.arguments.iter().enumerate() {
            machine.set_reg(7 + offset, *value);
        }
        machine.set_pc(entry.endpoint.pc, false);
        frame.origin = entry.origin;
        frame.is_view = entry.is_view;
        frame.is_copy = entry.is_copy;
        Ok(frame)
    }

    /// A frame of a program, its memory mapped; `kept` are contents of mappings that are in no
    /// slot.
    pub fn new(
        store: &Arc<dyn Store>,
        program: Program,
        kept: &BTreeMap<u8, Data>,
    ) -> Result<Box<Frame>, Stop> {
        let Program {
            type_id,
            table,
            loaded,
        } = program;
        let (map, memory) = FrameMemory::map(store, &loaded, &table, kept)?;
        Ok(Box::new(Frame {
            machine: loaded.code.clone().machine(map),
            writable_bytes: declared_bytes(&loaded),
            loaded,
            type_id,
            table,
            origin: None,
            effects: EffectLog::default(),
            is_view: false,
            is_copy: false,
            memory,
            gas: Meters::default(),
            quota: Meters::default(),
            is_funded: false,
            goes_on_at: None,
            waits_for: None,
            waiting: BTreeMap::new(),
            next_image: None,
        }))
    }

    /// Pages written and not settled; from now on they are. A frame that never had the gas to
    /// begin has written none, eager ones neither.
    pub fn settle_written(&mut self) -> u64 {
        match self.is_funded {
            true => self.memory.settle_written(&*self.machine),
            false => 0,
        }
    }

    /// The Instance's parts, for a frame that ends.
    pub fn take_program(&mut self) -> Program {
        Program {
            type_id: self.type_id,
            table: std::mem::take(&mut self.table),
            loaded: self.loaded.clone(),
        }
    }

    /// The Instance's new value, of a frame that has ended.
    pub fn end(&mut self, store: &dyn NodeStore) -> Result<Instance, StoreError> {
        let table = std::mem::take(&mut self.table).into_map(store)?;
        let instance = Instance::program(self.type_id, self.loaded.handle.clone(), table);
        Ok(instance.with_image(self.next_image.take()))
    }
}

/// The parts of a program Instance; `None` for a native one.
pub(crate) fn program_parts(instance: &Instance) -> Option<(Hash, ImageRef, CNode)> {
    match instance.body() {
        Body::Program { image, cnode, .. } => {
            Some((instance.type_id(), image.clone(), cnode.clone()))
        }
        Body::Native { .. } | Body::File(_) => None,
    }
}
