//! One map of any kind, and the maps of a store under their names.

use std::{collections::BTreeMap, sync::Arc};

use coco_planted::Bug;
use coco_types::Seqno;

use crate::{
    Key, MAPS_MAX, MapId, MapKind, MapName, MapSpec, Value, hash::Keyed, history::HistoryIndex,
    ordered::OrderedMap, point::PointMap,
};

/// One map.
pub(crate) enum Table {
    Point(PointMap),
    Ordered(OrderedMap),
    History(HistoryIndex),
    LedgerOnly,
}

impl Table {
    pub(crate) fn new(kind: MapKind) -> Self {
        match kind {
            MapKind::Point => Self::Point(PointMap::new()),
            MapKind::Ordered => Self::Ordered(OrderedMap::new()),
            MapKind::History => Self::History(HistoryIndex::new()),
            MapKind::LedgerOnly => Self::LedgerOnly,
        }
    }

    pub(crate) fn get(&self, keyed: &Keyed, key: &[u8], at: Seqno) -> Option<Value> {
        match self {
            Self::Point(map) => map.get(keyed.place(key), key, at),
            Self::Ordered(map) => map.get(key, at),
            Self::History(_) | Self::LedgerOnly => None,
        }
    }

    /// The version that wrote the value of `key` as of `at`.
    pub(crate) fn written(&self, keyed: &Keyed, key: &[u8], at: Seqno) -> Option<Seqno> {
        match self {
            Self::Point(map) => map.written(keyed.place(key), key, at),
            Self::Ordered(map) => map.written(key, at),
            Self::History(_) | Self::LedgerOnly => None,
        }
    }

    /// The version in which `key` was last written, as far as this map can tell.
    pub(crate) fn newest(&self, keyed: &Keyed, key: &[u8]) -> Option<Seqno> {
        match self {
            Self::Point(map) => map.newest(keyed.place(key), key),
            Self::Ordered(map) => map.newest(key),
            Self::History(index) => {
                index.locate(keyed.fingerprint(key), Seqno(u64::MAX)).first().copied()
            }
            Self::LedgerOnly => None,
        }
    }

    /// Writes one version of one map, and says what to undo.
    pub(crate) fn write(
        &self,
        keyed: &Keyed,
        seqno: Seqno,
        writes: impl Iterator<Item = impl Write>,
    ) -> Touched {
        match self {
            Self::Point(map) => {
                Touched::keys(writes.filter_map(|write| map.write(keyed, &write, seqno)))
            }
            Self::Ordered(map) => {
                Touched::keys(writes.filter_map(|write| map.write(&write, seqno)))
            }
            Self::History(index) => {
                let added = writes
                    .filter(|write| write.is_put())
                    .map(|write| keyed.fingerprint(write.bytes()));
                Touched::Fingerprints(added.inspect(|print| index.insert(*print, seqno)).collect())
            }
            Self::LedgerOnly => Touched::Nothing,
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Point(map) => map.len(),
            Self::Ordered(map) => map.len(),
            Self::History(index) => index.len(),
            Self::LedgerOnly => 0,
        }
    }
}

/// One write, as a write set holds it.
pub(crate) trait Write {
    fn bytes(&self) -> &[u8];
    fn key(&self) -> Key;
    fn is_put(&self) -> bool;
    /// None for a removal.
    fn value(&self) -> Option<Value>;
}

impl Write for (&Key, &Option<Value>) {
    fn bytes(&self) -> &[u8] {
        self.0
    }

    fn key(&self) -> Key {
        Key::clone(self.0)
    }

    fn is_put(&self) -> bool {
        self.1.is_some()
    }

    fn value(&self) -> Option<Value> {
        self.1.clone()
    }
}

impl Write for (&[u8], Option<&[u8]>) {
    fn bytes(&self) -> &[u8] {
        self.0
    }

    fn key(&self) -> Key {
        Key::from(self.0)
    }

    fn is_put(&self) -> bool {
        self.1.is_some()
    }

    fn value(&self) -> Option<Value> {
        self.1.map(Value::from)
    }
}

/// What one version did to one map, for rollback and compaction.
pub(crate) enum Touched {
    Keys {
        keys: Vec<Key>,
        /// Bytes of large values that it took the place of, and that are kept for the versions before.
        superseded_bytes: usize,
    },
    Fingerprints(Vec<u64>),
    Nothing,
}

