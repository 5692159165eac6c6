//! The snapshot files of one node.
//!
//! A snapshot is written under a name that no reader takes for one, made durable, and gets its name only together with
//! its proof. What a crash leaves under the first name is removed at the next start.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use coco_ledger::{SNAPSHOT_BYTES_MAX, SealedSnapshot, SnapshotName};
use coco_types::Seqno;

/// Folder of the snapshots inside a node's folder.
pub const SNAPSHOT_FOLDER: &str = "snapshots";

/// How many complete snapshots are kept: the newest to start from, and those before it for the day when it is damaged.
pub const SNAPSHOTS_KEPT: usize = 3;

/// Largest file that is read: a snapshot and a receipt.
pub(crate) const FILE_BYTES_MAX: u64 = SNAPSHOT_BYTES_MAX + (1 << 20);

/// What stands in the name of a snapshot that is copied from another node.
const COPIED: &str = ".copied";
/// What unfinished files are called in the end.
const UNFINISHED: &str = ".unfinished";

/// The folder.
#[derive(Clone, Debug)]
pub struct SnapshotFiles {
    folder: PathBuf,
}

/// A snapshot that waits for its proof.
#[derive(Debug)]
pub(crate) struct Unfinished {
    path: PathBuf,
    file: File,
}

impl SnapshotFiles {
    /// Opens the folder, which is made if it is not there, and removes what was not finished.
    ///
    /// # Errors
    /// Any error of the file system.
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        for file in fs::read_dir(folder)? {
            let file = file?;
            let is_unfinished =
                file.file_name().to_str().is_some_and(|name| name.ends_with(UNFINISHED));
            if is_unfinished {
                fs::remove_file(file.path())?;
            }
        }
        Ok(Self { folder: folder.to_owned() })
    }

    /// The complete snapshots, newest first.
    ///
    /// # Errors
    /// Any error of the file system.
    pub fn newest_first(&self) -> io::Result<Vec<SnapshotName>> {
        let mut names: Vec<SnapshotName> = Vec::new();
        for file in fs::read_dir(&self.folder)? {
            let name = file?.file_name();
            names.extend(name.to_str().and_then(|name| name.parse::<SnapshotName>().ok()));
        }
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(names)
    }

    /// Where a snapshot is.
    #[must_use]
    pub fn path(&self, name: SnapshotName) -> PathBuf {
        self.folder.join(name.to_string())
    }

    /// The bytes of a snapshot file. They come from the host's disk: the caller verifies them.
    ///
    /// # Errors
    /// Any error of the file system; `InvalidData` for a file that is larger than any.
    pub fn read(&self, name: SnapshotName) -> io::Result<Vec<u8>> {
        let path = self.path(name);
        let found = fs::metadata(&path)?.len();
        if found > FILE_BYTES_MAX {
            let what = format!("{found} bytes, a snapshot has at most {FILE_BYTES_MAX}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        fs::read(path)
    }

    /// At most `bytes` bytes of a snapshot file from `offset` on; fewer at its end.
    ///
    /// # Errors
    /// Any error of the file system.
    pub(crate) fn read_part(
        &self,
        name: SnapshotName,
        offset: u64,
        bytes: usize,
    ) -> io::Result<Vec<u8>> {
        let mut file = File::open(self.path(name))?;
        file.seek(SeekFrom::Start(offset))?;
        let mut part = Vec::new();
        file.take(bytes as u64).read_to_end(&mut part)?;
        Ok(part)
    }

    /// Begins a snapshot whose bytes come from elsewhere, one part after the other.
    pub(crate) fn begin_copy(&self, seqno: Seqno) -> io::Result<Unfinished> {
        let path = self.folder.join(format!("snapshot_{seqno}{COPIED}{UNFINISHED}"));
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        Ok(Unfinished { path, file })
    }

    /// Writes the entry of a snapshot. Durable on return.
    pub(crate) fn write(&self, seqno: Seqno, snapshot: &SealedSnapshot) -> io::Result<Unfinished> {
        let path = self.folder.join(format!("snapshot_{seqno}{UNFINISHED}"));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
        let write = |file: &mut File| {
            file.write_all(&snapshot.head)?;
            file.write_all(&snapshot.sealed)?;
            file.sync_all()
        };
        match write(&mut file) {
            Ok(()) => Ok(Unfinished { path, file }),
            Err(error) => {
                // The room may be what is missing.
                fs::remove_file(&path)?;
                Err(error)
            }
        }
    }

    /// Adds the proof and gives the file its name. Durable on return.
    pub(crate) fn finish(
        &self,
        mut unfinished: Unfinished,
        name: SnapshotName,
        receipt: &[u8],
    ) -> io::Result<()> {
        unfinished.file.write_all(receipt)?;
        unfinished.file.sync_all()?;
        fs::rename(&unfinished.path, self.path(name))?;
        File::open(&self.folder)?.sync_all()
    }

    /// Removes the oldest snapshots when there are more than [`SNAPSHOTS_KEPT`].
    pub(crate) fn remove_old(&self) -> io::Result<()> {
        let old = self.newest_first()?.into_iter().skip(SNAPSHOTS_KEPT);
        old.map(|name| self.path(name)).try_for_each(fs::remove_file)
    }
}

impl Unfinished {
    /// Adds bytes. Durable with [`SnapshotFiles::finish`].
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// All bytes so far.
    pub(crate) fn read(&self) -> io::Result<Vec<u8>> {
        fs::read(&self.path)
    }

    /// Removes it.
    pub(crate) fn discard(self) -> io::Result<()> {
        fs::remove_file(self.path)
    }
}

#[cfg(test)]
mod tests {
    use coco_types::Digest;

    use super::*;

    fn sealed(byte: u8) -> SealedSnapshot {
        SealedSnapshot { head: vec![byte; 10], sealed: vec![byte; 5], digest: Digest::ZERO }
    }

    #[test]
    fn a_file_has_its_name_with_its_proof_only() {
        let folder = std::env::temp_dir().join(format!("coco-snapshots-{}", std::process::id()));
        let files = SnapshotFiles::open(&folder).expect("opens");
        let name = |n: u64| SnapshotName { seqno: Seqno(n), evidence: Seqno(n + 2) };
        let make = |n: u64| {
            let unfinished = files.write(Seqno(n), &sealed(u8::try_from(n).expect("small")));
            let unfinished = unfinished.expect("writes");
            files.finish(unfinished, name(n), b"proof").expect("finishes");
        };
        // Of one that was dropped nothing is left, and of one that a crash cut short nothing after the next start.
        files.write(Seqno(1), &sealed(1)).and_then(Unfinished::discard).expect("discards");
        let _crashed = files.write(Seqno(2), &sealed(2)).expect("writes");
        assert_eq!(files.newest_first().expect("lists"), []);
        assert_eq!(fs::read_dir(&folder).expect("lists").count(), 1);
        let files = SnapshotFiles::open(&folder).expect("opens again");
        assert_eq!(fs::read_dir(&folder).expect("lists").count(), 0);

        (3..=9).for_each(make);
        files.remove_old().expect("removes");
        assert_eq!(files.newest_first().expect("lists"), [name(9), name(8), name(7)]);
        assert_eq!(fs::read_dir(&folder).expect("lists").count(), SNAPSHOTS_KEPT);
        let bytes = files.read(name(9)).expect("reads");
        assert_eq!(bytes, [&[9; 15][..], b"proof"].concat());
        fs::remove_dir_all(&folder).expect("removes");
    }
}
