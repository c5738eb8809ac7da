//! The goals, one line each.

#[path = "../../node/src/commands/bench/goals.rs"]
mod shared;

use shared::Goal;
pub use shared::Op;

/// Prints `goal NAME value op target met|missed`.
pub fn goal(name: &'static str, value: f64, op: Op, target: f64) {
    let value = Some(value);
    println!(
        "{}",
        Goal {
            name,
            value,
            op,
            target
        }
    );
}
