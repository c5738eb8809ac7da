//! What every engine runs, and the host too: one source for all.
//!
//! Each workload takes its size and answers a checksum of all it computed, so that engines
//! can be compared and nothing can be left out.
#![no_std]

use blake2::{Blake2b512, Digest};
use ed25519_dalek::{Signature, VerifyingKey};
use k256::ecdsa::{RecoveryId, VerifyingKey as EcdsaKey};
use sha3::Keccak256;

/// Most numbers that [`sort`] takes.
pub const SORT_MAX: usize = 2048;
/// Most numbers that [`sieve`] takes.
pub const SIEVE_MAX: usize = 400_000;
/// Bytes of a message that [`blake2b`] and [`keccak`] hash.
const MESSAGE: usize = 4096;

/// The n-th Fibonacci number, by recursion: calls and returns.
pub fn fib(n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    fib(n - 1).wrapping_add(fib(n - 2))
}

fn next(state: &mut u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *state >> 32
}

/// Sorts `n` pseudorandom numbers by insertion; their sum weighted by place.
pub fn sort(n: u64) -> u64 {
    let mut numbers = [0u32; SORT_MAX];
    let numbers = &mut numbers[..(n as usize).min(SORT_MAX)];
    let mut state = n;
    numbers
        .iter_mut()
        .for_each(|number| *number = next(&mut state) as u32);
    for end in 1..numbers.len() {
        let number = numbers[end];
        let mut place = end;
        while place > 0 && numbers[place - 1] > number {
            numbers[place] = numbers[place - 1];
            place -= 1;
        }
        numbers[place] = number;
    }
    let weigh = |(place, number): (usize, &u32)| u64::from(*number).wrapping_mul(place as u64);
    numbers
        .iter()
        .enumerate()
        .map(weigh)
        .fold(0, u64::wrapping_add)
}

/// How many primes are below `n`, times 2^32, and their sum.
pub fn sieve(n: u64) -> u64 {
    let mut marked = [0u8; SIEVE_MAX];
    let marked = &mut marked[..(n as usize).min(SIEVE_MAX)];
    let mut sum = 0u64;
    for i in 2..marked.len() {
        if marked[i] != 0 {
            continue;
        }
        sum = sum.wrapping_add((1 << 32) + i as u64);
        let mut multiple = i * i;
        while multiple < marked.len() {
            marked[multiple] = 1;
            multiple += i;
        }
    }
    sum
}

/// `n` calls of `host`, each with what the one before answered.
pub fn hostcall(n: u64, host: impl Fn(u64) -> u64) -> u64 {
    (0..n).fold(1, |value, _| host(value))
}

/// What the host does for [`hostcall`].
pub const fn host_answer(value: u64) -> u64 {
    value.rotate_left(7).wrapping_add(1)
}

/// Writes `n` bytes of memory that it has not used before, 64 KiB at most.
pub fn touch(n: u64) -> u64 {
    if n == 0 {
        return 0;
    }
    let mut memory = [0u64; 8192];
    let words = (n as usize / 8).min(memory.len());
    for (i, word) in memory[..words].iter_mut().enumerate() {
        *word = n ^ i as u64;
    }
    let memory = core::hint::black_box(&memory);
    memory[words.saturating_sub(1)]
}

fn chain<D: Digest>(n: u64) -> u64 {
    let mut message = [0x5a; MESSAGE];
    for _ in 0..n {
        let digest = D::digest(message);
        message[..digest.len()].copy_from_slice(&digest);
    }
    first_word(&message)
}

fn first_word(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .take(8)
        .fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// BLAKE2b-512 over 4 KiB, `n` times.
pub fn blake2b(n: u64) -> u64 {
    chain::<Blake2b512>(n)
}

/// Keccak-256 over 4 KiB, `n` times.
pub fn keccak(n: u64) -> u64 {
    chain::<Keccak256>(n)
}

/// Verifies an Ed25519 signature `n` times, strictly; an odd checksum of all were good.
pub fn ed25519(n: u64) -> u64 {
    (0..n).fold(1, |sum, i| {
        let mut message = MESSAGE_SIGNED;
        // Every second message is not the one that was signed.
        message[0] ^= (i % 2) as u8;
        let good = VerifyingKey::from_bytes(&ED25519_KEY).is_ok_and(|key| {
            key.verify_strict(&message, &Signature::from_bytes(&ED25519_SIGNATURE))
                .is_ok()
        });
        sum << 1 | u64::from(good)
    })
}

/// Recovers the key of a secp256k1 signature `n` times, and hashes it as Ethereum does.
pub fn ecrecover(n: u64) -> u64 {
    let mut digest = ECDSA_DIGEST;
    for _ in 0..n {
        let recovered = k256::ecdsa::Signature::from_slice(&ECDSA_SIGNATURE)
            .ok()
            .zip(RecoveryId::from_byte(ECDSA_RECOVERY))
            .and_then(|(signature, id)| {
                EcdsaKey::recover_from_prehash(&digest, &signature, id).ok()
            });
        let Some(key) = recovered else { return 0 };
        digest = Keccak256::digest(&key.to_sec1_point(false).as_bytes()[1..]).into();
    }
    first_word(&digest[24..])
}

const fn digit(character: u8) -> u8 {
    match character {
        b'0'..=b'9' => character - b'0',
        b'a'..=b'f' => character - b'a' + 10,
        _ => panic!("not a hexadecimal digit"),
    }
}

const fn hex<const N: usize>(text: &[u8]) -> [u8; N] {
    assert!(text.len() == 2 * N, "two digits a byte");
    let mut bytes = [0; N];
    let mut i = 0;
    while i < N {
        bytes[i] = digit(text[2 * i]) << 4 | digit(text[2 * i + 1]);
        i += 1;
    }
    bytes
}

/// RFC 8032, 7.1, test 2: the key.
const ED25519_KEY: [u8; 32] =
    hex(b"3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
/// Its signature of [`MESSAGE_SIGNED`].
const ED25519_SIGNATURE: [u8; 64] = hex(b"92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00");
/// Its message.
const MESSAGE_SIGNED: [u8; 1] = [0x72];
/// A hash.
const ECDSA_DIGEST: [u8; 32] = [0x21; 32];
/// Its signature by the secret key of 32 bytes 7.
const ECDSA_SIGNATURE: [u8; 64] = hex(b"a81b3b237bd5103e46d982842ecdb75da9c6f0719d991ebace443c218228fe5f26005d5b3c3221095c7d10a26a8cf9acbbd0bafbc0cc069e4ddf0084a477c7c2");
/// Which of the keys that fit.
const ECDSA_RECOVERY: u8 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workloads_compute_what_they_say() {
        assert_eq!(fib(10), 55);
        // Primes below 10: 2, 3, 5, 7.
        assert_eq!(sieve(10), (4 << 32) + 17);
        assert_eq!(hostcall(2, host_answer), host_answer(host_answer(1)));
        // The signature is good for the first message, and bad for the second.
        assert_eq!(ed25519(2), 0b110);
        let key = k256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
        let (signature, recovery) = key.sign_prehash_recoverable(&ECDSA_DIGEST);
        let signature: [u8; 64] = signature.to_bytes().into();
        assert_eq!(
            (signature, recovery.to_byte()),
            (ECDSA_SIGNATURE, ECDSA_RECOVERY)
        );
        let public = key.verifying_key().to_sec1_point(false);
        let hash = Keccak256::digest(&public.as_bytes()[1..]);
        assert_eq!(ecrecover(1), first_word(&hash[24..]));
    }
}
