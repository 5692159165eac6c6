//! Who reads ledger files, and where they say that something is wrong.

use std::error::Error;

use bytes::Bytes;
use coco_crypto::Certificate;
use coco_ledger::{Chunk, ChunkName, LedgerReport, LedgerSecret, Verifier};
use coco_replica::Loader;

use crate::fixture::Ledger;

/// Names and contents, in the order in which a folder lists them.
pub(crate) type Files = Vec<(String, Vec<u8>)>;

/// Where a reader saw something wrong.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) file: String,
    pub(crate) offset: u64,
    pub(crate) seqno: u64,
    pub(crate) what: String,
}

/// A reader that has read some chunks of the untouched ledger.
pub(crate) trait Reader {
    /// Reads on, to the end.
    fn read(&mut self, files: &[(String, Vec<u8>)]) -> Result<Option<LedgerReport>, Refusal>;

    /// Reads one more chunk of the untouched ledger.
    fn advance(&mut self, chunk: &(String, Vec<u8>));
}

/// `coco ledger verify`.
pub(crate) struct Auditor(pub(crate) Verifier);

impl Auditor {
    pub(crate) fn new(ledger: &Ledger) -> Self {
        Self(Verifier::new(Certificate::from_pem(&ledger.service_pem).unwrap()))
    }
}

impl Reader for Auditor {
    fn read(&mut self, files: &[(String, Vec<u8>)]) -> Result<Option<LedgerReport>, Refusal> {
        let mut verifier = self.0.clone();
        files
            .iter()
            .try_for_each(|(name, bytes)| verifier.chunk(name, bytes))
            .and_then(|()| verifier.finish(None))
            .map(Some)
            .map_err(|error| Refusal {
                what: chain(&error),
                file: error.file,
                offset: error.offset,
                seqno: error.seqno.0,
            })
    }

    fn advance(&mut self, (name, bytes): &(String, Vec<u8>)) {
        self.0.chunk(name, bytes).unwrap();
    }
}

/// A node that starts.
pub(crate) struct Start {
    secret: LedgerSecret,
    before: Files,
    loader: Loader,
}

impl Start {
    pub(crate) fn new(ledger: &Ledger) -> Self {
        let secret = ledger.secret.clone();
        Self { loader: Self::fresh(&secret), secret, before: Vec::new() }
    }

    fn fresh(secret: &LedgerSecret) -> Loader {
        Loader::new(secret.clone(), Vec::new(), [1, 2], 16)
    }
}

impl Start {
    /// Takes a chunk as the replay of a node's ledger files does: names contiguous and true, entries one after the other.
    fn take(loader: &mut Loader, file: &str, bytes: &[u8]) -> Result<(), Refusal> {
        let first = loader.last().seqno.next().0;
        let refusal = |offset: u64, seqno: u64, what: &str| Refusal {
            file: file.to_owned(),
            offset,
            seqno,
            what: format!("{file} at offset {offset}, seqno {seqno}: {what}"),
        };
        let name: ChunkName = file.parse().unwrap();
        if name.first.0 != first {
            return Err(refusal(0, first, "another entry is next"));
        }
        let chunk = Chunk::parse(bytes)
            .and_then(|chunk| chunk.check_ends().map(|()| chunk))
            .map_err(|error| refusal(error.offset, first + error.entries_before, &chain(&error)))?;
        let found = first + chunk.entries.len() as u64 - 1;
        if name.last.is_some_and(|last| last.0 != found || !chunk.is_closed) {
            return Err(refusal(0, first, "not the entries that the name says"));
        }
        for (offset, entry) in &chunk.entries {
            let seqno = loader.last().seqno.next().0;
            loader
                .push(Bytes::copy_from_slice(entry.bytes()), name.is_committed)
                .map_err(|error| refusal(*offset, seqno, &chain(&error)))?;
        }
        Ok(())
    }
}

impl Reader for Start {
    fn read(&mut self, files: &[(String, Vec<u8>)]) -> Result<Option<LedgerReport>, Refusal> {
        let last = self.loader.last();
        let outcome =
            files.iter().try_for_each(|(name, bytes)| Self::take(&mut self.loader, name, bytes));
        // What was taken before the fault stays: the next reading begins from the same place again.
        if self.loader.last() != last {
            self.loader = Self::fresh(&self.secret);
            for (name, bytes) in &self.before {
                Self::take(&mut self.loader, name, bytes).unwrap();
            }
        }
        outcome.map(|()| None)
    }

    fn advance(&mut self, chunk: &(String, Vec<u8>)) {
        Self::take(&mut self.loader, &chunk.0, &chunk.1).unwrap();
        self.before.push(chunk.clone());
    }
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
