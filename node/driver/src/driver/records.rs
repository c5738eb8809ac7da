//! State sync: starting from a finalized block whose state is fetched record by record.
//!
//! Records are looked up in the store before a peer is asked, so that an interrupted sync goes
//! on where it was, also with another block: what two states share is fetched once.

use std::collections::{BTreeMap, BTreeSet};

use jar_cap::hash::Tag;
use jar_cap::{Hash, RecordId, Reference, state_root};
use jar_kernel::block::outcome_root;

use super::{Driver, Purpose};
use crate::io::{Effect, Offence, PeerId, Ticket};
use crate::messages::{BlockRef, Pivot, RECORDS_MAX, RecordIds, Request};

/// Records that are read from the store at once.
const READ_MAX: usize = 256;
/// Records that are known to be missing before more are looked for.
const MISSING_MAX: usize = 4 * RECORDS_MAX;
/// Bytes of records on their way to the disk before more are asked for.
const WRITING_BYTES_MAX: usize = 32 << 20;
/// How long peers have to agree on a block.
const AGREE_MS: u64 = 15_000;
/// Different answers for one block that are compared.
const CANDIDATES_MAX: usize = 4;

/// How far state sync is.
#[derive(Clone, Debug)]
pub(super) struct StateSync {
    trusted: Option<Hash>,
    proposal: Option<Proposal>,
    fetch: Option<Fetch>,
    adopting: Option<Ticket>,
}

/// A finalized block that peers are asked for.
#[derive(Clone, Debug)]
struct Proposal {
    hash: Hash,
    since_ms: u64,
    asked: BTreeSet<PeerId>,
    /// What peers answered, and who gave the same answer.
    answers: Vec<(Box<Pivot>, BTreeSet<PeerId>)>,
}

/// The records of a state that is fetched.
#[derive(Clone, Debug)]
struct Fetch {
    pivot: Box<Pivot>,
    /// To be looked up in the store; the last first, so that there are few at a time.
    unread: Vec<Reference>,
    reading: Option<(Ticket, Vec<Reference>)>,
    /// Not in the store and not asked for.
    lacking: Vec<Reference>,
    /// Lacking or asked for.
    wanted: BTreeSet<RecordId>,
    /// Halves of the hashes of records that others refer to: shared subtrees are walked once.
    seen: BTreeSet<[u8; 16]>,
    writing: BTreeMap<Ticket, usize>,
    /// Peers that had nothing of what they were asked for last.
    without: BTreeSet<PeerId>,
    /// Of each Image, the record that says how large it is, which no id binds, and who sent that.
    images: BTreeMap<RecordId, (Reference, Option<PeerId>)>,
}

impl StateSync {
    pub fn new(trusted: Option<Hash>) -> StateSync {
        StateSync {
            trusted,
            proposal: None,
            fetch: None,
            adopting: None,
        }
    }

    /// Number of records that are known to be missing, or not looked up yet.
    pub fn missing(&self) -> u64 {
        let fetch = self.fetch.as_ref();
        fetch.map_or(0, |fetch| (fetch.unread.len() + fetch.wanted.len()) as u64)
    }
}

impl Fetch {
    fn new(pivot: Box<Pivot>) -> Fetch {
        let root = RecordId::new(Tag::Instance, pivot.instance);
        Fetch {
            pivot,
            unread: vec![root.into()],
            reading: None,
            lacking: Vec::new(),
            wanted: BTreeSet::new(),
            seen: BTreeSet::new(),
            writing: BTreeMap::new(),
            without: BTreeSet::new(),
            images: BTreeMap::new(),
        }
    }

    fn is_done(&self) -> bool {
        self.unread.is_empty()
            && self.reading.is_none()
            && self.wanted.is_empty()
            && self.writing.is_empty()
    }

