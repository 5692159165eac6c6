//! All maps of one version as bytes: the image of a state.
//!
//! The encoding is CCF's for snapshots: for each map of the domain that holds anything, in the order of names,
//!
//! ```text
//!   u64 length, name | u64 version of the image | u64 bytes of the items
//!   { u64 length, key, zeros to a multiple of 8
//!   | u64 8 + length, u64 seqno of the write, value, zeros to a multiple of 8 }   in the order of keys
//! ```
//!
//! with all numbers little-endian. Equal states have equal images: nothing depends on the process that makes one, if
//! the stores have the same index key. That key and the index of history maps stand in a private map of their own,
//! [`INDEX_MAP`].

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    ops::Bound,
};

use coco_types::{
    Seqno,
    codec::{DecodeError, Reader, put_bytes, put_u64},
};

use crate::{
    Domain, KEY_BYTES_MAX, Key, MAP_NAME_BYTES_MAX, MAPS_MAX, MapName, Snapshot, Value, WriteSet,
    cell::Visible, name, table::Table,
};

/// The private map of the image that holds what history maps keep in memory: under the empty key the index key, under
/// each map's name its items, as u64 fingerprint and u64 seqno in ascending order.
pub(crate) const INDEX_MAP: &str = "coco.kv.index";

/// Keys taken out of an ordered map at a time, while the writer waits.
const PAGE: usize = 1024;

/// What keys and values are padded to.
const ALIGN: usize = 8;

/// Where the items of a map come from.
enum Source<'a> {
    Table(&'a Table),
    More(&'a BTreeMap<Key, Option<Value>>),
}

impl Snapshot {
    /// The image of one domain as of this version. `more` adds maps whose values are not in memory; its removals count
    /// for nothing.
    ///
    /// Costs a copy of the domain, and one map's keys at a time. The writer is held up for one shard of a point map, or
    /// a page of an ordered one.
    ///
    /// # Panics
    /// When `more` writes a map that has values in memory: that is an error in the program.
    #[must_use]
    pub fn encode(&self, domain: Domain, more: &WriteSet) -> Vec<u8> {
        let index = match domain {
            Domain::Private => self.index(),
            Domain::Public => BTreeMap::new(),
        };
        let index_name = MapName::from_static(INDEX_MAP);
        let mut sources: BTreeMap<&MapName, Source<'_>> = BTreeMap::new();
        for (name, table) in self.tables().filter(|(name, _)| name.domain() == domain) {
            if matches!(table, Table::Point(_) | Table::Ordered(_)) {
                sources.insert(name, Source::Table(table));
            }
        }
        let more = more.maps().iter().filter(|(name, _)| name.domain() == domain);
        for (name, items) in more.chain((!index.is_empty()).then_some((&index_name, &index))) {
            match sources.entry(name) {
                Entry::Vacant(entry) => drop(entry.insert(Source::More(items))),
                Entry::Occupied(_) => panic!("{name} has values in memory"),
            }
        }
        let mut out = Vec::new();
        for (name, source) in sources {
            self.encode_map(name, &source, &mut out);
        }
        out
    }

    fn encode_map(&self, name: &MapName, source: &Source<'_>, out: &mut Vec<u8>) {
        let start = out.len();
        put_bytes(out, name.as_str().as_bytes());
        put_u64(out, self.version().0);
        let length_at = out.len();
        put_u64(out, 0);
        let items_at = out.len();
        match source {
            Source::Table(Table::Point(map)) => {
                map.visible(self.version()).iter().for_each(|item| put_visible(out, item));
            }
            Source::Table(Table::Ordered(map)) => {
                let mut page = map.visible(Bound::Unbounded, PAGE, self.version());
                while let Some(last) = page.last() {
                    page.iter().for_each(|item| put_visible(out, item));
                    page = map.visible(Bound::Excluded(&last.key), PAGE, self.version());
                }
            }
            Source::Table(Table::History(_) | Table::LedgerOnly) => {}
            Source::More(items) => {
                for (key, value) in *items {
                    if let Some(value) = value {
                        put_item(out, key, self.version(), value);
                    }
                }
            }
        }
        let length = out.len().saturating_sub(items_at) as u64;
        if length == 0 {
            out.truncate(start);
        } else if let Some(field) = out.get_mut(length_at..items_at) {
            field.copy_from_slice(&length.to_le_bytes());
        }
    }

    /// What the private map of the index holds.
    fn index(&self) -> BTreeMap<Key, Option<Value>> {
        let mut index = BTreeMap::new();
        for (name, table) in self.tables() {
            if let Table::History(history) = table {
                let items = history.items(self.version());
                let bytes = items.iter().flat_map(|(print, seqno)| {
                    [print.to_le_bytes(), seqno.0.to_le_bytes()].into_iter().flatten()
                });
                index.insert(Key::from(name.as_str().as_bytes()), Some(bytes.collect::<Value>()));
            }
        }
        let key = self.shared().keyed.key();
        let key: Value = key.into_iter().flat_map(u64::to_le_bytes).collect();
        index.insert(Key::from(&[][..]), Some(key));
        index
    }
}

fn put_visible(out: &mut Vec<u8>, item: &Visible) {
    put_item(out, &item.key, item.seqno, &item.value);
}

fn put_item(out: &mut Vec<u8>, key: &[u8], seqno: Seqno, value: &[u8]) {
    put_bytes(out, key);
    out.resize(out.len().saturating_add(padding(key.len())), 0);
    put_u64(out, (value.len() as u64).saturating_add(SEQNO_BYTES as u64));
    put_u64(out, seqno.0);
    out.extend_from_slice(value);
    out.resize(out.len().saturating_add(padding(value.len())), 0);
}

/// Zeros after so many bytes.
const fn padding(bytes: usize) -> usize {
    bytes.wrapping_neg() % ALIGN
}

/// Bytes of a value before it: the seqno of its write.
const SEQNO_BYTES: usize = 8;

/// The image of one domain in someone else's bytes.
#[derive(Clone, Default)]
pub struct StateImage<'a> {
    /// Ordered by name.
    maps: Vec<MapImage<'a>>,
}

