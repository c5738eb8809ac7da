//! The pipeline gas model: an out-of-order machine, simulated exactly.
//!
//! Each cycle decodes in order while slots and reorder entries last, starts the
//! oldest entries whose inputs and units are ready, then advances. Cycles in
//! which nothing can happen are skipped, and sets of entries are words: bit i stands for the
//! entry with sequence number ≡ i (mod 32). So the work is bounded per instruction, not per
//! cycle, and nearly free of branches that a processor can't foresee.

use std::sync::LazyLock;

use jar_isa::{Instruction, Latency, Opcode, Operands, Slots, Units};

const DECODE_SLOTS: u32 = 4;
const STARTS: u32 = 5;
const ENTRIES: u32 = 32;
/// Over the greatest latency.
const WHEEL: usize = 128;

/// Units in nibbles (alu, mul, div), so that they are taken and returned in one addition; the
/// high bit of each nibble is spare. Loads and stores take an ALU each, of which there are
/// no more than of their own units, so those never run out first.
const fn pack(units: &Units) -> u16 {
    assert!(units.load <= units.alu && units.store <= units.alu);
    units.alu as u16 | (units.mul as u16) << 4 | (units.div as u16) << 8
}

const ALL_UNITS: u32 = 0x114;
const ALUS: u32 = 0x007;
const MULTIPLIER: u32 = 0x010;
const DIVIDER: u32 = 0x100;

/// Registers that no instruction has: one that nothing produces, and one that nothing reads.
const NO_SOURCE: u8 = 13;
const NO_DESTINATION: u8 = 14;

/// What the simulation needs of an opcode, in one place.
#[derive(Clone, Copy)]
struct Row {
    /// Where the registers read and the one written stand in a word of A, B, D and none.
    shifts: [u8; 3],
    /// Decode slots where a source is overwritten, and else.
    reused: u8,
    fresh: u8,
    /// Both sources count for that, not just the first.
    any: bool,
    is_branch: bool,
    /// What doesn't depend on operands; the latency of branches with no cold side.
    fixed: Fixed,
}

const COLD_LATENCY: u8 = Latency::Branch.cycles(true);

static ROWS: LazyLock<[Row; 256]> =
    LazyLock::new(|| std::array::from_fn(|byte| row(Opcode::from_byte(byte as u8))));

/// Of `trap` where there is no opcode.
fn row(opcode: Option<Opcode>) -> Row {
    let [a, b, d, no, nowhere] = [0, 8, 16, 24, 32];
    let opcode = opcode.unwrap_or(Opcode::Trap);
    let cost = opcode.cost();
    let (any, reused, fresh) = match cost.slots {
        Slots::Count(count) => (true, count, count),
        Slots::Reuse(reused, fresh) => (true, reused, fresh),
        Slots::ReuseA(reused, fresh) => (false, reused, fresh),
    };
    let set = |condition| if condition { -1 } else { 0 };
    Row {
        shifts: match opcode.operands() {
            Operands::None => [no, no, nowhere],
            Operands::A => [a, no, nowhere],
            Operands::AB => [a, b, nowhere],
            Operands::ToA => [no, no, a],
            Operands::AToD => [a, no, d],
            Operands::BToA => [b, no, a],
            Operands::ABToD => [a, b, d],
        },
        reused,
        fresh,
        any,
        is_branch: cost.latency == Latency::Branch,
        fixed: Fixed {
            latency: cost.latency.cycles(false),
            is_move: opcode == Opcode::MoveReg,
            is_rare: cost.units.alu > 1 || cost.units.div > 0,
            alu: set(cost.units.alu > 0),
            mul: set(cost.units.mul > 0),
            units: pack(&cost.units),
        },
    }
}

#[derive(Clone, Copy, Default)]
struct Fixed {
    latency: u8,
    is_move: bool,
    /// It takes the divider or two ALUs.
    is_rare: bool,
    /// All bits if it takes an ALU, and the multiplier.
    alu: i8,
    mul: i8,
    units: u16,
}

/// An instruction as the machine sees it.
#[derive(Clone, Copy, Default)]
struct Operation {
    /// The registers it reads and the one it writes, or none.
    sources: [u8; 2],
    destination: u8,
    slots: u8,
    fixed: Fixed,
}

