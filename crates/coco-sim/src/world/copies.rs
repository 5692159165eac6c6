//! Ledgers that are copied from another node: by a machine whose disk lost all, and by one that needs what the primary has
//! archived. As in a real node, whoever copies is not up meanwhile; what it was given is verified.

use coco_replica::{Input, PlaceCopyError};
use coco_types::{NodeId, Seqno, TxId};

use super::{Event, OPERATOR_US_MAX, World};
use crate::{
    machine::{CopyFault, WantedCopy, in_full},
    plan::Restart,
    planted::Planted,
};

/// Time until a node asks again that found nobody to copy from.
const COPY_RETRY_US: u64 = 500_000;
/// Time until an operator asks for a snapshot again.
const SNAPSHOT_ASK_US: u64 = 5_000_000;

impl World {
    /// A primary tells nodes that it cannot give them what they need.
    pub(super) fn tell_behind(&mut self, node: usize, behind: Vec<(NodeId, TxId)>) {
        let by = self.machines[node].id;
        for (id, needs) in behind {
            self.marks.reach("a primary could not give what a node needed");
            let Some(to) = self.machines.iter().position(|machine| machine.id == id) else {
                continue;
            };
            if let Some(wait_us) = self.way(node, to) {
                self.plan_for(to, wait_us, Event::Behind(to, by, needs));
            }
        }
    }

    /// A node hears that it was left behind: if it is so, it goes on with a copy of another one's ledger.
    pub(super) fn behind(&mut self, node: usize, by: NodeId, needs: TxId) {
        let Some(replica) = &self.machines[node].replica else { return };
        {
            let state = replica.state();
            let state = state.read();
            if state.primary() != Some(by) || state.has(needs) {
                self.marks.reach("a node had what the primary could not give");
                return;
            }
        }
        self.marks.reach("a node was left behind");
        self.end(node);
        let copy = WantedCopy { at_least: needs.seqno.previous(), goes_on: true };
        self.machines[node].wants_copy = Some(copy);
        self.start_in(node, 1);
    }

    /// A disk is lost and its node comes back on a new one, which it fills from the others.
    pub fn replace_disk(&mut self, node: usize) {
        if self.machines[node].replica.is_some() {
            self.end(node);
        }
        self.machines[node].lose_all();
        self.marks.reach("a node came back with an empty disk");
        let wait_us = self.dice.between(1_000, OPERATOR_US_MAX);
        self.start_in(node, wait_us);
    }

    /// Copies the ledger that a node wants before it starts; whether it can start.
    pub(super) fn copy_if_wanted(&mut self, node: usize) -> bool {
        let Some(WantedCopy { at_least, goes_on }) = self.machines[node].wants_copy else {
            return true;
        };
        let mut others: Vec<usize> = (0..self.machines.len())
            .filter(|other| *other != node && self.machines[*other].replica.is_some())
            .collect();
        let mut has_all_answered = !others.is_empty();
        while !others.is_empty() {
            let place = self.dice.place(others.len());
            let from = others.swap_remove(place);
            // A question and an answer; that they are many in truth only makes it likelier that one is lost.
            if self.way(node, from).is_none() || self.way(from, node).is_none() {
                has_all_answered = false;
                continue;
            }
            let damages = self.plan.planted == Some(Planted::GiveDamagedCopy);
            for offer in self.machines[from].offers(damages) {
                match self.machines[node].copy(offer, at_least, self.keys.service()) {
                    Ok(snapshot) => {
                        self.machines[node].wants_copy = None;
                        self.marks.reach(if snapshot {
                            "a node copied a snapshot and the ledger after it"
                        } else {
                            "a node copied a ledger from its beginning"
                        });
                        if self.plan.restart == Restart::FromDisk || goes_on {
                            self.keep_committed(node, at_least);
                        } else {
                            self.machines[node].promises_nothing();
                        }
                        return true;
                    }
                    Err(CopyFault::Short) => {
                        self.marks.reach("a node was offered too little to copy");
                    }
                    // Later secrets are not for it.
                    Err(CopyFault::Refused(why))
                        if self.is_out(node) && why.contains("not encrypted to this node") =>
                    {
                        self.leaves(node);
                        return false;
                    }
                    // Nor for it, until it has shown again what it runs.
                    Err(CopyFault::Refused(why))
                        if self.is_quarantined(node)
                            && why.contains("not encrypted to this node") =>
                    {
                        self.marks.reach("a node copied what it was given no secret for");
                        self.introduce_again(node);
                        return false;
                    }
                    Err(CopyFault::Refused(why)) => {
                        self.excuse_copy(from, &why);
                        self.marks.reach("a node refused the copy that another gave it");
                    }
                    Err(CopyFault::Place(fault)) => {
                        self.copy_broke(node, &fault);
                        return false;
                    }
                }
            }
        }
        if self.is_healed && has_all_answered {
            self.ask_for_snapshot();
        }
        self.start_in(node, COPY_RETRY_US);
        false
    }

    /// Hosts may have spoiled all snapshots, and nodes that began with one have no ledger from its beginning. Whoever operates
    /// such nodes has the network make another.
    fn ask_for_snapshot(&mut self) {
        let Some(primary) = self.primary().filter(|_| self.time >= self.may_ask_snapshot_at) else {
            return;
        };
        self.may_ask_snapshot_at = self.time + SNAPSHOT_ASK_US;
        self.marks.reach("an operator asked for a snapshot, since nobody could give a ledger");
        // Nobody waits for the answer: whoever still finds too little asks again.
        let ticket = self.next_governing_ticket();
        self.step(primary, Input::AskSnapshot(ticket));
    }

    /// A copy that is refused needs a reason, which is on the disk that it came from.
    fn excuse_copy(&self, from: usize, why: &str) {
        let machine = &self.machines[from];
        let is_excused = machine.suffered().is_some()
            || machine.folder.away() > 0
            || machine.snapshot_folder().has_spoiled();
        assert!(is_excused, "what n{from} gave is refused: {why}");
    }

    /// What is not there any more of all that the node had promised was void.
    fn keep_committed(&mut self, node: usize, at_least: Seqno) {
        let committed = &self.check.committed;
        let machine = &mut self.machines[node];
        let copied =
            machine.kept(committed, Seqno(u64::MAX)).expect("what was just written can be read");
        // Bits may have flipped in what was there before.
        let is_good = machine.suffered().is_some() || committed.starts_with(&copied);
        assert!(is_good, "n{node} copied what is not committed");
        let promised = &mut machine.disk.entries;
        let same = promised.iter().zip(committed).take_while(|(one, other)| one == other).count();
        let count = copied.len();
        assert!(
            same <= count,
            "n{node} lost entries {count} to {same} for a copy of at least {at_least}"
        );
        promised.truncate(same);
    }

    fn copy_broke(&mut self, node: usize, fault: &PlaceCopyError) {
        if self.machines[node].folder.faults().is_dark() {
            self.marks.reach("the power went in the middle of a copy");
            self.darken(node);
        } else {
            let is_excused = self.machines[node].suffered().is_some();
            assert!(is_excused, "n{node} cannot keep a copy: {}", in_full(fault));
            // As a start that finds damage: nothing but another disk would help.
            self.marks.reach("a damaged disk could not keep a copy");
            return self.disk_is_lost(node);
        }
        let wait_us = self.dice.between(1_000, OPERATOR_US_MAX);
        self.start_in(node, wait_us);
    }
}
