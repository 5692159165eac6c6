//! The state at start-up: from the newest snapshot that can be used and the entries after it, or from all entries.
//!
//! A snapshot is used when its proof holds under the service's key, or under that of a service before it which the entries
//! after the snapshot endorse; when it opens under the ledger secret, and the entries
//! after it are there without a gap, sign the tree that grows from it, and hold its evidence. One that is not is passed
//! over for the next older. A ledger that ends before the evidence of a snapshot that holds has lost what was committed:
//! then the node does not start.

use std::{collections::VecDeque, convert::Infallible};

use coco_kv::{MapName, MapSpec};
use coco_ledger::{
    ChunkName, ENDORSEMENTS_MAX, EndorsedService, EndorsementRow, EntryView, FileError, Folder,
    LedgerFiles, LedgerFilesError, PREVIOUS_ENDORSEMENT_MAP, ReplayError, ServiceKey,
    SnapshotError, SnapshotFault, SnapshotFile, SnapshotName, VerifiedSnapshot, VerifyReceiptError,
    singleton_key,
};
use coco_types::{Seqno, TxId};
use thiserror::Error;

use crate::{Keyring, LoadError, Loader, RestoreSnapshotError, SnapshotFiles};

/// Why a snapshot was passed over.
#[derive(Debug, Error)]
pub enum UseSnapshotError {
    /// Its file cannot be read.
    #[error("cannot read it")]
    Read(#[source] FileError),
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
    /// The ledger that there is without it ends before the entry that proves it.
    #[error("its evidence is in the entry {evidence}, and without it the ledger ends at {last}")]
    Before {
        /// Where the evidence is.
        evidence: Seqno,
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
    Snapshots(#[source] FileError),
    /// Chunk files are missing, and no snapshot makes up for them.
    #[error(
        "no snapshot can be used instead of the chunk files that are not there ({})",
        if refused.is_empty() { "there is none" } else { refused }
    )]
    NoSnapshot {
        /// The snapshots that there are, with what is wrong with them.
        refused: String,
        /// The last entry that one of them proves to be committed, if it lacks nothing but the entries after it.
        proved: Seqno,
        /// What is missing.
        source: LedgerFilesError,
    },
    /// The ledger lacks what a good snapshot proves to be committed.
    #[error("{snapshot}: the disk lost entries that were committed, or was set back")]
    SetBack {
        /// The snapshot.
        snapshot: SnapshotName,
        /// What it proves, and what is there.
        source: Box<UseSnapshotError>,
    },
}

impl LoadLedgerError {
    /// Whether files are missing, which other nodes may have. What is damaged is for the operator to look at.
    #[must_use]
    pub const fn is_loss(&self) -> bool {
        match self {
            Self::NoSnapshot { .. } | Self::SetBack { .. } => true,
            Self::Files(_) | Self::Entry { .. } | Self::Snapshots(_) => false,
        }
    }

    /// Up to which entry a ledger reaches at least that makes up for it: what good snapshots of this one prove to be committed.
    /// With less a start would be refused again.
    #[must_use]
    pub const fn at_least(&self) -> Seqno {
        match self {
            Self::SetBack { snapshot, .. } => snapshot.evidence,
            Self::NoSnapshot { proved, .. } => *proved,
            Self::Files(_) | Self::Entry { .. } | Self::Snapshots(_) => Seqno::ZERO,
        }
    }
}

/// What a node knows of its ledger before it reads it.
#[derive(Clone, Copy)]
pub struct LoadLedger<'a> {
    /// What entries and snapshots are sealed under.
    pub keyring: &'a Keyring,
    /// Whose proof a snapshot needs.
    pub service: &'a dyn ServiceKey,
    /// The maps of the adapter.
    pub schema: &'a [MapSpec],
    /// Entries below the committed one that stay readable.
    pub retained_entries: u64,
}

impl std::fmt::Debug for LoadLedger<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadLedger").finish_non_exhaustive()
    }
}

