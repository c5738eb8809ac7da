//! The kernel-issued Instances: those a chain is given at genesis, and their states.

use jar_abi::{Status, slots};
use jar_cap::{
    Body, CNode, Cap, Hash, Instance, Key, NativeKind, NodeStore, decode_canonical, native_type,
};
use parity_scale_codec::Encode;

use crate::error::KernelError;

/// Slots and kinds placed in the chain Instance at genesis.
pub const GENESIS_NATIVES: &[(u8, NativeKind)] = &[
    (slots::GAS, NativeKind::Gas),
    (slots::QUOTA, NativeKind::Quota),
    (slots::CATCHER, NativeKind::Catcher),
    (slots::SET_GAS_METER, NativeKind::SetGasMeter),
    (slots::SET_STORAGE_QUOTA, NativeKind::SetStorageQuota),
    (slots::MINT_GAS, NativeKind::MintGas),
    (slots::MINT_QUOTA, NativeKind::MintQuota),
    (slots::CREATE_CATCHER, NativeKind::CreateCatcher),
    (slots::OPEN, NativeKind::Open),
    (slots::SAVE, NativeKind::Save),
    (slots::ATTESTATION, NativeKind::Attestation),
    (slots::CONSENSUS, NativeKind::Consensus),
    (slots::OUT_OF_GAS, NativeKind::OutOfGas),
    (slots::OUT_OF_QUOTA, NativeKind::OutOfQuota),
];

/// A table holding the natives of genesis: the caps name row 0, the Catcher holds the two
/// markers that the kernel yields.
pub fn genesis_table(store: &dyn NodeStore) -> Result<CNode, KernelError> {
    let mut table = CNode::empty();
    for (slot, kind) in GENESIS_NATIVES {
        let native = match kind {
            NativeKind::Gas | NativeKind::Quota => row_cap(*kind, 0),
            NativeKind::Catcher => genesis_catcher().into_instance(),
            _ => Instance::native(*kind, Vec::new()),
        };
        table.set(store, &Key::from(*slot), Some(Cap::Instance(native)))?;
    }
    Ok(table)
}

fn genesis_catcher() -> Catcher {
    let mut types: Vec<Hash> = [NativeKind::OutOfGas, NativeKind::OutOfQuota]
        .map(native_type)
        .into();
    types.sort();
    Catcher(types)
}

/// Whether a capability is the native Instance of a kind.
pub fn is_native(cap: &Cap, kind: NativeKind) -> bool {
    matches!(cap, Cap::Instance(instance) if instance.native_kind() == Some(kind))
}

/// The cap that names a row: its state is the row's number, u64 little-endian.
pub fn row_cap(kind: NativeKind, row: u64) -> Instance {
    Instance::native(kind, row.encode())
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

/// Whether a Catcher's state has a type; read where it stands, as every yield asks every owner.
pub fn catches(state: &[u8], marker: &Hash) -> bool {
    let (types, _) = state[count_len(state)..].as_chunks::<32>();
    types.binary_search(marker).is_ok()
}

/// What a Catcher catches: types in rising order. Its state is SCALE of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catcher(Vec<Hash>);

impl Catcher {
    /// Types a Catcher holds at the most.
    pub const LEN_MAX: usize = 256;

    /// The Catcher of a state; `None` for what is no such state.
    pub fn decode(state: &[u8]) -> Option<Catcher> {
        let types: Vec<Hash> = decode_canonical(state).ok()?;
        let is_sorted = types.windows(2).all(|pair| pair[0] < pair[1]);
        (is_sorted && types.len() <= Catcher::LEN_MAX).then_some(Catcher(types))
    }

    /// Adds a type; one that is there already stays. Refused with `Quota` when full.
    pub fn add(&mut self, marker: Hash) -> Result<(), Status> {
        match self.0.binary_search(&marker) {
            Ok(_) => Ok(()),
            Err(_) if self.0.len() >= Catcher::LEN_MAX => Err(Status::Quota),
            Err(at) => {
                self.0.insert(at, marker);
                Ok(())
            }
        }
    }

    /// Removes a type, if it is there.
    pub fn remove(&mut self, marker: &Hash) {
        if let Ok(at) = self.0.binary_search(marker) {
            self.0.remove(at);
        }
    }

    /// The Instance.
    pub fn into_instance(self) -> Instance {
        Instance::native(NativeKind::Catcher, self.0.encode())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(catcher: &Catcher) -> Vec<u8> {
        catcher.0.encode()
    }

    #[test]
    fn catchers_hold_sorted_types_up_to_their_limit() {
        let mut catcher = Catcher::default();
        let marker = |n: u32| jar_cap::hash::blake2b(&[&n.to_le_bytes()]);
        for n in 0..256 {
            assert!(!catches(&state(&catcher), &marker(n)));
            assert_eq!(catcher.add(marker(n)), Ok(()));
            // Each state is told from its bytes alone, at every length of the count.
            assert!((0..=n).all(|n| catches(&state(&catcher), &marker(n))));
            assert_eq!(Catcher::decode(&state(&catcher)), Some(catcher.clone()));
        }
        assert_eq!(catcher.add(marker(256)), Err(Status::Quota));
        assert_eq!(catcher.add(marker(3)), Ok(()), "there already");
        catcher.remove(&marker(3));
        catcher.remove(&marker(3));
        assert!(!catches(&state(&catcher), &marker(3)));
        assert_eq!(catcher.add(marker(256)), Ok(()));
    }

    #[test]
    fn what_is_no_catchers_state_catches_nothing() {
        for state in [&[][..], &[0], &[1; 31], &[4; 33], &[255; 64]] {
            assert!(!catches(state, &[0; 32]));
        }
        for bad in [
            vec![[2u8; 32], [1; 32]].encode(),
            vec![[1u8; 32]; 2].encode(),
            vec![0, 0],
            vec![],
        ] {
            assert_eq!(Catcher::decode(&bad), None);
        }
        let many: Vec<Hash> = (0..257u16)
            .map(|n| {
                let mut hash = [0; 32];
                hash[..2].copy_from_slice(&n.to_be_bytes());
                hash
            })
            .collect();
        assert_eq!(Catcher::decode(&many.encode()), None);
        assert!(Catcher::decode(&many[..256].to_vec().encode()).is_some());
    }

    #[test]
    fn caps_name_rows() {
        let cap = row_cap(NativeKind::Gas, 7);
        assert_eq!(row_of(&cap, NativeKind::Gas), Some(7));
        assert_eq!(row_of(&cap, NativeKind::Quota), None);
        let odd = Instance::native(NativeKind::Gas, vec![1; 7]);
        assert_eq!(row_of(&odd, NativeKind::Gas), None);
    }
}
