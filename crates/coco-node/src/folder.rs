//! Folders and files of the operating system.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use coco_ledger::{FileError, FileOperation, Folder, FolderFile};

/// A node's chunk files.
pub type LedgerFiles = coco_ledger::LedgerFiles<DiskFolder>;

/// A folder on a disk of this machine.
#[derive(Clone, Debug)]
pub struct DiskFolder {
    path: PathBuf,
}

/// An open file in it.
#[derive(Debug)]
pub struct DiskFile {
    file: File,
    /// The name under which it was opened.
    name: String,
}

impl DiskFolder {
    /// The folder at `path`, which is there.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn opened(
        &self,
        operation: FileOperation,
        name: &str,
        options: &OpenOptions,
    ) -> Result<DiskFile, FileError> {
        let file = options
            .open(self.path.join(name))
            .map_err(|source| FileError::new(operation, name, source))?;
        Ok(DiskFile { file, name: name.to_owned() })
    }

    fn failed(&self, operation: FileOperation) -> impl Fn(io::Error) -> FileError {
        let folder = self.path.display().to_string();
        move |source| FileError::new(operation, &folder, source)
    }
}

impl Folder for DiskFolder {
    type File = DiskFile;

    fn names(&self) -> Result<Vec<String>, FileError> {
        let mut names = Vec::new();
        for file in fs::read_dir(&self.path).map_err(self.failed(FileOperation::List))? {
            let name = file.map_err(self.failed(FileOperation::List))?.file_name();
            names.extend(name.into_string().ok());
        }
        Ok(names)
    }

    fn open_to_read(&self, name: &str) -> Result<DiskFile, FileError> {
        self.opened(FileOperation::Open, name, OpenOptions::new().read(true))
    }

    fn open_to_write(&self, name: &str) -> Result<DiskFile, FileError> {
        self.opened(FileOperation::Open, name, OpenOptions::new().read(true).write(true))
    }

    fn create(&self, name: &str) -> Result<DiskFile, FileError> {
        let options = &mut OpenOptions::new();
        self.opened(FileOperation::Create, name, options.read(true).write(true).create_new(true))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), FileError> {
        fs::rename(self.path.join(from), self.path.join(to))
            .map_err(|source| FileError::new(FileOperation::Rename, from, source))
    }

    fn remove(&self, name: &str) -> Result<(), FileError> {
        fs::remove_file(self.path.join(name))
            .map_err(|source| FileError::new(FileOperation::Remove, name, source))
    }

    fn sync(&self) -> Result<(), FileError> {
        File::open(&self.path)
            .and_then(|folder| folder.sync_all())
            .map_err(self.failed(FileOperation::Sync))
    }
}

impl DiskFile {
    fn failed(&self, operation: FileOperation) -> impl Fn(io::Error) -> FileError {
        move |source| FileError::new(operation, &self.name, source)
    }
}

impl FolderFile for DiskFile {
    fn length(&self) -> Result<u64, FileError> {
        let metadata = self.file.metadata().map_err(self.failed(FileOperation::Read))?;
        Ok(metadata.len())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<(), FileError> {
        self.file
            .read_exact_at(bytes, offset)
            .map_err(|source| FileError::at(FileOperation::Read, &self.name, offset, source))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), FileError> {
        self.file
            .write_all_at(bytes, offset)
            .map_err(|source| FileError::at(FileOperation::Write, &self.name, offset, source))
    }

    fn cut(&self, length: u64) -> Result<(), FileError> {
        self.file
            .set_len(length)
            .map_err(|source| FileError::at(FileOperation::Cut, &self.name, length, source))
    }

    fn sync_data(&self) -> Result<(), FileError> {
        self.file.sync_data().map_err(self.failed(FileOperation::Sync))
    }

    fn sync_all(&self) -> Result<(), FileError> {
        self.file.sync_all().map_err(self.failed(FileOperation::Sync))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc, OnceLock,
            atomic::{AtomicUsize, Ordering},
            mpsc,
        },
        time::Duration,
    };

