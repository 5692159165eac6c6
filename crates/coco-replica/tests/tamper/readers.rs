//! Who reads ledger files, and where they say that something is wrong.

use std::error::Error;

use bytes::Bytes;
use coco_crypto::Certificate;
use coco_ledger::{
    CHUNK_HEADER_BYTES, LedgerFiles, LedgerFilesError, LedgerReport, Verifier, entry_bytes,
};
use coco_replica::{CopiedLedger, Keyring, LoadError, LoadLedger, LoadLedgerError, SnapshotFiles};
use coco_types::Seqno;

use crate::{ENTRIES, fixture::Ledger, memory::MemoryFolder};

/// Names and contents, in the order in which a folder lists them.
pub(crate) type Files = Vec<File>;

/// One of them.
pub(crate) type File = (String, Vec<u8>);

/// Where a reader saw something wrong.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    /// The file; none when it is one that is missing, and for a reader without files.
    pub(crate) file: Option<String>,
    /// Where in it; none when all of it stands in a wrong place.
    pub(crate) offset: Option<u64>,
    pub(crate) seqno: u64,
    pub(crate) what: String,
}

impl Refusal {
    /// Whether its text says all that it knows.
    pub(crate) fn is_told(&self) -> bool {
        let is_word = |number: u64| {
            let words = self.what.split(|letter: char| !letter.is_ascii_digit());
            words.into_iter().any(|word| word == number.to_string())
        };
        self.file.as_ref().is_none_or(|file| self.what.contains(file))
            && self.offset.is_none_or(|offset| self.what.contains(&format!("offset {offset}")))
            && is_word(self.seqno)
    }
}

/// A reader that has read some chunks of the untouched ledger.
pub(crate) trait Reader {
    /// Reads on, to the end.
    fn read(&mut self, files: &[File]) -> Result<Option<LedgerReport>, Refusal>;

    /// Reads one more chunk of the untouched ledger.
    fn advance(&mut self, chunk: &File);

    /// Whether it reads names, headers and tables.
    fn has_files(&self) -> bool {
        true
    }

    /// Whether these files are others than the untouched ones to this reader.
    fn is_change(&self, untouched: &[File], files: &[File]) -> bool;
}

/// `coco ledger verify`.
pub(crate) struct Auditor(pub(crate) Verifier);

impl Auditor {
    pub(crate) fn new(ledger: &Ledger) -> Self {
        Self(Verifier::new(Certificate::from_pem(&ledger.service_pem).unwrap()))
    }
}

impl Reader for Auditor {
    fn read(&mut self, files: &[File]) -> Result<Option<LedgerReport>, Refusal> {
        let mut verifier = self.0.clone();
        files
            .iter()
            .try_for_each(|(name, bytes)| verifier.chunk(name, bytes))
            .and_then(|()| verifier.finish(None))
            .map(Some)
            .map_err(|error| Refusal {
                what: chain(&error),
                file: Some(error.file),
                offset: Some(error.offset),
                seqno: error.seqno.0,
            })
    }

    fn advance(&mut self, (name, bytes): &File) {
        self.0.chunk(name, bytes).unwrap();
    }

    fn is_change(&self, _: &[File], _: &[File]) -> bool {
        true
    }
}

/// What a node knows of its ledger before it reads it.
#[derive(Clone)]
pub(crate) struct Known {
    keyring: Keyring,
    pub(crate) service: Certificate,
}

impl Known {
    pub(crate) fn new(ledger: &Ledger) -> Self {
        let service = Certificate::from_pem(&ledger.service_pem).unwrap();
        Self { keyring: ledger.secret.clone().into(), service }
    }

    pub(crate) fn load(&self) -> LoadLedger<'_> {
        LoadLedger {
            keyring: &self.keyring,
            service: self.service.key(),
            schema: &[],
            retained_entries: 16,
        }
    }
}

/// A node that starts with these files in its folder.
pub(crate) struct Start {
    known: Known,
    before: Files,
}

impl Start {
    pub(crate) fn new(ledger: &Ledger) -> Self {
        Self { known: Known::new(ledger), before: Vec::new() }
    }
}

impl Reader for Start {
    fn read(&mut self, files: &[File]) -> Result<Option<LedgerReport>, Refusal> {
        let folder: MemoryFolder = self.before.iter().chain(files).collect();
        let mut files = LedgerFiles::open(folder).map_err(|error| of_files(&error))?;
        let snapshots = SnapshotFiles::open(MemoryFolder::default()).unwrap();
        let loaded = self.known.load().load(&mut files, &snapshots, |_, _| {});
        let (loader, from) = loaded.map_err(|error| of_start(&error))?;
        assert_eq!((from, files.torn(), loader.awaited()), (None, None, None));
        Ok(None)
    }

    fn advance(&mut self, chunk: &File) {
        self.before.push(chunk.clone());
    }

    /// A folder has no order, and no name twice.
    fn is_change(&self, untouched: &[File], files: &[File]) -> bool {
        let folder = |files: &[File]| {
            let mut files = files.to_vec();
            files.sort_by(|one, other| one.0.cmp(&other.0));
            files.dedup_by(|one, other| one.0 == other.0);
            files
        };
        folder(untouched) != folder(files)
    }
}

