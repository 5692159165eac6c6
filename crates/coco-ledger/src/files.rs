//! The ledger's chunk files in a folder: taking stock, reading by position, and the one writer.
//!
//! A chunk is closed in an order that a crash cannot confuse: entries are durable, then the header names where the
//! table will begin, then the table follows, then the file gets its closed name. A file with an open name whose header
//! is set was caught between these steps: its table is dropped and the closing is done again. Names become durable in
//! any order, so the folder is synced before the next chunk is made: there is never a gap in the ledger.
//!
//! What is read of the open chunk when the files are opened is written once more: after a sync that failed, a system
//! shows what it will never write, and takes it for written.
//!
//! Whatever is below a snapshot is not needed to run: an operator may move committed chunk files away, also while the
//! node runs. What stands in them is then [`LedgerFilesError::Archived`], and found again once the file is back in its
//! place; whoever reads an entry compares it with its leaf. A file that comes back beside another of the same entries is
//! looked at when the files are opened ([`PutAside`]).

mod beside;
mod writer;

use std::{
    collections::VecDeque,
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use coco_types::{Seqno, limits::ENTRY_BYTES_MAX};
use parking_lot::{Mutex, RwLock};
use thiserror::Error;

pub use beside::{PutAside, used_chunks};
pub use writer::LedgerWriter;

use crate::{
    CHUNK_HEADER_BYTES, Chunk, ChunkError, ChunkName, EntryFlags, EntryView, FileError, Folder,
    FolderFile,
    chunk::misses_sector,
    close_chunk,
    folder::{read_part, read_whole},
    open_chunk,
};

/// What stands after the name of a chunk file that was put aside, so that nobody takes it for one; several times when
/// there was another of that name.
pub const PUT_ASIDE: &str = ".aside";

/// Where the first entry of a chunk begins.
const ENTRIES_START: u32 = 8;
const _: () = assert!(ENTRIES_START as usize == CHUNK_HEADER_BYTES, "entries follow the header");

/// The chunk files of one folder, for readers.
#[derive(Debug)]
pub struct LedgerFiles<F> {
    folder: F,
    index: RwLock<Index>,
    /// Entries on their way to the disk, in the order in which they will be written. A quorum of other nodes may commit
    /// an entry before this node has written it, and whoever hears of the commit may ask for it.
    coming: Mutex<VecDeque<(Seqno, Bytes)>>,
    /// Everything up to here is committed, as far as the replica has said.
    committed_seqno: AtomicU64,
    torn: Option<TornTail>,
    put_aside: Vec<PutAside>,
}

/// What a crash left of a write that was not durable, and that was cut off when the files were opened.
///
/// A file of which nothing would be left is put aside in place of that: a sector of zeros over its first entry looks the same,
/// and what stands behind it may be all that is left of a ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// Of which file.
    pub file: ChunkName,
    /// From where on it is not whole.
    pub offset: u64,
    /// How much was cut off, or put aside.
    pub bytes: u64,
    /// What the file is called now, if nothing of it was whole.
    pub aside: Option<String>,
}

impl fmt::Display for TornTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset, bytes, aside } = self;
        write!(f, "{file} is not whole from offset {offset} on: {bytes} bytes ")?;
        match aside {
            Some(name) => write!(f, "are kept as {name}"),
            None => f.write_str("were cut off"),
        }
    }
}

