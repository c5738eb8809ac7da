//! Proofs of inclusion and absence, checked by the verifier; and refused when tampered with.

mod common;

use common::*;
use jar_cap::proof::{End, Proof, Step};
use jar_cap::verify::{InstanceFields, Verdict, VerifyError, verify, verify_key};
use jar_cap::{Body, CNode, Cap, Data, Error, Hash, Instance, Key, MemoryStore, load, state_root};
use parity_scale_codec::Encode;
use proptest::prelude::*;
use proptest::sample::Index;

proptest! {
    #![proptest_config(seeded(256))]

    #[test]
    fn each_key_is_proven_there_or_not(keys in prop::collection::btree_set(any_key(), 0..60),
        asked in prop::collection::vec(any_key(), 1..20)) {
        let store = MemoryStore::new();
        let list: Vec<_> = keys.iter().map(|key| (*key, data(key.as_ref()))).collect();
        let map = map(&list);
        for key in keys.iter().chain(&asked) {
            let proof = map.prove(&store, key).unwrap();
            let expected = keys.contains(key).then(|| data(key.as_ref()).id());
            prop_assert_eq!(verify_key(&map.root(), key, &proof), Ok(expected));
        }
    }

    #[test]
    fn a_tampered_proof_fails(keys in prop::collection::btree_set(any_key(), 1..60),
        asked in any_key(), pick in any::<Index>(), tamper in any_tamper()) {
        let store = MemoryStore::new();
        let list: Vec<_> = keys.iter().map(|key| (*key, data(key.as_ref()))).collect();
        let map = map(&list);
        let keys: Vec<_> = keys.into_iter().chain([asked]).collect();
        let key = keys[pick.index(keys.len())];
        let proof = map.prove(&store, &key).unwrap();
        let mut changed = proof.clone();
        tamper.apply(&mut changed);
        if changed != proof {
            prop_assert!(verify_key(&map.root(), &key, &changed).is_err(), "{:?}", changed);
        }
        let mut other = map.root();
        other[0] ^= 1;
        prop_assert!(verify_key(&other, &key, &proof).is_err());
    }
}

#[derive(Clone, Debug)]
enum Tamper {
    FlipSibling(Index, Index, u8),
    DropSibling(Index),
    AddSibling(Index, Hash),
    FlipKeyHash(Index, u8),
    FlipEndKey(Index, u8),
    FlipEndCap(Index, u8),
    ReplaceEnd(Option<(Hash, Hash)>),
    ClaimKey,
}

fn any_tamper() -> impl Strategy<Value = Tamper> {
    let at = any::<Index>;
    let flip = 1..=255u8;
    prop_oneof![
        (at(), at(), flip.clone()).prop_map(|(i, j, flip)| Tamper::FlipSibling(i, j, flip)),
        at().prop_map(Tamper::DropSibling),
        (at(), any::<Hash>()).prop_map(|(i, hash)| Tamper::AddSibling(i, hash)),
        (at(), Just([0; 32])).prop_map(|(i, hash)| Tamper::AddSibling(i, hash)),
        (at(), flip.clone()).prop_map(|(i, flip)| Tamper::FlipKeyHash(i, flip)),
        (at(), flip.clone()).prop_map(|(i, flip)| Tamper::FlipEndKey(i, flip)),
        (at(), flip).prop_map(|(i, flip)| Tamper::FlipEndCap(i, flip)),
        any::<Option<(Hash, Hash)>>().prop_map(Tamper::ReplaceEnd),
        Just(Tamper::ClaimKey),
    ]
}

impl Tamper {
    fn apply(&self, proof: &mut Proof) {
        let count = proof.siblings.len();
        match self {
            Tamper::FlipSibling(i, j, flip) if count > 0 => {
                proof.siblings[i.index(count)][j.index(32)] ^= flip;
            }
            Tamper::DropSibling(i) if count > 0 => {
                proof.siblings.remove(i.index(count));
            }
            Tamper::AddSibling(i, hash) => proof.siblings.insert(i.index(count + 1), *hash),
            Tamper::FlipKeyHash(i, flip) => proof.key_hash[i.index(32)] ^= flip,
            Tamper::ReplaceEnd(end) => {
                proof.end = end.map_or(End::Empty, |(key_hash, cap)| End::Leaf { key_hash, cap });
            }
            _ => {}
        }
        if let End::Leaf { key_hash, cap } = &mut proof.end {
            match self {
                Tamper::FlipEndKey(i, flip) => key_hash[i.index(32)] ^= flip,
                Tamper::FlipEndCap(i, flip) => cap[i.index(32)] ^= flip,
                Tamper::ClaimKey => *key_hash = proof.key_hash,
                _ => {}
            }
        }
    }
}

/// A chain Instance with balances below slot 33, and what a client needs of it.
struct Chain {
    store: MemoryStore,
    table: CNode,
    fields: InstanceFields,
    root: Hash,
}

fn chain() -> Chain {
    let mut store = MemoryStore::new();
    let mut table = CNode::empty();
    table
        .set(&store, &Key::from(32), Some(data(&[5; 9000])))
        .unwrap();
    table
        .set(&store, &Key::from(33), Some(Cap::CNode(accounts(500))))
        .unwrap();
    let cap = Cap::Instance(Instance::program([1; 32], image(3), table));
    save(&cap, &mut store);
    // As a node answers it: from the store.
    let Cap::Instance(instance) = load(&store, &record_id(&cap)).unwrap() else {
        panic!("an Instance was persisted");
    };
    let Body::Program {
        image,
        cnode,
        status,
    } = instance.body()
    else {
        panic!("a program was persisted");
    };
    Chain {
        fields: InstanceFields {
            type_id: instance.type_id(),
            image: image.id(),
            trie_root: cnode.root(),
            status: status.encode(),
        },
        root: state_root(&instance.id()),
        table: cnode.clone(),
        store,
    }
}

