//! Pairs of instructions that run as one: what compiled programs are full of.

/// Invokes `$callback!` with the rows it brings, in brackets, and those of the pairs:
/// `Name = First first, Second second flow;`, where flow is the second's.
///
/// Counted over hashes, signatures, sorting and calls, compiled from Rust: four of five
/// steps inside of blocks are one of these.
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
                StoreIndU32AddImm64 = StoreIndU32 store_ind_u32, AddImm64 add_imm_64 next;
                LoadIndI32BranchGeU = LoadIndI32 load_ind_i32, BranchGeU branch_ge_u end;
                LoadIndU64StoreIndU64 = LoadIndU64 load_ind_u64, StoreIndU64 store_ind_u64 next;
                Add64Add64 = Add64 add_64, Add64 add_64 next;
                Add64StoreIndU8 = Add64 add_64, StoreIndU8 store_ind_u8 next;
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
                Add64LoadIndU8 = Add64 add_64, LoadIndU8 load_ind_u8 next;
                LoadIndU64AddImm64 = LoadIndU64 load_ind_u64, AddImm64 add_imm_64 next;
                AddImm64JumpInd = AddImm64 add_imm_64, JumpInd jump_ind end;
                StoreIndU64LoadImm = StoreIndU64 store_ind_u64, LoadImm load_imm next;
                Mul64StoreIndU64 = Mul64 mul_64, StoreIndU64 store_ind_u64 next;
                AddImm64LoadImmJump = AddImm64 add_imm_64, LoadImmJump load_imm_jump end;
                StoreIndU64MulUpperUU = StoreIndU64 store_ind_u64, MulUpperUU mul_upper_u_u next;
                RotR64ImmRotR64Imm = RotR64Imm rot_r_64_imm, RotR64Imm rot_r_64_imm next;
                StoreIndU64Mul64 = StoreIndU64 store_ind_u64, Mul64 mul_64 next;
                AddImm64Add64 = AddImm64 add_imm_64, Add64 add_64 next;
                MoveRegLoadImm = MoveReg move_reg, LoadImm load_imm next;
                LoadImmMoveReg = LoadImm load_imm, MoveReg move_reg next;
                LoadImmBranchLtUImm = LoadImm load_imm, BranchLtUImm branch_lt_u_imm end;
                Add64BranchGtUImm = Add64 add_64, BranchGtUImm branch_gt_u_imm end;
                SetLtULoadIndU64 = SetLtU set_lt_u, LoadIndU64 load_ind_u64 next;
                XorLoadIndU64 = Xor xor, LoadIndU64 load_ind_u64 next;
                ShloLImm64Or = ShloLImm64 shlo_l_imm_64, Or or next;
                SetLtUAdd64 = SetLtU set_lt_u, Add64 add_64 next;
                OrStoreIndU64 = Or or, StoreIndU64 store_ind_u64 next;
                MulUpperUUStoreIndU64 = MulUpperUU mul_upper_u_u, StoreIndU64 store_ind_u64 next;
                AddImm64LoadIndU64 = AddImm64 add_imm_64, LoadIndU64 load_ind_u64 next;
                RotR64ImmLoadIndU64 = RotR64Imm rot_r_64_imm, LoadIndU64 load_ind_u64 next;
                AddImm64BranchNe = AddImm64 add_imm_64, BranchNe branch_ne end;
                LoadIndU8LoadIndU8 = LoadIndU8 load_ind_u8, LoadIndU8 load_ind_u8 next;
                Add64RotL64 = Add64 add_64, RotL64 rot_l_64 next;
                LoadIndI32ShloLImm64 = LoadIndI32 load_ind_i32, ShloLImm64 shlo_l_imm_64 next;
                LoadIndU64LoadIndI32 = LoadIndU64 load_ind_u64, LoadIndI32 load_ind_i32 next;
                RotL64LoadIndU64 = RotL64 rot_l_64, LoadIndU64 load_ind_u64 next;
                ShloRImm64ShloLImm64 = ShloRImm64 shlo_r_imm_64, ShloLImm64 shlo_l_imm_64 next;
                StoreIndU64Xor = StoreIndU64 store_ind_u64, Xor xor next;
                StoreIndU64RotR64Imm = StoreIndU64 store_ind_u64, RotR64Imm rot_r_64_imm next;
                XorRotR64Imm = Xor xor, RotR64Imm rot_r_64_imm next;
                Add64ShloRImm64 = Add64 add_64, ShloRImm64 shlo_r_imm_64 next;
                AndInvXor = AndInv and_inv, Xor xor next;
                Mul64Add64 = Mul64 mul_64, Add64 add_64 next;
                AddImm64BranchLtU = AddImm64 add_imm_64, BranchLtU branch_lt_u end;
                StoreIndU64SetLtU = StoreIndU64 store_ind_u64, SetLtU set_lt_u next;
                Add64Xor = Add64 add_64, Xor xor next;
                LoadIndU64Mul64 = LoadIndU64 load_ind_u64, Mul64 mul_64 next;
                LoadIndU64ShloLImm64 = LoadIndU64 load_ind_u64, ShloLImm64 shlo_l_imm_64 next;
                MulUpperUUAdd64 = MulUpperUU mul_upper_u_u, Add64 add_64 next;
                Add64Mul64 = Add64 add_64, Mul64 mul_64 next;
                RotR64ImmStoreIndU64 = RotR64Imm rot_r_64_imm, StoreIndU64 store_ind_u64 next;
                StoreIndU64ShloLImm64 = StoreIndU64 store_ind_u64, ShloLImm64 shlo_l_imm_64 next;
                MulUpperUUMulUpperUU = MulUpperUU mul_upper_u_u, MulUpperUU mul_upper_u_u next;
                LoadIndU64Or = LoadIndU64 load_ind_u64, Or or next;
                LoadIndU64MulUpperUU = LoadIndU64 load_ind_u64, MulUpperUU mul_upper_u_u next;
                AndAnd = And and, And and next;
                XorAndInv = Xor xor, AndInv and_inv next;
                ShloLImm64ShloLImm64 = ShloLImm64 shlo_l_imm_64, ShloLImm64 shlo_l_imm_64 next;
                LoadIndU64And = LoadIndU64 load_ind_u64, And and next;
                Add64AddImm64 = Add64 add_64, AddImm64 add_imm_64 next;
                LoadIndU64RotR64Imm = LoadIndU64 load_ind_u64, RotR64Imm rot_r_64_imm next;
                StoreIndU64ShloRImm64 = StoreIndU64 store_ind_u64, ShloRImm64 shlo_r_imm_64 next;
                MulUpperUUMul64 = MulUpperUU mul_upper_u_u, Mul64 mul_64 next;
                MulUpperUULoadIndU64 = MulUpperUU mul_upper_u_u, LoadIndU64 load_ind_u64 next;
                StoreIndU64Add64 = StoreIndU64 store_ind_u64, Add64 add_64 next;
                StoreIndU64MoveReg = StoreIndU64 store_ind_u64, MoveReg move_reg next;
                StoreIndU64LoadIndU8 = StoreIndU64 store_ind_u64, LoadIndU8 load_ind_u8 next;
                MulImm64ShloLImm64 = MulImm64 mul_imm_64, ShloLImm64 shlo_l_imm_64 next;
                LoadIndU8ShloLImm64 = LoadIndU8 load_ind_u8, ShloLImm64 shlo_l_imm_64 next;
                Add64ShloLImm64 = Add64 add_64, ShloLImm64 shlo_l_imm_64 next;
                AndInvAndInv = AndInv and_inv, AndInv and_inv next;
                AndAdd64 = And and, Add64 add_64 next;
                Mul64LoadIndU64 = Mul64 mul_64, LoadIndU64 load_ind_u64 next;
                Mul64Mul64 = Mul64 mul_64, Mul64 mul_64 next;
                ShloRImm64LoadIndU64 = ShloRImm64 shlo_r_imm_64, LoadIndU64 load_ind_u64 next;
                ShloLImm64SetLtU = ShloLImm64 shlo_l_imm_64, SetLtU set_lt_u next;
                LoadIndU64ShloRImm64 = LoadIndU64 load_ind_u64, ShloRImm64 shlo_r_imm_64 next;
                Mul64MulUpperUU = Mul64 mul_64, MulUpperUU mul_upper_u_u next;
                RotR64ImmXor = RotR64Imm rot_r_64_imm, Xor xor next;
                Add64MulUpperUU = Add64 add_64, MulUpperUU mul_upper_u_u next;
                ShloLImm64ShloRImm64 = ShloLImm64 shlo_l_imm_64, ShloRImm64 shlo_r_imm_64 next;
                ShloRImm64Add64 = ShloRImm64 shlo_r_imm_64, Add64 add_64 next;
                ShloLImm64LoadIndU64 = ShloLImm64 shlo_l_imm_64, LoadIndU64 load_ind_u64 next;
                AndImmAdd64 = AndImm and_imm, Add64 add_64 next;
                StoreIndU64MulImm64 = StoreIndU64 store_ind_u64, MulImm64 mul_imm_64 next;
                LoadIndU8StoreIndU8 = LoadIndU8 load_ind_u8, StoreIndU8 store_ind_u8 next;
                ShloRImm64Or = ShloRImm64 shlo_r_imm_64, Or or next;
                OrAndImm = Or or, AndImm and_imm next;
                OrAdd64 = Or or, Add64 add_64 next;
                StoreIndU64AndInv = StoreIndU64 store_ind_u64, AndInv and_inv next;
                LoadIndU64AndInv = LoadIndU64 load_ind_u64, AndInv and_inv next;
            ]
        }
    };
}
pub(super) use with_pairs;
