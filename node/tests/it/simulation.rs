//! The driver and the kernel in virtual time, with crashes.

use jar_kernel::{Chain, Genesis, Kernel, State};
use jar_sim::{Config, Opener, Report, Simulation, Traffic};
use jar_token_client::api::{
    Config as TokenConfig, DEV_VALIDATOR_SEED, NONCE, TRANSFER_IN, Transfer,
};
use jar_token_client::{Wallet, signed_event};
use parity_scale_codec::{Decode, Encode};

use crate::harness::root;

const SLOTS: u64 = 60;
const GENESIS_TIME_MS: u64 = 5_000;

fn validator_seed() -> [u8; 32] {
    jar_cap::hash::blake2b(&[DEV_VALIDATOR_SEED.as_bytes(), b"alice"])
}

fn genesis() -> Genesis {
    let image = std::fs::read(root().join("chain-specs/token.image")).expect("the Image");
    let config = TokenConfig {
        // The public key of any wallet made of the same seed is the validator's.
        validators: vec![Wallet::from_seed(&validator_seed()).public_key()],
        balances: vec![(Wallet::development("alice").public_key(), 1_000_000)],
    };
    Genesis {
        params: jar_kernel::Params::default(),
        image,
        slot_ms: 1000,
        time_ms: GENESIS_TIME_MS,
        payload: config.encode(),
    }
}

/// Alice's transfers: the next ones by the head's state, now and then many at once.
fn traffic() -> Traffic {
    let alice = Wallet::development("alice");
    Box::new(move |bits, chain, head| {
        let nonce = nonce(chain, head, &alice);
        let endpoint = chain
            .endpoint_by_name(head, TRANSFER_IN)
            .expect("a state")
            .expect("a Dispatch endpoint");
        (0..bits % 4)
            .map(|n| {
                let transfer = Transfer {
                    from: alice.public_key(),
                    to: [(bits >> 8) as u8 | 1; 32],
                    amount: (bits >> 16) % 100,
                    nonce: nonce + n,
                };
                let event = signed_event(&alice, &chain.genesis_hash(), &transfer);
                (endpoint.index, event)
            })
            .collect()
    })
}

fn nonce(chain: &Chain, head: &State, wallet: &Wallet) -> u64 {
    let view = chain
        .endpoint_by_name(head, NONCE)
        .expect("a state")
        .expect("a View");
    let outcome = chain.view(head, view.index, &wallet.public_key());
    let result = outcome.expect("a View").result.expect("a result");
    u64::decode(&mut &result[..]).expect("a number")
}

fn simulate(seed: u64, crashes_per_mille: u64) -> Report {
    let engine = jar_pvm::engine(jar_pvm::EngineKind::Auto).expect("an engine");
    let genesis = genesis();
    let opener: Opener = Box::new(move |hardware| Kernel::open(hardware, &genesis, engine.clone()));
    let config = Config {
        seed,
        slots: SLOTS,
        crashes_per_mille,
        keys: vec![validator_seed()],
        genesis_time_ms: GENESIS_TIME_MS,
        slot_ms: 1000,
    };
    let simulation = Simulation::new(config, opener, traffic());
    simulation.run().expect("every promise is kept")
}

#[test]
fn every_slot_has_its_block() {
    let report = simulate(1, 0);
    assert_eq!((report.height, report.crashes), (SLOTS, 0));
    assert!(report.accepted > 0);
    assert_eq!(report.included, report.accepted);
}

#[test]
fn crashes_lose_nothing_acknowledged_and_replay_exactly() {
    let mut crashes = 0;
    for seed in 0..8 {
        let report = simulate(seed, 200);
        assert_eq!(simulate(seed, 200), report, "seed {seed}");
        assert!(report.height > SLOTS / 4, "seed {seed}: {report:?}");
        assert!(report.included > 0 && report.included <= report.accepted);
        crashes += report.crashes;
    }
    assert!(crashes > 10, "only {crashes} crashes");
}
