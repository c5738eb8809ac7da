//! A frame with everything an operation can meet, and what of it an operation may change.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use jar_abi::{Fault, HostCall, SlotItemKind, Status, slots};
use jar_cap::hash::blake2b;
use jar_cap::image::{Endpoint, Image, Mapping, Pinned, Program as Code, Role, Source};
use jar_cap::{
    Body as InstanceBody, CNode, Cap, Data, Hash, ImageRef, Instance, Key, NativeKind, Path,
    Paused, Resource, Waiting,
};
use jar_pvm::EngineKind;
use parity_scale_codec::Encode;

use crate::block::{Attestation, Body, Event, Scope};
use crate::dispatch::Pipeline;
use crate::exec::effects::{Effects, EmittedItem};
use crate::exec::frame::{Entry, Frame, WaitsFor};
use crate::exec::meters::{Meters, Rows};
use crate::exec::run::{Execution, Flow};
use crate::exec::{BlockInfo, Cursor, Env, Grant, Obligation, Producer, Stop, Traces};
use crate::hardware::SignRequest;
use crate::memory::MemoryChainStore;
use crate::natives::Catcher;
use crate::params::Params;
use crate::programs::Programs;

/// Read-only memory, one page.
pub const RO: u64 = 0x1_0000;
/// Writable memory, eight pages.
pub const RAM: u64 = 0x2_0000;
/// Bytes of writable memory.
pub const RAM_LEN: u64 = 8 * 4096;
/// Not mapped.
pub const NOWHERE: u64 = 0x8_0000;

/// Slots of the frame's table.
pub const DATA: u64 = 40;
pub const CNODE: u64 = 41;
pub const TYPE: u64 = 42;
pub const CALLEE: u64 = 43;
pub const IMAGE: u64 = 44;
/// An Instance that waits for the frame.
pub const WAITING: u64 = 45;
/// A CNode whose key 1 holds one that waits, too; key 2 one that does not.
pub const HOLDER: u64 = 46;
/// A suspended Instance, and one that calls another which does not wait.
pub const PAUSED: u64 = 47;
pub const BROKEN: u64 = 48;
/// A suspended Instance that calls another suspended one.
pub const CALLING: u64 = 49;
/// The same, through two CNodes.
pub const CALLING_FAR: u64 = 53;
/// A Catcher of as many types as one holds.
pub const FULL: u64 = 51;
/// Below a CNode: an Image that pins [`FREE`], one that pins [`DATA`], the encoding of one, an
/// empty CNode, and one that holds something in [`FREE`].
pub const IMAGE_OF_FREE: u64 = 1 << 56 | 1 << 8 | 52;
pub const IMAGE_OF_DATA: u64 = 1 << 56 | 2 << 8 | 52;
pub const ENCODED_IMAGE: u64 = 1 << 56 | 3 << 8 | 52;
pub const EMPTY_CNODE: u64 = 1 << 56 | 4 << 8 | 52;
pub const CNODE_WITH_FREE: u64 = 1 << 56 | 5 << 8 | 52;
/// There, too: a File.
pub const FILE: u64 = 1 << 56 | 6 << 8 | 52;
/// Nothing there.
pub const FREE: u64 = 50;
pub const PINNED_DATA: u64 = 60;
pub const PINNED_IMAGE: u64 = 61;

/// What [`DATA`] holds.
pub const DATA_LEN: usize = 5000;

pub fn data_bytes() -> Vec<u8> {
    (0..DATA_LEN).map(|i| (i % 251) as u8).collect()
}

/// A path register: one key and further ones.
pub fn path(keys: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes[..keys.len()].copy_from_slice(keys);
    bytes[7] = keys.len() as u8 - 1;
    u64::from_le_bytes(bytes)
}

/// A path register that names SCALE in memory.
pub fn long_path(address: u64, len: u64) -> u64 {
    1 << 63 | len << 32 | address
}

/// A path register that is no path.
pub const MALFORMED: u64 = 8 << 56;

