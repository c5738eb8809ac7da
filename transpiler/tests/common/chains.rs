//! What the shipped chains must do, as the kernel runs them; for any Image of theirs.

use std::sync::Arc;

use ed25519_dalek::{Signer as _, SigningKey};
use jar_cap::{Cap, Key};
use jar_kernel::block::{Attestation, Ending, Event, Outcome, Scope, signed_message};
use jar_kernel::local::LocalHardware;
use jar_kernel::memory::MemoryChainStore;
use jar_kernel::signer::Signer;
use jar_kernel::{Advance, AdvanceError, Genesis, Kernel, KernelError, Params, Refusal, Store};
use jar_token_api::{BALANCES_SLOT, Config, Error, NONCES_SLOT, PublicKey, Transfer};
use parity_scale_codec::{Decode, Encode};

/// What an endpoint halts with when its arguments don't decode.
const BAD_ARGUMENTS: u64 = 0xffff_0001;

fn seed(n: u8) -> [u8; 32] {
    [n; 32]
}

fn key(n: u8) -> PublicKey {
    SigningKey::from_bytes(&seed(n)).verifying_key().to_bytes()
}

struct World {
    kernel: Kernel<LocalHardware>,
}

fn open(image: &[u8], payload: Vec<u8>, seeds: Vec<[u8; 32]>) -> Result<World, KernelError> {
    let params = Params::default();
    let genesis = Genesis {
        params,
        image: image.to_vec(),
        slot_ms: 1000,
        time_ms: 0,
        payload,
    };
    let store: Arc<dyn Store> = Arc::new(MemoryChainStore::new());
    let signer = Signer::new(seeds, &*store).unwrap();
    let hardware = LocalHardware::new(store, signer, Box::new(|_| {}), Box::new(|| false));
    let engine = jar_pvm::engine(jar_pvm::EngineKind::Interpreter).unwrap();
    let kernel = Kernel::open(Arc::new(hardware), &genesis, engine)?;
    Ok(World { kernel })
}

impl World {
    fn index(&self, name: &str) -> u8 {
        let chain = self.kernel.chain();
        chain
            .endpoint_by_name(self.kernel.head(), name)
            .unwrap()
            .unwrap()
            .index
    }

    fn view<T: Decode>(&self, name: &str, argument: &impl Encode) -> T {
        let chain = self.kernel.chain();
        let outcome = chain
            .view(self.kernel.head(), self.index(name), &argument.encode())
            .unwrap();
        assert_eq!(outcome.ending, Ending::Halted(0), "{:?}", outcome.logs);
        eprintln!("view {name}: {} gas", outcome.gas_used);
        T::decode(&mut &outcome.result.unwrap()[..]).unwrap()
    }

    fn send(&mut self, name: &str, event: Event) -> Result<(), Refusal> {
        let index = self.index(name);
        self.kernel.dispatch(index, event).map(drop)
    }

    /// Builds the block of a slot; answers the outcomes of its events.
    fn build(&mut self, slot: u64) -> Vec<Outcome> {
        let advanced = self.kernel.advance(Advance::Build { slot }).unwrap();
        assert!(advanced.head_changed);
        for outcome in &advanced.outcomes {
            eprintln!("{:?}: {} gas", outcome.ending, outcome.gas_used);
        }
        assert_eq!(advanced.outcomes[0].ending, Ending::Halted(0));
        advanced.outcomes[1..].to_vec()
    }

    fn signed(&self, transfer: Transfer, by: u8) -> Event {
        let blob_hash = jar_cap::hash::blake2b(&[&transfer.signed_blob()]);
        let (key, scope) = (key(by), Scope::Direct);
        let genesis = self.kernel.chain().genesis_hash();
        let message = signed_message(&genesis, &scope, &key, &blob_hash);
        let signature = SigningKey::from_bytes(&seed(by)).sign(&message).to_bytes();
        let attestations = vec![Attestation {
            key,
            scope,
            blob_hash,
            signature,
        }];
        Event {
            payload: transfer.encode(),
            attestations,
            results: vec![],
        }
    }

    fn transfer(&mut self, from: u8, to: u8, amount: u64, nonce: u64) -> Result<(), Refusal> {
        let transfer = Transfer {
            from: key(from),
            to: key(to),
            amount,
            nonce,
        };
        let event = self.signed(transfer, from);
        self.send("transfer_in", event)
    }

    fn balance(&self, n: u8) -> u64 {
        self.view("balance", &key(n))
    }
}

fn payload(bytes: impl Encode) -> Event {
    Event {
        payload: bytes.encode(),
        ..Event::default()
    }
}

fn code(result: Result<(), Refusal>) -> u64 {
    match result {
        Err(Refusal::Rejected { code, .. }) => code,
        other => panic!("{other:?}"),
    }
}