    /// Takes note of the records that a record refers to.
    /// `parent` is here, from `sender` or the store, and refers to `children`.
    fn found(&mut self, parent: Reference, sender: Option<PeerId>, children: Vec<Reference>) {
        for child in children {
            let tag = child.id.tag();
            if tag == Some(Tag::PageLeaf) || self.seen.insert(half_of(&child.id)) {
                self.unread.push(child);
                if tag == Some(Tag::Image) {
                    self.images.insert(child.id, (parent, sender));
                }
            }
        }
    }

    /// An Image is of another size than the record says that refers to it: that one is fetched
    /// anew. Answers who sent it.
    fn misled(&mut self, image: &RecordId) -> Option<PeerId> {
        self.wanted.remove(image);
        self.seen.remove(&half_of(image));
        let (parent, sender) = self.images.remove(image)?;
        self.lacks(parent);
        sender
    }

    /// What is not in the store has to be asked for.
    fn lacks(&mut self, reference: Reference) {
        if self.wanted.insert(reference.id) {
            self.lacking.push(reference);
        }
    }
}

/// Half of a hash; the id's tag tells records of one hash apart.
fn half_of(id: &RecordId) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&id.as_bytes()[1..17]);
    half[0] ^= id.as_bytes()[0];
    half
}

/// Whether a content is an Image's whose reference names another size.
fn is_misreferred(reference: &Reference, content: &[u8]) -> bool {
    reference.id.tag() == Some(Tag::Image)
        && jar_cap::references(&reference.id.into(), content).is_ok()
}

/// Whether a peer's answer is the block of this hash, whole.
fn is_bound(pivot: &Pivot, hash: &Hash, genesis: &Hash) -> bool {
    let header = &pivot.block.header;
    header.hash() == *hash
        && header.genesis == *genesis
        && header.body_root == pivot.block.body.root()
        && header.state_root == state_root(&pivot.instance)
        && header.outcome_root == outcome_root(&pivot.outcomes)
}

impl Driver {
    pub(super) fn step_state(&mut self) {
        let Some(state) = &self.state else {
            return;
        };
        match &state.fetch {
            _ if state.adopting.is_some() => {}
            None => self.propose(),
            Some(fetch) if fetch.is_done() => self.adopt(),
            Some(_) => {
                self.read_records();
                self.ask_records();
            }
        }
    }

    /// Asks peers for the block to start from.
    fn propose(&mut self) {
        let chosen = self.choose_pivot();
        let now_ms = self.now_ms;
        let Some(state) = &mut self.state else {
            return;
        };
        let is_late = |p: &Proposal| now_ms >= p.since_ms.saturating_add(AGREE_MS);
        if state.proposal.as_ref().is_none_or(is_late) {
            state.proposal = chosen.map(|hash| Proposal {
                hash,
                since_ms: now_ms,
                asked: BTreeSet::new(),
                answers: Vec::new(),
            });
        }
        let Some(proposal) = &state.proposal else {
            return;
        };
        let hash = proposal.hash;
        let free = self.peers.free(now_ms).into_iter();
        let to_ask: Vec<PeerId> = free
            .filter(|peer| !proposal.asked.contains(peer) && self.peers.status(peer).is_some())
            .collect();
        for peer in to_ask {
            let asked = self.ask(peer, Request::Pivot(hash), Purpose::Pivot { hash });
            let proposal = self.state.as_mut().and_then(|s| s.proposal.as_mut());
            if let (Some(_), Some(proposal)) = (asked, proposal) {
                proposal.asked.insert(peer);
            }
        }
    }

    /// The trusted block, or the highest finalized one that enough peers are not below.
    fn choose_pivot(&self) -> Option<Hash> {
        let state = self.state.as_ref()?;
        let mut finalized: Vec<BlockRef> = self
            .peers
            .iter()
            .filter_map(|(_, peer)| Some(peer.status?.finalized))
            .collect();
        finalized.sort_unstable_by_key(|block| (block.height, block.hash));
        let enough = self.config.limits.pivot_peers.max(1);
        let index = finalized.len().checked_sub(enough)?;
        let block = finalized.get(index).filter(|block| block.height > 0)?;
        Some(state.trusted.unwrap_or(block.hash))
    }

