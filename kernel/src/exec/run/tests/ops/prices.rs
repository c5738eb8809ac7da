//! What operations cost: by sizes, by what is looked at, by what is kept.

use super::*;

fn gas(case: &Case) -> u64 {
    let ran = case.run();
    assert_eq!(ran.answer, case.expect, "{}", case.name());
    ran.gas_used
}

fn quota(case: &Case) -> u64 {
    let ran = case.run();
    assert_eq!(ran.answer, case.expect, "{}", case.name());
    ran.before.quota - ran.after.quota
}

/// Entering the scene's Image, which has two mappings.
fn entry(params: &Params) -> u64 {
    params.price_call + 2 * params.price_path_key
}

/// A link of the scene's chains: its Catcher and what it waits for are looked up, by a key each.
pub fn link(params: &Params) -> u64 {
    entry(params) + params.price_slot_write + 2 * params.price_path_key
}

/// Prices grow with what is copied and hashed, and are never less for more.
#[test]
fn prices_follow_sizes() {
    let price = |op, args: &[u64]| case(op, args, OK).run().gas_used;
    let params = Params::default();
    for len in [0, 1, 64, 65, 6400] {
        let mint = price(Op::MintData, &[RAM, len, FREE]);
        let per_64 = params.price_copy_64 + params.price_hash_64;
        let base = params.price_host_call + params.price_path_key + params.price_slot_write;
        assert_eq!(mint, base + len.div_ceil(64) * per_64);
    }
    // Whole pages are read, the last one at its own length.
    assert_eq!(DATA_LEN, 5000);
    for (offset, len, copied, read) in [
        (0, 0, 0, 0),
        (0, 1, 1, 64),
        (0, 65, 2, 64),
        (4095, 1, 1, 64),
        (4095, 2, 1, 79),
        (4096, 1, 1, 15),
        (4999, 6400, 1, 15),
        (5000, 1, 0, 0),
        (0, 6400, 79, 79),
    ] {
        let gas = price(Op::ReadData, &[DATA, RAM, len, offset]);
        let base = params.price_host_call + params.price_path_key;
        let bytes = copied * params.price_copy_64 + read * params.price_hash_64;
        assert_eq!(gas, base + bytes, "{len} at {offset}");
    }
    assert!(price(Op::Copy, &[path(&[41, 1]), FREE]) > price(Op::Copy, &[DATA, FREE]));
}

/// Frames, owners, mappings, pins and links of a chain that an operation has to look at are in its
/// price, each.
#[test]
fn prices_count_what_is_looked_at() {
    let params = Params::default();
    let (key, slot) = (params.price_path_key, params.price_slot_write);
    // Every operation here walks to one slot.
    let walk = params.price_host_call + key;
    let (entry, link) = (entry(&params), link(&params));
    let resume = walk + slot + params.price_call;
    let switched = |op, args: &[u64]| case(op, args, Answer::Switched);
    for depth in [1, 2, 5] {
        let owners = depth as u64;
        let yielded = switched(Op::Yield, &[CALLEE]).scene(|s| s.depth = depth);
        assert_eq!(gas(&yielded), walk + owners * key, "{depth} owners");
    }
    let expected = [
        (switched(Op::Call, &[CALLEE, 0]), walk + slot + entry),
        (switched(Op::Resume, &[WAITING]), resume + 2 * key),
        (switched(Op::Resume, &[PAUSED]), resume + link),
        (switched(Op::Resume, &[CALLING]), resume + 2 * link),
        (
            switched(Op::Resume, &[CALLING_FAR]),
            resume + 2 * link + 2 * key,
        ),
        (case(Op::Abort, &[WAITING], OK), walk + key),
        (case(Op::Detach, &[WAITING], OK), walk + key + slot),
        // The Image has two pins.
        (case(Op::SetImage, &[IMAGE], OK), walk + slot + 2 * key),
    ];
    for (case, price) in expected {
        assert_eq!(gas(&case), price, "{}", case.name());
    }
    // One beyond the limit of depth is looked for, and no further one.
    let too_deep = |links: u64| {
        let mut case = case(Op::Resume, &[CALLING], refused(Status::Depth));
        case.scene.depth = 3;
        case.scene.params.max_depth = 3 + links;
        case
    };
    for links in [1, 2] {
        assert_eq!(
            gas(&too_deep(links)),
            resume + links * link,
            "{links} links"
        );
    }
    // Whoever pays for the keeping, and whether he can: the looking is paid.
    let keeping =
        |row, expect| case(Op::Detach, &[WAITING], expect).scene(|s| s.waits_with_row = Some(row));
    let refused = keeping((slot - 1, 512), QUOTA);
    assert_eq!(gas(&refused), walk + key);
}

/// What kernel-issued Instances make is state, too.
#[test]
fn natives_cost_quota_for_what_they_make() {
    let call = |args: &[u64], scratch| {
        case(Op::Call, args, Answer::Pair(0, 0)).scene(|s| s.scratch = scratch)
    };
    let catcher = u64::from(slots::CATCHER);
    let scratch = Params::default().quota_slot + 1;
    assert_eq!(quota(&call(&[catcher, 0], Some(17))), 32, "a type");
    assert_eq!(quota(&call(&[catcher, 1], Some(CALLEE))), 0);
    // One type and its count.
    assert_eq!(quota(&call(&[catcher, 2], None)), scratch + 33);
    for (slot, bytes) in [
        (slots::MINT_GAS, 8),
        (slots::MINT_QUOTA, 8),
        (slots::CREATE_CATCHER, 0),
    ] {
        let made = call(&[slot.into(), 0, 5], None);
        assert_eq!(quota(&made), scratch + bytes, "{slot}");
    }
}
