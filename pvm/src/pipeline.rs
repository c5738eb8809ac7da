//! The pipeline gas model: an out-of-order machine, simulated exactly.
//!
//! Each cycle decodes in order while slots and reorder entries last, starts the
//! oldest entries whose inputs and units are ready, then advances. Cycles in
//! which nothing can happen are skipped, and sets of entries are words: bit i stands for the
//! entry with sequence number ≡ i (mod 32). So the work is bounded per instruction, not per
//! cycle, and nearly free of branches that a processor can't foresee.

use jar_isa::{Latency, Opcode, Operands, Slots, Units};

const DECODE_SLOTS: u32 = 4;
const STARTS: u32 = 5;
const ENTRIES: u32 = 32;

/// Units as fields of one number, so that they are taken and returned in one addition. Loads and
/// stores take an ALU each, of which there are no more than of their own units, so those never
/// run out first.
const fn pack(units: &Units) -> u8 {
    assert!(units.load <= units.alu && units.store <= units.alu);
    units.alu | units.mul << 3 | units.div << 4
}

const ALL_UNITS: u32 = 4 | MULTIPLIER | DIVIDER;
const ALUS: u32 = 0b111;
const MULTIPLIER: u32 = 1 << 3;
const DIVIDER: u32 = 1 << 4;

/// In place of registers: one that nothing produces, and one that nothing reads.
const NO_SOURCE: u8 = 13;
const NO_DESTINATION: u8 = 14;

/// Whence an operation's register is: a field of the instruction, or none.
#[derive(Clone, Copy)]
enum Field {
    A,
    B,
    D,
    NoSource,
    NoDestination,
}

/// What the simulation needs of an opcode, in one place.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    sources: [Field; 2],
    destination: Field,
    /// Decode slots where a source is overwritten, and else.
    reused: u8,
    fresh: u8,
    /// Both sources count for that, not just the first.
    any: bool,
    is_branch: bool,
    /// The rest; the latency of branches with no cold side.
    template: Operation,
}

const fn need(latency: u8, units: u8) -> u16 {
    u16::from_le_bytes([latency, units])
}

const COLD_LATENCY: u8 = Latency::Branch.cycles(true);

static ROWS: [Row; 256] = {
    let mut rows = [Row::of(Opcode::Trap); 256];
    let mut index = 0;
    while index < Opcode::ALL.len() {
        rows[Opcode::ALL[index] as usize] = Row::of(Opcode::ALL[index]);
        index += 1;
    }
    rows
};

/// All bits if `condition` holds.
const fn set(condition: bool) -> i8 {
    if condition { -1 } else { 0 }
}

/// An instruction as the machine sees it.
#[derive(Clone, Copy)]
pub(crate) struct Operation {
    /// The registers it reads and the one it writes, or none.
    sources: [u8; 2],
    destination: u8,
    /// Decode slots.
    slots: u8,
    /// All bits if it does without an ALU, and without the multiplier.
    no_alu: i8,
    no_mul: i8,
    /// Latency, and units.
    need: u16,
    /// Of [`MOVE`], [`RARE`], [`LAST`].
    flags: u8,
}

/// It takes no entry.
const MOVE: u8 = 1;
/// It takes the divider or two ALUs, or longer than [`NEAR`] cycles.
const RARE: u8 = 2;
/// It ends its block.
const LAST: u8 = 4;

/// Bits of a word of cycles to come.
const NEAR: u32 = u64::BITS;

impl Row {
    pub(crate) const fn of(opcode: Opcode) -> Row {
        use Field::*;
        let cost = opcode.cost();
        let (any, reused, fresh) = match cost.slots {
            Slots::Count(count) => (true, count, count),
            Slots::Reuse(reused, fresh) => (true, reused, fresh),
            Slots::ReuseA(reused, fresh) => (false, reused, fresh),
        };
        let (sources, destination) = match opcode.operands() {
            Operands::None => ([NoSource, NoSource], NoDestination),
            Operands::A => ([A, NoSource], NoDestination),
            Operands::AB => ([A, B], NoDestination),
            Operands::ToA => ([NoSource, NoSource], A),
            Operands::AToD => ([A, NoSource], D),
            Operands::BToA => ([B, NoSource], A),
            Operands::ABToD => ([A, B], D),
        };
        let latency = cost.latency.cycles(false);
        let is_rare = cost.units.alu > 1 || cost.units.div > 0 || latency as u32 >= NEAR;
        Row {
            sources,
            destination,
            reused,
            fresh,
            any,
            is_branch: matches!(cost.latency, Latency::Branch),
            template: Operation {
                sources: [NO_SOURCE; 2],
                destination: NO_DESTINATION,
                slots: fresh,
                no_alu: set(cost.units.alu == 0),
                no_mul: set(cost.units.mul == 0),
                need: need(latency, pack(&cost.units)),
                flags: if matches!(opcode, Opcode::MoveReg) {
                    MOVE
                } else {
                    0
                } | if is_rare { RARE } else { 0 }
                    | if opcode.is_terminator() { LAST } else { 0 },
            },
        }
    }

