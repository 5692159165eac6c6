//! What one transaction wrote, and its encoding in the ledger.
//!
//! The encoding is CCF's: for each map of the domain, in the order of names,
//!
//! ```text
//!   u64 length, name | u64 read version = 0 | u64 reads = 0
//!   u64 writes  { u64 length, key | u64 length, value }   in the order of keys
//!   u64 removes { u64 length, key }                       in the order of keys
//! ```
//!
//! with all numbers little-endian. Equal write sets have equal bytes. [`WriteSetView`] reads them.

use std::{collections::BTreeMap, fmt};

use coco_types::codec::{DecodeError, put_bytes, put_u64};

use crate::{Domain, Key, MapName, Value, WriteSetView};

/// What one transaction wrote: ordered by map, then key.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct WriteSet {
    /// No map here is empty. A value of none is a removal.
    maps: BTreeMap<MapName, BTreeMap<Key, Option<Value>>>,
}

/// Longest key, in bytes. Keys of the hosted protocols have up to about 100; the bound keeps values out of keys.
pub const KEY_BYTES_MAX: usize = 4096;

impl WriteSet {
    /// A write set without writes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes `value` under `key`, in place of what was written there before.
    ///
    /// # Panics
    /// When the key is longer than [`KEY_BYTES_MAX`]: the caller bounds it.
    pub fn insert(&mut self, map: &MapName, key: &[u8], value: impl Into<Value>) {
        self.set(map, key, Some(value.into()));
    }

    /// Removes `key`.
    ///
    /// # Panics
    /// When the key is longer than [`KEY_BYTES_MAX`]: the caller bounds it.
    pub fn remove(&mut self, map: &MapName, key: &[u8]) {
        self.set(map, key, None);
    }

    fn set(&mut self, map: &MapName, key: &[u8], value: Option<Value>) {
        assert!(key.len() <= KEY_BYTES_MAX, "a key of {} bytes in {map}", key.len());
        if let Some(writes) = self.maps.get_mut(map) {
            writes.insert(Key::from(key), value);
        } else {
            self.maps.insert(map.clone(), BTreeMap::from([(Key::from(key), value)]));
        }
    }

    /// All writes of one map at once.
    pub(crate) fn insert_map(&mut self, map: MapName, writes: BTreeMap<Key, Option<Value>>) {
        if !writes.is_empty() {
            assert!(self.maps.insert(map, writes).is_none(), "a map is handed over once");
        }
    }

    /// The value that was written under `key`; none when nothing was, or when it was removed.
    #[must_use]
    pub fn get(&self, map: &MapName, key: &[u8]) -> Option<&Value> {
        self.maps.get(map)?.get(key)?.as_ref()
    }

    /// Every write, ordered by map, then key. A value of none is a removal.
    pub fn iter(&self) -> impl Iterator<Item = (&MapName, &[u8], Option<&Value>)> {
        self.maps.iter().flat_map(|(map, writes)| {
            writes.iter().map(move |(key, value)| (map, &**key, value.as_ref()))
        })
    }

    /// The maps that were written, with their writes.
    pub(crate) const fn maps(&self) -> &BTreeMap<MapName, BTreeMap<Key, Option<Value>>> {
        &self.maps
    }

    /// The names of the maps that were written, in order.
    pub fn map_names(&self) -> impl Iterator<Item = &MapName> {
        self.maps.keys()
    }

    /// How many keys were written or removed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.maps.values().map(BTreeMap::len).sum()
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.maps.is_empty()
    }

    /// The bytes of one domain, as they stand in an entry.
    #[must_use]
    pub fn encode(&self, domain: Domain) -> Vec<u8> {
        let maps = || self.maps.iter().filter(|(name, _)| name.domain() == domain);
        let mut out =
            Vec::with_capacity(maps().map(|(name, writes)| encoded_len(name, writes)).sum());
        for (name, writes) in maps() {
            put_bytes(&mut out, name.as_str().as_bytes());
            put_u64(&mut out, 0);
            put_u64(&mut out, 0);
            let removes = writes.values().filter(|value| value.is_none()).count();
            put_u64(&mut out, (writes.len() - removes) as u64);
            for (key, value) in writes {
                if let Some(value) = value {
                    put_bytes(&mut out, key);
                    put_bytes(&mut out, value);
                }
            }
            put_u64(&mut out, removes as u64);
            for (key, _) in writes.iter().filter(|(_, value)| value.is_none()) {
                put_bytes(&mut out, key);
            }
        }
        out
    }

    /// Reads the bytes of both domains.
    ///
    /// # Errors
    /// [`DecodeError`] when they are not exactly what [`WriteSet::encode`] makes.
    pub fn decode(public: &[u8], private: &[u8]) -> Result<Self, DecodeError> {
        WriteSetView::parse(public, private).map(|view| view.to_write_set())
    }
}

/// Bytes that one map takes.
fn encoded_len(name: &MapName, writes: &BTreeMap<Key, Option<Value>>) -> usize {
    let write = |(key, value): (&Key, &Option<Value>)| {
        8 + key.len() + value.as_ref().map_or(0, |value| 8 + value.len())
    };
    8 + name.as_str().len() + 4 * 8 + writes.iter().map(write).sum::<usize>()
}

impl fmt::Debug for WriteSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.maps.iter().map(|(name, writes)| (name, writes.len()))).finish()
    }
}
