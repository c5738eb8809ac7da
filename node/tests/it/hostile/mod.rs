//! Peers that send garbage, oversized, stale, duplicate and slow messages on every protocol.
//!
//! `JAR_HOSTILE_SECONDS` says how long they do; `docs/node.md` says what a node may lose by it.

mod attacks;
mod wire;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jar_driver::{BlockRef, Request, Response, Status};
use jar_kernel::block::Block;
use libp2p::futures::{AsyncReadExt, AsyncWriteExt};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;

use crate::harness::Node;
use crate::validators::{Four, finalized};
use attacks::{Dice, Reads, Script, Target};
use wire::Connection;

/// How long the attack takes where nobody says otherwise.
const SECONDS: u64 = 8;
/// By how much finality may be slower under attack.
const SLOWER_MAX: f64 = 2.0;
/// Kilobytes by which a node may grow under attack.
const GROWTH_KB_MAX: u64 = 128 << 10;
/// How long one name is used at the most.
const LIFE: Duration = Duration::from_secs(2);
/// The pause between two names.
const REST: Duration = Duration::from_millis(200);

type Scripts = fn(&Target, &mut Dice) -> Vec<Script>;

const ATTACKS: [(&str, Scripts); 9] = [
    ("sync: garbage", attacks::sync_garbage),
    ("sync: flood", attacks::sync_flood),
    ("sync: false claims", attacks::false_claims),
    ("many streams", attacks::many_streams),
    ("gossip: garbage", attacks::gossip_garbage),
    ("gossip: stale", attacks::gossip_stale),
    ("gossip: invalid", attacks::gossip_invalid),
    ("gossip: control", attacks::gossip_control),
    ("others", attacks::others),
];

/// What an attacker did.
#[derive(Default)]
struct Done {
    names: AtomicU64,
    streams: AtomicU64,
    bytes: AtomicU64,
}

/// Says what a script says, and reads as it reads.
async fn perform(connection: &Connection, script: &Script, done: &Done) -> io::Result<()> {
    let stream = match &script.protocol {
        Some(protocol) => connection.speak(protocol).await?,
        None => connection.stream().await?,
    };
    done.streams.fetch_add(1, Ordering::Relaxed);
    let (mut reader, mut writer) = stream.split();
    let write = async {
        for part in &script.parts {
            for bytes in part.chunks(4 << 10) {
                writer.write_all(bytes).await?;
                done.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            }
            writer.flush().await?;
            tokio::time::sleep(script.pause).await;
        }
        // Nothing more is said, and the stream stays open.
        std::future::pending::<io::Result<()>>().await
    };
    let read = async {
        let mut bytes = vec![0; 16 << 10];
        loop {
            if script.reads == Reads::Slowly {
                tokio::time::sleep(Duration::from_millis(100)).await;
                bytes.truncate(16);
            }
            if reader.read(&mut bytes).await? == 0 {
                return Ok(());
            }
        }
    };
    let read = async {
        match read.await {
            // The node said all it had to say, and may still listen.
            Ok(()) => std::future::pending().await,
            failed => failed,
        }
    };
    libp2p::futures::future::try_join(write, read).await?;
    Ok(())
}

/// One name's life: it says everything at once, and stays until the node closes.
async fn live(source: IpAddr, node: SocketAddr, scripts: &[Script], done: &'static Done) {
    let Ok(connection) = Connection::open(source, node).await else {
        return;
    };
    done.names.fetch_add(1, Ordering::Relaxed);
    let connection = std::sync::Arc::new(connection);
    let mut streams = JoinSet::new();
    for script in scripts {
        let (connection, script) = (connection.clone(), script.clone());
        streams.spawn(async move {
            // The node may end a stream, or the connection, at any time.
            let _ = perform(&connection, &script, done).await;
        });
    }
    let end = Instant::now() + LIFE;
    while Instant::now() < end && !connection.is_closed() {
        tokio::time::sleep(REST).await;
    }
}

