//! What each success does to the table, by a model of its own: the ids of all that it holds are
//! those of the model's, so nothing else was changed.

use jar_cap::{CNode, Key};

use super::*;
use crate::memory::MemoryChainStore;

/// Slot 0.
const SCRATCH: u64 = 0;
/// What [`RO`] begins with.
const RO_BYTES: &[u8] = b"pinned";

fn keys_of(slot: u64) -> Vec<Key> {
    let bytes = slot.to_le_bytes();
    keys(&bytes[..=usize::from(bytes[7])])
}

/// A table that is changed as an operation's row says.
struct Model<'a> {
    store: MemoryChainStore,
    table: CNode,
    ran: &'a Ran,
}

impl Model<'_> {
    fn get(&self, slot: u64) -> Option<Cap> {
        match slot {
            PINNED_IMAGE => Some(Cap::Image(ImageRef::new(small_image()))),
            _ => self
                .table
                .get_path(&self.store, &keys_of(slot))
                .expect("in memory"),
        }
    }

    fn take(&mut self, slot: u64) -> Option<Cap> {
        let held = self.get(slot);
        self.set(slot, None);
        held
    }

    fn set(&mut self, slot: u64, cap: Option<Cap>) {
        self.table
            .set_path(&self.store, &keys_of(slot), cap)
            .expect("a place");
    }

    /// What other tests look at closer.
    fn believe(&mut self, slot: u64) {
        self.set(slot, self.ran.get(&keys_of(slot)));
    }

    fn image(&self, slot: u64) -> ImageRef {
        match self.get(slot) {
            Some(Cap::Image(image)) => image,
            other => panic!("{other:?}"),
        }
    }

    fn type_of(&self, slot: u64) -> [u8; 32] {
        match self.get(slot) {
            Some(Cap::Instance(instance)) => instance.type_id(),
            Some(Cap::Type(id)) => *id,
            other => panic!("{other:?}"),
        }
    }

    fn bytes(&self, address: u64, len: u64) -> Vec<u8> {
        let len = len as usize;
        match address {
            RO => RO_BYTES[..len].to_vec(),
            NOWHERE => Vec::new(),
            _ => self.ran.memory(address, len).to_vec(),
        }
    }

    fn apply(&mut self, op: HostCall, args: &[u64]) {
        let arg = |index: usize| args.get(index).copied().unwrap_or_default();
        let (a, b, c) = (arg(0), arg(1), arg(2));
        match op {
            Op::Copy => self.set(b, self.get(a)),
            Op::Move => {
                let held = self.take(a);
                self.set(b, held);
            }
            Op::Swap => {
                let (first, second) = (self.get(a), self.get(b));
                self.set(a, second);
                self.set(b, first);
            }
            Op::Drop => self.set(a, None),
            Op::MintCnode => self.set(a, Some(Cap::CNode(CNode::empty()))),
            Op::TypeOf => self.set(b, Some(Cap::Type(self.type_of(a).into()))),
            Op::MintData => {
                let data = Data::new(&self.bytes(a, b));
                self.set(c, Some(Cap::Data(data)));
            }
            Op::Save => match self.get(a) {
                Some(Cap::Data(data)) => self.set(b, Some(Cap::Instance(Instance::file(data)))),
                other => panic!("{other:?}"),
            },
            Op::Open => match self.get(a) {
                Some(Cap::Instance(file)) => {
                    let data = file.sealed().expect("a File").clone();
                    self.set(b, Some(Cap::Data(data)));
                }
                other => panic!("{other:?}"),
            },
            Op::MakeImage => self.set(b, Some(Cap::Image(ImageRef::new(small_image())))),
            Op::DeriveSpawn => {
                let image = self.image(a);
                let Some(Cap::CNode(table)) = self.take(b) else {
                    panic!("no CNode was consumed");
                };
                let ty = derive_type(&[1; 32], &image.id());
                let spawned = Instance::program(ty, image, table);
                self.set(c, Some(Cap::Instance(spawned)));
            }
            Op::Subtype => {
                let ty = derive_type(&self.type_of(a), &self.image(b).id());
                self.set(c, Some(Cap::Type(ty.into())));
            }
            Op::SlotRead => self.believe(b),
            Op::Call => [a, SCRATCH].into_iter().for_each(|slot| self.believe(slot)),
            Op::Abort | Op::Detach => self.believe(a),
            // The others leave the table as it is.
            _ => {}
        }
    }
}

#[test]
fn successes_change_what_their_rows_say_and_nothing_else() {
    let mut changing = BTreeSet::new();
    for case in cases() {
        let ran = case.run();
        let is_success = matches!(ran.answer, Answer::Value(_) | Answer::Pair(..));
        if !is_success || case.status().is_some() {
            continue;
        }
        let mut model = Model {
            store: MemoryChainStore::new(),
            table: ran.former.clone(),
            ran: &ran,
        };
        model.apply(case.op, &case.args);
        assert_eq!(model.table.id(), ran.table.id(), "{}", case.name());
        if ran.former.id() != ran.table.id() {
            changing.insert(case.op);
        }
    }
    let expected = [
        Op::Copy,
        Op::Move,
        Op::Drop,
        Op::Swap,
        Op::MintCnode,
        Op::DeriveSpawn,
        Op::MakeImage,
        Op::TypeOf,
        Op::MintData,
        Op::Open,
        Op::Save,
        Op::Call,
        Op::Detach,
        Op::Subtype,
        Op::SlotRead,
    ];
    assert_eq!(changing, expected.into());
}