    use bytes::Bytes;
    use coco_consensus::HardState;
    use coco_kv::{MapName, WriteSet};
    use coco_ledger::{
        ChunkName, EntryFlags, LedgerFilesError, LedgerSecret, PUT_ASIDE, ReplayError,
        SIGNATURES_MAP, seal,
    };
    use coco_replica::HardStateFile;
    use coco_types::{Digest, Seqno, TxId, View};

    use super::*;

    /// A folder of this test.
    fn folder() -> DiskFolder {
        let path = tempfile::tempdir().expect("makes a folder").keep();
        DiskFolder::new(&path)
    }

    fn entry(view: u64, seqno: u64) -> Bytes {
        sealed(view, seqno, EntryFlags::NONE, &WriteSet::default())
    }

    /// An entry that ends its chunk, which only a signature may.
    fn last_entry(view: u64, seqno: u64) -> Bytes {
        let mut writes = WriteSet::new();
        writes.insert(&MapName::from_static(SIGNATURES_MAP), &[0; 8], vec![1]);
        sealed(view, seqno, EntryFlags::CHUNK_AFTER, &writes)
    }

    fn sealed(view: u64, seqno: u64, flags: EntryFlags, writes: &WriteSet) -> Bytes {
        let id = TxId { view: View(view), seqno: Seqno(seqno) };
        let secret = LedgerSecret::new(&[7; 32]);
        seal(&secret, id, flags, &Digest([0; 32]), writes).expect("it is short").bytes
    }

    /// A node hears that its peers committed an entry while its own disk still writes.
    #[test]
    fn an_entry_is_readable_from_its_announcement_on() {
        let folder = folder();
        let mut writer =
            LedgerFiles::open(folder.clone()).and_then(LedgerFiles::into_writer).expect("opens");
        let files = writer.files();
        let read = |seqno| match files.read(Seqno(seqno)) {
            Err(LedgerFilesError::Missing(_)) => None,
            other => Some(other.expect("reads")),
        };
        assert_eq!(read(1), None);

        let (first, second, other) = (entry(2, 1), entry(2, 2), entry(3, 2));
        files.announce([&first, &second].into_iter());
        assert_eq!(read(1), Some(first.clone()), "announced");
        writer.append(&first, false).expect("appends");
        writer.append(&second, false).expect("appends");
        assert_eq!(read(2), Some(second.clone()), "gathered, and not yet in the file");
        writer.sync().expect("syncs");
        assert_eq!(read(2), Some(second.clone()), "in the file");
        files.arrived(2);
        assert_eq!(read(2), Some(second.clone()), "in the file only");

        files.announce(std::iter::once(&other));
        assert_eq!(read(2), Some(other.clone()), "a new view's entry takes the place of the old");
        writer.truncate(Seqno(1)).expect("cuts");
        writer.append(&other, false).expect("appends");
        writer.sync().expect("syncs");
        files.arrived(1);
        assert_eq!((read(1), read(2)), (Some(first), Some(other)));
        assert_eq!(read(3), None);
        fs::remove_dir_all(&folder.path).expect("removes");
    }

    /// A folder of closed, committed chunks of two entries, and an open one of one.
    fn chunks() -> (DiskFolder, Vec<Bytes>) {
        let folder = folder();
        let mut writer =
            LedgerFiles::open(folder.clone()).and_then(LedgerFiles::into_writer).expect("opens");
        let entries: Vec<Bytes> = (1..=7)
            .map(|seqno| if seqno % 2 == 0 { last_entry(2, seqno) } else { entry(2, seqno) })
            .collect();
        for (entry, seqno) in entries.iter().zip(1..) {
            writer.append(entry, seqno % 2 == 0).expect("appends");
        }
        writer.sync().expect("syncs");
        writer.files().note_committed(Seqno(6));
        writer.name_committed().expect("names");
        (folder, entries)
    }

