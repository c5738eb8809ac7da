//! Hashes of every tag and every SCALE format, kept in `golden.txt`, so that none can change
//! unnoticed. `JAR_BLESS=1 cargo test -p jar-cap --test golden` writes the file anew.

mod common;

use std::fmt::Write;

use common::*;
use jar_cap::hash::{Tag, blake2b, tagged};
use jar_cap::image::{Role, Source};
use jar_cap::{
    CNode, Cap, Data, ImageRef, Instance, Key, MemoryStore, NativeKind, Path, Paused, Resource,
    Scratch, Status, Waiting, derive_type, genesis_type, native_type, set_image_type, state_root,
};
use parity_scale_codec::Encode;

struct Table(String);

impl Table {
    fn hash(&mut self, name: &str, hash: [u8; 32]) {
        writeln!(self.0, "{name} {}", hex::encode(hash)).unwrap();
    }

    fn scale(&mut self, name: &str, value: &impl Encode) {
        let bytes = value.encode();
        if bytes.len() <= 48 {
            writeln!(self.0, "scale {name} {}", hex::encode(bytes)).unwrap();
        } else {
            self.hash(&format!("scale {name} H"), blake2b(&[&bytes]));
        }
    }

    fn cap(&mut self, name: &str, cap: Cap) {
        self.hash(&format!("{:?} {name}", cap.kind()), cap.id());
        let mut store = MemoryStore::new();
        save(&cap, &mut store);
        let mut all = Vec::new();
        for (id, bytes) in store.iter() {
            all.extend(id.as_bytes());
            bytes.encode_to(&mut all);
        }
        self.hash(
            &format!("records {:?} {name}", cap.kind()),
            blake2b(&[&all]),
        );
    }
}

fn sample_ref() -> ImageRef {
    ImageRef::new(sample_image())
}

/// A suspended call of each sort.
fn paused_calls() -> Vec<(&'static str, Paused)> {
    let calling = Path::new(vec![Key::from(5), key(b"long")]).unwrap();
    let plain = Paused {
        regs: std::array::from_fn(|i| i as u64),
        pc: 7,
        waiting: Waiting::Yielded([0x44; 32]),
        ephemeral: Default::default(),
        scratch: None,
        next_image: None,
    };
    let full = |waiting, scratch| Paused {
        waiting,
        ephemeral: [(0, Data::new(&[1; 5000])), (9, Data::new(b"short"))].into(),
        scratch: Some(Scratch::new(scratch)),
        next_image: Some(sample_ref()),
        ..plain.clone()
    };
    let gas = Waiting::OutOf(Resource::Gas, [0x55; 32]);
    let quota = Waiting::OutOf(Resource::Quota, [0x55; 32]);
    let calling = Waiting::Calling(calling);
    vec![
        ("yielded", plain.clone()),
        ("out of gas", full(gas, Cap::Data(Data::new(&[2; 100])))),
        ("out of quota", full(quota, Cap::CNode(accounts(3)))),
        ("calling", full(calling, Cap::Type([0x66; 32].into()))),
    ]
}

fn table() -> String {
    let mut t = Table(String::new());
    for tag in Tag::ALL {
        t.hash(
            &format!("tag {tag:?} {:#04x}", *tag as u8),
            tagged(*tag, &[b"golden"]),
        );
    }
    let id = [0x11; 32];
    t.hash("type genesis", genesis_type(&id));
    t.hash("type set_image", set_image_type(&[0x22; 32], &id));
    t.hash("type derive_spawn", derive_type(&[0x22; 32], &id));
    for kind in NativeKind::ALL {
        t.hash(&format!("type native {}", kind.name()), native_type(*kind));
    }
    t.hash("state root", state_root(&id));

    let image = sample_image();
    t.scale("Key", &Key::from(5));
    t.scale(
        "Path",
        &Path::new(vec![Key::from(5), key(b"long")]).unwrap(),
    );
    t.scale("Status::Idle", &Status::Idle);
    for role in [
        Role::Call,
        Role::View,
        Role::Genesis,
        Role::Schedule(1),
        Role::Transact(2),
        Role::Dispatch,
    ] {
        t.scale(&format!("Role::{role:?}"), &role);
    }
    t.scale("Source::Slot", &Source::Slot(Key::from(5).into()));
    for (init, eager) in [(None, false), (Some(Key::from(5).into()), true)] {
        t.scale("Source::Ephemeral", &Source::Ephemeral { init, eager });
    }
    t.scale("Program", &image.program);
    t.scale("Endpoint", &image.endpoints[&0]);
    t.scale("Mapping", &image.memory[0]);
    t.scale("Pinned::Data", image.pinned.first_key_value().unwrap().1);
    t.scale("Pinned::Image", image.pinned.last_key_value().unwrap().1);
    t.scale("Image", &image);

    for len in [0, 1, 63, 64, 4096, 4097, 8192, 100_000] {
        let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        t.cap(&format!("of {len} bytes"), Cap::Data(Data::new(&bytes)));
    }
    let image = ImageRef::new(image);
    t.cap(
        "empty",
        Cap::Image(ImageRef::new(jar_cap::Image::default())),
    );
    t.cap("sample", Cap::Image(image.clone()));
    t.cap("empty", Cap::CNode(CNode::empty()));
    for len in [1, 2, 3, 1000] {
        t.cap(&format!("of {len} accounts"), Cap::CNode(accounts(len)));
    }
    let program = Instance::program(genesis_type(&image.id()), image, accounts(3));
    t.cap("program", Cap::Instance(program));
    t.cap(
        "native",
        Cap::Instance(Instance::native(NativeKind::Gas, 7u64.encode())),
    );
    for (name, paused) in paused_calls() {
        let status = Status::Paused(paused.clone().into());
        t.scale(&format!("Status::Paused {name}"), &status);
        let program = Instance::paused([0x33; 32], sample_ref(), accounts(2), paused);
        t.cap(name, Cap::Instance(program));
    }
    t.cap("file", Cap::Instance(Instance::file(Data::new(b"sealed"))));
    t.cap("type", Cap::Type(id.into()));
    t.0
}

#[test]
fn golden() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden.txt");
    let found = table();
    if std::env::var_os("JAR_BLESS").is_some() {
        std::fs::write(path, &found).unwrap();
    }
    let expected = std::fs::read_to_string(path).expect("tests/golden.txt; JAR_BLESS=1 writes it");
    for (expected, found) in expected.lines().zip(found.lines()) {
        assert_eq!(expected, found, "a format changed");
    }
    assert_eq!(expected.lines().count(), found.lines().count());
}
