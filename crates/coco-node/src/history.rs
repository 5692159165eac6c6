//! Values of the past, read back from the ledger on disk.
//!
//! The disk belongs to the host, so nothing that it says is believed: an entry is hashed and compared with the leaf in
//! the Merkle tree, which lives in memory, and decrypted under the ledger secret.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use coco_adapter::{History, HistoryError};
use coco_kv::{MapName, WriteSetView};
use coco_ledger::{EntryView, LedgerFilesError, LedgerSecret, LedgerSecrets};
use coco_replica::SharedLedgerState;
use coco_types::{Digest, Seqno};
use parking_lot::Mutex;

use crate::folder::LedgerFiles;

/// Decrypted entries kept for the next reader, in number and in bytes. A transaction's lookup and its block's are in
/// the same entry, and readers follow the newest entries.
const OPENED_MAX: usize = 64;
const OPENED_BYTES_MAX: usize = 16 << 20;

/// How often, and how long after another, an entry is asked for again that is about to be handed on.
pub(crate) const HANDED_ON_TRIES: u32 = 20;
pub(crate) const HANDED_ON_TIME: Duration = Duration::from_millis(1);

/// Reads entries of one node's ledger.
#[derive(Debug)]
pub struct LedgerHistory {
    files: Arc<LedgerFiles>,
    state: SharedLedgerState,
    opened: Mutex<Opened>,
}

/// The private parts of entries that were read last, the oldest first. Another entry may come to stand at a place, as
/// long as it is not committed: what an entry is, its leaf says.
#[derive(Debug, Default)]
struct Opened(VecDeque<(Digest, Bytes)>);

impl Opened {
    fn get(&self, leaf: &Digest) -> Option<Bytes> {
        self.0.iter().find(|(of, _)| of == leaf).map(|(_, private)| private.clone())
    }

    fn keep(&mut self, leaf: Digest, private: Bytes) {
        self.0.push_back((leaf, private));
        let mut held = self.bytes();
        while self.0.len() > OPENED_MAX || held > OPENED_BYTES_MAX {
            let Some((_, dropped)) = self.0.pop_front() else { break };
            held -= dropped.len();
        }
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(|(_, private)| private.len()).sum()
    }
}

impl LedgerHistory {
    /// Reads from `files` what `state` vouches for.
    #[must_use]
    pub fn new(files: Arc<LedgerFiles>, state: SharedLedgerState) -> Self {
        Self { files, state, opened: Mutex::default() }
    }

    /// The files that it reads from.
    pub(crate) fn files(&self) -> &LedgerFiles {
        &self.files
    }

    /// Bytes of decrypted entries that are kept for the next reader.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.opened.lock().bytes()
    }

    /// What vouches for the files.
    pub(crate) const fn state(&self) -> &SharedLedgerState {
        &self.state
    }

    /// What entries are opened with.
    pub(crate) fn secrets(&self) -> LedgerSecrets {
        self.state.read().secrets().clone()
    }

    /// What the entry at `seqno` is opened with.
    pub(crate) fn secret_at(&self, seqno: Seqno) -> LedgerSecret {
        self.state.read().secrets().at(seqno).clone()
    }

    /// The raw entry at `seqno`, checked against the tree.
    ///
    /// # Errors
    /// [`HistoryError`] when it cannot be read or is not what it was.
    pub fn entry(&self, seqno: Seqno) -> Result<Bytes, HistoryError> {
        let bytes = self.read(seqno).map_err(|error| match error {
            LedgerFilesError::Archived { .. } => HistoryError::Archived { seqno },
            error => HistoryError::Unreadable { seqno, source: error.into() },
        })?;
        let entry = EntryView::parse(&bytes).map_err(|_| HistoryError::Altered { seqno })?;
        if self.state.read().tree().leaf(seqno.0) != Some(entry.leaf()) {
            return Err(HistoryError::Altered { seqno });
        }
        Ok(bytes)
    }

    /// The bytes at `seqno`. The replica shows an entry a moment before its driver hands it on to be written; whoever
    /// asks in that moment waits for it.
    fn read(&self, seqno: Seqno) -> Result<Bytes, LedgerFilesError> {
        for _ in 0..HANDED_ON_TRIES {
            match self.files.read(seqno) {
                Err(LedgerFilesError::Missing(_)) if seqno <= self.state.read().last().seqno => {
                    std::thread::sleep(HANDED_ON_TIME);
                }
                result => return result,
            }
        }
        self.files.read(seqno)
    }

    /// The private part of the entry at `seqno`, decrypted.
    fn private_part(&self, seqno: Seqno) -> Result<Bytes, HistoryError> {
        let leaf = self.state.read().tree().leaf(seqno.0);
        if let Some(private) = leaf.and_then(|leaf| self.opened.lock().get(&leaf)) {
            return Ok(private);
        }
        let entry = self.entry(seqno)?;
        let view = EntryView::parse(&entry).map_err(|_| HistoryError::Altered { seqno })?;
        let open =
            view.open(&self.secret_at(seqno)).map_err(|_| HistoryError::Altered { seqno })?;
        let private = Bytes::from(open.private);
        self.opened.lock().keep(view.leaf(), private.clone());
        Ok(private)
    }
}

impl History for LedgerHistory {
    fn read(&self, seqno: Seqno, map: &MapName, key: &[u8]) -> Result<Option<Bytes>, HistoryError> {
        let private = self.private_part(seqno)?;
        let writes =
            WriteSetView::parse(&[], &private).map_err(|_| HistoryError::Altered { seqno })?;
        Ok(writes.get(map, key).map(|value| private.slice_ref(value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_of_an_entry_is_not_shown_for_one_that_took_its_place() {
        let [before, after] = [1, 2].map(|byte| Digest([byte; 32]));
        let mut opened = Opened::default();
        opened.keep(before, Bytes::from_static(b"rolled back"));
        assert_eq!(opened.get(&after), None);
        opened.keep(after, Bytes::from_static(b"committed"));
        assert_eq!(opened.get(&after), Some(Bytes::from_static(b"committed")));
        for byte in 3..=u8::try_from(OPENED_MAX).unwrap() + 1 {
            opened.keep(Digest([byte; 32]), Bytes::new());
        }
        assert_eq!(opened.get(&before), None, "the oldest goes first");
        assert!(opened.get(&after).is_some());
        assert_eq!(opened.bytes(), b"committed".len());
        opened.keep(Digest([0; 32]), Bytes::from(vec![0; OPENED_BYTES_MAX + 1]));
        assert_eq!(opened.0.len(), 0, "one that is too long is not kept, and no other");
    }
}
