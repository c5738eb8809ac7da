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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;

    use super::*;
    use crate::block::{Event, Scope};
    use crate::memory::MemoryChainStore;

    #[test]
    fn the_node_hears_and_decides() {
        let store: Arc<dyn Store> = Arc::new(MemoryChainStore::new());
        let signer = Signer::new([[1; 32]], &*store).unwrap();
        let key = *signer.keys().next().unwrap();
        let (sender, notices) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let hardware = LocalHardware::new(
            store.clone(),
            signer,
            Box::new(move |notice| sender.send(notice).unwrap()),
            Box::new(move || stopped.load(Ordering::Relaxed)),
        );

        assert_eq!(hardware.store().number(), store.number());
        assert!(!hardware.should_stop());
        stop.store(true, Ordering::Relaxed);
        assert!(hardware.should_stop());

        hardware.emit(Emission::Dispatch {
            endpoint: 3,
            event: Event::default(),
        });
        hardware.trace(Trace::Finalized {
            hash: [1; 32],
            height: 9,
        });
        let heard: Vec<Notice> = notices.try_iter().collect();
        assert!(matches!(
            &heard[..],
            [
                Notice::Emission(Emission::Dispatch { endpoint: 3, .. }),
                Notice::Trace(Trace::Finalized { height: 9, .. })
            ]
        ));

        let request = SignRequest {
            key,
            scope: Scope::Seal,
            slot: 2,
        };
        assert!(hardware.may_sign(&request));
        let (_, watermark) = hardware.sign(&request, &[0; 32]).unwrap();
        assert_eq!(hardware.signer().watermark(&key), Some(watermark));
        assert!(!hardware.may_sign(&request));
    }
}
