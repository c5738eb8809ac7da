//! The contracts chain: accounts deploy Images, call them, and pay by meters.
//!
//! A contract runs in a shell, whose caps name the contract's row. Rows are empty at first:
//! the kernel asks the chain when one runs dry, and the chain fills it from the credit.
#![cfg_attr(target_arch = "riscv64", no_std, no_main)]

mod run;

#[jar_guest::chain]
mod contracts {
    extern crate alloc;

    use alloc::vec::Vec;

    use jar_contracts_api::{
        BALANCES_SLOT, Config, ContractId, Error, METERS_SLOT, Meter, NONCE_WINDOW, NONCES_SLOT,
        Order, PublicKey, Reply, Signed,
    };
    use jar_guest::{Map, Scope, attest, block_info, score};

    use crate::run;

    const BALANCES: Map<PublicKey, u64> = Map::new(BALANCES_SLOT);
    const NONCES: Map<PublicKey, u64> = Map::new(NONCES_SLOT);
    pub(crate) const METERS: Map<ContractId, Meter> = Map::new(METERS_SLOT);

    /// The kernel took no score.
    const NO_SCORE: u64 = 1;

    #[genesis]
    fn init(config: Config) -> Result<(), Error> {
        let mut total: u64 = 0;
        for (account, amount) in &config.balances {
            total = total.checked_add(*amount).ok_or(Error::BadConfig)?;
            if BALANCES.get(account).is_some() {
                return Err(Error::BadConfig);
            }
            BALANCES.set(account, amount);
        }
        run::set_up().map_err(|_| Error::BadConfig)
    }

    /// Carries out an order. What a contract does is a call of its own, so that its faults
    /// cost the sender's nonce and the meter's credit, and nothing else.
    #[transact(order = 1)]
    fn order(signed: Signed) -> Result<(), Error> {
        // The signature first: whatever comes of the checks, it must be used up.
        check_signature(&signed)?;
        let expected = nonce(signed.from);
        if signed.nonce != expected {
            return Err(if signed.nonce < expected {
                Error::Replay
            } else {
                Error::BadNonce
            });
        }
        let next = expected.checked_add(1).ok_or(Error::BadNonce)?;
        NONCES.set(&signed.from, &next);
        let from = signed.from;
        match signed.order {
            Order::Pay { to, amount } => {
                take(&from, amount)?;
                give(&to, amount)
            }
            Order::Deploy { image, credit } => {
                if balance(from) < credit {
                    return Err(Error::Overdraft);
                }
                run::deploy(&from, signed.nonce, &image, credit)?;
                take(&from, credit)
            }
            Order::Fund { contract, amount } => {
                let mut meter = METERS.get(&contract).ok_or(Error::NoContract)?;
                meter.credit = meter.credit.checked_add(amount).ok_or(Error::Overflow)?;
                take(&from, amount)?;
                METERS.set(&contract, &meter);
                Ok(())
            }
            Order::Call {
                contract,
                endpoint,
                payload,
                present,
                keep,
            } => run::call(&from, &contract, endpoint, &payload, present, keep),
            Order::Resume { contract } => run::resume(&contract),
        }
    }

    #[dispatch(into = order, attestations = 1)]
    fn order_in(signed: Signed) -> Result<(), Error> {
        check_signature(&signed)?;
        let expected = nonce(signed.from);
        if signed.nonce < expected {
            return Err(Error::Replay);
        }
        if signed.nonce - expected >= NONCE_WINDOW {
            return Err(Error::BadNonce);
        }
        match &signed.order {
            Order::Pay { amount, .. } | Order::Fund { amount, .. }
                if balance(signed.from) < *amount =>
            {
                Err(Error::Overdraft)
            }
            Order::Deploy { credit, .. } if balance(signed.from) < *credit => Err(Error::Overdraft),
            _ => Ok(()),
        }
    }

    /// Longer chains win; any node in development mode builds.
    #[schedule(order = 0)]
    fn begin() {
        if score(block_info().height).is_err() {
            jar_guest::fault!(NO_SCORE);
        }
    }

    #[view]
    fn balance(account: PublicKey) -> u64 {
        BALANCES.get(&account).unwrap_or(0)
    }

    #[view]
    fn nonce(account: PublicKey) -> u64 {
        NONCES.get(&account).unwrap_or(0)
    }

    #[view]
    fn meter(contract: ContractId) -> Option<Meter> {
        METERS.get(&contract)
    }

    /// A call of which nothing is kept.
    #[view]
    fn look(contract: ContractId, endpoint: u8, payload: Vec<u8>) -> Result<Reply, Error> {
        run::look(&contract, endpoint, &payload)
    }

    fn check_signature(signed: &Signed) -> Result<(), Error> {
        match attest(&signed.from, &signed.signed_blob(), Scope::Direct) {
            Ok(true) => Ok(()),
            _ => Err(Error::BadSignature),
        }
    }

    fn take(account: &PublicKey, amount: u64) -> Result<(), Error> {
        let rest = balance(*account)
            .checked_sub(amount)
            .ok_or(Error::Overdraft)?;
        match rest {
            0 => drop(BALANCES.remove(account)),
            rest => BALANCES.set(account, &rest),
        }
        Ok(())
    }

    pub(crate) fn give(account: &PublicKey, amount: u64) -> Result<(), Error> {
        let sum = balance(*account)
            .checked_add(amount)
            .ok_or(Error::Overflow)?;
        if sum > 0 {
            BALANCES.set(account, &sum);
        }
        Ok(())
    }
}
