//! What a node keeps: the ledger's files and the hard state, written in the replica's order and made durable together.

use coco_consensus::HardState;
use coco_ledger::{FileError, Folder, LedgerFilesError, LedgerWriter};
use thiserror::Error;

use crate::{HardStateFile, Persist};

/// The two, for the one that writes.
#[derive(Debug)]
pub struct Storage<F: Folder> {
    ledger: LedgerWriter<F>,
    hard_state: HardStateFile<F::File>,
    ledger_waits: bool,
    hard_state_waits: bool,
}

/// A write or a sync that failed. Nothing on this disk can be promised any more, since the system may have dropped what
/// it held: the node stops, and never acknowledges what it could not write.
#[derive(Debug, Error)]
pub enum StorageError {
    /// The ledger's files.
    #[error("cannot keep the ledger")]
    Ledger(#[from] LedgerFilesError),
    /// The hard state's.
    #[error("cannot keep view and vote")]
    HardState(#[from] FileError),
}

/// What a sync made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synced {
    /// Bytes of the ledger.
    pub ledger_bytes: u64,
}

impl<F: Folder> Storage<F> {
    /// Takes both in.
    #[must_use]
    pub const fn new(ledger: LedgerWriter<F>, hard_state: HardStateFile<F::File>) -> Self {
        Self { ledger, hard_state, ledger_waits: false, hard_state_waits: false }
    }

    /// The ledger's files.
    #[must_use]
    pub const fn ledger(&self) -> &LedgerWriter<F> {
        &self.ledger
    }

    /// Carries out writes, in order. What they wrote is durable only after [`Storage::sync`]; what they cut, at once.
    ///
    /// # Errors
    /// [`StorageError`].
    pub fn write(&mut self, persist: &Persist) -> Result<(), StorageError> {
        self.ledger_waits |= persist.truncate_to.is_some() || !persist.entries.is_empty();
        if let Some(to) = persist.truncate_to {
            self.ledger.truncate(to)?;
        }
        for (entry, chunk_ends) in &persist.entries {
            self.ledger.append(entry, *chunk_ends)?;
        }
        persist.hard_state.iter().try_for_each(|state| self.write_hard_state(state))
    }

    fn write_hard_state(&mut self, state: &HardState) -> Result<(), StorageError> {
        self.hard_state_waits = true;
        Ok(self.hard_state.write(state)?)
    }

    /// Makes durable what was written, with one sync of each file that was; none when there is nothing to do.
    ///
    /// # Errors
    /// [`StorageError`].
    pub fn sync(&mut self) -> Result<Option<Synced>, StorageError> {
        if !self.ledger_waits && !self.hard_state_waits {
            return Ok(None);
        }
        if std::mem::take(&mut self.hard_state_waits) {
            self.hard_state.sync()?;
        }
        let ledger_bytes =
            if std::mem::take(&mut self.ledger_waits) { self.ledger.sync()? } else { 0 };
        Ok(Some(Synced { ledger_bytes }))
    }

    /// Gives closed chunks of which everything is committed their final name.
    ///
    /// # Errors
    /// [`StorageError`].
    pub fn name_committed(&mut self) -> Result<(), StorageError> {
        Ok(self.ledger.name_committed()?)
    }
}
