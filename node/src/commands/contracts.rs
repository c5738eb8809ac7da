//! `jar-node contracts`.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use jar_abi::Status;
use jar_contracts_api::{
    BALANCE, ContractId, Ended, Error, LOOK, METER, Meter, NONCE, ORDER_IN, Order, PublicKey,
    REPLY_TOPIC, Reply, Signed, contract_id_preimage,
};
use jar_rpc::api::EventApiClient;
use jar_rpc::params::Param;
use jar_rpc::types::{Bytes, EndingInfo, EventState, Fixed, Inclusion, number};
use jar_rpc::{ClientError, from_hex, to_hex};
use jar_token_client::Wallet;
use parity_scale_codec::DecodeAll;
use serde_json::{Value, json};

use super::print_json;
use super::program::{Program, wallet_of, within};
use crate::cli::{self, Contracts, Giver};
use crate::keys::{named_key, wallet_seed};
use crate::output::say;
use crate::spec::{IMAGE_BYTES_MAX, read_bounded};

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
async fn connect(url: &str) -> anyhow::Result<Program> {
    Program::connect(url, ORDER_IN, "contracts", refusal).await
}

fn refusal(code: u64) -> Option<String> {
    Error::from_code(code).map(|error| format!("{error:?}: {error}"))
}

/// Submits a signed order and waits until it is in a block.
async fn submit(chain: &Program, wallet: &Wallet, signed: &Signed) -> anyhow::Result<Inclusion> {
    let attestation = wallet.sign(&chain.genesis, &signed.signed_blob());
    let id = chain.submit(ORDER_IN, signed, &[attestation]).await?;
    let mut changes = chain
        .client
        .subscribe_status(Param::from(Fixed(id)))
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
        to_hex(&id)
    )
}

/// An order in a block, with the nonce it had.
async fn carry_out(
    chain: &Program,
    order: Order,
    giver: &Giver,
) -> anyhow::Result<(PublicKey, u64, Inclusion)> {
    let wallet = wallet_of(&giver.from)?;
    let from = wallet.public_key();
    let nonce: u64 = chain.view(NONCE, from).await?;
    let signed = Signed { from, nonce, order };
    let timeout = Duration::from_secs(giver.client.timeout);
    let included = within(timeout, submit(chain, &wallet, &signed)).await?;
    match &included.outcome.ending {
        EndingInfo::Halted(code) if code.0 == 0 => Ok((from, nonce, included)),
        EndingInfo::Halted(code) => Err(chain.refused(code.0)),
        EndingInfo::Faulted { name, .. } => bail!("the order faulted: {name}"),
    }
}

async fn deploy(image: &Path, credit: u64, giver: &Giver) -> anyhow::Result<()> {
    let chain = connect(&giver.client.rpc).await?;
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
    let chain = connect(&giver.client.rpc).await?;
    let (_, _, included) = carry_out(&chain, order, giver).await?;
    let mut records = included.outcome.records.iter();
    let record = records.find(|record| record.topic.0 == REPLY_TOPIC);
    let reply = match record {
        Some(record) => {
            let reply = Reply::decode_all(&mut &record.data.0[..]);
            Some(reply.ok().context("the reply is of another kind")?)
        }
        None => None,
    };
    if giver.client.json {
        let mut answer = inclusion_json(&included);
        if let Some(reply) = &reply {
            answer["reply"] = reply_json(reply);
        }
        print_json(&answer)?;
    } else {
        say!("in block {}", included.height.0);
        reply.iter().for_each(say_reply);
    }
    reply.map_or(Ok(()), |reply| verdict(reply.ended))
}

async fn look(
    contract: &str,
    endpoint: u8,
    payload: &str,
    client: &cli::Client,
) -> anyhow::Result<()> {
    let argument = (contract_id(contract)?, endpoint, bytes(payload)?);
    let chain = connect(&client.rpc).await?;
    let reply: Reply = chain.view(LOOK, argument).await?;
    if client.json {
        print_json(&reply_json(&reply))?;
    } else {
        say_reply(&reply);
    }
    verdict(reply.ended)
}

async fn meter(contract: &str, client: &cli::Client) -> anyhow::Result<()> {
    let id = contract_id(contract)?;
    let chain = connect(&client.rpc).await?;
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
    let chain = connect(&client.rpc).await?;
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

/// An error unless the contract did what it was called for, or goes on later.
fn verdict(ended: Ended) -> anyhow::Result<()> {
    match ended {
        Ended::Halted(0) | Ended::Waits => Ok(()),
        Ended::Halted(code) => bail!("the contract refused with code {code}"),
        Ended::Faulted(code) => match jar_abi::Fault::from_number(code) {
            Some(fault) => bail!("the contract faulted: {fault:?}"),
            None => bail!("the contract faulted with code {code}"),
        },
        Ended::Refused(status) => match jar_abi::Status::from_number(status) {
            Some(Status::Denied) => {
                bail!(
                    "not started: Denied: one that waits can't be called, one that doesn't can't be resumed"
                )
            }
            Some(status) => bail!("not started: {status:?}"),
            None => bail!("not started, status {status}"),
        },
        Ended::OutOfCredit => bail!("its meter ran dry; nothing of the call is left: fund it"),
        Ended::OutOfBudget => {
            bail!("it asked for more than one event may spend; nothing of the call is left")
        }
    }
}

fn reply_json(reply: &Reply) -> Value {
    let (name, code) = match reply.ended {
        Ended::Halted(code) => ("halted", Some(number(code))),
        Ended::Faulted(code) => ("faulted", Some(number(code))),
        Ended::Refused(status) => ("refused", Some(json!(status))),
        Ended::Waits => ("waits", None),
        Ended::OutOfCredit => ("out_of_credit", None),
        Ended::OutOfBudget => ("out_of_budget", None),
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
    match reply.ended {
        Ended::Halted(0) => say!("done"),
        Ended::Waits => say!("waits, to be resumed"),
        _ => {}
    }
    if let Some(result) = &reply.result {
        say!("result {}", to_hex(result));
    }
    say!("cost {} coins of its meter", reply.cost);
}
