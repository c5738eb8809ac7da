//! The one table, and the types that derive from it.

use alloc::vec::Vec;

use crate::cost::{Cost, Latency, Slots, Units};

/// Invokes `$callback!` with every row of the instruction table.
///
/// A row is `number Variant mnemonic format flow operands latency slots units
/// "semantics";`. `flow` is `end` when the instruction ends a basic block.
/// In the semantics A, B, D are registers, νX and νY immediates, X32 a value
/// modulo 2^32, sext32 a sign extension from 32 bits.
#[macro_export]
macro_rules! for_each_op {
    ($callback:ident) => {
        $callback! {
              0 Trap              trap                 N    end  None  Cycles(2)   Count(1)      NONE  "panic";
              1 Fallthrough       fallthrough          N    end  None  Cycles(2)   Count(1)      NONE  "no effect; ends block";
              2 Unlikely          unlikely             N    next None  Cycles(40)  Count(1)      NONE  "no effect; marks a cold block";
              3 Ecall             ecall                N    next None  Cycles(100) Count(4)      ALU   "host call φ11";
             10 Ecalli            ecalli               I    next None  Cycles(100) Count(4)      ALU   "host call νX";
             20 LoadImm64         load_imm_64          RX   next ToA   Cycles(1)   Count(2)      NONE  "A := νX (8 raw LE bytes)";
             30 StoreImmU8        store_imm_u8         II   next None  Memory      Count(1)      STORE "[νX] := low 1 B of νY";
             31 StoreImmU16       store_imm_u16        II   next None  Memory      Count(1)      STORE "[νX] := low 2 B of νY";
             32 StoreImmU32       store_imm_u32        II   next None  Memory      Count(1)      STORE "[νX] := low 4 B of νY";
             33 StoreImmU64       store_imm_u64        II   next None  Memory      Count(1)      STORE "[νX] := low 8 B of νY";
             40 Jump              jump                 O    end  None  Cycles(15)  Count(1)      NONE  "branch(νX) always";
             50 JumpInd           jump_ind             RI   end  A     Cycles(22)  Count(1)      NONE  "djump((A + νX) mod 2^32)";
             51 LoadImm           load_imm             RI   next ToA   Cycles(1)   Count(1)      NONE  "A := νX";
             52 LoadU8            load_u8              RI   next ToA   Memory      Count(1)      LOAD  "A := 1 B at [νX], zero-extended";
             53 LoadI8            load_i8              RI   next ToA   Memory      Count(1)      LOAD  "A := 1 B at [νX], sign-extended";
             54 LoadU16           load_u16             RI   next ToA   Memory      Count(1)      LOAD  "A := 2 B at [νX], zero-extended";
             55 LoadI16           load_i16             RI   next ToA   Memory      Count(1)      LOAD  "A := 2 B at [νX], sign-extended";
             56 LoadU32           load_u32             RI   next ToA   Memory      Count(1)      LOAD  "A := 4 B at [νX], zero-extended";
             57 LoadI32           load_i32             RI   next ToA   Memory      Count(1)      LOAD  "A := 4 B at [νX], sign-extended";
             58 LoadU64           load_u64             RI   next ToA   Memory      Count(1)      LOAD  "A := 8 B at [νX], zero-extended";
             59 StoreU8           store_u8             RI   next A     Memory      Count(1)      STORE "[νX] := low 1 B of A";
             60 StoreU16          store_u16            RI   next A     Memory      Count(1)      STORE "[νX] := low 2 B of A";
             61 StoreU32          store_u32            RI   next A     Memory      Count(1)      STORE "[νX] := low 4 B of A";
             62 StoreU64          store_u64            RI   next A     Memory      Count(1)      STORE "[νX] := low 8 B of A";
             70 StoreImmIndU8     store_imm_ind_u8     RII  next A     Memory      Count(1)      STORE "[A+νX] := low 1 B of νY";
             71 StoreImmIndU16    store_imm_ind_u16    RII  next A     Memory      Count(1)      STORE "[A+νX] := low 2 B of νY";
             72 StoreImmIndU32    store_imm_ind_u32    RII  next A     Memory      Count(1)      STORE "[A+νX] := low 4 B of νY";
             73 StoreImmIndU64    store_imm_ind_u64    RII  next A     Memory      Count(1)      STORE "[A+νX] := low 8 B of νY";
             80 LoadImmJump       load_imm_jump        RIO  end  ToA   Cycles(15)  Count(1)      NONE  "A := νX; branch(νY) always";
             81 BranchEqImm       branch_eq_imm        RIO  end  A     Branch      Count(1)      ALU   "if A = νX then branch(νY)";
             82 BranchNeImm       branch_ne_imm        RIO  end  A     Branch      Count(1)      ALU   "if A ≠ νX then branch(νY)";
             83 BranchLtUImm      branch_lt_u_imm      RIO  end  A     Branch      Count(1)      ALU   "if A <u νX then branch(νY)";
             84 BranchLeUImm      branch_le_u_imm      RIO  end  A     Branch      Count(1)      ALU   "if A ≤u νX then branch(νY)";
             85 BranchGeUImm      branch_ge_u_imm      RIO  end  A     Branch      Count(1)      ALU   "if A ≥u νX then branch(νY)";
             86 BranchGtUImm      branch_gt_u_imm      RIO  end  A     Branch      Count(1)      ALU   "if A >u νX then branch(νY)";
             87 BranchLtSImm      branch_lt_s_imm      RIO  end  A     Branch      Count(1)      ALU   "if A <s νX then branch(νY)";
             88 BranchLeSImm      branch_le_s_imm      RIO  end  A     Branch      Count(1)      ALU   "if A ≤s νX then branch(νY)";
             89 BranchGeSImm      branch_ge_s_imm      RIO  end  A     Branch      Count(1)      ALU   "if A ≥s νX then branch(νY)";
             90 BranchGtSImm      branch_gt_s_imm      RIO  end  A     Branch      Count(1)      ALU   "if A >s νX then branch(νY)";
            100 MoveReg           move_reg             RR   next AToD  Cycles(0)   Count(1)      NONE  "D := A";
            101 Sbrk              sbrk                 RR   next AToD  Cycles(100) Count(4)      ALU   "D := 0 (memory never grows)";
            102 CountSetBits64    count_set_bits_64    RR   next AToD  Cycles(1)   Count(1)      ALU   "D := popcount(A)";
            103 CountSetBits32    count_set_bits_32    RR   next AToD  Cycles(1)   Count(1)      ALU   "D := popcount(A mod 2^32)";
            104 LeadingZeroBits64 leading_zero_bits_64 RR   next AToD  Cycles(1)   Count(1)      ALU   "D := clz64(A) (64 if 0)";
            105 LeadingZeroBits32 leading_zero_bits_32 RR   next AToD  Cycles(1)   Count(1)      ALU   "D := clz32(A mod 2^32) (32 if 0)";
            106 TrailingZeroBits64 trailing_zero_bits_64 RR   next AToD  Cycles(2)   Count(1)      ALU2  "D := ctz64(A) (64 if 0)";
            107 TrailingZeroBits32 trailing_zero_bits_32 RR   next AToD  Cycles(2)   Count(1)      ALU2  "D := ctz32(A mod 2^32) (32 if 0)";
            108 SignExtend8       sign_extend_8        RR   next AToD  Cycles(1)   Count(1)      ALU   "D := sext8(A)";
            109 SignExtend16      sign_extend_16       RR   next AToD  Cycles(1)   Count(1)      ALU   "D := sext16(A)";
            110 ZeroExtend16      zero_extend_16       RR   next AToD  Cycles(1)   Count(1)      ALU   "D := A mod 2^16";
            111 ReverseBytes      reverse_bytes        RR   next AToD  Cycles(1)   Reuse(1, 2)   ALU   "D := byte-swap64(A)";
            120 StoreIndU8        store_ind_u8         RRI  next AB    Memory      Count(1)      STORE "[B+νX] := low 1 B of A";
            121 StoreIndU16       store_ind_u16        RRI  next AB    Memory      Count(1)      STORE "[B+νX] := low 2 B of A";
            122 StoreIndU32       store_ind_u32        RRI  next AB    Memory      Count(1)      STORE "[B+νX] := low 4 B of A";
            123 StoreIndU64       store_ind_u64        RRI  next AB    Memory      Count(1)      STORE "[B+νX] := low 8 B of A";
            124 LoadIndU8         load_ind_u8          RRI  next BToA  Memory      Count(1)      LOAD  "A := 1 B at [B+νX], zero-extended";
            125 LoadIndI8         load_ind_i8          RRI  next BToA  Memory      Count(1)      LOAD  "A := 1 B at [B+νX], sign-extended";
            126 LoadIndU16        load_ind_u16         RRI  next BToA  Memory      Count(1)      LOAD  "A := 2 B at [B+νX], zero-extended";
            127 LoadIndI16        load_ind_i16         RRI  next BToA  Memory      Count(1)      LOAD  "A := 2 B at [B+νX], sign-extended";
            128 LoadIndU32        load_ind_u32         RRI  next BToA  Memory      Count(1)      LOAD  "A := 4 B at [B+νX], zero-extended";
            129 LoadIndI32        load_ind_i32         RRI  next BToA  Memory      Count(1)      LOAD  "A := 4 B at [B+νX], sign-extended";
            130 LoadIndU64        load_ind_u64         RRI  next BToA  Memory      Count(1)      LOAD  "A := 8 B at [B+νX], zero-extended";
            131 AddImm32          add_imm_32           RRI  next BToA  Cycles(2)   Reuse(2, 3)   ALU   "A := sext32(B+νX)";
            132 AndImm            and_imm              RRI  next BToA  Cycles(1)   Reuse(1, 2)   ALU   "A := B ∧ νX";
            133 XorImm            xor_imm              RRI  next BToA  Cycles(1)   Reuse(1, 2)   ALU   "A := B ⊕ νX";
            134 OrImm             or_imm               RRI  next BToA  Cycles(1)   Reuse(1, 2)   ALU   "A := B ∨ νX";
            135 MulImm32          mul_imm_32           RRI  next BToA  Cycles(4)   Reuse(2, 3)   MUL   "A := sext32(B·νX)";
            136 SetLtUImm         set_lt_u_imm         RRI  next BToA  Cycles(3)   Count(3)      ALU   "A := B <u νX";
            137 SetLtSImm         set_lt_s_imm         RRI  next BToA  Cycles(3)   Count(3)      ALU   "A := B <s νX";
            138 ShloLImm32        shlo_l_imm_32        RRI  next BToA  Cycles(2)   Reuse(2, 3)   ALU   "A := sext32(B << (νX mod 32))";
            139 ShloRImm32        shlo_r_imm_32        RRI  next BToA  Cycles(2)   Reuse(2, 3)   ALU   "A := sext32(B32 >>u (νX mod 32))";
            140 SharRImm32        shar_r_imm_32        RRI  next BToA  Cycles(2)   Reuse(2, 3)   ALU   "A := B32 >>s (νX mod 32)";
            141 NegAddImm32       neg_add_imm_32       RRI  next BToA  Cycles(3)   Count(4)      ALU   "A := sext32(νX − B)";
            142 SetGtUImm         set_gt_u_imm         RRI  next BToA  Cycles(3)   Count(3)      ALU   "A := B >u νX";
            143 SetGtSImm         set_gt_s_imm         RRI  next BToA  Cycles(3)   Count(3)      ALU   "A := B >s νX";
            144 ShloLImmAlt32     shlo_l_imm_alt_32    RRI  next BToA  Cycles(2)   Count(4)      ALU   "A := sext32(νX << (B mod 32))";
            145 ShloRImmAlt32     shlo_r_imm_alt_32    RRI  next BToA  Cycles(2)   Count(4)      ALU   "A := sext32(νX32 >>u (B mod 32))";
            146 SharRImmAlt32     shar_r_imm_alt_32    RRI  next BToA  Cycles(2)   Count(4)      ALU   "A := νX32 >>s (B mod 32)";
            147 CmovIzImm         cmov_iz_imm          RRI  next BToA  Cycles(2)   Count(3)      ALU   "if B = 0 then A := νX";
            148 CmovNzImm         cmov_nz_imm          RRI  next BToA  Cycles(2)   Count(3)      ALU   "if B ≠ 0 then A := νX";
            149 AddImm64          add_imm_64           RRI  next BToA  Cycles(1)   Reuse(1, 2)   ALU   "A := B+νX";
            150 MulImm64          mul_imm_64           RRI  next BToA  Cycles(3)   Reuse(1, 2)   MUL   "A := B·νX";
            151 ShloLImm64        shlo_l_imm_64        RRI  next BToA  Cycles(1)   Reuse(1, 2)   ALU   "A := B << (νX mod 64)";
            152 ShloRImm64        shlo_r_imm_64        RRI  next BToA  Cycles(1)   Reuse(1, 2)   ALU   "A := B >>u (νX mod 64)";
            153 SharRImm64        shar_r_imm_64        RRI  next BToA  Cycles(1)   Reuse(1, 2)   ALU   "A := B >>s (νX mod 64)";
            154 NegAddImm64       neg_add_imm_64       RRI  next BToA  Cycles(2)   Count(3)      ALU   "A := νX − B";
            155 ShloLImmAlt64     shlo_l_imm_alt_64    RRI  next BToA  Cycles(1)   Count(3)      ALU   "A := νX << (B mod 64)";
            156 ShloRImmAlt64     shlo_r_imm_alt_64    RRI  next BToA  Cycles(1)   Count(3)      ALU   "A := νX >>u (B mod 64)";
            157 SharRImmAlt64     shar_r_imm_alt_64    RRI  next BToA  Cycles(1)   Count(3)      ALU   "A := νX >>s (B mod 64)";
            158 RotR64Imm         rot_r_64_imm         RRI  next BToA  Cycles(1)   Reuse(1, 2)   ALU   "A := rotr64(B, νX)";
            159 RotR64ImmAlt      rot_r_64_imm_alt     RRI  next BToA  Cycles(1)   Count(3)      ALU   "A := rotr64(νX, B)";
            160 RotR32Imm         rot_r_32_imm         RRI  next BToA  Cycles(2)   Reuse(2, 3)   ALU   "A := sext32(rotr32(B32, νX))";
            161 RotR32ImmAlt      rot_r_32_imm_alt     RRI  next BToA  Cycles(2)   Count(4)      ALU   "A := sext32(rotr32(νX32, B))";
            170 BranchEq          branch_eq            RRO  end  AB    Branch      Count(1)      ALU   "if A = B then branch(νX)";
            171 BranchNe          branch_ne            RRO  end  AB    Branch      Count(1)      ALU   "if A ≠ B then branch(νX)";
            172 BranchLtU         branch_lt_u          RRO  end  AB    Branch      Count(1)      ALU   "if A <u B then branch(νX)";
            173 BranchLtS         branch_lt_s          RRO  end  AB    Branch      Count(1)      ALU   "if A <s B then branch(νX)";
            174 BranchGeU         branch_ge_u          RRO  end  AB    Branch      Count(1)      ALU   "if A ≥u B then branch(νX)";
            175 BranchGeS         branch_ge_s          RRO  end  AB    Branch      Count(1)      ALU   "if A ≥s B then branch(νX)";
            180 LoadImmJumpInd    load_imm_jump_ind    RRII end  BToA  Cycles(22)  Count(1)      NONE  "djump((B + νY) mod 2^32) using OLD B; A := νX, also when the jump panics";
            190 Add32             add_32               RRR  next ABToD Cycles(2)   Reuse(2, 3)   ALU   "D := sext32(A+B)";
            191 Sub32             sub_32               RRR  next ABToD Cycles(2)   Reuse(2, 3)   ALU   "D := sext32(A−B)";
            192 Mul32             mul_32               RRR  next ABToD Cycles(4)   Reuse(2, 3)   MUL   "D := sext32(A·B)";
            193 DivU32            div_u_32             RRR  next ABToD Cycles(60)  Count(4)      DIV   "D := sext32(A32 /u B32); 2^64−1 if B32=0";
            194 DivS32            div_s_32             RRR  next ABToD Cycles(60)  Count(4)      DIV   "D := A32 /s B32 (toward 0); 2^64−1 if B32=0; −2^31 if overflow";
            195 RemU32            rem_u_32             RRR  next ABToD Cycles(60)  Count(4)      DIV   "D := sext32(A32 mod B32); sext32(A32) if B32=0";
            196 RemS32            rem_s_32             RRR  next ABToD Cycles(60)  Count(4)      DIV   "D := A32 rem B32 (sign of A); A32 sext if B32=0; 0 on overflow";
            197 ShloL32           shlo_l_32            RRR  next ABToD Cycles(2)   ReuseA(3, 4)  ALU   "D := sext32(A << (B mod 32))";
            198 ShloR32           shlo_r_32            RRR  next ABToD Cycles(2)   ReuseA(3, 4)  ALU   "D := sext32(A32 >>u (B mod 32))";
            199 SharR32           shar_r_32            RRR  next ABToD Cycles(2)   ReuseA(3, 4)  ALU   "D := A32 >>s (B mod 32) (floor)";
            200 Add64             add_64               RRR  next ABToD Cycles(1)   Reuse(1, 2)   ALU   "D := A+B";
            201 Sub64             sub_64               RRR  next ABToD Cycles(1)   Reuse(1, 2)   ALU   "D := A−B";
            202 Mul64             mul_64               RRR  next ABToD Cycles(3)   Reuse(1, 2)   MUL   "D := A·B";
            203 DivU64            div_u_64             RRR  next ABToD Cycles(60)  Count(4)      DIV   "D := A /u B; 2^64−1 if B=0";
            204 DivS64            div_s_64             RRR  next ABToD Cycles(60)  Count(4)      DIV   "D := A /s B (toward 0); 2^64−1 if B=0; A if −2^63/−1";
            205 RemU64            rem_u_64             RRR  next ABToD Cycles(60)  Count(4)      DIV   "D := A mod B; A if B=0";
            206 RemS64            rem_s_64             RRR  next ABToD Cycles(60)  Count(4)      DIV   "D := A rem B (sign of A); A if B=0; 0 if −2^63/−1";
            207 ShloL64           shlo_l_64            RRR  next ABToD Cycles(1)   ReuseA(2, 3)  ALU   "D := A << (B mod 64)";
            208 ShloR64           shlo_r_64            RRR  next ABToD Cycles(1)   ReuseA(2, 3)  ALU   "D := A >>u (B mod 64)";
            209 SharR64           shar_r_64            RRR  next ABToD Cycles(1)   ReuseA(2, 3)  ALU   "D := A >>s (B mod 64) (floor, not truncation)";
            210 And               and                  RRR  next ABToD Cycles(1)   Reuse(1, 2)   ALU   "D := A ∧ B";
            211 Xor               xor                  RRR  next ABToD Cycles(1)   Reuse(1, 2)   ALU   "D := A ⊕ B";
            212 Or                or                   RRR  next ABToD Cycles(1)   Reuse(1, 2)   ALU   "D := A ∨ B";
            213 MulUpperSS        mul_upper_s_s        RRR  next ABToD Cycles(4)   Count(4)      MUL   "D := high64(A ·ss B)";
            214 MulUpperUU        mul_upper_u_u        RRR  next ABToD Cycles(4)   Count(4)      MUL   "D := high64(A ·uu B)";
            215 MulUpperSU        mul_upper_s_u        RRR  next ABToD Cycles(6)   Count(4)      MUL   "D := high64(A signed · B unsigned)";
            216 SetLtU            set_lt_u             RRR  next ABToD Cycles(3)   Count(3)      ALU   "D := A <u B";
            217 SetLtS            set_lt_s             RRR  next ABToD Cycles(3)   Count(3)      ALU   "D := A <s B";
            218 CmovIz            cmov_iz              RRR  next ABToD Cycles(2)   Count(2)      ALU   "if B = 0 then D := A";
            219 CmovNz            cmov_nz              RRR  next ABToD Cycles(2)   Count(2)      ALU   "if B ≠ 0 then D := A";
            220 RotL64            rot_l_64             RRR  next ABToD Cycles(1)   ReuseA(2, 3)  ALU   "D := rotl64(A, B)";
            221 RotL32            rot_l_32             RRR  next ABToD Cycles(2)   ReuseA(3, 4)  ALU   "D := sext32(rotl32(A32, B))";
            222 RotR64            rot_r_64             RRR  next ABToD Cycles(1)   ReuseA(2, 3)  ALU   "D := rotr64(A, B)";
            223 RotR32            rot_r_32             RRR  next ABToD Cycles(2)   ReuseA(3, 4)  ALU   "D := sext32(rotr32(A32, B))";
            224 AndInv            and_inv              RRR  next ABToD Cycles(2)   Count(3)      ALU   "D := A ∧ ¬B";
            225 OrInv             or_inv               RRR  next ABToD Cycles(2)   Count(3)      ALU   "D := A ∨ ¬B";
            226 Xnor              xnor                 RRR  next ABToD Cycles(2)   Reuse(2, 3)   ALU   "D := ¬(A ⊕ B)";
            227 Max               max                  RRR  next ABToD Cycles(3)   Reuse(2, 3)   ALU   "D := max_s(A,B)";
            228 MaxU              max_u                RRR  next ABToD Cycles(3)   Reuse(2, 3)   ALU   "D := max_u(A,B)";
            229 Min               min                  RRR  next ABToD Cycles(3)   Reuse(2, 3)   ALU   "D := min_s(A,B)";
            230 MinU              min_u                RRR  next ABToD Cycles(3)   Reuse(2, 3)   ALU   "D := min_u(A,B)";
        }
    };
}

