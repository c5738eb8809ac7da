//! Small assembled programs, translated and run.

mod common;

use common::{assemble, guest, toolchain};
use jar_pvm::{Exit, HALT_ADDRESS};
use jar_transpiler::{Error, transpile};

/// A comparison as a branch makes it.
type Condition = fn(i64, i64) -> bool;

/// Transpiles text that must be refused.
fn refused(text: &str) -> Option<String> {
    let elf = assemble(&toolchain()?, text);
    match transpile(&elf) {
        Ok(_) => panic!("was translated: {text}"),
        Err(error) => Some(error.to_string()),
    }
}

#[test]
fn loops_calls_and_recursion() {
    let text = "
        endpoint sum 0
        li a1, 0
        1: beqz a0, 2f
        add a1, a1, a0
        addi a0, a0, -1
        j 1b
        2: mv a0, a1
        ret
        endpoint fib 1
        li a1, 2
        bltu a0, a1, 1f
        addi sp, sp, -24
        sd ra, 16(sp)
        sd s0, 8(sp)
        sd a0, 0(sp)
        addi a0, a0, -1
        call fib
        mv s0, a0
        ld a0, 0(sp)
        addi a0, a0, -2
        call fib
        add a0, a0, s0
        ld s0, 8(sp)
        ld ra, 16(sp)
        addi sp, sp, 24
        1: ret";
    let Some(mut guest) = guest(text) else { return };
    assert_eq!(guest.call(0, &[100]), 5050);
    assert_eq!(guest.call(1, &[20]), 6765);
}

#[test]
fn every_condition_against_registers_x0_and_constants() {
    let mut text = String::new();
    let mut expected: Vec<(u8, Condition, bool)> = Vec::new();
    let conditions: [(&str, Condition); 6] = [
        ("beq", |a, b| a == b),
        ("bne", |a, b| a != b),
        ("blt", |a, b| a < b),
        ("bge", |a, b| a >= b),
        ("bltu", |a, b| (a as u64) < b as u64),
        ("bgeu", |a, b| a as u64 >= b as u64),
    ];
    for (op, condition) in conditions {
        // The second operand is a1, x0, or -5; the order is turned in every other one.
        for (setup, operands) in [
            ("", "a0, a1"),
            ("", "a1, a0"),
            ("", "a0, x0"),
            ("", "x0, a0"),
            ("li a1, -5;", "a0, a1"),
            ("li a1, -5;", "a1, a0"),
            ("li a0, 7; li a1, -5;", "a0, a1"),
        ] {
            let index = expected.len() as u8;
            let name = format!("c{index}");
            text += &format!(
                "endpoint {name} {index}\n{setup} {op} {operands}, 1f\nli a0, 0\nret\n1: li a0, 1\nret\n"
            );
            let turned = operands == "a1, a0" || operands == "x0, a0";
            expected.push((index, condition, turned));
        }
    }
    let Some(mut guest) = guest(&text) else {
        return;
    };
    let values = [0i64, 1, -1, 7, -5, i64::MAX, i64::MIN];
    for (index, condition, turned) in expected {
        for a in values {
            for b in values {
                let (x, y) = match index % 7 {
                    0 | 1 => (a, b),
                    2 | 3 => (a, 0),
                    4 | 5 => (a, -5),
                    _ => (7, -5),
                };
                let right = if turned {
                    condition(y, x)
                } else {
                    condition(x, y)
                };
                let got = guest.call(index, &[a as u64, b as u64]);
                assert_eq!(got, u64::from(right), "endpoint {index} with {a} and {b}");
            }
        }
    }
}

