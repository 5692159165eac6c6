//! How a node gets a copy of the ledger from another one, before it starts.
//!
//! It needs one when its ledger is lost, when its first chunks are missing and no snapshot makes up for them, and when
//! the primary has archived what it lacks. The newest snapshot that anybody offers is taken, with the committed entries
//! after it; without one the ledger from its beginning. What is then still missing comes from the primary. Everything is
//! verified on the way, as at each start: the snapshot by its receipt under this node's own service certificate, the
//! entries by the tree that grows from it.
//! A copy that a crash cut short is made again by the next start.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use coco_consensus::HardState;
use coco_ledger::{FileError, SnapshotName};
use coco_replica::{
    CopiedLedger, HardStateFile, LoadError, PlaceCopyError, SNAPSHOT_FILE_BYTES_MAX, Unfinished,
    UseSnapshotError,
};
use coco_types::{Seqno, TxId, View, codec::DecodeError};
use thiserror::Error;
use tokio::{runtime, time::sleep};
use tracing::{info, warn};

use crate::{
    clock::seconds_now,
    config::NodeConfig,
    copy::{CopyAnswer, CopyQuestion, Offer},
    disk::in_full,
    folder::{DiskFile, LedgerFiles},
    frame::Frame,
    identity::Identity,
    peers::Asked,
    replay::Known,
    shown::Shown,
    snapshot_files::SnapshotFiles,
    tls::PeerTls,
};

/// Name of the file in a node's folder that says that the next start has to copy, and up to which entry at least.
const WANTED_FILE: &str = "copy.wanted";

/// How long a node looks for somebody who has what it needs.
const COPY_TIME_MAX: Duration = Duration::from_secs(60);
/// Time for a part of a copy: a megabyte, or an entry, on a slow line.
const PART_TIME: Duration = Duration::from_secs(30);
/// Wait after nobody had it.
const RETRY_WAIT: Duration = Duration::from_millis(500);

