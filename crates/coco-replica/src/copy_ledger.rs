//! A copy of another node's ledger, verified as it comes, and its way into this node's folders.
//!
//! The order of the steps keeps a crash harmless: the snapshot gets its name only after the entries are durable, so what
//! is left before has a gap, or is the old ledger.

use bytes::Bytes;
use coco_ledger::{
    EntryFlags, EntryView, FileError, Folder, LedgerFiles, LedgerFilesError, SnapshotName,
};
use coco_types::{Seqno, TxId};
use thiserror::Error;

use crate::{LoadError, LoadLedger, Loader, SnapshotFiles, Unfinished, UseSnapshotError};

/// Bytes of entries that are copied, beyond those that lead to a snapshot's evidence. The primary sends the rest.
const ENTRIES_BYTES_MAX: usize = 64 << 20;

/// What was copied so far.
#[derive(Debug)]
pub struct CopiedLedger {
    snapshot: Option<SnapshotName>,
    loader: Loader,
    /// What comes after the snapshot, and whether chunks end.
    entries: Vec<(Bytes, bool)>,
    bytes: usize,
}

/// A copy that cannot be put in its place.
#[derive(Debug, Error)]
pub enum PlaceCopyError {
    /// The chunk files.
    #[error("cannot write the ledger's files")]
    Files(#[from] LedgerFilesError),
    /// The snapshot.
    #[error("cannot write the snapshot")]
    Snapshot(#[from] FileError),
}

impl CopiedLedger {
    /// Begins with a snapshot file, or with nothing.
    ///
    /// # Errors
    /// [`UseSnapshotError`] when the service does not stand by the snapshot, or it is of another ledger.
    pub fn begin(
        load: &LoadLedger<'_>,
        snapshot: Option<(SnapshotName, &[u8])>,
    ) -> Result<Self, UseSnapshotError> {
        let loader = match snapshot {
            Some((name, bytes)) => load.restored(name, bytes)?,
            None => load.empty(),
        };
        let snapshot = snapshot.map(|(name, _)| name);
        Ok(Self { snapshot, loader, entries: Vec::new(), bytes: 0 })
    }

    /// The entry that is needed next.
    #[must_use]
    pub fn next(&self) -> Seqno {
        self.last().next()
    }

    /// The last entry so far.
    #[must_use]
    pub fn last(&self) -> Seqno {
        self.loader.last().seqno
    }

    /// Takes the next entry.
    ///
    /// # Errors
    /// [`LoadError`] when it does not follow the one before, or is not of this ledger.
    pub fn push(&mut self, entry: Bytes) -> Result<(), LoadError> {
        let seqno = self.next();
        self.loader.push(entry.clone(), false)?;
        let view = EntryView::parse(&entry).map_err(|source| LoadError::Entry { seqno, source })?;
        let chunk_ends = view.flags().contains(EntryFlags::CHUNK_AFTER);
        self.bytes += entry.len();
        self.entries.push((entry, chunk_ends));
        Ok(())
    }

    /// Whether a node can start from it, of a ledger that is committed up to `committed`, as far as its owner knows; that
    /// is nothing when it has just started.
    #[must_use]
    pub fn is_enough(&self, committed: Seqno) -> bool {
        let is_signed = self.loader.state().read().last_signature(self.last()).is_some();
        is_signed
            && self.loader.awaited().is_none()
            && (self.last() >= committed || self.bytes >= ENTRIES_BYTES_MAX)
    }

    /// The last entry of it that is committed, where its owner says that the ledger is committed up to `told`. Whoever starts
    /// from the copy must know: the files' names prove nothing to a node that does not believe its host, and a primary whose own
    /// ledger begins later can only go on from there.
    #[must_use]
    pub fn committed(&self, told: Seqno) -> TxId {
        self.loader.state().read().tx_id(told.min(self.last()))
    }

    /// Puts it into a node's folders; `unfinished` is the snapshot's file. Durable on return.
    ///
    /// # Errors
    /// [`PlaceCopyError`].
    pub fn place<F: Folder>(
        self,
        mut files: LedgerFiles<F>,
        snapshots: &SnapshotFiles<F>,
        unfinished: Option<Unfinished<F::File>>,
    ) -> Result<(), PlaceCopyError> {
        let Self { snapshot, entries, loader, .. } = self;
        drop(loader);
        files.skip_to(snapshot.map_or(Seqno::ZERO, |name| name.seqno))?;
        let mut writer = files.into_writer()?;
        for (entry, chunk_ends) in &entries {
            writer.append(entry, *chunk_ends)?;
        }
        writer.sync()?;
        if let (Some(name), Some(unfinished)) = (snapshot, unfinished) {
            snapshots.finish(unfinished, name, &[])?;
        }
        Ok(())
    }
}
