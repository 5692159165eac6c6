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
use coco_replica::{
    Persist, ReadEntriesError, SharedLedgerState, Storage, StorageError, read_entries,
};
use coco_types::Seqno;
use tracing::{debug, error};

use crate::{
    driver::{Inbox, Job},
    folder::{DiskFolder, LedgerFiles},
    history::{HANDED_ON_TIME, HANDED_ON_TRIES},
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

/// An error with all its causes.
pub(crate) fn in_full(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Reads entries back for nodes that lag, until the sender is dropped, or until the disk turns out to be damaged.
pub(crate) fn run_fetches(
    files: &LedgerFiles,
    state: &SharedLedgerState,
    fetches: &Receiver<Fetch>,
    inbox: &Inbox,
) {
    while let Ok(fetch) = fetches.recv() {
        let entries = read_patiently(files, state, &fetch).map_err(|error| {
            if error.is_fatal() {
                error!(error = in_full(&error), "cannot read entries for a node that lags");
                inbox.put(Job::DiskFailed(in_full(&error)));
            } else {
                debug!(error = in_full(&error), "cannot read entries for a node that lags");
            }
            FetchFailed::from(&error)
        });
        inbox.put(Job::Fetched(fetch.id, entries));
    }
}

/// The replica may commit an entry in place of another a moment before its driver hands it on to be written, and until
/// then the files seem to be damaged. Damage stays.
fn read_patiently(
    files: &LedgerFiles,
    state: &SharedLedgerState,
    fetch: &Fetch,
) -> Result<Vec<LogEntry>, ReadEntriesError> {
    for _ in 0..HANDED_ON_TRIES {
        match read_entries(files, state, fetch) {
            Err(error) if error.is_fatal() => std::thread::sleep(HANDED_ON_TIME),
            result => return result,
        }
    }
    read_entries(files, state, fetch)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use coco_consensus::FetchId;
    use coco_crypto::sha256;
    use coco_kv::WriteSet;
    use coco_ledger::{FirstLedger, LedgerSecret, LedgerWriter, Signer};
    use coco_replica::Loader;
    use coco_types::{Digest, NodeId};

    use super::*;

    struct Double;

    impl Signer for Double {
        fn node_id(&self) -> NodeId {
            NodeId([1; 32])
        }

        fn node_certificate_pem(&self) -> &'static str {
            "no certificate"
        }

        fn service_key_digest(&self) -> Digest {
            Digest([2; 32])
        }

        fn sign_root(&self, root: &Digest) -> Vec<u8> {
            root.0.to_vec()
        }

        fn sign_cose(&self, to_be_signed: &[u8]) -> Vec<u8> {
            sha256(to_be_signed).0.repeat(3)
        }
    }

    /// A folder of this test with a ledger of two entries, which the loader has, too.
    fn ledger(chunk_ends: bool) -> (PathBuf, LedgerWriter<DiskFolder>, Loader) {
        let path = tempfile::tempdir().expect("makes a folder").keep();
        let secret = LedgerSecret::new(&[7; 32]);
        let mut first = FirstLedger::new(secret.clone());
        first.append(&WriteSet::new()).expect("it is small");
        first.sign(&Double, 0).expect("it is small");
        let mut loader = Loader::new(secret, Vec::new(), [0; 2], 0);
        let mut writer = LedgerFiles::open(DiskFolder::new(&path))
            .and_then(LedgerFiles::into_writer)
            .expect("opens");
        for (entry, is_last) in first.into_entries().into_iter().zip([false, true]) {
            writer.append(&entry, is_last && chunk_ends).expect("appends");
            loader.push(entry, true).expect("takes");
        }
        writer.sync().expect("syncs");
        (path, writer, loader)
    }

    const FETCH: Fetch =
        Fetch { id: FetchId(1), from: Seqno(1), to: Seqno(2), bytes_max: usize::MAX };

    /// A backup that were given the damaged entry could not open it, and would stop in this node's stead.
    #[test]
    fn a_damaged_entry_is_not_served() {
        let (path, writer, loader) = ledger(false);
        let (files, state) = (writer.files(), loader.state());
        let entries = read_entries(&files, &state, &FETCH).expect("reads");
        assert_eq!(entries.len(), 2);

        let file = path.join("ledger_1");
        let mut bytes = std::fs::read(&file).expect("reads");
        bytes[100] ^= 1;
        std::fs::write(&file, bytes).expect("writes");
        let error = read_entries(&files, &state, &FETCH).expect_err("it is damaged");
        assert!(error.is_fatal());
        assert!(
            matches!(error, ReadEntriesError::Altered { seqno: Seqno(1), offset: 8, .. }),
            "{error}"
        );
        std::fs::remove_dir_all(&path).expect("removes");
    }

    /// An operator may move old chunks away while another node lags.
    #[test]
    fn an_archived_entry_is_not_served_and_does_not_stop_the_node() {
        let (path, mut writer, loader) = ledger(true);
        let (files, state) = (writer.files(), loader.state());
        files.note_committed(Seqno(2));
        writer.name_committed().expect("names");
        let [file, elsewhere] = ["ledger_1-2.committed", "elsewhere"].map(|name| path.join(name));
        std::fs::rename(&file, &elsewhere).expect("moves");
        let error = read_entries(&files, &state, &FETCH).expect_err("it is not there");
        assert!(!error.is_fatal(), "{error}");
        assert!(in_full(&error).contains("entry 1 is archived"), "{}", in_full(&error));
        std::fs::rename(&elsewhere, &file).expect("moves");
        let entries = read_entries(&files, &state, &FETCH).expect("reads");
        assert_eq!(entries.len(), 2);
        std::fs::remove_dir_all(&path).expect("removes");
    }
}
