//! The pipeline gas model: an out-of-order machine, simulated exactly.
//!
//! Each cycle decodes in order while slots and reorder entries last, starts the
//! oldest entries whose inputs and units are ready, then advances. Cycles in
//! which nothing can happen are skipped, so the work is bounded per instruction,
//! not per cycle. Bit i of a mask stands for the entry with sequence number ≡ i
//! (mod 32).

use jar_isa::{Instruction, Opcode, REGISTERS, Slots, Units};

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

pub(crate) struct Pipeline {
    cycle: u32,
    slots: u8,
    /// Sequence numbers: entries `head..tail` are live.
    head: u32,
    tail: u32,
    /// Decoded in this cycle; they can't start before the next.
    decoded: u32,
    waiting: u32,
    /// Without a result yet.
    unfinished: u32,
    /// Unfinished entries an entry needs.
    needs: [u32; ENTRIES],
    units: [u32; ENTRIES],
    latency: [u8; ENTRIES],
    /// Cycle from which the result can be used; `u32::MAX` before the start.
    ready: [u32; ENTRIES],
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

fn decode_slots(instruction: &Instruction) -> u8 {
    match instruction.opcode.cost().slots {
        Slots::Count(count) => count,
        Slots::Reuse(reused, fresh) => match instruction.destination() {
            Some(register) if instruction.sources() >> register & 1 == 1 => reused,
            _ => fresh,
        },
        Slots::ReuseA(reused, _) if instruction.ra == instruction.rd => reused,
        Slots::ReuseA(_, fresh) => fresh,
    }
}

impl Pipeline {
    pub(crate) fn new() -> Self {
        Pipeline {
            cycle: 0,
            slots: DECODE_SLOTS,
            head: 1,
            tail: 1,
            decoded: 0,
            waiting: 0,
            unfinished: 0,
            needs: [0; ENTRIES],
            units: [0; ENTRIES],
            latency: [0; ENTRIES],
            ready: [0; ENTRIES],
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

    /// Decodes the block's next instruction, in the first cycle that can.
    pub(crate) fn decode(&mut self, instruction: &Instruction, latency: u8) {
        let slots = decode_slots(instruction);
        while self.slots < slots || self.live() == ENTRIES {
            self.advance();
        }
        self.slots -= slots;
        if instruction.opcode == Opcode::MoveReg {
            let source = self.producer[usize::from(instruction.ra)];
            self.producer[usize::from(instruction.rd)] = source;
            return;
        }
        let entry = slot(self.tail);
        self.needs[entry] = self.unfinished & self.producers(instruction.sources());
        self.units[entry] = pack(&instruction.opcode.cost().units);
        self.latency[entry] = latency;
        self.ready[entry] = u32::MAX;
        self.decoded |= 1 << entry;
        self.unfinished |= 1 << entry;
        if let Some(register) = instruction.destination() {
            self.producer[usize::from(register)] = self.tail;
        }
        self.tail += 1;
    }

    /// The live entries that produce `registers`.
    fn producers(&self, mut registers: u16) -> u32 {
        let mut entries = 0;
        while registers != 0 {
            let producer = self.producer[registers.trailing_zeros() as usize];
            if producer >= self.head {
                entries |= 1 << slot(producer);
            }
            registers &= registers - 1;
        }
        entries
    }

    /// Starts what can start in this cycle, oldest first; whether anything did.
    fn start(&mut self) -> bool {
        let oldest = self.head % ENTRIES as u32;
        let mut candidates = self.waiting.rotate_right(oldest);
        let mut starts = STARTS;
        while candidates != 0 && starts > 0 {
            let entry = slot(candidates.trailing_zeros() + oldest);
            candidates &= candidates - 1;
            let units = self.units[entry];
            let left = (self.free | SPARE_BITS) - units;
            if self.needs[entry] != 0 || left & SPARE_BITS != SPARE_BITS {
                continue;
            }
            self.free -= units;
            self.waiting &= !(1 << entry);
            let ready = self.cycle + u32::from(self.latency[entry]);
            self.ready[entry] = ready;
            let index = ready as usize % WHEEL;
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

    /// The first later cycle in which an entry finishes or the oldest has left.
    fn next_event(&self) -> u32 {
        let next = self.cycle + 1;
        let finish = self.next_finish(next);
        let retired = match self.live() {
            0 => next,
            _ => self.ready[slot(self.head)].saturating_add(2),
        };
        finish.min(retired).max(next)
    }

    /// Ends this cycle and goes on to the next that matters.
    fn advance(&mut self) {
        let active = self.start() || self.slots < DECODE_SLOTS;
        self.waiting |= self.decoded;
        self.decoded = 0;
        self.slots = DECODE_SLOTS;
        self.cycle = if active {
            self.cycle + 1
        } else {
            self.next_event()
        };
        // An entry is finished one cycle after its result, and leaves at that cycle's end.
        while self.head != self.tail && self.ready[slot(self.head)].saturating_add(2) <= self.cycle
        {
            self.head += 1;
        }
        let index = self.cycle as usize % WHEEL;
        if self.occupied[index / 64] >> (index % 64) & 1 == 1 {
            let finished = std::mem::take(&mut self.finishing[index]);
            self.free += std::mem::take(&mut self.returning[index]);
            self.occupied[index / 64] &= !(1 << (index % 64));
            self.unfinished &= !finished;
            for needs in &mut self.needs {
                *needs &= !finished;
            }
        }
    }

    /// Runs until everything decoded has left; the cycles since the block began.
    pub(crate) fn drain(&mut self) -> u32 {
        while self.live() > 0 {
            self.advance();
        }
        let cycles = self.cycle;
        // Sequence numbers and cycles start over, so that they never wrap.
        self.cycle = 0;
        self.slots = DECODE_SLOTS;
        self.head = 1;
        self.tail = 1;
        self.producer = [0; REGISTERS];
        cycles
    }
}
