//! Memory of every kind: zeros and sources, watched and eager, written and read, with
//! neighbours of other kinds and gaps.

use std::collections::BTreeMap;
use std::sync::Arc;

use jar_pvm::{Access, Backing, Region};

use crate::rig::{Pages, Priced, region};

/// Gas of the first touch of a page, where that costs anything, and of its first write: more than
/// most blocks.
pub const PAGE_PRICE: u64 = 9;

/// Layouts that differ in kind, all around 0x10000 and the end of the address space.
pub fn layouts() -> Vec<Vec<Region>> {
    let content = |index: u32, len: usize| (index, (0..len).map(|i| (i * 7 + 3) as u8).collect());
    let pages = BTreeMap::from([content(0, 4096), content(1, 100), content(3, 4096)]);
    let source = Backing::Source(Arc::new(Pages(pages.clone())));
    let priced = Backing::Source(Arc::new(Priced(Pages(pages), PAGE_PRICE)));
    let backed = |backing: &Backing, start, pages, access, eager| Region {
        backing: backing.clone(),
        eager,
        ..region(start, pages, access)
    };
    let sourced = |start, pages, access, eager| backed(&source, start, pages, access, eager);
    let priced = |start, pages, access, eager| backed(&priced, start, pages, access, eager);
    let eager = |start, pages| Region {
        eager: true,
        ..region(start, pages, Access::ReadWrite)
    };
    vec![
        vec![region(0x10000, 8, Access::ReadWrite)],
        vec![
            priced(0x10000, 2, Access::ReadWrite, false),
            region(0x12000, 2, Access::ReadWrite),
            sourced(0x14000, 2, Access::Read, false),
            eager(0x16000, 2),
        ],
        vec![
            eager(0x10000, 1),
            region(0x11000, 1, Access::Read),
            sourced(0x12000, 4, Access::ReadWrite, true),
            priced(0x16000, 1, Access::Read, false),
            region(0x17000, 1, Access::ReadWrite),
            region(0xffff_f000, 1, Access::ReadWrite),
        ],
        vec![
            region(0x10000, 3, Access::Read),
            sourced(0x14000, 3, Access::ReadWrite, false),
            priced(0x17000, 3, Access::ReadWrite, true),
            eager(0xffff_e000, 2),
        ],
        vec![],
    ]
}