pub fn keys(keys: &[u8]) -> Vec<Key> {
    keys.iter().map(|key| Key::from(*key)).collect()
}

/// The circumstances of a case; changed by the case before the frame is made.
#[derive(Clone)]
pub struct Scene {
    pub params: Params,
    pub gas: u64,
    pub quota: u64,
    pub is_view: bool,
    /// Written to memory before the call.
    pub memory: Vec<(u64, Vec<u8>)>,
    /// What `attest` and `result` are matched with.
    pub traces: Body,
    /// Keys that may be signed with; when given, `attest` produces.
    pub signing: Option<Vec<[u8; 32]>>,
    /// Slots whose capabilities the frame lacks.
    pub lacks: Vec<u8>,
    /// Whether a Dispatch slot is at hand.
    pub has_slot: bool,
    /// Whether it is there for a new head, not for an arriving event.
    pub is_head_phase: bool,
    /// Events that were dispatched before.
    pub dispatched: u64,
    /// Frames below the running one, besides the root.
    pub depth: usize,
    /// The slot from which slot 0 is filled.
    pub scratch: Option<u64>,
    /// Whether what waits was called as a View.
    pub waits_as_view: bool,
    /// The row that what waits spends from, and what it holds of gas and quota.
    pub waits_with_row: Option<(u64, u64)>,
}

/// The row of [`Scene::waits_with_row`].
const WAITING_ROW: u64 = 9;

impl Default for Scene {
    fn default() -> Scene {
        Scene {
            params: Params::default(),
            gas: 1 << 40,
            quota: 1 << 30,
            is_view: false,
            memory: Vec::new(),
            traces: Body::default(),
            signing: None,
            lacks: Vec::new(),
            has_slot: false,
            is_head_phase: false,
            dispatched: 0,
            depth: 0,
            scratch: None,
            waits_as_view: false,
            waits_with_row: None,
        }
    }
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Value(u64),
    Pair(u64, u64),
    Status(Status),
    Fault(Fault),
    Exhausted(Fault),
    Switched,
    Short(Resource),
    Halted(u64),
}

/// Everything an operation can change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct World {
    pub table: Hash,
    pub effects: String,
    pub memory: Hash,
    pub written: Vec<u32>,
    pub quota: u64,
    pub traces: Cursor,
    pub frames: usize,
    /// What `set_image` recorded.
    pub next_image: Option<Hash>,
    /// Paths that are reserved.
    pub waiting: Vec<Path>,
    pub live_bytes: u64,
    pub logged: Vec<(u64, Vec<u8>)>,
}

/// A call that was made.
pub struct Ran {
    pub answer: Answer,
    pub gas_used: u64,
    pub before: World,
    pub after: World,
    /// The frame's table before.
    pub former: CNode,
    /// The frame's table, and what the effects are.
    pub table: CNode,
    pub effects: Effects,
    pub obligations: Vec<Obligation>,
    memory: Vec<u8>,
}

/// The key that the arriving event and the items are signed with.
pub const KEY: [u8; 32] = [7; 32];

pub fn attestation(scope: Scope, blob_hash: Hash) -> Attestation {
    Attestation {
        key: KEY,
        scope,
        blob_hash,
        signature: [9; 64],
    }
}

fn endpoint(role: Role) -> Endpoint {
    Endpoint {
        name: format!("{role:?}"),
        role,
        pc: 0,
        regs: BTreeMap::new(),
    }
}

/// An Image that does nothing.
pub fn small_image() -> Image {
    Image {
        program: Code {
            code: vec![0],
            bitmask: vec![1],
            jump_table: Vec::new(),
        },
        ..Image::default()
    }
}

