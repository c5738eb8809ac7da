//! The methods over a real kernel in memory, without sockets.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jar_cap::Hash;
use jar_kernel::block::Event;
use jar_kernel::local::LocalHardware;
use jar_kernel::memory::MemoryChainStore;
use jar_kernel::signer::Signer;
use jar_kernel::{Accepted, Advance, Chain, Genesis, Kernel, Params};
use parity_scale_codec::Encode;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::*;
use crate::backend::{BoxFuture, Published, SpecNames, Tracked};
use crate::errors::{ErrorKind, RpcError};
use crate::methods::METHODS;
use crate::types::{Fixed, Health, Number, Peer, Syncing, Version};

/// The counter chain, which anybody may build.
struct Counter {
    kernel: Mutex<Kernel<LocalHardware>>,
    chain: Arc<Chain>,
    publish: watch::Sender<Published>,
    names: SpecNames,
}

fn published(kernel: &Kernel<LocalHardware>) -> Published {
    Published {
        head: kernel.head().clone(),
        finalized: kernel.finalized().hash,
        finalized_height: kernel.finalized().header.height,
    }
}

impl Counter {
    fn new() -> Arc<Counter> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let image = std::fs::read(root.join("../chain-specs/counter.image")).expect("the Image");
        let genesis = Genesis {
            params: Params::default(),
            image,
            slot_ms: 1000,
            time_ms: 0,
            payload: 40u64.encode(),
        };
        let store = Arc::new(MemoryChainStore::new());
        let signer = Signer::without_keys();
        let hardware = LocalHardware::new(store, signer, Box::new(|_| {}), Box::new(|| false));
        let engine = jar_pvm::engine(jar_pvm::EngineKind::Auto).expect("an engine");
        let kernel = Kernel::open(Arc::new(hardware), &genesis, engine).expect("a chain");
        Arc::new(Counter {
            chain: kernel.chain().clone(),
            publish: watch::Sender::new(published(&kernel)),
            kernel: Mutex::new(kernel),
            names: SpecNames {
                name: "Counter".into(),
                chain_id: "jar-dev-counter".into(),
                image_id: [0; 32],
                genesis_payload: genesis.payload,
            },
        })
    }

    fn build(&self, blocks: u64) {
        let mut kernel = self.kernel.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..blocks {
            let slot = kernel.head().header.slot + 1;
            kernel.advance(Advance::Build { slot }).expect("a block");
            self.publish.send_replace(published(&kernel));
        }
    }

    fn methods(self: &Arc<Self>, limits: Limits) -> Methods {
        methods(&Arc::new(Context {
            backend: self.clone(),
            views: Pool::new(1, 1, limits.wait),
            reads: Pool::new(1, 8, limits.wait),
            limits,
        }))
    }
}

impl Backend for Counter {
    fn chain(&self) -> &Arc<Chain> {
        &self.chain
    }

    fn published(&self) -> watch::Receiver<Published> {
        self.publish.subscribe()
    }

    fn spec(&self) -> &SpecNames {
        &self.names
    }

    fn submit(&self, endpoint: u8, event: Event) -> BoxFuture<'_, Result<Accepted, RpcError>> {
        let mut kernel = self.kernel.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = kernel.dispatch(endpoint, event).map_err(RpcError::from);
        Box::pin(std::future::ready(outcome))
    }

    fn tracked(&self, id: &Hash) -> Tracked {
        let kernel = self.kernel.lock().unwrap_or_else(PoisonError::into_inner);
        Tracked {
            pending: kernel.pending(id),
            ..Tracked::default()
        }
    }

    fn health(&self) -> Health {
        let head = self.publish.borrow().head.clone();
        Health {
            healthy: true,
            status: "ok".into(),
            reason: None,
            height: Number(head.header.height),
            head: Fixed(head.hash),
            finalized_height: Number(0),
            head_age_ms: Number(0),
            pending: Number(0),
        }
    }

    fn version(&self) -> Version {
        Version {
            name: "test".into(),
            version: "0".into(),
            engine: self.chain.engine_name().into(),
        }
    }

    fn peers(&self) -> Option<Vec<Peer>> {
        None
    }

    fn syncing(&self) -> Syncing {
        Syncing {
            syncing: false,
            stage: "following".into(),
            height: Number(0),
            highest: Number(0),
        }
    }

    fn metrics(&self) -> String {
        String::new()
    }

    fn called(&self, _: &'static str, _: Option<i32>, _: Duration) {}
}

