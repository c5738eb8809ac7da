//! The contracts chain with its sample contracts, on both engines.

mod common;

use common::chain::genesis_of;
use common::{Asm, Node, PERSIST, Program, RAM, image_file, seed_key, sign};
use jar_abi::HostCall as Op;
use jar_cap::image::{Image, Role, Source};
use jar_contracts_api::{
    BALANCE, Config, ContractId, Ended, Error, GAS_KEPT, GAS_PER_COIN, LOOK, METER, Meter, ORDER,
    ORDER_IN, Order, PublicKey, REPLY_TOPIC, Reply, Request, Signed, contract_id_preimage,
    contract_slots,
};
use jar_kernel::Genesis;
use jar_kernel::block::{Block, Ending, Event, Outcome, Scope};
use parity_scale_codec::{Decode, Encode};

const ALICE: [u8; 32] = [1; 32];
const BOB: [u8; 32] = [2; 32];

fn genesis() -> Genesis {
    let image = Image::decode_checked(&image_file("contracts.image")).expect("a good Image");
    let config = Config {
        balances: vec![(seed_key(ALICE), 1_000_000), (seed_key(BOB), 1_000)],
    };
    Genesis {
        payload: config.encode(),
        ..genesis_of(&image)
    }
}

/// Two nodes, one an engine each: one builds, the other imports.
struct World {
    builder: Node,
    importer: Node,
    blocks: Vec<Block>,
}

impl World {
    fn new() -> World {
        let genesis = genesis();
        World {
            builder: Node::new(&genesis, &[]),
            importer: Node::on_other_engine(&genesis, &[]),
            blocks: Vec::new(),
        }
    }

    fn endpoint(&self, name: &str) -> u8 {
        let chain = self.builder.chain();
        let found = chain.endpoint_by_name(&self.builder.head(), name);
        found.expect("a state").expect("the endpoint").index
    }

    fn view<T: Decode>(&self, name: &str, argument: impl Encode) -> T {
        let head = self.builder.head();
        let chain = self.builder.chain();
        let outcome = chain.view(&head, self.endpoint(name), &argument.encode());
        let result = outcome.expect("a View").result.expect("a result");
        T::decode(&mut &result[..]).expect("of its type")
    }

    fn balance(&self, account: PublicKey) -> u64 {
        self.view(BALANCE, account)
    }

    fn meter(&self, contract: ContractId) -> Option<Meter> {
        self.view(METER, contract)
    }

    /// Builds a block of one order, which the other engine imports.
    fn order(&mut self, seed: [u8; 32], order: Order) -> Outcome {
        self.orders(vec![(seed, order)]).remove(0)
    }

    /// Builds a block of orders of different accounts, which the other engine imports.
    fn orders(&mut self, orders: Vec<([u8; 32], Order)>) -> Vec<Outcome> {
        let count = orders.len();
        for (seed, order) in orders {
            self.dispatch(seed, order);
        }
        let built = self.builder.build().expect("a block");
        assert_eq!(self.builder.dropped(), Vec::<String>::new());
        let imported = self.importer.import(&built.block).expect("the same block");
        assert_eq!(imported.outcomes, built.outcomes, "the engines agree");
        self.blocks.push((*built.block).clone());
        let groups = built.block.body.groups.iter();
        let events: Vec<_> = groups.map(|(at, events)| (*at, events.len())).collect();
        assert_eq!(events, [(self.endpoint(ORDER), count)]);
        built.outcomes[1..].to_vec()
    }

    fn dispatch(&mut self, seed: [u8; 32], order: Order) {
        let from = seed_key(seed);
        let nonce = self.view("nonce", from);
        let signed = Signed { from, nonce, order };
        let blob = signed.signed_blob();
        let event = Event {
            payload: signed.encode(),
            attestations: vec![sign(
                seed,
                &self.builder.genesis_hash(),
                Scope::Direct,
                &blob,
            )],
            results: Vec::new(),
        };
        let into = self.endpoint(ORDER_IN);
        self.builder.dispatch(into, event).expect("accepted");
    }

