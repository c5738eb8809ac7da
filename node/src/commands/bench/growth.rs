//! What transfers add to the state of a chain with many accounts.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use jar_cap::hash::{Hash, Tag, blake2b};
use jar_cap::{
    Body, CNode, Cap, Data, Instance, Key, NodeStore, RecordId, Reference, persist, references,
    state_root,
};
use jar_kernel::block::{Block, Outcome};
use jar_kernel::local::LocalHardware;
use jar_kernel::memory::MemoryChainStore;
use jar_kernel::{Advance, Kernel, Store};
use jar_token_client::api::{BALANCES_SLOT, NONCES_SLOT, Transfer};
use jar_token_client::signed_event;
use parity_scale_codec::Encode;

use super::transfers::{Transfers, dispatch_all};

/// What every account has sent before.
const NONCE: u64 = 1;
const BALANCE: u64 = 1_000_000;

/// What was measured of a block of transfers, each from an account of its own to any.
pub struct Growth {
    /// Bytes of new state records by transfer, without their ids.
    pub bytes: f64,
    /// Records by transfer.
    pub records: f64,
    /// Bytes of the records of a block of one transfer.
    pub bytes_alone: f64,
    /// Import of the block by a node that has read nothing of the state before.
    pub import_cold: Duration,
}

impl Growth {
    /// Bytes of new state records by transfer, and of the ids that a store keeps them by.
    pub fn bytes_with_ids(&self) -> f64 {
        self.bytes + self.records * RecordId::LEN as f64
    }
}

/// Builds blocks on a chain of `accounts` accounts, among them the transfers' own.
pub fn measure(transfers: &Transfers, accounts: u32) -> anyhow::Result<Growth> {
    let chain = Accounts::new(transfers, accounts)?;
    let store = Arc::new(MemoryChainStore::new());
    let mut builder = chain.open(store.clone())?;
    let (mut bytes, mut records) = (store.record_bytes(), store.record_count());
    let count = transfers.wallets.len();
    let block = chain.build(&mut builder, 0, count)?;
    let (all_bytes, all_records) = (store.record_bytes() - bytes, store.record_count() - records);
    (bytes, records) = (store.record_bytes(), store.record_count());
    chain.build(&mut builder, 1, 1)?;
    ensure!(store.record_count() > records, "a transfer changed nothing");
    let mut importer = chain.open(Arc::new(MemoryChainStore::new()))?;
    let block = Box::new(Block::clone(&block));
    let started = Instant::now();
    importer.advance(Advance::Import(block))?;
    Ok(Growth {
        bytes: all_bytes as f64 / count as f64,
        records: all_records as f64 / count as f64,
        bytes_alone: (store.record_bytes() - bytes) as f64,
        import_cold: started.elapsed(),
    })
}

/// A block whose state has many accounts, with the records of that state.
struct Accounts<'t> {
    transfers: &'t Transfers,
    accounts: u32,
    block: Block,
    outcomes: Vec<Outcome>,
    instance: Hash,
    records: Vec<(RecordId, Vec<u8>)>,
}

impl<'t> Accounts<'t> {
    /// The block after genesis, with more accounts in its state: they are put into the tables
    /// directly, for no Genesis endpoint has memory for so many.
    fn new(transfers: &'t Transfers, accounts: u32) -> anyhow::Result<Accounts<'t>> {
        let store = Arc::new(MemoryChainStore::new());
        let mut kernel = transfers.kernel_over(store.clone())?;
        let built = kernel.advance(Advance::Build { slot: 1 })?;
        let former = &kernel.head().instance;
        let Body::Program { image, cnode, .. } = former.body() else {
            bail!("the token chain is not a program");
        };
        let mut table = cnode.clone();
        for (slot, value) in [(BALANCES_SLOT, BALANCE), (NONCES_SLOT, NONCE)] {
            let mut map = match table.get(&*store, &slot.into())? {
                Some(Cap::CNode(map)) => map,
                _ => CNode::empty(),
            };
            let keys = (0..accounts).map(account);
            let wallets = transfers.wallets.iter().map(|w| Key::from(w.public_key()));
            for key in keys.chain(wallets) {
                let value = Cap::Data(Data::new(&value.encode()));
                map.set(&*store, &key, Some(value))?;
            }
            table.set(&*store, &slot.into(), Some(Cap::CNode(map)))?;
        }
        let instance = Instance::program(former.type_id(), image.clone(), table);
        let mut new = Vec::new();
        let value = Cap::Instance(instance.clone());
        persist(&value, store.number(), &mut |id, bytes| {
            new.push((id, bytes))
        })?;
        store.write_records(&new)?;
        let mut block = Block::clone(&built.block);
        block.header.state_root = state_root(&instance.id());
        Ok(Accounts {
            transfers,
            accounts,
            block,
            outcomes: built.outcomes,
            instance: instance.id(),
            records: records_of(&store, &instance)?,
        })
    }

    /// A kernel that goes on from the block of many accounts, nothing of which is in memory but
    /// in the store.
    fn open(&self, store: Arc<MemoryChainStore>) -> anyhow::Result<Kernel<LocalHardware>> {
        let mut kernel = self.transfers.kernel_over(store.clone())?;
        store.write_records(&self.records)?;
        let score = kernel.head().score + 1;
        let outcomes = self.outcomes.clone();
        kernel.adopt(self.block.clone(), score, self.instance, outcomes)?;
        Ok(kernel)
    }

    /// A block of the first transfers of a round.
    fn build(
        &self,
        kernel: &mut Kernel<LocalHardware>,
        round: u64,
        count: usize,
    ) -> anyhow::Result<Arc<Block>> {
        let genesis = kernel.chain().genesis_hash();
        let wallets = self.transfers.wallets.iter().take(count).enumerate();
        let events = wallets.map(|(index, wallet)| {
            let random = blake2b(&[&round.to_le_bytes(), &index.to_le_bytes()]);
            let to = u32::from_le_bytes([random[0], random[1], random[2], random[3]]);
            let transfer = Transfer {
                from: wallet.public_key(),
                to: account_key(to % self.accounts),
                amount: 1,
                nonce: NONCE + round,
            };
            signed_event(wallet, &genesis, &transfer)
        });
        let events: Vec<_> = events.collect();
        dispatch_all(kernel, &events)?;
        let slot = kernel.head().header.slot + 1;
        let advanced = kernel.advance(Advance::Build { slot })?;
        ensure!(
            advanced.events.len() == count,
            "the block took {} of {count} transfers",
            advanced.events.len()
        );
        Ok(advanced.block)
    }
}

/// All records of an Instance.
fn records_of(
    store: &MemoryChainStore,
    instance: &Instance,
) -> anyhow::Result<Vec<(RecordId, Vec<u8>)>> {
    let mut records = Vec::new();
    let mut seen = HashSet::new();
    let mut todo = vec![Reference::from(RecordId::new(Tag::Instance, instance.id()))];
    while let Some(reference) = todo.pop() {
        if !seen.insert(reference.id) {
            continue;
        }
        let bytes = store.get(&reference.id)?;
        let bytes = bytes.with_context(|| format!("record {} is missing", reference.id))?;
        todo.extend(references(&reference, &bytes)?);
        records.push((reference.id, bytes));
    }
    Ok(records)
}

/// The key of an account nobody signs for.
fn account_key(index: u32) -> [u8; 32] {
    blake2b(&[b"account", &index.to_le_bytes()])
}

fn account(index: u32) -> Key {
    Key::from(account_key(index))
}
