//! The host-call table.

use crate::Status;

/// Declares [`HostCall`] from one row per operation:
/// `number Variant name(arguments) -> result ! [errors], stage`.
macro_rules! host_calls {
    ($($number:literal $variant:ident $name:ident($($arg:ident),*) -> $result:literal ! [$($error:ident),*], $stage:ident;)*) => {
        /// An operation a guest asks of the kernel by `ecalli number`: arguments in φ7 and up,
        /// the result in φ7.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        pub enum HostCall {
            $(#[doc = concat!("`", stringify!($name), "(", $(stringify!($arg), ", ",)* ")` -> ", $result)]
            $variant = $number,)*
        }

        impl HostCall {
            /// Every operation, in order of number.
            pub const ALL: &'static [HostCall] = &[$(HostCall::$variant),*];

            /// The operation with this number.
            pub const fn from_number(number: u64) -> Option<HostCall> {
                match number {
                    $($number => Some(HostCall::$variant),)*
                    _ => None,
                }
            }

            /// The operation's name in documents, logs and traces.
            pub const fn name(self) -> &'static str {
                match self { $(HostCall::$variant => stringify!($name),)* }
            }

            /// Names of the arguments, φ7 first.
            pub const fn arguments(self) -> &'static [&'static str] {
                match self { $(HostCall::$variant => &[$(stringify!($arg)),*],)* }
            }

            /// What φ7 (and φ8, where named) holds on success.
            pub const fn result(self) -> &'static str {
                match self { $(HostCall::$variant => $result,)* }
            }

            /// The status codes the operation can answer.
            pub const fn errors(self) -> &'static [Status] {
                match self { $(HostCall::$variant => &[$(Status::$error),*],)* }
            }

            /// Whether this kernel carries the operation out; the others have their numbers
            /// reserved and fault with [`crate::Fault::NotSupported`].
            pub const fn is_supported(self) -> bool {
                match self { $(HostCall::$variant => host_calls!(@stage $stage),)* }
            }
        }
    };
    (@stage built) => { true };
    (@stage reserved) => { false };
}

host_calls! {
    0 Halt halt(value) -> "does not return" ! [], built;
    1 Copy copy(src, dst) -> "0" ! [Empty, Occupied, Pinned, Busy, WrongKind, Invalid], built;
    2 Move move(src, dst) -> "0" ! [Empty, Occupied, Pinned, Busy, WrongKind, Invalid], built;
    3 Drop drop(slot) -> "0" ! [Empty, Pinned, Busy, WrongKind, Invalid], built;
    4 Swap swap(a, b) -> "0" ! [Empty, Pinned, Busy, WrongKind, Invalid], built;
    5 MintCnode mint_cnode(dst) -> "0" ! [Occupied, Pinned, Busy, WrongKind, Invalid], built;
    6 Kind kind(slot) -> "kind, size in φ8" ! [Empty, WrongKind, Invalid], built;
    7 NextKey next_key(cnode, key_ptr, key_len, out_ptr) -> "length of the next key" ! [Empty, WrongKind, Invalid], built;
    16 Yield yield_(marker) -> "0" ! [Empty, WrongKind, Invalid], built;
    17 SetImage set_image(image) -> "0" ! [Empty, Occupied, WrongKind, Invalid], built;
    18 DeriveSpawn derive_spawn(image, cnode, dst) -> "0" ! [Empty, Occupied, Pinned, Busy, WrongKind, Invalid], built;
    19 MakeImage make_image(data, dst) -> "0" ! [Empty, Occupied, Pinned, Busy, WrongKind, Range, Invalid], built;
    20 SameType same_type(a, b) -> "1 same, 0 not" ! [Empty, WrongKind, Invalid], built;
    21 TypeOf type_of(src, dst) -> "0" ! [Empty, Occupied, Pinned, Busy, WrongKind, Invalid], built;
    22 ReadData read_data(slot, ptr, len, offset) -> "bytes copied" ! [Empty, WrongKind, Range, Invalid], built;
    23 MintData mint_data(ptr, len, dst) -> "0" ! [Occupied, Pinned, Busy, WrongKind, Range, Invalid], built;
    24 Open open(file, dst) -> "0" ! [Empty, Occupied, Pinned, Busy, WrongKind, Denied, Invalid], built;
    25 Save save(data, dst) -> "0" ! [Empty, Occupied, Pinned, Busy, WrongKind, Denied, Invalid], built;
    26 Call call(slot, endpoint, arg0, arg1, arg2, arg3) -> "value, call status in φ8" ! [Empty, Busy, WrongKind, NoEndpoint, Quota, Depth, Denied, Invalid], built;
    27 Resume resume(slot) -> "as call" ! [Empty, Busy, WrongKind, Quota, Depth, Denied, Invalid], built;
    28 Abort abort(slot) -> "0" ! [Empty, WrongKind, Denied, Invalid], built;
    29 Detach detach(slot) -> "0" ! [Empty, WrongKind, Quota, Denied, Invalid], built;
    30 Attest attest(slot, key_ptr, blob_ptr, blob_len, scope_ptr, scope_len) -> "1 recorded, 0 absent" ! [Empty, WrongKind, Denied, Invalid], built;
    31 Result result(slot, ptr, len) -> "1 recorded, 0 absent" ! [Empty, WrongKind, Range, Denied, Invalid], built;
    32 Subtype subtype(ty, image, dst) -> "0" ! [Empty, Occupied, Pinned, Busy, WrongKind, Invalid], built;
    33 BlockInfo block_info(ptr) -> "0" ! [], built;
    34 Score score(slot, score) -> "0" ! [Empty, WrongKind, Denied, Invalid], built;
    35 Finalize finalize(slot, hash_ptr) -> "0" ! [Empty, WrongKind, Denied, Invalid], built;
    36 SlotRead slot_read(item, dst) -> "0" ! [Occupied, Pinned, Busy, WrongKind, Range, Denied, Invalid], built;
    37 SlotEmit slot_emit(kind, endpoint, payload, picks_ptr, picks_len) -> "0" ! [Empty, WrongKind, NoEndpoint, Quota, Range, Denied, Invalid], built;
    38 SlotKeep slot_keep(bitmap_ptr, len) -> "0" ! [Range, Denied], built;
    39 SlotClear slot_clear() -> "0" ! [Denied], built;
    40 Dispatch dispatch(endpoint, payload) -> "0" ! [Empty, WrongKind, NoEndpoint, Quota, Range, Denied, Invalid], built;
    41 GasLeft gas_left() -> "gas left in the row and the budget" ! [], built;
    42 Log log(level, ptr, len) -> "0" ! [Range], built;
    43 Emit emit(topic_ptr, topic_len, data) -> "0" ! [Empty, WrongKind, Range, Invalid], built;
    44 Hash hash(algorithm, ptr, len, out_ptr) -> "0" ! [Invalid], built;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_round_trip() {
        for pair in HostCall::ALL.windows(2) {
            assert!((pair[0] as u32) < (pair[1] as u32));
        }
        for call in HostCall::ALL {
            assert_eq!(HostCall::from_number(*call as u64), Some(*call));
        }
        assert_eq!(HostCall::from_number(8), None);
        assert_eq!(HostCall::from_number(1 << 32), None);
    }
}
