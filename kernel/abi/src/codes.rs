//! Codes that cross the border between guest and kernel.

/// Declares a C-like enum with its numbers, names and the way back from a number.
macro_rules! codes {
    ($(#[$doc:meta])* $name:ident: $repr:ident { $($(#[$vdoc:meta])* $variant:ident = $value:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr($repr)]
        pub enum $name { $($(#[$vdoc])* $variant = $value,)* }

        impl $name {
            /// Every code, in order of declaration.
            pub const ALL: &'static [$name] = &[$($name::$variant),*];

            /// The code with this number.
            pub const fn from_number(number: $repr) -> Option<$name> {
                match number { $($value => Some($name::$variant),)* _ => None }
            }

            /// The code's name.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => stringify!($variant),)* }
            }
        }
    };
}

codes! {
    /// Why an operation was not done: a negative φ7. Nothing has changed.
    Status: i64 {
        /// The slot holds nothing.
        Empty = -1,
        /// The destination holds something.
        Occupied = -2,
        /// The slot is pinned by the Image, so read-only.
        Pinned = -3,
        /// The slot, or something below it, takes part in a call.
        Busy = -4,
        /// The capability is of another kind than the operation needs.
        WrongKind = -5,
        /// The Instance has no such endpoint.
        NoEndpoint = -6,
        /// A limit on memory or items would be exceeded.
        Quota = -7,
        /// The call depth limit is reached.
        Depth = -8,
        /// A length, offset or index is out of range.
        Range = -9,
        /// Not allowed here: wrong role, wrong phase, or no authority.
        Denied = -10,
        /// An argument is malformed.
        Invalid = -11,
    }
}

codes! {
    /// Why a frame ended without halting; φ7 of the caller's CALL, and a faulted outcome's code.
    Fault: u64 {
        /// The program trapped, or jumped where no block starts.
        Panic = 1,
        /// A load or store outside the mapped memory, or without the right to.
        PageFault = 2,
        /// A host call named a memory range that is not accessible.
        BadRange = 3,
        /// The gas budget is gone.
        OutOfGas = 4,
        /// The quota budget is gone.
        OutOfQuota = 5,
        /// A yield reached no catcher.
        Unhandled = 6,
        /// The operation is reserved and not supported by this kernel.
        NotSupported = 7,
    }
}

codes! {
    /// How a CALL ended: φ8 of the caller.
    CallStatus: u64 {
        /// The callee halted; φ7 is its value.
        Ok = 0,
        /// The callee faulted; φ7 is the [`Fault`].
        Faulted = 1,
        /// A yield reached this Instance's catcher.
        Paused = 2,
        /// The call was not started; φ7 is a [`Status`].
        Refused = 3,
    }
}

codes! {
    /// What a slot holds, as `kind` answers it; φ8 is then the size: bytes for Data and Image
    /// (of its encoding), 0 for the others.
    Kind: u64 {
        /// Bytes.
        Data = 1,
        /// A program.
        Image = 2,
        /// A capability table.
        CNode = 3,
        /// An object.
        Instance = 4,
        /// A type alone.
        Type = 5,
    }
}

codes! {
    /// Algorithms of `hash`.
    HashAlgorithm: u64 {
        /// BLAKE2b with a 32-byte digest.
        Blake2b256 = 0,
        /// SHA-256.
        Sha256 = 1,
        /// Keccak-256 with the original padding.
        Keccak256 = 2,
    }
}

codes! {
    /// φ7 of a Dispatch endpoint at entry.
    Phase: u64 {
        /// Judge the arriving event alone: halt 0 to accept.
        Verify = 0,
        /// Merge it into the aggregation slot.
        Merge = 1,
        /// A new head: renew the slot.
        Head = 2,
    }
}

codes! {
    /// What `slot_emit` appends.
    SlotItemKind: u64 {
        /// An event for the chain, drained into the next block.
        Transact = 0,
        /// An event for another Dispatch endpoint.
        Dispatch = 1,
    }
}

/// φ7 of `attest`: no such signature is at hand.
pub const ATTEST_ABSENT: u64 = 0;
/// φ7 of `attest`: the signature is there, or will be.
pub const ATTEST_RECORDED: u64 = 1;
/// The item index by which `slot_emit`'s picks name the arriving event.
pub const ARRIVING_ITEM: u32 = u32::MAX;
