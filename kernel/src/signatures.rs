//! Checking ed25519 signatures by the rules of ZIP-215, one by one or many together.

use std::ops::Range;
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

/// Signatures checked together at the least: enough for the batch to pay.
const BATCH_LEN_MIN: usize = 32;
/// And at the most: more make a batch hardly cheaper.
const BATCH_LEN_MAX: usize = 1024;

/// Whether all signatures are valid, on all cores. Agrees with [`SignatureCheck::verify`] on
/// each, by ZIP-215.
pub fn verify_batch(checks: &[SignatureCheck]) -> bool {
    let checks = by_key(checks.iter(), |check| &check.key);
    let share = checks.len().div_ceil(rayon::current_num_threads());
    checks
        .par_chunks(share.max(BATCH_LEN_MIN))
        .all(|share| verify_chunk(&mut share.iter().copied()))
}

/// Does some work, on this thread, while the other cores verify signatures of a chain's block;
/// what they have left when the work is done is shared with this thread. Answers whether all are
/// valid; a check that panics counts as failed.
pub(crate) fn verify_beside<T>(
    genesis: &Hash,
    attestations: Vec<&Attestation>,
    work: impl FnOnce() -> T,
) -> (T, bool) {
    let cores = rayon::current_num_threads();
    let others = attestations.len().div_ceil(BATCH_LEN_MIN).min(cores - 1);
    let attestations = by_key(attestations.into_iter(), |attestation| &attestation.key);
    let shares = Shares::new(attestations.len(), cores);
    let verify = || {
        while let Some(share) = shares.take() {
            let batch = &attestations[share];
            let checks: Vec<_> = batch
                .iter()
                .map(|attestation| SignatureCheck::of(genesis, attestation))
                .collect();
            if !verify_chunk(&mut checks.iter()) {
                // None of the others takes another one.
                shares.end();
                return false;
            }
        }
        true
    };
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

/// Things with equal keys side by side: a batch works once for each of its keys. Only the starts
/// of keys are compared, which hardly any others share.
fn by_key<'t, T>(things: impl Iterator<Item = &'t T>, key: fn(&T) -> &PublicKey) -> Vec<&'t T> {
    let start = |thing| {
        key(thing)
            .first_chunk()
            .copied()
            .map_or(0, u64::from_ne_bytes)
    };
    let mut things: Vec<(u64, &T)> = things.map(|thing| (start(thing), thing)).collect();
    things.sort_unstable_by_key(|(start, _)| *start);
    things.into_iter().map(|(_, thing)| thing).collect()
}

/// Things shared among threads: a core's part of what is left each time. Large shares come first,
/// as they cost less for each of their things, small ones last, so that all threads end together
/// whenever they came.
struct Shares {
    len: usize,
    cores: usize,
    next: AtomicUsize,
}

impl Shares {
    fn new(len: usize, cores: usize) -> Shares {
        let next = AtomicUsize::new(0);
        Shares { len, cores, next }
    }

    /// The next share; `None` when nothing is left.
    fn take(&self) -> Option<Range<usize>> {
        let end_of = |from: usize| {
            let rest = self.len.checked_sub(from)?;
            let share = (rest / self.cores).clamp(BATCH_LEN_MIN, BATCH_LEN_MAX);
            (rest > 0).then(|| from + share.min(rest))
        };
        let (set, get) = (Ordering::Relaxed, Ordering::Relaxed);
        let from = self.next.fetch_update(set, get, end_of).ok()?;
        Some(from..end_of(from)?)
    }

    /// Nothing is left from now on.
    fn end(&self) {
        self.next.store(self.len, Ordering::Relaxed);
    }
}

fn verify_chunk(checks: &mut dyn Iterator<Item = &SignatureCheck>) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_shrink_and_cover_all() {
        for (len, cores) in [(0, 2), (1, 1), (31, 4), (2000, 1), (2000, 2), (8192, 5)] {
            let shares = Shares::new(len, cores);
            let taken: Vec<_> = std::iter::from_fn(|| shares.take()).collect();
            let mut end = 0;
            for share in &taken {
                assert_eq!(share.start, end);
                end = share.end;
            }
            assert_eq!(end, len);
            let lens: Vec<_> = taken.iter().map(Range::len).collect();
            assert!(lens.is_sorted_by(|a, b| a >= b), "{lens:?}");
            assert!(lens.iter().all(|share| *share <= BATCH_LEN_MAX));
        }
        let shares = Shares::new(2000, 2);
        assert_eq!(shares.take(), Some(0..1000));
        shares.end();
        assert_eq!(shares.take(), None);
    }
}
