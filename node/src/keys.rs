//! Well-known keys of development chains.

use anyhow::{bail, ensure};
use ed25519_dalek::SigningKey;
use jar_cap::hash::blake2b;
use jar_kernel::block::PublicKey;
use jar_token_client::api::{DEV_VALIDATOR_SEED, DEV_WALLET_SEED};

/// Characters of a name.
const NAME_CHARS_MAX: usize = 32;

fn check_name(name: &str) -> anyhow::Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    ensure!(
        (1..=NAME_CHARS_MAX).contains(&name.len()) && name.chars().all(good),
        "{name:?} is not a name: 1 to {NAME_CHARS_MAX} letters, digits, - or _"
    );
    Ok(())
}

/// Seed of a development validator: what `--dev-key` enables for signing.
pub fn validator_seed(name: &str) -> anyhow::Result<[u8; 32]> {
    check_name(name)?;
    Ok(blake2b(&[DEV_VALIDATOR_SEED.as_bytes(), name.as_bytes()]))
}

/// Seed of a development wallet: what `--from` uses, and what no node signs with.
pub fn wallet_seed(name: &str) -> anyhow::Result<[u8; 32]> {
    check_name(name)?;
    Ok(blake2b(&[DEV_WALLET_SEED.as_bytes(), name.as_bytes()]))
}

/// Public key of a seed.
pub fn public_key(seed: &[u8; 32]) -> PublicKey {
    SigningKey::from_bytes(seed).verifying_key().to_bytes()
}

/// A public key as 0x hex, or that of a name.
pub fn named_key(
    text: &str,
    seed_of: fn(&str) -> anyhow::Result<[u8; 32]>,
) -> anyhow::Result<PublicKey> {
    if !text.starts_with("0x") {
        return Ok(public_key(&seed_of(text)?));
    }
    match jar_rpc::from_hex(text).map(PublicKey::try_from) {
        Some(Ok(key)) => Ok(key),
        _ => bail!("{text:?} is not a public key: 0x and 64 hex digits"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validators_are_no_wallets() {
        let validator = validator_seed("alice").expect("a name");
        let wallet = wallet_seed("alice").expect("a name");
        assert_ne!(validator, wallet);
        assert_ne!(public_key(&validator), public_key(&wallet));
    }

    #[test]
    fn keys_by_name_or_hex() {
        let alice = named_key("alice", wallet_seed).expect("a name");
        let hex = jar_rpc::to_hex(&alice);
        assert_eq!(named_key(&hex, wallet_seed).expect("hex"), alice);
        for bad in ["", "a b", "0x12", "0xzz", "ü"] {
            assert!(named_key(bad, wallet_seed).is_err(), "{bad}");
        }
    }
}
