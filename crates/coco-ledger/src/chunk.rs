//! Chunk files: runs of entries.
//!
//! ```text
//!   u64 offset of the table, 0 while open | entries | table: u32 offset of each entry
//! ```
//!
//! Names: `ledger_<first>` while open, `ledger_<first>-<last>` once closed, with `.committed` once its last entry is
//! committed. A closed chunk ends on a signature entry that carries [`EntryFlags::CHUNK_AFTER`].
//!
//! An open chunk may end inside an entry, when its writer died: that tail is *torn* and is left out. A damaged length
//! must not pass for a torn tail, since it would hide whatever follows; so a tail is not torn but an error when a
//! later entry, or the end of a signature entry, can be seen in it.
//!
//! When the power goes, the sectors of what was not durable arrive on their own, and what did not arrive reads as zeros.
//! So a tail is torn, too, from an entry on that misses a sector, whatever stands behind it ([`misses_sector`]). A
//! sealed entry has no such zeros, and damage leaves none: a disk reads back a whole sector or an error.

use std::{fmt, str::FromStr};

use bytes::Bytes;
use coco_kv::WriteSetView;
use coco_types::{Seqno, codec::DecodeError};
use thiserror::Error;

use crate::{
    entry::{
        ENTRY_HEADER_BYTES, EntryFlags, EntryView, NONCE_START, PUBLIC_LENGTH_START, PUBLIC_START,
        entry_bytes,
    },
    signature::is_signature_map,
};

/// After how many bytes a chunk is closed, at the next signature entry.
pub const CHUNK_BYTES_DEFAULT: u64 = 5_000_000;

/// Bytes before the first entry.
pub const CHUNK_HEADER_BYTES: usize = 8;

/// Largest chunk, in bytes: offsets of entries are u32.
const CHUNK_BYTES_MAX: u64 = u32::MAX as u64;

/// What a chunk file is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkName {
    /// Its first entry.
    pub first: Seqno,
    /// Its last entry, once it is closed.
    pub last: Option<Seqno>,
    /// Whether its last entry is known to be committed.
    pub is_committed: bool,
}

/// A text that names no chunk file.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("{0:?} is no name of a ledger chunk, for example ledger_1-15.committed")]
pub struct ParseChunkNameError(pub String);

impl ChunkName {
    /// A chunk that is written to.
    #[must_use]
    pub const fn open(first: Seqno) -> Self {
        Self { first, last: None, is_committed: false }
    }

    /// A chunk that is closed and not yet committed.
    #[must_use]
    pub const fn closed(first: Seqno, last: Seqno) -> Self {
        Self { first, last: Some(last), is_committed: false }
    }

    /// A chunk that is closed and committed.
    #[must_use]
    pub const fn committed(first: Seqno, last: Seqno) -> Self {
        Self { first, last: Some(last), is_committed: true }
    }
}

impl fmt::Display for ChunkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.first)?;
        if let Some(last) = self.last {
            write!(f, "-{last}")?;
        }
        f.write_str(if self.is_committed { COMMITTED } else { "" })
    }
}

impl FromStr for ChunkName {
    type Err = ParseChunkNameError;

    fn from_str(text: &str) -> Result<Self, ParseChunkNameError> {
        let read = || {
            let range = text.strip_prefix(PREFIX)?;
            let (range, is_committed) =
                range.strip_suffix(COMMITTED).map_or((range, false), |range| (range, true));
            let (first, last) = match range.split_once('-') {
                Some((first, last)) => (seqno(first)?, Some(seqno(last)?)),
                None => (seqno(range)?, None),
            };
            let is_possible = last.map_or(!is_committed, |last| first <= last);
            is_possible.then_some(Self { first, last, is_committed })
        };
        read().ok_or_else(|| ParseChunkNameError(text.chars().take(80).collect()))
    }
}

/// A seqno from 1 to [`SEQNO_IN_NAME_MAX`], written the one way that it is printed.
pub(crate) fn seqno(digits: &str) -> Option<Seqno> {
    let seqno = digits.parse().ok().filter(|seqno| (1..=SEQNO_IN_NAME_MAX).contains(seqno))?;
    (digits == seqno.to_string()).then_some(Seqno(seqno))
}

