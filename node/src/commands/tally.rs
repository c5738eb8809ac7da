//! `jar-node tally`.

use std::time::Duration;

use anyhow::{Context, bail};
use jar_rpc::ClientError;
use jar_rpc::api::ChainApiClient;
use jar_rpc::types::number;
use jar_tally_api::{Error, OPEN, POLL, Poll, VOTE_IN, VOTER, Vote, Votes, signed_blob};
use serde_json::json;

use super::print_json;
use super::program::{Program, wallet_of, within};
use crate::cli::{self, Tally};
use crate::output::say;

/// Uses the tally chain.
pub fn run(command: Tally) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match command {
            Tally::Vote { choice, giver } => vote(choice, &giver).await,
            Tally::Show { poll, client } => show(poll, &client).await,
        }
    })
}

async fn connect(url: &str) -> anyhow::Result<Program> {
    Program::connect(url, VOTE_IN, "tally", refusal).await
}

fn refusal(code: u64) -> Option<String> {
    Error::from_code(code).map(|error| format!("{error:?}: {error}"))
}

async fn poll_of(chain: &Program, number: u64) -> anyhow::Result<Poll> {
    let poll: Option<Poll> = chain.view(POLL, number).await?;
    poll.with_context(|| format!("poll {number} is not open yet"))
}

/// Votes in the open poll, and waits until the vote is counted.
async fn vote(choice: u8, giver: &cli::Giver) -> anyhow::Result<()> {
    let wallet = wallet_of(&giver.from)?;
    let chain = connect(&giver.client.rpc).await?;
    let voter: Option<u16> = chain.view(VOTER, wallet.public_key()).await?;
    let voter = voter.with_context(|| format!("{} may not vote here", giver.from))?;
    let open: u64 = chain.view(OPEN, ()).await?;
    let votes = Votes {
        poll: open,
        votes: vec![Vote { voter, choice }],
    };
    let timeout = Duration::from_secs(giver.client.timeout);
    let poll = within(timeout, async {
        let attestation = wallet.sign(&chain.genesis, &signed_blob(open, choice));
        let heads = chain.client.subscribe_heads(None).await;
        let mut heads = heads.map_err(ClientError::from)?;
        chain.submit(VOTE_IN, &votes, &[attestation]).await?;
        // The vote has no event of its own: it is in an aggregate with others.
        while let Some(head) = heads.next().await {
            head?;
            let poll = poll_of(&chain, open).await?;
            if poll.has_vote_of(voter) {
                return Ok(poll);
            }
            if chain.view::<u64>(OPEN, ()).await? != open {
                bail!("poll {open} closed before the vote was in a block");
            }
        }
        bail!("the subscription ended")
    });
    print(&poll.await?, giver.client.json)
}

async fn show(number: Option<u64>, client: &cli::Client) -> anyhow::Result<()> {
    let chain = connect(&client.rpc).await?;
    let number = match number {
        Some(number) => number,
        None => chain.view(OPEN, ()).await?,
    };
    print(&poll_of(&chain, number).await?, client.json)
}

fn print(poll: &Poll, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return print_json(&json!({ "poll": number(poll.number), "counts": poll.counts }));
    }
    say!("poll {}", poll.number);
    for (choice, count) in poll.counts.iter().enumerate() {
        say!("choice {choice}: {count}");
    }
    Ok(())
}
