//! Machine code beside what it was made of, for those who read it.

use std::ops::Range;

use jar_isa::Opcode;

use super::code::RecompiledCode;
use super::routines::{EXIT_FAULT, EXIT_LONE_TRAP, EXIT_OFF_TABLE, EXIT_OUT_OF_GAS, EXIT_PANIC};

/// The parts of a program's machine code, by offset.
#[derive(Debug)]
pub struct Listing<'a> {
    /// All of it.
    pub bytes: &'a [u8],
    /// What was made of each instruction.
    pub steps: Vec<Made>,
    /// Calls of exits, which branches lead to.
    pub stubs: Range<usize>,
    /// The routines that leave the guest.
    pub exits: Vec<(usize, &'static str)>,
    /// The table of dynamic jumps.
    pub table: usize,
    /// Where the table's address stands.
    pub table_address: usize,
}

/// What was made of an instruction.
#[derive(Debug)]
pub struct Made {
    /// Where the instruction is.
    pub pc: u32,
    /// Its block's charge, if it starts one, and its machine code.
    pub code: Range<usize>,
    /// Bytes behind it that aren't run.
    pub data: Range<usize>,
}

const EXITS: [(u64, &str); 5] = [
    (EXIT_OUT_OF_GAS, "out_of_gas"),
    (EXIT_PANIC, "panic"),
    (EXIT_OFF_TABLE, "off_table"),
    (EXIT_LONE_TRAP, "lone_trap"),
    (EXIT_FAULT, "fault"),
];

impl RecompiledCode {
    /// What the machine code is made of.
    pub fn listing(&self) -> Listing<'_> {
        let translation = &self.unit.translation;
        let start = |index: usize| match translation.offsets.get(index) {
            Some(offset) => *offset as usize,
            None => translation.stubs_start as usize,
        };
        let step = |index: usize| {
            let pc = translation.positions.select(index as u32);
            let pc = pc.expect("each step has a pc");
            let end = start(index + 1);
            // The number of a host call stands behind its jump.
            let data = match self.program.opcode_at(i64::from(pc)) {
                Opcode::Ecalli => end - 4..end,
                _ => end..end,
            };
            let code = start(index)..data.start;
            Made { pc, code, data }
        };
        let routines = &translation.routines;
        let cold = EXITS.map(|(exit, name)| (routines.cold[exit as usize] as usize, name));
        let others = [
            (routines.call as usize, "host_call"),
            (routines.call_by_register as usize, "host_call_by_register"),
            (routines.wide_jump as usize, "wide_jump"),
        ];
        let stubs = translation.stubs_start as usize;
        let stubs_len = translation.stub_pcs.len() * super::translate::STUB_LEN as usize;
        Listing {
            bytes: translation.executable.bytes(),
            steps: (0..translation.offsets.len()).map(step).collect(),
            stubs: stubs..stubs + stubs_len,
            table: routines.table as usize,
            table_address: routines.table_address as usize,
            exits: cold.into_iter().chain(others).collect(),
        }
    }
}
