//! What the loop dispatches on: an opcode, a pair of them, or a pair of pairs.

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
        [$($four:ident = $front:ident $begin:ident $do_begin:ident $do_next:ident,
           $back:ident $do_third:ident $do_last:ident $close:ident;)+]
    ) => {
        /// One arm of the loop.
        #[derive(Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub(super) enum Code {
            $($variant,)+
            $($pair,)+
            $($four,)+
        }

        const SINGLES: usize = [$(Code::$variant),+].len();
        const PAIRED: usize = [$(Code::$pair),+].len();

        /// Pairs by their first and their second.
        static PAIRS: [[Option<Code>; SINGLES]; SINGLES] = {
            let mut pairs = [[None; SINGLES]; SINGLES];
            $(pairs[Code::$first as usize][Code::$second as usize] = Some(Code::$pair);)+
            pairs
        };

        /// Pairs of pairs, likewise.
        static FOURS: [[Option<Code>; PAIRED]; PAIRED] = {
            let mut fours = [[None; PAIRED]; PAIRED];
            $(
                let (front, back) = (Code::$front as usize, Code::$back as usize);
                fours[front - SINGLES][back - SINGLES] = Some(Code::$four);
            )+
            fours
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
            $(first[Code::$four as usize] = Opcode::$begin;)+
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

            /// The four that are `self`, a pair, with the pair `next` behind it.
            #[inline]
            pub(super) fn and_pair(self, next: Code) -> Option<Code> {
                let fours = FOURS.get((self as usize).wrapping_sub(SINGLES))?;
                *fours.get((next as usize).wrapping_sub(SINGLES))?
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
    fn what_is_joined_begins_with_its_first() {
        let (add, load) = (
            Code::single(Opcode::Add64),
            Code::single(Opcode::LoadIndU64),
        );
        let pair = load.and(add);
        assert!(pair.is_some_and(|pair| pair != load && pair.first() == load));
        let (pair, store) = (pair.unwrap(), Code::single(Opcode::StoreIndU64));
        let four = store.and(load).and_then(|behind| pair.and_pair(behind));
        assert!(four.is_some_and(|four| four != pair && four.first() == load));
        assert!(pair.and_pair(load).is_none() && add.and_pair(pair).is_none());
        assert!(add.first() == add && add.and(Code::single(Opcode::Trap)).is_none());
    }
}
