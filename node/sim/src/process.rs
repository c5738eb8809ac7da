//! A node's process: the kernel and the driver on one disk, and keys.

use std::sync::{Arc, Mutex, PoisonError};

use jar_cap::{Hash, StoreError};
use jar_driver::{
    BlockRef, Config, Driver, EventOutcome, ImportOutcome, Input, Limits, Schedule, SigningError,
    SigningGuard, SigningNews, SyncMode, Ticket, serve,
};
use jar_kernel::block::{Block, Event, Signature};
use jar_kernel::local::{LocalHardware, Notice};
use jar_kernel::memory::MemoryChainStore;
use jar_kernel::signer::Signer;
use jar_kernel::{
    Advance, AdvanceError, Advanced, Emission, Hardware, Kernel, KernelError, SignError,
    SignRequest, Store, Trace, Watermark,
};

use crate::store::CrashStore;
use crate::token::TokenChain;

/// So little that nodes let go of what they have of the state every few blocks.
const STATE_MEMORY: u64 = 64 << 10;

/// Hardware in memory; that of a reckless node signs without watermarks.
#[derive(Debug)]
pub(crate) struct SimHardware {
    local: LocalHardware,
    reckless: Option<Signer>,
    seeds: Vec<[u8; 32]>,
}

impl Hardware for SimHardware {
    fn store(&self) -> Arc<dyn Store> {
        self.local.store()
    }

    fn may_sign(&self, request: &SignRequest) -> bool {
        match &self.reckless {
            Some(keys) => keys.keys().any(|key| *key == request.key),
            None => self.local.may_sign(request),
        }
    }

    fn sign(
        &self,
        request: &SignRequest,
        message: &Hash,
    ) -> Result<(Signature, Watermark), SignError> {
        match &self.reckless {
            // A signer that was made a moment ago remembers nothing.
            Some(_) => Signer::new(self.seeds.iter().copied(), &MemoryChainStore::new())
                .map_err(|_| SignError::NotHeld)?
                .sign(request, message)
                .map(|(signature, _)| (signature, Watermark::default())),
            None => self.local.sign(request, message),
        }
    }

    fn emit(&self, emission: Emission) {
        self.local.emit(emission);
    }

    fn should_stop(&self) -> bool {
        self.local.should_stop()
    }

    fn trace(&self, trace: Trace) {
        self.local.trace(trace);
    }
}

/// How a process is set up.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// Seeds of the keys it signs with.
    pub seeds: Vec<[u8; 32]>,
    /// Whether it signs without watermarks.
    pub is_reckless: bool,
    pub sync: SyncMode,
}

/// When and how a process starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    /// The first slot that begins after it.
    pub first_slot: u64,
    /// Whether the disk is known to be a copy that was put back.
    pub is_restored: bool,
}

/// What came of some work of the kernel.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// For the driver, in order.
    pub inputs: Vec<Input>,
    /// For the network.
    pub emissions: Vec<Emission>,
    /// For the log and the checks.
    pub traces: Vec<Trace>,
    /// What an operator would be told of signing.
    pub signing: Vec<SigningNews>,
}

/// Why a process ends.
#[derive(Debug)]
pub(crate) enum End {
    /// It was killed while it committed.
    Killed,
    /// The node itself is in trouble, which must not be.
    Trouble(String),
}

impl From<KernelError> for End {
    fn from(error: KernelError) -> End {
        match error {
            KernelError::Store(StoreError::Backend(reason)) if reason == CrashStore::KILLED => {
                End::Killed
            }
            error => End::Trouble(error.to_string()),
        }
    }
}

impl From<SigningError> for End {
    fn from(error: SigningError) -> End {
        match error {
            SigningError::Store(error) => error.into(),
            error => End::Trouble(error.to_string()),
        }
    }
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> End {
        KernelError::Store(error).into()
    }
}

/// A running process of a node.
pub(crate) struct Process {
    pub kernel: Kernel<SimHardware>,
    pub driver: Driver,
    pub store: Arc<CrashStore>,
    pub guard: SigningGuard,
    hardware: Arc<SimHardware>,
    notices: Arc<Mutex<Vec<Notice>>>,
    /// The head and the finalized block that the driver knows of.
    told: (Hash, Hash),
}

impl Process {
    /// Starts a node on a disk.
    pub fn start(
        chain: &TokenChain,
        setup: &Setup,
        store: CrashStore,
        start: Start,
    ) -> Result<Process, End> {
        let store = Arc::new(store);
        let signer = Signer::new(setup.seeds.iter().copied(), &*store)?;
        let notices = Arc::new(Mutex::new(Vec::new()));
        let heard = notices.clone();
        let sink = Box::new(move |notice| {
            let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            heard.push(notice);
        });
        let reckless = match setup.is_reckless {
            true => Some(Signer::new(setup.seeds.iter().copied(), &*store)?),
            false => None,
        };
        let hardware = SimHardware {
            local: LocalHardware::new(store.clone(), signer, sink, Box::new(|| false)),
            reckless,
            seeds: setup.seeds.clone(),
        };
        let guard = SigningGuard::new(hardware.local.signer(), start.is_restored, start.first_slot);
        let hardware = Arc::new(hardware);
        let mut kernel = Kernel::open(hardware.clone(), &chain.genesis, chain.engine.clone())?;
        kernel.limit_memory(STATE_MEMORY);
        let (head, finalized) = (
            BlockRef::from(&**kernel.head()),
            BlockRef::from(&**kernel.finalized()),
        );
        let driver = Driver::new(Config {
            schedule: Schedule {
                genesis_time_ms: chain.genesis.time_ms,
                slot_ms: chain.genesis.slot_ms,
                builds: !setup.seeds.is_empty(),
            },
            genesis: kernel.chain().genesis_hash(),
            sync: setup.sync,
            first_height: serve::first_height(&*store, head.height)?,
            head,
            finalized,
            peers_min: 0,
            limits: Limits::default(),
        });
        Ok(Process {
            told: (head.hash, finalized.hash),
            kernel,
            driver,
            store,
            guard,
            hardware,
            notices,
        })
    }

