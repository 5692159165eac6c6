//! Chunk files that are kept elsewhere.
//!
//! Whatever is below a snapshot is not needed to run: an operator may move committed chunk files away, also while the
//! node runs. What stands in them is then answered with [`Archived`], and found again once the file is back in its
//! place; an entry is compared with its leaf whenever it is read.

use std::{fs, io, path::Path};

use coco_ledger::ChunkName;
use coco_types::Seqno;
use thiserror::Error;

/// An entry whose chunk file is not in the ledger's folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "entry {seqno} is archived: the chunk files of entries {first} to {last} are not in the ledger's folder; \
     put them back to read it"
)]
pub struct Archived {
    /// The entry.
    pub seqno: Seqno,
    /// The first entry that is missing around it.
    pub first: Seqno,
    /// The last one.
    pub last: Seqno,
}

impl From<Archived> for io::Error {
    fn from(archived: Archived) -> Self {
        Self::other(archived)
    }
}

/// Whether a read failed because the entry's file is kept elsewhere.
#[must_use]
pub fn is_archived(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Archived>())
}

/// The committed chunk file in `folder` that holds an entry, if it was put back.
pub(crate) fn put_back(folder: &Path, seqno: Seqno) -> io::Result<Option<ChunkName>> {
    for file in fs::read_dir(folder)? {
        let name = file?.file_name().to_str().and_then(|name| name.parse::<ChunkName>().ok());
        let holds = |name: &ChunkName| {
            name.is_committed && name.first <= seqno && name.last.is_some_and(|last| seqno <= last)
        };
        if let Some(name) = name.filter(holds) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}
