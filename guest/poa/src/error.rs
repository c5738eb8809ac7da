//! Codes that the endpoints of this library halt with.

use core::fmt;

/// Declares [`Error`] with its codes and texts.
macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// Why an aggregate or a change of the validators was refused; the number is the halt
        /// value. A chain's own codes are below 100.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u64)]
        pub enum Error { $($(#[$doc])* $name = $code,)* }

        impl Error {
            /// Every error.
            pub const ALL: &'static [Error] = &[$(Error::$name),*];

            /// The error with this halt value.
            pub fn from_code(code: u64) -> Option<Error> {
                match code { $($code => Some(Error::$name),)* _ => None }
            }
        }

        impl fmt::Display for Error {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Error::$name => $text,)* })
            }
        }
    };
}

errors! {
    /// A signer that the aggregate names has no attestation in it.
    NotSigned = 101, "the attestation of a named signer is missing";
    /// The signers are none, or not one bit for each voter.
    BadSigners = 102, "the signers are none, or not one bit for each voter";
    /// The signers are two thirds of a committee or fewer.
    NoQuorum = 103, "the signers are not more than two thirds of each committee";
    /// The source is not below the target.
    BadLink = 104, "the source is not below the target";
    /// The source is not justified on this chain.
    UnjustifiedSource = 105, "the source is not a justified block of this chain";
    /// The target is not an ancestor of this block, or too old to be remembered.
    UnknownTarget = 106, "the target is not a recent block of this chain";
    /// The link would justify and finalize nothing new.
    Stale = 107, "the link justifies and finalizes nothing new";
    /// The electorate is another one.
    WrongEpoch = 108, "the epoch is not the present one, or the target is of an earlier one";
    /// The block has an aggregate already.
    SecondAggregate = 109, "the block carries an aggregate already";
    /// The validators are none, too many, or one is named twice.
    BadValidators = 110, "the validators are none, too many, or one is named twice";
    /// An earlier change of the validators has not taken effect yet.
    ChangePending = 111, "an earlier change of the validators has not taken effect yet";
    /// The chain has no block after genesis yet, or no validators.
    NotStarted = 112, "the chain has no validators, or no block yet";
    /// The payload does not decode.
    Malformed = 113, "the payload does not decode";
}

impl From<Error> for u64 {
    fn from(error: Error) -> u64 {
        error as u64
    }
}

impl core::error::Error for Error {}
