//! Checking a `state_proof` answer without trusting who gave it.

use jar_cap::Key;
use jar_cap::proof::{End, Step};
use jar_cap::verify::{InstanceFields, Verdict, VerifyError, verify};
use jar_kernel::block::Header;

use crate::types::{ProofEnd, StateProof};

/// Why an answer proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The header is not the block's.
    #[error("the header does not hash to the block")]
    Header,
    /// The state root is not the header's.
    #[error("the state root is not the header's")]
    StateRoot,
    /// A key of a step is no key.
    #[error("a step's key is not 1 to 32 bytes")]
    Key,
    /// The steps prove something else.
    #[error(transparent)]
    Steps(#[from] VerifyError),
}

/// What an answer proves of a path: all of it follows from the block's hash, which is to be
/// known from elsewhere.
pub fn check(proof: &StateProof, path: &[Key]) -> Result<Verdict, ProofError> {
    if Header::from(&proof.header).hash() != proof.block.0 {
        return Err(ProofError::Header);
    }
    if proof.header.state_root != proof.state_root {
        return Err(ProofError::StateRoot);
    }
    let instance = InstanceFields {
        type_id: proof.instance.type_id.0,
        image: proof.instance.image.0,
        trie_root: proof.instance.trie_root.0,
        status: proof.instance.status.0.clone(),
    };
    let steps = proof
        .steps
        .iter()
        .map(|step| {
            Ok(Step {
                key: Key::new(&step.key.0).map_err(|_| ProofError::Key)?,
                siblings: step.siblings.iter().map(|hash| hash.0).collect(),
                end: match &step.end {
                    ProofEnd::Leaf { key_hash, cap } => End::Leaf {
                        key_hash: key_hash.0,
                        cap: cap.0,
                    },
                    ProofEnd::Empty => End::Empty,
                },
                trie_root: step.trie_root.map(|root| root.0),
            })
        })
        .collect::<Result<Vec<_>, ProofError>>()?;
    let data = proof.data.as_ref().map(|data| data.0.as_slice());
    Ok(verify(&proof.state_root.0, &instance, &steps, path, data)?)
}
