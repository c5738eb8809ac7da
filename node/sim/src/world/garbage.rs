//! What a garbage sender sends.

use jar_cap::hash::blake2b;
use jar_driver::{Request, RequestId};
use jar_kernel::block::{Attestation, Block, Body, Header, Scope, signed_message};
use jar_kernel::memory::MemoryChainStore;
use jar_kernel::signer::Signer;
use jar_kernel::{SignRequest, Store};
use parity_scale_codec::Encode;

use super::World;
use crate::network::{Packet, Topic};

/// Request numbers that no driver uses.
const GARBAGE_REQUEST: RequestId = RequestId(u64::MAX);

impl World {
    /// Damages bytes, now and then.
    pub(super) fn spoil(&mut self, bytes: &mut Vec<u8>) {
        let at = self.dice.below(bytes.len() as u64) as usize;
        match self.dice.below(4) {
            0 => bytes.truncate(at),
            1 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << self.dice.below(8);
                }
            }
            _ => {}
        }
    }

    /// Sends one piece of garbage to one peer.
    pub(super) fn send_garbage(&mut self, id: usize) {
        let to = self.dice.below(self.nodes.len() as u64) as usize;
        let len = self.dice.below(300) as usize;
        let noise = self.dice.bytes(len).into();
        let life = self.nodes[id].life;
        let packet = match self.dice.below(9) {
            0 => Packet::Gossip(Topic::Block, noise),
            1 => Packet::Gossip(Topic::Events(self.dice.below(12) as u8), noise),
            2 => Packet::Request(GARBAGE_REQUEST, life, noise),
            3 => Packet::Response(RequestId(self.dice.below(1000)), life, noise),
            4 => match self.damaged_block(id) {
                Some(bytes) => Packet::Gossip(Topic::Block, bytes.into()),
                None => return,
            },
            5 => match self.invalid_block(id) {
                Some(block) => Packet::Gossip(Topic::Block, block.encode().into()),
                None => return,
            },
            6 => match self.boast(id) {
                Some(request) => Packet::Request(GARBAGE_REQUEST, life, request.encode().into()),
                None => return,
            },
            7 => return self.flood(id, to),
            _ => return,
        };
        if to != id {
            self.report.counts.garbage += 1;
            self.send(id, to, packet);
        }
    }

    /// A block of its store with one bit flipped.
    fn damaged_block(&mut self, id: usize) -> Option<Vec<u8>> {
        let process = self.nodes[id].process.as_ref()?;
        let block = process.store.block(&process.kernel.head().hash).ok()??;
        let mut bytes = block.encode();
        let at = self.dice.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << self.dice.below(8);
        Some(bytes)
    }

    /// A block with a good seal and a wrong state, or with a parent that does not exist.
    fn invalid_block(&mut self, id: usize) -> Option<Block> {
        let node = &self.nodes[id];
        let process = node.process.as_ref()?;
        let signer = Signer::new(node.setup.seeds.iter().copied(), &MemoryChainStore::new());
        let signer = signer.ok()?;
        let key = *signer.keys().next()?;
        let genesis = process.kernel.chain().genesis_hash();
        let head = process.kernel.head().header.clone();
        // The validators have their turns in order, and this is the first.
        let slot = head.slot.next_multiple_of(self.scenario.validators as u64);
        let slot = slot.max(head.slot + 1);
        let mut parent = process.kernel.head().hash;
        if self.dice.per_mille(300) {
            parent[0] ^= 1;
        }
        let seal = Attestation {
            key,
            scope: Scope::Seal,
            blob_hash: [0; 32],
            signature: [0; 64],
        };
        let mut body = Body {
            attestations: vec![seal],
            ..Body::default()
        };
        let mut state_root = [0; 32];
        state_root.copy_from_slice(&self.dice.bytes(32));
        let header = Header {
            genesis,
            parent,
            height: head.height + 1,
            slot,
            body_root: body.root(),
            state_root,
            outcome_root: [0; 32],
        };
        let scope = Scope::Seal;
        let message = signed_message(&genesis, &scope, &key, &blake2b(&[&header.hash()]));
        let (signature, _) = signer
            .sign(&SignRequest { key, scope, slot }, &message)
            .ok()?;
        body.attestations[0].signature = signature;
        Some(Block { header, body })
    }

    /// A claim of a chain that does not exist.
    fn boast(&mut self, id: usize) -> Option<Request> {
        let mut status = self.nodes[id].process.as_ref()?.driver.status();
        status.head.hash[0] ^= 1;
        status.head.height += self.dice.below(1000);
        status.head.score = self.dice.bits();
        Some(Request::Status(status))
    }

    /// Many requests at once.
    fn flood(&mut self, id: usize, to: usize) {
        let life = self.nodes[id].life;
        self.report.counts.garbage += 1;
        for _ in 0..200 {
            let request = Request::Blocks {
                from: 1,
                count: 128,
            };
            let bytes = request.encode().into();
            self.send(id, to, Packet::Request(GARBAGE_REQUEST, life, bytes));
        }
    }
}
