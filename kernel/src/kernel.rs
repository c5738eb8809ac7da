//! The kernel: owner of the head. It accepts events, builds blocks and imports them.

mod adopt;
mod forks;
mod loaded;
mod offchain;
mod reorg;

use std::collections::BTreeMap;
use std::sync::Arc;

use jar_cap::{Cap, Hash, ImageRef, state_root};
use jar_pvm::Engine;

use self::forks::Leaves;
use self::loaded::Loaded;
pub use self::offchain::AGGREGATE_EVENTS_MAX;
use self::reorg::Recent;
use crate::answers::{Advance, AdvanceError, Advanced};
use crate::block::{
    Attestation, Block, Body, Header, PublicKey, Scope, outcome_root, signed_message,
};
use crate::chain::{Chain, State};
use crate::counting::CountingStore;
use crate::dispatch::Pipeline;
use crate::error::KernelError;
use crate::exec::Env;
use crate::genesis::{check_genesis, check_numbers, commit_genesis};
use crate::hardware::{
    Commit, Emission, Hardware, SignError, SignRequest, Store, Trace, Watermark,
};
use crate::params::Genesis;
use crate::programs::{Programs, decode_image};
use crate::signatures::{SignatureCheck, verify_batch, verify_beside};
use crate::walk::{InvalidBlock, Mode, Walked, check_sizes, walk};

/// What the chain says of a block.
struct Verdict {
    score: u64,
    /// The newly finalized block, if there is one.
    finalized: Option<Arc<State>>,
}

/// The head and last finalized block of a chain, and the pipeline of events.
///
/// Synchronous and free of I/O, clocks and randomness: all of that is [`Hardware`]'s.
#[derive(Debug)]
pub struct Kernel<H> {
    hardware: Arc<H>,
    chain: Arc<Chain>,
    head: Arc<State>,
    finalized: Arc<State>,
    pipeline: Pipeline,
    recent: Recent,
    leaves: Leaves,
    loaded: Loaded,
}

impl<H: Hardware> Kernel<H> {
    /// Opens a chain: on an empty store Genesis is run and committed, otherwise the store
    /// must hold this chain's data.
    pub fn open(
        hardware: Arc<H>,
        genesis: &Genesis,
        engine: Arc<dyn Engine>,
    ) -> Result<Kernel<H>, KernelError> {
        check_numbers(genesis)?;
        let image = decode_image(&genesis.image, &genesis.params).map_err(KernelError::Image)?;
        let image = ImageRef::new(image);
        let reads = Arc::new(CountingStore::new(hardware.store()));
        let store: Arc<dyn Store> = reads.clone();
        let env = Env {
            store: store.clone(),
            params: genesis.params.clone(),
            programs: Programs::new(engine),
        };
        let genesis_hash = match store.canonical(0)? {
            Some(hash) => check_genesis(&env, genesis, &image, hash)?,
            None => commit_genesis(&env, genesis, &image)?,
        };
        let chain = Arc::new(Chain::new(env, genesis, genesis_hash));
        let head = load(&chain, store.head()?)?;
        let finalized = load(&chain, store.finalized()?)?;
        Ok(Kernel {
            hardware,
            head,
            finalized,
            pipeline: Pipeline::default(),
            recent: Recent::default(),
            leaves: Leaves::default(),
            chain,
            loaded: Loaded::new(reads),
        })
    }

    /// The reading side, to be shared with other threads.
    pub fn chain(&self) -> &Arc<Chain> {
        &self.chain
    }

    /// The best block.
    pub fn head(&self) -> &Arc<State> {
        &self.head
    }

    /// The last finalized block.
    pub fn finalized(&self) -> &Arc<State> {
        &self.finalized
    }

    /// Whether an event, or an item made from it, waits for a block.
    pub fn pending(&self, id: &Hash) -> bool {
        self.pipeline.is_known(id)
    }

    /// Number of items that wait for a block.
    pub fn pending_count(&self) -> usize {
        self.pipeline.len()
    }

    /// Builds a block or imports one, and commits it.
    pub fn advance(&mut self, advance: Advance) -> Result<Advanced, AdvanceError> {
        match advance {
            Advance::Build { slot } => self.build(slot),
            Advance::Import(block) => self.import(*block),
        }
    }

