//! A small verifier of proofs. It shares no code with the tries and page trees it checks, only
//! the plain types of [`proof`](crate::proof): it hashes by itself, from the definitions.

use blake2::{Blake2b, Digest, digest::consts::U32};

use crate::hash::Hash;
use crate::key::Key;
use crate::proof::{End, Proof, Step};

/// The fields of a program Instance that its id follows from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceFields {
    /// Its type.
    pub type_id: Hash,
    /// Id of its Image.
    pub image: Hash,
    /// Root of its table.
    pub trie_root: Hash,
    /// SCALE of its status.
    pub status: Vec<u8>,
}

/// What a proof shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The path holds a capability.
    Present {
        /// Its id.
        cap: Hash,
        /// Its bytes, when it is a Data and they came with the proof.
        data: Option<Vec<u8>>,
    },
    /// The path holds nothing.
    Absent,
}

/// Why a proof is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The Instance is not the one of the state root.
    #[error("the instance does not hash to the state root")]
    StateRoot,
    /// A path of no or too many keys.
    #[error("a path has 1 to 8 keys")]
    Path,
    /// Steps are not those of the path.
    #[error("the steps are not those of the path")]
    Steps,
    /// A step does not lead to the root it should start at.
    #[error("step {0} does not hash to its trie root")]
    TrieRoot(usize),
    /// A step ends at an entry that does not lie on the path of its key.
    #[error("step {0} ends at an entry off its path")]
    OffPath(usize),
    /// What a step ends at is not the CNode the next one starts in.
    #[error("step {0} does not end at the CNode of its trie_root")]
    Child(usize),
    /// The bytes are not those of the capability.
    #[error("the data does not hash to the capability")]
    Data,
}

fn h(parts: &[&[u8]]) -> Hash {
    let mut hasher = Blake2b::<U32>::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize().into()
}

fn bit_of(path: &Hash, index: usize) -> bool {
    path[index / 8] & (0x80 >> (index % 8)) != 0
}

/// Checks a chain of steps from a state root: first the Instance, then each key of `path` from
/// one CNode to the next, then the bytes of the Data found, if given.
pub fn verify(
    state_root: &Hash,
    instance: &InstanceFields,
    steps: &[Step],
    path: &[Key],
    data: Option<&[u8]>,
) -> Result<Verdict, VerifyError> {
    let InstanceFields {
        type_id,
        image,
        trie_root,
        status,
    } = instance;
    let body = h(&[&[0x11], image, trie_root, status]);
    let id = h(&[&[0x10], type_id, &body]);
    if h(&[&[0x60], &id]) != *state_root {
        return Err(VerifyError::StateRoot);
    }
    if path.is_empty() || path.len() > 8 {
        return Err(VerifyError::Path);
    }
    if steps.len() > path.len() {
        return Err(VerifyError::Steps);
    }
    let mut root = *trie_root;
    for (index, (step, key)) in steps.iter().zip(path).enumerate() {
        if step.key != *key {
            return Err(VerifyError::Steps);
        }
        let key_hash = h(&[key.as_ref()]);
        let found = walk(&root, &key_hash, &step.siblings, &step.end, index)?;
        let is_last = index + 1 == steps.len();
        let Some(cap) = found else {
            let extra = !is_last || step.trie_root.is_some() || data.is_some();
            return if extra {
                Err(VerifyError::Steps)
            } else {
                Ok(Verdict::Absent)
            };
        };
        if let Some(child) = &step.trie_root {
            if h(&[&[0x40], child]) != cap {
                return Err(VerifyError::Child(index));
            }
            root = *child;
        }
        if index + 1 == path.len() {
            if data.is_some_and(|bytes| data_id(bytes) != cap) {
                return Err(VerifyError::Data);
            }
            return Ok(Verdict::Present {
                cap,
                data: data.map(<[u8]>::to_vec),
            });
        }
        if step.trie_root.is_none() {
            return Err(VerifyError::Child(index));
        }
    }
    // The path goes on where the steps end.
    Err(VerifyError::Steps)
}

/// Checks a proof against a trie root; answers the id of what `key` holds, `None` for nothing.
pub fn verify_key(root: &Hash, key: &Key, proof: &Proof) -> Result<Option<Hash>, VerifyError> {
    let key_hash = h(&[key.as_ref()]);
    if key_hash != proof.key_hash {
        return Err(VerifyError::Steps);
    }
    walk(root, &key_hash, &proof.siblings, &proof.end, 0)
}

fn walk(
    root: &Hash,
    key_hash: &Hash,
    siblings: &[Hash],
    end: &End,
    step: usize,
) -> Result<Option<Hash>, VerifyError> {
    if siblings.len() > 256 {
        return Err(VerifyError::OffPath(step));
    }
    let (mut hash, found) = match end {
        End::Empty => ([0; 32], None),
        End::Leaf {
            key_hash: entry,
            cap,
        } => {
            let shared = (0..siblings.len()).all(|i| bit_of(entry, i) == bit_of(key_hash, i));
            if !shared {
                return Err(VerifyError::OffPath(step));
            }
            let leaf = h(&[&[0x03], entry, cap]);
            (leaf, (entry == key_hash).then_some(*cap))
        }
    };
    for (depth, sibling) in siblings.iter().enumerate().rev() {
        hash = if bit_of(key_hash, depth) {
            h(&[&[0x04], sibling, &hash])
        } else {
            h(&[&[0x04], &hash, sibling])
        };
    }
    if hash == *root {
        Ok(found)
    } else {
        Err(VerifyError::TrieRoot(step))
    }
}

/// The id of the Data with these bytes.
fn data_id(bytes: &[u8]) -> Hash {
    let mut level: Vec<Hash> = bytes.chunks(4096).map(|page| h(&[&[0x01], page])).collect();
    while level.len() > 1 {
        level = level
            .chunks(2)
            .map(|pair| h(&[&[0x02], &pair[0], pair.get(1).unwrap_or(&[0; 32])]))
            .collect();
    }
    let root = level.first().copied().unwrap_or([0; 32]);
    h(&[&[0x30], &(bytes.len() as u64).to_le_bytes(), &root])
}
