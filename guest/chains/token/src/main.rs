//! The token chain: coins moved by signed transfers, blocks by authors in turn, final by votes.
//!
//! The tables of balances and nonces depend on the transfers alone. An account whose balance
//! is 0 has no entry among the balances.
#![cfg_attr(target_arch = "riscv64", no_std, no_main)]

#[jar_guest::chain]
mod token {
    extern crate alloc;

    use jar_guest::aggregate::Dispatching;
    use jar_guest::{Map, Scope, attest};
    use jar_poa::{Aggregate, Checkpoint, Poa, SetValidators};
    use jar_token_api::{
        BALANCES_SLOT, Config, Error, FINALITY_SLOT, NEXT_VALIDATORS_SLOT, NONCE_WINDOW,
        NONCES_SLOT, PublicKey, Transfer, VALIDATORS_SLOT,
    };

    const POA: Poa = Poa::new(VALIDATORS_SLOT, FINALITY_SLOT, NEXT_VALIDATORS_SLOT);
    const BALANCES: Map<PublicKey, u64> = Map::new(BALANCES_SLOT);
    const NONCES: Map<PublicKey, u64> = Map::new(NONCES_SLOT);

    #[genesis]
    fn init(config: Config) -> Result<(), Error> {
        POA.start(&config.validators)
            .map_err(|_| Error::BadConfig)?;
        let mut total: u64 = 0;
        for (account, amount) in &config.balances {
            total = total.checked_add(*amount).ok_or(Error::BadConfig)?;
            if BALANCES.get(account).is_some() {
                return Err(Error::BadConfig);
            }
            set_balance(account, *amount);
        }
        Ok(())
    }

    // After the votes, which a block full of transfers must not crowd out.
    #[transact(order = 2)]
    fn transfer(transfer: Transfer) -> Result<(), Error> {
        let (from, to) = (balance(transfer.from), transfer.to);
        let nonce = nonce(transfer.from);
        // The signature first: whatever comes of the checks, it must be used up.
        check_signature(&transfer)?;
        if transfer.nonce != nonce {
            return Err(if transfer.nonce < nonce {
                Error::Replay
            } else {
                Error::BadNonce
            });
        }
        let rest = from.checked_sub(transfer.amount).ok_or(Error::Overdraft)?;
        let next = nonce.checked_add(1).ok_or(Error::BadNonce)?;
        if to != transfer.from && transfer.amount != 0 {
            let sum = balance(to)
                .checked_add(transfer.amount)
                .ok_or(Error::Overflow)?;
            set_balance(&transfer.from, rest);
            set_balance(&to, sum);
        }
        NONCES.set(&transfer.from, &next);
        Ok(())
    }

    #[dispatch(into = transfer, attestations = 1)]
    fn transfer_in(transfer: Transfer) -> Result<(), Error> {
        check_signature(&transfer)?;
        let nonce = nonce(transfer.from);
        if transfer.nonce < nonce {
            return Err(Error::Replay);
        }
        if transfer.nonce - nonce >= NONCE_WINDOW {
            return Err(Error::BadNonce);
        }
        if balance(transfer.from) < transfer.amount {
            return Err(Error::Overdraft);
        }
        Ok(())
    }

    /// Makes the block invalid without the seal of its author.
    #[schedule(order = 0)]
    fn begin() {
        POA.begin();
    }

    /// The validators in turn.
    #[view]
    fn author(slot: u64) -> Option<PublicKey> {
        POA.author(slot)
    }

    #[view]
    fn balance(account: PublicKey) -> u64 {
        BALANCES.get(&account).unwrap_or(0)
    }

    #[view]
    fn nonce(account: PublicKey) -> u64 {
        NONCES.get(&account).unwrap_or(0)
    }

    #[transact(order = 1)]
    fn vote(aggregate: Aggregate) -> Result<(), jar_poa::Error> {
        POA.vote(&aggregate)
    }

    #[dispatch(into = vote, phases)]
    fn vote_in(call: Dispatching) -> Result<(), jar_poa::Error> {
        POA.vote_in(&call)
    }

    #[transact(order = 1)]
    fn set_validators(change: SetValidators) -> Result<(), jar_poa::Error> {
        POA.set_validators(&change)
    }

