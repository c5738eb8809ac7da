//! What comes from files, peers, clients and guests: programs, Images, values in SCALE. Nothing
//! panics, and what is taken has one encoding.

use jar_cap::image::{Image, Limits, Role};
use jar_cap::{Hash, Key, NativeKind, Path, RecordId, Reference, decode_canonical};
use jar_kernel::block::{
    Attestation, Block, Body, Ending, Event, Header, Outcome, Record, Scope, outcome_root,
};
use jar_kernel::{EventLocation, StoredHeader, Watermark, decode_block};
use jar_pvm::{Program, disassemble};
use parity_scale_codec::{Decode, Encode};

/// A blob of the Gray Paper is a program or an error; the program's own blob is the same program.
pub fn blob(data: &[u8]) {
    let Ok(program) = Program::from_blob(data) else {
        return;
    };
    assert!(!disassemble(&program).is_empty());
    let again = program.to_blob();
    assert!(again.len() <= data.len(), "the own form is no longer");
    assert_eq!(Program::from_blob(&again), Ok(program));
}

/// What decodes at all encodes to bytes that are taken, and taken as the same; what is taken as
/// canonical was those bytes.
fn check_value<T: Decode + Encode + PartialEq + std::fmt::Debug>(bytes: &[u8]) -> Option<T> {
    if let Ok(value) = T::decode(&mut &*bytes) {
        let encoded = value.encode();
        assert_eq!(decode_canonical::<T>(&encoded), Ok(value));
    }
    let value = decode_canonical::<T>(bytes).ok()?;
    assert_eq!(value.encode(), bytes);
    Some(value)
}

/// One of the types that are decoded from bytes of others, chosen by the first byte.
pub fn values(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else {
        return;
    };
    match kind % 20 {
        0 => drop(check_value::<Header>(bytes).map(|header| header.hash())),
        1 => drop(check_value::<Body>(bytes).map(|body| (body.root(), body.seal().is_some()))),
        2 => drop(check_value::<Event>(bytes).map(|event| event.id(0))),
        3 => drop(check_value::<Attestation>(bytes)),
        4 => drop(check_value::<Scope>(bytes)),
        5 => drop(check_value::<Vec<Outcome>>(bytes).map(|outcomes| outcome_root(&outcomes))),
        6 => drop(check_value::<Record>(bytes)),
        7 => drop(check_value::<Ending>(bytes).map(|ending| ending.to_string())),
        8 => drop(check_value::<Key>(bytes).map(|key| (key.hash(), key.to_string()))),
        9 => drop(check_value::<Path>(bytes).map(|path| path.parent())),
        10 => drop(check_value::<Role>(bytes)),
        11 => drop(check_value::<Vec<Event>>(bytes)),
        12 => drop(check_value::<NativeKind>(bytes)),
        13 => drop(check_value::<StoredHeader>(bytes)),
        14 => drop(check_value::<EventLocation>(bytes)),
        15 => drop(check_value::<Watermark>(bytes)),
        16 => drop(check_value::<Option<[u8; 32]>>(bytes)),
        17 => drop(check_value::<Vec<(u32, u32)>>(bytes)),
        18 => record(bytes),
        _ => match (decode_block(bytes), check_value::<Block>(bytes)) {
            (Ok(block), Some(same)) => assert_eq!(block, same),
            (Err(_), None) => {}
            (block, _) => panic!("a block is taken in one way alone: {block:?}"),
        },
    }
}

/// A record of state under an id that may be wrong: an answer or an error.
fn record(bytes: &[u8]) {
    let Some((tag, bytes)) = bytes.split_first() else {
        return;
    };
    let mut id = [*tag; RecordId::LEN];
    let hash: Hash = jar_cap::hash::blake2b(&[&[*tag], bytes]);
    id[1..].copy_from_slice(&hash);
    let Some(id) = RecordId::from_bytes(id) else {
        return;
    };
    for level in [None, Some(0), Some(bytes.len() as u32)] {
        let _ = jar_cap::references(&Reference { id, level }, bytes);
    }
}

/// An Image is one that can be run or an error.
pub fn image(data: &[u8]) {
    let image = check_value::<Image>(data);
    let checked = Image::decode_checked(data);
    let Some(image) = image else {
        assert!(checked.is_err(), "checked, but not canonical");
        return;
    };
    assert_eq!(checked.is_ok(), image.check(&Limits::default()).is_ok());
    if checked.is_err() {
        return;
    }
    crate::chain::open_any(&image);
}
