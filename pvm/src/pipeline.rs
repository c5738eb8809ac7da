//! The pipeline gas model: an out-of-order machine, simulated exactly.
//!
//! Each cycle decodes in order while slots and reorder entries last, starts the
//! oldest entries whose inputs and units are ready, then advances. Cycles in
//! which nothing can happen are skipped, and entries are looked at when their last
//! input comes, so the work is bounded per instruction, not per cycle. Bit i of a mask
//! stands for the entry with sequence number ≡ i (mod 32).

use std::sync::LazyLock;

use jar_isa::{Instruction, Opcode, Operands, REGISTERS, Slots, Units};

const DECODE_SLOTS: u8 = 4;
const STARTS: u32 = 5;
const ENTRIES: usize = 32;
/// Over the greatest latency.
const WHEEL: usize = 128;

/// Units in nibbles (alu, load, store, mul, div), so that they can be taken and
/// returned in one addition. The high bit of each nibble is spare.
const fn pack(units: &Units) -> u32 {
    units.alu as u32
        | (units.load as u32) << 4
        | (units.store as u32) << 8
        | (units.mul as u32) << 12
        | (units.div as u32) << 16
}

const ALL_UNITS: u32 = 0x1_1444;
const SPARE_BITS: u32 = 0x8_8888;

/// What the simulation needs of an opcode, in one place.
#[derive(Clone, Copy)]
struct Row {
    units: u32,
    /// Decode slots where a source is overwritten, as `reuse` tells, and else.
    reused: u8,
    fresh: u8,
    reuse: Reuse,
    /// Cycles; of a branch with a cold side, and else.
    latency: [u8; 2],
    operands: Operands,
    is_move: bool,
}

/// Whether a source is overwritten.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reuse {
    /// The destination is among the sources.
    Any,
    /// It is register A.
    A,
}

static ROWS: LazyLock<[Row; 256]> =
    LazyLock::new(|| std::array::from_fn(|byte| row(Opcode::from_byte(byte as u8))));

/// Of `trap` where there is no opcode.
fn row(opcode: Option<Opcode>) -> Row {
    let opcode = opcode.unwrap_or(Opcode::Trap);
    let cost = opcode.cost();
    let (reuse, reused, fresh) = match cost.slots {
        Slots::Count(count) => (Reuse::Any, count, count),
        Slots::Reuse(reused, fresh) => (Reuse::Any, reused, fresh),
        Slots::ReuseA(reused, fresh) => (Reuse::A, reused, fresh),
    };
    Row {
        units: pack(&cost.units),
        reused,
        fresh,
        reuse,
        latency: [true, false].map(|cold| cost.latency.cycles(cold)),
        operands: opcode.operands(),
        is_move: opcode == Opcode::MoveReg,
    }
}

/// The registers an instruction reads (the first one twice, if it is the only one) and
/// the one it writes.
#[inline(always)]
fn registers(operands: Operands, instruction: &Instruction) -> (Option<[u8; 2]>, Option<u8>) {
    let Instruction { ra, rb, rd, .. } = *instruction;
    match operands {
        Operands::None => (None, None),
        Operands::A => (Some([ra, ra]), None),
        Operands::AB => (Some([ra, rb]), None),
        Operands::ToA => (None, Some(ra)),
        Operands::AToD => (Some([ra, ra]), Some(rd)),
        Operands::BToA => (Some([rb, rb]), Some(ra)),
        Operands::ABToD => (Some([ra, rb]), Some(rd)),
    }
}

pub(crate) struct Pipeline {
    rows: &'static [Row; 256],
    cycle: u32,
    slots: u8,
    /// Sequence numbers: entries `head..tail` are live.
    head: u32,
    tail: u32,
    /// Decoded in this cycle; they can't start before the next.
    decoded: u32,
    /// Not started.
    waiting: u32,
    /// Those that have all their inputs.
    ready: u32,
    /// Without a result yet.
    unfinished: u32,
    /// How many unfinished entries an entry needs, and which entries need it.
    missing: [u8; ENTRIES],
    dependents: [u32; ENTRIES],
    units: [u32; ENTRIES],
    latency: [u8; ENTRIES],
    /// Cycle from which the result can be used; `u32::MAX` before the start.
    results: [u32; ENTRIES],
    /// The greatest of them.
    last_result: u32,
    /// The entry that produces each register's value; below `head` when retired.
    producer: [u32; REGISTERS],
    free: u32,
    /// Entries and units that finish in cycle ≡ index (mod `WHEEL`), and a bit
    /// for each index with any.
    finishing: [u32; WHEEL],
    returning: [u32; WHEEL],
    occupied: [u64; WHEEL / 64],
}

