//! Point maps: a flat hash table of cells.

use coco_types::Seqno;
use hashbrown::hash_table::Entry;

use crate::{
    Key, Value,
    cell::{Cell, Visible},
    hash::Keyed,
    shards::Shards,
    table::Write,
};

/// A map of kind [`MapKind::Point`](crate::MapKind::Point).
pub(crate) struct PointMap {
    shards: Shards<(Key, Cell)>,
}

impl PointMap {
    pub(crate) fn new() -> Self {
        Self { shards: Shards::new() }
    }

    pub(crate) fn get(&self, hash: u64, key: &[u8], at: Seqno) -> Option<Value> {
        let shard = self.shards.of(hash).read();
        shard.find(hash, |(found, _)| **found == *key)?.1.at(at).cloned()
    }

    /// The version that wrote the value of `key` as of `at`.
    pub(crate) fn written(&self, hash: u64, key: &[u8], at: Seqno) -> Option<Seqno> {
        let shard = self.shards.of(hash).read();
        let (_, cell) = shard.find(hash, |(found, _)| **found == *key)?;
        cell.version_at(at).map(|(seqno, _)| seqno)
    }

    /// The version in which `key` was last written, if it is known at all.
    pub(crate) fn newest(&self, hash: u64, key: &[u8]) -> Option<Seqno> {
        let shard = self.shards.of(hash).read();
        shard.find(hash, |(found, _)| **found == *key).map(|(_, cell)| cell.newest())
    }

    /// Writes a version. `None`, and no change, when a key is removed that is not there; else the key to undo, and how many
    /// bytes the value before has.
    pub(crate) fn write(
        &self,
        keyed: &Keyed,
        write: &impl Write,
        seqno: Seqno,
    ) -> Option<(Key, usize)> {
        let hash = keyed.place(write.bytes());
        let value = write.value();
        let mut shard = self.shards.of(hash).write();
        match shard.entry(
            hash,
            |(found, _)| **found == *write.bytes(),
            |(found, _)| keyed.place(found),
        ) {
            Entry::Occupied(mut entry) => {
                let (key, cell) = entry.get_mut();
                if value.is_none() && cell.is_removed() {
                    return None;
                }
                let bytes = cell.push(seqno, value);
                Some((Key::clone(key), bytes))
            }
            Entry::Vacant(entry) => {
                let cell = Cell::new(seqno, Some(value?));
                let key = write.key();
                entry.insert((Key::clone(&key), cell));
                Some((key, 0))
            }
        }
    }

    /// Every key with a value as of `at`, in the order of keys. The writer waits for one shard at a time.
    pub(crate) fn visible(&self, at: Seqno) -> Vec<Visible> {
        let mut visible = Vec::new();
        for shard in self.shards.iter() {
            // The list grows while nobody waits for the shard.
            let len = shard.read().len();
            visible.reserve(len);
            let shard = shard.read();
            visible.extend(shard.iter().filter_map(|(key, cell)| Visible::of(key, cell, at)));
        }
        visible.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        visible
    }

    /// Puts keys into an empty map.
    pub(crate) fn load<'a>(
        &self,
        keyed: &Keyed,
        count: usize,
        items: impl Iterator<Item = (&'a [u8], Seqno, &'a [u8])>,
    ) {
        self.shards.reserve(count, |(key, _)| keyed.place(key));
        for (key, seqno, value) in items {
            let hash = keyed.place(key);
            let item = (Key::from(key), Cell::new(seqno, Some(value.into())));
            self.shards.of(hash).write().insert_unique(hash, item, |(key, _)| keyed.place(key));
        }
    }

    /// Takes the versions of `key` above `to` away.
    pub(crate) fn rollback(&self, keyed: &Keyed, key: &Key, to: Seqno) {
        self.retain(keyed, key, |cell| cell.rollback(to));
    }

    /// Takes the versions of `key` away that nobody at `oldest` or above sees.
    pub(crate) fn compact(&self, keyed: &Keyed, key: &Key, oldest: Seqno) {
        self.retain(keyed, key, |cell| cell.compact(oldest));
    }

    fn retain(&self, keyed: &Keyed, key: &Key, keep: impl FnOnce(&mut Cell) -> bool) {
        let hash = keyed.place(key);
        let mut shard = self.shards.of(hash).write();
        if let Ok(mut entry) = shard.find_entry(hash, |(found, _)| found == key)
            && !keep(&mut entry.get_mut().1)
        {
            drop(entry.remove().0);
        }
    }

    /// Keys in memory, removed ones included until compaction.
    pub(crate) fn len(&self) -> usize {
        self.shards.len()
    }
}
