//! What a top-level call is given.

use std::sync::Arc;

use jar_cap::{Cap, Hash, ImageRef, Instance};
use parity_scale_codec::Encode;

use crate::dispatch::SlotView;
use crate::exec::Traces;
use crate::hardware::Store;
use crate::params::Params;
use crate::programs::Programs;

/// What all calls on a chain share.
#[derive(Debug)]
pub(crate) struct Env {
    pub store: Arc<dyn Store>,
    pub params: Params,
    pub programs: Programs,
}

/// What `block_info` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode)]
pub(crate) struct BlockInfo {
    pub genesis: Hash,
    pub parent: Hash,
    pub height: u64,
    pub slot: u64,
    pub time_ms: u64,
}

/// Budgets of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grant {
    pub gas: u64,
    pub quota: u64,
}

/// One top-level call on the chain Instance.
pub(crate) struct Invocation<'a, 't> {
    pub instance: Instance,
    pub endpoint: u8,
    /// φ7..φ10 at entry.
    pub arguments: [u64; 4],
    /// What slot 0 holds at entry.
    pub scratch: Option<Cap>,
    /// The Image that an earlier call of the block set: it takes its place when the block commits.
    pub next_image: Option<ImageRef>,
    pub block: BlockInfo,
    pub grant: Grant,
    pub traces: Traces<'t>,
    /// Whether attest, score, finalize, dispatch and slot operations are denied.
    pub is_view: bool,
    /// The Dispatch slot, in the phases that may touch it.
    pub slot: Option<&'a SlotView<'a>>,
    /// Receives log lines.
    pub log: &'a dyn Fn(u64, &[u8]),
}
