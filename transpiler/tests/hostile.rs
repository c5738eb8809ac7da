//! Damaged ELF files are refused or translated, never a panic.

mod common;

use std::sync::OnceLock;

use common::{assemble, toolchain};
use jar_transpiler::transpile;
use proptest::prelude::*;

/// A program with something of everything that the transpiler reads.
const TEXT: &str = "
    endpoint first 0
    addi sp, sp, -16
    sd ra, 8(sp)
    la t0, table
    sh2add a0, a0, t0
    lw a0, 0(a0)
    add a0, a0, t0
    jalr a0
    lui a1, %hi(second)
    addi a1, a1, %lo(second)
    call second
    ld ra, 8(sp)
    addi sp, sp, 16
    ret
    1: li t0, 44
    ecall
    max a0, a0, x0
    sh3add a1, a0, a1
    orc.b a0, a0
    2: ret
    endpoint second 9
    la t1, pointers
    ld t1, 8(t1)
    bnez a0, 2b
    jr t1
    .section .rodata
    table: .word 1b-table, 2b-table
    .data
    .balign 8
    pointers: .quad first, second
    .bss
    .zero 64";

/// The program's ELF; `None` without a toolchain where that was allowed.
fn elf() -> Option<&'static [u8]> {
    static ELF: OnceLock<Option<Vec<u8>>> = OnceLock::new();
    ELF.get_or_init(|| Some(assemble(&toolchain()?, TEXT)))
        .as_deref()
}

/// Damage done to a file.
#[derive(Clone, Debug)]
enum Damage {
    Byte(usize, u8),
    Word(usize, u64),
    Cut(usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let word = prop_oneof![
        any::<u64>(),
        Just(0),
        Just(u64::MAX),
        0u64..1 << 33,
        (0u64..64).prop_map(|n| u64::MAX >> n),
    ];
    prop_oneof![
        8 => (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        4 => (any::<usize>(), word).prop_map(|(at, word)| Damage::Word(at, word)),
        1 => any::<usize>().prop_map(Damage::Cut),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    let len = bytes.len().max(1);
    match *damage {
        Damage::Byte(at, byte) => {
            if let Some(place) = bytes.get_mut(at % len) {
                *place = byte;
            }
        }
        Damage::Word(at, word) => {
            // Header fields are aligned.
            let at = at % len / 8 * 8;
            if let Some(place) = bytes.get_mut(at..at + 8) {
                place.copy_from_slice(&word.to_le_bytes());
            }
        }
        Damage::Cut(at) => bytes.truncate(at % len),
    }
}

#[test]
fn the_whole_file_is_translated() {
    if let Some(elf) = elf() {
        transpile(elf).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files_never_panic(damages in prop::collection::vec(damage(), 1..6)) {
        let Some(elf) = elf() else { return Ok(()) };
        let mut bytes = elf.to_vec();
        damages.iter().for_each(|damage| apply(&mut bytes, damage));
        if let Ok(image) = transpile(&bytes) {
            prop_assert!(image.check(&jar_cap::image::Limits::default()).is_ok());
        }
    }

    /// Damage to the code alone: what decodes must also lead to an Image that loads.
    #[test]
    fn random_code_never_panics(words in prop::collection::vec((0usize..40, any::<u32>()), 1..8)) {
        let Some(elf) = elf() else { return Ok(()) };
        let mut bytes = elf.to_vec();
        // addi sp, sp, -16 begins the first function.
        let start = bytes.windows(4).position(|w| w == 0xff01_0113u32.to_le_bytes()).unwrap();
        for (index, word) in words {
            // Low opcode bits of 32-bit instructions, x0..x15 in every register field.
            let word = word & !(1 << 11 | 1 << 19 | 1 << 24) | 3;
            bytes[start + 4 * index..][..4].copy_from_slice(&word.to_le_bytes());
        }
        if let Ok(image) = transpile(&bytes) {
            common::Guest::new(image);
        }
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        prop_assert!(transpile(&bytes).is_err());
    }
}
