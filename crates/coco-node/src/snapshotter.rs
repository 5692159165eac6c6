//! The thread that makes snapshots. Nothing waits for it, and nothing is lost when it fails: a snapshot saves time at
//! the next start, and the ledger holds everything.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    time::{Duration, Instant},
};

use coco_adapter::HistoryError;
use coco_ledger::{SnapshotEvidence, SnapshotName};
use coco_replica::{
    EvidenceReceiptError, FinishSnapshot, MakeSnapshot, MakeSnapshotError, SnapshotTask,
};
use coco_types::{Digest, Seqno};
use thiserror::Error;
use tracing::{info, warn};

use crate::{
    disk::in_full,
    driver::{Inbox, Job},
    history::LedgerHistory,
    metrics::Metrics,
    snapshot_files::{SnapshotFiles, Unfinished},
};

/// How often, and for how long, the ledger's own disk is waited for before a snapshot is completed.
const DURABLE_POLL: Duration = Duration::from_millis(10);
const DURABLE_WAIT: Duration = Duration::from_secs(60);

/// Snapshots that wait for evidence: a primary on a slow disk gives it when its own is written, while others are ahead.
const WAITING_MAX: usize = 4;

/// Why a snapshot was not made, or not completed.
#[derive(Debug, Error)]
enum SnapshotterError {
    #[error("the ledger does not give an entry")]
    History(#[from] HistoryError),
    #[error("the state is not written down")]
    Make(#[from] MakeSnapshotError),
    #[error("the proof is not made")]
    Receipt(#[from] EvidenceReceiptError),
    #[error("the file is not written")]
    File(#[from] io::Error),
    #[error("entry {0} has not reached this node's ledger files")]
    NotDurable(Seqno),
}

/// What the thread works with.
pub(crate) struct Snapshotter {
    snapshots: SnapshotFiles,
    history: Arc<LedgerHistory>,
    inbox: Inbox,
    metrics: Arc<Metrics>,
    /// Those without evidence yet, oldest first.
    waiting: VecDeque<(SnapshotEvidence, Unfinished)>,
}

impl Snapshotter {
    /// Starts the thread, which does tasks in their order until the sender is dropped.
    pub(crate) fn start(
        snapshots: SnapshotFiles,
        history: Arc<LedgerHistory>,
        inbox: Inbox,
        metrics: Arc<Metrics>,
    ) -> io::Result<Sender<SnapshotTask>> {
        let (sender, tasks) = channel();
        let snapshotter = Self { snapshots, history, inbox, metrics, waiting: VecDeque::new() };
        let run = move || snapshotter.run(&tasks);
        std::thread::Builder::new().name("snapshots".into()).spawn(run)?;
        Ok(sender)
    }

    fn run(mut self, tasks: &Receiver<SnapshotTask>) {
        while let Ok(task) = tasks.recv() {
            match task {
                SnapshotTask::Make(make) => self.take_make(make),
                SnapshotTask::Finish(finish) => self.take_finish(&finish),
            }
        }
    }

    fn take_make(&mut self, make: MakeSnapshot) {
        let id = make.tx_id();
        let made = self.make(make).inspect_err(|error| {
            warn!(%id, error = in_full(error), "no snapshot was made");
        });
        let digest: Option<Digest> = made.as_ref().ok().map(|(snapshot, _)| snapshot.digest);
        self.waiting.extend(made.ok());
        if self.waiting.len() > WAITING_MAX {
            discard(self.waiting.pop_front());
        }
        self.inbox.put(Job::SnapshotMade(id.seqno, digest));
    }

    fn take_finish(&mut self, finish: &FinishSnapshot) {
        let expected = finish.snapshot;
        let name = SnapshotName { seqno: expected.seqno, evidence: finish.evidence.seqno };
        // The primary gives evidence in order: what is older gets none any more.
        while let Some((made, unfinished)) =
            self.waiting.pop_front_if(|(made, _)| made.seqno <= expected.seqno)
        {
            if made == expected {
                if let Err(error) = self.finish(finish, unfinished, name) {
                    warn!(%name, error = in_full(&error), "the snapshot is not completed");
                }
                continue;
            }
            if made.seqno == expected.seqno {
                let (expected, found) = (expected.digest, made.digest);
                warn!(%name, %expected, %found, "this node made another snapshot than the primary");
            }
            discard(Some((made, unfinished)));
        }
    }

    fn make(&self, make: MakeSnapshot) -> Result<(SnapshotEvidence, Unfinished), SnapshotterError> {
        let started = Instant::now();
        let seqno = make.tx_id().seqno;
        let entry = self.history.entry(seqno)?;
        let sealed = make.seal(self.history.secret(), &entry)?;
        let sealed_ms = millis(started);
        let unfinished = self.snapshots.write(seqno, &sealed)?;
        let bytes = sealed.head.len() + sealed.sealed.len();
        info!(%seqno, bytes, sealed_ms, millis = millis(started), "snapshot made");
        Ok((SnapshotEvidence { seqno, digest: sealed.digest }, unfinished))
    }

    fn finish(
        &self,
        finish: &FinishSnapshot,
        unfinished: Unfinished,
        name: SnapshotName,
    ) -> Result<(), SnapshotterError> {
        // A node may hear of a commit before its own disk has the entries. A file that promises more than the ledger
        // beside it holds would be refused after a crash.
        let started = Instant::now();
        while !self.history.files().is_durable(finish.signature) {
            if started.elapsed() > DURABLE_WAIT {
                return Err(SnapshotterError::NotDurable(finish.signature));
            }
            std::thread::sleep(DURABLE_POLL);
        }
        let evidence = self.history.entry(finish.evidence.seqno)?;
        let signature = self.history.entry(finish.signature)?;
        let receipt =
            finish.receipt(self.history.secret(), self.history.state(), &evidence, &signature)?;
        self.snapshots.finish(unfinished, name, &receipt)?;
        self.metrics.snapshot.set(i64::try_from(name.seqno.0).unwrap_or(i64::MAX));
        info!(%name, "snapshot complete");
        self.snapshots.remove_old()?;
        Ok(())
    }
}

fn discard(waiting: Option<(SnapshotEvidence, Unfinished)>) {
    if let Some((made, unfinished)) = waiting
        && let Err(error) = unfinished.discard()
    {
        warn!(seqno = %made.seqno, %error, "an unfinished snapshot stays until the next start");
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
