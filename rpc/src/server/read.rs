//! Reads from the store and from published state. They block: run them in a pool.

use std::sync::Arc;

use jar_cap::{CNode, Cap, Hash, Key, Kind, NodeStore};
use jar_kernel::{Role, State, StoredHeader};

use super::Context;
use crate::backend::Published;
use crate::errors::{ErrorKind, RpcError};
use crate::hex::to_hex;
use crate::params::{BlockRef, EndpointRef};
use crate::types::{
    BlockHeader, BlockInfo, Bytes, EndpointInfo, EventState, EventStatus, Fixed, GetOptions,
    Inclusion, InstanceInfo, KeyInfo, KeysPage, Number, ProofEnd, ProofStep, StateProof,
    StateValue,
};

/// Bytes of a Data in one answer.
pub(crate) const DATA_BYTES_MAX: u64 = 1024 * 1024;
/// Entries of a page of keys.
pub(crate) const KEYS_MAX: u64 = 1000;
/// Blocks that an event is looked up in.
pub(crate) const INCLUSIONS_MAX: usize = 16;

impl Context {
    /// What the node last published.
    pub(crate) fn now(&self) -> Published {
        self.backend.published().borrow().clone()
    }

    fn nodes(&self) -> &dyn NodeStore {
        self.backend.chain().store().as_ref()
    }

    fn hash_of(&self, block: BlockRef) -> Result<Hash, RpcError> {
        match block {
            BlockRef::Head => Ok(self.now().head.hash),
            BlockRef::Finalized => Ok(self.now().finalized),
            BlockRef::Hash(hash) => Ok(hash),
            BlockRef::Height(height) => {
                self.backend
                    .chain()
                    .store()
                    .canonical(height)?
                    .ok_or_else(|| {
                        RpcError::about(ErrorKind::UnknownBlock, format!("height {height}"))
                            .with("head_height", self.now().head.header.height)
                    })
            }
        }
    }

    fn stored(&self, hash: &Hash) -> Result<StoredHeader, RpcError> {
        self.backend
            .chain()
            .store()
            .header(hash)?
            .ok_or_else(|| RpcError::about(ErrorKind::UnknownBlock, to_hex(hash)))
    }

    /// State after a block; the head's by default.
    pub(crate) fn state_of(&self, block: Option<BlockRef>) -> Result<Arc<State>, RpcError> {
        let head = self.now().head;
        let hash = self.hash_of(block.unwrap_or(BlockRef::Head))?;
        if hash == head.hash {
            return Ok(head);
        }
        self.stored(&hash)?;
        self.backend
            .chain()
            .state(&hash)?
            .map(Arc::new)
            .ok_or_else(|| RpcError::about(ErrorKind::NoState, to_hex(&hash)))
    }

    /// A header as answers show it.
    pub(crate) fn described(&self, hash: Hash, stored: &StoredHeader) -> BlockHeader {
        BlockHeader {
            hash: Fixed(hash),
            header: (&stored.header).into(),
            score: Number(stored.score),
            time_ms: Number(self.backend.chain().time_ms(stored.header.slot)),
        }
    }

    /// A block's header; the head's by default.
    pub(crate) fn header_of(&self, block: Option<BlockRef>) -> Result<BlockHeader, RpcError> {
        let hash = self.hash_of(block.unwrap_or(BlockRef::Head))?;
        Ok(self.described(hash, &self.stored(&hash)?))
    }

    /// A whole block; the head by default.
    pub(crate) fn block_of(&self, block: Option<BlockRef>) -> Result<BlockInfo, RpcError> {
        let header = self.header_of(block)?;
        let store = self.backend.chain().store();
        let missing =
            |what: &str| RpcError::about(ErrorKind::NoState, format!("{what} of {}", header.hash));
        let block = store
            .block(&header.hash.0)?
            .ok_or_else(|| missing("the body"))?;
        let outcomes = store
            .outcomes(&header.hash.0)?
            .ok_or_else(|| missing("the outcomes"))?;
        Ok(BlockInfo {
            body: (&block.body).into(),
            outcomes: outcomes.iter().map(Into::into).collect(),
            block: header,
        })
    }