/// Largest seqno in the name of a file. Names are the host's word: one that no ledger reaches names no file of one, and to
/// whatever a name says, seqnos may be added without a look.
const SEQNO_IN_NAME_MAX: u64 = i64::MAX.unsigned_abs();

const PREFIX: &str = "ledger_";
const COMMITTED: &str = ".committed";

/// The header of a chunk that is written to.
#[must_use]
pub const fn open_chunk() -> [u8; CHUNK_HEADER_BYTES] {
    [0; CHUNK_HEADER_BYTES]
}

/// What closes a chunk: the header to put in place of the open one, and the table to append. `offsets` are those of
/// the entries from the start of the file; `end` is where the last one ends.
///
/// # Panics
/// When the chunk is past 4 GiB: a chunk is closed long before.
#[must_use]
pub fn close_chunk(offsets: &[u32], end: u64) -> ([u8; CHUNK_HEADER_BYTES], Vec<u8>) {
    assert!(end <= CHUNK_BYTES_MAX, "a chunk of {end} bytes");
    (end.to_le_bytes(), offsets.iter().flat_map(|offset| offset.to_le_bytes()).collect())
}

/// The chunk files that a node would have of a whole ledger: entries from seqno 1 on, chunks ending where they say.
///
/// # Panics
/// When one of `entries` is none, or a chunk is past 4 GiB.
#[must_use]
pub fn chunk_files(entries: &[Bytes]) -> Vec<(ChunkName, Vec<u8>)> {
    let mut files = Vec::new();
    let mut first = Seqno(1);
    let (mut file, mut offsets) = (open_chunk().to_vec(), Vec::new());
    for (entry, seqno) in entries.iter().zip(1..) {
        let view = EntryView::parse(entry).expect("a ledger is made of entries");
        offsets.push(u32::try_from(file.len()).expect("a chunk ends before 4 GiB"));
        file.extend_from_slice(entry);
        if view.flags().contains(EntryFlags::CHUNK_AFTER) {
            let (header, table) = close_chunk(&offsets, file.len() as u64);
            file[..CHUNK_HEADER_BYTES].copy_from_slice(&header);
            file.extend_from_slice(&table);
            let closed = std::mem::replace(&mut file, open_chunk().to_vec());
            files.push((ChunkName::closed(first, Seqno(seqno)), closed));
            offsets.clear();
            first = Seqno(seqno + 1);
        }
    }
    if !offsets.is_empty() {
        files.push((ChunkName::open(first), file));
    }
    files
}

/// A chunk taken apart: entries are framed and well-formed, and not yet checked against anything.
#[derive(Debug)]
pub struct Chunk<'a> {
    /// The entries with their offsets from the start of the file.
    pub entries: Vec<(u64, EntryView<'a>)>,
    /// Whether the chunk is closed.
    pub is_closed: bool,
    /// Where the entries end: at the table of a closed chunk, before the torn tail of an open one.
    pub end: u64,
    /// How many bytes the torn tail has.
    pub torn_bytes: u64,
}

/// A chunk that cannot be read.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("at offset {offset}")]
pub struct ChunkError {
    /// Where, from the start of the file.
    pub offset: u64,
    /// How many entries of the file stand before what is wrong; for a table, before the entry that it speaks of.
    pub entries_before: u64,
    /// What is wrong there.
    #[source]
    pub fault: ChunkFault,
}