/// Files that do not hold a ledger, or did not do what was asked of them.
#[derive(Debug, Error)]
pub enum LedgerFilesError {
    /// A chunk that was closed is not whole any more.
    #[error("{0}")]
    Spoiled(TornTail),
    /// The file system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file is no chunk.
    #[error("{file} is damaged from seqno {} on", file.first.0.saturating_add(source.entries_before))]
    Chunk {
        /// Which one.
        file: ChunkName,
        /// Where, and how.
        source: ChunkError,
    },
    /// A file does not go on where the one before ends.
    #[error("{file} does not follow: {expected} is next in the ledger")]
    Order {
        /// Which one.
        file: ChunkName,
        /// The first entry that is missing.
        expected: Seqno,
    },
    /// Two files hold the same entries, or say so, and one cannot stand for the other.
    #[error(
        "{file} and {beside} are of the same entries, and neither can stand for the other: move one of them out of the \
         ledger's folder and keep it; `coco ledger verify` says whether what is left holds"
    )]
    Beside {
        /// One of them.
        file: ChunkName,
        /// The other.
        beside: ChunkName,
    },
    /// A file holds more or fewer entries than its name says, or is not closed.
    #[error("{file} holds {found} entries, which is not what its name says")]
    Name {
        /// Which one.
        file: ChunkName,
        /// How many entries are in it.
        found: usize,
    },
    /// The header of an open chunk names a place for the table that is not in the file.
    #[error(
        "{file} is damaged at offset 0: the table begins at {table}, the file has {bytes} bytes"
    )]
    Header {
        /// Which one.
        file: ChunkName,
        /// What the header says.
        table: u64,
        /// The length of the file.
        bytes: u64,
    },
    /// The table of a closed chunk leads nowhere.
    #[error("the table of {file} puts an entry between {start} and {end}")]
    Table {
        /// Which one.
        file: ChunkName,
        /// Where an entry would begin.
        start: u64,
        /// Where it would end.
        end: u64,
    },
    /// The ledger does not reach so far.
    #[error("no entry {0} in the ledger files")]
    Missing(Seqno),
    /// An entry's chunk file is kept elsewhere.
    #[error(
        "entry {seqno} is archived: the chunk files of entries {first} to {last} are not in the ledger's folder; \
         put them back to read it"
    )]
    Archived {
        /// The entry.
        seqno: Seqno,
        /// The first entry that is missing around it.
        first: Seqno,
        /// The last one.
        last: Seqno,
    },
    /// A chunk is full.
    #[error("{0} cannot grow past 4 GiB")]
    Long(ChunkName),
    /// Somebody asked to forget what is committed.
    #[error("{0} is committed and is never cut")]
    Committed(ChunkName),
}

