//! What can be read of a chain without changing it: states, views, proofs.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use jar_cap::hash::Tag;
use jar_cap::image::{Image, Role};
use jar_cap::proof::Proof;
use jar_cap::{
    Cap, Data, Hash, ImageRef, Instance, Key, NodeStore, RecordId, Status as InstanceStatus,
};
use parity_scale_codec::Encode;

use crate::block::{Ending, Event, Header, Outcome, PublicKey};
use crate::error::KernelError;
use crate::exec::{BlockInfo, Env, Finished, Grant, Invocation, Traces, execute};
use crate::hardware::{Store, StoredHeader};
use crate::params::{Genesis, Params};

/// A block with the chain Instance after it; a cheap handle.
#[derive(Clone, Debug)]
pub struct State {
    /// Block hash.
    pub hash: Hash,
    /// The block's header.
    pub header: Header,
    /// The block's score.
    pub score: u64,
    /// The chain Instance after the block.
    pub instance: Instance,
}

/// An endpoint of the chain's Image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointInfo {
    /// Its index.
    pub index: u8,
    /// Its name.
    pub name: String,
    /// Who invokes it.
    pub role: Role,
}

/// What came of a View.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewOutcome {
    /// How it ended.
    pub ending: Ending,
    /// The Data it left in slot 0.
    pub result: Option<Vec<u8>>,
    /// Gas it spent.
    pub gas_used: u64,
    /// Lines it logged, with their levels; those beyond 64 KiB are left out.
    pub logs: Vec<(u64, Vec<u8>)>,
}

/// Why a read of a state was refused; the reader's doing, or the node's trouble.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A key of the path, or the path itself, leads through something that is no CNode.
    #[error("the path leads through a {0:?}, not a CNode")]
    NotACNode(jar_cap::Kind),
    /// The path has no key.
    #[error("the path has no key")]
    EmptyPath,
    /// The endpoint does not exist or has another role.
    #[error("endpoint {0} is not a View")]
    NotAView(u8),
    /// The endpoint does not exist or has another role.
    #[error("endpoint {0} is not a Transact endpoint")]
    NotTransact(u8),
    /// The payload is over the chain's limit.
    #[error("a payload of {len} bytes is over the limit of {limit}")]
    PayloadTooLarge {
        /// Its length.
        len: u64,
        /// The limit.
        limit: u64,
    },
    /// The node is in trouble.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// Proof of what a path holds in a state, as `state_proof` answers it.
#[derive(Clone, Debug)]
pub struct StateProof {
    /// Block hash.
    pub block: Hash,
    /// The block's header.
    pub header: Header,
    /// Lineage of the chain Instance.
    pub type_id: Hash,
    /// Id of its Image.
    pub image: Hash,
    /// Root of its table.
    pub trie_root: Hash,
    /// SCALE of its status.
    pub status: Vec<u8>,
    /// One step a key of the path, until the first absence.
    pub steps: Vec<ProofStep>,
    /// The Data at the end of the path.
    pub data: Option<Data>,
}

/// One key of a proven path.
#[derive(Clone, Debug)]
pub struct ProofStep {
    /// The key.
    pub key: Key,
    /// Its inclusion or absence below the former step's root.
    pub proof: Proof,
    /// Root of the CNode found there.
    pub trie_root: Option<Hash>,
}

/// A chain as its readers see it: shared, immutable but for a cache of prepared programs.
#[derive(Debug)]
pub struct Chain {
    pub(crate) env: Env,
    genesis_hash: Hash,
    slot_ms: u64,
    genesis_time_ms: u64,
}

impl Chain {
    pub(crate) fn new(env: Env, genesis: &Genesis, genesis_hash: Hash) -> Chain {
        Chain {
            env,
            genesis_hash,
            slot_ms: genesis.slot_ms,
            genesis_time_ms: genesis.time_ms,
        }
    }

    /// Hash of the genesis header: the chain's identity.
    pub fn genesis_hash(&self) -> Hash {
        self.genesis_hash
    }

    /// Limits and prices.
    pub fn params(&self) -> &Params {
        &self.env.params
    }

