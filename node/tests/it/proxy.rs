//! A link between two nodes that can be cut.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Passes connections on to a node, until it is cut.
pub struct Link {
    address: SocketAddr,
    peer: String,
    is_cut: Arc<AtomicBool>,
    /// Milliseconds for each part that passes.
    delay_ms: Arc<AtomicU64>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Link {
    /// A link to the node of this multiaddr, `/ip4/127.0.0.1/tcp/PORT/p2p/PEER`.
    pub fn to(node: &str) -> Link {
        let parts: Vec<&str> = node.split('/').collect();
        let (ip, port, peer) = (parts[2], parts[4], parts[6].to_owned());
        let target: SocketAddr = format!("{ip}:{port}").parse().expect("an address");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let link = Link {
            address: listener.local_addr().expect("an address"),
            peer,
            is_cut: Arc::default(),
            delay_ms: Arc::default(),
            open: Arc::default(),
        };
        let (is_cut, open) = (link.is_cut.clone(), link.open.clone());
        let delay_ms = link.delay_ms.clone();
        // It waits for connections until the process ends.
        std::thread::spawn(move || {
            for from in listener.incoming().map_while(Result::ok) {
                if is_cut.load(Ordering::SeqCst) {
                    continue;
                }
                if let Ok(to) = TcpStream::connect(target) {
                    pass(&from, &to, &open, &delay_ms);
                    pass(&to, &from, &open, &delay_ms);
                }
            }
        });
        link
    }

    /// Where the node is reached through this link.
    pub fn multiaddr(&self) -> String {
        let (ip, port) = (self.address.ip(), self.address.port());
        format!("/ip4/{ip}/tcp/{port}/p2p/{}", self.peer)
    }

    /// Lets 16 KiB pass in this time at the most; from connections that begin later on.
    pub fn slow(&self, delay: Duration) {
        let delay_ms = delay.as_millis() as u64;
        self.delay_ms.store(delay_ms, Ordering::SeqCst);
    }

    /// Ends all connections, and takes none.
    pub fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
        for stream in self.open.lock().expect("no panic").drain(..) {
            // It may have ended already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Takes connections again.
    pub fn mend(&self) {
        self.is_cut.store(false, Ordering::SeqCst);
    }
}

/// Copies bytes one way until an end is gone.
fn pass(from: &TcpStream, to: &TcpStream, open: &Mutex<Vec<TcpStream>>, delay_ms: &AtomicU64) {
    let clone = |stream: &TcpStream| stream.try_clone().expect("a socket");
    let (mut from, mut to) = (clone(from), clone(to));
    open.lock().expect("no panic").push(clone(&from));
    let delay = Duration::from_millis(delay_ms.load(Ordering::SeqCst));
    std::thread::spawn(move || {
        let mut bytes = [0; 16 << 10];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            std::thread::park_timeout(delay);
            if to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}
