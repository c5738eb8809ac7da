//! Two programs that call one another, on the host.

use std::collections::BTreeMap;

use jar_guest::codec::Encode;
use jar_guest::host::{self, Cap, Entry};
use jar_guest::{Called, Data, Slot, Status, slots};

mod till {
    #[jar_guest::chain]
    mod contract {
        use jar_guest::{Value, log};

        const COINS: Value<u64> = Value::new(32);

        /// Takes coins in; answers how many there are. Faults on none.
        #[call]
        fn pay_in(coins: u64) -> Result<u64, u64> {
            let sum = COINS.get().unwrap_or(0) + coins;
            COINS.set(&sum);
            log(3, "paid in");
            if coins == 0 {
                jar_guest::fault!(7);
            }
            if sum > 100 { Err(9) } else { Ok(sum) }
        }
    }

    pub use contract::endpoints;
}

mod shop {
    #[jar_guest::chain]
    mod contract {
        use jar_guest::{Called, Data, Slot, slots};

        /// Pays in at the till of slot 40.
        #[call]
        fn buy(price: u64) -> Result<u64, u64> {
            let scratch = Data::at(Slot::new(slots::SCRATCH));
            scratch.encode(&price).map_err(|_| 1u64)?;
            match Slot::new(40).call(0, [0; 4]) {
                Called::Halted(0) => scratch.decode().ok().flatten().ok_or(2),
                Called::Halted(code) => Err(code),
                Called::Faulted(_) => Err(3),
                Called::Refused(_) | Called::Paused => Err(4),
            }
        }
    }

    pub use contract::endpoints;
}

const SHOP: Slot = Slot::new(50);

/// A shop with a till, in slot 50 of the table that the test stands in.
fn set_up() {
    host::reset();
    host::install("till", [(0, till::endpoints::pay_in as Entry)]);
    host::install("shop", [(0, shop::endpoints::buy as Entry)]);
    let till = Cap::Instance("till", BTreeMap::new());
    let shop = Cap::Instance("shop", BTreeMap::from([(vec![40], till)]));
    host::with(|world| world.table.insert(vec![50], shop));
}

fn scratch() -> Data {
    Data::at(Slot::new(slots::SCRATCH))
}

fn buy(price: u64) -> Called {
    scratch().encode(&price).expect("room for the payload");
    SHOP.call(0, [0; 4])
}

/// What is in the shop's till.
fn coins() -> Option<u64> {
    host::with(|world| {
        let Some(Cap::Instance("shop", shop)) = world.table.get(&vec![50]) else {
            panic!("the shop is gone");
        };
        match shop.get(&vec![40]) {
            Some(Cap::Instance("till", till)) => match till.get(&vec![32]) {
                Some(Cap::Data(bytes)) => Some(u64::from_le_bytes(bytes[..].try_into().unwrap())),
                _ => None,
            },
            other => panic!("{other:?}"),
        }
    })
}

#[test]
fn a_call_keeps_what_the_callee_did() {
    set_up();
    assert_eq!(buy(30), Called::Halted(0));
    assert_eq!(scratch().decode::<u64>(), Ok(Some(30)));
    assert_eq!(buy(12), Called::Halted(0));
    assert_eq!(scratch().decode::<u64>(), Ok(Some(42)));
    assert_eq!(coins(), Some(42));
    // An error's code passes, and rolls nothing back.
    assert_eq!(buy(60), Called::Halted(9));
    assert_eq!(coins(), Some(102));
}

#[test]
fn a_fault_leaves_nothing_but_its_lines() {
    set_up();
    assert_eq!(buy(30), Called::Halted(0));
    // The till faults, and the shop halts with what it makes of that.
    assert_eq!(buy(0), Called::Halted(3));
    assert_eq!(coins(), Some(30));
    let lines = host::with(|world| world.logs.len());
    assert!(lines >= 3, "both payments are logged, and the fault");
}

#[test]
fn what_cannot_be_called_is_refused() {
    set_up();
    let refused = |slot: Slot, endpoint| match slot.call(endpoint, [0; 4]) {
        Called::Refused(status) => status,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(SHOP, 1), Status::NoEndpoint);
    assert_eq!(refused(Slot::new(51), 0), Status::Empty);
    scratch().encode(&1u64).expect("room");
    assert_eq!(refused(Slot::new(slots::SCRATCH), 0), Status::Busy);
    host::with(|world| world.table.insert(vec![52], Cap::Data(1u64.encode())));
    assert_eq!(refused(Slot::new(52), 0), Status::WrongKind);
}
