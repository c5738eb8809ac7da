//! Goals of a benchmark, one line each.

use std::fmt;

/// How a value must stand to its target.
#[derive(Clone, Copy)]
pub enum Op {
    AtLeast,
    AtMost,
}

/// Displayed as `goal NAME value op target met|missed`; without a value as
/// `goal NAME not measured`.
pub struct Goal {
    pub name: &'static str,
    pub value: Option<f64>,
    pub op: Op,
    pub target: f64,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Op::AtLeast => ">=",
            Op::AtMost => "<=",
        })
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Goal {
            name, op, target, ..
        } = self;
        let Some(value) = self.value else {
            return write!(f, "goal {name} not measured {op} {target:.3}");
        };
        let met = match op {
            Op::AtLeast => value >= *target,
            Op::AtMost => value <= *target,
        };
        let verdict = if met { "met" } else { "missed" };
        write!(f, "goal {name} {value:.3} {op} {target:.3} {verdict}")
    }
}