    pub(super) fn pivot_answered(&mut self, peer: PeerId, hash: Hash, pivot: Option<Box<Pivot>>) {
        let enough = self.config.limits.pivot_peers.max(1);
        let Some(state) = &mut self.state else {
            return;
        };
        let proposal = state.proposal.as_mut().filter(|p| p.hash == hash);
        let (Some(proposal), Some(pivot), None) = (proposal, pivot, &state.fetch) else {
            return;
        };
        if !is_bound(&pivot, &hash, &self.config.genesis) {
            return self.penalize(&peer, Offence::Lied);
        }
        let answers = &mut proposal.answers;
        let index = match answers.iter().position(|(answer, _)| *answer == pivot) {
            Some(index) => index,
            None if answers.len() < CANDIDATES_MAX => {
                answers.push((pivot, BTreeSet::new()));
                answers.len() - 1
            }
            None => return,
        };
        let (pivot, peers) = &mut answers[index];
        peers.insert(peer);
        if peers.len() >= enough {
            state.fetch = Some(Fetch::new(pivot.clone()));
            state.proposal = None;
        }
    }

    pub(super) fn pivot_unanswered(&mut self, peer: &PeerId) {
        let state = self.state.as_mut();
        if let Some(proposal) = state.and_then(|state| state.proposal.as_mut()) {
            proposal.asked.remove(peer);
        }
    }

    fn fetch(&mut self) -> Option<&mut Fetch> {
        self.state.as_mut()?.fetch.as_mut()
    }

    fn read_records(&mut self) {
        let ticket = Ticket(self.id());
        let Some(fetch) = self.fetch() else {
            return;
        };
        if fetch.reading.is_some() || fetch.unread.is_empty() || fetch.wanted.len() >= MISSING_MAX {
            return;
        }
        let from = fetch.unread.len().saturating_sub(READ_MAX);
        let references = fetch.unread.split_off(from);
        let ids = references.iter().map(|reference| reference.id).collect();
        fetch.reading = Some((ticket, references));
        self.effects.push(Effect::ReadRecords { ticket, ids });
    }

    pub(super) fn records_read(&mut self, ticket: Ticket, contents: Vec<Option<Vec<u8>>>) {
        let Some(fetch) = self.fetch() else {
            return;
        };
        let references = match fetch.reading.take() {
            Some((asked, references)) if asked == ticket => references,
            other => {
                fetch.reading = other;
                return;
            }
        };
        for (index, reference) in references.into_iter().enumerate() {
            let content = contents.get(index).and_then(Option::as_ref);
            // A damaged record is fetched anew.
            match content.map(|bytes| jar_cap::references(&reference, bytes)) {
                Some(Ok(children)) => fetch.found(reference, None, children),
                Some(Err(_)) | None => fetch.lacks(reference),
            }
        }
    }

    fn ask_records(&mut self) {
        let pivot_height = match self.fetch() {
            Some(fetch) => fetch.pivot.block.header.height,
            None => return,
        };
        for peer in self.peers.free(self.now_ms) {
            let status = self.peers.status(&peer);
            let serves = status.is_some_and(|s| s.finalized.height >= pivot_height);
            let has_room = self.in_flight.len() < self.config.limits.requests;
            let Some(fetch) = self.fetch().filter(|_| serves && has_room) else {
                continue;
            };
            let is_writing = fetch.writing.values().sum::<usize>() >= WRITING_BYTES_MAX;
            if fetch.lacking.is_empty() || is_writing {
                return;
            }
            let from = fetch.lacking.len().saturating_sub(RECORDS_MAX);
            let references = fetch.lacking.split_off(from);
            let ids = references.iter().map(|reference| reference.id).collect();
            let request = Request::Records(RecordIds(ids));
            self.ask(peer, request, Purpose::Records(references));
        }
    }

