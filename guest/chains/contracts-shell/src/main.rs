//! The shell around a contract. The caps that pay are the shell's, so a contract that has
//! none spends from them, and none can lose them.
#![cfg_attr(target_arch = "riscv64", no_std, no_main)]

#[jar_guest::chain]
mod shell {
    use jar_contracts_api::Ended;
    use jar_guest::{Called, Slot};

    /// Slot of the contract.
    const CONTRACT: Slot = Slot::new(32);

    /// Calls an endpoint of the contract with slot 0 as it is; halts with how that ended.
    #[call(raw)]
    fn run(registers: [u64; 4]) -> u64 {
        let [endpoint, first, second, third] = registers;
        let ended = match u8::try_from(endpoint) {
            Ok(endpoint) => match CONTRACT.call(endpoint, [first, second, third, 0]) {
                Called::Halted(value) => Ended::Halted(value),
                Called::Faulted(code) => Ended::Faulted(code),
                Called::Refused(status) => Ended::Refused(status as i64),
                // A shell has no Catcher.
                Called::Paused => jar_guest::fault!(1),
            },
            Err(_) => Ended::Refused(jar_guest::Status::NoEndpoint as i64),
        };
        ended.pack()
    }
}
