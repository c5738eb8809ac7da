//! Cases of operations on Files.

use super::*;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = source_cases(Op::Open, |slot| vec![slot, FREE + 4]);
    cases.extend(source_cases(Op::Save, |slot| vec![slot, FREE + 4]));
    cases.extend(destination_cases(Op::Open, |slot| vec![FILE, slot]));
    cases.extend(destination_cases(Op::Save, |slot| vec![DATA, slot]));
    let lacking = |case: Case, slot: u8| case.scene(|scene| scene.lacks = vec![slot]);
    cases.extend([
        case(Op::Open, &[DATA, FREE], WRONG_KIND),
        case(Op::Open, &[CALLEE, FREE], WRONG_KIND),
        case(Op::Open, &[17, FREE], WRONG_KIND),
        case(Op::Save, &[FILE, FREE], WRONG_KIND),
        case(Op::Save, &[IMAGE, FREE], WRONG_KIND),
        lacking(case(Op::Open, &[FILE, FREE], DENIED), slots::OPEN),
        lacking(case(Op::Open, &[FILE, FREE], OK), slots::SAVE),
        lacking(case(Op::Save, &[DATA, FREE], DENIED), slots::SAVE),
        lacking(case(Op::Save, &[DATA, FREE], OK), slots::OPEN),
    ]);
    cases
}

#[test]
fn a_file_seals_a_data() {
    let key = keys(&[FREE as u8]);
    let saved = case(Op::Save, &[DATA, FREE], OK).run();
    let file = Cap::Instance(Instance::file(Data::new(&data_bytes())));
    assert_eq!(saved.get(&key), Some(file.clone()));
    assert_ne!(Cap::Instance(Instance::file(Data::empty())), file);
    let opened = case(Op::Open, &[FILE, FREE], OK).run();
    assert_eq!(opened.bytes(&[FREE as u8]), Some(b"sealed".to_vec()));
    // Nothing else looks into it.
    for op in [Op::ReadData, Op::Emit] {
        let answer = case(op, &[FILE, RAM, 8, 0], OK).run().answer;
        assert_ne!(answer, Answer::Value(8));
    }
    let kind = case(Op::Kind, &[FILE], OK).run().answer;
    assert_eq!(kind, Answer::Pair(jar_abi::Kind::Instance as u64, 0));
}
