//! Host calls by `ecall`: the number in t0, arguments in a0..a5, results in a0 and a1.
//!
//! The only unsafe code of the SDK with `runtime`: an `ecall` can't be had otherwise.
#![allow(unsafe_code)]

use core::arch::asm;

use jar_abi::HostCall;

use crate::path::Path;

/// One host call with up to six arguments, a0 first; the value is (a0, a1).
macro_rules! ecall {
    (@asm $call:ident, $value:ident, $second:ident, $($operands:tt)*) => {{
        // SAFETY: the kernel reads and writes no more of memory than the ranges given.
        unsafe {
            asm!("li t0, {n}", "ecall", n = const HostCall::$call as u64, $($operands)*
                lateout("t0") _)
        }
        ($value, $second)
    }};
    ($call:ident) => {{
        let (value, second): (u64, u64);
        ecall!(@asm $call, value, second, lateout("a0") value, lateout("a1") second,)
    }};
    ($call:ident, $a0:expr) => {{
        let (value, second): (u64, u64);
        ecall!(@asm $call, value, second, inlateout("a0") $a0 => value, lateout("a1") second,)
    }};
    ($call:ident, $a0:expr, $a1:expr) => {{
        let (value, second): (u64, u64);
        ecall!(@asm $call, value, second,
            inlateout("a0") $a0 => value, inlateout("a1") $a1 => second,)
    }};
    ($call:ident, $a0:expr, $a1:expr, $a2:expr) => {{
        let (value, second): (u64, u64);
        ecall!(@asm $call, value, second,
            inlateout("a0") $a0 => value, inlateout("a1") $a1 => second, in("a2") $a2,)
    }};
    ($call:ident, $a0:expr, $a1:expr, $a2:expr, $a3:expr) => {{
        let (value, second): (u64, u64);
        ecall!(@asm $call, value, second,
            inlateout("a0") $a0 => value, inlateout("a1") $a1 => second, in("a2") $a2,
            in("a3") $a3,)
    }};
    ($call:ident, $a0:expr, $a1:expr, $a2:expr, $a3:expr, $a4:expr) => {{
        let (value, second): (u64, u64);
        ecall!(@asm $call, value, second,
            inlateout("a0") $a0 => value, inlateout("a1") $a1 => second, in("a2") $a2,
            in("a3") $a3, in("a4") $a4,)
    }};
    ($call:ident, $a0:expr, $a1:expr, $a2:expr, $a3:expr, $a4:expr, $a5:expr) => {{
        let (value, second): (u64, u64);
        ecall!(@asm $call, value, second,
            inlateout("a0") $a0 => value, inlateout("a1") $a1 => second, in("a2") $a2,
            in("a3") $a3, in("a4") $a4, in("a5") $a5,)
    }};
}

fn ptr<T>(bytes: &[T]) -> u64 {
    bytes.as_ptr() as u64
}

fn ptr_mut<T>(bytes: &mut [T]) -> u64 {
    bytes.as_mut_ptr() as u64
}

pub(crate) fn copy(src: &Path, dst: &Path) -> i64 {
    ecall!(Copy, src.register(), dst.register()).0 as i64
}

pub(crate) fn move_(src: &Path, dst: &Path) -> i64 {
    ecall!(Move, src.register(), dst.register()).0 as i64
}

pub(crate) fn drop(slot: &Path) -> i64 {
    ecall!(Drop, slot.register()).0 as i64
}

pub(crate) fn swap(a: &Path, b: &Path) -> i64 {
    ecall!(Swap, a.register(), b.register()).0 as i64
}

pub(crate) fn mint_cnode(dst: &Path) -> i64 {
    ecall!(MintCnode, dst.register()).0 as i64
}

pub(crate) fn kind(slot: &Path) -> (i64, u64) {
    let (kind, size) = ecall!(Kind, slot.register());
    (kind as i64, size)
}

pub(crate) fn next_key(cnode: &Path, key: &[u8], out: &mut [u8; 32]) -> i64 {
    ecall!(
        NextKey,
        cnode.register(),
        ptr(key),
        key.len() as u64,
        ptr_mut(out)
    )
    .0 as i64
}

pub(crate) fn same_type(a: &Path, b: &Path) -> i64 {
    ecall!(SameType, a.register(), b.register()).0 as i64
}

pub(crate) fn type_of(src: &Path, dst: &Path) -> i64 {
    ecall!(TypeOf, src.register(), dst.register()).0 as i64
}

pub(crate) fn read_data(slot: &Path, out: &mut [u8], offset: u64) -> i64 {
    ecall!(
        ReadData,
        slot.register(),
        ptr_mut(out),
        out.len() as u64,
        offset
    )
    .0 as i64
}