    fn build(&mut self, slot: u64) -> Result<Advanced, AdvanceError> {
        let parent = self.head.clone();
        if slot <= parent.header.slot {
            let head = parent.header.slot;
            return Err(AdvanceError::StaleSlot { slot, head });
        }
        let author = self.chain.author(&parent, slot)?;
        let may_seal = |key| {
            self.hardware.may_sign(&SignRequest {
                key,
                scope: Scope::Seal,
                slot,
            })
        };
        if author.is_some_and(|key| !may_seal(key)) {
            return Err(AdvanceError::NotAuthor);
        }
        let hardware = self.hardware.clone();
        let mode = Mode::Build {
            pipeline: &mut self.pipeline,
            hardware: &*hardware,
        };
        let mut walked = walk(&self.chain, &*hardware, &parent, slot, mode)?;
        match self.finish_build(&parent, slot, author, &mut walked) {
            Ok(advanced) => {
                self.hardware.emit(Emission::Block(advanced.block.clone()));
                Ok(advanced)
            }
            Err(error) => {
                self.pipeline.restore(std::mem::take(&mut walked.taken));
                Err(error)
            }
        }
    }

    fn finish_build(
        &mut self,
        parent: &State,
        slot: u64,
        author: Option<PublicKey>,
        walked: &mut Walked,
    ) -> Result<Advanced, AdvanceError> {
        check_sizes(&self.chain, &walked.body)?;
        check_seal(&walked.body, author)?;
        let verdict = self.judge(parent, walked)?;
        let mut body = std::mem::take(&mut walked.body);
        let mut watermarks = BTreeMap::new();
        // The header covers every signature but the seal's, which is made over the header.
        let is_seal = |a: &&mut Attestation| a.scope == Scope::Seal;
        for attestation in body.attestations.iter_mut().filter(|a| !is_seal(a)) {
            let blob_hash = attestation.blob_hash;
            self.sign(slot, attestation, &blob_hash, &mut watermarks)
                .map_err(|_| AdvanceError::NotAuthor)?;
        }
        let header = Header {
            genesis: self.chain.genesis_hash(),
            parent: parent.hash,
            height: parent.header.height + 1,
            slot,
            body_root: body.root(),
            state_root: state_root(&walked.instance.id()),
            outcome_root: outcome_root(&walked.outcomes),
        };
        let blob_hash = jar_cap::hash::blake2b(&[&header.hash()]);
        if let Some(seal) = body.attestations.iter_mut().find(is_seal) {
            self.sign(slot, seal, &blob_hash, &mut watermarks)
                .map_err(|_| AdvanceError::NotAuthor)?;
        }
        self.commit(Block { header, body }, walked, verdict, watermarks)
    }

    /// Signs what was noted; the raised watermark has to be stored before the signature leaves.
    fn sign(
        &self,
        slot: u64,
        attestation: &mut Attestation,
        blob_hash: &Hash,
        watermarks: &mut BTreeMap<PublicKey, Watermark>,
    ) -> Result<(), SignError> {
        let Attestation { key, scope, .. } = *attestation;
        let message = signed_message(&self.chain.genesis_hash(), &scope, &key, blob_hash);
        let request = SignRequest { key, scope, slot };
        let (signature, watermark) = self.hardware.sign(&request, &message)?;
        attestation.signature = signature;
        watermarks.insert(key, watermark);
        Ok(())
    }

    fn import(&mut self, block: Block) -> Result<Advanced, AdvanceError> {
        let hash = block.header.hash();
        if self.chain.store().header(&hash)?.is_some() {
            return Err(AdvanceError::AlreadyKnown);
        }
        let parent = self
            .known_state(&block.header.parent)?
            .ok_or(AdvanceError::UnknownParent)?;
        let ids = self.check_before_walk(&parent, &block)?;
        let slot = block.header.slot;
        let genesis = self.chain.genesis_hash();
        let unchecked = self.unchecked(&block.body, &ids);
        let (walked, all_verify) = verify_beside(&genesis, unchecked, || {
            let mode = Mode::Import(&block.body, &ids);
            let walked = walk(&self.chain, &*self.hardware, &parent, slot, mode)?;
            check_roots(&block.header, &walked)?;
            Ok::<_, AdvanceError>(walked)
        });
        let mut walked = walked?;
        // Signatures that nothing consumed may be bad.
        if !all_verify && !verify_batch(&walked.consumed(&genesis, &block.body)) {
            return Err(InvalidBlock::Signature.into());
        }
        let verdict = self.judge(&parent, &walked)?;
        self.commit(block, &mut walked, verdict, BTreeMap::new())
    }

    /// The state after a block; the head's is at hand, with what was read of it before.
    fn known_state(&self, hash: &Hash) -> Result<Option<Arc<State>>, KernelError> {
        if self.head.hash == *hash {
            return Ok(Some(self.head.clone()));
        }
        Ok(self.chain.state(hash)?.map(Arc::new))
    }