/// Connections that say nothing, or a byte now and then, before they have a name.
async fn half_open(source: IpAddr, node: SocketAddr, done: &'static Done) {
    let mut open = JoinSet::new();
    for number in 0..40_u8 {
        open.spawn(async move {
            let mut socket = wire::socket(source, node).await?;
            done.streams.fetch_add(1, Ordering::Relaxed);
            let hello = b"\x13/multistream/1.0.0\n\x07/noise\n";
            let said: &[u8] = match number % 4 {
                0 => b"",
                1 => &hello[..9],
                2 => hello,
                _ => b"GET / HTTP/1.1\r\nHost: node\r\n\r\n",
            };
            for byte in said.chunks(3) {
                socket.write_all(byte).await?;
                done.bytes.fetch_add(byte.len() as u64, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            std::future::pending::<io::Result<()>>().await
        });
    }
    done.names.fetch_add(1, Ordering::Relaxed);
    tokio::time::sleep(LIFE / 2).await;
}

/// Attacks nodes in every way until the time is over, each from an address of its own, so that
/// an address that is banned is not missed by the others.
async fn attack(targets: Vec<Target>, time: Duration) -> Vec<(&'static str, &'static Done)> {
    let targets: &'static [Target] = targets.leak();
    let mut attackers = JoinSet::new();
    let mut report = Vec::new();
    for (number, (name, scripts)) in ATTACKS.into_iter().enumerate() {
        let done: &'static Done = Box::leak(Box::default());
        report.push((name, done));
        for (node, target) in targets.iter().enumerate() {
            let source = IpAddr::V4(Ipv4Addr::new(127, 0, 1 + node as u8, 1 + number as u8));
            attackers.spawn(async move {
                let mut dice = Dice(number as u64);
                // A node listens to one stream of gossip of a connection: a script a name.
                let is_gossip = name.starts_with("gossip");
                for life in 0.. {
                    let newest = match newest_blocks(source, target).await {
                        Ok(blocks) if !blocks.is_empty() => blocks,
                        _ => target.newest.clone(),
                    };
                    let target = Target {
                        newest,
                        ..target.clone()
                    };
                    let mut scripts = scripts(&target, &mut dice);
                    if is_gossip {
                        scripts = vec![scripts.swap_remove(life % scripts.len())];
                    }
                    live(source, target.node, &scripts, done).await;
                    tokio::time::sleep(REST).await;
                }
            });
        }
    }
    let done: &'static Done = Box::leak(Box::default());
    report.push(("half open", done));
    for (node, target) in targets.iter().enumerate() {
        let source = IpAddr::V4(Ipv4Addr::new(127, 0, 1 + node as u8, 99));
        attackers.spawn(async move {
            loop {
                half_open(source, target.node, done).await;
            }
        });
    }
    tokio::time::sleep(time).await;
    report
}

/// What a node answers when it is asked as honest nodes ask.
async fn ask(connection: &Connection, request: &Request) -> io::Result<Response> {
    let mut stream = connection.speak(attacks::SYNC).await?;
    stream.write_all(&attacks::asked(request)).await?;
    stream.close().await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = answer.get(4..).unwrap_or_default();
    Response::from_bytes(answer).map_err(io::Error::other)
}

/// A node's head and three of its ancestors.
async fn newest_blocks(source: IpAddr, target: &Target) -> io::Result<Vec<Block>> {
    let connection = Connection::open(source, target.node).await?;
    let status = Request::Status(Status {
        genesis: target.genesis,
        head: BlockRef::default(),
        finalized: BlockRef::default(),
        first_height: 1,
    });
    let Response::Status(status) = ask(&connection, &status).await? else {
        return Ok(Vec::new());
    };
    let request = Request::Ancestry {
        hash: status.head.hash,
        count: 4,
    };
    match ask(&connection, &request).await? {
        Response::Blocks(blocks) => Ok(blocks),
        _ => Ok(Vec::new()),
    }
}

/// A node, and what anybody can learn of it.
async fn target(node: &Node) -> Target {
    let parts: Vec<&str> = node.p2p().split('/').collect();
    let address: SocketAddr = format!("{}:{}", parts[2], parts[4]).parse().expect("one");
    let genesis = node.call("chain_blockHash", json!([0]));
    let genesis = jar_rpc::from_hex(genesis.as_str().expect("a hash")).expect("hex");
    let spec = node.call("chain_spec", json!([]));
    let endpoints = spec["endpoints"].as_array().expect("endpoints").iter();
    let dispatch = endpoints.filter(|endpoint| endpoint["role"] == "dispatch");
    let index = |endpoint: &serde_json::Value| endpoint["index"].as_u64().expect("one") as u8;
    let mut target = Target {
        node: address,
        genesis: genesis.try_into().expect("a hash"),
        newest: Vec::new(),
        endpoints: dispatch.map(index).collect(),
    };
    let newest = newest_blocks(Ipv4Addr::LOCALHOST.into(), &target).await;
    target.newest = newest.expect("the node answers");
    target
}

/// A line of a process's status, in kilobytes.
fn memory_kb(node: &Node, line: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.pid()));
    let status = status.expect("a status");
    let text = status.lines().find_map(|text| text.strip_prefix(line));
    let number = text.and_then(|text| text.split_whitespace().next());
    number.expect("a number").parse().expect("a number")
}

