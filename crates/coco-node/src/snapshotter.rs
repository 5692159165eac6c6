//! The thread that makes snapshots. Nothing waits for it, and nothing is lost when it fails: a snapshot saves time at
//! the next start, and the ledger holds everything.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    time::{Duration, Instant},
};

use coco_adapter::HistoryError;
use coco_replica::{
    Claim, CompleteSnapshotError, FinishSnapshot, MadeSnapshot, MakeSnapshot, SnapshotMaker,
    SnapshotTask, Unfinished, WriteSnapshotError,
};
use coco_types::{Digest, Seqno};
use thiserror::Error;
use tracing::{info, warn};

use crate::{
    clock::millis_since,
    disk::in_full,
    driver::{Inbox, Job},
    folder::{DiskFile, DiskFolder},
    history::LedgerHistory,
    metrics::Metrics,
    snapshot_files::SnapshotFiles,
};

/// How often, and for how long, the ledger's own disk is waited for before a snapshot is completed.
const DURABLE_POLL: Duration = Duration::from_millis(10);
const DURABLE_WAIT: Duration = Duration::from_secs(60);

/// Why a snapshot was not made, or not completed.
#[derive(Debug, Error)]
enum SnapshotterError {
    #[error("the ledger does not give an entry")]
    History(#[from] HistoryError),
    #[error(transparent)]
    Write(#[from] WriteSnapshotError),
    #[error(transparent)]
    Complete(#[from] CompleteSnapshotError),
    #[error("entry {0} has not reached this node's ledger files")]
    NotDurable(Seqno),
}

/// What the thread works with.
pub(crate) struct Snapshotter {
    maker: SnapshotMaker<DiskFolder>,
    history: Arc<LedgerHistory>,
    inbox: Inbox,
    metrics: Arc<Metrics>,
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
        let maker = SnapshotMaker::new(snapshots);
        let snapshotter = Self { maker, history, inbox, metrics };
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
        let digest: Option<Digest> = made.ok().map(|made| made.evidence.digest);
        self.inbox.put(Job::SnapshotMade(id.seqno, digest));
    }

    fn take_finish(&mut self, finish: &FinishSnapshot) {
        let name = finish.name();
        match self.maker.claim(&finish.snapshot) {
            Claim::Own(unfinished) => {
                if let Err(error) = self.finish(finish, unfinished) {
                    warn!(%name, error = in_full(&error), "the snapshot is not completed");
                }
            }
            Claim::Other { found } => {
                let expected = finish.snapshot.digest;
                warn!(%name, %expected, %found, "this node made another snapshot than the primary");
            }
            Claim::Nothing => {}
        }
    }

    fn make(&mut self, make: MakeSnapshot) -> Result<MadeSnapshot, SnapshotterError> {
        let started = Instant::now();
        let seqno = make.tx_id().seqno;
        let entry = self.history.entry(seqno)?;
        let made = self.maker.make(make, &self.history.secrets(), &entry)?;
        info!(%seqno, bytes = made.bytes, millis = millis_since(started), "snapshot made");
        Ok(made)
    }

    fn finish(
        &self,
        finish: &FinishSnapshot,
        unfinished: Unfinished<DiskFile>,
    ) -> Result<(), SnapshotterError> {
        // A node may hear of a commit before its own disk has the entries. A file that promises more than the ledger
        // beside it holds would be refused after a crash.
        let started = Instant::now();
        while !self.history.files().is_durable(finish.signature) {
            if started.elapsed() > DURABLE_WAIT {
                self.maker.discard(unfinished);
                return Err(SnapshotterError::NotDurable(finish.signature));
            }
            std::thread::sleep(DURABLE_POLL);
        }
        let evidence = self.history.entry(finish.evidence.seqno)?;
        let signature = self.history.entry(finish.signature)?;
        let (secrets, state) = (self.history.secrets(), self.history.state());
        let entries = [&evidence[..], &signature[..]];
        let name = self.maker.finish(unfinished, finish, &secrets, state, entries)?;
        self.metrics.snapshot.set(i64::try_from(name.seqno.0).unwrap_or(i64::MAX));
        info!(%name, "snapshot complete");
        Ok(())
    }
}
