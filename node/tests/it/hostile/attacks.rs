//! What hostile peers say.

use std::net::SocketAddr;
use std::time::Duration;

use jar_cap::hash::Tag;
use jar_cap::{Hash, RecordId};
use jar_driver::messages::{RECORDS_MAX, RecordIds};
use jar_driver::{BlockRef, Request, Status};
use jar_kernel::block::{Attestation, Block, Event, Scope};
use parity_scale_codec::Encode;

use super::wire::prefixed;

const GOSSIP: &str = "/meshsub/1.1.0";
const BLOCKS: &str = "/jar/jar-dev/blocks";
pub const SYNC: &str = "/jar/jar-dev/sync";

/// A node that is attacked, and what an attacker can know of it.
#[derive(Clone)]
pub struct Target {
    pub node: SocketAddr,
    pub genesis: Hash,
    /// Its head and some ancestors, as it serves them.
    pub newest: Vec<Block>,
    /// Indices of its Dispatch endpoints.
    pub endpoints: Vec<u8>,
}

/// What an attacker does with what the node says on a stream.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    All,
    /// A few bytes now and then, so that the node can't get rid of its answer.
    Slowly,
}

/// Bytes said on a stream of a protocol, and the pause after each part of them.
#[derive(Clone)]
pub struct Script {
    /// `None`: on a stream whose protocol was not agreed on.
    pub protocol: Option<String>,
    pub parts: Vec<Vec<u8>>,
    pub pause: Duration,
    pub reads: Reads,
}

impl Script {
    fn new(protocol: &str, parts: Vec<Vec<u8>>) -> Script {
        Script {
            protocol: Some(protocol.to_owned()),
            parts,
            pause: Duration::ZERO,
            reads: Reads::All,
        }
    }

    fn slow(mut self, pause_ms: u64) -> Script {
        self.pause = Duration::from_millis(pause_ms);
        self
    }

    fn read_slowly(mut self) -> Script {
        self.reads = Reads::Slowly;
        self
    }
}

/// Numbers that look random and are the same each time.
pub struct Dice(pub u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        self.0 >> 33
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }

    fn hash(&mut self) -> Hash {
        self.bytes(32).try_into().expect("32 bytes")
    }
}

/// A field of a protobuf message: a length and bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2][..], &prefixed(bytes.len()), bytes].concat()
}

/// A gossip transmission of one part: 1 a subscription, 2 a message, 3 control.
fn transmission(number: u8, part: &[u8]) -> Vec<u8> {
    let rpc = field(number, part);
    [prefixed(rpc.len()), rpc].concat()
}

/// A gossip transmission of one message.
fn published(topic: &str, data: &[u8]) -> Vec<u8> {
    transmission(2, &[field(2, data), field(4, topic.as_bytes())].concat())
}

/// A request of the sync protocol, of the length it says or another one.
fn framed(length: u32, bytes: &[u8]) -> Vec<u8> {
    [&length.to_le_bytes()[..], bytes].concat()
}

pub fn asked(request: &Request) -> Vec<u8> {
    let bytes = request.encode();
    framed(bytes.len() as u32, &bytes)
}

fn many_blocks() -> Request {
    Request::Blocks {
        from: 1,
        count: 128,
    }
}

/// Lengths that lie, bytes that are no request, requests that never end.
pub fn sync_garbage(target: &Target, dice: &mut Dice) -> Vec<Script> {
    let garbage = dice.bytes(16 << 10);
    let mut parts = vec![
        vec![framed(300, &garbage[..300])],
        vec![framed(u32::MAX, &garbage)],
        vec![framed(16 << 10, &garbage)],
        vec![framed(100, &garbage[..10])],
        vec![vec![]],
    ];
    for kind in 0..8 {
        parts.push(vec![framed(
            64,
            &[&[kind], &target.genesis[..], &garbage[..31]].concat(),
        )]);
    }
    let endless = asked(&many_blocks())
        .chunks(1)
        .map(<[u8]>::to_vec)
        .collect();
    let mut scripts: Vec<Script> = parts
        .into_iter()
        .map(|parts| Script::new(SYNC, parts))
        .collect();
    scripts.push(Script::new(SYNC, endless).slow(400));
    scripts
}

/// The dearest questions, again and again, and answers that are not read.
pub fn sync_flood(_: &Target, dice: &mut Dice) -> Vec<Script> {
    let mut scripts = Vec::new();
    for _ in 0..32 {
        let unknown = (0..RECORDS_MAX).map(|_| RecordId::new(Tag::PageLeaf, dice.hash()));
        let records = Request::Records(RecordIds(unknown.collect()));
        let ancestry = Request::Ancestry {
            hash: dice.hash(),
            count: 128,
        };
        scripts.push(Script::new(SYNC, vec![asked(&many_blocks())]).read_slowly());
        scripts.push(Script::new(SYNC, vec![asked(&records)]).read_slowly());
        scripts.push(Script::new(SYNC, vec![asked(&ancestry)]));
    }
    scripts
}

/// A better chain that nobody has.
pub fn false_claims(target: &Target, dice: &mut Dice) -> Vec<Script> {
    let mut claim = |height| BlockRef {
        hash: dice.hash(),
        height,
        slot: height,
        score: u64::MAX,
    };
    let mut status = |height| {
        asked(&Request::Status(Status {
            genesis: target.genesis,
            head: claim(height),
            finalized: claim(height / 2),
            first_height: 1,
        }))
    };
    let heights = [1_000, 50, 1 << 40, 200];
    let parts = heights.map(|height| Script::new(SYNC, vec![status(height)]));
    parts.into()
}