    #[test]
    fn an_archived_entry_is_said_to_be_and_found_when_it_is_back() {
        let (folder, entries) = chunks();
        let name = |first, last| ChunkName::committed(Seqno(first), Seqno(last)).to_string();
        let (away, elsewhere) = (folder.path.join(name(3, 4)), folder.path.join("elsewhere"));
        let archived = |files: &LedgerFiles, seqno| {
            let error = files.read(Seqno(seqno)).expect_err("it is not there");
            assert!(matches!(error, LedgerFilesError::Archived { .. }), "{error}");
            error.to_string()
        };
        // Moved away while the node runs, and before it starts.
        for files in [LedgerFiles::open(folder.clone()).expect("opens"), {
            fs::rename(&away, &elsewhere).expect("moves");
            LedgerFiles::open(folder.clone()).expect("opens")
        }] {
            if away.exists() {
                fs::rename(&away, &elsewhere).expect("moves");
            }
            assert!(archived(&files, 3).contains("entry 3 is archived"));
            assert!(archived(&files, 4).contains("entries 3 to 4"));
            assert_eq!(files.read(Seqno(5)).expect("reads"), entries[4]);
            let error = files.read(Seqno(8)).expect_err("the ledger ends before");
            assert!(matches!(error, LedgerFilesError::Missing(Seqno(8))), "{error}");
            fs::rename(&elsewhere, &away).expect("moves");
            for (entry, seqno) in entries.iter().zip(1..) {
                assert_eq!(files.read(Seqno(seqno)).expect("reads"), entry, "{seqno}");
            }
        }
        fs::remove_dir_all(&folder.path).expect("removes");
    }

    #[test]
    fn a_ledger_that_goes_on_after_a_snapshot_keeps_what_is_committed_before() {
        let (folder, entries) = chunks();
        let mut files = LedgerFiles::open(folder.clone()).expect("opens");
        files.skip_to(Seqno(9)).expect("renames");
        let mut writer = files.into_writer().expect("writes");
        let (tenth, aside) = (entry(3, 10), folder.path.join(format!("ledger_7{PUT_ASIDE}")));
        writer.append(&tenth, false).expect("appends");
        writer.sync().expect("syncs");
        assert!(aside.exists(), "the open chunk is not removed");
        for files in [writer.files(), Arc::new(LedgerFiles::open(folder.clone()).expect("opens"))] {
            let archived = files.read(Seqno(7)).expect_err("it was put aside").to_string();
            assert!(archived.contains("entries 7 to 9"), "{archived}");
            assert_eq!(files.read(Seqno(6)).expect("reads"), entries[5]);
            assert_eq!(files.read(Seqno(10)).expect("reads"), tenth);
        }
        // Over a snapshot in their midst, and over the whole ledger.
        let mut files = LedgerFiles::open(folder.clone()).expect("opens");
        files.skip_to(Seqno(3)).expect("renames");
        drop(files);
        let files = LedgerFiles::open(folder.clone()).expect("opens");
        assert_eq!(files.read(Seqno(2)).expect("reads"), entries[1]);
        assert!(files.read(Seqno(3)).is_err() && files.read(Seqno(10)).is_err());
        fs::remove_dir_all(&folder.path).expect("removes");
    }

