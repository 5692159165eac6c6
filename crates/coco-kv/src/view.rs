//! Reads an encoded write set in place. Accepts exactly the bytes that [`WriteSet::encode`] makes: whatever two
//! decoders could read differently is refused.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::{collections::BTreeMap, fmt, iter::Peekable};

use coco_types::codec::{DecodeError, Reader};

use crate::{Domain, KEY_BYTES_MAX, Key, MAP_NAME_BYTES_MAX, MapName, Value, WriteSet, name};

/// A write set in someone else's bytes.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct WriteSetView<'a> {
    /// Ordered by name.
    maps: Vec<MapView<'a>>,
}

/// The writes of one map in someone else's bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct MapView<'a> {
    name: &'a str,
    /// Ordered by key; no key is in both.
    writes: Vec<(&'a [u8], &'a [u8])>,
    removes: Vec<&'a [u8]>,
}

/// Least bytes of a written key and its value: two lengths.
const WRITE_BYTES_MIN: usize = 16;
/// Least bytes of a removed key: its length.
const REMOVE_BYTES_MIN: usize = 8;

impl<'a> WriteSetView<'a> {
    /// Reads the bytes of both domains.
    ///
    /// # Errors
    /// [`DecodeError`] when they are not exactly what [`WriteSet::encode`] makes: a field is cut short or over its
    /// limit, a map stands in the wrong domain, or maps or keys are out of order or repeated.
    pub fn parse(public: &'a [u8], private: &'a [u8]) -> Result<Self, DecodeError> {
        let mut maps = Vec::new();
        for (bytes, domain) in [(public, Domain::Public), (private, Domain::Private)] {
            let mut reader = Reader::new(bytes);
            let mut before = None;
            while reader.left() > 0 {
                let map = MapView::parse(&mut reader, domain)?;
                if before >= Some(map.name) {
                    return Err(DecodeError::Value {
                        field: "order of maps",
                        found: maps.len() as u64,
                    });
                }
                before = Some(map.name);
                maps.push(map);
            }
        }
        maps.sort_unstable_by(|a, b| a.name.cmp(b.name));
        Ok(Self { maps })
    }

    /// The value that was written under `key`; none when nothing was, or when it was removed.
    #[must_use]
    pub fn get(&self, map: &MapName, key: &[u8]) -> Option<&'a [u8]> {
        let at = self.maps.binary_search_by(|view| view.name.cmp(map.as_str())).ok()?;
        self.maps.get(at)?.get(key)
    }

    /// The maps that were written, in the order of names.
    #[must_use]
    pub fn maps(&self) -> &[MapView<'a>] {
        &self.maps
    }

    /// Every write as (map, key, value), ordered by map, then key. A value of none is a removal.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a [u8], Option<&'a [u8]>)> {
        self.maps.iter().flat_map(|map| map.iter().map(|(key, value)| (map.name, key, value)))
    }

    /// How many keys were written or removed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.maps.iter().map(|map| map.writes.len().saturating_add(map.removes.len())).sum()
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.maps.is_empty()
    }

    /// The same writes in memory of their own.
    ///
    /// # Panics
    /// Never: the names were checked when the bytes were read.
    #[must_use]
    pub fn to_write_set(&self) -> WriteSet {
        let mut set = WriteSet::new();
        for map in &self.maps {
            let name = MapName::new(map.name).expect("the name was checked");
            let owned =
                |(key, value): (&[u8], Option<&[u8]>)| (Key::from(key), value.map(Value::from));
            set.insert_map(name, map.iter().map(owned).collect::<BTreeMap<_, _>>());
        }
        set
    }
}

