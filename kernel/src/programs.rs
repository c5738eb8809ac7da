//! Programs ready to run: Images with their prepared code, cached by Image id.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use jar_cap::image::{Endpoint, Image, Limits, Mapping, Pinned, Source};
use jar_cap::{Cap, Data, Hash, ImageRef, Key, MemoryStore, NodeStore, StoreError};
use jar_pvm::{Code, Engine, GasModel, MemoryMap, PAGE_SIZE, PageError, PageSource};

use crate::error::KernelError;
use crate::exec::Table;
use crate::params::Params;

/// Bytes of Images whose code the cache holds at the most.
const CACHE_BYTES_MAX: usize = 64 << 20;

/// An Image with everything its calls need.
pub struct Loaded {
    /// The Image.
    pub image: Arc<Image>,
    /// Its handle as a capability.
    pub handle: ImageRef,
    /// Its prepared code.
    pub code: Arc<dyn Code>,
    /// Its pinned slots as capabilities.
    pub pinned: BTreeMap<Key, Cap>,
    /// The pinned slots of one byte, a bit each.
    pinned_short: [u64; 4],
    /// The pages of its pinned Data. They are the same for all its machines, which lets an
    /// engine keep what it has read.
    pub(crate) sources: BTreeMap<Key, Arc<dyn PageSource>>,
    /// Writable bytes that a call adds to the live memory.
    pub(crate) writable_bytes: u64,
    /// Pages of its eager mappings.
    pub(crate) eager_pages: u64,
    /// Keys looked up to enter it: those of its mappings' paths, one where there is none, and
    /// its meters' slots.
    pub(crate) entry_keys: u64,
    /// The layout of its memory, if that depends on no Instance's slots; from the first call on.
    pub(crate) fixed_memory: OnceLock<MemoryMap>,
}

/// Pages of a Data that is in memory as a whole.
struct PinnedPages {
    data: Data,
    nothing: MemoryStore,
}

impl PageSource for PinnedPages {
    fn page(&self, index: u32) -> Result<Option<Arc<[u8]>>, PageError> {
        self.data.page(&self.nothing, index).map_err(PageError::new)
    }
}

impl Loaded {
    fn new(handle: &ImageRef, image: Arc<Image>, engine: &dyn Engine) -> Result<Self, KernelError> {
        let program = program_of(&image).map_err(KernelError::Image)?;
        let pinned: BTreeMap<Key, Cap> = image
            .pinned
            .iter()
            .map(|(key, pinned)| (*key, pinned_cap(pinned)))
            .collect();
        let sources = pinned.iter().filter_map(|(key, cap)| match cap {
            Cap::Data(data) => Some((*key, pinned_pages(data.clone()))),
            _ => None,
        });
        let mut pinned_short = [0; 4];
        for key in pinned.keys() {
            if let [slot] = key.as_slice() {
                pinned_short[usize::from(slot >> 6)] |= 1 << (slot & 63);
            }
        }
        let bytes_of = |chosen: &dyn Fn(&Mapping) -> bool| -> u64 {
            let mappings = image.memory.iter().filter(|mapping| chosen(mapping));
            mappings.map(|mapping| u64::from(mapping.size)).sum()
        };
        let is_eager =
            |mapping: &Mapping| matches!(mapping.source, Source::Ephemeral { eager: true, .. });
        Ok(Loaded {
            pinned_short,
            writable_bytes: bytes_of(&|mapping| is_writable(mapping, &pinned)),
            eager_pages: bytes_of(&is_eager) / u64::from(PAGE_SIZE),
            entry_keys: entry_keys(&image),
            fixed_memory: OnceLock::new(),
            code: engine.prepare(Arc::new(program), GasModel::Pipeline),
            handle: handle.clone(),
            image,
            sources: sources.collect(),
            pinned,
        })
    }

    /// What a pinned slot holds; `None` for others.
    pub fn pinned(&self, key: &Key) -> Option<&Cap> {
        match key.as_slice() {
            [slot] if self.pinned_short[usize::from(slot >> 6)] >> (slot & 63) & 1 == 0 => None,
            _ => self.pinned.get(key),
        }
    }

    /// What a slot of an Instance with this table holds: pinned slots are laid over.
    pub fn slot<'a>(
        &'a self,
        store: &dyn NodeStore,
        table: &'a Table,
        key: &Key,
    ) -> Result<Option<&'a Cap>, StoreError> {
        match self.pinned(key) {
            Some(pinned) => Ok(Some(pinned)),
            None => table.get(store, key),
        }
    }

    /// Whether a mapping can be written.
    pub(crate) fn is_writable(&self, mapping: &Mapping) -> bool {
        is_writable(mapping, &self.pinned)
    }

    /// Bytes of the Image, which its prepared code grows with.
    fn size(&self) -> usize {
        self.handle.size() as usize
    }
}