/// The operands an instruction carries and how they are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Format {
    /// No operands.
    N,
    /// Immediate νX.
    I,
    /// Register A, 8-byte immediate νX.
    RX,
    /// Immediates νX, νY.
    II,
    /// Offset νX.
    O,
    /// Register A, immediate νX.
    RI,
    /// Register A, immediates νX, νY.
    RII,
    /// Register A, immediate νX, offset νY.
    RIO,
    /// Registers D (low nibble), A (high nibble).
    RR,
    /// Registers A, B, immediate νX.
    RRI,
    /// Registers A, B, offset νX.
    RRO,
    /// Registers A, B, immediates νX, νY.
    RRII,
    /// Registers A, B, D.
    RRR,
}

/// Which register fields an instruction reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Operands {
    /// Neither reads nor writes a register.
    None,
    /// Reads A.
    A,
    /// Reads A and B.
    AB,
    /// Writes A.
    ToA,
    /// Reads A, writes D.
    AToD,
    /// Reads B, writes A.
    BToA,
    /// Reads A and B, writes D.
    ABToD,
}

struct Row {
    mnemonic: &'static str,
    semantics: &'static str,
    format: Format,
    ends_block: bool,
    operands: Operands,
    cost: Cost,
}

macro_rules! ends_block {
    (end) => {
        true
    };
    (next) => {
        false
    };
}