    /// The attestations of a body but its Seal, which is checked before. Those of events that
    /// wait here were checked when they came.
    fn unchecked<'b>(&self, body: &'b Body, ids: &[Hash]) -> Vec<&'b Attestation> {
        let events = body.groups.iter().flat_map(|(_, events)| events);
        let of_events = events
            .zip(ids)
            .filter(|(_, id)| !self.pipeline.is_known(id))
            .flat_map(|(event, _)| &event.attestations);
        let of_body = body.attestations.iter().filter(|a| a.scope != Scope::Seal);
        of_events.chain(of_body).collect()
    }

    /// What can be told of a received block before any of it runs; answers the ids of its events.
    fn check_before_walk(&self, parent: &State, block: &Block) -> Result<Vec<Hash>, AdvanceError> {
        let header = &block.header;
        if header.genesis != self.chain.genesis_hash() {
            return Err(InvalidBlock::Genesis.into());
        }
        let expected = parent.header.height + 1;
        if header.height != expected {
            let found = header.height;
            return Err(InvalidBlock::Height { expected, found }.into());
        }
        if header.slot <= parent.header.slot {
            let (parent, found) = (parent.header.slot, header.slot);
            return Err(InvalidBlock::Slot { parent, found }.into());
        }
        if !self.descends_from_finalized(parent)? {
            return Err(InvalidBlock::BelowFinalized.into());
        }
        check_sizes(&self.chain, &block.body)?;
        let (body_root, ids) = rayon::join(|| block.body.root(), || block.body.event_ids());
        if body_root != header.body_root {
            return Err(InvalidBlock::BodyRoot.into());
        }
        // What the View makes of a hostile time slot is the block's trouble, not the node's.
        let author = self.chain.author_answer(parent, header.slot)?;
        let author = author
            .map_err(|_| InvalidBlock::Seal("the View author gives no answer for its time slot"))?;
        check_seal(&block.body, author)?;
        if let Some((_, seal)) = block.body.seal() {
            let blob_hash = jar_cap::hash::blake2b(&[&header.hash()]);
            let genesis = self.chain.genesis_hash();
            if !SignatureCheck::with_blob(&genesis, seal, &blob_hash).verify() {
                return Err(InvalidBlock::SealSignature.into());
            }
        }
        Ok(ids)
    }

    /// Whether the last finalized block is this one or an ancestor of it.
    fn descends_from_finalized(&self, state: &State) -> Result<bool, KernelError> {
        let finalized = &self.finalized;
        let height = finalized.header.height;
        Ok(self.chain.ancestor_at(state, height)? == Some(finalized.hash))
    }

    /// What the chain says of a block that was walked.
    fn judge(&self, parent: &State, walked: &Walked) -> Result<Verdict, AdvanceError> {
        let score = match walked.score {
            None => parent.score.saturating_add(1),
            Some(score) => score,
        };
        if score <= parent.score {
            let (parent, found) = (parent.score, score);
            return Err(InvalidBlock::Score { parent, found }.into());
        }
        let finalized = self.newly_finalized(parent, &walked.finalize)?;
        Ok(Verdict { score, finalized })
    }

    fn commit(
        &mut self,
        block: Block,
        walked: &mut Walked,
        verdict: Verdict,
        watermarks: BTreeMap<PublicKey, Watermark>,
    ) -> Result<Advanced, AdvanceError> {
        let hash = block.header.hash();
        let Verdict { score, finalized } = verdict;
        let state = Arc::new(State {
            hash,
            header: block.header.clone(),
            score,
            instance: walked.instance.clone(),
        });
        let head = self.new_head(&state, finalized.as_deref())?;
        let (canonical, reverted) = match &head {
            Some(head) => self.canonical_changes(head)?,
            None => (Vec::new(), 0),
        };
        let mut nodes = Vec::new();
        let store = self.chain.store().clone();
        let repeated = jar_cap::persist(
            &Cap::Instance(walked.instance.clone()),
            store.number(),
            &mut |id, bytes| nodes.push((id, bytes)),
        )?;
        let commit = Commit {
            block: Arc::new(block),
            hash,
            score,
            instance: walked.instance.id(),
            outcomes: std::mem::take(&mut walked.outcomes),
            events: std::mem::take(&mut walked.events),
            nodes,
            canonical,
            head: head.as_ref().map(|head| head.hash),
            finalized: finalized.as_ref().map(|state| state.hash),
            watermarks: watermarks.into_iter().collect(),
        };
        let left_behind = match reverted {
            0 => Vec::new(),
            _ => self.events_from(self.head.header.height + 1 - reverted)?,
        };
        store.commit(&commit)?;
        self.committed(&commit, head, finalized, reverted);
        self.bound_memory(&commit, repeated)?;
        let signatures = std::mem::take(&mut walked.signatures);
        self.renew_pipeline(&commit, signatures, left_behind)?;
        Ok(Advanced {
            hash,
            block: commit.block,
            outcomes: commit.outcomes,
            events: commit.events,
            head_changed: commit.head.is_some(),
            finalized: commit.finalized,
        })
    }

    /// The highest block above the last finalized one that a block's chain finalizes.
    fn newly_finalized(
        &self,
        parent: &State,
        declared: &[Hash],
    ) -> Result<Option<Arc<State>>, AdvanceError> {
        let mut newest: Option<Arc<State>> = None;
        for hash in declared {
            if self.may_be_below_adopted(hash)? {
                continue;
            }
            if !self.chain.is_ancestor(hash, parent)? {
                return Err(InvalidBlock::Finalize.into());
            }
            let state = self.chain.state(hash)?.ok_or(InvalidBlock::Finalize)?;
            let highest = newest.as_ref().unwrap_or(&self.finalized);
            if state.header.height > highest.header.height {
                newest = Some(Arc::new(state));
            }
        }
        Ok(newest)
    }

    /// Changes of the canonical index that make a block the head, and how many blocks of the
    /// present head's chain they leave.
    #[allow(clippy::type_complexity)]
    fn canonical_changes(
        &self,
        head: &State,
    ) -> Result<(Vec<(u64, Option<Hash>)>, u64), KernelError> {
        let store = self.chain.store();
        let mut changes = vec![(head.header.height, Some(head.hash))];
        let (mut height, mut hash) = (head.header.height, head.header.parent);
        while height > 0 && store.canonical(height - 1)? != Some(hash) {
            height -= 1;
            changes.push((height, Some(hash)));
            let stored = store
                .header(&hash)?
                .ok_or_else(|| KernelError::Internal("a block's ancestor is missing".into()))?;
            hash = stored.header.parent;
        }
        let old_head = self.head.header.height;
        let stale = head.header.height + 1..=old_head;
        changes.extend(stale.map(|height| (height, None)));
        Ok((changes, (old_head + 1).saturating_sub(height)))
    }

    fn committed(
        &mut self,
        commit: &Commit,
        head: Option<Arc<State>>,
        finalized: Option<Arc<State>>,
        reverted: u64,
    ) {
        let header = &commit.block.header;
        self.leaves.add(commit.hash, header, commit.score);
        self.hardware.trace(Trace::Committed {
            hash: commit.hash,
            height: header.height,
            events: commit.events.len(),
            gas_used: commit.outcomes.iter().map(|o| o.gas_used).sum(),
            records: commit.nodes.len(),
        });
        if let Some(head) = head {
            self.hardware.trace(Trace::Head {
                hash: head.hash,
                height: head.header.height,
                reverted,
            });
            self.head = head;
        }
        if let Some(finalized) = finalized {
            self.hardware.trace(Trace::Finalized {
                hash: finalized.hash,
                height: finalized.header.height,
            });
            self.leaves.finalize(finalized.header.height);
            self.finalized = finalized;
        }
    }
}