/// The Image of the frame and of its callee: endpoint 0 a Call, 1 a View, 2 a Transact, 3 a
/// Dispatch. Its code is one trap: nothing here runs.
pub fn image() -> Image {
    let roles = [Role::Call, Role::View, Role::Transact(0), Role::Dispatch];
    let mapping = |start: u64, size: u32, source| Mapping {
        start: start as u32,
        size,
        source,
    };
    let ephemeral = Source::Ephemeral {
        init: None,
        eager: false,
    };
    Image {
        program: Code {
            code: vec![0],
            bitmask: vec![1],
            jump_table: Vec::new(),
        },
        endpoints: (0..).zip(roles.map(endpoint)).collect(),
        memory: vec![
            mapping(RO, 4096, Source::Slot(Key::from(60).into())),
            mapping(RAM, RAM_LEN as u32, ephemeral),
        ],
        pinned: [
            (Key::from(60), Pinned::Data(b"pinned".to_vec())),
            (Key::from(61), Pinned::Image(Box::new(small_image()))),
        ]
        .into(),
        catcher_slot: Some(Key::from(slots::CATCHER)),
        ..Image::default()
    }
}

/// The entries of [`CNODE`], by their one-byte keys.
pub const ENTRIES: [u8; 4] = [1, 2, 3, 4];

fn table(store: &MemoryChainStore) -> CNode {
    let mut table = CNode::empty();
    let mut set = |slot: u64, cap| {
        let key = Key::from(slot as u8);
        table.set(store, &key, Some(cap)).expect("in memory");
    };
    let native = |kind| Cap::Instance(Instance::native(kind, Vec::new()));
    let mut inner = CNode::empty();
    for key in ENTRIES {
        let cap = Cap::Data(Data::new(&[key]));
        inner
            .set(store, &Key::from(key), Some(cap))
            .expect("in memory");
    }
    let image = ImageRef::new(image());
    let callee = Instance::program([3; 32], image.clone(), CNode::empty());
    set(15, native(NativeKind::Open));
    set(16, native(NativeKind::Save));
    set(17, native(NativeKind::Attestation));
    set(18, native(NativeKind::Consensus));
    set(DATA, Cap::Data(Data::new(&data_bytes())));
    set(CNODE, Cap::CNode(inner));
    set(TYPE, Cap::Type([3; 32].into()));
    set(IMAGE, Cap::Image(image.clone()));
    let mut holder = CNode::empty();
    for key in [1, 2] {
        let callee = Cap::Instance(callee.clone());
        holder
            .set(store, &Key::from(key), Some(callee))
            .expect("in memory");
    }
    set(52, Cap::CNode(images(store)));
    set(WAITING, Cap::Instance(callee.clone()));
    set(CALLEE, Cap::Instance(callee));
    set(HOLDER, Cap::CNode(holder));
    let paused = |waiting, table| Cap::Instance(suspended(image.clone(), table, waiting));
    let yielded = paused(Waiting::Yielded([3; 32]), CNode::empty());
    let calling = |path: &[u8]| {
        let path = Path::new(keys(path)).expect("a few keys");
        Waiting::Calling(path)
    };
    let holding = |cap: Cap| {
        let mut holder = CNode::empty();
        holder
            .set(store, &Key::from(1), Some(cap))
            .expect("in memory");
        holder
    };
    let holds = holding(yielded.clone());
    let holds_far = holding(Cap::CNode(holding(Cap::CNode(holds.clone()))));
    set(PAUSED, yielded);
    set(BROKEN, paused(calling(&[1]), CNode::empty()));
    set(CALLING, paused(calling(&[1]), holds));
    set(CALLING_FAR, paused(calling(&[1, 1, 1]), holds_far));
    let mut full = Catcher::default();
    for n in 0..=255 {
        full.add([n; 32]).expect("room for 256");
    }
    set(FULL, Cap::Instance(full.into_instance()));
    for (slot, kind) in [
        (slots::SET_GAS_METER, NativeKind::SetGasMeter),
        (slots::SET_STORAGE_QUOTA, NativeKind::SetStorageQuota),
        (slots::MINT_GAS, NativeKind::MintGas),
        (slots::MINT_QUOTA, NativeKind::MintQuota),
        (slots::CREATE_CATCHER, NativeKind::CreateCatcher),
    ] {
        set(slot.into(), native(kind));
    }
    let catcher = Instance::native(NativeKind::Catcher, vec![[3u8; 32]].encode());
    set(u64::from(slots::CATCHER), Cap::Instance(catcher));
    table
}

