//! One frame on its own, asked for one host call at a time: what the table of host calls says
//! must be what happens.

mod ops;
mod rig;
mod values;
