//! jar-rpc