impl Row {
    #[inline(always)]
    fn operation(&self, instruction: &Instruction, cold: impl FnOnce() -> bool) -> Operation {
        let Instruction { ra, rb, rd, .. } = *instruction;
        let registers = [ra, rb, rd, NO_SOURCE, NO_DESTINATION, 0, 0, 0];
        let registers = u64::from_le_bytes(registers);
        let [a, b, d] = self.shifts.map(|shift| (registers >> (shift & 63)) as u8);
        let reuses = (a == d) | (self.any & (b == d));
        let mut operation = Operation {
            sources: [a, b],
            destination: d,
            slots: if reuses { self.reused } else { self.fresh },
            fixed: self.fixed,
        };
        if self.is_branch && cold() {
            operation.fixed.latency = COLD_LATENCY;
        }
        operation
    }
}

/// How many operations are collected before the machine sees them.
const QUEUE: usize = 64;

/// The machine at the block at hand, and what it hasn't decoded of it.
pub(crate) struct Pipeline {
    rows: &'static [Row; 256],
    queue: [Operation; QUEUE],
    queued: usize,
    state: State,
    tables: Tables,
}

impl Pipeline {
    pub(crate) fn new() -> Self {
        Pipeline {
            rows: &ROWS,
            queue: [Operation::default(); QUEUE],
            queued: 0,
            state: State::at(0),
            tables: Tables::new(),
        }
    }

    /// Takes the block's next instruction. `cold` is asked whether a branch has a cold side.
    #[inline(always)]
    pub(crate) fn decode(&mut self, instruction: &Instruction, cold: impl FnOnce() -> bool) {
        let row = &self.rows[usize::from(instruction.opcode as u8)];
        self.queue[self.queued % QUEUE] = row.operation(instruction, cold);
        self.queued += 1;
        if self.queued == QUEUE {
            self.flush();
        }
    }

    #[inline(never)]
    fn flush(&mut self) {
        let mut state = self.state;
        self.tables.forget_producers(state.tail);
        for operation in &self.queue[..self.queued.min(QUEUE)] {
            state.decode(&mut self.tables, operation);
        }
        self.state = state;
        self.queued = 0;
    }

    /// Runs until everything has left; the cycles since the block began. Its last instruction
    /// is no `move_reg`.
    #[inline(never)]
    pub(crate) fn drain(&mut self) -> u32 {
        self.flush();
        let mut state = self.state;
        // Once all have started, it is known when the last one leaves.
        let mut able = state.able();
        loop {
            state.start(&mut self.tables, able);
            if state.waiting | state.decoded == 0 {
                break;
            }
            able = state.go_on(&mut self.tables, u32::MAX);
        }
        let cycle = state.end(&mut self.tables);
        let cycles = cycle - state.began;
        // Cycles go on through all blocks: what has left stays so.
        self.state = State {
            tail: state.tail,
            ..State::at(cycle)
        };
        if cycle >= 1 << 31 {
            (self.state, self.tables) = (State::at(0), Tables::new());
        }
        cycles
    }
}

const ENTRIES_LEN: usize = ENTRIES as usize;
/// Sequence numbers that are told apart: of the entries in the queue and those before.
const NUMBERS: u32 = 128;
/// In place of one: no entry.
const NO_PRODUCER: u8 = NUMBERS as u8;

/// Arrays indexed by a byte are long enough for every byte.
struct Tables {
    /// The events of cycles ≡ index (mod `WHEEL`); behind them, for each entry not started, who
    /// waits for it: how many results that entries get, as the bits of a number. None waits for more
    /// than two.
    one: [u32; 256],
    two: [u32; 256],
    /// Units that come back.
    units: [u32; WHEEL],
    /// The index above where those who wait for an entry stand; by sequence number.
    waiters: [u8; 256],
    /// The first cycle in which an entry's place is free, two behind the first that can use its
    /// result, or `u32::MAX` before it starts; by sequence number.
    leaves: [u32; 256],
    /// Latency and units, by entry.
    needs: [(u8, u16); ENTRIES_LEN],
    /// The sequence number of the entry that produces each register's value.
    producer: [u8; 16],
}

impl Tables {
    fn new() -> Self {
        Tables {
            one: [0; 256],
            two: [0; 256],
            units: [0; WHEEL],
            waiters: [0; 256],
            leaves: [0; 256],
            needs: [(0, 0); ENTRIES_LEN],
            producer: [NO_PRODUCER; 16],
        }
    }

    /// Who gets a result in event `index`: one more for each of `entries`.
    #[inline(always)]
    fn add(&mut self, index: u8, entries: u32) {
        let index = usize::from(index);
        self.two[index] ^= self.one[index] & entries;
        self.one[index] ^= entries;
    }

    /// Forgets producers whose numbers the queue's entries will have.
    #[inline(always)]
    fn forget_producers(&mut self, tail: u32) {
        for producer in &mut self.producer {
            let age = (tail as u8).wrapping_sub(*producer) % NUMBERS as u8;
            if age > ENTRIES as u8 {
                *producer = NO_PRODUCER;
            }
        }
    }
}

