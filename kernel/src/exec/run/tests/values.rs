//! Successes that show more than a number: what was copied, hashed, described, or found.

use jar_abi::{HashAlgorithm, HostCall, Kind, SlotItemKind};
use jar_cap::{Cap, Key};
use parity_scale_codec::{Decode, Encode};

use super::rig::*;
use crate::block::Scope;
use crate::exec::Keep;

fn in_memory(bytes: &[u8]) -> Scene {
    Scene {
        memory: vec![(RAM, bytes.to_vec())],
        ..Scene::default()
    }
}

#[test]
fn kind_tells_kinds_and_sizes() {
    let cases = [
        (DATA, Kind::Data, DATA_LEN as u64),
        (CNODE, Kind::CNode, 0),
        (TYPE, Kind::Type, 0),
        (CALLEE, Kind::Instance, 0),
        (17, Kind::Instance, 0),
        (IMAGE, Kind::Image, image().encode().len() as u64),
        (PINNED_DATA, Kind::Data, 6),
        (
            PINNED_IMAGE,
            Kind::Image,
            small_image().encode().len() as u64,
        ),
        (path(&[41, 3]), Kind::Data, 1),
    ];
    for (slot, kind, size) in cases {
        let ran = run(&Scene::default(), number(HostCall::Kind), &[slot]);
        assert_eq!(ran.answer, Answer::Pair(kind as u64, size), "slot {slot}");
    }
}

#[test]
fn next_key_goes_through_all_keys_in_order_of_their_hashes() {
    let mut expected: Vec<Key> = keys(&ENTRIES);
    expected.sort_by_key(Key::hash);
    let mut found = Vec::new();
    let mut after: Vec<u8> = Vec::new();
    loop {
        let scene = in_memory(&after);
        let args = [CNODE, RAM, after.len() as u64, RAM + 64];
        let ran = run(&scene, number(HostCall::NextKey), &args);
        match ran.answer {
            Answer::Value(len) => after = ran.memory(RAM + 64, len as usize).to_vec(),
            Answer::Status(status) => {
                assert_eq!(status, jar_abi::Status::Empty);
                break;
            }
            other => panic!("{other:?}"),
        }
        found.push(Key::new(&after).expect("a key"));
    }
    assert_eq!(found, expected);
    // A key that is not there has a place among the others all the same.
    let absent = Key::from(99);
    let scene = in_memory(absent.as_slice());
    let ran = run(
        &scene,
        number(HostCall::NextKey),
        &[CNODE, RAM, 1, RAM + 64],
    );
    let next = expected.iter().find(|key| key.hash() > absent.hash());
    match next {
        Some(key) => assert_eq!(ran.memory(RAM + 64, 1), key.as_slice()),
        None => assert_eq!(ran.answer, Answer::Status(jar_abi::Status::Empty)),
    }
}

#[test]
fn read_data_copies_what_is_there() {
    let bytes = data_bytes();
    for (offset, len, copied) in [
        (0, 10, 10),
        (4090, 20, 20),
        (4999, 100, 1),
        (5000, 100, 0),
        (0, 6000, 5000),
        (7, 0, 0),
    ] {
        let args = [DATA, RAM, len as u64, offset as u64];
        let ran = run(&Scene::default(), number(HostCall::ReadData), &args);
        assert_eq!(ran.answer, Answer::Value(copied as u64));
        assert_eq!(ran.memory(RAM, copied), &bytes[offset..offset + copied]);
        assert!(ran.memory(RAM + copied as u64, 64).iter().all(|b| *b == 0));
    }
}

#[test]
fn mint_data_takes_what_is_in_memory() {
    for len in [0, 1, 4096, 9000] {
        let bytes = vec![5; len];
        let args = [RAM, len as u64, FREE];
        let ran = run(&in_memory(&bytes), number(HostCall::MintData), &args);
        assert_eq!(ran.answer, Answer::Value(0));
        assert_eq!(ran.bytes(&[50]), Some(bytes));
    }
}

#[test]
fn hash_knows_three_algorithms() {
    // Digests of "abc": RFC 7693's function with 32 bytes, FIPS 180-4, and Keccak-256.
    let cases = [
        (
            HashAlgorithm::Blake2b256,
            "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319",
        ),
        (
            HashAlgorithm::Sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ),
        (
            HashAlgorithm::Keccak256,
            "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45",
        ),
    ];
    for (algorithm, digest) in cases {
        let args = [algorithm as u64, RAM, 3, RAM + 64];
        let ran = run(&in_memory(b"abc"), number(HostCall::Hash), &args);
        assert_eq!(ran.answer, Answer::Value(0));
        assert_eq!(crate::error::hex(ran.memory(RAM + 64, 32)), digest);
    }
}

