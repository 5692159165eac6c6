//! What must hold of entries that nodes hand out.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use coco_ledger::{EntryFlags, EntryView};
use coco_types::{Digest, TxId, View};

use crate::{
    genesis::secret,
    machine::{Machine, tx_id},
};

/// Bytes of a keystream that are remembered: one block of the cipher.
const BLOCK_BYTES: usize = 16;

/// Every entry that any node has ever handed out.
#[derive(Debug, Default)]
pub(super) struct Entries {
    sealed: BTreeMap<TxId, Bytes>,
    /// The first block of the keystream of each.
    keystreams: BTreeSet<[u8; BLOCK_BYTES]>,
}

impl Entries {
    /// A transaction id names one entry for ever: clients hold it, and it is the nonce of the entry's seal. That the
    /// cipher really took it is seen by the keystream, which two entries never share: who has both would have the
    /// difference of their private writes.
    pub(super) fn sealed(&mut self, entry: &Bytes) {
        let id = tx_id(entry);
        if let Some(first) = self.sealed.get(&id) {
            assert!(first == entry, "two entries are sealed as {id}");
            return;
        }
        self.sealed.insert(id, entry.clone());
        let view = EntryView::parse(entry).expect("nodes hand out entries");
        let ends_chunk = view.flags().contains(EntryFlags::CHUNK_AFTER);
        assert!(!ends_chunk || view.is_signature(), "a chunk ends with {id}, which signs nothing");
        let open = view.open(&secret()).expect("nodes seal under the secret of the ledger");
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

/// A primary executes no further ahead than it was told to: its newest batch had room. What it has of earlier views it may
/// have executed when it knew more to be committed than it does after a restart.
pub(super) fn check_room(ledger: &[Bytes], view: View, committed: usize, uncommitted_max: usize) {
    let is_batch = |entry: &Bytes| {
        EntryView::parse(entry)
            .is_ok_and(|entry| *entry.claims() != Digest::ZERO && entry.tx_id().view == view)
    };
    // What follows a batch at once is the signature over it.
    let newest = ledger.iter().enumerate().rev().take(2).find(|(_, entry)| is_batch(entry));
    let Some((at, entry)) = newest else { return };
    let ahead = (at + 1).saturating_sub(committed);
    assert!(
        ahead <= uncommitted_max,
        "{} was executed with {ahead} entries uncommitted, {uncommitted_max} are the most",
        tx_id(entry)
    );
}

/// What is committed by counting disks is of the primary's own view, or stands before such an entry: an older entry may
/// still be voided by a primary that never saw it, however many disks have it (Ongaro and Ousterhout 2014, section 5.4.2).
pub(super) fn check_view_is_open(machines: &[Machine], primary: &Machine, view: View) {
    let before = primary.ledger.iter().rposition(|entry| tx_id(entry).view < view);
    let first = before.map_or(0, |before| before + 1);
    let opening = primary.ledger.get(first);
    let durable = machines
        .iter()
        .filter(|machine| opening.is_some() && machine.disk.entries.get(first) == opening)
        .count();
    assert!(
        durable > machines.len() / 2,
        "a primary commits in view {view}, of which {durable} disks have an entry"
    );
}