#[test]
fn loads_and_stores_of_every_width() {
    let text = "
        endpoint stores 0
        la t0, cell
        sd a0, 0(t0)
        sw a0, 8(t0)
        sh a0, 12(t0)
        sb a0, 14(t0)
        sb x0, 0(t0)
        li a1, -2
        sh a1, 2(t0)
        ld a0, 0(t0)
        ret
        endpoint loads 1
        addi sp, sp, -16
        sd a0, 0(sp)
        lb a1, 0(sp)
        lbu a2, 0(sp)
        lh a3, 0(sp)
        lhu a4, 0(sp)
        lw a5, 0(sp)
        lwu t0, 4(sp)
        ld t1, 0(sp)
        sd x0, 8(sp)
        ld t2, 8(sp)
        addi sp, sp, 16
        xor a0, a1, a2
        add a0, a0, a3
        sub a0, a0, a4
        xor a0, a0, a5
        add a0, a0, t0
        xor a0, a0, t1
        add a0, a0, t2
        ret
        endpoint constants 2
        la t0, number
        ld a0, 0(t0)
        lw a1, 8(t0)
        add a0, a0, a1
        lbu a1, 8(t0)
        add a0, a0, a1
        ret
        .section .rodata
        .balign 8
        number: .quad 0x123456789abcdef0
        .word -3
        .bss
        cell: .zero 16";
    let Some(mut guest) = guest(text) else { return };
    assert_eq!(
        guest.call(0, &[0x1122_3344_5566_7788]),
        0x1122_3344_fffe_7700
    );
    let v = 0x8899_aabb_ccdd_eef0u64;
    let mut expected = (v as i8 as u64) ^ (v & 0xff);
    expected = expected
        .wrapping_add(v as i16 as u64)
        .wrapping_sub(v & 0xffff);
    expected = (expected ^ v as i32 as u64).wrapping_add(v >> 32) ^ v;
    assert_eq!(guest.call(1, &[v]), expected);
    let number = 0x1234_5678_9abc_def0u64.wrapping_sub(3).wrapping_add(0xfd);
    assert_eq!(guest.call(2, &[]), number);
    // Constants are folded: no load is left in that endpoint.
    let texts: Vec<String> = code(&guest).collect();
    assert!(
        texts.iter().any(|t| t.starts_with("load_imm_64")),
        "{texts:?}"
    );
}

/// Disassembled instructions.
fn code(guest: &common::Guest) -> impl Iterator<Item = String> {
    let program = guest.image.program.clone();
    let program = jar_pvm::Program::new(program.code, program.bitmask, program.jump_table).unwrap();
    let texts: Vec<String> = program.instructions().map(|(_, i)| i.to_string()).collect();
    texts.into_iter()
}

/// Jump tables as compilers lay them out: absolute of 8 and 4 bytes, and distances.
#[test]
fn jump_tables_in_data() {
    let cases = "
        11: li a0, 100
        ret
        12: li a0, 200
        ret
        13: li a0, 300
        ret
        14: li a0, 400
        ret";
    let text = format!(
        "
        endpoint wide 0
        la t0, wide_table
        sh3add a0, a0, t0
        ld a0, 0(a0)
        jr a0 {cases}
        .pushsection .rodata; .balign 8
        wide_table: .quad 11b, 12b, 13b, 14b
        .popsection
        endpoint narrow 1
        lui t0, %hi(narrow_table)
        addi t0, t0, %lo(narrow_table)
        sh2add a0, a0, t0
        lw a0, 0(a0)
        jr a0 {cases}
        .pushsection .rodata
        narrow_table: .word 11b, 12b, 13b, 14b
        .popsection
        endpoint relative 2
        la t0, relative_table
        sh2add a0, a0, t0
        lw a0, 0(a0)
        add a0, a0, t0
        jr a0 {cases}
        .pushsection .rodata
        relative_table:
        .word 11b-relative_table, 12b-relative_table, 13b-relative_table, 14b-relative_table
        .popsection"
    );
    let Some(mut guest) = guest(&text) else {
        return;
    };
    for endpoint in 0..3 {
        for case in 0..4 {
            assert_eq!(
                guest.call(endpoint, &[case]),
                100 * (case + 1),
                "endpoint {endpoint}"
            );
        }
    }
}

