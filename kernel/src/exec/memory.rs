//! A frame's memory: the mappings of its Image, what is written back of them, and what is owed
//! for written pages.

use std::collections::BTreeMap;
use std::sync::Arc;

use jar_abi::Status;
use jar_cap::image::{Mapping, Source};
use jar_cap::{Cap, Data, Key, NodeStore, Path, StoreError};
use jar_pvm::{Access, Backing, Machine, MemoryMap, PAGE_SIZE, PageError, PageSource, Region};

use crate::error::KernelError;
use crate::exec::{Env, Stop, Table};
use crate::hardware::Store;
use crate::programs::Loaded;

/// A persistent mapping of a live frame.
#[derive(Debug)]
struct MappedSlot {
    /// Among the Image's mappings.
    index: u8,
    path: Path,
    /// First page number.
    start: u32,
    pages: u32,
    /// The Data of entry; `None` for an empty slot.
    before: Option<Data>,
    /// Whether an operation touched the slot since: then it wins over what was written.
    overridden: bool,
    /// Pages written, when they were last counted.
    written: u64,
}

/// Pages that a frame may write and settle later at the most: an engine may have to look at each
/// in every count.
const LATER_PAGES_MAX: u64 = 512;
/// Counts of a frame's pages that are settled later at the most.
const LATER_COUNTS_MAX: u32 = 16;

/// What a frame knows of its machine's memory.
#[derive(Debug, Default)]
pub(crate) struct FrameMemory {
    mapped: Vec<MappedSlot>,
    /// Contents that mappings began with instead of their own.
    kept: BTreeMap<u8, Data>,
    eager_pages: u64,
    /// Pages that can be written, eager ones included.
    writable_pages: u64,
    /// Pages written, when they were last counted.
    counted: u64,
    /// How many of them are persistent.
    persistent: u64,
    settled_pages: u64,
    settled_persistent: u64,
    /// Persistent pages whose quota is paid.
    quota_pages: u64,
    /// Whether the machine takes the price of a page when it is written.
    pays_at_once: bool,
    /// How often the pages were counted.
    counts: u32,
}

/// Pages of a Data, read when first touched.
struct DataPages {
    data: Data,
    store: Arc<dyn Store>,
    price: u64,
}

impl PageSource for DataPages {
    fn page(&self, index: u32) -> Result<Option<Arc<[u8]>>, PageError> {
        self.data.page(&*self.store, index).map_err(PageError::new)
    }

    fn page_price(&self) -> u64 {
        self.price
    }
}

impl FrameMemory {
    /// The layout of an Image's memory, and what to remember of it.
    pub fn map(
        env: &Env,
        loaded: &Loaded,
        table: &Table,
        kept: &BTreeMap<u8, Data>,
    ) -> Result<(MemoryMap, FrameMemory), Stop> {
        let fixed = loaded.fixed_memory.get().filter(|_| kept.is_empty());
        let (map, mapped) = match fixed {
            Some(map) => (map.clone(), Vec::new()),
            None => {
                let (map, mapped) = FrameMemory::lay_out(env, loaded, table, kept)?;
                if mapped.is_empty() && kept.is_empty() {
                    // Another thread may have been faster, with the same layout.
                    let _ = loaded.fixed_memory.set(map.clone());
                }
                (map, mapped)
            }
        };
        let memory = FrameMemory {
            mapped,
            kept: kept.clone(),
            eager_pages: loaded.eager_pages,
            writable_pages: loaded.writable_bytes / u64::from(PAGE_SIZE),
            ..FrameMemory::default()
        };
        Ok((map, memory))
    }

    /// The layout of an Image's memory, and its persistent mappings.
    fn lay_out(
        env: &Env,
        loaded: &Loaded,
        table: &Table,
        kept: &BTreeMap<u8, Data>,
    ) -> Result<(MemoryMap, Vec<MappedSlot>), Stop> {
        let mut regions = Vec::with_capacity(loaded.image.memory.len());
        let mut mapped = Vec::new();
        for (index, mapping) in (0..).zip(&loaded.image.memory) {
            let kept = kept.get(&index).cloned();
            // What was kept beside its slot had been overridden.
            let overridden = kept.is_some();
            let path = mapping.source.path().filter(|_| kept.is_none());
            let data = match path {
                Some(path) => mapped_data(&*env.store, loaded, table, path)?,
                None => kept,
            };
            let is_writable = loaded.is_writable(mapping);
            if let (Source::Slot(path), true) = (&mapping.source, is_writable) {
                mapped.push(MappedSlot {
                    index,
                    path: path.clone(),
                    start: mapping.start / PAGE_SIZE,
                    pages: page_count(mapping),
                    before: data.clone(),
                    overridden,
                    written: 0,
                });
            }
            let pinned = path.and_then(|path| loaded.sources.get(path.split_first().0));
            regions.push(Region {
                start: mapping.start,
                pages: page_count(mapping),
                access: match is_writable {
                    true => Access::ReadWrite,
                    false => Access::Read,
                },
                backing: data.map_or(Backing::Zero, |data| {
                    Backing::Source(pinned.cloned().unwrap_or_else(|| {
                        Arc::new(DataPages {
                            data,
                            store: env.store.clone(),
                            price: env.params.price_page_read,
                        })
                    }))
                }),
                eager: matches!(mapping.source, Source::Ephemeral { eager: true, .. }),
            });
        }
        let map = MemoryMap::new(regions)
            .map_err(|error| KernelError::Internal(format!("checked mappings: {error}")))?;
        Ok((map, mapped))
    }

