//! The attribute `#[jar_guest::chain]`: functions of a module become endpoints of an Image.

mod chain;

use proc_macro::TokenStream;

/// Makes a chain of a module. Its functions with one of these attributes are endpoints:
///
/// - `#[genesis]`: run once; its argument is the chain spec's payload
/// - `#[transact(order = n)]`: run for each event of a block; default order 0
/// - `#[schedule(order = n)]`: run once in each block; takes no arguments
/// - `#[view]`: answers questions, changes nothing
/// - `#[dispatch(into = f)]`: judges events off-chain (a `Verdict`, or a `Result<(), E>`) and
///   appends them as events for the Transact endpoint `f`; with `attestations = n` where each
///   event carries that many, which saves judging twice
/// - `#[call]`: may be called by other Instances
///
/// Endpoints are numbered in source order, from 0; `index = n` in any of the attributes sets
/// a number instead.
#[proc_macro_attribute]
pub fn chain(attribute: TokenStream, item: TokenStream) -> TokenStream {
    chain::expand(attribute.into(), item.into())
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}
