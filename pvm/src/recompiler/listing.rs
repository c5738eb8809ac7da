//! Machine code beside what it was made of, for those who read it.

use std::ops::Range;

use super::code::RecompiledCode;
use super::routines::{EXIT_FAULT, EXIT_LONE_TRAP, EXIT_OFF_TABLE, EXIT_OUT_OF_GAS, EXIT_PANIC};

/// The parts of a program's machine code, by offset.
#[derive(Debug)]
pub struct Listing<'a> {
    /// All of it.
    pub bytes: &'a [u8],
    /// The instruction at each pc, its block's charge before it.
    pub steps: Vec<(u32, Range<usize>)>,
    /// Calls of exits, which branches lead to.
    pub stubs: Range<usize>,
    /// The routines that leave the guest.
    pub exits: Vec<(usize, &'static str)>,
    /// The address of the table of dynamic jumps.
    pub table: usize,
}

const EXITS: [(u32, &str); 5] = [
    (EXIT_OUT_OF_GAS, "out_of_gas"),
    (EXIT_PANIC, "panic"),
    (EXIT_OFF_TABLE, "off_table"),
    (EXIT_LONE_TRAP, "lone_trap"),
    (EXIT_FAULT, "fault"),
];

impl RecompiledCode {
    /// What the machine code is made of.
    pub fn listing(&self) -> Listing<'_> {
        let translation = &self.translation;
        let start = |index: usize| match translation.offsets.get(index) {
            Some(offset) => *offset as usize,
            None => translation.stubs_start as usize,
        };
        let step = |index: usize| {
            let pc = translation.positions.select(index as u32);
            (
                pc.expect("each step has a pc"),
                start(index)..start(index + 1),
            )
        };
        let routines = &translation.routines;
        let cold = EXITS.map(|(exit, name)| (routines.cold[exit as usize] as usize, name));
        let stubs = translation.stubs_start as usize;
        let stubs_len = translation.stub_pcs.len() * super::translate::STUB_LEN as usize;
        Listing {
            bytes: translation.executable.bytes(),
            steps: (0..translation.offsets.len()).map(step).collect(),
            stubs: stubs..stubs + stubs_len,
            table: routines.table as usize,
            exits: cold
                .into_iter()
                .chain([(routines.call as usize, "host_call")])
                .collect(),
        }
    }
}
