//! A chain with many blocks, made at once.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use jar_cap::hash::blake2b;
use jar_kernel::local::LocalHardware;
use jar_kernel::signer::Signer;
use jar_kernel::{Advance, Genesis, Kernel, Params, Store};
use jar_storage::RocksStore;
use jar_token_client::api::{TRANSFER_IN, Transfer};
use jar_token_client::{Wallet, signed_event};
use serde_json::Value;

use crate::harness::Chain;

fn number(value: &Value) -> u64 {
    let text = value.as_str().and_then(|text| text.parse().ok());
    text.or(value.as_u64()).expect("a number")
}

/// What a kernel starts from, by a chain's spec.
fn genesis(chain: &Chain) -> Genesis {
    let text = std::fs::read_to_string(chain.spec()).expect("a spec");
    let spec: Value = serde_json::from_str(&text).expect("JSON");
    let params = spec["params"].as_object().expect("parameters").iter();
    let params: BTreeMap<String, u64> = params
        .map(|(name, value)| (name.clone(), number(value)))
        .collect();
    Genesis {
        params: Params::with(&params).expect("parameters"),
        image: std::fs::read(chain.path(spec["image"].as_str().expect("a name"))).expect("Image"),
        slot_ms: number(&spec["slot_ms"]),
        time_ms: number(&spec["genesis_time_ms"]),
        payload: jar_rpc::from_hex(spec["genesis"].as_str().expect("hex")).expect("hex"),
    }
}

/// Builds blocks of a chain whose validator is alice into the directory of this name: one a slot
/// from the first on, each with the vote that is due, and with so many transfers of alice, each
/// to an account that was empty.
pub fn build(chain: &Chain, data: &str, blocks: u64, transfers: u64) {
    let data = chain.path(data);
    let options = jar_storage::Options::default();
    let store: Arc<dyn Store> =
        Arc::new(RocksStore::open(Path::new(&data), &options).expect("a store"));
    let seed = blake2b(&[b"jar-dev-validator:alice"]);
    let signer = Signer::new(vec![seed], store.as_ref()).expect("a signer");
    let hardware = LocalHardware::new(store, signer, Box::new(|_| {}), Box::new(|| false));
    let engine = jar_pvm::engine(jar_pvm::EngineKind::Auto).expect("an engine");
    let mut kernel = Kernel::open(Arc::new(hardware), &genesis(chain), engine).expect("a chain");
    let (alice, hash) = (Wallet::development("alice"), kernel.chain().genesis_hash());
    let endpoint = kernel.chain().endpoint_by_name(kernel.head(), TRANSFER_IN);
    let endpoint = endpoint.expect("a store").expect("an endpoint").index;
    for slot in 1..=blocks {
        for nonce in (slot - 1) * transfers..slot * transfers {
            let transfer = Transfer {
                from: alice.public_key(),
                to: blake2b(&[&nonce.to_le_bytes()]),
                amount: 1,
                nonce,
            };
            let event = signed_event(&alice, &hash, &transfer);
            kernel.dispatch(endpoint, event).expect("accepted");
        }
        let built = kernel.advance(Advance::Build { slot }).expect("a block");
        assert!(
            built.events.len() as u64 >= transfers,
            "all are in the block"
        );
        kernel.on_head(true).expect("votes");
    }
    assert!(kernel.pending_count() <= 1, "all but a vote is in blocks");
    let lag = blocks - kernel.finalized().header.height;
    assert!(lag < 5, "{lag} blocks are not final");
}

/// A copy of a directory, as a backup tool makes it.
pub fn copy_dir(from: &str, to: &str) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let to = format!("{to}/{}", entry.file_name().to_str().expect("UTF-8"));
        std::fs::copy(entry.path(), to).expect("copied");
    }
}
