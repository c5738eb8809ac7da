//! One pass from bytecode to machine code.
//!
//! A gas block starts with `sub rax, cost; jb stub`, or with nothing where it is paid for before
//! it ([`super::prepay`]). Jumps lead to that pair; entries from the engine lead behind it. What leaves the guest for good does so by a
//! five-byte call, whose return address says where it was.

use std::sync::Arc;

use jar_isa::{Instruction, Opcode, for_each_op, window};

use super::assembler::{Address, Assembler, Condition, Reg, Site};
use super::buffer::{Buffer, Executable};
use super::prepay::{Link, Prepaid, prepaid};
use super::routines::{
    EXIT_LONE_TRAP, EXIT_OFF_TABLE, EXIT_OUT_OF_GAS, EXIT_PANIC, GUEST, Routines,
};
use crate::gas::{BlockMeter, GasModel, QUEUE};
use crate::pipeline::Row;
use crate::positions::Positions;
use crate::program::Program;
use crate::walk::{Place, StepKind, Walk};

/// No step takes more machine code than this, its block's charge included.
pub(super) const STEP_LEN_MAX: usize = 96;
/// A step has at most three stubs: for its block's gas, two for a dynamic jump.
const STUBS_PER_STEP: usize = 3;
/// A stub is a near call.
pub(super) const STUB_LEN: u32 = 5;
/// What the blocks that jumps lead to most are aligned to: behind a `fallthrough`, as
/// compilers put it before a loop, a cache line; behind a jump, where nobody runs through the
/// padding, half of one. Elsewhere, tight loops take up to 1.8 times as long.
const LOOP_ALIGNMENT: u32 = 64;
const ENTRY_ALIGNMENT: u32 = 32;
/// The most padding before a step.
pub(super) const PADDING_MAX: usize = LOOP_ALIGNMENT as usize - 1;
/// Bytes of a block's charge.
const CHARGE_LEN: u32 = 12;
const ROUTINES_LEN_MAX: usize = 1024;

/// Which cold exit a stub takes, above a pc of at most 24 bits.
const STUB_SHIFT: u32 = 24;
/// Not an exit: goes on at a table's address in 64 bits, if it can.
const STUB_WIDE_JUMP: u64 = 255;
const STUB_PC: u32 = (1 << STUB_SHIFT) - 1;

/// The machine code of a program, and what leads from one to the other.
pub(super) struct Translation {
    pub executable: Executable,
    pub routines: Routines,
    /// From pc to the number of a step.
    pub positions: Positions,
    /// Where each step's machine code starts.
    pub offsets: Vec<u32>,
    /// Bytes of machine code that charge a block, at its start.
    pub charge_len: u32,
    /// The pcs of gas blocks, and what each costs.
    pub blocks: Positions,
    pub costs: Vec<u32>,
    pub prepaid: Prepaid,
    pub lone_trap_cost: u32,
    /// Where the stubs start, and the pc of each.
    pub stubs_start: u32,
    pub stub_pcs: Vec<u32>,
}

/// An instruction's operands as the host sees them.
pub(super) struct Operands {
    pub a: Reg,
    pub b: Reg,
    pub d: Reg,
    /// νX; fits 32 bits except that of `load_imm_64`.
    pub wide_x: u64,
    pub x: i32,
    pub y: i32,
}

impl Operands {
    #[inline(always)]
    fn new(instruction: &Instruction) -> Operands {
        let host = |register: u8| GUEST[usize::from(register)];
        Operands {
            a: host(instruction.ra),
            b: host(instruction.rb),
            d: host(instruction.rd),
            wide_x: instruction.x,
            x: instruction.x as i32,
            y: instruction.y as i32,
        }
    }

    /// νX as an address.
    pub fn at_x(&self) -> Address {
        Address {
            base: None,
            offset: self.x,
        }
    }

    /// `base` + νX as an address.
    pub fn at(&self, base: Reg) -> Address {
        Address {
            base: Some(base),
            offset: self.x,
        }
    }
}

pub(super) struct Translator<'a> {
    pub asm: Assembler,
    program: &'a Program,
    routines: Routines,
    positions: Positions,
    offsets: Vec<u32>,
    blocks: Positions,
    /// Where each block's charge stands, if it has one, and what it is.
    charges: Vec<Option<Site>>,
    costs: Vec<u32>,
    /// How each block ends.
    links: Vec<Link>,
    /// The opcode that ended the last block.
    before: Opcode,
    /// Of the step at hand.
    pc: u32,
    block_start: bool,
    /// Jumps ahead; each holds its target's pc until the end.
    jumps: Vec<Site>,
    /// Jumps back that no condition has: where each ends, and where it leads.
    jumps_back: Vec<(u32, u32)>,
    stub_sites: Vec<Site>,
    stubs: Vec<u32>,
    /// Every entry of the jump table is a block start.
    sound_table: bool,
}

