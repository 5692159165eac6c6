//! Rare states that a world notices by looking at itself. They change nothing; a run says how often it was there.

use coco_consensus::{Said, What};
use coco_ledger::EntryView;
use coco_replica::Effects;
use coco_types::{Digest, Role, Seqno};

use super::{World, snapshots::evidence_in};
use crate::{
    machine::{index, tx_id},
    periods,
};

impl World {
    /// A node is about to start from its disk.
    pub(super) fn notice_start(&mut self, node: usize) {
        let disk = &self.machines[node].disk;
        let Some(last) = disk.entries.last().map(|last| tx_id(last)) else { return };
        if last.view > disk.hard_state.view {
            self.marks.reach("a disk had entries of a view that its hard state did not know");
        }
    }

    /// A node has lost its power, and some of its writes with it.
    pub(super) fn notice_crash(&mut self, node: usize, lost: usize) {
        let up = self.machines.iter().filter(|machine| machine.replica.is_some()).count();
        if up == 0 {
            self.marks.reach("all nodes were down at once");
        } else if up <= self.machines.len() / 2 {
            self.marks.reach("less than a quorum was up");
        }
        let last = self.machines[node].disk.entries.last();
        let last = last.and_then(|last| EntryView::parse(last).ok()).filter(|_| lost > 0);
        let Some(last) = last else { return };
        if last.is_signature() {
            self.marks.reach("a signature entry was the last to survive a crash");
        } else if *last.claims() != Digest::ZERO {
            self.marks.reach("a batch survived a crash without its signature");
        } else {
            self.marks.reach("the opening of a view survived a crash without its signature");
        }
    }

    /// A node has taken a step; these effects are not carried out yet.
    pub(super) fn notice_step(&mut self, node: usize, effects: &Effects) {
        self.notice_evidence(node, effects);
        if let Some(to) = effects.rolled_back {
            self.notice_rollback(node, to);
        }
        if effects.role_changed {
            self.notice_role();
        }
        self.notice_commit(node, effects);
        if !effects.persist.is_empty() {
            self.notice_leases(node);
        }
        let executes = |(entry, _): &(bytes::Bytes, bool)| {
            EntryView::parse(entry).is_ok_and(|entry| *entry.claims() != Digest::ZERO)
                && evidence_in(entry).is_none()
        };
        if effects.persist.iter().flat_map(|persist| &persist.entries).any(executes) {
            self.notice_batch(node);
        }
    }

    fn notice_rollback(&mut self, node: usize, to: Seqno) {
        let ledger = &self.machines[node].ledger;
        let Some(lost) = ledger.get(index(to)) else { return };
        let copies = self
            .machines
            .iter()
            .filter(|machine| machine.disk.entries.get(index(to)) == Some(lost))
            .count();
        self.marks.reach(match copies {
            0 => "what was rolled back had never reached a disk",
            copies if copies > self.machines.len() / 2 => {
                "what was rolled back had been on the disks of a quorum"
            }
            _ => "what was rolled back had been on some disks, on no quorum's",
        });
        let rekeys = |entry: &bytes::Bytes| {
            EntryView::parse(entry).is_ok_and(|entry| periods::named(&entry).is_some())
        };
        if ledger[index(to)..].iter().any(rekeys) {
            self.marks.reach("a new secret was rolled back with its entry");
        }
        if ledger.len() - index(to) >= LONG_ROLLBACK {
            self.marks.reach("a node rolled back a long way");
        }
    }

    fn notice_commit(&mut self, node: usize, effects: &Effects) {
        let machine = &self.machines[node];
        let Some(replica) = machine.replica.as_ref().filter(|_| effects.committed.is_some()) else {
            return;
        };
        let state = replica.state();
        let state = state.read();
        if state.role() == Role::Primary
            && machine.disk.entries.len() < index(state.committed().seqno)
        {
            self.marks.reach("an entry was committed before its primary's disk had it");
        }
        if state.committed().view < state.view() {
            self.marks
                .reach("a node learned in a view that an earlier one's entries are committed");
        }
    }

    /// A node's part has changed.
    fn notice_role(&mut self) {
        let primaries = self.machines.iter().filter_map(|machine| machine.replica.as_ref());
        let primaries = primaries.filter(|replica| replica.state().read().role() == Role::Primary);
        if primaries.count() > 1 {
            self.marks.reach("two nodes took themselves for the primary");
        }
    }

    /// A node has handed out a batch. If it takes itself for the primary, it has executed it.
    fn notice_batch(&mut self, node: usize) {
        let part = |at: usize| {
            let state = self.machines[at].replica.as_ref()?.state();
            let state = state.read();
            (state.role() == Role::Primary).then(|| state.view())
        };
        let Some(mine) = part(node) else { return };
        let newest = (0..self.machines.len()).filter_map(part).max();
        if newest > Some(mine) {
            self.marks.reach("a primary of an older view executed a batch");
        }
        if self.machines[node].wall_ahead_ms < 0 {
            self.marks.reach("a primary with a clock behind executed a batch");
        }
    }

    /// A node says something to another.
    pub(super) fn notice_message(&mut self, message: &bytes::Bytes) {
        if message.len() > SHORT_MESSAGE_BYTES {
            return;
        }
        match Said::read(message).map(|said| said.what) {
            Ok(What::Voted { granted: false }) => self.marks.reach("a vote was refused"),
            Ok(What::PreVoted { granted: false }) => {
                self.marks.reach("a node was told that it would not get a vote");
            }
            Ok(What::Refused { .. }) => self.marks.reach("a backup could not append"),
            Ok(What::TakeOver) => self.marks.reach("a node was told to take over"),
            Ok(_) | Err(_) => {}
        }
    }
}

/// Entries of a roll-back that is worth a mark.
const LONG_ROLLBACK: usize = 10;
/// Longest message without entries.
const SHORT_MESSAGE_BYTES: usize = 64;
