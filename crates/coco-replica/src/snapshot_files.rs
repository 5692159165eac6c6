//! The snapshot files of one node.
//!
//! A snapshot is written under a name that no reader takes for one, made durable, and gets its name only together with
//! its proof. What a crash leaves under the first name is removed at the next start.

use std::io;

use coco_ledger::{
    FileError, FileOperation, Folder, FolderFile, SNAPSHOT_BYTES_MAX, SealedSnapshot, SnapshotName,
    read_part, read_whole,
};
use coco_planted::Bug;
use coco_types::Seqno;

/// How many complete snapshots are kept: the newest to start from, and those before it for the day when it is damaged.
pub const SNAPSHOTS_KEPT: usize = 3;

/// Largest file that is read, in bytes: a snapshot and a receipt.
pub const SNAPSHOT_FILE_BYTES_MAX: u64 = SNAPSHOT_BYTES_MAX + (1 << 20);

/// What stands in the name of a snapshot that is copied from another node.
const COPIED: &str = ".copied";
/// What unfinished files are called in the end.
const UNFINISHED: &str = ".unfinished";

/// The folder.
#[derive(Clone, Debug)]
pub struct SnapshotFiles<F> {
    folder: F,
}

/// A snapshot that waits for its proof.
#[derive(Debug)]
pub struct Unfinished<H> {
    name: String,
    file: H,
    bytes: u64,
}

impl<F: Folder> SnapshotFiles<F> {
    /// Opens a folder that is there, and removes what was not finished.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open(folder: F) -> Result<Self, FileError> {
        let names = folder.names()?;
        names
            .iter()
            .filter(|name| name.ends_with(UNFINISHED))
            .try_for_each(|name| folder.remove(name))?;
        Ok(Self { folder })
    }

    /// A folder of somebody else, which is only read.
    #[must_use]
    pub const fn of_copy(folder: F) -> Self {
        Self { folder }
    }

    /// The complete snapshots, newest first.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn newest_first(&self) -> Result<Vec<SnapshotName>, FileError> {
        let names = self.folder.names()?;
        let mut names: Vec<SnapshotName> =
            names.iter().filter_map(|name| name.parse().ok()).collect();
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(names)
    }

    /// The bytes of a snapshot file. They come from the host's disk: the caller verifies them.
    ///
    /// # Errors
    /// [`FileError`]; of the kind `InvalidData` for a file that is larger than any.
    pub fn read(&self, name: SnapshotName) -> Result<Vec<u8>, FileError> {
        let name = name.to_string();
        let file = self.folder.open_to_read(&name)?;
        let found = file.length()?;
        if found > SNAPSHOT_FILE_BYTES_MAX {
            let what = format!("{found} bytes, a snapshot has at most {SNAPSHOT_FILE_BYTES_MAX}");
            let source = io::Error::new(io::ErrorKind::InvalidData, what);
            return Err(FileError::new(FileOperation::Read, &name, source));
        }
        read_whole(&file)
    }

    /// How many bytes a snapshot file has.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn length(&self, name: SnapshotName) -> Result<u64, FileError> {
        self.folder.open_to_read(&name.to_string())?.length()
    }

    /// At most `bytes` bytes of a snapshot file from `offset` on; fewer at its end. The caller's caller verifies them.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn read_part(
        &self,
        name: SnapshotName,
        offset: u64,
        bytes: usize,
    ) -> Result<Vec<u8>, FileError> {
        read_part(&self.folder.open_to_read(&name.to_string())?, offset, bytes)
    }

    /// Begins a snapshot whose bytes come from elsewhere, one part after the other.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn begin_copy(&self, seqno: Seqno) -> Result<Unfinished<F::File>, FileError> {
        let name = format!("snapshot_{seqno}{COPIED}{UNFINISHED}");
        // Of an attempt before, in this process.
        if self.folder.names()?.contains(&name) {
            self.folder.remove(&name)?;
        }
        let file = self.folder.create(&name)?;
        Ok(Unfinished { name, file, bytes: 0 })
    }

    /// Writes the entry of a snapshot. Durable on return.
    ///
    /// # Errors
    /// [`FileError`]; then nothing of it is left, if the folder can still do that much.
    pub fn write(
        &self,
        seqno: Seqno,
        snapshot: &SealedSnapshot,
    ) -> Result<Unfinished<F::File>, FileError> {
        let name = format!("snapshot_{seqno}{UNFINISHED}");
        let file = self.folder.create(&name)?;
        let head_bytes = snapshot.head.len() as u64;
        let bytes = head_bytes + snapshot.sealed.len() as u64;
        let written = file
            .write_at(&snapshot.head, 0)
            .and_then(|()| file.write_at(&snapshot.sealed, head_bytes))
            .and_then(|()| file.sync_all());
        let unfinished = Unfinished { name, file, bytes };
        match written {
            Ok(()) => Ok(unfinished),
            Err(error) => {
                // The room may be what is missing.
                self.discard(unfinished);
                Err(error)
            }
        }
    }

    /// Adds the proof and gives the file its name. Durable on return.
    ///
    /// # Errors
    /// [`FileError`]; then there is no snapshot of this name after the next start, or a whole one.
    pub fn finish(
        &self,
        unfinished: Unfinished<F::File>,
        name: SnapshotName,
        proof: &[u8],
    ) -> Result<(), FileError> {
        let Unfinished { file, bytes, .. } = &unfinished;
        let written = file.write_at(proof, *bytes).and_then(|()| {
            if coco_planted::is(Bug::NameBeforeProof) { Ok(()) } else { file.sync_all() }
        });
        if let Err(error) = written {
            self.discard(unfinished);
            return Err(error);
        }
        self.folder.rename(&unfinished.name, &name.to_string())?;
        self.folder.sync()
    }

    /// Removes the oldest snapshots when there are more than [`SNAPSHOTS_KEPT`].
    ///
    /// # Errors
    /// [`FileError`].
    pub fn remove_old(&self) -> Result<(), FileError> {
        let old = self.newest_first()?.into_iter().skip(SNAPSHOTS_KEPT);
        old.map(|name| name.to_string()).try_for_each(|name| self.folder.remove(&name))
    }

    /// Removes one that gets no proof. What cannot be removed now is removed at the next start.
    pub fn discard(&self, unfinished: Unfinished<F::File>) {
        drop(unfinished.file);
        let _stays: Result<(), FileError> = self.folder.remove(&unfinished.name);
    }
}

impl<H: FolderFile> Unfinished<H> {
    /// Adds bytes. Durable with [`SnapshotFiles::finish`].
    ///
    /// # Errors
    /// [`FileError`].
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.file.write_at(bytes, self.bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// All bytes so far.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn read(&self) -> Result<Vec<u8>, FileError> {
        read_whole(&self.file)
    }
}
