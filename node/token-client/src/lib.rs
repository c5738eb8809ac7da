//! A client of the token chain: signs transfers, submits them, waits for them, reads balances.

mod client;
mod wallet;

pub use client::{Error, Included, TokenClient};
pub use jar_token_api as api;
pub use wallet::{Wallet, signed_event};
