//! One trait per namespace; server and typed client both come from it.
//!
//! Parameters are positional. [`crate::methods::METHODS`] describes the same methods for
//! checks of arity and for the OpenRPC document; a test keeps the two equal.

mod chain;
mod discover;
mod event;
mod state;
mod system;

pub use chain::{ChainApiClient, ChainApiServer};
pub use discover::{DiscoverApiClient, DiscoverApiServer};
pub use event::{EventApiClient, EventApiServer};
pub use state::{StateApiClient, StateApiServer};
pub use system::{SystemApiClient, SystemApiServer};
