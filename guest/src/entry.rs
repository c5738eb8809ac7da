//! What runs around an endpoint's function.

use alloc::vec::Vec;

use jar_abi::{ARRIVING_ITEM, Phase, SlotItemKind, slots};
use parity_scale_codec::{DecodeAll, Encode};

use crate::aggregate::Dispatching;
use crate::{Data, Slot, aggregate, sys};

/// The code an endpoint halts with when its arguments in slot 0 don't decode. The SDK's
/// own codes begin at `0xffff_0000`; a chain's are below.
pub const BAD_ARGUMENTS: u64 = 0xffff_0001;

/// What a Dispatch endpoint thinks of an arriving event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Take it.
    Accept,
    /// Refuse it with this code, which is not 0.
    Reject(u64),
}

impl<E: Into<u64>> From<Result<(), E>> for Verdict {
    fn from(result: Result<(), E>) -> Verdict {
        match result {
            Ok(()) => Verdict::Accept,
            Err(code) => Verdict::Reject(code.into()),
        }
    }
}

/// Longest name of an endpoint, in bytes.
const NAME_MAX: usize = 51;

/// What the transpiler reads from `.jar.endpoints`; 64 bytes.
#[repr(C)]
pub struct Descriptor {
    entry: extern "C-unwind" fn(u64, u64, u64, u64) -> u64,
    version: u8,
    index: u8,
    role: u8,
    order: u8,
    name_len: u8,
    name: [u8; NAME_MAX],
}

impl Descriptor {
    /// An endpoint. Roles: 0 Call, 1 View, 2 Genesis, 3 Schedule, 4 Transact, 5 Dispatch.
    ///
    /// # Panics
    ///
    /// At compile time, if the name is too long.
    pub const fn new(
        entry: extern "C-unwind" fn(u64, u64, u64, u64) -> u64,
        index: u8,
        role: u8,
        order: u8,
        name: &str,
    ) -> Descriptor {
        let bytes = name.as_bytes();
        assert!(
            bytes.len() <= NAME_MAX,
            "an endpoint's name has at most 51 bytes"
        );
        let mut padded = [0; NAME_MAX];
        let mut i = 0;
        while i < bytes.len() {
            padded[i] = bytes[i];
            i += 1;
        }
        Descriptor {
            entry,
            version: 1,
            index,
            role,
            order,
            name_len: bytes.len() as u8,
            name: padded,
        }
    }
}

fn scratch() -> Data {
    Data::at(Slot::new(slots::SCRATCH))
}

/// The arguments in slot 0; an empty slot is no bytes.
pub fn arguments<T: DecodeAll>() -> Option<T> {
    let data = scratch();
    match data.len() {
        Ok(None) => T::decode_all(&mut &[][..]).ok(),
        Ok(Some(_)) => data.decode().ok().flatten(),
        Err(_) => None,
    }
}

/// Leaves SCALE(value) in slot 0.
pub fn finish_value<T: Encode>(value: &T) -> u64 {
    match scratch().encode(value) {
        Ok(()) => 0,
        Err(_) => panic!("slot 0 takes no result"),
    }
}

/// The halt value of a function that returns nothing: 0, with slot 0 empty.
pub fn finish_unit() -> u64 {
    match scratch().slot().clear() {
        Ok(_) => 0,
        Err(_) => panic!("slot 0 takes no result"),
    }
}

/// The halt value of a function that returns a Result.
pub fn finish_result<T: Encode, E: Into<u64>>(result: Result<T, E>) -> u64 {
    match result {
        Ok(value) => finish_value(&value),
        Err(error) => match error.into() {
            0 => panic!("an error's code is 1 or more"),
            code => code,
        },
    }
}

/// A Dispatch endpoint: phase 0 judges; phase 1 by default appends the arriving event as
/// a Transact item for endpoint `into`, with its attestations; phase 2 keeps the slot.
///
/// `attestations` is how many an event has, if that is always the same; else the judging
/// function runs again in phase 1 to count them.
pub fn dispatch(
    phase: u64,
    into: u8,
    attestations: Option<u32>,
    judge: impl FnOnce() -> Option<Verdict>,
) -> u64 {
    match Phase::from_number(phase) {
        Some(Phase::Verify) => match judge() {
            Some(Verdict::Accept) => 0,
            Some(Verdict::Reject(0)) => panic!("an error's code is 1 or more"),
            Some(Verdict::Reject(code)) => code,
            None => BAD_ARGUMENTS,
        },
        Some(Phase::Merge) => {
            let count = attestations.unwrap_or_else(|| {
                sys::set_recorded(0);
                judge();
                sys::recorded()
            });
            let picks: Vec<(u32, u32)> = (0..count).map(|i| (ARRIVING_ITEM, i)).collect();
            let payload = Slot::new(slots::SCRATCH);
            match aggregate::emit(SlotItemKind::Transact, into, &payload, &picks) {
                Ok(()) => 0,
                Err(status) => (status as i64).unsigned_abs(),
            }
        }
        _ => 0,
    }
}

/// A Dispatch endpoint that sees to all of its phases by itself.
pub fn dispatch_phases(
    phase: u64,
    items: u64,
    endpoint: u8,
    into: u8,
    run: impl FnOnce(Dispatching) -> Verdict,
) -> u64 {
    let Some(phase) = Phase::from_number(phase) else {
        return 0;
    };
    let call = Dispatching {
        phase,
        items: items as u32,
        endpoint,
        into,
    };
    match run(call) {
        Verdict::Accept => 0,
        Verdict::Reject(0) => panic!("an error's code is 1 or more"),
        Verdict::Reject(code) => code,
    }
}

/// Writes `what [code] at file:line` to the log, without the formatting machinery.
pub(crate) fn report(what: &str, code: Option<u64>, file: &str, line: u32) {
    let mut text = Line {
        bytes: [0; 160],
        len: 0,
    };
    text.push(what.as_bytes());
    if let Some(code) = code {
        text.push(b" ");
        text.number(code);
    }
    text.push(b" at ");
    text.push(file.as_bytes());
    text.push(b":");
    text.number(u64::from(line));
    sys::log(1, &text.bytes[..text.len]);
}

/// A line of text that is cut where it gets too long.
struct Line {
    bytes: [u8; 160],
    len: usize,
}

impl Line {
    fn push(&mut self, text: &[u8]) {
        let room = self.bytes.len() - self.len;
        let text = &text[..text.len().min(room)];
        self.bytes[self.len..self.len + text.len()].copy_from_slice(text);
        self.len += text.len();
    }

    fn number(&mut self, mut number: u64) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.push(&digits[at..]);
    }
}