    /// `cold` is asked whether a branch has a cold side.
    #[inline(always)]
    pub(crate) fn operation(
        &self,
        [ra, rb, rd]: [u8; 3],
        cold: impl FnOnce() -> bool,
    ) -> Operation {
        let registers = [ra, rb, rd, NO_SOURCE, NO_DESTINATION, 0, 0, 0];
        let register = |field: Field| registers[field as usize % 8];
        let [a, b] = self.sources.map(register);
        let d = register(self.destination);
        let reuses = (a == d) | (self.any & (b == d));
        let mut operation = Operation {
            sources: [a, b],
            destination: d,
            slots: if reuses { self.reused } else { self.fresh },
            ..self.template
        };
        if self.is_branch && cold() {
            operation.need = need(COLD_LATENCY, self.template.need.to_le_bytes()[1]);
        }
        operation
    }
}

impl Operation {
    /// Does nothing that matters.
    pub(crate) const NONE: Operation = Row::of(Opcode::Trap).template;

    pub(crate) fn is_last(&self) -> bool {
        self.flags & LAST != 0
    }

    /// Of any opcode with its registers A, B and D; `cold` as for [`Row::operation`].
    #[inline(always)]
    pub(crate) fn new(
        opcode: Opcode,
        registers: [u8; 3],
        cold: impl FnOnce() -> bool,
    ) -> Operation {
        ROWS[usize::from(opcode as u8)].operation(registers, cold)
    }
}

/// How many operations the machine takes between two looks at which producers are long gone.
const CHUNK: usize = 64;

/// The machine, and the block at hand.
pub(crate) struct Pipeline {
    state: State,
    tables: Tables,
}

impl Pipeline {
    pub(crate) fn new() -> Self {
        Pipeline {
            state: State::at(FIRST_CYCLE),
            tables: Tables::new(),
        }
    }

    /// Takes the next instructions. Where one ends its block, `ended` gets the cycles from
    /// the block's first until everything has left.
    #[inline(always)]
    pub(crate) fn run(&mut self, operations: &[Operation], mut ended: impl FnMut(u32)) {
        for chunk in operations.chunks(CHUNK) {
            let mut state = self.state;
            self.tables.forget_producers(state.tail);
            for operation in chunk {
                state.decode(&mut self.tables, operation);
                if operation.is_last() {
                    ended(state.drain(&mut self.tables));
                }
            }
            self.state = state;
        }
    }
}

const ENTRIES_LEN: usize = ENTRIES as usize;
/// Sequence numbers that are told apart: of the entries in a chunk and those before.
const NUMBERS: u32 = 128;
/// Registers, and those in place of none.
const REGISTERS: usize = 16;
/// In place of a sequence number: no entry.
const NO_PRODUCER: u8 = NUMBERS as u8;
/// In whose past there is room for an entry to have left.
const FIRST_CYCLE: u32 = 2;

/// When an entry's result is there, in half cycles: an even number, of which the low byte is an
/// index of [`Tables`]; before the entry starts, an odd number over all of those, of which the low
/// byte is the entry's own index.
type Time = u32;

/// Half cycles between an entry's result and the first cycle in which its place is free.
const LEAVING: u32 = 4;
/// Blocks take less than 2^30 half cycles, so none that starts before gets to [`unstarted`].
const LAST_BEGIN: Time = 1 << 29;

/// No time.
const fn unstarted(entry: u32) -> Time {
    0x7fff_ff00 | (entry << 1 | 1)
}

/// Arrays indexed by a byte are long enough for every byte.
struct Tables {
    /// Which inputs come: in a cycle, or of an entry that hasn't started. Bits as in
    /// [`State::lacks`].
    inputs: [u64; 256],
    /// Units that come back in a cycle.
    units: [u8; 256],
    /// By sequence number.
    times: [Time; 256],
    /// By entry: latency, units, and sequence number, a byte each.
    needs: [u32; ENTRIES_LEN],
    /// The sequence number of the entry that produces each register's value.
    producer: [u8; 256],
}

impl Tables {
    fn new() -> Self {
        Tables {
            inputs: [0; 256],
            units: [0; 256],
            times: [0; 256],
            needs: [0; ENTRIES_LEN],
            producer: [NO_PRODUCER; 256],
        }
    }

