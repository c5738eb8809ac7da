//! A frame: one Instance that runs, or waits for one it called, or for its yield to be answered.

use std::collections::BTreeMap;
use std::sync::Arc;

use jar_cap::image::Endpoint;
use jar_cap::{Body, CNode, Cap, Hash, ImageRef, Instance, Path, set_image_type};
use jar_pvm::{Machine, MemoryMap};

use crate::error::KernelError;
use crate::exec::Stop;
use crate::exec::effects::EffectLog;
use crate::exec::memory::{FrameMemory, declared_bytes};
use crate::exec::meters::Meters;
use crate::hardware::Store;
use crate::programs::Loaded;

/// One Instance that runs or waits.
pub(crate) struct Frame {
    pub loaded: Arc<Loaded>,
    pub type_id: Hash,
    pub table: CNode,
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
    /// An answer to its marker.
    Answer,
    /// More of what ran short; with its slot 0, which is set aside.
    Supply { aside: Option<Cap> },
}

/// An Instance's parts, when it is an idle program.
pub(crate) struct Program {
    pub type_id: Hash,
    pub table: CNode,
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
        program: Program,
        entry: Entry<'_>,
    ) -> Result<Frame, Stop> {
        let Program {
            type_id,
            mut table,
            loaded,
        } = program;
        table.set(&**store, &jar_abi::slots::SCRATCH.into(), entry.scratch)?;
        let (regions, memory) = FrameMemory::map(store, &loaded, &table)?;
        let map = MemoryMap::new(regions)
            .map_err(|error| KernelError::Internal(format!("checked mappings: {error}")))?;
        let mut machine = loaded.code.clone().machine(map);
        for (register, value) in &entry.endpoint.regs {
            machine.set_reg(usize::from(*register), *value);
        }
        for (offset, value) in entry.arguments.iter().enumerate() {
            machine.set_reg(7 + offset, *value);
        }
        machine.set_pc(entry.endpoint.pc, false);
        Ok(Frame {
            writable_bytes: declared_bytes(&loaded),
            loaded,
            type_id,
            table,
            machine,
            origin: entry.origin,
            effects: EffectLog::default(),
            is_view: entry.is_view,
            is_copy: entry.is_copy,
            memory,
            gas: Meters::default(),
            quota: Meters::default(),
            waits_for: None,
            waiting: BTreeMap::new(),
            next_image: None,
        })
    }

    /// The Instance's new value.
    pub fn into_instance(self) -> Instance {
        let Frame {
            type_id,
            loaded,
            table,
            next_image,
            ..
        } = self;
        match next_image {
            None => Instance::program(type_id, loaded.handle.clone(), table),
            Some(image) => Instance::program(set_image_type(&type_id, &image.id()), image, table),
        }
    }
}

/// The parts of an idle program Instance; `None` for a native one.
pub(crate) fn program_parts(instance: &Instance) -> Option<(Hash, jar_cap::ImageRef, CNode)> {
    match instance.body() {
        Body::Program { image, cnode, .. } => {
            Some((instance.type_id(), image.clone(), cnode.clone()))
        }
        Body::Native { .. } => None,
    }
}
