//! The ledger's chunk files: reading by position, and the one writer.
//!
//! A chunk is closed in an order that a crash cannot confuse: entries are durable, then the header names where the
//! table will begin, then the table follows, then the file gets its closed name. A file with an open name whose header
//! is set was caught between these steps: its table is dropped and the closing is done again.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use coco_ledger::{
    CHUNK_HEADER_BYTES, Chunk, ChunkName, EntryFlags, EntryView, close_chunk, open_chunk,
};
use coco_types::Seqno;
use parking_lot::{Mutex, RwLock};
use tracing::warn;

use crate::archive::{Archived, put_back};

/// Where the first entry of a chunk begins.
const ENTRIES_START: u32 = 8;
const _: () = assert!(ENTRIES_START as usize == CHUNK_HEADER_BYTES, "entries follow the header");

/// Bytes gathered before they are handed to the file system.
const WRITE_BUFFER_BYTES: usize = 4 << 20;

/// The chunk files of one folder, for readers.
#[derive(Debug)]
pub struct LedgerFiles {
    folder: PathBuf,
    index: RwLock<Index>,
    /// Entries on their way to the disk, in the order in which they will be written. A quorum of other nodes may commit
    /// an entry before this node has written it, and whoever hears of the commit may ask for it.
    coming: Mutex<VecDeque<(Seqno, Bytes)>>,
    /// Everything up to here is committed, as far as the replica has said.
    committed_seqno: AtomicU64,
}

#[derive(Debug, Default)]
struct Index {
    /// Closed chunks, in order.
    closed: Vec<ChunkName>,
    open: Option<OpenChunk>,
}

#[derive(Debug)]
struct OpenChunk {
    first: Seqno,
    /// Where each entry begins.
    offsets: Vec<u32>,
    /// Where the last one ends.
    end: u32,
    /// Whether its last entry says that the chunk ends.
    is_full: bool,
}

impl OpenChunk {
    fn last(&self) -> Seqno {
        Seqno(self.first.0 + self.offsets.len() as u64 - 1)
    }

    fn push(&mut self, bytes: usize, chunk_ends: bool) -> io::Result<()> {
        self.offsets.push(self.end);
        let end = u32::try_from(bytes).ok().and_then(|bytes| self.end.checked_add(bytes));
        self.end = end.ok_or_else(|| io::Error::other("a chunk cannot grow past 4 GiB"))?;
        self.is_full = chunk_ends;
        Ok(())
    }
}

impl Index {
    /// The closed chunk that holds an entry.
    fn chunk_of(&self, seqno: Seqno) -> Option<ChunkName> {
        let at = self.closed.partition_point(|chunk| last_of(chunk) < seqno);
        self.closed.get(at).filter(|chunk| chunk.first <= seqno).copied()
    }

    /// The entries around one that is in no chunk, up to the chunks on both sides.
    fn gap_around(&self, seqno: Seqno) -> (Seqno, Seqno) {
        let at = self.closed.partition_point(|chunk| last_of(chunk) < seqno);
        let before = at.checked_sub(1).and_then(|at| self.closed.get(at)).map(last_of);
        let open = self.open.as_ref().map(|open| open.first);
        let after = self.closed.get(at).map(|chunk| chunk.first).or(open);
        let first = before.unwrap_or(Seqno::ZERO).next();
        (first, after.map_or(seqno, Seqno::previous))
    }

    fn last(&self) -> Seqno {
        let closed = self.closed.last().and_then(|chunk| chunk.last);
        self.open
            .as_ref()
            .filter(|open| !open.offsets.is_empty())
            .map(OpenChunk::last)
            .or(closed)
            .unwrap_or(Seqno::ZERO)
    }
}

/// A closed chunk's last entry.
fn last_of(chunk: &ChunkName) -> Seqno {
    chunk.last.expect("only closed chunks are kept in this list")
}