    /// Forgets producers whose numbers a chunk's entries will have.
    #[inline(always)]
    fn forget_producers(&mut self, tail: u32) {
        for producer in &mut self.producer[..REGISTERS] {
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
    began: Time,
    /// The cycle at hand.
    now: Time,
    /// Decode slots left in this cycle.
    slots: u32,
    /// The next entry's sequence number.
    tail: u32,
    /// Decoded in this cycle; they can't start before the next.
    decoded: u32,
    /// Not started, but for those.
    waiting: u32,
    /// Those that lack their first input, and in the high half their second.
    lacks: u64,
    /// Those that do without an ALU, without the multiplier.
    no_alu: u32,
    no_mul: u32,
    /// Those that need other units, or long.
    rare: u32,
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
            began: 2 * cycle,
            now: 2 * cycle,
            slots: DECODE_SLOTS,
            tail: 0,
            decoded: 0,
            waiting: 0,
            lacks: 0,
            no_alu: 0,
            no_mul: 0,
            rare: 0,
            free: ALL_UNITS,
            near: 0,
            far: 0,
        }
    }

    /// Decodes the block's next operation, in the first cycle that can.
    #[inline(always)]
    fn decode(&mut self, tables: &mut Tables, operation: &Operation) {
        let before = (self.tail.wrapping_sub(ENTRIES) % NUMBERS) as u8;
        let lacks_slots = self.slots.wrapping_sub(u32::from(operation.slots));
        let lacks_place = self.past().wrapping_sub(tables.times[usize::from(before)]);
        if ((lacks_slots | lacks_place) as i32) < 0 {
            self.wait(tables, (lacks_slots as i32) < 0, before);
        }
        self.slots -= u32::from(operation.slots);
        let [a, b] = (operation.sources).map(|register| tables.producer[usize::from(register)]);
        let destination = &mut tables.producer[usize::from(operation.destination)];
        if operation.flags & MOVE != 0 {
            *destination = a;
            return;
        }
        let number = (self.tail % NUMBERS) as u8;
        *destination = number;
        let entry = self.tail % ENTRIES;
        self.lack(tables, a, 1 << entry);
        self.lack(tables, b, 1 << 32 << entry);
        tables.times[usize::from(number)] = unstarted(entry);
        tables.needs[entry as usize] = u32::from(operation.need) | u32::from(number) << 16;
        let bit = 1 << entry;
        self.no_alu = self.no_alu & !bit | bit & operation.no_alu as u32;
        self.no_mul = self.no_mul & !bit | bit & operation.no_mul as u32;
        if (operation.flags & RARE != 0) | (self.rare & bit != 0) {
            self.rare = self.rare & !bit | bit & all_if(operation.flags & RARE != 0);
        }
        self.decoded |= bit;
        self.tail = self.tail.wrapping_add(1);
    }

    /// Entries with a result by then have left.
    #[inline(always)]
    fn past(&self) -> Time {
        self.now - LEAVING
    }

    /// Notes that the input `bit` comes from `producer`, if it isn't there.
    #[inline(always)]
    fn lack(&mut self, tables: &mut Tables, producer: u8, bit: u64) {
        let time = tables.times[usize::from(producer)];
        let lacks = bit & u64::from(time > self.now).wrapping_neg();
        self.lacks |= lacks;
        tables.inputs[time as usize % 256] |= lacks;
    }

    /// Those of `entries` for which there are units.
    #[inline(always)]
    fn with_units<const RARE: bool>(&self, tables: &Tables, mut entries: u32) -> u32 {
        entries &= self.no_alu | all_if(self.free & ALUS != 0);
        entries &= self.no_mul | all_if(self.free & MULTIPLIER != 0);
        if RARE {
            let mut rare = entries & self.rare;
            while rare != 0 {
                let entry = rare.trailing_zeros();
                let units = tables.needs[entry as usize] >> 8 & 0xff;
                let lacks_alus = units & ALUS > self.free & ALUS;
                if lacks_alus | (units & !self.free & DIVIDER != 0) {
                    entries &= !(1 << entry);
                }
                rare &= rare - 1;
            }
        }
        entries
    }

