//! The README's transfers work on the chain of `chain-specs/dev.json` as it is committed.

use jar_cap::hash::blake2b;
use jar_kernel::local::LocalHardware;
use jar_kernel::memory::MemoryChainStore;
use jar_kernel::signer::Signer;
use jar_kernel::{Advance, Genesis, Kernel, Params};
use jar_rpc::types::{Attestation, Bytes, Fixed};
use jar_rpc::{from_hex, to_hex};
use jar_tidy::{check_generated, read, root};
use jar_token_client::api::{BALANCES_SLOT, DEV_VALIDATOR_SEED, TRANSFER_IN, Transfer};
use jar_token_client::{Wallet, signed_event};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

const CURL: &str = "$ curl -s -H 'content-type: application/json' http://127.0.0.1:9933 -d '";

fn dev_genesis() -> Genesis {
    let spec = read(&root(), Path::new("chain-specs/dev.json"));
    let spec: Value = serde_json::from_str(&spec).expect("a spec is JSON");
    let image = root()
        .join("chain-specs")
        .join(spec["image"].as_str().expect("a file name"));
    assert_eq!(
        spec["params"],
        json!({}),
        "the development chain has the default parameters"
    );
    Genesis {
        params: Params::default(),
        image: std::fs::read(image).expect("the Image is there"),
        slot_ms: spec["slot_ms"].as_u64().expect("a number"),
        time_ms: spec["genesis_time_ms"].as_u64().expect("a number"),
        payload: from_hex(spec["genesis"].as_str().expect("hex")).expect("hex"),
    }
}

fn dev_chain() -> Kernel<LocalHardware> {
    let store = Arc::new(MemoryChainStore::new());
    let validator = blake2b(&[DEV_VALIDATOR_SEED.as_bytes(), b"alice"]);
    let signer = Signer::new([validator], &*store).expect("the store is readable");
    let hardware = LocalHardware::new(store, signer, Box::new(|_| {}), Box::new(|| false));
    let engine = jar_pvm::engine(jar_pvm::EngineKind::Auto).expect("there is an engine");
    Kernel::open(Arc::new(hardware), &dev_genesis(), engine).expect("the chain starts")
}

fn request(method: &str, params: &Value) -> String {
    // By hand, for the order of fields.
    format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{method}\",\"params\":{params}}}")
}

#[test]
fn transfers() {
    let mut kernel = dev_chain();
    let genesis = kernel.chain().genesis_hash();
    let (alice, bob) = (Wallet::development("alice"), Wallet::development("bob"));
    let endpoint = kernel.chain().endpoint_by_name(kernel.head(), TRANSFER_IN);
    let endpoint = endpoint
        .expect("the state is readable")
        .expect("the endpoint is there")
        .index;
    let event = |nonce| {
        let (from, to) = (alice.public_key(), bob.public_key());
        signed_event(
            &alice,
            &genesis,
            &Transfer {
                from,
                to,
                amount: 5,
                nonce,
            },
        )
    };
    // The first is the command line's, the second curl's.
    kernel
        .dispatch(endpoint, event(0))
        .expect("the first transfer is accepted");
    let second = event(1);
    let accepted = kernel
        .dispatch(endpoint, second.clone())
        .expect("the second is accepted");
    kernel
        .advance(Advance::Build { slot: 1 })
        .expect("a block is built");

    let path = [vec![BALANCES_SLOT], bob.public_key().to_vec()];
    let keys = path
        .clone()
        .map(|key| jar_cap::Key::new(&key).expect("a key"));
    let cap = kernel
        .chain()
        .get(kernel.head(), &keys)
        .expect("the path is readable");
    let id = cap.expect("bob has coins").id();
    assert_eq!(
        id,
        jar_cap::Cap::Data(jar_cap::Data::new(&10u64.to_le_bytes())).id()
    );

    let attestations: Vec<Attestation> =
        second.attestations.iter().map(Attestation::from).collect();
    let submit = json!([TRANSFER_IN, Bytes(second.payload), attestations]);
    let ids: Vec<String> = accepted.transact_ids.iter().map(|id| to_hex(id)).collect();
    let get = json!([path.map(|key| to_hex(&key))]);
    let text = format!(
        "```\n{CURL}{}'\n{{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{{\"id\":\"{}\",\"transact_ids\":{}}}}}\n\n\
         {CURL}{}'\n{{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{{\"block\":\"0x…\",\"kind\":\"data\",\
         \"id\":\"{}\",\"size\":8,\"data\":\"0x0a00000000000000\"}}}}\n```\n",
        request("event_submit", &submit),
        Fixed(accepted.id),
        json!(ids),
        request("state_get", &get),
        Fixed(id),
    );
    check_generated("README.md", "curl", &text);
}
