//! The client itself.

use std::time::Duration;

use jar_cap::verify::Verdict;
use jar_cap::{Hash, Key};
use jar_kernel::block::{Event, PublicKey};
use jar_rpc::api::{ChainApiClient, EventApiClient, StateApiClient};
use jar_rpc::params::{EndpointRef, Param, PathParam};
use jar_rpc::types::{
    Bytes, EndingInfo, EventState, EventStatus, Fixed, Inclusion, StateProof, Submitted,
};
use jar_rpc::{Client, ClientError, ViewError};
use jar_token_api::{self as api, Transfer};
use parity_scale_codec::Decode;

use crate::wallet::{Wallet, signed_event};

/// How long the node may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The node, or the way to it.
    #[error(transparent)]
    Node(ClientError),
    /// The chain's program refused the transfer.
    #[error("{0:?}: {0} (code {code})", code = *.0 as u64)]
    Refused(api::Error),
    /// The chain's consensus refused a change of the validators.
    #[error("{0:?}: {0} (code {code})", code = *.0 as u64)]
    RefusedChange(jar_poa::Error),
    /// The chain's program refused with a code that a token chain does not have.
    #[error("refused with code {0}, which is not one of a token chain")]
    RefusedOther(u64),
    /// The transfer faulted in its block.
    #[error("the transfer faulted: {0}")]
    Faulted(String),
    /// The transfer was accepted, and dropped before it was in a block.
    #[error("the transfer was dropped: {0}")]
    Dropped(String),
    /// The node does not follow the transfer any more.
    #[error("the subscription ended before the transfer was in a block; event_status {id} says what became of it", id = Fixed(*.0))]
    Lost(Hash),
    /// The chain is not a token chain, or the node answers nonsense.
    #[error("unexpected answer: {0}")]
    Answer(String),
    /// The proof does not prove what the node says.
    #[error("the node's proof is wrong: {0}")]
    Proof(#[from] jar_rpc::proof::ProofError),
}

impl From<ClientError> for Error {
    fn from(error: ClientError) -> Self {
        match error.program_code() {
            Some(code) => refused(code),
            None => Error::Node(error),
        }
    }
}

fn refused(code: u64) -> Error {
    let transfer = api::Error::from_code(code).map(Error::Refused);
    let change = || jar_poa::Error::from_code(code).map(Error::RefusedChange);
    transfer
        .or_else(change)
        .unwrap_or(Error::RefusedOther(code))
}

/// A transfer in a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Included {
    /// Id of the Transact event.
    pub id: Hash,
    /// The block.
    pub block: Hash,
    /// Its height.
    pub height: u64,
    /// Gas the transfer spent.
    pub gas_used: u64,
}

/// A connection to a node of a token chain.
#[derive(Debug)]
pub struct TokenClient {
    client: Client,
    genesis: Hash,
}

impl TokenClient {
    /// Connects to a node and asks what chain it is on.
    pub async fn connect(url: &str) -> Result<TokenClient, Error> {
        let client = jar_rpc::connect(url, ANSWER_MAX).await?;
        let spec = client.spec().await.map_err(ClientError::from)?;
        let is_token = spec
            .endpoints
            .iter()
            .any(|known| known.name == api::TRANSFER_IN);
        if !is_token {
            let message = format!("{} has no endpoint {}", spec.chain_id, api::TRANSFER_IN);
            return Err(Error::Answer(message));
        }
        Ok(TokenClient {
            client,
            genesis: spec.genesis.0,
        })
    }

    /// The chain's genesis hash.
    pub fn genesis(&self) -> Hash {
        self.genesis
    }

    /// The connection, for everything else.
    pub fn rpc(&self) -> &Client {
        &self.client
    }

    async fn view(&self, endpoint: &str, account: &PublicKey) -> Result<u64, Error> {
        let answer = jar_rpc::view(&self.client, endpoint, account).await;
        answer.map_err(|error| match error {
            ViewError::Node(error) => error.into(),
            other => Error::Answer(other.to_string()),
        })
    }

    /// An account's balance in the head's state.
    pub async fn balance(&self, account: &PublicKey) -> Result<u64, Error> {
        self.view(api::BALANCE, account).await
    }