#[test]
fn function_pointers_in_code_and_data() {
    let text = "
        endpoint through_data 0
        addi sp, sp, -16
        sd ra, 8(sp)
        la t0, table
        sh3add t0, a0, t0
        ld t0, 0(t0)
        mv a0, a1
        jalr t0
        ld ra, 8(sp)
        addi sp, sp, 16
        ret
        endpoint through_code 1
        lui t1, %hi(triple)
        addi t0, t1, %lo(triple)
        mv a0, a1
        jr t0
        endpoint compared 2
        la a1, double
        la a2, table
        ld a2, 0(a2)
        sub a0, a1, a2
        ret
        endpoint by_lui 3
        mv a0, a1
        lui t0, %hi(triple)
        jalr x0, %lo(triple)(t0)
        endpoint writable 4
        la t0, pointer
        ld t0, 0(t0)
        mv a0, a1
        jr t0
        double: slli a0, a0, 1
        ret
        triple: sh1add a0, a0, a0
        ret
        .data
        .balign 8
        .quad 77
        pointer: .quad triple
        .section .rodata
        .balign 8
        table: .quad double, triple";
    let Some(mut guest) = guest(text) else { return };
    assert_eq!(guest.call(0, &[0, 21]), 42);
    assert_eq!(guest.call(0, &[1, 21]), 63);
    assert_eq!(guest.call(1, &[0, 21]), 63);
    assert_eq!(guest.call(2, &[]), 0);
    assert_eq!(guest.call(3, &[0, 5]), 15);
    assert_eq!(guest.call(4, &[0, 5]), 15);
}

#[test]
fn deep_recursion_faults_and_never_reaches_other_memory() {
    let text = "
        endpoint deep 0
        addi sp, sp, -32
        sd ra, 0(sp)
        sd a0, 8(sp)
        addi a0, a0, -1
        beqz a0, 1f
        call deep
        1: ld ra, 0(sp)
        addi sp, sp, 32
        ret
        .data
        .quad 1";
    let Some(mut guest) = guest(text) else { return };
    assert_eq!(guest.call(0, &[1000]), 0);
    guest.enter(0, &[1 << 20]);
    assert_eq!(guest.run(), Exit::Panic);
    // The stack has 64 KiB; nothing outside of it was touched.
    let lowest = guest.machine.written_pages().into_iter().min().unwrap();
    let highest = guest.machine.written_pages().into_iter().max().unwrap();
    assert_eq!((lowest, highest), (0x10, 0x1e));
}

#[test]
fn host_calls_are_fused_or_dynamic() {
    let text = "
        endpoint constant 0
        li t0, 44
        ecall
        ret
        endpoint dynamic 1
        mv t0, a2
        ecall
        ret";
    let Some(mut guest) = guest(text) else { return };
    guest.enter(0, &[1, 2, 3, 4, 5, 6]);
    assert_eq!(guest.run(), Exit::HostCall(44));
    assert_eq!(guest.machine.regs()[7..], [1, 2, 3, 4, 5, 6]);
    guest.machine.set_reg(7, 99);
    assert_eq!(guest.run(), Exit::Halt);
    assert_eq!(guest.machine.regs()[7], 99);
    guest.enter(1, &[1, 2, 1 << 40]);
    assert_eq!(guest.run(), Exit::HostCall(1 << 40));
    assert_eq!(guest.machine.regs()[11], 1 << 40);
    // The number is in the ecalli: nothing loads it into a register.
    let code: Vec<String> = code(&guest).collect();
    assert!(code.iter().any(|t| t.starts_with("ecalli")), "{code:?}");
    assert!(!code.iter().any(|t| t.starts_with("load_imm ")), "{code:?}");
}

#[test]
fn what_no_endpoint_reaches_is_dropped() {
    let used = "endpoint used 0\nli a0, 1\nret\n";
    let dead = ".type dead, @function\ndead: li a0, 0x1234567\ncall dead2\nret\ndead2: csrr a0, cycle\nret";
    let (Some(with), Some(without)) = (guest(&format!("{used}{dead}")), guest(used)) else {
        return;
    };
    assert_eq!(with.image.program, without.image.program);
}

#[test]
fn code_behind_a_call_that_never_returns_is_not_needed() {
    let text = "
        endpoint start 0
        bnez a0, 1f
        ret
        1: call stop
        .size start, .-start
        .type after, @function
        after: csrr a0, cycle
        ret
        .type stop, @function
        stop: unimp";
    let Some(mut guest) = guest(text) else { return };
    assert_eq!(guest.call(0, &[0]), 0);
    guest.enter(0, &[1]);
    assert_eq!(guest.run(), Exit::Panic);
}