pub(crate) fn mint_data(bytes: &[u8], dst: &Path) -> i64 {
    ecall!(MintData, ptr(bytes), bytes.len() as u64, dst.register()).0 as i64
}

pub(crate) fn call(slot: &Path, endpoint: u8, arguments: [u64; 4]) -> (u64, u64) {
    let [a, b, c, d] = arguments;
    ecall!(Call, slot.register(), u64::from(endpoint), a, b, c, d)
}

pub(crate) fn yield_(marker: &Path) -> i64 {
    ecall!(Yield, marker.register()).0 as i64
}

pub(crate) fn resume(slot: &Path) -> (u64, u64) {
    ecall!(Resume, slot.register())
}

pub(crate) fn abort(slot: &Path) -> i64 {
    ecall!(Abort, slot.register()).0 as i64
}

pub(crate) fn detach(slot: &Path) -> i64 {
    ecall!(Detach, slot.register()).0 as i64
}

pub(crate) fn set_image(image: &Path) -> i64 {
    ecall!(SetImage, image.register()).0 as i64
}

pub(crate) fn derive_spawn(image: &Path, cnode: &Path, dst: &Path) -> i64 {
    ecall!(
        DeriveSpawn,
        image.register(),
        cnode.register(),
        dst.register()
    )
    .0 as i64
}

pub(crate) fn make_image(data: &Path, dst: &Path) -> i64 {
    ecall!(MakeImage, data.register(), dst.register()).0 as i64
}

pub(crate) fn subtype(ty: &Path, image: &Path, dst: &Path) -> i64 {
    ecall!(Subtype, ty.register(), image.register(), dst.register()).0 as i64
}

pub(crate) fn attest(slot: &Path, key: &[u8; 32], blob: &[u8], scope: &[u8]) -> i64 {
    ecall!(
        Attest,
        slot.register(),
        ptr(key),
        ptr(blob),
        blob.len() as u64,
        ptr(scope),
        scope.len() as u64
    )
    .0 as i64
}

pub(crate) fn block_info(out: &mut [u8; 88]) {
    ecall!(BlockInfo, ptr_mut(out));
}

pub(crate) fn score(slot: &Path, score: u64) -> i64 {
    ecall!(Score, slot.register(), score).0 as i64
}

pub(crate) fn finalize(slot: &Path, block: &[u8; 32]) -> i64 {
    ecall!(Finalize, slot.register(), ptr(block)).0 as i64
}

pub(crate) fn slot_read(item: u32, dst: &Path) -> i64 {
    ecall!(SlotRead, u64::from(item), dst.register()).0 as i64
}

pub(crate) fn slot_emit(kind: u64, endpoint: u8, payload: &Path, picks: &[u8]) -> i64 {
    ecall!(
        SlotEmit,
        kind,
        u64::from(endpoint),
        payload.register(),
        ptr(picks),
        picks.len() as u64
    )
    .0 as i64
}

pub(crate) fn slot_keep(bitmap: &[u8]) -> i64 {
    ecall!(SlotKeep, ptr(bitmap), bitmap.len() as u64).0 as i64
}

pub(crate) fn slot_clear() -> i64 {
    ecall!(SlotClear).0 as i64
}

pub(crate) fn dispatch(endpoint: u8, payload: &Path) -> i64 {
    ecall!(Dispatch, u64::from(endpoint), payload.register()).0 as i64
}

pub(crate) fn gas_left() -> u64 {
    ecall!(GasLeft).0
}

pub(crate) fn log(level: u64, text: &[u8]) {
    ecall!(Log, level, ptr(text), text.len() as u64);
}

pub(crate) fn emit(topic: &[u8], data: &Path) -> i64 {
    ecall!(Emit, ptr(topic), topic.len() as u64, data.register()).0 as i64
}

pub(crate) fn hash(algorithm: u64, bytes: &[u8], out: &mut [u8; 32]) {
    ecall!(
        Hash,
        algorithm,
        ptr(bytes),
        bytes.len() as u64,
        ptr_mut(out)
    );
}

/// Ends the call as a fault.
pub(crate) fn trap() -> ! {
    // SAFETY: doesn't return.
    unsafe { asm!("unimp", options(noreturn)) }
}

/// How many attestations this call was answered to be recorded.
struct Recorded(core::cell::Cell<u32>);

// SAFETY: a guest has one thread.
unsafe impl Sync for Recorded {}

static RECORDED: Recorded = Recorded(core::cell::Cell::new(0));

pub(crate) fn recorded() -> u32 {
    RECORDED.0.get()
}

pub(crate) fn set_recorded(count: u32) {
    RECORDED.0.set(count);
}
