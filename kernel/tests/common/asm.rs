//! A small assembler: programs of straight lines, tests of a register, and host calls.

use jar_abi::HostCall;
use jar_pvm::isa::{Instruction, Opcode};

/// A piece of code that runs at any address.
#[derive(Clone, Default)]
pub struct Asm {
    code: Vec<u8>,
    starts: Vec<usize>,
}

/// Register of the first argument and of the result.
pub const A0: u8 = 7;
/// Register of the second argument and of a CALL's status.
pub const A1: u8 = 8;

fn instruction(opcode: Opcode) -> Instruction {
    Instruction::from(opcode)
}

impl Asm {
    pub fn new() -> Asm {
        Asm::default()
    }

    pub fn op(&mut self, instruction: Instruction) -> &mut Asm {
        self.starts.push(self.code.len());
        instruction
            .encode(&mut self.code)
            .expect("operands in range");
        self
    }

    /// `register` := `value`.
    pub fn set(&mut self, register: u8, value: u64) -> &mut Asm {
        self.op(Instruction {
            ra: register,
            x: value,
            ..instruction(Opcode::LoadImm64)
        })
    }

    /// `to` := `from`.
    pub fn mov(&mut self, to: u8, from: u8) -> &mut Asm {
        self.op(Instruction {
            rd: to,
            ra: from,
            ..instruction(Opcode::MoveReg)
        })
    }

    /// `register` := `a` + `b`.
    pub fn add(&mut self, register: u8, a: u8, b: u8) -> &mut Asm {
        self.op(Instruction {
            rd: register,
            ra: a,
            rb: b,
            ..instruction(Opcode::Add64)
        })
    }

    /// [`address`] := `register`.
    pub fn store(&mut self, address: u32, register: u8) -> &mut Asm {
        self.op(Instruction {
            ra: register,
            x: i64::from(address as i32) as u64,
            ..instruction(Opcode::StoreU64)
        })
    }

    /// `register` := [`address`].
    pub fn load(&mut self, register: u8, address: u32) -> &mut Asm {
        self.op(Instruction {
            ra: register,
            x: i64::from(address as i32) as u64,
            ..instruction(Opcode::LoadU64)
        })
    }

    /// A host call with the registers as they are.
    pub fn host(&mut self, call: HostCall) -> &mut Asm {
        self.host_number(call as u64)
    }

    pub fn host_number(&mut self, number: u64) -> &mut Asm {
        self.op(Instruction {
            x: number,
            ..instruction(Opcode::Ecalli)
        })
    }

    /// A host call with these arguments from φ7 on.
    pub fn call(&mut self, call: HostCall, args: &[u64]) -> &mut Asm {
        for (index, arg) in args.iter().enumerate() {
            self.set(A0 + index as u8, *arg);
        }
        self.host(call)
    }

    /// Halts with φ7 as it is.
    pub fn halt(&mut self) -> &mut Asm {
        self.host(HostCall::Halt).trap()
    }

    /// Halts with φ7 as it is, by a jump. Spoils φ6.
    pub fn jump_to_halt(&mut self) -> &mut Asm {
        self.set(6, jar_pvm::HALT_ADDRESS.into()).op(Instruction {
            ra: 6,
            ..instruction(Opcode::JumpInd)
        })
    }

    /// Halts with a value.
    pub fn halt_with(&mut self, value: u64) -> &mut Asm {
        self.set(A0, value).halt()
    }

    /// Faults. Ends a block.
    pub fn trap(&mut self) -> &mut Asm {
        self.op(instruction(Opcode::Trap))
    }

    /// Spends all gas.
    pub fn spin(&mut self) -> &mut Asm {
        self.op(instruction(Opcode::Fallthrough));
        self.op(instruction(Opcode::Jump))
    }

    /// Runs `body` again and again.
    pub fn forever(&mut self, body: impl FnOnce(&mut Asm)) -> &mut Asm {
        self.op(instruction(Opcode::Fallthrough));
        let start = self.code.len();
        body(self);
        let back = (start as i64 - self.code.len() as i64) as u64;
        self.op(Instruction {
            x: back,
            ..instruction(Opcode::Jump)
        })
    }

    /// Writes to page after page from `start` on, until there is none. Spoils φ0 and φ1.
    pub fn write_pages(&mut self, start: u32) -> &mut Asm {
        self.set(0, start.into()).set(1, 4096).forever(|asm| {
            asm.op(Instruction {
                ra: 1,
                rb: 0,
                ..instruction(Opcode::StoreIndU64)
            })
            .add(0, 0, 1);
        })
    }

    /// Runs `body` if a register holds a value.
    pub fn if_eq(&mut self, register: u8, value: u64, body: impl FnOnce(&mut Asm)) -> &mut Asm {
        let mut inner = Asm::new();
        body(&mut inner);
        inner.op(instruction(Opcode::Fallthrough));
        let branch = |offset: usize| {
            let mut code = Vec::new();
            let branch = Instruction {
                ra: register,
                x: value,
                y: offset as u64,
                ..instruction(Opcode::BranchNeImm)
            };
            branch.encode(&mut code).expect("operands in range");
            code
        };
        // The branch's length depends on how far it goes, which its length is a part of.
        let mut offset = inner.code.len();
        while branch(offset).len() + inner.code.len() != offset {
            offset = branch(offset).len() + inner.code.len();
        }
        self.starts.push(self.code.len());
        self.code.extend(branch(offset));
        self.append(&inner)
    }

    /// Appends another piece.
    pub fn append(&mut self, other: &Asm) -> &mut Asm {
        let at = self.code.len();
        self.starts.extend(other.starts.iter().map(|s| at + s));
        self.code.extend(&other.code);
        self
    }

    pub fn len(&self) -> usize {
        self.code.len()
    }

    /// The code and its bitmask.
    pub fn finish(&self) -> (Vec<u8>, Vec<u8>) {
        let mut bitmask = vec![0; self.code.len().div_ceil(8)];
        for start in &self.starts {
            bitmask[start / 8] |= 1 << (start % 8);
        }
        (self.code.clone(), bitmask)
    }
}