/// What is wrong in a chunk.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum ChunkFault {
    /// The file is shorter than its header.
    #[error("chunk ends inside its header")]
    Header,
    /// The table does not begin where entries can end.
    #[error("table of a closed chunk begins at {table}, the file has {file} bytes")]
    Table {
        /// Where the header says.
        table: u64,
        /// Bytes of the file.
        file: u64,
    },
    /// A position in the table is not where its entry is.
    #[error("table puts an entry at {found} that stands at {expected}")]
    Position {
        /// Where the entry is.
        expected: u64,
        /// What the table says.
        found: u64,
    },
    /// The table has more or fewer positions than there are entries.
    #[error("table has {found} bytes for {expected} entries")]
    Positions {
        /// Entries in the chunk.
        expected: usize,
        /// Bytes of the table.
        found: usize,
    },
    /// An entry is malformed.
    #[error("entry is malformed")]
    Entry(#[from] DecodeError),
    /// An entry is longer than what is left, although it is seen to end earlier.
    #[error("entry claims {claimed} bytes, {left} are left, and it is not the last write")]
    Length {
        /// What its header says.
        claimed: usize,
        /// What is left in the file.
        left: usize,
    },
    /// An entry's flags do not fit where it stands, or a closed chunk does not end on a signature entry.
    #[error("entry flags do not fit its place in the chunk")]
    Flags,
    /// The chunk is too large.
    #[error("chunk has {found} bytes, the limit is {limit}")]
    Long {
        /// Bytes of the file.
        found: u64,
        /// The limit.
        limit: u64,
    },
}

impl<'a> Chunk<'a> {
    /// Takes a chunk file apart.
    ///
    /// # Errors
    /// [`ChunkError`] with the first offset at which the file is no chunk.
    pub fn parse(file: &'a [u8]) -> Result<Self, ChunkError> {
        let at_start = |fault| ChunkError { offset: 0, entries_before: 0, fault };
        let found = file.len() as u64;
        if found > CHUNK_BYTES_MAX {
            return Err(at_start(ChunkFault::Long { found, limit: CHUNK_BYTES_MAX }));
        }
        let Some((header, _)) = file.split_first_chunk::<CHUNK_HEADER_BYTES>() else {
            return Err(at_start(ChunkFault::Header));
        };
        let table = u64::from_le_bytes(*header);
        if table == 0 {
            return Self::parse_open(file);
        }
        match usize::try_from(table) {
            Ok(end) if (CHUNK_HEADER_BYTES..=file.len()).contains(&end) => {
                Self::parse_closed(file, end)
            }
            _ => Err(at_start(ChunkFault::Table { table, file: found })),
        }
    }

    fn parse_closed(file: &'a [u8], end: usize) -> Result<Self, ChunkError> {
        let entries = &file[..end];
        let mut chunk =
            Self { entries: Vec::new(), is_closed: true, end: end as u64, torn_bytes: 0 };
        let mut at = CHUNK_HEADER_BYTES;
        while at < end {
            let entries_before = chunk.entries.len() as u64;
            let fault = |fault| ChunkError { offset: at as u64, entries_before, fault };
            match frame(&entries[at..]).map_err(fault)? {
                Frame::Whole(entry) => at = chunk.push(at, entry)?,
                Frame::Cut { claimed } => {
                    return Err(fault(ChunkFault::Length { claimed, left: end - at }));
                }
            }
        }
        chunk.check_table(&file[end..])?;
        Ok(chunk)
    }

    fn parse_open(file: &'a [u8]) -> Result<Self, ChunkError> {
        let mut chunk = Self { entries: Vec::new(), is_closed: false, end: 0, torn_bytes: 0 };
        let mut at = CHUNK_HEADER_BYTES;
        while at < file.len() {
            let rest = &file[at..];
            // A file system may have made room that was never written.
            if rest.iter().all(|byte| *byte == 0) {
                break;
            }
            let entries_before = chunk.entries.len() as u64;
            let fault = |fault| ChunkError { offset: at as u64, entries_before, fault };
            let pushed = match frame(rest).map_err(fault) {
                Ok(Frame::Whole(entry)) => chunk.push(at, entry),
                Ok(Frame::Cut { claimed }) if hides_something(rest) => {
                    Err(fault(ChunkFault::Length { claimed, left: rest.len() }))
                }
                Ok(Frame::Cut { .. }) => break,
                Err(error) => Err(error),
            };
            match pushed {
                Ok(next) => at = next,
                Err(_) if misses_sector(file, at as u64) => break,
                Err(error) => return Err(error),
            }
        }
        chunk.end = at as u64;
        chunk.torn_bytes = (file.len() - at) as u64;
        Ok(chunk)
    }