    fn deploy(&mut self, image: &str, credit: u64) -> ContractId {
        self.deploy_bytes(image_file(image), credit)
    }

    fn deploy_bytes(&mut self, image: Vec<u8>, credit: u64) -> ContractId {
        let from = seed_key(ALICE);
        let nonce: u64 = self.view("nonce", from);
        let outcome = self.order(ALICE, Order::Deploy { image, credit });
        assert_eq!(outcome.ending, Ending::Halted(0));
        jar_cap::hash::blake2b(&[&contract_id_preimage(&from, nonce)])
    }

    fn call(&mut self, seed: [u8; 32], call: Call<'_>) -> Reply {
        let outcome = self.order(seed, call.into_order());
        assert_eq!(outcome.ending, Ending::Halted(0));
        reply(&outcome)
    }

    fn resume(&mut self, contract: ContractId) -> Reply {
        let outcome = self.order(BOB, Order::Resume { contract });
        assert_eq!(outcome.ending, Ending::Halted(0));
        reply(&outcome)
    }
}

struct Call<'a> {
    contract: ContractId,
    endpoint: u8,
    payload: &'a [u8],
    present: Option<u8>,
    keep: Option<u8>,
}

impl Call<'_> {
    fn of(contract: ContractId, endpoint: u8, payload: &[u8]) -> Call<'_> {
        Call {
            contract,
            endpoint,
            payload,
            present: None,
            keep: None,
        }
    }

    fn into_order(self) -> Order {
        Order::Call {
            contract: self.contract,
            endpoint: self.endpoint,
            payload: self.payload.to_vec(),
            present: self.present,
            keep: self.keep,
        }
    }
}

fn reply(outcome: &Outcome) -> Reply {
    let [record] = &outcome.records[..] else {
        panic!("one record: {outcome:?}");
    };
    assert_eq!(record.topic, REPLY_TOPIC);
    Reply::decode(&mut &record.data[..]).expect("a Reply")
}

fn number(reply: &Reply) -> u64 {
    let bytes = reply.result.as_ref().expect("a result");
    u64::decode(&mut &bytes[..]).expect("a number")
}

#[test]
fn contracts_count_and_their_meters_pay() {
    let mut world = World::new();
    let counter = world.deploy("sample-counter.image", 50_000);
    assert_eq!(world.meter(counter).map(|m| m.credit), Some(50_000));
    assert_eq!(world.balance(seed_key(ALICE)), 950_000);
    let mut credit = 50_000;
    for (by, sum) in [(5u64, 5), (7, 12)] {
        let reply = world.call(ALICE, Call::of(counter, 0, &by.encode()));
        assert_eq!((reply.ended, number(&reply)), (Ended::Halted(0), sum));
        assert!(reply.cost > 0);
        credit -= reply.cost;
        assert_eq!(world.meter(counter).map(|m| m.credit), Some(credit));
    }
    // Anybody may call; the contract's meter pays, not the caller.
    let reply = world.call(BOB, Call::of(counter, 0, &1u64.encode()));
    assert_eq!(number(&reply), 13);
    assert_eq!(world.balance(seed_key(BOB)), 1_000);
    // Bytes that are no argument, and an endpoint that isn't there.
    let reply = world.call(BOB, Call::of(counter, 0, b"x"));
    assert_eq!(reply.ended, Ended::Halted(0xffff_0001));
    let reply = world.call(BOB, Call::of(counter, 9, b""));
    assert_eq!((reply.ended, reply.result), (Ended::Refused(-6), None));
    // A look costs nothing and changes nothing.
    let before = world.builder.head().header.state_root;
    let look: Reply = world.view(LOOK, (counter, 0u8, 100u64.encode()));
    assert_eq!(number(&look), 113);
    assert_eq!(world.builder.head().header.state_root, before);
    let look: Reply = world.view(LOOK, (counter, 1u8, Vec::<u8>::new()));
    assert_eq!(number(&look), 13);
}