macro_rules! define_opcodes {
    ($($number:literal $variant:ident $mnemonic:ident $format:ident $flow:ident $operands:ident
       $latency:ident $(($cycles:literal))? $slots:ident($($count:literal),+) $units:ident
       $semantics:literal;)+) => {
        /// An instruction's operation. The number is its byte in a program.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Opcode {
            $(
                #[doc = concat!("`", stringify!($mnemonic), "`: `", $semantics, "`.")]
                $variant = $number,
            )+
        }

        impl Opcode {
            /// Every opcode, by rising number.
            pub const ALL: &'static [Opcode] = &[$(Opcode::$variant),+];
        }

        const fn rows() -> [Option<(Opcode, Row)>; 256] {
            let mut rows = [const { None }; 256];
            $(
                rows[$number] = Some((Opcode::$variant, Row {
                    mnemonic: stringify!($mnemonic),
                    semantics: $semantics,
                    format: Format::$format,
                    ends_block: ends_block!($flow),
                    operands: Operands::$operands,
                    cost: Cost {
                        latency: Latency::$latency $(($cycles))?,
                        slots: Slots::$slots($($count),+),
                        units: Units::$units,
                    },
                }));
            )+
            rows
        }
    };
}

for_each_op!(define_opcodes);

static ROWS: [Option<(Opcode, Row)>; 256] = rows();

