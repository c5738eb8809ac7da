//! A full sync from another node, beside plain import of the same blocks from disk.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use jar_kernel::block::Block;
use jar_kernel::local::LocalHardware;
use jar_kernel::signer::Signer;
use jar_kernel::{Advance, Kernel, Store};
use jar_storage::RocksStore;
use jar_token_client::api::{self, Transfer};
use jar_token_client::{Wallet, signed_event};
use serde_json::{Value, json};

use super::nodes::{Node, write_spec};
use crate::keys::validator_seed;
use crate::spec::Spec;

/// Transfers of a full block.
pub const TRANSFERS: usize = 500;
/// Accounts that send them in turn.
const ACCOUNTS: usize = 100;

/// A chain to sync.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// What the goal is called.
    pub name: &'static str,
    pub blocks: usize,
    /// Transfers in each block.
    pub transfers: usize,
}

/// What was measured: medians of the rounds.
pub struct Sync {
    pub shape: Shape,
    /// Events in all blocks.
    pub events: usize,
    pub import: Duration,
    /// From being ready to the last block.
    pub sync: Duration,
}

impl Sync {
    /// Speed of the sync in times of the import's.
    pub fn ratio(&self) -> f64 {
        self.import.as_secs_f64() / self.sync.as_secs_f64()
    }

    pub fn to_json(&self) -> Value {
        json!({
            "name": self.shape.name,
            "blocks": self.shape.blocks,
            "events": self.events,
            "import_s": self.import.as_secs_f64(),
            "sync_s": self.sync.as_secs_f64(),
            "ratio": self.ratio(),
        })
    }
}

fn open(spec: &Spec, data: &Path, seeds: Vec<[u8; 32]>) -> anyhow::Result<Kernel<LocalHardware>> {
    let options = jar_storage::Options::default();
    let store: Arc<dyn Store> = Arc::new(RocksStore::open(data, &options)?);
    let signer = Signer::new(seeds, store.as_ref())?;
    let hardware = LocalHardware::new(store, signer, Box::new(|_| {}), Box::new(|| false));
    let engine = jar_pvm::engine(jar_pvm::EngineKind::Auto)?;
    Ok(Kernel::open(Arc::new(hardware), &spec.genesis, engine)?)
}

/// Measures, the import and the sync in turn.
pub async fn measure(shape: Shape, rounds: usize) -> anyhow::Result<Sync> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("spec.json");
    let mut flags = vec!["--validator=alice".to_owned()];
    flags.extend((0..ACCOUNTS).map(|n| format!("--balance=sender-{n}=1000000")));
    write_spec(&file, &flags)?;
    let spec = Spec::load(file.to_str().context("a path that is not UTF-8")?)?;
    let source = dir.path().join("source");
    let events = build(&spec, &source, shape)?;
    let (mut imports, mut syncs) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let data = dir.path().join(format!("import-{round}"));
        imports.push(import(&spec, &source, &data)?);
        std::fs::remove_dir_all(&data)?;
        let data = dir.path().join(format!("sync-{round}"));
        syncs.push(sync(&file, &source, &data, shape.blocks).await?);
        std::fs::remove_dir_all(&data)?;
    }
    let median = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or_default()
    };
    Ok(Sync {
        shape,
        events,
        import: median(imports),
        sync: median(syncs),
    })
}

/// Builds a chain on disk, whose one validator votes; answers how many events are in it.
fn build(spec: &Spec, data: &Path, shape: Shape) -> anyhow::Result<usize> {
    let mut kernel = open(spec, data, vec![validator_seed("alice")?])?;
    let genesis = kernel.chain().genesis_hash();
    let head = kernel.head().clone();
    let endpoint = kernel.chain().endpoint_by_name(&head, api::TRANSFER_IN)?;
    let endpoint = endpoint.context("the Image has no transfer_in")?.index;
    let wallets = (0..ACCOUNTS).map(|n| Wallet::development(&format!("sender-{n}")));
    let wallets: Vec<Wallet> = wallets.collect();
    let mut events = 0;
    for block in 0..shape.blocks {
        for number in 0..shape.transfers {
            let number = block * shape.transfers + number;
            let (wallet, round) = (&wallets[number % ACCOUNTS], number / ACCOUNTS);
            let transfer = Transfer {
                from: wallet.public_key(),
                to: wallets[(number + 1 + round) % ACCOUNTS].public_key(),
                amount: 1,
                nonce: round as u64,
            };
            let event = signed_event(wallet, &genesis, &transfer);
            kernel.dispatch(endpoint, event)?;
        }
        let slot = kernel.head().header.slot + 1;
        let advanced = kernel.advance(Advance::Build { slot })?;
        ensure!(
            advanced.events.len() >= shape.transfers,
            "a block took {} of {} transfers",
            advanced.events.len(),
            shape.transfers
        );
        events += advanced.events.len();
        kernel.on_head(true)?;
    }
    Ok(events)
}

/// Imports the blocks of one directory into another, which is empty.
fn import(spec: &Spec, source: &Path, data: &Path) -> anyhow::Result<Duration> {
    let source = RocksStore::open(source, &jar_storage::Options::default())?;
    let mut kernel = open(spec, data, Vec::new())?;
    let started = Instant::now();
    for height in 1.. {
        let Some(hash) = source.canonical(height)? else {
            break;
        };
        let block: Block = source.block(&hash)?.context("a block without a body")?;
        kernel.advance(Advance::Import(Box::new(block)))?;
    }
    Ok(started.elapsed())
}

/// Syncs an empty node from one that serves the blocks of a directory.
async fn sync(spec: &Path, source: &Path, data: &Path, blocks: usize) -> anyhow::Result<Duration> {
    let server = Node::start(spec, source, &[]).await?;
    let node = Node::start(spec, data, &["--bootnodes", &server.p2p]).await?;
    node.until(|health| health.height.0 >= blocks as u64)
        .await?;
    Ok(node.ready.elapsed())
}
