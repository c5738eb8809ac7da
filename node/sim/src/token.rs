//! The token chain as the simulated nodes run it.

use std::sync::Arc;

use jar_cap::Hash;
use jar_cap::hash::blake2b;
use jar_kernel::block::{Attestation, Event, PublicKey, Scope, signed_message};
use jar_kernel::memory::MemoryChainStore;
use jar_kernel::signer::Signer;
use jar_kernel::{Chain, Genesis, KernelError, Params, SignRequest, State};
use jar_poa::{SetValidators, Signers};
use jar_pvm::Engine;
use jar_token_api::{
    Config, DEV_VALIDATOR_SEED, DEV_WALLET_SEED, NONCE, SET_VALIDATORS_IN, TRANSFER_IN, Transfer,
};
use parity_scale_codec::{Decode, Encode};

/// The Image that comes with the node.
const IMAGE: &[u8] = include_bytes!("../../../chain-specs/token.image");

/// Start of slot 0, in milliseconds since the Unix epoch.
pub(crate) const GENESIS_TIME_MS: u64 = 1_000_000;

/// Names of development keys, in order of the validators.
const NAMES: [&str; 9] = [
    "alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan",
];

/// A chain of some validators, and the wallet that uses it.
#[derive(Clone)]
pub(crate) struct TokenChain {
    pub genesis: Genesis,
    pub engine: Arc<dyn Engine>,
    /// Seeds of the validators' keys.
    pub seeds: Vec<[u8; 32]>,
    wallet: [u8; 32],
}

fn public_key(seed: [u8; 32]) -> PublicKey {
    let signer = Signer::new([seed], &MemoryChainStore::new());
    let keys: Vec<PublicKey> = signer.iter().flat_map(Signer::keys).copied().collect();
    keys.first().copied().unwrap_or_default()
}

impl TokenChain {
    /// A chain of so many validators, 8 at the most, and keys for some that may come.
    pub fn new(
        validators: usize,
        spares: usize,
        slot_ms: u64,
        engine: Arc<dyn Engine>,
    ) -> TokenChain {
        let names = NAMES.iter().take(validators + spares);
        let seeds: Vec<[u8; 32]> = names
            .map(|name| blake2b(&[DEV_VALIDATOR_SEED.as_bytes(), name.as_bytes()]))
            .collect();
        let wallet = blake2b(&[DEV_WALLET_SEED.as_bytes(), NAMES[0].as_bytes()]);
        let config = Config {
            validators: seeds
                .iter()
                .take(validators)
                .map(|seed| public_key(*seed))
                .collect(),
            balances: vec![(public_key(wallet), 1_000_000)],
        };
        let genesis = Genesis {
            params: Params::default(),
            image: IMAGE.to_vec(),
            slot_ms,
            time_ms: GENESIS_TIME_MS,
            payload: config.encode(),
        };
        TokenChain {
            genesis,
            engine,
            seeds,
            wallet,
        }
    }

    /// The public key of a validator.
    pub fn validator(&self, index: usize) -> PublicKey {
        self.seeds
            .get(index)
            .map_or([0; 32], |seed| public_key(*seed))
    }

    /// The wallet's next transfer by a state: which Dispatch endpoint, and the event.
    pub fn transfer(
        &self,
        chain: &Chain,
        head: &State,
        bits: u64,
    ) -> Result<Option<(u8, Event)>, KernelError> {
        let from = public_key(self.wallet);
        let Some(nonce) = self.nonce(chain, head, &from)? else {
            return Ok(None);
        };
        let Some(endpoint) = chain.endpoint_by_name(head, TRANSFER_IN)? else {
            return Ok(None);
        };
        let transfer = Transfer {
            from,
            to: [bits as u8 | 1; 32],
            amount: (bits >> 16) % 100,
            nonce: nonce + (bits >> 32) % 2,
        };
        let (genesis, blob) = (chain.genesis_hash(), transfer.signed_blob());
        let attestation = attest(self.wallet, &genesis, &blob);
        Ok(attestation.map(|attestation| {
            let event = Event {
                payload: transfer.encode(),
                attestations: vec![attestation],
                results: Vec::new(),
            };
            (endpoint.index, event)
        }))
    }

    fn nonce(
        &self,
        chain: &Chain,
        head: &State,
        of: &PublicKey,
    ) -> Result<Option<u64>, KernelError> {
        let Some(view) = chain.endpoint_by_name(head, NONCE)? else {
            return Ok(None);
        };
        let result = chain.view(head, view.index, of).ok();
        let result = result.and_then(|outcome| outcome.result);
        Ok(result.and_then(|bytes| u64::decode(&mut &bytes[..]).ok()))
    }

    /// The decision of all but the first validator that the spare one replaces another: which
    /// Dispatch endpoint, and the event.
    pub fn change(
        &self,
        chain: &Chain,
        head: &State,
        validators: usize,
        leaves: usize,
    ) -> Result<Option<(u8, Event)>, KernelError> {
        let Some(endpoint) = chain.endpoint_by_name(head, SET_VALIDATORS_IN)? else {
            return Ok(None);
        };
        let mut next: Vec<PublicKey> = (0..validators).map(|index| self.validator(index)).collect();
        if let Some(place) = next.get_mut(leaves) {
            *place = self.validator(validators);
        }
        let mut signers = Signers::none(validators);
        (1..validators).for_each(|index| signers.insert(index));
        let change = SetValidators {
            epoch: 0,
            validators: next,
            signers,
        };
        let (genesis, blob) = (chain.genesis_hash(), change.signed_blob());
        let seeds = self.seeds.iter().take(validators).skip(1);
        let attestations = seeds.filter_map(|seed| attest(*seed, &genesis, &blob));
        let event = Event {
            payload: change.encode(),
            attestations: attestations.collect(),
            results: Vec::new(),
        };
        Ok(Some((endpoint.index, event)))
    }

    /// Whether a validator has turns by a state.
    pub fn has_turns(
        &self,
        chain: &Chain,
        head: &State,
        validator: usize,
    ) -> Result<bool, KernelError> {
        let key = self.validator(validator);
        for slot in 0..self.seeds.len() as u64 {
            if chain.author(head, slot)? == Some(key) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// A signature of a blob with scope Direct.
fn attest(seed: [u8; 32], genesis: &Hash, blob: &[u8]) -> Option<Attestation> {
    let (key, scope) = (public_key(seed), Scope::Direct);
    let blob_hash = blake2b(&[blob]);
    let request = SignRequest {
        key,
        scope,
        slot: 0,
    };
    let signer = Signer::new([seed], &MemoryChainStore::new()).ok()?;
    let message = signed_message(genesis, &scope, &key, &blob_hash);
    let (signature, _) = signer.sign(&request, &message).ok()?;
    Some(Attestation {
        key,
        scope,
        blob_hash,
        signature,
    })
}
