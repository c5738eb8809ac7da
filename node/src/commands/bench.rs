//! `jar-node bench`: what this machine does, in memory, in one run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use jar_cap::Hash;
use jar_kernel::block::{Block, Event};
use jar_kernel::local::LocalHardware;
use jar_kernel::memory::MemoryChainStore;
use jar_kernel::signer::Signer;
use jar_kernel::{Advance, Genesis, Kernel, Params, SignatureCheck, verify_batch};
use jar_token_client::api::{self, Config, Transfer};
use jar_token_client::{Wallet, signed_event};
use parity_scale_codec::Encode;
use serde_json::json;

use super::print_json;
use crate::cli::Bench;
use crate::keys::{public_key, validator_seed};
use crate::output::say;
use crate::spec::template_image;

/// Transfers given to the pipeline before a block is built; fewer than it holds.
const PIPELINE: usize = 2000;
/// The shortest time that signatures are verified for.
const VERIFY_MIN: Duration = Duration::from_millis(500);

/// A kernel over an empty store in memory.
pub fn kernel_in_memory(
    genesis: &Genesis,
    seeds: Vec<[u8; 32]>,
    engine: &str,
) -> anyhow::Result<Kernel<LocalHardware>> {
    let store = Arc::new(MemoryChainStore::new());
    let signer = Signer::new(seeds, store.as_ref())?;
    let hardware = LocalHardware::new(store, signer, Box::new(|_| {}), Box::new(|| false));
    let engine = jar_pvm::engine(engine.parse()?)?;
    Ok(Kernel::open(Arc::new(hardware), genesis, engine)?)
}

/// Measures.
pub fn run(command: Bench) -> anyhow::Result<()> {
    let Bench::Transfers {
        count,
        accounts,
        engine,
        json,
    } = command;
    let count = usize::try_from(count)?;
    let bench = Transfers::new(usize::try_from(accounts)?, &engine)?;
    let report = bench.measure(count)?;
    if json {
        return print_json(&report.to_json());
    }
    report.print();
    Ok(())
}

/// A token chain with many accounts.
struct Transfers {
    genesis: Genesis,
    wallets: Vec<Wallet>,
    engine: String,
}

/// What was measured, in seconds.
struct Report {
    engine: String,
    cores: usize,
    count: usize,
    accounts: usize,
    blocks: usize,
    dispatch_s: f64,
    build_s: f64,
    import_s: f64,
    verifications_a_second: f64,
}

impl Transfers {
    fn new(accounts: usize, engine: &str) -> anyhow::Result<Transfers> {
        let wallets: Vec<Wallet> = (0..accounts)
            .map(|n| Wallet::development(&format!("bench-{n}")))
            .collect();
        let config = Config {
            validators: vec![public_key(&validator_seed("bench")?)],
            balances: wallets
                .iter()
                .map(|wallet| (wallet.public_key(), 1_000_000))
                .collect(),
        };
        let genesis = Genesis {
            // Genesis alone is given more, for it makes all accounts at once.
            params: Params {
                genesis_gas: 1 << 40,
                schedule_quota: 1 << 40,
                payload_bytes: 64 * 1024 * 1024,
                ..Params::default()
            },
            image: template_image("token").context("no token Image")?.to_vec(),
            slot_ms: 1000,
            time_ms: 0,
            payload: config.encode(),
        };
        Ok(Transfers {
            genesis,
            wallets,
            engine: engine.to_owned(),
        })
    }

    fn kernel(&self) -> anyhow::Result<Kernel<LocalHardware>> {
        kernel_in_memory(&self.genesis, vec![validator_seed("bench")?], &self.engine)
    }

    /// Transfers of 1, each account to another one in turn.
    fn signed(&self, genesis: &Hash, count: usize) -> Vec<Event> {
        let len = self.wallets.len();
        (0..count)
            .map(|n| {
                let (from, round) = (n % len, n / len);
                // Never to oneself, and not to the same one in each round.
                let to = (from + 1 + round % (len - 1)) % len;
                let transfer = Transfer {
                    from: self.wallets[from].public_key(),
                    to: self.wallets[to].public_key(),
                    amount: 1,
                    nonce: round as u64,
                };
                signed_event(&self.wallets[from], genesis, &transfer)
            })
            .collect()
    }

