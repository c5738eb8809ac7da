//! What the token chain and its clients share: payloads, codes, places of state.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

use alloc::vec::Vec;
use core::fmt;

use parity_scale_codec::{Decode, Encode};

/// An ed25519 public key: an account, or a validator.
pub type PublicKey = [u8; 32];

/// Slot of the Data SCALE(Vec<PublicKey>) with the validators, in order of their turns.
pub const VALIDATORS_SLOT: u8 = 32;
/// Slot of the CNode public key -> Data SCALE(u64), the balances; absent is 0.
pub const BALANCES_SLOT: u8 = 33;
/// Slot of the CNode public key -> Data SCALE(u64), the nonces; absent is 0.
pub const NONCES_SLOT: u8 = 34;

/// Slot of the Data SCALE(Finality), what the chain knows of its ancestors' finality; empty in
/// the genesis state and without validators.
pub const FINALITY_SLOT: u8 = 35;
/// Slot of the Data SCALE(Vec<PublicKey>), the next validators while they are changing.
pub const NEXT_VALIDATORS_SLOT: u8 = 36;

/// Nonces that `transfer_in` accepts: from the state's up to this many above, exclusive.
pub const NONCE_WINDOW: u64 = 4096;
/// The Genesis endpoint; its payload is a [`Config`].
pub const INIT: &str = "init";
/// The Transact endpoint that moves coins; its payload is a [`Transfer`].
pub const TRANSFER: &str = "transfer";
/// The Dispatch endpoint that clients send a [`Transfer`] to.
pub const TRANSFER_IN: &str = "transfer_in";
/// The Schedule endpoint that checks the seal.
pub const BEGIN: &str = "begin";
/// The Transact endpoint that counts an aggregate of votes.
pub const VOTE: &str = "vote";
/// The Dispatch endpoint that collects votes and casts this node's.
pub const VOTE_IN: &str = "vote_in";
/// The Transact endpoint that decides who the next validators are.
pub const SET_VALIDATORS: &str = "set_validators";
/// The Dispatch endpoint that such decisions are sent to.
pub const SET_VALIDATORS_IN: &str = "set_validators_in";
/// The View `() -> Option<(u64, [u8; 32])>`: height and hash of the last finalized block.
pub const FINALIZED: &str = "finalized";
/// The View `() -> Option<(u64, [u8; 32])>`: height and hash of the highest justified block.
pub const JUSTIFIED: &str = "justified";
/// The View `u64 -> Option<PublicKey>`: who builds the block of a time slot.
pub const AUTHOR: &str = "author";
/// The View `PublicKey -> u64`: a balance.
pub const BALANCE: &str = "balance";
/// The View `PublicKey -> u64`: the nonce that the key's next transfer must have.
pub const NONCE: &str = "nonce";

/// Prefix of what a development wallet's seed is the blake2b-256 of; its name follows.
pub const DEV_WALLET_SEED: &str = "jar-dev-wallet:";
/// Prefix of what a development validator's seed is the blake2b-256 of; its name follows.
pub const DEV_VALIDATOR_SEED: &str = "jar-dev-validator:";

/// First part of what a transfer's signature covers.
const TRANSFER_DOMAIN: &str = "token.transfer";

/// The payload of Genesis.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Config {
    /// Who builds blocks, in turn, and votes; with none, any node in development mode builds
    /// and no block becomes final.
    pub validators: Vec<PublicKey>,
    /// First balances; an account occurs once, their sum fits a u64.
    pub balances: Vec<(PublicKey, u64)>,
}

/// Moves coins from one account to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Transfer {
    /// The account that pays, and signs.
    pub from: PublicKey,
    /// The account that receives.
    pub to: PublicKey,
    /// Coins; 0 and transfers to oneself only use up the nonce.
    pub amount: u64,
    /// How many transfers `from` made before.
    pub nonce: u64,
}

impl Transfer {
    /// The blob that `from` signs with scope Direct: SCALE(("token.transfer", transfer)).
    pub fn signed_blob(&self) -> Vec<u8> {
        (TRANSFER_DOMAIN, self).encode()
    }
}

/// Why a transfer or a start was refused; the number is the halt value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Error {
    /// No valid signature by `from` came with the transfer.
    BadSignature = 1,
    /// The nonce was used before.
    Replay = 2,
    /// The nonce is not the next one, or too far ahead to wait.
    BadNonce = 3,
    /// `from` has less than the amount.
    Overdraft = 4,
    /// The receiver's balance would pass the largest number.
    Overflow = 5,
    /// The genesis payload repeats an account, or its coins pass the largest number, or it
    /// has too many validators or one twice.
    BadConfig = 6,
}

impl Error {
    /// Every error.
    pub const ALL: [Error; 6] = [
        Error::BadSignature,
        Error::Replay,
        Error::BadNonce,
        Error::Overdraft,
        Error::Overflow,
        Error::BadConfig,
    ];

    /// The error with this halt value.
    pub fn from_code(code: u64) -> Option<Error> {
        Error::ALL.into_iter().find(|error| *error as u64 == code)
    }
}

impl From<Error> for u64 {
    fn from(error: Error) -> u64 {
        error as u64
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::BadSignature => "no valid signature by the sender",
            Error::Replay => "this nonce was used before",
            Error::BadNonce => "the nonce is not the sender's next one",
            Error::Overdraft => "the sender has less than the amount",
            Error::Overflow => "the receiver's balance would overflow",
            Error::BadConfig => "the genesis configuration is not valid",
        })
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signed_blob_is_the_domain_and_the_transfer() {
        let transfer = Transfer {
            from: [1; 32],
            to: [2; 32],
            amount: 3,
            nonce: 4,
        };
        let blob = transfer.signed_blob();
        assert_eq!(&blob[..15], b"\x38token.transfer");
        assert_eq!(&blob[15..], transfer.encode());
        assert_eq!(blob.len(), 15 + 80);
    }

    #[test]
    fn codes_round_trip_and_are_distinct() {
        for error in Error::ALL {
            assert_eq!(Error::from_code(error.into()), Some(error));
        }
        assert_eq!(Error::from_code(0), None);
        assert_eq!(Error::from_code(7), None);
    }
}
