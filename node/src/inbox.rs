//! The kernel's inbox: what clients and peers want of it, in bounded queues.

use std::sync::Arc;
use std::sync::mpsc;

use jar_driver::Input;
use jar_kernel::block::Event;
use jar_kernel::{Accepted, Refusal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Bytes of peers' messages that wait for the kernel.
const PEER_BYTES_MAX: usize = 64 << 20;
/// Bytes that a message of no length counts for.
const MESSAGE_BYTES_MIN: usize = 1 << 10;

/// Something for the kernel's thread.
#[derive(Debug)]
pub enum Request {
    /// A client's event.
    Dispatch {
        /// The endpoint.
        endpoint: u8,
        /// The event.
        event: Event,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<Accepted, Refusal>>,
        /// Its place in the queue.
        place: OwnedSemaphorePermit,
    },
    /// Something for the driver.
    Input {
        /// What.
        input: Input,
        /// Its place among peers' messages; `None` for what is bounded otherwise.
        place: Option<OwnedSemaphorePermit>,
    },
    /// Stop at a whole block.
    Stop,
}

/// The way into the inbox.
#[derive(Clone, Debug)]
pub struct Inbox {
    requests: mpsc::Sender<Request>,
    bytes: Arc<Semaphore>,
}

/// What waits in the inbox.
pub type Queue = mpsc::Receiver<Request>;

/// An empty inbox.
pub fn inbox() -> (Inbox, Queue) {
    let (requests, queue) = mpsc::channel();
    let bytes = Arc::new(Semaphore::new(PEER_BYTES_MAX));
    (Inbox { requests, bytes }, queue)
}

impl Inbox {
    /// Puts a request in; `false` when the kernel's thread has ended.
    pub fn send(&self, request: Request) -> bool {
        self.requests.send(request).is_ok()
    }

    /// Tells the driver what happened: there are no more such inputs than there are peers and
    /// requests under way.
    pub fn tell(&self, input: Input) {
        // It fails when the node is stopping.
        let _ = self.send(Request::Input { input, place: None });
    }

    /// Offers the driver a peer's message of so many bytes; `false` when there is no room.
    pub fn offer(&self, input: Input, bytes: usize) -> bool {
        let weight = bytes.clamp(MESSAGE_BYTES_MIN, PEER_BYTES_MAX) as u32;
        match self.bytes.clone().try_acquire_many_owned(weight) {
            Ok(place) => self.send(Request::Input {
                input,
                place: Some(place),
            }),
            Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_share_a_bounded_room() {
        let (inbox, queue) = inbox();
        let fill = PEER_BYTES_MAX / MESSAGE_BYTES_MIN;
        for _ in 0..fill {
            assert!(inbox.offer(Input::Tick, 0));
        }
        assert!(!inbox.offer(Input::Tick, 1), "full");
        inbox.tell(Input::Stop);
        drop(queue.recv().expect("a message"));
        assert!(inbox.offer(Input::Tick, 1), "room for one");
        assert!(!inbox.offer(Input::Tick, 1));
        drop(queue);
        assert!(!inbox.send(Request::Stop));
    }
}