fn slot(sequence: u32) -> usize {
    sequence as usize % ENTRIES
}

impl Pipeline {
    pub(crate) fn new() -> Self {
        Pipeline {
            rows: &ROWS,
            cycle: 0,
            slots: DECODE_SLOTS,
            head: 1,
            tail: 1,
            decoded: 0,
            waiting: 0,
            ready: 0,
            unfinished: 0,
            last_result: 0,
            missing: [0; ENTRIES],
            dependents: [0; ENTRIES],
            units: [0; ENTRIES],
            latency: [0; ENTRIES],
            results: [0; ENTRIES],
            producer: [0; REGISTERS],
            free: ALL_UNITS,
            finishing: [0; WHEEL],
            returning: [0; WHEEL],
            occupied: [0; WHEEL / 64],
        }
    }

    fn live(&self) -> usize {
        (self.tail - self.head) as usize
    }

    /// Decodes the block's next instruction, in the first cycle that can. `cold` is asked
    /// whether a branch has a cold side.
    #[inline]
    pub(crate) fn decode(&mut self, instruction: &Instruction, cold: impl FnOnce() -> bool) {
        let row = self.rows[instruction.opcode as usize];
        let (sources, destination) = registers(row.operands, instruction);
        let reuses = match row.reuse {
            Reuse::A => instruction.ra == instruction.rd,
            Reuse::Any => sources.is_some_and(|s| s.map(Some).contains(&destination)),
        };
        let slots = if reuses { row.reused } else { row.fresh };
        if self.slots < slots {
            self.next_cycle();
        }
        if self.live() == ENTRIES {
            self.wait_for_entry();
        }
        self.slots -= slots;
        if row.is_move {
            let source = self.producer[usize::from(instruction.ra)];
            self.producer[usize::from(instruction.rd)] = source;
            return;
        }
        let entry = slot(self.tail);
        let bit = 1 << entry;
        let missing = match sources {
            Some([a, b]) => self.wait_for(a, b, bit),
            None => 0,
        };
        self.missing[entry] = missing;
        self.ready |= u32::from(missing == 0) << entry;
        self.dependents[entry] = 0;
        self.units[entry] = row.units;
        let branches = row.latency[0] != row.latency[1];
        self.latency[entry] = row.latency[usize::from(!(branches && cold()))];
        self.results[entry] = u32::MAX;
        self.decoded |= bit;
        self.waiting |= bit;
        self.unfinished |= bit;
        if let Some(register) = destination {
            self.producer[usize::from(register)] = self.tail;
        }
        self.tail += 1;
    }

    /// Makes an entry (as a bit) wait for two registers, which may be the same; answers for
    /// how many results.
    #[inline(always)]
    fn wait_for(&mut self, a: u8, b: u8, entry: u32) -> u8 {
        let [a, b] = [a, b].map(|register| self.producer[usize::from(register)]);
        let waits =
            |producer: u32| producer >= self.head && self.unfinished >> slot(producer) & 1 == 1;
        let (waits_a, waits_b) = (waits(a), a != b && waits(b));
        self.dependents[slot(a)] |= entry & u32::from(waits_a).wrapping_neg();
        self.dependents[slot(b)] |= entry & u32::from(waits_b).wrapping_neg();
        u8::from(waits_a) + u8::from(waits_b)
    }

    /// Starts what can start in this cycle, oldest first; whether anything did.
    #[inline(always)]
    fn start(&mut self) -> bool {
        let oldest = self.head % ENTRIES as u32;
        let mut candidates = (self.ready & !self.decoded).rotate_right(oldest);
        let mut starts = STARTS;
        while candidates != 0 && starts > 0 {
            let entry = slot(candidates.trailing_zeros() + oldest);
            candidates &= candidates - 1;
            let units = self.units[entry];
            let left = (self.free | SPARE_BITS) - units;
            if left & SPARE_BITS != SPARE_BITS {
                continue;
            }
            self.free -= units;
            self.ready &= !(1 << entry);
            self.waiting &= !(1 << entry);
            let result = self.cycle + u32::from(self.latency[entry]);
            self.results[entry] = result;
            self.last_result = self.last_result.max(result);
            let index = result as usize % WHEEL;
            self.finishing[index] |= 1 << entry;
            self.returning[index] += units;
            self.occupied[index / 64] |= 1 << (index % 64);
            starts -= 1;
        }
        starts < STARTS
    }

