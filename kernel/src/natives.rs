//! The kernel-issued Instances this kernel gives a chain at genesis.

use jar_abi::slots;
use jar_cap::{Body, CNode, Cap, Hash, Instance, Key, NativeKind, NodeStore};

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

/// The cap that names a row.
pub fn row_cap(kind: NativeKind, row: u64) -> Instance {
    Instance::native(kind, row.to_le_bytes().to_vec())
}

/// The row that a Gas or Quota cap names; `None` for other Instances.
pub fn row_of(instance: &Instance, kind: NativeKind) -> Option<u64> {
    match instance.body() {
        Body::Native { kind: found, state } if *found == kind => {
            Some(u64::from_le_bytes(state.as_slice().try_into().ok()?))
        }
        _ => None,
    }
}

/// Bytes of a Catcher's state before its types: the compact number of them.
fn count_len(state: &[u8]) -> usize {
    state.len() % 32
}

/// Whether a Catcher's state, SCALE of a sorted list of types, has a type.
pub fn catches(state: &[u8], marker: &Hash) -> bool {
    let (types, _) = state[count_len(state)..].as_chunks::<32>();
    types.binary_search(marker).is_ok()
}