impl From<LedgerFilesError> for io::Error {
    fn from(error: LedgerFilesError) -> Self {
        let kind = match &error {
            LedgerFilesError::File(error) => error.source.kind(),
            LedgerFilesError::Missing(_) | LedgerFilesError::Archived { .. } => {
                io::ErrorKind::NotFound
            }
            LedgerFilesError::Long(_) | LedgerFilesError::Committed(_) => {
                io::ErrorKind::InvalidInput
            }
            LedgerFilesError::Chunk { .. }
            | LedgerFilesError::Order { .. }
            | LedgerFilesError::Beside { .. }
            | LedgerFilesError::Name { .. }
            | LedgerFilesError::Header { .. }
            | LedgerFilesError::Spoiled(_)
            | LedgerFilesError::Table { .. } => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

/// Why a replay stopped.
#[derive(Debug)]
pub enum ReplayError<E> {
    /// A file cannot be read, or is damaged.
    Files(LedgerFilesError),
    /// Whoever took the entries refused one.
    Taker {
        /// In which file.
        file: ChunkName,
        /// Where it begins.
        offset: u64,
        /// Why.
        source: E,
    },
}

#[derive(Debug, Default)]
struct Index {
    /// A snapshot stands for everything up to here.
    skipped: Seqno,
    /// Up to here, that a chunk is called committed says nothing.
    doubted: Seqno,
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
    const fn new(first: Seqno) -> Self {
        Self { first, offsets: Vec::new(), end: ENTRIES_START, is_full: false }
    }

    const fn name(&self) -> ChunkName {
        ChunkName::open(self.first)
    }

    /// Forgets all but the first `keep` entries.
    fn cut(&mut self, keep: usize) {
        if let Some(end) = self.offsets.get(keep).copied() {
            self.offsets.truncate(keep);
            self.end = end;
            self.is_full = false;
        }
    }

    fn last(&self) -> Seqno {
        Seqno(self.first.0 + self.offsets.len() as u64 - 1)
    }

    fn push(&mut self, bytes: usize, chunk_ends: bool) -> Result<(), LedgerFilesError> {
        let end = u32::try_from(bytes).ok().and_then(|bytes| self.end.checked_add(bytes));
        let end = end.ok_or_else(|| LedgerFilesError::Long(self.name()))?;
        self.offsets.push(self.end);
        self.end = end;
        self.is_full = chunk_ends;
        Ok(())
    }
}

impl Index {
    /// Whether a chunk is known to be committed.
    fn is_committed(&self, chunk: &ChunkName) -> bool {
        chunk.is_committed && chunk.last.is_some_and(|last| last > self.doubted)
    }

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
            .max(self.skipped)
    }
}

/// Where an entry stands.
struct Place<H> {
    file: H,
    name: ChunkName,
    range: (u64, u64),
}

/// A closed chunk's last entry.
fn last_of(chunk: &ChunkName) -> Seqno {
    chunk.last.expect("only closed chunks are kept in this list")
}

impl<F: Folder> LedgerFiles<F> {
    /// Opens the folder and takes stock. The torn tail of the open chunk is cut; of two files of the same entries the
    /// committed one is used if the other is in it. Every other damage is an error, except that chunks may be missing,
    /// which [`LedgerFiles::replay`] decides about.
    ///
    /// # Errors
    /// An error that names the file, and the offset where there is one.
    pub fn open(folder: F) -> Result<Self, LedgerFilesError> {
        let mut names: Vec<ChunkName> =
            folder.names()?.iter().filter_map(|name| name.parse().ok()).collect();
        names.sort();
        let (names, put_aside) = beside::settle(&folder, names)?;
        let mut index = Index::default();
        let mut torn = None;
        for name in names {
            let expected = index.last().next();
            let before = index.open.as_ref().map(OpenChunk::name);
            if let Some(before) = before.or(index.closed.last().copied())
                && name.first < expected
            {
                return Err(LedgerFilesError::Beside { file: before, beside: name });
            }
            if index.open.is_some() {
                return Err(LedgerFilesError::Order { file: name, expected });
            }
            match name.last {
                Some(_) => index.closed.push(name),
                None => {
                    let (open, tail) = open_tail(&folder, name)?;
                    index.open = Some(open);
                    torn = tail;
                }
            }
        }
        // What is left of it is nothing.
        if let (Some(open), Some(torn)) = (&index.open, &mut torn)
            && open.offsets.is_empty()
        {
            torn.aside = Some(beside::put_aside(&folder, open.name())?);
            index.open = None;
        }
        // Entries of a chunk whose name was not durable before a crash are acknowledged again from here on.
        folder.sync()?;
        Ok(Self {
            folder,
            index: RwLock::new(index),
            coming: Mutex::default(),
            committed_seqno: AtomicU64::new(0),
            torn,
            put_aside,
        })
    }

    /// That a chunk which is there is called committed says nothing from now on: whoever has the disk may have given that
    /// name to entries that no quorum ever had.
    pub fn doubt_names(&mut self) {
        let index = self.index.get_mut();
        index.doubted = index.closed.last().map_or(Seqno::ZERO, last_of);
    }

    /// Puts aside what a snapshot of `seqno` does not need and others have: the open chunk, closed ones that are not known
    /// to be committed, and those that reach over `seqno`. The ledger goes on with the entry after `seqno`; zero is for a
    /// ledger from its first entry on. Nothing is removed: a file that is put aside has [`PUT_ASIDE`] after its name.
    /// Durable on return.
    ///
    /// # Errors
    /// Any error of the file system.
    pub fn skip_to(&mut self, seqno: Seqno) -> Result<(), LedgerFilesError> {
        let index = self.index.get_mut();
        let stays = |chunk: &ChunkName| chunk.is_committed && last_of(chunk) <= seqno;
        let open = index.open.as_ref().map(OpenChunk::name);
        let go = index.closed.iter().filter(|chunk| !stays(chunk)).copied().chain(open);
        // The newest first: whatever a crash leaves has no gap that was not there.
        for chunk in go.collect::<Vec<_>>().into_iter().rev() {
            beside::put_aside(&self.folder, chunk)?;
        }
        self.folder.sync()?;
        index.closed.retain(stays);
        index.open = None;
        index.skipped = seqno;
        Ok(())
    }

    /// What was cut off when the files were opened.
    #[must_use]
    pub const fn torn(&self) -> Option<&TornTail> {
        self.torn.as_ref()
    }

    /// The files that were put aside when these were opened, each because of another one.
    #[must_use]
    pub fn put_aside(&self) -> &[PutAside] {
        &self.put_aside
    }

    /// Notes that everything up to `seqno` is committed; whether a closed chunk waits to get its final name for it. One
    /// that is closed only later gets it from [`LedgerWriter::name_committed`] without being asked for.
    pub fn note_committed(&self, seqno: Seqno) -> bool {
        self.committed_seqno.store(seqno.0, Ordering::SeqCst);
        let index = self.index.read();
        let mut waiting = index.closed.iter().rev().take_while(|chunk| !chunk.is_committed);
        waiting.any(|chunk| last_of(chunk) <= seqno)
    }

    /// Makes entries readable that the writer is about to be given, in this order.
    ///
    /// # Panics
    /// When one is no entry: the replica made or checked them all.
    pub fn announce<'a>(&self, entries: impl Iterator<Item = &'a Bytes>) {
        // Read once here, not by every reader.
        let entries = entries.map(|entry| {
            let view = EntryView::parse(entry).expect("the replica announces entries");
            (view.tx_id().seqno, entry.clone())
        });
        self.coming.lock().extend(entries);
    }

    /// The first `count` of the announced entries are in the files now.
    pub fn arrived(&self, count: usize) {
        let mut coming = self.coming.lock();
        let count = count.min(coming.len());
        coming.drain(..count);
    }

    /// An announced entry. After a cut there may be two at one place: the newer one counts.
    fn coming(&self, seqno: Seqno) -> Option<Bytes> {
        let coming = self.coming.lock();
        coming.iter().rev().find(|(at, _)| *at == seqno).map(|(_, entry)| entry.clone())
    }

    /// The lowest place for which an entry is announced.
    fn first_coming(&self) -> Option<Seqno> {
        self.coming.lock().iter().map(|(seqno, _)| *seqno).min()
    }

    /// The last entry of the last chunk that is known to be committed.
    #[must_use]
    pub fn committed(&self) -> Seqno {
        let index = self.index.read();
        index
            .closed
            .iter()
            .rev()
            .find(|chunk| index.is_committed(chunk))
            .map_or(Seqno::ZERO, last_of)
    }

    /// Hands every entry from `from` on to `take`, in order, with whether its chunk is known to be committed. What `take`
    /// refuses of the open chunk because a sector never arrived is cut off, with all that follows.
    ///
    /// # Errors
    /// [`ReplayError`]: what `take` gave, or the file that cannot be read, is damaged, or is missing from there on.
    pub fn replay<E>(
        &mut self,
        from: Seqno,
        mut take: impl FnMut(Bytes, bool) -> Result<(), E>,
    ) -> Result<(), ReplayError<E>> {
        let index = self.index.get_mut();
        let open = index.open.as_ref().map(OpenChunk::name);
        let mut next = from;
        for name in index.closed.clone().into_iter().chain(open) {
            if name.last.is_some_and(|last| last < from) {
                continue;
            }
            if name.first > next {
                let (seqno, last) = (next, name.first.previous());
                let missing = LedgerFilesError::Archived { seqno, first: next, last };
                return Err(ReplayError::Files(missing));
            }
            if let Some(last) = name.last {
                next = last.next();
            }
            let is_committed = index.is_committed(&name);
            let file = whole(&self.folder, name).map_err(ReplayError::Files)?;
            let chunk = parse(name, &file).map_err(ReplayError::Files)?;
            for ((offset, entry), seqno) in chunk.entries.iter().zip(name.first.0..) {
                // By its place: an entry that says to be an earlier one is for the taker to refuse.
                if Seqno(seqno) < from {
                    continue;
                }
                let Err(source) = take(file.slice_ref(entry.bytes()), is_committed) else {
                    continue;
                };
                if name.last.is_some() || !misses_sector(&file, *offset) {
                    return Err(ReplayError::Taker { file: name, offset: *offset, source });
                }
                return self.cut_torn(name, *offset, file.len()).map_err(ReplayError::Files);
            }
        }
        Ok(())
    }

    fn cut_torn(
        &mut self,
        name: ChunkName,
        offset: u64,
        length: usize,
    ) -> Result<(), LedgerFilesError> {
        let open = self.index.get_mut().open.as_mut().expect("only the open chunk is torn");
        let keep = open.offsets.partition_point(|start| u64::from(*start) < offset);
        let aside = if keep == 0 {
            let aside = beside::put_aside(&self.folder, name)?;
            self.folder.sync()?;
            self.index.get_mut().open = None;
            Some(aside)
        } else {
            open.cut(keep);
            let file = self.folder.open_to_write(&name.to_string())?;
            file.cut(offset)?;
            file.sync_all()?;
            None
        };
        // What was cut before was longer.
        let before = self.torn.as_ref().map_or(0, |torn| torn.bytes);
        let bytes = length as u64 - offset + before;
        self.torn = Some(TornTail { file: name, offset, bytes, aside });
        Ok(())
    }

    /// The bytes of one entry. They come from the host's disk: the caller checks them.
    ///
    /// # Errors
    /// [`LedgerFilesError::Missing`] when the ledger does not reach so far, and any error of the file system.
    pub fn read(&self, seqno: Seqno) -> Result<Bytes, LedgerFilesError> {
        // Asked first: between this and the look at the index it may arrive, but never be in neither.
        if let Some(entry) = self.coming(seqno) {
            return Ok(entry);
        }
        let place = self.find(seqno)?;
        let (start, end) = place.range;
        let length = end.checked_sub(start).and_then(|length| usize::try_from(length).ok());
        let length = length.filter(|length| *length <= ENTRY_BYTES_MAX);
        let length = length.ok_or(LedgerFilesError::Table { file: place.name, start, end })?;
        let mut bytes = vec![0; length];
        place.file.read_at(&mut bytes, start)?;
        Ok(bytes.into())
    }

    /// The file in which an entry stands, and where in it.
    ///
    /// # Errors
    /// As [`LedgerFiles::read`].
    pub fn place(&self, seqno: Seqno) -> Result<(ChunkName, u64), LedgerFilesError> {
        self.find(seqno).map(|place| (place.name, place.range.0))
    }

    /// How many bytes a chunk file has.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn length(&self, name: ChunkName) -> Result<u64, FileError> {
        self.folder.open_to_read(&name.to_string())?.length()
    }