/// A suspended Instance of the Image.
fn suspended(image: ImageRef, table: CNode, waiting: Waiting) -> Instance {
    let paused = Paused {
        regs: [0; 13],
        pc: 0,
        waiting,
        ephemeral: BTreeMap::new(),
        scratch: None,
        next_image: None,
    };
    Instance::paused([3; 32], image, table, paused)
}

fn pinning(slot: u64) -> Image {
    let mut image = small_image();
    let pinned = Pinned::Data(Vec::new());
    image.pinned.insert(Key::from(slot as u8), pinned);
    image
}

fn images(store: &MemoryChainStore) -> CNode {
    let mut filled = CNode::empty();
    let data = Cap::Data(Data::new(&[1]));
    filled
        .set(store, &Key::from(FREE as u8), Some(data))
        .expect("in memory");
    let caps = [
        Cap::Image(ImageRef::new(pinning(FREE))),
        Cap::Image(ImageRef::new(pinning(DATA))),
        Cap::Data(Data::new(&small_image().encode())),
        Cap::CNode(CNode::empty()),
        Cap::CNode(filled),
        Cap::Instance(Instance::file(Data::new(b"sealed"))),
    ];
    let mut images = CNode::empty();
    for (key, cap) in (1u8..).zip(caps) {
        images
            .set(store, &Key::from(key), Some(cap))
            .expect("in memory");
    }
    images
}

/// An arriving event with two attestations.
pub fn arriving() -> Event {
    Event {
        payload: b"arriving".to_vec(),
        attestations: vec![
            attestation(Scope::Direct, [1; 32]),
            attestation(Scope::Direct, [2; 32]),
        ],
        results: Vec::new(),
    }
}

/// A pipeline whose slot 3 holds two items.
pub fn pipeline() -> Pipeline {
    let mut pipeline = Pipeline::default();
    for payload in [b"first".to_vec(), b"second".to_vec()] {
        let effects = Effects {
            items: vec![EmittedItem {
                kind: SlotItemKind::Transact,
                endpoint: 2,
                payload,
                picks: vec![(u32::MAX, 1)],
            }],
            ..Effects::default()
        };
        let event = arriving();
        pipeline.merge(3, Some((event.id(3), &event)), effects);
    }
    pipeline
}

fn world(execution: &mut Execution<'_, '_>, logged: &Mutex<Vec<(u64, Vec<u8>)>>) -> World {
    let live = &execution.effects;
    // Whether an item was refused for want of room is told to the sender, not an effect.
    let effects = format!(
        "{} {} {} {} {:?} {:?}",
        live.record_bytes,
        live.items,
        live.item_bytes,
        live.dispatched,
        live.keep(),
        execution.frame().effects
    );
    let frame = execution.top();
    let store = MemoryChainStore::new();
    let table = frame.table.clone().take_map(&store).expect("in memory");
    let table = table.root();
    let memory = memory(frame);
    World {
        table,
        effects,
        memory: blake2b(&[&memory]),
        written: frame.machine.written_pages(),
        quota: execution.quota.budget(),
        traces: execution.traces.used(),
        frames: execution.frames.len(),
        next_image: execution.frame().next_image.as_ref().map(ImageRef::id),
        waiting: execution.frame().waiting.keys().cloned().collect(),
        live_bytes: execution.live_bytes,
        logged: logged.lock().expect("not poisoned").clone(),
    }
}

fn memory(frame: &mut Frame) -> Vec<u8> {
    let mut bytes = vec![0; RAM_LEN as usize];
    frame
        .machine
        .read(RAM as u32, &mut bytes)
        .expect("writable memory is readable");
    bytes
}