    /// Name of the engine that runs programs.
    pub fn engine_name(&self) -> &'static str {
        self.env.programs.engine_name()
    }

    /// Length of a time slot, in milliseconds.
    pub fn slot_ms(&self) -> u64 {
        self.slot_ms
    }

    /// Time of slot 0, in milliseconds since the Unix epoch.
    pub fn genesis_time_ms(&self) -> u64 {
        self.genesis_time_ms
    }

    /// Start of a time slot, in milliseconds since the Unix epoch.
    pub fn time_ms(&self, slot: u64) -> u64 {
        slot.saturating_mul(self.slot_ms)
            .saturating_add(self.genesis_time_ms)
    }

    /// The time slot a moment falls into; `None` before genesis.
    pub fn slot_at(&self, time_ms: u64) -> Option<u64> {
        let since = time_ms.checked_sub(self.genesis_time_ms)?;
        since.checked_div(self.slot_ms)
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.env.store
    }

    /// The state after a block; `None` for an unknown one.
    pub fn state(&self, hash: &Hash) -> Result<Option<State>, KernelError> {
        let Some(stored) = self.env.store.header(hash)? else {
            return Ok(None);
        };
        let StoredHeader {
            header,
            score,
            instance,
        } = stored;
        let instance = load_instance(&*self.env.store, instance)?;
        Ok(Some(State {
            hash: *hash,
            header,
            score,
            instance,
        }))
    }

    /// The chain's Image in a state.
    pub fn image(&self, state: &State) -> Result<Arc<Image>, KernelError> {
        let handle = program_image(&state.instance)?;
        Ok(self
            .env
            .programs
            .load(&*self.env.store, &handle)?
            .image
            .clone())
    }

    /// Endpoints of the chain's Image in a state, in order of index.
    pub fn endpoints(&self, state: &State) -> Result<Vec<EndpointInfo>, KernelError> {
        let image = self.image(state)?;
        let endpoints = image.endpoints.iter();
        Ok(endpoints
            .map(|(index, endpoint)| EndpointInfo {
                index: *index,
                name: endpoint.name.clone(),
                role: endpoint.role,
            })
            .collect())
    }

    /// The endpoint of a name.
    pub fn endpoint_by_name(
        &self,
        state: &State,
        name: &str,
    ) -> Result<Option<EndpointInfo>, KernelError> {
        let endpoints = self.endpoints(state)?;
        Ok(endpoints.into_iter().find(|endpoint| endpoint.name == name))
    }

    /// Runs a View on a copy of a state.
    pub fn view(
        &self,
        state: &State,
        endpoint: u8,
        payload: &[u8],
    ) -> Result<ViewOutcome, ReadError> {
        self.check_payload(payload)?;
        let image = self.image(state)?;
        if image.endpoints.get(&endpoint).map(|e| e.role) != Some(Role::View) {
            return Err(ReadError::NotAView(endpoint));
        }
        let (logs, bytes_left) = (RefCell::new(Vec::new()), Cell::new(VIEW_LOG_BYTES_MAX));
        let log = |level, line: &[u8]| {
            // A line counts for more than its bytes, so that empty ones are bounded too.
            if let Some(left) = bytes_left.get().checked_sub(line.len() + 16) {
                bytes_left.set(left);
                logs.borrow_mut().push((level, line.to_vec()));
            }
        };
        let finished = execute(
            &self.env,
            Invocation {
                instance: state.instance.clone(),
                endpoint,
                arguments: [0; 4],
                scratch: Some(Cap::Data(Data::new(payload))),
                next_image: None,
                block: self.block_info(&state.header),
                grant: Grant {
                    gas: self.params().view_gas,
                    quota: self.params().event_quota,
                },
                traces: Traces::none(),
                is_view: true,
                slot: None,
                log: &log,
            },
        )?;
        let (ending, gas_used) = (finished.ending, finished.gas_used);
        let result = self.result_bytes(finished)?;
        Ok(ViewOutcome {
            ending,
            result,
            gas_used,
            logs: logs.into_inner(),
        })
    }

    /// The Data a call left in slot 0, if it is no longer than a payload may be.
    fn result_bytes(&self, finished: Finished<'_>) -> Result<Option<Vec<u8>>, KernelError> {
        match finished.scratch {
            Some(Cap::Data(data)) if data.len() <= self.params().payload_bytes => Ok(Some(
                data.to_vec(&*self.env.store, self.params().payload_bytes)?,
            )),
            _ => Ok(None),
        }
    }

    /// Runs a Transact endpoint on a copy of a state; signatures are not checked.
    pub fn simulate(
        &self,
        state: &State,
        endpoint: u8,
        event: &Event,
    ) -> Result<Outcome, ReadError> {
        self.check_payload(&event.payload)?;
        let image = self.image(state)?;
        let role = image.endpoints.get(&endpoint).map(|e| e.role);
        if !matches!(role, Some(Role::Transact(_))) {
            return Err(ReadError::NotTransact(endpoint));
        }
        let finished = execute(
            &self.env,
            Invocation {
                instance: state.instance.clone(),
                endpoint,
                arguments: [0; 4],
                scratch: Some(Cap::Data(Data::new(&event.payload))),
                next_image: None,
                block: self.block_info(&state.header),
                grant: Grant {
                    gas: self.params().event_gas,
                    quota: self.params().event_quota,
                },
                traces: Traces::of_event(event),
                is_view: false,
                slot: None,
                log: &|_, _| {},
            },
        )?;
        Ok(Outcome {
            ending: finished.ending,
            gas_used: finished.gas_used,
            records: finished.effects.records,
        })
    }

    fn check_payload(&self, payload: &[u8]) -> Result<(), ReadError> {
        let (len, limit) = (payload.len() as u64, self.params().payload_bytes);
        if len > limit {
            return Err(ReadError::PayloadTooLarge { len, limit });
        }
        Ok(())
    }

    /// The key that may seal a block of this time slot on top of a state; `None` when the
    /// chain names nobody, or has no View `author`.
    pub fn author(&self, state: &State, slot: u64) -> Result<Option<PublicKey>, KernelError> {
        self.author_answer(state, slot)?.map_err(KernelError::Image)
    }

    /// As [`Chain::author`]; the inner error is a View that gives no answer.
    pub(crate) fn author_answer(
        &self,
        state: &State,
        slot: u64,
    ) -> Result<Result<Option<PublicKey>, String>, KernelError> {
        let Some(endpoint) = self.endpoint_by_name(state, AUTHOR)? else {
            return Ok(Ok(None));
        };
        let outcome = match self.view(state, endpoint.index, &slot.encode()) {
            Ok(outcome) => outcome,
            Err(ReadError::Kernel(error)) => return Err(error),
            Err(other) => return Ok(Err(format!("View {AUTHOR}: {other}"))),
        };
        let answer = match (outcome.ending, &outcome.result) {
            (Ending::Halted(0), Some(result)) => jar_cap::decode_canonical(result).ok(),
            _ => None,
        };
        let silence = || format!("the View {AUTHOR} {}", outcome.ending);
        Ok(answer.ok_or_else(silence))
    }

    /// The ancestor of a height, or the block itself; `None` above it.
    pub(crate) fn ancestor_at(
        &self,
        state: &State,
        height: u64,
    ) -> Result<Option<Hash>, KernelError> {
        let store = self.store();
        let (mut at, mut hash, mut parent) = (state.header.height, state.hash, state.header.parent);
        while at > height {
            // From a canonical block on, the index knows the way.
            if store.canonical(at)? == Some(hash) {
                return Ok(store.canonical(height)?);
            }
            hash = parent;
            let stored = store
                .header(&hash)?
                .ok_or_else(|| KernelError::Internal("a block's ancestor is missing".into()))?;
            (at, parent) = (stored.header.height, stored.header.parent);
        }
        Ok((at == height).then_some(hash))
    }

    /// Whether a hash is that of a block or of one of its ancestors.
    pub(crate) fn is_ancestor(&self, hash: &Hash, of: &State) -> Result<bool, KernelError> {
        match self.store().header(hash)? {
            Some(stored) => Ok(self.ancestor_at(of, stored.header.height)? == Some(*hash)),
            None => Ok(false),
        }
    }

    /// What a path of the chain Instance's table holds.
    pub fn get(&self, state: &State, path: &[Key]) -> Result<Option<Cap>, ReadError> {
        let (first, rest) = path.split_first().ok_or(ReadError::EmptyPath)?;
        let store = &*self.env.store;
        let handle = program_image(&state.instance)?;
        let loaded = self.env.programs.load(store, &handle)?;
        let table = program_table(&state.instance)?.into();
        let slot = loaded.slot(store, &table, first);
        let mut cap = slot.map_err(KernelError::from)?;
        for key in rest {
            cap = match cap {
                None => return Ok(None),
                Some(Cap::CNode(node)) => node.get_ref(store, key).map_err(KernelError::from)?,
                Some(other) => return Err(ReadError::NotACNode(other.kind())),
            };
        }
        Ok(cap.cloned())
    }

    /// The bytes of a Data, up to a limit; `None` when it is longer.
    pub fn data_bytes(&self, data: &Data, limit: u64) -> Result<Option<Vec<u8>>, KernelError> {
        if data.len() > limit {
            return Ok(None);
        }
        Ok(Some(data.to_vec(&*self.env.store, limit)?))
    }

    /// Keys below a CNode, in order of their hashes, after `from`.
    pub fn keys(
        &self,
        state: &State,
        path: &[Key],
        from: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Key>, ReadError> {
        let node = match path {
            [] => program_table(&state.instance)?,
            path => match self.get(state, path)? {
                None => return Ok(Vec::new()),
                Some(Cap::CNode(node)) => node,
                Some(other) => return Err(ReadError::NotACNode(other.kind())),
            },
        };
        let mut keys: Vec<Key> = Vec::new();
        while keys.len() < limit {
            let after = keys.last().or(from);
            let next = node
                .next(&*self.env.store, after)
                .map_err(KernelError::from)?;
            match next {
                Some((key, _)) => keys.push(key),
                None => break,
            }
        }
        Ok(keys)
    }

    /// Proves what a path of the chain Instance's table holds, or that it holds nothing.
    pub fn prove(&self, state: &State, path: &[Key]) -> Result<StateProof, ReadError> {
        let store = &*self.env.store;
        let mut table = program_table(&state.instance)?;
        let trie_root = table.root();
        let mut steps = Vec::with_capacity(path.len());
        let mut data = None;
        for (index, key) in path.iter().enumerate() {
            let proof = table.prove(store, key).map_err(KernelError::from)?;
            let found = table.get(store, key).map_err(KernelError::from)?;
            let is_last = index + 1 == path.len();
            let child = match &found {
                Some(Cap::CNode(node)) => Some(node.clone()),
                _ => None,
            };
            steps.push(ProofStep {
                key: *key,
                proof,
                trie_root: child.as_ref().map(|node| node.root()),
            });
            match (found, child) {
                (None, _) => break,
                (Some(Cap::Data(found)), _) if is_last => data = Some(found),
                (Some(_), Some(node)) => table = node,
                (Some(_), None) if is_last => {}
                (Some(other), None) => return Err(ReadError::NotACNode(other.kind())),
            }
        }
        Ok(StateProof {
            block: state.hash,
            header: state.header.clone(),
            type_id: state.instance.type_id(),
            image: program_image(&state.instance)?.id(),
            trie_root,
            status: InstanceStatus::Idle.encode(),
            steps,
            data,
        })
    }

    /// What `block_info` answers off-chain: a header's own fields.
    pub(crate) fn block_info(&self, header: &Header) -> BlockInfo {
        BlockInfo {
            genesis: self.genesis_hash,
            parent: header.parent,
            height: header.height,
            slot: header.slot,
            time_ms: self.time_ms(header.slot),
        }
    }
}

