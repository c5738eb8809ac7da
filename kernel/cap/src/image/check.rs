//! The structure of an Image: everything that can be judged without knowing instructions.

use std::collections::BTreeSet;

use super::{Endpoint, Image, Pinned, Program, Source};
use crate::error::Error;
use crate::key::Path;
use crate::pages::PAGE_BYTES;

/// Images that may lie within each other below the outermost one.
const NESTING_MAX: u32 = 4;
/// The lowest address a mapping may start at.
const ADDRESS_MIN: u32 = 64 << 10;
/// Registers of the machine.
const REGISTERS: u8 = 13;
/// Mappings in an Image.
const MAPPINGS_MAX: usize = 64;
/// Slots with gas or quota caps in an Image.
const METER_SLOTS_MAX: usize = 16;
/// The slot through which payloads travel: it has to stay writable.
const SCRATCH_SLOT: u8 = 0;
/// Bytes of an endpoint's name.
const NAME_BYTES_MAX: usize = 64;
/// Entries of the metadata.
const METADATA_MAX: usize = 64;

/// Sizes a chain allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of code.
    pub code_bytes: u32,
    /// Bytes of a pinned Data.
    pub data_bytes: u64,
}

impl Limits {
    /// No limit but what the format has.
    pub const UNBOUNDED: Limits = Limits {
        code_bytes: u32::MAX,
        data_bytes: u64::MAX,
    };
}

impl Default for Limits {
    /// 4 MiB of code, 1 GiB of Data.
    fn default() -> Limits {
        Limits {
            code_bytes: 4 << 20,
            data_bytes: 1 << 30,
        }
    }
}

fn refuse<T>(reason: impl Into<String>) -> Result<T, Error> {
    Err(Error::Image(reason.into()))
}

impl Image {
    /// Checks the structure: sizes, alignment, slots, registers, nesting. Whether endpoints
    /// start where a block does is for those who know instructions.
    pub fn check(&self, limits: &Limits) -> Result<(), Error> {
        self.check_nested(limits, 0)
    }

    fn check_nested(&self, limits: &Limits, depth: u32) -> Result<(), Error> {
        if depth > NESTING_MAX {
            return refuse(format!("images nest more than {NESTING_MAX} deep"));
        }
        self.program.check(limits)?;
        self.check_endpoints()?;
        self.check_memory()?;
        for slots in [&self.gas_slots, &self.quota_slots] {
            let distinct: BTreeSet<_> = slots.iter().collect();
            if distinct.len() != slots.len() || slots.len() > METER_SLOTS_MAX {
                return refuse(format!(
                    "gas and quota slots are distinct and at most {METER_SLOTS_MAX}"
                ));
            }
        }
        if self.metadata.len() > METADATA_MAX {
            return refuse(format!("at most {METADATA_MAX} entries of metadata"));
        }
        for (key, pinned) in &self.pinned {
            if key.as_slice() == [SCRATCH_SLOT] {
                return refuse("slot 0 is the scratchpad and can't be pinned");
            }
            match pinned {
                Pinned::Data(bytes) if bytes.len() as u64 > limits.data_bytes => {
                    return refuse(format!("the Data pinned at {key} is too long"));
                }
                Pinned::Data(_) => {}
                Pinned::Image(image) => image.check_nested(limits, depth + 1)?,
            }
        }
        Ok(())
    }

    fn check_endpoints(&self) -> Result<(), Error> {
        let mut names = BTreeSet::new();
        for (number, endpoint) in &self.endpoints {
            let Endpoint { name, pc, regs, .. } = endpoint;
            if name.is_empty() || name.len() > NAME_BYTES_MAX {
                return refuse(format!(
                    "the name of endpoint {number} has 1 to {NAME_BYTES_MAX} bytes"
                ));
            }
            if !names.insert(name) {
                return refuse(format!("two endpoints are named {name:?}"));
            }
            if !self.program.starts_instruction(*pc) {
                return refuse(format!("endpoint {name} starts at {pc}, no instruction"));
            }
            if regs.keys().any(|register| *register >= REGISTERS) {
                return refuse(format!("endpoint {name} sets a register above 12"));
            }
        }
        Ok(())
    }

