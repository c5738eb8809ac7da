//! A frame: one Instance running, with its memory and what it owes for it.

use std::sync::Arc;

use jar_abi::Status;
use jar_abi::slots::SCRATCH;
use jar_cap::image::{Endpoint, Image, Mapping, Source};
use jar_cap::{Body, CNode, Cap, Data, Hash, Instance, Key, NodeStore, Path, StoreError};
use jar_pvm::{Access, Backing, Machine, MemoryMap, PAGE_SIZE, PageError, PageSource, Region};

use crate::error::KernelError;
use crate::exec::Stop;
use crate::exec::effects::Mark;
use crate::exec::table::set_path;
use crate::hardware::Store;
use crate::programs::Loaded;

/// A persistent mapping of a live frame.
#[derive(Debug)]
struct MappedSlot {
    path: Path,
    /// First page number.
    start: u32,
    pages: u32,
    /// The Data of entry; `None` for an empty slot.
    before: Option<Data>,
    /// Whether an operation touched the slot since: then it wins over what was written.
    overridden: bool,
}

/// One Instance that runs, or waits for one it called.
pub(crate) struct Frame {
    pub loaded: Arc<Loaded>,
    pub type_id: Hash,
    pub table: CNode,
    pub machine: Box<dyn Machine>,
    /// Where in the owner's table the Instance came from; `None` at the root.
    pub origin: Option<Path>,
    /// Effects as they stood at entry.
    pub mark: Mark,
    /// Whether the frame, or one above it, is a View.
    pub is_view: bool,
    /// Whether the frame itself was called as a View: its new value is dropped.
    pub is_copy: bool,
    /// Bytes of writable memory declared.
    pub writable_bytes: u64,
    mapped: Vec<MappedSlot>,
    eager_pages: u64,
    settled_pages: u64,
    settled_persistent: u64,
}

/// Pages of a Data, read when first touched.
struct DataPages {
    data: Data,
    store: Arc<dyn Store>,
}

impl PageSource for DataPages {
    fn page(&self, index: u32) -> Result<Option<Arc<[u8]>>, PageError> {
        self.data.page(&*self.store, index).map_err(PageError::new)
    }
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
    pub mark: Mark,
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
        table.set(&**store, &Key::from(SCRATCH), entry.scratch)?;
        let (regions, mapped) = map_memory(store, &loaded, &table)?;
        let image = &loaded.image;
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
            writable_bytes: writable_bytes(image, &loaded),
            eager_pages: eager_pages(image),
            loaded,
            type_id,
            table,
            machine,
            origin: entry.origin,
            mark: entry.mark,
            is_view: entry.is_view,
            is_copy: entry.is_copy,
            mapped,
            settled_pages: 0,
            settled_persistent: 0,
        })
    }

    /// Pages written since the last settlement: all of them, and the persistent ones.
    pub fn settle(&mut self) -> (u64, u64) {
        let pages = u64::from(self.machine.written_count()) + self.eager_pages;
        let persistent = if self.mapped.is_empty() {
            0
        } else {
            let written = self.machine.written_pages();
            written
                .iter()
                .filter(|page| self.is_persistent(**page))
                .count() as u64
        };
        let unsettled = (
            pages - self.settled_pages,
            persistent - self.settled_persistent,
        );
        (self.settled_pages, self.settled_persistent) = (pages, persistent);
        unsettled
    }

    fn is_persistent(&self, page: u32) -> bool {
        self.mapped
            .iter()
            .any(|m| (m.start..m.start + m.pages).contains(&page))
    }

    /// Lets an operation on `path` win over the mappings of that slot and of slots below it.
    pub fn override_mappings(&mut self, path: &Path) {
        for mapped in &mut self.mapped {
            mapped.overridden |= mapped.path.keys().starts_with(path.keys());
        }
    }

    /// Paths that a write-back will newly occupy: each costs quota.
    pub fn newly_occupied(&self) -> Vec<Path> {
        let written = self.machine.written_pages();
        self.mapped
            .iter()
            .filter(|m| m.before.is_none() && !m.overridden && last_written(m, &written).is_some())
            .map(|m| m.path.clone())
            .collect()
    }

    /// Writes persistent mappings back, as a halt does.
    pub fn write_back(&mut self, store: &dyn NodeStore) -> Result<(), Stop> {
        let written = if self.mapped.is_empty() {
            Vec::new()
        } else {
            self.machine.written_pages()
        };
        for mapped in std::mem::take(&mut self.mapped) {
            if mapped.overridden {
                continue;
            }
            if let Some(data) = self.written_data(store, &mapped, &written)? {
                set_path(
                    &mut self.table,
                    store,
                    mapped.path.keys(),
                    Some(Cap::Data(data)),
                )?;
            }
        }
        Ok(())
    }

    /// The Instance's new value.
    pub fn into_instance(self) -> Instance {
        Instance::program(self.type_id, self.loaded.handle.clone(), self.table)
    }

    /// The Data a mapping leaves; `None` when nothing of it was written.
    fn written_data(
        &self,
        store: &dyn NodeStore,
        mapped: &MappedSlot,
        written: &[u32],
    ) -> Result<Option<Data>, StoreError> {
        let Some(last) = last_written(mapped, written) else {
            return Ok(None);
        };
        let before = mapped.before.clone().unwrap_or_else(Data::empty);
        let end = u64::from(last - mapped.start + 1) * u64::from(PAGE_SIZE);
        let pages = pages_of(mapped, written).iter().filter_map(|page| {
            let bytes = self.machine.page_bytes(*page)?;
            Some((page - mapped.start, Arc::from(&bytes[..])))
        });
        before
            .with_pages(store, before.len().max(end), pages)
            .map(Some)
    }
}

