//! The files of a copy of a ledger: its chunks and its snapshots.
//!
//! The copy may be the folder of a node that runs. It renames a chunk when it closes it and once it is committed, and it removes
//! snapshots when newer ones are complete: a file may be gone between the listing and the reading.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use coco_ledger::{ChunkName, SnapshotName};
use coco_types::Seqno;

use crate::{codes::Code, fault::Fault};

/// How often a chunk is looked for under another name: it has three in its life.
const RENAMES_MAX: usize = 3;

/// The chunk files of a folder in the order of their entries.
pub(crate) fn chunks(folder: &Path) -> Result<Vec<(ChunkName, PathBuf)>, Fault> {
    let chunks = named(folder)?;
    if chunks.is_empty() {
        let message = format!("{} holds no ledger files", folder.display());
        return Err(Fault::new(Code::FileUnreadable, message)
            .next("name the folder with the files ledger_<first>[-<last>[.committed]]"));
    }
    Ok(chunks)
}

/// Reads a chunk that was listed, under the name that it has now.
pub(crate) fn read_chunk(name: ChunkName, path: &Path) -> Result<(ChunkName, Vec<u8>), Fault> {
    let (mut name, mut path) = (name, path.to_owned());
    for _ in 0..RENAMES_MAX {
        if let Some(bytes) = read(&path)? {
            return Ok((name, bytes));
        }
        let listed = named::<ChunkName>(path.parent().unwrap_or(&path))?;
        let is_it = |(other, _): &(ChunkName, PathBuf)| other.first == name.first;
        // The last of those that begin with an entry is the one that is closed.
        let Some(renamed) = listed.into_iter().rfind(is_it) else { break };
        (name, path) = renamed;
    }
    Err(Fault::new(Code::FileUnreadable, format!("{} is gone", path.display()))
        .next("let nobody move files of the ledger while it is read"))
}

/// The complete snapshots of a ledger, oldest first: those of the folder `told`, or of `snapshots` beside the ledger folder.
pub(crate) fn snapshots(
    ledger: &Path,
    told: Option<&Path>,
) -> Result<Vec<(SnapshotName, PathBuf)>, Fault> {
    let beside = ledger.join("../snapshots");
    if told.is_none() && !beside.is_dir() {
        return Ok(Vec::new());
    }
    named(told.unwrap_or(&beside))
}

/// The snapshot that a ledger with these chunks goes on from, if it does not begin with the first entry of all: the oldest that
/// reaches so far and is there.
pub(crate) fn beginning(
    chunks: &[(ChunkName, PathBuf)],
    snapshots: &[(SnapshotName, PathBuf)],
) -> Result<Option<(SnapshotName, Vec<u8>)>, Fault> {
    let first = chunks.first().map_or(Seqno(1), |(name, _)| name.first);
    let reach = snapshots.iter().filter(|(name, _)| name.seqno.next() >= first);
    for (name, path) in reach.filter(|_| first > Seqno(1)) {
        if let Some(bytes) = read(path)? {
            return Ok(Some((*name, bytes)));
        }
    }
    Ok(None)
}

/// The bytes of a file, or nothing if there is none any more.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, Fault> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Fault::file(Code::FileUnreadable, path, &error)),
    }
}

/// The files of a folder that have such names, in the order of these.
fn named<N: std::str::FromStr + Ord>(folder: &Path) -> Result<Vec<(N, PathBuf)>, Fault> {
    let unreadable = |error: io::Error| Fault::file(Code::FileUnreadable, folder, &error);
    let mut found = Vec::new();
    for file in fs::read_dir(folder).map_err(unreadable)? {
        let file = file.map_err(unreadable)?;
        if let Some(name) = file.file_name().to_str().and_then(|name| name.parse::<N>().ok()) {
            found.push((name, file.path()));
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_read_under_the_name_that_it_has_now() {
        let folder = tempfile::tempdir().expect("there is room").keep();
        fs::write(folder.join("ledger_7"), b"entries").expect("writes");
        let (name, path) = chunks(&folder).expect("lists").remove(0);
        for now in ["ledger_7-9", "ledger_7-9.committed"] {
            let last = chunks(&folder).expect("lists").remove(0).1;
            fs::rename(last, folder.join(now)).expect("renames");
            let (renamed, bytes) = read_chunk(name, &path).expect("reads");
            assert_eq!((renamed.to_string().as_str(), &*bytes), (now, &b"entries"[..]));
        }
        fs::remove_file(folder.join("ledger_7-9.committed")).expect("removes");
        fs::write(folder.join("ledger_10"), b"others").expect("writes");
        let error = read_chunk(name, &path).expect_err("it is gone").to_string();
        assert!(error.contains("ledger_7 is gone"), "{error}");
        fs::remove_dir_all(folder).expect("removes");
    }

    #[test]
    fn a_ledger_goes_on_from_the_oldest_snapshot_that_is_still_there() {
        let folder = tempfile::tempdir().expect("there is room").keep();
        for name in ["snapshot_5_6", "snapshot_9_10", "snapshot_12_13"] {
            fs::write(folder.join(format!("{name}.committed")), name).expect("writes");
        }
        let listed = snapshots(&folder, Some(&folder)).expect("lists");
        assert_eq!(listed.len(), 3);
        let begins = |first: u64| {
            let chunk = format!("ledger_{first}").parse().expect("a name");
            let found = beginning(&[(chunk, PathBuf::new())], &listed).expect("reads");
            found.map(|found| found.1)
        };
        assert_eq!(begins(1), None, "nothing is before the first entry");
        assert_eq!(begins(10).as_deref(), Some(&b"snapshot_9_10"[..]));
        fs::remove_file(&listed[1].1).expect("removes");
        assert_eq!(begins(10).as_deref(), Some(&b"snapshot_12_13"[..]));
        fs::remove_dir_all(folder).expect("removes");
    }
}
