//! An in-memory kernel for tests on the host: one Instance's table, with the host calls
//! acting on it.
//!
//! `call` runs the programs that a test [installs](install), on the tables of [`Cap::Instance`];
//! their faults are undone as the kernel undoes them. It judges no gas, prices, quota, roles or
//! reserved slots, and makes no programs: `set_image`, `make_image`, `derive_spawn` and `subtype`
//! answer `Denied`, as do `resume`, `abort` and `detach`, for a yield takes the next of
//! [`World::answers`]. Each thread has a kernel of its own.

extern crate std;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use std::thread_local;

use jar_abi::{ATTEST_ABSENT, ATTEST_RECORDED, Kind, Status, slots};

use crate::{BlockInfo, Scope};

/// What a slot can hold here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cap {
    /// Bytes.
    Data(Vec<u8>),
    /// A table.
    CNode(BTreeMap<Vec<u8>, Cap>),
    /// An Instance of the kernel's own, by name.
    Native(&'static str),
    /// An Instance of an [installed](install) program, by the program's name, with its table.
    Instance(&'static str, BTreeMap<Vec<u8>, Cap>),
    /// A type, by name of the native Instance or of the program.
    Type(&'static str),
}

/// An endpoint as the kernel enters it: φ7..φ10 to the halt value.
pub type Entry = extern "C-unwind" fn(u64, u64, u64, u64) -> u64;

/// How deep calls may nest.
const DEPTH_MAX: u32 = 128;

/// An item appended by `slot_emit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emitted {
    /// 0 Transact, 1 Dispatch.
    pub kind: u64,
    /// The endpoint the item is for.
    pub endpoint: u8,
    /// Its payload.
    pub payload: Vec<u8>,
    /// SCALE `Vec<(item, attestation)>`.
    pub picks: Vec<u8>,
}

/// An event sent by `dispatch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispatched {
    /// The Dispatch endpoint it is for.
    pub endpoint: u8,
    /// Its payload.
    pub payload: Vec<u8>,
    /// Its attestations: key, scope, blob.
    pub attestations: Vec<([u8; 32], Scope, Vec<u8>)>,
}

/// The state of the in-memory kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    /// The Instance's table.
    pub table: BTreeMap<Vec<u8>, Cap>,
    /// Attestations at hand, in order: key, scope, blob. An `attest` takes the next one if
    /// it matches.
    pub attestations: Vec<([u8; 32], Scope, Vec<u8>)>,
    /// What `block_info` answers.
    pub block: Option<BlockInfo>,
    /// The score given.
    pub score: Option<u64>,
    /// Blocks declared final.
    pub finalized: Vec<[u8; 32]>,
    /// Lines logged: level and text.
    pub logs: Vec<(u64, String)>,
    /// Records emitted: topic and data.
    pub records: Vec<(Vec<u8>, Vec<u8>)>,
    /// Items appended to the aggregation slot.
    pub emitted: Vec<Emitted>,
    /// Keys of this node with the heights of their last vote's source and target. With some,
    /// `attest` is answered by what they may sign; without, by `attestations`.
    pub keys: BTreeMap<[u8; 32], Option<(u64, u64)>>,
    /// Attestations given by keys since the last `dispatch`.
    pub given: Vec<([u8; 32], Scope, Vec<u8>)>,
    /// Events sent by `dispatch`.
    pub dispatched: Vec<Dispatched>,
    /// What slot 0 held at each yield.
    pub asked: Vec<Option<Cap>>,
    /// What slot 0 holds after the yields to come, the next one first. A yield without an
    /// answer faults, as one without a catcher.
    pub answers: VecDeque<Option<Cap>>,
    recorded: u32,
}

impl World {
    /// A table as at genesis: with the Attestation and Consensus capabilities.
    pub fn genesis() -> World {
        let native = |slot: u8, name| (alloc::vec![slot], Cap::Native(name));
        World {
            table: BTreeMap::from([
                native(slots::ATTESTATION, "Attestation"),
                native(slots::CONSENSUS, "Consensus"),
            ]),
            ..World::default()
        }
    }

    /// Puts bytes into slot 0, as the payload of the next call.
    pub fn set_payload(&mut self, bytes: &[u8]) {
        self.table
            .insert(alloc::vec![slots::SCRATCH], Cap::Data(bytes.to_vec()));
    }

    /// Takes what a call left in slot 0.
    pub fn take_result(&mut self) -> Option<Vec<u8>> {
        match self.table.remove(&alloc::vec![slots::SCRATCH]) {
            Some(Cap::Data(bytes)) => Some(bytes),
            _ => None,
        }
    }

