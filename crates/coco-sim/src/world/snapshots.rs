//! Snapshots in a world: when a node's thread makes them, what a start may make of them, and whether they and the entries
//! after them give the state that nodes live in.

use coco_ledger::{Folder, LedgerFiles, SnapshotEvidence, SnapshotFile};
use coco_replica::{
    Effects, Input, LoadLedger, Loader, SNAPSHOTS_KEPT, SNAPSHOTS_WAITING_MAX, SnapshotFiles,
    SnapshotTask,
};
use coco_types::{Digest, Role};

use super::{Event, World};
use crate::{
    check::{Image, image},
    genesis::Keys,
    log::Happened,
    machine::{DURABLE_WAIT_US, SNAPSHOT_FOLDER, Task, in_full, snapshots},
    plan::Micros,
};

/// How often a thread looks whether its node's disk has what it waits for.
const DURABLE_POLL_US: Micros = 10_000;

impl World {
    /// A node's thread has more to do.
    pub(super) fn take_snapshot_tasks(&mut self, node: usize, tasks: Vec<SnapshotTask>) {
        self.machines[node].making.tasks.extend(tasks);
        self.plan_snapshot(node);
    }

    /// The first task of a node's thread comes to its end later, unless one is under way.
    fn plan_snapshot(&mut self, node: usize) {
        let making = &mut self.machines[node].making;
        if making.is_busy || making.tasks.is_empty() {
            return;
        }
        making.is_busy = true;
        // Completing one is a short write, and need not be on the disk of the ledger.
        let mean_us = match making.tasks.front() {
            Some(SnapshotTask::Finish(_)) => self.plan.disk.sync_us,
            Some(SnapshotTask::Make(_)) | None => self.plan.snapshot_us,
        };
        let wait_us = self.dice.around(mean_us).max(1);
        self.plan_for(node, wait_us, Event::Snapshot(node));
    }

    /// A node's thread has done its first task, or finds that it has to wait.
    pub(super) fn snapshot(&mut self, node: usize) {
        self.spare(node);
        self.machines[node].making.is_busy = false;
        let task = self.machines[node].make_snapshot(self.time);
        let fired = self.machines[node].folder.fired();
        if fired.misdirected {
            self.marks.reach("a write went astray");
        }
        if fired.failed_sync {
            self.marks.reach("a sync of a snapshot failed and its node went on");
        }
        if self.machines[node].folder.faults().is_dark() {
            self.marks.reach("the power went in the middle of a snapshot");
            return self.went_dark(node);
        }
        match task {
            Task::Waits => {
                self.marks.reach("a snapshot waited until its node's disk had its evidence");
                self.machines[node].making.is_busy = true;
                return self.plan_for(node, DURABLE_POLL_US, Event::Snapshot(node));
            }
            Task::Made(evidence, bytes) => {
                self.note_snapshot(node, || format!("{} is made", evidence.seqno));
                self.check.made_snapshot(node, evidence, &bytes);
                let SnapshotEvidence { seqno, digest } = evidence;
                self.step(node, Input::SnapshotMade(seqno, Some(digest)));
            }
            Task::NotMade(seqno, why) => {
                self.note_snapshot(node, || format!("{seqno} is not made: {why}"));
                self.excuse_snapshot(node, fired.failed_sync, &why);
                self.marks.reach("a snapshot could not be written");
                self.step(node, Input::SnapshotMade(seqno, None));
            }
            Task::Complete(name, bytes) => {
                self.note_snapshot(node, || format!("{name} is complete"));
                let machine = &self.machines[node];
                let is_spoiled = machine.snapshot_folder().is_spoiled(&name.to_string());
                if is_spoiled {
                    self.marks.reach("a snapshot was damaged before it was completed");
                }
                // Its maker does not read it again. The next start does, and whoever gets a copy.
                if !is_spoiled && machine.suffered().is_none() {
                    self.check.believes_snapshot(node, name, &bytes);
                }
                self.check_maxima(node);
                self.marks.reach("a snapshot was completed");
                if self.lose_power_after_snapshot(node) {
                    return;
                }
            }
            Task::Other(found) => {
                panic!("n{node} made a snapshot {found} that is not the primary's")
            }
            Task::Nothing => {}
            Task::NotComplete(why) => {
                self.excuse_snapshot(node, fired.failed_sync, &why);
                self.marks.reach("a snapshot could not be completed");
            }
        }
        self.plan_snapshot(node);
    }

