//! A client of the token chain: signs transfers and changes of the validators, submits them,
//! waits for them, reads balances.

mod client;
mod validators;
mod wallet;

pub use client::{Error, Included, TokenClient};
pub use jar_token_api as api;
pub use validators::{Validators, signed_change};
pub use wallet::{Wallet, signed_event};