#[test]
fn block_info_is_scale() {
    let ran = run(&Scene::default(), number(HostCall::BlockInfo), &[RAM]);
    let expected = ([1u8; 32], [2u8; 32], 3u64, 4u64, 5u64).encode();
    assert_eq!(ran.memory(RAM, expected.len()), expected);
}

#[test]
fn copies_share_and_moves_leave_nothing() {
    let ran = run(&Scene::default(), number(HostCall::Copy), &[CNODE, FREE]);
    assert_eq!(ran.get(&keys(&[50])), ran.get(&keys(&[41])));
    let ran = run(
        &Scene::default(),
        number(HostCall::Copy),
        &[CNODE, path(&[41, 9])],
    );
    assert_eq!(ran.bytes(&[41, 9, 3]), Some(vec![3]), "a copy of before");
    assert!(ran.get(&keys(&[41, 9, 9])).is_none());
    let args = [path(&[41, 3]), path(&[41, 9])];
    let ran = run(&Scene::default(), number(HostCall::Move), &args);
    assert_eq!(ran.bytes(&[41, 9]), Some(vec![3]));
    assert!(ran.get(&keys(&[41, 3])).is_none());
    let ran = run(&Scene::default(), number(HostCall::Copy), &[PINNED_DATA, 0]);
    assert_eq!(ran.bytes(&[0]), Some(b"pinned".to_vec()));
}

#[test]
fn types_are_those_of_instances() {
    let ran = run(&Scene::default(), number(HostCall::TypeOf), &[CALLEE, FREE]);
    assert_eq!(ran.get(&keys(&[50])), Some(Cap::Type([3; 32].into())));
    for (a, b, same) in [(CALLEE, TYPE, 1), (17, TYPE, 0), (17, 17, 1), (17, 18, 0)] {
        let ran = run(&Scene::default(), number(HostCall::SameType), &[a, b]);
        assert_eq!(ran.answer, Answer::Value(same));
    }
}

#[test]
fn slot_read_shows_no_signature() {
    let scene = Scene {
        has_slot: true,
        ..Scene::default()
    };
    let ran = run(&scene, number(HostCall::SlotRead), &[1, FREE]);
    let bytes = ran.bytes(&[50]).expect("a Data");
    type Shown = (u8, u8, Vec<u8>, Vec<([u8; 32], Scope, [u8; 32])>);
    let shown = Shown::decode(&mut &bytes[..]).expect("as documented");
    let attestations = vec![(KEY, Scope::Direct, [2; 32])];
    assert_eq!(shown, (0, 2, b"second".to_vec(), attestations));
}

#[test]
fn slot_emit_and_keep_leave_their_effects() {
    let picks = vec![(0u32, 0u32), (u32::MAX, 1)].encode();
    let scene = Scene {
        has_slot: true,
        ..in_memory(&picks)
    };
    let kind = SlotItemKind::Transact as u64;
    let args = [kind, 2, DATA, RAM, picks.len() as u64];
    let ran = run(&scene, number(HostCall::SlotEmit), &args);
    let item = &ran.effects.items[0];
    assert_eq!(item.picks, [(0, 0), (u32::MAX, 1)]);
    assert_eq!(item.payload, data_bytes());
    let scene = Scene {
        has_slot: true,
        ..in_memory(&[0b10])
    };
    let ran = run(&scene, number(HostCall::SlotKeep), &[RAM, 1]);
    assert!(matches!(&ran.effects.keep, Keep::Some { items: 1, .. }));
    let ran = run(&scene, number(HostCall::SlotKeep), &[0, 0]);
    assert_eq!(ran.effects.keep, Keep::All);
    let ran = run(&scene, number(HostCall::SlotClear), &[]);
    assert_eq!(ran.effects.keep, Keep::None);
}

#[test]
fn attest_notes_what_it_may_sign_once_for_a_seal() {
    let bytes = [&KEY[..], &[1]].concat();
    let scene = Scene {
        signing: Some(vec![KEY]),
        ..in_memory(&bytes)
    };
    let seal = [17, RAM, 0, 0, RAM + 32, 1];
    let ran = run(&scene, number(HostCall::Attest), &seal);
    assert_eq!(ran.answer, Answer::Value(1));
    assert_eq!(ran.obligations[0].scope, Scope::Seal);
    assert_eq!(ran.obligations[0].blob_hash, [0; 32]);
    let scene = Scene {
        signing: Some(vec![[8; 32]]),
        ..in_memory(&bytes)
    };
    let ran = run(&scene, number(HostCall::Attest), &seal);
    assert_eq!(ran.answer, Answer::Value(0), "a key that is not held");
    assert_eq!(ran.obligations, []);
}
