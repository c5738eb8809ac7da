//! Cases of operations on programs and lineages.

use super::*;

fn make_cases() -> Vec<Case> {
    let mut cases = source_cases(Op::MakeImage, |slot| vec![slot, FREE]);
    cases.extend(destination_cases(Op::MakeImage, |slot| {
        vec![ENCODED_IMAGE, slot]
    }));
    let len = small_image().encode().len() as u64;
    cases.extend([
        case(Op::MakeImage, &[DATA, FREE], INVALID),
        case(Op::MakeImage, &[CNODE, FREE], WRONG_KIND),
        case(Op::MakeImage, &[IMAGE, FREE], WRONG_KIND),
        case(Op::MakeImage, &[ENCODED_IMAGE, FREE], RANGE).params(|p| p.image_bytes = len - 1),
        case(Op::MakeImage, &[ENCODED_IMAGE, FREE], OK).params(|p| p.image_bytes = len),
        case(Op::MakeImage, &[ENCODED_IMAGE, FREE], INVALID).params(|p| p.code_bytes = 0),
    ]);
    cases
}

fn set_cases() -> Vec<Case> {
    let mut cases = source_cases(Op::SetImage, |slot| vec![slot]);
    cases.extend([
        case(Op::SetImage, &[IMAGE], OK),
        case(Op::SetImage, &[PINNED_IMAGE], OK),
        case(Op::SetImage, &[IMAGE_OF_FREE], OK),
        case(Op::SetImage, &[IMAGE_OF_DATA], OCCUPIED),
        case(Op::SetImage, &[DATA], WRONG_KIND),
    ]);
    cases
}

fn spawn_cases() -> Vec<Case> {
    let mut cases = source_cases(Op::DeriveSpawn, |slot| vec![slot, CNODE, FREE]);
    cases.extend(reserved_cases(Op::DeriveSpawn, |slot| {
        vec![IMAGE, slot, FREE]
    }));
    cases.extend(destination_cases(Op::DeriveSpawn, |slot| {
        vec![IMAGE, EMPTY_CNODE, slot]
    }));
    cases.extend([
        case(Op::DeriveSpawn, &[IMAGE, CNODE, FREE], OK),
        case(Op::DeriveSpawn, &[IMAGE_OF_FREE, CNODE, FREE], OK),
        case(
            Op::DeriveSpawn,
            &[IMAGE_OF_FREE, CNODE_WITH_FREE, FREE],
            OCCUPIED,
        ),
        case(Op::DeriveSpawn, &[IMAGE, CNODE, CNODE], OCCUPIED),
        case(Op::DeriveSpawn, &[IMAGE, CNODE, path(&[41, 9])], INVALID),
        case(Op::DeriveSpawn, &[DATA, CNODE, FREE], WRONG_KIND),
        case(Op::DeriveSpawn, &[IMAGE, DATA, FREE], WRONG_KIND),
        case(Op::DeriveSpawn, &[IMAGE, FREE + 4, FREE], EMPTY),
        case(Op::DeriveSpawn, &[IMAGE, PINNED_DATA, FREE], PINNED),
        case(Op::DeriveSpawn, &[IMAGE, MALFORMED, FREE], INVALID),
    ]);
    cases
}

fn subtype_cases() -> Vec<Case> {
    let mut cases = source_cases(Op::Subtype, |slot| vec![slot, IMAGE, FREE + 4]);
    cases.extend(source_cases(Op::Subtype, |slot| vec![TYPE, slot, FREE + 4]));
    cases.extend(destination_cases(Op::Subtype, |slot| {
        vec![TYPE, IMAGE, slot]
    }));
    cases.extend([
        case(Op::Subtype, &[CALLEE, IMAGE, FREE], OK),
        case(Op::Subtype, &[DATA, IMAGE, FREE], WRONG_KIND),
        case(Op::Subtype, &[TYPE, DATA, FREE], WRONG_KIND),
    ]);
    cases
}

pub(super) fn cases() -> Vec<Case> {
    [make_cases(), set_cases(), spawn_cases(), subtype_cases()].concat()
}

fn get(ran: &Ran, slot: u64) -> Option<Cap> {
    let bytes = slot.to_le_bytes();
    ran.get(&keys(&bytes[..=usize::from(bytes[7])]))
}

#[test]
fn lineages_are_of_who_spawns() {
    let ran = case(Op::DeriveSpawn, &[IMAGE, CNODE, FREE], OK).run();
    let id = ImageRef::new(image()).id();
    let Some(Cap::Instance(spawned)) = get(&ran, FREE) else {
        panic!("no Instance was made");
    };
    assert_eq!(spawned.type_id(), derive_type(&[1; 32], &id));
    let former = case(Op::Copy, &[CNODE, FREE], OK).run();
    let table = spawned.cnode().cloned().expect("a program");
    assert_eq!(get(&former, FREE), Some(Cap::CNode(table)));
    assert_eq!(get(&ran, CNODE), None, "it is consumed");
    // What a Type says is what spawning gives.
    let ran = case(Op::Subtype, &[TYPE, IMAGE, FREE], OK).run();
    let expected = Cap::Type(derive_type(&[3; 32], &id).into());
    assert_eq!(get(&ran, FREE), Some(expected.clone()));
    let ran = case(Op::Subtype, &[CALLEE, IMAGE, FREE], OK).run();
    assert_eq!(get(&ran, FREE), Some(expected));
}

#[test]
fn an_image_is_what_was_encoded() {
    let ran = case(Op::MakeImage, &[ENCODED_IMAGE, FREE], OK).run();
    assert_eq!(
        get(&ran, FREE),
        Some(Cap::Image(ImageRef::new(small_image())))
    );
}

#[test]
fn an_image_is_set_at_the_halt() {
    let ran = case(Op::SetImage, &[IMAGE], OK).run();
    assert_eq!(ran.before.next_image, None);
    let id = ImageRef::new(image()).id();
    assert_eq!(ran.after.next_image, Some(id));
    assert_eq!(ran.before.table, ran.after.table);
}