#[test]
fn a_meter_that_runs_dry_ends_the_call_and_nothing_else() {
    let mut world = World::new();
    let counter = world.deploy("sample-counter.image", 800);
    let reply = world.call(ALICE, Call::of(counter, 2, b""));
    assert_eq!((reply.ended, reply.cost), (Ended::OutOfCredit, 800));
    assert_eq!(world.meter(counter).map(|m| m.credit), Some(0));
    let reply = world.call(BOB, Call::of(counter, 0, &1u64.encode()));
    assert_eq!((reply.ended, reply.cost), (Ended::OutOfCredit, 0));
    // Funded, it goes on where it was before.
    let fund = Order::Fund {
        contract: counter,
        amount: 1_000,
    };
    let outcome = world.order(BOB, fund);
    assert_eq!(outcome.ending, Ending::Halted(0));
    assert_eq!(world.balance(seed_key(BOB)), 0);
    let reply = world.call(BOB, Call::of(counter, 0, &4u64.encode()));
    assert_eq!((reply.ended, number(&reply)), (Ended::Halted(0), 4));
}

#[test]
fn no_credit_buys_more_than_the_events_budget() {
    let mut world = World::new();
    let budget = genesis().params.event_gas;
    let credit = 2 * budget / GAS_PER_COIN;
    let counter = world.deploy("sample-counter.image", credit);
    let outcome = world.order(ALICE, Call::of(counter, 2, b"").into_order());
    assert!(outcome.gas_used <= budget);
    let reply = reply(&outcome);
    assert_eq!((reply.ended, reply.result), (Ended::OutOfBudget, None));
    // What it spent is charged, and the order can't be given again.
    assert!(
        reply.cost * GAS_PER_COIN > (budget - GAS_KEPT) / 10 * 9,
        "{}",
        reply.cost
    );
    let left = world.meter(counter).map(|m| m.credit);
    assert_eq!(left, Some(credit - reply.cost));
    let nonce: u64 = world.view("nonce", seed_key(ALICE));
    assert_eq!(nonce, 2);
}

/// The marker of requests, in a contract.
const REQUEST: u64 = contract_slots::REQUEST as u64;
/// Pages at [`PERSIST`] of a contract that maps many.
const MANY: u32 = 40_000;

fn mapped(pages: u32, eager: bool) -> Source {
    assert!(pages > 0);
    Source::Ephemeral { init: None, eager }
}

/// A contract of one endpoint with so many pages of memory.
fn hostile(pages: u32, eager: bool, body: impl FnOnce(&mut Asm)) -> Program {
    let mut program = Program::new();
    program.endpoint(0, "main", Role::Call, body);
    program.map(0, pages, mapped(pages, eager));
    program
}

fn burn(asm: &mut Asm) {
    // Some 34,000,000 gas, in one operation.
    asm.call(Op::Hash, &[0, PERSIST.into(), 13 << 19, RAM.into()]);
}

/// What contracts may try to end the whole event, in which case the order would cost its sender
/// neither nonce nor coins.
fn hostile_contracts() -> Vec<(&'static str, Program)> {
    let pay = Request::Pay {
        to: seed_key(BOB),
        amount: 0,
    }
    .encode();
    let mut storm = Program::new();
    storm.endpoint(0, "main", Role::Call, |asm| {
        for (at, bytes) in (RAM..).step_by(8).zip(pay.chunks(8)) {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            asm.set(0, u64::from_le_bytes(word)).store(at, 0);
        }
        asm.forever(|asm| {
            asm.call(Op::Drop, &[0])
                .call(Op::MintData, &[RAM.into(), pay.len() as u64, 0])
                .call(Op::Yield, &[REQUEST]);
        });
    });
    let mut lasting = Program::new();
    lasting.persist(&[90], 0, 2_000);
    lasting.endpoint(0, "main", Role::Call, |asm| {
        asm.write_pages(PERSIST);
    });
    let pages = |asm: &mut Asm| {
        asm.write_pages(PERSIST);
    };
    let spin = |asm: &mut Asm| {
        asm.spin();
    };
    vec![
        ("an endless loop", hostile(1, false, spin)),
        ("pages", hostile(MANY, false, pages)),
        ("pages at once", hostile(MANY, true, spin)),
        ("lasting pages", lasting),
        ("more memory than gas", hostile(60_000, false, spin)),
        (
            "a price beyond all gas",
            hostile(2_048, false, |asm| {
                burn(asm);
                asm.call(Op::MintData, &[RAM.into(), 1 << 40, 90]);
            }),
        ),
        (
            "a Data beyond all quota",
            hostile(2_048, false, |asm| {
                asm.call(Op::MintData, &[PERSIST.into(), 5 << 20, 90]);
            }),
        ),
        ("requests without end", storm),
        (
            "a request too long to read",
            hostile(2_048, false, |asm| {
                asm.call(Op::Drop, &[0])
                    .call(Op::MintData, &[PERSIST.into(), 3 << 19, 0])
                    .call(Op::Yield, &[REQUEST]);
            }),
        ),
        (
            "to be kept with many pages",
            hostile(2_048, false, |asm| {
                for page in 0..1_500 {
                    asm.store(PERSIST + page * 4096, 0);
                }
                asm.call(Op::Yield, &[REQUEST]).halt_with(0);
            }),
        ),
        (
            "to be kept at the end of the gas",
            hostile(2_048, false, |asm| {
                for page in 0..200 {
                    asm.store(PERSIST + page * 4096, 0);
                }
                burn(asm);
                asm.call(Op::Yield, &[REQUEST]).halt_with(0);
            }),
        ),
    ]
}

