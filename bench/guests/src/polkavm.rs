pub use polkavm_derive as derive;

polkavm_derive::min_stack_size!(0x80000);

mod imports {
    #[polkavm_derive::polkavm_import]
    unsafe extern "C" {
        pub fn host(value: u64) -> u64;
    }
}

/// The import `host`.
pub fn host(value: u64) -> u64 {
    // SAFETY: the host changes no memory.
    unsafe { imports::host(value) }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: it traps.
    unsafe { core::arch::asm!("unimp", options(noreturn)) }
}
