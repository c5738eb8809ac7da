//! What a signal does in a process that runs guests, each case in a process of its own.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use jar_isa::{Instruction, Opcode};
use libc::{c_int, c_void, siginfo_t};

use crate::{Access, Backing, Engine, Exit, GasModel, Machine, MemoryMap, Program, Region};

const CHILD: &str = "JAR_PVM_FAULT";
/// How an embedder's handler ends the process.
const HANDLED: i32 = 42;
const DATA: u32 = 0x10000;
const DATA_PAGES: u32 = 4;
const NOWHERE: u32 = 0x20000;

/// Stores φ1 at [`DATA`] + 4096, calls the host, loads from [`NOWHERE`].
fn program() -> Program {
    let access = |opcode, x: u32| Instruction {
        ra: 1,
        x: u64::from(x),
        ..Instruction::from(opcode)
    };
    let list = [
        access(Opcode::StoreU64, DATA + 4096),
        Opcode::Ecall.into(),
        access(Opcode::LoadU64, NOWHERE),
    ];
    let (mut code, mut bitmask) = (vec![], vec![0; 8]);
    for instruction in list {
        bitmask[code.len() / 8] |= 1 << (code.len() % 8);
        instruction.encode(&mut code).unwrap();
    }
    bitmask.truncate(code.len().div_ceil(8));
    Program::new(code, bitmask, vec![]).unwrap()
}

fn machine() -> Box<dyn Machine> {
    let engine = crate::Recompiler::detect().unwrap();
    let region = Region {
        start: DATA,
        pages: DATA_PAGES,
        access: Access::ReadWrite,
        backing: Backing::Zero,
        eager: false,
    };
    let code = engine.prepare(Arc::new(program()), GasModel::Unit);
    let mut machine = code.machine(MemoryMap::new(vec![region]).unwrap());
    machine.set_gas(10);
    machine
}

fn call(machine: &mut dyn Machine) {
    assert_eq!(machine.run().unwrap(), Exit::HostCall(0));
    assert_eq!(machine.written_pages(), [DATA / 4096 + 1]);
}

/// A guest that faults, twice: once to go on, once to stop.
fn guest_fault() {
    let mut machine = machine();
    call(&mut *machine);
    assert_eq!(machine.run().unwrap(), Exit::PageFault(NOWHERE));
}

#[inline(never)]
#[allow(unconditional_recursion)]
fn overflow(depth: u64) -> u64 {
    let mut space = [depth; 512];
    std::hint::black_box(&mut space);
    overflow(depth + 1) + space[17]
}

fn load_from_nowhere() -> ! {
    let nowhere = std::hint::black_box(0x1234 as *const u64);
    // SAFETY: none; the fault is the point, in a process of its own.
    let value = unsafe { nowhere.read_volatile() };
    unreachable!("read {value}");
}

/// Installs an embedder's handler; what was there before.
fn install(handler: usize, flags: c_int) -> libc::sigaction {
    // SAFETY: plain data; the callers' handlers have the signature that their flags ask for.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        let mut before: libc::sigaction = std::mem::zeroed();
        (action.sa_sigaction, action.sa_flags) = (handler, flags);
        assert_eq!(libc::sigaction(libc::SIGSEGV, &action, &mut before), 0);
        before
    }
}

extern "C" fn with_info(_: c_int, info: *mut siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel's; ending the process is allowed in a handler.
    unsafe {
        assert_eq!((*info).si_addr() as usize, 0x1234);
        libc::_exit(HANDLED);
    }
}

extern "C" fn without_info(_: c_int) {
    // SAFETY: ends the process; allowed in a handler.
    unsafe { libc::_exit(HANDLED) };
}

/// The handler that [`passing_on`] took the place of, and how often that was called.
static BEFORE: AtomicUsize = AtomicUsize::new(0);
static PASSED: AtomicU32 = AtomicU32::new(0);

/// Keeps what is at 0x1234, and passes the rest on.
extern "C" fn passing_on(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel's arguments; the handler before has this signature.
    unsafe {
        if (*info).si_addr() as usize == 0x1234 {
            libc::_exit(HANDLED);
        }
        PASSED.fetch_add(1, Ordering::Relaxed);
        let before: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) =
            std::mem::transmute(BEFORE.load(Ordering::Relaxed));
        before(signal, info, context);
    }
}

fn send(signal: c_int) {
    // SAFETY: sends this thread a signal, which is to end the process.
    unsafe { libc::raise(signal) };
}

fn set_alternate_stack(start: *mut u8, len: usize, flags: c_int) {
    let stack = libc::stack_t {
        ss_sp: start.cast(),
        ss_flags: flags,
        ss_size: len,
    };
    // SAFETY: the stack outlives the thread's use of it, or there is none.
    assert_eq!(
        unsafe { libc::sigaltstack(&stack, std::ptr::null_mut()) },
        0
    );
}

