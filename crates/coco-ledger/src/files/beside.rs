//! Chunk files that begin with the same entry, side by side.
//!
//! A host brings an archived chunk back, and the node has copied it meanwhile, or had its disk set back to when the chunk
//! was open. The committed file is used if everything that the other holds is in it, byte for byte: whatever this node has
//! acknowledged stands there, and is read from there with the checks of any start. The other is put aside, never removed.
//! When they differ, only somebody who looks at more than the two files can say which one is right.

use super::{LedgerFilesError, PUT_ASIDE, drop_table, parse};
use crate::{
    CHUNK_HEADER_BYTES, ChunkName, FileError, Folder, FolderFile, chunk::misses_sector,
    folder::read_whole,
};

/// A chunk file that was put aside, because another holds all that is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutAside {
    /// What it was called.
    pub file: ChunkName,
    /// What it is called now.
    pub aside: String,
    /// The file that is used.
    pub kept: ChunkName,
}

/// Leaves one file of those that begin with the same entry. `names` are sorted. The one that is left is durable, and so is
/// its name; what was put aside is so only once the folder is synced.
pub(super) fn settle<F: Folder>(
    folder: &F,
    names: Vec<ChunkName>,
) -> Result<(Vec<ChunkName>, Vec<PutAside>), LedgerFilesError> {
    let mut settled = Vec::with_capacity(names.len());
    let mut put_aside = Vec::new();
    for beside in names.chunk_by(|one, other| one.first == other.first) {
        let Some((kept, others)) = beside.split_last() else { continue };
        settled.push(*kept);
        let Some(bytes) = check_beside(folder, *kept, others)? else { continue };
        // Whoever copied it may not have waited for the disk.
        let file = folder.open_to_write(&kept.to_string())?;
        file.write_at(&bytes, 0)?;
        file.sync_all()?;
        folder.sync()?;
        for other in others {
            let aside = self::put_aside(folder, *other)?;
            put_aside.push(PutAside { file: *other, aside, kept: *kept });
        }
    }
    Ok((settled, put_aside))
}

/// The same for whoever changes nothing: of files that begin with the same entry, the one that is used. `names` are sorted.
///
/// # Errors
/// [`LedgerFilesError::Beside`] when it does not hold all that another one does.
pub fn used_chunks<F: Folder>(
    folder: &F,
    names: &[ChunkName],
) -> Result<Vec<ChunkName>, LedgerFilesError> {
    let mut used = Vec::with_capacity(names.len());
    for beside in names.chunk_by(|one, other| one.first == other.first) {
        if let Some((kept, others)) = beside.split_last() {
            check_beside(folder, *kept, others)?;
            used.push(*kept);
        }
    }
    Ok(used)
}

/// Checks that a file holds all that others do which begin with the same entry; gives back its bytes, if there are others. The
/// longest comes last, and committed after not committed.
fn check_beside<F: Folder>(
    folder: &F,
    kept: ChunkName,
    others: &[ChunkName],
) -> Result<Option<Vec<u8>>, LedgerFilesError> {
    if others.is_empty() {
        return Ok(None);
    }
    let bytes = read_whole(&folder.open_to_read(&kept.to_string())?)?;
    for other in others {
        if !kept.is_committed || !holds(folder, kept, &bytes, *other)? {
            return Err(LedgerFilesError::Beside { file: *other, beside: kept });
        }
    }
    Ok(Some(bytes))
}

/// Whether a committed chunk, of which the bytes are given, holds all that another file does.
fn holds<F: Folder>(
    folder: &F,
    kept: ChunkName,
    kept_bytes: &[u8],
    other: ChunkName,
) -> Result<bool, LedgerFilesError> {
    let mut bytes = read_whole(&folder.open_to_read(&other.to_string())?)?;
    if other.last.is_some() {
        return Ok(other.last == kept.last && bytes == kept_bytes);
    }
    let entries_end = parse(kept, kept_bytes)?.end;
    if bytes.len() < CHUNK_HEADER_BYTES {
        return Ok(true);
    }
    drop_table(other, &mut bytes)?;
    let chunk = parse(other, &bytes)?;
    let range = |from: u64, to: u64| Some(usize::try_from(from).ok()?..usize::try_from(to).ok()?);
    for (offset, entry) in &chunk.entries {
        let end = offset + entry.bytes().len() as u64;
        let same = range(*offset, end).and_then(|range| kept_bytes.get(range));
        if end > entries_end || same != Some(entry.bytes()) {
            // As at any start: from an entry on that misses a sector, nothing was ever durable.
            return Ok(misses_sector(&bytes, *offset));
        }
    }
    Ok(true)
}

/// Gives a chunk file a name that nobody takes for a chunk's, and that no file has yet; which one.
pub(super) fn put_aside<F: Folder>(folder: &F, file: ChunkName) -> Result<String, FileError> {
    let (name, names) = (file.to_string(), folder.names()?);
    let mut aside = format!("{name}{PUT_ASIDE}");
    while names.contains(&aside) {
        aside.push_str(PUT_ASIDE);
    }
    folder.rename(&name, &aside)?;
    Ok(aside)
}
