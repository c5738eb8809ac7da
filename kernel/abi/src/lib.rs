//! jar-abi