fn damaged(path: &Path, what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", path.display()))
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl LedgerFiles {
    /// Opens the folder and takes stock. The torn tail of the open chunk is cut; every other damage is an error, except
    /// that chunks may be missing, which [`LedgerFiles::replay`] decides about.
    ///
    /// # Errors
    /// An error that names the file, and the offset where there is one.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let mut names = Vec::new();
        for file in fs::read_dir(folder)? {
            if let Some(name) =
                file?.file_name().to_str().and_then(|name| name.parse::<ChunkName>().ok())
            {
                names.push(name);
            }
        }
        names.sort();
        let mut index = Index::default();
        for name in names {
            let path = folder.join(name.to_string());
            let expected = index.last().next();
            if name.first < expected || index.open.is_some() {
                return Err(damaged(
                    &path,
                    format_args!("begins at {}, but {expected} is next in the ledger", name.first),
                ));
            }
            match name.last {
                Some(_) => index.closed.push(name),
                None => index.open = Some(open_tail(&path, name.first)?),
            }
        }
        // Entries of a chunk whose name was not durable before a crash are acknowledged again from here on.
        File::open(folder)?.sync_all()?;
        Ok(Self {
            folder: folder.to_owned(),
            index: RwLock::new(index),
            coming: Mutex::default(),
            committed_seqno: AtomicU64::new(0),
        })
    }

    /// Notes that everything up to `seqno` is committed; whether a closed chunk waits to get its final name for it. One
    /// that is closed only later gets it from [`LedgerWriter::name_committed`] without being asked for.
    pub(crate) fn note_committed(&self, seqno: Seqno) -> bool {
        self.committed_seqno.store(seqno.0, Ordering::SeqCst);
        let index = self.index.read();
        let mut waiting = index.closed.iter().rev().take_while(|chunk| !chunk.is_committed);
        waiting.any(|chunk| last_of(chunk) <= seqno)
    }

    /// Makes entries readable that the writer is about to be given, in this order.
    ///
    /// # Panics
    /// When one is no entry: the replica made or checked them all.
    pub(crate) fn announce<'a>(&self, entries: impl Iterator<Item = &'a Bytes>) {
        // Read once here, not by every reader.
        let entries = entries.map(|entry| {
            let view = EntryView::parse(entry).expect("the replica announces entries");
            (view.tx_id().seqno, entry.clone())
        });
        self.coming.lock().extend(entries);
    }

    /// The first `count` of the announced entries are in the files now.
    pub(crate) fn arrived(&self, count: usize) {
        let mut coming = self.coming.lock();
        let count = count.min(coming.len());
        coming.drain(..count);
    }

    /// An announced entry. After a cut there may be two at one place: the newer one counts.
    fn coming(&self, seqno: Seqno) -> Option<Bytes> {
        let coming = self.coming.lock();
        coming.iter().rev().find(|(at, _)| *at == seqno).map(|(_, entry)| entry.clone())
    }

    /// The last entry of the last chunk that is known to be committed.
    #[must_use]
    pub fn committed(&self) -> Seqno {
        let index = self.index.read();
        index.closed.iter().rev().find(|chunk| chunk.is_committed).map_or(Seqno::ZERO, last_of)
    }

    /// Hands every entry from `from` on to `take`, in order, with whether its chunk is known to be committed.
    ///
    /// # Errors
    /// [`ReplayError`]: what `take` gave, or the file that cannot be read, is damaged, or is missing from there on.
    pub fn replay<E>(
        &self,
        from: Seqno,
        mut take: impl FnMut(Bytes, bool) -> Result<(), E>,
    ) -> Result<(), ReplayError<E>> {
        let index = self.index.read();
        let open = index.open.as_ref().map(|open| ChunkName::open(open.first));
        let mut next = from;
        for name in index.closed.iter().copied().chain(open) {
            if name.last.is_some_and(|last| last < from) {
                continue;
            }
            if name.first > next {
                let missing = Archived { seqno: next, first: next, last: name.first.previous() };
                return Err(ReplayError::File(missing.into()));
            }
            let path = self.folder.join(name.to_string());
            let file = Bytes::from(fs::read(&path).map_err(ReplayError::File)?);
            let chunk = Chunk::parse(&file)
                .map_err(|error| ReplayError::File(damaged(&path, chain(&error))))?;
            let found = name.first.0 + chunk.entries.len() as u64 - 1;
            if name.last.is_some_and(|last| last.0 != found || !chunk.is_closed) {
                let what = format_args!(
                    "holds {} entries, which is not what its name says",
                    chunk.entries.len()
                );
                return Err(ReplayError::File(damaged(&path, what)));
            }
            next = Seqno(found).next();
            for (_, entry) in chunk.entries.iter().filter(|(_, entry)| entry.tx_id().seqno >= from)
            {
                take(file.slice_ref(entry.bytes()), name.is_committed)
                    .map_err(ReplayError::Taker)?;
            }
        }
        Ok(())
    }

    /// The bytes of one entry. They come from the host's disk: the caller checks them.
    ///
    /// # Errors
    /// `NotFound` when the ledger does not reach so far, and any error of the file system.
    pub fn read(&self, seqno: Seqno) -> io::Result<Bytes> {
        // Asked first: between this and the look at the index it may arrive, but never be in neither.
        if let Some(entry) = self.coming(seqno) {
            return Ok(entry);
        }
        let index = self.index.read();
        let missing = || {
            io::Error::new(io::ErrorKind::NotFound, format!("no entry {seqno} in the ledger files"))
        };
        if let Some(open) = &index.open
            && seqno >= open.first
        {
            let at = usize::try_from(seqno.0 - open.first.0).map_err(io::Error::other)?;
            let start = *open.offsets.get(at).ok_or_else(missing)?;
            let end = open.offsets.get(at + 1).copied().unwrap_or(open.end);
            let file = File::open(self.folder.join(ChunkName::open(open.first).to_string()))?;
            return read_between(&file, u64::from(start), u64::from(end));
        }
        if seqno > index.last() {
            return Err(missing());
        }
        let chunk = index.chunk_of(seqno);
        drop(index);
        let chunk = match chunk {
            Some(chunk) => chunk,
            None => self.adopt(seqno)?,
        };
        let file = File::open(self.folder.join(chunk.to_string()));
        let file = file.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                Archived { seqno, first: chunk.first, last: last_of(&chunk) }.into()
            }
            _ => error,
        })?;
        let mut header = [0; CHUNK_HEADER_BYTES];
        file.read_exact_at(&mut header, 0)?;
        let table = u64::from_le_bytes(header);
        let position = |i: u64| -> io::Result<u64> {
            let mut offset = [0; 4];
            file.read_exact_at(&mut offset, table + 4 * i)?;
            Ok(u64::from(u32::from_le_bytes(offset)))
        };
        let i = seqno.0 - chunk.first.0;
        let end = if seqno == last_of(&chunk) { table } else { position(i + 1)? };
        read_between(&file, position(i)?, end)
    }

    /// Finds the chunk of an entry that was not there at the start.
    fn adopt(&self, seqno: Seqno) -> io::Result<ChunkName> {
        let found = put_back(&self.folder, seqno)?;
        let mut index = self.index.write();
        let (first, last) = index.gap_around(seqno);
        let fits = |chunk: &ChunkName| first <= chunk.first && last_of(chunk) <= last;
        let chunk = found.filter(fits).ok_or(Archived { seqno, first, last })?;
        let at = index.closed.partition_point(|before| last_of(before) < chunk.first);
        index.closed.insert(at, chunk);
        Ok(chunk)
    }

    /// Whether everything up to `seqno` was written and synced.
    pub(crate) fn is_durable(&self, seqno: Seqno) -> bool {
        let is_coming = self.coming.lock().front().is_some_and(|(first, _)| *first <= seqno);
        !is_coming && seqno <= self.index.read().last()
    }

    /// Makes the one writer of these files. An open chunk that was caught while it was being closed is closed now.
    ///
    /// # Errors
    /// Any error of the file system.
    pub fn into_writer(self) -> io::Result<LedgerWriter> {
        LedgerWriter::new(Arc::new(self))
    }
}