    fn get(&self, path: &[Vec<u8>]) -> Result<&Cap, Status> {
        let (last, parents) = path.split_last().ok_or(Status::Invalid)?;
        let mut table = &self.table;
        for key in parents {
            match table.get(key).ok_or(Status::Empty)? {
                Cap::CNode(inner) => table = inner,
                _ => return Err(Status::WrongKind),
            }
        }
        table.get(last).ok_or(Status::Empty)
    }

    fn parent(&mut self, path: &[Vec<u8>]) -> Result<&mut BTreeMap<Vec<u8>, Cap>, Status> {
        let (_, parents) = path.split_last().ok_or(Status::Invalid)?;
        let mut table = &mut self.table;
        for key in parents {
            match table.get_mut(key).ok_or(Status::WrongKind)? {
                Cap::CNode(inner) => table = inner,
                _ => return Err(Status::WrongKind),
            }
        }
        Ok(table)
    }

    fn put(&mut self, path: &[Vec<u8>], cap: Cap) -> Result<u64, Status> {
        let key = path.last().cloned().ok_or(Status::Invalid)?;
        let table = self.parent(path)?;
        if table.contains_key(&key) {
            return Err(Status::Occupied);
        }
        table.insert(key, cap);
        Ok(0)
    }

    fn remove(&mut self, path: &[Vec<u8>]) -> Result<Cap, Status> {
        self.get(path)?;
        let key = path.last().cloned().ok_or(Status::Invalid)?;
        self.parent(path)?.remove(&key).ok_or(Status::Empty)
    }

    fn bytes(&self, path: &[Vec<u8>]) -> Result<&[u8], Status> {
        match self.get(path)? {
            Cap::Data(bytes) => Ok(bytes),
            _ => Err(Status::WrongKind),
        }
    }

    /// Signs with a key that is held, if no watermark forbids it.
    fn sign(&mut self, wanted: ([u8; 32], Scope, Vec<u8>)) -> u64 {
        let (key, scope, _) = &wanted;
        let Some(last) = self.keys.get_mut(key) else {
            return ATTEST_ABSENT;
        };
        if let Scope::Vote { source, target } = *scope {
            if last.is_some_and(|last| source < last.0 || target <= last.1) {
                return ATTEST_ABSENT;
            }
            *last = Some((source, target));
        }
        self.given.push(wanted);
        ATTEST_RECORDED
    }

    /// Undoes what a fault undoes: not what was consumed, signed or logged.
    fn undo_to(&mut self, before: World) {
        let faulted = core::mem::replace(self, before);
        self.attestations = faulted.attestations;
        self.keys = faulted.keys;
        self.given = faulted.given;
        self.logs = faulted.logs;
        self.asked = faulted.asked;
        self.answers = faulted.answers;
        self.recorded = faulted.recorded;
    }

    fn authority(&self, path: &[Vec<u8>], name: &str) -> Result<(), Status> {
        match self.get(path)? {
            Cap::Native(native) if *native == name => Ok(()),
            _ => Err(Status::WrongKind),
        }
    }
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::new(World::genesis());
    static PROGRAMS: RefCell<BTreeMap<&'static str, BTreeMap<u8, Entry>>> =
        const { RefCell::new(BTreeMap::new()) };
    static DEPTH: Cell<u32> = const { Cell::new(1) };
}

/// Makes a program known to this thread's kernel, by its endpoints.
pub fn install(program: &'static str, endpoints: impl IntoIterator<Item = (u8, Entry)>) {
    let endpoints = endpoints.into_iter().collect();
    PROGRAMS.with(|programs| programs.borrow_mut().insert(program, endpoints));
}

/// Looks at, or changes, this thread's kernel.
pub fn with<T>(f: impl FnOnce(&mut World) -> T) -> T {
    WORLD.with(|world| f(&mut world.borrow_mut()))
}

/// Starts this thread's kernel afresh.
pub fn reset() {
    with(|world| *world = World::genesis());
}

fn code(result: Result<u64, Status>) -> i64 {
    match result {
        Ok(value) => value as i64,
        Err(status) => status as i64,
    }
}

/// The host calls; the same functions as in a guest.
pub(crate) mod calls {
    use std::panic;

    use blake2::{Blake2b, Digest, digest::consts::U32};
    use jar_abi::{CallStatus, Fault, HashAlgorithm};
    use parity_scale_codec::{Decode, Encode};

    use super::*;
    use crate::Path;

