//! The thinnest chain: one number, which anybody may add to.
#![cfg_attr(target_arch = "riscv64", no_std, no_main)]

#[jar_guest::chain]
mod counter {
    use jar_guest::{Value, block_info, score};

    /// The count would pass its largest value.
    const OVERFLOW: u64 = 1;

    const COUNT: Value<u64> = Value::new(32);

    #[genesis]
    fn init(start: u64) {
        COUNT.set(&start);
    }

    #[transact(order = 1)]
    fn bump(by: u64) -> Result<u64, u64> {
        let count = COUNT.get().unwrap_or(0).checked_add(by).ok_or(OVERFLOW)?;
        COUNT.set(&count);
        Ok(count)
    }

    #[dispatch(into = bump, attestations = 0)]
    fn bump_in(by: u64) -> Result<(), u64> {
        match COUNT.get().unwrap_or(0).checked_add(by) {
            Some(_) => Ok(()),
            None => Err(OVERFLOW),
        }
    }

    #[view]
    fn get() -> u64 {
        COUNT.get().unwrap_or(0)
    }

    /// Longer chains win.
    #[schedule(order = 0)]
    fn begin() {
        if score(block_info().height).is_err() {
            jar_guest::fault!(2);
        }
    }

    /// Nobody in particular: any node in development mode may build.
    #[view]
    fn author(_slot: u64) -> Option<[u8; 32]> {
        None
    }
}
