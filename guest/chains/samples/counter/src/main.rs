//! A contract that counts.
#![cfg_attr(target_arch = "riscv64", no_std, no_main)]

#[jar_guest::chain]
mod counter {
    use jar_guest::Value;

    const COUNT: Value<u64> = Value::new(40);

    /// The sum would pass the largest number.
    const OVERFLOW: u64 = 1;

    /// Adds to the count; answers the sum.
    #[call]
    fn add(by: u64) -> Result<u64, u64> {
        let sum = count().checked_add(by).ok_or(OVERFLOW)?;
        COUNT.set(&sum);
        Ok(sum)
    }

    #[view]
    fn count() -> u64 {
        COUNT.get().unwrap_or(0)
    }

    /// Never ends by itself: what a meter is for.
    #[call]
    fn spin() -> u64 {
        let mut turns: u64 = 0;
        loop {
            turns = core::hint::black_box(turns.wrapping_add(1));
        }
    }
}
