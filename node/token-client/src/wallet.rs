//! Keys of accounts, and what they sign.

use ed25519_dalek::{Signer, SigningKey};
use jar_cap::Hash;
use jar_cap::hash::blake2b;
use jar_kernel::block::{Attestation, Event, PublicKey, Scope, signed_message};
use jar_token_api::{DEV_WALLET_SEED, Transfer};
use parity_scale_codec::Encode;

/// An account's key.
#[derive(Clone)]
pub struct Wallet(SigningKey);

impl std::fmt::Debug for Wallet {
    /// The public key alone.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Wallet({})", jar_rpc::to_hex(&self.public_key()))
    }
}

impl Wallet {
    /// The wallet of an ed25519 seed.
    pub fn from_seed(seed: &[u8; 32]) -> Wallet {
        Wallet(SigningKey::from_bytes(seed))
    }

    /// The well-known wallet of a name: everyone has its key.
    pub fn development(name: &str) -> Wallet {
        let seed = blake2b(&[DEV_WALLET_SEED.as_bytes(), name.as_bytes()]);
        Wallet::from_seed(&seed)
    }

    /// The account.
    pub fn public_key(&self) -> PublicKey {
        self.0.verifying_key().to_bytes()
    }

    /// Signs a transfer for the chain of this genesis hash.
    pub fn attest(&self, genesis: &Hash, transfer: &Transfer) -> Attestation {
        self.sign(genesis, &transfer.signed_blob())
    }

    /// Signs a blob with scope Direct for the chain of this genesis hash.
    pub fn sign(&self, genesis: &Hash, blob: &[u8]) -> Attestation {
        let blob_hash = blake2b(&[blob]);
        let key = self.public_key();
        let message = signed_message(genesis, &Scope::Direct, &key, &blob_hash);
        Attestation {
            key,
            scope: Scope::Direct,
            blob_hash,
            signature: self.0.sign(&message).to_bytes(),
        }
    }
}

/// The event of a transfer that its wallet signed.
pub fn signed_event(wallet: &Wallet, genesis: &Hash, transfer: &Transfer) -> Event {
    Event {
        payload: transfer.encode(),
        attestations: vec![wallet.attest(genesis, transfer)],
        results: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jar_kernel::SignatureCheck;

    #[test]
    fn signatures_are_of_one_chain() {
        let wallet = Wallet::development("alice");
        let transfer = Transfer {
            from: wallet.public_key(),
            to: [2; 32],
            amount: 5,
            nonce: 0,
        };
        let attestation = wallet.attest(&[1; 32], &transfer);
        assert!(SignatureCheck::of(&[1; 32], &attestation).verify());
        assert!(!SignatureCheck::of(&[2; 32], &attestation).verify());
    }
}
