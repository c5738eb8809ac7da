//! What the loop dispatches on: an opcode or a pair of them.

use jar_isa::{Opcode, for_each_op};

use super::pairs::with_pairs;

macro_rules! with_all {
    ($($ops:tt)*) => { with_pairs! { define [$($ops)*] } };
}

macro_rules! define {
    (
        [$($number:literal $variant:ident $mnemonic:ident $format:ident $flow:ident
           $operands:ident $latency:ident $(($cycles:literal))? $slots:ident($($count:literal),+)
           $units:ident $semantics:literal;)+]
        [$($pair:ident = $first:ident $do_first:ident, $second:ident $do_second:ident $end:ident;)+]
    ) => {
        /// One arm of the loop.
        #[derive(Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub(super) enum Code {
            $($variant,)+
            $($pair,)+
        }

        const SINGLES: usize = [$(Code::$variant),+].len();

        /// Pairs by their first and their second.
        static PAIRS: [[Option<Code>; SINGLES]; SINGLES] = {
            let mut pairs = [[None; SINGLES]; SINGLES];
            $(pairs[Code::$first as usize][Code::$second as usize] = Some(Code::$pair);)+
            pairs
        };

        /// By opcode.
        static SINGLE: [Code; 256] = {
            let mut single = [Code::Trap; 256];
            $(single[Opcode::$variant as usize] = Code::$variant;)+
            single
        };

        /// The opcodes that they begin with.
        static FIRST: [Opcode; 256] = {
            let mut first = [Opcode::Trap; 256];
            $(first[Code::$variant as usize] = Opcode::$variant;)+
            $(first[Code::$pair as usize] = Opcode::$first;)+
            first
        };

        impl Code {
            /// `opcode` by itself.
            #[inline]
            pub(super) fn single(opcode: Opcode) -> Code {
                SINGLE[opcode as usize % 256]
            }

            /// The opcode it begins with.
            #[inline]
            pub(super) fn opcode(self) -> Opcode {
                FIRST[self as usize % 256]
            }

            /// The pair that is `self`, a single opcode, with the single `next` behind it.
            #[inline]
            pub(super) fn and(self, next: Code) -> Option<Code> {
                *PAIRS.get(self as usize)?.get(next as usize)?
            }

            /// The single opcode it begins with.
            #[inline]
            pub(super) fn first(self) -> Code {
                Code::single(self.opcode())
            }
        }
    };
}

for_each_op!(with_all);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_begins_with_its_first() {
        let (add, load) = (
            Code::single(Opcode::Add64),
            Code::single(Opcode::LoadIndU64),
        );
        let pair = load.and(add);
        assert!(pair.is_some_and(|pair| pair != load && pair.first() == load));
        assert!(add.first() == add && add.and(Code::single(Opcode::Trap)).is_none());
    }
}
