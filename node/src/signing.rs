//! Whether this node may sign: what the driver's [`SigningGuard`] decides, with a marker that tells
//! a copy of the data directory.
//!
//! The marker is a file in the directory that names itself: inode and time of creation, which
//! copying tools don't carry over. After a copy they differ. A restored snapshot of a whole disk
//! keeps them; then what the chain holds of this node's signatures tells.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use anyhow::Context;
use jar_driver::{SigningGuard, SigningNews};
use jar_kernel::Hardware;
use jar_kernel::block::Block;
use jar_kernel::local::LocalHardware;
use jar_rpc::to_hex;
use tracing::{info, warn};

/// Name of the marker in the data directory.
const MARKER: &str = "instance";

/// What decides whether this node may sign.
#[derive(Debug)]
pub struct Guard {
    hardware: Arc<LocalHardware>,
    core: SigningGuard,
    marker: PathBuf,
}

/// What tells a file from a copy of it: inode and time of creation. Where the file system knows
/// no such time, copies are told by their inodes alone.
fn identity(path: &Path) -> std::io::Result<String> {
    let metadata = fs::metadata(path)?;
    let created = metadata.created().ok();
    let created = created.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let nanos = created.map_or(0, |time| time.as_nanos());
    Ok(format!("{} {nanos}\n", metadata.ino()))
}