#[test]
fn no_contract_ends_the_order_that_calls_it() {
    let budget = genesis().params.event_gas;
    for (name, program) in hostile_contracts() {
        let mut world = World::new();
        let credit = 200_000;
        let contract = world.deploy_bytes(program.build().encode(), credit);
        let pay = Order::Pay {
            to: seed_key(ALICE),
            amount: 7,
        };
        let call = Call::of(contract, 0, b"").into_order();
        let outcomes = world.orders(vec![(ALICE, call), (BOB, pay)]);
        let [called, paid] = &outcomes[..] else {
            panic!("two outcomes");
        };
        assert_eq!(called.ending, Ending::Halted(0), "{name}");
        assert_eq!(paid.ending, Ending::Halted(0), "{name}");
        // The order can't be given again, and its meter has paid for what it took: all but what
        // the chain's own part may take.
        assert_eq!(world.view::<u64>("nonce", seed_key(ALICE)), 2, "{name}");
        let reply = reply(called);
        assert!(called.gas_used <= budget, "{name}");
        assert!(
            reply.cost * GAS_PER_COIN + GAS_KEPT >= called.gas_used,
            "{name}: {} coins, {} gas",
            reply.cost,
            called.gas_used
        );
        let left = world.meter(contract).map(|meter| meter.credit);
        assert_eq!(left, Some(credit - reply.cost), "{name}");
        let done = matches!(reply.ended, Ended::Halted(_));
        assert!(!done, "{name}: {:?}", reply.ended);
        assert_eq!(world.balance(seed_key(BOB)), 993, "{name}");
    }
}

#[test]
fn an_escrow_waits_for_blocks_and_pays() {
    let mut world = World::new();
    let escrow = world.deploy("sample-escrow.image", 20_000);
    let until = world.builder.head().header.height + 4;
    let payload = (seed_key(BOB), 700u64, until).encode();
    let reply = world.call(ALICE, Call::of(escrow, 0, &payload));
    assert_eq!(reply.ended, Ended::Waits);
    // While it waits it can't be called.
    let denied = world.call(ALICE, Call::of(escrow, 0, &payload));
    assert_eq!(denied.ended, Ended::Refused(-10));
    assert_eq!(world.resume(escrow).ended, Ended::Waits);
    assert_eq!(world.balance(seed_key(BOB)), 1_000);
    let reply = world.resume(escrow);
    assert_eq!(reply.ended, Ended::Halted(0));
    assert_eq!(reply.result, Some(true.encode()));
    assert_eq!(world.balance(seed_key(BOB)), 1_700);
    // It is done: there is nothing to resume, and it can be called again.
    assert!(matches!(world.resume(escrow).ended, Ended::Refused(_)));
    let payload = (seed_key(BOB), u64::MAX, 0u64).encode();
    let reply = world.call(ALICE, Call::of(escrow, 0, &payload));
    assert_eq!(reply.result, Some(false.encode()), "more than its credit");
}

