//! The engine for x86-64 Linux: to machine code in one pass.
//!
//! Guest registers and gas live in host registers; memory is a window of address space
//! behind the GS segment, so that a load or store is one instruction without
//! checks. See `docs/recompiler.md`.

mod assembler;
mod buffer;
mod code;
mod codes;
#[cfg(feature = "inspect")]
mod listing;
mod machine;
mod pool;
mod prepay;
mod process;
mod routines;
mod select;
mod signal;
mod sys;
mod tracker;
mod translate;
mod window;

use std::sync::Arc;

use crate::engine::{Code, Engine};
use crate::gas::GasModel;
use crate::interpreter::Interpreter;
use crate::program::Program;

#[cfg(feature = "inspect")]
pub use assembler::cases::case as assembler_case;
pub use code::RecompiledCode;
use code::Unit;
#[cfg(feature = "inspect")]
pub use listing::{Listing, Made};

/// The engine that translates to x86-64.
#[derive(Debug, Clone, Copy)]
pub struct Recompiler {
    /// `wrgsbase` may be used.
    gs_instructions: bool,
    /// The kernel tells which pages were written, where that is quicker than faults.
    tracked: bool,
}

impl Recompiler {
    /// The engine, where the processor and the system have what it needs: BMI1,
    /// BMI2, LZCNT and POPCNT (x86-64-v3), and a place for its signal handler.
    pub fn detect() -> Option<Recompiler> {
        let processor = std::is_x86_feature_detected!("bmi1")
            && std::is_x86_feature_detected!("bmi2")
            && std::is_x86_feature_detected!("lzcnt")
            && std::is_x86_feature_detected!("popcnt");
        (processor && process::is_known() && signal::install()).then(|| Recompiler {
            gs_instructions: sys::user_gs_base(),
            tracked: process::current().tracker().is_some(),
        })
    }

    /// Whether the kernel tells this engine which pages were written.
    pub fn is_tracking(&self) -> bool {
        self.tracked
    }

    /// The engine as it is where the kernel doesn't tell of writes: each first write to a page
    /// is a fault. Results are the same.
    pub fn without_tracking(self) -> Recompiler {
        Recompiler {
            tracked: false,
            ..self
        }
    }

    /// As [`Engine::prepare`], with the type kept; `None` when the system gives no
    /// memory for code.
    pub fn compile(&self, program: Arc<Program>, model: GasModel) -> Option<Arc<RecompiledCode>> {
        let unit = self.unit(&program, model, true)?;
        Some(Arc::new(RecompiledCode::new(*self, program, model, unit)))
    }

    /// `prepaying`: blocks may be paid for in those before them.
    fn unit(&self, program: &Arc<Program>, model: GasModel, prepaying: bool) -> Option<Unit> {
        translate::translate(program, model, self.gs_instructions, prepaying).map(Unit::new)
    }
}

impl Engine for Recompiler {
    fn name(&self) -> &'static str {
        "recompiler"
    }

    /// Interpreted code when the system gives no memory for machine code.
    fn prepare(&self, program: Arc<Program>, model: GasModel) -> Arc<dyn Code> {
        match self.compile(program.clone(), model) {
            Some(code) => code,
            None => Interpreter.prepare(program, model),
        }
    }
}

#[cfg(test)]
mod tests {
    use jar_isa::{Instruction, Opcode};

    use super::*;
    use crate::{Access, Backing, Exit, MemoryMap, PAGE_SIZE, PageError, PageSource, Region};

    /// φ2 := φ2 + [0x10000]; [0x10000] := φ1.
    fn program() -> Arc<Program> {
        let access = |opcode, ra| Instruction {
            ra,
            x: 0x10000,
            ..Instruction::from(opcode)
        };
        let add = Instruction {
            ra: 2,
            rb: 3,
            rd: 2,
            ..Opcode::Add64.into()
        };
        let (mut code, mut bitmask) = (vec![], vec![0; 8]);
        for instruction in [access(Opcode::LoadU64, 3), add, access(Opcode::StoreU64, 1)] {
            bitmask[code.len() / 8] |= 1 << (code.len() % 8);
            instruction.encode(&mut code).unwrap();
        }
        bitmask.truncate(code.len().div_ceil(8));
        Arc::new(Program::new(code, bitmask, vec![]).unwrap())
    }

    /// Machines that take turns in one thread each see their own window, however GS is set.
    #[test]
    fn windows_change_with_machines() {
        let Some(detected) = Recompiler::detect() else {
            eprintln!("SKIPPED: this processor lacks what the recompiler needs");
            return;
        };
        for gs_instructions in [detected.gs_instructions, false] {
            // A thread of its own: what GS is set to is remembered by thread.
            let run = move || {
                let engine = Recompiler {
                    gs_instructions,
                    ..detected
                };
                let region = Region {
                    start: 0x10000,
                    pages: 1,
                    access: Access::ReadWrite,
                    backing: Backing::Zero,
                    eager: false,
                };
                let map = MemoryMap::new(vec![region]).unwrap();
                let code = engine.prepare(program(), GasModel::Unit);
                let mut machines: Vec<_> =
                    (0..5).map(|_| code.clone().machine(map.clone())).collect();
                for round in 0..10u64 {
                    for (index, machine) in machines.iter_mut().enumerate() {
                        machine.set_pc(0, false);
                        machine.set_gas(10);
                        machine.set_reg(1, round * 100 + index as u64);
                        machine.set_reg(2, 0);
                        assert_eq!(machine.run().unwrap(), Exit::Panic);
                        let before = round.checked_sub(1).map(|r| r * 100 + index as u64);
                        assert_eq!(machine.regs()[2], before.unwrap_or(0));
                    }
                }
            };
            std::thread::spawn(run).join().unwrap();
        }
    }

