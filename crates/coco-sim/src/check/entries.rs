//! What must hold of entries that nodes hand out.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use coco_ledger::{EntryFlags, EntryView};
use coco_replica::Settings;
use coco_types::{Digest, TxId, View};

use crate::{
    machine::{Machine, tx_id},
    periods::Named,
    private::Private,
};

/// Bytes of a keystream that are remembered: one block of the cipher.
const BLOCK_BYTES: usize = 16;

/// Every entry that any node has ever handed out.
#[derive(Debug, Default)]
pub(super) struct Entries {
    sealed: BTreeMap<TxId, Bytes>,
    /// What they say of secrets.
    named: Named,
    /// The first block of the keystream of each.
    keystreams: BTreeSet<[u8; BLOCK_BYTES]>,
}

impl Entries {
    /// The entry of that name.
    pub(super) fn get(&self, id: TxId) -> Option<&Bytes> {
        self.sealed.get(&id)
    }

    /// A transaction id names one entry for ever: clients hold it, and it is the nonce of the entry's seal. That the
    /// cipher really took it is seen by the keystream, which two entries never share: who has both would have the
    /// difference of their private writes.
    pub(super) fn sealed(&mut self, before: &[Bytes], entry: &Bytes, private: &Private) {
        let id = tx_id(entry);
        if let Some(first) = self.sealed.get(&id) {
            assert!(first == entry, "two entries are sealed as {id}");
            return;
        }
        self.sealed.insert(id, entry.clone());
        let view = EntryView::parse(entry).expect("nodes hand out entries");
        let ends_chunk = view.flags().contains(EntryFlags::CHUNK_AFTER);
        assert!(!ends_chunk || view.is_signature(), "a chunk ends with {id}, which signs nothing");
        if let Some(secret) = self.named.note(&view) {
            private.add(secret.secret().expose());
        }
        let secret = self.named.at(before, id.seqno);
        let open = view.open(&secret);
        let open =
            open.unwrap_or_else(|error| panic!("{id} is sealed under another secret: {error}"));
        let Some(clear) = open.private.first_chunk::<BLOCK_BYTES>() else { return };
        let mut keystream = *clear;
        let hidden = &entry[entry.len() - view.private_bytes()..];
        keystream.iter_mut().zip(hidden).for_each(|(byte, hidden)| *byte ^= hidden);
        assert!(
            self.keystreams.insert(keystream),
            "{id} is sealed with the nonce of another entry"
        );
    }
}

/// How much may be uncommitted when a primary executes a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Entries, that batch included.
    entries: usize,
    /// Bytes of the entries before it; fewer than these.
    bytes: u64,
}

impl Room {
    pub(super) const fn of(settings: &Settings) -> Self {
        Self { entries: settings.uncommitted_entries_max, bytes: settings.uncommitted_bytes_max }
    }

    /// A primary executes no further ahead than it was told to: its newest batch had room. What it has of earlier views it
    /// may have executed when it knew more to be committed than it does after a restart.
    pub(super) fn check(&self, ledger: &[Bytes], view: View, committed: usize) {
        let is_batch = |entry: &Bytes| {
            EntryView::parse(entry)
                .is_ok_and(|entry| *entry.claims() != Digest::ZERO && entry.tx_id().view == view)
        };
        // What follows a batch at once is the signature over it.
        let newest = ledger.iter().enumerate().rev().take(2).find(|(_, entry)| is_batch(entry));
        let Some((at, entry)) = newest else { return };
        let id = tx_id(entry);
        let (ahead, most) = ((at + 1).saturating_sub(committed), self.entries);
        assert!(
            ahead <= most,
            "{id} was executed with {ahead} entries uncommitted, {most} are the most"
        );
        let before = ledger[..at].iter().skip(committed);
        let (bytes, most) = (before.map(|entry| entry.len() as u64).sum::<u64>(), self.bytes);
        let is_first = at <= committed;
        assert!(
            is_first || bytes < most,
            "{id} was executed with {bytes} bytes uncommitted, at {most} it has to wait"
        );
    }
}

/// The place in a primary's ledger of the first entry of its own view.
pub(super) fn opening_of(primary: &Machine, view: View) -> usize {
    let before = primary.ledger.iter().rposition(|entry| tx_id(entry).view < view);
    before.map_or(0, |before| before + 1)
}
