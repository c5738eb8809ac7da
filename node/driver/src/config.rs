//! What the driver is told at its start, and its limits.

use jar_cap::Hash;

use crate::messages::BlockRef;
use crate::schedule::Schedule;

/// What the driver is told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// When time slots are, and whether this node builds in them.
    pub schedule: Schedule,
    /// Hash of the chain's genesis header.
    pub genesis: Hash,
    /// Where an empty node starts.
    pub sync: SyncMode,
    /// Height of the lowest block above genesis that this node can serve.
    pub first_height: u64,
    /// The kernel's head.
    pub head: BlockRef,
    /// The kernel's last finalized block.
    pub finalized: BlockRef,
    /// Peers to hear from before the first block is built; after [`Limits::patience_ms`] the
    /// node builds without them.
    pub peers_min: usize,
    /// Limits on what peers may use up.
    pub limits: Limits,
}

/// Where an empty node starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncMode {
    /// At genesis: every block is run.
    #[default]
    Full,
    /// At a finalized block, whose state is fetched.
    State {
        /// The only block to start from; `None` takes what [`Limits::pivot_peers`] peers agree
        /// on, which is as much as they are trusted.
        trusted: Option<Hash>,
    },
}

/// Limits on what peers may use up: memory, requests, time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connected peers.
    pub peers: usize,
    /// Banned identities that are remembered.
    pub bans: usize,
    /// How long a ban lasts.
    pub ban_ms: u64,
    /// After how long half of a peer's bad score is forgiven.
    pub forgive_ms: u64,
    /// How often a peer's status is asked for.
    pub status_ms: u64,
    /// How long a request may take.
    pub request_ms: u64,
    /// Requests in flight, to all peers.
    pub requests: usize,
    /// Requests in flight to one peer.
    pub requests_per_peer: usize,
    /// Blocks given to the kernel and not yet imported.
    pub imports: usize,
    /// Gossip blocks waiting for the kernel, of all peers.
    pub gossip_blocks: usize,
    /// Bytes of events waiting for the kernel, of all peers.
    pub event_bytes: usize,
    /// Bytes of events waiting for the kernel, of one peer.
    pub event_bytes_per_peer: usize,
    /// Blocks whose parent is not known, and blocks of future slots.
    pub orphans: usize,
    /// Such blocks of one peer.
    pub orphans_per_peer: usize,
    /// Bytes of such blocks.
    pub orphan_bytes: usize,
    /// Slots ahead of the clock that a block may be of, to wait for its slot.
    pub future_slots: u64,
    /// Blocks of one time slot that gossip may bring.
    pub blocks_per_slot: usize,
    /// Bytes of blocks downloaded and not yet imported.
    pub download_bytes: usize,
    /// How many ranges of blocks are downloaded ahead of the next to import.
    pub ranges_ahead: usize,
    /// Blocks a node may be behind a peer and still builds.
    pub behind: u64,
    /// How long a claim of a better chain that brings no block is waited for.
    pub patience_ms: u64,
    /// Block hashes remembered as known, and as invalid.
    pub remembered: usize,
    /// Cost of requests a peer may have served at once: a status costs 1, a block or a pivot
    /// 8, a record 1.
    pub serve_burst: u64,
    /// Cost of requests a peer may have served in a second.
    pub serve_per_s: u64,
    /// Peers that must name the same finalized block before a node starts from it.
    pub pivot_peers: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            peers: 64,
            bans: 1024,
            ban_ms: 10 * 60_000,
            forgive_ms: 60_000,
            status_ms: 5_000,
            request_ms: 8_000,
            requests: 16,
            requests_per_peer: 2,
            imports: 32,
            gossip_blocks: 32,
            event_bytes: 32 << 20,
            event_bytes_per_peer: 8 << 20,
            orphans: 64,
            orphans_per_peer: 16,
            orphan_bytes: 32 << 20,
            future_slots: 4,
            blocks_per_slot: 3,
            download_bytes: 64 << 20,
            ranges_ahead: 16,
            behind: 2,
            patience_ms: 10_000,
            remembered: 4096,
            serve_burst: 65_536,
            serve_per_s: 65_536,
            pivot_peers: 2,
        }
    }
}