/// Why a replay stopped.
#[derive(Debug)]
pub enum ReplayError<E> {
    /// A file cannot be read, or is damaged.
    File(io::Error),
    /// Whoever took the entries refused one.
    Taker(E),
}

/// Largest entry that is read back, in bytes.
const READ_BYTES_MAX: u64 = coco_types::limits::ENTRY_BYTES_MAX as u64;

fn read_between(file: &File, start: u64, end: u64) -> io::Result<Bytes> {
    let length = end.checked_sub(start).filter(|length| *length <= READ_BYTES_MAX);
    let length = length.ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, "a position table is out of order")
    })?;
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, start)?;
    Ok(bytes.into())
}

/// Reads the chunk that was being written, and leaves it as an open one.
fn open_tail(path: &Path, first: Seqno) -> io::Result<OpenChunk> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let length = file.metadata()?.len();
    let header_bytes = CHUNK_HEADER_BYTES as u64;
    if length < header_bytes {
        file.set_len(0)?;
        file.write_all_at(&open_chunk(), 0)?;
    } else {
        let mut header = [0; CHUNK_HEADER_BYTES];
        file.read_exact_at(&mut header, 0)?;
        let table = u64::from_le_bytes(header);
        if table != 0 {
            if table < header_bytes || table > length {
                return Err(damaged(
                    path,
                    format_args!(
                        "offset 0: the table begins at {table}, the file has {length} bytes"
                    ),
                ));
            }
            file.set_len(table)?;
            file.write_all_at(&open_chunk(), 0)?;
        }
    }
    let bytes = fs::read(path)?;
    let chunk = Chunk::parse(&bytes).map_err(|error| damaged(path, chain(&error)))?;
    if chunk.torn_bytes > 0 {
        warn!(file = %path.display(), offset = chunk.end, bytes = chunk.torn_bytes, "cut the torn tail of the last chunk");
        file.set_len(chunk.end)?;
    }
    file.sync_all()?;
    let mut open = OpenChunk { first, offsets: Vec::new(), end: ENTRIES_START, is_full: false };
    for (_, entry) in &chunk.entries {
        open.push(entry.bytes().len(), entry.flags().contains(EntryFlags::CHUNK_AFTER))?;
    }
    Ok(open)
}