    fn push(&mut self, at: usize, entry: &'a [u8]) -> Result<usize, ChunkError> {
        let (offset, entries_before) = (at as u64, self.entries.len() as u64);
        let view = EntryView::parse(entry).map_err(|fault| ChunkError {
            offset,
            entries_before,
            fault: fault.into(),
        })?;
        self.entries.push((offset, view));
        Ok(at + entry.len())
    }

    /// Checks that the chunk ends where its entries say, and nowhere else: a closed one on a signature entry with
    /// [`EntryFlags::CHUNK_AFTER`], an open one on anything; and only a first entry may ask for a chunk of its own.
    ///
    /// No seal covers the flags, and the root that covers them comes after them. A reader that takes entries one by one,
    /// as a node that starts, has no other guard over those of the last entry; the offline verifier has its own.
    ///
    /// # Errors
    /// [`ChunkError`] with the entry whose flags do not fit.
    pub fn check_ends(&self) -> Result<(), ChunkError> {
        let last = self.entries.len().saturating_sub(1);
        for (index, (offset, entry)) in self.entries.iter().enumerate() {
            let (flags, is_end) = (entry.flags(), self.is_closed && index == last);
            let says_so = flags.contains(EntryFlags::CHUNK_AFTER);
            let may_say_so = index == last && (!says_so || entry.is_signature());
            let begins = flags.contains(EntryFlags::CHUNK_BEFORE) && index != 0;
            if begins || says_so && !may_say_so || is_end && !says_so {
                let (offset, entries_before) = (*offset, index as u64);
                return Err(ChunkError { offset, entries_before, fault: ChunkFault::Flags });
            }
        }
        Ok(())
    }

    fn check_table(&self, table: &[u8]) -> Result<(), ChunkError> {
        let (expected, found) = (self.entries.len(), table.len());
        if expected.checked_mul(4) != Some(found) {
            return Err(ChunkError {
                offset: self.end,
                entries_before: expected as u64,
                fault: ChunkFault::Positions { expected, found },
            });
        }
        let (positions, _) = table.as_chunks::<4>();
        for (index, ((expected, _), position)) in self.entries.iter().zip(positions).enumerate() {
            let (expected, found) = (*expected, u64::from(u32::from_le_bytes(*position)));
            if expected != found {
                let (offset, entries_before) = (self.end + 4 * index as u64, index as u64);
                let fault = ChunkFault::Position { expected, found };
                return Err(ChunkError { offset, entries_before, fault });
            }
        }
        Ok(())
    }
}

/// Whether a sector of the entry that begins at `offset` reads as zeros, from that place or the sector's start to the
/// sector's end or the file's: whether that sector never arrived. Ask only of an entry that is not whole.
pub(crate) fn misses_sector(file: &[u8], offset: u64) -> bool {
    let at = usize::try_from(offset).unwrap_or(usize::MAX).min(file.len());
    let rest = &file[at..];
    let claimed = match frame(rest) {
        Ok(Frame::Whole(entry)) => entry.len(),
        Ok(Frame::Cut { claimed }) => claimed.min(rest.len()),
        Err(_) => ENTRY_HEADER_BYTES.min(rest.len()),
    };
    let mut start = at;
    while start < at + claimed {
        let end = ((start / SECTOR + 1) * SECTOR).min(file.len());
        if file[start..end].iter().all(|byte| *byte == 0) {
            // A damaged length may reach into the entries behind, where zeros are none of this entry's.
            return !follows_another(&file[at..start]).unwrap_or(false);
        }
        start = end;
    }
    false
}

/// Bytes of a sector, as a length in memory.
const SECTOR: usize = 512;
const _: () = assert!(SECTOR as u64 == crate::SECTOR_BYTES, "one size of sectors");