/// The written pages of a mapping, of a sorted list.
fn pages_of<'w>(mapped: &MappedSlot, written: &'w [u32]) -> &'w [u32] {
    let from = written.partition_point(|page| *page < mapped.start);
    let to = written.partition_point(|page| *page < mapped.start + mapped.pages);
    &written[from..to]
}

fn last_written(mapped: &MappedSlot, written: &[u32]) -> Option<u32> {
    pages_of(mapped, written).last().copied()
}

fn page_count(mapping: &Mapping) -> u32 {
    mapping.size / PAGE_SIZE
}

fn is_writable(mapping: &Mapping, loaded: &Loaded) -> bool {
    match &mapping.source {
        Source::Slot(path) => !loaded.pinned.contains_key(path.split_first().0),
        Source::Ephemeral { .. } => true,
    }
}

fn writable_bytes(image: &Image, loaded: &Loaded) -> u64 {
    image
        .memory
        .iter()
        .filter(|mapping| is_writable(mapping, loaded))
        .map(|mapping| u64::from(mapping.size))
        .sum()
}

/// Writable bytes that a call of this program would add to the live memory.
pub(crate) fn declared_bytes(loaded: &Loaded) -> u64 {
    writable_bytes(&loaded.image, loaded)
}

fn eager_pages(image: &Image) -> u64 {
    image
        .memory
        .iter()
        .filter(|m| matches!(m.source, Source::Ephemeral { eager: true, .. }))
        .map(|m| u64::from(page_count(m)))
        .sum()
}

/// The regions of an Image's memory, and its persistent mappings.
fn map_memory(
    store: &Arc<dyn Store>,
    loaded: &Loaded,
    table: &CNode,
) -> Result<(Vec<Region>, Vec<MappedSlot>), Stop> {
    let mut regions = Vec::with_capacity(loaded.image.memory.len());
    let mut mapped = Vec::new();
    for mapping in &loaded.image.memory {
        let (data, eager) = match &mapping.source {
            Source::Slot(path) => {
                let data = mapped_data(&**store, loaded, table, path)?;
                if is_writable(mapping, loaded) {
                    mapped.push(MappedSlot {
                        path: path.clone(),
                        start: mapping.start / PAGE_SIZE,
                        pages: page_count(mapping),
                        before: data.clone(),
                        overridden: false,
                    });
                }
                (data, false)
            }
            Source::Ephemeral { init: None, eager } => (None, *eager),
            Source::Ephemeral {
                init: Some(path),
                eager,
            } => (mapped_data(&**store, loaded, table, path)?, *eager),
        };
        regions.push(Region {
            start: mapping.start,
            pages: page_count(mapping),
            access: if is_writable(mapping, loaded) {
                Access::ReadWrite
            } else {
                Access::Read
            },
            backing: data.map_or(Backing::Zero, |data| {
                Backing::Source(Arc::new(DataPages {
                    data,
                    store: store.clone(),
                }))
            }),
            eager,
        });
    }
    Ok((regions, mapped))
}

/// The Data behind a mapping; `None` for an empty slot, `WrongKind` for a missing parent or
/// another kind.
fn mapped_data(
    store: &dyn NodeStore,
    loaded: &Loaded,
    table: &CNode,
    path: &Path,
) -> Result<Option<Data>, Stop> {
    let (first, rest) = path.split_first();
    let mut cap = loaded.slot(store, table, first)?;
    for key in rest {
        let Some(Cap::CNode(node)) = cap else {
            return Err(Status::WrongKind.into());
        };
        cap = node.get(store, key)?;
    }
    match cap {
        None => Ok(None),
        Some(Cap::Data(data)) => Ok(Some(data)),
        Some(_) => Err(Status::WrongKind.into()),
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
