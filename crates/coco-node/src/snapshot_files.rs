//! Where a node keeps its snapshots.

use std::{fs, path::Path};

use coco_ledger::{FileError, FileOperation};

pub use coco_replica::SNAPSHOTS_KEPT;

use crate::folder::DiskFolder;

/// Folder of the snapshots inside a node's folder.
pub const SNAPSHOT_FOLDER: &str = "snapshots";

/// A node's snapshots.
pub type SnapshotFiles = coco_replica::SnapshotFiles<DiskFolder>;

/// Opens the folder, which is made if it is not there, and removes what was not finished.
///
/// # Errors
/// Any error of the file system.
pub fn open(folder: &Path) -> Result<SnapshotFiles, FileError> {
    fs::create_dir_all(folder).map_err(|source| {
        FileError::new(FileOperation::Create, &folder.display().to_string(), source)
    })?;
    SnapshotFiles::open(DiskFolder::new(folder))
}

#[cfg(test)]
mod tests {
    use coco_ledger::{SealedSnapshot, SnapshotName};
    use coco_types::{Digest, Seqno};

    use super::*;

    fn sealed(byte: u8) -> SealedSnapshot {
        SealedSnapshot { head: vec![byte; 10], sealed: vec![byte; 5], digest: Digest::ZERO }
    }

    #[test]
    fn a_file_has_its_name_with_its_proof_only() {
        let folder = tempfile::tempdir().expect("makes a folder").keep();
        let files = open(&folder).expect("opens");
        let name = |n: u64| SnapshotName { seqno: Seqno(n), evidence: Seqno(n + 2) };
        let write = |n: u64| {
            let unfinished = files.write(Seqno(n), &sealed(u8::try_from(n).expect("small")));
            unfinished.expect("writes")
        };
        let make = |n: u64| files.finish(write(n), name(n), b"proof").expect("finishes");
        // Of one that was dropped nothing is left, and of one that a crash cut short nothing after the next start.
        files.discard(write(1));
        let _crashed = write(2);
        assert_eq!(files.newest_first().expect("lists"), []);
        assert_eq!(fs::read_dir(&folder).expect("lists").count(), 1);
        let files = open(&folder).expect("opens again");
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