/// More streams than there may be, on which little is said or nothing.
pub fn many_streams(target: &Target, dice: &mut Dice) -> Vec<Script> {
    let kad = kademlia(target);
    let protocols = [SYNC, GOSSIP, &kad, "/ipfs/ping/1.0.0"];
    let named = (0..200).map(|n| Script::new(protocols[n % 4], vec![dice.bytes(1)]).slow(1000));
    let mut scripts: Vec<Script> = named.collect();
    scripts.extend((0..100).map(|_| Script {
        protocol: None,
        ..Script::new("", vec![b"\x13".to_vec(), b"/multi".to_vec()]).slow(1000)
    }));
    scripts
}

/// Transmissions that are none, longer than allowed, and without end.
pub fn gossip_garbage(target: &Target, dice: &mut Dice) -> Vec<Script> {
    let noise = dice.bytes(1 << 16);
    let mut endless = vec![prefixed(1 << 20)];
    endless.extend(vec![vec![0x12]; 100]);
    let no_event = target.endpoints.iter().flat_map(|endpoint| {
        [
            published(&format!("/jar/jar-dev/dispatch/{endpoint}"), &noise[..100]),
            published(
                &format!("/jar/jar-dev/aggregate/{endpoint}"),
                &noise[..5000],
            ),
        ]
    });
    vec![
        Script::new(GOSSIP, vec![noise.clone(); 16]),
        Script::new(GOSSIP, vec![prefixed(usize::MAX >> 1), noise.clone()]),
        Script::new(GOSSIP, vec![published(BLOCKS, &vec![0; 6 << 20])]),
        Script::new(GOSSIP, endless).slow(50),
        Script::new(GOSSIP, no_event.collect()),
    ]
}

/// Good blocks, again and again when everybody has them.
pub fn gossip_stale(target: &Target, dice: &mut Dice) -> Vec<Script> {
    let old = target.newest.iter().map(Block::encode);
    let old: Vec<Vec<u8>> = old.map(|block| published(BLOCKS, &block)).collect();
    let event = Event {
        payload: dice.bytes(200),
        ..Event::default()
    };
    let aggregate = published(
        "/jar/jar-dev/aggregate/0",
        &vec![event.clone(); 300].encode(),
    );
    vec![
        Script::new(GOSSIP, vec![old.concat(); 100]),
        Script::new(GOSSIP, vec![aggregate; 20]),
    ]
}

/// Blocks and events that are well formed and not good.
pub fn gossip_invalid(target: &Target, dice: &mut Dice) -> Vec<Script> {
    let last = target.newest.first().expect("a block");
    let hash = last.header.hash();
    let mut parts = Vec::new();
    for number in 0..40 {
        // Without a parent; on a parent that is known; a good one's copy that was tampered with.
        let mut orphan = last.clone();
        (orphan.header.parent, orphan.header.height) = (dice.hash(), 1 << 20);
        let mut child = last.clone();
        (child.header.parent, child.header.height) = (hash, last.header.height + 1);
        (child.header.slot, child.header.state_root) = (last.header.slot + 1 + number, dice.hash());
        let mut copy = last.clone();
        copy.body.results.push(dice.bytes(1000));
        for block in [orphan, child, copy] {
            parts.push(published(BLOCKS, &block.encode()));
        }
        for endpoint in &target.endpoints {
            let event = Event {
                payload: dice.bytes(100),
                attestations: vec![Attestation {
                    key: dice.hash(),
                    scope: Scope::Direct,
                    blob_hash: dice.hash(),
                    signature: dice.bytes(64).try_into().expect("64 bytes"),
                }],
                results: Vec::new(),
            };
            let topic = format!("/jar/jar-dev/dispatch/{endpoint}");
            parts.push(published(&topic, &event.encode()));
        }
    }
    vec![Script::new(GOSSIP, parts)]
}

/// Announcements of messages that nobody has, questions for such, joining and leaving.
pub fn gossip_control(_: &Target, dice: &mut Dice) -> Vec<Script> {
    let topic = field(1, BLOCKS.as_bytes());
    let mut parts = Vec::new();
    for _ in 0..20 {
        let ids: Vec<u8> = (0..3000).flat_map(|_| field(2, &dice.bytes(20))).collect();
        let asked: Vec<u8> = (0..3000).flat_map(|_| field(1, &dice.bytes(20))).collect();
        let has = field(1, &[topic.clone(), ids].concat());
        let wants = field(2, &asked);
        let (graft, prune) = (field(3, &topic), field(4, &topic));
        for control in [has, wants, graft, prune] {
            parts.push(transmission(3, &control));
        }
        let name = format!("/of/nobody/{}", dice.next());
        let subscription = [&[1 << 3, 1][..], &field(2, name.as_bytes())].concat();
        parts.push(transmission(1, &subscription).repeat(100));
    }
    vec![Script::new(GOSSIP, parts).slow(20)]
}

fn kademlia(target: &Target) -> String {
    let genesis: String = target.genesis.iter().map(|b| format!("{b:02x}")).collect();
    format!("/jar/jar-dev/{genesis}/kad")
}

/// The protocols that are libp2p's own.
pub fn others(target: &Target, dice: &mut Dice) -> Vec<Script> {
    let chunk = dice.bytes(1 << 14);
    let names = [
        kademlia(target),
        "/ipfs/id/1.0.0".into(),
        "/ipfs/id/push/1.0.0".into(),
        "/ipfs/ping/1.0.0".into(),
    ];
    let mut scripts = Vec::new();
    for name in names {
        let whole = [prefixed(chunk.len()), chunk.clone()].concat();
        let overlong = vec![vec![0xff; 9], chunk.clone()];
        scripts.push(Script::new(&name, vec![whole; 4]));
        scripts.push(Script::new(&name, overlong).slow(20));
        scripts.push(
            Script::new(&name, vec![vec![7]; 20])
                .slow(200)
                .read_slowly(),
        );
    }
    scripts
}