    /// At most `bytes` bytes of a chunk file from `offset` on; fewer at its end. They are the host's: whoever takes them
    /// verifies them.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn read_part(
        &self,
        name: ChunkName,
        offset: u64,
        bytes: usize,
    ) -> Result<Vec<u8>, FileError> {
        read_part(&self.folder.open_to_read(&name.to_string())?, offset, bytes)
    }

    fn find(&self, seqno: Seqno) -> Result<Place<F::File>, LedgerFilesError> {
        let index = self.index.read();
        let missing = || LedgerFilesError::Missing(seqno);
        if let Some(open) = &index.open
            && seqno >= open.first
        {
            let at = usize::try_from(seqno.0 - open.first.0).map_err(|_| missing())?;
            let start = *open.offsets.get(at).ok_or_else(missing)?;
            let end = open.offsets.get(at + 1).copied().unwrap_or(open.end);
            let name = open.name();
            let file = self.folder.open_to_read(&name.to_string())?;
            return Ok(Place { file, name, range: (start.into(), end.into()) });
        }
        if seqno > index.last() {
            return Err(missing());
        }
        let (name, file) = if let Some(name) = index.chunk_of(seqno) {
            let file = self.open_closed(name, seqno)?;
            drop(index);
            (name, file)
        } else {
            drop(index);
            let name = self.adopt(seqno)?;
            // It is committed, so it gets no other name.
            (name, self.open_closed(name, seqno)?)
        };
        let mut header = [0; CHUNK_HEADER_BYTES];
        file.read_at(&mut header, 0)?;
        let table = u64::from_le_bytes(header);
        let position = |i: u64| -> Result<u64, LedgerFilesError> {
            let mut offset = [0; 4];
            file.read_at(&mut offset, table.saturating_add(4 * i))?;
            Ok(u32::from_le_bytes(offset).into())
        };
        let i = seqno.0 - name.first.0;
        let end = if seqno == last_of(&name) { table } else { position(i + 1)? };
        let start = position(i)?;
        Ok(Place { file, name, range: (start, end) })
    }

    fn open_closed(&self, name: ChunkName, seqno: Seqno) -> Result<F::File, LedgerFilesError> {
        self.folder.open_to_read(&name.to_string()).map_err(|error| {
            if error.source.kind() == io::ErrorKind::NotFound {
                LedgerFilesError::Archived { seqno, first: name.first, last: last_of(&name) }
            } else {
                error.into()
            }
        })
    }

    /// Finds the chunk of an entry that was not there when the files were opened.
    fn adopt(&self, seqno: Seqno) -> Result<ChunkName, LedgerFilesError> {
        let holds = |name: &ChunkName| {
            name.is_committed && name.first <= seqno && name.last.is_some_and(|last| seqno <= last)
        };
        let names = self.folder.names()?;
        let found = names.iter().filter_map(|name| name.parse::<ChunkName>().ok()).find(holds);
        let mut index = self.index.write();
        // Another reader may have been faster.
        if let Some(chunk) = index.chunk_of(seqno) {
            return Ok(chunk);
        }
        let (first, last) = index.gap_around(seqno);
        let fits = |chunk: &ChunkName| first <= chunk.first && last_of(chunk) <= last;
        let archived = LedgerFilesError::Archived { seqno, first, last };
        let chunk = found.filter(fits).ok_or(archived)?;
        let at = index.closed.partition_point(|before| last_of(before) < chunk.first);
        index.closed.insert(at, chunk);
        Ok(chunk)
    }

    /// Whether everything up to `seqno` was written and synced.
    #[must_use]
    pub fn is_durable(&self, seqno: Seqno) -> bool {
        // After a cut the lowest is not the first.
        let is_coming = self.first_coming().is_some_and(|first| first <= seqno);
        !is_coming && seqno <= self.index.read().last()
    }

    /// Makes the one writer of these files. An open chunk that was caught while it was being closed is closed now.
    ///
    /// # Errors
    /// Any error of the file system.
    pub fn into_writer(self) -> Result<LedgerWriter<F>, LedgerFilesError> {
        LedgerWriter::new(Arc::new(self))
    }
}

