//! Nodes start, are killed, connect and part.

use std::sync::Arc;

use jar_cap::Hash;
use jar_driver::Input;
use jar_kernel::Store;

use super::{ANNOUNCE_PER_SLOT, Happening, World};
use crate::checks::Violation;
use crate::network::peer_id;
use crate::process::{End, Process, Start};
use crate::store::CrashAt;
use crate::token::GENESIS_TIME_MS;

impl World {
    pub(super) fn start(&mut self, id: usize) {
        if self.nodes[id].process.is_some() {
            return;
        }
        let disk = self.nodes[id].disk.reopened();
        let since_ms = self.local_ms(id).saturating_sub(GENESIS_TIME_MS);
        let start = Start {
            first_slot: since_ms / self.scenario.slot_ms + 1,
            is_restored: self.nodes[id].is_away,
        };
        let node = &mut self.nodes[id];
        node.life += 1;
        let life = node.life;
        let is_late = self.now_ms > GENESIS_TIME_MS;
        self.report.counts.restarts += u64::from(life > 1);
        self.report.counts.joined += u64::from(life == 1 && is_late);
        match Process::start(&self.chain, &node.setup, disk, start) {
            Ok(process) => {
                let (head, finalized) = (process.kernel.head(), process.kernel.finalized());
                let (height, found) = (head.header.height, finalized.header.height);
                let store = process.store.clone();
                let is_held = |hash: &Hash| matches!(store.header(hash), Ok(Some(_)));
                let is_whole = node.built.iter().all(is_held);
                node.disk = process.store.clone();
                node.process = Some(process);
                let expected = node.finalized;
                self.note(format_args!("n{id} starts at {height}, final {found}"));
                if found < expected || !is_whole {
                    let lost = Violation::Lost {
                        node: id,
                        expected,
                        found,
                    };
                    self.check(Err(lost));
                }
            }
            Err(end) => return self.ended(id, end),
        }
        self.check_start(id);
        for other in 0..self.nodes.len() {
            let delay_ms = self.dice.below(500);
            if other != id {
                self.at(
                    self.now_ms + delay_ms,
                    Happening::Connect { a: id, b: other },
                );
            }
        }
        let offset_ms = self.dice.below(self.announce_ms());
        self.at(
            self.now_ms + offset_ms,
            Happening::Announce { node: id, life },
        );
        self.tell(id, Input::Tick);
    }

    pub(super) fn announce_ms(&self) -> u64 {
        self.scenario.slot_ms / ANNOUNCE_PER_SLOT
    }

    pub(super) fn kill_planned(&mut self, node: usize, in_commit: bool) {
        let crash = match self.dice.below(2) {
            0 => CrashAt::BeforeCommit,
            _ => CrashAt::AfterCommit,
        };
        match &self.nodes[node].process {
            Some(process) if in_commit => process.store.crash_next(crash),
            Some(_) => {
                self.report.counts.kills += 1;
                self.kill(node);
            }
            None => {}
        }
    }

    pub(super) fn kill(&mut self, id: usize) {
        let node = &mut self.nodes[id];
        let Some(process) = node.process.take() else {
            return;
        };
        node.finalized = process.kernel.finalized().header.height;
        node.life += 1;
        node.seen.clear();
        node.messages.clear();
        node.inbound.clear();
        node.bans.clear();
        node.wake_ms = u64::MAX;
        self.note(format_args!("n{id} is killed"));
        for other in 0..self.nodes.len() {
            if self.network.disconnect(id, other) {
                self.told_disconnected(other, id);
            }
        }
    }

    /// Takes a copy of a node's disk, as a backup does.
    pub(super) fn back_up(&mut self, number: usize) {
        let Some(restore) = self.scenario.restores.get(number) else {
            return;
        };
        let node = &mut self.nodes[restore.node];
        node.backup = Some(Arc::new(node.disk.copied()));
    }

    /// Puts a node's backup in the place of its disk, and starts it.
    pub(super) fn restore(&mut self, number: usize) {
        let Some(restore) = self.scenario.restores.get(number).copied() else {
            return;
        };
        self.kill(restore.node);
        let node = &mut self.nodes[restore.node];
        let Some(backup) = node.backup.take() else {
            return;
        };
        node.disk = backup;
        node.finalized = 0;
        node.built.clear();
        node.is_away = restore.is_told;
        node.is_excused |= !restore.is_told;
        self.report.counts.restored += 1;
        self.note(format_args!("n{} is put back", restore.node));
        self.start(restore.node);
    }

    pub(super) fn ended(&mut self, node: usize, end: End) {
        match end {
            End::Killed => {
                self.report.counts.kills_in_commit += 1;
                self.kill(node);
            }
            // What byzantine nodes do to themselves is theirs.
            End::Trouble(reason) if self.nodes[node].byzantine.is_some() => {
                self.note(format_args!("n{node} stops: {reason}"));
                self.kill(node);
            }
            End::Trouble(reason) => self.check(Err(Violation::Trouble { node, reason })),
        }
    }

    pub(super) fn split(&mut self, number: usize, begins: bool) {
        let Some(partition) = self.scenario.partitions.get(number).copied() else {
            return;
        };
        self.note(format_args!(
            "partition {number} {:b} {begins}",
            partition.side
        ));
        if begins {
            self.report.counts.partitions += 1;
            self.network.begin_partition(number, partition.side);
        } else {
            self.network.end_partition(number);
        }
        if partition.disconnects {
            self.reconnect();
        }
    }

    /// Breaks connections that nothing comes through, and makes those that are missing.
    pub(super) fn reconnect(&mut self) {
        for a in 0..self.nodes.len() {
            for b in a + 1..self.nodes.len() {
                if self.network.is_open(a, b) {
                    let delay_ms = self.dice.below(500);
                    self.at(self.now_ms + delay_ms, Happening::Connect { a, b });
                } else if self.network.disconnect(a, b) {
                    self.told_disconnected(a, b);
                    self.told_disconnected(b, a);
                }
            }
        }
    }

    pub(super) fn told_disconnected(&mut self, node: usize, peer: usize) {
        let delay_ms = self.dice.below(100);
        let input = Input::Disconnected(peer_id(peer));
        self.tell_later(node, delay_ms, input);
    }

    pub(super) fn tell_later(&mut self, node: usize, delay_ms: u64, input: Input) {
        let (life, input) = (self.nodes[node].life, Box::new(input));
        self.at(
            self.now_ms + delay_ms,
            Happening::Tell { node, life, input },
        );
    }

    pub(super) fn connect(&mut self, a: usize, b: usize) {
        let runs = |node: usize| self.nodes[node].process.is_some();
        let banned_ms = |node: usize, peer: usize| {
            let until_ms = self.nodes[node].bans.get(&peer).copied();
            until_ms.unwrap_or(0)
        };
        let until_ms = banned_ms(a, b).max(banned_ms(b, a));
        if until_ms > self.now_ms {
            return self.at(until_ms, Happening::Connect { a, b });
        }
        if !runs(a) || !runs(b) || !self.network.is_open(a, b) || !self.network.connect(a, b) {
            return;
        }
        self.tell(a, Input::Connected(peer_id(b)));
        self.tell(b, Input::Connected(peer_id(a)));
    }

    pub(super) fn heal(&mut self) {
        self.note(format_args!("all is healed"));
        self.network.heal();
        for node in 0..self.nodes.len() {
            self.start(node);
        }
        self.reconnect();
    }
}
