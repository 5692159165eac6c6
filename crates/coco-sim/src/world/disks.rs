//! What disks do to nodes, and what is asked of a node whose disk does it: it starts with all that it has acknowledged,
//! or says which file is damaged and where, and stays down.

use coco_consensus::{Fetch, FetchFailed};
use coco_replica::{Input, ReadEntriesError, StorageError};
use coco_types::Seqno;

use super::{OPERATOR_US_MAX, World};
use crate::{
    folder::{FailingSync, Faults, Lie, Lost},
    log::Happened,
    machine::{Down, Found, StartFault, WantedCopy, in_full, index},
    plan::Restart,
    planted::Planted,
};

/// After so many operations of a start, at the most, the power goes in its middle.
const STEPS_OF_START: u64 = 10;

/// What a disk suffered that its node cannot mend. It counts as lost for the rest of the run, and the world keeps a
/// majority of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// A bit of it was flipped. No single one passes for anything else.
    Rot,
    /// Several bits of one sector were flipped. Where these are the length of the last entry and what would betray that
    /// more follows, it looks like a write that was never durable, as with [`Self::Misdirected`].
    Sector,
    /// A write landed somewhere else. What should have been written is missing, too, and at the end of the ledger that
    /// looks like a write that was never durable: a node cannot know better, so nothing is asked of such a one but that
    /// it does no harm.
    Misdirected,
    /// A host swapped closed chunks of it, or put a snapshot there of more than its ledger has.
    Swapped,
    /// It does nothing any more.
    Dead,
    /// It makes nothing durable any more.
    Unsynced,
    /// Everything on it is gone.
    Gone,
}

impl Damage {
    /// Whether a copy of the disk has it, too.
    #[must_use]
    pub const fn is_of_bytes(&self) -> bool {
        matches!(self, Self::Rot | Self::Sector | Self::Misdirected | Self::Swapped)
    }
}

impl World {
    /// Plants a bug that shows in a node's disk.
    pub(super) fn plant_in_disk(&mut self, node: usize) {
        let is_early = self.plan.planted == Some(Planted::CompleteBeforeSync);
        self.machines[node].making.never_waits = is_early;
        let folder = &self.machines[node].folder;
        let lie = match self.plan.planted {
            Some(Planted::SyncNoFile) => Some(Lie::Files),
            Some(Planted::SyncNoFolder) => Some(Lie::Names),
            _ => None,
        };
        folder.set_faults(Faults { lie, ..folder.faults() });
    }

    /// Whether a node is out of what the network promises to bear.
    pub(super) fn is_lost(&self, node: usize) -> bool {
        self.given_up[node] || self.machines[node].damage.is_some()
    }

    /// How many are.
    pub(super) fn lost(&self) -> usize {
        let is_lost = |node: &usize| self.is_lost(*node) && !self.is_out(*node);
        (0..self.plan.nodes).filter(is_lost).count()
    }

    /// Gives up nodes from `first` on until `ill` are lost.
    pub(super) fn give_up(&mut self, first: usize, ill: usize) {
        let nodes = self.plan.nodes;
        for node in (0..nodes).map(|n| (first + n) % nodes) {
            if self.lost() >= ill {
                return;
            }
            let is_up = self.machines[node].replica.is_some();
            let has_vote = is_up || self.machines[node].goes_on();
            if self.is_lost(node) || (has_vote && !self.may_lose(node)) {
                continue;
            }
            if self.is_out(node) || !self.bears(Some(node), None) {
                continue;
            }
            self.given_up[node] = true;
            if is_up {
                self.crash(node);
            }
        }
    }

    /// A node whose disk may be damaged for good: a majority of others is left.
    pub fn victim(&mut self) -> Option<usize> {
        let nodes = self.plan.nodes;
        let node = self.dice.place(nodes);
        self.may_be_damaged(node).then_some(node)
    }