/// Appends to, cuts and names the chunk files. There is one for a folder.
#[derive(Debug)]
pub struct LedgerWriter {
    files: Arc<LedgerFiles>,
    open: Option<File>,
    pending: Vec<u8>,
    /// Where `pending` belongs.
    pending_at: u64,
    unsynced_bytes: u64,
    folder_changed: bool,
}

impl LedgerWriter {
    fn new(files: Arc<LedgerFiles>) -> io::Result<Self> {
        let mut writer = Self {
            files,
            open: None,
            pending: Vec::new(),
            pending_at: 0,
            unsynced_bytes: 0,
            folder_changed: false,
        };
        writer.reopen()?;
        let is_full = writer.files.index.read().open.as_ref().is_some_and(|open| open.is_full);
        if is_full {
            writer.close()?;
        }
        Ok(writer)
    }

    /// The files, for readers.
    #[must_use]
    pub fn files(&self) -> Arc<LedgerFiles> {
        Arc::clone(&self.files)
    }

    fn reopen(&mut self) -> io::Result<()> {
        let open = self.files.index.read().open.as_ref().map(|open| (open.first, open.end));
        if let Some((first, end)) = open {
            let path = self.files.folder.join(ChunkName::open(first).to_string());
            self.open = Some(OpenOptions::new().read(true).write(true).open(path)?);
            self.pending_at = u64::from(end);
        } else {
            self.open = None;
        }
        Ok(())
    }

