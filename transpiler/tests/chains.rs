//! The committed Images of the shipped chains behave as they should.

#[path = "common/chains.rs"]
mod chains;

use std::path::Path;

fn image(chain: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../chain-specs");
    std::fs::read(root.join(format!("{chain}.image"))).unwrap()
}

/// A test for each behaviour.
macro_rules! tests {
    ($($chain:literal: $($name:ident),*;)*) => {
        $($(
            #[test]
            fn $name() {
                chains::$name(&image($chain));
            }
        )*)*

        #[test]
        fn every_behaviour_has_a_test() {
            $(assert_eq!(chains::behaviours($chain).len(), [$(stringify!($name)),*].len());)*
        }
    };
}

tests! {
    "counter": counter_counts;
    "token": token_moves_coins, token_refuses_with_a_code_for_each_reason, token_transact_judges_by_the_state_of_its_turn, token_authors_take_turns, token_starts_only_from_a_sound_configuration, token_tables_depend_on_transfers_alone;
}