    /// Whether a node's disk may be damaged for good.
    pub(crate) fn may_be_damaged(&self, node: usize) -> bool {
        !self.is_lost(node)
            && !self.is_out(node)
            && match self.plan.restart {
                Restart::FromDisk => self.bears(Some(node), None),
                // It comes back with another disk.
                Restart::Rejoin => self.may_lose(node),
            }
    }

    /// A node is never started again.
    pub fn abandon(&mut self, node: usize) {
        self.given_up[node] = true;
    }

    /// Its process ends, and its disk keeps what it had.
    pub fn end(&mut self, node: usize) {
        self.notice_snapshots_lost(node);
        self.machines[node].go_down(Down::Ended, &mut self.dice);
        self.note_death(node);
    }

    /// What it leaves counts. A copy that never came up leaves nothing of the node whose disk it has.
    fn note_death(&mut self, node: usize) {
        let machine = &self.machines[node];
        if machine.lives.contains(&machine.id) {
            self.check.died(machine.id, &machine.disk.entries);
        }
    }

    /// Where the network cannot lose this node now, nothing happens to its disk.
    pub(super) fn spare(&self, node: usize) {
        if !self.may_lose(node) {
            let folder = &self.machines[node].folder;
            folder.set_faults(mended(folder.faults()));
        }
    }

    /// Its power goes.
    pub(super) fn darken(&mut self, node: usize) -> Lost {
        let had_writes = !self.machines[node].writes.is_empty();
        self.notice_snapshots_lost(node);
        let lost = self.machines[node].go_down(Down::Dark, &mut self.dice);
        self.note_death(node);
        let reached = [
            (had_writes, "a node lost what its disk had not yet"),
            (lost.sectors > 0 && lost.sectors_kept > 0, "a crash left a part of a group of writes"),
            (lost.left_a_hole, "a crash left a hole before what it left"),
            (lost.created > 0, "a new file's name was lost"),
            (lost.renamed > 0, "a rename was lost"),
            (lost.removed > 0, "a removal was lost"),
            (lost.reordered_names, "a later name stayed and an earlier one was lost"),
        ];
        reached.iter().filter(|(is_so, _)| *is_so).for_each(|(_, mark)| self.marks.reach(mark));
        lost
    }

    /// Mends what an operator mends before a start. Sometimes the power goes again during it.
    pub(super) fn prepare_start(&mut self, node: usize) {
        let is_again = self.machines[node].life > 0;
        let may_go = is_again && !self.is_healed && self.plan.faults.crash.is_some();
        // One whose process goes on has a vote to lose.
        let may_go = may_go && (!self.machines[node].goes_on() || self.may_lose(node));
        let may_go = may_go && self.dice.per_mille(150);
        let operations_left = may_go.then(|| self.dice.below(STEPS_OF_START));
        let folder = &self.machines[node].folder;
        folder.set_faults(Faults { operations_left, ..mended(folder.faults()) });
    }

    /// Brings back the chunks that a host keeps elsewhere.
    pub(crate) fn bring_back(&mut self, node: usize) {
        let machine = &mut self.machines[node];
        machine.note_brought_back();
        if machine.folder.bring_back() > 0 {
            self.marks.reach("a chunk came back beside the node's own copy");
        }
    }

