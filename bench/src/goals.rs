//! The goals, one line each.

use std::fmt;

/// How a value must stand to its target.
#[derive(Clone, Copy)]
pub enum Op {
    AtLeast,
    AtMost,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Op::AtLeast => ">=",
            Op::AtMost => "<=",
        })
    }
}

/// Prints `goal NAME value op target met|missed`.
pub fn goal(name: &str, value: f64, op: Op, target: f64) {
    let met = match op {
        Op::AtLeast => value >= target,
        Op::AtMost => value <= target,
    };
    let verdict = if met { "met" } else { "missed" };
    println!("goal {name} {value:.3} {op} {target:.3} {verdict}");
}
