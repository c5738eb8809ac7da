//! Checking ed25519 signatures by the rules of ZIP-215, one by one or many together.

use std::sync::atomic::{AtomicUsize, Ordering};

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};
use ed25519_zebra::{Signature as ZebraSignature, VerificationKey, VerificationKeyBytes, batch};
use jar_cap::Hash;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use rayon::prelude::*;

use crate::block::{Attestation, PublicKey, Signature, signed_message};

/// A signature to be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureCheck {
    /// By whom.
    pub key: PublicKey,
    /// The signed bytes.
    pub message: Hash,
    /// The signature.
    pub signature: Signature,
}

impl SignatureCheck {
    /// The check of an attestation whose blob hash is its own.
    pub fn of(genesis: &Hash, attestation: &Attestation) -> SignatureCheck {
        SignatureCheck::with_blob(genesis, attestation, &attestation.blob_hash)
    }

    /// The check of an attestation of a blob hash that it doesn't carry: a Seal's.
    pub fn with_blob(genesis: &Hash, attestation: &Attestation, blob_hash: &Hash) -> Self {
        SignatureCheck {
            key: attestation.key,
            message: signed_message(genesis, &attestation.scope, &attestation.key, blob_hash),
            signature: attestation.signature,
        }
    }

    /// Whether the signature is valid.
    pub fn verify(&self) -> bool {
        VerificationKey::try_from(self.key).is_ok_and(|key| {
            key.verify(&ZebraSignature::from_bytes(&self.signature), &self.message)
                .is_ok()
        })
    }
}

/// Signatures checked together by one core: enough for the batch to pay, few enough to share.
const BATCH_LEN_MIN: usize = 32;

/// Whether all signatures are valid, on all cores. Agrees with [`SignatureCheck::verify`] on
/// each, by ZIP-215.
pub fn verify_batch(checks: &[SignatureCheck]) -> bool {
    let share = checks.len().div_ceil(rayon::current_num_threads());
    checks
        .par_chunks(share.max(BATCH_LEN_MIN))
        .all(verify_chunk)
}

/// Signatures checked together at the most: more make a batch hardly cheaper.
const BATCH_LEN_MAX: usize = 1024;

/// Does some work, on this thread, while the other cores verify signatures of a chain's block;
/// what they have left when the work is done is verified here, too. Answers whether all are
/// valid; a check that panics counts as failed.
pub(crate) fn verify_beside<T>(
    genesis: &Hash,
    attestations: &[&Attestation],
    work: impl FnOnce() -> T,
) -> (T, bool) {
    let cores = rayon::current_num_threads();
    let share = attestations.len().div_ceil(cores);
    let batch_len = share.clamp(BATCH_LEN_MIN, BATCH_LEN_MAX);
    let next = AtomicUsize::new(0);
    let verify = || {
        loop {
            let from = next.fetch_add(batch_len, Ordering::Relaxed);
            let Some(rest) = attestations.get(from..).filter(|rest| !rest.is_empty()) else {
                return true;
            };
            let batch = rest.iter().take(batch_len);
            let checks: Vec<_> = batch.map(|a| SignatureCheck::of(genesis, a)).collect();
            if !verify_chunk(&checks) {
                // None of the others takes another one.
                next.store(attestations.len(), Ordering::Relaxed);
                return false;
            }
        }
    };
    let others = attestations.len().div_ceil(batch_len).min(cores - 1);
    std::thread::scope(|scope| {
        let others: Vec<_> = (0..others).map(|_| scope.spawn(verify)).collect();
        let done = work();
        let here = verify();
        let joined = others
            .into_iter()
            .map(|other| other.join().unwrap_or(false));
        (done, joined.fold(here, |all, valid| all && valid))
    })
}

fn verify_chunk(checks: &[SignatureCheck]) -> bool {
    let mut batch = batch::Verifier::new();
    let mut transcript = Blake2b::<U32>::new();
    for check in checks {
        transcript.update(check.key);
        transcript.update(check.message);
        transcript.update(check.signature);
        batch.queue((
            VerificationKeyBytes::from(check.key),
            ZebraSignature::from_bytes(&check.signature),
            &check.message,
        ));
    }
    // The coefficients must be unforeseeable to the signer, not secret: a hash of everything
    // checked serves, and keeps the kernel free of randomness.
    batch
        .verify(ChaCha20Rng::from_seed(transcript.finalize().into()))
        .is_ok()
}
