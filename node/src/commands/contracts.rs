//! `jar-node contracts`.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use jar_contracts_api::{
    BALANCE, ContractId, Ended, Error, LOOK, METER, Meter, NONCE, ORDER_IN, Order, PublicKey,
    REPLY_TOPIC, Reply, Signed, contract_id_preimage,
};
use jar_kernel::block::Attestation;
use jar_rpc::api::{ChainApiClient, EventApiClient, StateApiClient};
use jar_rpc::params::{EndpointRef, Param};
use jar_rpc::types::{Bytes, EndingInfo, EventState, Fixed, Inclusion, number};
use jar_rpc::{Client, ClientError, from_hex, to_hex};
use jar_token_client::Wallet;
use parity_scale_codec::{Decode, DecodeAll, Encode};
use serde_json::{Value, json};

use super::print_json;
use crate::cli::{self, Contracts, Giver};
use crate::keys::{named_key, wallet_seed};
use crate::output::say;
use crate::spec::{IMAGE_BYTES_MAX, read_bounded};

/// How long the node may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Uses the contracts chain.
pub fn run(command: Contracts) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(perform(command))
}

async fn perform(command: Contracts) -> anyhow::Result<()> {
    match command {
        Contracts::Deploy {
            image,
            credit,
            giver,
        } => deploy(&image, credit, &giver).await,
        Contracts::Call {
            contract,
            endpoint,
            payload,
            present,
            keep,
            giver,
        } => {
            let order = Order::Call {
                contract: contract_id(&contract)?,
                endpoint,
                payload: bytes(&payload)?,
                present,
                keep,
            };
            give(order, &giver).await
        }
        Contracts::Resume { contract, giver } => {
            let contract = contract_id(&contract)?;
            give(Order::Resume { contract }, &giver).await
        }
        Contracts::Fund {
            contract,
            amount,
            giver,
        } => {
            let contract = contract_id(&contract)?;
            give(Order::Fund { contract, amount }, &giver).await
        }
        Contracts::Pay { to, amount, giver } => {
            let to = named_key(&to, wallet_seed).context("--to")?;
            give(Order::Pay { to, amount }, &giver).await
        }
        Contracts::Look {
            contract,
            endpoint,
            payload,
            client,
        } => look(&contract, endpoint, &payload, &client).await,
        Contracts::Meter { contract, client } => meter(&contract, &client).await,
        Contracts::Balance { who, client } => balance(&who, &client).await,
    }
}

fn contract_id(text: &str) -> anyhow::Result<ContractId> {
    match from_hex(text).map(ContractId::try_from) {
        Some(Ok(id)) => Ok(id),
        _ => bail!("{text:?} is not a contract's id: 0x and 64 hex digits"),
    }
}

fn bytes(text: &str) -> anyhow::Result<Vec<u8>> {
    from_hex(text).with_context(|| format!("{text:?} is not hex with 0x"))
}

/// A connection to a node of a contracts chain.
struct Chain {
    client: Client,
    genesis: jar_cap::Hash,
}

impl Chain {
    async fn connect(url: &str) -> anyhow::Result<Chain> {
        let client = jar_rpc::connect(url, ANSWER_MAX).await?;
        let spec = client.spec().await.map_err(ClientError::from)?;
        let is_contracts = spec.endpoints.iter().any(|known| known.name == ORDER_IN);
        ensure!(
            is_contracts,
            "{} has no endpoint {ORDER_IN}: it is no contracts chain",
            spec.chain_id
        );
        Ok(Chain {
            client,
            genesis: spec.genesis.0,
        })
    }

    async fn view<T: Decode>(&self, endpoint: &str, argument: impl Encode) -> anyhow::Result<T> {
        let payload = Bytes(argument.encode());
        let endpoint = EndpointRef::from(endpoint);
        let answer = self
            .client
            .view(endpoint.into(), payload.into(), None)
            .await
            .map_err(ClientError::from)?;
        match (answer.ending, answer.result) {
            (EndingInfo::Halted(code), Some(result)) if code.0 == 0 => {
                T::decode_all_of(&result.0).context("the node's answer is of another kind")
            }
            (EndingInfo::Halted(code), _) => Err(refused(code.0)),
            (EndingInfo::Faulted { name, .. }, _) => bail!("the view faulted: {name}"),
        }
    }

