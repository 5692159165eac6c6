//! History maps: where in the ledger a key was written, and nothing else.
//!
//! An item is a fingerprint of the key and the seqno of the entry: 16 bytes, and with the table's slack at most
//! 39. Two keys may share a fingerprint, so a found entry is a candidate, and its bytes decide.

use coco_types::Seqno;

use crate::shards::Shards;

/// A map of kind [`MapKind::History`](crate::MapKind::History).
pub(crate) struct HistoryIndex {
    shards: Shards<Item>,
}

#[derive(Debug, PartialEq, Eq)]
struct Item {
    fingerprint: u64,
    seqno: Seqno,
}

impl HistoryIndex {
    pub(crate) fn new() -> Self {
        Self { shards: Shards::new() }
    }

    /// Adds an item.
    pub(crate) fn insert(&self, fingerprint: u64, seqno: Seqno) {
        let mut shard = self.shards.of(fingerprint).write();
        shard.insert_unique(fingerprint, Item { fingerprint, seqno }, |item| item.fingerprint);
    }

    /// Takes exactly one such item away.
    pub(crate) fn remove(&self, fingerprint: u64, seqno: Seqno) {
        let mut shard = self.shards.of(fingerprint).write();
        let entry = shard.find_entry(fingerprint, |item| *item == Item { fingerprint, seqno });
        entry.expect("the undo log names what was inserted").remove();
    }

    /// The entries up to `at` that may have written the key, newest first.
    pub(crate) fn locate(&self, fingerprint: u64, at: Seqno) -> Vec<Seqno> {
        let shard = self.shards.of(fingerprint).read();
        let same = shard
            .iter_hash(fingerprint)
            .filter(|item| item.fingerprint == fingerprint && item.seqno <= at);
        let mut found: Vec<Seqno> = same.map(|item| item.seqno).collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        found.dedup();
        found
    }

    /// Every item up to `at`, in the order of fingerprints, then seqnos.
    pub(crate) fn items(&self, at: Seqno) -> Vec<(u64, Seqno)> {
        let mut items = Vec::new();
        for shard in self.shards.iter() {
            let shard = shard.read();
            let old = shard.iter().filter(|item| item.seqno <= at);
            items.extend(old.map(|item| (item.fingerprint, item.seqno)));
        }
        items.sort_unstable();
        items
    }

    /// Puts items into an empty index.
    pub(crate) fn load(&self, count: usize, items: impl Iterator<Item = (u64, Seqno)>) {
        self.shards.reserve(count, |item| item.fingerprint);
        items.for_each(|(fingerprint, seqno)| self.insert(fingerprint, seqno));
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.len()
    }
}
