//! The state at start-up: from the newest snapshot that can be used and the entries after it, or from all entries.
//!
//! A snapshot is used when its proof holds under this node's own service certificate, it opens under the ledger secret,
//! and the entries after it are there without a gap, sign the tree that grows from it, and hold its evidence. One that
//! is not is named in the log and passed over for the next older. A ledger that ends before the evidence of a snapshot
//! that holds has lost what was committed: then the node does not start.

use std::{
    io,
    path::{Path, PathBuf},
    time::Instant,
};

use coco_evm::state;
use coco_ledger::{
    ChunkName, LedgerFilesError, ReplayError, SnapshotError, SnapshotFile, SnapshotName,
};
use coco_replica::{LoadError, Loader, RestoreSnapshotError};
use coco_types::TxId;
use thiserror::Error;
use tracing::{info, warn};

use crate::{
    disk::in_full,
    folder::LedgerFiles,
    identity::Identity,
    snapshot_files::{SNAPSHOT_FOLDER, SnapshotFiles},
};

/// Why a snapshot was passed over.
#[derive(Debug, Error)]
pub enum UseSnapshotError {
    /// Its file cannot be read.
    #[error("cannot read it")]
    Read(#[source] io::Error),
    /// It is damaged, or the service does not stand by it.
    #[error("it does not verify")]
    Verify(#[from] SnapshotError),
    /// It is not of this ledger.
    #[error("it does not restore")]
    Restore(#[from] RestoreSnapshotError),
    /// The chunk files after it are not all there, or damaged.
    #[error("the chunk files after it do not replay")]
    Files(#[source] LedgerFilesError),
    /// The entries after it do not go on from it.
    #[error("{file} at offset {offset}, after it, does not replay")]
    Entries {
        /// In which file.
        file: ChunkName,
        /// Where the entry begins that is refused.
        offset: u64,
        /// The cause.
        source: Box<LoadError>,
    },
    /// The ledger ends before the entry that proves it.
    #[error("its evidence is in {evidence}, the ledger ends at {last}")]
    Short {
        /// Where the evidence is.
        evidence: TxId,
        /// The ledger's end.
        last: TxId,
    },
}

/// Why no state was made.
#[derive(Debug, Error)]
pub enum LoadLedgerError {
    /// The chunk files cannot be read, or are damaged.
    #[error("the chunk files do not replay")]
    Files(#[source] LedgerFilesError),
    /// An entry cannot be taken.
    #[error("{file} at offset {offset} does not replay")]
    Entry {
        /// In which file.
        file: ChunkName,
        /// Where the entry begins that is refused.
        offset: u64,
        /// The cause.
        source: Box<LoadError>,
    },
    /// The folder of snapshots cannot be listed.
    #[error("the snapshots cannot be listed")]
    Snapshots(#[source] io::Error),
    /// Chunk files are missing, and no snapshot makes up for them.
    #[error(
        "no snapshot can be used instead of the chunk files that are not there ({})",
        if refused.is_empty() { "there is none" } else { refused }
    )]
    NoSnapshot {
        /// The snapshots that there are, with what is wrong with them.
        refused: String,
        /// What is missing.
        source: LedgerFilesError,
    },
    /// The ledger lacks what a good snapshot proves to be committed.
    #[error("{}: the disk lost entries that were committed, or was set back", path.display())]
    SetBack {
        /// The snapshot.
        path: PathBuf,
        /// What it proves, and what is there.
        source: Box<UseSnapshotError>,
    },
}

impl LoadLedgerError {
    /// Whether files are missing, which other nodes have. What is damaged is for the operator to look at.
    pub(crate) const fn is_loss(&self) -> bool {
        match self {
            Self::NoSnapshot { .. } | Self::SetBack { .. } => true,
            Self::Files(_) | Self::Entry { .. } | Self::Snapshots(_) => false,
        }
    }
}

/// Makes the state.
pub(crate) fn load_ledger(
    identity: &Identity,
    retained_entries: u64,
    files: &mut LedgerFiles,
    snapshots: &SnapshotFiles,
) -> Result<Loader, LoadLedgerError> {
    let started = Instant::now();
    let mut refused = Vec::new();
    for name in snapshots.newest_first().map_err(LoadLedgerError::Snapshots)? {
        let path = snapshots.path(name);
        match from_snapshot(identity, retained_entries, files, snapshots, name) {
            Ok(loader) => {
                let millis = started.elapsed().as_millis();
                info!(snapshot = %name, last = %loader.last(), millis, "ledger loaded");
                return Ok(loader);
            }
            // A node that helped to commit what it has lost must not vote as if it had not. No crash does this: a file is
            // complete only once its evidence is durable in the ledger beside it.
            Err(error @ UseSnapshotError::Short { .. }) => {
                return Err(LoadLedgerError::SetBack { path, source: Box::new(error) });
            }
            Err(error) => {
                let error = in_full(&error);
                warn!(file = %path.display(), error, "the snapshot cannot be used");
                refused.push(format!("{}: {error}", path.display()));
            }
        }
    }
    let mut loader = from_genesis(identity, retained_entries);
    replay(&mut loader, files).map_err(|error| match error {
        // Without its first chunks a ledger needs a snapshot: say what was wrong with those that there are.
        ReplayError::Files(source @ LedgerFilesError::Archived { .. }) => {
            LoadLedgerError::NoSnapshot { refused: refused.join("; "), source }
        }
        ReplayError::Files(source) => LoadLedgerError::Files(source),
        ReplayError::Taker { file, offset, source } => {
            LoadLedgerError::Entry { file, offset, source }
        }
    })?;
    info!(last = %loader.last(), millis = started.elapsed().as_millis(), "ledger replayed");
    Ok(loader)
}

/// A ledger without entries.
pub(crate) fn from_genesis(identity: &Identity, retained_entries: u64) -> Loader {
    let secret = identity.ledger_secret();
    let index_key = secret.index_key();
    Loader::new(secret, state::schema(), index_key, retained_entries)
}

fn from_snapshot(
    identity: &Identity,
    retained_entries: u64,
    files: &mut LedgerFiles,
    snapshots: &SnapshotFiles,
    name: SnapshotName,
) -> Result<Loader, UseSnapshotError> {
    let bytes = snapshots.read(name).map_err(UseSnapshotError::Read)?;
    let snapshot = SnapshotFile::split(&bytes)?.verify(name, &identity.service_cert.pem())?;
    let secret = identity.ledger_secret();
    let mut loader = Loader::from_snapshot(secret, state::schema(), retained_entries, snapshot)?;
    drop(bytes);
    replay(&mut loader, files).map_err(|error| match error {
        ReplayError::Files(error) => UseSnapshotError::Files(error),
        ReplayError::Taker { file, offset, source } => {
            UseSnapshotError::Entries { file, offset, source }
        }
    })?;
    match loader.awaited() {
        Some(evidence) => Err(UseSnapshotError::Short { evidence, last: loader.last() }),
        None => Ok(loader),
    }
}

/// Has the loader take every entry that it has not.
fn replay(loader: &mut Loader, files: &mut LedgerFiles) -> Result<(), ReplayError<Box<LoadError>>> {
    let from = loader.last().seqno.next();
    files.replay(from, |entry, is_committed| loader.push(entry, is_committed).map_err(Box::new))
}

/// The folder of snapshots inside a node's folder.
pub(crate) fn snapshot_folder(data_dir: &Path) -> PathBuf {
    data_dir.join(SNAPSHOT_FOLDER)
}
