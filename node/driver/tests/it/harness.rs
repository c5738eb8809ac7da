//! A driver, blocks that it cannot tell from a chain's, and peers.

use std::sync::Arc;

use jar_driver::{
    BlockRef, Config, Driver, Effect, Gossip, ImportOutcome, Input, Limits, MessageId, PeerId,
    Request, RequestId, Response, Schedule, Status, SyncMode, Ticket,
};
use jar_kernel::Verdict;
use jar_kernel::block::{Block, Body, Header};

pub const GENESIS: [u8; 32] = [7; 32];
pub const SLOT_MS: u64 = 1000;
/// A moment long after the slots of the blocks here.
pub const LATER: u64 = 10_000_000;

pub fn config() -> Config {
    Config {
        schedule: Schedule {
            genesis_time_ms: 0,
            slot_ms: SLOT_MS,
            builds: false,
        },
        genesis: GENESIS,
        sync: SyncMode::Full,
        first_height: 1,
        head: BlockRef {
            hash: GENESIS,
            ..BlockRef::default()
        },
        finalized: BlockRef {
            hash: GENESIS,
            ..BlockRef::default()
        },
        peers_min: 0,
        limits: Limits::default(),
    }
}

pub fn peer(number: u8) -> PeerId {
    PeerId([number; 32])
}

/// A block above another, of the slot of its height.
pub fn child(parent: &BlockRef, salt: u8) -> Arc<Block> {
    let height = parent.height + 1;
    let body = Body {
        results: vec![vec![salt]],
        ..Body::default()
    };
    let header = Header {
        genesis: GENESIS,
        parent: parent.hash,
        height,
        slot: height,
        body_root: body.root(),
        state_root: [0; 32],
        outcome_root: [0; 32],
    };
    Arc::new(Block { header, body })
}

/// How peers name a block whose score is its height.
pub fn named(block: &Block) -> BlockRef {
    BlockRef {
        hash: block.header.hash(),
        height: block.header.height,
        slot: block.header.slot,
        score: block.header.height,
    }
}

/// Blocks of heights 1 to `len` above genesis.
pub fn chain(len: u64, salt: u8) -> Vec<Arc<Block>> {
    let mut tip = config().head;
    let blocks = (0..len).map(|_| {
        let block = child(&tip, salt);
        tip = named(&block);
        block
    });
    blocks.collect()
}

/// What a peer whose chain ends in a block says of itself.
pub fn status(tip: &Block) -> Status {
    Status {
        genesis: GENESIS,
        head: named(tip),
        finalized: config().finalized,
        first_height: 1,
    }
}

/// A driver and everything it has asked for.
pub struct Rig {
    pub driver: Driver,
    pub now_ms: u64,
    last_message: u64,
}

impl Rig {
    pub fn new(config: Config) -> Rig {
        Rig {
            driver: Driver::new(config),
            now_ms: LATER,
            last_message: 0,
        }
    }

    pub fn give(&mut self, input: Input) -> Vec<Effect> {
        self.driver.handle(input, self.now_ms)
    }

    /// Connects a peer and answers its status request.
    pub fn meet(&mut self, number: u8, says: Status) -> Vec<Effect> {
        let effects = self.give(Input::Connected(peer(number)));
        let (id, ..) = requests(&effects)
            .into_iter()
            .find(|(_, _, request)| matches!(request, Request::Status(_)))
            .expect("a new peer is asked for its status");
        self.answer(id, Response::Status(says))
    }

    pub fn answer(&mut self, id: RequestId, response: Response) -> Vec<Effect> {
        self.give(Input::Response { id, response })
    }

    pub fn gossip(&mut self, number: u8, block: &Arc<Block>) -> (MessageId, Vec<Effect>) {
        self.last_message += 1;
        let message = MessageId(self.last_message);
        let effects = self.give(Input::Gossip {
            peer: peer(number),
            message,
            content: Gossip::Block(block.clone()),
        });
        (message, effects)
    }

    pub fn imported(&mut self, ticket: Ticket, outcome: ImportOutcome) -> Vec<Effect> {
        self.give(Input::Imported { ticket, outcome })
    }

    /// Plays the kernel: imports what is asked for as new, and makes each the head.
    pub fn import_all(&mut self, effects: Vec<Effect>) -> (Vec<u64>, Vec<Effect>) {
        let (mut heights, mut rest) = (Vec::new(), Vec::new());
        let mut queue: std::collections::VecDeque<Effect> = effects.into();
        while let Some(effect) = queue.pop_front() {
            match effect {
                Effect::Import { ticket, block } => {
                    heights.push(block.header.height);
                    queue.extend(self.give(Input::Head(named(&block))));
                    queue.extend(self.imported(ticket, ImportOutcome::New));
                }
                other => rest.push(other),
            }
        }
        (heights, rest)
    }
}

pub fn requests(effects: &[Effect]) -> Vec<(RequestId, PeerId, Request)> {
    let requests = effects.iter().filter_map(|effect| match effect {
        Effect::Request {
            id, peer, request, ..
        } => Some((*id, *peer, request.clone())),
        _ => None,
    });
    requests.collect()
}

pub fn imports(effects: &[Effect]) -> Vec<(Ticket, u64)> {
    let imports = effects.iter().filter_map(|effect| match effect {
        Effect::Import { ticket, block } => Some((*ticket, block.header.height)),
        _ => None,
    });
    imports.collect()
}

pub fn verdicts(effects: &[Effect]) -> Vec<(MessageId, Verdict)> {
    let verdicts = effects.iter().filter_map(|effect| match effect {
        Effect::Verdict {
            message, verdict, ..
        } => Some((*message, *verdict)),
        _ => None,
    });
    verdicts.collect()
}

pub fn banned(effects: &[Effect]) -> Vec<PeerId> {
    let bans = effects.iter().filter_map(|effect| match effect {
        Effect::Ban { peer, .. } => Some(*peer),
        _ => None,
    });
    bans.collect()
}