async fn answer(methods: &Methods, method: &str, params: Value) -> Value {
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let (answer, _) = methods
        .raw_json_request(&request.to_string(), 1)
        .await
        .expect("a request");
    serde_json::from_str(answer.get()).expect("JSON")
}

#[tokio::test]
async fn the_table_names_the_methods_that_are_served() {
    use std::collections::BTreeSet;
    let methods = Counter::new().methods(Limits::default());
    let served: BTreeSet<&str> = methods.method_names().collect();
    let described: BTreeSet<&str> = METHODS.iter().map(|method| method.name).collect();
    assert_eq!(served, described);
}

#[tokio::test]
async fn an_event_is_taken_and_found_again() {
    let counter = Counter::new();
    let methods = counter.methods(Limits::default());
    let view = |block: Value| {
        let methods = &methods;
        async move {
            answer(methods, "state_view", json!(["get", "0x", block])).await["result"]["result"]
                .clone()
        }
    };
    assert_eq!(view(Value::Null).await, "0x2800000000000000");
    let submitted = answer(
        &methods,
        "event_submit",
        json!(["bump_in", "0x0200000000000000"]),
    )
    .await;
    let id = submitted["result"]["transact_ids"][0].clone();
    let status = answer(&methods, "event_status", json!([id])).await;
    assert_eq!(status["result"]["status"], "pending");
    let again = answer(
        &methods,
        "event_submit",
        json!(["bump_in", "0x0200000000000000"]),
    )
    .await;
    assert_eq!(again["error"]["code"], ErrorKind::AlreadyKnown.code());
    counter.build(2);
    let status = answer(&methods, "event_status", json!([id])).await;
    assert_eq!(status["result"]["status"], "included");
    assert_eq!(status["result"]["inclusions"][0]["height"], 1);
    assert_eq!(view(Value::Null).await, "0x2a00000000000000");
    assert_eq!(view(json!(0)).await, "0x2800000000000000");
    let block = answer(&methods, "chain_block", json!([1])).await;
    assert_eq!(block["result"]["body"]["groups"][0]["events"][0]["id"], id);
}

/// How long a subscriber may take to accept a notification.
const LAG: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_does_not_keep_up_is_told() {
    let counter = Counter::new();
    counter.build(10);
    let limits = Limits {
        lag: LAG,
        ..Limits::default()
    };
    let request =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "chain_subscribeHeads", "params": [0] });
    let (_, mut notifications) = counter
        .methods(limits)
        .raw_json_request(&request.to_string(), 2)
        .await
        .expect("a request");
    // The clock stands still but when everybody waits: nothing is read until the time is over.
    tokio::time::sleep(2 * LAG).await;
    let mut heights = Vec::new();
    let error = loop {
        let text = notifications.recv().await.expect("an end that is told");
        let message: Value = serde_json::from_str(text.get()).expect("JSON");
        match message["params"]["result"]["header"]["height"].as_u64() {
            Some(height) => heights.push(height),
            None => break message["params"]["error"].clone(),
        }
    };
    assert_eq!(error["code"], ErrorKind::Lagging.code());
    assert_eq!(error["data"]["from"], heights.len());
    assert_eq!(heights, (0..heights.len() as u64).collect::<Vec<_>>());
    assert!(heights.len() < 10);
}