/// A value of more bytes is large. The key and the cell of a smaller one may take as much as it does.
pub(crate) const LARGE_BYTES: usize = 1024;

impl Touched {
    fn keys(written: impl Iterator<Item = (Key, usize)>) -> Self {
        let mut superseded_bytes = 0;
        let keys = written.map(|(key, bytes)| {
            superseded_bytes += if bytes > LARGE_BYTES { bytes } else { 0 };
            key
        });
        let keys = keys.collect();
        Self::Keys { keys, superseded_bytes }
    }

    /// Bytes of large values that are kept for the versions before this one only.
    pub(crate) const fn superseded_bytes(&self) -> usize {
        match self {
            Self::Keys { superseded_bytes, .. } => *superseded_bytes,
            Self::Fingerprints(_) | Self::Nothing => 0,
        }
    }

    /// Undoes the version `seqno`, leaving those up to `to`.
    pub(crate) fn rollback(&self, table: &Table, keyed: &Keyed, seqno: Seqno, to: Seqno) {
        match (self, table) {
            (Self::Keys { keys, .. }, Table::Point(map)) => {
                keys.iter().for_each(|key| map.rollback(keyed, key, to));
            }
            (Self::Keys { keys, .. }, Table::Ordered(map)) => {
                keys.iter().for_each(|key| map.rollback(key, to));
            }
            (Self::Fingerprints(_), Table::History(_))
                if coco_planted::is(Bug::ForgetHistoryRollback) => {}
            (Self::Fingerprints(prints), Table::History(index)) => {
                prints.iter().for_each(|print| index.remove(*print, seqno));
            }
            (Self::Nothing, Table::LedgerOnly) => {}
            _ => unreachable!("a map keeps its kind"),
        }
    }

    /// Drops what nobody at `oldest` or above sees.
    pub(crate) fn compact(&self, table: &Table, keyed: &Keyed, oldest: Seqno) {
        match (self, table) {
            (Self::Keys { keys, .. }, Table::Point(map)) => {
                keys.iter().for_each(|key| map.compact(keyed, key, oldest));
            }
            (Self::Keys { keys, .. }, Table::Ordered(map)) => {
                keys.iter().for_each(|key| map.compact(key, oldest));
            }
            (Self::Fingerprints(_), Table::History(_)) | (Self::Nothing, Table::LedgerOnly) => {}
            _ => unreachable!("a map keeps its kind"),
        }
    }
}

/// The maps of a store under their names. Grows, never shrinks; the writer replaces it as a whole.
#[derive(Clone, Default)]
pub(crate) struct Catalogue {
    names: BTreeMap<MapName, MapId>,
    maps: Vec<(MapName, Arc<Table>)>,
}

impl Catalogue {
    /// The maps of a schema, empty.
    pub(crate) fn new(schema: Vec<MapSpec>) -> Self {
        assert!(schema.len() <= MAPS_MAX, "a schema of {} maps", schema.len());
        let mut catalogue = Self::default();
        for spec in schema {
            let name = spec.name.clone();
            assert!(catalogue.add(spec), "the schema names {name} twice");
        }
        catalogue
    }

    /// Every map, in the order of names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&MapName, &Table)> {
        self.names.iter().filter_map(|(name, id)| Some((name, self.table(*id)?)))
    }

    /// Adds a map. False, and no change, when there is one of that name.
    pub(crate) fn add(&mut self, spec: MapSpec) -> bool {
        if self.names.contains_key(&spec.name) {
            return false;
        }
        self.names.insert(spec.name.clone(), MapId(self.maps.len()));
        self.maps.push((spec.name, Arc::new(Table::new(spec.kind))));
        true
    }

    pub(crate) fn id(&self, name: &str) -> Option<MapId> {
        self.names.get(name).copied()
    }

    pub(crate) fn table(&self, id: MapId) -> Option<&Table> {
        self.maps.get(id.0).map(|(_, table)| &**table)
    }

    pub(crate) fn name(&self, id: MapId) -> Option<&MapName> {
        self.maps.get(id.0).map(|(name, _)| name)
    }

    pub(crate) fn len(&self) -> usize {
        self.maps.len()
    }
}