    /// Forgets all that was written. `false` where the layout holds for this call alone.
    pub fn clear(&mut self, loaded: &Loaded) -> bool {
        let FrameMemory {
            mapped,
            kept,
            eager_pages: _,
            writable_pages: _,
            counted,
            persistent,
            settled_pages,
            settled_persistent,
            quota_pages,
            pays_at_once,
            counts,
        } = self;
        (*counted, *persistent, *settled_pages) = (0, 0, 0);
        (*settled_persistent, *quota_pages) = (0, 0);
        (*pays_at_once, *counts) = (false, 0);
        loaded.fixed_memory.get().is_some() && mapped.is_empty() && kept.is_empty()
    }

    /// Paths of the slots that writable memory shows.
    pub fn persistent_paths(&self) -> impl Iterator<Item = &Path> {
        self.mapped.iter().map(|mapped| &mapped.path)
    }

    /// Counts the pages written up to now.
    fn count(&mut self, machine: &dyn Machine) {
        self.counts = self.counts.saturating_add(1);
        let count = u64::from(machine.written_count());
        if self.counted != count && !self.mapped.is_empty() {
            if self.pays_at_once {
                self.count_new(&machine.written_since(self.counted as u32));
            } else {
                let written = machine.written_pages();
                for mapped in &mut self.mapped {
                    mapped.written = mapped.pages_of(&written).len() as u64;
                }
                self.persistent = self.mapped.iter().map(|mapped| mapped.written).sum();
            }
        }
        self.counted = count;
    }

    /// Counts the persistent ones of pages that were not written before.
    fn count_new(&mut self, pages: &[u32]) {
        for page in pages {
            let after = self.mapped.partition_point(|mapped| mapped.start <= *page);
            let Some(mapped) = self.mapped[..after].last_mut() else {
                continue;
            };
            if page - mapped.start < mapped.pages {
                mapped.written += 1;
                self.persistent += 1;
            }
        }
    }

    /// Pages written since the last settlement of gas: all of them, and the persistent ones.
    pub fn unsettled(&mut self, machine: &dyn Machine) -> (u64, u64) {
        self.count(machine);
        if self.pays_at_once {
            self.settled_pages = self.counted + self.eager_pages;
        }
        (
            self.counted + self.eager_pages - self.settled_pages,
            self.persistent - self.settled_persistent,
        )
    }

    /// Pages written and not settled; from now on they are.
    pub fn settle_written(&mut self, machine: &dyn Machine) -> u64 {
        let (pages, _) = self.unsettled(machine);
        self.settled_pages += pages;
        pages
    }

    /// Persistent pages, as last counted, whose lasting is not settled; from now on it is.
    pub fn settle_persistent(&mut self) -> u64 {
        let pages = self.persistent - self.settled_persistent;
        self.settled_persistent = self.persistent;
        pages
    }

    /// Pages that were written and not settled, or may be written and have to be settled then.
    pub fn unsettled_max(&self) -> u64 {
        match self.pays_at_once {
            true => 0,
            false => self.writable_pages - self.settled_pages,
        }
    }

    /// Whether counting later may cost the engine more than it saves.
    pub fn should_pay_at_once(&self) -> bool {
        let watched = self.writable_pages - self.eager_pages;
        !self.pays_at_once && (watched > LATER_PAGES_MAX || self.counts >= LATER_COUNTS_MAX)
    }

    /// From now on, behind a settlement, the machine takes the price of each page when it is
    /// written.
    pub fn pay_at_once(&mut self, machine: &mut dyn Machine, price: u64) {
        machine.price_writes(price);
        self.pays_at_once = true;
    }

    /// Pages that count as written from the start.
    pub fn eager_pages(&self) -> u64 {
        self.eager_pages
    }

    /// Pages of no slot that a suspended call keeps: those written since its frame was made.
    pub fn kept_pages(&mut self, machine: &dyn Machine) -> u64 {
        self.count(machine);
        self.counted - self.persistent + self.eager_pages
    }

