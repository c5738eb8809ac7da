//! Transfers of the token chain: through the pipeline, into blocks, imported, beside the
//! verification of the same signatures.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use jar_cap::Hash;
use jar_kernel::block::{Block, Event};
use jar_kernel::local::LocalHardware;
use jar_kernel::memory::MemoryChainStore;
use jar_kernel::{Advance, Genesis, Kernel, Params, SignatureCheck, verify_batch};
use jar_token_client::api::{self, Config, Transfer};
use jar_token_client::{Wallet, signed_event};
use parity_scale_codec::Encode;
use serde_json::json;

use super::kernel_over;
use crate::keys::{public_key, validator_seed};
use crate::output::say;
use crate::spec::template_image;

/// Transfers given to the pipeline before a block is built; fewer than it holds.
pub const PIPELINE: usize = 2000;
/// Who seals the blocks.
const VALIDATOR: &str = "bench";
/// The shortest time that signatures are verified for.
const VERIFY_MIN: Duration = Duration::from_millis(500);

/// A token chain with many accounts.
pub struct Transfers {
    pub genesis: Genesis,
    pub wallets: Vec<Wallet>,
    engine: String,
}

/// Blocks of transfers, and how long their builder took.
pub struct Built {
    pub blocks: Vec<Arc<Block>>,
    /// After the last of them.
    pub state_root: Hash,
    /// The signatures of all transfers.
    pub checks: Vec<SignatureCheck>,
    engine: &'static str,
    dispatch: Duration,
    build: Duration,
}

/// What was measured, in seconds.
pub struct Report {
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
    /// A chain whose blocks hold as many transfers as `block_gas` does.
    pub fn new(accounts: usize, engine: &str, block_gas: u64) -> anyhow::Result<Transfers> {
        let wallets: Vec<Wallet> = (0..accounts)
            .map(|n| Wallet::development(&format!("bench-{n}")))
            .collect();
        let config = Config {
            validators: vec![public_key(&validator_seed(VALIDATOR)?)],
            balances: wallets
                .iter()
                .map(|wallet| (wallet.public_key(), 1_000_000))
                .collect(),
        };
        let genesis = Genesis {
            // Genesis alone is given more, for it makes all accounts at once.
            params: Params {
                genesis_gas: 1 << 40,
                block_gas,
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
        self.kernel_over(Arc::new(MemoryChainStore::new()))
    }

    /// A kernel that builds, over a store.
    pub fn kernel_over(
        &self,
        store: Arc<MemoryChainStore>,
    ) -> anyhow::Result<Kernel<LocalHardware>> {
        let seeds = vec![validator_seed(VALIDATOR)?];
        kernel_over(store, &self.genesis, seeds, &self.engine)
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

    /// Gives transfers to the pipeline of a fresh kernel, and builds blocks of them.
    pub fn build(&self, count: usize) -> anyhow::Result<Built> {
        let mut builder = self.kernel()?;
        let genesis = builder.chain().genesis_hash();
        let events = self.signed(&genesis, count);
        let checks = checks(&genesis, &events);
        let (mut dispatch, mut build) = (Duration::ZERO, Duration::ZERO);
        let mut blocks: Vec<Arc<Block>> = Vec::new();
        for share in events.chunks(PIPELINE) {
            dispatch += dispatch_all(&mut builder, share)?;
            while builder.pending_count() > 0 {
                let slot = builder.head().header.slot + 1;
                let started = Instant::now();
                let advanced = builder.advance(Advance::Build { slot })?;
                build += started.elapsed();
                ensure!(!advanced.events.is_empty(), "a block took no transfer");
                blocks.push(advanced.block);
            }
        }
        Ok(Built {
            blocks,
            state_root: builder.head().header.state_root,
            checks,
            engine: builder.chain().engine_name(),
            dispatch,
            build,
        })
    }

    /// Measures all of it.
    pub fn measure(&self, count: usize) -> anyhow::Result<Report> {
        let built = self.build(count)?;
        let import: Duration = self.import(&built)?.into_iter().sum();
        Ok(Report {
            engine: built.engine.to_owned(),
            cores: super::cores(),
            count,
            accounts: self.wallets.len(),
            blocks: built.blocks.len(),
            dispatch_s: built.dispatch.as_secs_f64(),
            build_s: built.build.as_secs_f64(),
            import_s: import.as_secs_f64(),
            verifications_a_second: verifications_a_second(&built.checks, VERIFY_MIN)?,
        })
    }

    /// Imports the blocks into a fresh kernel, which has seen none of their events; how long each
    /// took.
    pub fn import(&self, built: &Built) -> anyhow::Result<Vec<Duration>> {
        let mut importer = self.kernel()?;
        let blocks: Vec<Box<Block>> = built
            .blocks
            .iter()
            .map(|block| Box::new(Block::clone(block)))
            .collect();
        let mut took = Vec::with_capacity(blocks.len());
        for block in blocks {
            let started = Instant::now();
            importer.advance(Advance::Import(block))?;
            took.push(started.elapsed());
        }
        ensure!(
            importer.head().header.state_root == built.state_root,
            "the importer has another state root than the builder"
        );
        Ok(took)
    }
}

/// Gives events to the pipeline; how long it takes.
pub fn dispatch_all(
    kernel: &mut Kernel<LocalHardware>,
    events: &[Event],
) -> anyhow::Result<Duration> {
    let head = kernel.head().clone();
    let endpoint = kernel
        .chain()
        .endpoint_by_name(&head, api::TRANSFER_IN)?
        .context("the Image has no transfer_in")?
        .index;
    let started = Instant::now();
    for event in events {
        kernel.dispatch(endpoint, event.clone())?;
    }
    Ok(started.elapsed())
}

fn checks(genesis: &Hash, events: &[Event]) -> Vec<SignatureCheck> {
    events
        .iter()
        .flat_map(|event| &event.attestations)
        .map(|attestation| SignatureCheck::of(genesis, attestation))
        .collect()
}

/// How many of these signatures this machine verifies a second, in batches on all cores, when it
/// does so for `at_least` this long.
pub fn verifications_a_second(
    checks: &[SignatureCheck],
    at_least: Duration,
) -> anyhow::Result<f64> {
    let started = Instant::now();
    let mut verified = 0usize;
    while started.elapsed() < at_least {
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

    pub fn to_json(&self) -> serde_json::Value {
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

    pub fn print(&self) {
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