    fn check_memory(&self) -> Result<(), Error> {
        if self.memory.len() > MAPPINGS_MAX {
            return refuse(format!("at most {MAPPINGS_MAX} mappings"));
        }
        let mut free_from = u64::from(ADDRESS_MIN);
        let mut slots = BTreeSet::new();
        for mapping in &self.memory {
            let (start, size) = (u64::from(mapping.start), u64::from(mapping.size));
            let at = format!("the mapping at {start:#x}");
            let page = PAGE_BYTES as u64;
            if start % page != 0 || size % page != 0 || size == 0 {
                return refuse(format!("{at} is not of whole pages"));
            }
            if start < free_from {
                return refuse(format!("{at} overlaps, is unsorted, or lies below 64 KiB"));
            }
            free_from = start + size;
            if free_from > 1 << 32 {
                return refuse(format!("{at} ends beyond 4 GiB"));
            }
            match &mapping.source {
                Source::Slot(path) => {
                    if !slots.insert(path) {
                        return refuse(format!("{at} shows a slot that another one shows"));
                    }
                    if self.pinned.contains_key(path.split_first().0) {
                        self.check_pinned_data(path, &at)?;
                    }
                }
                Source::Ephemeral { init: None, .. } => {}
                Source::Ephemeral {
                    init: Some(path), ..
                } => {
                    if self.check_pinned_data(path, &at)? > size {
                        return refuse(format!("{at} is shorter than its initial bytes"));
                    }
                }
            }
        }
        Ok(())
    }

    /// Length of the pinned Data a mapping starts from.
    fn check_pinned_data(&self, path: &Path, at: &str) -> Result<u64, Error> {
        match (self.pinned.get(path.split_first().0), path.split_first().1) {
            (Some(Pinned::Data(bytes)), []) => Ok(bytes.len() as u64),
            _ => refuse(format!("{at} starts from what is not a pinned Data")),
        }
    }
}

impl Program {
    fn check(&self, limits: &Limits) -> Result<(), Error> {
        let len = self.code.len();
        if len as u64 > u64::from(limits.code_bytes) {
            return refuse(format!("{len} bytes of code exceed {}", limits.code_bytes));
        }
        if self.bitmask.len() != len.div_ceil(8) {
            return refuse("the bitmask has one bit for each byte of code");
        }
        if !len.is_multiple_of(8) && self.bitmask[len / 8] >> (len % 8) != 0 {
            return refuse("padding bits of the bitmask are zero");
        }
        if self.jump_table.len() > len {
            return refuse("the jump table has more entries than the code bytes");
        }
        Ok(())
    }

