//! A connection to a node as the protocols see it, so that anything can be said on it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::Poll;
use std::time::Duration;

use libp2p::core::muxing::StreamMuxerExt;
use libp2p::core::upgrade::OutboundConnectionUpgrade;
use libp2p::futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, future};
use libp2p::identity::Keypair;
use libp2p::{noise, tcp, yamux};
use tokio::net::TcpSocket;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// How long an agreement may take: a node that is busy with attackers is slow, one that has
/// enough of them closes.
const AGREE_MAX: Duration = Duration::from_secs(5);

/// A socket from an address of one's own.
pub async fn socket(source: IpAddr, node: SocketAddr) -> io::Result<tokio::net::TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    socket.connect(node).await
}

/// A stream of a connection.
pub type Stream = <Muxer as libp2p::core::StreamMuxer>::Substream;
type Muxer = <yamux::Config as OutboundConnectionUpgrade<Secured>>::Output;
type Secured = noise::Output<tcp::tokio::TcpStream>;

/// A connection under a new name.
pub struct Connection {
    opens: mpsc::Sender<oneshot::Sender<Stream>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Connection {
    /// Connects, and agrees on encryption and streams.
    pub async fn open(source: IpAddr, node: SocketAddr) -> io::Result<Connection> {
        within(async {
            let mut socket = tcp::tokio::TcpStream(socket(source, node).await?);
            agree(&mut socket, "/noise").await?;
            let name = Keypair::generate_ed25519();
            let noise = noise::Config::new(&name).map_err(io::Error::other)?;
            let secured = noise.upgrade_outbound(socket, "/noise").await;
            let (_, mut secured) = secured.map_err(io::Error::other)?;
            agree(&mut secured, "/yamux/1.0.0").await?;
            let mut config = yamux::Config::default();
            config.set_max_num_streams(1024);
            let muxer = config.upgrade_outbound(secured, "/yamux/1.0.0").await;
            let (opens, queue) = mpsc::channel(64);
            Ok(Connection {
                opens,
                task: tokio::spawn(drive(muxer.map_err(io::Error::other)?, queue)),
            })
        })
        .await
    }

    /// A stream on which nothing was said.
    pub async fn stream(&self) -> io::Result<Stream> {
        let (reply, stream) = oneshot::channel();
        let closed = || io::Error::from(io::ErrorKind::ConnectionAborted);
        self.opens.send(reply).await.map_err(|_| closed())?;
        stream.await.map_err(|_| closed())
    }

    /// A stream of a protocol.
    pub async fn speak(&self, protocol: &str) -> io::Result<Stream> {
        within(async {
            let mut stream = self.stream().await?;
            agree(&mut stream, protocol).await?;
            Ok(stream)
        })
        .await
    }

    /// Whether the node has closed it.
    pub fn is_closed(&self) -> bool {
        self.opens.is_closed()
    }
}

/// Opens the streams asked for until the node closes.
async fn drive(mut muxer: Muxer, mut queue: mpsc::Receiver<oneshot::Sender<Stream>>) {
    let mut wanted: Option<oneshot::Sender<Stream>> = None;
    let mut taken = JoinSet::new();
    future::poll_fn(|cx| {
        loop {
            if wanted.is_none()
                && let Poll::Ready(next) = queue.poll_recv(cx)
            {
                let Some(next) = next else {
                    return Poll::Ready(());
                };
                wanted = Some(next);
            }
            if let Some(reply) = wanted.take() {
                match muxer.poll_outbound_unpin(cx) {
                    Poll::Ready(Ok(stream)) => {
                        // Who asked may have given up.
                        let _ = reply.send(stream);
                        continue;
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => wanted = Some(reply),
                }
            }
            match muxer.poll_inbound_unpin(cx) {
                Poll::Ready(Ok(stream)) => {
                    taken.spawn(take(stream));
                    continue;
                }
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {}
            }
            match muxer.poll_unpin(cx) {
                Poll::Ready(Ok(_)) => continue,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
}

/// Agrees on whatever protocol the node speaks on a stream of its own, and then neither answers
/// nor reads: without that, the node would not listen either.
async fn take(mut stream: Stream) -> io::Result<()> {
    for _ in 0..2 {
        let mut line = vec![0];
        stream.read_exact(&mut line).await?;
        line.resize(1 + usize::from(line[0]), 0);
        stream.read_exact(&mut line[1..]).await?;
        stream.write_all(&line).await?;
        stream.flush().await?;
    }
    std::future::pending().await
}

async fn within<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(AGREE_MAX, work).await {
        Ok(done) => done,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Agrees on a protocol by multistream-select: both sides say its name.
async fn agree(io: &mut (impl AsyncRead + AsyncWrite + Unpin), protocol: &str) -> io::Result<()> {
    let names = ["/multistream/1.0.0", protocol];
    let lines = names.map(|name| [&prefixed(name.len() + 1), name.as_bytes(), b"\n"].concat());
    io.write_all(&lines.concat()).await?;
    io.flush().await?;
    for line in lines {
        let mut answer = vec![0; line.len()];
        io.read_exact(&mut answer).await?;
        if answer != line {
            return Err(io::ErrorKind::Unsupported.into());
        }
    }
    Ok(())
}

/// A length as protocols write it: seven bits a byte, the lowest first.
pub fn prefixed(mut length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while length >= 0x80 {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes
}