    fn note_snapshot(&self, node: usize, what: impl FnOnce() -> String) {
        self.note(node, || Happened::Snapshot { what: what() });
    }

    /// A snapshot that got its name promises what the ledger beside it must have: now is a time to look.
    fn lose_power_after_snapshot(&mut self, node: usize) -> bool {
        let may_go = !self.is_healed && self.plan.faults.crash.is_some() && self.may_lose(node);
        if !may_go || !self.dice.per_mille(250) {
            return false;
        }
        self.marks.reach("the power went as soon as a snapshot was completed");
        self.went_dark(node);
        true
    }

    /// A node keeps no more snapshots than it says.
    fn check_maxima(&self, node: usize) {
        let machine = &self.machines[node];
        let complete = snapshots(machine).len();
        let others = machine.snapshot_folder().names().unwrap_or_default().len() - complete;
        assert!(complete <= SNAPSHOTS_KEPT, "n{node} keeps {complete} snapshots");
        assert!(others <= SNAPSHOTS_WAITING_MAX, "n{node} has {others} unfinished snapshots");
    }

    /// A snapshot that is not there needs a reason.
    fn excuse_snapshot(&self, node: usize, has_failed: bool, why: &str) {
        self.check.written(why);
        let machine = &self.machines[node];
        let faults = machine.folder.faults();
        let is_excused = has_failed
            || faults.is_dead
            || faults.bytes_left.is_some()
            || machine.suffered().is_some()
            // It waits so long, and no longer, for a disk that is slow.
            || machine.slow_until > 0 && machine.slow_until + DURABLE_WAIT_US >= self.time
            // Entries of a snapshot that the node believes no more, and makes again, may be elsewhere.
            || machine.folder.away() > 0;
        assert!(is_excused, "n{node} does not get its snapshot: {why}");
    }

    /// A node goes down, and with it the snapshots that wait for their evidence.
    pub(super) fn notice_snapshots_lost(&mut self, node: usize) {
        if self.machines[node].making.waiting() > 0 {
            self.marks
                .reach("a snapshot was lost because its node went down before its evidence came");
        }
    }

    /// A node has taken a step; these effects are not carried out yet.
    pub(super) fn notice_evidence(&mut self, node: usize, effects: &Effects) {
        if self.plan.settings.snapshot_entries == 0 {
            return;
        }
        let Some(replica) = &self.machines[node].replica else { return };
        let state = replica.state();
        let state = state.read();
        if state.role() != Role::Primary {
            return;
        }
        let entries = effects.persist.iter().flat_map(|persist| &persist.entries);
        let mut is_owed = false;
        for evidence in entries.filter_map(|(entry, _)| evidence_in(entry)) {
            is_owed |= state.view_at(evidence.seqno) < state.view();
        }
        if is_owed {
            self.marks.reach("a primary gave the evidence that an earlier view owed");
        }
    }

    /// What a start made of the snapshots that it found.
    ///
    /// # Panics
    /// When it believed one that no node made, or refused one that nobody touched.
    pub(super) fn judge_snapshots(&mut self, node: usize) {
        let machine = &self.machines[node];
        let folder = machine.snapshot_folder();
        let making = &machine.making;
        let mut spoiled = 0;
        for refused in &making.refused {
            self.check.written(&refused.text);
            self.note_snapshot(node, || format!("{} is refused: {}", refused.name, refused.text));
            let is_spoiled = folder.is_spoiled(&refused.name.to_string());
            // What a copy passed over was never here.
            let has_gap = machine.folder.away() > 0
                || machine.copied_at.is_some_and(|copied_at| refused.name.seqno < copied_at);
            let is_excused =
                is_spoiled || machine.suffered().is_some() || refused.is_archived && has_gap;
            assert!(is_excused, "n{node} refuses {}: {}", refused.name, refused.text);
            spoiled += usize::from(is_spoiled);
        }
        let (used, refused) = (making.used, making.refused.len());
        if let Some(name) = used {
            self.note_snapshot(node, || format!("{name} is where it starts from"));
            let bytes = machine.shown(&name.to_string());
            self.check.believes_snapshot(node, name, &bytes);
            self.marks.reach("a node started from a snapshot");
            let is_later = |replica: &coco_replica::Replica| {
                let periods = replica.state().read().secrets().periods().to_vec();
                periods.iter().skip(1).any(|period| period.from <= name.seqno)
            };
            if self.machines[node].replica.as_ref().is_some_and(is_later) {
                self.marks.reach("a node started from a snapshot of a later period");
            }
            if spoiled > 0 {
                self.marks
                    .reach("a node started from an older snapshot because a newer one was damaged");
            }
            if self.machines[node].folder.away() > 0 {
                self.marks.reach("a node started without the chunks that are archived");
            }
        } else if refused > 0 {
            self.marks.reach("a node found no good snapshot and read its whole ledger");
        }
    }

