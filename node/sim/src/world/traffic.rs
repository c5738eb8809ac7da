//! What travels: gossip, requests and answers.

use std::sync::Arc;

use jar_driver::{
    Gossip, InboundId, Input, MessageId, Offence, Request, RequestFailure, Response, Verdict, serve,
};
use jar_kernel::block::Event;
use parity_scale_codec::Encode;

use super::{Happening, World};
use crate::checks::Violation;
use crate::network::{Packet, Topic, peer_id};
use crate::scenario::Byzantine;

impl World {
    pub(super) fn broadcast(&mut self, id: usize, topic: Topic, bytes: Arc<[u8]>) {
        self.nodes[id].seen.insert(Packet::gossip_id(topic, &bytes));
        self.forward(id, id, topic, &bytes);
    }

    pub(super) fn forward(&mut self, id: usize, except: usize, topic: Topic, bytes: &Arc<[u8]>) {
        for to in (0..self.nodes.len()).filter(|to| *to != id && *to != except) {
            self.send(id, to, Packet::Gossip(topic, bytes.clone()));
        }
    }

    pub(super) fn send(&mut self, from: usize, to: usize, packet: Packet) {
        if to >= self.nodes.len() || !self.network.is_connected(from, to) {
            return;
        }
        self.report.counts.messages += 1;
        let number = self.report.counts.messages;
        for delay_ms in self.network.arrivals(from, to, &mut self.report.counts) {
            let packet = packet.clone();
            let deliver = Happening::Deliver {
                from,
                to,
                number,
                packet,
            };
            self.at(self.now_ms + delay_ms, deliver);
        }
    }

    pub(super) fn deliver(&mut self, from: usize, to: usize, packet: Packet) {
        let is_through = self.network.is_connected(from, to) && self.network.is_open(from, to);
        if !is_through || self.nodes[to].process.is_none() {
            self.report.counts.cut += u64::from(!is_through);
            return;
        }
        let peer = peer_id(from);
        match packet {
            Packet::Gossip(topic, bytes) => self.deliver_gossip(from, to, topic, bytes),
            Packet::Request(request, life, bytes) => {
                if self.nodes[to].byzantine == Some(Byzantine::Withholding) {
                    self.report.counts.unanswered += 1;
                    return;
                }
                let Ok(question) = Request::from_bytes(&bytes) else {
                    let offence = Offence::Malformed;
                    return self.tell(to, Input::Offence { peer, offence });
                };
                let inbound = InboundId(self.number(to));
                self.nodes[to]
                    .inbound
                    .insert(inbound, (from, request, life));
                let request = question;
                self.tell(
                    to,
                    Input::Asked {
                        peer,
                        inbound,
                        request,
                    },
                );
            }
            Packet::Response(id, life, bytes) if life == self.nodes[to].life => {
                let input = match Response::from_bytes(&bytes) {
                    Ok(response) => Input::Response { id, response },
                    Err(_) => Input::RequestFailed {
                        id,
                        failure: RequestFailure::Malformed,
                    },
                };
                self.tell(to, input);
            }
            Packet::Response(..) => {}
        }
    }

    pub(super) fn deliver_gossip(
        &mut self,
        from: usize,
        to: usize,
        topic: Topic,
        bytes: Arc<[u8]>,
    ) {
        if !self.nodes[to].seen.insert(Packet::gossip_id(topic, &bytes)) {
            return;
        }
        let peer = peer_id(from);
        let content = match topic {
            Topic::Block => jar_kernel::decode_block(&bytes)
                .ok()
                .map(|block| Gossip::Block(Arc::new(block))),
            Topic::Events(endpoint) => jar_cap::decode_canonical::<Vec<Event>>(&bytes)
                .ok()
                .map(|events| Gossip::Events { endpoint, events }),
        };
        let Some(content) = content else {
            let offence = Offence::Malformed;
            return self.tell(to, Input::Offence { peer, offence });
        };
        let message = MessageId(self.number(to));
        self.nodes[to]
            .messages
            .insert(message, (from, topic, bytes));
        self.tell(
            to,
            Input::Gossip {
                peer,
                message,
                content,
            },
        );
    }

    pub(super) fn number(&mut self, node: usize) -> u64 {
        self.nodes[node].last_number += 1;
        self.nodes[node].last_number
    }

    pub(super) fn verdict(&mut self, id: usize, message: MessageId, verdict: Verdict) {
        let Some((from, topic, bytes)) = self.nodes[id].messages.remove(&message) else {
            return;
        };
        match verdict {
            Verdict::Accept => self.forward(id, from, topic, &bytes),
            Verdict::Reject => {
                self.report.counts.rejected += 1;
                self.note(format_args!("n{id} rejects {topic:?} of n{from}"));
            }
            Verdict::Ignore => {}
        }
    }

    pub(super) fn serve(&mut self, id: usize, inbound: InboundId, request: &Request) {
        let Some(process) = &self.nodes[id].process else {
            return;
        };
        let status = process.driver.status();
        match serve::answer(&*process.store, status, request) {
            Ok(response) => self.answer(id, inbound, &response),
            Err(error) => self.ended(id, error.into()),
        }
    }

    pub(super) fn answer(&mut self, id: usize, inbound: InboundId, response: &Response) {
        if let Some((to, request, life)) = self.nodes[id].inbound.remove(&inbound) {
            let mut bytes = response.encode();
            if self.nodes[id].byzantine == Some(Byzantine::Garbage) {
                self.spoil(&mut bytes);
            }
            self.send(id, to, Packet::Response(request, life, bytes.into()));
        }
    }

    pub(super) fn ban(&mut self, id: usize, peer: usize, for_ms: u64, offence: Offence) {
        self.note(format_args!("n{id} bans n{peer} for {offence:?}"));
        self.report.counts.bans += 1;
        let is_honest = |node: usize| self.nodes.get(node).is_some_and(|n| n.byzantine.is_none());
        if is_honest(id) && is_honest(peer) {
            let banned = Violation::Ban {
                node: id,
                peer,
                offence: format!("{offence:?}"),
            };
            self.check(Err(banned));
        }
        let until_ms = self.now_ms + for_ms;
        self.nodes[id].bans.insert(peer, until_ms);
        if self.network.disconnect(id, peer) {
            self.told_disconnected(peer, id);
        }
        self.at(until_ms, Happening::Connect { a: id, b: peer });
    }
}