const fn opcodes() -> [Option<Opcode>; 256] {
    let mut opcodes = [None; 256];
    let mut index = 0;
    while index < Opcode::ALL.len() {
        opcodes[Opcode::ALL[index] as usize] = Some(Opcode::ALL[index]);
        index += 1;
    }
    opcodes
}

static OPCODES: [Option<Opcode>; 256] = opcodes();

/// A table of its own, since every pass over a program asks for it.
static TERMINATORS: [bool; 256] = {
    let mut terminators = [false; 256];
    let mut index = 0;
    while index < Opcode::ALL.len() {
        terminators[Opcode::ALL[index] as usize] = Opcode::ALL[index].row().ends_block;
        index += 1;
    }
    terminators
};

impl Opcode {
    /// The opcode with number `byte`, or `None` where the table has no row.
    #[inline]
    pub fn from_byte(byte: u8) -> Option<Opcode> {
        OPCODES[byte as usize]
    }

    #[inline]
    const fn row(self) -> &'static Row {
        match &ROWS[self as usize] {
            Some((_, row)) => row,
            None => panic!("every opcode has a row"),
        }
    }

    /// The name in disassembly.
    pub fn mnemonic(self) -> &'static str {
        self.row().mnemonic
    }

    /// What it does, in one line of the notation described at [`for_each_op!`].
    pub fn semantics(self) -> &'static str {
        self.row().semantics
    }

    /// The operand layout.
    #[inline]
    pub const fn format(self) -> Format {
        self.row().format
    }

    /// Whether it ends a basic block.
    #[inline]
    pub const fn is_terminator(self) -> bool {
        TERMINATORS[self as usize]
    }

    /// Whether it loads or stores.
    #[inline]
    pub const fn touches_memory(self) -> bool {
        let units = self.cost().units;
        units.load > 0 || units.store > 0
    }

    /// Which register fields it reads and writes.
    #[inline]
    pub const fn operands(self) -> Operands {
        self.row().operands
    }

    /// Its cost in the pipeline gas model.
    #[inline]
    pub const fn cost(self) -> &'static Cost {
        &self.row().cost
    }

    /// Whether it is a conditional branch (format RIO or RRO; not `load_imm_jump`).
    pub fn is_branch(self) -> bool {
        matches!(self.cost().latency, Latency::Branch)
    }
}