/// Takes a chunk file apart that must be what its name says.
fn parse(name: ChunkName, file: &[u8]) -> Result<Chunk<'_>, LedgerFilesError> {
    let checked = |chunk: &Chunk<'_>| match chunk.check_ends() {
        // Of the last entry a sector may never have arrived; it is cut off when it does not open.
        Err(error) if chunk.is_closed || !misses_sector(file, error.offset) => Err(error),
        Err(_) | Ok(()) => Ok(()),
    };
    let chunk = Chunk::parse(file)
        .and_then(|chunk| checked(&chunk).map(|()| chunk))
        .map_err(|source| LedgerFilesError::Chunk { file: name, source })?;
    let found = chunk.entries.len();
    let is_as_named = name.last.is_none_or(|last| {
        chunk.is_closed && found > 0 && last.0 == name.first.0 + found as u64 - 1
    });
    if is_as_named { Ok(chunk) } else { Err(LedgerFilesError::Name { file: name, found }) }
}

fn whole<F: Folder>(folder: &F, name: ChunkName) -> Result<Bytes, LedgerFilesError> {
    Ok(read_whole(&folder.open_to_read(&name.to_string())?)?.into())
}

/// Reads the chunk that was being written, and leaves it as an open one, durable. One that is torn from its first entry on is left
/// as it is.
fn open_tail<F: Folder>(
    folder: &F,
    name: ChunkName,
) -> Result<(OpenChunk, Option<TornTail>), LedgerFilesError> {
    let file = folder.open_to_write(&name.to_string())?;
    let mut bytes = read_whole(&file)?;
    let length = bytes.len();
    settle_open_chunk(name, &mut bytes)?;
    let chunk = parse(name, &bytes)?;
    let torn = (chunk.torn_bytes > 0).then_some(TornTail {
        file: name,
        offset: chunk.end,
        bytes: chunk.torn_bytes,
        aside: None,
    });
    if torn.is_some() && chunk.entries.is_empty() {
        return Ok((OpenChunk::new(name.first), torn));
    }
    let mut open = OpenChunk::new(name.first);
    for (_, entry) in &chunk.entries {
        open.push(entry.bytes().len(), entry.flags().contains(EntryFlags::CHUNK_AFTER))?;
    }
    let end = usize::try_from(open.end).expect("it is in memory");
    // The header is reset only when no table can follow it any more.
    if end < length {
        file.cut(u64::from(open.end))?;
        file.sync_all()?;
    }
    file.write_at(&bytes[..end], 0)?;
    file.sync_all()?;
    Ok((open, torn))
}