pub fn counter_counts(image: &[u8]) {
    let mut world = open(image, 40u64.encode(), vec![]).unwrap();
    assert_eq!(world.view::<u64>("get", &()), 40);
    assert_eq!(world.view::<Option<PublicKey>>("author", &7u64), None);
    world.send("bump_in", payload(2u64)).unwrap();
    let outcomes = world.build(1);
    assert_eq!(outcomes.len(), 1);
    assert_eq!(outcomes[0].ending, Ending::Halted(0));
    assert_eq!(world.view::<u64>("get", &()), 42);
    assert_eq!(code(world.send("bump_in", payload(u64::MAX))), 1);
    assert_eq!(
        code(world.send("bump_in", payload((1u64, 2u8)))),
        BAD_ARGUMENTS
    );
    assert_eq!(code(world.send("bump_in", payload(1u32))), BAD_ARGUMENTS);
}

fn token(image: &[u8]) -> World {
    let config = Config {
        validators: vec![key(10), key(11)],
        balances: vec![(key(1), 1000), (key(2), 5), (key(3), u64::MAX - 1005)],
    };
    open(image, config.encode(), vec![seed(10), seed(11)]).unwrap()
}

pub fn token_moves_coins(image: &[u8]) {
    let mut world = token(image);
    assert_eq!(world.balance(1), 1000);
    world.transfer(1, 2, 10, 0).unwrap();
    world.transfer(1, 4, 20, 1).unwrap();
    let outcomes = world.build(1);
    assert_eq!(
        outcomes.iter().map(|o| o.ending).collect::<Vec<_>>(),
        [Ending::Halted(0); 2]
    );
    assert_eq!(
        (world.balance(1), world.balance(2), world.balance(4)),
        (970, 15, 20)
    );
    assert_eq!(world.view::<u64>("nonce", &key(1)), 2);
    assert_eq!(world.view::<u64>("nonce", &key(2)), 0);
    assert_eq!(world.kernel.head().score, 1);
    // All of it goes: the entry goes too; it comes back with the next coin.
    world.transfer(2, 1, 15, 0).unwrap();
    world.build(2);
    assert_eq!(world.balance(2), 0);
    assert!(entry(&world, BALANCES_SLOT, 2).is_none());
    world.transfer(1, 2, 1, 2).unwrap();
    // To oneself, and nothing: only the nonce is used up.
    world.transfer(1, 1, 500, 3).unwrap();
    world.transfer(1, 5, 0, 4).unwrap();
    world.build(3);
    assert_eq!(
        (world.balance(1), world.balance(2), world.balance(5)),
        (984, 1, 0)
    );
    assert!(entry(&world, BALANCES_SLOT, 5).is_none());
    assert_eq!(entry(&world, NONCES_SLOT, 1), Some(5));
}

/// The number under a key, read as RPC reads it.
fn entry(world: &World, slot: u8, n: u8) -> Option<u64> {
    let chain = world.kernel.chain();
    let path = [Key::from(slot), Key::from(key(n))];
    match chain.get(world.kernel.head(), &path).unwrap()? {
        Cap::Data(data) => {
            let bytes = chain.data_bytes(&data, 8).unwrap().unwrap();
            Some(u64::decode(&mut &bytes[..]).unwrap())
        }
        _ => panic!("no Data"),
    }
}

pub fn token_refuses_with_a_code_for_each_reason(image: &[u8]) {
    let mut world = token(image);
    world.transfer(1, 2, 10, 0).unwrap();
    world.build(1);
    let number = u64::from;
    assert_eq!(code(world.transfer(1, 2, 11, 0)), number(Error::Replay));
    assert_eq!(
        code(world.transfer(1, 2, 10, 1 + 4096)),
        number(Error::BadNonce)
    );
    world.transfer(1, 2, 10, 4096).unwrap();
    assert_eq!(code(world.transfer(1, 2, 991, 1)), number(Error::Overdraft));
    let transfer = Transfer {
        from: key(1),
        to: key(2),
        amount: 1,
        nonce: 1,
    };
    let mut unsigned = world.signed(transfer, 1);
    unsigned.attestations.clear();
    assert_eq!(
        code(world.send("transfer_in", unsigned)),
        number(Error::BadSignature)
    );
    // Signed by another key, for another transfer: what the program asks for isn't there.
    let stolen = world.signed(transfer, 2);
    assert_eq!(
        code(world.send("transfer_in", stolen)),
        number(Error::BadSignature)
    );
    let mut altered = world.signed(transfer, 1);
    altered.payload = Transfer {
        amount: 2,
        ..transfer
    }
    .encode();
    assert_eq!(
        code(world.send("transfer_in", altered)),
        number(Error::BadSignature)
    );
    // A forged signature is the kernel's refusal, and so is one too many.
    let mut forged = world.signed(transfer, 1);
    forged.attestations[0].signature[5] ^= 1;
    let refusal = world.send("transfer_in", forged);
    assert!(
        matches!(refusal, Err(Refusal::BadSignature { index: 0 })),
        "{refusal:?}"
    );
    let mut twice = world.signed(transfer, 1);
    twice.attestations.push(twice.attestations[0].clone());
    let refusal = world.send("transfer_in", twice);
    assert!(matches!(refusal, Err(Refusal::UnusedTraces)), "{refusal:?}");
    for bad in [vec![], vec![1; 79], vec![1; 81]] {
        let event = Event {
            payload: bad,
            ..Event::default()
        };
        assert_eq!(code(world.send("transfer_in", event)), BAD_ARGUMENTS);
    }
}