    pub(super) fn records_unanswered(&mut self, references: Vec<Reference>) {
        if let Some(fetch) = self.fetch() {
            // A fetch that began anew does not want them.
            let wanted = references.into_iter();
            let wanted: Vec<_> = wanted.filter(|r| fetch.wanted.contains(&r.id)).collect();
            fetch.lacking.extend(wanted);
        }
    }

    pub(super) fn records_answered(
        &mut self,
        peer: PeerId,
        references: Vec<Reference>,
        records: Vec<Option<Vec<u8>>>,
    ) {
        let ticket = Ticket(self.id());
        let Some(fetch) = self.fetch() else {
            return;
        };
        let mut contents = records.into_iter();
        let (mut to_write, mut missing, mut bytes) = (Vec::new(), Vec::new(), 0);
        let (mut has_lied, mut misled) = (false, Vec::new());
        for reference in references {
            let content = contents.next().flatten();
            // A fetch that began anew may not want it.
            if !fetch.wanted.contains(&reference.id) {
                continue;
            }
            let Some(content) = content.filter(|_| !has_lied) else {
                missing.push(reference);
                continue;
            };
            match jar_cap::references(&reference, &content) {
                Ok(children) => {
                    fetch.wanted.remove(&reference.id);
                    fetch.found(reference, Some(peer), children);
                    bytes += content.len();
                    to_write.push((reference.id, content));
                }
                Err(_) if is_misreferred(&reference, &content) => misled.push(reference.id),
                Err(_) => {
                    has_lied = true;
                    missing.push(reference);
                }
            }
        }
        fetch.lacking.extend(missing);
        let liars: Vec<PeerId> = misled.iter().filter_map(|id| fetch.misled(id)).collect();
        if to_write.is_empty() && misled.is_empty() {
            fetch.without.insert(peer);
        } else if !to_write.is_empty() {
            fetch.without.clear();
            fetch.writing.insert(ticket, bytes);
            self.records += to_write.len() as u64;
            self.record_bytes += bytes as u64;
            self.effects.push(Effect::WriteRecords {
                ticket,
                records: to_write,
            });
        }
        for liar in liars.into_iter().chain(has_lied.then_some(peer)) {
            self.penalize(&liar, Offence::Lied);
        }
        self.give_up_pivot(&peer);
    }

    /// When no peer has the state any more, another block is chosen; what was fetched stays.
    fn give_up_pivot(&mut self, last: &PeerId) {
        let Some(fetch) = self.state.as_ref().and_then(|state| state.fetch.as_ref()) else {
            return;
        };
        if !fetch.without.contains(last) {
            return;
        }
        let height = fetch.pivot.block.header.height;
        let serving = self.peers.iter().filter(|(_, peer)| {
            peer.status
                .is_some_and(|status| status.finalized.height >= height)
        });
        let is_gone = serving
            .map(|(id, _)| id)
            .all(|id| fetch.without.contains(id));
        if is_gone && let Some(state) = &mut self.state {
            state.fetch = None;
        }
        self.peers.stalled(last, self.now_ms);
    }

    pub(super) fn records_written(&mut self, ticket: Ticket) {
        if let Some(fetch) = self.fetch() {
            fetch.writing.remove(&ticket);
        }
    }

    fn adopt(&mut self) {
        let ticket = Ticket(self.id());
        let Some(state) = &mut self.state else {
            return;
        };
        let Some(fetch) = &state.fetch else {
            return;
        };
        let pivot = fetch.pivot.clone();
        state.adopting = Some(ticket);
        self.effects.push(Effect::Adopt { ticket, pivot });
    }

    pub(super) fn adopted(&mut self, ticket: Ticket, is_adopted: bool) {
        let Some(state) = &mut self.state else {
            return;
        };
        if state.adopting != Some(ticket) {
            return;
        }
        state.adopting = None;
        let fetch = state.fetch.take();
        if let Some(fetch) = fetch.filter(|_| is_adopted) {
            self.first_height = fetch.pivot.block.header.height;
            self.patience_until_ms = self.now_ms.saturating_add(self.config.limits.patience_ms);
            self.state = None;
        }
    }
}