impl Chain {
    fn prove(&self, path: &[Key]) -> Vec<Step> {
        self.table.prove_path(&self.store, path).unwrap().0
    }

    fn check(
        &self,
        steps: &[Step],
        path: &[Key],
        data: Option<&[u8]>,
    ) -> Result<Verdict, VerifyError> {
        verify(&self.root, &self.fields, steps, path, data)
    }
}

#[test]
fn a_balance_is_proven_from_the_state_root() {
    let chain = chain();
    let path = [Key::from(33), account(7)];
    let (steps, cap) = chain.table.prove_path(&chain.store, &path).unwrap();
    let bytes = 7u64.to_le_bytes();
    assert_eq!(cap, Some(data(&bytes)));
    let present = |data: Option<&[u8]>| Verdict::Present {
        cap: Data::new(&bytes).id(),
        data: data.map(<[u8]>::to_vec),
    };
    assert_eq!(
        chain.check(&steps, &path, Some(&bytes)),
        Ok(present(Some(&bytes)))
    );
    assert_eq!(chain.check(&steps, &path, None), Ok(present(None)));
    assert_eq!(
        chain.check(&steps, &path, Some(&8u64.to_le_bytes())),
        Err(VerifyError::Data)
    );

    let large = [Key::from(32)];
    let steps = chain.prove(&large);
    assert!(chain.check(&steps, &large, Some(&[5; 9000])).is_ok());
    assert!(chain.check(&steps, &large, Some(&[5; 8999])).is_err());
    let parent = [Key::from(33)];
    assert!(chain.check(&chain.prove(&parent), &parent, None).is_ok());
}

#[test]
fn absence_is_proven_at_each_step() {
    let chain = chain();
    for path in [
        &[Key::from(33), account(500)][..],
        &[Key::from(34)],
        &[Key::from(34), account(7), Key::from(1)],
        &[Key::from(0)],
    ] {
        let steps = chain.prove(path);
        assert_eq!(chain.check(&steps, path, None), Ok(Verdict::Absent));
        assert!(chain.check(&steps, path, Some(b"x")).is_err());
    }
    assert_eq!(
        chain
            .table
            .prove_path(&chain.store, &[Key::from(32), Key::from(1)]),
        Err(Error::NotCNode(0))
    );
    assert_eq!(
        chain.table.prove_path(&chain.store, &[]),
        Err(Error::PathLength(0))
    );
}

#[test]
fn a_chain_of_steps_holds_together() {
    let chain = chain();
    let path = [Key::from(33), account(7)];
    let good = chain.prove(&path);
    let refused = |change: &dyn Fn(&mut Vec<Step>)| {
        let mut steps = good.clone();
        change(&mut steps);
        chain.check(&steps, &path, None).expect_err("refused")
    };
    assert_eq!(
        refused(&|steps| {
            steps.pop();
        }),
        VerifyError::Steps
    );
    assert_eq!(
        refused(&|steps| steps.push(steps[1].clone())),
        VerifyError::Steps
    );
    assert_eq!(refused(&|steps| steps.clear()), VerifyError::Steps);
    assert_eq!(refused(&|steps| steps.swap(0, 1)), VerifyError::Steps);
    assert_eq!(
        refused(&|steps| steps[1].key = account(8)),
        VerifyError::Steps
    );
    assert_eq!(
        refused(&|steps| steps[0].trie_root = None),
        VerifyError::Child(0)
    );
    assert_eq!(
        refused(&|steps| steps[0].trie_root = Some([1; 32])),
        VerifyError::Child(0)
    );
    assert_eq!(
        refused(&|steps| steps[1].trie_root = Some([1; 32])),
        VerifyError::Child(1)
    );
    assert_eq!(
        refused(&|steps| steps[1].end = End::Empty),
        VerifyError::TrieRoot(1)
    );
    // A present key taken for an absent one by the word of another trie.
    let absent = chain.prove(&[Key::from(34)]);
    assert_eq!(
        chain.check(&absent, &[Key::from(33)], None),
        Err(VerifyError::Steps)
    );
    assert_eq!(
        chain.check(&good, &[account(7); 9], None),
        Err(VerifyError::Path)
    );
    assert_eq!(chain.check(&[], &[], None), Err(VerifyError::Path));
}

#[test]
fn the_instance_is_that_of_the_state_root() {
    let chain = chain();
    let path = [Key::from(32)];
    let steps = chain.prove(&path);
    let changes: [fn(&mut InstanceFields); 5] = [
        |fields| fields.type_id[0] ^= 1,
        |fields| fields.image[0] ^= 1,
        |fields| fields.trie_root[0] ^= 1,
        |fields| fields.status = vec![1],
        |fields| fields.status.clear(),
    ];
    for change in changes {
        let mut fields = chain.fields.clone();
        change(&mut fields);
        assert_eq!(
            verify(&chain.root, &fields, &steps, &path, None),
            Err(VerifyError::StateRoot)
        );
    }
}

#[test]
fn hostile_lengths_are_refused() {
    let proof = Proof {
        key_hash: Key::from(1).hash(),
        siblings: vec![[0; 32]; 257],
        end: End::Empty,
    };
    assert_eq!(
        verify_key(&[0; 32], &Key::from(1), &proof),
        Err(VerifyError::OffPath(0))
    );
}
