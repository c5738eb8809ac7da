//! Who validates, and changes of that.

use jar_cap::{Hash, Key};
use jar_kernel::block::{Event, PublicKey};
use jar_poa::{Finality, SetValidators, Signers};
use jar_rpc::ClientError;
use jar_rpc::api::StateApiClient;
use jar_rpc::params::{BlockRef, Param, PathParam};
use jar_rpc::types::Submitted;
use jar_token_api as api;
use parity_scale_codec::{Decode, DecodeAll, Encode};

use crate::{Error, TokenClient, Wallet};

/// Who validates by the head's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validators {
    /// Those whose turns these are.
    pub present: Vec<PublicKey>,
    /// Those who were decided to come next, while that has not taken effect.
    pub next: Option<Vec<PublicKey>>,
    /// Number of the electorate; each change counts it up by two.
    pub epoch: u64,
}

impl TokenClient {
    /// What a slot of the state after a block holds, and that block.
    async fn slot<T: Decode>(&self, slot: u8, block: BlockRef) -> Result<(Option<T>, Hash), Error> {
        let bad = |error: &dyn std::fmt::Display| Error::Answer(error.to_string());
        let path = vec![Key::new(&[slot]).map_err(|error| bad(&error))?];
        let value = self
            .rpc()
            .get(Param::from(PathParam(path)), Some(block.into()), None)
            .await
            .map_err(ClientError::from)?;
        let data = value.data.map(|data| T::decode_all(&mut &data.0[..]));
        Ok((
            data.transpose().map_err(|error| bad(&error))?,
            value.block.0,
        ))
    }

    /// Who validates.
    pub async fn validators(&self) -> Result<Validators, Error> {
        let (present, block) = self.slot(api::VALIDATORS_SLOT, BlockRef::Head).await?;
        let block = BlockRef::Hash(block);
        let (next, _) = self.slot(api::NEXT_VALIDATORS_SLOT, block).await?;
        let (finality, _) = self.slot::<Finality>(api::FINALITY_SLOT, block).await?;
        Ok(Validators {
            present: present.unwrap_or_default(),
            next,
            epoch: finality.map_or(0, |finality| finality.epoch()),
        })
    }

    /// Submits the decision of some of the present validators that others come next.
    pub async fn set_validators(
        &self,
        signers: &[Wallet],
        next: Vec<PublicKey>,
    ) -> Result<Submitted, Error> {
        let now = self.validators().await?;
        let event = signed_change(&now, &self.genesis(), signers, next);
        self.submit_to(api::SET_VALIDATORS_IN, &event).await
    }
}

/// The event of a change that some of the present validators sign; signatures of others are left
/// out.
pub fn signed_change(
    now: &Validators,
    genesis: &Hash,
    signers: &[Wallet],
    next: Vec<PublicKey>,
) -> Event {
    let mut change = SetValidators {
        epoch: now.epoch,
        validators: next,
        signers: Signers::none(now.present.len()),
    };
    let blob = change.signed_blob();
    let mut attestations = Vec::new();
    for (index, key) in now.present.iter().enumerate() {
        if let Some(signer) = signers.iter().find(|s| s.public_key() == *key) {
            change.signers.insert(index);
            attestations.push(signer.sign(genesis, &blob));
        }
    }
    Event {
        payload: change.encode(),
        attestations,
        results: Vec::new(),
    }
}
