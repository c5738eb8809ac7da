//! What can go wrong inside the node, as against in a guest or in an input.

use jar_cap::{Hash, StoreError};
use jar_pvm::PageError;

/// A failure of the node or of what it was configured with: never a guest's doing.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The store is missing or corrupting something, or cannot write.
    #[error("store: {0}")]
    Store(#[from] StoreError),
    /// The store holds the data of another chain.
    #[error("the data belongs to another chain: its parameters hash to 0x{}, this chain's to 0x{}", hex(.stored), hex(.spec))]
    WrongChain {
        /// Commitment of the data's chain.
        stored: Hash,
        /// Commitment of the chain that was asked for.
        spec: Hash,
    },
    /// The chain's Image cannot be used.
    #[error("chain Image: {0}")]
    Image(String),
    /// The Genesis endpoint did not halt with 0.
    #[error("genesis: {0}")]
    Genesis(String),
    /// A state of the kernel's own that cannot be.
    #[error("internal: {0}")]
    Internal(String),
}

impl From<jar_cap::Error> for KernelError {
    fn from(error: jar_cap::Error) -> Self {
        match error {
            jar_cap::Error::Store(error) => KernelError::Store(error),
            other => KernelError::Internal(other.to_string()),
        }
    }
}

impl From<PageError> for KernelError {
    fn from(error: PageError) -> Self {
        KernelError::Store(StoreError::Backend(error.to_string()))
    }
}

/// Lowercase hex without a prefix.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
