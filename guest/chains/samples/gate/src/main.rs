//! A contract that lets in who shows a key. A key is an Instance of the gate's own making:
//! its type says that a gate made it, its content which one and when. Rotating revokes.
#![cfg_attr(target_arch = "riscv64", no_std, no_main)]

#[jar_guest::chain]
mod gate {
    use jar_contracts_api::{ContractId, contract_slots};
    use jar_guest::{CNode, Called, Data, Path, Slot, Status, Value, slots};

    const IMAGE: Slot = Slot::new(contract_slots::IMAGE);
    const ID: Slot = Slot::new(contract_slots::ID);
    const SCRATCH: Slot = Slot::new(slots::SCRATCH);
    /// How often the lock was changed; empty while nobody claimed the gate.
    const ROUND: Value<u64> = Value::new(40);
    /// The Type of keys.
    const KEY_TYPE: Slot = Slot::new(41);
    /// How many came in.
    const VISITS: Value<u64> = Value::new(42);
    /// In a key: the gate and the round it is for.
    const MARK: Value<(ContractId, u64)> = Value::new(43);
    const WORK: Slot = Slot::new(44);
    const WORK_TABLE: CNode = CNode::at(Slot::new(45));

    /// The endpoint `mark` of a key.
    const MARK_ENDPOINT: u8 = 3;

    /// The gate has an owner.
    const CLAIMED: u64 = 1;
    /// No key of this gate and round was shown.
    const NO_KEY: u64 = 2;
    /// The kernel refused.
    const FAILED: u64 = 3;

    /// Gives the first caller a key, in slot 0.
    #[call(raw)]
    fn claim(_registers: [u64; 4]) -> u64 {
        if ROUND.get().is_some() {
            return CLAIMED;
        }
        code(make_key(0))
    }

    /// Lets in who shows a key; leaves SCALE(u64), how many came in.
    #[call(raw)]
    fn enter(_registers: [u64; 4]) -> u64 {
        if let Err(refused) = check_key() {
            return refused;
        }
        let visits = VISITS.get().unwrap_or(0) + 1;
        VISITS.set(&visits);
        code(Data::at(SCRATCH).encode(&visits))
    }

    /// Changes the lock: who shows a key gets a new one, and the old ones open no more.
    #[call(raw)]
    fn rotate(_registers: [u64; 4]) -> u64 {
        if let Err(refused) = check_key() {
            return refused;
        }
        code(make_key(ROUND.get().unwrap_or(0) + 1))
    }

    /// Of a key: the gate and the round it is for.
    #[view]
    fn mark() -> Option<(ContractId, u64)> {
        MARK.get()
    }

    fn code(result: Result<(), Status>) -> u64 {
        match result {
            Ok(()) => 0,
            Err(_) => FAILED,
        }
    }

    fn own_id() -> Result<ContractId, Status> {
        let mut id = [0; 32];
        Data::at(ID).read(0, &mut id)?;
        Ok(id)
    }

    /// Leaves a key of this round in slot 0.
    fn make_key(round: u64) -> Result<(), Status> {
        ROUND.set(&round);
        WORK_TABLE.mint()?;
        let mark = Data::at(WORK_TABLE.child(&[43]));
        mark.encode(&(own_id()?, round))?;
        IMAGE.spawn(&WORK_TABLE, &WORK)?;
        if KEY_TYPE.kind()?.is_none() {
            WORK.type_to(&KEY_TYPE)?;
        }
        SCRATCH.clear()?;
        WORK.move_to(&SCRATCH)
    }

    /// Whether the capability shown is a key of this gate and round.
    fn check_key() -> Result<(), u64> {
        let shown = Slot::at(Path::slot(slots::SCRATCH).child(&[1]));
        let known = KEY_TYPE.same_type(&shown) == Ok(true);
        if !known || shown.move_to(&WORK).is_err() {
            return Err(NO_KEY);
        }
        SCRATCH.clear().map_err(|_| FAILED)?;
        // The type vouches for the code, so the answer can be believed.
        let called = WORK.call(MARK_ENDPOINT, [0; 4]);
        let mark = Data::at(SCRATCH).decode::<Option<(ContractId, u64)>>();
        WORK.clear().map_err(|_| FAILED)?;
        let expected = (own_id().map_err(|_| FAILED)?, ROUND.get().unwrap_or(0));
        match (called, mark) {
            (Called::Halted(0), Ok(Some(Some(mark)))) if mark == expected => Ok(()),
            _ => Err(NO_KEY),
        }
    }
}