    /// Judges a start; whether the node is up.
    ///
    /// # Panics
    /// When a node starts with less than it has acknowledged, or an undamaged one does not start.
    pub(super) fn judge_start(&mut self, node: usize, started: Result<Found, StartFault>) -> bool {
        started.as_ref().err().into_iter().for_each(|fault| self.check.written(&in_full(fault)));
        let damage = self.machines[node].suffered();
        match started {
            Ok(found) if found.is_less && self.plan.restart == Restart::Rejoin => {
                assert!(damage.is_some(), "n{node} starts with less than was on its disk");
                self.marks.reach("a node goes on without what a damaged disk had");
                self.end(node);
                self.replace_disk(node);
                false
            }
            Ok(found) if found.is_less => {
                self.marks.reach(match damage {
                    Some(Damage::Misdirected) => "a write that went astray passed for a torn tail",
                    Some(Damage::Sector) => "a sector with flipped bits passed for a torn tail",
                    _ => panic!("n{node} starts with less than it has acknowledged, {damage:?}"),
                });
                self.end(node);
                self.given_up[node] = true;
                false
            }
            Ok(found) => {
                if found.has_cut {
                    self.marks.reach("a torn tail was cut at a start");
                }
                self.check.knows(&self.machines[node].ledger);
                self.judge_snapshots(node);
                self.notice_swapped(node);
                true
            }
            Err(_) if self.machines[node].folder.faults().is_dark() => {
                self.marks.reach("the power went during a start");
                self.darken(node);
                let wait_us = self.dice.between(1_000, OPERATOR_US_MAX);
                self.start_in(node, wait_us);
                false
            }
            Err(fault) if fault.is_loss() && self.plan.restart == Restart::Rejoin => {
                self.excuse_loss(node, &fault);
                self.judge_snapshots(node);
                self.marks.reach("a node whose ledger lacked something copied another's");
                self.machines[node].wants_copy =
                    Some(WantedCopy { at_least: fault.at_least(), goes_on: false });
                self.start_in(node, 1);
                false
            }
            Err(_) if self.machines[node].folder.away() > 0 => {
                // What an operator does who reads that chunk files are missing.
                self.judge_snapshots(node);
                self.marks.reach("a node did not start without the chunks that were archived");
                self.bring_back(node);
                let wait_us = self.dice.between(1_000, OPERATOR_US_MAX);
                self.start_in(node, wait_us);
                false
            }
            Err(fault) => {
                let text = in_full(&fault);
                let is_excused = damage.is_some() || self.machines[node].old_chunks.is_some();
                assert!(is_excused, "n{node} does not start: {text}");
                let files = ["ledger_", "consensus.state", "snapshot_", "chunk files of entries"];
                let names_file = files.iter().any(|of| text.contains(of));
                let is_of_disk = matches!(damage, Some(Damage::Dead | Damage::Unsynced));
                assert!(names_file || is_of_disk, "no file is named: {text}");
                self.notice_refusal(node, &fault);
                self.disk_is_lost(node);
                false
            }
        }
    }

    /// Nobody's ledger lacks something but one that somebody has taken something from, or whose snapshot promises more.
    fn excuse_loss(&self, node: usize, fault: &StartFault) {
        let machine = &self.machines[node];
        let is_excused = machine.suffered().is_some()
            || machine.folder.away() > 0
            || machine.old_chunks.is_some()
            || machine.snapshot_folder().has_spoiled()
            || self.was_given(node);
        assert!(is_excused, "n{node} lacks something of its ledger: {}", in_full(fault));
    }

    /// A write or a sync failed, and the node stops. An operator starts it again, after it has room, or power, again.
    pub(super) fn disk_failed(&mut self, node: usize, error: &StorageError) {
        self.check.written(&in_full(error));
        let folder = self.machines[node].folder.clone();
        let faults = folder.faults();
        self.machines[node].fail();
        if faults.is_dark() {
            self.marks.reach("the power went in the middle of a write");
            return self.went_dark(node);
        }
        let fired = folder.fired();
        let has_failed = fired.failed_sync;
        if faults.is_dead || has_failed && faults.sync_fails.is_some_and(FailingSync::is_for_good) {
            self.marks.reach(match faults.is_dead {
                true => "a disk died and its node stopped",
                false => "a sync failed for good and its node stopped",
            });
            if self.dice.per_mille(500) {
                self.crash(node);
            } else {
                self.end(node);
            }
            return self.disk_is_lost(node);
        }
        let wait_us = if fired.failed_folder_sync {
            self.marks.reach("a folder could not be synced and its node stopped");
            self.dice.between(1_000_000, OPERATOR_US_MAX)
        } else if faults.bytes_left.is_some() {
            self.marks.reach("a disk was full and its node stopped");
            self.dice.between(1_000_000, 6 * OPERATOR_US_MAX)
        } else if !has_failed && self.machines[node].suffered().is_some() {
            // Cutting back over the end of a chunk reads it again.
            self.marks.reach("a node found damage when it wrote");
            self.dice.between(1_000_000, OPERATOR_US_MAX)
        } else {
            assert!(has_failed, "n{node} stops: {}", in_full(error));
            self.marks.reach("a sync failed and its node stopped");
            self.dice.between(1_000_000, OPERATOR_US_MAX)
        };
        if self.dice.per_mille(500) {
            self.crash(node);
        } else {
            self.end(node);
        }
        self.start_in(node, wait_us);
    }