    /// The nonce of an account's next transfer, by the head's state.
    pub async fn nonce(&self, account: &PublicKey) -> Result<u64, Error> {
        self.view(api::NONCE, account).await
    }

    /// An account's balance with a proof, which was checked. It proves the balance in the block
    /// it names; that the block is the chain's is the node's word.
    pub async fn proven_balance(&self, account: &PublicKey) -> Result<(u64, StateProof), Error> {
        let path = [&[api::BALANCES_SLOT][..], account]
            .map(|key| Key::new(key).map_err(|error| Error::Answer(error.to_string())));
        let path: Vec<Key> = path.into_iter().collect::<Result<_, _>>()?;
        let param = Param::from(PathParam(path.clone()));
        let proof = self
            .client
            .proof(param, None)
            .await
            .map_err(ClientError::from)?;
        let balance = match jar_rpc::proof::check(&proof, &path)? {
            Verdict::Absent => 0,
            Verdict::Present {
                data: Some(data), ..
            } => u64::decode(&mut &data[..])
                .map_err(|error| Error::Answer(format!("not a number: {error}")))?,
            Verdict::Present { data: None, .. } => {
                return Err(Error::Answer("the proof comes without the balance".into()));
            }
        };
        Ok((balance, proof))
    }

    /// Signs a transfer and submits it.
    pub async fn submit(&self, wallet: &Wallet, transfer: &Transfer) -> Result<Submitted, Error> {
        let event = signed_event(wallet, &self.genesis, transfer);
        self.submit_event(&event).await
    }

    /// Submits an event that was signed before.
    pub async fn submit_event(&self, event: &Event) -> Result<Submitted, Error> {
        self.submit_to(api::TRANSFER_IN, event).await
    }

    /// Submits a signed event to a Dispatch endpoint.
    pub(crate) async fn submit_to(
        &self,
        endpoint: &str,
        event: &Event,
    ) -> Result<Submitted, Error> {
        let attestations: Vec<_> = event.attestations.iter().map(Into::into).collect();
        let endpoint = EndpointRef::from(endpoint);
        let payload = Bytes(event.payload.clone());
        let submitted = self
            .client
            .submit(endpoint.into(), payload.into(), Some(attestations.into()))
            .await
            .map_err(ClientError::from)?;
        Ok(submitted)
    }

    /// Waits until a submitted transfer is in a block.
    pub async fn wait(&self, id: Hash) -> Result<Included, Error> {
        let mut changes = self
            .client
            .subscribe_status(Param::from(Fixed(id)))
            .await
            .map_err(ClientError::from)?;
        while let Some(change) = changes.next().await {
            let status = change.map_err(|error| Error::Answer(error.to_string()))?;
            if let Some(settled) = settled(status) {
                return settled;
            }
        }
        Err(Error::Lost(id))
    }

    /// Signs, submits, and waits until the transfer is in a block.
    pub async fn transfer(&self, wallet: &Wallet, transfer: &Transfer) -> Result<Included, Error> {
        let submitted = self.submit(wallet, transfer).await?;
        self.wait(submitted.id.0).await
    }
}

/// The end of waiting, if this status is one.
fn settled(status: EventStatus) -> Option<Result<Included, Error>> {
    match status.status {
        EventState::Unknown | EventState::Pending => None,
        EventState::Dropped => {
            let reason = status.reason.unwrap_or_default();
            Some(Err(Error::Dropped(reason)))
        }
        EventState::Included => status
            .inclusions
            .into_iter()
            .find(|inclusion| inclusion.canonical)
            .map(included),
    }
}

fn included(inclusion: Inclusion) -> Result<Included, Error> {
    match inclusion.outcome.ending {
        EndingInfo::Halted(code) if code.0 == 0 => Ok(Included {
            id: inclusion.id.0,
            block: inclusion.block.0,
            height: inclusion.height.0,
            gas_used: inclusion.outcome.gas_used.0,
        }),
        EndingInfo::Halted(code) => Err(refused(code.0)),
        EndingInfo::Faulted { name, .. } => Err(Error::Faulted(name)),
    }
}
