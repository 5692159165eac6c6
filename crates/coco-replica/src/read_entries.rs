//! Entries read back from disk for a node that lags.
//!
//! The disk belongs to the host and may be worn. What it gives back is compared with the tree in memory before anybody
//! is served: the node that received something else could only stop.

use coco_consensus::{Fetch, FetchFailed, LogEntry};
use coco_ledger::{ChunkName, EntryView, Folder, LedgerFiles, LedgerFilesError};
use coco_types::Seqno;
use thiserror::Error;

use crate::SharedLedgerState;

/// Why entries cannot be read back.
#[derive(Debug, Error)]
pub enum ReadEntriesError {
    /// The entry was rolled back in the meantime.
    #[error("entry {0} is no longer what it was")]
    Moved(Seqno),
    /// The files do not give it.
    #[error("cannot read entry {seqno} back")]
    Files {
        /// Which one.
        seqno: Seqno,
        /// The cause.
        source: LedgerFilesError,
    },
    /// The files give something else.
    #[error("{file} is damaged: entry {seqno} at offset {offset} is not what was written")]
    Altered {
        /// Which one.
        seqno: Seqno,
        /// Where it stands.
        file: ChunkName,
        /// Where in the file.
        offset: u64,
    },
}

impl From<&ReadEntriesError> for FetchFailed {
    fn from(error: &ReadEntriesError) -> Self {
        match error {
            ReadEntriesError::Files { source: LedgerFilesError::Archived { .. }, .. } => {
                Self::Archived
            }
            ReadEntriesError::Moved(_)
            | ReadEntriesError::Files { .. }
            | ReadEntriesError::Altered { .. } => Self::Unreadable,
        }
    }
}

impl ReadEntriesError {
    /// Whether this node's disk is broken: it cannot be leant on for anything then, and the node must stop. What is kept
    /// elsewhere is not broken; another node may have it.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        match self {
            Self::Moved(_) | Self::Files { source: LedgerFilesError::Archived { .. }, .. } => false,
            Self::Files { .. } | Self::Altered { .. } => true,
        }
    }
}

/// Reads what `fetch` asks for, or a first part of it.
///
/// # Errors
/// [`ReadEntriesError`].
pub fn read_entries<F: Folder>(
    files: &LedgerFiles<F>,
    state: &SharedLedgerState,
    fetch: &Fetch,
) -> Result<Vec<LogEntry>, ReadEntriesError> {
    let mut entries = Vec::new();
    let mut bytes = 0;
    let mut seqno = fetch.from;
    while seqno <= fetch.to && (entries.is_empty() || bytes < fetch.bytes_max) {
        let entry = read_entry(files, state, seqno)?;
        bytes += entry.data.len();
        entries.push(entry);
        seqno = seqno.next();
    }
    Ok(entries)
}

fn read_entry<F: Folder>(
    files: &LedgerFiles<F>,
    state: &SharedLedgerState,
    seqno: Seqno,
) -> Result<LogEntry, ReadEntriesError> {
    // Asked first: what is not committed may be replaced between any two looks at it.
    let is_final = seqno <= state.read().committed().seqno;
    let read = files.read(seqno);
    let data = match read {
        Ok(data) => data,
        Err(_) if !is_final => return Err(ReadEntriesError::Moved(seqno)),
        Err(source) => return Err(ReadEntriesError::Files { seqno, source }),
    };
    let found = EntryView::parse(&data).ok().map(|view| (view.tx_id(), view.leaf()));
    match found {
        Some((tx_id, leaf)) if state.read().tree().leaf(seqno.0) == Some(leaf) => {
            Ok(LogEntry { tx_id, data })
        }
        _ if !is_final => Err(ReadEntriesError::Moved(seqno)),
        _ => match files.place(seqno) {
            Ok((file, offset)) => Err(ReadEntriesError::Altered { seqno, file, offset }),
            Err(source) => Err(ReadEntriesError::Files { seqno, source }),
        },
    }
}