    /// Submits a signed order and waits until it is in a block.
    async fn submit(&self, wallet: &Wallet, signed: &Signed) -> anyhow::Result<Inclusion> {
        let attestation: Attestation = wallet.sign(&self.genesis, &signed.signed_blob());
        let attestations = vec![(&attestation).into()];
        let endpoint = EndpointRef::from(ORDER_IN);
        let submitted = self
            .client
            .submit(
                endpoint.into(),
                Bytes(signed.encode()).into(),
                Some(attestations.into()),
            )
            .await
            .map_err(|error| submit_error(error.into()))?;
        let mut changes = self
            .client
            .subscribe_status(Param::from(Fixed(submitted.id.0)))
            .await
            .map_err(ClientError::from)?;
        while let Some(change) = changes.next().await {
            let status = change?;
            if status.status == EventState::Dropped {
                bail!("dropped: {}", status.reason.unwrap_or_default());
            }
            let included = status.inclusions.into_iter().find(|i| i.canonical);
            if let (EventState::Included, Some(included)) = (status.status, included) {
                return Ok(included);
            }
        }
        bail!(
            "the subscription ended; event_status {} says more",
            submitted.id
        )
    }
}

/// SCALE of the whole of some bytes.
trait DecodeAllOf: Sized {
    fn decode_all_of(bytes: &[u8]) -> Option<Self>;
}

impl<T: Decode> DecodeAllOf for T {
    fn decode_all_of(mut bytes: &[u8]) -> Option<T> {
        T::decode_all(&mut bytes).ok()
    }
}

fn refused(code: u64) -> anyhow::Error {
    match Error::from_code(code) {
        Some(error) => anyhow::anyhow!("{error:?}: {error} (code {code})"),
        None => anyhow::anyhow!("refused with code {code}"),
    }
}

fn submit_error(error: ClientError) -> anyhow::Error {
    match error.program_code() {
        Some(code) => refused(code),
        None => error.into(),
    }
}

/// An order in a block, with the nonce it had.
async fn carry_out(
    chain: &Chain,
    order: Order,
    giver: &Giver,
) -> anyhow::Result<(PublicKey, u64, Inclusion)> {
    let wallet = Wallet::from_seed(&wallet_seed(&giver.from).context("--from")?);
    let from = wallet.public_key();
    let nonce: u64 = chain.view(NONCE, from).await?;
    let signed = Signed { from, nonce, order };
    let timeout = Duration::from_secs(giver.client.timeout);
    let included = tokio::time::timeout(timeout, chain.submit(&wallet, &signed))
        .await
        .map_err(|_| {
            let seconds = timeout.as_secs();
            anyhow::anyhow!("in no block after {seconds} s: does the node build blocks?")
        })??;
    match &included.outcome.ending {
        EndingInfo::Halted(code) if code.0 == 0 => Ok((from, nonce, included)),
        EndingInfo::Halted(code) => Err(refused(code.0)),
        EndingInfo::Faulted { name, .. } => bail!("the order faulted: {name}"),
    }
}

async fn deploy(image: &Path, credit: u64, giver: &Giver) -> anyhow::Result<()> {
    let chain = Chain::connect(&giver.client.rpc).await?;
    let image = read_bounded(image, IMAGE_BYTES_MAX)?;
    let order = Order::Deploy { image, credit };
    let (from, nonce, included) = carry_out(&chain, order, giver).await?;
    let id = jar_cap::hash::blake2b(&[&contract_id_preimage(&from, nonce)]);
    if giver.client.json {
        let mut answer = inclusion_json(&included);
        answer["contract"] = json!(Fixed(id));
        return print_json(&answer);
    }
    say!("contract {} in block {}", to_hex(&id), included.height.0);
    Ok(())
}

