//! What makes one chain another: its parameters, and the commitment to them.

use std::collections::BTreeMap;

use jar_cap::hash::{Tag, tagged};
use jar_cap::{Hash, Path};
use parity_scale_codec::Encode;

macro_rules! params {
    ($($doc:literal $name:ident = $default:literal;)*) => {
        /// Limits and prices of a chain; a row each of [`jar_abi::for_each_param`].
        #[derive(Clone, Debug, PartialEq, Eq, Encode)]
        pub struct Params {
            $(#[doc = $doc] pub $name: u64,)*
        }

        impl Default for Params {
            fn default() -> Self {
                Params { $($name: $default,)* }
            }
        }

        impl Params {
            /// Every parameter with its value, in the table's order.
            pub fn entries(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name)),*]
            }

            /// What each parameter means, by name, in the table's order.
            pub const DOCS: &'static [(&'static str, &'static str)] =
                &[$((stringify!($name), $doc)),*];

            fn entry_mut(&mut self, name: &str) -> Option<&mut u64> {
                match name {
                    $(stringify!($name) => Some(&mut self.$name),)*
                    _ => None,
                }
            }
        }
    };
}

jar_abi::for_each_param!(params);

/// A parameter name that is not in the table.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown parameter {0:?}")]
pub struct UnknownParam(pub String);

impl Params {
    /// Quota of an occupied slot.
    pub(crate) fn slot_quota(&self, path: &Path) -> u64 {
        let (first, rest) = path.split_first();
        let key = rest.last().unwrap_or(first);
        self.quota_slot + key.as_slice().len() as u64
    }

    /// The defaults, with some of them replaced by name.
    pub fn with(overrides: &BTreeMap<String, u64>) -> Result<Params, UnknownParam> {
        let mut params = Params::default();
        for (name, value) in overrides {
            *params
                .entry_mut(name)
                .ok_or_else(|| UnknownParam(name.clone()))? = *value;
        }
        Ok(params)
    }
}

/// Everything a chain starts from. Nodes that differ in any of it are on different chains.
#[derive(Clone, Debug)]
pub struct Genesis {
    /// Limits and prices.
    pub params: Params,
    /// The chain's Image, SCALE encoded.
    pub image: Vec<u8>,
    /// Length of a time slot, in milliseconds.
    pub slot_ms: u64,
    /// Time of slot 0, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// What the Genesis endpoint finds in slot 0.
    pub payload: Vec<u8>,
}

impl Genesis {
    /// The genesis header's `body_root`: H(0x75 ‖ SCALE(limits and prices, instruction table,
    /// Image id, slot_ms, genesis time, payload)).
    pub fn commitment(&self, image_id: &Hash) -> Hash {
        let encoded = (
            &self.params,
            jar_pvm::isa::table_encoding(),
            image_id,
            self.slot_ms,
            self.time_ms,
            &self.payload,
        )
            .encode();
        tagged(Tag::Params, &[&encoded])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_replace_defaults_by_name() {
        let overrides = BTreeMap::from([("event_gas".to_string(), 7)]);
        let params = Params::with(&overrides).expect("known name");
        assert_eq!(params.event_gas, 7);
        assert_eq!(params.block_gas, Params::default().block_gas);
        let unknown = BTreeMap::from([("evnt_gas".to_string(), 7)]);
        assert_eq!(Params::with(&unknown), Err(UnknownParam("evnt_gas".into())));
    }
}
