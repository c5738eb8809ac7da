//! Blocks and events as they come, over WebSocket.

use std::sync::Arc;

use jar_rpc::api::{ChainApiClient, EventApiClient};
use jar_rpc::params::Param;
use jar_rpc::types::{EventState, Fixed, HeadItem, Number};
use jar_rpc::{Client, ClientError, ErrorKind, connect};
use jar_token_client::api::{TRANSFER_IN, Transfer};
use jar_token_client::{TokenClient, Wallet};

use crate::harness::{Chain, Node, PATIENCE, runtime};

async fn client(node: &Node) -> Client {
    connect(&node.url(), PATIENCE).await.expect("a node")
}

async fn heads(client: &Client, from: Option<u64>, count: usize) -> Vec<HeadItem> {
    let from = from.map(|from| Param::from(Number(from)));
    let mut heads = client.subscribe_heads(from).await.expect("subscribed");
    let mut items = Vec::new();
    while items.len() < count {
        let next = tokio::time::timeout(PATIENCE, heads.next()).await;
        let item = next.expect("in time").expect("no end");
        items.push(item.expect("a head"));
    }
    items
}

fn follow_each_other(items: &[HeadItem]) -> bool {
    items.windows(2).all(|pair| {
        pair[1].block.header.parent == pair[0].block.hash
            && pair[1].block.header.height.0 == pair[0].block.header.height.0 + 1
            && pair[1].block.header.slot > pair[0].block.header.slot
    })
}

#[test]
fn heads_come_without_gap_or_repeat() {
    let chain = Chain::new();
    let node = chain.start("data");
    runtime().block_on(async {
        let first = heads(&client(&node).await, Some(0), 8).await;
        assert_eq!(first[0].block.header.height.0, 0);
        assert!(follow_each_other(&first));
        assert!(first.iter().all(|item| item.reverted == 0));
        // The next connection goes on where this one ended, blocks later.
        let resume = first[7].block.header.height.0 + 1;
        let live = heads(&client(&node).await, None, 3).await;
        assert!(live[0].block.header.height.0 >= resume - 1);
        let second = heads(&client(&node).await, Some(resume), 5).await;
        assert_eq!(second[0].block.header.parent, first[7].block.hash);
        assert!(follow_each_other(&second));
    });
}

#[test]
fn subscriptions_that_cannot_be() {
    let chain = Chain::new();
    let node = chain.start("data");
    runtime().block_on(async {
        let client = client(&node).await;
        let from = Param::from(Number(1_000_000));
        let refused = client.subscribe_heads(Some(from)).await;
        let error = ClientError::from(refused.expect_err("above the head"));
        assert_eq!(error.kind(), Some(ErrorKind::NotYet));
        // The genesis block is final from the start.
        let mut finalized = client
            .subscribe_finalized(Some(Param::from(Number(0))))
            .await
            .expect("subscribed");
        let first = tokio::time::timeout(PATIENCE, finalized.next()).await;
        let first = first.expect("in time").expect("no end").expect("a block");
        assert_eq!(first.block.header.height.0, 0);
        let mut kept = Vec::new();
        let error = loop {
            match client.subscribe_heads(None).await {
                Ok(subscription) => kept.push(subscription),
                Err(error) => break ClientError::from(error),
            }
            assert!(kept.len() < 100, "no limit");
        };
        assert_eq!(error.kind(), Some(ErrorKind::TooManySubscriptions));
    });
}

#[test]
fn an_event_is_followed_into_its_block() {
    let chain = Chain::new();
    let node = chain.start("data");
    runtime().block_on(async {
        let alice = Wallet::development("alice");
        let token = TokenClient::connect(&node.url()).await.expect("a node");
        let transfer = Transfer {
            from: alice.public_key(),
            to: [7; 32],
            amount: 1,
            nonce: 0,
        };
        let event = jar_token_client::signed_event(&alice, &token.genesis(), &transfer);
        let client = client(&node).await;
        let spec = client.spec().await.expect("a spec");
        let endpoint = spec
            .endpoints
            .iter()
            .find(|known| known.name == TRANSFER_IN);
        let id = Fixed(event.id(endpoint.expect("an endpoint").index));
        // Subscribed before it exists: every change is seen.
        let mut changes = client
            .subscribe_status(Param::from(id))
            .await
            .expect("subscribed");
        let mut next = async || {
            let next = tokio::time::timeout(PATIENCE, changes.next()).await;
            let status = next.expect("in time").expect("no end").expect("a status");
            status.status
        };
        assert_eq!(next().await, EventState::Unknown);
        token.submit_event(&event).await.expect("accepted");
        // Changes are noticed with new heads: a block may come first without it.
        match next().await {
            EventState::Pending => assert_eq!(next().await, EventState::Included),
            state => assert_eq!(state, EventState::Included),
        }
    });
}

#[test]
fn many_calls_on_one_connection_are_all_answered() {
    const CALLS: usize = 1000;
    let chain = Chain::new();
    let node = chain.start("data");
    runtime().block_on(async {
        let client = Arc::new(client(&node).await);
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..CALLS {
            let client = client.clone();
            calls.spawn(async move { client.spec().await.map(|spec| spec.chain_id) });
        }
        let answers = tokio::time::timeout(PATIENCE, calls.join_all()).await;
        let answers = answers.expect("in time");
        assert_eq!(answers.len(), CALLS);
        assert!(
            answers
                .into_iter()
                .all(|id| id.expect("an answer") == "jar-dev")
        );
    });
}
