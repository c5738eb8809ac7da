//! Proofs that a path of keys holds a capability, or nothing.