/// The whole table as bytes, for hashing: rows by rising number, each number,
/// mnemonic length, mnemonic, format, block end (0 or 1), operands, then the
/// cost as 9 bytes ([`Cost::encoding`]).
pub fn table_encoding() -> Vec<u8> {
    let mut out = Vec::new();
    for &opcode in Opcode::ALL {
        let row = opcode.row();
        out.push(opcode as u8);
        out.push(row.mnemonic.len() as u8);
        out.extend_from_slice(row.mnemonic.as_bytes());
        out.extend_from_slice(&[row.format as u8, row.ends_block as u8, row.operands as u8]);
        out.extend_from_slice(&row.cost.encoding());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_sorted() {
        assert_eq!(Opcode::ALL.len(), 141);
        for pair in Opcode::ALL.windows(2) {
            assert!((pair[0] as u8) < pair[1] as u8);
            assert_ne!(pair[0].mnemonic(), pair[1].mnemonic());
        }
        for byte in 0..=255 {
            match Opcode::from_byte(byte) {
                Some(opcode) => assert_eq!(opcode as u8, byte),
                None => assert!(!Opcode::ALL.iter().any(|o| *o as u8 == byte)),
            }
        }
    }

    #[test]
    fn operands_fit_their_format() {
        for opcode in Opcode::ALL {
            let (reads_b, writes_d) = match opcode.operands() {
                Operands::AB | Operands::BToA => (true, false),
                Operands::ABToD => (true, true),
                Operands::AToD => (false, true),
                _ => (false, false),
            };
            let has_b = matches!(
                opcode.format(),
                Format::RRI | Format::RRO | Format::RRII | Format::RRR
            );
            assert_eq!(reads_b, has_b, "{opcode:?}");
            let has_d = matches!(opcode.format(), Format::RR | Format::RRR);
            assert_eq!(writes_d, has_d, "{opcode:?}");
        }
    }

    #[test]
    fn table_encoding_is_golden() {
        let bytes = table_encoding();
        let checksum = bytes.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
        });
        assert_eq!((bytes.len(), checksum), (3489, 0xe335_8fac_aa81_9958));
    }
}
