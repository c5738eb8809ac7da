//! The chain's numbers: limits and prices, with their defaults.

/// Calls the macro `$apply` with one row per parameter: `"doc" name = default;`.
///
/// Every parameter is a `u64`. The kernel builds its `Params` from this table, so that
/// names, order, defaults and documents cannot drift apart. Units: gas is about a
/// quarter of a nanosecond of one common core; sizes are bytes.
#[macro_export]
macro_rules! for_each_param {
    ($apply:ident) => {
        $apply! {
            "Gas an event may spend." event_gas = 50_000_000;
            "Gas all events of a block may spend together." block_gas = 1_000_000_000;
            "Gas a Schedule call may spend, outside block_gas." schedule_gas = 100_000_000;
            "Gas a View may spend." view_gas = 50_000_000;
            "Gas each phase of a Dispatch call may spend." dispatch_gas = 50_000_000;
            "Gas the Genesis endpoint may spend." genesis_gas = 50_000_000;
            "Bytes of state an event may add." event_quota = 4_194_304;
            "Bytes of state a Schedule call, or Genesis, may add." schedule_quota = 16_777_216;
            "Size of an encoded block body." block_bytes = 4_194_304;
            "Size of an event's payload." payload_bytes = 1_048_576;
            "Size of an Image's code." code_bytes = 4_194_304;
            "Size of an encoded Image." image_bytes = 8_388_608;
            "Size of a Data." data_bytes = 1_073_741_824;
            "Items of a Dispatch slot." dispatch_items = 8_192;
            "Encoded bytes of a Dispatch slot." dispatch_bytes = 4_194_304;
            "Writable bytes declared by all live frames." max_live_memory = 268_435_456;
            "Frames that own one another, the root included." max_depth = 128;
            "Bytes of topics and records an event may emit." emit_bytes = 65_536;
            "Bytes of one log line." log_bytes = 4_096;
            "Attestations an event or a body may carry." max_attestations = 8_192;
            "Price of any host call." price_host_call = 100;
            "Price of each key of a path." price_path_key = 4_000;
            "Price of changing a slot, hashing at commit included." price_slot_write = 25_000;
            "Price of the first touch of each page of a mapping that shows state." price_page_read = 40_000;
            "Price of each page written." price_page_write = 15_000;
            "Price of each persistent page written besides, hashing at commit included." price_page_persist = 25_000;
            "Price of each started 64 bytes copied between guest and kernel." price_copy_64 = 20;
            "Price of each started 64 bytes hashed, stored in a new Data, or of the pages that a Data is read from." price_hash_64 = 300;
            "Price of a nested call, machine included." price_call = 10_000;
            "Price of each started 64 bytes of an Image when an event first enters, spawns or sets it; the chain's own is free." price_enter_64 = 2_400;
            "Price of each started 64 bytes of an Image that is made: decoded, checked, hashed at each level of its nesting." price_image_64 = 2_000;
            "Price of an attestation." price_attest = 120_000;
            "Quota of an occupied slot, besides its key." quota_slot = 128;
        }
    };
}