    /// Endpoints of a state's Image.
    pub(crate) fn endpoints(&self, state: &State) -> Result<Vec<EndpointInfo>, RpcError> {
        let describe = |endpoint: jar_kernel::EndpointInfo| {
            let (role, order) = role_name(&endpoint.role);
            EndpointInfo {
                index: endpoint.index,
                name: endpoint.name,
                role: role.to_owned(),
                order,
            }
        };
        let endpoints = self.backend.chain().endpoints(state)?;
        Ok(endpoints.into_iter().map(describe).collect())
    }

    /// The endpoint of a state's Image by its name or number.
    pub(crate) fn endpoint(
        &self,
        state: &State,
        endpoint: &EndpointRef,
    ) -> Result<EndpointInfo, RpcError> {
        let mut endpoints = self.endpoints(state)?;
        let position = endpoints.iter().position(|known| match endpoint {
            EndpointRef::Index(index) => u64::from(known.index) == *index,
            EndpointRef::Name(name) => known.name == *name,
        });
        match position {
            Some(position) => Ok(endpoints.swap_remove(position)),
            None => {
                let names: Vec<String> = endpoints.into_iter().map(|known| known.name).collect();
                let asked = match endpoint {
                    EndpointRef::Index(index) => index.to_string(),
                    EndpointRef::Name(name) => format!("{name:?}"),
                };
                Err(RpcError::about(ErrorKind::UnknownEndpoint, asked).with("endpoints", names))
            }
        }
    }

    /// What stands at a path.
    pub(crate) fn value_at(
        &self,
        path: &[Key],
        block: Option<BlockRef>,
        options: &GetOptions,
    ) -> Result<StateValue, RpcError> {
        let state = self.state_of(block)?;
        let cap = self.backend.chain().get(&state, path)?;
        let proof = match options.proof {
            true => Some(self.prove(&state, path)?),
            false => None,
        };
        let mut value = StateValue {
            block: Fixed(state.hash),
            kind: cap
                .as_ref()
                .map_or("empty", |cap| kind_name(cap.kind()))
                .to_owned(),
            id: cap.as_ref().map(|cap| Fixed(cap.id())),
            size: None,
            data: None,
            proof,
        };
        if let Some(Cap::Data(data)) = cap {
            value.size = Some(Number(data.len()));
            value.data = Some(Bytes(self.bytes_of(&data, options)?));
        }
        Ok(value)
    }