    fn starts_instruction(&self, pc: u32) -> bool {
        let bits = usize::try_from(pc / 8)
            .ok()
            .and_then(|byte| self.bitmask.get(byte));
        bits.is_some_and(|bits| bits >> (pc % 8) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Mapping, Role};
    use crate::key::Key;
    use parity_scale_codec::Encode;

    fn image() -> Image {
        let key = Key::from;
        let mapping = |start, size, source| Mapping {
            start,
            size,
            source,
        };
        Image {
            program: Program {
                code: vec![0; 10],
                bitmask: vec![0xff, 3],
                jump_table: vec![2],
            },
            endpoints: [(0, endpoint("a", 0)), (3, endpoint("b", 9))].into(),
            memory: vec![
                mapping(0x10000, 0x1000, Source::Slot(key(40).into())),
                mapping(0x20000, 0x2000, Source::Slot(key(32).into())),
                mapping(
                    0x22000,
                    0x1000,
                    Source::Ephemeral {
                        init: Some(key(32).into()),
                        eager: false,
                    },
                ),
            ],
            pinned: [(key(32), Pinned::Data(vec![1; 4096]))].into(),
            ..Image::default()
        }
    }

    fn endpoint(name: &str, pc: u32) -> Endpoint {
        Endpoint {
            name: name.into(),
            role: Role::Call,
            pc,
            regs: [(12, 1)].into(),
        }
    }

    fn refused(change: impl FnOnce(&mut Image)) -> String {
        let mut image = image();
        change(&mut image);
        let error = image.check(&Limits::default()).expect_err("refused");
        assert_eq!(Image::decode_checked(&image.encode()), Err(error.clone()));
        error.to_string()
    }

    fn nested(depth: u32) -> Image {
        (0..depth).fold(Image::default(), |inner, _| Image {
            pinned: [(Key::from(1), Pinned::Image(Box::new(inner)))].into(),
            ..Image::default()
        })
    }

    #[test]
    fn good_images_pass() {
        assert_eq!(image().check(&Limits::default()), Ok(()));
        assert_eq!(Image::decode_checked(&image().encode()), Ok(image()));
        assert_eq!(nested(4).check(&Limits::default()), Ok(()));
    }

    #[test]
    fn each_fault_is_refused() {
        let slot = |n| Source::Slot(Key::from(n).into());
        assert!(refused(|i| i.program.bitmask[1] = 7).contains("padding"));
        assert!(refused(|i| i.program.bitmask.push(0)).contains("bitmask"));
        assert!(refused(|i| i.program.jump_table = vec![0; 11]).contains("jump table"));
        assert!(refused(|i| i.memory[0].start = 0xf000).contains("64 KiB"));
        assert!(refused(|i| i.memory[1].start = 0x20800).contains("whole pages"));
        assert!(refused(|i| i.memory[1].size = 0).contains("whole pages"));
        assert!(refused(|i| i.memory[1].size = 0x3000).contains("overlaps"));
        assert!(refused(|i| i.memory.swap(0, 1)).contains("unsorted"));
        assert!(refused(|i| i.memory[0].source = slot(32)).contains("another one"));
        let beyond = |i: &mut Image| (i.memory[2].start, i.memory[2].size) = (0xffff_f000, 0x2000);
        assert!(refused(beyond).contains("4 GiB"));
        let long_init = |i: &mut Image| {
            i.pinned.insert(Key::from(32), Pinned::Data(vec![1; 4097]));
        };
        assert!(refused(long_init).contains("initial bytes"));
        assert!(refused(|i| i.pinned.clear()).contains("not a pinned Data"));
        assert!(
            refused(|i| {
                i.pinned
                    .insert(Key::from(40), Pinned::Image(Box::default()));
            })
            .contains("not a pinned Data")
        );
        assert!(
            refused(|i| {
                i.pinned.insert(Key::from(0), Pinned::Data(vec![]));
            })
            .contains("scratchpad")
        );
        assert!(refused(|i| i.gas_slots = vec![Key::from(7); 2]).contains("distinct"));
        let change = |i: &mut Image, f: fn(&mut Endpoint)| {
            i.endpoints.values_mut().take(1).for_each(f);
        };
        assert!(refused(|i| change(i, |e| e.pc = 10)).contains("no instruction"));
        assert!(refused(|i| change(i, |e| e.pc = u32::MAX)).contains("no instruction"));
        assert!(refused(|i| change(i, |e| e.name.clear())).contains("name"));
        assert!(refused(|i| change(i, |e| e.name = "b".into())).contains("named"));
        assert!(
            refused(|i| change(i, |e| {
                e.regs.insert(13, 0);
            }))
            .contains("register")
        );
        assert!(refused(|i| *i = nested(5)).contains("nest"));
    }

    #[test]
    fn limits_hold() {
        let limits = |code_bytes, data_bytes| Limits {
            code_bytes,
            data_bytes,
        };
        assert_eq!(image().check(&limits(10, 4096)), Ok(()));
        assert!(image().check(&limits(9, 4096)).is_err());
        assert!(image().check(&limits(10, 4095)).is_err());
    }

    #[test]
    fn decoding_bounds_nesting() {
        // One level: an empty program and endpoints, one pinned Image, nothing after it.
        let (before, after) = ([0, 0, 0, 0, 0, 4, 4, 1, 1], [0, 0, 0, 0]);
        assert_eq!(
            nested(1).encode(),
            [&before[..], &[0; 10], &after].concat(),
            "the layout this test builds on"
        );
        let levels = 1_000_000;
        let mut bytes = before.repeat(levels);
        bytes.extend([0; 10]);
        bytes.extend(after.repeat(levels));
        assert!(matches!(
            Image::decode_checked(&bytes),
            Err(Error::Decode(_))
        ));
    }
}