/// Guests that fault in threads with an alternate stack of their own, and with none.
fn fault_on_other_stacks() {
    let own = std::thread::spawn(|| {
        let stack = vec![0x5a_u8; 1 << 16].leak();
        set_alternate_stack(stack.as_mut_ptr(), stack.len(), 0);
        guest_fault();
        assert!(
            stack.iter().any(|byte| *byte != 0x5a),
            "the handler ran there"
        );
        set_alternate_stack(std::ptr::null_mut(), 0, libc::SS_DISABLE);
    });
    own.join().unwrap();
    let none = std::thread::spawn(|| {
        set_alternate_stack(std::ptr::null_mut(), 0, libc::SS_DISABLE);
        guest_fault();
    });
    none.join().unwrap();
}

/// A host that forks while it has a live machine and a pooled window.
fn fork() {
    let (mut live, mut other) = (machine(), machine());
    live.set_reg(1, 0x1111);
    call(&mut *live);
    call(&mut *other);
    drop(other);
    // SAFETY: what the child does is meant to work behind a fork.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // The machine is the parent's; its memory can't be wrong, for nothing tells of it.
        let error = live.run().unwrap_err().to_string();
        assert!(error.contains("belongs to the parent process"), "{error}");
        assert!(live.read(DATA, &mut [0]).is_err());
        assert!(live.write(DATA, &[1]).is_err());
        drop(live);
        // New ones work, in windows of the child's own.
        for _ in 0..3 {
            guest_fault();
        }
        // SAFETY: ends the child without what the test's threads would do.
        unsafe { libc::_exit(HANDLED) };
    }
    let mut status = 0;
    // SAFETY: waits for the child, with a place for its status.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert!(libc::WIFEXITED(status), "{status:#x}");
    assert_eq!(libc::WEXITSTATUS(status), HANDLED);
    // Nothing of that has touched the parent's.
    let mut bytes = [0; 8];
    live.read(DATA + 4096, &mut bytes).unwrap();
    assert_eq!(u64::from_le_bytes(bytes), 0x1111);
    assert_eq!(live.written_pages(), [DATA / 4096 + 1]);
    assert_eq!(live.run().unwrap(), Exit::PageFault(NOWHERE));
    guest_fault();
}

/// Does nothing but in a child of the tests below.
#[test]
fn child() {
    match std::env::var(CHILD).as_deref() {
        Ok("load") => {
            guest_fault();
            load_from_nowhere();
        }
        Ok("overflow") => {
            guest_fault();
            overflow(0);
        }
        Ok("sent") => {
            guest_fault();
            send(libc::SIGSEGV);
            // Again, for handlers that pass the first one over.
            send(libc::SIGSEGV);
            unreachable!("two signals ignored");
        }
        Ok("handler before") => {
            install(
                with_info as extern "C" fn(_, _, _) as usize,
                libc::SA_SIGINFO,
            );
            guest_fault();
            load_from_nowhere();
        }
        Ok("plain handler before") => {
            install(without_info as extern "C" fn(_) as usize, 0);
            guest_fault();
            load_from_nowhere();
        }
        Ok("handler behind") => {
            guest_fault();
            let flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
            let before = install(passing_on as extern "C" fn(_, _, _) as usize, flags);
            BEFORE.store(before.sa_sigaction, Ordering::Relaxed);
            guest_fault();
            // The window still has its writes recorded: the load alone faults.
            assert!(PASSED.load(Ordering::Relaxed) >= 1);
            load_from_nowhere();
        }
        Ok("stacks") => fault_on_other_stacks(),
        Ok("fork") => fork(),
        _ => {}
    }
}

/// How the child of this case ended, and what it wrote; `None` without the engine.
fn in_child(case: &str) -> Option<(Output, String)> {
    if crate::Recompiler::detect().is_none() {
        eprintln!("SKIPPED: this processor lacks what the recompiler needs");
        return None;
    }
    let child = "recompiler::signal::tests::child";
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", child, "--nocapture"])
        .env(CHILD, case)
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&output.stderr).into_owned();
    Some((output, report))
}

fn ends_by_signal(case: &str, signal: i32, said: &str) {
    if let Some((output, report)) = in_child(case) {
        assert_eq!(output.status.signal(), Some(signal), "{report}");
        assert!(report.contains(said), "{report}");
    }
}

fn ends_with(case: &str, code: i32) {
    if let Some((output, report)) = in_child(case) {
        assert_eq!(output.status.code(), Some(code), "{report}");
    }
}

#[test]
fn faults_outside_of_guests_end_the_process_with_a_report() {
    let line = "SIGSEGV outside of any guest: address 0x0000000000001234, instruction 0x";
    ends_by_signal("load", libc::SIGSEGV, line);
}

#[test]
fn stack_overflows_are_still_told_as_such() {
    ends_by_signal("overflow", libc::SIGABRT, "has overflowed its stack");
}

#[test]
fn a_signal_that_was_sent_still_ends_the_process() {
    ends_by_signal("sent", libc::SIGSEGV, "");
}

#[test]
fn an_earlier_handler_gets_what_is_no_guests() {
    ends_with("handler before", HANDLED);
    ends_with("plain handler before", HANDLED);
}

#[test]
fn a_later_handler_may_pass_guests_faults_on() {
    ends_with("handler behind", HANDLED);
}

#[test]
fn guests_fault_on_any_stack() {
    ends_with("stacks", 0);
}

#[test]
fn behind_a_fork_old_machines_refuse_and_new_ones_run() {
    ends_with("fork", 0);
}