    /// A page of `index + 1` in each byte, at this price.
    struct Numbers(u64);

    impl PageSource for Numbers {
        fn page(&self, index: u32) -> Result<Option<Arc<[u8]>>, PageError> {
            Ok(Some(vec![index as u8 + 1; 4096].into()))
        }

        fn page_price(&self) -> u64 {
            self.0
        }
    }

    /// Three pages of [`Numbers`].
    fn numbers(price: u64) -> MemoryMap {
        let region = Region {
            start: 0x10000,
            pages: 3,
            access: Access::ReadWrite,
            backing: Backing::Source(Arc::new(Numbers(price))),
            eager: false,
        };
        MemoryMap::new(vec![region]).unwrap()
    }

    /// A page between two written ones, read when the system's areas have run out, isn't
    /// written by that.
    #[test]
    fn reading_writes_nothing_where_areas_run_out() {
        let Some(engine) = Recompiler::detect() else {
            eprintln!("SKIPPED: this processor lacks what the recompiler needs");
            return;
        };
        let code = engine.prepare(program(), GasModel::Unit);
        let mut machine = code.machine(numbers(0));
        machine.write(0x10000, &[7]).unwrap();
        machine.write(0x12000, &[8]).unwrap();
        let mut byte = [0];
        pool::without_areas(|| machine.read(0x11000, &mut byte)).unwrap();
        assert_eq!(byte, [2]);
        assert_eq!(machine.written_pages(), [0x10, 0x12]);
        for (page, first) in [(0x10, 7), (0x11, 2), (0x12, 8)] {
            let bytes = machine.page_bytes(page).unwrap();
            assert_eq!((bytes[0], bytes[1]), (first, page as u8 - 15));
        }
    }

    /// A page that was paid for when the system's areas ran out isn't paid for again by the
    /// engine that goes on, one that wasn't is.
    #[test]
    fn a_page_is_paid_once_where_areas_run_out() {
        let Some(engine) = Recompiler::detect() else {
            eprintln!("SKIPPED: this processor lacks what the recompiler needs");
            return;
        };
        for touched in [None, Some(0x10000), Some(0x11000)] {
            let run = |without_areas: bool| {
                let code = engine.prepare(program(), GasModel::Unit);
                let mut machine = code.machine(numbers(50));
                if let Some(address) = touched {
                    machine.write(address, &[7]).unwrap();
                }
                machine.set_gas(100);
                let exit = match without_areas {
                    true => pool::without_areas(|| machine.run()),
                    false => machine.run(),
                };
                let price = machine.page_price(0x10000, 3 * PAGE_SIZE, Access::ReadWrite);
                (exit.unwrap(), machine.gas(), price, machine.written_pages())
            };
            let with = run(false);
            assert_eq!(run(true), with, "{touched:x?}");
            let paid = if touched == Some(0x10000) { 0 } else { 50 };
            assert_eq!((with.0, with.1), (Exit::Panic, 100 - 4 - paid));
        }
    }

    #[cfg(feature = "unmetered")]
    #[test]
    fn unmetered_code_runs_without_gas() {
        let Some(engine) = Recompiler::detect() else {
            eprintln!("SKIPPED: this processor lacks what the recompiler needs");
            return;
        };
        let region = Region {
            start: 0x10000,
            pages: 1,
            access: Access::ReadWrite,
            backing: Backing::Zero,
            eager: true,
        };
        let map = MemoryMap::new(vec![region]).unwrap();
        let mut machine = engine.prepare(program(), GasModel::Unmetered).machine(map);
        machine.set_reg(1, 7);
        for expected in [0, 7] {
            machine.set_pc(0, false);
            assert_eq!(machine.run().unwrap(), Exit::Panic);
            assert_eq!((machine.regs()[2], machine.gas()), (expected, 0));
        }
    }

    /// The bound that buffers are sized by, for every opcode and the longest operands.
    #[test]
    fn machine_code_is_a_fixed_multiple() {
        let Some(engine) = Recompiler::detect() else {
            eprintln!("SKIPPED: this processor lacks what the recompiler needs");
            return;
        };
        const COUNT: usize = 50;
        let registers = [0, 1, 2, 9, 12];
        for &opcode in Opcode::ALL {
            for (ra, rb) in registers.iter().flat_map(|a| registers.map(|b| (*a, b))) {
                for (rd, x) in [(0, 0x7654_3210), (9, -0x7654_3210i64), (ra, 1), (rb, -4096)] {
                    let x = x as u64;
                    let instruction = Instruction {
                        opcode,
                        ra,
                        rb,
                        rd,
                        x,
                        y: x,
                    };
                    let (mut code, mut bitmask) = (vec![], vec![0; 100]);
                    for _ in 0..COUNT {
                        bitmask[code.len() / 8] |= 1 << (code.len() % 8);
                        instruction.encode(&mut code).unwrap();
                    }
                    bitmask.truncate(code.len().div_ceil(8));
                    // An unsound table makes the longest jumps.
                    let program = Program::new(code, bitmask, vec![1]).unwrap();
                    let code = engine.compile(Arc::new(program), GasModel::Unit).unwrap();
                    let len = code.machine_code_len();
                    let limit =
                        500 + COUNT * (translate::PADDING_MAX + translate::STEP_LEN_MAX + 10);
                    assert!(len <= limit, "{opcode}: {len}");
                }
            }
        }
    }
}
