//! What the contracts chain, its contracts and its clients share: orders, codes, places of
//! state, what a contract may ask of the chain.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

use alloc::vec::Vec;
use core::fmt;

use parity_scale_codec::{Decode, Encode};

/// An ed25519 public key: an account.
pub type PublicKey = [u8; 32];
/// Names a contract: [`contract_id_preimage`] hashed by blake2b-256.
pub type ContractId = [u8; 32];

/// Slot of the CNode account -> Data SCALE(u64), the balances; absent is 0.
pub const BALANCES_SLOT: u8 = 33;
/// Slot of the CNode account -> Data SCALE(u64), the nonces; absent is 0.
pub const NONCES_SLOT: u8 = 34;
/// Slot of the CNode contract id -> Instance, the contracts, each in its shell.
pub const CONTRACTS_SLOT: u8 = 35;
/// Slot of the CNode contract id -> Data SCALE([`Meter`]).
pub const METERS_SLOT: u8 = 36;
/// Slot of the CNode account -> CNode key -> Instance: capabilities that accounts keep.
pub const WALLETS_SLOT: u8 = 37;
/// Slot of the Data SCALE(u64), the number of contracts made.
pub const COUNT_SLOT: u8 = 38;
/// Slot of the Instance whose type the chain catches: a yield of it is a [`Request`].
pub const REQUEST_SLOT: u8 = 39;
/// Slot of the shell's Image.
pub const SHELL_SLOT: u8 = 40;

/// Slots of a contract that the chain fills when it is deployed.
pub mod contract_slots {
    /// The marker to yield with a [`Request`](crate::Request).
    pub const REQUEST: u8 = 32;
    /// The contract's own Image.
    pub const IMAGE: u8 = 33;
    /// Data: the contract's id.
    pub const ID: u8 = 34;
}

/// The Genesis endpoint; its payload is a [`Config`].
pub const INIT: &str = "init";
/// The Transact endpoint that carries out a [`Signed`] order.
pub const ORDER: &str = "order";
/// The Dispatch endpoint that clients send a [`Signed`] order to.
pub const ORDER_IN: &str = "order_in";
/// The View `(ContractId, u8, Vec<u8>) -> Reply`: a call that changes nothing.
pub const LOOK: &str = "look";
/// The View `PublicKey -> u64`: a balance.
pub const BALANCE: &str = "balance";
/// The View `PublicKey -> u64`: the nonce that the account's next order must have.
pub const NONCE: &str = "nonce";
/// The View `ContractId -> Option<Meter>`.
pub const METER: &str = "meter";

/// Topic of the record that a [`Reply`] is emitted under.
pub const REPLY_TOPIC: &[u8] = b"reply";

/// Gas that a coin of a meter's credit pays for.
pub const GAS_PER_COIN: u64 = 10_000;
/// Bytes of state that a coin of a meter's credit pays for.
pub const BYTES_PER_COIN: u64 = 32;
/// Coins that a top-up takes from the credit at the most; what is left comes back.
pub const TOP_UP_COINS: u64 = 500;
/// Coins that a pause of a contract costs besides what the chain spends to answer it: for going
/// on.
pub const RESUME_COINS: u64 = 15;
/// Gas of an event that no contract gets: what the chain needs to charge for a call.
pub const GAS_KEPT: u64 = 4_000_000;
/// Bytes of state that a contract may pay for in a call.
pub const CALL_BYTES_MAX: u64 = 2 << 20;
/// Longest result of a contract that a [`Reply`] carries, in bytes.
pub const RESULT_BYTES_MAX: u64 = 32 << 10;
/// Nonces that `order_in` accepts: from the state's up to this many above, exclusive.
pub const NONCE_WINDOW: u64 = 64;

/// First part of what an order's signature covers.
const ORDER_DOMAIN: &str = "contracts.order";
/// First part of what a contract's id is the hash of.
const ID_DOMAIN: &str = "contracts.id";

/// The payload of Genesis.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Config {
    /// First balances; an account occurs once, their sum fits a u64.
    pub balances: Vec<(PublicKey, u64)>,
}

/// An order with who gives it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Signed {
    /// The account that signs, and pays.
    pub from: PublicKey,
    /// How many orders `from` gave before.
    pub nonce: u64,
    /// What to do.
    pub order: Order,
}

impl Signed {
    /// The blob that `from` signs with scope Direct: SCALE(("contracts.order", signed)).
    pub fn signed_blob(&self) -> Vec<u8> {
        (ORDER_DOMAIN, self).encode()
    }
}

/// What an account can have done.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Order {
    /// Moves coins to another account.
    #[codec(index = 0)]
    Pay {
        /// The account that receives.
        to: PublicKey,
        /// Coins.
        amount: u64,
    },
    /// Makes a contract.
    #[codec(index = 1)]
    Deploy {
        /// SCALE(Image).
        image: Vec<u8>,
        /// Coins that go to its meter.
        credit: u64,
    },
    /// Adds coins to a contract's meter.
    #[codec(index = 2)]
    Fund {
        /// Whose meter.
        contract: ContractId,
        /// Coins.
        amount: u64,
    },
    /// Calls a contract.
    #[codec(index = 3)]
    Call {
        /// Which.
        contract: ContractId,
        /// Its endpoint, of role Call or View.
        endpoint: u8,
        /// SCALE of the endpoint's arguments.
        payload: Vec<u8>,
        /// A capability of the account's wallet to show: slot 0 is then a CNode of payload
        /// (0) and capability (1).
        present: Option<u8>,
        /// Where in the account's wallet an Instance goes that the contract leaves in slot 0.
        keep: Option<u8>,
    },
    /// Lets a contract that waits go on.
    #[codec(index = 4)]
    Resume {
        /// Which.
        contract: ContractId,
    },
}

