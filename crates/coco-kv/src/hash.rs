//! The two keyed hashes of a store. Clients choose keys, so both are keyed with values that they do not know.

use std::hash::{DefaultHasher, Hasher};

use foldhash::{SharedSeed, fast::FoldHasher};

/// Hashes keys for placement in memory. Nothing that leaves a node depends on it.
pub(crate) struct Keyed {
    key: [u64; 2],
    per_hasher: u64,
    shared: SharedSeed,
}

impl Keyed {
    pub(crate) fn new(key: [u64; 2]) -> Self {
        Self { key, per_hasher: key[0], shared: SharedSeed::from_u64(key[1]) }
    }

    /// Where `key` lies in a hash table: fast, and collisions only cost time.
    pub(crate) fn place(&self, key: &[u8]) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.per_hasher, &self.shared);
        hasher.write(key);
        hasher.finish()
    }

    /// The fingerprint that stands for `key` in a history index: `SipHash` that has absorbed the secret key first,
    /// because a collision here costs a read from disk.
    pub(crate) fn fingerprint(&self, key: &[u8]) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.key[0]);
        hasher.write_u64(self.key[1]);
        hasher.write(key);
        hasher.finish()
    }
}
