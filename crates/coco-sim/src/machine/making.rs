//! The part of a node's thread that makes snapshots. When it has its turn is the world's matter.

use std::collections::VecDeque;

use bytes::Bytes;
use coco_ledger::{EntryView, Folder, SnapshotEvidence, SnapshotName};
use coco_replica::{Claim, SnapshotFiles, SnapshotMaker, SnapshotTask, Unfinished};
use coco_types::{Digest, Seqno};

use super::Machine;
use crate::{
    folder::{SimFile, SimFolder},
    plan::Micros,
};

/// Where a node's snapshots are on its disk.
pub const SNAPSHOT_FOLDER: &str = "snapshots/";

/// How long the ledger's own disk is waited for before a snapshot is completed.
pub const DURABLE_WAIT_US: Micros = 60_000_000;

/// What waits for the thread, and what waits for evidence.
#[derive(Debug, Default)]
pub struct Making {
    /// Tasks in their order.
    pub tasks: VecDeque<SnapshotTask>,
    /// The thread is at work on the first.
    pub is_busy: bool,
    /// A planted bug: it takes the disk to have everything.
    pub never_waits: bool,
    /// Since when the first waits for this node's disk.
    waits_since: Option<Micros>,
    maker: Option<SnapshotMaker<SimFolder>>,
    /// Snapshots that a start passed over, with the reason, and whether chunk files were missing after it.
    pub refused: Vec<Refused>,
    /// The one from which it started.
    pub used: Option<SnapshotName>,
}

/// A snapshot that a start passed over.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Which.
    pub name: SnapshotName,
    /// Why.
    pub text: String,
    /// Chunk files after it are kept elsewhere.
    pub is_archived: bool,
}

/// What became of a task.
#[derive(Debug)]
pub enum Task {
    /// The disk has not yet what it takes.
    Waits,
    /// A snapshot was written down.
    Made(SnapshotEvidence, Vec<u8>),
    /// None was, of this entry.
    NotMade(Seqno, String),
    /// A snapshot is complete.
    Complete(SnapshotName, Vec<u8>),
    /// The primary has another one.
    Other(Digest),
    /// Nothing waited for this evidence.
    Nothing,
    /// A snapshot was not completed.
    NotComplete(String),
}

impl Making {
    /// A new life of it, with the snapshots of a disk.
    pub(super) fn start(&mut self, files: SnapshotFiles<SimFolder>) {
        self.maker = Some(SnapshotMaker::new(files));
    }

    /// Its process ends. What was not complete is gone.
    pub(super) fn end(&mut self) {
        *self = Self { never_waits: self.never_waits, ..Self::default() };
    }

    /// Since when the first task waits for this node's disk; zero when it does not.
    pub(super) fn waits_since(&self) -> Micros {
        self.waits_since.unwrap_or_default()
    }

    /// How many snapshots wait for evidence.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.maker.as_ref().map_or(0, SnapshotMaker::waiting)
    }
}

impl Machine {
    /// The snapshots on its disk.
    #[must_use]
    pub fn snapshot_folder(&self) -> SimFolder {
        self.folder.folder(SNAPSHOT_FOLDER)
    }

    /// Does the first task of the thread, if it can be done now.
    pub fn make_snapshot(&mut self, time: Micros) -> Task {
        let Some(task) = self.making.tasks.pop_front() else { return Task::Nothing };
        match task {
            SnapshotTask::Make(make) => {
                let seqno = make.tx_id().seqno;
                let entry = self.entry(seqno);
                let (Some(maker), Some(replica)) = (&mut self.making.maker, &self.replica) else {
                    return Task::Nothing;
                };
                let secrets = replica.state().read().secrets().clone();
                let made = entry.and_then(|entry| {
                    maker.make(make, &secrets, &entry).map_err(|error| in_full(&error))
                });
                match made {
                    Ok(made) => Task::Made(
                        made.evidence,
                        self.shown(&format!("snapshot_{seqno}.unfinished")),
                    ),
                    Err(why) => Task::NotMade(seqno, why),
                }
            }
            SnapshotTask::Finish(finish) => {
                let Some(storage) = &self.storage else { return Task::Nothing };
                let is_durable = self.making.never_waits
                    || storage.ledger().files().is_durable(finish.signature);
                let since = *self.making.waits_since.get_or_insert(time);
                if !is_durable && time - since < DURABLE_WAIT_US {
                    self.making.tasks.push_front(SnapshotTask::Finish(finish));
                    return Task::Waits;
                }
                self.making.waits_since = None;
                let Some(maker) = &mut self.making.maker else { return Task::Nothing };
                match maker.claim(&finish.snapshot) {
                    Claim::Own(unfinished) if is_durable => {
                        self.finish_snapshot(&finish, unfinished)
                    }
                    Claim::Own(unfinished) => {
                        maker.discard(unfinished);
                        Task::NotComplete("its evidence does not get durable".into())
                    }
                    Claim::Other { found } => Task::Other(found),
                    Claim::Nothing => Task::Nothing,
                }
            }
        }
    }

    fn finish_snapshot(
        &self,
        finish: &coco_replica::FinishSnapshot,
        unfinished: Unfinished<SimFile>,
    ) -> Task {
        let (Some(maker), Some(replica)) = (&self.making.maker, &self.replica) else {
            return Task::Nothing;
        };
        let entries = [finish.evidence.seqno, finish.signature].map(|seqno| self.entry(seqno));
        let [Ok(evidence), Ok(signature)] = entries else {
            maker.discard(unfinished);
            return Task::NotComplete("the ledger does not give its evidence".into());
        };
        let entries = [&evidence[..], &signature[..]];
        let secrets = replica.state().read().secrets().clone();
        match maker.finish(unfinished, finish, &secrets, &replica.state(), entries) {
            Ok(name) => Task::Complete(name, self.shown(&name.to_string())),
            Err(error) => Task::NotComplete(in_full(&error)),
        }
    }

    /// What its host sees in a file of the snapshots.
    ///
    /// # Panics
    /// When there is none of this name.
    #[must_use]
    pub fn shown(&self, name: &str) -> Vec<u8> {
        self.snapshot_folder().seen(name).expect("it was just written")
    }

    /// An entry, from its files, as far as its tree vouches for it.
    fn entry(&self, seqno: Seqno) -> Result<Bytes, String> {
        let (Some(storage), Some(replica)) = (&self.storage, &self.replica) else {
            return Err("it is down".into());
        };
        let bytes = storage.ledger().files().read(seqno).map_err(|error| in_full(&error))?;
        let leaf = EntryView::parse(&bytes).map(|entry| entry.leaf());
        let state = replica.state();
        let state = state.read();
        if leaf.is_ok_and(|leaf| state.tree().leaf(seqno.0) == Some(leaf)) {
            Ok(bytes)
        } else {
            Err(format!("entry {seqno} is not what it was"))
        }
    }
}

/// The complete snapshots that a host finds on the disk of a node, oldest first; none when the disk does not say.
#[must_use]
pub fn snapshots(machine: &Machine) -> Vec<SnapshotName> {
    let names = machine.snapshot_folder().names().unwrap_or_default();
    let mut names: Vec<SnapshotName> = names.iter().filter_map(|name| name.parse().ok()).collect();
    names.sort_unstable();
    names
}

/// An error with its causes.
pub(crate) fn in_full(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