/// Sets of entries, and counters.
#[derive(Clone, Copy)]
struct State {
    /// Of the block's first instruction.
    began: u32,
    cycle: u32,
    /// Decode slots left in this cycle.
    slots: u32,
    /// The next entry's sequence number.
    tail: u32,
    /// Decoded in this cycle; they can't start before the next.
    decoded: u32,
    /// Not started, but for those.
    waiting: u32,
    /// How many results each entry lacks, as the bits of a number.
    one: u32,
    two: u32,
    /// Those that need an ALU, the multiplier, the divider, two ALUs.
    alus: u32,
    muls: u32,
    divs: u32,
    pairs: u32,
    free: u32,
    /// Bit i: something finishes in i cycles; and in 64 + i.
    near: u64,
    far: u64,
}

/// All bits if `condition` holds.
#[inline(always)]
fn all_if(condition: bool) -> u32 {
    u32::from(condition).wrapping_neg()
}

impl State {
    fn at(cycle: u32) -> State {
        State {
            began: cycle,
            cycle,
            slots: DECODE_SLOTS,
            tail: 0,
            decoded: 0,
            waiting: 0,
            one: 0,
            two: 0,
            alus: 0,
            muls: 0,
            divs: 0,
            pairs: 0,
            free: ALL_UNITS,
            near: 0,
            far: 0,
        }
    }

    /// Decodes the block's next operation, in the first cycle that can.
    #[inline(always)]
    fn decode(&mut self, tables: &mut Tables, operation: &Operation) {
        let slots = u32::from(operation.slots);
        let number = (self.tail % NUMBERS) as u8;
        let place_before = (self.tail.wrapping_sub(ENTRIES) % NUMBERS) as u8;
        let leaves = tables.leaves[usize::from(place_before)];
        if (self.slots < slots) | (self.cycle < leaves) {
            self.wait(tables, slots, place_before);
        }
        self.slots -= slots;
        let [a, b] = operation
            .sources
            .map(|register| tables.producer[usize::from(register % 16)]);
        let destination = &mut tables.producer[usize::from(operation.destination % 16)];
        if operation.fixed.is_move {
            *destination = a;
            return;
        }
        *destination = number;
        let entry = (self.tail % ENTRIES) as usize;
        let bit = 1 << entry;
        let lacks_a = bit & self.lacks(tables, a);
        let lacks_b = bit & self.lacks(tables, b) & all_if(a != b);
        self.one |= lacks_a ^ lacks_b;
        self.two |= lacks_a & lacks_b;
        tables.add(tables.waiters[usize::from(a)], lacks_a);
        tables.add(tables.waiters[usize::from(b)], lacks_b);
        tables.waiters[usize::from(number)] = (WHEEL + entry) as u8;
        tables.leaves[usize::from(number)] = u32::MAX;
        let Fixed {
            latency,
            alu,
            mul,
            units,
            ..
        } = operation.fixed;
        tables.needs[entry] = (latency, units);
        self.alus = self.alus & !bit | bit & alu as u32;
        self.muls = self.muls & !bit | bit & mul as u32;
        if operation.fixed.is_rare | (self.rare() & bit != 0) {
            let units = u32::from(units);
            self.divs = self.divs & !bit | bit & all_if(units & DIVIDER != 0);
            self.pairs = self.pairs & !bit | bit & all_if(units & ALUS == 2);
        }
        self.decoded |= bit;
        self.tail = self.tail.wrapping_add(1);
    }

    #[inline(always)]
    fn rare(&self) -> u32 {
        self.divs | self.pairs
    }

    /// All bits if the result of `producer` isn't there.
    #[inline(always)]
    fn lacks(&self, tables: &Tables, producer: u8) -> u32 {
        all_if(tables.leaves[usize::from(producer)] > self.cycle + 2)
    }

    /// Those of `entries` for which there are units.
    #[inline(always)]
    fn with_units(&self, mut entries: u32) -> u32 {
        entries &= !(self.alus & all_if(self.free & ALUS == 0));
        entries &= !(self.muls & all_if(self.free & MULTIPLIER == 0));
        if self.rare() != 0 {
            entries &= !(self.divs & all_if(self.free & DIVIDER == 0));
            entries &= !(self.pairs & all_if(self.free & ALUS < 2));
        }
        entries
    }

    /// Entries that can start.
    #[inline(always)]
    fn able(&self) -> u32 {
        self.with_units(self.waiting & !self.one & !self.two)
    }

