//! A connection: one of a bounded number, which ends when nothing goes either way for too long.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep};

use super::flow::Flow;

/// A socket with a deadline that every byte moves, and its place among all connections.
#[derive(Debug)]
pub struct Connection {
    socket: TcpStream,
    idle_max: Duration,
    deadline: Pin<Box<Sleep>>,
    flow: Arc<Flow>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    /// The connection of a socket, which may be silent for `idle_max`.
    pub fn new(socket: TcpStream, idle_max: Duration, place: OwnedSemaphorePermit) -> Self {
        Connection {
            socket,
            idle_max,
            deadline: Box::pin(sleep(idle_max)),
            flow: Arc::default(),
            _place: place,
        }
    }

    /// What is under way on this connection.
    pub(crate) fn flow(&self) -> &Arc<Flow> {
        &self.flow
    }

    fn moved<T>(&mut self, poll: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        match poll {
            Poll::Ready(done) => {
                let deadline = Instant::now() + self.idle_max;
                self.deadline.as_mut().reset(deadline);
                Poll::Ready(done)
            }
            Poll::Pending => match self.deadline.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let poll = match this.flow.poll_open(cx) {
            true => Pin::new(&mut this.socket).poll_read(cx, buf),
            false => Poll::Pending,
        };
        this.moved(poll, cx)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.socket).poll_write(cx, bytes);
        if let Poll::Ready(Ok(written)) = poll {
            this.flow.wrote(written);
        }
        this.moved(poll, cx)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}