    /// In the end, what a node lives in is what its ledger says from the beginning, and what its disk gives back.
    ///
    /// # Panics
    /// When one of them is another state, or a snapshot does not verify.
    pub(super) fn check_states(&mut self) {
        let voters: Vec<usize> =
            (0..self.machines.len()).filter(|node| self.machines[*node].votes()).collect();
        let live = self.live_image(voters[0]);
        for node in &voters {
            let own = self.live_image(*node);
            assert!(own == live, "n{node} lives in another state than n{}", voters[0]);
        }
        let replayed = self.replayed_image(voters[0]);
        assert!(replayed == live, "the ledger gives another state than n{} lives in", voters[0]);
        let node = voters[self.dice.place(voters.len())];
        self.verify_snapshots(node);
        let machine = &self.machines[node];
        // A disk may be behind what the disks of others made committed.
        if machine.suffered().is_none() && machine.disk.entries == machine.ledger {
            let loaded = self.load_again(node);
            let is_same = loaded.is_none_or(|loaded| loaded == live);
            assert!(is_same, "the disk of n{node} gives back another state");
        }
    }

    /// The state that a node lives in.
    fn live_image(&self, node: usize) -> Image {
        let replica = self.machines[node].replica.as_ref().expect("who votes is up");
        image(&replica.reader().head())
    }

    /// The state that a node's ledger makes from its first entry.
    fn replayed_image(&self, node: usize) -> Image {
        let keyring = self.machines[node].keyring();
        let index_key = keyring.secrets.index_key();
        let mut loader = Loader::new(keyring, coco_evm::state::schema(), index_key, 0);
        for entry in &self.machines[node].ledger {
            loader.push(entry.clone(), false).expect("entries of a ledger can be loaded");
        }
        image(&loader.reader().head())
    }

    /// The state that a node would start from, were its process to end now; none when it would need another copy.
    fn load_again(&self, node: usize) -> Option<Image> {
        let machine = &self.machines[node];
        let keyring = machine.keyring();
        let load = LoadLedger {
            keyring: &keyring,
            service: self.keys.service(),
            schema: &coco_evm::state::schema(),
            retained_entries: 0,
        };
        // A copy, since opening files changes them under a node that is up.
        let disk = machine.folder.copy();
        let folder = SnapshotFiles::open(disk.folder(SNAPSHOT_FOLDER));
        let folder = folder.expect("a healthy disk is read");
        let mut files = LedgerFiles::open(disk).expect("a healthy disk is read");
        match load.load(&mut files, &folder, |_, _| {}) {
            Ok((loader, _)) => Some(image(&loader.reader().head())),
            Err(error)
                if error.is_loss()
                    && machine.copied_at.is_some()
                    && machine.snapshot_folder().has_spoiled() =>
            {
                None
            }
            Err(error) => panic!("n{node} could not load its ledger: {}", in_full(&error)),
        }
    }

    /// With real keys: whoever has the service's certificate can verify them.
    fn verify_snapshots(&self, node: usize) {
        let Keys::Real { service, .. } = &self.keys else { return };
        let folder = self.machines[node].snapshot_folder();
        for name in snapshots(&self.machines[node]) {
            let bytes = self.machines[node].shown(&name.to_string());
            let verified = SnapshotFile::split(&bytes)
                .and_then(|snapshot| snapshot.verify(name, &service.pem()));
            let is_excused =
                folder.is_spoiled(&name.to_string()) || self.machines[node].suffered().is_some();
            assert!(is_excused || verified.is_ok(), "{name} of n{node}: {:?}", verified.err());
        }
    }
}

/// What an entry says of a snapshot.
pub(super) fn evidence_in(entry: &[u8]) -> Option<SnapshotEvidence> {
    let view = coco_ledger::EntryView::parse(entry).ok()?;
    if *view.claims() == Digest::ZERO {
        return None;
    }
    SnapshotEvidence::read(&view.public_writes().ok()?)
}
