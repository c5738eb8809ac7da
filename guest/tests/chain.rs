//! A chain on the host, against the in-memory kernel.

use jar_guest::codec::{Decode, Encode};
use jar_guest::host::{self, Cap};
use jar_guest::{BAD_ARGUMENTS, BlockInfo, Scope};

#[jar_guest::chain]
mod ledger {
    use jar_guest::{
        CNode, Data, HashAlgorithm, Map, Scope, Slot, Status, Value, Verdict, attest, block_info,
        emit, hash, score,
    };

    const OWNER: Value<[u8; 32]> = Value::new(32);
    const ENTRIES: Map<u64, u64> = Map::new(33);

    #[genesis]
    fn init(owner: [u8; 32]) {
        OWNER.set(&owner);
    }

    #[transact(order = 3, index = 7)]
    fn put(key: u64, value: u64) -> Result<Option<u64>, u64> {
        let owner = OWNER.get().ok_or(9u64)?;
        if attest(&owner, b"put", Scope::Direct) != Ok(true) {
            return Err(1);
        }
        let old = ENTRIES.get(&key);
        if value == 0 {
            ENTRIES.remove(&key);
        } else {
            ENTRIES.set(&key, &value);
        }
        let record = Slot::new(40);
        Data::at(record.clone())
            .encode(&(key, value))
            .map_err(|_| 2u64)?;
        emit(b"put", &record).map_err(|_| 3u64)?;
        record.clear().map_err(|_| 4u64)?;
        Ok(old)
    }

    #[dispatch(into = put)]
    fn put_in(_key: u64, value: u64) -> Verdict {
        let signed = OWNER
            .get()
            .is_some_and(|o| attest(&o, b"put", Scope::Direct) == Ok(true));
        match (signed, value) {
            (false, _) => Verdict::Reject(1),
            (_, 13) => Verdict::Reject(13),
            _ => Verdict::Accept,
        }
    }

    #[schedule(order = 0)]
    fn begin() {
        score(block_info().height * 2).unwrap();
    }

    #[view]
    fn get(key: u64) -> Option<u64> {
        ENTRIES.get(&key)
    }

    #[view]
    fn keys() -> u64 {
        let (mut count, mut after) = (0, None);
        while let Some(key) = ENTRIES.next_key(after.as_deref()) {
            count += 1;
            after = Some(key);
        }
        count
    }

    #[call]
    fn slots() -> Result<(), u64> {
        let (a, b) = (Slot::new(50), Slot::new(51));
        let data = Data::at(a.clone());
        data.set(b"hello").map_err(|_| 1u64)?;
        a.copy_to(&b).map_err(|_| 2u64)?;
        if a.copy_to(&b) != Err(Status::Occupied) || a.move_to(&Slot::new(52)).is_err() {
            return Err(3);
        }
        let node = CNode::at(Slot::new(53));
        node.mint().map_err(|_| 4u64)?;
        b.move_to(&node.child(b"a long key")).map_err(|_| 5u64)?;
        let nested = Data::at(node.child(b"a long key")).to_vec();
        if nested != Ok(Some(b"hello".to_vec())) || a.kind() != Ok(None) {
            return Err(6);
        }
        if hash(HashAlgorithm::Sha256, b"")[..2] != [0xe3, 0xb0] {
            return Err(7);
        }
        jar_guest::fault!(77)
    }
}

use ledger::endpoints;

const OWNER: [u8; 32] = [7; 32];

/// Calls an endpoint with a payload; answers the halt value and what is in slot 0.
fn call<T: Decode>(
    endpoint: extern "C-unwind" fn(u64, u64, u64, u64) -> u64,
    payload: impl Encode,
) -> (u64, Option<T>) {
    host::with(|world| world.set_payload(&payload.encode()));
    let code = endpoint(0, 0, 0, 0);
    let result = host::with(|world| world.take_result());
    (
        code,
        result.and_then(|bytes| T::decode(&mut &bytes[..]).ok()),
    )
}