impl LoadLedger<'_> {
    /// Makes the state, and says from which snapshot. `refused` hears of each that is passed over.
    ///
    /// # Errors
    /// [`LoadLedgerError`].
    pub fn load<F: Folder>(
        &self,
        files: &mut LedgerFiles<F>,
        snapshots: &SnapshotFiles<F>,
        mut refused: impl FnMut(SnapshotName, &UseSnapshotError),
    ) -> Result<(Loader, Option<SnapshotName>), LoadLedgerError> {
        let mut reasons = Vec::new();
        // The newest that was verified and lacks entries after it.
        let mut proved: Option<SnapshotName> = None;
        let is_whole = |loader: &Loader, proved: Option<SnapshotName>| match proved {
            Some(snapshot) if loader.last().seqno < snapshot.evidence => {
                let (evidence, last) = (snapshot.evidence, loader.last());
                let source = Box::new(UseSnapshotError::Before { evidence, last });
                Err(LoadLedgerError::SetBack { snapshot, source })
            }
            Some(_) | None => Ok(()),
        };
        for name in snapshots.newest_first().map_err(LoadLedgerError::Snapshots)? {
            let used = snapshots.read(name).map_err(UseSnapshotError::Read);
            match used.and_then(|bytes| self.start_from(name, &bytes, files)) {
                Ok(loader) => {
                    is_whole(&loader, proved)?;
                    return Ok((loader, Some(name)));
                }
                // A node that helped to commit what it has lost must not vote as if it had not. No crash does this: a
                // file is complete only once its evidence is durable in the ledger beside it.
                Err(error @ UseSnapshotError::Short { .. }) => {
                    let source = Box::new(error);
                    return Err(LoadLedgerError::SetBack { snapshot: name, source });
                }
                Err(error) => {
                    // It was verified before entries after it were looked for.
                    if matches!(
                        error,
                        UseSnapshotError::Files(_) | UseSnapshotError::Entries { .. }
                    ) {
                        proved = proved.max(Some(name));
                    }
                    refused(name, &error);
                    reasons.push(format!("{name}: {}", in_full(&error)));
                }
            }
        }
        let mut loader = self.empty();
        let evidence = proved.map_or(Seqno::ZERO, |name| name.evidence);
        replay(&mut loader, files).map_err(|error| match error {
            // Without its first chunks a ledger needs a snapshot: say what was wrong with those that there are.
            ReplayError::Files(source @ LedgerFilesError::Archived { .. }) => {
                let refused = reasons.join("; ");
                LoadLedgerError::NoSnapshot { refused, proved: evidence, source }
            }
            ReplayError::Files(source) => LoadLedgerError::Files(source),
            ReplayError::Taker { file, offset, source } => {
                LoadLedgerError::Entry { file, offset, source }
            }
        })?;
        is_whole(&loader, proved)?;
        Ok((loader, None))
    }

    /// Makes the state from the bytes of a snapshot file and the entries after it. Neither is believed.
    ///
    /// # Errors
    /// [`UseSnapshotError`].
    pub fn start_from<F: Folder>(
        &self,
        name: SnapshotName,
        bytes: &[u8],
        files: &mut LedgerFiles<F>,
    ) -> Result<Loader, UseSnapshotError> {
        let mut loader = match self.restored(name, bytes) {
            Err(error) if is_of_another_service(&error) => {
                // Nothing of it is proved yet, whatever the files lack.
                let Ok(endorsed) = self.endorsed(files, name.seqno.next()) else {
                    return Err(error);
                };
                self.restored_of(name, bytes, &endorsed).unwrap_or(Err(error))?
            }
            restored => restored?,
        };
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
}

impl LoadLedger<'_> {
    /// A ledger without entries.
    #[must_use]
    pub(crate) fn empty(&self) -> Loader {
        let (keyring, schema) = (self.keyring.clone(), self.schema.to_vec());
        let index_key = keyring.secrets.index_key();
        Loader::new(keyring, schema, index_key, self.retained_entries)
    }

    /// The ledger up to a snapshot, whose file is not believed. What comes after must show its evidence.
    pub(crate) fn restored(
        &self,
        name: SnapshotName,
        bytes: &[u8],
    ) -> Result<Loader, UseSnapshotError> {
        self.restored_from(SnapshotFile::split(bytes)?.verify_under(name, self.service)?)
    }

    fn restored_from(&self, snapshot: VerifiedSnapshot<'_>) -> Result<Loader, UseSnapshotError> {
        let (keyring, schema) = (self.keyring.clone(), self.schema.to_vec());
        Ok(Loader::from_snapshot(keyring, schema, self.retained_entries, snapshot)?)
    }

    /// The same, of one that a service of before stands by; nothing, when it is of none of these.
    fn restored_of(
        &self,
        name: SnapshotName,
        bytes: &[u8],
        endorsed: &[EndorsedService],
    ) -> Option<Result<Loader, UseSnapshotError>> {
        let file = SnapshotFile::split(bytes).ok()?;
        let snapshot = endorsed.iter().find_map(|service| file.verify_of(name, service).ok())?;
        Some(self.restored_from(snapshot).map(|mut loader| {
            loader.core.begins_with_another = true;
            loader
        }))
    }

    /// The services before this one, the newest first, as far as the entries from one on endorse them: those with which
    /// services began anew.
    fn endorsed<F: Folder>(
        &self,
        files: &mut LedgerFiles<F>,
        from: Seqno,
    ) -> Result<Vec<EndorsedService>, UseSnapshotError> {
        let map = MapName::from_static(PREVIOUS_ENDORSEMENT_MAP);
        let mut rows = VecDeque::new();
        let read = files.replay(from, |entry, _| {
            let view = EntryView::parse(&entry).ok();
            let writes = view.and_then(|entry| entry.public_writes().ok());
            let row = writes.and_then(|writes| Some(writes.get(&map, singleton_key())?.to_vec()));
            if rows.len() == ENDORSEMENTS_MAX && row.is_some() {
                rows.pop_front();
            }
            rows.extend(row.and_then(|row| EndorsementRow::read(&row).ok()));
            Ok::<(), Infallible>(())
        });
        if let Err(ReplayError::Files(error)) = read {
            return Err(UseSnapshotError::Files(error));
        }
        let mut services: Vec<EndorsedService> = Vec::new();
        for row in rows.iter().rev() {
            let expected =
                services.last().map_or_else(|| self.service.digest(), |it| it.key.digest());
            let Ok(endorser) = row.endorser() else { break };
            let Some(service) =
                row.verify(&endorser).ok().filter(|_| endorser.digest() == expected)
            else {
                break;
            };
            services.push(service);
        }
        Ok(services)
    }
}

/// Whether a snapshot was refused because its receipt is under the key of another service, which may be one of before.
const fn is_of_another_service(error: &UseSnapshotError) -> bool {
    matches!(
        error,
        UseSnapshotError::Verify(SnapshotError {
            fault: SnapshotFault::Receipt(VerifyReceiptError::ServiceKey { .. }),
            ..
        })
    )
}

/// Has the loader take every entry that it has not.
fn replay<F: Folder>(
    loader: &mut Loader,
    files: &mut LedgerFiles<F>,
) -> Result<(), ReplayError<Box<LoadError>>> {
    let from = loader.last().seqno.next();
    files.replay(from, |entry, is_committed| loader.push(entry, is_committed).map_err(Box::new))
}

/// An error with its causes.
pub(crate) fn in_full(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