/// What stands at the front of bytes that begin with an entry.
enum Frame<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// Less than it claims.
    Cut { claimed: usize },
}

fn frame(rest: &[u8]) -> Result<Frame<'_>, ChunkFault> {
    let Some((header, _)) = rest.split_first_chunk::<ENTRY_HEADER_BYTES>() else {
        return Ok(Frame::Cut { claimed: ENTRY_HEADER_BYTES });
    };
    let claimed = entry_bytes(header)?;
    Ok(rest.get(..claimed).map_or(Frame::Cut { claimed }, Frame::Whole))
}

/// Whether an entry that seems cut is in truth followed by something, or is a whole signature entry.
fn hides_something(rest: &[u8]) -> bool {
    follows_another(rest).unwrap_or(false) || is_whole_signature(rest).unwrap_or(false)
}

/// Whether the entry after the first one can be seen: its seqno stands in it twice, around a fixed type.
fn follows_another(rest: &[u8]) -> Option<bool> {
    let next = u64_at(rest, NONCE_START)?.checked_add(1)?.to_le_bytes();
    let candidates = rest.get(PUBLIC_START..)?;
    let (in_public, kind) = (PUBLIC_START + 1 - NONCE_START, PUBLIC_START - NONCE_START);
    let is_next = |window: &[u8]| {
        window.starts_with(&next) && window.get(kind) == Some(&4) && window.ends_with(&next)
    };
    Some(candidates.windows(in_public + 8).any(is_next))
}

