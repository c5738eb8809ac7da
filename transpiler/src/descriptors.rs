//! Endpoint descriptors and metadata that the SDK leaves in the ELF.

use std::collections::BTreeMap;

use jar_cap::image::{Endpoint, Role};

use crate::Error;
use crate::elf::Elf;
use crate::layout::Code;

/// Bytes of one descriptor: entry (u64, relocated), version, index, role, order, name
/// length (u8 each), name.
const DESCRIPTOR: usize = 64;
const NAME_AT: usize = 13;
const VERSION: u8 = 1;
/// φ0 at entry: returning there halts with φ7 as the value.
const HALT_ADDRESS: u64 = 0xffff_0000;

/// What a descriptor says.
pub(crate) struct Descriptor {
    pub name: String,
    pub role: Role,
    /// The RISC-V address of the function.
    pub entry: u64,
}

/// Reads `.jar.endpoints`, by index.
pub(crate) fn endpoints(elf: &Elf) -> Result<BTreeMap<u8, Descriptor>, Error> {
    let bad = |name: String, reason: String| Error::Endpoint { name, reason };
    let Some(section) = &elf.endpoints else {
        return Err(bad(
            "(none)".into(),
            "the ELF has no section .jar.endpoints".into(),
        ));
    };
    let mut out = BTreeMap::new();
    if section.bytes.len() as u64 != section.size || section.bytes.len() % DESCRIPTOR != 0 {
        return Err(bad(
            "(section)".into(),
            "its size is no multiple of a descriptor's".into(),
        ));
    }
    for (i, bytes) in section.bytes.chunks_exact(DESCRIPTOR).enumerate() {
        let mut entry = [0; 8];
        entry.copy_from_slice(&bytes[..8]);
        let entry = u64::from_le_bytes(entry);
        let [version, index, role, order, name_len] =
            [bytes[8], bytes[9], bytes[10], bytes[11], bytes[12]];
        let number = format!("#{i}");
        if version != VERSION {
            return Err(bad(
                number,
                format!("descriptor version {version} is not supported"),
            ));
        }
        let name = bytes.get(NAME_AT..NAME_AT + usize::from(name_len));
        let name = name.and_then(|n| std::str::from_utf8(n).ok());
        let Some(name) = name.filter(|n| !n.is_empty()).map(str::to_owned) else {
            return Err(bad(number, "its name is not valid".into()));
        };
        let Some(role) = role_of(role, order) else {
            return Err(bad(name, format!("there is no role {role}")));
        };
        if elf.word(entry).is_none() || entry % 4 != 0 {
            return Err(bad(name, format!("its entry {entry:#x} is not code")));
        }
        let has_genesis = |known: &Descriptor| known.role == Role::Genesis;
        if role == Role::Genesis && out.values().any(has_genesis) {
            return Err(bad(name, "there is a Genesis endpoint already".into()));
        }
        let descriptor = Descriptor {
            name: name.clone(),
            role,
            entry,
        };
        if out.insert(index, descriptor).is_some() {
            return Err(bad(name, format!("index {index} is used twice")));
        }
    }
    match out.is_empty() {
        true => Err(bad("(none)".into(), "no endpoint is declared".into())),
        false => Ok(out),
    }
}

fn role_of(role: u8, order: u8) -> Option<Role> {
    Some(match role {
        0 => Role::Call,
        1 => Role::View,
        2 => Role::Genesis,
        3 => Role::Schedule(order),
        4 => Role::Transact(order),
        5 => Role::Dispatch,
        _ => return None,
    })
}

/// The Image's endpoints.
pub(crate) fn resolve(
    descriptors: BTreeMap<u8, Descriptor>,
    code: &Code,
    stack_top: u64,
) -> Result<BTreeMap<u8, Endpoint>, Error> {
    let mut out = BTreeMap::new();
    for (index, Descriptor { name, role, entry }) in descriptors {
        let Some(&pc) = code.pcs.get(&entry) else {
            return Err(Error::Endpoint {
                name,
                reason: "its code is missing".into(),
            });
        };
        let regs = BTreeMap::from([(0, HALT_ADDRESS), (1, stack_top)]);
        out.insert(
            index,
            Endpoint {
                name,
                role,
                pc,
                regs,
            },
        );
    }
    Ok(out)
}

/// Reads `.jar.metadata`: lines `key=value`. `None` if they are no text.
pub(crate) fn metadata(bytes: &[u8]) -> Option<BTreeMap<String, Vec<u8>>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let lines = text.lines().filter_map(|line| line.split_once('='));
    Some(
        lines
            .map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec()))
            .collect(),
    )
}