    #[dispatch(into = set_validators)]
    fn set_validators_in(change: SetValidators) -> Result<(), jar_poa::Error> {
        POA.set_validators_in(&change)
    }

    /// The last finalized block.
    #[view]
    fn finalized() -> Option<Checkpoint> {
        POA.finalized()
    }

    /// The highest justified block.
    #[view]
    fn justified() -> Option<Checkpoint> {
        POA.justified()
    }

    fn check_signature(transfer: &Transfer) -> Result<(), Error> {
        match attest(&transfer.from, &transfer.signed_blob(), Scope::Direct) {
            Ok(true) => Ok(()),
            _ => Err(Error::BadSignature),
        }
    }

    fn set_balance(account: &PublicKey, amount: u64) {
        if amount == 0 {
            BALANCES.remove(account);
        } else {
            BALANCES.set(account, &amount);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use jar_guest::codec::{Decode, Encode};
    use jar_guest::{BlockInfo, Scope, host};
    use jar_token_api::{Config, Error, PublicKey, Transfer};

    use crate::token::endpoints;

    const ALICE: PublicKey = [1; 32];
    const BOB: PublicKey = [2; 32];

    fn call<T: Decode>(
        endpoint: extern "C-unwind" fn(u64, u64, u64, u64) -> u64,
        payload: impl Encode,
    ) -> Result<Option<T>, Option<Error>> {
        host::with(|world| world.set_payload(&payload.encode()));
        match endpoint(0, 0, 0, 0) {
            0 => {
                let result: Option<Vec<u8>> = host::with(|world| world.take_result());
                Ok(result.and_then(|bytes| T::decode(&mut &bytes[..]).ok()))
            }
            code => Err(Error::from_code(code)),
        }
    }

    fn start(validators: Vec<PublicKey>) {
        host::reset();
        let config = Config {
            validators,
            balances: vec![(ALICE, 100)],
        };
        call::<()>(endpoints::init, config).unwrap();
    }

    fn sign(transfer: &Transfer) {
        let entry = (transfer.from, Scope::Direct, transfer.signed_blob());
        host::with(|world| world.attestations.push(entry));
    }

    #[test]
    fn a_transfer_takes_its_signature_before_it_is_judged() {
        start(vec![]);
        let transfer = Transfer {
            from: ALICE,
            to: BOB,
            amount: 500,
            nonce: 0,
        };
        sign(&transfer);
        assert_eq!(
            call::<()>(endpoints::transfer, transfer),
            Err(Some(Error::Overdraft))
        );
        assert!(host::with(|world| world.attestations.is_empty()));
        assert_eq!(call::<u64>(endpoints::nonce, ALICE), Ok(Some(0)));
    }

    #[test]
    fn balances_and_nonces_follow_transfers() {
        start(vec![]);
        for (nonce, amount) in [(0, 30), (1, 70)] {
            let transfer = Transfer {
                from: ALICE,
                to: BOB,
                amount,
                nonce,
            };
            sign(&transfer);
            assert_eq!(call::<()>(endpoints::transfer, transfer), Ok(Some(())));
        }
        assert_eq!(call::<u64>(endpoints::balance, ALICE), Ok(Some(0)));
        assert_eq!(call::<u64>(endpoints::balance, BOB), Ok(Some(100)));
        let again = Transfer {
            from: ALICE,
            to: BOB,
            amount: 0,
            nonce: 1,
        };
        sign(&again);
        assert_eq!(
            call::<()>(endpoints::transfer, again),
            Err(Some(Error::Replay))
        );
    }

    #[test]
    fn a_block_needs_the_seal_of_its_author() {
        let block = BlockInfo {
            genesis: [0; 32],
            parent: [0; 32],
            height: 1,
            slot: 3,
            time_ms: 0,
        };
        start(vec![ALICE, BOB]);
        host::with(|world| world.block = Some(block));
        assert!(std::panic::catch_unwind(|| endpoints::begin(0, 0, 0, 0)).is_err());
        host::with(|world| world.attestations.push((BOB, Scope::Seal, vec![])));
        assert_eq!(endpoints::begin(0, 0, 0, 0), 0);
        assert_eq!(host::with(|world| world.score), Some(1));
    }
}
