//! `kill -9` in the middle of everything.

use std::sync::{Arc, Mutex};

use jar_cap::Key;
use jar_rpc::api::{ChainApiClient, StateApiClient};
use jar_rpc::connect;
use jar_rpc::params::{Param, PathParam};
use jar_rpc::types::{Hash32, HeadItem, Number};
use jar_token_client::api::{BALANCES_SLOT, NONCES_SLOT, Transfer};
use jar_token_client::{TokenClient, Wallet};

use crate::harness::{Chain, Node, PATIENCE, runtime};

const TRANSFERS: u64 = 1000;

fn transfer(nonce: u64) -> Transfer {
    Transfer {
        from: Wallet::development("alice").public_key(),
        // Many accounts, so that there is some state to lose.
        to: [u8::try_from(nonce % 50).expect("below 50") + 1; 32],
        amount: 1 + nonce % 7,
        nonce,
    }
}

/// Submits transfers in order until all are accepted or the node is gone.
async fn submit_from(node: &Node, first: u64) {
    let Ok(client) = TokenClient::connect(&node.url()).await else {
        return;
    };
    let alice = Wallet::development("alice");
    for nonce in first..TRANSFERS {
        if client.submit(&alice, &transfer(nonce)).await.is_err() {
            return;
        }
    }
}

/// Every head that the node acknowledges, until it is gone.
async fn record(url: String, heads: Arc<Mutex<Vec<HeadItem>>>) {
    let client = connect(&url, PATIENCE).await.expect("a node");
    let from = Some(Param::from(Number(0)));
    let mut items = client.subscribe_heads(from).await.expect("subscribed");
    while let Some(Ok(item)) = items.next().await {
        heads.lock().expect("no panic").push(item);
    }
}

async fn nonce(node: &Node) -> u64 {
    let client = TokenClient::connect(&node.url()).await.expect("a node");
    let alice = Wallet::development("alice").public_key();
    client.nonce(&alice).await.expect("a nonce")
}

/// Waits until all transfers are in blocks; answers the ids of the tables that depend on
/// nothing else: balances and nonces.
async fn finish(node: &Node) -> [Hash32; 2] {
    let client = connect(&node.url(), PATIENCE).await.expect("a node");
    let mut heads = client.subscribe_heads(None).await.expect("subscribed");
    while nonce(node).await < TRANSFERS {
        heads.next().await.expect("no end").expect("a head");
    }
    let table = async |slot: u8| {
        let path = PathParam(vec![Key::from(slot)]);
        let value = client.get(Param::from(path), None, None).await;
        let value = value.expect("a value");
        assert_eq!(value.kind, "cnode");
        value.id.expect("an id")
    };
    [table(BALANCES_SLOT).await, table(NONCES_SLOT).await]
}

#[test]
fn no_acknowledged_block_is_lost_and_the_state_comes_again() {
    let chain = Chain::new();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let node = chain.start("data");
    runtime().block_on(async {
        let recording = record(node.url(), heads.clone());
        let submitting = async {
            submit_from(&node, 0).await;
            std::future::pending::<()>().await;
        };
        // Some transfers are in blocks, others wait: now.
        let killing = async {
            let client = connect(&node.url(), PATIENCE).await.expect("a node");
            let mut live = client.subscribe_heads(None).await.expect("subscribed");
            while nonce(&node).await == 0 {
                live.next().await.expect("no end").expect("a head");
            }
            node.signal("KILL");
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = recording => {}
            () = submitting => {}
            () = killing => {}
        }
    });
    drop(node);
    let heads = heads.lock().expect("no panic").clone();
    assert!(heads.len() >= 2, "too early");

    let node = chain.start("data");
    let tables = runtime().block_on(async {
        let client = connect(&node.url(), PATIENCE).await.expect("a node");
        for item in &heads {
            let height = item.block.header.height;
            let hash = client.block_hash(Param::from(height)).await;
            assert_eq!(hash.expect("the block is there"), item.block.hash);
        }
        let first = nonce(&node).await;
        assert!(first > 0, "a block with transfers was acknowledged");
        submit_from(&node, first).await;
        finish(&node).await
    });
    node.kill();

    // The same transfers on an empty directory, whatever blocks they fall into.
    let node = chain.start("empty");
    let again = runtime().block_on(async {
        submit_from(&node, 0).await;
        finish(&node).await
    });
    assert_eq!(again, tables);
}

#[test]
fn a_stopped_node_goes_on() {
    let chain = Chain::new();
    let mut node = chain.start("data");
    let first = runtime().block_on(async {
        let client = connect(&node.url(), PATIENCE).await.expect("a node");
        let mut heads = client.subscribe_heads(None).await.expect("subscribed");
        heads.next().await;
        heads.next().await.expect("no end").expect("a head").block
    });
    node.signal("TERM");
    assert!(node.end().success());
    let node = chain.start("data");
    runtime().block_on(async {
        let client = connect(&node.url(), PATIENCE).await.expect("a node");
        let from = Some(Param::from(first.header.height));
        let mut heads = client.subscribe_heads(from).await.expect("subscribed");
        let same = heads.next().await.expect("no end").expect("a head");
        assert_eq!(same.block, first);
        let next = heads.next().await.expect("no end").expect("a head");
        assert_eq!(next.block.header.parent, first.hash);
    });
}
