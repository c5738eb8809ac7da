//! Builds Images.

use std::collections::BTreeMap;

use jar_abi::{HostCall, slots};
use jar_cap::image::{Endpoint, Image, Mapping, Pinned, Program as Code, Role, Source};
use jar_cap::{Key, Path};
use jar_kernel::block::{PublicKey, Scope};
use parity_scale_codec::Encode;

use super::asm::{A0, Asm};

/// Read-only memory: what [`Program::data`] gave it.
pub const DATA: u32 = 0x1_0000;
/// Writable memory, fresh in each call.
pub const RAM: u32 = 0x10_0000;
/// Pages of it.
pub const RAM_PAGES: u32 = 16;
/// Where persistent mappings begin.
pub const PERSIST: u32 = 0x20_0000;
/// The slot that [`DATA`] shows.
pub const DATA_SLOT: u8 = 33;

pub fn key(byte: u8) -> Key {
    Key::from(byte)
}

/// A path register of one-byte keys.
pub fn path(keys: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes[..keys.len()].copy_from_slice(keys);
    bytes[7] = keys.len() as u8 - 1;
    u64::from_le_bytes(bytes)
}

pub fn cap_path(keys: &[u8]) -> Path {
    Path::new(keys.iter().map(|k| key(*k))).expect("1 to 8 keys")
}

/// An Image in the making.
#[derive(Clone)]
pub struct Program {
    code: Asm,
    data: Vec<u8>,
    pub image: Image,
}

/// Whether a block is sealed, by whom.
pub enum Seal {
    /// By nobody: any node builds.
    None,
    /// By one key.
    By(PublicKey),
}

impl Program {
    pub fn new() -> Program {
        let ram = Mapping {
            start: RAM,
            size: RAM_PAGES * 4096,
            source: Source::Ephemeral {
                init: None,
                eager: false,
            },
        };
        Program {
            code: Asm::new(),
            data: Vec::new(),
            image: Image {
                memory: vec![ram],
                ..Image::default()
            },
        }
    }

    /// Puts bytes into read-only memory; answers their address.
    pub fn data(&mut self, bytes: &[u8]) -> u64 {
        let address = u64::from(DATA) + self.data.len() as u64;
        self.data.extend(bytes);
        address
    }

    /// Maps pages of memory to a slot, at [`PERSIST`] and up.
    pub fn persist(&mut self, slot: &[u8], page: u32, pages: u32) -> &mut Program {
        self.map(page, pages, Source::Slot(cap_path(slot)))
    }

    /// Maps pages of memory, counted from [`PERSIST`].
    pub fn map(&mut self, page: u32, pages: u32, source: Source) -> &mut Program {
        self.image.memory.push(Mapping {
            start: PERSIST + page * 4096,
            size: pages * 4096,
            source,
        });
        self
    }

    pub fn endpoint(
        &mut self,
        index: u8,
        name: &str,
        role: Role,
        body: impl FnOnce(&mut Asm),
    ) -> &mut Program {
        let pc = self.code.len() as u32;
        body(&mut self.code);
        // What comes next starts a block.
        self.code.trap();
        let endpoint = Endpoint {
            name: name.into(),
            role,
            pc,
            regs: BTreeMap::new(),
        };
        let former = self.image.endpoints.insert(index, endpoint);
        assert!(former.is_none(), "endpoint {index} twice");
        self
    }

    /// A View `author` and a Schedule, endpoints 250 and 251, as `seal` asks.
    pub fn sealed(&mut self, seal: &Seal) -> &mut Program {
        let Seal::By(author) = seal else {
            return self;
        };
        let answer = Some(*author).encode();
        let answer_at = self.data(&answer);
        let key_at = self.data(author);
        let scope_at = self.data(&Scope::Seal.encode());
        self.endpoint(250, "author", Role::View, |asm| {
            asm.call(HostCall::Drop, &[0])
                .call(HostCall::MintData, &[answer_at, answer.len() as u64, 0])
                .halt_with(0);
        });
        self.endpoint(251, "seal", Role::Schedule(255), |asm| {
            let attestation = u64::from(slots::ATTESTATION);
            asm.call(HostCall::Attest, &[attestation, key_at, 0, 0, scope_at, 1])
                .if_eq(A0, 0, |asm| {
                    asm.trap();
                })
                .halt_with(0);
        })
    }

    /// The Image.
    pub fn build(&self) -> Image {
        let mut image = self.image.clone();
        let (code, bitmask) = self.code.finish();
        image.program = Code {
            code,
            bitmask,
            jump_table: Vec::new(),
        };
        if !self.data.is_empty() {
            let pinned = Pinned::Data(self.data.clone());
            image.pinned.insert(key(DATA_SLOT), pinned);
            image.memory.push(Mapping {
                start: DATA,
                size: (self.data.len() as u32).next_multiple_of(4096),
                source: Source::Slot(cap_path(&[DATA_SLOT])),
            });
        }
        image.memory.sort_by_key(|mapping| mapping.start);
        image
    }
}
