//! One validator in virtual time.

use std::collections::BTreeMap;
use std::sync::Arc;

use jar_cap::{Hash, StoreError};
use jar_driver::{BlockRef, Driver, Effect, Input, Limits, Schedule, SyncMode};
use jar_kernel::block::Event;
use jar_kernel::local::LocalHardware;
use jar_kernel::signer::Signer;
use jar_kernel::{Advance, AdvanceError, Chain, Kernel, KernelError, Refusal, State, Store};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::store::{CrashAt, CrashStore};

/// Opens the chain on hardware: which Image, which engine.
pub type Opener = Box<dyn Fn(Arc<LocalHardware>) -> Result<Kernel<LocalHardware>, KernelError>>;

/// Events that clients submit at a moment, by Dispatch endpoint, given random bits and the head.
pub type Traffic = Box<dyn FnMut(u64, &Chain, &State) -> Vec<(u8, Event)>>;

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where all randomness comes from.
    pub seed: u64,
    /// How many time slots pass.
    pub slots: u64,
    /// Of a thousand slots, in how many the process is killed.
    pub crashes_per_mille: u64,
    /// Seeds of the validator's keys.
    pub keys: Vec<[u8; 32]>,
    /// Start of slot 0, in milliseconds since the Unix epoch.
    pub genesis_time_ms: u64,
    /// Length of a slot in milliseconds.
    pub slot_ms: u64,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Height of the head.
    pub height: u64,
    /// Hash of the head.
    pub head: Hash,
    /// State root of the head.
    pub state_root: Hash,
    /// How often the process was killed.
    pub crashes: u64,
    /// Events that Dispatch accepted.
    pub accepted: u64,
    /// Events that are in blocks.
    pub included: u64,
}

/// A broken promise, or a node in trouble.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel or its store failed for a reason of its own.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A block that was acknowledged is gone.
    #[error("slot {slot}: the block of height {height} is gone after a restart")]
    Lost {
        /// When it was noticed.
        slot: u64,
        /// Which block.
        height: u64,
    },
    /// Two blocks of one slot.
    #[error("slot {0}: a second block of the same slot")]
    SlotTwice(u64),
    /// An error that nothing explains.
    #[error("slot {slot}: {reason}")]
    Unexpected {
        /// When.
        slot: u64,
        /// What the kernel said.
        reason: String,
    },
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Error::Kernel(error.into())
    }
}

/// A running process of the node.
struct Process {
    store: Arc<CrashStore>,
    kernel: Kernel<LocalHardware>,
    driver: Driver,
}

/// The simulated world.
pub struct Simulation {
    config: Config,
    open: Opener,
    traffic: Traffic,
    rng: ChaCha20Rng,
    acknowledged: BTreeMap<u64, Hash>,
    slots_used: BTreeMap<u64, Hash>,
    report: Report,
}