    fn bytes_of(&self, data: &jar_cap::Data, options: &GetOptions) -> Result<Vec<u8>, RpcError> {
        let offset = options.offset.map_or(0, |offset| offset.0).min(data.len());
        let rest = data.len() - offset;
        let length = options.length.map_or(rest, |length| length.0.min(rest));
        if length > DATA_BYTES_MAX {
            let message = format!("{length} bytes, at most {DATA_BYTES_MAX} at once");
            return Err(RpcError::about(ErrorKind::ResponseTooLarge, message)
                .with("limit", DATA_BYTES_MAX)
                .with("size", crate::types::number(data.len())));
        }
        let mut bytes = vec![0; length as usize];
        let read = data.read(self.nodes(), offset, &mut bytes)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// A proof of what stands at a path.
    pub(crate) fn prove(&self, state: &State, path: &[Key]) -> Result<StateProof, RpcError> {
        let proof = self.backend.chain().prove(state, path)?;
        let data = match &proof.data {
            Some(data) => Some(Bytes(self.bytes_of(data, &GetOptions::default())?)),
            None => None,
        };
        let step = |step: jar_kernel::ProofStep| ProofStep {
            key: Bytes(step.key.as_ref().to_vec()),
            siblings: step.proof.siblings.into_iter().map(Fixed).collect(),
            end: match step.proof.end {
                jar_cap::proof::End::Leaf { key_hash, cap } => ProofEnd::Leaf {
                    key_hash: Fixed(key_hash),
                    cap: Fixed(cap),
                },
                jar_cap::proof::End::Empty => ProofEnd::Empty,
            },
            trie_root: step.trie_root.map(Fixed),
        };
        Ok(StateProof {
            block: Fixed(proof.block),
            header: (&proof.header).into(),
            state_root: Fixed(proof.header.state_root),
            instance: InstanceInfo {
                type_id: Fixed(proof.type_id),
                image: Fixed(proof.image),
                trie_root: Fixed(proof.trie_root),
                status: Bytes(proof.status),
            },
            steps: proof.steps.into_iter().map(step).collect(),
            data,
        })
    }

    /// A page of the entries of the CNode at a path.
    pub(crate) fn keys_at(
        &self,
        path: &[Key],
        from: Option<Key>,
        limit: Option<u64>,
        block: Option<BlockRef>,
    ) -> Result<KeysPage, RpcError> {
        let state = self.state_of(block)?;
        let cnode = self.cnode_at(&state, path)?;
        let limit = limit.unwrap_or(KEYS_MAX);
        if limit == 0 || limit > KEYS_MAX {
            let message = format!("a limit of 1 to {KEYS_MAX} expected, got {limit}");
            return Err(RpcError::about(ErrorKind::TooLong, message).with("limit", KEYS_MAX));
        }
        let mut keys = Vec::new();
        let mut last = from;
        while (keys.len() as u64) < limit {
            let Some((key, cap)) = cnode.next(self.nodes(), last.as_ref())? else {
                last = None;
                break;
            };
            keys.push(KeyInfo {
                key: Bytes(key.as_ref().to_vec()),
                kind: kind_name(cap.kind()).to_owned(),
                id: Fixed(cap.id()),
            });
            last = Some(key);
        }
        Ok(KeysPage {
            block: Fixed(state.hash),
            keys,
            next: last.map(|key| Bytes(key.as_ref().to_vec())),
        })
    }

    fn cnode_at(&self, state: &State, path: &[Key]) -> Result<CNode, RpcError> {
        if path.is_empty() {
            let table = state.instance.cnode().cloned();
            return table.ok_or_else(|| ErrorKind::NotACNode.into());
        }
        match self.backend.chain().get(state, path)? {
            Some(Cap::CNode(cnode)) => Ok(cnode),
            Some(other) => {
                let kind = kind_name(other.kind());
                Err(RpcError::about(
                    ErrorKind::NotACNode,
                    format!("a {kind} is there"),
                ))
            }
            None => Err(RpcError::about(ErrorKind::NotACNode, "nothing is there")),
        }
    }

    /// Where an event stands.
    pub(crate) fn status_of(&self, id: Hash) -> Result<EventStatus, RpcError> {
        let tracked = self.backend.tracked(&id);
        let now = self.now();
        let mut inclusions = Vec::new();
        for event in std::iter::once(id).chain(tracked.transact_ids.iter().copied()) {
            inclusions.extend(self.inclusions_of(event, &now)?);
        }
        // Included comes before pending: the node forgets what waits after the block is stored.
        let status = if inclusions.iter().any(|inclusion| inclusion.canonical) {
            EventState::Included
        } else if tracked.pending {
            EventState::Pending
        } else if tracked.dropped.is_some() {
            EventState::Dropped
        } else {
            EventState::Unknown
        };
        Ok(EventStatus {
            id: Fixed(id),
            status,
            transact_ids: tracked.transact_ids.into_iter().map(Fixed).collect(),
            inclusions,
            reason: tracked.dropped.filter(|_| status == EventState::Dropped),
        })
    }

    fn inclusions_of(&self, id: Hash, now: &Published) -> Result<Vec<Inclusion>, RpcError> {
        let store = self.backend.chain().store();
        let mut inclusions = Vec::new();
        for location in store.event(&id, INCLUSIONS_MAX)? {
            let header = self.stored(&location.block)?.header;
            let Some(outcome) = store
                .outcomes(&location.block)?
                .and_then(|outcomes| outcomes.into_iter().nth(location.index as usize))
            else {
                continue;
            };
            let canonical = store.canonical(header.height)? == Some(location.block);
            inclusions.push(Inclusion {
                id: Fixed(id),
                block: Fixed(location.block),
                height: Number(header.height),
                index: location.index,
                canonical,
                finalized: canonical && header.height <= now.finalized_height,
                outcome: (&outcome).into(),
            });
        }
        Ok(inclusions)
    }
}

/// The name of a kind, as answers show it.
pub(crate) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Data => "data",
        Kind::Image => "image",
        Kind::CNode => "cnode",
        Kind::Instance => "instance",
        Kind::Type => "type",
    }
}

fn role_name(role: &Role) -> (&'static str, Option<u8>) {
    match role {
        Role::Call => ("call", None),
        Role::View => ("view", None),
        Role::Genesis => ("genesis", None),
        Role::Schedule(order) => ("schedule", Some(*order)),
        Role::Transact(order) => ("transact", Some(*order)),
        Role::Dispatch => ("dispatch", None),
    }
}