async fn give(order: Order, giver: &Giver) -> anyhow::Result<()> {
    let chain = Chain::connect(&giver.client.rpc).await?;
    let (_, _, included) = carry_out(&chain, order, giver).await?;
    let mut records = included.outcome.records.iter();
    let record = records.find(|record| record.topic.0 == REPLY_TOPIC);
    let reply = match record {
        Some(record) => {
            let reply = Reply::decode_all_of(&record.data.0);
            Some(reply.context("the reply is of another kind")?)
        }
        None => None,
    };
    if giver.client.json {
        let mut answer = inclusion_json(&included);
        if let Some(reply) = &reply {
            answer["reply"] = reply_json(reply);
        }
        return print_json(&answer);
    }
    say!("in block {}", included.height.0);
    if let Some(reply) = &reply {
        say_reply(reply);
    }
    Ok(())
}

async fn look(
    contract: &str,
    endpoint: u8,
    payload: &str,
    client: &cli::Client,
) -> anyhow::Result<()> {
    let argument = (contract_id(contract)?, endpoint, bytes(payload)?);
    let chain = Chain::connect(&client.rpc).await?;
    let reply: Reply = chain.view(LOOK, argument).await?;
    if client.json {
        return print_json(&reply_json(&reply));
    }
    say_reply(&reply);
    Ok(())
}

async fn meter(contract: &str, client: &cli::Client) -> anyhow::Result<()> {
    let id = contract_id(contract)?;
    let chain = Chain::connect(&client.rpc).await?;
    let meter: Option<Meter> = chain.view(METER, id).await?;
    let meter = meter.context("there is no such contract")?;
    if client.json {
        let (row, credit) = (number(meter.row), number(meter.credit));
        return print_json(&json!({ "contract": Fixed(id), "row": row, "credit": credit }));
    }
    say!("{} coins", meter.credit);
    Ok(())
}

async fn balance(who: &str, client: &cli::Client) -> anyhow::Result<()> {
    let key = named_key(who, wallet_seed)?;
    let chain = Chain::connect(&client.rpc).await?;
    let balance: u64 = chain.view(BALANCE, key).await?;
    if client.json {
        return print_json(&json!({ "key": Fixed(key), "balance": number(balance) }));
    }
    say!("{who}: {balance}");
    Ok(())
}

fn inclusion_json(included: &Inclusion) -> Value {
    json!({
        "id": included.id,
        "block": included.block,
        "height": included.height,
        "gas_used": included.outcome.gas_used,
    })
}

fn ended_text(ended: Ended) -> String {
    match ended {
        Ended::Halted(0) => "done".into(),
        Ended::Halted(code) => format!("halted with code {code}"),
        Ended::Faulted(code) => match jar_abi::Fault::from_number(code) {
            Some(fault) => format!("faulted: {fault:?}"),
            None => format!("faulted with code {code}"),
        },
        Ended::Refused(status) => match jar_abi::Status::from_number(status) {
            Some(status) => format!("not started: {status:?}"),
            None => format!("not started, status {status}"),
        },
        Ended::Waits => "waits, to be resumed".into(),
        Ended::OutOfCredit => "its meter ran dry; nothing of the call is left".into(),
    }
}

fn reply_json(reply: &Reply) -> Value {
    let (name, code) = match reply.ended {
        Ended::Halted(code) => ("halted", Some(number(code))),
        Ended::Faulted(code) => ("faulted", Some(number(code))),
        Ended::Refused(status) => ("refused", Some(json!(status))),
        Ended::Waits => ("waits", None),
        Ended::OutOfCredit => ("out_of_credit", None),
    };
    json!({
        "contract": Fixed(reply.contract),
        "ended": name,
        "code": code,
        "result": reply.result.clone().map(Bytes),
        "cost": number(reply.cost),
    })
}

fn say_reply(reply: &Reply) {
    say!("{}", ended_text(reply.ended));
    if let Some(result) = &reply.result {
        say!("result {}", to_hex(result));
    }
    say!("cost {} coins of its meter", reply.cost);
}