    /// Nothing but another disk would help a node that is down. It gets one where it may come back as another.
    pub(super) fn disk_is_lost(&mut self, node: usize) {
        match self.plan.restart {
            Restart::FromDisk => self.given_up[node] = true,
            Restart::Rejoin => {
                self.marks.reach("a node with a damaged disk got another one");
                self.replace_disk(node);
            }
        }
    }

    pub(super) fn went_dark(&mut self, node: usize) {
        self.crash(node);
        let wait_us = self.dice.between(1_000, OPERATOR_US_MAX);
        self.start_in(node, wait_us);
    }

    /// A disk has read what a node that lags needs.
    pub(super) fn fetched(&mut self, node: usize, fetch: Fetch) {
        self.spare(node);
        let read = self.machines[node].read(&fetch);
        let entries = match read {
            Ok(entries) if entries.is_empty() => return,
            Ok(entries) => {
                let ledger = &self.machines[node].ledger;
                let is_own = entries
                    .iter()
                    .all(|entry| ledger.get(index(entry.tx_id.seqno) - 1) == Some(&entry.data));
                assert!(is_own, "n{node} serves what it never wrote");
                self.marks.reach("entries were fetched from disk for a node that lags");
                let count = entries.len();
                self.note(node, || Happened::Fetched { entries: count });
                Ok(entries)
            }
            Err(error) if error.is_fatal() => return self.found_damage(node, &error),
            Err(error) => {
                let failed = FetchFailed::from(&error);
                if failed == FetchFailed::Archived {
                    self.marks.reach("an archived entry was asked for");
                }
                Err(failed)
            }
        };
        self.step(node, Input::Fetched(fetch.id, entries));
    }

    fn found_damage(&mut self, node: usize, error: &ReadEntriesError) {
        if self.machines[node].folder.faults().is_dark() {
            return self.went_dark(node);
        }
        assert!(self.machines[node].suffered().is_some(), "n{node} stops: {}", in_full(error));
        self.marks.reach("a node found damage when it read for another");
        self.end(node);
        let wait_us = self.dice.between(1_000_000, OPERATOR_US_MAX);
        self.start_in(node, wait_us);
    }

    /// Takes the power of every node that is well, and looks at what is left.
    ///
    /// # Panics
    /// When a disk has lost something that was acknowledged.
    pub(super) fn check_disks(&mut self) {
        for node in 0..self.machines.len() {
            if self.machines[node].replica.is_some() && !self.is_lost(node) {
                self.darken(node);
                let machine = &self.machines[node];
                let promised = &machine.disk.entries;
                let end = Seqno(promised.len() as u64);
                let kept = match machine.kept(&self.check.committed, end) {
                    Ok(kept) => kept,
                    // What came back may lack something between it and the node's own, or not follow it at all.
                    Err(_)
                        if machine.old_chunks.is_some() && self.plan.restart == Restart::Rejoin =>
                    {
                        self.marks.reach("a node would copy again, since old chunks came back");
                        continue;
                    }
                    Err(fault) => panic!("n{node} could not start again: {}", in_full(&fault)),
                };
                assert!(kept.starts_with(promised), "n{node} has lost what it acknowledged");
            }
        }
    }
}

/// The faults that end with a node's troubles.
pub(super) fn mended(faults: Faults) -> Faults {
    let operations_left = None;
    Faults {
        operations_left,
        bytes_left: None,
        sync_fails: faults.sync_fails.filter(|it| it.is_for_good()),
        misdirects: None,
        ..faults
    }
}