fn start() {
    host::reset();
    assert_eq!(call::<()>(endpoints::init, OWNER), (0, None));
}

fn sign() {
    host::with(|world| {
        world
            .attestations
            .push((OWNER, Scope::Direct, b"put".to_vec()))
    });
}

#[test]
fn state_lasts_and_results_come_back() {
    start();
    sign();
    assert_eq!(
        call::<Option<u64>>(endpoints::put, (5u64, 50u64)),
        (0, Some(None))
    );
    sign();
    assert_eq!(
        call::<Option<u64>>(endpoints::put, (5u64, 51u64)),
        (0, Some(Some(50)))
    );
    assert_eq!(
        call::<Option<u64>>(endpoints::get, 5u64),
        (0, Some(Some(51)))
    );
    assert_eq!(call::<Option<u64>>(endpoints::get, 6u64), (0, Some(None)));
    sign();
    call::<Option<u64>>(endpoints::put, (6u64, 60u64));
    assert_eq!(call::<u64>(endpoints::keys, ()), (0, Some(2)));
    sign();
    assert_eq!(
        call::<Option<u64>>(endpoints::put, (5u64, 0u64)),
        (0, Some(Some(51)))
    );
    assert_eq!(call::<u64>(endpoints::keys, ()), (0, Some(1)));
    let records = host::with(|world| world.records.clone());
    assert_eq!(
        records.last(),
        Some(&(b"put".to_vec(), (5u64, 0u64).encode()))
    );
}

#[test]
fn errors_halt_with_their_code_and_bad_arguments_with_the_sdks() {
    start();
    assert_eq!(call::<()>(endpoints::put, (5u64, 50u64)).0, 1);
    assert_eq!(call::<()>(endpoints::put, 5u64).0, BAD_ARGUMENTS);
    assert_eq!(call::<()>(endpoints::get, (5u64, 1u8)).0, BAD_ARGUMENTS);
    assert_eq!(call::<()>(endpoints::keys, 1u8).0, BAD_ARGUMENTS);
}

#[test]
fn dispatch_judges_then_appends_with_the_attestations_it_asked_for() {
    start();
    let payload = (1u64, 2u64);
    let run = |phase, payload: (u64, u64)| {
        host::with(|world| world.set_payload(&payload.encode()));
        endpoints::put_in(phase, 0, 0, 0)
    };
    assert_eq!(run(0, payload), 1);
    sign();
    assert_eq!(run(0, (1, 13)), 13);
    sign();
    assert_eq!(run(0, payload), 0);
    sign();
    assert_eq!(run(1, payload), 0);
    assert_eq!(run(2, payload), 0);
    let emitted = host::with(|world| world.emitted.clone());
    assert_eq!(emitted.len(), 1);
    assert_eq!((emitted[0].kind, emitted[0].endpoint), (0, 7));
    assert_eq!(emitted[0].payload, payload.encode());
    assert_eq!(emitted[0].picks, vec![(u32::MAX, 0u32)].encode());
}

#[test]
fn a_schedule_sees_the_block() {
    start();
    let block = BlockInfo {
        genesis: [1; 32],
        parent: [2; 32],
        height: 21,
        slot: 30,
        time_ms: 4,
    };
    host::with(|world| world.block = Some(block));
    assert_eq!(call::<()>(endpoints::begin, ()).0, 0);
    assert_eq!(host::with(|world| world.score), Some(42));
}

#[test]
fn slots_and_faults() {
    start();
    host::with(|world| world.set_payload(&[]));
    assert!(std::panic::catch_unwind(|| endpoints::slots(0, 0, 0, 0)).is_err());
    let logs = host::with(|world| world.logs.clone());
    let (level, line) = &logs[0];
    assert_eq!(*level, 1);
    assert!(
        line.starts_with("fault 77 at ") && line.contains("chain.rs:"),
        "{line}"
    );
    let kept = host::with(|world| world.table[&vec![52u8]].clone());
    assert_eq!(kept, Cap::Data(b"hello".to_vec()));
}
