//! The node's own key on the network, kept in its data directory. It signs nothing of the chain.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, ensure};
use libp2p::identity::{Keypair, ed25519};

/// Name of the file in the data directory.
const FILE: &str = "network.key";
/// Bytes of an ed25519 seed.
const SEED_BYTES: usize = 32;

/// The key kept in a data directory; one is made where there is none.
///
/// Fails when the file cannot be read or written, or holds something else.
pub fn load_or_create(data_dir: &Path) -> anyhow::Result<Keypair> {
    let path = data_dir.join(FILE);
    match fs::read(&path) {
        Ok(seed) => {
            ensure!(
                seed.len() == SEED_BYTES,
                "{}: {} bytes, a network key has {SEED_BYTES}; remove the file for a new one",
                path.display(),
                seed.len()
            );
            Ok(Keypair::ed25519_from_bytes(seed)?)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => create(&path),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn create(path: &Path) -> anyhow::Result<Keypair> {
    let key = ed25519::Keypair::generate();
    let written = || -> std::io::Result<()> {
        // Whole or not at all: a crash leaves the temporary file, which is written anew.
        let temporary = path.with_extension("new");
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(key.secret().as_ref())?;
        file.sync_all()?;
        fs::rename(temporary, path)
    };
    written().with_context(|| format!("cannot write {}", path.display()))?;
    Ok(key.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_stays_and_is_private() {
        let dir = tempfile::tempdir().expect("a directory");
        let key = load_or_create(dir.path()).expect("a key");
        let again = load_or_create(dir.path()).expect("a key");
        assert_eq!(key.public(), again.public());
        let path = dir.path().join(FILE);
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(&path, b"short").expect("written");
        let error = load_or_create(dir.path()).expect_err("refused");
        assert!(error.to_string().contains("5 bytes"), "{error}");
    }
}