    /// What the kernel told, and news of the head for the driver.
    fn settle(&mut self) -> Result<Done, End> {
        let head = BlockRef::from(&**self.kernel.head());
        let finalized = BlockRef::from(&**self.kernel.finalized());
        let mut done = Done::default();
        if self.told.0 != head.hash {
            self.kernel.on_head(self.driver.is_synced())?;
            done.inputs.push(Input::Head(head));
        }
        if self.told.1 != finalized.hash {
            done.inputs.push(Input::Finalized(finalized));
        }
        self.told = (head.hash, finalized.hash);
        let mut notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        for notice in notices.drain(..) {
            match notice {
                Notice::Emission(emission) => done.emissions.push(emission),
                Notice::Trace(trace) => done.traces.push(trace),
            }
        }
        Ok(done)
    }

    /// Builds the block of a slot; `None` when the slot is another author's.
    pub fn build(&mut self, slot: u64) -> Result<Option<Done>, End> {
        match self.kernel.advance(Advance::Build { slot }) {
            Ok(advanced) => self.advanced(&advanced, None).map(Some),
            // A block of the slot may come while the driver decides.
            Err(AdvanceError::NotAuthor | AdvanceError::StaleSlot { .. }) => Ok(None),
            Err(AdvanceError::Kernel(error)) => Err(error.into()),
            Err(error) => Err(End::Trouble(format!("no block of slot {slot}: {error}"))),
        }
    }

    /// Tells the guard of a block that was committed, before anything is signed on its state.
    fn advanced(&mut self, advanced: &Advanced, imported: Option<&Block>) -> Result<Done, End> {
        let (hardware, store) = (self.hardware.clone(), self.store.clone());
        let (signer, mut news) = (hardware.local.signer(), Vec::new());
        if let Some(block) = imported {
            news.extend(self.guard.imported(signer, &*store, block)?);
        }
        if advanced.finalized.is_some() {
            let (head, finalized) = (self.kernel.head(), self.kernel.finalized());
            let slots = (advanced.block.header.slot, finalized.header.slot);
            let heights = (head.header.height, finalized.header.height);
            news.extend(self.guard.finalized(signer, &*store, slots, heights)?);
        }
        let mut done = self.settle()?;
        done.signing = news;
        Ok(done)
    }

    /// Imports a block of a peer.
    pub fn import(&mut self, ticket: Ticket, block: &Block) -> Result<Done, End> {
        let result = self
            .kernel
            .advance(Advance::Import(Box::new(block.clone())));
        let outcome = ImportOutcome::of(&result);
        let mut done = match result {
            Err(AdvanceError::Kernel(error)) => return Err(error.into()),
            Err(_) => self.settle()?,
            Ok(advanced) => self.advanced(&advanced, Some(block))?,
        };
        done.inputs.push(Input::Imported { ticket, outcome });
        Ok(done)
    }

    /// Offers events of a peer to the pipeline.
    pub fn judge(&mut self, ticket: Ticket, endpoint: u8, events: &[Event]) -> Result<Done, End> {
        let outcomes = events
            .iter()
            .map(|event| EventOutcome::of(&self.kernel.receive(endpoint, event)))
            .collect();
        let mut done = self.settle()?;
        done.inputs.push(Input::Judged { ticket, outcomes });
        Ok(done)
    }

    /// Takes an event of a client; whether it is accepted is the client's to know.
    pub fn submit(&mut self, endpoint: u8, event: Event) -> Result<(bool, Done), End> {
        let accepted = self.kernel.dispatch(endpoint, event).is_ok();
        Ok((accepted, self.settle()?))
    }

    /// Hands aggregates that changed to the network.
    pub fn announce(&mut self) -> Result<Done, End> {
        self.kernel.announce();
        self.settle()
    }

    /// Does what the driver asks of the store and of the kernel for state sync.
    pub fn adopt(&mut self, ticket: Ticket, pivot: jar_driver::Pivot) -> Result<Done, End> {
        let adopted = self
            .kernel
            .adopt(pivot.block, pivot.score, pivot.instance, pivot.outcomes);
        let is_adopted = adopted.is_ok();
        if let Err(AdvanceError::Kernel(error)) = adopted {
            return Err(error.into());
        }
        let mut done = self.settle()?;
        done.inputs.push(Input::Adopted { ticket, is_adopted });
        Ok(done)
    }
}
