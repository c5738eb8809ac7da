//! Nested calls of an endpoint that does nothing.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::ensure;
use jar_abi::HostCall;
use jar_cap::image::{Endpoint, Image, Mapping, Program, Role, Source};
use jar_kernel::block::{Ending, Event};
use jar_kernel::local::LocalHardware;
use jar_kernel::{Genesis, Kernel, Params};
use jar_pvm::isa::{Instruction, Opcode};
use parity_scale_codec::Encode;

use super::kernel_in_memory;

/// Calls of the endpoint that makes many, less those of the one that makes few.
pub const CALLS: u32 = MANY - FEW;
const FEW: u32 = 2_000;
const MANY: u32 = 22_000;
/// Slot of the Instance that is called.
const CALLEE: u64 = 40;
/// Slots that Genesis needs on the way there.
const IMAGE: u64 = 41;
const TABLE: u64 = 42;
/// Writable memory of the callee: as much as a page of Wasm.
const MEMORY_BYTES: u32 = 64 << 10;
/// Registers of the first arguments.
const A0: u8 = 7;
const A1: u8 = 8;
/// A register that a call leaves alone.
const COUNTER: u8 = 5;

/// A chain that makes such calls.
pub struct Calls {
    kernel: Kernel<LocalHardware>,
}

impl Calls {
    /// Runs programs on this engine.
    pub fn new(engine: &str) -> anyhow::Result<Calls> {
        let mut callee = Code::default();
        let nothing = callee.endpoint(Role::Call, |code| code.halt());
        let mut caller = Code::default();
        let endpoints = [
            caller.endpoint(Role::Genesis, |code| {
                code.host(HostCall::MakeImage, &[0, IMAGE]);
                code.host(HostCall::MintCnode, &[TABLE]);
                code.host(HostCall::DeriveSpawn, &[IMAGE, TABLE, CALLEE]);
                code.halt();
            }),
            caller.endpoint(Role::Transact(0), |code| code.calls(FEW)),
            caller.endpoint(Role::Transact(1), |code| code.calls(MANY)),
        ];
        let genesis = Genesis {
            params: Params {
                event_gas: 1 << 36,
                block_gas: 1 << 36,
                ..Params::default()
            },
            image: caller.image(endpoints.into()).encode(),
            slot_ms: 1000,
            time_ms: 0,
            payload: callee.image([nothing].into()).encode(),
        };
        let kernel = kernel_in_memory(&genesis, Vec::new(), engine)?;
        Ok(Calls { kernel })
    }

    /// Nanoseconds of one call, on average of [`CALLS`].
    pub fn measure(&self) -> anyhow::Result<f64> {
        let few = self.time(1)?;
        let many = self.time(2)?;
        Ok((many - few) / f64::from(CALLS))
    }

    fn time(&self, endpoint: u8) -> anyhow::Result<f64> {
        let (chain, head) = (self.kernel.chain(), self.kernel.head());
        let started = Instant::now();
        let outcome = chain.simulate(head, endpoint, &Event::default())?;
        let ns = started.elapsed().as_nanos() as f64;
        ensure!(
            outcome.ending == Ending::Halted(0),
            "the calls of the bench: {}",
            outcome.ending
        );
        Ok(ns)
    }

    /// The engine's name.
    pub fn engine(&self) -> &'static str {
        self.kernel.chain().engine_name()
    }
}

/// Instructions of a program in the making.
#[derive(Default)]
struct Code {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl Code {
    /// Adds an endpoint that runs `body`.
    fn endpoint(&mut self, role: Role, body: impl FnOnce(&mut Code)) -> Endpoint {
        let pc = self.bytes.len() as u32;
        body(self);
        Endpoint {
            name: format!("at_{pc}"),
            role,
            pc,
            regs: BTreeMap::new(),
        }
    }

    fn op(&mut self, opcode: Opcode, set: impl FnOnce(&mut Instruction)) {
        let mut instruction = Instruction::from(opcode);
        set(&mut instruction);
        self.starts.push(self.bytes.len());
        // What stands in this file is in range; the run would fail, not mislead, if it weren't.
        let _ = instruction.encode(&mut self.bytes);
    }

    fn set(&mut self, register: u8, value: u64) {
        self.op(Opcode::LoadImm, |i| (i.ra, i.x) = (register, value));
    }

    fn host(&mut self, call: HostCall, arguments: &[u64]) {
        for (register, argument) in (A0..).zip(arguments) {
            self.set(register, *argument);
        }
        self.op(Opcode::Ecalli, |i| i.x = call as u64);
    }

    /// Halts with 0. Ends a block.
    fn halt(&mut self) {
        self.host(HostCall::Halt, &[0]);
        self.op(Opcode::Trap, |_| {});
    }

    /// Calls the callee's endpoint `count` times; halts with the sum of what the calls tell,
    /// which is 0 when all went well.
    fn calls(&mut self, count: u32) {
        let sum = COUNTER + 1;
        self.set(COUNTER, count.into());
        self.set(sum, 0);
        self.op(Opcode::Fallthrough, |_| {});
        let again = self.bytes.len();
        self.host(HostCall::Call, &[CALLEE, 0, 0]);
        for told in [A0, A1] {
            self.op(Opcode::Or, |i| (i.rd, i.ra, i.rb) = (sum, sum, told));
        }
        self.op(Opcode::AddImm64, |i| {
            (i.ra, i.rb, i.x) = (COUNTER, COUNTER, u64::MAX);
        });
        let back = (again as u64).wrapping_sub(self.bytes.len() as u64);
        self.op(Opcode::BranchNeImm, |i| {
            (i.ra, i.x, i.y) = (COUNTER, 0, back);
        });
        self.op(Opcode::MoveReg, |i| (i.rd, i.ra) = (A0, sum));
        self.op(Opcode::Ecalli, |i| i.x = HostCall::Halt as u64);
        self.op(Opcode::Trap, |_| {});
    }

    fn image(&self, endpoints: Vec<Endpoint>) -> Image {
        let mut bitmask = vec![0; self.bytes.len().div_ceil(8)];
        for start in &self.starts {
            bitmask[start / 8] |= 1 << (start % 8);
        }
        Image {
            program: Program {
                code: self.bytes.clone(),
                bitmask,
                jump_table: Vec::new(),
            },
            endpoints: (0..).zip(endpoints).collect(),
            memory: vec![Mapping {
                start: 1 << 16,
                size: MEMORY_BYTES,
                source: Source::Ephemeral {
                    init: None,
                    eager: false,
                },
            }],
            ..Image::default()
        }
    }
}