/// Why there is no copy.
#[derive(Debug, Error)]
pub enum CopyError {
    /// Nobody gave one. The last reasons are in the log.
    #[error(
        "no other node gave a copy of the ledger within {} s; is one of them reached at {}? Where this log says that copies are \
         not taken, have the network make a snapshot (coco proposal create snapshot) and start this node again",
        COPY_TIME_MAX.as_secs(),
        .0.join(", ")
    )]
    Nobody(Vec<String>),
    /// There is nobody to ask.
    #[error(
        "neither this node's configuration nor its ledger says where another node is: add one to `nodes`, with its id, peer and \
         client"
    )]
    NobodyKnown,
    /// It cannot be written into this node's folders.
    #[error("cannot keep the copy of the ledger")]
    Place(#[from] PlaceCopyError),
    /// The mark that a copy is wanted cannot be written, read or removed.
    #[error("cannot access {path}")]
    File {
        /// Which one.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// View and vote cannot be written.
    #[error("cannot write view and vote")]
    HardState(#[from] FileError),
    /// Certificates and keys do not fit.
    #[error("the certificates in the sealed identity cannot be used for TLS")]
    Tls(#[from] rustls::Error),
    /// A thread cannot be made.
    #[error("cannot start a runtime")]
    Runtime(#[source] io::Error),
}

/// Why what one node gave is not taken. Another one is asked.
#[derive(Debug, Error)]
enum RefusedCopy {
    #[error("it cannot be reached, or does not answer")]
    Channel(#[from] io::Error),
    #[error("it does not have it any more")]
    Gone,
    #[error(
        "it is committed to {committed}, and this node has acknowledged entries up to {at_least}"
    )]
    Short { at_least: Seqno, committed: Seqno },
    #[error("its answer is to another question")]
    Answer,
    #[error("its snapshot has {0} bytes, of at most {SNAPSHOT_FILE_BYTES_MAX}")]
    Large(u64),
    #[error("its snapshot cannot be used")]
    Snapshot(#[from] UseSnapshotError),
    #[error("it does not read")]
    Decode(#[from] DecodeError),
    #[error("its entries do not follow one another")]
    Load(#[from] LoadError),
    #[error("cannot keep its snapshot")]
    Keep(#[from] FileError),
}

/// Has the next start copy the ledger from another node, up to an entry at least. Durable on return.
pub(crate) fn want_copy(data_dir: &Path, at_least: Seqno) -> Result<(), CopyError> {
    let path = data_dir.join(WANTED_FILE);
    let mark = || {
        let mut file = fs::File::create(&path)?;
        file.write_all(at_least.to_string().as_bytes())?;
        file.sync_all()?;
        fs::File::open(data_dir)?.sync_all()
    };
    mark().map_err(|source| CopyError::File { path: path.clone(), source })
}

/// The entry up to which a copy was wanted at least, if one was.
pub(crate) fn copy_wanted(data_dir: &Path) -> Result<Option<Seqno>, CopyError> {
    let path = data_dir.join(WANTED_FILE);
    let failed = |source| CopyError::File { path: path.clone(), source };
    match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
        Ok(text) => match text.parse() {
            Ok(at_least) => Ok(Some(Seqno(at_least))),
            Err(_) => Err(failed(io::Error::new(io::ErrorKind::InvalidData, "no seqno is in it"))),
        },
    }
}

/// What of a node's folder a copy is put into.
pub(crate) struct Target<'a> {
    pub(crate) files: LedgerFiles,
    pub(crate) snapshots: &'a SnapshotFiles,
    pub(crate) hard_state: &'a mut HardStateFile<DiskFile>,
    /// View and vote that were there.
    pub(crate) found: Option<HardState>,
}

/// Copies the ledger from whoever of `others` has the newest snapshot; the last entry of it that is committed.
pub(crate) fn copy_ledger(
    config: &NodeConfig,
    seat: &Identity,
    others: &[String],
    known: &Known,
    at_least: Seqno,
    target: Target<'_>,
) -> Result<TxId, CopyError> {
    let Target { files, snapshots, hard_state, found } = target;
    if others.is_empty() {
        return Err(CopyError::NobodyKnown);
    }
    let started = Instant::now();
    let tls = PeerTls::new(seat, &Arc::new(Shown::new(seat, seconds_now(), None)?))?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let Taken { unfinished, copied, committed } =
        runtime.map_err(CopyError::Runtime)?.block_on(async {
            loop {
                let taker = Taker { known, tls: &tls, snapshots, at_least };
                match taker.take(others).await {
                    Some(taken) => return Ok(taken),
                    None if started.elapsed() > COPY_TIME_MAX => {
                        return Err(CopyError::Nobody(others.to_vec()));
                    }
                    None => sleep(RETRY_WAIT).await,
                }
            }
        })?;
    let last = copied.last();
    // Whoever has started once is recognised by this file: see `seat`.
    if found.is_none() {
        hard_state.write(&HardState { view: View::GENESIS, vote: None })?;
        hard_state.sync()?;
    }
    copied.place(files, snapshots, unfinished)?;
    let wanted = config.data_dir.join(WANTED_FILE);
    if let Err(source) = fs::remove_file(&wanted)
        && source.kind() != io::ErrorKind::NotFound
    {
        return Err(CopyError::File { path: wanted, source });
    }
    let millis = started.elapsed().as_millis();
    info!(%last, millis, "copied the ledger from another node");
    Ok(committed)
}

/// A copy that verifies, not yet in its place.
struct Taken {
    unfinished: Option<Unfinished<DiskFile>>,
    copied: CopiedLedger,
    committed: TxId,
}

struct Taker<'a> {
    known: &'a Known,
    tls: &'a PeerTls,
    snapshots: &'a SnapshotFiles,
    at_least: Seqno,
}

impl Taker<'_> {
    /// Asks everybody once, and takes the best that verifies.
    async fn take(&self, others: &[String]) -> Option<Taken> {
        let mut offers = Vec::new();
        for address in others {
            match self.offer(address).await {
                Ok(offer) => offers.push((offer, address)),
                Err(error) => info!(address, error = in_full(&error), "no offer of a copy"),
            }
        }
        offers.sort_unstable();
        offers.reverse();
        // A host may have damaged the newest, or given it a name that puts it first. A ledger from its beginning is the last resort,
        // also that of others: it is long, and in memory until it is whole.
        let snapshots = offers.iter().flat_map(|(offer, address)| {
            offer.snapshots.iter().map(move |snapshot| (offer, *address, Some(*snapshot)))
        });
        let beginnings = offers.iter().map(|(offer, address)| (offer, *address, None));
        for (offer, address, candidate) in snapshots.chain(beginnings) {
            match self.copy(address, candidate, offer.committed).await {
                Ok(taken) => return Some(taken),
                Err(error) => {
                    let snapshot = candidate.map(|(name, _)| name.to_string());
                    let error = in_full(&error);
                    warn!(address, snapshot, error, "the copy is not taken");
                }
            }
        }
        None
    }

    async fn offer(&self, address: &str) -> Result<Offer, RefusedCopy> {
        let mut asked = Asked::connect(self.tls, address).await?;
        match ask(&mut asked, CopyQuestion::Offer).await? {
            CopyAnswer::Offer(offer) => Ok(offer),
            _ => Err(RefusedCopy::Answer),
        }
    }

    async fn copy(
        &self,
        address: &str,
        snapshot: Option<(SnapshotName, u64)>,
        committed: Seqno,
    ) -> Result<Taken, RefusedCopy> {
        // Whoever has just started may not know yet what is committed.
        if committed < self.at_least || committed == Seqno::ZERO {
            return Err(RefusedCopy::Short { at_least: self.at_least, committed });
        }
        let mut asked = Asked::connect(self.tls, address).await?;
        let mut unfinished = None;
        let mut copied = match snapshot {
            Some((name, bytes)) => {
                let file = self.snapshot(&mut asked, name, bytes).await?;
                let copied = CopiedLedger::begin(&self.known.load(), Some((name, &file.read()?)))?;
                unfinished = Some(file);
                copied
            }
            None => CopiedLedger::begin(&self.known.load(), None)?,
        };
        while !copied.is_enough(committed) || copied.last() < self.at_least {
            let question = CopyQuestion::Entries { from: copied.next() };
            let CopyAnswer::Entries(entries) = ask(&mut asked, question).await? else {
                return Err(RefusedCopy::Gone);
            };
            if entries.is_empty() {
                return Err(RefusedCopy::Answer);
            }
            entries.into_iter().try_for_each(|entry| copied.push(entry))?;
        }
        info!(address, last = %copied.last(), "this node's ledger is copied from there");
        let committed = copied.committed(committed);
        Ok(Taken { unfinished, copied, committed })
    }

    async fn snapshot(
        &self,
        asked: &mut Asked,
        name: SnapshotName,
        bytes: u64,
    ) -> Result<Unfinished<DiskFile>, RefusedCopy> {
        if bytes > SNAPSHOT_FILE_BYTES_MAX {
            return Err(RefusedCopy::Large(bytes));
        }
        let mut unfinished = self.snapshots.begin_copy(name.seqno)?;
        let mut offset = 0;
        while offset < bytes {
            let question = CopyQuestion::Snapshot { name, offset };
            let CopyAnswer::Part(part) = ask(asked, question).await? else {
                return Err(RefusedCopy::Gone);
            };
            if part.is_empty() || part.len() as u64 > bytes - offset {
                return Err(RefusedCopy::Answer);
            }
            unfinished.append(&part)?;
            offset += part.len() as u64;
        }
        Ok(unfinished)
    }
}

async fn ask(asked: &mut Asked, question: CopyQuestion) -> Result<CopyAnswer, RefusedCopy> {
    match asked.ask(&Frame::Copy(question.encode()), PART_TIME).await? {
        Frame::Copied(answer) => Ok(CopyAnswer::decode(&answer)?),
        _ => Err(RefusedCopy::Answer),
    }
}