/// One map of an image in someone else's bytes.
#[derive(Clone, Copy)]
pub struct MapImage<'a> {
    name: &'a str,
    /// Read through once.
    items: &'a [u8],
    count: usize,
}

impl<'a> StateImage<'a> {
    /// Reads the image of `domain` as of `version`.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are not exactly what [`Snapshot::encode`] makes: a field is cut short or over its
    /// limit, a map stands in the wrong domain, or maps or keys are out of order or repeated.
    pub fn parse(bytes: &'a [u8], domain: Domain, version: Seqno) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let mut maps: Vec<MapImage<'a>> = Vec::new();
        while reader.left() > 0 {
            let found = maps.len() as u64;
            if maps.len() >= MAPS_MAX {
                return Err(DecodeError::Over { field: "maps", found, limit: MAPS_MAX as u64 });
            }
            let map = MapImage::parse(&mut reader, domain, version)?;
            if maps.last().is_some_and(|before| before.name >= map.name) {
                return Err(DecodeError::Value { field: "order of maps", found });
            }
            maps.push(map);
        }
        Ok(Self { maps })
    }

    /// The maps, in the order of names.
    #[must_use]
    pub fn maps(&self) -> &[MapImage<'a>] {
        &self.maps
    }

    /// The map of that name, if it holds anything.
    #[must_use]
    pub fn map(&self, name: &str) -> Option<&MapImage<'a>> {
        let at = self.maps.binary_search_by(|map| map.name.cmp(name)).ok()?;
        self.maps.get(at)
    }
}

impl<'a> MapImage<'a> {
    fn parse(reader: &mut Reader<'a>, domain: Domain, version: Seqno) -> Result<Self, DecodeError> {
        let bytes = bounded(reader, MAP_NAME_BYTES_MAX, "map name")?;
        let wrong = |found: u64| DecodeError::Value { field: "map name", found };
        let name = std::str::from_utf8(bytes).map_err(|_| wrong(0))?;
        name::check(name).map_err(|_| wrong(name.len() as u64))?;
        if name::domain(name) != domain {
            return Err(DecodeError::Value { field: "domain of a map", found: 0 });
        }
        let found = reader.u64("version of a map")?;
        if found != version.0 {
            return Err(DecodeError::Value { field: "version of a map", found });
        }
        let items = reader.bytes("items of a map")?;
        if items.is_empty() {
            return Err(DecodeError::Value { field: "items of a map", found: 0 });
        }
        let count = Self::check(items, version)?;
        Ok(Self { name, items, count })
    }

    /// Reads every item, and counts them.
    fn check(items: &'a [u8], version: Seqno) -> Result<usize, DecodeError> {
        let mut reader = Reader::new(items);
        let (mut count, mut before) = (0_usize, None);
        while reader.left() > 0 {
            let (key, seqno, _) = item(&mut reader)?;
            let found = count as u64;
            if before >= Some(key) {
                return Err(DecodeError::Value { field: "order of keys", found });
            }
            if seqno == Seqno::ZERO || seqno > version {
                return Err(DecodeError::Value { field: "seqno of a write", found: seqno.0 });
            }
            before = Some(key);
            count = count.saturating_add(1);
        }
        Ok(count)
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'a str {
        self.name
    }

    /// How many keys it holds; never zero.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Never: a map without keys is not in an image.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Every key with the seqno of its write and its value, in the order of keys.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], Seqno, &'a [u8])> {
        let mut reader = Reader::new(self.items);
        std::iter::from_fn(move || {
            // Every item was read when the map was.
            (reader.left() > 0).then(|| item(&mut reader).ok()).flatten()
        })
    }

    /// The value of a key. Costs a walk through the map.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&'a [u8]> {
        self.iter().find(|(found, ..)| *found == key).map(|(_, _, value)| value)
    }
}

fn item<'a>(reader: &mut Reader<'a>) -> Result<(&'a [u8], Seqno, &'a [u8]), DecodeError> {
    let key = bounded(reader, KEY_BYTES_MAX, "key")?;
    zeros(reader, key.len())?;
    let value = reader.bytes("value")?;
    zeros(reader, value.len())?;
    let mut value = Reader::new(value);
    let seqno = Seqno(value.u64("seqno of a write")?);
    Ok((key, seqno, value.rest()))
}

fn bounded<'a>(
    reader: &mut Reader<'a>,
    limit: usize,
    field: &'static str,
) -> Result<&'a [u8], DecodeError> {
    let bytes = reader.bytes(field)?;
    let (found, limit) = (bytes.len() as u64, limit as u64);
    if found <= limit { Ok(bytes) } else { Err(DecodeError::Over { field, found, limit }) }
}

fn zeros(reader: &mut Reader<'_>, after: usize) -> Result<(), DecodeError> {
    let found = reader.take(padding(after), "padding")?;
    match found.iter().find(|byte| **byte != 0) {
        Some(byte) => Err(DecodeError::Value { field: "padding", found: u64::from(*byte) }),
        None => Ok(()),
    }
}

impl fmt::Debug for StateImage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.maps).finish()
    }
}

impl fmt::Debug for MapImage<'_> {
    /// Values can be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} keys)", self.name, self.count)
    }
}