impl Simulation {
    /// A world at the beginning.
    pub fn new(config: Config, open: Opener, traffic: Traffic) -> Self {
        Simulation {
            rng: ChaCha20Rng::seed_from_u64(config.seed),
            config,
            open,
            traffic,
            acknowledged: BTreeMap::new(),
            slots_used: BTreeMap::new(),
            report: Report {
                height: 0,
                head: [0; 32],
                state_root: [0; 32],
                crashes: 0,
                accepted: 0,
                included: 0,
            },
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound.max(1)
    }

    /// Runs all slots. What a node acknowledged must be there after every crash.
    pub fn run(mut self) -> Result<Report, Error> {
        let mut process = self.start(CrashStore::default())?;
        let end_ms = self.schedule().start_ms(self.config.slots + 1);
        let mut now_ms = self.config.genesis_time_ms;
        while now_ms < end_ms {
            let crash = self.below(1000) < self.config.crashes_per_mille;
            if crash {
                self.crash(&process);
            }
            self.submit(&mut process)?;
            match self.tick(&mut process, now_ms)? {
                Some(wake_ms) => now_ms = wake_ms.max(now_ms + 1),
                None => {
                    self.report.crashes += 1;
                    let down_slots = self.below(3);
                    now_ms += down_slots * self.config.slot_ms + self.below(self.config.slot_ms);
                    process = self.start(process.store.reopened())?;
                    self.check(&process, now_ms)?;
                }
            }
        }
        let head = process.kernel.head();
        self.report.height = head.header.height;
        self.report.head = head.hash;
        self.report.state_root = head.header.state_root;
        Ok(self.report)
    }

    fn schedule(&self) -> Schedule {
        Schedule {
            genesis_time_ms: self.config.genesis_time_ms,
            slot_ms: self.config.slot_ms,
            builds: true,
        }
    }

    fn start(&self, store: CrashStore) -> Result<Process, Error> {
        let store = Arc::new(store);
        let signer = Signer::new(self.config.keys.iter().copied(), store.as_ref())?;
        let hardware =
            LocalHardware::new(store.clone(), signer, Box::new(|_| {}), Box::new(|| false));
        let kernel = (self.open)(Arc::new(hardware))?;
        let driver = Driver::new(jar_driver::Config {
            schedule: self.schedule(),
            genesis: kernel.chain().genesis_hash(),
            sync: SyncMode::Full,
            first_height: 1,
            head: BlockRef::from(&**kernel.head()),
            finalized: BlockRef::from(&**kernel.finalized()),
            peers_min: 0,
            limits: Limits::default(),
        });
        Ok(Process {
            store,
            kernel,
            driver,
        })
    }

    fn crash(&mut self, process: &Process) {
        let crash = match self.below(2) {
            0 => CrashAt::BeforeCommit,
            _ => CrashAt::AfterCommit,
        };
        process.store.crash_next(crash);
    }

    fn submit(&mut self, process: &mut Process) -> Result<(), Error> {
        let bits = self.rng.next_u64();
        let events = (self.traffic)(bits, process.kernel.chain(), process.kernel.head());
        for (endpoint, event) in events {
            match process.kernel.dispatch(endpoint, event) {
                Ok(_) => self.report.accepted += 1,
                Err(Refusal::Kernel(error)) => return Err(error.into()),
                // Clients may send what is refused: that is traffic, too.
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Lets the driver decide; answers when to wake, or `None` when the process was killed.
    fn tick(&mut self, process: &mut Process, now_ms: u64) -> Result<Option<u64>, Error> {
        let mut wake_ms = now_ms + self.config.slot_ms;
        for effect in process.driver.handle(Input::Tick, now_ms) {
            match effect {
                Effect::Wake { at_ms } => wake_ms = at_ms,
                Effect::Build { slot, .. } => {
                    if !self.build(process, slot)? {
                        return Ok(None);
                    }
                }
                // Of peers, which there are none.
                _ => {}
            }
        }
        Ok(Some(wake_ms))
    }

    /// Builds a block; answers whether the process lives.
    fn build(&mut self, process: &mut Process, slot: u64) -> Result<bool, Error> {
        match process.kernel.advance(Advance::Build { slot }) {
            Ok(advanced) => {
                let header = &advanced.block.header;
                if self.slots_used.insert(slot, advanced.hash).is_some() {
                    return Err(Error::SlotTwice(slot));
                }
                self.acknowledged.insert(header.height, advanced.hash);
                self.report.included += advanced.events.len() as u64;
                Ok(true)
            }
            Err(AdvanceError::Kernel(KernelError::Store(StoreError::Backend(_)))) => Ok(false),
            Err(error) => Err(Error::Unexpected {
                slot,
                reason: error.to_string(),
            }),
        }
    }

    /// Everything acknowledged is still there; a block whose commit was the last act may be.
    fn check(&mut self, process: &Process, now_ms: u64) -> Result<(), Error> {
        let slot = self.schedule().slot_at(now_ms).unwrap_or(0);
        for (height, hash) in &self.acknowledged {
            if process.store.canonical(*height)? != Some(*hash) {
                return Err(Error::Lost {
                    slot,
                    height: *height,
                });
            }
        }
        let head = process.kernel.head();
        if self.acknowledged.get(&head.header.height) != Some(&head.hash) && head.header.height > 0
        {
            self.acknowledged.insert(head.header.height, head.hash);
            if self
                .slots_used
                .insert(head.header.slot, head.hash)
                .is_some()
            {
                return Err(Error::SlotTwice(head.header.slot));
            }
            let block = process.store.block(&head.hash)?;
            let groups = block.map(|block| block.body.groups).unwrap_or_default();
            self.report.included += groups
                .iter()
                .map(|(_, events)| events.len() as u64)
                .sum::<u64>();
        }
        Ok(())
    }
}
