//! What every engine test shares: each case runs on every engine, and all that
//! can be observed must be equal.
#![allow(unused_imports)]

pub use jar_fuzz::rig::*;

/// Runs a test body once for each gas model.
#[macro_export]
macro_rules! for_each_model {
    ($($(#[$attribute:meta])* fn $name:ident($model:ident) $body:block)+) => {
        $(
            $(#[$attribute])*
            #[test]
            fn $name() {
                for $model in [jar_pvm::GasModel::Unit, jar_pvm::GasModel::Pipeline] {
                    $body
                }
            }
        )+
    };
}