    /// Starts what can start in this cycle, oldest first.
    #[inline(always)]
    fn start(&mut self, tables: &mut Tables, mut able: u32) {
        let oldest = self.tail % ENTRIES;
        let mut starts = STARTS;
        while able != 0 && starts > 0 {
            let entry = (able.rotate_right(oldest).trailing_zeros() + oldest) % ENTRIES;
            let bit = 1 << entry;
            let (latency, units) = tables.needs[entry as usize];
            self.free -= u32::from(units);
            self.waiting &= !bit;
            able = self.with_units(able & !bit);
            match latency {
                0..64 => self.near |= 1 << latency,
                _ => self.far |= 1 << (latency - 64),
            }
            let result = self.cycle + u32::from(latency);
            let index = (result as usize % WHEEL) as u8;
            tables.units[usize::from(index) % WHEEL] += u32::from(units);
            let waiters = std::mem::take(&mut tables.one[WHEEL + entry as usize]);
            tables.add(index, waiters);
            // The entry's number: there are four of the same place.
            let behind = self.tail.wrapping_sub(1).wrapping_sub(entry) % ENTRIES;
            let number = (self.tail.wrapping_sub(1 + behind) % NUMBERS) as usize;
            tables.leaves[number] = result + 2;
            tables.waiters[number] = index;
            starts -= 1;
        }
    }

    /// Goes on by `cycles`, between which nothing finishes; what can start then.
    #[inline(always)]
    fn enter(&mut self, tables: &mut Tables, cycles: u32) -> u32 {
        self.waiting |= self.decoded;
        self.decoded = 0;
        self.slots = DECODE_SLOTS;
        self.cycle += cycles;
        if self.far == 0 {
            self.near = self.near >> (cycles % 64) & !1;
        } else {
            self.come_near(cycles);
        }
        let index = self.cycle as usize % WHEEL;
        self.free += std::mem::take(&mut tables.units[index]);
        let one = std::mem::take(&mut tables.one[index]);
        let two = std::mem::take(&mut tables.two[index]);
        let borrow = one & !self.one;
        self.one ^= one;
        self.two ^= two ^ borrow;
        self.able()
    }

    #[cold]
    fn come_near(&mut self, cycles: u32) {
        let both = (u128::from(self.far) << 64 | u128::from(self.near)) >> cycles;
        (self.near, self.far) = (both as u64 & !1, (both >> 64) as u64);
    }

    /// Cycles until something finishes.
    #[inline(always)]
    fn until_finish(&self) -> u32 {
        match self.near {
            0 if self.far != 0 => 64 + self.far.trailing_zeros(),
            0 => 1,
            near => near.trailing_zeros(),
        }
    }

    /// Ends a cycle in which all that could have started, and goes on to the next in which something
    /// else can, at most by `limit`; gives that.
    #[inline(always)]
    fn go_on(&mut self, tables: &mut Tables, limit: u32) -> u32 {
        let mut left = limit;
        // Who couldn't start for want of a place among the starts, or was just decoded.
        let mut cycles = match self.able() | self.decoded {
            0 => self.until_finish().min(limit),
            _ => 1,
        };
        loop {
            let able = self.enter(tables, cycles);
            left -= cycles;
            if (able != 0) | (left == 0) {
                return able;
            }
            cycles = self.until_finish().min(left);
        }
    }

    /// Goes on until there are `slots` and the entry of number `before` has left.
    #[inline(always)]
    fn wait(&mut self, tables: &mut Tables, slots: u32, before: u8) {
        let mut able = self.able();
        if self.slots < slots {
            self.start(tables, able);
            able = self.enter(tables, 1);
        }
        loop {
            let leaves = tables.leaves[usize::from(before)];
            if leaves <= self.cycle {
                return;
            }
            self.start(tables, able);
            let limit = match tables.leaves[usize::from(before)] {
                u32::MAX => u32::MAX,
                leaves => leaves - self.cycle,
            };
            able = self.go_on(tables, limit);
        }
    }

    /// The cycle in which the last entry leaves, once all have started; clears the events to come.
    fn end(&self, tables: &mut Tables) -> u32 {
        let mut last = None;
        for (mut word, from) in [(self.near, 0), (self.far, 64)] {
            while word != 0 {
                let cycle = self.cycle + from + word.trailing_zeros();
                word &= word - 1;
                let index = cycle as usize % WHEEL;
                (tables.one[index], tables.two[index], tables.units[index]) = (0, 0, 0);
                last = Some(cycle + 2);
            }
        }
        tables.producer = [NO_PRODUCER; 16];
        last.unwrap_or(self.cycle)
    }
}