    #[test]
    fn readers_who_find_a_chunk_back_do_not_hinder_each_other() {
        let (folder, entries) = chunks();
        let away = folder.path.join(ChunkName::committed(Seqno(3), Seqno(4)).to_string());
        let elsewhere = folder.path.join("elsewhere");
        for _ in 0..200 {
            fs::rename(&away, &elsewhere).expect("moves");
            let files = LedgerFiles::open(folder.clone()).expect("opens");
            fs::rename(&elsewhere, &away).expect("moves");
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for (entry, seqno) in entries.iter().zip(1..) {
                            assert_eq!(files.read(Seqno(seqno)).expect("reads"), entry, "{seqno}");
                        }
                    });
                }
            });
        }
        fs::remove_dir_all(&folder.path).expect("removes");
    }

    #[test]
    fn a_replay_begins_where_it_is_told_and_bears_no_gap_from_there() {
        let (folder, entries) = chunks();
        let replay = |from: u64| {
            let mut taken = Vec::new();
            let mut files = LedgerFiles::open(folder.clone()).expect("opens");
            let result = files.replay(Seqno(from), |entry, _| {
                taken.push(entry);
                Ok::<_, io::Error>(())
            });
            match result {
                Ok(()) => Ok(taken),
                Err(ReplayError::Files(error)) => Err(error.to_string()),
                Err(ReplayError::Taker { source, .. }) => Err(source.to_string()),
            }
        };
        for from in 1..=8 {
            let at = usize::try_from(from - 1).expect("small");
            assert_eq!(replay(from).as_deref(), Ok(&entries[at..]), "{from}");
        }
        let gap = folder.path.join(ChunkName::committed(Seqno(3), Seqno(4)).to_string());
        fs::remove_file(gap).expect("removes");
        for from in 1..=4 {
            let error = replay(from).expect_err("there is a gap");
            assert!(error.contains("to 4 are not in the ledger's folder"), "{from}: {error}");
        }
        assert_eq!(replay(5).as_deref(), Ok(&entries[4..]));
        fs::remove_dir_all(&folder.path).expect("removes");
    }

    /// A folder on a disk so slow that somebody else looks at the index whenever something is synced.
    #[derive(Clone, Debug)]
    struct Slow {
        folder: DiskFolder,
        files: Arc<OnceLock<Arc<coco_ledger::LedgerFiles<Self>>>>,
        looks: Arc<AtomicUsize>,
    }

    #[derive(Debug)]
    struct SlowFile {
        file: DiskFile,
        folder: Slow,
    }

    impl Slow {
        fn look(&self) {
            let Some(files) = self.files.get().map(Arc::clone) else { return };
            let (sender, looked) = mpsc::channel();
            std::thread::spawn(move || sender.send(files.committed()));
            looked.recv_timeout(Duration::from_secs(5)).expect("nobody waits for the disk");
            self.looks.fetch_add(1, Ordering::Relaxed);
        }

        fn file(&self, file: DiskFile) -> SlowFile {
            SlowFile { file, folder: self.clone() }
        }
    }

    impl Folder for Slow {
        type File = SlowFile;

        fn names(&self) -> Result<Vec<String>, FileError> {
            self.folder.names()
        }

        fn open_to_read(&self, name: &str) -> Result<SlowFile, FileError> {
            self.folder.open_to_read(name).map(|file| self.file(file))
        }

        fn open_to_write(&self, name: &str) -> Result<SlowFile, FileError> {
            self.folder.open_to_write(name).map(|file| self.file(file))
        }

        fn create(&self, name: &str) -> Result<SlowFile, FileError> {
            self.folder.create(name).map(|file| self.file(file))
        }

        fn rename(&self, from: &str, to: &str) -> Result<(), FileError> {
            self.folder.rename(from, to)
        }

        fn remove(&self, name: &str) -> Result<(), FileError> {
            self.folder.remove(name)
        }

        fn sync(&self) -> Result<(), FileError> {
            self.look();
            self.folder.sync()
        }
    }

    impl FolderFile for SlowFile {
        fn length(&self) -> Result<u64, FileError> {
            self.file.length()
        }

        fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<(), FileError> {
            self.file.read_at(bytes, offset)
        }

        fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), FileError> {
            self.file.write_at(bytes, offset)
        }

        fn cut(&self, length: u64) -> Result<(), FileError> {
            self.file.cut(length)
        }

        fn sync_data(&self) -> Result<(), FileError> {
            self.folder.look();
            self.file.sync_data()
        }

        fn sync_all(&self) -> Result<(), FileError> {
            self.folder.look();
            self.file.sync_all()
        }
    }

    /// The replica looks at the index at every commit: while it waited for the disk to close a chunk, backups took the
    /// primary for dead.
    #[test]
    fn nobody_who_looks_at_the_index_waits_for_the_disk() {
        let slow = Slow { folder: folder(), files: Arc::default(), looks: Arc::default() };
        let mut writer = coco_ledger::LedgerFiles::open(slow.clone())
            .and_then(coco_ledger::LedgerFiles::into_writer)
            .expect("opens");
        slow.files.set(writer.files()).expect("it is set once");
        let entries = [entry(2, 1), last_entry(2, 2), entry(2, 3), last_entry(2, 4)];
        for (entry, chunk_ends) in entries.iter().zip([false, true, false, true]) {
            writer.append(entry, chunk_ends).expect("appends");
        }
        writer.truncate(Seqno(3)).expect("cuts");
        writer.files().note_committed(Seqno(2));
        writer.name_committed().expect("names");
        let read = [1, 2, 3].map(|seqno| writer.files().read(Seqno(seqno)).expect("reads"));
        assert_eq!(read, entries[..3]);
        assert!(slow.looks.load(Ordering::Relaxed) >= 8, "chunks were closed, cut and named");
        fs::remove_dir_all(&slow.folder.path).expect("removes");
    }

    /// In a data centre whose power goes, what was written and not synced is gone; and disks wear.
    #[test]
    fn a_write_that_stops_anywhere_forgets_nothing() {
        let name = "consensus.state";
        let state = |view| HardState { view: View(view), vote: None };
        // Also the first write to each slot.
        for writes in 0..4 {
            let folder = folder();
            let path = folder.path.join(name);
            let (mut file, _) = HardStateFile::open(&folder, name).expect("opens");
            for view in 1..=writes {
                file.write(&state(view)).expect("writes");
                file.sync().expect("syncs");
            }
            let before = fs::read(&path).expect("reads");
            file.write(&state(writes + 1)).expect("writes");
            let after = fs::read(&path).expect("reads");
            assert_eq!(before.len(), after.len(), "a write needs no more room");
            let durable = (writes > 0).then(|| state(writes));
            for end in 0..=after.len() {
                let mut torn = after.clone();
                torn[end..].copy_from_slice(&before[end..]);
                fs::write(&path, &torn).expect("writes");
                let (_, found) = HardStateFile::open(&folder, name).expect("opens");
                assert!(
                    [durable, Some(state(writes + 1))].contains(&found),
                    "{found:?} after {writes} writes and {end} bytes"
                );
            }
            fs::remove_dir_all(&folder.path).expect("removes");
        }
    }

    #[test]
    fn view_and_vote_are_kept_or_said_to_be_lost() {
        let (folder, name) = (folder(), "consensus.state");
        let state = |view| HardState { view: View(view), vote: None };
        let open = || HardStateFile::open(&folder, name);
        let found = || open().expect("opens").1;
        {
            let (mut file, found) = open().expect("opens");
            assert_eq!(found, None);
            file.write(&state(3)).expect("writes");
            file.sync().expect("syncs");
            let before = fs::read(folder.path.join(name)).expect("reads");
            file.write(&state(4)).expect("writes");
            file.write(&state(5)).expect("writes");
            let mut after = fs::read(folder.path.join(name)).expect("reads");
            let slot = 2 * 512;
            assert_eq!(after[slot..], before[slot..], "what is durable is not written over");
            after[..slot].fill(0);
            fs::write(folder.path.join(name), &after).expect("writes");
        }
        assert_eq!(found(), Some(state(3)), "nothing of two writes arrived");
        open().expect("opens").0.write(&state(6)).expect("writes");

        let good = fs::read(folder.path.join(name)).expect("reads");
        assert_eq!(found(), Some(state(6)));
        let sectors: Vec<usize> = (0..4)
            .filter(|at| HardState::decode(&good[at * 512 + 16..][..46]) == Ok(state(6)))
            .collect();
        assert_eq!(sectors.len(), 2, "{sectors:?}");
        for sector in &sectors {
            let mut bad = good.clone();
            bad[sector * 512 + 20] ^= 1;
            fs::write(folder.path.join(name), &bad).expect("writes");
            assert_eq!(found(), Some(state(6)), "sector {sector} is damaged");
        }
        let mut bad = good;
        for sector in sectors {
            bad[sector * 512 + 20] ^= 1;
        }
        fs::write(folder.path.join(name), &bad).expect("writes");
        let error = open().expect_err("both are damaged");
        assert!(error.to_string().starts_with("consensus.state is damaged at offset"), "{error}");
        fs::remove_dir_all(&folder.path).expect("removes");
    }

    #[test]
    fn an_error_names_operation_file_and_offset() {
        let folder = folder();
        let file = folder.create("short").expect("makes a file");
        file.write_at(b"four", 0).expect("writes");
        let error = file.read_at(&mut [0; 4], 2).expect_err("the file ends before");
        assert_eq!(error.to_string(), "cannot read short at offset 2");
        let error = folder.create("short").expect_err("there is one");
        assert_eq!(error.to_string(), "cannot create short");
        fs::remove_dir_all(&folder.path).expect("removes");
    }
}
