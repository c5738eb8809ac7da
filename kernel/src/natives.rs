//! The kernel-issued Instances this kernel gives a chain at genesis.

use jar_abi::slots;
use jar_cap::{CNode, Cap, Instance, Key, NativeKind, NodeStore};

use crate::error::KernelError;

/// Slots and kinds placed in the chain Instance at genesis.
pub const GENESIS_NATIVES: &[(u8, NativeKind)] = &[
    (slots::ATTESTATION, NativeKind::Attestation),
    (slots::CONSENSUS, NativeKind::Consensus),
];

/// A table holding the natives of genesis.
pub fn genesis_table(store: &dyn NodeStore) -> Result<CNode, KernelError> {
    let mut table = CNode::empty();
    for (slot, kind) in GENESIS_NATIVES {
        let native = Instance::native(*kind, Vec::new());
        table.set(store, &Key::from(*slot), Some(Cap::Instance(native)))?;
    }
    Ok(table)
}

/// Whether a capability is the native Instance of a kind.
pub fn is_native(cap: &Cap, kind: NativeKind) -> bool {
    matches!(cap, Cap::Instance(instance) if instance.native_kind() == Some(kind))
}
