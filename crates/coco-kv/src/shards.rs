//! A hash table in shards, so that readers and the writer rarely meet.

use hashbrown::HashTable;
use parking_lot::RwLock;

/// A hash table in [`SHARDS`] parts, each under a lock of its own.
pub(crate) struct Shards<T>(Box<[RwLock<HashTable<T>>]>);

/// Shards of one table. A shard doubles all at once while its lock is held; with 64 of them a map of ten million keys
/// stops for the 160 thousand keys of one shard and not for all.
const SHARDS: usize = 64;

impl<T> Shards<T> {
    pub(crate) fn new() -> Self {
        Self((0..SHARDS).map(|_| RwLock::new(HashTable::new())).collect())
    }

    /// The shard of a hash, by bits that the table itself uses neither for the slot nor for the tag.
    pub(crate) fn of(&self, hash: u64) -> &RwLock<HashTable<T>> {
        &self.0[usize::from(hash.to_le_bytes()[6]) % SHARDS]
    }

    /// Every shard, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &RwLock<HashTable<T>>> {
        self.0.iter()
    }

    /// Makes room for `items` at once, spread evenly.
    pub(crate) fn reserve(&self, items: usize, hash: impl Fn(&T) -> u64) {
        // Hashes spread items unevenly by a little: an eighth more is room for all but freak shards, which grow.
        let each = items / SHARDS + items / SHARDS / 8;
        self.0.iter().for_each(|shard| shard.write().reserve(each, &hash));
    }

    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|shard| shard.read().len()).sum()
    }
}
