//! `jar-node token`.

use std::time::Duration;

use anyhow::{Context, ensure};
use jar_kernel::block::PublicKey;
use jar_rpc::to_hex;
use jar_rpc::types::{Fixed, Submitted, number};
use jar_token_client::api::Transfer;
use jar_token_client::{Included, TokenClient, Validators, Wallet};
use serde_json::json;

use super::print_json;
use crate::cli::Token;
use crate::keys::{named_key, validator_seed, wallet_seed};
use crate::output::say;

/// Uses the token chain.
pub fn run(command: Token) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match command {
            Token::Transfer {
                from,
                to,
                amount,
                nonce,
                timeout,
                rpc,
                json,
            } => {
                let order = Order {
                    from,
                    to,
                    amount,
                    nonce,
                    timeout: Duration::from_secs(timeout),
                };
                transfer(&order, &rpc, json).await
            }
            Token::Validators { rpc, json } => validators(&rpc, json).await,
            Token::SetValidators {
                to,
                signers,
                timeout,
                rpc,
                json,
            } => {
                let timeout = Duration::from_secs(timeout);
                set_validators(&to, &signers, timeout, &rpc, json).await
            }
            Token::Balance {
                who,
                proof,
                rpc,
                json,
            } => balance(&who, proof, &rpc, json).await,
        }
    })
}

/// What to transfer.
struct Order {
    from: String,
    to: String,
    amount: u64,
    nonce: Option<u64>,
    timeout: Duration,
}

fn account(text: &str) -> anyhow::Result<PublicKey> {
    named_key(text, wallet_seed)
}

/// Waits until what was submitted is in a block.
async fn included(
    client: &TokenClient,
    submitted: &Submitted,
    timeout: Duration,
) -> anyhow::Result<Included> {
    let included = tokio::time::timeout(timeout, client.wait(submitted.id.0)).await;
    let included = included.map_err(|_| {
        let seconds = timeout.as_secs();
        anyhow::anyhow!(
            "accepted, but in no block after {seconds} s: does the node build blocks? event_status {} says what becomes of it",
            submitted.id
        )
    })?;
    Ok(included?)
}

async fn validators(rpc: &str, json: bool) -> anyhow::Result<()> {
    let client = TokenClient::connect(rpc).await?;
    let Validators {
        present,
        next,
        epoch,
    } = client.validators().await?;
    if json {
        let fixed = |keys: Vec<PublicKey>| keys.into_iter().map(Fixed).collect::<Vec<_>>();
        return print_json(&json!({
            "epoch": number(epoch),
            "present": fixed(present),
            "next": next.map(fixed),
        }));
    }
    say!("epoch {epoch}");
    for key in &present {
        say!("present {}", to_hex(key));
    }
    for key in next.iter().flatten() {
        say!("next    {}", to_hex(key));
    }
    Ok(())
}

async fn set_validators(
    to: &[String],
    signers: &[String],
    timeout: Duration,
    rpc: &str,
    json: bool,
) -> anyhow::Result<()> {
    let key = |text: &String| named_key(text, validator_seed).context("--to");
    let next: Vec<PublicKey> = to.iter().map(key).collect::<Result<_, _>>()?;
    let client = TokenClient::connect(rpc).await?;
    let present = client.validators().await?.present;
    let mut wallets = Vec::with_capacity(signers.len());
    for name in signers {
        let wallet = Wallet::from_seed(&validator_seed(name).context("--signers")?);
        ensure!(
            present.contains(&wallet.public_key()),
            "--signers: {name} is no validator of this chain now"
        );
        wallets.push(wallet);
    }
    let submitted = client.set_validators(&wallets, next).await?;
    let included = included(&client, &submitted, timeout).await?;
    if json {
        return print_json(&json!({
            "id": Fixed(included.id),
            "block": Fixed(included.block),
            "height": number(included.height),
            "gas_used": number(included.gas_used),
        }));
    }
    let (height, block) = (included.height, to_hex(&included.block));
    say!(
        "{} validators decided on in block {height} ({block})",
        to.len()
    );
    say!("`jar-node token validators` shows when they have taken over");
    Ok(())
}

async fn transfer(order: &Order, rpc: &str, json: bool) -> anyhow::Result<()> {
    ensure!(
        !order.from.starts_with("0x"),
        "--from: the name of a development wallet, whose key signs; a public key cannot"
    );
    let wallet = Wallet::from_seed(&wallet_seed(&order.from).context("--from")?);
    let to = account(&order.to).context("--to")?;
    let client = TokenClient::connect(rpc).await?;
    let from = wallet.public_key();
    let nonce = match order.nonce {
        Some(nonce) => nonce,
        None => client.nonce(&from).await?,
    };
    let transfer = Transfer {
        from,
        to,
        amount: order.amount,
        nonce,
    };
    let submitted = client.submit(&wallet, &transfer).await?;
    let included = included(&client, &submitted, order.timeout).await?;
    let balances = [client.balance(&from).await?, client.balance(&to).await?];
    if json {
        return print_json(&json!({
            "id": Fixed(included.id),
            "block": Fixed(included.block),
            "height": number(included.height),
            "nonce": number(nonce),
            "gas_used": number(included.gas_used),
            "from": { "key": Fixed(from), "balance": number(balances[0]) },
            "to": { "key": Fixed(to), "balance": number(balances[1]) },
        }));
    }
    say!(
        "{} -> {}: {} in block {} ({})",
        order.from,
        order.to,
        order.amount,
        included.height,
        to_hex(&included.block)
    );
    say!("{}: {}", order.from, balances[0]);
    say!("{}: {}", order.to, balances[1]);
    Ok(())
}

async fn balance(who: &str, proof: bool, rpc: &str, json: bool) -> anyhow::Result<()> {
    let key = account(who)?;
    let client = TokenClient::connect(rpc).await?;
    if !proof {
        let balance = client.balance(&key).await?;
        if json {
            return print_json(&json!({ "key": Fixed(key), "balance": number(balance) }));
        }
        say!("{who}: {balance}");
        return Ok(());
    }
    let (balance, proof) = client.proven_balance(&key).await?;
    if json {
        return print_json(&json!({
            "key": Fixed(key),
            "balance": number(balance),
            "proof": proof,
        }));
    }
    say!("{who}: {balance}");
    say!(
        "proven by block {} ({}), state root {}",
        proof.header.height.0,
        proof.block,
        proof.state_root
    );
    Ok(())
}