/// A node that joins, or has lost its ledger: it is sent the entries of these files, as a table or a walk finds them, by a
/// node that does not look at them.
pub(crate) struct Join {
    known: Known,
    before: Files,
}

impl Join {
    pub(crate) fn new(ledger: &Ledger) -> Self {
        Self { known: Known::new(ledger), before: Vec::new() }
    }
}

impl Reader for Join {
    fn read(&mut self, files: &[File]) -> Result<Option<LedgerReport>, Refusal> {
        let mut copied = CopiedLedger::begin(&self.known.load(), None).unwrap();
        for entry in self.before.iter().chain(files).flat_map(|(_, bytes)| sent(bytes)) {
            copied.push(Bytes::copy_from_slice(entry)).map_err(|error| Refusal {
                file: None,
                offset: None,
                seqno: seqno_of(&error),
                what: chain(&error),
            })?;
        }
        // Who sent them has said how far its ledger is committed.
        if copied.is_enough(Seqno(ENTRIES)) {
            return Ok(None);
        }
        let seqno = copied.next().0;
        let what = format!("the copy ends before {seqno}");
        Err(Refusal { file: None, offset: None, seqno, what })
    }

    fn advance(&mut self, chunk: &File) {
        self.before.push(chunk.clone());
    }

    fn has_files(&self) -> bool {
        false
    }

    fn is_change(&self, untouched: &[File], files: &[File]) -> bool {
        let entries = |files: &[File]| -> Vec<Vec<u8>> {
            files.iter().flat_map(|(_, bytes)| sent(bytes)).map(<[u8]>::to_vec).collect()
        };
        entries(untouched) != entries(files)
    }
}

/// The entries of a chunk file: where its table puts them, and without one, one after the other.
pub(crate) fn sent(file: &[u8]) -> Vec<&[u8]> {
    by_table(file).unwrap_or_else(|| {
        let mut rest = file.get(CHUNK_HEADER_BYTES..).unwrap_or_default();
        let mut entries = Vec::new();
        while let Some((entry, after)) = rest
            .split_first_chunk()
            .and_then(|(header, _)| rest.split_at_checked(entry_bytes(header).ok()?))
        {
            entries.push(entry);
            rest = after;
        }
        entries
    })
}

fn by_table(file: &[u8]) -> Option<Vec<&[u8]>> {
    let (header, _) = file.split_first_chunk()?;
    let end = usize::try_from(u64::from_le_bytes(*header)).ok()?;
    let (positions, []) = file.get(end..)?.as_chunks() else { return None };
    let mut ends: Vec<usize> =
        positions.iter().map(|position| u32::from_le_bytes(*position) as usize).collect();
    ends.push(end);
    ends.windows(2).map(|pair| file.get(pair[0]..pair[1])).collect()
}

fn of_start(error: &LoadLedgerError) -> Refusal {
    match error {
        LoadLedgerError::Files(source) | LoadLedgerError::NoSnapshot { source, .. } => {
            Refusal { what: chain(error), ..of_files(source) }
        }
        LoadLedgerError::Entry { file, offset, source } => Refusal {
            file: Some(file.to_string()),
            offset: Some(*offset),
            seqno: seqno_of(source),
            what: chain(error),
        },
        LoadLedgerError::Snapshots(_) | LoadLedgerError::SetBack { .. } => {
            panic!("there are no snapshots: {error:?}")
        }
    }
}

fn of_files(error: &LedgerFilesError) -> Refusal {
    let (file, offset, seqno) = match error {
        LedgerFilesError::Chunk { file, source } => {
            (Some(file), Some(source.offset), file.first.0 + source.entries_before)
        }
        LedgerFilesError::Order { file, expected } => (Some(file), None, expected.0),
        LedgerFilesError::Beside { beside: file, .. } | LedgerFilesError::Name { file, .. } => {
            (Some(file), None, file.first.0)
        }
        LedgerFilesError::Header { file, .. } => (Some(file), Some(0), file.first.0),
        LedgerFilesError::Archived { seqno, .. } => (None, None, seqno.0),
        LedgerFilesError::File(_)
        | LedgerFilesError::Table { .. }
        | LedgerFilesError::Spoiled(_)
        | LedgerFilesError::Missing(_)
        | LedgerFilesError::Long(_)
        | LedgerFilesError::Committed(_) => panic!("no start says this: {error:?}"),
    };
    Refusal { file: file.map(ToString::to_string), offset, seqno, what: chain(error) }
}

/// The entry that an error is about.
pub(crate) fn seqno_of(error: &LoadError) -> u64 {
    match error {
        LoadError::Entry { seqno, .. } | LoadError::Position { seqno, .. } => seqno.0,
        LoadError::Open { id, .. }
        | LoadError::WriteSet { id, .. }
        | LoadError::Apply { id, .. }
        | LoadError::Signature { id, .. }
        | LoadError::Configuration { id, .. }
        | LoadError::ConfigurationOrder { id }
        | LoadError::Root { id, .. }
        | LoadError::Period { id, .. }
        | LoadError::Evidence { found: id, .. } => id.seqno.0,
    }
}

pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