    /// The first cycle from `next` on in which an entry finishes.
    fn next_finish(&self, next: u32) -> u32 {
        let index = next as usize % WHEEL;
        let (word, bit) = (index / 64, index as u32 % 64);
        let ahead = self.occupied[word] >> bit;
        let other = self.occupied[word ^ 1];
        if ahead != 0 {
            next + ahead.trailing_zeros()
        } else if other != 0 {
            next + (64 - bit) + other.trailing_zeros()
        } else {
            // What is left lies behind `index`: a turn of the wheel ahead.
            match self.occupied[word] {
                0 => u32::MAX,
                behind => next + (WHEEL as u32 - bit) + behind.trailing_zeros(),
            }
        }
    }

    /// The cycle in which the oldest entry leaves: one after its result it is finished, and
    /// leaves at that cycle's end.
    fn leaves(&self) -> u32 {
        self.results[slot(self.head)].saturating_add(2)
    }

    /// Takes out what has left. Before the entries are full, it makes no difference.
    fn retire(&mut self) {
        while self.head != self.tail && self.leaves() <= self.cycle {
            self.head += 1;
        }
    }

    /// Goes on until an entry is free.
    #[cold]
    fn wait_for_entry(&mut self) {
        self.retire();
        while self.live() == ENTRIES {
            self.next_event(self.leaves());
            self.retire();
        }
    }

    /// Ends this cycle.
    #[inline]
    fn next_cycle(&mut self) {
        self.start();
        self.enter(self.cycle + 1);
    }

    /// Ends this cycle and goes on to the next in which something can happen other than
    /// decoding, at most to `limit`.
    fn next_event(&mut self, limit: u32) {
        let active = self.start() || self.decoded != 0;
        let next = self.cycle + 1;
        match active {
            true => self.enter(next),
            false => self.enter(self.next_finish(next).min(limit).max(next)),
        }
    }

    #[inline(always)]
    fn enter(&mut self, cycle: u32) {
        self.decoded = 0;
        self.slots = DECODE_SLOTS;
        self.cycle = cycle;
        let index = self.cycle as usize % WHEEL;
        if self.occupied[index / 64] >> (index % 64) & 1 == 1 {
            let finished = std::mem::take(&mut self.finishing[index]);
            self.free += std::mem::take(&mut self.returning[index]);
            self.occupied[index / 64] &= !(1 << (index % 64));
            self.unfinished &= !finished;
            self.finish(finished);
        }
    }

    /// Gives the results of `entries` to those that wait for them.
    #[inline(always)]
    fn finish(&mut self, mut entries: u32) {
        while entries != 0 {
            let mut dependents = self.dependents[entries.trailing_zeros() as usize];
            entries &= entries - 1;
            while dependents != 0 {
                let entry = dependents.trailing_zeros();
                dependents &= dependents - 1;
                self.missing[entry as usize] -= 1;
                self.ready |= u32::from(self.missing[entry as usize] == 0) << entry;
            }
        }
    }

    /// Runs until everything decoded has left; the cycles since the block began.
    pub(crate) fn drain(&mut self) -> u32 {
        // Once all have started, it is known when the last one leaves.
        while self.waiting != 0 {
            self.next_event(u32::MAX);
        }
        let cycles = match self.head == self.tail {
            true => self.cycle,
            false => self.cycle.max(self.last_result + 2),
        };
        for (word, occupied) in self.occupied.iter_mut().enumerate() {
            while *occupied != 0 {
                let index = word * 64 + occupied.trailing_zeros() as usize;
                *occupied &= *occupied - 1;
                (self.finishing[index], self.returning[index]) = (0, 0);
            }
        }
        // Sequence numbers and cycles start over, so that they never wrap.
        self.cycle = 0;
        self.slots = DECODE_SLOTS;
        self.head = 1;
        self.tail = 1;
        self.unfinished = 0;
        self.last_result = 0;
        self.producer = [0; REGISTERS];
        self.free = ALL_UNITS;
        cycles
    }
}
