//! Guest faults, told from all others.
//!
//! One handler per process, installed when the engine is first asked for. A fault is a
//! guest's if the instruction lies in translated code and the address in the window that
//! this thread has entered. Everything else goes on to the handler that was there before.

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;

use libc::{REG_RIP, REG_RSP, SIGBUS, SIGSEGV, c_int, c_void, siginfo_t, ucontext_t};

use super::pool::WINDOW_LEN;
use super::{codes, sys};

struct Previous {
    segv: libc::sigaction,
    bus: libc::sigaction,
}

static PREVIOUS: OnceLock<Option<Previous>> = OnceLock::new();

/// Installs the handler once; whether it stands.
pub(super) fn install() -> bool {
    PREVIOUS
        .get_or_init(|| {
            Some(Previous {
                segv: install_for(SIGSEGV)?,
                bus: install_for(SIGBUS)?,
            })
        })
        .is_some()
}

fn install_for(signal: c_int) -> Option<libc::sigaction> {
    // SAFETY: the structures are plain data, all zeros is valid; the handler has
    // the signature that SA_SIGINFO asks for.
    unsafe {
        let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
        let mut previous: libc::sigaction = MaybeUninit::zeroed().assume_init();
        action.sa_sigaction = handle as extern "C" fn(c_int, *mut siginfo_t, *mut c_void) as usize;
        // Stack overflows of the host must find a stack too.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
        libc::sigemptyset(&mut action.sa_mask);
        (libc::sigaction(signal, &action, &mut previous) == 0).then_some(previous)
    }
}

/// Whether `address` lies in the window that this thread entered last, or its guard.
fn in_window(address: u64) -> bool {
    let start = sys::gs_base();
    address >= start && address - start < WINDOW_LEN as u64
}

/// Only what is safe in a handler: no allocation, no lock, no panic.
extern "C" fn handle(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes valid pointers.
    let (registers, address, code) = unsafe {
        let registers = &mut (*context.cast::<ucontext_t>()).uc_mcontext.gregs;
        (registers, (*info).si_addr() as u64, (*info).si_code)
    };
    let instruction = registers[REG_RIP as usize] as u64;
    // Codes above 0 are the kernel's own: what was sent is nobody's access.
    if code > 0
        && in_window(address)
        && let Some(exit) = codes::exit_of(instruction)
    {
        // As if the instruction had been a call of the exit.
        let stack = registers[REG_RSP as usize] - 8;
        // SAFETY: inside a guest, the stack is the host's, whose code uses none below it.
        unsafe { (stack as *mut u64).write(instruction) };
        registers[REG_RSP as usize] = stack;
        registers[REG_RIP as usize] = exit as i64;
        return;
    }
    report(signal, address, instruction);
    // SAFETY: the handler's own arguments.
    unsafe { pass_on(signal, info, context) };
}

/// Writes what is known about a fault that is no guest's.
fn report(signal: c_int, address: u64, instruction: u64) {
    let mut line = Line::default();
    line.text(match signal {
        SIGBUS => b"SIGBUS",
        _ => b"SIGSEGV",
    });
    line.text(b" outside of any guest: address 0x");
    line.number(address);
    line.text(b", instruction 0x");
    line.number(instruction);
    line.text(b"\n");
    // SAFETY: writes initialized bytes to standard error; failing is fine.
    unsafe { libc::write(2, line.bytes.as_ptr().cast(), line.len) };
}

/// Text built without allocation.
struct Line {
    bytes: [u8; 128],
    len: usize,
}

impl Default for Line {
    fn default() -> Self {
        Line {
            bytes: [0; 128],
            len: 0,
        }
    }
}

impl Line {
    fn text(&mut self, text: &[u8]) {
        for byte in text {
            if let Some(place) = self.bytes.get_mut(self.len) {
                *place = *byte;
                self.len += 1;
            }
        }
    }

    /// In 16 hexadecimal digits.
    fn number(&mut self, number: u64) {
        for shift in (0..16).rev() {
            let digit = (number >> (4 * shift)) as u8 & 15;
            self.text(&[match digit {
                0..=9 => b'0' + digit,
                _ => b'a' + digit - 10,
            }]);
        }
    }
}

/// Does what would have been done without this handler.
///
/// # Safety
///
/// The arguments are those of the handler.
unsafe fn pass_on(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let Some(Some(previous)) = PREVIOUS.get() else {
        // SAFETY: ends the process; allowed in a handler.
        unsafe { libc::abort() };
    };
    let action = match signal {
        SIGBUS => &previous.bus,
        _ => &previous.segv,
    };
    match action.sa_sigaction {
        libc::SIG_DFL | libc::SIG_IGN => {
            // The instruction runs again and meets the default, which ends the process;
            // a signal that was sent comes again.
            // SAFETY: gives back an action the system gave; `info` is the kernel's.
            unsafe {
                libc::sigaction(signal, action, ptr::null_mut());
                if (*info).si_code <= 0 {
                    libc::raise(signal);
                }
            }
        }
        handler if action.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: a handler installed with SA_SIGINFO has this signature.
            let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) =
                unsafe { std::mem::transmute(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: a handler installed without SA_SIGINFO has this signature.
            let handler: extern "C" fn(c_int) = unsafe { std::mem::transmute(handler) };
            handler(signal);
        }
    }
}

#[cfg(test)]
mod tests;
