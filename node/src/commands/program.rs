//! What the clients of chain programs share.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use jar_cap::Hash;
use jar_kernel::block::Attestation;
use jar_rpc::api::{ChainApiClient, EventApiClient};
use jar_rpc::params::EndpointRef;
use jar_rpc::types::Bytes;
use jar_rpc::{Client, ClientError, ViewError};
use jar_token_client::Wallet;
use parity_scale_codec::{Decode, Encode};

use crate::keys::wallet_seed;

/// How long the node may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// A connection to a node of a chain whose program is known.
pub struct Program {
    /// The connection.
    pub client: Client,
    /// The chain.
    pub genesis: Hash,
    /// What the program's codes say.
    refusal: fn(u64) -> Option<String>,
}

impl Program {
    /// Connects to a node of a chain that has the Dispatch endpoint `entry`, which tells
    /// chains of this `kind` from others.
    pub async fn connect(
        url: &str,
        entry: &str,
        kind: &str,
        refusal: fn(u64) -> Option<String>,
    ) -> anyhow::Result<Program> {
        let client = jar_rpc::connect(url, ANSWER_MAX).await?;
        let spec = client.spec().await.map_err(ClientError::from)?;
        ensure!(
            spec.endpoints.iter().any(|known| known.name == entry),
            "{} has no endpoint {entry}: it is no {kind} chain",
            spec.chain_id
        );
        Ok(Program {
            client,
            genesis: spec.genesis.0,
            refusal,
        })
    }

    /// What a View of the head's state answers.
    pub async fn view<T: Decode>(
        &self,
        endpoint: &str,
        argument: impl Encode,
    ) -> anyhow::Result<T> {
        let answer = jar_rpc::view(&self.client, endpoint, &argument).await;
        answer.map_err(|error| match error {
            ViewError::Refused(code) => self.refused(code),
            other => other.into(),
        })
    }

    /// Sends an event to a Dispatch endpoint: its id.
    pub async fn submit(
        &self,
        endpoint: &str,
        payload: &impl Encode,
        attestations: &[Attestation],
    ) -> anyhow::Result<Hash> {
        let attestations: Vec<_> = attestations.iter().map(Into::into).collect();
        let endpoint = EndpointRef::from(endpoint);
        let payload = Bytes(payload.encode());
        let submitted = self
            .client
            .submit(endpoint.into(), payload.into(), Some(attestations.into()))
            .await
            .map_err(ClientError::from);
        match submitted {
            Ok(submitted) => Ok(submitted.id.0),
            Err(error) => match error.program_code() {
                Some(code) => Err(self.refused(code)),
                None => Err(error.into()),
            },
        }
    }

    /// The error that a code of the program is.
    pub fn refused(&self, code: u64) -> anyhow::Error {
        match (self.refusal)(code) {
            Some(text) => anyhow::anyhow!("{text} (code {code})"),
            None => anyhow::anyhow!("refused with code {code}"),
        }
    }
}

/// The development wallet of `--from`.
pub fn wallet_of(name: &str) -> anyhow::Result<Wallet> {
    ensure!(
        !name.starts_with("0x"),
        "--from: the name of a development wallet, whose key signs; a public key cannot"
    );
    Ok(Wallet::from_seed(&wallet_seed(name).context("--from")?))
}

/// What comes of waiting for a block, or an error when it takes too long.
pub async fn within<T>(
    timeout: Duration,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let done = tokio::time::timeout(timeout, work).await;
    done.unwrap_or_else(|_| {
        let seconds = timeout.as_secs();
        bail!("in no block after {seconds} s: does the node build blocks?")
    })
}