fn frame(
    execution: &mut Execution<'_, '_>,
    instance: &Instance,
    is_view: bool,
    origin: Option<Path>,
) -> Box<Frame> {
    if let InstanceBody::Program { image, .. } = instance.body() {
        execution.entered.insert(image.id());
    }
    let program = execution
        .load_program(instance)
        .expect("the Image is fine")
        .expect("a program");
    let endpoint = program.loaded.image.endpoints[&0].clone();
    let entry = Entry {
        endpoint: &endpoint,
        arguments: [0; 4],
        scratch: None,
        callee: origin.map(|path| (path, instance.clone())),
        is_view,
        is_copy: false,
    };
    let frame = Frame::enter(execution.env, program, entry, None);
    frame.expect("it fits")
}

/// Has an Instance wait for the running frame, as one that was called and has yielded does.
fn wait_at(execution: &mut Execution<'_, '_>, path: Path, scene: &Scene) {
    let store = execution.store();
    let Ok(Cap::Instance(callee)) = execution.top().get_some(store, &path) else {
        panic!("the scene has an Instance there");
    };
    let mut frame = frame(execution, &callee, false, Some(path.clone()));
    frame.is_copy = scene.waits_as_view;
    if scene.waits_with_row.is_some() {
        let meters = Meters::of(&[WAITING_ROW]);
        (frame.gas, frame.quota) = (meters.clone(), meters);
    }
    frame.waits_for = Some(WaitsFor::Answer([3; 32]));
    execution.live_bytes += frame.writable_bytes;
    execution.top().waiting.insert(path, vec![frame]);
}

/// Makes one host call in a scene.
pub fn run(scene: &Scene, number: u64, args: &[u64]) -> Ran {
    let store = Arc::new(MemoryChainStore::new());
    let engine = jar_pvm::engine(EngineKind::Interpreter).expect("always there");
    let env = Env {
        store: store.clone(),
        params: scene.params.clone(),
        programs: Programs::new(engine),
    };
    let logged = Mutex::new(Vec::new());
    let log = |level: u64, line: &[u8]| {
        let mut logged = logged.lock().expect("not poisoned");
        logged.push((level, line.to_vec()));
    };
    let (mut pipeline, event, image) = (pipeline(), arriving(), image());
    let arriving = (!scene.is_head_phase).then_some(&event);
    let view = pipeline.view(3, arriving, &image, &scene.params);
    let may_sign = |request: &SignRequest| {
        let keys = scene.signing.as_deref().unwrap_or_default();
        keys.contains(&request.key)
    };
    let traces = match scene.signing {
        None => Traces::of_body(&scene.traces, Cursor::default()),
        Some(_) => Traces::Produce(Producer::new(&may_sign, Some(5), 1 << 20, &scene.params)),
    };
    let slot = scene.has_slot.then_some(&view);
    let grant = Grant {
        gas: 1 << 40,
        quota: scene.quota,
    };
    let mut execution = Execution::new(&env, block_info(), traces, slot, &log, grant);
    let mut table = table(&store);
    for slot in &scene.lacks {
        table
            .set(&*store, &Key::from(*slot), None)
            .expect("in memory");
    }
    let instance = Instance::program([1; 32], ImageRef::new(image.clone()), table);
    // Every Image here is paid for: what it costs at first is no part of an operation's price.
    let images = [small_image(), pinning(FREE), pinning(DATA)];
    let ids = images.map(|image| ImageRef::new(image).id());
    execution.entered.extend(ids);
    for _ in 0..=scene.depth {
        let origin = (!execution.frames.is_empty()).then(|| Key::from(CALLEE as u8).into());
        let frame = frame(&mut execution, &instance, scene.is_view, origin);
        execution.push(frame).expect("the frame runs");
    }
    for path in [vec![WAITING as u8], vec![HOLDER as u8, 1]] {
        let path = Path::new(keys(&path)).expect("one or two keys");
        wait_at(&mut execution, path, scene);
    }
    if let Some(slot) = scene.scratch {
        let cap = execution
            .frame()
            .table
            .get(&*store, &Key::from(slot as u8))
            .expect("in memory")
            .cloned();
        execution
            .top()
            .swap_scratch(&*store, cap)
            .expect("in memory");
    }
    run_in(&mut execution, scene, &logged, number, args)
}