#[test]
fn far_branches_reach() {
    let filler = "xor a1, a1, a2\n".repeat(900);
    let text = format!(
        "endpoint far 0\nli a1, 0\n1: beqz a0, 2f\n{filler}addi a0, a0, -1\nj 1b\n{filler}2: mv a0, a1\nret"
    );
    let Some(mut guest) = guest(&text) else {
        return;
    };
    assert_eq!(guest.call(0, &[3, 0, 5]), 0);
}

#[test]
fn errors_name_symbol_and_instruction() {
    for (body, parts) in [
        (
            "add gp, a0, a1",
            ["faulty+0x4", "add gp, a0, a1", "register gp"],
        ),
        ("mv a0, tp", ["faulty+0x4", "tp", "register tp"]),
        (
            "csrr a0, cycle",
            ["faulty+0x4", ".word 0xc0002573", "not an instruction"],
        ),
        (
            "fence.i",
            ["faulty+0x4", ".word 0x0000100f", "not an instruction"],
        ),
        (
            ".word 0x00a6a62f",
            ["faulty+0x4", ".word 0x00a6a62f", "not an instruction"],
        ),
        (
            "lui a0, %hi(faulty); lw a0, %lo(faulty)(a0)",
            ["faulty+0x8", "relocation", "code as data"],
        ),
        ("jalr x0, 8(x0)", ["faulty+0x4", "jalr zero, 8(zero)", "x0"]),
        (
            "slli a0, a0, 3; .size faulty, .-faulty",
            ["faulty+0x4", "slli a0, a0, 3", "runs off"],
        ),
    ] {
        let text = format!("endpoint faulty 0\nnop\n{body}\n");
        let text = if body.contains("size") {
            text
        } else {
            text + "ret\n.size faulty, .-faulty"
        };
        let Some(message) = refused(&text) else {
            return;
        };
        for part in parts {
            assert!(message.contains(part), "{body}: {message}");
        }
    }
}

#[test]
fn endpoints_are_checked() {
    let twice = "endpoint a 0\nret\nendpoint b 0\nret";
    let Some(message) = refused(twice) else {
        return;
    };
    assert_eq!(message, "endpoint b: index 0 is used twice");
    let message = refused("endpoint a 0 2\nret\nendpoint b 1 2\nret").unwrap();
    assert_eq!(message, "endpoint b: there is a Genesis endpoint already");
    let message = refused(".globl lonely\nlonely: ret").unwrap();
    assert!(message.contains("no section .jar.endpoints"), "{message}");
    let message =
        refused("endpoint same 0\nret\n.pushsection .jar.endpoints\n.zero 8\n.popsection").unwrap();
    assert!(message.contains("multiple of a descriptor"), "{message}");
}

#[test]
fn the_same_elf_gives_the_same_image() {
    let Some(toolchain) = toolchain() else { return };
    let elf = assemble(
        &toolchain,
        "endpoint f 0\nla t0, g\njr t0\ng: ret\n.data\n.quad g, f",
    );
    assert_eq!(transpile(&elf).unwrap(), transpile(&elf).unwrap());
}

#[test]
fn returning_from_an_endpoint_halts() {
    let Some(guest) = guest("endpoint f 0\nret") else {
        return;
    };
    assert_eq!(guest.image.endpoints[&0].regs[&0], u64::from(HALT_ADDRESS));
    let top = guest.image.endpoints[&0].regs[&1];
    let stack: Vec<_> = guest
        .image
        .memory
        .iter()
        .map(|m| (m.start, m.size))
        .collect();
    assert_eq!(stack, [(0x1_0000, 60 << 10), (0x1_f000, 4 << 10)]);
    assert_eq!(top, 0x2_0000 - 16);
}

#[test]
fn what_is_no_elf_for_guests_is_refused() {
    for bytes in [&b""[..], b"\x7fELF", &[0; 4096]] {
        assert!(matches!(transpile(bytes), Err(Error::Elf(_))), "{bytes:?}");
    }
    let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    assert!(matches!(transpile(&own), Err(Error::Unsupported(_))));
}
