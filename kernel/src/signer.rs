//! [`Signer`]: the operator's keys that are enabled for signing, and their watermarks.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ed25519_dalek::{Signer as _, SigningKey};
use jar_cap::{Hash, StoreError};

use crate::block::{PublicKey, Signature};
use crate::hardware::{SignError, SignRequest, Store, Watermark};
use crate::memory::highest;

/// Signs with the keys the operator enabled on this chain, and nothing twice.
///
/// Watermarks are read from the store once and raised in memory with each signature, so that
/// they hold even for signatures whose block was never committed.
pub struct Signer {
    keys: BTreeMap<PublicKey, SigningKey>,
    watermarks: Mutex<BTreeMap<PublicKey, Watermark>>,
    is_off: AtomicBool,
}

impl Signer {
    /// Keys by their 32-byte ed25519 seeds, with the watermarks that the store holds.
    ///
    /// Fails when the store cannot be read: without watermarks nothing may be signed.
    pub fn new(
        seeds: impl IntoIterator<Item = [u8; 32]>,
        store: &dyn Store,
    ) -> Result<Signer, StoreError> {
        let keys: BTreeMap<PublicKey, SigningKey> = seeds
            .into_iter()
            .map(|seed| {
                let key = SigningKey::from_bytes(&seed);
                (key.verifying_key().to_bytes(), key)
            })
            .collect();
        let watermarks = keys
            .keys()
            .map(|key| Ok((*key, store.watermark(key)?)))
            .collect::<Result<_, StoreError>>()?;
        Ok(Signer {
            keys,
            watermarks: Mutex::new(watermarks),
            is_off: AtomicBool::new(false),
        })
    }

    /// A signer without keys, which signs nothing.
    pub fn without_keys() -> Signer {
        Signer {
            keys: BTreeMap::new(),
            watermarks: Mutex::default(),
            is_off: AtomicBool::new(false),
        }
    }

    /// The enabled keys, ascending.
    pub fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.keys.keys()
    }

    /// The watermark of a key in memory; `None` for a key that is not held.
    pub fn watermark(&self, key: &PublicKey) -> Option<Watermark> {
        self.lock().get(key).copied()
    }

    /// Lifts a held key's watermark, as when a key was imported together with one.
    pub fn raise(&self, key: &PublicKey, watermark: &Watermark) -> Result<Watermark, SignError> {
        let mut watermarks = self.lock();
        let held = watermarks.get_mut(key).ok_or(SignError::NotHeld)?;
        *held = highest(held, watermark);
        Ok(*held)
    }

    /// Turns signing on or off for all keys; it is on at first.
    pub fn enable(&self, is_on: bool) {
        self.is_off.store(!is_on, Ordering::Relaxed);
    }

    /// Whether [`Signer::sign`] would sign this now.
    pub fn may_sign(&self, request: &SignRequest) -> bool {
        !self.is_off.load(Ordering::Relaxed)
            && self
                .lock()
                .get(&request.key)
                .is_some_and(|watermark| watermark.allows(request))
    }

    /// Signs a message of [`crate::block::signed_message`]; answers the raised watermark, which
    /// must be committed before the signature leaves the node.
    pub fn sign(
        &self,
        request: &SignRequest,
        message: &Hash,
    ) -> Result<(Signature, Watermark), SignError> {
        let key = self.keys.get(&request.key).ok_or(SignError::NotHeld)?;
        let mut watermarks = self.lock();
        let watermark = watermarks.get_mut(&request.key).ok_or(SignError::NotHeld)?;
        if self.is_off.load(Ordering::Relaxed) {
            return Err(SignError::Off);
        }
        if !watermark.allows(request) {
            return Err(SignError::Watermark);
        }
        *watermark = watermark.raised(request);
        Ok((key.sign(message).to_bytes(), *watermark))
    }

    // Watermarks are raised before anything is signed, so a poisoned lock holds them whole.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PublicKey, Watermark>> {
        self.watermarks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shows public keys alone.
impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.keys.keys().map(|key| crate::error::hex(key)))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signature as DalekSignature, VerifyingKey};

    use super::*;
    use crate::block::Scope;
    use crate::memory::MemoryChainStore;

    const SEED: [u8; 32] = [7; 32];

    fn signer() -> (Signer, PublicKey) {
        let signer = Signer::new([SEED], &MemoryChainStore::new()).unwrap();
        let key = *signer.keys().next().unwrap();
        (signer, key)
    }

    fn seal(key: PublicKey, slot: u64) -> SignRequest {
        SignRequest {
            key,
            scope: Scope::Seal,
            slot,
        }
    }

    fn vote(key: PublicKey, source: u64, target: u64) -> SignRequest {
        SignRequest {
            key,
            scope: Scope::Vote { source, target },
            slot: 0,
        }
    }

    #[test]
    fn signatures_verify() {
        let (signer, key) = signer();
        let message = [9; 32];
        let (signature, watermark) = signer.sign(&seal(key, 4), &message).unwrap();
        assert_eq!(watermark.seal_slot, Some(4));
        let verifier = VerifyingKey::from_bytes(&key).unwrap();
        let signature = DalekSignature::from_bytes(&signature);
        verifier.verify_strict(&message, &signature).unwrap();
        assert!(verifier.verify_strict(&[8; 32], &signature).is_err());
    }

    #[test]
    fn a_slot_is_sealed_once() {
        let (signer, key) = signer();
        signer.sign(&seal(key, 4), &[1; 32]).unwrap();
        for slot in [0, 3, 4] {
            assert!(!signer.may_sign(&seal(key, slot)));
            assert_eq!(
                signer.sign(&seal(key, slot), &[2; 32]),
                Err(SignError::Watermark)
            );
        }
        assert!(signer.may_sign(&seal(key, 5)));
        assert!(signer.may_sign(&vote(key, 0, 1)));
    }

    #[test]
    fn votes_neither_repeat_nor_surround() {
        let (signer, key) = signer();
        let (_, watermark) = signer.sign(&vote(key, 2, 5), &[1; 32]).unwrap();
        assert_eq!(watermark.vote, Some((2, 5)));
        assert!(!signer.may_sign(&vote(key, 2, 5)), "repeats a target");
        assert!(!signer.may_sign(&vote(key, 1, 6)), "surrounds the last");
        assert!(!signer.may_sign(&vote(key, 3, 4)), "surrounded by the last");
        assert!(signer.may_sign(&vote(key, 2, 6)));
    }

    #[test]
    fn unknown_keys_and_imported_watermarks() {
        let (signer, key) = signer();
        let other = [0; 32];
        assert!(!signer.may_sign(&seal(other, 1)));
        assert_eq!(
            signer.sign(&seal(other, 1), &[0; 32]),
            Err(SignError::NotHeld)
        );
        let imported = Watermark {
            seal_slot: Some(10),
            vote: None,
        };
        assert_eq!(signer.raise(&other, &imported), Err(SignError::NotHeld));
        assert_eq!(signer.raise(&key, &imported), Ok(imported));
        assert!(!signer.may_sign(&seal(key, 10)));
        assert_eq!(
            signer.raise(&key, &Watermark::default()),
            Ok(imported),
            "a watermark fell"
        );
        assert!(!Signer::without_keys().may_sign(&seal(key, 99)));
    }

    #[test]
    fn what_is_turned_off_signs_nothing() {
        let (signer, key) = signer();
        signer.enable(false);
        assert!(!signer.may_sign(&seal(key, 1)));
        assert_eq!(signer.sign(&seal(key, 1), &[0; 32]), Err(SignError::Off));
        signer.enable(true);
        assert!(signer.sign(&seal(key, 1), &[0; 32]).is_ok());
    }

    #[test]
    fn seeds_are_not_shown() {
        let (signer, key) = signer();
        let text = format!("{signer:?}");
        assert!(text.contains(&crate::error::hex(&key)));
        assert!(!text.contains(&crate::error::hex(&SEED)));
    }
}
