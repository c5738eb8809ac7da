//! [`LocalHardware`]: a store and keys of this process, with the rest handed to the node.

use std::fmt;
use std::sync::Arc;

use jar_cap::Hash;

use crate::block::Signature;
use crate::hardware::{Emission, Hardware, SignError, SignRequest, Store, Trace, Watermark};
use crate::signer::Signer;

/// What the kernel tells the node while it works.
#[derive(Clone, Debug)]
pub enum Notice {
    /// Something for the network.
    Emission(Emission),
    /// Something for logs and metrics.
    Trace(Trace),
}

/// Receives what the kernel tells. Called on the kernel's thread: it must not block.
pub type Sink = Box<dyn Fn(Notice) + Send + Sync>;

/// Answers whether a block being built should take no further event.
pub type ShouldStop = Box<dyn Fn() -> bool + Send + Sync>;

/// Hardware made of a store, the operator's keys and two callbacks.
pub struct LocalHardware {
    store: Arc<dyn Store>,
    signer: Signer,
    sink: Sink,
    should_stop: ShouldStop,
}

impl LocalHardware {
    /// Hardware of these parts. The signer's watermarks must come from this store.
    pub fn new(
        store: Arc<dyn Store>,
        signer: Signer,
        sink: Sink,
        should_stop: ShouldStop,
    ) -> LocalHardware {
        LocalHardware {
            store,
            signer,
            sink,
            should_stop,
        }
    }

    /// The keys and their watermarks.
    pub fn signer(&self) -> &Signer {
        &self.signer
    }
}

impl fmt::Debug for LocalHardware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalHardware")
            .field("store", &self.store)
            .field("signer", &self.signer)
            .finish_non_exhaustive()
    }
}

impl Hardware for LocalHardware {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    fn may_sign(&self, request: &SignRequest) -> bool {
        self.signer.may_sign(request)
    }

    fn sign(
        &self,
        request: &SignRequest,
        message: &Hash,
    ) -> Result<(Signature, Watermark), SignError> {
        self.signer.sign(request, message)
    }

    fn emit(&self, emission: Emission) {
        (self.sink)(Notice::Emission(emission));
    }

    fn should_stop(&self) -> bool {
        (self.should_stop)()
    }

    fn trace(&self, trace: Trace) {
        (self.sink)(Notice::Trace(trace));
    }
}
