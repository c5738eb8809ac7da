//! Slots of an Instance's own table that the kernel uses by convention.
//!
//! 1..=31 are the kernel's, 32..=255 the program's.

/// The scratchpad: every payload between Instances goes through it.
pub const SCRATCH: u8 = 0;
/// Gas{meter}.
pub const GAS: u8 = 7;
/// Quota{quota}.
pub const QUOTA: u8 = 8;
/// The chain's Catcher.
pub const CATCHER: u8 = 9;
/// SetGasMeter.
pub const SET_GAS_METER: u8 = 10;
/// SetStorageQuota.
pub const SET_STORAGE_QUOTA: u8 = 11;
/// MintGas.
pub const MINT_GAS: u8 = 12;
/// MintQuota.
pub const MINT_QUOTA: u8 = 13;
/// CreateCatcher.
pub const CREATE_CATCHER: u8 = 14;
/// Open.
pub const OPEN: u8 = 15;
/// Save.
pub const SAVE: u8 = 16;
/// Attestation: the authority to `attest`.
pub const ATTESTATION: u8 = 17;
/// Consensus: the authority to `score` and `finalize`.
pub const CONSENSUS: u8 = 18;
/// The OutOfGas marker.
pub const OUT_OF_GAS: u8 = 19;
/// The OutOfQuota marker.
pub const OUT_OF_QUOTA: u8 = 20;
/// First slot that is the program's own.
pub const FIRST_OF_PROGRAM: u8 = 32;