    fn digest(algorithm: HashAlgorithm, bytes: &[u8]) -> [u8; 32] {
        match algorithm {
            HashAlgorithm::Blake2b256 => Blake2b::<U32>::digest(bytes).into(),
            HashAlgorithm::Sha256 => sha2::Sha256::digest(bytes).into(),
            HashAlgorithm::Keccak256 => sha3::Keccak256::digest(bytes).into(),
        }
    }

    pub(crate) fn copy(src: &Path, dst: &Path) -> i64 {
        with(|w| {
            code(
                w.get(&src.keys())
                    .cloned()
                    .and_then(|cap| w.put(&dst.keys(), cap)),
            )
        })
    }

    pub(crate) fn move_(src: &Path, dst: &Path) -> i64 {
        with(|w| {
            let moved = w
                .get(&src.keys())
                .cloned()
                .and_then(|cap| w.put(&dst.keys(), cap));
            code(moved.and_then(|_| w.remove(&src.keys())).map(|_| 0))
        })
    }

    pub(crate) fn swap(a: &Path, b: &Path) -> i64 {
        let (a, b) = (a.keys(), b.keys());
        with(|w| {
            let held = w.get(&a).cloned().and_then(|first| {
                let second = w.get(&b).cloned()?;
                Ok((first, second))
            });
            code(held.and_then(|(first, second)| {
                if a[..a.len() - 1] != b[..b.len() - 1] {
                    return Err(Status::Invalid);
                }
                w.remove(&a)?;
                if a != b {
                    w.remove(&b)?;
                    w.put(&b, first)?;
                }
                w.put(&a, second)
            }))
        })
    }

    pub(crate) fn yield_(marker: &Path) -> i64 {
        let scratch = [alloc::vec![slots::SCRATCH]];
        let answered: Result<_, Status> = with(|w| {
            w.get(&marker.keys())?;
            let asked = w.remove(&scratch).ok();
            w.asked.push(asked);
            Ok(w.answers.pop_front())
        });
        match answered {
            Err(status) => status as i64,
            Ok(None) => trap(),
            Ok(Some(None)) => 0,
            Ok(Some(Some(answer))) => with(|w| code(w.put(&scratch, answer))),
        }
    }

    /// What this kernel does not do.
    const DENIED: i64 = Status::Denied as i64;

    pub(crate) fn resume(_slot: &Path) -> (u64, u64) {
        (DENIED as u64, jar_abi::CallStatus::Refused as u64)
    }

    pub(crate) fn abort(_slot: &Path) -> i64 {
        DENIED
    }

    pub(crate) fn detach(_slot: &Path) -> i64 {
        DENIED
    }

    pub(crate) fn set_image(_image: &Path) -> i64 {
        DENIED
    }

    pub(crate) fn derive_spawn(_image: &Path, _cnode: &Path, _dst: &Path) -> i64 {
        DENIED
    }

    pub(crate) fn make_image(_data: &Path, _dst: &Path) -> i64 {
        DENIED
    }

    pub(crate) fn subtype(_ty: &Path, _image: &Path, _dst: &Path) -> i64 {
        DENIED
    }

    pub(crate) fn drop(slot: &Path) -> i64 {
        with(|w| code(w.remove(&slot.keys()).map(|_| 0)))
    }

    pub(crate) fn mint_cnode(dst: &Path) -> i64 {
        with(|w| code(w.put(&dst.keys(), Cap::CNode(BTreeMap::new()))))
    }

    pub(crate) fn kind(slot: &Path) -> (i64, u64) {
        with(|w| match w.get(&slot.keys()) {
            Ok(Cap::Data(bytes)) => (Kind::Data as i64, bytes.len() as u64),
            Ok(Cap::CNode(_)) => (Kind::CNode as i64, 0),
            Ok(Cap::Native(_) | Cap::Instance(..)) => (Kind::Instance as i64, 0),
            Ok(Cap::Type(_)) => (Kind::Type as i64, 0),
            Err(status) => (status as i64, 0),
        })
    }

    pub(crate) fn next_key(cnode: &Path, key: &[u8], out: &mut [u8; 32]) -> i64 {
        let place = |key: &[u8]| digest(HashAlgorithm::Blake2b256, key);
        with(|w| {
            let table = match w.get(&cnode.keys()) {
                Ok(Cap::CNode(table)) => table,
                Ok(_) => return Status::WrongKind as i64,
                Err(status) => return status as i64,
            };
            let after = (!key.is_empty()).then(|| place(key));
            let later = table.keys().map(|k| (place(k), k));
            match later.filter(|(at, _)| after.is_none_or(|a| *at > a)).min() {
                Some((_, next)) => {
                    out[..next.len()].copy_from_slice(next);
                    next.len() as i64
                }
                None => Status::Empty as i64,
            }
        })
    }