    /// Appends an entry; `chunk_ends` closes the chunk after it. Durable only after [`LedgerWriter::sync`].
    ///
    /// # Errors
    /// Any error of the file system.
    ///
    /// # Panics
    /// Never: the open chunk is made before it is used.
    pub fn append(&mut self, entry: &[u8], chunk_ends: bool) -> io::Result<()> {
        if self.open.is_none() {
            let first = self.files.index.read().last().next();
            let path = self.files.folder.join(ChunkName::open(first).to_string());
            let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
            file.write_all_at(&open_chunk(), 0)?;
            self.folder_changed = true;
            self.open = Some(file);
            self.pending_at = CHUNK_HEADER_BYTES as u64;
            self.files.index.write().open =
                Some(OpenChunk { first, offsets: Vec::new(), end: ENTRIES_START, is_full: false });
        }
        self.pending.extend_from_slice(entry);
        self.unsynced_bytes += entry.len() as u64;
        self.files
            .index
            .write()
            .open
            .as_mut()
            .expect("made above")
            .push(entry.len(), chunk_ends)?;
        if chunk_ends {
            self.close()?;
        } else if self.pending.len() >= WRITE_BUFFER_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(file) = &self.open
            && !self.pending.is_empty()
        {
            file.write_all_at(&self.pending, self.pending_at)?;
            self.pending_at += self.pending.len() as u64;
            self.pending.clear();
        }
        Ok(())
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.folder_changed) {
            File::open(&self.files.folder)?.sync_all()?;
        }
        Ok(())
    }

    /// Makes everything durable; gives back how many bytes that were.
    ///
    /// # Errors
    /// Any error of the file system. Nothing may be promised of these files after it.
    pub fn sync(&mut self) -> io::Result<u64> {
        self.flush()?;
        if let Some(file) = &self.open {
            file.sync_data()?;
        }
        self.sync_folder()?;
        Ok(std::mem::take(&mut self.unsynced_bytes))
    }

    fn close(&mut self) -> io::Result<()> {
        self.flush()?;
        let Some(file) = self.open.take() else { return Ok(()) };
        file.sync_data()?;
        let mut index = self.files.index.write();
        let open = index.open.take().expect("the writer has a file for the open chunk");
        let (header, table) = close_chunk(&open.offsets, u64::from(open.end));
        file.write_all_at(&header, 0)?;
        file.sync_data()?;
        file.write_all_at(&table, u64::from(open.end))?;
        file.sync_data()?;
        let closed = ChunkName::closed(open.first, open.last());
        let folder = &self.files.folder;
        fs::rename(
            folder.join(ChunkName::open(open.first).to_string()),
            folder.join(closed.to_string()),
        )?;
        index.closed.push(closed);
        drop(index);
        self.folder_changed = true;
        Ok(())
    }

    /// Gives closed chunks of which everything is committed their final name.
    ///
    /// # Errors
    /// Any error of the file system.
    pub fn name_committed(&mut self) -> io::Result<()> {
        let seqno = Seqno(self.files.committed_seqno.load(Ordering::SeqCst));
        let folder = self.files.folder.clone();
        if self.files.index.read().closed.last().is_none_or(|chunk| chunk.is_committed) {
            return Ok(());
        }
        let mut index = self.files.index.write();
        for chunk in index.closed.iter_mut().rev() {
            if chunk.is_committed {
                break;
            }
            if last_of(chunk) <= seqno {
                let committed = ChunkName::committed(chunk.first, last_of(chunk));
                fs::rename(folder.join(chunk.to_string()), folder.join(committed.to_string()))?;
                *chunk = committed;
                self.folder_changed = true;
            }
        }
        drop(index);
        self.sync_folder()
    }

    /// Cuts the ledger so that `to` is its last entry. Durable on return.
    ///
    /// # Errors
    /// Any error of the file system; `InvalidInput` when a committed chunk would be cut.
    pub fn truncate(&mut self, to: Seqno) -> io::Result<()> {
        self.flush()?;
        loop {
            let open = {
                let index = self.files.index.read();
                index.open.as_ref().map(|open| (open.first, open.offsets.len()))
            };
            match open {
                Some((first, _)) if to >= first => return self.cut_open(to),
                Some((first, _)) => {
                    self.open = None;
                    self.files.index.write().open = None;
                    fs::remove_file(self.files.folder.join(ChunkName::open(first).to_string()))?;
                    self.folder_changed = true;
                }
                None => {
                    let last = self.files.index.read().last();
                    if to >= last {
                        return self.sync_folder();
                    }
                    self.reopen_last_closed()?;
                }
            }
        }
    }

    fn cut_open(&mut self, to: Seqno) -> io::Result<()> {
        let mut index = self.files.index.write();
        let open = index.open.as_mut().expect("looked at above");
        let keep = usize::try_from(to.0 - open.first.0 + 1).map_err(io::Error::other)?;
        if let Some(end) = open.offsets.get(keep).copied() {
            open.offsets.truncate(keep);
            open.end = end;
            open.is_full = false;
            self.pending_at = u64::from(end);
            let file = self.open.as_ref().expect("an open chunk has its file");
            file.set_len(u64::from(end))?;
            file.sync_all()?;
        }
        drop(index);
        self.sync_folder()
    }

    /// Makes the last closed chunk the open one again.
    fn reopen_last_closed(&mut self) -> io::Result<()> {
        let folder = self.files.folder.clone();
        let chunk = {
            let mut index = self.files.index.write();
            match index.closed.last() {
                Some(chunk) if !chunk.is_committed => index.closed.pop().expect("just seen"),
                _ => {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidInput,
                        "a committed chunk is never cut",
                    ));
                }
            }
        };
        let open = folder.join(ChunkName::open(chunk.first).to_string());
        fs::rename(folder.join(chunk.to_string()), &open)?;
        self.folder_changed = true;
        let tail = open_tail(&open, chunk.first)?;
        self.files.index.write().open = Some(tail);
        self.reopen()
    }
}