/// The state after a block that the store must hold.
fn load(chain: &Chain, hash: Option<Hash>) -> Result<Arc<State>, KernelError> {
    let missing = || KernelError::Internal("the store has no head".into());
    let hash = hash.ok_or_else(missing)?;
    chain.state(&hash)?.map(Arc::new).ok_or_else(missing)
}

/// Checks that a walk came to what a header says.
fn check_roots(header: &Header, walked: &Walked) -> Result<(), InvalidBlock> {
    if state_root(&walked.instance.id()) != header.state_root {
        return Err(InvalidBlock::StateRoot);
    }
    if outcome_root(&walked.outcomes) != header.outcome_root {
        return Err(InvalidBlock::OutcomeRoot);
    }
    Ok(())
}

/// Checks that a body carries the author's Seal, and no other.
fn check_seal(body: &Body, author: Option<PublicKey>) -> Result<(), InvalidBlock> {
    let mut seals = body.attestations.iter().filter(|a| a.scope == Scope::Seal);
    match (author, seals.next(), seals.next()) {
        (_, _, Some(_)) => Err(InvalidBlock::Seal("there is more than one")),
        (None, None, _) => Ok(()),
        (None, Some(_), _) => Err(InvalidBlock::Seal("the time slot has no author")),
        (Some(_), None, _) => Err(InvalidBlock::Seal("it is missing")),
        (Some(author), Some(seal), None) if seal.key != author => {
            Err(InvalidBlock::Seal("it is not by the time slot's author"))
        }
        (Some(_), Some(seal), None) if seal.blob_hash != [0; 32] => {
            Err(InvalidBlock::Seal("its blob hash is not zero"))
        }
        (Some(_), Some(_), None) => Ok(()),
    }
}

/// Decodes a block as a peer or a file gives it.
pub fn decode_block(bytes: &[u8]) -> Result<Block, InvalidBlock> {
    jar_cap::decode_canonical(bytes).map_err(|_| InvalidBlock::Encoding)
}
