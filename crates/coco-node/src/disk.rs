//! The disk thread: writes entries and hard state in the replica's order, many at a time, and says when they are
//! durable. One group of writes costs one `fdatasync`.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{Receiver, SendError, Sender, channel},
    },
    time::Instant,
};

use coco_consensus::{Fetch, FetchFailed, LogEntry};
use coco_ledger::EntryView;
use coco_replica::{Persist, Storage, StorageError};
use coco_types::Seqno;
use tracing::error;

use crate::{
    driver::{Inbox, Job},
    folder::{DiskFolder, LedgerFiles},
    metrics::Metrics,
};

/// Jobs that share one sync.
const GROUP_MAX: usize = 512;

/// What the disk thread does.
#[derive(Debug)]
enum DiskJob {
    /// Write, and report once durable.
    Persist(Persist),
    /// A closed chunk waits for its final name.
    Name,
}

/// The way to the disk thread.
#[derive(Debug)]
pub(crate) struct DiskQueue {
    jobs: Sender<DiskJob>,
    files: Arc<LedgerFiles>,
}

impl DiskQueue {
    /// Has `persist` carried out. Its entries can be read from now on.
    pub(crate) fn persist(&self, persist: Persist) {
        self.files.announce(persist.entries.iter().map(|(entry, _)| entry));
        self.send(DiskJob::Persist(persist));
    }

    /// Says that everything up to `seqno` is committed.
    pub(crate) fn committed(&self, seqno: Seqno) {
        // Most commits end no chunk, and the thread need not be woken for them.
        if self.files.note_committed(seqno) {
            self.send(DiskJob::Name);
        }
    }

    fn send(&self, job: DiskJob) {
        // The thread ends before its queue only after it reported its failure.
        let _failed: Result<(), SendError<DiskJob>> = self.jobs.send(job);
    }
}

/// The disk thread's belongings.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) storage: Storage<DiskFolder>,
    pub(crate) inbox: Inbox,
    pub(crate) metrics: Arc<Metrics>,
}

impl Disk {
    /// Starts the thread. It ends when the sender is dropped and everything is written.
    pub(crate) fn start(mut self) -> io::Result<(DiskQueue, std::thread::JoinHandle<()>)> {
        let (sender, jobs) = channel();
        let files = self.storage.ledger().files();
        let thread = std::thread::Builder::new().name("disk".into()).spawn(move || {
            if let Err(error) = self.run(&jobs) {
                let error = in_full(&error);
                error!(error, "the disk failed");
                self.inbox.put(Job::DiskFailed(error));
            }
        })?;
        Ok((DiskQueue { jobs: sender, files }, thread))
    }

    fn run(&mut self, jobs: &Receiver<DiskJob>) -> Result<(), StorageError> {
        while let Ok(first) = jobs.recv() {
            let mut tokens = Vec::new();
            let mut entries = 0;
            for job in std::iter::once(first).chain(jobs.try_iter().take(GROUP_MAX - 1)) {
                match job {
                    DiskJob::Name => {}
                    DiskJob::Persist(persist) => {
                        entries += persist.entries.len();
                        tokens.extend(persist.token);
                        self.storage.write(&persist)?;
                    }
                }
            }
            let started = Instant::now();
            if let Some(synced) = self.storage.sync()? {
                self.metrics.ledger_bytes.inc_by(synced.ledger_bytes);
                self.metrics.fsync_seconds.observe(started.elapsed().as_secs_f64());
            }
            self.storage.ledger().files().arrived(entries);
            for token in tokens {
                self.inbox.put(Job::Persisted(token));
            }
            self.storage.name_committed()?;
        }
        Ok(())
    }
}

/// An error with all its causes, for the end of a thread.
fn in_full(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Reads entries back for nodes that lag, until the sender is dropped.
pub(crate) fn run_fetches(files: &LedgerFiles, fetches: &Receiver<Fetch>, inbox: &Inbox) {
    while let Ok(fetch) = fetches.recv() {
        let entries = read_range(files, &fetch).map_err(|error| {
            error!(%error, from = %fetch.from, "cannot read entries for a node that lags");
            FetchFailed
        });
        inbox.put(Job::Fetched(fetch.id, entries));
    }
}

fn read_range(files: &LedgerFiles, fetch: &Fetch) -> io::Result<Vec<LogEntry>> {
    let mut entries = Vec::new();
    let mut bytes = 0;
    let mut seqno = fetch.from;
    while seqno <= fetch.to && (entries.is_empty() || bytes < fetch.bytes_max) {
        let data = files.read(seqno)?;
        let tx_id = EntryView::parse(&data).map_err(io::Error::other)?.tx_id();
        bytes += data.len();
        entries.push(LogEntry { tx_id, data });
        seqno = seqno.next();
    }
    Ok(entries)
}