/// Makes the bytes of a chunk whose name says that it is open those of an open one, however far its writer came: what a node does
/// that starts, and whoever looks at a copy of its ledger first.
///
/// # Errors
/// [`LedgerFilesError::Header`] when the header names a place for the table where none can be.
pub fn settle_open_chunk(name: ChunkName, bytes: &mut Vec<u8>) -> Result<(), LedgerFilesError> {
    if bytes.len() < CHUNK_HEADER_BYTES {
        *bytes = open_chunk().to_vec();
    }
    drop_table(name, bytes)
}

/// Makes the bytes of a chunk that was caught while it was being closed those of an open one. The header is not believed:
/// were it damaged, it would cut off what was acknowledged.
fn drop_table(name: ChunkName, bytes: &mut Vec<u8>) -> Result<(), LedgerFilesError> {
    let (header, _) = bytes.split_first_chunk().expect("it was made as long as a header");
    let table = u64::from_le_bytes(*header);
    if table == 0 {
        return Ok(());
    }
    let length = bytes.len();
    let damaged = || LedgerFilesError::Header { file: name, table, bytes: length as u64 };
    let end = usize::try_from(table).ok().filter(|end| (CHUNK_HEADER_BYTES..=length).contains(end));
    let end = end.ok_or_else(damaged)?;
    let found = bytes.split_off(end);
    bytes[..CHUNK_HEADER_BYTES].copy_from_slice(&open_chunk());
    let chunk = Chunk::parse(bytes).map_err(|_| damaged())?;
    let last = chunk.entries.last();
    let is_full = last.is_some_and(|(_, entry)| entry.flags().contains(EntryFlags::CHUNK_AFTER));
    let offsets: Vec<u32> = chunk
        .entries
        .iter()
        .map(|(at, _)| u32::try_from(*at).expect("no chunk is larger"))
        .collect();
    let (_, expected) = close_chunk(&offsets, table);
    // Of the table any part may have arrived.
    let is_table = found.len() <= expected.len()
        && found.iter().zip(&expected).all(|(found, expected)| *found == 0 || found == expected);
    if chunk.torn_bytes == 0 && is_full && is_table { Ok(()) } else { Err(damaged()) }
}