/// What the preimage of a contract's id is: its maker, and the nonce of the order.
pub fn contract_id_preimage(from: &PublicKey, nonce: u64) -> Vec<u8> {
    (ID_DOMAIN, from, nonce).encode()
}

/// Who pays for a contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Meter {
    /// Its row of the gas and of the quota table; above 0.
    pub row: u64,
    /// Coins left.
    pub credit: u64,
}

/// How a call of a contract ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Ended {
    /// It halted with this value, cut to 62 bits.
    #[codec(index = 0)]
    Halted(u64),
    /// It faulted with this code of the kernel's; nothing of it is left.
    #[codec(index = 1)]
    Faulted(u64),
    /// The kernel did not start it: a status of the kernel's.
    #[codec(index = 2)]
    Refused(i64),
    /// It waits, to be resumed by a later order.
    #[codec(index = 3)]
    Waits,
    /// Its meter ran dry; nothing of the call is left.
    #[codec(index = 4)]
    OutOfCredit,
    /// It would have outlived the event's gas, or paid for more than [`CALL_BYTES_MAX`];
    /// nothing of the call is left but its cost.
    #[codec(index = 5)]
    OutOfBudget,
}

/// Bits of what a shell halts with: the contract's value below, how it ended above.
const TAG_SHIFT: u32 = 62;
const TAG_FAULTED: u64 = 1;
const TAG_REFUSED: u64 = 2;

impl Ended {
    /// The number that a shell halts with.
    pub fn pack(self) -> u64 {
        let mask = (1 << TAG_SHIFT) - 1;
        match self {
            Ended::Halted(value) => value & mask,
            Ended::Faulted(code) => TAG_FAULTED << TAG_SHIFT | (code & mask),
            Ended::Refused(status) => TAG_REFUSED << TAG_SHIFT | (status.unsigned_abs() & mask),
            // What the chain alone finds out.
            Ended::Waits | Ended::OutOfCredit | Ended::OutOfBudget => TAG_REFUSED << TAG_SHIFT,
        }
    }

    /// What a shell's number says.
    pub fn unpack(number: u64) -> Ended {
        let value = number & ((1 << TAG_SHIFT) - 1);
        match number >> TAG_SHIFT {
            0 => Ended::Halted(value),
            TAG_FAULTED => Ended::Faulted(value),
            _ => Ended::Refused(-(value as i64)),
        }
    }
}

/// What came of a call, emitted as a record.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Reply {
    /// The contract.
    pub contract: ContractId,
    /// How it ended.
    pub ended: Ended,
    /// The Data it left in slot 0 when it halted or yielded to wait, if it is at most
    /// [`RESULT_BYTES_MAX`] long.
    pub result: Option<Vec<u8>>,
    /// Coins of its meter that it cost.
    pub cost: u64,
}

/// What a contract may ask of the chain, as Data in slot 0 of a yield of
/// [`contract_slots::REQUEST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Request {
    /// To be resumed by a later order.
    #[codec(index = 0)]
    Later,
    /// To pay coins of its own credit. The answer is SCALE(bool), whether it had them.
    #[codec(index = 1)]
    Pay {
        /// The account that receives.
        to: PublicKey,
        /// Coins.
        amount: u64,
    },
}

/// Why an order or a start was refused; the number is the halt value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Error {
    /// No valid signature by `from` came with the order.
    BadSignature = 1,
    /// The nonce was used before.
    Replay = 2,
    /// The nonce is not the next one, or too far ahead to wait.
    BadNonce = 3,
    /// `from` has less than the amount.
    Overdraft = 4,
    /// A sum would pass the largest number.
    Overflow = 5,
    /// The genesis payload repeats an account, or its coins pass the largest number.
    BadConfig = 6,
    /// The bytes are no Image, or the Image is over a limit.
    BadImage = 7,
    /// There is no such contract.
    NoContract = 8,
    /// The account's wallet has no such capability, or its place is taken.
    BadKey = 9,
}

impl Error {
    /// Every error.
    pub const ALL: [Error; 9] = [
        Error::BadSignature,
        Error::Replay,
        Error::BadNonce,
        Error::Overdraft,
        Error::Overflow,
        Error::BadConfig,
        Error::BadImage,
        Error::NoContract,
        Error::BadKey,
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
            Error::Overflow => "a balance would overflow",
            Error::BadConfig => "the genesis configuration is not valid",
            Error::BadImage => "this is no Image, or one over a limit",
            Error::NoContract => "there is no such contract",
            Error::BadKey => "the wallet has no such capability, or the place is taken",
        })
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_halts_with_round_trips() {
        for ended in [
            Ended::Halted(0),
            Ended::Halted((1 << 62) - 1),
            Ended::Faulted(4),
            Ended::Refused(-11),
        ] {
            assert_eq!(Ended::unpack(ended.pack()), ended);
        }
        assert_eq!(
            Ended::unpack(Ended::Halted(u64::MAX).pack()),
            Ended::Halted((1 << 62) - 1)
        );
    }

    #[test]
    fn codes_round_trip_and_are_distinct() {
        for error in Error::ALL {
            assert_eq!(Error::from_code(error.into()), Some(error));
        }
        assert_eq!(Error::from_code(0), None);
        assert_eq!(Error::from_code(10), None);
    }

    #[test]
    fn the_signed_blob_is_the_domain_and_the_order() {
        let signed = Signed {
            from: [1; 32],
            nonce: 2,
            order: Order::Resume { contract: [3; 32] },
        };
        let blob = signed.signed_blob();
        assert_eq!(&blob[..16], b"\x3ccontracts.order");
        assert_eq!(&blob[16..], signed.encode());
    }
}