fn run_in(
    execution: &mut Execution<'_, '_>,
    scene: &Scene,
    logged: &Mutex<Vec<(u64, Vec<u8>)>>,
    number: u64,
    args: &[u64],
) -> Ran {
    let machine = execution.machine();
    // What a case writes is written and paid for already.
    machine
        .write(RAM as u32, &vec![0; RAM_LEN as usize])
        .expect("writable");
    for (address, bytes) in &scene.memory {
        machine
            .write(*address as u32, bytes)
            .expect("the case names writable memory");
    }
    for (index, value) in args.iter().enumerate() {
        machine.set_reg(7 + index, *value);
    }
    execution.effects.dispatched = scene.dispatched;
    execution.settle().expect("paid");
    execution.gas = Rows::new(scene.gas);
    if let Some((gas, quota)) = scene.waits_with_row {
        execution.gas.set(WAITING_ROW, gas);
        execution.quota.set(WAITING_ROW, quota);
    }
    execution.load_gas();
    let before = world(execution, logged);
    let former = table_of(execution);
    let answer = match execution.host_call(number) {
        Ok(Flow::Value(value)) => Answer::Value(value),
        Ok(Flow::Pair(value, status)) => Answer::Pair(value, status),
        Ok(Flow::Halt(value)) => Answer::Halted(value),
        Ok(Flow::Switch) => Answer::Switched,
        Err(Stop::Status(status)) => Answer::Status(status),
        Err(Stop::Fault(fault)) => Answer::Fault(fault),
        Err(Stop::Short(resource)) => Answer::Short(resource),
        Err(Stop::Exhausted(fault)) => Answer::Exhausted(fault),
        Err(Stop::Node(error)) => panic!("the node's trouble: {error}"),
    };
    execution.sync_gas();
    let gas_used = scene.gas - execution.gas.budget();
    let after = world(execution, logged);
    let obligations = match &execution.traces {
        Traces::Produce(producer) => producer.obligations.clone(),
        Traces::Verify(_) => Vec::new(),
    };
    Ran {
        answer,
        gas_used,
        before,
        after,
        former,
        table: table_of(execution),
        effects: {
            let log = std::mem::take(&mut execution.top().effects);
            execution.effects.finish(log)
        },
        obligations,
        memory: memory(execution.top()),
    }
}

fn table_of(execution: &Execution<'_, '_>) -> CNode {
    let mut table = execution.frame().table.clone();
    table.take_map(execution.store()).expect("in memory")
}

pub fn block_info() -> BlockInfo {
    BlockInfo {
        genesis: [1; 32],
        parent: [2; 32],
        height: 3,
        slot: 4,
        time_ms: 5,
    }
}

impl Ran {
    /// What a path of the frame's table holds now.
    pub fn get(&self, path: &[Key]) -> Option<Cap> {
        let store = MemoryChainStore::new();
        self.table.get_path(&store, path).expect("in memory")
    }

    /// The bytes of the Data at a path.
    pub fn bytes(&self, path: &[u8]) -> Option<Vec<u8>> {
        match self.get(&keys(path)) {
            Some(Cap::Data(data)) => Some(
                data.to_vec(&MemoryChainStore::new(), 1 << 20)
                    .expect("in memory"),
            ),
            _ => None,
        }
    }

    /// Writable memory now.
    pub fn memory(&self, address: u64, len: usize) -> &[u8] {
        let start = (address - RAM) as usize;
        &self.memory[start..start + len]
    }
}

/// The number of a host call.
pub fn number(call: HostCall) -> u64 {
    call as u64
}
