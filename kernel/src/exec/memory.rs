//! A frame's memory: the mappings of its Image, what is written back of them, and what is owed
//! for written pages.

use std::sync::Arc;

use jar_abi::Status;
use jar_cap::image::{Image, Mapping, Source};
use jar_cap::{CNode, Cap, Data, NodeStore, Path, StoreError};
use jar_pvm::{Access, Backing, Machine, PAGE_SIZE, PageError, PageSource, Region};

use crate::exec::Stop;
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

/// What a frame knows of its machine's memory.
#[derive(Debug, Default)]
pub(crate) struct FrameMemory {
    mapped: Vec<MappedSlot>,
    eager_pages: u64,
    /// Pages written, when they were last counted.
    counted: u64,
    /// How many of them are persistent.
    persistent: u64,
    settled_pages: u64,
    settled_persistent: u64,
    /// Persistent pages whose quota is paid.
    quota_pages: u64,
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

impl FrameMemory {
    /// The regions of an Image's memory, and what to remember of them.
    pub fn map(
        store: &Arc<dyn Store>,
        loaded: &Loaded,
        table: &CNode,
    ) -> Result<(Vec<Region>, FrameMemory), Stop> {
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
                    let path = mapping.source.path();
                    let pinned = path.and_then(|path| loaded.sources.get(path.split_first().0));
                    Backing::Source(pinned.cloned().unwrap_or_else(|| {
                        let store = store.clone();
                        Arc::new(DataPages { data, store })
                    }))
                }),
                eager,
            });
        }
        let memory = FrameMemory {
            mapped,
            eager_pages: eager_pages(&loaded.image),
            ..FrameMemory::default()
        };
        Ok((regions, memory))
    }

    /// Counts the pages written up to now.
    fn count(&mut self, machine: &dyn Machine) {
        let count = u64::from(machine.written_count());
        if self.counted != count && !self.mapped.is_empty() {
            let written = machine.written_pages();
            self.persistent = self
                .mapped
                .iter()
                .map(|mapped| pages_of(mapped, &written).len() as u64)
                .sum();
        }
        self.counted = count;
    }

    /// Pages written since the last settlement of gas, which this is: all of them, and the
    /// persistent ones.
    pub fn settle(&mut self, machine: &dyn Machine) -> (u64, u64) {
        self.count(machine);
        let pages = self.counted + self.eager_pages;
        let unsettled = (
            pages - self.settled_pages,
            self.persistent - self.settled_persistent,
        );
        (self.settled_pages, self.settled_persistent) = (pages, self.persistent);
        unsettled
    }

    /// Persistent pages, as counted at the last settlement, whose quota is not paid.
    pub fn quota_owed(&self) -> u64 {
        self.persistent - self.quota_pages
    }

    /// Notes that no quota is owed.
    pub fn quota_paid(&mut self) {
        self.quota_pages = self.persistent;
    }

    /// Lets an operation on `path` win over the mappings of that slot and of slots below it.
    pub fn override_slots(&mut self, path: &Path) {
        for mapped in &mut self.mapped {
            mapped.overridden |= mapped.path.keys().starts_with(path.keys());
        }
    }

    /// Paths that a write-back will newly occupy: each costs quota.
    pub fn newly_occupied<'m>(&'m self, machine: &dyn Machine) -> impl Iterator<Item = &'m Path> {
        let written = match self.mapped.is_empty() {
            true => Vec::new(),
            false => machine.written_pages(),
        };
        self.mapped
            .iter()
            .filter(move |m| {
                m.before.is_none() && !m.overridden && last_written(m, &written).is_some()
            })
            .map(|m| &m.path)
    }

    /// Writes persistent mappings back, as a halt does.
    pub fn write_back(
        &mut self,
        store: &dyn NodeStore,
        machine: &dyn Machine,
        table: &mut CNode,
    ) -> Result<(), Stop> {
        if self.mapped.is_empty() {
            return Ok(());
        }
        let written = machine.written_pages();
        for mapped in std::mem::take(&mut self.mapped) {
            if mapped.overridden {
                continue;
            }
            if let Some(data) = mapped.written_data(store, machine, &written)? {
                set_path(table, store, mapped.path.keys(), Some(Cap::Data(data)))?;
            }
        }
        Ok(())
    }
}

impl MappedSlot {
    /// The Data a mapping leaves; `None` when nothing of it was written.
    fn written_data(
        &self,
        store: &dyn NodeStore,
        machine: &dyn Machine,
        written: &[u32],
    ) -> Result<Option<Data>, StoreError> {
        let Some(last) = last_written(self, written) else {
            return Ok(None);
        };
        let before = self.before.clone().unwrap_or_else(Data::empty);
        let end = u64::from(last - self.start + 1) * u64::from(PAGE_SIZE);
        let pages = pages_of(self, written).iter().filter_map(|page| {
            let bytes = machine.page_bytes(*page)?;
            Some((page - self.start, Arc::from(&bytes[..])))
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

/// Writable bytes that a call of this program adds to the live memory.
pub(crate) fn declared_bytes(loaded: &Loaded) -> u64 {
    loaded
        .image
        .memory
        .iter()
        .filter(|mapping| is_writable(mapping, loaded))
        .map(|mapping| u64::from(mapping.size))
        .sum()
}

fn eager_pages(image: &Image) -> u64 {
    image
        .memory
        .iter()
        .filter(|m| matches!(m.source, Source::Ephemeral { eager: true, .. }))
        .map(|m| u64::from(page_count(m)))
        .sum()
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