/// Whether the public part of the first entry ends exactly where the bytes do, and is that of a signature entry, which
/// has no private part.
fn is_whole_signature(rest: &[u8]) -> Option<bool> {
    let public = usize::try_from(u64_at(rest, PUBLIC_LENGTH_START)?).ok()?;
    if PUBLIC_START.checked_add(public)? != rest.len() {
        return Some(false);
    }
    let maps = rest.get(PUBLIC_START + (1 + 8 + 32 + 32 + 8)..)?;
    let writes = WriteSetView::parse(maps, &[]).ok()?;
    Some(writes.maps().iter().any(|map| is_signature_map(map.name())))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use coco_kv::{MapName, WriteSet};
    use coco_types::{Digest, TxId};

    use super::*;
    use crate::{LedgerSecret, seal};

    fn entry(seqno: u64) -> Vec<u8> {
        let mut set = WriteSet::new();
        set.insert(&MapName::from_static("m"), b"key", vec![1; 100]);
        let secret = LedgerSecret::new(&[1; 32]);
        seal(&secret, TxId::new(2, seqno), EntryFlags::NONE, &Digest::ZERO, &set)
            .unwrap()
            .bytes
            .to_vec()
    }

    fn open(entries: u64) -> Vec<u8> {
        let mut file = open_chunk().to_vec();
        (1..=entries).for_each(|seqno| file.extend(entry(seqno)));
        file
    }

    fn closed(entries: u64) -> Vec<u8> {
        let mut file = open(entries);
        let offsets: Vec<u32> = Chunk::parse(&file)
            .unwrap()
            .entries
            .iter()
            .map(|(at, _)| u32::try_from(*at).unwrap())
            .collect();
        let (header, table) = close_chunk(&offsets, file.len() as u64);
        file[..8].copy_from_slice(&header);
        file.extend(table);
        file
    }

    #[test]
    fn names_read_what_they_print_and_nothing_else() {
        let right =
            ["ledger_1", "ledger_1-1", "ledger_16-30.committed", "ledger_9223372036854775807"];
        for text in right {
            assert_eq!(text.parse::<ChunkName>().unwrap().to_string(), text);
        }
        let wrong = [
            "",
            "ledger_",
            "ledger_0",
            "ledger_01",
            "ledger_2-1",
            "ledger_1.committed",
            "ledger_1-2.recovery",
            "ledger_+1",
            "ledger_1-2-3",
            "ledger_9223372036854775808",
            "ledger_1-18446744073709551615.committed",
        ];
        for text in wrong {
            assert!(text.parse::<ChunkName>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_closed_chunk_gives_back_its_entries() {
        let file = closed(3);
        let chunk = Chunk::parse(&file).unwrap();
        assert!(chunk.is_closed);
        assert_eq!(chunk.torn_bytes, 0);
        let seqnos: Vec<u64> =
            chunk.entries.iter().map(|(_, entry)| entry.tx_id().seqno.0).collect();
        assert_eq!(seqnos, [1, 2, 3]);
    }

    #[test]
    fn an_open_chunk_may_be_cut_anywhere_in_its_last_entry() {
        let (whole, two) = (open(3), open(2).len());
        for end in two..whole.len() {
            let chunk = Chunk::parse(&whole[..end]).unwrap();
            assert_eq!((chunk.entries.len(), chunk.end), (2, two as u64), "{end}");
            assert_eq!(chunk.torn_bytes, (end - two) as u64);
        }
    }

    #[test]
    fn room_that_was_never_written_is_a_torn_tail() {
        let mut file = open(2);
        let end = file.len() as u64;
        file.extend([0; 500]);
        let chunk = Chunk::parse(&file).unwrap();
        assert_eq!((chunk.end, chunk.torn_bytes), (end, 500));
    }

    #[test]
    fn what_stands_behind_a_sector_that_never_arrived_is_torn() {
        let file = open(20);
        let ends: Vec<usize> = (0..=20).map(|entries| open(entries).len()).collect();
        for lost in 1..file.len() / SECTOR {
            let mut torn = file.clone();
            torn[lost * SECTOR..(lost + 1) * SECTOR].fill(0);
            let chunk = Chunk::parse(&torn).unwrap();
            // What is framed may still miss a sector, which shows when it does not open.
            let framed = chunk.entries.iter().find(|(at, _)| misses_sector(&torn, *at));
            let end = framed.map_or(chunk.end, |(at, _)| *at);
            let first = ends.iter().rev().find(|end| **end <= lost * SECTOR).unwrap();
            assert_eq!(end, *first as u64, "sector {lost}");
        }
        for at in ends.iter().take(20) {
            assert!(!misses_sector(&file, *at as u64), "nothing is missing at {at}");
        }
    }

    #[test]
    fn a_damaged_length_does_not_pass_for_a_torn_tail() {
        let file = open(3);
        for (byte, flip) in [(2, 1), (3, 1), (3, 0x80), (4, 1), (4, 0x40)] {
            let mut damaged = file.clone();
            damaged[CHUNK_HEADER_BYTES + byte] ^= flip;
            assert!(Chunk::parse(&damaged).is_err(), "byte {byte} flipped by {flip}");
        }
    }

    #[test]
    fn a_closed_chunk_of_plain_entries_ends_where_none_says_so() {
        let (open, closed) = (open(3), closed(3));
        assert_eq!(Chunk::parse(&open).unwrap().check_ends(), Ok(()));
        let error = Chunk::parse(&closed).unwrap().check_ends().unwrap_err();
        assert_eq!((error.entries_before, error.fault), (2, ChunkFault::Flags));
        // An entry in the middle that says so, or that is no first one and wants to be.
        for flags in [1, 2] {
            let mut changed = open.clone();
            changed[CHUNK_HEADER_BYTES + entry(1).len() + 1] = flags;
            let error = Chunk::parse(&changed).unwrap().check_ends().unwrap_err();
            assert_eq!((error.entries_before, error.fault), (1, ChunkFault::Flags));
        }
    }

    #[test]
    fn a_closed_chunk_must_fit_its_table() {
        let file = closed(2);
        let end = usize::try_from(Chunk::parse(&file).unwrap().end).unwrap();
        for at in (0..CHUNK_HEADER_BYTES).chain(end..file.len()) {
            let mut changed = file.clone();
            changed[at] ^= 1;
            assert!(Chunk::parse(&changed).is_err(), "byte {at}");
        }
        assert!(Chunk::parse(&file[..file.len() - 4]).is_err());
        assert!(Chunk::parse(&file[..5]).is_err());
    }
}