/// Whether a mapping can be written: what an Image pins can't.
fn is_writable(mapping: &Mapping, pinned: &BTreeMap<Key, Cap>) -> bool {
    match &mapping.source {
        Source::Slot(path) => !pinned.contains_key(path.split_first().0),
        Source::Ephemeral { .. } => true,
    }
}

/// Keys looked up to enter an Image's programs.
fn entry_keys(image: &Image) -> u64 {
    let keys = |mapping: &Mapping| mapping.source.path().map_or(1, |path| path.keys().len());
    let mapped: usize = image.memory.iter().map(keys).sum();
    (mapped + image.gas_slots.len() + image.quota_slots.len()) as u64
}

fn pinned_pages(data: Data) -> Arc<dyn PageSource> {
    let nothing = MemoryStore::new();
    Arc::new(PinnedPages { data, nothing })
}

/// Decodes an Image and checks all of its structure, and that of those pinned in it: endpoints
/// start where a block does. Says what is wrong with it.
pub(crate) fn decode_image(bytes: &[u8], params: &Params) -> Result<Image, String> {
    if bytes.len() as u64 > params.image_bytes {
        return Err(format!("the Image is over {} bytes", params.image_bytes));
    }
    let image: Image = jar_cap::decode_canonical(bytes).map_err(|error| error.to_string())?;
    let limits = Limits {
        code_bytes: u32::try_from(params.code_bytes).unwrap_or(u32::MAX),
        data_bytes: params.data_bytes,
    };
    image.check(&limits).map_err(|error| error.to_string())?;
    // The nesting is bounded by the check before.
    let mut unchecked = vec![&image];
    while let Some(image) = unchecked.pop() {
        program_of(image)?;
        unchecked.extend(image.pinned.values().filter_map(|pinned| match pinned {
            Pinned::Image(image) => Some(&**image),
            Pinned::Data(_) => None,
        }));
    }
    Ok(image)
}

/// The program of an Image, each endpoint at a block's start.
fn program_of(image: &Image) -> Result<jar_pvm::Program, String> {
    let program = jar_pvm::Program::new(
        image.program.code.clone(),
        image.program.bitmask.clone(),
        image.program.jump_table.clone(),
    )
    .map_err(|error| error.to_string())?;
    for Endpoint { name, pc, .. } in image.endpoints.values() {
        if !program.is_block_start(*pc) {
            return Err(format!(
                "endpoint {name} starts at {pc}, where no block does"
            ));
        }
    }
    Ok(program)
}

fn pinned_cap(pinned: &Pinned) -> Cap {
    match pinned {
        Pinned::Data(bytes) => Cap::Data(Data::new(bytes)),
        Pinned::Image(image) => Cap::Image(ImageRef::new((**image).clone())),
    }
}

#[derive(Default)]
struct Cache {
    entries: BTreeMap<Hash, (u64, Arc<Loaded>)>,
    bytes: usize,
    clock: u64,
}

impl Cache {
    fn get(&mut self, id: &Hash) -> Option<Arc<Loaded>> {
        self.clock += 1;
        let (used, loaded) = self.entries.get_mut(id)?;
        *used = self.clock;
        Some(loaded.clone())
    }

    fn insert(&mut self, id: Hash, loaded: Arc<Loaded>) {
        self.clock += 1;
        self.bytes += loaded.size();
        if let Some((_, old)) = self.entries.insert(id, (self.clock, loaded)) {
            self.bytes -= old.size();
        }
        while self.bytes > CACHE_BYTES_MAX && self.entries.len() > 1 {
            let oldest = self.entries.iter().min_by_key(|(_, (used, _))| *used);
            let Some(id) = oldest.map(|(id, _)| *id) else {
                return;
            };
            if let Some((_, old)) = self.entries.remove(&id) {
                self.bytes -= old.size();
            }
        }
    }
}

/// The engine with its cache of prepared programs.
pub struct Programs {
    engine: Arc<dyn Engine>,
    cache: Mutex<Cache>,
}

impl Programs {
    /// An empty cache over an engine.
    pub fn new(engine: Arc<dyn Engine>) -> Self {
        Programs {
            engine,
            cache: Mutex::default(),
        }
    }

    /// The engine's name.
    pub fn engine_name(&self) -> &'static str {
        self.engine.name()
    }

    /// An Image ready to run, from the cache or prepared now.
    pub fn load(
        &self,
        store: &dyn NodeStore,
        image: &ImageRef,
    ) -> Result<Arc<Loaded>, KernelError> {
        let id = image.id();
        let cached = self.lock().get(&id);
        if let Some(loaded) = cached {
            return Ok(loaded);
        }
        let loaded = Arc::new(Loaded::new(image, image.image(store)?, &*self.engine)?);
        self.lock().insert(id, loaded.clone());
        Ok(loaded)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Cache> {
        // A panic elsewhere leaves the cache usable: entries are whole or absent.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Programs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Programs")
            .field("engine", &self.engine_name())
            .finish_non_exhaustive()
    }
}