impl<'a> MapView<'a> {
    fn parse(reader: &mut Reader<'a>, domain: Domain) -> Result<Self, DecodeError> {
        let name = map_name(reader, domain)?;
        for field in ["read version", "read count"] {
            match reader.u64(field)? {
                0 => {}
                found => return Err(DecodeError::Value { field, found }),
            }
        }
        let n_writes = reader.count(WRITE_BYTES_MIN, "write count")?;
        let mut writes: Vec<(&[u8], &[u8])> = Vec::with_capacity(n_writes);
        for at in 0..n_writes {
            let key =
                key(reader, writes.last().map(|(before, _)| *before), at, "order of written keys")?;
            writes.push((key, reader.bytes("value")?));
        }
        let n_removes = reader.count(REMOVE_BYTES_MIN, "remove count")?;
        let mut removes: Vec<&[u8]> = Vec::with_capacity(n_removes);
        for at in 0..n_removes {
            removes.push(key(reader, removes.last().copied(), at, "order of removed keys")?);
        }
        if writes.is_empty() && removes.is_empty() {
            return Err(DecodeError::Value { field: "writes of a map", found: 0 });
        }
        let map = Self { name, writes, removes };
        let mut keys = map.iter().map(|(key, _)| key);
        let mut before = keys.next();
        for key in keys {
            if before == Some(key) {
                return Err(DecodeError::Value {
                    field: "length of a key both written and removed",
                    found: key.len() as u64,
                });
            }
            before = Some(key);
        }
        Ok(map)
    }

    /// The map's name. It passes [`MapName::new`].
    #[must_use]
    pub const fn name(&self) -> &'a str {
        self.name
    }

    /// The value that was written under `key`.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&'a [u8]> {
        let at = self.writes.binary_search_by(|(written, _)| (*written).cmp(key)).ok()?;
        self.writes.get(at).map(|(_, value)| *value)
    }

    /// Every write, ordered by key. A value of none is a removal.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        let writes = self.writes.iter().map(|(key, value)| (*key, Some(*value)));
        let removes = self.removes.iter().map(|key| (*key, None));
        Merged { left: writes.peekable(), right: removes.peekable() }
    }
}

/// Reads and checks a map's name.
fn map_name<'a>(reader: &mut Reader<'a>, domain: Domain) -> Result<&'a str, DecodeError> {
    let bytes = reader.bytes("map name")?;
    if bytes.len() > MAP_NAME_BYTES_MAX {
        return Err(DecodeError::Over {
            field: "map name",
            found: bytes.len() as u64,
            limit: MAP_NAME_BYTES_MAX as u64,
        });
    }
    let wrong = |field| DecodeError::Value { field, found: bytes.len() as u64 };
    let name =
        std::str::from_utf8(bytes).map_err(|_| wrong("length of a map name that is no text"))?;
    name::check(name).map_err(|_| wrong("length of a map name that is not printable ASCII"))?;
    if name::domain(name) != domain {
        return Err(wrong("length of a map name in the other domain"));
    }
    Ok(name)
}

/// Reads a key that must lie above the one before it.
fn key<'a>(
    reader: &mut Reader<'a>,
    before: Option<&[u8]>,
    at: usize,
    order: &'static str,
) -> Result<&'a [u8], DecodeError> {
    let key = reader.bytes("key")?;
    if key.len() > KEY_BYTES_MAX {
        return Err(DecodeError::Over {
            field: "key",
            found: key.len() as u64,
            limit: KEY_BYTES_MAX as u64,
        });
    }
    if before >= Some(key) {
        return Err(DecodeError::Value { field: order, found: at as u64 });
    }
    Ok(key)
}

/// Two ascending sequences as one.
struct Merged<L: Iterator, R: Iterator> {
    left: Peekable<L>,
    right: Peekable<R>,
}

impl<'a, L, R> Iterator for Merged<L, R>
where
    L: Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    R: Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
{
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        match (self.left.peek(), self.right.peek()) {
            (Some((left, _)), Some((right, _))) if right < left => self.right.next(),
            (None, Some(_)) => self.right.next(),
            _ => self.left.next(),
        }
    }
}

impl fmt::Debug for WriteSetView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.maps).finish()
    }
}

impl fmt::Debug for MapView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {} writes, {} removes", self.name, self.writes.len(), self.removes.len())
    }
}
