//! What an instruction costs in the pipeline gas model.

/// Latency of every load and store, in cycles.
pub const MEMORY_LATENCY: u8 = 25;
/// Latency of a branch with a cold side.
const COLD_BRANCH_LATENCY: u8 = 1;
/// Latency of any other branch.
const BRANCH_LATENCY: u8 = 20;

/// Cycles from start to result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Latency {
    /// A fixed number of cycles.
    Cycles(u8),
    /// [`MEMORY_LATENCY`].
    Memory,
    /// 1 if the opcode at the branch's target or behind it is `trap` or
    /// `unlikely`, else 20.
    Branch,
}

impl Latency {
    /// The cycles; `cold` says whether a branch has a cold side.
    #[inline]
    pub const fn cycles(self, cold: bool) -> u8 {
        match self {
            Latency::Cycles(cycles) => cycles,
            Latency::Memory => MEMORY_LATENCY,
            Latency::Branch if cold => COLD_BRANCH_LATENCY,
            Latency::Branch => BRANCH_LATENCY,
        }
    }
}

/// Decode slots taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slots {
    /// A fixed number.
    Count(u8),
    /// The first number if the destination register is also a source, else the second.
    Reuse(u8, u8),
    /// The first number if registers A and D are the same, else the second.
    ReuseA(u8, u8),
}

/// Execution units occupied from start to result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Units {
    /// Arithmetic units, of 4.
    pub alu: u8,
    /// Load units, of 4.
    pub load: u8,
    /// Store units, of 4.
    pub store: u8,
    /// Multipliers, of 1.
    pub mul: u8,
    /// Dividers, of 1.
    pub div: u8,
}

impl Units {
    pub(crate) const NONE: Units = Units {
        alu: 0,
        load: 0,
        store: 0,
        mul: 0,
        div: 0,
    };
    pub(crate) const ALU: Units = Units {
        alu: 1,
        ..Units::NONE
    };
    pub(crate) const ALU2: Units = Units {
        alu: 2,
        ..Units::NONE
    };
    pub(crate) const LOAD: Units = Units {
        load: 1,
        ..Units::ALU
    };
    pub(crate) const STORE: Units = Units {
        store: 1,
        ..Units::ALU
    };
    pub(crate) const MUL: Units = Units {
        mul: 1,
        ..Units::ALU
    };
    pub(crate) const DIV: Units = Units {
        div: 1,
        ..Units::ALU
    };
}

/// One row's cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Cycles from start to result.
    pub latency: Latency,
    /// Decode slots, of 4 per cycle.
    pub slots: Slots,
    /// Execution units.
    pub units: Units,
}

impl Cost {
    /// Latency (cycles; 255 for a branch), slots (kind, count, count), alu, load,
    /// store, mul, div units.
    pub fn encoding(&self) -> [u8; 9] {
        let latency = match self.latency {
            Latency::Branch => 255,
            other => other.cycles(false),
        };
        let (kind, first, second) = match self.slots {
            Slots::Count(count) => (0, count, count),
            Slots::Reuse(reused, fresh) => (1, reused, fresh),
            Slots::ReuseA(reused, fresh) => (2, reused, fresh),
        };
        let Units {
            alu,
            load,
            store,
            mul,
            div,
        } = self.units;
        [latency, kind, first, second, alu, load, store, mul, div]
    }
}