/// A bound for the steps of `program`.
fn steps_max(program: &Program) -> usize {
    let starts: usize = program
        .bitmask()
        .iter()
        .map(|byte| byte.count_ones() as usize)
        .sum();
    // A gap follows an instruction of the greatest length.
    starts + program.code().len() / jar_isa::MAX_SKIP as usize + 2
}

/// Translates `program`; `None` when the system gives no memory for code.
/// `prepaying`: blocks may be paid for in those before them.
pub(super) fn translate(
    program: &Arc<Program>,
    model: GasModel,
    gs_instructions: bool,
    prepaying: bool,
) -> Option<Translation> {
    let steps = steps_max(program);
    let per_step = PADDING_MAX + STEP_LEN_MAX + STUBS_PER_STEP * STUB_LEN as usize;
    let capacity = ROUTINES_LEN_MAX + steps * per_step + 8 * (program.jump_table().len() + 1);
    let mut asm = Assembler {
        buffer: Buffer::new(capacity)?,
    };
    let routines = Routines::emit(&mut asm, gs_instructions, program.jump_table().len());
    let sound = |pc: &u32| program.is_block_start(*pc);
    let mut translator = Translator {
        asm,
        program,
        routines,
        positions: Positions::new(program.code_len()),
        offsets: Vec::with_capacity(steps),
        blocks: Positions::new(program.code_len()),
        charges: Vec::new(),
        costs: Vec::new(),
        links: Vec::new(),
        before: Opcode::Trap,
        pc: 0,
        block_start: false,
        jumps: Vec::new(),
        jumps_back: Vec::new(),
        stub_sites: Vec::new(),
        stubs: Vec::new(),
        sound_table: program.jump_table().iter().all(sound),
    };
    let lone_trap_cost = translator.body(model);
    let stubs_start = translator.emit_stubs();
    let prepaid = match prepaying && model.is_metered() {
        true => translator.prepay(),
        false => Prepaid::default(),
    };
    translator.patch_jumps();
    translator.fill_table();
    translator.blocks.fill();
    translator.positions.fill();
    translator.offsets.shrink_to_fit();
    Some(Translation {
        executable: translator.asm.buffer.finish()?,
        routines,
        positions: translator.positions,
        offsets: translator.offsets,
        charge_len: if model.is_metered() { CHARGE_LEN } else { 0 },
        blocks: translator.blocks,
        costs: translator.costs,
        prepaid,
        lone_trap_cost,
        stubs_start,
        stub_pcs: translator.stubs,
    })
}