/// Blocks that the slowest node finalized since.
fn finalized_since(four: &Four, from: u64) -> u64 {
    let lowest = four.nodes.values().map(finalized).min().expect("nodes");
    lowest.saturating_sub(from)
}

#[test]
fn hostile_peers_cost_little() {
    let seconds = std::env::var("JAR_HOSTILE_SECONDS").ok();
    let seconds = seconds.map_or(SECONDS, |text| text.parse().expect("seconds"));
    let time = Duration::from_secs(seconds);
    let four = Four::start();
    four.finalize(2);
    let from = finalized_since(&four, 0);
    std::thread::park_timeout(time);
    let calm = finalized_since(&four, from);
    let before: Vec<u64> = four
        .nodes
        .values()
        .map(|n| memory_kb(n, "VmRSS:"))
        .collect();
    let from = finalized_since(&four, 0);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let report = runtime.expect("a runtime").block_on(async {
        let mut targets = Vec::new();
        for node in four.nodes.values() {
            targets.push(target(node).await);
        }
        attack(targets, time).await
    });
    let attacked = finalized_since(&four, from);
    for (name, done) in report {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (names, streams) = (count(&done.names), count(&done.streams));
        let bytes = count(&done.bytes);
        println!("{name:20} {names:>5} names {streams:>6} streams {bytes:>11} bytes");
        assert!(names > 0 && streams > 0 && bytes > 0, "{name} did nothing");
    }
    println!("{calm} blocks finalized in calm, {attacked} under attack");
    assert!(
        attacked as f64 * SLOWER_MAX >= calm as f64,
        "{calm} blocks finalized in calm, {attacked} under attack"
    );
    for ((name, node), before) in four.nodes.iter().zip(before) {
        let grown = memory_kb(node, "VmHWM:").saturating_sub(before);
        let bans = node.metric("jar_peers_banned_total", "");
        let rejected = node.metric("jar_gossip_messages_total", "reject");
        let refused = node.metric("jar_connections_refused_total", "");
        println!(
            "{name:6} {grown} kB of {before}, {bans} bans, {rejected} rejected, {refused} refused"
        );
        assert!(grown < GROWTH_KB_MAX, "{name} grew by {grown} kB");
        assert!(bans > 0 && rejected > 0 && refused > 0, "{name}");
    }
    four.finalize(2);
}