/// Whether the marker names itself; `None` when there is none.
fn is_at_home(marker: &Path) -> std::io::Result<Option<bool>> {
    match fs::read_to_string(marker) {
        Ok(text) => Ok(Some(text == identity(marker)?)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == ErrorKind::InvalidData => Ok(Some(false)),
        Err(error) => Err(error),
    }
}

fn write_marker(marker: &Path) -> std::io::Result<()> {
    let file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(marker)?;
    // Written in place: another file would have another inode.
    fs::write(marker, identity(marker)?)?;
    file.sync_all()
}

impl Guard {
    /// The guard of a data directory, which held a chain before or not. `is_confirmed` is the
    /// operator's word that the directory's watermarks are the newest.
    pub fn new(
        data_dir: &Path,
        hardware: Arc<LocalHardware>,
        held_a_chain: bool,
        is_confirmed: bool,
        first_slot: u64,
    ) -> anyhow::Result<Guard> {
        let marker = data_dir.join(MARKER);
        let in_marker = || format!("marker {}", marker.display());
        let is_restored =
            held_a_chain && is_at_home(&marker).with_context(in_marker)? != Some(true);
        let core = SigningGuard::new(hardware.signer(), is_restored && !is_confirmed, first_slot);
        if core.is_on() {
            write_marker(&marker).with_context(in_marker)?;
        } else {
            warn!(target: "signing", "the data directory is a copy: signing is off until two finalizations were seen, or until the node is started once with --signing-after-restore");
        }
        Ok(Guard {
            hardware,
            core,
            marker,
        })
    }

    /// Whether this node signs.
    pub fn is_on(&self) -> bool {
        self.core.is_on()
    }

    /// Looks for signatures of this node's keys in a block that another node gave it.
    pub fn imported(&mut self, block: &Block) -> anyhow::Result<()> {
        let (signer, store) = (self.hardware.signer(), self.hardware.store());
        let news = self.core.imported(signer, &*store, block)?;
        self.tell(news)
    }

    /// A block of `slot` finalized one of `final_slot`: the head is at one height, the last
    /// finalized block at the other.
    pub fn finalized(
        &mut self,
        slot: u64,
        final_slot: u64,
        heights: (u64, u64),
    ) -> anyhow::Result<()> {
        let (signer, store) = (self.hardware.signer(), self.hardware.store());
        let slots = (slot, final_slot);
        let news = self.core.finalized(signer, &*store, slots, heights)?;
        self.tell(news)
    }

    /// Tells the operator; a directory that signs again is at home.
    fn tell(&self, news: Option<SigningNews>) -> anyhow::Result<()> {
        match news {
            None => {}
            Some(SigningNews::Shared { key, slot }) => {
                let key = to_hex(&key);
                warn!(target: "signing", key, slot, "another node signs with this node's key: signing is off; stop one of them, then start this one again");
            }
            Some(SigningNews::Outdated { key, slot }) => {
                let key = to_hex(&key);
                warn!(target: "signing", key, slot, "the key signed what this node's watermarks do not know of: signing is off until two finalizations were seen, or until the node is started once with --signing-after-restore");
            }
            Some(SigningNews::On) => {
                write_marker(&self.marker).context("marker")?;
                info!(target: "signing", "two finalizations were seen: signing is on");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use jar_kernel::block::{Attestation, Body, Event, Header, PublicKey, Scope};
    use jar_kernel::memory::MemoryChainStore;
    use jar_kernel::signer::Signer;
    use jar_kernel::{Commit, SignRequest, Store, Watermark};

    use super::*;

    const FIRST_SLOT: u64 = 100;

    /// A chain that watermarks can belong to.
    fn genesis() -> Commit {
        let header = Header {
            genesis: [0; 32],
            parent: [0; 32],
            height: 0,
            slot: 0,
            body_root: [0; 32],
            state_root: [0; 32],
            outcome_root: [0; 32],
        };
        let hash = header.hash();
        let body = Body::default();
        Commit {
            block: Arc::new(Block { header, body }),
            hash,
            score: 0,
            instance: [0; 32],
            outcomes: Vec::new(),
            events: Vec::new(),
            nodes: Vec::new(),
            canonical: vec![(0, Some(hash))],
            head: Some(hash),
            finalized: Some(hash),
            watermarks: Vec::new(),
        }
    }

    struct Rig {
        dir: tempfile::TempDir,
        hardware: Arc<LocalHardware>,
        key: PublicKey,
    }

    impl Rig {
        fn new() -> Rig {
            let store = Arc::new(MemoryChainStore::new());
            store.commit(&genesis()).expect("committed");
            let signer = Signer::new([[7; 32]], &*store).expect("a signer");
            let (sink, stop) = (Box::new(|_| {}), Box::new(|| false));
            let key = *signer.keys().next().expect("a key");
            Rig {
                dir: tempfile::tempdir().expect("a directory"),
                key,
                hardware: Arc::new(LocalHardware::new(store, signer, sink, stop)),
            }
        }

        fn guard(&self, held_a_chain: bool, is_confirmed: bool) -> Guard {
            let dir = self.dir.path();
            let hardware = self.hardware.clone();
            let guard = Guard::new(dir, hardware, held_a_chain, is_confirmed, FIRST_SLOT);
            guard.expect("a guard")
        }

        /// Puts a copy of the marker in its place, as restoring a directory does.
        fn restore(&self) {
            let (marker, copy) = (self.dir.path().join(MARKER), self.dir.path().join("copy"));
            fs::copy(&marker, &copy).expect("copied");
            fs::rename(copy, marker).expect("moved");
        }

        fn may_seal(&self, slot: u64) -> bool {
            self.hardware.may_sign(&SignRequest {
                key: self.key,
                scope: Scope::Seal,
                slot,
            })
        }

        fn block(&self, slot: u64, scope: Scope) -> Block {
            let attestation = Attestation {
                key: self.key,
                scope,
                blob_hash: [0; 32],
                signature: [0; 64],
            };
            let mut body = Body::default();
            match scope {
                Scope::Seal => body.attestations.push(attestation),
                _ => body.groups.push((
                    0,
                    vec![Event {
                        attestations: vec![attestation],
                        ..Event::default()
                    }],
                )),
            }
            Block {
                header: Header {
                    genesis: [1; 32],
                    parent: [2; 32],
                    height: 3,
                    slot,
                    body_root: body.root(),
                    state_root: [0; 32],
                    outcome_root: [0; 32],
                },
                body,
            }
        }

        fn import(&self, guard: &mut Guard, slot: u64, scope: Scope) {
            let block = self.block(slot, scope);
            guard.imported(&block).expect("no trouble");
        }

        fn finalize(&self, guard: &mut Guard, slot: u64) {
            let finalized = guard.finalized(slot, slot, (slot, slot - 2));
            finalized.expect("no trouble");
        }
    }

    #[test]
    fn a_directory_at_home_signs() {
        let rig = Rig::new();
        assert!(rig.guard(false, false).is_on());
        assert!(rig.guard(true, false).is_on());
        assert!(rig.may_seal(1));
    }

    #[test]
    fn a_copied_directory_signs_after_two_finalizations() {
        let rig = Rig::new();
        rig.guard(false, false);
        rig.restore();
        let mut guard = rig.guard(true, false);
        assert!(!guard.is_on() && !rig.may_seal(200));
        rig.finalize(&mut guard, FIRST_SLOT - 1);
        rig.finalize(&mut guard, FIRST_SLOT);
        assert!(!guard.is_on(), "history does not count");
        rig.finalize(&mut guard, FIRST_SLOT + 3);
        assert!(guard.is_on());
        assert!(!rig.may_seal(FIRST_SLOT + 3) && rig.may_seal(FIRST_SLOT + 4));
        assert!(rig.guard(true, false).is_on(), "it is at home now");
    }

    #[test]
    fn the_operator_may_confirm() {
        let rig = Rig::new();
        assert!(!rig.guard(true, false).is_on(), "no marker");
        assert!(rig.guard(true, true).is_on());
        assert!(rig.guard(true, false).is_on());
    }

    #[test]
    fn own_signatures_on_the_chain_tell_a_restored_disk() {
        for scope in [
            Scope::Seal,
            Scope::Vote {
                source: 1,
                target: 9,
            },
        ] {
            let rig = Rig::new();
            let mut guard = rig.guard(false, false);
            rig.import(&mut guard, 50, scope);
            assert!(!guard.is_on() && !rig.may_seal(200));
            let known = rig.hardware.signer().watermark(&rig.key).expect("held");
            let stored = rig.hardware.store().watermark(&rig.key).expect("read");
            assert_eq!(stored, known);
            rig.finalize(&mut guard, FIRST_SLOT);
            rig.finalize(&mut guard, FIRST_SLOT + 1);
            assert!(guard.is_on());
        }
    }

    #[test]
    fn a_key_in_use_elsewhere_is_not_used() {
        let rig = Rig::new();
        let mut guard = rig.guard(false, false);
        rig.import(&mut guard, FIRST_SLOT, Scope::Seal);
        for slot in FIRST_SLOT..FIRST_SLOT + 5 {
            rig.finalize(&mut guard, slot);
        }
        assert!(!guard.is_on() && !rig.may_seal(1000));
    }

    #[test]
    fn what_the_watermark_knows_is_its_own() {
        let rig = Rig::new();
        let mut guard = rig.guard(false, false);
        let own = Watermark {
            seal_slot: Some(60),
            vote: Some((3, 9)),
        };
        rig.hardware.signer().raise(&rig.key, &own).expect("held");
        rig.import(&mut guard, 50, Scope::Seal);
        rig.import(
            &mut guard,
            61,
            Scope::Vote {
                source: 3,
                target: 9,
            },
        );
        assert!(guard.is_on());
        rig.import(&mut guard, 60, Scope::Seal);
        assert!(!guard.is_on(), "a second seal of the last slot");
    }
}