    pub(crate) fn same_type(a: &Path, b: &Path) -> i64 {
        let name = |cap: &Cap| match cap {
            Cap::Native(name) | Cap::Instance(name, _) | Cap::Type(name) => Ok(*name),
            _ => Err(Status::WrongKind),
        };
        with(|w| {
            let a = w.get(&a.keys()).and_then(name);
            let b = w.get(&b.keys()).and_then(name);
            code(a.and_then(|a| b.map(|b| u64::from(a == b))))
        })
    }

    pub(crate) fn type_of(src: &Path, dst: &Path) -> i64 {
        with(|w| match w.get(&src.keys()) {
            Ok(Cap::Native(name) | Cap::Instance(name, _)) => {
                let name = *name;
                code(w.put(&dst.keys(), Cap::Type(name)))
            }
            Ok(_) => Status::WrongKind as i64,
            Err(status) => status as i64,
        })
    }

    pub(crate) fn read_data(slot: &Path, out: &mut [u8], offset: u64) -> i64 {
        with(|w| {
            let bytes = match w.bytes(&slot.keys()) {
                Ok(bytes) => bytes,
                Err(status) => return status as i64,
            };
            let Some(rest) = usize::try_from(offset).ok().and_then(|at| bytes.get(at..)) else {
                return Status::Range as i64;
            };
            let len = rest.len().min(out.len());
            out[..len].copy_from_slice(&rest[..len]);
            len as i64
        })
    }

    pub(crate) fn mint_data(bytes: &[u8], dst: &Path) -> i64 {
        with(|w| code(w.put(&dst.keys(), Cap::Data(bytes.to_vec()))))
    }

    pub(crate) fn call(slot: &Path, endpoint: u8, arguments: [u64; 4]) -> (u64, u64) {
        let slot = slot.keys();
        let (program, table, entry) = match callee(&slot, endpoint) {
            Ok(callee) => callee,
            Err(status) => return (status as i64 as u64, CallStatus::Refused as u64),
        };
        let scratch = alloc::vec![slots::SCRATCH];
        let (before, outer) = with(|w| {
            let before = w.clone();
            let mut inner = table;
            inner.remove(&scratch);
            if let Some(passed) = w.table.remove(&scratch) {
                inner.insert(scratch.clone(), passed);
            }
            (before, core::mem::replace(&mut w.table, inner))
        });
        DEPTH.with(|depth| depth.set(depth.get() + 1));
        let [a, b, c, d] = arguments;
        let ended = panic::catch_unwind(|| entry(a, b, c, d));
        DEPTH.with(|depth| depth.set(depth.get() - 1));
        with(|w| {
            let mut inner = core::mem::replace(&mut w.table, outer);
            match ended {
                Ok(value) => {
                    if let Some(left) = inner.remove(&scratch) {
                        w.table.insert(scratch, left);
                    }
                    // The slot was there at entry, and nothing but the callee ran.
                    if let (Ok(parent), Some(key)) = (w.parent(&slot), slot.last()) {
                        parent.insert(key.clone(), Cap::Instance(program, inner));
                    }
                    (value, CallStatus::Ok as u64)
                }
                Err(_) => {
                    w.undo_to(before);
                    w.table.remove(&scratch);
                    (Fault::Panic as u64, CallStatus::Faulted as u64)
                }
            }
        })
    }

