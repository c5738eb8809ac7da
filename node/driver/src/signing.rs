//! Whether a node may sign: not with old watermarks, nor with a key that another node signs with.
//!
//! Watermarks keep a node from signing twice only as long as they are its newest. A copy of a
//! data directory, put back later, holds old ones. Whoever drives the guard says if it knows
//! that the directory is a copy; otherwise seals and votes of the node's own keys in blocks of
//! others, which its watermarks know nothing of, tell.
//!
//! Signing then is off until the operator confirms, or until two finalizations were seen that
//! were made after the process started: by then what the key signed before is on the chain, and
//! the watermarks are raised to that. A seal or vote that was made after the process started is
//! another node's with the same key: signing is off until the operator has seen to it.

use std::collections::BTreeSet;

use jar_cap::StoreError;
use jar_kernel::block::{Attestation, Block, PublicKey, Scope};
use jar_kernel::signer::Signer;
use jar_kernel::{SignError, Store, Watermark};

/// Finalizations after which a restored node signs again.
const FINALIZATIONS: u8 = 2;

/// Whether signing is on, and if not, until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    On,
    /// Off until so many finalizations more were seen.
    Restored(u8),
    /// Off until the operator has seen to it.
    Shared,
}

/// What the operator should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningNews {
    /// The key signed what the watermarks do not know of, in this time slot: signing is off
    /// until two finalizations were seen.
    Outdated {
        /// The key.
        key: PublicKey,
        /// The time slot.
        slot: u64,
    },
    /// Another node signed with the key in this time slot: signing is off.
    Shared {
        /// The key.
        key: PublicKey,
        /// The time slot.
        slot: u64,
    },
    /// Two finalizations were seen: signing is on.
    On,
}

/// Why the guard cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The signer does not hold a key that it held at the start.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// What decides whether a node may sign.
#[derive(Clone, Debug)]
pub struct SigningGuard {
    keys: BTreeSet<PublicKey>,
    state: State,
    /// The first slot that begins after the process started.
    first_slot: u64,
}

impl SigningGuard {
    /// The guard of a signer, which it turns on or off. `is_restored` says that the watermarks
    /// may be old.
    pub fn new(signer: &Signer, is_restored: bool, first_slot: u64) -> SigningGuard {
        let keys: BTreeSet<PublicKey> = signer.keys().copied().collect();
        let state = match is_restored && !keys.is_empty() {
            true => State::Restored(FINALIZATIONS),
            false => State::On,
        };
        signer.enable(state == State::On);
        SigningGuard {
            keys,
            state,
            first_slot,
        }
    }

    /// Whether the node signs.
    pub fn is_on(&self) -> bool {
        self.state == State::On
    }

    /// Looks for signatures of the node's keys in a block that another node gave it.
    ///
    /// # Errors
    ///
    /// When watermarks can't be read or raised.
    pub fn imported(
        &mut self,
        signer: &Signer,
        store: &dyn Store,
        block: &Block,
    ) -> Result<Option<SigningNews>, SigningError> {
        let mut news = None;
        if self.keys.is_empty() {
            return Ok(news);
        }
        let slot = block.header.slot;
        let events = block.body.groups.iter().flat_map(|(_, events)| events);
        let votes = events.flat_map(|event| &event.attestations);
        for attestation in block.body.attestations.iter().chain(votes) {
            if let Some(seen) = self.unknown(signer, attestation, slot) {
                raise(signer, store, &attestation.key, &seen)?;
                let slot = signed_at(store, attestation, slot)?;
                news = self.found(signer, attestation.key, slot).or(news);
            }
        }
        Ok(news)
    }

    /// What a signature says of a key of the node's, if its watermark does not know of it.
    fn unknown(&self, signer: &Signer, attestation: &Attestation, slot: u64) -> Option<Watermark> {
        if !self.keys.contains(&attestation.key) {
            return None;
        }
        let known = signer.watermark(&attestation.key)?;
        let (is_unknown, seen) = match attestation.scope {
            Scope::Direct => return None,
            // The block was not in the store: a seal of the last slot is another's, too.
            Scope::Seal => (
                known.seal_slot.is_none_or(|last| slot >= last),
                Watermark {
                    seal_slot: Some(slot),
                    vote: None,
                },
            ),
            Scope::Vote { source, target } => (
                known.vote.is_none_or(|(_, last)| target > last),
                Watermark {
                    seal_slot: None,
                    vote: Some((source, target)),
                },
            ),
        };
        is_unknown.then_some(seen)
    }

    fn found(&mut self, signer: &Signer, key: PublicKey, slot: u64) -> Option<SigningNews> {
        let before = self.state;
        let (state, news) = match (slot >= self.first_slot, before) {
            (true, _) => (State::Shared, SigningNews::Shared { key, slot }),
            (false, State::On) => (
                State::Restored(FINALIZATIONS),
                SigningNews::Outdated { key, slot },
            ),
            (false, _) => return None,
        };
        self.state = state;
        signer.enable(false);
        (state != before).then_some(news)
    }

    /// A block of `slot` finalized one of `final_slot`: the head is at one height, the last
    /// finalized block at the other. Only blocks count that were built since the process
    /// started: by then others that sign with the key have shown themselves.
    ///
    /// # Errors
    ///
    /// When watermarks can't be raised.
    pub fn finalized(
        &mut self,
        signer: &Signer,
        store: &dyn Store,
        (slot, final_slot): (u64, u64),
        (head, finalized): (u64, u64),
    ) -> Result<Option<SigningNews>, SigningError> {
        let State::Restored(left) = self.state else {
            return Ok(None);
        };
        if final_slot < self.first_slot {
            return Ok(None);
        }
        if left > 1 {
            self.state = State::Restored(left - 1);
            return Ok(None);
        }
        // Whatever the key voted for before, it votes for what comes after.
        let floor = Watermark {
            seal_slot: Some(slot),
            vote: Some((finalized, head)),
        };
        for key in &self.keys {
            raise(signer, store, key, &floor)?;
        }
        self.state = State::On;
        signer.enable(true);
        Ok(Some(SigningNews::On))
    }
}

/// Lifts a key's watermark, on disk as well.
fn raise(
    signer: &Signer,
    store: &dyn Store,
    key: &PublicKey,
    seen: &Watermark,
) -> Result<(), SigningError> {
    let raised = signer.raise(key, seen)?;
    store.raise_watermarks(&[(*key, raised)])?;
    Ok(())
}

/// Time slot in which a signature in a block of this slot was made at the earliest: a vote may
/// have waited for its block, and is as old as its target.
fn signed_at(store: &dyn Store, attestation: &Attestation, slot: u64) -> Result<u64, StoreError> {
    let Scope::Vote { target, .. } = attestation.scope else {
        return Ok(slot);
    };
    let voted = match store.canonical(target)? {
        Some(hash) => store.header(&hash)?,
        None => None,
    };
    Ok(voted.map_or(slot, |stored| stored.header.slot.min(slot)))
}