#[cfg(test)]
mod tests {
    use coco_kv::WriteSet;
    use coco_ledger::{LedgerSecret, seal};
    use coco_types::{Digest, TxId, View};

    use super::*;

    fn entry(view: u64, seqno: u64) -> Bytes {
        let id = TxId { view: View(view), seqno: Seqno(seqno) };
        let secret = LedgerSecret::new(&[7; 32]);
        let (claims, writes) = (Digest([0; 32]), WriteSet::default());
        seal(&secret, id, EntryFlags::NONE, &claims, &writes)
            .expect("an empty entry is short")
            .bytes
    }

    /// A node hears that its peers committed an entry while its own disk still writes.
    #[test]
    fn an_entry_is_readable_from_its_announcement_on() {
        let folder = std::env::temp_dir().join(format!("coco-ledger-files-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("makes a folder");
        let mut writer =
            LedgerFiles::open(&folder).and_then(LedgerFiles::into_writer).expect("opens");
        let files = writer.files();
        let read = |seqno| files.read(Seqno(seqno)).map_err(|error| error.kind());
        assert_eq!(read(1), Err(io::ErrorKind::NotFound));

        let (first, second, other) = (entry(2, 1), entry(2, 2), entry(3, 2));
        files.announce([&first, &second].into_iter());
        assert_eq!(read(1), Ok(first.clone()), "announced");
        writer.append(&first, false).expect("appends");
        writer.append(&second, false).expect("appends");
        assert_eq!(read(2), Ok(second.clone()), "gathered, and not yet in the file");
        writer.sync().expect("syncs");
        assert_eq!(read(2), Ok(second.clone()), "in the file");
        files.arrived(2);
        assert_eq!(read(2), Ok(second.clone()), "in the file only");

        files.announce(std::iter::once(&other));
        assert_eq!(read(2), Ok(other.clone()), "a new view's entry takes the place of the old");
        writer.truncate(Seqno(1)).expect("cuts");
        writer.append(&other, false).expect("appends");
        writer.sync().expect("syncs");
        files.arrived(1);
        assert_eq!((read(1), read(2)), (Ok(first), Ok(other)));
        assert_eq!(read(3), Err(io::ErrorKind::NotFound));
        fs::remove_dir_all(&folder).expect("removes");
    }

    /// A folder of closed, committed chunks of two entries, and an open one of one.
    fn chunks(test: &str) -> (PathBuf, Vec<Bytes>) {
        let folder = std::env::temp_dir().join(format!("coco-{test}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("makes a folder");
        let mut writer =
            LedgerFiles::open(&folder).and_then(LedgerFiles::into_writer).expect("opens");
        let entries: Vec<Bytes> = (1..=7).map(|seqno| entry(2, seqno)).collect();
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
        let (folder, entries) = chunks("archive");
        let name = |first, last| ChunkName::committed(Seqno(first), Seqno(last)).to_string();
        let (away, elsewhere) = (folder.join(name(3, 4)), folder.join("elsewhere"));
        let archived = |files: &LedgerFiles, seqno| {
            let error = files.read(Seqno(seqno)).expect_err("it is not there");
            assert!(crate::archive::is_archived(&error), "{error}");
            error.to_string()
        };
        // Moved away while the node runs, and before it starts.
        for files in [LedgerFiles::open(&folder).expect("opens"), {
            fs::rename(&away, &elsewhere).expect("moves");
            LedgerFiles::open(&folder).expect("opens")
        }] {
            if away.exists() {
                fs::rename(&away, &elsewhere).expect("moves");
            }
            assert!(archived(&files, 3).contains("entry 3 is archived"));
            assert!(archived(&files, 4).contains("entries 3 to 4"));
            assert_eq!(files.read(Seqno(5)).ok().as_ref(), Some(&entries[4]));
            assert_eq!(
                files.read(Seqno(8)).map_err(|error| error.kind()),
                Err(io::ErrorKind::NotFound)
            );
            fs::rename(&elsewhere, &away).expect("moves");
            for (entry, seqno) in entries.iter().zip(1..) {
                assert_eq!(files.read(Seqno(seqno)).ok().as_ref(), Some(entry), "{seqno}");
            }
        }
        fs::remove_dir_all(&folder).expect("removes");
    }

    #[test]
    fn a_replay_begins_where_it_is_told_and_bears_no_gap_from_there() {
        let (folder, entries) = chunks("gap");
        let replay = |from: u64| {
            let mut taken = Vec::new();
            let files = LedgerFiles::open(&folder).expect("opens");
            let result = files.replay(Seqno(from), |entry, _| {
                taken.push(entry);
                Ok::<_, io::Error>(())
            });
            match result {
                Ok(()) => Ok(taken),
                Err(ReplayError::File(error) | ReplayError::Taker(error)) => Err(error.to_string()),
            }
        };
        for from in 1..=8 {
            let at = usize::try_from(from - 1).expect("small");
            assert_eq!(replay(from).as_deref(), Ok(&entries[at..]), "{from}");
        }
        let gap = folder.join(ChunkName::committed(Seqno(3), Seqno(4)).to_string());
        fs::remove_file(gap).expect("removes");
        for from in 1..=4 {
            let error = replay(from).expect_err("there is a gap");
            assert!(error.contains("to 4 are not in the ledger's folder"), "{from}: {error}");
        }
        assert_eq!(replay(5).as_deref(), Ok(&entries[4..]));
        fs::remove_dir_all(&folder).expect("removes");
    }
}