    fn measure(&self, count: usize) -> anyhow::Result<Report> {
        let mut builder = self.kernel()?;
        let genesis = builder.chain().genesis_hash();
        let events = self.signed(&genesis, count);
        let head = builder.head().clone();
        let endpoint = builder
            .chain()
            .endpoint_by_name(&head, api::TRANSFER_IN)?
            .context("the Image has no transfer_in")?
            .index;
        let checks = checks(&genesis, &events);
        let (mut dispatch, mut build) = (Duration::ZERO, Duration::ZERO);
        let mut blocks: Vec<Arc<Block>> = Vec::new();
        for share in events.chunks(PIPELINE) {
            let started = Instant::now();
            for event in share {
                builder.dispatch(endpoint, event.clone())?;
            }
            dispatch += started.elapsed();
            while builder.pending_count() > 0 {
                let slot = builder.head().header.slot + 1;
                let started = Instant::now();
                let advanced = builder.advance(Advance::Build { slot })?;
                build += started.elapsed();
                ensure!(!advanced.events.is_empty(), "a block took no transfer");
                blocks.push(advanced.block);
            }
        }
        let import = self.import(&blocks, builder.head().header.state_root)?;
        Ok(Report {
            engine: builder.chain().engine_name().to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            count,
            accounts: self.wallets.len(),
            blocks: blocks.len(),
            dispatch_s: dispatch.as_secs_f64(),
            build_s: build.as_secs_f64(),
            import_s: import.as_secs_f64(),
            verifications_a_second: verifications_a_second(&checks)?,
        })
    }

    /// Imports the blocks into a fresh kernel, which has seen none of their events.
    fn import(&self, blocks: &[Arc<Block>], state_root: Hash) -> anyhow::Result<Duration> {
        let mut importer = self.kernel()?;
        let blocks: Vec<Box<Block>> = blocks
            .iter()
            .map(|block| Box::new(Block::clone(block)))
            .collect();
        let started = Instant::now();
        for block in blocks {
            importer.advance(Advance::Import(block))?;
        }
        let took = started.elapsed();
        ensure!(
            importer.head().header.state_root == state_root,
            "the importer has another state root than the builder"
        );
        Ok(took)
    }
}

fn checks(genesis: &Hash, events: &[Event]) -> Vec<SignatureCheck> {
    events
        .iter()
        .flat_map(|event| &event.attestations)
        .map(|attestation| SignatureCheck::of(genesis, attestation))
        .collect()
}

/// How many of the same signatures this machine verifies a second, in batches on all cores.
fn verifications_a_second(checks: &[SignatureCheck]) -> anyhow::Result<f64> {
    let started = Instant::now();
    let mut verified = 0usize;
    while started.elapsed() < VERIFY_MIN {
        for batch in checks.chunks(PIPELINE) {
            ensure!(verify_batch(batch), "a signature of the bench is not valid");
            verified += batch.len();
        }
    }
    Ok(verified as f64 / started.elapsed().as_secs_f64())
}

impl Report {
    fn a_second(&self, seconds: f64) -> f64 {
        self.count as f64 / seconds
    }

    /// Rates with their names, and as a part of the rate of verifications.
    fn rates(&self) -> [(&'static str, f64, f64); 4] {
        let of = |rate: f64| rate / self.verifications_a_second;
        [
            ("dispatch", self.dispatch_s),
            ("build", self.build_s),
            ("dispatch_and_build", self.dispatch_s + self.build_s),
            ("import", self.import_s),
        ]
        .map(|(name, seconds)| (name, self.a_second(seconds), of(self.a_second(seconds))))
    }

    fn to_json(&self) -> serde_json::Value {
        let mut answer = json!({
            "engine": self.engine,
            "cores": self.cores,
            "transfers": self.count,
            "accounts": self.accounts,
            "blocks": self.blocks,
            "signature_verifications_per_second": self.verifications_a_second.round(),
        });
        for (name, rate, ratio) in self.rates() {
            answer[format!("{name}_per_second")] = rate.round().into();
            answer[format!("{name}_ratio")] = ((ratio * 10_000.0).round() / 10_000.0).into();
        }
        answer
    }

    fn print(&self) {
        say!(
            "{} transfers among {} accounts in {} blocks; {} on {} cores, all in memory",
            self.count,
            self.accounts,
            self.blocks,
            self.engine,
            self.cores
        );
        say!(
            "{:28}{:>12}{:>26}",
            "",
            "a second",
            "of signatures verified"
        );
        let names = [
            "dispatch (judge, merge)",
            "build",
            "dispatch and build",
            "import",
        ];
        for (name, (_, rate, ratio)) in names.iter().zip(self.rates()) {
            say!("{name:28}{rate:>12.0}{:>25.1}%", ratio * 100.0);
        }
        say!(
            "{:28}{:>12.0}{:>25.1}%",
            "batch signature verification",
            self.verifications_a_second,
            100.0
        );
    }
}
