//! jar-sim