pub fn token_transact_judges_by_the_state_of_its_turn(image: &[u8]) {
    let mut world = token(image);
    // Accepted against the head one by one, but together they are too much, and one
    // nonce is missing.
    world.transfer(1, 2, 900, 0).unwrap();
    world.transfer(1, 2, 900, 1).unwrap();
    world.transfer(1, 2, 1, 5).unwrap();
    world.transfer(3, 1, u64::MAX - 1005, 0).unwrap();
    world.transfer(1, 3, 1, 0).unwrap();
    let endings: Vec<_> = world.build(1).iter().map(|o| o.ending).collect();
    let expected = [
        Ending::Halted(0),
        Ending::Halted(Error::Overdraft.into()),
        Ending::Halted(Error::BadNonce.into()),
        Ending::Halted(0),
        Ending::Halted(Error::Replay.into()),
    ];
    assert_eq!(endings, expected);
    assert_eq!(
        (world.balance(1), world.balance(2), world.balance(3)),
        (u64::MAX - 905, 905, 0)
    );
}

pub fn token_authors_take_turns(image: &[u8]) {
    let world = token(image);
    for slot in 0..5u64 {
        let author = world.view::<Option<PublicKey>>("author", &slot);
        assert_eq!(author, Some(key(10 + (slot % 2) as u8)));
    }
    let nobody = open(image, Config::default().encode(), vec![]).unwrap();
    assert_eq!(nobody.view::<Option<PublicKey>>("author", &1u64), None);
    let config = Config {
        validators: vec![key(10)],
        balances: vec![],
    };
    let mut other = open(image, config.encode(), vec![seed(11)]).unwrap();
    let refused = other.kernel.advance(Advance::Build { slot: 1 });
    assert!(
        matches!(refused, Err(AdvanceError::NotAuthor)),
        "{refused:?}"
    );
}

pub fn token_starts_only_from_a_sound_configuration(image: &[u8]) {
    let repeated = Config {
        validators: vec![],
        balances: vec![(key(1), 1), (key(1), 2)],
    };
    let too_much = Config {
        validators: vec![],
        balances: vec![(key(1), u64::MAX), (key(2), 1)],
    };
    let crowded = Config {
        validators: vec![key(1); 1025],
        balances: vec![],
    };
    for config in [repeated, too_much, crowded] {
        assert!(open(image, config.encode(), vec![]).is_err());
    }
    assert!(open(image, vec![1, 2, 3], vec![]).is_err());
    // Many accounts fit the gas of Genesis.
    let accounts = (0..200u8).map(|n| ([n; 32], 1)).collect();
    let many = Config {
        validators: vec![key(10)],
        balances: accounts,
    };
    open(image, many.encode(), vec![]).unwrap();
}

/// The same transfers give the same tables, however they fall into blocks.
pub fn token_tables_depend_on_transfers_alone(image: &[u8]) {
    let tables = |slots: [u64; 3]| {
        let mut world = token(image);
        for (nonce, slot) in slots.into_iter().enumerate() {
            world.transfer(1, 2, 5, nonce as u64).unwrap();
            if slot != 0 {
                world.build(slot);
            }
        }
        [BALANCES_SLOT, NONCES_SLOT].map(|slot| {
            let path = [Key::from(slot)];
            let table = world.kernel.chain().get(world.kernel.head(), &path);
            table.unwrap().unwrap().id()
        })
    };
    assert_eq!(tables([1, 2, 3]), tables([0, 0, 9]));
}

/// Every behaviour of a chain.
pub fn behaviours(chain: &str) -> Vec<fn(&[u8])> {
    match chain {
        "counter" => vec![counter_counts],
        "token" => vec![
            token_moves_coins,
            token_refuses_with_a_code_for_each_reason,
            token_transact_judges_by_the_state_of_its_turn,
            token_authors_take_turns,
            token_starts_only_from_a_sound_configuration,
            token_tables_depend_on_transfers_alone,
        ],
        // The tests of the kernel try them, with the Images they are given.
        "contracts" | "contracts-shell" | "samples/counter" | "samples/escrow" | "samples/gate"
        | "tally" => Vec::new(),
        _ => panic!("no behaviours are written down for {chain}"),
    }
}
