//! A contract that holds coins until a height, and pays them then. It is written straight
//! down: waiting is a yield, and the chain keeps the suspended call as a value.
#![cfg_attr(target_arch = "riscv64", no_std, no_main)]

#[jar_guest::chain]
mod escrow {
    use jar_contracts_api::{PublicKey, Request, contract_slots};
    use jar_guest::{Data, Slot, block_info, slots};

    const REQUEST: Slot = Slot::new(contract_slots::REQUEST);
    const ANSWER: Data = Data::at(Slot::new(slots::SCRATCH));

    /// The chain did not take the request.
    const NO_ANSWER: u64 = 1;

    /// Pays `amount` of this contract's credit to `to`, at height `until` or when it is
    /// resumed after. Answers whether the credit reached.
    #[call]
    fn hold(to: PublicKey, amount: u64, until: u64) -> Result<bool, u64> {
        while block_info().height < until {
            ask(&Request::Later)?;
        }
        ask(&Request::Pay { to, amount })?;
        ANSWER.decode().ok().flatten().ok_or(NO_ANSWER)
    }

    fn ask(request: &Request) -> Result<(), u64> {
        ANSWER
            .encode(request)
            .and_then(|()| REQUEST.yield_now())
            .map_err(|_| NO_ANSWER)
    }
}

#[cfg(test)]
mod tests {
    use jar_contracts_api::Request;
    use jar_guest::codec::Encode;
    use jar_guest::{BlockInfo, host};

    use crate::escrow::endpoints;

    #[test]
    fn it_waits_then_pays() {
        host::reset();
        let marker = (vec![32], host::Cap::Native("request"));
        host::with(|world| {
            world.table.extend([marker]);
            world.block = Some(BlockInfo {
                genesis: [0; 32],
                parent: [0; 32],
                height: 9,
                slot: 9,
                time_ms: 0,
            });
            world.set_payload(&([7u8; 32], 5u64, 9u64).encode());
            world.answers = [Some(host::Cap::Data(true.encode()))].into();
        });
        assert_eq!(endpoints::hold(0, 0, 0, 0), 0);
        assert_eq!(host::with(|world| world.take_result()), Some(true.encode()));
        let request = Request::Pay {
            to: [7; 32],
            amount: 5,
        };
        let asked = host::with(|world| world.asked.clone());
        assert_eq!(asked, [Some(host::Cap::Data(request.encode()))]);
    }
}