    /// Starts what can start in this cycle, oldest first; what is left of that for want of a
    /// place among the starts.
    #[inline(always)]
    fn start<const RARE: bool>(&mut self, tables: &mut Tables) -> u32 {
        let lacks = self.lacks as u32 | (self.lacks >> 32) as u32;
        let mut able = self.with_units::<RARE>(tables, self.waiting & !lacks);
        let oldest = self.tail % ENTRIES;
        let mut starts = STARTS;
        while able != 0 && starts > 0 {
            let entry = (able.rotate_right(oldest).trailing_zeros() + oldest) % ENTRIES;
            let [latency, units, number, _] = tables.needs[entry as usize].to_le_bytes();
            self.free -= u32::from(units);
            self.waiting &= !(1 << entry);
            able = self.with_units::<RARE>(tables, able & !(1 << entry));
            match RARE && u32::from(latency) >= NEAR {
                true => self.far |= 1 << (u32::from(latency) % NEAR),
                false => self.near |= 1 << (u32::from(latency) % NEAR),
            }
            let result = self.now + 2 * u32::from(latency);
            tables.times[usize::from(number)] = result;
            tables.units[result as usize % 256] += units;
            let inputs = std::mem::take(&mut tables.inputs[unstarted(entry) as usize % 256]);
            tables.inputs[result as usize % 256] |= inputs;
            starts -= 1;
        }
        able
    }

    /// Goes on by `cycles`, between which nothing finishes.
    #[inline(always)]
    fn enter<const RARE: bool>(&mut self, tables: &mut Tables, cycles: u32) {
        self.waiting |= self.decoded;
        self.decoded = 0;
        self.slots = DECODE_SLOTS;
        self.now += 2 * cycles;
        if RARE {
            let both = (u128::from(self.far) << NEAR | u128::from(self.near)) >> cycles;
            (self.near, self.far) = (both as u64 & !1, (both >> NEAR) as u64);
        } else {
            self.near = self.near >> (cycles % NEAR) & !1;
        }
        let index = self.now as usize % 256;
        self.free += u32::from(std::mem::take(&mut tables.units[index]));
        self.lacks &= !std::mem::take(&mut tables.inputs[index]);
    }

    /// Cycles until something finishes.
    #[inline(always)]
    fn until_finish<const RARE: bool>(&self) -> u32 {
        match self.near {
            0 if RARE && self.far != 0 => NEAR + self.far.trailing_zeros(),
            0 => 1,
            near => near.trailing_zeros(),
        }
    }

    /// Ends the cycle and goes on to the next in which something can happen, at most to where
    /// the entry of number `before` has left; just to the next if `hurry` isn't 0.
    #[inline(always)]
    fn go_on<const RARE: bool>(&mut self, tables: &mut Tables, hurry: u32, before: u8) {
        let left = self.start::<RARE>(tables);
        let cycles = match left | self.decoded | hurry {
            0 => {
                let leaves = tables.times[usize::from(before)].wrapping_sub(self.past());
                self.until_finish::<RARE>().min(leaves / 2)
            }
            _ => 1,
        };
        self.enter::<RARE>(tables, cycles);
    }

    #[cold]
    #[inline(never)]
    fn go_on_rarely(&mut self, tables: &mut Tables, hurry: u32, before: u8) {
        self.go_on::<true>(tables, hurry, before);
    }

    #[inline(always)]
    fn go_on_anyhow(&mut self, tables: &mut Tables, hurry: u32, before: u8) {
        match self.rare {
            0 => self.go_on::<false>(tables, hurry, before),
            _ => self.go_on_rarely(tables, hurry, before),
        }
    }

    /// Goes on until there are decode slots, if they lack, and the entry of number `before` has
    /// left.
    #[inline(always)]
    fn wait(&mut self, tables: &mut Tables, mut lacks_slots: bool, before: u8) {
        while lacks_slots | (tables.times[usize::from(before)] > self.past()) {
            self.go_on_anyhow(tables, u32::from(lacks_slots), before);
            lacks_slots = false;
        }
    }

    /// Ends the block: the cycles from its first until everything has left. Its last
    /// instruction is no `move_reg`.
    #[inline(always)]
    fn drain(&mut self, tables: &mut Tables) -> u32 {
        // Once all have started, it is known when the last one leaves.
        while self.waiting | self.decoded != 0 {
            self.go_on_anyhow(tables, 0, NO_PRODUCER);
        }
        let last = match self.far {
            0 => self.near.checked_ilog2().unwrap_or(0),
            far => NEAR + far.ilog2(),
        };
        let end = self.now + 2 * last + LEAVING;
        let cycles = (end - self.began) / 2;
        // No one waits for what is still to come, so units are all there is to clear. Cycles go
        // on through all blocks: what has left stays so.
        tables.units = [0; 256];
        tables.producer[..REGISTERS].fill(NO_PRODUCER);
        *self = State {
            tail: self.tail,
            ..State::at(end / 2)
        };
        if end >= LAST_BEGIN {
            (*self, *tables) = (State::at(FIRST_CYCLE), Tables::new());
        }
        cycles
    }
}