    /// The contents of mappings that are in no slot, or in one that an operation touched since:
    /// what a suspended call keeps of its memory.
    pub fn keep(
        &self,
        store: &dyn NodeStore,
        machine: &dyn Machine,
        loaded: &Loaded,
    ) -> Result<BTreeMap<u8, Data>, Stop> {
        let written = machine.written_pages();
        let mut kept = self.kept.clone();
        for mapped in self.mapped.iter().filter(|mapped| mapped.overridden) {
            let before = mapped.before.clone().unwrap_or_else(Data::empty);
            let pages = mapped.pages_of(&written);
            let data = with_written(&before, store, machine, mapped.start, pages)?;
            kept.insert(mapped.index, data);
        }
        for (index, mapping) in (0..).zip(&loaded.image.memory) {
            let Source::Ephemeral { init, eager } = &mapping.source else {
                continue;
            };
            let (start, pages) = (mapping.start / PAGE_SIZE, page_count(mapping));
            let all: Vec<u32>;
            let written = match eager {
                true => {
                    all = (start..start + pages).collect();
                    &all[..]
                }
                false => pages_of(start, pages, &written),
            };
            if written.is_empty() {
                continue;
            }
            let before = match (kept.remove(&index), init) {
                (None, Some(path)) => loaded.pinned.get(path.split_first().0).cloned(),
                (before, _) => before.map(Cap::Data),
            };
            let before = match before {
                Some(Cap::Data(data)) => data,
                _ => Data::empty(),
            };
            let data = with_written(&before, store, machine, start, written)?;
            kept.insert(index, data);
        }
        Ok(kept)
    }

    /// Persistent pages, as counted at the last settlement, whose quota is not paid.
    pub fn quota_owed(&self) -> u64 {
        self.persistent - self.quota_pages
    }

    /// Notes that no quota is owed.
    pub fn quota_paid(&mut self) {
        self.quota_pages = self.persistent;
    }

    /// Lets an operation on the path of these keys win over the mappings of that slot and of
    /// slots below it.
    pub fn override_slots(&mut self, keys: &[Key]) {
        for mapped in &mut self.mapped {
            mapped.overridden |= mapped.path.keys().starts_with(keys);
        }
    }

    /// Paths that a write-back will newly occupy: each costs quota.
    pub fn newly_occupied(&mut self, machine: &dyn Machine) -> impl Iterator<Item = &Path> {
        self.count(machine);
        let is_new = |m: &&MappedSlot| m.before.is_none() && !m.overridden && m.written > 0;
        self.mapped.iter().filter(is_new).map(|m| &m.path)
    }

    /// Writes persistent mappings back, as a halt does.
    pub fn write_back(
        &mut self,
        store: &dyn NodeStore,
        machine: &dyn Machine,
        table: &mut Table,
    ) -> Result<(), Stop> {
        if self.mapped.is_empty() {
            return Ok(());
        }
        let written = machine.written_pages();
        for mapped in std::mem::take(&mut self.mapped) {
            if mapped.overridden {
                continue;
            }
            let pages = pages_of(mapped.start, mapped.pages, &written);
            if pages.is_empty() {
                continue;
            }
            let before = mapped.before.unwrap_or_else(Data::empty);
            let data = with_written(&before, store, machine, mapped.start, pages)?;
            table.set_path(store, &mapped.path, Some(Cap::Data(data)))?;
        }
        Ok(())
    }
}

impl MappedSlot {
    /// The pages, of a sorted list, that lie in it.
    fn pages_of<'w>(&self, written: &'w [u32]) -> &'w [u32] {
        pages_of(self.start, self.pages, written)
    }
}

/// A mapping's Data with its written pages, `start` being its first page's number.
fn with_written(
    before: &Data,
    store: &dyn NodeStore,
    machine: &dyn Machine,
    start: u32,
    written: &[u32],
) -> Result<Data, StoreError> {
    let end = written.last().map_or(0, |last| u64::from(last - start + 1));
    let pages = written.iter().filter_map(|page| {
        let bytes = machine.page_bytes(*page)?;
        Some((page - start, Arc::from(&bytes[..])))
    });
    let len = before.len().max(end * u64::from(PAGE_SIZE));
    before.with_pages(store, len, pages)
}

/// The pages, of a sorted list, that lie in a mapping.
fn pages_of(start: u32, pages: u32, written: &[u32]) -> &[u32] {
    let from = written.partition_point(|page| *page < start);
    let to = written.partition_point(|page| *page < start + pages);
    &written[from..to]
}

fn page_count(mapping: &Mapping) -> u32 {
    mapping.size / PAGE_SIZE
}

/// The Data behind a mapping; `None` for an empty slot, `WrongKind` for a missing parent or
/// another kind.
fn mapped_data(
    store: &dyn NodeStore,
    loaded: &Loaded,
    table: &Table,
    path: &Path,
) -> Result<Option<Data>, Stop> {
    let (first, rest) = path.split_first();
    let mut cap = loaded.slot(store, table, first)?;
    for key in rest {
        let Some(Cap::CNode(node)) = cap else {
            return Err(Status::WrongKind.into());
        };
        cap = node.get_ref(store, key)?;
    }
    match cap {
        None => Ok(None),
        Some(Cap::Data(data)) => Ok(Some(data.clone())),
        Some(_) => Err(Status::WrongKind.into()),
    }
}