/// A chain Instance by its id.
pub(crate) fn load_instance(store: &dyn NodeStore, id: Hash) -> Result<Instance, KernelError> {
    match jar_cap::load(store, &RecordId::new(Tag::Instance, id))? {
        Cap::Instance(instance) => Ok(instance),
        other => Err(KernelError::Internal(format!(
            "the record of an Instance holds a {:?}",
            other.kind()
        ))),
    }
}

/// Bytes of log lines a View's outcome holds at the most.
const VIEW_LOG_BYTES_MAX: usize = 64 << 10;

/// Name of the View that says who may author a block.
const AUTHOR: &str = "author";

/// Handle of the Image of a chain Instance.
pub(crate) fn program_image(instance: &Instance) -> Result<ImageRef, KernelError> {
    match instance.body() {
        jar_cap::Body::Program { image, .. } => Ok(image.clone()),
        jar_cap::Body::Native { .. } | jar_cap::Body::File(_) => Err(not_a_program()),
    }
}

fn program_table(instance: &Instance) -> Result<jar_cap::CNode, KernelError> {
    match instance.body() {
        jar_cap::Body::Program { cnode, .. } => Ok(cnode.clone()),
        jar_cap::Body::Native { .. } | jar_cap::Body::File(_) => Err(not_a_program()),
    }
}

fn not_a_program() -> KernelError {
    KernelError::Internal("the chain Instance is not a program".into())
}