#[test]
fn a_waiting_contract_survives_a_restart() {
    let mut world = World::new();
    let escrow = world.deploy("sample-escrow.image", 20_000);
    let until = world.builder.head().header.height + 2;
    let payload = (seed_key(BOB), 5u64, until).encode();
    let waits = world.call(ALICE, Call::of(escrow, 0, &payload));
    assert_eq!(waits.ended, Ended::Waits);
    let store = world.builder.store.clone();
    world.builder = Node::open(store, &genesis(), &[]).expect("the same chain");
    assert_eq!(world.resume(escrow).result, Some(true.encode()));
    assert_eq!(world.balance(seed_key(BOB)), 1_005);
}

#[test]
fn a_key_opens_its_gate_alone_until_the_lock_is_changed() {
    let mut world = World::new();
    let gate = world.deploy("sample-gate.image", 50_000);
    let other = world.deploy("sample-gate.image", 50_000);
    let with_key = |contract, endpoint, present, keep| Call {
        present,
        keep,
        ..Call::of(contract, endpoint, b"")
    };
    for (contract, keep) in [(gate, 1), (other, 2)] {
        let claimed = world.call(ALICE, with_key(contract, 0, None, Some(keep)));
        assert_eq!(claimed.ended, Ended::Halted(0));
    }
    // One owner only.
    assert_eq!(
        world.call(BOB, with_key(gate, 0, None, Some(1))).ended,
        Ended::Halted(1)
    );
    let entered = world.call(ALICE, with_key(gate, 1, Some(1), None));
    assert_eq!((entered.ended, number(&entered)), (Ended::Halted(0), 1));
    // The other gate's key has the same type and another mark; no key is none.
    assert_eq!(
        world.call(ALICE, with_key(gate, 1, Some(2), None)).ended,
        Ended::Halted(2)
    );
    assert_eq!(
        world.call(BOB, with_key(gate, 1, None, None)).ended,
        Ended::Halted(2)
    );
    // What a wallet doesn't hold can't be shown; a place that is taken is not overwritten.
    let order = with_key(gate, 1, Some(1), None).into_order();
    assert_eq!(
        world.order(BOB, order).ending,
        Ending::Halted(Error::BadKey as u64)
    );
    let order = with_key(gate, 2, Some(1), Some(2)).into_order();
    assert_eq!(
        world.order(ALICE, order).ending,
        Ending::Halted(Error::BadKey as u64)
    );
    let rotated = world.call(ALICE, with_key(gate, 2, Some(1), Some(3)));
    assert_eq!(rotated.ended, Ended::Halted(0));
    assert_eq!(
        world.call(ALICE, with_key(gate, 1, Some(1), None)).ended,
        Ended::Halted(2)
    );
    let entered = world.call(ALICE, with_key(gate, 1, Some(3), None));
    assert_eq!(number(&entered), 2);
}

#[test]
fn what_is_no_contract_is_refused() {
    let mut world = World::new();
    let mut damaged = image_file("sample-counter.image");
    damaged.truncate(100);
    for image in [Vec::new(), vec![0xff; 64], damaged] {
        let outcome = world.order(ALICE, Order::Deploy { image, credit: 5 });
        assert_eq!(outcome.ending, Ending::Halted(Error::BadImage as u64));
    }
    assert_eq!(world.balance(seed_key(ALICE)), 1_000_000);
    let contract = [9; 32];
    let call = Call::of(contract, 0, b"").into_order();
    for order in [call, Order::Resume { contract }] {
        let outcome = world.order(ALICE, order);
        assert_eq!(outcome.ending, Ending::Halted(Error::NoContract as u64));
    }
    // Good contracts are made after bad ones.
    let counter = world.deploy("sample-counter.image", 20_000);
    let reply = world.call(ALICE, Call::of(counter, 0, &2u64.encode()));
    assert_eq!(number(&reply), 2);
}