    type Callee = (&'static str, BTreeMap<Vec<u8>, Cap>, Entry);

    fn callee(slot: &[Vec<u8>], endpoint: u8) -> Result<Callee, Status> {
        if slot.first().is_some_and(|key| *key == [slots::SCRATCH]) {
            return Err(Status::Busy);
        }
        let (program, table) = with(|w| match w.get(slot)? {
            Cap::Instance(program, table) => Ok((*program, table.clone())),
            Cap::Native(_) => Err(Status::Denied),
            _ => Err(Status::WrongKind),
        })?;
        let entry = PROGRAMS.with(|programs| {
            let programs = programs.borrow();
            let endpoints = programs.get(program);
            endpoints.and_then(|endpoints| endpoints.get(&endpoint).copied())
        });
        let entry = entry.ok_or(Status::NoEndpoint)?;
        match DEPTH.get() < DEPTH_MAX {
            true => Ok((program, table, entry)),
            false => Err(Status::Depth),
        }
    }

    pub(crate) fn attest(slot: &Path, key: &[u8; 32], blob: &[u8], scope: &[u8]) -> i64 {
        with(|w| {
            if let Err(status) = w.authority(&slot.keys(), "Attestation") {
                return status as i64;
            }
            let Ok(scope) = Scope::decode(&mut &scope[..]) else {
                return Status::Invalid as i64;
            };
            let wanted = (*key, scope, blob.to_vec());
            if !w.keys.is_empty() {
                return w.sign(wanted) as i64;
            }
            if w.attestations.first() == Some(&wanted) {
                w.attestations.remove(0);
                return ATTEST_RECORDED as i64;
            }
            ATTEST_ABSENT as i64
        })
    }

    pub(crate) fn block_info(out: &mut [u8; 88]) {
        if let Some(block) = with(|w| w.block.clone()) {
            out.copy_from_slice(&block.encode());
        }
    }

    pub(crate) fn score(slot: &Path, score: u64) -> i64 {
        with(|w| {
            code(w.authority(&slot.keys(), "Consensus").map(|()| {
                w.score = Some(score);
                0
            }))
        })
    }

    pub(crate) fn finalize(slot: &Path, block: &[u8; 32]) -> i64 {
        with(|w| {
            code(w.authority(&slot.keys(), "Consensus").map(|()| {
                w.finalized.push(*block);
                0
            }))
        })
    }

    pub(crate) fn slot_read(item: u32, dst: &Path) -> i64 {
        with(|w| {
            let Some(item) = w.emitted.get(item as usize) else {
                return Status::Range as i64;
            };
            let none: Vec<([u8; 32], Scope, [u8; 32])> = Vec::new();
            let bytes = (item.kind as u8, item.endpoint, &item.payload, none).encode();
            code(w.put(&dst.keys(), Cap::Data(bytes)))
        })
    }

    pub(crate) fn slot_emit(kind: u64, endpoint: u8, payload: &Path, picks: &[u8]) -> i64 {
        with(|w| {
            let payload = match w.bytes(&payload.keys()) {
                Ok(bytes) => bytes.to_vec(),
                Err(status) => return status as i64,
            };
            w.emitted.push(Emitted {
                kind,
                endpoint,
                payload,
                picks: picks.to_vec(),
            });
            0
        })
    }

    pub(crate) fn slot_keep(bitmap: &[u8]) -> i64 {
        with(|w| {
            if bitmap.len() != w.emitted.len().div_ceil(8) {
                return Status::Range as i64;
            }
            let mut i = 0;
            w.emitted.retain(|_| {
                i += 1;
                bitmap[(i - 1) / 8] >> ((i - 1) % 8) & 1 == 1
            });
            0
        })
    }

    pub(crate) fn slot_clear() -> i64 {
        with(|w| w.emitted.clear());
        0
    }

    pub(crate) fn dispatch(endpoint: u8, payload: &Path) -> i64 {
        with(|w| {
            let payload = match w.bytes(&payload.keys()) {
                Ok(bytes) => bytes.to_vec(),
                Err(status) => return status as i64,
            };
            let attestations = core::mem::take(&mut w.given);
            w.dispatched.push(Dispatched {
                endpoint,
                payload,
                attestations,
            });
            0
        })
    }

    pub(crate) fn gas_left() -> u64 {
        u64::MAX
    }

    pub(crate) fn log(level: u64, text: &[u8]) {
        with(|w| {
            w.logs
                .push((level, String::from_utf8_lossy(text).into_owned()))
        });
    }

    pub(crate) fn emit(topic: &[u8], data: &Path) -> i64 {
        with(|w| match w.bytes(&data.keys()) {
            Ok(bytes) => {
                let record = (topic.to_vec(), bytes.to_vec());
                w.records.push(record);
                0
            }
            Err(status) => status as i64,
        })
    }

    pub(crate) fn hash(algorithm: u64, bytes: &[u8], out: &mut [u8; 32]) {
        if let Some(algorithm) = HashAlgorithm::from_number(algorithm) {
            *out = digest(algorithm, bytes);
        }
    }

    /// Ends the call as a fault: a panic that a test can catch.
    pub(crate) fn trap() -> ! {
        panic::resume_unwind(alloc::boxed::Box::new("the guest faulted"))
    }

    pub(crate) fn recorded() -> u32 {
        with(|w| w.recorded)
    }

    pub(crate) fn set_recorded(count: u32) {
        with(|w| w.recorded = count);
    }
}
