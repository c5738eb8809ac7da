//! Runs of instructions that are one step: what compiled programs are full of.

/// Invokes `$callback!` with the rows it brings, in brackets, those of the pairs:
/// `Name = First first, Second second flow;`, and those of pairs of pairs:
/// `Name = Pair First first second, Pair third fourth flow;`. Flow is the last one's.
///
/// Counted over hashes, signatures, sorting and calls, compiled from Rust, each by its share of
/// the steps. The fewer steps a loop has, the more of it the processor foresees.
macro_rules! with_pairs {
    ($callback:ident [$($rows:tt)*]) => {
        $callback! {
            [$($rows)*]
            [
                LoadIndU64Add64 = LoadIndU64 load_ind_u64, Add64 add_64 next;
                AddImm64Ecalli = AddImm64 add_imm_64, Ecalli ecalli next;
                StoreIndU64LoadIndU64 = StoreIndU64 store_ind_u64, LoadIndU64 load_ind_u64 next;
                Add64StoreIndU64 = Add64 add_64, StoreIndU64 store_ind_u64 next;
                AddImm64BranchNeImm = AddImm64 add_imm_64, BranchNeImm branch_ne_imm end;
                LoadIndU64LoadIndU64 = LoadIndU64 load_ind_u64, LoadIndU64 load_ind_u64 next;
                StoreIndU64StoreIndU64 = StoreIndU64 store_ind_u64, StoreIndU64 store_ind_u64 next;
                Add64LoadIndU64 = Add64 add_64, LoadIndU64 load_ind_u64 next;
                AddImm64StoreIndU32 = AddImm64 add_imm_64, StoreIndU32 store_ind_u32 next;
                LoadIndI32BranchGeU = LoadIndI32 load_ind_i32, BranchGeU branch_ge_u end;
                LoadIndU64StoreIndU64 = LoadIndU64 load_ind_u64, StoreIndU64 store_ind_u64 next;
                Add64Add64 = Add64 add_64, Add64 add_64 next;
                StoreIndU8BranchLtU = StoreIndU8 store_ind_u8, BranchLtU branch_lt_u end;
                AddImm64AddImm64 = AddImm64 add_imm_64, AddImm64 add_imm_64 next;
                StoreIndU64AddImm64 = StoreIndU64 store_ind_u64, AddImm64 add_imm_64 next;
                AddImm64StoreIndU64 = AddImm64 add_imm_64, StoreIndU64 store_ind_u64 next;
                XorXor = Xor xor, Xor xor next;
                Add64SetLtU = Add64 add_64, SetLtU set_lt_u next;
                ShloLImm64Add64 = ShloLImm64 shlo_l_imm_64, Add64 add_64 next;
                LoadIndU64Xor = LoadIndU64 load_ind_u64, Xor xor next;
                XorStoreIndU64 = Xor xor, StoreIndU64 store_ind_u64 next;
                MoveRegAdd64 = MoveReg move_reg, Add64 add_64 next;
                LoadIndU8AddImm64 = LoadIndU8 load_ind_u8, AddImm64 add_imm_64 next;
                LoadIndU64AddImm64 = LoadIndU64 load_ind_u64, AddImm64 add_imm_64 next;
                AddImm64JumpInd = AddImm64 add_imm_64, JumpInd jump_ind end;
                Mul64StoreIndU64 = Mul64 mul_64, StoreIndU64 store_ind_u64 next;
                AddImm64LoadImmJump = AddImm64 add_imm_64, LoadImmJump load_imm_jump end;
                StoreIndU64MulUpperUU = StoreIndU64 store_ind_u64, MulUpperUU mul_upper_u_u next;
                RotR64ImmRotR64Imm = RotR64Imm rot_r_64_imm, RotR64Imm rot_r_64_imm next;
                StoreIndU64Mul64 = StoreIndU64 store_ind_u64, Mul64 mul_64 next;
                AddImm64Add64 = AddImm64 add_imm_64, Add64 add_64 next;
                LoadImmMoveReg = LoadImm load_imm, MoveReg move_reg next;
                LoadImmBranchLtUImm = LoadImm load_imm, BranchLtUImm branch_lt_u_imm end;
                SetLtULoadIndU64 = SetLtU set_lt_u, LoadIndU64 load_ind_u64 next;
                XorLoadIndU64 = Xor xor, LoadIndU64 load_ind_u64 next;
                ShloLImm64Or = ShloLImm64 shlo_l_imm_64, Or or next;
                SetLtUAdd64 = SetLtU set_lt_u, Add64 add_64 next;
                OrStoreIndU64 = Or or, StoreIndU64 store_ind_u64 next;
                MulUpperUUStoreIndU64 = MulUpperUU mul_upper_u_u, StoreIndU64 store_ind_u64 next;
                AddImm64LoadIndU64 = AddImm64 add_imm_64, LoadIndU64 load_ind_u64 next;
                RotR64ImmLoadIndU64 = RotR64Imm rot_r_64_imm, LoadIndU64 load_ind_u64 next;
                LoadIndU8LoadIndU8 = LoadIndU8 load_ind_u8, LoadIndU8 load_ind_u8 next;
                ShloRImm64ShloLImm64 = ShloRImm64 shlo_r_imm_64, ShloLImm64 shlo_l_imm_64 next;
                StoreIndU64Xor = StoreIndU64 store_ind_u64, Xor xor next;
                StoreIndU64RotR64Imm = StoreIndU64 store_ind_u64, RotR64Imm rot_r_64_imm next;
                XorRotR64Imm = Xor xor, RotR64Imm rot_r_64_imm next;
                Add64ShloRImm64 = Add64 add_64, ShloRImm64 shlo_r_imm_64 next;
                AndInvXor = AndInv and_inv, Xor xor next;
                Mul64Add64 = Mul64 mul_64, Add64 add_64 next;
                StoreIndU64SetLtU = StoreIndU64 store_ind_u64, SetLtU set_lt_u next;
                Add64Xor = Add64 add_64, Xor xor next;
                LoadIndU64Mul64 = LoadIndU64 load_ind_u64, Mul64 mul_64 next;
                LoadIndU64ShloLImm64 = LoadIndU64 load_ind_u64, ShloLImm64 shlo_l_imm_64 next;
                MulUpperUUAdd64 = MulUpperUU mul_upper_u_u, Add64 add_64 next;
                Add64Mul64 = Add64 add_64, Mul64 mul_64 next;
                RotR64ImmStoreIndU64 = RotR64Imm rot_r_64_imm, StoreIndU64 store_ind_u64 next;
                StoreIndU64ShloLImm64 = StoreIndU64 store_ind_u64, ShloLImm64 shlo_l_imm_64 next;
                MulUpperUUMulUpperUU = MulUpperUU mul_upper_u_u, MulUpperUU mul_upper_u_u next;
                LoadIndU64MulUpperUU = LoadIndU64 load_ind_u64, MulUpperUU mul_upper_u_u next;
                AndAnd = And and, And and next;
                ShloLImm64ShloLImm64 = ShloLImm64 shlo_l_imm_64, ShloLImm64 shlo_l_imm_64 next;
                LoadIndU64And = LoadIndU64 load_ind_u64, And and next;
                Add64AddImm64 = Add64 add_64, AddImm64 add_imm_64 next;
                LoadIndU64RotR64Imm = LoadIndU64 load_ind_u64, RotR64Imm rot_r_64_imm next;
                StoreIndU64ShloRImm64 = StoreIndU64 store_ind_u64, ShloRImm64 shlo_r_imm_64 next;
                MulUpperUUMul64 = MulUpperUU mul_upper_u_u, Mul64 mul_64 next;
                MulUpperUULoadIndU64 = MulUpperUU mul_upper_u_u, LoadIndU64 load_ind_u64 next;
                StoreIndU64Add64 = StoreIndU64 store_ind_u64, Add64 add_64 next;
                StoreIndU64LoadIndU8 = StoreIndU64 store_ind_u64, LoadIndU8 load_ind_u8 next;
                MulImm64ShloLImm64 = MulImm64 mul_imm_64, ShloLImm64 shlo_l_imm_64 next;
                LoadIndU8ShloLImm64 = LoadIndU8 load_ind_u8, ShloLImm64 shlo_l_imm_64 next;
                AndInvAndInv = AndInv and_inv, AndInv and_inv next;
                AndAdd64 = And and, Add64 add_64 next;
                Mul64Mul64 = Mul64 mul_64, Mul64 mul_64 next;
                Mul64MulUpperUU = Mul64 mul_64, MulUpperUU mul_upper_u_u next;
                RotR64ImmXor = RotR64Imm rot_r_64_imm, Xor xor next;
                ShloLImm64LoadIndU64 = ShloLImm64 shlo_l_imm_64, LoadIndU64 load_ind_u64 next;
                LoadIndU8StoreIndU8 = LoadIndU8 load_ind_u8, StoreIndU8 store_ind_u8 next;
                StoreIndU64AndInv = StoreIndU64 store_ind_u64, AndInv and_inv next;
            ]
            [
                AddImm64StoreIndU32AddImm64BranchNeImm = AddImm64StoreIndU32 AddImm64 add_imm_64 store_ind_u32, AddImm64BranchNeImm add_imm_64 branch_ne_imm end;
                Add64Add64StoreIndU8BranchLtU = Add64Add64 Add64 add_64 add_64, StoreIndU8BranchLtU store_ind_u8 branch_lt_u end;
                LoadIndU64Add64StoreIndU64LoadIndU64 = LoadIndU64Add64 LoadIndU64 load_ind_u64 add_64, StoreIndU64LoadIndU64 store_ind_u64 load_ind_u64 next;
                AddImm64StoreIndU64StoreIndU64StoreIndU64 = AddImm64StoreIndU64 AddImm64 add_imm_64 store_ind_u64, StoreIndU64StoreIndU64 store_ind_u64 store_ind_u64 next;
                LoadIndU64LoadIndU64AddImm64JumpInd = LoadIndU64LoadIndU64 LoadIndU64 load_ind_u64 load_ind_u64, AddImm64JumpInd add_imm_64 jump_ind end;
                LoadImmMoveRegLoadImmBranchLtUImm = LoadImmMoveReg LoadImm load_imm move_reg, LoadImmBranchLtUImm load_imm branch_lt_u_imm end;
                MoveRegAdd64LoadIndU8AddImm64 = MoveRegAdd64 MoveReg move_reg add_64, LoadIndU8AddImm64 load_ind_u8 add_imm_64 next;
                XorStoreIndU64LoadIndU64Xor = XorStoreIndU64 Xor xor store_ind_u64, LoadIndU64Xor load_ind_u64 xor next;
                LoadIndU64Add64LoadIndU64Add64 = LoadIndU64Add64 LoadIndU64 load_ind_u64 add_64, LoadIndU64Add64 load_ind_u64 add_64 next;
                RotR64ImmLoadIndU64RotR64ImmLoadIndU64 = RotR64ImmLoadIndU64 RotR64Imm rot_r_64_imm load_ind_u64, RotR64ImmLoadIndU64 rot_r_64_imm load_ind_u64 next;
                StoreIndU64XorStoreIndU64LoadIndU64 = StoreIndU64Xor StoreIndU64 store_ind_u64 xor, StoreIndU64LoadIndU64 store_ind_u64 load_ind_u64 next;
                Mul64StoreIndU64MulUpperUUStoreIndU64 = Mul64StoreIndU64 Mul64 mul_64 store_ind_u64, MulUpperUUStoreIndU64 mul_upper_u_u store_ind_u64 next;
                Add64LoadIndU64Add64LoadIndU64 = Add64LoadIndU64 Add64 add_64 load_ind_u64, Add64LoadIndU64 add_64 load_ind_u64 next;
                XorLoadIndU64XorLoadIndU64 = XorLoadIndU64 Xor xor load_ind_u64, XorLoadIndU64 xor load_ind_u64 next;
                Add64StoreIndU64LoadIndU64Add64 = Add64StoreIndU64 Add64 add_64 store_ind_u64, LoadIndU64Add64 load_ind_u64 add_64 next;
                LoadIndU64StoreIndU64AddImm64AddImm64 = LoadIndU64StoreIndU64 LoadIndU64 load_ind_u64 store_ind_u64, AddImm64AddImm64 add_imm_64 add_imm_64 next;
                LoadIndU64XorStoreIndU64LoadIndU64 = LoadIndU64Xor LoadIndU64 load_ind_u64 xor, StoreIndU64LoadIndU64 store_ind_u64 load_ind_u64 next;
                AndInvXorStoreIndU64AndInv = AndInvXor AndInv and_inv xor, StoreIndU64AndInv store_ind_u64 and_inv next;
                XorRotR64ImmXorRotR64Imm = XorRotR64Imm Xor xor rot_r_64_imm, XorRotR64Imm xor rot_r_64_imm next;
                StoreIndU64LoadIndU64Add64StoreIndU64 = StoreIndU64LoadIndU64 StoreIndU64 store_ind_u64 load_ind_u64, Add64StoreIndU64 add_64 store_ind_u64 next;
                LoadIndU64Add64SetLtUAdd64 = LoadIndU64Add64 LoadIndU64 load_ind_u64 add_64, SetLtUAdd64 set_lt_u add_64 next;
                Add64StoreIndU64LoadIndU64LoadIndU64 = Add64StoreIndU64 Add64 add_64 store_ind_u64, LoadIndU64LoadIndU64 load_ind_u64 load_ind_u64 next;
                Add64ShloRImm64ShloLImm64Or = Add64ShloRImm64 Add64 add_64 shlo_r_imm_64, ShloLImm64Or shlo_l_imm_64 or next;
                LoadIndU64LoadIndU64OrStoreIndU64 = LoadIndU64LoadIndU64 LoadIndU64 load_ind_u64 load_ind_u64, OrStoreIndU64 or store_ind_u64 next;
                LoadIndU8LoadIndU8LoadIndU8LoadIndU8 = LoadIndU8LoadIndU8 LoadIndU8 load_ind_u8 load_ind_u8, LoadIndU8LoadIndU8 load_ind_u8 load_ind_u8 next;
                StoreIndU64StoreIndU64StoreIndU64StoreIndU64 = StoreIndU64StoreIndU64 StoreIndU64 store_ind_u64 store_ind_u64, StoreIndU64StoreIndU64 store_ind_u64 store_ind_u64 next;
                RotR64ImmLoadIndU64RotR64ImmRotR64Imm = RotR64ImmLoadIndU64 RotR64Imm rot_r_64_imm load_ind_u64, RotR64ImmRotR64Imm rot_r_64_imm rot_r_64_imm next;
                Add64SetLtULoadIndU64Add64 = Add64SetLtU Add64 add_64 set_lt_u, LoadIndU64Add64 load_ind_u64 add_64 next;
                AndInvXorAndInvXor = AndInvXor AndInv and_inv xor, AndInvXor and_inv xor next;
                XorStoreIndU64AndInvXor = XorStoreIndU64 Xor xor store_ind_u64, AndInvXor and_inv xor next;
                StoreIndU64AndInvXorStoreIndU64 = StoreIndU64AndInv StoreIndU64 store_ind_u64 and_inv, XorStoreIndU64 xor store_ind_u64 next;
                AndInvXorAndInvAndInv = AndInvXor AndInv and_inv xor, AndInvAndInv and_inv and_inv next;
                MulUpperUUStoreIndU64Mul64StoreIndU64 = MulUpperUUStoreIndU64 MulUpperUU mul_upper_u_u store_ind_u64, Mul64StoreIndU64 mul_64 store_ind_u64 next;
                LoadIndU64Add64SetLtULoadIndU64 = LoadIndU64Add64 LoadIndU64 load_ind_u64 add_64, SetLtULoadIndU64 set_lt_u load_ind_u64 next;
                RotR64ImmRotR64ImmRotR64ImmLoadIndU64 = RotR64ImmRotR64Imm RotR64Imm rot_r_64_imm rot_r_64_imm, RotR64ImmLoadIndU64 rot_r_64_imm load_ind_u64 next;
                LoadIndU8LoadIndU8LoadIndU8ShloLImm64 = LoadIndU8LoadIndU8 LoadIndU8 load_ind_u8 load_ind_u8, LoadIndU8ShloLImm64 load_ind_u8 shlo_l_imm_64 next;
            ]
        }
    };
}
pub(super) use with_pairs;