impl Translator<'_> {
    /// Every step; gives the cost of a trap alone.
    ///
    /// Steps are priced behind, some at a time, so that two loops repeat themselves.
    fn body(&mut self, model: GasModel) -> u32 {
        let program = self.program;
        let mut meter = BlockMeter::new(program, model);
        let mut walk = Walk::new(program);
        self.block_start = true;
        loop {
            let mut count = 0;
            while count < QUEUE
                && let Some(place) = walk.advance()
            {
                self.place(place, &mut meter);
                count += 1;
            }
            meter.settle(|cost| self.price(cost));
            if count == 0 {
                return meter.lone_trap();
            }
        }
    }

    /// Appends the machine code of the step at `place`, the charge of its block included.
    #[inline(always)]
    fn place(&mut self, place: Place, meter: &mut BlockMeter) {
        assert!(self.asm.buffer.room() as usize >= PADDING_MAX + STEP_LEN_MAX);
        let bytes = match place.kind {
            StepKind::Instruction => window(self.program.code(), place.pc as usize),
            _ => u128::from(Opcode::Trap as u8),
        };
        self.pc = place.pc;
        if self.block_start {
            self.begin_block(bytes as u8, meter.model());
        } else {
            self.note_step();
        }
        self.step(bytes, &place, meter);
    }

    fn note_step(&mut self) {
        self.positions.push(self.pc);
        self.offsets.push(self.asm.offset());
    }

    /// Starts a block with the opcode of number `first`.
    #[inline(never)]
    fn begin_block(&mut self, first: u8, model: GasModel) {
        let first = Opcode::from_byte(first).unwrap_or(Opcode::Trap);
        self.align_block(self.before, first);
        self.note_step();
        self.blocks.push(self.pc);
        self.links.push(Link::NONE);
        let charge = match model.is_metered() {
            true => self.charge(first),
            false => None,
        };
        self.charges.push(charge);
    }

    /// Fills in the cost of the next block.
    fn price(&mut self, cost: u32) {
        if let Some(Site(at)) = self.charges[self.costs.len()] {
            self.asm.buffer.patch(at, cost);
        }
        self.costs.push(cost);
    }

    /// Pads before a block by the opcode it starts with and the one `before`.
    fn align_block(&mut self, before: Opcode, first: Opcode) {
        use Opcode::*;
        // Blocks of one instruction, of which hostile programs have millions, stay small.
        if matches!(first, Trap | Fallthrough) {
            return;
        }
        match before {
            Fallthrough => self.asm.align(LOOP_ALIGNMENT),
            Jump | JumpInd | LoadImmJump | LoadImmJumpInd | Trap => self.asm.align(ENTRY_ALIGNMENT),
            _ => {}
        }
    }

    /// The charge of the block that starts with `first`, its cost still open.
    /// A block of one trap goes without: the engine charges it.
    fn charge(&mut self, first: Opcode) -> Option<Site> {
        if first == Opcode::Trap {
            return None;
        }
        let cost = self.asm.sub_rax_patchable();
        self.stub_if(Condition::Below, EXIT_OUT_OF_GAS);
        Some(cost)
    }

    /// Translates and meters the instruction that starts with `bytes`.
    fn step(&mut self, bytes: u128, place: &Place, meter: &mut BlockMeter) {
        macro_rules! one {
            ($variant:ident $mnemonic:ident) => {{
                let instruction = Instruction::decode_as(Opcode::$variant, bytes, place.skip);
                meter.take(const { Row::of(Opcode::$variant) }, place, &instruction);
                self.$mnemonic(&Operands::new(&instruction));
                // Where a block starts, the opcode before tells how.
                self.block_start = const { Opcode::$variant.is_terminator() };
                if const { Opcode::$variant.is_terminator() } {
                    self.before = Opcode::$variant;
                }
            }};
        }
        // An opcode without a translation doesn't compile.
        macro_rules! dispatch {
            ($($number:literal $variant:ident $mnemonic:ident $format:ident $flow:ident
               $operands:ident $latency:ident $(($cycles:literal))? $slots:ident($($count:literal),+)
               $units:ident $semantics:literal;)+) => {
                match bytes as u8 {
                    $($number => one!($variant $mnemonic),)+
                    _ => one!(Trap trap),
                }
            };
        }
        for_each_op!(dispatch);
    }

    /// How the block at hand ends.
    fn link(&mut self) -> &mut Link {
        self.links.last_mut().expect("a block has begun")
    }

    /// Leaves by a stub when `condition` holds.
    fn stub_if(&mut self, condition: Condition, exit: u64) {
        let site = self.asm.jump_ahead_if(condition, 0);
        self.stub_sites.push(site);
        self.stubs.push(self.pc | (exit as u32) << STUB_SHIFT);
    }

    /// Leaves for good.
    fn leave(&mut self, exit: u64) {
        self.asm.call(self.routines.cold[exit as usize]);
    }

    pub fn trap_out(&mut self) {
        let exit = if self.block_start {
            self.link().trap();
            EXIT_LONE_TRAP
        } else {
            EXIT_PANIC
        };
        self.leave(exit);
    }

    /// The block at `offset` from the instruction, if jumps may land there.
    fn target(&self, offset: i32) -> Option<u32> {
        let pc = i64::from(self.pc) + i64::from(offset);
        let pc = u32::try_from(pc).ok()?;
        self.program.is_block_start(pc).then_some(pc)
    }

    fn translated(&self, pc: u32) -> Option<u32> {
        let index = self.positions.rank(pc)?;
        Some(self.offsets[index as usize])
    }

    /// On into the next block.
    pub fn run_on(&mut self) {
        self.link().run_on();
    }

    pub fn jump_to(&mut self, offset: i32) {
        let Some(target) = self.target(offset) else {
            return self.leave(EXIT_PANIC);
        };
        self.link().jump(target);
        match self.translated(target) {
            Some(native) => {
                self.asm.jump_back(native);
                self.jumps_back.push((self.asm.offset(), native));
            }
            None => {
                let site = self.asm.jump_ahead(target);
                self.jumps.push(site);
            }
        }
    }

    pub fn branch_if(&mut self, condition: Condition, offset: i32) {
        self.link().branch();
        let Some(target) = self.target(offset) else {
            return self.stub_if(condition, EXIT_PANIC);
        };
        self.link().jump(target);
        match self.translated(target) {
            Some(native) => self.asm.jump_back_if(condition, native),
            None => {
                let site = self.asm.jump_ahead_if(condition, target);
                self.jumps.push(site);
            }
        }
    }

    /// A jump through the table to the address in the scratch register, less 2.
    pub fn table_jump(&mut self) {
        use super::assembler::{Alu, Shift, W32};
        use super::routines::SCRATCH;
        self.link().jump_dynamically();
        // An odd address becomes a number beyond any table, and so does address 0.
        self.asm.shift_imm(W32, Shift::RotateRight, SCRATCH, 1);
        let entries = self.program.jump_table().len() as i32;
        self.asm.alu_imm(W32, Alu::Cmp, SCRATCH, entries);
        self.stub_if(Condition::AboveOrEqual, EXIT_OFF_TABLE);
        self.asm.shift_imm(W32, Shift::Left, SCRATCH, 3);
        self.asm.add_literal(SCRATCH, self.routines.table_address);
        if self.sound_table {
            return self.asm.jump_through(SCRATCH);
        }
        self.asm.load_host(SCRATCH, SCRATCH, 0);
        self.asm.test(SCRATCH, SCRATCH);
        self.stub_if(Condition::Equal, EXIT_PANIC);
        self.asm.jump_reg(SCRATCH);
    }

    /// A jump through the table to the address in a guest's register: by that register
    /// itself, once it is known to be one of the table's addresses.
    pub fn table_jump_to(&mut self, address: Reg) {
        use super::assembler::{Alu, Shift, W64};
        use super::routines::SCRATCH;
        self.link().jump_dynamically();
        self.asm.lea(W64, SCRATCH, address, -2);
        self.asm.shift_imm(W64, Shift::RotateRight, SCRATCH, 1);
        let entries = self.program.jump_table().len() as i32;
        self.asm.alu_imm(W64, Alu::Cmp, SCRATCH, entries);
        self.stub_if(Condition::AboveOrEqual, STUB_WIDE_JUMP);
        // Address 2 has the first entry.
        self.asm.lea_code(SCRATCH, self.routines.table - 8);
        if self.sound_table {
            return self.asm.jump_through_sum(SCRATCH, address);
        }
        self.asm.load_host_sum(SCRATCH, SCRATCH, address);
        self.asm.test(SCRATCH, SCRATCH);
        self.stub_if(Condition::Equal, EXIT_PANIC);
        self.asm.jump_reg(SCRATCH);
    }

    /// The call of a number; that of φ11, if there is none.
    pub fn host_call(&mut self, number: Option<i32>) {
        self.link().call();
        super::routines::emit_call(&mut self.asm, &self.routines, number);
    }

    fn emit_stubs(&mut self) -> u32 {
        let start = self.asm.offset();
        for (site, stub) in self.stub_sites.iter().zip(&mut self.stubs) {
            let at = self.asm.offset();
            self.asm.patch(*site, at);
            self.asm.call(match u64::from(*stub >> STUB_SHIFT) {
                STUB_WIDE_JUMP => self.routines.wide_jump,
                exit => self.routines.cold[exit as usize],
            });
            *stub &= STUB_PC;
        }
        self.stub_sites = Vec::new();
        start
    }

    /// Makes blocks pay for those they lead to; their charges are known, jumps ahead not yet
    /// patched.
    fn prepay(&mut self) -> Prepaid {
        let table = self.program.jump_table();
        let prepaid = prepaid(&self.blocks, &self.links, &self.costs, table);
        for (block, (site, cost)) in self.charges.iter().zip(&self.costs).enumerate() {
            let (before, ahead) = (prepaid.before(block), prepaid.ahead(block));
            let Some(Site(at)) = site.filter(|_| before != ahead) else {
                continue;
            };
            match cost + ahead - before {
                0 => self.asm.clear_charge(Site(at)),
                charge => self.asm.buffer.patch(at, charge),
            }
        }
        for (end, native) in std::mem::take(&mut self.jumps_back) {
            let entry = self.asm.behind_cleared(native);
            if entry > native {
                self.asm.move_jump_back(end, native, entry);
            }
        }
        prepaid
    }

    fn patch_jumps(&mut self) {
        for site in std::mem::take(&mut self.jumps) {
            let target = self.asm.buffer.read(site.0);
            let native = self.translated(target).expect("a block start is a step");
            let entry = self.asm.behind_cleared(native);
            self.asm.patch(site, entry);
        }
    }

    /// The jump table as native addresses; 0 where a jump panics.
    fn fill_table(&mut self) {
        let start = self.asm.buffer.start();
        for (index, pc) in self.program.jump_table().iter().enumerate() {
            let sound = self.program.is_block_start(*pc);
            if let Some(native) = sound.then(|| self.translated(*pc)).flatten() {
                let place = self.routines.table + 8 * index as u32;
                let address = start + u64::from(self.asm.behind_cleared(native));
                self.asm.buffer.patch_wide(place, address);
            }
        }
    }
}
